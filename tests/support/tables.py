"""A filled database as tests of the command line look at it."""

import asyncio
from typing import Any

import asyncpg

from batchcore import demo
from support.database import connected

SIZE = demo.Size(portfolios=12, symbols=30, sessions=10)
SEED = 7
FILLED = (
    "users",
    "portfolios",
    "positions",
    "position_realized_events",
    "equity_changes",
    "tags_v2",
    "position_tags",
    "company_profiles",
    "factor_definitions",
    "benchmarks_sector_weights",
    "market_data_cache",
)
"""What a fill writes, in its order."""

TABLES = (*FILLED, "portfolio_snapshots")


def query(url: str, sql: str) -> list[asyncpg.Record]:
    """Return the rows of a SELECT; run anything else, several statements too."""

    async def run() -> list[asyncpg.Record]:
        async with connected(url) as connection:
            if sql.startswith("SELECT"):
                return await connection.fetch(sql)
            await connection.execute(sql)
            return []

    return asyncio.run(run())


def digests(url: str) -> dict[str, Any]:
    """Return a digest of all rows of each table that is there."""
    there = {row[0] for row in query(url, "SELECT tablename::text FROM pg_tables")}
    return {
        table: query(
            url,
            f"SELECT md5(string_agg(t::text, chr(10) ORDER BY t::text)) FROM {table} t",  # noqa: S608
        )[0][0]
        for table in TABLES
        if table in there
    }
