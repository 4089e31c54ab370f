"""Loads against plain SELECTs, and what they say of bytes that are not as announced."""

from collections.abc import Iterator
from decimal import Decimal

import numpy as np
import pytest

from batchcore import calendar as calendars
from batchcore.config import Schema
from batchcore.db.catalog import inspect
from batchcore.errors import DatabaseError, DecodeError
from batchcore.frames import Prices
from batchcore.pg.database import Database
from batchcore.schema import Kind
from batchcore.sources.events_flows import select_events, select_flows
from batchcore.sources.host import Selection
from batchcore.sources.portfolios import SnapshotColumns, select_portfolios
from batchcore.sources.positions import (
    load_symbols,
    select_positions,
    select_stepped_symbols,
    select_symbols,
    steps,
)
from batchcore.sources.prices import (
    load_fallback,
    load_prices,
    select_price_dates,
)
from batchcore.sources.query import Column, Query, load
from batchcore.sources.snapshots import select_existing
from batchcore.values import normalised
from support import database
from support.database import Host, Standing
from support.generate import MONDAY, Generator
from support.outcome import random_host, seeded

XNYS = calendars.load("XNYS")
HOSTILE = ["O'Neil", 'say "hi"', "a\\b", "\\", "{a,b}", "NULL", "", " ", "é日", "%s $1 :x", "\t\n"]

BY_DATE = """
    ALTER TABLE market_data_cache DROP CONSTRAINT uq_market_data_cache, ADD UNIQUE (date, symbol)"""
RENAMED = "ALTER TABLE market_data_cache RENAME TO closes"
PARTITIONED = """
    CREATE TABLE market_data_cache (LIKE closes INCLUDING DEFAULTS, UNIQUE (symbol, date))
        PARTITION BY RANGE (date);
    CREATE TABLE monday PARTITION OF market_data_cache FOR VALUES FROM (MINVALUE) TO ('2026-01-06');
    CREATE TABLE later PARTITION OF market_data_cache DEFAULT;
    INSERT INTO market_data_cache SELECT * FROM closes"""


class Reader:
    """A snapshot of a database, and its tables."""

    def __init__(self, url: str) -> None:
        self.url = url

    async def __aenter__(self):
        self.lent = Database(self.url).snapshot("load")
        session = await self.lent.__aenter__()
        return session, await inspect(session.raw, Schema())

    async def __aexit__(self, *error) -> None:
        await self.lent.__aexit__(*error)


def random(seed: int) -> Host:
    return random_host(Generator(seeded(f"load {seed}").randint, odd=0, edges=False))


def values(column) -> list:
    """Return a column as a SELECT brings it."""
    if hasattr(column, "texts"):
        return column.texts()
    if hasattr(column, "scale"):
        return [
            None if state else Decimal(value).scaleb(-column.scale)
            for value, state in zip(column.values.tolist(), column.state.tolist(), strict=True)
        ]
    if hasattr(column, "state"):
        return [
            None if state else calendars.date_of(value)
            for value, state in zip(column.values.tolist(), column.state.tolist(), strict=True)
        ]
    return [row.tobytes() for row in column]


def rows(*columns) -> list[tuple]:
    return sorted(zip(*map(values, columns), strict=True), key=repr)


async def selected(session, sql: str) -> list[tuple]:
    found = await session.raw.fetch(sql)
    return sorted((tuple(map(plain, row.values())) for row in found), key=repr)


def plain(cell):
    return cell.bytes if hasattr(cell, "bytes") else cell


@pytest.mark.parametrize("seed", range(3))
async def test_frames_are_what_a_select_brings(same_host: str, seed: int) -> None:
    await database.fill(same_host, random(seed))
    async with Reader(same_host) as (session, catalog):
        everyone = Selection()
        positions = await load(session, select_positions(catalog, everyone))
        columns = (
            "id, portfolio_id, symbol, position_type, quantity, entry_price, entry_date,"
            " exit_price, exit_date, expiration_date, investment_class, market_value"
        )
        names = columns.replace("_date", "_day").split(", ")
        assert rows(*(getattr(positions, name) for name in names)) == await selected(
            session,
            f"SELECT {columns} FROM positions WHERE deleted_at IS NULL",  # noqa: S608
        )
        events = await load(session, select_events(catalog, everyone))
        assert rows(
            events.position_id, events.portfolio_id, events.day, events.quantity, events.realized
        ) == await selected(
            session,
            "SELECT position_id, portfolio_id, trade_date, quantity_closed, realized_pnl"
            " FROM position_realized_events",
        )
        flows = await load(session, select_flows(catalog, everyone, MONDAY, MONDAY + 3))
        assert rows(flows.portfolio_id, flows.day, flows.amount, flows.change_type) == (
            await selected(
                session,
                "SELECT portfolio_id, change_date, amount, change_type FROM equity_changes"
                " WHERE change_date BETWEEN '2026-01-05' AND '2026-01-08'",
            )
        )
        existing = await load(
            session, select_existing(catalog, XNYS, everyone, MONDAY - 6, MONDAY + 16)
        )
        expected = {
            (row["portfolio_id"].bytes, (row["snapshot_date"] - database.EPOCH).days): (
                row["is_complete"]
                and row["equity_balance"] is not None
                and row["equity_balance"].is_finite()
                and row["snapshot_date"].isoweekday() <= 5
                and row["snapshot_date"].isoformat() != "2026-01-01"
                and row["snapshot_date"].isoformat() != "2026-01-19"
            )
            for row in await session.raw.fetch("SELECT * FROM portfolio_snapshots")
        }
        owners = [bytes(row) for row in existing.portfolio_id]
        found = zip(owners, existing.day.tolist(), strict=True)
        assert dict(zip(found, existing.complete.tolist(), strict=True)) == expected


@pytest.mark.parametrize("seed", range(3))
async def test_portfolios_are_sorted_with_snapshots_around_a_day(same_host: str, seed: int) -> None:
    host = random(seed)
    await database.fill(same_host, host)
    boundary = MONDAY + 3
    async with Reader(same_host) as (session, catalog):
        found = await load(session, select_portfolios(catalog, XNYS, boundary, Selection()))
    ids = [bytes(row) for row in found.id]
    assert ids == sorted(ids)
    for portfolio in host.portfolios:
        row = ids.index(database.key(portfolio.id).bytes)
        complete = sorted(
            (one for one in host.standing_of(portfolio.id) if one.counts and is_xnys(one.day)),
            key=lambda one: one.day,
        )
        before = [one for one in complete if one.day < boundary]
        after = [one for one in complete if one.day >= boundary]
        assert values(found.equity_balance)[row] == portfolio.opening_equity
        assert_snapshot(found.before, row, before[-1] if before else None)
        assert_snapshot(found.last, row, after[-1] if after else None)
        first = after[0] if after else None
        assert values(found.first_day)[row] == database.date(first and first.day)
        assert values(found.first_equity_balance)[row] == (first and first.equity)
        assert values(found.first_daily_pnl)[row] == (first and first.daily_pnl)
        assert values(found.first_daily_capital_flow)[row] == (first and first.daily_capital_flow)


def is_xnys(day: int) -> bool:
    return bool(XNYS.is_session([day])[0])


def assert_snapshot(found: SnapshotColumns, row: int, expected: Standing | None) -> None:
    assert values(found.day)[row] == database.date(expected and expected.day)
    for name, amount in (
        ("equity_balance", "equity"),
        ("cumulative_pnl", "cumulative_pnl"),
        ("cumulative_realized_pnl", "cumulative_realized_pnl"),
        ("cumulative_capital_flow", "cumulative_capital_flow"),
    ):
        assert values(getattr(found, name))[row] == (expected and getattr(expected, amount))


async def test_prices_are_those_of_the_window_and_the_last_before_it(same_host: str) -> None:
    closes = [
        (" aaa", MONDAY - 9, "1"),
        (" aaa", MONDAY - 8, "2"),  # the last of this spelling
        ("AAA", MONDAY - 7, "3"),  # the last valid one of that
        ("AAA", MONDAY - 6, "0"),  # and the last finite one, newer (L26)
        ("AAA", MONDAY - 5, "NaN"),
        ("AAA", MONDAY, "4"),
        ("AAA", MONDAY + 1, "NaN"),
        ("AAA", MONDAY + 2, "-1"),
        ("Aaa ", MONDAY + 2, "5"),
        ("AAA", MONDAY + 3, "6"),  # after the window
        ("BBB", MONDAY, "7"),  # asked by nobody
    ]
    stored = [(symbol, day, Decimal(close)) for symbol, day, close in closes]
    await database.add_prices(same_host, stored)
    async with Reader(same_host) as (session, catalog):
        window = await load_prices(session, catalog, ["AAA", "aAA"], MONDAY, MONDAY + 2)
        rest = await load_fallback(session, catalog, ["AAA"], ["AAA", "aAA"], (MONDAY, MONDAY + 2))
        every = await load_fallback(session, catalog, ["AAA"], [], (MONDAY, MONDAY + 2))
        settled = await load_fallback(
            session, catalog, ["AAA"], ["AAA", "aAA"], (MONDAY, MONDAY + 2), settled=["AAA"]
        )
        nothing = await load_fallback(session, catalog, [], ["AAA"], (MONDAY, MONDAY + 2))

    def shown(found) -> list[tuple]:
        columns = (found.symbol.texts(), found.day.values.tolist(), values(found.close))
        return sorted(zip(*columns, strict=True))

    earlier = [(" aaa", MONDAY - 8, 2), ("AAA", MONDAY - 7, 3), ("AAA", MONDAY - 6, 0)]
    asked = [("AAA", MONDAY, 4), ("AAA", MONDAY + 2, -1)]
    other = [("Aaa ", MONDAY + 2, 5)]
    assert shown(window) == asked
    assert shown(rest) == earlier + other
    assert shown(every) == earlier + asked + other
    assert shown(settled) == other
    assert shown(nothing) == []
    both = Prices.concat([window, rest])
    assert shown(both) == shown(every)


@pytest.mark.parametrize(
    ("changes", "steps"),
    [
        (["ALTER TABLE market_data_cache ADD UNIQUE (date, symbol)"], True),
        ([BY_DATE], False),
        ([BY_DATE, "CREATE INDEX ON market_data_cache (symbol) WHERE close > 0"], False),
        ([BY_DATE, "CREATE INDEX ON market_data_cache USING hash (symbol)"], False),
        ([BY_DATE, "CREATE INDEX ON market_data_cache (symbol)"], True),
        (["CREATE TABLE more_closes () INHERITS (market_data_cache)"], False),
        ([RENAMED, PARTITIONED], False),
        ([RENAMED, "CREATE VIEW market_data_cache AS SELECT * FROM closes"], False),
    ],
)
async def test_symbols_of_closes_are_stepped_through_by_one_index_alone(
    host: str, changes: list[str], *, steps: bool
) -> None:
    closes = [(symbol, MONDAY + day, Decimal(1)) for symbol in ("AAA", "aaa") for day in range(3)]
    await database.add_prices(host, closes)
    await database.execute(host, *changes)
    async with Reader(host) as (session, catalog):
        assert catalog.steps_through("market_data_cache", "symbol") is steps
        window = await load_fallback(session, catalog, ["AAA"], [], (MONDAY, MONDAY))
    assert sorted(window.symbol.texts()) == ["AAA", "aaa"]


async def test_price_dates_have_a_valid_close_and_a_python_date(same_host: str) -> None:
    async with database.connected(same_host) as connection:
        await database.add_prices(
            connection,
            [
                ("AAA", MONDAY, Decimal(1)),
                ("BBB", MONDAY, Decimal(2)),
                ("AAA", MONDAY + 1, Decimal(0)),
                ("AAA", MONDAY + 2, Decimal("NaN")),
                ("AAA", MONDAY + 5, Decimal(3)),
            ],
        )
        await connection.execute(
            "INSERT INTO market_data_cache (id, symbol, date, close, data_source, created_at,"
            " updated_at) SELECT gen_random_uuid(), 'AAA', day::date, 1, 'test', now(), now()"
            " FROM unnest('{infinity,-infinity,5874897-12-31,4713-01-01 BC}'::text[]) AS odd (day)"
        )
    async with Reader(same_host) as (session, catalog):
        found = await load(session, select_price_dates(catalog))
    assert sorted(found.tolist()) == [MONDAY, MONDAY + 5]


async def test_symbols_are_those_of_the_portfolios_meant(same_host: str) -> None:
    host = random(1)
    await database.fill(same_host, host)
    chosen = host.portfolios[:2]
    ids = np.frombuffer(
        b"".join(sorted(database.key(one.id).bytes for one in chosen)), dtype=np.uint8
    ).reshape(-1, 16)
    async with Reader(same_host) as (session, catalog):
        everyone = await load_symbols(session, catalog, Selection())
        some = await load_symbols(session, catalog, Selection(ids))
    assert set(everyone.texts()) == {p.symbol for one in host.portfolios for p in one.positions}
    assert set(some.texts()) == {p.symbol for one in chosen for p in one.positions}
    assert len(some.texts()) == len(set(some.texts()))


async def many_positions(url: str) -> None:
    """Fill a host with 30,000 positions: in 300 symbols, some hostile, ten of them of the dead."""
    portfolio = "SELECT gen_random_uuid(), gen_random_uuid(), 'n', n::text, 'cash', 'USD', now(),"
    async with database.connected(url) as connection:
        await connection.execute("SET session_replication_role = replica")
        await connection.execute(
            "INSERT INTO portfolios (id, user_id, name, account_name, account_type, currency,"
            f" created_at, updated_at, deleted_at) {portfolio} now(),"
            " CASE WHEN n > 90 THEN now() END FROM generate_series(1, 100) AS n"
        )
        await connection.execute(
            "INSERT INTO positions (id, portfolio_id, symbol, position_type, quantity,"
            " entry_price, entry_date, created_at, updated_at, deleted_at)"
            " SELECT gen_random_uuid(), p.id,"
            " CASE WHEN p.account_name::int > 90 THEN 'DEAD' || n % 10"
            " WHEN n % 300 < cardinality($1::text[]) THEN $1[n % 300 + 1] ELSE 'N' || n % 300 END,"
            " 'LONG', 1, 1, '2026-01-05', now(), now(), CASE WHEN n % 300 = 17 THEN now() END"
            " FROM portfolios AS p CROSS JOIN generate_series(0, 299) AS n",
            HOSTILE,
        )
        await connection.execute("VACUUM ANALYZE positions")


@pytest.fixture(scope="module")
def many(server, template: str) -> Iterator[str]:
    yield from database.shared(server, many_positions, template)


async def test_symbols_of_many_positions_are_stepped_through(
    many: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("batchcore.sources.positions.SKIPS_SINCE", ())  # as if every server did
    async with Reader(many) as (session, catalog):
        everyone = Selection()
        assert steps(catalog, everyone) == 1000
        read = await load(session, select_symbols(catalog, everyone))
        sent = session.statements["load"]
        stepped = await load_symbols(session, catalog, everyone)
        assert session.statements["load"] == sent + 1
        for most in (1, len(stepped), len(stepped) + 1):
            found = await load(session, select_stepped_symbols(catalog, most))
            assert len(found) == min(most, len(stepped))
    assert len(stepped) == len(set(stepped.texts())) > 280
    assert set(stepped.texts()) == set(read.texts())
    assert not {"N17", "DEAD1", ""} & set(stepped.texts())


async def test_more_symbols_than_steps_are_read_after_all(
    many: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("batchcore.sources.positions.POSITIONS_OF_A_STEP", 300)
    monkeypatch.setattr("batchcore.sources.positions.SKIPS_SINCE", ())  # as if every server did
    async with Reader(many) as (session, catalog):
        everyone = Selection()
        assert steps(catalog, everyone) == 100
        session.phase = "load"
        sent = session.statements["load"]
        found = await load_symbols(session, catalog, everyone)
        assert session.statements["load"] == sent + 2
        read = await load(session, select_symbols(catalog, everyone))
    assert set(found.texts()) == set(read.texts())


async def test_symbols_are_not_stepped_through_on_servers_that_do_not_skip(
    many: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with Reader(many) as (session, catalog):
        monkeypatch.setattr(
            "batchcore.sources.positions.SKIPS_SINCE", (session.server_version[0] + 1,)
        )
        session.phase = "load"
        sent = session.statements["load"]
        found = await load_symbols(session, catalog, Selection())
        assert session.statements["load"] == sent + 1
        read = await load(session, select_symbols(catalog, Selection()))
    assert sorted(found.texts()) == sorted(read.texts())


async def test_symbols_are_not_stepped_through_without_their_index(host: str) -> None:
    await many_positions(host)
    await database.execute(host, "DROP INDEX idx_positions_symbol_active")
    async with Reader(host) as (_, catalog):
        assert steps(catalog, Selection()) == 0


async def test_a_fault_in_the_bytes_names_query_column_and_row(same_host: str) -> None:
    lying = Query(
        "lies",
        "SELECT * FROM (VALUES (1::int4, 2::int4), (3, NULL), (4, 5)) AS two (one, other)",
        (Column("one", Kind.INT4), Column("other", Kind.UUID)),
        dict,
    )
    async with Reader(same_host) as (session, _):
        with pytest.raises(DecodeError) as caught:
            await load(session, lying)
        assert (caught.value.query, caught.value.column) == ("lies", "other")
        assert str(caught.value).startswith("query `lies`: ")
        # the connection is as good as before
        assert await session.raw.fetchval("SELECT 1") == 1


async def test_a_query_that_the_server_refuses_is_one_line(same_host: str) -> None:
    wrong = Query("wrong", "SELECT nothing FROM nowhere", (Column("nothing", Kind.INT4),), dict)
    async with Reader(same_host) as (session, _):
        with pytest.raises(DatabaseError, match="nowhere") as caught:
            await load(session, wrong)
    assert caught.value.sqlstate == "42P01"
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("symbol", "normal"),
    [
        ("aaa", "AAA"),
        ("  Brk.b ", "BRK.B"),
        ("c  c", "C  C"),
        ("\taaa", "\tAAA"),
        ("é", "é"),
        ("ß", "ß"),
        ("   ", ""),
    ],
)
async def test_python_normalises_as_the_server(same_host: str, symbol: str, normal: str) -> None:
    async with Reader(same_host) as (session, _):
        stated = await session.raw.fetchval("SELECT upper(btrim($1 COLLATE \"C\", ' '))", symbol)
    assert stated == normalised(symbol) == normal
