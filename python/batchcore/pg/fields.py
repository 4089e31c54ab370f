"""Columns of frames as the bytes of a binary COPY."""

from __future__ import annotations

from struct import Struct
from typing import TYPE_CHECKING, Any, Final

import numpy as np

from batchcore import _core
from batchcore.frames import Constant, Days, Decimals, FloatObjects, Integers, Moment, Objects, Text
from batchcore.units import CENTS

if TYPE_CHECKING:
    import numpy.typing as npt

    from batchcore.frames import Bools

    Column = (
        npt.NDArray[np.uint8 | np.bool_ | np.int32 | np.int64]
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
    """Return the argument of the encoder for a column; objects are `jsonb` or `json`."""
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
            kind, values = "constant", (_MOMENT.pack(column.unix_us - _EPOCH_US),)
        case Constant():
            value = column.value
            kind, values = (
                "constant",
                (value.encode() if isinstance(value, str) else bytes([value]),),
            )
        case _:
            kind, values = _of_array(column)
    return name, kind, values, getattr(column, "state", None)


def _of_array(array: npt.NDArray[Any]) -> tuple[str, tuple[Any, ...]]:
    """Return the argument of the encoder for truth values, cents, whole numbers or ids."""
    if array.dtype == np.bool_:
        return "bool", (array.view(np.uint8),)
    if array.dtype == np.int64:
        return "numeric", (array, CENTS)
    return "int4" if array.dtype == np.int32 else "uuid", (array,)


PIECE_BYTES: Final = 1 << 20
"""Bytes passed to the driver at a time."""

_MOMENT: Final = Struct(">q")  # microseconds since 2000-01-01
_EPOCH_US: Final = 946_684_800_000_000
_HEADER_BYTES: Final = 19  # without an extension
_COUNT: Final = Struct(">h")  # of the cells of a row, before the first
_LENGTH: Final = Struct(">i")  # of a cell, before it


def encoded(columns: list[Field], rows: int, cancel: _core.CancelFlag | None = None) -> list[bytes]:
    """Return the bytes of a COPY of columns; none without rows."""
    if not rows:
        return []
    return _core.encode(fields=columns, rows=rows, piece_bytes=PIECE_BYTES, cancel=cancel)


def picked(pieces: list[bytes], keep: Bools) -> list[bytes]:
    """Return some rows of a COPY as a COPY of their own, byte for byte; none without rows."""
    if not keep.any():
        return []
    whole = b"".join(pieces)
    kept, at = [whole[:_HEADER_BYTES]], _HEADER_BYTES
    for is_kept in keep.tolist():
        start, (cells,) = at, _COUNT.unpack_from(whole, at)
        at += _COUNT.size
        for _ in range(cells):
            at += _LENGTH.size + max(*_LENGTH.unpack_from(whole, at), 0)  # NULL is -1
        if is_kept:
            kept.append(whole[start:at])
    return [b"".join((*kept, whole[at:]))]


def _flat(values: npt.NDArray[Any]) -> npt.NDArray[Any]:
    return np.ascontiguousarray(values).reshape(-1)
