"""`explain` on a real server (X1 to X8).

Worked by hand on one portfolio p of five positions, from Monday 5 January to Friday 9 January:

    AAA closes at 10, 11, 12, 11, 13    BBB at 20, 19, 18, -, 21    OPT at 2, 3, 2.5, -, -

    100 AAA bought at 9, 40 of them sold on the 7th for 120    10 AAA bought at 10 on the 6th, sold
    at 12.5 on the 8th    50 BBB sold short at 20    2 calls OPT bought at 2, expired on the 8th
    10 PRV, PRIVATE, bought at 30, sold at 35 on the 7th

and 500 are paid in on the 7th. What each lot adds to the 7th, and to all after the 6th:

    lot        V(6)  V(7)  realized  7th    V(9)  realized  6th to 9th
    40 AAA       80     -       120   40       -       120          40
    60 AAA      120   180             60     240                   120
    10 AAA       10    20             10       -        25          15
    50 BBB       50   100             50     -50                  -100
    2 OPT       200   100           -100       -       100        -100
    10 PRV        0     -        50   50       -        50          50
                                     110                            25
"""

import datetime as dt
import uuid
from collections import Counter, defaultdict
from collections.abc import Iterator
from dataclasses import replace
from decimal import Decimal, localcontext
from itertools import groupby
from typing import Any

import asyncpg
import pytest

import batchcore
from batchcore import reference as ref
from batchcore.calendar import date_of
from batchcore.config import Schema, Settings
from batchcore.errors import ConfigError, InputError
from batchcore.policies import rollforward_audit
from batchcore.reference import legacy
from batchcore.values import EXACT
from db.conftest import LOOP, PoolOf
from support import database, legacy_host, worked_legacy
from support.callers import engine_of
from support.cases import Case, cases
from support.database import Host
from support.generate import MONDAY, Generator
from support.legacy_frames import Run
from support.outcome import LOOSE, random_host, seeded
from support.runs import run_days
from support.worked import contribution, event, jan, portfolio, position, price

D5, D6, D7, D8, D9 = (dt.date(2026, 1, day) for day in range(5, 10))
P = database.key("p")
SETTINGS = Settings(min_coverage=0.0, max_failed="100%", today=D9)
OPTIONS: dict[str, Any] = {"settings": SETTINGS, "analytics": "none"}

PRICES = tuple(
    price(symbol, day, close)
    for symbol, closes in {
        "AAA": {5: "10", 6: "11", 7: "12", 8: "11", 9: "13"},
        "BBB": {5: "20", 6: "19", 7: "18", 9: "21"},
        "OPT": {5: "2", 6: "3", 7: "2.5"},
    }.items()
    for day, close in closes.items()
)


def held(symbol: str, kind: str, quantity: str, entry_price: str, **more: Any) -> ref.Position:
    own = {"entry_day": 2, "position_type": kind, "quantity": quantity, "entry_price": entry_price}
    return position(symbol=symbol, **{**own, "investment_class": "PUBLIC", **more})


HELD = (
    held("AAA", "LONG", "60", "9", events=(event(7, "40", "120"),)),
    held(" aaa", "LONG", "10", "10", entry_day=6, exit_day=8, exit_price="12.5"),
    held("BBB", "SHORT", "-50", "20", entry_day=5),
    held("OPT", "LC", "2", "2", entry_day=5, expiration_day=8, investment_class="OPTIONS"),
    held("PRV", "LONG", "10", "30", exit_day=7, exit_price="35", investment_class="private "),
)
PORTFOLIO = portfolio(*HELD, opening="10000", flows=(contribution(7, "500"),))
OTHER = portfolio(held("BBB", "LONG", "1", "20", entry_day=5), opening="100", name="q")
HOST = Host((PORTFOLIO, OTHER), PRICES)

ON_THE_7TH = {
    ("OPT", "2"): ("-100", "0", "-100"),
    ("AAA", "60"): ("60", "0", "60"),
    ("BBB", "-50"): ("50", "0", "50"),
    ("PRV", "10"): ("0", "50", "50"),
    ("AAA", "40"): ("-80", "120", "40"),
    (" aaa", "10"): ("10", "0", "10"),
}
"""Unrealized change, realized and contribution of each lot."""

AFTER_THE_6TH = {
    ("AAA", "60"): ("120", "0", "120"),
    ("BBB", "-50"): ("-100", "0", "-100"),
    ("OPT", "2"): ("-200", "100", "-100"),
    ("PRV", "10"): ("0", "50", "50"),
    ("AAA", "40"): ("-80", "120", "40"),
    (" aaa", "10"): ("-10", "25", "15"),
}


@pytest.fixture(scope="module")
def stored(server, template: str) -> Iterator[str]:
    """The URL of a database with both portfolios, run over the five days; nothing is changed."""

    async def fill(url: str) -> None:
        await database.fill(url, HOST)
        done = await run_days(url, jan(5), jan(9), **OPTIONS)
        assert done.rows_written == 10

    yield from database.shared(server, fill, template)


async def ran(url: str, *days: tuple[int, int]) -> None:
    await database.fill(url, HOST)
    for first, last in days:
        await run_days(url, jan(first), jan(last), **OPTIONS)


def lots(found: batchcore.Explanation) -> dict[tuple[str | None, str], tuple[Any, ...]]:
    return {
        (row.symbol, f"{row.quantity}"): (row.unrealized_change, row.realized, row.contribution)
        for row in found.rows
    }


def amounts(expected: dict[Any, tuple[str, ...]]) -> dict[Any, tuple[Decimal, ...]]:
    return {key: tuple(map(Decimal, own)) for key, own in expected.items()}


def assert_adds_up(found: batchcore.Explanation) -> None:
    with localcontext(EXACT):
        contributed = sum((row.contribution or Decimal(0) for row in found.rows), Decimal(0))
        assert contributed == found.computed_pnl
        assert contributed + found.rounding == found.daily_pnl


async def test_a_session_is_explained_lot_by_lot(stored: str) -> None:
    found = await batchcore.explain(stored, [P], D7)
    assert lots(found) == amounts(ON_THE_7TH)
    # by the size of the contribution: 100, 60, 50 and 50 by key, 40, 10
    assert [abs(row.contribution or 0) for row in found.rows] == [100, 60, 50, 50, 40, 10]
    assert (found.portfolio, found.session, found.previous, found.since) == (P, D7, D6, None)
    # 10,000 on the 5th, the baseline; 360 on the 6th, and 500 paid in on the 7th
    assert (found.equity_before, found.daily_pnl, found.equity) == (10360, 110, 10970)
    assert [(flow.date, flow.amount) for flow in found.flows] == [(D7, 500)]
    assert (found.computed_pnl, found.rounding) == (110, 0)
    assert found.explained
    assert (found.missing_sessions, found.cells, found.unbalanced) == ((), (), ())
    assert_adds_up(found)
    largest = found.rows[0]
    assert (largest.type, largest.sector, largest.multiplier) == ("LC", "Unclassified", 100)
    assert (largest.mark_before, largest.mark_before_day, largest.status_before) == (3, D6, "fresh")
    assert (largest.mark, largest.mark_day, largest.status) == (Decimal("2.5"), D7, "fresh")
    # 2.5 * 2 * 100, and 100 of 310
    assert (largest.value, largest.share) == (500, Decimal("0.3225806451612903225806451613"))
    private = next(row for row in found.rows if row.symbol == "PRV")
    assert (private.mark_before, private.mark, private.value) == (None, None, None)


async def test_marks_say_how_old_they_are(stored: str) -> None:
    found = await batchcore.explain(stored, [P], D8)
    marks = {row.symbol: (row.mark, row.mark_day, row.status) for row in found.rows if row.value}
    assert marks["BBB"] == (18, D7, "lookback")
    strict = await batchcore.explain(stored, [P], D8, settings=Settings(lookback_days=0))
    assert {row.status for row in strict.rows if row.symbol == "BBB"} == {"stale"}


async def test_a_range_is_explained_as_a_whole(stored: str) -> None:
    found = await batchcore.explain(stored, [P], D9, since=D6)
    assert lots(found) == amounts(AFTER_THE_6TH)
    assert (found.previous, found.since, found.session) == (D6, D6, D9)
    assert (found.equity_before, found.daily_pnl, found.equity) == (10360, 25, 10885)
    assert_adds_up(found)
    # a range before the first row begins with the baseline; one that ends on a day off ends before
    whole = await batchcore.explain(stored, [P], dt.date(2026, 1, 11), since=dt.date(2025, 1, 1))
    assert (whole.previous, whole.session, whole.equity_before) == (D5, D9, 10000)
    assert (whole.daily_pnl, whole.rounding, whole.explained) == (385, 0, True)


async def test_a_baseline_lists_its_lots(stored: str) -> None:
    found = await batchcore.explain(stored, [P], D5)
    assert found.explained
    assert (found.previous, found.equity_before, found.equity) == (None, None, 10000)
    assert (found.daily_pnl, found.computed_pnl, found.rounding) == (0, 0, 0)
    values = {(row.symbol, row.quantity): (row.mark, row.value) for row in found.rows}
    # PRIVATE is worth its entry; the 10 AAA of the 6th are not there yet
    assert values == {
        ("AAA", 40): (10, 400),
        ("AAA", 60): (10, 600),
        ("BBB", -50): (20, -1000),
        ("OPT", 2): (2, 400),
        ("PRV", 10): (None, 300),
    }
    assert {row.contribution for row in found.rows} == {None}
    assert {row.share for row in found.rows} == {None}


@pytest.mark.parametrize(
    ("by", "expected"),
    [
        ("symbol", {"AAA": "110", "OPT": "-100", "BBB": "50", "PRV": "50"}),
        ("sector", {"Unknown": "160", "Unclassified": "-50"}),
        ("type", {"LONG": "160", "LC": "-100", "SHORT": "50"}),
        ("class", {"PUBLIC": "160", "OPTIONS": "-100", "PRIVATE": "50"}),
        ("portfolio", {str(P): "110"}),
    ],
)
async def test_groups_are_sums_of_the_lots(stored: str, by: str, expected: dict[str, str]) -> None:
    found = await batchcore.explain(stored, [P], D7, by=by)
    assert [(row.key, row.contribution) for row in found.rows] == [
        (key, Decimal(amount)) for key, amount in expected.items()
    ]
    assert_adds_up(found)
    # natively, with the other portfolio, whose BBB falls from 19 to 18
    both = await batchcore.explain(stored, None, D7, by=by)
    assert (both.portfolios, both.portfolio, both.explained) == (2, None, True)
    assert (both.daily_pnl, both.computed_pnl) == (109, 109)
    assert_adds_up(both)
    alone = {row.key: row.contribution for row in found.rows}
    moved = {"symbol": "BBB", "sector": "Unknown", "type": "LONG", "class": "PUBLIC"}
    key = moved.get(by, str(database.key("q")))
    alone[key] = (alone.get(key) or 0) - 1
    assert {row.key: row.contribution for row in both.rows} == alone


async def test_positions_have_what_their_lots_have_in_common(stored: str) -> None:
    found = await batchcore.explain(stored, [P], D7, by="position")
    sold = next(row for row in found.rows if row.quantity == 100)
    assert (sold.key, sold.symbol, sold.entry_price) == (str(sold.position), "AAA", 9)
    assert (sold.unrealized_change, sold.realized, sold.contribution) == (-20, 120, 100)
    assert (sold.mark_before, sold.mark, sold.value) == (11, None, 720)


async def test_several_portfolios_and_a_range_of_them(stored: str) -> None:
    found = await batchcore.explain(stored, [P, database.key("q")], D9, since=D6, by="portfolio")
    assert [(row.key, row.contribution) for row in found.rows] == [
        (str(P), Decimal(25)),
        (str(database.key("q")), Decimal(2)),
    ]
    assert (found.session, found.since, found.daily_pnl) == (D9, D6, 27)
    small = Settings(chunk_size=1)
    assert found == await batchcore.explain(
        stored, None, D9, since=D6, by="portfolio", settings=small
    )


async def test_without_a_session_it_is_the_latest_and_of_nobody_nothing(stored: str) -> None:
    assert (await batchcore.explain(stored, [P])).session == D9
    assert (await batchcore.explain(stored)).session == D9
    found = await batchcore.explain(stored, [], D9)
    assert (found.portfolios, found.rows, found.rounding) == (0, (), 0)


@pytest.mark.parametrize("calendar", ["daily", "prices"])
async def test_sessions_are_those_of_the_calendar(stored: str, calendar: str) -> None:
    found = await batchcore.explain(stored, [P], D7, calendar=calendar)
    assert lots(found) == amounts(ON_THE_7TH)
    late = dt.date(2026, 1, 11)
    ranged = await batchcore.explain(stored, [P], late, since=D6, calendar=calendar)
    assert (ranged.daily_pnl, ranged.session) == (25, D9)
    weekend = (dt.date(2026, 1, 10), late)
    assert ranged.missing_sessions == (weekend if calendar == "daily" else ())


async def test_a_soft_deleted_portfolio_is_explained_if_it_is_asked_for(same_host: str) -> None:
    await ran(same_host, (5, 7))
    await database.fetch(same_host, "UPDATE portfolios SET deleted_at = now() WHERE id = $1", P)
    assert lots(await batchcore.explain(same_host, [P], D7)) == amounts(ON_THE_7TH)
    assert (await batchcore.explain(same_host, None, D7)).portfolios == 1


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (([uuid.UUID(int=1)], D7), "unknown portfolio 00000000-0000-0000-0000-000000000001"),
        (([P], dt.date(2026, 1, 10)), f"portfolio {P} on 2026-01-10: the latest is of 2026-01-09"),
        (([P], dt.date(2026, 1, 2)), f"no complete snapshot of portfolio {P} is stored on"),
        ((None, dt.date(2026, 1, 10)), "any portfolio on 2026-01-10"),
        (([P], D7, D7), "since 2026-01-07 is not before session 2026-01-07"),
        (([P], "2026-01-07"), "session is '2026-01-07', expected a datetime.date"),
        (([P], dt.date(2026, 2, 1), dt.date(2026, 1, 20)), "after 2026-01-20, up to 2026-02-01"),
        ((None, D7, None, "lot"), "by is `lot`, expected one of symbol, sector, type, class, port"),
        ((None, D7, None, "account"), "unknown by `account`, expected one of lot, position, symb"),
    ],
)
async def test_what_cannot_be_explained_is_refused(
    stored: str, arguments: tuple[Any, ...], message: str
) -> None:
    options = dict(zip(("portfolio_ids", "session", "since", "by"), arguments, strict=False))
    with pytest.raises(ConfigError, match=message):
        await batchcore.explain(stored, **options)


async def test_any_kind_of_db_serves(stored: str) -> None:
    expected = await batchcore.explain(stored, [P], D7), await batchcore.explain(stored, None, D7)

    async def explained(db: Any) -> Any:
        return await batchcore.explain(db, [P], D7), await batchcore.explain(db, None, D7)

    for size in (1, 2):
        async with asyncpg.create_pool(stored, min_size=1, max_size=size) as pool:
            assert await explained(pool) == expected
            async with pool.acquire() as connection:
                assert await explained(connection) == expected
    async with engine_of(stored) as engine, engine.connect() as of_engine:
        assert await explained(engine) == expected
        assert await explained(of_engine) == expected


@pytest.mark.parametrize("chunk_size", [None, 1])
async def test_an_error_of_a_chunk_ends_the_explanation(
    same_host: str, chunk_size: int | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    await ran(same_host, (5, 7))

    def refused(*_: object, **__: object) -> None:
        msg = "no column"
        raise InputError(msg)

    monkeypatch.setattr(rollforward_audit, "contributions", refused)
    settings = Settings(chunk_size=chunk_size)
    with pytest.raises(InputError, match="no column"):
        await batchcore.explain(same_host, None, D7, settings=settings)


@pytest.mark.parametrize("by", ["symbol", "sector", "portfolio"])
async def test_amounts_of_any_size_are_exact(same_loose_host: str, by: str) -> None:
    await database.fill(same_loose_host, HOST)
    settings = Settings(schema=LOOSE, min_coverage=0.0)
    await run_days(same_loose_host, jan(5), jan(7), analytics="none", settings=settings)
    # contracts of 100: 9e14 * 9e14 * 100, 34 digits before the point and 8 behind it
    await database.execute(
        same_loose_host,
        "UPDATE positions SET quantity = 9e14, position_type = 'LC', exit_date = NULL",
        "UPDATE market_data_cache SET close = 9e14",
    )
    one = await batchcore.explain(same_loose_host, [P], D7, by=by, settings=settings)
    every = await batchcore.explain(same_loose_host, None, D7, by=by, settings=settings)
    with localcontext(prec=60):
        whole, of_all = (
            sum(row.value for row in found.rows if row.value is not None) for found in (one, every)
        )
        # four at the close, and one at its entry price of 30
        assert whole == 4 * Decimal(81) * 10**30 + 27 * 10**17
        assert of_all >= whole


async def test_what_a_gap_hides_is_of_the_day_after(same_host: str) -> None:
    await ran(same_host, (5, 6), (9, 9))
    found = await batchcore.explain(same_host, [P], D9)
    assert lots(found) == amounts(AFTER_THE_6TH)
    assert (found.previous, found.missing_sessions) == (D6, (D7, D8))
    assert [(flow.date, flow.amount) for flow in found.flows] == [(D7, 500)]
    assert (found.explained, found.unbalanced) == (True, ())
    ranged = await batchcore.explain(same_host, [P], D9, since=D5)
    assert (ranged.daily_pnl, ranged.missing_sessions) == (385, (D7, D8))


async def test_changed_data_are_not_explained(same_host: str) -> None:
    await ran(same_host, (5, 9))
    await database.execute(
        same_host, "UPDATE market_data_cache SET close = 13 WHERE symbol = 'AAA' AND close = 12"
    )

    found = await batchcore.explain(same_host, [P], D7)

    # one more for each of the 60 and the 10 AAA
    assert (found.daily_pnl, found.computed_pnl, found.rounding) == (110, 180, -70)
    assert (found.explained, found.line) == (False, "not explained")
    cells = {cell.column: (cell.stored, cell.computed) for cell in found.cells}
    assert cells == {
        "daily_pnl": (110, 180),
        "daily_realized_pnl": (170, 170),
        # 110 and 180 of 10360
        "daily_return": (Decimal("0.010618"), Decimal("0.017375")),
        "cumulative_pnl": (470, 540),
        "cumulative_realized_pnl": (170, 170),
    }
    assert_adds_up(found)
    # what the 8th goes on from has changed too, and the range from the 6th to the 9th has not
    assert not (await batchcore.explain(same_host, [P], D8)).explained
    assert (await batchcore.explain(same_host, [P], D9, since=D6)).explained
    night = await batchcore.explain(same_host, None, D7)
    assert (night.explained, night.unexplained, night.portfolios) == (False, 1, 2)
    (worst,) = night.examples
    assert (worst.portfolio, worst.daily_pnl, worst.computed_pnl) == (P, 110, 180)


async def test_a_row_that_does_not_add_up_is_named(same_host: str) -> None:
    await ran(same_host, (5, 9))
    await database.fetch(
        same_host,
        "UPDATE portfolio_snapshots SET equity_balance = equity_balance + 1"
        " WHERE portfolio_id = $1 AND snapshot_date = $2",
        P,
        D7,
    )
    await database.execute(same_host, "UPDATE equity_changes SET deleted_at = now()")
    found = await batchcore.explain(same_host, [P], D8, since=D6)
    assert found.explained
    first, second = found.unbalanced
    # 10360 + 110 + 500 is not 10971, and there is no such flow; 10971 - 55 is not 10915
    assert (first.session, first.equity_before, first.equity) == (D7, 10360, 10971)
    assert (first.daily_pnl, first.daily_capital_flow, first.flows) == (110, 500, 0)
    assert (second.session, second.equity_before, second.equity) == (D8, 10971, 10915)


async def test_a_pnl_that_is_no_number_is_not_explained(same_host: str) -> None:
    await ran(same_host, (5, 9))
    unknown = "UPDATE portfolio_snapshots SET daily_pnl = NULL WHERE portfolio_id = $1"
    await database.fetch(same_host, unknown, P)
    found = await batchcore.explain(same_host, [P], D7)
    assert (found.daily_pnl, found.rounding, found.explained) == (None, None, False)
    night = await batchcore.explain(same_host, None, D7)
    assert (night.daily_pnl, night.unexplained) == (None, 1)


async def test_sectors_are_those_of_profiles(
    same_host: str, caplog: pytest.LogCaptureFixture
) -> None:
    await ran(same_host, (5, 9))
    profiles = ("AAA", "Consumer Cyclical", False), ("BBB", "Energy", True)
    await database.add_profiles(same_host, "symbol sector is_etf", *profiles)
    expected = {
        "Consumer Discretionary": Decimal(110),
        "ETFs": Decimal(50),
        "Unclassified": Decimal(-50),
    }
    one = await batchcore.explain(same_host, [P], D7, by="sector")
    assert {row.key: row.contribution for row in one.rows} == expected
    both = await batchcore.explain(same_host, None, D7, by="sector")
    expected["ETFs"] -= 1
    assert {row.key: row.contribution for row in both.rows} == expected
    assert not caplog.messages
    none = Settings(schema=Schema(tables={"company_profiles": "no_profiles"}))
    for ids in ([P], None):
        caplog.clear()
        unknown = await batchcore.explain(same_host, ids, D7, by="sector", settings=none)
        assert {row.key for row in unknown.rows} == {"Unknown", "Unclassified"}
        (line,) = caplog.messages
        assert "sectors=unknown" in line
        assert "company_profiles" in line


@pytest.mark.parametrize("since", [None, MONDAY])
@pytest.mark.parametrize("seed", range(3))
@LOOP
async def test_random_hosts_are_explained_as_by_the_reference(
    same_loose_host: str,
    seed: int,
    since: int | None,
    pool_of: PoolOf,
) -> None:
    made = random_host(Generator(seeded(f"explain {seed}").randint), odd=True, portfolios=6)
    market, last = ref.market(made.prices), MONDAY + 9
    settings = Settings(schema=LOOSE, min_coverage=0.0, max_failed="100%")
    sums: dict[str, Counter[str | None]] = {by: Counter() for by in SUMS}
    options: dict[str, Any] = {"since": since and date_of(since), "settings": settings}
    db = await pool_of(same_loose_host)
    await database.fill(db, Host(made.portfolios, made.prices))
    await run_days(db, MONDAY - 3, last, analytics="none", settings=settings)
    stored = sorted(await database.snapshots(db))
    for one in made.portfolios:
        own = database.key(one.id)
        days = [day for owner, day in stored if owner == own]
        if last not in days:
            continue
        before = [day for day in days if day <= (last - 1 if since is None else since)]
        previous = before[-1] if before else days[0] if len(days) > 1 else None
        expected = ref.rollforward.contributions(one, market, previous, last)
        found = await batchcore.explain(db, [own], date_of(last), **options)
        assert found.explained
        assert_adds_up(found)
        assert sorted((row.symbol, row.quantity, row.contribution) for row in found.rows) == (
            sorted((lot.symbol, lot.quantity, lot.amount) for lot in expected)
        )
        for lot in expected:
            position = one.positions[lot.position]
            class_ = position.investment_class
            sums["symbol"][ref.normalised(lot.symbol)] += lot.amount
            sums["type"][position.position_type] += lot.amount
            sums["class"][class_ and ref.normalised(class_)] += lot.amount
            sums["portfolio"][str(own)] += lot.amount
        for row in found.rows:
            sums["sector"][row.sector] += row.contribution or Decimal(0)
    for by in SUMS:
        every = await batchcore.explain(db, None, date_of(last), by=by, **options)
        moved = {row.key: row.contribution for row in every.rows if row.contribution}
        assert moved == {key: amount for key, amount in sums[by].items() if amount}


SUMS = ("symbol", "sector", "type", "class", "portfolio")


def together() -> list[list[Case]]:
    """Return most worked cases of `legacy`, those that one run can compute together.

    tests/property/test_contributions.py has them all, and those of `rollforward`.
    """
    fit = [
        case
        for case in cases("legacy")
        if list(case.days) == sorted(case.days)
        and case.days
        and case.scales == ref.DEFAULT_SCALES
        and not case.cached
        and "udc" not in repr(case.portfolios)
    ]

    def shared(case: Case) -> str:
        return repr((case.days, case.prices, case.lookback_days, case.scales))

    groups = [list(group) for _, group in groupby(sorted(fit, key=shared), key=shared)]
    return sorted(groups, key=len)[-4:]


@pytest.mark.parametrize("one_run", together(), ids=lambda group: str(group[0]))
async def test_worked_cases_of_legacy_are_explained(
    same_loose_host: str, one_run: list[Case]
) -> None:
    case, today = one_run[0], jan(60)
    named = [
        replace(one, name=f"{own.name}: {one.name}") for own in one_run for one in own.portfolios
    ]
    run = Run(tuple(named), case.prices, case.days, today=today, scales=case.scales)
    await legacy_host.fill(same_loose_host, run)
    settings = Settings(schema=Schema(scales=LOOSE.scales), today=date_of(today), max_failed="100%")
    options: dict[str, Any] = {"policy": "legacy", "settings": settings}
    await run_days(same_loose_host, case.days[0], case.days[-1], **options)

    stored: dict[dt.date, dict[uuid.UUID, Decimal]] = defaultdict(dict)
    for owner, day, pnl in await database.fetch(
        same_loose_host,
        "SELECT portfolio_id, snapshot_date, daily_pnl FROM portfolio_snapshots"
        " WHERE is_complete AND created_at > '2021-01-01' ORDER BY 2",
    ):
        stored[day][owner] = pnl
    for day, pnls in stored.items():
        found = await batchcore.explain(same_loose_host, list(pnls), day, by="portfolio", **options)
        assert (found.portfolios, found.examples) == (len(pnls), ())
        assert found.daily_pnl == sum(pnls.values())
        assert_adds_up(found)


async def test_legacy_explains_position_by_position(same_host: str) -> None:
    # 1 AAA at 10, 11, 13 on the 5th, 6th and 7th: without a row before the 5th it earns nothing
    # there (L11), and what it realizes on the 6th counts beside what it earns (L19).
    sold = worked_legacy.position(quantity="2", events=[{"day": 6, "realized": "4"}])
    one = legacy.Portfolio("p", Decimal(1000), (sold,), (contribution(7, "5"),))
    prices = tuple(price("AAA", day, close) for day, close in ((5, "10"), (6, "11"), (7, "13")))
    run = Run((one,), prices, (jan(5), jan(6), jan(7)), today=jan(60))
    await legacy_host.fill(same_host, run)
    options: dict[str, Any] = {"policy": "legacy", "settings": Settings(today=date_of(jan(60)))}
    await batchcore.run_batch(same_host, D5, D7, **options)
    first = await batchcore.explain(same_host, [P], D5, policy="legacy")
    assert [(row.contribution, row.realized) for row in first.rows] == [(0, 0)]
    assert (first.previous, first.explained) == (None, True)
    second = await batchcore.explain(same_host, [P], D6, policy="legacy")
    (row,) = second.rows
    assert (row.unrealized_change, row.realized, row.contribution, row.value) == (2, 4, 6, 22)
    assert (row.mark_before, row.mark_before_day, row.status_before) == (10, D5, "lookback")
    assert (row.mark, row.mark_day, row.status) == (11, D6, "fresh")
    whole = await batchcore.explain(same_host, [P], D7, since=D5, policy="legacy")
    assert (whole.daily_pnl, whole.computed_pnl, whole.explained) == (10, 10, True)
    assert (whole.equity_before, whole.equity, whole.previous) == (1000, 1015, D5)
    assert [(flow.date, flow.amount) for flow in whole.flows] == [(D7, 5)]
    assert whole.unbalanced == ()


async def run_again(url: str, days: tuple[dt.date, ...], again: tuple[dt.date, ...]) -> None:
    """Run days of 2 AAA at 10, 12 and 14 under `legacy` one by one, and some of them again."""
    own = worked_legacy.position(quantity="2")
    one = legacy.Portfolio("p", Decimal(1000), (own,))
    prices = tuple(price("AAA", day, close) for day, close in ((5, "10"), (6, "12"), (7, "14")))
    run = Run((one,), prices, (jan(5), jan(6), jan(7)), today=jan(60))
    await legacy_host.fill(url, run)
    options: dict[str, Any] = {"policy": "legacy", "settings": Settings(today=date_of(jan(60)))}
    for day in days:
        await batchcore.run_batch(url, day, day, **options)
    for day in again:
        await batchcore.run_batch(url, day, day, on_existing="replace", **options)


@pytest.mark.parametrize(
    ("days", "again", "explained"),
    [
        ((D6, D5), (D6,), (D6, D5, 4)),  # no row existed when that of the 6th was written
        ((D5, D7, D6), (D7,), (D7, D6, 4)),  # that of the 5th did
        ((D7, D6, D5), (D5, D6, D7), (D7, D6, 4)),
    ],
)
async def test_legacy_explains_rows_that_were_run_again(
    same_host: str,
    days: tuple[dt.date, ...],
    again: tuple[dt.date, ...],
    explained: tuple[dt.date, dt.date, int],
) -> None:
    await run_again(same_host, days, again)
    session, previous, pnl = explained
    found = await batchcore.explain(same_host, [P], session, policy="legacy")
    assert (found.explained, found.daily_pnl, found.previous) == (True, pnl, previous)
    assert found.equity_before + found.daily_pnl == found.equity
    assert found.unbalanced == ()
    every = await batchcore.explain(same_host, session=session, by="symbol", policy="legacy")
    assert (every.explained, every.computed_pnl) == (True, pnl)


async def test_legacy_names_a_row_that_does_not_add_up_from_any_row_before(same_host: str) -> None:
    await run_again(same_host, (D6, D5), (D6,))
    # No row existed when that of the 6th was first written, but it says that it earned 4.
    more = "UPDATE portfolio_snapshots SET equity_balance = equity_balance + 3"
    await database.execute(same_host, f"{more} WHERE snapshot_date = '{D5}'")
    found = await batchcore.explain(same_host, [P], D6, policy="legacy")
    assert (found.explained, found.computed_pnl, found.previous) == (True, 4, D5)
    (row,) = found.unbalanced
    assert (row.session, row.equity_before, row.daily_pnl, row.equity) == (D6, 1003, 4, 1004)


async def test_legacy_computes_cells_from_the_row_that_a_row_continues_from(same_host: str) -> None:
    await run_again(same_host, (D5, D7, D6), (D7,))
    await database.execute(same_host, "UPDATE positions SET quantity = 3")
    found = await batchcore.explain(same_host, [P], D7, policy="legacy")
    assert (found.previous, found.equity_before) == (D6, 1004)
    expected = {cell.column: cell.computed for cell in found.cells}
    assert (expected["daily_pnl"], expected["cumulative_pnl"]) == (6, 10)
    assert expected["daily_return"] == Decimal("0.005976")
