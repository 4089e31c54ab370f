"""Sums, and blocks of rows, by group."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Iterator

    import numpy.typing as npt

    Floats = npt.NDArray[np.float64]
    Integers = npt.NDArray[np.integer[Any]]
    Positions = npt.NDArray[np.intp]

ALIKE = 2  # a block holds groups of up to twice the rows of its smallest
FEW = 8  # up to which all groups are alike


def grouped_sum(group: Integers, values: npt.NDArray[Any], groups: int) -> Floats:
    """Return the sums of rows by group, one row after another.

    `np.add.reduceat` sums pairwise: there, a row of zeros may change the last digit.

    Args:
        group: (l,) from 0 to ``groups - 1``, in any order.
        values: (l, s) numbers or booleans.
        groups: How many there are.

    Returns:
        (groups, s) float64; 0 for a group without rows.
    """
    bins = group.astype(np.intp)
    sums = np.empty((values.shape[1], groups))
    for column, of_column in enumerate(sums):
        of_column[:] = np.bincount(bins, weights=values[:, column], minlength=groups)
    return sums.T


def blocks_of_groups(
    group: Integers, groups: int, width: int, limit: int
) -> Iterator[tuple[Positions, Positions]]:
    """Yield all groups that have rows, in blocks of groups of about the same number of rows.

    Args:
        group: (l,) from 0 to ``groups - 1``, ascending.
        groups: How many there are.
        width: Elements that the caller needs for each row of a block.
        limit: Elements of a block, at most, unless a single group needs more.

    Yields:
        The groups of the block, (b,), and the rows of each, (b, k), filled up with l.
    """
    counts = np.bincount(group.astype(np.intp), minlength=groups)
    first = np.cumsum(counts) - counts
    order = np.argsort(counts, kind="stable")
    order = order[counts[order] > 0]
    sizes = counts[order]
    start = 0
    while start < len(order):
        alike = max(int(sizes[start]) * ALIKE, FEW)
        end = int(np.searchsorted(sizes, alike, side="right"))
        end = min(end, start + max(1, limit // (width * int(sizes[end - 1]))))
        members = order[start:end]
        place = np.arange(sizes[end - 1])
        rows = first[members, None] + place
        yield members, np.where(place < counts[members, None], rows, len(group))
        start = end


def rows_or_zero(values: Floats, rows: Positions) -> Floats:
    """Return ``values[rows]``, and zeros for the row that is one past the last."""
    missing = rows == len(values)
    taken = values[np.where(missing, 0, rows)]
    taken[missing] = 0
    return taken
