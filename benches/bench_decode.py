"""Binary COPY of a real server into columns: bytes and rows a second."""

import asyncio
from itertools import pairwise

import numpy as np
import pytest

from batch.wire import connected
from batchcore import _core
from batchcore.demo.market import price_table
from sample import Sides

pytestmark = pytest.mark.db

PRICES = "SELECT symbol, date, close FROM market_data_cache ORDER BY id"
PRICE_COLUMNS = [("symbol", "text", 0), ("day", "date", 0), ("close", "numeric", 4)]
POSITIONS = (
    "SELECT id, portfolio_id, symbol, position_type, quantity, entry_price, entry_date,"
    " exit_price, exit_date, expiration_date, investment_class, market_value"
    " FROM positions ORDER BY id"
)
POSITION_COLUMNS = [
    ("id", "uuid", 0),
    ("portfolio_id", "uuid", 0),
    ("symbol", "text", 0),
    ("position_type", "text", 0),
    ("quantity", "numeric", 4),
    ("entry_price", "numeric", 4),
    ("entry_day", "date", 0),
    ("exit_price", "numeric", 4),
    ("exit_day", "date", 0),
    ("expiration_day", "date", 0),
    ("investment_class", "text", 0),
    ("market_value", "numeric", 2),
]


def pieces(url: str, query: str) -> list[bytes]:
    """Return the bytes of a binary COPY, cut as the driver hands them out."""
    found = []

    async def take(piece: bytes) -> None:
        found.append(bytes(piece))

    async def copy() -> None:
        async with connected(url) as connection:
            await connection.copy_from_query(query, output=take, format="binary")

    asyncio.run(copy())
    return found


def decoded(columns: list[tuple[str, str, int]], data: list[bytes]) -> dict:
    decoder = _core.Decoder(columns)
    for piece in data:
        decoder.push(piece)
    return decoder.finish()


def texts(column) -> list[str]:
    codes, offsets, data, _ = column
    raw, ends = data.tobytes(), offsets.tolist()
    table = [raw[a:b].decode() for a, b in pairwise(ends)]
    return [table[code] for code in codes.tolist()]


def tell(figures: list[str], benchmark, name: str, data: list[bytes], rows: int) -> None:
    if benchmark.enabled:
        seconds = benchmark.stats.stats.median
        megabytes = sum(map(len, data)) / 1e6
        figures.append(
            f"decode {name}: {megabytes / seconds:,.0f} MB/s, {rows / seconds / 1e6:.2f} M rows/s"
            f" ({rows:,} rows, {megabytes:.1f} MB)"
        )


@pytest.mark.benchmark(group="decode")
def bench_decode_prices(benchmark, host: Sides, figures: list[str]):
    data = pieces(host.url, PRICES)
    columns = benchmark(decoded, PRICE_COLUMNS, data)

    expected = price_table(host.data.prices, seed=1)
    closes, scale, state = columns["close"]
    assert scale == expected.columns["close"].scale
    assert not state.any()
    assert np.array_equal(closes, expected.columns["close"].values)
    assert np.array_equal(columns["day"][0], expected.columns["date"].values)
    assert texts(columns["symbol"]) == expected.columns["symbol"].texts()
    tell(figures, benchmark, "prices", data, expected.rows)


@pytest.mark.benchmark(group="decode")
def bench_decode_positions(benchmark, host: Sides, figures: list[str]):
    data = pieces(host.url, POSITIONS)
    columns = benchmark(decoded, POSITION_COLUMNS, data)

    expected = host.data.portfolios.inputs.positions
    for name in ("id", "portfolio_id"):
        assert np.array_equal(columns[name][0].reshape(-1, 16), getattr(expected, name)), name
    days = ("entry_day", "exit_day", "expiration_day")
    for name in ("quantity", "entry_price", "exit_price", "market_value", *days):
        values, *scale, state = columns[name]
        column = getattr(expected, name)
        has = column.state == 0
        assert name in days or scale == [column.scale], name
        assert np.array_equal(state, column.state), name
        assert np.array_equal(values[has], column.values[has]), name
    for name in ("symbol", "position_type", "investment_class"):
        assert texts(columns[name]) == getattr(expected, name).texts(), name
    tell(figures, benchmark, "positions", data, len(expected))
