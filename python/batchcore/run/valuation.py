"""The data that value lots: the only module that loads them, for runs and recomputation."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING

import numpy as np

from batchcore.frames import Issues, Text
from batchcore.native import Book, CancelFlag, Market, Rates, build_market, build_rates, in_thread
from batchcore.run.issues import ambiguous_prices
from batchcore.run.monitor import Monitor
from batchcore.sources.prices import load_splits
from batchcore.sources.query import load
from batchcore.sources.rates import (
    load_names,
    select_pairs,
    select_profile_currencies,
    select_rates,
    with_currencies,
)
from batchcore.units import State
from batchcore.values import currency, present

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from batchcore.config import Settings
    from batchcore.db.catalog import Catalog
    from batchcore.frames import Int32, Positions, Prices, RateRows
    from batchcore.pg.session import Session
    from batchcore.sources.host import Selection


class Valuation:
    """The data that value lots on some sessions: marks with splits, and rates, for all chunks.

    The first chunk that holds a currency loads its rates by one statement; hosts without mapped
    rates, and portfolios without foreign positions, cost none.
    """

    def __init__(
        self,
        catalog: Catalog,
        settings: Settings,
        sessions: Int32,
        *,
        monitor: Monitor | None = None,
        notice: Callable[[Issues], object] = lambda _: None,
        cancel: CancelFlag | None = None,
    ) -> None:
        """Take the sessions, a counter of rows, a receiver of issues, and the cancel flag."""
        self._catalog, self._settings, self._sessions = catalog, settings, sessions
        self._monitor, self._notice = monitor or Monitor(""), notice
        self._cancel = cancel or CancelFlag()
        self._lock = asyncio.Lock()
        self._own: set[str] = set()
        self._homes: set[str] = set()
        self._units: set[str] = set()
        self._noticed: set[str] = set()
        self._by_symbol: dict[str, str | None] | None = None
        self._rates: Rates | None = None
        self._stored: RateRows

    async def market(
        self, reader: Session, closes: Prices, symbols: Iterable[str] | None = None
    ) -> Market:
        """Return closes marked on the sessions (S4), with splits of ``symbols``, if any (C4)."""
        self._notice(ambiguous_prices(reader.ambiguous))
        splits = None if symbols is None else await load_splits(reader, self._catalog, symbols)
        if splits is not None:
            self._monitor.loaded(splits=len(splits))
        build = partial(
            build_market,
            closes,
            self._sessions,
            lookback_days=self._settings.lookback_days,
            splits=splits,
            cancel=self._cancel,
        )
        return await in_thread(build, self._cancel)

    async def convert(self, reader: Session, book: Book, homes: Text) -> Book:
        """Return a book with the currencies of its positions, and the rates that convert them."""
        # A position in a currency has no rate if its portfolio has no currency.
        mapped = self._catalog.schema.fx
        if mapped is None:
            return book
        async with self._lock:
            if mapped.currency_table != "positions":
                if self._by_symbol is None:
                    self._by_symbol = await load(reader, select_profile_currencies(self._catalog))
                positions = with_currencies(book.positions, self._by_symbol)
                book = replace(book, positions=positions)
            own, into = set(book.positions.currency.table()), set(homes.table())
            if (homes.state != State.VALUE).any():
                into.add("")
            if not _needs_rates(book.positions, own, into):
                return book
            if self._rates is None or not (own <= self._own and into <= self._homes):
                await self._add(reader, own, into)
            return replace(book, rates=self._rates)

    async def names_without_rate(
        self, reader: Session, selection: Selection, days: range
    ) -> set[str]:
        """Return the currencies, as named, of positions without a rate on entries or ``days``."""
        pairs = await load(reader, select_pairs(self._catalog, selection))
        names = await load_names(reader, self._catalog, pairs.own)
        async with self._lock:
            await self._add(reader, set(names.values()), set(pairs.home.table()))
        columns = zip(pairs.home.texts(), pairs.own.texts(), pairs.entry.tolist(), strict=True)
        entered = {(home, names[str(own)], entry) for home, own, entry in columns}
        rates, lacks = present(self._rates), set[str]()
        for home, own, entry in entered:
            known = rates.look_up(own, home, entry)
            if known is not None and not known[-1]:
                lacks.add(own)
        for home, own in {(home, own) for home, own, _ in entered if own not in lacks}:
            found = (rates.look_up(own, home, day) for day in days)
            if any(known is not None and not known[-1] for known in found):
                lacks.add(own)
        return {name for name, own in names.items() if own in lacks}

    async def _add(self, reader: Session, own: set[str], homes: set[str]) -> None:
        """Build the rates of further currencies, loading the rows that are still missing."""
        self._own |= own
        self._homes |= homes
        named = {currency(text) for text in (*self._own, *self._homes, self._settings.fx_pivot)}
        units = {one.unit for one in named if one is not None}
        if not units <= self._units:
            self._units = units
            last = int(self._sessions[-1]) if len(self._sessions) else 0
            self._stored = await load(reader, select_rates(self._catalog, units, last))
            self._monitor.loaded(rates=len(self._stored))
        self._rates = await asyncio.to_thread(
            build_rates,
            self._stored,
            Text.of(sorted(self._own)),
            Text.of(sorted(self._homes)),
            self._sessions,
            lookback_days=self._settings.fx_lookback_days,
            pivot=self._settings.fx_pivot,
        )
        issues = Issues.of_parts(self._rates.issues())
        details = [str(text) for text in issues.detail.texts()]
        new = np.array([text not in self._noticed for text in details], dtype=np.bool_)
        self._noticed |= set(details)
        if new.any():
            self._notice(issues.take(new))


def _needs_rates(positions: Positions, own: set[str], homes: set[str]) -> bool:
    """Return whether a position may be in a currency other than its portfolio's, or in none."""
    if (positions.currency.state == State.NOT_REPRESENTABLE).any():
        return True
    currencies = {currency(text) for text in own} - {None}
    return any(currencies - {currency(home)} for home in homes)
