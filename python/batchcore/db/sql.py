"""Names and text as SQL, for statements that take no driver parameters."""

from __future__ import annotations

import uuid
from typing import TYPE_CHECKING

from batchcore.errors import InputError

if TYPE_CHECKING:
    from batchcore.config import Schema


def quote_identifier(name: str) -> str:
    """Return ``name`` as a quoted identifier, whatever characters it has.

    Raises:
        InputError: it is empty, has a zero character or is no valid Unicode.
    """
    if not name:
        msg = "an SQL name is empty"
        raise InputError(msg)
    return '"' + _sendable(name).replace('"', '""') + '"'


def quote_literal(text: str) -> str:
    r"""Return ``text`` as a string literal that means the same under any server setting.

    A text with a backslash becomes ``E'...'`` with each of them doubled, because a plain literal
    depends on ``standard_conforming_strings``.

    Raises:
        InputError: it has a zero character or is no valid Unicode.
    """
    quoted = "'" + _sendable(text).replace("'", "''") + "'"
    return "E" + quoted.replace("\\", "\\\\") if "\\" in quoted else quoted


def table_name(schema: Schema, table: str) -> str:
    """Return ``table`` of docs/schema.md as the database knows it: qualified and quoted."""
    return f"{quote_identifier(schema.namespace)}.{quote_identifier(schema.table(table))}"


def column_name(schema: Schema, table: str, column: str) -> str:
    """Return ``table.column`` of docs/schema.md as the database knows it: quoted, unqualified."""
    return quote_identifier(schema.column(table, column))


def within(span: tuple[bytes, bytes], column: str) -> str:
    """Return the condition that ``column`` is in the span of a chunk.

    Rows beside the staged ones are none of the chunk's anyway. But without it the server, which
    knows little of a table just staged, reads the whole other table to join them.
    """
    first, last = (quote_literal(str(uuid.UUID(bytes=one))) for one in span)
    return f"{column} BETWEEN {first}::uuid AND {last}::uuid"


def _sendable(text: str) -> str:
    if "\0" in text:
        msg = f"PostgreSQL stores no zero character, which {text!r} has"
        raise InputError(msg)
    try:
        text.encode()
    except UnicodeEncodeError as error:
        msg = f"{text!r} is no valid Unicode"
        raise InputError(msg) from error
    return text
