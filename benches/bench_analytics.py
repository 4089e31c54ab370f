"""The analytics of snapshots alone, and the regressions of symbols."""

from dataclasses import dataclass

import numpy as np
import pytest

from batchcore.analytics.concentration import concentration
from batchcore.analytics.portfolio_beta import PortfolioBeta, portfolio_beta
from batchcore.analytics.provider_beta import provider_beta
from batchcore.analytics.sector_exposure import sector_exposure
from batchcore.analytics.symbol_beta import SymbolBetas, symbol_betas
from batchcore.analytics.volatility import realized_volatility
from batchcore.units import LotKind
from sample import POSITIONS, Size

SECTORS = 14
GAPS = 0.005
ROUNDS = 5


@dataclass(frozen=True, eq=False)
class Book:
    """Portfolios of stocks: `lots` are the columns that most functions take."""

    lots: dict[str, np.ndarray]
    equity: np.ndarray
    returns: np.ndarray
    market: np.ndarray
    daily_return: np.ndarray

    @property
    def sessions(self) -> int:
        return self.equity.shape[1]


def book(portfolios: int, symbols: int, sessions: int) -> Book:
    rng = np.random.default_rng(7)
    lots = portfolios * POSITIONS
    market = rng.normal(0, 0.01, sessions + 125)
    returns = market[:, None] + rng.normal(0, 0.01, (len(market), symbols))
    returns[rng.random(returns.shape) < GAPS] = np.nan
    return Book(
        lots={
            "portfolio": np.repeat(np.arange(portfolios, dtype=np.int32), POSITIONS),
            "symbol": rng.integers(0, symbols, lots),
            "kind": np.full(lots, LotKind.STOCK, dtype=np.uint8),
            "value": rng.normal(5_000, 10_000, (lots, sessions)),
        },
        equity=rng.uniform(50_000, 100_000, (portfolios, sessions)),
        returns=returns,
        market=market,
        daily_return=rng.normal(0, 0.01, (portfolios, sessions + 62)).round(6),
    )


def regressions(book: Book) -> SymbolBetas:
    return symbol_betas(book.returns, book.market, sessions=book.sessions)


def columns_of_snapshots(book: Book, betas: SymbolBetas) -> PortfolioBeta:
    """Compute every column (A1 to A4, A6) and return that of A6."""
    lots, equity = book.lots, book.equity
    owner, value = {"portfolio": lots["portfolio"]}, {"value": lots["value"]}
    provider_beta(**lots, equity=equity, beta=np.ones(book.returns.shape[1]))
    sector = lots["symbol"] % SECTORS
    sector_exposure(**owner, **value, sector=sector, equity=equity, sectors=SECTORS)
    concentration(**owner, **value, symbol=lots["symbol"], portfolios=len(equity))
    for window in (21, 63):
        realized_volatility(book.daily_return, sessions=book.sessions, window=window)
    return portfolio_beta(
        **lots, equity=equity, beta=betas.beta, returns=book.returns, market=book.market
    )


@pytest.mark.benchmark(group="analytics")
@pytest.mark.parametrize("nightly", [False, True], ids=["every", "portfolio"])
def bench_columns_of_snapshots(benchmark, size: Size, figures: list[str], nightly: bool):  # noqa: FBT001  # a parameter of pytest
    portfolios, sessions = (size.many, 1) if nightly else (size.portfolios, size.sessions)
    made = book(portfolios, size.symbols, sessions)
    betas = regressions(made)
    found = benchmark.pedantic(columns_of_snapshots, (made, betas), rounds=ROUNDS, warmup_rounds=1)
    own = slice(-POSITIONS, None)
    of_lots = betas.beta[-1, made.lots["symbol"][own]]
    expected = (made.lots["value"][own, -1] @ of_lots) / made.equity[-1, -1]
    assert found.beta[-1, -1] == pytest.approx(expected, rel=1e-9)
    assert (found.observations >= 60).all()
    if benchmark.enabled:
        figures.append(
            f"analytic columns, {portfolios:,} portfolios x {sessions} sessions:"
            f" {benchmark.stats.stats.median:.3f} s"
        )


@pytest.mark.benchmark(group="analytics")
def bench_symbol_betas(benchmark, size: Size, figures: list[str]):
    made = book(1, size.symbols, size.sessions)
    found = benchmark.pedantic(regressions, (made,), rounds=ROUNDS, warmup_rounds=1)
    there = ~np.isnan(made.returns[-126:, 0])
    x, y = (column[-126:][there][-90:] for column in (made.market, made.returns[:, 0]))
    assert found.beta[-1, 0] == pytest.approx(np.polyfit(x, y, 1)[0], rel=1e-9)
    if benchmark.enabled:
        figures.append(
            f"betas of {size.symbols:,} symbols x {size.sessions} sessions:"
            f" {benchmark.stats.stats.median:.3f} s"
        )
