"""Which of several rows of one symbol and date counts (S2): pure, on columns."""

from __future__ import annotations

from dataclasses import dataclass
from decimal import Decimal
from typing import TYPE_CHECKING

import numpy as np

from batchcore.frames import Days, Decimals, Prices, Text, day_keys, first_of_each
from batchcore.units import State

if TYPE_CHECKING:
    import numpy.typing as npt


@dataclass(frozen=True, slots=True)
class Ambiguous:
    """Dates of a symbol on which rows differ, so that none of them is a valid close.

    Attributes:
        symbol: As stored.
        day: The first of them.
        detail: How many there are, and the closes on the first.
    """

    symbol: str
    day: int
    detail: str


def one_close(prices: Prices, rank: npt.NDArray[np.int64] | None) -> tuple[Prices, list[Ambiguous]]:
    """Return at most one row of each symbol and day, and the symbols whose rows differ.

    Args:
        prices: Symbols as stored.
        rank: (n,) order of the sources of the rows; None where none are declared.

    Source:
        docs/semantics.md, S2.
    """
    close, codes, days = prices.close, prices.symbol.codes, prices.day.values
    rows = np.flatnonzero((prices.symbol.state | prices.day.state) == State.VALUE)
    key = day_keys(codes[rows].astype(np.int64), days[rows])
    value, state = close.values[rows], close.state[rows]
    order_of = np.zeros(len(rows), dtype=np.int64) if rank is None else rank[rows]
    # valid closes first, then those that are refused with a value, then those without one
    unreadable = np.where(state == State.NOT_REPRESENTABLE, 2, 3)
    level = np.where(state == State.VALUE, value <= 0, unreadable)
    order = np.lexsort((value, order_of, level, key))
    key, level, order_of, value = key[order], level[order], order_of[order], value[order]
    is_first = np.ones(len(rows), dtype=np.bool_)
    is_first[1:] = key[1:] != key[:-1]
    alike = is_first.copy()  # the first of rows that are of one rank and level too
    alike[1:] |= (level[1:] != level[:-1]) | (order_of[1:] != order_of[:-1])
    first, starts = np.flatnonzero(is_first), np.flatnonzero(alike)
    last = np.append(starts[1:], len(rows))[np.searchsorted(starts, first)] - 1
    differs = (level[first] == 0) & (value[first] != value[last])
    kept = np.sort(rows[order[first[~differs]]])
    found = _ambiguous(prices, rows[order[first[differs]]], rows[order[last[differs]]])
    if len(kept) == len(prices):
        return prices, found
    symbol = Text(codes[kept], prices.symbol.offsets, prices.symbol.data)
    closes = Decimals(close.values[kept], close.scale, close.state[kept])
    return Prices(symbol=symbol, day=Days(days[kept]), close=closes), found


def _ambiguous(
    prices: Prices, low: npt.NDArray[np.intp], high: npt.NDArray[np.intp]
) -> list[Ambiguous]:
    """Return one of each symbol; rows come by symbol and day."""
    firsts, counts = first_of_each(prices.symbol.codes[low])
    scale = prices.close.scale

    def shown(row: int) -> str:
        text = f"{Decimal(int(prices.close.values[row])).scaleb(-scale):f}"
        return text.rstrip("0").rstrip(".") if scale else text

    return [
        Ambiguous(
            prices.symbol.value(int(prices.symbol.codes[low[at]])),
            int(prices.day.values[low[at]]),
            f"{count} dates; {shown(low[at])} and {shown(high[at])} on the first",
        )
        for at, count in zip(firsts.tolist(), counts.tolist(), strict=True)
    ]
