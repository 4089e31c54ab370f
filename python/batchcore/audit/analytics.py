"""The analytic columns of stored rows, by the code that a run computes them with."""

from __future__ import annotations

from dataclasses import fields
from typing import TYPE_CHECKING, Any

import numpy as np

from batchcore.audit.compare import Analysed
from batchcore.audit.links import cents_of
from batchcore.db.load_analytics import Returns, floats
from batchcore.frames import Decimals, Integers, Objects, Opening, Rows, day_keys
from batchcore.run.analyse import PAST_RETURNS, ChunkInputs
from batchcore.units import State

if TYPE_CHECKING:
    from collections.abc import Mapping

    import numpy.typing as npt

    from batchcore.audit.compute import Inputs
    from batchcore.db.load_stored import StoredRows
    from batchcore.run.analyse import Analysis

    Int32 = npt.NDArray[np.int32]
    Int64 = npt.NDArray[np.int64]


def analysed_rows(  # noqa: PLR0917  # rows, and what their analytics are made of
    analysis: Analysis,
    inputs: Inputs,
    stored: StoredRows,
    rows: Int64,
    cells: Mapping[str, Decimals],
    past: Returns,
) -> Analysed:
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
        parts.append(analysis.analyse(chunk).snapshot.columns)
        order.append(at)
    back = np.argsort(np.concatenate(order))
    return Analysed.of({name: _joined([part[name] for part in parts], back) for name in parts[0]})


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
        "daily_return": Decimals(returned.values[own], returned.scale, returned.state[own]),
    }
    return Rows(**columns)


def _joined(parts: list[Any], order: Int64) -> Any:  # noqa: ANN401  # columns of one type
    """Return columns one after the other, in another order."""
    state = np.concatenate([part.state for part in parts])[order]
    values = np.concatenate([part.values for part in parts])[order]
    one = parts[0]
    if isinstance(one, Objects):
        present = np.concatenate([part.present for part in parts])[order]
        return Objects(one.names, values, one.scale, present, state)
    if isinstance(one, Integers):
        return Integers(values, state)
    return Decimals(values, one.scale, state)
