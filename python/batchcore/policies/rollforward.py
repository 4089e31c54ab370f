"""The policy `rollforward` of docs/semantics.md."""

from __future__ import annotations

import asyncio
from collections import Counter
from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np

from batchcore import calendar as calendars
from batchcore.analytics.symbol_beta import check_p_values
from batchcore.config import CHECKS, PRICE_LOW
from batchcore.db.analytic_tables import LEVELS, Parts, check_parts
from batchcore.errors import ConfigError, CoverageError
from batchcore.frames import Days, Findings, Issues, among, distinct, known_states, taken
from batchcore.native import Checks, Market, build_checks, in_thread
from batchcore.policies.policy import ChunkFacts, ChunkLoad, Policy, RunContext, RunPrices
from batchcore.run import plan as plans
from batchcore.run.analysis import (
    extra_symbols,
    load_analysis,
    load_past_returns,
    return_sessions,
    rows_exist,
)
from batchcore.run.changes import find_affected
from batchcore.run.issues import ambiguous_profiles
from batchcore.run.plan import Chunk, Plan, Range, Rewrites, with_snapshots
from batchcore.run.prepare import calendar_of, last_closed
from batchcore.run.price_gaps import (
    holders_without_close,
    latest_closes,
    low_prices,
    missing_prices,
    planned_holders,
)
from batchcore.run.prices import PriceWindow, load_closes
from batchcore.run.result import Coverage
from batchcore.schema import Use, snapshot_figures
from batchcore.shards import in_shard
from batchcore.sinks.snapshots import Equities
from batchcore.sources.host import Selection, located
from batchcore.sources.portfolios import select_latest_of_all, select_portfolios
from batchcore.sources.positions import select_held, select_positions
from batchcore.sources.prices import select_price_dates
from batchcore.sources.query import load
from batchcore.sources.rates import select_holders
from batchcore.sources.snapshots import Existing, Holes, Returns, select_existing, select_holes
from batchcore.units import CENTS, State
from batchcore.values import normalised
from batchcore.words import counted, counted_are

if TYPE_CHECKING:
    from collections.abc import Sequence

    from batchcore.calendar import Calendar
    from batchcore.db.catalog import Catalog
    from batchcore.frames import Bools, Ids, Int32, Int64, Prices, Rows, Text
    from batchcore.pg.session import Session
    from batchcore.run.analysis import Analysed, Analysis
    from batchcore.run.request import Request
    from batchcore.sources.portfolios import LatestSnapshots, Portfolios


class RollForward(Policy):
    """Each portfolio continues from its latest snapshot, session by session."""

    figures: ClassVar = snapshot_figures(Use.ROLLFORWARD)

    def __init__(self, run: RunContext, catalog: Catalog, calendar: Calendar, days: Range) -> None:
        super().__init__(run, catalog, calendar, days)
        self.parts = self.check_tables(catalog, run.request)
        self.analytics_off |= self.parts.off

    @classmethod
    def uses(cls, request: Request) -> Use:
        """Return the uses of the host's tables by a run."""
        return Use.ROLLFORWARD | LEVELS[request.analytics]

    @classmethod
    def check_tables(cls, catalog: Catalog, request: Request) -> Parts:
        """Return the parts of the analytics that are done."""
        parts = check_parts(catalog, request.analytics, writes=not request.settings.dry_run)
        if parts.position_betas:
            check_p_values()
        return parts

    async def make_plan(self, reader: Session) -> None:
        """Set `plan`, the sessions that each portfolio writes."""
        holes = await self._holes(reader)
        if holes is not None and self.request.replaces:
            rewrites: Rewrites | None = plans.rewrites_of_holes(holes, self.calendar, self.days)
        else:
            rewrites = await self.rewrites(reader)
        own, everyone = await self._portfolios(reader, rewrites)
        if holes is not None and rewrites is None:
            self.issues.add(plans.hole_issues(own.id, holes))
        self.plan = whole = self._planned(own, rewrites)
        if self.settings.shard is not None:
            whole = self._planned(everyone, rewrites, whole=True)
            self.plan = plans.on_sessions_of(whole, self.plan)
        self._checked, works = whole.sessions_run, whole.works
        if self.request.only_rewrites and not works.all():
            self.selection = Selection(np.ascontiguousarray(whole.id[works]))
        self.report_currencies(everyone.currency, works)

    def _planned(
        self, portfolios: Portfolios, rewrites: Rewrites | None, *, whole: bool = False
    ) -> Plan:
        """Return the plan of a run, or that of all shards, which accepts existing snapshots."""
        return plans.make_plan(
            portfolios,
            self.calendar,
            self.days,
            self.request.on_existing,
            None if rewrites is None else self._rewritten(portfolios, rewrites),
            only_rewrite=self.request.only_rewrites,
            is_whole=self._is_whole,
            committed=None if whole else self.request.committed,
            inception=self.request.inception,
            refuses=not whole,
        )

    async def _holes(self, reader: Session) -> Holes | None:
        """Return the holes of the chains, if `missing` was requested."""
        days = self.days
        if not self.request.missing or (days.start is not None and not self.request.replaces):
            return None  # with a start, the snapshots in the range show its gaps
        selection = Selection(self.request.wanted)
        query = select_holes(self.catalog, self.calendar, selection, days.start, days.end)
        holes = await load(reader, query)
        self.monitor.loaded(holes=len(holes.earliest))
        return holes

    @classmethod
    async def load_latest(
        cls, reader: Session, request: Request, catalog: Catalog
    ) -> LatestSnapshots | None:
        """Return the latest days of all portfolios, if a shard depends on no more of them."""
        if request.wanted is not None or request.only_rewrites or request.inception:
            return None
        calendar = await calendar_of(reader, request, catalog)
        return await load(reader, select_latest_of_all(catalog, calendar))

    async def rewrites(self, reader: Session) -> Rewrites | None:
        """Return where rows are computed again; None if `on_existing` alone decides."""
        if self.request.changed_since is not None:
            return await find_affected(reader, self, self.request.changed_since)
        entries = await self.inception(reader)
        return None if entries is None else Rewrites(entries.ids, Days(entries.day))

    async def _portfolios(
        self, reader: Session, rewrites: Rewrites | None
    ) -> tuple[Portfolios, Portfolios]:
        """Return the portfolios of the shard, and all.

        Only the latest days of the others are read if no day depends on more.
        """
        wanted, boundary, own = self.request.wanted, self.days.boundary, None
        shard, source = self.settings.shard, self.request.snapshot_source
        self._is_whole = wanted is None and shard is None
        if shard is not None and wanted is None and rewrites is None and source is None:
            selection = Selection(shard=shard)
            query = select_portfolios(self.catalog, self.calendar, boundary, selection)
            found = await load(reader, query)
            latest = self.request.latest
            if latest is None:
                latest = await load(reader, select_latest_of_all(self.catalog, self.calendar))
                self.monitor.loaded(latest_of_all=len(latest.portfolios))
            self.asked = int(latest.portfolios.sum())
            self.monitor.loaded(portfolios=len(found))
            return found, latest.as_portfolios(boundary)
        if rewrites is not None:
            own = rewrites.boundaries()
            if rewrites.others is not None:
                boundary = rewrites.others
            elif self.request.only_rewrites and wanted is None:
                self.selection, self._is_whole = Selection(rewrites.id), False
        query = select_portfolios(self.catalog, self.calendar, boundary, self.selection, own)
        portfolios = await load(reader, query)
        self.monitor.loaded(portfolios=len(portfolios))
        if source is not None:
            given = source.to_frame()
            portfolios = with_snapshots(portfolios, given, self.calendar, self.days.boundary)
        self.check_portfolios(portfolios.id, portfolios.deleted)
        if shard is None:
            return portfolios, portfolios
        return portfolios.take(in_shard(portfolios.id, shard)), portfolios

    def _rewritten(self, portfolios: Portfolios, rewrites: Rewrites) -> Days:
        """Return where the rewriting of each chain begins; NULL where it continues or stays."""
        days, first = rewrites.of(portfolios.id), portfolios.first_day
        known, has_before = days.state == State.VALUE, portfolios.before.day.state == State.VALUE
        if self.request.inception and not self.request.replaces:
            known &= ~has_before & (portfolios.last.day.state != State.VALUE)
        if not self.request.only_rewrites:
            return Days(days.values, known_states(known))
        # A chain does not begin before its earliest complete snapshot. Changes after the latest one
        # affect no row.
        known &= first.state == State.VALUE
        return Days(np.where(has_before, days.values, first.values), known_states(known))

    async def load_prices(self, reader: Session, symbols: Text) -> RunPrices:
        """Return the prices of the plan, and the inputs of its analytics."""
        plan, lookback = self.plan, self.settings.lookback_days
        level = "none" if self.request.only_plans else self.parts.level
        days = return_sessions(plan, self.calendar, level)
        priced = None
        if self.calendar.code == calendars.DAILY:
            priced = distinct(await load(reader, select_price_dates(self.catalog)))
        checked, closed = self._days_checked(priced), self._last_closed()
        first = min([plan.price_first - lookback, *days[:1].tolist(), *checked[:1].tolist()])
        window = PriceWindow(
            max(first, calendars.FIRST_DATE),
            plan.price_first,
            plan.price_last,
            until=None if closed is None else calendars.LAST_DATE,
        )
        spelt = (*symbols.table(), *extra_symbols(level))
        closes = await self.load_closes(reader, spelt, window)
        market = await self.valuation.market(reader, closes, spelt)
        self.issues.add(market.issues())
        checks = None
        if len(checked):
            checks = build_checks(market, checked, self.settings, closed=closed)
        if self.request.only_plans:
            await self._report_prices(reader, symbols, closes, checks, checked)
            if self.catalog.schema.fx is not None:
                await self._report_rates(reader, RunPrices(market, checks=checks))
        self._check_coverage(market, symbols, priced)
        if level == "none":
            return RunPrices(market, checks=checks)
        analysis = await load_analysis(
            reader,
            self.catalog,
            self.parts,
            market=market,
            symbols=symbols,
            days=days,
            monitor=self.monitor,
            options=self.request,
        )
        unreadable = [] if analysis.profiles is None else [*analysis.profiles.unreadable]
        of_none = np.full(len(unreadable), -1)
        self.issues.add(Issues.of("not_representable", of_none, detail=unreadable))
        if analysis.profiles is not None:
            self.issues.add(ambiguous_profiles(analysis.profiles.ambiguous))
        if analysis.factors is not None:
            self.analytics_off |= analysis.factors.off
        return RunPrices(market, analysis, checks=checks)

    def _days_checked(self, priced: Int32 | None) -> Int32:
        """Return the sessions whose closes are checked (C1): those of the plan and some before.

        Under `daily` they are the days ``priced``, on which any symbol has a valid close.
        """
        settings = self.settings
        if self.request.repairs or not any(map(settings.does_check, CHECKS)):
            return np.zeros(0, dtype=np.int32)
        sessions = self.plan.sessions
        first = int(sessions[0])
        count = settings.frozen_sessions - 1 if settings.does_check("price_frozen") else 1
        if priced is not None:
            before = priced[priced < first][-count:]
            sessions = sessions[among(sessions, priced)]
        elif first > self.calendar.first_day:
            before = self.calendar.last_sessions(first - 1, count)
        else:
            before = sessions[:0]
        return np.concatenate([before, sessions])

    def _last_closed(self) -> int | None:
        """Return the last closed session, if the plan reaches it and later closes are checked."""
        if self.request.repairs or not self.settings.does_check("price_ahead"):
            return None
        try:
            closed = last_closed(self.request, self.calendar)
        except ConfigError:  # beyond the calendar, as a run over an earlier range need not be
            return None
        return closed if self.plan.price_last >= closed else None

    async def load_closes(
        self, reader: Session, spellings: Sequence[str], window: PriceWindow
    ) -> Prices:
        """Return the closes that mark positions in a window."""
        source, monitor = self.request.price_source, self.monitor
        return await load_closes(
            reader, self.catalog, spellings, window, source=source, monitor=monitor
        )

    async def _report_prices(
        self, reader: Session, symbols: Text, closes: Prices, checks: Checks | None, checked: Int32
    ) -> None:
        """Report missing prices and findings of checks, before anything is computed."""
        plan, settings = self.plan, self.settings
        findings = Findings.none() if checks is None else checks.findings
        sessions = plan.sessions[plan.sessions_run]
        latest = await asyncio.to_thread(latest_closes, symbols, closes, sessions)
        named = {*latest.symbols, *map(str, findings.symbol.texts())}
        if not named:
            return
        spelt = sorted(n for n in symbols.table() if normalised(n) in named)
        held = await load(reader, select_held(self.catalog, self.selection, spelt))
        self.monitor.loaded(held=len(held.start))
        missing = missing_prices(plan, held, latest, settings.lookback_days)
        for issues in await asyncio.to_thread(list, missing):
            self.issues.add(issues)
        holders = await asyncio.to_thread(planned_holders, plan, held, findings)
        self.issues.shared.held.append(holders)
        ids = holders_without_close(plan, held, latest)
        if len(checked) and len(ids) and settings.does_check(PRICE_LOW):
            every = sorted(symbols.table())
            if len(spelt) < len(every):
                held = await load(reader, select_held(self.catalog, Selection(ids), every))
                self.monitor.loaded(held_by_lacking=len(held.start))
            expected, most = among(sessions, checked), settings.millionths("max_missing")
            self.issues.add(await asyncio.to_thread(low_prices, plan, held, latest, expected, most))

    async def _report_rates(self, reader: Session, prices: RunPrices) -> None:
        """Report missing rates by which portfolios would fail (C7): the candidates are computed."""
        plan = self.plan
        first = int(plan.previous.day.min(initial=plan.sessions[0]))
        days = range(first, int(plan.sessions[-1]) + 1)
        names = await self.valuation.names_without_rate(reader, self.selection, days)
        if not names:
            return
        ids = await load(reader, select_holders(self.catalog, self.selection, names))
        holds = np.zeros(len(plan.id), dtype=np.bool_)
        rows = located(ids, plan.id)
        holds[rows[rows >= 0]] = True
        found: Counter[tuple[int, str | None]] = Counter()
        for chunk in self.chunks:
            own = chunk.works & holds[chunk.rows]
            if not own.any():
                continue
            facts = await self._load_facts(reader, chunk, own)
            compute = partial(self.compute, facts, plan.opening.take(chunk.rows), prices)
            issues = (await in_thread(compute, self.cancel)).issues
            is_rate = [name == "fx_missing" for name in issues.name.texts()]
            lacks = issues.take(np.array(is_rate, dtype=np.bool_))
            found.update(zip(lacks.day.values.tolist(), lacks.detail.texts(), strict=True))
        lacking = sorted(found.items())
        details = [f"{rate}, in {counted(many, 'portfolio')}" for (_, rate), many in lacking]
        lacking_days = [day for (day, _), _ in lacking]
        nobody = [-1] * len(lacking)
        self.issues.add(Issues.of("fx_missing", nobody, day=lacking_days, detail=details))

    def _check_coverage(self, market: Market, symbols: Text, priced: Int32 | None) -> None:
        """Set the coverage of each session; raise an error if prices have not arrived (S12)."""
        fresh, recent, known = market.marks.coverage(symbols)
        plan = self.plan
        checked = self._checked
        if priced is not None:
            checked = checked & among(plan.sessions, priced)
        coverage = Coverage(plan.sessions[checked], fresh[checked], recent[checked], known[checked])
        self.coverage = coverage
        share = coverage.share()
        low = np.flatnonzero(share < self.settings.min_coverage)
        if len(low) == 0 or self.request.only_plans:
            return
        row = int(low[0])
        session = calendars.date_of(int(coverage.session[row])).isoformat()
        least = self.settings.min_coverage
        msg = (
            f"price coverage on {session} is {float(share[row]):.1%}, minimum {least:.1%}"
            f" (min_coverage): {coverage.counts_text(row)};"
            f" {counted_are(len(low), 'session')} below the minimum"
        )
        raise CoverageError(msg, session, float(share[row]), least)

    async def load_chunk(self, reader: Session, chunk: Chunk) -> ChunkLoad:
        """Return the rows of a chunk."""
        with self.monitor.phase("load"):
            existing = await self.load_existing(reader, chunk)
            if not chunk.works.any():
                return ChunkLoad(chunk, existing, None)
            facts = await self._load_facts(reader, chunk, chunk.works)
            if self.parts.level != "none":
                returns = await load_past_returns(
                    reader, self.catalog, self.calendar, self.plan, chunk
                )
                self.monitor.loaded(returns=len(returns.value))
                facts = replace(facts, returns=returns)
            return ChunkLoad(chunk, existing, facts)

    async def _load_facts(self, reader: Session, chunk: Chunk, works: Bools) -> ChunkFacts:
        """Return the inputs of some portfolios of a chunk, without past returns."""
        query = select_positions(self.catalog, self.selection_of(chunk, works))
        book = await self.load_book(reader, chunk, await load(reader, query))
        book = await self.valuation.convert(reader, book, self.plan.opening.currency)
        return ChunkFacts(book, self.plan.previous_of(chunk.rows), Returns.none())

    async def load_existing(self, reader: Session, chunk: Chunk) -> Existing:
        """Return the existing snapshots of a chunk in its window."""
        first, last = self.existing_window(chunk)
        whole = self.selection_of(chunk, None)
        query = select_existing(self.catalog, self.calendar, whole, first, last)
        existing = await load(reader, query)
        self.monitor.loaded(existing=len(existing.day))
        return existing

    def existing_window(self, chunk: Chunk) -> tuple[int, int]:
        """Return the first and the last day of which existing snapshots are read."""
        days = self.days
        first, last = days.end if days.start is None else days.start, days.end
        if not chunk.works.any():
            return first, last
        first_written, last_written = self.plan.window_of(chunk)
        return min(first, first_written), max(last, last_written)

    def flow_window(self, chunk: Chunk) -> tuple[int, int]:
        """Return the days of all flows that S5 and S7 read."""
        first, last = self.plan.window_of(chunk)
        earliest = self.plan.opening.earliest_day.take(chunk.rows)
        known = earliest.values[earliest.state == State.VALUE]
        return min(self.plan.price_first, first), max(last, int(known.max(initial=last)))

    def columns(
        self, chunk: Chunk, rows: Rows, analysed: Analysed | None, analysis: Analysis | None
    ) -> dict[str, Any]:
        """Return the analytics of a chunk."""
        del rows  # they have no columns beside those of every run
        if analysed is None or analysis is None:
            return {}
        portfolios = self.selection_of(chunk, chunk.works)
        return {
            "analytics": analysed.snapshot,
            "jsonb": analysis.parts.jsonb,
            "tables": analysed.tables,
            "filled": rows_exist(analysed, analysis, self.catalog, portfolios),
        }

    def equities(self, rows: Rows, ids: Ids, chunk: Chunk) -> Equities:
        """Return the equity of the latest complete snapshot of each portfolio written (S8)."""
        wrote = np.flatnonzero(rows.written > 0)
        last = np.cumsum(rows.written)[wrote] - 1
        cents, day = rows.equity_balance[last], rows.day[last]
        latest = self.plan.latest_day.take(chunk.rows).take(wrote)
        stored = self.plan.latest_equity.take(chunk.rows).take(wrote)
        later = (latest.state == State.VALUE) & (latest.values > day)
        # a later equity that is not representable cannot be used: the column stays unchanged
        known = ~later | (stored.state == State.VALUE)
        equity = np.where(later, in_cents(stored.values, stored.scale), cents)
        return Equities(taken(ids, wrote[known]), equity[known])

    def report_existing(self, chunk: Chunk, existing: Existing) -> Sequence[Issues]:
        """Report the rows that a run leaves unchanged (S13), and return the issues."""
        before, first, days = len(self.issues.parts), chunk.rows.start, self.days
        portfolio = located(existing.portfolio_id, self.plan.id[chunk.rows])
        portfolio[self.plan.deleted[chunk.rows][portfolio]] = -1  # -1 may pick any row
        # The range of each portfolio, and what it writes beyond it.
        begins, ends = self.plan.first_day[chunk.rows], self.plan.last_day[chunk.rows]
        if days.start is not None:
            begins = np.full_like(begins, days.start)
        ends = np.where(chunk.works, np.maximum(ends, days.end), days.end)
        off = plans.off_session(existing, portfolio, self.calendar, (begins, ends))
        self.issues.add(off, first)
        if self.request.on_existing == "skip" and days.start is not None:
            sessions = self.calendar.sessions(days.start, days.end)
            latest = self.plan.latest_day.take(chunk.rows)
            self.issues.add(plans.gaps(existing, portfolio, latest, sessions), first)
        return self.issues.parts[before:]

    async def report_all_existing(self, reader: Session) -> Sequence[Issues]:
        """Report the unchanged rows of all chunks, if nothing is written."""
        noticed: list[Issues] = []
        for chunk in self.chunks:
            with self.monitor.phase("load"):
                existing = await self.load_existing(reader, chunk)
            noticed += self.report_existing(chunk, existing)
        return noticed


def in_cents(values: Int64, scale: int) -> Int64:
    """Return mantissas in cents, half away from zero as PostgreSQL stores them."""
    if scale <= CENTS:
        return values * np.int64(10 ** (CENTS - scale))
    unit = np.int64(10 ** (scale - CENTS))
    whole, rest = np.divmod(np.abs(values), unit)
    cents: Int64 = np.sign(values) * (whole + (rest >= unit - rest))
    return cents
