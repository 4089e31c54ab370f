"""Rows on their way into a table: encoded, staged, and compared with what the server kept."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Final, Self

import numpy as np

from batchcore import _core
from batchcore.db.acting import acting_on
from batchcore.db.fields import encoded
from batchcore.db.sql import (
    Sql,
    column_name,
    compose,
    joined,
    quote_identifier,
    statement,
    table_name,
)
from batchcore.errors import DatabaseError

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Mapping

    import numpy.typing as npt

    from batchcore.config import Schema
    from batchcore.db.engine import Session
    from batchcore.db.fields import Field

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


@dataclass(frozen=True, eq=False, slots=True)
class Staged:
    """Rows in a temporary table, and how they are found in the table that they are for.

    Attributes:
        rows: Them.
        count: How many there are to write.
        must_exist: Whether a row that is not in the host's table is missing.
        values: Column of docs/schema.md -> its quoted name, and the SQL of what it is to hold.
        parts: Holes of statements: ``{staged}`` and ``{own}`` are the two tables with the same
            aliases, ``{found}`` the condition that a row is the other, ``{key}`` a column of
            ``own`` that no row found has a NULL in.
    """

    rows: EncodedRows
    count: int
    must_exist: bool
    values: Mapping[str, tuple[Sql, Sql]]
    parts: Mapping[str, Sql]

    def assignments(self) -> Sql:
        """Return the SET clause of an UPDATE."""
        return joined(", ", [f"{name} = {value}" for name, value in self.values.values()])

    def differs(self) -> Sql:
        """Return the condition that ``own`` holds something else."""
        names, values = zip(*self.values.values(), strict=True)
        return compose(
            "({own}) IS DISTINCT FROM ({values})",
            own=joined(", ", [f"own.{name}" for name in names]),
            values=joined(", ", values),
        )


_CREATE: Final = """
CREATE TEMP TABLE {name} ON COMMIT DROP AS SELECT {columns} FROM {table} WITH NO DATA
"""


async def stage(
    session: Session,
    schema: Schema,
    rows: EncodedRows,
    key: Collection[str],
    *,
    condition: Sql = Sql("true"),  # noqa: B008  # frozen
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
    name, table = f"batchcore_staged_{rows.table}", table_name(schema, rows.table)
    own = {c: column_name(schema, rows.table, c) for c in (*rows.columns, *cleared)}
    staged = {c: Sql(f"staged.{quote_identifier(c)}") for c in rows.columns}
    typed = joined(", ", [f"{own[c]} AS {quote_identifier(c)}" for c in rows.columns])
    await session.execute(statement(_CREATE, name=Sql(name), columns=typed, table=table))
    await session.copy_in(name, list(rows.columns), rows.pieces, namespace="pg_temp")
    written = [c for c in rows.columns if c not in {*key, "id", "created_at"}]
    same = [f"own.{own[c]} = {staged[c]}" for c in key]
    return Staged(
        rows=rows,
        count=rows.rows,
        must_exist=must_exist,
        values={c: (own[c], staged[c]) for c in written}
        | {c: (own[c], Sql("NULL")) for c in cleared},
        parts={
            "staged": Sql(f"pg_temp.{name} AS staged"),
            "own": Sql(f"{table} AS own"),
            "key": Sql(f"own.{own[next(iter(key))]}"),
            "found": joined(" AND ", [*same, condition]),
        },
    )


async def drop(session: Session, staged: Staged) -> None:
    """Drop a temporary table: the transaction may stage the next chunk."""
    await session.execute(f"DROP TABLE pg_temp.batchcore_staged_{staged.rows.table}")


async def copy_rows(
    session: Session,
    schema: Schema,
    rows: EncodedRows,
    key: Collection[str],
    *,
    condition: Sql = Sql("true"),  # noqa: B008
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
    statements: Iterable[str],
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
        statements: They do it together.
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
        counted = sum([await session.execute(one) for one in statements])
        wrong = ""
        if watched or (every and counted != staged.count):
            wrong = await _unlike(session, schema, staged)
        if not wrong:
            break
    if wrong:
        raise await not_kept(session, schema, table, wrong)
    await drop(session, staged)


UPDATE: Final = "UPDATE {own} SET {assignments} FROM {staged} WHERE {found}"

_UPDATE_CHANGED: Final = UPDATE + " AND {differs}"


async def update_rows(
    session: Session,
    schema: Schema,
    staged: Staged,
    acting: Collection[tuple[str, str]],
    *,
    changed: bool = False,
    and_set: str = "",
) -> None:
    """Update the host's rows that are staged, and drop the temporary table, see `write_staged`.

    Args:
        session: In a transaction.
        schema: Names of tables and columns.
        staged: Of `stage`.
        acting: See `Catalog.acting`.
        changed: Whether only those are touched that hold something else.
        and_set: What else is set in them.
    """
    update = statement(
        _UPDATE_CHANGED if changed else UPDATE,
        assignments=joined(", ", filter(None, (staged.assignments(), and_set))),
        differs=staged.differs(),
        **staged.parts,
    )
    await write_staged(session, schema, staged, [update], acting=acting, every=not changed)


_UNLIKE: Final = """
SELECT count(*) FILTER (WHERE is_missing) AS missing,
    count(*) FILTER (WHERE changed <> '') AS other,
    min(changed) FILTER (WHERE changed <> '') AS columns
FROM (
    SELECT {key} IS NULL AS is_missing,
        CASE WHEN {key} IS NOT NULL THEN concat_ws(', ', {changed}) END AS changed
    FROM {staged} {join} {own} ON {found}) AS u
"""
_NAME_IF_CHANGED: Final = "CASE WHEN {own} IS DISTINCT FROM {value} THEN {name:text} END"


async def _unlike(session: Session, schema: Schema, staged: Staged) -> str:
    """Return what of the rows staged their table does not hold; empty if it holds them all."""
    table = staged.rows.table
    changed = [
        compose(
            _NAME_IF_CHANGED,
            own=_comparable(c, f"own.{own}"),
            value=_comparable(c, value),
            name=schema.column(table, c),
        )
        for c, (own, value) in staged.values.items()
        if c not in TIME_STAMPS
    ]
    unlike = statement(
        _UNLIKE,
        changed=joined(", ", changed),
        join=Sql("LEFT JOIN" if staged.must_exist else "JOIN"),
        **staged.parts,
    )
    (row,) = await session.fetch(unlike)
    rows, found = staged.count, []
    if row["missing"]:
        found.append(f"{row['missing']} of {rows} rows sent are not there")
    if row["other"]:
        found.append(f"{row['other']} of {rows} rows sent have another {row['columns']}")
    return " and ".join(found)


def _comparable(column: str, value: str) -> Sql:
    return Sql(f"({value})::text" if column in _COMPARED_AS_TEXT else value)


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
