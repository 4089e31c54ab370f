"""Rows by the native core: all of one session at once."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, replace
from decimal import Decimal
from functools import partial
from typing import TYPE_CHECKING, Final

import numpy as np

from batchcore.audit.links import BY_LEGACY, BY_ROLLFORWARD, CARRIED, SCALES, Expected
from batchcore.db.audit_queries import AMOUNTS, COUNTS
from batchcore.errors import InternalError
from batchcore.frames import (
    CENTS_OF_ROWS,
    COUNTS_OF_ROWS,
    Decimals,
    Opening,
    Previous,
    taken,
)
from batchcore.native import CancelFlag, roll_forward, store_snapshots
from batchcore.units import CENTS, State

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Mapping

    import numpy.typing as npt

    from batchcore.audit.links import Links
    from batchcore.frames import Betas, Events, Flows, LegacyColumns, Positions, Rows
    from batchcore.native import Host, Market

    Bools = npt.NDArray[np.bool_]
    Int64 = npt.NDArray[np.int64]

COLUMNS: Final = {"total_value": "equity_cents", **CENTS_OF_ROWS, **COUNTS_OF_ROWS}
"""Column of a snapshot -> attribute of `Rows`."""

_OWN: Final = ("total_value", *(name for name in BY_LEGACY if name not in BY_ROLLFORWARD))
"""Columns that `Rows.legacy` has."""


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
        found = _Found(len(links), BY_ROLLFORWARD)
        for own in _groups(links.day.astype(np.int64)):
            part = links.part(own)
            rows = await self._session(part, part.carried["equity_balance"])
            found.put(own[rows.portfolio], columns_of(rows))
            tick(len(own))
        return found.expected()

    async def _session(self, links: Links, equity: Decimals, host: Host | None = None) -> Rows:
        """Return the rows of one session; their `portfolio` is a row of ``links``.

        Args:
            links: The rows.
            equity: Of each, where no snapshot has one.
            host: Of the policy `legacy`.
        """
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
            equity=equity,
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
            host=host,
            betas=self._betas(),
        )
        task = asyncio.ensure_future(asyncio.to_thread(work))
        try:
            return await asyncio.shield(task)
        except asyncio.CancelledError:
            self._cancel.set()
            await asyncio.wait([task])
            task.exception()
            raise

    def _betas(self) -> Betas | None:
        return None


class LegacyNatively(Natively):
    """The same under `legacy`."""

    def __init__(
        self, market: Market, inputs: Inputs, threads: int | None, *, host: Host, betas: Betas
    ) -> None:
        """Take what was loaded.

        Args:
            market: Prices, with all sessions of rows among its own.
            inputs: Of the chunk, soft-deleted positions too.
            threads: Of native calls.
            host: Profiles, and whether there is a benchmark.
            betas: Of the positions.
        """
        super().__init__(market, inputs, threads)
        self._host = host
        self._own_betas = betas

    async def legacy_rows(
        self, links: Links, opening: Int64, current: Bools, tick: Callable[[int], None]
    ) -> Expected:
        """Return what rows should be.

        Args:
            links: The rows, each with what it goes on from.
            opening: (k,) cents that the column of the portfolio had before each (L6).
            current: (k,) bool, whether the day of each was a current one (L32).
            tick: Called with how many more are done.
        """
        found = _Found(len(links), BY_LEGACY)
        shares = np.full(len(links), None, dtype=np.object_)
        for own in _groups(2 * links.day.astype(np.int64) + current):
            today = int(links.day[own[0]]) + (not current[own[0]])
            host = replace(self._host, today=today)
            rows = await self._session(links.part(own), Decimals(opening[own], CENTS), host)
            if rows.legacy is None:
                raise InternalError("the policy `legacy` gave no columns of its own")
            at = own[rows.portfolio]
            own_columns = {name: getattr(rows.legacy, name) for name in _OWN}
            found.put(at, {**columns_of(rows), **own_columns})
            shares[at] = _weights(rows.legacy)
            tick(len(own))
        return found.expected(shares)

    def _betas(self) -> Betas:
        return self._own_betas


class _Found:
    """Rows in the order of those that were asked for, as they are found."""

    def __init__(self, rows: int, columns: Iterable[str]) -> None:
        self._known = np.zeros(rows, dtype=np.bool_)
        self._cells = {
            name: (np.zeros(rows, dtype=np.int64), np.zeros(rows, dtype=np.uint8))
            for name in columns
        }

    def put(self, at: Int64, columns: Mapping[str, Decimals]) -> None:
        """Take rows that stand at some places."""
        self._known[at] = True
        for name, (values, state) in self._cells.items():
            values[at], state[at] = columns[name].values, columns[name].state

    def expected(self, shares: npt.NDArray[np.object_] | None = None) -> Expected:
        """Return all of them."""
        cells = {
            name: Decimals(values, SCALES[name], state)
            for name, (values, state) in self._cells.items()
        }
        return Expected(self._known, cells, shares)


def _groups(keys: Int64) -> Iterator[npt.NDArray[np.intp]]:
    """Give the rows of each key, keys ascending."""
    order = np.argsort(keys, kind="stable")
    starts = np.flatnonzero(np.diff(keys[order])) + 1
    if len(keys):
        yield from np.split(order, starts)


def columns_of(rows: Rows) -> dict[str, Decimals]:
    """Return the columns of `RULED`."""
    found = {name: Decimals(getattr(rows, COLUMNS[name]), CENTS) for name in AMOUNTS}
    found |= {name: Decimals(getattr(rows, COLUMNS[name]).astype(np.int64), 0) for name in COUNTS}
    return {**found, "daily_return": rows.daily_return}


def _weights(columns: LegacyColumns) -> npt.NDArray[np.object_]:
    """Return `sector_exposure` as mappings of decimals."""
    weights = columns.sector_exposure
    found = np.full(len(weights), None, dtype=np.object_)
    for row in np.flatnonzero(weights.state == State.VALUE).tolist():
        found[row] = {
            weights.names[name]: Decimal(repr(float(weights.values[row, name])))
            for name in np.flatnonzero(weights.present[row]).tolist()
        }
    return found
