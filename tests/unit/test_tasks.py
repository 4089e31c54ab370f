"""Groups of tasks: what one that fails leaves of the task that waits for them."""

import asyncio

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


async def test_a_cancellation_from_outside_remains_one() -> None:
    counts: list[int] = []

    async def cancelled() -> None:
        try:
            async with task_group() as tasks:
                tasks.create_task(asyncio.Event().wait())
        finally:
            counts.append(cancellations())

    task = asyncio.create_task(cancelled())
    await asyncio.sleep(0)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert counts == [1]
