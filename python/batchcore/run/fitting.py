"""Figures of the analytics as the decimals that columns hold."""

from __future__ import annotations

from decimal import Decimal
from typing import TYPE_CHECKING, Final

import numpy as np

from batchcore.frames import Decimals, Issues, Objects
from batchcore.units import State

if TYPE_CHECKING:
    from collections.abc import Mapping

    import numpy.typing as npt

    from batchcore.db.analytic_tables import Capacity
    from batchcore.frames import Text

    Bools = npt.NDArray[np.bool_]
    Floats = npt.NDArray[np.float64]
    Int32 = npt.NDArray[np.int32]
    Int64 = npt.NDArray[np.int64]

SHARE_SCALE: Final = 6
"""Decimals of the shares in `sector_exposure`."""

FIGURE: Final = "analytic_out_of_range"
"""The issue of a figure that does not fit."""

MARKET_VALUE: Final = "market_value_out_of_range"
"""That of a market value, which the core gives to those too large for any column."""

HALF: Final = 0.5

_MOST: Final = 10.0**18


class Fitting:
    """Rounds figures to their columns, half away from zero, and tells which do not fit."""

    def __init__(self, capacities: Mapping[str, Mapping[str, Capacity]]) -> None:
        """Take what the columns of each table can hold."""
        self._capacities = capacities
        self._misfits: list[Issues] = []

    def decimals(  # a column, and whose its figures are
        self, table: str, column: str, figures: Floats, portfolio: Int32, day: Int32
    ) -> Decimals:
        """Return figures as decimals; NaN is NULL, and so is what does not fit, with an issue.

        Args:
            table: By the name of docs/schema.md.
            column: Likewise.
            figures: (n,) float64.
            portfolio: (n,) whose they are, for the issues.
            day: (n,) of which day.
        """
        capacity = self._capacities[table][column]
        mantissas, fits = _rounded(figures, capacity.scale, float(capacity.limit))
        self._add(column, figures, ~fits & ~np.isnan(figures), portfolio, day)
        return Decimals(mantissas, capacity.scale, _states(fits))

    def shares(
        self, names: tuple[str, ...], figures: Floats, known: Bools, portfolio: Int32, day: Int32
    ) -> Objects:
        """Return shares by name as objects, without the names that have none.

        Args:
            names: (k,) ascending.
            figures: (n, k) float64; NaN for no share.
            known: (n,) bool, which objects are not NULL.
            portfolio: (n,) whose they are.
            day: (n,) of which day.
        """
        mantissas, fits = _rounded(figures, SHARE_SCALE, _MOST)
        present = ~np.isnan(figures)
        wrong = known & (present & ~fits).any(axis=1)
        most = np.fmax.reduce(figures, axis=1, initial=-np.inf)
        self._add("sector_exposure", most, wrong, portfolio, day)
        return Objects(names, mantissas, SHARE_SCALE, present, _states(known & ~wrong))

    def holds(
        self,
        table: str,
        column: str,
        values: Decimals,
        *,
        portfolio: Int32,
        symbol: Text,
        day: int,
    ) -> Bools:
        """Return which exact market values the server can round into a column.

        Args:
            table: By the name of docs/schema.md.
            column: Likewise.
            values: (n,), all of them known.
            portfolio: (n,) whose they are, for the issues.
            symbol: (n,) of what, for the issues.
            day: Of which day.
        """
        capacity = self._capacities[table][column]
        unit = 10 ** max(values.scale - capacity.scale, 0)
        most = (capacity.limit - 1) * 10 ** max(values.scale - capacity.scale, 0) + (unit - 1) // 2
        most //= 10 ** max(capacity.scale - values.scale, 0)
        fits: Bools = np.abs(values.values) <= min(most, np.iinfo(np.int64).max)
        misfits = np.flatnonzero(~fits)
        mantissas = values.values[misfits].tolist()
        self._misfits.append(
            Issues.of(
                MARKET_VALUE,
                portfolio[misfits],
                symbol=symbol.take(misfits).texts(),
                day=np.full(len(misfits), day),
                detail=[f"{column} = {Decimal(one).scaleb(-values.scale):f}" for one in mantissas],
            )
        )
        return fits

    def issues(self) -> Issues:
        """Return what did not fit, in the order in which it was found."""
        return Issues.concat([Issues.none(), *self._misfits])

    def _add(
        self, column: str, figures: Floats, wrong: Bools, portfolio: Int32, day: Int32
    ) -> None:
        details = [f"{column} = {figure!r}" for figure in figures[wrong].tolist()]
        self._misfits.append(Issues.of(FIGURE, portfolio[wrong], day=day[wrong], detail=details))


def _rounded(figures: Floats, scale: int, limit: float) -> tuple[Int64, Bools]:
    """Return mantissas, and which of them are below the limit."""
    part, whole = np.modf(figures * 10.0**scale)
    mantissas = whole + np.copysign(np.abs(part) >= HALF, part)
    fits = np.abs(mantissas) < limit
    return np.where(fits, mantissas, 0).astype(np.int64), fits


def _states(known: Bools) -> npt.NDArray[np.uint8]:
    return np.where(known, State.VALUE, State.NULL).astype(np.uint8)
