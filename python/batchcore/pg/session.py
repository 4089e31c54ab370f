"""Connections with transactions, and a count of every statement sent.

A *statement* is a SELECT, COPY, INSERT, UPDATE or DELETE that batchcore sends, the one by which a
pool of asyncpg resets a connection included; transaction control, settings, and what the driver or
SQLAlchemy ask for themselves are not.
"""

from __future__ import annotations

import asyncio
import contextlib
import datetime as dt
import logging
import re
import uuid
from dataclasses import dataclass
from types import MappingProxyType, NoneType
from typing import TYPE_CHECKING, Any, Final

import asyncpg

from batchcore.errors import ConfigError, DatabaseError
from batchcore.pg.errors import answers, driver_errors, is_connection_lost
from batchcore.pg.sql import Sql, compose, quote_literal

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Mapping, Sequence

    from batchcore.frames import Ambiguous
    from batchcore.pg.database import Database

log: Final = logging.getLogger("batchcore")

_READ_AS: Final[Mapping[str, type]] = MappingProxyType(
    {
        "bool": bool,
        **dict.fromkeys(("int2", "int4", "int8"), int),
        **dict.fromkeys(("text", "varchar", "name"), str),
        "timestamptz": dt.datetime,
        "uuid": uuid.UUID,
    }
)
"""The Python types that the driver must return for the types that it decodes."""

ROW_SECURITY_OFF: Final = "SET LOCAL row_security = off"
"""A row-level security policy would hide rows silently; this makes it an error."""

CATALOG_FIRST: Final = (
    "SELECT pg_catalog.set_config('search_path', CASE WHEN s.path OPERATOR(pg_catalog.~~)"
    " '%pg_catalog%' THEN 'pg_catalog, ' OPERATOR(pg_catalog.||) s.path ELSE s.path END, {local})"
    " FROM (SELECT pg_catalog.current_setting('search_path')) AS s(path)"
)
"""A path with pg_catalog in a later place would find functions and types of other schemas first.

The rest of the path stays, for the triggers and views of the host. `local` is whether it holds for
the transaction only.
"""

_CATALOG_FIRST: Final = CATALOG_FIRST.format(local="true")

_CHANGED: Final = """
(SELECT string_agg(DISTINCT l.relation::regclass::text, ', ') FROM pg_locks AS l
LEFT JOIN pg_class AS c ON c.oid = l.relation LEFT JOIN pg_namespace AS n ON n.oid = c.relnamespace
WHERE l.pid = pg_backend_pid() AND l.locktype = 'relation' AND (c.oid IS NULL
    OR NULLIF(c.relfilenode, 0) <> pg_relation_filenode(c.oid) AND c.relkind IN ('r', 'm')
    OR (pg_identify_object('pg_class'::regclass, c.oid, 0)).identity
        <> format('%I.%I', n.nspname, c.relname) AND c.relkind IN ('r', 'm', 'p')){locks})"""
"""The tables that changed since the snapshot, which sees them as empty or under another name.

The snapshot of pg_class has the former file of a table, functions return the current one. Each
table, also those below views, is locked before the comparison, and cannot change any more.
"""

_COUNTED: Final = re.compile(
    r"\s*(SELECT|WITH|INSERT|UPDATE|DELETE|COPY|MERGE|VALUES)\b", re.IGNORECASE
)


@dataclass(frozen=True, slots=True)
class View:
    """The moment that a REPEATABLE READ transaction sees, as the server names it."""

    snapshot_id: str  # ``xmin:xmax:running transactions``
    lsn: str | None  # position in its log; None on a standby


@dataclass(frozen=True, slots=True)
class SharedView:
    """A snapshot of the database that is held for other runs to read."""

    exported: str  # identifier of the snapshot, valid while it is held
    changed_since: dt.datetime  # after which it may have missed a change


class Session:
    """A borrowed asyncpg connection; its statements are counted under its phase."""

    def __init__(self, raw: asyncpg.Connection, phase: str, database: Database) -> None:
        self.raw = raw
        self.phase = phase
        self.statements = database.statements
        self.bytes = database.bytes
        self.rounded = database.rounded
        self.grace = database.grace
        self.given = database.given
        self._limit_s = database.limit_s
        self.ambiguous: list[Ambiguous] = []  # symbols of closes that were read
        self.isolation = ""  # of the transaction, as PostgreSQL writes it
        self.exported: str | None = None  # under which others see the same
        self.pid: int | None = None  # of its process, if the server was asked
        self.view: View | None = None  # if requested

    @property
    def consistent(self) -> bool:
        """Whether every statement sees the database at one moment."""
        return self.isolation in {"repeatable read", "serializable"}

    @property
    def has_encoding(self) -> bool:
        """Whether texts of the database are of a known encoding; in SQL_ASCII they are bytes."""
        return bool(self.settings.server_encoding != "SQL_ASCII")

    @property
    def settings(self) -> asyncpg.ServerSettings:
        """The settings that the server reports."""
        with driver_errors():  # a pool takes back a lost connection by itself
            return self.raw.get_settings()

    @property
    def server_version(self) -> tuple[int, ...]:
        """The version of the server, the major one first."""
        with driver_errors():
            version: tuple[int, ...] = self.raw.get_server_version()
        return version

    @property
    def is_gone(self) -> bool:
        """Whether its connection is closed, or back in its pool."""
        try:
            closed: bool = self.raw.is_closed()
        except asyncpg.InterfaceError:  # a pool has taken it back
            return True
        return closed

    async def answers(self) -> bool:
        """Return whether the server answers; if not, the connection is closed."""
        return not self.is_gone and await answers(self.raw)

    def count(self, statements: int = 1) -> None:
        """Count statements that are sent."""
        self.statements[self.phase] += statements

    async def copy_out(self, query: str, take: Callable[[bytes], None]) -> None:
        """Run ``COPY (query) TO STDOUT`` and pass its bytes to ``take`` as they arrive.

        An error of `take` is raised when the COPY is over: inside it, asyncpg would ask the server
        to cancel the COPY and wait for the answer, for ever once the last bytes have arrived.
        """
        raised: list[Exception] = []

        async def sink(data: bytes) -> None:
            piece = bytes(data)  # asyncpg may hand out its own buffer
            self.bytes[self.phase] += len(piece)
            if not raised:
                try:
                    take(piece)
                except Exception as error:  # noqa: BLE001  # raised below
                    raised.append(error)

        self.count()
        try:
            with driver_errors():
                await self.raw.copy_from_query(
                    str(query), output=sink, format="binary", timeout=self._limit_s
                )
        except AttributeError as error:  # asyncpg's own, of a connection that was terminated
            if self.is_gone:
                raise DatabaseError("the connection was lost in the middle of a COPY") from error
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
                table,
                source=source(),
                columns=columns,
                schema_name=namespace,
                format="binary",
                timeout=self._limit_s,
            )
        return int(status.rpartition(" ")[2])

    async def execute(self, sql: str) -> int:
        """Run statements without parameters; return the rows that the last one touched."""
        self.count(bool(_COUNTED.match(sql)))
        with driver_errors():
            # The driver takes no subclass of text.
            status: str = await self.raw.execute(str(sql), timeout=self._limit_s)
        last = status.rpartition(" ")[2]
        return int(last) if last.isdigit() else 0

    async def fetch(self, query: str, *arguments: object) -> list[asyncpg.Record]:
        """Return the rows of a query.

        Its statement has no name, whatever the statement cache of the connection: with a pooler in
        transaction mode, it could otherwise run what another client prepared under that name.
        """
        self.count(bool(_COUNTED.match(query)))
        with driver_errors():
            statement = await self.raw.prepare(str(query), name="", timeout=self._limit_s)
            rows: list[asyncpg.Record] = await statement.fetch(*arguments, timeout=self._limit_s)
        _check_codecs(statement.get_attributes(), rows)
        return rows

    async def fetchval(self, query: str, *arguments: object) -> Any:  # noqa: ANN401  # of the query
        """Return the first value of the first row of a query, or None; see `fetch`."""
        rows = await self.fetch(query, *arguments)
        return rows[0][0] if rows else None

    async def now(self) -> dt.datetime:
        """Return the time of the server's clock."""
        moment: dt.datetime = await self.fetchval("SELECT pg_catalog.clock_timestamp()")
        return moment


def _check_codecs(attributes: Sequence[asyncpg.Attribute], rows: Sequence[asyncpg.Record]) -> None:
    """Raise an error for a caller's connection with other codecs for these types."""
    for at, attribute in enumerate(attributes):
        kind = _READ_AS.get(attribute.type.name)
        for found in {type(row[at]) for row in rows} if kind else ():
            if found not in {kind, NoneType} and not (
                kind is uuid.UUID and issubclass(found, kind)
            ):
                msg = (
                    f"the connection has a type codec for {attribute.type.name} that returns"
                    f" {found.__name__}, expected a connection without it"
                )
                raise ConfigError(msg, "db")


@contextlib.asynccontextmanager
async def snapshot(
    session: Session,
    *,
    shared: bool = False,
    of: str | None = None,
    tables: Sequence[Sql] | None = None,
) -> AsyncIterator[None]:
    """Let every statement of a session see the database as it is now, as `Database.snapshot`.

    With ``of`` the moment is that of an exported snapshot. With ``tables`` the server is asked for
    the moment, for `Session.view`, and the tables are locked: TRUNCATE, a rewriting ALTER TABLE or
    another table of the same name would hide their rows from an earlier snapshot. If they have
    changed since, the snapshot is taken again, and one ``of`` another is an error.
    """
    async with contextlib.AsyncExitStack() as stack:
        while True:
            await stack.enter_async_context(repeatable_read(session, of))
            try:
                changed = await _name_snapshot(session, tables, export=shared)
            except DatabaseError as error:
                if not shared or error.sqlstate is None or is_connection_lost(error):
                    raise
                shared = False  # the refusal has ended the transaction
                log.warning("snapshot=not_shared error=%r", str(error))
            else:
                if changed is None:
                    break
                msg = f"{changed} was rewritten or replaced after the snapshot was taken"
                if of is not None:
                    raise DatabaseError(msg, "40001")  # serialization_failure
                log.warning("snapshot=again reason=%r", msg)
            await stack.aclose()
        yield


async def _name_snapshot(
    session: Session, tables: Sequence[Sql] | None, *, export: bool
) -> str | None:
    """Ask for the name of the snapshot, and return the tables that changed since."""
    if not (export or tables is not None):
        return None
    wanted = ["pg_export_snapshot()"] if export else ["NULL::text"]
    if tables is not None:
        locks = Sql(
            "".join(f"\n    AND NOT EXISTS (SELECT FROM {name} LIMIT 0)" for name in tables)
        )
        wanted += [
            "pg_current_snapshot()::text",
            "CASE WHEN NOT pg_is_in_recovery() THEN pg_current_wal_lsn()::text END",
            "pg_backend_pid()",
            compose(_CHANGED, locks=locks),
        ]
    (row,) = await session.fetch(f"SELECT {', '.join(wanted)}")
    session.exported = row[0]
    if tables is None:
        return None
    session.view, session.pid = View(row[1], row[2]), row[3]
    changed: str | None = row[4]
    return changed


@contextlib.asynccontextmanager
async def transaction(
    session: Session, *, idle_ms: int = 0, first: Sequence[str] = ()
) -> AsyncIterator[int]:
    """Run a READ COMMITTED transaction of a session in none: all of it, or nothing.

    The server ends the connection if it is idle for ``idle_ms``; 0 means no limit. The SELECTs of
    ``first`` are sent with the settings in one message, and each sees what is committed when it
    begins; the number of rows of the last one is yielded.
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
            session.raw.terminate()  # it may or may not have begun
            raise
    try:
        yield
    except BaseException:
        # A lost connection has rolled back already; its own error is the one to raise.
        await session.grace.end(session.raw, transaction.rollback)
        raise
    with driver_errors():
        await transaction.commit()


@contextlib.asynccontextmanager
async def repeatable_read(session: Session, exported: str | None = None) -> AsyncIterator[None]:
    """Run a transaction that sees one moment: now, or that of an exported snapshot."""
    async with _transaction(session, isolation="repeatable_read", readonly=True):
        if exported is not None:
            await session.execute(f"SET TRANSACTION SNAPSHOT {quote_literal(exported)}")
        await session.execute("; ".join(_settings(session)))
        session.isolation = "repeatable read"
        yield


@contextlib.asynccontextmanager
async def undone(session: Session) -> AsyncIterator[None]:
    """Undo a part of a transaction, which releases the locks of its reads."""
    with driver_errors():
        part = session.raw.transaction()
        await part.start()
    yield
    with driver_errors():
        await part.rollback()


async def use_own_settings(session: Session) -> str:
    """Apply settings in a caller's transaction; return the statement that restores them."""
    session.isolation = await session.fetchval("SHOW transaction_isolation")
    row_security: str = await session.fetchval("SHOW row_security")
    path = quote_literal(await session.fetchval("SHOW search_path"))
    encoding = quote_literal(_client_encoding(session))
    await session.execute("; ".join([ROW_SECURITY_OFF, *_texts_as_utf8(session), _CATALOG_FIRST]))
    return (
        f"SET LOCAL row_security = {row_security}; SET LOCAL client_encoding = {encoding};"
        f" SELECT pg_catalog.set_config('search_path', {path}, true)"
    )


def _texts_as_utf8(session: Session) -> list[str]:
    """Return the setting by which COPY sends texts as UTF-8, unless the caller has it."""
    is_utf8 = _client_encoding(session).upper() in {"UTF8", "UTF-8"}
    return [] if is_utf8 else ["SET LOCAL client_encoding = 'UTF8'"]


def _client_encoding(session: Session) -> str:
    encoding: str = session.settings.client_encoding
    return encoding.strip("'")  # PgBouncer reports it in the quotes in which asyncpg sends it


async def execute_alone(session: Session, statement: str) -> int:
    """Run a statement as a READ COMMITTED transaction of its own; return the rows it touched.

    A session that is already in such a transaction runs it as a part of that.
    """
    session.count()
    isolation = "SET TRANSACTION ISOLATION LEVEL READ COMMITTED"
    return await session.execute("; ".join([isolation, *_settings(session), statement]))


def _settings(session: Session, idle_ms: int = 0) -> list[str]:
    settings: dict[str, int | str] = {
        "jit": "off",  # it compiles a look-up of 10,000 portfolios for longer than that takes
        "statement_timeout": 0,
        "lock_timeout": 0,
        "idle_in_transaction_session_timeout": idle_ms,
    }
    if session.server_version >= (17,):
        settings["transaction_timeout"] = 0
    own = [f"SET LOCAL {name} = {value}" for name, value in settings.items()]
    return [ROW_SECURITY_OFF, *_texts_as_utf8(session), *own, _CATALOG_FIRST]
