"""The closes of a run: those given, those of the window, and the rest by one statement."""

from __future__ import annotations

import asyncio
import logging
from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

import numpy as np

from batchcore.frames import Prices, among, day_keys, distinct
from batchcore.sources.prices import load_fallback, load_prices
from batchcore.units import State
from batchcore.values import normalised

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from batchcore.db.catalog import Catalog
    from batchcore.frames import Bools, Int64, Text
    from batchcore.pg.session import Session
    from batchcore.run.monitor import Monitor

log = logging.getLogger("batchcore")


class PriceSource(Protocol):
    """Closes loaded before the run, such as a `batchcore.PriceCache`."""

    def to_frame(self) -> Prices:
        """Return all closes."""

    def covers(self, symbol: str, first_day: int, last_day: int) -> bool:
        """Return whether all closes of a symbol, as spelt, were loaded."""


@dataclass(frozen=True, slots=True)
class PriceWindow:
    """Days of closes, both included.

    Closes before ``needed`` only show how old a close is, and how many there were; those after
    ``last``, up to ``until``, are loaded only for the checks (C1).
    """

    first: int
    needed: int
    last: int
    until: int | None = None

    @property
    def end(self) -> int:
        """The last day of which closes are loaded."""
        return self.last if self.until is None else self.until


async def load_closes(
    reader: Session,
    catalog: Catalog,
    spellings: Iterable[str],
    window: PriceWindow,
    *,
    source: PriceSource | None,
    monitor: Monitor,
) -> Prices:
    """Return every finite close of symbols in a window, and the last one before it.

    The first statement loads closes under the spelling of positions; a second one, the fallback,
    loads the rest: other spellings, and the last closes before the window of symbols without one up
    to the first day needed. A ``source`` replaces the first statement for symbols that it covers
    since the first day needed.
    """
    spelt = sorted(set(spellings))
    wanted = sorted({normalised(symbol) for symbol in spelt} - {""})
    days = window.first, window.end
    if source is None:
        brought, since = spelt, window.first
        first = await load_prices(reader, catalog, spelt, *days)
        monitor.loaded(prices=len(first))
    else:
        brought = [one for one in spelt if source.covers(one, window.needed, window.last)]
        since = window.needed
        given = source.to_frame()  # in the thread that owns the cache
        first = await asyncio.to_thread(_of_window, given, wanted, window)
        monitor.loaded(cached=len(first))
    settled = await asyncio.to_thread(priced_symbols, first, window.needed)
    rest = await load_fallback(
        reader, catalog, wanted, brought, days, since=since, settled=sorted(settled)
    )
    monitor.loaded(fallback=len(rest))
    others = rest if source is None else await asyncio.to_thread(_without, rest, first)
    found = await asyncio.to_thread(Prices.concat, [first, others]) if len(others) else first
    priced = await asyncio.to_thread(priced_symbols, found)
    log.info(
        "run=%s phase=load fallback_statements=1 symbols=%d rows=%d without_close=%d",
        monitor.run_id,
        len(wanted),
        len(rest),
        len(set(wanted) - priced),
    )
    return found


def rows_of(symbols: Text, rows: Mapping[str, int]) -> Int64:
    """Return the row of each normalised symbol; -1 for none."""
    found = [rows.get(normalised(name), -1) for name in symbols.table()]
    return np.array([*found, -1], dtype=np.int64)[symbols.codes]


def valid_rows(prices: Prices) -> Bools:
    """Return which rows are valid closes (S2)."""
    known = (prices.close.state == State.VALUE) & (prices.day.state == State.VALUE)
    valid: Bools = known & (prices.close.values > 0)
    return valid


def priced_symbols(prices: Prices, until: int | None = None) -> set[str]:
    """Return the normalised symbols with a valid close, up to a day if one is given."""
    names = prices.symbol.table()
    valid = valid_rows(prices)
    if until is not None:
        valid &= prices.day.values <= until
    codes = distinct(prices.symbol.codes[valid])
    return {normalised(names[code]) for code in codes.tolist()}


def _of_window(prices: Prices, wanted: list[str], window: PriceWindow) -> Prices:
    names = prices.symbol.table()
    among = set(wanted)
    ours = np.array([normalised(name) in among for name in names], dtype=np.bool_)
    kept = prices.day.state == State.VALUE
    kept &= (prices.day.values >= window.first) & (prices.day.values <= window.end)
    if len(names):
        kept &= ours[prices.symbol.codes]
    return prices.take(kept)


def _without(prices: Prices, others: Prices) -> Prices:
    """Return the closes whose symbol, as stored, and day are not among the others."""
    code = {name: row for row, name in enumerate(others.symbol.table())}
    moved = np.array([code.get(name, -1) for name in prices.symbol.table()], dtype=np.int64)
    mine = moved[prices.symbol.codes] if len(moved) else np.zeros(0, dtype=np.int64)
    there = day_keys(others.symbol.codes.astype(np.int64), others.day.values)
    return prices.take(~among(day_keys(mine, prices.day.values), there))
