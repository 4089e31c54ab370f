"""Regressions by statsmodels, scikit-learn and SciPy, imported where a test asks for one.

Each process of a test run collects all tests, and would take seconds to import these for none.
"""

from typing import Any

import numpy as np


def least_squares(y: np.ndarray, x: np.ndarray) -> Any:
    """Return the fit by ordinary least squares with intercept; `params` begins with that."""
    import statsmodels.api as sm  # noqa: PLC0415  # see above

    return sm.OLS(y, sm.add_constant(x)).fit()


def ridge(y: np.ndarray, x: np.ndarray, penalty: float) -> np.ndarray:
    """Return the slopes by ridge regression on standardised columns, in the units of ``x``."""
    from sklearn.linear_model import Ridge  # noqa: PLC0415  # likewise
    from sklearn.preprocessing import StandardScaler  # noqa: PLC0415  # likewise

    scaler = StandardScaler().fit(x)
    found = Ridge(alpha=penalty).fit(scaler.transform(x), y)
    return found.coef_ / scaler.scale_


def line(y: np.ndarray, x: np.ndarray) -> Any:
    """Return the regression on one column by SciPy."""
    from scipy.stats import linregress  # noqa: PLC0415  # likewise

    return linregress(x, y)
