"""Fixtures that every test may ask for: a server, and databases on it."""

import gc
from collections.abc import AsyncIterator, Awaitable, Callable, Generator, Iterator
from typing import Any

import pytest
import pytest_asyncio
from hypothesis import settings
from sqlalchemy import make_url

from batchcore.db.migrate import migrate
from batchcore.demo import embedded
from support.database import created, dropped, shared
from support.survival import Report

FAULTS = pytest.StashKey[list[Report]]()

MakeDatabase = Callable[..., Awaitable[str]]

settings.register_profile("patient", deadline=None)  # the machine may have other work
settings.load_profile("patient")


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


@pytest.hookimpl(wrapper=True)
def pytest_collection() -> Generator[None, object, object]:
    """Let the garbage collector rest meanwhile, and then pass over half a million objects."""
    gc.disable()
    found = yield
    gc.collect()
    gc.freeze()
    gc.enable()
    return found


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
def template(server: GivenServer | embedded.EmbeddedServer) -> Iterator[str]:
    """The URL of a migrated database to copy; nobody connects to it."""
    yield from shared(server, migrate)


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
        made.append(await created(server, template))
        return made[-1]

    yield make
    for url in made:
        await dropped(server, url)


@pytest_asyncio.fixture
async def database(make_database: MakeDatabase) -> str:
    """The URL of an empty database of this test alone."""
    return await make_database()


@pytest.fixture
def painted(monkeypatch: pytest.MonkeyPatch) -> None:
    """Paint the charts of pages, and leave out what a browser is told of them: most of the time."""
    from matplotlib.figure import Figure  # noqa: PLC0415  # half a second to import

    from batchcore.pages import drawing  # noqa: PLC0415  # the same

    def paint(_name: str, paint: Callable[..., None], width: int, _height: int) -> drawing.Markup:
        paint(drawing.Canvas(Figure().subplots(), width == drawing.NARROW))
        return drawing.Markup()

    monkeypatch.setattr(drawing, "_svg", paint)
