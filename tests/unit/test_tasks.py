"""Groups of tasks: what one that fails leaves of the task that waits for them.

From Python 3.13 on, `asyncio.TaskGroup` does this by itself.
"""

import asyncio
from collections.abc import Callable, Coroutine
from typing import Any

import pytest

from batchcore.run.tasks import task_group, together


async def fail() -> None:
    raise ValueError("no")


def cancellations() -> int:
    task = asyncio.current_task()
    assert task is not None
    return task.cancelling()


@pytest.mark.parametrize("waits", [False, True], ids=["inside", "at the end"])
@pytest.mark.parametrize("depth", [1, 2])
async def test_a_task_that_fails_cancels_only_the_others(depth: int, *, waits: bool) -> None:
    async def grouped(left: int) -> None:
        async with task_group() as tasks:
            tasks.create_task(asyncio.Event().wait())
            if left > 1:
                await grouped(left - 1)
            tasks.create_task(fail())
            if not waits:
                await asyncio.Event().wait()

    with pytest.raises(BaseExceptionGroup):
        await grouped(depth)
    assert cancellations() == 0


async def test_the_error_itself_leaves_no_cancellation() -> None:
    with pytest.raises(ValueError, match="no"):
        await together(fail(), asyncio.sleep(0))
    assert cancellations() == 0


async def end_when_cancelled() -> None:
    await asyncio.Event().wait()


async def fail_when_cancelled() -> None:
    try:
        await asyncio.Event().wait()
    finally:
        await fail()


@pytest.mark.parametrize("waits", [False, True], ids=["inside", "at the end"])
@pytest.mark.parametrize(
    ("other", "error"),
    [(end_when_cancelled, asyncio.CancelledError), (fail_when_cancelled, BaseExceptionGroup)],
    ids=["ends", "fails"],
)
async def test_a_cancellation_from_outside_remains_one(
    other: Callable[[], Coroutine[Any, Any, Any]], error: type[BaseException], *, waits: bool
) -> None:
    counts: list[int] = []

    async def cancelled() -> None:
        try:
            async with task_group() as tasks:
                tasks.create_task(other())
                if waits:
                    await asyncio.Event().wait()
        finally:
            counts.append(cancellations())

    task = asyncio.create_task(cancelled())
    await asyncio.sleep(0.01)
    task.cancel()
    with pytest.raises(error):
        await task
    assert counts == [1]
