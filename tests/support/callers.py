"""Every kind of database that a caller may hand in, and what the caller itself does on it."""

import contextlib
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass
from typing import Any

import asyncpg
import pytest
from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncEngine, AsyncSession, create_async_engine

from support import database

OWN = ("url", "pool", "engine")
BORROWED = ("connection", "session", "asyncpg", "lent")


@dataclass
class Caller:
    """What a caller hands in, and what it does itself on its own transaction."""

    db: Any
    execute: Callable[[str], Awaitable[Any]]
    commit: Callable[[], Awaitable[None]]
    rollback: Callable[[], Awaitable[None]]


def with_driver(url: str) -> str:
    return url.replace("postgresql://", "postgresql+asyncpg://")


@contextlib.asynccontextmanager
async def engine_of(url: str, **options: Any) -> AsyncIterator[AsyncEngine]:
    engine = create_async_engine(with_driver(url), **options)
    try:
        yield engine
    finally:
        await engine.dispose()


@contextlib.asynccontextmanager
async def caller(url: str, kind: str, isolation: str | None = None) -> AsyncIterator[Caller]:
    """A caller, one with a connection inside a transaction."""

    async def nothing(*_: str) -> None:
        pytest.fail("the caller has no transaction")

    async with contextlib.AsyncExitStack() as stack:
        match kind:
            case "url":
                yield Caller(url, nothing, nothing, nothing)
            case "pool":
                pool = await stack.enter_async_context(
                    asyncpg.create_pool(url, min_size=1, max_size=3)
                )
                yield Caller(pool, nothing, nothing, nothing)
            case "asyncpg" | "lent":
                if kind == "lent":
                    pool = await stack.enter_async_context(
                        # asyncpg 0.29 keeps a closed connection until its idle time has passed.
                        asyncpg.create_pool(
                            url, min_size=1, max_size=1, max_inactive_connection_lifetime=0
                        )
                    )
                    raw = await stack.enter_async_context(pool.acquire())
                else:
                    raw = await stack.enter_async_context(database.connected(url))
                transaction = raw.transaction(isolation=isolation)
                await transaction.start()
                yield Caller(raw, raw.fetchval, transaction.commit, transaction.rollback)
            case _:
                options = {} if isolation is None else {"isolation_level": isolation}
                engine = await stack.enter_async_context(engine_of(url, **options))
                if kind == "engine":
                    yield Caller(engine, nothing, nothing, nothing)
                    return
                db = AsyncSession(engine) if kind == "session" else engine.connect()
                await stack.enter_async_context(db)

                async def execute(sql: str) -> Any:
                    result = await db.execute(text(sql))
                    return result.scalar() if result.returns_rows else None

                yield Caller(db, execute, db.commit, db.rollback)
