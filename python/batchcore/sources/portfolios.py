"""Portfolios, with the snapshots that their chains go on from."""

from __future__ import annotations

from dataclasses import dataclass, fields
from typing import TYPE_CHECKING, Any, Final

from batchcore.db.catalog import Kind
from batchcore.db.sql import Sql, compose, statement
from batchcore.frames import Days, Decimals, Frame, Text
from batchcore.sources.host import Boundaries, HostTable, complete, sorted_ids
from batchcore.sources.query import Column, Query, select

if TYPE_CHECKING:
    from collections.abc import Callable

    from batchcore.calendar import Calendar
    from batchcore.db.catalog import Catalog
    from batchcore.db.engine import Session
    from batchcore.frames import Bools, Ids, Int32, Int64
    from batchcore.sources.host import Selection


@dataclass(frozen=True, eq=False)
class SnapshotColumns(Frame):
    """One snapshot for each portfolio, or none: then its day is NULL.

    Attributes:
        day: Its date.
        equity_balance: Dollars; as the next three.
        cumulative_pnl: Dollars.
        cumulative_realized_pnl: Dollars.
        cumulative_capital_flow: Dollars.
    """

    day: Days
    equity_balance: Decimals
    cumulative_pnl: Decimals
    cumulative_realized_pnl: Decimals
    cumulative_capital_flow: Decimals


@dataclass(frozen=True, eq=False)
class Portfolios(Frame):
    """The portfolios of a run and the complete snapshots around its first day, sorted by id.

    Attributes:
        id: (n, 16) uint8, ascending.
        equity_balance: Dollars.
        currency: As stored.
        deleted: (n,) bool; True only for portfolios that were asked for by id.
        before: The latest snapshot before the boundary.
        first_day: Date of the earliest snapshot from the boundary on.
        first_equity_balance: Dollars, of that snapshot; as the next two.
        first_daily_pnl: Dollars.
        first_daily_capital_flow: Dollars.
        last: The latest snapshot from the boundary on.
    """

    id: Ids
    equity_balance: Decimals
    currency: Text
    deleted: Bools
    before: SnapshotColumns
    first_day: Days
    first_equity_balance: Decimals
    first_daily_pnl: Decimals
    first_daily_capital_flow: Decimals
    last: SnapshotColumns


_SUMS: Final = (
    "equity_balance",
    "cumulative_pnl",
    "cumulative_realized_pnl",
    "cumulative_capital_flow",
)

_PORTFOLIOS: Final = """
SELECT {columns} FROM {p} {own}
LEFT JOIN LATERAL (
    SELECT {s.snapshot_date}, {s.equity_balance}, {s.cumulative_pnl},
        {s.cumulative_realized_pnl}, {s.cumulative_capital_flow}
    FROM {s} WHERE {s.portfolio_id} = {p.id} AND {s.snapshot_date} < {boundary} AND {complete}
    ORDER BY {s.snapshot_date} DESC LIMIT 1) AS before ON true
LEFT JOIN LATERAL (
    SELECT {s.snapshot_date}, {s.equity_balance}, {s.daily_pnl}, {s.daily_capital_flow}
    FROM {s} WHERE {s.portfolio_id} = {p.id} AND {s.snapshot_date} >= {boundary} AND {complete}
    ORDER BY {s.snapshot_date} ASC LIMIT 1) AS first ON true
LEFT JOIN LATERAL (
    SELECT {s.snapshot_date}, {s.equity_balance}, {s.cumulative_pnl},
        {s.cumulative_realized_pnl}, {s.cumulative_capital_flow}
    FROM {s} WHERE {first.snapshot_date} IS NOT NULL AND {s.portfolio_id} = {p.id}
        AND {s.snapshot_date} >= {boundary} AND {complete}
    ORDER BY {s.snapshot_date} DESC LIMIT 1) AS last ON true
WHERE {alive}
"""
_OWN: Final = "LEFT JOIN unnest({ids:uuids}, {days:dates}) AS own(id, day) ON own.id = {p.id}"


def select_portfolios(
    catalog: Catalog,
    calendar: Calendar,
    boundary: int,
    selection: Selection,
    own: Boundaries | None = None,
    *,
    complete: Callable[[HostTable, Calendar], Sql] = complete,
) -> Query[Portfolios]:
    """Return each portfolio with the snapshots around ``boundary``, or around one of its own.

    Three LATERAL look-ups on the unique index: the latest complete snapshot before the
    boundary, the earliest from it on, and, where there is one, the latest. Of those asked for
    by id, soft-deleted ones come too, marked.
    """
    p, s = HostTable(catalog, "portfolios", "p"), HostTable(catalog, "portfolio_snapshots", "s")
    of_day, joined = compose("{day:date}", day=boundary), Sql()
    if own is not None and len(own.day):
        joined = compose(_OWN, ids=own.ids, days=own.day, p=p)
        of_day = compose("COALESCE(own.day, {day})", day=of_day)
    around = {
        alias: HostTable(catalog, "portfolio_snapshots", alias)
        for alias in ("before", "first", "last")
    }
    read: list[Column] = [
        *p.read("id", "equity_balance", "currency"),
        Column("deleted", Kind.BOOL, "{p.deleted_at} IS NOT NULL"),
    ]
    for alias, table in around.items():
        names = ("equity_balance", "daily_pnl", "daily_capital_flow") if alias == "first" else _SUMS
        named = {f"{alias}_day": "snapshot_date"} | {f"{alias}_{name}": name for name in names}
        read += table.read(**named)
    return select(
        "portfolios",
        _portfolios,
        read,
        _PORTFOLIOS,
        p=p,
        s=s,
        own=joined,
        boundary=of_day,
        complete=complete(s, calendar),
        alive=selection.alive(p),
        **around,
    )


def _portfolios(**columns: Any) -> Portfolios:  # noqa: ANN401  # columns of several types
    around: dict[str, Any] = {
        prefix: SnapshotColumns(
            **{item.name: columns.pop(f"{prefix}_{item.name}") for item in fields(SnapshotColumns)}
        )
        for prefix in ("before", "last")
    }
    found = Portfolios(**columns, **around)
    order = sorted_ids(found.id)
    # Mostly they come in order, and need no copy.
    return found if (order[1:] > order[:-1]).all() else found.take(order)


_LOCK: Final = """
SELECT count(*) FROM (
    SELECT {p.id} FROM {p} WHERE {alive} ORDER BY {p.id} FOR NO KEY UPDATE) AS locked
"""


async def lock_portfolios(session: Session, catalog: Catalog, selection: Selection) -> None:
    """Lock the rows of portfolios until the transaction ends; wait for whoever has locked them.

    In the order of their ids, so that two do not wait for each other. Foreign keys to them can be
    checked meanwhile. What is read after that includes what the others have committed, at READ
    COMMITTED.
    """
    p = HostTable(catalog, "portfolios", "p")
    await session.fetchval(statement(_LOCK, p=p, alive=selection.alive(p)))


@dataclass(frozen=True, eq=False)
class LegacyPortfolios(Frame):
    """The portfolios of a run under `legacy`, sorted by id.

    Attributes:
        id: (n, 16) uint8, ascending.
        name: As stored.
        equity_balance: Dollars.
        currency: As stored.
        deleted: (n,) bool; True only for portfolios that were asked for by id.
        latest: Date of the latest complete row, on a session or not.
        first_stands: Date of the first complete row on the sessions of the range.
        stands: (n,) int64, how many there are.
    """

    id: Ids
    name: Text
    equity_balance: Decimals
    currency: Text
    deleted: Bools
    latest: Days
    first_stands: Days
    stands: Int64


_LEGACY: Final = """
SELECT {columns} FROM {p}
LEFT JOIN (
    SELECT {s.portfolio_id}, min({s.snapshot_date}), count(*) FROM {s}
    WHERE {s.is_complete} AND {s.snapshot_date} = ANY({sessions:dates}) AND {selected}
    GROUP BY {s.portfolio_id}) AS stands(id, first, count) ON stands.id = {p.id}
WHERE {alive}
"""
_LATEST: Final = """
(SELECT {s.snapshot_date} FROM {s} WHERE {s.portfolio_id} = {p.id} AND {s.is_complete}
    AND isfinite({s.snapshot_date}) ORDER BY {s.snapshot_date} DESC LIMIT 1)
"""


def select_legacy_portfolios(
    catalog: Catalog, selection: Selection, sessions: Int32
) -> Query[LegacyPortfolios]:
    """Return each portfolio with its latest complete row, and those on some sessions (L3).

    Of those asked for by id, soft-deleted ones come too, marked.
    """
    p, s = HostTable(catalog, "portfolios", "p"), HostTable(catalog, "portfolio_snapshots", "s")
    return select(
        "portfolios",
        _legacy_portfolios,
        (
            *p.read("id", "name", "equity_balance", "currency"),
            Column("deleted", Kind.BOOL, "{p.deleted_at} IS NOT NULL"),
            Column("latest", Kind.DATE, _LATEST),
            Column("first_stands", Kind.DATE, "stands.first"),
            Column("stands", Kind.INT8, "COALESCE(stands.count, 0)::int8"),
        ),
        _LEGACY,
        p=p,
        s=s,
        sessions=sessions,
        selected=selection.condition(s.portfolio_id),
        alive=selection.alive(p),
    )


def _legacy_portfolios(**columns: Any) -> LegacyPortfolios:  # noqa: ANN401
    found = LegacyPortfolios(**columns)
    return found.take(sorted_ids(found.id))
