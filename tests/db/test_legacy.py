"""The policy `legacy` on a real server: what a run stores equals the reference, cell by cell."""

import datetime as dt
from dataclasses import replace
from decimal import Decimal
from typing import Any

import pytest

import batchcore
from batchcore import calendar as calendars
from batchcore.config import Schema, Settings
from batchcore.errors import SnapshotExistsError
from batchcore.reference import legacy
from db.conftest import LOOP, PoolOf
from support import database, legacy_frames, legacy_host
from support.cases import Case, cases
from support.database import Db
from support.generate import MONDAY
from support.generate_legacy import LegacyGenerator
from support.legacy_frames import Run
from support.legacy_host import after, assert_left, assert_told, by_reference, source_of
from support.outcome import LOOSE, seeded
from support.worked_legacy import P, beta, jan, portfolio, position, profile, snapshot

SESSIONS = calendars.load("XNYS").sessions(MONDAY - 60, MONDAY + 60).tolist()


def settings(run: Run, schema: Schema, **options: Any) -> Settings:
    today = calendars.date_of(run.today)
    return Settings(schema=schema, today=today, max_failed="100%", **options)


def schema_of(run: Run) -> Schema:
    """Return the scales of a run as those of a host that declares none."""
    scales = run.scales
    return Schema(
        scales={
            **LOOSE.scales,
            "positions.quantity": scales.quantity,
            "positions.entry_price": scales.price,
            "positions.last_price": scales.price,
            "positions.market_value": scales.money,
            "market_data_cache.close": scales.close,
            "equity_changes.amount": scales.money,
            "position_realized_events.realized_pnl": scales.money,
        }
    )


async def run_days(
    url: Db, run: Run, first: int, last: int, schema: Schema, **options: int | None
) -> batchcore.BatchResult:
    """Run a range, one session with the cached prices of the run."""
    start, end = calendars.date_of(first), calendars.date_of(last)
    if run.cached:
        assert start == end
        calculator = batchcore.PnLCalculator(settings(run, schema, **options), policy="legacy")
        return await calculator.calculate_all_portfolios_pnl(start, url, price_cache=source_of(run))
    return await batchcore.run_batch(
        url, start, end, policy="legacy", settings=settings(run, schema, **options)
    )


async def check(  # a run over a range
    url: Db, run: Run, first: int, last: int, schema: Schema, **options: int | None
) -> dict[str, legacy.Result]:
    """Run a range and compare with the reference; return what it says."""
    days = [day for day in SESSIONS if first <= day <= last]
    results = by_reference(run, days or range(first, last + 1), SESSIONS)
    before = await database.snapshots(url)
    result = await run_days(url, run, first, last, schema, **options)
    assert_told(result, results)
    await assert_left(url, before, results)
    return results


@pytest.mark.parametrize("case", cases("legacy"), ids=str)
@LOOP
async def test_a_worked_case_day_by_day(same_loose_host: str, case: Case, pool_of: PoolOf) -> None:
    run: Run = case
    rows: list[legacy.Row] = []
    db = await pool_of(same_loose_host)
    await legacy_host.fill(db, run)
    for day in run.days:
        results = await check(db, run, day, day, schema_of(run))
        rows += results["p"].rows
        run = after(run, results)
    assert [str(row) for row in rows] == [str(row) for row in case.expected[0].rows]


@pytest.mark.parametrize("seed", range(40))
@LOOP
async def test_run_leaves_what_the_reference_says(
    same_loose_host: str, seed: int, pool_of: PoolOf
) -> None:
    made = LegacyGenerator(seeded(f"legacy {seed}").randint).any_legacy_run()
    random = seeded(f"range {seed}")
    run = replace(made, cached={})
    first = MONDAY + random.randint(-4, 8)
    last = first + random.randint(0, 10)
    chunk_size = random.choice((None, 1, 2))
    db = await pool_of(same_loose_host)
    await legacy_host.fill(db, run)
    results = await check(db, run, first, last, LOOSE, chunk_size=chunk_size)
    # Once more: what is there stands, what failed fails again.
    await check(db, after(run, results), first, last, LOOSE, chunk_size=chunk_size)


@pytest.mark.parametrize("seed", range(20))
@LOOP
async def test_run_on_doubles_leaves_what_the_reference_says(
    same_double_host: str, seed: int, pool_of: PoolOf
) -> None:
    made = LegacyGenerator(seeded(f"doubles {seed}").randint).any_legacy_run()
    # 0.00003 is a price of 0, whatever the other price of the day is; 10.00005 is rounded up.
    prices = [("AAA", MONDAY - 20, Decimal("0.00003")), ("BBB", MONDAY - 21, Decimal("10.00005"))]
    run = replace(made, cached={}, prices=(*made.prices, *prices))
    first = MONDAY + seed % 5
    db = await pool_of(same_double_host)
    await legacy_host.fill(db, run)
    await check(db, legacy_frames.in_doubles(run), first, first + 7, LOOSE)


@pytest.mark.parametrize("seed", range(15))
@LOOP
async def test_run_of_one_day_after_the_other_leaves_the_same(
    same_loose_host: str, seed: int, pool_of: PoolOf
) -> None:
    run = LegacyGenerator(seeded(f"days {seed}").randint).any_legacy_run()
    db = await pool_of(same_loose_host)
    await legacy_host.fill(db, run)
    for day in range(MONDAY - 1, MONDAY + 6):
        run = after(run, await check(db, run, day, day, LOOSE))


def plain(*portfolios: legacy.Portfolio, today: int = 60) -> Run:
    prices = tuple(("AAA", jan(on), Decimal(on + 5)) for on in (2, 5, 6, 7, 8, 9))
    return Run(portfolios, prices, days=(jan(5),), today=jan(today))


def named(name: str, *snapshots: legacy.Snapshot, deleted: bool = False) -> legacy.Portfolio:
    return replace(portfolio(position(), snapshots=snapshots or (P,), deleted=deleted), name=name)


async def filled(url: str, run: Run) -> database.Snapshots:
    """Fill a host and return the snapshots that stand before a run."""
    await legacy_host.fill(url, run)
    return await database.snapshots(url)


async def ran(url: str, first: int, last: int, *ids: Any, **options: Any) -> batchcore.BatchResult:
    """Run days of January of a plain host."""
    options = {"policy": "legacy", "settings": settings(plain(), Schema()), **options}
    days = (calendars.date_of(jan(on)) for on in (first, last))
    return await batchcore.run_batch(url, *days, *ids, **options)


async def test_without_dates_each_goes_on_after_its_latest_complete_row(same_host: str) -> None:
    run = plain(named("p"), named("q", P, snapshot(7, "1500"), snapshot(8, "9", is_complete=False)))
    run = replace(
        run, portfolios=(*run.portfolios, replace(named("r"), snapshots=())), today=jan(9)
    )
    before = await filled(same_host, run)

    result = await batchcore.run_batch(
        same_host, policy="legacy", settings=Settings(today=dt.date(2026, 1, 9))
    )

    days = {"p": (5, 6, 7, 8, 9), "q": (8, 9), "r": (9,)}
    results = {
        name: by_reference(run, [jan(on) for on in own], SESSIONS)[name]
        for name, own in days.items()
    }
    assert_told(result, results)
    await assert_left(same_host, before, results)
    # 1500 + 10 x (13 - 12) on the 8th, + 10 on the 9th
    assert results["q"].equity_balance == Decimal(1520)


async def test_holes_are_filled_and_later_rows_stand(same_host: str) -> None:
    run = plain(named("p", P, snapshot(7, "5000"), snapshot(8, "6000")))
    await legacy_host.fill(same_host, run)
    results = await check(same_host, run, jan(5), jan(9), Schema())
    assert [row.day for row in results["p"].rows] == [jan(5), jan(6), jan(9)]
    # The 5th and 6th go on from 1000, the 9th from 6000.
    assert [row.equity_balance for row in results["p"].rows] == [1030, 1040, 6010]


async def test_replace_computes_the_rows_of_the_range_and_no_others(same_host: str) -> None:
    run = plain(named("p", P, snapshot(5, "5000"), snapshot(6, "6000"), snapshot(7, "7000")))
    before = await filled(same_host, run)

    result = await ran(same_host, 5, 6, on_existing="replace")

    gone = plain(named("p", P, snapshot(7, "7000")))
    results = by_reference(gone, [jan(5), jan(6)], SESSIONS)
    assert_told(result, results)
    await assert_left(same_host, before, results)
    # 1000 + 10 x (10 - 7), + 10; the column has the equity of the last day that was run (L7)
    assert results["p"].equity_balance == Decimal(1040)


async def test_error_refuses_a_complete_row_and_a_plan_writes_none(same_host: str) -> None:
    run = plain(named("p", P, snapshot(6, "5000")))
    before = await filled(same_host, run)
    with pytest.raises(SnapshotExistsError) as caught:
        await ran(same_host, 5, 7, on_existing="error")
    assert caught.value.session == "2026-01-06"
    assert await database.snapshots(same_host) == before
    planned = await ran(same_host, 5, 7, settings=Settings(dry_run=True, today=dt.date(2026, 1, 9)))
    assert planned.portfolios.sessions_planned.tolist() == [2]
    assert await database.snapshots(same_host) == before


async def test_range_without_a_session_fails_each_portfolio_asked_for(same_host: str) -> None:
    run = plain(named("one"), named("gone", deleted=True), named("two"))
    await legacy_host.fill(same_host, run)
    result = await ran(same_host, 3, 3, settings=None)
    assert sorted(result["errors"]) == [
        "one: Failed to create snapshot",
        "two: Failed to create snapshot",
    ]
    assert (result["success"], result["portfolios_processed"], result.rows_written) == (False, 0, 0)
    assert len(await database.snapshots(same_host)) == 3
    # one that is soft-deleted is not processed though it is asked for
    result = await ran(same_host, 5, 5, [database.key("gone")])
    assert (result.rows_written, result.failed, result["errors"]) == (0, 0, [])


async def test_optional_tables_that_are_absent_are_as_if_empty(host: str) -> None:
    held = replace(named("p"), positions=(position(market_value="100", last_price="10"),))
    run = replace(plain(held, today=5), has_benchmark=False)
    await legacy_host.fill(host, run)
    await database.execute(
        host,
        "DROP TABLE company_profiles, position_market_betas, benchmarks_sector_weights,"
        " position_realized_events, equity_changes",
    )
    results = await check(host, run, jan(5), jan(5), Schema())
    assert results["p"].rows[0].hhi is None


async def test_own_betas_of_the_positions_that_need_them(same_host: str) -> None:
    held = {
        "p": position(market_value="100", betas=(beta(4, "3"), beta(5, "2"))),
        "profile": position(symbol="BBB", market_value="100", betas=(beta(5, "2"),)),
        "option": position(position_type="LC", market_value="100", betas=(beta(5, "2"),)),
        "private": position(investment_class="PRIVATE", market_value="100", betas=(beta(5, "2"),)),
        "nothing": position(market_value="0", betas=(beta(5, "2"),)),
        "exited": position(exit_day=60, market_value="100", betas=(beta(5, "2"),)),
        "moved": position(market_value="100", betas=(beta(5, "2"),)),
    }
    portfolios = [replace(named(name), positions=(one,)) for name, one in held.items()]
    run = replace(
        plain(*portfolios, today=5), profiles={"BBB": profile("1.5"), "AAA": profile("0")}
    )
    await legacy_host.fill(same_host, run)
    moved = "UPDATE position_market_betas SET portfolio_id = $1 WHERE portfolio_id = $2"
    await database.fetch(same_host, moved, database.key("p"), database.key("moved"))
    gone = replace(portfolios[-1], positions=(position(market_value="100"),))
    run = replace(run, portfolios=(*portfolios[:-1], gone))

    results = await check(same_host, run, jan(5), jan(5), Schema())
    # 10 x (10 - 7) earned: 100 x 2 / 1030 = 0.1942; BBB has no close: 100 x 1.5 / 1000 = 0.1500
    betas = {name: result.rows[0].beta_provider_1y for name, result in results.items()}
    assert betas.pop("p") == Decimal("0.1942")
    assert betas.pop("profile") == Decimal("0.1500")
    assert set(betas.values()) == {None}


async def test_run_in_the_transaction_of_the_caller(same_host: str) -> None:
    run = plain(named("p"))
    before = await filled(same_host, run)
    calculator = batchcore.PnLCalculator(settings(run, Schema()), policy="legacy")
    async with database.connected(same_host) as connection, connection.transaction():
        result = await calculator.calculate_all_portfolios_pnl(dt.date(2026, 1, 5), connection)
    results = by_reference(run, [jan(5)], SESSIONS)
    assert_told(result, results)
    await assert_left(same_host, before, results)


async def test_an_empty_list_is_nobody_and_an_inactive_portfolio_is_somebody(
    same_host: str,
) -> None:
    run = plain(named("p"))
    await legacy_host.fill(same_host, run)
    await database.execute(same_host, "UPDATE portfolios SET is_active = false")
    nobody = await ran(same_host, 5, 5, [])
    assert (nobody.rows_written, nobody.failed) == (0, 0)
    assert len(await database.snapshots(same_host)) == 1
    assert (await ran(same_host, 5, 5)).rows_written == 1


@pytest.mark.parametrize(
    ("price", "pnl"),
    [
        (None, 30),  # 10 x (10 - 7)
        (Decimal("8.5"), 15),  # 10 x (8.5 - 7)
        (0, 0),  # known to have no price
    ],
)
async def test_a_price_cache_serves_the_close_of_the_day_alone(
    same_host: str, price: Decimal | int | None, pnl: int
) -> None:
    run = plain(named("p"))
    await legacy_host.fill(same_host, run)
    monday = dt.date(2026, 1, 5)
    cache = batchcore.PriceCache()
    await cache.load_single_date(same_host, ["AAA"], monday)
    if price is not None:
        cache.set("AAA", monday, price)
        cache.set("AAA", dt.date(2026, 1, 2), price)  # no previous close (L12)
    calculator = batchcore.PnLCalculator(settings(run, Schema()), policy="legacy")
    await calculator.calculate_all_portfolios_pnl(monday, same_host, price_cache=cache)
    row = (await database.snapshots(same_host))[database.key("p"), jan(5)]
    assert (row["daily_pnl"], row["long_value"]) == (pnl, 100)
