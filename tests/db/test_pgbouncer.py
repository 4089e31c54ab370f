"""Through a PgBouncer of Debian's, by session and by transaction."""

import asyncio
import contextlib
import gc
import uuid
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from importlib.metadata import version
from typing import Any

import asyncpg
import pytest
import pytest_asyncio
from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncSession

import batchcore
from batchcore.calendar import date_of
from batchcore.cli import exits
from batchcore.config import Settings
from batchcore.errors import DatabaseError
from batchcore.pg.errors import NONE_LEFT, NOT_TAKEN, POOLED
from support import database, runs
from support.bouncer import bouncer
from support.callers import engine_of
from support.command import batchcore as command
from support.generate import MONDAY
from support.outcome import assert_left, outcome

pytestmark = pytest.mark.pgbouncer

DAYS = list(range(MONDAY, MONDAY + 4))
HOST = database.plain_host(6, DAYS)
MODES = pytest.mark.parametrize("mode", ["session", "transaction"])
POOL_SIZE = 8
TRACKED = {"application_name", "client_encoding", "DateStyle", "TimeZone"}
"""Settings that PgBouncer itself hands from a client to a connection."""

UNPREPARED: dict[str, Any] = {
    "statement_cache_size": 0,
    "prepared_statement_cache_size": 0,
    "prepared_statement_name_func": lambda: f"__asyncpg_{uuid.uuid4()}__",
}
"""What docs/operations.md tells the owner of an SQLAlchemy engine to set."""

Through = Callable[[str], str]


@pytest.fixture(scope="module")
def through(server) -> Iterator[dict[str, Through]]:
    """For each mode a function from the URL of a database to the one through PgBouncer."""
    with (
        bouncer(server.url, "session", pool_size=POOL_SIZE) as session,
        bouncer(server.url, "transaction", pool_size=POOL_SIZE) as transaction,
    ):
        yield {"session": session, "transaction": transaction}


async def run(db, **options) -> batchcore.BatchResult:
    options = {"days": DAYS, "settings": Settings(chunk_size=1), **options}
    async with asyncio.timeout(60):
        return await runs.run(db, **options)


async def assert_done(url: str, result: batchcore.BatchResult) -> None:
    expected = outcome(HOST, DAYS, DAYS[0], DAYS[-1])
    assert (result.rows_written, result.consistent, result.retries) == (24, True, 0)
    assert_left({}, await database.snapshots(url), expected, HOST)
    assert await database.equities(url) == expected.equity


@contextlib.asynccontextmanager
async def opened(url: str, kind: str) -> AsyncIterator[Any]:
    """What a caller hands in, two of three with the cache of statements that is the default."""
    match kind:
        case "url":
            yield url
        case "pool":
            async with asyncpg.create_pool(url, min_size=1, max_size=4) as pool:
                yield pool
        case "uncached pool":
            async with asyncpg.create_pool(
                url, min_size=1, max_size=4, statement_cache_size=0
            ) as pool:
                yield pool
        case "engine":
            async with engine_of(url, connect_args=UNPREPARED) as engine:
                yield engine


async def assert_nothing_left(url: str) -> None:
    """Assert that no connection to the server keeps anything for whoever gets it next."""
    async with contextlib.AsyncExitStack() as stack:
        for _ in range(POOL_SIZE):
            own = await stack.enter_async_context(database.connected(url))
            await stack.enter_async_context(own.transaction())  # keeps its connection

            async def of(query: str, own: asyncpg.Connection = own) -> set[str]:
                statement = await own.prepare(query, name="")
                return {row[0] for row in await statement.fetch()}

            settings = await of("SELECT name FROM pg_settings WHERE source = 'session'")
            assert settings - {"transaction_isolation"} <= TRACKED
            prepared = await of("SELECT statement FROM pg_prepared_statements WHERE name <> ''")
            assert not {one for one in prepared if "pg_catalog" in one or "SHOW" in one}
            assert not await of(
                "SELECT relname::text FROM pg_class WHERE relpersistence = 't' AND relkind = 'r'"
            )
            assert not await of(
                "SELECT mode FROM pg_locks WHERE locktype = 'advisory' AND pid = pg_backend_pid()"
            )


@MODES
@pytest.mark.parametrize("kind", ["url", "pool", "uncached pool", "engine"])
async def test_a_run_is_what_it_is_without(
    filled: str, through: dict[str, Through], mode: str, kind: str
) -> None:
    url = through[mode](filled)
    async with opened(url, kind) as db:
        await assert_done(filled, await run(db))
        again = await run(db, on_existing="replace", analytics="full")
        assert (again.rows_written, again.consistent) == (24, True)
    if mode == "transaction":
        await assert_nothing_left(url)


@MODES
@pytest.mark.parametrize("kind", ["session", "asyncpg"])
async def test_a_callers_own_transaction_works(
    filled: str, through: dict[str, Through], mode: str, kind: str
) -> None:
    url = through[mode](filled)
    calculator = batchcore.PnLCalculator()
    if kind == "asyncpg":
        async with database.connected(url) as db, db.transaction():
            result = await calculator.calculate_all_portfolios_pnl(date_of(DAYS[0]), db)
    else:
        async with engine_of(url, connect_args=UNPREPARED) as engine, AsyncSession(engine) as db:
            await db.execute(text("SELECT 1"))
            result = await calculator.calculate_all_portfolios_pnl(date_of(DAYS[0]), db)
            await db.commit()
    assert result.rows_written == len(HOST.portfolios)
    assert len(await database.snapshots(filled)) == len(HOST.portfolios)


async def poisoned(url: str) -> None:
    """Leave statements under the names that asyncpg gives next, on each connection there is."""
    async with contextlib.AsyncExitStack() as stack:
        others = []
        for _ in range(POOL_SIZE):
            other = await stack.enter_async_context(database.connected(url))
            await stack.enter_async_context(other.transaction())
            others.append(other)
        own = await others[0].prepare("SELECT 'not this one'")
        start = int(own.get_name().removeprefix("__asyncpg_stmt_").removesuffix("__"), 16)
        names = [f"__asyncpg_stmt_{number:x}__" for number in range(start + 1, start + 500)]
        for other in others:
            await other.execute(
                "; ".join(f"PREPARE \"{name}\" AS SELECT 'not this one'" for name in names)
            )


@pytest.mark.parametrize("kind", ["url", "pool", "engine"])
async def test_statements_that_others_prepared_under_the_same_names_are_in_nobodys_way(
    filled: str, through: dict[str, Through], kind: str
) -> None:
    url = through["transaction"](filled)
    await poisoned(url)
    async with opened(url, kind) as db:
        await assert_done(filled, await run(db))


@pytest.mark.filterwarnings("ignore:unclosed:ResourceWarning")
async def test_an_engine_whose_statements_have_names_is_refused_with_what_to_set(
    host: str, through: dict[str, Through]
) -> None:
    url = through["transaction"](host)
    await poisoned(url)
    async with engine_of(url) as engine:  # which asks the server who it is
        with pytest.raises(DatabaseError) as caught:
            await run(engine)
    assert caught.value.sqlstate == "42P05"
    assert str(caught.value).endswith(f"already exists: {POOLED}")
    del caught
    gc.collect()  # SQLAlchemy 2.0 forgets to close the connection that it could not set up


@MODES
async def test_a_setting_sent_with_the_connection_is_refused_with_what_to_do(
    host: str, through: dict[str, Through], mode: str
) -> None:
    url = through[mode](host)
    async with asyncpg.create_pool(
        url, min_size=0, max_size=4, server_settings={"jit": "off"}
    ) as pool:
        with pytest.raises(DatabaseError) as caught:
            await run(pool)
    assert str(caught.value) == f"unsupported startup parameter: jit: {NOT_TAKEN}"


async def test_a_pool_of_too_few_connections_ends_the_run_and_nothing_is_half_done(
    server, filled: str
) -> None:
    with (
        bouncer(server.url, "transaction", pool_size=1, wait_s=1) as at,
        pytest.raises(DatabaseError) as caught,
    ):
        await run(at(filled))
    told = str(caught.value)
    if version("asyncpg").startswith("0.29."):  # it does not say why a connection was closed
        assert told == "connection was closed in the middle of operation"
    else:
        assert told.endswith(f"query_wait_timeout: {NONE_LEFT}")
    assert await database.snapshots(filled) == {}


@pytest_asyncio.fixture
async def empty(make_database: Callable[..., Awaitable[str]]) -> str:
    return await make_database()


@MODES
def test_each_command_works(empty: str, through: dict[str, Through], mode: str) -> None:
    url = through[mode](empty)
    size = ("--portfolios", "5", "--symbols", "8", "--sessions", "3")
    assert command("migrate", "--database-url", url).code == exits.DONE
    assert command("generate", *size, "--database-url", url).code == exits.DONE
    dates = ("--start", "2025-06-26", "--end", "2025-06-30")
    for words in (("plan", *dates), ("run", *dates), ("verify",), ("migrate", "--check")):
        said = command(*words, "--database-url", url)
        assert said.code == exits.DONE, said.err
    assert command("run", *dates, "--database-url", url).code == exits.NOTHING_TO_DO
