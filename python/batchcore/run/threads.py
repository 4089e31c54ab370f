"""Native work beside the event loop."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, TypeVar

if TYPE_CHECKING:
    from collections.abc import Callable

    from batchcore.native import CancelFlag

Made = TypeVar("Made")


async def in_thread(work: Callable[[], Made], cancel: CancelFlag) -> Made:
    """Return what ``work`` returns; a cancelled task waits until it has seen the flag.

    Args:
        work: Called in a thread; it ends soon after ``cancel`` is raised.
        cancel: Raised when the task is cancelled.
    """
    task = asyncio.ensure_future(asyncio.to_thread(work))
    try:
        return await asyncio.shield(task)
    except asyncio.CancelledError:
        cancel.set()
        while not task.done():
            try:
                await asyncio.wait([task])
            except asyncio.CancelledError:  # once more: the thread is ours all the same
                continue
        if not task.cancelled():
            task.exception()
        raise
