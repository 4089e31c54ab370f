"""A third policy, made here: `rollforward` valued at the previous close, from input to row."""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from decimal import Decimal
from typing import Any

import numpy as np
import pytest

import batchcore
from batchcore import policies
from batchcore.calendar import date_of
from batchcore.config import Settings
from batchcore.errors import ConfigError
from batchcore.frames import Days, Prices
from batchcore.market import generated_market, generated_portfolios
from batchcore.options import RunOptions
from batchcore.pg.session import Session
from batchcore.policies import PolicyEntry
from batchcore.policies.rollforward import RollForward
from batchcore.run.prices import PriceWindow
from support import database, ledger, runs
from support.runs import DAYS

NAME = "previous_close"
PLAIN = database.plain_host(3, DAYS)
HOST = replace(PLAIN, prices=tuple(zip(["AAA"] * 3, DAYS, map(Decimal, (11, 13, 17)), strict=True)))
"""Portfolios of 1000 with 10 AAA each, bought at 10 on the day before."""


class PreviousClose(RollForward):
    """Values each session at the close of the session before."""

    async def load_closes(
        self, reader: Session, spellings: Sequence[str], window: PriceWindow
    ) -> Prices:
        """Return closes, each on the session after its own."""
        closes = await super().load_closes(reader, spellings, window)
        moved = self.calendar.next_sessions(closes.day.values + np.int32(1))
        return replace(closes, day=Days(moved, closes.day.state))


def without_levels(options: RunOptions) -> Mapping[str, Any]:
    """Refuse what the policy does not have: analytics look at the closes of their own day."""
    if options.analytics in {"full", "every"}:
        msg = f"analytics is `{options.analytics}`, which the policy `{NAME}` does not have"
        raise ConfigError(msg, "analytics")
    return {"analytics": "none"}


@pytest.fixture(autouse=True)
def _registered(monkeypatch: pytest.MonkeyPatch) -> None:
    entry = PolicyEntry(lambda: PreviousClose, settled=without_levels)
    entries = {**policies._ENTRIES, NAME: entry}  # noqa: SLF001  # put back afterwards
    monkeypatch.setattr(policies, "_ENTRIES", entries)


async def run(url: str, **options: Any) -> batchcore.BatchResult:
    return await runs.run(url, **{"policy": NAME, "analytics": "portfolio"} | options)


async def test_each_session_is_valued_at_the_close_before(same_filled: str) -> None:
    result = await run(same_filled)
    assert (result.policy, result.rows_written, result.failed) == (NAME, 9, 0)
    # at 10, the entry price, then at the closes of the days before: 11 and 13
    assert await database.equity_list(same_filled) == [1000, 1010, 1030]
    assert set((await database.equities(same_filled)).values()) == {Decimal(1030)}


async def test_it_differs_from_rollforward_and_may_replace_it(same_filled: str) -> None:
    await run(same_filled, policy="rollforward", analytics="none")
    assert await database.equity_list(same_filled) == [1000, 1020, 1060]
    result = await run(same_filled, on_existing="replace", settings=Settings(chunk_size=2))
    assert (result.rows_written, result.chunks) == (9, 2)
    assert await database.equity_list(same_filled) == [1000, 1010, 1030]


async def test_day_by_day_is_the_same(same_filled: str) -> None:
    calculator = batchcore.PnLCalculator(db=same_filled, policy=NAME, calendar="daily")
    for day in DAYS:
        await calculator.calculate_all_portfolios_pnl(date_of(day))
    assert await database.equity_list(same_filled) == [1000, 1010, 1030]


async def test_a_plan_and_the_ledger_know_it(same_filled: str) -> None:
    plan = await run(same_filled, settings=Settings(dry_run=True))
    assert plan.portfolios.sessions_planned.tolist() == [3, 3, 3]
    await run(same_filled)
    (row,) = await batchcore.runs(same_filled)
    assert (row.asked["policy"], row.state) == (NAME, "complete")
    assert len(await ledger.runs(same_filled)) == 1


async def test_options_that_it_has_not_are_refused() -> None:
    with pytest.raises(ConfigError, match="which the policy `previous_close` does not have"):
        await run("postgresql://nowhere", analytics="full")
    assert batchcore.RunOptions(policy=NAME).analytics == "none"


async def test_what_is_no_policy_is_refused() -> None:
    with pytest.raises(ConfigError, match="expected one of rollforward, legacy, previous_close"):
        await run("postgresql://nowhere", policy="next_close")


async def test_without_an_audit_it_is_neither_verified_nor_repaired(same_filled: str) -> None:
    await run(same_filled)
    with pytest.raises(ConfigError, match="the policy `previous_close` has no verification"):
        await batchcore.verify(same_filled, policy=NAME, calendar="daily")
    with pytest.raises(ConfigError, match="the policy has no repair"):
        await batchcore.repair(same_filled, policy=NAME, calendar="daily")


def test_without_native_rules_compute_refuses_it() -> None:
    market = generated_market(symbols=1, sessions=1, seed=1)
    inputs = generated_portfolios(1, market, seed=1).inputs
    with pytest.raises(ConfigError, match=r"expected one of rollforward, legacy$"):
        batchcore.compute(inputs, market.days, policy=NAME)
