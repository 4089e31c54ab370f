"""What `explain` says, as pages show it."""

from __future__ import annotations

from decimal import Decimal
from typing import TYPE_CHECKING

from batchcore.pages.contents import Attribution, GroupContribution

if TYPE_CHECKING:
    from batchcore.attribution.explanation import Explanation

UNNAMED = "none"
"""What stands for a symbol or sector that is missing."""


def attribution(found: Explanation) -> Attribution | None:
    """Return a stored P&L by what its rows are grouped by; None where it has none (X3)."""
    session, stored, rounding = found.session, found.daily_pnl, found.rounding
    if session is None or stored is None or rounding is None:
        return None
    none = Decimal(0)
    return Attribution(
        start=found.previous or found.since,
        end=session,
        stored=stored,
        rounding=rounding,
        explained=found.explained,
        currencies=found.currencies,
        rows=tuple(
            GroupContribution(
                row.key or UNNAMED,
                row.unrealized_change or none,
                row.realized or none,
                row.contribution,
            )
            for row in found.rows
            if row.contribution is not None
        ),
    )


def holdings(found: Explanation) -> list[tuple[str, Decimal]]:
    """Return what is held at the end, with its value."""
    return [(row.key or UNNAMED, row.value) for row in found.rows if row.value]
