"""Sessions of a calendar as sorted days since 1970-01-01 (S1).

`XNYS` is read from a file of the package, `daily` and `prices` need none, and all other codes come
from exchange_calendars (extra `calendars`).
"""

from __future__ import annotations

import logging
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta, timezone, tzinfo
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Final

import numpy as np

from batchcore.errors import ConfigError
from batchcore.frames import distinct

if TYPE_CHECKING:
    import numpy.typing as npt

    Int32 = npt.NDArray[np.int32]
    Int64 = npt.NDArray[np.int64]

SHIPPED: Final = "XNYS"
"""The exchange whose sessions are part of the package."""

DAILY: Final = "daily"
"""The calendar in which every date is a session."""

PRICES: Final = "prices"
"""The calendar whose sessions are the dates with a valid close."""

DATA: Final = Path(__file__).parent / "data"
EPOCH_ORDINAL: Final = date(1970, 1, 1).toordinal()
MINUTES: Final = 1440
STANDARD_TIME: Final = {"America/New_York": timezone(timedelta(hours=-5))}

_log = logging.getLogger(__name__)


def day_of(when: date) -> int:
    """Return the days from 1970-01-01 to ``when``; of a datetime, its date as written."""
    return when.toordinal() - EPOCH_ORDINAL


def date_of(day: int) -> date:
    """Return the date that is ``day`` days after 1970-01-01."""
    return date.fromordinal(int(day) + EPOCH_ORDINAL)


FIRST_DATE: Final = day_of(date.min)
LAST_DATE: Final = day_of(date.max)


@dataclass(frozen=True, eq=False, slots=True)
class Calendar:
    """The sessions of one calendar, between the first and the last day that it covers."""

    code: str
    timezone: str  # time zone of its closing times
    first_day: int
    last_day: int
    days: Int32 | None  # sorted; None if every day is a session
    closing: Int64 | None  # minutes from 1970-01-01 00:00 to each close, by the clock of `timezone`

    def __post_init__(self) -> None:
        for array in (self.days, self.closing):
            if array is not None:
                array.setflags(write=False)

    def sessions(self, start: int, end: int) -> Int32:
        """Return the sessions from one day to another, both included, sorted and read-only."""
        self._check(start, end)
        if self.days is None:
            every = np.arange(start, end + 1, dtype=np.int32)
            every.setflags(write=False)
            return every
        low = np.searchsorted(self.days, start, side="left")
        high = np.searchsorted(self.days, end, side="right")
        return self.days[low:high]

    def is_session(self, days: npt.ArrayLike) -> npt.NDArray[np.bool_]:
        """Return whether each of ``days`` is a session; False outside the calendar."""
        asked = np.asarray(days, dtype=np.int64)
        if self.days is None:
            return (asked >= self.first_day) & (asked <= self.last_day)
        row = np.searchsorted(self.days, asked, side="left")
        found = row < len(self.days)
        found[found] = self.days[row[found]] == asked[found]
        return found

    def left_out(self, start: int, end: int) -> Int32:
        """Return the days of the same range that are not sessions."""
        sessions = self.sessions(start, end)
        out = np.ones(end - start + 1, dtype=np.bool_)
        out[sessions - start] = False
        return (np.flatnonzero(out) + start).astype(np.int32)

    def next_sessions(self, days: npt.NDArray[np.int32]) -> Int32:
        """Return the first session on or after each of ``days``, the largest int32 for none."""
        known = np.maximum(days, np.int32(self.first_day))
        if self.days is None:
            return known
        following = np.append(self.days, np.iinfo(np.int32).max)
        found: Int32 = following[np.searchsorted(self.days, known, side="left")]
        return found

    def last_closed(self, now: datetime) -> int:
        """Return the last session that has closed by ``now``.

        A session of an exchange closes at its closing time, early closes included, and one of
        `daily` at the end of its day; one of `prices` counts as closed from the beginning of its
        day.
        """
        if now.tzinfo is None:
            raise ConfigError("the time `now` needs a time zone", "now")
        local = now.astimezone(_zone(self.timezone))
        today = day_of(local)
        if today > self.last_day:
            raise ConfigError(f"{local.date()} is beyond {self._limits()}", "today")
        if self.days is None or self.closing is None:
            return today - 1
        minutes = today * MINUTES + local.hour * 60 + local.minute
        row = int(np.searchsorted(self.closing, minutes, side="right"))
        if row == 0:
            raise ConfigError(f"calendar `{self.code}` has no session closed by {local}", "today")
        return int(self.days[row - 1])

    def local_date(self, now: datetime) -> int:
        """Return the date in the calendar's time zone at a moment with a time zone."""
        return day_of(now.astimezone(_zone(self.timezone)).date())

    def last_on_or_before(self, day: int) -> int:
        """Return the last session that is not after ``day``."""
        found = self.last_sessions(day, 1)
        if not len(found):
            raise ConfigError(
                f"calendar `{self.code}` has no session on or before {iso_of(day)}", "end"
            )
        return int(found[0])

    def last_sessions(self, end: int, count: int) -> Int32:
        """Return the last ``count`` sessions up to ``end``, fewer where the calendar begins."""
        self._check(end, end)
        if self.days is None:
            return self.sessions(max(end - count + 1, self.first_day), end)
        row = int(np.searchsorted(self.days, end, side="right"))
        return self.days[max(row - count, 0) : row]

    def _check(self, start: int, end: int) -> None:
        if start > end:
            raise ConfigError(f"start {iso_of(start)} is after end {iso_of(end)}", "start")
        ends = (("start", start), ("end", end))
        for option, day in ends[start == end :]:  # of one day the end may be all that was given
            if not self.first_day <= day <= self.last_day:
                raise ConfigError(f"{option} {iso_of(day)} is beyond {self._limits()}", option)

    def _limits(self) -> str:
        first, last = date_of(self.first_day), date_of(self.last_day)
        return f"calendar `{self.code}`, which goes from {first} to {last}"


def load(code: str) -> Calendar:
    """Return a calendar: `XNYS`, `daily`, or any code or alias of exchange_calendars."""
    if code == SHIPPED:
        return _shipped()
    if code == DAILY:
        return Calendar(DAILY, "UTC", FIRST_DATE, LAST_DATE, None, None)
    if code == PRICES:
        raise ConfigError("calendar `prices` is made from the dates of the price table", "calendar")
    return _from_library(code)


def from_price_dates(days: npt.ArrayLike) -> Calendar:
    """Return the calendar `prices`, of days with a valid close in any order, repeated or not.

    It has no limits: any day without a close is not a session.
    """
    known = distinct(np.asarray(days, dtype=np.int32))
    closing = known.astype(np.int64) * MINUTES
    return Calendar(PRICES, "UTC", FIRST_DATE, LAST_DATE, known, closing)


@cache
def _shipped() -> Calendar:
    """Return XNYS from its file, whose header says how to read it."""
    header: dict[str, str] = {}
    closed: list[int] = []
    early: list[tuple[int, int]] = []
    for line in (DATA / "xnys_sessions.txt").read_text(encoding="ascii").splitlines():
        key, _, value = line.partition(" ")
        if key == "#":
            continue
        if not key[0].isdigit():
            header[key] = value
        elif value:
            early.append((day_of(date.fromisoformat(key)), _minutes(value)))
        else:
            closed.append(day_of(date.fromisoformat(key)))
    first, last = (day_of(date.fromisoformat(header[key])) for key in ("first", "last"))
    every = np.arange(first, last + 1, dtype=np.int32)
    dates, holidays = (np.array(one, dtype="datetime64[D]") for one in (every, closed))
    days = every[np.is_busday(dates, holidays=holidays)]
    closing = days.astype(np.int64) * MINUTES + _minutes(header["close"])
    early_days, early_minutes = np.array(early, dtype=np.int64).T
    closing[np.searchsorted(days, early_days)] = early_days * MINUTES + early_minutes
    return Calendar(header["code"], header["timezone"], first, last, days, closing)


def _minutes(clock: str) -> int:
    hours, _, minutes = clock.partition(":")
    return int(hours) * 60 + int(minutes)


@cache
def _from_library(code: str) -> Calendar:
    """Return a calendar of exchange_calendars, over the years of the shipped one."""
    try:
        import exchange_calendars  # noqa: PLC0415  # 0.7 s, and an extra
    except ImportError as error:
        raise ConfigError(
            f"calendar `{code}` needs the extra `calendars`: pip install 'batchcore[calendars]'; "
            f"without it there are {SHIPPED}, {DAILY} and {PRICES}",
            "calendar",
        ) from error
    names = exchange_calendars.get_calendar_names(include_aliases=True)
    if code not in names:
        raise ConfigError(_unknown(code, [*names, DAILY, PRICES]), "calendar")
    shipped = _shipped()
    start, end = date_of(shipped.first_day), date_of(shipped.last_day)
    try:
        found = exchange_calendars.get_calendar(code, start=str(start), end=str(end))
    except ValueError:
        # Some exchanges are recorded for fewer years; only an instance shows which, and it uses its
        # own years if none are given.
        probe = exchange_calendars.get_calendar(code)
        lower, upper = probe.bound_min(), probe.bound_max()
        start = start if lower is None else max(start, lower.date())
        end = end if upper is None else min(end, upper.date())
        found = exchange_calendars.get_calendar(code, start=str(start), end=str(end))
    days = found.sessions.to_numpy().astype("datetime64[D]").astype(np.int32)
    local = found.closes.dt.tz_convert(found.tz).dt.tz_localize(None).to_numpy()
    closing = local.astype("datetime64[m]").astype(np.int64)
    return Calendar(code, str(found.tz), day_of(start), day_of(end), days, closing)


def _unknown(code: str, names: list[str]) -> str:
    from difflib import get_close_matches  # noqa: PLC0415  # needed on the way to an error only

    folded = {name.casefold(): name for name in names}
    close = [folded[match] for match in get_close_matches(code.casefold(), folded, n=3, cutoff=0.5)]
    hint = f"; did you mean {', '.join(f'`{name}`' for name in close)}?" if close else ""
    return f"unknown calendar `{code}`{hint}"


def _zone(name: str) -> tzinfo:
    """Return the zone ``name``, or its standard time on a machine without time zone data.

    In standard time a session may close up to an hour late, never early.
    """
    if name == "UTC":
        return UTC
    from zoneinfo import ZoneInfo, ZoneInfoNotFoundError  # noqa: PLC0415  # only `last_closed`

    try:
        return ZoneInfo(name)
    except ZoneInfoNotFoundError as error:
        fixed = STANDARD_TIME.get(name)
        if fixed is None:
            raise ConfigError(
                f"no data of the time zone `{name}`: pip install tzdata", "calendar"
            ) from error
        _log.warning("no data of the time zone %s (pip install tzdata): using %s", name, fixed)
        return fixed


def iso_of(day: int) -> str:
    """Return ``day`` as an ISO date, or as a number where there is no such date."""
    if FIRST_DATE <= day <= LAST_DATE:
        return date_of(day).isoformat()
    return f"day {day}"
