"""Sources of connections: a URL, a pool, an engine, or a connection of the caller."""

from __future__ import annotations

import asyncio
import contextlib
from collections import Counter
from functools import partial
from typing import TYPE_CHECKING, Any, Final

import asyncpg

from batchcore.errors import ConfigError, DatabaseError, InternalError
from batchcore.pg import borrowed
from batchcore.pg.connect import Connector
from batchcore.pg.errors import (
    LOST,
    NO_CONNECTION,
    STALE,
    Grace,
    answers,
    check_loop,
    driver_errors,
    is_connection_lost,
)
from batchcore.pg.session import Session, snapshot, transaction, use_own_settings

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable

    from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine

    Lend = Callable[[Grace], contextlib.AbstractAsyncContextManager[asyncpg.Connection]]

SET_UP_S: Final = 1.0
"""Maximum seconds that a cancelled task waits for an engine that is opening a connection."""

NO_LIMIT_S: Final = 1e8
"""Three years: longer than any statement, in place of the `command_timeout` of a caller."""

WAIT_S: Final = 30.0
"""Seconds that a pool may take to lend a connection, the default of SQLAlchemy's pools."""


class Database:
    """The source of connections, of any kind that a caller has.

    Statements and bytes of COPY are counted by phase, over all connections, and doubles that lost
    decimals when they were read by ``table.column``. It ``owns`` its connections unless they are
    the caller's, whose transaction it then works in.
    """

    def __init__(self, database: object, *, borrow: bool = False) -> None:
        """Take a URL, an `asyncpg.Pool` or an SQLAlchemy `AsyncEngine` on asyncpg.

        With ``borrow`` it may also be an SQLAlchemy `AsyncConnection` or `AsyncSession`, or an
        `asyncpg.Connection`: then `reading` and `changing` work in its transaction.
        """
        self.statements: Counter[str] = Counter()
        self.bytes: Counter[str] = Counter()
        self.rounded: Counter[str] = Counter()
        self.grace = Grace()
        # Its own connections have no `command_timeout`. With one, asyncpg sets a timer for each
        # piece of a COPY.
        self.limit_s = None if isinstance(database, str) else NO_LIMIT_S
        self.given = database
        self._savepoint = borrowed.savepoints(database) if borrow else None
        self.owns = self._savepoint is None
        self._lend = _lender(database, borrow=borrow) if self.owns else None

    def require(self, connections: int) -> None:
        """Raise an error for a pool that can never lend that many: waiting would not end."""
        if _is_static(self.given) and connections > 1:
            msg = f"the engine's pool is a StaticPool, expected one of {connections} connections"
            raise ConfigError(f"{msg} or more", "db")
        if isinstance(self.given, asyncpg.Pool):
            most = self.given.get_max_size()
            if most < connections:
                msg = f"the pool's max_size is {most}, expected {connections} or more"
                raise ConfigError(msg, "db")

    def most(self, connections: int) -> int:
        """Return how many of ``connections`` a pool, or an engine without overflow, has left."""
        if isinstance(self.given, str):
            return connections
        pool: Any = self.given
        if isinstance(pool, asyncpg.Pool):
            left: int = pool.get_max_size() - pool.get_size() + pool.get_idle_size()
        else:
            left = _left_of_engine(pool, connections)
        return min(connections, left)

    @contextlib.asynccontextmanager
    async def snapshot(
        self, phase: str, *, shared: bool = False, of: str | None = None
    ) -> AsyncIterator[Session]:
        """Yield a session whose every statement sees the database as it is now.

        REPEATABLE READ, READ ONLY; statements and idle times have no limit in it, as a limit would
        end a long run half-way. A ``shared`` one is exported; where the server refuses,
        `Session.exported` stays None. With ``of`` it sees the exported snapshot of another session,
        as long as that transaction lasts.
        """
        async with self.writing(phase) as session, snapshot(session, shared=shared, of=of):
            yield session

    @contextlib.asynccontextmanager
    async def writing(self, phase: str) -> AsyncIterator[Session]:
        """Yield a session outside a transaction; `transaction` opens one to write in."""
        if self._lend is None:
            raise InternalError("a run was given a connection of the caller's")
        async with self._lend(self.grace) as raw:
            try:
                yield Session(raw, phase, self)
            finally:
                # asyncpg's pools reset a connection after each use, by a SELECT.
                self.statements[phase] += isinstance(self.given, asyncpg.Pool)

    @contextlib.asynccontextmanager
    async def reading(self, phase: str) -> AsyncIterator[Session]:
        """Yield a session for reading.

        On connections of its own this is `snapshot`. On the caller's it sees what the caller's
        transaction sees, under a SAVEPOINT that is rolled back, so that nothing is left behind. An
        `asyncpg.Connection` in no transaction gets one for the time of the reading.
        """
        if self._savepoint is None:
            async with self.snapshot(phase) as session:
                yield session
            return
        async with self._savepoint(keep=False) as raw:
            session = Session(raw, phase, self)
            await use_own_settings(session)
            yield session

    @contextlib.asynccontextmanager
    async def changing(self, phase: str) -> AsyncIterator[Session]:
        """Yield a session for writing: all of its work is kept, or none.

        On connections of its own this is one READ COMMITTED transaction. On the caller's it is a
        SAVEPOINT in the caller's transaction, which alone commits.
        """
        if self._savepoint is None:
            async with self.writing(phase) as session, transaction(session):
                yield session
            return
        async with self._savepoint(keep=True) as raw:
            session = Session(raw, phase, self)
            before = await use_own_settings(session)
            yield session
            await session.execute(before)  # settings outlive a SAVEPOINT that is released


def _lender(database: object, *, borrow: bool) -> Lend:
    if isinstance(database, str):
        return partial(_of_url, Connector(database))
    if isinstance(database, asyncpg.Pool):
        return partial(_answering, partial(_of_pool, database), database.get_max_size)
    from sqlalchemy.ext.asyncio import AsyncEngine  # noqa: PLC0415  # 0.4 s to import

    if isinstance(database, AsyncEngine):
        borrowed.check_driver("engine", database.dialect.driver)
        # SQLAlchemy 2.0 can fail with "deque mutated during iteration" when two are opened at once.
        lend = partial(_of_engine, database, asyncio.Lock())
        return partial(_answering, lend, getattr(database.pool, "checkedin", int))
    kinds = (
        "a database URL, an asyncpg.Pool or Connection, or an SQLAlchemy AsyncEngine,"
        " AsyncConnection or AsyncSession"
        if borrow
        else "a database URL, an asyncpg.Pool or an SQLAlchemy AsyncEngine"
    )
    raise wrong_kind(database, kinds)


def wrong_kind(database: object, expected: str) -> ConfigError:
    """Return the error for an unsupported kind of database."""
    found = f"{type(database).__module__}.{type(database).__qualname__}"
    return ConfigError(f"expected {expected}, was {found}", "db")


def _is_static(database: object) -> bool:
    """Return whether it is an engine with a single connection that it lends to everyone."""
    if isinstance(database, str | asyncpg.Pool):
        return False
    from sqlalchemy.pool import StaticPool  # noqa: PLC0415  # the caller has it imported

    return isinstance(getattr(database, "pool", None), StaticPool)


def _left_of_engine(engine: Any, wanted: int) -> int:  # noqa: ANN401  # imported late
    from sqlalchemy.pool import QueuePool  # noqa: PLC0415  # the caller has it imported

    if _is_static(engine):
        return 0
    if not isinstance(engine.pool, QueuePool):
        return wanted
    size, used = engine.pool.size(), engine.pool.checkedout()
    return int(size - used) if size else wanted  # a size of 0 is no limit


@contextlib.asynccontextmanager
async def _of_url(connector: Connector, grace: Grace) -> AsyncIterator[asyncpg.Connection]:
    raw = await connector.connect()
    try:
        yield raw
    finally:
        await grace.end(raw, raw.close)


@contextlib.asynccontextmanager
async def _of_pool(pool: asyncpg.Pool, grace: Grace) -> AsyncIterator[asyncpg.Connection]:
    check_loop(pool)
    try:
        raw = await pool.acquire(timeout=WAIT_S)
    except TimeoutError as error:
        raise DatabaseError(NO_CONNECTION) from error
    except asyncpg.InterfaceError as error:
        if "not initialized" not in str(error):
            raise
        msg = f"{error}, expected one that was awaited: `await asyncpg.create_pool(...)`"
        raise ConfigError(msg, "db") from error
    try:
        yield raw
    finally:
        # A connection that cannot be reset is lost, and its own error was raised already.
        with contextlib.suppress(*LOST):
            await pool.release(raw, timeout=grace.left())


@contextlib.asynccontextmanager
async def _of_engine(
    engine: AsyncEngine, one_at_a_time: asyncio.Lock, grace: Grace
) -> AsyncIterator[asyncpg.Connection]:
    async with contextlib.AsyncExitStack() as stack:
        async with one_at_a_time:
            connection = await _opened(engine, grace)
        stack.push_async_exit(connection)
        raw = (await connection.get_raw_connection()).driver_connection
        if raw is None:
            raise InternalError("SQLAlchemy gave no connection of the driver")
        check_loop(raw)
        if raw.is_in_transaction():
            # A listener of the host has sent a statement; the first commit of batchcore would keep
            # its effect.
            await connection.run_sync(lambda one: one.connection.commit())
        lost = False
        try:
            yield raw
        except BaseException as error:
            lost = is_connection_lost(error)
            raise
        finally:
            # SQLAlchemy did not see it fail, and would lend the lost connection again.
            if lost or raw.is_closed():
                await connection.invalidate()


async def _opened(engine: AsyncEngine, grace: Grace) -> AsyncConnection:
    """Open a connection; if cancelled, wait briefly for it to open, and close it.

    SQLAlchemy 2.0 forgets a driver connection that is being set up when it is cancelled.
    """
    opening = asyncio.ensure_future(engine.connect().start())
    try:
        return await asyncio.shield(opening)
    except asyncio.CancelledError:
        closing = asyncio.ensure_future(_closed(opening))
        _closing.add(closing)
        closing.add_done_callback(_closing.discard)
        await asyncio.wait({closing}, timeout=min(grace.left(), SET_UP_S))
        raise


_closing: Final[set[asyncio.Task[None]]] = set()
"""Tasks that nobody awaits any more; the event loop keeps no strong references to them."""


async def _closed(opening: asyncio.Future[AsyncConnection]) -> None:
    await asyncio.wait({opening})
    if not opening.cancelled() and opening.exception() is None:
        await opening.result().close()


@contextlib.asynccontextmanager
async def _answering(
    lend: Lend, idle: Callable[[], int], grace: Grace
) -> AsyncIterator[asyncpg.Connection]:
    """Lend a connection that answers; the pool replaces dead ones."""
    for left in reversed(range(idle() + 2)):
        async with contextlib.AsyncExitStack() as stack:
            with driver_errors():
                try:
                    raw = await stack.enter_async_context(lend(grace))
                except STALE:  # the server has closed it while the pool set it up
                    if not left:
                        raise
                    continue
            if await answers(raw):
                yield raw
                return
    raise DatabaseError("the server closes each connection of the pool before it is used")
