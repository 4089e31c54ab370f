"""Ratios in decimals of 28 digits, as columns."""

from __future__ import annotations

from collections.abc import Sequence
from decimal import Context, Decimal
from typing import Final

import numpy as np

from batchcore.frames import WideDecimals
from batchcore.native import RATIO_SCALE
from batchcore.units import State

DECIMALS: Final = Context(prec=28)
"""The context of W1 and W2, the default one of `decimal`."""

_LIMIT: Final = Decimal(10) ** 10
"""Limit of the digits before the point, beyond which a ratio does not fit the column."""


def of_decimals(values: Sequence[Decimal | None]) -> WideDecimals:
    """Return ratios as a column with 28 decimals; None is NULL, from 10^10 not representable."""
    column = WideDecimals.nulls(len(values), RATIO_SCALE)
    cells, state = column.values.copy(), column.state.copy()
    for row, value in enumerate(values):
        if value is None:
            continue
        if value.copy_abs() >= _LIMIT:
            state[row] = State.NOT_REPRESENTABLE
            continue
        units = int(DECIMALS.to_integral_value(value.scaleb(RATIO_SCALE, DECIMALS)))
        cells[row] = np.frombuffer(units.to_bytes(16, "little", signed=True), dtype=np.uint8)
        state[row] = State.VALUE
    return WideDecimals(cells, RATIO_SCALE, state)
