"""Load, compute and persist a run, chunk by chunk; a failure stays in its portfolio."""

from __future__ import annotations

import asyncio
import contextlib
import datetime as dt
import logging
import uuid
from collections.abc import Callable, Iterable
from dataclasses import replace
from functools import cached_property, partial
from typing import TYPE_CHECKING, Any, Final, Literal, Unpack

import numpy as np

from batchcore import policies
from batchcore.calendar import date_of
from batchcore.errors import ConfigError, DatabaseError, LeaseHeldError
from batchcore.late_imports import imported
from batchcore.native import CancelFlag
from batchcore.options import RunKeywords, RunOptions  # noqa: TC001  # callers may look at types
from batchcore.pg.database import Database
from batchcore.pg.ledger import IssueRows, Lease, Ledger, Planned, taken_over
from batchcore.pg.session import Session, View, snapshot, transaction
from batchcore.pg.session_pool import SessionPool
from batchcore.policies.policy import Policy, RunContext, RunPrices
from batchcore.run.chunk import stamp_clock, symbol_issue_rows
from batchcore.run.issues import IssueList
from batchcore.run.lanes import ChunkPipeline
from batchcore.run.lease import (
    ACQUIRE_IDLE_MS,
    LeaseHolder,
    LockWatch,
    finish_despite_cancellation,
    run_spec,
    with_original_dates,
)
from batchcore.run.lease import PHASE as LEDGER
from batchcore.run.monitor import Monitor, describe, log_result, peak_memory_bytes
from batchcore.run.plan import sessions_behind
from batchcore.run.prepare import inspected, last_closed, load_prices_beside, prepare
from batchcore.run.request import Request, requested
from batchcore.run.result import FAILED, BatchResult, keep_with, status_counts
from batchcore.run.tasks import first_error, raising_first, task_group
from batchcore.run.writing import stale_snapshot_advice
from batchcore.sources.host import Selection
from batchcore.sources.portfolios import lock_portfolios

if TYPE_CHECKING:
    from batchcore.config import Settings
    from batchcore.db.catalog import Catalog
    from batchcore.frames import Issues

LEAST_LANES: Final = 2
"""Minimum connections: one reader, one writer; the heartbeat's is extra."""

LANES: Final = 4
"""Default connections, if the pool has that many; the heartbeat's is extra."""

log: Final = logging.getLogger("batchcore")

TICK_S: Final = 0.5
"""Seconds between two calls of `progress` during a run."""


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

    No other run works on the same portfolios at the same time. A run of the same call that
    ended early is continued, see docs/operations.md: with its own dates, from where its ledger
    ends. If no end was given and there are newer sessions, a run of these follows.

    Args:
        db: A database URL, an `asyncpg.Pool`, or an SQLAlchemy `AsyncEngine` on asyncpg. It uses
            five connections, or as many as the pool has left, but at least three: one to read, one
            to write, and one for the heartbeat.
        start_date: First day of the range, included; a session or not. Without it each portfolio
            continues after its latest complete snapshot, and one without any is valued on the last
            session only. `inception` values that one from its earliest entry on, and under
            ``replace`` all (S1).
        end_date: Last day of the range, included; a session or not. None is the last session
            closed by now.
        portfolio_ids: UUIDs or their text. None is all that are not soft-deleted, an empty list
            none.
        options: The options of the run; None is all defaults.
        **overrides: Options that override those: each attribute of `RunOptions` is a keyword.

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


async def run_up_to_now(db: object, request: Request, *, borrow: bool = False) -> BatchResult:
    """Return the report of a run, or of the one after it that does newer sessions.

    With ``borrow`` it may be on a connection of the caller's.
    """
    database = Database(db, borrow=borrow)
    database.require(connections_needed(request.settings))
    run = Run(database, request)
    result = await run.run()
    if not run.is_behind():
        return result
    later = Run(Database(db), replace(request, resume=False))
    later.resumed = result
    return await later.run()


def connections_needed(settings: Settings) -> int:
    """Return how many connections a run needs at the same time, at least."""
    return 1 if settings.dry_run else (settings.connections or LEAST_LANES) + 1


class Run:
    """One run from its arguments to its report.

    ``request`` is ``asked`` with what became known since: its dates, what was committed; `resumed`
    is the report of the run that this one follows. `consistent` is whether all loads saw one
    snapshot, apart from chunks written again.
    """

    def __init__(
        self, database: Database, request: Request, *, policy: type[Policy] | None = None
    ) -> None:
        """Take database and request; ``policy`` replaces the class that the request names."""
        self.asked = self.request = request
        self.kind = policy or policies.entry(request.policy).load()
        self.resumed: BatchResult | None = None
        self.lease: Lease | None = None
        self.planned: Planned | None = None
        self.work: ChunkPipeline | None = None
        self.consistent = True
        self._database = database
        self._ledger = Ledger(request.settings.schema)
        self._monitor = Monitor(str(uuid.uuid4()))
        self._issues = IssueList()
        self._waits = LockWatch()
        self._task: asyncio.Task[Any] | None = None  # the task that does the run
        self._progress_error: Exception | None = None  # which cancels the concurrent work
        self._began = dt.datetime.now(dt.UTC)

    async def run(self) -> BatchResult:
        """Do the run and return its report; an error that ends it early carries the report."""
        self._task = asyncio.current_task()
        try:
            return await raising_first(self._run_ticking())
        except BaseException as error:
            keep_with(error, self._report(error))
            raise

    async def _run_ticking(self) -> BatchResult:
        async with task_group() as tasks:
            clock = tasks.create_task(self._tick_forever())
            result = await self._run()
            clock.cancel()
        return result

    async def _tick_forever(self) -> None:
        while True:
            self._tick()
            await asyncio.sleep(TICK_S)

    def _tick(self) -> None:
        if self.request.progress is None:
            return
        try:
            self.request.progress(*(("load", 0, 0) if self.work is None else self.work.at))
        except asyncio.CancelledError as asked:
            if self._task is not None:  # a task group would take it for the end of one task
                self._task.cancel(*asked.args)
        except Exception as error:
            self._progress_error = error
            raise

    async def _run(self) -> BatchResult:
        with contextlib.suppress(ImportError):
            await imported("opentelemetry.trace")  # for the span
        counts = {"statements": self._database.statements, "bytes": self._database.bytes}
        with self._monitor.span(counts) as span:
            own = self._database.owns
            await raising_first(self._on_connections() if own else self._on_caller_connection())
            result = self._report()
            describe(span, result)
        log_result(result)
        return result

    async def _on_connections(self) -> None:
        """Read on sessions that share one snapshot and write on others, under a lease."""
        wanted = (self.request.settings.connections or LANES) + 1
        lanes = max(self._database.most(wanted) - 1, LEAST_LANES)
        async with self._database.writing("check") as first:
            if self.request.settings.dry_run:
                await self._on_snapshot(first, lanes, None)
            else:
                await self._under_lease(first, lanes)

    async def _under_lease(self, first: Session, lanes: int) -> None:
        """Take the lease, do the work while a heartbeat renews it, and record how it ended."""
        monitor, holder = self._monitor, LeaseHolder(self.request, self._monitor.run_id)
        lease: Lease | None = None
        try:
            while lease is None:
                try:
                    async with (
                        self._waits.before_lease(
                            first, self._database, holder.ledger, monitor.run_id
                        ),
                        transaction(first, idle_ms=ACQUIRE_IDLE_MS),
                    ):
                        catalog = await inspected(first, self.request, self.kind)
                        first.phase = LEDGER
                        lease = await holder.acquire(first, catalog)
                except LeaseHeldError as held:
                    await holder.wait_for(first, held)
                    first.phase = "check"
            self.lease, monitor.run_id = lease, lease.run_id
            monitor.step("lease")
            await holder.end_replaced(first)
            first.phase = "check"
            self.request = with_original_dates(self.request, lease)
            if lease.attempt > 1:
                log.info("run=%s attempt=%s resumed=true", lease.run_id, lease.attempt)
            async with task_group() as tasks:
                beats = tasks.create_task(holder.beat(self._database, lease, self._waits))
                work = await self._on_snapshot(first, lanes, catalog)
                beats.cancel()
            failed = int(np.count_nonzero(work.status == FAILED))
            await self._record_end(
                first,
                lease,
                "incomplete" if failed else "complete",
                work.steps.unwritten_issues(lease.run_id, lease.attempt),
                symbol_issue_rows(lease.run_id, lease.attempt, self._all_issues),
                failed=failed,
            )
        except BaseException as error:
            if lease is not None:  # committed too, or cancelled on the way there
                await finish_despite_cancellation(
                    lease.run_id, partial(self._record_early_end, first, lease, error)
                )
            raise
        monitor.step("finished")

    async def _record_end(
        self,
        session: Session,
        lease: Lease,
        state: str,
        *issues: IssueRows,
        failed: int | None = None,
        error: str | None = None,
    ) -> None:
        """Record in the ledger how the run has ended, with the issues that are in no chunk."""
        session.phase = LEDGER
        seconds, work = self._monitor.seconds_by_phase(), self.work
        some = [one for one in issues if one.rows]
        # Without issues one statement ends a run, in a transaction of its own.
        around = self._ledger.fenced(session, lease) if some else contextlib.nullcontext()
        async with around:
            for one in some:
                await self._ledger.record_issues(session, one)
            is_own = await self._ledger.finish(
                session,
                lease,
                state,
                seconds=seconds["total"],
                ledger_days=self.request.settings.ledger_days,
                planned=self.planned,
                failed=failed,
                error=error,
                outcome={
                    "seconds_by_phase": {name: round(value, 3) for name, value in seconds.items()},
                    "portfolios_by_status": {} if work is None else status_counts(work.status),
                    "consistent": self._is_consistent,
                },
            )
            if not is_own:
                raise taken_over(lease)

    @property
    def _is_consistent(self) -> bool:
        return self.consistent and not (self.work is not None and self.work.writer.retries)

    @cached_property
    def _all_issues(self) -> Issues:
        """The issues of the run, once its work has ended, for the ledger and the report."""
        return self._issues.finish()

    async def _record_early_end(self, first: Session, lease: Lease, error: BaseException) -> None:
        """Record why a run ends early, on the first connection or, if that is lost, on another."""
        error = self._progress_error or first_error(error)
        if isinstance(error, LeaseHeldError):
            return
        state, text = _state_and_error(error)
        async with contextlib.AsyncExitStack() as stack:
            session = first
            if first.is_gone:
                session = await stack.enter_async_context(self._database.writing(LEDGER))
            try:
                # The server ignores a request to cancel a statement that comes before the
                # statement, and a process that waits for a lock does not see that its client
                # has gone.
                session.phase = LEDGER
                await self._ledger.end_transactions(session, [lease.token])
                issues = symbol_issue_rows(lease.run_id, lease.attempt, self._all_issues)
                await self._record_end(session, lease, state, issues, error=text)
            except DatabaseError:
                # If the ledger cannot store issues, or its encoding lacks a character of the text,
                # the lease is given back without them.
                if session.is_gone:
                    raise
                text = text.encode("ascii", "backslashreplace").decode()
                await self._record_end(session, lease, state, error=text)

    async def _on_snapshot(
        self, first: Session, lanes: int, catalog: Catalog | None
    ) -> ChunkPipeline:
        reading, writing = lanes // 2, lanes - lanes // 2
        lease, holds = self.lease, partial(self._waits.around, holds=True)
        async with contextlib.AsyncExitStack() as stack:
            tables = None if catalog is None else catalog.tables_of(self.kind.uses(self.request))
            view = partial(snapshot, first, shared=reading > 1, tables=tables)
            with holds(first):
                await self._open_snapshot(stack, first, view)
            self._monitor.step("snapshot")
            if catalog is None:
                catalog = await inspected(first, self.request, self.kind)
            readers, exported = SessionPool(first, around=holds), first.exported
            if exported is not None:
                others = partial(self._database.snapshot, "load", of=exported)
                await stack.enter_async_context(readers.opening(others, reading - 1))
            if lease is None:
                await self._read_server_time(first)
            elif lease.attempt > 1:
                first.phase = LEDGER
                committed = await self._ledger.committed(first, lease.run_id)
                self.request = replace(self.request, committed=committed)
            async with task_group() as tasks:
                prices, planned = None, asyncio.get_running_loop().create_future()
                request = self.request
                if exported is not None and request.wanted is None and not request.only_rewrites:
                    # else the plan knows first whose symbols they are
                    beside = load_prices_beside(readers, self._monitor, catalog, planned)
                    prices = tasks.create_task(beside)
                work = await self._prepare(readers, catalog, first.view, prices)
                planned.set_result(work.policy)
                if not work.computes:
                    await work.report_plan(readers)
                elif lease is None:
                    await work.run(readers, readers, reading)
                else:
                    writers = SessionPool(around=self._waits.around)
                    opened = partial(self._database.writing, "persist")
                    async with writers.opening(opened, writing):
                        await work.run(readers, writers, lanes)
            return work

    async def _open_snapshot(
        self,
        stack: contextlib.AsyncExitStack,
        first: Session,
        view: Callable[..., contextlib.AbstractAsyncContextManager[None]],
    ) -> None:
        """Open the snapshot that all shards share; one of its own if runs have committed since."""
        # The lease is held already: no other run writes to these portfolios from here on.
        given = self.request.view
        if given is None:
            await stack.enter_async_context(view())
            return
        try:
            async with contextlib.AsyncExitStack() as shared:
                async with transaction(first):
                    written = await self._commit_state(first)
                await shared.enter_async_context(view(of=given.exported))
                if await self._commit_state(first) == written:
                    stack.push_async_exit(shared.pop_all())
                    return
            reason = "it is older than what a run has written to these portfolios"
        except DatabaseError as error:
            if error.sqlstate is None or first.is_gone:
                raise
            reason = str(error)
        log.warning("run=%s snapshot=own reason=%r", self._monitor.run_id, reason)
        self.consistent = False
        self.request = replace(self.request, latest=None)
        await stack.enter_async_context(view())

    async def _commit_state(self, session: Session) -> object:
        """Return the commits of the ledger, to compare one snapshot with another."""
        session.phase = LEDGER
        found = await self._ledger.commit_state(session, run_spec(self.request))
        session.phase = "check"
        return found

    async def _on_caller_connection(self) -> None:
        """Do everything on the caller's connection, under a SAVEPOINT; only the caller commits."""
        dry = self.request.settings.dry_run
        async with (
            self._database.reading("check") if dry else self._database.changing("check") as session
        ):
            self.consistent = session.consistent
            catalog = await inspected(session, self.request, self.kind)
            if not dry:
                with stale_snapshot_advice(session):
                    own = Selection(self.request.own, shard=self.request.settings.shard)
                    await lock_portfolios(session, catalog, own)
            await self._read_server_time(session)
            alone = SessionPool(session)
            work = await self._prepare(alone, catalog)
            if work.computes:
                await work.run(alone, alone, 1)
            else:
                await work.report_plan(alone)

    async def _read_server_time(self, session: Session) -> None:
        """Take "now" from the server's clock, if there is no lease."""
        moment = await session.now()
        self.request = replace(self.request, moment=moment, began=moment)

    async def _prepare(
        self,
        readers: SessionPool,
        catalog: Catalog,
        view: View | None = None,
        prices: asyncio.Task[RunPrices | None] | None = None,
    ) -> ChunkPipeline:
        """Make the plan, and record it in the ledger."""
        request, lease, own = self.request, self.lease, None
        run = RunContext(request, self._issues, self._monitor, CancelFlag(), stamp_clock(request))
        policy = await prepare(readers, run, self.kind, catalog)
        self.consistent = self.consistent and not policy.catalog.foreign
        if lease is not None and view is not None:
            self.planned = Planned(
                view=view,
                start=None if policy.days.start is None else date_of(policy.days.start),
                end=date_of(policy.days.end),
                portfolios=len(policy.plan.id),
            )
            own = lease, self.planned
            self._monitor.step("planned")
        self.work = ChunkPipeline(policy, own, self._tick, prices)
        return self.work

    def is_behind(self) -> bool:
        """Return whether a run continued, or its group, ended before the last session closed."""
        lease, work = self.lease, self.work
        if lease is None or work is None or lease.moment == lease.began:
            return False
        return self.asked.end is None and self._last_closed(work) > work.policy.days.end

    def _last_closed(self, work: ChunkPipeline) -> int:
        """Return the last session that had closed when this attempt began."""
        return last_closed(replace(self.asked, moment=self.request.began), work.policy.calendar)

    def _behind(self, work: ChunkPipeline) -> int | None:
        """Return the number of closed sessions that the portfolio furthest behind lacks."""
        if self.request.began is None:
            return None
        try:
            closed = self._last_closed(work)
        except ConfigError:  # beyond the calendar, as a run over an earlier range need not be
            return None
        policy, written = work.policy, work.written
        if self.request.settings.dry_run:
            written = np.zeros_like(written)
        return sessions_behind(policy.plan, written, policy.calendar, closed)

    def _report(self, error: BaseException | None = None) -> BatchResult:
        """Return the report; if an error ended the run, of the work done until then."""
        request, lease, work = self.request, self.lease, self.work
        done: dict[str, Any] = {}
        state, text = "complete", None
        if work is not None:
            done = work.report() | {"sessions_behind": self._behind(work)}
            state = "incomplete" if (work.status == FAILED).any() else "complete"
        if error is not None:
            state, text = _state_and_error(error)
        return BatchResult(
            run_id=self._monitor.run_id,
            policy=request.policy,
            dry_run=request.settings.dry_run,
            issues=self._all_issues,
            shared=self._issues.shared,
            statements_by_phase=dict(self._database.statements),
            seconds_by_phase=self._monitor.seconds_by_phase(),
            rows_by_load=dict(self._monitor.rows_by_load),
            peak_memory_bytes=peak_memory_bytes(),
            consistent=work is None or self._is_consistent,
            rows_by_phase=dict(self._monitor.rows),
            bytes_by_phase=dict(self._database.bytes),
            analytics=request.analytics,
            rounded={
                name: count for name, count in sorted(self._database.rounded.items()) if count
            },
            attempt=1 if lease is None else lease.attempt,
            shard=request.settings.shard,
            group=None if lease is None else lease.group,
            resumed=self.resumed,
            state=state,
            error=text,
            started_at=self._began,
            ended_at=dt.datetime.now(dt.UTC),
            min_coverage=request.settings.min_coverage,
            schema=request.settings.schema,
            **done,
        )


def _state_and_error(error: BaseException) -> tuple[str, str]:
    """Return the state of a run that an error ended, and the text of the error in valid UTF-8."""
    state = "failed" if isinstance(error, Exception) else "interrupted"
    text = f"{type(error).__name__}: {error}".rstrip(": ").replace("\0", "\\x00")
    return state, text.encode(errors="backslashreplace").decode()
