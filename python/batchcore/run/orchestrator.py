"""Load, compute and persist a run, chunk by chunk; a failure stays in its portfolio."""

from __future__ import annotations

import asyncio
import contextlib
import datetime as dt
import logging
import os
import sys
import time
import uuid
from collections import Counter
from dataclasses import dataclass, field
from functools import partial
from typing import TYPE_CHECKING, Any, Final

import numpy as np

from batchcore import calendar as calendars
from batchcore.config import ON_EXISTING, POLICIES, Settings
from batchcore.db import load as loads
from batchcore.db.catalog import check_revision, check_run, inspect
from batchcore.db.engine import Database, driver_errors
from batchcore.db.ledger import commit_chunk
from batchcore.db.queries import Queries, Selection
from batchcore.db.save import Batch, Equities, Stamp, encode_batch, stands_already
from batchcore.errors import ConfigError, CoverageError
from batchcore.native import CancelFlag, build_market, roll_forward, store_snapshots
from batchcore.run import plan as plans
from batchcore.run.issues import IssueList, without_close
from batchcore.run.result import (
    FAILED,
    SKIPPED,
    BatchResult,
    Coverage,
    PortfolioResults,
    cache_stats,
)
from batchcore.units import CENTS

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    import numpy.typing as npt

    from batchcore.calendar import Calendar
    from batchcore.db.engine import Session
    from batchcore.db.load import Existing
    from batchcore.frames import Events, Flows, Positions, Rows, Text
    from batchcore.native import Market
    from batchcore.run.plan import Chunk, Plan, Range

    Progress = Callable[[str, int, int], object]

log = logging.getLogger("batchcore")

QUEUED_CHUNKS: Final = 1
"""Chunks that wait between two stages; more would only take memory."""

CONNECTIONS: Final = 2
"""What a run takes at a time: one to read its snapshot on, one to write."""

TICK_S: Final = 0.5
"""How often `progress` is called while work goes on."""


async def run_batch(
    db: object,
    start_date: dt.date | None = None,
    end_date: dt.date | None = None,
    portfolio_ids: Sequence[uuid.UUID | str] | None = None,
    *,
    policy: str = "rollforward",
    calendar: str = "XNYS",
    on_existing: str = "skip",
    settings: Settings | None = None,
    progress: Progress | None = None,
) -> BatchResult:
    """Roll portfolios forward over the sessions of a range and write their snapshots.

    Without dates each portfolio goes on from the session after its latest complete snapshot
    (without one: the last session only) to the last session closed by now in the calendar's time
    zone. Everything is read from one snapshot of the database. A chunk of portfolios is one
    transaction: killed anywhere, a run can simply be run again.

    Args:
        db: A database URL, an `asyncpg.Pool`, or an SQLAlchemy `AsyncEngine` on asyncpg. Two
            connections are taken.
        start_date: First day of the range, included; a session or not.
        end_date: Last day of the range, included; a session or not.
        portfolio_ids: Which portfolios; None is all that are not soft-deleted, an empty one none.
        policy: What the figures mean: `rollforward`, docs/semantics.md.
        calendar: `XNYS`, `daily`, `prices` or a code of exchange_calendars (S1).
        on_existing: What becomes of complete snapshots in the range: `skip`, `replace`, `error`
            (S13).
        settings: Everything else.
        progress: Called with phase, chunks done and chunks in all, at least once a second while
            work goes on.

    Returns:
        The report.

    Raises:
        ConfigError: an argument is wrong, or names a portfolio that is not there.
        SchemaError: the database is not one that batchcore can work on.
        CoverageError: the prices of a session have not arrived (S12); nothing was written.
        SnapshotExistsError: ``on_existing="error"`` and there is one; nothing was written.
        DatabaseError: the database refused, failed or went away; chunks committed before stand.
    """
    settings = settings or Settings()
    _check("policy", policy, POLICIES)
    _check("on_existing", on_existing, ON_EXISTING)
    for option, date in (("start", start_date), ("end", end_date)):
        if date is not None and type(date) is not dt.date:
            msg = f"{option} is {date!r}, expected a datetime.date"
            raise ConfigError(msg, option)
    if start_date is not None and end_date is not None and start_date > end_date:
        msg = f"start {start_date.isoformat()} is after end {end_date.isoformat()}"
        raise ConfigError(msg, "start")
    database = Database(db)
    database.require(1 if settings.dry_run else CONNECTIONS)
    run = _Run(
        database=database,
        settings=settings,
        policy=policy,
        on_existing=on_existing,
        wanted=None if portfolio_ids is None else _uuids(portfolio_ids),
        known_calendar=None if calendar == calendars.PRICES else calendars.load(calendar),
        progress=progress,
    )
    if progress is None:
        return await run.run(start_date, end_date)
    return await run.run_and_tick(start_date, end_date)


def _check(option: str, value: str, known: tuple[str, ...]) -> None:
    if value not in known:
        msg = f"unknown {option} `{value}`, expected one of {', '.join(known)}"
        raise ConfigError(msg, option)


def _uuids(ids: Sequence[uuid.UUID | str]) -> npt.NDArray[np.uint8]:
    found: set[bytes] = set()
    for given in ids:
        try:
            found.add((given if isinstance(given, uuid.UUID) else uuid.UUID(given)).bytes)
        except (ValueError, AttributeError, TypeError) as error:
            msg = f"portfolio id {given!r} is no UUID"
            raise ConfigError(msg, "portfolio_ids") from error
    return np.frombuffer(b"".join(sorted(found)), dtype=np.uint8).reshape(-1, 16)


@dataclass(frozen=True, eq=False, slots=True)
class _Holdings:
    """What a chunk with anything to write is computed from."""

    positions: Positions
    events: Events
    flows: Flows


@dataclass(frozen=True, eq=False, slots=True)
class _Loaded:
    """A chunk that waits to be computed; without holdings there is nothing to write."""

    chunk: Chunk
    existing: Existing
    holdings: _Holdings | None


@dataclass(frozen=True, eq=False, slots=True)
class _Computed:
    """A chunk that waits to be written."""

    chunk: Chunk
    batch: Batch
    rows: Rows


@dataclass(eq=False)
class _Run:
    """One run from its arguments to its report."""

    database: Database
    settings: Settings
    policy: str
    on_existing: str
    wanted: npt.NDArray[np.uint8] | None
    known_calendar: Calendar | None
    progress: Progress | None
    run_id: str = field(default_factory=lambda: str(uuid.uuid4()))
    issues: IssueList = field(default_factory=IssueList)
    seconds: dict[str, float] = field(
        default_factory=lambda: dict.fromkeys(("load", "compute", "analytics", "persist"), 0.0)
    )
    rows_by_load: Counter[str] = field(default_factory=Counter)
    marks: npt.NDArray[np.int64] = field(default_factory=lambda: np.zeros(4, dtype=np.int64))
    cancel: CancelFlag = field(default_factory=CancelFlag)
    at: tuple[str, int, int] = ("load", 0, 0)
    rows_written: int = 0
    bytes_written: int = 0
    committed: int = 0

    async def run(self, start: dt.date | None, end: dt.date | None) -> BatchResult:
        began = time.perf_counter()
        self.started_us = time.time_ns() // 1000
        async with self.database.snapshot("check") as reader:
            with self._phase("load"):
                await self._prepare(reader, start, end)
            if self.settings.dry_run or not self._has_work():
                await self._only_notice(reader)
            else:
                await self._stages(reader)
        self.seconds["total"] = time.perf_counter() - began
        return self._report()

    async def _prepare(self, reader: Session, start: dt.date | None, end: dt.date | None) -> None:
        """Load what all chunks share, plan, and refuse what must not begin."""
        with driver_errors():
            catalog = await inspect(reader.raw, self.settings.schema)
            check_run(catalog, writes=not self.settings.dry_run)
            await check_revision(reader.raw, catalog)
        self.queries = queries = Queries(catalog)
        await reader.enter("load")
        self.calendar = await self._calendar(reader)
        self.days = self._range(start, end)
        selection = Selection(self.wanted)
        portfolios = await loads.load_portfolios(
            reader, queries, self.calendar, self.days.boundary, selection
        )
        if self.wanted is not None:
            plans.check_found(self.wanted, portfolios.id)
            selection = Selection(np.ascontiguousarray(portfolios.id[~portfolios.deleted]))
        for row in np.flatnonzero(portfolios.deleted).tolist():
            self.issues.add_one("soft_deleted", row, "")
        self.plan = plans.make_plan(portfolios, self.calendar, self.days, self.on_existing)
        self.status = np.full(len(self.plan.id), SKIPPED, dtype=np.uint8)
        self.written = np.zeros(len(self.plan.id), dtype=np.int32)
        self.coverage = _no_coverage()
        self.chunks = plans.chunks(self.plan, self.settings.chunk_size)
        self.at = ("load", 0, len(self.chunks))
        if self._has_work():
            await self._load_market(reader, selection)

    async def _calendar(self, reader: Session) -> Calendar:
        if self.known_calendar is not None:
            return self.known_calendar
        return calendars.from_price_dates(await loads.load_price_dates(reader, self.queries))

    def _range(self, start: dt.date | None, end: dt.date | None) -> Range:
        last = self._last_closed() if end is None else calendars.day_of(end)
        first = None if start is None else calendars.day_of(start)
        if first is not None and first > last:
            msg = (
                f"start {calendars.date_of(first)} is after the last session closed,"
                f" {calendars.date_of(last)}"
            )
            raise ConfigError(msg, "start")
        if first is None:
            last = self.calendar.last_on_or_before(last)
        else:
            self.calendar.sessions(first, last)  # raises beyond the calendar
        return plans.Range(first, last)

    def _last_closed(self) -> int:
        if self.settings.today is None:
            return self.calendar.last_closed(dt.datetime.now(dt.UTC))
        return self.calendar.last_on_or_before(calendars.day_of(self.settings.today))

    def _has_work(self) -> bool:
        return bool(self.plan.works().any())

    async def _load_market(self, reader: Session, selection: Selection) -> None:
        plan, lookback = self.plan, self.settings.lookback_days
        symbols = await loads.load_symbols(reader, self.queries, selection)
        first = max(plan.price_first - lookback, calendars.FIRST_DATE)
        prices = await loads.load_prices(reader, self.queries, symbols, first, plan.price_last)
        self.rows_by_load.update(portfolios=len(plan.id), symbols=len(symbols), prices=len(prices))
        self.market: Market = await asyncio.to_thread(
            build_market,
            prices,
            plan.sessions,
            policy=self.policy,
            lookback_days=lookback,
        )
        self.issues.add(self.market.issues)
        if self.settings.dry_run:
            self.issues.add(without_close(symbols, prices))
        self.previous = store_snapshots(plan.previous)
        await self._check_coverage(reader, symbols)

    async def _check_coverage(self, reader: Session, symbols: Text) -> None:
        """Refuse sessions whose prices have not arrived (S12)."""
        fresh, recent = self.market.coverage(symbols)
        checked = self.plan.sessions_run()
        if self.calendar.code == calendars.DAILY:
            priced = await loads.load_price_dates(reader, self.queries)
            checked = checked & np.isin(self.plan.sessions, priced)
        self.coverage = Coverage(self.plan.sessions[checked], fresh[checked], recent[checked])
        share = self.coverage.share()
        low = np.flatnonzero(share < self.settings.min_coverage)
        if len(low) == 0 or self.settings.dry_run:
            return
        row = int(low[0])
        session = calendars.date_of(int(self.coverage.session[row])).isoformat()
        least = self.settings.min_coverage
        msg = (
            f"prices of {session} have not arrived: {int(self.coverage.fresh[row])} of"
            f" {int(self.coverage.recent[row])} symbols have a close, {float(share[row]):.1%},"
            f" expected {least:.1%} (min_coverage); {len(low)} sessions are below it"
        )
        raise CoverageError(msg, session, float(share[row]), least)

    async def _only_notice(self, reader: Session) -> None:
        """Report what was skipped, where there is nothing to write."""
        for chunk in self.chunks:
            existing = await self._load_existing(reader, chunk)
            self._notice(chunk, existing)

    async def _stages(self, reader: Session) -> None:
        """Load, compute and persist at the same time, each chunk after the other."""
        loaded: asyncio.Queue[_Loaded | None] = asyncio.Queue(QUEUED_CHUNKS)
        computed: asyncio.Queue[_Computed | None] = asyncio.Queue(QUEUED_CHUNKS)
        try:
            async with asyncio.TaskGroup() as stages:
                stages.create_task(self._load(reader, loaded))
                stages.create_task(self._compute(loaded, computed))
                stages.create_task(self._persist(computed))
        except BaseExceptionGroup as group:
            raise _first(group) from group
        finally:
            self.cancel.set()

    async def _load(self, reader: Session, loaded: asyncio.Queue[_Loaded | None]) -> None:
        for chunk in self.chunks:
            with self._phase("load"):
                item = await self._load_chunk(reader, chunk)
            await loaded.put(item)
        await loaded.put(None)

    async def _load_existing(self, reader: Session, chunk: Chunk) -> Existing:
        first, last = self._existing_window(chunk)
        selection = self._selection(chunk, None)
        return await loads.load_existing(
            reader, self.queries, self.calendar, selection, first, last
        )

    def _existing_window(self, chunk: Chunk) -> tuple[int, int]:
        rows, works = chunk.rows, chunk.works
        first = self.days.end if self.days.start is None else self.days.start
        last = self.days.end
        if works.any():
            first = min(first, int(self.plan.first_day[rows][works].min()))
            last = max(last, int(self.plan.last_day[rows][works].max()))
        return first, last

    async def _load_chunk(self, reader: Session, chunk: Chunk) -> _Loaded:
        existing = await self._load_existing(reader, chunk)
        self.rows_by_load["existing"] += len(existing.day)
        if not chunk.works.any():
            return _Loaded(chunk, existing, None)
        selection = self._selection(chunk, chunk.works)
        positions = await loads.load_positions(reader, self.queries, selection)
        events = await loads.load_events(reader, self.queries, selection)
        flows = await loads.load_flows(reader, self.queries, selection, *self._flow_window(chunk))
        self.rows_by_load.update(positions=len(positions), events=len(events), flows=len(flows))
        return _Loaded(chunk, existing, _Holdings(positions, events, flows))

    def _flow_window(self, chunk: Chunk) -> tuple[int, int]:
        """Return the days of all flows that S5 and S7 read."""
        rows, works = chunk.rows, chunk.works
        first = min(self.plan.price_first, int(self.plan.first_day[rows][works].min()))
        last = int(self.plan.last_day[rows][works].max())
        earliest = self.plan.opening.earliest_day
        given = earliest.state[rows] == 0
        if given.any():
            last = max(last, int(earliest.values[rows][given].max()))
        return first, last

    def _selection(self, chunk: Chunk, works: npt.NDArray[np.bool_] | None) -> Selection:
        """Return a range of ids where it brings little more than what is needed."""
        ids = self.plan.id[chunk.rows]
        if works is not None and works.sum() * 2 < len(works):
            return Selection(np.ascontiguousarray(ids[works]))
        return Selection(ids, as_range=self.wanted is None)

    async def _compute(
        self,
        loaded: asyncio.Queue[_Loaded | None],
        computed: asyncio.Queue[_Computed | None],
    ) -> None:
        while (item := await loaded.get()) is not None:
            self._notice(item.chunk, item.existing)
            if item.holdings is None:
                self._done()
                continue
            with self._phase("compute"):
                work = partial(self._computed, item.chunk, item.existing, item.holdings)
                result = await self._in_thread(work)
            await computed.put(result)
        await computed.put(None)

    async def _in_thread(self, work: Callable[[], _Computed]) -> _Computed:
        """Run native work beside the loop; a cancelled task waits for it to see the flag."""
        task = asyncio.ensure_future(asyncio.to_thread(work))
        try:
            return await asyncio.shield(task)
        except asyncio.CancelledError:
            self.cancel.set()
            await asyncio.wait([task])
            task.exception()
            raise

    def _computed(self, chunk: Chunk, existing: Existing, holdings: _Holdings) -> _Computed:
        """Compute and encode one chunk: a pure function of its frames."""
        plan, rows_of_plan = self.plan, chunk.rows
        opening = plans.chunk_opening(plan.opening, rows_of_plan)
        rows = roll_forward(
            self.market,
            positions=holdings.positions,
            events=holdings.events,
            flows=holdings.flows,
            previous=self.previous,
            opening=opening,
            threads=self.settings.threads,
            cancel=self.cancel,
        )
        ids = opening.portfolio_id
        stands = stands_already(rows, ids, existing.portfolio_id, existing.day)
        equities = _equities(rows, ids, plan, rows_of_plan)
        batch = encode_batch(rows, ids, stands, equities, self._stamp())
        return _Computed(chunk, batch, rows)

    def _stamp(self) -> Stamp:
        return Stamp(self.started_us, time.time_ns() // 1_000_000, os.urandom(16))

    async def _persist(self, computed: asyncio.Queue[_Computed | None]) -> None:
        async with contextlib.AsyncExitStack() as stack:
            writer: Session | None = None
            while (item := await computed.get()) is not None:
                if writer is None:
                    writer = await stack.enter_async_context(self.database.writing("persist"))
                with self._phase("persist"):
                    if item.batch.new_rows or item.batch.replaced_rows:
                        await commit_chunk(writer, self.settings.schema, item.batch, self._stamp())
                        self.committed += 1
                self._count(item)

    def _count(self, item: _Computed) -> None:
        rows, first = item.rows, item.chunk.rows.start
        self.rows_written += len(rows)
        self.bytes_written += item.batch.size_bytes
        self.marks += rows.marks.sum(axis=0, dtype=np.int64)
        self.written[item.chunk.rows] = rows.written
        self.status[item.chunk.rows] = _statuses(rows, item.chunk.works)
        self.issues.add_rows(rows, first)
        self._done()

    def _done(self) -> None:
        """Tell that one more chunk is through, whether it had anything to write or not."""
        self.at = ("persist", self.at[1] + 1, len(self.chunks))
        self._tick()

    def _notice(self, chunk: Chunk, existing: Existing) -> None:
        first = chunk.rows.start
        portfolio = loads.located(existing.portfolio_id, self.plan.id[chunk.rows])
        portfolio[self.plan.deleted[chunk.rows][portfolio]] = -1  # of -1, whatever it picks, too
        window = self._own_window(chunk)
        noticed = plans.off_session(existing, portfolio, self.calendar, window)
        self.issues.add_noticed("off_session", noticed, first, "dates")
        if self.on_existing == "skip" and self.days.start is not None:
            sessions = self.calendar.sessions(self.days.start, self.days.end)
            latest = loads.taken(self.plan.latest_day, np.arange(len(self.plan.id))[chunk.rows])
            missing = plans.gaps(existing, portfolio, latest, sessions)
            self.issues.add_noticed("gap", missing, first, "sessions")

    def _own_window(self, chunk: Chunk) -> tuple[npt.NDArray[np.int32], npt.NDArray[np.int32]]:
        """Return first and last day of each portfolio's range, and what it writes beyond it."""
        first, last = self.plan.first_day[chunk.rows], self.plan.last_day[chunk.rows]
        if self.days.start is not None:
            first = np.full_like(first, self.days.start)
        return first, np.where(chunk.works, np.maximum(last, self.days.end), self.days.end)

    @contextlib.contextmanager
    def _phase(self, phase: str) -> Iterator[None]:
        began = time.perf_counter()
        try:
            yield
        finally:
            self.seconds[phase] += time.perf_counter() - began

    def _tick(self) -> None:
        if self.progress is not None:
            self.progress(*self.at)

    async def run_and_tick(self, start: dt.date | None, end: dt.date | None) -> BatchResult:
        """Run, and call `progress` again and again; what it raises ends the run."""
        work = asyncio.create_task(self.run(start, end))
        clock = asyncio.create_task(self._tick_forever())
        both = {work, clock}
        try:
            await asyncio.wait(both, return_when=asyncio.FIRST_COMPLETED)
        finally:
            for task in both:
                task.cancel()  # does nothing to the one that is done
            await asyncio.gather(*both, return_exceptions=True)
        if not clock.cancelled():
            clock.result()
        return work.result()

    async def _tick_forever(self) -> None:
        while True:
            self._tick()
            await asyncio.sleep(TICK_S)

    def _report(self) -> BatchResult:
        left_out = np.zeros(0, dtype=np.int32)
        if self.days.start is not None:
            left_out = self.calendar.left_out(self.days.start, self.days.end)
        result = BatchResult(
            run_id=self.run_id,
            policy=self.policy,
            dry_run=self.settings.dry_run,
            portfolios=PortfolioResults(
                self.plan.id, self.status, self.plan.sessions_planned(), self.written
            ),
            issues=self.issues.finish(),
            sessions=self.plan.sessions[self.plan.sessions_run()],
            sessions_left_out=left_out,
            rows_written=self.rows_written,
            statements_by_phase=dict(self.database.statements),
            seconds_by_phase=dict(self.seconds),
            rows_by_load=dict(self.rows_by_load),
            bytes_written=self.bytes_written,
            cache=cache_stats(self.marks),
            coverage=self.coverage,
            peak_memory_bytes=peak_memory_bytes(),
            consistent=True,
            chunks=self.committed,
        )
        _log(result)
        return result


def _first(group: BaseExceptionGroup[Any]) -> BaseException:
    """Return the error that stopped the stages; the others are what it cancelled."""
    error: BaseException = group
    while isinstance(error, BaseExceptionGroup):
        error = error.exceptions[0]
    return error


def _no_coverage() -> Coverage:
    none = np.zeros(0, dtype=np.uint32)
    return Coverage(np.zeros(0, dtype=np.int32), none, none)


def _statuses(rows: Rows, works: npt.NDArray[np.bool_]) -> npt.NDArray[np.uint8]:
    """Return the worst mark of each portfolio's rows, or that it was skipped or failed."""
    status = np.zeros(len(works), dtype=np.uint8)
    for mark in range(1, 4):
        has = np.unique(rows.portfolio[rows.marks[:, mark] > 0])
        status[has] = mark
    status[~works] = SKIPPED
    status[rows.failed] = FAILED
    return status


def _equities(rows: Rows, ids: npt.NDArray[np.uint8], plan: Plan, rows_of_plan: slice) -> Equities:
    """Return the equity of the latest complete snapshot of each portfolio written (S8)."""
    wrote = np.flatnonzero(rows.written > 0)
    last = np.cumsum(rows.written)[wrote] - 1
    cents, day = rows.equity_cents[last], rows.day[last]
    latest, stored = plan.latest_day, plan.latest_equity
    stands = (latest.state[rows_of_plan] == 0)[wrote]
    later = stands & (latest.values[rows_of_plan][wrote] > day)
    kept = in_cents(stored.values[rows_of_plan][wrote], stored.scale)
    # a later equity that is not representable cannot be handed on: the column stays as it is
    known = ~later | (stored.state[rows_of_plan][wrote] == 0)
    equity = np.where(later, kept, cents)
    return Equities(np.ascontiguousarray(ids[wrote[known]]), equity[known])


def in_cents(values: npt.NDArray[np.int64], scale: int) -> npt.NDArray[np.int64]:
    """Return mantissas in cents, half away from zero as PostgreSQL stores them."""
    if scale <= CENTS:
        return values * np.int64(10 ** (CENTS - scale))
    unit = np.int64(10 ** (scale - CENTS))
    whole, rest = np.divmod(np.abs(values), unit)
    cents: npt.NDArray[np.int64] = np.sign(values) * (whole + (rest >= unit - rest))
    return cents


def peak_memory_bytes() -> int:
    """Return the most memory that the process has had, 0 where the system does not tell."""
    try:
        import resource  # noqa: PLC0415  # not on every system
    except ImportError:
        return 0
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak if sys.platform == "darwin" else peak * 1024


def _log(result: BatchResult) -> None:
    for phase in ("load", "compute", "persist"):
        log.info(
            "run=%s phase=%s seconds=%.3f statements=%d",
            result.run_id,
            phase,
            result.seconds_by_phase[phase],
            result.statements_by_phase.get(phase, 0),
        )
    log.info(
        "run=%s portfolios=%d failed=%d sessions=%d rows=%d seconds=%.3f",
        result.run_id,
        len(result.portfolios),
        result.failed,
        len(result.sessions),
        result.rows_written,
        result.seconds_by_phase["total"],
    )
