"""The tags that stand for sectors: one name and one colour for each (A2)."""

from __future__ import annotations

from types import MappingProxyType
from typing import TYPE_CHECKING, Final

from batchcore.analytics.sector_exposure import SECTORS, UNKNOWN, sector_of

if TYPE_CHECKING:
    from collections.abc import Mapping

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
"""Sector -> colour of its tag, as ``#rrggbb``; of every name of `SECTORS`."""


def sector_tag(sector: str | None, *, is_etf: bool | None, kind: int) -> str:
    """Return the name of the sector tag of a position: always one of `SECTORS`.

    A sector that is none of them counts as unknown: a tag of any other name would be the user's.

    Args:
        sector: Of the profile of its symbol; None without one.
        is_etf: The profile's flag; None is false.
        kind: Of `units.LotKind`.

    Source:
        docs/semantics.md, A2.
    """
    name = sector_of(sector, is_etf=is_etf, kind=kind)
    return name if name in SECTORS else UNKNOWN
