"""What changed holdings and capital: partial closes of positions, and flows of cash."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from batchcore.db.sql import Sql
from batchcore.frames import Events, Flows, Frame
from batchcore.sources.host import HostTable
from batchcore.sources.query import Query, select

if TYPE_CHECKING:
    from batchcore.db.catalog import Catalog
    from batchcore.frames import Days, Decimals, Ids
    from batchcore.sources.host import Selection

EVENTS: Final = "position_realized_events"
FLOWS: Final = "equity_changes"


@dataclass(frozen=True, eq=False)
class LooseEvents(Frame):
    """Events without the portfolios of their positions; otherwise as in `Events`."""

    position_id: Ids
    day: Days
    quantity: Decimals
    realized: Decimals


_AMOUNTS: Final = {
    "day": "trade_date",
    "quantity": "quantity_closed",
    "realized": "realized_pnl",
}


def select_events(
    catalog: Catalog, selection: Selection, *, deleted: bool = False
) -> Query[Events]:
    """Return the events of the positions of portfolios, of soft-deleted ones if ``deleted``."""
    if not catalog.has_table(EVENTS):
        return Query("events", "", (), Events.none)
    e, p = HostTable(catalog, EVENTS, "e"), HostTable(catalog, "positions", "p")
    return select(
        "events",
        Events,
        (*e.read("position_id"), *p.read("portfolio_id"), *e.read(**_AMOUNTS)),
        "SELECT {columns} FROM {e} JOIN {p} ON {p.id} = {e.position_id} WHERE {selected} {alive}",
        e=e,
        p=p,
        selected=selection.condition(p.portfolio_id),
        alive=Sql() if deleted else Sql(f"AND {p.deleted_at} IS NULL"),
    )


def select_all_events(catalog: Catalog) -> Query[LooseEvents]:
    """Return every event without its portfolio, for which positions would have to be read."""
    if not catalog.has_table(EVENTS):
        return Query("events", "", (), LooseEvents.none)
    e = HostTable(catalog, EVENTS, "e")
    template = "SELECT {columns} FROM {e} WHERE {e.position_id} IS NOT NULL"
    return select("events", LooseEvents, e.read("position_id", **_AMOUNTS), template, e=e)


_FLOWS: Final = """
SELECT {columns} FROM {f}
WHERE {f.deleted_at} IS NULL AND {selected}
    AND ({f.change_date} BETWEEN {first:date} AND {last:date}
        OR {f.change_date} IS NULL OR NOT isfinite({f.change_date})
        OR {f.amount} IS NULL OR NOT ({f.amount:readable})
        OR {f.change_type} IS NULL
        OR {f.change_type}::text NOT IN ('CONTRIBUTION', 'WITHDRAWAL'))
"""


def select_flows(catalog: Catalog, selection: Selection, first: int, last: int) -> Query[Flows]:
    """Return the flows of portfolios dated in a window, and those of no use (S3) of any date."""
    if not catalog.has_table(FLOWS):
        return Query("flows", "", (), Flows.none)
    f = HostTable(catalog, FLOWS, "f")
    return select(
        "flows",
        Flows,
        f.read("portfolio_id", "amount", "change_type", day="change_date"),
        _FLOWS,
        f=f,
        selected=selection.condition(f.portfolio_id),
        first=first,
        last=last,
    )
