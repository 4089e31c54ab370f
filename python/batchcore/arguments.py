"""Arguments of the caches, checked and converted for the stores."""

from __future__ import annotations

import datetime as dt
import uuid
from collections.abc import Iterable
from decimal import Decimal, InvalidOperation
from typing import Any, Final

from batchcore.arrow import EXACT
from batchcore.calendar import day_of
from batchcore.config import MOST_LOOKBACK_DAYS
from batchcore.errors import ConfigError
from batchcore.units import MAX_SCALE

MOST_MANTISSA: Final = 2**63 - 1
"""The largest 64-bit mantissa."""

_DIGITS: Final = len(str(MOST_MANTISSA))


class DayOf(dict[dt.date, int]):
    """Days since 1970-01-01 by date, made on demand.

    A look-up costs a third of the conversion. A key that is not a date raises `ConfigError`.
    """

    def __missing__(self, date: dt.date) -> int:
        day = self[date] = checked_day(date)
        return day


def checked_day(date: dt.date) -> int:
    """Return a date as days since 1970-01-01."""
    if not isinstance(date, dt.date) or isinstance(date, dt.datetime):
        raise ConfigError(f"date is of type {type(date).__name__}, expected datetime.date", "date")
    return day_of(date)


def checked_values(values: Iterable[Any], option: str) -> list[Any]:
    """Return an iterable as a list."""
    if not isinstance(values, str | bytes):
        try:
            return list(values)
        except TypeError:
            pass
    raise ConfigError(f"{option} is of type {type(values).__name__}, expected an iterable", option)


def checked_symbols(symbols: Iterable[str]) -> list[str]:
    """Return the distinct symbols in order."""
    found = checked_values(symbols, "symbols")
    for symbol in found:
        if not isinstance(symbol, str):
            raise ConfigError(f"symbol is of type {type(symbol).__name__}, expected str", "symbol")
    return list(dict.fromkeys(found))


def checked_id(given: uuid.UUID | str, option: str = "portfolio_id") -> uuid.UUID:
    """Return the id of a portfolio, or of the object that `option` names."""
    if isinstance(given, uuid.UUID):
        return given
    try:
        return uuid.UUID(given)
    except (AttributeError, TypeError, ValueError) as error:
        raise ConfigError(f"{option} {given!r} is not a UUID", option) from error


def checked_lookback(days: int) -> int:
    """Return a number of calendar days to look back."""
    if isinstance(days, bool) or not isinstance(days, int) or not 0 <= days <= MOST_LOOKBACK_DAYS:
        msg = f"lookback_days is {days!r}, expected 0 to {MOST_LOOKBACK_DAYS}"
        raise ConfigError(msg, "lookback_days")
    return days


def checked_price(price: Decimal | int | str) -> tuple[int, int]:
    """Return the mantissa and the scale of a price, the least scale that is exact."""
    if isinstance(price, bool) or not isinstance(price, Decimal | int | str):
        msg = f"price is of type {type(price).__name__}, expected Decimal, int or str"
        raise ConfigError(msg, "price")
    try:
        value = Decimal(price)
    except InvalidOperation:
        value = Decimal("NaN")
    if not value.is_finite() or value < 0:
        msg = "price is negative or not a finite number, expected one not below 0"
        raise ConfigError(msg, "price")
    value = value.normalize(EXACT)
    scale = max(-int(value.as_tuple().exponent), 0)
    if scale <= MAX_SCALE and value.adjusted() < _DIGITS:
        mantissa = int(value.scaleb(scale, EXACT))
        if mantissa <= MOST_MANTISSA:
            return mantissa, scale
    msg = f"price has too many digits, expected at most {MAX_SCALE} decimals within 64 bits"
    raise ConfigError(msg, "price")
