"""A6 by hand, and against statsmodels on the real closes."""

import numpy as np
import pytest

from batchcore.analytics.portfolio_beta import portfolio_beta
from batchcore.analytics.symbol_beta import symbol_betas
from support.lots import OPTION, PRIVATE, STOCK, lots, random_lots, real_returns
from support.regressions import least_squares

NAN = np.nan
MARKET = np.resize((0.01, 0.01, -0.01, -0.01), 88)
STEEP = np.resize((0.03, 0.01, -0.01, -0.03), 88)  # beta 2 (A5)


def of(rows, equity, returns=(STEEP, MARKET), market=MARKET, beta=None):
    returns = np.stack(returns, axis=1)
    columns = lots(*rows)
    equity = np.array(equity, dtype=np.float64).reshape(len(equity), -1)
    sessions = columns["value"].shape[1]
    if beta is None:
        beta = symbol_betas(returns, market, sessions=sessions).beta
    return portfolio_beta(**columns, equity=equity, beta=beta, returns=returns, market=market)


def test_options_and_private_lots_play_no_part():
    rows = [(0, 0, STOCK, 600), (0, 1, STOCK, -200), (0, 0, OPTION, 900), (0, 1, PRIVATE, 900)]
    found = of(rows, [1000.0])
    np.testing.assert_allclose(found.beta, [[1.0]], rtol=1e-13)
    np.testing.assert_allclose(found.r_squared, [[16 / 21.76]], rtol=1e-13)


def test_a_lot_without_a_beta_plays_no_part():
    late = np.where(np.arange(88) < 60, NAN, STEEP)  # 28 returns: no regression, and no gap
    found = of([(0, 1, STOCK, 500), (0, 0, STOCK, 400)], [1000.0], returns=(late, MARKET))
    assert found.beta == 0.5
    np.testing.assert_allclose(found.r_squared, [[1.0]], rtol=1e-13)
    assert found.observations == 88


@pytest.mark.parametrize("equity", [0.0, -10.0, NAN])
def test_an_equity_not_above_0_is_none(equity):
    found = of([(0, 0, STOCK, 600)], [equity])
    assert np.isnan([found.beta, found.r_squared]).all()
    assert found.observations == 0


@pytest.mark.parametrize("rows", [[], [(1, 0, OPTION, 5)], [(1, 0, STOCK, 0)]])
def test_no_lot_that_counts_is_none(rows):
    found = of(rows, [1000.0, 1000.0])
    assert np.isnan([found.beta, found.r_squared]).all()
    assert not found.observations.any()


def test_too_few_common_sessions_leave_beta_alone():
    early = np.where(np.arange(88) < 64, STEEP, NAN)
    late = np.where(np.arange(88) >= 24, STEEP, NAN)  # 40 in common
    rows = [(0, 0, STOCK, 600), (0, 1, STOCK, 400), (1, 0, STOCK, 500)]
    found = of(rows, [1000.0, 1000.0], returns=(early, late))
    np.testing.assert_allclose(found.beta, [[2.0], [1.0]], rtol=1e-13)
    assert found.observations.tolist() == [[0], [64]]
    np.testing.assert_allclose(found.r_squared, [[NAN], [0.8]], rtol=1e-13)


def test_a_hedge_without_variance_has_no_r_squared():
    rows = [(0, 0, STOCK, 600.1), (0, 0, STOCK, -600.1), (1, 0, STOCK, 1)]
    found = of(rows, [1000.0, 1000.0])
    assert found.beta[0] == 0.0
    assert np.isnan(found.r_squared[0])
    assert found.observations.tolist() == [[88], [88]]


def test_a_market_without_variance_gives_no_r_squared():
    beta = np.array([[1.0, 1.0]])
    found = of([(0, 0, STOCK, 600)], [1000.0], market=np.zeros(88), beta=beta)
    assert found.beta == 0.6
    assert np.isnan(found.r_squared)


def expected(columns, portfolio, session, *, equity, beta, returns, market):
    """Return beta, R² and observations by the words of A6; ``returns`` end with the session."""
    of_lot = beta[session, columns["symbol"]]
    value = columns["value"][:, session]
    counts = (columns["portfolio"] == portfolio) & (columns["kind"] == STOCK) & (value != 0)
    counts &= ~np.isnan(of_lot)
    if not counts.any() or not equity[portfolio, session] > 0:
        return NAN, NAN, 0
    weight = value[counts] / equity[portfolio, session]
    seen = returns[-126:, columns["symbol"][counts]]
    there = ~np.isnan(seen).any(axis=1) & ~np.isnan(market[-126:])
    x, y = market[-126:][there][-90:], (seen @ weight)[there][-90:]
    if len(x) < 60:
        return weight @ of_lot[counts], NAN, 0
    return weight @ of_lot[counts], least_squares(y, x).rsquared, len(x)


@pytest.mark.parametrize("gaps", [0.0, 0.01, 0.05])
def test_the_real_closes_equal_statsmodels(gaps):
    symbols, returns = real_returns(gaps)
    market = returns[:, symbols.index("SPY")]
    sessions, portfolios = 70, 25
    columns = random_lots(portfolios, len(symbols), sessions)
    equity = np.random.default_rng(1).normal(20_000, 10_000, (portfolios, sessions))
    beta = symbol_betas(returns, market, sessions=sessions).beta
    beta[:40, ::4] = NAN
    found = portfolio_beta(**columns, equity=equity, beta=beta, returns=returns, market=market)
    kinds = set()
    for portfolio in range(portfolios):
        for session in range(0, sessions, 9):
            end = len(returns) - sessions + session + 1
            past = {"returns": returns[:end], "market": market[:end]}
            numbers = expected(columns, portfolio, session, equity=equity, beta=beta, **past)
            at = (portfolio, session)
            np.testing.assert_allclose(found.beta[at], numbers[0], rtol=1e-11, atol=1e-13)
            np.testing.assert_allclose(found.r_squared[at], numbers[1], rtol=1e-9)
            assert found.observations[at] == numbers[2]
            kinds.add(min(numbers[2], 61))
    assert kinds >= ({0, 61} if gaps else {0})
