"""Splits in plain fractions: the valid rows (C3), and quantities from one basis to another (C4).

The *basis* of a quantity or a price is a day: the shares are those that traded on it. A split is
between two bases if its ex-date is after the first and not after the second. `CURRENT` is the basis
after every split of the table.
"""

from __future__ import annotations

import math
import operator
from collections import defaultdict
from dataclasses import dataclass, field
from decimal import Decimal
from fractions import Fraction
from itertools import accumulate
from typing import TYPE_CHECKING, Final

from batchcore.reference.facts import Issue
from batchcore.values import INFINITE_DAY, normalised, representable, underlying
from batchcore.words import short

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping

CURRENT: Final = INFINITE_DAY
"""The basis after the last split."""

MOST_DIGITS: Final = 38
"""Digits of a product of splits, in lowest terms, above and below the line (C4)."""

QUANTITY_SCALE: Final = 8
"""Decimals that a quantity has on another basis than its own (C4)."""


@dataclass(frozen=True, slots=True)
class Splits:
    """The valid splits: normalised symbol -> ex-date -> new shares for an old one.

    Closes are `as_traded` or `adjusted`, quantities `as_entered` or `current`.
    """

    price_basis: str
    quantity_basis: str
    quotients: Mapping[str, Mapping[int, Fraction]] = field(default_factory=dict)
    issues: tuple[Issue, ...] = ()

    def of_close(self, day: int) -> int:
        """Return the basis of a close of `day`."""
        return day if self.price_basis == "as_traded" else CURRENT

    def of_position(self, day: int) -> int:
        """Return the basis of the values that a host stores for a position at `day`."""
        return day if self.quantity_basis == "as_entered" else CURRENT

    def between(self, symbol: str, basis: int, other: int) -> Iterator[tuple[int, Fraction]]:
        """Yield ex-date and quotient of each split between two bases."""
        for day, quotient in sorted(self.quotients.get(symbol, {}).items()):
            if basis < day <= other:
                yield day, quotient

    def of_option(self, symbol: str) -> str:
        """Return the symbol whose splits apply to an option: its own, or else its underlying."""
        return symbol if symbol in self.quotients else underlying(symbol) or symbol

    def factor(self, symbol: str, basis: int, other: int) -> Fraction:
        """Return the number of shares on the `other` basis that equal one on `basis`."""
        if other < basis:
            return 1 / self.factor(symbol, other, basis)
        return math.prod((one for _, one in self.between(symbol, basis, other)), start=Fraction(1))

    def between_closes(self, symbol: str, before: int, day: int) -> Fraction:
        """Return the number of shares of a close of `day` that equal one of a close of `before`."""
        return self.factor(symbol, self.of_close(before), self.of_close(day))

    def quantity(self, symbol: str, quantity: Decimal, basis: int, other: int) -> Decimal:
        """Return a quantity on another basis, rounded once (C4); unchanged on the same one."""
        if symbol not in self.quotients:
            return quantity
        factor = self.factor(symbol, basis, other)
        return quantity if factor == 1 else half_away(Fraction(quantity) * factor, QUANTITY_SCALE)

    def price(self, symbol: str, price: Decimal, basis: int, other: int, scale: int) -> Decimal:
        """Return a price on another basis, rounded to some decimals; unchanged on the same one."""
        factor = self.factor(symbol, other, basis)
        return price if factor == 1 else half_away(Fraction(price) * factor, scale)

    def fits(self, symbol: str, quantity: Decimal, basis: int, start: int, scale: int) -> bool:
        """Return whether a quantity is representable on every basis from `start` on (C4).

        It may be so at the `scale` of its column, or at the decimals to which it is rounded. The
        product of all splits of the symbol up to each ex-date must have at most 38 digits above and
        below the line.
        """
        others = [start, *(day for day, _ in self.between(symbol, start, CURRENT))]
        quotients = [quotient for _, quotient in sorted(self.quotients.get(symbol, {}).items())]
        if len(others) > 1 and any(
            max(product.as_integer_ratio()) >= 10**MOST_DIGITS
            for product in accumulate(quotients, operator.mul)
        ):
            return False
        moved = (self.quantity(symbol, quantity, basis, other) for other in others)
        return all(representable(one, scale) or representable(one, QUANTITY_SCALE) for one in moved)


NO_SPLITS: Final = Splits("as_traded", "as_entered")


def splits(
    rows: Iterable[tuple[str | None, int | None, Decimal | None, Decimal | None]],
    price_basis: str,
    quantity_basis: str,
    *,
    scale: int = QUANTITY_SCALE,
) -> Splits:
    """Return the valid splits, and `bad_split` for other rows (C3).

    Rows are symbol as stored, ex-date, new and old shares, in any order.
    """
    sound: dict[tuple[str, int], list[tuple[str, Decimal, Decimal]]] = defaultdict(list)
    bad: list[tuple[str, Issue]] = []
    for symbol, day, new, old in rows:
        name = normalised(symbol or "")
        if symbol is None or not name:
            continue
        fault = _date_fault(day) or _fault("new", new, scale) or _fault("old", old, scale)
        if fault is None and day is not None and new is not None and old is not None:
            sound[name, day].append((symbol, new, old))
        else:
            noted = None if day == INFINITE_DAY else day
            bad.append((name, Issue("bad_split", symbol, noted, fault or "")))
    quotients: dict[str, dict[int, Fraction]] = defaultdict(dict)
    for (name, day), group in sound.items():
        found = {Fraction(new) / Fraction(old) for _, new, old in group}
        if len(found) == 1:
            quotients[name][day] = found.pop()
            continue
        ratios = sorted({f"{short(new)} for {short(old)}" for _, new, old in group})
        detail = f"{' and '.join(ratios)} on one ex-date"
        bad += [(name, Issue("bad_split", symbol, day, detail)) for symbol, _, _ in group]
    bad.sort(key=lambda one: (one[0], one[1].day or 0, one[1].detail))
    return Splits(price_basis, quantity_basis, quotients, tuple(issue for _, issue in bad))


def half_away(value: Fraction, scale: int) -> Decimal:
    """Return a fraction to `scale` decimals, half away from zero; exact for any size."""
    units = math.floor(abs(value) * 10**scale + Fraction(1, 2))
    sign = "-" if value < 0 and units else ""
    return Decimal(f"{sign}{units}E-{scale}")


def ratio(quotient: Fraction) -> str:
    """Return a split in the form of issues."""
    return f"{quotient.numerator} for {quotient.denominator}"


def _date_fault(day: int | None) -> str | None:
    if day is None:
        return "ex_date = NULL"
    return "ex_date = not finite" if day == INFINITE_DAY else None


def _fault(column: str, value: Decimal | None, scale: int) -> str | None:
    """Return a column of shares that is not a number above 0, with its value."""
    if value is None:
        return f"{column} = NULL"
    if not value.is_finite():
        return f"{column} = not finite"
    if not representable(value, scale):
        return f"{column} = not representable"
    return None if value > 0 else f"{column} = {short(value)}"
