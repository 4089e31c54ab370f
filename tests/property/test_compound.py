"""Returns compounded by the core equal those of `decimal`, to the last of 28 digits."""

from decimal import Decimal

import numpy as np
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from batchcore.errors import CancelledError, InputError
from batchcore.native import CancelFlag, compound
from batchcore.units import State
from support.returns import DECIMALS, Expected, compounded

CENTS = st.integers(-(10**6), 10**8)
ANY = st.integers(-(2**63), 2**63 - 1)
BASIS = st.integers(1, 10**8) | st.integers(-5, 2**63 - 1)
SESSIONS = st.lists(st.tuples(CENTS | ANY, BASIS), min_size=1, max_size=12)
NEAR = st.lists(
    st.tuples(st.integers(-(10**5), 10**5), st.integers(10**6, 10**7)), min_size=1, max_size=60
)
"""Returns as portfolios have them."""


def rows(*values: int) -> np.ndarray:
    return np.array(values, dtype=np.uint32)


def in_units(value: Decimal) -> Decimal:
    """Return a value with 28 decimals, as it leaves the core."""
    return value.scaleb(28).to_integral_value(context=DECIMALS).scaleb(-28)


@given(SESSIONS | NEAR)
@example([(-1, 10**18), (1, 10**18)])
@example([(-(10**8), 10**8), (5, 1)])
@example([(10**8, 1), (10**8, 1)])
@example([(-10, 100), (20, 90), (-10, 100)])
@example([(0, 5), (0, 5)])
def test_the_core_compounds_as_decimal_does(sessions: list[tuple[int, int]]) -> None:
    pnl, basis = (np.array(column, dtype=np.int64) for column in zip(*sessions, strict=True))
    before = np.zeros(1, dtype=np.int64)
    columns = np.concatenate((before, pnl)), np.concatenate((before, basis))
    found = compound(*columns, rows(1), rows(len(pnl)))
    expected = compounded(pnl.tolist(), basis.tolist())
    if not isinstance(expected, Expected):
        assert found.missing[0] == expected
        assert found.total.state[0] == State.NULL
        return
    assert found.missing[0] == -1
    returns = expected.returns
    for name, value in (
        ("total", expected.total),
        ("depth", expected.depth),
        ("current", expected.current),
        ("best", max(returns)),
        ("worst", min(returns)),
    ):
        column = getattr(found, name)
        if value is None:
            assert column.state[0] == State.NULL
        elif abs(value) >= 10**10:
            assert column.state[0] == State.NOT_REPRESENTABLE
        else:
            assert column.decimals() == [in_units(value)], name
    fall = expected.depth is not None
    rows_of_fall = (expected.peak, expected.trough, expected.recovered)
    expected_rows = [-1 if row is None or not fall else row for row in rows_of_fall]
    assert [found.peak[0], found.trough[0], found.recovered[0]] == expected_rows
    assert found.best_row[0] == returns.index(max(returns)) + 1
    assert found.worst_row[0] == returns.index(min(returns)) + 1
    assert found.gains[0] == sum(value > 0 for value in returns)


def test_periods_may_overlap_and_come_in_any_order() -> None:
    pnl, basis = np.array([0, 10, -20, 30]), np.array([0, 100, 100, 100])
    found = compound(pnl, basis, rows(3, 1, 1), rows(3, 2, 3))
    assert found.total.decimals() == [Decimal("0.3"), Decimal("-0.12"), Decimal("0.144")]


def test_what_is_wrong_is_named() -> None:
    one = np.array([1])
    with pytest.raises(InputError, match="basis"):
        compound(one, np.array([1, 2]), rows(0), rows(0))
    with pytest.raises(InputError, match="`pnl`: expected int64"):
        compound(one.astype(np.int32), one, rows(0), rows(0))
    raised = CancelFlag()
    raised.set()
    with pytest.raises(CancelledError):
        compound(one, one, rows(0), rows(0), cancel=raised)


def test_a_period_beyond_the_rows_has_no_returns() -> None:
    found = compound(np.array([1]), np.array([1]), rows(5), rows(9))
    assert found.missing.tolist() == [5]
