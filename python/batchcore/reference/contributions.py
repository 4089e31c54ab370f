"""The contribution of a lot to a P&L (X1), which each policy defines in `contributions`."""

from __future__ import annotations

from dataclasses import dataclass
from decimal import Decimal, localcontext
from typing import TYPE_CHECKING

from batchcore.values import EXACT, ONE, or_zero

if TYPE_CHECKING:
    from batchcore.units import Mark


@dataclass(frozen=True, slots=True)
class Marked:
    """The price of a lot on a day: its mark (S4), or under `legacy` the close (L10, L12).

    `day` is that of the close, None for an entry price. `rate` is the value of one unit of the
    lot's currency (C6), None without a rate.
    """

    price: Decimal
    day: int | None
    status: Mark
    rate: Decimal | None = ONE


@dataclass(frozen=True, slots=True)
class Contribution:
    """The contribution of one lot, or under `legacy` one position, to the P&L of a range."""

    position: int  # its row in the positions of the portfolio
    symbol: str
    quantity: Decimal
    multiplier: int
    entry_price: Decimal | None
    before: Marked | None  # at the beginning of the range; None if it is not held then, or PRIVATE
    after: Marked | None  # at the end of the range, likewise
    unrealized_change: Decimal | None  # ``V(t) - V(s)``; None if the range has no beginning (X3)
    realized: Decimal | None  # its part of ``R(s, t)``, likewise
    value: Decimal | None  # at the end of the range (S9, L28); None if it is not held then
    price_effect: Decimal | None = None  # of prices, at the rate at the beginning of the range (C8)
    currency_effect: Decimal | None = None  # the rest of the contribution

    @property
    def amount(self) -> Decimal:
        """The contribution: the change of its unrealized P&L, and the realized amount."""
        with localcontext(EXACT):
            return or_zero(self.unrealized_change) + or_zero(self.realized)
