"""Sessions shared by several tasks, each lent to one task at a time."""

from __future__ import annotations

import asyncio
import contextlib
import logging
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final

from batchcore.errors import DatabaseError

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable

    from batchcore.pg.session import Session

    Open = Callable[[], contextlib.AbstractAsyncContextManager[Session]]
    Around = Callable[[Session], contextlib.AbstractContextManager[object]]

log = logging.getLogger("batchcore")

IDLE_S: Final = 5.0
"""Seconds of idling after which a session is checked before it is lent."""


@dataclass(slots=True, eq=False)
class _Slot:
    """A place for a session, which is opened, and opened again when it was lost."""

    session: Session | None = None
    released: asyncio.Event = field(default_factory=asyncio.Event)
    idle_since: float = 0.0


class SessionPool:
    """The sessions of a run: a task borrows one, and gives it back."""

    def __init__(self, *given: Session, around: Around = contextlib.nullcontext) -> None:
        """Begin with open sessions; ``around`` is entered while one is lent."""
        self._around = around
        self._slots: dict[Session, _Slot] = {}
        # The most recently used one comes first: its server process has the tables in its caches.
        self._idle: asyncio.LifoQueue[Session | Exception] = asyncio.LifoQueue()
        self._expected = len(given)
        self._over = False
        for session in given:
            self._idle.put_nowait(session)

    @contextlib.asynccontextmanager
    async def lend(self, phase: str) -> AsyncIterator[Session]:
        """Lend a session as soon as one is idle, or raise the error of the last failed opening."""
        session = await self._taken()
        try:
            session.phase = phase
            with self._around(session):
                yield session
        finally:
            self._give(session)

    def _give(self, session: Session) -> None:
        if session in self._slots:
            self._slots[session].idle_since = asyncio.get_running_loop().time()
        self._idle.put_nowait(session)

    async def _taken(self) -> Session:
        """Return an idle session; one that the server has closed is opened again."""
        while True:
            session = await self._idle.get()
            if isinstance(session, Exception):
                self._idle.put_nowait(session)  # for other tasks that wait
                raise session
            slot = self._slots.get(session)
            if slot is None:
                return session
            is_fresh = asyncio.get_running_loop().time() - slot.idle_since < IDLE_S
            if not session.is_gone if is_fresh else await session.answers():
                return session
            slot.released.set()

    @contextlib.asynccontextmanager
    async def opening(self, opened: Open, count: int) -> AsyncIterator[None]:
        """Open more sessions in the background; close them at the end.

        `lend` raises the error of opening one only if there is no other.
        """
        self._expected += count
        slots = [_Slot() for _ in range(count)]
        tasks = [asyncio.create_task(self._hold(slot, opened)) for slot in slots]
        try:
            yield
            self._over = True
        finally:
            for slot, task in zip(slots, tasks, strict=True):
                if self._over and slot.session is not None:
                    slot.released.set()
                else:
                    task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)

    async def _hold(self, slot: _Slot, opened: Open) -> None:
        while not self._over:
            slot.released.clear()
            try:
                async with opened() as session:
                    slot.session = session
                    self._slots[session] = slot
                    self._give(session)
                    await slot.released.wait()
            except Exception as error:  # noqa: BLE001  # tasks in lend would wait for ever
                is_of_server = isinstance(error, DatabaseError)
                if is_of_server and slot.released.is_set():
                    continue
                self._expected -= 1
                if self._expected == 0 or not is_of_server:
                    self._idle.put_nowait(error)
                else:
                    left = self._expected
                    log.warning("connection=failed connections_left=%d error=%r", left, str(error))
                return
            finally:
                slot.session = None
