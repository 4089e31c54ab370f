"""What a shard on a warm Dask cluster takes beside the same run without one."""

import asyncio
import random
import tempfile
from pathlib import Path
from statistics import median
from time import perf_counter

import pytest
from distributed import Client, LocalCluster

import batchcore
from batch import state
from batch.contest import keep_history
from batch.data import server
from batch.job import Job, job_of
from batch.sizes import SIZES
from batch.wire import connected
from batchcore.config import Settings

ROUNDS = 15
OPTIONS = {"analytics": "none", "settings": Settings(threads=1)}

pytestmark = pytest.mark.db


async def timed(client: Client, url: str, job: Job, rounds: int) -> dict[str, list[float]]:
    """Return the seconds of each side, after a run of each that does not count."""
    await keep_history(url, job)
    seconds: dict[str, list[float]] = {"run_batch": [], "run_on, 1 shard": []}
    dice = random.Random(1)  # noqa: S311  # an order
    for number in range(rounds + 1):
        for side in dice.sample([*seconds], len(seconds)):
            async with connected(url) as connection:
                await state.put_back(connection, job)
            began = perf_counter()
            if side == "run_batch":
                result = await batchcore.run_batch(url, job.start, job.end, **OPTIONS)
            else:
                result = await batchcore.run_on(
                    client, url, job.start, job.end, shards=1, **OPTIONS
                )
            took = perf_counter() - began
            assert result.state == "complete"
            assert result.rows_written == job.rows
            if number:
                seconds[side].append(took)
    return seconds


@pytest.mark.benchmark(group="cluster")
def bench_cluster(request: pytest.FixtureRequest, benchmark, figures: list[str]):
    enabled = request.config.getoption("benchmark_enable")
    size = SIZES["s" if enabled else "xs"]

    async def run(url: str, job: Job, address: str) -> dict[str, list[float]]:
        async with Client(address, asynchronous=True) as client:
            return await timed(client, url, job, ROUNDS if enabled else 1)

    with (
        tempfile.TemporaryDirectory(prefix="batchcore-bench-") as folder,
        server(size, analytics=False, folder=None, settings={}) as started,
        LocalCluster(
            n_workers=1, threads_per_worker=1, processes=True, dashboard_address=None
        ) as cluster,
    ):
        job = job_of("daily", size, history=1, analytics="none", folder=Path(folder))
        again = (started.url, job, cluster.scheduler_address)
        seconds = benchmark.pedantic(lambda: asyncio.run(run(*again)), rounds=1)
    if enabled:
        middle = {side: median(each) for side, each in seconds.items()}
        figures += [
            f"cluster: {size}, one session, medians of {ROUNDS}",
            *(f"{side:16}{each:>8.3f} s" for side, each in middle.items()),
            f"{middle['run_on, 1 shard'] - middle['run_batch']:.3f} s more for a shard",
            "",
        ]
