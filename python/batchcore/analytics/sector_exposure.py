"""Names of sectors, and shares of portfolios in them (A2)."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

import numpy as np

from batchcore.analytics.grouped_sums import grouped_sum
from batchcore.units import LotKind

if TYPE_CHECKING:
    from collections.abc import Mapping

    import numpy.typing as npt

    Floats = npt.NDArray[np.float64]
    Integers = npt.NDArray[np.integer[Any]]

ETFS: Final = "ETFs"
"""The sector of a profile with the ETF flag."""

UNCLASSIFIED: Final = "Unclassified"
"""The sector of options and PRIVATE lots."""

UNKNOWN: Final = "Unknown"
"""The sector of a symbol without a profile, or of a profile without a sector."""

SECTORS: Final = (
    "Communication Services",
    "Consumer Discretionary",
    "Consumer Staples",
    "ETFs",
    "Energy",
    "Financials",
    "Healthcare",
    "Industrials",
    "Materials",
    "Real Estate",
    "Technology",
    "Unclassified",
    "Unknown",
    "Utilities",
)
"""The names of sectors, sorted in byte order."""

RENAMED: Final = {
    "Financial Services": "Financials",
    "Consumer Cyclical": "Consumer Discretionary",
    "Consumer Defensive": "Consumer Staples",
    "Basic Materials": "Materials",
}


def sector_of(sector: str | None, *, is_etf: bool | None, kind: int) -> str:
    """Return the name of the sector that a lot counts in.

    Args:
        sector: Of its profile; None without a profile, or without one there. Blanks at the ends do
            not count.
        is_etf: Its profile's flag; None is false.
        kind: Of `units.LotKind`.

    Source:
        docs/semantics.md, A2.
    """
    if kind != LotKind.STOCK:
        return UNCLASSIFIED
    if is_etf:
        return ETFS
    name = (sector or "").strip(" ")
    return RENAMED.get(name, name) or UNKNOWN


def sector_exposure(
    *, portfolio: Integers, sector: Integers, value: Floats, equity: Floats, sectors: int
) -> Floats:
    """Return the share of each portfolio in each sector: absolute value by equity.

    Args:
        portfolio: (l,) ascending.
        sector: (l,) from 0 to ``sectors - 1``: which of the caller's names `sector_of` gives.
        value: (l, s) dollars, signed.
        equity: (p, s) dollars.
        sectors: How many names the caller has, k.

    Returns:
        (p, s, k); NaN where a sector has no value, and where the equity is not above 0.

    Source:
        docs/semantics.md, A2.
    """
    portfolios, sessions = equity.shape
    group = portfolio.astype(np.intp) * sectors + sector
    sums = grouped_sum(group, np.abs(value), portfolios * sectors)
    invested = sums.reshape(portfolios, sectors, sessions).transpose(0, 2, 1)
    there = (invested > 0) & (equity > 0)[:, :, None]
    result = np.full(invested.shape, np.nan)
    np.divide(invested, equity[:, :, None], out=result, where=there)
    return result


def over_and_underweights(
    exposure: Mapping[str, float], benchmark: Mapping[str, float]
) -> dict[str, float]:
    """Return the share of a portfolio less the weight of a benchmark, by sector.

    Args:
        exposure: Share of the portfolio by sector, as `sector_of` names them.
        benchmark: Weight by sector; names of profiles are renamed as `sector_of` does, and weights
            that come to the same name are added.

    Returns:
        All sectors of either, sorted; positive is overweight.

    Source:
        docs/semantics.md, A2.
    """
    difference = dict(exposure)
    for name, weight in benchmark.items():
        sector = sector_of(name, is_etf=False, kind=LotKind.STOCK)
        difference[sector] = difference.get(sector, 0.0) - weight
    return dict(sorted(difference.items()))
