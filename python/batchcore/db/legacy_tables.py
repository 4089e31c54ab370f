"""What the policy `legacy` reads and writes beside the columns of every run."""

from __future__ import annotations

from dataclasses import dataclass
from types import MappingProxyType
from typing import TYPE_CHECKING, Final

from batchcore.db.analytic_tables import (
    COLUMNS,
    POSITION_BETAS,
    POSITIONS,
    PROFILES,
    SNAPSHOTS,
    json_kind,
    unwritable,
)
from batchcore.db.catalog import (
    BENCHMARKS,
    Kind,
    check_needs,
    problems_of,
    room_problems,
    schema_error,
)
from batchcore.errors import SchemaError

if TYPE_CHECKING:
    from batchcore.db.catalog import Catalog, Needs

WEIGHTS: Final = "sector_exposure"

WRITTEN: Final = (
    "portfolio_delta",
    "portfolio_gamma",
    "portfolio_theta",
    "portfolio_vega",
    "beta_provider_1y",
    WEIGHTS,
    "hhi",
    "effective_num_positions",
    "top_3_concentration",
    "top_10_concentration",
)
"""Columns of `portfolio_snapshots` beside those of every run."""

OTHERS: Final = (
    "realized_volatility_21d",
    "realized_volatility_63d",
    "expected_volatility_21d",
    "volatility_trend",
    "volatility_percentile",
    "beta_calculated_90d",
    "beta_calculated_90d_r_squared",
    "beta_calculated_90d_observations",
    "beta_portfolio_regression",
    "target_price_return_eoy",
    "target_price_return_next_year",
    "target_price_downside_return",
    "target_price_upside_eoy",
    "target_price_upside_next_year",
    "target_price_downside",
    "target_price_num_positions",
    "target_price_num_covered",
    "target_price_coverage",
    "target_price_updated_at",
)
"""Columns of docs/schema.md that are NULL in every row that is written (L31)."""

_ROOM: Final = MappingProxyType(
    {
        "beta_provider_1y": (6, 4),
        "hhi": (6, 4),
        "effective_num_positions": (8, 2),
        "top_3_concentration": (6, 4),
        "top_10_concentration": (6, 4),
    }
)
"""Digits before and after the decimal point, of the columns that hold more than 0."""

_NEEDS: Final[Needs] = MappingProxyType(
    {
        PROFILES: COLUMNS[PROFILES],
        POSITION_BETAS: MappingProxyType(
            {
                "portfolio_id": Kind.UUID,
                "position_id": Kind.UUID,
                "calc_date": Kind.DATE,
                "beta": Kind.NUMERIC,
            }
        ),
        **dict.fromkeys(BENCHMARKS, MappingProxyType({"benchmark_code": Kind.TEXT})),
    }
)
"""Tables that are as if empty where the host has none."""


@dataclass(frozen=True, eq=False, slots=True)
class LegacyTables:
    """What of the host's tables the policy finds.

    Attributes:
        jsonb: Whether `sector_exposure` is `jsonb`.
        cleared: Those of `OTHERS` that are there.
        defaulted: Those of `cleared` that the server would fill in.
    """

    jsonb: bool
    cleared: tuple[str, ...]
    defaulted: tuple[str, ...]


def check_tables(catalog: Catalog, *, writes: bool = True) -> LegacyTables:
    """Return what the policy finds; refuse a database that it cannot work with.

    Args:
        catalog: The host's tables.
        writes: Whether the run writes: without, what the role may write does not count.

    Raises:
        SchemaError: with every difference in ``problems``; the message has the first.
    """
    weights = json_kind(catalog, SNAPSHOTS, WEIGHTS)
    own = dict.fromkeys(WRITTEN, Kind.NUMERIC) | {WEIGHTS: weights}
    needs = {SNAPSHOTS: own, POSITIONS: {"last_price": Kind.NUMERIC}}
    needs |= {table: dict(_NEEDS[table]) for table in _NEEDS if catalog.has_table(table)}
    problems = dict.fromkeys(problems_of(catalog, writes=writes))
    try:
        check_needs(catalog, needs)
    except SchemaError as error:
        problems |= dict.fromkeys(error.problems)
    cleared = tuple(column for column in OTHERS if _has(catalog, column))
    found = unwritable(catalog, SNAPSHOTS, own, nullable=WRITTEN, writes=writes)
    problems |= dict.fromkeys(found)
    for column, room in _ROOM.items():
        problems |= dict.fromkeys(room_problems(catalog, SNAPSHOTS, column, *room))
    if problems:
        raise schema_error(tuple(problems))
    defaulted = tuple(column for column in cleared if catalog.column(SNAPSHOTS, column).has_default)
    return LegacyTables(weights is Kind.JSONB, cleared, defaulted)


def _has(catalog: Catalog, column: str) -> bool:
    """Return whether a column of `portfolio_snapshots` is there to be set to NULL."""
    name = catalog.schema.column(SNAPSHOTS, column)
    found = catalog.columns.get(SNAPSHOTS, {}).get(name)
    return (
        found is not None
        and not found.not_null
        and not found.generated
        and found.can_insert
        and found.can_update
    )
