"""What a run can do of the analytics on the tables that a host has."""

from __future__ import annotations

from dataclasses import dataclass
from types import MappingProxyType
from typing import TYPE_CHECKING, Final

from batchcore.db.check import check
from batchcore.schema import HOST, NOTHING, Kind, Use
from batchcore.units import MAX_SCALE

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from batchcore.db.catalog import Catalog
    from batchcore.schema import Table

SNAPSHOTS: Final = "portfolio_snapshots"
PROFILES: Final = "company_profiles"
POSITION_BETAS: Final = "position_market_betas"
FACTORS: Final = "factor_definitions"
FACTOR_EXPOSURES: Final = "factor_exposures"
POSITION_FACTORS: Final = "position_factor_exposures"
POSITIONS: Final = "positions"

MOST_DECIMALS: Final = 9
"""Decimals that are written at most; a float has hardly more to tell."""

_PORTFOLIO: Final = Use.ANALYTICS | Use.SECTORS
_FULL: Final = _PORTFOLIO | Use.BETAS | Use.FACTORS | Use.VALUES
_LEVELS: Final = MappingProxyType(
    {"none": NOTHING, "portfolio": _PORTFOLIO, "every": _PORTFOLIO, "full": _FULL}
)
_PARTS: Final = MappingProxyType(
    {
        "provider_beta": Use.SECTORS,
        "sector_exposure": Use.SECTORS,
        POSITION_BETAS: Use.BETAS,
        FACTOR_EXPOSURES: Use.FACTORS,
    }
)
"""Parts that are not done where a host lacks a table of them."""

KEYS: Final[Mapping[str, tuple[str, ...]]] = MappingProxyType(
    {name: table.unique for name, table in HOST.items() if table.inserts & _FULL}
)
"""Tables that rows are written into, and what makes a row of each the same row."""


@dataclass(frozen=True, slots=True)
class Capacity:
    """What a NUMERIC column can hold.

    Attributes:
        scale: Decimals.
        limit: Mantissas are smaller than this.
    """

    scale: int
    limit: int


@dataclass(frozen=True, eq=False, slots=True)
class Parts:
    """What a run does of the analytics.

    Attributes:
        level: One of `config.ANALYTICS`.
        profiles: Whether A1 and A2 are computed.
        position_betas: Whether `position_market_betas` is written.
        factors: Whether the two tables of factor exposures are written.
        off: Part -> why it is not done, though its level asks for it.
        capacities: Table -> column -> what it can hold.
        jsonb: Whether `sector_exposure` is `jsonb`.
    """

    level: str
    profiles: bool
    position_betas: bool
    factors: bool
    off: Mapping[str, str]
    capacities: Mapping[str, Mapping[str, Capacity]]
    jsonb: bool

    @property
    def market_values(self) -> bool:
        """Whether positions get their market values."""
        return self.level == "full"


def check_parts(catalog: Catalog, level: str, *, writes: bool = True) -> Parts:
    """Return what a run can do of a level; refuse a database that the run cannot work with.

    Args:
        catalog: The host's tables.
        level: One of `config.ANALYTICS`.
        writes: Whether the run writes: without, what the role may write does not count.

    Raises:
        SchemaError: with every difference in ``problems``, those of the run without analytics
            too; the message has the first.
    """
    uses, off = _LEVELS[level], {}
    for part, use in _PARTS.items():
        lacking = _absent(catalog, use) if use & _LEVELS[level] else None
        if lacking:
            uses, off[part] = uses & ~use, f"no table {catalog.label(lacking)}"
    check(catalog, Use.RUN | Use.MAPPED | uses, writes=writes)
    return Parts(
        level,
        profiles=bool(uses & Use.SECTORS),
        position_betas=bool(uses & Use.BETAS),
        factors=bool(uses & Use.FACTORS),
        off=off,
        capacities={name: dict(_capacities(catalog, HOST[name], uses)) for name in HOST},
        jsonb=level != "none" and has_jsonb(catalog),
    )


def has_jsonb(catalog: Catalog) -> bool:
    """Return whether `sector_exposure` is `jsonb`, not `json`."""
    return catalog.column(SNAPSHOTS, "sector_exposure").kind is Kind.JSONB


def _absent(catalog: Catalog, use: Use) -> str | None:
    """Return the first table of a use that the host has not."""
    names = (name for name, table in HOST.items() if table.needed(use))
    return next((name for name in names if not catalog.has_table(name)), None)


def _capacities(catalog: Catalog, table: Table, uses: Use) -> Iterator[tuple[str, Capacity]]:
    for column in table.columns:
        if not column.writes & uses or column.kind is not Kind.NUMERIC:
            continue
        found = catalog.column(table.name, column.name)
        scale, digits = min(catalog.scale(table.name, column.name), MOST_DECIMALS), MAX_SCALE
        if found.precision is not None and found.scale is not None:
            digits = min(found.precision - found.scale + scale, MAX_SCALE)
        yield column.name, Capacity(scale, 10**digits)
