"""Ctrl-C, SIGTERM and cancelled tasks: what was committed stays, and the next run goes on."""

import asyncio
import contextlib
import datetime as dt
import logging
import signal
from collections.abc import AsyncIterator, Callable
from random import Random
from typing import Any

import asyncpg
import pytest
from sqlalchemy.ext.asyncio import create_async_engine

import batchcore
from batchcore.config import Settings
from support.cluster import Cluster
from support.faults import PATIENCE_S, SUCCESS, Moment, Scene
from support.jobs import END, START, Job, dump
from support.survival import assert_done, assert_whole, scene_of
from support.worker import STEP, At, started

pytestmark = [pytest.mark.db, pytest.mark.asyncio]

CODES = {signal.SIGINT: 130, signal.SIGTERM: 143}
ENDS = {"lease", "snapshot", "planned", "loaded", "computed", "begun", "copied", "equities"}
ENDS |= {"ledger", "fenced", "committed"}
LAST = "finished"
MOST_CONNECTIONS = 6


async def state_of(scene: Scene) -> list[asyncpg.Record]:
    async with scene.cluster.connected(scene.database) as connection:
        return await connection.fetch(
            "SELECT id, state, attempt, chunks FROM batchcore_runs ORDER BY token"
        )


async def goes_on(scene: Scene) -> None:
    """Run the batch again at once, as nobody holds a lease any more."""
    async with asyncio.timeout(PATIENCE_S), started(scene.job.on(scene.url)) as worker:
        assert await worker.ended() in SUCCESS, worker.said()


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM], ids=lambda number: number.name)
@pytest.mark.parametrize("step", [*sorted(ENDS), LAST])
async def test_a_signal_at_a_step(
    cluster: Cluster, job_of: dict[str, Job], by_chance: Random, step: str, number: signal.Signals
) -> None:
    job = by_chance.choice(list(job_of.values()))
    at = At(step, by_chance.randint(1, job.steps.count(step)), number)
    async with scene_of(cluster, job, Moment(), by_chance) as scene:
        async with asyncio.timeout(PATIENCE_S), started(job.on(scene.url), at) as worker:
            code = await worker.ended()
            assert code == CODES[number] or (step == LAST and code == 0), worker.said()
        await cluster.until_alone(scene.database)
        await assert_whole(scene)
        (run,) = await state_of(scene)
        assert run["state"] == ("interrupted" if step in ENDS else "complete")
        await goes_on(scene)
        await assert_done(scene)
        if step in ENDS:
            (again,) = await state_of(scene)
            assert (again["id"], again["attempt"]) == (run["id"], 2)


@pytest.mark.parametrize("number", range(4))
async def test_a_signal_at_any_moment(
    cluster: Cluster, job_of: dict[str, Job], by_chance: Random, number: int
) -> None:
    job = by_chance.choice(list(job_of.values()))
    signals = by_chance.choice([[signal.SIGINT], [signal.SIGTERM], [signal.SIGINT, signal.SIGINT]])
    async with scene_of(cluster, job, Moment(share=by_chance.random()), by_chance) as scene:
        async with asyncio.timeout(PATIENCE_S), started(job.on(scene.url)) as worker:
            await scene.wait()
            for one in signals:
                worker.send(one)
            # Before anything of ours looks after signals, they end the process.
            codes = {CODES[signals[0]], -signals[0], *SUCCESS}
            assert await worker.ended() in codes, worker.said()
        await cluster.until_alone(scene.database)
        await assert_whole(scene)
        await goes_on(scene)
        await assert_done(scene)


@contextlib.asynccontextmanager
async def lent(kind: str, url: str) -> AsyncIterator[tuple[Any, Callable[[], int]]]:
    """Give a pool or an engine, and what tells how many of its connections are lent."""
    if kind == "pool":
        async with asyncpg.create_pool(url, min_size=0, max_size=MOST_CONNECTIONS) as pool:
            yield pool, lambda: pool.get_size() - pool.get_idle_size()
        return
    url = url.replace("postgresql://", "postgresql+asyncpg://")
    engine = create_async_engine(url, pool_size=MOST_CONNECTIONS, max_overflow=0)
    try:
        yield engine, engine.pool.checkedout  # type: ignore[attr-defined]
    finally:
        await engine.dispose()


def batch(db: object, job: Job) -> asyncio.Task[batchcore.BatchResult]:
    full = "replace" in job.words
    return asyncio.create_task(
        batchcore.run_batch(
            db,
            dt.date.fromisoformat(START),
            dt.date.fromisoformat(END),
            on_existing="replace" if full else "skip",
            analytics="full" if full else "portfolio",
            settings=Settings(chunk_size=3),
        )
    )


class _Cancels(logging.Handler):
    """Cancels a task at a step."""

    def __init__(self, step: str, count: int) -> None:
        super().__init__()
        self._step, self._left = step, count
        self.task: asyncio.Task[Any] | None = None

    def emit(self, record: logging.LogRecord) -> None:
        found = STEP.search(record.getMessage())
        if found is not None and found[1] == self._step:
            self._left -= 1
            if self._left == 0 and self.task is not None:
                self.task.cancel()


async def assert_all_given_back(scene: Scene, lent_now: Callable[[], int]) -> None:
    """Assert that no connection stays lent, and that none is at work or inside a transaction."""
    async with asyncio.timeout(PATIENCE_S):
        while lent_now():
            await asyncio.sleep(0.005)
        while await scene.cluster.backends(scene.database, "state IS DISTINCT FROM 'idle'"):
            await asyncio.sleep(0.005)
    assert len(await scene.cluster.backends(scene.database)) <= MOST_CONNECTIONS


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


@pytest.mark.parametrize("kind", ["pool", "engine"])
@pytest.mark.parametrize("step", sorted(ENDS))
async def test_a_task_cancelled_at_a_step(
    cluster: Cluster, job_of: dict[str, Job], by_chance: Random, step: str, kind: str
) -> None:
    job = job_of[by_chance.choice(["skip", "replace"])]
    handler = _Cancels(step, by_chance.randint(1, job.steps.count(step)))
    logger = logging.getLogger("batchcore")

    async def cancel(task: asyncio.Task[Any]) -> None:
        handler.task = task
        level = logger.level
        logger.addHandler(handler)
        logger.setLevel(logging.DEBUG)
        try:
            with pytest.raises(asyncio.CancelledError):
                await task
        finally:
            logger.setLevel(level)
            logger.removeHandler(handler)

    async with scene_of(cluster, job, Moment(), by_chance) as scene:
        await assert_goes_on(scene, kind, cancel)


@pytest.mark.parametrize("kind", ["pool", "engine"])
@pytest.mark.parametrize("number", range(4))
async def test_a_task_cancelled_at_any_moment(
    cluster: Cluster, job_of: dict[str, Job], by_chance: Random, kind: str, number: int
) -> None:
    job = job_of[by_chance.choice(["skip", "replace"])]

    async def cancel(task: asyncio.Task[Any]) -> None:
        for share in sorted(by_chance.random() for _ in range(by_chance.randint(1, 3))):
            await asyncio.sleep(share * job.seconds / 2)
            task.cancel()  # once more, perhaps, while it gives connections back

    async with scene_of(cluster, job, Moment(), by_chance) as scene:
        await assert_goes_on(scene, kind, cancel)
