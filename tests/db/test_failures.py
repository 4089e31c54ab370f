"""Nothing half-done: failing chunks, cancelled runs, lost connections, and the run after them."""

import asyncio
import contextlib
from decimal import Decimal
from functools import partial

import asyncpg
import pytest
import pytest_asyncio
from sqlalchemy.ext.asyncio import create_async_engine
from sqlalchemy.pool import AsyncAdaptedQueuePool, NullPool, Pool

from batchcore.config import Settings
from batchcore.errors import DatabaseError
from support import database, ledger, runs
from support.generate import MONDAY
from support.ledger import refused
from support.outcome import outcome
from support.runs import ONE_EACH

pytestmark = pytest.mark.db

DAYS = list(range(MONDAY, MONDAY + 4))
HOST = database.plain_host(6, DAYS)
IN_ORDER = sorted(database.key(portfolio.id) for portfolio in HOST.portfolios)
run = partial(runs.run, days=DAYS, settings=ONE_EACH)
DIE = "PERFORM pg_terminate_backend(pg_backend_pid());"


@pytest_asyncio.fixture
async def host(host: str) -> str:
    """The URL of a database with `HOST`."""
    await database.fill(host, HOST)
    return host


async def assert_committed(url: str, portfolios: int) -> database.Snapshots:
    """Assert that so many portfolios, the first by id, are done and the others untouched."""
    expected = outcome(HOST, DAYS, DAYS[0], DAYS[-1])
    done = IN_ORDER[:portfolios]
    stored = await database.snapshots(url)
    assert set(stored) == {(portfolio, day) for portfolio in done for day in DAYS}
    for at, row in stored.items():
        assert row.items() >= expected.cells[at].items()
    assert await database.equities(url) == {
        portfolio: expected.equity[portfolio] if portfolio in done else Decimal(1000)
        for portfolio in IN_ORDER
    }
    return stored


async def assert_left_alone(url: str) -> None:
    """Assert that no transaction and no temporary table is left on any connection."""
    async with database.connected(url) as connection:
        left = await connection.fetchval(
            "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database()"
            " AND pid <> pg_backend_pid() AND (state LIKE 'idle in%' OR state = 'active')"
            " AND backend_type = 'client backend'"
        )
        temporary = await connection.fetchval(
            "SELECT count(*) FROM pg_class WHERE relpersistence = 't' AND relkind = 'r'"
        )
    assert (left, temporary) == (0, 0)


@pytest.mark.parametrize("table", ["portfolio_snapshots", "portfolios"])
async def test_a_failing_chunk_is_undone_and_a_second_run_finishes(host: str, table: str) -> None:
    async with refused(host, IN_ORDER[2], table=table) as caught:
        await run(host)

    assert caught.value.sqlstate == "ZZ042"
    committed = await assert_committed(host, 2)
    await assert_left_alone(host)

    result = await run(host)

    assert result.rows_written == 4 * len(DAYS)
    stored = await assert_committed(host, 6)
    assert {at: stored[at] for at in committed} == committed  # ids and created_at too


async def test_of_chunks_side_by_side_each_is_done_or_undone(host: str) -> None:
    async with refused(host, IN_ORDER[2]):
        await run(host, settings=Settings(chunk_size=1, connections=6))

    expected = outcome(HOST, DAYS, DAYS[0], DAYS[-1])
    stored, equities = await database.snapshots(host), await database.equities(host)
    done = {portfolio for portfolio, _ in stored}
    assert IN_ORDER[2] not in done
    assert set(stored) == {(portfolio, day) for portfolio in done for day in DAYS}
    for portfolio in IN_ORDER:
        equity = expected.equity[portfolio] if portfolio in done else Decimal(1000)
        assert equities[portfolio] == equity
    await assert_left_alone(host)

    result = await run(host, settings=Settings(chunk_size=1, connections=6))

    assert result.rows_written == (6 - len(done)) * len(DAYS)
    await assert_committed(host, 6)


async def test_in_a_failing_chunk_nobody_is_written(host: str) -> None:
    async with refused(host, IN_ORDER[4]):
        await run(host, settings=Settings(chunk_size=3, connections=2))

    await assert_committed(host, 3)


async def test_rows_in_place_come_back_when_their_chunk_fails(host: str) -> None:
    await run(host)
    before = await database.snapshots(host)
    await database.execute(host, "UPDATE positions SET quantity = 20")
    async with refused(host, IN_ORDER[0], table="portfolios"):
        await run(host, on_existing="replace")

    assert await database.snapshots(host) == before
    await assert_left_alone(host)


@contextlib.asynccontextmanager
async def callers(url: str, kind: str):
    """A pool or an engine of the caller's, of just the connections that a run takes."""
    if kind == "pool":
        async with asyncpg.create_pool(url, min_size=2, max_size=3) as pool:
            yield pool
        return
    url = url.replace("postgresql://", "postgresql+asyncpg://")
    engine = create_async_engine(url, pool_size=3, max_overflow=0)
    yield engine
    await engine.dispose()


@pytest.mark.parametrize("kind", ["pool", "engine"])
async def test_a_callers_connections_work_after_a_failure(host: str, kind: str) -> None:
    async with callers(host, kind) as db:
        async with refused(host, IN_ORDER[1]):
            await run(db)
        await assert_committed(host, 1)
        await assert_left_alone(host)
        await run(db)
        await assert_committed(host, 6)
        await assert_left_alone(host)


@pytest.mark.parametrize("pool", [AsyncAdaptedQueuePool, NullPool])
@pytest.mark.parametrize("connections", [2, 4])
async def test_connections_of_an_engine_are_opened_one_after_another(
    host: str, connections: int, pool: type[Pool]
) -> None:
    # Opened side by side, SQLAlchemy 2.0 fails now and then: "deque mutated during iteration".
    opened, opening, most = 0, 0, 0

    async def create() -> asyncpg.Connection:
        nonlocal opened, opening, most
        opened, opening = opened + 1, opening + 1
        most = max(most, opening)
        await asyncio.sleep(0.05)  # time for another to begin
        raw = await asyncpg.connect(host)
        opening -= 1
        return raw

    sized = {} if pool is NullPool else {"pool_size": 8}
    engine = create_async_engine(
        "postgresql+asyncpg://", async_creator=create, poolclass=pool, **sized
    )
    await run(engine, settings=Settings(chunk_size=1, connections=connections))
    await engine.dispose()
    await assert_committed(host, 6)
    assert opened >= connections
    assert most == 1


@pytest.mark.parametrize("kind", ["pool", "engine"])
async def test_a_writer_that_the_server_ends_is_an_error_and_loses_only_its_chunk(
    host: str, kind: str
) -> None:
    await ledger.spoil(host, IN_ORDER[3], DIE)
    async with callers(host, kind) as db:
        with pytest.raises(DatabaseError) as caught:
            await run(db)
        assert caught.value.sqlstate in {"57P01", "08003"}  # as the driver got to hear of it
        await assert_committed(host, 3)
        await ledger.mend(host)
        await run(db)
    await assert_committed(host, 6)


@pytest.mark.parametrize("kind", ["pool", "engine"])
async def test_a_run_cancelled_while_it_writes_leaves_what_it_committed(
    host: str, kind: str
) -> None:
    async with callers(host, kind) as db:
        work = run(db, progress=lambda *_: None)
        async with ledger.at_work(host, IN_ORDER[2], work) as task:
            task.cancel()
            with pytest.raises(asyncio.CancelledError):
                await task
        await assert_committed(host, 2)
        await assert_left_alone(host)
        await run(db)
    await assert_committed(host, 6)


@pytest.mark.parametrize("kind", ["pool", "engine"])
async def test_a_run_cancelled_while_it_reads_leaves_nothing(host: str, kind: str) -> None:
    async with callers(host, kind) as db, database.connected(host) as other:
        async with other.transaction():
            await other.execute("LOCK TABLE positions")
            task = asyncio.create_task(run(db))
            await ledger.waits(other)
            task.cancel()
            with pytest.raises(asyncio.CancelledError):
                await task
        await assert_committed(host, 0)
        await assert_left_alone(host)
        await run(db)
    await assert_committed(host, 6)


async def test_progress_is_told_of_each_chunk(host: str) -> None:
    calls: list[tuple[str, int, int]] = []

    await run(host, progress=lambda *call: calls.append(call))

    assert calls[0] == ("load", 0, 0)
    # one that is told again between two chunks is the same
    assert [call for call in dict.fromkeys(calls) if call[0] == "persist"][-6:] == [
        ("persist", done, 6) for done in range(1, 7)
    ]


@pytest.mark.parametrize("at", ["load", "persist"])
async def test_what_progress_raises_ends_the_run_and_surfaces(host: str, at: str) -> None:
    def progress(phase: str, done: int, _all: int) -> None:
        if phase == at and (phase == "load" or done == 2):
            raise ZeroDivisionError("by the caller")

    with pytest.raises(ZeroDivisionError, match="by the caller"):
        await run(host, progress=progress)

    await assert_committed(host, 0 if at == "load" else 2)
    await assert_left_alone(host)
