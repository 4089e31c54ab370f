"""Nothing half-done: failing chunks, cancelled runs, lost connections, and the run after them."""

import asyncio
import logging
import time
from contextlib import AbstractAsyncContextManager
from functools import partial
from typing import Any

import asyncpg
import pytest
from asyncpg.transaction import Transaction
from sqlalchemy.ext.asyncio import create_async_engine
from sqlalchemy.pool import AsyncAdaptedQueuePool, NullPool, Pool

import batchcore
from batchcore.config import Settings
from batchcore.errors import CancelledError, ConfigError, DatabaseError, LeaseHeldError
from batchcore.native import CancelFlag, in_thread
from batchcore.pg.ledger import Ledger
from batchcore.pg.session import Session
from batchcore.policies.rollforward import RollForward
from batchcore.run import batch, prepare
from support import database, ledger, runs
from support.callers import engine_of
from support.generate import MONDAY
from support.ledger import refused
from support.outcome import assert_undisturbed
from support.runs import ONE_EACH
from support.worker import Steps

DAYS = list(range(MONDAY, MONDAY + 4))
HOST = database.plain_host(6, DAYS)
IN_ORDER = sorted(database.key(portfolio.id) for portfolio in HOST.portfolios)
run = partial(runs.run, days=DAYS, settings=ONE_EACH)
DIE = "PERFORM pg_terminate_backend(pg_backend_pid());"


async def assert_committed(url: str, portfolios: int) -> database.Snapshots:
    """Assert that so many portfolios, the first by id, are done and the others untouched."""
    return await assert_undisturbed(url, HOST, DAYS, IN_ORDER[:portfolios])


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


@pytest.mark.parametrize(
    ("what", "error", "text"),
    [
        ("the plan refuses", ConfigError, "not today"),
        ("the caller cancels", asyncio.CancelledError, None),
        ("the symbols fail", DatabaseError, "division by zero"),
    ],
)
async def test_what_loads_beside_the_plan_ends_with_it(
    filled: str,
    monkeypatch: pytest.MonkeyPatch,
    what: str,
    error: type[BaseException],
    text: str | None,
) -> None:
    async def symbols(session: Session, *_: object) -> None:
        query = "SELECT 1 / 0" if what == "the symbols fail" else "SELECT pg_sleep(300)::text"
        await session.copy_out(query, lambda _: None)

    async def until_asleep() -> None:
        async with database.connected(filled) as connection:
            await ledger.until(
                connection,
                "SELECT count(*) > 0 FROM pg_stat_activity"
                " WHERE wait_event = 'PgSleep' AND datname = current_database()",
            )

    async def refuse(*_: object) -> None:
        await until_asleep()
        raise ConfigError("not today", "end")

    monkeypatch.setattr(prepare, "load_symbols", symbols)
    if what == "the plan refuses":
        monkeypatch.setattr(RollForward, "make_plan", refuse)
    async with asyncio.timeout(60):
        running = asyncio.create_task(run(filled, settings=Settings()))
        if what == "the caller cancels":
            await until_asleep()
            running.cancel()
        with pytest.raises(error, match=text):
            await running
    await assert_committed(filled, 0)
    await assert_left_alone(filled)

    monkeypatch.undo()
    await run(filled)
    await assert_committed(filled, len(IN_ORDER))


@pytest.mark.parametrize(
    ("owner", "step", "error"),
    [
        (RollForward, "load_chunk", DatabaseError("the cable was pulled")),
        (RollForward, "load_chunk", ConfigError("not this one")),
        (Ledger, "beat", LeaseHeldError("not yours any more")),
        (RollForward, "load_chunk", asyncio.CancelledError()),  # of the caller
    ],
)
async def test_what_ends_a_run_is_told_and_not_that_it_stopped_native_work(
    filled: str,
    monkeypatch: pytest.MonkeyPatch,
    owner: type,
    step: str,
    error: BaseException,
) -> None:
    begun = asyncio.Event()

    def until_stopped(flag: CancelFlag) -> None:
        while not flag.is_set():
            time.sleep(0.001)
        raise CancelledError("cancelled")

    async def load_prices(self: RollForward, *_: object) -> None:
        asyncio.get_running_loop().call_soon(begun.set)
        await in_thread(partial(until_stopped, self.cancel), self.cancel)

    async def fail(*_: object) -> None:
        await begun.wait()
        if isinstance(error, asyncio.CancelledError):
            running.cancel()
            await asyncio.Event().wait()
        raise error

    monkeypatch.setattr(RollForward, "load_prices", load_prices)
    monkeypatch.setattr(owner, step, fail)
    async with asyncio.timeout(60):
        running = asyncio.create_task(run(filled, settings=Settings(lease_seconds=1)))
        with pytest.raises(type(error)) as caught:
            await running
    assert caught.value is error or running.cancelled()


@pytest.mark.parametrize(
    ("table", "chunk_size", "first", "before"),
    [("portfolio_snapshots", 1, 2, 2), ("portfolios", 1, 2, 2), ("portfolio_snapshots", 3, 4, 3)],
    ids=["snapshots", "portfolios", "of three portfolios"],
)
async def test_a_failing_chunk_is_undone_and_a_second_run_finishes(
    filled: str, table: str, chunk_size: int, first: int, before: int
) -> None:
    settings = Settings(chunk_size=chunk_size, connections=2)
    async with refused(filled, IN_ORDER[first], table=table) as caught:
        await run(filled, settings=settings)

    assert caught.value.sqlstate == "ZZ042"
    committed = await assert_committed(filled, before)
    await assert_left_alone(filled)

    result = await run(filled, settings=settings)

    assert result.rows_written == (6 - before) * len(DAYS)
    stored = await assert_committed(filled, 6)
    assert {at: stored[at] for at in committed} == committed  # ids and created_at too


async def test_a_run_that_failed_leaves_its_task_as_it_was(filled: str) -> None:
    task = asyncio.current_task()
    assert task is not None
    for portfolio in IN_ORDER[:2]:
        async with refused(filled, portfolio):
            await run(filled)
        assert task.cancelling() == 0  # else what follows in it ends as if it were cancelled


async def test_of_chunks_side_by_side_each_is_done_or_undone(filled: str) -> None:
    async with refused(filled, IN_ORDER[2]):
        await run(filled, settings=Settings(chunk_size=1, connections=6))

    done = {portfolio for portfolio, _ in await database.snapshots(filled)}
    assert IN_ORDER[2] not in done
    await assert_undisturbed(filled, HOST, DAYS, done)
    await assert_left_alone(filled)

    result = await run(filled, settings=Settings(chunk_size=1, connections=6))

    assert result.rows_written == (6 - len(done)) * len(DAYS)
    await assert_committed(filled, 6)


async def test_rows_in_place_come_back_when_their_chunk_fails(filled: str) -> None:
    await run(filled)
    before = await database.snapshots(filled)
    await database.execute(filled, "UPDATE positions SET quantity = 20")
    async with refused(filled, IN_ORDER[0], table="portfolios"):
        await run(filled, on_existing="replace")

    assert await database.snapshots(filled) == before
    await assert_left_alone(filled)


def callers(url: str, kind: str) -> AbstractAsyncContextManager[Any]:
    """A pool or an engine of the caller's, of just the connections that a run takes."""
    if kind == "pool":
        return asyncpg.create_pool(url, min_size=2, max_size=3)
    return engine_of(url, pool_size=3, max_overflow=0)


@pytest.mark.parametrize("kind", ["pool", "engine"])
async def test_a_callers_connections_work_after_a_failure(filled: str, kind: str) -> None:
    async with callers(filled, kind) as db:
        async with refused(filled, IN_ORDER[1]):
            await run(db)
        await assert_committed(filled, 1)
        await assert_left_alone(filled)
        await run(db)
        await assert_committed(filled, 6)
        await assert_left_alone(filled)


@pytest.mark.parametrize("pool", [AsyncAdaptedQueuePool, NullPool])
@pytest.mark.parametrize("connections", [2, 4])
async def test_connections_of_an_engine_are_opened_one_after_another(
    same_filled: str, connections: int, pool: type[Pool]
) -> None:
    # Opened side by side, SQLAlchemy 2.0 fails now and then: "deque mutated during iteration".
    opened, opening, most = 0, 0, 0

    async def create() -> asyncpg.Connection:
        nonlocal opened, opening, most
        opened, opening = opened + 1, opening + 1
        most = max(most, opening)
        await asyncio.sleep(0.05)  # time for another to begin
        raw = await asyncpg.connect(same_filled)
        opening -= 1
        return raw

    sized = {} if pool is NullPool else {"pool_size": 8}
    engine = create_async_engine(
        "postgresql+asyncpg://", async_creator=create, poolclass=pool, **sized
    )
    await run(engine, settings=Settings(chunk_size=1, connections=connections))
    await engine.dispose()
    await assert_committed(same_filled, 6)
    assert opened >= connections
    assert most == 1


@pytest.mark.parametrize("kind", ["pool", "engine"])
async def test_a_writer_that_the_server_ends_loses_only_its_chunk(filled: str, kind: str) -> None:
    await ledger.spoil(filled, IN_ORDER[3], DIE)
    async with callers(filled, kind) as db:
        with pytest.raises(DatabaseError) as caught:
            await run(db)
        assert caught.value.sqlstate in {"57P01", "08003"}  # as the driver got to hear of it
        await assert_committed(filled, 3)
        await ledger.mend(filled)
        await run(db)
    await assert_committed(filled, 6)


@pytest.mark.parametrize("on_existing", ["skip", "replace", "error"])
@pytest.mark.parametrize("reaches", [True, False])
async def test_the_next_run_knows_whether_a_commit_without_an_answer_reached_the_server(
    same_filled: str, monkeypatch: pytest.MonkeyPatch, on_existing: str, *, reaches: bool
) -> None:
    entered: list[asyncpg.Connection] = []
    lost: list[bool] = []
    commit, record = Transaction.commit, Ledger.record_chunk

    async def recording(self: Ledger, session: Session, *arguments: object) -> None:
        await record(self, session, *arguments)
        entered.append(session.raw)

    async def committing(self: Transaction) -> None:
        if lost or len(entered) < 3:
            await commit(self)
            return
        lost.append(True)
        if reaches:
            await commit(self)
        entered[-1].terminate()
        raise asyncpg.ConnectionDoesNotExistError("connection was closed")

    monkeypatch.setattr(Ledger, "record_chunk", recording)
    monkeypatch.setattr(Transaction, "commit", committing)
    with pytest.raises(DatabaseError, match="connection was closed"):
        await run(same_filled, on_existing=on_existing)
    done = await assert_committed(same_filled, 3 if reaches else 2)

    result = await run(same_filled, on_existing=on_existing)

    assert (result.attempt, result.rows_written) == (2, 6 * len(DAYS) - len(done))
    stored = await assert_committed(same_filled, 6)
    assert {at: stored[at] for at in done} == done
    (entry,) = await ledger.runs(same_filled)
    assert (entry["state"], entry["chunks"], entry["rows_written"]) == ("complete", 6, len(stored))


@pytest.mark.parametrize("kind", ["pool", "engine"])
async def test_a_run_cancelled_while_it_writes_leaves_what_it_committed(
    filled: str, kind: str
) -> None:
    async with callers(filled, kind) as db:
        work = run(db, progress=lambda *_: None)
        async with ledger.at_work(filled, IN_ORDER[2], work) as task:
            task.cancel()
            with pytest.raises(asyncio.CancelledError):
                await task
        await assert_committed(filled, 2)
        await assert_left_alone(filled)
        await run(db)
    await assert_committed(filled, 6)


@pytest.mark.parametrize("kind", ["pool", "engine"])
async def test_a_run_cancelled_while_it_reads_leaves_nothing(filled: str, kind: str) -> None:
    async with callers(filled, kind) as db, database.connected(filled) as other:
        async with other.transaction():
            await other.execute("LOCK TABLE positions")
            task = asyncio.create_task(run(db))
            await ledger.waits(other)
            task.cancel()
            with pytest.raises(asyncio.CancelledError):
                await task
        await assert_committed(filled, 0)
        await assert_left_alone(filled)
        await run(db)
    await assert_committed(filled, 6)


async def test_progress_is_told_of_each_chunk(same_filled: str) -> None:
    calls: list[tuple[str, int, int]] = []

    await run(same_filled, progress=lambda *call: calls.append(call))

    assert calls[0] == ("load", 0, 0)
    # one that is told again between two chunks is the same
    assert [call for call in dict.fromkeys(calls) if call[0] == "persist"][-6:] == [
        ("persist", done, 6) for done in range(1, 7)
    ]


@pytest.mark.parametrize("at", ["load", "plan", "persist"])
async def test_what_progress_raises_ends_the_run_and_surfaces(
    same_filled: str, at: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    def progress(phase: str, done: int, chunks: int) -> None:
        if (phase, done, chunks > 0) == where[at]:
            raise ZeroDivisionError("by the caller")

    where = {"load": ("load", 0, False), "plan": ("load", 0, True), "persist": ("persist", 2, True)}
    monkeypatch.setattr(batch, "TICK_S", 0)  # beside the work too
    with pytest.raises(ZeroDivisionError, match="by the caller"):
        await run(same_filled, progress=progress)

    await assert_committed(same_filled, 2 if at == "persist" else 0)
    await assert_left_alone(same_filled)
    assert [(row["state"], row["error"]) for row in await ledger.runs(same_filled)] == (
        [] if at == "load" else [("failed", "ZeroDivisionError: by the caller")]
    )


@pytest.mark.parametrize("phase", ["load", "persist"])
async def test_a_cancellation_that_progress_raises_ends_the_run(
    same_filled: str, phase: str
) -> None:
    """A task group takes it for the end of one task: the rest was left out, and nothing said."""

    def progress(at: str, done: int, _all: int) -> None:
        if at == phase and (phase == "load" or done == 2):
            raise asyncio.CancelledError("by the caller")

    with pytest.raises(asyncio.CancelledError, match="by the caller") as caught:
        await run(same_filled, progress=progress)

    report = batchcore.BatchResult.of_error(caught.value)
    assert report is not None
    assert report.state == "interrupted"
    await assert_left_alone(same_filled)
    await run(same_filled)
    await assert_committed(same_filled, 6)


async def test_a_cancellation_that_the_log_raises_is_no_end_of_the_work(same_filled: str) -> None:
    def stop() -> None:
        raise asyncio.CancelledError("by the caller")

    log = logging.getLogger("batchcore")
    level, handler = log.level, Steps("committed", 3, stop)
    log.addHandler(handler)
    log.setLevel(logging.DEBUG)
    try:
        with pytest.raises(asyncio.CancelledError, match="by the caller"):
            await run(same_filled)
    finally:
        log.removeHandler(handler)
        log.setLevel(level)
    await assert_left_alone(same_filled)
    await run(same_filled)
    await assert_committed(same_filled, 6)
