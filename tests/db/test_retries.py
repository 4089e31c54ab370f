"""Others in the way of a chunk: it is done again at a later moment, so and so often."""

import asyncio
import contextlib
from collections.abc import AsyncIterator, Callable
from dataclasses import replace
from decimal import Decimal

import asyncpg
import pytest

import batchcore
from batchcore import reference as ref
from batchcore.calendar import date_of
from batchcore.config import Settings
from batchcore.errors import DatabaseError, SnapshotExistsError
from batchcore.run.writing import ATTEMPTS
from support import database, edits, ledger
from support.database import Host, Standing
from support.generate import MONDAY
from support.outcome import Outcome, assert_time_ordered, assert_undisturbed, outcome
from support.runs import ONE_EACH
from support.triggers import acts

DAYS = list(range(MONDAY, MONDAY + 4))
LOCK = 4712
PATIENCE_S = 60
WAIT = f"PERFORM pg_advisory_xact_lock({LOCK});"

HOST = database.full_host(3, DAYS, event=DAYS[2], flow=DAYS[3])
IN_ORDER = sorted(HOST.portfolios, key=lambda portfolio: database.key(portfolio.id))
HUGE = "UPDATE positions SET quantity = 999999999999, position_type = 'LC' WHERE portfolio_id ="
"""A hundred times 11 of each do not fit a column of 14 digits: the portfolio fails (S10)."""

FIRST, SECOND, THIRD = (database.key(portfolio.id) for portfolio in IN_ORDER)


def raised(sqlstate: str) -> str:
    return f"RAISE EXCEPTION 'in the way' USING ERRCODE = '{sqlstate}';"


async def meddle(url: str, action: str, *, times: int = 1, when: str = "INSERT") -> None:
    """Let the server do something at the first rows of the second portfolio that are written."""
    own = f"IF NEW.portfolio_id = '{SECOND}' THEN"
    body = f"{own} IF nextval('tries') <= {times} THEN {action} END IF; END IF; RETURN NEW;"
    await database.execute(url, "CREATE SEQUENCE tries", acts(body, when=f"BEFORE {when}"))


async def tries(url: str) -> int:
    return await database.fetchval(url, "SELECT last_value FROM tries")


async def run(db, *, end: int | None = DAYS[-1], **options) -> batchcore.BatchResult:
    options = {"settings": ONE_EACH, "calendar": "daily", "analytics": "none", **options}
    days = date_of(DAYS[0]), None if end is None else date_of(end)
    return await batchcore.run_batch(db, *days, **options)


async def assert_stored(url: str, of: dict[object, Outcome]) -> None:
    """Assert that the rows of each portfolio are those of its outcome, and no others there."""
    stored, equities = await database.snapshots(url), await database.equities(url)
    wanted = {at for own, found in of.items() for at in found.cells if at[0] == own}
    written = {at for at in stored if stored[at]["created_at"] != database.MOMENT}
    assert written == wanted
    for own, found in of.items():
        assert equities[own] == found.equity[own]
        for at, cells in found.cells.items():
            if at[0] == own:
                assert stored[at].items() >= cells.items(), database.shown(stored[at])
    assert len({stored[at]["created_at"] for at in written}) == 1
    assert_time_ordered(stored, written)


@contextlib.asynccontextmanager
async def held(url: str) -> AsyncIterator[asyncpg.Connection]:
    """Give a connection that holds what `WAIT` waits for."""
    async with asyncio.timeout(PATIENCE_S), database.connected(url) as connection:
        await connection.fetchval(f"SELECT pg_advisory_lock({LOCK})")
        yield connection


async def let_go(connection: asyncpg.Connection) -> None:
    await connection.fetchval(f"SELECT pg_advisory_unlock({LOCK})")


async def run_beside(
    url: str, rows: list[Standing], *of: ref.Portfolio, commits: bool = True, **options
) -> batchcore.BatchResult:
    """Run while the host writes snapshots of portfolios, without any of the second.

    It commits them, or takes them back, when the run waits for them.
    """
    async with asyncio.timeout(PATIENCE_S), database.connected(url) as other:
        begun = other.transaction()
        await begun.start()
        for portfolio in of or IN_ORDER[1:2]:
            await database.add_snapshots(other, portfolio.id, rows)
        task = asyncio.create_task(run(url, **options))
        await ledger.waits(other)
        await (begun.commit() if commits else begun.rollback())
        return await task


def undisturbed(*portfolios: object) -> dict[object, Outcome]:
    """Return what a run leaves of these portfolios, or of all."""
    found = outcome(HOST, DAYS, DAYS[0], DAYS[-1])
    return dict.fromkeys(portfolios or (FIRST, SECOND, THIRD), found)


async def change_everything(connection: asyncpg.Connection) -> Host:
    """Change what the second portfolio depends on, in every table; return what is there then."""
    old = HOST.portfolios[HOST.portfolios.index(IN_ORDER[1])]
    more = ref.Position("NEW", "LONG", Decimal(4), Decimal(50), DAYS[1])
    prices = [("NEW", day, Decimal(60 + day - MONDAY)) for day in DAYS]
    later = [("AAA", DAYS[-1] + 1, Decimal(99)), ("NEW", DAYS[-1] + 1, Decimal(99))]
    standing = Standing(DAYS[0], Decimal(7000), cumulative_pnl=Decimal(1))
    await connection.execute("UPDATE market_data_cache SET close = close + 5")
    await connection.execute("UPDATE positions SET quantity = 20")
    await connection.execute("UPDATE position_realized_events SET realized_pnl = 9")
    await connection.execute("UPDATE equity_changes SET amount = 11")
    await database.add_prices(connection, [*prices, *later])
    await edits.add_position(connection, SECOND, more, database.MOMENT)
    await database.add_snapshots(connection, old.id, [standing])
    event, flow = old.positions[0].events[0], old.flows[0]
    held_now = replace(
        old.positions[0],
        quantity=Decimal(20),
        events=(replace(event, realized=Decimal(9)),),
    )
    changed = replace(old, positions=(held_now, more), flows=(replace(flow, amount=Decimal(11)),))
    return Host(
        (changed,),
        (*((symbol, day, close + 5) for symbol, day, close in HOST.prices), *prices, *later),
        {old.id: (standing,)},
    )


async def lose_the_prices_of_a_session(connection: asyncpg.Connection) -> Host:
    """Delete the closes of the last session: a run that begins after it would be held up."""
    await connection.execute(
        "DELETE FROM market_data_cache WHERE date = $1", database.date(DAYS[-1])
    )
    kept = tuple(price for price in HOST.prices if price[1] != DAYS[-1])
    return replace(HOST, prices=kept)


@pytest.mark.parametrize("change", [change_everything, lose_the_prices_of_a_session])
async def test_a_chunk_tried_again_is_of_the_moment_of_its_retry_and_no_other_is(
    filled: str, change: Callable
) -> None:
    await meddle(filled, WAIT + raised("40001"))

    async with held(filled) as other:
        task = asyncio.create_task(run(filled, calendar="prices", end=None))
        await ledger.waits(other)
        changed = await change(other)
        await let_go(other)
        result = await task

    again = outcome(changed, DAYS, DAYS[0], DAYS[-1])  # its last session is that of the run
    await assert_stored(filled, {**undisturbed(), SECOND: again})
    assert (result.retries, result.consistent, result.chunks) == (1, False, 3)
    assert result.rows_written == 2 * len(DAYS) + sum(at[0] == SECOND for at in again.cells)
    assert result.to_dict()["retries"] == 1
    (entered,) = await ledger.runs(filled)
    assert entered["rows_written"] == result.rows_written
    columns = ("chunk", "first_portfolio", "last_portfolio", "rows_written", "sessions")
    entries = [tuple(entry[name] for name in columns) for entry in await ledger.chunks(filled)]
    rows = sum(at[0] == SECOND for at in again.cells)
    assert entries == [
        (0, FIRST, FIRST, len(DAYS), len(DAYS)),
        (1, SECOND, SECOND, rows, rows),
        (2, THIRD, THIRD, len(DAYS), len(DAYS)),
    ]
    assert await tries(filled) > 1


async def test_a_chain_goes_on_from_a_row_that_the_host_writes_meanwhile(same_filled: str) -> None:
    standing = Standing(DAYS[0], Decimal(4000))

    result = await run_beside(same_filled, [standing])

    again = outcome(replace(HOST, standing={IN_ORDER[1].id: (standing,)}), DAYS, DAYS[0], DAYS[-1])
    await assert_stored(same_filled, {**undisturbed(), SECOND: again})
    assert (result.retries, result.consistent) == (1, False)


async def test_a_row_that_the_host_takes_back_is_no_reason_to_try_again(same_filled: str) -> None:
    result = await run_beside(same_filled, [Standing(DAYS[0])], commits=False)

    await assert_stored(same_filled, undisturbed())
    assert (result.retries, result.consistent) == (0, True)


async def test_nothing_is_left_to_write_where_the_host_wrote_all_rows(same_filled: str) -> None:
    rows = [Standing(day, Decimal(4000)) for day in DAYS]

    result = await run_beside(same_filled, rows)

    assert (result.retries, result.chunks, result.failed) == (1, 2, 0)
    assert result.to_dict()["portfolios"]["status"] == ["ok", "skipped", "ok"]
    await assert_stored(same_filled, undisturbed(FIRST, THIRD))


@pytest.mark.parametrize("failing", [(FIRST, THIRD), (SECOND, THIRD)])
async def test_who_failed_and_is_left_to_the_host_does_not_count_for_max_failed(
    same_filled: str, failing: tuple[object, object]
) -> None:
    for portfolio in failing:
        await database.execute(same_filled, f"{HUGE} '{portfolio}'")
    rows = [Standing(day, Decimal(4000)) for day in DAYS]
    settings = Settings(chunk_size=2, connections=2, max_failed=1)

    result = await run_beside(same_filled, rows, *IN_ORDER[:2], settings=settings)

    assert (result.retries, result.failed) == (1, 1)
    assert result.to_dict()["portfolios"]["status"] == ["skipped", "skipped", "failed"]


async def test_what_was_noticed_of_a_chunk_is_entered_though_nothing_is_left_to_write(
    same_filled: str,
) -> None:
    first, gap, third, last = [Standing(day, Decimal(4000)) for day in DAYS]

    await database.add_snapshots(same_filled, IN_ORDER[1].id, [first, third])

    result = await run_beside(same_filled, [last])

    assert (result.retries, result.chunks) == (1, 2)
    ((issue,),) = [run.issues for run in await batchcore.runs(same_filled, run_id=result.run_id)]
    assert (issue.portfolio, issue.name, issue.chunk) == (str(SECOND), "gap", None)
    assert issue.session == date_of(gap.day)


async def test_a_row_of_the_host_where_none_may_stand_ends_the_run(same_filled: str) -> None:
    with pytest.raises(SnapshotExistsError) as caught:
        await run_beside(same_filled, [Standing(DAYS[1], Decimal(1))], on_existing="error")

    assert caught.value.portfolio == str(SECOND)


async def test_after_a_portfolio_that_the_host_deletes_the_next_run_goes_on(filled: str) -> None:
    holdings = ("position_realized_events", "equity_changes", "positions")
    async with asyncio.timeout(PATIENCE_S), held(filled) as connection:
        async with database.connected(filled) as owner:
            # before the row of the portfolio is locked
            staged = (
                f"EXISTS (SELECT FROM pg_temp.batchcore_staged_portfolios WHERE id = '{SECOND}')"
            )
            once = f"IF nextval('tries') = 1 THEN {WAIT}{raised('40001')} END IF;"
            body = f"IF {staged} THEN {once} END IF; RETURN NULL;"
            await owner.execute("CREATE SEQUENCE tries")
            await owner.execute(
                acts(body, when="BEFORE UPDATE", table="portfolios", each="STATEMENT")
            )
        task = asyncio.create_task(run(filled))
        await ledger.waits(connection)
        async with database.connected(filled) as other:
            await other.execute("SET session_replication_role = replica")
            for table, column in (*((t, "portfolio_id") for t in holdings), ("portfolios", "id")):
                await other.execute(f"DELETE FROM {table} WHERE {column} = $1", SECOND)  # noqa: S608
        await let_go(connection)
        with pytest.raises(DatabaseError, match="was deleted during the run") as caught:
            await task

    assert str(SECOND) in str(caught.value)
    result = await run(filled)
    assert (result.attempt, result.failed) == (2, 0)
    await assert_stored(filled, undisturbed(FIRST, THIRD))


async def test_the_victim_of_a_deadlock_tries_again(filled: str) -> None:
    await meddle(filled, WAIT)  # the equity is there, the row not yet
    async with database.connected(filled) as owner:
        name = await owner.fetchval("SELECT current_database()")
        await owner.execute(f"ALTER DATABASE \"{name}\" SET deadlock_timeout = '20ms'")

    async with held(filled) as lock, database.connected(filled) as other:
        await other.execute("SET deadlock_timeout = '1h'")  # whoever looks first is the victim
        task = asyncio.create_task(run(filled))
        await ledger.waits(lock)
        begun = other.transaction()
        await begun.start()
        await database.add_snapshots(other, IN_ORDER[1].id, [Standing(DAYS[0])])
        change = other.execute("UPDATE portfolios SET name = 'x' WHERE id = $1", SECOND)
        changed = asyncio.create_task(change)
        async with database.connected(filled) as watching:
            pid = other.get_server_pid()
            waiting = f"SELECT count(*) > 0 FROM pg_locks WHERE NOT granted AND pid = {pid}"  # noqa: S608
            await ledger.until(watching, waiting)
        await let_go(lock)  # on to the row, which the other one holds
        await changed
        await begun.rollback()
        result = await task

    await assert_stored(filled, undisturbed())
    assert (result.retries, result.consistent) == (1, False)


@pytest.mark.parametrize(
    ("sqlstate", "times"),
    [("40001", ATTEMPTS), ("40P01", ATTEMPTS), ("ZZ042", 1)],
)
async def test_after_so_many_attempts_the_refusal_is_the_runs(
    filled: str, sqlstate: str, times: int
) -> None:
    await meddle(filled, raised(sqlstate), times=1000)
    async with asyncpg.create_pool(filled, min_size=3, max_size=3) as pool:
        with pytest.raises(DatabaseError, match="in the way") as caught:
            await run(pool)

    assert caught.value.sqlstate == sqlstate
    assert await tries(filled) == times
    await assert_undisturbed(filled, HOST, DAYS, [FIRST])


async def test_a_unique_violation_is_that_of_the_portfolio_after_so_many_attempts(
    filled: str,
) -> None:
    await meddle(filled, raised("23505"), times=1000)

    result = await run(filled)

    assert await tries(filled) == ATTEMPTS
    assert (result.failed, result.retries, result.consistent) == (1, ATTEMPTS - 1, False)
    assert result.to_dict()["portfolios"]["status"] == ["ok", "failed", "ok"]
    assert result.issues_by_name() == {"refused_by_database": 1}
    await assert_stored(filled, undisturbed(FIRST, THIRD))


async def test_the_last_attempt_may_be_the_one_that_works(filled: str) -> None:
    await meddle(filled, raised("40001"), times=ATTEMPTS - 1)
    async with asyncpg.create_pool(filled, min_size=3, max_size=3) as pool:  # none to spare
        result = await run(pool)

    await assert_stored(filled, undisturbed())
    assert result.retries == ATTEMPTS - 1


async def test_in_a_transaction_of_the_callers_nothing_is_tried_again(filled: str) -> None:
    await meddle(filled, raised("40001"))
    calculator = batchcore.PnLCalculator(analytics="none")
    async with database.connected(filled) as connection, connection.transaction():
        with pytest.raises(DatabaseError, match="in the way") as caught:
            await calculator.calculate_all_portfolios_pnl(date_of(DAYS[0]), connection)
        assert caught.value.sqlstate == "40001"
        assert await connection.fetchval("SELECT count(*) FROM portfolio_snapshots") == 0


@pytest.mark.parametrize(
    "options",
    [
        {"policy": "legacy"},
        {"on_existing": "replace"},
        {"on_existing": "replace", "missing": True},
        {"changed_since": edits.SINCE.replace(year=2019), "end": None},
    ],
    ids="-".join,
)
async def test_a_chunk_tried_again_is_what_it_would_have_been_without(
    make_database, template: str, options: dict
) -> None:
    if options.get("policy") == "legacy":
        options = {**options, "calendar": "XNYS"}
    stored = []
    for spoilt in (False, True):
        url = await make_database(template)
        await database.fill(url, HOST)
        if "policy" not in options:
            await run(url, settings=Settings(), end=DAYS[1])
            await database.execute(url, "UPDATE positions SET quantity = 30")
        if spoilt:
            await meddle(url, raised("40001"), when="INSERT OR UPDATE")
        result = await run(url, **options)
        assert result.retries == int(spoilt)
        stored.append(database.without_stamps(await database.snapshots(url)))
        stored.append(await database.equities(url))
    assert stored[:2] == stored[2:]
    assert stored[0]
