"""Sessions that several tasks work on at a time, each lent to one of them."""

from __future__ import annotations

import asyncio
import contextlib
import logging
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final

from batchcore.errors import DatabaseError

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable

    from batchcore.db.engine import Session

    Open = Callable[[], contextlib.AbstractAsyncContextManager[Session]]
    Around = Callable[[Session], contextlib.AbstractContextManager[object]]

log = logging.getLogger("batchcore")

IDLE_S: Final = 5.0
"""How long a session may have been idle before the server is asked whether it is still there."""


@dataclass(slots=True, eq=False)
class _Slot:
    """A place for a session that is opened, and opened again when it is gone."""

    session: Session | None = None
    released: asyncio.Event = field(default_factory=asyncio.Event)
    idle_since: float = 0.0


class Sessions:
    """Sessions of a run; a task takes one, and gives it back."""

    def __init__(self, *given: Session, around: Around = contextlib.nullcontext) -> None:
        """Begin with sessions that are open; ``around`` is entered for as long as one is lent."""
        self._around = around
        self._slots: dict[Session, _Slot] = {}
        # The one used last comes first: its server process knows the tables already.
        self._idle: asyncio.LifoQueue[Session | Exception] = asyncio.LifoQueue()
        self._expected = len(given)
        self._over = False
        for session in given:
            self._idle.put_nowait(session)

    @property
    def several(self) -> bool:
        """Whether there is, or may be, more than one."""
        return self._expected > 1

    @contextlib.asynccontextmanager
    async def lend(self, phase: str) -> AsyncIterator[Session]:
        """Give a session as soon as one is idle; its statements count under ``phase``.

        Raises:
            Exception: what hindered the last one to open, if there is none.
        """
        session = await self._taken()
        try:
            await session.enter(phase)
            with self._around(session):
                yield session
        finally:
            self._give(session)

    def _give(self, session: Session) -> None:
        if session in self._slots:
            self._slots[session].idle_since = asyncio.get_running_loop().time()
        self._idle.put_nowait(session)

    async def _taken(self) -> Session:
        """Return an idle session; one that the server has closed meanwhile is opened again."""
        while True:
            session = await self._idle.get()
            if isinstance(session, Exception):
                self._idle.put_nowait(session)  # for whoever else waits
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
        """Open sessions beside those that are there, while work goes on; close them at the end.

        One that cannot be opened is done without, as long as there is another: the first error
        is for `lend`.
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
            except Exception as error:  # noqa: BLE001  # whoever waits in lend would do so for ever
                is_of_server = isinstance(error, DatabaseError)
                if is_of_server and slot.released.is_set():
                    continue
                self._expected -= 1
                if self._expected == 0 or not is_of_server:
                    self._idle.put_nowait(error)
                else:
                    log.warning("connections_less=1 error=%r", str(error))
                return
            finally:
                slot.session = None
