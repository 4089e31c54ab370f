"""What has been committed: the one function that commits a chunk."""

from __future__ import annotations

from typing import TYPE_CHECKING

from batchcore.db.engine import transaction
from batchcore.db.save import write_batch

if TYPE_CHECKING:
    from batchcore.config import Schema
    from batchcore.db.engine import Session
    from batchcore.db.save import Batch, Stamp


async def commit_chunk(session: Session, schema: Schema, batch: Batch, stamp: Stamp) -> None:
    """Write and commit a chunk in one transaction: its snapshots and its equities, or nothing.

    Raises:
        DatabaseError: nothing of the chunk was written.
    """
    async with transaction(session):
        await write_batch(session, schema, batch, stamp)
