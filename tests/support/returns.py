"""Performance worked out a second time: plain `decimal`, one row after the other (W1, W2, W4)."""

from collections.abc import Sequence
from dataclasses import dataclass
from decimal import Context, Decimal
from fractions import Fraction

DECIMALS = Context(prec=28)
ONE = Decimal(1)


@dataclass(frozen=True)
class Expected:
    """What the sessions of a period come to; rows are counted from the one where it begins."""

    total: Decimal
    index: tuple[Decimal, ...]
    depth: Decimal | None
    peak: int
    trough: int
    recovered: int | None
    current: Decimal
    returns: tuple[Decimal, ...]


def compounded(pnl: Sequence[int], basis: Sequence[int]) -> Expected | int:
    """Return what sessions come to, or the number of the first without a return."""
    returns, index = [], [ONE]
    for row, (gain, on) in enumerate(zip(pnl, basis, strict=True), start=1):
        if on <= 0:
            return row
        own = DECIMALS.divide(Decimal(gain), Decimal(on))
        returns.append(own)
        index.append(DECIMALS.multiply(index[-1], DECIMALS.add(ONE, own)))
    peaks = [max(range(row + 1), key=lambda at: (index[at], at)) for row in range(len(index))]
    falls = [(Fraction(index[row]) / Fraction(index[peak]), row) for row, peak in enumerate(peaks)]
    lowest, trough = min(falls)
    depth, recovered, peak = None, None, peaks[trough]
    if lowest < 1:
        depth = DECIMALS.subtract(DECIMALS.divide(index[trough], index[peak]), ONE)
        later = range(trough, len(index))
        recovered = next((row for row in later if index[row] >= index[peak]), None)
    return Expected(
        total=DECIMALS.subtract(index[-1], ONE),
        index=tuple(index),
        depth=depth,
        peak=peak,
        trough=trough,
        recovered=recovered,
        current=DECIMALS.subtract(DECIMALS.divide(index[-1], index[peaks[-1]]), ONE),
        returns=tuple(returns),
    )
