"""Shards of a run: together they do what one run does, and each is a run of its own."""

import asyncio
import datetime as dt
import json
import uuid
from collections.abc import Sequence
from dataclasses import replace
from decimal import Decimal
from itertools import product
from typing import Any

import numpy as np
import pytest

import batchcore
from batchcore import reference as ref
from batchcore.calendar import date_of
from batchcore.cli.status import group_dict, next_lines
from batchcore.config import Schema, Settings
from batchcore.errors import (
    ConfigError,
    CoverageError,
    LeaseHeldError,
    SchemaError,
    SnapshotExistsError,
    TooManyFailedError,
)
from batchcore.pg.database import Database
from batchcore.pg.ledger import Ledger, RunSpec
from batchcore.pg.session import transaction
from batchcore.policies import entry
from batchcore.run.batch import Run, run_up_to_now
from batchcore.run.group import run_group
from batchcore.run.lease import run_spec
from batchcore.run.request import Request, make_request
from batchcore.shards import Shard, in_shard
from db.conftest import EMPTY
from support import database, ledger
from support.database import Host
from support.generate import MONDAY, Generator
from support.outcome import assert_undisturbed, random_host, seeded
from support.runs import run_days

FIRST, LAST = MONDAY - 3, MONDAY + 14
DAYS = list(range(MONDAY, MONDAY + 3))
HOST = database.plain_host(6, DAYS)
TOO_LARGE = 2 * (ref.Flow(MONDAY + 1, Decimal(10) ** 14 - 1, "CONTRIBUTION"),)
"""Flows that fit, and together fail their portfolio (S10)."""


def random(seed: int) -> Host:
    """Return portfolios of different symbols and latest snapshots, two of which fail."""
    generator = Generator(seeded(f"shards {seed}").randint, odd=0, edges=False)
    made = random_host(generator, portfolios=14)
    failing = [replace(one, flows=(*one.flows, *TOO_LARGE)) for one in made.portfolios[:2]]
    return replace(made, portfolios=(*failing, *made.portfolios[2:]))


def request(first: int, last: int, ids: Sequence[object] | None = None, **options) -> Request:
    settings = {"min_coverage": 0.0, "max_failed": "100%", "chunk_size": 3, "connections": 2}
    settings |= options.pop("settings", {})
    options = {"analytics": "none", "settings": Settings(**settings), **options}
    return make_request(date_of(first), date_of(last), ids, **options)


DAILY = request(DAYS[0], DAYS[-1], calendar="daily")


async def sharded(url: str, asked: Request, count: int) -> batchcore.BatchResult:
    return await run_group(Database(url), asked, count, lambda own: run_up_to_now(url, own))


async def left(
    url: str, host: Host, asked: Request, count: int | None
) -> tuple[object, batchcore.BatchResult]:
    """Return what one run, or its shards, leave: snapshots without stamps, equities; the report."""
    await database.execute(url, EMPTY)
    await database.fill(url, host)
    result = await (run_up_to_now(url, asked) if count is None else sharded(url, asked, count))
    stored = database.without_stamps(await database.snapshots(url))
    return (stored, await database.equities(url)), result


SAME = (
    *("success", "portfolios_failed", "rows_written", "sessions"),
    *("sessions_left_out", "portfolios", "cache", "coverage", "consistent", "analytics_off"),
)
"""What the report of all shards has in common with that of one run, beside the issues."""


def comparable(result: batchcore.BatchResult) -> dict[str, object]:
    document = result.to_dict()
    issues = sorted(document["issues"], key=str)
    same = {name: document[name] for name in SAME}
    return same | {"issues": issues, "behind": result.sessions_behind, "errors": result.errors()}


@pytest.mark.parametrize(
    ("counts", "options"),
    [
        ((1, 2, 3, 7), {"calendar": "daily"}),
        ((3, 7), {"calendar": "daily", "on_existing": "replace", "analytics": "every"}),
        ((2, 3), {"policy": "legacy"}),
    ],
    ids=["skip", "replace", "legacy"],
)
async def test_any_number_of_shards_gives_the_rows_and_the_report_of_one_run(
    same_host: str, counts: tuple[int, ...], options: dict[str, str]
) -> None:
    host, asked = random(len(counts)), request(FIRST, LAST, **options)
    expected, whole = await left(same_host, host, asked, None)
    assert whole.failed >= (options.get("policy") != "legacy")
    for count in counts:
        found, result = await left(same_host, host, asked, count)
        assert found == expected
        assert comparable(result) == comparable(whole)
        assert [one.shard for one in result.shards] == [(n, count) for n in range(1, count + 1)]
        rows = await database.fetch(same_host, "SELECT DISTINCT group_id FROM batchcore_run_shards")
        assert [str(row["group_id"]) for row in rows] == [result.group]


@pytest.mark.parametrize("mode", ["missing", "inception", "changed_since", "repair", "error"])
async def test_shards_give_the_rows_of_one_run_in_every_mode(same_host: str, mode: str) -> None:
    host = database.full_host(7, DAYS, event=DAYS[1], flow=DAYS[2])
    first = date_of(DAYS[0] if mode == "error" else DAYS[1])
    options = {
        "missing": {"missing": True, "on_existing": "replace"},
        "inception": {"start": "inception", "on_existing": "replace", "end": date_of(DAYS[2])},
        "changed_since": {"changed_since": dt.datetime(2000, 1, 1, tzinfo=dt.UTC)},
        "repair": {"repairs": True},
        "error": {"on_existing": "error", "end": date_of(DAYS[2])},
    }[mode]
    kind = entry("rollforward").repaired if mode == "repair" else None

    async def work(own: Request) -> batchcore.BatchResult:
        return await Run(Database(same_host), own, policy=kind and kind()).run()

    found = []
    for is_whole in (True, False):
        await database.execute(same_host, EMPTY)
        await database.fill(same_host, host)
        if mode != "error":
            await run(same_host, None)
            await database.execute(
                same_host,
                "UPDATE portfolio_snapshots SET daily_pnl = daily_pnl + 1 WHERE snapshot_date ="
                " (SELECT max(snapshot_date) FROM portfolio_snapshots)",
            )
        if mode == "missing":
            gap = "DELETE FROM portfolio_snapshots WHERE snapshot_date = $1 RETURNING id"
            await database.fetchval(same_host, gap, first)
        given = {"start": None if mode == "missing" else first, "end": None, **options}
        settings = Settings(min_coverage=0.0, connections=2, today=date_of(DAYS[2]))
        asked = make_request(
            *(given.pop("start"), given.pop("end"), None),
            **{"calendar": "daily", "analytics": "none", "settings": settings, **given},
        )
        if is_whole:
            result = await work(asked)
        else:
            result = await run_group(Database(same_host), asked, 3, work)
        stored = database.without_stamps(await database.snapshots(same_host))
        found.append((stored, await database.equities(same_host), comparable(result)))
        assert result.rows_written >= 7
    assert found[0] == found[1]
    if mode != "inception":  # which goes further back
        await assert_undisturbed(same_host, host, DAYS)


def with_holder(symbol: str, shard: Shard, bought: int) -> ref.Portfolio:
    """Return a portfolio of a shard that holds a symbol."""
    names = (f"{symbol} {number}" for number in range(100))
    own = next(name for name in names if of_shard(database.key(name), shard))
    position = ref.Position(symbol, "LONG", Decimal(1), Decimal(1), bought)
    return ref.Portfolio(own, Decimal(100), (position,))


def of_shard(own: uuid.UUID, shard: Shard) -> bool:
    return bool(in_shard(np.frombuffer(own.bytes, np.uint8).reshape(1, 16), shard)[0])


def last_of_second(host: Host) -> uuid.UUID:
    """Return the last portfolio of the second of two shards."""
    own = [database.key(one.id) for one in host.portfolios]
    return max(one for one in own if of_shard(one, (2, 2)))


async def run(url: str, shard: Shard | None, **options) -> batchcore.BatchResult:
    settings = Settings(shard=shard, **options.pop("settings", {}))
    options = {"calendar": "daily", "analytics": "none", "settings": settings, **options}
    return await run_days(url, DAYS[0], DAYS[-1], options.pop("ids", None), **options)


async def test_coverage_is_that_of_the_symbols_of_all_shards(same_host: str) -> None:
    portfolios = (
        with_holder("AAA", (1, 2), MONDAY - 9),
        with_holder("BBB", (2, 2), MONDAY - 9),
        with_holder("CCC", (2, 2), MONDAY - 9),
    )
    before = [(symbol, MONDAY - 1, Decimal(1)) for symbol in ("AAA", "BBB", "CCC")]
    closes = [("AAA", day, Decimal(1)) for day in DAYS]
    await database.fill(same_host, Host(portfolios, (*before, *closes)))
    for shard in ((1, 2), (2, 2)):  # on each day one of three has a close
        with pytest.raises(CoverageError, match="1 of 3 symbols has a close"):
            await run(same_host, shard)
    result = await run(same_host, (1, 2), settings={"min_coverage": 0.3})
    assert (result.rows_written, len(result.portfolios)) == (3, 1)
    assert result.rows_by_load["portfolios"] == 1  # of the others no more than their latest days
    assert result.coverage.recent.tolist() == [3, 3, 3]


async def test_sessions_that_another_shard_alone_lacks_are_checked_too(same_host: str) -> None:
    portfolios = (
        with_holder("AAA", (1, 2), MONDAY - 9),
        with_holder("BBB", (2, 2), MONDAY - 9),
    )
    closes = [
        *(("AAA", day, Decimal(1)) for day in (MONDAY - 1, DAYS[2])),
        *(("BBB", day, Decimal(1)) for day in (MONDAY - 1, DAYS[2])),
    ]
    complete = {portfolios[0].id: (database.Standing(DAYS[1], Decimal(100)),)}
    await database.fill(same_host, Host(portfolios, tuple(closes), complete))
    with pytest.raises(CoverageError, match=f"price coverage on {date_of(DAYS[0])}"):
        await run(same_host, (1, 2), calendar="XNYS")  # which has DAYS[2] alone to write
    assert len(await database.snapshots(same_host)) == 1


async def fill_with_failures(url: str) -> None:
    """Fill twelve portfolios, of which two of the first of two shards and one of the other fail."""
    host = database.plain_host(12, DAYS)
    first, second = (
        [one for one in host.portfolios if of_shard(database.key(one.id), (number, 2))]
        for number in (1, 2)
    )
    spoilt = (*first[:2], second[0])
    portfolios = [
        replace(one, flows=TOO_LARGE) if one in spoilt else one for one in host.portfolios
    ]
    await database.fill(url, replace(host, portfolios=tuple(portfolios)))


async def test_failures_of_all_shards_count_together(same_host: str) -> None:
    await fill_with_failures(same_host)

    # Two of the twelve are 16.7 %, and of the portfolios of the shard more.
    allowed = {"max_failed": "17%"}
    result = await run(same_host, (1, 2), settings=allowed)
    assert (result.failed, result.state) == (2, "incomplete")
    with pytest.raises(TooManyFailedError) as caught:
        await run(same_host, (2, 2), settings=allowed)
    assert (caught.value.failed, caught.value.allowed) == (3, 2)
    assert "3 of 12 portfolios failed (2 of them in other shards)" in str(caught.value)


async def test_an_unknown_portfolio_is_one_of_each_shard(same_filled: str) -> None:
    for shard in ((1, 2), (2, 2)):
        with pytest.raises(ConfigError, match="unknown portfolio"):
            await run(same_filled, shard, ids=[database.key("p0"), database.key("nobody")])


async def test_a_portfolio_that_is_deleted_is_reported_by_its_own_shard(same_host: str) -> None:
    host = database.plain_host(5, DAYS)
    await database.fill(same_host, host)
    deleted = "UPDATE portfolios SET deleted_at = now() WHERE id = $1 RETURNING id"
    await database.fetchval(same_host, deleted, database.key("p3"))
    ids = [database.key(one.id) for one in host.portfolios]
    for number in (1, 2, 3):
        result = await run(same_host, (number, 3), ids=ids)
        own = of_shard(database.key("p3"), (number, 3))
        assert result.issues_by_name() == ({"soft_deleted": 1} if own else {})
        assert len(result.portfolios) == sum(of_shard(one, (number, 3)) for one in ids)
    assert len(await database.snapshots(same_host)) == 12


@pytest.mark.parametrize("ids", [None, []])
async def test_a_shard_without_portfolios_has_nothing_to_do(
    same_host: str, ids: list[object] | None
) -> None:
    host = database.plain_host(1, DAYS)
    await database.fill(same_host, host)
    own = 1 if of_shard(database.key("p0"), (1, 2)) else 2
    other = await run(same_host, (3 - own, 2), ids=ids)
    assert other.nothing_to_do
    assert (await run(same_host, (own, 2), ids=ids)).nothing_to_do == (ids is not None)


async def test_runs_are_in_each_others_way_if_they_share_a_portfolio(same_host: str) -> None:
    every = [uuid.UUID(int=number) for number in range(12)]
    shards = [None, (1, 1), (1, 2), (2, 2), (2, 3), (1, 4), (4, 4), (6, 6)]
    lists = [None, [], every[:1], every[3:9]]
    asked: dict[str, RunSpec] = {}
    portfolios: dict[str, set[uuid.UUID]] = {}
    own = Ledger(Schema())
    async with Database(same_host).writing("ledger") as session, transaction(session):
        # Each was asked for something else: then only those that are running are found.
        for at, (shard, ids) in enumerate(product(shards, lists)):
            name, day = str(uuid.UUID(int=at)), MONDAY + at
            asked[name] = run_spec(request(day, day, ids, settings={"shard": shard}))
            await own.begin(session, asked[name], name)
            # Of all portfolios a thousand: enough for shards that have any in common.
            of = [uuid.UUID(int=number) for number in range(1000)] if ids is None else ids
            portfolios[name] = {one for one in of if shard is None or of_shard(one, shard)}
        for name, spec in asked.items():
            found = {other.run_id for other in await own.related_runs(session, spec)}
            expected = {other for other, ids in portfolios.items() if ids & portfolios[name]}
            assert found == expected, spec


@pytest.mark.parametrize(
    ("shard", "ids"), [(None, None), ((1, 2), None), (None, [uuid.UUID(int=1)])]
)
async def test_overlaps_are_asked_of_each_run_and_not_of_each_chunk(
    same_host: str, shard: Shard | None, ids: list[uuid.UUID] | None
) -> None:
    spec = run_spec(request(MONDAY, MONDAY, ids, settings={"shard": shard}))
    async with Database(same_host).writing("ledger") as session, transaction(session):
        fetch = session.fetch

        async def explained(sql: str) -> Sequence[Any]:
            (row,) = await fetch(f"EXPLAIN (FORMAT JSON) {sql}")
            plans.append(json.loads(row[0])[0]["Plan"])
            return [(0, None)]

        plans: list[dict[str, Any]] = []
        session.fetch = explained
        await Ledger(Schema()).commit_state(session, spec)
        session.fetch = fetch
    (plan,) = plans
    asking = [one for one in database.nodes_of(plan) if "portfolio_ids" in str(one.get("Filter"))]
    assert len(asking) == 1
    assert "batchcore_run_chunks" not in json.dumps(asking)


async def test_a_shard_is_refused_while_a_run_works_on_its_portfolios(same_filled: str) -> None:
    await run(same_filled, None)
    await ledger.kill(same_filled)
    await ledger.expire(same_filled, 3600)
    with pytest.raises(LeaseHeldError):
        await run(same_filled, (1, 2))
    await ledger.expire(same_filled)
    await asyncio.gather(run(same_filled, (1, 2)), run(same_filled, (2, 2)))
    states = {row["state"] for row in await ledger.runs(same_filled)}
    assert states == {"superseded", "complete"}


async def shards_of(url: str) -> list[tuple[int, int, str]]:
    """Return shard, number of its group, and state of each run, in the order of their beginning."""
    rows = await database.fetch(
        url,
        "SELECT s.shard, s.group_id, r.state, r.attempt, r.created_at FROM batchcore_run_shards s"
        " JOIN batchcore_runs r ON r.id = s.run_id ORDER BY r.started_at, r.token",
    )
    groups = [*dict.fromkeys(row["group_id"] for row in rows)]
    return [(row["shard"], groups.index(row["group_id"]), row["state"]) for row in rows]


@pytest.mark.parametrize("resume", [True, False], ids=["continued", "instead"])
async def test_a_shard_that_ended_early_stays_in_its_group(same_host: str, *, resume: bool) -> None:
    host = database.plain_host(8, DAYS)
    await database.fill(same_host, host)
    await run(same_host, (1, 2))
    async with ledger.refused(same_host, last_of_second(host)):
        await run(same_host, (2, 2), settings={"chunk_size": 1, "connections": 2})
    assert await shards_of(same_host) == [(1, 0, "complete"), (2, 0, "failed")]
    assert len({one["created_at"] for one in await ledger.runs(same_host)}) == 1

    again = await run(same_host, (2, 2), resume=resume)
    assert (again.attempt, again.rows_written) == (2 if resume else 1, 3)
    ended = [] if resume else [(2, 0, "failed")]
    assert await shards_of(same_host) == [(1, 0, "complete"), *ended, (2, 0, "complete")]
    await assert_undisturbed(same_host, host, DAYS)


@pytest.mark.parametrize("again", [(2,), (1, 2)], ids=["one", "all"])
@pytest.mark.parametrize(
    "given",
    [
        {},
        {"on_existing": "replace"},
        {"settings": {"today": date_of(DAYS[-1])}},
        {"end": None, "settings": {"today": date_of(DAYS[-1])}},
        {"end": None, "calendar": "prices"},
        {"start": None, "end": None, "calendar": "prices"},
    ],
    ids=["skip", "replace", "end and today", "today", "now", "now, without a start"],
)
async def test_a_shard_that_is_run_again_stays_in_its_group(
    same_filled: str, again: tuple[int, ...], given: dict[str, object]
) -> None:
    first = {number: await nightly(same_filled, (number, 2), **given) for number in (1, 2)}
    later = [await nightly(same_filled, (number, 2), **given) for number in again]

    assert {one.group for one in later} == {first[1].group}
    assert sum(one.rows_written for one in later) == sum(
        first[number].rows_written for number in again if given.get("on_existing") == "replace"
    )
    runs = await batchcore.runs(same_filled, group=first[1].group)
    assert {one.group for one in await batchcore.runs(same_filled)} == {first[1].group}
    assert [(one.shard, one.state) for one in runs] == [
        ((number, 2), "complete") for number in (1, 2) for _ in range(1 + (number in again))
    ]
    assert runs[-1].run_id == later[-1].run_id
    # "Now" of a shard that is run again is now: its rows have the time at which they were written.
    moments = [row["created_at"] for row in await ledger.runs(same_filled)]
    assert moments[-1] > moments[0]


async def nightly(url: str, shard: Shard, **given) -> batchcore.BatchResult:
    """Run a shard over the days, or without those that are given as None."""
    settings = {"min_coverage": 0.0, "shard": shard} | given.pop("settings", {})
    options = {"calendar": "daily", "analytics": "none", "settings": Settings(**settings)}
    days = {"start": date_of(DAYS[0]), "end": date_of(DAYS[-1])} | given
    start, end = days.pop("start"), days.pop("end")
    return await batchcore.run_batch(url, start, end, **{**options, **days})


async def test_a_shard_that_failed_is_repeated_alone(same_host: str) -> None:
    host = database.plain_host(8, DAYS)
    await database.fill(same_host, host)
    async with ledger.refused(same_host, last_of_second(host)):
        await sharded(same_host, DAILY, 2)

    result = await sharded(same_host, DAILY, 2)

    assert [(one.state, one.attempt) for one in result.shards] == [("complete", 2), ("complete", 2)]
    runs = await batchcore.runs(same_host, group=result.group)
    assert [one.shard for one in runs] == [(1, 2), (2, 2)]
    assert len(await batchcore.runs(same_host)) == len(runs)
    await assert_undisturbed(same_host, host, DAYS)


async def leave_second(url: str, asked: Request, end: str) -> None:
    """Run the second of two shards so that it ends in some way before everything is done."""
    own = replace(asked, settings=replace(asked.settings, shard=(2, 2)))
    if end == "incomplete":
        assert (await run_up_to_now(url, own)).state == end
        await database.execute(url, "DELETE FROM equity_changes")  # as if it was corrected
    elif end != "missing":
        last = await database.fetchval(url, "SELECT max(id::text) FROM portfolios")
        async with ledger.refused(url, last):
            await run_up_to_now(url, own)
        state = {"killed": "running"}.get(end, end)
        change = "UPDATE batchcore_runs SET state = $1 WHERE state = 'failed' RETURNING id"
        await database.fetchval(url, change, state)


@pytest.mark.parametrize("mode", ["skip", "replace", "error"])
@pytest.mark.parametrize("end", ["missing", "failed", "killed", "incomplete", "superseded"])
async def test_what_is_complete_of_an_unfinished_group_is_not_done_again(
    same_host: str, end: str, mode: str
) -> None:
    host = database.plain_host(8, DAYS)
    last = max(host.portfolios, key=lambda one: database.key(one.id))
    assert of_shard(database.key(last.id), (2, 2))
    failing = tuple(
        replace(one, flows=TOO_LARGE) if one is last and end == "incomplete" else one
        for one in host.portfolios
    )
    await database.fill(same_host, replace(host, portfolios=failing))
    asked = request(DAYS[0], DAYS[-1], calendar="daily", on_existing=mode)
    first = await run_up_to_now(
        same_host, replace(asked, settings=replace(asked.settings, shard=(1, 2)))
    )
    written = await database.fetch(same_host, "SELECT id, xmin::text FROM portfolio_snapshots")
    await leave_second(same_host, asked, end)

    result = await sharded(same_host, asked, 2)

    assert (result.state, result.group) == ("complete", first.group)
    assert result.shards[0].rows_written == 0
    now = await database.fetch(same_host, "SELECT id, xmin::text FROM portfolio_snapshots")
    assert {*map(tuple, written)} <= {*map(tuple, now)}
    await assert_undisturbed(same_host, host, DAYS)

    # Now that it has come to its end, the same call is another one.
    if mode == "error":
        with pytest.raises(SnapshotExistsError):
            await sharded(same_host, asked, 2)
    else:
        again = await sharded(same_host, asked, 2)
        assert again.rows_written == (24 if mode == "replace" else 0)


@pytest.mark.parametrize("resume", [False, True], ids=["no resume", "written to since"])
async def test_all_shards_of_a_call_that_goes_on_with_none_begin(
    same_filled: str, *, resume: bool
) -> None:
    asked = replace(DAILY, on_existing="replace", resume=resume)
    await run_up_to_now(same_filled, replace(asked, settings=replace(asked.settings, shard=(1, 2))))
    if resume:
        await run(same_filled, None, on_existing="replace")
    assert (await sharded(same_filled, asked, 2)).rows_written == 18


async def test_a_database_without_tables_is_told_once(
    make_database, caplog: pytest.LogCaptureFixture
) -> None:
    with pytest.raises(SchemaError, match="missing table"):
        await sharded(await make_database(), DAILY, 3)
    assert "shard=" not in caplog.text


@pytest.mark.parametrize("calendar", ["daily", "prices"])
async def test_the_shards_of_another_night_are_another_group(
    same_filled: str, calendar: str
) -> None:
    given = {"start": None, "end": None, "calendar": calendar}
    groups = []
    for day in DAYS:
        settings = {"today": date_of(day)}
        found = {
            (await nightly(same_filled, (number, 2), **given, settings=settings)).group
            for number in (2, 1, 2)
        }
        groups += found
        assert len(found) == 1
    assert len({*groups}) == len(DAYS)
    # The task of an earlier night is repeated: an orchestrator passes its date.
    settings = {"today": date_of(DAYS[0])}
    again = await nightly(same_filled, (1, 2), **given, settings=settings)
    assert again.group == groups[0]


NEXT_CLOSE = """
INSERT INTO market_data_cache (id, symbol, date, close, data_source, created_at, updated_at)
SELECT gen_random_uuid(), symbol, date + 1, close, data_source, created_at, updated_at
FROM market_data_cache
WHERE date = (SELECT max(date) FROM market_data_cache)"""


async def test_a_session_that_has_closed_since_is_of_another_night(same_filled: str) -> None:
    given = {"start": None, "end": None, "calendar": "prices"}
    first = [await nightly(same_filled, (number, 2), **given) for number in (1, 2)]
    await database.execute(same_filled, NEXT_CLOSE)
    second = [await nightly(same_filled, (number, 2), **given) for number in (2, 1)]
    assert {one.group for one in second} == {second[0].run_id}
    assert {one.group for one in first} == {first[0].run_id}
    assert [one.rows_written for one in second] == [len(one.portfolios) for one in second]


@pytest.mark.parametrize("end", ["failed", "incomplete"])
@pytest.mark.parametrize("together", [False, True], ids=["one by one", "together"])
async def test_after_a_shard_that_ended_early_the_next_night_is_one_group(
    same_host: str, end: str, *, together: bool
) -> None:
    host = database.plain_host(8, DAYS)
    own = next(one for one in host.portfolios if of_shard(database.key(one.id), (2, 3)))
    failing = replace(own, flows=TOO_LARGE) if end == "incomplete" else own
    every = tuple(failing if one is own else one for one in host.portfolios)
    await database.fill(same_host, replace(host, portfolios=every))
    settings = {"min_coverage": 0.0, "max_failed": "100%"}

    async def night() -> None:
        if together:
            given = {"calendar": "prices", "analytics": "none", "settings": Settings(**settings)}
            await sharded(same_host, make_request(date_of(DAYS[0]), None, None, **given), 3)
            return
        for number in (1, 2, 3):
            given = {"end": None, "calendar": "prices", "settings": settings}
            await nightly(same_host, (number, 3), **given)

    if end == "failed":
        async with ledger.refused(same_host, database.key(own.id)):
            await night()
        if not together:
            await nightly(same_host, (3, 3), end=None, calendar="prices")
    else:
        await night()
    first = {one.group for one in await batchcore.runs(same_host)}
    await database.execute(same_host, NEXT_CLOSE)
    # The second is continued, with a later token than that of the first, before it goes on.
    await night()

    runs = await batchcore.runs(same_host)
    assert (len(first), len({one.group for one in runs} - first)) == (1, 1)
    for group in {one.group for one in runs}:
        found = await batchcore.runs(same_host, group=group)
        assert [one.shard for one in found] == [(1, 3), (2, 3), (3, 3)]
        states = [one.state for one in found]
        assert states == ["complete", end if end == "incomplete" else "complete", "complete"]


async def test_another_number_of_shards_is_another_group(same_filled: str) -> None:
    for shard in ((1, 2), (1, 3), (2, 2), (2, 3), (1, 2)):
        await run(same_filled, shard)
    groups = [(one.shard, one.group) for one in await batchcore.runs(same_filled)]
    assert len({(shard[1], group) for shard, group in groups}) == 2


async def test_of_a_shard_that_is_run_again_the_latest_failures_count(same_host: str) -> None:
    await fill_with_failures(same_host)
    allowed = {"max_failed": 3}
    assert (await run(same_host, (1, 2), settings=allowed)).failed == 2
    # Two of the first shard and one of this one, not four and one.
    assert (await run(same_host, (1, 2), settings=allowed, resume=False)).failed == 2
    assert (await run(same_host, (2, 2), settings=allowed)).failed == 1


async def test_a_late_shard_joins_its_group_with_its_dates_and_then_goes_on(
    same_filled: str,
) -> None:
    async def at(shard: Shard, day: int) -> batchcore.BatchResult:
        # "Now" of a run is when its group began: both that and its end are set back to a day.
        result = await batchcore.run_batch(
            same_filled,
            calendar="daily",
            analytics="none",
            settings=Settings(shard=shard, min_coverage=0.0),
        )
        moment = dt.datetime.combine(date_of(day + 1), dt.time(12), dt.UTC)
        back = "UPDATE batchcore_runs SET created_at = $1, end_date = $2 WHERE id = $3 RETURNING id"
        await database.fetchval(same_filled, back, moment, date_of(day), uuid.UUID(result.run_id))
        return result

    first = await at((1, 2), DAYS[0])
    late = await at((2, 2), DAYS[0])
    assert (late.resumed.group, late.resumed.attempt) == (first.group, 1)
    assert late.resumed.sessions.tolist() == [DAYS[0]]
    assert late.group not in {None, first.group}


async def test_both_shards_see_the_view_that_is_held_for_them(same_filled: str) -> None:
    async def work(own: Request) -> batchcore.BatchResult:
        assert own.view is not None
        await database.execute(same_filled, "UPDATE market_data_cache SET close = close + 5")
        return await run_up_to_now(same_filled, own)

    result = await run_group(Database(same_filled), DAILY, 2, work)

    assert result.consistent
    assert result.snapshot_seconds > 0
    assert len({row["snapshot_id"] for row in await ledger.runs(same_filled)}) == 1
    assert "latest_of_all" not in result.rows_by_load  # it was read with the view, for both
    await assert_undisturbed(same_filled, HOST, DAYS)


async def test_a_correction_after_shards_looks_from_before_their_view_on(same_filled: str) -> None:
    stamps: list[dt.datetime] = []
    async with database.connected(same_filled) as other:
        begun = other.transaction()
        await begun.start()
        stamps.append(await other.fetchval("SELECT now()"))

        async def work(own: Request) -> batchcore.BatchResult:
            if stamps[1:] == []:  # its change is neither seen nor open when the shards begin
                stamps.append(stamps[0])
                await other.execute("UPDATE portfolios SET updated_at = now()")
                await begun.commit()
            return await run_up_to_now(same_filled, own)

        await run_group(Database(same_filled), DAILY, 2, work)
    for one in await batchcore.runs(same_filled):
        assert one.next_changed_since <= stamps[0]


@pytest.mark.parametrize(
    ("first", "second", "since"),
    [
        # As texts, the later one of each two comes first.
        ("2025-06-29T18:00:00.500000Z", "2025-06-29T18:00:00Z", "2025-06-29T18:00:00Z"),
        ("2025-06-29T20:00:00+02:00", "2025-06-29T18:30:00Z", "2025-06-29T18:00:00Z"),
        ("2025-06-29T18:00:00-01:00", "2025-06-29T18:30:00Z", "2025-06-29T18:30:00Z"),
        (None, "2025-06-29T18:00:00Z", "2025-06-29T18:00:00Z"),  # an earlier build's
        (None, None, None),
    ],
)
async def test_the_correction_after_a_group_looks_from_the_earliest_moment_of_its_shards_on(
    same_filled: str, first: str | None, second: str | None, since: str | None
) -> None:
    await sharded(same_filled, DAILY, 2)
    for number, moment in ((1, first), (2, second)):
        await database.execute(
            same_filled,
            "UPDATE batchcore_runs SET configuration = configuration - 'next_changed_since'"  # noqa: S608
            f" || '{json.dumps({'next_changed_since': moment} if moment else {})}'"
            f" WHERE id = (SELECT run_id FROM batchcore_run_shards WHERE shard = {number})",
        )

    found = await batchcore.runs(same_filled)

    assert group_dict(found)["next_changed_since"] == since
    told = [] if since is None else [f"next correction: --changed-since {since}"]
    assert next_lines(found) == told


async def test_a_view_that_is_gone_is_replaced_by_one_of_the_shards_own(
    same_filled: str, caplog: pytest.LogCaptureFixture
) -> None:
    async def work(own: Request) -> batchcore.BatchResult:
        if own.settings.shard == (2, 2):
            own = replace(own, view=replace(own.view, exported="00000000-0000FFFF-1"))
        return await run_up_to_now(same_filled, own)

    result = await run_group(Database(same_filled), DAILY, 2, work)

    assert [one.consistent for one in result.shards] == [True, False]
    assert not result.consistent
    # of another moment: if the other shard has committed by then, there are two latest days
    assert result.rows_by_load["latest_of_all"] in {1, 2}
    assert "snapshot=own reason=" in caplog.text
    await assert_undisturbed(same_filled, HOST, DAYS)


async def test_a_view_that_is_lost_once_all_have_it_is_no_failure(
    same_filled: str, caplog: pytest.LogCaptureFixture
) -> None:
    done: list[batchcore.BatchResult] = []

    async def work(own: Request) -> batchcore.BatchResult:
        done.append(await run_up_to_now(same_filled, own))
        if len(done) == 2:
            await database.fetch(
                same_filled,
                "SELECT pg_terminate_backend(pid) FROM pg_stat_activity"
                " WHERE datname = current_database() AND state = 'idle in transaction'",
            )
        return done[-1]

    result = await run_group(Database(same_filled), DAILY, 2, work)

    assert (result.state, result.consistent) == ("complete", True)
    assert "snapshot=lost" in caplog.text
    await assert_undisturbed(same_filled, HOST, DAYS)


async def test_a_view_from_before_another_run_wrote_is_not_used(same_filled: str) -> None:
    written = asyncio.Event()

    async def work(own: Request) -> batchcore.BatchResult:
        if own.settings.shard == (1, 2):
            await run(same_filled, None)  # all portfolios
            written.set()
        await written.wait()
        return await run_up_to_now(same_filled, own)

    result = await run_group(Database(same_filled), DAILY, 2, work)

    assert result.nothing_to_do
    assert [one.consistent for one in result.shards] == [False, False]
    await assert_undisturbed(same_filled, HOST, DAYS)


async def test_a_shard_that_ends_early_lets_the_others_finish(same_filled: str) -> None:
    async def work(own: Request) -> batchcore.BatchResult:
        number, _ = own.settings.shard or (0, 0)
        if number == 1:
            raise LeaseHeldError("another is at work", "its id")
        if number == 2:
            raise batchcore.DatabaseError("gone")
        return await run_up_to_now(same_filled, own)

    with pytest.raises(batchcore.DatabaseError, match="gone") as caught:
        await run_group(Database(same_filled), DAILY, 3, work)

    result = batchcore.BatchResult.of_error(caught.value)
    assert (result.state, result.error) == ("failed", "LeaseHeldError: another is at work")
    assert [one.state for one in result.shards] == ["failed", "failed", "complete"]
    assert [one.error for one in result.shards][1:] == ["DatabaseError: gone", None]
    own = sum(of_shard(database.key(one.id), (3, 3)) for one in HOST.portfolios)
    assert result.rows_written == 3 * own

    result = await sharded(same_filled, DAILY, 3)
    assert result.state == "complete"
    await assert_undisturbed(same_filled, HOST, DAYS)
