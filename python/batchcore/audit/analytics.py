"""The analytic columns of stored rows, by the code that a run computes them with."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from batchcore.audit.compare import Analysed, any_by_left, pairs
from batchcore.db.audit_queries import SHARES
from batchcore.db.load_analytics import Returns, floats
from batchcore.frames import Days as DayColumn
from batchcore.frames import (
    Decimals,
    Integers,
    Issues,
    Misses,
    Objects,
    Opening,
    Rows,
    Text,
    day_keys,
)
from batchcore.run.analyse import PAST_RETURNS, ChunkInputs
from batchcore.units import CENTS, State

if TYPE_CHECKING:
    from collections.abc import Mapping

    import numpy.typing as npt

    from batchcore.db.load_stored import Held, StoredRows
    from batchcore.frames import Events, Positions
    from batchcore.run.analyse import Analysis

    Bools = npt.NDArray[np.bool_]
    Int32 = npt.NDArray[np.int32]
    Int64 = npt.NDArray[np.int64]


class Analyses:
    """Analyses stored rows of a chunk, session by session."""

    def __init__(
        self, analysis: Analysis, *, positions: Positions, events: Events, opening: Opening
    ) -> None:
        """Take what was loaded.

        Args:
            analysis: Of all chunks.
            positions: Holdings of the chunk.
            events: Partial closes of the chunk.
            opening: Its portfolios.
        """
        self._analysis = analysis
        self._positions = positions
        self._events = events
        self._opening = opening

    def rows(
        self, stored: StoredRows, rows: Int64, cells: Mapping[str, Decimals], past: Returns
    ) -> Analysed:
        """Return the analytic columns of rows.

        Args:
            stored: Of the chunk.
            rows: (k,) which.
            cells: `equity_balance` and `daily_return` of all stored rows that the analytics go on
                from, as they are or as they should be.
            past: Daily returns before all stored rows.

        Source:
            A1 to A6.
        """
        history = _history(stored, cells["daily_return"], past)
        parts, order = [], []
        for session in np.unique(stored.day[rows]).tolist():
            at = np.flatnonzero(stored.day[rows] == session)
            own = rows[at]
            last = np.full(len(self._opening), np.iinfo(np.int32).min, dtype=np.int32)
            last[stored.portfolio[own]] = session
            inputs = ChunkInputs(
                positions=self._positions,
                events=self._events,
                opening=self._opening,
                rows=_as_rows(stored, own, cells, len(self._opening)),
                last_session=last,
                is_latest=np.zeros(len(self._opening), dtype=np.bool_),
                returns=_last_returns(history, stored.portfolio[own], session),
            )
            parts.append(self._analysis.analyse(inputs).snapshot.columns)
            order.append(at)
        back = np.argsort(np.concatenate(order))
        found = {name: _joined([part[name] for part in parts], back) for name in parts[0]}
        shares = found.pop(SHARES)
        return Analysed(found, shares)


def profiles_changed(
    stored: StoredRows, rows: Int64, held: Held, changed: Mapping[str, int]
) -> Bools:
    """Return which rows hold a symbol whose profile was changed after they were written.

    A profile is today's (A1, A2): what it said then is gone.
    """
    never = np.iinfo(np.int64).min
    moment = np.array([changed.get(symbol, never) for symbol in held.symbols], dtype=np.int64)
    pair = pairs(stored.portfolio[rows], held.portfolio)
    row, position = rows[pair.left], pair.right
    day = stored.day[row]
    since = (held.start[position] <= day) & (day < held.end[position])
    if len(position):
        since &= moment[held.symbol[position]] > stored.written[row]
    return any_by_left(pair, since, len(rows))


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


def _as_rows(
    stored: StoredRows, own: Int64, cells: Mapping[str, Decimals], portfolios: int
) -> Rows:
    """Return stored rows as the analytics take them: only equity and return are read."""
    equity, returned = cells["equity_balance"], cells["daily_return"]
    nothing, none = np.zeros(len(own), dtype=np.int64), np.zeros(len(own), dtype=np.int32)
    no_text = Text.of([])
    no_days = np.zeros(0, dtype=np.int32)
    return Rows(
        portfolio=stored.portfolio[own],
        day=stored.day[own],
        equity_cents=equity.values[own] // np.int64(10 ** max(equity.scale - CENTS, 0)),
        daily_pnl_cents=nothing,
        daily_realized_cents=nothing,
        daily_flow_cents=nothing,
        daily_return=Decimals(returned.values[own], returned.scale, returned.state[own]),
        cumulative_pnl_cents=nothing,
        cumulative_realized_cents=nothing,
        cumulative_flow_cents=nothing,
        unrealized=Decimals.nulls(len(own)),
        long_cents=nothing,
        short_cents=nothing,
        gross_cents=nothing,
        net_cents=nothing,
        cash_cents=nothing,
        num_positions=none,
        num_long=none,
        num_short=none,
        marks=np.zeros((len(own), 4), dtype=np.int32),
        written=np.zeros(portfolios, dtype=np.int32),
        failed=np.zeros(portfolios, dtype=np.bool_),
        issues=Issues(
            name=no_text, portfolio=no_days, symbol=no_text, day=DayColumn.nulls(0), detail=no_text
        ),
        misses=Misses(
            symbol=no_text,
            unpriced=np.zeros(0, dtype=np.bool_),
            lot_sessions=np.zeros(0, dtype=np.int64),
            first=no_days,
            last=no_days,
        ),
    )


def _joined(parts: list[Any], order: Int64) -> Any:  # noqa: ANN401  # `Decimals` or `Objects`
    """Return columns one after the other, in another order; integers as decimals."""
    state = np.concatenate([part.state for part in parts])[order]
    values = np.concatenate([part.values for part in parts])[order]
    one = parts[0]
    if isinstance(one, Objects):
        present = np.concatenate([part.present for part in parts])[order]
        return Objects(one.names, values, one.scale, present, state)
    if isinstance(one, Integers):
        return Decimals(values.astype(np.int64), 0, state)
    return Decimals(values, one.scale, state)
