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
from typing import TYPE_CHECKING, Any, Final

import asyncpg

from batchcore.db import borrowed
from batchcore.db.connect import Connector
from batchcore.db.conninfo import resolved
from batchcore.db.driver import LOST, NO_CONNECTION, STALE, Grace, answers, is_lost
from batchcore.db.driver import driver_errors as driver_errors  # noqa: PLC0414  # with sessions
from batchcore.db.sql import quote_literal
from batchcore.errors import ConfigError, DatabaseError, InternalError

if TYPE_CHECKING:
    import datetime as dt
    from collections.abc import AsyncIterator, Callable, Sequence

    from asyncpg.connection import LoggedQuery
    from sqlalchemy.ext.asyncio import AsyncEngine

    from batchcore.frames import Ambiguous

    Lend = Callable[[Grace], contextlib.AbstractAsyncContextManager[asyncpg.Connection]]

WAIT_S: Final = 30.0
"""How long a pool may take to lend a connection; it is the default of SQLAlchemy's pools too."""

SMALL_BYTES: Final = 32 * 1024
"""What is a small piece of a COPY."""

MUCH_BYTES: Final = 128 * 1024
"""From how many bytes on a COPY is much data."""

GATHER_S: Final = 0.001
"""How long pieces add up; event loops count time in milliseconds."""

TRAILER: Final = b"\xff\xff"
"""What a binary COPY ends with."""

ALL_CLOSED: Final = "the server closes each connection of the pool before it is used"

LOST_IN_COPY: Final = "the connection was lost in the middle of a COPY"

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
    """A connection that is lent, and what has been sent on it.

    Attributes:
        raw: The asyncpg connection.
        phase: The phase that statements are counted under.
        statements: How many statements each phase has caused.
        bytes: How many bytes of COPY each phase has received and sent.
        rounded: ``table.column`` -> how many doubles lost decimals when they were read.
        ambiguous: Symbols of closes read on dates on which rows differ (S2).
        grace: How long ending its transaction may take.
        isolation: Level of the transaction, as PostgreSQL writes it.
        exported: Identifier under which others can see what it sees; None if they cannot.
        view: Which moment it sees, where it was asked for.
    """

    def __init__(self, raw: asyncpg.Connection, phase: str, database: Database) -> None:
        self.raw = raw
        self.phase = phase
        self.statements = database.statements
        self.bytes = database.bytes
        self.rounded = database.rounded
        self.grace = database.grace
        self.ambiguous: list[Ambiguous] = []
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

    def log(self, query: LoggedQuery) -> None:
        """Count a query that the driver reports."""
        if _COUNTED.match(query.query):
            self.count()

    async def copy_out(self, query: str, take: Callable[[bytes], None]) -> None:
        """Run ``COPY (query) TO STDOUT`` and hand its bytes to ``take`` as they arrive.

        The server sends 8 KiB at a time, and each piece that wakes the process costs it more than
        decoding what is in it. So small pieces of much data add up to larger ones, while asyncpg
        reads nothing.

        If `take` raises, or its task is cancelled while pieces add up, asyncpg asks the server to
        cancel the COPY and waits for the answer. It would wait for ever once the last bytes have
        arrived. So what `take` raises is raised when the COPY is over, and a piece that may be the
        last is not waited for.
        """
        raised: list[Exception] = []
        received = 0

        async def sink(data: bytes) -> None:
            nonlocal received
            self.bytes[self.phase] += len(data)
            received += len(data)
            if not raised:
                try:
                    take(bytes(data))  # asyncpg may hand out its own buffer
                except Exception as error:  # noqa: BLE001  # raised below
                    raised.append(error)
            is_small = len(data) < SMALL_BYTES and not bytes(data).endswith(TRAILER)
            if is_small and received >= MUCH_BYTES:
                await asyncio.sleep(GATHER_S)
                if self.is_gone:
                    # Nobody waited for the connection then, so asyncpg would wait for ever.
                    raise asyncpg.ConnectionDoesNotExistError(LOST_IN_COPY)

        self.count()
        try:
            with driver_errors():
                await self.raw.copy_from_query(str(query), output=sink, format="binary")
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
        """Run statements without parameters; return the rows that the last one touched."""
        with driver_errors():
            status: str = await self.raw.execute(str(sql))  # the driver takes no subclass
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
            statement = await self.raw.prepare(str(query), name="")
            rows: list[asyncpg.Record] = await statement.fetch(*arguments)
        return rows

    async def fetchval(self, query: str, *arguments: object) -> Any:  # noqa: ANN401  # of the query
        """Return the first value of the first row of a query, or None; see `fetch`."""
        rows = await self.fetch(query, *arguments)
        return rows[0][0] if rows else None

    async def now(self) -> dt.datetime:
        """Return what the clock of the server shows."""
        moment: dt.datetime = await self.fetchval("SELECT pg_catalog.clock_timestamp()")
        return moment


class Database:
    """Where connections come from: whatever a caller has.

    Attributes:
        statements: How many statements each phase has caused, over all connections.
        bytes: How many bytes of COPY each phase has received and sent.
        rounded: ``table.column`` -> how many doubles lost decimals when they were read.
        grace: How long ending work on its connections may take.
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
        self.grace = Grace()
        self._given = database
        self._savepoint = borrowed.savepoints(database) if borrow else None
        self.owns = self._savepoint is None
        self._lend = _lender(database, borrow=borrow) if self.owns else None

    def require(self, connections: int) -> None:
        """Refuse an asyncpg pool that can never lend so many: waiting for one would not end.

        Raises:
            ConfigError: its `max_size` is less.
        """
        if isinstance(self._given, asyncpg.Pool):
            most = self._given.get_max_size()
            if most < connections:
                msg = f"the pool's max_size is {most}, expected {connections} or more"
                raise ConfigError(msg, "db")

    def most(self, connections: int) -> int:
        """Return how many of ``connections`` a pool has left; of an engine without its overflow."""
        if isinstance(self._given, str):
            return connections
        pool: Any = self._given
        left: int
        if isinstance(pool, asyncpg.Pool):
            left = pool.get_max_size() - pool.get_size() + pool.get_idle_size()
        else:
            left = _left_of_engine(pool, connections)
        return min(connections, left)

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
            DatabaseError: no connection, or the server gave another isolation level.
        """
        async with self.writing(phase) as session, snapshot(session, shared=shared):
            yield session

    @contextlib.asynccontextmanager
    async def same_snapshot(self, phase: str, exported: str) -> AsyncIterator[Session]:
        """Give a session that sees what another does, as long as that one's transaction lasts.

        Raises:
            DatabaseError: no connection, or one to a server that knows no such snapshot.
        """
        async with self.writing(phase) as session, _one_moment(session, exported):
            yield session

    @contextlib.asynccontextmanager
    async def writing(self, phase: str) -> AsyncIterator[Session]:
        """Give a session outside a transaction; `transaction` opens one to write in."""
        if self._lend is None:
            msg = "a run was given a connection of the caller's"
            raise InternalError(msg)
        async with self._lend(self.grace) as raw, self._logged(raw, phase) as session:
            try:
                yield session
            finally:
                # asyncpg's pools reset a connection after each use, by a SELECT.
                self.statements[phase] += isinstance(self._given, asyncpg.Pool)

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
        async with self._savepoint(keep=False) as raw, self._logged(raw, phase) as session:
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
        async with self._savepoint(keep=True) as raw, self._logged(raw, phase) as session:
            before = await _settle(session)
            yield session
            await session.execute(before)  # a SAVEPOINT that is released hands its settings on

    @contextlib.asynccontextmanager
    async def _logged(self, raw: asyncpg.Connection, phase: str) -> AsyncIterator[Session]:
        session = Session(raw, phase, self)
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
        await stack.enter_async_context(_one_moment(session))
        try:
            await _name_snapshot(session, export=shared, told=told)
        except DatabaseError as error:
            if not shared or error.sqlstate is None or is_lost(error):
                raise
            await stack.aclose()  # the refusal has ended the transaction
            await stack.enter_async_context(_one_moment(session))
            await _name_snapshot(session, export=False, told=told)
        yield


async def _name_snapshot(session: Session, *, export: bool, told: bool) -> None:
    if not (export or told):
        return
    wanted = ["pg_export_snapshot()"] if export else ["NULL::text"]
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
        rows = await session.execute("; ".join([*_settings(session, idle_ms), *first]))
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


@contextlib.asynccontextmanager
async def _one_moment(session: Session, exported: str | None = None) -> AsyncIterator[None]:
    """Run a transaction that sees one moment: now, or that of an exported snapshot."""
    async with _transaction(session, isolation="repeatable_read", readonly=True):
        if exported is not None:
            await session.execute(f"SET TRANSACTION SNAPSHOT {quote_literal(exported)}")
        await session.execute("; ".join(_settings(session)))
        level = await session.fetchval("SHOW transaction_isolation")
        if not session.raw.is_in_transaction() or level != "repeatable read":
            msg = f"expected a REPEATABLE READ transaction, was {level}"
            raise InternalError(msg)
        session.isolation = level
        yield


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


def _lender(database: object, *, borrow: bool) -> Lend:
    """Return what lends connections of a URL, a pool or an engine."""
    if isinstance(database, str):
        return _of_url(Connector(resolved(database)))
    if isinstance(database, asyncpg.Pool):
        return _answering(_of_pool(database), database.get_max_size)
    from sqlalchemy.ext.asyncio import AsyncEngine  # noqa: PLC0415  # 0.4 s to import

    if isinstance(database, AsyncEngine):
        borrowed.check_driver("engine", database.dialect.driver)
        return _answering(_of_engine(database), getattr(database.pool, "checkedin", int))
    kinds = (
        "a database URL, an asyncpg.Pool or Connection, or an SQLAlchemy AsyncEngine,"
        " AsyncConnection or AsyncSession"
        if borrow
        else "a database URL, an asyncpg.Pool or an SQLAlchemy AsyncEngine"
    )
    found = f"{type(database).__module__}.{type(database).__qualname__}"
    msg = f"expected {kinds}, was {found}"
    raise ConfigError(msg, "db")


def _left_of_engine(engine: Any, wanted: int) -> int:  # noqa: ANN401  # imported late
    from sqlalchemy.pool import QueuePool  # noqa: PLC0415  # the caller has it imported

    if not isinstance(engine.pool, QueuePool):
        return wanted
    size, used = engine.pool.size(), engine.pool.checkedout()
    return int(size - used) if size else wanted  # a size of 0 is no limit


def _of_url(connector: Connector) -> Lend:
    @contextlib.asynccontextmanager
    async def lend(grace: Grace) -> AsyncIterator[asyncpg.Connection]:
        raw = await connector.connect(statement_cache_size=0)
        try:
            yield raw
        finally:
            await grace.end(raw, raw.close)

    return lend


def _of_pool(pool: asyncpg.Pool) -> Lend:
    @contextlib.asynccontextmanager
    async def lend(grace: Grace) -> AsyncIterator[asyncpg.Connection]:
        try:
            raw = await pool.acquire(timeout=WAIT_S)
        except TimeoutError as error:
            raise DatabaseError(NO_CONNECTION) from error
        try:
            yield raw
        finally:
            # A connection that cannot be reset is lost, which its own error has told already.
            with contextlib.suppress(*LOST):
                await pool.release(raw, timeout=grace.left())

    return lend


def _of_engine(engine: AsyncEngine) -> Lend:
    @contextlib.asynccontextmanager
    async def lend(_grace: Grace) -> AsyncIterator[asyncpg.Connection]:
        async with engine.connect() as connection:
            raw = (await connection.get_raw_connection()).driver_connection
            if raw is None:
                msg = "SQLAlchemy gave no connection of the driver"
                raise InternalError(msg)
            lost = False
            try:
                yield raw
            except BaseException as error:
                lost = is_lost(error)
                raise
            finally:
                # SQLAlchemy did not see it fail, and would lend a lost connection again.
                if lost or raw.is_closed():
                    await connection.invalidate()

    return lend


def _answering(lent: Lend, idle: Callable[[], int]) -> Lend:
    """Return what lends connections that answer; a pool opens another for each dead one."""

    @contextlib.asynccontextmanager
    async def lend(grace: Grace) -> AsyncIterator[asyncpg.Connection]:
        for left in reversed(range(idle() + 2)):
            async with contextlib.AsyncExitStack() as stack:
                with driver_errors():
                    try:
                        raw = await stack.enter_async_context(lent(grace))
                    except STALE:  # the server has closed it while the pool set it up
                        if not left:
                            raise
                        continue
                if await answers(raw):
                    yield raw
                    return
        raise DatabaseError(ALL_CLOSED)

    return lend
