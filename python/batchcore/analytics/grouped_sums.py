"""Sums, and blocks of rows, by group."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Iterator

    import numpy.typing as npt

    from batchcore.frames import Floats

    Integers = npt.NDArray[np.integer[Any]]
    Positions = npt.NDArray[np.intp]

ALIKE = 2  # a block holds groups of up to twice the rows of its smallest
FEW = 8  # up to which all groups are treated alike


def grouped_sum(group: Integers, values: npt.NDArray[Any], groups: int) -> Floats:
    """Return the sums of the rows of (l, s) values by group, one row after another: (groups, s).

    `np.add.reduceat` sums pairwise, so that a row of zeros may change the last digit.
    """
    bins = group.astype(np.intp)
    sums = np.empty((values.shape[1], groups))
    for column, of_column in enumerate(sums):
        of_column[:] = np.bincount(bins, weights=values[:, column], minlength=groups)
    return sums.T


def blocks_of_groups(
    group: Integers, groups: int, width: int, limit: int
) -> Iterator[tuple[Positions, Positions]]:
    """Yield all groups with rows, in blocks of groups with about the same number of rows.

    Each block has its groups, (b,), and the rows of each, (b, k), padded with l. A row takes
    ``width`` elements; a block has at most ``limit``, unless a single group needs more.
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
