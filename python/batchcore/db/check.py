"""Checks whether a database's tables serve a task."""

from __future__ import annotations

from collections import defaultdict
from functools import lru_cache
from types import MappingProxyType
from typing import TYPE_CHECKING, Final

from batchcore.errors import SchemaError
from batchcore.pg.sql import column_name, compose, table_name
from batchcore.schema import (
    CURRENCY,
    OWN,
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
    from collections.abc import Iterator, Mapping, Sequence

    import asyncpg

    from batchcore.db.catalog import Catalog, ColumnType
    from batchcore.pg.session import Session
    from batchcore.schema import Column, Table

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
"""Types that a column may have instead."""

_NULLED: Final = MappingProxyType({"daily_return": " (S10)"})
"""Columns that each run may set to NULL, with the rule."""

_FIGURES: Final = Use.ANALYTICS | Use.BETAS | Use.FACTORS | Use.LEGACY | Use.GREEKS
"""Uses that set figures to NULL that do not fit."""

_ROUNDED: Final = Use.ROLLFORWARD | Use.LEGACY
"""Uses that write figures with the decimals of docs/schema.md, whatever the column has."""

_MODERATE: Final = 8
"""Decimals that leave ten digits before the point, for columns too wide at any scale."""

_ANALYTIC: Final = Use.ANALYTICS | Use.SECTORS | Use.BETAS | Use.FACTORS | Use.PROXIES | Use.VALUES
"""Uses of the analytics of a run alone, where they are checked too."""


@lru_cache(maxsize=32)  # cached, as each load of a cache calls it
def problems_of(
    catalog: Catalog, uses: Use = Use.ROLLFORWARD, *, writes: bool = True
) -> tuple[str, ...]:
    """Return a line for each difference from what some uses need, in the order of `HOST`.

    Without ``writes``, privileges to write are not checked.
    """
    return tuple(_problems(catalog, uses, writes=writes))


def check(catalog: Catalog, uses: Use = Use.ROLLFORWARD, *, writes: bool = True) -> None:
    """Raise an error with all that `problems_of` finds, if anything."""
    problems = problems_of(catalog, uses, writes=writes)
    if problems:
        error = schema_error(problems)
        if not (catalog.has_table("portfolios") or catalog.schema.tables):
            msg = f"{error}; in an empty database, `batchcore migrate` creates them"
            raise SchemaError(msg, problems)
        raise error


async def check_revision(connection: asyncpg.Connection | Session, catalog: Catalog) -> None:
    """Raise an error unless batchcore's migrations have brought the database to `REVISION`.

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
        msg = newer_revision_text(found)
    raise SchemaError(msg, (msg,))


def missing_of(catalog: Catalog, revision: str) -> tuple[str, ...]:
    """Return a line for each table of batchcore's own that a revision made and that is missing."""
    made = {TOKENS: "0003", **{name: table.revision for name, table in OWN.items()}}
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


def newer_revision_text(revision: str) -> str:
    """Return the message about a revision that this version of batchcore does not know."""
    return (
        f"the database is at revision {revision}, which this batchcore does not know "
        f"(its newest is {REVISION}): install a newer one"
    )


def schema_error(problems: tuple[str, ...]) -> SchemaError:
    """Return the error for ``problems``, at least one: the first, and the number of others."""
    first, more = problems[0], len(problems) - 1
    msg = f"{first} (and {more} more)" if more else first
    if first.endswith((": missing table", ": missing column")):
        msg = f"{msg}; if it has another name, map that in the Schema"
    return SchemaError(msg, problems)


def _problems(catalog: Catalog, uses: Use, *, writes: bool) -> Iterator[str]:
    schema = catalog.schema
    if uses & Use.PRICES and schema.price_sources:
        uses |= Use.SOURCES
    if uses & Use.FACTORS and not schema.factors:
        uses |= Use.PROXIES
    for name, table in schema.described.items():
        own = uses
        if name == RATES and catalog.find(RATES, "updated_at") is None:  # which is optional
            own &= ~Use.CHANGES
        columns = table.needed(own)
        has_currency = schema.fx is not None and name == schema.fx.currency_table
        if has_currency and uses & Use.RATES:
            columns = (*columns, CURRENCY)
        if columns and catalog.has_table(name):
            yield from _table_problems(catalog, table, columns, own, writes=writes)
        elif CURRENCY in columns or table.is_required(own):
            yield f"{catalog.label(name)}: missing table"
    if writes:
        if uses & Use.ROWS and not catalog.can_stage:
            grant = "GRANT TEMPORARY ON DATABASE ... TO ..."
            yield f"the database: the role lacks TEMPORARY on it: {grant}"
        yield from _own_problems(catalog, uses)


def _own_problems(catalog: Catalog, uses: Use) -> Iterator[str]:
    """Return the missing privileges of the role on existing tables of batchcore's own."""
    granted, namespace = catalog.ledger, catalog.schema.namespace
    for table in OWN.values():
        for privilege in table.grants if table.inserts & uses else ():
            if privilege not in granted.get(table.name, table.grants):
                yield f"{namespace}.{table.name}: the role may not {privilege} it"
    if uses & Use.ROWS and not granted.get(TOKENS, True):
        yield f"{namespace}.{TOKENS}: the role may not use it, expected USAGE"


def _table_problems(
    catalog: Catalog, table: Table, columns: Sequence[Column], uses: Use, *, writes: bool
) -> Iterator[str]:
    schema, label, inserts = catalog.schema, catalog.label(table.name), bool(table.inserts & uses)
    updates = any(column.writes & uses for column in columns)
    if writes and inserts and table.name not in catalog.writable_tables:
        yield f"{label}: is a view or foreign table, expected a table to write to"
    elif writes and updates:
        yield from _update_problems(catalog, table)
    filled = defaultdict(list)
    for column in columns:
        if inserts or column.writes & uses:
            filled[schema.column(table.name, column.name)].append(column.name)
    for name, mapped in filled.items():
        if writes and len(mapped) > 1:
            written = " and ".join(mapped)
            yield f"{label}.{name}: {written} are both mapped to it, expected a column for each"
    for column in columns:
        yield from _column_problems(catalog, table, column, uses, writes=writes)
    for name, found in catalog.columns[table.name].items():
        if inserts and found.not_null and not found.has_default and name not in filled:
            what = "is NOT NULL without a default, and batchcore does not fill it"
            yield f"{label}.{name}: {what}"


def _update_problems(catalog: Catalog, table: Table) -> Iterator[str]:
    """Return the obstacles to updating rows, such as a missing key.

    Keys are not checked on a view, since its tables have them.
    """
    schema, label = catalog.schema, catalog.label(table.name)
    if table.name not in catalog.updatable_tables:
        what = "is a view or foreign table, expected a table or an updatable view to write to"
        yield f"{label}: {what}"
    needs_key = table.found_by and table.name in catalog.writable_tables
    if not needs_key or catalog.has_key(table.name, catalog.keys):
        return
    listed = ", ".join(schema.column(table.name, column) for column in table.found_by)
    if catalog.has_key(table.name, catalog.deferrable_keys):
        yield f"{label}: its unique key on ({listed}) is DEFERRABLE, expected one that is not"
        return
    names = ", ".join(column_name(schema, table.name, column) for column in table.found_by)
    yield (
        f"{label}: has no unique key on ({listed}), so rows could be doubled: "
        f"CREATE UNIQUE INDEX CONCURRENTLY ON {table_name(schema, table.name)} ({names})"
    )


def _column_problems(
    catalog: Catalog, table: Table, column: Column, uses: Use, *, writes: bool
) -> Iterator[str]:
    label, found = catalog.label(table.name, column.name), catalog.find(table.name, column.name)
    if found is None:
        analytic = Use.ANALYTICS in uses and column.uses & uses in _ANALYTIC
        only = ", needed only for `analytics` (not for `none`)" if analytic else ""
        yield f"{label}: missing column{only}"
        return
    inserts, updates, kind = table.inserts & uses, column.writes & uses, column.kind
    if table.name == SPLITS and kind is Kind.NUMERIC and found.kind in WHOLE:
        kind = found.kind  # shares may be whole
    is_symbol = column.name == "symbol"
    is_another = found.kind is not kind and (kind, found.kind) not in _SAME
    if is_another or (is_symbol and found.is_enum):
        expected = "text or varchar" if is_symbol else _EXPECTED.get(kind, kind)
        yield f"{label}: is {found.declared}, expected {expected}"
        return
    if found.kind is Kind.FLOAT8 and (inserts or updates):
        yield double_problem(label, column.declared if updates & _ROUNDED else "numeric")
    elif kind is Kind.NUMERIC:
        yield from _scale_problems(catalog, table, column, found)
        if updates & _ROUNDED:
            yield from _size_problems(catalog, table, column, found)
    if column.name == "deleted_at" and found.not_null:
        yield f"{label}: is NOT NULL, expected NULL in rows that are not deleted"
    if not found.can_select:
        yield f"{label}: the role may not SELECT it"
    if writes and (inserts or updates):
        yield from _write_problems(label, column, found, updates, inserts=bool(inserts))


def _write_problems(
    label: str, column: Column, found: ColumnType, updates: Use, *, inserts: bool
) -> Iterator[str]:
    is_figure = updates & _FIGURES and not column.not_null and column.kind is not Kind.TEXT
    if found.not_null and (is_figure or column.name in _NULLED):
        rule = _NULLED.get(column.name, "")
        yield f"{label}: is NOT NULL, expected a column that may be NULL{rule}"
    if found.generated:
        yield f"{label}: is computed by the server, expected a column to write to"
    if inserts and not found.can_insert:
        yield f"{label}: the role may not INSERT it"
    if updates and not found.can_update:
        yield f"{label}: the role may not UPDATE it"


def _scale_problems(
    catalog: Catalog, table: Table, column: Column, found: ColumnType
) -> Iterator[str]:
    """Return why a NUMERIC cannot be read into 64 bits."""
    name, label = f"{table.name}.{column.name}", catalog.label(table.name, column.name)
    try:
        scale = catalog.scale(table.name, column.name)
    except SchemaError as error:
        yield from error.problems
        return
    if scale > MAX_SCALE:
        yield f"{label}: is {found.declared}, expected at most {MAX_SCALE} decimals"
        return
    # Values that fit 64 bits count: decimals are chosen where not all digits fit.
    is_scaled = column.uses & Use.ROLLFORWARD and not column.writes & Use.ROLLFORWARD
    is_chosen = not is_scaled or name in catalog.schema.scales
    if not is_chosen and found.precision is not None and not found.fits:
        whole = MAX_SCALE - found.precision + (found.scale or 0)
        moderate = whole if whole >= CENTS else min(max(found.scale or 0, 0), _MODERATE)
        yield (
            f"{label}: is {found.declared}, whose digits do not all fit 64 bits,"
            f" expected its decimals in schema.scales, such as `{name} = {moderate}`"
        )


def _size_problems(
    catalog: Catalog, table: Table, column: Column, found: ColumnType
) -> Iterator[str]:
    """Return the problem of a NUMERIC that is too narrow for the values written into it."""
    label, (precision, scale) = catalog.label(table.name, column.name), column.sizes
    asked = catalog.schema.scales.get(f"{table.name}.{column.name}", scale)
    if asked < scale <= (scale if found.scale is None else found.scale):
        yield f"{label}: schema.scales says {asked} decimals, expected {scale} or more"
    if found.precision is None or found.scale is None:
        return
    if found.precision - found.scale < precision - scale or found.scale < scale:
        yield f"{label}: is {found.declared}, expected room for {column.declared}"


def double_problem(label: str, expected: str) -> str:
    """Return the problem of a double that would have to be written."""
    return f"{label}: is double precision, expected {expected}: doubles are read, never written"
