"""The parts of the analytics and of `legacy` that a run can do on the tables of a host."""

from __future__ import annotations

from dataclasses import dataclass
from types import MappingProxyType
from typing import TYPE_CHECKING, Final

from batchcore.db.check import check
from batchcore.schema import HOST, NOTHING, Kind, Table, Use
from batchcore.units import MAX_SCALE

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from batchcore.db.catalog import Catalog

SNAPSHOTS: Final = "portfolio_snapshots"
PROFILES: Final = "company_profiles"
POSITION_BETAS: Final = "position_market_betas"
FACTORS: Final = "factor_definitions"
FACTOR_EXPOSURES: Final = "factor_exposures"
POSITION_FACTORS: Final = "position_factor_exposures"
POSITIONS: Final = "positions"

MOST_DECIMALS: Final = 9  # maximum decimals written; a float has hardly more

_PORTFOLIO: Final = Use.ANALYTICS | Use.SECTORS
_FULL: Final = _PORTFOLIO | Use.BETAS | Use.FACTORS | Use.VALUES
LEVELS: Final = MappingProxyType(
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
"""Parts that are left out where a host lacks one of their tables."""

KEYS: Final[Mapping[str, tuple[str, ...]]] = MappingProxyType(
    {name: table.unique for name, table in HOST.items() if table.inserts & _FULL}
)
"""Tables that rows are written into, and their keys."""


@dataclass(frozen=True, slots=True)
class Capacity:
    """The capacity of a NUMERIC column."""

    scale: int
    limit: int  # mantissas are smaller than this


@dataclass(frozen=True, eq=False, slots=True)
class Parts:
    """The parts of the analytics that a run does."""

    level: str  # one of `config.ANALYTICS`
    profiles: bool  # whether A1 and A2 are computed
    position_betas: bool  # whether `position_market_betas` is written
    factors: bool  # whether the two tables of factor exposures are
    off: Mapping[str, str]  # part -> why it is not done, although its level includes it
    capacities: Mapping[str, Mapping[str, Capacity]]  # by table and column
    jsonb: bool  # whether `sector_exposure` is


def check_parts(catalog: Catalog, level: str, *, writes: bool = True) -> Parts:
    """Return the parts of a level that a run can do; raise an error if it cannot run at all.

    The needs of a run without analytics are checked too, see `check`.
    """
    uses, off = LEVELS[level], {}
    for part, use in _PARTS.items():
        lacking = _absent(catalog, use) if use & LEVELS[level] else None
        if lacking:
            uses, off[part] = uses & ~use, f"no table {catalog.label(lacking)}"
    check(catalog, Use.ROLLFORWARD | uses, writes=writes)
    return Parts(
        level,
        profiles=bool(uses & Use.SECTORS),
        position_betas=bool(uses & Use.BETAS),
        factors=bool(uses & Use.FACTORS),
        off=off,
        capacities={name: dict(_capacities(catalog, HOST[name], uses)) for name in HOST},
        jsonb=level != "none" and has_jsonb(catalog),
    )


LEGACY_USES: Final = Use.RUN | Use.LEGACY | Use.GREEKS
"""The uses of runs of the policy `legacy`."""

LEGACY: Final = HOST[SNAPSHOTS].names(Use.LEGACY | Use.GREEKS)
"""Columns that the policy `legacy` writes beside those of every run."""


@dataclass(frozen=True, eq=False, slots=True)
class LegacyTables:
    """The columns of the host's tables that the policy `legacy` finds."""

    jsonb: bool  # whether `sector_exposure` is
    cleared: tuple[str, ...]  # columns that are NULL in every row (L31), of those that may
    defaulted: tuple[str, ...]  # those of them that the server would fill in


def check_legacy(catalog: Catalog, *, writes: bool = True) -> LegacyTables:
    """Return the columns for `legacy`; raise an error if it cannot run, see `check`."""
    check(catalog, LEGACY_USES, writes=writes)
    names = HOST[SNAPSHOTS].names(Use.CLEARED)
    found = {column: catalog.find(SNAPSHOTS, column) for column in names}
    cleared = {
        column: one
        for column, one in found.items()
        if one and not one.not_null and not one.generated and one.can_insert and one.can_update
    }
    defaulted = tuple(column for column, one in cleared.items() if one.has_default)
    return LegacyTables(has_jsonb(catalog), tuple(cleared), defaulted)


def has_jsonb(catalog: Catalog) -> bool:
    """Return whether `sector_exposure` is `jsonb`, not `json`."""
    return catalog.column(SNAPSHOTS, "sector_exposure").kind is Kind.JSONB


def _absent(catalog: Catalog, use: Use) -> str | None:
    """Return the first table of a use that the host lacks."""
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
