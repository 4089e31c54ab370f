"""Several connections of one run: one view, one task on each, and doing with fewer."""

import asyncio
import contextlib
import logging

import asyncpg
import pytest
from sqlalchemy.ext.asyncio import create_async_engine

import batchcore
from batchcore.config import Settings
from batchcore.errors import ConfigError, DatabaseError
from batchcore.pg.database import Database
from batchcore.pg.session_pool import SessionPool
from support import database, runs
from support.callers import with_driver
from support.generate import MONDAY
from support.roles import role_of

DAYS = list(range(MONDAY, MONDAY + 4))
HOST = database.plain_host(30, DAYS)
BACKEND = "SELECT pg_backend_pid()"


async def run(db, **options) -> batchcore.BatchResult:
    return await runs.run(db, days=DAYS, settings=Settings(**options))


async def test_a_shared_snapshot_is_one_moment_on_all_connections(same_host: str) -> None:
    found = Database(same_host)
    async with (
        found.snapshot("read", shared=True) as first,
        database.connected(same_host) as other,
    ):
        await database.fill(same_host, HOST)
        assert await other.fetchval("SELECT count(*) FROM portfolios") == 30
        assert first.exported is not None
        async with found.snapshot("read", of=first.exported) as second:
            assert second.consistent
            pids = [await one.raw.fetchval(BACKEND) for one in (first, second)]
            seen = [
                await one.raw.fetchval("SELECT count(*) FROM portfolios") for one in (first, second)
            ]
            with pytest.raises(DatabaseError, match="read-only"):
                await second.execute("DELETE FROM portfolios")

    assert seen == [0, 0]
    assert len(set(pids)) == 2


async def test_a_snapshot_that_nobody_knows_is_refused(same_host: str) -> None:
    with pytest.raises(DatabaseError, match="snapshot"):
        async with Database(same_host).snapshot("read", of="0000AAAA-0000BBBB-1"):
            pass


async def test_a_session_is_lent_to_one_task_at_a_time(same_host: str) -> None:
    found, lent, most = Database(same_host), 0, 0
    sessions = SessionPool()

    async def task() -> int:
        nonlocal lent, most
        async with sessions.lend("read") as session:
            lent += 1
            most = max(most, lent)
            pid: int = await session.raw.fetchval(BACKEND)
            lent -= 1
        return pid

    async with sessions.opening(lambda: found.writing("read"), 2):
        pids = await asyncio.gather(*(task() for _ in range(12)))

    assert most <= 2
    assert 1 <= len(set(pids)) <= 2


async def test_what_cannot_be_opened_is_told_to_whoever_waits() -> None:
    nowhere = Database("postgresql://nobody@127.0.0.1:1/none")
    sessions = SessionPool()
    async with sessions.opening(lambda: nowhere.writing("write"), 2):
        for _ in range(2):
            with pytest.raises(DatabaseError, match="Connect"):
                async with sessions.lend("write"):
                    pass


async def test_with_one_that_is_there_the_others_may_fail(
    same_host: str, caplog: pytest.LogCaptureFixture
) -> None:
    nowhere = Database("postgresql://nobody@127.0.0.1:1/none")
    async with Database(same_host).writing("write") as there:
        sessions = SessionPool(there)
        with caplog.at_level(logging.WARNING, "batchcore"):
            async with sessions.opening(lambda: nowhere.writing("write"), 1):
                while not caplog.records:
                    await there.raw.fetchval(BACKEND)
                async with sessions.lend("write") as session:
                    assert session is there

    (record,) = caplog.records
    assert record.getMessage().startswith("connection=failed connections_left=")


async def test_a_server_that_exports_no_snapshot_is_read_on_one_connection(
    filled: str, caplog: pytest.LogCaptureFixture
) -> None:
    await database.execute(filled, "REVOKE EXECUTE ON FUNCTION pg_export_snapshot() FROM PUBLIC")
    async with role_of(filled) as (_, url):
        async with Database(url).snapshot("read", shared=True) as session:
            assert session.exported is None
            assert session.consistent
        result = await run(url, chunk_size=4)

    assert result["success"]
    assert result.rows_written == 120
    assert "snapshot=not_shared error='permission denied for function pg_export" in caplog.text


async def test_a_pool_gives_what_it_has(same_filled: str) -> None:
    async with asyncpg.create_pool(same_filled, min_size=1, max_size=3) as pool:
        result = await run(pool, chunk_size=4)
        assert result.rows_written == 120
        with pytest.raises(ConfigError, match="max_size is 3, expected 5 or more"):
            await run(pool, connections=4)


async def test_a_pool_that_others_use_gives_what_is_left(same_filled: str) -> None:
    async with (
        asyncpg.create_pool(same_filled, min_size=1, max_size=4) as pool,
        pool.acquire(),
        pool.acquire(),
    ):
        result = await run(pool, chunk_size=4)

    assert result.rows_written == 120


@pytest.mark.parametrize(("size", "lanes"), [(0, 5), (2, 2), (9, 5)])
async def test_an_engine_gives_what_is_left_without_its_overflow(
    same_host: str, size: int, lanes: int
) -> None:
    engine = create_async_engine(with_driver(same_host), pool_size=size, max_overflow=20)
    try:
        assert Database(engine).most(5) == lanes
        async with engine.connect():
            assert Database(engine).most(5) == (1 if size == 2 else lanes)
    finally:
        await engine.dispose()


@pytest.mark.parametrize("request_is_lost", [False, True])
async def test_all_connections_are_closed_when_a_run_is_cancelled(
    filled: str, monkeypatch: pytest.MonkeyPatch, *, request_is_lost: bool
) -> None:
    async def lose(*_: object, **__: object) -> None:
        """Take a request to cancel a statement, which a server ignores before the statement."""

    if request_is_lost:
        monkeypatch.setattr(asyncpg.connect_utils, "_cancel", lose)
    async with (
        asyncio.timeout(20),
        database.connected(filled) as watcher,
        database.connected(filled) as locker,
        locker.transaction(),
    ):
        await locker.execute("LOCK TABLE portfolio_snapshots IN SHARE MODE")
        task = asyncio.create_task(run(filled, chunk_size=1))
        waiting = 0
        while not waiting:
            waiting = await watcher.fetchval(
                "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database()"
                " AND wait_event_type = 'Lock'"
            )
        task.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await task
        others = (
            "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database()"
            " AND backend_type = 'client backend'"
        )
        while await watcher.fetchval(others) > 2:
            pass

    assert task.cancelled()
    assert await database.snapshots(filled) == {}
    assert (await run(filled)).rows_written == 120
