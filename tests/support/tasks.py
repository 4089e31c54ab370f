"""Dask clusters on this machine, and faults that strike a run on one of them."""

import asyncio
import contextlib
import logging
import os
import signal
import socket
import subprocess
import sys
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import dask
import psutil
from distributed import Client, LocalCluster

from batchcore.config import Settings
from batchcore.errors import BatchcoreError
from batchcore.pg.database import Database
from batchcore.run.batch import run_up_to_now
from batchcore.run.cluster import GroupResult, run_on
from batchcore.run.group import run_group
from batchcore.run.request import make_request
from support.database import execute, fetch
from support.faults import Moment, Scene
from support.survival import Stage
from support.tables import DAYS
from support.worker import Steps, forking, struck

SHARDS = 3
PATIENCE_S = 120
POLL_S = 0.05

OWN = Path(__file__).parent.parent
"""Where this package is; it is on the path of processes that import it."""


@contextlib.contextmanager
def local_cluster() -> Iterator[str]:
    """Give the address of a scheduler in this process, with two workers in processes.

    They are forked: a new process imports for more than a second.
    """
    forking()  # Dask would have it begin with other imports
    with (
        dask.config.set({"distributed.worker.multiprocessing-method": "forkserver"}),
        LocalCluster(
            n_workers=2,
            threads_per_worker=1,
            processes=True,
            dashboard_address=":0",
            silence_logs=logging.CRITICAL,
        ) as cluster,
    ):
        yield cluster.scheduler_address


@contextlib.contextmanager
def commands(
    workers: int = 2, *, scheduler: Path = OWN, worker: Path = OWN
) -> Iterator[tuple[str, subprocess.Popen[bytes]]]:
    """Give the address and the process of a scheduler with workers, as commands."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = str(free.getsockname()[1])
    address = f"tcp://127.0.0.1:{port}"
    with contextlib.ExitStack() as stack:
        started = stack.enter_context(_started(scheduler, "scheduler", "--port", port))
        for _ in range(workers):
            words = (address, "--nthreads", "1", "--no-nanny")
            stack.enter_context(_started(worker, "worker", *words))
        yield address, started


@contextlib.contextmanager
def _started(path: Path, what: str, *words: str) -> Iterator[subprocess.Popen[bytes]]:
    process = subprocess.Popen(  # noqa: S603  # our own
        [
            *(sys.executable, "-m", f"distributed.cli.dask_{what}", *words),
            *("--host", "127.0.0.1", "--dashboard-address", ":0"),
        ],
        env={**os.environ, "PYTHONPATH": str(path)},
        stderr=subprocess.DEVNULL,
    )
    try:
        yield process
    finally:
        process.kill()
        process.wait()


@contextlib.asynccontextmanager
async def connected(address: str) -> AsyncIterator[Client]:
    """Give a client of this event loop."""
    async with Client(address, asynchronous=True, timeout=PATIENCE_S) as client:
        await client.wait_for_workers(2, timeout=PATIENCE_S)
        yield client


def arm(step: str, count: int, number: signal.Signals) -> int:
    """Let this worker strike itself, and return its process id."""
    log = logging.getLogger("batchcore")
    log.setLevel(logging.DEBUG)
    log.propagate = False
    log.handlers[:] = [Steps(step, count, struck(number))]
    return os.getpid()


def disarm() -> None:
    """Let this worker not strike itself any more, whether it has or not."""
    logging.getLogger("batchcore").handlers[:] = [logging.NullHandler()]


OPTIONS: dict[str, dict[str, Any]] = {
    "skip": {"settings": Settings(chunk_size=3)},
    "replace": {
        "settings": Settings(chunk_size=3),
        "on_existing": "replace",
        "analytics": "full",
    },
    "go-on": {"settings": Settings(chunk_size=2, connections=2), "analytics": "every"},
}
"""Of the jobs of `support.jobs`, as keywords."""

COORDINATOR = """
import asyncio, sys
from support.tasks import connected, coordinated
asyncio.run(coordinated(*sys.argv[1:]))
"""


@dataclass(frozen=True)
class Tasks:
    """A run on a cluster that is about to be disturbed, a worker at a step of a shard."""

    scene: Scene
    client: Client
    at: Moment

    async def run(self, **options: Any) -> GroupResult:
        own = OPTIONS[self.scene.job.name] | options
        return await run_on(self.client, self.scene.url, *DAYS, shards=SHARDS, **own)

    async def ended(self, run: asyncio.Task[GroupResult]) -> None:
        """Return when a run has ended in any way; leases of workers that are dead run out."""
        while not run.done():
            await asyncio.wait({run}, timeout=POLL_S)
            await self.expire()
        if run.cancelled():
            self.scene.codes.append(130)
        elif (error := run.exception()) is None:
            self.scene.codes.append(0)
        else:
            assert isinstance(error, BatchcoreError), error
            self.scene.codes.append(2)

    async def expire(self) -> None:
        """Let the leases run out that workers hold who are gone, or stopped."""
        rows = await fetch(
            self.scene.url,
            "SELECT (configuration ->> 'pid')::int AS pid FROM batchcore_runs"
            " WHERE state = 'running'",
        )
        gone = [row["pid"] for row in rows if not _works(row["pid"])]
        for pid in gone:
            await execute(self.scene.url, EXPIRE.format(pid=pid))

    async def armed(self, number: signal.Signals) -> int:
        """Let one worker strike itself, and return its process id."""
        workers = sorted(await self.client.run(os.getpid))
        one = self.scene.random.choice(workers)
        found = await self.client.run(arm, self.at.step, self.at.count, number, workers=[one])
        return int(found[one])

    @contextlib.asynccontextmanager
    async def stopped(self, **options: Any) -> AsyncIterator[asyncio.Task[GroupResult]]:
        """Give a run one of whose workers is stopped at the step; it goes on in the end."""
        pid = await self.armed(signal.SIGSTOP)
        run = asyncio.create_task(self.run(**options))
        await self.until_stopped(pid, run)
        try:
            yield run
        finally:
            os.kill(pid, signal.SIGCONT)
            await self.ended(run)

    async def until_stopped(self, pid: int, run: asyncio.Task[Any]) -> None:
        while _works(pid) and not run.done():
            await asyncio.wait({run}, timeout=POLL_S)

    async def again(self, **options: Any) -> None:
        """Run all shards once more, in this process."""
        url, own = self.scene.url, OPTIONS[self.scene.job.name] | options
        asked = make_request(*DAYS, None, **own)
        async with asyncio.timeout(PATIENCE_S):
            result = await run_group(
                Database(url), asked, SHARDS, lambda shard: run_up_to_now(url, shard)
            )
        assert result.state == "complete"


EXPIRE = """
UPDATE batchcore_run_heartbeats AS h SET expires_at = clock_timestamp() - interval '1 second'
FROM batchcore_runs AS r WHERE r.id = h.run_id AND (r.configuration ->> 'pid')::int = {pid}"""


def _works(pid: int) -> bool:
    with contextlib.suppress(psutil.NoSuchProcess):
        return psutil.Process(pid).status() not in {psutil.STATUS_STOPPED, psutil.STATUS_ZOMBIE}
    return False


async def worker_killed(tasks: Tasks) -> None:
    """SIGKILL to a worker; another, or the one that is started in its place, has its shard."""
    await tasks.armed(signal.SIGKILL)
    await tasks.ended(asyncio.create_task(tasks.run()))
    assert tasks.scene.codes == [0]


async def worker_paused(tasks: Tasks) -> None:
    """A worker is stopped for longer than its lease, another run takes over, and it wakes up."""
    async with tasks.stopped():
        await tasks.expire()
        await tasks.again(wait=PATIENCE_S)


async def task_given_twice(tasks: Tasks) -> None:
    """Each shard is given to both workers; the one that comes late reports what the other did."""
    client, copies = tasks.client, []
    workers, submit = sorted(await client.run(os.getpid)), client.submit

    def twice(*args: Any, **options: Any) -> Any:
        first, second = (submit(*args, **options, workers=[one]) for one in workers)
        copies.append(second)
        return first

    client.submit = twice
    try:
        result = await tasks.run()
        tasks.scene.codes.append(0)
        others = [await copy for copy in copies]
    finally:
        del client.submit
    rows = await fetch(tasks.scene.url, "SELECT id FROM batchcore_runs")
    assert {str(row["id"]) for row in rows} == {one.run_id for one in result.shards}
    assert [(one.shard.run_id, one.shard.state) for one in others] == [
        (one.run_id, "complete") for one in result.shards
    ]


async def client_cancelled(tasks: Tasks) -> None:
    """The call is cancelled while a worker is stopped."""
    async with tasks.stopped() as run:
        run.cancel()
        await asyncio.wait({run})


async def client_cancelled_anywhere(tasks: Tasks) -> None:
    """The call is cancelled some time after it began."""
    run = asyncio.create_task(tasks.run())
    await asyncio.wait({run}, timeout=2 * tasks.scene.random.random() * tasks.scene.job.seconds)
    run.cancel()
    await tasks.ended(run)


async def coordinator_killed(tasks: Tasks) -> None:
    """SIGKILL to the process of the client while a worker is stopped."""
    pid = await tasks.armed(signal.SIGSTOP)
    address, scene = tasks.client.scheduler.address, tasks.scene
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-c", COORDINATOR, address, scene.url, scene.job.name),
        env={**os.environ, "PYTHONPATH": str(OWN)},
    )
    run = asyncio.create_task(process.wait())
    await tasks.until_stopped(pid, run)
    with contextlib.suppress(ProcessLookupError):
        process.kill()
    scene.codes.append(await run)
    os.kill(pid, signal.SIGCONT)
    await tasks.again(wait=PATIENCE_S)


async def coordinated(address: str, url: str, job: str) -> None:
    """Run on a cluster, as a process of its own."""
    async with connected(address) as client:
        await run_on(client, url, *DAYS, shards=SHARDS, **OPTIONS[job])


def scheduler_killed(scheduler: subprocess.Popen[bytes]) -> "Fault":
    async def scheduler_killed(tasks: Tasks) -> None:
        """SIGKILL to the scheduler while a worker is stopped."""
        async with tasks.stopped() as run:
            scheduler.kill()
            await asyncio.wait({run})

    return scheduler_killed


Fault = Callable[[Tasks], Awaitable[None]]

STEPS = ("lease", "planned", "loaded", "computed", "begun", "copied", "fenced", "committed")
"""Of a shard; each has at least one chunk."""

LASTING: tuple[Fault, ...] = (
    *(worker_paused, task_given_twice),
    *(client_cancelled, client_cancelled_anywhere, coordinator_killed),
)
"""Faults after which the workers of a cluster are as before."""

ANYWHERE: tuple[Fault, ...] = (worker_killed, *LASTING)
"""Faults that can strike at any step."""


async def assert_survived(stage: Stage, client: Client, fault: Fault, job: str, at: Moment) -> None:
    """Let a fault strike, run the shards again, plainly, and look at every row."""
    async with asyncio.timeout(PATIENCE_S):
        await stage.assert_survived(
            fault, stage.jobs[job], at, lambda scene: Tasks(scene, client, at)
        )
