"""The snapshots of one chunk against what they should be."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from batchcore import calendar as calendars
from batchcore import reference as ref
from batchcore.analytics.windows import LOOK
from batchcore.audit import causes as guesses
from batchcore.audit import compare, links
from batchcore.audit.analytics import Analyses, profiles_changed
from batchcore.audit.by_reference import ByReference
from batchcore.audit.links import CARRIED, Expected
from batchcore.audit.natively import Inputs, Natively
from batchcore.audit.result import Difference
from batchcore.db import load as loads
from batchcore.db import load_stored as stores
from batchcore.db.audit_queries import ANALYTIC, COUNTS, RULED, SHARES
from batchcore.db.load_analytics import floats, load_returns
from batchcore.frames import Decimals, Opening, rescaled
from batchcore.run.analyse import PAST_RETURNS
from batchcore.run.regressions import MARKET
from batchcore.units import State

if TYPE_CHECKING:
    from collections.abc import Callable

    import numpy.typing as npt

    from batchcore.audit.compare import Analysed
    from batchcore.audit.links import Links
    from batchcore.audit.tally import Tally
    from batchcore.calendar import Calendar
    from batchcore.config import Settings
    from batchcore.db.analytic_tables import Parts
    from batchcore.db.audit_queries import AuditQueries
    from batchcore.db.engine import Session
    from batchcore.db.load_stored import AddedEvents, Held, StoredRows
    from batchcore.db.queries import Selection
    from batchcore.db.read import Reader
    from batchcore.frames import Days
    from batchcore.native import Market
    from batchcore.run.analyse import Analysis

    Bools = npt.NDArray[np.bool_]
    Int64 = npt.NDArray[np.int64]


@dataclass(frozen=True, eq=False, slots=True, kw_only=True)
class Shared:
    """What all chunks share.

    Attributes:
        session: To read in.
        queries: On the tables of the host.
        reader: On the same, for the reference.
        calendar: Whose sessions count.
        settings: `lookback_days` and `threads` count.
        fast: Whether rows are computed natively.
        parts: What of the analytics can be computed; None if nothing.
        prices: Closes for the reference; None natively.
        market: Closes and marks; None where nothing is computed natively.
        analysis: None where analytics cannot be computed.
    """

    session: Session
    queries: AuditQueries
    reader: Reader
    calendar: Calendar
    settings: Settings
    fast: bool
    parts: Parts | None
    prices: ref.Market | None
    market: Market | None
    analysis: Analysis | None


@dataclass(frozen=True, eq=False, slots=True)
class Chunk:
    """Portfolios that are looked at together, and their rows.

    Attributes:
        ids: (p, 16) uint8.
        selection: The same, for queries.
        stored: Their snapshots.
        rows: (k,) int64 complete ones that were asked for, rows of `stored`.
        held: Positions, and when they were changed.
        events: Partial closes, and when they were added.
    """

    ids: npt.NDArray[np.uint8]
    selection: Selection
    stored: StoredRows
    rows: Int64
    held: Held
    events: AddedEvents


@dataclass(frozen=True, eq=False, slots=True)
class AnalysedRows:
    """The analytic columns of some of the rows of a chunk.

    Attributes:
        own: Which of them.
        should: What these columns should be.
        wrong: (k, c) bool of all rows, which cells differ.
    """

    own: npt.NDArray[np.intp]
    should: Analysed
    wrong: Bools


class ChunkCheck:
    """Compares the rows of one chunk.

    Attributes:
        links: The rows, each with what it goes on from.
        expected: What they should be.
        wrong: (k, c) bool, which cells differ.
    """

    links: Links
    expected: Expected
    wrong: Bools

    def __init__(
        self, shared: Shared, chunk: Chunk, tally: Tally, tick: Callable[[int], None]
    ) -> None:
        """Take what was loaded.

        Args:
            shared: With all chunks.
            chunk: Of at least one row.
            tally: Takes what is found.
            tick: Called with how many more rows are done.
        """
        self._shared = shared
        self._chunk = chunk
        self._tally = tally
        self._tick = tick

    async def run(self) -> None:
        """Compare, count and tell."""
        stored, rows = self._chunk.stored, self._chunk.rows
        previous = links.previous_rows(stored)
        self.links = links.stored_links(stored, rows, previous)
        inputs = await self._inputs()
        computer = await self._computer(inputs)
        self.expected = await self._computed(computer, self.links, self._tick)
        self.wrong = compare.ruled_differences(stored, rows, self.expected)
        await self._follow_right_rows(computer, previous[rows])
        judged = await self._judge()
        analysed = None
        if self._shared.analysis is not None and inputs is not None:
            analysed = await self._analysed(inputs, judged, self._shared.analysis)
        if analysed is not None:
            self.wrong |= analysed.wrong
        self.wrong &= judged.checked()
        self._tally.judge(judged)
        holes = self._holes()
        self._tally.missing_sessions += int(holes.sum())
        differing = np.flatnonzero(self.wrong.any(axis=1))
        if len(differing):
            await self._tell(differing, holes, analysed)

    def right_equities(self, latest: Days, at: Int64) -> Decimals:
        """Return what the equities of latest snapshots should be, where they are wrong.

        Args:
            latest: Day of the latest snapshot of each portfolio.
            at: (p,) the portfolios of the chunk among them.

        Returns:
            (p,) cents; NULL of the other portfolios.
        """
        found = Decimals.nulls(len(at))
        values, state = found.values.copy(), found.state.copy()
        own = self.links.day == latest.values[at][self.links.portfolio]
        own &= self.wrong[:, compare.place_of("equity_balance")]
        equity = self.expected.cells["equity_balance"]
        values[self.links.portfolio[own]] = equity.values[own]
        state[self.links.portfolio[own]] = State.VALUE
        return Decimals(values, equity.scale, state)

    async def _inputs(self) -> Inputs | None:
        """Return positions and so on as frames, where something is computed natively."""
        if self._shared.market is None:
            return None
        of = self._shared.session, self._shared.queries, self._chunk.selection
        window = int(self.links.previous_day.min()), int(self.links.day.max())
        return Inputs(
            self._chunk.ids,
            await loads.load_positions(*of),
            await loads.load_events(*of),
            await loads.load_flows(*of, *window),
        )

    async def _computer(self, inputs: Inputs | None) -> ByReference | Natively:
        shared, lookback_days = self._shared, self._shared.settings.lookback_days
        if shared.fast and shared.market is not None and inputs is not None:
            return Natively(shared.market, inputs, shared.settings.threads)
        ids = [stores.uuid_at(self._chunk.ids, row) for row in range(len(self._chunk.ids))]
        portfolios = await shared.reader.portfolios(dict.fromkeys(ids), ids)
        prices = shared.prices or ref.market(())
        return ByReference(portfolios, prices, lookback_days, shared.reader.scales)

    @staticmethod
    async def _computed(
        computer: ByReference | Natively, found: Links, tick: Callable[[int], None]
    ) -> Expected:
        """Return what rows should be; unknown where they go on from what is no amount."""
        able = np.flatnonzero(links.usable(found))
        part = found.part(able)
        tick(len(found) - len(able))
        expected = links.with_opening(await computer.rows(part, tick), part)
        return links.spread(expected, able, len(found))

    async def _follow_right_rows(self, computer: ByReference | Natively, previous: Int64) -> None:
        """Compute rows after a wrong one from what that should have been, where that fits."""
        stored, rows, wrong = self._chunk.stored, self._chunk.rows, self.wrong
        place = np.full(len(stored) + 1, -1, dtype=np.int64)  # the last one stands for row -1
        place[rows] = np.arange(len(rows))
        before = place[previous]
        found = np.flatnonzero(_in_any(wrong, CARRIED) & self.expected.known)
        while len(found):
            after = (before >= 0) & np.isin(before, found)
            again = np.flatnonzero(wrong.any(axis=1) & after)
            part = links.expected_links(self.links.part(again), before[again], self.expected)
            other = await self._computed(computer, part, lambda _: None)
            others = compare.ruled_differences(stored, rows[again], other)
            better = other.known & (others.sum(axis=1) < wrong[again].sum(axis=1))
            found = again[better]  # what follows them may fit better, too
            wrong[found] = others[better]
            self.expected = links.replaced(self.expected, found, other, np.flatnonzero(better))

    async def _judge(self) -> compare.Judged:
        """Return which cells the stored data determine."""
        chunk, parts = self._chunk, self._shared.parts
        stored, rows, first = chunk.stored, chunk.rows, self.links.first
        judged, every = compare.Judged(len(rows)), np.ones(len(rows), dtype=np.bool_)
        judged.leave_out("portfolio_fails", ~self.expected.known)
        judged.leave_out("opening", first, ("equity_balance",))
        earlier = first.copy()
        earlier[first] = compare.tells_of_earlier_rows(stored, rows[first])
        judged.leave_out("earlier_rows", earlier, compare.BY_CHAIN)
        if parts is None or self._shared.analysis is None:
            judged.leave_out("analytics_off", every, ANALYTIC)
            parts = None
        else:
            judged.leave_out("not_analysed", ~compare.is_analysed(stored)[rows], ANALYTIC)
            if not parts.profiles:
                judged.leave_out("analytics_off", every, compare.BY_PROFILE)
        valued = compare.private_values_changed(stored, rows, chunk.held, chunk.events)
        judged.leave_out("private_value", valued, compare.BY_VALUE)
        parted = compare.closed_since(stored, rows, chunk.events)
        judged.leave_out("closed_since", parted, COUNTS)
        if parts is not None and parts.profiles:
            changed = await stores.load_changed_profiles(
                self._shared.session, self._shared.queries, chunk.held.symbols
            )
            profiles = profiles_changed(stored, rows, chunk.held, changed)
            judged.leave_out("profile_changed", profiles, compare.BY_PROFILE)
        return judged

    async def _analysed(
        self, inputs: Inputs, judged: compare.Judged, analysis: Analysis
    ) -> AnalysedRows | None:
        """Return what the analytic columns should be, of the rows that have any."""
        ids, stored = self._chunk.ids, self._chunk.stored
        own = np.flatnonzero(_in_any(judged.checked(), ANALYTIC))
        if len(own) == 0:
            return None
        first = np.full(len(ids), calendars.LAST_DATE, dtype=np.int32)
        np.minimum.at(first, stored.portfolio, stored.day)
        past = await load_returns(
            self._shared.session,
            self._shared.queries,
            self._shared.calendar,
            ids,
            first,
            PAST_RETURNS,
        )
        analyses = Analyses(
            analysis,
            positions=inputs.positions,
            events=inputs.events,
            opening=Opening(portfolio_id=ids, equity=Decimals.nulls(len(ids))),
        )
        read = ("equity_balance", "daily_return")
        cells = {name: stored.cells[name] for name in read}
        rows = self._chunk.rows[own]
        should = await asyncio.to_thread(analyses.rows, stored, rows, cells, past)
        found = compare.analytic_differences(stored, rows, should)
        # A wrong equity or return is told of its own row; analytics may go on from the right one.
        if _in_any(self.wrong, read).any():
            known = np.flatnonzero(self.expected.known)
            right = {
                name: _with(cells[name], self._chunk.rows[known], self.expected.cells[name], known)
                for name in read
            }
            other = await asyncio.to_thread(analyses.rows, stored, rows, right, past)
            found &= compare.analytic_differences(stored, rows, other)
        wrong = np.zeros_like(self.wrong)
        wrong[own] = found
        return AnalysedRows(own, should, wrong)

    def _holes(self) -> Int64:
        """Return of each row how many sessions it leaves out after the one that it goes on from."""
        found, days = self.links, self._shared.calendar.days
        if days is None:
            between = found.day.astype(np.int64) - found.previous_day - 1
        else:
            low = np.searchsorted(days, found.previous_day, side="right")
            between = np.searchsorted(days, found.day, side="left") - low
        return np.where(found.first, 0, between).astype(np.int64)

    async def _tell(
        self, differing: npt.NDArray[np.intp], holes: Int64, analysed: AnalysedRows | None
    ) -> None:
        """Guess causes, and tell the rows that differ."""
        stored, rows = self._chunk.stored, self._chunk.rows[differing]
        wrong = self.wrong[differing]
        those = guesses.Differing(
            row=rows,
            day=self.links.day[differing],
            since=self.links.previous_day[differing],
            looks_back=self._looks_back(differing),
            holes=holes[differing],
            wrong=wrong,
        )
        expected = self.expected.part(differing)
        cause = guesses.causes(those, stored, expected, await self._changes(those))
        told = Told(stored, rows, expected, analysed, differing)

        def tell(row: int, column: str, why: str) -> Difference:
            return Difference(
                stores.uuid_at(self._chunk.ids, int(stored.portfolio[rows[row]])),
                calendars.date_of(int(those.day[row])),
                column,
                *told.cell(row, column),
                why,
            )

        self._tally.differ(wrong, cause, told.apart(wrong), tell)

    def _looks_back(self, differing: npt.NDArray[np.intp]) -> npt.NDArray[np.int32]:
        """Return the first day whose close may have counted in rows."""
        back = self.links.previous_day[differing] - max(self._shared.settings.lookback_days, 1)
        day = self.links.day[differing]
        for row in np.flatnonzero(_in_any(self.wrong[differing], ANALYTIC)).tolist():
            of_betas = self._shared.calendar.last_sessions(int(day[row]), LOOK + 1)
            back[row] = min(int(back[row]), int(of_betas[0]))
        return np.maximum(back, calendars.FIRST_DATE).astype(np.int32)

    async def _changes(self, those: guesses.Differing) -> guesses.Changes:
        session, queries, chunk = self._shared.session, self._shared.queries, self._chunk
        query = queries.changed_prices(
            sorted({*chunk.held.symbols, MARKET}),
            int(chunk.stored.written[those.row].min()),
            int(those.looks_back.min()),
            int(those.day.max()),
        )
        prices = await stores.load_changed_prices(session, query)
        flows = None
        if queries.has_table("equity_changes"):
            query = queries.changed_flows(chunk.selection)
            flows = await stores.load_changed_flows(session, query, chunk.ids)
        return guesses.Changes(held=chunk.held, events=chunk.events, flows=flows, prices=prices)


class Told:
    """Cells of rows that differ, as they are and as they should be."""

    def __init__(  # the rows, and what they should be
        self,
        stored: StoredRows,
        rows: Int64,
        expected: Expected,
        analysed: AnalysedRows | None,
        differing: npt.NDArray[np.intp],
    ) -> None:
        """Take the rows.

        Args:
            stored: Of the chunk.
            rows: (d,) rows of `stored` that differ.
            expected: What they should be.
            analysed: The analytic columns of some rows of the chunk.
            differing: (d,) which rows of the chunk they are.
        """
        self._pairs = {
            name: (loads.taken(stored.cells[name], rows), expected.cells[name]) for name in RULED
        }
        self._shares: list[tuple[Any, Any]] = []
        if analysed is None:
            return
        # Of a row that was not analysed, no analytic cell is asked for.
        at = np.minimum(np.searchsorted(analysed.own, differing), len(analysed.own) - 1)
        for name, column in analysed.should.cells.items():
            own = loads.taken(stored.cells[name], rows)
            self._pairs[name] = own, loads.taken(column, at)
        if stored.shares is not None:
            right = compare.shares_of(loads.taken(analysed.should.shares, at))
            self._shares = list(zip(compare.shares_at(stored.shares, rows), right, strict=True))

    def cell(self, row: int, column: str) -> tuple[Any, Any]:
        """Return a cell as it is, and as it should be."""
        if column == SHARES:
            return self._shares[row]
        own, right = self._pairs[column]
        return compare.value_at(own, row), compare.value_at(right, row)

    def apart(self, wrong: Bools) -> npt.NDArray[np.float64]:
        """Return how far the cells of each row and column are apart.

        NaN where one of them is no number; 0 in columns without a difference.
        """
        found = np.zeros(wrong.shape)
        for name, (own, right) in self._pairs.items():
            found[:, compare.place_of(name)] = np.abs(floats(own) - floats(right))
        place = compare.place_of(SHARES)
        for row in np.flatnonzero(wrong[:, place]).tolist():
            distance = compare.shares_apart(*self._shares[row])
            found[row, place] = np.nan if distance is None else float(distance)
        return found


def _in_any(cells: Bools, columns: tuple[str, ...]) -> Bools:
    """Return which rows have a cell in some columns."""
    places = [compare.place_of(name) for name in columns]
    found: Bools = np.any(cells[:, places], axis=1)
    return found


def _with(column: Decimals, rows: Int64, values: Decimals, at: npt.NDArray[np.intp]) -> Decimals:
    """Return a column with some of other values in some rows."""
    values = rescaled(loads.taken(values, at), column.scale)
    mantissas, state = column.values.copy(), column.state.copy()
    mantissas[rows], state[rows] = values.values, values.state
    return Decimals(mantissas, column.scale, state)
