"""Issues of symbols, beside those of portfolios."""

from __future__ import annotations

from batchcore.db import sqlalchemy_tables

revision = "0005"
down_revision = "0004"


def upgrade() -> None:
    """Create the table."""
    sqlalchemy_tables.create(revision)


def downgrade() -> None:
    """Drop it: it is batchcore's own on any host."""
    sqlalchemy_tables.drop(revision)
