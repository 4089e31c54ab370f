"""What a shard on a warm Dask cluster takes beside the same run without one."""

import random
from dataclasses import dataclass

import pytest
from distributed import Client, LocalCluster

import batchcore
from batchcore.config import Settings
from sample import Nights, nights

ROUNDS = 15
OPTIONS = {"analytics": "none", "settings": Settings(threads=1)}
ALONE, SHARD = "run_batch", "run_on, 1 shard"

pytestmark = pytest.mark.db


@dataclass
class Shards(Nights):
    title = "cluster"
    than = ALONE

    client: Client | None = None

    def run(self, side: str) -> None:
        self.put_back()
        days = self.job.start, self.job.end
        if side == ALONE:
            work = batchcore.run_batch(self.url, *days, **OPTIONS)
        else:
            work = batchcore.run_on(self.client, self.url, *days, shards=1, **OPTIONS)
        self.check(self.timed(side, work))


@pytest.mark.benchmark(group="cluster")
def bench_cluster(benchmark, timed: bool, figures: list[str]):  # noqa: FBT001  # a fixture
    dice = random.Random(1)  # noqa: S311  # an order

    def alternate() -> None:
        for side in dice.sample([ALONE, SHARD], 2):
            sides.run(side)

    with (
        nights(Shards, "s" if timed else "xs") as sides,
        LocalCluster(
            n_workers=1, threads_per_worker=1, processes=True, dashboard_address=None
        ) as cluster,
        Client(cluster) as sides.client,
    ):
        alternate()  # a first run of each does not count
        sides.seconds.clear()
        benchmark.pedantic(alternate, rounds=ROUNDS if timed else 1)
        if timed:
            figures += sides.lines()
