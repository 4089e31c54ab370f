"""Shards of a run as processes of this machine; each of these processes runs this module.

A process gets its order through a pipe that stays open: when it closes, the parent has ended or
wants the process to stop, and it ends as if by SIGTERM. It sends back its progress and then its
report. A message is a length and a pickle; nobody else can write to the pipes.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import pickle
import signal
import sys
import threading
from dataclasses import dataclass, replace
from typing import IO, TYPE_CHECKING, Any, Final

from batchcore.cli.exits import Interrupted, exit_code, redacted
from batchcore.cli.output import logging_to_stderr
from batchcore.cli.signals import finish, signals_raise
from batchcore.config import shard_text
from batchcore.errors import InternalError, ProcessDiedError

if TYPE_CHECKING:
    from asyncio.subprocess import Process
    from collections.abc import Coroutine

    from batchcore.options import Progress
    from batchcore.run.request import Request
    from batchcore.run.result import BatchResult

LENGTH: Final = 8
"""Bytes of the length before a message."""

END_S: Final = 1.5
"""Seconds that a process may take to stop, within the time that a signal leaves its parent."""


@dataclass(frozen=True, slots=True)
class Order:
    """The order of a process."""

    url: str  # which would be visible to others among the arguments of a process
    request: Request
    verbose: int
    wants_progress: bool  # whether to report progress


@dataclass(frozen=True, slots=True)
class Ended:
    """The last message of a process: its report so far, and the error that ended it early."""

    result: BatchResult | None
    error: BaseException | None


async def run_processes(url: str, *which: Any, count: int, verbose: int, **options: Any) -> Any:  # noqa: ANN401  # as `run_batch`
    """Return the report of a run as ``count`` processes; all else is as in `run_batch`."""
    from batchcore.native import usable_cores  # noqa: PLC0415  # brings NumPy
    from batchcore.pg.database import Database  # noqa: PLC0415  # brings the driver
    from batchcore.run.group import run_group  # noqa: PLC0415  # likewise
    from batchcore.run.request import requested  # noqa: PLC0415  # likewise

    asked = await requested(*which, None, **options)
    if asked.settings.threads is None:
        threads = max(usable_cores() // count, 1)
        asked = replace(asked, settings=replace(asked.settings, threads=threads))

    async def work(shard: Request) -> BatchResult:
        progress = shard.progress
        order = Order(url, replace(shard, progress=None), verbose, progress is not None)
        return await _in_process(order, progress)

    return await run_group(Database(url), asked, count, work)


async def _in_process(order: Order, progress: Progress | None) -> BatchResult:
    """Return the report of a process; if cancelled, ask it to stop, and wait briefly."""
    from batchcore.run.result import keep_with  # noqa: PLC0415  # brings NumPy

    # A process group of its own: a terminal's SIGINT is for the parent, which stops it.
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-P", "-c", f"from {__name__} import main; raise SystemExit(main())"),
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
        process_group=0,
    )
    reading = asyncio.ensure_future(_ended(process, order, progress))
    try:
        ended = await asyncio.shield(reading)
    except asyncio.CancelledError as cancelled:
        _close(process)
        with contextlib.suppress(TimeoutError, ProcessDiedError):
            ended = await asyncio.wait_for(reading, END_S)
            if ended.result is not None:
                keep_with(cancelled, ended.result)
        raise
    finally:
        await _end(process)
    if ended.error is None and ended.result is not None:
        return ended.result
    error = ended.error
    if not isinstance(error, Exception):
        error = _died(order, process, error)
    if ended.result is not None:
        keep_with(error, ended.result)
    raise error


async def _ended(process: Process, order: Order, progress: Progress | None) -> Ended:
    """Send an order, and return the last message of the process, unless it ends before."""
    to, source = process.stdin, process.stdout
    if to is None or source is None:
        raise InternalError("a process was started without pipes")
    try:
        to.write(_packed(order))
        await to.drain()
        while True:
            size = int.from_bytes(await source.readexactly(LENGTH))
            message = pickle.loads(await source.readexactly(size))  # noqa: S301  # our own process
            if isinstance(message, Ended):
                return message
            if progress is not None:
                progress(*message)
    except (ConnectionError, asyncio.IncompleteReadError):
        await process.wait()
        raise _died(order, process) from None


def _died(order: Order, process: Process, error: BaseException | None = None) -> ProcessDiedError:
    """Return the error for a process that ended by itself, or by a signal sent to it alone."""
    shard, status = order.request.settings.shard, process.returncode
    how = f"with exit code {status}"
    if isinstance(error, Interrupted):
        how = f"by {error.signal.name}"
    elif status is not None and status < 0:
        named = {one.value: one.name for one in signal.Signals}
        how = f"by {named.get(-status, f'signal {-status}')}"
    msg = f"the process of shard {shard_text(shard)} was ended {how}: run again to continue"
    return ProcessDiedError(msg, shard, status)


def _close(process: Process) -> None:
    if process.stdin is not None:
        process.stdin.close()


async def _end(process: Process) -> None:
    """Wait until a process has ended; kill it if it does not in time."""
    _close(process)
    try:
        await asyncio.wait_for(process.wait(), END_S)
    except BaseException as error:
        with contextlib.suppress(ProcessLookupError):
            process.kill()
        await process.wait()
        if not isinstance(error, TimeoutError):
            raise


def _packed(message: object) -> bytes:
    data = pickle.dumps(message)
    return len(data).to_bytes(LENGTH) + data


class _Parent:
    """The process that started this one."""

    def __init__(self) -> None:
        # Output printed by mistake must not be taken for a message.
        self._to: IO[bytes] = os.fdopen(os.dup(1), "wb")
        os.dup2(2, 1)
        self._source = sys.stdin.buffer
        self._is_told = False

    def order(self) -> Order:
        size = int.from_bytes(self._source.read(LENGTH))
        found: Order = pickle.loads(self._source.read(size))  # noqa: S301  # of our parent
        threading.Thread(target=self._watch, daemon=True).start()
        return found

    def _watch(self) -> None:
        """Stop this process when the pipe from its parent closes."""
        while os.read(0, 1):
            pass
        if not self._is_told:
            os.kill(os.getpid(), signal.SIGTERM)

    def progress(self, phase: str, done: int, total: int) -> None:
        self._write(_packed((phase, done, total)))

    def end(self, result: BatchResult | None, error: BaseException | None) -> None:
        self._is_told = True
        try:
            packed = _packed(Ended(result, error))
        except Exception:  # noqa: BLE001  # of another package, with what cannot be sent
            packed = _packed(Ended(result, InternalError(f"{type(error).__name__}: {error}")))
        self._write(packed)

    def _write(self, packed: bytes) -> None:
        with contextlib.suppress(BrokenPipeError):  # the parent has ended: `_watch` sees it too
            self._to.write(packed)
            self._to.flush()


def main() -> int:
    """Do the shard ordered by the parent process, and return the exit code."""
    parent = _Parent()
    result: BatchResult | None = None
    with signals_raise():
        try:
            order = parent.order()
            redacted.hide(order.url)
            with logging_to_stderr(order.verbose):
                result = finish(_work(order, parent))
        except (Exception, Interrupted) as error:  # noqa: BLE001  # the parent tells it
            from batchcore.run.result import BatchResult as Report  # noqa: PLC0415  # brings NumPy

            parent.end(Report.of_error(error) if result is None else result, error)
            return exit_code(error)
        parent.end(result, None)
    return 0


def _work(order: Order, parent: _Parent) -> Coroutine[Any, Any, BatchResult]:
    from batchcore.run.batch import run_up_to_now  # noqa: PLC0415  # brings the driver

    request = replace(order.request, progress=parent.progress if order.wants_progress else None)
    return run_up_to_now(order.url, request)
