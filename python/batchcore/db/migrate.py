"""Migrate a database to the newest schema: an empty one, or a host's own with its tables in use.

Alembic is imported when something is migrated, because a run needs none of it.
"""

from __future__ import annotations

import contextlib
import logging
import re
from dataclasses import dataclass, field
from importlib.metadata import version
from typing import TYPE_CHECKING, Final

from batchcore.config import Schema
from batchcore.db.catalog import Catalog, inspect
from batchcore.db.check import (
    missing_of,
    newer_revision_text,
    problems_of,
    revision_of,
    schema_error,
)
from batchcore.db.indexes import IndexPlan, look, redundant, unmarked
from batchcore.errors import ConfigError, LeaseHeldError
from batchcore.pg.borrowed import check_driver, check_namespace
from batchcore.pg.connect import Connector
from batchcore.pg.database import wrong_kind
from batchcore.pg.errors import driver_errors
from batchcore.pg.session import CATALOG_FIRST
from batchcore.pg.sql import quote_literal, table_name
from batchcore.schema import HOST, INDEXES, OWN, TOKENS, VERSION_TABLE

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Mapping, Sequence

    import asyncpg
    from alembic.config import Config
    from alembic.script import ScriptDirectory
    from sqlalchemy import Connection
    from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine


_HOST_REVISION: Final = "0001"
_INDEX_REVISION: Final = "0002"
_ADOPTED: Final = "batchcore: the tables of revision 0001 are the host's own"
MADE: Final = "batchcore: made the tables of revision 0001"
"""The comment on the version table that lets a downgrade drop the tables; a dump may lack it."""

_LOCK_KEY: Final = 0x62_61_74_63_68_6D_69_67
"""The bytes of ``batchmig``: one migration at a time for each database."""

_PARAMETER: Final = re.compile(r"%\(\w+\)s")
"""Text that SQLAlchemy 2.0 takes for a parameter in a statement, even within a quoted name."""

_logger = logging.getLogger("batchcore")


@dataclass(frozen=True)
class Options:
    """The options of the revisions."""

    schema: Schema = field(default_factory=Schema)
    concurrently: bool = False  # how indexes are built and dropped: outside a transaction
    adopted: bool = False  # the tables were there before batchcore: no downgrade drops them
    index_statements: Sequence[str] = ()  # what revision 0002 runs, up or down


@dataclass(frozen=True)
class MigrateStatus:
    """The revision of a database, and what `migrate` would do."""

    revision: str | None  # None if batchcore never migrated it
    head: str  # the newest revision
    adopted: bool  # whether the tables belong to the host
    pending: tuple[str, ...]  # revisions to come, in order; the host's tables count as 0001
    steps: tuple[str, ...]  # what `migrate` would do, a line for each
    problems: tuple[str, ...]  # obstacles, likewise
    notes: tuple[str, ...] = ()  # notes about indexes, likewise

    @property
    def is_current(self) -> bool:
        """Return whether there is nothing to do, and no obstacle."""
        return not self.pending and not self.problems


@dataclass(frozen=True)
class MigrateReport:
    """The changes of a migration."""

    before: str | None  # the revision before; None if there was none
    revision: str | None  # the one after
    adopted: bool  # whether the tables belong to the host
    marked: tuple[str, ...]  # revisions noted as done without running them
    applied: tuple[str, ...]  # those that ran, in order
    notes: tuple[str, ...] = ()  # changes of indexes, a line for each


async def migrate(
    database: str | AsyncEngine, *, schema: Schema | None = None, drop_redundant: bool = False
) -> MigrateReport:
    """Migrate ``database`` to the newest schema; nothing happens if it has that already.

    An empty database gets everything in one transaction. In one that has host tables, these are
    compared with what a run needs, revision 0001 is marked as done, and the later ones run, with
    indexes built CONCURRENTLY: such a build blocks nobody, but waits for every older transaction.
    Existing indexes of the host are used, and none of its own is dropped, except with
    ``drop_redundant`` those that batchcore's make redundant.

    Raises:
        SchemaError: the host's tables are not as a run needs them, or the database is newer.
        LeaseHeldError: another migration of this database is running.
    """
    schema = schema or Schema()
    _require_alembic(schema)
    async with _session(database, schema) as (connection, raw):
        status, plan, drops = await _status(raw, schema, drop_redundant=drop_redundant)
        if status.problems:
            raise schema_error(status.problems)
        marked: tuple[str, ...] = ()
        applied = status.pending
        if status.adopted and status.revision is None:
            # In one transaction, and in place of another note: a downgrade would drop the tables.
            async with connection.begin():
                await _run(connection, "stamp", Options(schema), _HOST_REVISION)
                await connection.exec_driver_sql(comment(schema, _ADOPTED))
            marked, applied = status.pending[:1], status.pending[1:]
        if applied:
            options = Options(schema, plan.concurrently, status.adopted, plan.statements)
            await _run(connection, "upgrade", options, "head")
        for revision in applied:
            _logger.info("revision %s is done", revision)
        for statement in drops:
            await raw.execute(statement)
        return MigrateReport(
            status.revision, status.head, status.adopted, marked, applied, status.notes
        )


async def check(
    database: str | AsyncEngine, *, schema: Schema | None = None, drop_redundant: bool = False
) -> MigrateStatus:
    """Return the revision of ``database`` and what `migrate` would do, without doing it."""
    schema = schema or Schema()
    _require_alembic(schema)
    with driver_errors():
        async with connect(database) as connection:
            raw = await _raw(connection, schema)
            async with raw.transaction(readonly=True):
                await raw.execute(CATALOG_FIRST.format(local="true"))
                status, *_ = await _status(raw, schema, drop_redundant=drop_redundant)
            return status


async def downgrade(
    database: str | AsyncEngine, revision: str = "base", *, schema: Schema | None = None
) -> None:
    """Downgrade ``database`` to ``revision``, by default to the state without batchcore.

    Tables of the host stay, with their contents, and so do its indexes; everything that `migrate`
    created is dropped. Tables also stay where nothing shows who created them, as in a database
    restored without comments.

    Raises:
        SchemaError: the database is newer than this version of batchcore.
        LeaseHeldError: another migration of this database is running.
    """
    schema = schema or Schema()
    _require_alembic(schema)
    known = [script.revision for script in _scripts().walk_revisions()]
    if revision not in ("base", *known):
        msg = f"there is no revision `{revision}`, expected base or {', '.join(reversed(known))}"
        raise ConfigError(msg, "revision")
    async with _session(database, schema) as (connection, raw):
        found = await revision_of(raw, await inspect(raw, schema))
        if found is None:
            return
        if found not in known:
            raise schema_error((newer_revision_text(found),))
        adopted = await _is_adopted(raw, schema)
        if adopted and revision == "base":
            _logger.info("the host's tables stay: nothing says that batchcore made them")
        layout = await look(raw, schema)
        for name in unmarked(layout) if adopted else ():
            _logger.warning("index %s stays: nothing says that batchcore made it", name)
        plan = IndexPlan(layout, concurrently=True)
        plan.remove(is_own=not adopted)
        options = Options(schema, plan.concurrently, adopted, plan.statements)
        await _run(connection, "downgrade", options, revision)
        if revision == "base":
            await raw.execute(f"DROP TABLE {table_name(schema, VERSION_TABLE)}")


def comment(schema: Schema, text: str) -> str:
    """Return the statement that records who created the host's tables."""
    return f"COMMENT ON TABLE {table_name(schema, VERSION_TABLE)} IS {quote_literal(text)}"


def options() -> Options:
    """Return the options of the running migration; the defaults under `alembic check`."""
    from alembic import context  # noqa: PLC0415  # an extra

    chosen: Options = context.config.attributes.get("options", Options())
    return chosen


@contextlib.asynccontextmanager
async def connect(database: str | AsyncEngine) -> AsyncIterator[AsyncConnection]:
    """Yield a connection to ``database``; a URL gets a temporary engine."""
    from sqlalchemy import NullPool  # noqa: PLC0415  # not needed to import batchcore
    from sqlalchemy.ext.asyncio import AsyncEngine, create_async_engine  # noqa: PLC0415  # likewise

    if isinstance(database, AsyncEngine):
        check_driver("engine", database.dialect.driver)
        async with database.connect() as connection:
            yield connection
        return
    if not isinstance(database, str):
        raise wrong_kind(database, "a database URL or an SQLAlchemy AsyncEngine")
    connect = Connector(database).connect
    engine = create_async_engine("postgresql+asyncpg://", async_creator=connect, poolclass=NullPool)
    try:
        async with engine.connect() as connection:
            yield connection
    finally:
        await engine.dispose()


@contextlib.asynccontextmanager
async def _session(
    database: str | AsyncEngine, schema: Schema
) -> AsyncIterator[tuple[AsyncConnection, asyncpg.Connection]]:
    """Yield a connection that holds the migration lock; its settings are restored at the end.

    The lock is not waited for: a waiting session holds a snapshot, for which an index built
    CONCURRENTLY would wait in turn.
    """
    with driver_errors():
        async with connect(database) as connection:
            raw = await _raw(connection, schema)
            if not await raw.fetchval("SELECT pg_catalog.pg_try_advisory_lock($1)", _LOCK_KEY):
                msg = "another migration of this database is running"
                raise LeaseHeldError(msg)
            before = await raw.fetch(_SETTINGS, [*_LIMITS, "search_path"])
            await raw.execute(CATALOG_FIRST.format(local="false"))
            await _set(raw, {name: "0" for name, _ in before if name in _LIMITS})
            try:
                yield connection, raw
            finally:
                await connection.rollback()
                if not raw.is_closed():
                    await _set(raw, dict(before))
                    await raw.fetchval("SELECT pg_catalog.pg_advisory_unlock($1)", _LOCK_KEY)


async def _raw(connection: AsyncConnection, schema: Schema) -> asyncpg.Connection:
    """Return the driver's connection, with the tables in the namespace of ``schema``."""
    raw = (await connection.get_raw_connection()).driver_connection
    check_namespace(connection, schema.namespace)
    return raw


async def _set(raw: asyncpg.Connection, settings: Mapping[str, str]) -> None:
    for name, value in settings.items():
        await raw.fetchval("SELECT pg_catalog.set_config($1, $2, false)", name, value)


async def _status(
    raw: asyncpg.Connection, schema: Schema, *, drop_redundant: bool
) -> tuple[MigrateStatus, IndexPlan, list[str]]:
    """Return the status, pending statements of revision 0002, and drops of redundant indexes."""
    scripts = _scripts()
    known = {script.revision: script.doc for script in scripts.walk_revisions()}
    pending = tuple(reversed(known))
    catalog = await inspect(raw, schema)
    revision = await revision_of(raw, catalog)
    problems: tuple[str, ...] = ()
    if revision is not None:
        adopted = await _is_adopted(raw, schema)
        if revision in known:
            pending = pending[pending.index(revision) + 1 :]
        else:
            pending, problems = (), (newer_revision_text(revision),)
    elif not await raw.fetchval(_HAS_NAMESPACE, schema.namespace):
        adopted, problems = False, (f"there is no schema `{schema.namespace}`",)
    else:
        adopted = bool(schema.tables or schema.columns) or any(map(catalog.has_table, HOST))
    if not problems:
        problems = _ledger_problems(catalog, revision)
        if adopted:
            problems += problems_of(catalog, writes=False)
    steps = tuple(
        f"{one}: marked as done, the tables are the host's"
        if one == _HOST_REVISION and adopted
        else f"{one}: {known[one]}"
        for one in pending
    )
    layout, concurrently = await look(raw, schema), adopted or revision is not None
    plan = IndexPlan(layout, concurrently=concurrently)
    if _INDEX_REVISION in pending:
        plan.build(is_own=not adopted)
    elif adopted:
        plan.notes += [
            f"keep {name} at a downgrade, not known as batchcore's" for name in unmarked(layout)
        ]
    notes = plan.notes if concurrently else []  # of an empty database: nothing to choose
    drops = []
    for name, statement in redundant(layout) if adopted else ():
        is_redundant = f"{name}, redundant beside {INDEXES[0].name}"
        if drop_redundant:
            drops.append(statement)
            notes.append(f"drop {is_redundant}")
        else:
            notes.append(f"keep {is_redundant}: --drop-redundant drops it")
    status = MigrateStatus(
        revision=revision,
        head=scripts.get_current_head() or "",
        adopted=adopted,
        pending=pending,
        steps=steps,
        problems=problems,
        notes=tuple(notes),
    )
    return status, plan, drops


def _ledger_problems(catalog: Catalog, revision: str | None) -> tuple[str, ...]:
    """Return the problems of batchcore's own tables, whatever the revision says."""
    if revision is not None:
        return missing_of(catalog, revision)
    namespace = catalog.schema.namespace
    found = [name for name in OWN if name in catalog.ledger]
    if not found and TOKENS not in catalog.ledger:
        return ()
    drops = [f"DROP TABLE {', '.join(f'{namespace}.{name}' for name in found)}"] if found else []
    drops += [f"DROP SEQUENCE {namespace}.{TOKENS}"] if TOKENS in catalog.ledger else []
    problem = (
        f"{namespace}.{VERSION_TABLE}: has no revision, but the ledger is there: restore the"
        f" revision, or let `batchcore migrate` make the ledger again, empty: {'; '.join(drops)}"
    )
    return (problem,)


_LIMITS: Final = (
    *("statement_timeout", "lock_timeout", "transaction_timeout"),
    *("idle_in_transaction_session_timeout", "idle_session_timeout"),
)
"""Each of them would end an index that is half built; the third is there from PostgreSQL 17 on."""

_SETTINGS: Final = (
    "SELECT s.name, pg_catalog.current_setting(s.name, true) FROM pg_catalog.unnest($1::text[])"
    " AS s(name) WHERE pg_catalog.current_setting(s.name, true) IS NOT NULL"
)
_HAS_NAMESPACE: Final = "SELECT EXISTS (SELECT FROM pg_catalog.pg_namespace WHERE nspname = $1)"
_COMMENT: Final = "SELECT pg_catalog.obj_description(pg_catalog.to_regclass($1), 'pg_class')"


async def _is_adopted(raw: asyncpg.Connection, schema: Schema) -> bool:
    return bool(await raw.fetchval(_COMMENT, table_name(schema, VERSION_TABLE)) != MADE)


async def _run(connection: AsyncConnection, name: str, options: Options, revision: str) -> None:
    from alembic import command  # noqa: PLC0415  # an extra

    def run(connection: Connection) -> None:
        config = _config()
        config.attributes |= {"connection": connection, "options": options}
        getattr(command, name)(config, revision)

    await connection.run_sync(run)


def _config() -> Config:
    from alembic.config import Config  # noqa: PLC0415  # an extra

    config = Config()
    config.set_main_option("script_location", "batchcore:migrations")
    config.set_main_option("path_separator", "os")
    return config


def _scripts() -> ScriptDirectory:
    from alembic.script import ScriptDirectory  # noqa: PLC0415  # an extra

    return ScriptDirectory.from_config(_config())


def _require_alembic(schema: Schema) -> None:
    try:
        import alembic  # noqa: F401, PLC0415  # an extra
    except ImportError as error:
        msg = "migrations need Alembic: install `batchcore[migrate]`"
        raise ConfigError(msg, "migrate") from error
    if _PARAMETER.search(schema.namespace) and version("sqlalchemy").startswith("2.0."):
        msg = f"SQLAlchemy 2.0 takes a part of the name for a parameter: {schema.namespace!r}"
        raise ConfigError(f"{msg}, migrate with SQLAlchemy 2.1", "schema.namespace")
