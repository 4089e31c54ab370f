"""Connections: isolation, transactions, and what is left behind on a caller's."""

import asyncio
import datetime as dt
import traceback
from typing import Any
from uuid import UUID

import asyncpg
import pytest
from sqlalchemy import event
from sqlalchemy.ext.asyncio import create_async_engine
from sqlalchemy.pool import StaticPool
from sqlalchemy.util import await_only

from batchcore.db.migrate import migrate
from batchcore.errors import ConfigError, DatabaseError
from batchcore.pg import database as databases
from batchcore.pg.database import Database
from batchcore.pg.errors import driver_errors
from support.callers import caller, with_driver

COUNT = "SELECT count(*) FROM portfolios"


class Moment(dt.datetime):
    """What libraries derive from time stamps."""


MUCH = "SELECT repeat('x', 100) FROM generate_series(1, 50000)"
MUCH_BYTES = 19 + 50_000 * (2 + 4 + 100) + 2


async def test_the_time_limit_of_a_pool_ends_no_statement(same_host: str) -> None:
    slow = "SELECT pg_sleep(0.4)::text"
    async with (
        asyncio.timeout(20),
        asyncpg.create_pool(same_host, min_size=1, max_size=1, command_timeout=0.2) as pool,
        Database(pool).writing("read") as session,
    ):
        await session.copy_out(slow, lambda _: None)
        await session.execute(slow)
        assert await session.fetchval(slow) == ""
        with (
            pytest.raises(DatabaseError, match=r"^the command_timeout of the pool, engine or conn"),
            driver_errors(),
        ):
            await session.raw.fetch(slow)


@pytest.mark.parametrize(
    ("name", "made", "returned"),
    [
        ("timestamptz", str, "str"),
        ("timestamptz", Moment, "Moment"),
        ("uuid", str, "str"),
        ("int4", str, "str"),
        ("int8", float, "float"),
        ("text", str.encode, "bytes"),
    ],
)
async def test_a_type_codec_that_reads_something_else_is_named(
    same_host: str, name: str, made: Any, returned: str
) -> None:
    literals = {"timestamptz": "2026-01-05", "uuid": str(UUID(int=1)), "text": "a"}

    def decoded(text: str) -> object:
        return made(text) if made is not Moment else Moment.fromisoformat(text)

    async def add(raw: asyncpg.Connection) -> None:
        await raw.set_type_codec(name, encoder=str, decoder=decoded, schema="pg_catalog")

    told = f"^the connection has a type codec for {name} that returns {returned}, expected a conn"
    async with (
        asyncpg.create_pool(same_host, min_size=1, max_size=1, init=add) as pool,
        Database(pool).writing("read") as session,
    ):
        with pytest.raises(ConfigError, match=told):
            await session.fetch(f"SELECT NULL UNION ALL SELECT '{literals.get(name, 1)}'::{name}")
        assert await session.fetch("SELECT 1.5, true, DATE '2026-01-05', '{}'::json")


FAILING = [
    ("PERFORM current_setting('app.user_id')", "42704", "unrecognized configuration parameter"),
    ("INSERT INTO audit VALUES (1)", "42P01", 'relation "audit" does not exist'),
    ("RAISE EXCEPTION 'closed period' USING ERRCODE = '45000'", "45000", "closed period"),
    ("PERFORM no_such_function(1)", "42883", "function no_such_function"),
]


@pytest.mark.parametrize(("body", "state", "told"), FAILING)
async def test_an_error_inside_a_trigger_names_its_function(
    same_host: str, body: str, state: str, told: str
) -> None:
    async with Database(same_host).writing("write") as session:
        await session.execute(
            'CREATE TEMP TABLE audited (id int); CREATE FUNCTION pg_temp."aud it"()'
            f" RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN {body}; RETURN NEW; END $$;"
            " CREATE TRIGGER t BEFORE INSERT ON audited FOR EACH ROW"
            ' EXECUTE FUNCTION pg_temp."aud it"()'
        )
        with pytest.raises(
            DatabaseError, match=rf"^function `[^`]*aud it[^`]*\(\)`: {told}"
        ) as error:
            await session.execute("INSERT INTO audited VALUES (1)")
        assert error.value.sqlstate == state


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


@pytest.mark.parametrize("kind", ["url", "pool"])
@pytest.mark.parametrize("how", ["lost", "terminated"])
async def test_a_connection_lost_in_a_copy_is_an_error(same_host: str, kind: str, how: str) -> None:
    received: list[int] = []

    def goes(data: bytes) -> None:
        before, now = sum(received), sum(received) + len(data)
        received.append(len(data))
        if before < MUCH_BYTES // 2 <= now:
            if how == "lost":  # as a reset does that TLS has read
                session.raw._transport.abort()  # noqa: SLF001
            else:
                session.raw.terminate()

    async with asyncio.timeout(20), caller(same_host, kind) as given:
        with pytest.raises(DatabaseError, match=r"in the middle of (a COPY|operation)"):
            async with Database(given.db).writing("read") as session:
                await session.copy_out(MUCH, goes)
        assert sum(received) < MUCH_BYTES
        async with Database(given.db).writing("read") as session:
            assert await session.fetchval("SELECT 1") == 1


@pytest.mark.parametrize("times", [1, 2])
async def test_cancelled_while_an_engine_opens_a_connection_it_is_not_forgotten(
    same_host: str, times: int
) -> None:
    opened: list[asyncpg.Connection] = []
    sets_up = asyncio.Event()

    async def create() -> asyncpg.Connection:
        opened.append(await asyncpg.connect(same_host))
        sets_up.set()
        await asyncio.sleep(0.1)  # as SQLAlchemy does; cancelled here, it closes nothing
        return opened[-1]

    async def work() -> None:
        async with Database(engine).writing("read"):
            pytest.fail("it goes on although it was cancelled")

    engine = create_async_engine("postgresql+asyncpg://", async_creator=create)
    task = asyncio.create_task(work())
    await sets_up.wait()
    for _ in range(times):
        task.cancel()
        await asyncio.sleep(0.01)
    with pytest.raises(asyncio.CancelledError):
        await task
    await asyncio.sleep(0.3)
    await engine.dispose()
    assert [raw.is_closed() for raw in opened] == [True]


async def test_cancelled_while_an_engine_opens_a_connection_for_long_it_is_closed_later(
    same_host: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(databases, "SET_UP_S", 0.05)
    opened: list[asyncpg.Connection] = []
    begun, answers = asyncio.Event(), asyncio.Event()

    async def create() -> asyncpg.Connection:
        opened.append(await asyncpg.connect(same_host))
        begun.set()
        await answers.wait()  # a server that is silent while SQLAlchemy sets the connection up
        return opened[-1]

    engine = create_async_engine("postgresql+asyncpg://", async_creator=create)
    given_back = asyncio.Event()
    event.listen(engine.sync_engine, "checkin", lambda *_: given_back.set())
    async with asyncio.timeout(20):
        task = asyncio.create_task(Database(engine).writing("read").__aenter__())
        await begun.wait()
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        assert not opened[0].is_closed()
        answers.set()
        await given_back.wait()
        await engine.dispose()
    assert [raw.is_closed() for raw in opened] == [True]


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


@pytest.mark.parametrize("kind", ["url", "engine"])
async def test_no_such_database_is_one_line(server, kind: str) -> None:
    async with caller(server.database_url("no_such_database"), kind) as given:
        with pytest.raises(DatabaseError, match="does not exist") as caught:
            async with Database(given.db).snapshot("read"):
                pass
    assert caught.value.sqlstate == "3D000"


@pytest.mark.parametrize("given", ["mysql://localhost/x", "localhost", "", None, 7, object()])
async def test_anything_else_is_refused(given: object) -> None:
    with pytest.raises(ConfigError):
        Database(given)


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


def sets_zone(connection: Any, *_: object) -> None:
    cursor = connection.cursor()
    cursor.execute("SET TimeZone = 'Asia/Tokyo'")
    cursor.close()


@pytest.mark.parametrize("when", ["connect", "first_connect", "checkout"])
async def test_a_transaction_that_a_listener_of_an_engine_has_begun_is_committed(
    same_host: str, when: str
) -> None:
    async with caller(same_host, "engine") as given:
        event.listen(given.db.sync_engine, when, sets_zone)
        for _ in range(2):
            async with Database(given.db).snapshot("load") as session:
                assert session.consistent
                zone = await session.fetchval("SHOW TimeZone")
            assert zone == "Asia/Tokyo" or when == "first_connect"  # on a connection of its own
        async with given.db.connect() as connection:
            zone = (await connection.exec_driver_sql("SHOW TimeZone")).scalar()
            assert zone == "Asia/Tokyo" or when == "first_connect"


@pytest.mark.parametrize("kind", ["pool", "engine", "asyncpg", "connection"])
async def test_what_another_event_loop_has_opened_is_refused(same_host: str, kind: str) -> None:
    async with caller(same_host, kind) as given:
        taken: list[bytes] = []

        async def use() -> None:
            with pytest.raises(ConfigError, match="belongs to another event loop") as error:
                async with Database(given.db, borrow=True).reading("read") as session:
                    await session.copy_out(COUNT, taken.append)
            assert error.value.option == "db"

        async with Database(given.db, borrow=True).reading("read") as session:
            await session.copy_out(COUNT, taken.append)
        await asyncio.to_thread(asyncio.run, use())
        async with Database(given.db, borrow=True).reading("read") as session:
            await session.copy_out(COUNT, taken.append)  # nothing happened to it


async def test_an_engine_with_one_connection_for_all_is_refused(same_host: str) -> None:
    engine = create_async_engine(with_driver(same_host), poolclass=StaticPool)
    database = Database(engine)
    assert database.most(1) == 0
    database.require(1)
    with pytest.raises(
        ConfigError, match=r"^the engine's pool is a StaticPool, expected one of 3 "
    ):
        database.require(3)
    async with database.writing("read") as session:
        assert await session.fetchval("SELECT 1") == 1
    await engine.dispose()


async def test_a_pool_that_is_not_open_is_refused(same_host: str) -> None:
    never = asyncpg.create_pool(same_host)
    with pytest.raises(ConfigError, match=r"^pool is not initialized, expected one that was a"):
        async with Database(never).writing("read"):
            pass
    async with asyncpg.create_pool(same_host, min_size=0) as closed, Database(closed).writing("a"):
        pass
    with pytest.raises(DatabaseError, match="pool is closed"), driver_errors():
        async with Database(closed).writing("read"):
            pass


@pytest.mark.parametrize("text", ["{}\n", "{}\r\n", " {} "])
async def test_white_space_around_a_url_is_none_of_it(same_host: str, text: str) -> None:
    async with Database(text.format(same_host)).writing("read") as session:
        assert await session.fetchval("SELECT 1") == 1
