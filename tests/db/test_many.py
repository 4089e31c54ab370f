"""Runs on several servers: one is down, one slow, one has an old schema; the others finish."""

from collections.abc import Iterator

import pytest

import batchcore
from batchcore.calendar import date_of
from batchcore.db.migrate import migrate
from batchcore.demo import embedded
from batchcore.run.result import BatchResult
from support import database, ledger
from support.outcome import assert_undisturbed
from support.runs import DAYS

pytestmark = pytest.mark.db

HOST = database.plain_host(4, DAYS)


@pytest.fixture(scope="module")
def second() -> Iterator[embedded.EmbeddedServer]:
    with embedded.start() as started:
        yield started


DOWN = "postgresql://nobody@127.0.0.1:1/none"
"""Where no server listens."""


async def made(server: embedded.EmbeddedServer, name: str) -> str:
    await database.execute(server.url, f"CREATE DATABASE {name}")
    url = server.database_url(name)
    await migrate(url)
    await database.fill(url, HOST)
    return url


async def test_servers_that_cannot_run_do_not_stop_the_others(
    same_host: str, second: embedded.EmbeddedServer
) -> None:
    good, old = await made(second, "good"), await made(second, "old")
    await database.execute(old, "UPDATE batchcore_alembic_version SET version_num = '0005'")
    await database.fill(same_host, HOST)
    servers = {"slow": same_host, "down": DOWN, "old": old, "good": good}

    days = date_of(DAYS[0]), date_of(DAYS[-1])
    options = {"calendar": "daily", "analytics": "none", "parallel": 2}
    work = batchcore.run_many(servers, *days, **options)
    async with (
        ledger.at_work(same_host, database.key("p2"), work) as task,
        database.connected(good) as quick,
    ):
        done = "SELECT EXISTS (SELECT FROM batchcore_runs WHERE state = 'complete')"
        await ledger.until(quick, done)  # the last of them, while the first is still at work
        assert not task.done()
    found = task.result()

    assert {name: type(error) for name, error in found.errors.items()} == {
        "down": batchcore.DatabaseError,
        "old": batchcore.SchemaError,
    }
    assert "at revision 0005, expected 0006" in str(found.errors["old"])
    assert [found[name].rows_written for name in ("slow", "good")] == [12, 12]
    assert BatchResult.of_error(found.errors["old"]) is found["old"]
    for url in (same_host, good):
        await assert_undisturbed(url, HOST, DAYS)
