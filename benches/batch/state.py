"""What the tables are before a run, and putting them back.

The schema `bench` keeps copies: of what runs change in the rows of portfolios and positions, and
the snapshots that a daily run goes on from.
"""

import asyncpg

from batch.job import Job

WRITTEN_BY_FULL = ("position_market_betas", "factor_exposures", "position_factor_exposures")

_KEEP_OPENING = (
    (
        "CREATE TABLE IF NOT EXISTS bench.opening AS SELECT id, equity_balance, updated_at"
        " FROM portfolios"
    ),
    (
        "CREATE TABLE IF NOT EXISTS bench.market_values AS"
        " SELECT id, last_price, market_value, unrealized_pnl FROM positions"
    ),
    # The copies are joined with, so the planner is to know them.
    "ANALYZE bench.opening, bench.market_values",
)
_RESTORE_EQUITIES = """
    UPDATE portfolios p SET equity_balance = o.equity_balance, updated_at = o.updated_at
    FROM {source} o WHERE p.id = o.id
        AND (p.equity_balance, p.updated_at) IS DISTINCT FROM (o.equity_balance, o.updated_at)
"""
_RESTORE_VALUES = """
    UPDATE positions p SET last_price = v.last_price, market_value = v.market_value,
        unrealized_pnl = v.unrealized_pnl
    FROM bench.market_values v WHERE p.id = v.id AND (p.last_price, p.market_value,
        p.unrealized_pnl) IS DISTINCT FROM (v.last_price, v.market_value, v.unrealized_pnl)
"""


async def keep_opening(connection: asyncpg.Connection) -> None:
    """Keep what the rows of portfolios and positions are before any run."""
    if await connection.fetchval("SELECT to_regclass('bench.opening') IS NULL"):
        for statement in _KEEP_OPENING:
            await connection.execute(statement)


async def has_history(connection: asyncpg.Connection, sessions: int) -> bool:
    """Return whether the snapshots of so many sessions before the day are kept."""
    name = f"bench.history_{sessions}"
    return not await connection.fetchval("SELECT to_regclass($1) IS NULL", name)


async def keep_history(connection: asyncpg.Connection, sessions: int) -> None:
    """Keep the snapshots and equities that stand as those before a daily run."""
    for name, query in (
        (f"rolled_{sessions}", "SELECT id, equity_balance, updated_at FROM portfolios"),
        (f"history_{sessions}", "SELECT * FROM portfolio_snapshots"),
    ):
        await connection.execute(f"CREATE TABLE bench.{name} AS {query}")
        await connection.execute(f"ANALYZE bench.{name}")


async def put_back(connection: asyncpg.Connection, job: Job) -> None:
    """Make the tables what they are before a job, vacuumed and checkpointed, as a superuser."""
    history = len(job.history)
    await connection.execute("SET session_replication_role = replica")
    await connection.execute("TRUNCATE portfolio_snapshots")
    await connection.execute("TRUNCATE batchcore_runs CASCADE")  # no run is to be gone on with
    source = f"bench.rolled_{history}" if history else "bench.opening"
    await connection.execute(_RESTORE_EQUITIES.format(source=source))
    changed = ["portfolio_snapshots", "portfolios"]
    if history:
        await connection.execute(
            f"INSERT INTO portfolio_snapshots SELECT * FROM bench.history_{history}"
            " ORDER BY portfolio_id, snapshot_date"
        )
    if job.analytics == "full":
        await connection.execute(f"TRUNCATE {', '.join(WRITTEN_BY_FULL)}")
        await connection.execute(_RESTORE_VALUES)
        changed += ["positions", *WRITTEN_BY_FULL]
    for table in changed:
        await connection.execute(f"VACUUM (ANALYZE) {table}")
    await connection.execute("CHECKPOINT")
