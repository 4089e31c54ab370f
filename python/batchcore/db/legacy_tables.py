"""What the policy `legacy` finds of the host's tables beside those of every run."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from batchcore.db.analytic_tables import SNAPSHOTS, has_jsonb
from batchcore.db.check import check
from batchcore.schema import HOST, Use

if TYPE_CHECKING:
    from batchcore.db.catalog import Catalog

_TABLE: Final = HOST[SNAPSHOTS]

WRITTEN: Final = _TABLE.names(Use.LEGACY | Use.GREEKS)
"""Columns of `portfolio_snapshots` beside those of every run."""

OTHERS: Final = _TABLE.names(Use.CLEARED)
"""Columns that are NULL in every row that is written (L31)."""


@dataclass(frozen=True, eq=False, slots=True)
class LegacyTables:
    """What of the host's tables the policy finds.

    Attributes:
        jsonb: Whether `sector_exposure` is `jsonb`.
        cleared: Those of `OTHERS` that are there and can be set to NULL.
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
    check(catalog, Use.RUN | Use.LEGACY | Use.GREEKS, writes=writes)
    found = {column: catalog.find(SNAPSHOTS, column) for column in OTHERS}
    cleared = {
        column: one
        for column, one in found.items()
        if one and not one.not_null and not one.generated and one.can_insert and one.can_update
    }
    defaulted = tuple(column for column, one in cleared.items() if one.has_default)
    return LegacyTables(has_jsonb(catalog), tuple(cleared), defaulted)
