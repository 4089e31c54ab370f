"""Complete snapshots of portfolios as chains, for what is computed over stored rows."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from batchcore.frames import Days, Decimals, Frame
from batchcore.schema import Kind
from batchcore.sources.host import complete, select, sorted_ids, tables
from batchcore.sources.query import Column, Query

if TYPE_CHECKING:
    from batchcore.calendar import Calendar
    from batchcore.db.catalog import Catalog
    from batchcore.frames import Bools, Ids, Int32
    from batchcore.sources.host import Selection

SNAPSHOTS: Final = "portfolio_snapshots"


@dataclass(frozen=True, eq=False)
class ChainEnds(Frame):
    """Portfolios with the days of their first and last complete snapshots, sorted by id.

    Attributes:
        id: (n, 16) uint8, ascending.
        deleted: (n,) bool; True only for portfolios that were asked for by id.
        first: NULL without any snapshot up to the day asked for.
        last: Likewise.
    """

    id: Ids
    deleted: Bools
    first: Days
    last: Days


_ENDS: Final = """
SELECT {columns} FROM {o}
LEFT JOIN LATERAL (
    SELECT {s.snapshot_date} FROM {s}
    WHERE {s.portfolio_id} = {o.id} AND {s.snapshot_date} <= {until:date} AND {complete}
    ORDER BY {s.snapshot_date} ASC LIMIT 1) AS first ON true
LEFT JOIN LATERAL (
    SELECT {s.snapshot_date} FROM {s}
    WHERE {s.portfolio_id} = {o.id} AND {s.snapshot_date} <= {until:date} AND {complete}
    ORDER BY {s.snapshot_date} DESC LIMIT 1) AS last ON true
WHERE {alive}
"""


def select_chain_ends(
    catalog: Catalog, calendar: Calendar, selection: Selection, until: int
) -> Query[ChainEnds]:
    """Return where the chain of each portfolio begins, and where it ends up to a day.

    Two LATERAL look-ups on the unique index. Of those asked for by id, soft-deleted ones come too,
    marked.
    """
    read = (
        "o.id",
        Column("deleted", Kind.BOOL, "{o.deleted_at} IS NOT NULL"),
        "first.snapshot_date first, last.snapshot_date last",
    )
    holes = {
        "until": until,
        "complete": complete(catalog, calendar),
        "alive": selection.alive(catalog),
        **tables(catalog, first=SNAPSHOTS, last=SNAPSHOTS),
    }
    return select(catalog, "portfolios", _ends, read, _ENDS, **holes)


def _ends(id: Ids, deleted: Bools, first: Days, last: Days) -> ChainEnds:  # noqa: A002  # its name
    found = ChainEnds(id, deleted, first, last)
    return found.take(sorted_ids(found.id))


@dataclass(frozen=True, eq=False)
class ChainRows(Frame):
    """Snapshots that are marked complete, in any order; some may be on no session.

    Attributes:
        portfolio_id: (n, 16) uint8.
        day: (n,) int32.
        equity: Dollars; as the next two.
        pnl: Of the session.
        flow: Of the session.
    """

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
    """Return the snapshots of portfolios from one day to another, and of each the one before.

    What is ``earlier`` than the first day is left out where it is known that there is nothing.
    """
    read = (
        "s.portfolio_id, s.snapshot_date! day, s.equity_balance equity",
        "s.daily_pnl pnl, s.daily_capital_flow flow",
    )
    first, last = days
    holes = {
        "selection": selection,
        "first": first,
        "last": last,
        "complete": complete(catalog, calendar),
    }
    template = _ROWS + _EARLIER if earlier else _ROWS
    return select(catalog, "chains", ChainRows, read, template, **holes)
