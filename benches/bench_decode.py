"""Binary COPY of a real server into columns: bytes and rows a second."""

import asyncio
from itertools import pairwise

import asyncpg
import numpy as np
import pytest

from batchcore import _core
from sample import Host

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
        connection = await asyncpg.connect(url)
        try:
            await connection.copy_from_query(query, output=take, format="binary")
        finally:
            await connection.close()

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
def bench_decode_prices(benchmark, host: Host, figures: list[str]):
    data = pieces(host.url, PRICES)
    columns = benchmark(decoded, PRICE_COLUMNS, data)

    expected = host.held.inputs.prices
    closes, scale, state = columns["close"]
    assert scale == expected.close.scale
    assert not state.any()
    assert np.array_equal(closes, expected.close.values)
    assert np.array_equal(columns["day"][0], expected.day.values)
    assert texts(columns["symbol"]) == expected.symbol.texts()
    tell(figures, benchmark, "prices", data, len(expected))


@pytest.mark.benchmark(group="decode")
def bench_decode_positions(benchmark, host: Host, figures: list[str]):
    data = pieces(host.url, POSITIONS)
    columns = benchmark(decoded, POSITION_COLUMNS, data)

    expected = host.held.inputs.positions
    for name in ("id", "portfolio_id"):
        assert np.array_equal(columns[name][0].reshape(-1, 16), getattr(expected, name)), name
    for name in ("quantity", "entry_price", "exit_price", "market_value"):
        values, scale, state = columns[name]
        column = getattr(expected, name)
        has = column.state == 0
        assert scale == column.scale, name
        assert np.array_equal(state, column.state), name
        assert np.array_equal(values[has], column.values[has]), name
    for name in ("entry_day", "exit_day", "expiration_day"):
        values, state = columns[name]
        column = getattr(expected, name)
        has = column.state == 0
        assert np.array_equal(state, column.state), name
        assert np.array_equal(values[has], column.values[has]), name
    for name in ("symbol", "position_type", "investment_class"):
        assert texts(columns[name]) == getattr(expected, name).texts(), name
    tell(figures, benchmark, "positions", data, len(expected))
