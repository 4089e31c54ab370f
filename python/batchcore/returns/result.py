"""The result of a performance: a row for each portfolio and period."""

from __future__ import annotations

import uuid
from decimal import Decimal
from typing import TYPE_CHECKING, Any, Final

from batchcore.calendar import date_of
from batchcore.frames import ArrowFrame, Days, Text, WideDecimals
from batchcore.words import plain, short

if TYPE_CHECKING:
    from batchcore.frames import Floats, Ids, Int32

_JSON: Final = (
    *("portfolio_id", "period", "start", "end", "sessions"),
    *("twr", "twr_annual", "mwr", "mwr_annual", "volatility"),
    *("max_drawdown", "peak", "trough", "recovered", "benchmark", "reason"),
)
"""Columns that JSON has; the id is called `portfolio` there."""


class Performance(ArrowFrame, kw_only=True):
    """A row for each portfolio, in the order of their ids, and each of its periods.

    Returns are shares of 1: 0.01 is one per cent. Those of decimals have 28 digits, and at most 28
    decimals.

    Attributes:
        portfolio_id: (n, 16) uint8.
        period: Its name; of a range its days, as in `2026-01-01/2026-03-31`.
        start: Day of the row before the first session, where the equity of the period begins; NULL
            without a session in it, like everything that follows.
        end: Day of the last session.
        sessions: (n,) int32 snapshots after `start`, up to `end`.
        twr: Time-weighted return (W2); NULL where it is not available.
        twr_annual: The same a year, of more than 365 days (W2).
        mwr: (n,) float64 money-weighted return of the period (W3), NaN where there is none.
        mwr_annual: (n,) float64, the same a year.
        volatility: (n,) float64 (W4); NaN with fewer than two sessions, or without `twr`.
        max_drawdown: Trough divided by peak of the largest fall, less 1: -0.1 is a fall of 10 per
            cent; 0 without any (W4). NULL without `twr`, like the other figures of W4.
        peak: The last session before that fall; NULL without one, like the next two.
        trough: The session of its lowest value.
        recovered: The first later session that is not below the peak; NULL while it lasts.
        current_drawdown: The end divided by the highest value of the period, less 1.
        best: The highest return of a session.
        best_day: The first session with it.
        worst: The lowest return of a session.
        worst_day: The first session with it.
        gains: (n,) float64 share of sessions with a return above 0.
        benchmark: Return of the benchmark from `start` to `end` (W5).
        difference: `twr` less `benchmark`.
        reason: What is not available, and why; NULL if everything is.
    """

    portfolio_id: Ids
    period: Text
    start: Days
    end: Days
    sessions: Int32
    twr: WideDecimals
    twr_annual: WideDecimals
    mwr: Floats
    mwr_annual: Floats
    volatility: Floats
    max_drawdown: WideDecimals
    peak: Days
    trough: Days
    recovered: Days
    current_drawdown: WideDecimals
    best: WideDecimals
    best_day: Days
    worst: WideDecimals
    worst_day: Days
    gains: Floats
    benchmark: WideDecimals
    difference: WideDecimals
    reason: Text

    def rows(self) -> list[dict[str, Any]]:
        """Return each row by column: ids as UUIDs, dates, Decimals and floats; None for NULL."""
        columns = {name: _values(getattr(self, name)) for name in self._columns()}
        return [dict(zip(columns, row, strict=True)) for row in zip(*columns.values(), strict=True)]

    def to_dict(self) -> dict[str, Any]:
        """Return it as what JSON can hold: decimals as text, statistics as numbers."""
        names = [name.removesuffix("_id") for name in _JSON]
        columns = [
            [short(one) if isinstance(one, Decimal) else plain(one) for one in _values(column)]
            for column in (getattr(self, name) for name in _JSON)
        ]
        return {"rows": [dict(zip(names, row, strict=True)) for row in zip(*columns, strict=True)]}


def _values(column: Any) -> list[Any]:  # noqa: ANN401  # of a frame
    """Return the values of a column as Python objects; NULL and NaN are None."""
    match column:
        case WideDecimals():
            return column.decimals()
        case Days():
            days = zip(column.values.tolist(), column.state.tolist(), strict=True)
            return [None if state else date_of(day) for day, state in days]
        case Text():
            return column.texts()
    if column.dtype.kind == "f":
        return [None if value != value else value for value in column.tolist()]  # noqa: PLR0124
    if column.ndim > 1:
        return [uuid.UUID(bytes=row.tobytes()) for row in column]
    values: list[Any] = column.tolist()
    return values
