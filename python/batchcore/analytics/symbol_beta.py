"""Beta of symbols by ordinary least squares on the market (A5)."""

from __future__ import annotations

from dataclasses import dataclass
from importlib.util import find_spec
from typing import TYPE_CHECKING, Final

import numpy as np

from batchcore.analytics.windows import (
    LEAST,
    LOOK,
    NO_DEVIATION,
    WINDOW,
    counts_before,
    last_rows,
    to_front,
    window_sums,
)
from batchcore.errors import ConfigError

if TYPE_CHECKING:
    from batchcore.frames import Bools, Floats, Int64

METHOD: Final = "OLS_SIMPLE"
"""The name of this regression in `position_market_betas`."""

PARAMETERS: Final = 2
COLUMNS: Final = 64  # of a block: its five moments stay in the second-level cache
SHIFTED: Final = 1e-4  # least share of the variance in a sum about 0
CLOSE_FIT: Final = 1e-5  # the same of a residual variance that is a difference


@dataclass(frozen=True, eq=False, slots=True)
class SymbolBetas:
    """Regressions of symbols on the market (A5), all (s, u): sessions down, symbols across.

    Without a regression all are NaN, and `observations` 0.
    """

    beta: Floats  # slope
    alpha: Floats  # intercept, a return of one session
    r_squared: Floats  # share of the variance explained; NaN for a symbol without variance
    std_error: Floats  # of beta
    observations: Int64

    def p_value(self) -> Floats:
        """Return the two-sided p-value of beta by Student's t with n - 2 degrees of freedom.

        (s, u); 0 for a perfect fit, NaN for a symbol without variance. See `check_p_values`.
        """
        from scipy.special import stdtr  # noqa: PLC0415  # an extra, and slow to import

        p_value = np.where(np.isnan(self.r_squared), np.nan, 0.0)
        there = self.std_error > 0
        t = np.divide(self.beta, self.std_error, out=np.zeros_like(self.beta), where=there)
        freedom = np.maximum(self.observations - PARAMETERS, 1)
        return np.where(there, 2 * stdtr(freedom, -np.abs(t)), p_value)


def check_p_values() -> None:
    """Raise an error if SciPy, which p-values need, is missing (extra `analytics`)."""
    if find_spec("scipy") is None:
        raise ConfigError("p-values need SciPy: install `batchcore[analytics]`", "analytics")


def symbol_betas(returns: Floats, market: Floats, *, sessions: int = 1) -> SymbolBetas:
    """Return the regression of each symbol's returns on the market's, up to each session.

    Estimator: ordinary least squares with intercept, over the last 90 sessions, of the last 126 of
    the calendar, on which both have a return; at least 60. The market on itself has beta 1.

    Without a regression: fewer than 60 sessions, or no variance of the market. A symbol without
    variance has beta 0 with standard error 0, and neither R² nor p-value. No variance means a
    standard deviation not above 1e-12.

    Returns are (d, u) of `simple_returns`, NaN where there is none, ``market`` (d,) those of SPY;
    the result is for the last ``sessions`` rows, s. Rows before the last ``sessions + 125`` are
    ignored; if there are fewer, the missing ones have no returns.

    Source:
        A5; Greene, Econometric Analysis (2012), sections 3.2 and 4.5.
    """
    rows = sessions + LOOK - 1
    returns, market = last_rows(returns, rows), last_rows(market, rows)
    found = np.full((4, sessions, returns.shape[1]), np.nan)
    observations = np.zeros(found.shape[1:], dtype=np.int64)
    for first in range(0, returns.shape[1], COLUMNS):
        block = slice(first, first + COLUMNS)
        found[:, :, block], observations[:, block] = _regressions(returns[:, block], market)
    beta, alpha, r_squared, std_error = found
    return SymbolBetas(beta, alpha, r_squared, std_error, observations)


def _regressions(returns: Floats, market: Floats) -> tuple[Floats, Int64]:
    """Return beta, alpha, R², standard error (4, s, u), and the observations."""
    valid = ~np.isnan(returns) & ~np.isnan(market)[:, None]
    counts = counts_before(valid)
    end = counts[LOOK:]
    length = np.minimum(end - counts[: len(end)], WINDOW)
    length[length < LEAST] = 0
    start = end - length
    x = to_front(np.where(valid, market[:, None], 0.0), valid)
    y = to_front(returns, valid)

    moments = np.stack([x, y, x * x, x * y, y * y])
    sum_x, sum_y, about_x, about_xy, about_y = window_sums(moments, start, length)
    n = np.maximum(length, 1)
    mean_x, mean_y = sum_x / n, sum_y / n
    s_xx = about_x - sum_x * mean_x
    s_xy = about_xy - sum_x * mean_y
    s_yy = about_y - sum_y * mean_y
    residual = s_yy - np.divide(s_xy * s_xy, s_xx, out=np.zeros_like(s_xx), where=s_xx > 0)

    shifted = (s_xx <= SHIFTED * about_x) | (s_yy <= SHIFTED * about_y)
    again = (length > 0) & (shifted | (residual <= CLOSE_FIT * s_yy))
    if again.any():
        exact = _about_mean(x, y, start, length, again)
        for sums, better in zip((s_xx, s_xy, s_yy, residual), exact, strict=True):
            sums[again] = better

    there = (length > 0) & (s_xx > n * NO_DEVIATION**2)
    varies = there & (s_yy > n * NO_DEVIATION**2)
    beta = np.where(there, 0.0, np.nan)
    np.divide(s_xy, s_xx, out=beta, where=varies)
    alpha = np.where(there, mean_y - beta * mean_x, np.nan)
    r_squared = np.full(beta.shape, np.nan)
    np.divide(s_xy * s_xy, s_xx * s_yy, out=r_squared, where=varies)
    variance = np.where(there, 0.0, np.nan)
    np.divide(np.maximum(residual, 0), (n - PARAMETERS) * s_xx, out=variance, where=varies)
    return np.stack([beta, alpha, r_squared, np.sqrt(variance)]), np.where(there, length, 0)


def _about_mean(
    x: Floats, y: Floats, start: Int64, length: Int64, which: Bools
) -> tuple[Floats, Floats, Floats, Floats]:
    """Return sums of squares and products about the means, and of squared residuals."""
    session, column = np.nonzero(which)
    first, n = start[session, column, None], length[session, column, None]
    place = np.arange(WINDOW)
    inside = place < n
    row = np.where(inside, first + place, 0)

    def about_mean(values: Floats) -> Floats:
        taken = np.where(inside, values[row, column[:, None]], 0.0)
        return np.where(inside, taken - taken.sum(axis=1, keepdims=True) / n, 0.0)

    dx, dy = about_mean(x), about_mean(y)
    s_xx = (dx * dx).sum(axis=1)
    s_xy = (dx * dy).sum(axis=1)
    slope = np.divide(s_xy, s_xx, out=np.zeros_like(s_xx), where=s_xx > 0)
    residual = np.square(dy - slope[:, None] * dx).sum(axis=1)
    return s_xx, s_xy, (dy * dy).sum(axis=1), residual
