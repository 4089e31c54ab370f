"""The move from `legacy` to `rollforward`, and back, as docs/legacy.md tells it."""

import datetime as dt
import re
from dataclasses import replace
from decimal import Decimal
from pathlib import Path

import pytest

import batchcore
from batchcore import calendar as calendars
from batchcore import reference as ref
from batchcore.config import Settings
from batchcore.demo import run as demo
from batchcore.reference import legacy
from support import database, legacy_host
from support.legacy_frames import Run
from support.worked_legacy import P, contribution, jan, portfolio, position, price, snapshot

DOCS = Path(__file__).parents[2] / "docs" / "legacy.md"
PRICES = (price("AAA", 2, "10"), price("AAA", 5, "11"), price("AAA", 6, "12"))
LONG_AFTER = Settings(today=dt.date(2026, 3, 1))
MONDAY, TUESDAY = dt.date(2026, 1, 5), dt.date(2026, 1, 6)


async def filled(
    url: str, *portfolios: legacy.Portfolio, prices: tuple[tuple[str, int, Decimal], ...] = PRICES
) -> None:
    await legacy_host.fill(url, Run(portfolios, prices, days=(), today=0))


async def by_legacy(url: str, start: dt.date, end: dt.date) -> None:
    result = await batchcore.run_batch(url, start, end, policy="legacy", settings=LONG_AFTER)
    assert result["success"]


async def rolled_forward(
    url: str, start: dt.date | None = None, on_existing: str = "skip"
) -> batchcore.BatchResult:
    result = await batchcore.run_batch(
        url, start, TUESDAY, on_existing=on_existing, settings=LONG_AFTER
    )
    assert result["success"]
    return result


async def equities(url: str, name: str = "p") -> dict[int, Decimal]:
    """Return the stored equities of a portfolio by day of January."""
    by_day = await database.equity_by_day(url, name)
    return {day - jan(1) + 1: equity for day, equity in by_day.items()}


async def test_the_example_of_the_docs_is_no_jump(same_host: str) -> None:
    bought = position(quantity="100")
    prices = (*PRICES[:2], price("AAA", 6, "10.50"))
    await filled(same_host, portfolio(bought, snapshots=(snapshot(2, "9980"),)), prices=prices)
    await by_legacy(same_host, MONDAY, MONDAY)

    # 9980 + 100 x (11 - 10) by legacy
    assert await equities(same_host) == {2: 9980, 5: 10080}
    plan = await batchcore.run_batch(
        same_host, None, TUESDAY, settings=replace(LONG_AFTER, dry_run=True)
    )
    assert plan.portfolios.sessions_planned.tolist() == [1]
    await rolled_forward(same_host)

    # 100 x (10.50 - 11) = -50; -50 / 10080 = -0.0049603...
    row = (await database.snapshots(same_host))[database.key("p"), jan(6)]
    assert (row["daily_pnl"], row["equity_balance"]) == (-50, 10030)
    assert row["daily_return"] == Decimal("-0.004960")
    assert row["portfolio_delta"] is None
    assert await database.equities(same_host) == {database.key("p"): 10030}


SOLD = position(
    exit_day=6, exit_price=Decimal(12), events=(ref.Event(jan(6), Decimal(10), Decimal(20)),)
)


@pytest.mark.parametrize(
    ("held", "days"),
    [
        # 10 x (11 - 10) by legacy, which stays; an exited position stops earning then
        pytest.param(position(exit_day=2, exit_price=Decimal(10)), (1010, 1010), id="exited"),
        # 20 realized less U(5) = 10 x (11 - 10): a sale counts once
        pytest.param(SOLD, (1010, 1020), id="sold"),
    ],
)
async def test_what_has_ended_at_the_switch(
    same_host: str, held: ref.Position, days: tuple[int, int]
) -> None:
    await filled(same_host, portfolio(held))
    await by_legacy(same_host, MONDAY, MONDAY)
    await rolled_forward(same_host)
    assert await equities(same_host) == {2: 1000, 5: days[0], 6: days[1]}


async def test_a_weekend_between_the_two_counts(same_host: str) -> None:
    await filled(same_host, portfolio(position(), flows=(contribution(3, "500"),)))
    await rolled_forward(same_host)
    # 1000 + 10 + 500, + 10
    assert await equities(same_host) == {2: 1000, 5: 1510, 6: 1520}


async def test_every_portfolio_goes_on_from_its_row_on_real_closes(same_host: str) -> None:
    data = demo.seeded(demo.Size(portfolios=12, sessions=12), seed=7)
    await data.write(same_host)
    days = [calendars.date_of(day) for day in data.market.days[-12:].tolist()]
    settings = Settings(today=days[-1] + dt.timedelta(days=30))
    legacy_days, after = days[:8], days[8:]
    first = await batchcore.run_batch(
        same_host, legacy_days[0], legacy_days[-1], policy="legacy", settings=settings
    )
    then = await batchcore.run_batch(same_host, None, after[-1], settings=settings)
    assert (first.rows_written, then.rows_written) == (12 * 8, 12 * 4)

    for policy, own in (("legacy", legacy_days), ("rollforward", after)):
        checked = await batchcore.verify(
            same_host, own[0], own[-1], policy=policy, settings=settings
        )
        assert (checked.rows, checked.differing) == (12 * len(own), 0)
        assert checked.checked > 10 * checked.rows
    stored = await database.snapshots(same_host)
    chain = [calendars.day_of(day) for day in days[7:]]
    for (owner, day), row in stored.items():
        if day in chain[1:]:
            before = stored[owner, chain[chain.index(day) - 1]]["equity_balance"]
            change = row["daily_pnl"] + row["daily_capital_flow"]
            assert row["equity_balance"] == before + change


def named(
    name: str, *snapshots: legacy.Snapshot, balance: str | None = "777", deleted: bool = False
) -> legacy.Portfolio:
    held = portfolio(position(), snapshots=snapshots, balance=balance, deleted=deleted)
    return replace(held, name=name)


MONDAY_ROW = snapshot(5, "1010")
ODD = (
    named("a zero", P, snapshot(5, "0")),
    named("b null", P, snapshot(5, None), balance="1010"),
    named("c incomplete", P, snapshot(5, "500", is_complete=False), balance="500"),
    named("d column differs", P, MONDAY_ROW),
)
SOUND = (
    named("e sound", P, MONDAY_ROW, balance="1010"),
    named("f no rows"),
    named("g deleted", P, deleted=True),
    named("h older", P, balance="1000"),
    named("i off session", P, snapshot(3, "900"), balance="900"),
)


async def test_the_query_of_the_docs_finds_what_could_make_a_jump(same_host: str) -> None:
    (query,) = re.findall(r"```sql\n(.*?)```", DOCS.read_text(encoding="utf-8"), re.DOTALL)
    await filled(same_host, *ODD, *SOUND)
    rows = await database.fetch(same_host, query)
    assert [row["name"] for row in rows] == [one.name for one in ODD]


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("a zero", {2: 1000, 5: 0, 6: 10}),
        ("b null", {2: 1000, 5: 1010, 6: 1020}),
        ("c incomplete", {2: 1000, 5: 1010, 6: 1020}),
        ("d column differs", {2: 1000, 5: 1010, 6: 1020}),
        ("e sound", {2: 1000, 5: 1010, 6: 1020}),
        ("f no rows", {6: 777}),
        ("h older", {2: 1000, 5: 1010, 6: 1020}),
        ("i off session", {2: 1000, 3: 900, 5: 1010, 6: 1020}),
    ],
)
async def test_what_follows_such_a_row(same_host: str, name: str, expected: dict[int, int]) -> None:
    await filled(same_host, *(one for one in (*ODD, *SOUND) if one.name == name))
    result = await rolled_forward(same_host)
    assert await equities(same_host, name) == expected
    assert await database.equities(same_host) == {database.key(name): expected[6]}
    assert ("off_session" in result.issues.name.texts()) == (name == "i off session")


@pytest.mark.parametrize("name", ["b null", "h older"])
async def test_with_a_start_the_days_before_it_come_in_one_sum(same_host: str, name: str) -> None:
    await filled(same_host, *(one for one in (*ODD, *SOUND) if one.name == name))
    await rolled_forward(same_host, TUESDAY)
    # 10 x (12 - 10), from the 2nd on
    row = (await database.snapshots(same_host))[database.key(name), jan(6)]
    assert (row["daily_pnl"], row["equity_balance"]) == (20, 1020)


async def test_an_equity_of_0_goes_on_from_the_column_under_legacy(same_host: str) -> None:
    await filled(same_host, ODD[0])
    await by_legacy(same_host, TUESDAY, TUESDAY)
    assert (await equities(same_host, "a zero"))[6] == 787


async def test_the_past_is_mended_from_the_second_session_on(same_host: str) -> None:
    await filled(same_host, portfolio(SOLD))
    await by_legacy(same_host, MONDAY, TUESDAY)
    # 10 + 10 + 20 by legacy (L19)
    assert await equities(same_host) == {2: 1000, 5: 1010, 6: 1040}
    before = await database.snapshots(same_host)

    await rolled_forward(same_host, MONDAY, "replace")

    assert await equities(same_host) == {2: 1000, 5: 1010, 6: 1020}
    after = await database.snapshots(same_host)
    assert {at: row["id"] for at, row in after.items()} == {
        at: row["id"] for at, row in before.items()
    }
    friday = database.key("p"), jan(2)
    assert after[friday] == before[friday]


async def test_the_way_back_is_no_jump_either(same_host: str) -> None:
    await filled(same_host, portfolio(position()))
    await batchcore.run_batch(same_host, MONDAY, MONDAY, settings=LONG_AFTER)
    await by_legacy(same_host, TUESDAY, TUESDAY)
    assert await equities(same_host) == {2: 1000, 5: 1010, 6: 1020}
