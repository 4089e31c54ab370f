"""Fixtures of the benches: how much they work on, and a filled database.

With the tests every bench runs once, untimed, on little; `--benchmark-enable` times it on a lot.
"""

from collections.abc import Iterator

import pytest

from batchcore import about
from sample import FULL, SMALL, Host, Size, hosted

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
def size(request: pytest.FixtureRequest) -> Size:
    """Little with the tests; a lot when timed, which a debug build is not fit for."""
    if not request.config.getoption("benchmark_enable"):
        return SMALL
    if about.build_profile != "release":
        pytest.exit(
            f"batchcore._core is a {about.build_profile} build, whose times mean nothing:"
            " run `make build` first",
            returncode=1,
        )
    return FULL


@pytest.fixture(scope="session")
def host(size: Size) -> Iterator[Host]:
    """An embedded server whose database has portfolios and prices, and no snapshots."""
    with hosted(size) as found:
        yield found
