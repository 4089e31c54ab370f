"""Concentration of portfolios in few symbols (A3)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

import numpy as np

from batchcore.analytics.grouped_sums import blocks_of_groups, grouped_sum, rows_or_zero

if TYPE_CHECKING:
    from batchcore.analytics.grouped_sums import Integers
    from batchcore.frames import Floats

FEW: Final = 3
MANY: Final = 10
WHOLE: Final = 10_000.0
BLOCK: Final = 1 << 17  # float64 of a block: 1 MiB, which the second-level cache holds


@dataclass(frozen=True, eq=False, slots=True)
class Concentration:
    """Concentration of portfolios by symbol (A3), all (p, s); NaN where one has no value."""

    hhi: Floats  # Herfindahl-Hirschman index, up to 10,000: all in one symbol
    effective_num_positions: Floats  # 10,000 by `hhi`
    top_3: Floats  # sum of the three largest weights, up to 1
    top_10: Floats  # the same of ten


def concentration(
    *, portfolio: Integers, symbol: Integers, value: Floats, portfolios: int
) -> Concentration:
    """Return the concentration of each of p portfolios (A3); lots of the same symbol are merged.

    The weight of a symbol is the absolute value of its lots, long and short added, divided by that
    of all lots of the portfolio.
    """
    symbols = int(symbol.max(initial=0)) + 1
    pair = portfolio.astype(np.int64) * symbols + symbol
    pairs, merged = np.unique(pair, return_inverse=True)
    owner = pairs // symbols
    weight = grouped_sum(merged, np.abs(value), len(pairs))
    total = grouped_sum(owner, weight, portfolios)[owner]
    weight = np.divide(weight, total, out=np.zeros(weight.shape), where=total > 0)

    squares = grouped_sum(owner, np.square(weight), portfolios)
    hhi = np.where(squares > 0, WHOLE * squares, np.nan)
    top_3, top_10 = (np.full(hhi.shape, np.nan) for _ in range(2))
    for members, rows in blocks_of_groups(owner, portfolios, value.shape[1], BLOCK):
        by_size = np.sort(rows_or_zero(weight, rows).transpose(0, 2, 1))[:, :, : -MANY - 1 : -1]
        sums = np.cumsum(by_size, axis=2)
        top_3[members] = sums[:, :, :FEW][:, :, -1]
        top_10[members] = sums[:, :, -1]
    top_3[np.isnan(hhi)] = np.nan
    top_10[np.isnan(hhi)] = np.nan
    return Concentration(hhi, WHOLE / hhi, top_3, top_10)
