"""A verification finds whatever is not what it should be, says why, and judges nothing else.

Where cells are named, they are worked by hand on `plain_host`: 10 AAA, bought at 10, which closes
at 11, 12, 13, 14 and 15 on five days, so that each day after the first earns 10; opened with 1000.
"""

import datetime as dt
import itertools
import uuid
from collections.abc import Iterator
from dataclasses import replace
from decimal import Decimal
from functools import partial
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

import batchcore
from batchcore import VerifyResult
from batchcore import reference as ref
from batchcore.audit.compare import BY_PROFILE, COLUMNS, EXPOSURES
from batchcore.audit.result import EQUITY
from batchcore.audit.verifier import Verification
from batchcore.calendar import date_of
from batchcore.config import Settings
from batchcore.demo import run as demo
from batchcore.errors import ConfigError, SchemaError
from batchcore.policies.rollforward_audit import BY_CHAIN
from batchcore.schema import COUNT_COLUMNS, RULE_COLUMNS
from batchcore.sources import stored as stores
from batchcore.sources.stored import ANALYTIC
from db.conftest import EMPTY, LOOP, PoolOf
from support import audit, database
from support.audit import FAST, Tampering, both, checked, wrong
from support.callers import caller
from support.database import Db, Host, Standing, connected, execute
from support.generate import MONDAY, Generator
from support.outcome import LOOSE, random_host, seeded
from support.runs import run_days

D0, D1, D2, D3, D4 = DAYS = tuple(range(MONDAY, MONDAY + 5))
P0, P1 = database.key("p0"), database.key("p1")
CELLS = len(COLUMNS)


async def run(url: Db, first: int = D0, last: int = D4, **options: Any) -> batchcore.BatchResult:
    """Run on the calendar `daily`; without analytics, unless they are asked for."""
    options = {"calendar": "daily", "analytics": "none", "settings": SETTINGS} | options
    return await run_days(url, first, last, **options)


SETTINGS = Settings(min_coverage=0.0)


async def verify(url: Any, *, fast: bool = True, **options: Any) -> VerifyResult:
    return await batchcore.verify(url, **{"calendar": "daily", "fast": fast, **options})


def snapshot(day: int, portfolio: uuid.UUID = P0) -> str:
    return audit.snapshot(day, portfolio)


def tampered(day: int, setting: str) -> str:
    return f"UPDATE portfolio_snapshots SET {setting} WHERE {snapshot(day)}"  # noqa: S608


async def plain(url: str, portfolios: int = 1, **more: Any) -> None:
    """Fill and run the host that is worked by hand; `more` are columns of `reference.Portfolio`."""
    host = database.plain_host(portfolios, DAYS)
    first, *others = host.portfolios
    position = more.pop("positions", first.positions)
    first = ref.Portfolio("p0", Decimal(1000), position, **more)
    await database.fill(url, Host((first, *others), host.prices))
    await run(url)


# What a run leaves is right, whatever the host is like.


async def test_rows_of_a_run_do_not_differ(same_host: str) -> None:
    await plain(same_host, 3)

    result = await both(verify, same_host)

    assert (result.portfolios, result.rows, result.rows_differing) == (3, 15, 0)
    assert (result.differing, result.examples, result.causes) == (0, (), {})
    # Of each portfolio the opening is not stored; of no row analytics were written.
    assert result.not_checkable == {"opening": 3, "not_analysed": 15 * len(ANALYTIC)}
    assert result.checked == 15 * CELLS - 3 - 15 * len(ANALYTIC) + 3  # and 3 own equities
    assert checked(result)["equity_balance"] == 12
    assert checked(result)[EQUITY] == 3
    assert result.consistent


HYPOTHESIS = settings(
    max_examples=12, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)


async def left_by_runs(db: Db, host: Host, spans: list[tuple[int, int]]) -> None:
    await execute(db, EMPTY)
    await database.fill(db, host)
    for span in spans:
        await run(db, *span)


@LOOP
@HYPOTHESIS
@given(seed=st.integers(0, 10**6))
async def test_rows_of_any_host_do_not_differ(same_host: str, pool_of: PoolOf, seed: int) -> None:
    generator = Generator(seeded(f"verify {seed}").randint, odd=0, edges=False)
    made = random_host(generator, portfolios=6)
    first = MONDAY + generator.integer(-4, 3)
    middle, last = first + generator.integer(0, 5), first + 8
    skipped = generator.integer(1, 3)
    db, spans = await pool_of(same_host), [(first, middle), (middle + skipped, last)]
    await left_by_runs(db, Host(made.portfolios, made.prices), spans)

    days = len(range(first, middle + 1)) + len(range(middle + skipped, last + 1))
    result = await both(verify, db)
    assert result.rows == 6 * days
    assert wrong(result) == {}
    assert result.missing_sessions == (6 * (skipped - 1) if middle + skipped <= last else 0)
    assert set(result.not_checkable) == {"opening", "not_analysed"}


@LOOP
@HYPOTHESIS
@given(seed=st.integers(0, 10**6))
async def test_rows_after_a_hosts_own_do_not_differ_though_anything_is_stored(
    same_loose_host: str, pool_of: PoolOf, seed: int
) -> None:
    generator = Generator(seeded(f"verify odd {seed}").randint, odd=4, edges=False)
    host = random_host(generator, portfolios=6, odd=True)
    first = MONDAY + generator.integer(-4, 8)
    own = {
        one.id: tuple(row for row in host.standing_of(one.id) if row.day < first)
        for one in host.portfolios
    }
    options = Settings(schema=LOOSE, min_coverage=0.0, max_failed="100%")
    db = await pool_of(same_loose_host)
    await left_by_runs(db, Host(host.portfolios, host.prices, own), [])
    done = await run(db, first, first + 6, settings=options)
    result = await both(verify, db, start_date=date_of(first), settings=options)
    assert result.rows == done.rows_written
    assert wrong(result) == {}
    assert set(result.not_checkable) <= {"opening", "not_analysed"}


# A market with analytics, verified once and copied for each tampered cell.

DATA = demo.seeded(demo.Size(portfolios=6, symbols=30, sessions=4), seed=11)
MARKET_DAYS = DATA.market.days[DATA.market.first :].tolist()
FIRST = min(DATA.opening())
INSIDE = MARKET_DAYS[2]


@pytest.fixture(scope="module")
def analysed(server: Any, template: str) -> Iterator[str]:
    """The URL of a database analysed by a run; tests put back what they change."""

    async def fill(url: str) -> None:
        await DATA.write(url)
        first, *_, last = MARKET_DAYS
        await run_days(url, first, last, analytics="every")

    yield from database.shared(server, fill, template)


CHANGED = snapshot(INSIDE, FIRST)


async def test_analytic_columns_of_a_run_do_not_differ(analysed: str) -> None:
    result = await both(batchcore.verify, analysed)
    assert result.not_checkable == {"opening": 6}
    assert (result.rows, result.differing) == (24, 0)
    assert all(checked(result)[name] == 24 for name in ANALYTIC)


@pytest.mark.parametrize("column", [*RULE_COLUMNS, *ANALYTIC])
async def test_a_tampered_cell_is_found(analysed: str, column: str) -> None:
    new = f"{column} + 1"
    by: Decimal | None = Decimal(1)
    if column == "daily_return":
        new, by = "daily_return + 0.000001", Decimal("0.000001")
    elif column == "sector_exposure":
        new, by = """'{"Unclassified": 7}'""", None
    elif column.startswith("realized_volatility"):
        new, by = "7", None  # of 4 returns there is none

    async with audit.changed(analysed, column, new, CHANGED):
        result = await both(batchcore.verify, analysed)

    # The row after a wrong equity or sum goes on from the right one: a wrong cell shows once.
    assert (wrong(result), result.rows_differing) == ({column: 1}, 1)
    assert result.causes == {"unknown": 1}
    (example,) = result.examples
    assert (example.portfolio, example.session) == (FIRST, date_of(INSIDE))
    assert (example.column, example.cause) == (column, "unknown")
    assert by is None or example.difference == by
    assert result.columns.worst[result.columns.name.index(column)] == example


AMOUNTS = [name for name in RULE_COLUMNS if name not in {*COUNT_COLUMNS, "equity_balance"}]
"""Without the equity, for a row without one is not complete (S5)."""


@pytest.mark.parametrize("column", AMOUNTS)
async def test_a_cell_that_is_no_amount_is_found(analysed: str, column: str) -> None:
    async with audit.changed(analysed, column, "'NaN'", CHANGED):
        result = await batchcore.verify(analysed, fast=True)
    assert wrong(result) == {column: 1}
    # The next row goes on from a sum that is no amount: nothing can be said of it.
    after = column.startswith("cumulative_")
    assert result.not_checkable.get("portfolio_fails", 0) == (CELLS if after else 0)
    assert {one.stored for one in result.examples} == {"not finite"}


async def test_a_unit_in_the_last_place_of_analytics_is_allowed(analysed: str) -> None:
    for column, units, differing in (("hhi", 1, 0), ("hhi", 2, 1), ("beta_calculated_90d", 1, 0)):
        async with audit.changed(analysed, column, f"{column} + 0.0001 * {units}", CHANGED):
            found = wrong(await batchcore.verify(analysed))
        assert found == ({column: 1} if differing else {})


async def test_a_wrong_equity_of_a_portfolio_is_found(same_host: str) -> None:
    await plain(same_host, 2)
    await execute(same_host, f"UPDATE portfolios SET equity_balance = 1 WHERE id = '{P1}'")  # noqa: S608
    result = await both(verify, same_host)
    assert (wrong(result), result.rows_differing) == ({EQUITY: 1}, 0)
    (example,) = result.examples
    assert example.to_dict() == {
        "portfolio": str(P1),
        "session": None,
        "column": EQUITY,
        "stored": "1.00",
        "expected": "1040.00",
        "difference": "1039.00",
        "cause": None,
    }

    await execute(same_host, f"UPDATE portfolios SET equity_balance = NULL WHERE id = '{P1}'")  # noqa: S608
    (example,) = (await verify(same_host)).examples
    assert (example.column, example.stored, example.difference) == (EQUITY, None, None)


TAMPERED = {
    "a wrong latest row": Tampering((tampered(D4, "equity_balance = 1"),), {"equity_balance": 1}),
    "two wrong rows one after the other": Tampering(
        (
            tampered(D2, "equity_balance = 2000"),
            tampered(D3, "num_positions = 9, cumulative_pnl = 77"),
        ),
        {"equity_balance": 1, "num_positions": 1, "cumulative_pnl": 1},
        examples=((D2, "equity_balance"), (D3, "cumulative_pnl"), (D3, "num_positions")),
    ),
    # 10 AAA: on D2 they are worth 5 more and have earned 5 more; on D3 they have earned 5 less,
    # from an equity of D2 that is 5 higher: what is summed up there is right again.
    "a price changed since": Tampering(
        (audit.closed(D2, "13.5"),),
        {
            **dict.fromkeys(("daily_pnl", "daily_return"), 4),
            **dict.fromkeys(("equity_balance", "total_value", "cumulative_pnl"), 2),
            **dict.fromkeys(("long_value", "gross_exposure", "net_exposure"), 2),
        },
        causes={"price_changed": 4},
        examples=((D2, "daily_pnl", 10, 15),),
        portfolios=2,
    ),
    "a price that does not say so": Tampering(
        (
            f"UPDATE market_data_cache SET close = 13.5 WHERE date = '{date_of(D2)}'",  # noqa: S608
            "UPDATE market_data_cache SET updated_at = now() WHERE date = '2000-01-01'",
        ),
        {
            **dict.fromkeys(("daily_pnl", "daily_return"), 2),
            **dict.fromkeys(("equity_balance", "total_value", "cumulative_pnl"), 1),
            **dict.fromkeys(("long_value", "gross_exposure", "net_exposure"), 1),
        },
        causes={"unknown": 2},
    ),
    # Its equity says nothing; what follows from it does, and so does the next row.
    "the equity of a first row, which is its opening": Tampering(
        (tampered(D0, "equity_balance = equity_balance + 5"),),
        {
            **dict.fromkeys(("total_value", "cash_value"), 2),
            **dict.fromkeys(("equity_balance", "daily_return"), 1),
        },
    ),
    **{
        f"{column} of a baseline": Tampering((tampered(D0, f"{column} = 3"),), {column: 1})
        for column in ("daily_pnl", "cumulative_pnl", "daily_capital_flow")
    },
    "a first row that tells of earlier ones is no baseline": Tampering(
        (f"DELETE FROM portfolio_snapshots WHERE {snapshot(D0)}",),  # noqa: S608
        not_checkable={"earlier_rows": len(BY_CHAIN), "not_analysed": 4 * len(ANALYTIC)},
    ),
    # The row after the incomplete one goes on from that before it.
    "incomplete rows and rows off session are nobody's": Tampering(
        (
            tampered(D2, "is_complete = false"),
            tampered(D4, f"snapshot_date = '{date_of(D4 + 1)}'"),
            "UPDATE portfolios SET equity_balance = 1030",  # of D3
        ),
        dict.fromkeys(("daily_pnl", "daily_return"), 1),
        causes={"missing_run": 1},
        not_checkable={
            "off_session": CELLS,
            "incomplete": CELLS,
            "not_analysed": 3 * len(ANALYTIC),
        },
        options={"calendar": "XNYS"},
    ),
}


@pytest.mark.parametrize("case", TAMPERED.values(), ids=TAMPERED)
async def test_what_was_changed_is_found(same_host: str, case: Tampering) -> None:
    await plain(same_host, case.portfolios)
    await execute(same_host, *case.statements)
    usual = {"opening": case.portfolios, "not_analysed": 5 * case.portfolios * len(ANALYTIC)}
    await case.assert_found(partial(verify, same_host), usual)


async def test_the_worst_difference_of_a_column_is_told(same_host: str) -> None:
    await plain(same_host, 2)
    await execute(
        same_host,
        tampered(D1, "long_value = long_value - 3"),
        tampered(D3, "long_value = long_value + 900"),
        tampered(D4, "long_value = long_value - 4"),
    )
    result = await verify(same_host, settings=Settings(chunk_size=1))
    worst = result.columns.worst[result.columns.name.index("long_value")]
    # 10 AAA at 14
    assert (worst.session, worst.stored, worst.expected) == (date_of(D3), 1040, 140)
    assert worst.difference == 900


# Why rows differ.


@pytest.mark.parametrize(
    ("ledger", "cause"),
    [
        ("SELECT 1", "unknown"),  # the run that replaced the rows knew the price
        ("DELETE FROM batchcore_runs", "price_changed"),  # as far as `created_at` tells
        ("DROP TABLE batchcore_run_chunks", "price_changed"),
        # what only goes on leaves the rows before as they are
        ("UPDATE batchcore_runs SET asked = asked || '{\"start\": null}'", "price_changed"),
        ("UPDATE batchcore_run_chunks SET last_session = '2020-01-01'", "price_changed"),
        ("UPDATE batchcore_run_chunks SET last_portfolio = first_portfolio", "price_changed"),
    ],
)
async def test_rows_that_a_run_replaced_go_by_its_start(host: str, ledger: str, cause: str) -> None:
    await plain(host, 2)
    await execute(host, audit.closed(D2, "13.5"))
    await run(host, on_existing="replace")
    assert wrong(await verify(host)) == {}
    late = (
        "daily_pnl = daily_pnl + 1 WHERE portfolio_id ="
        " (SELECT id FROM portfolios ORDER BY id DESC LIMIT 1)"
    )
    await execute(
        host,
        f"UPDATE portfolio_snapshots SET {late} AND snapshot_date = '{date_of(D3)}'",  # noqa: S608
        ledger,
    )

    result = await verify(host)

    assert result.causes == {cause: 1}
    assert wrong(result) == {"daily_pnl": 1}


OF_THREE = ["AAA", "SPY"]
OF_ALL = ["AAA", "BBB", "SPY"]


@pytest.mark.parametrize(
    ("chunk_size", "expected"), [(1, [OF_THREE, OF_ALL]), (2, [OF_THREE, OF_ALL]), (None, [OF_ALL])]
)
async def test_changed_closes_are_searched_again_only_for_more_of_them(
    host: str, monkeypatch: pytest.MonkeyPatch, chunk_size: int | None, expected: list[list[str]]
) -> None:
    searched: list[list[str]] = []
    search = stores.select_changed_closes

    def select(catalog: Any, symbols: Any, since: int, last: int) -> Any:
        searched.append([*symbols])
        return search(catalog, symbols, since, last)

    monkeypatch.setattr("batchcore.audit.policy.stores.select_changed_closes", select)
    # Portfolios by id; the last one has a symbol of its own.
    plain = database.plain_host(4, DAYS)
    *others, last = sorted(plain.portfolios, key=lambda one: database.key(one.id))
    own = replace(last.positions[0], symbol="BBB")
    prices = (*plain.prices, *(("BBB", day, close) for _, day, close in plain.prices))
    await database.fill(host, Host((*others, replace(last, positions=(own,))), prices))
    await run(host)
    changed = "UPDATE market_data_cache SET close = close + 1, updated_at = now()"
    await execute(host, f"{changed} WHERE date = '{date_of(D3)}'")
    found = await verify(host, settings=Settings(chunk_size=chunk_size))
    assert found.causes == {"price_changed": 8}
    assert searched == expected


@pytest.mark.parametrize(
    ("positions", "analyse", "sizes"),
    [(1, True, [2, 2, 1]), (3, True, [1] * 5), (1, False, [1] * 5)],
    ids=["few", "many", "unknown"],
)
async def test_positions_count_for_the_size_of_a_chunk(
    host: str,
    monkeypatch: pytest.MonkeyPatch,
    *,
    positions: int,
    analyse: bool,
    sizes: list[int],
) -> None:
    checked, check = list[int](), Verification._check  # noqa: SLF001

    async def counted(self: Verification, at: Any) -> None:
        checked.append(len(at))
        await check(self, at)

    plain = database.plain_host(5, DAYS)
    held = tuple(replace(one, positions=one.positions * positions) for one in plain.portfolios)
    await database.fill(host, replace(plain, portfolios=held))
    await run(host)
    await execute(host, *["ANALYZE positions, portfolios"] * analyse)
    monkeypatch.setattr("batchcore.audit.verifier.ROWS_OF_A_CHUNK", 4)
    monkeypatch.setattr(Verification, "_check", counted)
    found = await verify(host, start_date=date_of(D4))
    assert (found.rows, found.rows_differing, checked) == (5, 0, sizes)


async def test_a_deleted_snapshot_in_the_middle_is_a_missing_run(same_host: str) -> None:
    await plain(same_host)
    await execute(same_host, f"DELETE FROM portfolio_snapshots WHERE {snapshot(D2)}")  # noqa: S608
    result = await both(verify, same_host)
    # D3 goes on from D1: 20 earned, of which the row tells 10; its sums are right.
    assert (result.causes, result.missing_sessions) == ({"missing_run": 1}, 1)
    assert wrong(result) == {"daily_pnl": 1, "daily_return": 1}
    pnl, returned = result.examples
    assert (pnl.session, pnl.stored, pnl.expected) == (date_of(D3), 10, 20)
    # 10 of 1020, 20 of 1010
    assert (returned.stored, returned.expected) == (Decimal("0.009804"), Decimal("0.019802"))

    # A hole alone is no cause: nothing but the ledger tells that there was a row.
    await execute(same_host, "DELETE FROM batchcore_runs")
    assert (await both(verify, same_host)).causes == {"unknown": 1}


@pytest.mark.parametrize(
    ("column", "cause"),
    [
        ("num_positions", "unknown"),
        ("long_value", "unknown"),
        ("cumulative_pnl", "missing_run"),
    ],
)
async def test_a_missing_run_explains_only_what_depends_on_the_row_before(
    same_host: str, column: str, cause: str
) -> None:
    await plain(same_host)
    right = "daily_pnl = 20, daily_return = 20 / (equity_balance - 20)"
    await execute(
        same_host,
        f"DELETE FROM portfolio_snapshots WHERE {snapshot(D2)}",  # noqa: S608
        tampered(D3, f"{right}, {column} = 9"),
    )
    result = await both(verify, same_host)
    assert (wrong(result), result.causes) == ({column: 1}, {cause: 1})


async def test_flows_events_and_positions_changed_since_are_guessed(same_host: str) -> None:
    await plain(same_host, 4)
    p2, p3 = database.key("p2"), database.key("p3")
    await execute(
        same_host,
        audit.flow_added(P0, D2),
        audit.event_added(D1, 1, 5, f"portfolio_id = '{P1}'"),
        "UPDATE positions SET entry_price = 9, quantity = 20, updated_at = now()"  # noqa: S608
        f" WHERE portfolio_id = '{p2}'",
        f"UPDATE positions SET quantity = 20 WHERE portfolio_id = '{p3}'",  # noqa: S608
    )
    causes = {P0: "flow_changed", P1: "event_added", p2: "position_changed", p3: "unknown"}
    result = await both(verify, same_host)
    assert {one.portfolio: one.cause for one in result.examples}.items() <= causes.items()
    # The flow shows on its day; the event on D1, and as one more lot on D0. A position that
    # was another shows on every day.
    assert result.causes == {
        "flow_changed": 1,
        "event_added": 2,
        "position_changed": 5,
        "unknown": 5,
    }
    assert result.not_checkable["closed_since"] == len(COUNT_COLUMNS)


@pytest.mark.parametrize("old", ["AAA", "aaa "])
async def test_a_close_counts_until_the_next_one_however_old_it_is(
    same_host: str, old: str
) -> None:
    own = replace(SETTINGS, lookback_days=1)
    (portfolio,) = database.plain_host(1, DAYS).portfolios
    closes = (old, D0, Decimal(11)), (old, D4, Decimal(12))
    await database.fill(same_host, Host((portfolio,), closes))
    await run(same_host, settings=own)
    await execute(
        same_host, audit.closed(D0, "13", old), tampered(D4, "long_value = 9, daily_return = 9")
    )
    for fast in FAST:
        result = await verify(same_host, fast=fast, settings=own)
        # what D4 goes on from is the close of D0, four days old
        assert result.causes == {"price_changed": 5}
    await execute(same_host, audit.closed(D1, "11.5", old), audit.closed(D4, "14", old))
    await execute(same_host, tampered(D4 + 1, "long_value = 9"))
    assert (await verify(same_host, settings=own)).causes == {"price_changed": 5}
    await run(same_host, on_existing="replace", settings=own)
    # of D4 and later days that of D0 is no mark
    await run(same_host, D4 + 1, D4 + 2, settings=own)
    await execute(same_host, audit.closed(D0, "13", old), tampered(D4 + 2, "long_value = 9"))
    assert (await verify(same_host, settings=own)).causes == {"unknown": 1}


MOVED = {
    "flow": ("UPDATE equity_changes SET change_date = $1", "flow_changed"),
    "position": ("UPDATE positions SET entry_date = $1", "position_changed"),
}


@pytest.mark.parametrize(("statement", "cause"), MOVED.values(), ids=MOVED)
@pytest.mark.parametrize("policy", ["rollforward", "legacy"])
async def test_what_was_moved_to_a_later_day_is_the_cause_on_earlier_ones(
    same_host: str, statement: str, cause: str, policy: str
) -> None:
    host = database.plain_host(1, DAYS)
    paid = ref.Flow(D1, Decimal(7), "CONTRIBUTION")
    await database.fill(
        same_host, replace(host, portfolios=(replace(host.portfolios[0], flows=(paid,)),))
    )
    own = replace(SETTINGS, today=date_of(D4 + 9))
    options = {"policy": policy, "calendar": "XNYS", "settings": own}
    await run(same_host, **options)
    async with connected(same_host) as connection:
        await connection.execute(f"{statement}, updated_at = now()", date_of(D3))
    for fast in FAST:
        result = await verify(same_host, fast=fast, **options)
        assert result.rows_differing > 0
        assert result.causes == {cause: result.rows_differing}


TOUCHED = {
    "market_data_cache": ("updated_at = now()", "num_positions = 9"),
    "equity_changes": ("updated_at = now()", "num_positions = 9, daily_pnl = 3"),
    "positions": ("updated_at = now()", "daily_capital_flow = 3"),
    "position_realized_events": ("created_at = now()", "cumulative_capital_flow = 3"),
}


@pytest.mark.parametrize(("table", "case"), TOUCHED.items(), ids=TOUCHED)
async def test_what_has_no_part_in_a_wrong_cell_is_no_cause(
    same_host: str, table: str, case: tuple[str, str]
) -> None:
    sold = replace(
        database.plain_host(1, DAYS).portfolios[0].positions[0],
        events=(ref.Event(D2, Decimal(1), Decimal(3)),),
    )
    await plain(same_host, positions=(sold,), flows=(ref.Flow(D2, Decimal(7), "CONTRIBUTION"),))
    stamp, cells = case
    await execute(same_host, f"UPDATE {table} SET {stamp}", tampered(D2, cells))  # noqa: S608
    for fast in FAST:
        assert (await verify(same_host, fast=fast)).causes == {"unknown": 1}


# What cannot be checked, each reason.


async def test_a_row_after_tenths_of_cents_cannot_be_checked(same_loose_host: str) -> None:
    await database.fill(same_loose_host, database.plain_host(1, DAYS))
    options = Settings(schema=LOOSE)
    await run(same_loose_host, settings=options)
    await execute(same_loose_host, tampered(D1, "cumulative_pnl = 10.001"))
    result = await both(verify, same_loose_host, settings=options)
    assert wrong(result) == {"cumulative_pnl": 1}
    assert result.not_checkable["portfolio_fails"] == CELLS


async def test_a_private_value_that_was_edited_since_cannot_be_checked(same_host: str) -> None:
    private = ref.Position(
        *("HOUSE", "LONG", Decimal(1), Decimal(100), D1),
        investment_class="private",
        market_value=Decimal(500),
        exit_day=D4,
        exit_price=Decimal(510),
    )
    await plain(same_host, positions=(private,))
    usual = {"opening": 1, "not_analysed": 5 * len(ANALYTIC)}
    await Tampering(()).assert_found(partial(verify, same_host), usual)

    await execute(same_host, "UPDATE positions SET market_value = 600, updated_at = now()")

    # Held on D1 to D3.
    edited = Tampering(
        (),
        not_checkable={"private_value": 3 * len(EXPOSURES)},
        checked={"long_value": 2, "daily_pnl": 5},
    )
    await edited.assert_found(partial(verify, same_host), usual)


async def test_lots_of_a_position_closed_in_part_since_cannot_be_counted(same_host: str) -> None:
    await plain(same_host)
    # 4 of the 10 are sold on D3 at 14, and D3 and D4 are run again.
    await execute(
        same_host,
        audit.event_added(D3, 4, 16),
        "UPDATE positions SET quantity = 6, updated_at = now()",
        f"DELETE FROM portfolio_snapshots WHERE snapshot_date >= '{date_of(D3)}'",  # noqa: S608
    )
    await run(same_host, D3, D4)
    result = await both(verify, same_host)
    # D0 to D2 were one lot when they were written, and are two now.
    assert wrong(result) == {}
    assert result.not_checkable["closed_since"] == 3 * len(COUNT_COLUMNS)


async def test_a_profile_changed_since_cannot_be_checked(make_database: Any, analysed: str) -> None:
    url = await make_database(analysed)
    await execute(url, "UPDATE company_profiles SET beta = beta + 1, updated_at = now()")
    result = await batchcore.verify(url, fast=True)
    assert wrong(result) == {}
    assert result.not_checkable["profile_changed"] == 24 * len(BY_PROFILE)
    # One that was changed in silence differs.
    await execute(url, "UPDATE company_profiles SET updated_at = '2020-01-01'")
    assert set(wrong(await batchcore.verify(url, fast=True))) == {"beta_provider_1y"}


async def test_analytics_that_cannot_be_computed_are_told(
    make_database: Any, analysed: str
) -> None:
    url = await make_database(analysed)
    await execute(url, "DROP TABLE company_profiles")
    result = await batchcore.verify(url, fast=True)
    assert result.not_checkable == {"opening": 6, "analytics_off": 24 * len(BY_PROFILE)}
    assert result.analytics_off.keys() == {"provider_beta", "sector_exposure"}

    await execute(url, "ALTER TABLE portfolio_snapshots DROP hhi")
    result = await both(batchcore.verify, url)
    assert result.not_checkable == {"opening": 6, "analytics_off": 24 * len(ANALYTIC)}
    assert "hhi" in result.analytics_off["analytics"]
    assert result.differing == 0


async def test_a_soft_deleted_portfolio_is_left_out(same_host: str) -> None:
    await plain(same_host, 2)
    await execute(same_host, f"UPDATE portfolios SET deleted_at = now() WHERE id = '{P1}'")  # noqa: S608
    assert (await verify(same_host)).portfolios == 1
    result = await verify(same_host, portfolio_ids=[P1])
    assert result.not_checkable == {"soft_deleted": 5 * CELLS}
    assert (result.rows, result.checked) == (5, 0)


# Which rows.


async def test_a_range_goes_on_from_the_row_before_it(same_host: str) -> None:
    await plain(same_host, 2)
    await execute(same_host, tampered(D3, "daily_pnl = 0"), tampered(D1, "daily_pnl = 0"))
    result = await verify(same_host, start_date=date_of(D2), end_date=date_of(D3))
    assert (result.rows, result.rows_stored, wrong(result)) == (4, 4, {"daily_pnl": 1})
    assert "opening" not in result.not_checkable


@pytest.mark.parametrize("calendar", ["daily", "XNYS", "prices"])
async def test_a_calendar_is_that_of_the_runs(same_host: str, calendar: str) -> None:
    generator = Generator(seeded("calendars").randint, odd=0, edges=False)
    made = random_host(generator, portfolios=4)
    last = MONDAY + 11
    await database.fill(same_host, Host(made.portfolios, made.prices))
    done = await run(same_host, MONDAY, last, calendar=calendar)

    result = await verify(same_host, calendar=calendar)

    assert (result.rows, result.differing, result.missing_sessions) == (done.rows_written, 0, 0)
    assert result.calendar == calendar
    # From Monday to the Friday after next there are one Saturday and one Sunday.
    weekend = {"daily": 2, "XNYS": 0}.get(calendar)
    on_xnys = (await verify(same_host, calendar="XNYS")).not_checkable
    if weekend is not None:
        assert on_xnys.get("off_session", 0) == weekend * 4 * CELLS


@pytest.mark.parametrize("kind", ["pool", "engine"])
async def test_a_pool_or_an_engine_will_do(same_host: str, kind: str) -> None:
    await plain(same_host)
    async with caller(same_host, kind) as given:
        result = await verify(given.db)
    assert (result.rows, result.differing, result.consistent) == (5, 0, True)


async def test_portfolios_are_those_asked_for(same_host: str) -> None:
    await plain(same_host, 3)
    assert (await verify(same_host, portfolio_ids=[P1, str(P0)])).portfolios == 2
    nothing = await verify(same_host, portfolio_ids=[])
    assert (nothing.rows, nothing.checked, nothing.examples) == (0, 0, ())
    with pytest.raises(ConfigError, match=r"unknown portfolio .*0001"):
        await verify(same_host, portfolio_ids=[uuid.UUID(int=1)])


async def test_a_sample_is_drawn_by_its_seed(same_host: str) -> None:
    await plain(same_host, 8)
    await execute(same_host, "UPDATE portfolio_snapshots SET long_value = -1")

    async def drawn(seed: int, **options: Any) -> list[tuple[uuid.UUID, dt.date | None]]:
        result = await verify(same_host, sample=6, seed=seed, **options)
        assert (result.rows, result.rows_stored) == (6, 40)
        assert wrong(result) == {"long_value": 6}
        return [(one.portfolio, one.session) for one in result.examples]

    first = await drawn(1)
    for fast in FAST:
        assert await drawn(1, fast=fast) == first
        assert await drawn(1, fast=fast, settings=Settings(chunk_size=1)) == first
        assert await drawn(2, fast=fast) != first
        assert (await verify(same_host, fast=fast, sample=1000)).rows == 40
    # a row goes on from one that is not in the sample
    for fast, seed in itertools.product(FAST, range(5)):
        alone = await verify(same_host, fast=fast, sample=1, seed=seed)
        assert wrong(alone) == {"long_value": 1}


async def test_progress_counts_snapshots(same_host: str) -> None:
    await plain(same_host, 2)
    steps: list[tuple[str, int, int]] = []
    options = {"progress": lambda *step: steps.append(step), "settings": Settings(chunk_size=1)}
    await verify(same_host, fast=False, **options)
    assert steps[-1] == ("verify", 10, 10)
    assert ("verify", 4, 10) in steps


@pytest.mark.parametrize("chunk_size", [1, 2, 5])
async def test_chunks_make_no_difference(same_host: str, chunk_size: int) -> None:
    await plain(same_host, 5)
    await execute(same_host, tampered(D2, "cumulative_pnl = 1, equity_balance = 3"))
    whole = (await verify(same_host)).to_dict()
    parted = (await verify(same_host, settings=Settings(chunk_size=chunk_size))).to_dict()
    assert {**parted, "seconds": 0} == {**whole, "seconds": 0}


# Who may.


async def test_a_role_that_may_only_select_will_do(analysed: str) -> None:
    async with (
        audit.changed(analysed, "cash_value", "7", CHANGED),
        audit.reader(analysed) as reader,
    ):
        result = await both(batchcore.verify, reader)
        assert (result.rows, wrong(result)) == (24, {"cash_value": 1})


async def test_a_database_never_migrated_can_be_verified(make_database: Any, analysed: str) -> None:
    url = await make_database(analysed)
    await execute(url, "DROP TABLE batchcore_alembic_version")
    assert (await batchcore.verify(url, fast=True)).differing == 0


async def test_a_callers_connection_sees_what_it_has_not_committed(same_host: str) -> None:
    await plain(same_host)
    async with connected(same_host) as connection:
        async with connection.transaction():
            await connection.execute(tampered(D2, "cash_value = 1"))
            inside = await verify(connection)
        assert (wrong(inside), inside.consistent) == ({"cash_value": 1}, False)


async def test_wrong_arguments_are_refused(same_host: str, database: str) -> None:
    for options, option in (
        ({"sample": 0}, "sample"),
        ({"policy": "other"}, "policy"),
        ({"calendar": "NOWHERE"}, "calendar"),
        ({"start_date": date_of(D1), "end_date": date_of(D0)}, "start"),
    ):
        with pytest.raises(ConfigError) as caught:
            await verify(same_host, **options)
        assert caught.value.option == option
    with pytest.raises(SchemaError, match="missing table"):
        await verify(database)


async def test_nothing_is_written(same_host: str) -> None:
    await plain(same_host)
    await execute(same_host, tampered(D2, "cash_value = 1"))
    before = await database.snapshots(same_host), await database.equities(same_host)
    await verify(same_host)
    assert (await database.snapshots(same_host), await database.equities(same_host)) == before


async def test_standing_rows_of_a_host_differ(same_host: str) -> None:
    plain_host = database.plain_host(1, DAYS)
    standing = (Standing(D0, Decimal(1000)), Standing(D1, Decimal(5)))
    await database.fill(same_host, Host(plain_host.portfolios, plain_host.prices, {"p0": standing}))
    result = await verify(same_host)
    assert result.rows_differing == 2
    assert result.differing > 20
    assert len(result.examples) == 20


SAY_NOTHING = {
    "without time stamps": "ALTER TABLE {table} DROP {column}",
    "far away": "UPDATE {table} SET {column} = '294276-12-31'",
}
STAMPS = {
    **dict.fromkeys(("positions", "market_data_cache", "equity_changes"), "updated_at"),
    "position_realized_events": "created_at",
}


@pytest.mark.parametrize("change", SAY_NOTHING.values(), ids=SAY_NOTHING)
async def test_time_stamps_that_are_no_known_moments_say_nothing(host: str, change: str) -> None:
    await plain(host)
    if "DROP" in change:
        others = [table for table, column in STAMPS.items() if column == "updated_at"]
        await execute(host, *(f"ALTER TABLE {table} DROP created_at" for table in others))
    await execute(host, *(change.format(table=t, column=c) for t, c in STAMPS.items()))
    await execute(host, "UPDATE market_data_cache SET close = close + 1")
    result = await verify(host)
    assert result.causes.keys() == {"unknown"}
