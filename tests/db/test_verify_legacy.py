"""A verification under `legacy`: what a run leaves is right, and whatever else is there is found.

Where cells are named, they are worked by hand on `HOUSEHOLD`: from P with 1000 on Friday the 2nd of
January 2026, which is not complete, 10 AAA, 5 BBB that were exited on the 6th, and a house. The 5th
and 6th are run, and after a day without a run the 8th and the 9th, on which "today" is the 9th.

======  ===  ===  =========================================  ========
day     AAA  BBB  P&L                                        equity
======  ===  ===  =========================================  ========
2nd     10   20                                              1000
5th     11   21   10 + 5                                     1015
6th     12   22   10 + 5 + 7 realized, and 100 are paid in   1137
7th     12    0   not run
8th     13   23   10 x (13 - 12) + 5 x (23 - 0) = 125 (L12)  1262
9th     14   24   10 + 5                                     1277
======  ===  ===  =========================================  ========

500 that were paid in on Saturday the 3rd are never picked up (L18).
"""

import uuid
from collections.abc import Iterator
from dataclasses import replace
from decimal import Decimal
from functools import partial
from math import nextafter
from random import Random
from typing import Any

import asyncpg
import pytest

import batchcore
from batchcore import VerifyResult
from batchcore import calendar as calendars
from batchcore.audit.compare import (
    ALL_COLUMNS,
    BY_PROFILE,
    EXPOSURES,
    OF_WEIGHTS,
)
from batchcore.audit.result import EQUITY
from batchcore.config import Settings
from batchcore.errors import ConfigError, SchemaError
from batchcore.policies.legacy_audit import BY_CHAIN, BY_QUANTITY, OF_DAY
from batchcore.reference import legacy
from batchcore.schema import COUNT_COLUMNS, RULE_COLUMNS
from batchcore.sources.stored import ANALYTIC, EMPTY, GREEKS
from db.conftest import LOOP, PoolOf
from support import audit, database, legacy_host
from support.audit import Tampering, both, checked, wrong
from support.database import execute
from support.generate import MONDAY
from support.generate_legacy import LegacyGenerator
from support.legacy_frames import Run
from support.outcome import LOOSE, seeded
from support.runs import run_days
from support.worked_legacy import P, contribution, event, jan, portfolio, position, profile

CELLS = len(ALL_COLUMNS)
KEY = database.key("p")

HOUSEHOLD = portfolio(
    position(market_value="150"),
    position(symbol="BBB", quantity="5", exit_day=6, events=(event(6, "7"),)),
    position(
        symbol="HOUSE",
        quantity="1",
        entry_price="100",
        investment_class="PRIVATE",
        market_value="500",
    ),
    flows=(contribution(3, "500"), contribution(6, "100")),
    snapshots=(replace(P, is_complete=False),),
)
CLOSES = (
    *(
        ("AAA", jan(on), Decimal(close))
        for on, close in zip((2, 5, 6, 7, 8, 9), (10, 11, 12, 12, 13, 14), strict=True)
    ),
    *(
        ("BBB", jan(on), Decimal(close))
        for on, close in zip((2, 5, 6, 7, 8, 9), (20, 21, 22, 0, 23, 24), strict=True)
    ),
)


def host_of(*portfolios: legacy.Portfolio) -> Run:
    return Run(
        portfolios,
        CLOSES,
        days=(),
        today=jan(9),
        profiles={"AAA": profile("1.5", "Energy")},
    )


async def run(url: str, first: int, last: int, **options: Any) -> batchcore.BatchResult:
    """Run days of January under `legacy`; "today" is the 9th."""
    options = {
        "policy": "legacy",
        "settings": Settings(today=calendars.date_of(jan(9)), max_failed="100%"),
    } | options
    return await run_days(url, jan(first), jan(last), **options)


async def kept(url: str, *portfolios: legacy.Portfolio) -> None:
    """Fill a host and run the 5th and 6th, the 8th and 9th."""
    await legacy_host.fill(url, host_of(*portfolios or (HOUSEHOLD,)))
    await run(url, 5, 6)
    await run(url, 8, 9)


async def verify(db: str | asyncpg.Pool, *, fast: bool = True, **options: Any) -> VerifyResult:
    return await batchcore.verify(db, **{"policy": "legacy", "fast": fast, **options})


def snapshot(on: int, owner: uuid.UUID = KEY) -> str:
    return audit.snapshot(jan(on), owner)


def tampered(on: int, setting: str) -> str:
    return f"UPDATE portfolio_snapshots SET {setting} WHERE {snapshot(on)}"  # noqa: S608


# What a run leaves is right, whatever the host is like.


async def test_rows_of_a_run_do_not_differ(same_host: str) -> None:
    await kept(same_host)
    stored = await database.snapshots(same_host)
    assert [stored[KEY, jan(on)]["equity_balance"] for on in (5, 6, 8, 9)] == [
        1015,
        1137,
        1262,
        1277,
    ]

    result = await both(verify, same_host)

    assert (result.policy, result.calendar) == ("legacy", "XNYS")
    assert (result.portfolios, result.rows, result.rows_differing) == (1, 5, 0)
    assert (wrong(result), result.causes, result.analytics_off) == ({}, {}, {})
    # On the 7th nothing was run. P is not complete; only the 9th was a current day.
    assert result.missing_sessions == 1
    assert result.not_checkable == {"incomplete": CELLS, "not_analysed": 3 * len(OF_DAY)}
    assert result.checked == 4 * CELLS - 3 * len(OF_DAY) + 1
    assert checked(result)["hhi"] == 1
    assert checked(result)[EQUITY] == 1
    assert result.consistent


@pytest.mark.parametrize("seed", range(25))
@LOOP
async def test_rows_of_runs_on_any_host_do_not_differ(
    same_loose_host: str, seed: int, pool_of: PoolOf
) -> None:
    random = seeded(f"verify legacy {seed}")
    made = LegacyGenerator(random.randint).any_legacy_run()
    in_order, first = seed % 2 == 0, MONDAY + random.randint(-4, 4)
    portfolios = tuple(
        # Complete rows are those of runs alone; others count as P all the same. What is replaced
        # out of order is not there to go on from.
        replace(
            one,
            snapshots=tuple(
                replace(row, is_complete=False)
                for row in one.snapshots
                if in_order or row.day < first
            ),
        )
        for one in made.portfolios
    )
    db = await pool_of(same_loose_host)
    await legacy_host.fill(db, replace(made, portfolios=portfolios))
    settings = Settings(schema=LOOSE, max_failed="100%", today=calendars.date_of(made.today))
    written = 0
    # Three runs, in order or not, with days between that are not run or run already.
    starts = [first, *(first + random.randint(0, 10) for _ in range(2))]
    for start in sorted(starts) if in_order else starts:
        done = await run_days(
            db, start, start + random.randint(0, 4), policy="legacy", settings=settings
        )
        written += done.rows_written

    result = await both(verify, db, settings=Settings(schema=LOOSE))

    assert wrong(result) == {}
    stands = sum(row["is_complete"] for row in (await database.snapshots(same_loose_host)).values())
    assert stands == written
    assert set(result.not_checkable) <= {
        *("off_session", "incomplete", "portfolio_fails", "opening", "not_analysed", "day_order"),
    }


async def test_doubles_are_read_as_a_run_reads_them(same_double_host: str) -> None:
    settings = Settings(schema=LOOSE, max_failed="100%", today=calendars.date_of(jan(9)))
    await legacy_host.fill(same_double_host, host_of(HOUSEHOLD))
    await run(same_double_host, 5, 9, settings=settings)
    result = await both(verify, same_double_host, settings=settings)
    assert (result.rows, wrong(result)) == (6, {})
    assert checked(result)["sector_exposure"] == 1


@pytest.mark.parametrize("seed", range(8))
@LOOP
async def test_ranges_samples_and_chunks_find_the_same(
    same_loose_host: str, seed: int, pool_of: PoolOf
) -> None:
    random = seeded(f"parts of legacy {seed}")
    made = LegacyGenerator(random.randint).any_legacy_run()
    await legacy_host.fill(same_loose_host, made)
    settings = Settings(schema=LOOSE, max_failed="100%", today=calendars.date_of(made.today))
    pool = await pool_of(same_loose_host)
    await check_parts(pool, random, settings)


async def check_parts(db: asyncpg.Pool, random: Random, settings: Settings) -> None:
    for first in random.sample(range(MONDAY - 4, MONDAY + 8), 4):
        start, end = calendars.date_of(first), calendars.date_of(first + 2)
        await batchcore.run_batch(db, start, end, policy="legacy", settings=settings)
    whole = await verify(db, settings=settings)

    async def rows(**options: Any) -> dict[str, int]:
        result = await verify(db, **{"settings": settings, **options})
        found = {"rows": result.rows, "differing": result.rows_differing}
        return found | {f"not {reason}": n for reason, n in result.not_checkable.items()}

    by_chunk = await rows(settings=replace(settings, chunk_size=1))
    assert by_chunk == await rows()
    summed: dict[str, int] = {}
    for day in sorted({day for _, day in await database.snapshots(db)}):
        date = calendars.date_of(day)
        for name, count in (await rows(start_date=date, end_date=date)).items():
            # The column of the portfolio is looked at each time.
            if name != "not day_order":
                summed[name] = summed.get(name, 0) + count
    assert summed["rows"] == whole.rows
    assert summed["differing"] == whole.rows_differing
    assert await rows(sample=1000, seed=3) == await rows()


# A cell that is wrong is found, and told once.


@pytest.fixture(scope="module")
def household(server: Any, template: str) -> Iterator[str]:
    """The URL of a database in which `HOUSEHOLD` was run; whoever changes it puts it back."""
    yield from database.shared(server, kept, template)


OTHER_VALUES = {
    "daily_return": "daily_return + 0.000001",
    "beta_provider_1y": "beta_provider_1y + 0.0001",
    "hhi": "hhi + 0.0001",
    "effective_num_positions": "effective_num_positions + 0.01",
    "sector_exposure": """'{"Energy": 0.5}'""",
    "volatility_trend": "'stable'",
    "target_price_updated_at": "now()",
}
UNITS = {
    "daily_return": "0.000001",
    **dict.fromkeys(("beta_provider_1y", "hhi"), "0.0001"),
    "effective_num_positions": "0.01",
}


@pytest.mark.parametrize("column", ALL_COLUMNS)
async def test_a_tampered_cell_is_found(household: str, column: str) -> None:
    filled = column in {*RULE_COLUMNS, *GREEKS, *OF_DAY}
    other = OTHER_VALUES.get(column, f"{column} + 1" if filled else "1")
    async with audit.changed(household, column, other, snapshot(9)):
        result = await both(verify, household)
        assert (wrong(result), result.rows_differing) == ({column: 1}, 1)
        (example,) = result.examples
        assert (example.portfolio, example.session) == (KEY, calendars.date_of(jan(9)))
        assert example.column == column
        if filled and column != "sector_exposure":
            assert example.difference == Decimal(UNITS.get(column, "1"))
        if not filled:
            assert example.expected is None
            assert example.stored not in {None, ""}
        assert result.columns.worst[result.columns.name.index(column)] == example
    assert (await verify(household)).differing == 0


async def test_json_null_is_no_value(make_database: Any, household: str) -> None:
    url = await make_database(household)
    set_null = "UPDATE portfolio_snapshots SET sector_exposure = 'null'"
    await execute(url, set_null)
    result = await verify(url, fast=False)
    # On the 9th there are weights; on the days before JSON null is as good as NULL.
    assert wrong(result) == {"sector_exposure": 1}
    assert result.not_checkable["not_analysed"] == 3 * len(OF_DAY)
    await execute(
        url,
        tampered(9, "beta_provider_1y = NULL, " + ", ".join(f"{c} = NULL" for c in OF_WEIGHTS[1:])),
    )
    assert (await verify(url)).not_checkable["not_analysed"] == 4 * len(OF_DAY)


# 150 AAA and 500 of the house, for BBB was exited, of 1277
ENERGY, HOUSE = 150 / 1277, 500 / 1277


@pytest.mark.parametrize(
    ("weights", "differs"),
    [
        (f'{{"Energy": {ENERGY!r}, "Unclassified": {HOUSE!r}}}', False),
        (f'{{ "Unclassified":{HOUSE * 10}e-1,"Energy":{ENERGY!r}0}}', False),
        (f'{{"Energy": {nextafter(ENERGY, 1)!r}, "Unclassified": {HOUSE!r}}}', True),
        (f'{{"Energy": {ENERGY!r}, "Unclassified": {HOUSE!r}, "A": 0}}', True),
        (f'{{"Energy": "{ENERGY!r}", "Unclassified": {HOUSE!r}}}', True),
        (f'{{"Energy": true, "Unclassified": {HOUSE!r}}}', True),
        ("[]", True),
        ("{}", True),
    ],
)
async def test_weights_compare_as_binary64(household: str, weights: str, *, differs: bool) -> None:
    async with audit.changed(household, "sector_exposure", f"'{weights}'", snapshot(9)):
        found = wrong(await both(verify, household))
        assert found == ({"sector_exposure": 1} if differs else {})


TAMPERED = {
    # The 8th goes on from what the 6th should have been.
    "a wrong row": Tampering(
        (tampered(6, "equity_balance = 2000, cumulative_pnl = 3"),),
        {"equity_balance": 1, "cumulative_pnl": 1},
    ),
    "two wrong rows one after the other": Tampering(
        (
            tampered(6, "equity_balance = 2000"),
            tampered(8, "num_positions = 9, long_value = long_value - 4"),
        ),
        {"equity_balance": 1, "num_positions": 1, "long_value": 1},
    ),
    "a first row that tells of earlier ones": Tampering(
        (f"DELETE FROM portfolio_snapshots WHERE {snapshot(2)} OR {snapshot(5)}",),  # noqa: S608
        not_checkable={
            "opening": 1,
            "earlier_rows": len(BY_CHAIN),
            "not_analysed": 2 * len(OF_DAY) - 2,
            "incomplete": 0,
        },
    ),
    "a row after no amount": Tampering(
        (tampered(6, "cumulative_pnl = 'NaN'"),),
        {"cumulative_pnl": 1},
        not_checkable={"portfolio_fails": CELLS, "not_analysed": 2 * len(OF_DAY)},
    ),
    # 5 more on the 8th; on the 9th 5 less, from an equity that should be 5 higher.
    "a price changed since": Tampering(
        (audit.closed(jan(8), "13.5"),),
        {
            **dict.fromkeys(("daily_pnl", "daily_return"), 2),
            **dict.fromkeys(("equity_balance", "total_value", "cumulative_pnl"), 1),
            **dict.fromkeys(("long_value", "gross_exposure", "net_exposure"), 1),
        },
        causes={"price_changed": 2},
    ),
    # The 8th goes on from the 5th: what is of the day alone is right.
    "a deleted row in the middle is a missing run": Tampering(
        (f"DELETE FROM portfolio_snapshots WHERE {snapshot(6)}",),  # noqa: S608
        dict.fromkeys(
            (
                *("total_value", "equity_balance", "cumulative_pnl", "cumulative_realized_pnl"),
                *("cumulative_capital_flow", "cash_value", "daily_return"),
            ),
            1,
        ),
        causes={"missing_run": 1},
        not_checkable={"not_analysed": 2 * len(OF_DAY)},
    ),
    "a state edited since": Tampering(
        ("UPDATE positions SET market_value = 151, updated_at = now() WHERE symbol = 'AAA'",),
        not_checkable={"position_edited": len(OF_DAY)},
        checked={"long_value": 4},
    ),
    "a private value edited since": Tampering(
        ("UPDATE positions SET market_value = 600, updated_at = now() WHERE symbol = 'HOUSE'",),
        not_checkable={"private_value": 4 * len(EXPOSURES), "position_edited": len(OF_DAY)},
        checked={"daily_pnl": 4},
    ),
    # 4 of the 10 AAA are sold on the 12th. On three days the columns of a current day are left out
    # before.
    "the quantity of a position closed in part since": Tampering(
        (
            audit.event_added(jan(12), 4, 16, "symbol = 'AAA'"),
            "UPDATE positions SET quantity = 6 WHERE symbol = 'AAA'",
        ),
        not_checkable={"closed_since": 4 * len(BY_QUANTITY) - 3 * len(OF_DAY)},
        checked={"daily_realized_pnl": 4},
    ),
}
USUAL = {"incomplete": CELLS, "not_analysed": 3 * len(OF_DAY)}
"""What is not checkable of `HOUSEHOLD`: P is not complete, and only the 9th was a current day."""


@pytest.mark.parametrize("case", TAMPERED.values(), ids=TAMPERED)
async def test_what_was_changed_is_found(same_host: str, case: Tampering) -> None:
    await kept(same_host)
    await execute(same_host, *case.statements)
    await case.assert_found(partial(verify, same_host), USUAL)


@pytest.mark.parametrize("column", ["daily_pnl", "cumulative_pnl", "daily_realized_pnl"])
async def test_one_wrong_amount_of_a_first_row_is_found(same_host: str, column: str) -> None:
    await kept(same_host, replace(HOUSEHOLD, equity_balance=Decimal(1000), snapshots=()))
    async with audit.changed(same_host, column, "7", snapshot(5)):
        assert wrong(await both(verify, same_host)) == {column: 1}


async def test_a_later_row_whose_sums_are_those_of_a_first_row_is_not_taken_for_one(
    same_host: str,
) -> None:
    # 2 AAA earn 4 on the 6th and lose them on the 7th.
    one = portfolio(position(quantity="2"), balance="1000", snapshots=())
    closes = tuple(zip((5, 6, 7), map(Decimal, (10, 12, 10)), strict=True))
    prices = tuple(("AAA", jan(day), close) for day, close in closes)
    await legacy_host.fill(same_host, Run((one,), prices, days=(), today=jan(60)))
    for day, _ in closes:
        await run(same_host, day, day, settings=Settings(today=calendars.date_of(jan(60))))
    await execute(same_host, f"DELETE FROM portfolio_snapshots WHERE NOT ({snapshot(7)})")  # noqa: S608
    found = await both(verify, same_host)
    assert wrong(found) == {}
    assert found.not_checkable["earlier_rows"] == len(BY_CHAIN)


# What a row goes on from.


async def test_a_row_goes_on_from_the_one_that_stood_when_it_was_written(same_host: str) -> None:
    await kept(same_host)
    await run(same_host, 7, 7)
    # The 7th was run last: the column of the portfolio has its equity.
    assert (await database.equities(same_host))[KEY] == 1137 + 10 * 0
    result = await both(verify, same_host)
    # The 8th was made from the 6th, and is not repaired (L7); the 7th is a row of its own.
    assert (wrong(result), result.rows, result.missing_sessions) == ({}, 6, 0)
    assert checked(result)[EQUITY] == 1
    later = await both(verify, same_host, start_date=calendars.date_of(jan(8)))
    assert (wrong(later), later.rows) == ({}, 2)

    # The 8th and 9th are run anew and keep the times at which they were first written.
    await run(same_host, 8, 9, on_existing="replace")
    result = await both(verify, same_host)
    assert (wrong(result), result.rows) == ({}, 6)


async def test_a_portfolio_has_the_equity_of_the_day_run_last(same_host: str) -> None:
    await kept(same_host)
    await run(same_host, 5, 6, on_existing="replace")

    result = await verify(same_host)

    # It has that of the 6th, though the row of the 9th was written last: nothing tells in which
    # order days were run anew.
    assert (await database.equities(same_host))[KEY] == 1137
    assert wrong(result) == {}
    assert result.not_checkable["day_order"] == 1
    assert checked(result)[EQUITY] == 0

    await execute(same_host, "UPDATE portfolios SET equity_balance = 5")
    result = await verify(same_host)
    assert wrong(result) == {EQUITY: 1}
    assert (result.examples[0].stored, result.examples[0].expected) == (5, 1277)


async def test_a_first_row_is_checked_but_for_its_opening(same_host: str) -> None:
    await kept(same_host, replace(HOUSEHOLD, snapshots=()))
    usual = {"opening": 1, "not_analysed": 3 * len(OF_DAY)}
    await Tampering(()).assert_found(partial(verify, same_host), usual)

    await execute(same_host, tampered(5, "equity_balance = equity_balance + 5"))
    # Its equity says nothing; what follows from it does, and so does the next row.
    columns = {
        **dict.fromkeys(("total_value", "cash_value"), 2),
        **dict.fromkeys(("equity_balance", "daily_return"), 1),
    }
    await Tampering((), columns).assert_found(partial(verify, same_host), usual)


@pytest.mark.parametrize("equity", [None, Decimal(0)])
async def test_a_row_after_no_equity_goes_on_from_the_column_of_the_portfolio(
    same_host: str, equity: Decimal | None
) -> None:
    await kept(same_host, replace(HOUSEHOLD, snapshots=(replace(P, equity=equity),)))
    stored = await database.snapshots(same_host)
    assert stored[KEY, jan(5)]["equity_balance"] == 777 + 15
    since = {"start_date": calendars.date_of(jan(5))}
    result = await both(verify, same_host, **since)
    # 777 is overwritten; the return of 15 / 777 follows from what was there, and is checked.
    assert (wrong(result), result.not_checkable["opening"]) == ({}, 1)
    await execute(same_host, tampered(5, "daily_return = 0"))
    result = await both(verify, same_host, **since)
    assert wrong(result) == {"daily_return": 1}
    assert result.examples[0].expected == Decimal("0.019305")


# Why rows differ.


async def test_flows_events_and_positions_changed_since_are_guessed(same_host: str) -> None:
    names = ("p", "q", "r", "s")
    await kept(same_host, *(replace(HOUSEHOLD, name=name) for name in names))
    p, q, r, s = map(database.key, names)
    await execute(
        same_host,
        audit.flow_added(p, jan(8)),
        audit.event_added(jan(8), 1, 5, f"portfolio_id = '{q}' AND symbol = 'HOUSE'"),
        "UPDATE positions SET quantity = 20, updated_at = now()"  # noqa: S608
        f" WHERE portfolio_id = '{r}' AND symbol = 'AAA'",
        "UPDATE positions SET quantity = 20"  # noqa: S608
        f" WHERE portfolio_id = '{s}' AND symbol = 'AAA'",
    )
    causes = {p: "flow_changed", q: "event_added", r: "position_changed", s: "unknown"}
    result = await both(verify, same_host)
    # The flow and the event show on their day. A position that was another shows on every day.
    assert result.causes == {
        "flow_changed": 1,
        "event_added": 1,
        "position_changed": 4,
        "unknown": 4,
    }
    assert {one.portfolio: one.cause for one in result.examples}.items() <= causes.items()


async def test_without_the_tables_of_legacy_only_rollforward_is_verified(host: str) -> None:
    await kept(host, replace(HOUSEHOLD, snapshots=(P,)))
    await execute(host, "ALTER TABLE portfolio_snapshots DROP portfolio_vega")
    result = await batchcore.verify(host, fast=True)
    assert (result.rows_differing, result.policy) == (5, "rollforward")
    with pytest.raises(SchemaError, match="portfolio_vega"):
        await verify(host)


# What cannot be checked, each reason.


async def test_a_state_edited_in_silence_differs(same_host: str) -> None:
    await kept(same_host)
    await execute(same_host, "UPDATE positions SET market_value = 151 WHERE symbol = 'AAA'")
    found = wrong(await both(verify, same_host))
    assert found
    assert set(found) <= set(OF_DAY)


# Without a benchmark when the row was written there were no weights (L34).
NO_WEIGHTS = ", ".join(f"{column} = NULL" for column in OF_WEIGHTS)


BETA_ADDED = """
INSERT INTO position_market_betas
    (id, portfolio_id, position_id, calc_date, beta, observations, created_at, updated_at)
SELECT gen_random_uuid(), portfolio_id, id, '2026-01-08', 3, 90, now(), now()
FROM positions WHERE symbol = 'AAA'"""


async def test_profiles_betas_and_benchmarks_changed_since_cannot_be_checked(
    same_host: str,
) -> None:
    await kept(same_host)
    for statements, reason, cells in (
        (
            ("UPDATE company_profiles SET beta = 2, updated_at = now()",),
            *("profile_changed", len(BY_PROFILE)),
        ),
        (
            (
                "UPDATE company_profiles SET beta = 1.5, updated_at = '2020-01-01'",
                BETA_ADDED,
            ),
            *("beta_changed", 1),
        ),
        (
            (
                tampered(9, NO_WEIGHTS),
                "DELETE FROM position_market_betas",
                "UPDATE benchmarks_sector_weights SET created_at = now(), updated_at = now()",
            ),
            *("benchmark_changed", len(OF_WEIGHTS)),
        ),
        (("DELETE FROM benchmarks_sector_weights",), "benchmark_changed", len(OF_WEIGHTS)),
    ):
        await execute(same_host, *statements)
        result = await both(verify, same_host)
        assert (wrong(result), result.not_checkable[reason]) == ({}, cells)


async def test_a_row_without_active_positions_is_the_same_on_every_day(same_host: str) -> None:
    later = replace(HOUSEHOLD, positions=(position(entry_day=15, market_value="3"),))
    await kept(same_host, replace(later, snapshots=(P,)))
    result = await both(verify, same_host, start_date=calendars.date_of(jan(5)))
    # L25: no greeks and no weights, whether the day was a current one or not
    assert (wrong(result), result.not_checkable) == ({}, {})
    assert result.checked == 4 * CELLS + 1


async def test_soft_deleted_portfolios_and_days_that_are_no_session_are_left_out(
    same_host: str,
) -> None:
    await kept(same_host, HOUSEHOLD, replace(HOUSEHOLD, name="q", snapshots=()))
    other = database.key("q")
    await execute(
        same_host,
        f"UPDATE portfolios SET deleted_at = now() WHERE id = '{other}'",  # noqa: S608
        tampered(2, "snapshot_date = '2026-01-03', is_complete = true"),
    )
    result = await both(verify, same_host)
    # The row of the Saturday is nobody's to check, and P all the same (L5).
    assert (wrong(result), result.portfolios) == ({}, 1)
    assert result.not_checkable["off_session"] == CELLS
    result = await both(verify, same_host, portfolio_ids=[other])
    assert (result.rows, result.checked) == (4, 0)
    assert result.not_checkable == {"soft_deleted": 4 * CELLS}


async def test_columns_that_the_host_lacks_are_not_compared(host: str) -> None:
    await kept(host)
    dropped = ("volatility_trend", "target_price_coverage", "beta_calculated_90d")
    await execute(host, *(f"ALTER TABLE portfolio_snapshots DROP {column}" for column in dropped))
    result = await verify(host)
    assert result.differing == 0
    assert set(result.columns.name) == {*ALL_COLUMNS, EQUITY} - set(dropped)


# Which rows, and who may.


async def test_the_calendar_is_xnys(same_host: str) -> None:
    with pytest.raises(ConfigError, match="expected XNYS"):
        await verify(same_host, calendar="daily")


async def test_a_role_that_may_only_select_will_do(household: str) -> None:
    more = ("position_market_betas", "benchmarks_sector_weights")
    async with (
        audit.changed(household, "daily_pnl", "3", snapshot(8)),
        audit.reader(household, *more) as reader,
    ):
        before = await database.snapshots(household), await database.equities(household)
        result = await both(verify, reader)
        assert (result.rows, wrong(result)) == (5, {"daily_pnl": 1})
        after = await database.snapshots(household), await database.equities(household)
        assert after == before


async def test_the_columns_are_those_of_the_rules() -> None:
    assert set(ALL_COLUMNS) == {*RULE_COLUMNS, *ANALYTIC, *GREEKS, *EMPTY}
    assert len(ALL_COLUMNS) == len(set(ALL_COLUMNS)) == 46
    assert set(COUNT_COLUMNS) < set(RULE_COLUMNS)
