"""Sessions on whatever a caller has, once its tables have been checked."""

from __future__ import annotations

import contextlib
from typing import TYPE_CHECKING, Final
from weakref import WeakKeyDictionary

import asyncpg
from asyncpg.pool import PoolConnectionProxy

from batchcore.config import Schema
from batchcore.db.catalog import Catalog, check_needs, inspect
from batchcore.db.engine import Database
from batchcore.errors import DatabaseError, SchemaError

if TYPE_CHECKING:
    from collections import Counter
    from collections.abc import AsyncIterator, Collection, Iterator

    from batchcore.db.catalog import Needs
    from batchcore.db.engine import Session

    Catalogs = dict[Schema, Catalog]

CHECK: Final = "check"
"""The phase that catalog statements are counted under."""

MOST_KEPT: Final = 64
"""How many URLs and pools are remembered: a pool cannot be referred to weakly."""

GONE: Final = frozenset({"42P01", "42703"})
"""SQLSTATEs of a table and a column that is not there."""

_weak: Final[WeakKeyDictionary[object, Catalogs]] = WeakKeyDictionary()
_kept: Final[dict[str | asyncpg.Pool, Catalogs]] = {}


@contextlib.asynccontextmanager
async def reading(
    db: object,
    schema: Schema | None,
    needs: Needs,
    *,
    phase: str = "load",
    statements: Counter[str] | None = None,
) -> AsyncIterator[tuple[Session, Catalog]]:
    """Give a session to read in, see `Database.reading`, and what the host's tables are.

    The catalog is read once for each ``db`` and schema, and again when what it has found is not
    enough or not there any more; `forget` it where the type of a column is changed.

    Args:
        db: Any kind of database, the caller's connections too.
        schema: Names of tables and columns; None for those of docs/schema.md.
        needs: Tables and columns that must be there.
        phase: What statements are counted under; that on the catalog is under `CHECK`.
        statements: What to count in.

    Raises:
        ConfigError: ``db`` is of a wrong kind.
        SchemaError: the database lacks something of ``needs``.
        DatabaseError: the database refused, failed or went away.
    """
    database = Database(db, borrow=True, statements=statements)
    async with database.reading(phase) as session:
        with _forgotten_if_gone(db):
            yield session, await _catalog(session, db, schema or Schema(), needs)


@contextlib.asynccontextmanager
async def changing(
    db: object,
    schema: Schema | None,
    needs: Needs,
    *,
    inserts: Collection[str] = (),
    phase: str = "persist",
    statements: Counter[str] | None = None,
) -> AsyncIterator[tuple[Session, Catalog]]:
    """Give a session to write in, see `Database.changing`, and the catalog; else like `reading`.

    Args:
        db: Any kind of database, the caller's connections too.
        schema: Names of tables and columns; None for those of docs/schema.md.
        needs: Tables and columns that must be there.
        inserts: Those of the tables that rows are inserted into, with the columns of ``needs``.
        phase: What statements are counted under; that on the catalog is under `CHECK`.
        statements: What to count in.

    Raises:
        ConfigError: ``db`` is of a wrong kind, or in no transaction.
        SchemaError: the database lacks something of ``needs``.
        DatabaseError: the database refused, failed or went away.
    """
    database = Database(db, borrow=True, statements=statements)
    async with database.changing(phase) as session:
        with _forgotten_if_gone(db):
            yield session, await _catalog(session, db, schema or Schema(), needs, inserts)


def forget() -> None:
    """Forget what the tables of all databases are: the next use of each checks it again."""
    _weak.clear()
    _kept.clear()


async def _catalog(
    session: Session, db: object, schema: Schema, needs: Needs, inserts: Collection[str] = ()
) -> Catalog:
    catalogs = _remembered(db)
    catalog = catalogs.get(schema)
    if catalog is not None:
        with contextlib.suppress(SchemaError):  # what was missing may have come since
            check_needs(catalog, needs, inserts=inserts)
            return catalog
    phase = session.phase
    await session.enter(CHECK)
    catalog = await inspect(session, schema)
    await session.enter(phase)
    check_needs(catalog, needs, inserts=inserts)
    catalogs[schema] = catalog
    return catalog


@contextlib.contextmanager
def _forgotten_if_gone(db: object) -> Iterator[None]:
    """Forget a database whose tables turn out to be others than remembered."""
    try:
        yield
    except DatabaseError as error:
        if error.sqlstate in GONE:
            _remembered(db).clear()
        raise


def _remembered(db: object) -> Catalogs:
    """Return the catalogs of a database; of what cannot be remembered, an empty mapping."""
    if isinstance(db, PoolConnectionProxy):
        db = db._con  # noqa: SLF001  # it is made anew each time that its connection is lent
    if isinstance(db, str | asyncpg.Pool):
        for pool in [pool for pool in _kept if _is_closed(pool)]:
            del _kept[pool]
        while len(_kept) >= MOST_KEPT and db not in _kept:
            del _kept[next(iter(_kept))]
        return _kept.setdefault(db, {})
    try:
        return _weak.setdefault(db, {})
    except TypeError:
        return {}


def _is_closed(pool: str | asyncpg.Pool) -> bool:
    return isinstance(pool, asyncpg.Pool) and bool(pool.is_closing())
