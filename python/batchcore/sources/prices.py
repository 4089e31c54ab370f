"""Closes of a window and the last ones before it, the choice among several rows (S2); splits."""

from __future__ import annotations

import asyncio
from functools import partial
from typing import TYPE_CHECKING, Any, Final

import numpy as np

from batchcore import calendar as calendars
from batchcore.frames import Ambiguous, Prices, SplitRows, day_keys, first_of_each
from batchcore.pg.sql import Sql, compose, joined
from batchcore.schema import SPLITS, WHOLE, Kind
from batchcore.sources.host import HostTable, part, select, tables
from batchcore.sources.query import Column, Query, first_column, load
from batchcore.units import State
from batchcore.values import decimal_of, normalised, underlying, upper
from batchcore.words import counted, short

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    import numpy.typing as npt

    from batchcore.calendar import Calendar
    from batchcore.config import Splits
    from batchcore.db.catalog import Catalog
    from batchcore.frames import Int32, Int64
    from batchcore.pg.session import Session
    from batchcore.spans import Window

PRICES: Final = "market_data_cache"


_RANK: Final = "array_position({sources:texts}::text[], {m.data_source}::text)"
_DECLARED: Final = "AND {m.data_source}::text = ANY({sources:texts}::text[])"

# Among rows without a valid close on a date, any may be chosen. Doubles are compared as rounded,
# within 15 digits.
_COUNTS: Final = """
{declared} AND NOT EXISTS (
    SELECT FROM {x} WHERE {x.symbol} = {m.symbol} AND {x.date} = {m.date} AND {x.close:valid}
        {declared_other} AND (({m.close:valid}) IS NOT TRUE OR {differs}))
"""


async def _load(
    session: Session,
    catalog: Catalog,
    name: str,
    template: str,
    holes: Mapping[str, object],
    *,
    symbol: str | Column = "m.symbol",
) -> Prices:
    """Return the closes of a query, one of each symbol and date; the session notes others (S2)."""
    read, has_sources = [symbol, "m.date day, m.close"], bool(catalog.schema.price_sources)
    if has_sources:
        read.append(Column("rank", Kind.INT4, _RANK))
    newest, ranked = HostTable(catalog, PRICES, "newest"), Sql(", 0" if has_sources else "")
    holes = {**_parts(catalog), "newest": newest, "ranked": ranked, **holes}
    query = select(catalog, name, dict[str, Any], read, template, **holes)
    columns = await load(session, query)
    rank = columns.pop("rank", None)
    prices = Prices(**columns)
    if catalog.one_price and not has_sources:
        return prices
    prices, ambiguous = await asyncio.to_thread(one_close, prices, rank)
    session.ambiguous += ambiguous
    return prices


def _parts(catalog: Catalog) -> dict[str, object]:
    """Return the parts of statements that choose rows, if sources are declared or rows may differ.

    ``declared`` is the condition that the source of a row is declared, ``counts`` that it is the
    row of its symbol and date, ``newest_first`` the order of the rows of a symbol.
    """
    sources = catalog.schema.price_sources
    x = HostTable(catalog, PRICES, "x")
    rank, declared, rank_other, declared_other = (
        part(catalog, template, sources=sources, m=m) if sources else Sql()
        for m in (tables(catalog)["m"], x)
        for template in (_RANK, _DECLARED)
    )
    newest_first, counts = [part(catalog, "{m.date} DESC")], declared
    if not catalog.one_price:
        newest_first += filter(None, (rank, part(catalog, "{m.close}")))
        differs = part(catalog, "{x.close:rounded} <> {m.close:rounded}", x=x)
        if sources:
            template = "{other} < {own} OR {other} = {own} AND {differs}"
            differs = compose(template, own=rank, other=rank_other, differs=differs)
        holes = {"declared": declared, "declared_other": declared_other, "differs": differs}
        counts = part(catalog, _COUNTS, x=x, **holes)
    in_order = joined(", ", newest_first)
    return {"sources": sources, "declared": declared, "counts": counts, "newest_first": in_order}


_PRICES: Final = """
SELECT {columns} FROM {m}
WHERE {m.symbol} = ANY({spellings:texts})
    AND {m.date} BETWEEN {first:date} AND {last:date} AND {m.close:finite} {declared}
"""


async def load_prices(
    session: Session, catalog: Catalog, spellings: Sequence[str], first: int, last: int
) -> Prices:
    """Return every finite close of symbols, as spelt, in a window."""
    holes = {"spellings": spellings, "first": first, "last": last}
    return await _load(session, catalog, "prices", _PRICES, holes)


_OF_WINDOWS: Final = """
SELECT {columns} FROM {m} WHERE ({wanted}) AND {m.close:finite} {declared}
"""
_OF_WINDOW: Final = """
{m.symbol} = ANY({symbols:texts}) AND {m.date} BETWEEN {first:date} AND {last:date}
"""


async def load_windows(session: Session, catalog: Catalog, windows: Sequence[Window]) -> Prices:
    """Return every finite close in the windows, at least one, of symbols exactly as spelt."""
    wanted = [
        part(catalog, _OF_WINDOW, symbols=one.symbols, first=one.first, last=one.last)
        for one in windows
    ]
    holes = {"wanted": joined(" OR ", wanted)}
    symbol = Column("symbol", Kind.TEXT, "{m.symbol}::text")  # it may be of another type
    return await _load(session, catalog, "closes", _OF_WINDOWS, holes, symbol=symbol)


_STEPPED: Final = """
WITH RECURSIVE spelling(symbol) AS (
    (SELECT min({m.symbol}) FROM {m})
    UNION ALL
    SELECT (SELECT min({m.symbol}) FROM {m} WHERE {m.symbol} > spelling.symbol)
    FROM spelling WHERE spelling.symbol IS NOT NULL)
"""
# GROUP BY, since a foreign table is sent that, but not DISTINCT.
_READ: Final = "WITH spelling(symbol) AS (SELECT {m.symbol} FROM {m} GROUP BY {m.symbol})"


def _stored(catalog: Catalog) -> Sql:
    """Return the common table ``spelling``: the symbols of closes, perhaps with a NULL.

    One probe of an index for each, as years of closes take seconds to read. A table whose key
    begins with the date would be read once for each symbol, one of many partitions is probed in
    each: these are read once.
    """
    steps = catalog.steps_through("market_data_cache", "symbol")
    return part(catalog, _STEPPED if steps else _READ)


# IS NOT TRUE, since PostgreSQL 14 searches the whole list for each symbol after NOT.
_LEFT_OUT: Final = """
{wanted}
SELECT wanted.symbol, earlier.day, earlier.close{ranked}
FROM wanted CROSS JOIN LATERAL (
    (SELECT {m.date}, {m.close} FROM {m}
        WHERE {m.symbol} = wanted.symbol AND {m.date} < {first:date} AND {m.close:valid} {counts}
        ORDER BY {m.date} DESC LIMIT 1)
    UNION ALL
    SELECT * FROM (
        SELECT {m.date}, {m.close} FROM {m}
        WHERE {m.symbol} = wanted.symbol AND {m.date} < {first:date} AND {m.close:finite} {counts}
        ORDER BY {newest_first} LIMIT 1) AS newest
    WHERE NOT ({newest.close:above_zero})) AS earlier(day, close)
WHERE NOT wanted.settled
UNION ALL
SELECT {columns} FROM {m}
WHERE {m.symbol} = ANY(ARRAY(
        SELECT wanted.symbol FROM wanted
        WHERE (wanted.symbol = ANY({brought:texts})) IS NOT TRUE))
    AND {m.date} BETWEEN {first:date} AND {last:date} AND {m.close:finite} {declared}
"""
_BEFORE: Final = """
UNION ALL
SELECT {columns} FROM {m}
WHERE {m.symbol} = ANY({brought:texts})
    AND {m.date} BETWEEN {first:date} AND {before:date} AND {m.close:finite} {declared}
"""
_WANTED: Final = """
{stored}, wanted(symbol, settled) AS (
    SELECT one.symbol, one.normalised = ANY({settled:texts})
    FROM (SELECT symbol, upper(btrim(symbol COLLATE "C", ' ')) AS normalised FROM spelling) AS one
    WHERE one.normalised = ANY({symbols:texts}))
"""


async def load_fallback(
    session: Session,
    catalog: Catalog,
    wanted: Iterable[str],
    brought: Iterable[str],
    days: tuple[int, int],
    *,
    since: int | None = None,
    settled: Iterable[str] = (),
) -> Prices:
    """Return the closes that those of a window lack, by one statement.

    For each spelling of a symbol ``wanted``, normalised, that is not ``settled``: the last valid
    close before the window, and the last finite one where it is newer; and the closes in the window
    of spellings that were not ``brought``, before ``since`` also of those that were.
    """
    (first, last), since = days, since or days[0]
    found = compose(_WANTED, stored=_stored(catalog), symbols=wanted, settled=settled)
    template = _LEFT_OUT + _BEFORE if since > first else _LEFT_OUT
    holes = {"wanted": found, "brought": tuple(brought), "first": first, "last": last}
    return await _load(session, catalog, "fallback", template, {**holes, "before": since - 1})


_LAST: Final = """
SELECT wanted.symbol, earlier.day, earlier.close{ranked}
FROM unnest({symbols:texts}::text[]) AS wanted(symbol)
CROSS JOIN LATERAL (
    SELECT {m.date}, {m.close} FROM {m}
    WHERE {m.symbol} = wanted.symbol AND {m.date} < {before:date} AND isfinite({m.date})
        AND {m.close:readable} {counts}
    ORDER BY {newest_first} LIMIT 1) AS earlier(day, close)
"""


async def load_legacy_closes(
    session: Session, catalog: Catalog, symbols: Iterable[str], first: int, last: int
) -> Prices:
    """Return every finite close of symbols in a window, and the last one before it (L10 to L26).

    Symbols are as spelt on positions; closes are found under that spelling and in upper case.
    """
    spelt = set(symbols)
    uppers = sorted({upper(symbol) for symbol in spelt})
    within = await load_prices(session, catalog, sorted({*spelt, *uppers}), first, last)
    holes = {"symbols": uppers, "before": first}
    before = await _load(session, catalog, "last_closes", _LAST, holes)
    return Prices.concat([within, before])


_DATES: Final = (
    "SELECT DISTINCT {columns} FROM {m} WHERE {m.close:valid} {counts} AND {m.date:dated}"
)


def select_price_dates(catalog: Catalog) -> Query[Int32]:
    """Return the dates with a valid close of any symbol, in any order (S1, S12)."""
    parts = _parts(catalog)
    return select(catalog, "price_dates", first_column, "m.date! day", _DATES, **parts)


async def load_calendar(session: Session, catalog: Catalog, code: str) -> Calendar:
    """Return the calendar of a code; `prices` has the dates with a valid close (S1)."""
    if code != calendars.PRICES:
        return await asyncio.to_thread(calendars.load, code)
    dates = await load(session, select_price_dates(catalog))
    return await asyncio.to_thread(calendars.from_price_dates, dates)


def one_close(prices: Prices, rank: Int64 | None) -> tuple[Prices, list[Ambiguous]]:
    """Return at most one row of each symbol and day, and the symbols whose rows differ (S2).

    ``rank`` is the (n,) order of the sources of the rows; None if no sources are declared.
    """
    codes, days = prices.symbol.codes, prices.day.values
    rows = np.flatnonzero((prices.symbol.state | prices.day.state) == State.VALUE)
    key = day_keys(codes[rows].astype(np.int64), days[rows])
    order = np.argsort(key, kind="stable")
    key, rows = key[order], rows[order]
    is_first = np.ones(len(rows), dtype=np.bool_)
    is_first[1:] = key[1:] != key[:-1]
    if is_first.all():
        return prices if len(rows) == len(prices) else prices.take(np.sort(rows)), []
    starts, group = np.flatnonzero(is_first), np.cumsum(is_first) - 1
    value, state = prices.close.values[rows], prices.close.state[rows]
    unreadable = np.where(state == State.NOT_REPRESENTABLE, 2, 3)
    place = np.where(state == State.VALUE, value <= 0, unreadable)
    sources = 1
    if rank is not None:
        sources += int(rank.max())
        place = place * sources + rank[rows]
    best = np.minimum.reduceat(place, starts)
    counts = place == best[group]
    ends = np.iinfo(np.int64)
    low = np.minimum.reduceat(np.where(counts, value, ends.max), starts)
    high = np.maximum.reduceat(np.where(counts, value, ends.min), starts)
    differs = (best < sources) & (low != high)  # of valid closes
    counts &= (value == low[group]) & ~differs[group]
    kept = np.zeros(len(prices), dtype=np.bool_)
    kept[np.minimum.reduceat(np.where(counts, rows, len(prices) - 1), starts)[~differs]] = True
    first = rows[starts[differs]]
    found = _ambiguous(prices, first, low[differs], high[differs])
    return prices.take(kept), found


def _ambiguous(
    prices: Prices, rows: npt.NDArray[np.intp], low: Int64, high: Int64
) -> list[Ambiguous]:
    """Return one row of each symbol; rows are ordered by symbol and day."""
    firsts, counts = first_of_each(prices.symbol.codes[rows])
    first = prices.take(rows[firsts])
    columns = (first.day.values, counts, low[firsts], high[firsts])
    found = zip(first.symbol.texts(), *(column.tolist() for column in columns), strict=True)

    def text(close: int) -> str:
        return short(decimal_of(close, prices.close.scale))

    return [
        Ambiguous(
            str(symbol),
            day,
            f"{counted(count, 'date')}; {text(least)} and {text(most)} on the first",
        )
        for symbol, day, count, least, most in found
    ]


_SPLITS: Final = "SELECT {columns} FROM {r} WHERE {r.symbol:normalised} = ANY({symbols:texts})"


def select_splits(catalog: Catalog, mapped: Splits, symbols: Iterable[str]) -> Query[SplitRows]:
    """Return all splits of symbols and of the underlyings of options, in any spelling.

    Future ones are included: a current quantity has been restated for them (C4).
    """
    read = [
        Column("symbol", Kind.TEXT, "{r.symbol}::text"),
        "r.ex_date day",
        *(_shares(catalog, name) for name in ("new", "old")),
    ]
    frame = partial(SplitRows, price_basis=mapped.price_basis, quantity_basis=mapped.quantity_basis)
    names = {normalised(symbol) for symbol in symbols}
    wanted = sorted({*names, *filter(None, map(underlying, names))} - {""})
    return select(catalog, SPLITS, frame, read, _SPLITS, symbols=wanted)


def _shares(catalog: Catalog, name: str) -> str | Column:
    """Return a column of shares, which may be of an integer type."""
    if catalog.column(SPLITS, name).kind not in WHOLE:
        return f"r.{name}"
    column = getattr(HostTable(catalog, SPLITS, "r"), name)
    return Column(name, Kind.NUMERIC, Sql(f"{column}::numeric"), always_fits=True)


async def load_splits(
    session: Session, catalog: Catalog, symbols: Iterable[str]
) -> SplitRows | None:
    """Return the splits of symbols; None on a host that maps no table of them (C3)."""
    mapped = catalog.schema.splits
    return None if mapped is None else await load(session, select_splits(catalog, mapped, symbols))
