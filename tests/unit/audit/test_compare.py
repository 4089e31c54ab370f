"""Cells against cells, pairs of rows, and shares: against plain Python."""

from decimal import Decimal
from fractions import Fraction
from itertools import product

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from batchcore.audit.causes import any_by_left, pairs
from batchcore.audit.compare import (
    differs,
    shares_apart,
    value_at,
)
from batchcore.reference import representable
from batchcore.sources.reference_rows import as_decimals
from batchcore.units import State
from batchcore.values import parsed_json


@pytest.mark.parametrize(
    ("stored", "expected", "units", "wrong"),
    [
        ("1.5000", "1.50", 0, False),
        ("1.5001", "1.50", 0, True),
        ("1.5099", "1.50", 1, False),  # a unit is one of the coarser column
        ("1.5101", "1.50", 1, True),
        ("NaN", "1.50", 9, True),
    ],
)
def test_a_finer_column_is_compared_in_its_own_decimals(
    stored: str, expected: str, units: int, *, wrong: bool
) -> None:
    finer, coarser = as_decimals([Decimal(stored)], 4), as_decimals([Decimal(expected)], 2)
    assert differs(finer, coarser, units).tolist() == [wrong]


def test_what_is_not_representable_equals_nothing() -> None:
    odd = [Decimal("1.001"), Decimal("NaN"), Decimal("1E+30"), None]
    found = as_decimals(odd, 2)
    assert found.state.tolist() == [
        State.NOT_REPRESENTABLE,
        State.NON_FINITE,
        State.NOT_REPRESENTABLE,
        State.NULL,
    ]
    assert differs(found, found).tolist() == [True, True, True, False]
    told = [value_at(found, row) for row in range(4)]
    assert told == ["not representable", "not finite", "not representable", None]


@given(
    st.integers(-(10**21), 10**21),
    st.integers(-9, 9),
    st.integers(0, 6),
    st.sampled_from([0, 1, 25]),
)
def test_a_value_becomes_a_mantissa_if_it_is_representable(
    digits: int, exponent: int, scale: int, zeros: int
) -> None:
    value = Decimal(f"{digits}{'0' * zeros}E{exponent - zeros}")
    found = as_decimals([value], scale)
    if representable(value, scale):
        assert (found.state[0], Fraction(int(found.values[0]), 10**scale)) == (
            State.VALUE,
            Fraction(value),
        )
    else:
        assert found.state[0] == State.NOT_REPRESENTABLE


@given(st.lists(st.integers(0, 4)), st.lists(st.integers(0, 4)))
def test_pairs_are_all_rows_with_the_same_key(left: list[int], right: list[int]) -> None:
    right = sorted(right)
    found = pairs(np.array(left, dtype=np.int32), np.array(right, dtype=np.int32))
    both = product(range(len(left)), range(len(right)))
    expected = [(one, other) for one, other in both if left[one] == right[other]]
    assert list(zip(found.left.tolist(), found.right.tolist(), strict=True)) == expected
    odd = np.array([other % 2 == 1 for _, other in expected], dtype=np.bool_)
    rows = {one for one, other in expected if other % 2 == 1}
    assert np.flatnonzero(any_by_left(found, odd, len(left))).tolist() == sorted(rows)


@pytest.mark.parametrize(
    ("stored", "expected", "apart"),
    [
        ('{"A": 0.5, "B": 0.25}', '{"B": 0.25, "A": 0.5}', "0"),
        ('{"A": 0.5}', '{"A": 0.25, "B": 0.125}', "0.25"),
        ('{"A": 0.5}', '{"A": 0.5, "B": 0.75}', "0.75"),  # a name that is missing is 0
        ("{}", "{}", "0"),
        ("[0.5]", '{"A": 0.5}', None),
        ('{"A": "much"}', '{"A": 0.5}', None),
        ('{"A": null}', '{"A": 0.5}', None),
        ('{"A": 1e9999999999999999999}', '{"A": 0.5}', None),  # no decimal is as large
        ('{"A": {}}', '{"A": 0.5}', None),
    ],
)
def test_shares_are_as_far_apart_as_their_largest_difference(
    stored: str, expected: str, apart: str | None
) -> None:
    found = shares_apart(parsed_json(stored), parsed_json(expected))
    assert found == (None if apart is None else Decimal(apart))
