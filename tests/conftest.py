"""Fixtures that every test may ask for: a server, and databases on it."""

import uuid
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from typing import Any

import pytest
import pytest_asyncio
from sqlalchemy import make_url

from batchcore.demo import embedded
from support.database import execute
from support.survival import Report

FAULTS = pytest.StashKey[list[Report]]()

MakeDatabase = Callable[..., Awaitable[str]]


class GivenServer:
    """The server that `--dsn` names; looks like an embedded one."""

    def __init__(self, url: str) -> None:
        self.url = url

    def database_url(self, database: str) -> str:
        return make_url(self.url).set(database=database).render_as_string(hide_password=False)


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption(
        "--dsn",
        metavar="URL",
        help="run db tests on this server, as a role that may create databases and extensions, "
        "instead of an embedded one",
    )
    parser.addoption(
        "--faults", metavar="N", type=int, default=500, help="points of the slow test of faults"
    )
    parser.addoption(
        "--faults-seed",
        metavar="N",
        type=int,
        help="repeat the moments that another run left to chance",
    )


@pytest.hookimpl(optionalhook=True)
def pytest_testnodedown(node: Any) -> None:
    """Keep what a process of the test run says of its faults, when it ends."""
    told = getattr(node, "workeroutput", {}).get("faults")
    if told is not None:
        node.config.stash.setdefault(FAULTS, []).append(Report(**told))


def pytest_terminal_summary(
    terminalreporter: pytest.TerminalReporter, config: pytest.Config
) -> None:
    if reports := config.stash.get(FAULTS, None):
        first, *others = reports
        for other in others:
            first.add(other)
        first.tell(terminalreporter)


@pytest.fixture(scope="session")
def server(
    request: pytest.FixtureRequest,
) -> Iterator[GivenServer | embedded.EmbeddedServer]:
    """The server of the test run: `url`, and `database_url(name)`."""
    if dsn := request.config.getoption("--dsn"):
        yield GivenServer(dsn)
        return
    with embedded.start() as started:
        yield started


@pytest.fixture(scope="session")
def workers() -> Iterator[str]:
    """The address of a Dask scheduler with two workers in processes."""
    from support.tasks import local_cluster  # noqa: PLC0415  # half a second to import

    with local_cluster() as address:
        yield address


@pytest_asyncio.fixture
async def make_database(
    server: GivenServer | embedded.EmbeddedServer,
) -> AsyncIterator[MakeDatabase]:
    """A coroutine function that makes a database and returns its URL; dropped after the test.

    With `template`, the URL of a database that nobody is connected to, it is a copy of that one.
    """
    made: list[str] = []

    async def make(template: str | None = None) -> str:
        name = f"test_{uuid.uuid4().hex}"
        source = "template0" if template is None else make_url(template).database
        await execute(server.url, f'CREATE DATABASE "{name}" TEMPLATE "{source}"')
        made.append(name)
        return server.database_url(name)

    yield make
    for name in made:
        await execute(server.url, f'DROP DATABASE IF EXISTS "{name}" WITH (FORCE)')


@pytest_asyncio.fixture
async def database(make_database: MakeDatabase) -> str:
    """The URL of an empty database of this test alone."""
    return await make_database()
