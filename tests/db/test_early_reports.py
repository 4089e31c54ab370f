"""The report of a run that ended early: what was done until then, with the error that ended it."""

import asyncio
import datetime as dt
import pickle

import asyncpg
import pytest
from tblib import pickling_support

import batchcore
from batchcore import BatchResult
from batchcore.calendar import date_of
from batchcore.config import Settings
from batchcore.errors import (
    BatchcoreError,
    ConfigError,
    CoverageError,
    DatabaseError,
    TooManyFailedError,
)
from support import database
from support.generate import MONDAY
from support.outcome import LOOSE
from support.runs import run_days

pytestmark = pytest.mark.db

DAYS = tuple(range(MONDAY, MONDAY + 4))


def reported(error: BaseException) -> BatchResult:
    found = BatchResult.of_error(error)
    assert found is not None
    return found


async def ended(url: str, expected: type[BaseException], **options: object) -> BatchResult:
    with pytest.raises(expected) as caught:
        await run_days(url, DAYS[0], DAYS[-1], **options)
    return reported(caught.value)


async def test_prices_that_have_not_arrived(same_host: str) -> None:
    plain = database.plain_host(3, DAYS)
    prices = tuple(one for one in plain.prices if one[1] != DAYS[2])
    await database.fill(same_host, type(plain)(plain.portfolios, prices))
    result = await ended(same_host, CoverageError, calendar="XNYS")
    assert (result.state, result["success"], result.rows_written) == ("failed", False, 0)
    assert result.error.startswith(f"CoverageError: price coverage on {date_of(DAYS[2])} is 0.0%")
    shares = dict(
        zip(result.coverage.session.tolist(), result.coverage.share().tolist(), strict=True)
    )
    assert (shares[DAYS[0]], shares[DAYS[2]]) == (1.0, 0.0)
    assert result.min_coverage == 0.5
    assert len(result.portfolios) == 3
    (kept,) = await batchcore.runs(same_host)
    assert (kept.run_id, kept.state, kept.error) == (result.run_id, result.state, result.error)
    assert [one["eventType"] for one in result.to_openlineage()] == ["START", "FAIL"]
    assert pickle.loads(pickle.dumps(result)).to_dict() == result.to_dict()  # noqa: S301


async def test_chunks_that_were_committed_are_in_it(same_host: str) -> None:
    await database.fill(same_host, database.plain_host(3, DAYS))
    committed = asyncio.Event()

    def progress(phase: str, done: int, _total: int) -> None:
        if phase == "persist" and done:
            committed.set()

    options = {"settings": Settings(chunk_size=1), "progress": progress}
    task = asyncio.create_task(run_days(same_host, DAYS[0], DAYS[-1], **options))
    await committed.wait()
    task.cancel()
    with pytest.raises(asyncio.CancelledError) as caught:
        await task
    result = reported(caught.value)
    assert (result.state, result.error) == ("interrupted", "CancelledError")
    (kept,) = await batchcore.runs(same_host)
    assert 4 <= result.rows_written <= kept.rows_written
    assert result.started_at <= result.ended_at
    assert [one["eventType"] for one in result.to_openlineage()][-1] == "ABORT"


async def test_too_many_failures(same_loose_host: str) -> None:
    await database.fill(same_loose_host, database.plain_host(3, DAYS))
    await database.execute(same_loose_host, "UPDATE portfolios SET equity_balance = 'NaN'")
    with pytest.raises(TooManyFailedError) as caught:
        await run_days(same_loose_host, DAYS[0], DAYS[-1], settings=Settings(schema=LOOSE))
    assert reported(caught.value).state == "failed"


async def test_on_a_connection_of_the_caller(same_host: str) -> None:
    await database.fill(same_host, database.plain_host(2, DAYS))
    connection = await asyncpg.connect(same_host)
    try:
        transaction = connection.transaction()
        await transaction.start()
        await connection.execute("ALTER TABLE portfolio_snapshots DROP COLUMN net_exposure")
        calculator = batchcore.PnLCalculator(db=connection, calendar="daily")
        with pytest.raises(BatchcoreError) as caught:
            await calculator.calculate_all_portfolios_pnl(date_of(DAYS[0]))
        await transaction.rollback()
    finally:
        await connection.close()
    result = reported(caught.value)
    assert (result.state, len(result.portfolios), result.sessions_behind) == ("failed", 0, None)


async def test_without_a_server() -> None:
    pickling_support.install()  # as distributed does: causes and contexts are pickled too
    with pytest.raises(DatabaseError) as caught:
        await batchcore.run_batch("postgresql://x@127.0.0.1:1/none")
    again = pickle.loads(pickle.dumps(caught.value))  # noqa: S301  # made in this line
    assert reported(again).to_dict()["run_id"] == reported(caught.value).run_id


async def test_a_wrong_argument_is_no_run() -> None:
    with pytest.raises(ConfigError) as caught:
        await batchcore.run_batch("postgresql://x@127.0.0.1:1/none", policy="x")
    assert BatchResult.of_error(caught.value) is None


async def test_how_far_behind_a_run_leaves_its_portfolios(same_host: str) -> None:
    await database.fill(same_host, database.plain_host(3, DAYS))
    today = Settings(today=date_of(DAYS[3]))
    plan = Settings(today=date_of(DAYS[3]), dry_run=True)
    first = await run_days(same_host, DAYS[0], DAYS[0], settings=plan)
    assert first.sessions_behind is None  # as there is no snapshot
    first = await run_days(same_host, DAYS[0], DAYS[0], settings=today)
    assert first.sessions_behind == 3
    own = {"calendar": "daily", "analytics": "none"}
    planned = await batchcore.run_batch(same_host, settings=plan, **own)
    assert planned.sessions_behind == 3
    alone = [str(database.key("p1"))]
    some = await batchcore.run_batch(
        same_host, None, date_of(DAYS[2]), alone, settings=today, **own
    )
    assert some.sessions_behind == 1
    last = await batchcore.run_batch(same_host, settings=today, **own)
    assert (last.sessions_behind, last.state) == (0, "complete")
    assert last.started_at.tzinfo is dt.UTC
