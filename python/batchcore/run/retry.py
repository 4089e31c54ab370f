"""Chunks that the database refused because of other transactions, done again a moment later."""

from __future__ import annotations

import logging
from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING, Final

from batchcore.errors import ConfigError, DatabaseError
from batchcore.pg.session import snapshot
from batchcore.pg.session_pool import SessionPool
from batchcore.run.chunk import ChunkSteps
from batchcore.run.issues import IssueList
from batchcore.run.plan import Chunk
from batchcore.run.prepare import load_prices, prepare, request_again
from batchcore.sinks.refusal_errors import UNIQUE, is_of_known_key, is_refusal

if TYPE_CHECKING:
    import asyncio
    from collections.abc import Awaitable, Callable

    from batchcore.pg.session import Session
    from batchcore.policies.policy import ComputedChunk
    from batchcore.run.bisection import Judge

    Refusal = tuple[DatabaseError, Judge]
    Commit = Callable[[ComputedChunk, Session, Refusal | None], Awaitable[ComputedChunk]]

RETRIED: Final = frozenset({"40001", "40P01", UNIQUE})
"""SQLSTATEs caused by other transactions: serialization failure, deadlock, unique violation."""

ATTEMPTS: Final = 3
"""How often a chunk is tried before the refusal ends the run."""

log = logging.getLogger("batchcore")


class Retries:
    """Writes chunks; one that conflicts with other transactions is loaded and computed again.

    Then it sees the database as it is by then, prices too: the rows of each chunk are of one
    moment, though those of this one not of the run's. `count` is how often that happened.
    """

    def __init__(self, steps: ChunkSteps, computing: asyncio.Lock) -> None:
        """Take what computes chunks, and the lock that is held while computing."""
        self.count = 0
        self._steps = steps
        self._monitor = steps.policy.monitor
        self._computing = computing

    async def write(
        self, item: ComputedChunk, session: Session, commit: Commit
    ) -> ComputedChunk | None:
        """Return what was written in the end; None if there was nothing left to write.

        ``commit`` writes a chunk, all of it or nothing; with a refusal of the whole, what the
        database takes of it. The session is outside a transaction.

        Raises:
            DatabaseError: the database refused it, `ATTEMPTS` times if it conflicted.
            SnapshotExistsError: there is one where none may be (S13).
        """
        for attempt in range(1, ATTEMPTS + 1):
            try:
                if attempt > 1:
                    again = await self._again(item.chunk, session)
                    if again is None:
                        return None
                    item = again
                judge = partial(self._is_refusal, session, last=attempt == ATTEMPTS)
                with self._monitor.phase("persist"):
                    try:
                        item = await commit(item, session, None)
                    except DatabaseError as error:
                        if not await judge(error):
                            raise
                        item = await commit(item, session, (error, judge))
                break
            except DatabaseError as error:
                if error.sqlstate not in RETRIED or attempt == ATTEMPTS:
                    raise
                self.count += 1
                log.warning(
                    "run=%s chunk=%d retry=%d sqlstate=%s error=%r",
                    self._monitor.run_id,
                    item.chunk.number,
                    attempt,
                    error.sqlstate,
                    str(error),
                )
        return item

    async def _is_refusal(self, session: Session, error: DatabaseError, *, last: bool) -> bool:
        """Return whether an error is of some portfolio, and no conflict with other transactions."""
        if error.sqlstate != UNIQUE or last:
            return is_refusal(error)
        schema = self._steps.policy.settings.schema
        return not await is_of_known_key(session, schema, error)

    async def _again(self, chunk: Chunk, session: Session) -> ComputedChunk | None:
        """Return a chunk as a run of its portfolios alone would load and compute it."""
        policy = self._steps.policy
        # what the run noticed of its portfolios is in its own list
        run = replace(
            policy.run,
            request=request_again(policy, policy.plan.id[chunk.rows]),
            issues=IssueList(),
        )
        readers = SessionPool(session)
        async with snapshot(session):
            try:
                again = await prepare(readers, run, type(policy), policy.catalog)
            except ConfigError as error:
                if error.option != "portfolio_ids":
                    raise
                msg = f"a portfolio was deleted while the run was at work: {error}"
                raise DatabaseError(msg) from error
            works = again.plan.works()
            if not works.any():
                return None
            own = Chunk(chunk.number, slice(0, len(works)), works)
            again.begin([own])
            steps = ChunkSteps(again, self._steps.run_id)
            await session.enter("load")
            loaded = await again.load_chunk(session, own)
            prices = await load_prices(readers, again)
        await session.enter("persist")
        async with self._computing:
            computed = await steps.compute(loaded, prices)
        if computed is None:
            return None
        return replace(computed, chunk=Chunk(chunk.number, chunk.rows, computed.chunk.works))
