"""Columns that are handed in with other decimals than those stored."""

from decimal import Decimal

import numpy as np

from batchcore.frames import Decimals, rescaled
from batchcore.units import State
from support import build


def test_more_decimals_are_zeros_at_the_end() -> None:
    column = build.decimals([Decimal("1.25"), None, Decimal(-3)], 2)
    wider = rescaled(column, 5)
    assert wider.scale == 5
    assert wider.values[[0, 2]].tolist() == [1_25000, -3_00000]
    assert wider.state.tolist() == [State.VALUE, State.NULL, State.VALUE]
    assert rescaled(column, 2) is column


def test_what_64_bits_do_not_hold_is_not_representable() -> None:
    most = 2**63 - 1
    values = np.array([most // 10, most // 10 + 1, -(most // 10), -(most // 10) - 1, -(2**63)])
    wider = rescaled(Decimals(values.astype(np.int64), 2), 3)
    lost = State.NOT_REPRESENTABLE
    assert wider.state.tolist() == [State.VALUE, lost, State.VALUE, lost, lost]
    assert wider.values[[0, 2]].tolist() == [most // 10 * 10, -(most // 10 * 10)]
