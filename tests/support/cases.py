"""Worked cases of the policy `rollforward`, for the reference and for the core.

`vectors()` reads those of `tests/golden/rollforward.json`; `support.worked` holds what they lack.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from datetime import date
from decimal import Decimal
from pathlib import Path
from typing import Any

from batchcore import reference as ref
from batchcore.units import Mark

GOLDEN = Path(__file__).parent.parent / "golden"
EPOCH = date(1970, 1, 1).toordinal()

Price = tuple[str, int | None, Decimal | None]


def day(text: str) -> int:
    """Return an ISO date as days since 1970-01-01."""
    return date.fromisoformat(text).toordinal() - EPOCH


@dataclass(frozen=True)
class Case:
    """Inputs of one run and what must come out.

    Attributes:
        name: Of the case.
        note: The rule, and the arithmetic by hand.
        prices: Symbol as stored, day, close.
        portfolios: One or more.
        sessions: To write, the same for all portfolios.
        expected: One for each portfolio.
        market_issues: `duplicate_price`.
        lookback_days: Of S4.
        scales: Of the columns read.
    """

    name: str
    note: str
    prices: tuple[Price, ...]
    portfolios: tuple[ref.Portfolio, ...]
    sessions: tuple[int, ...]
    expected: tuple[Expected, ...]
    market_issues: tuple[ref.Issue, ...] = ()
    lookback_days: int = 10
    scales: ref.Scales = ref.DEFAULT_SCALES


@dataclass(frozen=True)
class Expected:
    """What a portfolio must give; `issues` in any order, None if the case does not tell them."""

    rows: tuple[ref.Row, ...]
    issues: tuple[ref.Issue, ...] | None = ()
    failed: bool = False


def vectors() -> list[Case]:
    """Return the cases of `tests/golden/rollforward.json`."""
    document = json.loads((GOLDEN / "rollforward.json").read_text())
    prices = tuple(
        (symbol, day(on), Decimal(close))
        for symbol, closes in document["prices"].items()
        for on, close in closes.items()
    )
    return [
        Case(
            name=case["name"],
            note=case["note"],
            prices=prices,
            portfolios=(_portfolio(case),),
            sessions=tuple(day(session) for session in case["sessions"]),
            expected=(Expected(tuple(map(_row, case["expected"])), issues=None),),
            lookback_days=document["lookback_days"],
        )
        for case in document["cases"]
    ]


def _decimal(text: str | None) -> Decimal | None:
    return None if text is None else Decimal(text)


def _day(text: str | None) -> int | None:
    return None if text is None else day(text)


def _portfolio(case: dict[str, Any]) -> ref.Portfolio:
    previous = case["previous"]
    return ref.Portfolio(
        id=case["name"],
        opening_equity=_decimal(case["opening_equity"]),
        positions=tuple(map(_position, case["positions"])),
        flows=tuple(_signed_flow(on, Decimal(amount)) for on, amount in case["flows"]),
        snapshots=()
        if previous is None
        else (
            ref.Snapshot(
                day(previous["date"]),
                Decimal(previous["equity"]),
                _decimal(previous["cumulative_pnl"]),
                _decimal(previous["cumulative_realized"]),
                _decimal(previous["cumulative_flow"]),
            ),
        ),
    )


def _signed_flow(on: str, amount: Decimal) -> ref.Flow:
    return ref.Flow(day(on), abs(amount), "CONTRIBUTION" if amount > 0 else "WITHDRAWAL")


def _position(position: dict[str, Any]) -> ref.Position:
    return ref.Position(
        symbol=position["symbol"],
        position_type=position["position_type"],
        quantity=_decimal(position["quantity"]),
        entry_price=_decimal(position["entry_price"]),
        entry_day=_day(position["entry_date"]),
        exit_price=_decimal(position["exit_price"]),
        exit_day=_day(position["exit_date"]),
        expiration_day=_day(position["expiration_date"]),
        investment_class=position["investment_class"],
        market_value=_decimal(position["market_value"]),
        deleted=position["deleted_at"] is not None,
        events=tuple(
            ref.Event(
                _day(event["trade_date"]),
                _decimal(event["quantity_closed"]),
                _decimal(event["realized_pnl"]),
            )
            for event in position["events"]
        ),
    )


def _row(row: dict[str, Any]) -> ref.Row:
    amounts = {
        name: Decimal(value) if isinstance(value, str) else value
        for name, value in row.items()
        if name not in {"snapshot_date", "marks"}
    }
    marks = tuple(row["marks"].get(status.name.lower(), 0) for status in Mark)
    return ref.Row(day=day(row["snapshot_date"]), marks=marks, **amounts)
