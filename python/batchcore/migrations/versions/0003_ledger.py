"""Runs with their chunks, issues and heartbeats: batchcore's record of its own work."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

from batchcore.db import sqlalchemy_tables
from batchcore.db.migrate import options
from batchcore.schema import TOKENS

revision = "0003"
down_revision = "0002"


def upgrade() -> None:
    """Create the sequence of tokens, then the tables."""
    namespace = options().schema.namespace
    op.execute(sa.schema.CreateSequence(sa.Sequence(TOKENS, schema=namespace)))
    sqlalchemy_tables.create(revision)


def downgrade() -> None:
    """Drop the tables and the sequence: they are batchcore's own on any host."""
    namespace = options().schema.namespace
    sqlalchemy_tables.drop(revision)
    op.execute(sa.schema.DropSequence(sa.Sequence(TOKENS, schema=namespace), if_exists=True))
