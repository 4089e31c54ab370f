"""A4 by hand, and against `statistics` on the real closes."""

import math
import statistics

import numpy as np
import pytest

from batchcore.analytics.volatility import realized_volatility
from support.lots import real_returns

NAN = np.nan


def by_statistics(values, window):
    there = [value for value in values if not math.isnan(value)][-window:]
    return statistics.stdev(there) * math.sqrt(252) if len(there) == window else NAN


def test_a_null_is_skipped():
    returns = np.array([[0.01, NAN, NAN, 0.03, NAN]])
    found = realized_volatility(returns, sessions=3, window=2)
    two = math.sqrt(0.0002 * 252)
    np.testing.assert_allclose(found, [[NAN, two, two]], rtol=1e-14)


@pytest.mark.parametrize("columns", [1, 20])
def test_fewer_columns_than_the_window_are_none(columns):
    found = realized_volatility(np.zeros((2, columns)), sessions=1, window=21)
    assert np.isnan(found).all()
    assert found.shape == (2, 1)


def test_returns_without_variance_have_none():
    found = realized_volatility(np.full((1, 63), 0.001), sessions=1, window=63)
    assert abs(found[0, 0]) < 1e-15


@pytest.mark.parametrize("window", [21, 63])
def test_real_returns_with_gaps_equal_statistics(window):
    returns = real_returns(gaps=0.1)[1].T.round(6)
    sessions = returns.shape[1] - 10
    found = realized_volatility(returns, sessions=sessions, window=window)
    for row in range(0, len(returns), 5):
        for column in range(0, sessions, 7):
            expected = by_statistics(returns[row, : 11 + column].tolist(), window)
            np.testing.assert_allclose(found[row, column], expected, rtol=1e-12)
    assert np.isnan(found).any()
