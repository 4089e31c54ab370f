"""The portfolios that late corrections affect, and the first day affected (S13)."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Final

import numpy as np

from batchcore.calendar import FIRST_DATE, PRICES, day_of
from batchcore.db.check import check
from batchcore.frames import Days, day_keys, distinct
from batchcore.run.plan import Rewrites
from batchcore.run.prices import rows_of
from batchcore.schema import Use
from batchcore.sources.changes import (
    ChangedFacts,
    ChangedPrices,
    select_changed_facts,
    select_changed_prices,
    select_changed_session,
    select_changed_splits,
)
from batchcore.sources.host import Selection, sorted_ids
from batchcore.sources.positions import Held, load_symbols, select_held
from batchcore.sources.query import load
from batchcore.sources.rates import (
    ChangedRates,
    ForeignHeld,
    load_names,
    select_changed_rates,
    select_foreign_held,
)
from batchcore.splits import restates, restates_earlier
from batchcore.values import currency, normalised

if TYPE_CHECKING:
    import datetime as dt
    from collections.abc import Mapping

    from batchcore.config import Settings, Splits
    from batchcore.frames import Int32, Int64, Text
    from batchcore.pg.session import Session
    from batchcore.policies.policy import Policy

_NEVER: Final = np.iinfo(np.int64).max
"""After every day."""


async def find_affected(session: Session, policy: Policy, since: dt.datetime) -> Rewrites:
    """Return the portfolios of a run that changes affect, by at most nine statements.

    No day before the start of the request is rewritten.

    Raises:
        SchemaError: a table that is there lacks a time stamp.
    """
    catalog, monitor, request = policy.catalog, policy.monitor, policy.request
    selection = Selection(request.wanted)
    check(catalog, Use.CHANGES, writes=False)
    facts = await load(session, select_changed_facts(catalog, since, selection))
    prices = await load(session, select_changed_prices(catalog, since))
    monitor.loaded(changed_facts=len(facts.day), changed_prices=len(prices.day))
    everyone_from, found = None, [facts]
    if len(prices.day) and policy.calendar.code == PRICES:
        everyone_from = await load(session, select_changed_session(catalog, since))
    mapped, splits = catalog.schema.splits, None
    if mapped is not None and restates(mapped):
        splits = await load(session, select_changed_splits(catalog, since))
        monitor.loaded(changed_splits=len(splits.day))
    changed = {normalised(name) for name in prices.symbol.table()}
    if splits is not None:
        changed |= {normalised(name) for name in splits.symbol.table()}
    if changed:
        symbols = await load_symbols(session, catalog, selection)
        spellings = sorted(name for name in symbols.table() if normalised(name) in changed)
        if spellings:
            held = await load(session, select_held(catalog, selection, spellings))
            monitor.loaded(held=len(held.start))
            found.append(await asyncio.to_thread(affected_by_closes, prices, held))
            if mapped is not None and splits is not None:
                found.append(await asyncio.to_thread(affected_by_splits, splits, held, mapped))
    if catalog.schema.fx is not None:
        rates = await load(session, select_changed_rates(catalog, since))
        monitor.loaded(changed_rates=len(rates.day))
        if len(rates.day):
            foreign = await load(session, select_foreign_held(catalog, selection))
            monitor.loaded(foreign_held=len(foreign.start))
            names = await load_names(session, catalog, foreign.own)
            found.append(
                await asyncio.to_thread(affected_by_rates, rates, foreign, names, policy.settings)
            )
    start = None if request.start is None else day_of(request.start)
    return await asyncio.to_thread(earliest, found, everyone_from, start)


def affected_by_rates(
    rates: ChangedRates, held: ForeignHeld, names: Mapping[str, str], settings: Settings
) -> ChangedFacts:
    """Return the portfolios with a lot that a changed rate may convert, and the first day."""
    # A rate applies from its day to the end of the lookback. For each position, the first changed
    # rate since its start less the lookback matters, but on no day before its start.
    days = _days_by_units(rates)
    pivot = unit(settings.fx_pivot)
    of_home = [unit(text) for text in held.home.table()]
    of_own = [unit(names[text]) for text in held.own.table()]
    first = np.full(len(held), _NEVER)
    for at, home in enumerate(of_home):
        for number, own in enumerate(of_own):
            found = [days[leg] for leg in legs(own, home, pivot) if leg in days]
            changed = distinct(np.concatenate([np.zeros(0, np.int32), *found]))
            rows = np.flatnonzero((held.home.codes == at) & (held.own.codes == number))
            if own == home or len(changed) == 0 or len(rows) == 0:
                continue
            start = held.start[rows].astype(np.int64)
            place = np.searchsorted(changed, start - settings.fx_lookback_days)
            some = place < len(changed)
            rows, place = rows[some], place[some]
            first[rows] = np.maximum(changed[place], start[some])
    counts = first <= held.end
    return ChangedFacts(held.portfolio_id[counts], first[counts].astype(np.int32))


def unit(text: str) -> str:
    """Return the unit of the currency that a text names; None if it is blank (C6)."""
    found = currency(text)
    return "" if found is None else found.unit


def legs(own: str, home: str, pivot: str) -> tuple[frozenset[str], ...]:
    """Return the pairs of units whose rates may convert one unit into another (C6)."""
    return frozenset((own, home)), frozenset((own, pivot)), frozenset((pivot, home))


def _days_by_units(rates: ChangedRates) -> dict[frozenset[str], Int32]:
    """Return the days on which a rate between two units changed."""
    base, quote = ([unit(text) for text in one.table()] for one in (rates.base, rates.quote))
    found: dict[frozenset[str], Int32] = {}
    for at, one in enumerate(base):
        for number, other in enumerate(quote):
            own = rates.day[(rates.base.codes == at) & (rates.quote.codes == number)]
            pair = frozenset((one, other))
            found[pair] = np.concatenate([found.get(pair, own[:0]), own])
    return found


def affected_by_closes(prices: ChangedPrices, held: Held) -> ChangedFacts:
    """Return the portfolios with a lot that a changed close may mark, and the day of that close.

    The mark of a lot is a close between its start and its end, the end included, as it may be
    closed at the mark on it; no close before its start ever is (S4). So for each position the first
    changed close since its start matters.
    """
    day = _first_changed(prices, held.symbol, held.start)
    found = day <= held.end
    return ChangedFacts(held.portfolio_id[found], day[found].astype(np.int32))


def affected_by_splits(splits: ChangedPrices, held: Held, mapped: Splits) -> ChangedFacts:
    """Return the portfolios with a lot that a changed split may restate, and the first day (C5).

    A split affects positions entered before its ex-date: from that date, as long as they are held,
    or from their entry where it restates earlier days. A split that was edited affects all
    positions in the symbol from their entry, as its ex-date may have been different.
    """
    day = _first_changed(splits, held.symbol, held.start + 1)
    whole = _first_changed(splits, held.symbol, np.full_like(held.start, FIRST_DATE)) == FIRST_DATE
    whole |= day < _NEVER if restates_earlier(mapped) else day <= held.last_event
    found = whole | (day <= held.end)
    first = np.where(whole, held.start, day)[found].astype(np.int32)
    return ChangedFacts(held.portfolio_id[found], first)


def _first_changed(changed: ChangedPrices, symbol: Text, since: Int32) -> Int64:
    """Return the first changed day of each symbol on or after a day; `_NEVER` without one."""
    names = [normalised(name) for name in changed.symbol.table()]
    rows = {name: row for row, name in enumerate(dict.fromkeys(names))}
    keys = distinct(day_keys(rows_of(changed.symbol, rows), changed.day))
    own = rows_of(symbol, rows)
    at = np.searchsorted(keys, day_keys(own, since))
    found = at < len(keys)
    found[found] = keys[at[found]] >> 32 == own[found]
    day = np.full(len(own), _NEVER)
    day[found] = (keys[at[found]] & 0xFFFF_FFFF) - 2**31
    return day


def earliest(
    found: list[ChangedFacts], everyone_from: int | None = None, start: int | None = None
) -> Rewrites:
    """Return each portfolio once, with its earliest day, none before ``start``."""
    every = np.concatenate([each.portfolio_id for each in found])
    order = sorted_ids(every)  # numpy.unique of rows does not release the interpreter's lock
    ids, day = every[order], np.concatenate([each.day for each in found])[order]
    if len(ids):
        starts = np.flatnonzero(np.r_[True, (ids[1:] != ids[:-1]).any(axis=1)])
        ids, day = ids[starts], np.minimum.reduceat(day, starts)
    if everyone_from is not None:
        day = np.minimum(day, np.int32(everyone_from))
    if start is not None:
        day = np.maximum(day, np.int32(start))
        everyone_from = None if everyone_from is None else max(everyone_from, start)
    return Rewrites(np.ascontiguousarray(ids), Days(day.astype(np.int32)), everyone_from)
