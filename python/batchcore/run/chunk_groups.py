"""Events and flows, loaded for several chunks at a time.

A host may lack an index that finds those of one chunk. Then each statement reads the whole table,
and the total grows with the square of the portfolios. A group is as many chunks as fit a bounded
amount of memory.
"""

from __future__ import annotations

import asyncio
import math
from bisect import bisect_left, bisect_right
from collections import defaultdict
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final, Generic, Self, TypeVar

import numpy as np

from batchcore.frames import Events, taken
from batchcore.run.plan import Chunk
from batchcore.sources.events_flows import EVENTS, FLOWS, LooseEvents, select_all_events
from batchcore.sources.query import Query, load

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Mapping, Sequence

    from batchcore.db.catalog import Catalog
    from batchcore.frames import Bools, Flows, Ids, Int64, Positions, UInt64
    from batchcore.pg.session import Session

Kept = TypeVar("Kept")

BYTES_OF_A_GROUP: Final = 16 << 20
"""Target size in memory of the rows of a group."""

_LOW_BITS: Final = np.uint64(44)
"""Of a hash; the bits that are left address `EventsByPosition.seen`, a million bytes."""

BYTES_OF_ALL_EVENTS: Final = 64 << 20
"""Maximum bytes of events that are loaded at once, without joining a table."""

BYTES_OF_A_ROW: Final = {EVENTS: 64, FLOWS: 40}

ROWS_OF_A_PORTFOLIO: Final = 5
"""Assumed events, or flows, of a portfolio if the server has no statistics."""

_MIX: Final = np.array([0x9E3779B97F4A7C15, 0xC2B2AE3D27D4EB4F], dtype=np.uint64)


def group_size(
    chunks: Sequence[Chunk], estimated: Mapping[str, int], table: str, most_bytes: int
) -> int:
    """Return the number of chunks of a group, so that its rows of a table fit ``most_bytes``."""
    rows, holders = estimated.get(table), estimated.get("portfolios")
    of_a_portfolio = BYTES_OF_A_ROW[table] * (
        rows / holders if rows and holders else ROWS_OF_A_PORTFOLIO
    )
    portfolios = sum(len(chunk.works) for chunk in chunks)
    groups = max(math.ceil(portfolios * of_a_portfolio / most_bytes), 1)
    return math.ceil(len(chunks) / min(groups, len(chunks))) if chunks else 1


class GroupedLoad(Generic[Kept]):
    """Loads of groups of chunks, each kept until the last of its chunks has asked for it."""

    def __init__(
        self, chunks: Sequence[Chunk], size: int, load: Callable[[Session, Chunk], Awaitable[Kept]]
    ) -> None:
        """Take all chunks in order, the size of a group, and the loader of a group."""
        self._chunks = chunks
        self._size = size
        self._load = load
        self._locks: defaultdict[int, asyncio.Lock] = defaultdict(asyncio.Lock)
        self._left: dict[int, int] = {}  # number of chunks that have not asked yet
        self._kept: dict[int, Kept] = {}

    async def of(self, reader: Session, chunk: Chunk) -> Kept:
        """Return the group of a chunk, loaded at the first request."""
        first = chunk.number - self._chunks[0].number
        first -= first % self._size
        group = self._chunks[first : first + self._size]
        async with self._locks[first]:
            if first not in self._kept:
                rows = slice(group[0].rows.start, group[-1].rows.stop)
                works = np.concatenate([one.works for one in group])
                self._kept[first] = await self._load(reader, Chunk(group[0].number, rows, works))
                self._left[first] = sum(bool(one.works.any()) for one in group)
            self._left[first] -= 1
            return self._kept[first] if self._left[first] else self._kept.pop(first)


def events_of(
    chunks: Sequence[Chunk],
    catalog: Catalog,
    select: Callable[[Chunk], Query[Events]],
    *,
    whole: bool,
) -> GroupedLoad[EventsByPosition]:
    """Return the loader of events of chunks: by groups, or the whole table at once if it fits."""

    def size(most_bytes: int) -> int:
        return group_size(chunks, catalog.estimated_rows, EVENTS, most_bytes)

    async def load_group(reader: Session, group: Chunk) -> EventsByPosition:
        query = select_all_events(catalog) if is_all else select(group)
        return await asyncio.to_thread(EventsByPosition.of, await load(reader, query))

    everything = size(BYTES_OF_ALL_EVENTS)
    is_all = whole and everything >= len(chunks)
    return GroupedLoad(chunks, everything if is_all else size(BYTES_OF_A_GROUP), load_group)


def flows_between(flows: Flows, ids: Ids) -> Flows:
    """Return the flows, sorted by portfolio, from the first to the last of sorted ids."""
    rows, found = range(len(flows)), flows.portfolio_id
    first = bisect_left(rows, ids[0].tobytes(), key=lambda row: found[row].tobytes())
    stop = bisect_right(rows, ids[-1].tobytes(), key=lambda row: found[row].tobytes())
    return flows.take(slice(first, stop))


@dataclass(frozen=True, eq=False, slots=True)
class EventsByPosition:
    """Events, with ascending hashes of the ids of their positions and the row of each.

    ``seen`` marks the highest bits that occur, since most positions have no event.
    """

    events: LooseEvents | Events
    mixed: UInt64
    order: Int64
    seen: Bools

    @classmethod
    def of(cls, events: LooseEvents | Events) -> Self:
        """Return events, sorted."""
        mixed = _mixed(events.position_id)
        order, seen = np.argsort(mixed), np.zeros(1 << (64 - int(_LOW_BITS)), dtype=np.bool_)
        seen[mixed >> _LOW_BITS] = True
        return cls(events, mixed[order], order, seen)

    def among(self, positions: Positions) -> Events:
        """Return the events of some positions, with the portfolios of the positions."""
        sought = _mixed(positions.id)
        hit = np.flatnonzero(self.seen[sought >> _LOW_BITS])
        first = np.searchsorted(self.mixed, sought[hit])
        count = np.searchsorted(self.mixed, sought[hit], side="right") - first
        held = np.repeat(hit, count)
        place = np.arange(len(held)) + np.repeat(first - (np.cumsum(count) - count), count)
        row = self.order[place]
        same = (taken(self.events.position_id, row) == taken(positions.id, held)).all(axis=1)
        row, held = row[same], held[same]
        return Events(
            position_id=taken(self.events.position_id, row),
            portfolio_id=taken(positions.portfolio_id, held),
            day=taken(self.events.day, row),
            quantity=taken(self.events.quantity, row),
            realized=taken(self.events.realized, row),
        )


def _mixed(ids: Ids) -> UInt64:
    """Return hashes of both halves of ids, as one half is often the same in many ids of a host."""
    halves = np.ascontiguousarray(ids).view(np.uint64).reshape(-1, 2)
    mixed: UInt64 = halves[:, 0] * _MIX[0] ^ halves[:, 1] * _MIX[1]
    return mixed
