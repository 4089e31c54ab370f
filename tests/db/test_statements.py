"""How many statements a run causes: always the same, and the server counts as many."""

import asyncpg
import pytest
import pytest_asyncio

import batchcore
from batchcore.calendar import date_of, load
from batchcore.config import Settings
from support import database
from support.callers import engine_of
from support.counter import Counter
from support.generate import MONDAY
from support.runs import run_days

NEW = {"check": 3, "ledger": 3, "load": 8, "persist": 6}
"""Catalog, revision and name of the snapshot; runs at work, the own one entered, its end;
portfolios, symbols, spellings of closes, prices, existing rows, positions, events, flows; lock and
look at the token, new rows, equities, their UPDATE, the chunk with the run's row."""

REPLACED = {**NEW, "persist": 7}
"""As `NEW`, but rows go to a temporary table and an UPDATE takes them from there."""

RESET = {"check": 1, "persist": 1}
"""What a pool sends when it takes a connection back."""


@pytest_asyncio.fixture
async def counter(same_host: str):
    async with database.connected(same_host) as connection:
        await connection.execute("CREATE EXTENSION IF NOT EXISTS pg_stat_statements")
        yield Counter(connection)


def sessions_of(count: int) -> list[int]:
    return load("XNYS").sessions(MONDAY, MONDAY + 2 * count + 5).tolist()[:count]


async def run(db, days: list[int], **options) -> batchcore.BatchResult:
    usual = {"analytics": "none", "settings": Settings(min_coverage=0.0)}
    return await run_days(db, days[0], days[-1], **usual | options)


@pytest.mark.parametrize(("portfolios", "sessions"), [(1, 1), (50, 1), (300, 1), (1, 60), (50, 60)])
async def test_neither_portfolios_nor_sessions_add_statements(
    same_host: str, counter: Counter, portfolios: int, sessions: int
) -> None:
    days = sessions_of(sessions)
    await database.fill(same_host, database.plain_host(portfolios, days))
    await counter.statements()

    result = await run(same_host, days)

    assert result.rows_written == portfolios * sessions
    assert result.statements_by_phase == NEW
    assert await counter.statements() == sum(NEW.values())


@pytest.mark.parametrize(
    ("mode", "rows", "expected"),
    [
        ("replace", 60, REPLACED),
        ("skip", 0, {"check": 3, "ledger": 3, "load": 3}),  # portfolios, symbols, existing rows
    ],
)
async def test_rows_in_place_cost_one_statement_more_or_nothing(
    same_host: str, counter: Counter, mode: str, rows: int, expected: dict[str, int]
) -> None:
    days = sessions_of(3)
    await database.fill(same_host, database.plain_host(20, days))
    await run(same_host, days)
    await counter.statements()

    result = await run(same_host, days, on_existing=mode)

    assert (result.rows_written, result.nothing_to_do) == (rows, rows == 0)
    assert result.statements_by_phase == expected
    assert await counter.statements() == sum(expected.values())


async def test_holes_are_found_by_one_statement(same_host: str, counter: Counter) -> None:
    days = sessions_of(4)
    await database.fill(same_host, database.plain_host(20, days))
    await run(same_host, days)
    await counter.connection.execute(
        "DELETE FROM portfolio_snapshots WHERE snapshot_date = $1", date_of(days[1])
    )
    await counter.statements()

    result = await batchcore.run_batch(
        same_host,
        end_date=date_of(days[-1]),
        on_existing="replace",
        missing=True,
        analytics="none",
    )

    # the first is there; the hole is new, what follows is in place
    assert result.rows_written == 60
    assert result.statements_by_phase == {**NEW, "load": 9, "persist": 8}
    assert await counter.statements() == 23


async def test_a_session_of_the_caller_costs_what_a_run_does(
    same_host: str, counter: Counter
) -> None:
    days = sessions_of(2)
    await database.fill(same_host, database.plain_host(20, days))
    calculator = batchcore.PnLCalculator(Settings(chunk_size=5), analytics="none")
    async with database.connected(same_host) as connection, connection.transaction():
        await counter.statements()
        result = await calculator.calculate_all_portfolios_pnl(date_of(days[0]), connection)
        counted = await counter.statements()

    # the time is asked for and the rows of the portfolios are locked; of four chunks each costs
    # its own: two loads and three writes; events and flows come at once
    assert result.statements_by_phase == {"check": 4, "load": 4 + 2 + 4 * 2, "persist": 4 * 3}
    assert counted == sum(result.statements_by_phase.values())


async def test_a_plan_loads_positions_only_if_prices_lack(same_host: str, counter: Counter) -> None:
    days = sessions_of(3)
    host = database.plain_host(5, days)
    await database.fill(same_host, host)
    await counter.statements()
    for dropped, held in ((None, 0), (days[2], 1)):
        if dropped is not None:
            await counter.connection.execute(
                "DELETE FROM market_data_cache WHERE date = $1", date_of(dropped)
            )
            await counter.statements()

        result = await run_days(
            same_host, days[0], days[-1], settings=Settings(dry_run=True, lookback_days=0)
        )

        # beside the check the time; portfolios, time stamps, symbols, spellings of closes, prices,
        # existing rows; and positions of AAA
        assert result.statements_by_phase == {"check": 4, "load": 6 + held}
        assert await counter.statements() == 10 + held
        # stale on the last session: the symbol, the session and each portfolio, which has too few
        # fresh closes too
        assert len(result.issues) == 12 * held


async def test_a_pool_counts_what_it_sends_to_reset_connections(
    same_host: str, counter: Counter
) -> None:
    days = sessions_of(4)
    await database.fill(same_host, database.plain_host(3, days))
    async with asyncpg.create_pool(same_host, min_size=1, max_size=3) as pool:
        await counter.statements()
        for first in (days[:2], days[2:]):  # the second run finds both connections warm
            result = await run(pool, first)

            assert result.rows_written == 6
            expected = {phase: NEW[phase] + RESET.get(phase, 0) for phase in NEW}
            assert result.statements_by_phase == expected
            assert await counter.statements() == sum(expected.values())


async def test_an_engine_counts_what_is_sent_and_not_what_sqlalchemy_asks(
    same_host: str, counter: Counter
) -> None:
    days = sessions_of(4)
    await database.fill(same_host, database.plain_host(3, days))
    async with engine_of(same_host) as engine:
        await counter.statements()
        first = await run(engine, days[:2])
        counted = await counter.statements()
        second = await run(engine, days[2:])
        counted_warm = await counter.statements()

    assert first.rows_written == second.rows_written == 6
    assert first.statements_by_phase == second.statements_by_phase == NEW
    assert counted > sum(NEW.values())  # connections were opened
    assert counted_warm == sum(NEW.values())
