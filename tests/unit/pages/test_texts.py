"""Numbers, dates and names as pages write them."""

import datetime as dt
from decimal import Decimal

import pytest

from batchcore.pages import texts

SPACE = "\N{NO-BREAK SPACE}"
MINUS = "\N{MINUS SIGN}"


@pytest.mark.parametrize(
    ("amount", "shown"),
    [
        ("0", "0.00"),
        ("-0.004", "0.00"),
        ("-0.01", f"{MINUS}0.01"),
        ("99999999999999.99", "+99,999,999,999,999.99"),
        ("0.005", "+0.01"),
        ("NaN", "not finite"),
    ],
)
def test_money_is_exact_to_the_cent(amount: str, shown: str) -> None:
    assert texts.money(Decimal(amount), signed=True) == shown


def test_money_without_a_sign() -> None:
    assert texts.money(Decimal("1234.5")) == "1,234.50"
    assert texts.money(None) == texts.NOTHING


@pytest.mark.parametrize(
    ("share", "shown"),
    [
        (Decimal("0.123456"), f"12.35{SPACE}%"),
        (Decimal("-0.5"), f"{MINUS}50.00{SPACE}%"),
        (0.1, f"10.00{SPACE}%"),
        (None, texts.NOTHING),
        (Decimal("Infinity"), "not finite"),
    ],
)
def test_percent(share: Decimal | float | None, shown: str) -> None:
    assert texts.percent(share) == shown


@pytest.mark.parametrize(
    ("amount", "shown"),
    [
        ("0", "0"),
        ("7", "7"),
        ("7.25", "7.25"),
        ("999.4", "999"),
        ("999.6", f"1.00{SPACE}k"),
        ("12345", f"12.3{SPACE}k"),
        ("-1234567.89", f"{MINUS}1.23{SPACE}m"),
        ("123456789012.34", f"123{SPACE}bn"),
        ("999999999", f"1.00{SPACE}bn"),
    ],
)
def test_short_money_has_three_digits(amount: str, shown: str) -> None:
    assert texts.short_money(Decimal(amount)) == shown


@pytest.mark.parametrize(
    ("value", "shown"),
    [(0.0421, f"0.042{SPACE}s"), (8.25, f"8.2{SPACE}s"), (125.4, f"2{SPACE}min 5{SPACE}s")],
)
def test_seconds(value: float, shown: str) -> None:
    assert texts.seconds(value) == shown


def test_days_and_moments() -> None:
    assert texts.day(dt.date(2025, 6, 3)) == f"3{SPACE}Jun{SPACE}2025"
    assert texts.weekday(dt.date(2025, 6, 30)) == "Monday, 30 June 2025"
    zone = dt.timezone(dt.timedelta(hours=2))
    when = dt.datetime(2025, 7, 1, 1, 30, 5, tzinfo=zone)
    assert texts.moment(when) == f"30{SPACE}Jun{SPACE}2025, 23:30:05{SPACE}UTC"


def test_a_name_is_cut_and_has_no_characters_that_a_page_cannot_hold() -> None:
    assert (
        texts.plain("a\x00b\ud800\x1fc") == "a\N{REPLACEMENT CHARACTER}"
        "b" + "\N{REPLACEMENT CHARACTER}" * 2 + "c"
    )
    assert texts.plain("abcdef", 4) == "abc\N{HORIZONTAL ELLIPSIS}"


@pytest.mark.parametrize(
    ("amount", "tone"),
    [
        (Decimal(1), "gain"),
        (Decimal(-1), "loss"),
        (Decimal(0), ""),
        (None, ""),
        (Decimal("NaN"), ""),
    ],
)
def test_tone(amount: Decimal | None, tone: str) -> None:
    assert texts.tone(amount) == tone
