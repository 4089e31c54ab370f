"""The policy `legacy`: its reference against the worked cases, rule by rule."""

from collections.abc import Collection
from dataclasses import replace
from decimal import Decimal, localcontext

import pytest

from batchcore.reference import legacy
from support.worked_legacy import (
    CALENDAR,
    CASES,
    CHOSEN,
    DELETED,
    FIRST,
    SECOND,
    Case,
    jan,
)


def shared(case: Case) -> legacy.Shared:
    return legacy.Shared(
        prices=legacy.closes(case.prices, case.scales),
        calendar=CALENDAR,
        today=jan(case.today),
        cached={(symbol, jan(on)): Decimal(text) for (symbol, on), text in case.cached.items()},
        profiles=case.profiles,
        has_benchmark=case.has_benchmark,
    )


def result(case: Case) -> legacy.Result:
    return legacy.roll(case.portfolio, shared(case), [jan(on) for on in case.days], case.scales)


def name_of(case: Case) -> str:
    return f"{case.rule} {case.name}"


EVERY_CASE = pytest.mark.parametrize("case", CASES, ids=name_of)


@EVERY_CASE
def test_rows_of_a_worked_case(case: Case) -> None:
    # As text: 0.00, 0 and -0.00 are equal as decimals.
    assert [str(row) for row in result(case).rows] == [str(row) for row in case.rows]


@EVERY_CASE
def test_failures_of_a_worked_case(case: Case) -> None:
    found = result(case)
    assert found.failures == case.failures
    assert found.errors == ("p: Failed to create snapshot",) * len(case.failures)
    assert found.skipped == tuple(map(jan, case.skipped))


@EVERY_CASE
def test_equity_of_the_portfolio_after_a_worked_case(case: Case) -> None:
    equity = case.rows[-1].equity_balance if case.balance is None else Decimal(case.balance)
    assert result(case).equity_balance == equity


@EVERY_CASE
def test_order_of_rows_plays_no_part(case: Case) -> None:
    backwards = replace(
        case,
        prices=case.prices[::-1],
        portfolio=replace(
            case.portfolio,
            positions=tuple(
                replace(one, events=one.events[::-1], betas=one.betas[::-1])
                for one in case.portfolio.positions[::-1]
            ),
            flows=case.portfolio.flows[::-1],
            snapshots=case.portfolio.snapshots[::-1],
        ),
    )
    assert result(backwards) == result(case)


@EVERY_CASE
def test_day_by_day_gives_the_rows_of_one_run(case: Case) -> None:
    portfolio = case.portfolio
    rows: list[legacy.Row] = []
    for on in case.days:
        found = legacy.roll(portfolio, shared(case), [jan(on)], case.scales)
        rows += found.rows
        written = {row.day: stored(row) for row in found.rows}
        kept = tuple(one for one in portfolio.snapshots if one.day not in written)
        portfolio = replace(
            portfolio,
            equity_balance=found.equity_balance,
            snapshots=(*kept, *written.values()),
        )
    assert tuple(rows) == result(case).rows


def stored(row: legacy.Row) -> legacy.Snapshot:
    return legacy.Snapshot(
        row.day,
        row.equity_balance,
        row.cumulative_pnl,
        row.cumulative_realized_pnl,
        row.cumulative_capital_flow,
    )


@pytest.mark.parametrize(("asked", "expected"), CHOSEN)
def test_portfolios_that_are_processed(
    asked: Collection[str] | None, expected: list[legacy.Portfolio]
) -> None:
    assert legacy.chosen([DELETED, FIRST, SECOND], asked) == expected


def test_every_rule_has_a_case() -> None:
    assert {case.rule for case in CASES} == {f"L{number}" for number in range(1, 35)}


def test_case_names_are_unique() -> None:
    names = [name_of(case) for case in CASES]
    assert len(set(names)) == len(names)


def test_context_of_the_caller_plays_no_part() -> None:
    (case,) = (case for case in CASES if case.name == "a sum wider than 128 bits")
    with localcontext(prec=3):
        assert result(case).rows == case.rows
