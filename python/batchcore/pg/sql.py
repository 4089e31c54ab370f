"""SQL from templates: names are quoted, and values are literals, since COPY takes no parameters."""

from __future__ import annotations

import datetime as dt
import uuid
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, Final

from batchcore.errors import InputError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping, Sequence

    import numpy as np
    import numpy.typing as npt

    from batchcore.config import Schema

_IN_SHARD: Final = """
('x' || encode(substr(sha256(uuid_send({id})), 1, 4), 'hex'))::bit(32)::int8 % {of} = {number} - 1
"""

_EPOCH: Final = dt.date(1970, 1, 1).toordinal()


class Sql(str):
    """A part of a statement, which templates insert unchanged."""

    __slots__ = ()


def compose(template: str, /, **holes: object) -> Sql:
    """Return a part of a statement: a template with its named holes filled.

    ``{name}`` takes `Sql`, an integer or a `Composable` such as a `Relation`, whose columns are
    ``{name.column}``; ``{name:kind}`` writes a value as a literal of a kind of `LITERALS`, None as
    NULL, and ``{name.attribute:kind}`` one of its attributes. Anything else, such as text that is
    not `Sql`, is a `TypeError`.
    """
    written = {name: _written(value) for name, value in holes.items()}
    return Sql(template.strip().format(**written))


def joined(separator: str, parts: Iterable[str]) -> Sql:
    """Return parts of a statement with a separator between them."""
    return Sql(separator.join(parts))


class Composable:
    """An object that templates format as SQL."""

    __slots__ = ()


class Relation(Composable):
    """A table of the host, for templates.

    With the alias ``p``, ``{p}`` is the table's name and the alias, ``{p.id}`` the qualified name
    of its column; without one, both have their names alone.
    """

    def __init__(self, schema: Schema, table: str, alias: str = "") -> None:
        """Take a table by its name in docs/schema.md."""
        self._schema, self._table, self._alias = schema, table, alias

    def __str__(self) -> str:
        name = table_name(self._schema, self._table)
        return f"{name} AS {self._alias}" if self._alias else name

    def __getattr__(self, column: str) -> Sql:
        """Return a column by its name in docs/schema.md."""
        if column.startswith("_"):
            raise AttributeError(column)
        name = column_name(self._schema, self._table, column)
        return Sql(f"{self._alias}.{name}" if self._alias else name)


def quote_identifier(name: str) -> Sql:
    """Return ``name`` as a quoted identifier, whatever characters it has."""
    if not name:
        raise InputError("an SQL name is empty")
    return Sql('"' + _sendable(name).replace('"', '""') + '"')


def quote_literal(text: str) -> Sql:
    r"""Return ``text`` as a string literal that means the same under any server setting.

    A text with a backslash becomes ``E'...'`` with each of them doubled, because a plain literal
    depends on ``standard_conforming_strings``.
    """
    quoted = "'" + _sendable(text).replace("'", "''") + "'"
    return Sql("E" + quoted.replace("\\", "\\\\") if "\\" in quoted else quoted)


def table_name(schema: Schema, table: str) -> Sql:
    """Return a table of docs/schema.md, or of batchcore's own, qualified and quoted."""
    return Sql(f"{quote_identifier(schema.namespace)}.{quote_identifier(schema.table(table))}")


def column_name(schema: Schema, table: str, column: str) -> Sql:
    """Return the quoted, unqualified name in the database of ``table.column`` of docs/schema.md."""
    return quote_identifier(schema.column(table, column))


def in_shard(column: Sql, number: object, of: object) -> Sql:
    """Return the condition that a uuid belongs to a shard, as `shards.in_shard`."""
    return compose(_IN_SHARD, id=column, number=number, of=of)


def text_array(texts: Iterable[str]) -> Sql:
    """Return texts as an array literal that means the same under any server setting.

    It has no type, so that ``column = ANY(...)`` compares by the type of the column: as texts,
    blanks at the end of a char(20) or the case of a citext would matter.
    """
    quoted = ",".join('"' + text.replace("\\", "\\\\").replace('"', '\\"') + '"' for text in texts)
    return quote_literal("{" + quoted + "}")


def date_literal(day: int | dt.date) -> Sql:
    """Return a date, or a day since 1970-01-01, as a literal; the last may be 10000-01-01."""
    return Sql(f"'{day if isinstance(day, dt.date) else _iso_date(day)}'::date")


def _date_array(days: Sequence[int] | npt.NDArray[np.int32]) -> str:
    listed = [int(day) for day in days]
    known = {day: _iso_date(day) for day in set(listed)}
    return "'{" + ",".join(known[day] for day in listed) + "}'::date[]"


def _uuid_array(ids: npt.NDArray[np.uint8]) -> str:
    digits = ids.tobytes().hex()  # PostgreSQL needs no hyphens
    listed = ",".join(digits[first : first + 32] for first in range(0, len(digits), 32))
    return "'{" + listed + "}'::uuid[]"


def _iso_date(day: int) -> str:
    if day + _EPOCH == dt.date.max.toordinal() + 1:
        return "10000-01-01"  # what is before it is everything up to the last
    return dt.date.fromordinal(day + _EPOCH).isoformat()


def _moment(moment: dt.datetime) -> str:
    return f"{quote_literal(moment.astimezone(dt.UTC).isoformat())}::timestamptz"


LITERALS: Final[Mapping[str, Callable[[Any], str]]] = MappingProxyType(
    {
        "name": quote_identifier,
        "integer": lambda own: str(int(own)),
        "text": quote_literal,
        "texts": text_array,
        "date": date_literal,
        "dates": _date_array,
        "uuid": lambda own: f"'{uuid.UUID(bytes=bytes(own))}'::uuid",
        "uuids": _uuid_array,
        "moment": _moment,
    }
)
"""Kinds of literals, and the functions that write them.

Days are counted since 1970-01-01, ids are 16 bytes each, and moments have a time zone.
"""


class _Literal:
    """A value that a template writes as a literal of a kind, or through its attributes."""

    __slots__ = ("_value",)

    def __init__(self, value: object) -> None:
        self._value = value

    def __getattr__(self, name: str) -> object:
        return _written(getattr(self._value, name))

    def __format__(self, kind: str) -> str:
        value = self._value
        if not kind and isinstance(value, int) and not isinstance(value, bool):
            return str(value)
        if kind not in LITERALS:
            raise TypeError(f"{value!r} is neither SQL nor a literal of kind `{kind}`")
        return "NULL" if value is None else LITERALS[kind](value)


def _written(value: object) -> object:
    """Return the argument of `str.format` for a value."""
    return value if isinstance(value, Sql | Composable) else _Literal(value)


def _sendable(text: str) -> str:
    if "\0" in text:
        raise InputError(f"{text!r} has a zero character, which PostgreSQL cannot store")
    try:
        text.encode()
    except UnicodeEncodeError as error:
        raise InputError(f"{text!r} is not valid Unicode") from error
    return text
