"""Returns of a run's symbols and their regressions, computed when they are first needed."""

from __future__ import annotations

from functools import cached_property
from typing import TYPE_CHECKING, Final

import numpy as np

from batchcore.analytics.factor_regression import FactorBetas, factor_betas
from batchcore.analytics.returns import simple_returns
from batchcore.analytics.symbol_beta import SymbolBetas, symbol_betas
from batchcore.sources.host import normalised
from batchcore.units import FACTOR_ETFS

if TYPE_CHECKING:
    from collections.abc import Sequence

    import numpy.typing as npt

    from batchcore.frames import Text
    from batchcore.native import Market

    Floats = npt.NDArray[np.float64]
    Int32 = npt.NDArray[np.int32]
    Int64 = npt.NDArray[np.int64]

MARKET: Final = FACTOR_ETFS[0]
"""The symbol whose returns those of others are regressed on (A5)."""


def extra_symbols(level: str) -> tuple[str, ...]:
    """Return the symbols that a level of analytics needs prices of beside those of positions."""
    if level == "none":
        return ()
    return FACTOR_ETFS if level == "full" else (MARKET,)


class Regressions:
    """Symbols of a run, their returns, and what these are regressed on.

    One task at a time asks.

    Attributes:
        symbols: (u,) normalised (S2), ascending; the empty one too, which PRIVATE positions may
            have.
    """

    def __init__(self, market: Market, symbols: Sequence[str], days: Int32, level: str) -> None:
        """Take what was loaded.

        Args:
            market: Prices.
            symbols: Of the positions of the run, as spelt.
            days: (d,) int32 sessions of the calendar, from the first that returns are needed of.
            level: Of the analytics.
        """
        wanted = {"", *extra_symbols(level), *(normalised(symbol) for symbol in symbols)}
        self.symbols = tuple(sorted(wanted))
        self._market = market
        self._days = days
        self._column = {symbol: column for column, symbol in enumerate(self.symbols)}
        self._betas: dict[tuple[int, int], SymbolBetas] = {}
        self._factor_betas: dict[int, FactorBetas] = {}

    def columns(self, symbols: Text) -> Int64:
        """Return the row in `symbols` of each text in the table of a column.

        Of a symbol that is not of the run it is that of the empty one: a chunk may bring positions
        of portfolios that the run leaves out.
        """
        none = self._column[""]
        rows = [self._column.get(normalised(symbol), none) for symbol in symbols.table()]
        return np.array(rows, dtype=np.int64)

    @cached_property
    def _returns(self) -> Floats:
        return simple_returns(self._market.fresh_closes(self.symbols, self._days))

    def returns(self, session: int) -> Floats:
        """Return (d, u) returns of all symbols up to a session."""
        return self._returns[: int(np.searchsorted(self._days, session, side="right"))]

    def market(self, session: int) -> Floats:
        """Return (d,) returns of the market up to a session."""
        return self.returns(session)[:, self._column[MARKET]]

    def betas(self, session: int, sessions: int = 1) -> SymbolBetas:
        """Return the regressions (A5) of the last so many sessions up to one."""
        key = (session, sessions)
        if key not in self._betas:
            self._betas[key] = symbol_betas(
                self.returns(session), self.market(session), sessions=sessions
            )
        return self._betas[key]

    def factor_betas(self, session: int) -> FactorBetas:
        """Return the betas (A7) against `FACTOR_ETFS` on a session."""
        if session not in self._factor_betas:
            returns = self.returns(session)
            etfs = returns[:, [self._column[etf] for etf in FACTOR_ETFS]]
            self._factor_betas[session] = factor_betas(returns, etfs)
        return self._factor_betas[session]
