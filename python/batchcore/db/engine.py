"""Connections of a run, whatever the caller has, with every statement counted.

A *statement* is a SELECT, COPY, INSERT, UPDATE or DELETE that batchcore sends, those by which the
driver learns about types or resets a pooled connection included; transaction control, settings and
what SQLAlchemy asks a connection that it opens are not.
"""

from __future__ import annotations

import asyncio
import contextlib
import re
from collections import Counter
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any, Final

import asyncpg

from batchcore.db import borrowed
from batchcore.db.connect import Connector
from batchcore.db.conninfo import resolved
from batchcore.db.driver import (
    LOST,
    NO_CONNECTION,
    PATIENCE_S,
    STALE,
    Grace,
    answers,
    is_lost,
)
from batchcore.db.driver import driver_errors as driver_errors  # noqa: PLC0414  # with sessions
from batchcore.db.sql import quote_literal
from batchcore.errors import ConfigError, DatabaseError, InternalError

if TYPE_CHECKING:
    import datetime as dt
    from collections.abc import AsyncIterator, Callable, Sequence

    from asyncpg.connection import LoggedQuery
    from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine

    from batchcore.frames import Ambiguous

    Lend = Callable[[Grace], contextlib.AbstractAsyncContextManager[asyncpg.Connection]]

WAIT_S: Final = 30.0
"""How long a pool may take to lend a connection; it is the default of SQLAlchemy's pools too."""

SMALL_BYTES: Final = 32 * 1024
"""What is a small piece of a COPY."""

MUCH_BYTES: Final = 128 * 1024
"""From how many bytes on a COPY is much data."""

ALL_CLOSED: Final = "the server closes each connection of the pool before it is used"

LOST_IN_COPY: Final = "the connection was lost in the middle of a COPY"

GATHER_S: Final = 0.001
"""How long pieces add up; event loops count time in milliseconds."""

ROW_SECURITY_OFF: Final = "SET LOCAL row_security = off"
"""A policy of row-level security would leave rows out in silence; this makes it an error."""

CATALOG_FIRST: Final = (
    "SELECT pg_catalog.set_config('search_path', CASE WHEN s.path OPERATOR(pg_catalog.~~)"
    " '%pg_catalog%' THEN 'pg_catalog, ' OPERATOR(pg_catalog.||) s.path ELSE s.path END, {local})"
    " FROM (SELECT pg_catalog.current_setting('search_path')) AS s(path)"
)
"""A path that names pg_catalog late would find functions and types of other schemas first.

What comes after stays, for the triggers and views of the host. `local` is a boolean: whether only
for the transaction.
"""

_CATALOG_FIRST: Final = CATALOG_FIRST.format(local="true")

_COUNTED: Final = re.compile(
    r"\s*(SELECT|WITH|INSERT|UPDATE|DELETE|COPY|MERGE|VALUES)\b", re.IGNORECASE
)


@dataclass(frozen=True, slots=True)
class View:
    """The moment that a REPEATABLE READ transaction sees, as the server names it.

    Attributes:
        snapshot_id: ``xmin:xmax:running transactions``.
        lsn: Where its log was; None on a standby.
    """

    snapshot_id: str
    lsn: str | None


class Session:
    """A connection inside one transaction, and what has been sent on it.

    Attributes:
        raw: The asyncpg connection.
        statements: How many statements each phase has caused.
        phase: The phase that statements are counted under.
        isolation: Level of the transaction, as PostgreSQL writes it.
        exported: Identifier under which others can see what it sees; None if they cannot.
        view: Which moment it sees, where it was asked to tell.
        bytes: How many bytes of COPY each phase has received and sent.
        rounded: ``table.column`` -> how many doubles lost decimals when they were read.
        ambiguous: Symbols of closes read on dates on which rows differ (S2).
        grace: How long ending its transaction may take.
    """

    def __init__(
        self,
        raw: asyncpg.Connection,
        statements: Counter[str],
        phase: str,
        traffic: Counter[str] | None = None,
        rounded: Counter[str] | None = None,
    ) -> None:
        self.raw = raw
        self.statements = statements
        self.phase = phase
        self.bytes: Counter[str] = Counter() if traffic is None else traffic
        self.rounded: Counter[str] = Counter() if rounded is None else rounded
        self.ambiguous: list[Ambiguous] = []
        self.grace = Grace()
        self.isolation = ""
        self.exported: str | None = None
        self.view: View | None = None

    @property
    def consistent(self) -> bool:
        """Whether every statement sees the database at one moment."""
        return self.isolation in {"repeatable read", "serializable"}

    @property
    def has_encoding(self) -> bool:
        """Whether texts of the database are of a known encoding; in SQL_ASCII they are bytes."""
        settings: asyncpg.ServerSettings = self.raw.get_settings()
        return bool(settings.server_encoding != "SQL_ASCII")

    @property
    def is_gone(self) -> bool:
        """Whether its connection is closed, or back in its pool."""
        try:
            closed: bool = self.raw.is_closed()
        except asyncpg.InterfaceError:  # a pool has taken it back
            return True
        return closed

    async def answers(self) -> bool:
        """Return whether the server does; if not, the connection is gone."""
        return not self.is_gone and await answers(self.raw)

    async def enter(self, phase: str) -> None:
        """Count what comes under another phase."""
        await asyncio.sleep(0)  # the driver reports a query one turn of the loop later
        self.phase = phase

    def count(self, statements: int = 1) -> None:
        """Count statements that the driver does not report itself, such as COPY."""
        self.statements[self.phase] += statements

    async def copy_out(self, query: str, take: Callable[[bytes], None]) -> None:
        """Run ``COPY (query) TO STDOUT`` and hand its bytes to ``take`` as they arrive.

        The server sends 8 KiB at a time, and each piece that wakes the process costs it more than
        decoding what is in it. So of much data small pieces are let add up to larger ones.

        What ``take`` raises is raised when the COPY is over: asyncpg would ask the server to
        cancel it, and wait for ever for the answer where its last bytes have arrived already.
        """
        raised: list[Exception] = []
        received, gathers = 0, not _has_time_limit(self.raw)

        async def sink(data: bytes) -> None:
            nonlocal received
            self.bytes[self.phase] += len(data)
            received += len(data)
            if not raised:
                try:
                    take(bytes(data))  # asyncpg may hand out its own buffer
                except Exception as error:  # noqa: BLE001  # raised below
                    raised.append(error)
            if gathers and len(data) < SMALL_BYTES and received >= MUCH_BYTES:
                await _let_gather()  # asyncpg reads nothing meanwhile
                if self.is_gone:
                    # Nobody waited for the connection then, so nobody would be told.
                    raise asyncpg.ConnectionDoesNotExistError(LOST_IN_COPY)

        self.count()
        try:
            with driver_errors():
                await self.raw.copy_from_query(query, output=sink, format="binary")
        except AttributeError as error:  # asyncpg's own, of a connection that was terminated
            if self.is_gone:
                raise DatabaseError(LOST_IN_COPY) from error
            raise
        if raised:
            raise raised[0]

    async def copy_in(
        self, table: str, columns: list[str], pieces: list[bytes], *, namespace: str | None = None
    ) -> int:
        """Run ``COPY table FROM STDIN`` with the bytes of ``pieces``; return its rows."""

        async def source() -> AsyncIterator[bytes]:
            for piece in pieces:
                self.bytes[self.phase] += len(piece)
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

    async def fetch(self, query: str, *arguments: object) -> list[asyncpg.Record]:
        """Return the rows of a query.

        Its statement has no name, whatever cache the caller's connections have: a pooler that
        hands them on by transaction would let one run what another has prepared under that name.
        """
        if _COUNTED.match(query):
            self.count()  # the driver reports none that was prepared
        with driver_errors():
            statement = await self.raw.prepare(query, name="")
            rows: list[asyncpg.Record] = await statement.fetch(*arguments)
        return rows

    async def fetchrow(self, query: str, *arguments: object) -> asyncpg.Record | None:
        """Return the first row of a query, or None; see `fetch`."""
        rows = await self.fetch(query, *arguments)
        return rows[0] if rows else None

    async def fetchval(self, query: str, *arguments: object) -> Any:  # noqa: ANN401  # of the query
        """Return the first value of the first row of a query, or None; see `fetch`."""
        row = await self.fetchrow(query, *arguments)
        return None if row is None else row[0]

    async def now(self) -> dt.datetime:
        """Return what the clock of the server shows."""
        moment: dt.datetime = await self.fetchval("SELECT pg_catalog.clock_timestamp()")
        return moment

    def log(self, query: LoggedQuery) -> None:
        """Count a query that the driver reports."""
        if _COUNTED.match(query.query):
            self.count()


def _has_time_limit(raw: asyncpg.Connection) -> bool:
    """Return whether a connection has a `command_timeout`, or may have one."""
    config = getattr(raw, "_config", None)  # no public name tells it
    return config is None or config.command_timeout is not None


async def _let_gather() -> None:
    """Wait a moment; if its task is cancelled meanwhile, it is so at its next wait instead.

    Not in this one, for it is in what asyncpg calls: see `Session.copy_out`. Under a time limit
    of the caller's connection, which cancels likewise, there is to be no such wait.
    """
    try:
        await asyncio.sleep(GATHER_S)
    except asyncio.CancelledError as error:
        task = asyncio.current_task()
        if task is None:
            raise
        task.uncancel()  # for it is counted again
        task.cancel(*error.args)


class Database:
    """Where connections come from: whatever a caller has.

    Attributes:
        statements: How many statements each phase has caused, over all connections.
        bytes: How many bytes of COPY each phase has received and sent.
        rounded: ``table.column`` -> how many doubles lost decimals when they were read.
        owns: Whether connections are of its own, which work outside the caller's transaction.
    """

    def __init__(
        self, database: object, *, borrow: bool = False, statements: Counter[str] | None = None
    ) -> None:
        """Take whatever a caller has.

        Args:
            database: A URL, an `asyncpg.Pool` or an SQLAlchemy `AsyncEngine` on asyncpg.
            borrow: Whether it may also be an SQLAlchemy `AsyncConnection` or `AsyncSession`, or
                an `asyncpg.Connection`: then `reading` and `changing` work in its transaction.
            statements: What to count in; None begins at 0.

        Raises:
            ConfigError: anything else, a URL that is not PostgreSQL's, another driver, or a
                connection that is closed.
        """
        self.statements = Counter() if statements is None else statements
        self.bytes: Counter[str] = Counter()
        self.rounded: Counter[str] = Counter()
        self._grace = Grace()
        self._resets = int(isinstance(database, asyncpg.Pool))  # by a SELECT, after each use
        self._most: int | None = None
        self._left: Callable[[], int] | None = None
        self._lend: Lend | None = None
        self._savepoint = borrowed.savepoints(database) if borrow else None
        self.owns = self._savepoint is None
        if self._savepoint is not None:
            return
        if isinstance(database, str):
            self._lend = _from_url(database)
        elif isinstance(database, asyncpg.Pool):
            self._lend = _from_pool(database)
            self._most = database.get_max_size()
            self._left = partial(_left_of_pool, database)
        else:
            engine = _engine(database, borrow=borrow)
            self._lend = _from_engine(engine)
            self._most = _most_of_engine(engine)
            if self._most is not None:
                self._left = partial(_left_of_engine, engine, self._most)

    def require(self, connections: int) -> None:
        """Refuse a pool that can never lend so many at a time: waiting for one would not end.

        Raises:
            ConfigError: its `max_size` is less.
        """
        if self._most is not None and self._most < connections:
            msg = f"the pool's max_size is {self._most}, expected {connections} or more"
            raise ConfigError(msg, "db")

    def most(self, connections: int) -> int:
        """Return how many of ``connections`` a pool can lend at this moment."""
        return connections if self._left is None else min(connections, self._left())

    @contextlib.asynccontextmanager
    async def snapshot(self, phase: str, *, shared: bool = False) -> AsyncIterator[Session]:
        """Give a session whose every statement sees the database as it is now.

        REPEATABLE READ, READ ONLY; statements and idle times have no limit in it, as one of them
        would end a long run half-way.

        Args:
            phase: What its statements count under.
            shared: Whether to export the snapshot, for `same_snapshot`; where the server refuses,
                `Session.exported` stays None.

        Raises:
            DatabaseError: no connection, or the isolation level was not had.
        """
        async with self._session(phase) as session, snapshot(session, shared=shared):
            yield session

    @contextlib.asynccontextmanager
    async def same_snapshot(self, phase: str, exported: str) -> AsyncIterator[Session]:
        """Give a session that sees what another does, as long as that one's transaction lasts.

        Raises:
            DatabaseError: no connection, or one to a server that knows no such snapshot.
        """
        async with self._session(phase) as session, contextlib.AsyncExitStack() as stack:
            await _enter_snapshot(session, stack, exported)
            yield session

    @contextlib.asynccontextmanager
    async def writing(self, phase: str) -> AsyncIterator[Session]:
        """Give a session to write in, outside a transaction; `transaction` opens one."""
        async with self._session(phase) as session:
            yield session

    @contextlib.asynccontextmanager
    async def reading(self, phase: str) -> AsyncIterator[Session]:
        """Give a session to read in.

        On connections of its own this is `snapshot`. On the caller's it sees what the caller's
        transaction sees, under a SAVEPOINT that is rolled back: nothing is left behind. An
        `asyncpg.Connection` in no transaction gets one for the time of the reading.

        Raises:
            ConfigError: the caller's connection commits by itself, or is closed.
            DatabaseError: no connection, or the caller's transaction has failed already.
        """
        if self._savepoint is None:
            async with self.snapshot(phase) as session:
                yield session
            return
        async with (
            self._savepoint(keep=False) as raw,
            self._logged(raw, phase) as session,
        ):
            await _settle(session)
            yield session

    @contextlib.asynccontextmanager
    async def changing(self, phase: str) -> AsyncIterator[Session]:
        """Give a session to write in: all of it is done, or nothing.

        On connections of its own this is one READ COMMITTED transaction. On the caller's it is a
        SAVEPOINT in the caller's transaction, which alone commits.

        Raises:
            ConfigError: the caller's connection is in no transaction, commits by itself, or is
                closed.
            DatabaseError: no connection, or the caller's transaction has failed already.
        """
        if self._savepoint is None:
            async with self.writing(phase) as session, transaction(session):
                yield session
            return
        async with (
            self._savepoint(keep=True) as raw,
            self._logged(raw, phase) as session,
        ):
            before = await _settle(session)
            yield session
            await session.execute(before)  # a SAVEPOINT that is released hands its settings on

    @contextlib.asynccontextmanager
    async def _session(self, phase: str) -> AsyncIterator[Session]:
        if self._lend is None:
            msg = "a run was given a connection of the caller's"
            raise InternalError(msg)
        async with self._lend(self._grace) as raw, self._logged(raw, phase) as session:
            try:
                yield session
            finally:
                self.statements[phase] += self._resets

    @contextlib.asynccontextmanager
    async def _logged(self, raw: asyncpg.Connection, phase: str) -> AsyncIterator[Session]:
        session = Session(raw, self.statements, phase, self.bytes, self.rounded)
        session.grace = self._grace
        raw.add_query_logger(session.log)
        try:
            yield session
        finally:
            # A pool takes a lost connection back by itself, and then it cannot be asked.
            with contextlib.suppress(asyncpg.InterfaceError):
                raw.remove_query_logger(session.log)
            await asyncio.sleep(0)


@contextlib.asynccontextmanager
async def snapshot(
    session: Session, *, shared: bool = False, told: bool = False
) -> AsyncIterator[None]:
    """Let every statement of a session see the database as it is now, as `Database.snapshot`.

    Args:
        session: In no transaction.
        shared: Whether to export the snapshot.
        told: Whether to ask which moment it is, for `Session.view`.
    """
    async with contextlib.AsyncExitStack() as stack:
        await _enter_snapshot(session, stack)
        if shared:
            try:
                await _name_snapshot(session, exported=True, told=told)
            except DatabaseError as error:
                if error.sqlstate is None or is_lost(error):
                    raise
                await stack.aclose()  # the refusal has ended the transaction
                await _enter_snapshot(session, stack)
        if told and session.exported is None:
            await _name_snapshot(session, exported=False, told=True)
        yield


async def _name_snapshot(session: Session, *, exported: bool, told: bool) -> None:
    wanted = ["pg_export_snapshot()"] if exported else ["NULL::text"]
    if told:
        wanted += [
            "pg_current_snapshot()::text",
            "CASE WHEN NOT pg_is_in_recovery() THEN pg_current_wal_lsn()::text END",
        ]
    (row,) = await session.fetch(f"SELECT {', '.join(wanted)}")
    session.exported = row[0]
    session.view = View(row[1], row[2]) if told else None


@contextlib.asynccontextmanager
async def transaction(
    session: Session, *, idle_ms: int = 0, first: Sequence[str] = ()
) -> AsyncIterator[int]:
    """Run a READ COMMITTED transaction of a writing session: all of it, or nothing.

    Args:
        session: In no transaction.
        idle_ms: How long the server waits for the next statement before it ends the connection;
            0 is for ever.
        first: SELECT statements that go with its settings in one message, each of which sees what
            is committed when it begins.

    Yields:
        How many rows the last of ``first`` has found.
    """
    async with _transaction(session, isolation="read_committed"):
        rows = await _without_limits(session, idle_ms, first)
        session.count(len(first))
        session.isolation = "read committed"
        yield rows


@contextlib.asynccontextmanager
async def _transaction(
    session: Session, *, isolation: str, readonly: bool = False
) -> AsyncIterator[None]:
    with driver_errors():
        transaction = session.raw.transaction(isolation=isolation, readonly=readonly)
        try:
            await transaction.start()
        except asyncio.CancelledError:
            session.raw.terminate()  # nobody can tell whether it has begun
            raise
    try:
        yield
    except BaseException:
        # A connection that is gone has rolled back already; its own error is the one to tell.
        await session.grace.end(session.raw, transaction.rollback)
        raise
    with driver_errors():
        await transaction.commit()


async def _enter_snapshot(
    session: Session, stack: contextlib.AsyncExitStack, exported: str | None = None
) -> None:
    """Begin a transaction that sees one moment: now, or that of an exported snapshot."""
    await stack.enter_async_context(
        _transaction(session, isolation="repeatable_read", readonly=True)
    )
    if exported is not None:
        await session.execute(f"SET TRANSACTION SNAPSHOT {quote_literal(exported)}")
    await _without_limits(session)
    level = await session.fetchval("SHOW transaction_isolation")
    if not session.raw.is_in_transaction() or level != "repeatable read":
        msg = f"expected a REPEATABLE READ transaction, was {level}"
        raise InternalError(msg)
    session.isolation = level


async def _settle(session: Session) -> str:
    """Set what statements rely on in a caller's transaction; return what puts it back."""
    session.isolation = await session.fetchval("SHOW transaction_isolation")
    row_security: str = await session.fetchval("SHOW row_security")
    path = quote_literal(await session.fetchval("SHOW search_path"))
    await session.execute(f"{ROW_SECURITY_OFF}; {_CATALOG_FIRST}")
    return (
        f"SET LOCAL row_security = {row_security};"
        f" SELECT pg_catalog.set_config('search_path', {path}, true)"
    )


async def alone(session: Session, statement: str) -> int:
    """Run a statement as a READ COMMITTED transaction of its own; return the rows it touched.

    Args:
        session: In no transaction, or in one of that level, which it then is a part of.
        statement: One that is counted.
    """
    session.count()
    isolation = "SET TRANSACTION ISOLATION LEVEL READ COMMITTED"
    return await session.execute("; ".join([isolation, *_settings(session), statement]))


async def _without_limits(session: Session, idle_ms: int = 0, first: Sequence[str] = ()) -> int:
    return await session.execute("; ".join([*_settings(session, idle_ms), *first]))


def _settings(session: Session, idle_ms: int = 0) -> list[str]:
    settings = {
        "statement_timeout": 0,
        "lock_timeout": 0,
        "idle_in_transaction_session_timeout": idle_ms,
    }
    if session.raw.get_server_version() >= (17,):
        settings["transaction_timeout"] = 0
    limits = [f"SET LOCAL {name} = {value}" for name, value in settings.items()]
    return [ROW_SECURITY_OFF, *limits, _CATALOG_FIRST]


def _from_url(url: str) -> Lend:
    connector = Connector(resolved(url))

    @contextlib.asynccontextmanager
    async def lend(grace: Grace) -> AsyncIterator[asyncpg.Connection]:
        raw = await connector.connect(statement_cache_size=0)
        try:
            yield raw
        finally:
            await grace.end(raw, raw.close)

    return lend


def _from_pool(pool: asyncpg.Pool) -> Lend:
    @contextlib.asynccontextmanager
    async def lend(grace: Grace) -> AsyncIterator[asyncpg.Connection]:
        with driver_errors():
            raw = await _of_pool(pool)
        try:
            yield raw
        finally:
            # A connection that cannot be reset is lost, which its own error has told already.
            with contextlib.suppress(*LOST):
                await pool.release(raw, timeout=grace.left())

    return lend


async def _of_pool(pool: asyncpg.Pool) -> asyncpg.Connection:
    """Return a connection that answers; in the place of each dead one the pool opens another."""
    for others in reversed(range(pool.get_max_size() + 1)):
        try:
            raw = await pool.acquire(timeout=WAIT_S)
        except STALE:  # `setup` of the pool has met a dead one
            if not others:
                raise
            continue
        except TimeoutError as error:
            raise DatabaseError(NO_CONNECTION) from error
        answered = False
        try:
            answered = await answers(raw)
        finally:
            if not answered:
                with contextlib.suppress(*LOST):
                    await pool.release(raw, timeout=PATIENCE_S)
        if answered:
            return raw
    raise DatabaseError(ALL_CLOSED)


def _engine(database: object, *, borrow: bool) -> AsyncEngine:
    from sqlalchemy.ext.asyncio import AsyncEngine  # noqa: PLC0415  # 0.4 s to import

    if isinstance(database, AsyncEngine):
        borrowed.check_driver("engine", database.dialect.driver)
        return database
    kinds = "a database URL, an asyncpg.Pool or an SQLAlchemy AsyncEngine"
    if borrow:
        kinds = (
            "a database URL, an asyncpg.Pool or Connection, or an SQLAlchemy AsyncEngine,"
            " AsyncConnection or AsyncSession"
        )
    found = f"{type(database).__module__}.{type(database).__qualname__}"
    msg = f"expected {kinds}, was {found}"
    raise ConfigError(msg, "db")


def _left_of_pool(pool: asyncpg.Pool) -> int:
    used: int = pool.get_size() - pool.get_idle_size()
    most: int = pool.get_max_size()
    return most - used


def _most_of_engine(engine: AsyncEngine) -> int | None:
    """Return how many connections an engine can lend at a time; None if there is no limit."""
    pool: Any = engine.pool
    overflow: int = getattr(pool, "_max_overflow", -1)  # no public name tells it
    if overflow < 0:
        return None
    size: int = pool.size()
    return size + overflow


def _left_of_engine(engine: AsyncEngine, most: int) -> int:
    pool: Any = engine.pool
    used: int = pool.checkedout()
    return most - used


def _from_engine(engine: AsyncEngine) -> Lend:
    @contextlib.asynccontextmanager
    async def lend(_grace: Grace) -> AsyncIterator[asyncpg.Connection]:
        with driver_errors():
            connection, raw = await _of_engine(engine)
        try:
            yield raw
        except BaseException as error:
            # SQLAlchemy did not see it fail, and would lend a lost connection again.
            if raw.is_closed() or is_lost(error):
                await connection.invalidate()
            raise
        finally:
            await connection.close()

    return lend


async def _of_engine(engine: AsyncEngine) -> tuple[AsyncConnection, asyncpg.Connection]:
    """Return a connection that answers; in the place of each dead one the pool opens another."""
    pool: Any = engine.pool
    idle: int = pool.checkedin() if hasattr(pool, "checkedin") else 0
    for others in reversed(range(idle + 2)):
        try:
            connection = await engine.connect()
        except STALE:  # the server has closed it while SQLAlchemy set it up
            if not others:
                raise
            continue
        answered = False
        try:
            raw = (await connection.get_raw_connection()).driver_connection
            if raw is None:
                msg = "SQLAlchemy gave no connection of the driver"
                raise InternalError(msg)
            answered = await answers(raw)
            if not answered:
                await connection.invalidate()
        finally:
            if not answered:
                await connection.close()
        if answered:
            return connection, raw
    raise DatabaseError(ALL_CLOSED)
