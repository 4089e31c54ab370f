"""Complete snapshots of portfolios as chains, for what is computed over stored rows."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

import numpy as np

from batchcore.frames import Decimals, Frame
from batchcore.schema import Kind
from batchcore.sources.host import HostTable, complete, select, sorted_ids
from batchcore.sources.query import Column, Query
from batchcore.sources.snapshots import SNAPSHOTS

if TYPE_CHECKING:
    from batchcore.calendar import Calendar
    from batchcore.db.catalog import Catalog
    from batchcore.frames import Ids, Int32, Int64
    from batchcore.sources.host import Selection


def select_ids(catalog: Catalog, selection: Selection) -> Query[Ids]:
    """Return the ids of portfolios in order; of those asked for by id, soft-deleted ones too."""
    template = "SELECT {columns} FROM {o} WHERE {alive}"
    alive = selection.alive(catalog)
    return select(catalog, "portfolios", _ids, "o.id", template, alive=alive)


def _ids(id: Ids) -> Ids:  # noqa: A002  # its name
    return np.ascontiguousarray(id[sorted_ids(id)])


_LAST: Final = """
SELECT {columns} FROM unnest({ids:uuids}) WITH ORDINALITY AS w(id, number)
CROSS JOIN LATERAL (
    SELECT {s.snapshot_date} FROM {s}
    WHERE {s.portfolio_id} = w.id AND {s.snapshot_date} <= {until:date} AND {complete}
    ORDER BY {s.snapshot_date} DESC LIMIT 1) AS last
"""


def select_last_days(
    catalog: Catalog, calendar: Calendar, ids: Ids, until: int
) -> Query[tuple[Int64, Int32]]:
    """Return which portfolios have a complete snapshot up to a day, and the date of the last."""
    read = (Column("row", Kind.INT8, "w.number - 1"), "last.snapshot_date! day")
    holes = {"ids": ids, "until": until, "complete": complete(catalog, calendar)}
    last = HostTable(catalog, SNAPSHOTS, "last")
    return select(
        catalog, "last_days", lambda row, day: (row, day), read, _LAST, last=last, **holes
    )


@dataclass(frozen=True, eq=False)
class ChainRows(Frame):
    """Snapshots that are marked complete, in any order; some may be on no session."""

    portfolio_id: Ids
    day: Int32
    equity: Decimals
    pnl: Decimals
    flow: Decimals


_ROWS: Final = """
SELECT {columns} FROM {s}
WHERE {selection:{s.portfolio_id}} AND {s.snapshot_date} BETWEEN {first:date} AND {last:date}
    AND {s.is_complete}
"""
_EARLIER: Final = """
UNION ALL
SELECT b.* FROM {o} CROSS JOIN LATERAL (
    SELECT {columns} FROM {s}
    WHERE {s.portfolio_id} = {o.id} AND {s.snapshot_date} < {first:date} AND {complete}
    ORDER BY {s.snapshot_date} DESC LIMIT 1) AS b
WHERE {selection:{o.id}}
"""


def select_chain_rows(
    catalog: Catalog,
    calendar: Calendar,
    selection: Selection,
    days: tuple[int, int],
    *,
    earlier: bool,
) -> Query[ChainRows]:
    """Return the snapshots of portfolios in a range, and of each the one ``earlier`` if wanted."""
    read = (
        "s.portfolio_id, s.snapshot_date! day, s.equity_balance equity",
        "s.daily_pnl pnl, s.daily_capital_flow flow",
    )
    holes = {"selection": selection, "complete": complete(catalog, calendar)}
    template = _ROWS + _EARLIER if earlier else _ROWS
    first, last = days
    return select(catalog, "chains", ChainRows, read, template, first=first, last=last, **holes)
