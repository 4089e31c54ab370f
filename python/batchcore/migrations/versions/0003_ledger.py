"""Runs, their chunks, issues and heartbeats: what batchcore keeps of its own work."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects.postgresql import ARRAY, JSONB

from batchcore.db.migrate import options

revision = "0003"
down_revision = "0002"
branch_labels = None
depends_on = None

RUNS = "batchcore_runs"
OF_A_RUN = ("batchcore_run_chunks", "batchcore_run_issues", "batchcore_run_heartbeats")
TOKENS = "batchcore_run_tokens"


def upgrade() -> None:
    """Create the sequence of tokens, then the tables."""
    namespace = options().schema.namespace
    instant = sa.DateTime(timezone=True)
    op.execute(sa.schema.CreateSequence(sa.Sequence(TOKENS, schema=namespace)))
    op.create_table(
        RUNS,
        sa.Column("id", sa.Uuid, nullable=False),
        sa.Column("fingerprint", sa.Text, nullable=False),
        sa.Column("asked", JSONB, nullable=False),
        sa.Column("portfolio_ids", ARRAY(sa.Uuid)),
        sa.Column("configuration", JSONB, nullable=False),
        sa.Column("code_version", sa.Text, nullable=False),
        sa.Column("state", sa.Text, nullable=False),
        sa.Column("attempt", sa.Integer, nullable=False),
        sa.Column("token", sa.BigInteger, nullable=False),
        sa.Column("created_at", instant, nullable=False),
        sa.Column("started_at", instant, nullable=False),
        sa.Column("ended_at", instant),
        sa.Column("start_date", sa.Date),
        sa.Column("end_date", sa.Date),
        sa.Column("snapshot_id", sa.Text),
        sa.Column("lsn", sa.Text),
        sa.Column("portfolios", sa.Integer),
        sa.Column("failed", sa.Integer, nullable=False),
        sa.Column("chunks", sa.Integer, nullable=False),
        sa.Column("rows_written", sa.BigInteger, nullable=False),
        sa.Column("seconds", sa.Numeric(12, 3), nullable=False),
        sa.Column("error", sa.Text),
        sa.PrimaryKeyConstraint("id", name=f"pk_{RUNS}"),
        schema=namespace,
    )
    chunks, issues, heartbeats = OF_A_RUN
    op.create_table(
        chunks,
        sa.Column("run_id", sa.Uuid, nullable=False),
        sa.Column("chunk", sa.Integer, nullable=False),
        sa.Column("attempt", sa.Integer, nullable=False),
        sa.Column("first_portfolio", sa.Uuid, nullable=False),
        sa.Column("last_portfolio", sa.Uuid, nullable=False),
        sa.Column("first_session", sa.Date),
        sa.Column("last_session", sa.Date),
        sa.Column("sessions", sa.Integer, nullable=False),
        sa.Column("rows_written", sa.Integer, nullable=False),
        sa.Column("sha256", sa.Text, nullable=False),
        sa.Column("committed_at", instant, nullable=False),
        sa.PrimaryKeyConstraint("run_id", "chunk", name=f"pk_{chunks}"),
        schema=namespace,
    )
    op.create_table(
        issues,
        sa.Column("run_id", sa.Uuid, nullable=False),
        sa.Column("chunk", sa.Integer, nullable=False),
        sa.Column("portfolio_id", sa.Uuid, nullable=False),
        sa.Column("name", sa.Text, nullable=False),
        sa.Column("failed", sa.Boolean, nullable=False),
        sa.Column("count", sa.Integer, nullable=False),
        sa.Column("symbol", sa.Text),
        sa.Column("session", sa.Date),
        sa.Column("detail", sa.Text),
        sa.PrimaryKeyConstraint("run_id", "chunk", "portfolio_id", "name", name=f"pk_{issues}"),
        schema=namespace,
    )
    op.create_table(
        heartbeats,
        sa.Column("run_id", sa.Uuid, nullable=False),
        sa.Column("token", sa.BigInteger, nullable=False),
        sa.Column("beat_at", instant, nullable=False),
        sa.Column("expires_at", instant, nullable=False),
        sa.PrimaryKeyConstraint("run_id", name=f"pk_{heartbeats}"),
        schema=namespace,
    )
    for table in OF_A_RUN:
        op.create_foreign_key(
            f"fk_{table}_run_id",
            table,
            RUNS,
            ["run_id"],
            ["id"],
            source_schema=namespace,
            referent_schema=namespace,
            ondelete="CASCADE",
        )


def downgrade() -> None:
    """Drop the tables and the sequence: they are batchcore's own on any host."""
    namespace = options().schema.namespace
    for table in (*OF_A_RUN, RUNS):
        op.drop_table(table, schema=namespace)
    op.execute(sa.schema.DropSequence(sa.Sequence(TOKENS, schema=namespace)))
