"""Checks whether a database's tables serve a task."""

from __future__ import annotations

from collections import defaultdict
from functools import lru_cache
from types import MappingProxyType
from typing import TYPE_CHECKING, Final, NamedTuple

from batchcore.errors import SchemaError
from batchcore.pg.sql import column_name, compose, table_name
from batchcore.schema import (
    CURRENCY,
    HOST,
    OWN,
    RATE_TABLE,
    RATES,
    REVISION,
    SPLITS,
    TOKENS,
    VERSION_TABLE,
    WHOLE,
    Kind,
    Use,
)
from batchcore.units import CENTS, MAX_SCALE

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    import asyncpg

    from batchcore.config import Schema
    from batchcore.db.catalog import Catalog, ColumnType
    from batchcore.pg.session import Session
    from batchcore.schema import Column

_EXPECTED: Final[Mapping[Kind, str]] = MappingProxyType(
    {
        Kind.TEXT: "text, varchar or an enum",
        Kind.TIMESTAMPTZ: "timestamp with time zone",
        Kind.INT4: "integer",
        Kind.BOOL: "boolean",
        Kind.JSON: "json or jsonb",
    }
)
_SAME: Final = frozenset({(Kind.NUMERIC, Kind.FLOAT8), (Kind.JSON, Kind.JSONB)})
"""What a column may be instead."""

_NULLED: Final = MappingProxyType({"daily_return": " (S10)"})
"""Columns that each run may set to NULL, and the rule that says so."""

_FIGURES: Final = Use.ANALYTICS | Use.BETAS | Use.FACTORS | Use.LEGACY | Use.GREEKS
"""What sets figures to NULL that do not fit."""

_ROUNDED: Final = Use.ROWS | Use.LEGACY
"""What writes figures with the decimals of docs/schema.md, whatever the column has."""

_SCALED: Final = Use.RUN | Use.VALUATION  # what counts as 64 bits hold it

_MODERATE: Final = 8
"""Decimals that leave ten digits before the point, of what is too wide at any scale."""


_LEDGER_REVISION: Final = "0003"


class _Need(NamedTuple):
    """A column that some uses need."""

    column: Column
    inserted: bool  # whether it is written into new rows
    updated: bool  # whether it is changed in rows that exist
    rounded: bool  # whether it is written with the decimals of docs/schema.md, whatever it has
    nulled: bool  # whether it may become NULL
    scaled: bool  # whether its decimals must be chosen where its digits do not all fit 64 bits


@lru_cache(maxsize=64)  # each load of a cache asks
def _needs(schema: Schema, uses: Use) -> dict[str, tuple[_Need, ...]]:
    """Return table -> the columns that some uses need, of the tables with any."""
    if uses & Use.PRICES and schema.price_sources:
        uses |= Use.SOURCES
    if uses & Use.FACTORS and not schema.factors:
        uses |= Use.PROXIES
    found = {}
    for name, table in schema.described.items():
        own = uses & ~Use.CHANGES if name == RATES else uses  # its time stamp is optional
        columns = list(table.needed(own))
        if name == _currency_table(schema, uses):
            columns.append(CURRENCY)
        if columns:
            inserts = bool(table.inserts & own)
            found[name] = tuple(_need(column, own, inserted=inserts) for column in columns)
    return found


def _currency_table(schema: Schema, uses: Use) -> str | None:
    return schema.fx.currency_table if schema.fx is not None and uses & Use.RATES else None


def _need(column: Column, uses: Use, *, inserted: bool) -> _Need:
    updates = column.writes & uses
    is_figure = bool(updates & _FIGURES) and not column.not_null and column.kind is not Kind.TEXT
    return _Need(
        column,
        inserted=inserted,
        updated=bool(updates),
        rounded=bool(updates & _ROUNDED),
        nulled=is_figure or column.name in _NULLED,
        scaled=bool(column.uses & _SCALED) and not column.writes & Use.ROWS,
    )


def problems_of(
    catalog: Catalog, uses: Use = Use.RUN | Use.VALUATION, *, writes: bool = True
) -> tuple[str, ...]:
    """Return a line for each difference from what some uses need, in the order of `HOST`.

    Without ``writes``, what the role may write does not count.
    """
    return tuple(_problems(catalog, uses, writes=writes))


def check(catalog: Catalog, uses: Use = Use.RUN | Use.VALUATION, *, writes: bool = True) -> None:
    """Refuse a database that some uses cannot work with; see `problems_of`.

    Raises:
        SchemaError: with every difference in ``problems``; the message has the first.
    """
    problems = problems_of(catalog, uses, writes=writes)
    if problems:
        raise schema_error(problems)


async def check_revision(connection: asyncpg.Connection | Session, catalog: Catalog) -> None:
    """Refuse a database that batchcore's migrations have not brought to `REVISION`.

    It costs one statement, and none where the version table is absent.
    """
    found = await revision_of(connection, catalog)
    if found == REVISION:
        missing = missing_of(catalog, found)
        if missing:
            raise schema_error(missing)
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


def missing_of(catalog: Catalog, revision: str) -> tuple[str, ...]:
    """Return a line for each table of batchcore's own that a revision made and that is gone."""
    made = {TOKENS: _LEDGER_REVISION, **{name: table.revision for name, table in OWN.items()}}
    return tuple(
        f"{catalog.schema.namespace}.{name}: is missing at revision {revision}: restore it, or"
        " make the ledger again, empty, with `batchcore.db.migrate.downgrade` to 0002"
        " and `batchcore migrate`"
        for name, since in made.items()
        if since <= revision and name not in catalog.ledger
    )


async def revision_of(connection: asyncpg.Connection | Session, catalog: Catalog) -> str | None:
    """Return the revision of a database; None if it has none, or no version table."""
    if VERSION_TABLE not in catalog.ledger:
        return None
    table = table_name(catalog.schema, VERSION_TABLE)
    # The driver takes no subclass of text.
    query = str(compose("SELECT version_num::text FROM {table}", table=table))
    found: str | None = await connection.fetchval(query)
    return found


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


def _problems(catalog: Catalog, uses: Use, *, writes: bool) -> Iterator[str]:
    schema = catalog.schema
    described, currency_table = schema.described, _currency_table(schema, uses)
    for table, needs in _needs(schema, uses).items():
        if catalog.has_table(table):
            yield from _table_problems(catalog, table, needs, writes=writes)
        elif table == currency_table or described[table].is_required(uses):
            yield f"{catalog.label(table)}: missing table"
    for column in RATE_TABLE.needed(uses & Use.CHANGES):  # optional, but not unreadable
        if catalog.find(RATES, column.name) is not None:
            need = _need(column, uses, inserted=False)
            yield from _column_problems(catalog, RATES, need, writes=False)
    if writes:
        if uses & Use.ROWS and not catalog.can_stage:
            grant = "GRANT TEMPORARY ON DATABASE ... TO ..."
            yield f"the database: the role lacks TEMPORARY on it: {grant}"
        yield from _own_problems(catalog, uses)


def _own_problems(catalog: Catalog, uses: Use) -> Iterator[str]:
    """Return what the role may not do with the tables of batchcore's own that are there."""
    granted = catalog.ledger
    for table in OWN.values():
        for privilege in table.grants if table.inserts & uses else ():
            if privilege not in granted.get(table.name, table.grants):
                label = f"{catalog.schema.namespace}.{table.name}"
                yield f"{label}: the role may not {privilege} it"
    if uses & Use.ROWS and not granted.get(TOKENS, True):
        yield f"{catalog.schema.namespace}.{TOKENS}: the role may not use it, expected USAGE"


def _table_problems(
    catalog: Catalog, table: str, needs: tuple[_Need, ...], *, writes: bool
) -> Iterator[str]:
    label, inserts = catalog.label(table), needs[0].inserted
    updates = any(need.updated for need in needs)
    if writes and inserts and table not in catalog.writable_tables:
        yield f"{label}: is a view, expected a table to write to"
    elif writes and updates and table not in catalog.updatable_tables:
        yield f"{label}: is a view, expected a table or an updatable view to write to"
    if writes and updates and HOST[table].found_by:
        yield from _key_problems(catalog, table)
    if writes:
        yield from _shared_problems(catalog, table, needs)
    for need in needs:
        yield from _column_problems(catalog, table, need, writes=writes)
    if inserts:
        filled = {catalog.schema.column(table, need.column.name) for need in needs}
        for name, found in catalog.columns[table].items():
            if found.not_null and not found.has_default and name not in filled:
                what = "is NOT NULL without a default, and batchcore does not fill it"
                yield f"{label}.{name}: {what}"


def _key_problems(catalog: Catalog, table: str) -> Iterator[str]:
    """Return what to say of a table whose rows no key tells apart, as UPDATEs rely on.

    Nothing is said of a view, whose own tables have the keys.
    """
    if table not in catalog.writable_tables or catalog.has_key(table, catalog.keys):
        return
    schema, label, columns = catalog.schema, catalog.label(table), HOST[table].found_by
    listed = ", ".join(schema.column(table, column) for column in columns)
    if catalog.has_key(table, catalog.deferrable_keys):
        yield f"{label}: its unique key on ({listed}) is DEFERRABLE, expected one that is not"
        return
    names = ", ".join(column_name(schema, table, column) for column in columns)
    yield (
        f"{label}: has no unique key on ({listed}), so rows could be doubled: "
        f"CREATE UNIQUE INDEX CONCURRENTLY ON {table_name(schema, table)} ({names})"
    )


def _shared_problems(catalog: Catalog, table: str, needs: tuple[_Need, ...]) -> Iterator[str]:
    """Return what to say of columns that several are written to."""
    names = defaultdict(list)
    for need in needs:
        if need.inserted or need.updated:
            names[catalog.schema.column(table, need.column.name)].append(need.column.name)
    for name, columns in names.items():
        if len(columns) > 1:
            label, written = f"{catalog.label(table)}.{name}", " and ".join(columns)
            yield f"{label}: {written} are both mapped to it, expected a column for each"


def _column_problems(catalog: Catalog, table: str, need: _Need, *, writes: bool) -> Iterator[str]:
    column, kind = need.column, need.column.kind
    label, found = catalog.label(table, column.name), catalog.find(table, column.name)
    if found is None:
        yield f"{label}: missing column"
        return
    if table == SPLITS and kind is Kind.NUMERIC and found.kind in WHOLE:
        kind = found.kind  # shares may be whole
    if found.kind is not kind and (kind, found.kind) not in _SAME:
        yield f"{label}: is {found.declared}, expected {_EXPECTED.get(kind, kind)}"
        return
    is_written = need.inserted or need.updated
    if found.kind is Kind.FLOAT8 and is_written:
        yield not_written(label, column.declared if need.rounded else "numeric")
    elif kind is Kind.NUMERIC:
        yield from _scale_problems(catalog, table, need, found)
        if need.rounded:
            yield from _size_problems(catalog, table, column, found)
    if column.name == "deleted_at" and found.not_null:
        yield f"{label}: is NOT NULL, expected NULL in rows that are not deleted"
    if not found.can_select:
        yield f"{label}: the role may not SELECT it"
    if writes and is_written:
        yield from _write_problems(label, need, found)


def _write_problems(label: str, need: _Need, found: ColumnType) -> Iterator[str]:
    if found.not_null and need.nulled:
        rule = _NULLED.get(need.column.name, "")
        yield f"{label}: is NOT NULL, expected a column that may be NULL{rule}"
    if found.generated:
        yield f"{label}: is computed by the server, expected a column to write to"
    if need.inserted and not found.can_insert:
        yield f"{label}: the role may not INSERT it"
    if need.updated and not found.can_update:
        yield f"{label}: the role may not UPDATE it"


def _scale_problems(catalog: Catalog, table: str, need: _Need, found: ColumnType) -> Iterator[str]:
    """Return what keeps a NUMERIC from being read into 64 bits."""
    name, label = f"{table}.{need.column.name}", catalog.label(table, need.column.name)
    try:
        scale = catalog.scale(table, need.column.name)
    except SchemaError as error:
        yield from error.problems
        return
    if scale > MAX_SCALE:
        yield f"{label}: is {found.declared}, expected at most {MAX_SCALE} decimals"
        return
    is_chosen = not need.scaled or name in catalog.schema.scales
    if not is_chosen and found.precision is not None and not found.fits:
        whole = MAX_SCALE - found.precision + (found.scale or 0)
        moderate = whole if whole >= CENTS else min(max(found.scale or 0, 0), _MODERATE)
        yield (
            f"{label}: is {found.declared}, whose digits do not all fit 64 bits,"
            f" expected its decimals in schema.scales, such as `{name} = {moderate}`"
        )


def _size_problems(
    catalog: Catalog, table: str, column: Column, found: ColumnType
) -> Iterator[str]:
    """Return what to say of a NUMERIC that is too narrow for what is written into it."""
    label, (precision, scale) = catalog.label(table, column.name), column.sizes
    asked = catalog.schema.scales.get(f"{table}.{column.name}", scale)
    if asked < scale <= (scale if found.scale is None else found.scale):
        yield f"{label}: schema.scales says {asked} decimals, expected {scale} or more"
    if found.precision is None or found.scale is None:
        return
    if found.precision - found.scale < precision - scale or found.scale < scale:
        yield f"{label}: is {found.declared}, expected room for {column.declared}"


def not_written(label: str, expected: str) -> str:
    """Return what to say of a double that would have to be written."""
    return f"{label}: is double precision, expected {expected}: doubles are read, never written"
