"""Stored snapshots as pages show them: those of one session, and those of one portfolio."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from batchcore.frames import Frame
from batchcore.pg.sql import Sql
from batchcore.sources.host import complete, day_number, part, select, tables
from batchcore.sources.snapshots import SNAPSHOTS

if TYPE_CHECKING:
    import uuid
    from collections.abc import Sequence

    from batchcore.calendar import Calendar
    from batchcore.db.catalog import Catalog
    from batchcore.frames import Decimals, Ids
    from batchcore.pg.session import Session
    from batchcore.sources.host import Selection
    from batchcore.sources.query import Query

# By the unique index from each portfolio on: few tables have one on the date alone.
_OF_SESSION: Final = """
FROM {o} JOIN {s} ON {s.portfolio_id} = {o.id} AND {s.snapshot_date} = {day:date}
WHERE {alive} AND {complete}
"""
_TOTALS: Final = """
SELECT count(*) AS portfolios, count(*) FILTER (WHERE {s.daily_pnl} < 0) AS losing,
    COALESCE(sum({s.equity_balance}), 0) AS equity, COALESCE(sum({s.daily_pnl}), 0) AS pnl,
    COALESCE(sum({s.daily_capital_flow}), 0) AS flow,
    CASE WHEN min({o.currency}) IS NOT DISTINCT FROM max({o.currency})
        THEN COALESCE(min({o.currency})::text, '') END AS currency
{of_session}
"""


async def load_totals(
    session: Session, catalog: Catalog, calendar: Calendar, selection: Selection, day: int
) -> dict[str, Any]:
    """Return the complete snapshots of a session counted and added up."""
    holes = {"alive": selection.alive(catalog), "complete": complete(catalog, calendar)}
    of_session = part(catalog, _OF_SESSION, day=day, **holes)
    (row,) = await session.fetch(part(catalog, _TOTALS, of_session=of_session))
    return dict(row)


class SessionReturns(Frame):
    """The returns of the complete snapshots of a session, as stored."""

    portfolio_id: Ids
    daily_return: Decimals


def select_session_returns(
    catalog: Catalog, calendar: Calendar, selection: Selection, day: int
) -> Query[SessionReturns]:
    """Return the stored return of each portfolio on a session."""
    read, template = "s.portfolio_id, s.daily_return", "SELECT {columns}" + _OF_SESSION
    holes = {"alive": selection.alive(catalog), "complete": complete(catalog, calendar)}
    return select(catalog, "session_returns", SessionReturns, read, template, day=day, **holes)


_NAMED: Final = """
SELECT {o.id} AS id, {o.name}::text AS name, {s.daily_pnl} AS pnl, {s.equity_balance} AS equity
FROM {o} LEFT JOIN {s} ON {s.portfolio_id} = {o.id} AND {s.snapshot_date} = {day:date}
WHERE {o.id} = ANY($1)
"""


async def load_named(
    session: Session, catalog: Catalog, ids: Sequence[uuid.UUID], day: int
) -> dict[uuid.UUID, dict[str, Any]]:
    """Return the names of portfolios, with P&L and equity of a session, by id."""
    rows = await session.fetch(part(catalog, _NAMED, day=day), list(ids))
    return {row["id"]: dict(row) for row in rows}


_PORTFOLIO: Final = """
SELECT {o.name}::text AS name, {o.currency}::text AS currency FROM {o} WHERE {o.id} = $1
"""


async def load_portfolio(
    session: Session, catalog: Catalog, portfolio: uuid.UUID
) -> dict[str, Any] | None:
    """Return name and currency of a portfolio; None if there is none of that id."""
    rows = await session.fetch(part(catalog, _PORTFOLIO), portfolio)
    return dict(rows[0]) if rows else None


_ANALYTIC: Final = {
    "top_3": "top_3_concentration",
    "top_10": "top_10_concentration",
    "sectors": "sector_exposure",
}
_CHAIN: Final = """
SELECT {day} AS day, {s.equity_balance} AS equity, {s.daily_pnl} AS pnl,
    {s.daily_capital_flow} AS flow, {s.cumulative_pnl} AS cumulative,
    {s.cumulative_realized_pnl} AS realized, {s.long_value} AS long, {s.short_value} AS short,
    {s.net_exposure} AS net, {top_3} AS top_3, {top_10} AS top_10, {sectors}::text AS sectors
FROM {s} WHERE {s.portfolio_id} = $1 AND {complete} ORDER BY {s.snapshot_date}
"""


async def load_chain(
    session: Session, catalog: Catalog, calendar: Calendar, portfolio: uuid.UUID
) -> list[dict[str, Any]]:
    """Return the complete snapshots of a portfolio by day; analytics that it lacks are None."""
    s = tables(catalog)["s"]
    analytic = {
        name: getattr(s, column) if catalog.find(SNAPSHOTS, column) else Sql("NULL")
        for name, column in _ANALYTIC.items()
    }
    holes = {"day": day_number(s.snapshot_date), "complete": complete(catalog, calendar)}
    sql = part(catalog, _CHAIN, **holes, **analytic)
    return [dict(row) for row in await session.fetch(sql, portfolio)]
