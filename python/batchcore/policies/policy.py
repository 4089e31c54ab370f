"""What a policy is to a run: an object that reads, plans, computes and writes."""

from __future__ import annotations

import abc
import asyncio
import logging
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any, ClassVar, Final

import numpy as np

from batchcore.frames import Flows, Issues
from batchcore.native import Book, CancelFlag, Checks, Host, Market, roll_forward
from batchcore.run import chunk_groups
from batchcore.run import plan as plans
from batchcore.run.result import Coverage, Differences
from batchcore.run.valuation import Valuation
from batchcore.schema import RULE_COLUMNS
from batchcore.shards import in_shard
from batchcore.sinks.snapshots import Batch, Equities, Stamp, already_exist, encode_batch
from batchcore.sources.events_flows import FLOWS, select_events, select_flows
from batchcore.sources.host import Boundaries, Selection, sorted_ids
from batchcore.sources.positions import select_earliest_entries
from batchcore.sources.query import Query, load
from batchcore.sources.rates import several_currencies

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from batchcore.calendar import Calendar
    from batchcore.db.catalog import Catalog
    from batchcore.frames import (
        Bools,
        Events,
        Ids,
        NotReplaced,
        Opening,
        Positions,
        Previous,
        Rows,
        Text,
    )
    from batchcore.pg.ledger import ChunkEntry
    from batchcore.pg.session import Session
    from batchcore.run.analysis import Analysed, Analysis
    from batchcore.run.issues import IssueList
    from batchcore.run.monitor import Monitor
    from batchcore.run.plan import Chunk, Plan, Range
    from batchcore.run.request import Request
    from batchcore.run.result import Differences
    from batchcore.schema import Use
    from batchcore.sinks.snapshots import Batch
    from batchcore.sources.changes import Stamps
    from batchcore.sources.portfolios import LatestSnapshots
    from batchcore.sources.snapshots import Existing, Returns

log: Final = logging.getLogger("batchcore")


@dataclass(frozen=True, eq=False, slots=True)
class RunContext:
    """What a run shares with its policy: what was asked for, and where to report and count."""

    request: Request
    issues: IssueList
    monitor: Monitor
    cancel: CancelFlag
    stamp: Callable[[], Stamp]  # of the new rows of a chunk


@dataclass(frozen=True, eq=False, slots=True)
class RunPrices:
    """Closes, marked on the sessions of the plan, and what else all chunks are computed with.

    `host` is what the rules read beside the frames of a chunk, where they do.
    """

    market: Market
    analysis: Analysis | None = None
    host: Host | None = None
    checks: Checks | None = None


@dataclass(frozen=True, eq=False, slots=True)
class ChunkFacts:
    """What a chunk with anything to write is computed from.

    `stored` are the snapshots that its portfolios continue from; under the policy `legacy`, those
    of the range too. `returns` are daily returns before the run.
    """

    book: Book
    stored: Previous
    returns: Returns


@dataclass(frozen=True, eq=False, slots=True)
class ChunkLoad:
    """A chunk that waits to be computed; without facts there is nothing to write."""

    chunk: Chunk
    existing: Existing
    facts: ChunkFacts | None


@dataclass(frozen=True, eq=False, slots=True)
class ComputedChunk:
    """A chunk that waits to be written."""

    chunk: Chunk
    batches: tuple[Batch, ...]  # its bytes; several where some portfolios were refused (S10)
    rows: Rows
    issues: tuple[Issues, ...]  # of its analytics, and of portfolios that were refused
    noticed: Sequence[tuple[Issues, int]] = ()  # others, and from where their portfolios count
    entry: ChunkEntry | None = None  # what the ledger keeps of it
    kept: Sequence[NotReplaced] = ()  # once it is written, what it left to other writers
    differences: Differences | None = None  # of a repair, what it found


class Policy(abc.ABC):
    """A policy at work on one run: what it reads, plans, computes and writes.

    `make_plan` comes first, then `begin`; chunks are computed once `load_prices` has returned.
    """

    figures: ClassVar = RULE_COLUMNS  # columns of its rows that are written
    reads_deleted: ClassVar = False  # whether soft-deleted positions count

    plan: Plan  # what each portfolio writes, of the shard of the run
    chunks: Sequence[Chunk]  # of the plan, in the order of ids

    def __init__(self, run: RunContext, catalog: Catalog, calendar: Calendar, days: Range) -> None:
        """Take what is known before the plan; the tables were found fit by `check_tables`."""
        self.run = run
        self.request, self.settings = run.request, run.request.settings
        self.issues, self.monitor, self.cancel = run.issues, run.monitor, run.cancel
        self.calendar = calendar
        self.days = days
        self.catalog = catalog
        # whose symbols need prices, and how many were asked for: of all shards
        self.selection = Selection(run.request.wanted)
        self.asked = 0
        self.names: tuple[str | None, ...] = ()  # of the plan, where errors have them
        self.refused: Bools | None = None  # which of it fail before anything is computed
        self.analytics_off: dict[str, str] = {}  # part of what was asked for -> why it is not done
        self.stamps: tuple[Stamps, ...] = ()  # of a plan alone: the host's time stamps
        self.coverage = Coverage.none()  # of the sessions checked (S12), also where it refuses them

    @classmethod
    @abc.abstractmethod
    def uses(cls, request: Request) -> Use:
        """Return what a run needs of the host's tables, where it has them."""

    @classmethod
    @abc.abstractmethod
    def check_tables(cls, catalog: Catalog, request: Request) -> Any:  # noqa: ANN401  # by policy
        """Return what the policy finds of the host's tables.

        Raises:
            SchemaError: it cannot work on them.
        """

    @classmethod
    async def load_latest(
        cls, reader: Session, request: Request, catalog: Catalog
    ) -> LatestSnapshots | None:
        """Return how far all portfolios are, where shards need that and no more of the others."""
        del reader, request, catalog
        return None

    @abc.abstractmethod
    async def make_plan(self, reader: Session) -> None:
        """Set `plan`: what each portfolio writes.

        Raises:
            ConfigError: a portfolio is unknown.
            SnapshotExistsError: one exists where none may (S13).
        """

    @abc.abstractmethod
    async def load_prices(self, reader: Session, symbols: Text) -> RunPrices:
        """Return the prices of the plan, and what else chunks are computed with.

        Raises:
            CoverageError: those of a session have not arrived (S12).
        """

    @abc.abstractmethod
    async def load_chunk(self, reader: Session, chunk: Chunk) -> ChunkLoad:
        """Return the rows of a chunk."""

    @abc.abstractmethod
    def equities(self, rows: Rows, ids: Ids, chunk: Chunk) -> Equities:
        """Return the new `portfolios.equity_balance` of portfolios that are written."""

    @abc.abstractmethod
    def columns(
        self, chunk: Chunk, rows: Rows, analysed: Analysed | None, analysis: Analysis | None
    ) -> dict[str, Any]:
        """Return what a chunk writes beside the figures of its rows, for `encode_batch`."""

    def compute(self, facts: ChunkFacts, opening: Opening, prices: RunPrices) -> Rows:
        """Return the rows of a chunk."""
        return roll_forward(
            prices.market,
            facts.book,
            previous=facts.stored,
            opening=opening,
            threads=self.settings.threads,
            cancel=self.cancel,
            checks=prices.checks,
            host=prices.host,
        )

    def encode(
        self,
        loaded: ChunkLoad,
        opening: Opening,
        rows: Rows,
        analysed: Analysed | None,
        analysis: Analysis | None,
    ) -> ComputedChunk:
        """Return what a chunk writes."""
        chunk, existing, ids = loaded.chunk, loaded.existing, opening.portfolio_id
        batch = encode_batch(
            rows,
            ids,
            already_exist(rows, ids, existing.portfolio_id, existing.day),
            self.equities(rows, ids, chunk),
            self.run.stamp(),
            figures=self.figures,
            cancel=self.cancel,
            **self.columns(chunk, rows, analysed, analysis),
        )
        return ComputedChunk(chunk, (batch,), rows, () if analysed is None else analysed.issues)

    def report_existing(self, chunk: Chunk, existing: Existing) -> Sequence[Issues]:  # noqa: ARG002
        """Report the rows that a run leaves as they are, and return what was reported."""
        return ()

    async def report_all_existing(self, reader: Session) -> Sequence[Issues]:  # noqa: ARG002
        """Report the rows of all chunks that a run leaves as they are, where it writes nothing."""
        return ()

    @cached_property
    def valuation(self) -> Valuation:
        """What the lots of all chunks are valued by, on the sessions of the plan."""
        return Valuation(
            self.catalog,
            self.settings,
            self.plan.sessions,
            monitor=self.monitor,
            notice=self.issues.add,
            cancel=self.cancel,
        )

    def begin(self, chunks: Sequence[Chunk]) -> None:
        """Take the chunks, and choose how many of them make a group of events or flows."""
        self.chunks = chunks
        estimated, works = self.catalog.estimated_rows, self.plan.works
        flows = chunk_groups.group_size(chunks, estimated, FLOWS, chunk_groups.BYTES_OF_A_GROUP)
        self._flows = chunk_groups.GroupedLoad(chunks, flows, self._load_flows)
        whole = self.plan.is_whole and works.sum() * 2 >= len(works)
        self._events = chunk_groups.events_of(
            chunks, self.catalog, self._select_events, whole=whole
        )

    async def load_book(self, reader: Session, chunk: Chunk, positions: Positions) -> Book:
        """Return the positions of a chunk with the events and flows of its group."""
        of_group = await self._events.of(reader, chunk)
        events = await asyncio.to_thread(of_group.among, positions)  # milliseconds
        flows = await self._flows.of(reader, chunk)
        flows = chunk_groups.flows_between(flows, self.plan.id[chunk.rows])
        self.monitor.loaded(positions=len(positions), events=len(events), flows=len(flows))
        return Book(positions=positions, events=events, flows=flows)

    def _select_events(self, group: Chunk) -> Query[Events]:
        selection = self.selection_of(group, group.works)
        return select_events(self.catalog, selection, deleted=self.reads_deleted)

    async def _load_flows(self, reader: Session, group: Chunk) -> Flows:
        selection, window = self.selection_of(group, group.works), self.flow_window(group)
        found = await load(reader, select_flows(self.catalog, selection, *window))
        return await asyncio.to_thread(lambda: found.take(sorted_ids(found.portfolio_id)))

    def flow_window(self, chunk: Chunk) -> tuple[int, int]:
        """Return the first and the last day whose flows count: those of its sessions."""
        return self.plan.window_of(chunk)

    def selection_of(self, chunk: Chunk, works: Bools | None) -> Selection:
        """Return a range of ids where it brings little more than what is needed."""
        ids = self.plan.id[chunk.rows]
        if works is not None and works.sum() * 2 < len(works):
            return Selection(np.ascontiguousarray(ids[works]))
        return Selection(ids, as_range=self.plan.is_whole)

    async def earliest_entries(self, reader: Session, selection: Selection) -> Boundaries:
        """Return the earliest entry of each portfolio that has one, within the calendar."""
        entries = await load(reader, select_earliest_entries(self.catalog, selection))
        self.monitor.loaded(earliest_entries=len(entries.day))
        return Boundaries(entries.ids, np.maximum(entries.day, np.int32(self.calendar.first_day)))

    async def inception(self, reader: Session) -> Boundaries | None:
        """Return the earliest entries where the range begins with them."""
        if not self.request.inception:
            return None
        return await self.earliest_entries(reader, Selection(self.request.wanted))

    def check_portfolios(self, ids: Ids, deleted: Bools) -> None:
        """Refuse unknown portfolios, report soft-deleted ones, and leave their symbols out."""
        self.asked = len(ids)
        if self.request.wanted is not None:
            plans.check_found(self.request.wanted, ids)
            self.selection = Selection(np.ascontiguousarray(ids[~deleted]))
        own = in_shard(ids, self.settings.shard)
        self.issues.add(Issues.of("soft_deleted", np.flatnonzero(deleted[own])))

    def report_currencies(self, currency: Text, works: Bools) -> None:
        """Report portfolios of several currencies: the figures of each are in its own (S1)."""
        found = several_currencies(currency.take(works))
        if found:
            log.warning("run=%s currencies=%s", self.monitor.run_id, ",".join(found))
            self.issues.add(Issues.of("currencies", [-1], detail=", ".join(found)))
