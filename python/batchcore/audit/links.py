"""What each stored row goes on from, and what it should be: pure."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

import numpy as np

from batchcore.db.audit_queries import AMOUNTS, COUNTS, GREEKS, RULED, SHARES
from batchcore.db.legacy_tables import WRITTEN
from batchcore.frames import Decimals, taken
from batchcore.units import CENTS, RETURN_SCALE, State

if TYPE_CHECKING:
    from collections.abc import Mapping

    import numpy.typing as npt

    from batchcore.db.load_stored import StoredRows

    Bools = npt.NDArray[np.bool_]
    Int32 = npt.NDArray[np.int32]
    Int64 = npt.NDArray[np.int64]

CARRIED: Final = (
    "equity_balance",
    "cumulative_pnl",
    "cumulative_realized_pnl",
    "cumulative_capital_flow",
)
"""Columns that the next row goes on from (S8, L6, L21)."""

SCALES: Final = {
    **dict.fromkeys((*AMOUNTS, *GREEKS, "effective_num_positions"), CENTS),
    "daily_return": RETURN_SCALE,
    **dict.fromkeys(COUNTS, 0),
    **dict.fromkeys(("beta_provider_1y", "hhi", "top_3_concentration", "top_10_concentration"), 4),
}
"""Decimals to which the rules round each column."""

BY_ROLLFORWARD: Final = RULED
"""Columns that rows of `rollforward` are computed with; those of A1 to A6 come apart."""

BY_LEGACY: Final = (*RULED, *(name for name in WRITTEN if name != SHARES))
"""Columns that rows of `legacy` are computed with, beside `sector_exposure`."""


@dataclass(frozen=True, eq=False, slots=True)
class Links:
    """Rows to be computed, each from one row before it or from an opening equity.

    Attributes:
        row: (k,) int64 row of `StoredRows`, ascending.
        portfolio: (k,) int32 row of the chunk.
        day: (k,) int32.
        previous_day: (k,) int32 `s`; meaningless where `first`.
        first: (k,) bool, whether there is no row before: then the equity is that of the row
            itself, for what it opened with is not stored.
        carried: `CARRIED` of the row before.
        equity: `equity_balance` of the row itself.
    """

    row: Int64
    portfolio: Int32
    day: Int32
    previous_day: Int32
    first: Bools
    carried: Mapping[str, Decimals]
    equity: Decimals

    def __len__(self) -> int:
        """Return the number of rows."""
        return len(self.row)

    def part(self, rows: npt.NDArray[np.intp]) -> Links:
        """Return some of them."""
        return Links(
            self.row[rows],
            self.portfolio[rows],
            self.day[rows],
            self.previous_day[rows],
            self.first[rows],
            {name: taken(column, rows) for name, column in self.carried.items()},
            taken(self.equity, rows),
        )


@dataclass(frozen=True, eq=False, slots=True)
class Expected:
    """What rows should be.

    Attributes:
        known: (k,) bool, whether the rules give a row: a portfolio may fail (S10, L4).
        cells: Column -> values, at the scale that the rules give it.
        shares: (k,) `sector_exposure` as mappings of decimals, None for NULL; None where it is not
            of the rules.
    """

    known: Bools
    cells: Mapping[str, Decimals]
    shares: npt.NDArray[np.object_] | None = None

    def part(self, rows: npt.NDArray[np.intp]) -> Expected:
        """Return some of them."""
        cells = {name: taken(column, rows) for name, column in self.cells.items()}
        shares = None if self.shares is None else self.shares[rows]
        return Expected(self.known[rows], cells, shares)


def previous_rows(stored: StoredRows) -> Int64:
    """Return of each row the latest complete one before it of the same portfolio, -1 for none.

    Source:
        S5.
    """
    numbers = np.arange(len(stored))
    latest = np.maximum.accumulate(np.where(stored.complete, numbers, -1))
    before = np.concatenate([[-1], latest[:-1]]) if len(stored) else latest
    same = stored.portfolio[before] == stored.portfolio
    return np.where((before >= 0) & same, before, -1)


def rows_that_stood(stored: StoredRows) -> Int64:
    """Return of each row the latest one before it that is not younger than it, -1 for none.

    A row that was written later, out of order, is not what this one was made from.

    Source:
        L5, L7.
    """
    found = np.full(len(stored), -1, dtype=np.int64)
    # Rows that may be asked for again: younger ones are passed over by all that follow an older.
    open_rows: list[int] = []
    portfolio, written = stored.portfolio.tolist(), stored.written.tolist()
    for row in range(len(stored)):
        if open_rows and portfolio[open_rows[-1]] != portfolio[row]:
            open_rows.clear()
        younger = len(open_rows)
        while younger and written[open_rows[younger - 1]] > written[row]:
            younger -= 1
        del open_rows[younger:]
        if open_rows:
            found[row] = open_rows[-1]
        open_rows.append(row)
    return found


def rows_before(stored: StoredRows) -> Int64:
    """Return of each row the latest one before it of the same portfolio, -1 for none.

    Source:
        L5.
    """
    before = np.arange(-1, len(stored) - 1)
    same = stored.portfolio[before] == stored.portfolio
    return np.where((before >= 0) & same, before, -1)


def stored_links(stored: StoredRows, rows: Int64, before: Int64) -> Links:
    """Return rows with what they go on from, as it is stored.

    Args:
        stored: Of the chunk.
        rows: (k,) which, ascending; complete ones.
        before: (k,) the rows that they go on from, -1 for none.
    """
    first = before < 0
    basis = np.where(first, rows, before)
    carried = {name: taken(stored.cells[name], basis) for name in CARRIED}
    return Links(
        rows,
        stored.portfolio[rows],
        stored.day[rows],
        stored.day[basis],
        first,
        carried,
        taken(stored.cells["equity_balance"], rows),
    )


def usable(links: Links) -> Bools:
    """Return which rows go on from amounts in cents; of others nothing can be computed (S8)."""
    found = np.ones(len(links), dtype=np.bool_)
    for name, column in links.carried.items():
        found &= in_cents(column) | ((column.state == State.NULL) & (name != "equity_balance"))
    return found


def in_cents(column: Decimals) -> Bools:
    """Return which values are whole cents."""
    unit = 10 ** max(column.scale - CENTS, 0)
    whole: Bools = (column.state == State.VALUE) & (column.values % unit == 0)
    return whole


def spread(expected: Expected, at: npt.NDArray[np.intp], rows: int) -> Expected:
    """Return rows as those of so many at some places; the others are not known."""
    known = np.zeros(rows, dtype=np.bool_)
    known[at] = expected.known
    cells = {}
    for name, column in expected.cells.items():
        values, state = np.zeros(rows, dtype=np.int64), np.zeros(rows, dtype=np.uint8)
        values[at], state[at] = column.values, column.state
        cells[name] = Decimals(values, column.scale, state)
    shares = None
    if expected.shares is not None:
        shares = np.full(rows, None, dtype=np.object_)
        shares[at] = expected.shares
    return Expected(known, cells, shares)


def replaced(
    expected: Expected, at: npt.NDArray[np.intp], other: Expected, rows: npt.NDArray[np.intp]
) -> Expected:
    """Return rows, at some places the given rows of others."""
    cells = {}
    for name, column in expected.cells.items():
        values, state = column.values.copy(), column.state.copy()
        values[at], state[at] = other.cells[name].values[rows], other.cells[name].state[rows]
        cells[name] = Decimals(values, column.scale, state)
    known, shares = expected.known.copy(), expected.shares
    known[at] = other.known[rows]
    if shares is not None and other.shares is not None:
        shares = shares.copy()
        shares[at] = other.shares[rows]
    return Expected(known, cells, shares)


def expected_links(links: Links, before: Int64, expected: Expected) -> Links:
    """Return rows with what they would go on from if the row before were what it should be.

    Args:
        links: The rows.
        before: (k,) row of ``expected`` of the row before each.
        expected: What the rows before should be.
    """
    return Links(
        links.row,
        links.portfolio,
        links.day,
        links.previous_day,
        links.first,
        {name: taken(expected.cells[name], before) for name in CARRIED},
        links.equity,
    )


def with_opening(expected: Expected, links: Links) -> Expected:
    """Return what first rows should be, given that their equity is what it is.

    The opening equity of a first row is not stored (S5), so its equity says nothing; the columns
    that follow from it do.
    """
    first = links.first & expected.known
    if not first.any():
        return expected
    own = links.equity
    unit = np.int64(10 ** max(own.scale - CENTS, 0))
    moved = np.where(first, own.values // unit - expected.cells["equity_balance"].values, 0)
    cells = dict(expected.cells)
    for name in ("equity_balance", "total_value", "cash_value"):
        column = cells[name]
        cells[name] = Decimals(column.values + moved, column.scale, column.state)
    return Expected(expected.known, cells)
