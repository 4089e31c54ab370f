"""Exposure of portfolios to the factors (A8)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from batchcore.analytics.grouped_sums import grouped_sum
from batchcore.units import LotKind

if TYPE_CHECKING:
    from batchcore.analytics.grouped_sums import Integers
    from batchcore.frames import Bytes, Floats


@dataclass(frozen=True, eq=False, slots=True)
class FactorExposures:
    """Exposures of portfolios to factors on one session (A8), both (p, f).

    NaN without a lot that has a beta against the factor.
    """

    value: Floats  # `dollar` divided by equity; also NaN where that is not above 0
    dollar: Floats


def factor_exposures(
    *,
    portfolio: Integers,
    symbol: Integers,
    kind: Bytes,
    value: Floats,
    equity: Floats,
    beta: Floats,
) -> FactorExposures:
    """Return the exposure of each portfolio to each factor on one session (A8).

    ``sum(v * beta)`` over public LONG and SHORT lots whose symbol has a beta against the factor; in
    dollars, and by equity. Here ``value`` is (l,), ``equity`` (p,), and ``beta`` (u, f) of
    `factor_betas`, NaN where there is none.
    """
    counts = np.flatnonzero((kind == LotKind.STOCK) & (value != 0))
    owner, of_lot = portfolio[counts], beta[symbol[counts]]
    has = ~np.isnan(of_lot)
    weighted = grouped_sum(owner, value[counts, None] * np.where(has, of_lot, 0.0), len(equity))
    dollar = np.where(grouped_sum(owner, has, len(equity)) > 0, weighted, np.nan)
    share = np.full(dollar.shape, np.nan)
    np.divide(dollar, equity[:, None], out=share, where=(equity > 0)[:, None])
    return FactorExposures(share, dollar)
