"""The contest of `batch`, once on little: every side writes the rows of batchcore.

Its figures come from `make bench-batch`, which runs each side in a process of its own.
"""

import asyncio
from collections.abc import Iterator
from pathlib import Path

import pytest

from batch.contest import Contest
from batch.data import server
from batch.job import JOBS, Job, job_of
from batch.sides import SIDES
from batch.sizes import SIZES

pytestmark = pytest.mark.db

SIZE = SIZES["xs"]


@pytest.fixture(scope="module")
def url() -> Iterator[str]:
    with server(SIZE, analytics=True, folder=None, settings={}) as started:
        yield started.url


@pytest.mark.parametrize("name", JOBS)
@pytest.mark.parametrize("analytics", ["none", "full"])
def bench_batch(url: str, tmp_path: Path, name: str, analytics: str):
    sides = [side for side in SIDES.values() if not side.lacks]
    if analytics != "none":
        sides = [side for side in sides if side.analytics]
    job: Job = job_of(name, SIZE, history=1, analytics=analytics, folder=tmp_path)
    contest = Contest(url, job, tuple(sides), rounds=1, seed=1, tell=lambda _: None)

    found = asyncio.run(contest.run())

    assert set(found.told) == {side.name for side in sides}
    for side, (told,) in found.told.items():
        rows = job.rows if SIDES[side].portfolios is None else min(job.rows, told["rows"])
        assert told["rows"] == rows, side
        assert told["total"] > 0, side
        assert told["peak_bytes"] > told["peak_bytes_before"] > 0, side
