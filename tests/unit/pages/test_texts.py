"""Numbers, dates and names as pages write them."""

import datetime as dt
from collections.abc import Callable
from decimal import Decimal
from functools import partial
from typing import Any

import pytest

from batchcore.pages import texts

SPACE = "\N{NO-BREAK SPACE}"
MINUS = "\N{MINUS SIGN}"
SIGNED = partial(texts.money, signed=True)
LATE = dt.datetime(2025, 7, 1, 1, 30, 5, tzinfo=dt.timezone(dt.timedelta(hours=2)))
GONE = "\N{REPLACEMENT CHARACTER}"


@pytest.mark.parametrize(
    ("written", "value", "shown"),
    [
        # exact to the cent
        (SIGNED, Decimal(0), "0.00"),
        (SIGNED, Decimal("-0.004"), "0.00"),
        (SIGNED, Decimal("-0.01"), f"{MINUS}0.01"),
        (SIGNED, Decimal("99999999999999.99"), "+99,999,999,999,999.99"),
        (SIGNED, Decimal("0.005"), "+0.01"),
        (SIGNED, Decimal("NaN"), "not finite"),
        (texts.money, Decimal("1234.5"), "1,234.50"),
        (texts.money, None, texts.NOTHING),
        (texts.percent, Decimal("0.123456"), f"12.35{SPACE}%"),
        (texts.percent, Decimal("-0.5"), f"{MINUS}50.00{SPACE}%"),
        (texts.percent, 0.1, f"10.00{SPACE}%"),
        (texts.percent, None, texts.NOTHING),
        (texts.percent, Decimal("Infinity"), "not finite"),
        # three digits
        (texts.short_money, Decimal(0), "0"),
        (texts.short_money, Decimal(7), "7"),
        (texts.short_money, Decimal("7.25"), "7.25"),
        (texts.short_money, Decimal("999.4"), "999"),
        (texts.short_money, Decimal("999.6"), f"1.00{SPACE}k"),
        (texts.short_money, Decimal(12345), f"12.3{SPACE}k"),
        (texts.short_money, Decimal("-1234567.89"), f"{MINUS}1.23{SPACE}m"),
        (texts.short_money, Decimal("123456789012.34"), f"123{SPACE}bn"),
        (texts.short_money, Decimal(999999999), f"1.00{SPACE}bn"),
        (texts.seconds, 0.0421, f"0.042{SPACE}s"),
        (texts.seconds, 8.25, f"8.2{SPACE}s"),
        (texts.seconds, 125.4, f"2{SPACE}min 5{SPACE}s"),
        (texts.day, dt.date(2025, 6, 3), f"3{SPACE}Jun{SPACE}2025"),
        (texts.weekday, dt.date(2025, 6, 30), "Monday, 30 June 2025"),
        (texts.moment, LATE, f"30{SPACE}Jun{SPACE}2025, 23:30:05{SPACE}UTC"),
        # characters that a page cannot hold
        (texts.plain, "a\x00b\ud800\x1fc", f"a{GONE}b{GONE * 2}c"),
        (partial(texts.plain, most=4), "abcdef", "abc\N{HORIZONTAL ELLIPSIS}"),
        (texts.tone, Decimal(1), "gain"),
        (texts.tone, Decimal(-1), "loss"),
        (texts.tone, Decimal(0), ""),
        (texts.tone, None, ""),
        (texts.tone, Decimal("NaN"), ""),
    ],
)
def test_a_value_is_written_so(written: Callable[[Any], str], value: Any, shown: str) -> None:
    assert written(value) == shown
