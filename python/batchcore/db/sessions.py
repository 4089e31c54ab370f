"""Sessions that several tasks work on at a time, each lent to one of them."""

from __future__ import annotations

import asyncio
import contextlib
import logging
from dataclasses import dataclass
from typing import TYPE_CHECKING

from batchcore.errors import DatabaseError

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable

    from batchcore.db.engine import Session

    Open = Callable[[], contextlib.AbstractAsyncContextManager[Session]]

log = logging.getLogger("batchcore")


@dataclass(slots=True)
class _Holder:
    """What opens one session and holds it until work is over."""

    opened: Open
    over: asyncio.Event
    is_open: bool = False


class Sessions:
    """Sessions of a run; a task takes one, and gives it back."""

    def __init__(self, *given: Session) -> None:
        """Begin with sessions that are open; whoever opened them closes them."""
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
        session = await self._idle.get()
        if isinstance(session, Exception):
            self._idle.put_nowait(session)  # for whoever else waits
            raise session
        try:
            await session.enter(phase)
            yield session
        finally:
            self._idle.put_nowait(session)

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
        over = asyncio.Event()
        holders = [_Holder(opened, over) for _ in range(count)]
        tasks = [asyncio.create_task(self._hold(holder)) for holder in holders]
        try:
            yield
            over.set()
        finally:
            for holder, task in zip(holders, tasks, strict=True):
                if not (over.is_set() and holder.is_open):
                    task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)

    async def _hold(self, holder: _Holder) -> None:
        try:
            async with holder.opened() as session:
                holder.is_open = True
                self._idle.put_nowait(session)
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
