"""S13 with `changed_since`: late corrections rewrite what they affect, and nothing else."""

import datetime as dt
import uuid
from collections.abc import Awaitable, Callable
from dataclasses import replace
from decimal import Decimal
from functools import partial

import asyncpg
import pytest

import batchcore
from batchcore import reference as ref
from batchcore.calendar import date_of
from batchcore.config import Schema, Settings
from batchcore.errors import ConfigError, SchemaError
from db.conftest import LOOP, PoolOf
from support import database
from support.counter import Counter
from support.database import Host
from support.edits import (
    SINCE,
    Editor,
    add_event,
    add_flow,
    add_position,
    assert_as_recomputed,
    set_price,
    touched,
    update,
    versions,
)
from support.generate import MONDAY, Generator
from support.outcome import LOOSE, random_host, seeded
from support.runs import run_days, run_each

DAYS = tuple(range(MONDAY, MONDAY + 5))
D0, D1, D2, D3, D4 = DAYS
LATER = SINCE + dt.timedelta(hours=1)
BEFORE = SINCE - dt.timedelta(microseconds=1)
P, Q = database.key("p0"), database.key("p1")
LOT = database.key("p0/0")
EAST = dt.timezone(dt.timedelta(hours=9))
SETTINGS = Settings(min_coverage=0.0, today=date_of(D4))


def flow(day: int, amount: int) -> ref.Flow:
    return ref.Flow(day, Decimal(amount), "CONTRIBUTION")


def position(symbol: str = "AAA", entry: int = D0 - 1, **columns: object) -> ref.Position:
    return replace(ref.Position(symbol, "LONG", Decimal(10), Decimal(10), entry), **columns)


async def ran(url: str, flows: tuple[ref.Flow, ...] = ()) -> None:
    """Run two portfolios of 10 AAA from D0 to D4: 1000 and 10 more each day."""
    plain = database.plain_host(2, DAYS)
    first, second = plain.portfolios
    await database.fill(url, Host((replace(first, flows=flows), second), plain.prices))
    done = await run_days(url, D0, D4, settings=SETTINGS)
    assert done.rows_written == 10


async def corrected(
    db: str | asyncpg.Pool, since: dt.datetime = SINCE, start: int | None = None, **options: object
) -> batchcore.BatchResult:
    return await batchcore.run_batch(
        db,
        None if start is None else date_of(start),
        changed_since=since,
        **{"settings": SETTINGS, "analytics": "none", **options},
    )


def both(*days: int) -> set[tuple[uuid.UUID, int]]:
    return {(own, day) for own in (P, Q) for day in days}


AS_IT_WAS = [1000, 1010, 1020, 1030, 1040]
Edit = Callable[[asyncpg.Connection], Awaitable[object]]


def price(symbol: str, day: int, close: int, at: dt.datetime = LATER) -> Edit:
    return partial(set_price, symbol=symbol, day=day, close=Decimal(close), at=at)


def edited(**columns: object) -> Edit:
    return lambda connection: update(connection, "positions", LOT, **columns)


# What is edited, which snapshots are written again, and the equities of P then: it holds 10 AAA.
EDITS: dict[str, tuple[tuple[Edit, ...], set[tuple[uuid.UUID, int]], list[int]]] = {
    # it was 13: U(D2) is 50 for 30; from D3 on the closes are what they were
    "a close": ((price("AAA", D2, 15),), both(D2, D3, D4), [1000, 1010, 1040, 1030, 1040]),
    # of AAA, " aaa" and "aaa" the highest in byte order counts: U(D3) is 200
    "closes by any spelling": (
        (price(" aaa", D3, 20), price("aaa", D3, 30)),
        both(D3, D4),
        [1000, 1010, 1020, 1190, 1040],
    ),
    "a close right before the moment": ((price("AAA", D4, 15, BEFORE),), set(), AS_IT_WAS),
    "a close at the moment": (
        (price("AAA", D4, 16, SINCE),),
        both(D4),
        [1000, 1010, 1020, 1030, 1050],
    ),
    # 10 more AAA at 10: U(D2) is 30 more, then 10 more each day
    "a position added": (
        (lambda connection: add_position(connection, P, position(entry=D2), LATER),),
        {(P, D2), (P, D3), (P, D4)},
        [1000, 1010, 1050, 1070, 1090],
    ),
    # held from D3 on, U(D3) is 40
    "an entry": (
        (edited(entry_date=date_of(D3), updated_at=LATER),),
        {(P, day) for day in DAYS},
        [1000, 1000, 1000, 1040, 1050],
    ),
    "a quantity": (
        (edited(quantity=Decimal(20), updated_at=LATER),),
        {(P, day) for day in DAYS},
        [1000, 1020, 1040, 1060, 1080],
    ),
    "a position deleted": (
        (edited(deleted_at=LATER),),
        {(P, day) for day in DAYS},
        [1000, 1000, 1000, 1000, 1000],
    ),
    "what is dated after the latest snapshot": (
        (
            price("AAA", D4 + 3, 99),
            lambda connection: add_position(connection, P, position(entry=D4 + 3), LATER),
            lambda connection: add_flow(connection, P, flow(D4 + 3, 1), LATER),
        ),
        set(),
        AS_IT_WAS,
    ),
}


@pytest.mark.parametrize(("edits", "rewritten", "equities"), EDITS.values(), ids=EDITS)
async def test_what_is_edited_rewrites_what_it_affects(
    same_host: str,
    edits: tuple[Edit, ...],
    rewritten: set[tuple[uuid.UUID, int]],
    equities: list[int],
) -> None:
    await ran(same_host)
    async with database.connected(same_host) as connection:
        before = await versions(connection)
        for edit in edits:
            await edit(connection)
        result = await corrected(same_host, since=SINCE.astimezone(EAST))
        assert await touched(connection, before) == rewritten
    assert result.rows_written == len(rewritten)
    assert result.sessions.tolist() == sorted({day for _, day in rewritten})
    assert result.nothing_to_do == (not rewritten)
    assert await database.equity_list(same_host) == equities
    assert (await database.equities(same_host))[P] == equities[-1]


async def test_closes_outside_of_the_time_that_a_lot_is_held_change_nothing(same_host: str) -> None:
    plain = database.plain_host(1, DAYS)
    lots = (position(entry=D1, exit_day=D3, exit_price=Decimal(9)), position("BBB", D4))
    await database.fill(
        same_host, Host((replace(plain.portfolios[0], positions=lots),), plain.prices)
    )
    await run_days(same_host, D0, D4, settings=SETTINGS)
    async with database.connected(same_host) as connection:
        for symbol, day in (("AAA", D0), ("AAA", D4), ("BBB", D3), ("CCC", D2)):
            await set_price(connection, symbol, day, Decimal(99), LATER)
        assert (await corrected(same_host)).nothing_to_do
        await set_price(connection, "AAA", D3, Decimal(99), LATER)
        # the lot may be closed at the mark on its last day
        assert (await corrected(same_host)).sessions.tolist() == [D3, D4]
        await set_price(connection, "BBB", D4, Decimal(99), LATER)
        await set_price(connection, "AAA", D3, Decimal(9), database.MOMENT)
        assert (await corrected(same_host)).sessions.tolist() == [D4]


async def test_a_late_event_counts_from_the_entry_of_its_position_on(same_host: str) -> None:
    await ran(same_host)
    async with database.connected(same_host) as connection:
        second = await add_position(connection, P, position(entry=D1), LATER)
        await corrected(same_host)
        event = ref.Event(D3, Decimal(4), Decimal(100))
        before = await versions(connection)
        since = LATER + dt.timedelta(hours=1)
        await add_event(connection, P, second, event, since)
        await corrected(same_host, since=since)
        assert await touched(connection, before) == {(P, day) for day in (D1, D2, D3, D4)}
    counts = {
        day: row["num_positions"]
        for (own, day), row in (await database.snapshots(same_host)).items()
        if own == P
    }
    assert counts == {D0: 1, D1: 3, D2: 3, D3: 2, D4: 2}


async def test_flows_count_from_their_day_on_and_edited_ones_from_the_first(
    same_host: str,
) -> None:
    await ran(same_host)
    async with database.connected(same_host) as connection:
        key = await add_flow(connection, P, flow(D2, 500), LATER)
        assert (await corrected(same_host)).sessions.tolist() == [D2, D3, D4]
        assert await database.equity_list(same_host) == [1000, 1010, 1520, 1530, 1540]

        since = LATER + dt.timedelta(hours=1)
        moved = {"change_date": date_of(D3), "updated_at": since}
        await update(connection, "equity_changes", key, **moved)
        # it came after the moment, but snapshots know it as it was before the edit
        assert (await corrected(same_host, since=SINCE)).rows_written == 5
        assert await database.equity_list(same_host) == [1000, 1010, 1020, 1530, 1540]

        since += dt.timedelta(hours=1)
        await update(connection, "equity_changes", key, deleted_at=since)
        assert (await corrected(same_host, since=since)).rows_written == 5
        assert await database.equity_list(same_host) == [1000, 1010, 1020, 1030, 1040]


async def test_no_row_is_written_before_the_first_or_after_the_latest(same_host: str) -> None:
    await database.fill(same_host, database.plain_host(2, DAYS))
    assert (await corrected(same_host, since=database.MOMENT)).nothing_to_do  # without a row
    await run_days(same_host, D1, D3, [P], settings=SETTINGS)
    async with database.connected(same_host) as connection:
        await set_price(connection, "AAA", D0, Decimal(99), LATER)
        result = await corrected(same_host)
    assert result.sessions.tolist() == [D1, D2, D3]
    assert set(await database.snapshots(same_host)) == {(P, D1), (P, D2), (P, D3)}
    assert await database.equity_list(same_host) == [1000, 1010, 1020]


async def test_a_start_bounds_what_is_rewritten(same_host: str) -> None:
    await ran(same_host)
    async with database.connected(same_host) as connection:
        before = await versions(connection)
        await update(connection, "positions", LOT, quantity=Decimal(20), updated_at=LATER)
        await set_price(connection, "AAA", D4, Decimal(16), LATER)
        await corrected(same_host, start=D3)
        assert await touched(connection, before) == {(P, D3), (P, D4), (Q, D4)}

    # 20 AAA from D2 on: U(D2) is 60 for both sides of D3
    assert await database.equity_list(same_host) == [1000, 1010, 1020, 1040, 1080]


async def test_portfolios_asked_for_are_the_only_ones(same_host: str) -> None:
    await ran(same_host)
    async with database.connected(same_host) as connection:
        before = await versions(connection)
        await set_price(connection, "AAA", D4, Decimal(16), LATER)
        result = await corrected(same_host, portfolio_ids=[Q])
        assert await touched(connection, before) == {(Q, D4)}
        assert [bytes(row) for row in result.portfolios.id] == [Q.bytes]
        with pytest.raises(ConfigError, match="unknown portfolio"):
            await corrected(same_host, portfolio_ids=[LOT])
        assert (await corrected(same_host, portfolio_ids=[])).nothing_to_do


async def test_a_soft_deleted_portfolio_is_skipped(same_host: str) -> None:
    await ran(same_host)
    async with database.connected(same_host) as connection:
        await set_price(connection, "AAA", D4, Decimal(16), LATER)
        await update(connection, "portfolios", P, deleted_at=LATER)
        before = await versions(connection)
        asked = await corrected(same_host, portfolio_ids=[P])
        assert asked.nothing_to_do
        assert asked.issues_by_name() == {"soft_deleted": 1}
        await corrected(same_host)
        assert await touched(connection, before) == {(Q, D4)}


async def test_a_plan_tells_what_a_correction_then_writes(same_host: str) -> None:
    await ran(same_host)
    async with database.connected(same_host) as connection:
        before = await versions(connection)
        await set_price(connection, "AAA", D3, Decimal(16), LATER)
        await update(connection, "positions", LOT, quantity=Decimal(20), updated_at=LATER)
        planned = await corrected(same_host, settings=replace(SETTINGS, dry_run=True))
        assert await touched(connection, before) == set()
    done = await corrected(same_host)

    assert planned.portfolios.sessions_planned.tolist() == (
        done.portfolios.sessions_written.tolist()
    )
    assert sorted(done.portfolios.sessions_written.tolist()) == [2, 5]
    assert planned.sessions.tolist() == done.sessions.tolist()


async def test_what_batchcore_writes_is_no_change(same_host: str) -> None:
    plain = database.plain_host(2, DAYS)
    await database.fill(same_host, plain)
    await run_days(same_host, D0, D4, settings=SETTINGS, analytics="full")
    async with database.connected(same_host) as connection:
        values = await connection.fetch("SELECT market_value, updated_at FROM positions")
        # market values were written: 10 AAA at 15
        assert [tuple(row) for row in values] == [(150, database.MOMENT)] * 2
        after_the_fill = database.MOMENT + dt.timedelta(seconds=1)
        assert (await corrected(same_host, since=after_the_fill)).nothing_to_do


async def test_a_correction_costs_a_fixed_number_of_statements(same_host: str) -> None:
    await ran(same_host)
    async with database.connected(same_host) as connection:
        await connection.execute("CREATE EXTENSION IF NOT EXISTS pg_stat_statements")
        counter = Counter(connection)
        for day in DAYS[1:]:
            await set_price(connection, "AAA", day, Decimal(day - D0 + 12), LATER)
            await add_position(connection, P, position(entry=day), LATER)
            await add_flow(connection, Q, flow(day, 1), LATER)
        await counter.statements()
        result = await corrected(same_host)
        # facts, prices, symbols, positions held beside the eight of any run
        assert result.statements_by_phase == {"check": 3, "ledger": 3, "load": 12, "persist": 7}
        assert await counter.statements() == 25


async def test_tables_that_a_host_lacks_are_not_looked_at_and_time_stamps_are_needed(
    host: str,
) -> None:
    await ran(host)
    async with database.connected(host) as connection:
        await connection.execute("DROP TABLE equity_changes, position_realized_events")
        await set_price(connection, "AAA", D4, Decimal(16), LATER)
    assert (await corrected(host)).rows_written == 2
    await database.execute(host, "ALTER TABLE positions DROP COLUMN updated_at")
    with pytest.raises(SchemaError, match=r"public\.positions\.updated_at: missing column"):
        await corrected(host)


async def test_a_session_that_comes_or_goes_affects_everyone(same_host: str) -> None:
    plain = database.plain_host(2, (D0, D1, D3, D4))
    empty = ref.Portfolio("empty", Decimal(5))
    await database.fill(
        same_host, Host((*plain.portfolios, empty), (*plain.prices, ("ZZZ", D1, Decimal(1))))
    )
    await run_days(same_host, D0, D4, calendar="prices", settings=SETTINGS)
    async with database.connected(same_host) as connection:
        before = await versions(connection)
        await set_price(connection, "ZZZ", D1, Decimal(2), LATER)  # a session as before
        assert (await corrected(same_host, calendar="prices")).nothing_to_do
        await set_price(connection, "ZZZ", D2, Decimal(2), LATER)
        result = await corrected(same_host, calendar="prices")
        assert result.sessions.tolist() == [D2, D3, D4]
        assert result.rows_written == 9

        since = LATER + dt.timedelta(hours=1)
        await set_price(connection, "ZZZ", D2, Decimal(0), since)
        result = await corrected(same_host, calendar="prices", since=since)
        assert result.sessions.tolist() == [D3, D4]
        assert result.issues_by_name()["off_session"] == 3
        stands = await versions(connection)
        assert {at for at in before if stands[at] == before[at]} == {
            (own, day) for own in (P, Q, database.key("empty")) for day in (D0, D1)
        }


@pytest.mark.parametrize(
    ("options", "what"),
    [
        ({"since": dt.datetime(2026, 1, 1)}, "needs a time zone"),  # noqa: DTZ001  # the case
        ({"since": dt.date(2026, 1, 1)}, "expected a datetime.datetime"),
        ({"since": dt.datetime.min.replace(tzinfo=EAST)}, "is out of range"),
        ({"on_existing": "error"}, "on_existing is error"),
        ({"missing": True}, "give one of them"),
        ({"end_date": date_of(D4)}, "give no end"),
    ],
    ids=["naive", "date", "range", "error", "missing", "end"],
)
async def test_what_makes_no_sense_with_it_is_refused(options: dict, what: str) -> None:
    with pytest.raises(ConfigError, match=what) as caught:
        await corrected("postgresql://nowhere", **options)
    assert caught.value.option == "changed_since"


@pytest.mark.parametrize("code", ["XNYS", "daily", "prices"])
@pytest.mark.parametrize("seed", range(3))
@LOOP
async def test_a_correction_equals_a_full_recomputation(
    same_host: str,
    seed: int,
    code: str,
    pool_of: PoolOf,
) -> None:
    pool = await pool_of(same_host)
    await check_corrections(pool, seed, code, Schema())


@pytest.mark.parametrize("code", ["XNYS", "prices"])
@pytest.mark.parametrize("seed", range(3, 5))
@LOOP
async def test_a_correction_on_doubles_equals_a_full_recomputation(
    same_double_host: str,
    seed: int,
    code: str,
    pool_of: PoolOf,
) -> None:
    pool = await pool_of(same_double_host)
    await check_corrections(pool, seed, code, LOOSE)


async def check_corrections(db: asyncpg.Pool, seed: int, code: str, schema: Schema) -> None:
    generator = Generator(seeded(f"corrections {seed}").randint, odd=0, edges=False)
    made = random_host(generator, portfolios=3)
    await database.fill(db, Host(made.portfolios, made.prices))
    settings = Settings(
        schema=schema,
        min_coverage=0.0,
        max_failed="100%",
        chunk_size=2,
        today=date_of(MONDAY + 20),
    )
    await run_each(db, made, generator, calendar=code, settings=settings)
    async with database.connected(db) as connection:
        editor = Editor(connection, generator)
        for _ in range(5):
            # from the first moment on, rows that came after it are edited that snapshots know
            since = generator.one_of((editor.at + dt.timedelta(seconds=1), SINCE))
            await editor.edit(generator.integer(1, 4))
            before = await database.snapshots(db)

            result = await corrected(db, since=since, calendar=code, settings=settings)

            found = await database.snapshots(db)
            works = result.portfolios.sessions_written > 0
            rewritten = {bytes(row) for row in result.portfolios.id[works]}
            stands = [at for at in before if at[0].bytes not in rewritten]
            assert {at: found[at] for at in stands} == {at: before[at] for at in stands}
            await assert_as_recomputed(db, code, schema)
