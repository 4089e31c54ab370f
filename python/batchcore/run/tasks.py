"""Tasks side by side, with and without stopping the others when one fails."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import sys
from functools import partial
from typing import TYPE_CHECKING, Any, Final, TypeVar

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine, Mapping

    from batchcore.options import Progress

Name = TypeVar("Name")
Given = TypeVar("Given")
End = TypeVar("End")

log: Final = logging.getLogger("batchcore")


@contextlib.asynccontextmanager
async def task_group() -> AsyncIterator[asyncio.TaskGroup]:
    """Wait for tasks like an `asyncio.TaskGroup`, and leave `cancelling` of its own task at that.

    Before Python 3.13, a task that fails while its group waits counts as a cancellation for ever,
    and calls that follow in the task of the caller would end as if they had been cancelled.
    """
    if sys.version_info >= (3, 13):
        async with asyncio.TaskGroup() as tasks:
            yield tasks
        return
    own, cancels = asyncio.current_task(), True
    try:
        async with asyncio.TaskGroup() as tasks:
            try:
                yield tasks
            finally:
                cancels = _has_cancelled(tasks)
    except BaseExceptionGroup:
        # It cancelled its task after the body had ended.
        if own and _has_cancelled(tasks) and not cancels:
            own.uncancel()
        raise


def _has_cancelled(tasks: asyncio.TaskGroup) -> bool:
    """Return whether a group has cancelled its own task, which it tells by no public name."""
    return bool(getattr(tasks, "_parent_cancel_requested", False))


async def together(*works: Coroutine[Any, Any, None]) -> None:
    """Do all tasks side by side; raise the error that stopped them itself, not as a group."""

    async def grouped() -> None:
        async with task_group() as tasks:
            for work in works:
                tasks.create_task(work)

    await raising_first(grouped())


async def raising_first(work: Awaitable[End]) -> End:
    """Return the result of work; raise the error that stopped its tasks itself, not as a group."""
    try:
        return await work
    except BaseExceptionGroup as group:
        error = first_error(group)
    raise error  # outside: the group, which has it, would be its context and could not be pickled


def first_error(error: BaseException) -> BaseException:
    """Return the error of a group that stopped its tasks; the others are cancellations."""
    while isinstance(error, BaseExceptionGroup):
        error = error.exceptions[0]
    return error


async def each(
    given: Mapping[Name, Given],
    work: Callable[[Given], Awaitable[End]],
    ends: dict[Name, End | BaseException],
    what: str,
) -> None:
    """Work on each of several side by side; ``ends`` collects results and errors."""
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

    async with task_group() as tasks:
        for name in given:
            tasks.create_task(attempt(name))
    for end in ends.values():
        if isinstance(end, asyncio.CancelledError):  # which the group takes for the end of one task
            raise end


def shared_progress(progress: Progress | None) -> Callable[[object], Progress | None]:
    """Return the factory of `progress` callbacks of several runs, which add up for one bar."""
    if progress is None:
        return lambda _: None
    at: dict[object, tuple[str, int, int]] = {}

    def tell(run: object, phase: str, done: int, total: int) -> None:
        at[run] = phase, done, total
        phases, finished, totals = zip(*at.values(), strict=True)
        progress(max(phases), sum(finished), sum(totals))  # `load`, then `persist`

    return lambda run: partial(tell, run)
