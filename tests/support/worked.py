"""Rows of the policy `rollforward`, the usual ones of the worked cases with other columns."""

from decimal import Decimal
from functools import partial

from batchcore import reference as ref
from support import cases
from support.cases import USUAL, Price, closes, jan

PRICES = tuple(closes(USUAL["rollforward"]["case"]["prices"]))
ONE_AAA = cases.rows("rollforward", USUAL["rollforward"]["case"]["rows"])
"""The rows of 1 AAA bought at 10, with `PRICES` on 5, 6 and 7 January and an opening of 1000."""

position = partial(cases.position, "rollforward")


def price(symbol: str, on: int, close: str) -> Price:
    return symbol, jan(on), Decimal(close)


def event(on: int, quantity: str, realized: str) -> ref.Event:
    return ref.Event(jan(on), Decimal(quantity), Decimal(realized))


def contribution(on: int, amount: str) -> ref.Flow:
    return ref.Flow(jan(on), Decimal(amount), "CONTRIBUTION")


def withdrawal(on: int, amount: str) -> ref.Flow:
    return ref.Flow(jan(on), Decimal(amount), "WITHDRAWAL")


def portfolio(
    *positions: ref.Position,
    opening: str | Decimal | None = "1000",
    flows: tuple[ref.Flow, ...] = (),
    snapshots: tuple[ref.Snapshot, ...] = (),
    name: str = "p",
) -> ref.Portfolio:
    equity = None if opening is None else Decimal(opening)
    return ref.Portfolio(name, equity, positions, flows, snapshots)


def issue(name: str, detail: str, symbol: str | None = "AAA", on: int | None = None) -> ref.Issue:
    return ref.Issue(name, symbol, None if on is None else jan(on), detail)


def idle(equity: str, *days: int) -> tuple[ref.Row, ...]:
    """Return the rows of a portfolio in which nothing happens."""
    return tuple(
        row for on in days for row in cases.rows("rollforward", f"day|equity\n{on}|{equity}")
    )
