"""Databases for the command line: empty, migrated, filled; each a copy of one made once."""

import asyncio
from collections.abc import Callable, Iterator

import pytest

from batchcore import demo
from batchcore.cli.options import LIBPQ_VARIABLES, URL_VARIABLE
from batchcore.db.migrate import migrate
from batchcore.demo import embedded
from support.tables import SEED, SIZE, dropped, made


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
def migrated_template(server) -> Iterator[str]:
    name = made(server)
    asyncio.run(migrate(server.database_url(name)))
    yield name
    dropped(server, name)


@pytest.fixture(scope="session")
def filled_template(server, migrated_template: str) -> Iterator[str]:
    name = made(server, migrated_template)
    asyncio.run(demo.seeded(SIZE, seed=SEED).write(server.database_url(name)))
    yield name
    dropped(server, name)


@pytest.fixture
def copy(server) -> Iterator[Callable[[str], str]]:
    """A function from the name of a template to the URL of a copy of it."""
    names: list[str] = []

    def make(template: str) -> str:
        names.append(made(server, template))
        return server.database_url(names[-1])

    yield make
    for name in names:
        dropped(server, name)


@pytest.fixture
def empty(copy) -> str:
    """The URL of a database without tables."""
    return copy("template0")


@pytest.fixture
def migrated(copy, migrated_template: str) -> str:
    """The URL of a database without rows."""
    return copy(migrated_template)


@pytest.fixture
def filled(copy, filled_template: str) -> str:
    """The URL of a database of `SIZE`, without snapshots."""
    return copy(filled_template)
