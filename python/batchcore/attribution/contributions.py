"""What each lot, or group of lots, added to the P&L of a range: exact, from the native core."""

from __future__ import annotations

import os
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np

from batchcore import _core
from batchcore.frames import Days, Frame, Integers, WideDecimals

if TYPE_CHECKING:
    import numpy.typing as npt

    from batchcore.frames import Bytes, Events, Int32, Opening, Positions, UInt32
    from batchcore.native import CancelFlag, Market


@dataclass(frozen=True, eq=False, kw_only=True)
class Contributions(Frame):
    """Lots with what each added, by portfolio; within one by the bytes of the position's id.

    Attributes:
        portfolio: (n,) int32 row of `Opening`.
        position: (n,) int32 row of `Positions`.
        kind: (n,) uint8 of `units.LotKind`.
        quantity: Signed.
        multiplier: (n,) uint32.
        mark_before: Mark where the range begins; NULL where the lot is not held then, or PRIVATE.
        day_before: Of its close; NULL for an entry price too.
        status_before: Of `units.Mark`.
        mark: Mark where the range ends, likewise.
        day: Of its close.
        status: Of `units.Mark`.
        unrealized_change: Dollars, as the next two; 0 on a baseline.
        realized: 0 on a baseline.
        value: Where the range ends; NULL where the lot is not held then.
    """

    portfolio: Int32
    position: Int32
    kind: Bytes
    quantity: WideDecimals
    multiplier: UInt32
    mark_before: WideDecimals
    day_before: Days
    status_before: Integers
    mark: WideDecimals
    day: Days
    status: Integers
    unrealized_change: WideDecimals
    realized: WideDecimals
    value: WideDecimals

    _shared: ClassVar = frozenset[str]()


def contributions(
    market: Market,
    *,
    positions: Positions,
    events: Events,
    opening: Opening,
    threads: int | None = None,
    cancel: CancelFlag | None = None,
) -> Contributions:
    """Return what each lot added to the P&L of its portfolio.

    Args:
        market: Closes from the earliest start of a lot on, or as many as there are.
        positions: Holdings, rows in any order.
        events: Partial closes.
        opening: The portfolios: from `first_day`, exclusive, to `last_day`; the lowest int32 where
            the session is a baseline. Nothing else of it is read.
        threads: None for as many as there are cores.
        cancel: Raised from another thread, it stops the call.

    Raises:
        InputError: a wrong column, or an amount of more than 38 digits.
        CancelledError: `cancel` was raised.

    Source:
        docs/semantics.md, X1, X3, X4.
    """
    found = _core.contributions(
        positions=positions,
        events=events,
        opening=opening,
        marks=market.marks,
        threads=threads or os.cpu_count() or 1,
        cancel=cancel,
    )
    price, quantity, amount = (found[name] for name in ("price_scale", "quantity_scale", "scale"))

    def wide(name: str, scale: int) -> WideDecimals:
        values, state = found[name]
        return WideDecimals(values, scale, state)

    def status(name: str) -> Integers:
        values, state = found[name]
        return Integers(values.astype(np.int32), state)

    return Contributions(
        portfolio=found["portfolio"],
        position=found["position"],
        kind=found["kind"],
        quantity=wide("quantity", quantity),
        multiplier=found["multiplier"],
        mark_before=wide("mark_before", price),
        day_before=Days(*found["day_before"]),
        status_before=status("status_before"),
        mark=wide("mark", price),
        day=Days(*found["day_after"]),
        status=status("status_after"),
        unrealized_change=wide("unrealized_change", amount),
        realized=wide("realized", amount),
        value=wide("value", amount),
    )


def sums(column: WideDecimals, keys: npt.NDArray[Any], groups: int) -> WideDecimals:
    """Return the sums of a column by key; NULLs count as 0.

    Args:
        column: n amounts.
        keys: (n,) whole numbers below `groups`.
        groups: How many sums there are.

    Raises:
        InputError: a key that is no such number, or a sum of more than 38 digits.
    """
    values = np.where(column.state[:, None] == 0, column.values, 0).astype(np.uint8)
    found = _core.sums_by_key(keys.astype(np.uint32), groups, values.reshape(-1))
    return WideDecimals(found, column.scale)
