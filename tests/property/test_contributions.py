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
from batchcore.values import EXACT, INFINITE_DAY
from support import build, legacy_frames
from support.cases import Case, Run, cases
from support.generate import Generator, for_any
from support.generate_legacy import LegacyGenerator
from support.sides import by_reference, contributions, contributions_by_core, lots_of, told
from support.worked_legacy import CALENDAR

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Sequence

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
            expected = lots_of(contributions(case, portfolio, before, row))
            assert contributions_by_core(case, portfolio, before, row) == expected


@for_any(Generator.run, examples=60)
def test_lots_add_up_to_random_rows(run: Run) -> None:
    for _ in adding_up(run, run.market(), run.days):
        pass


LOTS = {
    "any": Generator.run,
    "splits": Generator.split_run,
    "currencies and splits": Generator.foreign_split_run,
}


@pytest.mark.parametrize("make", LOTS.values(), ids=LOTS)
def test_lots_of_the_core_equal_those_of_the_reference(make: Callable[..., Run]) -> None:
    for_any(make, Generator, st.data(), examples=60)(assert_lots_are_equal)()


def assert_lots_are_equal(run: Run, data: st.DataObject) -> None:
    session = data.draw(st.sampled_from(run.days))
    earlier = [day for day in run.days if day < session]
    previous = data.draw(st.sampled_from([None, *earlier]))
    for portfolio in run.portfolios:
        found = contributions(run, portfolio, previous, session)
        for one in found:
            if one.price_effect is not None and one.currency_effect is not None:
                with localcontext(EXACT):
                    assert one.price_effect + one.currency_effect == one.amount
        effects = run.rates is not None
        expected = lots_of(found, effects=effects, is_baseline=previous is None)
        assert contributions_by_core(run, portfolio, previous, session) == expected


@for_any(Generator.foreign_split_run, examples=60)
def test_lots_in_other_currencies_add_up_to_random_rows(run: Run) -> None:
    results, _ = by_reference(run)
    for portfolio, result in zip(run.portfolios, results, strict=True):
        for before, row in pairwise(result.rows):
            found = contributions(run, portfolio, before.day, row.day)
            assert abs(row.daily_pnl - total(found)) <= ROUNDING


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


def uncached(generator: LegacyGenerator) -> Run:
    return replace(generator.legacy_run(), cached={})


def assert_core_of_legacy(run: Run, begins: Callable[[int], int | None]) -> list[Any]:
    """Assert what core and reference say of all days of a run that have a row, and return it.

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
            found = legacy.contributions(portfolio, shared, days, previous, run.scales)
            expected += lots_of(found, first)
            chains += [(at, day, day != days[0] or previous is not None) for day in days]
        first += len(portfolio.positions)
    owner, day, earns = zip(*chains, strict=True) if chains else ((), (), ())
    found = native.contributions(
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
    return expected


@for_any(uncached, LegacyGenerator, st.data(), examples=50)
def test_core_equals_the_reference_of_legacy(run: Run, data: st.DataObject) -> None:
    assert_core_of_legacy(run, lambda day: data.draw(st.sampled_from([None, day - 1])))


@pytest.mark.parametrize(
    "odd",
    [
        {"exit_day": INFINITE_DAY},
        {"entry_day": INFINITE_DAY},
        {"quantity": None},
        {"quantity": Decimal("NaN")},
        {"last_price": Decimal("Infinity")},
        {"symbol": None},
        {"position_type": None, "investment_class": "\udcff"},
    ],
)
def test_unreadable_cells_of_a_deleted_position_do_not_hide_events(odd: dict[str, Any]) -> None:
    run = next(case for case in cases("legacy") if case.portfolios[0].positions)
    day = run.days[-1]
    event = ref.Event(day, Decimal(1), Decimal("-4.66"))
    fine = run.portfolios[0].positions[0]
    deleted = replace(fine, deleted=True, events=(event,), **odd)
    portfolio = replace(run.portfolios[0], positions=(deleted,))
    run = replace(run, cached={}, portfolios=(portfolio,))
    (lot,) = assert_core_of_legacy(run, lambda day: day - 1)
    assert lot[4] == event.realized


@pytest.mark.parametrize("case", cases("legacy"), ids=str)
def test_core_equals_the_reference_on_worked_cases_of_legacy(case: Case) -> None:
    if list(case.days) == sorted(case.days):  # what is added up has days in order
        assert_core_of_legacy(replace(case, cached={}), lambda day: day - 1)


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
