"""A run that ended early is gone on with: its dates, its stamp, and only what it had not done."""

import asyncio
import datetime as dt
from dataclasses import replace
from decimal import Decimal

import pytest

import batchcore
from batchcore.calendar import date_of
from batchcore.config import Settings
from batchcore.errors import DatabaseError, SnapshotExistsError
from batchcore.pg.session import Session
from support import database, ledger
from support.generate import MONDAY
from support.outcome import assert_undisturbed

DAYS = list(range(MONDAY, MONDAY + 4))
HOST = database.plain_host(5, DAYS)
IDS = sorted(database.key(portfolio.id) for portfolio in HOST.portfolios)
ONE_EACH = Settings(chunk_size=1, connections=2, max_failed="100%")
HUGE = "UPDATE positions SET quantity = 999999999999, position_type = 'LC' WHERE portfolio_id = $1"
"""A hundred times 11 of each do not fit a column of 14 digits: the portfolio fails (S10)."""
SMALL = "UPDATE positions SET quantity = 10, position_type = 'LONG'"


async def run(db: object, *, last: int | None = DAYS[-1], **options: object):
    end = None if last is None else date_of(last)
    usual = {"start_date": date_of(DAYS[0]), "calendar": "daily", "settings": ONE_EACH}
    return await batchcore.run_batch(db, end_date=end, analytics="none", **usual | options)


async def ended_early(url: str, how: str, **options: object) -> None:
    """Leave a run that committed two portfolios of five."""
    if how == "interrupted":
        async with ledger.at_work(url, IDS[2], run(url, **options)) as task:
            task.cancel()
            with pytest.raises(asyncio.CancelledError):
                await task
    else:
        async with ledger.refused(url, IDS[2]):
            await run(url, **options)
    if how == "killed":
        await ledger.kill(url)
    (row,) = await ledger.runs(url)
    assert row["state"] == ("running" if how == "killed" else how)
    assert row["chunks"] == 2


@pytest.mark.parametrize("how", ["killed", "failed", "interrupted"])
@pytest.mark.parametrize("mode", ["skip", "replace", "error"])
async def test_a_run_goes_on_where_its_ledger_ends(filled: str, how: str, mode: str) -> None:
    await ended_early(filled, how, on_existing=mode)
    before = await database.snapshots(filled)
    (first,) = await ledger.runs(filled)

    result = await run(filled, on_existing=mode)

    assert (result.run_id, result.attempt) == (str(first["id"]), 2)
    assert result.rows_written == 3 * len(DAYS)
    stored = await assert_undisturbed(filled, HOST, DAYS)
    assert {at: stored[at] for at in before} == before
    assert {row["created_at"] for row in stored.values()} == {first["created_at"]}
    (row,) = await ledger.runs(filled)
    assert (row["state"], row["attempt"], row["chunks"], row["rows_written"]) == (
        *("complete", 2, 5, 20),
    )
    entries = [
        (c["chunk"], c["attempt"], c["first_portfolio"]) for c in await ledger.chunks(filled)
    ]
    assert [entry[:2] for entry in entries if entry[2] in IDS[:2]] == [(0, 1), (1, 1)]
    assert {entry[2] for entry in entries if entry[1] == 2} == set(IDS[2:])
    assert len({entry[0] for entry in entries}) == 5


@pytest.mark.parametrize("mode", ["skip", "replace", "error"])
async def test_legacy_goes_on_where_its_ledger_ends(host: str, mode: str) -> None:
    days = [MONDAY, MONDAY + 1]
    given = database.plain_host(5, days)
    options = {
        "policy": "legacy",
        "calendar": "XNYS",
        "last": days[-1],
        "settings": replace(ONE_EACH, today=date_of(MONDAY + 30)),
    }
    await database.fill(host, given)
    undisturbed = await run(host, **options, on_existing=mode, start_date=date_of(days[0]))
    assert undisturbed.rows_written == 10
    expected = database.without_stamps(await database.snapshots(host))
    await database.execute(
        host,
        "TRUNCATE portfolio_snapshots, batchcore_runs CASCADE",
        "UPDATE portfolios SET equity_balance = 1000",
    )
    await ended_early(host, "killed", on_existing=mode, **options)

    result = await run(host, on_existing=mode, **options)

    assert (result.attempt, result.rows_written) == (2, 6)
    assert database.without_stamps(await database.snapshots(host)) == expected


async def test_what_is_done_is_not_done_again_under_replace(filled: str) -> None:
    await ended_early(filled, "killed", on_existing="replace")
    await database.execute(filled, "UPDATE positions SET quantity = 20")

    result = await run(filled, on_existing="replace")

    assert result.rows_written == 12
    # 1000, and on each day after the first that closes a dollar higher 10, or 20, shares of it
    found = await database.equities(filled)
    gained = [found[portfolio] - 1000 for portfolio in IDS]
    assert gained[0] == gained[1]
    assert gained[2:] == [2 * gained[0]] * 3
    assert gained[0] > 0

    again = await run(filled, on_existing="replace")
    assert (again.attempt, again.rows_written) == (1, 20)


async def test_without_resume_another_run_begins(filled: str) -> None:
    await ended_early(filled, "failed", on_existing="replace")

    result = await run(filled, on_existing="replace", resume=False)

    assert (result.attempt, result.rows_written) == (1, 20)
    assert [row["state"] for row in await ledger.runs(filled)] == ["failed", "complete"]
    await assert_undisturbed(filled, HOST, DAYS)
    # what came later was asked for the same, so nobody goes on with the first
    assert (await run(filled, on_existing="replace")).attempt == 1


async def test_another_question_is_another_run(filled: str) -> None:
    await ended_early(filled, "failed")
    result = await run(filled, last=DAYS[-2])
    assert (result.attempt, result.rows_written) == (1, 9)
    # since then somebody else has written to the same portfolios
    assert (await run(filled)).attempt == 1
    await assert_undisturbed(filled, HOST, DAYS)


async def test_under_error_rows_of_others_are_refused_still(filled: str) -> None:
    await ended_early(filled, "killed", on_existing="error")
    (last,) = (one.id for one in HOST.portfolios if database.key(one.id) == IDS[4])
    await database.add_snapshots(filled, last, (database.Standing(DAYS[1]),))
    with pytest.raises(SnapshotExistsError) as caught:
        await run(filled, on_existing="error")
    assert caught.value.portfolio == str(IDS[4])


async def test_a_portfolio_that_came_since_among_those_done_is_not_left_out(filled: str) -> None:
    settings = replace(ONE_EACH, chunk_size=4)
    await database.fetch(filled, "UPDATE portfolios SET deleted_at = now() WHERE id = $1", IDS[1])
    async with ledger.refused(filled, IDS[4]):
        await run(filled, on_existing="replace", settings=replace(settings, chunk_size=3))
    await database.execute(filled, "UPDATE portfolios SET deleted_at = NULL")

    result = await run(filled, on_existing="replace", settings=settings)

    assert (result.attempt, result.rows_written) == (2, 2 * len(DAYS))
    await assert_undisturbed(filled, HOST, DAYS)


@pytest.mark.parametrize("mode", ["skip", "replace", "error"])
async def test_failed_portfolios_are_taken_again_and_only_they(same_filled: str, mode: str) -> None:
    await database.fetch(same_filled, HUGE, IDS[1])
    first = await run(same_filled, on_existing=mode)
    assert (first.failed, first["success"]) == (1, False)
    (row,) = await ledger.runs(same_filled)
    assert (row["state"], row["failed"]) == ("incomplete", 1)
    before = await database.snapshots(same_filled)

    again = await run(same_filled, on_existing=mode)
    assert (again.run_id, again.attempt, again.failed) == (first.run_id, 2, 1)
    await database.execute(same_filled, SMALL)
    mended = await run(same_filled, on_existing=mode)

    assert (mended.run_id, mended.attempt, mended.failed) == (first.run_id, 3, 0)
    assert mended.rows_written == len(DAYS)
    stored = await assert_undisturbed(same_filled, HOST, DAYS)
    assert {at: stored[at] for at in before if at[0] != IDS[1]} == {
        at: row for at, row in before.items() if at[0] != IDS[1]
    }
    (row,) = await ledger.runs(same_filled)
    assert (row["state"], row["failed"], row["attempt"]) == ("complete", 0, 3)


async def test_later_sessions_follow_what_is_finished_with_its_own_dates(host: str) -> None:
    tonight, tomorrow = (replace(ONE_EACH, today=date_of(day)) for day in (DAYS[1], DAYS[3]))
    await database.fill(host, HOST)
    options = {"last": None, "start_date": None, "settings": tonight}
    await ended_early(host, "killed", **options)

    result = await run(host, last=None, start_date=None, settings=tomorrow)

    assert (result.resumed.attempt, result.resumed.rows_written) == (2, 3)
    assert result.resumed.sessions.tolist() == [DAYS[1]]
    assert (result.attempt, result.rows_written) == (1, 10)
    assert result.sessions.tolist() == [DAYS[2], DAYS[3]]
    assert result.to_dict()["resumed"]["run_id"] == result.resumed.run_id != result.run_id
    rows = await ledger.runs(host)
    assert [(row["state"], row["end_date"]) for row in rows] == [
        ("complete", date_of(DAYS[1])),
        ("complete", date_of(DAYS[3])),
    ]
    # no complete snapshot stood before: the first run wrote the last session closed alone
    await assert_undisturbed(host, HOST, DAYS[1:])


async def test_a_range_without_an_end_keeps_the_end_that_it_had(filled: str) -> None:
    tonight = replace(ONE_EACH, today=date_of(DAYS[2]))
    await ended_early(filled, "failed", last=None, settings=tonight)

    result = await run(filled, last=None, settings=replace(ONE_EACH, today=date_of(DAYS[3])))

    assert (result.resumed.rows_written, result.rows_written) == (9, 5)
    await assert_undisturbed(filled, HOST, DAYS)


@pytest.mark.parametrize("how", ["killed", "failed"])
async def test_a_run_that_goes_beyond_today_is_not_gone_on_with(filled: str, how: str) -> None:
    await ended_early(filled, how, last=None, settings=replace(ONE_EACH, today=date_of(DAYS[3])))

    early = replace(ONE_EACH, today=date_of(DAYS[1]))
    result = await run(filled, last=None, settings=early)

    assert (result.attempt, result.resumed, result.rows_written) == (1, None, 3 * 2)
    stored = await database.snapshots(filled)
    assert {day for at, day in stored if at in IDS[2:]} == set(DAYS[:2])
    states = {row["state"] for row in await ledger.runs(filled)}
    assert states == {"complete", "superseded" if how == "killed" else how}


async def test_a_run_that_may_go_beyond_today_is_not_gone_on_with(
    same_host: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def fails(*_: object) -> None:
        raise DatabaseError("before it is planned")

    await database.fill(same_host, HOST)
    monkeypatch.setattr(Session, "copy_out", fails)
    with pytest.raises(DatabaseError, match="before it is planned"):
        await run(same_host, last=None)  # until the day on which this test is run
    monkeypatch.undo()

    result = await run(same_host, last=None, settings=replace(ONE_EACH, today=date_of(DAYS[1])))

    assert (result.attempt, result.rows_written) == (1, 5 * 2)
    again = await run(same_host, last=None, settings=replace(ONE_EACH, today=date_of(DAYS[1])))
    assert again.nothing_to_do


async def test_the_sessions_of_prices_that_came_since_wait_for_the_run_after(host: str) -> None:
    given = database.plain_host(5, DAYS)
    later = tuple(price for price in given.prices if price[1] == DAYS[3])
    await database.fill(
        host, replace(given, prices=tuple(p for p in given.prices if p not in later))
    )
    await ended_early(host, "killed", last=None, calendar="prices")
    await database.add_prices(host, later)

    result = await run(host, last=None, calendar="prices")

    assert result.resumed.sessions.tolist()[-1] == DAYS[2]
    await assert_undisturbed(host, HOST, DAYS)


async def test_a_run_killed_before_its_last_word_has_nothing_left_to_do(same_filled: str) -> None:
    await run(same_filled)
    before = await database.snapshots(same_filled)
    await ledger.kill(same_filled)

    result = await run(same_filled)

    assert (result.attempt, result.nothing_to_do) == (2, True)
    assert await database.snapshots(same_filled) == before
    (row,) = await ledger.runs(same_filled)
    assert (row["state"], row["chunks"]) == ("complete", 5)


async def test_a_run_killed_before_its_first_chunk_keeps_its_stamp(filled: str) -> None:
    async with ledger.refused(filled, IDS[0]):
        await run(filled)
    await ledger.kill(filled)
    (row,) = await ledger.runs(filled)

    result = await run(filled)

    assert (result.attempt, result.rows_written) == (2, 20)
    stored = await assert_undisturbed(filled, HOST, DAYS)
    assert {row["created_at"] for row in stored.values()} == {row["created_at"]}


async def test_changes_are_gone_on_with(filled: str) -> None:
    await run(filled)
    since = dt.datetime.now(dt.UTC)
    await database.execute(
        filled,
        "UPDATE positions SET quantity = 20, updated_at = now()",
        f"UPDATE portfolios SET equity_balance = NULL WHERE id <= '{IDS[2]}'",  # noqa: S608
    )
    settings = replace(ONE_EACH, today=date_of(DAYS[3]))
    options = {"start_date": None, "last": None, "changed_since": since, "settings": settings}
    async with ledger.refused(filled, IDS[2], table="portfolios"):
        await run(filled, **options)

    result = await run(filled, **options)

    assert (result.attempt, result.rows_written) == (2, 3 * len(DAYS))
    # twice the shares, so twice the 10 a day
    stored = await database.snapshots(filled)
    gains = {(day, row["daily_pnl"]) for (_, day), row in stored.items()}
    assert gains == {(DAYS[0], 0), *((day, Decimal(20)) for day in DAYS[1:])}
