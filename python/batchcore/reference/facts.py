"""Rows of the host's tables as the rules of both policies read them.

Values are ``Decimal``, None for NULL; NaN and Infinity are Decimals like any other. Days are days
since 1970-01-01, `INFINITE_DAY` for an infinite date of either sign, None for NULL.
"""

from __future__ import annotations

from bisect import bisect_right
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final

from batchcore.units import CENTS

if TYPE_CHECKING:
    from collections.abc import Mapping
    from decimal import Decimal

    from batchcore.reference.splits import Splits

OPTION_TYPES: Final = ("LC", "LP", "SC", "SP")


@dataclass(frozen=True, slots=True)
class Scales:
    """Decimals of the columns read; values with more are `not_representable`."""

    quantity: int = 4
    price: int = 4
    close: int = 4
    money: int = CENTS


DEFAULT_SCALES: Final = Scales()


@dataclass(frozen=True, slots=True)
class Event:
    """A row of position_realized_events: part of a position, closed."""

    day: int | None
    quantity: Decimal | None
    realized: Decimal | None


@dataclass(frozen=True, slots=True)
class Beta:
    """A row of position_market_betas."""

    day: int
    beta: Decimal


@dataclass(frozen=True, slots=True)
class Position:
    """A row of positions with its events and betas, as stored.

    Only the policy `legacy` reads `last_price` and `betas`, and only `rollforward` reads
    `currency`.
    """

    symbol: str | None
    position_type: str | None
    quantity: Decimal | None
    entry_price: Decimal | None
    entry_day: int | None
    exit_price: Decimal | None = None
    exit_day: int | None = None
    expiration_day: int | None = None
    investment_class: str | None = None
    market_value: Decimal | None = None
    deleted: bool = False
    events: tuple[Event, ...] = ()
    last_price: Decimal | None = None
    betas: tuple[Beta, ...] = ()
    currency: str | None = None


@dataclass(frozen=True, slots=True)
class Flow:
    """A row of equity_changes that is not soft-deleted."""

    day: int | None
    amount: Decimal | None
    change_type: str | None


@dataclass(frozen=True, slots=True)
class Snapshot:
    """A row of portfolio_snapshots as stored before the run, with the columns that rules read."""

    day: int
    equity: Decimal | None
    cumulative_pnl: Decimal | None = None
    cumulative_realized_pnl: Decimal | None = None
    cumulative_capital_flow: Decimal | None = None
    daily_pnl: Decimal | None = None
    daily_capital_flow: Decimal | None = None
    is_complete: bool = True


@dataclass(frozen=True, slots=True, kw_only=True)
class Figures:
    """The columns that every policy stores for a day, each at its own scale, None for NULL."""

    day: int
    equity_balance: Decimal
    daily_pnl: Decimal
    daily_realized_pnl: Decimal
    daily_capital_flow: Decimal
    daily_return: Decimal | None
    cumulative_pnl: Decimal
    cumulative_realized_pnl: Decimal
    cumulative_capital_flow: Decimal
    total_value: Decimal
    cash_value: Decimal
    long_value: Decimal
    short_value: Decimal
    gross_exposure: Decimal
    net_exposure: Decimal
    num_positions: int
    num_long_positions: int
    num_short_positions: int

    def snapshot(self) -> Snapshot:
        """Return the snapshot from which the next day continues."""
        return Snapshot(
            self.day,
            self.equity_balance,
            self.cumulative_pnl,
            self.cumulative_realized_pnl,
            self.cumulative_capital_flow,
            self.daily_pnl,
            self.daily_capital_flow,
        )


@dataclass(frozen=True, slots=True)
class Issue:
    """An issue that a user should know about; each policy documents its names and details."""

    name: str
    symbol: str | None = None
    day: int | None = None
    detail: str = ""


@dataclass(frozen=True, slots=True)
class Market:
    """The closes that count under a policy, by the symbol that it looks up, with their days.

    `market` makes it for `rollforward` (S2), `legacy.closes` for `legacy`. `refused` are invalid
    closes, as an issue shows them.
    """

    days: Mapping[str, tuple[int, ...]]
    closes: Mapping[str, tuple[Decimal, ...]]
    issues: tuple[Issue, ...]
    refused: Mapping[str, Mapping[int, str]] = field(default_factory=dict)
    splits: Splits | None = None

    def latest(self, symbol: str, first: int, last: int) -> tuple[int, Decimal] | None:
        """Return day and price of the latest close in ``[first, last]``; None without one."""
        days = self.days.get(symbol, ())
        found = bisect_right(days, last) - 1
        if found < 0 or days[found] < first:
            return None
        return days[found], self.closes[symbol][found]
