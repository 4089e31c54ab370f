"""Numbers, dates and names in the format of pages."""

from __future__ import annotations

import datetime as dt
import re
from decimal import ROUND_HALF_UP, Decimal, localcontext
from typing import Final

MINUS: Final = "\N{MINUS SIGN}"
NOTHING: Final = "\N{EN DASH}"
"""The text of a cell without a value."""

UNNAMED: Final = "none"
"""The text for a missing symbol or sector."""

LONGEST_NAME: Final = 60
"""Maximum characters of a name on a page."""

# XML does not allow them, not even escaped, and lone surrogates are not text.
_UNWRITABLE: Final = re.compile("[\x00-\x1f\x7f-\x9f\ud800-\udfff\ufffe\uffff]")
_STEPS: Final = ((Decimal(10) ** 9, "bn"), (Decimal(10) ** 6, "m"), (Decimal(1000), "k"))
_DIGITS: Final = 60


def plain(name: str, most: int = LONGEST_NAME) -> str:
    """Return a name without characters that XML does not allow, cut to ``most`` characters."""
    text = _UNWRITABLE.sub("\N{REPLACEMENT CHARACTER}", name)
    return text if len(text) <= most else f"{text[: most - 1]}\N{HORIZONTAL ELLIPSIS}"


def money(amount: Decimal | None, *, signed: bool = False) -> str:
    """Return an amount with thousands separated, and its sign where it is ``signed``."""
    if amount is None:
        return NOTHING
    if not amount.is_finite():
        return "not finite"
    return _signed(_rounded(amount, 2), "", signed=signed)


def percent(share: Decimal | float | None, *, signed: bool = False, decimals: int = 2) -> str:
    """Return a share of 1 in percent."""
    if share is None:
        return NOTHING
    value = share if isinstance(share, Decimal) else Decimal(repr(share))
    if not value.is_finite():
        return "not finite"
    return _signed(_rounded(value * 100, decimals), "\N{NO-BREAK SPACE}%", signed=signed)


def short_money(amount: Decimal | float, *, signed: bool = False) -> str:
    """Return an amount of about three digits, for an axis."""
    value = amount if isinstance(amount, Decimal) else Decimal(repr(amount))
    if not value.is_finite():
        return "not finite"
    for step, name in _STEPS:
        # An amount that would round up to the next step belongs to it.
        if abs(value) >= step * Decimal("0.9995"):
            return _signed(_three_digits(value / step), f"\N{NO-BREAK SPACE}{name}", signed=signed)
    return _signed(_three_digits(value), "", signed=signed)


def count(number: int | None) -> str:
    """Return a count."""
    return NOTHING if number is None else f"{number:,}"


def seconds(value: float) -> str:
    """Return a duration."""
    if value >= 60:  # noqa: PLR2004  # seconds of a minute
        minutes, rest = divmod(round(value), 60)
        return f"{minutes:,}\N{NO-BREAK SPACE}min {rest}\N{NO-BREAK SPACE}s"
    return f"{value:.3f}\N{NO-BREAK SPACE}s" if value < 1 else f"{value:.1f}\N{NO-BREAK SPACE}s"


def day(date: dt.date | None) -> str:
    """Return a date for people."""
    return (
        NOTHING
        if date is None
        else f"{date.day}\N{NO-BREAK SPACE}{date:%b}\N{NO-BREAK SPACE}{date.year}"
    )


def weekday(date: dt.date) -> str:
    """Return a date with its weekday."""
    return f"{date:%A}, {date.day} {date:%B} {date.year}"


def moment(when: dt.datetime | None) -> str:
    """Return a moment, in UTC."""
    if when is None:
        return NOTHING
    own = when.astimezone(dt.UTC)
    return f"{day(own.date())}, {own:%H:%M:%S}\N{NO-BREAK SPACE}UTC"


def tone(amount: Decimal | float | None) -> str:
    """Return the CSS class of a cell by the sign of its amount."""
    if amount is None or amount == 0 or amount != amount:  # noqa: PLR0124  # NaN alone is not itself
        return ""
    return "gain" if amount > 0 else "loss"


def _rounded(value: Decimal, decimals: int) -> Decimal:
    with localcontext(prec=_DIGITS):
        return value.quantize(Decimal(1).scaleb(-decimals), ROUND_HALF_UP)


def _three_digits(value: Decimal) -> Decimal:
    size = abs(value)
    decimals = 0 if size >= 100 or value == value.to_integral_value() else 1 if size >= 10 else 2  # noqa: PLR2004  # digits
    return _rounded(value, decimals)


def _signed(value: Decimal, unit: str, *, signed: bool) -> str:
    sign = MINUS if value < 0 else "+" if signed and value > 0 else ""
    return f"{sign}{abs(value):,f}{unit}"
