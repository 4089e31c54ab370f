"""Columns as Arrow arrays, which other libraries take by the PyCapsule interface (extra `arrow`).

polars, pandas, DuckDB, pyarrow and whatever else knows `__arrow_c_stream__` read an `ArrowTable`
itself. No amount becomes a float: decimals keep their precision and scale, in 128 bits, because
some readers misread narrower ones. What has no value is null, whatever the reason.
"""

from __future__ import annotations

import datetime as dt
import uuid
from decimal import MAX_EMAX, MAX_PREC, MIN_EMIN, Context, Decimal
from itertools import accumulate
from typing import TYPE_CHECKING, Any, Final

import numpy as np

from batchcore.errors import ConfigError, NumericError

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    import numpy.typing as npt

    Array = npt.NDArray[Any]
    Bytes = npt.NDArray[np.uint8]
    Int64 = npt.NDArray[np.int64]

INT64_DIGITS: Final = 19
"""Digits of any integer of 64 bits: the precision of decimals whose column declares none."""

MOST_DIGITS: Final = 38
"""Digits of any decimal of 128 bits."""

ArrowColumn = Any
"""A column as nanoarrow has it, a `CArray`; nanoarrow has no types."""

_EPOCH: Final = dt.date(1970, 1, 1).toordinal()
EXACT: Final = Context(prec=MAX_PREC, Emax=MAX_EMAX, Emin=MIN_EMIN)
"""Decimals of any number of digits."""


def decimals(
    values: Array, scale: int, state: Bytes | None = None, *, precision: int | None = None
) -> ArrowColumn:
    """Return exact decimals of (n,) int64 mantissas, or of (n, 16) bytes, the least one first.

    Without a ``precision`` the type has the digits that such integers may have.
    """
    narrow = values.ndim == 1
    most = INT64_DIGITS if narrow else MOST_DIGITS
    digits = min(most if precision is None else precision, MOST_DIGITS)
    stored = np.column_stack((values, values >> 63)).astype("<i8") if narrow else values
    return _column(_nanoarrow().decimal128(digits, scale), len(values), state, stored)


def dates(days: Array, state: Bytes | None = None) -> ArrowColumn:
    """Return dates of (n,) int32 days since 1970-01-01."""
    return _column(_nanoarrow().date32(), len(days), state, days)


def moments(microseconds: Array, state: Bytes | None = None) -> ArrowColumn:
    """Return moments of (n,) int64 microseconds since 1970-01-01 00:00 UTC."""
    kind = _nanoarrow().timestamp("us", "UTC")
    return _column(kind, len(microseconds), state, microseconds)


def uuids(ids: Bytes, state: Bytes | None = None) -> ArrowColumn:
    """Return UUIDs of their (n, 16) bytes."""
    na = _nanoarrow()
    kind = na.extension_type(na.fixed_size_binary(16), "arrow.uuid")
    return _column(kind, len(ids), state, ids)


def numbers(values: Array, state: Bytes | None = None) -> ArrowColumn:
    """Return (n,) whole numbers, truth values or float64, of which NaN is null: no amounts."""
    na = _nanoarrow()
    if values.dtype.kind == "b":
        return _column(na.bool_(), len(values), state, _bits(values))
    if values.dtype.kind == "f":
        state = np.isnan(values).view(np.uint8)
    return _column(getattr(na, values.dtype.name)(), len(values), state, values)


def _bits(values: Array) -> Bytes:
    return np.packbits(values, bitorder="little")


def names(codes: Array, offsets: Array, data: Bytes, state: Bytes | None = None) -> ArrowColumn:
    """Return texts as a dictionary: (n,) codes of texts in UTF-8, one after the other.

    Codes are signed, because pandas takes no others. `nanoarrow.c_array_from_buffers` leaves a
    dictionary empty, so that it is filled by itself.
    """
    na = _nanoarrow()
    from nanoarrow.c_array import CArray, CArrayBuilder  # noqa: PLC0415  # an extra
    from nanoarrow.c_buffer import c_buffer  # noqa: PLC0415  # an extra

    schema = na.c_schema(na.dictionary(na.int32(), na.string()))
    array = CArray.allocate(schema)
    builder = CArrayBuilder(array).init_from_schema(schema)
    for own, rows, buffers in (
        (CArrayBuilder(array.dictionary), len(offsets) - 1, [None, offsets.astype(np.int32), data]),
        (builder, len(codes), [_validity(state), codes.astype(np.int32)]),
    ):
        for place, buffer in enumerate(buffers):
            if buffer is not None:
                own.set_buffer(place, c_buffer(buffer), move=True)
        own.set_length(rows).set_offset(0).set_null_count(-1).resolve_null_count()
    return builder.finish()


def coded(codes: Array, known: Sequence[str], state: Bytes | None = None) -> ArrowColumn:
    """Return (n,) codes into a list of texts as a dictionary."""
    return names(codes, *_joined(known), state)


def texts(values: Sequence[str | None]) -> ArrowColumn:
    """Return texts, each by itself; None is null."""
    na, (offsets, data) = _nanoarrow(), _joined([value or "" for value in values])
    state = np.array([value is None for value in values], dtype=np.uint8)
    if int(offsets[-1]) <= np.iinfo(np.int32).max:
        return _column(na.string(), len(values), state, offsets.astype(np.int32), data)
    return _column(na.large_string(), len(values), state, offsets, data)


def of_values(values: Sequence[Any], kind: type, *, scale: int = 0) -> ArrowColumn:
    """Return texts, decimals, whole numbers, dates or UUIDs as a column; None is null.

    Of texts a dictionary is made. Decimals have the ``scale``, or more where a value has more.
    """
    state = np.array([value is None for value in values], dtype=np.uint8)
    known = [value for value in values if value is not None]
    if kind is str:
        table = {name: code for code, name in enumerate(dict.fromkeys(known))}
        codes = np.array([table.get(value, 0) for value in values], dtype=np.int32)
        return coded(codes, list(table), state)
    if kind is uuid.UUID:
        ids = b"".join(bytes(16) if value is None else value.bytes for value in values)
        return uuids(np.frombuffer(ids, dtype=np.uint8).reshape(-1, 16), state)
    if kind is dt.date:
        days = [0 if value is None else value.toordinal() - _EPOCH for value in values]
        return dates(np.array(days, dtype=np.int32), state)
    if kind is int:
        return numbers(np.array([value or 0 for value in values], dtype=np.int64), state)
    places = max([scale, *map(_places, known)])
    units = [0 if value is None else int(value.scaleb(places, EXACT)) for value in values]
    if places > MOST_DIGITS or any(abs(one) >= 10**MOST_DIGITS for one in units):
        raise NumericError(f"a decimal needs more than {MOST_DIGITS} digits")
    wide = b"".join(one.to_bytes(16, "little", signed=True) for one in units)
    return decimals(np.frombuffer(wide, dtype=np.uint8).reshape(-1, 16), places, state)


def _places(value: Decimal) -> int:
    exponent = value.as_tuple().exponent
    if not isinstance(exponent, int):
        raise NumericError(f"{value} is not a finite decimal")
    return -exponent


def _joined(values: Sequence[str]) -> tuple[Int64, Bytes]:
    encoded = [value.encode() for value in values]
    offsets = np.fromiter(accumulate(map(len, encoded), initial=0), dtype=np.int64)
    return offsets, np.frombuffer(b"".join(encoded), dtype=np.uint8)


class ArrowTable:
    """Rows that other libraries read by the Arrow PyCapsule interface, as often as they like."""

    __slots__ = ()

    def _arrow_columns(self) -> Mapping[str, ArrowColumn]:
        """Return the columns by name, all as long."""
        raise NotImplementedError

    def _arrow_table(self) -> Any:  # noqa: ANN401  # nanoarrow's
        na, columns = _nanoarrow(), self._arrow_columns()
        schema = na.struct({name: column.schema for name, column in columns.items()})
        children = list(columns.values())
        return na.c_array_from_buffers(schema, children[0].length, [None], children=children)

    def __arrow_c_schema__(self) -> object:
        """Return the types of the columns as an Arrow capsule."""
        return self._arrow_table().schema.__arrow_c_schema__()

    def __arrow_c_stream__(self, requested_schema: object = None) -> object:
        """Return the rows as an Arrow capsule.

        Args:
            requested_schema: Types that the reader would like; it casts by itself.
        """
        return _nanoarrow().c_array_stream(self._arrow_table()).__arrow_c_stream__()


def _nanoarrow() -> Any:  # noqa: ANN401  # a module without types
    try:
        import nanoarrow  # noqa: PLC0415  # an extra
    except ImportError as error:
        raise ConfigError("Arrow needs nanoarrow: install `batchcore[arrow]`") from error
    return nanoarrow


def _column(kind: Any, rows: int, state: Bytes | None, *data: Array) -> ArrowColumn:  # noqa: ANN401  # nanoarrow's
    """Return a column of a type that shares the memory of its data, null where the state says."""
    buffers = [_validity(state), *map(np.ascontiguousarray, data)]
    return _nanoarrow().c_array_from_buffers(kind, rows, buffers)


def _validity(state: Bytes | None) -> Bytes | None:
    return None if state is None or not state.any() else _bits(state == 0)
