"""Stored snapshots: those from which runs continue, those of a table, and those of pages."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, Any, Final

import numpy as np

from batchcore.errors import SchemaError
from batchcore.frames import Days, Decimals, Frame, Integers, Previous, taken
from batchcore.pg.sql import Sql, compose
from batchcore.schema import SNAPSHOT_SCALES, Kind
from batchcore.sources.host import (
    HostTable,
    bits_of,
    complete,
    day_number,
    floats,
    part,
    select,
    sorted_ids,
    tables,
)
from batchcore.sources.query import Column, Query, result_columns

if TYPE_CHECKING:
    import uuid
    from collections.abc import Callable, Iterable, Sequence

    from batchcore.calendar import Calendar
    from batchcore.db.catalog import Catalog
    from batchcore.frames import Bools, Floats, Ids, Int32, Int64
    from batchcore.pg.session import Session
    from batchcore.sources.host import HostColumn, Selection
    from batchcore.sources.query import Result

SNAPSHOTS: Final = "portfolio_snapshots"


class Existing(Frame):
    """Snapshots that exist, and whether each is complete (S5)."""

    portfolio_id: Ids
    day: Int32
    complete: Bools


ROWS: Final = """
SELECT {columns} FROM {s}
WHERE {selection:{s.portfolio_id}} AND {s.snapshot_date} BETWEEN {first:date} AND {last:date}
"""
EARLIER: Final = """
UNION ALL
SELECT earlier.* FROM {o} CROSS JOIN LATERAL (
    SELECT {columns} FROM {s}
    WHERE {s.portfolio_id} = {o.id} AND {s.snapshot_date} < {first:date} AND {earlier}) AS earlier
WHERE {selection:{o.id}}
"""
_LATEST_ONE: Final = "{counts} ORDER BY {s.snapshot_date} DESC LIMIT 1"


def select_existing(
    catalog: Catalog, calendar: Calendar, selection: Selection, first: int, last: int
) -> Query[Existing]:
    """Return which snapshots exist in a window, and which are complete."""
    read = (
        "s.portfolio_id, s.snapshot_date! day",
        Column("complete", Kind.BOOL, "({complete}) IS TRUE"),
    )
    is_complete = complete(catalog, calendar)
    holes = {"selection": selection, "complete": is_complete, "first": first, "last": last}
    return select(catalog, "existing", Existing, read, ROWS, **holes)


class Holes(Frame):
    """Sessions without a complete snapshot, of portfolios that have one in the range."""

    portfolio_id: Ids
    earliest: Int32  # day of the earliest complete snapshot of the range
    hole: Days  # first later session without one, although a still later session has one
    missing: Int64  # number of such sessions


_HOLES: Final = """
WITH c(portfolio, day, following) AS (
    SELECT {s.portfolio_id}, {s.snapshot_date},
        lead({s.snapshot_date}) OVER (PARTITION BY {s.portfolio_id} ORDER BY {s.snapshot_date})
    FROM {s} WHERE {selection:{s.portfolio_id}} {after} AND {complete}),
sessions(day, place) AS ({sessions})
SELECT c.portfolio, min(c.day),
    min(beyond.day) FILTER (WHERE c.following IS NOT NULL AND {missing} > 0),
    COALESCE(sum({missing}) FILTER (WHERE c.following IS NOT NULL AND {missing} > 0), 0)::int8
FROM c JOIN sessions AS own ON own.day = c.day
LEFT JOIN sessions AS next ON next.day = c.following
LEFT JOIN sessions AS beyond ON beyond.place = own.place + 1
GROUP BY c.portfolio
"""
_MISSING: Final = "COALESCE(next.place, (SELECT count(*) FROM sessions)) - own.place - 1"
# Every day, since the earliest snapshot if there is no first day.
_EVERY_DAY: Final = """
SELECT first.day + i, i::int8
FROM ({first}) AS first, generate_series(0, {end:date} - first.day) AS i
"""
_OF_BITS: Final = """
SELECT {first:date} + i, row_number() OVER (ORDER BY i) - 1
FROM generate_series(0, {count}) AS i WHERE get_bit({bits}, i) <> 0
"""


def select_holes(
    catalog: Catalog, calendar: Calendar, selection: Selection, start: int | None, end: int
) -> Query[Holes]:
    """Return the holes of chains; without a start, since each earliest snapshot."""
    after = "" if start is None else "AND {s.snapshot_date} >= {start:date}"
    holes = {"selection": selection, "complete": complete(catalog, calendar)}
    holes |= {"after": part(catalog, after, start=start), "missing": Sql(_MISSING)}
    sql = part(catalog, _HOLES, sessions=_sessions(calendar, start, end), **holes)
    columns = result_columns("portfolio_id uuid, earliest day, hole date, missing int8")
    return Query("holes", sql, columns, Holes)


def _sessions(calendar: Calendar, start: int | None, end: int) -> Sql:
    """Return the SELECT of the sessions up to ``end``, numbered from 0."""
    if calendar.days is None:
        first = Sql("SELECT min(c.day) AS day FROM c")
        if start is not None:
            first = compose("SELECT {start:date} AS day", start=start)
        return compose(_EVERY_DAY, first=first, end=end)
    days = calendar.days[calendar.days <= end]
    if start is not None:
        days = days[days >= start]
    if len(days) == 0:
        return Sql("SELECT NULL::date, 0::int8 WHERE false")
    first_day, last_day = int(days[0]), int(days[-1])
    return compose(_OF_BITS, first=first_day, count=last_day - first_day, bits=bits_of(days))


class Returns(Frame):
    """Daily returns of portfolios before a run."""

    portfolio: Int32  # row of the requested portfolios
    day: Int32
    value: Floats  # never NaN


_RETURNS: Final = """
SELECT {columns}
FROM unnest({ids:uuids}, {before:dates}) WITH ORDINALITY AS w(id, before, number)
CROSS JOIN LATERAL (
    SELECT {s.snapshot_date}, {s.daily_return} FROM {s}
    WHERE {s.portfolio_id} = w.id AND {s.snapshot_date} < w.before AND {s.daily_return:finite}
        AND {complete}
    ORDER BY {s.snapshot_date} DESC LIMIT {count}) AS last
"""


def select_returns(
    catalog: Catalog, calendar: Calendar, ids: Ids, before: Int32, count: int
) -> Query[Returns]:
    """Return the last daily returns of each portfolio before a day, from complete snapshots.

    ``before`` has the day of each of ``ids``; at most ``count`` finite ones are returned for each.
    """
    portfolio = Column("portfolio", Kind.INT4, "(w.number - 1)::int4")
    read = (portfolio, "last.snapshot_date! day, last.daily_return")
    last, is_complete = HostTable(catalog, SNAPSHOTS, "last"), complete(catalog, calendar)
    holes = {"ids": ids, "before": before, "count": count, "last": last, "complete": is_complete}
    return select(catalog, "returns", _returns, read, _RETURNS, **holes)


def _returns(portfolio: Int32, day: Int32, daily_return: Decimals) -> Returns:
    value = floats(daily_return)
    return Returns(portfolio.astype(np.int32), day, value).take(~np.isnan(value))


PREVIOUS: Final = (
    "s.portfolio_id, s.snapshot_date! day, s.equity_balance equity",
    "s.cumulative_pnl, s.cumulative_realized_pnl, s.cumulative_capital_flow",
)


def select_legacy_snapshots(
    catalog: Catalog, selection: Selection, first: int, last: int
) -> Query[Previous]:
    """Return the rows of a window and the latest before it, complete or not (L3, L5)."""
    read = (*PREVIOUS, Column("is_complete", Kind.BOOL, "{s.is_complete} IS TRUE"))
    earlier = part(catalog, _LATEST_ONE, counts=part(catalog, "isfinite({s.snapshot_date})"))
    holes = {"selection": selection, "first": first, "last": last, "earlier": earlier}
    return select(catalog, "stored", Previous, read, ROWS + EARLIER, **holes)


_LATEST: Final = """
SELECT latest.* FROM unnest({ids:uuids}) AS w(id) CROSS JOIN LATERAL (
    SELECT {columns} FROM {s}
    WHERE {s.portfolio_id} = w.id AND {s.snapshot_date} < {before:date} AND {latest}) AS latest
"""


def select_latest_snapshots(
    catalog: Catalog,
    calendar: Calendar,
    ids: Ids,
    before: int,
    *,
    frame: Callable[..., Result],
    read: Iterable[str],
) -> Query[Result]:
    """Return the latest complete snapshot of each portfolio before a day, by one look-up (S5)."""
    latest = part(catalog, _LATEST_ONE, counts=complete(catalog, calendar))
    holes = {"ids": ids, "before": before, "latest": latest}
    return select(catalog, "latest_snapshots", frame, read, _LATEST, **holes)


def select_ids(catalog: Catalog, selection: Selection) -> Query[Ids]:
    """Return the ids of portfolios in order; if requested by id, also soft-deleted ones."""
    template = "SELECT {columns} FROM {o} WHERE {alive}"
    alive = selection.alive(catalog)
    return select(catalog, "portfolios", _ids, "o.id", template, alive=alive)


def _ids(id: Ids) -> Ids:  # noqa: A002  # its name
    return np.ascontiguousarray(id[sorted_ids(id)])


class ChainRows(Frame):
    """Snapshots marked complete, in any order; some may not be on a session."""

    portfolio_id: Ids
    day: Int32
    equity: Decimals
    pnl: Decimals
    flow: Decimals


def select_chain_rows(
    catalog: Catalog,
    calendar: Calendar,
    selection: Selection,
    days: tuple[int, int],
    *,
    earlier: bool,
) -> Query[ChainRows]:
    """Return the snapshots of portfolios in a range, on request with an ``earlier`` one of each."""
    read = (
        "s.portfolio_id, s.snapshot_date! day, s.equity_balance equity",
        "s.daily_pnl pnl, s.daily_capital_flow flow",
    )
    template = ROWS + "AND {s.is_complete}" + (EARLIER if earlier else "")
    holes = {"selection": selection, "first": days[0], "last": days[1]}
    latest = part(catalog, _LATEST_ONE, counts=complete(catalog, calendar))
    return select(catalog, "chains", ChainRows, read, template, earlier=latest, **holes)


def scale_of(catalog: Catalog, column: str) -> int:
    """Return the decimals that a column of snapshots is read with.

    A column that declares none and that no rule reads has those of docs/schema.md; values with more
    are then not representable, and equal to nothing.
    """
    if SNAPSHOT_SCALES[column] == 0:
        return 0
    try:
        return catalog.scale(SNAPSHOTS, column)
    except SchemaError:
        return SNAPSHOT_SCALES[column]


KEY: Final = ("portfolio_id", "snapshot_date")

_TEXTS: Final = frozenset({Kind.TEXT, Kind.JSON, Kind.JSONB})
_COUNTS: Final = frozenset({Kind.INT2, Kind.INT4})

_TABLE: Final = """
SELECT {columns} FROM {s}
WHERE {owned} AND {s.snapshot_date} BETWEEN {first:date} AND {last:date}
"""
_MICROSECONDS: Final = """
CASE WHEN isfinite({moment}) THEN (extract(epoch FROM {moment}) * 1000000)::numeric END
"""


def select_snapshots(
    catalog: Catalog, selection: Selection, days: tuple[int, int], columns: Iterable[str]
) -> Query[dict[str, Any]]:
    """Return the snapshots of portfolios from one day to another, by portfolio and date.

    Columns by name: those of `KEY`, and others; moments are microseconds since 1970.
    """
    s = HostTable(catalog, SNAPSHOTS, "s")
    own = [(name, getattr(s, name)) for name in (*KEY, *columns)]
    read = [_column(catalog, name, column) for name, column in own]
    owned = selection.owned(catalog, s.portfolio_id)
    holes = {"owned": owned, "first": days[0], "last": days[1]}
    made = partial(_by_key, {name for name, column in own if column.kind in _COUNTS})
    return select(catalog, "snapshots", made, read, _TABLE, **holes)


def _column(catalog: Catalog, name: str, column: HostColumn) -> Column:
    """Return a column of the host as one of the result, in which a NULL is visible."""
    kind = column.kind
    if kind in _TEXTS:
        return Column(name, Kind.TEXT, Sql(f"{column}::text"))
    if kind in {*_COUNTS, Kind.INT8}:
        return Column(name, Kind.NUMERIC, Sql(f"{column}::numeric"))
    if kind is Kind.TIMESTAMPTZ:
        return Column(name, Kind.NUMERIC, compose(_MICROSECONDS, moment=column))
    if kind is Kind.BOOL:
        return Column(name, Kind.BOOL, Sql(f"({column}) IS TRUE"))
    if kind in {Kind.NUMERIC, Kind.FLOAT8}:
        return Column(name, kind, column, scale_of(catalog, name), f"{SNAPSHOTS}.{name}")
    return column.read(name, bare=name in KEY)


def _by_key(counts: set[str], **columns: Any) -> dict[str, Any]:  # noqa: ANN401  # several types
    for name in counts:
        column: Decimals = columns[name]
        columns[name] = Integers(column.values.astype(np.int32), column.state)
    order = sorted_ids(columns["portfolio_id"], columns["snapshot_date"])
    in_order = bool((order[1:] > order[:-1]).all())
    return columns if in_order else taken(columns, order)


# By the unique index that begins with the portfolio: few tables have one on the date alone.
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
    """Return count and sums of the complete snapshots of a session."""
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
    """Return name and currency of a portfolio; None if it does not exist."""
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
    """Return the complete snapshots of a portfolio by day; missing analytics are None."""
    s = tables(catalog)["s"]
    analytic = {
        name: getattr(s, column) if catalog.find(SNAPSHOTS, column) else Sql("NULL")
        for name, column in _ANALYTIC.items()
    }
    holes = {"day": day_number(s.snapshot_date), "complete": complete(catalog, calendar)}
    sql = part(catalog, _CHAIN, **holes, **analytic)
    return [dict(row) for row in await session.fetch(sql, portfolio)]
