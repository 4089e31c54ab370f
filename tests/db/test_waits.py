"""Locks of a host that a run waits for: told with who holds them, and waited for."""

import asyncio
import re
from functools import partial

import asyncpg
import pytest

import batchcore
from batchcore.config import Schema, Settings
from batchcore.errors import DatabaseError
from batchcore.pg.database import Database
from batchcore.pg.ledger import Ledger
from batchcore.run import lease
from support import database, runs
from support.callers import caller
from support.generate import MONDAY
from support.roles import role_of
from support.waiting import Heard, holding

DAYS = list(range(MONDAY, MONDAY + 2))
run = partial(runs.run, days=DAYS, on_existing="replace", settings=Settings(connections=2))
HOST = database.plain_host(4, DAYS)
LOCKS = {
    "rows of portfolios": "SELECT FROM portfolios FOR UPDATE",
    "rows of snapshots": "UPDATE portfolio_snapshots SET cash_value = 0",
    "a table that is read": "LOCK TABLE positions",
    "a table that is written": "LOCK TABLE portfolio_snapshots IN SHARE MODE",
}


@pytest.mark.parametrize("lock", LOCKS)
async def test_a_run_that_waits_for_a_lock_says_who_holds_it_and_goes_on(
    same_filled: str, heard: Heard, lock: str
) -> None:
    await run(same_filled)
    assert not heard.lines
    # which is to be replaced
    await database.execute(same_filled, "UPDATE portfolios SET equity_balance = 1")
    async with asyncio.timeout(60):
        async with holding(same_filled, LOCKS[lock]) as raw:
            pid = await raw.fetchval("SELECT pg_backend_pid()")
            task = asyncio.create_task(run(same_filled))
            await heard.event.wait()
        result = await task
    assert result.rows_written == 4 * len(DAYS)
    told = (
        r"run=\S+ waiting_for_lock=true pid=\d+ holder="
        rf"{pid} user=postgres application=\"the host's job\" state='idle in transaction'"
        r" transaction_s=\d+"
    )
    assert re.fullmatch(told, heard.lines[0])
    assert len(set(heard.lines)) == len(heard.lines)


@pytest.mark.parametrize("kind", ["pool", "engine"])
async def test_a_pool_without_a_connection_to_spare_is_enough_to_ask(
    same_filled: str, heard: Heard, kind: str
) -> None:
    async with asyncio.timeout(60), caller(same_filled, kind) as given:
        async with holding(same_filled, LOCKS["rows of portfolios"]):
            task = asyncio.create_task(run(given.db))
            await heard.event.wait()
        await task


async def test_a_hidden_holder_is_told_by_its_process(same_filled: str, heard: Heard) -> None:
    async with asyncio.timeout(60), role_of(same_filled) as (_, url):
        async with holding(same_filled, LOCKS["rows of portfolios"]) as raw:
            pid = await raw.fetchval("SELECT pg_backend_pid()")
            task = asyncio.create_task(run(url))
            await heard.event.wait()
        await task
    assert f" holder={pid} user=postgres" in heard.lines[0]


async def until_waits(raw: asyncpg.Connection, pid: int) -> None:
    """Return when a process waits for a lock."""
    waiting = "SELECT FROM pg_locks WHERE NOT granted AND pid = $1"
    while not await raw.fetch(waiting, pid):
        pass


@pytest.mark.parametrize("connections", [2, 4])
@pytest.mark.parametrize("behind", ["it", "another that waits for it"])
async def test_a_run_that_waits_behind_who_waits_for_it_gives_way(
    filled: str, heard: Heard, behind: str, connections: int
) -> None:
    await run(filled)
    await database.execute(filled, "UPDATE portfolios SET equity_balance = 1")
    asked = partial(run, filled, settings=Settings(connections=connections))
    async with asyncio.timeout(60), database.connected(filled) as changing:
        async with holding(filled, LOCKS["rows of portfolios"]) as raw:
            task = asyncio.create_task(asked())
            await heard.event.wait()
            pid = changing.get_server_pid()
            sql = "ALTER TABLE portfolio_snapshots ADD more int; ALTER TABLE positions ADD more int"
            change = asyncio.create_task(changing.execute(sql))
            await until_waits(raw, pid)
            if behind != "it":
                pid = raw.get_server_pid()
                await raw.execute("TABLE portfolio_snapshots")
        with pytest.raises(
            DatabaseError, match=rf"deadlock: process {pid} \(user postgres"
        ) as told:
            await task
        await change
        assert told.value.sqlstate == "40P01"
        assert [one.state for one in await batchcore.runs(filled)] == ["failed", "complete"]
        result = await asked()
    assert result.attempt == 2
    assert result.rows_written == 4 * len(DAYS)


async def test_a_step_may_end_before_the_server_is_asked(
    same_filled: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(lease, "LATE_S", 0.0)
    watch = lease.LockWatch()
    async with Database(same_filled).writing("ledger") as session:
        with watch.around(session):
            await watch.sleep(1.0)
            report = asyncio.create_task(watch.report(session, Ledger(Schema()), "run"))
            await asyncio.sleep(0)  # it has begun, and its transaction has not
        await report
