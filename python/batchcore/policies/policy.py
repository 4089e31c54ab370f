"""The interface of a policy to a run: it reads, plans, computes and writes."""

from __future__ import annotations

import abc
import asyncio
import logging
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any, ClassVar, Final

import numpy as np

from batchcore import policies
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
    from batchcore.schema import Use
    from batchcore.sources.changes import Stamps
    from batchcore.sources.portfolios import LatestSnapshots
    from batchcore.sources.snapshots import Existing, Returns

log: Final = logging.getLogger("batchcore")


@dataclass(frozen=True, eq=False, slots=True)
class RunContext:
    """The context that a run gives its policy: the request, and where to report and count."""

    request: Request
    issues: IssueList
    monitor: Monitor
    cancel: CancelFlag
    stamp: Callable[[], Stamp]  # of the new rows of a chunk


@dataclass(frozen=True, eq=False, slots=True)
class RunPrices:
    """Closes, marked on the sessions of the plan, and the other inputs of all chunks.

    `host` has the inputs of the rules beside the frames of a chunk, if any.
    """

    market: Market
    analysis: Analysis | None = None
    host: Host | None = None
    checks: Checks | None = None


@dataclass(frozen=True, eq=False, slots=True)
class ChunkFacts:
    """The inputs of a chunk with anything to write.

    `stored` are the snapshots from which its portfolios continue; under the policy `legacy`, also
    those of the range. `returns` are daily returns before the run.
    """

    book: Book
    stored: Previous
    returns: Returns


@dataclass(frozen=True, eq=False, slots=True)
class ChunkLoad:
    """A loaded chunk; without facts there is nothing to write."""

    chunk: Chunk
    existing: Existing
    facts: ChunkFacts | None


@dataclass(frozen=True, eq=False, slots=True)
class ComputedChunk:
    """A computed chunk."""

    chunk: Chunk
    batches: tuple[Batch, ...]  # its bytes; several where some portfolios were refused (S10)
    rows: Rows
    issues: tuple[Issues, ...]  # of its analytics, and of portfolios that were refused
    noticed: Sequence[tuple[Issues, int]] = ()  # other issues, and the offset of their portfolios
    entry: ChunkEntry | None = None  # its entry in the ledger
    kept: Sequence[NotReplaced] = ()  # once written, the rows left to other writers
    differences: Differences | None = None  # of a repair, its differences


class Policy(abc.ABC):
    """A policy in one run, which reads, plans, computes and writes.

    `make_plan` comes first, then `begin`; chunks are computed once `load_prices` has returned.
    """

    figures: ClassVar = RULE_COLUMNS  # columns that are written
    reads_deleted: ClassVar = False  # whether soft-deleted positions count

    plan: Plan  # the plan of the shard of the run
    chunks: Sequence[Chunk]  # of the plan, in the order of ids

    def __init__(self, run: RunContext, catalog: Catalog, calendar: Calendar, days: Range) -> None:
        """Take the facts known before the plan; `check_tables` returned the tables."""
        self.run = run
        self.request, self.settings = run.request, run.request.settings
        self.issues, self.monitor, self.cancel = run.issues, run.monitor, run.cancel
        self.calendar = calendar
        self.days = days
        self.catalog = catalog
        # portfolios whose symbols need prices, and the number requested, of all shards
        self.selection = Selection(run.request.wanted)
        self.asked = 0
        self.names: tuple[str | None, ...] = ()  # names of portfolios, for errors
        self.refused: Bools | None = None  # which of them fail before anything is computed
        self.analytics_off: dict[str, str] = {}  # requested part -> why it is not done
        self.stamps: tuple[Stamps, ...] = ()  # only for a plan: the host's time stamps
        self.coverage = Coverage.none()  # of the sessions checked (S12), also if it refuses them

    @classmethod
    @abc.abstractmethod
    def uses(cls, request: Request) -> Use:
        """Return the uses of the host's tables by a run."""

    @classmethod
    @abc.abstractmethod
    def check_tables(cls, catalog: Catalog, request: Request) -> Any:  # noqa: ANN401  # by policy
        """Return the host's tables for the policy.

        Raises:
            SchemaError: it cannot work on them.
        """

    @classmethod
    async def load_latest(
        cls, reader: Session, request: Request, catalog: Catalog
    ) -> LatestSnapshots | None:
        """Return the latest days of all portfolios, if shards need nothing more of the others."""
        del reader, request, catalog
        return None

    @abc.abstractmethod
    async def make_plan(self, reader: Session) -> None:
        """Set `plan`, the sessions that each portfolio writes.

        Raises:
            ConfigError: a portfolio is unknown.
            SnapshotExistsError: one exists where none may (S13).
        """

    @abc.abstractmethod
    async def load_prices(self, reader: Session, symbols: Text) -> RunPrices:
        """Return the prices of the plan, and the other inputs of chunks.

        Raises:
            CoverageError: those of a session have not arrived (S12).
        """

    @abc.abstractmethod
    async def load_chunk(self, reader: Session, chunk: Chunk) -> ChunkLoad:
        """Return the rows of a chunk."""

    @abc.abstractmethod
    def equities(self, rows: Rows, ids: Ids, chunk: Chunk) -> Equities:
        """Return the new `portfolios.equity_balance` of the portfolios written."""

    @abc.abstractmethod
    def columns(
        self, chunk: Chunk, rows: Rows, analysed: Analysed | None, analysis: Analysis | None
    ) -> dict[str, Any]:
        """Return the arguments of `encode_batch` beside the figures of rows."""

    def compute(self, facts: ChunkFacts, opening: Opening, prices: RunPrices) -> Rows:
        """Return the rows of a chunk."""
        return roll_forward(
            prices.market,
            facts.book,
            previous=facts.stored,
            opening=opening,
            rules=policies.entry(self.request.policy).rules,
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
        """Return the encoded rows of a chunk."""
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
        """Report the rows that a run leaves unchanged, and return the issues."""
        return ()

    async def report_all_existing(self, reader: Session) -> Sequence[Issues]:  # noqa: ARG002
        """Report the rows of all chunks that a run leaves unchanged, if it writes nothing."""
        return ()

    @cached_property
    def valuation(self) -> Valuation:
        """The valuation of the lots of all chunks, on the sessions of the plan."""
        return Valuation(
            self.catalog,
            self.settings,
            self.plan.sessions,
            monitor=self.monitor,
            notice=self.issues.add,
            cancel=self.cancel,
        )

    def begin(self, chunks: Sequence[Chunk]) -> None:
        """Take the chunks, and choose the size of groups of events and flows."""
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
        """Return a range of ids if it selects little more than is needed."""
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
        """Return the earliest entries if the range begins with them."""
        if not self.request.inception:
            return None
        return await self.earliest_entries(reader, Selection(self.request.wanted))

    def check_portfolios(self, ids: Ids, deleted: Bools) -> None:
        """Check for unknown portfolios, report soft-deleted ones, and exclude their symbols."""
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
