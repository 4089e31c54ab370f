"""The snapshots of one chunk against what they should be."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np

from batchcore import calendar as calendars
from batchcore.audit import compare
from batchcore.audit import links as linking
from batchcore.audit.changes import CAUSES, Differing, Written, last_written, runs_are_missing
from batchcore.audit.links import CARRIED
from batchcore.audit.result import Difference
from batchcore.frames import Decimals
from batchcore.sources.host import floats
from batchcore.sources.query import load
from batchcore.sources.stored import SHARES, select_changed_closes, uuid_at
from batchcore.units import MARKET, State

if TYPE_CHECKING:
    from collections.abc import Callable

    import numpy.typing as npt

    from batchcore.audit.links import Expected, Links
    from batchcore.audit.result import Tally
    from batchcore.audit.rules import Chunk, Rules
    from batchcore.frames import Bools, Days, Int64
    from batchcore.sources.stored import RunChunks


class ChunkCheck:
    """Compares the rows of one chunk."""

    _links: Links
    _expected: Expected
    _wrong: Bools

    def __init__(
        self,
        rules: Rules,
        chunk: Chunk,
        tally: Tally,
        run_chunks: RunChunks,
        tick: Callable[[int], None],
    ) -> None:
        """Take a chunk of at least one row, what counts its cells, and the chunks of the ledger.

        ``tick`` is called with how many more rows are done.
        """
        self._rules = rules
        self._chunk = chunk
        self._tally = tally
        self._run_chunks = run_chunks
        self._tick = tick

    async def run(self) -> None:
        """Compare the rows, and count what differs."""
        chunk, rules = self._chunk, self._rules
        stored, rows = chunk.stored, chunk.rows
        self._before, *others = (before[rows] for before in rules.previous(stored))
        self._links = linking.stored_links(stored, rows, self._before)
        self._expected = await rules.rows(chunk, self._links, self._tick)
        self._wrong = compare.differences(stored, rows, self._expected)
        for before in others:
            await self._go_on_from(before)
        await self._follow_right_rows()
        judged = rules.judge(chunk, self._links, self._expected)
        analysed = await rules.analysed(chunk, self._expected, self._wrong, judged)
        if analysed is not None:
            should, wrong = analysed
            cells = {**self._expected.cells, **should.cells}
            self._expected = replace(self._expected, cells=cells, shares=should.shares)
            self._wrong |= wrong
        self._wrong &= judged.checked()
        self._tally.judge(judged)
        missing = self._missing_sessions()
        self._tally.missing_sessions += int(missing.sum())
        differing = np.flatnonzero(self._wrong.any(axis=1))
        if len(differing):
            await self._differ(differing, missing[differing])

    def right_equities(self, latest: Days) -> Decimals:
        """Return what the equities of some snapshots should be, where they are wrong.

        Args:
            latest: (p,) the day of one snapshot of each portfolio of the chunk.

        Returns:
            (p,) cents; NULL of the other portfolios.
        """
        found = Decimals.nulls(len(latest.values))
        values, state = found.values.copy(), found.state.copy()
        portfolio = self._links.portfolio
        own = (self._links.day == latest.values[portfolio]) & (
            latest.state[portfolio] == State.VALUE
        )
        own &= self._wrong[:, compare.PLACE["equity_balance"]]
        equity = self._expected.cells["equity_balance"]
        values[portfolio[own]] = equity.values[own]
        state[portfolio[own]] = State.VALUE
        return Decimals(values, equity.scale, state)

    async def _go_on_from(self, before: Int64) -> None:
        """Compute rows that differ from other rows before them, where that fits better."""
        stored, rows = self._chunk.stored, self._chunk.rows
        again = np.flatnonzero(self._wrong.any(axis=1) & (before != self._before))
        if len(again) == 0:
            return
        part = linking.stored_links(stored, rows[again], before[again])
        better = await self._take_better(again, part)
        self._before[better] = before[better]
        self._links = linking.stored_links(stored, rows, self._before)

    async def _follow_right_rows(self) -> None:
        """Compute rows after a wrong one from what that should have been, where that fits."""
        rows = self._chunk.rows
        place = np.full(len(self._chunk.stored) + 1, -1, dtype=np.int64)  # the last is of row -1
        place[rows] = np.arange(len(rows))
        before = place[self._before]
        found = np.flatnonzero(compare.in_any(self._wrong, CARRIED) & self._expected.known)
        while len(found):
            after = (before >= 0) & np.isin(before, found) & self._expected.known
            again = np.flatnonzero(self._wrong.any(axis=1) & after)
            part = linking.expected_links(self._links.take(again), before[again], self._expected)
            found = await self._take_better(again, part)  # what follows them may fit better, too

    async def _take_better(self, again: Int64, part: Links) -> Int64:
        """Compute rows once more, take those that differ in fewer cells; return which these are."""
        other = await self._rules.rows(self._chunk, part, lambda _: None)
        others = compare.differences(self._chunk.stored, self._chunk.rows[again], other)
        better = other.known & (
            ~self._expected.known[again] | (others.sum(axis=1) < self._wrong[again].sum(axis=1))
        )
        found: Int64 = again[better]
        self._wrong[found] = others[better]
        self._expected = self._expected.replaced(found, other.take(better))
        return found

    def _missing_sessions(self) -> Int64:
        """Return how many sessions since the row that each goes on from lack a complete one."""
        links, days, rows = self._links, self._rules.calendar.days, self._chunk.rows
        if days is None:
            between = links.day.astype(np.int64) - links.previous_day - 1
        else:
            low = np.searchsorted(days, links.previous_day, side="right")
            between = np.searchsorted(days, links.day, side="left") - low
        complete = np.concatenate([[0], np.cumsum(self._chunk.stored.complete)])
        missing = between - (complete[rows] - complete[self._before + 1])
        return np.where(links.first, 0, missing).astype(np.int64)

    async def _differ(self, differing: Int64, missing: Int64) -> None:
        """Count rows that differ, with the causes that stored facts show."""
        chunk, rules, ids = self._chunk, self._rules, self._chunk.ids
        links, wrong = self._links.take(differing), self._wrong[differing]
        written = Written(links.portfolio, links.day, chunk.stored.written[links.row])
        rows = Differing(
            rows=last_written(self._run_chunks, ids, written),
            since=rules.since(links),
            looks_back=rules.looks_back(links, wrong),
            lacks_a_run=runs_are_missing(
                self._run_chunks, ids, written, links.previous_day, missing
            ),
            wrong=wrong,
        )
        symbols = tuple(dict.fromkeys((*chunk.facts.symbols, MARKET)))
        query = select_changed_closes(
            rules.catalog,
            symbols,
            int(rows.rows.at.min()),
            int(rows.looks_back.min()),
            int(links.day.max()),
        )
        prices = await load(rules.session, query)
        cause = rows.causes(rules.patterns, chunk.facts, prices)
        found = DifferingCells(chunk, links, self._expected.take(differing), cause)
        self._tally.differ(wrong, cause, found)


class DifferingCells:
    """Rows that differ: their cells as they are and as they should be, and why they may differ."""

    def __init__(
        self, chunk: Chunk, links: Links, expected: Expected, cause: npt.NDArray[np.uint8]
    ) -> None:
        """Take the rows, what they should be, and places in `CAUSES`."""
        stored, rows = chunk.stored, links.row
        self._ids = chunk.ids
        self._links = links
        self._cause = cause
        self._pairs = {
            name: (stored.cells[name].take(rows), column)
            for name, column in expected.cells.items()
            if name in stored.cells
        }
        self._texts = {name: text.take(rows).texts() for name, text in stored.texts.items()}
        self._shares: list[tuple[Any, Any]] = []
        if stored.shares is not None and expected.shares is not None:
            own = compare.shares_at(stored.shares, rows)
            self._shares = list(zip(own, expected.shares.tolist(), strict=True))

    def difference(self, row: int, column: str) -> Difference:
        """Return a cell as it is and as it should be."""
        return Difference(
            uuid_at(self._ids, int(self._links.portfolio[row])),
            calendars.date_of(int(self._links.day[row])),
            column,
            *self._pair(row, column),
            CAUSES[self._cause[row]],
        )

    def furthest(self, rows: npt.NDArray[np.intp], column: str) -> int:
        """Return which of some rows is furthest off in a column; what is no number comes last."""
        if column in self._pairs:
            own, right = self._pairs[column]
            apart = np.abs(floats(own) - floats(right))[rows]
        else:
            found = (compare.shares_apart(*self._pair(row, column)) for row in rows.tolist())
            apart = np.array([np.nan if one is None else float(one) for one in found])
        return int(rows[np.argmax(np.nan_to_num(apart, nan=-1.0))])

    def _pair(self, row: int, column: str) -> tuple[Any, Any]:
        if column == SHARES:
            return self._shares[row]
        if column in self._texts:
            return self._texts[column][row], None
        own, right = self._pairs[column]
        return compare.value_at(own, row), compare.value_at(right, row)
