"""A1 by hand."""

import numpy as np
import pytest

from batchcore.analytics.provider_beta import provider_beta
from batchcore.errors import ConfigError
from support.lots import OPTION, PRIVATE, STOCK, lots

NAN = np.nan
BETA = np.array([1.5, 0.5, 0.0, NAN, -2.0])


def by(weights, rows, equity):
    equity = np.array(equity, dtype=np.float64).reshape(-1, 1)
    return provider_beta(**lots(*rows), equity=equity, beta=BETA, weights=weights)[:, 0]


@pytest.mark.parametrize(
    ("weights", "rows", "expected"),
    [
        # (600 * 1.5 - 200 * 0.5) / (600 - 200) = 800 / 400; the same 800 of 1000
        ("market_value", [(0, 0, STOCK, 600), (0, 1, STOCK, -200)], 2.0),
        ("equity", [(0, 0, STOCK, 600), (0, 1, STOCK, -200)], 0.8),
        # a beta of 0 is none; options and PRIVATE lots play no part
        ("market_value", [(0, 0, STOCK, 100), (0, 2, STOCK, 300), (0, 3, STOCK, 300)], 1.5),
        ("market_value", [(0, 0, STOCK, 100), (0, 1, OPTION, 500), (0, 1, PRIVATE, 500)], 1.5),
        # (100 * 1.5 - 300 * 2) / 400 = -450 / 400
        ("market_value", [(0, 0, STOCK, 100), (0, 4, STOCK, 300)], -1.125),
        # a net value not above 0
        ("market_value", [(0, 0, STOCK, 100), (0, 1, STOCK, -100)], NAN),
        ("market_value", [(0, 0, STOCK, 100), (0, 1, STOCK, -300)], NAN),
    ],
)
def test_by_hand(weights, rows, expected):
    np.testing.assert_array_equal(by(weights, rows, [1000.0]), [expected])


@pytest.mark.parametrize("weights", ["market_value", "equity"])
def test_no_lot_with_a_beta_is_none(weights):
    rows = [(0, 2, STOCK, 300), (0, 3, STOCK, 300), (2, 0, STOCK, 0)]
    assert np.isnan(by(weights, rows, [1000.0, 1000.0, 1000.0])).all()


@pytest.mark.parametrize("equity", [0.0, -1.0, NAN])
def test_an_equity_not_above_0_is_none(equity):
    assert np.isnan(by("equity", [(0, 0, STOCK, 100)], [equity]))


def test_each_portfolio_and_session_has_its_own():
    columns = lots((0, 0, STOCK, (100, 0)), (0, 1, STOCK, (100, 50)), (2, 4, STOCK, (0, 10)))
    beta = provider_beta(**columns, equity=np.ones((3, 2)), beta=BETA)
    np.testing.assert_array_equal(beta, [[1.0, 0.5], [NAN, NAN], [NAN, -2.0]])


def test_other_weights_are_refused():
    with pytest.raises(ConfigError, match="`weights` is one of market_value, equity") as caught:
        by("price", [(0, 0, STOCK, 1)], [1.0])
    assert caught.value.option == "weights"
