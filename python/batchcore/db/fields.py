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
    kind: str
    values: tuple[Any, ...]
    match column:
        case Decimals():
            kind, values = "numeric", (column.values, column.scale)
        case Days():
            kind, values = "date", (column.values,)
        case Integers():
            kind, values = "int4", (column.values,)
        case Objects():
            kind, values = "jsonb" if jsonb else "json", _objects(column)
        case FloatObjects():
            kind, values = "jsonb" if jsonb else "json", _float_objects(column)
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


def _objects(column: Objects) -> tuple[Any, ...]:
    names = Text.of(column.names)
    values = np.ascontiguousarray(column.values).reshape(-1)
    return names.offsets, names.data, values, column.scale, _present(column)


def _float_objects(column: FloatObjects) -> tuple[Any, ...]:
    names = Text.of(column.names)
    values = np.ascontiguousarray(column.values).reshape(-1)
    return names.offsets, names.data, values, _present(column)


def _present(column: Objects | FloatObjects) -> npt.NDArray[np.uint8]:
    return np.ascontiguousarray(column.present).reshape(-1).view(np.uint8)
