"""Events and flows, loaded for a stretch of chunks at a time.

A host need not have an index that finds those of one chunk: then each statement reads the whole
table, and as there are more chunks where there are more rows, that grows with the square of the
portfolios. A stretch is as many chunks as take a bounded part of memory.
"""

from __future__ import annotations

import asyncio
import math
from bisect import bisect_left, bisect_right
from dataclasses import dataclass
from itertools import pairwise
from typing import TYPE_CHECKING, Final, Generic, Self, TypeVar

import numpy as np

from batchcore.db.load import LooseEvents, sorted_ids
from batchcore.frames import Events, Flows, taken
from batchcore.run.plan import Chunk

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Mapping, Sequence

    import numpy.typing as npt

    from batchcore.db.engine import Session
    from batchcore.frames import Positions

Kept = TypeVar("Kept")

BYTES_OF_A_STRETCH: Final = 16 << 20
"""What the rows of a stretch should take."""

BYTES_OF_ALL_EVENTS: Final = 64 << 20
"""Up to how much all events are loaded as one stretch, for which no table need be joined."""

BYTES_OF_AN_EVENT: Final = 64
BYTES_OF_A_FLOW: Final = 40

ROWS_OF_A_PORTFOLIO: Final = 5
"""Events, or flows, that a portfolio is taken to have where the server cannot tell."""

FINER: Final = 3
"""By how many bits more a position is told to have no events."""

_MIX: Final = np.array([0x9E3779B97F4A7C15, 0xC2B2AE3D27D4EB4F], dtype=np.uint64)


def rows_of_a_portfolio(estimated: Mapping[str, int], table: str) -> float:
    """Return how many rows of a table a portfolio has on average, as the server estimates."""
    rows, portfolios = estimated.get(table), estimated.get("portfolios")
    return rows / portfolios if rows and portfolios else ROWS_OF_A_PORTFOLIO


def stretches(chunks: Sequence[Chunk], bytes_of_a_portfolio: float, most_bytes: int) -> list[Chunk]:
    """Return chunks put together to stretches of even size, numbered by their first chunk.

    Args:
        chunks: Those of the run.
        bytes_of_a_portfolio: What a portfolio's rows take, on average.
        most_bytes: What a stretch may take, unless it is a single chunk.
    """
    if not chunks:
        return []
    portfolios = chunks[-1].rows.start + len(chunks[-1].works)
    parts = max(math.ceil(portfolios * bytes_of_a_portfolio / most_bytes), 1)
    size = math.ceil(len(chunks) / min(parts, len(chunks)))
    return [joined(chunks[first : first + size]) for first in range(0, len(chunks), size)]


def joined(chunks: Sequence[Chunk]) -> Chunk:
    """Return chunks that follow each other as one."""
    rows = slice(chunks[0].rows.start, chunks[-1].rows.stop)
    return Chunk(chunks[0].number, rows, np.concatenate([chunk.works for chunk in chunks]))


@dataclass(slots=True)
class _Stretch(Generic[Kept]):
    """A stretch, what was loaded of it, and how many chunks have yet to take theirs."""

    chunk: Chunk
    left: int
    lock: asyncio.Lock
    kept: Kept | None = None


class Stretches(Generic[Kept]):
    """What is loaded by stretch, and kept until the last chunk of it has taken its part."""

    def __init__(
        self,
        chunks: Sequence[Chunk],
        parts: Sequence[Chunk],
        load: Callable[[Session, Chunk], Awaitable[Kept]],
    ) -> None:
        """Take how to load.

        Args:
            chunks: Those of the run, or some in a row; the ones that have nothing to write never
                ask.
            parts: The stretches that they make.
            load: Loads a stretch.
        """
        self._load = load
        self._of: dict[int, _Stretch[Kept]] = {}
        before = chunks[0].number if chunks else 0
        ends = [*(part.number - before for part in parts), len(chunks)]
        for part, (first, end) in zip(parts, pairwise(ends), strict=True):
            own = chunks[first:end]
            left = sum(bool(chunk.works.any()) for chunk in own)
            stretch = _Stretch[Kept](part, left, asyncio.Lock())
            self._of |= {chunk.number: stretch for chunk in own}

    async def of(self, reader: Session, chunk: Chunk) -> Kept:
        """Return the stretch of a chunk, loaded by the first who asks."""
        stretch = self._of[chunk.number]
        async with stretch.lock:
            kept = stretch.kept
            if kept is None:
                kept = stretch.kept = await self._load(reader, stretch.chunk)
        stretch.left -= 1
        if stretch.left <= 0:
            stretch.kept = None
        return kept


@dataclass(frozen=True, eq=False, slots=True)
class FlowsByPortfolio:
    """Flows in the order of their portfolios' ids, which is that of the plan."""

    flows: Flows

    @classmethod
    def of(cls, flows: Flows) -> Self:
        """Sort flows."""
        return cls(flows.take(sorted_ids(flows.portfolio_id)))

    def between(self, ids: npt.NDArray[np.uint8]) -> Flows:
        """Return the flows from the first to the last of some sorted portfolios, at least one."""
        rows, found = range(len(self.flows)), self.flows.portfolio_id
        first = bisect_left(rows, ids[0].tobytes(), key=lambda row: found[row].tobytes())
        stop = bisect_right(rows, ids[-1].tobytes(), key=lambda row: found[row].tobytes())
        return self.flows.take(slice(first, stop))


@dataclass(frozen=True, eq=False, slots=True)
class EventsByPosition:
    """Events and a hash table of their positions; a search by sorted keys takes ten times as long.

    Attributes:
        events: In any order.
        bits: Of a key that are its bucket, the highest.
        seen: (2^(bits + 3),) bool, which of the values of three bits more some event has: of the
            positions without events nearly all are told by it.
        order: (n,) int32 rows of the events, bucket after bucket.
        start: (2^bits + 1,) int32, where each bucket begins in `order`.
    """

    events: LooseEvents
    bits: int
    seen: npt.NDArray[np.bool_]
    order: npt.NDArray[np.int32]
    start: npt.NDArray[np.int32]

    @classmethod
    def of(cls, events: LooseEvents) -> Self:
        """Put events into buckets by the ids of their positions."""
        bits = max(len(events).bit_length(), 1)
        mixed = _mixed(events.position_id)
        seen = np.zeros(1 << (bits + FINER), dtype=np.bool_)
        seen[_highest(mixed, bits + FINER)] = True
        bucket = _highest(mixed, bits)
        order = np.argsort(bucket, kind="stable").astype(np.int32)
        start = np.zeros((1 << bits) + 1, dtype=np.int32)
        np.cumsum(np.bincount(bucket, minlength=1 << bits), out=start[1:])
        return cls(events, bits, seen, order, start)

    def among(self, positions: Positions) -> Events:
        """Return the events of some positions, with the portfolios that these are of."""
        mixed = _mixed(positions.id)
        hit = np.flatnonzero(self.seen[_highest(mixed, self.bits + FINER)])
        bucket = _highest(mixed[hit], self.bits)
        first, count = self.start[bucket], self.start[bucket + 1] - self.start[bucket]
        held = np.repeat(hit, count)
        place = np.arange(len(held)) + np.repeat(first - (np.cumsum(count) - count), count)
        row = self.order[place]
        same = (self.events.position_id[row] == positions.id[held]).all(axis=1)
        row, held = row[same], held[same]
        return Events(
            position_id=np.ascontiguousarray(self.events.position_id[row]),
            portfolio_id=np.ascontiguousarray(positions.portfolio_id[held]),
            day=taken(self.events.day, row),
            quantity=taken(self.events.quantity, row),
            realized=taken(self.events.realized, row),
        )


def _mixed(ids: npt.NDArray[np.uint8]) -> npt.NDArray[np.uint64]:
    """Return a mix of both halves of ids: of many hosts' ids one half says little."""
    halves = np.ascontiguousarray(ids).view(np.uint64).reshape(-1, 2)
    mixed: npt.NDArray[np.uint64] = halves[:, 0] * _MIX[0] ^ halves[:, 1] * _MIX[1]
    return mixed


def _highest(mixed: npt.NDArray[np.uint64], bits: int) -> npt.NDArray[np.int32]:
    """Return the highest bits of a mix."""
    buckets: npt.NDArray[np.int32] = (mixed >> np.uint64(64 - bits)).astype(np.int32)
    return buckets
