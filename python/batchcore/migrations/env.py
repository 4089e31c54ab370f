"""Alembic's entry: run on the connection that `batchcore migrate` hands over, or on one's own.

The latter is for developers, who call `alembic` itself: BATCHCORE_DATABASE_URL names the database.
"""

from __future__ import annotations

import asyncio
import os
from typing import TYPE_CHECKING

from alembic import context

from batchcore.db import tables
from batchcore.db.migrate import connect, options
from batchcore.errors import ConfigError
from batchcore.schema import VERSION_TABLE

if TYPE_CHECKING:
    from sqlalchemy import Connection
    from sqlalchemy.sql.schema import SchemaItem


def _is_ours(
    item: SchemaItem,  # noqa: ARG001  # the signature is Alembic's
    name: str | None,
    kind: str,
    reflected: bool,  # noqa: FBT001  # the signature is Alembic's
    compared_with: SchemaItem | None,  # noqa: ARG001  # the signature is Alembic's
) -> bool:
    ours = (*tables.metadata.tables, *tables.ledger.tables)
    return not (kind == "table" and reflected and name not in ours)


def _run(connection: Connection) -> None:
    chosen = options()
    context.configure(
        connection=connection,
        target_metadata=[tables.metadata, tables.ledger],
        version_table=VERSION_TABLE,
        version_table_schema=chosen.schema.namespace,
        include_object=_is_ours,
        compare_server_default=True,
        transaction_per_migration=chosen.concurrently,
    )
    with context.begin_transaction():
        context.run_migrations()


async def _run_alone() -> None:
    url = os.environ.get("BATCHCORE_DATABASE_URL")
    if url is None:
        msg = "BATCHCORE_DATABASE_URL is not set, so there is no database to migrate"
        raise ConfigError(msg, "database_url")
    async with connect(url) as connection:
        await connection.run_sync(_run)


if context.is_offline_mode():
    message = "the migrations look at the database, so there is no offline mode (--sql)"
    raise ConfigError(message, "sql")
handed_over = context.config.attributes.get("connection")
if handed_over is None:
    asyncio.run(_run_alone())
else:
    _run(handed_over)
