"""Volatility of portfolios from their stored returns (A4)."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import numpy as np
from numpy.lib.stride_tricks import sliding_window_view

from batchcore.analytics.windows import counts_before, to_front

if TYPE_CHECKING:
    from batchcore.frames import Floats

SESSIONS_A_YEAR: Final = 252
BLOCK: Final = 1 << 17  # float64 of a block: 1 MiB, which the second-level cache holds


def realized_volatility(daily_return: Floats, *, sessions: int, window: int) -> Floats:
    """Return the annualised standard deviation of each portfolio's last returns (A4): (p, s).

    Estimator: ddof 1, over the last ``window`` existing returns, the session's own included, times
    ``sqrt(252)``; NaN with fewer, 0 up to the noise of float64 where they are all the same.

    Args:
        daily_return: (p, h) stored returns of each portfolio, oldest first; NaN for NULL and where
            it has no snapshot.
        sessions: Number of last columns with a result, s.
        window: Returns that count, 2 or more: 21 or 63.
    """
    portfolios, columns = daily_return.shape
    result = np.full((portfolios, sessions), np.nan)
    if columns < window:
        return result
    valid = ~np.isnan(daily_return.T)
    # Windows of ``window`` at the front of each row: the last of them ends with its count.
    moved = np.ascontiguousarray(to_front(daily_return.T, valid).T)
    first = counts_before(valid)[columns - sessions + 1 :].T - window
    windows = sliding_window_view(moved, window, axis=1)
    step = max(1, BLOCK // (sessions * window))
    for start in range(0, portfolios, step):
        block = slice(start, start + step)
        rows = np.arange(start, min(start + step, portfolios))[:, None]
        taken = windows[rows, np.maximum(first[block], 0)]
        deviation = np.std(taken, axis=2, ddof=1) * np.sqrt(SESSIONS_A_YEAR)
        result[block] = np.where(first[block] >= 0, deviation, np.nan)
    return result
