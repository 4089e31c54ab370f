"""The analytic columns of stored rows, by the code that a run computes them with."""

from __future__ import annotations

from dataclasses import fields
from typing import TYPE_CHECKING, Any

import numpy as np

from batchcore.audit.links import Expected, cents_of, shares_of
from batchcore.frames import Decimals, Integers, Opening, Rows, SnapshotAnalytics, day_keys
from batchcore.run.analysis import PAST_RETURNS, ChunkInputs
from batchcore.sources.host import floats
from batchcore.sources.snapshots import Returns
from batchcore.sources.stored import SHARES
from batchcore.units import State

if TYPE_CHECKING:
    from collections.abc import Mapping

    from batchcore.audit.compute import Inputs
    from batchcore.frames import Int32, Int64
    from batchcore.run.analysis import Analysis
    from batchcore.sources.stored import StoredRows


def analysed_rows(  # noqa: PLR0917  # rows, and what their analytics are made of
    analysis: Analysis,
    inputs: Inputs,
    stored: StoredRows,
    rows: Int64,
    cells: Mapping[str, Decimals],
    past: Returns,
) -> Expected:
    """Return the analytic columns of rows.

    Args:
        analysis: Of all chunks.
        inputs: Of the chunk.
        stored: Likewise.
        rows: (k,) which.
        cells: `equity_balance` and `daily_return` of all stored rows that the analytics go on
            from, as they are or as they should be.
        past: Daily returns before all stored rows.

    Source:
        A1 to A6.
    """
    history = _history(stored, cells["daily_return"], past)
    portfolios = len(inputs.ids)
    opening = Opening(portfolio_id=inputs.ids, equity=Decimals.nulls(portfolios))
    parts, order = [], []
    for session in np.unique(stored.day[rows]).tolist():
        at = np.flatnonzero(stored.day[rows] == session)
        own = rows[at]
        last = np.full(portfolios, np.iinfo(np.int32).min, dtype=np.int32)
        last[stored.portfolio[own]] = session
        chunk = ChunkInputs(
            positions=inputs.positions,
            events=inputs.events,
            opening=opening,
            rows=_as_rows(stored, own, cells),
            last_session=last,
            is_latest=np.zeros(portfolios, dtype=np.bool_),
            returns=_last_returns(history, stored.portfolio[own], session),
        )
        parts.append(analysis.analyse(chunk).snapshot)
        order.append(at)
    back = np.argsort(np.concatenate(order))
    return expected_of(SnapshotAnalytics.concat(parts).take(back))


def expected_of(analytics: SnapshotAnalytics) -> Expected:
    """Return the analytic columns of rows."""
    columns: dict[str, Any] = dict(analytics.columns)
    shares = shares_of(columns.pop(SHARES))
    cells = {
        name: Decimals(column.values.astype(np.int64), 0, column.state)
        if isinstance(column, Integers)
        else column
        for name, column in columns.items()
    }
    return Expected(np.ones(len(shares), dtype=np.bool_), cells, shares)


def _history(stored: StoredRows, returned: Decimals, past: Returns) -> Returns:
    """Return all daily returns that there are, by portfolio and day."""
    own = np.flatnonzero(stored.complete & (returned.state == State.VALUE))
    portfolio = np.concatenate([past.portfolio, stored.portfolio[own]])
    day = np.concatenate([past.day, stored.day[own]])
    value = np.concatenate([past.value, floats(returned)[own]])
    order = np.lexsort((day, portfolio))
    return Returns(portfolio[order].astype(np.int32), day[order].astype(np.int32), value[order])


def _last_returns(history: Returns, portfolio: Int32, session: int) -> Returns:
    """Return of each portfolio the last returns before a session that A4 may need."""
    keys = day_keys(history.portfolio, history.day)
    first = np.searchsorted(keys, portfolio.astype(np.int64) << 32)
    end = np.searchsorted(keys, day_keys(portfolio, np.full(len(portfolio), session)))
    count = np.minimum(end - first, PAST_RETURNS)
    within = np.arange(int(count.sum())) - np.repeat(np.cumsum(count) - count, count)
    row = np.repeat(end - count, count) + within
    return Returns(history.portfolio[row], history.day[row], history.value[row])


def _as_rows(stored: StoredRows, own: Int64, cells: Mapping[str, Decimals]) -> Rows:
    """Return stored rows as the analytics take them: nothing but equity and return is read."""
    equity, returned = cells["equity_balance"], cells["daily_return"]
    columns: dict[str, Any] = dict.fromkeys((one.name for one in fields(Rows)), None)
    columns |= {
        "portfolio": stored.portfolio[own],
        "day": stored.day[own],
        "equity_cents": cents_of(equity)[own],
        "daily_return": returned.take(own),
    }
    return Rows(**columns)
