"""Locks of others that a run waits for, reported while it waits."""

from __future__ import annotations

import asyncio
import contextlib
import logging
from typing import TYPE_CHECKING, Final

from batchcore.pg.session import transaction

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterator

    from batchcore.pg.database import Database
    from batchcore.pg.ledger import Ledger
    from batchcore.pg.session import Session

LATE_S: Final = 5.0
"""How long a step may take before the server is asked whether it waits for a lock."""

log: Final = logging.getLogger("batchcore")


class LockWatch:
    """Reports which locks a late run waits for, and who holds them; others ask nothing."""

    def __init__(self) -> None:
        self._late: set[int] = set()
        self._reported: set[tuple[int, int]] = set()
        self._wakes = asyncio.Event()

    @contextlib.contextmanager
    def around(self, session: Session) -> Iterator[None]:
        """Watch over a step on a session."""
        pid = 0 if session.is_gone else session.raw.get_server_pid()
        timer = asyncio.get_running_loop().call_later(LATE_S, self._is_late, pid)
        try:
            yield
        finally:
            timer.cancel()
            self._late.discard(pid)
            self._reported = {pair for pair in self._reported if pair[0] != pid}

    def _is_late(self, pid: int) -> None:
        self._late.add(pid)
        self._wakes.set()

    async def sleep(self, seconds: float) -> float:
        """Sleep until there is something to `report`, or so long; return the seconds left."""
        loop = asyncio.get_running_loop()
        until = loop.time() + seconds
        self._wakes.clear()
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(min(seconds, LATE_S) if self._late else seconds):
                await self._wakes.wait()
        return max(until - loop.time(), 0.0)

    @contextlib.asynccontextmanager
    async def before_lease(
        self, session: Session, database: Database, ledger: Ledger, run_id: str
    ) -> AsyncIterator[None]:
        """Watch over a step before there is a heartbeat, on a connection opened once it is late."""
        task = asyncio.create_task(self._watch(database, ledger, run_id))
        try:
            with self.around(session):
                yield
        finally:
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)

    async def _watch(self, database: Database, ledger: Ledger, run_id: str) -> None:
        await self._wakes.wait()
        async with database.writing("ledger") as session:
            while True:
                await self.report(session, ledger, run_id)
                await self.sleep(LATE_S)

    async def report(
        self, session: Session, ledger: Ledger, run_id: str, token: int | None = None
    ) -> None:
        """Log which processes hold up each late step, each of them once."""
        late = sorted(self._late)  # a step may end before the server is asked
        if not late:
            return
        async with transaction(session):
            blocked = await ledger.blocked(session, late, token)
        for found in blocked:
            if (found.pid, found.holder) in self._reported:
                continue
            self._reported.add((found.pid, found.holder))
            log.warning(
                "run=%s waiting_for_lock=true pid=%d holder=%d user=%s application=%r state=%r"
                " transaction_s=%.0f",
                run_id,
                found.pid,
                found.holder,
                found.user,
                found.application,
                found.state,
                found.age_s or 0.0,
            )
