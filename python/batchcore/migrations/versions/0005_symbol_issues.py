"""What was noticed of symbols, beside what was noticed of portfolios."""

from __future__ import annotations

from alembic import op

from batchcore.db import sqlalchemy_tables
from batchcore.db.migrate import options

revision = "0005"
down_revision = "0004"


def upgrade() -> None:
    """Create the table."""
    sqlalchemy_tables.create(op.get_bind(), revision, options().schema.namespace)


def downgrade() -> None:
    """Drop it: it is batchcore's own on any host."""
    sqlalchemy_tables.drop(op.get_bind(), revision, options().schema.namespace)
