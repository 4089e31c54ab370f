"""What the policy `rollforward` says of stored snapshots (S5 to S10, A1 to A6)."""

from __future__ import annotations

import asyncio
import uuid
from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING, Any, Final

import numpy as np

from batchcore import calendar as calendars
from batchcore import reference as ref
from batchcore.analytics.windows import LOOK
from batchcore.audit import compare
from batchcore.audit import links as linking
from batchcore.audit.analytics import analysed_rows
from batchcore.audit.changes import Patterns
from batchcore.audit.compute import ByReference, Inputs, Natively
from batchcore.audit.rules import Rules, uuids_of
from batchcore.db.analytic_tables import check_parts
from batchcore.errors import SchemaError
from batchcore.frames import Decimals, rescaled
from batchcore.native import build_market
from batchcore.run.analysis import PAST_RETURNS, extra_symbols, load_analysis
from batchcore.run.monitor import Monitor
from batchcore.run.prices import PriceWindow, load_closes
from batchcore.sources.facts import select_events, select_flows
from batchcore.sources.positions import load_symbols, select_positions
from batchcore.sources.query import load
from batchcore.sources.snapshots import select_returns
from batchcore.sources.stored import ANALYTIC, COUNTS, RULED, Fact, OwnEquities

if TYPE_CHECKING:
    from decimal import Decimal

    from batchcore.audit.compute import Computer
    from batchcore.audit.links import Expected, Links
    from batchcore.audit.rules import Chunk
    from batchcore.db.analytic_tables import Parts
    from batchcore.frames import Bools, Bytes, Int32, Int64, Text
    from batchcore.native import Market
    from batchcore.run.analysis import Analysis
    from batchcore.sources.host import Selection
    from batchcore.sources.portfolios import Portfolios
    from batchcore.sources.stored import StoredRows


LEVEL: Final = "portfolio"
"""The analytics that snapshots have columns of."""

_BY_PRICE: Final = ("daily_pnl", "daily_realized_pnl", "long_value", "short_value", *ANALYTIC)


class RollForward(Rules):
    """The policy on the tables of a host."""

    columns = compare.COLUMNS
    computed = RULED
    patterns = Patterns(
        price=_BY_PRICE,
        flow=("daily_capital_flow", "cumulative_capital_flow", *ANALYTIC),
        lot=(*_BY_PRICE, *COUNTS),
        exits=True,
    )
    of_first_row = compare.OF_BASELINE
    sums = ("capital_flow",)
    by_chain = compare.BY_CHAIN
    by_value = compare.BY_VALUE
    by_quantity = COUNTS

    _prices = ref.market(())
    _market: Market | None = None
    _analysis: Analysis | None = None

    def _look(self) -> None:
        self._parts: Parts | None = None  # of the analytics; None where there are none
        try:
            self._parts = check_parts(self.catalog, LEVEL, writes=False)
            self.off.update(self._parts.off)
        except SchemaError as error:  # of the columns of analytics: the others were checked
            self.off["analytics"] = str(error)

    async def share(self, selection: Selection, first: int, last: int) -> None:
        """Load closes, marks and betas."""
        symbols = await load_symbols(self.session, self.catalog, selection)
        if not self.fast:
            self._prices = await self.reader.closes(symbols.table())
        if self.fast or self._parts is not None:
            await self._share_natively(symbols, first, last)

    async def _share_natively(self, symbols: Text, first: int, last: int) -> None:
        session, settings = self.session, self.request.settings
        level = "none" if self._parts is None else LEVEL
        days = self.calendar.last_sessions(first, LOOK + 1)[:1]
        start = min([first - settings.lookback_days, *days.tolist()])
        monitor = Monitor(str(uuid.uuid4()))
        closes = await load_closes(
            session,
            self.catalog,
            (*symbols.table(), *extra_symbols(level)),
            PriceWindow(max(start, calendars.FIRST_DATE), first, last),
            source=None,
            monitor=monitor,
        )
        self._market = await asyncio.to_thread(
            build_market,
            closes,
            self.calendar.sessions(first, last),
            lookback_days=settings.lookback_days,
        )
        if self._parts is not None:
            self._analysis = await load_analysis(
                session,
                self.catalog,
                self._parts,
                market=self._market,
                symbols=symbols,
                days=self.calendar.sessions(min([first, *days.tolist()]), last),
                monitor=monitor,
                threads=settings.threads,
                beta_weights=self.request.beta_weights,
            )

    def _read(self) -> tuple[str, ...]:
        return self.columns if self._parts is not None else RULED

    def previous(self, stored: StoredRows) -> tuple[Int64, ...]:
        """Return the latest complete row before each (S5)."""
        return (linking.previous_rows(stored),)

    def _reads(self, current: Bools) -> dict[str, bool]:  # noqa: ARG002  # no day is
        return {"profiles": self._parts is not None and self._parts.profiles, "betas": False}

    async def _computer(
        self,
        ids: Bytes,
        selection: Selection,
        stored: StoredRows,
        current: Bools,  # noqa: ARG002
    ) -> Computer:
        settings = self.request.settings
        if self.fast and self._market is not None:
            inputs = await self._inputs(ids, selection, stored)
            return Natively(self._market, inputs, RULED, threads=settings.threads)
        own = uuids_of(ids)
        portfolios = await self.reader.portfolios(dict.fromkeys(own), own)
        scales = self.reader.scales

        def roll(
            portfolio: int, day: int, previous: tuple[Any, ...] | None, opening: Decimal, _: int
        ) -> ref.Row | None:
            start = replace(portfolios[portfolio], opening_equity=opening)
            if previous is not None:
                start = replace(start, snapshots=(ref.Snapshot(*previous),))
            lookback = settings.lookback_days
            rows = ref.roll_forward(start, self._prices, [day], lookback, scales).rows
            return rows[0] if rows else None

        return ByReference(roll, RULED)

    async def _inputs(self, ids: Bytes, selection: Selection, stored: StoredRows) -> Inputs:
        session, catalog = self.session, self.catalog
        window = int(stored.day.min()), int(stored.day.max())
        return Inputs(
            ids,
            await load(session, select_positions(catalog, selection)),
            await load(session, select_events(catalog, selection)),
            await load(session, select_flows(catalog, selection, *window)),
        )

    def _judge_analytics(
        self,
        judged: compare.Judged,
        chunk: Chunk,
        expected: Expected,  # noqa: ARG002
    ) -> None:
        every = np.ones(len(chunk.rows), dtype=np.bool_)
        if self._parts is None:
            judged.leave_out("analytics_off", every, ANALYTIC)
            return
        analysed = compare.is_analysed(chunk.stored)[chunk.rows]
        judged.leave_out("not_analysed", ~analysed, ANALYTIC)
        if not self._parts.profiles:
            judged.leave_out("analytics_off", every, compare.BY_PROFILE)

    def _judge_changes(
        self,
        judged: compare.Judged,
        chunk: Chunk,
        expected: Expected,  # noqa: ARG002
    ) -> None:
        # A profile is today's (A1, A2): what it said when the row was written is gone.
        profiles = chunk.facts.kind == Fact.PROFILE
        changed = chunk.written.changed_while_held(chunk.facts, profiles)
        judged.leave_out("profile_changed", changed, compare.BY_PROFILE)

    async def analysed(
        self, chunk: Chunk, expected: Expected, wrong: Bools, judged: compare.Judged
    ) -> tuple[Expected, Bools] | None:
        """Return what analytic columns should be, and which cells differ (A1 to A6)."""
        stored, ids = chunk.stored, chunk.ids
        own = np.flatnonzero(compare.in_any(judged.checked(), ANALYTIC))
        if self._analysis is None or len(own) == 0:
            return None
        computer = chunk.computer
        inputs = (
            computer.inputs
            if isinstance(computer, Natively)
            else await self._inputs(ids, chunk.selection, stored)
        )
        first = np.full(len(ids), calendars.LAST_DATE, dtype=np.int32)
        np.minimum.at(first, stored.portfolio, stored.day)
        query = select_returns(self.catalog, self.calendar, ids, first, PAST_RETURNS)
        past = await load(self.session, query)
        read, rows = ("equity_balance", "daily_return"), chunk.rows[own]
        cells = {name: stored.cells[name] for name in read}
        of = self._analysis, inputs, stored, rows
        differ = partial(compare.differences, are_floats=True)
        should = await asyncio.to_thread(analysed_rows, *of, cells, past)
        found = await asyncio.to_thread(differ, stored, rows, should)
        # A wrong equity or return is told of its own row; analytics may go on from the right one.
        if compare.in_any(wrong, read).any():
            known = np.flatnonzero(expected.known)
            for name, column in cells.items():
                right = rescaled(expected.cells[name].take(known), column.scale)
                values, state = column.values.copy(), column.state.copy()
                at = chunk.rows[known]
                values[at], state[at] = right.values, right.state
                cells[name] = Decimals(values, column.scale, state)
            other = await asyncio.to_thread(analysed_rows, *of, cells, past)
            found &= await asyncio.to_thread(differ, stored, rows, other)
        place, every = np.zeros(len(wrong), dtype=np.int64), np.zeros_like(wrong)
        place[own], every[own] = np.arange(len(own)), found
        return should.take(place), every

    def looks_back(self, links: Links, wrong: Bools) -> Int32:
        """Return the first day whose close may have counted in rows (S4, A5)."""
        back = links.previous_day - max(self.request.settings.lookback_days, 1)
        for row in np.flatnonzero(compare.in_any(wrong, ANALYTIC)).tolist():
            of_betas = self.calendar.last_sessions(int(links.day[row]), LOOK + 1)
            back[row] = min(int(back[row]), int(of_betas[0]))
        return np.maximum(back, calendars.FIRST_DATE).astype(np.int32)

    def since(self, links: Links) -> Int32:
        """Return the day of the row that each goes on from (S6, S7)."""
        return links.previous_day

    async def own_equities(
        self,
        portfolios: Portfolios,
        at: Int64,
        selection: Selection,  # noqa: ARG002  # whose snapshots were loaded
    ) -> OwnEquities:
        """Return the equity of the latest complete snapshot (S8)."""
        before = portfolios.before.take(at)
        equity = before.equity_balance
        return OwnEquities(before.day, equity, equity, np.zeros(len(at), dtype=np.bool_))
