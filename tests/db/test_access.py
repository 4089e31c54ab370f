"""Every kind of database: what is seen, what stays, what is undone, and what is left behind."""

import asyncio
import contextlib
import datetime as dt
import gc
from collections.abc import AsyncIterator
from decimal import Decimal
from typing import Any

import asyncpg
import pytest
import pytest_asyncio
from sqlalchemy import Column, MetaData, String, Table, insert, select
from sqlalchemy.ext.asyncio import AsyncSession, create_async_engine
from sqlalchemy.orm import DeclarativeBase, Mapped, Session, mapped_column

import batchcore
from batchcore import CompanyProfileCache, PriceCache
from batchcore.config import Schema
from batchcore.db import access
from batchcore.db.access import changing, reading
from batchcore.db.migrate import check, migrate
from batchcore.errors import ConfigError, DatabaseError, SchemaError
from batchcore.pg import errors
from batchcore.schema import Use
from support import database
from support.callers import BORROWED, OWN, caller, engine_of
from support.ledger import until

KINDS = pytest.mark.parametrize("kind", OWN + BORROWED)
OF_THE_CALLER = pytest.mark.parametrize("kind", BORROWED)

COUNT = "SELECT count(*) FROM letters"

SLEEPS = """SELECT count(*) FROM pg_stat_activity
    WHERE datname = current_database() AND wait_event = 'PgSleep'"""

# A binary COPY of one row of one text: signature, flags, no extension; 1 field of 1 byte; end.
ONE_ROW = b"PGCOPY\n\xff\r\n\0" + bytes(8) + b"\0\1" + b"\0\0\0\1" + b"x" + b"\xff\xff"

DAY = dt.date(2026, 1, 5)
CLOSE = """INSERT INTO market_data_cache (id, symbol, date, close, data_source, created_at,
    updated_at) VALUES (gen_random_uuid(), 'AAA', '2026-01-05', 10, 'test', now(), now())"""

LETTERS = Table("letters", MetaData(), Column("letter", String))


class Base(DeclarativeBase):
    pass


class Letter(Base):
    __tablename__ = "letters"
    letter: Mapped[str] = mapped_column(primary_key=True)


@pytest_asyncio.fixture
async def host(same_host: str) -> str:
    await database.execute(
        same_host, "DROP TABLE IF EXISTS letters; CREATE TABLE letters (letter text)"
    )
    access.forget()  # tests share the URL
    return same_host


async def stored(url: str) -> int:
    """Return how many rows another connection sees."""
    return await database.fetchval(url, COUNT)


async def copy_letter(db: Any) -> None:
    async with changing(db, None, Use.PRICES) as (session, _):
        await session.copy_in("letters", ["letter"], [ONE_ROW])


async def read(db: Any, uses: Use, schema: Schema | None = None) -> int:
    """Return how many statements a session to read in takes."""
    async with reading(db, schema, uses) as (session, _):
        pass
    return session.statements.total()


async def load(db: Any) -> tuple[int, int]:
    """Return how many rows a COPY out of a reading session brings, and by how many statements."""
    taken: list[bytes] = []
    async with reading(db, None, Use.PRICES) as (session, _):
        await session.copy_out("SELECT letter FROM letters", taken.append)
    return b"".join(taken).count(b"\0\0\0\1x"), session.statements.total()


async def seen(db: Any) -> int:
    """Return how many rows a COPY out of a reading session brings."""
    return (await load(db))[0]


async def test_rows_that_a_session_has_flushed_are_seen_and_others_are_not(host: str) -> None:
    async with caller(host, "session") as given:
        given.db.add(Letter(letter="x"))
        assert await seen(given.db) == 0
        await given.db.flush()
        assert await seen(given.db) == 1
        await given.db.execute(insert(LETTERS).values(letter="x"))
        assert await seen(given.db) == 2
        assert (await given.db.scalars(select(LETTERS.c.letter))).all() == ["x", "x"]


@pytest.mark.parametrize("kind", ["connection", "session"])
async def test_each_transaction_of_a_caller_is_begun_by_the_first_use(host: str, kind: str) -> None:
    async with caller(host, kind) as given:
        assert await seen(given.db) == 0
        await copy_letter(given.db)
        await given.commit()
        assert await stored(host) == 1
        await copy_letter(given.db)
        assert await seen(given.db) == 2
        assert await stored(host) == 1
        await given.rollback()
        await copy_letter(given.db)
        await given.commit()
        assert await stored(host) == 2


@KINDS
async def test_all_of_a_change_is_done_or_nothing(host: str, kind: str) -> None:
    async def fail(db: Any) -> None:
        async with changing(db, None, Use.PRICES) as (session, _):
            await session.copy_in("letters", ["letter"], [ONE_ROW])
            raise RuntimeError("half-way")

    async with caller(host, kind) as given:
        with pytest.raises(RuntimeError, match="half-way"):
            await fail(given.db)
        await copy_letter(given.db)
        if kind in BORROWED:
            await given.commit()
    assert await stored(host) == 1


@KINDS
@pytest.mark.parametrize("use", [reading, changing])
async def test_an_error_leaves_the_transaction_usable(host: str, kind: str, use: Any) -> None:
    async with caller(host, kind) as given:
        if kind in BORROWED:
            await given.execute("INSERT INTO letters VALUES ('x')")
        with pytest.raises(DatabaseError, match="no_such_table") as caught:
            async with use(given.db, None, Use.PRICES) as (session, _):
                await session.copy_out("SELECT * FROM no_such_table", bytes)
        assert caught.value.sqlstate == "42P01"
        if kind in BORROWED:
            assert await given.execute(COUNT) == 1
            await given.commit()
            assert await stored(host) == 1
        assert await seen(given.db) == (kind in BORROWED)


@OF_THE_CALLER
@pytest.mark.parametrize("was", ["on", "off"])
async def test_settings_of_the_caller_are_as_they_were(host: str, kind: str, was: str) -> None:
    limits = {"statement_timeout": "1min", "idle_in_transaction_session_timeout": "2min"}
    async with caller(host, kind) as given:
        for name, value in limits.items():
            await given.execute(f"SET LOCAL {name} = '{value}'")
        await given.execute(f"SET LOCAL row_security = {was}")
        for use in (reading, changing):
            async with use(given.db, None, Use.PRICES) as (session, _):
                assert await session.raw.fetchval("SHOW row_security") == "off"
                for name, value in limits.items():
                    assert await session.raw.fetchval(f"SHOW {name}") == value
                if use is reading:
                    await session.execute("SET LOCAL work_mem = '7MB'")
            assert await given.execute("SHOW row_security") == was
            assert await given.execute("SHOW work_mem") != "7MB"
        await given.commit()


async def test_a_transaction_that_the_caller_begins_read_only_is_told(host: str) -> None:
    told = "in a read-only transaction: the caller has begun it so, the server is a standby, or"
    calculator = batchcore.PnLCalculator()
    async with database.connected(host) as raw:
        for isolation in ("read_committed", "serializable"):
            async with raw.transaction(isolation=isolation, readonly=True):
                with pytest.raises(DatabaseError, match=told):
                    await calculator.calculate_all_portfolios_pnl(DAY, raw)
                assert await PriceCache().load_single_date(raw, ["AAA"], DAY) == 0


async def test_a_savepoint_of_the_caller_can_be_undone_around_a_change(host: str) -> None:
    async with caller(host, "session") as given:
        await given.execute("INSERT INTO letters VALUES ('x')")
        async with given.db.begin_nested() as nested:
            await copy_letter(given.db)
            await nested.rollback()
        await given.commit()
    assert await stored(host) == 1


async def test_a_transaction_begun_by_hand_is_one(host: str) -> None:
    async with database.connected(host) as raw:
        await raw.execute("BEGIN")
        await copy_letter(raw)
        assert await seen(raw) == 1
        await raw.execute("ROLLBACK")
    assert await stored(host) == 0


async def test_an_asyncpg_connection_in_no_transaction_may_read_alone(host: str) -> None:
    async with database.connected(host) as raw:
        async with reading(raw, None, Use.PRICES) as (session, _):
            assert session.raw.is_in_transaction()
            assert session.consistent
            with pytest.raises(DatabaseError, match="read-only"):
                await session.execute("INSERT INTO letters VALUES ('x')")
        assert not raw.is_in_transaction()
        with pytest.raises(ConfigError, match="is not in a transaction, expected one that"):
            await copy_letter(raw)
        assert await raw.fetchval("SHOW row_security") == "on"


@KINDS
async def test_how_much_is_seen_at_one_moment(host: str, kind: str) -> None:
    async with caller(host, kind) as given:
        async with reading(given.db, None, Use.PRICES) as (session, _):
            assert session.isolation == ("repeatable read" if kind in OWN else "read committed")
            assert session.consistent == (kind in OWN)
        async with changing(given.db, None, Use.PRICES) as (session, _):
            assert session.isolation == "read committed"


# One statement on the catalog.


@KINDS
async def test_each_database_is_checked_once(host: str, kind: str) -> None:
    other = Schema(tables={"company_profiles": "positions"})
    async with caller(host, kind) as given:
        first, *more = [
            await read(given.db, uses) for uses in (Use.PRICES, Use.PRICES, Use.TAGS, Use.PROFILES)
        ]
        assert [first - one for one in more] == [1, 1, 1]
        await copy_letter(given.db)
        assert await read(given.db, Use.PRICES) == more[0]
        assert await read(given.db, Use.PRICES, other) == first


async def test_what_has_come_since_the_check_is_found(host: str) -> None:
    async with caller(host, "asyncpg") as given:
        await given.execute("ALTER TABLE company_profiles RENAME industry TO trade")
        missing = r"public\.company_profiles\.industry: missing column"
        for _ in range(2):
            with pytest.raises(SchemaError, match=missing):
                async with reading(given.db, None, Use.PROFILES):
                    pass
        await given.execute("ALTER TABLE company_profiles RENAME trade TO industry")
        assert [await read(given.db, Use.PROFILES) for _ in range(2)] == [1, 0]


async def close_of(cache: PriceCache, db: Any) -> Decimal | None:
    await cache.load_single_date(db, ["AAA"], DAY)
    return cache.get("AAA", DAY)


@pytest_asyncio.fixture
async def host_with_close(host: str) -> AsyncIterator[str]:
    """A host with a close, the type of which a test may change."""
    await database.execute(host, CLOSE)
    yield host
    await database.execute(host, "ALTER TABLE market_data_cache ALTER close TYPE numeric(12,4)")


CHANGED = {
    "numeric(14,6)": "13.123456",
    "numeric(18,8)": "13.12345678",
    "numeric(10,2)": "13.12",
}
"""Other types of closes, with a close that only such a column holds."""


@pytest.mark.parametrize(("declared", "close"), CHANGED.items(), ids=CHANGED)
@pytest.mark.parametrize("kind", ["pool", "url"])
async def test_a_type_that_has_changed_is_no_other_figure(
    host_with_close: str, kind: str, declared: str, close: str
) -> None:
    async with caller(host_with_close, kind) as given:
        assert await close_of(PriceCache(), given.db) == 10
        change = f"ALTER TABLE market_data_cache ALTER close TYPE {declared} USING {close}"
        await database.execute(host_with_close, change)
        assert await close_of(PriceCache(), given.db) == Decimal(close)


async def test_a_type_that_no_longer_serves_is_named(host_with_close: str) -> None:
    async with caller(host_with_close, "pool") as given:
        await close_of(PriceCache(), given.db)
        change = "ALTER TABLE market_data_cache ALTER close TYPE double precision"
        await database.execute(host_with_close, change)
        with pytest.raises(SchemaError, match="is double precision, expected its decimals"):
            await close_of(PriceCache(), given.db)


async def test_a_beta_that_has_become_finer_is_the_beta(host: str) -> None:
    cache = CompanyProfileCache()
    finer = "ALTER TABLE company_profiles ALTER beta TYPE numeric(12,6) USING 1.251234"
    async with caller(host, "asyncpg") as given:  # who does not commit
        await database.add_profiles(given.db, "symbol beta", ("AAA", Decimal("1.25")))
        await cache.load(given.db, ["AAA"])
        await given.execute(finer)
        cache.clear()
        await cache.load(given.db, ["AAA"])
        assert cache.get_beta("AAA") == Decimal("1.251234")


async def test_a_database_is_checked_again_after_a_while(
    host: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(access, "KEPT_S", 0.0)
    async with caller(host, "pool") as given:
        first, second = [(await load(given.db))[1] for _ in range(2)]
        assert second == first


def remembered() -> int:
    gc.collect()
    return len(access._weak) + len(access._kept)  # noqa: SLF001  # no caller needs to know


@pytest.mark.parametrize("kind", ["pool", "engine", *BORROWED])
async def test_a_database_is_forgotten_with_its_object(host: str, kind: str) -> None:
    async with caller(host, kind) as given:
        await seen(given.db)
        assert remembered() == 1
        del given
    await seen(host)  # a pool is forgotten after it is closed
    assert remembered() == 1


async def test_only_so_many_urls_are_remembered(host: str) -> None:
    more = "&" if "?" in host else "?"
    for number in range(access.MOST_KEPT + 5):
        await seen(f"{host}{more}application_name=a{number}")
    assert remembered() == access.MOST_KEPT


# What is no database.


async def refused(db: Any) -> str:
    with pytest.raises(ConfigError) as caught:
        await copy_letter(db)
    assert caught.value.option in {"db", "database_url"}
    return str(caught.value)


EXPECTED = (
    "expected a database URL, an asyncpg.Pool or Connection, or an SQLAlchemy AsyncEngine,"
    " AsyncConnection or AsyncSession, was "
)


async def test_anything_else_and_what_is_not_async_are_refused() -> None:
    engine = create_async_engine("postgresql+asyncpg://").sync_engine
    with Session() as session:
        for given in (None, 7, Session, session, engine):
            kind = type(given)
            assert await refused(given) == f"{EXPECTED}{kind.__module__}.{kind.__qualname__}"


TRANSLATED = {
    "of no schema": {None: "tenant_b"},
    "of the schema": {"public": "tenant_b"},
    "of both": {None: "tenant_b", "public": "tenant_c"},
}


@pytest.mark.parametrize("translated", TRANSLATED.values(), ids=TRANSLATED)
async def test_tables_that_sqlalchemy_has_in_another_schema_are_refused(
    host: str, translated: dict[str | None, str]
) -> None:
    options = {"schema_translate_map": translated}
    message = "schema_translate_map has the tables in `tenant_b`, but Schema.namespace is `public`"
    calls = batchcore.PnLCalculator(calendar="daily")
    async with engine_of(host, execution_options=options) as engine:
        async with AsyncSession(engine) as session, engine.connect() as connection:
            for db in (engine, session, connection):
                with pytest.raises(ConfigError, match=message) as caught:
                    await seen(db)
                assert caught.value.option == "schema.namespace"
            with pytest.raises(ConfigError, match=message):
                await calls.calculate_all_portfolios_pnl(DAY, session)
        for refused in (batchcore.run_batch(engine, DAY, DAY), migrate(engine), check(engine)):
            with pytest.raises(ConfigError, match=message):
                await refused
    async with engine_of(host) as plain, plain.connect() as connection:
        with pytest.raises(ConfigError, match=message):
            await seen(await connection.execution_options(**options))


@pytest.mark.parametrize("translated", [{None: "public"}, {"other": "tenant_b"}, {None: None}])
async def test_a_map_that_leaves_the_tables_where_they_are_is_none(
    host: str, translated: dict[str | None, str | None]
) -> None:
    options = {"schema_translate_map": translated}
    async with engine_of(host, execution_options=options) as engine:
        assert await seen(engine) == 0


async def test_another_driver_is_refused(host: str) -> None:
    told = "driver is psycopg_async, expected asyncpg"
    async with engine_of(host) as engine:
        engine.sync_engine.dialect.driver = "psycopg_async"
        assert await refused(engine) == f"the engine's {told}"
        async with AsyncSession(engine) as session, engine.connect() as connection:
            assert await refused(session) == f"the session's {told}"
            assert await refused(connection) == f"the connection's {told}"


async def test_a_connection_that_commits_by_itself_is_refused(host: str) -> None:
    message = "is in AUTOCOMMIT, expected one that has transactions"
    async with (
        engine_of(host, isolation_level="AUTOCOMMIT") as engine,
        AsyncSession(engine) as session,
        engine.connect() as connection,
    ):
        assert await refused(connection) == f"the connection {message}"
        assert await refused(session) == f"the session {message}"


async def test_a_transaction_of_two_phases_is_refused(host: str) -> None:
    message = "uses two-phase commit, expected one without: PostgreSQL prepares no transaction"
    async with (
        engine_of(host) as engine,
        AsyncSession(engine, twophase=True) as session,
        engine.connect() as connection,
    ):
        assert (await refused(session)).startswith(f"the session {message}")
        await connection.run_sync(lambda one: one.begin_twophase())
        assert (await refused(connection)).startswith(f"the connection {message}")


async def test_a_connection_that_is_closed_is_refused(host: str) -> None:
    async with database.connected(host) as raw:
        pass
    assert await refused(raw) == "the asyncpg connection is closed, expected an open one"

    async with asyncpg.create_pool(host, min_size=1, max_size=1) as pool:
        async with pool.acquire() as lent:
            pass
        assert (
            await refused(lent)
            == "the asyncpg connection was released to its pool, expected one in use"
        )

    async with engine_of(host) as engine:
        connection = engine.connect()
        assert "has not been started" in await refused(connection)
        async with connection:
            pass
        assert await refused(connection) == "the connection is closed, expected an open one"
        session = AsyncSession(engine, close_resets_only=False)
        await session.close()
        assert "permanently closed" in await refused(session)


async def test_a_session_of_no_engine_is_refused() -> None:
    async with AsyncSession() as session:
        assert "is not bound to a single Engine" in await refused(session)


@OF_THE_CALLER
async def test_a_transaction_that_has_failed_is_one_line(host: str, kind: str) -> None:
    async with caller(host, kind) as given:
        with contextlib.suppress(Exception):
            await given.execute("SELECT 1/0")
        with pytest.raises(DatabaseError, match="current transaction is aborted") as caught:
            await seen(given.db)
        assert caught.value.sqlstate == "25P02"
        await given.rollback()


@pytest.mark.parametrize("kind", ["connection", "session"])
async def test_a_connection_that_is_lost_is_not_lent_again(host: str, kind: str) -> None:
    async with caller(host, kind) as given:
        with pytest.raises(DatabaseError):
            async with reading(given.db, None, Use.PRICES) as (session, _):
                await session.execute("SELECT pg_terminate_backend(pg_backend_pid())")
        await given.rollback()
        assert await given.execute("SELECT 7") == 7


@OF_THE_CALLER
async def test_a_load_that_is_cancelled_leaves_the_transaction_usable(
    host: str, kind: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(errors, "GRACE_S", 30)  # the machine may be slow
    async with caller(host, kind) as given:
        await given.execute("INSERT INTO letters VALUES ('x')")
        begun = asyncio.Event()

        async def wait() -> None:
            async with changing(given.db, None, Use.PRICES) as (session, _):
                await session.copy_in("letters", ["letter"], [ONE_ROW])
                begun.set()
                await session.execute("SELECT pg_sleep(60)")

        task = asyncio.create_task(wait())
        await begun.wait()
        async with database.connected(host) as asked:
            await until(asked, SLEEPS)  # the server ignores an earlier request
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        assert await given.execute(COUNT) == 1
        await given.rollback()
