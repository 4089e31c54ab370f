"""Rows by the native core: all of one session at once."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Final

import numpy as np

from batchcore.audit.links import CARRIED, Expected
from batchcore.db.audit_queries import AMOUNTS, COUNTS
from batchcore.db.load import taken
from batchcore.frames import Decimals, Opening, Previous
from batchcore.native import CancelFlag, roll_forward, store_snapshots
from batchcore.units import CENTS, RETURN_SCALE

if TYPE_CHECKING:
    from collections.abc import Callable

    import numpy.typing as npt

    from batchcore.audit.links import Links
    from batchcore.frames import Events, Flows, Positions, Rows
    from batchcore.native import Market

COLUMNS: Final = {
    "total_value": "equity_cents",
    "daily_realized_pnl": "daily_realized_cents",
    "daily_pnl": "daily_pnl_cents",
    "daily_capital_flow": "daily_flow_cents",
    "equity_balance": "equity_cents",
    "cumulative_pnl": "cumulative_pnl_cents",
    "cumulative_realized_pnl": "cumulative_realized_cents",
    "cumulative_capital_flow": "cumulative_flow_cents",
    "long_value": "long_cents",
    "short_value": "short_cents",
    "gross_exposure": "gross_cents",
    "net_exposure": "net_cents",
    "cash_value": "cash_cents",
    "num_positions": "num_positions",
    "num_long_positions": "num_long",
    "num_short_positions": "num_short",
}
"""Column of a snapshot -> attribute of `Rows`."""


@dataclass(frozen=True, eq=False, slots=True)
class Inputs:
    """What the rows of a chunk are computed from.

    Attributes:
        ids: (p, 16) uint8 portfolios of the chunk.
        positions: Holdings.
        events: Partial closes.
        flows: Cash in and out.
    """

    ids: npt.NDArray[np.uint8]
    positions: Positions
    events: Events
    flows: Flows


class Natively:
    """Computes rows of the portfolios of a chunk, session by session."""

    def __init__(self, market: Market, inputs: Inputs, threads: int | None) -> None:
        """Take what was loaded.

        Args:
            market: Prices and marks, with all sessions of rows among its own.
            inputs: Of the chunk.
            threads: Of native calls.
        """
        self._market = market
        self._inputs = inputs
        self._threads = threads
        self._cancel = CancelFlag()

    async def rows(self, links: Links, tick: Callable[[int], None]) -> Expected:
        """Return what rows should be.

        Args:
            links: The rows, each with what it goes on from.
            tick: Called with how many more are done.
        """
        known = np.zeros(len(links), dtype=np.bool_)
        mantissas = {name: np.zeros(len(links), dtype=np.int64) for name in (*AMOUNTS, *COUNTS)}
        returns = Decimals.nulls(len(links), RETURN_SCALE)
        value, state = returns.values.copy(), returns.state.copy()
        order = np.argsort(links.day, kind="stable")
        starts = np.flatnonzero(np.diff(links.day[order], prepend=np.iinfo(np.int32).min))
        for own in np.split(order, starts[1:]):
            if len(own) == 0:
                continue
            rows = await self._session(links.part(own))
            at = own[rows.portfolio]
            known[at] = True
            for name, attribute in COLUMNS.items():
                mantissas[name][at] = getattr(rows, attribute)
            value[at], state[at] = rows.daily_return.values, rows.daily_return.state
            tick(len(own))
        cells = {name: Decimals(mantissas[name], CENTS) for name in AMOUNTS}
        cells |= {name: Decimals(mantissas[name], 0) for name in COUNTS}
        return Expected(known, {**cells, "daily_return": Decimals(value, RETURN_SCALE, state)})

    async def _session(self, links: Links) -> Rows:
        """Return the rows of one session; their `portfolio` is a row of ``links``."""
        ids = np.ascontiguousarray(self._inputs.ids[links.portfolio])
        later = np.flatnonzero(~links.first)
        previous = Previous(
            portfolio_id=np.ascontiguousarray(ids[later]),
            day=links.previous_day[later],
            **{
                "equity" if name == "equity_balance" else name: taken(links.carried[name], later)
                for name in CARRIED
            },
        )
        opening = Opening(
            portfolio_id=ids,
            equity=links.carried["equity_balance"],
            first_day=links.day.copy(),
            last_day=links.day.copy(),
        )
        work = partial(
            roll_forward,
            self._market,
            positions=self._inputs.positions,
            events=self._inputs.events,
            flows=self._inputs.flows,
            previous=store_snapshots(previous),
            opening=opening,
            threads=self._threads,
            cancel=self._cancel,
        )
        task = asyncio.ensure_future(asyncio.to_thread(work))
        try:
            return await asyncio.shield(task)
        except asyncio.CancelledError:
            self._cancel.set()
            await asyncio.wait([task])
            task.exception()
            raise
