"""The three indexes of batchcore on the host's tables, in place of a weaker one.

On a host's own database each is built CONCURRENTLY, which blocks no writer but waits for every
older transaction, that of a running batch too.
"""

from __future__ import annotations

import contextlib
import logging

from alembic import op

from batchcore.db.migrate import options

revision = "0002"
down_revision = "0001"

_logger = logging.getLogger("batchcore")


def upgrade() -> None:
    """Create the indexes that the host lacks, and in batchcore's own tables drop the weaker one."""
    _execute()


def downgrade() -> None:
    """Drop the indexes of the upgrade, and in batchcore's own tables restore the weaker one."""
    _execute()


def _execute() -> None:
    """Run the statements that `migrate` found necessary, up or down."""
    chosen = options()
    outside: contextlib.AbstractContextManager[None] = contextlib.nullcontext()
    if chosen.concurrently:
        outside = op.get_context().autocommit_block()
    with outside:
        for statement in chosen.index_statements:
            if statement.startswith("CREATE INDEX CONCURRENTLY"):
                _logger.info("%s: waits for every older transaction to end", statement)
            op.get_bind().exec_driver_sql(statement)
