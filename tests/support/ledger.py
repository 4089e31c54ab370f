"""The ledger as a plain SELECT brings it, and what a process that was killed leaves in it."""

import asyncio
import contextlib
from collections.abc import AsyncIterator, Coroutine, Iterator
from typing import Any

import asyncpg
import pytest

from batchcore.errors import DatabaseError
from support.database import connected, execute, fetch
from support.triggers import acts

LOCK = 4711
RAISE = "RAISE EXCEPTION 'not this one' USING ERRCODE = 'ZZ042';"
WAIT = f"PERFORM pg_advisory_xact_lock({LOCK});"


async def runs(url: str) -> list[asyncpg.Record]:
    """Return the runs in the order in which they began."""
    return await fetch(url, "SELECT * FROM batchcore_runs ORDER BY created_at")


async def chunks(url: str) -> list[asyncpg.Record]:
    """Return the chunks of all runs, those of a run by number."""
    return await fetch(
        url,
        "SELECT c.* FROM batchcore_run_chunks AS c JOIN batchcore_runs AS r ON r.id = c.run_id"
        " ORDER BY r.created_at, c.chunk",
    )


async def expire(url: str, seconds: int = -1) -> None:
    """Let every lease expire in so many seconds, or have expired."""
    ends = f"now() + interval '{seconds} second'"
    await execute(url, f"UPDATE batchcore_run_heartbeats SET expires_at = {ends}")  # noqa: S608


async def kill(url: str) -> None:
    """Leave the runs as if their process was killed long ago, before it could say so."""
    await execute(url, "UPDATE batchcore_runs SET state = 'running', ended_at = NULL, error = NULL")
    await expire(url)


async def spoil(
    url: str, portfolio: object, action: str, *, table: str = "portfolio_snapshots"
) -> None:
    """Let the server do something when the rows of a portfolio are written."""
    column, when = ("id", "UPDATE") if table == "portfolios" else ("portfolio_id", "INSERT")
    body = f"IF NEW.{column} = '{portfolio}' THEN {action} END IF; RETURN NEW;"
    await execute(url, acts(body, when=f"BEFORE {when}", table=table, name="spoil"))


@contextlib.asynccontextmanager
async def refused(
    url: str, portfolio: object, *, table: str = "portfolio_snapshots"
) -> AsyncIterator[pytest.ExceptionInfo[DatabaseError]]:
    """Let what is done meanwhile fail when it writes the rows of a portfolio."""
    await spoil(url, portfolio, RAISE, table=table)
    with pytest.raises(DatabaseError, match="not this one") as caught:
        yield caught
    await mend(url)


async def heal(url: str) -> None:
    """Let the server do nothing of it any more, though a transaction that it holds up is open."""
    await execute(
        url,
        "CREATE OR REPLACE FUNCTION spoil() RETURNS trigger LANGUAGE plpgsql AS"
        " $$ BEGIN RETURN NEW; END $$",
    )


async def mend(url: str) -> None:
    await execute(url, "DROP FUNCTION spoil CASCADE")


@contextlib.asynccontextmanager
async def at_work(
    url: str, portfolio: object, work: Coroutine[Any, Any, Any]
) -> AsyncIterator[asyncio.Task[Any]]:
    """Give a run that is inside the transaction of a portfolio, until its lock is given back."""
    await spoil(url, portfolio, WAIT)
    async with connected(url) as other:
        await other.fetchval(f"SELECT pg_advisory_lock({LOCK})")
        task = asyncio.create_task(work)
        try:
            await waits(other)
            yield task
        finally:
            await other.fetchval(f"SELECT pg_advisory_unlock({LOCK})")
            async with asyncio.timeout(30):
                await asyncio.gather(task, return_exceptions=True)
    await mend(url)


async def waits(connection: asyncpg.Connection) -> None:
    """Return when a backend waits for a lock that this connection holds."""
    await until(
        connection,
        "SELECT EXISTS (SELECT FROM pg_locks WHERE NOT granted"
        " AND pg_backend_pid() = ANY(pg_blocking_pids(pid)))",
    )


async def until(connection: asyncpg.Connection, query: str) -> None:
    """Return when a query answers true."""
    async with asyncio.timeout(30):
        for _ in _forever():
            if await connection.fetchval(query):
                return


def _forever() -> Iterator[None]:
    while True:
        yield
