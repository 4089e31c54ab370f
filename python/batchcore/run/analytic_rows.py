"""Figures of the analytics as the decimals of columns, and the rows of the analytic tables."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

import numpy as np

from batchcore.analytics.symbol_beta import METHOD, SymbolBetas
from batchcore.analytics.windows import WINDOW
from batchcore.db.analytic_tables import (
    FACTOR_EXPOSURES,
    POSITION_BETAS,
    POSITION_FACTORS,
    POSITIONS,
    Capacity,
)
from batchcore.frames import (
    Constant,
    Days,
    Decimals,
    Integers,
    Issues,
    Objects,
    Table,
    Text,
    known_states,
)
from batchcore.units import CENTS, FACTOR_ETFS, MARKET, State
from batchcore.values import decimal_of

if TYPE_CHECKING:
    from collections.abc import Mapping

    from batchcore.analytics.factor_exposure import FactorExposures
    from batchcore.analytics.factor_regression import FactorBetas
    from batchcore.frames import Bools, Floats, Ids, Int32, Int64, Positions, PositionValues
    from batchcore.sources.factors import Factors

SHARE_SCALE: Final = 6
"""Decimals of the shares in `sector_exposure`."""

FIGURE: Final = "analytic_out_of_range"
"""The issue of a figure that does not fit."""

MARKET_VALUE: Final = "market_value_out_of_range"
"""The issue of a market value, which the core reports for values too large for any column."""

HALF: Final = 0.5

_MOST: Final = 10.0**18


class Fitting:
    """Rounds figures to their columns, half away from zero, and collects those that do not fit."""

    def __init__(self, capacities: Mapping[str, Mapping[str, Capacity]]) -> None:
        self._capacities = capacities
        self._misfits: list[Issues] = []

    def decimals(
        self, table: str, column: str, figures: Floats, portfolio: Int32, day: Int32
    ) -> Decimals:
        """Return (n,) figures as decimals; NaN and figures that do not fit become NULL."""
        capacity = self._capacities[table][column]
        mantissas, fits = _rounded(figures, capacity.scale, float(capacity.limit))
        self._add(column, figures, ~fits & ~np.isnan(figures), portfolio, day)
        return Decimals(mantissas, capacity.scale, known_states(fits))

    def shares(
        self, names: tuple[str, ...], figures: Floats, known: Bools, portfolio: Int32, day: Int32
    ) -> Objects:
        """Return (n, k) shares by ascending names as objects; NaN means no share."""
        mantissas, fits = _rounded(figures, SHARE_SCALE, _MOST)
        present = ~np.isnan(figures)
        wrong = known & (present & ~fits).any(axis=1)
        most = np.fmax.reduce(figures, axis=1, initial=-np.inf)
        self._add("sector_exposure", most, wrong, portfolio, day)
        return Objects(names, mantissas, SHARE_SCALE, present, known_states(known & ~wrong))

    def holds(
        self, table: str, column: str, values: Decimals, *, portfolio: Int32, symbol: Text, day: int
    ) -> Bools:
        """Return which exact market values, none of them NULL, the server can round."""
        capacity = self._capacities[table][column]
        unit = 10 ** max(values.scale - capacity.scale, 0)
        most = (capacity.limit - 1) * unit + (unit - 1) // 2
        most //= 10 ** max(capacity.scale - values.scale, 0)
        fits: Bools = np.abs(values.values) <= min(most, np.iinfo(np.int64).max)
        misfits = np.flatnonzero(~fits)
        mantissas = values.values[misfits].tolist()
        self._misfits.append(
            Issues.of(
                MARKET_VALUE,
                portfolio[misfits],
                symbol=symbol.take(misfits).texts(),
                day=np.full(len(misfits), day),
                detail=[f"{column} = {decimal_of(one, values.scale):f}" for one in mantissas],
            )
        )
        return fits

    def issues(self) -> Issues:
        """Return the issues of figures that did not fit, in the order in which they were found."""
        return Issues.concat([Issues.none(), *self._misfits])

    def _add(
        self, column: str, figures: Floats, wrong: Bools, portfolio: Int32, day: Int32
    ) -> None:
        details = [f"{column} = {figure!r}" for figure in figures[wrong].tolist()]
        self._misfits.append(Issues.of(FIGURE, portfolio[wrong], day=day[wrong], detail=details))


def _rounded(figures: Floats, scale: int, limit: float) -> tuple[Int64, Bools]:
    """Return mantissas, and which of them are below the limit."""
    part, whole = np.modf(figures * 10.0**scale)
    mantissas = whole + np.copysign(np.abs(part) >= HALF, part)
    fits = np.abs(mantissas) < limit
    return np.where(fits, mantissas, 0).astype(np.int64), fits


@dataclass(frozen=True, eq=False, slots=True, kw_only=True)
class HeldStocks:
    """Public LONG and SHORT positions held on a session, each once, by rows of the chunk."""

    position_id: Ids
    portfolio: Int32
    symbol: Int64


class TableRows:
    """Makes the rows of the analytic tables of one session."""

    def __init__(self, session: int, fitting: Fitting) -> None:
        self._session = session
        self._fitting = fitting

    def _table(
        self,
        name: str,
        portfolio: Int32,
        keys: Mapping[str, Any],
        figures: Mapping[str, Floats],
        others: Mapping[str, Any],
    ) -> Table:
        """Return rows whose first figure fits; the last key is the date."""
        days = np.full(len(portfolio), self._session, dtype=np.int32)
        fitted = {
            column: self._fitting.decimals(name, column, values, portfolio, days)
            for column, values in figures.items()
        }
        date = "calc_date" if name == POSITION_BETAS else "calculation_date"
        columns = {**keys, date: Days(days), **fitted, **others}
        first = next(iter(fitted.values()))
        table = Table(name, len(portfolio), columns, portfolio)
        return table.take(first.state == State.VALUE)

    def betas(self, held: HeldStocks, portfolio_id: Ids, betas: SymbolBetas) -> Table:
        """Return rows of `position_market_betas`: of positions whose symbol has a beta (A5)."""
        own = np.flatnonzero(~np.isnan(betas.beta[-1, held.symbol]))
        symbol = held.symbol[own]
        figures = {
            "beta": betas.beta,
            "alpha": betas.alpha,
            "r_squared": betas.r_squared,
            "std_error": betas.std_error,
            "p_value": betas.p_value(),
        }
        return self._table(
            POSITION_BETAS,
            held.portfolio[own],
            {
                "portfolio_id": portfolio_id[held.portfolio[own]],
                "position_id": held.position_id[own],
            },
            {name: of_symbol[-1, symbol] for name, of_symbol in figures.items()},
            {
                "observations": Integers(betas.observations[-1, symbol].astype(np.int32)),
                "window_days": Integers(np.full(len(own), WINDOW, dtype=np.int32)),
                "method": Constant(METHOD),
                "market_index": Constant(MARKET),
            },
        )

    def position_factors(self, held: HeldStocks, betas: FactorBetas, factors: Factors) -> Table:
        """Return rows of `position_factor_exposures`: betas (A7) of positions' symbols (A8)."""
        beta = betas.beta[held.symbol][:, etf_columns(factors)]
        own, factor = np.nonzero(~np.isnan(beta))
        return self._table(
            POSITION_FACTORS,
            held.portfolio[own],
            {"position_id": held.position_id[own], "factor_id": factors.id[factor]},
            {"exposure_value": beta[own, factor]},
            {"quality_flag": Text.of(betas.quality_flag()).take(held.symbol[own])},
        )

    def factors(
        self, found: FactorExposures, members: Int32, portfolio_id: Ids, factors: Factors
    ) -> Table:
        """Return rows of `factor_exposures` (A8): of ``members``, rows of the chunk."""
        own, factor = np.nonzero(~np.isnan(found.value))
        figures = {"exposure_value": found.value, "exposure_dollar": found.dollar}
        return self._table(
            FACTOR_EXPOSURES,
            members[own],
            {"portfolio_id": portfolio_id[members[own]], "factor_id": factors.id[factor]},
            {name: values[own, factor] for name, values in figures.items()},
            {},
        )

    def market_values(
        self, values: PositionValues, positions: Positions, portfolio: Int32
    ) -> Table:
        """Return market values of positions, by id, without those that do not fit."""
        position = values.position
        figures = {
            "last_price": values.last_price,
            "market_value": Decimals(values.market_value, CENTS),
            "unrealized_pnl": Decimals(values.unrealized_pnl, CENTS),
        }
        fits = np.ones(len(values), dtype=np.bool_)
        whose, spelt = portfolio[position], positions.symbol.take(position)
        for name, column in figures.items():
            fits &= self._fitting.holds(
                POSITIONS, name, column, portfolio=whose, symbol=spelt, day=self._session
            )
        table = Table(POSITIONS, len(values), {"id": positions.id[position], **figures}, whose)
        return table.take(fits)


def etf_columns(factors: Factors) -> Int64:
    """Return the column of the betas (A7) that each factor takes."""
    return np.array([FACTOR_ETFS.index(name) for name in factors.etf], dtype=np.int64)
