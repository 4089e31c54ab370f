"""The host's tables, for an empty database.

Where a host has them already, `batchcore migrate` compares them and marks this revision as done.
"""

from __future__ import annotations

from alembic import op

from batchcore.db import sqlalchemy_tables
from batchcore.db.migrate import MADE, comment, options

revision = "0001"
down_revision = None


def upgrade() -> None:
    """Create the two enum types, then the tables with their keys, and record who created them."""
    namespace = options().schema.namespace
    for enum in sqlalchemy_tables.enums_of(namespace):
        enum.create(op.get_bind(), checkfirst=True)
    sqlalchemy_tables.create(revision)
    op.get_bind().exec_driver_sql(comment(options().schema, MADE))


def downgrade() -> None:
    """Drop the tables and the enum types, unless they are the host's own: those stay."""
    if options().adopted:
        return
    namespace = options().schema.namespace
    sqlalchemy_tables.drop(revision)
    for enum in sqlalchemy_tables.enums_of(namespace):
        enum.drop(op.get_bind(), checkfirst=True)
