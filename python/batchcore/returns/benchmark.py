"""The returns of a symbol over the periods of portfolios (W5)."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, replace
from decimal import Decimal
from fractions import Fraction
from typing import TYPE_CHECKING

import numpy as np

from batchcore.calendar import iso_of
from batchcore.errors import ConfigError
from batchcore.frames import Prices, Text, distinct
from batchcore.returns.ratios import DECIMALS, of_decimals
from batchcore.run.prices import valid_rows
from batchcore.run.valuation import Valuation
from batchcore.sources.prices import load_fallback
from batchcore.splits import shares_of_close
from batchcore.units import State
from batchcore.values import decimal_of, normalised

if TYPE_CHECKING:
    from collections.abc import Mapping

    from batchcore.config import Settings
    from batchcore.db.catalog import Catalog
    from batchcore.native import Market
    from batchcore.pg.session import Session
    from batchcore.returns.result import Performance


@dataclass(frozen=True, slots=True)
class Benchmark:
    """A symbol with which portfolios are compared, trimmed and upper-cased."""

    symbol: str
    settings: Settings

    @classmethod
    def of(cls, symbol: str, settings: Settings) -> Benchmark:
        """Return the benchmark of a symbol in any spelling; raise an error if it is blank."""
        if not isinstance(symbol, str) or not symbol.strip(" "):
            raise ConfigError(f"benchmark is {symbol!r}, expected a symbol", "benchmark")
        return cls(normalised(symbol), settings)

    async def beside(
        self, session: Session, catalog: Catalog, performance: Performance
    ) -> Performance:
        """Return a performance with the returns of the symbol, which must have a close."""
        there = performance.start.state == State.VALUE
        days = (performance.start.values[there], performance.end.values[there])
        wanted = distinct(np.concatenate(days))
        if len(wanted) == 0:
            return performance
        window = int(wanted[0]) - self.settings.lookback_days, int(wanted[-1])
        prices = await load_fallback(session, catalog, [self.symbol], (), window)
        prices = prices.take(valid_rows(prices))
        if len(prices) == 0:
            msg = f"`{self.symbol}` has no close up to {iso_of(window[1])}"
            raise ConfigError(msg, "benchmark")
        valuation = Valuation(catalog, self.settings, wanted)
        market = await valuation.market(session, prices, [self.symbol])
        return await asyncio.to_thread(self._compared, performance, prices, market)

    def _compared(self, performance: Performance, prices: Prices, market: Market) -> Performance:
        start, end, twr = performance.start, performance.end, performance.twr.decimals()
        there = np.flatnonzero(start.state == State.VALUE).tolist()
        closes = self._closes(prices, market)
        found: list[Decimal | None] = [None] * len(performance)
        apart, reasons = found.copy(), performance.reason.texts()
        for row in there:
            ends = int(start.values[row]), int(end.values[row])
            lacking = [day for day in ends if day not in closes]
            if lacking:
                lack = (
                    f"no benchmark: {self.symbol} has no close on {iso_of(lacking[0])}"
                    f" or in the {self.settings.lookback_days} days before"
                )
                reasons[row] = f"{reasons[row]}; {lack}" if reasons[row] else lack
                continue
            growth = DECIMALS.divide(closes[ends[1]], closes[ends[0]])
            own = found[row] = DECIMALS.subtract(growth, Decimal(1))
            total = twr[row]
            if total is not None:
                apart[row] = DECIMALS.subtract(total, own)
        return replace(
            performance,
            benchmark=of_decimals(found),
            difference=of_decimals(apart),
            reason=Text.of(reasons),
        )

    def _closes(self, prices: Prices, market: Market) -> Mapping[int, Decimal]:
        """Return the mark of the symbol on each session with one (S2, S4).

        All are of the same shares (C5).
        """
        store, lookback = market.prices, self.settings.lookback_days
        # of two spellings with a close on the same day the highest counts
        spellings = sorted(enumerate(prices.symbol.table()), key=lambda one: one[1].encode())
        codes = [code for code, name in spellings if normalised(name) == self.symbol]
        closes = {}
        for day in market.sessions.tolist():
            known = [store.as_of(code, day, lookback) for code in codes]
            marks = [mark for mark in known if mark is not None]
            if marks:
                latest = max(own for _, own in marks)
                mantissa = [close for close, own in marks if own == latest][-1]
                close, shares = decimal_of(mantissa, store.scale), Fraction(1)
                if market.splits is not None:
                    shares = shares_of_close(market.splits, latest)
                of_shares = DECIMALS.multiply(close, shares.numerator)
                closes[day] = DECIMALS.divide(of_shares, Decimal(shares.denominator))
        return closes
