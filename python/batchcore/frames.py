"""Frozen columns and frames, which the modules of batchcore exchange.

A *column* is a NumPy array with the facts needed to read its values: a scale, a table of texts, and
a byte for each row that says why it has no value (`units.State`). A *frame* is a set of columns of
the same length. Arrays in frames are read-only. Row order never matters: rows are related by their
keys.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import Field, dataclass, fields, replace
from decimal import Decimal
from functools import cache
from itertools import compress, pairwise
from typing import TYPE_CHECKING, Any, ClassVar, Final, Self, TypeVar, dataclass_transform

import numpy as np

from batchcore import arrow
from batchcore.arrow import ArrowColumn, ArrowTable
from batchcore.errors import InputError
from batchcore.schema import HOST, Kind
from batchcore.units import CENTS, FLOW_SIGNS, Mark, State
from batchcore.values import shown

if TYPE_CHECKING:
    import numpy.typing as npt

    Which = npt.NDArray[Any] | slice
    Bools = npt.NDArray[np.bool_]
    Bytes = npt.NDArray[np.uint8]
    Floats = npt.NDArray[np.float64]
    Ids = npt.NDArray[np.uint8]
    Int32 = npt.NDArray[np.int32]
    Int64 = npt.NDArray[np.int64]
    UInt32 = npt.NDArray[np.uint32]
    UInt64 = npt.NDArray[np.uint64]


_INT32: Final = np.iinfo(np.int32)

LEFT_OUT: Final[Any] = None
"""The default of a column that its frame fills if it is left out, mostly with NULLs."""


@dataclass_transform(frozen_default=True, eq_default=False)
class Frame:
    """Columns of the same length; subclasses are frozen dataclasses."""

    __dataclass_fields__: ClassVar[dict[str, Field[Any]]]

    _shared: ClassVar[frozenset[str]] = frozenset()
    """Fields that have no value for each row."""

    _left_out: ClassVar[Mapping[str, Callable[[Any], object]]] = {}
    """Values of columns that are left out of a frame, if not NULLs."""

    _is_checked: ClassVar[bool] = True
    """Whether the columns, mappings of columns aside, must have the same length."""

    def __init_subclass__(cls, *, kw_only: bool = False, eq: bool = False) -> None:
        super().__init_subclass__()
        dataclass(frozen=True, eq=eq, kw_only=kw_only)(cls)

    def __post_init__(self) -> None:
        rows = None
        for name, kind, may_lack in self._items():
            column = getattr(self, name)
            if column is None and may_lack:
                column = self._filled(name, kind)
                object.__setattr__(self, name, column)
            if isinstance(column, np.ndarray):  # the core refuses anything else
                column.setflags(write=False)
            if column is None or name in self._shared or not self._is_checked:
                continue
            if not isinstance(column, np.ndarray | Frame) and isinstance(column, Mapping):
                continue
            rows = len(column) if rows is None else rows
            if len(column) != rows:
                path = f"{type(self).__name__.lower()}.{name}"
                raise InputError(f"column `{path}` has {len(column)} rows, expected {rows}", path)

    def __len__(self) -> int:
        """Return the number of rows."""
        return len(getattr(self, self._columns()[0]))

    def _filled(self, name: str, kind: str) -> object:
        """Return a column that was left out."""
        if name in self._left_out:
            return self._left_out[name](self)
        return _NULLS[kind](len(self)) if kind in _NULLS else None

    @classmethod
    @cache  # as a run makes hundreds of frames
    def _items(cls) -> list[tuple[str, str, bool]]:
        """Return name and type of each field, and whether it may be left out."""
        return [(item.name, str(item.type), item.default is LEFT_OUT) for item in fields(cls)]

    @classmethod
    @cache
    def _columns(cls) -> list[str]:
        return [name for name, *_ in cls._items() if name not in cls._shared]

    @classmethod
    def of_parts(cls, parts: Mapping[str, Any]) -> Self:
        """Return the frame of arrays and columns, each of these as a tuple of its attributes."""
        kinds = {name: kind for name, kind, _ in cls._items()}
        return cls(
            **{
                name: _COLUMNS[kinds[name]](*part) if isinstance(part, tuple) else part
                for name, part in parts.items()
            }
        )

    @classmethod
    def none(cls) -> Self:
        """Return a frame without rows."""
        return cls(
            **{name: _NULLS[kind](0) for name, kind, may_lack in cls._items() if not may_lack}
        )

    @classmethod
    def concat(cls, parts: Sequence[Self]) -> Self:
        """Return the rows of frames one after the other; other fields are those of the first."""
        return parts[0].with_each(lambda name: joined([getattr(part, name) for part in parts]))

    def take(self, rows: Which) -> Self:
        """Return some rows, by number, by a mask, or by a slice, which copies nothing."""
        return self.with_each(lambda name: taken(getattr(self, name), rows))

    def with_each(self, column: Callable[[str], object]) -> Self:
        """Return the frame with the column that a function makes for each name."""
        made: dict[str, Any] = {
            name: getattr(self, name) if name in self._shared else column(name)
            for name, *_ in self._items()
        }
        return type(self)(**made)


def taken(of: Any, rows: Which) -> Any:  # noqa: ANN401  # the type given
    """Return some rows of an array, a column, a frame, or a mapping of these."""
    if of is None:
        return None
    if isinstance(of, Frame):
        return of.take(rows)
    if isinstance(of, np.ndarray):
        if isinstance(rows, slice) or rows.dtype == np.bool_:  # a mask of another length raises
            return np.ascontiguousarray(of[rows])
        return of.take(rows, axis=0)  # where rows have 16 bytes, ten times as fast as an index
    return {name: taken(column, rows) for name, column in of.items()}


def joined(parts: Sequence[Any]) -> Any:  # noqa: ANN401  # the type given
    """Return arrays, columns, frames, or mappings of these, one after the other."""
    first = parts[0]
    if first is None:
        return None
    if isinstance(first, Frame):
        return type(first).concat(parts)
    if isinstance(first, np.ndarray):
        return np.concatenate(parts)
    return {name: joined([part[name] for part in parts]) for name in first}


def _null_states(rows: int) -> Bytes:
    return np.full(rows, State.NULL, dtype=np.uint8)


class Column(Frame):
    """Arrays that are one column of a frame, and whose lengths the core compares."""

    _is_checked: ClassVar = False


class Decimals(Column):
    """Exact decimals: ``value = values * 10**-scale`` where ``state`` is 0.

    Attributes:
        values: (n,) int64 mantissas; meaningless where ``state`` is not 0.
        scale: Decimals after the point, 0 to 18.
        state: (n,) uint8 of `units.State`; None at construction means all 0.
    """

    values: Int64
    scale: int
    state: Bytes = LEFT_OUT

    _shared: ClassVar = frozenset({"scale"})

    @classmethod
    def nulls(cls, rows: int, scale: int = CENTS) -> Self:
        """Return a column of NULLs."""
        return cls(np.zeros(rows, dtype=np.int64), scale, _null_states(rows))

    @classmethod
    def concat(cls, parts: Sequence[Self]) -> Self:
        """Return columns one after the other, in the largest of their scales.

        Values that do not fit 64 bits in that scale are not representable.
        """
        scale = max(part.scale for part in parts)
        return super().concat([rescaled(part, scale) for part in parts])


class WideDecimals(Column):
    """Exact decimals of any size: (n, w) uint8, integers of w bytes, little-endian, mostly 16."""

    values: Bytes
    scale: int
    state: Bytes = LEFT_OUT

    _shared: ClassVar = frozenset({"scale"})

    @classmethod
    def nulls(cls, rows: int, scale: int = 0) -> Self:
        """Return a column of NULLs, of 16 bytes each."""
        return cls(np.zeros((rows, 16), dtype=np.uint8), scale, _null_states(rows))

    def mantissas(self) -> list[int | None]:
        """Return the mantissa of each row; NULL is None."""
        raw, width = self.values.tobytes(), self.values.shape[1]
        return [
            None if state else int.from_bytes(raw[at : at + width], "little", signed=True)
            for at, state in zip(range(0, len(raw), width), self.state.tolist(), strict=True)
        ]

    def decimals(self) -> list[Decimal | None]:
        """Return the value of each row, with all its decimals; NULL is None."""
        return [
            None if one is None else Decimal(one).scaleb(-self.scale, arrow.EXACT)
            for one in self.mantissas()
        ]


class Days(Column):
    """Dates as days since 1970-01-01.

    Attributes:
        values: (n,) int32; meaningless where ``state`` is not 0.
        state: (n,) uint8 of `units.State` (an infinite date is not finite); None means all 0.
    """

    values: Int32
    state: Bytes = LEFT_OUT

    @classmethod
    def nulls(cls, rows: int) -> Self:
        """Return a column of NULLs."""
        return cls(np.zeros(rows, dtype=np.int32), _null_states(rows))


class Integers(Column):
    """Whole numbers of 32 bits, or NULL."""

    values: Int32
    state: Bytes = LEFT_OUT


class Objects(Column):
    """JSON objects whose values are exact decimals, all of which are written."""

    names: tuple[str, ...]  # (k,) ascending, without repetition
    values: Int64  # (n, k)
    scale: int
    present: Bools  # (n, k) whether an object has a name
    state: Bytes = LEFT_OUT

    _shared: ClassVar = frozenset({"names", "scale"})

    def __post_init__(self) -> None:
        if any(one >= other for one, other in pairwise(self.names)):
            raise InputError("names of objects do not ascend", "objects.names")
        super().__post_init__()


class FloatObjects(Column):
    """JSON objects whose values are binary64, by name.

    Attributes:
        names: (k,) the names that objects may have, ascending, without repetition.
        values: (n, k) float64; 0 where ``present`` is False.
        present: (n, k) bool, which names an object has.
        state: (n,) uint8 of `units.State`, 0 or NULL.
    """

    names: tuple[str, ...]
    values: Floats
    present: Bools
    state: Bytes

    _shared: ClassVar = frozenset({"names"})

    def texts(self) -> list[str | None]:
        """Return each object as JSON; NULL is None."""
        return [
            json.dumps({self.names[at]: self.values[row, at].item() for at in np.flatnonzero(own)})
            if self.state[row] == State.VALUE
            else None
            for row, own in enumerate(self.present)
        ]


class Text(Column):
    """Texts as codes into a table of distinct values.

    Attributes:
        codes: (n,) uint32 rows of the table; meaningless where ``state`` is not 0.
        offsets: (m + 1,) int64; value ``i`` is ``data[offsets[i]:offsets[i + 1]]``, UTF-8.
        data: (b,) uint8.
        state: (n,) uint8 of `units.State`; None at construction means all 0. A text that is not
            representable, because its bytes are not UTF-8, has a value for display, with a
            backslash, an x and two digits for each such byte.
    """

    codes: UInt32
    offsets: Int64
    data: Bytes
    state: Bytes = LEFT_OUT

    _shared: ClassVar = frozenset({"offsets", "data"})

    @classmethod
    def of(cls, values: Sequence[str | None]) -> Self:
        """Return the column of ``values``; None is NULL.

        Bytes that are not UTF-8 are decoded with ``surrogateescape``.
        """
        table: dict[str, int] = {}
        codes = np.zeros(len(values), dtype=np.uint32)
        state = np.zeros(len(values), dtype=np.uint8)
        for row, value in enumerate(values):
            if value is None:
                state[row] = State.NULL
                continue
            text = value if value.isascii() else shown(value)
            if text != value:
                state[row] = State.NOT_REPRESENTABLE
            codes[row] = table.setdefault(text, len(table))
        encoded = [value.encode() for value in table]
        offsets = np.zeros(len(encoded) + 1, dtype=np.int64)
        np.cumsum([len(value) for value in encoded], out=offsets[1:])
        data = np.frombuffer(b"".join(encoded), dtype=np.uint8)
        return cls(codes, offsets, data, state)

    @classmethod
    def constant(cls, value: str | None, rows: int) -> Self:
        """Return the column that has ``value`` in every row; None is NULL."""
        one = cls.of([value])
        return cls(
            np.zeros(rows, dtype=np.uint32), one.offsets, one.data, np.repeat(one.state, rows)
        )

    @classmethod
    def concat(cls, parts: Sequence[Self]) -> Self:
        """Return columns one after the other, their values in one table."""
        first, *others = parts
        if all(part.data is first.data and part.offsets is first.offsets for part in others):
            return super().concat(parts)
        codes: dict[str, int] = {}
        moved = []
        for part in parts:
            own = [codes.setdefault(value, len(codes)) for value in part.table()]
            code = np.array(own, dtype=np.uint32)[part.codes] if own else part.codes
            moved.append(replace(part, codes=code))
        table = cls.of(list(codes))
        return replace(super().concat(moved), offsets=table.offsets, data=table.data)

    def table(self) -> list[str]:
        """Return the distinct values, by code."""
        raw = self.data.tobytes()
        ends = self.offsets.tolist()
        return [raw[a:b].decode() for a, b in pairwise(ends)]

    def texts(self) -> list[str | None]:
        """Return the value of each row, for display; NULL is None."""
        codes, known = self.codes.tolist(), (self.state != State.NULL).tolist()
        raw, ends = self.data.tobytes(), self.offsets
        # a few rows may have a table of thousands
        found = {
            code: raw[ends[code] : ends[code + 1]].decode() for code in {*compress(codes, known)}
        }
        return [found[code] if here else None for code, here in zip(codes, known, strict=True)]


Scaled = TypeVar("Scaled", bound=Decimals)


def rescaled(column: Scaled, scale: int) -> Scaled:
    """Return a column with more decimals; values beyond 64 bits become not representable."""
    if column.scale == scale:
        return column
    factor = 10 ** (scale - column.scale)
    most = np.iinfo(np.int64).max // factor
    fits = (column.values >= -most) & (column.values <= most)
    lost = ~fits & (column.state == State.VALUE)
    state = np.where(lost, np.uint8(State.NOT_REPRESENTABLE), column.state)
    values = np.where(fits, column.values, 0) * factor
    return replace(column, values=values, scale=scale, state=state)


def arrow_column(column: Any, digits: int | None = None) -> ArrowColumn:  # noqa: ANN401  # any
    """Return a column of a frame, or an array, in the form of Arrow; NaN becomes null.

    Decimals have the precision of their integers unless ``digits`` are given.
    """
    match column:
        case Decimals() | WideDecimals():
            return arrow.decimals(column.values, column.scale, column.state, precision=digits)
        case Days():
            return arrow.dates(column.values, column.state)
        case Integers():
            return arrow.numbers(column.values, column.state)
        case Text():
            return arrow.names(column.codes, column.offsets, column.data, column.state)
        case FloatObjects():
            return arrow.texts(column.texts())
        case np.ndarray() if column.dtype.kind in "bfiu":
            is_id = column.ndim == 2  # noqa: PLR2004  # bytes
            return arrow.uuids(column) if is_id else arrow.numbers(column)
    raise TypeError(f"no column of a frame: {type(column).__name__}")


class ArrowFrame(Frame, ArrowTable):
    """A frame that other libraries read by the Arrow PyCapsule interface."""

    _dates: ClassVar[frozenset[str]] = frozenset()
    """Arrays of days."""

    _digits: ClassVar[Mapping[str, int]] = {}
    """Precision of decimals that columns of a table declare."""

    def _shown(self) -> dict[str, Any]:
        """Return the public columns, by name."""
        return {name: getattr(self, name) for name in self._columns()}

    def _arrow_columns(self) -> Mapping[str, ArrowColumn]:
        return {
            name: arrow.dates(column)
            if name in self._dates
            else arrow_column(column, self._digits.get(name))
            for name, column in self._shown().items()
        }


def known_states(known: Bools) -> Bytes:
    """Return the states of values, NULL where there is none."""
    return np.where(known, State.VALUE, State.NULL).astype(np.uint8)


Number = TypeVar("Number", bound=np.generic)


def distinct(values: npt.NDArray[Number]) -> npt.NDArray[Number]:
    """Return the distinct values of an array, ascending.

    `numpy.unique` does the same, but first imports masked arrays, which takes as long as the rest
    of a small run.
    """
    ordered = np.sort(values)
    new = np.ones(len(ordered), dtype=np.bool_)
    new[1:] = ordered[1:] != ordered[:-1]
    found: npt.NDArray[Number] = ordered[new]
    return found


def first_of_each(values: npt.NDArray[Number]) -> tuple[Int64, Int64]:
    """Return the first row of each distinct value, by value, and the number of its rows."""
    order = np.argsort(values, kind="stable")
    ordered = values[order]
    new = np.ones(len(ordered), dtype=np.bool_)
    new[1:] = ordered[1:] != ordered[:-1]
    starts = np.flatnonzero(new)
    return order[starts], np.diff(starts, append=len(ordered))


def among(values: npt.NDArray[Number], others: npt.NDArray[Number]) -> npt.NDArray[np.bool_]:
    """Return whether each value is among the others."""
    ordered = np.sort(others)
    if len(ordered) == 0:
        return np.zeros(len(values), dtype=np.bool_)
    row = np.minimum(np.searchsorted(ordered, values), len(ordered) - 1)
    inside: npt.NDArray[np.bool_] = ordered[row] == values
    return inside


def day_keys(owner: npt.NDArray[np.integer[Any]], day: npt.NDArray[np.integer[Any]]) -> Int64:
    """Return a key for each pair of a row, such as of a portfolio, and a day, in the same order."""
    return owner.astype(np.int64) << 32 | (day.astype(np.int64) + 2**31)


class Positions(Frame, kw_only=True):
    """Rows of `positions`, soft-deleted ones too where a policy reads them.

    Columns left out are NULL in every row (`deleted`: false).

    Attributes:
        id: (n, 16) uint8, unique.
        portfolio_id: (n, 16) uint8; rows of portfolios that `Opening` lacks are not used.
        symbol: As stored.
        position_type: LC, LP, SC, SP, LONG or SHORT.
        quantity: Signed shares or contracts.
        entry_price: Dollars.
        entry_day: First day held.
        exit_price: Dollars.
        exit_day: First day no longer held.
        expiration_day: Expiry of an option.
        investment_class: PUBLIC, OPTIONS, PRIVATE.
        market_value: Dollars, signed as stored; `rollforward` reads it for PRIVATE positions only.
        deleted: (n,) bool.
        last_price: Dollars; only `legacy` reads it.
        currency: Currency of its prices; NULL and blanks mean the portfolio's. Only `rollforward`
            reads it.
    """

    id: Ids
    portfolio_id: Ids
    symbol: Text
    position_type: Text
    quantity: Decimals
    entry_price: Decimals
    entry_day: Days
    exit_price: Decimals = LEFT_OUT
    exit_day: Days = LEFT_OUT
    expiration_day: Days = LEFT_OUT
    investment_class: Text = LEFT_OUT
    market_value: Decimals = LEFT_OUT
    deleted: Bools = LEFT_OUT
    last_price: Decimals = LEFT_OUT
    currency: Text = LEFT_OUT

    _left_out: ClassVar = {
        "exit_price": lambda self: Decimals.nulls(len(self), self.entry_price.scale),
        "market_value": lambda self: Decimals.nulls(len(self)),
        "last_price": lambda self: Decimals.nulls(len(self), self.entry_price.scale),
    }


class Events(Frame, kw_only=True):
    """Rows of `position_realized_events`.

    Attributes:
        position_id: (n, 16) uint8; under `rollforward`, rows of positions that `Positions` lacks
            are not used.
        portfolio_id: (n, 16) uint8; read by `legacy`, which uses no rows of portfolios that
            `Opening` lacks.
        day: Trade date.
        quantity: Shares or contracts closed, above 0.
        realized: Realized P&L in dollars.
    """

    position_id: Ids
    portfolio_id: Ids
    day: Days
    quantity: Decimals
    realized: Decimals


class Flows(Frame, kw_only=True):
    """Rows of `equity_changes` that are not soft-deleted.

    Attributes:
        portfolio_id: (n, 16) uint8; rows of portfolios that `Opening` lacks are not used.
        day: Date of the change.
        amount: Dollars, as stored.
        change_type: CONTRIBUTION or WITHDRAWAL.
    """

    portfolio_id: Ids
    day: Days
    amount: Decimals
    change_type: Text

    def signs(self) -> Int64:
        """Return 1 for contributions, -1 for withdrawals, 0 for unusable flows (S3, S7)."""
        of_type = [FLOW_SIGNS.get(name, 0) for name in self.change_type.table()]
        state = self.amount.state | self.day.state | self.change_type.state
        signs = np.array(of_type or [0], dtype=np.int64)[self.change_type.codes]
        return np.where(state == State.VALUE, signs, 0)


class Prices(Frame, kw_only=True):
    """Closes as stored.

    Attributes:
        symbol: As stored; no symbol has two rows of one day.
        day: Date of the close.
        close: Dollars.
    """

    symbol: Text
    day: Days
    close: Decimals


class SplitRows(Frame, kw_only=True):
    """Splits as stored: `new` shares replace `old` ones on the ex-date (C3).

    Attributes:
        symbol: As stored.
        day: The ex-date, the first day with closes of the new shares.
        new: Shares after the split.
        old: Shares before it.
        price_basis: `as_traded` or `adjusted`, see `config.Splits`.
        quantity_basis: `as_entered` or `current`.
    """

    symbol: Text
    day: Days
    new: Decimals
    old: Decimals
    price_basis: str
    quantity_basis: str

    _shared: ClassVar = frozenset({"price_basis", "quantity_basis"})


class RateRows(Frame, kw_only=True):
    """Rates between currencies as stored.

    Attributes:
        base: Currency of which the rate values one unit.
        quote: Currency of the value.
        day: Date of the rate.
        rate: Units of `quote` for one of `base`.
    """

    base: Text
    quote: Text
    day: Days
    rate: Decimals


@dataclass(frozen=True, slots=True)
class Ambiguous:
    """Dates of a symbol on which rows differ, so that none is a valid close."""

    symbol: str
    day: int  # the first of them
    detail: str


@dataclass(frozen=True, slots=True)
class NotReplaced:
    """Rows of a portfolio that were left as they are, since another writer stored them."""

    portfolio: bytes
    rows: int
    day: int  # the first of them
    detail: str  # number of rows by table


class Profiles(Frame, kw_only=True):
    """Rows of `company_profiles`.

    Attributes:
        symbol: As stored; no symbol has two rows.
        name: Of the company or fund.
        beta: On the market, as the provider has it.
        sector: As stored.
        industry: As stored.
        country: As stored.
        market_cap: Dollars.
        is_etf: (n,) bool; NULL is false.
    """

    symbol: Text
    name: Text
    beta: Decimals
    sector: Text
    industry: Text
    country: Text
    market_cap: Decimals
    is_etf: Bools


class Previous(Frame, kw_only=True):
    """Snapshots stored before the run, any number for each portfolio, in any order.

    Under `rollforward` the latest complete one before a portfolio's first session counts (S5).
    Under `legacy` each may count: the latest before a session, complete or not (L5), and complete
    ones on sessions, which stay unchanged (L3).

    Attributes:
        portfolio_id: (n, 16) uint8.
        day: (n,) int32 days since 1970-01-01.
        equity: Dollars.
        cumulative_pnl: Dollars.
        cumulative_realized_pnl: Dollars.
        cumulative_capital_flow: Dollars.
        is_complete: (n,) bool; all True if left out.
    """

    portfolio_id: Ids
    day: Int32
    equity: Decimals
    cumulative_pnl: Decimals
    cumulative_realized_pnl: Decimals
    cumulative_capital_flow: Decimals
    is_complete: Bools = LEFT_OUT

    _left_out: ClassVar = {"is_complete": lambda self: np.ones(len(self), dtype=np.bool_)}


class Opening(Frame, kw_only=True):
    """The portfolios of a run, in the order of its results, with their openings (S5).

    Columns left out are NULL in every row; without `first_day` and `last_day` every portfolio runs
    over all sessions.

    Attributes:
        portfolio_id: (n, 16) uint8, unique.
        equity: `portfolios.equity_balance`, dollars; NULL is 0.
        earliest_day: Day of the earliest complete snapshot on or after the first session; NULL
            if there is none.
        earliest_equity: Its equity, dollars.
        earliest_pnl: Its daily P&L, dollars.
        earliest_flow: Its daily capital flow, dollars.
        first_day: (n,) int32; sessions before it are not run for this portfolio.
        last_day: (n,) int32; sessions after it are not run for this portfolio.
        currency: Of its amounts, as stored.
    """

    portfolio_id: Ids
    equity: Decimals
    earliest_day: Days = LEFT_OUT
    earliest_equity: Decimals = LEFT_OUT
    earliest_pnl: Decimals = LEFT_OUT
    earliest_flow: Decimals = LEFT_OUT
    first_day: Int32 = LEFT_OUT
    last_day: Int32 = LEFT_OUT
    currency: Text = LEFT_OUT

    _left_out: ClassVar = {
        "first_day": lambda self: np.full(len(self), _INT32.min, dtype=np.int32),
        "last_day": lambda self: np.full(len(self), _INT32.max, dtype=np.int32),
    }


class Betas(Frame, kw_only=True):
    """Rows of `position_market_betas`.

    Attributes:
        position_id: (n, 16) uint8; rows of positions that `Positions` lacks are not used.
        day: `calc_date`.
        beta: On the market.
    """

    position_id: Ids
    day: Days
    beta: Decimals


class BenchmarkWeights(Frame, kw_only=True):
    """Rows of `benchmarks_sector_weights` of one benchmark; `legacy` uses only their number.

    Attributes:
        sector: As stored.
        weight: Share of the benchmark.
    """

    sector: Text
    weight: Decimals


@dataclass(frozen=True, eq=False)
class BookFrames:
    """Holdings, their partial closes, and cash in and out."""

    positions: Positions
    events: Events
    flows: Flows


@dataclass(frozen=True, eq=False)
class Inputs(BookFrames):
    """The input of `compute`; only `legacy` reads `profiles`, `betas`, `benchmark` and `cached`.

    Attributes:
        positions: Holdings.
        events: Partial closes.
        flows: Cash in and out.
        prices: Closes.
        previous: The snapshots before.
        opening: The portfolios, in order, with their openings.
        profiles: Company profiles (L32, L33).
        betas: Betas of positions (L32).
        benchmark: Weights of SP500 (L34).
        cached: Prices that replace closes of their symbol and day (L16); 0 means no price.
        rates: Rates between currencies (C6); without them all amounts are in the portfolio's. Only
            `rollforward` reads them.
        splits: Splits, if the host has a table of them; only `rollforward` reads them (C3).
    """

    prices: Prices
    previous: Previous
    opening: Opening
    profiles: Profiles | None = None
    betas: Betas | None = None
    benchmark: BenchmarkWeights | None = None
    cached: Prices | None = None
    rates: RateRows | None = None
    splits: SplitRows | None = None


class Issues(ArrowFrame, kw_only=True):
    """The issues of a run, sorted by portfolio, name, symbol, day and detail.

    Attributes:
        name: As in docs/semantics.md, such as `sign_mismatch`.
        portfolio: (n,) int32 row of `Opening`, -1 if the issue concerns no single portfolio.
        symbol: NULL if it concerns no single symbol.
        day: Session or date; NULL if it concerns no single one.
        detail: The column and value.
    """

    name: Text
    portfolio: Int32
    symbol: Text
    day: Days
    detail: Text

    @classmethod
    def of(
        cls,
        name: str | Sequence[str],
        portfolio: npt.ArrayLike,
        *,
        symbol: Sequence[str | None] | None = None,
        day: npt.ArrayLike | None = None,
        detail: Sequence[str] | str | None = "",
    ) -> Self:
        """Return issues of one name, or each of its own; symbols and days left out are NULL."""
        portfolios = np.asarray(portfolio, dtype=np.int32)
        rows = len(portfolios)
        return cls(
            name=_texts(name, rows),
            portfolio=portfolios,
            symbol=_texts(symbol, rows),
            day=Days.nulls(rows) if day is None else Days(np.asarray(day, dtype=np.int32)),
            detail=_texts(detail, rows),
        )


def _texts(values: Sequence[str | None] | str | None, rows: int) -> Text:
    if values is None or isinstance(values, str):
        return Text.constant(values, rows)
    return Text.of(values)


class Misses(ArrowFrame, kw_only=True):
    """Symbols of lots whose mark was stale, or the entry price (S4), sorted by symbol code.

    Attributes:
        symbol: As stored on positions.
        unpriced: (n,) bool, whether the entry price was used, else a stale close.
        lot_sessions: (n,) int64 lots times sessions.
        first: (n,) int32 first such session.
        last: (n,) int32 last such session.
    """

    symbol: Text
    unpriced: Bools
    lot_sessions: Int64
    first: Int32
    last: Int32

    _dates: ClassVar = frozenset({"first", "last"})


class Findings(Frame, kw_only=True):
    """The findings about the closes of a run (C1), sorted by symbol, session and name."""

    name: Text
    symbol: Text  # trimmed and upper-cased (S2)
    first: Int32  # sessions of the run that it concerns
    last: Int32
    since: Days  # day on which a lot must also be held, or NULL
    detail: Text


class HeldFindings(Frame, kw_only=True):
    """Findings whose symbol a portfolio holds on a session that they concern (C1).

    Attributes:
        name: Of the check.
        symbol: Trimmed and upper-cased (S2).
        first: (n,) int32 the first session that it concerns, which identifies it with name and
            symbol.
        detail: The figures.
        session: (n,) int32 the first session on which any portfolio holds the symbol.
        portfolios: (n,) int64 number of holders on it.
    """

    name: Text
    symbol: Text
    first: Int32
    detail: Text
    session: Int32
    portfolios: Int64

    @classmethod
    def of(cls, findings: Findings, finding: Int32, session: Int32, portfolios: Int64) -> Self:
        """Return the held findings for some rows of findings."""
        own = findings.take(finding)
        same = {name: getattr(own, name) for name in ("name", "symbol", "first", "detail")}
        return cls(**same, session=session, portfolios=portfolios)


class LegacyColumns(Frame, kw_only=True):
    """Columns of `portfolio_snapshots` that only the policy `legacy` computes, by name.

    Attributes:
        total_value: Scale 2, L23 and L25.
        portfolio_delta: Scale 2, 0 or NULL, L25 and L31; as the next three.
        portfolio_gamma: The same.
        portfolio_theta: The same.
        portfolio_vega: The same.
        beta_provider_1y: Scale 4, L32.
        sector_exposure: Weights by sector, L33.
        hhi: Scale 4, L34.
        effective_num_positions: Scale 2, L34.
        top_3_concentration: Scale 4, L34.
        top_10_concentration: Scale 4, L34.
    """

    total_value: Decimals
    portfolio_delta: Decimals
    portfolio_gamma: Decimals
    portfolio_theta: Decimals
    portfolio_vega: Decimals
    beta_provider_1y: Decimals
    sector_exposure: FloatObjects
    hhi: Decimals
    effective_num_positions: Decimals
    top_3_concentration: Decimals
    top_10_concentration: Decimals


class Contributions(Frame, kw_only=True):
    """The contributions of lots to the P&L of a range, by portfolio, then by the bytes of their id.

    Under the policy `legacy` a row is a position. Marks, their days and rates are NULL where the
    lot is not held on that day, or is PRIVATE; the day of an entry price is NULL too.
    """

    portfolio: Int32  # rows of `Opening`
    position: Int32  # rows of `Positions`
    kind: Bytes  # of `units.LotKind`
    quantity: WideDecimals  # signed
    multiplier: UInt32
    mark_before: WideDecimals  # at the beginning of the range
    day_before: Days
    status_before: Integers  # of `units.Mark`
    mark: WideDecimals  # at the end of the range
    day: Days
    status: Integers
    rate_before: WideDecimals  # value of one unit of its currency (C6)
    rate: WideDecimals
    unrealized_change: WideDecimals  # dollars; 0 on a baseline, NULL without a rate (C7)
    realized: WideDecimals
    price_effect: WideDecimals  # (C8)
    currency_effect: WideDecimals
    value: WideDecimals  # at the end of the range; NULL if not held then


class ComputedDays(Frame, kw_only=True):
    """Ascending days of portfolios with a row, over which `legacy` adds up (X7)."""

    portfolio: Int32  # rows of `Opening`, ascending
    day: Int32
    earns: Bools  # whether there was a row before it (L11)


class Rows(ArrowFrame, kw_only=True):
    """The computed rows: one for each portfolio and session, portfolios in input order.

    The rules named are those of `rollforward`; under `legacy` columns of the same name follow L15
    to L31, and days without a row are those that failed (L4) or had a complete snapshot (L3).

    Attributes:
        portfolio: (n,) int32 row of `Opening`, ascending.
        day: (n,) int32 session, ascending within a portfolio.
        equity_balance: (n,) int64, S8.
        daily_pnl: (n,) int64, S6.
        daily_realized_pnl: (n,) int64, S6.
        daily_capital_flow: (n,) int64, S7.
        daily_return: Scale 6, NULL where it is out of range, S8 and S10.
        cumulative_pnl: (n,) int64, S8.
        cumulative_realized_pnl: (n,) int64, S8.
        cumulative_capital_flow: (n,) int64, S8.
        unrealized_pnl: ``r2(U)`` of S6 in cents, not representable beyond 64 bits, NULL under
            `legacy`; no column of the table.
        long_value: (n,) int64, S9.
        short_value: (n,) int64, not above 0, S9.
        gross_exposure: (n,) int64, S9.
        net_exposure: (n,) int64, S9.
        cash_value: (n,) int64, S9.
        num_positions: (n,) int32 lots held, S9; under `legacy` active positions.
        num_long_positions: (n,) int32, S9.
        num_short_positions: (n,) int32, S9.
        marks: (n, 4) int32 public lots held by `units.Mark`, S4; under `legacy` active positions
            that are not PRIVATE, by the age of their price (L26).
        written: (p,) int32 rows of each portfolio.
        failed: (p,) bool, whether a value did not fit (S10) or a start was unusable (S5); under
            `legacy` whether any day failed.
        issues: The issues; under `legacy` one for each failed day.
        misses: Symbols without a recent enough mark.
        held: Findings of the checks of prices (C1) that concern a portfolio.
        legacy: The columns of `legacy`; None under another policy.
    """

    portfolio: Int32
    day: Int32
    equity_balance: Int64
    daily_pnl: Int64
    daily_realized_pnl: Int64
    daily_capital_flow: Int64
    daily_return: Decimals
    cumulative_pnl: Int64
    cumulative_realized_pnl: Int64
    cumulative_capital_flow: Int64
    unrealized_pnl: Decimals
    long_value: Int64
    short_value: Int64
    gross_exposure: Int64
    net_exposure: Int64
    cash_value: Int64
    num_positions: Int32
    num_long_positions: Int32
    num_short_positions: Int32
    marks: Int32
    written: Int32
    failed: Bools
    issues: Issues
    misses: Misses
    held: HeldFindings
    legacy: LegacyColumns | None = None

    _shared: ClassVar = frozenset({"written", "failed", "issues", "misses", "held"})
    _dates: ClassVar = frozenset({"day"})
    _digits: ClassVar = {
        column.name: column.sizes[0]
        for column in HOST["portfolio_snapshots"].columns
        if column.kind is Kind.NUMERIC
    }

    def _shown(self) -> dict[str, Any]:
        """Return the columns; amounts have the types of `portfolio_snapshots`."""
        columns: dict[str, Any] = {
            name: Decimals(column, CENTS) if getattr(column, "dtype", None) == np.int64 else column
            for name, column in super()._shown().items()
        }
        marks, legacy = columns.pop("marks"), columns.pop("legacy")
        columns |= {f"marks_{mark.name.lower()}": marks[:, mark] for mark in Mark}
        if legacy is not None:
            columns |= {item.name: getattr(legacy, item.name) for item in fields(legacy)}
        return columns

    @property
    def total_value(self) -> Int64:
        """(n,) int64, equal to the equity (S8); a separate column under `legacy` (L25)."""
        return self.equity_balance if self.legacy is None else self.legacy.total_value.values


class Holdings(Frame, kw_only=True):
    """Lots held on at least one of some sessions, with their values: for analytics only.

    Portfolios come in the order of `Opening`; lots of a portfolio by the bytes of their position's
    id, those of its events before the remaining one. The order of rows does not matter (S11).
    """

    portfolio: Int32  # rows of `Opening`, ascending
    position: Int32  # rows of `Positions`
    symbol: UInt32  # codes in the table of `Positions.symbol`
    kind: Bytes  # of `units.LotKind`
    value: Floats  # (l, s) dollars, signed, S9; 0 where it is not held
    held: Bools  # (l, s)


class PositionValues(Frame, kw_only=True):
    """The exact values of the open part of public positions that are held and priced on a session.

    Portfolios come in the order of `Opening`, positions of a portfolio by the bytes of their id.
    Those without a valid close since their start (S4), PRIVATE ones, and those of `issues` are
    left out.
    """

    position: Int32  # rows of `Positions`
    last_price: Decimals  # the mark, in the position's own currency and the scale of the closes
    market_value: Int64  # ``r2(mark * q * m)`` in the portfolio's currency (C6)
    unrealized_pnl: Int64  # ``r2((mark - c) * q * m)``, likewise
    issues: Issues  # `market_value_out_of_range`

    _shared: ClassVar = frozenset({"issues"})


class Constant(Frame, eq=True):
    """A column with the same value in every row."""

    value: str | bool

    _shared: ClassVar = frozenset({"value"})


class Moment(Frame):
    """A timestamptz column that has one value or NULL."""

    unix_us: int  # microseconds since 1970-01-01 00:00 UTC
    state: Bytes | None = None

    _shared: ClassVar = frozenset({"unix_us"})


class Table(Frame):
    """Rows to be written into one table of the host, by names in docs/schema.md.

    A uuid is (n, 16) uint8, and columns that are not here are NULL.
    """

    name: str
    rows: int
    columns: Mapping[str, Bytes | Bools | Decimals | Days | Integers | Text | Constant | Moment]
    portfolio: Int32 = LEFT_OUT  # rows of `Opening`; left out, all are of the first

    _shared: ClassVar = frozenset({"name", "rows"})
    _left_out: ClassVar = {"portfolio": lambda self: np.zeros(self.rows, dtype=np.int32)}

    def __len__(self) -> int:
        """Return the number of rows."""
        return self.rows

    def take(self, rows: Which) -> Self:
        """Return some rows; see `Frame.take`."""
        found = super().take(rows)
        return replace(found, rows=len(found.portfolio))

    @classmethod
    def concat(cls, parts: Sequence[Self]) -> Self:
        """Return the rows of tables of one name, one after the other."""
        found = super().concat(parts)
        return replace(found, rows=len(found.portfolio))


_COLUMNS: Final[Mapping[str, type[Column]]] = {
    kind.__name__: kind for kind in (Days, Decimals, Integers, Text, WideDecimals)
}
"""Columns by the annotations of frames."""

_NULLS: Final[Mapping[str, Callable[[int], Any]]] = {
    "Bools": lambda rows: np.zeros(rows, dtype=np.bool_),
    "Bytes": lambda rows: np.zeros(rows, dtype=np.uint8),
    "Days": Days.nulls,
    "Decimals": lambda rows: Decimals.nulls(rows, 0),
    "Floats": lambda rows: np.zeros(rows, dtype=np.float64),
    "Ids": lambda rows: np.zeros((rows, 16), dtype=np.uint8),
    "Int32": lambda rows: np.zeros(rows, dtype=np.int32),
    "Int64": lambda rows: np.zeros(rows, dtype=np.int64),
    "Text": lambda rows: Text.constant(None, rows),
    "UInt32": lambda rows: np.zeros(rows, dtype=np.uint32),
    "WideDecimals": WideDecimals.nulls,
}
"""Annotation of a column -> the function that makes NULLs; zeros where the type has no NULL."""
