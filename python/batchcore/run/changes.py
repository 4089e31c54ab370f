"""Which portfolios late corrections affect, and from which day on (S13)."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

import numpy as np

from batchcore.calendar import PRICES
from batchcore.frames import Days, day_keys, distinct
from batchcore.run.plan import Rewrites
from batchcore.sources.changes import (
    ChangedFacts,
    check_stamps,
    select_changed_facts,
    select_changed_prices,
    select_changed_session,
    select_changed_splits,
)
from batchcore.sources.host import normalised, sorted_ids
from batchcore.sources.positions import load_symbols, select_held
from batchcore.sources.query import load

if TYPE_CHECKING:
    import datetime as dt

    from batchcore.calendar import Calendar
    from batchcore.db.catalog import Catalog
    from batchcore.frames import Int64, Text
    from batchcore.pg.session import Session
    from batchcore.run.monitor import Monitor
    from batchcore.sources.changes import ChangedPrices
    from batchcore.sources.host import Selection
    from batchcore.sources.positions import Held


async def find_affected(  # noqa: PLR0917  # what changed, for some portfolios
    session: Session,
    catalog: Catalog,
    since: dt.datetime,
    calendar: Calendar,
    selection: Selection,
    start: int | None,
    monitor: Monitor,
) -> Rewrites:
    """Return which portfolios are affected by what changed, by at most six statements.

    A split that came or changed counts from its ex-date on, for all that hold the symbol (C5).

    No day before ``start`` is rewritten.

    Raises:
        SchemaError: a table that is there lacks a time stamp.
    """
    check_stamps(catalog)
    facts = await load(session, select_changed_facts(catalog, since, selection))
    prices = await load(session, select_changed_prices(catalog, since))
    monitor.loaded(changed_facts=len(facts.day), changed_prices=len(prices.day))
    everyone_from, found = None, [facts]
    if len(prices.day) and calendar.code == PRICES:
        everyone_from = await load(session, select_changed_session(catalog, since))
    if catalog.schema.splits is not None:
        splits = await load(session, select_changed_splits(catalog, since))
        monitor.loaded(changed_splits=len(splits.day))
        prices = prices.joined(splits)
    if len(prices.day):
        changed = {normalised(name) for name in prices.symbol.table()}
        symbols = await load_symbols(session, catalog, selection)
        spellings = sorted(name for name in symbols.table() if normalised(name) in changed)
        if spellings:
            held = await load(session, select_held(catalog, selection, spellings))
            monitor.loaded(held=len(held.start))
            found.append(await asyncio.to_thread(marked, prices, held))
    return await asyncio.to_thread(earliest, found, everyone_from, start)


def marked(prices: ChangedPrices, held: Held) -> ChangedFacts:
    """Return the portfolios that a changed close may mark a lot of, and the day of that close.

    A changed split stands for a close of its ex-date.

    The mark of a lot is a close between its start and its end, the end included, as it may be
    closed at the mark on it; no close before its start ever is (S4). So of each position the
    first changed close from its start on counts.
    """
    names = [normalised(name) for name in prices.symbol.table()]
    rows = {name: row for row, name in enumerate(dict.fromkeys(names))}
    keys = distinct(day_keys(_rows_of(prices.symbol, rows), prices.day))
    own = _rows_of(held.symbol, rows)
    at = np.searchsorted(keys, day_keys(own, held.start))
    found = at < len(keys)
    found[found] = keys[at[found]] >> 32 == own[found]
    day = np.zeros(len(own), dtype=np.int64)
    day[found] = (keys[at[found]] & 0xFFFF_FFFF) - 2**31
    found &= day <= held.end
    return ChangedFacts(held.portfolio_id[found], day[found].astype(np.int32))


def _rows_of(symbols: Text, rows: dict[str, int]) -> Int64:
    """Return the row of each symbol, -1 for none."""
    code = [rows.get(normalised(name), -1) for name in symbols.table()]
    return np.array([*code, -1], dtype=np.int64)[symbols.codes]


def earliest(
    found: list[ChangedFacts], everyone_from: int | None = None, start: int | None = None
) -> Rewrites:
    """Return each portfolio once, with its earliest day, none before ``start``."""
    every = np.concatenate([each.portfolio_id for each in found])
    order = sorted_ids(every)  # numpy.unique of rows keeps the interpreter's lock
    ids, day = every[order], np.concatenate([each.day for each in found])[order]
    if len(ids):
        begins = np.ones(len(ids), dtype=np.bool_)
        begins[1:] = (ids[1:] != ids[:-1]).any(axis=1)
        starts = np.flatnonzero(begins)
        ids, day = ids[starts], np.minimum.reduceat(day, starts)
    if everyone_from is not None:
        day = np.minimum(day, np.int32(everyone_from))
    if start is not None:
        day = np.maximum(day, np.int32(start))
        everyone_from = None if everyone_from is None else max(everyone_from, start)
    return Rewrites(np.ascontiguousarray(ids), Days(day.astype(np.int32)), everyone_from)
