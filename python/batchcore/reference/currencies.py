"""Rates between currencies, and the rates of lots in other currencies (C6).

A currency is a unit, such as GBP, and a number of units: 1, or 0.01 for a subunit such as GBX.
Cases that the rule leaves open are decided here:

- A rate is above 0, at least 10^-12 and below 10^12, so that its inverse has a digit too. Any other
  is a `bad_rate`, and so are different ones of one pair and date; such a date has no rate.
- The rate of a subunit is fixed: rows of one are not read.
- By way of the pivot, each leg is a pair or else its inverse, with a lookback of its own. The
  product is exact; where a leg is an inverse, there is one quotient, rounded once.
- A quotient that is 0 after rounding is no rate.
"""

from __future__ import annotations

from bisect import bisect_right
from collections import defaultdict
from dataclasses import dataclass
from decimal import Decimal, Inexact, localcontext
from typing import TYPE_CHECKING, Final

from batchcore.reference.facts import Issue
from batchcore.reference.one_close import shown_close
from batchcore.units import State
from batchcore.values import (
    EXACT,
    INFINITE_DAY,
    ONE,
    Currency,
    currency,
    representable,
    rounded,
    text_state,
)

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping

    Quotes = tuple[tuple[int, ...], tuple[Decimal, ...]]
    RateRow = tuple[str | None, str | None, int | None, Decimal | None]

QUOTIENT_SCALE: Final = 12
"""Decimals to which the quotient of rates is rounded."""

LEAST_RATE: Final = ONE.scaleb(-QUOTIENT_SCALE)
RATE_LIMIT: Final = ONE.scaleb(QUOTIENT_SCALE)


@dataclass(frozen=True, slots=True)
class Rates:
    """Usable rates: base and quote -> days, ascending, and the rate of each."""

    quotes: Mapping[tuple[str, str], Quotes]
    lookback_days: int = 5
    pivot: str = "USD"
    issues: tuple[Issue, ...] = ()

    def rate(self, own: Currency, home: Currency | None, day: int) -> Decimal | None:
        """Return the value of one unit of a currency in another on a day; None without a rate."""
        if home is None:
            return None
        with localcontext(EXACT):
            found = self._of_units(own.unit, home.unit, day)
            # 0.01, 1 or 100
            return None if found is None else found * (own.size / home.size)

    def _of_units(self, base: str, quote: str, day: int) -> Decimal | None:
        if base == quote:
            return ONE
        leg = self._leg(base, quote, day)
        if leg is None and self.pivot not in (base, quote):
            one, other = self._leg(base, self.pivot, day), self._leg(self.pivot, quote, day)
            if one is not None and other is not None:
                leg = one[0] * other[0], one[1] * other[1]
        if leg is None:
            return None
        numerator, denominator = leg
        if denominator == 1:
            return numerator
        with localcontext(EXACT) as context:
            context.traps[Inexact] = False
            return rounded(numerator / denominator, QUOTIENT_SCALE) or None

    def _leg(self, base: str, quote: str, day: int) -> tuple[Decimal, Decimal] | None:
        """Return the latest rate of a pair, else that of its inverse, as a fraction."""
        direct = self._latest(base, quote, day)
        if direct is not None:
            return direct, ONE
        inverse = self._latest(quote, base, day)
        return None if inverse is None else (ONE, inverse)

    def _latest(self, base: str, quote: str, day: int) -> Decimal | None:
        days, rates = self.quotes.get((base, quote), ((), ()))
        found = bisect_right(days, day) - 1
        return rates[found] if found >= 0 and day - days[found] <= self.lookback_days else None


def rates(
    rows: Iterable[RateRow],
    *,
    lookback_days: int = 5,
    pivot: str = "USD",
    scale: int = QUOTIENT_SCALE,
    reported: tuple[int, int] | None = None,
) -> Rates:
    """Return the usable rates among stored rows of base, quote, day and rate (C6).

    Rows without base, quote or day, and those of subunits, are ignored. Bad rows are an issue if
    their day is in the range `reported`; None is any day.
    """
    found: dict[tuple[str, str], dict[int, set[Decimal]]] = defaultdict(lambda: defaultdict(set))
    bad: dict[tuple[str, str], dict[int, str]] = defaultdict(dict)
    for base, quote, day, rate in rows:
        pair = _pair(base, quote)
        if pair is None or day is None or day == INFINITE_DAY:
            continue
        fault = _fault(rate, scale)
        if rate is not None and fault is None:
            found[pair][day].add(rate)
        else:
            bad[pair][day] = min(bad[pair].get(day, fault or ""), fault or "")
    quotes: dict[tuple[str, str], Quotes] = {}
    for pair, by_day in found.items():
        for day, values in by_day.items():
            if len(values) > 1:
                low, high = min(values), max(values)
                bad[pair][day] = f"{shown_close(low, scale)} and {shown_close(high, scale)}"
        days = tuple(sorted(day for day, values in by_day.items() if len(values) == 1))
        quotes[pair] = days, tuple(next(iter(by_day[day])) for day in days)
    common = currency(pivot)
    unit = "" if common is None else common.unit
    return Rates(quotes, lookback_days, unit, tuple(_issues(bad, reported)))


def _pair(base: str | None, quote: str | None) -> tuple[str, str] | None:
    """Return the units of a row with two different ones."""
    if {text_state(base), text_state(quote)} != {State.VALUE}:
        return None
    one, other = currency(base), currency(quote)
    if one is None or other is None or one.unit == other.unit:
        return None
    return (one.unit, other.unit) if one.size == other.size == ONE else None


def _issues(
    bad: Mapping[tuple[str, str], Mapping[int, str]], reported: tuple[int, int] | None
) -> Iterator[Issue]:
    for (base, quote), faults in sorted(bad.items()):
        days = sorted(d for d in faults if reported is None or reported[0] <= d <= reported[1])
        if days:
            dates = "1 date" if len(days) == 1 else f"{len(days)} dates"
            detail = f"{base}/{quote}: {dates}; {faults[days[0]]} on the first"
            yield Issue("bad_rate", None, days[0], detail)


def _fault(rate: Decimal | None, scale: int) -> str | None:
    """Return the text about an unusable rate; None for a usable one."""
    if rate is None:
        return "NULL"
    if not rate.is_finite():
        return "not finite"
    if not representable(rate, scale):
        return "not_representable"
    return None if LEAST_RATE <= rate < RATE_LIMIT else shown_close(rate, scale)
