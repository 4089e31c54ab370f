"""Betas of symbols against the factor ETFs, all at once (A7)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

import numpy as np

from batchcore.analytics.windows import LEAST, NO_DEVIATION, WINDOW, last_rows
from batchcore.errors import ConfigError

if TYPE_CHECKING:
    from batchcore.frames import Floats, Int64

METHODS: Final = ("ridge", "ols")
"""How factor betas are estimated; the first is the default."""

PENALTY: Final = 1.0  # of each session
FULL_HISTORY: Final = "full_history"
LIMITED_HISTORY: Final = "limited_history"


@dataclass(frozen=True, eq=False, slots=True)
class FactorBetas:
    """Betas of symbols against factor ETFs (A7)."""

    beta: Floats  # (u, f); NaN for an ETF that does not count, and for a symbol with none
    observations: Int64  # (u,) sessions of the regression; 0 for a symbol with none

    def quality_flag(self) -> tuple[str | None, ...]:
        """Return `full_history` (90 sessions), `limited_history` or None for each symbol."""
        return tuple(
            None if not n else FULL_HISTORY if n == WINDOW else LIMITED_HISTORY
            for n in self.observations.tolist()
        )


def factor_betas(returns: Floats, factors: Floats, *, method: str = "ridge") -> FactorBetas:
    """Return the betas of each symbol against the factor ETFs, over the last 90 sessions (A7).

    An ETF counts if it has a return on at least 60 of these sessions. A symbol's regression covers
    the sessions on which it and all ETFs that count have one; at least 60.

    Estimator ``ridge``: the ETFs' returns standardised to mean 0 and deviation 1 (ddof 0) over the
    sessions of the regression, penalty 1.0 a session, intercept not penalised; betas are converted
    back to the units of returns by the deviation of the ETF. ``ols``: least squares with intercept.

    An ETF without variance (a standard deviation not above 1e-12) has beta 0 under ``ridge``. Under
    ``ols`` there are no betas where ETFs that count depend on each other linearly. A symbol without
    variance has betas 0. An ETF among the symbols is treated like any other.

    Returns are (d, u) and (d, f) of `simple_returns`, NaN where there is none. Rows before the last
    90 are ignored; if there are fewer, the missing ones have no returns.

    Raises:
        ConfigError: ``method`` is none of `METHODS`.

    Source:
        Hastie, Tibshirani, Friedman, The Elements of Statistical Learning (2009), eq. 3.44.
    """
    if method not in METHODS:
        raise ConfigError(f"`method` is one of {', '.join(METHODS)}, was {method!r}", "method")
    returns, factors = last_rows(returns, WINDOW), last_rows(factors, WINDOW)
    solve = _ridge if method == "ridge" else _ols
    beta = np.full((returns.shape[1], factors.shape[1]), np.nan)
    counting = np.flatnonzero((~np.isnan(factors)).sum(axis=0) >= LEAST)
    factors = factors[:, counting]
    valid = ~(np.isnan(returns) | np.any(np.isnan(factors), axis=1, keepdims=True))
    observations = valid.sum(axis=0)
    observations[observations < (LEAST if len(counting) else WINDOW + 1)] = 0
    some = np.flatnonzero(observations)
    # Symbols with the same sessions share all but their own returns.
    packed = np.packbits(valid[:, some], axis=0).T
    _, pattern = np.unique(packed, axis=0, return_inverse=True)
    for number in range(pattern.max(initial=-1) + 1):
        columns = some[pattern == number]
        sessions = valid[:, columns[0]]
        found = solve(factors[sessions], returns[np.ix_(sessions, columns)])
        beta[np.ix_(columns, counting)] = found.T
    return FactorBetas(beta, observations)


def _ridge(x: Floats, y: Floats) -> Floats:
    """Return (f, u) betas of (n, u) returns against (n, f) of factors."""
    x, deviation = _standardised(x)
    n = len(x)
    # Divided by n: correlations, and a penalty of 1.
    penalised = x.T @ x / n + PENALTY * np.eye(x.shape[1])
    betas: Floats = np.linalg.solve(penalised, x.T @ (y - y.mean(axis=0)) / n)
    return betas / deviation[:, None]


def _ols(x: Floats, y: Floats) -> Floats:
    x, deviation = _standardised(x)
    betas: Floats
    betas, _, rank, _ = np.linalg.lstsq(x, y - y.mean(axis=0), rcond=None)
    if rank < x.shape[1]:
        return np.full(betas.shape, np.nan)
    return betas / deviation[:, None]


def _standardised(x: Floats) -> tuple[Floats, Floats]:
    """Return columns of mean 0 and deviation 1, and their divisors.

    A column without variance becomes 0.
    """
    about_mean = x - x.mean(axis=0)
    deviation = np.sqrt(np.square(about_mean).mean(axis=0))
    varies = deviation > NO_DEVIATION
    divisor = np.where(varies, deviation, 1.0)
    return np.where(varies, about_mean, 0.0) / divisor, divisor
