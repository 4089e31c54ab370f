"""Runs as several processes: one of them dies, or whoever started them; then one plain re-run."""

import asyncio
import contextlib
import os
import select
import signal
import sys
from asyncio.subprocess import DEVNULL, PIPE, Process
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
import pytest_asyncio

from batchcore.calendar import date_of
from batchcore.cli.options import ARTIFACT_VARIABLE, URL_VARIABLE
from batchcore.config import Settings
from batchcore.pg.database import Database
from batchcore.run.batch import run_up_to_now
from batchcore.run.group import run_group
from batchcore.run.request import make_request
from batchcore.shards import in_shard
from support import build, database, ledger
from support.artifact import checked
from support.generate import MONDAY
from support.outcome import assert_undisturbed

pytestmark = pytest.mark.db

DAYS = list(range(MONDAY, MONDAY + 3))
HOST = database.plain_host(8, DAYS)
IDS = [database.key(one.id) for one in HOST.portfolios]
OPTIONS = {"calendar": "daily", "analytics": "none"}
PATIENCE_S = 60
PATHS = {"PYTHONPATH": str(Path(__file__).parents[1])}
PATIENT = """
import sys
from batchcore import cli
from support.worker import patience
patience(setattr)
sys.exit(cli.main(sys.argv[1:]))
"""
"""The command line, which may take longer to end than it gives itself on a machine at rest."""


def last_of(number: int) -> object:
    """Return the last portfolio of a shard of two."""
    own = in_shard(build.ids(IDS), (number, 2)).tolist()
    return max(one for one, mine in zip(IDS, own, strict=True) if mine)


@pytest_asyncio.fixture
async def url(make_database, template: str) -> str:
    made: str = await make_database(template)
    await database.fill(made, HOST)
    return made


@contextlib.asynccontextmanager
async def at_work(
    url: str, left: Path, mode: str = "skip"
) -> AsyncIterator[tuple[Process, dict[int, int]]]:
    """Give a run whose first shard is inside a transaction, and the pids of shards that are."""
    await ledger.spoil(url, last_of(1), ledger.WAIT)
    words = ("run", "--processes", "2", "--calendar", "daily", "--analytics", "none")
    days = ("--start", str(date_of(DAYS[0])), "--end", str(date_of(DAYS[-1])))
    words += ("--on-existing", mode)
    async with database.connected(url) as other:
        await other.fetchval(f"SELECT pg_advisory_lock({ledger.LOCK})")
        process = await asyncio.create_subprocess_exec(
            *(sys.executable, "-c", PATIENT, *words, *days, "--chunk-size", "1"),
            env={**os.environ, **PATHS, URL_VARIABLE: url, ARTIFACT_VARIABLE: str(left)},
            stdin=DEVNULL,
            stdout=PIPE,
            stderr=PIPE,
        )
        try:
            async with asyncio.timeout(PATIENCE_S):
                await ledger.waits(other)
                done = "SELECT count(*) = 1 FROM batchcore_runs WHERE state = 'complete'"
                await ledger.until(other, done)  # the second shard
            yield process, await of_shards(url, "(r.configuration ->> 'pid')::int")
        finally:
            await other.fetchval(f"SELECT pg_advisory_unlock({ledger.LOCK})")
            with contextlib.suppress(ProcessLookupError):
                process.kill()
            await process.wait()
    await ledger.mend(url)


async def of_shards(url: str, column: str) -> dict[int, Any]:
    rows = await database.fetch(
        url,
        f"SELECT s.shard, {column} AS told FROM batchcore_run_shards s"  # noqa: S608
        " JOIN batchcore_runs r ON r.id = s.run_id ORDER BY r.token",
    )
    return {row["shard"]: row["told"] for row in rows}


async def until_gone(pid: int) -> None:
    """Return when a process has ended, whoever its parent is."""
    with contextlib.suppress(ProcessLookupError):
        handle = os.pidfd_open(pid)
        ready, _, _ = await asyncio.to_thread(select.select, [handle], [], [], PATIENCE_S)
        os.close(handle)
        assert ready


async def assert_finished_by_a_plain_rerun(url: str, mode: str = "skip") -> None:
    days = date_of(DAYS[0]), date_of(DAYS[-1])
    options = OPTIONS | {"on_existing": mode, "settings": Settings(chunk_size=1)}
    asked = make_request(*days, None, **options)
    result = await run_group(Database(url), asked, 2, lambda own: run_up_to_now(url, own))
    assert result.state == "complete"
    assert [one.attempt for one in result.shards] == [2, 2]
    assert result.shards[1].rows_written == 0
    assert set((await of_shards(url, "r.state")).values()) == {"complete"}
    await assert_undisturbed(url, HOST, DAYS)


@pytest.mark.parametrize("mode", ["skip", "replace", "error"])
async def test_a_process_that_is_killed_is_reported_and_the_others_finish(
    url: str, tmp_path: Path, mode: str
) -> None:
    async with at_work(url, tmp_path / "left.json", mode) as (process, pids):
        os.kill(pids[1], signal.SIGKILL)
        async with asyncio.timeout(PATIENCE_S):
            _, told = await process.communicate()
        assert process.returncode == 2
        message = "the process of shard 1/2 was ended by SIGKILL: run again to continue"
        assert f"batchcore: error: {message}" in told.decode()
    shards = checked(tmp_path / "left.json", 2)["shards"]
    assert [(one["shard"], one["state"]) for one in shards] == [
        ("1/2", "failed"),
        ("2/2", "complete"),
    ]
    assert await of_shards(url, "r.state") == {1: "running", 2: "complete"}
    await ledger.expire(url)
    await assert_finished_by_a_plain_rerun(url, mode)


@pytest.mark.parametrize(
    ("number", "code"),
    [
        pytest.param(signal.SIGINT, 130, marks=pytest.mark.slow),
        (signal.SIGTERM, 143),
        (signal.SIGKILL, -9),
    ],
)
async def test_whoever_started_the_processes_takes_them_along(
    url: str, tmp_path: Path, number: signal.Signals, code: int
) -> None:
    async with at_work(url, tmp_path / "left.json") as (process, pids):
        process.send_signal(number)
        async with asyncio.timeout(PATIENCE_S):
            _, told = await process.communicate()
        assert process.returncode == code
        assert (f"interrupted by {number.name}" in told.decode()) == (number != signal.SIGKILL)
        await until_gone(pids[1])
    if number != signal.SIGKILL:
        left = checked(tmp_path / "left.json", code)
        first, second = (one["state"] for one in left["shards"])
        # the second, which is done, may still be on its way to tell so when the signal comes
        assert (first, second) in {("interrupted", "complete"), ("interrupted", "interrupted")}
    assert await of_shards(url, "r.state") == {1: "interrupted", 2: "complete"}
    await assert_finished_by_a_plain_rerun(url)
