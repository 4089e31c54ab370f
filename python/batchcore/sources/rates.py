"""Rates between currencies, and the currencies of positions and portfolios (C6)."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any, Final

import numpy as np

from batchcore.frames import Frame, RateRows, Text
from batchcore.pg.sql import Sql
from batchcore.schema import CURRENCY, RATES, Kind
from batchcore.sources.events_flows import END, end_days, ends
from batchcore.sources.host import Selection, part, select
from batchcore.sources.query import Column, Query, first_column, load, result_columns
from batchcore.units import State
from batchcore.values import currency, normalised

if TYPE_CHECKING:
    import datetime as dt
    from collections.abc import Iterable

    from batchcore.db.catalog import Catalog
    from batchcore.frames import Days, Ids, Int32, Positions
    from batchcore.pg.session import Session

_OF_UNITS: Final = """
upper(btrim({v.base}::text COLLATE "C", ' ')) = ANY({units:texts}::text[])
    AND upper(btrim({v.quote}::text COLLATE "C", ' ')) = ANY({units:texts}::text[])
"""
_RATES: Final = "SELECT {columns} FROM {v} WHERE {v.date} <= {last:date} AND {wanted}"


def select_rates(catalog: Catalog, units: Iterable[str] | None, last: int) -> Query[RateRows]:
    """Return the rates between some units of currency, or all, up to a day.

    The whole history is read, since an entry price is converted at the rate of its date: a few
    thousand rows for each pair.
    """
    wanted = Sql("true") if units is None else part(catalog, _OF_UNITS, units=sorted(units))
    pair = [Column(name, Kind.TEXT, f"{{v.{name}}}::text") for name in ("base", "quote")]
    read: tuple[str | Column, ...] = (*pair, "v.date day, v.rate")
    return select(catalog, "rates", RateRows, read, _RATES, last=last, wanted=wanted)


def position_currency(catalog: Catalog) -> tuple[Column, ...]:
    """Return the column with the currency of a position, where the host maps one of positions."""
    mapped = catalog.schema.fx
    if mapped is None or mapped.currency_table != "positions":
        return ()
    return (Column(CURRENCY.name, Kind.TEXT, "{p.currency}::text"),)


class Homes(Frame):
    """The currencies of portfolios, as stored."""

    id: Ids
    currency: Text


def select_homes(catalog: Catalog, selection: Selection) -> Query[Homes]:
    """Return the currencies of portfolios."""
    template = "SELECT {columns} FROM {o} WHERE {selection:{o.id}}"
    return select(catalog, "homes", Homes, "o.id, o.currency", template, selection=selection)


def several_currencies(homes: Text) -> tuple[str, ...]:
    """Return the currencies of portfolios by name; nothing unless there are several."""
    names = homes.table()
    used = np.bincount(homes.codes[homes.state == State.VALUE], minlength=len(names))
    spelt = [names[code].strip(" ") for code in np.flatnonzero(used).tolist()]
    found = {currency(text): text for text in sorted(spelt, reverse=True)}
    found.pop(None, None)
    return tuple(sorted(found.values())) if len(found) > 1 else ()


def select_profile_currencies(catalog: Catalog) -> Query[dict[str, str | None]]:
    """Return the currency that the profile of each symbol names, of the higher spelling (S2)."""
    read = [Column(name, Kind.TEXT, f"{{c.{name}}}::text") for name in ("symbol", CURRENCY.name)]
    template = "SELECT {columns} FROM {c} WHERE {c.symbol} IS NOT NULL"
    return select(catalog, "profile_currencies", _by_symbol, read, template)


def _by_symbol(symbol: Text, currency: Text) -> dict[str, str | None]:
    rows = zip(map(str, symbol.texts()), currency.texts(), strict=True)
    in_order = sorted(rows, key=lambda row: (row[0], row[1] or ""))
    return {normalised(spelt): own for spelt, own in in_order}


async def load_names(session: Session, catalog: Catalog, own: Text) -> dict[str, str]:
    """Return the currency for each text of positions: itself, or that of the symbol's profile."""
    if position_currency(catalog):
        return {name: name for name in own.table()}
    by_symbol = await load(session, select_profile_currencies(catalog))
    return {name: by_symbol.get(normalised(name)) or "" for name in own.table()}


def with_currencies(positions: Positions, by_symbol: dict[str, str | None]) -> Positions:
    """Return positions with the currencies of their symbols."""
    symbol = positions.symbol
    names = [by_symbol.get(normalised(name)) for name in symbol.table()]
    # a NULL symbol has none, and comes after the others
    code = np.where(symbol.state == State.NULL, len(names), symbol.codes)
    return replace(positions, currency=Text.of([*names, None]).take(code))


class Pairs(Frame):
    """The currencies of the positions of portfolios, each pair and date of entry once."""

    home: Text  # of the portfolios, as stored
    own: Text  # of the positions, as stored; the symbol where profiles name the currency
    entry: Int32


_PAIRS: Final = """
SELECT DISTINCT {o.currency}::text, {own}::text, {p.entry_date}
FROM {p} JOIN {o} ON {o.id} = {p.portfolio_id}
WHERE {p.deleted_at} IS NULL AND {p.entry_date:dated} AND {own} IS NOT NULL AND {alive}
"""

_HOLDERS: Final = """
SELECT DISTINCT {p.portfolio_id} FROM {p}
WHERE {p.deleted_at} IS NULL AND {own}::text = ANY({names:texts}) AND {owned}
"""


def _own(catalog: Catalog) -> Sql:
    """Return the column with the currency of position ``p``, or the symbol of its profile."""
    return part(catalog, "{p.currency}" if position_currency(catalog) else "{p.symbol}")


def select_pairs(catalog: Catalog, selection: Selection) -> Query[Pairs]:
    """Return the currencies of positions, each with that of its portfolio."""
    holes = {"own": _own(catalog), "alive": selection.alive(catalog)}
    columns = result_columns("home text, own text, entry day")
    return Query("pairs", part(catalog, _PAIRS, **holes), columns, Pairs)


def select_holders(catalog: Catalog, selection: Selection, names: Iterable[str]) -> Query[Ids]:
    """Return the portfolios with a position in a currency of this name; see `Pairs.own`."""
    owned = selection.owned(catalog, part(catalog, "{p.portfolio_id}"))
    holes = {"own": _own(catalog), "names": sorted(names), "owned": owned}
    sql = part(catalog, _HOLDERS, **holes)
    return Query("holders", sql, result_columns("portfolio_id uuid"), first_column)


class ForeignHeld(Frame):
    """When positions that name a currency are held."""

    portfolio_id: Ids
    home: Text  # of the portfolio, as stored
    own: Text  # of the position, or its symbol where profiles name the currency
    start: Int32  # first day
    end: Int32  # day on which its last lot ends; the largest int32 where one stays open


_HELD: Final = """
SELECT {p.portfolio_id}, {o.currency}::text, {own}::text, {p.entry_date}, {end}
FROM {p} JOIN {o} ON {o.id} = {p.portfolio_id}
LEFT JOIN ({last_events}) AS events(id, last) ON events.id = {p.id}
WHERE {p.deleted_at} IS NULL AND {p.entry_date:dated} AND {own} IS NOT NULL AND {owned}
"""


def select_foreign_held(catalog: Catalog, selection: Selection) -> Query[ForeignHeld]:
    """Return when positions are held, from entry to the end of the last lot, with currencies."""
    owned, of_end = selection.owned(catalog, part(catalog, "{p.portfolio_id}")), ends(catalog)
    holes = {"own": _own(catalog), "owned": owned, "end": part(catalog, END, **of_end), **of_end}
    columns = result_columns("portfolio_id uuid, home text, own text, start day, end date")
    return Query("foreign_held", part(catalog, _HELD, **holes), columns, _held)


def _held(start: Int32, end: Days, **columns: Any) -> ForeignHeld:  # noqa: ANN401
    return ForeignHeld(**columns, start=start, end=end_days(start, end))


class ChangedRates(Frame):
    """The first date of each pair with an added or changed rate; currencies are as stored."""

    base: Text
    quote: Text
    day: Int32


_CHANGED: Final = """
SELECT DISTINCT {v.base}::text, {v.quote}::text, {v.date} FROM {v}
WHERE {v.updated_at} >= {since:moment} AND {v.date:dated}
    AND {v.base} IS NOT NULL AND {v.quote} IS NOT NULL
"""


def select_changed_rates(catalog: Catalog, since: dt.datetime) -> Query[ChangedRates]:
    """Return pair and date of each added or changed rate, if the table has time stamps."""
    if catalog.find(RATES, "updated_at") is None:
        return Query("changed_rates", "", (), ChangedRates.none)
    columns = result_columns("base text, quote text, day day")
    return Query("changed_rates", part(catalog, _CHANGED, since=since), columns, ChangedRates)
