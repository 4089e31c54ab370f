"""Stored snapshots, and when their inputs were changed, for `verify`."""

from __future__ import annotations

import uuid
from bisect import bisect_left, bisect_right
from dataclasses import dataclass, replace
from enum import IntEnum
from functools import partial
from typing import TYPE_CHECKING, Any, ClassVar, Final, Self

import numpy as np

from batchcore.calendar import FIRST_DATE, LAST_DATE, Calendar
from batchcore.db.analytic_tables import POSITION_BETAS, PROFILES
from batchcore.frames import Days, Decimals, Frame, Text, taken
from batchcore.pg.ledger import CHUNKS, RUNS
from batchcore.pg.sql import Sql, compose, joined, table_name
from batchcore.schema import HOST, RATES, SPLITS, Kind, Use
from batchcore.sources.events_flows import EVENTS, FLOWS
from batchcore.sources.host import HostTable, Selection, located, part, select, sorted_ids
from batchcore.sources.portfolios import select_latest_of_all
from batchcore.sources.prices import PRICES
from batchcore.sources.profiles import SP500, WEIGHTS
from batchcore.sources.query import Column, Query, load, result_columns
from batchcore.sources.snapshots import EARLIER, SNAPSHOTS, scale_of
from batchcore.units import State
from batchcore.values import normalised

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence

    from batchcore.db.catalog import Catalog
    from batchcore.frames import Bools, Bytes, Ids, Int32, Int64
    from batchcore.pg.session import Session

    Span = tuple[int | None, int | None]

_TABLE: Final = HOST[SNAPSHOTS]

SHARES: Final = "sector_exposure"
ANALYTIC: Final = _TABLE.names(Use.ANALYTICS)  # columns of a snapshot that A1 to A6 name

GREEKS: Final = _TABLE.names(Use.GREEKS)  # columns of the policy `legacy` alone (L31)

EMPTY: Final = tuple(column.name for column in _TABLE.columns if column.uses == Use.CLEARED)
"""Columns that `legacy` leaves NULL, and `rollforward` to others (L31, S14)."""

TEXTS: Final = (SHARES, *EMPTY)
"""Columns that are read as text; any value in those of `EMPTY` is wrong."""

NEVER: Final = -(2**63)
"""A moment before all others, in microseconds, for a row without the time of its writing."""

UNKNOWN: Final = 2**63 - 1
"""A moment after all others, for a table without the times of changes."""

OPEN: Final = np.iinfo(np.int32).max  # the end of a position that has none

_STAMPS: Final = ("created_at", "updated_at", "deleted_at")


@dataclass(frozen=True, slots=True, kw_only=True)
class StoredRules:
    """The stored rows and facts that count under a policy, as templates."""

    complete: Callable[[Catalog, Calendar], Sql]  # condition that snapshot `s` is
    earlier: str  # rest of the condition for earlier rows that those of a range may continue from
    is_dated: str  # condition that position `p` has a first day
    end: str  # the first day that it is no longer held
    private: str  # whether it is PRIVATE
    of_alive: bool  # whether its events count only if it is not soft-deleted


@dataclass(frozen=True, eq=False, slots=True)
class StoredSource:
    """The scope of a verification: the host's tables, a policy, and a calendar (S5)."""

    catalog: Catalog
    calendar: Calendar
    rules: StoredRules

    def holes(self, selection: Selection, days: Span) -> dict[str, object]:
        """Return the parts that statements on snapshots share."""
        first, last = days
        return {
            "selection": selection,
            "complete": self.rules.complete(self.catalog, self.calendar),
            "written": _microseconds(part(self.catalog, "{s.created_at}")),
            "in_range": part(
                self.catalog,
                "{s.snapshot_date} BETWEEN {first:date} AND {last:date}",
                first=FIRST_DATE if first is None else first,
                last=LAST_DATE if last is None else last,
            ),
        }


def readable(catalog: Catalog, columns: Iterable[str]) -> tuple[str, ...]:
    """Return the existing columns of snapshots that may be read."""
    found = ((name, catalog.find(SNAPSHOTS, name)) for name in columns)
    return tuple(name for name, column in found if column is not None and column.can_select)


_MICROSECONDS: Final = """
COALESCE(CASE WHEN isfinite({moment})
        THEN LEAST(extract(epoch FROM {moment}) * 1000000, '{unknown}'::numeric)::int8
    WHEN {moment} = 'infinity' THEN '{unknown}'::int8 END, '{never}'::int8)
"""


def _microseconds(moment: str) -> Sql:
    """Return the expression for a timestamp as microseconds since 1970; `NEVER` if it is NULL.

    One beyond 64 bits, after the year 294246, is treated as infinite.
    """
    return compose(_MICROSECONDS, moment=Sql(moment), unknown=UNKNOWN, never=NEVER)


def _changed(catalog: Catalog, table: str, alias: str, *more: str) -> Sql:
    """Return the expression for the time of a row's last change; `UNKNOWN` without time stamps."""
    own, stamps = HostTable(catalog, table, alias), _stamps(catalog, table, *more)
    if not stamps:
        return compose("'{unknown}'::int8", unknown=UNKNOWN)
    return _microseconds(f"GREATEST({', '.join(getattr(own, name) for name in stamps)})")


def _edited(catalog: Catalog, table: str, alias: str) -> Sql:
    """Return the condition that a row was changed after its creation; false without stamps."""
    if not {"created_at", "updated_at"} <= set(_stamps(catalog, table)):
        return Sql("false")
    own = HostTable(catalog, table, alias)
    return compose("({t.updated_at} > {t.created_at}) IS TRUE", t=own)


def _stamps(catalog: Catalog, table: str, *more: str) -> tuple[str, ...]:
    """Return the time stamps of a table that can be read."""
    found = ((name, catalog.find(table, name)) for name in (*_STAMPS, *more))
    return tuple(
        name
        for name, column in found
        if column is not None and column.kind is Kind.TIMESTAMPTZ and column.can_select
    )


@dataclass(frozen=True, eq=False, slots=True)
class Counted:
    """The number of snapshots of each portfolio in a range, and their days."""

    rows: Int64
    first: Int32  # of the latest complete snapshot before the range, or of the first row
    last: Int32


_COUNTED: Final = """
SELECT c.portfolio, c.rows, c.first, c.last, b.day
FROM (
    SELECT {s.portfolio_id} AS portfolio, count(*) AS rows,
        min({s.snapshot_date}) AS first, max({s.snapshot_date}) AS last
    FROM {s} WHERE {selection:{s.portfolio_id}} AND {in_range} GROUP BY {s.portfolio_id}) AS c
LEFT JOIN LATERAL (
    SELECT {s.snapshot_date} AS day FROM {s}
    WHERE {s.portfolio_id} = c.portfolio AND {s.snapshot_date} < c.first AND {complete}
    ORDER BY {s.snapshot_date} DESC LIMIT 1) AS b ON true
"""


def select_counts(
    source: StoredSource, selection: Selection, days: Span, ids: Bytes
) -> Query[Counted]:
    """Return the number of stored rows of each portfolio in a range, in the order of ``ids``.

    ``days`` are the first and the last: None begins with the first row, or ends with the last.
    """
    sql = part(source.catalog, _COUNTED, **source.holes(selection, days))
    columns = result_columns("portfolio_id uuid, rows int8, first day, last day, previous date")
    return Query("counts", sql, columns, partial(_counted, ids))


def _counted(  # noqa: PLR0917  # columns, by name
    ids: Bytes, portfolio_id: Bytes, rows: Int64, first: Int32, last: Int32, previous: Days
) -> Counted:
    row = located(portfolio_id, ids)
    own, row = np.flatnonzero(row >= 0), row[row >= 0]
    found = Counted(np.zeros(len(ids), dtype=np.int64), *np.zeros((2, len(ids)), dtype=np.int32))
    begins = np.where(previous.state == State.VALUE, previous.values, first)
    found.rows[row], found.first[row], found.last[row] = rows[own], begins[own], last[own]
    return found


class Ranges(Frame):
    """Portfolios by id, with the days between which the rows of a range lie."""

    id: Bytes
    first: Days  # of the latest complete snapshot before the range, else of the first in it
    last: Days  # of the latest complete snapshot in the range; both are NULL where it has none


_RANGES: Final = """
SELECT {o.id}, COALESCE(before.day, first.day), last.day FROM {o}
LEFT JOIN LATERAL (
    SELECT {s.snapshot_date} FROM {s}
    WHERE {s.portfolio_id} = {o.id} AND {in_range} AND {complete}
    ORDER BY {s.snapshot_date} DESC LIMIT 1) AS last(day) ON true
LEFT JOIN LATERAL (
    SELECT {s.snapshot_date} FROM {s}
    WHERE last.day IS NOT NULL AND {s.portfolio_id} = {o.id}
        AND {s.snapshot_date} < {start:date} AND {complete}
    ORDER BY {s.snapshot_date} DESC LIMIT 1) AS before(day) ON true
LEFT JOIN LATERAL (
    SELECT {s.snapshot_date} FROM {s}
    WHERE last.day IS NOT NULL AND before.day IS NULL
        AND {s.portfolio_id} = {o.id} AND {in_range} AND {complete}
    ORDER BY {s.snapshot_date} LIMIT 1) AS first(day) ON true
WHERE {alive}
"""


def select_ranges(
    source: StoredSource, selection: Selection, first: int, last: int
) -> Query[Ranges]:
    """Return each portfolio, also soft-deleted ones if requested, with the ends of its rows."""
    holes = source.holes(selection, (first, last))
    alive = selection.alive(source.catalog)
    sql = part(source.catalog, _RANGES, **holes, start=first, alive=alive)
    return Query("ranges", sql, result_columns("id uuid, first date, last date"), _ranges)


def _ranges(**columns: Any) -> Ranges:  # noqa: ANN401
    found = Ranges(**columns)
    return found.take(sorted_ids(found.id))


async def latest_day(
    session: Session, source: StoredSource, selection: Selection, until: int | None = None
) -> int | None:
    """Return the day of the latest complete snapshot of any of some portfolios up to a day."""
    holes = source.holes(selection, (None, until))
    counts = part(source.catalog, "{in_range} AND {complete}", **holes)
    query = select_latest_of_all(source.catalog, source.calendar, selection, counts)
    day = (await load(session, query)).day
    return max(day.values[day.state == State.VALUE].tolist(), default=None)


class StoredRows(Frame):
    """Snapshots of a chunk, sorted by portfolio and day."""

    portfolio: Int32  # row of the requested ids
    day: Int32
    complete: Bools  # S5 or L3, on a session of the calendar
    session: Bools  # whether the day is one of the calendar
    written: Int64  # microseconds since 1970, `created_at`
    cells: Mapping[str, Decimals]  # of the requested columns
    texts: Mapping[str, Text]  # of those of `TEXTS`

    @property
    def shares(self) -> Text | None:
        """`sector_exposure` as text; None if not requested."""
        return self.texts.get(SHARES)


_STORED: Final = "SELECT {columns} FROM {s} WHERE {selection:{s.portfolio_id}} AND {in_range}"


def select_stored(
    source: StoredSource,
    selection: Selection,
    days: Span,
    columns: Iterable[str],
    ids: Bytes,
    *,
    earlier: bool = True,
) -> Query[StoredRows]:
    """Return the snapshots of a chunk in a range, with the ``earlier`` ones that they build on.

    ``days`` are as in `select_counts`, ``columns`` the compared ones; portfolios are rows of
    ``ids``.
    """
    catalog, start = source.catalog, days[0]
    holes = {**source.holes(selection, days), "first": start, "first_date": FIRST_DATE}
    read: list[str | Column] = [
        "s.portfolio_id, s.snapshot_date! day",
        Column("complete", Kind.BOOL, "({complete}) IS TRUE"),
        Column("written", Kind.INT8, "{written}"),
    ]
    for name in columns:
        if name in TEXTS:
            read.append(Column(name, Kind.TEXT, f"{{s.{name}}}::text"))
        else:  # counts are integers in the table; as numeric their NULLs are visible
            sql, scale = f"{{s.{name}}}::numeric", scale_of(catalog, name)
            read.append(Column(name, Kind.NUMERIC, sql, scale))
    template, frame = _STORED, partial(_stored, source.calendar, ids)
    if start is not None and earlier:
        template += EARLIER
        holes["earlier"] = part(catalog, source.rules.earlier, **holes)
    return select(catalog, "stored", frame, read, template, **holes)


def _stored(calendar: Calendar, ids: Bytes, **columns: Any) -> StoredRows:  # noqa: ANN401
    portfolio, columns = _by_portfolio(ids, columns, columns["day"])
    day, complete, written = (columns.pop(name) for name in ("day", "complete", "written"))
    on_session = calendar.is_session(day)
    return StoredRows(
        portfolio=portfolio,
        day=day,
        complete=complete & on_session,
        session=on_session,
        written=written,
        cells={name: column for name, column in columns.items() if name not in TEXTS},
        texts={name: column for name, column in columns.items() if name in TEXTS},
    )


def _by_portfolio(
    ids: Bytes, columns: dict[str, Any], *then: Int32
) -> tuple[Int32, dict[str, Any]]:
    """Return some portfolios' rows by portfolio and date: their numbers, and the columns."""
    portfolio = located(columns.pop("portfolio_id"), ids)
    order = np.lexsort((*then, portfolio))
    order = order[portfolio[order] >= 0]
    return portfolio[order], taken(columns, order)


class RunChunks(Frame):
    """Chunks that runs have committed, the earliest run first: portfolios and sessions."""

    first_portfolio: Ids
    last_portfolio: Ids
    first: Int32
    last: Int32
    began: Int64  # start of the run, microseconds since 1970
    replaced: Bools  # whether all its rows were rewritten

    def around(
        self, ids: Bytes, portfolio: Int32, first: Int32, last: Int32
    ) -> Iterator[tuple[int, Int64]]:
        """Yield chunks with the rows whose windows have sessions of them.

        Rows are sorted by portfolio, of sorted ``ids``: only those of a chunk are looked at.
        """
        if len(portfolio) == 0:
            return
        keys = [row.tobytes() for row in ids]
        near = (self.last >= first.min()) & (self.first <= last.max())
        for chunk in np.flatnonzero(near).tolist():
            low = bisect_left(keys, self.first_portfolio[chunk].tobytes())
            high = bisect_right(keys, self.last_portfolio[chunk].tobytes())
            if low < high:
                begin, end = np.searchsorted(portfolio, (low, high))
                inside = last[begin:end] >= self.first[chunk]
                inside &= first[begin:end] <= self.last[chunk]
                yield chunk, begin + np.flatnonzero(inside)


_RUN_CHUNKS: Final = """
SELECT c.first_portfolio, c.last_portfolio, c.first_session, c.last_session, {began},
    (r.asked->>'on_existing' = 'replace' AND r.asked->>'changed_since' IS NULL
        AND r.asked->>'start' IS NOT NULL
        AND NOT COALESCE((r.asked->>'repairs')::bool, false)
        AND NOT (r.asked->>'missing')::bool) IS TRUE
FROM {chunks} AS c JOIN {runs} AS r ON r.id = c.run_id
WHERE c.first_session IS NOT NULL ORDER BY r.created_at
"""


def select_run_chunks(catalog: Catalog) -> Query[RunChunks]:
    """Return the chunks that runs have committed, if there is a readable ledger.

    `replaced` marks those whose rows were all rewritten: a run that replaces writes every row of a
    portfolio since its first session, while rows of other runs have their own time stamps.
    """
    if not all("SELECT" in catalog.ledger.get(name, ()) for name in (RUNS, CHUNKS)):
        return Query("run_chunks", "", (), RunChunks.none)
    runs, chunks = (table_name(catalog.schema, name) for name in (RUNS, CHUNKS))
    began = _microseconds("r.created_at")
    sql = compose(_RUN_CHUNKS, runs=runs, chunks=chunks, began=began)
    columns = "first_portfolio uuid, last_portfolio uuid, first day, last day"
    return Query(
        "run_chunks", sql, result_columns(f"{columns}, began int8, replaced bool"), RunChunks
    )


class Fact(IntEnum):
    """The kind of a row of `select_facts`."""

    POSITION = 0
    EVENT = 1
    FLOW = 2
    PROFILE = 3
    BETA = 4


FACT_CAUSES: Final = {
    "flow_changed": Fact.FLOW,
    "event_added": Fact.EVENT,
    "position_changed": Fact.POSITION,
}
"""Cause of a difference -> the facts whose change is one, the first cause before the others."""


class Facts(Frame):
    """The inputs of the rows of a chunk, and when they were changed; sorted by portfolio."""

    kind: Int32  # of `Fact`
    portfolio: Int32  # row of the requested ids
    symbol: Int64  # row of `symbols`; only for positions and events
    symbols: tuple[str, ...]  # normalised (S2), ascending
    start: Int32  # first day of a position, that of the position of an event, day of a flow
    end: Int32  # first day no longer held, trade date of an event; `OPEN` without one
    private: Bools  # of positions that are not soft-deleted
    edited: Bools  # of positions and flows, whose former days are unknown
    changed: Int64  # microseconds since 1970; `UNKNOWN` without time stamps

    _shared: ClassVar = frozenset({"symbols"})


_FACTS: Final = {
    Fact.POSITION: """
        SELECT {kind}::int4, {p.portfolio_id}, {p.symbol}::text, {start}, {end},
            {private} AND {p.deleted_at} IS NULL, {edited}, {changed}
        FROM {p} WHERE {selection:{p.portfolio_id}} AND {p.symbol} IS NOT NULL""",
    Fact.EVENT: """
        SELECT {kind}::int4, {p.portfolio_id}, COALESCE({p.symbol}::text, ''), {begun},
            {e.trade_date}, {private}, false, {changed}
        FROM {e} JOIN {p} ON {p.id} = {e.position_id}
        WHERE {selection:{p.portfolio_id}} AND isfinite({e.trade_date}) AND {counts}""",
    Fact.FLOW: """
        SELECT {kind}::int4, {f.portfolio_id}, NULL, {f.change_date}, {f.change_date}, false,
            {edited}, {changed}
        FROM {f} WHERE isfinite({f.change_date}) AND {selection:{f.portfolio_id}}""",
    Fact.PROFILE: """
        SELECT {kind}::int4, {p.portfolio_id}, NULL, {start}, {end}, false, false,
            {changed}
        FROM {p} JOIN {c} ON {c.symbol:normalised} = {p.symbol:normalised}
        WHERE {selection:{p.portfolio_id}}""",
    Fact.BETA: """
        SELECT {kind}::int4, {p.portfolio_id}, NULL, NULL, NULL, false, false,
            max({changed})
        FROM {p} JOIN {b} ON {b.position_id} = {p.id} WHERE {selection:{p.portfolio_id}}
        GROUP BY {p.portfolio_id}""",
}
_TABLES: Final = {
    Fact.POSITION: ("positions", "p"),
    Fact.EVENT: (EVENTS, "e"),
    Fact.FLOW: (FLOWS, "f"),
    Fact.PROFILE: (PROFILES, "c", "last_updated"),
    Fact.BETA: (POSITION_BETAS, "b"),
}
"""The source of each fact: table, alias, and further time stamps."""

_DAY_OR_LAST: Final = "CASE WHEN {condition} THEN {day} ELSE {last:date} END"


def select_facts(
    source: StoredSource, selection: Selection, ids: Bytes, *, profiles: bool, betas: bool
) -> Query[Facts]:
    """Return when the facts behind a chunk's rows were last changed, including soft-deleted ones.

    There is a row for each position, event and flow, with `profiles` for each position with a
    profile, and with `betas` for each portfolio whose positions have betas.
    """
    catalog, rules = source.catalog, source.rules
    is_alive = part(catalog, "{p.deleted_at} IS NULL")
    is_dated, last = part(catalog, rules.is_dated), LAST_DATE
    entry = part(catalog, "{p.entry_date}")
    start = compose(_DAY_OR_LAST, condition=is_dated, day=entry, last=last)
    holes = {
        "selection": selection,
        "start": start,
        "begun": compose(_DAY_OR_LAST, condition=is_alive, day=start, last=last),
        "end": part(catalog, rules.end),
        "private": part(catalog, rules.private),
        "counts": is_alive if rules.of_alive else Sql("true"),
    }
    wanted, parts = {Fact.PROFILE: profiles, Fact.BETA: betas}, []
    for kind, template in _FACTS.items():
        if wanted.get(kind, catalog.has_table(_TABLES[kind][0])):
            table, alias, *_ = _TABLES[kind]
            holes |= {"kind": int(kind), "changed": _changed(catalog, *_TABLES[kind])}
            holes["edited"] = _edited(catalog, table, alias)
            parts.append(part(catalog, template, **holes))
    columns = "kind int4, portfolio_id uuid, symbol text, start day, end date, private bool"
    columns += ", edited bool"
    sql, made = joined(" UNION ALL ", parts), result_columns(f"{columns}, changed int8")
    return Query("facts", sql, made, partial(_facts, ids))


def _facts(ids: Bytes, **columns: Any) -> Facts:  # noqa: ANN401  # columns of several types
    portfolio, columns = _by_portfolio(ids, columns)
    code, symbols = _symbols(columns.pop("symbol"))
    end = _or_open(columns.pop("end"))
    return Facts(**columns, portfolio=portfolio, symbol=code, symbols=symbols, end=end)


def _or_open(end: Days) -> Int32:
    return np.where(end.state == State.VALUE, end.values, OPEN).astype(np.int32)


def _symbols(spelt: Text) -> tuple[Int64, tuple[str, ...]]:
    """Return the normalised symbols of a column (S2), ascending, and the index of each row's."""
    names = [normalised(name) for name in spelt.table()]
    symbols = sorted(set(names))
    place = {name: number for number, name in enumerate(symbols)}
    # A NULL gets the first index.
    code = np.array([*(place[name] for name in names), 0], dtype=np.int64)
    return code[np.where(spelt.state == State.NULL, len(names), spelt.codes)], tuple(symbols)


class ChangedCloses(Frame):
    """Changed closes, or splits by their ex-dates, sorted by symbol and day."""

    symbol: Int64  # row of the requested symbols
    day: Int32
    until: Int32  # day of its next close, or after a split; `OPEN` without one
    changed: Int64  # microseconds since 1970

    def of(self, names: Sequence[str], symbols: Sequence[str]) -> Self:
        """Return those of some ``symbols`` by their rows; so far they are by those of ``names``."""
        place = {name: row for row, name in enumerate(symbols)}
        own = np.array([place.get(name, -1) for name in names], dtype=np.int64)[self.symbol]
        order = np.lexsort((self.day, own))
        order = order[own[order] >= 0]
        return replace(self.take(order), symbol=own[order])


_CHANGED_SINCE: Final = """
SELECT c.* FROM (
    SELECT {read}, {day} AS day, {changed} AS changed FROM {t}
    WHERE {wanted} AND {day} BETWEEN {first:date} AND {last:date}) AS c
WHERE c.changed > '{since}'::int8 AND c.changed < '{unknown}'::int8
"""
_UNTIL: Final = """
SELECT c.symbol, c.day, c.changed, (SELECT min({m.date}) FROM {m}
    WHERE {m.symbol} = c.symbol AND {m.date} > c.day AND {m.date:dated} AND {m.close:valid})
FROM ({changes}) AS c
"""
_EX_DATE: Final = "CASE WHEN {edited} THEN {first:date} ELSE {t.ex_date} END"
_OF_SYMBOLS: Final = ("{t.symbol} AS symbol", "{t.symbol:normalised} = ANY({symbols:texts})")
_OF_PAIRS: Final = (
    "{t.base}::text AS base, {t.quote}::text AS quote",
    "{t.base} IS NOT NULL AND {t.quote} IS NOT NULL",
)


def select_changed_closes(
    catalog: Catalog, symbols: Sequence[str], since: int, last: int
) -> Query[ChangedCloses]:
    """Return the closes of normalised symbols up to a day that were changed since a moment."""
    changes = _changed_since(
        catalog, PRICES, "{t.date}", _OF_SYMBOLS, symbols=symbols, since=since, last=last
    )
    sql = part(catalog, _UNTIL, changes=changes)
    columns = result_columns("symbol text, day day, changed int8, until date")
    return Query("changed_prices", sql, columns, partial(_changed_closes, symbols))


def select_changed_splits(
    catalog: Catalog, symbols: Sequence[str], since: int
) -> Query[ChangedCloses]:
    """Return the splits of symbols changed since a moment; edited ones at `FIRST_DATE`."""
    holes = {"symbols": symbols, "since": since, "last": LAST_DATE}
    holes["edited"] = _edited(catalog, SPLITS, "t")
    sql = _changed_since(catalog, SPLITS, _EX_DATE, _OF_SYMBOLS, **holes)
    columns = result_columns("symbol text, day day, changed int8")
    return Query("changed_splits", sql, columns, partial(_changed_closes, symbols))


def _changed_closes(
    symbols: Sequence[str], symbol: Text, day: Int32, changed: Int64, until: Days | None = None
) -> ChangedCloses:
    code, names = _symbols(symbol)
    place = {name: number for number, name in enumerate(symbols)}
    own = np.array([place[name] for name in names], dtype=np.int64)[code]
    end = day + 1 if until is None else _or_open(until)
    order = np.lexsort((day, own))
    return ChangedCloses(own[order], day[order], end[order], changed[order])


class RateChanges(Frame):
    """When rates were added or changed; currencies are as stored."""

    base: Text
    quote: Text
    day: Int32
    changed: Int64  # microseconds since 1970


def select_rate_changes(catalog: Catalog, since: int, last: int) -> Query[RateChanges]:
    """Return the rates up to a day that were added or changed since a moment."""
    sql = _changed_since(catalog, RATES, "{t.date}", _OF_PAIRS, since=since, last=last)
    columns = result_columns("base text, quote text, day day, changed int8")
    return Query("rate_changes", sql, columns, RateChanges)


def _changed_since(
    catalog: Catalog, table: str, day: str, read_wanted: tuple[str, str], **holes: object
) -> Sql:
    """Return the SELECT of the rows of ``table`` with known time stamps after a moment."""
    changed = _changed(catalog, table, "t")
    holes = {"t": HostTable(catalog, table, "t"), "first": FIRST_DATE, **holes}
    read, wanted, day = (compose(one, **holes) for one in (*read_wanted, day))
    holes |= {"read": read, "wanted": wanted, "day": day, "changed": changed}
    return compose(_CHANGED_SINCE, unknown=UNKNOWN, **holes)


_BENCHMARK_SINCE: Final = """
SELECT COALESCE(min({changed}), '{unknown}'::int8) FROM {w} WHERE {w.benchmark_code} = {code:text}
"""


def select_benchmark_since(catalog: Catalog) -> Query[int]:
    """Return the moment since which there is a weight of SP500; `UNKNOWN` without one (L34)."""
    if not catalog.has_table(WEIGHTS):
        return Query("benchmark_since", "", (), lambda: UNKNOWN)
    changed = _changed(catalog, WEIGHTS, "w")
    sql = part(catalog, _BENCHMARK_SINCE, changed=changed, unknown=UNKNOWN, code=SP500)
    return Query("benchmark_since", sql, result_columns("since int8"), lambda since: int(since[0]))


class OwnEquities(Frame):
    """The expected `portfolios.equity_balance`."""

    day: Days  # of the snapshot that it comes from; NULL where there is none
    equity: Decimals
    latest: Decimals  # of the snapshot of the latest day
    elsewhere: Bools  # whether another snapshot has the equity that the column has


_LAST_RUN: Final = """
SELECT {o.id}, written.day, written.equity, latest.equity,
    EXISTS (SELECT {of_portfolio} AND {s.equity_balance} = {o.equity_balance})
FROM {o}
CROSS JOIN LATERAL (
    SELECT {s.snapshot_date}, {s.equity_balance} {of_portfolio}
    ORDER BY {written} DESC, {s.snapshot_date} DESC LIMIT 1) AS written(day, equity)
CROSS JOIN LATERAL (
    SELECT {s.equity_balance} {of_portfolio}
    ORDER BY {s.snapshot_date} DESC LIMIT 1) AS latest(equity)
WHERE {selection:{o.id}}
"""
_OF_PORTFOLIO: Final = """
FROM {s} WHERE {s.portfolio_id} = {o.id} AND {s.is_complete} AND isfinite({s.snapshot_date})
"""


def select_last_run(catalog: Catalog, selection: Selection, ids: Bytes) -> Query[OwnEquities]:
    """Return the equity of the complete snapshot of each portfolio that was written last (L7)."""
    of_portfolio = part(catalog, _OF_PORTFOLIO)
    written = _microseconds(part(catalog, "{s.created_at}"))
    holes = {"selection": selection, "of_portfolio": of_portfolio, "written": written}
    sql = part(catalog, _LAST_RUN, **holes)
    scale = scale_of(catalog, "equity_balance")
    equities = (Column(name, Kind.NUMERIC, scale=scale) for name in ("equity", "latest"))
    columns = (
        *result_columns("portfolio_id uuid, day date"),
        *equities,
        *result_columns("elsewhere bool"),
    )
    return Query("last_run", sql, columns, partial(_last_run, ids))


def _last_run(ids: Bytes, portfolio_id: Bytes, **columns: Any) -> OwnEquities:  # noqa: ANN401
    row = located(portfolio_id, ids)
    # Without a snapshot a row of NULLs is chosen, which sorts after all others.
    nothing = OwnEquities(
        Days.nulls(1), Decimals.nulls(1), Decimals.nulls(1), np.zeros(1, np.bool_)
    )
    at = np.full(len(ids), len(row), dtype=np.int64)
    at[row[row >= 0]] = np.flatnonzero(row >= 0)
    return OwnEquities.concat([OwnEquities(**columns), nothing]).take(at)


def uuid_at(ids: Bytes, row: int) -> uuid.UUID:
    """Return the id in a row of 16 bytes."""
    return uuid.UUID(bytes=ids[row].tobytes())
