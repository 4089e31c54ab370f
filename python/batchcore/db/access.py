"""Sessions on whatever a caller has, once its tables have been checked."""

from __future__ import annotations

import contextlib
import functools
import time
from typing import TYPE_CHECKING, Any, Final, ParamSpec, TypeVar
from weakref import WeakKeyDictionary

import asyncpg
from asyncpg.pool import PoolConnectionProxy

from batchcore.config import Schema
from batchcore.db.catalog import Catalog, inspect
from batchcore.db.check import check, problems_of
from batchcore.errors import DatabaseError, DecodeError
from batchcore.pg.database import Database

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine

    from batchcore.pg.session import Session
    from batchcore.schema import Use

    Catalogs = dict[Schema, tuple[Catalog, float]]

Taken = ParamSpec("Taken")
Read = TypeVar("Read")

MOST_KEPT: Final = 64  # how many URLs and pools are remembered: a pool cannot be referred to weakly

KEPT_S: Final = 60.0
"""How long a catalog is remembered: a host may change its tables while a service goes on."""

CHANGED: Final = ("22", "42")
"""Classes of SQLSTATE that a table, column or type has which is not what it was."""

_weak: Final[WeakKeyDictionary[object, Catalogs]] = WeakKeyDictionary()
_kept: Final[dict[str | asyncpg.Pool, Catalogs]] = {}


@contextlib.asynccontextmanager
async def reading(
    db: object, schema: Schema | None, uses: Use
) -> AsyncIterator[tuple[Session, Catalog]]:
    """Give a session for reading, see `Database.reading`, and the catalog of the host's tables.

    The catalog is read once for each ``db`` and schema, and again after `KEPT_S`, when what it
    has found is not enough, and after an error of what is not as it says. Then a `SchemaError`
    says what the uses lack.
    """
    async with (
        Database(db, borrow=True).reading("load") as session,
        _catalog(session, db, schema, uses) as catalog,
    ):
        yield session, catalog


@contextlib.asynccontextmanager
async def changing(
    db: object, schema: Schema | None, uses: Use
) -> AsyncIterator[tuple[Session, Catalog]]:
    """Give a session for writing, see `Database.changing`, and the catalog; else like `reading`."""
    async with (
        Database(db, borrow=True).changing("persist") as session,
        _catalog(session, db, schema, uses, writes=True) as catalog,
    ):
        yield session, catalog


def rechecked(read: Callable[Taken, Awaitable[Read]]) -> Callable[Taken, Coroutine[Any, Any, Read]]:
    """Return a function that reads, called again where a table turns out to have changed."""

    @functools.wraps(read)
    async def reread(*args: Taken.args, **options: Taken.kwargs) -> Read:
        try:
            return await read(*args, **options)
        except DecodeError:
            # The catalog is forgotten by now; what is wrong for another reason is so again.
            return await read(*args, **options)

    return reread


def forget() -> None:
    """Forget what the tables of all databases are: the next use of each checks it again."""
    _weak.clear()
    _kept.clear()


@contextlib.asynccontextmanager
async def _catalog(
    session: Session, db: object, schema: Schema | None, uses: Use, *, writes: bool = False
) -> AsyncIterator[Catalog]:
    """Give the catalog, checked; forget it if a table turns out to be another than it says."""
    schema = schema or Schema()
    catalog, read_at = _remembered(db).get(schema, (None, 0.0))
    is_old = time.monotonic() - read_at >= KEPT_S
    if catalog is None or is_old or problems_of(catalog, uses, writes=writes):
        catalog = await inspect(session, schema)
        check(catalog, uses, writes=writes)
        _remembered(db)[schema] = catalog, time.monotonic()
    try:
        yield catalog
    except (DatabaseError, DecodeError) as error:
        if isinstance(error, DecodeError) or (error.sqlstate or "").startswith(CHANGED):
            _remembered(db).clear()
        raise


def _remembered(db: object) -> Catalogs:
    """Return the catalogs of a database; of what cannot be remembered, an empty mapping."""
    if isinstance(db, PoolConnectionProxy):
        db = db._con  # noqa: SLF001  # it is made anew each time that its connection is lent
    if isinstance(db, str | asyncpg.Pool):
        # Copies and `pop`: other threads remember and forget meanwhile. No lock: a fork keeps it.
        for pool in [pool for pool in list(_kept) if _is_closed(pool)]:
            _kept.pop(pool, None)
        while len(_kept) >= MOST_KEPT and db not in _kept:
            for oldest in list(_kept)[:1]:
                _kept.pop(oldest, None)
        return _kept.setdefault(db, {})
    try:
        return _weak.setdefault(db, {})
    except TypeError:
        return {}


def _is_closed(pool: str | asyncpg.Pool) -> bool:
    return isinstance(pool, asyncpg.Pool) and bool(pool.is_closing())
