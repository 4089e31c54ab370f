"""Fill an empty database: tables of columns, encoded natively, by binary COPY."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from batchcore.config import Schema
from batchcore.db.catalog import inspect
from batchcore.db.check import check_revision, double_problem, schema_error
from batchcore.errors import ConfigError
from batchcore.frames import Decimals
from batchcore.pg.database import Database
from batchcore.pg.fields import encoded, field_of
from batchcore.pg.session import transaction
from batchcore.pg.sql import Relation, column_name, compose, table_name
from batchcore.schema import CURRENCY, HOST, WHOLE, Kind, Use
from batchcore.sinks.staging import not_stored_error
from batchcore.words import of_rows

if TYPE_CHECKING:
    from collections.abc import Sequence

    from batchcore.db.catalog import Catalog
    from batchcore.frames import Table
    from batchcore.options import Progress
    from batchcore.pg.session import Session

NEEDED: Final = frozenset(name for name, one in HOST.items() if one.is_required(Use.RUN))
"""Tables that every run needs; others are filled if they exist."""

RESULTS: Final = "portfolio_snapshots"
"""The table that a fill leaves empty, and that must be empty before it."""


async def fill(
    db: object,
    tables: Sequence[Table],
    *,
    schema: Schema | None = None,
    progress: Progress | None = None,
) -> int:
    """Write ``tables`` into a database that has no rows in them, in one transaction; count them.

    Optional tables that the database lacks are left out; the others come in the order of foreign
    keys. Progress is `fill`, tables done and tables in all.
    """
    schema = schema or Schema()
    rows = 0
    async with Database(db).writing("fill") as session:
        async with transaction(session):
            catalog = await inspect(session, schema)
            await check_revision(session, catalog)
            tables = [table for table in tables if await _is_there(session, schema, table.name)]
            _refuse_misfits(catalog, tables)
            await _refuse_rows(session, schema, [*(table.name for table in tables), RESULTS])
            for done, table in enumerate(tables):
                if progress is not None:
                    progress("fill", done, len(tables))
                rows += await _copy(session, schema, table)
        # Without it the planner has no statistics of the rows until autovacuum runs.
        names = ", ".join(table_name(schema, table.name) for table in tables)
        await session.execute(f"ANALYZE {names}")
    return rows


async def create_mapped(db: object, schema: Schema) -> None:
    """Create the tables of splits and rates that a schema maps, and the column with currencies.

    For the database of a demo, which has the tables of a host.
    """
    statements = []
    for name in schema.described.keys() - HOST:
        columns = ", ".join(
            f"{column_name(schema, name, one.name)} {one.declared}{' NOT NULL' * one.not_null}"
            for one in schema.described[name].columns
        )
        statements.append(f"CREATE TABLE {table_name(schema, name)} ({columns})")
    if schema.fx is not None:
        table = schema.fx.currency_table
        column = column_name(schema, table, CURRENCY.name)
        added = f"ALTER TABLE {table_name(schema, table)} ADD {column} {CURRENCY.declared}"
        statements.append(added)
    async with Database(db).writing("fill") as session, transaction(session):
        for one in statements:
            await session.execute(one)


async def _is_there(session: Session, schema: Schema, table: str) -> bool:
    if table in NEEDED:
        return True
    found: bool = await session.fetchval(
        "SELECT to_regclass($1) IS NOT NULL", table_name(schema, table)
    )
    return found


def _refuse_misfits(catalog: Catalog, tables: Sequence[Table]) -> None:
    """Raise an error for tables that lack a column, or have a double instead of a decimal."""
    problems = []
    for table, name, column in [(t.name, *one) for t in tables for one in t.columns.items()]:
        label, found = catalog.label(table, name), catalog.find(table, name)
        if found is None:
            problems.append(f"{label}: missing column")
        elif isinstance(column, Decimals) and found.kind is Kind.FLOAT8:
            problems.append(double_problem(label, "numeric"))
        elif isinstance(column, Decimals) and found.kind in WHOLE:
            what = "expected numeric: splits are written as that"
            problems.append(f"{label}: is {found.declared}, {what}")
    if problems:
        raise schema_error(tuple(problems))


async def _refuse_rows(session: Session, schema: Schema, tables: list[str]) -> None:
    for table in tables:
        query = compose("SELECT EXISTS (SELECT FROM {own})", own=Relation(schema, table))
        if await session.fetchval(query):
            raise ConfigError(
                f"table `{schema.table(table)}` has rows already: only an empty database is "
                "filled, and nothing was changed in this one",
                "database_url",
            )


async def _copy(session: Session, schema: Schema, table: Table) -> int:
    if not table.rows:
        return 0
    fields = [field_of(name, column) for name, column in table.columns.items()]
    pieces = encoded(fields, table.rows)
    columns = [schema.column(table.name, name) for name in table.columns]
    name, namespace = schema.table(table.name), schema.namespace
    stored = await session.copy_in(name, columns, pieces, namespace=namespace)
    if stored != table.rows:
        wrong = of_rows(table.rows - stored, table.rows, "is missing", "are missing")
        raise await not_stored_error(session, schema, table.name, wrong)
    return stored
