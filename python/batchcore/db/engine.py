"""Connections of a run, whatever the caller has, with every statement counted.

A *statement* is a SELECT, COPY, INSERT, UPDATE or DELETE that batchcore causes, those that the
driver sends to learn about types or to reset a pooled connection included; transaction control and
settings are not.
"""

from __future__ import annotations

import asyncio
import contextlib
import re
from collections import Counter
from contextvars import ContextVar
from typing import TYPE_CHECKING, Any, Final

import asyncpg

from batchcore.errors import ConfigError, DatabaseError, InternalError

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Iterator

    from asyncpg.connection import LoggedQuery
    from sqlalchemy.ext.asyncio import AsyncEngine

    Lend = Callable[
        [Callable[[str], None]], contextlib.AbstractAsyncContextManager[asyncpg.Connection]
    ]

WAIT_S: Final = 30.0
"""How long a pool may take to lend a connection; it is the default of SQLAlchemy's pools too."""

NO_CONNECTION: Final = (
    "the pool has lent no connection in time: a run needs two of its own, one to read and one to"
    " write"
)

URL_SCHEMES: Final = ("postgresql", "postgres", "postgresql+asyncpg")

_COUNTED: Final = re.compile(
    r"\s*(SELECT|WITH|INSERT|UPDATE|DELETE|COPY|MERGE|VALUES)\b", re.IGNORECASE
)


class Session:
    """A connection inside one transaction, and what has been sent on it.

    Attributes:
        raw: The asyncpg connection.
        statements: How many statements each phase has caused.
        phase: The phase that statements are counted under.
    """

    def __init__(self, raw: asyncpg.Connection, statements: Counter[str], phase: str) -> None:
        self.raw = raw
        self.statements = statements
        self.phase = phase

    async def enter(self, phase: str) -> None:
        """Count what comes under another phase."""
        await asyncio.sleep(0)  # the driver reports a query one turn of the loop later
        self.phase = phase

    def count(self, statements: int = 1) -> None:
        """Count statements that the driver does not report itself, such as COPY."""
        self.statements[self.phase] += statements

    async def copy_out(self, query: str, take: Callable[[bytes], None]) -> None:
        """Run ``COPY (query) TO STDOUT`` and hand its bytes to ``take`` as they arrive.

        What ``take`` raises is raised when the COPY is over: asyncpg would ask the server to
        cancel it, and wait for ever for the answer where its last bytes have arrived already.
        """
        raised: list[Exception] = []

        async def sink(data: bytes) -> None:
            if raised:
                return
            try:
                take(bytes(data))  # asyncpg may hand out its own buffer
            except Exception as error:  # noqa: BLE001  # raised below
                raised.append(error)

        self.count()
        with driver_errors():
            await self.raw.copy_from_query(query, output=sink, format="binary")
        if raised:
            raise raised[0]

    async def copy_in(
        self, table: str, columns: list[str], pieces: list[bytes], *, namespace: str | None = None
    ) -> int:
        """Run ``COPY table FROM STDIN`` with the bytes of ``pieces``; return its rows."""

        async def source() -> AsyncIterator[bytes]:
            for piece in pieces:
                yield piece

        self.count()
        with driver_errors():
            status = await self.raw.copy_to_table(
                table, source=source(), columns=columns, schema_name=namespace, format="binary"
            )
        return int(status.rpartition(" ")[2])

    async def execute(self, sql: str) -> int:
        """Run one statement without parameters; return the rows that it touched."""
        with driver_errors():
            status: str = await self.raw.execute(sql)
        last = status.rpartition(" ")[2]
        return int(last) if last.isdigit() else 0

    def log(self, query: LoggedQuery) -> None:
        """Count a query that the driver reports."""
        if _COUNTED.match(query.query):
            self.count()


class Database:
    """Where connections come from: a URL, an asyncpg pool or an SQLAlchemy engine on asyncpg.

    Attributes:
        statements: How many statements each phase has caused, over all connections.
    """

    def __init__(self, database: object) -> None:
        """Take whatever a caller has.

        Args:
            database: A URL, an `asyncpg.Pool` or an SQLAlchemy `AsyncEngine` on asyncpg.

        Raises:
            ConfigError: anything else, or a URL that is not PostgreSQL's.
        """
        self.statements: Counter[str] = Counter()
        self._most: int | None = None
        if isinstance(database, str):
            self._lend = _from_url(database)
        elif isinstance(database, asyncpg.Pool):
            self._lend = _from_pool(database)
            self._most = database.get_max_size()
        else:
            self._lend = _from_engine(_engine(database))

    def require(self, connections: int) -> None:
        """Refuse a pool that can never lend so many at a time: waiting for one would not end.

        Raises:
            ConfigError: its `max_size` is less.
        """
        if self._most is not None and self._most < connections:
            msg = f"the pool's max_size is {self._most}, expected {connections} or more"
            raise ConfigError(msg, "db")

    @contextlib.asynccontextmanager
    async def snapshot(self, phase: str) -> AsyncIterator[Session]:
        """Give a session whose every statement sees the database as it is now.

        REPEATABLE READ, READ ONLY; statements and idle times have no limit in it, as one of them
        would end a long run half-way.

        Raises:
            DatabaseError: no connection, or the isolation level was not had.
        """
        async with (
            self._session(phase) as session,
            _transaction(session, isolation="repeatable_read", readonly=True),
        ):
            await _without_limits(session)
            with driver_errors():
                level = await session.raw.fetchval("SHOW transaction_isolation")
            if not session.raw.is_in_transaction() or level != "repeatable read":
                msg = f"expected a REPEATABLE READ transaction, was {level}"
                raise InternalError(msg)
            yield session

    @contextlib.asynccontextmanager
    async def writing(self, phase: str) -> AsyncIterator[Session]:
        """Give a session to write in, outside a transaction; `transaction` opens one."""
        async with self._session(phase) as session:
            yield session

    @contextlib.asynccontextmanager
    async def _session(self, phase: str) -> AsyncIterator[Session]:
        def count(text: str) -> None:
            if _COUNTED.match(text):
                self.statements[phase] += 1

        async with self._lend(count) as raw:
            session = Session(raw, self.statements, phase)
            raw.add_query_logger(session.log)
            try:
                yield session
            finally:
                # A pool takes a lost connection back by itself, and then it cannot be asked.
                with contextlib.suppress(asyncpg.InterfaceError):
                    raw.remove_query_logger(session.log)
                await asyncio.sleep(0)


@contextlib.asynccontextmanager
async def transaction(session: Session) -> AsyncIterator[None]:
    """Run a READ COMMITTED transaction of a writing session: all of it, or nothing."""
    async with _transaction(session, isolation="read_committed"):
        await _without_limits(session)
        yield


@contextlib.asynccontextmanager
async def _transaction(
    session: Session, *, isolation: str, readonly: bool = False
) -> AsyncIterator[None]:
    with driver_errors():
        transaction = session.raw.transaction(isolation=isolation, readonly=readonly)
        await transaction.start()
    try:
        yield
    except BaseException:
        # A connection that is gone has rolled back already; its own error is the one to tell.
        with contextlib.suppress(asyncpg.PostgresError, asyncpg.InterfaceError, OSError):
            await transaction.rollback()
        raise
    with driver_errors():
        await transaction.commit()


async def _without_limits(session: Session) -> None:
    settings = ["statement_timeout", "idle_in_transaction_session_timeout"]
    if session.raw.get_server_version() >= (17,):
        settings.append("transaction_timeout")
    # A policy of row-level security would leave rows out in silence; this makes it an error.
    statements = ["SET LOCAL row_security = off"]
    statements += [f"SET LOCAL {name} = 0" for name in settings]
    await session.execute("; ".join(statements))


def driver_url(url: str) -> str:
    """Return a database URL as asyncpg reads it: sslmode and PG* mean there what libpq says.

    Raises:
        ConfigError: it is not PostgreSQL's.
    """
    scheme, colon, rest = url.partition("://")
    if not colon or scheme not in URL_SCHEMES:
        msg = "expected a database URL that starts with `postgresql://`"
        raise ConfigError(msg, "database_url")
    return f"postgresql://{rest}"


def _from_url(url: str) -> Lend:
    url = driver_url(url)

    @contextlib.asynccontextmanager
    async def lend(_count: Callable[[str], None]) -> AsyncIterator[asyncpg.Connection]:
        with driver_errors():
            raw = await asyncpg.connect(url, statement_cache_size=0)
        try:
            yield raw
        finally:
            await _closed(raw)

    return lend


async def _closed(raw: asyncpg.Connection) -> None:
    try:
        await raw.close(timeout=5)
    except (asyncpg.PostgresError, asyncpg.InterfaceError, OSError, TimeoutError):
        raw.terminate()


def _from_pool(pool: asyncpg.Pool) -> Lend:
    @contextlib.asynccontextmanager
    async def lend(count: Callable[[str], None]) -> AsyncIterator[asyncpg.Connection]:
        with driver_errors():
            try:
                raw = await pool.acquire(timeout=WAIT_S)
            except TimeoutError as error:
                raise DatabaseError(NO_CONNECTION) from error
        reset = raw.get_reset_query()
        try:
            yield raw
        finally:
            count(reset)
            # A connection that cannot be reset is lost, which its own error has told already.
            with contextlib.suppress(asyncpg.PostgresError, asyncpg.InterfaceError, OSError):
                await pool.release(raw)

    return lend


def _engine(database: object) -> AsyncEngine:
    from sqlalchemy.ext.asyncio import AsyncEngine  # noqa: PLC0415  # 0.4 s to import

    if isinstance(database, AsyncEngine):
        if database.dialect.driver != "asyncpg":
            msg = f"the engine's driver is {database.dialect.driver}, expected asyncpg"
            raise ConfigError(msg, "db")
        return database
    msg = (
        "expected a database URL, an asyncpg.Pool or an SQLAlchemy AsyncEngine, was "
        f"{type(database).__module__}.{type(database).__qualname__}"
    )
    raise ConfigError(msg, "db")


def _from_engine(engine: AsyncEngine) -> Lend:
    @contextlib.asynccontextmanager
    async def lend(count: Callable[[str], None]) -> AsyncIterator[asyncpg.Connection]:
        with driver_errors():
            with _counting_connects(engine, count):
                connection = await engine.connect()
            raw = (await connection.get_raw_connection()).driver_connection
        if raw is None:
            msg = "SQLAlchemy gave no connection of the driver"
            raise InternalError(msg)
        try:
            yield raw
        except BaseException as error:
            # SQLAlchemy did not see it fail, and would lend a lost connection again.
            if raw.is_closed() or _lost(error):
                await connection.invalidate()
            raise
        finally:
            await connection.close()

    return lend


def _lost(error: BaseException) -> bool:
    """Return whether an error tells that its connection is gone, or soon will be."""
    sqlstate = getattr(error, "sqlstate", None) or ""
    return sqlstate.startswith(("08", "57P"))


_connecting: Final[ContextVar[object]] = ContextVar("batchcore_connecting", default=None)


@contextlib.contextmanager
def _counting_connects(engine: AsyncEngine, count: Callable[[str], None]) -> Iterator[None]:
    """Count what SQLAlchemy sends on a connection that it opens for this task."""
    from sqlalchemy import event  # noqa: PLC0415  # the caller has it imported

    mine = object()
    logged: list[tuple[asyncpg.Connection, Callable[[LoggedQuery], None]]] = []

    def connected(dbapi_connection: Any, _record: object) -> None:  # noqa: ANN401
        def log(query: LoggedQuery) -> None:
            count(query.query)

        if _connecting.get() is mine:
            raw = dbapi_connection.driver_connection
            raw.add_query_logger(log)
            logged.append((raw, log))

    # asyncpg reports no prepared statements, and SQLAlchemy looks at a server through them.
    def executed(_cursor: object, statement: str, *_rest: object) -> None:
        if _connecting.get() is mine:
            count(statement)

    listeners = (("connect", connected), ("do_execute", executed))
    for name, listener in listeners:
        event.listen(engine.sync_engine, name, listener, insert=True)  # before its own
    token = _connecting.set(mine)
    try:
        yield
    finally:
        _connecting.reset(token)
        for name, listener in listeners:
            event.remove(engine.sync_engine, name, listener)
        for raw, log in logged:
            raw.remove_query_logger(log)


@contextlib.contextmanager
def driver_errors() -> Iterator[None]:
    """Turn what the driver raises into `DatabaseError` or `ConfigError`, in one line.

    Raises:
        ConfigError: the URL cannot be used.
        DatabaseError: the server refused, failed or cannot be reached.
    """
    try:
        yield
    except asyncpg.exceptions.ClientConfigurationError as error:
        raise ConfigError(f"the database URL is not usable: {error}", "database_url") from error
    except (asyncpg.PostgresError, asyncpg.InterfaceError, OSError, TimeoutError) as error:
        raise database_error(error) from error
    except Exception as error:
        cause = _driver_cause(error)
        if cause is None:
            raise
        if type(cause).__name__ == "TimeoutError":  # of SQLAlchemy's pool, with a link in its text
            raise DatabaseError(NO_CONNECTION) from error
        raise database_error(cause) from error


def _driver_cause(error: Exception) -> BaseException | None:
    """Return what an SQLAlchemy error wraps; None if it is no error of the driver's."""
    if not type(error).__module__.startswith("sqlalchemy."):
        return None
    wrapped = getattr(error, "orig", None)
    return (wrapped.__cause__ or wrapped) if wrapped is not None else error


def database_error(error: BaseException) -> DatabaseError:
    """Return the error of one line for what the driver raised."""
    sqlstate = getattr(error, "sqlstate", None)
    text = " ".join(str(error).split()) or type(error).__name__
    return DatabaseError(text, sqlstate if isinstance(sqlstate, str) else None)
