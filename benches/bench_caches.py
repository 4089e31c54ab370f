"""The price cache beside a dictionary of Decimals keyed by symbol and date: look-ups and memory.

The dictionary is filled as a driver fills it, with texts, dates and Decimals of its own in each
row, and asked with other texts and dates, as a batch does that has them from its positions. Both
sides take turns; a figure is the median of the rounds.
"""

import asyncio
import datetime as dt
import json
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass
from decimal import Decimal
from functools import partial
from pathlib import Path
from random import Random
from statistics import median
from time import perf_counter

import pytest

from batch.wire import connected
from batchcore import PriceCache
from batchcore.demo.run import Size
from batchcore.units import State
from sample import POSITIONS, Sides

ROUNDS = 7
HOT_KEYS = 500

pytestmark = pytest.mark.db

Key = tuple[str, dt.date]
Prices = dict[Key, Decimal]


@dataclass(frozen=True, eq=False, slots=True)
class Counts:
    """How often both are asked."""

    random: int
    hot: int
    portfolios: int
    batches: int


TIMED = Counts(random=300_000, hot=300_000, portfolios=10_000, batches=20)
ONCE = Counts(random=500, hot=500, portfolios=5, batches=1)


@dataclass(frozen=True, eq=False, slots=True)
class Filled:
    """Both filled with the same closes, and what they are asked for."""

    cache: PriceCache
    prices: Prices
    symbols: list[str]
    dates: list[dt.date]
    rng: Random


async def dictionary(url: str, first: dt.date, last: dt.date) -> Prices:
    async with connected(url) as connection:
        rows = await connection.fetch(
            "SELECT symbol, date, close FROM market_data_cache"
            " WHERE date BETWEEN $1 AND $2 AND close > 0",
            first,
            last,
        )
        return {(symbol, date): close for symbol, date, close in rows}


async def cached(url: str, symbols: list[str], first: dt.date, last: dt.date) -> PriceCache:
    cache = PriceCache(0)
    await cache.load_date_range(url, symbols, first, last)
    return cache


@pytest.fixture(scope="module")
def sides(host: Sides) -> Filled:
    symbols = list(host.data.prices.symbols)
    prices = asyncio.run(dictionary(host.url, *host.days))
    cache = asyncio.run(cached(host.url, symbols, *host.days))
    assert cache.stats()["total_prices"] == len(prices) > 0
    return Filled(cache, prices, symbols, host.sessions, Random(7))  # noqa: S311  # seeded


@pytest.fixture
def counts(timed: bool) -> Counts:  # noqa: FBT001  # a fixture
    return TIMED if timed else ONCE


def seconds_in_turn(*sides: Callable[[], object], rounds: int) -> list[float]:
    """Return the median of what each takes, all of them once in each round."""
    seconds: list[list[float]] = [[] for _ in sides]
    for _ in range(rounds):
        for taken, side in zip(seconds, sides, strict=True):
            began = perf_counter()
            side()
            taken.append(perf_counter() - began)
    return [median(taken) for taken in seconds]


def rounds_of(benchmark) -> int:
    return ROUNDS if benchmark.enabled else 1


def nanoseconds(seconds: float, count: int) -> str:
    return f"{seconds / count * 1e9:,.0f} ns"


@pytest.mark.benchmark(group="caches")
@pytest.mark.parametrize("keys", ["random", "hot"])
def bench_get(benchmark, sides: Filled, counts: Counts, figures: list[str], keys: str):
    known = [(symbol, date) for symbol in sides.symbols for date in sides.dates]
    if keys == "hot":
        some = sides.rng.sample(known, min(HOT_KEYS, len(known)))
        asked = some * max(counts.hot // len(some), 1)
    else:
        asked = sides.rng.sample(known, min(counts.random, len(known)))
    cache, prices = sides.cache, sides.prices

    def by_cache():
        get = cache.get
        for symbol, date in asked:
            get(symbol, date)

    def by_dictionary():
        get = prices.get
        for symbol, date in asked:
            get((symbol, date))

    for symbol, date in asked[:5000]:
        assert cache.get(symbol, date) == prices.get((symbol, date))
    native, plain = seconds_in_turn(by_cache, by_dictionary, rounds=rounds_of(benchmark))
    benchmark.pedantic(by_cache, rounds=rounds_of(benchmark))
    if benchmark.enabled:
        figures.append(
            f"price cache, get, {len(asked):,} {keys} keys:"
            f" {nanoseconds(native, len(asked))} each, dictionary"
            f" {nanoseconds(plain, len(asked))}: {native / plain:.2f} times as long"
        )


def by_get(cache: PriceCache, asked: list[list[str]], date: dt.date) -> None:
    get = cache.get
    for symbols in asked:
        found = {}
        for symbol in symbols:
            price = get(symbol, date)
            if price is not None:
                found[symbol] = price


def by_batch(cache: PriceCache, asked: list[list[str]], date: dt.date) -> None:
    cache.get_batch((), date - dt.timedelta(days=1))  # each round makes the Decimals anew
    for symbols in asked:
        cache.get_batch(symbols, date)


def by_array(cache: PriceCache, asked: list[list[str]], date: dt.date) -> None:
    for symbols in asked:
        cache.get_array(symbols, date)


def check_many(sides: Filled, symbols: list[str], date: dt.date) -> None:
    """Compare a batch and an array with the dictionary."""
    known = [symbol for symbol in symbols if (symbol, date) in sides.prices]
    expected = {symbol: sides.prices[symbol, date] for symbol in known}
    assert sides.cache.get_batch(symbols, date) == expected
    array = sides.cache.get_array(symbols, date)
    values = zip(symbols, array.values.tolist(), array.state.tolist(), strict=True)
    assert expected == {
        symbol: Decimal(value).scaleb(-array.scale)
        for symbol, value, state in values
        if state == State.VALUE
    }


@pytest.mark.benchmark(group="caches")
@pytest.mark.parametrize("shape", ["portfolios", "all symbols"])
def bench_many(benchmark, sides: Filled, counts: Counts, figures: list[str], shape: str):
    cache, date = sides.cache, sides.dates[-1]
    each = min(POSITIONS, len(sides.symbols))
    if shape == "portfolios":
        asked = [sides.rng.sample(sides.symbols, each) for _ in range(counts.portfolios)]
    else:
        asked = [sides.symbols] * counts.batches

    for symbols in asked[:50]:
        check_many(sides, symbols, date)
    ways = [partial(way, cache, asked, date) for way in (by_get, by_batch, by_array)]
    loop, batch, array = seconds_in_turn(*ways, rounds=rounds_of(benchmark))
    benchmark.pedantic(ways[1], rounds=rounds_of(benchmark))
    if benchmark.enabled:
        count = sum(map(len, asked))
        of = f"{len(asked):,} times {len(asked[0]):,} symbols"
        for name, taken in (("get_batch", batch), ("get_array", array)):
            figures.append(
                f"price cache, {name}, one date of {shape}, {of}: {nanoseconds(taken, count)} each,"
                f" a loop of get {nanoseconds(loop, count)}: {loop / taken:.1f} times as fast"
            )


GROWTH = """
import asyncio, gc, json, sys
import bench_caches
side, url, symbols, first, last = json.load(sys.stdin)
print(json.dumps(bench_caches.growth(side, url, symbols, first, last)))
"""


def growth(
    side: str, url: str, symbols: list[str], first: str, last: str
) -> tuple[int, int, int | None]:
    """Return closes held, bytes that the process grew by, and bytes that the cache tells."""
    start, end = dt.date.fromisoformat(first), dt.date.fromisoformat(last)

    async def filled(until: dt.date) -> Prices | PriceCache:
        if side == "dictionary":
            return await dictionary(url, start, until)
        return await cached(url, symbols, start, until)

    asyncio.run(filled(start))  # imports, and what a connection keeps
    before = resident_bytes()
    held = asyncio.run(filled(end))
    grown = resident_bytes() - before
    if isinstance(held, PriceCache):
        stats = held.stats()
        return stats["total_prices"], grown, stats["size_bytes"]
    return len(held), grown, None


def resident_bytes() -> int:
    for line in Path("/proc/self/status").read_text(encoding="ascii").splitlines():
        if line.startswith("VmRSS:"):
            return int(line.split()[1]) * 1024
    pytest.fail("the system does not tell how much memory is resident")


def grown(host: Sides, side: str) -> tuple[int, int, int | None]:
    """Return `growth` of a process of its own."""
    symbols, days = list(host.data.prices.symbols), [str(day) for day in host.days]
    done = subprocess.run(  # noqa: S603  # our own interpreter
        [sys.executable, "-c", GROWTH],
        input=json.dumps([side, host.url, symbols, *days]),
        capture_output=True,
        check=True,
        text=True,
        cwd=Path(__file__).parent,
    )
    return tuple(json.loads(done.stdout))


@pytest.mark.benchmark(group="caches")
@pytest.mark.skipif(sys.platform != "linux", reason="needs /proc")
def bench_memory(benchmark, host: Sides, size: Size, figures: list[str]):
    held, native, told = benchmark.pedantic(grown, args=(host, "cache"), rounds=1)
    alike, plain, _ = grown(host, "dictionary")
    assert held == alike > 0
    assert told is not None
    assert told > 0
    if benchmark.enabled:
        figures.append(
            f"memory of {held:,} closes ({size.symbols:,} symbols, {size.sessions} days):"
            f" {native / 1e6:.1f} MB more (it tells {told / 1e6:.1f}), dictionary"
            f" {plain / 1e6:.1f} MB: {plain / max(native, 1):.0f} times"
        )
