"""Rows on their way into a table: encoded, staged, and compared with what the server kept."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Final, Self

import numpy as np

from batchcore import _core
from batchcore.db.acting import acting_on
from batchcore.db.sql import column_name, quote_identifier, quote_literal, table_name
from batchcore.errors import DatabaseError

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Collection, Mapping

    import numpy.typing as npt

    from batchcore.config import Schema
    from batchcore.db.engine import Session
    from batchcore.db.fields import Field

PIECE_BYTES: Final = 1 << 20
"""Bytes handed to the driver at a time."""

TIME_STAMPS: Final = frozenset({"created_at", "updated_at"})
"""Columns that a host may set to what it likes: no figure depends on them."""

_COMPARED_AS_TEXT: Final = frozenset({"sector_exposure"})
"""Of type json, which has no equality."""


@dataclass(frozen=True, eq=False, slots=True)
class EncodedRows:
    """Rows of one table, encoded.

    Attributes:
        table: By the names of docs/schema.md.
        columns: Likewise.
        rows: How many.
        pieces: Bytes of a COPY; none without rows.
        portfolio: (rows,) int32, the portfolio of the chunk that each row is of.
    """

    table: str
    columns: tuple[str, ...]
    rows: int
    pieces: list[bytes]
    portfolio: npt.NDArray[np.int32]

    @classmethod
    def of(
        cls,
        table: str,
        fields: list[Field],
        portfolio: npt.NDArray[np.int32],
        cancel: _core.CancelFlag | None = None,
    ) -> Self:
        """Return rows encoded; fields are as long as ``portfolio``.

        Raises:
            CancelledError: `cancel` was raised.
        """
        rows = len(portfolio)
        columns = tuple(field[0] for field in fields)
        return cls(table, columns, rows, encoded(fields, rows, cancel), portfolio)

    def cut(self, kept: npt.NDArray[np.bool_]) -> EncodedRows:
        """Return the rows of some portfolios, byte for byte.

        Args:
            kept: (p,) bool, which portfolios of the chunk.
        """
        keep = kept[self.portfolio]
        rows = int(np.count_nonzero(keep))
        pieces = []
        if rows:
            pieces = _core.pick(pieces=self.pieces, keep=keep.view(np.uint8))
        return replace(self, rows=rows, pieces=pieces, portfolio=self.portfolio[keep])


def encoded(columns: list[Field], rows: int, cancel: _core.CancelFlag | None = None) -> list[bytes]:
    """Return the bytes of a COPY of columns; none without rows.

    Raises:
        CancelledError: `cancel` was raised.
    """
    if not rows:
        return []
    return _core.encode(fields=columns, rows=rows, piece_bytes=PIECE_BYTES, cancel=cancel)


@dataclass(frozen=True, eq=False, slots=True)
class Staged:
    """Rows in a temporary table, and how they are found in the table that they are for.

    Attributes:
        rows: Them.
        name: Of the temporary table.
        key: Quoted column of the table that no row found has a NULL in.
        found: Condition that the row ``own`` of the table is that of the row ``staged``.
        values: Column of docs/schema.md -> its quoted name, and the SQL of what it is to hold.
        count: How many there are to write.
        must_exist: Whether a row that is not in the table is missing.
    """

    rows: EncodedRows
    name: str
    key: str
    found: str
    values: Mapping[str, tuple[str, str]]
    count: int
    must_exist: bool = True

    def assignments(self) -> str:
        """Return the SET clause of an UPDATE."""
        return ", ".join(f"{own} = {value}" for own, value in self.values.values())

    def differs(self) -> str:
        """Return the condition that ``own`` holds something else."""
        own = ", ".join(f"own.{own}" for own, _ in self.values.values())
        return f"({own}) IS DISTINCT FROM ({', '.join(value for _, value in self.values.values())})"


async def stage(
    session: Session,
    schema: Schema,
    rows: EncodedRows,
    key: Collection[str],
    *,
    condition: str = "true",
    cleared: Collection[str] = (),
    must_exist: bool = True,
) -> Staged:
    """Copy rows into a temporary table, of the types of the host's.

    Args:
        session: In a transaction.
        schema: Names of tables and columns.
        rows: To copy.
        key: Columns by which they are found in the host's table.
        condition: What else is true of the host's rows.
        cleared: Columns that become NULL.
        must_exist: Whether a row that is not in the host's table is missing.
    """
    table, name = rows.table, f"batchcore_staged_{rows.table}"
    own = {c: column_name(schema, table, c) for c in (*rows.columns, *cleared)}
    typed = ", ".join(f"{own[c]} AS {quote_identifier(c)}" for c in rows.columns)
    await session.execute(
        f"CREATE TEMP TABLE {name} ON COMMIT DROP AS"  # noqa: S608  # quoted
        f" SELECT {typed} FROM {table_name(schema, table)} WITH NO DATA"
    )
    await session.copy_in(name, list(rows.columns), rows.pieces, namespace="pg_temp")
    same = [f"own.{own[c]} = staged.{quote_identifier(c)}" for c in key]
    values = {
        c: (own[c], f"staged.{quote_identifier(c)}")
        for c in rows.columns
        if c not in {*key, "id", "created_at"}
    }
    return Staged(
        rows=rows,
        name=f"pg_temp.{name}",
        key=own[next(iter(key))],
        found=" AND ".join([*same, condition]),
        values=values | {c: (own[c], "NULL") for c in cleared},
        count=rows.rows,
        must_exist=must_exist,
    )


async def drop(session: Session, staged: Staged) -> None:
    """Drop a temporary table: the transaction may stage the next chunk."""
    await session.execute(f"DROP TABLE {staged.name}")


async def copy_rows(
    session: Session,
    schema: Schema,
    rows: EncodedRows,
    key: Collection[str],
    *,
    condition: str,
    acting: Collection[tuple[str, str]],
) -> None:
    """Copy rows straight into their table.

    They are read back where the server counts fewer, or a trigger acts on them.

    Args:
        session: In a transaction.
        schema: Names of tables and columns.
        rows: To copy.
        key: Columns by which they are found again.
        condition: What else is true of them.
        acting: See `Catalog.acting`.

    Raises:
        DatabaseError: the server refused them, or holds something else than was sent.
    """
    names = [schema.column(rows.table, column) for column in rows.columns]
    name, namespace = schema.table(rows.table), schema.namespace
    stored = await session.copy_in(name, names, rows.pieces, namespace=namespace)
    if stored == rows.rows and (rows.table, "INSERT") not in acting:
        return
    staged = await stage(session, schema, rows, key, condition=condition)
    wrong = await _unlike(session, schema, staged)
    if wrong:
        raise await not_kept(session, schema, rows.table, wrong)
    await drop(session, staged)


async def write_staged(
    session: Session,
    schema: Schema,
    staged: Staged,
    write: Callable[[], Awaitable[int]],
    *,
    acting: Collection[tuple[str, str]],
    every: bool = True,
) -> None:
    """Write staged rows into their table, and drop the temporary one.

    They are read back where the server counts fewer, or a trigger or rule acts on them. A row that
    was not written may be changed by others until it is read back, so the rows are written twice
    before a difference counts.

    Args:
        session: In a transaction.
        schema: Names of tables and columns.
        staged: Of `stage`.
        write: Does it; returns how many rows the server counts.
        acting: See `Catalog.acting`.
        every: Whether each row is written; else only those that the table holds otherwise, so that
            their count tells nothing.

    Raises:
        DatabaseError: the server refused them, or holds something else than was sent.
    """
    table = staged.rows.table
    watched = any((table, event) in acting for event in ("INSERT", "UPDATE"))
    wrong = ""
    for _ in range(2):
        counted = await write()
        wrong = ""
        if watched or (every and counted != staged.count):
            wrong = await _unlike(session, schema, staged)
        if not wrong:
            break
    if wrong:
        raise await not_kept(session, schema, table, wrong)
    await drop(session, staged)


async def _unlike(session: Session, schema: Schema, staged: Staged) -> str:
    """Return what of the rows staged their table does not hold; empty if it holds them all."""
    changed = ", ".join(
        f"CASE WHEN {_comparable(c, f'own.{own}')} IS DISTINCT FROM {_comparable(c, value)}"
        f" THEN {quote_literal(schema.column(staged.rows.table, c))} END"
        for c, (own, value) in staged.values.items()
        if c not in TIME_STAMPS
    )
    join = "LEFT JOIN" if staged.must_exist else "JOIN"
    (row,) = await session.fetch(
        "SELECT count(*) FILTER (WHERE is_missing) AS missing,"  # noqa: S608  # quoted
        " count(*) FILTER (WHERE changed <> '') AS other,"
        " min(changed) FILTER (WHERE changed <> '') AS columns"
        f" FROM (SELECT own.{staged.key} IS NULL AS is_missing,"
        f" CASE WHEN own.{staged.key} IS NOT NULL THEN concat_ws(', ', {changed}) END AS changed"
        f" FROM {staged.name} AS staged {join} {table_name(schema, staged.rows.table)} AS own"
        f" ON {staged.found}) AS u"
    )
    rows, found = staged.count, []
    if row["missing"]:
        found.append(f"{row['missing']} of {rows} rows sent are not there")
    if row["other"]:
        found.append(f"{row['other']} of {rows} rows sent have another {row['columns']}")
    return " and ".join(found)


def _comparable(column: str, value: str) -> str:
    return f"({value})::text" if column in _COMPARED_AS_TEXT else value


async def not_kept(session: Session, schema: Schema, table: str, wrong: str) -> DatabaseError:
    """Return the error for a table that does not hold what it was sent.

    Args:
        session: To look for triggers and rules on.
        schema: Names of tables.
        table: By the names of docs/schema.md.
        wrong: What it does not hold.
    """
    found = await acting_on(session, schema, [table])
    why = f"; {', '.join(map(str, found))} acts on them" if found else ""
    return DatabaseError(f"{schema.namespace}.{schema.table(table)}: {wrong}{why}")
