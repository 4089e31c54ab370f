"""The three indexes of revision 0002: what a host has of them, and the statements for the rest."""

from __future__ import annotations

import hashlib
import json
import re
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final

from batchcore.pg.sql import column_name, quote_identifier, quote_literal

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    import asyncpg

    from batchcore.config import Schema

MADE: Final = "batchcore: made by revision 0002"
"""Comment of an index that `migrate` made, which a downgrade drops.

Where indexes of partitions that the host had are attached to it, their names follow as JSON.
"""

_MOST_BYTES: Final = 63
_KINDS: Final = {"v": "a view", "m": "a materialized view", "f": "a foreign table"}
_PARTITIONED: Final = "p"


@dataclass(frozen=True, slots=True)
class Spec:
    """An index as batchcore wants it, by the names of docs/schema.md.

    Attributes:
        name: What it is called where `migrate` makes it.
        table: On which.
        columns: In order.
        condition: Of its rows, with columns in braces; empty for all rows.
    """

    name: str
    table: str
    columns: tuple[str, ...]
    condition: str = ""


SPECS: Final = (
    Spec(
        "idx_positions_active_complete",
        "positions",
        ("portfolio_id", "deleted_at", "exit_date", "investment_class"),
        "{deleted_at} IS NULL",
    ),
    Spec("idx_market_data_valid_prices", "market_data_cache", ("symbol", "date"), "{close} > 0"),
    Spec(
        "idx_positions_symbol_active",
        "positions",
        ("deleted_at", "symbol", "exit_date", "expiration_date"),
        "{deleted_at} IS NULL AND {symbol} IS NOT NULL AND {symbol} <> ''",
    ),
)
REPLACED: Final = Spec(
    "idx_positions_portfolio_deleted", "positions", ("portfolio_id", "deleted_at")
)
"""What the first of them makes redundant."""

_CONDITION_COLUMNS: Final = ("close", "deleted_at", "symbol")


@dataclass(frozen=True, slots=True)
class Index:
    """An index as the catalog has it.

    Attributes:
        oid: Its own.
        name: In the schema of its table.
        columns: Of its key, None for an expression.
        predicate: As the server writes it; empty for all rows.
        is_plain: Whether it is a B-tree with default operators, collations and order.
        is_valid: Whether its build came to its end.
        is_unique: Whether it keeps keys unique.
        is_bare: Whether it belongs to no constraint and includes no other columns.
        parent: The index of a partitioned table that it is attached to.
        comment: On it.
    """

    oid: int
    name: str
    columns: tuple[str | None, ...]
    predicate: str
    is_plain: bool
    is_valid: bool
    is_unique: bool
    is_bare: bool
    parent: int | None
    comment: str

    @property
    def is_made(self) -> bool:
        """Whether `migrate` made it."""
        return self.comment.startswith(MADE)

    def fits(self, schema: Schema, spec: Spec) -> bool:
        """Return whether it has the columns and the condition that are wanted."""
        return self.is_plain and fits(schema, spec, self.columns, self.predicate)


@dataclass(frozen=True, slots=True)
class Relation:
    """A table, or a partition of one, with its indexes and partitions.

    Attributes:
        namespace: Its PostgreSQL schema.
        name: In that.
        kind: As `pg_class.relkind`.
        indexes: By name.
        partitions: Of it.
    """

    namespace: str
    name: str
    kind: str
    indexes: list[Index] = field(default_factory=list)
    partitions: list[Relation] = field(default_factory=list)

    @property
    def quoted(self) -> str:
        """Its name as SQL."""
        return self.qualified(self.name)

    def qualified(self, name: str) -> str:
        """Return the name of an index on it as SQL."""
        return f"{quote_identifier(self.namespace)}.{quote_identifier(name)}"

    def index(self, name: str) -> Index | None:
        """Return the index of a name."""
        return next((one for one in self.indexes if one.name == name), None)


@dataclass(frozen=True, slots=True)
class Layout:
    """The tables that indexes are wanted on.

    Attributes:
        schema: Names of tables and columns.
        tables: Those that are there, by the names of docs/schema.md.
        names: Of `SPECS` that some relation has, whichever.
    """

    schema: Schema
    tables: Mapping[str, Relation]
    names: frozenset[str]


@dataclass(slots=True)
class Work:
    """What is to be done, and what to say of it.

    Attributes:
        statements: One after the other, outside a transaction where any is CONCURRENTLY.
        notes: A line for each index.
    """

    statements: list[str] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)


def fits(schema: Schema, spec: Spec, columns: tuple[str | None, ...], predicate: str) -> bool:
    """Return whether columns and a predicate, as the server writes it, are those wanted."""
    wanted = tuple(schema.column(spec.table, column) for column in spec.columns)
    return columns == wanted and _bare(predicate) == _bare(_condition(schema, spec))


def _bare(condition: str) -> frozenset[str]:
    """Return the parts of a condition without casts, parentheses, quotes and blanks."""
    without_casts = re.sub(r"::[a-z_. ]+", "", condition)
    return frozenset(
        re.sub(r'[\s()"]', "", part) for part in re.split(r"\bAND\b", without_casts)
    ) - {""}


IS_PLAIN: Final = """\
(SELECT m.amname = 'btree' FROM pg_catalog.pg_class AS x
        JOIN pg_catalog.pg_am AS m ON m.oid = x.relam WHERE x.oid = i.indexrelid)
    AND NOT EXISTS (SELECT FROM ROWS FROM (pg_catalog.unnest(i.indkey::int2[]),
            pg_catalog.unnest(i.indoption::int2[]), pg_catalog.unnest(i.indclass::oid[]),
            pg_catalog.unnest(i.indcollation::oid[])) AS k (attnum, direction, class, collated)
        JOIN pg_catalog.pg_opclass AS s ON s.oid = k.class
        LEFT JOIN pg_catalog.pg_attribute AS t
            ON t.attrelid = i.indrelid AND t.attnum = k.attnum
        WHERE k.direction <> 0 OR NOT s.opcdefault OR k.collated <> t.attcollation)"""
"""Whether the index `i` of `pg_index` is a B-tree of default operators, collations and order."""

COLUMNS: Final = """\
ARRAY(SELECT t.attname::text
        FROM pg_catalog.unnest(i.indkey::int2[]) WITH ORDINALITY AS k (attnum, place)
        LEFT JOIN pg_catalog.pg_attribute AS t
            ON t.attrelid = i.indrelid AND t.attnum = k.attnum AND k.attnum <> 0
        WHERE k.place <= i.indnkeyatts ORDER BY k.place)"""
"""Columns of the key of the index `i`, NULL for an expression."""

_LAYOUT: Final = """\
WITH RECURSIVE tree AS (
    SELECT c.oid, NULL::oid AS parent, w.name
    FROM (VALUES {values}) AS w (name, relname)
    JOIN pg_catalog.pg_namespace AS n ON n.nspname = {namespace}
    JOIN pg_catalog.pg_class AS c ON c.relnamespace = n.oid AND c.relname = w.relname
        AND c.relkind IN ('r', 'p', 'v', 'm', 'f')
    UNION ALL
    SELECT h.inhrelid, h.inhparent, tree.name FROM tree
    JOIN pg_catalog.pg_class AS p ON p.oid = tree.oid AND p.relkind = 'p'
    JOIN pg_catalog.pg_inherits AS h ON h.inhparent = tree.oid
)
SELECT tree.oid::int8 AS oid, tree.parent::int8 AS parent, tree.name::text AS table,
    n.nspname::text AS namespace, c.relname::text AS name, c.relkind::text AS kind,
    i.indexrelid::int8 AS index_oid, x.relname::text AS index_name,
    i.indisvalid, i.indisunique,
    i.indnatts = i.indnkeyatts AND NOT EXISTS (SELECT FROM pg_catalog.pg_constraint AS o
        WHERE o.conindid = i.indexrelid) AS is_bare,
    {is_plain} AS is_plain,
    {columns} AS columns,
    COALESCE(pg_catalog.pg_get_expr(i.indpred, i.indrelid), '') AS predicate,
    COALESCE(pg_catalog.obj_description(i.indexrelid, 'pg_class'), '') AS comment,
    h.inhparent::int8 AS index_parent
FROM tree JOIN pg_catalog.pg_class AS c ON c.oid = tree.oid
JOIN pg_catalog.pg_namespace AS n ON n.oid = c.relnamespace
LEFT JOIN pg_catalog.pg_index AS i ON i.indrelid = tree.oid AND i.indislive
LEFT JOIN pg_catalog.pg_class AS x ON x.oid = i.indexrelid
LEFT JOIN pg_catalog.pg_inherits AS h ON h.inhrelid = i.indexrelid
ORDER BY tree.parent NULLS FIRST, namespace, c.relname, x.relname"""

_NAMES: Final = """\
SELECT c.relname::text FROM pg_catalog.pg_class AS c
JOIN pg_catalog.pg_namespace AS n ON n.oid = c.relnamespace
WHERE n.nspname = $1 AND c.relname = ANY ($2::text[])"""


async def look(connection: asyncpg.Connection, schema: Schema) -> Layout:
    """Return the tables that indexes are wanted on, as they are."""
    wanted = dict.fromkeys(spec.table for spec in SPECS)
    values = ", ".join(
        f"({quote_literal(table)}, {quote_literal(schema.table(table))})" for table in wanted
    )
    sql = _LAYOUT.format(
        values=values,
        namespace=quote_literal(schema.namespace),
        is_plain=IS_PLAIN,
        columns=COLUMNS,
    )
    relations: dict[int, Relation] = {}
    parents: dict[int, int | None] = {}
    tables: dict[str, Relation] = {}
    for row in await connection.fetch(sql):
        oid, parent = row["oid"], row["parent"]
        if oid not in relations:
            relations[oid] = Relation(row["namespace"], row["name"], row["kind"])
            parents[oid] = parent
            if parent is None:
                tables[row["table"]] = relations[oid]
        if row["index_oid"] is not None:
            relations[oid].indexes.append(_index(row))
    for oid, parent in parents.items():
        if parent is not None:
            relations[parent].partitions.append(relations[oid])
    names = [name for spec in (*SPECS, REPLACED) for name in _names(spec.name)]
    found = await connection.fetch(_NAMES, schema.namespace, names)
    return Layout(schema, tables, frozenset(row[0] for row in found))


def _index(row: Mapping[str, object]) -> Index:
    return Index(
        oid=row["index_oid"],  # type: ignore[arg-type]  # columns of the statement above
        name=str(row["index_name"]),
        columns=tuple(row["columns"]),  # type: ignore[arg-type]
        predicate=str(row["predicate"]),
        is_plain=bool(row["is_plain"]),
        is_valid=bool(row["indisvalid"]),
        is_unique=bool(row["indisunique"]),
        is_bare=bool(row["is_bare"]),
        parent=row["index_parent"],  # type: ignore[arg-type]
        comment=str(row["comment"]),
    )


def built(layout: Layout, *, concurrently: bool, is_own: bool) -> Work:
    """Return what makes the three indexes where the host has none like them.

    Args:
        layout: The tables as they are; those that are not there yet are taken as plain tables.
        concurrently: Whether no writer may be locked out.
        is_own: Whether batchcore made the tables: then the index that they replace goes.
    """
    builder = _Builder(layout, concurrently=concurrently)
    for spec in SPECS:
        builder.build(spec)
    if is_own:
        builder.drop(REPLACED)
    return builder.work


def removed(layout: Layout, *, concurrently: bool, is_own: bool) -> Work:
    """Return what drops the indexes that `migrate` made, and gives the host back what it had.

    Args:
        layout: The tables as they are; those that are not there are taken as plain tables.
        concurrently: Whether no writer may be locked out.
        is_own: Whether batchcore made the tables: then all three are its own, even those that an
            earlier version has not marked, and the index that they replaced is made again.
    """
    builder = _Builder(layout, concurrently=concurrently)
    if is_own:
        builder.build(REPLACED)
    for spec in SPECS:
        builder.remove(spec, is_own=is_own)
    return builder.work


def redundant(layout: Layout) -> Iterator[tuple[str, str]]:
    """Return the host's indexes that the first of the three makes redundant, and what drops them.

    Yields:
        The name of one, and the statement.
    """
    positions = layout.tables.get(REPLACED.table)
    if positions is None:
        return
    conditions = ("", "{deleted_at} IS NULL")
    wanted = [Spec("", REPLACED.table, REPLACED.columns, condition) for condition in conditions]
    for index in positions.indexes:
        is_free = index.is_bare and not index.is_unique and index.parent is None
        if is_free and any(index.fits(layout.schema, spec) for spec in wanted):
            yield f"{positions.namespace}.{index.name}", _drop(positions, index.name)


def unmarked(layout: Layout) -> Iterator[str]:
    """Return the names of the three that are there and were not made by `migrate`, as far as known.

    A version before the marks may have made them.
    """
    for spec in SPECS:
        table = layout.tables.get(spec.table)
        index = None if table is None else table.index(spec.name)
        if table is not None and index is not None and not index.is_made:
            yield f"{table.namespace}.{spec.name}"


class _Builder:
    """Gathers statements and notes.

    Attributes:
        work: What was gathered.
    """

    def __init__(self, layout: Layout, *, concurrently: bool) -> None:
        self._layout = layout
        self._schema = layout.schema
        self._concurrently = concurrently
        self.work = Work()

    def build(self, spec: Spec) -> None:
        """Make an index, unless there is one like it."""
        schema, table = self._schema, self._table(spec)
        label = f"{table.namespace}.{table.name}"
        if table.kind in _KINDS:
            self._note(f"none on {label}, {_KINDS[table.kind]}: {spec.name}")
            return
        like = [one for one in table.indexes if one.is_valid and one.fits(schema, spec)]
        if like:
            if not any(one.is_made for one in like):
                self._note(f"take over {table.namespace}.{like[0].name} as {spec.name}")
            return
        name, standing = self._free_name(table, spec)
        self._note(f"build {table.namespace}.{name} on {label}{_parts(table)}")
        if table.kind == _PARTITIONED:
            hosts = self._build_partitioned(table, spec, name, standing)
        else:
            self._build_plain(table, spec, name, standing)
            hosts = []
        comment = f"{MADE} {json.dumps(hosts)}" if hosts else MADE
        self._add(f"COMMENT ON INDEX {table.qualified(name)} IS {quote_literal(comment)}")

    def _table(self, spec: Spec) -> Relation:
        plain = Relation(self._schema.namespace, self._schema.table(spec.table), "r")
        return self._layout.tables.get(spec.table, plain)

    def _free_name(self, table: Relation, spec: Spec) -> tuple[str, Index | None]:
        """Return a name that nothing else has, and the unfinished index that has it."""
        for name in _names(spec.name):
            standing = table.index(name)
            if standing is not None and not standing.is_valid:
                return name, standing
            if standing is None and name not in self._layout.names:
                return name, None
        return f"batchcore_{spec.name}_{_digest(table)}", None

    def _build_plain(self, table: Relation, spec: Spec, name: str, standing: Index | None) -> None:
        if standing is not None:
            self._note(f"drop {table.namespace}.{name}, left invalid by an interrupted build")
            self._add(_drop(table, name, concurrently=self._concurrently))
        self._add(self._create(table, spec, name))

    def _build_partitioned(
        self, table: Relation, spec: Spec, name: str, standing: Index | None
    ) -> list[tuple[str, str]]:
        """Make an index partition by partition, which locks nobody out.

        Returns:
            Schema and name of the host's own indexes that are attached to it.
        """
        if standing is not None and not standing.fits(self._schema, spec):
            self._add(_drop(table, name))
            standing = None
        if standing is None:
            self._add(self._create(table, spec, name, only=True))
        hosts: list[tuple[str, str]] = []
        for one in table.partitions:
            own = _name_of_partition(spec.name, one)
            attached = [index for index in one.indexes if standing and index.parent == standing.oid]
            if one.kind == _PARTITIONED:
                done = attached[0] if attached else one.index(own)
                if done is None or not done.is_valid:
                    hosts += self._build_partitioned(one, spec, done.name if done else own, done)
                use = done.name if done else own
            elif one.kind != "r":
                self._note(f"none on {one.namespace}.{one.name}, {_KINDS[one.kind]}")
                continue
            else:
                use = attached[0].name if attached else self._of_partition(one, spec, own)
                if use != own:
                    hosts.append((one.namespace, use))
            if not attached:
                self._add(
                    f"ALTER INDEX {table.qualified(name)} ATTACH PARTITION {one.qualified(use)}"
                )
        return hosts

    def _of_partition(self, one: Relation, spec: Spec, own: str) -> str:
        """Return the index of a partition that can be attached, made if there is none."""
        for index in one.indexes:
            is_free = index.is_valid and index.is_bare and index.parent is None
            if is_free and not index.is_unique and index.fits(self._schema, spec):
                return index.name
        self._build_plain(one, spec, own, one.index(own))
        return own

    def drop(self, spec: Spec) -> None:
        """Drop an index by its name, if it is there."""
        table = self._table(spec)
        if spec.name in self._layout.names and table.index(spec.name) is not None:
            self._add(_drop(table, spec.name, concurrently=self._concurrently))

    def remove(self, spec: Spec, *, is_own: bool) -> None:
        """Drop an index that `migrate` made, but not those of the host that are attached to it."""
        table = self._layout.tables.get(spec.table)
        for index in () if table is None else table.indexes:
            is_made = index.is_made and index.fits(self._schema, spec)
            if table is None or not (is_made or (is_own and index.name == spec.name)):
                continue
            copies = []
            for namespace, name in json.loads(index.comment.removeprefix(MADE).strip() or "[]"):
                one = _owner(table, namespace, name)
                if one is not None:
                    copy = f"batchcore_{_digest(one)}_{spec.table}"
                    self._add(self._create(one, spec, copy))
                    copies.append((one, copy, name))
            self._add(_drop(table, index.name, concurrently=True))
            for one, copy, name in copies:
                self._add(f"ALTER INDEX {one.qualified(copy)} RENAME TO {quote_identifier(name)}")

    def _create(self, table: Relation, spec: Spec, name: str, *, only: bool = False) -> str:
        columns = ", ".join(column_name(self._schema, spec.table, c) for c in spec.columns)
        condition = _condition(self._schema, spec)
        where = f" WHERE {condition}" if condition else ""
        how = " CONCURRENTLY" if self._concurrently and not only else ""
        return (
            f"CREATE INDEX{how} IF NOT EXISTS {quote_identifier(name)}"
            f" ON {'ONLY ' if only else ''}{table.quoted} ({columns}){where}"
        )

    def _add(self, statement: str) -> None:
        self.work.statements.append(statement)

    def _note(self, note: str) -> None:
        self.work.notes.append(note)


def _names(name: str) -> tuple[str, str]:
    return name, f"batchcore_{name}"


def _drop(table: Relation, name: str, *, concurrently: bool = True) -> str:
    # An index of a partitioned table cannot be dropped CONCURRENTLY.
    how = " CONCURRENTLY" if concurrently and table.kind != _PARTITIONED else ""
    return f"DROP INDEX{how} IF EXISTS {table.qualified(name)}"


def _condition(schema: Schema, spec: Spec) -> str:
    return spec.condition.format_map(
        {column: column_name(schema, spec.table, column) for column in _CONDITION_COLUMNS}
    )


def _name_of_partition(name: str, partition: Relation) -> str:
    """Return the name of the index of a partition: the same after an interruption."""
    own = f"{name}_{partition.name}"
    return own if len(own.encode()) <= _MOST_BYTES else f"{name}_{_digest(partition)}"


def _digest(table: Relation) -> str:
    return hashlib.sha256(table.quoted.encode()).hexdigest()[:8]


def _parts(table: Relation) -> str:
    if table.kind != _PARTITIONED:
        return ""
    return f", by partition: {_leaves(table)}"


def _leaves(table: Relation) -> int:
    return sum(_leaves(one) for one in table.partitions) if table.kind == _PARTITIONED else 1


def _owner(table: Relation, namespace: str, name: str) -> Relation | None:
    """Return the partition that has an index."""
    for one in table.partitions:
        if one.namespace == namespace and one.index(name) is not None:
            return one
        found = _owner(one, namespace, name)
        if found is not None:
            return found
    return None
