"""The policy `rollforward` of docs/semantics.md."""

from __future__ import annotations

import asyncio
from functools import partial
from typing import TYPE_CHECKING, ClassVar

import numpy as np

from batchcore import calendar as calendars
from batchcore.db.analytic_tables import Parts, check_parts
from batchcore.errors import CoverageError
from batchcore.frames import among
from batchcore.native import build_market
from batchcore.policies.policy import ChunkFacts, ChunkLoad, ComputedChunk, Policy, Prices
from batchcore.run import plan as plans
from batchcore.run.analytic_inputs import (
    chunk_tables,
    load_analysis,
    load_past_returns,
    return_sessions,
)
from batchcore.run.changes import find_affected
from batchcore.run.completeness import Completeness, latest_closes, spellings
from batchcore.run.prices import Window, load_closes
from batchcore.run.regressions import extra_symbols
from batchcore.run.result import Coverage
from batchcore.run.snapshots import with_snapshots
from batchcore.run.threads import in_thread
from batchcore.sinks.snapshots import Equities, encode_batch, stands_already
from batchcore.sources.host import Boundaries, Selection, located
from batchcore.sources.portfolios import select_portfolios
from batchcore.sources.positions import select_held, select_positions
from batchcore.sources.prices import load_spellings, select_price_dates
from batchcore.sources.query import load
from batchcore.sources.snapshots import Returns, select_existing, select_holes
from batchcore.units import CENTS, State

if TYPE_CHECKING:
    from collections.abc import Sequence

    import numpy.typing as npt

    from batchcore.calendar import Calendar
    from batchcore.db.catalog import Catalog
    from batchcore.db.engine import Session
    from batchcore.frames import Issues, Opening, Rows, Text
    from batchcore.frames import Prices as Closes
    from batchcore.native import Market
    from batchcore.policies.policy import RunContext
    from batchcore.run.analyse import Analysed, Analysis
    from batchcore.run.changes import Affected
    from batchcore.run.plan import Chunk, Plan, Range
    from batchcore.run.request import Request
    from batchcore.sources.portfolios import Portfolios
    from batchcore.sources.snapshots import Existing, Holes


class RollForward(Policy):
    """Each portfolio goes on from its latest snapshot, session by session."""

    core: ClassVar = "rollforward"

    def __init__(self, run: RunContext, catalog: Catalog, calendar: Calendar, days: Range) -> None:
        """Take what is known before the plan."""
        super().__init__(run, catalog, calendar, days)
        self.parts = self.check_tables(catalog, run.request)
        self.analytics_off |= self.parts.off

    @classmethod
    def check_tables(cls, catalog: Catalog, request: Request) -> Parts:
        """Return what of the analytics is done."""
        return check_parts(catalog, request.analytics, writes=not request.settings.dry_run)

    async def make_plan(self, reader: Session) -> None:
        """Decide what each portfolio writes: `plan`."""
        entries = await self.inception(reader)
        holes = await self._holes(reader)
        affected = await self._affected(reader)
        portfolios = await self._portfolios(reader, entries, holes, affected)
        self.plan = self._planned(portfolios, entries, holes, affected)
        self.look_at_currencies(portfolios.currency)

    async def _holes(self, reader: Session) -> Holes | None:
        """Return the holes of the chains where what is missing was asked for."""
        days = self.days
        if not self.request.missing or (days.start is not None and not self.request.replaces):
            return None  # with a start, what stands in the range tells its gaps
        selection = Selection(self.request.wanted)
        query = select_holes(self.catalog, self.calendar, selection, days.start, days.end)
        holes = await load(reader, query)
        self.monitor.loaded(holes=len(holes.earliest))
        return holes

    async def _affected(self, reader: Session) -> Affected | None:
        """Return what changes of the host affect; None in an ordinary run."""
        start, since = self.request.start, self.request.changed_since
        if since is None:
            return None
        return await find_affected(
            reader,
            self.catalog,
            since,
            self.calendar,
            Selection(self.request.wanted),
            None if start is None else calendars.day_of(start),
            self.monitor,
        )

    async def _portfolios(
        self,
        reader: Session,
        entries: Boundaries | None,
        holes: Holes | None,
        affected: Affected | None,
    ) -> Portfolios:
        wanted, boundary, own = self.request.wanted, self.days.boundary, entries
        self._is_whole = wanted is None
        if holes is not None and self.request.replaces:
            day = plans.rewrites(holes, self.calendar, self.days)
            has = day.state == State.VALUE
            own = Boundaries(holes.portfolio_id[has], day.values[has])
        elif affected is not None:
            own = affected.boundaries() if len(affected.id) else None
            if affected.everyone_from is not None:
                boundary = affected.everyone_from
            elif wanted is None:
                self.selection, self._is_whole = Selection(affected.id), False
        query = select_portfolios(self.catalog, self.calendar, boundary, self.selection, own)
        portfolios = await load(reader, query)
        self.monitor.loaded(portfolios=len(portfolios))
        if self.request.snapshot_source is not None:
            given = self.request.snapshot_source.to_frame()
            portfolios = with_snapshots(portfolios, given, self.calendar, self.days.boundary)
        self.check_portfolios(portfolios.id, portfolios.deleted)
        return portfolios

    def _planned(
        self,
        portfolios: Portfolios,
        entries: Boundaries | None,
        holes: Holes | None,
        affected: Affected | None,
    ) -> Plan:
        """Return the plan; holes are filled under `replace`, else reported (S13)."""
        rewrite = None
        if entries is not None:
            rewrite = plans.from_inception(portfolios, entries, replaces=self.request.replaces)
        elif affected is not None:
            rewrite = affected.rewritten(portfolios)
        elif holes is not None and self.request.replaces:
            rewrite = plans.rewritten(portfolios.id, holes, self.calendar, self.days)
        elif holes is not None:
            noticed = plans.noticed_holes(portfolios.id, holes)
            self.issues.add_noticed("gap", noticed, 0, "sessions")
        plan = plans.make_plan(
            portfolios,
            self.calendar,
            self.days,
            self.request.on_existing,
            rewrite,
            only_rewrite=affected is not None,
            is_whole=self._is_whole,
            committed=self.request.committed,
            inception=self.request.inception,
        )
        if affected is not None and not plan.works().all():
            self.selection = Selection(np.ascontiguousarray(plan.id[plan.works()]))
        return plan

    async def load_prices(self, reader: Session, symbols: Text) -> Prices:
        """Return the prices of the plan, and what its analytics need."""
        plan, lookback = self.plan, self.settings.lookback_days
        level = "none" if self.request.only_plans else self.parts.level
        days = return_sessions(plan, self.calendar, level)
        first = min([plan.price_first - lookback, *days[:1].tolist()])
        window = Window(max(first, calendars.FIRST_DATE), plan.price_first, plan.price_last)
        spelt = (*symbols.table(), *extra_symbols(level))
        closes = await self.load_closes(reader, spelt, window)
        self.issues.add_ambiguous(reader.ambiguous)
        build = partial(
            build_market,
            closes,
            plan.sessions,
            policy=self.core,
            lookback_days=lookback,
            cancel=self.cancel,
        )
        market = await in_thread(build, self.cancel)
        self.issues.add(market.issues)
        if self.request.only_plans:
            await self._report_missing_prices(reader, symbols, closes)
        coverage = await self._coverage(reader, market, symbols)
        if level == "none":
            return Prices(market, coverage)
        analysis = await load_analysis(
            reader,
            self.catalog,
            self.parts,
            market=market,
            symbols=symbols,
            days=days,
            monitor=self.monitor,
            threads=self.settings.threads,
            beta_weights=self.request.beta_weights,
        )
        for detail in analysis.unreadable:
            self.issues.add_one("not_representable", -1, detail)
        if analysis.factors is not None:
            self.analytics_off |= analysis.factors.off
        return Prices(market, coverage, analysis)

    async def load_closes(
        self, reader: Session, spellings: Sequence[str], window: Window
    ) -> Closes:
        """Return the closes that mark positions in a window."""
        source, stored = self.request.price_source, None
        if source is None and self.request.wanted is None and self.request.changed_since is None:
            stored = await load_spellings(reader, self.catalog)
        return await load_closes(
            reader,
            self.catalog,
            spellings,
            window,
            source=source,
            monitor=self.monitor,
            stored=stored,
        )

    async def _report_missing_prices(self, reader: Session, symbols: Text, closes: Closes) -> None:
        """Report sessions, symbols and portfolios without prices before anything is computed."""
        plan = self.plan
        sessions = plan.sessions[plan.sessions_run()]
        latest = await asyncio.to_thread(latest_closes, symbols, closes, sessions)
        if not latest.symbols:
            return
        names = spellings(symbols, latest)
        held = await load(reader, select_held(self.catalog, self.selection, names))
        self.monitor.loaded(held=len(held.start))
        lookback = self.settings.lookback_days
        found = await asyncio.to_thread(Completeness, plan, held, latest, lookback)
        self.issues.add_gaps("stale", found.symbols(unpriced=False))
        self.issues.add_gaps("unpriced", found.symbols(unpriced=True))
        self.issues.add_gaps("lacks_prices", found.sessions())
        self.issues.add_gaps("lacks_prices", found.portfolios())

    async def _coverage(self, reader: Session, market: Market, symbols: Text) -> Coverage:
        """Return the coverage of each session; refuse those whose prices have not arrived (S12)."""
        fresh, recent, known = market.coverage(symbols)
        plan = self.plan
        checked = plan.sessions_run()
        if self.calendar.code == calendars.DAILY:
            priced = await load(reader, select_price_dates(self.catalog))
            checked = checked & among(plan.sessions, priced)
        coverage = Coverage(plan.sessions[checked], fresh[checked], recent[checked], known[checked])
        share = coverage.share()
        low = np.flatnonzero(share < self.settings.min_coverage)
        if len(low) == 0 or self.request.only_plans:
            return coverage
        row = int(low[0])
        session = calendars.date_of(int(coverage.session[row])).isoformat()
        least = self.settings.min_coverage
        msg = (
            f"prices of {session} have not arrived: {coverage.counts_text(row)},"
            f" {float(share[row]):.1%}, expected {least:.1%} (min_coverage);"
            f" {len(low)} sessions are below it"
        )
        raise CoverageError(msg, session, float(share[row]), least)

    async def load_chunk(self, reader: Session, chunk: Chunk) -> ChunkLoad:
        """Return the rows of a chunk."""
        with self.monitor.phase("load"):
            existing = await self.load_existing(reader, chunk)
            if not chunk.works.any():
                return ChunkLoad(chunk, existing, None)
            selection = self.selection_of(chunk, chunk.works)
            positions = await load(reader, select_positions(self.catalog, selection))
            events = await self.load_events(reader, chunk, positions)
            flows = await self.load_flows(reader, chunk)
            self.monitor.loaded(positions=len(positions), events=len(events), flows=len(flows))
            returns = Returns.none()
            if self.parts.level != "none":
                returns = await load_past_returns(
                    reader, self.catalog, self.calendar, self.plan, chunk
                )
                self.monitor.loaded(returns=len(returns.value))
            stored = self.plan.previous_of(chunk.rows)
            return ChunkLoad(chunk, existing, ChunkFacts(positions, events, flows, stored, returns))

    async def load_existing(self, reader: Session, chunk: Chunk) -> Existing:
        """Return which snapshots of a chunk exist in its window."""
        first, last = self.existing_window(chunk)
        whole = self.selection_of(chunk, None)
        query = select_existing(self.catalog, self.calendar, whole, first, last)
        existing = await load(reader, query)
        self.monitor.loaded(existing=len(existing.day))
        return existing

    def existing_window(self, chunk: Chunk) -> tuple[int, int]:
        """Return the first and the last day that existing snapshots are looked at of."""
        days, (rows, works) = self.days, (chunk.rows, chunk.works)
        first, last = days.end if days.start is None else days.start, days.end
        if works.any():
            first = min(first, int(self.plan.first_day[rows][works].min()))
            last = max(last, int(self.plan.last_day[rows][works].max()))
        return first, last

    def flow_window(self, chunk: Chunk) -> tuple[int, int]:
        """Return the days of all flows that S5 and S7 read."""
        rows, works = chunk.rows, chunk.works
        first = min(self.plan.price_first, int(self.plan.first_day[rows][works].min()))
        last = int(self.plan.last_day[rows][works].max())
        earliest = self.plan.opening.earliest_day
        given = earliest.state[rows] == 0
        if given.any():
            last = max(last, int(earliest.values[rows][given].max()))
        return first, last

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
        stands = stands_already(rows, ids, existing.portfolio_id, existing.day)
        equities = self.equities(rows, ids, chunk)
        if analysed is None or analysis is None:
            batch = encode_batch(
                rows, ids, stands, equities, self.run.clock.stamp(), cancel=self.cancel
            )
            return ComputedChunk(chunk, (batch,), rows, ())
        portfolios = self.selection_of(chunk, chunk.works)
        batch = encode_batch(
            rows,
            ids,
            stands,
            equities,
            self.run.clock.stamp(),
            analytics=analysed.snapshot,
            jsonb=analysis.parts.jsonb,
            tables=chunk_tables(analysed, analysis, self.catalog, portfolios),
            cancel=self.cancel,
        )
        return ComputedChunk(chunk, (batch,), rows, analysed.issues)

    def equities(self, rows: Rows, ids: npt.NDArray[np.uint8], chunk: Chunk) -> Equities:
        """Return the new `portfolios.equity_balance` of portfolios that are written (S8)."""
        return equities_of(rows, ids, self.plan, chunk.rows)

    def notice(self, chunk: Chunk, existing: Existing) -> tuple[Issues, ...]:
        """Report the rows that a run leaves as they are (S13), and return what was reported."""
        before = self.issues.parts
        first, days = chunk.rows.start, self.days
        portfolio = located(existing.portfolio_id, self.plan.id[chunk.rows])
        portfolio[self.plan.deleted[chunk.rows][portfolio]] = -1  # of -1, whatever it picks, too
        window = self._own_window(chunk)
        noticed = plans.off_session(existing, portfolio, self.calendar, window)
        self.issues.add_noticed("off_session", noticed, first, "dates")
        if self.request.on_existing == "skip" and days.start is not None:
            sessions = self.calendar.sessions(days.start, days.end)
            latest = self.plan.latest_day.take(chunk.rows)
            missing = plans.gaps(existing, portfolio, latest, sessions)
            self.issues.add_noticed("gap", missing, first, "sessions")
        return self.issues.since(before)

    def _own_window(self, chunk: Chunk) -> tuple[npt.NDArray[np.int32], npt.NDArray[np.int32]]:
        """Return first and last day of each portfolio's range, and what it writes beyond it."""
        days = self.days
        first, last = self.plan.first_day[chunk.rows], self.plan.last_day[chunk.rows]
        if days.start is not None:
            first = np.full_like(first, days.start)
        return first, np.where(chunk.works, np.maximum(last, days.end), days.end)

    async def only_notice(self, reader: Session) -> tuple[Issues, ...]:
        """Report the same of all chunks, where nothing is to be written."""
        noticed: tuple[Issues, ...] = ()
        for chunk in self.chunks:
            with self.monitor.phase("load"):
                existing = await self.load_existing(reader, chunk)
            noticed += self.notice(chunk, existing)
        return noticed


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
