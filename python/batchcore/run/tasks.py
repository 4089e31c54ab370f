"""Tasks side by side, of which one that fails stops the others."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Coroutine


async def together(*works: Coroutine[Any, Any, None]) -> None:
    """Do all of it side by side; raise the error that stopped it by itself, not as a group."""
    try:
        async with asyncio.TaskGroup() as tasks:
            for work in works:
                tasks.create_task(work)
    except BaseExceptionGroup as group:
        error = first_error(group)
    else:
        return
    raise error  # outside: the group, which has it, would be its context and could not be pickled


def first_error(group: BaseExceptionGroup[Any]) -> BaseException:
    """Return the error that stopped tasks; the others are what it cancelled."""
    error: BaseException = group
    while isinstance(error, BaseExceptionGroup):
        error = error.exceptions[0]
    return error
