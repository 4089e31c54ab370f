"""The snapshots of one chunk against what they should be."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from batchcore import calendar as calendars
from batchcore.audit import causes as guesses
from batchcore.audit import compare
from batchcore.audit import links as linking
from batchcore.audit.links import CARRIED
from batchcore.audit.result import Difference
from batchcore.audit.rules import Chunk
from batchcore.db import load_stored as stores
from batchcore.db.audit_queries import EMPTY, GREEKS, SHARES
from batchcore.db.load_analytics import floats
from batchcore.frames import Decimals, day_keys, taken
from batchcore.run.regressions import MARKET
from batchcore.units import State

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    import numpy.typing as npt

    from batchcore.audit.links import Expected, Links
    from batchcore.audit.rules import AnalysedRows, Rules
    from batchcore.audit.tally import Tally
    from batchcore.db.load_stored import StoredRows
    from batchcore.frames import Days

    Bools = npt.NDArray[np.bool_]
    Int64 = npt.NDArray[np.int64]


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
        self,
        rules: Rules,
        chunk: Chunk,
        tally: Tally,
        tick: Callable[[int], None],
        other: Callable[[], Awaitable[Rules | None]],
    ) -> None:
        """Take what was loaded.

        Args:
            rules: Of the policy that was asked for.
            chunk: Of at least one row.
            tally: Takes what is found.
            tick: Called with how many more rows are done.
            other: Gives the other policy, if the tables are such that it can be.
        """
        self._rules = rules
        self._chunk = chunk
        self._part = rules.part(chunk)
        self._tally = tally
        self._tick = tick
        self._other = other

    async def run(self) -> None:
        """Compare, count and tell."""
        stored, rows = self._chunk.stored, self._chunk.rows
        self._before, *others = (before[rows] for before in self._rules.previous(stored))
        self.links = linking.stored_links(stored, rows, self._before)
        self.expected = await self._part.rows(self.links, self._tick)
        self.wrong = compare.ruled_differences(stored, rows, self.expected)
        for before in others:
            await self._go_on_from(before)
        await self._follow_right_rows()
        await self._part.load_history()
        judged = await self._part.judge(self.links, self.expected)
        analysed = await self._part.analysed(self.links, self.expected, self.wrong, judged)
        if analysed is not None:
            self.wrong |= analysed.wrong
        self.wrong &= judged.checked()
        self._tally.judge(judged)
        self._tally.missing_sessions += int(self._missing_sessions().sum())
        differing = np.flatnonzero(self.wrong.any(axis=1))
        if len(differing):
            await self._tell(differing, analysed)

    def right_equities(self, latest: Days) -> Decimals:
        """Return what the equities of some snapshots should be, where they are wrong.

        Args:
            latest: (p,) the day of one snapshot of each portfolio of the chunk.

        Returns:
            (p,) cents; NULL of the other portfolios.
        """
        found = Decimals.nulls(len(latest.values))
        values, state = found.values.copy(), found.state.copy()
        own = self.links.day == latest.values[self.links.portfolio]
        own &= latest.state[self.links.portfolio] == State.VALUE
        own &= self.wrong[:, compare.place_of("equity_balance")]
        equity = self.expected.cells["equity_balance"]
        values[self.links.portfolio[own]] = equity.values[own]
        state[self.links.portfolio[own]] = State.VALUE
        return Decimals(values, equity.scale, state)

    async def _go_on_from(self, before: Int64) -> None:
        """Compute rows that differ from other rows before them, where that fits better."""
        stored, rows = self._chunk.stored, self._chunk.rows
        again = np.flatnonzero(self.wrong.any(axis=1) & (before != self._before))
        if len(again) == 0:
            return
        part = linking.stored_links(stored, rows[again], before[again])
        better = await self._take_better(again, part)
        self._before[better] = before[better]
        self.links = linking.stored_links(stored, rows, self._before)

    async def _follow_right_rows(self) -> None:
        """Compute rows after a wrong one from what that should have been, where that fits."""
        rows = self._chunk.rows
        place = np.full(len(self._chunk.stored) + 1, -1, dtype=np.int64)  # the last is of row -1
        place[rows] = np.arange(len(rows))
        before = place[self._before]
        found = np.flatnonzero(compare.in_any(self.wrong, CARRIED) & self.expected.known)
        while len(found):
            after = (before >= 0) & np.isin(before, found) & self.expected.known
            again = np.flatnonzero(self.wrong.any(axis=1) & after)
            part = linking.expected_links(self.links.part(again), before[again], self.expected)
            found = await self._take_better(again, part)  # what follows them may fit better, too

    async def _take_better(self, again: npt.NDArray[np.intp], part: Links) -> Int64:
        """Compute rows anew, take those that differ in fewer cells and return which they are."""
        other = await self._part.rows(part, lambda _: None)
        others = compare.ruled_differences(self._chunk.stored, self._chunk.rows[again], other)
        better = other.known & (
            ~self.expected.known[again] | (others.sum(axis=1) < self.wrong[again].sum(axis=1))
        )
        found: Int64 = again[better]
        self.wrong[found] = others[better]
        self.expected = linking.replaced(self.expected, found, other, np.flatnonzero(better))
        return found

    def _holes(self) -> Int64:
        """Return of each row how many sessions lie after the one that it goes on from."""
        found, days = self.links, self._rules.calendar.days
        if days is None:
            between = found.day.astype(np.int64) - found.previous_day - 1
        else:
            low = np.searchsorted(days, found.previous_day, side="right")
            between = np.searchsorted(days, found.day, side="left") - low
        return np.where(found.first, 0, between).astype(np.int64)

    def _missing_sessions(self) -> Int64:
        """Return of each row how many of these have no complete snapshot."""
        complete = np.concatenate([[0], np.cumsum(self._chunk.stored.complete)])
        first = np.where(self.links.first, self._chunk.rows, self._before + 1)
        missing: Int64 = self._holes() - (complete[self._chunk.rows] - complete[first])
        return missing

    async def _tell(self, differing: npt.NDArray[np.intp], analysed: AnalysedRows | None) -> None:
        """Guess causes, and tell the rows that differ."""
        stored, rows = self._chunk.stored, self._chunk.rows[differing]
        wrong, part = self.wrong[differing], self.links.part(differing)
        those = guesses.Differing(
            row=rows,
            day=part.day,
            written=(await self._rules.rewritten()).written(
                self._chunk.ids, stored.portfolio[rows], stored.day[rows], stored.written[rows]
            ),
            since=self._part.since(part),
            looks_back=self._part.looks_back(part, wrong),
            holes=self._holes()[differing],
            wrong=wrong,
            as_other=await self._as_other(part, wrong),
        )
        expected = self.expected.part(differing)
        changes = await self._changes(those)
        cause = guesses.causes(self._part.patterns, those, stored, expected, changes)
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

    async def _as_other(self, links: Links, wrong: Bools) -> Bools:
        """Return in which rows that differ all that differs is what the other policy gives.

        Columns that the other policy computes apart (A1 to A6) say nothing. Where the two policies
        give the same by chance, greeks tell: `legacy` writes them with each active position.
        """
        found = np.zeros(len(links), dtype=np.bool_)
        rules = await self._other()
        if rules is None:
            return found
        chunk = self._chunk
        stored = await rules.stored(chunk.selection, chunk.ids)
        keys = day_keys(stored.portfolio, stored.day)
        at = np.searchsorted(keys, day_keys(links.portfolio, links.day))
        there = np.flatnonzero(stored.complete[at])
        rows = at[there]
        part = rules.part(Chunk(chunk.ids, chunk.selection, stored, rows))
        for before in rules.previous(stored):
            expected = await part.rows(
                linking.stored_links(stored, rows, before[rows]), lambda _: None
            )
            own = links.row[there]
            differs = compare.ruled_differences(chunk.stored, own, expected)
            says = list(expected.cells)
            if expected.shares is not None:
                says.append(SHARES)
            else:
                differs |= compare.filled_cells(chunk.stored, own, GREEKS)
                says += GREEKS
            said = wrong[there] & compare.are_of((*says, *EMPTY))
            fits = expected.known & said.any(axis=1) & ~(said & differs).any(axis=1)
            found[there] |= fits & ~compare.lacks_greeks(chunk.stored, own, expected)
        return found

    async def _changes(self, those: guesses.Differing) -> guesses.Changes:
        session, queries = self._rules.ground.session, self._rules.queries
        chunk, held = self._chunk, self._part.held
        query = queries.changed_prices(
            sorted({*held.symbols, MARKET}),
            int(those.written.min()),
            int(those.looks_back.min()),
            int(those.day.max()),
        )
        prices = await stores.load_changed_prices(session, query)
        flows = None
        if queries.has_table("equity_changes"):
            query = queries.changed_flows(chunk.selection)
            flows = await stores.load_changed_flows(session, query, chunk.ids)
        return guesses.Changes(held=held, events=self._part.events, flows=flows, prices=prices)


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
            name: (taken(stored.cells[name], rows), column)
            for name, column in expected.cells.items()
            if name in stored.cells
        }
        self._texts = {name: taken(text, rows) for name, text in stored.texts.items()}
        self._shares: list[tuple[Any, Any]] = []
        if stored.shares is not None and expected.shares is not None:
            own = compare.shares_at(stored.shares, rows)
            self._shares = list(zip(own, expected.shares.tolist(), strict=True))
        if analysed is None:
            return
        # Of a row that was not analysed, no analytic cell is asked for.
        at = np.minimum(np.searchsorted(analysed.own, differing), len(analysed.own) - 1)
        for name, column in analysed.should.cells.items():
            self._pairs[name] = taken(stored.cells[name], rows), taken(column, at)
        if stored.shares is not None:
            right = compare.shares_of(taken(analysed.should.shares, at))
            self._shares = list(zip(compare.shares_at(stored.shares, rows), right, strict=True))

    def cell(self, row: int, column: str) -> tuple[Any, Any]:
        """Return a cell as it is, and as it should be."""
        if column == SHARES:
            return self._shares[row]
        if column in self._texts:
            return self._texts[column].texts()[row], None
        own, right = self._pairs[column]
        return compare.value_at(own, row), compare.value_at(right, row)

    def apart(self, wrong: Bools) -> npt.NDArray[np.float64]:
        """Return how far the cells of each row and column are apart.

        NaN where one of them is no number; 0 in columns without a difference.
        """
        found = np.zeros(wrong.shape)
        for name, (own, right) in self._pairs.items():
            found[:, compare.place_of(name)] = np.abs(floats(own) - floats(right))
        for name in self._texts:
            found[:, compare.place_of(name)] = np.nan  # text, and to be NULL
        place = compare.place_of(SHARES)
        found[:, place] = 0
        for row in np.flatnonzero(wrong[:, place]).tolist():
            distance = compare.shares_apart(*self._shares[row])
            found[row, place] = np.nan if distance is None else float(distance)
        return found
