"""Closes into the price store, and their marks on every session of a run."""

import numpy as np
import pytest

from batchcore import _core
from batchcore.demo import market as markets
from batchcore.demo.run import Size
from batchcore.frames import Days, Decimals, Inputs, Prices, Text


@pytest.fixture(scope="module")
def market(size: Size) -> markets.Market:
    return markets.generated_market(size.symbols, size.sessions, seed=1)


@pytest.fixture(scope="module")
def inputs(market: markets.Market) -> Inputs:
    return markets.generated_portfolios(1, market, seed=2).inputs


@pytest.mark.benchmark(group="stores")
@pytest.mark.parametrize("order", ["by day", "shuffled"])
def bench_price_store(
    benchmark, market: markets.Market, inputs: Inputs, figures: list[str], order: str
):
    prices = inputs.prices if order == "by day" else shuffled(inputs.prices)
    store = benchmark(_core.PriceStore.from_frame, prices)

    known = market.known[:, 0]
    assert len(store) == market.known.sum()
    for day, close in zip(market.days[known].tolist(), market.closes[known, 0], strict=True):
        assert store.as_of(code_of(prices.symbol, market.symbols[0]), day, 0) == (close, day)
    if benchmark.enabled:
        seconds = benchmark.stats.stats.median
        figures.append(
            f"price store, rows {order}: {len(store) / seconds / 1e6:.1f} M rows/s"
            f" ({len(store):,} rows, {store.size_bytes / 1e6:.1f} MB)"
        )


@pytest.mark.benchmark(group="stores")
def bench_marks(benchmark, market: markets.Market, inputs: Inputs, figures: list[str]):
    store = _core.PriceStore.from_frame(inputs.prices)
    sessions = market.days[market.first :].copy()
    marks = benchmark(_core.Marks.from_prices, store, sessions=sessions, lookback_days=10)

    fresh, recent, _ = marks.coverage(Text.of(market.symbols))
    assert fresh.tolist() == market.known[market.first :].sum(axis=1).tolist()
    within = [
        market.known[(market.days >= day - 10) & (market.days <= day)].any(axis=0).sum()
        for day in sessions
    ]
    assert recent.tolist() == within
    if benchmark.enabled:
        cells = len(sessions) * len(market.symbols)
        seconds = benchmark.stats.stats.median
        figures.append(
            f"marks: {cells / seconds / 1e6:.1f} M symbol-sessions/s"
            f" ({len(market.symbols):,} symbols, {len(sessions)} sessions)"
        )


def shuffled(prices: Prices) -> Prices:
    order = np.random.Generator(np.random.PCG64(6)).permutation(len(prices))
    symbol, close = prices.symbol, prices.close
    return Prices(
        symbol=Text(symbol.codes[order], symbol.offsets, symbol.data),
        day=Days(prices.day.values[order]),
        close=Decimals(close.values[order], close.scale),
    )


def code_of(symbols: Text, symbol: str) -> int:
    return symbols.table().index(symbol)
