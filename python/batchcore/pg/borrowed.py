"""A connection that the caller works on: used inside its transaction, under a SAVEPOINT."""

from __future__ import annotations

import asyncio
import contextlib
from functools import partial
from typing import TYPE_CHECKING, Any, Final

import asyncpg
from asyncpg.pool import PoolConnectionProxy

from batchcore.errors import ConfigError, DatabaseError
from batchcore.pg.errors import Grace, check_loop, driver_errors, is_connection_lost

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable, Iterator

    from sqlalchemy.ext.asyncio import AsyncConnection, AsyncSession

    Savepoint = Callable[..., contextlib.AbstractAsyncContextManager[asyncpg.Connection]]

_SAVEPOINT: Final = "SAVEPOINT batchcore"
_RELEASE: Final = "RELEASE SAVEPOINT batchcore"
_UNDO: Final = "ROLLBACK TO SAVEPOINT batchcore; RELEASE SAVEPOINT batchcore"
_READ: Final = "BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY"


def savepoints(database: object) -> Savepoint | None:
    """Return a context manager to work on a caller's connection; None if ``database`` is not one.

    It makes a SAVEPOINT and yields the driver's connection; with ``keep=True`` the work on it is
    kept, unless it raises.
    """
    if isinstance(database, asyncpg.Connection | PoolConnectionProxy):
        _check_open(database)
        return partial(_of_asyncpg, database)
    if isinstance(database, str | asyncpg.Pool):
        return None

    from sqlalchemy.ext.asyncio import (  # noqa: PLC0415  # 0.4 s to import
        AsyncConnection,
        AsyncSession,
    )

    if isinstance(database, AsyncConnection):
        with _usable("connection"):
            if database.closed:
                raise ConfigError("the connection is closed, expected an open one", "db")
        check_driver("connection", database.dialect.driver)
        return partial(_nested, database, "connection")
    if isinstance(database, AsyncSession):
        with _usable("session"):
            bind: Any = database.get_bind()
        check_driver("session", bind.dialect.driver)
        return partial(_of_session, database)
    return None


def check_driver(what: str, driver: str) -> None:
    """Raise an error for an SQLAlchemy object on another driver."""
    if driver != "asyncpg":
        raise ConfigError(f"the {what}'s driver is {driver}, expected asyncpg", "db")


def check_namespace(database: object, namespace: str) -> None:
    """Raise an error for an SQLAlchemy object whose `schema_translate_map` moves the tables."""
    if isinstance(database, str | asyncpg.Pool | asyncpg.Connection | PoolConnectionProxy):
        return
    given: Any = database
    of = given.get_bind() if hasattr(given, "get_bind") else given
    of = getattr(of, "sync_connection", None) or getattr(of, "sync_engine", None) or of
    found = of.get_execution_options().get("schema_translate_map") or {}
    elsewhere = found.get(None) or found.get(namespace) or namespace
    if elsewhere != namespace:
        msg = (
            f"schema_translate_map has the tables in `{elsewhere}`, but Schema.namespace is"
            f" `{namespace}`: pass Schema(namespace={elsewhere!r})"
        )
        raise ConfigError(msg, "schema.namespace")


def _check_open(raw: asyncpg.Connection) -> None:
    try:
        closed = raw.is_closed()
    except asyncpg.InterfaceError as error:
        msg = "the asyncpg connection was released to its pool, expected one in use"
        raise ConfigError(msg, "db") from error
    if closed:
        raise ConfigError("the asyncpg connection is closed, expected an open one", "db")


@contextlib.asynccontextmanager
async def _of_asyncpg(raw: asyncpg.Connection, *, keep: bool) -> AsyncIterator[asyncpg.Connection]:
    _check_open(raw)
    check_loop(raw)
    if raw.is_in_transaction():
        begin, end, undo = _SAVEPOINT, _RELEASE if keep else _UNDO, _UNDO
    elif not keep:
        begin, end, undo = _READ, "COMMIT", "ROLLBACK"
    else:
        msg = (
            "the asyncpg connection is not in a transaction, expected one that the caller"
            " has begun: `async with connection.transaction():`"
        )
        raise ConfigError(msg, "db")
    with driver_errors():
        await raw.execute(begin)
    try:
        yield raw
    except BaseException:
        await _undone(partial(raw.execute, undo))
        raise
    with driver_errors():
        await raw.execute(end)


@contextlib.asynccontextmanager
async def _of_session(session: AsyncSession, *, keep: bool) -> AsyncIterator[asyncpg.Connection]:
    with driver_errors(), _usable("session"):
        connection = await session.connection()
    async with _nested(connection, "session", keep=keep) as raw:
        yield raw


@contextlib.asynccontextmanager
async def _nested(
    connection: AsyncConnection, what: str, *, keep: bool
) -> AsyncIterator[asyncpg.Connection]:
    with driver_errors(), _usable(what):
        lent: Any = await connection.get_raw_connection()
        raw = lent.driver_connection
        check_loop(raw)
        if lent.dbapi_connection.autocommit:
            msg = f"the {what} is in AUTOCOMMIT, expected one that has transactions"
            raise ConfigError(msg, "db")
        if keep and _is_twophase(connection):
            msg = (
                f"the {what} uses two-phase commit, expected one without: PostgreSQL prepares no"
                " transaction that has had temporary tables"
            )
            raise ConfigError(msg, "db")
        # SQLAlchemy begins its transaction with the first statement that it sends, which is this
        # one.
        nested = await connection.begin_nested()
    try:
        yield raw
    except BaseException as error:
        # SQLAlchemy did not see it fail, and would lend the lost connection again.
        if raw.is_closed() or is_connection_lost(error):
            await connection.invalidate()
        else:
            await _undone(nested.rollback)
        raise
    with driver_errors():
        await (nested.commit() if keep else nested.rollback())


def _is_twophase(connection: AsyncConnection) -> bool:
    from sqlalchemy.engine import TwoPhaseTransaction  # noqa: PLC0415  # the caller has it imported

    begun = connection.sync_connection
    return begun is not None and isinstance(begun.get_transaction(), TwoPhaseTransaction)


async def _undone(undo: Callable[[], Awaitable[object]]) -> None:
    """Undo work that has failed.

    A lost connection has rolled back already; its own error is the one to raise.
    """
    with contextlib.suppress(DatabaseError), driver_errors():
        async with asyncio.timeout(Grace().left()):
            await undo()


@contextlib.contextmanager
def _usable(what: str) -> Iterator[None]:
    from sqlalchemy.exc import InvalidRequestError  # noqa: PLC0415  # the caller has it imported

    try:
        yield
    except InvalidRequestError as error:
        text = " ".join(str(error.args[0]).split())
        raise ConfigError(f"the {what} cannot be used: {text}", "db") from error
