"""Names of a configuration that would be SQL, were they not quoted: all of it works with them."""

import uuid
from importlib.metadata import version

import pytest

import batchcore
from batchcore.calendar import date_of
from batchcore.config import Schema, Settings
from batchcore.db.migrate import check, downgrade, migrate
from batchcore.errors import ConfigError
from batchcore.pg.sql import quote_identifier
from batchcore.schema import HOST as TABLES
from batchcore.schema import OWN
from support import database
from support.generate import MONDAY
from support.outcome import outcome

NAMESPACES = [
    "we\"ird'; DROP SCHEMA public CASCADE; --\\ %s %(a)s :b ::c {} ?\n",
    " größe 株\t$1 $$ '' \\' %% .x\"",
]
TRAP = "\"'; DROP TABLE \\ %s %(x)s :y {} \n$1"
"""Stands in the name of each table and column."""

DAYS = list(range(MONDAY, MONDAY + 4))
HOST = database.plain_host(4, DAYS)


async def renamed(url: str, namespace: str) -> Schema:
    """Rename namespace, tables and columns of a migrated database, all but those of batchcore."""
    async with database.connected(url) as connection:
        columns = await connection.fetch(
            "SELECT relname, attname FROM pg_attribute JOIN pg_class AS c ON c.oid = attrelid"
            " WHERE relnamespace = 'public'::regnamespace AND relname = ANY($1) AND attnum > 0",
            list(TABLES),
        )
        tables = {table: f"{number}{TRAP}" for number, table in enumerate(TABLES)}
        names = {
            f"{table}.{column}": f"{number}{TRAP}" for number, (table, column) in enumerate(columns)
        }
        for name, new in names.items():
            table, _, column = name.partition(".")
            await connection.execute(
                f"ALTER TABLE {table} RENAME {column} TO {quote_identifier(new)}"
            )
        for table in {table for table, _ in columns}:
            await connection.execute(
                f"ALTER TABLE {table} RENAME TO {quote_identifier(tables[table])}"
            )
        await connection.execute(f"ALTER SCHEMA public RENAME TO {quote_identifier(namespace)}")
        await connection.execute("CREATE SCHEMA public; CREATE TABLE public.x (a int)")
    return Schema(namespace=namespace, tables=tables, columns=names)


async def stored(url: str, schema: Schema) -> dict[tuple[uuid.UUID, int], object]:
    """Return the equities stored under the names of a schema."""
    table, portfolio, date, equity = (
        quote_identifier(name)
        for name in (
            schema.table("portfolio_snapshots"),
            *(
                schema.column("portfolio_snapshots", column)
                for column in ("portfolio_id", "snapshot_date", "equity_balance")
            ),
        )
    )
    rows = await database.fetch(
        url,
        f"SELECT {portfolio}, {date}, {equity}"  # noqa: S608  # quoted
        f" FROM {quote_identifier(schema.namespace)}.{table}",
    )
    assert await database.fetchval(url, "SELECT count(*) FROM public.x") == 0
    return {(row[0], (row[1] - database.EPOCH).days): row[2] for row in rows}


@pytest.mark.parametrize(
    ("namespace", "policy"),
    [(NAMESPACES[0], "rollforward"), (NAMESPACES[1], "rollforward"), (NAMESPACES[1], "legacy")],
)
async def test_tables_and_columns_of_any_name_are_read_and_written(
    filled: str, namespace: str, policy: str
) -> None:
    schema = await renamed(filled, namespace)
    options = {"policy": policy, "settings": Settings(schema=schema, chunk_size=2)}
    if policy == "rollforward":
        options |= {"calendar": "daily", "analytics": "full"}
    days = date_of(DAYS[0]), date_of(DAYS[-1])

    planned = await batchcore.run_batch(
        filled, *days, **{**options, "settings": Settings(schema=schema, dry_run=True)}
    )
    result = await batchcore.run_batch(filled, *days, **options)
    again = await batchcore.run_batch(filled, *days, **options, on_existing="replace")

    rows = len(DAYS) * len(HOST.portfolios)
    assert (result.rows_written, again.rows_written, result.failed) == (rows, rows, 0)
    assert planned.rows_written == 0
    found = await stored(filled, schema)
    assert len(found) == rows
    if policy == "rollforward":
        expected = outcome(HOST, DAYS, DAYS[0], DAYS[-1])
        assert found == {at: cells["equity_balance"] for at, cells in expected.cells.items()}
        checked = await batchcore.verify(filled, calendar="daily", settings=Settings(schema=schema))
        assert (checked.rows, checked.rows_differing) == (rows, 0)


@pytest.mark.parametrize("namespace", NAMESPACES)
async def test_a_namespace_of_any_name_is_migrated_and_back(make_database, namespace: str) -> None:
    url, schema = await make_database(), Schema(namespace=namespace)
    await database.execute(
        url, f"CREATE SCHEMA {quote_identifier(namespace)}", "CREATE TABLE public.x (a int)"
    )
    if "%(a)s" in namespace and version("sqlalchemy").startswith("2.0."):
        for refused in (check, migrate, downgrade):
            with pytest.raises(ConfigError, match="takes a part of the name for a parameter"):
                await refused(url, schema=schema)
        return

    async def relations() -> dict[str, str]:
        query = (
            "SELECT relname::text, nspname::text FROM pg_class"
            " JOIN pg_namespace AS n ON n.oid = relnamespace"
            " WHERE relkind IN ('r', 'S') AND nspname = ANY($1)"
        )
        return dict(await database.fetch(url, query, [namespace, "public"]))

    done = await migrate(url, schema=schema)
    assert done.applied
    assert (await check(url, schema=schema)).is_current
    made = await relations()
    assert made.pop("x") == "public"
    assert set(made) >= {*TABLES, *OWN}
    assert set(made.values()) == {namespace}
    await downgrade(url, "base", schema=schema)
    assert set(await relations()) <= {"x", "batchcore_alembic_version"}
