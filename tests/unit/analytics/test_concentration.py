"""A3 by hand and on the real closes."""

import numpy as np

from batchcore.analytics.concentration import concentration
from batchcore.demo.data import real_closes
from support.lots import OPTION, PRIVATE, STOCK, lots, without

NAN = np.nan


def of(rows, portfolios=1):
    return concentration(**without(lots(*rows), "kind"), portfolios=portfolios)


def test_by_hand():
    rows = [(0, 7, STOCK, 300), (0, 3, STOCK, 250), (0, 7, STOCK, -200), (0, 0, STOCK, -150)]
    found = of([*rows, (0, 9, STOCK, 100)])
    # w = 500, 250, 150, 100 of 1000: 0.25 + 0.0625 + 0.0225 + 0.01 = 0.345
    np.testing.assert_allclose(found.hhi, [[3450.0]], rtol=1e-14)
    np.testing.assert_allclose(found.effective_num_positions, [[10_000 / 3450]], rtol=1e-14)
    np.testing.assert_allclose(found.top_3, [[0.9]], rtol=1e-14)
    np.testing.assert_allclose(found.top_10, [[1.0]], rtol=1e-14)


def test_all_in_one_symbol():
    found = of([(0, 4, STOCK, -10), (0, 4, OPTION, 30), (0, 4, PRIVATE, 60)])
    assert (found.hhi, found.effective_num_positions) == (10_000.0, 1.0)
    assert (found.top_3, found.top_10) == (1.0, 1.0)


def test_the_largest_of_many_in_any_order():
    sizes = [4, 12, 1, 9, 7, 11, 2, 3, 6, 10, 8, 5]  # 78 in all
    found = of([(0, symbol, STOCK, size) for symbol, size in enumerate(sizes)])
    # 12 + 11 + 10, and all but 1 + 2
    np.testing.assert_allclose(found.top_3, [[33 / 78]], rtol=1e-14)
    np.testing.assert_allclose(found.top_10, [[75 / 78]], rtol=1e-14)


def test_no_value_is_none():
    found = of([(0, 1, STOCK, (0, 5)), (2, 1, STOCK, (5, 5))], portfolios=3)
    expected = [[NAN, 10_000.0], [NAN, NAN], [10_000.0, 10_000.0]]
    for column in (found.hhi, found.effective_num_positions, found.top_3, found.top_10):
        np.testing.assert_array_equal(np.isnan(column), np.isnan(expected))
    np.testing.assert_array_equal(found.hhi, expected)


def test_no_lots_are_none():
    found = of([], portfolios=2)
    assert found.hhi.shape == (2, 1)
    assert np.isnan([found.hhi, found.top_3, found.top_10, found.effective_num_positions]).all()


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


def test_a_share_of_each_real_symbol():
    real = real_closes()
    closes = real.values[-1] / 1e4
    found = of([(0, symbol, STOCK, close) for symbol, close in enumerate(closes)])
    weight = np.sort(closes)[::-1] / closes.sum()
    np.testing.assert_allclose(found.hhi, [[10_000 * (weight @ weight)]], rtol=1e-12)
    np.testing.assert_allclose(found.top_3, [[weight[:3].sum()]], rtol=1e-12)
    np.testing.assert_allclose(found.top_10, [[weight[:10].sum()]], rtol=1e-12)
