"""Rates of money-weighted returns against a second solver, and each reason why there is none."""

import sys
from collections import Counter
from decimal import Decimal, localcontext

import numpy as np
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from batchcore.errors import ConfigError
from batchcore.returns.money_weighted import CashFlows, Found, closed_rates, rates

Amounts = list[tuple[int, int]]
"""Days and amounts."""

DAY = st.integers(1, 1500)
MIXED = st.lists(st.tuples(DAY, st.integers(-2000, 2000)), max_size=8)
PERIODS = st.builds(
    lambda before, flows, days, after: [
        (0, -before),
        *sorted((min(day, days), amount) for day, amount in flows),
        (days, after),
    ],
    st.integers(-500, 5000),
    MIXED,
    st.integers(1, 1500),
    st.integers(-500, 8000),
)


def found_of(*periods: Amounts) -> list[tuple[float, Found]]:
    days, amounts = zip(*[one for period in periods for one in period], strict=True)
    first = np.cumsum([0, *map(len, periods)])[:-1]
    years = np.array(days) / 365
    rate, found = rates(CashFlows(np.array(amounts, dtype=np.float64), years, first))
    return [(value, Found(int(why))) for value, why in zip(rate.tolist(), found, strict=True)]


LEAST = -5000.0
"""Below it the last amount outweighs all others: amounts of 21,000 against 1, a day apart."""
GRID = np.concatenate([-np.geomspace(-LEAST, 40, 1000)[:-1], np.linspace(-40, np.log(1001), 2001)])


def by_scanning(period: Amounts) -> list[Decimal]:
    """Return the logarithms of growths, up to 1001 a year, at which amounts are worth 0.

    Changes of sign on a grid, halved in decimals of 40 digits, so that no sign is noise.
    """
    net: Counter[int] = Counter()
    for day, amount in period:
        net[day] += amount
    dated = sorted((day, amount) for day, amount in net.items() if amount)
    if not dated:
        return []
    days, amounts = (np.array(column, dtype=np.float64) for column in zip(*dated, strict=True))
    terms = amounts * np.exp(-np.outer(GRID, (days - days[-1]) / 365))
    value = terms.sum(axis=1)
    assume((np.abs(value) > 1e-12 * np.abs(terms).sum(axis=1)).all())
    changes = np.flatnonzero(value[1:] * value[:-1] < 0).tolist()

    def above(log: Decimal) -> bool:
        worth = (amount * (-log * day / 365).exp() for day, amount in dated)
        return sum(worth, Decimal(0)) > 0

    zeros = []
    with localcontext(prec=40):
        for at in changes:
            low, high = (Decimal(float(GRID[end])) for end in (at, at + 1))
            side = above(low)
            for _ in range(45):
                middle = (low + high) / 2
                low, high = (middle, high) if above(middle) == side else (low, middle)
            zeros.append(low)
    return zeros


@given(st.lists(PERIODS, min_size=1, max_size=3))
def test_rates_are_those_of_a_second_solver(periods: list[Amounts]) -> None:
    for period, (rate, why) in zip(periods, found_of(*periods), strict=True):
        zeros = by_scanning(period)
        if why is Found.RATE:
            assert len(zeros) == 1
            assert rate == pytest.approx(float(zeros[0]), abs=1e-8)
        elif why is Found.SEVERAL:
            assert len(zeros) != 1  # two may be too near to each other for the grid
        elif why is not Found.RATE:
            assert zeros == []


@given(st.lists(PERIODS, min_size=2, max_size=6))
def test_a_period_has_the_same_rate_alone_and_among_others(periods: list[Amounts]) -> None:
    for alone, together in zip(map(found_of, periods), found_of(*periods), strict=True):
        assert alone[0][1] == together[1]
        assert alone[0][0] == pytest.approx(together[0], abs=1e-9, nan_ok=True)


def test_a_loan_worked_by_hand() -> None:
    # 1000 and 1000 a year later grow to 2310 after two: 1000 * 1.1^2 + 1000 * 1.1
    period = [(0, -1000), (365, -1000), (730, 2310)]
    ((rate, why), _) = found_of(period, period)
    assert why is Found.RATE
    assert np.expm1(rate) == pytest.approx(0.1)


@pytest.mark.parametrize("other", [[], [[(0, -100), (10, 5), (365, 110)]]], ids=["alone", "with"])
@pytest.mark.parametrize(
    ("period", "why"),
    [
        pytest.param([(0, -100), (10, -5), (365, -1)], Found.ONE_SIGN, id="all paid in"),
        pytest.param([(0, 0), (10, 5), (365, 0)], Found.ONE_SIGN, id="all paid out"),
        pytest.param([(0, 0), (10, 0), (365, 0)], Found.ONE_SIGN, id="nothing"),
        pytest.param([(0, -100), (365, 50), (365, -50)], Found.ONE_SIGN, id="netted on a day"),
        # 100 - 230 v + 133 v^2: discriminant 52900 - 53200
        pytest.param([(0, 100), (365, -230), (730, 133)], Found.NO_RATE, id="no real root"),
        pytest.param([(0, -1), (1, -1), (365, 3000)], Found.NO_RATE, id="beyond 1000"),
        # 100 - 230 v + 132 v^2 = 0 at 10 % and 20 %
        pytest.param([(0, 100), (365, -230), (730, 132)], Found.SEVERAL, id="two"),
        # at 0 %, and where 2 a three days' growth before the end are worth 1: close to -100 %
        pytest.param([(0, -1), (331, 2), (334, -1)], Found.SEVERAL, id="one close to -100 %"),
    ],
)
def test_each_reason_for_no_rate(period: Amounts, why: Found, other: list[Amounts]) -> None:
    rate, found = found_of(period, *other)[0]
    assert (np.isnan(rate), found) == (True, why)


def test_several_rates_of_which_one_is_in_range_are_one() -> None:
    # zeros at a growth of 1.1 and of 2000, beyond the range: (v - 1/1.1)(v - 1/2000)
    first, last = 1 / 1.1 * 1 / 2000, 1.0
    period = [(0, first), (365, -(1 / 1.1 + 1 / 2000)), (730, last)]
    ((rate, why),) = found_of(period)  # type: ignore[arg-type]  # amounts may be floats
    assert why is Found.RATE
    assert np.exp(rate) == pytest.approx(1.1)


def test_periods_without_flows_have_a_closed_form() -> None:
    before, after = np.array([100.0, -100.0, 0.0, 100.0, 100.0]), np.array([121, -50, 5, -5, 102.0])
    rate, found = closed_rates(before, after, np.array([730, 365, 365, 365, 1]))
    assert np.expm1(rate[:2]).tolist() == pytest.approx([0.1, -0.5])
    assert found.tolist() == [*[Found.RATE] * 2, *[Found.ONE_SIGN] * 2, Found.NO_RATE]
    assert np.isnan(rate[2:]).all()


def test_without_scipy_the_extra_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "scipy", None)
    with pytest.raises(ConfigError, match=r"install `batchcore\[analytics\]`"):
        found_of([(0, -1), (1, 2)])
