"""What pages load of a real server: of a night, and of a portfolio."""

import datetime as dt
import uuid
from dataclasses import replace
from decimal import Decimal

import pytest

import batchcore
from batchcore import reference as ref
from batchcore.calendar import date_of
from batchcore.config import Settings
from batchcore.errors import ConfigError, CoverageError, SnapshotExistsError
from batchcore.pages.contents import NOT_HELD
from batchcore.pages.night import load_night
from batchcore.pages.portfolio import load_portfolio_page
from batchcore.pages.render import night_page, portfolio_page
from batchcore.units import Mark
from support import database
from support.callers import BORROWED, OWN, caller
from support.generate import MONDAY
from support.roles import role_of

DAYS = list(range(MONDAY, MONDAY + 5))
HOST = database.full_host(12, DAYS, event=MONDAY + 2, flow=MONDAY + 3)
"""Equities of 1000; each day 10 AAA gain 1; on day 2 one of them is sold, on day 3 70 come."""

IDS = sorted(database.key(portfolio.id) for portfolio in HOST.portfolios)
P0 = database.key("p0")
START, END = date_of(DAYS[0]), date_of(DAYS[-1])
HUGE = (
    "UPDATE positions SET quantity = 999999999999, position_type = 'LC' WHERE portfolio_id = '{}'"
)
CLOSED = "DELETE FROM market_data_cache WHERE date > '{}'"
NAMED = "UPDATE portfolios SET name = '<b>' WHERE id = '{}'"
DROPPED = "DELETE FROM portfolio_snapshots WHERE snapshot_date = '{}'"
NOT_FINITE = """
UPDATE portfolio_snapshots SET daily_pnl = 'NaN', daily_capital_flow = 'NaN', cumulative_pnl = 'NaN'
WHERE snapshot_date = '{}'
"""
DELETED = (
    "DELETE FROM portfolio_snapshots WHERE portfolio_id = '{}'",
    "DELETE FROM position_realized_events WHERE portfolio_id = '{}'",
    "DELETE FROM equity_changes WHERE portfolio_id = '{}'",
    "DELETE FROM positions WHERE portfolio_id = '{}'",
    "DELETE FROM portfolios WHERE id = '{}'",
)
CHUNKS = Settings(chunk_size=5, connections=2, max_failed="50%")


async def run(db: object, end: dt.date = END, **options: object) -> batchcore.BatchResult:
    options.setdefault("settings", CHUNKS)
    return await batchcore.run_batch(db, START, end, calendar="daily", **options)


async def test_a_night_shows_its_run_and_the_rows_of_its_last_session(same_filled: str) -> None:
    result = await run(same_filled)
    stored = [
        row for (_, day), row in (await database.snapshots(same_filled)).items() if day == DAYS[-1]
    ]
    assert len(stored) == 12

    night = await load_night(same_filled, verifies=True)

    facts = night.run
    assert (facts.run_id, facts.state, facts.rows_written) == (result.run_id, "complete", 60)
    assert set(facts.seconds_by_phase) == {"load", "compute", "analytics", "persist", "total"}
    assert night.session == END
    assert night.statuses == dict.fromkeys(
        ("lookback", "stale", "unpriced", "skipped", "failed"), 0
    ) | {"ok": 12}
    assert night.totals.portfolios == 12
    assert night.totals.equity == sum(row["equity_balance"] for row in stored)
    assert night.totals.pnl == sum(row["daily_pnl"] for row in stored)
    assert night.returns.count == 12
    assert {one.value for one in night.returns.lowest} == {stored[0]["daily_return"]}
    assert len(night.returns.lowest) == len(night.returns.highest) == 5
    # Of the sessions before the run there are no closes, nor lots but for the day before.
    assert [day.share for day in night.coverage[-5:]] == [1.0] * 5
    assert night.gate == 0.5
    for part in (night.by_symbol, night.by_sector):
        assert part.explained
        assert part.daily_pnl == night.totals.pnl
        assert sum(row.contribution for row in part.rows) + part.rounding == part.daily_pnl
    assert [row.key for row in night.by_symbol.rows] == ["AAA"]
    assert (night.verified.rows, night.verified.rows_differing) == (12, 0)
    assert [one.run_id for one in night.history] == [result.run_id]


async def test_a_night_names_what_failed_and_what_was_noticed(same_filled: str) -> None:
    await database.execute(same_filled, HUGE.format(IDS[3]), NAMED.format(IDS[3]))
    await run(same_filled)

    night = await load_night(same_filled)

    assert (night.run.state, night.run.failed) == ("incomplete", 1)
    assert night.statuses["failed"] == 1
    assert [(one.portfolio, one.name) for one in night.failed] == [(str(IDS[3]), "<b>")]
    assert night.failed[0].reason.startswith("out_of_range ")
    first = night.issues[0]
    assert (first.failed, first.portfolios) == (1, 1)


async def test_symbols_without_closes_are_mapped_by_session(same_host: str) -> None:
    host = database.plain_host(2, DAYS)
    # Closes of the first two days alone: of the others the last one is 1, 2 and 3 days old.
    await database.fill(same_host, replace(host, prices=host.prices[:2]))
    await run(same_host, settings=Settings(lookback_days=2, min_coverage=0.0))

    night = await load_night(same_host)

    assert (night.marks.symbols, night.marks.held, night.marks.lacking) == (("AAA",), 1, 1)
    fresh, lookback, stale = Mark.FRESH, Mark.LOOKBACK, Mark.STALE
    assert night.marks.marks[0, -5:].tolist() == [fresh, fresh, lookback, lookback, stale]
    # Of a daily calendar only days with closes are checked (S12).
    assert [(day.session, day.share) for day in night.coverage] == [
        (date_of(day), 1.0) for day in DAYS[:2]
    ]
    assert {one.name for one in night.issues} == {"stale"}
    assert night.issues[0].example.startswith("AAA; ")


async def test_an_earlier_run_has_those_before_it_beside_it(same_filled: str) -> None:
    ids = [(await run(same_filled, date_of(day))).run_id for day in DAYS[:3]]
    night = await load_night(same_filled, run_id=ids[1])
    assert (night.run.run_id, night.session) == (ids[1], date_of(DAYS[1]))
    assert [one.run_id for one in night.history] == ids[:2]


async def shard(url: str, number: int, count: int, **options: object) -> batchcore.BatchResult:
    return await run(url, settings=replace(CHUNKS, shard=(number, count)), **options)


async def test_a_shard_shows_the_night_of_its_group(same_filled: str) -> None:
    earlier = await run(same_filled, START)
    first = await shard(same_filled, 1, 3)
    await shard(same_filled, 3, 3)
    night = await load_night(same_filled)
    assert (night.run.run_id, night.run.state) == (first.group, "missing")
    assert [one.state for one in night.shards] == ["complete", "missing", "complete"]

    second = await shard(same_filled, 2, 3)
    again = await shard(same_filled, 1, 3)
    for asked in (
        {},
        *({"run_id": one.run_id} for one in (first, second, again)),
        *({"group": one} for one in (first.group, second.run_id)),
    ):
        night = await load_night(same_filled, verifies=True, **asked)
        facts = night.run
        assert (facts.run_id, facts.state, facts.error) == (first.group, "complete", None)
        assert (facts.portfolios, facts.rows_written, facts.end) == (12, 48, END)
        assert [(one.shard, one.attempt) for one in night.shards] == [
            *(((1, 3), 2), ((2, 3), 1), ((3, 3), 1)),
        ]
        assert night.shards[0].run_id == again.run_id
        assert sum(one.rows_written for one in night.shards) == 48
        assert facts.seconds == max(one.seconds for one in night.shards)
        assert (night.session, night.totals.portfolios) == (END, 12)
        assert (night.verified.rows, night.verified.rows_differing) == (12, 0)
        assert sum(night.statuses.values()) == 12
        assert [one.run_id for one in night.history] == [earlier.run_id, first.group]
    night = await load_night(same_filled, run_id=earlier.run_id)
    assert (night.shards, len(night.history)) == ((), 1)


async def test_the_issues_of_a_group_are_those_of_one_run(same_filled: str) -> None:
    odd = HUGE.format(IDS[3]), NAMED.format(IDS[3]), CLOSED.format(date_of(DAYS[1]))
    await database.execute(same_filled, *odd)
    settings = replace(CHUNKS, lookback_days=1, min_coverage=0.0)
    await run(same_filled, settings=settings, on_existing="replace")
    whole = await load_night(same_filled)
    for number in (1, 2):
        await run(same_filled, settings=replace(settings, shard=(number, 2)), on_existing="replace")
    group = await load_night(same_filled)
    assert len(group.shards) == 2
    assert {one.name for one in group.issues} >= {"stale", "out_of_range"}
    for name in ("failed", "findings", "statuses", "coverage"):
        assert getattr(group, name) == getattr(whole, name), name
    assert group.marks.marks.tolist() == whole.marks.marks.tolist()
    # An example is that of one shard: how many lots it has without a close.
    issues = [[replace(one, example="") for one in night.issues] for night in (group, whole)]
    assert issues[0] == issues[1]
    assert (group.run.state, group.run.failed) == ("incomplete", 1)


async def test_shards_of_portfolios_by_id_show_these(same_filled: str) -> None:
    for number in (1, 2):
        await shard(same_filled, number, 2, portfolio_ids=IDS[:5])
    night = await load_night(same_filled)
    assert (night.run.portfolios, night.totals.portfolios) == (5, 5)


async def test_the_error_of_a_group_names_its_shard(same_filled: str) -> None:
    await run(same_filled)
    for number in (1, 2):
        with pytest.raises(SnapshotExistsError):
            await shard(same_filled, number, 2, on_existing="error")
    night = await load_night(same_filled)
    assert night.run.state == "failed"
    assert (night.run.error or "").startswith("shard 1/2: SnapshotExistsError: ")


async def test_portfolios_deleted_since_are_left_out_and_counted(same_filled: str) -> None:
    await run(same_filled, portfolio_ids=IDS[:3])
    await database.execute(same_filled, *(delete.format(IDS[0]) for delete in DELETED))
    night = await load_night(same_filled, verifies=True)
    assert (night.deleted, night.run.portfolios) == (1, 3)
    assert night.totals.portfolios == 2
    assert night.by_symbol.daily_pnl == night.totals.pnl
    assert (night.verified.rows, night.verified.rows_differing) == (2, 0)
    for own in IDS[1:3]:
        await database.execute(same_filled, *(delete.format(own) for delete in DELETED))
    night = await load_night(same_filled, verifies=True)
    assert (night.deleted, night.totals, night.by_symbol) == (3, None, None)
    assert night.verified is None


async def test_a_policy_that_looks_at_no_coverage_has_no_gate(same_host: str) -> None:
    await database.fill(same_host, database.plain_host(2, DAYS))
    await batchcore.run_batch(same_host, START, END, policy="legacy")
    night = await load_night(same_host)
    assert (night.run.policy, night.gate) == ("legacy", None)


@pytest.mark.parametrize("policy", ["rollforward", "legacy"])
async def test_a_run_without_a_plan_shows_the_sessions_up_to_the_latest_row(
    same_host: str, policy: str
) -> None:
    await database.fill(same_host, database.plain_host(2, DAYS))
    await batchcore.run_batch(same_host, START, END, policy=policy)
    await database.execute(
        same_host, "UPDATE batchcore_runs SET start_date = NULL, end_date = NULL"
    )
    await database.execute(same_host, "DELETE FROM batchcore_run_chunks")
    night = await load_night(same_host)
    assert night.coverage[-1].session == END
    await database.execute(same_host, "DELETE FROM portfolio_snapshots")
    assert not (await load_night(same_host)).coverage


async def test_symbols_count_as_held_while_they_are(same_host: str) -> None:
    def position(name: str, start: int, **more: object) -> ref.Position:
        return ref.Position(name, "LONG", Decimal(1), Decimal(1), start, **more)

    held = (
        position("A", DAYS[0] - 9),
        position("B", DAYS[0] - 9),
        position("SOLD", DAYS[0] - 99, exit_day=DAYS[0] - 90, exit_price=Decimal(1)),
        position("OWN", DAYS[0] - 9, investment_class="PRIVATE"),
    )
    closes = tuple((name, day, Decimal(5)) for name in ("A", "SOLD", "OWN") for day in DAYS)
    portfolio = ref.Portfolio("p0", Decimal(100), held)
    await database.fill(same_host, database.Host((portfolio,), closes))
    await run(same_host, settings=Settings(min_coverage=0.0))
    night = await load_night(same_host)
    # SOLD was closed before all of the sessions shown, and nobody publishes closes of OWN.
    assert (night.marks.held, night.marks.lacking) == (2, 2)


async def test_positions_without_a_lot_or_of_deleted_portfolios_hold_no_symbol(
    same_host: str,
) -> None:
    first, last = DAYS[0] - 9, DAYS[-1]
    own = ref.Position("A", "LONG", Decimal(1), Decimal(1), first)
    held = (
        replace(own, symbol="B", entry_day=last),
        replace(own, symbol="B", quantity=Decimal(0)),  # closed, without an event
        replace(own, symbol="NONE", quantity=Decimal(0)),
        replace(own, symbol="EXITED", exit_day=first, exit_price=Decimal(1)),
        own,
    )
    portfolio = ref.Portfolio("p0", Decimal(100), held)
    gone = replace(portfolio, id="p1", positions=(replace(own, symbol="B"),))
    await database.fill(same_host, database.Host((portfolio, gone), (("A", last, Decimal(5)),)))
    deleted = f"UPDATE portfolios SET deleted_at = now() WHERE id = '{database.key('p1')}'"  # noqa: S608
    await database.execute(same_host, deleted)
    await run(same_host, settings=Settings(min_coverage=0.0))
    marks = (await load_night(same_host)).marks
    assert (marks.held, marks.symbols) == (2, ("A", "B"))
    assert [int((row != NOT_HELD).sum()) for row in marks.marks] == [9 + len(DAYS), 1]


async def test_a_night_whose_prices_have_not_arrived(same_host: str) -> None:
    held = tuple(
        ref.Position(name, "LONG", Decimal(1), Decimal(1), DAYS[0] - 9) for name in ("A", "B", "C")
    )
    closes = (
        *((name, DAYS[0], Decimal(5)) for name in ("A", "B", "C")),
        ("A", DAYS[1], Decimal(5)),
    )
    portfolio = ref.Portfolio("p0", Decimal(100), held)
    await database.fill(same_host, database.Host((portfolio,), closes))
    with pytest.raises(CoverageError):
        await run(same_host)

    night = await load_night(same_host)

    assert night.run.state == "failed"
    assert (night.run.error or "").startswith("CoverageError: price coverage on ")
    assert (night.totals, night.returns, night.by_symbol) == (None, None, None)
    assert night.run.rows_written == 0
    # The gate and what was missed are there to be seen: up to the day before all had closes.
    low = [day.session for day in night.coverage if day.share < night.gate]
    assert low == [date_of(DAYS[1])]
    assert sorted(night.marks.symbols[:2]) == ["B", "C"]


async def test_no_run_an_unknown_one_and_an_unknown_portfolio(same_host: str) -> None:
    with pytest.raises(ConfigError, match="the ledger has no runs"):
        await load_night(same_host)
    nobody = uuid.UUID(int=7)
    with pytest.raises(ConfigError, match=f"there is no run {nobody}"):
        await load_night(same_host, run_id=nobody)
    with pytest.raises(ConfigError, match="is not a UUID"):
        await load_night(same_host, run_id="7")
    with pytest.raises(ConfigError, match=f"there is no portfolio {nobody}"):
        await load_portfolio_page(same_host, nobody)


@pytest.mark.parametrize("kind", [*OWN, *BORROWED])
async def test_pages_on_any_kind_of_database(same_host: str, kind: str) -> None:
    await database.fill(same_host, database.plain_host(2, DAYS))
    await run(same_host)
    async with caller(same_host, kind) as own:
        night = await load_night(own.db)
        page = await load_portfolio_page(own.db, P0, calendar="daily")
    assert night.totals.portfolios == 2
    assert len(page.points) == 5


async def test_a_portfolio_shows_its_chain(same_filled: str) -> None:
    await run(same_filled)

    page = await load_portfolio_page(same_filled, P0, calendar="daily", benchmark="AAA")

    assert (page.portfolio, page.currency) == (str(P0), "USD")
    equity = await database.equity_by_day(same_filled)
    assert [point.equity for point in page.points] == [equity[day] for day in DAYS]
    assert [point.flow for point in page.points] == [0, 0, 0, 70, 0]
    assert page.missing == ()
    # Returns are the P&L of each row by the equity before.
    growth = Decimal(1)
    for before, point in zip(page.points, page.points[1:], strict=False):
        growth *= 1 + point.pnl / before.equity
        assert point.twr == pytest.approx(growth - 1, abs=Decimal("1e-24"))
    assert (page.drawdown["max_drawdown"], page.drawdown["peak"]) == (0, None)
    assert page.no_returns == ""
    assert page.by_symbol.explained
    assert page.by_symbol.daily_pnl == sum(point.pnl for point in page.points[1:])
    assert [share.key for share in page.holdings] == ["AAA"]
    assert page.holdings[0].amount == Decimal(10 * 15)
    assert list(page.months) == [(START.year, START.month)]
    assert page.periods


async def test_a_gap_leaves_no_return_in_all_and_says_why(same_filled: str) -> None:
    await run(same_filled)
    gap = date_of(DAYS[2])
    await database.execute(same_filled, DROPPED.format(gap))
    page = await load_portfolio_page(same_filled, P0, calendar="daily")
    assert page.missing == (gap,)
    assert page.drawdown is None
    assert page.no_returns == f"no time-weighted return: a gap of 1 session, the first on {gap}"
    assert [point.twr is None for point in page.points] == [False, False, True, True]


@pytest.mark.usefixtures("painted")
async def test_stored_numbers_that_are_not_finite_are_left_out(same_filled: str) -> None:
    await run(same_filled)
    await database.execute(same_filled, NOT_FINITE.format(END))
    page = await load_portfolio_page(same_filled, P0, calendar="daily")
    last = page.points[-1]
    assert (last.flow, last.cumulative, last.pnl, last.twr) == (None, None, None, None)
    assert page.by_symbol is None
    assert "A stored daily_pnl is NULL or not a finite number" in portfolio_page(page)
    night = await load_night(same_filled)
    assert (night.totals is None, night.by_symbol) == (False, None)
    assert "A stored daily_pnl is NULL or not a finite number" in night_page(night)


async def test_a_portfolio_since_a_session(same_filled: str) -> None:
    await run(same_filled)
    page = await load_portfolio_page(same_filled, P0, calendar="daily", since=END)
    assert len(page.points) == 1
    assert page.by_symbol is not None
    assert (page.months, page.periods) == ({}, ())
    later = END + dt.timedelta(days=1)
    with pytest.raises(ConfigError, match="has no complete snapshot since"):
        await load_portfolio_page(same_filled, P0, calendar="daily", since=later)


async def test_a_soft_deleted_portfolio_is_shown_too(same_filled: str) -> None:
    await run(same_filled)
    deleted = "UPDATE portfolios SET deleted_at = now()"
    await database.execute(same_filled, deleted)
    page = await load_portfolio_page(same_filled, P0, calendar="daily")
    assert len(page.points) == 5
    # Of the night there is nothing left to add up.
    assert (await load_night(same_filled)).totals is None


async def test_a_role_that_may_only_select_will_do(same_filled: str) -> None:
    await run(same_filled)
    async with role_of(same_filled, "SELECT ON ALL TABLES IN SCHEMA public") as (_, url):
        assert (await load_night(url)).totals is not None
        assert (await load_portfolio_page(url, P0, calendar="daily")).points
