"""The plan of a run: portfolios, sessions, opening snapshots and chunks. Pure functions."""

from __future__ import annotations

import uuid
from dataclasses import dataclass, replace
from functools import cached_property
from typing import TYPE_CHECKING, Final, Protocol

import numpy as np

from batchcore.calendar import Calendar, date_of
from batchcore.errors import ConfigError, SnapshotExistsError
from batchcore.frames import (
    Days,
    Decimals,
    Issues,
    Opening,
    Previous,
    among,
    first_of_each,
    known_states,
)
from batchcore.pg.ledger import Committed
from batchcore.sources.host import Boundaries, located
from batchcore.sources.portfolios import Portfolios, SnapshotColumns
from batchcore.units import State
from batchcore.words import counted

if TYPE_CHECKING:
    from collections.abc import Mapping

    from batchcore.frames import Bools, Ids, Int32, Int64
    from batchcore.sources.snapshots import Existing, Holes

BYTES_OF_A_CHUNK: Final = 12 << 20
"""Target size of a chunk in memory: loaded positions, and rows with their encoding."""

BYTES_OF_A_POSITION: Final = 256
BYTES_OF_A_ROW: Final = 600

POSITIONS: Final = 20
"""Assumed positions of a portfolio if the server has no statistics."""

MOST_PORTFOLIOS: Final = 10_000
LEAST_PORTFOLIOS: Final = 50

NEVER: Final = np.iinfo(np.int32).min
"""The last day of a portfolio that writes nothing."""


@dataclass(frozen=True, slots=True)
class Range:
    """The days of a run; without a start it continues after each portfolio's latest snapshot."""

    start: int | None
    end: int

    @property
    def boundary(self) -> int:
        """The day that separates earlier snapshots from those of the range and later."""
        return self.end + 1 if self.start is None else self.start


@dataclass(frozen=True, eq=False, kw_only=True)
class Plan:
    """The plan of a run, a row for each portfolio, sorted by id."""

    first_day: Int32  # first day that each writes; after `last_day` where it writes nothing
    last_day: Int32
    sessions: Int32  # sessions that some portfolio writes, and those in between
    opening: Opening
    latest_day: Days  # of the latest complete snapshot; NULL without one, or soft-deleted
    latest_equity: Decimals
    deleted: Bools  # asked for but soft-deleted: nothing is written
    continues: Bools  # which portfolios have a snapshot in `previous`, to continue from
    previous: Previous
    price_first: int = 0  # first day that needs marks
    price_last: int = 0
    is_whole: bool = False  # whether these are all portfolios that are not soft-deleted
    complete: Int64 | int = 0  # sessions of each that are skipped because their row is complete

    @property
    def id(self) -> Ids:
        """(n, 16) uint8."""
        return self.opening.portfolio_id

    def previous_of(self, rows: slice) -> Previous:
        """Return the snapshots from which some of the portfolios continue."""
        first = np.count_nonzero(self.continues[: rows.start])
        return self.previous.take(slice(first, first + np.count_nonzero(self.continues[rows])))

    def window_of(self, chunk: Chunk) -> tuple[int, int]:
        """Return the first and the last day that the portfolios of a chunk write."""
        first, last = self.first_day[chunk.rows], self.last_day[chunk.rows]
        return int(first[chunk.works].min()), int(last[chunk.works].max())

    @cached_property
    def places(self) -> tuple[Int64, Int64]:
        """The index of the first session of each portfolio, and the one after its last."""
        low = np.searchsorted(self.sessions, self.first_day, side="left")
        return low, np.searchsorted(self.sessions, self.last_day, side="right")

    @cached_property
    def sessions_planned(self) -> Int32:
        """(n,) int32, the number of sessions that each portfolio writes."""
        low, high = self.places
        planned: Int32 = np.maximum(high - low - self.complete, 0).astype(np.int32)
        return planned

    @cached_property
    def works(self) -> Bools:
        """(n,) bool, whether each portfolio has anything to write."""
        return self.sessions_planned > 0

    @cached_property
    def last_session(self) -> Int32:
        """(n,) int32, the last session of each portfolio; without any, the lowest day."""
        session = self.sessions[np.maximum(self.places[1] - 1, 0)]
        return np.where(self.works, session, NEVER).astype(np.int32)

    @cached_property
    def sessions_run(self) -> Bools:
        """(s,) bool, whether some portfolio writes a session."""
        begins, ends = (
            np.bincount(place[self.works], minlength=len(self.sessions) + 1)
            for place in self.places
        )
        return np.cumsum(begins - ends)[:-1] > 0


def sessions_between(calendar: Calendar, first_day: Int32, last_day: Int32) -> Int32:
    """Return the sessions from the first day that is written to the last one."""
    busy = first_day <= last_day
    if not busy.any():
        return np.zeros(0, dtype=np.int32)
    return calendar.sessions(int(first_day[busy].min()), int(last_day[busy].max()))


def sessions_behind(plan: Plan, written: Int32, calendar: Calendar, closed: int) -> int | None:
    """Return how many closed sessions the portfolio furthest behind lacks.

    ``written`` is the number of sessions that the run wrote of each, ``closed`` the last session
    that has closed. None where no portfolio has a snapshot, or the calendar lacks the days.
    """
    known, latest = plan.latest_day.state == State.VALUE, plan.latest_day.values
    wrote = np.flatnonzero(written > 0)
    if len(wrote):
        last = plan.sessions[plan.places[1][wrote] - 1]
        latest, known = latest.copy(), known.copy()
        latest[wrote] = np.where(known[wrote], np.maximum(latest[wrote], last), last)
        known[wrote] = True
    if not known.any():
        return None
    first = int(latest[known].min()) + 1
    try:
        return len(calendar.sessions(first, closed)) if first <= closed else 0
    except ConfigError:
        return None


@dataclass(frozen=True, eq=False, slots=True)
class Rewrites:
    """The day from which the rows of each portfolio are computed again.

    Each portfolio of ``id`` has a day of its own, NULL where it continues after its latest
    snapshot; all others have ``others``, None where they continue.
    """

    id: Ids
    day: Days
    others: int | None = None

    def boundaries(self) -> Boundaries:
        """Return the separating days of portfolios with a day of their own."""
        known = self.day.state == State.VALUE
        return Boundaries(self.id[known], self.day.values[known])

    def of(self, ids: Ids) -> Days:
        """Return the day of each portfolio; NULL where it continues."""
        row = located(self.id, ids)
        known = row >= 0
        day = np.full(len(ids), self.others or 0, dtype=np.int32)
        state = known_states(np.full(len(ids), self.others is not None))
        day[row[known]], state[row[known]] = self.day.values[known], self.day.state[known]
        return Days(day, state)


def rewrites_of_holes(holes: Holes, calendar: Calendar, days: Range) -> Rewrites:
    """Return where chains are rewritten to fill their holes (S13): at the first missing session."""
    # Without a start, that is the first one after the earliest complete snapshot. A portfolio
    # without any in the range has no row in `holes`.
    if days.start is None:
        return Rewrites(holes.portfolio_id, holes.hole)
    sessions = calendar.sessions(days.start, days.end)
    if len(sessions) == 0:
        return Rewrites(holes.portfolio_id, Days.nulls(len(holes)))
    from_start = holes.earliest > sessions[0]
    day = np.where(from_start, sessions[0], holes.hole.values).astype(np.int32)
    known = from_start | (holes.hole.state == State.VALUE)
    return Rewrites(holes.portfolio_id, Days(day, known_states(known)), days.start)


class SnapshotSource(Protocol):
    """Latest snapshots that were loaded before the run; `batchcore.SnapshotCache` is one."""

    def to_frame(self) -> Previous:
        """Return them, one for each portfolio at most."""


def with_snapshots(
    portfolios: Portfolios, given: Previous, calendar: Calendar, boundary: int
) -> Portfolios:
    """Return portfolios that continue from the given snapshots."""
    # A given snapshot counts if it is on a session before the boundary of the range, unless a later
    # one is stored: a chain is not continued from its middle.
    before = portfolios.before
    row = located(given.portfolio_id, portfolios.id)
    counts = (row >= 0) & (given.day < boundary) & calendar.is_session(given.day)
    stored = before.day.take(row[counts])
    counts[counts] = (stored.state != State.VALUE) | (stored.values <= given.day[counts])
    own = given.take(counts)
    handed = SnapshotColumns(
        day=Days(own.day),
        equity_balance=own.equity,
        cumulative_pnl=own.cumulative_pnl,
        cumulative_realized_pnl=own.cumulative_realized_pnl,
        cumulative_capital_flow=own.cumulative_capital_flow,
    )
    rows = np.arange(len(before))
    rows[row[counts]] = len(before) + np.arange(len(own))
    return replace(portfolios, before=SnapshotColumns.concat([before, handed]).take(rows))


def make_plan(
    portfolios: Portfolios,
    calendar: Calendar,
    days: Range,
    on_existing: str,
    rewrite: Days | None = None,
    *,
    only_rewrite: bool = False,
    is_whole: bool = False,
    committed: Committed | None = None,
    inception: bool = False,
    refuses: bool = True,
) -> Plan:
    """Return the plan of a run (S5, S13).

    ``rewrite`` is the day from which the rows of each are computed again, NULL to continue after
    its latest; None follows ``on_existing``. The snapshots of ``portfolios`` are those around it,
    or else around the boundary of the range. With ``only_rewrite`` portfolios end with their latest
    snapshot, and none continues; with ``inception`` the range begins with each earliest entry,
    given by ``rewrite``. Of what earlier attempts have ``committed``, portfolios that did not fail
    are neither refused nor computed again.

    Raises:
        SnapshotExistsError: ``error`` refuses a complete one in the range, if it ``refuses`` any.
        ConfigError: a session beyond the calendar.
    """
    count = len(portfolios)
    before, last = portfolios.before, portfolios.last
    has_before, has_last = before.day.state == 0, last.day.state == 0
    has_latest = has_before | has_last
    latest_day = np.where(has_last, last.day.values, before.day.values).astype(np.int32)
    committed = committed or Committed()
    if refuses and on_existing == "error" and (inception or days.start is not None):
        first = portfolios.first_day
        found = (first.state == 0) & (first.values <= days.end)
        refuse_existing(portfolios.id, found & ~portfolios.deleted, first.values, committed)
    if rewrite is None:
        rewrite = Days.nulls(count)
        start = None if on_existing == "skip" else days.start
        if start is not None and len(calendar.sessions(start, days.end)):
            rewrite = Days(np.full(count, start, dtype=np.int32))

    is_rewritten = rewrite.state == State.VALUE
    continues = has_latest & ~is_rewritten
    first_day = np.full(count, days.end if days.start is None else days.start, dtype=np.int32)
    first_day[is_rewritten] = rewrite.values[is_rewritten]
    first_day[continues] = latest_day[continues] + 1
    if days.start is not None:
        first_day = np.maximum(first_day, np.int32(days.start))
    last_day = np.full(count, NEVER if only_rewrite else days.end, dtype=np.int32)
    if on_existing != "error":  # later rows stay as they are then
        extended = is_rewritten & has_last
        last_day[extended] = np.maximum(last_day, last.day.values)[extended]
    last_day[portfolios.deleted] = NEVER  # skipped (S1)
    if committed.chunks:
        # A portfolio that was added among those of a chunk has no such snapshot.
        reached = has_latest & (latest_day >= calendar.last_on_or_before(days.end))
        last_day[committed.done(portfolios.id) & (reached | only_rewrite)] = NEVER

    given = np.where(is_rewritten, has_before, has_latest)
    source = _chosen(last, before, has_last & ~is_rewritten)
    previous = source if given.all() else source.take(given)
    ids = portfolios.id if given.all() else np.ascontiguousarray(portfolios.id[given])
    plan = Plan(
        first_day=first_day,
        last_day=last_day,
        sessions=sessions_between(calendar, first_day, last_day),
        opening=Opening(
            portfolio_id=portfolios.id,
            equity=portfolios.equity_balance,
            earliest_day=portfolios.first_day,
            earliest_equity=portfolios.first_equity_balance,
            earliest_pnl=portfolios.first_daily_pnl,
            earliest_flow=portfolios.first_daily_capital_flow,
            first_day=first_day,
            last_day=last_day,
            currency=portfolios.currency,
        ),
        latest_day=Days(latest_day, known_states(has_latest & ~portfolios.deleted)),
        latest_equity=_chosen(last, before, has_last).equity_balance,
        deleted=portfolios.deleted,
        continues=given,
        previous=Previous(
            portfolio_id=ids,
            day=previous.day.values,
            equity=previous.equity_balance,
            cumulative_pnl=previous.cumulative_pnl,
            cumulative_realized_pnl=previous.cumulative_realized_pnl,
            cumulative_capital_flow=previous.cumulative_capital_flow,
        ),
        is_whole=is_whole,
    )
    works = plan.works
    if not works.any():
        return plan
    starts = np.where(given, source.day.values, first_day)[works]
    last_run = int(plan.sessions[plan.sessions_run][-1])
    return replace(plan, price_first=int(starts.min()), price_last=last_run)


def on_sessions_of(whole: Plan, plan: Plan) -> Plan:
    """Return the plan of a shard on the sessions of all shards, and with prices for both."""
    if not plan.works.any():
        return plan
    return replace(
        plan,
        sessions=whole.sessions,
        price_first=min(plan.price_first, whole.price_first),
        price_last=max(plan.price_last, whole.price_last),
    )


def _chosen(one: SnapshotColumns, other: SnapshotColumns, where: Bools) -> SnapshotColumns:
    """Return the rows of ``one`` where ``where`` is True, else of ``other``."""
    if not where.any():  # as in most runs: then nothing is copied
        return other
    rows = np.arange(len(where)) + np.where(where, 0, len(where))
    return SnapshotColumns.concat([one, other]).take(rows)


def refuse_existing(ids: Ids, found: Bools, day: Int32, committed: Committed) -> None:
    """Raise `SnapshotExistsError` where a complete snapshot exists that the run did not write."""
    rows = np.flatnonzero(found & ~committed.covers(ids))
    if len(rows) == 0:
        return
    name, session = uuid_text(ids[rows[0]]), date_of(int(day[rows[0]])).isoformat()
    have = f"{counted(len(rows), 'portfolio')} {'has' if len(rows) == 1 else 'have'}"
    msg = (
        f"portfolio {name} has a complete snapshot of {session}"
        f" ({have} one in the range), and on_existing is `error`"
    )
    raise SnapshotExistsError(msg, name, session)


def uuid_text(row: Ids) -> str:
    """Return the usual text of 16 bytes."""
    return str(uuid.UUID(bytes=row.tobytes()))


@dataclass(frozen=True, eq=False, slots=True)
class Chunk:
    """A slice of the plan, loaded, computed and committed together; ``works`` says what for."""

    number: int
    rows: slice
    works: Bools


def chunks(plan: Plan, size: int) -> list[Chunk]:
    """Return the chunks of a run, each of a number of portfolios, in the order of ids."""
    works = plan.works
    return [
        Chunk(number, slice(first, first + size), works[first : first + size])
        for number, first in enumerate(range(0, len(plan.id), size))
    ]


def average_positions(rows: Mapping[str, int]) -> float:
    """Return the positions of a portfolio, by the server's estimates of ``rows`` of tables."""
    held, holders = rows.get("positions"), rows.get("portfolios")
    return held / holders if held and holders else POSITIONS


def default_chunk_size(sessions: int, positions: float) -> int:
    """Return the number of portfolios of a chunk of `BYTES_OF_A_CHUNK`."""
    bytes_each = positions * BYTES_OF_A_POSITION + sessions * BYTES_OF_A_ROW
    size = int(BYTES_OF_A_CHUNK / max(bytes_each, 1))
    return min(max(size, LEAST_PORTFOLIOS), MOST_PORTFOLIOS)


def off_session(
    existing: Existing, portfolio: Int32, calendar: Calendar, window: tuple[Int32, Int32]
) -> Issues:
    """Return the snapshots on dates that are no session (S13), by row of the chunk, -1 for none."""
    first, last = window
    found = (portfolio >= 0) & ~calendar.is_session(existing.day)
    found &= (existing.day >= first[portfolio]) & (existing.day <= last[portfolio])
    order = np.argsort(existing.day[found], kind="stable")
    owner, day = portfolio[found][order], existing.day[found][order]
    row, count = first_of_each(owner)
    return _day_issues("off_session", owner[row], day[row], count, "date")


def gaps(existing: Existing, portfolio: Int32, latest_day: Days, sessions: Int32) -> Issues:
    """Return the sessions of a range without a snapshot up to the latest complete one (S13)."""
    passed = np.searchsorted(sessions, latest_day.values, side="right")
    passed = np.where(latest_day.state == State.VALUE, passed, 0)
    there = np.zeros((len(latest_day), len(sessions)), dtype=np.bool_)
    own = np.flatnonzero(existing.complete & (portfolio >= 0) & among(existing.day, sessions))
    there[portfolio[own], np.searchsorted(sessions, existing.day[own])] = True
    missing = passed - there.sum(axis=1)
    rows = np.flatnonzero(missing > 0).astype(np.int32)
    first = sessions[np.argmin(there[rows], axis=1)] if len(rows) else sessions[:0]
    return _day_issues("gap", rows, first, missing[rows], "session")


def hole_issues(ids: Ids, holes: Holes) -> Issues:
    """Return the holes between earliest and latest complete snapshots, by portfolio (S13)."""
    row = located(holes.portfolio_id, ids)
    found = np.flatnonzero((holes.hole.state == State.VALUE) & (row >= 0))
    found = found[np.argsort(row[found], kind="stable")]
    days = holes.hole.values[found]
    return _day_issues("gap", row[found], days, holes.missing[found], "session")


def _day_issues(name: str, portfolio: Int32, first: Int32, days: Int64, noun: str) -> Issues:
    """Return one issue for each portfolio, with its first day and the number of days."""
    detail = [counted(count, noun) for count in days.tolist()]
    return Issues.of(name, portfolio, day=first, detail=detail)


def check_found(wanted: Ids, found: Ids) -> None:
    """Raise `ConfigError` if a requested portfolio does not exist."""
    known = {row.tobytes() for row in found}
    unknown = [uuid_text(row) for row in wanted if row.tobytes() not in known]
    if unknown:
        more = f" (and {len(unknown) - 1} more)" if len(unknown) > 1 else ""
        msg = f"unknown portfolio {unknown[0]}{more}"
        raise ConfigError(msg, "portfolio_ids")
