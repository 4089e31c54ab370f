"""Beta of a portfolio from the betas of company profiles (A1)."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from batchcore.analytics.grouped_sums import grouped_sum
from batchcore.config import BETA_WEIGHTS
from batchcore.errors import ConfigError
from batchcore.units import LotKind

if TYPE_CHECKING:
    from batchcore.analytics.grouped_sums import Integers
    from batchcore.frames import Bools, Bytes, Floats


def provider_beta(
    *,
    portfolio: Integers,
    symbol: Integers,
    kind: Bytes,
    value: Floats,
    equity: Floats,
    beta: Floats,
    weights: str = "market_value",
) -> Floats:
    """Return the beta of each portfolio from those of the profiles of its symbols (A1).

    ``sum(v * beta)`` over public LONG and SHORT lots whose beta is not 0, divided by ``sum(v)`` of
    the same lots, or by the equity; NaN without a lot that counts, and where the denominator is not
    above 0. ``beta`` is (u,), of the profile of each symbol; NaN without one.

    Raises:
        ConfigError: ``weights`` is none of `BETA_WEIGHTS`.
    """
    if weights not in BETA_WEIGHTS:
        msg = f"`weights` is one of {', '.join(BETA_WEIGHTS)}, was {weights!r}"
        raise ConfigError(msg, "weights")
    of_lot = beta[symbol]
    counts = np.flatnonzero(_has_beta(kind, of_lot))
    group, held, portfolios = portfolio[counts], value[counts], len(equity)
    if weights == "market_value":
        denominator = grouped_sum(group, held, portfolios)
    else:
        some = grouped_sum(group, held != 0, portfolios) > 0
        denominator = np.where(some, equity, 0)
    result = np.full(equity.shape, np.nan)
    weighted = grouped_sum(group, held * of_lot[counts, None], portfolios)
    np.divide(weighted, denominator, out=result, where=denominator > 0)
    return result


def beta_coverage(
    *,
    portfolio: Integers,
    symbol: Integers,
    kind: Bytes,
    value: Floats,
    beta: Floats,
    portfolios: int,
) -> Floats:
    """Return the share of each of p portfolios with a beta other than 0 (A1).

    By absolute value, of all public LONG and SHORT lots; 0 where these have none.
    """
    stocks = np.flatnonzero(kind == LotKind.STOCK)
    group, size = portfolio[stocks], np.abs(value[stocks])
    has = _has_beta(kind, beta[symbol])[stocks, None]
    total = grouped_sum(group, size, portfolios)
    covered = grouped_sum(group, size * has, portfolios)
    return np.divide(covered, total, out=np.zeros_like(total), where=total > 0)


def _has_beta(kind: Bytes, of_lot: Floats) -> Bools:
    has: Bools = (kind == LotKind.STOCK) & ~np.isnan(of_lot) & (of_lot != 0)
    return has
