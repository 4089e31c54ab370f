"""The policy `legacy`: the native core against the worked cases, rule by rule."""

from __future__ import annotations

from decimal import Decimal
from itertools import pairwise
from typing import TYPE_CHECKING

import pytest

from support import legacy_frames
from support.legacy_frames import Run
from support.worked_legacy import CALENDAR, CASES, Case, jan

if TYPE_CHECKING:
    from batchcore.reference import legacy


def run_of(case: Case) -> Run:
    """Return a case without what is not the core's: days that are no session (L2)."""
    return Run(
        portfolios=(case.portfolio,),
        prices=case.prices,
        days=tuple(on for on in map(jan, case.days) if on in CALENDAR),
        today=jan(case.today),
        cached={(symbol, jan(on)): Decimal(text) for (symbol, on), text in case.cached.items()},
        profiles=case.profiles,
        has_benchmark=case.has_benchmark,
        scales=case.scales,
    )


def is_of_the_core(case: Case) -> bool:
    """Return whether the portfolio is processed at all (L1), on a session (L2)."""
    return not case.portfolio.deleted and len(run_of(case).days) > 0


def is_in_order(case: Case) -> bool:
    return all(one < other for one, other in pairwise(case.days))


def name_of(case: Case) -> str:
    return f"{case.rule} {case.name}"


OF_THE_CORE = [case for case in CASES if is_of_the_core(case)]
EVERY_CASE = pytest.mark.parametrize("case", OF_THE_CORE, ids=name_of)
EVERY_CASE_IN_ORDER = pytest.mark.parametrize(
    "case", [case for case in OF_THE_CORE if is_in_order(case)], ids=name_of
)


def assert_as_worked(case: Case, result: legacy.Result) -> None:
    failures = tuple(issue for issue in case.failures if issue.name != "no_session")
    # As text: 0.00, 0 and -0.00 are equal as decimals.
    assert [str(row) for row in result.rows] == [str(row) for row in case.rows]
    assert result.failures == failures
    assert result.skipped == tuple(map(jan, case.skipped))
    equity = case.rows[-1].equity_balance if case.balance is None else Decimal(case.balance)
    assert result.equity_balance == equity


@EVERY_CASE_IN_ORDER
def test_a_worked_case_in_one_run(case: Case) -> None:
    (result,) = legacy_frames.by_core(run_of(case))
    assert_as_worked(case, result)


@EVERY_CASE
def test_a_worked_case_day_by_day(case: Case) -> None:
    (result,) = legacy_frames.day_by_day(run_of(case))
    assert_as_worked(case, result)


def test_few_cases_are_not_of_the_core() -> None:
    assert len(CASES) - len(OF_THE_CORE) <= 5
    assert {case.rule for case in OF_THE_CORE} >= {f"L{number}" for number in range(2, 35)}
