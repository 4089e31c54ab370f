"""A fault, then one plain run, then every row beside those of a batch that was never disturbed."""

import contextlib
import uuid
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Mapping
from dataclasses import dataclass, field, fields
from random import Random
from typing import Any

import pytest

from support.cluster import Cluster
from support.faults import Moment, Scene
from support.jobs import Job, dump, lost_and_doubled, snapshots_in


@dataclass
class Report:
    """What the faults of a test run did; `stopped` ones were more than a batch could bear.

    After those survived the database was as if there had been none; else rows were lost or doubled.
    """

    seed: int
    injected: int = 0
    stopped: int = 0
    survived: int = 0
    lost: int = 0
    doubled: int = 0
    kinds: dict[str, int] = field(default_factory=dict)

    def add(self, other: "Report") -> None:
        """Count what the faults of another process of the test run did."""
        for each in fields(self):
            if each.type == "int" and each.name != "seed":
                setattr(self, each.name, getattr(self, each.name) + getattr(other, each.name))
        for kind, count in other.kinds.items():
            self.kinds[kind] = self.kinds.get(kind, 0) + count

    def tell(self, terminal: pytest.TerminalReporter) -> None:
        """Write a section at the end of the test run, if there were any."""
        if self.injected:
            terminal.section("faults")
            for line in self.lines():
                terminal.write_line(line)

    def lines(self) -> Iterator[str]:
        for kind, count in sorted(self.kinds.items()):
            yield f"{kind}: {count}"
        yield f"batches stopped by them: {self.stopped:,}"
        yield (
            f"faults injected {self.injected:,}, survived {self.survived:,},"
            f" rows lost {self.lost:,}, rows doubled {self.doubled:,}"
        )
        yield f"random moments by --faults-seed {self.seed}"


@dataclass(frozen=True)
class Stage:
    """What a test disturbs batches with; its random numbers are the same for the same seed."""

    cluster: Cluster
    jobs: Mapping[str, Job]
    report: Report
    random: Random

    def some_job(self, *names: str) -> Job:
        """Return one of some jobs, of all without names, by chance."""
        return self.jobs[self.random.choice(names or list(self.jobs))]

    def some_time(self, job: Job, step: str) -> int:
        """Return which of the times that a job takes a step, by chance."""
        return self.random.randint(1, job.steps.count(step))

    @contextlib.asynccontextmanager
    async def scene(self, job: Job, moment: Moment | None = None) -> AsyncIterator[Scene]:
        """Give a job on a database of its own."""
        name = f"scene_{uuid.uuid4().hex}"
        await self.cluster.copy(job.template, name)
        try:
            yield Scene(self.cluster, job, name, moment or Moment(), self.random)
        finally:
            await self.cluster.drop(name)

    async def assert_survived(
        self,
        fault: Callable[[Any], Awaitable[None]],
        job: Job,
        moment: Moment,
        on: Callable[[Scene], Any] = lambda scene: scene,
    ) -> Scene:
        """Let a fault strike a scene, or what is made `on` it; run again, and look at every row."""
        report, kind = self.report, fault.__name__.replace("_", " ")
        report.injected += 1
        report.kinds[kind] = report.kinds.get(kind, 0) + 1
        async with self.scene(job, moment) as scene:
            struck = on(scene)
            try:
                await fault(struck)
                report.stopped += scene.was_stopped
                await assert_whole(scene)
                await struck.again()
                await assert_done(scene, report)
            except BaseException as error:
                error.add_note(f"{kind} at {moment} of {job.name}")
                raise
        report.survived += 1
        return scene


async def assert_done(scene: Scene, report: Report | None = None) -> None:
    """Assert that all rows are as if nothing had disturbed the batch, those of the ledger too."""
    job = scene.job
    async with scene.cluster.connected(scene.database) as connection:
        found = await dump(connection)
        states = await connection.fetch("SELECT state FROM batchcore_runs")
        entered = await connection.fetchval("SELECT sum(rows_written) FROM batchcore_run_chunks")
    lost, doubled = lost_and_doubled(job.expected, found)
    if report is not None:
        report.lost += lost.total()
        report.doubled += doubled.total()
    assert (lost, doubled) == ({}, {})
    assert {row["state"] for row in states} <= {"complete", "superseded"}
    if "replace" not in job.words:  # there, a run after one that is complete does all of it again
        assert entered == snapshots_in(found) - snapshots_in(job.before)


async def assert_whole(scene: Scene) -> None:
    """Assert that each portfolio is as before, or done; never anything between."""
    async with scene.cluster.connected(scene.database) as connection:
        found = await dump(connection)
    for owner, rows in found.items():
        assert rows in (scene.job.before.get(owner), scene.job.expected.get(owner)), owner
