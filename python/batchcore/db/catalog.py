"""The tables of a database, by one query on the catalog."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Final

from batchcore.db.indexes import COLUMNS, IS_PLAIN, fits
from batchcore.errors import SchemaError
from batchcore.pg.borrowed import check_namespace
from batchcore.pg.session import Session
from batchcore.pg.sql import Sql, quote_literal, table_name
from batchcore.pg.triggers import acting_sql
from batchcore.schema import HOST, INDEXES, OWN, TOKENS, VERSION_TABLE, WHOLE, Index, Kind, Use
from batchcore.units import MAX_SCALE

if TYPE_CHECKING:
    import asyncpg

    from batchcore.config import Schema

Keys = Mapping[str, set[tuple[str, ...]]]
"""Table of docs/schema.md -> columns in the database that are unique together."""

_HEADER_BYTES: Final = 4

_KINDS: Final = {kind.value: kind for kind in Kind} | dict.fromkeys(
    ("varchar", "bpchar", "name", "enum"), Kind.TEXT
)


@dataclass(frozen=True)
class ColumnType:
    """A column in the catalog, with the privileges of the current role."""

    name: str  # in the database
    kind: Kind  # of the base type for a domain; `TEXT` for an enum
    declared: str  # as PostgreSQL writes it, such as `numeric(12,4)`
    precision: int | None = None  # of a NUMERIC that declares one
    scale: int | None = None  # likewise; may be negative
    is_enum: bool = False  # a text, compared with its labels alone
    padded: bool = False  # texts are padded with blanks that do not count, as in `char(20)`
    not_null: bool = False
    has_default: bool = False  # a row may leave it out: default, identity or generated
    generated: bool = False  # computed by the server, also as an expression of a view
    can_select: bool = True
    can_insert: bool = True
    can_update: bool = True

    @property
    def fits(self) -> bool:
        """Whether 64 bits hold every value of a NUMERIC at its declared scale."""
        if self.precision is None or self.scale is None:
            return False
        return self.precision - min(self.scale, 0) <= MAX_SCALE


@dataclass(frozen=True, eq=False)
class Catalog:
    """The host's tables as they are, seen through the names of docs/schema.md."""

    schema: Schema
    columns: Mapping[str, Mapping[str, ColumnType]]  # by table, and name in the database
    writable_tables: frozenset[str]  # tables, not views
    indexes: frozenset[str]  # of batchcore, also renamed: those that are valid
    # Table, and column in the database with which an index of all rows begins; not of partitions.
    indexed_first: frozenset[tuple[str, str]] = frozenset()
    can_stage: bool = True  # the role may make temporary tables, through which rows are updated
    updatable_tables: frozenset[str] = frozenset()  # tables, and views whose rows may be changed
    keys: Keys = field(default_factory=dict)  # of tables that are `found_by` columns
    deferrable_keys: Keys = field(default_factory=dict)  # those checked only at a transaction's end
    estimated_rows: Mapping[str, int] = field(default_factory=dict)  # of tables that were analysed
    # What the role may do with batchcore's own tables, Alembic's for it, and the sequence.
    ledger: Mapping[str, frozenset[str]] = field(default_factory=dict)
    # Table and INSERT or UPDATE, where triggers or rules of the host act on that.
    acting: frozenset[tuple[str, str]] = frozenset()
    foreign: frozenset[str] = frozenset()  # or partly so: read at another moment than the snapshot
    may_repeat: frozenset[str] = frozenset()  # rows: with child tables, or views of several tables

    @property
    def one_price(self) -> bool:
        """Whether a unique key of `market_data_cache` limits each symbol and date to one row.

        The key of a table does not cover tables that inherit from it.
        """
        table = "market_data_cache"
        keyed = any(self.has_key(table, keys) for keys in (self.keys, self.deferrable_keys))
        return keyed and table not in self.may_repeat & self.writable_tables

    def has_key(self, table: str, keys: Keys) -> bool:
        """Return whether one of these keys identifies the rows of ``table``.

        A key may include the portfolio in addition to the columns that rows are found by, as that
        of a partitioned table does.
        """
        own = HOST[table]
        wanted = {self.schema.column(table, column) for column in (*own.found_by, "portfolio_id")}
        return any(wanted.issuperset(key) for key in keys.get(table, ()))

    def steps_through(self, table: str, column: str) -> bool:
        """Return whether each value of a column is found by one probe of one index."""
        found = (table, self.schema.column(table, column)) in self.indexed_first
        return found and table not in self.may_repeat  # child tables have indexes of their own

    def has_table(self, table: str) -> bool:
        """Return whether ``table`` of docs/schema.md exists."""
        return table in self.columns

    def tables_of(self, uses: Use) -> list[Sql]:
        """Return the tables that some uses need and that the role may read, as SQL."""
        fx = self.schema.fx
        return [
            table_name(self.schema, name)
            for name, table in self.schema.described.items()
            if any(column.can_select for column in self.columns.get(name, {}).values())
            and (table.needed(uses) or (fx is not None and name == fx.currency_table))
        ]

    def find(self, table: str, column: str) -> ColumnType | None:
        """Return ``table.column`` of docs/schema.md; None if it does not exist."""
        return self.columns.get(table, {}).get(self.schema.column(table, column))

    def label(self, table: str, column: str | None = None) -> str:
        """Return the name of ``table`` or ``table.column`` of docs/schema.md in errors."""
        label = f"{self.schema.namespace}.{self.schema.table(table)}"
        return label if column is None else f"{label}.{self.schema.column(table, column)}"

    def column(self, table: str, column: str) -> ColumnType:
        """Return ``table.column`` of docs/schema.md; raise a `SchemaError` if it does not exist."""
        found = self.find(table, column)
        if found is None:
            problem = f"{self.label(table, column)}: missing column"
            raise SchemaError(problem, (problem,))
        return found

    def scale(self, table: str, column: str) -> int:
        """Return the decimals that ``table.column`` of docs/schema.md is read with.

        An entry of `Schema.scales` overrides a larger declared scale; a negative scale is read as
        0. A double declares none, and a whole number has none. A column that a run writes, and
        whose digits do not all fit 64 bits, is read with the decimals that are written.
        """
        found = self.column(table, column)
        asked = self.schema.scales.get(f"{table}.{column}")
        if found.kind in WHOLE:
            return 0
        if found.scale is None:
            if asked is None:
                double = found.kind is Kind.FLOAT8
                declared = found.declared if double else "numeric without a declared scale"
                problem = (
                    f"{self.label(table, column)}: is {declared}, expected its decimals in"
                    f" schema.scales under `{table}.{column}`"
                )
                raise SchemaError(problem, (problem,))
            return asked
        if asked is None and not found.fits:
            known = self.schema.described[table].column(column)
            if known.writes & Use.ROLLFORWARD:
                asked = known.sizes[1]  # never written with more decimals
        declared_scale = max(found.scale, 0)
        return declared_scale if asked is None else min(asked, declared_scale)

    def always_fits(self, table: str, column: str) -> bool:
        """Return whether every finite value of a NUMERIC is representable as it is read."""
        found = self.column(table, column)
        return found.fits and self.scale(table, column) == max(found.scale or 0, 0)


async def inspect(connection: asyncpg.Connection | Session, schema: Schema) -> Catalog:
    """Return the catalog of the host's tables, by one statement that any role may run.

    It returns only text, int4, int8 and bool, so the driver looks up no types.
    """
    if isinstance(connection, Session):
        check_namespace(connection.given, schema.namespace)
    columns: dict[str, dict[str, ColumnType]] = {}
    tables: dict[str, Mapping[str, Any]] = {}
    keys: Keys = defaultdict(set)
    deferrable: Keys = defaultdict(set)
    indexes: set[str] = set()
    indexed_first: set[tuple[str, str]] = set()
    ledger: dict[str, frozenset[str]] = {}
    can_stage = True
    for row in await connection.fetch(inspect_sql(schema)):
        can_stage, relation = row["can_stage"], row["relation"]
        if row["item"] == "own":
            ledger[relation] = frozenset(row["granted"].split())
        elif row["item"] == "index":
            if row["is_key"]:
                found = keys if row["is_immediate"] else deferrable
                found[relation].add(tuple(row["index_columns"]))
            if row["is_whole"]:
                indexed_first.add((relation, row["index_columns"][0]))
            indexes |= {index.name for index in INDEXES if _is_like(schema, index, row)}
        else:
            tables[relation] = row
            of_table = columns.setdefault(relation, {})
            if row["name"] is not None:
                of_table[row["name"]] = _column_type(row)
    return Catalog(
        schema=schema,
        columns=columns,
        writable_tables=frozenset(table for table, row in tables.items() if row["is_table"]),
        indexes=frozenset(indexes),
        indexed_first=frozenset(indexed_first),
        can_stage=can_stage,
        updatable_tables=frozenset(table for table, row in tables.items() if row["is_updatable"]),
        keys=dict(keys),
        deferrable_keys=dict(deferrable),
        estimated_rows={
            table: rows for table, row in tables.items() if (rows := row["estimated_rows"]) > 0
        },
        ledger=ledger,
        acting=frozenset(
            (table, event) for table, row in tables.items() for event in row["acts_on"].split()
        ),
        foreign=frozenset(table for table, row in tables.items() if row["is_foreign"]),
        may_repeat=frozenset(table for table, row in tables.items() if row["may_repeat"]),
    )


def _is_like(schema: Schema, index: Index, row: Mapping[str, Any]) -> bool:
    """Return whether a valid index of the host is one of `INDEXES`, by its name or definition."""
    if not row["is_valid"] or index.table != row["relation"]:
        return False
    is_same = row["is_plain"] and fits(schema, index, row["index_columns"], row["predicate"])
    return bool(is_same or row["index_name"] == index.name)


def inspect_sql(schema: Schema) -> str:
    """Return the statement of `inspect`, without parameters."""
    wanted = [("column", table, schema.table(table)) for table in schema.described]
    wanted += [("index", name, schema.table(name)) for name, one in HOST.items() if one.found_by]
    wanted += [("own", name, name) for name in (*OWN, VERSION_TABLE, TOKENS)]
    values = ", ".join(f"({', '.join(quote_literal(part) for part in entry)})" for entry in wanted)
    return _INSPECT.format(
        values=values,
        namespace=quote_literal(schema.namespace),
        acting=acting_sql(schema, schema.described),
        is_plain=IS_PLAIN,
        columns=COLUMNS,
    )


# A domain travels as its base type, and the last of several keeps the modifier. With a trigger or
# rule instead of an UPDATE every column of a view can be written, whatever it is made of.
_INSPECT: Final = """\
SELECT w.item::text AS item, w.relation::text AS relation,
    c.relkind IN ('r', 'p') AS is_table,
    pg_catalog.pg_relation_is_updatable(c.oid, true) & 4 <> 0 AS is_updatable,
    c.relkind = 'r' AND c.relhassubclass
        OR pg_catalog.pg_relation_is_updatable(c.oid, false) & 4 = 0 AS may_repeat,
    c.reltuples::int8 AS estimated_rows,
    x.relname::text AS index_name, i.indisvalid AS is_valid,
    i.indisvalid AND i.indisunique AND i.indpred IS NULL AND i.indexprs IS NULL AS is_key,
    i.indimmediate AS is_immediate,
    x.relkind = 'i' AND i.indisvalid AND i.indpred IS NULL AND {is_plain} AS is_whole,
    CASE WHEN w.item = 'index' THEN {is_plain} END AS is_plain,
    CASE WHEN w.item = 'index' THEN {columns} END AS index_columns,
    COALESCE(pg_catalog.pg_get_expr(i.indpred, i.indrelid), '') AS predicate,
    a.attname::text AS name, pg_catalog.format_type(a.atttypid, a.atttypmod) AS declared,
    CASE WHEN base.typtype = 'e' THEN 'enum'
        WHEN base.typname = 'citext' THEN 'text'
        WHEN base.typnamespace = 'pg_catalog'::pg_catalog.regnamespace
        THEN base.typname::text ELSE '' END AS type_name,
    COALESCE(domain.modifier, a.atttypmod) AS modifier,
    a.attnotnull OR COALESCE(domain.not_null, false) AS not_null,
    a.atthasdef OR a.attidentity <> '' OR t.typdefault IS NOT NULL AS has_default,
    a.attgenerated <> '' OR c.relkind = 'v'
        AND pg_catalog.pg_relation_is_updatable(c.oid, true) & 4 <> 0
        AND NOT pg_catalog.pg_column_is_updatable(c.oid, a.attnum, true)
        AND NOT EXISTS (SELECT FROM pg_catalog.pg_trigger AS g
            WHERE g.tgrelid = c.oid AND g.tgtype & 80 = 80)
        AND NOT EXISTS (SELECT FROM pg_catalog.pg_rewrite AS r
            WHERE r.ev_class = c.oid AND r.ev_type = '2' AND r.is_instead) AS is_generated,
    pg_catalog.has_database_privilege(pg_catalog.current_database(), 'TEMP') AS can_stage,
    pg_catalog.has_column_privilege(c.oid, a.attnum, 'SELECT') AS can_select,
    pg_catalog.has_column_privilege(c.oid, a.attnum, 'INSERT') AS can_insert,
    pg_catalog.has_column_privilege(c.oid, a.attnum, 'UPDATE') AS can_update,
    pg_catalog.concat_ws(' ', CASE WHEN acting.inserts THEN 'INSERT' END,
        CASE WHEN acting.updates THEN 'UPDATE' END) AS acts_on,
    COALESCE(acting.is_foreign, false) AS is_foreign,
    CASE WHEN w.item = 'own' THEN pg_catalog.concat_ws(' ', CASE WHEN c.relkind = 'S'
        THEN CASE WHEN pg_catalog.has_sequence_privilege(c.oid, 'USAGE') THEN 'USAGE' END
        ELSE (SELECT pg_catalog.string_agg(p.name, ' ')
            FROM pg_catalog.unnest('{{SELECT,INSERT,UPDATE,DELETE}}'::text[]) AS p (name)
            WHERE pg_catalog.has_table_privilege(c.oid, p.name)) END) END AS granted
FROM (VALUES {values}) AS w (item, relation, relname)
JOIN pg_catalog.pg_namespace AS n ON n.nspname = {namespace}
JOIN pg_catalog.pg_class AS c ON c.relnamespace = n.oid AND c.relname = w.relname
    AND (c.relkind IN ('r', 'p', 'v', 'm', 'f') OR w.item = 'own' AND c.relkind = 'S')
LEFT JOIN (SELECT root, pg_catalog.bool_or(inserts) AS inserts,
        pg_catalog.bool_or(updates) AS updates,
        pg_catalog.bool_or(kind = 'foreign') AS is_foreign
    FROM ({acting}) AS a GROUP BY root) AS acting ON acting.root = c.oid
LEFT JOIN pg_catalog.pg_index AS i ON w.item = 'index' AND i.indrelid = c.oid
LEFT JOIN pg_catalog.pg_class AS x ON x.oid = i.indexrelid
LEFT JOIN pg_catalog.pg_attribute AS a ON w.item = 'column' AND a.attrelid = c.oid
    AND a.attnum > 0 AND NOT a.attisdropped
LEFT JOIN pg_catalog.pg_type AS t ON t.oid = a.atttypid
LEFT JOIN LATERAL (
    WITH RECURSIVE step AS (
        SELECT t.typbasetype AS base, t.typtypmod AS modifier, t.typnotnull AS not_null
        WHERE t.typtype = 'd'
        UNION ALL
        SELECT d.typbasetype, d.typtypmod, step.not_null OR d.typnotnull FROM step
        JOIN pg_catalog.pg_type AS d ON d.oid = step.base AND d.typtype = 'd')
    SELECT step.* FROM step JOIN pg_catalog.pg_type AS last
        ON last.oid = step.base AND last.typtype <> 'd') AS domain ON true
LEFT JOIN pg_catalog.pg_type AS base ON base.oid = COALESCE(domain.base, t.oid)
WHERE w.item <> 'index' OR i.indexrelid IS NOT NULL
ORDER BY w.item, w.relation, a.attnum"""


def _column_type(row: Mapping[str, Any]) -> ColumnType:
    kind = _KINDS.get(row["type_name"], Kind.OTHER)
    precision = scale = None
    # A modifier counts from 4, the size of a varlena header; -1 is none.
    if kind is Kind.NUMERIC and row["modifier"] >= _HEADER_BYTES:
        # The low 11 bits are the scale in two's complement, since PostgreSQL 15; earlier scales,
        # 0 to 1000, look the same.
        packed = row["modifier"] - _HEADER_BYTES
        precision, scale = packed >> 16 & 0xFFFF, (packed & 0x7FF ^ 0x400) - 0x400
    own = ("name", "declared", "not_null", "has_default", "can_select", "can_insert", "can_update")
    return ColumnType(
        kind=kind,
        precision=precision,
        scale=scale,
        is_enum=row["type_name"] == "enum",
        padded=row["type_name"] == "bpchar",
        generated=row["is_generated"],
        **{name: row[name] for name in own},
    )
