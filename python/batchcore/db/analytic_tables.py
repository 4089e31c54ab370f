"""What the levels of `analytics` read and write, and which parts the host has no tables for."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from types import MappingProxyType
from typing import TYPE_CHECKING, Final

from batchcore.db.catalog import (
    WRITES,
    Kind,
    check_needs,
    key_problems,
    not_written,
    own_problems,
    problems_of,
    schema_error,
    updatable_problems,
)
from batchcore.errors import SchemaError
from batchcore.units import MAX_SCALE

if TYPE_CHECKING:
    from collections.abc import Collection, Iterator, Mapping

    from batchcore.db.catalog import Catalog, Needs

SNAPSHOTS: Final = "portfolio_snapshots"
PROFILES: Final = "company_profiles"
POSITION_BETAS: Final = "position_market_betas"
FACTORS: Final = "factor_definitions"
FACTOR_EXPOSURES: Final = "factor_exposures"
POSITION_FACTORS: Final = "position_factor_exposures"
POSITIONS: Final = "positions"

MOST_DECIMALS: Final = 9
"""Decimals that are written at most; a float has hardly more to tell."""

_ID: Final = {"id": Kind.UUID}
_STAMPS: Final = {"created_at": Kind.TIMESTAMPTZ, "updated_at": Kind.TIMESTAMPTZ}

COLUMNS: Final[Needs] = MappingProxyType(
    {
        SNAPSHOTS: MappingProxyType(
            {
                "beta_provider_1y": Kind.NUMERIC,
                "sector_exposure": Kind.JSON,
                "hhi": Kind.NUMERIC,
                "effective_num_positions": Kind.NUMERIC,
                "top_3_concentration": Kind.NUMERIC,
                "top_10_concentration": Kind.NUMERIC,
                "realized_volatility_21d": Kind.NUMERIC,
                "realized_volatility_63d": Kind.NUMERIC,
                "beta_calculated_90d": Kind.NUMERIC,
                "beta_calculated_90d_r_squared": Kind.NUMERIC,
                "beta_calculated_90d_observations": Kind.INT4,
            }
        ),
        PROFILES: MappingProxyType(
            {
                "symbol": Kind.TEXT,
                "beta": Kind.NUMERIC,
                "sector": Kind.TEXT,
                "is_etf": Kind.BOOL,
            }
        ),
        POSITION_BETAS: MappingProxyType(
            {
                **_ID,
                "portfolio_id": Kind.UUID,
                "position_id": Kind.UUID,
                "calc_date": Kind.DATE,
                "beta": Kind.NUMERIC,
                "alpha": Kind.NUMERIC,
                "r_squared": Kind.NUMERIC,
                "std_error": Kind.NUMERIC,
                "p_value": Kind.NUMERIC,
                "observations": Kind.INT4,
                "window_days": Kind.INT4,
                "method": Kind.TEXT,
                "market_index": Kind.TEXT,
                **_STAMPS,
            }
        ),
        FACTORS: MappingProxyType(
            {
                **_ID,
                "name": Kind.TEXT,
                "etf_proxy": Kind.TEXT,
                "calculation_method": Kind.TEXT,
                "is_active": Kind.BOOL,
            }
        ),
        FACTOR_EXPOSURES: MappingProxyType(
            {
                **_ID,
                "portfolio_id": Kind.UUID,
                "factor_id": Kind.UUID,
                "calculation_date": Kind.DATE,
                "exposure_value": Kind.NUMERIC,
                "exposure_dollar": Kind.NUMERIC,
                **_STAMPS,
            }
        ),
        POSITION_FACTORS: MappingProxyType(
            {
                **_ID,
                "position_id": Kind.UUID,
                "factor_id": Kind.UUID,
                "calculation_date": Kind.DATE,
                "exposure_value": Kind.NUMERIC,
                "quality_flag": Kind.TEXT,
                "created_at": Kind.TIMESTAMPTZ,
            }
        ),
        POSITIONS: MappingProxyType(
            {
                "last_price": Kind.NUMERIC,
                "market_value": Kind.NUMERIC,
                "unrealized_pnl": Kind.NUMERIC,
            }
        ),
    }
)
"""Columns that analytics read or write, beside those of every run."""

KEYS: Final[Mapping[str, tuple[str, ...]]] = MappingProxyType(
    {
        POSITION_BETAS: ("portfolio_id", "position_id", "calc_date", "method", "window_days"),
        FACTOR_EXPOSURES: ("portfolio_id", "factor_id", "calculation_date"),
        POSITION_FACTORS: ("position_id", "factor_id", "calculation_date"),
    }
)
"""Tables that rows are written into, and what makes a row of each the same row."""

_NULLABLE: Final[Mapping[str, tuple[str, ...]]] = MappingProxyType(
    {
        SNAPSHOTS: tuple(COLUMNS[SNAPSHOTS]),
        POSITION_BETAS: ("alpha", "r_squared", "std_error", "p_value"),
        FACTOR_EXPOSURES: ("exposure_dollar",),
    }
)
"""Columns written that may become NULL."""


@dataclass(frozen=True, slots=True)
class Room:
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
        rooms: Table -> column -> what it can hold.
        jsonb: Whether `sector_exposure` is `jsonb`.
    """

    level: str
    profiles: bool = False
    position_betas: bool = False
    factors: bool = False
    off: Mapping[str, str] = field(default_factory=lambda: MappingProxyType({}))
    rooms: Mapping[str, Mapping[str, Room]] = field(default_factory=lambda: MappingProxyType({}))
    jsonb: bool = False

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
    parts = _parts(catalog, level)
    tables = list(_tables(parts))
    problems = dict.fromkeys(problems_of(catalog, writes=writes))
    problems |= dict.fromkeys(_problems(catalog, tables, writes=writes))
    if writes and not KEYS.keys().isdisjoint(tables):
        problems |= dict.fromkeys(own_problems(catalog, WRITES))
    if writes and parts.market_values:
        problems |= dict.fromkeys(updatable_problems(catalog, POSITIONS))
        # a partitioned table has no key on the id alone, and the portfolio is known too
        beside = ("portfolio_id",)
        problems |= dict.fromkeys(key_problems(catalog, POSITIONS, ("id",), beside=beside))
    if problems:
        raise schema_error(tuple(problems))
    rooms = {table: MappingProxyType(dict(_rooms(catalog, table))) for table in tables}
    jsonb = level != "none" and json_kind(catalog, SNAPSHOTS, "sector_exposure") is Kind.JSONB
    return replace(parts, rooms=MappingProxyType(rooms), jsonb=jsonb)


def _parts(catalog: Catalog, level: str) -> Parts:
    off = {}

    def missing(part: str, *tables: str) -> bool:
        for table in tables:
            if not catalog.has_table(table):
                schema = catalog.schema
                off[part] = f"no table {schema.namespace}.{schema.table(table)}"
                return True
        return False

    if level == "none":
        return Parts(level)
    profiles = not missing("provider_beta", PROFILES)
    missing("sector_exposure", PROFILES)
    if level != "full":
        return Parts(level, profiles=profiles, off=MappingProxyType(off))
    return Parts(
        level,
        profiles=profiles,
        position_betas=not missing(POSITION_BETAS, POSITION_BETAS),
        factors=not missing(FACTOR_EXPOSURES, FACTORS, FACTOR_EXPOSURES, POSITION_FACTORS),
        off=MappingProxyType(off),
    )


def _tables(parts: Parts) -> Iterator[str]:
    if parts.level != "none":
        yield SNAPSHOTS
    if parts.profiles:
        yield PROFILES
    if parts.position_betas:
        yield POSITION_BETAS
    if parts.factors:
        yield from (FACTORS, FACTOR_EXPOSURES, POSITION_FACTORS)
    if parts.market_values:
        yield POSITIONS


def json_kind(catalog: Catalog, table: str, column: str) -> Kind:
    """Return the type that a column is to have: a `json` may be `jsonb`."""
    wanted = COLUMNS[table][column]
    name = catalog.schema.column(table, column)
    found = catalog.columns.get(table, {}).get(name)
    if wanted is Kind.JSON and found is not None and found.kind is Kind.JSONB:
        return Kind.JSONB
    return wanted


def _problems(catalog: Catalog, tables: list[str], *, writes: bool) -> Iterator[str]:
    needs = {
        table: {column: json_kind(catalog, table, column) for column in COLUMNS[table]}
        for table in tables
    }
    if FACTORS in needs and catalog.schema.factors:
        # by name: neither proxy nor method is read
        needs[FACTORS] = {column: needs[FACTORS][column] for column in ("id", "name", "is_active")}
    try:
        check_needs(catalog, needs, inserts=[t for t in tables if t in KEYS] if writes else ())
    except SchemaError as error:
        yield from error.problems
    for table in tables:
        kinds = {column: COLUMNS[table][column] for column in _written(table)}
        nullable = _NULLABLE.get(table, ())
        yield from unwritable(catalog, table, kinds, nullable=nullable, writes=writes)


def unwritable(
    catalog: Catalog,
    table: str,
    kinds: Mapping[str, Kind],
    *,
    nullable: Collection[str],
    writes: bool,
) -> Iterator[str]:
    """Return one line for each column that is there and cannot be written as it must be.

    Args:
        catalog: The host's tables.
        table: One of them.
        kinds: Types of the columns written.
        nullable: Those of them that may become NULL.
        writes: Whether the run writes: without, what the role may write does not count.
    """
    schema = catalog.schema
    for column, kind in kinds.items():
        found = catalog.columns.get(table, {}).get(schema.column(table, column))
        if found is None:
            continue  # told by others
        label = f"{schema.namespace}.{schema.table(table)}.{found.name}"
        if found.kind is Kind.FLOAT8 and kind is Kind.NUMERIC:
            yield not_written(label, "numeric")
        if not writes:
            continue
        if found.generated:
            yield f"{label}: is computed by the server, expected a column to write to"
        if found.not_null and column in nullable:
            yield f"{label}: is NOT NULL, expected a column that may be NULL"
        if table == SNAPSHOTS and not found.can_insert:
            yield f"{label}: the role may not INSERT it"
        if column not in {*KEYS.get(table, ()), "id", "created_at"} and not found.can_update:
            yield f"{label}: the role may not UPDATE it"


def _written(table: str) -> tuple[str, ...]:
    return () if table in {PROFILES, FACTORS} else tuple(COLUMNS[table])


def _rooms(catalog: Catalog, table: str) -> Iterator[tuple[str, Room]]:
    for column in _written(table):
        if COLUMNS[table][column] is not Kind.NUMERIC:
            continue
        found = catalog.column(table, column)
        scale = min(catalog.scale(table, column), MOST_DECIMALS)
        digits = MAX_SCALE
        if found.precision is not None and found.scale is not None:
            digits = min(found.precision - found.scale + scale, MAX_SCALE)
        yield column, Room(scale, 10**digits)
