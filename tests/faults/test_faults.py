"""Killed, cut off, stalled, out of disk, started twice: the next run finishes the work."""

from random import Random

import pytest

from support.cluster import Cluster
from support.faults import (
    EVERYWHERE,
    Fault,
    Moment,
    drop_connections,
    fill_disk,
    fill_tablespace,
    forbid_writing,
    freeze,
    kill,
    kill_backend,
    restart_server,
    stall_connections,
    start_twice,
)
from support.jobs import Job
from support.survival import Report, assert_survived, scene_of

pytestmark = [pytest.mark.db, pytest.mark.asyncio]

STEPS = (
    *("lease", "snapshot", "planned", "loaded", "computed"),
    *("begun", "copied", "equities", "ledger", "fenced", "committed", "finished"),
)
"""Of a run, and of each chunk between the third and the last."""


@pytest.mark.parametrize("step", STEPS)
async def test_killed_at_a_step(
    cluster: Cluster, job_of: dict[str, Job], report: Report, by_chance: Random, step: str
) -> None:
    job = by_chance.choice(list(job_of.values()))
    moment = Moment(step, by_chance.randint(1, job.steps.count(step)))
    async with scene_of(cluster, job, moment, by_chance) as scene:
        await assert_survived(scene, kill, report)
        assert scene.was_stopped


@pytest.mark.parametrize("job", ["skip", "replace", "go-on"])
@pytest.mark.parametrize("number", range(4))
async def test_killed_at_any_moment(
    cluster: Cluster, job_of: dict[str, Job], report: Report, by_chance: Random, job: str, number
) -> None:
    moment = Moment(share=by_chance.random())
    async with scene_of(cluster, job_of[job], moment, by_chance) as scene:
        await assert_survived(scene, kill, report)


@pytest.mark.parametrize(
    ("fault", "job", "moment"),
    [
        (kill_backend, "skip", Moment("copied", 2)),
        (kill_backend, "replace", Moment("committed", 3)),
        (restart_server, "replace", Moment("fenced", 2)),
        (restart_server, "go-on", Moment("loaded", 1)),
        (drop_connections, "skip", Moment("begun", 2)),
        (drop_connections, "replace", Moment("committed", 1)),
        (stall_connections, "skip", Moment("fenced", 1)),
        (stall_connections, "replace", Moment("copied", 3)),
        (freeze, "replace", Moment("ledger", 2)),
        (freeze, "skip", Moment("planned")),
        (fill_disk, "skip", Moment("begun", 1)),
        (fill_tablespace, "skip", Moment("begun", 2)),
        (forbid_writing, "replace", Moment("committed", 2)),
        (forbid_writing, "skip", Moment("computed", 3)),
    ],
    ids=lambda given: getattr(given, "__name__", str(given)),
)
async def test_disturbed_at_a_step(
    cluster: Cluster,
    job_of: dict[str, Job],
    report: Report,
    by_chance: Random,
    fault: Fault,
    job: str,
    moment: Moment,
) -> None:
    async with scene_of(cluster, job_of[job], moment, by_chance) as scene:
        await assert_survived(scene, fault, report)
        assert scene.was_stopped


@pytest.mark.parametrize("job", ["skip", "replace"])
async def test_started_twice(
    cluster: Cluster, job_of: dict[str, Job], report: Report, by_chance: Random, job: str
) -> None:
    moment = Moment(share=by_chance.random() / 2)
    async with scene_of(cluster, job_of[job], moment, by_chance) as scene:
        await assert_survived(scene, start_twice, report)


@pytest.mark.slow
async def test_disturbed_anyhow_at_any_moment(
    cluster: Cluster,
    job_of: dict[str, Job],
    report: Report,
    by_chance: Random,
    random_point: int,
) -> None:
    job = by_chance.choice(list(job_of.values()))
    fault = by_chance.choice([*EVERYWHERE, kill, kill, start_twice])
    moment = Moment(share=by_chance.random())
    if by_chance.random() < 0.5:
        step = by_chance.choice(job.steps)
        moment = Moment(step, by_chance.randint(1, job.steps.count(step)))
    async with scene_of(cluster, job, moment, by_chance) as scene:
        await assert_survived(scene, fault, report)
