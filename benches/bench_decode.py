"""Binary COPY of a real server into columns: bytes and rows a second."""

import asyncio
from itertools import pairwise

import numpy as np
import pytest

from batch.wire import connected
from batchcore import _core
from batchcore.demo.market import price_table
from batchcore.frames import Decimals, Text
from sample import Sides

pytestmark = pytest.mark.db

TABLES = {
    "market_data_cache": [("symbol", "text", 0), ("date", "date", 0), ("close", "numeric", 4)],
    "positions": [
        ("id", "uuid", 0),
        ("portfolio_id", "uuid", 0),
        ("symbol", "text", 0),
        ("position_type", "text", 0),
        ("quantity", "numeric", 4),
        ("entry_price", "numeric", 4),
        ("entry_date", "date", 0),
        ("exit_price", "numeric", 4),
        ("exit_date", "date", 0),
        ("expiration_date", "date", 0),
        ("investment_class", "text", 0),
        ("market_value", "numeric", 2),
    ],
}


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


def assert_equal(found: tuple, expected: object) -> None:
    if isinstance(expected, Text):
        assert texts(found) == expected.texts()
    elif isinstance(expected, np.ndarray):
        assert np.array_equal(found[0].reshape(-1, 16), expected)
    else:
        values, *scale, state = found
        has = expected.state == 0
        assert scale == ([expected.scale] if isinstance(expected, Decimals) else [])
        assert np.array_equal(state, expected.state)
        assert np.array_equal(values[has], expected.values[has])


@pytest.mark.benchmark(group="decode")
@pytest.mark.parametrize("name", TABLES)
def bench_decode(benchmark, host: Sides, figures: list[str], name: str):
    columns = TABLES[name]
    names = ", ".join(column for column, *_ in columns)
    data = pieces(host.url, f"SELECT {names} FROM {name} ORDER BY id")  # noqa: S608

    found = benchmark(decoded, columns, data)

    expected = host.data.portfolios.positions
    if name == "market_data_cache":
        expected = price_table(host.data.prices, seed=1)
    for column, *_ in columns:
        assert_equal(found[column], expected.columns[column])
    if benchmark.enabled:
        seconds, rows = benchmark.stats.stats.median, expected.rows
        megabytes = sum(map(len, data)) / 1e6
        figures.append(
            f"decode {name}: {megabytes / seconds:,.0f} MB/s, {rows / seconds / 1e6:.2f} M rows/s"
            f" ({rows:,} rows, {megabytes:.1f} MB)"
        )
