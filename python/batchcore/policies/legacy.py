"""The policy `legacy` of docs/legacy.md: what a host's own batch made of the same tables."""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import partial
from typing import TYPE_CHECKING, ClassVar, Final

import numpy as np

from batchcore import calendar as calendars
from batchcore.db.ledger import Committed
from batchcore.db.legacy_tables import WRITTEN, LegacyTables, check_tables
from batchcore.frames import (
    Betas,
    Days,
    Decimals,
    Issues,
    Opening,
    Previous,
    SnapshotAnalytics,
    Text,
)
from batchcore.native import build_host, build_market
from batchcore.policies.policy import ChunkFacts, ChunkLoad, ComputedChunk, Policy, Prices
from batchcore.run import plan as plans
from batchcore.run.plan import Plan
from batchcore.run.result import Coverage
from batchcore.run.threads import in_thread
from batchcore.sinks.snapshots import Equities, encode_batch, stands_already
from batchcore.sources.host import Selection, located
from batchcore.sources.portfolios import select_legacy_portfolios
from batchcore.sources.positions import select_all_positions
from batchcore.sources.prices import load_legacy_closes
from batchcore.sources.profiles import (
    select_has_benchmark,
    select_newest_betas,
    select_spelt_profiles,
)
from batchcore.sources.query import load
from batchcore.sources.snapshots import Existing, Returns, select_legacy_snapshots
from batchcore.units import State

if TYPE_CHECKING:
    import numpy.typing as npt

    from batchcore.calendar import Calendar
    from batchcore.db.catalog import Catalog
    from batchcore.db.engine import Session
    from batchcore.frames import FloatObjects, Rows
    from batchcore.policies.policy import RunContext
    from batchcore.run.analyse import Analysed, Analysis
    from batchcore.run.plan import Chunk, Range
    from batchcore.run.request import Request
    from batchcore.sources.host import Boundaries
    from batchcore.sources.portfolios import LegacyPortfolios

PREVIOUS_CLOSE_DAYS: Final = 10
"""How many calendar days before a session its previous close may be (L12)."""


@dataclass(frozen=True, eq=False, slots=True, kw_only=True)
class LegacyPlan(Plan):
    """A plan whose portfolios pass over the sessions that have a complete row.

    Attributes:
        stands: (n,) int64, how many these are.
    """

    stands: npt.NDArray[np.int64]

    def sessions_planned(self) -> npt.NDArray[np.int32]:
        """Return for each portfolio how many sessions are to be written."""
        inside = Plan.sessions_planned(self)
        planned: npt.NDArray[np.int32] = np.maximum(inside - self.stands, 0).astype(np.int32)
        return planned


class Legacy(Policy):
    """Each date of a range by itself, from the row before it as it is stored."""

    core: ClassVar = "legacy"
    reads_deleted: ClassVar = True

    def __init__(self, run: RunContext, catalog: Catalog, calendar: Calendar, days: Range) -> None:
        """Take what is known before the plan."""
        super().__init__(run, catalog, calendar, days)
        self.tables = self.check_tables(catalog, run.request)
        self.today = self._today()
        self._sessions = np.zeros(0, dtype=np.int32)
        if days.start is not None:
            self._sessions = calendar.sessions(days.start, days.end)

    @classmethod
    def check_tables(cls, catalog: Catalog, request: Request) -> LegacyTables:
        """Return what the policy finds of the host's tables."""
        return check_tables(catalog, writes=not request.settings.dry_run)

    def _today(self) -> int:
        """Return the first day that is current (L29)."""
        if self.settings.today is not None:
            return calendars.day_of(self.settings.today)
        return self.calendar.local_date(self.request.now)

    async def make_plan(self, reader: Session) -> None:
        """Decide what each portfolio writes: `plan`."""
        entries = await self.inception(reader)
        wanted = Selection(self.request.wanted)
        query = select_legacy_portfolios(self.catalog, wanted, self._sessions)
        portfolios = await load(reader, query)
        self.monitor.loaded(portfolios=len(portfolios.id))
        self.check_portfolios(portfolios.id, portfolios.deleted)
        self.plan = self._planned(portfolios, entries)
        self.names = tuple(portfolios.name.texts())
        if self.days.start is not None and len(self._sessions) == 0:
            self.refused = ~portfolios.deleted
            self._report_dates_without_session(portfolios, self.days.start)
        self.look_at_currencies(portfolios.currency)

    def _planned(self, portfolios: LegacyPortfolios, entries: Boundaries | None) -> LegacyPlan:
        days, count = self.days, len(portfolios.id)
        committed = self.request.committed or Committed()
        if self.request.on_existing == "error":
            _refuse_existing(portfolios, committed, inception=self.request.inception)
        first_day = np.full(count, days.end if days.start is None else days.start, dtype=np.int32)
        if days.start is None:
            latest = portfolios.latest
            goes_on = latest.state == State.VALUE
            first_day[goes_on] = latest.values[goes_on] + 1
            if entries is not None:
                row = located(portfolios.id, entries.ids)
                begins = (row >= 0) & (~goes_on | self.request.replaces)
                first_day[begins] = entries.day[row[begins]]
        last_day = np.full(count, days.end, dtype=np.int32)
        stands = portfolios.stands
        idle = portfolios.deleted  # skipped (L1), as those are whose rows all stand (L3)
        if self.request.replaces:
            if days.start is not None:
                written = stands >= len(self._sessions)
                idle = idle | (committed.done(portfolios.id) & written)
            stands = np.zeros(count, dtype=np.int64)
        if days.start is not None:
            idle = idle | (stands >= len(self._sessions))
        last_day[idle] = plans.NEVER
        busy = first_day <= last_day
        sessions = np.zeros(0, dtype=np.int32)
        if busy.any():
            sessions = self.calendar.sessions(int(first_day[busy].min()), days.end)
        return LegacyPlan(
            id=portfolios.id,
            first_day=first_day,
            last_day=last_day,
            sessions=sessions,
            goes_on=np.zeros(count, dtype=np.bool_),
            previous=Previous.none(),
            opening=Opening(
                portfolio_id=portfolios.id,
                equity=portfolios.equity_balance,
                first_day=first_day,
                last_day=last_day,
            ),
            latest_day=portfolios.latest,
            latest_equity=Decimals.nulls(count),
            deleted=portfolios.deleted,
            price_first=int(sessions[0]) if len(sessions) else 0,
            price_last=int(sessions[-1]) if len(sessions) else 0,
            is_whole=self.request.wanted is None,
            stands=stands,
        )

    def _report_dates_without_session(self, portfolios: LegacyPortfolios, start: int) -> None:
        """Report each date of a range that has no session at all, for each portfolio (L2)."""
        dates = np.arange(start, self.days.end + 1, dtype=np.int32)
        alive = np.flatnonzero(~portfolios.deleted).astype(np.int32)
        rows = len(alive) * len(dates)
        self.issues.add(
            Issues(
                name=Text.constant("no_session", rows),
                portfolio=np.repeat(alive, len(dates)),
                symbol=Text.constant(None, rows),
                day=Days(np.tile(dates, len(alive))),
                detail=Text.constant("", rows),
            )
        )

    async def load_prices(self, reader: Session, symbols: Text) -> Prices:
        """Return the prices of the plan, profiles and what else rows are computed with.

        Closes are looked up as symbols are spelt on positions (L12).
        """
        plan = self.plan
        spelt = {*symbols.table(), ""}
        first = max(plan.price_first - PREVIOUS_CLOSE_DAYS, calendars.FIRST_DATE)
        closes = await load_legacy_closes(reader, self.catalog, spelt, first, plan.price_last)
        self.monitor.loaded(prices=len(closes))
        self.issues.add_ambiguous(reader.ambiguous)
        build = partial(
            build_market,
            closes,
            plan.sessions,
            policy=self.core,
            lookback_days=self.settings.lookback_days,
            cancel=self.cancel,
        )
        market = await in_thread(build, self.cancel)
        profiles, has_benchmark = None, False
        if plan.price_last >= self.today:
            profiles = await load(reader, select_spelt_profiles(self.catalog, spelt))
            self.monitor.loaded(profiles=0 if profiles is None else len(profiles))
            has_benchmark = await load(reader, select_has_benchmark(self.catalog))
        source = self.request.price_source
        cached = None if source is None else source.to_frame()
        if cached is not None:
            self.monitor.loaded(cached=len(cached))
        host = build_host(
            calendars.date_of(self.today),
            profiles=profiles,
            cached=cached,
            has_benchmark=has_benchmark,
        )
        return Prices(market, Coverage.none(), host=host)

    async def load_chunk(self, reader: Session, chunk: Chunk) -> ChunkLoad:
        """Return the rows of a chunk."""
        if not chunk.works.any():
            return ChunkLoad(chunk, _no_rows(), None)
        with self.monitor.phase("load"):
            return await self._loaded(reader, chunk)

    async def _loaded(self, reader: Session, chunk: Chunk) -> ChunkLoad:
        catalog, selection = self.catalog, self.selection_of(chunk, chunk.works)
        first, last = self.flow_window(chunk)
        stored = await load(reader, select_legacy_snapshots(catalog, selection, first, last))
        positions = await load(reader, select_all_positions(catalog, selection))
        events = await self.load_events(reader, chunk, positions)
        flows = await self.load_flows(reader, chunk)
        betas = Betas.none()
        if self.plan.price_last >= self.today:
            betas = await load(reader, select_newest_betas(catalog, selection))
        self.monitor.loaded(
            stored=len(stored),
            positions=len(positions),
            events=len(events),
            flows=len(flows),
            betas=len(betas),
        )
        existing = Existing(stored.portfolio_id, stored.day, stored.is_complete)
        if self.request.replaces:
            outside = (stored.day < first) | (stored.day > last)
            stored = replace(stored, is_complete=stored.is_complete & outside)
        facts = ChunkFacts(positions, events, flows, stored, Returns.none(), betas)
        return ChunkLoad(chunk, existing, facts)

    def encode(
        self,
        loaded: ChunkLoad,
        opening: Opening,
        rows: Rows,
        analysed: Analysed | None = None,  # noqa: ARG002  # the policy has no such analytics
        analysis: Analysis | None = None,  # noqa: ARG002
    ) -> ComputedChunk:
        """Return what a chunk writes."""
        existing, ids, tables = loaded.existing, opening.portfolio_id, self.tables
        batch = encode_batch(
            rows,
            ids,
            stands_already(rows, ids, existing.portfolio_id, existing.day),
            _last_equities(rows, ids),
            self.run.clock.stamp(),
            analytics=SnapshotAnalytics(own_columns(rows)),
            jsonb=tables.jsonb,
            cleared=tables.cleared,
            defaulted=tables.defaulted,
            cancel=self.cancel,
        )
        return ComputedChunk(loaded.chunk, (batch,), rows, ())


def _refuse_existing(
    portfolios: LegacyPortfolios, committed: Committed, *, inception: bool
) -> None:
    own = committed.covers(portfolios.id)  # rows that the run itself has written
    stored = portfolios.stands > 0
    first = portfolios.first_stands.values
    if inception:
        stored, first = portfolios.latest.state == State.VALUE, portfolios.latest.values
    stands = np.flatnonzero(stored & ~portfolios.deleted & ~own)
    if len(stands) > 0:
        row = int(stands[0])
        day = int(first[row])
        raise plans.existing_error(portfolios.id[row], day, len(stands))


def own_columns(rows: Rows) -> dict[str, Decimals | FloatObjects]:
    """Return the columns beside those of every run, by name."""
    return {name: getattr(rows.legacy, name) for name in WRITTEN}


def _last_equities(rows: Rows, ids: npt.NDArray[np.uint8]) -> Equities:
    """Return the equity of the last day that each portfolio wrote, in order or not (L7)."""
    wrote = np.flatnonzero(rows.written > 0)
    last = np.cumsum(rows.written)[wrote] - 1
    return Equities(np.ascontiguousarray(ids[wrote]), rows.equity_cents[last])


def _no_rows() -> Existing:
    nobody = Previous.none()
    return Existing(nobody.portfolio_id, nobody.day, nobody.is_complete)
