"""What a host changed since a moment, loaded as columns."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from batchcore.db.load import load
from batchcore.units import State

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt

    from batchcore.db.change_queries import ChangeQueries, StampQueries
    from batchcore.db.engine import Session
    from batchcore.db.queries import Selection
    from batchcore.frames import Days, Text


@dataclass(frozen=True, eq=False, slots=True)
class ChangedPrices:
    """Closes that came or changed, each once.

    Attributes:
        symbol: As stored.
        day: (n,) int32.
    """

    symbol: Text
    day: npt.NDArray[np.int32]


@dataclass(frozen=True, eq=False, slots=True)
class ChangedFacts:
    """Portfolios of which something changed.

    Attributes:
        portfolio_id: (n, 16) uint8.
        day: (n,) int32, the first day that the change may matter on.
    """

    portfolio_id: npt.NDArray[np.uint8]
    day: npt.NDArray[np.int32]


@dataclass(frozen=True, slots=True)
class Stamps:
    """Evidence of how a host keeps the time stamps of a table.

    Attributes:
        table: Its name in docs/schema.md.
        trigger: Whether a trigger seems to keep `updated_at`.
        rows: Of a sample, rows older than a day.
        touched: Those of them that were updated within it.
    """

    table: str
    trigger: bool
    rows: int
    touched: int


async def load_stamps(session: Session, queries: StampQueries) -> tuple[Stamps, ...]:
    """Return the evidence of each table that has time stamps."""
    tables = queries.stamped()
    if not tables:
        return ()
    columns = await load(session, queries.evidence(tables))
    told = (columns[name].tolist() for name in ("trigger", "rows", "touched"))
    rows = zip(columns["table"].texts(), *told, strict=True)
    return tuple(Stamps(str(table), bool(t), rows, touched) for table, t, rows, touched in rows)


async def load_changed_prices(session: Session, queries: ChangeQueries) -> ChangedPrices:
    """Return symbol and date of each close that came or changed."""
    columns = await load(session, queries.changed_prices())
    days: Days = columns["day"]
    return ChangedPrices(columns["symbol"], days.values)


async def load_changed_session(session: Session, queries: ChangeQueries) -> int | None:
    """Return the first date that may have become a session of `prices`, or ceased to be one."""
    columns = await load(session, queries.changed_session())
    days: Days = columns["day"]
    return int(days.values[0]) if days.state[0] == State.VALUE else None


async def load_changed_facts(
    session: Session, queries: ChangeQueries, selection: Selection
) -> ChangedFacts:
    """Return the portfolios whose positions, events or flows changed, and from which day on."""
    columns = await load(session, queries.changed_facts(selection))
    days: Days = columns["day"]
    return ChangedFacts(columns["portfolio_id"], days.values)
