"""The policy `legacy` of docs/legacy.md: the figures that a host's own batch stored."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any, ClassVar, Final

import numpy as np

from batchcore import calendar as calendars
from batchcore.db.analytic_tables import LEGACY, LEGACY_USES, LegacyTables, check_legacy
from batchcore.frames import Betas, Decimals, Issues, Opening, Previous
from batchcore.native import build_host
from batchcore.pg.ledger import Committed
from batchcore.policies.policy import ChunkFacts, ChunkLoad, Policy, RunContext, RunPrices
from batchcore.run import plan as plans
from batchcore.run.issues import ambiguous_profiles
from batchcore.run.plan import Chunk, Plan, Range
from batchcore.shards import in_shard
from batchcore.sinks.snapshots import Equities
from batchcore.sources.host import Boundaries, Selection, located
from batchcore.sources.portfolios import count_portfolios, select_legacy_portfolios
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
    from batchcore.calendar import Calendar
    from batchcore.db.catalog import Catalog
    from batchcore.frames import Ids, Rows, Text
    from batchcore.pg.session import Session
    from batchcore.run.analysis import Analysed, Analysis
    from batchcore.run.request import Request
    from batchcore.schema import Use
    from batchcore.sources.portfolios import LegacyPortfolios

PREVIOUS_CLOSE_DAYS: Final = 10
"""Maximum calendar days between a session and its previous close (L12)."""


class Legacy(Policy):
    """Each date of a range by itself, from the stored row before it."""

    reads_deleted: ClassVar = True

    def __init__(self, run: RunContext, catalog: Catalog, calendar: Calendar, days: Range) -> None:
        super().__init__(run, catalog, calendar, days)
        self.tables = self.check_tables(catalog, run.request)
        today = self.settings.today  # the first day that is current (L32)
        self.today = (
            calendar.local_date(self.request.now) if today is None else calendars.day_of(today)
        )
        self._sessions = np.zeros(0, dtype=np.int32)
        if days.start is not None:
            self._sessions = calendar.sessions(days.start, days.end)

    @classmethod
    def uses(cls, request: Request) -> Use:  # noqa: ARG003  # it has all analytics
        """Return the uses of the host's tables by a run."""
        return LEGACY_USES

    @classmethod
    def check_tables(cls, catalog: Catalog, request: Request) -> LegacyTables:
        """Return the host's tables for the policy."""
        return check_legacy(catalog, writes=not request.settings.dry_run)

    async def make_plan(self, reader: Session) -> None:
        """Set `plan`, the sessions that each portfolio writes."""
        entries = await self.inception(reader)
        wanted, shard = Selection(self.request.wanted), self.settings.shard
        if wanted.ids is None:
            wanted = Selection(shard=shard)
        query = select_legacy_portfolios(self.catalog, wanted, self._sessions)
        portfolios = await load(reader, query)
        self.monitor.loaded(portfolios=len(portfolios.id))
        self.check_portfolios(portfolios.id, portfolios.deleted)
        if wanted.shard is not None:
            self.asked = await count_portfolios(reader, self.catalog)
        elif shard is not None:
            portfolios = portfolios.take(in_shard(portfolios.id, shard))
        self.plan = self._planned(portfolios, entries)
        self.names = tuple(portfolios.name.texts())
        if self.days.start is not None and len(self._sessions) == 0:
            self.refused = ~portfolios.deleted
            # Each date of the range is reported for each portfolio (L2).
            dates = np.arange(self.days.start, self.days.end + 1, dtype=np.int32)
            alive = np.flatnonzero(self.refused)
            owner = np.repeat(alive, len(dates))
            self.issues.add(Issues.of("no_session", owner, day=np.tile(dates, len(alive))))
        self.report_currencies(portfolios.currency, self.plan.works)

    def _planned(self, portfolios: LegacyPortfolios, entries: Boundaries | None) -> Plan:
        days, count = self.days, len(portfolios.id)
        committed = self.request.committed or Committed()
        latest, complete = portfolios.latest, portfolios.complete
        has_latest = latest.state == State.VALUE
        if self.request.on_existing == "error":
            found, first = complete > 0, portfolios.first_complete.values
            if self.request.inception:
                found, first = has_latest, latest.values
            plans.refuse_existing(portfolios.id, found & ~portfolios.deleted, first, committed)
        first_day = np.full(count, days.end if days.start is None else days.start, dtype=np.int32)
        if days.start is None:
            first_day[has_latest] = latest.values[has_latest] + 1
            if entries is not None:
                row = located(portfolios.id, entries.ids)
                begins = (row >= 0) & (~has_latest | self.request.replaces)
                first_day[begins] = entries.day[row[begins]]
        last_day = np.full(count, days.end, dtype=np.int32)
        idle = portfolios.deleted  # skipped (L1), as are those whose rows are all complete (L3)
        if self.request.replaces:
            if days.start is not None:
                written = complete >= len(self._sessions)
                idle = idle | (committed.done(portfolios.id) & written)
            complete = np.zeros(count, dtype=np.int64)
        if days.start is not None:
            idle = idle | (complete >= len(self._sessions))
        last_day[idle] = plans.NEVER
        sessions = plans.sessions_between(self.calendar, first_day, last_day)
        return Plan(
            first_day=first_day,
            last_day=last_day,
            sessions=sessions,
            continues=np.zeros(count, dtype=np.bool_),
            previous=Previous.none(),
            opening=Opening(
                portfolio_id=portfolios.id,
                equity=portfolios.equity_balance,
                first_day=first_day,
                last_day=last_day,
            ),
            latest_day=latest,
            latest_equity=Decimals.nulls(count),
            deleted=portfolios.deleted,
            price_first=int(sessions[0]) if len(sessions) else 0,
            price_last=int(sessions[-1]) if len(sessions) else 0,
            is_whole=self.request.wanted is None and self.settings.shard is None,
            complete=complete,
        )

    async def load_prices(self, reader: Session, symbols: Text) -> RunPrices:
        """Return the prices of the plan, profiles and the other inputs of rows.

        Closes are looked up as symbols are spelt on positions (L12).
        """
        plan = self.plan
        spelt = {*symbols.table(), ""}
        first = max(plan.price_first - PREVIOUS_CLOSE_DAYS, calendars.FIRST_DATE)
        closes = await load_legacy_closes(reader, self.catalog, spelt, first, plan.price_last)
        self.monitor.loaded(prices=len(closes))
        market = await self.valuation.market(reader, closes)
        profiles, has_benchmark = None, False
        if plan.price_last >= self.today:
            query = select_spelt_profiles(self.catalog, spelt)
            profiles, ambiguous = await load(reader, query)
            self.issues.add(ambiguous_profiles(ambiguous))
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
        return RunPrices(market, host=host)

    async def load_chunk(self, reader: Session, chunk: Chunk) -> ChunkLoad:
        """Return the rows of a chunk."""
        if not chunk.works.any():
            return ChunkLoad(chunk, Existing.none(), None)
        catalog, selection = self.catalog, self.selection_of(chunk, chunk.works)
        first, last = self.flow_window(chunk)
        with self.monitor.phase("load"):
            stored = await load(reader, select_legacy_snapshots(catalog, selection, first, last))
            positions = await load(reader, select_all_positions(catalog, selection))
            betas = Betas.none()
            if self.plan.price_last >= self.today:
                betas = await load(reader, select_newest_betas(catalog, selection))
            self.monitor.loaded(stored=len(stored), betas=len(betas))
            book = replace(await self.load_book(reader, chunk, positions), betas=betas)
        existing = Existing(stored.portfolio_id, stored.day, stored.is_complete)
        if self.request.replaces:
            outside = (stored.day < first) | (stored.day > last)
            stored = replace(stored, is_complete=stored.is_complete & outside)
        return ChunkLoad(chunk, existing, ChunkFacts(book, stored, Returns.none()))

    def columns(
        self, chunk: Chunk, rows: Rows, analysed: Analysed | None, analysis: Analysis | None
    ) -> dict[str, Any]:
        """Return the columns of `legacy`; it has no other analytics."""
        del chunk, analysed, analysis
        return {
            "analytics": {name: getattr(rows.legacy, name) for name in LEGACY},
            "jsonb": self.tables.jsonb,
            "cleared": self.tables.cleared,
            "defaulted": self.tables.defaulted,
        }

    def equities(self, rows: Rows, ids: Ids, chunk: Chunk) -> Equities:  # noqa: ARG002
        """Return the equity of the last day that each portfolio wrote, in order or not (L7)."""
        wrote = np.flatnonzero(rows.written > 0)
        last = np.cumsum(rows.written)[wrote] - 1
        return Equities(np.ascontiguousarray(ids[wrote]), rows.equity_balance[last])
