"""Stored and expected cells, and those that cannot be checked: pure functions."""

from __future__ import annotations

from decimal import Context, Decimal, InvalidOperation
from typing import TYPE_CHECKING, Any, Final

import numpy as np

from batchcore.frames import rescaled
from batchcore.run.analysis import OBSERVATIONS
from batchcore.run.analytic_rows import SHARE_SCALE
from batchcore.schema import RULE_COLUMNS, Use, snapshot_figures
from batchcore.sources.stored import ANALYTIC, EMPTY, GREEKS, SHARES, StoredRows
from batchcore.units import State
from batchcore.values import decimal_of, parsed_json

if TYPE_CHECKING:
    from collections.abc import Sequence

    from batchcore.audit.compute import ExpectedRows
    from batchcore.frames import Bools, Decimals, Int64, Text


COLUMNS: Final = (*snapshot_figures(Use.ROLLFORWARD), *ANALYTIC)
"""Columns of a snapshot named in S5 to S9 and A1 to A6, in the order of the report."""

ALL_COLUMNS: Final = (*COLUMNS, *GREEKS, *EMPTY)
"""Every column of a snapshot that any policy names."""

PLACE: Final = {column: number for number, column in enumerate(ALL_COLUMNS)}
"""Column -> its index in `ALL_COLUMNS`."""

REASONS: Final = (
    "soft_deleted",
    "off_session",
    "incomplete",
    "portfolio_fails",
    "opening",
    "earlier_rows",
    "private_value",
    "closed_since",
    "not_analysed",
    "analytics_off",
    "profile_changed",
    "position_edited",
    "beta_changed",
    "benchmark_changed",
    "day_order",
)
"""Why cells cannot be checked."""

EXPOSURES: Final = tuple(
    name
    for name in RULE_COLUMNS
    if name.endswith(("_exposure", "_value")) and name != "total_value"
)
"""Columns of money other than equity and the amounts added to it (S9, L29, L30)."""

OF_WEIGHTS: Final = (
    SHARES,
    *("hhi", "effective_num_positions", "top_3_concentration", "top_10_concentration"),
)
"""Columns of sectors and concentration (A2, A3, L33, L34)."""

PNL_COLUMNS: Final = (
    *("daily_pnl", "daily_realized_pnl", "daily_return"),
    *("cumulative_pnl", "cumulative_realized_pnl"),
)
"""Columns that depend on the P&L."""

FLOW_COLUMNS: Final = ("daily_capital_flow", "cumulative_capital_flow")
"""Columns of flows alone (S7, L18)."""

BY_PROFILE: Final = ("beta_provider_1y", SHARES)
"""Columns that depend on profiles (A1, A2)."""

DIGITS: Final = Context(prec=28)
_UNIT_OF_SHARES: Final = Decimal(1).scaleb(-SHARE_SCALE)
_NOT_COMPARED: Final = 255


class Judgement:
    """The cells of rows that can be checked, and why others cannot.

    `reason` is (k, c), 0 or one more than an index into `REASONS`; columns are those of
    `ALL_COLUMNS`.
    """

    def __init__(self, rows: int, columns: Sequence[str]) -> None:
        """Begin with all cells of some columns."""
        self.reason = np.full((rows, len(ALL_COLUMNS)), _NOT_COMPARED, dtype=np.uint8)
        self.reason[:, [PLACE[column] for column in columns]] = 0

    def leave_out(self, reason: str, rows: Bools, columns: Sequence[str] = ALL_COLUMNS) -> None:
        """Exclude cells of some rows; those excluded already keep their reason."""
        code = REASONS.index(reason) + 1
        for column in columns:
            cells = self.reason[:, PLACE[column]]
            cells[rows & (cells == 0)] = code

    def checked(self) -> Bools:
        """Return (k, c) which cells are checked."""
        checked: Bools = self.reason == 0
        return checked

    def counts(self) -> dict[str, int]:
        """Return the number of cells excluded by each reason."""
        counted = np.bincount(self.reason.ravel(), minlength=_NOT_COMPARED + 1)
        return {name: int(counted[code + 1]) for code, name in enumerate(REASONS)}


def differs(stored: Decimals, expected: Decimals, units: int = 0) -> Bools:
    """Return which values differ from ``expected`` by more than some units in the last place.

    A value that is not finite or not representable equals nothing.
    """
    wanted = rescaled(expected, max(stored.scale, expected.scale))
    found = rescaled(stored, wanted.scale)
    valued = (found.state == State.VALUE) & (wanted.state == State.VALUE)
    tolerance = units * 10 ** (wanted.scale - expected.scale)
    # Unsigned, the difference of two mantissas always fits.
    low, high = np.minimum(found.values, wanted.values), np.maximum(found.values, wanted.values)
    apart = high.astype(np.uint64) - low.astype(np.uint64)
    both_null = (found.state == State.NULL) & (wanted.state == State.NULL)
    wrong: Bools = np.where(valued, apart > tolerance, ~both_null)
    return wrong


def differences(
    stored: StoredRows, rows: Int64, expected: ExpectedRows, *, are_floats: bool = False
) -> Bools:
    """Return (k, c) which cells of rows are wrong; False where nothing is expected.

    Figures of A1 to A6 are floats, for which a difference of one unit in the last place is allowed.
    """
    found = np.zeros((len(rows), len(ALL_COLUMNS)), dtype=np.bool_)
    for name, column in expected.cells.items():
        if name in stored.cells:
            units = 1 if are_floats and name != OBSERVATIONS else 0
            found[:, PLACE[name]] = differs(stored.cells[name].take(rows), column, units)
    if stored.shares is not None and expected.shares is not None:
        differ = _shares_differ if are_floats else _weights_differ
        both = zip(shares_at(stored.shares, rows), expected.shares.tolist(), strict=True)
        found[:, PLACE[SHARES]] = [differ(mine, right) for mine, right in both]
    for name in () if are_floats else EMPTY:
        if name in stored.texts:
            found[:, PLACE[name]] = stored.texts[name].state[rows] != State.NULL
    return found


def _weights_differ(stored: Any, expected: Any) -> bool:  # noqa: ANN401  # any JSON
    """Return whether two objects differ as binary64 values (L33)."""
    if not isinstance(stored, dict) or expected is None:
        return stored is not expected
    return stored.keys() != expected.keys() or any(
        not isinstance(stored[name], Decimal) or float(stored[name]) != float(expected[name])
        for name in expected
    )


def _shares_differ(stored: Any, expected: Any) -> bool:  # noqa: ANN401  # any JSON
    """Return whether two objects are more than a unit in the last place apart (A2)."""
    if stored is None or expected is None:
        return stored is not expected
    apart = shares_apart(stored, expected)
    return apart is None or not apart <= _UNIT_OF_SHARES


def shares_at(texts: Text, rows: Int64) -> list[Any]:
    """Return the JSON values of rows; None for NULL and for the JSON value `null`."""
    values = texts.texts()
    return [None if values[row] is None else parsed_json(str(values[row])) for row in rows.tolist()]


def shares_apart(stored: Any, expected: Any) -> Decimal | None:  # noqa: ANN401  # any JSON
    """Return the largest difference of two objects of shares; None if one of them is none."""
    if not isinstance(stored, dict) or not isinstance(expected, dict):
        return None
    names = stored.keys() | expected.keys()
    try:
        pairs = ((Decimal(stored.get(n, 0)), Decimal(expected.get(n, 0))) for n in names)
        return max((DIGITS.subtract(*pair).copy_abs() for pair in pairs), default=Decimal(0))
    except (TypeError, ValueError, InvalidOperation):
        return None


def follow_missing_rows(
    stored: StoredRows,
    rows: Int64,
    expected: ExpectedRows,
    of_day: Sequence[str],
    sums: Sequence[str],
) -> Bools:
    """Return which rows cannot be first rows, although no row before them is stored.

    ``of_day`` are columns that no flow or price of a later day changes, ``sums`` amounts whose
    daily column equals the cumulative one in a first row. One cell that does not fit a first row is
    taken as wrong, two as a sign that earlier rows were deleted.
    """
    signs = np.zeros(len(rows), dtype=np.int64)
    for name in of_day:
        signs += differs(stored.cells[name].take(rows), expected.cells[name])
    for amount in sums:
        pair = (stored.cells[f"{kind}_{amount}"].take(rows) for kind in ("daily", "cumulative"))
        coarser, finer = sorted(pair, key=lambda column: column.scale)
        total = f"cumulative_{amount}"
        # Where the sum is right, only the amount of the day is wrong.
        right = ~differs(stored.cells[total].take(rows), expected.cells[total])
        signs += differs(finer, coarser) & ~right
    return signs > 1


def is_analysed(stored: StoredRows, columns: Sequence[str] = ANALYTIC) -> Bools:
    """Return which rows have a value in any of some columns; JSON `null` is none."""
    found = np.zeros(len(stored), dtype=np.bool_)
    for name, column in stored.cells.items():
        if name in columns:
            found |= column.state != State.NULL
    if stored.shares is not None and SHARES in columns:
        table = np.array([text.strip() != "null" for text in stored.shares.table()], dtype=np.bool_)
        known = stored.shares.state == State.VALUE
        if len(table):
            found |= known & table[np.where(known, stored.shares.codes, 0)]
    return found


def value_at(column: Decimals, row: int) -> Decimal | str | None:
    """Return one value, or as text why there is none; None for NULL."""
    match int(column.state[row]):
        case State.VALUE:
            return decimal_of(int(column.values[row]), column.scale)
        case State.NULL:
            return None
        case State.NON_FINITE:
            return "not finite"
        case _:
            return "not representable"


def in_any(cells: Bools, columns: Sequence[str]) -> Bools:
    """Return which rows of (k, c) cells have one in some columns."""
    found: Bools = np.any(cells[:, [PLACE[name] for name in columns]], axis=1)
    return found
