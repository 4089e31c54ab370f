"""SIGINT and SIGTERM, which cancel the work so that it ends cleanly."""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import threading
from typing import TYPE_CHECKING, Any, Final, TypeVar

from batchcore.cli.exits import Interrupted, exit_code, one_line
from batchcore.cli.output import print_stderr

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine, Iterator
    from types import FrameType

_T = TypeVar("_T")

SIGNALS: Final = (signal.SIGINT, signal.SIGTERM)

LAST_RESORT_S: Final = 1.8
"""Seconds after a signal that the process may take to end cleanly."""

_raised: Final[list[int]] = []
"""Signals that raised `Interrupted`, which a ``__del__`` or a weakref's callback may swallow."""


@contextlib.contextmanager
def signals_raise() -> Iterator[None]:
    """Turn signals into `Interrupted` while no event loop handles them.

    After it, signals are ignored until `signals_restored` ends: the remaining work, such as writing
    the document, takes no time.
    """
    handled = SIGNALS if _in_main_thread() else ()
    _raised.clear()
    for number in handled:
        signal.signal(number, _interrupt)
    try:
        yield
    finally:
        for number in handled:
            signal.signal(number, signal.SIG_IGN)


@contextlib.contextmanager
def signals_restored() -> Iterator[None]:
    """Restore the handlers of signals at the end."""
    before = {number: signal.getsignal(number) for number in SIGNALS if _in_main_thread()}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


@contextlib.contextmanager
def ending_in_time(error: BaseException) -> Iterator[None]:
    """End the process if it cannot report its interruption in time, as nobody reads it."""
    timer = threading.Timer(LAST_RESORT_S, os._exit, [exit_code(error)])
    timer.daemon = True
    if isinstance(error, Interrupted):
        timer.start()
    try:
        yield
    finally:
        timer.cancel()


def _in_main_thread() -> bool:
    return threading.current_thread() is threading.main_thread()


def _interrupt(number: int, _frame: FrameType | None) -> None:
    _raised.append(number)
    raise Interrupted(number)


def finish(
    work: Coroutine[Any, Any, _T], leave: Callable[[int, BaseException], None] | None = None
) -> _T:
    """Return the result of ``work``; a signal cancels it.

    If the process must end at once, ``leave`` is called with exit code and error.
    """
    timers: list[threading.Timer] = []

    def caught(number: int) -> None:
        timer = threading.Timer(LAST_RESORT_S, _give_up, [Interrupted(number), leave])
        timer.daemon = True
        timer.start()
        timers.append(timer)

    try:
        return asyncio.run(_interruptible(work, caught))
    finally:
        for timer in timers:
            timer.cancel()


def _give_up(error: Interrupted, leave: Callable[[int, BaseException], None] | None) -> None:
    """End a process that cannot end by itself soon, for instance during a hanging name look-up.

    Uncommitted work is undone, as if the process had been killed.
    """
    try:
        if leave is not None:
            leave(exit_code(error), error)
        print_stderr(f"error: {one_line(error)}")
    finally:
        os._exit(exit_code(error))


async def _interruptible(work: Coroutine[Any, Any, _T], was_caught: Callable[[int], None]) -> _T:
    loop, task = asyncio.get_running_loop(), asyncio.current_task()
    caught: list[int] = []

    def stop(number: int) -> None:
        if not caught:
            was_caught(number)
        caught.append(number)
        if task is not None:
            task.cancel()

    handled = SIGNALS if _in_main_thread() else ()
    for number in handled:
        loop.add_signal_handler(number, stop, number)
    for raised in _raised:
        stop(raised)
    try:
        return await work
    except (asyncio.CancelledError, Exception) as error:
        if caught:  # whatever the cancelled work raised
            raise Interrupted(caught[0]) from error
        raise
    finally:
        for number in handled:
            loop.remove_signal_handler(number)
            signal.signal(number, _interrupt)
