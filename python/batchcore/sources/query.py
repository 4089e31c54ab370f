"""Queries by binary COPY, decoded while the result streams."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final, Generic, TypeVar

import numpy as np

from batchcore import _core
from batchcore.errors import DatabaseError, DecodeError
from batchcore.frames import Days, Decimals, Text
from batchcore.pg.sql import Sql, compose, joined
from batchcore.schema import Kind
from batchcore.units import State

if TYPE_CHECKING:
    from collections.abc import Callable

    from batchcore.pg.session import Session

_NOT_IN_ENCODING: Final = "22P05"

Result = TypeVar("Result")
Made_co = TypeVar("Made_co", covariant=True)


@dataclass(frozen=True, slots=True)
class Column:
    """A column of a query's result."""

    name: str
    kind: Kind  # how its bytes are read
    sql: str = ""  # the selected expression as a template; `Sql` is used unchanged
    scale: int = 0  # decimals of a NUMERIC, and those that a FLOAT8 is rounded to
    source: str = ""  # `table.column` of docs/schema.md that a FLOAT8 is read from
    always_fits: bool = False  # whether the scale holds every finite value of a NUMERIC
    bare: bool = False  # whether a date without NULLs makes an array, not `Days`


@dataclass(frozen=True, slots=True)
class Query(Generic[Made_co]):
    """A SELECT, its columns, and the function that makes its result."""

    name: str
    sql: str  # without parameters; empty where the host has no such table: nothing is read
    columns: tuple[Column, ...]
    frame: Callable[..., Made_co]  # makes the result of columns by name

    def converted(self, item: Callable[[str, Column], str]) -> str:
        """Return the SELECT with each column converted by ``item``, of its name and itself."""
        names = [f"c{number}" for number in range(len(self.columns))]
        return compose(
            "SELECT {items} FROM ({query}) AS q({names})",
            items=joined(", ", map(item, names, self.columns)),
            query=Sql(self.sql),
            names=joined(", ", names),
        )


def result_columns(columns: str) -> tuple[Column, ...]:
    """Return columns by name and kind, ``id uuid, start day``; a ``day`` is a date as an array."""
    named = (column.split() for column in columns.split(", "))
    return tuple(
        Column(name, Kind.DATE if kind == "day" else Kind(kind), bare=kind == "day")
        for name, kind in named
    )


def first_column(**columns: Any) -> Any:  # noqa: ANN401  # whatever the column is
    """Return the only column of a result."""
    (column,) = columns.values()
    return column


def first_day(day: Days) -> int | None:
    """Return the day of a result with one row, None if it is NULL."""
    return int(day.values[0]) if day.state[0] == State.VALUE else None


def as_bytes(name: str, column: Column) -> str:
    """Return a text as its bytes, for a database without an encoding.

    There the server refuses to send invalid UTF-8 as text.
    """
    if column.kind is not Kind.TEXT:
        return name
    return compose("convert_to({name}::text, 'SQL_ASCII')", name=Sql(name))


async def load(session: Session, query: Query[Result]) -> Result:
    """Return the result of a query, by a binary COPY.

    Doubles that lose decimals are counted in the session.

    Raises:
        DatabaseError: the server refused the query.
        DecodeError: its bytes do not match the declared columns; it names query, column and row.
    """
    if not query.sql:
        return query.frame()
    specs = [(column.name, column.kind.value, column.scale) for column in query.columns]
    decoder = _core.Decoder(specs)
    try:
        sql = query.sql if session.has_encoding else query.converted(as_bytes)
        await session.copy_out(sql, decoder.push)
        parts = decoder.finish()
        _require_fitting(query, parts)
    except DatabaseError as error:
        if error.sqlstate == _NOT_IN_ENCODING:
            raise _not_in_encoding(query, error) from error
        raise
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


def _not_in_encoding(query: Query[Any], error: DatabaseError) -> DatabaseError:
    """Return the error for a text with a character that the database cannot store, naming it."""
    found = bytes.fromhex("".join(re.findall("0x([0-9a-f]{2})", str(error))))
    msg = f"query `{query.name}` asks for a text with {found.decode(errors='replace')!r}: {error}"
    return DatabaseError(msg, error.sqlstate)


def _require_fitting(query: Query[Any], parts: dict[str, Any]) -> None:
    """Raise an error for decimals that the catalog excludes, as the type has changed since."""
    for column in query.columns:
        if column.kind is Kind.NUMERIC and column.always_fits:
            rows = np.flatnonzero(parts[column.name][-1] == State.NOT_REPRESENTABLE)
            if len(rows):
                msg = f"column {column.name}, row {rows[0]}: more digits than its type had"
                raise DecodeError(msg, query.name, column.name, int(rows[0]))


def _decoded(column: Column, parts: Any) -> Any:  # noqa: ANN401  # one of the column types
    match column.kind:
        case Kind.NUMERIC | Kind.FLOAT8:
            decimals = Decimals(*parts)
            # Untouched zeros take no memory.
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
