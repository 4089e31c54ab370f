"""The three indexes of batchcore on the host's tables, in place of a weaker one.

On a host's own database each is built CONCURRENTLY, which locks out no writer but waits for every
transaction older than itself, a running batch's too.
"""

from __future__ import annotations

import contextlib
import logging

import sqlalchemy as sa
from alembic import op

from batchcore.db.migrate import Options, options
from batchcore.db.sql import column_name

revision = "0002"
down_revision = "0001"
branch_labels = None
depends_on = None

INDEXES = {
    "idx_positions_active_complete": (
        "positions",
        ("portfolio_id", "deleted_at", "exit_date", "investment_class"),
        "{deleted_at} IS NULL",
    ),
    "idx_market_data_valid_prices": ("market_data_cache", ("symbol", "date"), "{close} > 0"),
    "idx_positions_symbol_active": (
        "positions",
        ("deleted_at", "symbol", "exit_date", "expiration_date"),
        "{deleted_at} IS NULL AND {symbol} IS NOT NULL AND {symbol} <> ''",
    ),
}
REPLACED = "idx_positions_portfolio_deleted"

_INVALID = sa.text(
    "SELECT EXISTS (SELECT FROM pg_catalog.pg_class AS c"
    " JOIN pg_catalog.pg_namespace AS n ON n.oid = c.relnamespace"
    " JOIN pg_catalog.pg_index AS i ON i.indexrelid = c.oid"
    " WHERE n.nspname = :namespace AND c.relname = :name AND NOT i.indisvalid)"
)

_logger = logging.getLogger("batchcore")


def upgrade() -> None:
    """Build the three indexes, then drop the one that they replace, if it is there."""
    chosen = options()
    with _outside_transaction(chosen):
        for name, (table, columns, condition) in INDEXES.items():
            _build(chosen, name, table, columns, condition)
        _drop(chosen, REPLACED, "positions")


def downgrade() -> None:
    """Build the replaced index again, then drop the three."""
    chosen = options()
    with _outside_transaction(chosen):
        _build(chosen, REPLACED, "positions", ("portfolio_id", "deleted_at"))
        for name, (table, _, _) in INDEXES.items():
            _drop(chosen, name, table)


def _outside_transaction(chosen: Options) -> contextlib.AbstractContextManager[None]:
    if chosen.concurrently:
        return op.get_context().autocommit_block()
    return contextlib.nullcontext()


def _build(
    chosen: Options, name: str, table: str, columns: tuple[str, ...], condition: str = ""
) -> None:
    schema = chosen.schema
    if _is_invalid(chosen, name):
        _logger.warning(
            "index %s was left invalid by an interrupted build: building it again", name
        )
        _drop(chosen, name, table)
    if chosen.concurrently:
        _logger.info("building index %s, which waits for every older transaction to end", name)
    names = {
        column: column_name(schema, table, column).replace(":", r"\:")
        for column in ("close", "deleted_at", "symbol")
    }
    op.create_index(
        name,
        schema.table(table),
        [schema.column(table, column) for column in columns],
        schema=schema.namespace,
        if_not_exists=True,
        postgresql_concurrently=chosen.concurrently,
        postgresql_where=sa.text(condition.format_map(names)) if condition else None,
    )


def _drop(chosen: Options, name: str, table: str) -> None:
    op.drop_index(
        name,
        chosen.schema.table(table),
        schema=chosen.schema.namespace,
        if_exists=True,
        postgresql_concurrently=chosen.concurrently,
    )


def _is_invalid(chosen: Options, name: str) -> bool:
    namespace = chosen.schema.namespace
    found = op.get_bind().execute(_INVALID, {"namespace": namespace, "name": name})
    return bool(found.scalar_one())
