"""Stored cells against what they should be, and which cannot be judged: pure."""

from __future__ import annotations

import json
from dataclasses import dataclass
from decimal import Decimal, InvalidOperation
from typing import TYPE_CHECKING, Any, Final

import numpy as np

from batchcore.db.audit_queries import ANALYTIC, COUNTS, EMPTY, GREEKS, RULED, SHARES
from batchcore.frames import rescaled, taken
from batchcore.run.analyse import OBSERVATIONS
from batchcore.units import State

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    import numpy.typing as npt

    from batchcore.audit.links import Expected
    from batchcore.db.load_stored import AddedEvents, Held, StoredRows
    from batchcore.frames import Decimals, Objects, Text

    Bools = npt.NDArray[np.bool_]
    Bytes = npt.NDArray[np.uint8]
    Int64 = npt.NDArray[np.int64]

COLUMNS: Final = (*RULED, *ANALYTIC)
"""Columns of a snapshot that `rollforward` names, in the order of the report."""

ALL_COLUMNS: Final = (*COLUMNS, *GREEKS, *EMPTY)
"""Those that `legacy` names: the same, and some more."""

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
"""Why cells cannot be checked; the first that holds is counted."""

EXPOSURES: Final = ("long_value", "short_value", "gross_exposure", "net_exposure", "cash_value")
BY_VALUE: Final = (
    *EXPOSURES,
    *("sector_exposure", "hhi", "effective_num_positions"),
    *("top_3_concentration", "top_10_concentration"),
)
"""Columns in which the value of a PRIVATE lot counts (S9, A2, A3)."""

BY_PROFILE: Final = ("beta_provider_1y", SHARES)
"""Columns in which profiles count (A1, A2)."""

OF_BASELINE: Final = (
    "daily_pnl",
    "daily_realized_pnl",
    "daily_return",
    "cumulative_pnl",
    "cumulative_realized_pnl",
)
"""Columns that are 0 on a baseline (S5)."""

BY_CHAIN: Final = (*OF_BASELINE, "daily_capital_flow", "cumulative_capital_flow")
"""Columns that the row before has a part in, beside the equity."""

OF_DAY: Final = (
    "beta_provider_1y",
    SHARES,
    *("hhi", "effective_num_positions", "top_3_concentration", "top_10_concentration"),
)
"""Columns that `legacy` fills on a current day (L32 to L34)."""

OF_WEIGHTS: Final = OF_DAY[1:]
"""Those of them that have no value together (L34)."""

BY_LEGACY_CHAIN: Final = (
    *("daily_pnl", "daily_return"),
    *("cumulative_pnl", "cumulative_realized_pnl", "cumulative_capital_flow"),
    *("beta_provider_1y", SHARES),
)
"""Columns that P has a part in under `legacy`, beside the equity; P&L is 0 without one (L11)."""

BY_QUANTITY: Final = (
    *("total_value", "equity_balance", "daily_pnl", "daily_return", "cumulative_pnl"),
    *EXPOSURES,
    *COUNTS[1:],
    *OF_DAY,
)
"""Columns in which the quantities of positions count (L15 to L34)."""

_PLACE: Final = {column: number for number, column in enumerate(ALL_COLUMNS)}
_NOT_COMPARED: Final = 255


class Judged:
    """Which cells of some rows can be judged, and why others cannot.

    Attributes:
        reason: (k, c) uint8, 0 or one more than a row of `REASONS`; c counts `ALL_COLUMNS`.
    """

    def __init__(self, rows: int, columns: Sequence[str] = COLUMNS) -> None:
        """Begin with all cells of so many rows.

        Args:
            rows: How many.
            columns: Those that are compared.
        """
        self.reason = np.full((rows, len(ALL_COLUMNS)), _NOT_COMPARED, dtype=np.uint8)
        self.reason[:, [_PLACE[column] for column in columns]] = 0

    def leave_out(self, reason: str, rows: Bools, columns: Sequence[str] = ALL_COLUMNS) -> None:
        """Leave out cells that no reason before has left out.

        Args:
            reason: One of `REASONS`.
            rows: (k,) bool.
            columns: Which; all without any.
        """
        code = REASONS.index(reason) + 1
        for column in columns:
            cells = self.reason[:, _PLACE[column]]
            cells[rows & (cells == 0)] = code

    def checked(self) -> Bools:
        """Return (k, c) which cells are judged."""
        checked: Bools = self.reason == 0
        return checked

    def counts(self) -> dict[str, int]:
        """Return how many cells each reason leaves out."""
        counted = np.bincount(self.reason.ravel(), minlength=_NOT_COMPARED + 1)
        return {name: int(counted[code + 1]) for code, name in enumerate(REASONS)}


def differs(stored: Decimals, expected: Decimals, units: int = 0) -> Bools:
    """Return which values are not what they should be.

    Args:
        stored: As they are; what is not finite or not representable equals nothing.
        expected: What they should be, with at most as many decimals.
        units: How many units in the last place of ``expected`` they may be apart.
    """
    wanted = rescaled(expected, max(stored.scale, expected.scale))
    found = rescaled(stored, wanted.scale)
    valued = (found.state == State.VALUE) & (wanted.state == State.VALUE)
    room = units * 10 ** (wanted.scale - expected.scale)
    # Unsigned, the difference of two mantissas always fits.
    low, high = np.minimum(found.values, wanted.values), np.maximum(found.values, wanted.values)
    apart = high.astype(np.uint64) - low.astype(np.uint64)
    both_null = (found.state == State.NULL) & (wanted.state == State.NULL)
    wrong: Bools = np.where(valued, apart > room, ~both_null)
    return wrong


def ruled_differences(stored: StoredRows, rows: Int64, expected: Expected) -> Bools:
    """Return (k, c) which cells are wrong to the last digit; False where nothing is expected."""
    found = np.zeros((len(rows), len(ALL_COLUMNS)), dtype=np.bool_)
    for name, column in expected.cells.items():
        if name in stored.cells:
            found[:, _PLACE[name]] = differs(taken(stored.cells[name], rows), column)
    if stored.shares is not None and expected.shares is not None:
        pairs_of = zip(shares_at(stored.shares, rows), expected.shares.tolist(), strict=True)
        found[:, _PLACE[SHARES]] = [_weights_differ(mine, right) for mine, right in pairs_of]
    return found | filled_cells(stored, rows, EMPTY)


def filled_cells(stored: StoredRows, rows: Int64, columns: Sequence[str]) -> Bools:
    """Return (k, c) which cells of some columns are not NULL; False in the others."""
    found = np.zeros((len(rows), len(ALL_COLUMNS)), dtype=np.bool_)
    for name in columns:
        column = stored.texts.get(name, stored.cells.get(name))
        if column is not None:
            found[:, _PLACE[name]] = column.state[rows] != State.NULL
    return found


def lacks_greeks(stored: StoredRows, rows: Int64, expected: Expected) -> Bools:
    """Return which rows are without a greek that is expected to have a value."""
    found = np.zeros(len(rows), dtype=np.bool_)
    for name in set(GREEKS) & expected.cells.keys() & stored.cells.keys():
        there = expected.cells[name].state == State.VALUE
        found |= there & (stored.cells[name].state[rows] == State.NULL)
    return found


def _weights_differ(stored: Any, expected: Any) -> bool:  # noqa: ANN401  # any JSON
    """Return whether two objects differ as binary64 values (L33)."""
    if not isinstance(stored, dict) or expected is None:
        return stored is not expected
    return stored.keys() != expected.keys() or any(
        not isinstance(stored[name], Decimal) or float(stored[name]) != float(expected[name])
        for name in expected
    )


@dataclass(frozen=True, eq=False, slots=True)
class Analysed:
    """The analytic columns of some rows as they should be.

    Attributes:
        cells: Column of `ANALYTIC` but for `sector_exposure` -> values.
        shares: `sector_exposure`.
    """

    cells: Mapping[str, Decimals]
    shares: Objects


def analytic_differences(stored: StoredRows, rows: Int64, expected: Analysed) -> Bools:
    """Return (k, c) which cells of A1 to A6 are wrong, one unit in the last place allowed."""
    found = np.zeros((len(rows), len(ALL_COLUMNS)), dtype=np.bool_)
    for name, column in expected.cells.items():
        units = 0 if name == OBSERVATIONS else 1
        found[:, _PLACE[name]] = differs(taken(stored.cells[name], rows), column, units)
    if stored.shares is not None:
        own = shares_at(stored.shares, rows)
        unit = Decimal(1).scaleb(-expected.shares.scale)
        wanted = shares_of(expected.shares)
        found[:, _PLACE[SHARES]] = [
            _shares_differ(mine, right, unit) for mine, right in zip(own, wanted, strict=True)
        ]
    return found


def shares_at(texts: Text, rows: Int64) -> list[Any]:
    """Return the JSON values of rows; None for NULL and for the JSON value `null`."""
    values = texts.texts()
    return [None if values[row] is None else parsed(str(values[row])) for row in rows.tolist()]


def parsed(text: str) -> Any:  # noqa: ANN401  # whatever JSON there is
    """Return a JSON value with its numbers as decimals."""
    return json.loads(text, parse_float=Decimal, parse_int=Decimal)


def shares_of(objects: Objects) -> list[dict[str, Decimal] | None]:
    """Return objects as mappings; None for NULL."""
    found: list[dict[str, Decimal] | None] = []
    for row in range(len(objects)):
        if objects.state[row] != State.VALUE:
            found.append(None)
            continue
        found.append(
            {
                objects.names[name]: Decimal(int(objects.values[row, name])).scaleb(-objects.scale)
                for name in np.flatnonzero(objects.present[row]).tolist()
            }
        )
    return found


def shares_apart(stored: Any, expected: Any) -> Decimal | None:  # noqa: ANN401  # any JSON
    """Return the largest difference of two objects of shares; None if one of them is none."""
    if not isinstance(stored, dict) or not isinstance(expected, dict):
        return None
    try:
        return max(
            (
                abs(Decimal(stored.get(name, 0)) - Decimal(expected.get(name, 0)))
                for name in stored.keys() | expected.keys()
            ),
            default=Decimal(0),
        )
    except (TypeError, ValueError, InvalidOperation):
        return None


def _shares_differ(stored: Any, expected: Any, unit: Decimal) -> bool:  # noqa: ANN401  # any JSON
    if stored is None or expected is None:
        return stored is not expected
    apart = shares_apart(stored, expected)
    return apart is None or not apart <= unit


def tells_of_earlier_rows(stored: StoredRows, rows: Int64) -> Bools:
    """Return which rows cannot be a baseline, though nothing before them is stored.

    One cell that is not 0 is taken for a wrong one; two tell of rows that are gone.
    """
    signs = np.zeros(len(rows), dtype=np.int64)
    for name in OF_BASELINE:
        column = taken(stored.cells[name], rows)
        signs += (column.state == State.VALUE) & (column.values != 0)
    flows = ("daily_capital_flow", "cumulative_capital_flow")
    daily, sums = (taken(stored.cells[name], rows) for name in flows)
    signs += differs(daily, sums) if daily.scale >= sums.scale else differs(sums, daily)
    return signs > 1


def tells_of_earlier_legacy_rows(stored: StoredRows, rows: Int64, expected: Expected) -> Bools:
    """Return which rows without P cannot be first ones, though nothing before them is stored.

    One cell that is not what it should be is taken for a wrong one; two tell of rows that are gone.
    """
    own = taken(stored.cells["daily_pnl"], rows)
    signs = differs(own, expected.cells["daily_pnl"]).astype(np.int64)
    for amount in ("pnl", "realized_pnl", "capital_flow"):
        daily, sums = (
            taken(stored.cells[f"{prefix}_{amount}"], rows) for prefix in ("daily", "cumulative")
        )
        signs += differs(daily, sums) if daily.scale >= sums.scale else differs(sums, daily)
    return signs > 1


def private_values_changed(
    stored: StoredRows, rows: Int64, held: Held, events: AddedEvents
) -> Bools:
    """Return which rows have a PRIVATE lot that may have had another value when they were written.

    A position keeps today's value only (S9): if it was changed since, that of the day is gone.
    """
    day, written = stored.day[rows], stored.written[rows]
    private = np.flatnonzero(held.private)
    pair = pairs(stored.portfolio[rows], held.portfolio[private])
    row, position = pair.left, private[pair.right]
    gone = (held.start[position] <= day[row]) & (day[row] < held.end[position])
    gone &= held.changed[position] > written[row]
    return any_by_left(pair, gone, len(rows)) | _closed_since(stored, rows, events, events.private)


def closed_since(stored: StoredRows, rows: Int64, events: AddedEvents) -> Bools:
    """Return which rows hold a position of which a part was closed later, and told later.

    Such a position is two lots on every day before (S3), and was one when the row was written.
    """
    return _closed_since(stored, rows, events, np.ones(len(events.day), dtype=np.bool_))


def _closed_since(stored: StoredRows, rows: Int64, events: AddedEvents, which: Bools) -> Bools:
    own = np.flatnonzero(which)
    pair = pairs(stored.portfolio[rows], events.portfolio[own])
    row, event = rows[pair.left], own[pair.right]
    day = stored.day[row]
    since = (events.start[event] <= day) & (day < events.day[event])
    since &= events.added[event] > stored.written[row]
    return any_by_left(pair, since, len(rows))


@dataclass(frozen=True, eq=False, slots=True)
class Pairs:
    """Rows of two sides that belong together.

    Attributes:
        left: (m,) int64, ascending.
        right: (m,) int64.
    """

    left: Int64
    right: Int64


def pairs(left: npt.NDArray[Any], right: npt.NDArray[Any]) -> Pairs:
    """Return all pairs with the same key; the right keys ascend."""
    low = np.searchsorted(right, left, side="left")
    count = np.searchsorted(right, left, side="right") - low
    own = np.repeat(np.arange(len(left)), count)
    within = np.arange(len(own)) - np.repeat(np.cumsum(count) - count, count)
    return Pairs(own, np.repeat(low, count) + within)


def any_by_left(pair: Pairs, holds: Bools, rows: int) -> Bools:
    """Return for each row on the left whether some pair of it holds."""
    found = np.zeros(rows, dtype=np.bool_)
    found[pair.left[holds]] = True
    return found


def is_analysed(stored: StoredRows, columns: Sequence[str] = ANALYTIC) -> Bools:
    """Return which rows have one of some columns; JSON `null` is none."""
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
            return Decimal(int(column.values[row])).scaleb(-column.scale)
        case State.NULL:
            return None
        case State.NON_FINITE:
            return "not finite"
        case _:
            return "not representable"


def place_of(column: str) -> int:
    """Return where a column stands in `ALL_COLUMNS`."""
    return _PLACE[column]


def are_of(columns: Sequence[str]) -> Bools:
    """Return (c,) which of `ALL_COLUMNS` are among some."""
    found = np.zeros(len(ALL_COLUMNS), dtype=np.bool_)
    found[[_PLACE[name] for name in columns]] = True
    return found


def in_any(cells: Bools, columns: Sequence[str]) -> Bools:
    """Return which rows have a cell in some columns.

    Args:
        cells: (k, c) bool.
        columns: Which.
    """
    found: Bools = np.any(cells[:, [_PLACE[name] for name in columns]], axis=1)
    return found
