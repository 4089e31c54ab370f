"""Which of several rows of one symbol and date counts (S2): pure, on columns."""

from __future__ import annotations

from dataclasses import dataclass
from decimal import Decimal
from typing import TYPE_CHECKING

import numpy as np

from batchcore.frames import day_keys, first_of_each
from batchcore.units import State

if TYPE_CHECKING:
    import numpy.typing as npt

    from batchcore.frames import Prices


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
    codes, days = prices.symbol.codes, prices.day.values
    rows = np.flatnonzero((prices.symbol.state | prices.day.state) == State.VALUE)
    key = day_keys(codes[rows].astype(np.int64), days[rows])
    order = np.argsort(key, kind="stable")
    key, rows = key[order], rows[order]
    is_first = np.ones(len(rows), dtype=np.bool_)
    is_first[1:] = key[1:] != key[:-1]
    if is_first.all():
        return prices if len(rows) == len(prices) else prices.take(np.sort(rows)), []
    starts, group = np.flatnonzero(is_first), np.cumsum(is_first) - 1
    value, state = prices.close.values[rows], prices.close.state[rows]
    unreadable = np.where(state == State.NOT_REPRESENTABLE, 2, 3)
    place = np.where(state == State.VALUE, value <= 0, unreadable)
    sources = 1
    if rank is not None:
        sources += int(rank.max())
        place = place * sources + rank[rows]
    best = np.minimum.reduceat(place, starts)
    counts = place == best[group]
    ends = np.iinfo(np.int64)
    low = np.minimum.reduceat(np.where(counts, value, ends.max), starts)
    high = np.maximum.reduceat(np.where(counts, value, ends.min), starts)
    differs = (best < sources) & (low != high)  # of valid closes
    counts &= (value == low[group]) & ~differs[group]
    kept = np.zeros(len(prices), dtype=np.bool_)
    kept[np.minimum.reduceat(np.where(counts, rows, len(prices) - 1), starts)[~differs]] = True
    first = rows[starts[differs]]
    found = _ambiguous(prices, first, low[differs], high[differs])
    return prices.take(kept), found


def _ambiguous(
    prices: Prices,
    rows: npt.NDArray[np.intp],
    low: npt.NDArray[np.int64],
    high: npt.NDArray[np.int64],
) -> list[Ambiguous]:
    """Return one of each symbol; rows come by symbol and day."""
    firsts, counts = first_of_each(prices.symbol.codes[rows])
    scale = prices.close.scale

    def shown(mantissa: int) -> str:
        text = f"{Decimal(mantissa).scaleb(-scale):f}"
        return text.rstrip("0").rstrip(".") if scale else text

    return [
        Ambiguous(
            prices.symbol.value(int(prices.symbol.codes[rows[at]])),
            int(prices.day.values[rows[at]]),
            f"{count} dates; {shown(int(low[at]))} and {shown(int(high[at]))} on the first",
        )
        for at, count in zip(firsts.tolist(), counts.tolist(), strict=True)
    ]
