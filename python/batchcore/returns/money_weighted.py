"""Money-weighted returns: the rate at which payments in equal payments out (W3).

Rates are logarithms here, ``u = ln(1 + x)`` a year, so that rates close to -1 are distinguishable:
they are the zeros of ``sum(amount * exp(-u * years))``.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import IntEnum
from itertools import pairwise
from typing import TYPE_CHECKING, Any, Final

import numpy as np

from batchcore.errors import ConfigError

if TYPE_CHECKING:
    from collections.abc import Callable

    from batchcore.frames import Bools, Bytes, Floats, Int64

DAYS_A_YEAR: Final = 365
HIGHEST: Final = float(np.log(1001))
"""The logarithm of a rate of 1000 a year, the upper limit."""

ITERATIONS: Final = 40
TOLERANCE: Final = 1e-12
NOISE: Final = 1e-9
"""Allowed error of a sum of amounts, as a share of their sizes."""


class Found(IntEnum):
    """Whether there is a rate."""

    RATE = 0
    ONE_SIGN = 1
    NO_RATE = 2
    SEVERAL = 3


REASONS: Final = {
    Found.ONE_SIGN: "its amounts have no change of sign",
    Found.NO_RATE: "no rate in (-1, 1000) makes its amounts 0",
    Found.SEVERAL: "more than one rate in (-1, 1000) makes its amounts 0",
}
"""Why there is none."""


@dataclass(frozen=True, eq=False, slots=True)
class CashFlows:
    """Amounts of periods, one after the other; those of a period by date."""

    amount: Floats  # paid in below 0, paid out above 0
    years: Floats  # from the beginning of the period, of 365 days
    first: Int64  # (k,) row of the first amount of each period, of which each has two or more

    def sums(self, values: Floats) -> Floats:
        """Return the sum of each period."""
        found: Floats = np.add.reduceat(values, self.first)
        return found

    @property
    def counts(self) -> Int64:
        """The number of amounts of each period."""
        return np.diff(self.first, append=len(self.amount))


def closed_rates(before: Floats, after: Floats, days: Int64) -> tuple[Floats, Bytes]:
    """Return the rates of periods without flows, and what was `Found`, in closed form.

    From the equities before and after, with at least 1 day in between.
    """
    known = before * after > 0
    ratio = np.divide(after, before, out=np.ones_like(after), where=known)
    rate = np.log(ratio) * (DAYS_A_YEAR / days)
    beyond = np.where(rate < HIGHEST, Found.RATE, Found.NO_RATE)
    found = np.where(known, beyond, Found.ONE_SIGN).astype(np.uint8)
    return np.where(found == Found.RATE, rate, np.nan), found


def rates(flows: CashFlows) -> tuple[Floats, Bytes]:
    """Return the rate of each period, and what was `Found`.

    All are computed at once by Newton's method. A rate found is the only one if the balance before
    the last amount, compounded at it, stays on one side of 0 (Soper); the others are searched one
    by one, between the extremes of their sums.

    Raises:
        ConfigError: SciPy is missing (extra `analytics`).

    Source:
        C. S. Soper, The Marginal Efficiency of Capital: A Further Note (1959).
    """
    optimize = _optimize()
    rate, is_only = np.zeros(len(flows.first)), np.zeros(len(flows.first), dtype=np.bool_)
    if len(flows.first) > 1:  # for a single one `newton` returns no array
        rate, is_only = _by_newton(flows, optimize)
    rate = np.where(is_only & (rate < HIGHEST), rate, np.nan)
    found = np.where(np.isnan(rate), Found.NO_RATE, Found.RATE).astype(np.uint8)
    ends = np.append(flows.first, len(flows.amount))
    for row in np.flatnonzero(~is_only).tolist():
        own = slice(ends[row], ends[row + 1])
        rate[row], found[row] = _one_by_one(flows.amount[own], flows.years[own], optimize.brentq)
    return rate, found


def _optimize() -> Any:  # noqa: ANN401  # a module without types
    try:
        from scipy import optimize  # noqa: PLC0415  # an extra, and slow to import
    except ImportError as error:
        raise ConfigError(
            "money-weighted returns with flows need SciPy: install `batchcore[analytics]`"
        ) from error
    return optimize


def _by_newton(flows: CashFlows, optimize: Any) -> tuple[Floats, Bools]:  # noqa: ANN401
    """Return a rate of each period, and whether it is one, and the only one.

    It is the zero of ``ln(paid out) - ln(paid in)``, both discounted, which is nearly linear.
    """
    amount, years, counts = flows.amount, flows.years, flows.counts
    paid_out, paid_in = np.maximum(amount, 0), np.maximum(-amount, 0)
    left = ITERATIONS

    def discounts(rate: Floats) -> Floats:
        return np.exp(-np.repeat(rate, counts) * years)

    def value(rate: Floats) -> Floats:
        nonlocal left
        left -= 1
        if not left:  # it would warn about rates not found, which are handled below
            return np.zeros_like(rate)
        shares = discounts(rate)
        found: Floats = np.log(flows.sums(paid_out * shares) / flows.sums(paid_in * shares))
        return found

    def slope(rate: Floats) -> Floats:
        shares = discounts(rate)
        mean = [
            flows.sums(own * years * shares) / flows.sums(own * shares)
            for own in (paid_in, paid_out)
        ]
        found: Floats = mean[0] - mean[1]
        return np.where(found == 0, -1.0, found)

    with np.errstate(all="ignore"):
        start = np.zeros(len(flows.first))
        rate: Floats = optimize.newton(value, start, slope, tol=TOLERANCE, maxiter=ITERATIONS)
        terms = amount * discounts(rate)
        size = flows.sums(np.abs(terms)) * NOISE
        total = np.cumsum(terms)
        total -= np.repeat(total[flows.first] - terms[flows.first], counts)
        last = np.cumsum(counts) - 1
        is_zero = np.abs(total[last]) < size
        # the balance before another date, of which there is none after the last amount
        is_balance = np.append(years[1:] != years[:-1], False)
        is_balance[last] = False
        side = np.sign(total) * (np.abs(total) > np.repeat(size, counts))
        sides = flows.sums(np.where(is_balance, side, 0.0))
        balances = flows.sums(is_balance.astype(np.float64))
        is_only = is_zero & (np.abs(sides) == balances) & (balances > 0) & np.isfinite(rate)
    return rate, is_only


def _one_by_one(amount: Floats, years: Floats, brentq: Callable[..., float]) -> tuple[float, Found]:
    """Return the only rate of a period, or why there is none."""
    dates, row = np.unique(years, return_inverse=True)
    net = np.bincount(row, amount, minlength=len(dates))
    there = net != 0
    net, dates = net[there], dates[there]
    if len(net) == 0 or (net > 0).all() or (net < 0).all():
        return np.nan, Found.ONE_SIGN
    # below this the last amount outweighs all others
    others = np.abs(net[:-1]).sum() / abs(net[-1])
    lowest = min(-np.log(others) / (dates[-1] - dates[-2]), 0.0) - 1
    zeros = _zeros(net, dates, float(lowest), HIGHEST, brentq)
    zeros = [zero for zero in zeros if zero < HIGHEST]
    if len(zeros) != 1:
        return np.nan, Found.SEVERAL if zeros else Found.NO_RATE
    return zeros[0], Found.RATE


def _zeros(
    amount: Floats, years: Floats, low: float, high: float, brentq: Callable[..., float]
) -> list[float]:
    """Return where ``sum(amount * exp(-u * years))`` is 0, ascending, from ``low`` to ``high``.

    Between two zeros there is one of the derivative of the sum times ``exp(u * c)``. With ``c``
    between the dates of two amounts of different signs, that is such a sum with one change of sign
    less: without any there is no zero.
    """
    changes = np.flatnonzero(amount[1:] * amount[:-1] < 0)
    if len(changes) == 0:
        return []
    at = changes[0]
    middle = (years[at] + years[at + 1]) / 2
    inner = _zeros(amount * (years - middle), years, low, high, brentq)

    def value(rate: float) -> float:
        # scaled to one of the amounts, whatever the rate
        since = years[-1] if rate < 0 else years[0]
        return float(amount @ np.exp(-rate * (years - since)))

    ends = [(end, value(end)) for end in (low, *inner, high)]
    found = [end for end, size in ends if size == 0]
    found += [
        brentq(value, left, right, xtol=1e-14, rtol=1e-14)
        for (left, below), (right, above) in pairwise(ends)
        if below * above < 0
    ]
    return sorted(found)
