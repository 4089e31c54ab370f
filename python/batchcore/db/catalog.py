"""What the database's tables are, in one query on the catalog, and whether they can be used."""

from __future__ import annotations

import enum
from collections.abc import Mapping
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, Final

from batchcore.config import TABLES
from batchcore.db.indexes import COLUMNS, IS_PLAIN, SPECS, fits
from batchcore.errors import SchemaError
from batchcore.pg.acting import acting_sql
from batchcore.pg.sql import column_name, quote_literal, table_name
from batchcore.units import CENTS, MAX_SCALE, RETURN_SCALE

if TYPE_CHECKING:
    from collections.abc import Collection, Iterator

    import asyncpg

    from batchcore.config import Schema
    from batchcore.pg.session import Session

REVISION: Final = "0005"
"""The newest revision of the migrations, known here without Alembic."""

VERSION_TABLE: Final = "batchcore_alembic_version"
"""Where Alembic keeps batchcore's revision, beside the host's own version table."""

INDEXES: Final = tuple(spec.name for spec in SPECS)
"""The indexes of revision 0002, by name."""


WRITES: Final = "batchcore_analytic_writes"
"""The table of revision 0004: a row for each transaction that wrote the tables of level `full`."""

LEDGER: Final[Mapping[str, tuple[str, ...]]] = MappingProxyType(
    {
        "batchcore_runs": ("SELECT", "INSERT", "UPDATE", "DELETE"),
        "batchcore_run_chunks": ("SELECT", "INSERT"),
        "batchcore_run_issues": ("SELECT", "INSERT"),
        "batchcore_run_symbol_issues": ("SELECT", "INSERT"),
        "batchcore_run_heartbeats": ("SELECT", "INSERT", "UPDATE"),
        "batchcore_run_tokens": ("USAGE",),
        WRITES: ("SELECT", "INSERT"),
    }
)
"""batchcore's own tables, by name, with what a run does to them; one is a sequence.

That of revision 0004 is for level `full` alone.
"""


class Kind(enum.StrEnum):
    """A type as binary COPY sends it; `OTHER` is one that batchcore cannot read."""

    UUID = "uuid"
    DATE = "date"
    NUMERIC = "numeric"
    FLOAT8 = "float8"
    TEXT = "text"
    BOOL = "bool"
    INT2 = "int2"
    INT4 = "int4"
    INT8 = "int8"
    TIMESTAMPTZ = "timestamptz"
    JSON = "json"
    JSONB = "jsonb"
    OTHER = "other"


Needs = Mapping[str, Mapping[str, Kind]]
"""Tables and columns by the names of docs/schema.md, with the type of each.

A `NUMERIC` that is only read may be a `FLOAT8` as well.
"""

REQUIRED: Final[Needs] = MappingProxyType(
    {
        "portfolios": MappingProxyType(
            {
                "id": Kind.UUID,
                "name": Kind.TEXT,
                "currency": Kind.TEXT,
                "equity_balance": Kind.NUMERIC,
                "deleted_at": Kind.TIMESTAMPTZ,
                "updated_at": Kind.TIMESTAMPTZ,
            }
        ),
        "positions": MappingProxyType(
            {
                "id": Kind.UUID,
                "portfolio_id": Kind.UUID,
                "symbol": Kind.TEXT,
                "position_type": Kind.TEXT,
                "quantity": Kind.NUMERIC,
                "entry_price": Kind.NUMERIC,
                "entry_date": Kind.DATE,
                "exit_price": Kind.NUMERIC,
                "exit_date": Kind.DATE,
                "expiration_date": Kind.DATE,
                "investment_class": Kind.TEXT,
                "market_value": Kind.NUMERIC,
                "deleted_at": Kind.TIMESTAMPTZ,
            }
        ),
        "market_data_cache": MappingProxyType(
            {"symbol": Kind.TEXT, "date": Kind.DATE, "close": Kind.NUMERIC}
        ),
        "portfolio_snapshots": MappingProxyType(
            {
                "id": Kind.UUID,
                "portfolio_id": Kind.UUID,
                "snapshot_date": Kind.DATE,
                "total_value": Kind.NUMERIC,
                "cash_value": Kind.NUMERIC,
                "long_value": Kind.NUMERIC,
                "short_value": Kind.NUMERIC,
                "gross_exposure": Kind.NUMERIC,
                "net_exposure": Kind.NUMERIC,
                "equity_balance": Kind.NUMERIC,
                "daily_pnl": Kind.NUMERIC,
                "cumulative_pnl": Kind.NUMERIC,
                "daily_realized_pnl": Kind.NUMERIC,
                "cumulative_realized_pnl": Kind.NUMERIC,
                "daily_capital_flow": Kind.NUMERIC,
                "cumulative_capital_flow": Kind.NUMERIC,
                "daily_return": Kind.NUMERIC,
                "num_positions": Kind.INT4,
                "num_long_positions": Kind.INT4,
                "num_short_positions": Kind.INT4,
                "is_complete": Kind.BOOL,
                "created_at": Kind.TIMESTAMPTZ,
            }
        ),
        "equity_changes": MappingProxyType(
            {
                "portfolio_id": Kind.UUID,
                "change_type": Kind.TEXT,
                "amount": Kind.NUMERIC,
                "change_date": Kind.DATE,
                "deleted_at": Kind.TIMESTAMPTZ,
            }
        ),
        "position_realized_events": MappingProxyType(
            {
                "position_id": Kind.UUID,
                "portfolio_id": Kind.UUID,
                "trade_date": Kind.DATE,
                "quantity_closed": Kind.NUMERIC,
                "realized_pnl": Kind.NUMERIC,
            }
        ),
    }
)
"""What every run needs."""

OPTIONAL: Final = frozenset({"equity_changes", "position_realized_events"})
"""Tables of `REQUIRED` that may be absent; their columns may not, where the table is there."""

# What else is done needs these, each on its own; a run does not.

PRICES: Final[Needs] = MappingProxyType({"market_data_cache": REQUIRED["market_data_cache"]})
"""To read closes."""

SNAPSHOTS: Final[Needs] = MappingProxyType(
    {
        "portfolio_snapshots": MappingProxyType(
            {
                "portfolio_id": Kind.UUID,
                "snapshot_date": Kind.DATE,
                "equity_balance": Kind.NUMERIC,
                "cumulative_pnl": Kind.NUMERIC,
                "cumulative_realized_pnl": Kind.NUMERIC,
                "cumulative_capital_flow": Kind.NUMERIC,
                "is_complete": Kind.BOOL,
            }
        )
    }
)
"""To read the latest snapshots."""

PROFILES: Final[Needs] = MappingProxyType(
    {
        "company_profiles": MappingProxyType(
            {
                "symbol": Kind.TEXT,
                "company_name": Kind.TEXT,
                "sector": Kind.TEXT,
                "industry": Kind.TEXT,
                "country": Kind.TEXT,
                "market_cap": Kind.NUMERIC,
                "is_etf": Kind.BOOL,
                "beta": Kind.NUMERIC,
            }
        )
    }
)
"""To read company profiles."""

BENCHMARKS: Final[Needs] = MappingProxyType(
    {
        "benchmarks_sector_weights": MappingProxyType(
            {
                "benchmark_code": Kind.TEXT,
                "asof_date": Kind.DATE,
                "sector": Kind.TEXT,
                "weight": Kind.NUMERIC,
            }
        )
    }
)
"""To read the sectors' weights in a benchmark."""

TAGS: Final[Needs] = MappingProxyType(
    {
        "portfolios": MappingProxyType(
            {"id": Kind.UUID, "user_id": Kind.UUID, "deleted_at": Kind.TIMESTAMPTZ}
        ),
        "positions": MappingProxyType(
            {
                "id": Kind.UUID,
                "portfolio_id": Kind.UUID,
                "symbol": Kind.TEXT,
                "position_type": Kind.TEXT,
                "investment_class": Kind.TEXT,
                "deleted_at": Kind.TIMESTAMPTZ,
            }
        ),
        "tags_v2": MappingProxyType(
            {
                "id": Kind.UUID,
                "user_id": Kind.UUID,
                "name": Kind.TEXT,
                "color": Kind.TEXT,
                "display_order": Kind.INT4,
                "usage_count": Kind.INT4,
                "is_archived": Kind.BOOL,
                "created_at": Kind.TIMESTAMPTZ,
                "updated_at": Kind.TIMESTAMPTZ,
            }
        ),
        "position_tags": MappingProxyType(
            {
                "id": Kind.UUID,
                "position_id": Kind.UUID,
                "tag_id": Kind.UUID,
                "assigned_at": Kind.TIMESTAMPTZ,
                "assigned_by": Kind.UUID,
            }
        ),
    }
)
"""To give positions their sector tags; rows of the last two are inserted."""

_PRICES: Final = "market_data_cache"
_SNAPSHOTS: Final = "portfolio_snapshots"
_KEY: Final = frozenset({"id", "portfolio_id", "snapshot_date", "created_at"})
_WRITTEN: Final[Mapping[str, frozenset[str]]] = MappingProxyType(
    {
        _SNAPSHOTS: frozenset(REQUIRED[_SNAPSHOTS]),
        "portfolios": frozenset({"equity_balance", "updated_at"}),
    }
)
_KEYED: Final = ("portfolios", "positions", _PRICES, _SNAPSHOTS)
_NULLED: Final = frozenset({"daily_return"})
"""Columns of snapshots that a rule of the roll-forward may leave NULL (S10)."""

_MONEY_DIGITS: Final = 14
_RETURN_DIGITS: Final = 2
_MODERATE: Final = 8
"""Decimals that leave ten digits before the point, of what is too wide at any scale."""
_HEADER_BYTES: Final = 4

_KINDS: Final[Mapping[str, Kind]] = MappingProxyType(
    {
        "uuid": Kind.UUID,
        "date": Kind.DATE,
        "numeric": Kind.NUMERIC,
        "float8": Kind.FLOAT8,
        "text": Kind.TEXT,
        "varchar": Kind.TEXT,
        "bpchar": Kind.TEXT,
        "name": Kind.TEXT,
        "bool": Kind.BOOL,
        "int2": Kind.INT2,
        "int4": Kind.INT4,
        "int8": Kind.INT8,
        "timestamptz": Kind.TIMESTAMPTZ,
        "json": Kind.JSON,
        "jsonb": Kind.JSONB,
    }
)
_WANTED: Final[Mapping[Kind, str]] = MappingProxyType(
    {
        Kind.TEXT: "text, varchar or an enum",
        Kind.TIMESTAMPTZ: "timestamp with time zone",
        Kind.INT4: "integer",
        Kind.BOOL: "boolean",
        Kind.JSON: "json or jsonb",
    }
)


@dataclass(frozen=True)
class ColumnType:
    """A column as the catalog has it.

    Attributes:
        name: Its name in the database.
        kind: Its type; that of the base type for a domain, `TEXT` for an enum.
        declared: Its type as PostgreSQL writes it, such as ``numeric(12,4)``.
        precision: Digits of a NUMERIC, None without declared ones.
        scale: Decimals of a NUMERIC, None without declared ones; may be negative.
        length: Characters of a varchar or char, None without a limit.
        not_null: Whether it refuses NULL.
        has_default: Whether a row may leave it out: default, identity or generated.
        generated: Whether the server computes it, as a generated column or an expression of a
            view, so that nobody can write it.
        can_select: Whether the present role may read it.
        can_insert: Whether the present role may write it into new rows.
        can_update: Whether the present role may change it.
    """

    name: str
    kind: Kind
    declared: str
    precision: int | None = None
    scale: int | None = None
    length: int | None = None
    not_null: bool = False
    has_default: bool = False
    generated: bool = False
    can_select: bool = True
    can_insert: bool = True
    can_update: bool = True

    @property
    def fits(self) -> bool:
        """Whether 64 bits hold every value of a NUMERIC at its declared scale."""
        if self.precision is None or self.scale is None:
            return False
        return self.precision - min(self.scale, 0) <= MAX_SCALE


@dataclass(frozen=True)
class Catalog:
    """The host's tables as they are, seen through the names of docs/schema.md.

    Attributes:
        schema: The names that it was read by.
        columns: Table of docs/schema.md -> name in the database -> column. An absent table has
            no entry.
        writable_tables: Those that are tables, not views.
        updatable_tables: Those, and views whose rows may be changed.
        keys: Table of docs/schema.md -> columns in the database that are unique together, of
            portfolios, positions, prices and snapshots.
        deferrable_keys: The same, of those that are looked at only when a transaction ends.
        has_version_table: Whether `batchcore_alembic_version` is there.
        indexes: Name -> whether it is valid, of the indexes of batchcore that are there, also
            under another name that the host has given one.
        can_stage: Whether the present role may make temporary tables, through which rows that
            stand already and equities are updated.
        estimated_rows: Table of docs/schema.md -> how many rows the server takes it to have; of
            tables that were never analysed there is no entry.
        ledger: Name -> what the present role may do, of the tables of batchcore's own that are
            there, and of their sequence.
        acting: Table of docs/schema.md and INSERT or UPDATE, where triggers or rules of the host
            act on that.
    """

    schema: Schema
    columns: Mapping[str, Mapping[str, ColumnType]]
    writable_tables: frozenset[str]
    has_version_table: bool
    indexes: Mapping[str, bool]
    can_stage: bool = True
    updatable_tables: frozenset[str] = frozenset()
    keys: Mapping[str, frozenset[tuple[str, ...]]] = field(default_factory=dict)
    deferrable_keys: Mapping[str, frozenset[tuple[str, ...]]] = field(default_factory=dict)
    estimated_rows: Mapping[str, int] = field(default_factory=dict)
    ledger: Mapping[str, frozenset[str]] = field(default_factory=dict)
    acting: frozenset[tuple[str, str]] = frozenset()

    @property
    def one_price(self) -> bool:
        """Whether a unique key of `market_data_cache` keeps each symbol and date to one row."""
        wanted = {self.schema.column(_PRICES, column) for column in ("symbol", "date")}
        keys = (self.keys.get(_PRICES, ()), self.deferrable_keys.get(_PRICES, ()))
        return any(wanted.issuperset(key) for found in keys for key in found)

    def has_table(self, table: str) -> bool:
        """Return whether ``table`` of docs/schema.md is there."""
        return table in self.columns

    def column(self, table: str, column: str) -> ColumnType:
        """Return ``table.column`` of docs/schema.md.

        Raises:
            SchemaError: it is not there.
        """
        found = self._find(table, column)
        if found is None:
            problem = f"{_label(self.schema, table, column)}: missing column"
            raise SchemaError(problem, (problem,))
        return found

    def scale(self, table: str, column: str) -> int:
        """Return the decimals that ``table.column`` of docs/schema.md is read with.

        One of `Schema.scales` counts before a larger one that is declared; a negative one is read
        as 0. A double declares none. A column that a run writes, and whose digits do not all fit
        64 bits, is read with the decimals that are written.

        Raises:
            SchemaError: it is not there, or has neither.
        """
        found = self.column(table, column)
        scale = self._scale(table, column, found)
        if scale is None:
            problem = _without_scale(self.schema, table, column, found)
            raise SchemaError(problem, (problem,))
        return scale

    def always_fits(self, table: str, column: str) -> bool:
        """Return whether every finite value of a NUMERIC is representable as it is read."""
        found = self.column(table, column)
        return found.fits and self.scale(table, column) == max(found.scale or 0, 0)

    def _find(self, table: str, column: str) -> ColumnType | None:
        return self.columns.get(table, {}).get(self.schema.column(table, column))

    def _scale(self, table: str, column: str, found: ColumnType) -> int | None:
        asked = self.schema.scales.get(f"{table}.{column}")
        if found.scale is None:
            return asked
        declared = max(found.scale, 0)
        if asked is None and not found.fits and column in _WRITTEN.get(table, ()):
            asked = _written_room(column)[1]  # nothing finer is ever written there
        return declared if asked is None else min(asked, declared)


async def inspect(connection: asyncpg.Connection | Session, schema: Schema) -> Catalog:
    """Return the catalog of the host's tables, by one statement.

    Only `pg_catalog` is read, so any role may; only text, int4, int8 and bool come back, so the
    driver asks for no types.
    """
    columns: dict[str, dict[str, ColumnType]] = {}
    kinds: dict[str, Mapping[str, Any]] = {}
    keys: dict[str, set[tuple[str, ...]]] = {}
    deferrable: dict[str, set[tuple[str, ...]]] = {}
    indexes: dict[str, bool] = {}
    ledger: dict[str, frozenset[str]] = {}
    acting: set[tuple[str, str]] = set()
    has_version_table, can_stage = False, True
    for row in await connection.fetch(inspect_sql(schema)):
        can_stage = row["can_stage"]
        match row["item"]:
            case "index":
                indexes[row["relation"]] = row["is_valid"]
            case "key":
                if row["is_key"]:
                    own = keys if row["is_immediate"] else deferrable
                    own.setdefault(row["relation"], set()).add(tuple(row["key_columns"]))
                indexes |= dict.fromkeys(_served(schema, row), True)
            case "version":
                has_version_table = True
            case "ledger" | "sequence":
                ledger[row["relation"]] = frozenset(row["granted"].split())
            case _:
                of_table = columns.setdefault(row["relation"], {})
                acting |= {(row["relation"], event) for event in row["acts_on"].split()}
                kinds[row["relation"]] = row
                if row["name"] is not None:
                    of_table[row["name"]] = _column_type(row)
    return Catalog(
        schema=schema,
        columns=MappingProxyType(
            {table: MappingProxyType(columns[table]) for table in TABLES if table in columns}
        ),
        writable_tables=frozenset(table for table, row in kinds.items() if row["is_table"]),
        has_version_table=has_version_table,
        indexes=MappingProxyType({name: indexes[name] for name in INDEXES if name in indexes}),
        can_stage=can_stage,
        updatable_tables=frozenset(table for table, row in kinds.items() if row["is_updatable"]),
        keys=MappingProxyType({table: frozenset(found) for table, found in keys.items()}),
        deferrable_keys=MappingProxyType(
            {table: frozenset(found) for table, found in deferrable.items()}
        ),
        estimated_rows=MappingProxyType(
            {
                table: row["estimated_rows"]
                for table, row in kinds.items()
                if row["estimated_rows"] > 0
            }
        ),
        ledger=MappingProxyType({name: ledger[name] for name in LEDGER if name in ledger}),
        acting=frozenset(acting),
    )


def _served(schema: Schema, row: Mapping[str, Any]) -> Iterator[str]:
    """Return which indexes of batchcore one of the host's is, whatever its name."""
    for spec in SPECS if row["is_plain"] else ():
        columns = tuple(row["key_columns"])
        if spec.table == row["relation"] and fits(schema, spec, columns, row["predicate"]):
            yield spec.name


def inspect_sql(schema: Schema) -> str:
    """Return the statement of `inspect`, without parameters."""
    wanted = [("column", table, schema.table(table)) for table in TABLES]
    wanted += [("key", table, schema.table(table)) for table in _KEYED]
    wanted.append(("version", VERSION_TABLE, VERSION_TABLE))
    wanted += [("index", name, name) for name in INDEXES]
    wanted += [
        ("sequence" if privileges == ("USAGE",) else "ledger", name, name)
        for name, privileges in LEDGER.items()
    ]
    values = ", ".join(f"({', '.join(quote_literal(part) for part in entry)})" for entry in wanted)
    return _INSPECT.format(
        values=values,
        namespace=quote_literal(schema.namespace),
        acting=acting_sql(schema, TABLES),
        is_plain=IS_PLAIN,
        columns=COLUMNS,
    )


# A domain travels as its base type and keeps the modifier itself, so both are looked up.
_INSPECT: Final = """\
SELECT w.item::text AS item, w.relation::text AS relation,
    c.relkind IN ('r', 'p') AS is_table,
    pg_catalog.pg_relation_is_updatable(c.oid, true) & 4 <> 0 AS is_updatable,
    c.reltuples::int8 AS estimated_rows,
    COALESCE(own.indisvalid, true) AS is_valid,
    i.indisunique AND i.indpred IS NULL AND i.indexprs IS NULL AS is_key,
    i.indimmediate AS is_immediate,
    CASE WHEN w.item = 'key' THEN {is_plain} END AS is_plain,
    CASE WHEN w.item = 'key' THEN {columns} END AS key_columns,
    COALESCE(pg_catalog.pg_get_expr(i.indpred, i.indrelid), '') AS predicate,
    a.attname::text AS name, pg_catalog.format_type(a.atttypid, a.atttypmod) AS declared,
    CASE WHEN base.typtype = 'e' THEN 'text'
        WHEN base.typname = 'citext' THEN 'text'
        WHEN base.typnamespace = 'pg_catalog'::pg_catalog.regnamespace
        THEN base.typname::text ELSE '' END AS type_name,
    CASE WHEN t.typtype = 'd' THEN t.typtypmod ELSE a.atttypmod END AS modifier,
    a.attnotnull OR t.typnotnull AS not_null,
    a.atthasdef OR a.attidentity <> '' OR t.typdefault IS NOT NULL AS has_default,
    a.attgenerated <> '' OR c.relkind = 'v'
        AND pg_catalog.pg_relation_is_updatable(c.oid, true) & 4 <> 0
        AND NOT pg_catalog.pg_column_is_updatable(c.oid, a.attnum, true) AS is_generated,
    pg_catalog.has_database_privilege(pg_catalog.current_database(), 'TEMP') AS can_stage,
    pg_catalog.has_column_privilege(c.oid, a.attnum, 'SELECT') AS can_select,
    pg_catalog.has_column_privilege(c.oid, a.attnum, 'INSERT') AS can_insert,
    pg_catalog.has_column_privilege(c.oid, a.attnum, 'UPDATE') AS can_update,
    pg_catalog.concat_ws(' ', CASE WHEN acting.inserts THEN 'INSERT' END,
        CASE WHEN acting.updates THEN 'UPDATE' END) AS acts_on,
    CASE w.item WHEN 'sequence'
        THEN CASE WHEN pg_catalog.has_sequence_privilege(c.oid, 'USAGE') THEN 'USAGE' ELSE '' END
        WHEN 'ledger' THEN pg_catalog.concat_ws(' ',
        CASE WHEN pg_catalog.has_table_privilege(c.oid, 'SELECT') THEN 'SELECT' END,
        CASE WHEN pg_catalog.has_table_privilege(c.oid, 'INSERT') THEN 'INSERT' END,
        CASE WHEN pg_catalog.has_table_privilege(c.oid, 'UPDATE') THEN 'UPDATE' END,
        CASE WHEN pg_catalog.has_table_privilege(c.oid, 'DELETE') THEN 'DELETE' END) END AS granted
FROM (VALUES {values}) AS w (item, relation, relname)
JOIN pg_catalog.pg_namespace AS n ON n.nspname = {namespace}
JOIN pg_catalog.pg_class AS c ON c.relnamespace = n.oid AND c.relname = w.relname
    AND CASE w.item WHEN 'index' THEN c.relkind IN ('i', 'I')
        WHEN 'sequence' THEN c.relkind = 'S'
        ELSE c.relkind IN ('r', 'p', 'v', 'm', 'f') END
LEFT JOIN (SELECT root, pg_catalog.bool_or(inserts) AS inserts,
        pg_catalog.bool_or(updates) AS updates
    FROM ({acting}) AS a GROUP BY root) AS acting ON acting.root = c.oid
LEFT JOIN pg_catalog.pg_index AS own ON own.indexrelid = c.oid
LEFT JOIN pg_catalog.pg_index AS i ON w.item = 'key' AND i.indrelid = c.oid AND i.indisvalid
LEFT JOIN pg_catalog.pg_attribute AS a ON w.item = 'column' AND a.attrelid = c.oid
    AND a.attnum > 0 AND NOT a.attisdropped
LEFT JOIN pg_catalog.pg_type AS t ON t.oid = a.atttypid
LEFT JOIN pg_catalog.pg_type AS base
    ON base.oid = CASE WHEN t.typtype = 'd' THEN t.typbasetype ELSE t.oid END
WHERE w.item <> 'key' OR i.indexrelid IS NOT NULL
ORDER BY w.item, w.relation, a.attnum"""


def problems_of(catalog: Catalog, *, writes: bool = True) -> tuple[str, ...]:
    """Return one line for each thing that a run cannot work with, in the order of `REQUIRED`.

    Args:
        catalog: What `inspect` returned.
        writes: Whether the run writes: without, what the role may write does not count.
    """
    return tuple(_problems(catalog, writes=writes))


def check_run(catalog: Catalog, *, writes: bool = True) -> None:
    """Refuse a database that a run cannot work with.

    Args:
        catalog: What `inspect` returned.
        writes: Whether the run writes: without, what the role may write does not count.

    Raises:
        SchemaError: with every difference in ``problems``; the message has the first.
    """
    problems = problems_of(catalog, writes=writes)
    if problems:
        raise schema_error(problems)


def check_needs(catalog: Catalog, needs: Needs, *, inserts: Collection[str] = ()) -> None:
    """Refuse a database that lacks what is needed.

    Args:
        catalog: What `inspect` returned.
        needs: Tables and columns.
        inserts: Those of the tables that rows are inserted into, with the columns of ``needs``.

    Raises:
        SchemaError: with every difference in ``problems``; the message has the first.
    """
    problems = tuple(_unmet(catalog, needs, inserts))
    if problems:
        raise schema_error(problems)


async def check_revision(connection: asyncpg.Connection | Session, catalog: Catalog) -> None:
    """Refuse a database that batchcore's migrations have not brought to `REVISION`.

    It costs one statement, and none where the version table is absent.

    Raises:
        SchemaError: the database is older, newer or was never migrated.
    """
    found = None
    if catalog.has_version_table:
        found = await connection.fetchval(revision_sql(catalog.schema))
    if found == REVISION:
        return
    if found is None:
        msg = (
            f"batchcore has not prepared the schema `{catalog.schema.namespace}`: "
            "run `batchcore migrate`"
        )
    elif found < REVISION:
        msg = f"the database is at revision {found}, expected {REVISION}: run `batchcore migrate`"
    else:
        msg = newer_revision(found)
    raise SchemaError(msg, (msg,))


def revision_sql(schema: Schema) -> str:
    """Return the statement that reads the revision from the version table."""
    version_table = table_name(schema, VERSION_TABLE)
    return f"SELECT version_num::text FROM {version_table}"  # noqa: S608  # quoted


def newer_revision(revision: str) -> str:
    """Return what to say of a revision that this version of batchcore does not know."""
    return (
        f"the database is at revision {revision}, which this batchcore does not know "
        f"(its newest is {REVISION}): install a newer one"
    )


def schema_error(problems: tuple[str, ...]) -> SchemaError:
    """Return the error for ``problems``, at least one: the first, and how many more."""
    more = len(problems) - 1
    return SchemaError(problems[0] + (f" (and {more} more)" if more else ""), problems)


def _problems(catalog: Catalog, *, writes: bool) -> Iterator[str]:
    schema = catalog.schema
    for table, columns in _wanted(REQUIRED, schema):
        if not catalog.has_table(table):
            if table not in OPTIONAL:
                yield f"{_label(schema, table)}: missing table"
            continue
        if writes:
            yield from _table_problems(catalog, table)
        for column, kind in columns.items():
            yield from _column_problems(catalog, table, column, kind, writes=writes)
    yield from _unfilled(catalog, _SNAPSHOTS, REQUIRED[_SNAPSHOTS])
    if writes:
        if not catalog.can_stage:
            yield "the database: the role may not make temporary tables, expected TEMPORARY on it"
        for name in catalog.ledger:
            if name != WRITES:
                yield from own_problems(catalog, name)


def _column_problems(
    catalog: Catalog, table: str, column: str, kind: Kind, *, writes: bool
) -> Iterator[str]:
    found = catalog._find(table, column)  # noqa: SLF001  # one module
    misfit = _misfit(catalog, table, column, kind)
    if found is None or misfit:
        yield misfit
        return
    if kind is Kind.NUMERIC:
        yield from _numeric_problems(catalog, table, column, found)
    label = _label(catalog.schema, table, column)
    yield from _access_problems(label, table, column, found, writes=writes)


def _table_problems(catalog: Catalog, table: str) -> Iterator[str]:
    """Return what keeps a table from being written as a run does."""
    if table == _SNAPSHOTS:
        if table not in catalog.writable_tables:
            yield f"{_label(catalog.schema, table)}: is a view, expected a table to write to"
        yield from key_problems(catalog, table, ("portfolio_id", "snapshot_date"))
    elif table == "portfolios":
        yield from updatable_problems(catalog, table)
        yield from key_problems(catalog, table, ("id",))


def updatable_problems(catalog: Catalog, table: str) -> Iterator[str]:
    """Return what to say of a table whose rows are to be changed and cannot be."""
    if catalog.has_table(table) and table not in catalog.updatable_tables:
        label = _label(catalog.schema, table)
        yield f"{label}: is a view, expected a table or an updatable view to write to"


def key_problems(
    catalog: Catalog, table: str, columns: tuple[str, ...], *, beside: tuple[str, ...] = ()
) -> Iterator[str]:
    """Return what to say of a table whose rows columns do not tell apart, as UPDATEs rely on.

    Args:
        catalog: The host's tables.
        table: One of them; nothing is said of a view, whose own tables have the keys.
        columns: Unique together.
        beside: What a key may have beside them.
    """
    if table not in catalog.writable_tables:
        return
    schema = catalog.schema
    wanted = {schema.column(table, column) for column in (*columns, *beside)}
    if any(wanted.issuperset(key) for key in catalog.keys.get(table, ())):
        return
    label = _label(schema, table)
    listed = ", ".join(schema.column(table, column) for column in columns)
    if any(wanted.issuperset(key) for key in catalog.deferrable_keys.get(table, ())):
        yield f"{label}: its unique key on ({listed}) is DEFERRABLE, expected one that is not"
        return
    names = ", ".join(column_name(schema, table, column) for column in columns)
    yield (
        f"{label}: has no unique key on ({listed}), so a row could stand twice: "
        f"CREATE UNIQUE INDEX CONCURRENTLY ON {table_name(schema, table)} ({names})"
    )


def own_problems(catalog: Catalog, name: str) -> Iterator[str]:
    """Return one line for each privilege that the role lacks on one of batchcore's own tables."""
    for privilege in LEDGER[name]:
        if privilege not in catalog.ledger.get(name, LEDGER[name]):
            told = "use it, expected USAGE" if privilege == "USAGE" else f"{privilege} it"
            yield f"{catalog.schema.namespace}.{name}: the role may not {told}"


def _unmet(catalog: Catalog, needs: Needs, inserts: Collection[str]) -> Iterator[str]:
    schema = catalog.schema
    for table, columns in _wanted(needs, schema):
        if not catalog.has_table(table):
            yield f"{_label(schema, table)}: missing table"
            continue
        if table in inserts and table not in catalog.writable_tables:
            yield f"{_label(schema, table)}: is a view, expected a table to write to"
        for column, kind in columns.items():
            found = catalog._find(table, column)  # noqa: SLF001  # one module
            misfit = _misfit(catalog, table, column, kind)
            if found is None or misfit:
                yield misfit
                continue
            if kind is Kind.NUMERIC:
                yield from _scale_problems(catalog, table, column, found)
            label = _label(schema, table, column)
            if not found.can_select:
                yield f"{label}: the role may not SELECT it"
            if table in inserts and not found.can_insert:
                yield f"{label}: the role may not INSERT it"
        if table in inserts:
            yield from _unfilled(catalog, table, columns)


def _wanted(needs: Needs, schema: Schema) -> Iterator[tuple[str, Mapping[str, Kind]]]:
    """Yield tables and columns that are needed, the declared sources of closes too."""
    for table, columns in needs.items():
        if table == _PRICES and schema.price_sources:
            yield table, {**columns, "data_source": Kind.TEXT}
        else:
            yield table, columns


def _misfit(catalog: Catalog, table: str, column: str, kind: Kind) -> str:
    """Return what keeps a column from being read as ``kind``; empty if nothing does."""
    label = _label(catalog.schema, table, column)
    found = catalog._find(table, column)  # noqa: SLF001  # one module
    if found is None:
        return f"{label}: missing column"
    if found.kind is not kind and not (kind is Kind.NUMERIC and found.kind is Kind.FLOAT8):
        return f"{label}: is {found.declared}, expected {_WANTED.get(kind, kind)}"
    return ""


def _scale_problems(catalog: Catalog, table: str, column: str, found: ColumnType) -> Iterator[str]:
    scale = catalog._scale(table, column, found)  # noqa: SLF001  # one module
    if scale is None:
        yield _without_scale(catalog.schema, table, column, found)
    elif scale > MAX_SCALE:
        label = _label(catalog.schema, table, column)
        yield f"{label}: is {found.declared}, expected at most {MAX_SCALE} decimals"
    elif _may_not_fit(catalog.schema, table, column, found):
        whole = MAX_SCALE - (found.precision or 0) + (found.scale or 0)
        moderate = whole if whole >= CENTS else min(max(found.scale or 0, 0), _MODERATE)
        yield (
            f"{_label(catalog.schema, table, column)}: is {found.declared}, whose digits do not all"
            f" fit 64 bits, expected its decimals in schema.scales, such as"
            f" `{table}.{column} = {moderate}`"
        )


def _may_not_fit(schema: Schema, table: str, column: str, found: ColumnType) -> bool:
    """Return whether a NUMERIC of a run needs its decimals chosen: not all of its digits fit."""
    return (
        column in REQUIRED.get(table, ())
        and column not in _WRITTEN.get(table, ())
        and f"{table}.{column}" not in schema.scales
        and found.precision is not None
        and not found.fits
    )


def _written_room(column: str) -> tuple[int, int]:
    """Return the digits before and after the point of what is written into a column."""
    if column == "daily_return":
        return _RETURN_DIGITS, RETURN_SCALE
    return _MONEY_DIGITS, CENTS


def _numeric_problems(
    catalog: Catalog, table: str, column: str, found: ColumnType
) -> Iterator[str]:
    label = _label(catalog.schema, table, column)
    scale = catalog._scale(table, column, found)  # noqa: SLF001  # one module
    if column not in _WRITTEN.get(table, ()):
        yield from _scale_problems(catalog, table, column, found)
        return
    digits, decimals = _written_room(column)
    if found.kind is Kind.FLOAT8:
        yield not_written(label, f"numeric({digits + decimals},{decimals})")
        return
    yield from _scale_problems(catalog, table, column, found)
    if scale is not None and scale < decimals <= (found.scale or decimals):
        yield f"{label}: schema.scales says {scale} decimals, expected {decimals} or more"
    yield from room_problems(catalog, table, column, digits, decimals)


def room_problems(
    catalog: Catalog, table: str, column: str, digits: int, decimals: int
) -> Iterator[str]:
    """Return what to say of a NUMERIC that is too narrow for what is written into it.

    Args:
        catalog: The host's tables.
        table: One of them.
        column: Of it; nothing is said of one that is absent or declares no precision.
        digits: Before the decimal point.
        decimals: After it.
    """
    found = catalog._find(table, column)  # noqa: SLF001  # one module
    if found is None or found.precision is None or found.scale is None:
        return
    if found.precision - found.scale < digits or found.scale < decimals:
        needed = f"numeric({digits + decimals},{decimals})"
        label = _label(catalog.schema, table, column)
        yield f"{label}: is {found.declared}, expected room for {needed}"


def _access_problems(
    label: str, table: str, column: str, found: ColumnType, *, writes: bool
) -> Iterator[str]:
    if not found.can_select:
        yield f"{label}: the role may not SELECT it"
    if not writes or column not in _WRITTEN.get(table, ()):
        return
    if found.not_null and column in _NULLED:
        yield f"{label}: is NOT NULL, expected a column that may be NULL (S10)"
    if found.generated:
        yield f"{label}: is computed by the server, expected a column to write to"
    if table == _SNAPSHOTS and not found.can_insert:
        yield f"{label}: the role may not INSERT it"
    if not (table == _SNAPSHOTS and column in _KEY) and not found.can_update:
        yield f"{label}: the role may not UPDATE it"


def _unfilled(catalog: Catalog, table: str, columns: Collection[str]) -> Iterator[str]:
    schema = catalog.schema
    filled = {schema.column(table, column) for column in columns}
    for name, found in catalog.columns.get(table, {}).items():
        if found.not_null and not found.has_default and name not in filled:
            yield (
                f"{_label(schema, table)}.{name}: is NOT NULL without a default, "
                "and batchcore does not fill it"
            )


def not_written(label: str, expected: str) -> str:
    """Return what to say of a double that would have to be written."""
    return f"{label}: is double precision, expected {expected}: doubles are read, never written"


def _without_scale(schema: Schema, table: str, column: str, found: ColumnType) -> str:
    declared = "numeric without a declared scale"
    if found.kind is Kind.FLOAT8:
        declared = found.declared
    return (
        f"{_label(schema, table, column)}: is {declared}, "
        f"expected its decimals in schema.scales under `{table}.{column}`"
    )


def _label(schema: Schema, table: str, column: str | None = None) -> str:
    label = f"{schema.namespace}.{schema.table(table)}"
    return label if column is None else f"{label}.{schema.column(table, column)}"


def _column_type(row: Mapping[str, object]) -> ColumnType:
    type_name, modifier = row["type_name"], row["modifier"]
    kind = _KINDS.get(str(type_name), Kind.OTHER)
    precision = scale = length = None
    # A modifier counts from 4, the size of a varlena header; -1 is none.
    if isinstance(modifier, int) and modifier >= _HEADER_BYTES:
        if kind is Kind.NUMERIC:
            precision, scale = _numeric_modifier(modifier)
        elif type_name in ("varchar", "bpchar"):
            length = modifier - _HEADER_BYTES
    return ColumnType(
        name=str(row["name"]),
        kind=kind,
        declared=str(row["declared"]),
        precision=precision,
        scale=scale,
        length=length,
        not_null=bool(row["not_null"]),
        has_default=bool(row["has_default"]),
        generated=bool(row["is_generated"]),
        can_select=bool(row["can_select"]),
        can_insert=bool(row["can_insert"]),
        can_update=bool(row["can_update"]),
    )


def _numeric_modifier(modifier: int) -> tuple[int, int]:
    # The low 11 bits are the scale in two's complement, since PostgreSQL 15; earlier scales,
    # 0 to 1000, look the same.
    packed = modifier - _HEADER_BYTES
    return packed >> 16 & 0xFFFF, (packed & 0x7FF ^ 0x400) - 0x400
