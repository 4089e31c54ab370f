"""Which transactions wrote the tables of level `full`: their rows may be replaced, no others."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

from batchcore.db.catalog import WRITES
from batchcore.db.migrate import options

revision = "0004"
down_revision = "0003"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Create the table."""
    op.create_table(
        WRITES,
        sa.Column("id", sa.Uuid, nullable=False),
        sa.Column("written_at", sa.DateTime(timezone=True), nullable=False),
        sa.PrimaryKeyConstraint("id", name=f"pk_{WRITES}"),
        schema=options().schema.namespace,
    )


def downgrade() -> None:
    """Drop it: it is batchcore's own on any host."""
    op.drop_table(WRITES, schema=options().schema.namespace)
