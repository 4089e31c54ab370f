"""A server to break, batches to disturb, and the report of what came of it."""

import asyncio
import secrets
from collections.abc import Iterator
from dataclasses import asdict
from random import Random

import pytest

from support.cluster import Cluster
from support.jobs import Job, jobs
from support.survival import Report, Stage

REPORT = pytest.StashKey[Report]()


def pytest_configure(config: pytest.Config) -> None:
    seed = config.getoption("--faults-seed")
    if seed is None and (worker := getattr(config, "workerinput", None)):
        seed = int(worker["testrunuid"], 16) % 2**32  # that of all processes
    config.stash[REPORT] = Report(secrets.randbelow(2**32) if seed is None else seed)


def pytest_report_header(config: pytest.Config) -> str:
    return f"faults: --faults-seed {config.stash[REPORT].seed}"


def pytest_sessionfinish(session: pytest.Session) -> None:
    worker = getattr(session.config, "workeroutput", None)
    if worker is not None:
        worker["faults"] = asdict(session.config.stash[REPORT])


def pytest_terminal_summary(
    terminalreporter: pytest.TerminalReporter, config: pytest.Config
) -> None:
    config.stash[REPORT].tell(terminalreporter)


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    if "one_of_many" in metafunc.fixturenames:
        points = metafunc.config.getoption("--faults")
        metafunc.parametrize("one_of_many", range(points), indirect=True)


@pytest.fixture(scope="session")
def cluster() -> Iterator[Cluster]:
    found = Cluster()
    yield found
    found.stop()


@pytest.fixture(scope="session")
def job_by_name(cluster: Cluster) -> dict[str, Job]:
    return {job.name: job for job in asyncio.run(jobs(cluster))}


@pytest.fixture
def stage(cluster: Cluster, job_by_name: dict[str, Job], request: pytest.FixtureRequest) -> Stage:
    """What a test disturbs batches with; a parameter only changes what is left to chance."""
    report = request.config.stash[REPORT]
    random = Random(f"{report.seed} {request.node.name}")  # noqa: S311  # to be repeated
    return Stage(cluster, job_by_name, report, random)


@pytest.fixture
def one_of_many(stage: Stage) -> Stage:
    """The same, as often as ``--faults`` says."""
    return stage
