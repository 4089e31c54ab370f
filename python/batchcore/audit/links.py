"""What each stored row goes on from, and what it should be: pure."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Final

import numpy as np

from batchcore.db.audit_queries import decimals_of
from batchcore.db.load import taken
from batchcore.frames import Decimals
from batchcore.units import CENTS, State

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

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

    def part(self, rows: Int64) -> Links:
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


class Expected:
    """What rows should be, put in as it is found.

    Attributes:
        known: (k,) bool, whether the rules give a row: a portfolio may fail (S10, L4).
        columns: Those that rows are computed with.
        shares: (k,) `sector_exposure` as mappings of decimals, None for NULL; None where rows are
            computed without it.
    """

    def __init__(self, rows: int, columns: tuple[str, ...], *, shares: bool = False) -> None:
        """Begin with rows of which nothing is known."""
        self.columns = columns
        self.known = np.zeros(rows, dtype=np.bool_)
        self.shares = np.full(rows, None, dtype=np.object_) if shares else None
        self._values = np.zeros((len(columns), rows), dtype=np.int64)
        self._state = np.full((len(columns), rows), State.NULL, dtype=np.uint8)

    def cell(self, column: str) -> Decimals:
        """Return the values of a column, with the decimals that the rules give it."""
        place = self.columns.index(column)
        return Decimals(self._values[place].copy(), decimals_of(column), self._state[place].copy())

    def cells(self) -> Iterator[tuple[str, Decimals]]:
        """Give each column."""
        for column in self.columns:
            yield column, self.cell(column)

    def fill(
        self,
        at: Int64,
        cells: Mapping[str, Decimals],
        shares: npt.NDArray[np.object_] | None = None,
    ) -> None:
        """Put in rows that the rules give; columns without a value stay NULL."""
        self.known[at] = True
        for place, column in enumerate(self.columns):
            if column in cells:
                self._values[place, at] = cells[column].values
                self._state[place, at] = cells[column].state
        if self.shares is not None and shares is not None:
            self.shares[at] = shares

    def put(self, at: Int64, other: Expected) -> None:
        """Put in rows of another one, of the same columns."""
        self.known[at] = other.known
        self._values[:, at], self._state[:, at] = other._values, other._state
        if self.shares is not None:
            self.shares[at] = other.shares

    def part(self, rows: Int64) -> Expected:
        """Return some of them."""
        found = Expected(len(rows), self.columns, shares=self.shares is not None)
        found.known = self.known[rows]
        found._values, found._state = self._values[:, rows], self._state[:, rows]
        found.shares = None if self.shares is None else self.shares[rows]
        return found


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


def expected_links(links: Links, before: Int64, expected: Expected) -> Links:
    """Return rows with what they would go on from if the row before were what it should be.

    Args:
        links: The rows.
        before: (k,) row of ``expected`` of the row before each.
        expected: What the rows before should be.
    """
    return replace(links, carried={name: taken(expected.cell(name), before) for name in CARRIED})


def in_cents(column: Decimals) -> Bools:
    """Return which values are whole cents."""
    unit = 10 ** max(column.scale - CENTS, 0)
    whole: Bools = (column.state == State.VALUE) & (column.values % unit == 0)
    return whole


def cents_of(column: Decimals) -> Int64:
    """Return values in cents; those that are not whole cents mean nothing."""
    return column.values // np.int64(10 ** max(column.scale - CENTS, 0))
