"""Alembic's entry, run on the connection of `batchcore migrate`."""

from __future__ import annotations

from typing import TYPE_CHECKING

from alembic import context

from batchcore.db.migrate import options
from batchcore.db.sqlalchemy_tables import ledger, metadata
from batchcore.errors import ConfigError
from batchcore.schema import HOST, OWN, VERSION_TABLE

if TYPE_CHECKING:
    from sqlalchemy.sql.schema import SchemaItem


def _is_ours(
    item: SchemaItem,  # noqa: ARG001  # the signature is Alembic's
    name: str | None,
    kind: str,
    reflected: bool,  # noqa: FBT001  # the signature is Alembic's
    compared_with: SchemaItem | None,  # noqa: ARG001  # the signature is Alembic's
) -> bool:
    return not (kind == "table" and reflected and name not in (*HOST, *OWN))


connection = context.config.attributes.get("connection")
if connection is None or context.is_offline_mode():
    message = "the migrations look at the database: run `batchcore migrate`"
    raise ConfigError(message, "database_url")
chosen = options()
context.configure(
    connection=connection,
    target_metadata=[metadata, ledger],
    version_table=VERSION_TABLE,
    version_table_schema=chosen.schema.namespace,
    include_object=_is_ours,
    compare_server_default=True,
    transaction_per_migration=chosen.concurrently,
)
with context.begin_transaction():
    context.run_migrations()
