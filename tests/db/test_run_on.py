"""Shards as tasks of a Dask cluster: the rows and counts of one run, and what cannot be done."""

import asyncio
import pickle
import subprocess
import sys
import uuid
from collections.abc import AsyncIterator
from dataclasses import replace
from pathlib import Path

import pytest
import pytest_asyncio
from distributed import Client
from sqlalchemy.ext.asyncio import create_async_engine

import batchcore
from batchcore import GroupResult, about
from batchcore.calendar import date_of
from batchcore.config import Settings
from batchcore.errors import ConfigError, LeaseHeldError, SchemaError, SnapshotExistsError
from batchcore.run.cluster import Order, run_shard
from batchcore.run.request import make_request
from support import database, ledger
from support.generate import MONDAY
from support.outcome import assert_undisturbed
from support.runs import run_days
from support.tasks import commands

DAYS = list(range(MONDAY, MONDAY + 3))
DATES = date_of(DAYS[0]), date_of(DAYS[-1])
HOST = database.plain_host(8, DAYS)
OPTIONS = {"calendar": "daily", "analytics": "none"}


@pytest_asyncio.fixture
async def client(workers: str) -> AsyncIterator[Client]:
    async with Client(workers, asynchronous=True) as found:
        yield found


async def run_on(client: Client, url: str, **options) -> GroupResult:
    return await batchcore.run_on(client, url, *DATES, **({"shards": 3} | OPTIONS | options))


async def test_shards_on_workers_leave_the_rows_and_counts_of_one_run(
    client: Client, same_filled: str
) -> None:
    told: list[tuple[str, int, int]] = []

    result = await run_on(client, same_filled, progress=lambda *at: told.append(at))

    await assert_undisturbed(same_filled, HOST, DAYS)
    assert (result.state, result.success, result.consistent) == ("complete", True, True)
    assert (result.portfolios, result.failed, result.rows_written) == (8, 0, 24)
    assert [one.shard for one in result.shards] == [(1, 3), (2, 3), (3, 3)]
    assert result.snapshot_seconds > 0
    runs = await batchcore.runs(same_filled, group=result.group)
    assert [one.run_id for one in runs] == [one.run_id for one in result.shards]
    assert len({one.snapshot_id for one in runs}) == 1
    assert told
    document = result.to_dict()
    assert (document["rows_written"], document["shards"][0]["shard"]) == (24, "1/3")

    again = await run_on(client, same_filled)
    assert (again.state, again.portfolios, again.rows_written) == ("complete", 8, 0)


async def test_a_client_that_is_not_asynchronous_serves_too(workers: str, same_filled: str) -> None:
    told: list[tuple[str, int, int]] = []
    with await asyncio.to_thread(Client, workers, set_as_default=False) as client:
        result = await run_on(client, same_filled, shards=2, progress=lambda *at: told.append(at))
    assert result.rows_written == 24
    assert told


async def test_two_databases_side_by_side(client: Client, make_database, template: str) -> None:
    urls = [await make_database(template), await make_database(template)]
    for url in urls:
        await database.fill(url, HOST)
    results = await asyncio.gather(*(run_on(client, url, shards=2) for url in urls))
    assert [one.rows_written for one in results] == [24, 24]
    for url in urls:
        await assert_undisturbed(url, HOST, DAYS)


async def test_what_ends_shards_is_raised_with_a_report(client: Client, same_filled: str) -> None:
    await run_on(client, same_filled)
    with pytest.raises(SnapshotExistsError) as caught:
        await run_on(client, same_filled, on_existing="error")
    report = GroupResult.of_error(caught.value)
    assert report.state == "failed"
    assert {one.state for one in report.shards} == {"failed"}
    assert all(one.error.startswith("SnapshotExistsError: ") for one in report.shards)
    runs = await batchcore.runs(same_filled, group=report.group)
    assert [one.error for one in runs] == [one.error for one in report.shards]


async def test_an_error_of_progress_ends_its_shard(client: Client, same_filled: str) -> None:
    def fail(*_at: object) -> None:
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        await run_on(client, same_filled, shards=1, progress=fail)
    await run_on(client, same_filled, shards=1)
    await assert_undisturbed(same_filled, HOST, DAYS)


async def test_a_call_that_is_cancelled_ends_its_leases(client: Client, filled: str) -> None:
    first = database.key(HOST.portfolios[0].id)
    async with ledger.at_work(filled, first, run_on(client, filled)) as run:
        run.cancel()
        with pytest.raises(asyncio.CancelledError) as caught:
            await run
        runs = await ledger.runs(filled)
        assert {one["state"] for one in runs} <= {"complete", "interrupted"}
        assert "interrupted" in {one["state"] for one in runs}
    report = GroupResult.of_error(caught.value)
    assert not report.success

    result = await run_on(client, filled)  # with no lease to wait for

    assert result.success
    await assert_undisturbed(filled, HOST, DAYS)


async def test_no_shard_begins_for_a_call_that_has_ended(client: Client, same_filled: str) -> None:
    asked = make_request(*DATES, None, **OPTIONS, settings=Settings(shard=(1, 1)))
    own = str(uuid.uuid4())
    packed = pickle.dumps((same_filled, replace(asked, order=own)))
    order = Order(own, (1, 1), about.core_version, packed, wants_progress=False)
    ended = await client.submit(run_shard, order, pure=False)
    assert isinstance(ended.error, LeaseHeldError)
    expected = "the call of run_on that this shard was begun for has ended, or has lost its"
    assert str(ended.error).startswith(expected)
    assert await ledger.runs(same_filled) == []


async def test_another_run_is_waited_for_as_long_as_is_asked(client: Client, filled: str) -> None:
    last = database.key(HOST.portfolios[-1].id)
    await ledger.spoil(filled, last, ledger.WAIT)
    async with database.connected(filled) as other:
        await other.fetchval(f"SELECT pg_advisory_lock({ledger.LOCK})")
        whole = asyncio.create_task(run_days(filled, DAYS[0], DAYS[-1], **OPTIONS))
        await ledger.waits(other)
        with pytest.raises(LeaseHeldError, match="is already processing some of these portfolios"):
            await run_on(client, filled)
        waiting = asyncio.create_task(run_on(client, filled, wait=60))
        await other.fetchval(f"SELECT pg_advisory_unlock({ledger.LOCK})")
        await whole
        assert (await waiting).rows_written == 0
    await assert_undisturbed(filled, HOST, DAYS)


async def test_a_database_that_was_not_migrated_is_named(client: Client, make_database) -> None:
    with pytest.raises(SchemaError):
        await run_on(client, await make_database(), shards=1)


async def test_a_worker_with_another_version_is_named(
    client: Client, same_host: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    installed = about.core_version
    monkeypatch.setattr(about, "core_version", "9.9.9")
    message = rf"^the worker tcp://\S+ has batchcore {installed}, expected 9.9.9 as it is here$"
    with pytest.raises(ConfigError, match=message):
        await run_on(client, same_host)


@pytest.mark.parametrize(
    ("found", "module", "metadata"),
    [
        ("batchcore 9.9.9", "__version__ = '9.9.9'", "Name: batchcore\nVersion: 9.9.9\n"),
        pytest.param("no batchcore", "raise ImportError", "", marks=pytest.mark.slow),
    ],
)
async def test_a_worker_that_cannot_load_a_task_is_named(
    tmp_path: Path, same_host: str, found: str, module: str, metadata: str
) -> None:
    (tmp_path / "batchcore.py").write_text(module)
    (tmp_path / "batchcore-9.9.9.dist-info").mkdir()
    (tmp_path / "batchcore-9.9.9.dist-info" / "METADATA").write_text(metadata)
    message = rf"^the worker tcp://\S+ has {found}, expected {about.core_version} as it is here$"
    with commands(1, worker=tmp_path) as (address, _):
        async with Client(address, asynchronous=True, timeout=60) as client:
            await client.wait_for_workers(1, timeout=60)
            with pytest.raises(ConfigError, match=message):
                await run_on(client, same_host, shards=1)


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"shards": 0}, "shards is 0, expected 1 to 10000"),
        ({"shards": True}, "shards is True, expected 1 to 10000"),
        ({"shards": 10_001}, "shards is 10001, expected 1 to 10000"),
        ({"settings": Settings(shard=(1, 2))}, "shard does not go with run_on: call run_batch"),
        ({"settings": Settings(dry_run=True)}, "dry_run does not go with run_on: call run_batch"),
    ],
)
async def test_what_does_not_go_with_it_is_refused(
    client: Client, same_host: str, wrong: dict[str, object], message: str
) -> None:
    with pytest.raises(ConfigError, match=f"^{message}$"):
        await run_on(client, same_host, **wrong)


async def test_only_a_url_can_be_sent(client: Client, same_host: str) -> None:
    engine = create_async_engine(same_host.replace("postgresql:", "postgresql+asyncpg:"))
    with pytest.raises(ConfigError, match="expected a URL: each worker connects by itself"):
        await run_on(client, engine)
    await engine.dispose()


async def test_only_a_client_that_is_connected_serves(workers: str) -> None:
    with pytest.raises(ConfigError, match=r"^client is a builtins.str, expected a distributed\."):
        await run_on(workers, "postgresql://nobody@127.0.0.1:1/none")
    async with Client(workers, asynchronous=True) as client:
        pass
    with pytest.raises(ConfigError, match=r"^client is closed, expected one that is connected$"):
        await run_on(client, "postgresql://nobody@127.0.0.1:1/none")


async def test_without_the_extra(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "distributed", None)
    with pytest.raises(ConfigError, match=r"the extra `dask`: pip install 'batchcore\[dask\]'"):
        await run_on(None, "postgresql://nobody@127.0.0.1:1/none")


def test_an_order_shows_no_url() -> None:
    packed = b"postgresql://batch:secret@127.0.0.1/app"
    assert "secret" not in repr(Order("id", (1, 2), "1.0", packed, wants_progress=False))


def test_nobody_else_imports_distributed() -> None:
    code = "import sys, batchcore; batchcore.preload(); print('distributed' in sys.modules)"
    done = subprocess.run(  # noqa: S603  # our own words
        [sys.executable, "-c", code], capture_output=True, text=True, check=True
    )
    assert done.stdout == "False\n"
