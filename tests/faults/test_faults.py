"""Killed, cut off, stalled, out of disk, started twice: the next run finishes the work."""

import pytest

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
from support.survival import Stage

pytestmark = pytest.mark.db

STEPS = (
    *("lease", "snapshot", "planned", "loaded", "computed"),
    *("begun", "equities", "copied", "ledger", "fenced", "committed", "finished"),
)
"""Of a run, and of each chunk between the third and the last."""


@pytest.mark.parametrize("step", STEPS)
async def test_killed_at_a_step(stage: Stage, step: str) -> None:
    job = stage.some_job()
    moment = Moment(step, stage.some_time(job, step))
    scene = await stage.assert_survived(kill, job, moment)
    assert scene.was_stopped


@pytest.mark.parametrize("job", ["skip", "replace", "go-on"])
@pytest.mark.parametrize("stage", range(4), indirect=True)
async def test_killed_at_any_moment(stage: Stage, job: str) -> None:
    await stage.assert_survived(kill, stage.jobs[job], Moment(share=stage.random.random()))


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
async def test_disturbed_at_a_step(stage: Stage, fault: Fault, job: str, moment: Moment) -> None:
    scene = await stage.assert_survived(fault, stage.jobs[job], moment)
    assert scene.was_stopped


@pytest.mark.parametrize("job", ["skip", "replace"])
async def test_started_twice(stage: Stage, job: str) -> None:
    moment = Moment(share=stage.random.random() / 2)
    await stage.assert_survived(start_twice, stage.jobs[job], moment)


@pytest.mark.slow
async def test_disturbed_anyhow_at_any_moment(one_of_many: Stage) -> None:
    stage = one_of_many
    job = stage.some_job()
    moment = Moment(share=stage.random.random())
    if stage.random.random() < 0.5:
        step = stage.random.choice(job.steps)
        moment = Moment(step, stage.some_time(job, step))
    fault = stage.random.choice([*EVERYWHERE, kill, kill, start_twice])
    await stage.assert_survived(fault, job, moment)
