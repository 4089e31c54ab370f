"""Beta of portfolios from the betas of their symbols (A6)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

import numpy as np
from numpy.lib.stride_tricks import as_strided, sliding_window_view

from batchcore.analytics.grouped_sums import blocks_of_groups, grouped_sum, rows_or_zero
from batchcore.analytics.windows import (
    LEAST,
    LOOK,
    NO_DEVIATION,
    WINDOW,
    counts_before,
    last_rows,
    to_front,
)
from batchcore.units import LotKind

if TYPE_CHECKING:
    from batchcore.analytics.grouped_sums import Integers
    from batchcore.frames import Bools, Bytes, Floats, Int64

SESSIONS: Final = 30  # sessions computed at a time: 155 rows of returns serve them
BLOCK: Final = 1 << 18  # float64 of a block: 2 MiB, about what the second-level cache holds


@dataclass(frozen=True, eq=False, slots=True)
class PortfolioBeta:
    """Betas of portfolios, and how much of their returns the market explains (A6), all (p, s).

    Without a beta, which is NaN, there is no R² either; `observations` are the sessions of its
    regression, 0 where there is none.
    """

    beta: Floats
    r_squared: Floats
    observations: Int64


def portfolio_beta(
    *,
    portfolio: Integers,
    symbol: Integers,
    kind: Bytes,
    value: Floats,
    equity: Floats,
    beta: Floats,
    returns: Floats,
    market: Floats,
) -> PortfolioBeta:
    """Return the beta of each portfolio, and the fit of its returns to the market's (A6).

    Beta is ``sum(v * beta) / E`` over public LONG and SHORT lots whose symbol has a beta on the
    session. R² is that of the returns of these lots, at the weights ``v / E`` of the session, over
    the last 90 sessions, of the last 126 of the calendar, on which all of them and the market have
    a return; at least 60.

    NaN and 0 where the equity is not above 0, and without a lot that counts. R² is NaN with fewer
    than 60 sessions, and where the market or the portfolio has no variance: a standard deviation
    not above 1e-12 (of the portfolio, by 1 of its gross value).

    Lots are described in `batchcore.analytics`; ``symbol`` is a column of ``beta``, (s, u) of
    `symbol_betas`, and of ``returns``, (d, u) of `simple_returns`. The last s rows of these and of
    ``market``, (d,) returns of SPY, are the sessions of ``value``. Rows before the last s + 125 are
    ignored; if there are fewer, the missing ones have no returns.
    """
    sessions = value.shape[1]
    returns = np.ascontiguousarray(last_rows(returns, sessions + LOOK - 1).T)
    market = last_rows(market, sessions + LOOK - 1)
    stocks = np.flatnonzero(kind == LotKind.STOCK)
    owner, symbol = portfolio[stocks], symbol[stocks]
    of_lot = np.ascontiguousarray(beta.T)[symbol]
    none = np.isnan(of_lot)
    weight = np.where(none, 0.0, value[stocks])

    weighted = grouped_sum(owner, weight * np.where(none, 0.0, of_lot), len(equity))
    there = (grouped_sum(owner, weight != 0, len(equity)) > 0) & (equity > 0)
    result = np.full(equity.shape, np.nan)
    np.divide(weighted, equity, out=result, where=there)
    r_squared = np.full(equity.shape, np.nan)
    observations = np.zeros(equity.shape, dtype=np.int64)
    missing = np.isnan(returns)
    filled = np.where(missing, 0.0, returns)
    for first in range(0, sessions, SESSIONS):
        now = slice(first, min(first + SESSIONS, sessions))
        seen = slice(first, now.stop + LOOK - 1)
        for members, rows in blocks_of_groups(owner, len(equity), LOOK + SESSIONS, BLOCK):
            of_symbol = symbol[np.minimum(rows, len(symbol) - 1)]
            r_squared[members, now], observations[members, now] = _fit(
                rows_or_zero(weight[:, now], rows).transpose(0, 2, 1),
                filled[:, seen][of_symbol],
                missing[:, seen][of_symbol],
                market[seen],
            )
    r_squared[~there] = np.nan
    observations[~there] = 0
    return PortfolioBeta(result, r_squared, observations)


def _fit(weights: Floats, returns: Floats, missing: Bools, market: Floats) -> tuple[Floats, Int64]:
    """Return R² and observations, (b, s), of b portfolios of up to k lots.

    ``weights`` (b, s, k), ``returns`` and ``missing`` (b, k, s + 125), ``market`` (s + 125,).
    """
    portfolios, sessions, _ = weights.shape
    y = weights @ returns
    if missing.any() or np.isnan(market).any():
        x, y, n = _last_common(y, weights, missing, market)
    else:
        x, y = sliding_window_view(market, LOOK), _looked_at(y)
        x = np.broadcast_to(x[:, LOOK - WINDOW :], (portfolios, sessions, WINDOW))
        y = y[:, :, LOOK - WINDOW :]
        n = np.full((portfolios, sessions), WINDOW)
    count = np.maximum(n, 1)[:, :, None]
    dx = x - x.sum(axis=2, keepdims=True) / count
    dy = y - y.sum(axis=2, keepdims=True) / count
    if n.min() < WINDOW:
        inside = np.arange(WINDOW) >= WINDOW - n[:, :, None]
        dx, dy = dx * inside, dy * inside
    s_xx, s_xy, s_yy = (np.einsum("bsi,bsi->bs", *pair) for pair in ((dx, dx), (dx, dy), (dy, dy)))
    n[n < LEAST] = 0
    gross = np.abs(weights).sum(axis=2)
    varies = (s_xx > n * NO_DEVIATION**2) & (s_yy > n * (NO_DEVIATION * gross) ** 2) & (n > 0)
    r_squared = np.full(n.shape, np.nan)
    np.divide(s_xy * s_xy, s_xx * s_yy, out=r_squared, where=varies)
    return r_squared, n


def _looked_at(y: Floats) -> Floats:
    """Return a view of (b, s, s + 125) as (b, s, 126): up to and including each session."""
    portfolios, sessions, _ = y.shape
    by_portfolio, by_session, by_row = y.strides
    strides = (by_portfolio, by_session + by_row, by_row)
    return as_strided(y, (portfolios, sessions, LOOK), strides, writeable=False)


def _last_common(
    y: Floats, weights: Floats, missing: Bools, market: Floats
) -> tuple[Floats, Floats, Int64]:
    """Return x and y, (b, s, 90), on the last rows without a gap, and how many there are, (b, s).

    If there are fewer than 90, they are at the end, with zeros before them.
    """
    portfolios, sessions, rows = y.shape
    used = weights != 0
    # The rows with a gap depend on the lots used, which seldom change.
    changed = np.ones((portfolios, sessions), dtype=np.bool_)
    changed[:, 1:] = (used[:, 1:] != used[:, :-1]).any(axis=2)
    which = np.cumsum(changed).reshape(changed.shape) - 1
    owner, session = np.nonzero(changed)
    gap = (used[owner, session][:, None, :] @ missing[owner])[:, 0] | np.isnan(market)

    valid = ~gap.T
    counts = counts_before(valid).T
    now = np.arange(sessions)
    end = counts[which, now + LOOK]
    n = np.minimum(end - counts[which, now], WINDOW)
    row = to_front(np.broadcast_to(np.arange(rows)[:, None], valid.shape), valid).T
    row = np.concatenate([np.zeros((len(row), WINDOW), dtype=row.dtype), row], axis=1)
    x = sliding_window_view(np.nan_to_num(market)[row], WINDOW, axis=1)[which, end]
    y = np.take_along_axis(y, sliding_window_view(row, WINDOW, axis=1)[which, end], axis=2)
    if n.min() < WINDOW:
        inside = np.arange(WINDOW) >= WINDOW - n[:, :, None]
        x, y = np.where(inside, x, 0.0), np.where(inside, y, 0.0)
    return x, y, n
