"""One run at a time on the same portfolios; who was taken over writes nothing any more."""

import asyncio
import contextlib
import datetime as dt
from collections.abc import AsyncIterator
from decimal import Decimal
from functools import partial

import asyncpg
import pytest

import batchcore
from batchcore.calendar import date_of
from batchcore.config import Schema, Settings
from batchcore.db.catalog import inspect
from batchcore.errors import DatabaseError, LeaseHeldError
from batchcore.pg.database import Database
from batchcore.pg.ledger import Lease, Ledger
from batchcore.pg.session import transaction
from batchcore.run import lease as leases
from batchcore.run.lease import LeaseHolder
from batchcore.run.request import make_request
from support import database, ledger, runs
from support.ledger import at_work, refused
from support.outcome import assert_undisturbed
from support.runs import DAYS, ONE_EACH

HOST = database.plain_host(4, DAYS)
IDS = sorted(database.key(portfolio.id) for portfolio in HOST.portfolios)
run = partial(runs.run, settings=ONE_EACH)
SOON = dt.timedelta(seconds=2.1)


async def test_a_second_run_on_the_same_portfolios_is_refused_and_writes_nothing(
    filled: str,
) -> None:
    async with at_work(filled, IDS[1], run(filled)) as first:
        before = await database.snapshots(filled)
        (own,) = await ledger.runs(filled)
        for portfolios in (None, [IDS[3]]):
            with pytest.raises(LeaseHeldError, match="its lease expires at") as caught:
                await run(filled, portfolio_ids=portfolios)
            assert caught.value.run_id == str(own["id"])
        assert await database.snapshots(filled) == before
        assert len(await ledger.runs(filled)) == 1
    assert first.result().rows_written == 12
    await assert_undisturbed(filled, HOST, DAYS)


@contextlib.asynccontextmanager
async def waits_for(
    url: str, run_id: object, monkeypatch: pytest.MonkeyPatch, **options: object
) -> AsyncIterator[asyncio.Task]:
    """Give a run that waits for another."""
    asked, is_alive = asyncio.Event(), Ledger.is_alive

    async def noticed(self: Ledger, session: object, other: str | None) -> bool:
        assert other == str(run_id)
        asked.set()
        return await is_alive(self, session, other)

    monkeypatch.setattr(Ledger, "is_alive", noticed)
    monkeypatch.setattr(leases, "WAIT_POLL_S", 0.01)
    task = asyncio.create_task(run(url, wait=300, **options))
    try:
        async with asyncio.timeout(30):
            await asked.wait()
        yield task
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)


async def test_a_run_that_may_wait_begins_when_the_other_has_ended(
    filled: str, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    async with contextlib.AsyncExitStack() as stack:
        async with at_work(filled, IDS[1], run(filled)) as first:
            (own,) = await ledger.runs(filled)
            waits = waits_for(filled, own["id"], monkeypatch, portfolio_ids=IDS[:2])
            second = await stack.enter_async_context(waits)
            assert f"waiting_for_run={own['id']} seconds=300" in caplog.text
            assert (
                await database.fetchval(
                    filled,
                    "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database()"
                    " AND query LIKE '%AS same,%' AND state LIKE 'idle in%'",
                )
                == 0
            )
        assert first.result().rows_written == 12
        async with asyncio.timeout(60):
            assert (await second).nothing_to_do
    assert [row["state"] for row in await ledger.runs(filled)] == ["complete"] * 2
    await assert_undisturbed(filled, HOST, DAYS)


async def test_a_run_that_may_wait_takes_over_a_lease_that_expires(
    same_filled: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    await run(same_filled, portfolio_ids=IDS[:2])
    await ledger.kill(same_filled)
    await ledger.expire(same_filled, 3600)
    (own,) = await ledger.runs(same_filled)
    async with waits_for(same_filled, own["id"], monkeypatch) as second:
        await ledger.expire(same_filled)
        async with asyncio.timeout(60):
            assert (await second).rows_written == 6
    assert [row["state"] for row in await ledger.runs(same_filled)] == ["superseded", "complete"]
    await assert_undisturbed(same_filled, HOST, DAYS)


async def test_a_waiting_run_can_be_cancelled(filled: str, monkeypatch: pytest.MonkeyPatch) -> None:
    async with at_work(filled, IDS[1], run(filled)):
        (own,) = await ledger.runs(filled)
        async with waits_for(filled, own["id"], monkeypatch) as second:
            second.cancel()
            with pytest.raises(asyncio.CancelledError):
                await second
        assert len(await ledger.runs(filled)) == 1


async def test_runs_on_other_portfolios_go_side_by_side(filled: str) -> None:
    async with at_work(filled, IDS[0], run(filled, portfolio_ids=IDS[:2])) as first:
        second = await run(filled, portfolio_ids=IDS[2:])
        none = await run(filled, portfolio_ids=[])
        assert (second.rows_written, none.rows_written) == (6, 0)
        assert not first.done()
    assert first.result().rows_written == 6
    assert [row["state"] for row in await ledger.runs(filled)] == ["complete"] * 3
    await assert_undisturbed(filled, HOST, DAYS)


async def test_a_plan_needs_no_lease(filled: str) -> None:
    async with at_work(filled, IDS[1], run(filled)):
        planned = await run(filled, settings=Settings(dry_run=True))
        assert len(planned.sessions) == 3
        assert len(await ledger.runs(filled)) == 1


async def test_two_starts_at_once_are_one_run(filled: str) -> None:
    async with database.connected(filled) as other:
        async with other.transaction():
            await other.execute("LOCK TABLE batchcore_runs IN SHARE UPDATE EXCLUSIVE MODE")
            both = [asyncio.create_task(run(filled)) for _ in range(2)]
            await ledger.until(
                other,
                "SELECT count(*) = 2 FROM pg_locks WHERE NOT granted"
                " AND relation = 'batchcore_runs'::regclass",
            )
        found = await asyncio.gather(*both, return_exceptions=True)
    done = [one for one in found if isinstance(one, batchcore.BatchResult)]
    # the second is refused, or comes when the first is through
    assert sum(one.rows_written for one in done) == 12
    assert all(isinstance(one, batchcore.BatchResult | LeaseHeldError) for one in found)
    await assert_undisturbed(filled, HOST, DAYS)


@pytest.mark.parametrize("same", [True, False])
async def test_an_expired_lease_is_taken_over_and_its_open_transaction_ended(
    filled: str, *, same: bool
) -> None:
    async with at_work(
        filled, IDS[1], run(filled)
    ) as zombie:  # its transaction has written rows of IDS[1]
        await ledger.expire(filled)
        await ledger.heal(filled)
        result = await run(filled, resume=same)
        with pytest.raises((DatabaseError, LeaseHeldError)):
            await zombie
    assert result.rows_written == 9
    found = [(row["state"], row["attempt"]) for row in await ledger.runs(filled)]
    assert found == ([("complete", 2)] if same else [("superseded", 1), ("complete", 1)])
    await assert_undisturbed(filled, HOST, DAYS)


@pytest.mark.parametrize("at", ["begun", "ledger"])
async def test_a_zombie_that_wakes_up_writes_nothing(
    same_filled: str, monkeypatch: pytest.MonkeyPatch, at: str
) -> None:
    asleep, awake = asyncio.Event(), asyncio.Event()
    fenced = Ledger.fenced
    enter = Ledger.record_chunk
    zombies: list[object] = []

    async def sleep() -> None:
        if not zombies:
            zombies.append(asyncio.current_task())
            asleep.set()
            await awake.wait()

    @contextlib.asynccontextmanager
    async def before(*arguments: object) -> AsyncIterator[None]:
        await sleep()
        async with fenced(*arguments):
            yield

    async def inside(*arguments: object) -> None:
        await sleep()
        await enter(*arguments)

    async def nobody(*_: object) -> int:
        return 0

    if at == "begun":
        monkeypatch.setattr(Ledger, "fenced", before)
    else:  # as if the look at the server's locks had come too early
        monkeypatch.setattr(Ledger, "record_chunk", inside)
        monkeypatch.setattr(Ledger, "end_transactions", nobody)
    zombie = asyncio.create_task(run(same_filled, portfolio_ids=[IDS[0]]))
    await asleep.wait()
    await ledger.expire(same_filled)
    if at == "begun":
        await run(same_filled)
    else:
        async with Database(same_filled).writing("test") as session, transaction(session):
            await Ledger(Schema()).supersede(
                session, [str((await ledger.runs(same_filled))[0]["id"])]
            )
    before_it = await database.snapshots(same_filled)
    awake.set()
    with pytest.raises(LeaseHeldError, match="lost its lease to another run"):
        await zombie
    assert await database.snapshots(same_filled) == before_it
    rows = await ledger.runs(same_filled)
    assert (rows[0]["state"], rows[0]["chunks"], rows[0]["rows_written"]) == ("superseded", 0, 0)
    assert (
        await database.fetch(same_filled, "SELECT FROM batchcore_run_chunks WHERE attempt > 1")
        == []
    )
    await run(same_filled)
    await assert_undisturbed(same_filled, HOST, DAYS)


async def test_a_heartbeat_prolongs_the_lease_and_a_lost_one_stops_the_run(filled: str) -> None:
    settings = Settings(chunk_size=1, connections=2, lease_seconds=2)
    async with (
        at_work(filled, IDS[1], run(filled, settings=settings)) as task,
        database.connected(filled) as other,
    ):
        row = await other.fetchrow("SELECT * FROM batchcore_run_heartbeats")
        assert dt.timedelta(seconds=1.9) < row["expires_at"] - row["beat_at"] < SOON
        await ledger.until(
            other,
            "SELECT beat_at > started_at AND expires_at - beat_at BETWEEN '1.9 s' AND '2.1 s'"  # noqa: S608
            " FROM batchcore_run_heartbeats JOIN batchcore_runs ON id = run_id"
            f" WHERE beat_at > '{row['beat_at']}'::timestamptz",
        )
        await other.execute("UPDATE batchcore_run_heartbeats SET token = token + 1")
        async with asyncio.timeout(30):
            with pytest.raises(LeaseHeldError, match="lost its lease to another run"):
                await task
    assert len(await database.snapshots(filled)) == 3  # of the first portfolio alone


async def test_a_heartbeat_that_fails_is_tried_again(
    filled: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    beats: list[bool] = []
    beaten = asyncio.Event()
    beat = Ledger.beat

    async def failing(*arguments: object) -> bool:
        beats.append(True)
        if len(beats) == 1:
            raise DatabaseError("the network is away")
        beaten.set()
        return await beat(*arguments)

    monkeypatch.setattr(Ledger, "beat", failing)
    settings = Settings(chunk_size=1, connections=2, lease_seconds=1)
    async with at_work(filled, IDS[1], run(filled, settings=settings)) as task, asyncio.timeout(30):
        await beaten.wait()
    assert task.result().rows_written == 12


async def test_a_run_that_was_taken_over_at_its_end_says_so(
    same_filled: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    finish = Ledger.finish

    async def after(*arguments: object, **options: object) -> bool:
        await database.execute(same_filled, "UPDATE batchcore_runs SET token = token + 1")
        return await finish(*arguments, **options)

    monkeypatch.setattr(Ledger, "finish", after)
    with pytest.raises(LeaseHeldError, match="lost its lease to another run"):
        await run(same_filled)
    await assert_undisturbed(same_filled, HOST, DAYS)


@pytest.mark.parametrize("error", [asyncio.CancelledError, DatabaseError])
async def test_a_lease_is_given_back_however_a_run_ends(filled: str, error: type) -> None:
    if error is DatabaseError:
        async with refused(filled, IDS[1]):
            await run(filled)
    else:
        async with at_work(filled, IDS[1], run(filled)) as task:
            task.cancel()
            with pytest.raises(asyncio.CancelledError):
                await task
    (row,) = await ledger.runs(filled)
    told = {DatabaseError: ("failed", "DatabaseError: function `spoil()`: not this one")}
    assert (row["state"], row["error"]) == told.get(error, ("interrupted", "CancelledError"))
    (beat,) = await database.fetch(
        filled, "SELECT expires_at <= clock_timestamp() FROM batchcore_run_heartbeats"
    )
    assert beat[0]
    assert (await run(filled, resume=False)).rows_written == 9
    await assert_undisturbed(filled, HOST, DAYS)


async def test_an_expired_run_of_others_is_left_alone(filled: str) -> None:
    async with refused(filled, IDS[0]):
        await run(filled, portfolio_ids=IDS[:1])
    await ledger.kill(filled)
    await run(filled, portfolio_ids=IDS[1:])
    assert [row["state"] for row in await ledger.runs(filled)] == ["running", "complete"]
    await run(filled)
    states = [row["state"] for row in await ledger.runs(filled)]
    assert states == ["superseded", "complete", "complete"]
    await assert_undisturbed(filled, HOST, DAYS)


async def test_tokens_only_grow(same_filled: str) -> None:
    request = make_request(
        None,
        None,
        None,
        policy="rollforward",
        calendar="XNYS",
        on_existing="skip",
        missing=False,
        analytics="none",
        settings=None,
    )
    tokens = []
    for _ in range(3):
        async with Database(same_filled).writing("test") as session:
            holder = LeaseHolder(request, "00000000-0000-4000-8000-000000000001")
            async with transaction(session):
                lease = await holder.acquire(session, await inspect(session, Schema()))
            await holder.end_replaced(session)
        tokens.append((lease.token, lease.attempt, lease.moment))
        await ledger.expire(same_filled)
    moment = tokens[0][2]
    assert [token[1:] for token in tokens] == [(attempt, moment) for attempt in (1, 2, 3)]
    assert sorted({token[0] for token in tokens}) == [token[0] for token in tokens]


async def test_a_connection_that_is_idle_in_a_transaction_is_ended_before_its_lease(
    same_filled: str,
) -> None:
    seen: list[str] = []
    entered = Ledger.record_issues

    async def looked(self: Ledger, session: object, entry: object) -> None:
        seen.append(await session.raw.fetchval("SHOW idle_in_transaction_session_timeout"))
        await entered(self, session, entry)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Ledger, "record_issues", looked)
        await run(same_filled, settings=Settings(lease_seconds=20))
    assert seen == ["10s"]


async def test_a_session_of_the_caller_keeps_no_ledger(filled: str) -> None:
    calculator = batchcore.PnLCalculator(Settings(), calendar="daily", analytics="none")
    raw: asyncpg.Connection
    other = run(filled, portfolio_ids=[IDS[3]])
    async with at_work(filled, IDS[3], other), database.connected(filled) as raw:
        async with raw.transaction():
            result = await calculator.calculate_all_portfolios_pnl(date_of(DAYS[0]), raw, IDS[:1])
        assert result.rows_written == 1
        assert len(await ledger.runs(filled)) == 1
    assert (await database.equities(filled))[IDS[0]] == Decimal(1000)


async def test_a_run_cancelled_while_its_lease_is_committed_gives_it_back(
    same_filled: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    acquire = LeaseHolder.acquire

    async def cancelled(holder: LeaseHolder, *arguments: object) -> Lease:
        lease = await acquire(holder, *arguments)
        asyncio.current_task().cancel()  # the COMMIT is on its way by then
        return lease

    monkeypatch.setattr(LeaseHolder, "acquire", cancelled)
    with pytest.raises(asyncio.CancelledError):
        await asyncio.create_task(run(same_filled))
    monkeypatch.undo()

    assert all(row["state"] == "interrupted" for row in await ledger.runs(same_filled))
    result = await run(same_filled)
    assert result.rows_written > 0
    assert [row["state"] for row in await ledger.runs(same_filled)][-1] == "complete"
