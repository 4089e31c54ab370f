"""Two calls on the same portfolio at once, each on a connection of the caller's."""

import asyncio
import contextlib
import datetime as dt
from collections.abc import AsyncIterator
from typing import Any

import pytest

import batchcore
from batchcore.calendar import date_of
from batchcore.config import Settings
from batchcore.errors import DatabaseError
from support import database, ledger
from support.callers import BORROWED, caller
from support.runs import DAYS

D0, D1, _ = map(date_of, DAYS)
HOST = database.plain_host(4, DAYS)
IDS = sorted(database.key(portfolio.id) for portfolio in HOST.portfolios)


async def valued(
    db: Any, portfolios: list[Any] | None = None, *, date: dt.date = D0, dry_run: bool = False
) -> batchcore.BatchResult:
    calculator = batchcore.PnLCalculator(Settings(dry_run=dry_run), calendar="daily")
    return await calculator.calculate_all_portfolios_pnl(date, db, portfolios)


@contextlib.asynccontextmanager
async def waiting(url: str, work: Any) -> AsyncIterator[asyncio.Task[Any]]:
    """Give a task that waits for what another transaction has locked."""
    task = asyncio.ensure_future(work)
    try:
        async with database.connected(url) as other:
            await ledger.until(
                other,
                "SELECT EXISTS (SELECT FROM pg_stat_activity WHERE datname = current_database()"
                " AND wait_event_type = 'Lock')",
            )
        yield task
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)


@pytest.mark.parametrize("kind", BORROWED)
async def test_the_second_waits_and_then_finds_the_work_done(same_filled: str, kind: str) -> None:
    async with caller(same_filled, kind) as first, caller(same_filled, kind) as second:
        assert (await valued(first.db, IDS[:2])).rows_written == 2
        # in the opposite order: rows are locked by id, so that none waits for the other
        async with waiting(same_filled, valued(second.db, IDS[2::-1])) as task:
            await first.commit()
            result = await task
        assert result.to_dict()["portfolios"]["status"] == ["skipped", "skipped", "ok"]
        await second.commit()
    assert {day for _, day in await database.snapshots(same_filled)} == {DAYS[0]}
    assert len(await database.snapshots(same_filled)) == 3


async def test_the_second_does_the_work_that_the_first_undoes(same_filled: str) -> None:
    async with caller(same_filled, "session") as first, caller(same_filled, "asyncpg") as second:
        await valued(first.db)
        async with waiting(same_filled, valued(second.db)) as task:
            await first.rollback()
            result = await task
        assert result.rows_written == 4
        await second.commit()
    assert len(await database.snapshots(same_filled)) == 4


async def test_other_portfolios_and_plans_do_not_wait(same_filled: str) -> None:
    async with caller(same_filled, "session") as first, caller(same_filled, "session") as second:
        await valued(first.db, IDS[:1])
        async with asyncio.timeout(30):
            assert (await valued(second.db, IDS[1:2])).rows_written == 1
            plan = await valued(second.db, dry_run=True)
        assert len(plan.portfolios) == 4


@pytest.mark.parametrize("date", [D0, D1])
@pytest.mark.parametrize("level", ["REPEATABLE READ", "SERIALIZABLE"])
async def test_a_transaction_that_cannot_see_the_work_is_to_be_begun_again(
    same_filled: str, level: str, date: dt.date
) -> None:
    if date == D1:
        await batchcore.run_batch(same_filled, D0, D0, calendar="daily")
    async with caller(same_filled, "asyncpg") as first, caller(same_filled, "session") as second:
        await second.execute(f"SET TRANSACTION ISOLATION LEVEL {level}")
        await second.execute("SELECT count(*) FROM portfolio_snapshots")
        await valued(first.db, date=date)
        async with waiting(same_filled, valued(second.db, date=date)) as task:
            await first.commit()
            with pytest.raises(DatabaseError, match=f"is {level} .* begin again") as caught:
                await task
        # equities are changed on the second day, and only then is the row another one
        assert caught.value.sqlstate == ("23505" if date == D0 else "40001")
        await second.rollback()
        assert (await valued(second.db, date=date)).nothing_to_do
    assert len(await database.snapshots(same_filled)) == (4 if date == D0 else 8)


async def test_a_run_waits_for_a_session_before_it_locks_snapshots(same_filled: str) -> None:
    async with caller(same_filled, "session") as first:
        await valued(first.db, IDS[:1])
        run = batchcore.run_batch(same_filled, D0, D1, calendar="daily")
        async with waiting(same_filled, run) as task:
            assert (await valued(first.db, IDS[:1])).nothing_to_do  # it waits for nobody
            await first.commit()
            result = await task
    assert (result["success"], result.retries) == (True, 1)
    assert len(await database.snapshots(same_filled)) == 8
