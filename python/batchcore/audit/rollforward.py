"""What the policy `rollforward` says of stored snapshots (S5 to S10, A1 to A6)."""

from __future__ import annotations

import asyncio
import uuid
from typing import TYPE_CHECKING, Final

import numpy as np

from batchcore import calendar as calendars
from batchcore import reference as ref
from batchcore.analytics.windows import LOOK
from batchcore.audit import causes, compare
from batchcore.audit import links as linking
from batchcore.audit.analytics import Analyses, profiles_changed
from batchcore.audit.by_reference import ByReference
from batchcore.audit.natively import Inputs, Natively
from batchcore.audit.rules import AnalysedRows, Part, Rules
from batchcore.db import load as loads
from batchcore.db import load_stored as stores
from batchcore.db.analytic_tables import check_parts
from batchcore.db.audit_queries import ANALYTIC, COUNTS, GREEKS, AuditQueries
from batchcore.db.load_analytics import load_returns
from batchcore.errors import SchemaError
from batchcore.frames import Decimals, Opening, rescaled
from batchcore.native import build_market
from batchcore.run.analyse import PAST_RETURNS
from batchcore.run.analytic_inputs import load_analysis
from batchcore.run.monitor import Monitor
from batchcore.run.prices import Window, load_closes
from batchcore.run.regressions import extra_symbols

if TYPE_CHECKING:
    from collections.abc import Callable, Collection

    import numpy.typing as npt

    from batchcore.audit.links import Expected, Links
    from batchcore.audit.rules import Chunk, Ground
    from batchcore.calendar import Calendar
    from batchcore.db.analytic_tables import Parts
    from batchcore.db.load import Portfolios
    from batchcore.db.load_stored import OwnEquities, StoredRows
    from batchcore.db.queries import Selection
    from batchcore.frames import Text
    from batchcore.native import Market
    from batchcore.run.analyse import Analysis

    Bools = npt.NDArray[np.bool_]
    Int32 = npt.NDArray[np.int32]
    Int64 = npt.NDArray[np.int64]

LEVEL: Final = "portfolio"
"""The analytics that snapshots have columns of."""


class RollForward(Rules):
    """The policy on the tables of a host.

    Attributes:
        parts: What of the analytics can be computed; None if nothing.
        prices: Closes for the reference; None natively.
        market: Closes and marks; None where nothing is computed natively.
        analysis: None where analytics cannot be computed.
    """

    columns = compare.COLUMNS

    def __init__(self, ground: Ground, calendar: Calendar) -> None:
        """Take what it stands on, and look which analytics there are."""
        super().__init__(ground, AuditQueries(ground.catalog), calendar)
        self.off = {}
        self.parts: Parts | None = None
        self.prices: ref.Market | None = None
        self.market: Market | None = None
        self.analysis: Analysis | None = None
        try:
            self.parts = check_parts(ground.catalog, LEVEL, writes=False)
            self.off.update(self.parts.off)
        except SchemaError as error:  # of the columns of analytics: the others were checked
            self.off["analytics"] = str(error)

    async def share(self, selection: Selection, first: int, last: int) -> None:
        """Load closes, marks and betas."""
        ground = self.ground
        symbols = await loads.load_symbols(ground.session, self.queries, selection)
        if not ground.fast:
            self.prices = await ground.reader.closes(symbols.table())
        if ground.fast or self.parts is not None:
            await self._share_natively(symbols, self.inside(first), self.inside(last))

    async def _share_natively(self, symbols: Text, first: int, last: int) -> None:
        ground, settings = self.ground, self.ground.settings
        level = "none" if self.parts is None else LEVEL
        days = self.calendar.last_sessions(first, LOOK + 1)[:1]
        start = min([first - settings.lookback_days, *days.tolist()])
        monitor = Monitor(str(uuid.uuid4()))
        closes = await load_closes(
            ground.session,
            self.queries,
            (*symbols.table(), *extra_symbols(level)),
            Window(max(start, calendars.FIRST_DATE), first, last),
            source=None,
            monitor=monitor,
        )
        self.market = await asyncio.to_thread(
            build_market,
            closes,
            self.calendar.sessions(first, last),
            lookback_days=settings.lookback_days,
        )
        if self.parts is not None:
            self.analysis = await load_analysis(
                ground.session,
                self.queries,
                self.parts,
                market=self.market,
                symbols=symbols,
                days=self.calendar.sessions(min([first, *days.tolist()]), last),
                monitor=monitor,
                threads=settings.threads,
                beta_weights=ground.beta_weights,
            )

    def _needed(self, columns: Collection[str]) -> Collection[str]:
        """Return columns without those of analytics that are off, and with greeks.

        These are not compared, but tell of the other policy.
        """
        off = ANALYTIC if self.parts is None else ()
        kept = (column for column in columns if column not in off)
        return (*kept, *self.queries.readable(GREEKS))

    def previous(self, stored: StoredRows) -> tuple[Int64, ...]:
        """Return the latest complete row before each (S5)."""
        return (linking.previous_rows(stored),)

    def part(self, chunk: Chunk) -> RollForwardPart:
        """Return what the policy says of a chunk."""
        return RollForwardPart(self, chunk)

    async def own_equities(
        self,
        portfolios: Portfolios,
        at: Int64,
        chunk: Chunk,  # noqa: ARG002  # whose portfolios these are
    ) -> OwnEquities:
        """Return the equity of the latest complete snapshot (S8)."""
        day, equity = portfolios.before.day.take(at), portfolios.before.equity_balance
        equity = equity.take(at)
        return stores.OwnEquities(day, equity, equity, np.zeros(len(at), dtype=np.bool_))


class RollForwardPart(Part):
    """What the policy says of the rows of a chunk."""

    patterns = causes.BY_ROLLFORWARD

    def __init__(self, rules: RollForward, chunk: Chunk) -> None:
        """Take the chunk."""
        super().__init__(rules, chunk)
        self._own = rules
        self._inputs: Inputs | None = None
        self._computer: ByReference | Natively | None = None

    async def _loaded_inputs(self) -> Inputs:
        """Return positions and so on as frames."""
        if self._inputs is None:
            rules, chunk = self._own, self.chunk
            of = rules.ground.session, rules.queries, chunk.selection
            window = int(chunk.stored.day.min()), int(chunk.stored.day.max())
            self._inputs = Inputs(
                chunk.ids,
                await loads.load_positions(*of),
                await loads.load_events(*of),
                await loads.load_flows(*of, *window),
            )
        return self._inputs

    async def _made_computer(self) -> ByReference | Natively:
        if self._computer is not None:
            return self._computer
        rules, ground = self._own, self._own.ground
        if ground.fast and rules.market is not None:
            inputs = await self._loaded_inputs()
            self._computer = Natively(rules.market, inputs, ground.settings.threads)
        else:
            ids = self.chunk.uuids
            self._computer = ByReference(
                await ground.reader.portfolios(dict.fromkeys(ids), ids),
                rules.prices or ref.market(()),
                ground.settings.lookback_days,
                ground.reader.scales,
            )
        return self._computer

    async def rows(self, links: Links, tick: Callable[[int], None]) -> Expected:
        """Return what rows should be; unknown where they go on from what is no amount."""
        computer = await self._made_computer()
        able = np.flatnonzero(linking.usable(links))
        part = links.part(able)
        tick(len(links) - len(able))
        expected = linking.with_opening(await computer.rows(part, tick), part)
        return linking.spread(expected, able, len(links))

    async def judge(self, links: Links, expected: Expected) -> compare.Judged:
        """Return which cells the stored data determine."""
        chunk, parts = self.chunk, self._own.parts
        stored, rows, first = chunk.stored, chunk.rows, links.first
        judged, every = compare.Judged(len(rows)), np.ones(len(rows), dtype=np.bool_)
        judged.leave_out("portfolio_fails", ~expected.known)
        judged.leave_out("opening", first, ("equity_balance",))
        earlier = first.copy()
        earlier[first] = compare.tells_of_earlier_rows(stored, rows[first])
        judged.leave_out("earlier_rows", earlier, compare.BY_CHAIN)
        if parts is None or self._own.analysis is None:
            judged.leave_out("analytics_off", every, ANALYTIC)
            parts = None
        else:
            judged.leave_out("not_analysed", ~compare.is_analysed(stored)[rows], ANALYTIC)
            if not parts.profiles:
                judged.leave_out("analytics_off", every, compare.BY_PROFILE)
        valued = compare.private_values_changed(stored, rows, self.held, self.events)
        judged.leave_out("private_value", valued, compare.BY_VALUE)
        parted = compare.closed_since(stored, rows, self.events)
        judged.leave_out("closed_since", parted, COUNTS)
        if parts is not None and parts.profiles:
            changed = await stores.load_changed_profiles(
                self._own.ground.session, self._own.queries, self.held.symbols
            )
            profiles = profiles_changed(stored, rows, self.held, changed)
            judged.leave_out("profile_changed", profiles, compare.BY_PROFILE)
        return judged

    async def analysed(
        self,
        links: Links,  # noqa: ARG002  # analytics go on from rows, not from what these go on from
        expected: Expected,
        wrong: Bools,
        judged: compare.Judged,
    ) -> AnalysedRows | None:
        """Return what the analytic columns should be, of the rows that have any."""
        rules, stored = self._own, self.chunk.stored
        own = np.flatnonzero(compare.in_any(judged.checked(), ANALYTIC))
        if rules.analysis is None or len(own) == 0:
            return None
        inputs, ids = await self._loaded_inputs(), self.chunk.ids
        first = np.full(len(ids), calendars.LAST_DATE, dtype=np.int32)
        np.minimum.at(first, stored.portfolio, stored.day)
        past = await load_returns(
            rules.ground.session, rules.queries, rules.calendar, ids, first, PAST_RETURNS
        )
        analyses = Analyses(
            rules.analysis,
            positions=inputs.positions,
            events=inputs.events,
            opening=Opening(portfolio_id=ids, equity=Decimals.nulls(len(ids))),
        )
        read = ("equity_balance", "daily_return")
        cells = {name: stored.cells[name] for name in read}
        rows = self.chunk.rows[own]
        should = await asyncio.to_thread(analyses.rows, stored, rows, cells, past)
        found = await asyncio.to_thread(compare.analytic_differences, stored, rows, should)
        # A wrong equity or return is told of its own row; analytics may go on from the right one.
        if compare.in_any(wrong, read).any():
            known = np.flatnonzero(expected.known)
            at = self.chunk.rows[known]
            right = {name: _with(cells[name], at, expected.cells[name], known) for name in read}
            other = await asyncio.to_thread(analyses.rows, stored, rows, right, past)
            found &= await asyncio.to_thread(compare.analytic_differences, stored, rows, other)
        all_wrong = np.zeros_like(wrong)
        all_wrong[own] = found
        return AnalysedRows(own, should, all_wrong)

    def looks_back(self, links: Links, wrong: Bools) -> Int32:
        """Return the first day whose close may have counted in rows (S4, A5)."""
        back = links.previous_day - max(self._own.ground.settings.lookback_days, 1)
        for row in np.flatnonzero(compare.in_any(wrong, ANALYTIC)).tolist():
            of_betas = self._own.calendar.last_sessions(int(links.day[row]), LOOK + 1)
            back[row] = min(int(back[row]), int(of_betas[0]))
        return np.maximum(back, calendars.FIRST_DATE).astype(np.int32)

    def since(self, links: Links) -> Int32:
        """Return the day of the row that each goes on from (S6, S7)."""
        return links.previous_day


def _with(column: Decimals, rows: Int64, values: Decimals, at: npt.NDArray[np.intp]) -> Decimals:
    """Return a column with some of other values in some rows."""
    values = rescaled(values.take(at), column.scale)
    mantissas, state = column.values.copy(), column.state.copy()
    mantissas[rows], state[rows] = values.values, values.state
    return Decimals(mantissas, column.scale, state)
