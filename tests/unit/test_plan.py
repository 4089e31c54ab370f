"""The plan of a run against `reference.span`, without a database."""

from collections.abc import Callable, Sequence
from dataclasses import replace
from decimal import Decimal
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from batchcore import calendar as calendars
from batchcore import reference as ref
from batchcore.calendar import date_of
from batchcore.errors import ConfigError, SnapshotExistsError
from batchcore.frames import Issues, Text
from batchcore.run import plan as plans
from batchcore.sources.host import located, sorted_ids
from batchcore.sources.portfolios import Portfolios, SnapshotColumns
from batchcore.sources.snapshots import Existing, Holes
from support import build
from support.outcome import seeded

MONDAY = 20458
"""2026-01-05; like `FIRST` and `LAST` in days since 1970-01-01."""

FIRST, LAST = MONDAY - 10, MONDAY + 30
NAN = Decimal("NaN")

Rows = dict[int, ref.Snapshot]
"""The snapshots of a portfolio by day."""


def ids(count: int) -> npt.NDArray[np.uint8]:
    found = build.uuids(f"p{number}" for number in range(count))
    return np.ascontiguousarray(found[sorted_ids(found)])


def complete(rows: Rows, calendar: calendars.Calendar) -> list[int]:
    return sorted(
        day
        for day, row in rows.items()
        if row.is_complete
        and row.equity is not None
        and row.equity.is_finite()
        and calendar.is_session([day])[0]
    )


def loaded(
    rows: Sequence[Rows], calendar: calendars.Calendar, boundary: int, deleted: Sequence[int] = ()
) -> Portfolios:
    """Return what the query of portfolios brings; the equity of a snapshot is its day."""

    def columns(days: list[int | None]) -> SnapshotColumns:
        money = build.decimals([None if day is None else Decimal(day) for day in days], 2)
        return SnapshotColumns(build.days(days), money, money, money, money)

    found = [complete(each, calendar) for each in rows]
    before = [max((d for d in days if d < boundary), default=None) for days in found]
    first = [min((d for d in days if d >= boundary), default=None) for days in found]
    last = [max((d for d in days if d >= boundary), default=None) for days in found]
    earliest = columns(first)
    return Portfolios(
        id=ids(len(rows)),
        equity_balance=build.decimals([Decimal(1)] * len(rows), 2),
        currency=Text.of(["USD"] * len(rows)),
        deleted=np.isin(np.arange(len(rows)), deleted),
        before=columns(before),
        first_day=earliest.day,
        first_equity_balance=earliest.equity_balance,
        first_daily_pnl=earliest.cumulative_pnl,
        first_daily_capital_flow=earliest.cumulative_pnl,
        last=columns(last),
    )


def holes_of(
    rows: Sequence[Rows], calendar: calendars.Calendar, start: int | None, end: int
) -> Holes:
    """Return what the query of holes brings."""
    own = ids(len(rows))
    found = []
    for number, each in enumerate(rows):
        days = [day for day in complete(each, calendar) if start is None or day >= start]
        inside = [day for day in days if day <= end]
        if inside:
            sessions = calendar.sessions(inside[0], end).tolist()
            missing = [day for day in sessions if day < days[-1] and day not in days]
            found.append((number, inside[0], min(missing, default=None), len(missing)))
    return Holes(
        np.ascontiguousarray(own[[number for number, *_ in found]]).reshape(-1, 16),
        np.array([earliest for _, earliest, _, _ in found], dtype=np.int32),
        build.days([hole for *_, hole, _ in found]),
        np.array([missing for *_, missing in found], dtype=np.int64),
    )


def rewritten_from(days: list[int], sessions: list[int], start: int | None) -> int | None:
    """Return the first hole of a chain (S13): within the sessions of the range, none after it."""
    first = days[0] if start is None and days else start
    if first is None:
        return None
    looked_at = [day for day in sessions if day >= first and day not in days]
    return next((day for day in looked_at if start is not None or day < days[-1]), None)


def existing(rows: Sequence[Rows], calendar: calendars.Calendar, first: int, last: int) -> Existing:
    found = [
        (number, day, day in complete(each, calendar))
        for number, each in enumerate(rows)
        for day in each
        if first <= day <= last
    ]
    own = ids(len(rows))
    return Existing(
        np.ascontiguousarray(own[[number for number, _, _ in found]]).reshape(-1, 16),
        np.array([day for _, day, _ in found], dtype=np.int32),
        np.array([done for _, _, done in found], dtype=np.bool_),
    )


def plan_of(
    rows: Sequence[Rows],
    calendar: calendars.Calendar,
    span: plans.Range,
    mode: str = "skip",
    deleted: Sequence[int] = (),
) -> plans.Plan:
    return plans.make_plan(loaded(rows, calendar, span.boundary, deleted), calendar, span, mode)


def by_id(ids: npt.NDArray[np.uint8], values: npt.NDArray[Any]) -> dict[bytes, int]:
    return dict(zip(map(bytes, ids), values.tolist(), strict=True))


def written(plan: plans.Plan, row: int) -> list[int]:
    return [
        day for day in plan.sessions.tolist() if plan.first_day[row] <= day <= plan.last_day[row]
    ]


days = st.integers(FIRST, LAST)
stored = st.builds(
    ref.Snapshot,
    day=days,
    is_complete=st.booleans() | st.just(value=True),
    equity=st.sampled_from([Decimal(1), Decimal(1), None, NAN]),
)
portfolio_rows = st.lists(stored, max_size=6).map(lambda rows: {row.day: row for row in rows})
some_calendars = st.sampled_from(["daily", "XNYS"]).map(calendars.load) | st.sets(days).map(
    lambda found: calendars.from_price_dates(sorted(found))
)


def for_any_rows(examples: int = 400, **others: st.SearchStrategy[Any]) -> Callable[[Any], Any]:
    """Decorate a test of the snapshots of up to four portfolios under a calendar."""
    rows = st.lists(portfolio_rows, min_size=1, max_size=4)
    made = given(rows=rows, calendar=some_calendars, **others)
    return lambda test: settings(max_examples=examples)(made(test))


@for_any_rows(
    ends=st.tuples(days, days).map(sorted), mode=st.sampled_from(["skip", "replace", "error"])
)
def test_a_plan_is_what_the_reference_says(
    rows: list[Rows], calendar: calendars.Calendar, ends: list[int], mode: str
) -> None:
    start, end = ends
    sessions = calendar.sessions(FIRST, LAST).tolist()
    spans = [ref.span(list(each.values()), sessions, start, end, mode) for each in rows]
    stopped = [(row, span.exists) for row, span in enumerate(spans) if span.exists is not None]

    if stopped:
        with pytest.raises(SnapshotExistsError) as caught:
            plan_of(rows, calendar, plans.Range(start, end), mode)
        row, day = stopped[0]
        assert caught.value.portfolio == plans.uuid_text(ids(len(rows))[row])
        assert caught.value.session == date_of(day).isoformat()
        return
    plan = plan_of(rows, calendar, plans.Range(start, end), mode)

    assert [tuple(written(plan, row)) for row in range(len(rows))] == [s.sessions for s in spans]
    assert plan.sessions_planned.tolist() == [len(span.sessions) for span in spans]
    assert plan.works.tolist() == [bool(span.sessions) for span in spans]
    run = sorted({day for span in spans for day in span.sessions})
    assert plan.sessions[plan.sessions_run].tolist() == run
    previous = by_id(plan.previous.portfolio_id, plan.previous.day)
    equity = by_id(plan.previous.portfolio_id, plan.previous.equity.values)
    for row, span in enumerate(spans):
        own = bytes(plan.id[row])
        if span.sessions:
            assert previous.get(own) == span.previous
            assert equity.get(own) == (span.previous and span.previous * 100)
    if run:
        starts = [span.previous or start for span in spans if span.sessions]
        assert (plan.price_first, plan.price_last) == (min(starts), run[-1])


@for_any_rows(ends=st.tuples(days, days).map(sorted), mode=st.sampled_from(["skip", "replace"]))
def test_gaps_and_rows_off_session_are_what_the_reference_says(
    rows: list[Rows], calendar: calendars.Calendar, ends: list[int], mode: str
) -> None:
    start, end = ends
    sessions = calendar.sessions(FIRST, LAST).tolist()
    spans = [ref.span(list(each.values()), sessions, start, end, mode) for each in rows]
    plan = plan_of(rows, calendar, plans.Range(start, end), mode)
    # As wide as it can get: the window of a chunk is that of all its portfolios.
    there = existing(rows, calendar, FIRST, LAST)
    owner = located(there.portfolio_id, plan.id)
    last = np.where(plan.works, np.maximum(plan.last_day, end), end)
    window = (np.full(len(rows), start), last)

    off = plans.off_session(there, owner, calendar, window)
    gaps = plans.gaps(there, owner, plan.latest_day, calendar.sessions(start, end))

    def expected(noticed: list[tuple[int, ...]], noun: str) -> list[tuple[int, int, str]]:
        return [
            (row, found[0], f"{len(found)} {noun}{'s' * (len(found) != 1)}")
            for row, found in enumerate(noticed)
            if found
        ]

    def shown(noticed: Issues) -> list[tuple[int, int, str]]:
        columns = (noticed.portfolio.tolist(), noticed.day.values.tolist(), noticed.detail.texts())
        return list(zip(*columns, strict=True))

    assert shown(off) == expected([span.off_session for span in spans], "date")
    if mode == "skip":
        assert shown(gaps) == expected([span.gaps for span in spans], "session")


@for_any_rows(ends=st.tuples(days, days).map(sorted), has_start=st.booleans())
def test_what_is_missing_is_rewritten_from_the_first_hole_on(
    rows: list[Rows], calendar: calendars.Calendar, ends: list[int], *, has_start: bool
) -> None:
    start, end = ends if has_start else (None, ends[1])
    every = calendar.sessions(FIRST, LAST).tolist()
    in_range = [day for day in every if day <= end and (start is None or day >= start)]
    assume(in_range)
    span = plans.Range(start, end if has_start else in_range[-1])
    holes = holes_of(rows, calendar, start, span.end)
    rewrites = plans.rewrites_of_holes(holes, calendar, span)
    boundaries = rewrites.boundaries()
    own = by_id(boundaries.ids, boundaries.day)
    parts = [
        loaded([each], calendar, own.get(bytes(one), span.boundary))
        for one, each in zip(ids(len(rows)), rows, strict=True)
    ]
    portfolios = replace(Portfolios.concat(parts), id=ids(len(rows)))
    plan = plans.make_plan(portfolios, calendar, span, "replace", rewrites.of(portfolios.id))
    previous = by_id(plan.previous.portfolio_id, plan.previous.day)

    for row, each in enumerate(rows):
        days_of = complete(each, calendar)
        hole = rewritten_from(days_of, in_range, start)
        if hole is not None:
            last = max([span.end, *days_of])
            expected = [day for day in every if hole <= day <= last]
        elif days_of:
            after = max(days_of[-1] + 1, start or FIRST)
            expected = [day for day in every if after <= day <= span.end]
        else:
            expected = in_range[-1:] if start is None else in_range
        assert written(plan, row) == expected
        if expected:
            before = max((day for day in days_of if day < expected[0]), default=None)
            assert previous.get(bytes(plan.id[row])) == before


def test_without_a_start_each_goes_on_after_its_latest() -> None:
    calendar = calendars.load("daily")
    rows = [
        {MONDAY: ref.Snapshot(MONDAY, Decimal(0))},
        {},
        {MONDAY + 5: ref.Snapshot(MONDAY + 5, Decimal(0))},
        {
            MONDAY + 9: ref.Snapshot(MONDAY + 9, Decimal(0)),
            MONDAY + 1: ref.Snapshot(MONDAY + 1, Decimal(0)),
        },
    ]
    plan = plan_of(rows, calendar, plans.Range(None, MONDAY + 5))

    assert [written(plan, row) for row in range(4)] == [
        [MONDAY + 1, MONDAY + 2, MONDAY + 3, MONDAY + 4, MONDAY + 5],
        [MONDAY + 5],
        [],
        [],  # its latest is beyond the end
    ]


def test_a_soft_deleted_portfolio_has_no_sessions_and_stops_nobody() -> None:
    calendar = calendars.load("daily")
    rows = [{MONDAY: ref.Snapshot(MONDAY, Decimal(0))}, {}]
    for mode in ("skip", "replace", "error"):
        plan = plan_of(rows, calendar, plans.Range(MONDAY, MONDAY + 1), mode, deleted=[0])
        assert plan.sessions_planned.tolist() == [0, 2]


def test_nobody_is_a_plan_without_work() -> None:
    plan = plan_of([], calendars.load("XNYS"), plans.Range(MONDAY, LAST))
    assert len(plan.works) == len(plan.sessions) == 0
    assert plans.chunks(plan, 10) == []


@for_any_rows(100, end=days, closed=days, done=st.lists(st.booleans(), min_size=4, max_size=4))
def test_sessions_behind_are_those_that_the_portfolio_furthest_behind_lacks(
    rows: list[Rows], calendar: calendars.Calendar, end: int, closed: int, done: list[bool]
) -> None:
    deleted = [0] if len(rows) > 1 else []
    plan = plan_of(rows, calendar, plans.Range(None, end), deleted=deleted)
    wrote = plan.sessions_planned * np.array(done[: len(rows)], dtype=np.int32)

    latest = []
    for row, each in enumerate(rows):
        if row not in deleted:
            found = complete(each, calendar) + (written(plan, row) if wrote[row] else [])
            latest += [max(found)] if found else []
    sessions = calendar.sessions(FIRST, LAST).tolist()
    expected = sum(min(latest) < day <= closed for day in sessions) if latest else None
    assert plans.sessions_behind(plan, wrote, calendar, closed) == expected


def test_chunks_cut_portfolios_in_order_and_leave_nobody_out() -> None:
    choose = seeded("chunks")
    rows: list[Rows] = [
        {LAST: ref.Snapshot(LAST, Decimal(0))} if choose.random() < 0.5 else {} for _ in range(23)
    ]
    plan = plan_of(rows, calendars.load("daily"), plans.Range(MONDAY, MONDAY))
    for size in (1, 4, 23, 100):
        made = plans.chunks(plan, size)
        assert [chunk.number for chunk in made] == list(range(len(made)))
        assert [chunk.rows.start for chunk in made] == list(range(0, 23, size))
        assert all(chunk.rows.stop - chunk.rows.start == size for chunk in made)
        works = np.concatenate([chunk.works for chunk in made])
        assert works.tolist() == plan.works.tolist() == [not each for each in rows]


@pytest.mark.parametrize(
    ("sessions", "positions", "portfolios"),
    [
        (1, 15.0, 2833),  # 12 MiB, or 12,582,912 bytes, by 15 x 256 + 600
        (120, 15.0, 165),  # by 3840 + 72,000
        (1, 2000.0, 50),  # 24 would fit; fewer than 50 are not worth a transaction
        (1, 0.0, 10_000),
        (0, 0.0, 10_000),
    ],
)
def test_a_chunk_takes_about_12_mib(sessions: int, positions: float, portfolios: int) -> None:
    assert plans.default_chunk_size(sessions, positions) == portfolios


def test_portfolios_that_are_not_there_are_named() -> None:
    found = ids(3)
    plans.check_found(found[:2], found)
    with pytest.raises(ConfigError, match="unknown portfolio") as caught:
        plans.check_found(found, found[1:])
    assert plans.uuid_text(found[0]) in str(caught.value)


def test_the_opening_of_a_chunk_is_that_of_its_portfolios() -> None:
    rows: list[Rows] = [{}, {MONDAY + 3: ref.Snapshot(MONDAY + 3, Decimal(0))}, {}]
    plan = plan_of(rows, calendars.load("daily"), plans.Range(MONDAY, MONDAY + 1), "error")
    opening = plan.opening.take(slice(1, 3))
    assert opening.portfolio_id.tolist() == plan.id[1:].tolist()
    assert opening.earliest_day.values.tolist()[:1] == [MONDAY + 3]
    assert opening.earliest_day.state.tolist() == [0, 1]
    assert opening.earliest_equity.values.tolist()[:1] == [(MONDAY + 3) * 100]
