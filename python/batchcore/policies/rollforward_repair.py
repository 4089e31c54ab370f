"""The policy `rollforward` for repairs, which write only rows since the first difference (S13).

The computed rows of a chunk are compared with the stored ones before they are encoded.
"""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Final, cast

import numpy as np

from batchcore import calendar as calendars
from batchcore.audit import compare
from batchcore.audit.compute import columns_of
from batchcore.frames import Days, Decimals, day_keys, taken
from batchcore.policies.rollforward import RollForward, in_cents
from batchcore.policies.rollforward_audit import STORED_RULES, expected_of
from batchcore.run.plan import Chunk, Rewrites
from batchcore.run.result import Differences
from batchcore.sinks.snapshots import Equities
from batchcore.sources.host import located
from batchcore.sources.query import load
from batchcore.sources.snapshots import Existing
from batchcore.sources.stored import ANALYTIC, StoredRows, StoredSource, select_stored
from batchcore.units import CENTS, State

if TYPE_CHECKING:
    from collections.abc import Mapping

    import numpy.typing as npt

    from batchcore.frames import Bools, Bytes, Column, Int32, Int64, Opening, Rows
    from batchcore.pg.session import Session
    from batchcore.policies.policy import ChunkLoad, ComputedChunk
    from batchcore.run.analysis import Analysed, Analysis


NEVER: Final = np.iinfo(np.int32).max
"""Value of the first difference of a portfolio without any."""


class ExistingCells(Existing):
    """The snapshots of a chunk that exist, with their cells."""

    rows: StoredRows  # sorted by portfolio and day


class RepairedRollForward(RollForward):
    """Recomputes each portfolio from the start, or from its first snapshot, to its latest."""

    async def rewrites(self, reader: Session) -> Rewrites:  # noqa: ARG002  # nothing is read
        """Return that all rows are computed again, since the start of the request."""
        start = self.request.start
        first = calendars.FIRST_DATE if start is None else calendars.day_of(start)
        return Rewrites(np.zeros((0, 16), dtype=np.uint8), Days.nulls(0), others=first)

    async def load_existing(self, reader: Session, chunk: Chunk) -> ExistingCells:
        """Return the snapshots of a chunk, with their cells."""
        first, last = self.existing_window(chunk)
        calendar, ids = self.calendar, np.ascontiguousarray(self.plan.id[chunk.rows])
        columns = self.figures if self.parts.level == "none" else (*self.figures, *ANALYTIC)
        source = StoredSource(self.catalog, calendar, STORED_RULES)
        portfolios = self.selection_of(chunk, None)
        query = select_stored(source, portfolios, (first, last), columns, ids, earlier=False)
        stored = await load(reader, query)
        self.monitor.loaded(stored=len(stored))
        owners = np.ascontiguousarray(ids[stored.portfolio])
        return ExistingCells(owners, stored.day, stored.complete, stored)

    def encode(
        self,
        loaded: ChunkLoad,
        opening: Opening,
        rows: Rows,
        analysed: Analysed | None,
        analysis: Analysis | None,
    ) -> ComputedChunk:
        """Return the encoded rows of a chunk since the first difference."""
        chunk = loaded.chunk
        wrong = self._wrong_cells(loaded, rows, None if analysed is None else analysed.snapshot)
        counts = wrong > 0
        if self.request.end is not None:
            counts &= rows.day <= calendars.day_of(self.request.end)
        first = np.full(len(opening), NEVER, dtype=np.int32)
        np.minimum.at(first, rows.portfolio[counts], rows.day[counts])
        own = np.flatnonzero(rows.day >= first[rows.portfolio])
        kept = rows if len(own) == len(rows) else rows.take(own)
        written = np.bincount(kept.portfolio, minlength=len(opening)).astype(np.int32)
        kept = replace(kept, written=written)
        differs = chunk.works & (first < NEVER)
        if analysed is not None:
            analysed = _some_analysed(analysed, own, differs)
        narrowed = replace(loaded, chunk=replace(chunk, works=differs))
        computed = super().encode(narrowed, opening, kept, analysed, analysis)
        self.monitor.rows["compute"] += len(rows) - len(kept)
        cells = np.bincount(rows.portfolio[own], wrong[own], len(opening)).astype(np.int64)
        return replace(computed, differences=self._differences(kept, opening, chunk, first, cells))

    def _wrong_cells(
        self, loaded: ChunkLoad, rows: Rows, analytics: Mapping[str, Column] | None
    ) -> Int64:
        """Return (n,) the number of cells of each row that differ, or are not stored."""
        stored = cast("ExistingCells", loaded.existing).rows
        columns = columns_of(rows, self.figures)
        wrong = np.full(len(rows), len(columns), dtype=np.int64)
        keys = day_keys(stored.portfolio, stored.day)
        sought = day_keys(rows.portfolio, rows.day)
        at = np.searchsorted(keys, sought)
        there = at < len(keys)
        there[there] = (keys[at[there]] == sought[there]) & stored.complete[at[there]]
        own = np.flatnonzero(there)
        at, found = at[own], np.zeros(len(own), dtype=np.int64)
        for name, column in columns.items():
            found += compare.differs(stored.cells[name].take(at), column.take(own))
        if analytics is not None:
            looked_at = np.arange(len(own))
            if self.parts.level != "every":
                last = self.plan.last_session[loaded.chunk.rows]
                looked_at = np.flatnonzero(rows.day[own] == last[rows.portfolio[own]])
            should = expected_of(taken(analytics, own[looked_at]))
            cells = compare.differences(stored, at[looked_at], should, are_floats=True)
            if not self.parts.profiles:
                cells[:, [compare.PLACE[name] for name in compare.BY_PROFILE]] = False
            found[looked_at] += cells.sum(axis=1)
        wrong[own] = found
        return wrong

    def equities(self, rows: Rows, ids: Bytes, chunk: Chunk) -> Equities:
        """Return the new `portfolios.equity_balance` of portfolios where it differs (S8)."""
        of_rows = super().equities(rows, ids, chunk)
        at = located(of_rows.portfolio_id, ids)
        latest = self.plan.latest_equity
        cents = in_cents(latest.values[chunk.rows], latest.scale)
        known = (latest.state[chunk.rows] == State.VALUE) & (rows.written == 0)
        known &= self.plan.works[chunk.rows]
        cents[at], known[at] = of_rows.cents, True
        mine = self.plan.opening.equity.take(chunk.rows)
        known &= compare.differs(mine, Decimals(cents, CENTS))
        return Equities(np.ascontiguousarray(ids[known]), cents[known])

    def _differences(  # by portfolio
        self, kept: Rows, opening: Opening, chunk: Chunk, first: Int32, cells: Int64
    ) -> Differences:
        equities = self.equities(kept, opening.portfolio_id, chunk)
        cells[located(equities.portfolio_id, opening.portfolio_id)] += 1
        row = np.flatnonzero(cells)
        state = np.where(first[row] < NEVER, State.VALUE, State.NULL).astype(np.uint8)
        return Differences(
            row.astype(np.int32),
            Days(first[row], state),
            kept.written[row].astype(np.int64),
            cells[row],
        )


def _some_analysed(analysed: Analysed, own: npt.NDArray[np.intp], differs: Bools) -> Analysed:
    """Return the analytics of some rows, and those in other tables of portfolios that differ."""
    tables = (table.take(differs[table.portfolio]) for table in analysed.tables)
    return replace(
        analysed,
        snapshot=taken(analysed.snapshot, own),
        tables=tuple(table for table in tables if table.rows),
    )
