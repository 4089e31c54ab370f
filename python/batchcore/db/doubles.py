"""Bounds of doubles that are rounded to a scale, as literals that the server reads exactly."""

from __future__ import annotations

import math
from fractions import Fraction


def smallest(scale: int) -> str:
    """Return the smallest double that is rounded to more than 0 at ``scale`` decimals."""
    return _literal(_at_least(Fraction(1, 2 * 10**scale)))


def fitting(scale: int) -> tuple[str, str]:
    """Return the least and the greatest double that 64 bits hold at ``scale`` decimals.

    They are rounded half away from zero, so half a unit beyond the last count does not fit.
    """
    unit = 2 * 10**scale
    least = math.nextafter(_at_least(Fraction(2**64 + 1, unit)), 0)
    most = math.nextafter(_at_least(Fraction(2**64 - 1, unit)), 0)
    return _literal(-least), _literal(most)


def _at_least(bound: Fraction) -> float:
    """Return the smallest double that is not below ``bound``."""
    nearest = bound.numerator / bound.denominator
    return nearest if Fraction(nearest) >= bound else math.nextafter(nearest, math.inf)


def _literal(value: float) -> str:
    return f"'{value!r}'::float8"
