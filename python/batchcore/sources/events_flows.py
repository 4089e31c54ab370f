"""Changes of holdings and capital: partial closes, ends of positions, and flows of cash."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import numpy as np

from batchcore.errors import SchemaError
from batchcore.frames import Events, Flows, Frame
from batchcore.pg.sql import Sql
from batchcore.schema import Kind
from batchcore.sources.host import HostTable, Selection, part, select
from batchcore.sources.query import Column, Query, first_column, load
from batchcore.units import State

if TYPE_CHECKING:
    from batchcore.db.catalog import Catalog
    from batchcore.frames import Days, Decimals, Ids, Int32
    from batchcore.pg.session import Session

EVENTS: Final = "position_realized_events"
FLOWS: Final = "equity_changes"


class LooseEvents(Frame):
    """Events without the portfolios of their positions; otherwise as in `Events`."""

    position_id: Ids
    day: Days
    quantity: Decimals
    realized: Decimals


_AMOUNTS: Final = "e.trade_date day, e.quantity_closed quantity, e.realized_pnl realized"

_EVENTS: Final = """
SELECT {columns} FROM {e} JOIN {p} ON {p.id} = {e.position_id}
WHERE {selection:{p.portfolio_id}} {alive}
"""


def select_events(
    catalog: Catalog, selection: Selection, *, deleted: bool = False
) -> Query[Events]:
    """Return the events of the positions of portfolios, of soft-deleted ones if ``deleted``."""
    if not catalog.has_table(EVENTS):
        return Query("events", "", (), Events.none)
    alive = part(catalog, "" if deleted else "AND {p.deleted_at} IS NULL")
    read = ("e.position_id, p.portfolio_id", _AMOUNTS)
    return select(catalog, "events", Events, read, _EVENTS, selection=selection, alive=alive)


def select_all_events(catalog: Catalog) -> Query[LooseEvents]:
    """Return every event without its portfolio, for which positions would have to be read."""
    if not catalog.has_table(EVENTS):
        return Query("events", "", (), LooseEvents.none)
    template = "SELECT {columns} FROM {e} WHERE {e.position_id} IS NOT NULL"
    return select(catalog, "events", LooseEvents, ("e.position_id", _AMOUNTS), template)


_FLOWS: Final = """
SELECT {columns} FROM {f}
WHERE {f.deleted_at} IS NULL AND {selection:{f.portfolio_id}}
    AND ({f.change_date} BETWEEN {first:date} AND {last:date}
        OR {f.change_date} IS NULL OR NOT isfinite({f.change_date})
        OR {f.amount} IS NULL OR NOT ({f.amount:readable})
        OR {f.change_type} IS NULL
        OR {f.change_type}::text NOT IN ('CONTRIBUTION', 'WITHDRAWAL'))
"""


def select_flows(catalog: Catalog, selection: Selection, first: int, last: int) -> Query[Flows]:
    """Return the flows of portfolios dated in a window, and unusable ones (S3) of any date."""
    if not catalog.has_table(FLOWS):
        return Query("flows", "", (), Flows.none)
    read = "f.portfolio_id, f.amount, f.change_type, f.change_date day"
    holes = {"selection": selection, "first": first, "last": last}
    return select(catalog, "flows", Flows, read, _FLOWS, **holes)


EXPIRY: Final = """
CASE WHEN {p.position_type}::text IN ('LC', 'LP', 'SC', 'SP') THEN {p.expiration_date} END
"""
END: Final = """
GREATEST(CASE WHEN {p.quantity:above_zero} OR {p.quantity:below_zero}
    THEN COALESCE({p.exit_date}, {expiry}, 'infinity') END, events.last)
"""
"""The day on which the last lot of position ``p`` ends, `infinity` where one stays open (S3)."""

# One pass over the events, as a host may lack an index on their position.
_LAST_EVENTS: Final = """
SELECT {e.position_id}, max({e.trade_date}) FROM {e}
WHERE isfinite({e.trade_date}) AND {e.quantity_closed:above_zero} AND {e.quantity_closed:readable}
GROUP BY {e.position_id}
"""


def ends(catalog: Catalog) -> dict[str, Sql]:
    """Return the parts of `END`: the expiry of a position, and the last events of all."""
    last_events = Sql("SELECT NULL::uuid, NULL::date WHERE false")
    if catalog.has_table(EVENTS):
        last_events = part(catalog, _LAST_EVENTS)
    return {"expiry": part(catalog, EXPIRY), "last_events": last_events}


def end_days(start: Int32, end: Days) -> Int32:
    """Return the end of each position, of `END`: the largest int32 where it stays open."""
    closed = np.where(end.state == State.VALUE, end.values, np.iinfo(np.int32).max)
    # A position without a lot is never held.
    return np.where(end.state == State.NULL, start, closed).astype(np.int32)


_DOUBLE: Final = """
SELECT {columns} FROM {x} WHERE {x.id} IS NOT NULL GROUP BY {x.id} HAVING count(*) > 1
ORDER BY {x.id} LIMIT 1
"""


async def refuse_doubles(session: Session, catalog: Catalog) -> None:
    """Raise a `SchemaError` for an id in two rows of a table whose rows are summed.

    Views of several tables and tables with children may have one.
    """
    for table in ("positions", EVENTS, FLOWS):
        found = catalog.find(table, "id")
        if table not in catalog.may_repeat or found is None or not found.can_select:
            continue
        read, x = [Column("id", Kind.TEXT, "{x.id}::text")], HostTable(catalog, table, "x")
        query = select(catalog, f"double_{table}", first_column, read, _DOUBLE, x=x)
        double = (await load(session, query)).texts()
        if double:
            label = catalog.label(table, "id")
            problem = f"{label}: {double[0]} is in several rows, expected each id once"
            raise SchemaError(problem, (problem,))
