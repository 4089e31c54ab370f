"""Rows computed again: by the reference, one by one, or natively, all of a session at once."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, replace
from decimal import Decimal
from functools import partial
from typing import TYPE_CHECKING, Any, Final, Protocol

import numpy as np

from batchcore.audit.compare import value_at
from batchcore.audit.links import CARRIED, Expected, shares_of
from batchcore.db.legacy_tables import WRITTEN
from batchcore.frames import CENTS_OF_ROWS, COUNTS_OF_ROWS, Decimals, Opening, Previous
from batchcore.native import CancelFlag, in_thread, roll_forward, store_snapshots
from batchcore.sources.query import as_decimals
from batchcore.sources.stored import AMOUNTS, COUNTS, SHARES, decimals_of
from batchcore.units import CENTS

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    import numpy.typing as npt

    from batchcore.audit.links import Links
    from batchcore.frames import Betas, Bools, Events, Flows, Int64, Positions, Rows
    from batchcore.native import Host, Market

    Roll = Callable[[int, int, tuple[Any, ...] | None, Decimal, int], Any]

_COLUMNS: Final = {"total_value": "equity_cents", **CENTS_OF_ROWS, **COUNTS_OF_ROWS}
"""Column of a snapshot -> attribute of `Rows`."""

_LEGACY: Final = ("total_value", *(name for name in WRITTEN if name != SHARES))
"""Columns that `Rows.legacy` has, beside `sector_exposure`."""


class Computer(Protocol):
    """Computes rows of the portfolios of one chunk."""

    async def rows(
        self, links: Links, opening: Int64, current: Bools, tick: Callable[[int], None]
    ) -> Expected:
        """Return what rows should be.

        Args:
            links: The rows, each with what it goes on from.
            opening: (k,) cents that `portfolios.equity_balance` had before each (S5, L6).
            current: (k,) bool, whether the day of each was a current one (L32).
            tick: Called with how many more are done.
        """


class ByReference:
    """Computes rows by the pure-Python reference."""

    def __init__(self, roll: Roll, columns: tuple[str, ...], *, shares: bool = False) -> None:
        """Take the rules.

        Args:
            roll: Gives the row of a portfolio and a day, None if it fails: from a snapshot before
                it or an opening equity, and with the first day that is a current one.
            columns: Those that rows are computed with.
            shares: Whether `sector_exposure` is one of the others.
        """
        self._roll = roll
        self._columns = columns
        self._shares = shares

    async def rows(
        self, links: Links, opening: Int64, current: Bools, tick: Callable[[int], None]
    ) -> Expected:
        """Return what rows should be; see `Computer`."""
        rows = []
        for row in range(len(links)):
            await asyncio.sleep(0)  # the reference is slow, and signals must get through
            previous: Any = None
            if not links.first[row]:
                carried = (value_at(links.carried[name], row) for name in CARRIED)
                previous = (int(links.previous_day[row]), *carried)
            day, equity = int(links.day[row]), Decimal(int(opening[row])).scaleb(-CENTS)
            today = day + (not current[row])
            rows.append(self._roll(int(links.portfolio[row]), day, previous, equity, today))
            tick(1)
        shares = None
        if self._shares:
            shares = np.full(len(rows), None, dtype=np.object_)
            for number, row in enumerate(rows):
                if row is not None and row.sector_exposure is not None:
                    own = row.sector_exposure.items()
                    shares[number] = {name: Decimal(repr(weight)) for name, weight in own}
        known = np.array([row is not None for row in rows], dtype=np.bool_)
        return Expected(known, {name: _cells(rows, name) for name in self._columns}, shares)


def _cells(rows: list[Any], column: str) -> Decimals:
    """Return a column of rows of the reference; NULL where there is no row, or no such column."""
    values = [getattr(row, column, None) for row in rows]
    if column == "total_value":  # which `rollforward` has no name of its own for (S8)
        values = [getattr(row, column, getattr(row, "equity_balance", None)) for row in rows]
    decimals = [None if value is None else Decimal(value) for value in values]
    return as_decimals(decimals, decimals_of(column))


@dataclass(frozen=True, eq=False, slots=True)
class Inputs:
    """What the rows of a chunk are computed from.

    Attributes:
        ids: (p, 16) uint8 portfolios of the chunk.
        positions: Holdings; under `legacy` soft-deleted ones too.
        events: Partial closes.
        flows: Cash in and out.
        betas: Of the positions, under `legacy`.
    """

    ids: npt.NDArray[np.uint8]
    positions: Positions
    events: Events
    flows: Flows
    betas: Betas | None = None


class Natively:
    """Computes rows by the native core, session by session.

    Attributes:
        inputs: Of the chunk.
    """

    def __init__(
        self,
        market: Market,
        inputs: Inputs,
        columns: tuple[str, ...],
        *,
        threads: int | None,
        host: Host | None = None,
    ) -> None:
        """Take what was loaded; all sessions of rows are among those of ``market``."""
        self._market = market
        self.inputs = inputs
        self._columns = columns
        self._threads = threads
        self._host = host
        self._cancel = CancelFlag()

    async def rows(
        self, links: Links, opening: Int64, current: Bools, tick: Callable[[int], None]
    ) -> Expected:
        """Return what rows should be; see `Computer`."""
        found = Expected.unknown(len(links), self._columns, shares=self._host is not None)
        at, parts = [], []
        for own in _groups(2 * links.day.astype(np.int64) + current):
            host = self._host
            if host is not None:
                host = replace(host, today=int(links.day[own[0]]) + (not current[own[0]]))
            rows = await self._session(links.take(own), opening[own], host)
            weights, cells = None, columns_of(rows)
            if rows.legacy is not None:
                cells |= {name: getattr(rows.legacy, name) for name in _LEGACY}
                weights = shares_of(rows.legacy.sector_exposure)
            nothing = Decimals.nulls(len(rows))
            cells = {name: cells.get(name, nothing) for name in self._columns}
            at.append(own[rows.portfolio])
            parts.append(Expected(np.ones(len(rows), dtype=np.bool_), cells, weights))
            tick(len(own))
        return found.replaced(np.concatenate(at), Expected.concat(parts)) if parts else found

    async def _session(self, links: Links, opening: Int64, host: Host | None) -> Rows:
        """Return the rows of one session; their `portfolio` is a row of ``links``."""
        ids = np.ascontiguousarray(self.inputs.ids[links.portfolio])
        later = np.flatnonzero(~links.first)
        equity, pnl, realized, flow = (links.carried[name].take(later) for name in CARRIED)
        previous = Previous(
            portfolio_id=np.ascontiguousarray(ids[later]),
            day=links.previous_day[later],
            equity=equity,
            cumulative_pnl=pnl,
            cumulative_realized_pnl=realized,
            cumulative_capital_flow=flow,
        )
        work = partial(
            roll_forward,
            self._market,
            positions=self.inputs.positions,
            events=self.inputs.events,
            flows=self.inputs.flows,
            previous=store_snapshots(previous),
            opening=Opening(
                portfolio_id=ids,
                equity=Decimals(opening, CENTS),
                first_day=links.day,
                last_day=links.day,
            ),
            threads=self._threads,
            cancel=self._cancel,
            host=host,
            betas=self.inputs.betas,
        )
        return await in_thread(work, self._cancel)


def _groups(keys: Int64) -> Iterator[Int64]:
    """Give the rows of each key, keys ascending."""
    order = np.argsort(keys, kind="stable")
    starts = np.flatnonzero(np.diff(keys[order])) + 1
    if len(keys):
        yield from np.split(order, starts)


def columns_of(rows: Rows) -> dict[str, Decimals]:
    """Return the columns of `RULED`."""
    found = {name: Decimals(getattr(rows, _COLUMNS[name]), CENTS) for name in AMOUNTS}
    found |= {name: Decimals(getattr(rows, _COLUMNS[name]).astype(np.int64), 0) for name in COUNTS}
    return {**found, "daily_return": rows.daily_return}
