"""What each stored row goes on from, and what it should be: pure."""

from __future__ import annotations

from dataclasses import dataclass, replace
from decimal import Decimal
from typing import TYPE_CHECKING, ClassVar, Final, Self

import numpy as np

from batchcore.frames import Decimals, Frame, Objects
from batchcore.sources.stored import decimals_of
from batchcore.units import CENTS, State

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    import numpy.typing as npt

    from batchcore.frames import Bools, FloatObjects, Int32, Int64
    from batchcore.sources.stored import StoredRows


CARRIED: Final = (
    "equity_balance",
    "cumulative_pnl",
    "cumulative_realized_pnl",
    "cumulative_capital_flow",
)
"""Columns that the next row goes on from (S8, L6, L21)."""


@dataclass(frozen=True, eq=False)
class Links(Frame):
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

    _is_checked: ClassVar = False


@dataclass(frozen=True, eq=False)
class Expected(Frame):
    """What rows should be.

    Attributes:
        known: (k,) bool, whether the rules give a row: a portfolio may fail (S10, L4).
        cells: Column -> values, with the decimals that the rules give it; NULL in other rows.
        shares: (k,) `sector_exposure` as mappings of decimals, None for NULL; None where rows are
            computed without it.
    """

    known: Bools
    cells: Mapping[str, Decimals]
    shares: npt.NDArray[np.object_] | None

    _is_checked: ClassVar = False

    @classmethod
    def unknown(cls, rows: int, columns: Sequence[str], *, shares: bool) -> Self:
        """Return so many rows of which nothing is known."""
        cells = {name: Decimals.nulls(rows, decimals_of(name)) for name in columns}
        nothing = np.full(rows, None, dtype=np.object_) if shares else None
        return cls(np.zeros(rows, dtype=np.bool_), cells, nothing)

    def replaced(self, at: Int64, others: Self) -> Self:
        """Return the rows with others at some places."""
        order = np.arange(len(self))
        order[at] = len(self) + np.arange(len(at))
        return self.concat([self, others]).take(order)


def shares_of(objects: Objects | FloatObjects) -> npt.NDArray[np.object_]:
    """Return objects as mappings of decimals, the shortest ones of binary64; None for NULL."""
    found = np.full(len(objects), None, dtype=np.object_)
    for row in np.flatnonzero(objects.state == State.VALUE).tolist():
        names = np.flatnonzero(objects.present[row]).tolist()
        values = objects.values[row, names].tolist()
        if isinstance(objects, Objects):
            decimals = (Decimal(value).scaleb(-objects.scale) for value in values)
        else:
            decimals = (Decimal(repr(value)) for value in values)
        found[row] = dict(zip((objects.names[name] for name in names), decimals, strict=True))
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
    carried = {name: stored.cells[name].take(basis) for name in CARRIED}
    return Links(
        rows,
        stored.portfolio[rows],
        stored.day[rows],
        stored.day[basis],
        first,
        carried,
        stored.cells["equity_balance"].take(rows),
    )


def expected_links(links: Links, before: Int64, expected: Expected) -> Links:
    """Return rows with what they would go on from if the row before were what it should be.

    Args:
        links: The rows.
        before: (k,) row of ``expected`` of the row before each.
        expected: What the rows before should be.
    """
    carried = {name: expected.cells[name].take(before) for name in CARRIED}
    return replace(links, carried=carried)


def in_cents(column: Decimals) -> Bools:
    """Return which values are whole cents."""
    unit = 10 ** max(column.scale - CENTS, 0)
    whole: Bools = (column.state == State.VALUE) & (column.values % unit == 0)
    return whole


def cents_of(column: Decimals) -> Int64:
    """Return values in cents; those that are not whole cents mean nothing."""
    return column.values // np.int64(10 ** max(column.scale - CENTS, 0))
