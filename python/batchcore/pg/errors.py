"""Errors of the driver as one-line errors of batchcore."""

from __future__ import annotations

import asyncio
import contextlib
import re
import socket
import ssl
from typing import TYPE_CHECKING, Final

import asyncpg

from batchcore.errors import ConfigError, DatabaseError

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Iterator

NO_CONNECTION: Final = (
    "timed out waiting for a connection from the pool: a run needs at least 3 (to read, to write"
    " and for its heartbeat), or --connections + 1 if that is set"
)

LOST: Final = (asyncpg.PostgresError, asyncpg.InterfaceError, asyncpg.InternalClientError, OSError)
"""The driver's errors on a connection that can no longer be used."""

STALE: Final = (
    asyncpg.PostgresConnectionError,
    asyncpg.AdminShutdownError,
    asyncpg.InterfaceError,
    asyncpg.InternalClientError,
    BrokenPipeError,
    ConnectionResetError,
)
"""The driver's errors on a connection that the server has closed."""

_OTHER_NAME: Final = frozenset({62, 64})
"""X509_V_ERR_HOSTNAME_MISMATCH and X509_V_ERR_IP_ADDRESS_MISMATCH of OpenSSL."""

_OTHER_LOOP: Final = (
    "the pool, engine or connection belongs to another event loop, expected one of this one"
)

PATIENCE_S: Final = 5.0
"""Seconds that a connection may take to end its transaction, or to be closed."""

GRACE_S: Final = 0.7
"""Seconds that all connections of a cancelled run may take for it together."""


class Grace:
    """Limits the time to end work on connections, as a silent server would block for ever.

    A run that is cancelled has `GRACE_S` from then on, all its connections together; otherwise
    each step may take `PATIENCE_S`.
    """

    def __init__(self) -> None:
        self._until: float | None = None

    def left(self) -> float:
        """Return the seconds that a step may take, above 0."""
        now, task = asyncio.get_running_loop().time(), asyncio.current_task()
        if self._until is None and task is not None and task.cancelling():
            self._until = now + GRACE_S
        return PATIENCE_S if self._until is None else max(self._until - now, 0.001)

    async def end(self, raw: asyncpg.Connection, work: Callable[[], Awaitable[object]]) -> None:
        """Await the end of work on a connection."""
        await _is_done(raw, work, self.left())


def check_loop(owner: object) -> None:
    """Raise an error for a pool or connection of another event loop, before waiting for it."""
    if getattr(owner, "_loop", None) not in {None, asyncio.get_running_loop()}:
        raise ConfigError(_OTHER_LOOP, "db")


async def answers(raw: asyncpg.Connection) -> bool:
    """Return whether the server answers on a connection; close the connection if not.

    It sends an empty query, which is counted nowhere. A query that is parsed but not executed would
    leave the server in a transaction until the next one.
    """

    async def ask() -> None:
        statement = await raw.prepare(";", name="")
        await statement.fetch()

    return await _is_done(raw, ask, PATIENCE_S)


async def _is_done(
    raw: asyncpg.Connection, work: Callable[[], Awaitable[object]], seconds: float
) -> bool:
    """Await work on a connection; close it hard if that fails, takes too long or is cancelled.

    The server process then ends the transaction by itself.
    """
    try:
        async with asyncio.timeout(seconds):
            await work()
    except (*LOST, TimeoutError, asyncio.CancelledError) as error:
        with contextlib.suppress(asyncpg.InterfaceError):  # a pool has taken it back
            raw.terminate()
        if isinstance(error, asyncio.CancelledError):  # the caller no longer waits
            raise
        return False
    return True


@contextlib.contextmanager
def driver_errors() -> Iterator[None]:
    """Turn errors of the driver into a `DatabaseError` or `ConfigError`, in one line.

    The driver may turn the cancellation of a task into an error of its own.
    """
    try:
        yield
    except (asyncpg.QueryCanceledError, asyncpg.InternalClientError) as error:
        task = asyncio.current_task()
        if task is not None and task.cancelling():
            raise asyncio.CancelledError from error
        raise database_error(error) from error
    except asyncpg.exceptions.ClientConfigurationError as error:
        raise ConfigError(f"the database URL is not usable: {error}", "database_url") from error
    except (asyncpg.PostgresError, asyncpg.InterfaceError, OSError, TimeoutError) as error:
        raise database_error(error) from error
    except Exception as error:  # SQLAlchemy's, which is not imported for this
        cause = _driver_cause(error)
        if cause is None and isinstance(error, RuntimeError) and "different loop" in str(error):
            raise ConfigError(_OTHER_LOOP, "db") from error
        if cause is None:
            raise
        if type(cause).__name__ == "TimeoutError":  # of SQLAlchemy's pool, with a link in its text
            raise DatabaseError(NO_CONNECTION) from error
        raise database_error(cause) from error


def _driver_cause(error: Exception) -> BaseException | None:
    """Return the driver's error that an SQLAlchemy error wraps; None if there is none."""
    if not type(error).__module__.startswith("sqlalchemy."):
        return None
    wrapped = getattr(error, "orig", None)
    return (wrapped.__cause__ or wrapped) if wrapped is not None else error


ENDED: Final = "the server ended the connection between two statements; its log says why"

_GONE: Final = re.compile(r"connection (is closed|has been released)")
"""What the driver says of a connection that was lost before a call, a pool's or not."""

POOLED: Final = (
    "a pooler that hands connections on by transaction, such as PgBouncer, keeps no prepared"
    " statements: set statement_cache_size=0 on an asyncpg.Pool; on an SQLAlchemy engine also"
    " prepared_statement_cache_size=0 and a prepared_statement_name_func (docs/operations.md)"
)

NOT_TAKEN: Final = (
    "a pooler, such as PgBouncer, does not accept this setting: leave it out of server_settings and"
    " of the URL, or name it in its ignore_startup_parameters (docs/operations.md)"
)

READ_ONLY: Final = (
    "the caller has begun it so, the server is a standby, or default_transaction_read_only is on"
    " for this database or role; turn that off for the role that runs batchcore"
)

STANDBY: Final = (
    "this server is a standby, which only reads: name the primary, or all hosts with"
    " target_session_attrs=read-write in the URL"
)

USED: Final = (
    "a run uses up to --connections + 1 at a time, 5 by default, and n processes n times as many"
    " and one more"
)

HIDDEN: Final = (
    "a run must see all rows: ALTER ROLE ... BYPASSRLS for its role, or make it the owner of the"
    " tables, without FORCE ROW LEVEL SECURITY"
)

NONE_LEFT: Final = (
    f"a pooler, such as PgBouncer, had no server connection left: {USED}, so set its pool_size to"
    " that or more (docs/operations.md)"
)

TOO_MANY: Final = (
    f"{USED}: allow more for this server, database or role, or give --connections 2 or fewer"
    " processes"
)

_ADVICE: Final = (
    (("26000", "42P05"), "", POOLED),
    (("08P01",), "startup parameter", NOT_TAKEN),
    (("25006",), "read-only transaction", READ_ONLY),
    (("25006", "55000"), "recovery", STANDBY),
    (("42501",), "row-level security policy", HIDDEN),
    (("53300",), "", TOO_MANY),
    ((), "query_wait_timeout", NONE_LEFT),
)
"""Advice by SQLSTATEs (any, if none is named) and words of the server's message."""


_CALLED: Final = re.compile(r"PL/pgSQL\b.*?((?:\"[^\"]*\"|[^\s()\"])+\([^()]*\))")
"""The function that the context of an error names, in any language: batchcore has none, so it is
the host's, of a trigger, a default or a view."""


def database_error(error: BaseException) -> DatabaseError:
    """Return the one-line error for an error of the driver."""
    sqlstate = getattr(error, "sqlstate", None)
    text = _reason(error)
    if isinstance(error, asyncpg.InternalClientError):
        # The driver does not expect the message by which the server ends a waiting connection, and
        # is in its state 2 from then on. A client that was frozen hears that with the answer to its
        # last statement, and begins the next one before it sees that the connection is closed.
        ended = "another operation (2) is in progress" in text
        text = ENDED if ended else f"the connection is broken: {text}"
        return DatabaseError(text, "08006")  # connection_failure
    if isinstance(error, asyncpg.InterfaceError) and _GONE.search(text):
        return DatabaseError(ENDED, "08006")
    for states, words, advice in _ADVICE:
        if (not states or sqlstate in states) and words in text:
            text = f"{text.partition(' HINT:')[0]}: {advice}"
            break
    if called := _CALLED.search(getattr(error, "context", None) or ""):
        text = f"function `{called[1]}`: {text}"
    return DatabaseError(text, sqlstate if isinstance(sqlstate, str) else None)


def _reason(error: BaseException) -> str:
    text = " ".join(str(error).split()) or type(error).__name__
    match error:
        case TimeoutError() if not error.args:  # the driver's own
            text = "the command_timeout of the pool, engine or connection has ended a statement"
        case ssl.SSLCertVerificationError() if error.verify_code in _OTHER_NAME:
            text = f"the certificate of the server is for another host: {error.verify_message}"
        case ssl.SSLCertVerificationError():
            text = f"the certificate of the server is not trusted: {error.verify_message}"
        case ssl.SSLError():
            text = f"TLS failed: {error.reason or text}"
        case socket.gaierror():
            text = f"the name of the host cannot be looked up: {error.strerror}"
        case ConnectionRefusedError():
            text = f"nothing is listening at that address: {error.strerror or text}"
        case FileNotFoundError():
            text = f"there is no such socket: {error.strerror or text}"
    return text


def is_connection_lost(error: BaseException) -> bool:
    """Return whether an error means that the connection is closed, or will be soon."""
    sqlstate = getattr(error, "sqlstate", None) or ""
    return sqlstate.startswith(("08", "57P"))
