"""Binary COPY as NumPy sees it: rows of a fixed width, read and written as structured arrays.

A NUMERIC has as many bytes as it has digits, so that rows of it cannot be told apart without going
through them one by one. Read, it is cast to int8 by the server; written, it gets as many digits as
the largest value of its column, leading zeros included, which PostgreSQL drops.
"""

import asyncio
from collections.abc import AsyncIterator, Iterator, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Protocol

import asyncpg
import numpy as np

HEADER = b"PGCOPY\n\xff\r\n\0" + bytes(8)
TRAILER = b"\xff\xff"
EPOCH = np.datetime64("2000-01-01")  # PostgreSQL's
EPOCH_US = int(EPOCH.astype("datetime64[us]").astype(np.int64))
GROUP = 10_000  # a digit of a NUMERIC
GROUP_DECIMALS = 4
NEGATIVE = 0x4000
NULL = -1

UUID, DATE, INT4, INT8, BOOL = "V16", ">i4", ">i4", ">i8", "?"


@asynccontextmanager
async def connected(url: str) -> AsyncIterator[asyncpg.Connection]:
    connection = await asyncpg.connect(url, statement_cache_size=0)
    try:
        yield connection
    finally:
        await connection.close()


async def read(
    connection: asyncpg.Connection, query: str, columns: Mapping[str, str]
) -> np.ndarray:
    """Return the rows of a query as a structured array of columns with big-endian dtypes.

    Its values are never NULL and always of the width of their dtype.
    """
    received = bytearray()

    async def take(piece: bytes) -> None:
        received.extend(piece)

    await connection.copy_from_query(query, output=take, format="binary")
    return decoded(received, columns)


def decoded(received: bytes | bytearray, columns: Mapping[str, str]) -> np.ndarray:
    """Return the rows of a binary COPY as a structured array over its bytes."""
    row = _row({name: [(name, dtype)] for name, dtype in columns.items()})
    size = len(received) - len(HEADER) - len(TRAILER)
    if not received.startswith(HEADER) or not received.endswith(TRAILER) or size % row.itemsize:
        raise ValueError("rows of another width")
    rows = np.frombuffer(received, row, count=size // row.itemsize, offset=len(HEADER))
    for name in columns:
        if (rows[f"{name} bytes"] != row[name].itemsize).any():
            raise ValueError(f"a {name} of another width")
    return rows


def _row(columns: Mapping[str, Sequence[tuple]]) -> np.dtype:
    layout: list[tuple] = [("fields", ">i2")]
    for name, parts in columns.items():
        layout += [(f"{name} bytes", ">i4"), *parts]
    return np.dtype(layout)


class Column(Protocol):
    """A column to write."""

    def parts(self) -> list[tuple]:
        """Return the names and dtypes of what follows the length."""

    def constant(self, rows: np.ndarray) -> None:
        """Fill in what is the same in every row."""

    def fill(self, rows: np.ndarray, which: slice) -> None:
        """Fill in the values of some rows."""


@dataclass(frozen=True, eq=False, slots=True)
class Plain:
    """Values of one width, or one value for all rows."""

    name: str
    dtype: str
    values: np.ndarray

    def parts(self) -> list[tuple]:
        return [(self.name, self.dtype)]

    def constant(self, rows: np.ndarray) -> None:
        if self.values.ndim == 0:
            rows[self.name] = self.values

    def fill(self, rows: np.ndarray, which: slice) -> None:
        if self.values.ndim:
            rows[self.name] = self.values[which]


@dataclass(frozen=True, eq=False, slots=True)
class Numeric:
    """Decimals, (n,) int64 of 10^-scale; `groups` are the digits of four of the largest of them."""

    name: str
    scale: int
    values: np.ndarray
    groups: int
    null: np.ndarray | None

    @classmethod
    def of(
        cls, name: str, scale: int, values: np.ndarray, null: np.ndarray | None = None
    ) -> "Numeric":
        largest = int(np.abs(values).max(initial=0)) * 10 ** (-scale % GROUP_DECIMALS)
        after = -(-scale // GROUP_DECIMALS)
        groups = after + 1
        while GROUP**groups <= largest:
            groups += 1
        return cls(name, scale, values, groups, null)

    def parts(self) -> list[tuple]:
        head = [(f"{self.name} {part}", ">i2") for part in ("digits", "weight", "sign", "scale")]
        return [*head, (self.name, ">i2", (self.groups,))]

    def constant(self, rows: np.ndarray) -> None:
        rows[f"{self.name} digits"] = self.groups
        rows[f"{self.name} weight"] = self.groups - -(-self.scale // GROUP_DECIMALS) - 1
        rows[f"{self.name} scale"] = self.scale

    def fill(self, rows: np.ndarray, which: slice) -> None:
        values = self.values[which]
        rows[f"{self.name} sign"] = (values < 0) * np.int16(NEGATIVE)
        # unsigned division by a constant is four times as fast as signed
        left = np.abs(values).view(np.uint64) * np.uint64(10 ** (-self.scale % GROUP_DECIMALS))
        digits = rows[self.name]
        for group in reversed(range(1, self.groups)):
            higher = left // np.uint64(GROUP)
            digits[:, group] = (left - higher * np.uint64(GROUP)).astype(np.uint16)
            left = higher
        digits[:, 0] = left.astype(np.uint16)


def encoded(columns: Sequence[Column], count: int, rows_a_piece: int) -> Iterator[np.ndarray]:
    """Give rows as the bytes of a binary COPY, without its header and trailer."""
    row = _row({column.name: column.parts() for column in columns})
    template = np.zeros(min(count, rows_a_piece), row)
    template["fields"] = len(columns)
    for column in columns:
        template[f"{column.name} bytes"] = sum(row[part].itemsize for part, *_ in column.parts())
        column.constant(template)
    for first in range(0, count, rows_a_piece):
        which = slice(first, min(first + rows_a_piece, count))
        piece = template[: which.stop - first].copy()
        for column in columns:
            column.fill(piece, which)
        yield _without_nulls(piece, columns, which)


def _without_nulls(piece: np.ndarray, columns: Sequence[Column], which: slice) -> np.ndarray:
    """Return the bytes of rows, without those of values that are NULL."""
    rows = piece.view(np.uint8).reshape(len(piece), -1)
    kept = None
    for column in columns:
        null = column.null[which] if isinstance(column, Numeric) and column.null is not None else ()
        if np.any(null):
            kept = np.ones_like(rows, np.bool_) if kept is None else kept
            piece[f"{column.name} bytes"][null] = NULL
            for part, *_ in column.parts():
                dtype, offset = piece.dtype.fields[part][:2]
                kept[null, offset : offset + dtype.itemsize] = False
    return rows.ravel() if kept is None else rows[kept]


def uuid7(unix_ms: int, counter: np.ndarray) -> np.ndarray:
    """Return UUIDv7 that count up (RFC 9562, 6.2, method 1): 42 bits of counter, 32 random."""
    count = counter.astype(np.uint64)
    random = np.random.default_rng().integers(0, 2**32, len(count), np.uint64)
    words = np.empty((len(count), 2), ">u8")
    words[:, 0] = np.uint64(unix_ms << 16 | 7 << 12) | count >> np.uint64(30)
    words[:, 1] = np.uint64(2 << 62) | (count << np.uint64(34) >> np.uint64(2)) | random
    return words.view(UUID).ravel()


async def write(
    connection: asyncpg.Connection, table: str, columns: Sequence[str], pieces: Iterator[np.ndarray]
) -> None:
    """Write rows by COPY; the next piece is made in a thread while the server takes this one."""

    async def source() -> AsyncIterator[bytes | memoryview]:
        yield HEADER
        ready = asyncio.create_task(asyncio.to_thread(next, pieces, None))
        while (piece := await ready) is not None:
            ready = asyncio.create_task(asyncio.to_thread(next, pieces, None))
            yield piece.data
        yield TRAILER

    await connection.copy_to_table(table, source=source(), columns=columns, format="binary")
