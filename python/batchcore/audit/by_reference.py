"""Rows by the pure-Python reference."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from decimal import Decimal
from typing import TYPE_CHECKING

import numpy as np

from batchcore import reference as ref
from batchcore.audit.links import CARRIED, Expected
from batchcore.db.audit_queries import AMOUNTS, COUNTS
from batchcore.db.load_stored import as_decimals
from batchcore.units import CENTS, RETURN_SCALE, State

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

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
        return _expected(found)

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


def _values(column: Decimals) -> list[Decimal | None]:
    rows = zip(column.values.tolist(), column.state.tolist(), strict=True)
    return [
        Decimal(mantissa).scaleb(-column.scale) if state == State.VALUE else None
        for mantissa, state in rows
    ]


def _expected(rows: Sequence[ref.Row | None]) -> Expected:
    """Return rows as columns; the cells of those that are None mean nothing."""

    def cells(name: str) -> list[Decimal | None]:
        attribute = "equity_balance" if name == "total_value" else name
        values = [Decimal(0) if row is None else getattr(row, attribute) for row in rows]
        return [None if value is None else Decimal(value) for value in values]

    scales = {**dict.fromkeys(AMOUNTS, CENTS), "daily_return": RETURN_SCALE}
    scales |= dict.fromkeys(COUNTS, 0)
    return Expected(
        np.array([row is not None for row in rows], dtype=np.bool_),
        {name: as_decimals(cells(name), scale) for name, scale in scales.items()},
    )
