"""Positions: their terms, when they are held, and their symbols."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any, Final

import numpy as np

from batchcore.frames import Frame, Positions, Text
from batchcore.pg.sql import Sql, compose
from batchcore.schema import Kind
from batchcore.sources.events_flows import END, end_days, ends
from batchcore.sources.host import Boundaries, Selection, part, select
from batchcore.sources.query import Column, Query, first_column, load
from batchcore.sources.rates import position_currency
from batchcore.units import State

if TYPE_CHECKING:
    from collections.abc import Iterable

    from batchcore.db.catalog import Catalog
    from batchcore.frames import Days, Ids, Int32
    from batchcore.pg.session import Session

SYMBOL_INDEX: Final = "idx_positions_symbol_active"

LEAST_STEPPED: Final = 20_000  # number of positions above which their symbols are stepped through

POSITIONS_OF_A_STEP: Final = 30
"""Positions read in the time of one step: 0.4 us each, where a step takes 10."""

SKIPS_SINCE: Final = (18,)
"""The version from which the server finds a symbol in the index without its first column.

Older servers read the index from its beginning for each step: 2 ms for 150,000 positions.
"""

_READ: Final = (
    "p.id, p.portfolio_id, p.symbol, p.position_type, p.quantity, p.entry_price,"
    " p.entry_date entry_day, p.exit_date exit_day, p.investment_class, p.market_value"
)


def select_positions(catalog: Catalog, selection: Selection) -> Query[Positions]:
    """Return the positions of portfolios that are not soft-deleted."""
    own = "p.exit_price, p.expiration_date expiration_day"
    read: tuple[str | Column, ...] = (_READ, own, *position_currency(catalog))
    template = (
        "SELECT {columns} FROM {p} WHERE {p.deleted_at} IS NULL AND {selection:{p.portfolio_id}}"
    )
    return select(catalog, "positions", Positions, read, template, selection=selection)


def select_all_positions(catalog: Catalog, selection: Selection) -> Query[Positions]:
    """Return the positions of portfolios, soft-deleted ones too."""
    deleted = Column("deleted", Kind.BOOL, "{p.deleted_at} IS NOT NULL")
    template = "SELECT {columns} FROM {p} WHERE {selection:{p.portfolio_id}}"
    read = (_READ, "p.last_price", deleted)
    return select(catalog, "positions", Positions, read, template, selection=selection)


_SYMBOLS: Final = """
SELECT DISTINCT {columns} FROM {p}
WHERE {p.deleted_at} IS NULL AND {p.symbol} IS NOT NULL AND {p.symbol} <> '' AND {owned}
"""


def select_symbols(catalog: Catalog, selection: Selection) -> Query[Text]:
    """Return the distinct symbols of positions, as spelt."""
    owned = selection.owned(catalog, part(catalog, "{p.portfolio_id}"))
    return select(catalog, "symbols", first_column, "p.symbol", _SYMBOLS, owned=owned)


def steps(catalog: Catalog, selection: Selection) -> int:
    """Return the number of symbols above which stepping is no better than reading; 0 is any.

    A step costs as much as reading some dozens of positions, if the index exists.
    """
    held = catalog.estimated_rows.get("positions", 0)
    if selection.ids is not None or SYMBOL_INDEX not in catalog.indexes:
        return 0
    return held // POSITIONS_OF_A_STEP if held >= LEAST_STEPPED else 0


# The order names the first column of the index too, or the planner would not use the index.
_STEPPED: Final = """
WITH RECURSIVE spelling(symbol) AS (
    (SELECT {p.symbol} FROM {p}
        WHERE {p.deleted_at} IS NULL AND {p.symbol} IS NOT NULL AND {p.symbol} <> '' AND {owned}
        ORDER BY {p.deleted_at}, {p.symbol} LIMIT 1)
    UNION ALL
    SELECT (SELECT {p.symbol} FROM {p}
        WHERE {p.deleted_at} IS NULL AND {p.symbol} IS NOT NULL AND {p.symbol} <> '' AND {owned}
            AND {p.symbol} > spelling.symbol
        ORDER BY {p.deleted_at}, {p.symbol} LIMIT 1)
    FROM spelling WHERE spelling.symbol IS NOT NULL)
SELECT {columns} FROM spelling WHERE spelling.symbol IS NOT NULL LIMIT {most}
"""


def select_stepped_symbols(catalog: Catalog, most: int) -> Query[Text]:
    """Return a limited number of symbols of all portfolios by stepping through the index."""
    owned = Selection().owned(catalog, part(catalog, "{p.portfolio_id}"))
    read = [Column("symbol", Kind.TEXT, "spelling.symbol::text")]
    holes = {"owned": owned, "most": most}
    return select(catalog, "symbols", first_column, read, _STEPPED, **holes)


async def load_symbols(session: Session, catalog: Catalog, selection: Selection) -> Text:
    """Return the distinct symbols of positions, as spelt.

    If there are few symbols for many positions, an index is stepped through instead of reading all
    of them; if there turn out to be more, a second statement reads them after all.
    """
    most = steps(catalog, selection) if session.server_version >= SKIPS_SINCE else 0
    if most:
        stepped = await load(session, select_stepped_symbols(catalog, most))
        if len(stepped) < most:
            return stepped
    return await load(session, select_symbols(catalog, selection))


_EARLIEST: Final = """
SELECT {columns} FROM {p}
WHERE {p.deleted_at} IS NULL AND {selection:{p.portfolio_id}} AND {p.entry_date:dated}
GROUP BY {p.portfolio_id}
"""


def select_earliest_entries(catalog: Catalog, selection: Selection) -> Query[Boundaries]:
    """Return the earliest entry date of each portfolio that has one."""
    day = Column("day", Kind.DATE, "min({p.entry_date})", bare=True)
    read = ("p.portfolio_id ids", day)
    return select(catalog, "earliest_entries", Boundaries, read, _EARLIEST, selection=selection)


class Held(Frame):
    """When public positions are held."""

    portfolio_id: Ids
    symbol: Text  # as stored
    start: Int32  # first day
    end: Int32  # first day no longer held; the largest int32 where a lot stays open
    last_event: Int32  # day of the last event that makes a lot; the smallest int32 without one


_HELD: Final = """
SELECT {columns} FROM {p}
LEFT JOIN ({last_events}) AS events(id, last) ON events.id = {p.id}
WHERE {p.deleted_at} IS NULL AND {owned}
    AND {p.symbol} = ANY({spellings:texts})
    AND {p.position_type}::text IN ('LC', 'LP', 'SC', 'SP', 'LONG', 'SHORT')
    AND {p.quantity:readable} AND {p.entry_price:readable} AND NOT ({p.entry_price:below_zero})
    AND isfinite({p.entry_date}) AND isfinite({p.exit_date}) IS NOT FALSE
    AND isfinite({expiry}) IS NOT FALSE
    AND ({p.exit_date} IS NULL OR ({p.exit_price:readable}) IS NOT FALSE)
    AND upper(btrim({p.investment_class}::text COLLATE "C", ' ')) IS DISTINCT FROM 'PRIVATE'
"""


def select_held(catalog: Catalog, selection: Selection, spellings: Iterable[str]) -> Query[Held]:
    """Return when the public positions in some symbols are held: from entry to the end (S3).

    The end of a position is that of its last lot; it is infinite where a lot stays open.
    """
    last_event = Column("last_event", Kind.DATE, "events.last")
    read = ("p.portfolio_id, p.symbol, p.entry_date start", Column("end", Kind.DATE, END))
    owned = part(catalog, "{selection:{p.portfolio_id}}", selection=selection)
    holes = {**ends(catalog), "owned": owned, "spellings": spellings}
    return select(catalog, "held", _held, (*read, last_event), _HELD, **holes)


class HeldSymbols(Frame):
    """When public positions in a symbol are held by any portfolio, as in `Held`."""

    symbol: Text
    start: Int32
    end: Int32


_HELD_SYMBOLS: Final = """
SELECT h.symbol, min(h.start), max(h.last)
FROM ({held}) AS h(symbol, start, last) WHERE h.last > h.start GROUP BY h.symbol
"""


def select_held_symbols(
    catalog: Catalog, selection: Selection, spellings: Iterable[str]
) -> Query[HeldSymbols]:
    """Return from when to when each of some symbols is held, as `select_held` has positions.

    A position without a lot, or whose lots end on its entry, is never held.
    """
    read = ("p.symbol, p.entry_date start", Column("end", Kind.DATE, END))
    owned = selection.owned(catalog, part(catalog, "{p.portfolio_id}"))
    holes = {**ends(catalog), "owned": owned, "spellings": spellings}
    held = select(catalog, "held_symbols", _held_symbols, read, _HELD, **holes)
    return replace(held, sql=compose(_HELD_SYMBOLS, held=Sql(held.sql)))


def _held_symbols(symbol: Text, start: Days, end: Days) -> HeldSymbols:
    return HeldSymbols(symbol, start.values, end_days(start.values, end))


def _held(start: Days, end: Days, last_event: Days, **columns: Any) -> Held:  # noqa: ANN401
    has_event = last_event.state == State.VALUE
    last = np.where(has_event, last_event.values, np.iinfo(np.int32).min).astype(np.int32)
    return Held(**columns, start=start.values, end=end_days(start.values, end), last_event=last)


_ENTRIES: Final = """
SELECT {columns} FROM {p}
WHERE {p.symbol:normalised} = {symbol:text} AND {p.deleted_at} IS NULL
    AND {p.position_type}::text IN ('LONG', 'SHORT')
    AND upper(btrim({p.investment_class}::text COLLATE "C", ' ')) IS DISTINCT FROM 'PRIVATE'
    AND {p.entry_date:dated} AND {p.entry_date} < {until:date} AND {p.entry_price:readable}
ORDER BY {p.entry_date}, {p.id} LIMIT {most}
"""

MOST_ENTRIES: Final = 1000  # maximum positions of a symbol that are read


def select_entries(catalog: Catalog, symbol: str, until: int) -> Query[object]:
    """Return id, entry date and entry price of the first public stocks in a normalised symbol."""
    read, holes = "p.id, p.entry_date, p.entry_price", {"symbol": symbol, "until": until}
    return select(catalog, "entries", dict, read, _ENTRIES, most=MOST_ENTRIES, **holes)
