"""Names of sectors, their tags, and shares of portfolios in them (A2)."""

from __future__ import annotations

from types import MappingProxyType
from typing import TYPE_CHECKING, Final

import numpy as np

from batchcore.analytics.grouped_sums import grouped_sum
from batchcore.units import LotKind

if TYPE_CHECKING:
    from collections.abc import Mapping

    from batchcore.analytics.grouped_sums import Integers
    from batchcore.frames import Floats

ETFS: Final = "ETFs"
"""The sector of a profile with the ETF flag."""

UNCLASSIFIED: Final = "Unclassified"
"""The sector of options and PRIVATE lots."""

UNKNOWN: Final = "Unknown"
"""The sector of a symbol without a profile, or of a profile without a sector."""

COLORS: Final[Mapping[str, str]] = MappingProxyType(
    {
        "Communication Services": "#8e44ad",
        "Consumer Discretionary": "#e67e22",
        "Consumer Staples": "#27ae60",
        "ETFs": "#2c3e50",
        "Energy": "#a04000",
        "Financials": "#1f618d",
        "Healthcare": "#c0392b",
        "Industrials": "#707b7c",
        "Materials": "#b7950b",
        "Real Estate": "#6e2c00",
        "Technology": "#2e86de",
        "Unclassified": "#95a5a6",
        "Unknown": "#bdc3c7",
        "Utilities": "#138d75",
    }
)
"""Sector -> colour of its tag, as ``#rrggbb``."""

SECTORS: Final = tuple(COLORS)
"""The names of sectors, sorted in byte order."""

RENAMED: Final = {
    "Financial Services": "Financials",
    "Consumer Cyclical": "Consumer Discretionary",
    "Consumer Defensive": "Consumer Staples",
    "Basic Materials": "Materials",
}


def sector_of(sector: str | None, *, is_etf: bool | None, kind: int) -> str:
    """Return the name of the sector of a lot, from its profile (A2).

    ``kind`` is of `units.LotKind`. Blanks at the ends of a sector do not count.
    """
    if kind != LotKind.STOCK:
        return UNCLASSIFIED
    if is_etf:
        return ETFS
    name = (sector or "").strip(" ")
    return RENAMED.get(name, name) or UNKNOWN


def sector_tag(sector: str | None, *, is_etf: bool | None, kind: int) -> str:
    """Return the name of the sector tag of a position: always one of `SECTORS` (A2).

    Any other sector counts as unknown: a tag of another name would be the user's.
    """
    name = sector_of(sector, is_etf=is_etf, kind=kind)
    return name if name in SECTORS else UNKNOWN


def sector_exposure(
    *, portfolio: Integers, sector: Integers, value: Floats, equity: Floats, sectors: int
) -> Floats:
    """Return the share of each portfolio in each of k sectors (A2): absolute value by equity.

    ``sector`` is (l,): the index of the name from `sector_of` among the caller's k names. (p, s,
    k); NaN where a sector has no value, and where the equity is not above 0.
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
    """Return the share of a portfolio less the weight of a benchmark, by sector, sorted (A2).

    Sectors of the benchmark are renamed as by `sector_of`; weights of the same name are added.
    """
    difference = dict(exposure)
    for name, weight in benchmark.items():
        sector = sector_of(name, is_etf=False, kind=LotKind.STOCK)
        difference[sector] = difference.get(sector, 0.0) - weight
    return dict(sorted(difference.items()))
