"""Migrated databases, each a copy of one that was migrated once."""

import asyncio
import contextlib
import logging
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from pathlib import Path

import asyncpg
import pytest
import pytest_asyncio

from batchcore.db.sqlalchemy_tables import ledger, metadata
from batchcore.run import lease
from support import bouncer, database, foreign_host
from support.outcome import LOOSE
from support.waiting import Heard

HERE = Path(__file__).parent


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Mark the tests of this folder as such that need a server."""
    for item in items:
        if item.path.parent == HERE:
            item.add_marker(pytest.mark.db)


def pytest_runtest_setup(item: pytest.Item) -> None:
    """Skip a test with PgBouncer where there is none; each process collects it all the same."""
    if item.get_closest_marker("pgbouncer") and bouncer.program() is None:
        pytest.skip("PgBouncer is not installed: `make test-programs` does so as root with apt-get")


NULLABLE = {
    "positions": ("symbol", "position_type", "quantity", "entry_price", "entry_date"),
    "market_data_cache": ("date", "close"),
    "equity_changes": ("amount", "change_date", "change_type"),
    "position_realized_events": ("trade_date", "quantity_closed", "realized_pnl"),
}


def loose(numbers: str) -> tuple[str, ...]:
    """Return the statements that let tables hold anything, with a type of what is only read."""
    scaled = [name.split(".") for name in LOOSE.scales]
    written = {"portfolios", "portfolio_snapshots"}
    return (
        "ALTER TABLE positions ALTER position_type TYPE text",
        "ALTER TABLE equity_changes ALTER change_type TYPE text",
        *(
            f"ALTER TABLE {table} ALTER {column} TYPE {'numeric' if table in written else numbers}"
            for table, column in scaled
        ),
        *(
            f"ALTER TABLE {table} ALTER {column} DROP NOT NULL"
            for table, columns in NULLABLE.items()
            for column in columns
        ),
    )


def copied(server, template: str, *statements: str) -> Iterator[str]:
    """Change a copy of a database, yield its URL, and drop it: the body of a fixture."""
    yield from database.shared(server, lambda url: database.execute(url, *statements), template)


@pytest.fixture(scope="session")
def template_copy(server, template: str) -> Iterator[str]:
    """The URL of a migrated database that tests share."""
    yield from copied(server, template)


@pytest.fixture(scope="session")
def loose_copy(server, template: str) -> Iterator[str]:
    """The same, of a host that forbids nothing: NULLs anywhere, texts for enums, any numeric.

    There a table can hold every state of S3; scales come from `Schema.scales`.
    """
    yield from copied(server, template, *loose("numeric"))


@pytest.fixture(scope="session")
def double_copy(server, template: str) -> Iterator[str]:
    """The same, with doubles wherever numbers are only read."""
    yield from copied(server, template, *loose("double precision"))


@pytest.fixture(scope="session")
def rates_copy(server, template: str) -> Iterator[str]:
    """The same, of a host with a table of rates and columns of currencies."""
    yield from copied(server, template, *foreign_host.TABLE)


@pytest_asyncio.fixture
async def host(make_database: Callable[..., Awaitable[str]], template: str) -> str:
    """The URL of a migrated database of this test alone."""
    return await make_database(template)


OWN = (*metadata.sorted_tables, *ledger.sorted_tables)
# TRUNCATE makes the files of each table and index anew, which takes 60 ms; a few rows go in one.
SIZE = " + ".join(f"pg_relation_size('{table.name}')" for table in OWN)
EMPTY = f"""\
DO $$ BEGIN
IF {SIZE} > {1 << 20} THEN
    TRUNCATE {", ".join(table.name for table in OWN)};
ELSE
    {"; ".join(f"DELETE FROM {table.name}" for table in reversed(OWN))};
END IF; END $$"""  # noqa: S608  # our own names


KEPT = "kept by the tests"
"""The application of connections that stay open from test to test."""

Emptied = Callable[..., str]


@pytest.fixture(scope="session")
def emptied() -> Iterator[Emptied]:
    """A function that deletes the rows of a database, those of tables of its own too.

    It keeps a connection to each, as opening one takes longer than all that it does, and returns
    the URL.
    """
    loop, kept = asyncio.new_event_loop(), {}

    def empty(url: str, *tables: str) -> str:
        if url not in kept:
            settings = {"application_name": KEPT}
            kept[url] = loop.run_until_complete(asyncpg.connect(url, server_settings=settings))
        own = (f"DELETE FROM {table}" for table in tables)  # noqa: S608  # our own names
        loop.run_until_complete(kept[url].execute("; ".join((EMPTY, *own))))
        return url

    yield empty
    for connection in kept.values():
        loop.run_until_complete(connection.close())
    loop.close()


@pytest.fixture
def same_host(template_copy: str, emptied: Emptied) -> str:
    """The URL of a migrated database without rows, for tests that change nothing but rows."""
    return emptied(template_copy)


PoolOf = Callable[[str], Awaitable[asyncpg.Pool]]


@pytest_asyncio.fixture(scope="session", loop_scope="session")
async def pool_of() -> AsyncIterator[PoolOf]:
    """A function that gives connections to a database, for tests in the `LOOP` of the session.

    They are kept, with their caches of the catalog: a run on a URL opens each of its connections,
    which takes longer than a run of few rows.
    """
    async with contextlib.AsyncExitStack() as stack:
        kept: dict[str, asyncpg.Pool] = {}

        async def give(url: str) -> asyncpg.Pool:
            if url not in kept:
                kept[url] = await stack.enter_async_context(database.pooled(url))
            return kept[url]

        yield give


LOOP = pytest.mark.asyncio(loop_scope="session")


@pytest_asyncio.fixture
async def filled(host: str, request: pytest.FixtureRequest) -> str:
    """The URL of a database of this test alone, with `HOST` of its module."""
    await database.fill(host, request.module.HOST)
    return host


@pytest_asyncio.fixture
async def same_filled(same_host: str, request: pytest.FixtureRequest) -> str:
    """The URL of a database with `HOST` of this module, for tests that change nothing but rows."""
    await database.fill(same_host, request.module.HOST)
    return same_host


@pytest.fixture
def same_loose_host(loose_copy: str, emptied: Emptied) -> str:
    """The same, one that stores every state of S3."""
    return emptied(loose_copy)


@pytest.fixture
def same_double_host(double_copy: str, emptied: Emptied) -> str:
    """The same, with doubles wherever numbers are only read."""
    return emptied(double_copy)


@pytest.fixture
def same_rates_host(rates_copy: str, emptied: Emptied) -> str:
    """The same, with a table of rates and columns of currencies."""
    return emptied(rates_copy, "fx_rates")


@pytest.fixture
def heard(monkeypatch: pytest.MonkeyPatch) -> Iterator[Heard]:
    """What runs say of locks, of which they tell after 10 ms already."""
    monkeypatch.setattr(lease, "LATE_S", 0.01)
    handler, logger = Heard(), logging.getLogger("batchcore")
    logger.addHandler(handler)
    yield handler
    logger.removeHandler(handler)
