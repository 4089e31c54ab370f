"""Returns of symbols."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    import numpy.typing as npt


def simple_returns(close: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    """Return the simple return of each session on the session before.

    ``r[t] = close[t] / close[t - 1] - 1``; not annualised, not in percent.

    Args:
        close: (d, u), > 0; sessions of the calendar down, symbols across; NaN where the session has
            no valid close of the symbol.

    Returns:
        (d, u) float64, so that rows stay sessions; NaN where either session has no close, and in
        the first row.

    Source:
        docs/semantics.md, A5; Campbell, Lo, MacKinlay, The Econometrics of Financial Markets
        (1997), eq. 1.4.1.
    """
    returns = np.full(close.shape, np.nan)
    np.divide(close[1:], close[:-1], out=returns[1:])
    returns[1:] -= 1.0
    return returns
