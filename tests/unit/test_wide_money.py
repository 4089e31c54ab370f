"""Hosts whose columns of money have more than two decimals (S7, S8)."""

from collections.abc import Callable
from decimal import Decimal

import pytest

from batchcore import compute
from batchcore import reference as ref
from support import build
from support.cases import day

FRIDAY, MONDAY = day("2026-01-02"), day("2026-01-05")
SESSIONS = (FRIDAY, MONDAY)
SCALES = ref.Scales(money=4)

Rolled = Callable[[ref.Portfolio], ref.Result]


def by_reference(portfolio: ref.Portfolio) -> ref.Result:
    return ref.roll_forward(portfolio, ref.market(()), SESSIONS, scales=SCALES)


def by_core(portfolio: ref.Portfolio) -> ref.Result:
    inputs = build.inputs([portfolio], (), SESSIONS, SCALES)
    (result,) = build.results(compute(inputs, build.session_days(SESSIONS)))
    return result


BOTH = pytest.mark.parametrize("rolled", [by_reference, by_core])


def flows(kind: str, *dated: tuple[int, str]) -> tuple[ref.Flow, ...]:
    return tuple(ref.Flow(on, Decimal(amount), kind) for on, amount in dated)


def amounts(result: ref.Result) -> list[tuple[str, str, str]]:
    """Return flow, cumulative flow and equity of each row."""
    assert not result.failed
    return [
        (str(row.daily_capital_flow), str(row.cumulative_capital_flow), str(row.equity_balance))
        for row in result.rows
    ]


@BOTH
def test_equity_moves_by_the_rounded_flow(rolled: Rolled) -> None:
    # r2(-0.005) = -0.01; 10.00 - 0.01 = 9.99, where r2(10.00 - 0.005) would be 10.00
    portfolio = ref.Portfolio("p", Decimal("10.00"), (), flows("WITHDRAWAL", (MONDAY, "0.005")))
    assert amounts(rolled(portfolio)) == [("0.00", "0.00", "10.00"), ("-0.01", "-0.01", "9.99")]


@BOTH
def test_the_sum_of_the_flows_is_rounded_once(rolled: Rolled) -> None:
    # each alone would round to 0.00: r2(0.004 + 0.004) = 0.01
    paid = flows("CONTRIBUTION", (FRIDAY + 1, "0.004"), (MONDAY, "0.004"))
    portfolio = ref.Portfolio("p", Decimal("10.00"), (), paid)
    assert amounts(rolled(portfolio)) == [("0.00", "0.00", "10.00"), ("0.01", "0.01", "10.01")]


@BOTH
def test_flows_before_the_earliest_snapshot_are_rounded_too(rolled: Rolled) -> None:
    # the opening equity is 10.00 - r2(0.005) = 9.99, and Friday has 9.99 + r2(0.005) = 10.00
    portfolio = ref.Portfolio(
        "p",
        Decimal(99),
        (),
        flows("CONTRIBUTION", (FRIDAY, "0.005")),
        (ref.Snapshot(MONDAY, Decimal("10.00"), daily_pnl=Decimal(0)),),
    )
    assert amounts(rolled(portfolio)) == [("0.01", "0.01", "10.00"), ("0.00", "0.01", "10.00")]


@BOTH
def test_an_opening_equity_of_half_a_cent_fails(rolled: Rolled) -> None:
    result = rolled(ref.Portfolio("p", Decimal("10.005")))
    issue = ref.Issue("not_representable", None, FRIDAY, "equity_balance")
    assert (result.rows, result.issues, result.failed) == ((), (issue,), True)


@BOTH
def test_a_previous_cumulative_amount_of_half_a_cent_fails(rolled: Rolled) -> None:
    snapshot = ref.Snapshot(FRIDAY - 1, Decimal("10.00"), cumulative_pnl=Decimal("0.005"))
    result = rolled(ref.Portfolio("p", Decimal(10), snapshots=(snapshot,)))
    issue = ref.Issue("not_representable", None, FRIDAY, "cumulative_pnl")
    assert (result.rows, result.issues, result.failed) == ((), (issue,), True)
