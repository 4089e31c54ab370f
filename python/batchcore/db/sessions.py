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
class _Holder:
    """What opens one session and holds it until work is over."""

    opened: Open
    over: asyncio.Event
    is_open: bool = False
    closed: asyncio.Event = field(default_factory=asyncio.Event)
    idle_since: float = 0.0


class Sessions:
    """Sessions of a run; a task takes one, and gives it back."""

    def __init__(self, *given: Session, around: Around = contextlib.nullcontext) -> None:
        """Begin with sessions that are open; whoever opened them closes them.

        Args:
            given: Those.
            around: What is entered for as long as one is lent.
        """
        self._around = around
        self._holders: dict[Session, _Holder] = {}
        self._opened: dict[asyncio.Task[None], _Holder] = {}
        # The one used last comes first: its server process knows the tables already.
        self._idle: asyncio.LifoQueue[Session | Exception] = asyncio.LifoQueue()
        self._hopes = len(given)
        for session in given:
            self._idle.put_nowait(session)

    @property
    def several(self) -> bool:
        """Whether there is, or may be, more than one."""
        return self._hopes > 1

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
        if session in self._holders:
            self._holders[session].idle_since = asyncio.get_running_loop().time()
        self._idle.put_nowait(session)

    async def _taken(self) -> Session:
        """Return an idle session; one that the server has closed meanwhile is opened again."""
        while True:
            session = await self._idle.get()
            if isinstance(session, Exception):
                self._idle.put_nowait(session)  # for whoever else waits
                raise session
            if await self._is_there(session):
                return session
            holder = self._holders.pop(session)
            holder.over.set()
            await holder.closed.wait()  # its place in a pool is free again
            self._open(holder.opened)

    async def _is_there(self, session: Session) -> bool:
        holder = self._holders.get(session)
        if holder is None:
            return True
        idle_s = asyncio.get_running_loop().time() - holder.idle_since
        return not session.is_gone if idle_s < IDLE_S else await session.answers()

    @contextlib.asynccontextmanager
    async def opening(self, opened: Open, count: int) -> AsyncIterator[None]:
        """Open sessions beside those that are there, while work goes on; close them at the end.

        One that cannot be opened is done without, as long as there is another: the first error
        is for `lend`.

        Args:
            opened: Opens one, and closes it.
            count: How many.
        """
        self._hopes += count
        for _ in range(count):
            self._open(opened)
        try:
            yield
            for holder in self._opened.values():
                holder.over.set()
        finally:
            for task, holder in self._opened.items():
                if not (holder.over.is_set() and holder.is_open):
                    task.cancel()
            await asyncio.gather(*self._opened, return_exceptions=True)

    def _open(self, opened: Open) -> None:
        holder = _Holder(opened, asyncio.Event())
        self._opened[asyncio.create_task(self._hold(holder))] = holder

    async def _hold(self, holder: _Holder) -> None:
        try:
            async with holder.opened() as session:
                holder.is_open = True
                self._holders[session] = holder
                self._give(session)
                await holder.over.wait()
        except Exception as error:  # noqa: BLE001  # whoever waits in lend would do so for ever
            is_of_server = isinstance(error, DatabaseError)
            if holder.over.is_set() and is_of_server:
                return
            self._hopes -= 1
            if self._hopes == 0 or not is_of_server:
                self._idle.put_nowait(error)
            else:
                log.warning("connections_less=1 error=%r", str(error))
        finally:
            holder.closed.set()
