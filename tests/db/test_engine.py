"""Connections: isolation, transactions, and what is left behind on a caller's."""

import asyncio
import traceback

import asyncpg
import pytest
from sqlalchemy import event
from sqlalchemy.ext.asyncio import create_async_engine
from sqlalchemy.util import await_only

from batchcore.db import engine
from batchcore.db.engine import Database, transaction
from batchcore.db.migrate import migrate
from batchcore.errors import ConfigError, DatabaseError
from support import database
from support.callers import OWN, caller

pytestmark = pytest.mark.db

PORTFOLIO = """
    INSERT INTO portfolios (id, user_id, name, account_name, account_type, currency, created_at,
        updated_at)
    VALUES (gen_random_uuid(), gen_random_uuid(), '{0}', '{0}', 'taxable', 'USD', now(), now())"""
COUNT = "SELECT count(*) FROM portfolios"


KINDS = pytest.mark.parametrize("kind", OWN)


@KINDS
async def test_a_snapshot_is_repeatable_read_and_read_only(same_host: str, kind: str) -> None:
    async with caller(same_host, kind) as given, Database(given.db).snapshot("read") as session:
        assert await session.raw.fetchval("SHOW transaction_isolation") == "repeatable read"
        assert await session.raw.fetchval("SHOW transaction_read_only") == "on"
        with pytest.raises(DatabaseError, match="read-only") as caught:
            await session.execute(PORTFOLIO.format("a"))
        assert caught.value.sqlstate == "25006"


@KINDS
async def test_a_snapshot_sees_nothing_that_is_committed_later(same_host: str, kind: str) -> None:
    async with (
        caller(same_host, kind) as given,
        Database(given.db).snapshot("read") as session,
        database.connected(same_host) as other,
    ):
        taken: list[bytes] = []
        assert await session.raw.fetchval(COUNT) == 0
        await other.execute(PORTFOLIO.format("a"))

        await session.copy_out("SELECT name FROM portfolios", taken.append)

        assert await session.raw.fetchval(COUNT) == 0
        assert b"a" not in b"".join(taken)[19:]  # after the header of 19 bytes


async def test_no_limit_of_time_holds_in_a_snapshot_and_those_outside_come_back(
    same_host: str,
) -> None:
    limits = {"statement_timeout": "1min", "idle_in_transaction_session_timeout": "2min"}
    async with asyncpg.create_pool(
        same_host, min_size=1, max_size=2, server_settings=limits
    ) as pool:
        async with Database(pool).snapshot("read") as session:
            for name in limits:
                assert await session.raw.fetchval(f"SHOW {name}") == "0"
        async with Database(pool).writing("write") as session, transaction(session):
            for name in limits:
                assert await session.raw.fetchval(f"SHOW {name}") == "0"
        for name, value in limits.items():
            assert await pool.fetchval(f"SHOW {name}") == value


@KINDS
async def test_copy_on_a_borrowed_connection_is_inside_the_transaction(
    same_host: str, kind: str
) -> None:
    # A binary COPY of one row of one text: signature, flags, no extension; 1 field of 1 byte; end.
    one_row = b"PGCOPY\n\xff\r\n\0" + bytes(8) + b"\0\1" + b"\0\0\0\1" + b"x" + b"\xff\xff"
    async with database.connected(same_host) as other:
        await other.execute("CREATE TABLE IF NOT EXISTS letters (letter text)")
        await other.execute("TRUNCATE letters")
        async with caller(same_host, kind) as given, Database(given.db).writing("write") as session:

            async def copied_and_undone() -> None:
                async with transaction(session):
                    assert session.raw.is_in_transaction()
                    assert await session.copy_in("letters", ["letter"], [one_row]) == 1
                    seen: list[bytes] = []
                    await session.copy_out("SELECT letter FROM letters", seen.append)
                    assert b"".join(seen) == one_row
                    assert await other.fetchval("SELECT count(*) FROM letters") == 0
                    raise RuntimeError("undone")

            with pytest.raises(RuntimeError, match="undone"):
                await copied_and_undone()
            assert await other.fetchval("SELECT count(*) FROM letters") == 0

            async with transaction(session):
                await session.copy_in("letters", ["letter"], [one_row])
            assert await other.fetchval("SELECT count(*) FROM letters") == 1


MUCH = "SELECT repeat('x', 100) FROM generate_series(1, 50000)"
MUCH_BYTES = 19 + 50_000 * (2 + 4 + 100) + 2


@pytest.fixture
def small_pieces(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let every piece of much data be a small one, which is waited after."""
    monkeypatch.setattr(engine, "SMALL_BYTES", 1 << 20)


@pytest.mark.parametrize("limit", [None, 60], ids=["no time limit", "a time limit"])
@pytest.mark.usefixtures("small_pieces")
async def test_small_pieces_of_much_data_add_up_and_all_of_it_arrives(
    same_host: str, limit: int | None
) -> None:
    pieces: list[bytes] = []
    async with (
        asyncpg.create_pool(same_host, min_size=1, command_timeout=limit) as pool,
        Database(pool).snapshot("read") as session,
    ):
        await session.copy_out(MUCH, pieces.append)
    assert sum(len(piece) for piece in pieces) == MUCH_BYTES == session.bytes["read"]
    assert len(pieces) < MUCH_BYTES / (16 << 10)  # the server sends 8 KiB at a time


@pytest.mark.usefixtures("small_pieces")
async def test_a_copy_that_is_cancelled_while_pieces_add_up_ends_at_once(
    same_host: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(engine, "GATHER_S", 30)
    async with asyncio.timeout(20), Database(same_host).writing("read") as session:
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(0.5):
                await session.copy_out(MUCH, lambda _: None)
        assert asyncio.current_task().cancelling() == 0
        assert await session.fetchval("SELECT 1") == 1

        task = asyncio.create_task(session.copy_out(MUCH, lambda _: None))
        await asyncio.sleep(0.5)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        assert await session.fetchval("SELECT 1") == 1


@pytest.mark.usefixtures("small_pieces")
async def test_a_time_limit_that_is_met_while_pieces_add_up_is_an_error(
    same_host: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(engine, "GATHER_S", 30)
    async with (
        asyncio.timeout(20),
        asyncpg.create_pool(same_host, min_size=1, max_size=1, command_timeout=0.5) as pool,
        Database(pool).writing("read") as session,
    ):
        with pytest.raises(DatabaseError, match="TimeoutError"):
            await session.copy_out(MUCH, lambda _: None)
        assert await session.fetchval("SELECT 1") == 1


@pytest.mark.usefixtures("small_pieces")
@pytest.mark.parametrize("rows", [2_000, 50_000])  # all in one buffer of the socket, or not
async def test_a_copy_is_cancelled_after_whichever_piece(same_host: str, rows: int) -> None:
    query = MUCH.replace("50000", str(rows))
    async with asyncio.timeout(60), Database(same_host).writing("read") as session:
        for last in range(40):
            seen: list[bytes] = []

            def take(data: bytes, seen: list[bytes] = seen, last: int = last) -> None:
                if len(seen) == last:
                    asyncio.current_task().cancel()  # as a signal would while it waits
                seen.append(data)

            task = asyncio.create_task(session.copy_out(query, take))
            await asyncio.wait([task], timeout=5)
            assert task.cancelled() == (len(seen) > last)
            assert await session.fetchval("SELECT 1") == 1
            if not task.cancelled():
                break
    assert last > 1


@pytest.mark.usefixtures("small_pieces")
@pytest.mark.parametrize("kind", ["url", "pool"])
@pytest.mark.parametrize("how", ["lost", "terminated"])
async def test_a_connection_that_goes_while_pieces_add_up_is_an_error_at_once(
    same_host: str, kind: str, how: str
) -> None:
    received: list[int] = []

    def goes(data: bytes) -> None:
        before, now = sum(received), sum(received) + len(data)
        received.append(len(data))
        if before < engine.MUCH_BYTES <= now:
            if how == "lost":  # as a reset does that TLS has read
                session.raw._transport.abort()  # noqa: SLF001
            else:
                session.raw.terminate()

    async with asyncio.timeout(20), caller(same_host, kind) as given:
        with pytest.raises(DatabaseError, match="lost in the middle of a COPY"):
            async with Database(given.db).writing("read") as session:
                await session.copy_out(MUCH, goes)
        assert sum(received) < MUCH_BYTES
        async with Database(given.db).writing("read") as session:
            assert await session.fetchval("SELECT 1") == 1


@KINDS
async def test_statements_are_counted_under_their_phase(same_host: str, kind: str) -> None:
    async with caller(same_host, kind) as given:
        counted = Database(given.db)
        async with counted.snapshot("one") as session:
            await session.raw.fetchval(COUNT)
            await session.enter("two")
            await session.copy_out("SELECT 1", lambda _: None)
            await session.raw.fetchval("SELECT 2")
            await session.execute("SET LOCAL work_mem = '8MB'")
    assert counted.statements["two"] == 2
    assert counted.statements["one"] >= 1


async def test_loggers_of_the_caller_stay_and_those_of_a_run_go(same_host: str) -> None:
    seen: list[str] = []
    async with asyncpg.create_pool(same_host, min_size=1, max_size=1) as pool:
        async with pool.acquire() as raw:
            raw.add_query_logger(lambda query: seen.append(query.query))
        counted = Database(pool)
        async with counted.snapshot("read") as session:
            await session.raw.fetchval(COUNT)
        before = dict(counted.statements)
        await pool.fetchval("SELECT 7")
        async with counted.writing("write"):
            pass
    assert COUNT in seen
    assert "SELECT 7" in seen
    assert counted.statements["read"] == before["read"]


async def test_no_server_is_one_line(tmp_path) -> None:
    with pytest.raises(DatabaseError) as caught:
        async with Database(f"postgresql://nobody@/none?host={tmp_path}").snapshot("read"):
            pass
    assert "\n" not in str(caught.value)
    assert caught.value.__cause__ is not None


@pytest.mark.parametrize(
    "url",
    ["postgresql://a@b:port/c", "postgresql://a:secret/d@b/c", "postgresql://a@b:1,c:port/d"],
)
async def test_a_port_that_is_none_is_told_without_the_url(url: str) -> None:
    with pytest.raises(ConfigError, match="no valid port") as caught:
        async with Database(url).snapshot("read"):
            pass
    assert caught.value.option == "database_url"
    assert "secret" not in "".join(traceback.format_exception(caught.value))


async def test_a_port_of_the_environment_that_is_none_is_told(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("PGPORT", "port")
    with pytest.raises(ConfigError, match="no valid port"):
        async with Database("postgresql://a@b/c").snapshot("read"):
            pass
    with pytest.raises(ConfigError, match="no valid port"):
        await migrate("postgresql://a@b/c")


async def test_no_such_database_is_one_line(server) -> None:
    with pytest.raises(DatabaseError, match="does not exist") as caught:
        async with Database(server.database_url("no_such_database")).snapshot("read"):
            pass
    assert caught.value.sqlstate == "3D000"


async def test_no_such_database_behind_an_engine_is_one_line(server) -> None:
    url = server.database_url("no_such_database")
    engine = create_async_engine(url.replace("postgresql://", "postgresql+asyncpg://"))
    with pytest.raises(DatabaseError, match="does not exist") as caught:
        async with Database(engine).snapshot("read"):
            pass
    await engine.dispose()
    assert caught.value.sqlstate == "3D000"


@pytest.mark.parametrize("given", ["mysql://localhost/x", "localhost", "", None, 7, object()])
async def test_anything_else_is_refused(given: object) -> None:
    with pytest.raises(ConfigError):
        Database(given)


async def test_a_pool_of_one_connection_is_refused_for_two(same_host: str) -> None:
    async with asyncpg.create_pool(same_host, min_size=1, max_size=1) as pool:
        Database(pool).require(1)
        with pytest.raises(ConfigError, match="max_size is 1, expected 2 or more"):
            Database(pool).require(2)


@pytest.mark.parametrize("opener", ["caller", "batchcore"])
async def test_connections_of_an_engine_open_side_by_side(same_host: str, opener: str) -> None:
    both = asyncio.Barrier(2)

    async def opened_by_caller(db) -> None:
        async with db.connect() as connection:
            await connection.exec_driver_sql(COUNT)

    async def opened_by_batchcore(db) -> None:
        async with Database(db).writing("write") as session:
            assert await session.fetchval(COUNT) == 0

    other = {"caller": opened_by_caller, "batchcore": opened_by_batchcore}[opener]
    # SQLAlchemy opens the first connection of an engine alone.
    async with caller(same_host, "engine") as given, given.db.connect():
        event.listen(
            given.db.sync_engine, "connect", lambda *_: await_only(both.wait()), insert=True
        )
        async with asyncio.timeout(60), asyncio.TaskGroup() as tasks:
            tasks.create_task(other(given.db))
            tasks.create_task(opened_by_batchcore(given.db))
