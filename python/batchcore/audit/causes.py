"""A guess at why rows differ, from what was changed since they were written: pure."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

import numpy as np

from batchcore.audit.compare import (
    ALL_COLUMNS,
    COLUMNS,
    Pairs,
    any_by_left,
    differs,
    in_any,
    pairs,
)
from batchcore.db.audit_queries import ANALYTIC, COUNTS, GREEKS, NEVER, SHARES, UNKNOWN
from batchcore.frames import day_keys, rescaled, taken
from batchcore.run.regressions import MARKET
from batchcore.units import CENTS, State

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

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

OF_CHAIN: Final = ("daily_return", *SUMS, "beta_provider_1y", SHARES)
"""Columns that follow from P under `legacy`; all others are of the day alone."""

BY_PRICE: Final = ("daily_pnl", "daily_realized_pnl", "long_value", "short_value", *ANALYTIC)
BY_FLOW: Final = ("daily_capital_flow", "cumulative_capital_flow", *ANALYTIC)
BY_LOT: Final = (*BY_PRICE, *COUNTS)
BY_LEGACY_LOT: Final = (*BY_LOT, *SUMS, *GREEKS)


@dataclass(frozen=True, eq=False, slots=True, kw_only=True)
class Differing:
    """Rows with a cell that differs.

    Attributes:
        row: (k,) int64 row of `StoredRows`.
        day: (k,) int32.
        written: (k,) int64, when the row was last written, microseconds since 1970.
        since: (k,) int32, the day after which events and flows count.
        looks_back: (k,) int32, the first day whose close may have counted.
        holes: (k,) int64, sessions between without a complete snapshot.
        wrong: (k, c) bool; c counts `ALL_COLUMNS`.
        as_other: (k,) bool, whether what differs is what another policy gives.
    """

    row: Int64
    day: Int32
    written: Int64
    since: Int32
    looks_back: Int32
    holes: Int64
    wrong: Bools
    as_other: Bools

    def in_any(self, columns: Sequence[str]) -> Bools:
        """Return which rows differ in one of some columns."""
        return in_any(self.wrong, columns)


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


@dataclass(frozen=True, eq=False, slots=True, kw_only=True)
class Patterns:
    """By which columns causes show under a policy.

    Attributes:
        price: Columns in which closes count.
        flow: Columns in which flows count.
        lot: Columns in which positions and events count.
        exits: Whether a position that was exited counts no more (S3); else it goes on (L8).
        lacks_a_run: Whether rows go on from one that is no longer there.
    """

    price: Sequence[str]
    flow: Sequence[str]
    lot: Sequence[str]
    exits: bool
    lacks_a_run: Callable[[Differing, StoredRows, Expected], Bools]


def causes(
    patterns: Patterns,
    differing: Differing,
    stored: StoredRows,
    expected: Expected,
    changes: Changes,
) -> Bytes:
    """Return of each row the cause that its pattern shows first, a row of `CAUSES`.

    Args:
        patterns: Of the policy.
        differing: The rows.
        stored: Of the chunk.
        expected: What the rows should be, one for each of ``differing``.
        changes: What was changed.
    """
    found = np.full(len(differing.row), CAUSES.index("unknown"), dtype=np.uint8)
    written = differing.written
    portfolio = stored.portfolio[differing.row]
    of_price, of_lot = differing.in_any(patterns.price), differing.in_any(patterns.lot)
    holds = {
        "missing_run": patterns.lacks_a_run(differing, stored, expected),
        "other_policy": differing.as_other,
        "price_changed": of_price
        & _prices_changed(differing, portfolio, written, changes, exits=patterns.exits),
        "flow_changed": differing.in_any(patterns.flow)
        & _flows_changed(differing, portfolio, written, changes.flows),
        "event_added": of_lot & _events_added(differing, portfolio, written, changes.events),
        "position_changed": of_lot
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


def _lacks_a_legacy_run(differing: Differing, stored: StoredRows, expected: Expected) -> Bools:
    """Return which rows go on from a row that is no longer there (L5, L21).

    Then what is of the day alone is right, and the equity is off by what the sums are off.
    """
    found = (differing.holes > 0) & differing.in_any(OF_CHAIN)
    found &= ~differing.in_any([name for name in ALL_COLUMNS if name not in OF_CHAIN])
    off = np.zeros(len(found), dtype=np.int64)
    parts = {"equity_balance": 1, "cumulative_pnl": -1, "cumulative_capital_flow": -1}
    for name, sign in parts.items():
        own = taken(stored.cells[name], differing.row)
        wanted = rescaled(expected.cells[name], own.scale)
        found &= (own.state == State.VALUE) & (wanted.state == State.VALUE)
        off += sign * (own.values - wanted.values)
    # Each step may have rounded a cent of its own.
    room = (differing.holes + 1) * 10 ** max(stored.cells["equity_balance"].scale - CENTS, 0)
    within: Bools = np.abs(off) <= room
    return found & within


def _prices_changed(  # of positions that count as the policy has it
    differing: Differing, portfolio: Int32, written: Int64, changes: Changes, *, exits: bool
) -> Bools:
    held, prices = changes.held, changes.prices
    known = {symbol: number for number, symbol in enumerate(held.symbols)}
    other = len(known)
    code = np.array([known.get(symbol, other) for symbol in prices.symbol], dtype=np.int64)
    pair = pairs(portfolio, held.portfolio)
    row, position = pair.left, pair.right
    first, last = differing.looks_back, differing.day
    latest = _latest_change(prices, code, held.symbol[position], first[row], last[row])
    counts = held.start[position] <= last[row]
    if exits:
        counts &= held.end[position] >= differing.since[row]
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


BY_ROLLFORWARD: Final = Patterns(
    price=BY_PRICE, flow=BY_FLOW, lot=BY_LOT, exits=True, lacks_a_run=_lacks_a_run
)
BY_LEGACY: Final = Patterns(
    price=BY_LEGACY_LOT,
    flow=(*BY_FLOW, *SUMS),
    lot=BY_LEGACY_LOT,
    exits=False,
    lacks_a_run=_lacks_a_legacy_run,
)
