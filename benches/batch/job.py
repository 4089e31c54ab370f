"""What a side is asked to do, and what it tells about it: both travel as JSON."""

import json
import os
from dataclasses import asdict, dataclass, field
from datetime import date
from pathlib import Path
from typing import Any, Self
from uuid import UUID

from batch.sizes import Size
from batchcore import calendar
from batchcore.calendar import date_of
from batchcore.demo.market import LAST_SESSION

JOBS = ("daily", "backfill")
ANALYTICS = ("none", "portfolio", "full")
LOOKBACK_DAYS = 10


@dataclass(frozen=True, slots=True)
class Job:
    """What a side is asked to do: rows of `portfolio_snapshots`, and equities of `portfolios`.

    Of its `sessions`, on top of the snapshots of `history`. Of all `portfolios`, so many, unless
    `only` lists some, sorted. The sides that write no analytics are asked with the level `none`
    alone. `options` are settings of batchcore; `folder` has files for `prepare`, see `outputs`.
    """

    name: str
    sessions: tuple[date, ...]
    history: tuple[date, ...]
    portfolios: int
    lookback_days: int = LOOKBACK_DAYS
    analytics: str = "none"
    only: tuple[UUID, ...] = ()
    options: dict[str, int] = field(default_factory=dict)
    folder: str = ""

    @property
    def start(self) -> date:
        return self.sessions[0]

    @property
    def end(self) -> date:
        return self.sessions[-1]

    @property
    def rows(self) -> int:
        """Return how many rows are to be written."""
        return (len(self.only) or self.portfolios) * len(self.sessions)

    @property
    def rows_after(self) -> int:
        """Return how many rows stand in the end."""
        return (len(self.only) or self.portfolios) * len((*self.history, *self.sessions))

    @property
    def path(self) -> Path:
        return Path(self.folder)

    def to_json(self) -> str:
        return json.dumps(asdict(self), default=str)

    @classmethod
    def from_json(cls, text: str) -> Self:
        fields = json.loads(text)
        for name in ("sessions", "history"):
            fields[name] = tuple(date.fromisoformat(day) for day in fields[name])
        fields["only"] = tuple(UUID(one) for one in fields["only"])
        return cls(**fields)


@dataclass(frozen=True, slots=True)
class Timing:
    """What a side tells of a run; the total is taken around it.

    Seconds of what is not told apart are None, those of writing include the commit. `statements`
    are SELECT, COPY, INSERT, UPDATE and DELETE; `rows` are snapshots written.
    """

    load: float | None
    compute: float | None
    persist: float | None
    statements: int | None
    rows: int
    notes: dict[str, Any] = field(default_factory=dict)


def job_of(
    name: str,
    size: Size,
    folder: Path,
    *,
    history: int = 1,
    analytics: str = "none",
    options: dict[str, int] | None = None,
) -> Job:
    """Return the job of a name on a size: `daily` is the last session, `backfill` all of them.

    `history` is how many stand before a daily one; `folder` is an empty one.
    """
    sessions = last_sessions(size.sessions)
    first = len(sessions) - 1 if name == "daily" else 0
    return Job(
        name=name,
        sessions=sessions[first:],
        history=sessions[max(first - history, 0) : first],
        portfolios=size.portfolios,
        analytics=analytics,
        options=options or {},
        folder=os.fspath(folder),
    )


def last_sessions(count: int) -> tuple[date, ...]:
    """Return the last sessions of a generated market, ascending."""
    exchange = calendar.load(calendar.SHIPPED)
    days = exchange.sessions(exchange.first_day, LAST_SESSION)[-count:]
    return tuple(date_of(day) for day in days.tolist())
