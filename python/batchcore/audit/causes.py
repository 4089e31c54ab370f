"""A guess at why rows differ, from what was changed since they were written: pure."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

import numpy as np

from batchcore.audit.compare import COLUMNS, Pairs, any_by_left, differs, pairs, place_of
from batchcore.db.audit_queries import ANALYTIC, COUNTS, NEVER, UNKNOWN
from batchcore.db.load import taken
from batchcore.frames import day_keys
from batchcore.run.regressions import MARKET

if TYPE_CHECKING:
    from collections.abc import Sequence

    import numpy.typing as npt

    from batchcore.audit.links import Expected
    from batchcore.db.load_stored import AddedEvents, ChangedPrices, FlowChanges, Held, StoredRows

    Bools = npt.NDArray[np.bool_]
    Bytes = npt.NDArray[np.uint8]
    Int32 = npt.NDArray[np.int32]
    Int64 = npt.NDArray[np.int64]

CAUSES: Final = (
    "missing_run",
    "other_policy",
    "price_changed",
    "flow_changed",
    "event_added",
    "position_changed",
    "unknown",
)
"""Why a row may differ; the first whose pattern shows is told."""

DAILY: Final = ("daily_pnl", "daily_realized_pnl", "daily_capital_flow", "daily_return")
SUMS: Final = (
    *("total_value", "equity_balance", "cash_value"),
    *("cumulative_pnl", "cumulative_realized_pnl", "cumulative_capital_flow"),
)
"""Columns that say the same after one long step as after several short ones, but for rounding."""

BY_PRICE: Final = ("daily_pnl", "daily_realized_pnl", "long_value", "short_value", *ANALYTIC)
BY_FLOW: Final = ("daily_capital_flow", "cumulative_capital_flow", *ANALYTIC)
BY_LOT: Final = (*BY_PRICE, *COUNTS)


@dataclass(frozen=True, eq=False, slots=True, kw_only=True)
class Differing:
    """Rows with a cell that differs.

    Attributes:
        row: (k,) int64 row of `StoredRows`.
        day: (k,) int32.
        since: (k,) int32, the day that each goes on from; its own where there is none.
        looks_back: (k,) int32, the first day whose close may have counted.
        holes: (k,) int64, sessions between without a complete snapshot.
        wrong: (k, c) bool; c counts `COLUMNS`.
    """

    row: Int64
    day: Int32
    since: Int32
    looks_back: Int32
    holes: Int64
    wrong: Bools

    def in_any(self, columns: Sequence[str]) -> Bools:
        """Return which rows differ in one of some columns."""
        places = [place_of(column) for column in columns]
        found: Bools = np.any(self.wrong[:, places], axis=1)
        return found


@dataclass(frozen=True, eq=False, slots=True, kw_only=True)
class Changes:
    """What was changed, of the portfolios of a chunk.

    Attributes:
        held: Positions.
        events: Partial closes.
        flows: Cash in and out; None where the host has no such table.
        prices: Closes.
    """

    held: Held
    events: AddedEvents
    flows: FlowChanges | None
    prices: ChangedPrices


def causes(differing: Differing, stored: StoredRows, expected: Expected, changes: Changes) -> Bytes:
    """Return of each row the cause that its pattern shows first, a row of `CAUSES`.

    Args:
        differing: The rows.
        stored: Of the chunk.
        expected: What the rows should be, one for each of ``differing``.
        changes: What was changed.
    """
    found = np.full(len(differing.row), CAUSES.index("unknown"), dtype=np.uint8)
    written = stored.written[differing.row]
    portfolio = stored.portfolio[differing.row]
    holds = {
        "missing_run": _lacks_a_run(differing, stored, expected),
        "other_policy": stored.greeks[differing.row],
        "price_changed": differing.in_any(BY_PRICE)
        & _prices_changed(differing, portfolio, written, changes),
        "flow_changed": differing.in_any(BY_FLOW)
        & _flows_changed(differing, portfolio, written, changes.flows),
        "event_added": differing.in_any(BY_LOT)
        & _events_added(differing, portfolio, written, changes.events),
        "position_changed": differing.in_any(BY_LOT)
        & _positions_changed(differing, portfolio, written, changes.held),
    }
    for name, rows in reversed(holds.items()):
        found[rows] = CAUSES.index(name)
    return found


def _lacks_a_run(differing: Differing, stored: StoredRows, expected: Expected) -> Bools:
    """Return which rows go on from a row that is no longer there.

    Then what is of the day alone differs, and what is summed up does not but for rounding: a cent
    for each step.
    """
    cents = differing.holes + 1
    found = (differing.holes > 0) & differing.in_any(DAILY)
    others = [name for name in COLUMNS if name not in {*DAILY, *SUMS, *ANALYTIC}]
    found &= ~differing.in_any(others)
    for name in SUMS:
        own = taken(stored.cells[name], differing.row)
        for steps in np.unique(cents[found]).tolist():
            at_most = cents == steps
            found &= ~(at_most & differs(own, expected.cells[name], steps))
    return found


def _prices_changed(
    differing: Differing, portfolio: Int32, written: Int64, changes: Changes
) -> Bools:
    held, prices = changes.held, changes.prices
    known = {symbol: number for number, symbol in enumerate(held.symbols)}
    other = len(known)
    code = np.array([known.get(symbol, other) for symbol in prices.symbol], dtype=np.int64)
    pair = pairs(portfolio, held.portfolio)
    row, position = pair.left, pair.right
    first, last = differing.looks_back, differing.day
    latest = _latest_change(prices, code, held.symbol[position], first[row], last[row])
    counts = (held.start[position] <= last[row]) & (held.end[position] >= differing.since[row])
    found = any_by_left(pair, counts & (latest > written[row]), len(portfolio))
    # Betas are made of the closes of the market too, whoever holds it.
    market = np.full(len(portfolio), known.get(MARKET, other), dtype=np.int64)
    latest = _latest_change(prices, code, market, first, last)
    return found | (differing.in_any(ANALYTIC) & (latest > written))


def _latest_change(
    prices: ChangedPrices, code: Int64, symbol: Int64, first: Int32, last: Int32
) -> Int64:
    """Return when a close of a symbol in a window was last changed; `NEVER` if none was."""
    order = np.lexsort((prices.day, code))
    keys = day_keys(code[order], prices.day[order])
    low = np.searchsorted(keys, day_keys(symbol, first), side="left")
    high = np.searchsorted(keys, day_keys(symbol, last), side="right")
    if len(symbol) == 0:
        return np.zeros(0, dtype=np.int64)
    padded = np.append(prices.changed[order], NEVER)
    latest = np.maximum.reduceat(padded, np.column_stack((low, high)).ravel())[::2]
    return np.where(high > low, latest, NEVER)


def _flows_changed(
    differing: Differing, portfolio: Int32, written: Int64, flows: FlowChanges | None
) -> Bools:
    if flows is None:
        return np.zeros(len(portfolio), dtype=np.bool_)
    pair = pairs(portfolio, flows.portfolio)
    day = flows.day[pair.right]
    of_day = (day <= differing.day[pair.left]) & (
        (day > differing.since[pair.left]) | (day == differing.day[pair.left])
    )
    return _changed_since(pair, of_day, flows.changed, written)


def _events_added(
    differing: Differing, portfolio: Int32, written: Int64, events: AddedEvents
) -> Bools:
    pair = pairs(portfolio, events.portfolio)
    begun = events.start[pair.right] <= differing.day[pair.left]
    begun &= events.day[pair.right] > differing.since[pair.left]
    begun |= events.day[pair.right] == differing.day[pair.left]
    return _changed_since(pair, begun, events.added, written)


def _positions_changed(differing: Differing, portfolio: Int32, written: Int64, held: Held) -> Bools:
    pair = pairs(portfolio, held.portfolio)
    begun = held.start[pair.right] <= differing.day[pair.left]
    return _changed_since(pair, begun, held.changed, written)


def _changed_since(pair: Pairs, counts: Bools, changed: Int64, written: Int64) -> Bools:
    moment = changed[pair.right]
    since = (moment > written[pair.left]) & (moment < UNKNOWN)
    return any_by_left(pair, counts & since, len(written))
