"""What the demo fills a database with: betas that the closes give, without looking ahead."""

from decimal import Decimal

import numpy as np
import pytest

from batchcore.demo.data import real_closes, real_profiles
from batchcore.demo.market import BETA_HISTORY, real_market
from batchcore.demo.run import Size, seeded, with_betas


@pytest.fixture(scope="module")
def market():
    return real_market()


@pytest.fixture(scope="module")
def betas(market):
    return {profile.symbol: profile.beta for profile in with_betas(real_profiles(), market)}


@pytest.mark.parametrize("symbol", ["AAPL", "AMD", "TLT", "XOM"])
def test_beta_is_the_regression_of_ninety_returns_before_the_first_session(market, betas, symbol):
    closes = real_closes()  # no gap, so the last 90 sessions count
    before = closes.values[: market.first].astype(np.float64)[-91:]
    returns = before[1:] / before[:-1] - 1
    own, spy = (returns[:, closes.symbols.index(name)] for name in (symbol, "SPY"))
    slope, _ = np.polyfit(spy, own, 1)
    assert betas[symbol] == Decimal(f"{slope:.4f}")


def test_every_symbol_has_a_beta_of_four_decimals(betas):
    assert betas["SPY"] == 1
    assert {beta.as_tuple().exponent for beta in betas.values()} == {-4}
    # What everybody knows of them: long bonds against the market, energy and chips with it.
    assert betas["TLT"] < 0 < betas["KO"] < betas["RRC"]


@pytest.mark.parametrize(("history", "some"), [(60, False), (61, True)])
def test_sixty_returns_give_a_beta_and_fewer_none(history, some):
    # 61 closes have 60 returns.
    market = real_market(len(real_closes().days) - history)
    betas = {profile.beta for profile in with_betas(real_profiles(), market)}
    assert (None not in betas) is some
    assert (len(betas) > 1) is some


def test_generated_prices_have_factors_and_history_and_real_ones_are_the_market_itself():
    data = seeded(Size(portfolios=5, symbols=20, sessions=3), seed=1)
    assert (data.market.first, data.prices.first) == (10, BETA_HISTORY)
    assert set(data.market.symbols) < set(data.prices.symbols)
    (written,) = (table.rows for table in data.tables if table.name == "market_data_cache")
    assert written == data.prices.known.sum() > data.market.known.sum()
    real = seeded(Size.of(), seed=1)
    assert real.prices is real.market
    assert [profile.symbol for profile in real.profiles] == list(real_closes().symbols)
