"""Write the shipped XNYS sessions from exchange_calendars.

Usage: python scripts/make_sessions.py [OUTPUT]

OUTPUT defaults to python/batchcore/data/xnys_sessions.txt. Needs the extra `calendars`.
"""

from __future__ import annotations

import sys
from datetime import date, timedelta
from pathlib import Path

import exchange_calendars

CODE = "XNYS"
FIRST = date(1990, 1, 1)
LAST = date(2035, 12, 31)
CLOSE = "16:00"
OUTPUT = Path(__file__).parent.parent / "python/batchcore/data/xnys_sessions.txt"
SATURDAY = 5

HEADER = f"""\
# {CODE} sessions, made by scripts/make_sessions.py from exchange_calendars \
{exchange_calendars.__version__}.
# Every weekday from `first` to `last` is a session that closes at `close`, but for the dates below:
# without a time there is no session on that date, with one the session closes early, at that time.
code {CODE}
timezone America/New_York
first {FIRST}
last {LAST}
close {CLOSE}
"""


def exceptions() -> list[str]:
    """Return a line for each weekday that is no session or closes early, by date.

    Raises:
        ValueError: a session that this notation cannot say (on a weekend).
    """
    calendar = exchange_calendars.get_calendar(CODE, start=str(FIRST), end=str(LAST))
    closes = calendar.schedule["close"].dt.tz_convert("America/New_York").dt.strftime("%H:%M")
    closing = {label.date(): close for label, close in closes.items()}
    weekend = [day for day in closing if day.weekday() >= SATURDAY]
    if weekend:
        raise ValueError(f"session on a weekend: {weekend[0]}")
    lines = []
    for offset in range((LAST - FIRST).days + 1):
        day = FIRST + timedelta(offset)
        if day not in closing and day.weekday() < SATURDAY:
            lines.append(f"{day}\n")
        elif closing.get(day, CLOSE) != CLOSE:
            lines.append(f"{day} {closing[day]}\n")
    return lines


if __name__ == "__main__":
    output = Path(sys.argv[1]) if len(sys.argv) > 1 else OUTPUT
    output.write_text(HEADER + "".join(exceptions()), encoding="ascii")
    print(output)
