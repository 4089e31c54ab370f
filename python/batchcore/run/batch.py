"""Load, compute and persist a run, chunk by chunk; a failure stays in its portfolio."""

from __future__ import annotations

import asyncio
import contextlib
import datetime as dt
import logging
import uuid
from collections import Counter
from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING, Any, Final, Literal, Unpack

import numpy as np

from batchcore import policies
from batchcore.calendar import date_of
from batchcore.errors import (
    ConfigError,
    DatabaseError,
    InternalError,
    LeaseHeldError,
    TooManyFailedError,
)
from batchcore.frames import distinct
from batchcore.late_imports import imported
from batchcore.native import CancelFlag
from batchcore.pg.database import Database
from batchcore.pg.ledger import Ledger, Planned, commit_chunk
from batchcore.pg.session import snapshot, transaction
from batchcore.pg.session_pool import SessionPool
from batchcore.policies.policy import RunContext
from batchcore.run.bisection import Bisection
from batchcore.run.chunk import ChunkSteps, StampClock
from batchcore.run.issues import IssueList, failure_reasons, not_replaced
from batchcore.run.lease import (
    ACQUIRE_IDLE_MS,
    LeaseHolder,
    attempt_briefly,
    question_of,
    with_first_dates,
)
from batchcore.run.lease import PHASE as LEDGER
from batchcore.run.ledger_entry import issue_rows, symbol_issue_rows
from batchcore.run.lock_watch import LockWatch
from batchcore.run.monitor import Monitor, describe, log_result, peak_memory_bytes
from batchcore.run.plan import sessions_behind
from batchcore.run.prepare import inspected, last_closed, load_prices, prepare
from batchcore.run.request import requested
from batchcore.run.result import (
    FAILED,
    SKIPPED,
    BatchResult,
    Coverage,
    PortfolioResults,
    cache_stats,
    joined_differences,
    keep_with,
    status_counts,
)
from batchcore.run.retry import Retries
from batchcore.run.tasks import first_error
from batchcore.sinks.refusal_errors import UNIQUE, is_of_known_key, is_refusal
from batchcore.sinks.snapshots import write_batch
from batchcore.sources.host import Selection
from batchcore.sources.portfolios import lock_portfolios
from batchcore.words import counted

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence

    from batchcore.config import Settings
    from batchcore.db.catalog import Catalog
    from batchcore.frames import Bools, Bytes, Int32, Issues, Kept, Rows
    from batchcore.options import RunKeywords, RunOptions
    from batchcore.pg.ledger import Entry, IssueRows, Lease
    from batchcore.pg.session import Session
    from batchcore.policies.policy import ComputedChunk, Policy, RunPrices
    from batchcore.run.bisection import Judge
    from batchcore.run.plan import Chunk
    from batchcore.run.request import Request
    from batchcore.run.result import Differences
    from batchcore.run.retry import Refusal
    from batchcore.sinks.snapshots import Batch

LEAST_LANES: Final = 2
"""Minimum connections: one reader, one writer; the heartbeat's is extra."""

LANES: Final = 4
"""Default connections, as far as the pool has them; the heartbeat's is extra."""

log: Final = logging.getLogger("batchcore")

TICK_S: Final = 0.5
"""How often `progress` is called during a run."""


async def run_batch(
    db: object,
    start_date: dt.date | Literal["inception"] | None = None,
    end_date: dt.date | None = None,
    portfolio_ids: Iterable[uuid.UUID | str] | None = None,
    *,
    options: RunOptions | None = None,
    **overrides: Unpack[RunKeywords],
) -> BatchResult:
    """Roll portfolios forward over the sessions of a range and write their snapshots.

    Without dates each portfolio continues from the session after its latest complete snapshot
    (without one: the last session only) to the last session closed by now in the calendar's time
    zone. Everything is read from one snapshot of the database. Each chunk of portfolios is one
    transaction: a run that was killed anywhere can simply be run again.

    No other run works on the same portfolios at the same time. A run with the same question that
    ended early is continued, see docs/operations.md: with its own dates, from where its ledger
    ends. If no end was given and there are newer sessions, a run of these follows.

    Args:
        db: A database URL, an `asyncpg.Pool`, or an SQLAlchemy `AsyncEngine` on asyncpg. Five
            connections are taken, or what the pool has left, but no less than three: to read, to
            write, and for the heartbeat.
        start_date: First day of the range, included; a session or not. Without it each portfolio
            continues after its latest complete snapshot, and one without any is valued on the last
            session only. `inception` values that one from its earliest entry on, and under
            ``replace`` all (S1).
        end_date: Last day of the range, included; a session or not. None is the last session
            closed by now.
        portfolio_ids: UUIDs or their text. None is all that are not soft-deleted, an empty list
            none.
        options: The options of the run; None is all defaults.
        **overrides: Options in the place of those: each attribute of `RunOptions` is a keyword.

    Returns:
        The report.

    Raises:
        ConfigError: an argument is wrong, or names a portfolio that does not exist.
        SchemaError: batchcore cannot work on the database.
        CoverageError: the prices of a session have not arrived (S12); nothing was written.
        SnapshotExistsError: ``on_existing="error"`` and there is one; nothing was written.
        LeaseHeldError: another run works on some of the portfolios, also after ``wait``, or took
            over from this one.
        TooManyFailedError: more portfolios failed than `Settings.max_failed`; chunks committed
            before stay.
        DatabaseError: the database refused, failed or went away; chunks committed before stay.
    """
    request = await requested(start_date, end_date, portfolio_ids, options, **overrides)
    return await run_up_to_now(db, request)


async def run_up_to_now(db: object, request: Request) -> BatchResult:
    """Return the report of a run, and of a second one if it had to end before newer sessions."""
    database = Database(db)
    database.require(connections_needed(request.settings))
    run = Run(database, request)
    result = await run.run()
    if not run.is_behind():
        return result
    later = Run(Database(db), replace(request, resume=False))
    later.resumed = result
    return await later.run()


async def run_on_any(db: object, request: Request) -> BatchResult:
    """Return the report of a run on any kind of `db`, the caller's own connections too."""
    database = Database(db, borrow=True)
    database.require(connections_needed(request.settings))
    return await Run(database, request).run()


def connections_needed(settings: Settings) -> int:
    """Return how many connections a run needs at the same time, at least."""
    return 1 if settings.dry_run else (settings.connections or LEAST_LANES) + 1


class Run:
    """One run from its arguments to its report."""

    def __init__(
        self,
        database: Database,
        request: Request,
        *,
        policy: type[Policy] | None = None,
    ) -> None:
        """Take database and request; ``policy`` replaces the class that the request names."""
        self.asked = request
        self.kind = policy or policies.entry(request.policy).load()
        self.resumed: BatchResult | None = None
        self.lease: Lease | None = None
        self.planned: Planned | None = None
        self.failed_of: dict[int, int] = {}
        self.reasons_of: dict[int, Counter[str]] = {}
        self.failed_elsewhere = 0
        self.database = database
        self.request = request
        self.monitor = Monitor(str(uuid.uuid4()))
        self.issues = IssueList()
        self.at = ("load", 0, 0)
        self.rows_written = 0
        self.bytes_written = 0
        self.committed = 0
        self.consistent = True
        self.differences: list[Differences] = []
        self.days_repaired: list[Int32] = [np.zeros(0, dtype=np.int32)]
        self.unwritten: list[Issues] = []
        self.status = np.zeros(0, dtype=np.uint8)
        self.marks = np.zeros(4, dtype=np.int64)
        self.coverage = Coverage.none()
        self.computing = asyncio.Lock()  # native calls take all cores by themselves
        self.waits = LockWatch()
        self.cancel = CancelFlag()
        self.is_planned = False
        self.began = dt.datetime.now(dt.UTC)

    async def run(self) -> BatchResult:
        """Do the run and return its report; `progress` is called meanwhile.

        Whatever ends it early keeps the report until then, see `BatchResult.of_error`.
        """
        try:
            async with asyncio.TaskGroup() as tasks:
                clock = tasks.create_task(self._tick_forever())
                result = await self._run()
                clock.cancel()
        except BaseExceptionGroup as group:
            first = first_error(group)
        except BaseException as error:
            keep_with(error, self._report(error))
            raise
        else:
            return result
        keep_with(first, self._report(first))
        raise first  # outside: the group, which has it, would be its context and not be pickled

    async def _tick_forever(self) -> None:
        while True:
            self._tick()
            await asyncio.sleep(TICK_S)

    def _tick(self) -> None:
        if self.request.progress is not None:
            self.request.progress(*self.at)

    async def _run(self) -> BatchResult:
        with contextlib.suppress(ImportError):
            await imported("opentelemetry.trace")  # for the span
        counts = {"statements": self.database.statements, "bytes": self.database.bytes}
        with self.monitor.span(counts) as span:
            await (self._on_connections() if self.database.owns else self._inside())
            result = self._report()
            describe(span, result)
        log_result(result)
        return result

    async def _on_connections(self) -> None:
        """Read on sessions that share one snapshot, write on others, under a lease."""
        wanted = (self.request.settings.connections or LANES) + 1
        lanes = max(self.database.most(wanted) - 1, LEAST_LANES)
        async with self.database.writing("check") as first:
            if self.request.settings.dry_run:
                await self._on_snapshot(first, lanes, None)
            else:
                await self._under_lease(first, lanes)

    async def _under_lease(self, first: Session, lanes: int) -> None:
        """Take the lease, do the work while a heartbeat prolongs it, and say how it ended."""
        holder = LeaseHolder(self.request, self.monitor.run_id, resume=self.request.resume)
        lease: Lease | None = None
        try:
            while lease is None:
                try:
                    async with (
                        self.waits.before_lease(
                            first, self.database, holder.ledger, self.monitor.run_id
                        ),
                        transaction(first, idle_ms=ACQUIRE_IDLE_MS),
                    ):
                        catalog = await inspected(first, self.request, self.kind)
                        await first.enter(LEDGER)
                        lease = await holder.acquire(first, catalog)
                except LeaseHeldError as held:
                    await holder.wait_for(first, held)
                    await first.enter("check")
            self.lease, self.monitor.run_id = lease, lease.run_id
            self.monitor.step("lease")
            await holder.end_replaced(first)
            await first.enter("check")
            self.request = with_first_dates(self.request, lease)
            if lease.attempt > 1:
                log.info("run=%s attempt=%s resumed=true", lease.run_id, lease.attempt)
            async with asyncio.TaskGroup() as tasks:
                beats = tasks.create_task(holder.beat(self.database, lease, self.waits))
                await self._on_snapshot(first, lanes, catalog)
                beats.cancel()
            failed = int(np.count_nonzero(self.status == FAILED))
            await holder.end(
                first,
                lease,
                "incomplete" if failed else "complete",
                seconds=self.monitor.seconds_by_phase()["total"],
                planned=self.planned,
                failed=failed,
                issues=(self._unwritten_issues(lease), self._symbol_issues(lease)),
                outcome=self._outcome(),
            )
        except BaseException as error:
            if lease is not None:  # committed too, or cancelled on the way there
                await attempt_briefly(
                    lease.run_id, partial(self._stopped, holder, first, lease, error)
                )
            raise
        self.monitor.step("finished")

    def _outcome(self) -> dict[str, Any]:
        """Return what this attempt leaves in the ledger beside its counts."""
        seconds = self.monitor.seconds_by_phase()
        return {
            "seconds_by_phase": {name: round(value, 3) for name, value in seconds.items()},
            "portfolios_by_status": status_counts(self.status),
            "consistent": self.consistent and not (self.is_planned and self.retries.count),
        }

    def _unwritten_issues(self, lease: Lease) -> IssueRows:
        """Return what was noticed of portfolios outside the chunks that were written."""
        ids, refused = self.policy.plan.id, self.policy.refused
        if refused is None:
            refused = np.zeros(len(ids), dtype=np.bool_)
        issues = [(part, 0) for part in (*self.unwritten, *self.steps.unwritten)]
        return issue_rows(lease.run_id, -lease.attempt, ids, refused, issues)

    def _symbol_issues(self, lease: Lease) -> IssueRows:
        """Return what was noticed of symbols by this attempt."""
        return symbol_issue_rows(lease.run_id, lease.attempt, self.issues.finish())

    async def _stopped(
        self, holder: LeaseHolder, first: Session, lease: Lease, error: BaseException
    ) -> None:
        """Enter why a run ends early, on the first connection or, if that is gone, another."""
        if isinstance(error, BaseExceptionGroup):
            error = first_error(error)
        if isinstance(error, LeaseHeldError):
            return
        state, text = _early_end(error)
        end = partial(
            holder.end,
            lease=lease,
            state=state,
            seconds=self.monitor.seconds_by_phase()["total"],
            planned=self.planned,
            error=text,
            outcome=self._outcome(),
        )
        async with contextlib.AsyncExitStack() as stack:
            session = first
            if first.is_gone:
                session = await stack.enter_async_context(self.database.writing(LEDGER))
            try:
                await holder.end_transactions(session, lease)
                await end(session, issues=(self._symbol_issues(lease),))
            except DatabaseError:
                # Where the ledger takes no issues, the lease is given back without them.
                if session.is_gone:
                    raise
                await end(session)

    async def _on_snapshot(self, first: Session, lanes: int, catalog: Catalog | None) -> None:
        reading, writing = lanes // 2, lanes - lanes // 2
        is_entered = self.lease is not None
        async with contextlib.AsyncExitStack() as stack:
            view = partial(snapshot, first, shared=reading > 1, with_view=is_entered)
            await self._see_one_moment(stack, first, view)
            self.monitor.step("snapshot")
            readers, exported = SessionPool(first, around=self.waits.around), first.exported
            if exported is not None:
                others = partial(self.database.same_snapshot, "load", exported)
                await stack.enter_async_context(readers.opening(others, reading - 1))
            if self.lease is not None and self.lease.attempt > 1:
                await first.enter(LEDGER)
                ledger = Ledger(self.request.settings.schema)
                committed = await ledger.committed(first, self.lease.run_id)
                self.request = replace(self.request, committed=committed)
            if self.lease is None:
                await self._ask_the_time(first)
            await self._prepare(readers, catalog)
            self._plan_is_known(first)
            if not self._computes():
                await self._only_notice(readers)
                return
            if self.request.settings.dry_run:
                await self._go_through(readers, readers, reading)
                return
            writers = SessionPool(around=self.waits.around)
            opened = partial(self.database.writing, "persist")
            async with writers.opening(opened, writing):
                await self._go_through(readers, writers, lanes)

    async def _see_one_moment(
        self,
        stack: contextlib.AsyncExitStack,
        first: Session,
        view: Callable[..., contextlib.AbstractAsyncContextManager[None]],
    ) -> None:
        """Read the moment that all shards read; that of now if it shows less than runs did since.

        The lease is held already: no other run writes to these portfolios from here on.
        """
        given = self.request.view
        if given is None:
            await stack.enter_async_context(view())
            return
        try:
            async with contextlib.AsyncExitStack() as shared:
                async with transaction(first):
                    written = await self._entries(first)
                await shared.enter_async_context(view(of=given.exported))
                if await self._entries(first) == written:
                    stack.push_async_exit(shared.pop_all())
                    return
            reason = "it is older than what a run has written to these portfolios"
        except DatabaseError as error:
            if error.sqlstate is None or first.is_gone:
                raise
            reason = str(error)
        log.warning("run=%s snapshot=own reason=%r", self.monitor.run_id, reason)
        self.consistent = False
        self.request = replace(self.request, latest=None)
        await stack.enter_async_context(view())

    async def _entries(self, session: Session) -> object:
        """Return what shows whether another moment is as late for the ledger."""
        await session.enter(LEDGER)
        ledger = Ledger(self.request.settings.schema)
        found = await ledger.entries(session, question_of(self.request))
        await session.enter("check")
        return found

    def _plan_is_known(self, first: Session) -> None:
        days, lease = self.policy.days, self.lease
        if lease is None or first.view is None:
            return
        self.steps.run_id = lease.run_id
        self.planned = Planned(
            view=first.view,
            start=None if days.start is None else date_of(days.start),
            end=date_of(days.end),
            portfolios=len(self.policy.plan.id),
        )
        self.monitor.step("planned")

    def is_behind(self) -> bool:
        """Return whether a run that was continued, or whose group was, ended too early.

        That is before the last session closed.
        """
        lease = self.lease
        if lease is None or lease.moment == lease.began or self.asked.end is not None:
            return False
        asked = replace(self.asked, moment=lease.began)
        return last_closed(asked, self.policy.calendar) > self.policy.days.end

    async def _inside(self) -> None:
        """Do everything on the caller's connection, which alone commits, under one SAVEPOINT."""
        dry = self.request.settings.dry_run
        async with (
            self.database.reading("check") if dry else self.database.changing("check") as session
        ):
            self.consistent = session.consistent
            catalog = await inspected(session, self.request, self.kind)
            if not dry:
                with _begun_too_early(session):
                    own = Selection(self.request.own, shard=self.request.settings.shard)
                    await lock_portfolios(session, catalog, own)
            await self._ask_the_time(session)
            alone = SessionPool(session)
            await self._prepare(alone, catalog)
            if self._computes():
                await self._go_through(alone, alone, 1)
            else:
                await self._only_notice(alone)

    async def _ask_the_time(self, session: Session) -> None:
        """Take "now" from the server's clock, if there is no lease."""
        moment = await session.now()
        self.request = replace(self.request, moment=moment, began=moment)

    async def _prepare(self, readers: SessionPool, catalog: Catalog | None) -> None:
        clock = StampClock(self.request)
        run = RunContext(self.request, self.issues, self.monitor, self.cancel, clock)
        self.policy = await prepare(readers, run, self.kind, catalog)
        self.consistent = self.consistent and not self.policy.catalog.foreign
        self.unwritten = [*self.issues.parts]
        portfolios = len(self.policy.plan.id)
        self.status = np.full(portfolios, SKIPPED, dtype=np.uint8)
        self.written = np.zeros(portfolios, dtype=np.int32)
        self.at = ("load", 0, len(self.policy.chunks))
        if self.policy.refused is not None:
            self.status[self.policy.refused] = FAILED
        self.steps = ChunkSteps(self.policy)
        self.retries = Retries(self.steps, self.computing)
        self.is_planned = True

    def _computes(self) -> bool:
        return not self.request.only_plans and bool(self.policy.plan.works().any())

    async def _only_notice(self, readers: SessionPool) -> None:
        if (prices := await load_prices(readers, self.policy)) is not None:
            self.coverage = prices.coverage
        async with readers.lend("load") as reader:
            self.steps.unwritten += await self.policy.only_notice(reader)

    async def _go_through(self, readers: SessionPool, writers: SessionPool, lanes: int) -> None:
        """Load, compute and write the chunks, as many side by side as there are lanes.

        That bounds what is in memory. Prices are loaded beside the first chunks.
        """
        chunks = iter(self.policy.chunks)
        try:
            async with asyncio.TaskGroup() as tasks:
                prices = tasks.create_task(load_prices(readers, self.policy))
                for _ in range(lanes):
                    tasks.create_task(self._lane(chunks, prices, readers, writers))
        finally:
            self.cancel.set()

    async def _lane(
        self,
        chunks: Iterator[Chunk],
        prices: asyncio.Task[RunPrices | None],
        readers: SessionPool,
        writers: SessionPool,
    ) -> None:
        """Load, compute and write one chunk after the other, whichever is next."""
        for chunk in chunks:
            async with readers.lend("load") as reader:
                loaded = await self.policy.load_chunk(reader, chunk)
            self.monitor.step("loaded", chunk.number)
            if (priced := await prices) is not None:
                self.coverage = priced.coverage
            async with self.computing:
                item = await self.steps.compute(loaded, priced)
            self.monitor.step("computed", chunk.number)
            del loaded
            if item is not None:
                async with writers.lend("persist") as writer:
                    written = await self._persist(item, writer)
                if written is None:
                    self.steps.unwritten += [part for part, _ in item.noticed]
                else:
                    self._count(written)
                del written  # its bytes, before the next chunk is loaded
            del item
            self.at = ("persist", self.at[1] + 1, len(self.policy.chunks))
            self._tick()

    async def _persist(self, item: ComputedChunk, session: Session) -> ComputedChunk | None:
        """Write a chunk; return it as it was written, None if nothing was left to write."""
        if self.request.settings.dry_run:
            return item
        if self.database.owns:
            return await self.retries.write(item, session, self._commit)
        with self.monitor.phase("persist"), _begun_too_early(session):
            return await self._write_inside(item, session)

    def _look_at_failures(self, item: ComputedChunk, refused: Mapping[int, str]) -> None:
        """Refuse to continue after too many failures, before a chunk is written."""
        fails = item.rows.failed.copy()
        fails[list(refused)] = True
        self.failed_of[item.chunk.number] = int(np.count_nonzero(fails))
        names = policies.entry(self.request.policy).failures_by_day or policies.FAILURES
        reasons = failure_reasons(item.rows.issues, item.rows.failed, names)
        self.reasons_of[item.chunk.number] = reasons
        failed = sum(self.failed_of.values()) + self.failed_elsewhere
        portfolios = self.policy.asked
        allowed = self.request.settings.failures_allowed(portfolios)
        if failed > allowed:
            others = self.failed_elsewhere
            elsewhere = f" ({others} of them in other shards)" if others else ""
            msg = (
                f"{failed} of {counted(portfolios, 'portfolio')} failed{elsewhere}; the limit is"
                f" {allowed}"
                f" (max_failed {self.request.settings.max_failed}); chunks already committed"
                " are kept"
            )
            reasons = sum(self.reasons_of.values(), Counter())
            for name, count in sorted(reasons.items(), key=lambda one: (-one[1], one[0]))[:1]:
                msg = f"{msg}; the commonest reason is {name}: {count}"
            if refused:
                msg = f"{msg}; the database refused the last portfolio: {[*refused.values()][-1]}"
            raise TooManyFailedError(msg, failed, allowed)

    async def _commit(
        self, item: ComputedChunk, session: Session, refusal: Refusal | None
    ) -> ComputedChunk:
        """Commit a chunk: all of it, or what the database takes after it refused the whole."""
        lease, planned, (batch,) = self.lease, self.planned, item.batches
        if lease is None or planned is None:
            msg = "a chunk would be committed without a lease"
            raise InternalError(msg)
        schema, written = self.request.settings.schema, item
        step = partial(self.monitor.step, chunk=item.chunk.number)
        count_others = partial(Ledger(schema).failed_elsewhere, session, lease)

        async def write(step: Callable[[str], None]) -> tuple[Entry, Sequence[Kept]]:
            nonlocal written
            self.failed_elsewhere = await count_others()
            if refusal is None:
                self._look_at_failures(item, {})
                written = replace(item, kept=await self._write_batch(session, batch, step))
            else:
                error, judge = refusal
                bisection = self._bisection(item, session, judge)
                await bisection.halve(batch, error)
                written = await self._left_of(item, bisection)
            if written.entry is None:
                msg = "a chunk would be committed without an entry in the ledger"
                raise InternalError(msg)
            return written.entry, written.kept

        if refusal is None:
            self._look_at_failures(item, {})
        await commit_chunk(session, schema, write, lease=lease, planned=planned, step=step)
        self.committed += 1
        return written

    async def _write_inside(self, item: ComputedChunk, session: Session) -> ComputedChunk:
        """Write what the database takes of a chunk, in the caller's transaction."""
        self._look_at_failures(item, {})
        (batch,) = item.batches
        if not batch.snapshots:
            return item

        async def judge(error: DatabaseError) -> bool:
            if error.sqlstate == UNIQUE and session.consistent:
                schema = self.request.settings.schema
                return not await is_of_known_key(session, schema, error)
            return is_refusal(error)

        bisection = self._bisection(item, session, judge)
        await bisection.write(batch)
        self.committed += bool(bisection.written)
        return await self._left_of(item, bisection)

    def _bisection(self, item: ComputedChunk, session: Session, judge: Judge) -> Bisection:
        return Bisection(
            session,
            self.request.settings.schema,
            partial(self._write_batch, session),
            judge=judge,
            count=partial(self._look_at_failures, item),
            settles=self.database.owns,
        )

    async def _left_of(self, item: ComputedChunk, bisection: Bisection) -> ComputedChunk:
        item = replace(item, batches=tuple(bisection.written), kept=bisection.kept)
        return await self.steps.without(item, bisection.refused) if bisection.refused else item

    async def _write_batch(
        self, session: Session, batch: Batch, step: Callable[[str], None] = lambda _: None
    ) -> Sequence[Kept]:
        schema, acting = self.request.settings.schema, self.policy.catalog.acting
        return await write_batch(
            session, schema, batch, self.policy.run.clock.stamp(), step, acting=acting
        )

    def _count(self, item: ComputedChunk) -> None:
        rows, first = item.rows, item.chunk.rows.start
        self.monitor.rows["compute"] += len(rows)
        if not self.request.settings.dry_run:
            tables = sum(table.rows for batch in item.batches for table in batch.tables)
            self.monitor.rows["analytics"] += tables
            self.monitor.rows["persist"] += len(rows) + tables
            self.rows_written += len(rows)
            self.bytes_written += sum(batch.size_bytes for batch in item.batches)
        if item.differences is not None:
            found = item.differences
            self.differences.append(replace(found, portfolio=found.portfolio + np.int32(first)))
            self.days_repaired.append(distinct(rows.day))
        self.marks += rows.marks.sum(axis=0, dtype=np.int64)
        self.written[item.chunk.rows] = rows.written
        works = item.chunk.works & (not self.request.settings.dry_run)
        self.status[item.chunk.rows] = _statuses(rows, works)
        for issues in (rows.issues, *item.issues):
            self.issues.add(issues, first)
        self.issues.add_misses(rows.misses)
        self.issues.add_held(rows.held)
        if item.kept:
            self.issues.add(not_replaced(item.kept, self.policy.plan.id))

    def _report(self, error: BaseException | None = None) -> BatchResult:
        """Return the report, of what was done until then if an error ended the run."""
        planned: dict[str, Any] = self._of_plan() if self.is_planned else dict(UNPLANNED)
        failed = bool((planned["portfolios"].status == FAILED).any())
        state, text = ("incomplete" if failed else "complete"), None
        if error is not None:
            state, text = _early_end(error)
        return BatchResult(
            run_id=self.monitor.run_id,
            policy=self.request.policy,
            dry_run=self.request.settings.dry_run,
            issues=self.issues.finish(),
            shared=self.issues.shared(),
            rows_written=self.rows_written,
            statements_by_phase=dict(self.database.statements),
            seconds_by_phase=self.monitor.seconds_by_phase(),
            rows_by_load=dict(self.monitor.rows_by_load),
            bytes_written=self.bytes_written,
            cache=cache_stats(self.marks),
            peak_memory_bytes=peak_memory_bytes(),
            chunks=self.committed,
            rows_by_phase=dict(self.monitor.rows),
            bytes_by_phase=dict(self.database.bytes),
            analytics=self.request.analytics,
            rounded={name: count for name, count in sorted(self.database.rounded.items()) if count},
            attempt=1 if self.lease is None else self.lease.attempt,
            shard=self.request.settings.shard,
            group=None if self.lease is None else self.lease.group,
            resumed=self.resumed,
            state=state,
            error=text,
            started_at=self.began,
            ended_at=dt.datetime.now(dt.UTC),
            min_coverage=self.request.settings.min_coverage,
            schema=self.request.settings.schema,
            **planned,
        )

    def _of_plan(self) -> dict[str, Any]:
        """Return what a report has once there is a plan."""
        plan, days, policy = self.policy.plan, self.policy.days, self.policy
        left_out = np.zeros(0, dtype=np.int32)
        if days.start is not None:
            left_out = policy.calendar.left_out(days.start, days.end)
        planned, sessions, found = plan.sessions_planned(), plan.sessions[plan.sessions_run()], None
        written, dry_run = self.written, self.request.settings.dry_run
        if self.request.repairs:
            planned, found = written, joined_differences(self.differences)
            sessions = distinct(np.concatenate(self.days_repaired))
        written = np.zeros_like(written) if dry_run else written
        return {
            "portfolios": PortfolioResults(plan.id, self.status, planned, written),
            "sessions": sessions,
            "sessions_left_out": left_out,
            "coverage": self.coverage if len(self.coverage) else policy.coverage,
            "consistent": self.consistent and not self.retries.count,
            "analytics_off": policy.analytics_off,
            "names": policy.names,
            "retries": self.retries.count,
            "differences": found,
            "stamps": policy.stamps,
            "sessions_behind": self._behind(written),
        }

    def _behind(self, written: Int32) -> int | None:
        """Return how many sessions that have closed the portfolio furthest behind lacks."""
        request, calendar = replace(self.asked, moment=self.request.began), self.policy.calendar
        if request.moment is None:
            return None
        try:
            closed = last_closed(request, calendar)
        except ConfigError:  # beyond the calendar, which a run over an earlier range is not
            return None
        return sessions_behind(self.policy.plan, written, calendar, closed)


UNPLANNED: Final[Mapping[str, Any]] = {
    "portfolios": PortfolioResults.none(),
    "sessions": np.zeros(0, dtype=np.int32),
    "sessions_left_out": np.zeros(0, dtype=np.int32),
    "coverage": Coverage.none(),
    "consistent": True,
}
"""What the report of a run has that ended before there was a plan."""


@contextlib.contextmanager
def _begun_too_early(session: Session) -> Iterator[None]:
    """Advise to begin again if a caller's transaction cannot see what others have committed."""
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


def _early_end(error: BaseException) -> tuple[str, str]:
    """Return the state of a run that an error ended, and the text of the error."""
    if isinstance(error, BaseExceptionGroup):
        error = first_error(error)
    state = "failed" if isinstance(error, Exception) else "interrupted"
    return state, f"{type(error).__name__}: {error}".rstrip(": ")


def _statuses(rows: Rows, works: Bools) -> Bytes:
    """Return the worst mark of each portfolio's rows, or that it was skipped or failed."""
    status = np.zeros(len(works), dtype=np.uint8)
    for mark in range(1, 4):
        status[rows.portfolio[rows.marks[:, mark] > 0]] = mark
    status[~works] = SKIPPED
    status[rows.failed] = FAILED
    return status
