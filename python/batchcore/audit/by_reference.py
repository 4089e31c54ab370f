"""Rows by the pure-Python reference."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from decimal import Decimal
from typing import TYPE_CHECKING

import numpy as np

from batchcore import reference as ref
from batchcore.audit.links import BY_LEGACY, BY_ROLLFORWARD, CARRIED, SCALES, Expected
from batchcore.db.load_stored import as_decimals
from batchcore.reference import legacy
from batchcore.units import CENTS, State

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    import numpy.typing as npt

    from batchcore.audit.links import Links
    from batchcore.frames import Decimals


class ByReference:
    """Computes rows of the portfolios of a chunk, one by one."""

    def __init__(
        self,
        portfolios: Sequence[ref.Portfolio],
        prices: ref.Market,
        lookback_days: int,
        scales: ref.Scales,
    ) -> None:
        """Take what was read.

        Args:
            portfolios: Those of the chunk, without snapshots.
            prices: The valid closes.
            lookback_days: As of the run (S4).
            scales: Of the columns read.
        """
        self._portfolios = portfolios
        self._prices = prices
        self._lookback_days = lookback_days
        self._scales = scales

    async def rows(self, links: Links, tick: Callable[[int], None]) -> Expected:
        """Return what rows should be.

        Args:
            links: The rows, each with what it goes on from.
            tick: Called with how many more are done.
        """
        found: list[ref.Row | None] = []
        carried = {name: _values(links.carried[name]) for name in CARRIED}
        for row in range(len(links)):
            await asyncio.sleep(0)  # the reference is slow, and signals must get through
            basis = [carried[name][row] for name in CARRIED]
            found.append(self._row(links, row, basis))
            tick(1)
        return _expected(found, BY_ROLLFORWARD)

    def _row(self, links: Links, row: int, basis: Sequence[Decimal | None]) -> ref.Row | None:
        portfolio = self._portfolios[int(links.portfolio[row])]
        equity, *cumulative = basis
        if links.first[row]:
            start = replace(portfolio, opening_equity=equity)
        else:
            day = int(links.previous_day[row])
            snapshot = ref.Snapshot(day, equity or Decimal(0), *cumulative)
            start = replace(portfolio, snapshots=(snapshot,))
        result = ref.roll_forward(
            start, self._prices, [int(links.day[row])], self._lookback_days, self._scales
        )
        return result.rows[0] if result.rows else None


class LegacyByReference:
    """Computes rows of the portfolios of a chunk under `legacy`, one by one."""

    def __init__(
        self,
        portfolios: Sequence[legacy.Portfolio],
        prices: ref.Market,
        profiles: Mapping[str, legacy.Profile],
        scales: ref.Scales,
    ) -> None:
        """Take what was read.

        Args:
            portfolios: Those of the chunk, without snapshots.
            prices: Every finite close.
            profiles: By symbol as stored.
            scales: Of the columns read.
        """
        self._portfolios = portfolios
        self._prices = prices
        self._profiles = profiles
        self._scales = scales

    async def legacy_rows(
        self,
        links: Links,
        opening: npt.NDArray[np.int64],
        current: npt.NDArray[np.bool_],
        tick: Callable[[int], None],
    ) -> Expected:
        """Return what rows should be.

        Args:
            links: The rows, each with what it goes on from.
            opening: (k,) cents that the column of the portfolio had before each (L6).
            current: (k,) bool, whether the day of each was a current one (L32).
            tick: Called with how many more are done.
        """
        found: list[legacy.Row | None] = []
        carried = {name: _values(links.carried[name]) for name in CARRIED}
        for row in range(len(links)):
            await asyncio.sleep(0)  # the reference is slow, and signals must get through
            day, is_current = int(links.day[row]), bool(current[row])
            start = self._start(links, row, [carried[name][row] for name in CARRIED])
            equity = Decimal(int(opening[row])).scaleb(-CENTS)
            shared = legacy.Shared(
                self._prices, (day,), day if is_current else day + 1, profiles=self._profiles
            )
            result = legacy.roll(replace(start, equity_balance=equity), shared, [day], self._scales)
            found.append(result.rows[0] if result.rows else None)
            tick(1)
        shares = np.full(len(found), None, dtype=np.object_)
        for number, one in enumerate(found):
            if one is not None and one.sector_exposure is not None:
                weights = one.sector_exposure.items()
                shares[number] = {sector: Decimal(repr(weight)) for sector, weight in weights}
        return _expected(found, BY_LEGACY, shares)

    def _start(self, links: Links, row: int, basis: Sequence[Decimal | None]) -> legacy.Portfolio:
        """Return the portfolio of a row with the snapshot that it goes on from."""
        portfolio = self._portfolios[int(links.portfolio[row])]
        if links.first[row]:
            return portfolio
        equity, pnl, realized, flow = basis
        previous = legacy.Snapshot(int(links.previous_day[row]), equity, pnl, realized, flow)
        return replace(portfolio, snapshots=(previous,))


def _values(column: Decimals) -> list[Decimal | None]:
    rows = zip(column.values.tolist(), column.state.tolist(), strict=True)
    return [
        Decimal(mantissa).scaleb(-column.scale) if state == State.VALUE else None
        for mantissa, state in rows
    ]


def _expected(
    rows: Sequence[ref.Row | legacy.Row | None],
    columns: Sequence[str],
    shares: npt.NDArray[np.object_] | None = None,
) -> Expected:
    """Return rows as columns; the cells of those that are None mean nothing."""

    def cells(name: str) -> list[Decimal | None]:
        if name == "total_value" and shares is None:
            name = "equity_balance"  # S8
        values = [Decimal(0) if row is None else getattr(row, name) for row in rows]
        return [None if value is None else Decimal(value) for value in values]

    return Expected(
        np.array([row is not None for row in rows], dtype=np.bool_),
        {name: as_decimals(cells(name), SCALES[name]) for name in columns},
        shares,
    )
