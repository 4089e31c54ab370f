"""Recompute stored snapshots, and replace each portfolio's from its first difference on.

The same stages as those of a run that replaces everything (S13). What a chunk computes is compared
with what is stored before it is encoded, and only the rows from the first difference of each
portfolio on are kept.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, Final, Unpack, cast

import numpy as np

from batchcore import calendar as calendars
from batchcore.audit import compare
from batchcore.audit.analytics import expected_of
from batchcore.audit.compute import columns_of
from batchcore.db.engine import Database
from batchcore.frames import Days, Decimals, day_keys
from batchcore.options import RepairKeywords, RunOptions, merged
from batchcore.policies.rollforward import RollForward, in_cents
from batchcore.run.analysis import last_sessions
from batchcore.run.orchestrator import Run, connections_needed
from batchcore.run.plan import Rewrites
from batchcore.run.request import requested
from batchcore.run.result import Differences
from batchcore.sinks.snapshots import Equities
from batchcore.sources.host import located
from batchcore.sources.query import load
from batchcore.sources.snapshots import Existing
from batchcore.sources.stored import ANALYTIC, ROLLFORWARD, RULED, StoredSource, select_stored
from batchcore.units import CENTS, State

if TYPE_CHECKING:
    import datetime as dt
    import uuid
    from collections.abc import Sequence

    import numpy.typing as npt

    from batchcore.db.engine import Session
    from batchcore.frames import Bools, Bytes, Int32, Int64, Opening, Rows, SnapshotAnalytics
    from batchcore.policies.policy import ChunkLoad, ComputedChunk
    from batchcore.run.analysis import Analysed, Analysis
    from batchcore.run.plan import Chunk
    from batchcore.run.result import BatchResult
    from batchcore.sources.stored import StoredRows


NEVER: Final = np.iinfo(np.int32).max
"""The first difference of a portfolio that has none."""

REPAIRING: Final[dict[str, Any]] = {
    "on_existing": "replace",
    "missing": False,
    "changed_since": None,
}
"""What a repair does with existing snapshots, whatever was asked for."""


async def repair(
    db: object,
    start_date: dt.date | None = None,
    end_date: dt.date | None = None,
    portfolio_ids: Sequence[uuid.UUID | str] | None = None,
    *,
    options: RunOptions | None = None,
    **overrides: Unpack[RepairKeywords],
) -> BatchResult:
    """Recompute stored snapshots, and replace each portfolio's from its first difference on.

    For hosts whose time stamps do not show what was changed: only figures are compared. All
    that is stored in the range is recomputed natively; of each portfolio the rows from the first
    session that differs to its latest complete snapshot are written (S13), and none of one without
    a difference. Otherwise it is a run as any other: one snapshot of the database, a lease, an
    entry in the ledger, gone on with after an early end.

    Args:
        db: A database URL, an `asyncpg.Pool`, or an SQLAlchemy `AsyncEngine` on asyncpg.
        start_date: First day to look at; None begins with each portfolio's earliest complete
            snapshot. The latest one before the range is taken as it is stored (S5).
        end_date: Last day on which a difference counts; None ends with the latest snapshots.
        portfolio_ids: Which portfolios; None is all that are not soft-deleted, an empty one none.
        options: The options of the run; None is all defaults. `legacy` has no repair; existing
            snapshots are always compared, so `on_existing`, `missing` and `changed_since` do not
            count; with `Settings.dry_run` nothing is written.
        **overrides: Options in the place of those.

    Returns:
        The report: `differences` has the portfolios that differed.

    Raises:
        ConfigError: an argument is wrong, or names a portfolio that is not there.
        BatchcoreError: as `run_batch` does.
    """
    own = replace(merged(options, overrides), **REPAIRING)
    request = await requested(start_date, end_date, portfolio_ids, own, repairs=True)
    database = Database(db)
    database.require(connections_needed(request.settings))
    return await Run(database, request, policy=RepairedRollForward).run()


@dataclass(frozen=True, eq=False, slots=True)
class Stood(Existing):
    """The snapshots of a chunk that exist, with their cells.

    Attributes:
        rows: The same, sorted by portfolio and day.
    """

    rows: StoredRows


class RepairedRollForward(RollForward):
    """Recomputes every chain, and keeps what differs from the stored rows.

    That is from the start or its first snapshot to its latest.
    """

    async def rewrites(self, reader: Session) -> Rewrites:  # noqa: ARG002  # nothing is read
        """Return that all rows are computed again, from the start of the request on."""
        start = self.request.start
        first = calendars.FIRST_DATE if start is None else calendars.day_of(start)
        return Rewrites(np.zeros((0, 16), dtype=np.uint8), Days.nulls(0), others=first)

    async def load_existing(self, reader: Session, chunk: Chunk) -> Stood:
        """Return the snapshots of a chunk, with their cells."""
        first, last = self.existing_window(chunk)
        calendar, ids = self.calendar, np.ascontiguousarray(self.plan.id[chunk.rows])
        columns = RULED if self.parts.level == "none" else (*RULED, *ANALYTIC)
        source = StoredSource(self.catalog, calendar, ROLLFORWARD)
        portfolios = self.selection_of(chunk, None)
        query = select_stored(source, portfolios, (first, last), columns, ids, earlier=False)
        stored = await load(reader, query)
        self.monitor.loaded(stored=len(stored))
        owners = np.ascontiguousarray(ids[stored.portfolio])
        return Stood(owners, stored.day, stored.complete, stored)

    def encode(
        self,
        loaded: ChunkLoad,
        opening: Opening,
        rows: Rows,
        analysed: Analysed | None,
        analysis: Analysis | None,
    ) -> ComputedChunk:
        """Return what a chunk writes: the rows from the first difference on."""
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
        self, loaded: ChunkLoad, rows: Rows, analytics: SnapshotAnalytics | None
    ) -> Int64:
        """Return (n,) how many cells of each row are stored otherwise, or not at all."""
        stored, columns = cast("Stood", loaded.existing).rows, columns_of(rows)
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
            found += self._wrong_analytics(loaded.chunk, stored, at, rows, own, analytics)
        wrong[own] = found
        return wrong

    def _wrong_analytics(  # noqa: PLR0917  # rows, stored and computed
        self,
        chunk: Chunk,
        stored: StoredRows,
        at: Int64,
        rows: Rows,
        own: npt.NDArray[np.intp],
        analytics: SnapshotAnalytics,
    ) -> Int64:
        """Return how many cells of A1 to A6 differ, of rows that the level analyses."""
        looked_at = np.arange(len(own))
        if self.parts.level != "every":
            last = last_sessions(self.plan)[chunk.rows]
            looked_at = np.flatnonzero(rows.day[own] == last[rows.portfolio[own]])
        should = expected_of(analytics.take(own[looked_at]))
        wrong = compare.differences(stored, at[looked_at], should, are_floats=True)
        if not self.parts.profiles:
            wrong &= ~compare.are_of(compare.BY_PROFILE)
        found = np.zeros(len(own), dtype=np.int64)
        found[looked_at] = wrong.sum(axis=1)
        return found

    def equities(self, rows: Rows, ids: Bytes, chunk: Chunk) -> Equities:
        """Return the new `portfolios.equity_balance` of portfolios where it differs (S8)."""
        of_rows = super().equities(rows, ids, chunk)
        at = located(of_rows.portfolio_id, ids)
        latest = self.plan.latest_equity
        cents = in_cents(latest.values[chunk.rows], latest.scale)
        known = (latest.state[chunk.rows] == State.VALUE) & (rows.written == 0)
        known &= self.plan.works()[chunk.rows]
        cents[at], known[at] = of_rows.cents, True
        mine = self.plan.opening.equity.take(chunk.rows)
        known &= compare.differs(mine, Decimals(cents, CENTS))
        return Equities(np.ascontiguousarray(ids[known]), cents[known])

    def _differences(  # what was found, by portfolio
        self, kept: Rows, opening: Opening, chunk: Chunk, first: Int32, cells: Int64
    ) -> Differences:
        cells = cells.copy()
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
    values = analysed.market_values
    return replace(
        analysed,
        snapshot=analysed.snapshot.take(own),
        tables=tuple(table for table in tables if table.rows),
        market_values=None if values is None else values.take(differs[values.portfolio]),
    )
