"""What becomes of one chunk: loaded, computed, encoded, written."""

from __future__ import annotations

import asyncio
import copy
import datetime as dt
import os
import time
from dataclasses import dataclass, replace
from functools import partial
from typing import TYPE_CHECKING, ClassVar, Final, Self

import numpy as np

from batchcore.db import load as loads
from batchcore.db.load_analytics import Returns
from batchcore.db.queries import Selection
from batchcore.db.save import Batch, Equities, Stamp, encode_batch, sha256_of, stands_already
from batchcore.native import CancelFlag, roll_forward, store_snapshots
from batchcore.run import plan as plans
from batchcore.run.analyse import ChunkInputs
from batchcore.run.analytic_inputs import chunk_tables, last_sessions, load_past_returns
from batchcore.run.entries import entry_of
from batchcore.run.refusals import issues_of, without
from batchcore.run.stretches import (
    BYTES_OF_A_FLOW,
    BYTES_OF_A_STRETCH,
    BYTES_OF_ALL_EVENTS,
    BYTES_OF_AN_EVENT,
    EventsByPosition,
    FlowsByPortfolio,
    Stretches,
    rows_of_a_portfolio,
    stretches,
)
from batchcore.run.threads import in_thread
from batchcore.units import CENTS

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    import numpy.typing as npt

    from batchcore.db.engine import Session
    from batchcore.db.ledger import Entry
    from batchcore.db.load import Existing
    from batchcore.frames import Betas, Events, Flows, Issues, Opening, Positions, Previous, Rows
    from batchcore.run.analyse import Analysed, Analysis
    from batchcore.run.issues import IssueList
    from batchcore.run.monitor import Monitor
    from batchcore.run.plan import Chunk, Plan
    from batchcore.run.prepare import Prepared, Prices
    from batchcore.run.request import Request
    from batchcore.run.result import Differences

_EPOCH: Final = dt.datetime(1970, 1, 1, tzinfo=dt.UTC)


@dataclass(frozen=True, eq=False, slots=True)
class Facts:
    """What a chunk with anything to write is computed from.

    Attributes:
        positions: Holdings.
        events: Partial closes.
        flows: Cash in and out.
        stored: The snapshots that its portfolios go on from; under the policy `legacy`, those that
            stand in the range too.
        returns: Daily returns before the run.
        betas: Of its positions, under the policy `legacy`.
    """

    positions: Positions
    events: Events
    flows: Flows
    stored: Previous
    returns: Returns
    betas: Betas | None = None


@dataclass(frozen=True, eq=False, slots=True)
class Loaded:
    """A chunk that waits to be computed; without facts there is nothing to write."""

    chunk: Chunk
    existing: Existing
    facts: Facts | None


@dataclass(frozen=True, eq=False, slots=True)
class Computed:
    """A chunk that waits to be written.

    Attributes:
        chunk: Which.
        batches: Its bytes; several parts where some portfolios were refused (S10).
        rows: What they were made of.
        issues: Those of its analytics, and of portfolios that were refused.
        noticed: What was noticed of its portfolios beside.
        told: What the ledger is told of it all; portfolios count those of the chunk from a number
            on.
        entry: What the ledger keeps of it, where there is one.
        differences: Of a repair, what it found.
    """

    chunk: Chunk
    batches: tuple[Batch, ...]
    rows: Rows
    issues: tuple[Issues, ...]
    noticed: tuple[Issues, ...] = ()
    told: tuple[tuple[Issues, int], ...] = ()
    entry: Entry | None = None
    differences: Differences | None = None


class Stages:
    """The stages that each chunk of a run goes through.

    Attributes:
        cancel: Raised, it stops native work.
        run_id: Of the run in the ledger; None where nothing is entered there.
        unwritten: What was noticed of chunks that write nothing.
        reads_deleted: Whether soft-deleted positions count.
    """

    reads_deleted: ClassVar = False

    def __init__(
        self, request: Request, prepared: Prepared, issues: IssueList, monitor: Monitor
    ) -> None:
        self.request = request
        self.monitor = monitor
        self.cancel = CancelFlag()
        self.run_id: str | None = None
        self._moment_us = (request.now - _EPOCH) // dt.timedelta(microseconds=1)
        self._began_ms = (request.attempt_began - _EPOCH) // dt.timedelta(milliseconds=1)
        self._made = time.monotonic()
        self._begin(prepared, issues)

    def again(self, prepared: Prepared, issues: IssueList) -> Self:
        """Return the same stages, with their stamp and flag, for chunks of another plan."""
        stages = copy.copy(self)
        stages._begin(prepared, issues)  # noqa: SLF001  # of its own class
        return stages

    def _begin(self, prepared: Prepared, issues: IssueList) -> None:
        self.prepared = prepared
        self.plan = prepared.plan
        self.issues = issues
        self.unwritten: list[Issues] = []
        self._make_stretches()

    def _make_stretches(self) -> None:
        """Put chunks together to those whose events, and those whose flows, are loaded at once."""
        chunks, estimated = self.prepared.chunks, self.prepared.queries.catalog.estimated_rows
        each = BYTES_OF_A_FLOW * rows_of_a_portfolio(estimated, "equity_changes")
        self._flows = Stretches(
            chunks, stretches(chunks, each, BYTES_OF_A_STRETCH), self._load_flows
        )
        each = BYTES_OF_AN_EVENT * rows_of_a_portfolio(estimated, "position_realized_events")
        works, whole = self.plan.works(), stretches(chunks, each, BYTES_OF_ALL_EVENTS)
        if len(whole) == 1 and self.plan.is_whole and works.sum() * 2 >= len(works):
            self._events = Stretches(chunks, whole, self._load_all_events)
        else:
            parts = stretches(chunks, each, BYTES_OF_A_STRETCH)
            self._events = Stretches(chunks, parts, self._load_events)

    async def load(self, reader: Session, chunk: Chunk) -> Loaded:
        """Return the rows of a chunk."""
        with self.monitor.phase("load"):
            existing = await self._load_existing(reader, chunk)
            if not chunk.works.any():
                return Loaded(chunk, existing, None)
            queries, selection = self.prepared.queries, self._selection(chunk, chunk.works)
            positions = await loads.load_positions(reader, queries, selection)
            events = await self.events(reader, chunk, positions)
            flows = await self.flows(reader, chunk)
            self.monitor.loaded(positions=len(positions), events=len(events), flows=len(flows))
            returns = Returns.none()
            if self.prepared.parts.level != "none":
                calendar = self.prepared.calendar
                returns = await load_past_returns(reader, queries, calendar, self.plan, chunk)
                self.monitor.loaded(returns=len(returns.value))
            stored = self.plan.previous_of(chunk.rows)
            return Loaded(chunk, existing, Facts(positions, events, flows, stored, returns))

    async def events(self, reader: Session, chunk: Chunk, positions: Positions) -> Events:
        """Return the events of the positions of a chunk."""
        return (await self._events.of(reader, chunk)).among(positions)

    async def flows(self, reader: Session, chunk: Chunk) -> Flows:
        """Return the flows of the portfolios of a chunk."""
        return (await self._flows.of(reader, chunk)).between(self.plan.id[chunk.rows])

    async def _load_all_events(self, reader: Session, _stretch: Chunk) -> EventsByPosition:
        found = await loads.load_all_events(reader, self.prepared.queries)
        return await asyncio.to_thread(EventsByPosition.of, found)

    async def _load_events(self, reader: Session, stretch: Chunk) -> EventsByPosition:
        selection = self._selection(stretch, stretch.works)
        found = await loads.load_events(
            reader, self.prepared.queries, selection, deleted=self.reads_deleted
        )
        return await asyncio.to_thread(EventsByPosition.of, loads.loose(found))

    async def _load_flows(self, reader: Session, stretch: Chunk) -> FlowsByPortfolio:
        selection, window = self._selection(stretch, stretch.works), self._flow_window(stretch)
        found = await loads.load_flows(reader, self.prepared.queries, selection, *window)
        return await asyncio.to_thread(FlowsByPortfolio.of, found)

    async def _load_existing(self, reader: Session, chunk: Chunk) -> Existing:
        first, last = self._existing_window(chunk)
        existing = await loads.load_existing(
            reader,
            self.prepared.queries,
            self.prepared.calendar,
            self._selection(chunk, None),
            first,
            last,
        )
        self.monitor.loaded(existing=len(existing.day))
        return existing

    def _existing_window(self, chunk: Chunk) -> tuple[int, int]:
        days, (rows, works) = self.prepared.days, (chunk.rows, chunk.works)
        first, last = days.end if days.start is None else days.start, days.end
        if works.any():
            first = min(first, int(self.plan.first_day[rows][works].min()))
            last = max(last, int(self.plan.last_day[rows][works].max()))
        return first, last

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
        return Selection(ids, as_range=self.prepared.plan.is_whole)

    async def compute(self, loaded: Loaded, prices: Prices | None) -> Computed | None:
        """Return what a chunk writes; None if there is nothing."""
        noticed = self.notice(loaded.chunk, loaded.existing)
        if loaded.facts is None or prices is None:
            self.unwritten += noticed
            return None
        opening = self.plan.opening.take(loaded.chunk.rows)
        with self.monitor.phase("compute"):
            rolled = partial(self._rolled, loaded.facts, opening, prices)
            rows = await in_thread(rolled, self.cancel)
        analysed = None
        if prices.analysis is not None:
            with self.monitor.phase("analytics"):
                inputs = self._analytic_inputs(loaded.chunk, loaded.facts, opening, rows)
                analyse = partial(prices.analysis.analyse, inputs, self.cancel)
                analysed = await in_thread(analyse, self.cancel)
            every = prices.analysis.parts.level == "every"
            self.monitor.rows["analytics"] += len(rows) if every else int((rows.written > 0).sum())
        with self.monitor.phase("compute"):
            encoded = partial(self._encoded, loaded, opening, rows, analysed, prices.analysis)
            return await in_thread(partial(self._entered, encoded, noticed), self.cancel)

    def _rolled(self, facts: Facts, opening: Opening, prices: Prices) -> Rows:
        return roll_forward(
            prices.market,
            positions=facts.positions,
            events=facts.events,
            flows=facts.flows,
            previous=store_snapshots(facts.stored),
            opening=opening,
            threads=self.request.settings.threads,
            cancel=self.cancel,
            host=prices.host,
            betas=facts.betas,
        )

    def _analytic_inputs(
        self, chunk: Chunk, facts: Facts, opening: Opening, rows: Rows
    ) -> ChunkInputs:
        last, latest = last_sessions(self.plan)[chunk.rows], self.plan.latest_day
        later = (latest.state[chunk.rows] == 0) & (latest.values[chunk.rows] > last)
        return ChunkInputs(
            positions=facts.positions,
            events=facts.events,
            opening=opening,
            rows=rows,
            last_session=last,
            is_latest=~later,
            returns=facts.returns,
        )

    def _encoded(
        self,
        loaded: Loaded,
        opening: Opening,
        rows: Rows,
        analysed: Analysed | None,
        analysis: Analysis | None,
    ) -> Computed:
        chunk, existing, ids = loaded.chunk, loaded.existing, opening.portfolio_id
        stands = stands_already(rows, ids, existing.portfolio_id, existing.day)
        equities = self._equities(rows, ids, chunk)
        if analysed is None or analysis is None:
            batch = encode_batch(rows, ids, stands, equities, self.stamp(), cancel=self.cancel)
            return Computed(chunk, (batch,), rows, ())
        portfolios = self._selection(chunk, chunk.works)
        batch = encode_batch(
            rows,
            ids,
            stands,
            equities,
            self.stamp(),
            analytics=analysed.snapshot,
            jsonb=analysis.parts.jsonb,
            tables=chunk_tables(analysed, analysis, self.prepared.queries, portfolios),
            cancel=self.cancel,
        )
        return Computed(chunk, (batch,), rows, analysed.issues)

    def _entered(self, encoded: Callable[[], Computed], noticed: Sequence[Issues]) -> Computed:
        """Return a chunk encoded, with what the ledger keeps of it."""
        computed, plan = encoded(), self.plan
        if self.run_id is None:
            return computed
        committed = self.request.committed
        number = computed.chunk.number + (0 if committed is None else committed.chunks)
        rows, own = computed.rows, computed.chunk.rows
        told = [(part, own.start) for part in noticed]
        told += [(part, 0) for part in (rows.issues, *computed.issues)]
        digest = sha256_of(computed.batches)
        entry = entry_of(self.run_id, number, plan.id[own], rows, told, sha256=digest)
        return replace(computed, noticed=tuple(noticed), told=tuple(told), entry=entry)

    async def without(
        self, item: Computed, refused: Mapping[int, str], written: Sequence[Batch]
    ) -> Computed:
        """Return a chunk as it was written, without the portfolios that the database refused.

        Args:
            item: The chunk.
            refused: Portfolio of the chunk -> why (S10).
            written: Its parts that were written.
        """
        return await in_thread(partial(self._without, item, refused, written), self.cancel)

    def _without(
        self, item: Computed, refused: Mapping[int, str], written: Sequence[Batch]
    ) -> Computed:
        gone = np.zeros(len(item.rows.failed), dtype=np.bool_)
        gone[list(refused)] = True
        rows, issues, entry = without(item.rows, gone), issues_of(refused), item.entry
        told = (*item.told, (issues, 0))
        if self.run_id is not None and entry is not None:
            ids, digest = self.plan.id[item.chunk.rows], sha256_of(written)
            entry = entry_of(self.run_id, entry.chunk, ids, rows, told, sha256=digest)
        return replace(
            item,
            batches=tuple(written),
            rows=rows,
            issues=(*item.issues, issues),
            told=told,
            entry=entry,
        )

    def _equities(self, rows: Rows, ids: npt.NDArray[np.uint8], chunk: Chunk) -> Equities:
        return equities_of(rows, ids, self.plan, chunk.rows)

    def stamp(self) -> Stamp:
        """Return what the new rows of a chunk share; ids of a later one sort after them."""
        elapsed_ms = int((time.monotonic() - self._made) * 1000)
        return Stamp(self._moment_us, self._began_ms + elapsed_ms, os.urandom(16))

    def notice(self, chunk: Chunk, existing: Existing) -> tuple[Issues, ...]:
        """Report the rows that a run leaves as they are (S13), and return what was reported."""
        before = self.issues.parts
        first, days = chunk.rows.start, self.prepared.days
        portfolio = loads.located(existing.portfolio_id, self.plan.id[chunk.rows])
        portfolio[self.plan.deleted[chunk.rows][portfolio]] = -1  # of -1, whatever it picks, too
        window = self._own_window(chunk)
        noticed = plans.off_session(existing, portfolio, self.prepared.calendar, window)
        self.issues.add_noticed("off_session", noticed, first, "dates")
        if self.request.on_existing == "skip" and days.start is not None:
            sessions = self.prepared.calendar.sessions(days.start, days.end)
            latest = self.plan.latest_day.take(chunk.rows)
            missing = plans.gaps(existing, portfolio, latest, sessions)
            self.issues.add_noticed("gap", missing, first, "sessions")
        return self.issues.since(before)

    def _own_window(self, chunk: Chunk) -> tuple[npt.NDArray[np.int32], npt.NDArray[np.int32]]:
        """Return first and last day of each portfolio's range, and what it writes beyond it."""
        days = self.prepared.days
        first, last = self.plan.first_day[chunk.rows], self.plan.last_day[chunk.rows]
        if days.start is not None:
            first = np.full_like(first, days.start)
        return first, np.where(chunk.works, np.maximum(last, days.end), days.end)

    async def only_notice(self, reader: Session) -> None:
        """Report what is skipped, where nothing is to be written."""
        for chunk in self.prepared.chunks:
            with self.monitor.phase("load"):
                existing = await self._load_existing(reader, chunk)
            self.unwritten += self.notice(chunk, existing)


def equities_of(
    rows: Rows, ids: npt.NDArray[np.uint8], plan: Plan, rows_of_plan: slice
) -> Equities:
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
