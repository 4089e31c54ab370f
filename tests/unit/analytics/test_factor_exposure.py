"""A8 on lots that do not count, and on the real closes."""

import numpy as np
import pytest

from batchcore.analytics.factor_exposure import factor_exposures
from batchcore.analytics.factor_regression import factor_betas
from support.lots import OPTION, PRIVATE, STOCK, lots, real_returns

NAN = np.nan
BETA = np.array([[1.0, 0.5, NAN], [0.5, 0.0, NAN], [NAN, NAN, NAN]])


def of(rows, equity, beta=BETA):
    columns = lots(*rows)
    value = columns.pop("value")[:, 0]
    return factor_exposures(**columns, value=value, equity=np.array(equity), beta=beta)


def test_lots_that_do_not_count():
    rows = [(0, 0, STOCK, 100), (0, 0, OPTION, 900), (0, 0, PRIVATE, 900), (0, 2, STOCK, 900)]
    assert of(rows, [1000.0]).dollar[0, :2].tolist() == [100.0, 50.0]


def test_a_portfolio_without_a_lot_that_counts_has_none():
    found = of([(0, 2, STOCK, 100), (2, 0, STOCK, 0)], [1000.0, 1000.0, 1000.0])
    assert np.isnan([found.dollar, found.value]).all()


@pytest.mark.parametrize("equity", [0.0, -1.0, NAN])
def test_an_equity_not_above_0_leaves_the_dollars(equity):
    found = of([(0, 0, STOCK, 100)], [equity])
    assert found.dollar[0, 0] == 100.0
    assert np.isnan(found.value).all()


def test_a_portfolio_of_real_stocks_has_the_betas_of_its_own_returns():
    symbols, returns = real_returns()
    factors = returns[:, [symbols.index(name) for name in ("SPY", "TLT", "MTUM")]]
    held = [symbols.index(name) for name in ("AAPL", "JPM", "XOM")]
    value = [400.0, -100.0, 250.0]
    beta = factor_betas(returns, factors).beta
    found = of([(0, *lot) for lot in zip(held, [STOCK] * 3, value, strict=True)], [1000.0], beta)
    # Ridge is linear in y, so the weighted betas are those of the weighted returns.
    whole = factor_betas(returns[:, held] @ np.array([[0.4], [-0.1], [0.25]]), factors).beta
    np.testing.assert_allclose(found.value, whole, rtol=1e-11)
    np.testing.assert_allclose(found.dollar, 1000 * whole, rtol=1e-11)
