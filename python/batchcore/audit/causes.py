"""Changes since rows were written, which may be why they differ: pure functions."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final, NamedTuple

import numpy as np

from batchcore.audit.compare import ALL_COLUMNS, FLOW_COLUMNS, OF_WEIGHTS, PNL_COLUMNS, in_any
from batchcore.calendar import FIRST_DATE, LAST_DATE
from batchcore.frames import day_keys
from batchcore.schema import COUNT_COLUMNS
from batchcore.sources.stored import (
    ANALYTIC,
    EMPTY,
    FACT_CAUSES,
    GREEKS,
    NEVER,
    SHARES,
    UNKNOWN,
    ChangedCloses,
    Fact,
    Facts,
    RunChunks,
)
from batchcore.units import MARKET

if TYPE_CHECKING:
    from collections.abc import Callable

    import numpy.typing as npt

    from batchcore.frames import Bools, Bytes, Int32, Int64

    Counts = Callable[[Int64, Int32, Int32], Bools]


CAUSES: Final = (
    "missing_run",
    "price_changed",
    "split_changed",
    "rate_changed",
    *FACT_CAUSES,
    "unknown",
)
"""Causes of differences; the first one shown by a stored fact is reported."""

_BY_LOTS: Final = tuple(name for name in ALL_COLUMNS if name not in {*FLOW_COLUMNS, *EMPTY})
_BY_CLOSES: Final = tuple(name for name in _BY_LOTS if name not in {*COUNT_COLUMNS, *GREEKS})
_BY_FLOWS: Final = (
    *(*FLOW_COLUMNS, "equity_balance", "total_value", "cash_value"),
    *(name for name in ANALYTIC if name == SHARES or name not in OF_WEIGHTS),
)
_COLUMNS_BY_CAUSE: Final = {
    "missing_run": (*PNL_COLUMNS, *_BY_FLOWS),
    "price_changed": _BY_CLOSES,
    "rate_changed": _BY_CLOSES,
    "flow_changed": _BY_FLOWS,
}
"""Columns that depend on the facts of a cause, if not those of lots."""


@dataclass(frozen=True, eq=False, slots=True)
class WriteTimes:
    """Rows by portfolio of the chunk and day, with the times of their writing in microseconds."""

    portfolio: Int32
    day: Int32
    at: Int64

    def changed(self, facts: Facts, which: Bools, counts: Counts | None = None) -> Bools:
        """Return (k,) whether a fact of a portfolio was changed since its row was written.

        ``counts`` selects the facts that count: it is called with rows, and with start and end of
        as many facts; None counts all.
        """
        if len(self.at) == 0:
            return np.zeros(0, dtype=np.bool_)
        facts = facts.take(which & (facts.changed > self.at.min()))
        pair = pairs(self.portfolio, facts.portfolio)
        since = facts.changed[pair.right] > self.at[pair.left]
        if counts is not None:
            since &= counts(pair.left, facts.start[pair.right], facts.end[pair.right])
        return any_by_left(pair, since, len(self.at))

    def changed_while_held(self, facts: Facts, which: Bools) -> Bools:
        """Return (k,) whether a fact that counts while its position is held was changed since."""
        day = self.day
        return self.changed(
            facts, which, lambda row, start, end: (start <= day[row]) & (day[row] < end)
        )


def causes_of(
    written: WriteTimes,
    facts: Facts,
    prices: ChangedCloses,
    splits: ChangedCloses,
    rate_changed: Bools,
    *,
    wrong: Bools,
    since: Int32,
    looks_back: Int32,
    lacks_a_run: Bools,
    splits_go_back: bool,
    ends_at_exit: bool,
) -> Bytes:
    """Return (k,) the possible cause of the difference of each row, an index into `CAUSES`.

    ``prices`` are changed closes, by the symbols of ``facts`` followed by that of the market;
    ``splits`` likewise, by their ex-dates, `FIRST_DATE` for edited ones. Events and flows count
    after the day ``since``, closes since ``looks_back``. ``splits_go_back`` if a split counts on
    all days before it (C5). A fact counts if it affects one of the (k, c) wrong cells; closes of
    the market affect analytics, whoever holds it.
    """
    day, stamped = written.day, facts.changed < UNKNOWN

    def changed(kind: Fact) -> Bools:
        own = stamped & (facts.kind == kind)

        def counts(row: Int64, start: Int32, on: Int32) -> Bools:
            if kind == Fact.POSITION:
                return start <= day[row]
            found: Bools = ((start <= day[row]) & (on > since[row])) | (on == day[row])
            return found

        found = written.changed(facts, own & ~facts.edited, counts)
        return found | written.changed(facts, own & facts.edited)

    # the remaining part of a position, and the parts closed by events, which may end later
    held = facts.take((facts.kind == Fact.POSITION) | (facts.kind == Fact.EVENT))
    pair = pairs(written.portfolio, held.portfolio)
    row, lot = pair.left, pair.right
    symbol, start, end = held.symbol[lot], held.start[lot], held.end[lot]
    is_held = start <= day[row]
    if ends_at_exit:
        is_held &= end >= since[row]
    closes = latest_change(prices, symbol, looks_back[row], day[row])
    # an event that a split precedes makes another lot on all days (C4)
    is_event = held.kind[lot] == Fact.EVENT
    until = np.where(is_event, np.maximum(end, day[row]), day[row]).astype(np.int32)
    if splits_go_back:
        until = np.full_like(until, LAST_DATE)
    first = np.full_like(until, FIRST_DATE)
    over_split = np.maximum(
        latest_change(splits, symbol, start + 1, until),
        latest_change(splits, symbol, first, first),  # edited
    )
    place = facts.symbols.index(MARKET) if MARKET in facts.symbols else len(facts.symbols)
    market = np.full(len(day), place, dtype=np.int64)
    of_market = in_any(wrong, ANALYTIC) & (
        latest_change(prices, market, looks_back, day) > written.at
    )
    holds = {
        "missing_run": lacks_a_run,
        "price_changed": any_by_left(pair, is_held & (closes > written.at[row]), len(day))
        | of_market,
        "split_changed": any_by_left(pair, is_held & (over_split > written.at[row]), len(day)),
        "rate_changed": rate_changed,
        **{name: changed(kind) for name, kind in FACT_CAUSES.items()},
    }
    for name in CAUSES[:-1]:
        holds[name] &= in_any(wrong, _COLUMNS_BY_CAUSE.get(name, _BY_LOTS))
    found = np.full(len(day), CAUSES.index("unknown"), dtype=np.uint8)
    for name, rows in reversed(holds.items()):
        found[rows] = CAUSES.index(name)
    return found


def latest_change(prices: ChangedCloses, symbol: Int64, first: Int32, last: Int32) -> Int64:
    """Return when a close that counts in a window was last changed; `NEVER` if not."""
    if len(symbol) == 0:
        return np.zeros(0, dtype=np.int64)
    ends = day_keys(prices.symbol, prices.until)
    ends = np.minimum.accumulate(ends[::-1])[::-1]  # of other spellings, too
    low = np.searchsorted(ends, day_keys(symbol, first), side="right")
    high = np.searchsorted(day_keys(prices.symbol, prices.day), day_keys(symbol, last), "right")
    padded = np.append(prices.changed, NEVER)
    latest = np.maximum.reduceat(padded, np.column_stack((low, high)).ravel())[::2]
    return np.where(high > low, latest, NEVER)


def last_written(chunks: RunChunks, ids: Bytes, rows: WriteTimes) -> WriteTimes:
    """Return when rows were last written: created, or replaced by a run since."""
    at = rows.at.copy()
    rewritten = chunks.take(chunks.replaced)
    for chunk, inside in rewritten.around(ids, rows.portfolio, rows.day, rows.day):
        at[inside] = np.maximum(at[inside], rewritten.began[chunk])
    return WriteTimes(rows.portfolio, rows.day, at)


def has_missing_run(
    chunks: RunChunks, ids: Bytes, rows: WriteTimes, previous_day: Int32, holes: Int64
) -> Bools:
    """Return which rows with holes before them follow sessions of a run."""
    found, own = np.zeros(len(holes), dtype=np.bool_), np.flatnonzero(holes > 0)
    first, last = (previous_day[own] + 1).astype(np.int32), (rows.day[own] - 1).astype(np.int32)
    for _, inside in chunks.around(ids, rows.portfolio[own], first, last):
        found[own[inside]] = True
    return found


class Pairs(NamedTuple):
    """Matching rows of two sides; the left ones ascend."""

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
    """Return for each row on the left whether a condition holds for any of its pairs."""
    found = np.zeros(rows, dtype=np.bool_)
    found[pair.left[holds]] = True
    return found
