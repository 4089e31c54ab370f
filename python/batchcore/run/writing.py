"""Writing of chunks: again after a conflict, and in parts where the database refuses rows."""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections import Counter
from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING, Final

import numpy as np

from batchcore import policies
from batchcore.errors import ConfigError, DatabaseError, TooManyFailedError
from batchcore.pg.ledger import Lease, Ledger, Planned
from batchcore.pg.session import Session, snapshot
from batchcore.pg.session_pool import SessionPool
from batchcore.pg.triggers import Acting, acting_on
from batchcore.run.chunk import ChunkSteps
from batchcore.run.issues import IssueList
from batchcore.run.plan import Chunk
from batchcore.run.prepare import load_prices, prepare, request_again
from batchcore.run.result import causes
from batchcore.sinks.refusal_errors import UNIQUE, is_refusal, is_row_key_violation, refusal_text
from batchcore.sinks.snapshots import Batch, write_batch
from batchcore.sinks.staging import FIRE_DEFERRED
from batchcore.values import present
from batchcore.words import counted

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Iterator, Mapping, Sequence

    from batchcore.frames import Bools, Issues, NotReplaced
    from batchcore.policies.policy import ComputedChunk

    Judge = Callable[[DatabaseError], Awaitable[bool]]

RETRIED: Final = frozenset({"40001", "40P01", UNIQUE})
"""SQLSTATEs caused by other transactions: serialization failure, deadlock, unique violation."""

ATTEMPTS: Final = 3
"""Attempts at a chunk before the refusal ends the run."""

log: Final = logging.getLogger("batchcore")


class ChunkWriter:
    """Writes chunks; one that conflicts with other transactions is loaded and computed again.

    It then sees the database of that moment, prices included: the rows of each chunk are of one
    snapshot, but those of this one not of the run's.
    """

    def __init__(
        self, steps: ChunkSteps, computing: asyncio.Lock, own: tuple[Lease, Planned] | None
    ) -> None:
        """Take the computer of chunks, its lock, and a lease; None in a caller's transaction."""
        self.written = 0  # chunks committed; on a caller's connection, written
        self.retries = 0  # number of retries
        self._steps = steps
        self._policy = steps.policy
        self._settings = steps.policy.settings
        self.schema: Final = self._settings.schema
        self._ledger = Ledger(self.schema)
        self._computing = computing
        self._own = own
        self._failed_of: dict[int, int] = {}
        self._noticed_of: dict[int, tuple[Issues, Bools]] = {}  # and who failed
        self._failed_elsewhere = 0

    async def write(self, item: ComputedChunk, session: Session) -> ComputedChunk | None:
        """Return the chunk as it was written; None if there was nothing left to write."""
        monitor = self._policy.monitor
        if self._own is None:
            with monitor.phase("persist"), stale_snapshot_advice(session):
                return await self._write_inside(item, session)
        for attempt in range(1, ATTEMPTS + 1):
            try:
                if attempt > 1:
                    again = await self._recomputed(item.chunk, session)
                    if again is None:
                        for by_chunk in (self._failed_of, self._noticed_of):
                            by_chunk.pop(item.chunk.number)
                        return None
                    item = again
                judge = partial(self._is_refusal, session, by_others=attempt < ATTEMPTS)
                with monitor.phase("persist"):
                    try:
                        item = await self._commit(item, session, *self._own)
                    except DatabaseError as error:
                        if not await judge(error):
                            raise
                        item = await self._commit(item, session, *self._own, (error, judge))
                break
            except DatabaseError as error:
                if error.sqlstate not in RETRIED or attempt == ATTEMPTS:
                    raise
                self.retries += 1
                log.warning(
                    "run=%s chunk=%d retry=%d sqlstate=%s error=%r",
                    monitor.run_id,
                    item.chunk.number,
                    attempt,
                    error.sqlstate,
                    str(error),
                )
        return item

    async def _commit(
        self,
        item: ComputedChunk,
        session: Session,
        lease: Lease,
        planned: Planned,
        refusal: tuple[DatabaseError, Judge] | None = None,
    ) -> ComputedChunk:
        """Commit a chunk: all of it, or the part that the database accepts after a refusal."""
        (batch,) = item.batches
        ledger, step = self._ledger, partial(self._policy.monitor.step, chunk=item.chunk.number)
        async with ledger.fenced(session, lease):
            step("begun")
            self._failed_elsewhere = await ledger.failed_elsewhere(session, lease)
            if refusal is None:
                self.check_failures(item)
                item = replace(item, kept=await self.write_rows(session, batch, step))
            else:
                error, judge = refusal
                parts = Bisection(self, item, session, judge, checks_deferred=True)
                await parts.halve(batch, error)
                item = await self._without_refused(item, parts)
            entry = present(item.entry)
            await ledger.record_issues(session, entry.issues)
            await ledger.record_not_replaced(session, lease, entry.chunk, item.kept)
            step("ledger")
            await ledger.record_chunk(session, lease, entry, planned)
            step("fenced")
        step("committed")
        self.written += 1
        return item

    async def _write_inside(self, item: ComputedChunk, session: Session) -> ComputedChunk:
        self.check_failures(item)
        (batch,) = item.batches
        if not batch.snapshots:
            return item
        judge = partial(self._is_refusal, session, by_others=session.consistent)
        parts = Bisection(self, item, session, judge, checks_deferred=False)
        await parts.write(batch)
        self.written += bool(parts.written)
        return await self._without_refused(item, parts)

    async def _without_refused(self, item: ComputedChunk, parts: Bisection) -> ComputedChunk:
        item = replace(item, batches=tuple(parts.written), kept=parts.kept)
        return await self._steps.without(item, parts.refused) if parts.refused else item

    async def write_rows(
        self, session: Session, batch: Batch, step: Callable[[str], None] = lambda _: None
    ) -> Sequence[NotReplaced]:
        """Write a chunk or a part of it; return the rows left to other writers."""
        stamp, acting = self._policy.run.stamp(), self._policy.catalog.acting
        # The caller may have deferred constraints other than ours.
        checks = self._own is not None
        return await write_batch(
            session, self.schema, batch, stamp, step, acting=acting, checks_deferred=checks
        )

    def check_failures(self, item: ComputedChunk, refused: Mapping[int, str] | None = None) -> None:
        """Raise an error after too many failures or refusals, before a chunk is written."""
        refused = refused or {}
        fails = item.rows.failed.copy()
        fails[list(refused)] = True
        self._failed_of[item.chunk.number] = int(np.count_nonzero(fails))
        self._noticed_of[item.chunk.number] = item.rows.issues, item.rows.failed
        others, portfolios = self._failed_elsewhere, self._policy.asked
        failed = sum(self._failed_of.values()) + others
        allowed = self._settings.failures_allowed(portfolios)
        if failed <= allowed:
            return
        elsewhere = f" ({others} of them in other shards)" if others else ""
        msg = (
            f"{failed} of {counted(portfolios, 'portfolio')} failed{elsewhere}; the limit is"
            f" {allowed} (max_failed {self._settings.max_failed}); chunks already committed"
            " are kept"
        )
        entry = policies.entry(self._policy.request.policy)
        every: Counter[str] = Counter()
        for noticed in self._noticed_of.values():
            issues = causes(*noticed, entry.failures_by_day or policies.FAILURES)
            reasons = dict(zip(issues.portfolio.tolist(), issues.name.texts(), strict=True))
            every.update(map(str, reasons.values()))
        for name, count in sorted(every.items(), key=lambda one: (-one[1], one[0]))[:1]:
            msg = f"{msg}; the commonest reason is {name}: {count}"
        if refused:
            msg = f"{msg}; the database refused the last portfolio: {[*refused.values()][-1]}"
        raise TooManyFailedError(msg, failed, allowed)

    async def _is_refusal(self, session: Session, error: DatabaseError, *, by_others: bool) -> bool:
        """Return whether an error concerns a portfolio, and is not a conflict ``by_others``."""
        if error.sqlstate == UNIQUE and by_others:
            return not await is_row_key_violation(session, self.schema, error)
        return is_refusal(error)

    async def _recomputed(self, chunk: Chunk, session: Session) -> ComputedChunk | None:
        """Return a chunk as a run of its portfolios alone would load and compute it."""
        policy = self._policy
        # the issues of its portfolios are in its own list
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
                msg = f"a portfolio was deleted during the run: {error}"
                raise DatabaseError(msg) from error
            works = again.plan.works
            if not works.any():
                return None
            own = Chunk(chunk.number, slice(0, len(works)), works)
            again.begin([own])
            session.phase = "load"
            loaded = await again.load_chunk(session, own)
            prices = await load_prices(readers, again)
        session.phase = "persist"
        async with self._computing:
            computed = await ChunkSteps(again, self._steps.run_id).compute(loaded, prices)
        if computed is None:
            return None
        return replace(computed, chunk=Chunk(chunk.number, chunk.rows, computed.chunk.works))


class Bisection:
    """Writes a chunk part by part, each under a SAVEPOINT, in one transaction.

    A part that is refused is halved; a portfolio that is refused alone is left out. So each costs
    at most two attempts for every halving of the chunk.
    """

    def __init__(
        self,
        writer: ChunkWriter,
        item: ComputedChunk,
        session: Session,
        judge: Judge,
        *,
        checks_deferred: bool,
    ) -> None:
        """Take the test for a refusal, and whether each part checks deferred constraints."""
        self.written: list[Batch] = []  # in the order of their sending
        self.kept: list[NotReplaced] = []
        self.refused: dict[int, str] = {}  # portfolio of the chunk -> who refuses it, and why
        self._writer, self._item, self._session = writer, item, session
        self._judge, self._checks_deferred = judge, checks_deferred
        self._acting: list[Acting] | None = None

    async def write(self, batch: Batch) -> None:
        """Write the part of a chunk that the database accepts."""
        refusal = await self.attempt(batch)
        if refusal is None:
            self.written.append(batch)
        else:
            await self.halve(batch, refusal)

    async def halve(self, batch: Batch, refusal: DatabaseError) -> None:
        """Write the part that the database accepts of a chunk that it refuses as a whole."""
        own = batch.portfolios()
        if len(own) == 0:
            raise refusal
        if len(own) == 1:
            self.refused[int(own[0])] = await self._refusal_text(batch, refusal)
            self._writer.check_failures(self._item, self.refused)
            return
        for half in np.array_split(own, 2):
            kept = np.zeros(int(own[-1]) + 1, dtype=np.bool_)
            kept[half] = True
            await self.write(await asyncio.to_thread(batch.cut, kept))

    async def attempt(self, batch: Batch) -> DatabaseError | None:
        """Write a part, or nothing; return why the database refuses it."""
        session = self._session
        await session.execute("SAVEPOINT batchcore_part")
        try:
            kept = await self._writer.write_rows(session, batch)
            if self._checks_deferred:
                await session.execute(FIRE_DEFERRED)
        except DatabaseError as error:
            if not is_refusal(error):
                raise
            await session.execute(
                "ROLLBACK TO SAVEPOINT batchcore_part; RELEASE SAVEPOINT batchcore_part"
            )
            if not await self._judge(error):
                raise
            return error
        await session.execute("RELEASE SAVEPOINT batchcore_part")
        self.kept += kept
        return None

    async def _refusal_text(self, batch: Batch, refusal: DatabaseError) -> str:
        if self._acting is None:
            tables = list(dict.fromkeys(part.table for part in batch.parts()))
            self._acting = await acting_on(self._session, self._writer.schema, tables)
        return refusal_text(refusal, self._acting)


@contextlib.contextmanager
def stale_snapshot_advice(session: Session) -> Iterator[None]:
    """Add to an error that a caller's transaction is too old to see the commits of others."""
    try:
        yield
    except DatabaseError as error:
        if not (session.consistent and error.sqlstate in {"40001", "23505"}):
            raise
        msg = (
            f"the caller's transaction is {session.isolation.upper()} and cannot see what others"
            f" have committed since it began: roll it back and begin again ({error})"
        )
        raise DatabaseError(msg, error.sqlstate) from error
