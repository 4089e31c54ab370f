"""What would make a run wrong in silence, or wait for ever, is an error of one line instead."""

import asyncpg
import pytest
from sqlalchemy.ext.asyncio import create_async_engine

import batchcore
from batchcore.calendar import date_of
from batchcore.config import Settings
from batchcore.db.sqlalchemy_tables import ledger
from batchcore.errors import ConfigError, DatabaseError, SchemaError
from batchcore.pg import database as pg_database
from support import database
from support.database import Standing
from support.roles import role_of
from support.runs import DAYS, run

TABLES = ("portfolios", "positions", "market_data_cache", "equity_changes")
GRANTS = (
    f"SELECT, INSERT, UPDATE ON {', '.join(TABLES)}",
    "SELECT, INSERT, UPDATE ON portfolio_snapshots, position_realized_events",
    "SELECT ON batchcore_alembic_version",
    f"SELECT, INSERT, UPDATE, DELETE ON {', '.join(ledger.tables)}",
    "USAGE ON SEQUENCE batchcore_run_tokens",
)
"""Of a role that may read and write all rows."""
FIRST = date_of(DAYS[0])


@pytest.mark.parametrize("table", [*TABLES, "portfolio_snapshots"])
async def test_rows_hidden_by_a_policy_stop_the_run(host: str, table: str) -> None:
    await database.fill(host, database.plain_host(2, DAYS))
    await database.execute(host, f"ALTER TABLE {table} ENABLE ROW LEVEL SECURITY")
    async with role_of(host, *GRANTS) as (role, url):
        with pytest.raises(
            DatabaseError, match=f'for table "{table}": a run must see all'
        ) as error:
            await run(url)
        assert error.value.sqlstate == "42501"
        assert await database.snapshots(host) == {}
        await database.execute(host, f"ALTER ROLE {role} BYPASSRLS")
        assert (await run(url)).rows_written == 2 * len(DAYS)


async def test_a_role_without_temporary_tables_is_told_before_anything_is_loaded(host: str) -> None:
    await database.fill(host, database.plain_host(1, DAYS))
    async with database.connected(host) as connection:
        name = await connection.fetchval("SELECT current_database()")
        await connection.execute(f'REVOKE TEMPORARY ON DATABASE "{name}" FROM PUBLIC')
    async with role_of(host, *GRANTS) as (_, url):
        with pytest.raises(SchemaError, match="the role lacks TEMPORARY"):
            await run(url)
        planned = await run(url, settings=Settings(dry_run=True))
    assert len(planned.sessions) == len(DAYS)


async def test_a_pool_without_a_free_connection_is_told(
    same_host: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    await database.fill(same_host, database.plain_host(1, DAYS))
    monkeypatch.setattr(pg_database, "WAIT_S", 0.05)
    async with asyncpg.create_pool(same_host, min_size=0, max_size=3) as pool:
        async with pool.acquire(), pool.acquire():
            with pytest.raises(DatabaseError, match="a run needs at least 3"):
                await run(pool)
        assert (await run(pool)).rows_written == len(DAYS)


async def test_an_engine_without_a_free_connection_is_told(same_host: str) -> None:
    await database.fill(same_host, database.plain_host(1, DAYS))
    url = same_host.replace("postgresql:", "postgresql+asyncpg:")
    sa_engine = create_async_engine(url, pool_size=3, max_overflow=0, pool_timeout=0.05)
    try:
        async with sa_engine.connect(), sa_engine.connect():
            with pytest.raises(DatabaseError, match="a run needs at least 3") as error:
                await run(sa_engine)
            planned = await run(sa_engine, settings=Settings(dry_run=True))
    finally:
        await sa_engine.dispose()
    assert "http" not in str(error.value)
    assert len(planned.sessions) == len(DAYS)


async def test_a_plan_tells_the_gaps_that_a_run_tells(same_host: str) -> None:
    plain = database.plain_host(1, DAYS)
    rows = (Standing(DAYS[0]), Standing(DAYS[1], is_complete=False), Standing(DAYS[2]))
    await database.fill(same_host, database.Host(plain.portfolios, plain.prices, {"p0": rows}))
    end = date_of(DAYS[2] + 1)

    planned, done = [
        await batchcore.run_batch(
            same_host, FIRST, end, calendar="daily", settings=Settings(dry_run=dry_run)
        )
        for dry_run in (True, False)
    ]

    assert planned.rows_written == 0
    assert done.rows_written == 1
    assert planned.issues_by_name() == {"gap": 1}
    assert done.issues_by_name() == {"gap": 1}


async def test_an_end_of_another_type_is_named() -> None:
    with pytest.raises(ConfigError, match=r"^end is .*, expected a datetime\.date") as error:
        await batchcore.run_batch("postgresql://", FIRST, "2026-01-05")
    assert error.value.option == "end"


async def test_progress_reaches_its_total_past_chunks_without_work(same_host: str) -> None:
    plain = database.plain_host(3, DAYS)
    done = {plain.portfolios[1].id: (Standing(DAYS[-1]),)}
    await database.fill(same_host, database.Host(plain.portfolios, plain.prices, done))
    told: list[tuple[str, int, int]] = []

    result = await run(
        same_host, settings=Settings(chunk_size=1), progress=lambda *at: told.append(at)
    )

    assert told[-1] == ("persist", 3, 3)
    assert result.chunks == 2
