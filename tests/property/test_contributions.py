"""What a lot added (X1 to X4, X7): the reference adds up to its own rows, the core equals it."""

from __future__ import annotations

from dataclasses import replace
from decimal import Decimal, localcontext
from itertools import pairwise
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from batchcore import native
from batchcore import reference as ref
from batchcore.frames import ComputedDays, WideDecimals
from batchcore.reference import legacy, rollforward
from batchcore.reference.values import EXACT, rounded
from batchcore.units import Mark
from support import build, legacy_frames
from support.cases import Case, cases
from support.generate import Generator, Run, for_any
from support.generate_legacy import LegacyGenerator
from support.worked_legacy import CALENDAR

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Sequence

    from batchcore.frames import Contributions
    from batchcore.reference.contributions import Contribution

ROUNDING = Decimal("0.015")
"""Three amounts are rounded to cents on their own (X2)."""


def total(contributions: Iterable[Contribution]) -> Decimal:
    with localcontext(EXACT):
        return sum((one.amount for one in contributions), Decimal(0))


def assert_add_up(
    portfolio: ref.Portfolio, market: ref.Market, rows: Any, rules: dict[str, Any]
) -> None:
    """Assert each session after the first, and the range over all of them."""
    for before, row in pairwise(rows):
        found = rollforward.contributions(portfolio, market, before.day, row.day, **rules)
        assert abs(row.daily_pnl - total(found)) <= ROUNDING
        with localcontext(EXACT):
            realized = sum((one.realized for one in found), Decimal(0))
        assert ref.r2(realized) == row.daily_realized_pnl
        held = [one for one in found if one.value is not None]
        assert len(held) == row.num_positions
        with localcontext(EXACT):
            assert ref.r2(sum((v.value for v in held if v.value > 0), Decimal(0))) == row.long_value
    if len(rows) > 1:
        found = rollforward.contributions(portfolio, market, rows[0].day, rows[-1].day, **rules)
        pnl = sum((row.daily_pnl for row in rows[1:]), Decimal(0))
        assert abs(pnl - total(found)) <= ROUNDING * (len(rows) - 1)


def told(found: Contributions) -> list[tuple[Any, ...]]:
    """Return what the native core says each lot added, as `lots_of` does."""
    days = [
        [None if state else day for day, state in zip(of.values, of.state, strict=True)]
        for of in (found.day_before, found.day)
    ]
    statuses = [
        [None if state else Mark(mark) for mark, state in zip(of.values, of.state, strict=True)]
        for of in (found.status_before, found.status)
    ]
    return sorted(
        zip(
            found.position.tolist(),
            found.quantity.decimals(),
            found.multiplier.tolist(),
            found.unrealized_change.decimals(),
            found.realized.decimals(),
            found.value.decimals(),
            found.mark_before.decimals(),
            found.mark.decimals(),
            *days,
            *statuses,
            strict=True,
        ),
        key=order,
    )


def lots_of(found: Iterable[Contribution], first: int = 0) -> list[tuple[Any, ...]]:
    """Return lots of the reference with their numbers; those of a portfolio begin with `first`."""
    lots = [
        (
            first + one.position,
            one.quantity,
            one.multiplier,
            one.unrealized_change or Decimal(0),
            one.realized or Decimal(0),
            None if one.value is None else rounded(one.value, 24),  # as `legacy` has them
            *(None if mark is None else mark.price for mark in (one.before, one.after)),
            *(None if mark is None else mark.day for mark in (one.before, one.after)),
            *(None if mark is None else mark.status for mark in (one.before, one.after)),
        )
        for one in found
    ]
    return sorted(lots, key=order)


def order(lot: tuple[Any, ...]) -> tuple[Any, ...]:
    """Return what tells lots of one position apart, whatever their zeros."""
    return tuple((value is not None, value or 0) for value in lot)


def by_core(
    run: Run | Case, portfolio: ref.Portfolio, previous: int | None, session: int
) -> list[tuple[Any, ...]]:
    inputs = build.inputs([portfolio], run.prices, (session,), run.scales, splits=run.splits)
    market = native.build_market(
        inputs.prices,
        np.array([session], dtype=np.int32),
        lookback_days=run.lookback_days,
        splits=inputs.splits,
    )
    first = np.iinfo(np.int32).min if previous is None else previous
    opening = replace(
        inputs.opening,
        first_day=np.array([first], dtype=np.int32),
        last_day=np.array([session], dtype=np.int32),
    )
    found = native.contributions(market, native.Book.of(inputs), opening=opening, threads=1)
    return told(found)


def by_reference(
    portfolio: ref.Portfolio,
    market: ref.Market,
    previous: int | None,
    session: int,
    run: Run | Case,
) -> list[tuple[Any, ...]]:
    rules = {"lookback_days": run.lookback_days, "scales": run.scales}
    return lots_of(rollforward.contributions(portfolio, market, previous, session, **rules))


def assert_baseline(
    portfolio: ref.Portfolio, market: ref.Market, row: Any, rules: dict[str, Any]
) -> None:
    found = rollforward.contributions(portfolio, market, None, row.day, **rules)
    assert len(found) == row.num_positions
    assert all(one.unrealized_change is None and one.realized is None for one in found)
    assert total(found) == 0


def adding_up(
    given_run: Case | Run, market: ref.Market, days: Sequence[int]
) -> Iterator[tuple[ref.Portfolio, ref.Result]]:
    """Yield each portfolio with its rows, after asserting that its lots add up to them."""
    rules = {"lookback_days": given_run.lookback_days, "scales": given_run.scales}
    for portfolio in given_run.portfolios:
        result = ref.roll_forward(portfolio, market, days, **rules)
        assert_add_up(portfolio, market, result.rows, rules)
        if result.rows:
            assert_baseline(portfolio, market, result.rows[0], rules)
        yield portfolio, result


@pytest.mark.parametrize("case", cases("rollforward"), ids=str)
def test_lots_add_up_to_the_worked_rows(case: Case) -> None:
    market = case.market()
    for portfolio, result in adding_up(case, market, case.days):
        for before, row in pairwise([None, *(row.day for row in result.rows)]):
            assert row is not None
            expected = by_reference(portfolio, market, before, row, case)
            assert by_core(case, portfolio, before, row) == expected


@for_any(Generator.run, examples=60)
def test_lots_add_up_to_random_rows(run: Run) -> None:
    for _ in adding_up(run, run.market(), run.sessions):
        pass


@for_any(Generator.run, Generator, st.data(), examples=60)
def test_core_equals_the_reference(run: Run, data: st.DataObject) -> None:
    market = run.market()
    session = data.draw(st.sampled_from(run.sessions))
    previous = data.draw(
        st.none() | st.sampled_from([day for day in run.sessions if day < session] or [None])
    )
    for portfolio in run.portfolios:
        expected = by_reference(portfolio, market, previous, session, run)
        assert by_core(run, portfolio, previous, session) == expected


@pytest.mark.parametrize("case", cases("legacy"), ids=str)
def test_positions_add_up_to_the_worked_rows_of_legacy(case: Case) -> None:
    shared = case.shared(CALENDAR)
    for portfolio in case.portfolios:
        days = [one.day for one in portfolio.snapshots]
        for row in legacy.roll(portfolio, shared, case.days, case.scales).rows:
            previous = max((day for day in days if day < row.day), default=None)
            found = legacy.contributions(portfolio, shared, [row.day], previous)
            assert ref.r2(total(found)) == row.daily_pnl
            with localcontext(EXACT):
                realized = sum((one.realized for one in found), Decimal(0))
            assert ref.r2(realized) == row.daily_realized_pnl
            days.append(row.day)


def uncached(generator: LegacyGenerator) -> legacy_frames.Run:
    return replace(generator.legacy_run(), cached={})


def assert_core_of_legacy(run: legacy_frames.Run, begins: Callable[[int], int | None]) -> None:
    """Assert what core and reference say of all days of a run that have a row.

    ``begins`` says of a portfolio's first day which row it has before it.
    """
    shared = legacy.Shared(legacy.closes(run.prices, run.scales), set(run.days), run.today)
    frames, results = legacy_frames.inputs(run), legacy_frames.by_reference(run)
    chains: list[tuple[int, int, bool]] = []
    expected: list[tuple[Any, ...]] = []
    first = 0
    for at, (portfolio, result) in enumerate(zip(run.portfolios, results, strict=True)):
        days = [row.day for row in result.rows]
        if days:
            previous = begins(days[0])
            expected += lots_of(legacy.contributions(portfolio, shared, days, previous), first)
            chains += [(at, day, day != days[0] or previous is not None) for day in days]
        first += len(portfolio.positions)
    owner, day, earns = zip(*chains, strict=True) if chains else ((), (), ())
    found = native.legacy_contributions(
        native.build_market(frames.prices, build.session_days(run.days)),
        native.Book.of(frames),
        opening=frames.opening,
        days=ComputedDays(
            portfolio=np.array(owner, dtype=np.int32),
            day=np.array(day, dtype=np.int32),
            earns=np.array(earns, dtype=np.bool_),
        ),
        threads=1,
    )
    assert told(found) == expected


@for_any(uncached, LegacyGenerator, st.data(), examples=50)
def test_core_equals_the_reference_of_legacy(run: legacy_frames.Run, data: st.DataObject) -> None:
    assert_core_of_legacy(run, lambda day: data.draw(st.sampled_from([None, day - 1])))


@pytest.mark.parametrize("case", cases("legacy"), ids=str)
def test_core_equals_the_reference_on_worked_cases_of_legacy(case: Case) -> None:
    if list(case.days) == sorted(case.days):  # what is added up has days in order
        run = replace(legacy_frames.run_of(case), cached={})
        assert_core_of_legacy(run, lambda day: day - 1)


@pytest.mark.parametrize("width", [16, 64])
@given(st.data())
def test_sums_by_key_are_those_of_integers(width: int, data: st.DataObject) -> None:
    most = 2 ** (8 * width - 1) - 1 if width == 16 else 10**140  # sums of the widest do not fit
    values_or_none = st.integers(-most, most) | st.none()
    rows = data.draw(st.lists(st.tuples(st.integers(0, 3), values_or_none)))
    keys = np.array([key for key, _ in rows], dtype=np.int64)
    raw = b"".join((value or 0).to_bytes(width, "little", signed=True) for _, value in rows)
    values = np.frombuffer(raw, dtype=np.uint8).reshape(-1, width)
    state = np.array([value is None for _, value in rows], dtype=np.uint8)
    found = native.sums_by_key(WideDecimals(values, 4, state), keys, 4).mantissas()
    assert found == [sum(value or 0 for own, value in rows if own == key) for key in range(4)]
