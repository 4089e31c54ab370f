"""Runs of the ledger, as `batchcore status` shows them."""

from __future__ import annotations

import contextlib
import json
import uuid
from typing import TYPE_CHECKING, Any

from batchcore.config import Schema
from batchcore.db.catalog import check_revision, inspect
from batchcore.db.driver import driver_errors
from batchcore.db.engine import Database
from batchcore.db.ledger import NEXT_CHANGED_SINCE
from batchcore.db.ledger_queries import load_chunks, load_issues, load_runs
from batchcore.errors import ConfigError

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from batchcore.db.engine import Session


async def runs(
    db: object, *, schema: Schema | None = None, limit: int = 20
) -> list[dict[str, Any]]:
    """Return the runs that began last, the latest first, as what JSON can hold.

    A run that counts as running though its lease has expired is `stuck`.

    Args:
        db: A database URL, an `asyncpg.Pool` or an SQLAlchemy `AsyncEngine` on asyncpg.
        schema: Where the ledger is; None is `public`.
        limit: How many.

    Raises:
        ConfigError: ``limit`` is not above 0.
        SchemaError: the database was not migrated to this version.
        DatabaseError: the database refused, failed or went away.
    """
    if limit < 1:
        msg = f"limit is {limit}, expected 1 or more"
        raise ConfigError(msg, "limit")
    schema = schema or Schema()
    async with _reading(db, schema) as session:
        return [_told(run) for run in await load_runs(session, schema, limit=limit)]


async def run(db: object, run_id: str, *, schema: Schema | None = None) -> dict[str, Any]:
    """Return a run with its `chunks` and the `issues` of its portfolios.

    Args:
        db: As in `runs`.
        run_id: Of the run.
        schema: As in `runs`.

    Raises:
        ConfigError: there is no such run.
        SchemaError: the database was not migrated to this version.
        DatabaseError: the database refused, failed or went away.
    """
    schema = schema or Schema()
    try:
        own = uuid.UUID(run_id)
    except ValueError:
        msg = f"run `{run_id}` is no UUID"
        raise ConfigError(msg, "run") from None
    async with _reading(db, schema) as session:
        found = await load_runs(session, schema, limit=1, run_id=own)
        if not found:
            msg = f"there is no run {own} in the ledger"
            raise ConfigError(msg, "run")
        return {
            **_told(found[0]),
            "chunks_committed": await load_chunks(session, schema, own),
            "issues": await load_issues(session, schema, own),
        }


@contextlib.asynccontextmanager
async def _reading(db: object, schema: Schema) -> AsyncIterator[Session]:
    async with Database(db).snapshot("load") as session:
        with driver_errors():
            await check_revision(session.raw, await inspect(session.raw, schema))
        yield session


def _told(row: dict[str, Any]) -> dict[str, Any]:
    asked, configuration = (json.loads(row[name]) for name in ("asked", "configuration"))
    return {
        **row,
        "asked": asked,
        "configuration": configuration,
        "seconds": float(row["seconds"]),
        NEXT_CHANGED_SINCE: configuration.pop(NEXT_CHANGED_SINCE, None),
    }
