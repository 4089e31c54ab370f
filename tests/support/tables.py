"""A filled database as tests of the command line look at it."""

import asyncio
import datetime as dt
from typing import Any

import asyncpg

from batchcore.demo import run as demo
from support.command import Said, batchcore
from support.database import connected

SIZE = demo.Size(portfolios=12, symbols=30, sessions=10)
SEED = 7
DAYS = dt.date(2025, 6, 16), dt.date(2025, 6, 30)
START, END = map(str, DAYS)
"""The ten sessions of XNYS; 2025-06-19 is a holiday."""

RANGE = ("--start", START, "--end", END)
ROWS = SIZE.portfolios * SIZE.sessions
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


def run(url: str, *words: str) -> Said:
    """Call `batchcore run` for all sessions."""
    return batchcore("run", "--database-url", url, *RANGE, *words)


def exceed(url: str, portfolios: int = 1) -> None:
    """Let the lots of the first portfolios be worth more than the columns hold."""
    query(
        url,
        "UPDATE positions SET quantity = 999999999999, position_type = 'LC', symbol = 'SPY',"  # noqa: S608
        " exit_date = NULL, expiration_date = NULL, investment_class = NULL WHERE portfolio_id IN"
        f" (SELECT id FROM portfolios ORDER BY id LIMIT {portfolios})",
    )


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
