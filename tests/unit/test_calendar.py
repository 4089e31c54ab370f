"""Sessions: the shipped file against the library it was made from, limits and closing times."""

import logging
import pickle
import sys
import zoneinfo
from datetime import UTC, date, datetime

import exchange_calendars
import numpy as np
import pytest

from batchcore import calendar
from batchcore.calendar import date_of, day_of
from batchcore.errors import ConfigError


def dates(days):
    return [date_of(day).isoformat() for day in days]


def day(text):
    return day_of(date.fromisoformat(text))


@pytest.fixture(scope="module")
def xnys():
    return calendar.load("XNYS")


@pytest.fixture(scope="module")
def library():
    return exchange_calendars.get_calendar("XNYS", start="1990-01-01", end="2035-12-31")


def test_days_count_from_1970():
    assert day_of(date(1970, 1, 1)) == 0
    assert day_of(datetime(1970, 1, 2, 23, 59, tzinfo=UTC)) == 1
    assert day_of(date(2000, 1, 1)) == 10957  # the epoch of PostgreSQL
    assert date_of(np.int32(10957)) == date(2000, 1, 1)
    for when in (date.min, date(1969, 12, 31), date(2016, 2, 29), date.max):
        assert date_of(day_of(when)) == when


def test_shipped_sessions_are_those_of_the_library(xnys, library):
    expected = library.sessions.to_numpy().astype("datetime64[D]").astype(np.int32)
    np.testing.assert_array_equal(xnys.sessions(day("1990-01-01"), day("2035-12-31")), expected)


def test_shipped_closing_times_are_those_of_the_library(xnys, library):
    local = library.closes.dt.tz_convert(xnys.timezone).dt.tz_localize(None).to_numpy()
    expected = local.astype("datetime64[m]").astype(np.int64)
    np.testing.assert_array_equal(xnys.closing, expected)


def test_shipped_days_are_int32_sorted_and_read_only(xnys):
    days = xnys.sessions(day("1990-01-01"), day("2035-12-31"))
    assert days.dtype == np.int32
    assert (np.diff(days) > 0).all()
    assert not days.flags.writeable


@pytest.mark.parametrize(
    ("start", "end", "sessions", "left_out"),
    [
        # Thursday the 26th is Thanksgiving; Friday the 27th is a half day and a session.
        ("2015-11-23", "2015-11-28", [23, 24, 25, 27], [26, 28]),
        ("2016-06-29", "2016-06-30", [29, 30], []),
        # A weekend and Independence Day.
        ("2016-07-02", "2016-07-04", [], [2, 3, 4]),
    ],
)
def test_sessions_of_a_range_and_what_it_leaves_out(xnys, start, end, sessions, left_out):
    assert [date_of(one).day for one in xnys.sessions(day(start), day(end))] == sessions
    assert [date_of(one).day for one in xnys.left_out(day(start), day(end))] == left_out


@pytest.mark.parametrize(
    ("asked", "expected"),
    [
        (("2016-07-04", "2016-07-01", "2016-07-05", "2016-07-02"), [False, True, True, False]),
        (("1989-12-29", "2036-01-02"), [False, False]),  # beyond the file
        # closures outside the holidays
        (("2001-09-11", "2001-09-14", "2012-10-29"), [False] * 3),
        (("2012-10-30", "2018-12-05", "2025-01-09"), [False] * 3),
    ],
)
def test_is_session_answers_in_the_order_asked(xnys, asked, expected):
    assert xnys.is_session([day(text) for text in asked]).tolist() == expected


@pytest.mark.parametrize(
    ("code", "start", "end", "option", "text"),
    [
        ("XNYS", "2035-12-31", "2036-01-01", "end", "end 2036-01-01 is beyond calendar `XNYS`"),
        ("XNYS", "1989-12-31", "1990-01-05", "start", "start 1989-12-31 is beyond calendar `XNYS`"),
        ("XNYS", "2036-01-02", "2036-01-02", "end", "end 2036-01-02 is beyond calendar `XNYS`"),
        ("XNYS", "2016-07-02", "2016-07-01", "start", "start 2016-07-02 is after end 2016-07-01"),
        ("XSHG", "1990-11-01", "1991-01-31", "start", "which goes from 1990-12-03 to"),
        ("XSAU", "2020-12-31", "2021-01-05", "start", "which goes from 2021-01-01 to"),
    ],
)
def test_a_range_beyond_a_calendar_is_an_error_that_names_the_limits(
    code, start, end, option, text
):
    with pytest.raises(ConfigError, match=text) as caught:
        calendar.load(code).sessions(day(start), day(end))
    assert caught.value.option == option


def test_a_day_beyond_the_calendar_is_an_error(xnys):
    with pytest.raises(ConfigError, match="end day 2147483647 is beyond") as caught:
        xnys.sessions(day("2016-07-01"), 2**31 - 1)
    assert str(caught.value).endswith(", which goes from 1990-01-01 to 2035-12-31")
    with pytest.raises(ConfigError, match="is beyond calendar"):
        xnys.last_sessions(day("2099-01-01"), 5)


@pytest.mark.parametrize(
    ("code", "now", "expected"),
    [
        # 16:00 in New York is 21:00 UTC in winter and 20:00 UTC in summer.
        ("XNYS", "2016-01-05T20:59Z", "2016-01-04"),
        ("XNYS", "2016-01-05T21:00Z", "2016-01-05"),
        ("XNYS", "2016-06-30T19:59Z", "2016-06-29"),
        ("XNYS", "2016-06-30T20:00Z", "2016-06-30"),
        # The day after Thanksgiving closes at 13:00, 18:00 UTC.
        ("XNYS", "2015-11-27T17:59Z", "2015-11-25"),
        ("XNYS", "2015-11-27T18:00Z", "2015-11-27"),
        # Weekend, and the small hours of a Tuesday in Asia that are still Monday in New York.
        ("XNYS", "2016-07-03T12:00Z", "2016-07-01"),
        ("XNYS", "2016-07-12T03:00+09:00", "2016-07-08"),
        ("XNYS", "2016-07-12T06:00+09:00", "2016-07-11"),
        # 16:30 in London is 15:30 UTC in summer; a Sunday at 15:00 in Riyadh.
        ("XLON", "2016-07-01T15:30Z", "2016-07-01"),
        ("XLON", "2016-07-01T15:29Z", "2016-06-30"),
        ("XSAU", "2024-01-07T12:01Z", "2024-01-07"),
        # A day is over at midnight UTC.
        ("daily", "2016-07-01T23:59Z", "2016-06-30"),
        ("daily", "2016-07-02T09:00+09:00", "2016-07-01"),
        # The last date of a price that is not after today.
        ("prices", "2016-07-04T23:00Z", "2016-07-01"),
        ("prices", "2016-07-05T00:00Z", "2016-07-05"),
    ],
)
def test_last_closed_session(code, now, expected):
    if code == "prices":
        found = calendar.from_price_dates([day("2016-07-01"), day("2016-07-05")])
    else:
        found = calendar.load(code)
    assert date_of(found.last_closed(datetime.fromisoformat(now))).isoformat() == expected


@pytest.mark.parametrize(
    ("now", "message"),
    [
        (datetime(2016, 7, 1, 12, 0), "needs a time zone"),  # noqa: DTZ001  # the case itself
        (datetime(2036, 1, 2, 12, 0, tzinfo=UTC), "2036-01-02 is beyond calendar `XNYS`"),
        (datetime(1990, 1, 1, 12, 0, tzinfo=UTC), "no session closed"),
    ],
)
def test_a_moment_without_a_session_closed_is_an_error(xnys, now, message):
    with pytest.raises(ConfigError, match=message):
        xnys.last_closed(now)


def test_without_zone_data_a_session_closes_later_not_earlier(xnys, monkeypatch, caplog):
    def absent(key):
        raise zoneinfo.ZoneInfoNotFoundError(key)

    monkeypatch.setattr(zoneinfo, "ZoneInfo", absent)
    with caplog.at_level(logging.WARNING, "batchcore"):
        summer = xnys.last_closed(datetime(2016, 6, 30, 20, 30, tzinfo=UTC))
        winter = xnys.last_closed(datetime(2016, 1, 5, 21, 0, tzinfo=UTC))
    assert date_of(summer).isoformat() == "2016-06-29"
    assert date_of(winter).isoformat() == "2016-01-05"
    assert "pip install tzdata" in caplog.text


def test_daily_has_every_date():
    daily = calendar.load("daily")
    leap = ["2016-02-28", "2016-02-29", "2016-03-01"]
    assert dates(daily.sessions(day(leap[0]), day(leap[-1]))) == leap
    assert daily.left_out(day(leap[0]), day(leap[-1])).tolist() == []
    assert daily.is_session([0, -1]).tolist() == [True, True]
    assert dates(daily.last_sessions(day("2026-03-01"), 2)) == ["2026-02-28", "2026-03-01"]
    assert daily.last_sessions(daily.first_day, 5).tolist() == [daily.first_day]
    assert daily.next_sessions(np.array([20_458, -3], dtype=np.int32)).tolist() == [20_458, -3]


def test_calendar_of_prices_sorts_and_merges_its_dates():
    prices = calendar.from_price_dates([30, 10, 20, 10])
    assert prices.code == "prices"
    assert prices.sessions(0, 100).tolist() == [10, 20, 30]
    assert prices.left_out(10, 12).tolist() == [11, 12]


def test_calendar_of_no_prices_has_no_session():
    prices = calendar.from_price_dates([])
    assert prices.sessions(0, 100).tolist() == []
    assert prices.is_session([1]).tolist() == [False]
    with pytest.raises(ConfigError, match="no session closed"):
        prices.last_closed(datetime(2016, 7, 4, 23, 0, tzinfo=UTC))


def test_other_exchanges_come_from_the_library():
    # London: Good Friday and Easter Monday 2016 are 03-25 and 03-28.
    london = calendar.load("XLON").sessions(day("2016-03-24"), day("2016-03-29"))
    assert dates(london) == ["2016-03-24", "2016-03-29"]
    # Weeks may begin on a Sunday, and years after others begin.
    saudi = calendar.load("XSAU")
    week = saudi.sessions(day("2024-01-06"), day("2024-01-13"))
    assert [date_of(day).strftime("%a") for day in week] == ["Sun", "Mon", "Tue", "Wed", "Thu"]
    assert date_of(saudi.first_day) == date(2021, 1, 1)
    assert date_of(calendar.load("XSHG").first_day) == date(1990, 12, 3)


@pytest.mark.parametrize("code", ["24/7", "us_futures"])
def test_a_market_may_close_at_midnight_or_never(code):
    found = calendar.load(code)
    assert (np.diff(found.closing) > 0).all()
    assert len(found.days) == len(found.closing)


@pytest.mark.slow
def test_every_calendar_of_the_library_is_one():
    for code in exchange_calendars.get_calendar_names(include_aliases=True):
        found = calendar.load(code)
        assert found.first_day <= found.days[0], code
        assert found.days[-1] <= found.last_day, code
        assert (np.diff(found.days) > 0).all(), code
        assert (np.diff(found.closing) > 0).all(), code
        last = found.last_on_or_before(found.last_day)
        assert found.sessions(last, found.last_day).tolist() == [last], code


@pytest.mark.parametrize(
    ("code", "told"),
    [
        ("xnys", "unknown calendar `xnys`; did you mean .*`XNYS`"),
        ("Daily", "unknown calendar `Daily`; did you mean .*`daily`"),
        ("XLONN", "unknown calendar `XLONN`; did you mean .*`XLON`"),
        ("!!!!!!!!!!!!!", "unknown calendar `!!!!!!!!!!!!!`$"),
        ("prices", "made from the dates of the price table"),
    ],
)
def test_an_unknown_code_lists_close_matches_if_there_are_any(code, told):
    with pytest.raises(ConfigError, match=told) as caught:
        calendar.load(code)
    assert caught.value.option == "calendar"


def test_other_exchange_without_the_library_names_the_extra(monkeypatch):
    monkeypatch.setitem(sys.modules, "exchange_calendars", None)
    with pytest.raises(ConfigError, match=r"pip install 'batchcore\[calendars\]'"):
        calendar.load("XPAR")


def test_calendar_pickles(xnys):
    again = pickle.loads(pickle.dumps(xnys))  # noqa: S301  # our own bytes
    np.testing.assert_array_equal(again.days, xnys.days)
    assert again.code == "XNYS"


def test_last_sessions_count_back_from_a_day(xnys):
    # 2026-01-04 is a Sunday, and New Year's Day was no session
    sunday = day("2026-01-04")
    assert dates(xnys.last_sessions(sunday, 3)) == ["2025-12-30", "2025-12-31", "2026-01-02"]
    assert dates(xnys.last_sessions(day("2026-01-02"), 1)) == ["2026-01-02"]
    assert len(xnys.last_sessions(sunday, 10**6)) == len(xnys.sessions(xnys.first_day, sunday))


def test_the_next_session_is_the_first_on_or_after_a_day(xnys):
    friday, monday, never = day("2026-01-02"), day("2026-01-05"), np.iinfo(np.int32).max
    asked = np.array([monday, friday, friday + 1, day("1887-11-12"), 100_000], dtype=np.int32)
    found = [monday, friday, monday, day("1990-01-02"), never]
    assert xnys.next_sessions(asked).tolist() == found
