"""The indexes of revision 0002: those that a host has, and the statements for the rest."""

from __future__ import annotations

import hashlib
import json
import re
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final

from batchcore.pg.sql import column_name, quote_identifier, quote_literal
from batchcore.schema import INDEXES, REPLACED_INDEX, Index

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

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
class FoundIndex:
    """An index in the catalog."""

    oid: int
    name: str
    columns: Sequence[str | None]  # columns of its key, None for an expression
    predicate: str  # as the server writes it; empty for all rows
    is_plain: bool  # a B-tree with default operators, collations and order
    is_valid: bool  # its build has finished
    is_free: bool  # not unique, of no constraint, and without further columns
    parent: int | None  # oid of the index of a partitioned table that it is attached to
    comment: str

    @property
    def is_made(self) -> bool:
        """Whether `migrate` created it."""
        return self.comment.startswith(MADE)

    def fits(self, schema: Schema, index: Index) -> bool:
        """Return whether it has the wanted columns and condition."""
        return self.is_plain and fits(schema, index, self.columns, self.predicate)


@dataclass(frozen=True, slots=True)
class Relation:
    """A table, or a partition of one, with its indexes and partitions."""

    namespace: str
    name: str
    kind: str = "r"  # as `pg_class.relkind`
    virtual: frozenset[str] = frozenset()  # columns that are computed when read
    indexes: list[FoundIndex] = field(default_factory=list)
    partitions: list[Relation] = field(default_factory=list)

    @property
    def label(self) -> str:
        """Its name for people."""
        return f"{self.namespace}.{self.name}"

    @property
    def leaves(self) -> int:
        """Number of its leaf partitions; 1 for a plain table."""
        return sum(one.leaves for one in self.partitions) if self.kind == _PARTITIONED else 1

    @property
    def digest(self) -> str:
        """Its short name, for names that would be too long."""
        return hashlib.sha256(self.qualified(self.name).encode()).hexdigest()[:8]

    def qualified(self, name: str) -> str:
        """Return its name, or that of an index on it, as SQL."""
        return f"{quote_identifier(self.namespace)}.{quote_identifier(name)}"

    def index(self, name: str) -> FoundIndex | None:
        """Return the index of a name."""
        return next((one for one in self.indexes if one.name == name), None)

    def owner(self, namespace: str, name: str) -> Relation | None:
        """Return the partition that has an index."""
        for one in self.partitions:
            if one.namespace == namespace and one.index(name):
                return one
            if found := one.owner(namespace, name):
                return found
        return None


@dataclass(frozen=True, slots=True)
class Layout:
    """The tables that get indexes."""

    schema: Schema
    tables: Mapping[str, Relation]  # a missing one counts as a plain table
    names: frozenset[str]  # names of the indexes that any relation has


def fits(schema: Schema, index: Index, columns: Sequence[str | None], predicate: str) -> bool:
    """Return whether columns and a predicate, as the server writes it, are the wanted ones."""
    wanted = [schema.column(index.table, column) for column in index.columns]
    return list(columns) == wanted and _bare(predicate) == _bare(_condition(schema, index))


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
SELECT tree.oid::int8, tree.parent::int8, tree.name::text,
    n.nspname::text, c.relname::text, c.relkind::text,
    ARRAY(SELECT a.attname::text FROM pg_catalog.pg_attribute AS a
        WHERE a.attrelid = tree.oid AND a.attgenerated = 'v'),
    i.indexrelid::int8, x.relname::text, {columns},
    COALESCE(pg_catalog.pg_get_expr(i.indpred, i.indrelid), ''), {is_plain}, i.indisvalid,
    NOT i.indisunique AND i.indnatts = i.indnkeyatts AND NOT EXISTS
        (SELECT FROM pg_catalog.pg_constraint AS o WHERE o.conindid = i.indexrelid),
    h.inhparent::int8, COALESCE(pg_catalog.obj_description(i.indexrelid, 'pg_class'), '')
FROM tree JOIN pg_catalog.pg_class AS c ON c.oid = tree.oid
JOIN pg_catalog.pg_namespace AS n ON n.oid = c.relnamespace
LEFT JOIN pg_catalog.pg_index AS i ON i.indrelid = tree.oid AND i.indislive
LEFT JOIN pg_catalog.pg_class AS x ON x.oid = i.indexrelid
LEFT JOIN pg_catalog.pg_inherits AS h ON h.inhrelid = i.indexrelid
ORDER BY tree.parent NULLS FIRST, n.nspname, c.relname, x.relname"""

_NAMES: Final = """\
SELECT c.relname::text FROM pg_catalog.pg_class AS c
JOIN pg_catalog.pg_namespace AS n ON n.oid = c.relnamespace
WHERE n.nspname = $1 AND c.relname = ANY ($2::text[])"""


async def look(connection: asyncpg.Connection, schema: Schema) -> Layout:
    """Return the tables that get indexes, in their current state."""
    wanted = dict.fromkeys(index.table for index in INDEXES)
    values = ", ".join(
        f"({quote_literal(table)}, {quote_literal(schema.table(table))})" for table in wanted
    )
    sql = _LAYOUT.format(
        values=values, namespace=quote_literal(schema.namespace), is_plain=IS_PLAIN, columns=COLUMNS
    )
    relations: dict[int, Relation] = {}
    tables = {table: Relation(schema.namespace, schema.table(table)) for table in wanted}
    children: list[tuple[int, Relation]] = []
    for oid, parent, table, namespace, name, kind, virtual, *index in await connection.fetch(sql):
        relation = relations.get(oid)
        if relation is None:
            relation = relations[oid] = Relation(namespace, name, kind, frozenset(virtual))
            if parent is None:
                tables[table] = relation
            else:
                children.append((parent, relation))
        if index[0] is not None:
            relation.indexes.append(FoundIndex(*index))
    for parent, relation in children:
        relations[parent].partitions.append(relation)
    names = [name for index in (*INDEXES, REPLACED_INDEX) for name in _names(index)]
    found = await connection.fetch(_NAMES, schema.namespace, names)
    return Layout(schema, tables, frozenset(row[0] for row in found))


def redundant(layout: Layout) -> Iterator[tuple[str, str]]:
    """Yield host indexes that the first of `INDEXES` makes redundant, with DROP statements."""
    positions = layout.tables[REPLACED_INDEX.table]
    alive = Index("", REPLACED_INDEX.table, REPLACED_INDEX.columns, "{deleted_at} IS NULL")
    for one in positions.indexes:
        is_alike = any(one.fits(layout.schema, like) for like in (REPLACED_INDEX, alive))
        if one.is_free and one.parent is None and is_alike:
            yield f"{positions.namespace}.{one.name}", _drop(positions, one.name)


def unmarked(layout: Layout) -> Iterator[str]:
    """Yield the names of existing `INDEXES` without the mark of `migrate`."""
    for index in INDEXES:
        table = layout.tables[index.table]
        found = table.index(index.name)
        if found is not None and not found.is_made:
            yield f"{table.namespace}.{index.name}"


class IndexPlan:
    """Statements about indexes, outside a transaction where any is CONCURRENTLY, with notes."""

    def __init__(self, layout: Layout, *, concurrently: bool) -> None:
        self._layout = layout
        self._schema = layout.schema
        self.concurrently = concurrently
        self.statements: list[str] = []
        self.notes: list[str] = []

    def build(self, *, is_own: bool) -> None:
        """Create the indexes that the host lacks; drop those that they replace if ``is_own``."""
        for index in INDEXES:
            self._build(index)
        table = self._layout.tables[REPLACED_INDEX.table]
        if is_own and table.index(REPLACED_INDEX.name) is not None:
            drop = _drop(table, REPLACED_INDEX.name, concurrently=self.concurrently)
            self.statements.append(drop)

    def remove(self, *, is_own: bool) -> None:
        """Drop the indexes that `migrate` created, and restore those of the host.

        If ``is_own``, all are dropped, also those of earlier versions, which set no mark.
        """
        if is_own:
            self._build(REPLACED_INDEX)
        for index in INDEXES:
            self._remove(index, is_own=is_own)

    def _build(self, index: Index) -> None:
        """Create an index, unless there is one like it."""
        table = self._layout.tables[index.table]
        if table.kind in _KINDS:
            self.notes.append(f"none on {table.label}, {_KINDS[table.kind]}: {index.name}")
            return
        used = {self._schema.column(index.table, c) for c in index.all_columns}
        if virtual := sorted(used & table.virtual):  # which PostgreSQL cannot index
            of = f"whose {', '.join(virtual)} {'is' if len(virtual) == 1 else 'are'} virtual"
            self.notes.append(f"none on {table.label}, {of}: {index.name}")
            return
        like = [one for one in table.indexes if one.is_valid and one.fits(self._schema, index)]
        if like:
            if not any(one.is_made for one in like):
                self.notes.append(f"take over {table.namespace}.{like[0].name} as {index.name}")
            return
        name, existing = self._free_name(table, index)
        note, hosts = f"build {table.namespace}.{name} on {table.label}", []
        if table.kind == _PARTITIONED:
            self.notes.append(f"{note}, by partition: {table.leaves}")
            hosts = self._build_partitioned(table, index, name, existing)
        else:
            self.notes.append(note)
            self._build_plain(table, index, name, existing)
        comment = f"{MADE} {json.dumps(hosts)}" if hosts else MADE
        self.statements.append(
            f"COMMENT ON INDEX {table.qualified(name)} IS {quote_literal(comment)}"
        )

    def _free_name(self, table: Relation, index: Index) -> tuple[str, FoundIndex | None]:
        """Return an unused name, and the unfinished index that has it."""
        for name in _names(index):
            existing = table.index(name)
            if existing is not None and not existing.is_valid:
                return name, existing
            if existing is None and name not in self._layout.names:
                return name, None
        return f"batchcore_{index.name}_{table.digest}", None

    def _build_plain(
        self, table: Relation, index: Index, name: str, existing: FoundIndex | None
    ) -> None:
        if existing is not None:
            self.notes.append(
                f"drop {table.namespace}.{name}, left invalid by an interrupted build"
            )
            self.statements.append(_drop(table, name, concurrently=self.concurrently))
        self.statements.append(self._create(table, index, name))

    def _build_partitioned(
        self, table: Relation, index: Index, name: str, existing: FoundIndex | None
    ) -> list[tuple[str, str]]:
        """Create an index partition by partition, which blocks nobody.

        Return schema and name of the host's own indexes that are attached to it.
        """
        if existing is not None and not existing.fits(self._schema, index):
            self.statements.append(_drop(table, name))
            existing = None
        if existing is None:
            self.statements.append(self._create(table, index, name, only=True))
        hosts: list[tuple[str, str]] = []
        for one in table.partitions:
            if one.kind in _KINDS:
                self.notes.append(f"none on {one.label}, {_KINDS[one.kind]}")
                continue
            own = _name_of_partition(index, one)
            attached = [found for found in one.indexes if existing and found.parent == existing.oid]
            if one.kind == _PARTITIONED:
                done = attached[0] if attached else one.index(own)
                use = done.name if done else own
                if done is None or not done.is_valid:
                    hosts += self._build_partitioned(one, index, use, done)
            else:
                use = attached[0].name if attached else self._of_partition(one, index, own)
                if use != own:
                    hosts.append((one.namespace, use))
            if not attached:
                self.statements.append(
                    f"ALTER INDEX {table.qualified(name)} ATTACH PARTITION {one.qualified(use)}"
                )
        return hosts

    def _of_partition(self, one: Relation, index: Index, own: str) -> str:
        """Return the index of a partition that can be attached, creating it if there is none."""
        for found in one.indexes:
            can_attach = found.is_valid and found.is_free and found.parent is None
            if can_attach and found.fits(self._schema, index):
                return found.name
        self._build_plain(one, index, own, one.index(own))
        return own

    def _remove(self, index: Index, *, is_own: bool) -> None:
        """Drop an index that `migrate` made, but not those of the host that are attached to it."""
        table = self._layout.tables[index.table]
        for found in table.indexes:
            is_made = found.is_made and found.fits(self._schema, index)
            if not (is_made or (is_own and found.name == index.name)):
                continue
            renames = []
            for namespace, name in json.loads(found.comment.removeprefix(MADE).strip() or "[]"):
                one = table.owner(namespace, name)
                if one is not None:
                    copy = f"batchcore_{one.digest}_{index.table}"
                    self.statements.append(self._create(one, index, copy))
                    renames.append(
                        f"ALTER INDEX {one.qualified(copy)} RENAME TO {quote_identifier(name)}"
                    )
            self.statements += [_drop(table, found.name), *renames]

    def _create(self, table: Relation, index: Index, name: str, *, only: bool = False) -> str:
        columns = ", ".join(column_name(self._schema, index.table, c) for c in index.columns)
        condition = _condition(self._schema, index)
        where = f" WHERE {condition}" if condition else ""
        how = " CONCURRENTLY" if self.concurrently and not only else ""
        return (
            f"CREATE INDEX{how} IF NOT EXISTS {quote_identifier(name)}"
            f" ON {'ONLY ' if only else ''}{table.qualified(table.name)} ({columns}){where}"
        )


def _names(index: Index) -> tuple[str, str]:
    return index.name, f"batchcore_{index.name}"


def _drop(table: Relation, name: str, *, concurrently: bool = True) -> str:
    # An index of a partitioned table cannot be dropped CONCURRENTLY.
    how = " CONCURRENTLY" if concurrently and table.kind != _PARTITIONED else ""
    return f"DROP INDEX{how} IF EXISTS {table.qualified(name)}"


def _condition(schema: Schema, index: Index) -> str:
    names = {column: column_name(schema, index.table, column) for column in index.where_columns}
    return index.where.format_map(names)


def _name_of_partition(index: Index, partition: Relation) -> str:
    """Return the name of the index of a partition: the same after an interruption."""
    own = f"{index.name}_{partition.name}"
    return own if len(own.encode()) <= _MOST_BYTES else f"{index.name}_{partition.digest}"
