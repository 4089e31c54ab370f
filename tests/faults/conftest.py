"""A server to break, batches to disturb, and the report of what came of it."""

import asyncio
import secrets
from collections.abc import Iterator
from random import Random

import pytest

from support.cluster import Cluster
from support.jobs import Job, jobs
from support.survival import Report

REPORT = pytest.StashKey[Report]()


def pytest_configure(config: pytest.Config) -> None:
    seed = config.getoption("--faults-seed")
    config.stash[REPORT] = Report(secrets.randbelow(2**32) if seed is None else seed)


def pytest_terminal_summary(
    terminalreporter: pytest.TerminalReporter, config: pytest.Config
) -> None:
    report = config.stash[REPORT]
    if report.injected:
        terminalreporter.section("faults")
        for line in report.lines():
            terminalreporter.write_line(line)


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    if "random_point" in metafunc.fixturenames:
        points = metafunc.config.getoption("--faults")
        metafunc.parametrize("random_point", range(points))


@pytest.fixture(scope="session")
def cluster() -> Iterator[Cluster]:
    found = Cluster()
    yield found
    found.stop()


@pytest.fixture(scope="session")
def job_of(cluster: Cluster) -> dict[str, Job]:
    """The jobs by name."""
    return {job.name: job for job in asyncio.run(jobs(cluster))}


@pytest.fixture(scope="session")
def report(pytestconfig: pytest.Config) -> Report:
    return pytestconfig.stash[REPORT]


@pytest.fixture
def by_chance(report: Report, request: pytest.FixtureRequest) -> Random:
    """Random numbers of this test alone, the same for the same seed."""
    return Random(f"{report.seed} {request.node.name}")  # noqa: S311
