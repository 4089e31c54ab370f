"""Columns of frames as fields of the native encoder."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from batchcore.frames import (
    Constant,
    Days,
    Decimals,
    FloatObjects,
    Integers,
    Moment,
    Objects,
    Text,
)

if TYPE_CHECKING:
    import numpy.typing as npt

    Column = (
        npt.NDArray[np.uint8 | np.bool_]
        | Decimals
        | Days
        | Integers
        | Objects
        | FloatObjects
        | Text
        | Constant
        | Moment
    )
    Field = tuple[str, str, tuple[Any, ...], npt.NDArray[np.uint8] | None]


def field_of(name: str, column: Column, *, jsonb: bool = False) -> Field:
    """Return what the encoder takes for a column; a uuid is (n, 16) uint8.

    Args:
        name: Of the column, for errors.
        column: Its values.
        jsonb: Whether objects go into a `jsonb` column, not a `json` one.
    """
    values: tuple[Any, ...]
    match column:
        case Decimals():
            kind, values = "numeric", (column.values, column.scale)
        case Days():
            kind, values = "date", (column.values,)
        case Integers():
            kind, values = "int4", (column.values,)
        case Objects() | FloatObjects():
            names, values = Text.of(column.names), (_flat(column.values),)
            if isinstance(column, Objects):
                values = (*values, column.scale)
            kind = "jsonb" if jsonb else "json"
            values = (names.offsets, names.data, *values, _flat(column.present).view(np.uint8))
        case Text():
            kind, values = "text", (column.codes, column.offsets, column.data)
        case Moment():
            kind, values = "timestamptz", (column.unix_us,)
        case Constant():
            kind, values = "bool" if isinstance(column.value, bool) else "text", (column.value,)
        case np.ndarray() if column.dtype == np.bool_:
            kind, values = "bool", (column.view(np.uint8),)
        case _:
            kind, values = "uuid", (column,)
    return name, kind, values, getattr(column, "state", None)


def _flat(values: npt.NDArray[Any]) -> npt.NDArray[Any]:
    return np.ascontiguousarray(values).reshape(-1)
