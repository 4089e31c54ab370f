"""Refusals of rows of a portfolio by the server, and their names."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from batchcore.pg.sql import quote_identifier
from batchcore.pg.triggers import Acting, called_in
from batchcore.schema import HOST, Use

if TYPE_CHECKING:
    from collections.abc import Iterable

    from batchcore.config import Schema
    from batchcore.errors import DatabaseError
    from batchcore.pg.session import Session

CLASSES: Final = ("22", "23", "44", "P0")
"""Classes of SQLSTATE: data, integrity constraint, check option, exception of PL/pgSQL."""

UNIQUE: Final = "23505"

MOST_CHARACTERS: Final = 200  # messages of triggers may be of any length

_FOUND_BY: Final = {
    name: table.unique
    for name, table in HOST.items()
    if table.inserts & (Use.ROWS | Use.BETAS | Use.FACTORS)
}


def is_refusal(error: DatabaseError) -> bool:
    """Return whether an error says that the server refuses a row."""
    return (error.sqlstate or "")[:2] in CLASSES


async def is_row_key_violation(session: Session, schema: Schema, error: DatabaseError) -> bool:
    """Return whether a unique violation concerns a key that rows are found by.

    Then another transaction has written the row since the look-up. A violation that names no key is
    treated the same. The session must not be in a failed transaction.
    """
    name = getattr(error.__cause__, "constraint_name", None)
    if not name:
        return True
    namespace = getattr(error.__cause__, "schema_name", None) or schema.namespace
    rows = await session.fetch(
        "SELECT a.attname::text FROM pg_index AS i JOIN pg_attribute AS a"
        " ON a.attrelid = i.indrelid AND a.attnum = ANY (i.indkey)"
        " WHERE i.indexrelid = to_regclass($1)",
        f"{quote_identifier(namespace)}.{quote_identifier(name)}",
    )
    known = [{schema.column(table, c) for c in key} for table, key in _FOUND_BY.items()]
    return {row[0] for row in rows} in known


def refusal_text(error: DatabaseError, acting: Iterable[Acting]) -> str:
    """Return the refusing object and the message, without the values of the row.

    ``acting`` are the triggers of the tables written.
    """
    cause = error.__cause__
    message = " ".join(str(getattr(cause, "message", None) or error).split())
    if len(message) > MOST_CHARACTERS:
        message = f"{message[: MOST_CHARACTERS - 1]}…"
    constraint = getattr(cause, "constraint_name", None)
    if constraint:
        return f"constraint `{constraint}`: {message}"
    called = called_in(getattr(cause, "context", None) or "", acting)
    return f"{', '.join(map(str, called))}: {message}" if called else message
