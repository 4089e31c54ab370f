"""Queries and what they return: binary COPY, decoded while it streams, or an ordinary SELECT."""

from __future__ import annotations

from dataclasses import dataclass
from decimal import MAX_EMAX, MAX_PREC, MIN_EMIN, Context
from fractions import Fraction
from typing import TYPE_CHECKING, Any, Final, Generic, TypeVar

import numpy as np

from batchcore import _core
from batchcore import reference as ref
from batchcore.db.catalog import Kind
from batchcore.db.sql import Sql, compose, joined, statement
from batchcore.errors import DecodeError
from batchcore.frames import Days, Decimals, Text
from batchcore.units import State

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Sequence
    from decimal import Decimal

    from batchcore.db.engine import Session

Result = TypeVar("Result")
Made_co = TypeVar("Made_co", covariant=True)

_PLAIN_DIGITS: Final = 18
"""Integers of as many digits fit 64 bits."""

_WIDE: Final = Context(prec=MAX_PREC, Emax=MAX_EMAX, Emin=MIN_EMIN)
"""In which no value is rounded."""


@dataclass(frozen=True, slots=True)
class Column:
    """A column of a query's result.

    Attributes:
        name: Its name in the frame.
        kind: How its bytes are read.
        sql: What is selected, as a template; `Sql` is taken as it is.
        scale: Decimals of a NUMERIC, and those that a FLOAT8 is rounded to.
        source: ``table.column`` of docs/schema.md that a FLOAT8 is read from.
        always_fits: Whether every finite value of a NUMERIC is representable at the scale.
        bare: Whether a date without NULLs makes an array, not `Days`.
    """

    name: str
    kind: Kind
    sql: str = ""
    scale: int = 0
    source: str = ""
    always_fits: bool = False
    bare: bool = False


@dataclass(frozen=True, slots=True)
class Query(Generic[Made_co]):
    """A SELECT, its columns, and what they make.

    Attributes:
        name: For errors and logs.
        sql: Without parameters; empty where the host has no such table, so that nothing is read.
        columns: In order.
        frame: Makes the result of the columns, by their names; of none if nothing is read.
    """

    name: str
    sql: str
    columns: tuple[Column, ...]
    frame: Callable[..., Made_co]

    def converted(self, item: Callable[[str, Column], str]) -> str:
        """Return the SELECT with each column converted by ``item``, of its name and itself."""
        names = [f"c{number}" for number in range(len(self.columns))]
        return statement(
            "SELECT {items} FROM ({query}) AS q({names})",
            items=joined(", ", map(item, names, self.columns)),
            query=Sql(self.sql),
            names=joined(", ", names),
        )


def select(
    name: str,
    frame: Callable[..., Result],
    columns: Iterable[Column],
    template: str,
    /,
    **holes: object,
) -> Query[Result]:
    """Return a query by its template, in which ``{columns}`` is the list of what is selected."""
    found = tuple(columns)
    items = (
        column.sql if isinstance(column.sql, Sql) else compose(column.sql, **holes)
        for column in found
    )
    return Query(name, compose(template, columns=joined(", ", items), **holes), found, frame)


def results(**kinds: str) -> tuple[Column, ...]:
    """Return columns by name and kind; a ``day`` is a date without NULLs that makes an array."""
    return tuple(
        Column(name, Kind.DATE if kind == "day" else Kind(kind), bare=kind == "day")
        for name, kind in kinds.items()
    )


def first_column(**columns: Any) -> Any:  # noqa: ANN401  # whatever the column is
    """Return the only column of a result."""
    (column,) = columns.values()
    return column


def as_bytes(name: str, column: Column) -> str:
    """Return a text as its bytes, for a database without an encoding.

    There the server refuses to send a text to a client of UTF-8 that is none.
    """
    if column.kind is not Kind.TEXT:
        return name
    return compose("convert_to({name}::text, 'SQL_ASCII')", name=Sql(name))


async def load(session: Session, query: Query[Result]) -> Result:
    """Return what a query brings, by a binary COPY.

    Doubles that lose decimals are counted in the session.

    Raises:
        DatabaseError: the server refused the query.
        DecodeError: its bytes are not what the query announces; it names query, column and row.
    """
    if not query.sql:
        return query.frame()
    specs = [(column.name, column.kind.value, column.scale) for column in query.columns]
    decoder = _core.Decoder(specs)
    try:
        sql = query.sql if session.has_encoding else query.converted(as_bytes)
        await session.copy_out(sql, decoder.push)
        parts = decoder.finish()
    except DecodeError as error:
        message = f"query `{query.name}`: {error}"
        raise DecodeError(message, query.name, error.column, error.row) from error
    columns = {}
    for column in query.columns:
        part = parts[column.name]
        if column.kind is Kind.FLOAT8:
            *part, lost = part
            session.rounded[column.source] += lost
        columns[column.name] = _decoded(column, part)
    return query.frame(**columns)


def _decoded(column: Column, parts: Any) -> Any:  # noqa: ANN401  # one of the column types
    match column.kind:
        case Kind.NUMERIC | Kind.FLOAT8:
            decimals = Decimals(*parts)
            # Zeros that nobody touches take no memory.
            is_null = bool((decimals.state == State.NULL).all())
            return Decimals.nulls(len(decimals), decimals.scale) if is_null else decimals
        case Kind.DATE:
            return parts[0] if column.bare else Days(*parts)
        case Kind.TEXT:
            return Text(*parts)
        case Kind.BOOL:
            return parts[0].astype(np.bool_)
        case Kind.UUID:
            return parts[0].reshape(-1, 16)
        case _:
            return parts[0]


async def load_plainly(session: Session, query: Query[Result]) -> Result:
    """Return what `load` returns, by an ordinary SELECT: nothing goes through the native decoder.

    Raises:
        DatabaseError: the server refused the query.
    """
    if not query.sql:
        return query.frame()
    rows = list(await fetch_plainly(session, query))
    cells = zip(*rows, strict=True) if rows else [()] * len(query.columns)
    columns = zip(query.columns, cells, strict=True)
    return query.frame(**{column.name: _converted(column, values) for column, values in columns})


async def fetch_plainly(session: Session, query: Query[Any]) -> Iterator[tuple[Any, ...]]:
    """Return the rows of a query by an ordinary SELECT.

    Dates are days since 1970-01-01, `reference.INFINITE_DAY` for an infinite one; doubles are
    rounded as the column says; bytes of a text that are no UTF-8 are lone surrogates.

    Raises:
        DatabaseError: the server refused the query.
    """
    if not query.sql:
        return iter(())

    def item(name: str, column: Column) -> str:
        if column.kind is Kind.DATE:
            return day_number(Sql(name))
        return name if session.has_encoding else as_bytes(name, column)

    scales = [column.scale for column in query.columns]
    rows = await session.fetch(query.converted(item))
    return (tuple(map(_plain, row, scales)) for row in rows)


def _plain(value: Any, scale: int) -> Any:  # noqa: ANN401  # a cell of any type
    if isinstance(value, float):
        return ref.from_double(value, scale)
    return value.decode("utf-8", "surrogateescape") if isinstance(value, bytes) else value


def day_number(date: Sql) -> Sql:
    """Return the expression for a date as a day since 1970-01-01, an infinite one as such."""
    return compose(
        "CASE WHEN isfinite({date}) THEN ({date} - DATE '1970-01-01')::bigint"
        " WHEN {date} IS NOT NULL THEN {infinite} END",
        date=date,
        infinite=ref.INFINITE_DAY,
    )


def _converted(column: Column, values: Sequence[Any]) -> Any:  # noqa: ANN401  # as `_decoded`
    match column.kind:
        case Kind.NUMERIC | Kind.FLOAT8:
            return as_decimals(values, column.scale)
        case Kind.DATE:
            days = np.array(values, dtype=np.int32)
            return days if column.bare else Days(days)
        case Kind.TEXT:
            return Text.of(values)
        case Kind.UUID:
            data = b"".join(value.bytes for value in values)
            return np.frombuffer(data, dtype=np.uint8).reshape(-1, 16)
        case Kind.BOOL:
            return np.array(values, dtype=np.bool_)
        case _:
            return np.array(values, dtype=np.int64)


def as_decimals(values: Sequence[Decimal | None], scale: int) -> Decimals:
    """Return decimals as a column of a scale."""
    mantissas, states = [], []
    for value in values:
        state, mantissa = State.VALUE, 0
        if value is None:
            state = State.NULL
        elif not value.is_finite():
            state = State.NON_FINITE
        else:
            # Almost all values have few digits, and no fraction of integers is needed for them.
            units = value.scaleb(scale, _WIDE)
            if units.adjusted() < _PLAIN_DIGITS and units == units.to_integral_value():
                mantissa = int(units)
            elif ref.representable(value, scale):
                mantissa = int(Fraction(value) * 10**scale)
            else:
                state = State.NOT_REPRESENTABLE
        mantissas.append(mantissa)
        states.append(state)
    return Decimals(np.array(mantissas, dtype=np.int64), scale, np.array(states, dtype=np.uint8))
