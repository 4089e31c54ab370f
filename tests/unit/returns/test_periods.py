"""Where periods begin (W5)."""

import datetime as dt

import numpy as np
import pytest

from batchcore.calendar import date_of, day_of
from batchcore.errors import ConfigError
from batchcore.returns.periods import PERIODS, Period, chosen


@pytest.mark.parametrize(
    ("last", "eves"),
    [
        ("2026-08-31", "26-08-30 26-07-31 26-06-30 25-12-31 25-08-31 23-08-31 21-08-31"),
        ("2024-02-29", "24-02-28 24-01-31 23-12-31 23-12-31 23-02-28 21-02-28 19-02-28"),
        ("2026-01-01", "25-12-31 25-12-31 25-12-31 25-12-31 25-01-01 23-01-01 21-01-01"),
    ],
)
def test_the_eve_of_each_period(last: str, eves: str) -> None:
    days = np.array([day_of(dt.date.fromisoformat(last))], dtype=np.int32)
    found = [f"{date_of(one.eves(days)[0]):%y-%m-%d}" for one in chosen(None, None, None)[:-1]]
    assert found == eves.split()


def test_a_range_begins_where_it_says_whatever_the_last_day() -> None:
    (period,) = chosen(None, dt.date(2026, 1, 2), None)
    assert period.name == "2026-01-02/.."
    assert period.eves(np.zeros(2, dtype=np.int32)).tolist() == [day_of(dt.date(2026, 1, 1))] * 2
    (period,) = chosen(None, dt.date(2026, 1, 2), dt.date(2026, 3, 31))
    assert period.name == "2026-01-02/2026-03-31"


def test_periods_are_those_asked_for() -> None:
    assert chosen("YTD", None, None) == (Period("YTD"),)
    assert [one.name for one in chosen(["1Y", "1D"], None, None)] == ["1Y", "1D"]
    assert tuple(one.name for one in chosen(None, None, None)) == PERIODS


def test_dates_may_be_of_a_derived_class() -> None:
    class Date(dt.date):
        pass

    asked = chosen(None, Date(2026, 1, 2), Date(2026, 1, 5))
    assert asked == chosen(None, dt.date(2026, 1, 2), dt.date(2026, 1, 5))


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ((["2Y"], None, None), "unknown period `2Y`, expected one of 1D, MTD"),
        (([], None, None), "expected at least one, each once"),
        ((["1D", "1D"], None, None), "each once"),
        ((["1D"], dt.date(2026, 1, 2), None), "give either start or periods"),
        ((None, dt.date(2026, 1, 2), dt.date(2026, 1, 1)), "start 2026-01-02 is after end"),
        ((None, "2026-01-02", None), "expected a datetime.date"),
        ((None, None, dt.datetime(2026, 1, 2, tzinfo=dt.UTC)), "expected a datetime.date"),
    ],
)
def test_a_wrong_period_is_refused(arguments: tuple, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        chosen(*arguments)
