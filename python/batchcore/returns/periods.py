"""Periods of performance (W5): the day from which each portfolio's sessions count."""

from __future__ import annotations

import datetime as dt
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

import numpy as np

from batchcore.arguments import checked_values
from batchcore.calendar import FIRST_DATE, date_of, day_of
from batchcore.declared import optional_date
from batchcore.errors import ConfigError
from batchcore.late_imports import check_choice

if TYPE_CHECKING:
    from collections.abc import Sequence

    from batchcore.frames import Int32

PERIODS: Final = ("1D", "MTD", "QTD", "YTD", "1Y", "3Y", "5Y", "ITD")
INCEPTION: Final = "ITD"

QUARTER: Final = 3
FEBRUARY: Final = 2


@dataclass(frozen=True, slots=True)
class Period:
    """A period by its name, one of `PERIODS`, or since a day, named by the days of the range."""

    name: str
    start: int | None = None

    @property
    def is_inception(self) -> bool:
        """Whether it begins with the first snapshot, whatever its date."""
        return self.name == INCEPTION

    def eves(self, last: Int32) -> Int32:
        """Return the day before its first day, for each last session."""
        if self.start is not None:
            return np.full(len(last), self.start - 1, dtype=np.int32)
        known = {day: eve_of(self.name, day) for day in set(last.tolist())}
        return np.array([known[day] for day in last.tolist()], dtype=np.int32)


def eve_of(name: str, last: int) -> int:
    """Return the day before the first day of a named period that ends on a day.

    A year begins on the day after the same date of the year before, 28 February for the 29th where
    there is none.
    """
    date = date_of(last)
    match name:
        case "1D":
            return last - 1
        case "MTD":
            return day_of(date.replace(day=1)) - 1
        case "QTD":
            month = date.month - (date.month - 1) % QUARTER
            return day_of(date.replace(month=month, day=1)) - 1
        case "YTD":
            return day_of(date.replace(month=1, day=1)) - 1
        case "ITD":
            return FIRST_DATE - 1
        case _:
            return day_of(_years_before(date, int(name.removesuffix("Y"))))


def _years_before(date: dt.date, years: int) -> dt.date:
    year = max(date.year - years, dt.MINYEAR)
    is_leap_day = date.month == FEBRUARY and date.day > 28  # noqa: PLR2004  # its last day else
    return date.replace(year=year, day=28) if is_leap_day else date.replace(year=year)


def chosen(
    periods: Sequence[str] | str | None, start: dt.date | None, end: dt.date | None
) -> tuple[Period, ...]:
    """Return the requested periods; without any, all of them.

    Raises:
        ConfigError: an unknown one, one twice, none, or periods beside a start.
    """
    start, end = optional_date(start, "start"), optional_date(end, "end")
    if start is None:
        names: Sequence[str] = PERIODS
        if periods is not None:
            names = [periods] if isinstance(periods, str) else checked_values(periods, "periods")
        for name in names:
            check_choice("period", name, PERIODS)
        if not names or len(set(names)) < len(names):
            msg = f"periods are {list(names)!r}, expected at least one, each once"
            raise ConfigError(msg, "periods")
        return tuple(map(Period, names))
    if periods is not None:
        raise ConfigError("give either start or periods", "periods")
    if end is not None and start > end:
        raise ConfigError(f"start {start.isoformat()} is after end {end.isoformat()}", "start")
    last = ".." if end is None else end.isoformat()
    return (Period(f"{start.isoformat()}/{last}", day_of(start)),)
