"""Single values as the rules read and round them: texts, decimals, days, currencies.

The decimal context of the rules has 160 digits and traps `Inexact`: everything is exact except
where a rule rounds.
"""

from __future__ import annotations

import datetime as dt
import json
import re
from dataclasses import dataclass
from decimal import (
    ROUND_HALF_UP,
    Context,
    Decimal,
    DivisionByZero,
    Inexact,
    InvalidOperation,
    Overflow,
    localcontext,
)
from fractions import Fraction
from functools import lru_cache
from typing import Any, Final, TypeVar

from batchcore.errors import InternalError
from batchcore.units import CENTS, RETURN_SCALE, State

INFINITE_DAY: Final = 2**31
"""Stands for an infinite date, of either sign; no day that PostgreSQL can store."""

MONEY_LIMIT: Final = Decimal(10) ** 14
"""Columns of money are numeric(16, 2): values below it fit (S10, L4)."""

RETURN_LIMIT: Final = Decimal(100)
"""`daily_return` is numeric(8, 6): values below it fit (S10, L4)."""

ZERO: Final = Decimal(0)
ONE: Final = Decimal(1)
EXACT: Final = Context(prec=160, traps=[Inexact, InvalidOperation, DivisionByZero, Overflow])
_UNTRAPPED: Final = Context(traps=[])

_EPOCH: Final = dt.date(1970, 1, 1).toordinal()
_OPTION: Final = re.compile(r"(.+)\d{6}[CP]\d{8}", re.ASCII | re.DOTALL)
"""The root, a date of six digits, C or P, and a strike of eight digits."""

_HUNDREDTH: Final = Decimal("0.01")
_AS_SPELT: Final = {"GBp": "GBP", "ZAc": "ZAR"}
_IN_ANY_CASE: Final = {"GBX": "GBP", "ILA": "ILS"}
_WHOLE_DOUBLES: Final = 2**53
_T = TypeVar("_T")


def parsed_json(text: str) -> Any:  # noqa: ANN401  # whatever JSON there is
    """Return a JSON value with its numbers as decimals, None for those beyond any decimal."""
    return json.loads(text, parse_float=_json_number, parse_int=_json_number)


def _json_number(text: str) -> Decimal | None:
    number = Decimal(text, _UNTRAPPED)
    return number if number.is_finite() else None


def r2(value: Decimal) -> Decimal:
    """Return `value` in cents, half away from zero, never a negative zero."""
    return rounded(value, CENTS)


def r6(numerator: Decimal, denominator: Decimal) -> Decimal:
    """Return the quotient to 6 decimals, half away from zero, never a negative zero.

    160 digits avoid double rounding: a quotient of amounts in cents below 10^20 that is not a tie
    is further from one than 10^-30.
    """
    with localcontext(EXACT) as context:
        context.traps[Inexact] = False
        return rounded(numerator / denominator, RETURN_SCALE)


def rounded(value: Decimal, scale: int) -> Decimal:
    """Return `value` to `scale` decimals, half away from zero, never a negative zero."""
    with localcontext(EXACT) as context:
        context.traps[Inexact] = False
        # Adding 0 turns -0.00 into 0.00.
        return value.quantize(Decimal(1).scaleb(-scale), rounding=ROUND_HALF_UP) + 0


def decimal_of(mantissa: int, scale: int) -> Decimal:
    """Return ``mantissa * 10**-scale``, whatever the decimal context of the caller."""
    return Decimal(mantissa).scaleb(-scale, EXACT)


@lru_cache(maxsize=1 << 16)
def normalised(text: str) -> str:
    """Return `text` trimmed and upper-cased (S2): ASCII blanks at the ends, ASCII letters."""
    return upper(text.strip(" "))


def upper(text: str) -> str:
    """Return `text` with the letters a to z in upper case, and no other letter changed."""
    raw = text.encode("utf-8", "surrogateescape").upper()
    return raw.decode("utf-8", "surrogateescape")


def underlying(symbol: str) -> str | None:
    """Return the root of an option's normalised symbol of the OSI form; None for any other."""
    found = _OPTION.fullmatch(symbol)
    return found and normalised(found[1])


@dataclass(frozen=True, slots=True)
class Currency:
    """A currency: `size` of a `unit`."""

    unit: str
    size: Decimal = ONE


def currency(text: str | None) -> Currency | None:
    """Return the currency that a text names; None for NULL and blanks.

    GBp and ZAc are subunits in this spelling only, GBX and ILA in upper and lower case.
    """
    spelt = (text or "").strip(" ")
    name = normalised(spelt)
    unit = _AS_SPELT.get(spelt) or _IN_ANY_CASE.get(name)
    if unit is not None:
        return Currency(unit, _HUNDREDTH)
    return Currency(name) if name else None


def text_state(text: str | None) -> State:
    """Return why a text has no value, or that it has one.

    Bytes that are not UTF-8 are decoded with ``surrogateescape``.
    """
    if text is None:
        return State.NULL
    return State.VALUE if shown(text) == text else State.NOT_REPRESENTABLE


def shown(text: str) -> str:
    """Return `text` with a backslash, an x and two digits for each byte that is not UTF-8."""
    return text.encode("utf-8", "surrogateescape").decode("utf-8", "backslashreplace")


def from_double(value: float, scale: int) -> Decimal:
    """Return a double as its column is read: its exact value, half away from zero at `scale`.

    NaN and the infinities are returned unchanged. A double of 2^53 and more has no decimals.
    """
    exact = Decimal(value)
    if not exact.is_finite() or abs(exact) >= _WHOLE_DOUBLES:
        return exact
    return rounded(exact, scale)


def representable(value: Decimal, scale: int) -> bool:
    """Return whether a finite `value` is a signed 64-bit number of units of ``10**-scale`` (S3)."""
    units = Fraction(value) * Fraction(10**scale)
    return units.denominator == 1 and -(2**63) <= units < 2**63


def decimal_state(value: Decimal | None, scale: int) -> State:
    """Return why a column of `scale` decimals has no value in a row, or that it has one."""
    if value is None:
        return State.NULL
    if not value.is_finite():
        return State.NON_FINITE
    return State.VALUE if representable(value, scale) else State.NOT_REPRESENTABLE


def cents_state(value: Decimal | None, scale: int) -> State:
    """Return the state of an amount stored at `scale` from which equity continues (S8)."""
    state = decimal_state(value, scale)
    if value is not None and state == State.VALUE and not representable(value, CENTS):
        return State.NOT_REPRESENTABLE
    return state


def day_state(day: int | None) -> State:
    """Return why a date is not a day, or that it is one."""
    if day is None:
        return State.NULL
    return State.NON_FINITE if day == INFINITE_DAY else State.VALUE


def iso(day: int) -> str:
    """Return a day as its ISO date."""
    return dt.date.fromordinal(_EPOCH + day).isoformat()


def present(value: _T | None) -> _T:
    """Return a value that is known not to be NULL."""
    if value is None:
        raise InternalError("a NULL was taken for a value")
    return value


def or_zero(value: Decimal | None) -> Decimal:
    """Return `value`, 0 for NULL."""
    return ZERO if value is None else value
