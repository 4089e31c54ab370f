"""Databases for the command line: empty, migrated, filled; each a copy of one made once."""

import asyncio
from collections.abc import Callable, Iterator

import pytest

import batchcore
from batchcore.cli.options import LIBPQ_VARIABLES, URL_VARIABLE
from batchcore.demo import embedded
from batchcore.demo import run as demo
from support import database
from support.tables import DAYS, SEED, SIZE


@pytest.fixture(autouse=True)
def _no_database_in_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in (URL_VARIABLE, *LIBPQ_VARIABLES):
        monkeypatch.delenv(name, raising=False)


@pytest.fixture(scope="session")
def tcp_server() -> Iterator[embedded.EmbeddedServer]:
    """A server that asks for a password."""
    with embedded.start(tcp=True) as started:
        yield started


@pytest.fixture(scope="session")
def filled_template(server, template: str) -> Iterator[str]:
    yield from database.shared(server, demo.seeded(SIZE, seed=SEED).write, template)


@pytest.fixture(scope="session")
def stored(server, filled_template: str) -> Iterator[str]:
    """The URL of a database of `SIZE` with the rows of all sessions, which nobody changes."""

    async def run(url: str) -> None:
        await batchcore.run_batch(url, *DAYS, analytics="none")

    yield from database.shared(server, run, filled_template)


@pytest.fixture
def copy(make_database) -> Callable[[str | None], str]:
    """A function from the URL of a database that nobody is connected to to that of a copy of it."""
    return lambda template: asyncio.run(make_database(template))


@pytest.fixture
def empty(copy) -> str:
    """The URL of a database without tables."""
    return copy(None)


@pytest.fixture
def migrated(copy, template: str) -> str:
    """The URL of a database without rows."""
    return copy(template)


@pytest.fixture
def filled(copy, filled_template: str) -> str:
    """The URL of a database of `SIZE`, without snapshots."""
    return copy(filled_template)
