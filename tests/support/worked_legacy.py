"""Rows of the policy `legacy`, the usual ones of the worked cases with other columns."""

from decimal import Decimal
from functools import partial
from typing import Any

from batchcore import reference as ref
from batchcore.reference import legacy
from support import cases
from support.cases import USUAL, closes, jan
from support.worked import contribution, price, withdrawal

__all__ = [
    "CALENDAR",
    "PRICES",
    "P",
    "beta",
    "contribution",
    "event",
    "held",
    "jan",
    "portfolio",
    "position",
    "price",
    "profile",
    "snapshot",
    "withdrawal",
]

CALENDAR = frozenset(
    jan(on) for on in (-9, -8, -7, -5, -2, -1, 0, 2, 5, 6, 7, 8, 9, 12, 13, 14, 15, 16)
)
"""Sessions of XNYS; 25 December and 1 January are holidays."""

PRICES = tuple(closes(USUAL["legacy"]["case"]["prices"]))

position = partial(cases.position, "legacy")


def held(symbol: str, market_value: str | None, **columns: Any) -> ref.Position:
    """Return 1 unit of `symbol` with a stored market value."""
    columns = {"quantity": "1", "market_value": market_value} | columns
    return position(symbol=symbol, **columns)


def event(on: int, realized: str) -> ref.Event:
    return ref.Event(jan(on), Decimal(1), Decimal(realized))


def beta(on: int, value: str) -> ref.Beta:
    return ref.Beta(jan(on), Decimal(value))


def profile(
    value: str | None = None, sector: str | None = None, *, is_etf: bool | None = False
) -> legacy.Profile:
    return legacy.Profile(None if value is None else Decimal(value), sector, is_etf)


def snapshot(
    on: int,
    equity: str | None,
    total: tuple[str | None, str | None, str | None] = ("0", "0", "0"),
    *,
    is_complete: bool = True,
) -> legacy.Snapshot:
    """Return a stored row; `total` are cumulative P&L, realized P&L and capital flow."""
    amounts = [None if amount is None else Decimal(amount) for amount in (equity, *total)]
    return legacy.Snapshot(jan(on), *amounts, is_complete=is_complete)


P = snapshot(2, "1000")


def portfolio(
    *positions: ref.Position,
    balance: str | None = "777",
    flows: tuple[ref.Flow, ...] = (),
    snapshots: tuple[legacy.Snapshot, ...] = (P,),
    deleted: bool = False,
) -> legacy.Portfolio:
    equity = None if balance is None else Decimal(balance)
    return legacy.Portfolio("p", equity, positions, flows, snapshots, deleted)
