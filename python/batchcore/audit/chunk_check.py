"""The snapshots of one chunk, compared with expected values."""

from __future__ import annotations

from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING, Any, Final

import numpy as np

from batchcore import calendar as calendars
from batchcore.audit import compare
from batchcore.audit.causes import CAUSES, WriteTimes, causes_of, has_missing_run, last_written
from batchcore.audit.compare import Judgement
from batchcore.audit.compute import (
    CARRIED,
    ExpectedRows,
    Links,
    cents_of,
    computed_by_reference,
    computed_natively,
    in_cents,
)
from batchcore.audit.converted import converted_since
from batchcore.audit.result import Difference, Tally
from batchcore.frames import Decimals
from batchcore.schema import Use
from batchcore.sources.host import Selection, floats
from batchcore.sources.query import load
from batchcore.sources.stored import (
    SHARES,
    ChangedCloses,
    Fact,
    select_changed_splits,
    select_facts,
    uuid_at,
)
from batchcore.splits import restates, restates_earlier
from batchcore.units import MARKET, State

if TYPE_CHECKING:
    import numpy.typing as npt

    from batchcore.audit.compute import Inputs, Tick
    from batchcore.audit.policy import PolicyAudit
    from batchcore.frames import Bools, Bytes, Days, Int64
    from batchcore.sources.stored import Facts, RunChunks, StoredRows


_CORRECTIONS: Final = 3
"""Number of corrections of an opening equity: after the second at most a cent remains."""

_MOST_CENTS: Final = 2**61
"""Equities up to which the correction of an opening equity fits 64 bits."""


class ChunkCheck:
    """The rows of one chunk, compared with expected values."""

    facts: Facts  # inputs of the rows, and when they were changed
    links: Links  # the rows from which they continue
    expected: ExpectedRows
    wrong: Bools  # (k, c) which cells differ; columns are those of `ALL_COLUMNS`
    inputs: Inputs | None = None  # inputs of the native core; None if the reference computes

    def __init__(
        self, policy: PolicyAudit, ids: Bytes, selection: Selection, stored: StoredRows, rows: Int64
    ) -> None:
        """Take requested complete rows, at least one."""
        self._policy = policy
        self.ids = ids
        self.selection = selection
        self.stored = stored
        self.rows = rows
        self.current = policy.current(stored)  # whose day was a current one (L32)
        self.any_current = bool(self.current[rows].any())

    @property
    def written(self) -> WriteTimes:
        """When the rows were written, as far as known."""
        stored, rows = self.stored, self.rows
        return WriteTimes(stored.portfolio[rows], stored.day[rows], stored.written[rows])

    async def run(self, tally: Tally, run_chunks: RunChunks, tick: Tick) -> None:
        """Compare the rows, and count differences; ``tick`` is called with how many are done."""
        policy, stored, rows = self._policy, self.stored, self.rows
        await self._load()
        self._before, *others = (before[rows] for before in policy.previous(stored))
        self.links = Links.stored(stored, rows, self._before)
        self.expected = await self._computed(self.links, tick)
        self.wrong = compare.differences(stored, rows, self.expected)
        for before in others:
            await self._retry_from(before)
        await self._retry_after_corrected()
        judged = self._judged()
        analysed = await policy.analysed(self, judged)
        if analysed is not None:
            should, wrong = analysed
            cells = {**self.expected.cells, **should.cells}
            self.expected = replace(self.expected, cells=cells, shares=should.shares)
            self.wrong |= wrong
        self.wrong &= judged.checked()
        tally.judge(judged)
        missing = self._missing_sessions()
        tally.missing_sessions += int(missing.sum())
        differing = np.flatnonzero(self.wrong.any(axis=1))
        if len(differing):
            await self._differ(tally, run_chunks, differing, missing[differing])

    async def expected_from(self, links: Links, inputs: Inputs) -> ExpectedRows:
        """Return the expected rows, computed natively from the rows before them."""
        self._compute = partial(computed_natively, self._policy, inputs)
        return await self._computed(links, _uncounted)

    async def _load(self) -> None:
        """Load the inputs of the rows."""
        policy, ids = self._policy, self.ids
        reads = policy.reads(any_current=self.any_current)
        query = select_facts(policy.source, self.selection, ids, **reads)
        self.facts = await load(policy.session, query)
        if policy.fast:
            self.inputs = await policy.inputs(self)
            self._compute = partial(computed_natively, policy, self.inputs)
        else:
            roll = await policy.roll([uuid_at(ids, row) for row in range(len(ids))])
            self._compute = partial(computed_by_reference, policy, roll)

    async def _computed(self, links: Links, tick: Tick) -> ExpectedRows:
        """Return the expected rows, unknown where they continue from a value that is not an amount.

        The opening equity of a first row is not stored: it is assumed to be the one that leads to
        its equity.
        """
        policy = self._policy
        found = ExpectedRows.unknown(len(links), policy.computed, shares=policy.has_shares)
        equity = self.stored.cells["equity_balance"].take(links.row)
        opens, own = policy.opens(links), cents_of(equity)
        able = ~opens | (in_cents(equity) & (np.abs(own) < _MOST_CENTS))
        for column in links.carried.values():
            able &= links.first | in_cents(column) | (column.state == State.NULL)
        tick(int((~able).sum()))
        opening, current = np.where(opens, own, 0), self.current[links.row]
        again = np.flatnonzero(able)
        for _ in range(1 + _CORRECTIONS):
            if len(again) == 0:
                break
            computed = await self._compute(links.take(again), opening[again], current[again], tick)
            found = found.replaced(again, computed)
            tick = _uncounted  # a row that is computed again is done
            again = again[opens[again] & found.known[again]]
            off = own[again] - found.cells["equity_balance"].values[again]
            again, off = again[off != 0], off[off != 0]
            opening[again] += off
        return found

    def _judged(self) -> Judgement:
        """Return which cells the stored data determine."""
        policy, links, expected, facts = self._policy, self.links, self.expected, self.facts
        judged = Judgement(len(links), policy.columns)
        judged.leave_out("portfolio_fails", ~expected.known)
        judged.leave_out("opening", policy.opens(links), ("equity_balance",))
        first = np.flatnonzero(links.first & expected.known)
        later = np.zeros(len(links), dtype=np.bool_)
        later[first] = compare.follow_missing_rows(
            self.stored, links.row[first], expected.take(first), policy.of_first_row, policy.sums
        )
        judged.leave_out("earlier_rows", later, policy.by_chain)
        policy.judge(self, judged)
        is_event, written = facts.kind == Fact.EVENT, self.written
        valued = facts.private & (is_event | (facts.kind == Fact.POSITION))
        changed = written.changed_while_held(facts, valued)
        judged.leave_out("private_value", changed, policy.by_value)
        closed = written.changed_while_held(facts, is_event)
        judged.leave_out("closed_since", closed, policy.by_quantity)
        return judged

    def right_equities(self, latest: Days) -> Decimals:
        """Return (p,) the expected equities of snapshots, NULL where they are right.

        ``latest`` has the day of one snapshot of each portfolio of the chunk.
        """
        portfolio, equity = self.links.portfolio, self.expected.cells["equity_balance"]
        own = self.wrong[:, compare.PLACE["equity_balance"]]
        own = own & (latest.state[portfolio] == State.VALUE)
        own &= self.links.day == latest.values[portfolio]
        row = np.full(len(latest), len(equity), dtype=np.int64)  # of the NULL that comes last
        row[portfolio[own]] = np.flatnonzero(own)
        return Decimals.concat([equity, Decimals.nulls(1, equity.scale)]).take(row)

    async def _retry_from(self, before: Int64) -> None:
        """Recompute differing rows from other rows before them, if that fits better."""
        stored, rows = self.stored, self.rows
        again = np.flatnonzero(self.wrong.any(axis=1) & (before != self._before))
        if len(again) == 0:
            return
        better = await self._keep_better(again, Links.stored(stored, rows[again], before[again]))
        self._before[better] = before[better]
        self.links = Links.stored(stored, rows, self._before)

    async def _retry_after_corrected(self) -> None:
        """Recompute rows after a wrong one from its expected values, if that fits."""
        rows = self.rows
        place = np.full(len(self.stored) + 1, -1, dtype=np.int64)  # the last is of row -1
        place[rows] = np.arange(len(rows))
        before = place[self._before]
        found = np.flatnonzero(compare.in_any(self.wrong, CARRIED) & self.expected.known)
        while len(found):
            after = (before >= 0) & np.isin(before, found) & self.expected.known
            again = np.flatnonzero(self.wrong.any(axis=1) & after)
            part = self.links.take(again).after(self.expected, before[again])
            found = await self._keep_better(again, part)  # later rows may fit better, too

    async def _keep_better(self, again: Int64, part: Links) -> Int64:
        """Recompute rows, keep those that differ in fewer cells, and return which these are."""
        other = await self._computed(part, _uncounted)
        others = compare.differences(self.stored, self.rows[again], other)
        better = other.known & (
            ~self.expected.known[again] | (others.sum(axis=1) < self.wrong[again].sum(axis=1))
        )
        found: Int64 = again[better]
        self.wrong[found] = others[better]
        self.expected = self.expected.replaced(found, other.take(better))
        return found

    def _missing_sessions(self) -> Int64:
        """Return how many sessions between each row and the one before it lack a complete row."""
        links, days, rows = self.links, self._policy.calendar.days, self.rows
        if days is None:
            between = links.day.astype(np.int64) - links.previous_day - 1
        else:
            low = np.searchsorted(days, links.previous_day, side="right")
            between = np.searchsorted(days, links.day, side="left") - low
        complete = np.concatenate([[0], np.cumsum(self.stored.complete)])
        missing = between - (complete[rows] - complete[self._before + 1])
        return np.where(links.first, 0, missing).astype(np.int64)

    async def _differ(
        self, tally: Tally, run_chunks: RunChunks, differing: Int64, missing: Int64
    ) -> None:
        """Count rows that differ, with the causes that stored facts show."""
        policy, ids, facts = self._policy, self.ids, self.facts
        links, wrong = self.links.take(differing), self.wrong[differing]
        written = WriteTimes(links.portfolio, links.day, self.stored.written[links.row])
        lacks_a_run = has_missing_run(run_chunks, ids, written, links.previous_day, missing)
        written = last_written(run_chunks, ids, written)
        looks_back = policy.looks_back(links, wrong)
        symbols = tuple(dict.fromkeys((*facts.symbols, MARKET)))
        earliest = int(written.at.min())
        closes = await policy.changed_closes(symbols, earliest, int(links.day.max()))
        splits = ChangedCloses.none()
        mapped = policy.catalog.schema.splits if Use.SPLITS in policy.uses else None
        if mapped is not None and restates(mapped):
            query = select_changed_splits(policy.catalog, symbols, earliest)
            splits = await load(policy.session, query)
        since, converted = policy.since(links), np.zeros(len(differing), dtype=np.bool_)
        if Use.RATES in policy.uses and policy.catalog.schema.fx is not None:
            of_host = policy.session, policy.catalog, self.selection, ids
            settings = policy.request.settings
            converted = await converted_since(*of_host, written, since, settings)
        cause = causes_of(
            written,
            facts,
            closes,
            splits,
            converted,
            wrong=wrong,
            since=since,
            looks_back=looks_back,
            lacks_a_run=lacks_a_run,
            splits_go_back=mapped is not None and restates_earlier(mapped),
            ends_at_exit=policy.ends_at_exit,
        )
        expected = self.expected.take(differing)
        tally.differ(wrong, cause, DifferingCells(ids, self.stored, links, expected, cause))


def _uncounted(_: int) -> None: ...


class DifferingCells:
    """Differing rows: stored and expected cells, and possible causes."""

    def __init__(
        self, ids: Bytes, stored: StoredRows, links: Links, expected: ExpectedRows, cause: Bytes
    ) -> None:
        """Take the rows, the expected values, and indices into `CAUSES`."""
        rows = links.row
        self._ids, self._links, self._cause = ids, links, cause
        self._pairs: dict[str, tuple[Any, Any]] = {
            name: (text.take(rows).texts(), [None] * len(rows))
            for name, text in stored.texts.items()
        }
        self._pairs |= {
            name: (stored.cells[name].take(rows), column)
            for name, column in expected.cells.items()
            if name in stored.cells
        }
        if stored.shares is not None and expected.shares is not None:
            self._pairs[SHARES] = compare.shares_at(stored.shares, rows), expected.shares

    def difference(self, row: int, column: str) -> Difference:
        """Return a cell, stored and expected."""
        return Difference(
            uuid_at(self._ids, int(self._links.portfolio[row])),
            calendars.date_of(int(self._links.day[row])),
            column,
            *self._pair(row, column),
            CAUSES[self._cause[row]],
        )

    def furthest(self, rows: npt.NDArray[np.intp], column: str) -> int:
        """Return the row with the largest difference in a column; numbers precede other values."""
        own, right = self._pairs[column]
        if isinstance(own, Decimals):
            apart = np.abs(floats(own) - floats(right))[rows]
        else:
            found = (compare.shares_apart(own[row], right[row]) for row in rows.tolist())
            apart = np.array([np.nan if one is None else float(one) for one in found])
        return int(rows[np.argmax(np.nan_to_num(apart, nan=-1.0))])

    def _pair(self, row: int, column: str) -> tuple[Any, Any]:
        own, right = self._pairs[column]
        if isinstance(own, Decimals):
            return compare.value_at(own, row), compare.value_at(right, row)
        return own[row], right[row]
