"""Returns of symbols."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from batchcore.frames import Floats


def simple_returns(close: Floats) -> Floats:
    """Return the simple return of each session on the session before (A5).

    ``r[t] = close[t] / close[t - 1] - 1``; not annualised, not in percent. Closes are (d, u), > 0:
    sessions of the calendar down, symbols across; NaN where there is none. Returns have the same
    shape: NaN where either session has no close, and in the first row.

    Source:
        Campbell, Lo, MacKinlay, The Econometrics of Financial Markets (1997), eq. 1.4.1.
    """
    returns = np.full(close.shape, np.nan)
    np.divide(close[1:], close[:-1], out=returns[1:])
    returns[1:] -= 1.0
    return returns
