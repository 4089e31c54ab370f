"""Rows of the analytic tables, and market values of positions, of one chunk."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from batchcore.analytics.factor_exposure import factor_exposures
from batchcore.analytics.symbol_beta import METHOD
from batchcore.analytics.windows import WINDOW
from batchcore.db.analytic_tables import (
    FACTOR_EXPOSURES,
    POSITION_BETAS,
    POSITION_FACTORS,
    POSITIONS,
)
from batchcore.frames import Constant, Days, Decimals, Integers, Table, Text
from batchcore.run.regressions import MARKET
from batchcore.units import CENTS, FACTOR_ETFS, State

if TYPE_CHECKING:
    import numpy.typing as npt

    from batchcore.analytics.factor_regression import FactorBetas
    from batchcore.analytics.symbol_beta import SymbolBetas
    from batchcore.frames import PositionValues
    from batchcore.run.fitting import Fitting
    from batchcore.sources.factors import Factors

    Bools = npt.NDArray[np.bool_]
    Bytes = npt.NDArray[np.uint8]
    Floats = npt.NDArray[np.float64]
    Int32 = npt.NDArray[np.int32]
    Int64 = npt.NDArray[np.int64]


@dataclass(frozen=True, eq=False, slots=True, kw_only=True)
class HeldStocks:
    """Public LONG and SHORT positions held on a session, each once.

    Attributes:
        position_id: (n, 16) uint8.
        portfolio_id: (n, 16) uint8.
        portfolio: (n,) int32 row of the chunk.
        symbol: (n,) int64 row of the symbols of the run.
        session: The session.
    """

    position_id: Bytes
    portfolio_id: Bytes
    portfolio: Int32
    symbol: Int64
    session: int


def beta_rows(held: HeldStocks, betas: SymbolBetas, fitting: Fitting) -> Table:
    """Return rows of `position_market_betas`: of each position whose symbol has a beta (A5)."""
    figures = {
        "beta": betas.beta[-1],
        "alpha": betas.alpha[-1],
        "r_squared": betas.r_squared[-1],
        "std_error": betas.std_error[-1],
        "p_value": betas.p_value()[-1],
    }
    own = np.flatnonzero(~np.isnan(figures["beta"][held.symbol]))
    symbol, days = held.symbol[own], np.full(len(own), held.session, dtype=np.int32)
    columns = {
        name: fitting.decimals(POSITION_BETAS, name, of_symbol[symbol], held.portfolio[own], days)
        for name, of_symbol in figures.items()
    }
    table = Table(
        POSITION_BETAS,
        len(own),
        {
            "portfolio_id": held.portfolio_id[own],
            "position_id": held.position_id[own],
            "calc_date": Days(days),
            **columns,
            "observations": Integers(betas.observations[-1, symbol].astype(np.int32)),
            "window_days": Integers(np.full(len(own), WINDOW, dtype=np.int32)),
            "method": Constant(METHOD),
            "market_index": Constant(MARKET),
        },
        held.portfolio[own],
    )
    return table.take(columns["beta"].state == State.VALUE)


def position_factor_rows(
    held: HeldStocks, betas: FactorBetas, factors: Factors, fitting: Fitting
) -> Table:
    """Return rows of `position_factor_exposures`: betas (A7) of each position's symbol (A8)."""
    etf = np.array([FACTOR_ETFS.index(name) for name in factors.etf], dtype=np.int64)
    beta = betas.beta[held.symbol][:, etf]
    own, factor = np.nonzero(~np.isnan(beta))
    days = np.full(len(own), held.session, dtype=np.int32)
    exposure = fitting.decimals(
        POSITION_FACTORS, "exposure_value", beta[own, factor], held.portfolio[own], days
    )
    table = Table(
        POSITION_FACTORS,
        len(own),
        {
            "position_id": held.position_id[own],
            "factor_id": factors.id[factor],
            "calculation_date": Days(days),
            "exposure_value": exposure,
            "quality_flag": Text.of(betas.quality_flag()).take(held.symbol[own]),
        },
        held.portfolio[own],
    )
    return table.take(exposure.state == State.VALUE)


def factor_rows(
    lots: dict[str, Any],
    *,
    equity: Floats,
    members: Int32,
    portfolio_id: Bytes,
    session: int,
    betas: FactorBetas,
    factors: Factors,
    fitting: Fitting,
) -> Table:
    """Return rows of `factor_exposures` (A8).

    Args:
        lots: `portfolio`, `symbol`, `kind` and `value` as of `factor_exposures`.
        equity: (p,) dollars.
        members: (p,) row of the chunk of each portfolio.
        portfolio_id: (p, 16) uint8.
        session: The session.
        betas: On it.
        factors: Active ones.
        fitting: Of figures to columns.
    """
    etf = np.array([FACTOR_ETFS.index(name) for name in factors.etf], dtype=np.int64)
    found = factor_exposures(**lots, equity=equity, beta=betas.beta[:, etf])
    own, factor = np.nonzero(~np.isnan(found.value))
    days = np.full(len(own), session, dtype=np.int32)
    whose = members[own], days
    share, dollar = found.value[own, factor], found.dollar[own, factor]
    value = fitting.decimals(FACTOR_EXPOSURES, "exposure_value", share, *whose)
    dollars = fitting.decimals(FACTOR_EXPOSURES, "exposure_dollar", dollar, *whose)
    table = Table(
        FACTOR_EXPOSURES,
        len(own),
        {
            "portfolio_id": portfolio_id[own],
            "factor_id": factors.id[factor],
            "calculation_date": Days(days),
            "exposure_value": value,
            "exposure_dollar": dollars,
        },
        members[own],
    )
    return table.take(value.state == State.VALUE)


def market_value_rows(
    values: PositionValues,
    *,
    position_id: Bytes,
    symbol: Text,
    portfolio: Int32,
    counts: Bools,
    session: int,
    fitting: Fitting,
) -> Table:
    """Return market values of positions, by id; those that do not fit are left out.

    Args:
        values: Of the positions of a chunk.
        position_id: (n, 16) uint8, of all of them.
        symbol: (n,) as stored.
        portfolio: (n,) row of the chunk that each is of.
        counts: (c,) bool, whether those of a portfolio are written.
        session: The session.
        fitting: Of figures to columns.
    """
    values = values.take(counts[portfolio[values.position]])
    position = values.position
    columns = {
        "last_price": values.last_price,
        "market_value": Decimals(values.market_value_cents, CENTS),
        "unrealized_pnl": Decimals(values.unrealized_cents, CENTS),
    }
    fits = np.ones(len(values), dtype=np.bool_)
    whose, spelt = portfolio[position], symbol.take(position)
    for name, column in columns.items():
        fits &= fitting.holds(POSITIONS, name, column, portfolio=whose, symbol=spelt, day=session)
    table = Table(POSITIONS, len(values), {"id": position_id[position], **columns}, whose)
    return table.take(fits)
