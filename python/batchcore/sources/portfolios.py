"""Portfolios, with the snapshots from which their chains continue."""

from __future__ import annotations

import uuid
from dataclasses import fields
from functools import partial
from typing import TYPE_CHECKING, Any, Final, TypeVar

import numpy as np

from batchcore.errors import SchemaError
from batchcore.frames import LEFT_OUT, Days, Decimals, Frame, Text, known_states
from batchcore.pg.sql import Sql, compose
from batchcore.schema import Kind
from batchcore.sources.host import Boundaries, Selection, complete, part, select, sorted_ids, tables
from batchcore.sources.query import Column, Query
from batchcore.units import State

if TYPE_CHECKING:
    from collections.abc import Callable

    from batchcore.calendar import Calendar
    from batchcore.db.catalog import Catalog
    from batchcore.frames import Bools, Ids, Int32, Int64
    from batchcore.pg.session import Session


class SnapshotColumns(Frame):
    """One snapshot for each portfolio, or none: then its day is NULL."""

    day: Days
    equity_balance: Decimals = LEFT_OUT
    cumulative_pnl: Decimals = LEFT_OUT
    cumulative_realized_pnl: Decimals = LEFT_OUT
    cumulative_capital_flow: Decimals = LEFT_OUT


class Portfolios(Frame, kw_only=True):
    """The portfolios of a run and the complete snapshots around its first day, sorted by id."""

    id: Ids
    equity_balance: Decimals = LEFT_OUT
    currency: Text
    deleted: Bools = LEFT_OUT  # only of portfolios requested by id
    before: SnapshotColumns  # the latest snapshot before the boundary
    first_day: Days  # of the earliest snapshot from the boundary on, as the next three
    first_equity_balance: Decimals = LEFT_OUT
    first_daily_pnl: Decimals = LEFT_OUT
    first_daily_capital_flow: Decimals = LEFT_OUT
    last: SnapshotColumns  # the latest snapshot from the boundary on


class LatestSnapshots(Frame):
    """The number of portfolios by the day of their latest complete snapshot."""

    day: Days  # NULL of portfolios without one
    currency: Text
    portfolios: Int64

    def as_portfolios(self, boundary: int) -> Portfolios:
        """Return a portfolio for each row, with numbers as ids, of which only days are known."""
        rows, known = len(self.day), self.day.state == State.VALUE
        is_before = known & (self.day.values < boundary)
        before, last = (
            SnapshotColumns(Days(self.day.values, known_states(own)))
            for own in (is_before, known & ~is_before)
        )
        return Portfolios(
            id=np.arange(2 * rows, dtype=">u8").reshape(rows, 2).view(np.uint8),
            currency=self.currency,
            before=before,
            first_day=last.day,
            last=last,
        )


_SUMS: Final = tuple(item.name for item in fields(SnapshotColumns))[1:]

_PORTFOLIOS: Final = """
SELECT {columns} FROM {o} {own}
LEFT JOIN LATERAL (
    SELECT {s.snapshot_date}, {s.equity_balance}, {s.cumulative_pnl},
        {s.cumulative_realized_pnl}, {s.cumulative_capital_flow}
    FROM {s} WHERE {s.portfolio_id} = {o.id} AND {s.snapshot_date} < {boundary} AND {complete}
    ORDER BY {s.snapshot_date} DESC LIMIT 1) AS before ON true
LEFT JOIN LATERAL (
    SELECT {s.snapshot_date}, {s.equity_balance}, {s.daily_pnl}, {s.daily_capital_flow}
    FROM {s} WHERE {s.portfolio_id} = {o.id} AND {s.snapshot_date} >= {boundary} AND {complete}
    ORDER BY {s.snapshot_date} ASC LIMIT 1) AS first ON true
LEFT JOIN LATERAL (
    SELECT {s.snapshot_date}, {s.equity_balance}, {s.cumulative_pnl},
        {s.cumulative_realized_pnl}, {s.cumulative_capital_flow}
    FROM {s} WHERE {first.snapshot_date} IS NOT NULL AND {s.portfolio_id} = {o.id}
        AND {s.snapshot_date} >= {boundary} AND {complete}
    ORDER BY {s.snapshot_date} DESC LIMIT 1) AS last ON true
WHERE {alive}
"""
_OWN: Final = "LEFT JOIN unnest({ids:uuids}, {days:dates}) AS own(id, day) ON own.id = {o.id}"


def select_portfolios(
    catalog: Catalog,
    calendar: Calendar,
    boundary: int,
    selection: Selection,
    own: Boundaries | None = None,
    *,
    complete: Callable[[Catalog, Calendar], Sql] = complete,
) -> Query[Portfolios]:
    """Return each portfolio with the snapshots around ``boundary``, or around one of its own.

    Three LATERAL look-ups on the unique index: the latest complete snapshot before the boundary,
    the earliest on or after it, and, where there is one, the latest. If requested by id,
    soft-deleted portfolios are included and marked.
    """
    of_day, joined = compose("{day:date}", day=boundary), Sql()
    if own is not None and len(own.day):
        joined = part(catalog, _OWN, ids=own.ids, days=own.day)
        of_day = compose("COALESCE(own.day, {day})", day=of_day)
    around = tables(catalog, **dict.fromkeys(("before", "first", "last"), "portfolio_snapshots"))
    read: list[str | Column] = [
        "o.id, o.equity_balance, o.currency",
        Column("deleted", Kind.BOOL, "{o.deleted_at} IS NOT NULL"),
    ]
    for alias in ("before", "first", "last"):
        names = ("equity_balance", "daily_pnl", "daily_capital_flow") if alias == "first" else _SUMS
        read += [f"{alias}.snapshot_date {alias}_day"]
        read += [f"{alias}.{name} {alias}_{name}" for name in names]
    frame = partial(_portfolios, catalog.label("portfolios", "id"))
    holes = {"own": joined, "boundary": of_day, "complete": complete(catalog, calendar)}
    alive = selection.alive(catalog)
    return select(catalog, "portfolios", frame, read, _PORTFOLIOS, alive=alive, **holes, **around)


_LATEST_OF_ALL: Final = """
SELECT {columns} FROM {o} LEFT JOIN LATERAL (
    SELECT {s.snapshot_date} FROM {s} WHERE {s.portfolio_id} = {o.id} AND {complete}
    ORDER BY {s.snapshot_date} DESC LIMIT 1) AS latest ON true
WHERE {alive} GROUP BY {latest.snapshot_date}, {o.currency}
"""


ALL: Final = Selection()


def select_latest_of_all(
    catalog: Catalog, calendar: Calendar, selection: Selection = ALL, counts: Sql | None = None
) -> Query[LatestSnapshots]:
    """Return the latest days of portfolios, counted, by one look-up for each portfolio."""
    return select(
        catalog,
        "latest_of_all",
        LatestSnapshots,
        ("latest.snapshot_date day, o.currency", Column("portfolios", Kind.INT8, "count(*)::int8")),
        _LATEST_OF_ALL,
        complete=counts or complete(catalog, calendar),
        alive=selection.alive(catalog),
        **tables(catalog, latest="portfolio_snapshots"),
    )


async def count_portfolios(session: Session, catalog: Catalog) -> int:
    """Return the number of portfolios that are not soft-deleted."""
    template = "SELECT count(*) FROM {o} WHERE {o.deleted_at} IS NULL"
    return int(await session.fetchval(part(catalog, template)))


def _portfolios(label: str, **columns: Any) -> Portfolios:  # noqa: ANN401  # of several types
    around: dict[str, Any] = {
        prefix: SnapshotColumns(
            **{item.name: columns.pop(f"{prefix}_{item.name}") for item in fields(SnapshotColumns)}
        )
        for prefix in ("before", "last")
    }
    return _sorted(Portfolios(**columns, **around), label)


Sorted = TypeVar("Sorted", "Portfolios", "LegacyPortfolios")


def _sorted(found: Sorted, label: str) -> Sorted:
    """Return portfolios by id; raise an error if a view or child table has one twice."""
    first, then = np.ascontiguousarray(found.id).view(">u8").astype(np.uint64).T
    ascends = (first[1:] > first[:-1]) | ((first[1:] == first[:-1]) & (then[1:] > then[:-1]))
    if ascends.all():  # as is mostly the case
        return found
    found = found.take(sorted_ids(found.id))
    twice = found.id[1:][(found.id[1:] == found.id[:-1]).all(axis=1)]
    if len(twice):
        one = uuid.UUID(bytes=twice[0].tobytes())
        problem = f"{label}: {one} is in several rows, expected each id once"
        raise SchemaError(problem, (problem,))
    return found


_LOCK: Final = """
SELECT count(*) FROM (
    SELECT {o.id} FROM {o} WHERE {alive} ORDER BY {o.id} FOR NO KEY UPDATE) AS locked
"""


async def lock_portfolios(session: Session, catalog: Catalog, selection: Selection) -> None:
    """Lock the rows of portfolios until the transaction ends, by id: two would not deadlock.

    Foreign keys to them can still be checked. At READ COMMITTED, later reads include the commits of
    earlier holders of the locks.
    """
    await session.fetchval(part(catalog, _LOCK, alive=selection.alive(catalog)))


class LegacyPortfolios(Frame):
    """The portfolios of a run under `legacy`, sorted by id."""

    id: Ids
    name: Text
    equity_balance: Decimals
    currency: Text
    deleted: Bools  # only of portfolios requested by id
    latest: Days  # date of the latest complete row, on a session or not
    first_complete: Days  # date of the first complete row on sessions of the range
    complete: Int64  # their number


_LEGACY: Final = """
SELECT {columns} FROM {o}
LEFT JOIN (
    SELECT {s.portfolio_id}, min({s.snapshot_date}), count(*) FROM {s}
    WHERE {s.is_complete} AND {s.snapshot_date} = ANY({sessions:dates})
        AND {selection:{s.portfolio_id}}
    GROUP BY {s.portfolio_id}) AS rows(id, first, count) ON rows.id = {o.id}
WHERE {alive}
"""
_LATEST: Final = """
(SELECT {s.snapshot_date} FROM {s} WHERE {s.portfolio_id} = {o.id} AND {s.is_complete}
    AND isfinite({s.snapshot_date}) ORDER BY {s.snapshot_date} DESC LIMIT 1)
"""


def select_legacy_portfolios(
    catalog: Catalog, selection: Selection, sessions: Int32
) -> Query[LegacyPortfolios]:
    """Return each portfolio with its latest complete row, and those on some sessions (L3).

    If requested by id, soft-deleted portfolios are included and marked.
    """
    read = (
        "o.id, o.name, o.equity_balance, o.currency",
        Column("deleted", Kind.BOOL, "{o.deleted_at} IS NOT NULL"),
        Column("latest", Kind.DATE, _LATEST),
        Column("first_complete", Kind.DATE, "rows.first"),
        Column("complete", Kind.INT8, "COALESCE(rows.count, 0)::int8"),
    )
    holes = {"sessions": sessions, "selection": selection, "alive": selection.alive(catalog)}
    label = catalog.label("portfolios", "id")

    def frame(**columns: Any) -> LegacyPortfolios:  # noqa: ANN401  # of several types
        return _sorted(LegacyPortfolios(**columns), label)

    return select(catalog, "portfolios", frame, read, _LEGACY, **holes)
