"""Columns as Arrow arrays, which other libraries take by the PyCapsule interface (extra `arrow`).

polars, pandas, DuckDB, pyarrow and other readers of `__arrow_c_stream__` take an `ArrowTable`
directly. No amount becomes a float: decimals keep their precision and scale, in 128 bits, as some
readers misread narrower ones. A row without a value is null, whatever the reason.
"""

from __future__ import annotations

import datetime as dt
import uuid
from dataclasses import dataclass
from decimal import MAX_EMAX, MAX_PREC, MIN_EMIN, Context
from itertools import accumulate
from typing import TYPE_CHECKING, Any, Final

import numpy as np

from batchcore.errors import ConfigError, NumericError

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence
    from decimal import Decimal

    import numpy.typing as npt

    Array = npt.NDArray[Any]
    Bytes = npt.NDArray[np.uint8]
    Int64 = npt.NDArray[np.int64]

INT64_DIGITS: Final = 19
"""Digits of any integer of 64 bits: the precision of decimals whose column declares none."""

MOST_DIGITS: Final = 38
"""Digits of any decimal of 128 bits."""


_EPOCH: Final = dt.date(1970, 1, 1).toordinal()
EXACT: Final = Context(prec=MAX_PREC, Emax=MAX_EMAX, Emin=MIN_EMIN)
"""Decimals of any number of digits."""


@dataclass(frozen=True, eq=False, slots=True)
class ArrowColumn:
    """A column in the form of Arrow."""

    type: Callable[[Any], Any]  # of the module `nanoarrow`
    rows: int
    buffers: tuple[Array, ...]
    state: Bytes | None = None  # 0 where there is a value; None if every row has one
    stored: Callable[[Array], Array] | None = None  # makes the last buffer if it differs
    dictionary: tuple[Array, Bytes] | None = None  # offsets and bytes of the texts of codes


def decimals(
    values: Array, scale: int, state: Bytes | None = None, *, precision: int | None = None
) -> ArrowColumn:
    """Return exact decimals of (n,) int64 mantissas, or of (n, 16) bytes, least significant first.

    Without a ``precision`` the type has the digits that such integers may have.
    """
    narrow = values.ndim == 1
    most = INT64_DIGITS if narrow else MOST_DIGITS
    digits = min(most if precision is None else precision, MOST_DIGITS)
    stored = _widened if narrow else None
    return ArrowColumn(
        lambda na: na.decimal128(digits, scale), len(values), (values,), state, stored
    )


def _widened(values: Int64) -> Array:
    wide = np.empty((len(values), 2), dtype="<i8")
    wide[:, 0], wide[:, 1] = values, values >> 63
    return wide


def dates(days: Array, state: Bytes | None = None) -> ArrowColumn:
    """Return dates of (n,) int32 days since 1970-01-01."""
    return ArrowColumn(lambda na: na.date32(), len(days), (days,), state)


def moments(microseconds: Array, state: Bytes | None = None) -> ArrowColumn:
    """Return moments of (n,) int64 microseconds since 1970-01-01 00:00 UTC."""
    kind = "us", "UTC"
    return ArrowColumn(lambda na: na.timestamp(*kind), len(microseconds), (microseconds,), state)


def uuids(ids: Bytes, state: Bytes | None = None) -> ArrowColumn:
    """Return UUIDs of their (n, 16) bytes."""
    size, name = 16, "arrow.uuid"
    return ArrowColumn(
        lambda na: na.extension_type(na.fixed_size_binary(size), name), len(ids), (ids,), state
    )


def numbers(values: Array, state: Bytes | None = None) -> ArrowColumn:
    """Return (n,) whole numbers, truth values or float64, of which NaN is null: no amounts."""
    if values.dtype.kind == "b":
        return ArrowColumn(lambda na: na.bool_(), len(values), (values,), state, _bits)
    if values.dtype.kind == "f":
        state = np.isnan(values).view(np.uint8)
    kind = values.dtype.name
    return ArrowColumn(lambda na: getattr(na, kind)(), len(values), (values,), state)


def _bits(values: Array) -> Bytes:
    return np.packbits(values, bitorder="little")


def names(codes: Array, offsets: Array, data: Bytes, state: Bytes | None = None) -> ArrowColumn:
    """Return texts as a dictionary: (n,) codes of texts in UTF-8, one after the other.

    Codes are signed, because pandas accepts no others.
    """
    return ArrowColumn(
        lambda na: na.dictionary(na.int32(), na.string()),
        len(codes),
        (codes,),
        state,
        lambda own: own.astype(np.int32),
        (offsets, data),
    )


def coded(codes: Array, known: Sequence[str], state: Bytes | None = None) -> ArrowColumn:
    """Return (n,) codes into a list of texts as a dictionary."""
    return names(codes, *_joined(known), state)


def texts(values: Sequence[str | None]) -> ArrowColumn:
    """Return texts, each by itself; None is null."""
    state = np.array([value is None for value in values], dtype=np.uint8)
    offsets, data = _joined([value or "" for value in values])
    if int(offsets[-1]) <= np.iinfo(np.int32).max:
        narrow = offsets.astype(np.int32)
        return ArrowColumn(lambda na: na.string(), len(values), (narrow, data), state)
    return ArrowColumn(lambda na: na.large_string(), len(values), (offsets, data), state)


def of_values(values: Sequence[Any], kind: type, *, scale: int = 0) -> ArrowColumn:
    """Return texts, decimals, whole numbers, dates or UUIDs as a column; None is null.

    Texts become a dictionary. Decimals have the ``scale``, or more if a value has more.
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
    """Rows that other libraries read by the Arrow PyCapsule interface, any number of times."""

    __slots__ = ()

    def _arrow_columns(self) -> Mapping[str, ArrowColumn]:
        """Return the columns by name, all of the same length."""
        raise NotImplementedError

    def __arrow_c_schema__(self) -> object:
        """Return the types of the columns as an Arrow capsule."""
        na = _nanoarrow()
        return na.c_schema(_schema(na, self._arrow_columns())).__arrow_c_schema__()

    def __arrow_c_stream__(self, requested_schema: object = None) -> object:
        """Return the rows as an Arrow capsule.

        Args:
            requested_schema: Types that the reader prefers; it casts by itself.
        """
        na, columns = _nanoarrow(), self._arrow_columns()
        arrays = [_array(na, column) for column in columns.values()]
        rows = arrays[0].length
        table = na.c_array_from_buffers(_schema(na, columns), rows, [None], children=arrays)
        return na.c_array_stream(table).__arrow_c_stream__()


def _nanoarrow() -> Any:  # noqa: ANN401  # a module without types
    try:
        import nanoarrow  # noqa: PLC0415  # an extra
    except ImportError as error:
        raise ConfigError("Arrow needs nanoarrow: install `batchcore[arrow]`") from error
    return nanoarrow


def _schema(na: Any, columns: Mapping[str, ArrowColumn]) -> Any:  # noqa: ANN401  # nanoarrow's
    return na.struct({name: column.type(na) for name, column in columns.items()})


def _array(na: Any, column: ArrowColumn) -> Any:  # noqa: ANN401  # nanoarrow's
    """Return a column as an array that shares its memory."""
    schema, state, validity = column.type(na), column.state, None
    if state is not None and state.any():
        validity = _bits(state == 0)
    *others, last = column.buffers
    if column.stored is not None:
        last = column.stored(last)
    buffers = [validity, *others, np.ascontiguousarray(last)]
    if column.dictionary is None:
        return na.c_array_from_buffers(schema, column.rows, buffers)
    offsets, data = column.dictionary
    entries = len(offsets) - 1, [None, offsets.astype(np.int32), data]
    return _dictionary(na.c_schema(schema), entries, (column.rows, buffers))


def _dictionary(schema: Any, *parts: tuple[int, Sequence[Array | None]]) -> Any:  # noqa: ANN401  # nanoarrow's
    """Return an array of codes with its dictionary of texts.

    `nanoarrow.c_array_from_buffers` leaves a dictionary empty, so it is filled separately.
    """
    from nanoarrow.c_array import CArray, CArrayBuilder  # noqa: PLC0415  # an extra
    from nanoarrow.c_buffer import c_buffer  # noqa: PLC0415  # an extra

    array = CArray.allocate(schema)
    builder = CArrayBuilder(array).init_from_schema(schema)
    for own, (rows, buffers) in zip((CArrayBuilder(array.dictionary), builder), parts, strict=True):
        for place, buffer in enumerate(buffers):
            if buffer is not None:
                own.set_buffer(place, c_buffer(buffer), move=True)
        own.set_length(rows).set_offset(0).set_null_count(-1).resolve_null_count()
    return builder.finish()
