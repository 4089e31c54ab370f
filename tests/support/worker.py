"""Batches in processes of their own: quick to start, and easy to kill.

A process that has imported everything forks a worker for each batch, which runs the command line.
A worker can be stopped in its tracks at a named step of its run: it kills itself there, sends
itself a signal, or waits until it is told to go on, its event loop with it.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import multiprocessing
import os
import re
import signal
import sys
from collections.abc import AsyncIterator, Callable, Sequence
from dataclasses import dataclass
from functools import cache, partial
from multiprocessing import forkserver
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any
from unittest import mock

from batchcore.cli import signals
from batchcore.cli.options import ARTIFACT_VARIABLE
from batchcore.pg import errors as driver
from batchcore.run import lease
from support.artifact import Watched
from support.command import Said, called

STEP = re.compile(r" step=(\w+)")

PATIENCE_S = 60.0


@cache
def forking() -> multiprocessing.context.ForkServerContext:
    """Return what forks workers from a process that has imported `support.preloaded`."""
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(["support.preloaded"])
    # Before Python 3.13 it gets no path but this one.
    with mock.patch.dict(os.environ, PYTHONPATH=str(Path(__file__).parents[1])):
        forkserver.ensure_running()
    return context


def patience(change: Callable[[object, str, float], object]) -> None:
    """Let batches of this process take their time to end; ``change`` sets an attribute."""
    for module, name in ((driver, "GRACE_S"), (lease, "END_S"), (signals, "LAST_RESORT_S")):
        change(module, name, PATIENCE_S)


@dataclass(frozen=True)
class At:
    """A moment in a run: a step, as the run logs it, taken for which time, from 1.

    The worker sends itself a signal there, or waits for `Worker.go_on`.
    """

    step: str
    count: int = 1
    signal: signal.Signals | None = None


class Worker:
    """A batch that runs in another process; once it has ended, `left` is its artifact."""

    def __init__(self, words: Sequence[str], at: At | None = None, *, patient: bool) -> None:
        context = forking()
        self._pipe, other = context.Pipe()
        self._artifact = Watched()
        self.left: dict[str, Any] = {}
        order = (tuple(words), at, other, patient, self._artifact.path)
        self._process = context.Process(target=_work, args=order, daemon=True)
        self._process.start()
        self._said: Said | None = None
        other.close()

    @property
    def pid(self) -> int:
        assert self._process.pid is not None
        return self._process.pid

    async def reached(self) -> bool:
        """Return whether it waits at its step now; False if it has ended before."""
        await _readable(self._pipe.fileno())
        return self._received() == "reached"

    def go_on(self) -> None:
        with contextlib.suppress(BrokenPipeError):  # it was killed
            self._pipe.send("go on")

    def send(self, number: signal.Signals) -> None:
        if self._process.is_alive():
            os.kill(self.pid, number)

    async def ended(self) -> int:
        """Return its exit code, -9 if it was killed; its artifact must be valid in any case."""
        await _readable(self._process.sentinel)
        self._process.join()
        code = self._process.exitcode
        assert code is not None
        self.left = self._artifact.check(code, was_ready=self.said() is not None)
        return code

    def said(self) -> Said | None:
        """Return what an ended worker printed; None if it was killed."""
        while self._said is None and self._pipe.poll() and self._received() is not None:
            pass
        return self._said

    def _received(self) -> object:
        try:
            found = self._pipe.recv()
        except (EOFError, ConnectionResetError):
            return None
        if isinstance(found, Said):
            self._said = found
        return found

    def close(self) -> None:
        if self._process.is_alive():
            self._process.kill()
        self._process.join()
        self._process.close()
        self._pipe.close()
        self._artifact.close()


async def _readable(descriptor: int) -> None:
    """Return when a file descriptor can be read from, or is at its end."""
    loop = asyncio.get_running_loop()
    future = loop.create_future()
    loop.add_reader(descriptor, lambda: future.done() or future.set_result(None))
    try:
        await future
    finally:
        loop.remove_reader(descriptor)


@contextlib.asynccontextmanager
async def started(
    words: Sequence[str], at: At | None = None, *, patient: bool = True
) -> AsyncIterator[Worker]:
    """Run the command line with ``words``; whatever is left of the worker is killed at the end.

    A patient one may take longer than it gives itself to end once it is interrupted, as it would
    on a machine with nothing else to do.
    """
    worker = Worker(words, at, patient=patient)
    try:
        yield worker
    finally:
        worker.close()


class Steps(logging.Handler):
    """Calls something when runs of this process have taken a step so many times."""

    def __init__(self, step: str, count: int, act: Callable[[], object]) -> None:
        super().__init__()
        self._step, self._left, self._act = step, count, act

    def emit(self, record: logging.LogRecord) -> None:
        found = STEP.search(record.getMessage())
        if found is not None and found[1] == self._step:
            self._left -= 1
            if self._left == 0:
                self._act()


def struck(number: signal.Signals) -> Callable[[], None]:
    """Return what sends this process a signal."""
    return partial(os.kill, os.getpid(), number)


def _work(
    words: tuple[str, ...],
    at: At | None,
    pipe: Connection,
    patient: bool,  # noqa: FBT001  # as `Process` hands it on
    artifact: Path,
) -> None:
    os.environ[ARTIFACT_VARIABLE] = str(artifact)
    if patient:
        patience(setattr)

    def wait() -> None:
        pipe.send("reached")
        pipe.recv()

    if at is not None:
        act = wait if at.signal is None else struck(at.signal)
        logging.getLogger("batchcore").addHandler(Steps(at.step, at.count, act))
    said = called(words)
    with contextlib.suppress(BrokenPipeError):
        pipe.send(said)
    sys.exit(said.code)
