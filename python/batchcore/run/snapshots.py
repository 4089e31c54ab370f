"""Snapshots that a caller hands in, in the place of those that are stored: pure."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Protocol

import numpy as np

from batchcore.frames import Days
from batchcore.sources.host import located
from batchcore.sources.portfolios import SnapshotColumns
from batchcore.units import State

if TYPE_CHECKING:
    from batchcore.calendar import Calendar
    from batchcore.frames import Previous
    from batchcore.sources.portfolios import Portfolios


class SnapshotSource(Protocol):
    """Latest snapshots that were loaded before the run; `batchcore.SnapshotCache` is one."""

    def to_frame(self) -> Previous:
        """Return them, one for each portfolio at most."""


def with_snapshots(
    portfolios: Portfolios, given: Previous, calendar: Calendar, boundary: int
) -> Portfolios:
    """Return portfolios that go on from the snapshots handed in.

    One counts that is on a session before the boundary, unless a later one is stored: a chain
    must not be gone on with from its middle.

    Args:
        portfolios: As loaded.
        given: Snapshots of some of them, and of others.
        calendar: That of the run.
        boundary: The day that parts earlier snapshots from those of the range and after.
    """
    before = portfolios.before
    row = located(given.portfolio_id, portfolios.id)
    counts = (row >= 0) & (given.day < boundary) & calendar.is_session(given.day)
    to, taken = row[counts], np.flatnonzero(counts)
    later = (before.day.state[to] == State.VALUE) & (before.day.values[to] > given.day[taken])
    to, taken = to[~later], taken[~later]
    handed = SnapshotColumns(
        day=Days(given.day),
        equity_balance=given.equity,
        cumulative_pnl=given.cumulative_pnl,
        cumulative_realized_pnl=given.cumulative_realized_pnl,
        cumulative_capital_flow=given.cumulative_capital_flow,
    ).take(taken)
    rows = np.arange(len(before))
    rows[to] = len(before) + np.arange(len(to))
    return replace(portfolios, before=SnapshotColumns.concat([before, handed]).take(rows))
