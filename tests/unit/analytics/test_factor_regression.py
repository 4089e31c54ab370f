"""A7 by hand, and against scikit-learn and statsmodels on the real closes."""

import numpy as np
import pytest

from batchcore.analytics.factor_regression import factor_betas
from batchcore.errors import ConfigError
from batchcore.units import FACTOR_ETFS
from support.lots import real_returns
from support.regressions import least_squares, ridge

NAN = np.nan
FIRST = np.resize((0.01, 0.01, -0.01, -0.01), 88)
SECOND = np.resize((0.01, -0.01, 0.01, -0.01), 88)
BOTH = 2 * FIRST + SECOND


def columns(*returns):
    return np.stack(returns, axis=1)


def test_betas_are_in_the_units_of_returns():
    found = factor_betas(columns(BOTH + 0.01), columns(10 * FIRST, SECOND / 4))
    np.testing.assert_allclose(found.beta, [[0.1, 2.0]], rtol=1e-13)


def test_the_quality_of_each_count():
    y = np.resize(BOTH, (100, 4)).copy()
    y[:, :] = np.resize(BOTH, 100)[:, None]
    for column, count in enumerate((59, 60, 89, 90)):
        y[: 100 - count, column] = NAN
    found = factor_betas(y, columns(np.resize(FIRST, 100), np.resize(SECOND, 100)))
    assert found.observations.tolist() == [0, 60, 89, 90]
    limited = "limited_history"
    assert found.quality_flag() == (None, limited, limited, "full_history")
    assert np.isnan(found.beta).any(axis=1).tolist() == [True, False, False, False]


def test_an_etf_with_few_returns_does_not_count():
    late = np.where(np.arange(88) < 29, NAN, SECOND)  # 59
    found = factor_betas(columns(BOTH), columns(FIRST, late))
    np.testing.assert_allclose(found.beta, [[1.0, NAN]], atol=1e-14)
    assert found.observations.tolist() == [88]


def test_a_gap_of_an_etf_that_counts_takes_the_session_from_all():
    late = np.where(np.arange(88) < 28, NAN, SECOND)  # 60
    found = factor_betas(columns(BOTH), columns(FIRST, late))
    assert found.observations.tolist() == [60]


def test_no_etf_that_counts_gives_no_betas():
    found = factor_betas(columns(BOTH), np.full((88, 3), NAN))
    assert np.isnan(found.beta).all()
    assert found.observations.tolist() == [0]
    assert found.quality_flag() == (None,)


def test_an_etf_without_variance_has_beta_0():
    found = factor_betas(columns(BOTH), columns(FIRST, np.full(88, 0.001)))
    np.testing.assert_allclose(found.beta, [[1.0, 0.0]], atol=1e-14)


def test_a_symbol_without_variance_has_betas_0():
    found = factor_betas(np.full((88, 1), 0.001), columns(FIRST, SECOND))
    np.testing.assert_allclose(found.beta, [[0.0, 0.0]], atol=1e-14)


def test_dependent_etfs_have_no_least_squares():
    factors = columns(FIRST, SECOND, FIRST - SECOND)
    assert np.isnan(factor_betas(columns(BOTH), factors, method="ols").beta).all()
    assert np.isfinite(factor_betas(columns(BOTH), factors).beta).all()


def test_other_methods_are_refused():
    with pytest.raises(ConfigError, match="`method` is one of ridge, ols") as caught:
        factor_betas(columns(BOTH), columns(FIRST), method="lasso")
    assert caught.value.option == "method"


@pytest.fixture(params=[0.0, 0.005], ids=["whole", "gaps"])
def real(request):
    symbols, returns = real_returns(request.param)
    etfs = [symbols.index(name) for name in FACTOR_ETFS if name in symbols]
    assert len(etfs) == 7
    return returns, returns[:, etfs]


def sessions_of(column, factors):
    there = ~np.isnan(column[-90:]) & ~np.isnan(factors[-90:]).any(axis=1)
    return column[-90:][there], factors[-90:][there]


def test_the_real_closes_equal_scikit_learn(real):
    returns, factors = real
    found = factor_betas(returns, factors)
    for symbol in range(returns.shape[1]):
        y, x = sessions_of(returns[:, symbol], factors)
        slopes = ridge(y, x, penalty=float(len(y)))
        np.testing.assert_allclose(found.beta[symbol], slopes, rtol=1e-9)
        assert found.observations[symbol] == len(y)


def test_the_real_closes_equal_statsmodels(real):
    returns, factors = real
    found = factor_betas(returns, factors, method="ols")
    for symbol in range(returns.shape[1]):
        y, x = sessions_of(returns[:, symbol], factors)
        fit = least_squares(y, x)
        np.testing.assert_allclose(found.beta[symbol], fit.params[1:], rtol=1e-9, atol=1e-12)
