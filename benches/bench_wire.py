"""What the peers read and write by binary COPY at a fixed width is what PostgreSQL takes it for."""

import asyncio
from decimal import Decimal
from uuid import UUID

import numpy as np
import pytest

from batch import wire
from sample import Sides

pytestmark = pytest.mark.db


async def written(url: str, columns: list[wire.Column], rows: int, table: str) -> list[tuple]:
    """Return the rows of a table after they were written to it, two rows a piece."""
    async with wire.connected(url) as connection:
        await connection.execute(f"CREATE TEMP TABLE written ({table})")
        names = [column.name for column in columns]
        await wire.write(connection, "written", names, wire.encoded(columns, rows, 2))
        return [tuple(row) for row in await connection.fetch("SELECT * FROM written")]


@pytest.mark.parametrize(
    ("scale", "units", "expected"),
    [
        (2, [0, 1, -1], ["0.00", "0.01", "-0.01"]),
        (2, [99_99, 100_00, -9999_99], ["99.99", "100.00", "-9999.99"]),
        (2, [10_000_00, -(10**16) + 1], ["10000.00", "-99999999999999.99"]),
        (6, [0, -1, 99_999_999], ["0.000000", "-0.000001", "99.999999"]),
    ],
)
def test_integers_become_decimals(host: Sides, scale: int, units: list[int], expected: list[str]):
    column = wire.Numeric.of("value", scale, np.array(units))

    rows = asyncio.run(written(host.url, [column], len(units), f"value numeric(16,{scale})"))

    assert [str(value) for (value,) in rows] == expected


def test_null_has_no_bytes(host: Sides):
    columns = [
        wire.Plain("before", wire.INT4, np.array([1, 2, 3])),
        wire.Numeric.of("value", 2, np.array([5, 0, 7]), np.array([False, True, False])),
        wire.Plain("after", wire.INT4, np.array([4, 5, 6])),
    ]
    table = "before int4, value numeric(16,2), after int4"

    rows = asyncio.run(written(host.url, columns, 3, table))

    assert rows == [(1, Decimal("0.05"), 4), (2, None, 5), (3, Decimal("0.07"), 6)]


def test_ids_are_of_version_7_and_count_up():
    unix_ms = 1_750_000_000_123

    ids = [
        UUID(bytes=one.tobytes()) for one in wire.uuid7(unix_ms, np.array([0, 1, 2**30, 2**42 - 1]))
    ]

    assert ids == sorted(ids)
    for one in ids:
        assert one.version == 7
        assert one.variant == "specified in RFC 4122"
        assert one.int >> 80 == unix_ms


def test_rows_of_another_width_are_refused(host: Sides):
    async def read(query: str) -> np.ndarray:
        async with wire.connected(host.url) as connection:
            return await wire.read(connection, query, {"text": "V3"})

    rows = asyncio.run(read("VALUES ('abc'), ('def')"))

    assert [row.tobytes() for row in rows["text"]] == [b"abc", b"def"]
    with pytest.raises(ValueError, match="rows of another width"):
        asyncio.run(read("VALUES ('abc'), ('d')"))
    # two wrong widths that are right together
    with pytest.raises(ValueError, match="a text of another width"):
        asyncio.run(read("VALUES ('ab'), ('cdef')"))
