"""What was changed since rows were written, and which of it explains how they differ: pure."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

import numpy as np

from batchcore.audit.compare import in_any
from batchcore.frames import day_keys
from batchcore.sources.stored import ANALYTIC, NEVER, UNKNOWN, Fact
from batchcore.units import MARKET

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    import numpy.typing as npt

    from batchcore.frames import Bools, Bytes, Int32, Int64
    from batchcore.sources.stored import ChangedPrices, Facts, RunChunks


CAUSES: Final = (
    "missing_run",
    "price_changed",
    "flow_changed",
    "event_added",
    "position_changed",
    "unknown",
)
"""Why a row may differ; the first that a stored fact shows is named."""


@dataclass(frozen=True, eq=False, slots=True)
class Written:
    """Rows, and when each was written.

    Attributes:
        portfolio: (k,) int32 row of the ids of the chunk.
        day: (k,) int32.
        at: (k,) int64 microseconds since 1970.
    """

    portfolio: Int32
    day: Int32
    at: Int64

    def changed(
        self, facts: Facts, which: Bools, counts: Callable[[Int64, Facts, Int64], Bools]
    ) -> Bools:
        """Return (k,) whether a fact that counts in a row was changed since it was written.

        Args:
            facts: Of the chunk.
            which: (n,) bool, those that are looked at.
            counts: Whether facts count in rows: called with rows, facts and as many rows of these.
        """
        if len(self.at) == 0:
            return np.zeros(0, dtype=np.bool_)
        facts = facts.take(which & (facts.changed > self.at.min()))
        pair = pairs(self.portfolio, facts.portfolio)
        since = facts.changed[pair.right] > self.at[pair.left]
        return any_by_left(pair, since & counts(pair.left, facts, pair.right), len(self.at))

    def changed_while_held(self, facts: Facts, which: Bools) -> Bools:
        """Return (k,) the same where a fact counts while its position is held."""

        def held(row: Int64, facts: Facts, fact: Int64) -> Bools:
            day = self.day[row]
            inside: Bools = (facts.start[fact] <= day) & (day < facts.end[fact])
            return inside

        return self.changed(facts, which, held)


@dataclass(frozen=True, eq=False, slots=True, kw_only=True)
class Patterns:
    """In which columns of a policy a changed input shows.

    Attributes:
        price: Columns in which closes count.
        flow: Columns in which flows count.
        lot: Columns in which positions and events count.
        exits: Whether a position that was exited counts no more (S3); else it goes on (L8).
    """

    price: Sequence[str]
    flow: Sequence[str]
    lot: Sequence[str]
    exits: bool


@dataclass(frozen=True, eq=False, slots=True, kw_only=True)
class Differing:
    """Rows with a cell that differs.

    Attributes:
        rows: When they were written.
        since: (k,) int32, the day after which events and flows count.
        looks_back: (k,) int32, the first day whose close may have counted.
        lacks_a_run: (k,) bool, whether a row that they went on from is gone.
        wrong: (k, c) bool; c counts `ALL_COLUMNS`.
    """

    rows: Written
    since: Int32
    looks_back: Int32
    lacks_a_run: Bools
    wrong: Bools

    def causes(self, patterns: Patterns, facts: Facts, prices: ChangedPrices) -> Bytes:
        """Return (k,) the cause of each, a place in `CAUSES`.

        Args:
            patterns: Of the policy.
            facts: Of the chunk.
            prices: Closes that were changed, by the symbols of ``facts`` and of the market after.
        """
        stamped = facts.changed < UNKNOWN
        day, since = self.rows.day, self.since

        def flow(row: Int64, facts: Facts, fact: Int64) -> Bools:
            of = facts.start[fact]
            counts: Bools = (of <= day[row]) & ((of > since[row]) | (of == day[row]))
            return counts

        def event(row: Int64, facts: Facts, fact: Int64) -> Bools:
            counts: Bools = (facts.start[fact] <= day[row]) & (facts.end[fact] > since[row])
            counts |= facts.end[fact] == day[row]
            return counts

        def position(row: Int64, facts: Facts, fact: Int64) -> Bools:
            begun: Bools = facts.start[fact] <= day[row]
            return begun

        of_price, of_lot = in_any(self.wrong, patterns.price), in_any(self.wrong, patterns.lot)
        changed = self.rows.changed
        holds = {
            "missing_run": self.lacks_a_run,
            "price_changed": of_price & self._prices_changed(patterns, facts, prices),
            "flow_changed": in_any(self.wrong, patterns.flow)
            & changed(facts, stamped & (facts.kind == Fact.FLOW), flow),
            "event_added": of_lot & changed(facts, stamped & (facts.kind == Fact.EVENT), event),
            "position_changed": of_lot
            & changed(facts, stamped & (facts.kind == Fact.POSITION), position),
        }
        found = np.full(len(day), CAUSES.index("unknown"), dtype=np.uint8)
        for name, rows in reversed(holds.items()):
            found[rows] = CAUSES.index(name)
        return found

    def _prices_changed(self, patterns: Patterns, facts: Facts, prices: ChangedPrices) -> Bools:
        portfolio, last, written = self.rows.portfolio, self.rows.day, self.rows.at
        held = facts.take(facts.kind == Fact.POSITION)
        pair = pairs(portfolio, held.portfolio)
        row, position = pair.left, pair.right
        latest = _latest_change(prices, held.symbol[position], self.looks_back[row], last[row])
        counts = held.start[position] <= last[row]
        if patterns.exits:
            counts &= held.end[position] >= self.since[row]
        found = any_by_left(pair, counts & (latest > written[row]), len(portfolio))
        # Betas are made of the closes of the market too, whoever holds it.
        market = np.full(len(portfolio), len(facts.symbols), dtype=np.int64)
        if MARKET in facts.symbols:
            market[:] = facts.symbols.index(MARKET)
        latest = _latest_change(prices, market, self.looks_back, last)
        return found | (in_any(self.wrong, ANALYTIC) & (latest > written))


def _latest_change(prices: ChangedPrices, symbol: Int64, first: Int32, last: Int32) -> Int64:
    """Return when a close of a symbol in a window was last changed; `NEVER` if none was."""
    if len(symbol) == 0:
        return np.zeros(0, dtype=np.int64)
    keys = day_keys(prices.symbol, prices.day)
    low = np.searchsorted(keys, day_keys(symbol, first), side="left")
    high = np.searchsorted(keys, day_keys(symbol, last), side="right")
    padded = np.append(prices.changed, NEVER)
    latest = np.maximum.reduceat(padded, np.column_stack((low, high)).ravel())[::2]
    return np.where(high > low, latest, NEVER)


def last_written(chunks: RunChunks, ids: Bytes, rows: Written) -> Written:
    """Return when rows were last written: created, or replaced by a run since."""
    at = rows.at.copy()
    for chunk, inside in chunks.around(ids, rows.portfolio, rows.day, rows.day):
        if chunks.replaced[chunk]:
            at[inside] = np.maximum(at[inside], chunks.began[chunk])
    return Written(rows.portfolio, rows.day, at)


def runs_are_missing(
    chunks: RunChunks, ids: Bytes, rows: Written, previous_day: Int32, holes: Int64
) -> Bools:
    """Return which rows follow sessions that a run had, and that have no complete snapshot.

    Args:
        chunks: Of the ledger.
        ids: (p, 16) uint8 portfolios of the chunk.
        rows: (k,) of them.
        previous_day: (k,) int32, the day that each goes on from.
        holes: (k,) int64 sessions between without a complete snapshot.
    """
    found = np.zeros(len(holes), dtype=np.bool_)
    window = (previous_day + 1).astype(np.int32), (rows.day - 1).astype(np.int32)
    for _, inside in chunks.around(ids, rows.portfolio, *window):
        found |= inside & (holes > 0)
    return found


@dataclass(frozen=True, eq=False, slots=True)
class Pairs:
    """Rows of two sides that belong together.

    Attributes:
        left: (m,) int64, ascending.
        right: (m,) int64.
    """

    left: Int64
    right: Int64


def pairs(left: npt.NDArray[Any], right: npt.NDArray[Any]) -> Pairs:
    """Return all pairs with the same key; the right keys ascend."""
    low = np.searchsorted(right, left, side="left")
    count = np.searchsorted(right, left, side="right") - low
    own = np.repeat(np.arange(len(left)), count)
    within = np.arange(len(own)) - np.repeat(np.cumsum(count) - count, count)
    return Pairs(own, np.repeat(low, count) + within)


def any_by_left(pair: Pairs, holds: Bools, rows: int) -> Bools:
    """Return for each row on the left whether some pair of it holds."""
    found = np.zeros(rows, dtype=np.bool_)
    found[pair.left[holds]] = True
    return found
