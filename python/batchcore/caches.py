"""Prices, company profiles and latest snapshots, loaded in bulk and looked up one by one.

Each cache works without the others: an orchestrator can use one instead of a query. Loaded rows are
kept in a native store; a load costs one statement, plus one check of the catalog for each database,
and a look-up costs none. One task owns a cache: while a thread is in a method, an awaited load
included, any method called in another thread raises `ConcurrentUseError`.

Every method raises `ConfigError` for an argument of a wrong kind. A load raises `SchemaError` where
its table does not exist or batchcore cannot read it, and `DatabaseError` where the database
refused, failed or went away.
"""

from __future__ import annotations

import asyncio
import datetime as dt
import functools
import logging
import sys
import uuid
from collections import defaultdict
from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, fields, is_dataclass
from decimal import Decimal
from typing import TYPE_CHECKING, Any, Final, NamedTuple, TypedDict, TypeVar

import numpy as np

from batchcore import _core, calendar
from batchcore.arguments import (
    MOST_MANTISSA,
    DayOf,
    checked_day,
    checked_id,
    checked_lookback,
    checked_price,
    checked_symbols,
    checked_values,
)
from batchcore.arrow import EXACT
from batchcore.calendar import FIRST_DATE, date_of
from batchcore.config import Schema  # noqa: TC001  # callers may look at types
from batchcore.errors import ConfigError, NumericError
from batchcore.frames import Days, Decimals, Previous, Prices, Profiles, Text
from batchcore.late_imports import db_of, imported
from batchcore.schema import Use
from batchcore.sources.prices import load_windows
from batchcore.sources.profiles import select_company_profiles
from batchcore.sources.query import load
from batchcore.sources.snapshots import PREVIOUS, select_latest_snapshots
from batchcore.spans import Span, Spans, Window, gaps, widened
from batchcore.units import State

if TYPE_CHECKING:
    import numpy.typing as npt

    from batchcore.db.catalog import Catalog
    from batchcore.pg.session import Session

_core.load_needed()

log = logging.getLogger("batchcore")

MOST_WINDOWS: Final = 16
"""Maximum windows of a statement; beyond that, one window spans them all."""

_DECIMAL_BYTES: Final = 104
_CENT: Final = Decimal("0.01")

_Found = TypeVar("_Found")
_Rows = TypeVar("_Rows", Prices, Profiles, Previous)


class Closes(NamedTuple):
    """Prices of symbols on one date, in the order requested.

    Attributes:
        values: (n,) int64 mantissas: the price is ``values * 10**-scale`` where ``state`` is 0.
        state: (n,) uint8 of `units.State`: NULL without a price, NOT_REPRESENTABLE where it does
            not fit 64 bits in ``scale``.
        scale: Decimals of the column, or more if a price was `set` with more.
    """

    values: npt.NDArray[np.int64]
    state: npt.NDArray[np.uint8]
    scale: int


@dataclass(frozen=True, slots=True)
class CompanyProfile:
    """A row of `company_profiles`, as stored.

    Attributes:
        symbol: As requested.
        name: Name of the company or fund; None where it is NULL, like all but ``is_etf``.
        beta: Beta on the market, from the provider; also None where it is not finite.
        sector: As stored.
        industry: As stored.
        country: As stored.
        market_cap: Dollars; also None where it is not finite.
        is_etf: Whether it is an exchange-traded fund; NULL is False.
    """

    symbol: str
    name: str | None
    beta: Decimal | None
    sector: str | None
    industry: str | None
    country: str | None
    market_cap: Decimal | None
    is_etf: bool


@dataclass(frozen=True, slots=True)
class Snapshot:
    """A complete row of `portfolio_snapshots` (S5), as stored, in dollars.

    Attributes:
        portfolio_id: Its portfolio.
        snapshot_date: Its date.
        equity_balance: Equity.
        cumulative_pnl: P&L so far, None where it is NULL.
        cumulative_realized_pnl: Realized P&L so far, None where it is NULL.
        cumulative_capital_flow: Flows so far, None where it is NULL.
    """

    portfolio_id: uuid.UUID
    snapshot_date: dt.date
    equity_balance: Decimal
    cumulative_pnl: Decimal | None
    cumulative_realized_pnl: Decimal | None
    cumulative_capital_flow: Decimal | None


class _Counts(TypedDict):
    hits: int
    misses: int
    hit_rate: float | None
    size_bytes: int


class PriceCacheStats(_Counts):
    """The result of `PriceCache.stats`."""

    total_prices: int
    dates_loaded: int
    symbols_loaded: int
    lookback_hits: int


class CompanyProfileCacheStats(_Counts):
    """The result of `CompanyProfileCache.stats`."""

    total_profiles: int
    symbols_loaded: int


class SnapshotCacheStats(_Counts):
    """The result of `SnapshotCache.stats`."""

    total_snapshots: int
    portfolios_cached: int


class _Cache:
    """The database of a cache, and the counts of its look-ups."""

    def __init__(self, db: object = None, *, schema: Schema | None = None) -> None:
        """Make an empty cache.

        Args:
            db: The database of calls that pass None.
            schema: Names of tables and columns; None for those of docs/schema.md.
        """
        self._db = db
        self._schema = schema
        self._threads = _core.ThreadGuard(type(self).__name__)
        self.clear()

    def clear(self) -> None:
        """Forget the loaded rows and the counts."""
        self._hits = self._misses = 0

    def _counted(self, found: _Found | None) -> _Found | None:
        """Return a result, and count a hit or a miss."""
        self._hits += found is not None
        self._misses += found is None
        return found


class PriceCache(_Cache):
    """Closes by the exact symbol string and date, with lookback.

    A *price* is a close above 0 (S2): any other close is kept, and means that there is no price.
    Loading a date brings the ``lookback_days`` before it too.
    """

    _set_scale: int

    def __init__(
        self, lookback_days: int = 10, db: object = None, *, schema: Schema | None = None
    ) -> None:
        """Make an empty cache.

        Args:
            lookback_days: Calendar days that a price may be old in `get_with_lookback`.
            db: The database of calls that pass None.
            schema: Names of tables and columns; None for those of docs/schema.md.
        """
        self._lookback_days = checked_lookback(lookback_days)
        super().__init__(db, schema=schema)

    @property
    def lookback_days(self) -> int:
        """Calendar days that a price may be old in `get_with_lookback`."""
        return self._lookback_days

    async def load_single_date(
        self, db: object | None, symbols: Iterable[str], calculation_date: dt.date
    ) -> int:
        """Load the closes of one date and of the lookback before it, if not loaded yet.

        Args:
            db: A URL, an asyncpg pool or connection, or an SQLAlchemy `AsyncEngine`,
                `AsyncConnection` or `AsyncSession` on asyncpg; None is that of the constructor.
            symbols: Spelt as stored.
            calculation_date: The date.

        Returns:
            Rows loaded. A row that was loaded before, or given by `set`, does not change.
        """
        return await self.load_date_range(db, symbols, calculation_date, calculation_date)

    async def load_date_range(
        self, db: object | None, symbols: Iterable[str], start_date: dt.date, end_date: dt.date
    ) -> int:
        """Load the closes of a range, both ends included, if not loaded yet.

        The lookback before ``start_date`` is loaded too. A wider range than was loaded, or more
        symbols, costs one statement for the rest.
        """
        first, last = checked_day(start_date), checked_day(end_date)
        if first > last:
            raise ConfigError(f"start_date {start_date} is after end_date {end_date}", "start_date")
        db, first = db_of(db, self._db), self._back(first)
        with self._threads:
            lacking = {
                symbol: spans
                for symbol in checked_symbols(symbols)
                if (spans := gaps(self._spans.get(symbol, ()), first, last))
            }
            return await self._fetch(db, lacking)

    def get(self, symbol: str, date: dt.date) -> Decimal | None:
        """Return the price of a symbol on a date itself, exactly; None without one.

        It has the decimals of the column, or its own if `set` gave it more.
        """
        if not self._set:
            return self._reader.get(symbol, date)
        with self._threads:
            return self._counted(self._price(symbol, date))

    def get_with_lookback(
        self, symbol: str, date: dt.date, lookback_days: int | None = None
    ) -> tuple[Decimal, dt.date] | tuple[None, None]:
        """Return the latest price on a date of ``[date - lookback_days, date]``, and its date.

        Args:
            symbol: Spelt as stored.
            date: Later prices never count.
            lookback_days: Calendar days; None uses the cache's. More days than were loaded only
                find loaded prices.

        Returns:
            The price and its date, or (None, None).
        """
        most = self._lookback_days if lookback_days is None else checked_lookback(lookback_days)
        with self._threads:
            if not self._set:
                found = self._reader.get_with_lookback(symbol, date, most)
            else:
                day = checked_day(date)
                found = self._counted(self._latest(symbol, day, most))
                self._lookback_hits += found is not None and found[1] != day
        return (None, None) if found is None else (found[0], date_of(found[1]))

    def get_batch(self, symbols: Iterable[str], date: dt.date) -> dict[str, Decimal]:
        """Return the prices of those symbols that have one on a date itself, in their order.

        The Decimals of the last date are kept, so look up one date for many portfolios rather than
        one portfolio for many dates.
        """
        if not self._set:
            return self._reader.get_batch(symbols, date)
        with self._threads:
            wanted = checked_values(symbols, "symbols")
            found = [(one, self._counted(self._price(one, date))) for one in wanted]
            return {symbol: price for symbol, price in found if price is not None}

    def get_array(self, symbols: Iterable[str], date: dt.date) -> Closes:
        """Return the prices of symbols on a date itself as arrays, in their order."""
        if not self._set:
            # the constructor of NamedTuple takes twice as long, a tenth of a short look-up
            return tuple.__new__(Closes, self._reader.get_array(symbols, date))
        with self._threads:
            wanted = checked_values(symbols, "symbols")
            prices = [self._counted(self._price(symbol, date)) for symbol in wanted]
            column = _decimals(prices, self._scale())
            return Closes(column.values, column.state, column.scale)

    def set(self, symbol: str, date: dt.date, price: Decimal | int | str) -> None:
        """Set a price that replaces any loaded one, now and later; 0 means that there is none.

        Args:
            symbol: Spelt as stored.
            date: Its date.
            price: Not below 0, with at most 18 decimals, its digits within 64 bits; no float.
        """
        mantissa, scale = checked_price(price)
        (known,), day = checked_symbols([symbol]), checked_day(date)
        with self._threads:
            self._set.setdefault(known, {})[day] = Decimal(mantissa).scaleb(-scale, EXACT)
            self._set_scale = max(self._set_scale, scale)

    def missing(
        self, symbols: Iterable[str], dates: Iterable[dt.date]
    ) -> list[tuple[str, dt.date]]:
        """Return each symbol and date without a price, unless `set` said that there is none.

        They are in the order of the symbols, then of the dates. No misses are counted.
        """
        wanted, on = checked_symbols(symbols), checked_values(dates, "dates")
        for date in on:
            checked_day(date)
        asked = [(symbol, date) for symbol in wanted for date in dict.fromkeys(on)]
        with self._threads:
            return [
                (symbol, date)
                for symbol, date in asked
                if self._price(symbol, date) is None
                and self._days[date] not in self._set.get(symbol, ())
            ]

    async def load_missing(
        self, db: object | None, symbols: Iterable[str], dates: Iterable[dt.date]
    ) -> int:
        """Load what `missing` returns, with the lookback before it, by one statement.

        Rows loaded before are read again, because prices may have arrived; if nothing is missing,
        nothing is sent.

        Returns:
            Rows loaded, including those that replace earlier ones.
        """
        db = db_of(db, self._db)
        lacking: defaultdict[str, Spans] = defaultdict(tuple)
        with self._threads:
            for symbol, date in self.missing(symbols, dates):
                day = checked_day(date)
                lacking[symbol] = widened(lacking[symbol], self._back(day), day)
            return await self._fetch(db, lacking)

    def covers(self, symbol: str, first_day: int, last_day: int) -> bool:
        """Return whether all closes of a symbol from one day to another were loaded.

        Days are counted from 1970-01-01; the last one is included.
        """
        with self._threads:
            return not gaps(self._spans.get(symbol, ()), first_day, last_day)

    def clear(self) -> None:
        """Forget the loaded rows, the prices set and the counts."""
        with self._threads:
            super().clear()
            self._lookback_hits = 0
            self._days = DayOf()
            self._spans: dict[str, Spans] = {}
            self._set: dict[str, dict[int, Decimal]] = {}
            self._set_scale = 0
            store = _core.PriceStore.from_frame(Prices.none())
            self._reader = _core.PriceReader(store, self._days, self._threads)

    def stats(self) -> PriceCacheStats:
        """Return the size of the cache and the counts of its look-ups.

        Returns:
            total_prices: Symbols and dates with a price.
            dates_loaded: Distinct dates of closes.
            symbols_loaded: Symbols loaded, including those without any row.
            hits: Prices found, including by lookback; `get_batch` and `get_array` count each
                symbol.
            lookback_hits: Prices found on an earlier date than the one requested.
            misses: Prices not found.
            hit_rate: 0 to 1; None before the first look-up.
            size_bytes: Estimated.
        """
        with self._threads:
            closes = self.to_frame()
            hits, lookback_hits, misses = self._reader.counts
            decimals = len(self._reader.last_batch or ()) + sum(map(len, self._set.values()))
            stored = self._reader.size_bytes + decimals * _DECIMAL_BYTES
            keyed = (self._days, self._spans, self._set)
            return {
                "total_prices": int(((closes.close.values > 0) | (closes.close.state > 0)).sum()),
                "dates_loaded": len(np.unique(closes.day.values)),
                "symbols_loaded": len(self._spans),
                "lookback_hits": lookback_hits + self._lookback_hits,
                **_counts(hits + self._hits, misses + self._misses, stored, *keyed),
            }

    def to_frame(self) -> Prices:
        """Return all closes, including those that were set; one set to 0 is a close of 0."""
        with self._threads:
            loaded = Prices.of_parts(self._reader.columns())
            if not self._set:
                return loaded
            kept = np.ones(len(loaded), dtype=np.bool_)
            names, days = loaded.symbol.table(), loaded.day.values
            for row in np.flatnonzero(_spelt(loaded.symbol, self._set)).tolist():
                kept[row] = int(days[row]) not in self._set[names[loaded.symbol.codes[row]]]
            own = [
                (symbol, day, price)
                for symbol, prices in self._set.items()
                for day, price in prices.items()
            ]
            symbols, on, prices = zip(*own, strict=True)
            set_by_hand = Prices(
                symbol=Text.of(symbols),
                day=Days(np.array(on, dtype=np.int32)),
                close=_decimals(prices, self._scale()),
            )
            return _joined(_kept(loaded, kept), set_by_hand)

    def _price(self, symbol: str, date: dt.date) -> Decimal | None:
        """Return the price of a symbol on a date itself, one that was set before a loaded one."""
        loaded = self._reader.price(symbol, date)
        own = self._set.get(symbol, {}).get(self._days[date])
        return loaded if own is None else self._shown(own) or None

    def _latest(self, symbol: str, day: int, lookback_days: int) -> tuple[Decimal, int] | None:
        """Return the latest price of the lookback before a day, and its day."""
        found = self._reader.as_of(symbol, day, lookback_days)
        own, first = self._set.get(symbol, {}), day - lookback_days
        while found and found[1] in own:
            last = found[1] - 1
            found = self._reader.as_of(symbol, last, last - first) if last >= first else None
        prices = ((on, price) for on, price in own.items() if price and first <= on <= day)
        latest = max(prices, default=None)
        if latest is None or (found and found[1] > latest[0]):
            return found
        return self._shown(latest[1]), latest[0]

    def _shown(self, price: Decimal) -> Decimal:
        """Return a price that was set, with at least the decimals of the column."""
        unit = Decimal(1).scaleb(-max(self._reader.scale, -int(price.as_tuple().exponent)))
        return price.quantize(unit, context=EXACT)

    def _scale(self) -> int:
        """Return the largest number of decimals of the column and of the prices set."""
        return max(self._reader.scale, self._set_scale)

    def _back(self, day: int) -> int:
        return max(day - self._lookback_days, FIRST_DATE)

    async def _fetch(self, db: object, lacking: Mapping[str, Sequence[Span]]) -> int:
        """Load spans of symbols, which replace their loaded rows; return the rows."""
        symbols: defaultdict[Span, list[str]] = defaultdict(list)
        for symbol, spans in lacking.items():
            for span in spans:
                symbols[span].append(symbol)
        windows = [Window(tuple(those), *span) for span, those in symbols.items()]
        if len(windows) > MOST_WINDOWS:
            firsts, lasts = zip(*symbols, strict=True)
            windows = [Window(tuple(lacking), min(firsts), max(lasts))]
        if not windows:
            return 0
        loaded = await load_closes(db, self._schema, windows)
        self._reader, self._spans, rows = await asyncio.to_thread(self._with, loaded, windows)
        return rows

    def _with(
        self, loaded: Prices, windows: Sequence[Window]
    ) -> tuple[_core.PriceReader, dict[str, Spans], int]:
        """Return a reader with the closes of windows replaced, the spans then loaded, and the rows.

        It changes nothing, as it runs in another thread than the owner's.
        """
        loaded = _kept(loaded, _inside(loaded, windows))
        held = Prices.of_parts(self._reader.columns())
        prices = _joined(_kept(held, ~_inside(held, windows)), loaded)
        widen, spans = functools.cache(widened), dict(self._spans)  # symbols mostly share spans
        for symbols, first, last in windows:
            spans |= {s: widen(spans.get(s, ()), first, last) for s in symbols}
        return self._reader.over(_core.PriceStore.from_frame(prices)), spans, len(loaded)


class CompanyProfileCache(_Cache):
    """Company profiles by the exact symbol string."""

    async def load(self, db: object | None, symbols: Iterable[str]) -> int:
        """Load the profiles of symbols that were not loaded yet, by one statement.

        Args:
            db: As in `PriceCache.load_single_date`.
            symbols: Spelt as stored.

        Returns:
            Rows loaded.
        """
        db = db_of(db, self._db)
        with self._threads:
            wanted = [symbol for symbol in checked_symbols(symbols) if symbol not in self._loaded]
            if not wanted:
                return 0
            loaded = await load_company_profiles(db, self._schema, wanted)
            loaded = _kept(loaded, _spelt(loaded.symbol, wanted))
            self._hold(_joined(self._rows, loaded))
            self._loaded |= dict.fromkeys(wanted)
            return len(loaded)

    def get(self, symbol: str) -> CompanyProfile | None:
        """Return the profile of a symbol; None without one."""
        checked_symbols([symbol])
        with self._threads:
            row, rows = self._counted(self._row.get(symbol)), self._rows
        if row is None:
            return None
        return CompanyProfile(
            symbol,
            _text(rows.name, row),
            _decimal(rows.beta, row),
            _text(rows.sector, row),
            _text(rows.industry, row),
            _text(rows.country, row),
            _decimal(rows.market_cap, row),
            bool(rows.is_etf[row]),
        )

    def get_beta(self, symbol: str) -> Decimal | None:
        """Return the beta of a symbol as stored; None without a profile or without one in it."""
        profile = self.get(symbol)
        return None if profile is None else profile.beta

    def get_sector(self, symbol: str) -> str | None:
        """Return the sector of a symbol as stored; None without a profile or without one in it."""
        profile = self.get(symbol)
        return None if profile is None else profile.sector

    def clear(self) -> None:
        """Forget the loaded rows and the counts."""
        with self._threads:
            super().clear()
            self._hold(Profiles.none())
            self._loaded: dict[str, None] = {}

    def stats(self) -> CompanyProfileCacheStats:
        """Return the size of the cache and the counts of its look-ups.

        Returns:
            total_profiles: Profiles held.
            symbols_loaded: Symbols loaded, including those without a profile.
            hits: Look-ups of symbols with a profile.
            misses: Look-ups of portfolios without one.
            hit_rate: 0 to 1; None before the first look-up.
            size_bytes: Estimated.
        """
        with self._threads:
            return {
                "total_profiles": len(self._rows),
                "symbols_loaded": len(self._loaded),
                **_counts(self._hits, self._misses, _size(self._rows), self._row, self._loaded),
            }

    def to_frame(self) -> Profiles:
        """Return all profiles held."""
        with self._threads:
            return self._rows

    def _hold(self, rows: Profiles) -> None:
        self._rows, texts = rows, rows.symbol.texts()
        self._row = {symbol: row for row, symbol in enumerate(texts) if symbol is not None}


class SnapshotCache(_Cache):
    """The latest complete snapshot of each portfolio before a date (S5)."""

    async def load_latest_snapshots(
        self,
        db: object | None,
        portfolio_ids: Iterable[uuid.UUID | str],
        before_date: dt.date,
        *,
        calendar: str = calendar.DAILY,
    ) -> int:
        """Load the latest complete snapshot of each portfolio before a date, by one statement.

        Portfolios already loaded for the date cost nothing. A cache keeps one snapshot of each
        portfolio, that of the latest load.

        Args:
            db: As in `PriceCache.load_single_date`.
            portfolio_ids: UUIDs or their text.
            before_date: Snapshots on this date do not count.
            calendar: Only snapshots on its sessions count: `daily` is every date, `XNYS` and the
                codes of exchange_calendars have their sessions.

        Returns:
            Rows loaded.
        """
        db, before = db_of(db, self._db), checked_day(before_date)
        ids = [checked_id(one).bytes for one in checked_values(portfolio_ids, "portfolio_ids")]
        with self._threads:
            wanted = [one for one in dict.fromkeys(ids) if not self._knows(one, calendar, before)]
            if not wanted:
                return 0
            sessions = await asyncio.to_thread(_sessions, calendar)
            loaded = await load_latest_snapshots(db, self._schema, sessions, wanted, before)
            again = set(wanted)
            kept = np.array([one not in again for one in self._row], dtype=np.bool_)
            self._hold(_joined(_kept(self._rows, kept), loaded))
            days = dict(zip(_keys(loaded), loaded.day.tolist(), strict=True))
            known = {one: (calendar, days.get(one, FIRST_DATE - 1), before) for one in wanted}
            self._loaded |= known
            return len(loaded)

    def get_latest(self, portfolio_id: uuid.UUID | str) -> Snapshot | None:
        """Return the latest complete snapshot of a portfolio; None without one.

        Raises:
            NumericError: an amount is not finite, or has more decimals than cents.
        """
        key = checked_id(portfolio_id)
        with self._threads:
            row, rows = self._counted(self._row.get(key.bytes)), self._rows
        if row is None:
            return None
        amounts: list[Any] = [_dollars(getattr(rows, name), row, of) for name, of in _AMOUNTS]
        return Snapshot(key, date_of(int(rows.day[row])), *amounts)

    def get_equity(self, portfolio_id: uuid.UUID | str) -> Decimal:
        """Return the equity of the latest complete snapshot of a portfolio, 0 without one.

        Raises:
            NumericError: an amount is not finite, or has more decimals than cents.
        """
        found = self.get_latest(portfolio_id)
        return Decimal(0) if found is None else found.equity_balance

    def clear(self) -> None:
        """Forget the loaded rows and the counts."""
        with self._threads:
            super().clear()
            self._hold(Previous.none())
            self._loaded: dict[bytes, tuple[str, int, int]] = {}

    def stats(self) -> SnapshotCacheStats:
        """Return the size of the cache and the counts of its look-ups.

        Returns:
            total_snapshots: Snapshots held.
            portfolios_cached: Portfolios loaded, including those without a snapshot.
            hits: Look-ups of portfolios with a snapshot.
            misses: Look-ups of portfolios without one.
            hit_rate: 0 to 1; None before the first look-up.
            size_bytes: Estimated.
        """
        with self._threads:
            return {
                "total_snapshots": len(self._rows),
                "portfolios_cached": len(self._loaded),
                **_counts(self._hits, self._misses, _size(self._rows), self._row, self._loaded),
            }

    def to_frame(self) -> Previous:
        """Return all snapshots held."""
        with self._threads:
            return self._rows

    def _hold(self, rows: Previous) -> None:
        self._rows, self._row = rows, {key: row for row, key in enumerate(_keys(rows))}

    def _knows(self, portfolio_id: bytes, code: str, before: int) -> bool:
        """Return whether no snapshot can lie between the one held and a day."""
        known, day, end = self._loaded.get(portfolio_id, ("", 0, 0))
        return known == code and day < before <= end


async def load_closes(db: object, schema: Schema | None, windows: Sequence[Window]) -> Prices:
    """Return every finite close in windows; none for a symbol and date whose rows differ (S2)."""

    async def read(session: Session, catalog: Catalog) -> Prices:
        prices = await load_windows(session, catalog, windows)
        for one in session.ambiguous:
            log.warning("ambiguous_price=%s from=%s: %s", one.symbol, date_of(one.day), one.detail)
        return prices

    return await _read(db, schema, Use.PRICES, read)


async def load_company_profiles(
    db: object, schema: Schema | None, symbols: Sequence[str]
) -> Profiles:
    """Return the profiles of symbols."""
    return await _read(
        db,
        schema,
        Use.PROFILES,
        lambda session, catalog: load(session, select_company_profiles(catalog, symbols)),
    )


async def load_latest_snapshots(
    db: object,
    schema: Schema | None,
    sessions: calendar.Calendar,
    ids: Sequence[bytes],
    before: int,
) -> Previous:
    """Return the latest complete snapshot of portfolios before a day."""
    wanted = np.frombuffer(b"".join(ids), dtype=np.uint8).reshape(-1, 16)

    return await _read(
        db,
        schema,
        Use.LATEST,
        lambda session, catalog: load(
            session,
            select_latest_snapshots(
                catalog, sessions, wanted, before, frame=Previous, read=PREVIOUS
            ),
        ),
    )


async def _read(
    db: object,
    schema: Schema | None,
    use: Use,
    read: Callable[[Session, Catalog], Awaitable[_Rows]],
) -> _Rows:
    """Return the result of a read, repeated if a table turns out to have changed."""
    access = await imported("batchcore.db.access")  # which brings the driver

    async def checked() -> _Rows:
        async with access.reading(db, schema, use) as (session, catalog):
            return await read(session, catalog)

    rows: _Rows = await access.rechecked(checked)()
    return rows


_KINDS: Final = {
    "price_cache": (PriceCache, ("to_frame", "covers")),
    "snapshot_cache": (SnapshotCache, ("to_frame",)),
    "profile_cache": (CompanyProfileCache, ("get",)),
}
"""The type of an argument: the cache of that kind, or any object with its methods."""


def check_cache(option: str, given: object) -> None:
    """Raise an error unless an argument is a cache of its kind."""
    own, methods = _KINDS[option]
    if given is None or isinstance(given, own):
        return
    others = tuple(kind for kind, _ in _KINDS.values())
    has_all = all(callable(getattr(given, method, None)) for method in methods)
    if isinstance(given, (*others, type)) or not has_all:
        what = given.__name__ if isinstance(given, type) else type(given).__name__
        raise ConfigError(f"{option} is {what}, expected a {own.__name__}", option)


def _sessions(code: str) -> calendar.Calendar:
    if code == calendar.PRICES:
        msg = "calendar `prices` needs the dates of the price table, expected another one"
        raise ConfigError(msg, "calendar")
    return calendar.load(code)


def _decimals(prices: Sequence[Decimal | None], scale: int) -> Decimals:
    """Return prices as a column; one beyond 64 bits in the scale is not representable."""
    values, states = [], []
    for price in prices:
        mantissa = None if price is None else int(price.scaleb(scale, EXACT))
        fits = mantissa is not None and mantissa <= MOST_MANTISSA
        values.append(mantissa if fits else 0)
        states.append(
            State.VALUE if fits else State.NULL if price is None else State.NOT_REPRESENTABLE
        )
    return Decimals(np.array(values, dtype=np.int64), scale, np.array(states, dtype=np.uint8))


def _kept(rows: _Rows, kept: npt.NDArray[np.bool_]) -> _Rows:
    return rows if kept.all() else rows.take(kept)


def _joined(held: _Rows, loaded: _Rows) -> _Rows:
    """Return both together, in the scale of those with rows."""
    return type(loaded).concat([part for part in (held, loaded) if len(part)] or [loaded])


def _inside(prices: Prices, windows: Sequence[Window]) -> npt.NDArray[np.bool_]:
    """Return whether each close is in one of the windows, under exactly that spelling."""
    inside, day = np.zeros(len(prices), dtype=np.bool_), prices.day.values
    for symbols, first, last in windows:
        inside |= _spelt(prices.symbol, symbols) & (day >= first) & (day <= last)
    return inside


def _spelt(symbol: Text, wanted: Iterable[str]) -> npt.NDArray[np.bool_]:
    """Return which rows have exactly a wanted text: a column may compare more loosely."""
    among = set(wanted)
    known = np.array([text in among for text in symbol.table()], dtype=np.bool_)
    spelt: npt.NDArray[np.bool_] = known[symbol.codes]
    return spelt


_AMOUNTS: Final = (
    ("equity", "equity_balance"),
    ("cumulative_pnl", "cumulative_pnl"),
    ("cumulative_realized_pnl", "cumulative_realized_pnl"),
    ("cumulative_capital_flow", "cumulative_capital_flow"),
)
"""The amounts of a snapshot, and the columns that they are stored in."""


def _text(column: Text, row: int) -> str | None:
    if column.state[row] != State.VALUE:
        return None
    start, end = column.offsets[column.codes[row] :][:2]
    return column.data[start:end].tobytes().decode()


def _decimal(column: Decimals, row: int) -> Decimal | None:
    if column.state[row] != State.VALUE:
        return None
    return Decimal(int(column.values[row])).scaleb(-column.scale, EXACT)


def _dollars(column: Decimals, row: int, name: str) -> Decimal | None:
    """Return a stored amount in dollars and cents; NULL is None."""
    amount = _decimal(column, row)
    cents = amount and amount.quantize(_CENT, context=EXACT)
    if cents != amount or column.state[row] not in {State.VALUE, State.NULL}:
        raise NumericError(f"column `{name}` is not finite or does not fit cents", name)
    return cents


def _size(rows: Profiles | Previous) -> int:
    """Return the bytes of the arrays of a frame."""
    columns = [getattr(rows, one.name) for one in fields(rows)]
    parts = [
        getattr(one, part.name) for one in columns if is_dataclass(one) for part in fields(one)
    ]
    return sum(getattr(array, "nbytes", 0) for array in (*columns, *parts))


def _keys(snapshots: Previous) -> list[bytes]:
    return [row.tobytes() for row in snapshots.portfolio_id]


def _counts(hits: int, misses: int, stored: int, *keyed: Mapping[Any, Any]) -> _Counts:
    """Return the statistics of all caches; ``keyed`` are the entries held beside the store."""
    keys = sum(sys.getsizeof(one) + sum(map(sys.getsizeof, one)) for one in keyed)
    return {
        "hits": hits,
        "misses": misses,
        "hit_rate": hits / (hits + misses) if hits + misses else None,
        "size_bytes": stored + keys,
    }
