"""Fixtures of the benches: how much they work on, and a filled database.

With the tests every bench runs once, untimed, on little; `--benchmark-enable` times it on a lot.
"""

import asyncio
import contextlib
import io
import json
import sys
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any, TypeVar
from unittest import mock

import pytest

from batch import contest, scaling, server
from batch.child import main
from batch.job import Job
from batch.sides import SIDES
from batchcore import about
from batchcore.db.migrate import migrate
from batchcore.demo import embedded
from batchcore.demo.run import Size
from batchcore.pg.session import Session
from sample import FULL, SMALL, EmptyDatabase, Sides
from support.database import created

S = TypeVar("S", bound=Sides)
Given = Callable[..., contextlib.AbstractContextManager[S]]

FIGURES = pytest.StashKey[list[str]]()


def pytest_configure(config: pytest.Config) -> None:
    config.stash[FIGURES] = []


def pytest_terminal_summary(
    terminalreporter: pytest.TerminalReporter, config: pytest.Config
) -> None:
    if figures := config.stash[FIGURES]:
        terminalreporter.section("figures")
        for line in figures:
            terminalreporter.write_line(line)


@pytest.fixture(scope="session")
def figures(request: pytest.FixtureRequest) -> list[str]:
    """Lines that are printed after the run."""
    return request.config.stash[FIGURES]


@pytest.fixture(scope="session")
def timed(request: pytest.FixtureRequest) -> bool:
    """Whether benches are timed, on a lot, which a debug build is not fit for."""
    enabled = request.config.getoption("benchmark_enable")
    if enabled and about.build_profile != "release":
        pytest.exit(
            f"batchcore._core is a {about.build_profile} build, whose times mean nothing:"
            " run `make build` first",
            returncode=1,
        )
    return enabled


@pytest.fixture(scope="session")
def size(timed: bool) -> Size:  # noqa: FBT001  # a fixture
    return FULL if timed else SMALL


@pytest.fixture(scope="session")
def empty_database(timed: bool) -> Iterator[EmptyDatabase]:  # noqa: FBT001  # a fixture
    """A function that gives the URL of an empty database, on a server of its own if it is timed.

    With the tests all are on one server, and copies of one that was migrated.
    """

    @contextlib.contextmanager
    def alone() -> Iterator[str]:
        with embedded.start() as server:
            yield server.url

    if timed:
        yield alone
        return
    with embedded.start() as server:
        asyncio.run(migrate(server.url))
        yield lambda: contextlib.nullcontext(asyncio.run(created(server, server.url)))


@pytest.fixture(scope="module")
def given(timed: bool, figures: list[str], empty_database: EmptyDatabase) -> Given:  # noqa: FBT001
    """A function that gives sides on a filled database; their figures are printed in the end."""

    @contextlib.contextmanager
    def give(kind: type[S], full: Size = FULL, small: Size = SMALL, **more: Any) -> Iterator[S]:
        with empty_database() as url:
            made = kind(url, full if timed else small, **more)
            asyncio.run(made.prepare())
            yield made
            if timed and made.seconds:
                figures.extend(made.lines())

    return give


@pytest.fixture(scope="session")
def host(size: Size, empty_database: EmptyDatabase) -> Iterator[Sides]:
    """A database that has portfolios and prices, and no snapshots."""
    with empty_database() as url:
        made = Sides(url, size)
        asyncio.run(made.prepare())
        yield made


@pytest.fixture
def child_here(monkeypatch: pytest.MonkeyPatch) -> Callable[[str, str, Job], dict[str, Any]]:
    """`contest.child` in a thread: its process takes a second to start, for little work.

    The libraries of a side keep threads, so one that needs any has a process of its own; so has
    the floor, which shows that processes work.
    """

    def child(side: str, url: str, job: Job) -> dict[str, Any]:
        if SIDES[side].needs or side == "floor":
            return in_a_process(side, url, job)
        file, out = job.path / "job.json", io.StringIO()
        file.write_text(job.to_json(), encoding="utf-8")
        words = ["child", "--side", side, "--url", url, "--job", str(file)]
        words += ["--spawned-ns", str(time.time_ns())]
        with (
            mock.patch.object(sys, "argv", words),
            mock.patch.object(Session, "copy_out", Session.copy_out),  # which a side replaces
            contextlib.redirect_stdout(out),
            ThreadPoolExecutor(1) as thread,
        ):
            thread.submit(main).result()
        return json.loads(out.getvalue())

    in_a_process = contest.child
    monkeypatch.setattr(contest, "child", child)
    monkeypatch.setattr(scaling, "child", child)
    monkeypatch.setattr(server, "child", child)
    return child
