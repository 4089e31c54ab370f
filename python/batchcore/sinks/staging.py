"""Rows on their way into a table: encoded, staged, and compared with what the server stored."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Final, Self

from batchcore.errors import DatabaseError
from batchcore.pg.fields import encoded, picked
from batchcore.pg.sql import Sql, column_name, compose, joined, quote_identifier, table_name
from batchcore.pg.triggers import acting_on
from batchcore.sinks.refusal_errors import is_refusal
from batchcore.words import of_rows

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping, Sequence

    from batchcore import _core
    from batchcore.config import Schema
    from batchcore.frames import Bools, Int32
    from batchcore.pg.fields import Field
    from batchcore.pg.session import Session

TIME_STAMPS: Final = frozenset({"created_at", "updated_at"})
"""Columns that a host may change freely: no figure depends on them."""

TRUE: Final = Sql("true")

FIRE_DEFERRED: Final = "SET CONSTRAINTS ALL IMMEDIATE; SET CONSTRAINTS ALL DEFERRED"
"""Fires deferred constraints and triggers; later ones are deferred, as they may span tables."""

_COMPARED_AS_TEXT: Final = frozenset({"sector_exposure"})  # of type json, which has no equality


@dataclass(frozen=True, eq=False, slots=True)
class EncodedRows:
    """Rows of one table, encoded; names are those of docs/schema.md."""

    table: str
    columns: tuple[str, ...]
    pieces: list[bytes]  # bytes of a COPY; none without rows
    portfolio: Int32  # the portfolio of the chunk that each row is of

    @classmethod
    def of(
        cls,
        table: str,
        fields: list[Field],
        portfolio: Int32,
        cancel: _core.CancelFlag | None = None,
    ) -> Self:
        """Return rows encoded; fields are as long as ``portfolio``."""
        columns = tuple(field[0] for field in fields)
        return cls(table, columns, encoded(fields, len(portfolio), cancel), portfolio)

    @property
    def rows(self) -> int:
        """The number of rows."""
        return len(self.portfolio)

    def cut(self, kept: Bools) -> EncodedRows:
        """Return the rows of some portfolios, byte for byte; ``kept`` is (p,) of the chunk's."""
        keep = kept[self.portfolio]
        return replace(self, pieces=picked(self.pieces, keep), portfolio=self.portfolio[keep])


@dataclass(frozen=True, eq=False, slots=True)
class Staged:
    """Rows in a temporary table, and how their target rows are found."""

    name: str  # of the former
    table: str  # the target table, by its name in docs/schema.md
    count: int  # number of rows to write
    must_exist: bool  # whether a row that is not in the host's table is an error
    values: Mapping[str, tuple[Sql, Sql]]  # column -> its quoted name, and its new value
    parts: Mapping[str, Sql]  # holes of statements: ``{staged}``, ``{own}``, ``{found}``, ``{key}``

    def assignments(self) -> Sql:
        """Return the SET clause of an UPDATE."""
        return joined(", ", [f"{name} = {value}" for name, value in self.values.values()])

    def differs(self) -> Sql:
        """Return the condition that ``own`` differs."""
        own = joined(", ", [f"own.{name}" for name, _ in self.values.values()])
        values = joined(", ", [value for _, value in self.values.values()])
        return compose("({own}) IS DISTINCT FROM ({values})", own=own, values=values)


# An earlier part or chunk in the same transaction may have used the name. The commit drops the
# table without a statement, which an event trigger of the host could forbid.
_CREATE: Final = """
DROP TABLE IF EXISTS pg_temp.{name};
CREATE TEMP TABLE {name} ON COMMIT DROP AS SELECT {columns} FROM {table} WITH NO DATA
"""
UPDATE: Final = "UPDATE {own} SET {assignments} FROM {staged} WHERE {found}"

_DIFFERENCES: Final = """
SELECT count(*) FILTER (WHERE is_missing) AS missing,
    count(*) FILTER (WHERE changed <> '') AS other,
    min(changed) FILTER (WHERE changed <> '') AS columns
FROM (
    SELECT {key} IS NULL AS is_missing,
        CASE WHEN {key} IS NOT NULL THEN concat_ws(', ', {changed}) END AS changed
    FROM {staged} {join} {own} ON {found}) AS u
"""
_NAME_IF_CHANGED: Final = "CASE WHEN {own} IS DISTINCT FROM {value} THEN {name:text} END"


@dataclass(frozen=True, eq=False, slots=True)
class Writer:
    """Writes the rows of a chunk into the host's tables, and checks that they are stored.

    Its methods raise `DatabaseError` if the server refuses rows or stores something else.
    """

    session: Session  # in a transaction
    schema: Schema
    span: tuple[bytes, bytes]  # first and last portfolio of the chunk, 16 bytes each
    acting: Collection[tuple[str, str]] = ()  # of `Catalog.acting`, on the tables of the chunk
    checks_deferred: bool = False  # whether it fires deferred constraints and triggers
    _written: list[tuple[Staged, Sequence[str]]] = field(default_factory=list)  # to be compared

    def within(self, table: str, column: str) -> Sql:
        """Return the condition that a row of the host is in the span of the chunk.

        Other rows do not belong to the chunk anyway. But without the condition the server, which
        has no statistics of the staged table, reads the whole host table for the join.
        """
        first, last = self.span
        own = Sql(f"own.{column_name(self.schema, table, column)}")
        template = "{own} BETWEEN {first:uuid} AND {last:uuid}"
        return compose(template, own=own, first=first, last=last)

    async def copy(self, rows: EncodedRows, key: Collection[str], *, condition: Sql = TRUE) -> None:
        """Copy rows straight into their table.

        `compare` reads them back by their ``key`` and a further ``condition`` if the server counts
        fewer, or a trigger acts on them.
        """
        schema = self.schema
        names = [schema.column(rows.table, column) for column in rows.columns]
        name, namespace = schema.table(rows.table), schema.namespace
        stored = await self.session.copy_in(name, names, rows.pieces, namespace=namespace)
        if stored != rows.rows or (rows.table, "INSERT") in self.acting:
            staged = await self.stage(rows, key, condition=condition, purpose="sent")
            self._written.append((staged, ()))

    async def stage(
        self,
        rows: EncodedRows,
        key: Collection[str],
        *,
        condition: Sql = TRUE,
        cleared: Collection[str] = (),
        must_exist: bool = True,
        purpose: str = "staged",
    ) -> Staged:
        """Copy rows into a temporary table, with the column types of the host's table.

        Rows of the host's are found by ``key`` and ``condition``; ``cleared`` become NULL there.
        """
        name, table = f"batchcore_{purpose}_{rows.table}", table_name(self.schema, rows.table)
        own = {c: column_name(self.schema, rows.table, c) for c in (*rows.columns, *cleared)}
        staged = {c: Sql(f"staged.{quote_identifier(c)}") for c in rows.columns}
        typed = joined(", ", [f"{own[c]} AS {quote_identifier(c)}" for c in rows.columns])
        try:
            await self.session.execute(compose(_CREATE, name=Sql(name), columns=typed, table=table))
        except DatabaseError as error:
            if not is_refusal(error):
                raise
            # It concerns no row.
            msg = (
                "an event trigger keeps rows from being updated, as that takes a temporary table,"
                f" which it has to let pass: {error}"
            )
            raise DatabaseError(msg) from error
        await self.session.copy_in(name, list(rows.columns), rows.pieces, namespace="pg_temp")
        values = {c: staged[c] for c in rows.columns if c not in {*key, "id", "created_at"}}
        values |= dict.fromkeys(cleared, Sql("NULL"))
        same = [f"own.{own[c]} = {staged[c]}" for c in key]
        return Staged(
            name=name,
            table=rows.table,
            count=rows.rows,
            must_exist=must_exist,
            values={c: (own[c], value) for c, value in values.items()},
            parts={
                "staged": Sql(f"pg_temp.{name} AS staged"),
                "own": Sql(f"{table} AS own"),
                "key": Sql(f"own.{own[next(iter(key))]}"),  # NULL where no row is found
                "found": joined(" AND ", [*same, condition]),
            },
        )

    async def update(self, staged: Staged, *, changed: bool = False, and_set: str = "") -> None:
        """Update the staged rows of the host; with ``changed`` only those that differ."""
        template = UPDATE + " AND {differs}" if changed else UPDATE
        assignments = joined(", ", filter(None, (staged.assignments(), and_set)))
        parts = {"assignments": assignments, "differs": staged.differs(), **staged.parts}
        await self.write(staged, [compose(template, **parts)], every=not changed)

    async def write(self, staged: Staged, statements: Sequence[str], *, every: bool = True) -> None:
        """Write staged rows into their table by some statements.

        `compare` reads them back if the server counts fewer, or a trigger or rule acts on them; for
        portfolios, which are few, also one on another table of the chunk. Without ``every``, only
        rows that differ are written, so that their count means nothing.
        """
        counted = sum([await self.session.execute(one) for one in statements])
        events = [(staged.table, event) for event in ("INSERT", "UPDATE")]
        watched = self.acting if staged.table == "portfolios" else {*events} & {*self.acting}
        if watched or (every and counted != staged.count):
            self._written.append((staged, statements))

    async def compare(self) -> None:
        """Compare what was written with what the tables hold at the end.

        Triggers may change rows written earlier. Others may change a row that was not written until
        it is read back, so staged rows are written a second time before a difference counts.
        """
        again = bool(self._written)
        for is_last in (False, True):
            if not again:
                break
            if self.checks_deferred:
                await self.session.execute(FIRE_DEFERRED)
            again = False
            for staged, statements in self._written:
                wrong = await self._differences_of(staged)
                if wrong and (is_last or not statements):
                    tables = [one.table for one, _ in self._written]
                    raise await not_stored_error(
                        self.session, self.schema, staged.table, wrong, tables
                    )
                for one in statements if wrong else ():
                    await self.session.execute(one)
                    again = True

    async def _differences_of(self, staged: Staged) -> str:
        """Return the staged rows that their table lacks; empty if it has them all."""
        changed = []
        for c, (own, value) in staged.values.items():
            if c not in TIME_STAMPS:
                both = {"own": _comparable(c, f"own.{own}"), "value": _comparable(c, value)}
                name = self.schema.column(staged.table, c)
                changed.append(compose(_NAME_IF_CHANGED, name=name, **both))
        join = Sql("LEFT JOIN" if staged.must_exist else "JOIN")
        unlike = compose(_DIFFERENCES, changed=joined(", ", changed), join=join, **staged.parts)
        (row,) = await self.session.fetch(unlike)
        rows, found = staged.count, []
        if row["missing"]:
            found.append(of_rows(row["missing"], rows, "is missing", "are missing"))
        if row["other"]:
            unequal = of_rows(row["other"], rows, "differs", "differ")
            found.append(f"{unequal} in {row['columns']}")
        return " and ".join(found)


def _comparable(column: str, value: str) -> Sql:
    return Sql(f"({value})::text" if column in _COMPARED_AS_TEXT else value)


async def not_stored_error(
    session: Session, schema: Schema, table: str, wrong: str, others: Sequence[str] = ()
) -> DatabaseError:
    """Return the error for a table that does not hold the rows sent; ``wrong`` names them.

    If nothing acts on the table itself, triggers of the ``others`` written with it may have changed
    it.
    """
    found = await acting_on(session, schema, [table])
    if not found and others:
        found = await acting_on(session, schema, others)
    why = f"; {', '.join(map(str, found))} acts on them" if found else ""
    return DatabaseError(f"{schema.namespace}.{schema.table(table)}: {wrong}{why}")
