"""Which portfolios and sessions, from which snapshot on, in which chunks: pure."""

from __future__ import annotations

import uuid
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Final, TypeVar

import numpy as np

from batchcore.calendar import date_of
from batchcore.db.ledger import Committed
from batchcore.errors import ConfigError, SnapshotExistsError
from batchcore.frames import Days, Decimals, Opening, Previous
from batchcore.sources.host import located
from batchcore.units import State

if TYPE_CHECKING:
    import numpy.typing as npt

    from batchcore.calendar import Calendar
    from batchcore.sources.host import Boundaries
    from batchcore.sources.portfolios import Portfolios
    from batchcore.sources.snapshots import Existing, Holes

BYTES_OF_A_CHUNK: Final = 12 << 20
"""What a chunk should take: its positions as they are loaded, and its rows, with their encoding."""

BYTES_OF_A_POSITION: Final = 256
BYTES_OF_A_ROW: Final = 600

POSITIONS: Final = 20
"""Positions that a portfolio is taken to have where the server cannot tell."""

MOST_PORTFOLIOS: Final = 10_000
LEAST_PORTFOLIOS: Final = 50

Kept = TypeVar("Kept", bound=np.generic)

NEVER: Final = np.iinfo(np.int32).min
"""The last day of a portfolio that writes nothing."""


@dataclass(frozen=True, slots=True)
class Range:
    """The days of a run.

    Attributes:
        start: The first day asked for; None goes on after each portfolio's latest snapshot.
        end: The last one.
    """

    start: int | None
    end: int

    @property
    def boundary(self) -> int:
        """The day that parts earlier snapshots from those of the range and after."""
        return self.end + 1 if self.start is None else self.start


@dataclass(frozen=True, eq=False, slots=True)
class Plan:
    """What a run does, portfolio by portfolio, sorted by id.

    Attributes:
        id: (n, 16) uint8.
        first_day: (n,) int32, the first day to write; after `last_day` where nothing is.
        last_day: (n,) int32, the last one.
        sessions: (s,) int32 sessions that some portfolio writes, and those between.
        goes_on: (n,) bool, which portfolios have a snapshot in `previous`.
        previous: The snapshots that portfolios go on from, in their order.
        opening: Where portfolios open; its rows are those of `id`.
        latest_day: The latest complete snapshot of each portfolio; NULL without one, or for a
            portfolio that is soft-deleted.
        latest_equity: Its equity.
        deleted: (n,) bool, asked for but soft-deleted: nothing is written.
        price_first: The first day that marks are needed of.
        price_last: The last one.
        is_whole: Whether these are all portfolios that are not soft-deleted.
    """

    id: npt.NDArray[np.uint8]
    first_day: npt.NDArray[np.int32]
    last_day: npt.NDArray[np.int32]
    sessions: npt.NDArray[np.int32]
    goes_on: npt.NDArray[np.bool_]
    previous: Previous
    opening: Opening
    latest_day: Days
    latest_equity: Decimals
    deleted: npt.NDArray[np.bool_]
    price_first: int
    price_last: int
    is_whole: bool = False

    def previous_of(self, rows: slice) -> Previous:
        """Return the snapshots that some of the portfolios go on from."""
        first = np.count_nonzero(self.goes_on[: rows.start])
        own = slice(first, first + np.count_nonzero(self.goes_on[rows]))
        return self.previous.take(own)

    def works(self) -> npt.NDArray[np.bool_]:
        """Return for each portfolio whether there is anything to write."""
        return self.sessions_planned() > 0

    def sessions_planned(self) -> npt.NDArray[np.int32]:
        """Return for each portfolio how many sessions are to be written."""
        low = np.searchsorted(self.sessions, self.first_day, side="left")
        high = np.searchsorted(self.sessions, self.last_day, side="right")
        planned: npt.NDArray[np.int32] = np.maximum(high - low, 0).astype(np.int32)
        return planned

    def sessions_run(self) -> npt.NDArray[np.bool_]:
        """Return for each session whether some portfolio writes it."""
        works = self.works()
        low = np.searchsorted(self.sessions, self.first_day[works], side="left")
        high = np.searchsorted(self.sessions, self.last_day[works], side="right")
        change = np.zeros(len(self.sessions) + 1, dtype=np.int64)
        np.add.at(change, low, 1)
        np.add.at(change, high, -1)
        return np.cumsum(change[:-1]) > 0


def rewrites(holes: Holes, calendar: Calendar, days: Range) -> Days:
    """Return for each row of ``holes`` where its chain is rewritten from; NULL if it has none.

    That is the first session of the range without a complete snapshot (S13); without a start, the
    first after the earliest one that there is.
    """
    if days.start is None:
        return holes.hole
    first = calendar.sessions(days.start, days.end)
    if len(first) == 0:
        return Days.nulls(len(holes.earliest))
    from_start = holes.earliest > first[0]
    return Days(
        np.where(from_start, first[0], holes.hole.values).astype(np.int32),
        np.where(from_start, State.VALUE, holes.hole.state).astype(np.uint8),
    )


def rewritten(ids: npt.NDArray[np.uint8], holes: Holes, calendar: Calendar, days: Range) -> Days:
    """Return for each portfolio where its chain is rewritten from; NULL where it goes on.

    One without a complete snapshot in the range has no row in ``holes``: it is rewritten from the
    start, if there is one.
    """
    row = located(holes.portfolio_id, ids)
    known = rewrites(holes, calendar, days)
    first = _from_start(len(ids), calendar, days)
    day, state = first.values.copy(), first.state.copy()
    day[row[row >= 0]] = known.values[row >= 0]
    state[row[row >= 0]] = known.state[row >= 0]
    return Days(day, state)


def _from_start(count: int, calendar: Calendar, days: Range) -> Days:
    """Return the start of the range for each portfolio; NULL where there is nothing to rewrite."""
    if days.start is None or len(calendar.sessions(days.start, days.end)) == 0:
        return Days.nulls(count)
    return Days(np.full(count, days.start, dtype=np.int32))


def from_inception(portfolios: Portfolios, entries: Boundaries, *, replaces: bool) -> Days:
    """Return the earliest entry of each portfolio that begins with it; NULL where it goes on.

    Args:
        portfolios: With the snapshots around these entries.
        entries: The earliest entry of each portfolio that has one.
        replaces: Whether portfolios with snapshots are computed from there on too.
    """
    row = located(portfolios.id, entries.ids)
    begins = row >= 0
    if not replaces:
        begins &= (portfolios.before.day.state != 0) & (portfolios.last.day.state != 0)
    day = np.zeros(len(portfolios), dtype=np.int32)
    day[begins] = entries.day[row[begins]]
    return Days(day, np.where(begins, State.VALUE, State.NULL).astype(np.uint8))


def without_history(plan: Plan) -> npt.NDArray[np.int64]:
    """Return the rows of portfolios that write something and have no complete snapshot."""
    return np.flatnonzero(plan.works() & (plan.latest_day.state != State.VALUE))


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
) -> Plan:
    """Return the plan of a run (S5, S13).

    Args:
        portfolios: With the snapshots around the day that they are rewritten from, or else around
            the boundary of the range.
        calendar: That of the run.
        days: Its range.
        on_existing: `skip`, `replace` or `error`.
        rewrite: For each portfolio the day from which its rows are computed again; NULL goes on
            after its latest. None is what ``on_existing`` says.
        only_rewrite: Whether portfolios end with their latest snapshot, and none goes on.
        is_whole: Whether these are all portfolios that are not soft-deleted.
        committed: What earlier attempts of the run have written: portfolios among that which did
            not fail are neither refused nor computed again.
        inception: Whether the range begins with each portfolio's earliest entry, which
            ``rewrite`` then says.

    Raises:
        SnapshotExistsError: a complete snapshot stands in the range and ``on_existing`` is
            ``error``.
        ConfigError: a session beyond the calendar.
    """
    count = len(portfolios)
    before, last = portfolios.before, portfolios.last
    has_before, has_last = before.day.state == 0, last.day.state == 0
    has_latest = has_before | has_last
    latest_day = np.where(has_last, last.day.values, before.day.values)
    committed = committed or Committed()
    if on_existing == "error" and (inception or days.start is not None):
        _refuse_existing(portfolios, days, committed)
    if rewrite is None:
        goes_on = on_existing == "skip"
        rewrite = Days.nulls(count) if goes_on else _from_start(count, calendar, days)

    is_rewritten = rewrite.state == State.VALUE
    goes_on = has_latest & ~is_rewritten
    first_day = np.full(count, days.end if days.start is None else days.start, dtype=np.int32)
    first_day[is_rewritten] = rewrite.values[is_rewritten]
    first_day[goes_on] = latest_day[goes_on] + 1
    if days.start is not None:
        first_day = np.maximum(first_day, np.int32(days.start))
    last_day = np.full(count, NEVER if only_rewrite else days.end, dtype=np.int32)
    if on_existing != "error":  # later rows stand as they are then
        extended = is_rewritten & has_last
        last_day[extended] = np.maximum(last_day, last.day.values)[extended]
    last_day[portfolios.deleted] = NEVER  # skipped (S1)
    if committed.chunks:
        # One that came since among those of a chunk has no such snapshot.
        reached = has_latest & (latest_day >= calendar.last_on_or_before(days.end))
        last_day[committed.done(portfolios.id) & (reached | only_rewrite)] = NEVER
    source, given = has_last & ~is_rewritten, np.where(is_rewritten, has_before, has_latest)

    busy = first_day <= last_day
    sessions = np.zeros(0, dtype=np.int32)
    if busy.any():
        sessions = calendar.sessions(int(first_day[busy].min()), int(last_day[busy].max()))
    previous_day = np.where(source, last.day.values, before.day.values).astype(np.int32)
    plan = Plan(
        id=portfolios.id,
        first_day=first_day,
        last_day=last_day,
        sessions=sessions,
        goes_on=given,
        previous=Previous(
            portfolio_id=_given(portfolios.id, given),
            day=_given(previous_day, given),
            equity=_chosen(last.equity_balance, before.equity_balance, source, given),
            cumulative_pnl=_chosen(last.cumulative_pnl, before.cumulative_pnl, source, given),
            cumulative_realized_pnl=_chosen(
                last.cumulative_realized_pnl, before.cumulative_realized_pnl, source, given
            ),
            cumulative_capital_flow=_chosen(
                last.cumulative_capital_flow, before.cumulative_capital_flow, source, given
            ),
        ),
        opening=Opening(
            portfolio_id=portfolios.id,
            equity=portfolios.equity_balance,
            earliest_day=portfolios.first_day,
            earliest_equity=portfolios.first_equity_balance,
            earliest_pnl=portfolios.first_daily_pnl,
            earliest_flow=portfolios.first_daily_capital_flow,
            first_day=first_day,
            last_day=last_day,
        ),
        latest_day=Days(
            latest_day.astype(np.int32),
            np.where(has_latest & ~portfolios.deleted, State.VALUE, State.NULL).astype(np.uint8),
        ),
        latest_equity=_chosen(
            last.equity_balance, before.equity_balance, has_last, np.ones(count, dtype=np.bool_)
        ),
        deleted=portfolios.deleted,
        price_first=0,
        price_last=0,
        is_whole=is_whole,
    )
    return _with_prices(plan, given, previous_day)


def _with_prices(
    plan: Plan, given: npt.NDArray[np.bool_], previous_day: npt.NDArray[np.int32]
) -> Plan:
    works = plan.works()
    if not works.any():
        return plan
    starts = np.where(given, previous_day, plan.first_day)[works]
    return replace(
        plan, price_first=int(starts.min()), price_last=int(plan.sessions[plan.sessions_run()][-1])
    )


def _chosen(
    one: Decimals,
    other: Decimals,
    where: npt.NDArray[np.bool_],
    given: npt.NDArray[np.bool_],
) -> Decimals:
    """Return the ``given`` rows of ``one`` where said, else of ``other``."""
    if not where.any():  # as in most runs: then nothing is copied
        values, state = other.values, other.state
    else:
        values = np.where(where, one.values, other.values)
        state = np.where(where, one.state, other.state)
    return Decimals(_given(values, given), one.scale, _given(state, given))


def _given(values: npt.NDArray[Kept], given: npt.NDArray[np.bool_]) -> npt.NDArray[Kept]:
    """Return the ``given`` rows, without a copy where that is all of them."""
    return values if given.all() else np.ascontiguousarray(values[given])


def _refuse_existing(portfolios: Portfolios, days: Range, committed: Committed) -> None:
    first = portfolios.first_day
    alive = ~portfolios.deleted & ~committed.covers(portfolios.id)
    stands = np.flatnonzero(alive & (first.state == 0) & (first.values <= days.end))
    if len(stands) == 0:
        return
    row = int(stands[0])
    raise existing_error(portfolios.id[row], int(first.values[row]), len(stands))


def existing_error(row: npt.NDArray[np.uint8], day: int, count: int) -> SnapshotExistsError:
    """Return the error for the first of ``count`` portfolios with a complete snapshot."""
    name, session = uuid_text(row), date_of(day).isoformat()
    msg = (
        f"portfolio {name} has a complete snapshot of {session}"
        f" ({count} portfolios have one in the range), and on_existing is `error`"
    )
    return SnapshotExistsError(msg, name, session)


def uuid_text(row: npt.NDArray[np.uint8]) -> str:
    """Return the usual text of 16 bytes."""
    return str(uuid.UUID(bytes=row.tobytes()))


@dataclass(frozen=True, eq=False, slots=True)
class Chunk:
    """Portfolios that are loaded, computed and committed together.

    Attributes:
        number: From 0.
        rows: Of the plan, a contiguous slice.
        works: (c,) bool, which of them have anything to write.
    """

    number: int
    rows: slice
    works: npt.NDArray[np.bool_]


def chunks(plan: Plan, size: int) -> list[Chunk]:
    """Return the chunks of a run, of so many portfolios each, in the order of ids."""
    works = plan.works()
    return [
        Chunk(number, slice(first, first + size), works[first : first + size])
        for number, first in enumerate(range(0, len(plan.id), size))
    ]


def default_chunk_size(sessions: int, positions: float) -> int:
    """Return how many portfolios make a chunk of about `BYTES_OF_A_CHUNK`.

    Args:
        sessions: Of the run.
        positions: That a portfolio has on average.
    """
    bytes_each = positions * BYTES_OF_A_POSITION + sessions * BYTES_OF_A_ROW
    size = int(BYTES_OF_A_CHUNK / max(bytes_each, 1))
    return min(max(size, LEAST_PORTFOLIOS), MOST_PORTFOLIOS)


@dataclass(frozen=True, eq=False, slots=True)
class NoticedDays:
    """Portfolios of a chunk and how many of their days are noticed.

    Attributes:
        portfolio: (k,) int32 row of the chunk.
        first: (k,) int32 first such day.
        days: (k,) int64 how many.
    """

    portfolio: npt.NDArray[np.int32]
    first: npt.NDArray[np.int32]
    days: npt.NDArray[np.int64]


def off_session(
    existing: Existing,
    portfolio: npt.NDArray[np.int32],
    calendar: Calendar,
    window: tuple[npt.NDArray[np.int32], npt.NDArray[np.int32]],
) -> NoticedDays:
    """Return the snapshots on dates that are no session (S13); they stay as they are.

    Args:
        existing: Snapshots of the chunk.
        portfolio: Row of the chunk of each of them, -1 for none of its.
        calendar: That of the run.
        window: (c,) first and (c,) last day to look at, of each portfolio of the chunk.
    """
    first, last = window
    found = (portfolio >= 0) & ~calendar.is_session(existing.day)
    found &= (existing.day >= first[portfolio]) & (existing.day <= last[portfolio])
    return _noticed(portfolio[found], existing.day[found])


def gaps(
    existing: Existing,
    portfolio: npt.NDArray[np.int32],
    latest_day: Days,
    sessions: npt.NDArray[np.int32],
) -> NoticedDays:
    """Return the sessions up to the latest complete snapshot without one of their own (S13).

    Args:
        existing: Snapshots of the range.
        portfolio: Row of the chunk of each of them, -1 for none of its.
        latest_day: Of each portfolio of the chunk.
        sessions: Those of the range, ascending.
    """
    count = len(latest_day)
    skipped = np.where(
        latest_day.state == 0, np.searchsorted(sessions, latest_day.values, side="right"), 0
    )
    counted = existing.complete & (portfolio >= 0)
    column = np.searchsorted(sessions, existing.day)
    inside = np.minimum(column, max(len(sessions) - 1, 0))
    counted &= (column < len(sessions)) & (
        sessions[inside] == existing.day if len(sessions) else False
    )
    there = np.zeros((count, len(sessions)), dtype=np.bool_)
    there[portfolio[counted], column[counted]] = True
    stands = there.sum(axis=1)
    rows = np.flatnonzero(skipped > stands).astype(np.int32)
    first = sessions[np.argmin(there[rows], axis=1)] if len(rows) else np.zeros(0, dtype=np.int32)
    return NoticedDays(rows, first, (skipped - stands)[rows])


def _noticed(portfolio: npt.NDArray[np.int32], day: npt.NDArray[np.int32]) -> NoticedDays:
    if len(portfolio) == 0:
        return NoticedDays(portfolio, day, np.zeros(0, dtype=np.int64))
    rows, where, count = np.unique(portfolio, return_inverse=True, return_counts=True)
    first = np.full(len(rows), np.iinfo(np.int32).max, dtype=np.int32)
    np.minimum.at(first, where, day)
    return NoticedDays(rows.astype(np.int32), first, count.astype(np.int64))


def noticed_holes(ids: npt.NDArray[np.uint8], holes: Holes) -> NoticedDays:
    """Return the holes between earliest and latest complete snapshots, by portfolio (S13)."""
    row = located(holes.portfolio_id, ids)
    found = np.flatnonzero((holes.hole.state == State.VALUE) & (row >= 0))
    found = found[np.argsort(row[found], kind="stable")]
    return NoticedDays(row[found], holes.hole.values[found], holes.missing[found])


def check_found(wanted: npt.NDArray[np.uint8], found: npt.NDArray[np.uint8]) -> None:
    """Raise `ConfigError` if a portfolio that was asked for is not there."""
    known = {row.tobytes() for row in found}
    unknown = [uuid_text(row) for row in wanted if row.tobytes() not in known]
    if unknown:
        more = f" (and {len(unknown) - 1} more)" if len(unknown) > 1 else ""
        msg = f"unknown portfolio {unknown[0]}{more}"
        raise ConfigError(msg, "portfolio_ids")
