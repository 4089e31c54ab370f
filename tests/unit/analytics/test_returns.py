"""Simple returns: only where both closes are there."""

import numpy as np

from batchcore.analytics.returns import simple_returns
from support.lots import real_returns


def test_returns_by_hand():
    returns = simple_returns(np.array([[10.0, 8.0], [11.0, 8.0], [8.8, 6.0]]))
    assert np.isnan(returns[0]).all()
    # 11 / 10 - 1 and 8 / 8 - 1; 8.8 / 11 - 1 and 6 / 8 - 1
    np.testing.assert_allclose(returns[1:], [[0.1, 0.0], [-0.2, -0.25]], rtol=1e-14)


def test_a_gap_takes_two_returns():
    returns = simple_returns(np.array([[10.0], [np.nan], [12.0], [15.0]]))
    assert np.isnan(returns[:3]).all()
    assert returns[3, 0] == 0.25


def test_one_session_has_no_return():
    assert np.isnan(simple_returns(np.array([[10.0, 20.0]]))).all()


def test_the_first_returns_of_the_data_file():
    symbols, returns = real_returns()
    # 201.7200 is 1.8059679 % below 205.4300, and 23.8410 is 2.8167292 % below 24.5320
    assert abs(returns[1, symbols.index("SPY")] - -0.018059679) < 1e-9
    assert abs(returns[1, symbols.index("AAPL")] - -0.028167292) < 1e-9
