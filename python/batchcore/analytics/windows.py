"""Windows of sessions, and sums over them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

import numpy as np

if TYPE_CHECKING:
    import numpy.typing as npt

    from batchcore.frames import Bools, Floats, Int64

LOOK: Final = 126
"""Sessions that a regression covers, up to and including its own: half a year."""

WINDOW: Final = 90
"""Maximum number of usable sessions in a regression, the last ones."""

LEAST: Final = 60
"""Minimum number of usable sessions in a regression."""

NO_DEVIATION: Final = 1e-12
"""A standard deviation of returns up to this counts as 0: it is the noise of float64."""


def last_rows(values: Floats, rows: int) -> Floats:
    """Return the last ``rows`` rows, preceded by rows of NaN if there are fewer."""
    missing = rows - len(values)
    if missing <= 0:
        return values[len(values) - rows :]
    return np.concatenate([np.full((missing, *values.shape[1:]), np.nan), values])


def to_front(values: npt.NDArray[Any], valid: Bools) -> npt.NDArray[Any]:
    """Return the valid values of each column from the top on, in their order, then zeros."""
    place = np.cumsum(valid, axis=0) - 1
    moved = np.zeros_like(values)
    column = np.broadcast_to(np.arange(values.shape[1]), values.shape)
    moved[place[valid], column[valid]] = values[valid]
    return moved


def counts_before(valid: Bools) -> Int64:
    """Return the number of valid values of each column before each row, and in all: (d + 1, u)."""
    counts = np.zeros((len(valid) + 1, valid.shape[1]), dtype=np.int64)
    np.cumsum(valid, axis=0, out=counts[1:])
    return counts


def window_sums(moments: Floats, start: Int64, length: Int64) -> Floats:
    """Return sums over windows, each from its own values only, in a fixed order.

    A window is cut into pieces whose lengths are powers of two; the sums of all pieces of a length
    come from those of half of it. So, unlike with prefix sums, a value outside a window has no
    influence, and a window has the same sum to the last digit wherever its array begins.

    For (m, d, u) finite values, and (s, u) windows with a first row and a length, the result is (m,
    s, u).
    """
    many, _, columns = moments.shape
    sums = np.zeros((many, *start.shape))
    column = np.arange(columns)
    done = np.zeros_like(length)
    pieces, size = moments, 1
    longest = int(length.max(initial=0))
    while size <= longest:
        has = (length & size) != 0
        if has.any():
            row = np.where(has, start + done, 0)
            flat = (row * columns + column).ravel()
            taken = pieces.reshape(many, -1).take(flat, axis=1).reshape(sums.shape)
            sums += taken if has.all() else np.where(has, taken, 0)
            done += has * size
        if 2 * size <= longest:
            pieces = pieces[:, :-size] + pieces[:, size:]
        size *= 2
    return sums
