"""Everything that a run reads is of one moment."""

import asyncio
import sys
from dataclasses import replace
from typing import Any

import pytest
import pytest_asyncio

import batchcore
from batchcore.calendar import date_of
from batchcore.config import Settings
from batchcore.pg.database import Database
from batchcore.pg.session import Session
from batchcore.run.batch import run_up_to_now
from batchcore.run.group import run_group
from batchcore.run.request import make_request
from support import database, writer
from support.outcome import assert_left, assert_undisturbed, outcome
from support.runs import DAYS, run

CHANGES = (
    "UPDATE market_data_cache SET close = 99",
    "UPDATE positions SET quantity = quantity * 2",
    "DELETE FROM position_realized_events",
    "UPDATE equity_changes SET amount = 1",
    "UPDATE portfolios SET equity_balance = 5, deleted_at = now()",
    "DELETE FROM portfolio_snapshots",
)


LOADS = {
    "portfolios": "AS before ON true",
    "symbols": "SELECT DISTINCT p.",
    "prices": '"market_data_cache" AS m\nWHERE m."symbol" = ANY',
    "left out": "wanted(symbol, settled)",
    "existing": 'IS TRUE FROM "public"."portfolio_snapshots"',
    "positions": 'p."entry_date"',
    "events": 'FROM "public"."position_realized_events"',
    "flows": 'FROM "public"."equity_changes"',
}
"""Loads of a run, and what tells the statement of each."""


@pytest.mark.parametrize("part", LOADS.values(), ids=LOADS)
async def test_what_is_committed_after_a_load_is_not_seen(
    same_host: str, monkeypatch: pytest.MonkeyPatch, part: str
) -> None:
    given = database.full_host(4, DAYS, event=DAYS[1], flow=DAYS[2])
    spelt = (*given.prices, (" aaa", DAYS[0] - 1, given.prices[0][2]))
    given = replace(given, prices=spelt)
    await database.fill(same_host, given)
    copy_out, changed = Session.copy_out, []

    async with database.connected(same_host) as other, asyncio.timeout(60):
        begun = other.transaction()
        await begun.start()
        # Nothing is written before the change, or it would change what the run has written.
        await other.execute("LOCK TABLE portfolio_snapshots IN SHARE MODE")

        async def then_change(session: Session, query: str, *arguments: object) -> None:
            await copy_out(session, query, *arguments)
            if not changed and part in query:
                changed.append(query)
                for change in CHANGES:
                    await other.execute(change)
                await begun.commit()

        monkeypatch.setattr(Session, "copy_out", then_change)
        result = await run(same_host, settings=Settings(chunk_size=1))

    assert changed
    assert result.consistent
    expected = outcome(given, DAYS, DAYS[0], DAYS[-1])
    assert result.rows_written == len(expected.cells)
    assert_left({}, await database.snapshots(same_host), expected, given)
    assert await database.equities(same_host) == expected.equity


@pytest.mark.parametrize("calendar", ["daily", "prices"])
async def test_a_host_that_never_stops_writing_is_seen_at_one_moment(
    host: str, monkeypatch: pytest.MonkeyPatch, calendar: str
) -> None:
    await database.fill(host, writer.generation(0))
    copy_out, turn = Session.copy_out, asyncio.Lock()
    seen: list[int] = []

    async with asyncio.timeout(60), database.connected(host) as watching:
        await watching.execute(writer.TABLE)

        async def number() -> int:
            return await watching.fetchval("SELECT number FROM generation")

        async def after_another_generation(session: Session, *arguments: object) -> None:
            async with turn:
                last = await number()
                while (found := await number()) == last:
                    pass
                seen.append(found)
            await copy_out(session, *arguments)

        monkeypatch.setattr(Session, "copy_out", after_another_generation)
        process = await asyncio.create_subprocess_exec(sys.executable, writer.__file__, host)
        try:
            while await number() == 0:
                pass
            settings = Settings(chunk_size=6)
            result = await run(host, days=writer.DAYS, calendar=calendar, settings=settings)
        finally:
            process.kill()
            await process.wait()

    assert len(set(seen)) == len(seen) > 12  # each load but the first came after yet another commit
    assert (result.consistent, result.retries, result.chunks) == (True, 0, 4)
    stored = await database.snapshots(host)
    first = next(iter(stored))[0]
    moment = int(stored[first, writer.DAYS[-1]]["daily_capital_flow"]) - 1
    assert 0 < moment < seen[0]
    given = writer.generation(moment)
    expected = outcome(given, writer.DAYS, writer.DAYS[0], writer.DAYS[-1])
    assert_left({}, stored, expected, given)
    assert await database.equities(host) == expected.equity


def anew(table: str) -> str:
    """Return the statements by which hosts load a table anew."""
    return (
        f"CREATE TEMP TABLE kept AS TABLE {table}; TRUNCATE {table}; INSERT INTO {table} TABLE kept"
    )


def replaced(table: str) -> str:
    """Return the statements by which hosts put a table that they have filled in another's place."""
    return (
        f"CREATE TABLE filled (LIKE {table} INCLUDING ALL); INSERT INTO filled TABLE {table};"
        f" ALTER TABLE {table} RENAME TO old; ALTER TABLE filled RENAME TO {table}"
    )


HIDES = {
    "loaded anew": anew("position_realized_events"),
    "loaded anew below a view": anew("below"),
    "rewritten": "ALTER TABLE positions ALTER symbol TYPE varchar(99) USING rtrim(symbol)",
    "replaced": replaced("portfolios"),
    "replaced by one that was empty": "INSERT INTO empty TABLE market_data_cache;"
    " ALTER TABLE market_data_cache RENAME TO old; ALTER TABLE empty RENAME TO market_data_cache",
}
"""What a host does to a table that hides its rows from a snapshot taken before."""

HIDDEN = database.full_host(4, DAYS, event=DAYS[1], flow=DAYS[2])


@pytest_asyncio.fixture
async def viewed(host: str) -> str:
    """The URL of a host, one of whose tables is a view."""
    await database.fill(host, HIDDEN)
    await database.execute(
        host,
        "CREATE TABLE empty (LIKE market_data_cache INCLUDING ALL)",
        "ALTER TABLE equity_changes RENAME TO below",
        "CREATE VIEW equity_changes AS TABLE below",
    )
    return host


@pytest.mark.parametrize("change", HIDES.values(), ids=HIDES)
async def test_a_snapshot_that_hides_rows_is_taken_again(
    viewed: str, monkeypatch: pytest.MonkeyPatch, change: str
) -> None:
    fetch, changes = Session.fetch, [change]

    async def after_a_change(session: Session, query: str, *arguments: object) -> Any:
        if changes and "pg_current_snapshot()" in query:
            await database.execute(viewed, changes.pop())
        return await fetch(session, query, *arguments)

    monkeypatch.setattr(Session, "fetch", after_a_change)
    result = await run(viewed)

    assert not changes
    assert (result.consistent, result.rows_written) == (True, 4 * len(DAYS))
    await assert_undisturbed(viewed, HIDDEN, DAYS)


@pytest.mark.parametrize("change", HIDES.values(), ids=HIDES)
async def test_a_shared_view_that_hides_rows_is_not_read(viewed: str, change: str) -> None:
    days, changes = (date_of(DAYS[0]), date_of(DAYS[-1])), [change]
    request = make_request(*days, None, calendar="daily", analytics="none")

    async def after_a_change(shard: Any) -> batchcore.BatchResult:
        if changes:  # which whoever holds the view does not hold up
            await database.execute(viewed, f"SET lock_timeout = '5s'; {changes.pop()}")
        return await run_up_to_now(viewed, shard)

    async with asyncio.timeout(60):
        result = await run_group(Database(viewed), request, 2, after_a_change)

    assert (result.consistent, result.rows_written) == (False, 4 * len(DAYS))
    await assert_undisturbed(viewed, HIDDEN, DAYS)


async def test_a_foreign_table_is_of_another_moment(host: str) -> None:
    await database.fill(host, database.plain_host(1, DAYS))
    await database.need_foreign_tables(host)
    await database.execute(
        host,
        *database.ITSELF,
        "ALTER TABLE market_data_cache RENAME TO prices",
        "CREATE FOREIGN TABLE market_data_cache (symbol varchar(20) NOT NULL, date date NOT NULL,"
        " close numeric(12,4) NOT NULL) SERVER itself OPTIONS (table_name 'prices')",
    )

    found = await run(host)
    verified = await batchcore.verify(host, calendar="daily")

    assert (found.consistent, found.rows_written) == (False, 3)
    assert (verified.consistent, verified.rows_differing) == (False, 0)
    await database.execute(
        host,
        "DROP FOREIGN TABLE market_data_cache",
        "CREATE VIEW market_data_cache AS SELECT * FROM prices",
    )
    assert (await run(host, on_existing="replace")).consistent
