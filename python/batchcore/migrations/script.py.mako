"""${message}."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

from batchcore.db.migrate import options
${imports if imports else ""}

revision = ${repr(up_revision)}
down_revision = ${repr(down_revision)}
branch_labels = ${repr(branch_labels)}
depends_on = ${repr(depends_on)}


def upgrade() -> None:
    """State what this adds."""
    ${upgrades if upgrades else "pass"}


def downgrade() -> None:
    """State what this takes away."""
    ${downgrades if downgrades else "pass"}
