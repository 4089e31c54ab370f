"""A5 by hand, and against statsmodels on the real closes."""

import sys

import numpy as np
import pytest

from batchcore.analytics.factor_regression import factor_betas
from batchcore.analytics.returns import simple_returns
from batchcore.analytics.symbol_beta import check_p_values, symbol_betas
from batchcore.errors import ConfigError
from support.lots import real_returns
from support.regressions import least_squares

NAN = np.nan
CYCLE_OF_MARKET = (0.01, 0.01, -0.01, -0.01)
CYCLE = (0.03, 0.01, -0.01, -0.03)


def repeated(cycle, count):
    return np.resize(cycle, count)


def of(y, x):
    found = symbol_betas(np.asarray(y)[:, None], np.asarray(x))
    numbers = (found.beta, found.alpha, found.r_squared, found.std_error, found.p_value())
    return [number[0, 0] for number in numbers], found.observations[0, 0]


def by_statsmodels(y, x):
    """Return the same from the last 90 of the last 126 on which both are there."""
    rows = [row for row in range(max(0, len(y) - 126), len(y)) if not np.isnan(y[row] + x[row])]
    rows = rows[-90:]
    if len(rows) < 60:
        return [NAN] * 5, 0
    fit = least_squares(y[rows], x[rows])
    alpha, beta = fit.params
    return [beta, alpha, fit.rsquared, fit.bse[1], fit.pvalues[1]], len(rows)


def test_an_intercept():
    numbers, _ = of(repeated(CYCLE, 88) + 0.002, repeated(CYCLE_OF_MARKET, 88))
    np.testing.assert_allclose(numbers[:3], [2.0, 0.002, 0.8], rtol=1e-13)


def test_the_market_on_itself_is_exact():
    market = real_returns()[1][:, 3]
    numbers, observations = of(market, market)
    assert numbers == [1.0, 0.0, 1.0, 0.0, 0.0]
    assert observations == 90


@pytest.mark.parametrize(("count", "observations"), [(59, 0), (60, 60), (90, 90), (91, 90)])
def test_sixty_to_ninety_sessions_count(count, observations):
    y = repeated(CYCLE, 126).copy()
    y[: 126 - count] = NAN
    numbers, found = of(y, repeated(CYCLE_OF_MARKET, 126))
    assert found == observations
    assert np.isnan(numbers).all() == (observations == 0)


def test_sessions_before_the_126_do_not_count():
    y, x = repeated(CYCLE, 190).copy(), repeated(CYCLE_OF_MARKET, 190)
    y[70:137] = NAN  # 59 of the last 126 are left
    assert of(y, x)[1] == 0


@pytest.mark.parametrize("level", [0.0, 0.01])
def test_a_market_without_variance_gives_no_regression(level):
    numbers, observations = of(repeated(CYCLE, 90), np.full(90, level))
    assert np.isnan(numbers).all()
    assert observations == 0


@pytest.mark.parametrize("level", [0.0, 0.01, -0.3])
def test_a_symbol_without_variance_has_beta_0(level):
    numbers, observations = of(np.full(90, level), repeated(CYCLE_OF_MARKET, 90))
    beta, alpha, r_squared, std_error, p_value = numbers
    assert (beta, std_error, observations) == (0.0, 0.0, 90)
    assert abs(alpha - level) < 1e-15
    assert np.isnan([r_squared, p_value]).all()


def test_a_return_of_a_million_does_not_outlive_its_window():
    rng = np.random.default_rng(29)
    x = rng.normal(0, 0.01, 200)
    y = x + rng.normal(0, 0.01, 200)
    y[80] = 1e6
    np.testing.assert_allclose(of(y, x)[0], by_statsmodels(y, x)[0], rtol=1e-9)


@pytest.mark.parametrize("noise", [1e-3, 1e-5, 1e-8])
def test_a_close_fit_keeps_its_residuals(noise):
    rng = np.random.default_rng(31)
    x = rng.normal(0, 0.01, 90)
    y = 0.5 * x + noise * rng.normal(0, 0.01, 90)
    np.testing.assert_allclose(of(y, x)[0][:4], by_statsmodels(y, x)[0][:4], rtol=1e-9, atol=1e-17)


def test_returns_far_from_0_keep_their_variance():
    rng = np.random.default_rng(37)
    x = 0.5 + rng.normal(0, 1e-4, 90)
    y = 2 * x + rng.normal(0, 1e-4, 90)
    np.testing.assert_allclose(of(y, x)[0], by_statsmodels(y, x)[0], rtol=1e-9)


@pytest.mark.parametrize("gaps", [0.0, 0.02, 0.15])
def test_the_real_closes_equal_statsmodels(gaps):
    symbols, returns = real_returns(gaps)
    market = returns[:, symbols.index("SPY")]
    sessions = 120
    found = symbol_betas(returns, market, sessions=sessions)
    p_value = found.p_value()
    for session in range(0, sessions, 7):
        rows = len(returns) - sessions + session + 1
        for column, symbol in enumerate(symbols):
            expected, observations = by_statsmodels(returns[:rows, column], market[:rows])
            assert found.observations[session, column] == observations
            if symbol != "SPY":
                at = (session, column)
                numbers = [found.beta[at], found.alpha[at], found.r_squared[at]]
                numbers += [found.std_error[at], p_value[at]]
                np.testing.assert_allclose(numbers, expected, rtol=1e-9)


def test_p_values_need_scipy(monkeypatch):
    monkeypatch.setitem(sys.modules, "scipy", None)
    with pytest.raises(ConfigError, match=r"install `batchcore\[analytics\]`"):
        check_p_values()


def test_no_symbols_have_no_betas():
    assert symbol_betas(np.zeros((130, 0)), np.zeros(130), sessions=3).beta.shape == (3, 0)
    assert factor_betas(np.zeros((90, 0)), np.zeros((90, 2))).beta.shape == (0, 2)


def test_a_gap_takes_two_returns():
    returns = simple_returns(np.array([[10.0], [np.nan], [12.0], [15.0]]))
    assert np.isnan(returns[:3]).all()
    assert returns[3, 0] == 0.25
