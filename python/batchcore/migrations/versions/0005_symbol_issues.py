"""What was noticed of symbols, beside what was noticed of portfolios."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

from batchcore.db.migrate import options

revision = "0005"
down_revision = "0004"
branch_labels = None
depends_on = None

TABLE = "batchcore_run_symbol_issues"


def upgrade() -> None:
    """Create the table."""
    namespace = options().schema.namespace
    op.create_table(
        TABLE,
        sa.Column("run_id", sa.Uuid, nullable=False),
        sa.Column("attempt", sa.Integer, nullable=False),
        sa.Column("name", sa.Text, nullable=False),
        sa.Column("symbol", sa.Text, nullable=False),
        sa.Column("count", sa.Integer, nullable=False),
        sa.Column("session", sa.Date),
        sa.Column("detail", sa.Text),
        sa.PrimaryKeyConstraint("run_id", "attempt", "name", "symbol", name=f"pk_{TABLE}"),
        schema=namespace,
    )
    op.create_foreign_key(
        f"fk_{TABLE}_run_id",
        TABLE,
        "batchcore_runs",
        ["run_id"],
        ["id"],
        source_schema=namespace,
        referent_schema=namespace,
        ondelete="CASCADE",
    )


def downgrade() -> None:
    """Drop the table."""
    op.drop_table(TABLE, schema=options().schema.namespace)
