"""The runs that are shards of one night, and the share of the portfolios of each."""

from __future__ import annotations

from batchcore.db import sqlalchemy_tables

revision = "0006"
down_revision = "0005"


def upgrade() -> None:
    """Create the table."""
    sqlalchemy_tables.create(revision)


def downgrade() -> None:
    """Drop it: it is batchcore's own on any host."""
    sqlalchemy_tables.drop(revision)
