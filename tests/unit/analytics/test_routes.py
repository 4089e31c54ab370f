"""S11: one session at a time or all at once, alone or with others, the same numbers."""

import numpy as np
import pytest

from batchcore.analytics.concentration import concentration
from batchcore.analytics.portfolio_beta import portfolio_beta
from batchcore.analytics.provider_beta import provider_beta
from batchcore.analytics.sector_exposure import sector_exposure
from batchcore.analytics.symbol_beta import symbol_betas
from batchcore.analytics.volatility import realized_volatility
from support.lots import random_lots, real_returns, without

PORTFOLIOS, SESSIONS = 60, 65
PLACES = 4


def analysed(columns, equity, returns, market, daily_return):
    """Return every number of a snapshot, (p, s) each, by name."""
    sessions = equity.shape[1]
    beta = np.linspace(-0.5, 2.0, returns.shape[1]).round(4)
    sector = (columns["symbol"] % 5).astype(np.int64)
    betas = symbol_betas(returns, market, sessions=sessions)
    fit = portfolio_beta(**columns, equity=equity, beta=betas.beta, returns=returns, market=market)
    spread = concentration(**without(columns, "kind"), portfolios=len(equity))
    shares = sector_exposure(
        **without(columns, "symbol", "kind"), sector=sector, equity=equity, sectors=5
    )
    return {
        "provider beta": provider_beta(**columns, equity=equity, beta=beta),
        **{f"sector {number}": shares[:, :, number] for number in range(5)},
        "hhi": spread.hhi,
        "top 3": spread.top_3,
        "top 10": spread.top_10,
        "21d": realized_volatility(daily_return, sessions=sessions, window=21),
        "63d": realized_volatility(daily_return, sessions=sessions, window=63),
        "beta": fit.beta,
        "r squared": fit.r_squared,
        "observations": fit.observations.astype(np.float64),
        **{
            f"symbol {name}": getattr(betas, name)
            for name in ("beta", "alpha", "r_squared", "std_error")
        },
    }


@pytest.fixture(scope="module", params=[0.0, 0.02], ids=["whole", "gaps"])
def inputs(request):
    symbols, returns = real_returns(request.param)
    rng = np.random.default_rng(41)
    return {
        "columns": random_lots(PORTFOLIOS, len(symbols), SESSIONS),
        "equity": rng.normal(30_000, 12_000, (PORTFOLIOS, SESSIONS)).round(2),
        "returns": returns,
        "market": returns[:, symbols.index("SPY")],
        "daily_return": rng.normal(0, 0.01, (PORTFOLIOS, SESSIONS + 62)).round(6),
    }


@pytest.fixture(scope="module")
def at_once(inputs):
    return analysed(**inputs)


def same(one, other):
    np.testing.assert_array_equal(np.isnan(one), np.isnan(other))
    np.testing.assert_allclose(one, other, rtol=1e-12, atol=1e-15)
    np.testing.assert_array_equal(one.round(PLACES), other.round(PLACES))


def test_one_session_at_a_time(inputs, at_once):
    columns = inputs["columns"]
    for session in range(SESSIONS):
        left = SESSIONS - session - 1
        held = columns["value"][:, session] != 0
        alone = analysed(
            columns={
                **{name: column[held] for name, column in columns.items()},
                "value": columns["value"][held, session, None],
            },
            equity=inputs["equity"][:, session, None],
            returns=inputs["returns"][: len(inputs["returns"]) - left],
            market=inputs["market"][: len(inputs["market"]) - left],
            daily_return=inputs["daily_return"][:, : SESSIONS + 62 - left],
        )
        for name, expected in at_once.items():
            by_session = name.startswith("symbol")
            whole = expected[session] if by_session else expected[:, session]
            same(alone[name][0] if by_session else alone[name][:, 0], whole)


def test_what_is_not_a_matrix_product_is_the_same_to_the_last_bit(inputs, at_once):
    last = analysed(
        columns={**inputs["columns"], "value": inputs["columns"]["value"][:, -1:]},
        equity=inputs["equity"][:, -1:],
        returns=inputs["returns"],
        market=inputs["market"],
        daily_return=inputs["daily_return"],
    )
    for name, expected in at_once.items():
        if name != "r squared":
            of_last = expected[-1:] if name.startswith("symbol") else expected[:, -1:]
            assert last[name].tobytes() == np.ascontiguousarray(of_last).tobytes(), name
