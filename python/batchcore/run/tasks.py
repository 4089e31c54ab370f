"""Tasks side by side: where one that fails stops the others, and where it does not."""

from __future__ import annotations

import asyncio
import logging
from functools import partial
from typing import TYPE_CHECKING, Any, Final, TypeVar

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Coroutine, Mapping

    from batchcore.options import Progress

Name = TypeVar("Name")
Given = TypeVar("Given")
End = TypeVar("End")

log: Final = logging.getLogger("batchcore")


async def together(*works: Coroutine[Any, Any, None]) -> None:
    """Do all of it side by side; raise the error that stopped it by itself."""

    async def grouped() -> None:
        async with asyncio.TaskGroup() as tasks:
            for work in works:
                tasks.create_task(work)

    await raising_first(grouped())


async def raising_first(work: Awaitable[End]) -> End:
    """Return what it returns; raise the error that stopped its tasks by itself, not as a group."""
    try:
        return await work
    except BaseExceptionGroup as group:
        error = first_error(group)
    raise error  # outside: the group, which has it, would be its context and could not be pickled


def first_error(error: BaseException) -> BaseException:
    """Return the error that stopped tasks, of a group; the others are what it cancelled."""
    while isinstance(error, BaseExceptionGroup):
        error = error.exceptions[0]
    return error


async def each(
    given: Mapping[Name, Given],
    work: Callable[[Given], Awaitable[End]],
    ends: dict[Name, End | BaseException],
    what: str,
) -> None:
    """Work on each of several side by side; ``ends`` has what it returns, or its error."""
    # One that ends early does not stop the others; the cancellation of this call stops all.
    seen: set[str] = set()

    async def attempt(name: Name) -> None:
        try:
            ends[name] = await work(given[name])
        except asyncio.CancelledError as error:
            ends[name] = error
            raise
        except Exception as error:  # noqa: BLE001  # the others go on
            ends[name] = error
            level = logging.INFO if str(error) in seen else logging.WARNING
            seen.add(str(error))
            log.log(level, "%s=%s error=%r", what, name, str(error))

    async with asyncio.TaskGroup() as tasks:
        for name in given:
            tasks.create_task(attempt(name))
    for end in ends.values():
        if isinstance(end, asyncio.CancelledError):  # which the group takes for the end of one task
            raise end


class SharedProgress:
    """Adds up where several runs are, for one bar."""

    def __init__(self, progress: Progress | None) -> None:
        """Take what is called each time that one of them is further."""
        self._progress: Final = progress
        self._at: dict[object, tuple[str, int, int]] = {}

    def of(self, run: object) -> Progress | None:
        """Return what one of the runs calls; None without a `progress`."""
        return None if self._progress is None else partial(self._tell, run)

    def _tell(self, run: object, phase: str, done: int, total: int) -> None:
        self._at[run] = phase, done, total
        if self._progress is not None:
            phases, finished, totals = zip(*self._at.values(), strict=True)
            self._progress(max(phases), sum(finished), sum(totals))  # `load`, then `persist`
