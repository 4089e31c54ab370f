"""Everything that a run reads is of one moment."""

from dataclasses import replace
from decimal import Decimal

import pytest

import batchcore
from batchcore import reference as ref
from batchcore.calendar import date_of
from batchcore.config import Settings
from batchcore.db import load as loads
from support import database
from support.generate import MONDAY
from support.outcome import assert_left, outcome

pytestmark = [pytest.mark.db, pytest.mark.asyncio]

DAYS = list(range(MONDAY, MONDAY + 3))
CHANGES = (
    "UPDATE market_data_cache SET close = 99",
    "UPDATE positions SET quantity = quantity * 2",
    "DELETE FROM position_realized_events",
    "UPDATE equity_changes SET amount = 1",
    "UPDATE portfolios SET equity_balance = 5, deleted_at = now()",
    "DELETE FROM portfolio_snapshots",
)


def host() -> database.Host:
    """Return portfolios whose rows depend on every table."""
    plain = database.plain_host(4, DAYS)
    event = ref.Event(DAYS[1], Decimal(1), Decimal(3))
    flow = ref.Flow(DAYS[2], Decimal(70), "CONTRIBUTION")
    return replace(
        plain,
        portfolios=tuple(
            replace(
                portfolio,
                positions=(replace(portfolio.positions[0], events=(event,)),),
                flows=(flow,),
            )
            for portfolio in plain.portfolios
        ),
    )


@pytest.mark.parametrize(
    "step",
    [
        "load_portfolios",
        "load_symbols",
        "load_prices",
        "load_fallback",
        "load_existing",
        "load_positions",
        "load_all_events",
        "load_flows",
    ],
)
async def test_what_is_committed_after_a_load_is_not_seen(
    same_host: str, monkeypatch: pytest.MonkeyPatch, step: str
) -> None:
    given = host()
    await database.fill(same_host, given)
    load = getattr(loads, step)
    changed = []

    async def then_change(*arguments: object) -> object:
        found = await load(*arguments)
        if not changed:
            changed.append(step)
            async with database.connected(same_host) as other:
                for change in CHANGES:
                    await other.execute(change)
        return found

    monkeypatch.setattr(loads, step, then_change)

    result = await batchcore.run_batch(
        same_host,
        date_of(DAYS[0]),
        date_of(DAYS[-1]),
        calendar="daily",
        analytics="none",
        settings=Settings(chunk_size=1),
    )

    assert changed
    assert result.consistent
    expected = outcome(given, DAYS, DAYS[0], DAYS[-1])
    assert result.rows_written == len(expected.cells)
    assert_left({}, await database.snapshots(same_host), expected, given)
    assert await database.equities(same_host) == expected.equity
