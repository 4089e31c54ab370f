"""Several databases at a time, no more than asked for; progress of all as one."""

import asyncio
import datetime as dt

import pytest

import batchcore
from batchcore.errors import ConfigError, DatabaseError
from batchcore.run import many
from batchcore.run.many import ManyResult
from batchcore.run.request import Request
from batchcore.run.tasks import shared_progress
from support.reports import report

NAMES = ("a", "b", "c", "d", "e")
DAY = dt.date(2026, 1, 5)


@pytest.mark.parametrize("parallel", [1, 2, 5])
async def test_no_more_databases_than_asked_for_are_worked_on_at_a_time(
    monkeypatch: pytest.MonkeyPatch, parallel: int
) -> None:
    at_work: set[object] = set()
    most = 0

    async def run(db: object, _request: Request) -> batchcore.BatchResult:
        nonlocal most
        at_work.add(db)
        most = max(most, len(at_work))
        for _ in NAMES:  # the others may begin
            await asyncio.sleep(0)
        at_work.remove(db)
        if db == "url of b":
            raise DatabaseError("gone")
        return report()

    monkeypatch.setattr(many, "run_up_to_now", run)
    found = await batchcore.run_many({name: f"url of {name}" for name in NAMES}, parallel=parallel)
    assert most == parallel
    assert list(found) == ["a", "c", "d", "e"]
    assert {name: str(error) for name, error in found.errors.items()} == {"b": "gone"}
    assert not found.success


async def test_a_run_that_progress_cancelled_cancels_the_call(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    async def run(db: object, _request: Request) -> batchcore.BatchResult:
        if db == "b":
            raise asyncio.CancelledError
        return report()

    monkeypatch.setattr(many, "run_up_to_now", run)
    with pytest.raises(asyncio.CancelledError) as caught:
        await batchcore.run_many({"a": "a", "b": "b"})
    found = ManyResult.of_error(caught.value)
    assert found is not None
    assert (list(found), list(found.errors)) == (["a"], ["b"])


async def test_each_database_has_its_schema(monkeypatch: pytest.MonkeyPatch) -> None:
    namespaces = {}

    async def run(db: object, request: Request) -> batchcore.BatchResult:
        namespaces[db] = request.settings.schema.namespace
        return report()

    monkeypatch.setattr(many, "run_up_to_now", run)
    every = batchcore.Settings(schema=batchcore.Schema(namespace="every"))
    schemas = {"b": batchcore.Schema(namespace="own")}
    found = await batchcore.run_many({"a": 1, "b": 2}, schemas=schemas, settings=every)
    assert namespaces == {1: "every", 2: "own"}
    assert len(found) == 2


async def test_cancelled_all_stop_and_the_report_is_kept(monkeypatch: pytest.MonkeyPatch) -> None:
    first = asyncio.Event()

    async def run(db: object, _request: Request) -> batchcore.BatchResult:
        if db == 1:
            first.set()
            return report()
        await asyncio.Event().wait()
        raise AssertionError

    monkeypatch.setattr(many, "run_up_to_now", run)
    task = asyncio.create_task(batchcore.run_many({"a": 1, "b": 2, "c": 3}, parallel=2))
    await first.wait()
    await asyncio.sleep(0)
    task.cancel()
    with pytest.raises(asyncio.CancelledError) as caught:
        await task
    found = ManyResult.of_error(caught.value)
    assert found is not None
    assert (list(found), list(found.errors)) == (["a"], ["b", "c"])
    assert ManyResult.of_error(ValueError()) is None


@pytest.mark.parametrize(
    ("databases", "options", "option"),
    [
        (["postgresql://x"], {}, "databases"),
        ({"a": "postgresql://x"}, {"parallel": 0}, "parallel"),
        ({"a": "postgresql://x"}, {"parallel": True}, "parallel"),
        ({"a": "postgresql://x"}, {"schemas": {"b": batchcore.Schema()}}, "schemas"),
        ({"a": "postgresql://x"}, {"schemas": {"a": "x.toml"}}, "schemas"),
        ({"a": "postgresql://x"}, {"schemas": {"a": None}}, "schemas"),
        ({"a": "postgresql://x"}, {"schemas": "x.toml"}, "schemas"),
        ({"a": "postgresql://x"}, {"portfolio_ids": []}, "portfolio_ids"),
        ({"a": "postgresql://x"}, {"policy": "other"}, "policy"),
    ],
)
async def test_what_is_wrong_for_all_is_refused_at_once(
    databases: object, options: dict[str, object], option: str
) -> None:
    with pytest.raises(ConfigError) as caught:
        await batchcore.run_many(databases, DAY, DAY, **options)
    assert caught.value.option == option


def test_progress_of_several_runs_is_added_up() -> None:
    at: list[tuple[str, int, int]] = []
    progress = shared_progress(lambda *where: at.append(where))
    one, other = progress(1), progress(2)
    assert one is not None
    assert other is not None
    one("load", 0, 4)
    other("load", 0, 6)
    other("persist", 1, 6)
    one("persist", 2, 4)
    assert at == [("load", 0, 4), ("load", 0, 10), ("persist", 1, 10), ("persist", 3, 10)]
    assert shared_progress(None)(1) is None
