"""The worked cases, computed by the reference and by the native core.

This file runs against an installed wheel too: it needs batchcore, `support` and `golden`.
"""

from collections.abc import Callable
from fractions import Fraction

import pytest

from batchcore import native, reference
from batchcore.frames import Text
from support import build
from support.cases import Case, vectors
from support.worked import CASES, COVERAGE, PRICES, CoverageCase, jan

Results = tuple[list[reference.Result], list[reference.Issue]]
Compute = Callable[[Case], Results]
Coverage = Callable[[CoverageCase], dict[int, Fraction]]


def by_reference(case: Case) -> Results:
    market = reference.market(case.prices, case.scales)
    results = [
        reference.roll_forward(portfolio, market, case.sessions, case.lookback_days, case.scales)
        for portfolio in case.portfolios
    ]
    return results, list(market.issues)


def by_core(case: Case) -> Results:
    rows = native.compute(
        build.inputs(case.portfolios, case.prices, case.sessions, case.scales),
        build.session_days(case.sessions),
        lookback_days=case.lookback_days,
    )
    return build.results(rows), build.market_issues(rows)


def name_of(case: Case | CoverageCase) -> str:
    return case.name


BOTH = pytest.mark.parametrize("computed", [by_reference, by_core])
EVERY_CASE = pytest.mark.parametrize("case", [*vectors(), *CASES], ids=name_of)


@BOTH
@EVERY_CASE
def test_rows_of_a_worked_case(case: Case, computed: Compute) -> None:
    results, _ = computed(case)
    for result, expected in zip(results, case.expected, strict=True):
        assert result.rows == expected.rows
        assert result.failed == expected.failed


@BOTH
@pytest.mark.parametrize("case", CASES, ids=name_of)  # the vectors do not tell issues
def test_issues_of_a_worked_case(case: Case, computed: Compute) -> None:
    results, market_issues = computed(case)
    for result, expected in zip(results, case.expected, strict=True):
        assert sorted(map(repr, result.issues)) == sorted(map(repr, expected.issues or ()))
    assert market_issues == list(case.market_issues)


@EVERY_CASE
def test_core_and_reference_notice_the_same(case: Case) -> None:
    assert by_core(case) == by_reference(case)


def coverage_by_reference(case: CoverageCase) -> dict[int, Fraction]:
    market = reference.market(PRICES)
    sessions = [jan(on) for on in case.sessions]
    return reference.coverage(market, case.symbols, sessions, case.lookback_days, daily=case.daily)


def coverage_by_core(case: CoverageCase) -> dict[int, Fraction]:
    sessions = [jan(on) for on in case.sessions]
    market = native.build_market(
        build.prices(PRICES), build.session_days(sessions), lookback_days=case.lookback_days
    )
    counts = market.coverage(Text.of(case.symbols))
    rows = zip(sessions, *(count.tolist() for count in counts), strict=True)
    return {
        day: Fraction(fresh, recent) if recent else Fraction(not known)
        for day, fresh, recent, known in rows
        if fresh or not case.daily
    }


@pytest.mark.parametrize("covered", [coverage_by_reference, coverage_by_core])
@pytest.mark.parametrize("case", COVERAGE, ids=name_of)
def test_coverage_of_a_worked_case(case: CoverageCase, covered: Coverage) -> None:
    assert covered(case) == {jan(on): share for on, share in case.expected.items()}
