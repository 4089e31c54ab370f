"""A host that differs from docs/schema.md in every way that batchcore takes, and its rows.

Its tables stand in a schema of its own under names of its own, with types, enums, constraints,
indexes and columns that the listing does not have. Tables of the listed names stand in `public`,
to be left alone.
"""

import tomllib
from collections.abc import Sequence
from pathlib import Path

import asyncpg

from support import database, legacy_host
from support.cases import Run
from support.database import Db, Host, Tables

NAMESPACE = "ledger"

TOML = Path(__file__).with_suffix(".toml").read_text()
"""The names of the host, as a user writes them into a file."""

SQL = Path(__file__).with_suffix(".sql").read_text()
"""What makes the host."""


async def fill(db: Db, host: Host) -> None:
    """Write a host's rows, and a snapshot that somebody has remarked on for each that stands."""
    tables = database.tables_of(host.portfolios)
    tables["portfolio_snapshots"] = [
        row
        for portfolio in host.portfolios
        for row in database.snapshot_rows(portfolio.id, host.standing_of(portfolio.id))
    ]
    tables["market_data_cache"] = database.price_rows(host.prices)
    async with database.connected(db) as connection:
        await _write(connection, tables)
        await connection.execute("UPDATE ledger.daily SET mood = 'nervous'")
        await connection.execute("INSERT INTO ledger.remarks SELECT id, 'seen' FROM ledger.daily")


async def fill_legacy(url: str, run: Run) -> None:
    """Write the rows of a run of the policy `legacy`."""
    async with database.connected(url) as connection:
        await connection.execute("TRUNCATE ledger.firms")
        await _write(connection, legacy_host.tables_of(run))


async def _write(connection: asyncpg.Connection, tables: Tables) -> None:
    """Write rows under the names of the host: of each, the columns that it has."""
    names = tomllib.loads(TOML)
    for table, rows in tables.items():
        own, columns = names["tables"][table], names["columns"].get(table, {})
        listed = await connection.fetch(
            "SELECT column_name::text FROM information_schema.columns WHERE is_identity = 'NO'"
            " AND table_schema = $1 AND table_name = $2",
            NAMESPACE,
            own,
        )
        there = {name for (name,) in listed}
        for row in rows:
            named = {columns.get(column, column): cell for column, cell in row.items()}
            kept = {name: cell for name, cell in named.items() if name in there}
            await connection.copy_records_to_table(
                own, schema_name=NAMESPACE, columns=list(kept), records=[tuple(kept.values())]
            )


def quoted(names: Sequence[str]) -> str:
    """Return names as a list of quoted identifiers."""
    return ", ".join('"' + name.replace('"', '""') + '"' for name in names)
