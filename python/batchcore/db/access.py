"""Sessions on any kind of database, with its tables checked."""

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

MOST_KEPT: Final = 64  # number of URLs and pools remembered: a pool cannot be weakly referenced

KEPT_S: Final = 60.0
"""Seconds that a catalog is remembered: a host may change its tables while a service runs."""

CHANGED: Final = ("22", "42")
"""Classes of SQLSTATE raised when a table, column or type has changed."""

_weak: Final[WeakKeyDictionary[object, Catalogs]] = WeakKeyDictionary()
_kept: Final[dict[str | asyncpg.Pool, Catalogs]] = {}


@contextlib.asynccontextmanager
async def reading(
    db: object, schema: Schema | None, uses: Use
) -> AsyncIterator[tuple[Session, Catalog]]:
    """Yield a session for reading, see `Database.reading`, and the catalog of the host's tables.

    The catalog is read once for each ``db`` and schema, and again after `KEPT_S`, when it lacks
    something, and after an error that contradicts it. Then a `SchemaError` names what the uses
    lack.
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
    """Yield a session for writing, see `Database.changing`, and the catalog; else as `reading`."""
    async with (
        Database(db, borrow=True).changing("persist") as session,
        _catalog(session, db, schema, uses, writes=True) as catalog,
    ):
        yield session, catalog


def rechecked(read: Callable[Taken, Awaitable[Read]]) -> Callable[Taken, Coroutine[Any, Any, Read]]:
    """Return a reading function that is called again if a table turns out to have changed."""

    @functools.wraps(read)
    async def reread(*args: Taken.args, **options: Taken.kwargs) -> Read:
        try:
            return await read(*args, **options)
        except DecodeError:
            # The catalog is forgotten by now; an error with another cause is raised again.
            return await read(*args, **options)

    return reread


def forget() -> None:
    """Forget the tables of all databases: the next use of each checks them again."""
    _weak.clear()
    _kept.clear()


@contextlib.asynccontextmanager
async def _catalog(
    session: Session, db: object, schema: Schema | None, uses: Use, *, writes: bool = False
) -> AsyncIterator[Catalog]:
    """Yield the checked catalog; forget it if a table turns out to differ from it."""
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
    """Return the catalogs of a database; an empty mapping for one that cannot be remembered."""
    if isinstance(db, PoolConnectionProxy):
        db = db._con  # noqa: SLF001  # it is made anew each time that its connection is lent
    if isinstance(db, str | asyncpg.Pool):
        # Copies and `pop`: other threads remember and forget meanwhile. No lock, as a fork would
        # inherit it.
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
