"""The reference against the worked cases, and what no case can show."""

from dataclasses import replace
from decimal import Decimal, localcontext

import pytest

from batchcore import reference as ref
from support.cases import Case, vectors
from support.worked import CALENDAR, CASES, COVERAGE, PRICES, SPANS, CoverageCase, SpanCase, jan


def results(case: Case) -> list[ref.Result]:
    prices = ref.market(case.prices, case.scales)
    return [
        ref.roll_forward(portfolio, prices, case.sessions, case.lookback_days, case.scales)
        for portfolio in case.portfolios
    ]


def texts(result: ref.Result) -> list[str]:
    """Return the rows as text: 0.00, 0 and -0.00 are equal as decimals."""
    return [str(row) for row in result.rows]


@pytest.mark.parametrize("case", vectors(), ids=lambda case: case.name)
def test_rows_of_a_vector(case: Case) -> None:
    (result,), (expected,) = results(case), case.expected
    assert texts(result) == [str(row) for row in expected.rows]
    assert not result.failed


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
def test_rows_and_issues_of_a_worked_case(case: Case) -> None:
    for result, expected in zip(results(case), case.expected, strict=True):
        assert texts(result) == [str(row) for row in expected.rows]
        assert sorted(map(repr, result.issues)) == sorted(map(repr, expected.issues or ()))
        assert result.failed == expected.failed
    assert ref.market(case.prices, case.scales).issues == case.market_issues


@pytest.mark.parametrize("case", [*vectors(), *CASES], ids=lambda case: case.name)
def test_order_of_rows_plays_no_part(case: Case) -> None:
    backwards = replace(
        case,
        prices=case.prices[::-1],
        portfolios=tuple(
            replace(
                portfolio,
                positions=tuple(
                    replace(position, events=position.events[::-1])
                    for position in portfolio.positions[::-1]
                ),
                flows=portfolio.flows[::-1],
                snapshots=portfolio.snapshots[::-1],
            )
            for portfolio in case.portfolios
        ),
    )
    assert results(backwards) == results(case)


@pytest.mark.parametrize("case", [*vectors(), *CASES], ids=lambda case: case.name)
def test_day_by_day_gives_the_rows_of_one_run(case: Case) -> None:
    for portfolio, at_once in zip(case.portfolios, results(case), strict=True):
        assert texts(at_once) == [str(row) for row in day_by_day(case, portfolio)]


def day_by_day(case: Case, portfolio: ref.Portfolio) -> list[ref.Row]:
    prices = ref.market(case.prices, case.scales)
    stored = {snapshot.day: snapshot for snapshot in portfolio.snapshots}
    rows: list[ref.Row] = []
    for session in case.sessions:
        so_far = replace(portfolio, snapshots=tuple(stored.values()))
        result = ref.roll_forward(so_far, prices, [session], case.lookback_days, case.scales)
        if result.failed:
            break
        (row,) = result.rows
        rows.append(row)
        stored[session] = ref.Snapshot(
            row.day,
            row.equity_balance,
            row.cumulative_pnl,
            row.cumulative_realized_pnl,
            row.cumulative_capital_flow,
            row.daily_pnl,
            row.daily_capital_flow,
        )
    return rows


@pytest.mark.parametrize("case", COVERAGE, ids=lambda case: case.name)
def test_coverage_of_a_case(case: CoverageCase) -> None:
    found = ref.coverage(
        ref.market(PRICES),
        case.symbols,
        [jan(on) for on in case.sessions],
        case.lookback_days,
        daily=case.daily,
    )
    assert found == {jan(on): share for on, share in case.expected.items()}


@pytest.mark.parametrize("case", SPANS, ids=lambda case: case.name)
def test_span_of_a_case(case: SpanCase) -> None:
    first, last = case.range
    assert ref.span(case.rows, CALENDAR, jan(first), jan(last), case.on_existing) == case.expected


def test_case_names_are_unique() -> None:
    names = [case.name for case in [*vectors(), *CASES]]
    assert len(set(names)) == len(names)


@pytest.mark.parametrize(
    ("value", "cents"),
    [
        ("0.005", "0.01"),
        ("-0.005", "-0.01"),
        ("0.0049999", "0.00"),
        ("-0.004", "0.00"),
        ("2.675", "2.68"),
        ("1E+2", "100.00"),
    ],
)
def test_cents_are_rounded_half_away_from_zero(value: str, cents: str) -> None:
    assert str(ref.r2(Decimal(value))) == cents


@pytest.mark.parametrize(
    ("numerator", "denominator", "quotient"),
    [("1", "3", "0.333333"), ("2", "3", "0.666667"), ("-1", "2000000", "-0.000001")],
)
def test_quotients_are_rounded_half_away_from_zero(
    numerator: str, denominator: str, quotient: str
) -> None:
    assert str(ref.r6(Decimal(numerator), Decimal(denominator))) == quotient


def test_context_of_the_caller_plays_no_part() -> None:
    (case,) = (case for case in CASES if case.name == "large values on the way")
    with localcontext(prec=3):
        assert [texts(result) for result in results(case)] == [
            [str(row) for row in expected.rows] for expected in case.expected
        ]


@pytest.mark.parametrize(
    ("value", "scale", "read"),
    [
        (187.42, 4, "187.4200"),
        (0.1, 18, "0.100000000000000006"),  # 0.1000000000000000055511151231257827...
        (0.03125, 4, "0.0313"),  # 2^-5: a tie, away from zero
        (-0.03125, 4, "-0.0313"),
        (2.675, 2, "2.67"),  # 2.67499999999999982236431605997495353221893310546875
        (0.00005, 4, "0.0001"),  # 0.0000500000000000000023960868011929647991564706899225711...
        (-0.0, 4, "0.0000"),
        (1e-300, 4, "0.0000"),
        (2.0**53 - 0.5, 1, "9007199254740992"),  # no double lies between
        (1e30, 4, "1000000000000000019884624838656"),
        (float("-inf"), 4, "-Infinity"),
        (float("nan"), 4, "NaN"),
    ],
)
def test_a_double_is_its_exact_value_rounded_half_away_from_zero(
    value: float, scale: int, read: str
) -> None:
    assert str(ref.from_double(value, scale)) == read
