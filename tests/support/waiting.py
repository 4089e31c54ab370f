"""Locks that a run waits for, and what it says of them."""

import asyncio
import contextlib
import logging
from collections.abc import AsyncIterator

import asyncpg


class Heard(logging.Handler):
    """Sets an event when a run says that it waits."""

    def __init__(self) -> None:
        super().__init__()
        self.lines: list[str] = []
        self.event = asyncio.Event()

    def emit(self, record: logging.LogRecord) -> None:
        line = record.getMessage()
        if "waiting_for_lock=true" in line:
            self.lines.append(line)
            self.event.set()


@contextlib.asynccontextmanager
async def holding(url: str, lock: str) -> AsyncIterator[asyncpg.Connection]:
    """Hold a lock in a transaction that is idle."""
    raw = await asyncpg.connect(url, server_settings={"application_name": "the host's job"})
    try:
        async with raw.transaction():
            await raw.execute(lock)
            yield raw
    finally:
        await raw.close()
