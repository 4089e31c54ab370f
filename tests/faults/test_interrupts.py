"""Ctrl-C, SIGTERM and cancelled tasks: what was committed stays, and the next run goes on."""

import asyncio
import contextlib
import logging
import os
import signal
import sys
from collections.abc import AsyncIterator, Callable, Iterator
from pathlib import Path
from typing import Any

import asyncpg
import pytest

import batchcore
from batchcore.cli.options import ARTIFACT_VARIABLE
from batchcore.config import Settings
from support.artifact import checked
from support.callers import engine_of
from support.faults import PATIENCE_S, SUCCESS, Moment, Scene
from support.jobs import Job, dump
from support.proxy import Proxy, proxied
from support.survival import Stage, assert_done, assert_whole
from support.tables import DAYS
from support.worker import At, Steps, patience, started

pytestmark = pytest.mark.db

CODES = {signal.SIGINT: 130, signal.SIGTERM: 143}
STEPS = (
    *("lease", "snapshot", "planned", "loaded", "computed"),
    *("begun", "equities", "copied", "ledger", "fenced", "committed"),
)
LAST = "finished"
MOST_CONNECTIONS = 6
KINDS = ("pool", "engine")

LOOKS_UP = """
import socket, sys, threading
def looked_up(*arguments, **options):
    print("looks up", flush=True)
    threading.Event().wait()
socket.getaddrinfo = looked_up
from batchcore import cli
sys.exit(cli.main(["run", "--database-url", "postgresql://nowhere.invalid/none"]))
"""
"""A batch whose look-up of the server's name does not end."""


async def runs_of(scene: Scene) -> list[asyncpg.Record]:
    async with scene.cluster.connected(scene.database) as connection:
        return await connection.fetch("SELECT id, state, attempt FROM batchcore_runs")


async def goes_on(scene: Scene) -> None:
    """Run the batch again at once, as nobody holds a lease any more."""
    async with asyncio.timeout(PATIENCE_S), started(scene.job.on(scene.url)) as worker:
        assert await worker.ended() in SUCCESS, worker.said()


@pytest.mark.parametrize("step", [*STEPS, LAST])
async def test_a_signal_at_a_step(stage: Stage, step: str) -> None:
    job, number = stage.some_job(), stage.random.choice(list(CODES))
    at = At(step, stage.some_time(job, step), number)
    async with stage.scene(job) as scene:
        async with asyncio.timeout(PATIENCE_S), started(job.on(scene.url), at) as worker:
            code = await worker.ended()
            assert code == CODES[number] or (step == LAST and code == 0), worker.said()
        await stage.cluster.until_alone(scene.database)
        await assert_whole(scene)
        (run,) = await runs_of(scene)
        assert run["state"] == ("complete" if step == LAST else "interrupted")
        assert worker.left["run_id"] == str(run["id"])
        await goes_on(scene)
        await assert_done(scene)
        if step != LAST:
            (again,) = await runs_of(scene)
            assert (again["id"], again["attempt"]) == (run["id"], 2)


@pytest.mark.parametrize("stage", range(4), indirect=True)
async def test_a_signal_at_any_moment(stage: Stage) -> None:
    job = stage.some_job()
    signals = stage.random.choice([[signal.SIGINT], [signal.SIGTERM], [signal.SIGINT] * 2])
    async with stage.scene(job, Moment(share=stage.random.random())) as scene:
        async with asyncio.timeout(PATIENCE_S), started(job.on(scene.url)) as worker:
            await scene.wait()
            for one in signals:
                worker.send(one)
            code = await worker.ended()
            if worker.said() is None:  # nothing of ours looked after signals yet, or any more
                assert code in {1, -signals[0]}
            else:
                assert code in {CODES[signals[0]], *SUCCESS}, worker.said()
        await stage.cluster.until_alone(scene.database)
        await assert_whole(scene)
        await goes_on(scene)
        await assert_done(scene)


@pytest.mark.parametrize("step", ["snapshot", "fenced"])
async def test_a_signal_while_the_server_is_silent(stage: Stage, step: str) -> None:
    job, number = stage.jobs["skip"], stage.random.choice(list(CODES))
    async with stage.scene(job) as scene, proxied(scene.tcp_url) as (proxy, url):
        at = At(step)
        async with (
            asyncio.timeout(PATIENCE_S),
            started(job.on(url), at, patient=False) as worker,
        ):
            assert await worker.reached()
            proxy.stall()
            worker.go_on()
            worker.send(number)
            assert await worker.ended() == CODES[number], worker.said()
        proxy.flow()
        await assert_whole(scene)
        await scene.again()
        await assert_done(scene)


@pytest.mark.parametrize("number", CODES)
async def test_a_signal_while_a_name_is_looked_up(number: signal.Signals, tmp_path: Path) -> None:
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-c", LOOKS_UP),
        env={**os.environ, ARTIFACT_VARIABLE: str(tmp_path / "artifact.json")},
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )
    assert process.stdout is not None
    async with asyncio.timeout(PATIENCE_S):
        assert await process.stdout.readline() == b"looks up\n"
        process.send_signal(number)
        _, err = await process.communicate()
    assert process.returncode == CODES[number]
    (line,) = err.decode().splitlines()
    assert line.startswith(f"batchcore: error: interrupted by {number.name}")
    assert checked(tmp_path / "artifact.json", CODES[number])["outcome"] == "interrupted"


@pytest.fixture
def _patient(monkeypatch: pytest.MonkeyPatch) -> None:
    patience(monkeypatch.setattr)


@contextlib.asynccontextmanager
async def lent(kind: str, url: str) -> AsyncIterator[tuple[Any, Callable[[], int]]]:
    """Give a pool or an engine, and what tells how many of its connections are lent."""
    if kind == "pool":
        async with asyncpg.create_pool(url, min_size=0, max_size=MOST_CONNECTIONS) as pool:
            yield pool, lambda: pool.get_size() - pool.get_idle_size()
        return
    async with engine_of(url, pool_size=MOST_CONNECTIONS, max_overflow=0) as engine:
        yield engine, engine.pool.checkedout  # type: ignore[attr-defined]


def batch(db: object, job: Job) -> asyncio.Task[batchcore.BatchResult]:
    full = "replace" in job.words
    return asyncio.create_task(
        batchcore.run_batch(
            db,
            *DAYS,
            on_existing="replace" if full else "skip",
            analytics="full" if full else "portfolio",
            settings=Settings(chunk_size=3),
        )
    )


@contextlib.contextmanager
def at_step(step: str, action: Callable[[], object], count: int = 1) -> Iterator[None]:
    """Call something when batches of this process have taken a step so many times."""
    logger, handler = logging.getLogger("batchcore"), Steps(step, count, action)
    level = logger.level
    logger.addHandler(handler)
    logger.setLevel(logging.DEBUG)
    try:
        yield
    finally:
        logger.setLevel(level)
        logger.removeHandler(handler)


async def assert_all_given_back(scene: Scene, lent_now: Callable[[], int]) -> None:
    """Assert that no connection stays lent, and that none is at work or inside a transaction."""
    async with asyncio.timeout(PATIENCE_S):
        while await scene.cluster.backends(scene.database, "state IS DISTINCT FROM 'idle'"):
            pass
        while lent_now():
            await scene.cluster.ready()
    assert len(await scene.cluster.backends(scene.database)) <= MOST_CONNECTIONS


async def test_a_task_cancelled_while_the_server_is_silent(stage: Stage) -> None:
    job, kind = stage.jobs["skip"], stage.random.choice(KINDS)
    step = stage.random.choice(["snapshot", "planned", "begun", "fenced"])
    async with (
        asyncio.timeout(PATIENCE_S),
        stage.scene(job) as scene,
        proxied(scene.tcp_url) as (proxy, url),
        lent(kind, url) as (db, lent_now),
    ):
        task = batch(db, job)
        with at_step(step, proxy.stall), pytest.raises(asyncio.CancelledError):
            await until_stalled(proxy, task)
        proxy.flow()
        await assert_all_given_back(scene, lent_now)
        await assert_whole(scene)
        await scene.time_passes()
        assert (await batch(db, job))["success"]
        await assert_all_given_back(scene, lent_now)
        await assert_done(scene)


async def until_stalled(proxy: Proxy, task: asyncio.Task[Any]) -> None:
    """Cancel a task once a proxy is silent, and await its end."""
    while proxy.flows:  # noqa: ASYNC110  # it is the batch that stalls it
        await asyncio.sleep(0)
    task.cancel()
    await task


async def assert_goes_on(
    scene: Scene, kind: str, cancel: Callable[[asyncio.Task[Any]], Any]
) -> None:
    """Cancel a batch, and use the pool or engine that it worked with again, twice over."""
    async with asyncio.timeout(PATIENCE_S), lent(kind, scene.url) as (db, lent_now):
        task = batch(db, scene.job)
        await cancel(task)
        with contextlib.suppress(asyncio.CancelledError):
            await task
        await assert_all_given_back(scene, lent_now)
        await assert_whole(scene)
        result = await batch(db, scene.job)
        assert result["success"]
        await assert_all_given_back(scene, lent_now)
    async with scene.cluster.connected(scene.database) as connection:
        assert await dump(connection) == scene.job.expected


@pytest.mark.parametrize("step", STEPS)
@pytest.mark.usefixtures("_patient")
async def test_a_task_cancelled_at_a_step(stage: Stage, step: str) -> None:
    job, kind = stage.some_job("skip", "replace"), stage.random.choice(KINDS)
    count = stage.some_time(job, step)

    async def cancel(task: asyncio.Task[Any]) -> None:
        with at_step(step, task.cancel, count), pytest.raises(asyncio.CancelledError):
            await task

    async with stage.scene(job) as scene:
        await assert_goes_on(scene, kind, cancel)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("stage", range(3), indirect=True)
@pytest.mark.usefixtures("_patient")
async def test_a_task_cancelled_at_any_moment(stage: Stage, kind: str) -> None:
    job = stage.some_job("skip", "replace")

    async def cancel(task: asyncio.Task[Any]) -> None:
        for share in sorted(stage.random.random() for _ in range(stage.random.randint(1, 3))):
            await asyncio.sleep(share * job.seconds / 2)
            task.cancel()  # once more, perhaps, while it gives connections back

    async with stage.scene(job) as scene:
        await assert_goes_on(scene, kind, cancel)
