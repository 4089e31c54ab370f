"""When the lots of a position end (S3)."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import numpy as np

from batchcore.pg.sql import Sql
from batchcore.sources.host import part
from batchcore.units import State

if TYPE_CHECKING:
    from batchcore.db.catalog import Catalog
    from batchcore.frames import Days, Int32

EXPIRY: Final = """
CASE WHEN {p.position_type}::text IN ('LC', 'LP', 'SC', 'SP') THEN {p.expiration_date} END
"""
END: Final = """
GREATEST(CASE WHEN {p.quantity:above_zero} OR {p.quantity:below_zero}
    THEN COALESCE({p.exit_date}, {expiry}, 'infinity') END, events.last)
"""
"""The day on which the last lot of position ``p`` ends, `infinity` where one stays open (S3)."""

# One pass over the events: a host need have no index on their position.
_LAST_EVENTS: Final = """
SELECT {e.position_id}, max({e.trade_date}) FROM {e}
WHERE isfinite({e.trade_date}) AND {e.quantity_closed:above_zero} AND {e.quantity_closed:readable}
GROUP BY {e.position_id}
"""


def ends(catalog: Catalog) -> dict[str, Sql]:
    """Return what `END` is made of: the expiry of a position, and the last events of all."""
    last_events = Sql("SELECT NULL::uuid, NULL::date WHERE false")
    if catalog.has_table("position_realized_events"):
        last_events = part(catalog, _LAST_EVENTS)
    return {"expiry": part(catalog, EXPIRY), "last_events": last_events}


def closing(start: Int32, end: Days) -> Int32:
    """Return the end of each position, of `END`: the largest int32 where it stays open.

    One without a lot is held on no day.
    """
    closed = np.where(end.state == State.VALUE, end.values, np.iinfo(np.int32).max)
    return np.where(end.state == State.NULL, start, closed).astype(np.int32)
