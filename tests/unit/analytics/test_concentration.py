"""A3 against plain Python; tests/test_worked_analytics.py has the example of the page."""

import numpy as np

from batchcore.analytics.concentration import concentration
from support.lots import OPTION, PRIVATE, STOCK, lots, without

NAN = np.nan


def of(rows, portfolios=1):
    return concentration(**without(lots(*rows), "kind"), portfolios=portfolios)


def test_all_in_one_symbol():
    found = of([(0, 4, STOCK, -10), (0, 4, OPTION, 30), (0, 4, PRIVATE, 60)])
    assert (found.hhi, found.effective_num_positions) == (10_000.0, 1.0)
    assert (found.top_3, found.top_10) == (1.0, 1.0)


def test_no_value_is_none():
    found = of([(0, 1, STOCK, (0, 5)), (2, 1, STOCK, (5, 5))], portfolios=3)
    expected = [[NAN, 10_000.0], [NAN, NAN], [10_000.0, 10_000.0]]
    for column in (found.hhi, found.effective_num_positions, found.top_3, found.top_10):
        np.testing.assert_array_equal(np.isnan(column), np.isnan(expected))
    np.testing.assert_array_equal(found.hhi, expected)
    assert np.isnan(of([], portfolios=2).hhi).tolist() == [[True], [True]]


def test_portfolios_of_all_sizes_together():
    rng = np.random.default_rng(11)
    sizes = [1, 200, 2, 5, 30, 3, 11]
    rows = [
        (owner, symbol, STOCK, float(rng.integers(1, 1000)))
        for owner, size in enumerate(sizes)
        for symbol in rng.permutation(size)
    ]
    found = of(rows, portfolios=len(sizes))
    for owner in range(len(sizes)):
        value = sorted((row[3] for row in rows if row[0] == owner), reverse=True)
        weight = [one / sum(value) for one in value]
        hhi = 10_000 * sum(one * one for one in weight)
        assert abs(found.hhi[owner, 0] / hhi - 1) < 1e-12
        assert abs(found.top_3[owner, 0] - sum(weight[:3])) < 1e-12
        assert abs(found.top_10[owner, 0] - sum(weight[:10])) < 1e-12
