"""The worked cases of both policies, computed by the reference and by the native core.

This file runs against an installed wheel too: it needs batchcore, `support` and `cases`.
"""

from collections.abc import Callable, Collection, Sequence
from dataclasses import replace
from decimal import localcontext
from fractions import Fraction
from itertools import pairwise
from typing import Any

import pytest

from batchcore import native
from batchcore import reference as ref
from batchcore.frames import Text
from batchcore.reference import legacy
from support import build, legacy_frames
from support.cases import Case, cases, from_toml, jan, record
from support.sides import computed
from support.worked import PRICES
from support.worked_legacy import CALENDAR

Results = list[Any]
Table = dict[str, Any]

ROLLFORWARD = cases("rollforward")
LEGACY = cases("legacy")
SESSIONS = tuple(jan(on) for on in (2, 5, 6, 7, 8, 9, 12))


def is_of_the_core(case: Case) -> bool:
    """Return whether a portfolio is processed at all (L1), on a session (L2)."""
    return not case.portfolios[0].deleted and not CALENDAR.isdisjoint(case.days)


def is_in_order(case: Case) -> bool:
    return all(one < other for one, other in pairwise(case.days))


LEGACY_OF_THE_CORE = [case for case in LEGACY if is_of_the_core(case)]
EVERY_CASE = pytest.mark.parametrize("case", [*ROLLFORWARD, *LEGACY], ids=str)


def by_reference(case: Case, days: Sequence[int] | None = None) -> Results:
    days = case.days if days is None else days
    if case.policy == "rollforward":
        market = case.market()
        rules = (case.lookback_days, case.scales)
        return [ref.roll_forward(one, market, days, *rules) for one in case.portfolios]
    shared = case.shared(CALENDAR)
    return [legacy.roll(one, shared, days, case.scales) for one in case.portfolios]


def by_core(case: Case) -> Results:
    if case.policy == "rollforward":
        return build.results(computed(case))
    return legacy_frames.by_core(of_the_core(case))


def of_the_core(case: Case) -> Case:
    """Return a case of `legacy` without what is not the core's: days that are no session (L2)."""
    return replace(case, days=tuple(on for on in case.days if on in CALENDAR))


def texts(rows: Collection[Any]) -> list[str]:
    """Return rows as text: 0.00, 0 and -0.00 are equal as decimals."""
    return [str(row) for row in rows]


def assert_as_worked(case: Case, results: Results, *, days: Collection[int] = ()) -> None:
    """Assert rows and all else that a case says; `days` are those not computed here."""
    for result, expected in zip(results, case.expected, strict=True):
        assert texts(result.rows) == texts(expected.rows)
        if case.policy == "legacy":
            assert result.failures == tuple(i for i in expected.issues if i.day not in days)
            assert len(result.errors) == len(result.failures)
            assert set(result.errors) <= {"p: Failed to create snapshot"}
            assert result.skipped == expected.skipped
            assert result.equity_balance == expected.equity_after
            continue
        assert result.failed == expected.failed
        assert sorted(map(repr, result.issues)) == [repr(issue) for issue in expected.issues]


@EVERY_CASE
def test_reference_gives_a_worked_case(case: Case) -> None:
    assert_as_worked(case, by_reference(case))


@pytest.mark.parametrize("case", ROLLFORWARD, ids=str)
def test_core_gives_a_worked_case(case: Case) -> None:
    rows = computed(case)
    assert_as_worked(case, build.results(rows))
    # In the same order.
    assert build.results(rows) == by_reference(case)
    assert tuple(build.market_issues(rows)) == case.market_issues
    market = case.market()
    odd = () if market.splits is None else market.splits.issues
    assert market.issues + odd == case.market_issues


@pytest.mark.parametrize("case", list(filter(is_in_order, LEGACY_OF_THE_CORE)), ids=str)
def test_core_gives_a_worked_case_of_legacy_in_one_run(case: Case) -> None:
    assert_as_worked(case, by_core(case), days=set(case.days) - CALENDAR)


@pytest.mark.parametrize("case", LEGACY_OF_THE_CORE, ids=str)
def test_core_gives_a_worked_case_of_legacy_day_by_day(case: Case) -> None:
    results = legacy_frames.day_by_day(of_the_core(case))
    assert_as_worked(case, results, days=set(case.days) - CALENDAR)


def test_few_cases_are_not_of_the_core() -> None:
    assert len(LEGACY) - len(LEGACY_OF_THE_CORE) <= 5
    assert {case.rules[0] for case in LEGACY_OF_THE_CORE} >= {f"L{n}" for n in range(2, 35)}


@EVERY_CASE
def test_order_of_rows_plays_no_part(case: Case) -> None:
    backwards = replace(
        case,
        prices=case.prices[::-1],
        portfolios=tuple(
            replace(
                portfolio,
                positions=tuple(
                    replace(position, events=position.events[::-1], betas=position.betas[::-1])
                    for position in portfolio.positions[::-1]
                ),
                flows=portfolio.flows[::-1],
                snapshots=portfolio.snapshots[::-1],
            )
            for portfolio in case.portfolios
        ),
    )
    assert by_reference(backwards) == by_reference(case)


@EVERY_CASE
def test_day_by_day_gives_the_rows_of_one_run(case: Case) -> None:
    for number, at_once in enumerate(by_reference(case)):
        portfolio = case.portfolios[number]
        rows: list[Any] = []
        for on in case.days:
            (result,) = by_reference(replace(case, portfolios=(portfolio,)), [on])
            rows += result.rows
            if case.policy == "legacy":
                portfolio = legacy_frames.after(portfolio, result)
            elif result.failed:
                break
            else:
                stored = {one.day: one for one in portfolio.snapshots}
                stored |= {row.day: build.snapshot_of(row) for row in result.rows}
                portfolio = replace(portfolio, snapshots=tuple(stored.values()))
        assert texts(rows) == texts(at_once.rows)


@pytest.mark.parametrize("name", ["large values on the way", "a sum wider than 128 bits"])
def test_context_of_the_caller_plays_no_part(name: str) -> None:
    (case,) = (case for case in [*ROLLFORWARD, *LEGACY] if case.name == name)
    with localcontext(prec=3):
        assert_as_worked(case, by_reference(case))


@pytest.mark.parametrize("all_cases", [ROLLFORWARD, LEGACY], ids=["rollforward", "legacy"])
def test_case_names_are_unique(all_cases: list[Case]) -> None:
    assert len(set(map(str, all_cases))) == len(all_cases)


def test_every_rule_of_legacy_has_a_case() -> None:
    assert {case.rules[0] for case in LEGACY} == {f"L{number}" for number in range(1, 35)}


def covered_by_reference(case: Table, sessions: list[int], lookback_days: int) -> Table:
    market = ref.market(PRICES)
    daily = case.get("daily", False)
    return ref.coverage(market, case["symbols"], sessions, lookback_days, daily=daily)


def covered_by_core(case: Table, sessions: list[int], lookback_days: int) -> Table:
    days = build.session_days(sessions)
    market = native.build_market(build.prices(PRICES), days, lookback_days=lookback_days)
    counts = market.marks.coverage(Text.of(case["symbols"]))
    rows = zip(sessions, *(count.tolist() for count in counts), strict=True)
    return {
        day: Fraction(fresh, recent) if recent else Fraction(not known)
        for day, fresh, recent, known in rows
        if fresh or not case.get("daily")
    }


@pytest.mark.parametrize("covered", [covered_by_reference, covered_by_core])
@pytest.mark.parametrize("case", from_toml("coverage.toml")["case"], ids=lambda case: case["name"])
def test_coverage_of_a_worked_case(case: Table, covered: Callable[..., Table]) -> None:
    symbols = [None if symbol == "NULL" else symbol for symbol in case["symbols"]]
    sessions = [jan(on) for on in case["sessions"]]
    found = covered(case | {"symbols": symbols}, sessions, case.get("lookback_days", 10))
    assert found == {jan(int(on)): Fraction(share) for on, share in case["expected"].items()}


@pytest.mark.parametrize("case", from_toml("spans.toml")["case"], ids=lambda case: case["name"])
def test_span_of_a_worked_case(case: Table) -> None:
    standing = [{"day": on} for on in case.get("complete", [])] + case.get("incomplete", [])
    stored = [record(ref.Snapshot, **{"equity": 0} | row) for row in standing]
    first, last = map(jan, case["range"])
    expected = {
        name: tuple(map(jan, days)) if isinstance(days, list) else jan(days)
        for name, days in case["expected"].items()
    }
    found = ref.span(stored, SESSIONS, first, last, case["on_existing"])
    assert found == ref.Span(**expected)


@pytest.mark.parametrize(
    ("asked", "names"),
    [(None, ["first", "second"]), (("second", "deleted"), ["second"]), ((), [])],
)
def test_portfolios_that_legacy_processes(asked: Collection[str] | None, names: list[str]) -> None:
    deleted = legacy.Portfolio("deleted", deleted=True)
    others = [legacy.Portfolio("first"), legacy.Portfolio("second")]
    assert [one.name for one in legacy.chosen([deleted, *others], asked)] == names
