"""The caches on a database: every kind of it, what a load costs, and what it sees."""

import contextlib
import datetime as dt
from collections.abc import Awaitable, Callable, Sequence
from decimal import Decimal
from operator import attrgetter
from typing import Any

import asyncpg
import pytest
import pytest_asyncio
from sqlalchemy import text

from batchcore import (
    CompanyProfileCache,
    ConfigError,
    DatabaseError,
    PriceCache,
    Schema,
    SchemaError,
    SnapshotCache,
    calendar,
)
from batchcore import reference as ref
from batchcore.calendar import date_of, day_of
from batchcore.db import access
from batchcore.demo.data import real_closes, real_profiles
from support import database
from support.callers import BORROWED, OWN, Caller, caller
from support.counter import Counter
from support.database import Host, Standing

KINDS = pytest.mark.parametrize("kind", OWN + BORROWED)
OF_THE_CALLER = pytest.mark.parametrize("kind", BORROWED)

FRIDAY = dt.date(2025, 6, 27)
MONDAY = dt.date(2025, 6, 30)
A, B, C = (database.key(name) for name in "abc")

RESET = {"pool": 1}
"""What a pool sends when it takes a connection back."""


@pytest_asyncio.fixture
async def host(same_host: str) -> str:
    access.forget()  # tests share the URL
    return same_host


async def put_closes(url: str, *rows: tuple[str, dt.date, str]) -> None:
    await database.add_prices(url, [(s, day_of(date), Decimal(close)) for s, date, close in rows])


async def put_profiles(url: str, rows: Sequence[tuple[Any, ...]]) -> None:
    columns = "symbol company_name beta sector industry country market_cap is_etf"
    await database.add_profiles(url, columns, *rows)


async def put_snapshots(url: str, *rows: tuple[str, dt.date, str | None, bool]) -> None:
    """Put snapshots of portfolios that are made for them; cumulative P&L is half of the equity."""
    standing: dict[str, list[Standing]] = {name: [] for name, *_ in rows}
    for name, date, amount, complete in rows:
        equity = None if amount is None else Decimal(amount)
        half = None if equity is None else equity / 2
        standing[name].append(Standing(day_of(date), equity, complete, cumulative_pnl=half))
    portfolios = tuple(ref.Portfolio(name) for name in standing)
    await database.fill(url, Host(portfolios, (), {k: tuple(v) for k, v in standing.items()}))


async def warm(given: Caller, kind: str) -> None:
    """Let SQLAlchemy make its connection, which asks the server what it is."""
    if kind == "engine":
        async with given.db.connect() as connection:
            await connection.execute(text("SELECT 1"))
    elif kind == "session":
        await given.db.connection()


@KINDS
async def test_each_cache_loads_from_the_db_of_a_load_or_constructor(host: str, kind: str) -> None:
    await put_closes(host, ("A", FRIDAY, "10.5"), ("B", MONDAY, "20"), ("C", MONDAY, "30"))
    await put_profiles(host, [("A", "Ay", Decimal("1.2"), "Energy", "Oil", "US", None, None)])
    await put_snapshots(host, ("a", FRIDAY, "10.50", True), ("a", MONDAY, "11", True))
    prices, profiles, snapshots = PriceCache(), CompanyProfileCache(), SnapshotCache()
    async with caller(host, kind) as given:
        assert await prices.load_single_date(given.db, ["A", "B"], MONDAY) == 2
        assert await profiles.load(given.db, ["A", "B"]) == 1
        assert await snapshots.load_latest_snapshots(given.db, [A, B], MONDAY) == 1
        own = PriceCache(10, given.db)
        assert await own.load_single_date(None, ["A"], MONDAY) == 1
        own.clear()
        assert await own.load_date_range(None, ["A"], FRIDAY, MONDAY) == 1
        own.clear()
        assert await own.load_missing(None, ["A"], [FRIDAY]) == 1
        assert await CompanyProfileCache(given.db).load(None, ["A"]) == 1
        assert await SnapshotCache(given.db).load_latest_snapshots(None, [A], MONDAY) == 1
    assert str(prices.get_with_lookback("A", MONDAY)[0]) == "10.5000"
    assert prices.get("B", MONDAY) == 20
    assert prices.get("C", MONDAY) is None
    found = profiles.get("A")
    assert (found.name, str(found.beta), found.sector) == ("Ay", "1.2000", "Energy")
    assert (found.industry, found.country, found.market_cap) == ("Oil", "US", None)
    assert found.is_etf is False
    latest = snapshots.get_latest(A)
    assert (latest.snapshot_date, str(latest.equity_balance)) == (FRIDAY, "10.50")
    assert (latest.cumulative_pnl, latest.cumulative_capital_flow) == (Decimal("5.25"), None)
    assert snapshots.get_equity(B) == 0


@KINDS
async def test_each_load_is_one_statement_beside_one_check(host: str, kind: str) -> None:
    async with database.connected(host) as other, caller(host, kind) as given:
        await other.execute("CREATE EXTENSION IF NOT EXISTS pg_stat_statements")
        counter, load = Counter(other), 1 + RESET.get(kind, 0)
        await warm(given, kind)
        await counter.statements()
        prices, profiles, snapshots = PriceCache(), CompanyProfileCache(), SnapshotCache()

        await prices.load_single_date(given.db, ["A", "B"], MONDAY)
        assert await counter.statements() == 1 + load  # the catalog, once for each db
        await prices.load_single_date(given.db, ["B", "A"], FRIDAY + dt.timedelta(days=1))
        assert await counter.statements() == load  # a day of lookback more, at the start
        await prices.load_single_date(given.db, ["A"], MONDAY)
        await prices.load_date_range(given.db, ["B"], FRIDAY + dt.timedelta(days=2), MONDAY)
        assert await counter.statements() == 0  # all of it is loaded
        await prices.load_date_range(given.db, ["A", "B", "C"], dt.date(2025, 1, 2), MONDAY)
        assert await counter.statements() == load  # wider, and one symbol more
        await prices.load_missing(given.db, ["A", "B", "C"], [FRIDAY, MONDAY])
        assert await counter.statements() == load

        await profiles.load(given.db, ["A", "B"])
        assert await counter.statements() == load
        await profiles.load(given.db, ["B"])
        assert await counter.statements() == 0
        await profiles.load(given.db, ["B", "C"])
        assert await counter.statements() == load

        await snapshots.load_latest_snapshots(given.db, [A, B], MONDAY)
        assert await counter.statements() == load
        await snapshots.load_latest_snapshots(given.db, [B], FRIDAY)
        assert await counter.statements() == 0
        await snapshots.load_latest_snapshots(given.db, [B, C], FRIDAY)
        assert await counter.statements() == load


INSERT = (
    "INSERT INTO market_data_cache (id, symbol, date, close, data_source, created_at, updated_at)"
    " VALUES (gen_random_uuid(), 'NEW', '2025-06-30', 7, 'test', now(), now())"
)


@OF_THE_CALLER
async def test_a_load_is_in_the_callers_transaction_which_it_does_not_end(
    host: str, kind: str
) -> None:
    async def close(db: Any) -> Decimal | None:
        cache = PriceCache()
        await cache.load_single_date(db, ["NEW"], MONDAY)
        return cache.get("NEW", MONDAY)

    async with caller(host, kind) as given:
        await given.execute(INSERT)
        assert (await close(given.db), await close(host)) == (7, None)
        await given.rollback()
        raw = kind in {"asyncpg", "lent"}  # on which nobody else begins a transaction
        async with given.db.transaction() if raw else contextlib.nullcontext():
            assert await close(given.db) is None
    async with caller(host, kind) as given:
        await given.execute(INSERT)
        outside = PriceCache()
        assert await outside.load_single_date(host, ["NEW"], MONDAY) == 0
        await given.commit()
        assert await outside.load_missing(host, ["NEW"], [MONDAY]) == 1


@pytest.mark.parametrize("db", [None, 5, object, "mysql://host/db"], ids=repr)
async def test_no_db_and_one_of_the_wrong_kind_are_refused(db: Any) -> None:
    told = "^db is None, and the constructor was given none" if db is None else "."
    loads = (
        PriceCache().load_single_date(db, ["A"], MONDAY),
        PriceCache().load_missing(db, ["A"], [MONDAY]),
        CompanyProfileCache().load(db, ["A"]),
        SnapshotCache().load_latest_snapshots(db, [A], MONDAY),
    )
    for load in loads:
        with pytest.raises(ConfigError, match=told):
            await load


HOSTILE = ["'; DROP TABLE positions; --", 'a"b', "back\\slash", "{x,y}", "NULL", "ünïcode", " A "]


async def test_hostile_symbols_are_only_symbols(host: str) -> None:
    symbols = [symbol[:20] for symbol in HOSTILE]
    await put_closes(host, *((symbol, MONDAY, "10") for symbol in symbols), ("A", MONDAY, "11"))
    cache = PriceCache()
    assert await cache.load_single_date(host, symbols, MONDAY) == len(symbols)
    assert cache.get_batch([*symbols, "A"], MONDAY) == dict.fromkeys(symbols, Decimal(10))
    assert await CompanyProfileCache().load(host, symbols) == 0


@pytest.mark.parametrize("declared", ["char(20)", "citext"])
async def test_a_column_that_compares_loosely_brings_exact_symbols(
    make_database: Any, template: str, declared: str
) -> None:
    url = await make_database(template)
    await put_closes(url, ("Abc", MONDAY, "10"))
    await put_profiles(url, [("Abc", None, None, "Energy", None, None, None, True)])
    await database.execute(
        url,
        "CREATE EXTENSION IF NOT EXISTS citext",
        f"ALTER TABLE market_data_cache ALTER symbol TYPE {declared}",
        f"ALTER TABLE company_profiles ALTER symbol TYPE {declared}",
    )
    prices, profiles = PriceCache(), CompanyProfileCache()
    assert await prices.load_single_date(url, ["abc"], MONDAY) == 0
    assert await prices.load_single_date(url, ["abc", "Abc"], MONDAY) == 1
    assert prices.get_batch(["Abc", "abc"], MONDAY) == {"Abc": 10}
    assert await profiles.load(url, ["abc", "Abc"]) == 1
    assert (profiles.get_sector("Abc"), profiles.get("abc")) == ("Energy", None)


async def test_closes_that_are_no_price_are_loaded_and_not_given(same_loose_host: str) -> None:
    access.forget()
    closes = (("A", FRIDAY, "9"), ("A", MONDAY, "NaN"), ("B", MONDAY, "0"), ("C", MONDAY, "-2"))
    await put_closes(same_loose_host, *closes)
    cache = PriceCache(schema=Schema(scales={"market_data_cache.close": 4}))
    assert await cache.load_single_date(same_loose_host, ["A", "B", "C"], MONDAY) == 3
    assert cache.get_batch(["A", "B", "C"], MONDAY) == {}
    assert cache.get_with_lookback("A", MONDAY) == (Decimal(9), FRIDAY)
    assert len(cache.to_frame()) == 3


async def test_only_complete_snapshots_count(host: str) -> None:
    thursday, sunday = dt.date(2025, 6, 26), dt.date(2025, 6, 29)
    await put_snapshots(
        host,
        ("a", thursday, "1", True),
        ("a", FRIDAY, None, True),
        ("a", sunday, "3", True),
        ("b", thursday, "4", True),
        ("b", FRIDAY, "5", False),
        ("c", MONDAY, "6", True),
    )
    cache = SnapshotCache()
    assert await cache.load_latest_snapshots(host, [C, B, A], MONDAY) == 2
    assert [cache.get_equity(key) for key in (A, B, C)] == [3, 4, 0]
    # a Sunday is no session of the exchange, and Friday's row has no equity
    assert await cache.load_latest_snapshots(host, [A, B], MONDAY, calendar="XNYS") == 2
    assert [cache.get_equity(key) for key in (A, B)] == [1, 4]


async def test_real_closes_are_found_as_the_file_has_them(host: str) -> None:
    real = real_closes()
    symbols, days = real.symbols[:12], real.days[-40:]
    rows = [
        (symbol, date_of(day), str(Decimal(int(real.values[row, column])).scaleb(-4)))
        for column, symbol in enumerate(symbols)
        for row, day in enumerate(real.days.tolist())
    ]
    await put_closes(host, *rows)
    expected = {(symbol, date): Decimal(close) for symbol, date, close in rows}
    cache = PriceCache()
    first, last = date_of(days[0]), date_of(days[-1])
    loaded = await cache.load_date_range(host, symbols, first, last)
    assert loaded == sum(day_of(first) - 10 <= day_of(date) <= days[-1] for _, date in expected)
    for day in range(int(days[0]), int(days[-1]) + 1):
        date = date_of(day)
        session = max(one for one in real.days.tolist() if one <= day)
        for symbol in symbols:
            last_close = expected[symbol, date_of(session)]
            assert cache.get(symbol, date) == expected.get((symbol, date))
            assert cache.get_with_lookback(symbol, date) == (last_close, date_of(session))
    # the sessions of the file are those of the exchange, so only other days are missing
    sessions = calendar.load("XNYS").sessions(int(days[0]), int(days[-1]))
    assert cache.missing(symbols, [date_of(day) for day in sessions]) == []


async def test_real_profiles_are_found_as_the_file_has_them(host: str) -> None:
    stored = attrgetter(
        *("symbol", "name", "beta", "sector", "industry", "country", "market_cap", "is_etf")
    )
    told = attrgetter("name", "sector", "industry", "country", "is_etf")
    real = real_profiles()
    await put_profiles(host, list(map(stored, real)))
    cache = CompanyProfileCache()
    assert await cache.load(host, [profile.symbol for profile in real]) == len(real)
    for profile in real:
        assert told(cache.get(profile.symbol)) == told(profile)


async def test_a_cache_outlives_its_connection(host: str) -> None:
    await put_closes(host, ("A", MONDAY, "10"))
    connection = await asyncpg.connect(host)
    cache = PriceCache()
    async with connection.transaction():
        await cache.load_single_date(connection, ["A"], MONDAY)
    await connection.close()
    assert await cache.load_single_date(connection, ["A"], MONDAY) == 0
    assert cache.get("A", MONDAY) == 10


async def test_tables_that_have_changed_are_checked_again(
    make_database: Callable[..., Awaitable[str]], template: str
) -> None:
    url = await make_database(template)
    await put_closes(url, ("A", MONDAY, "9"))
    cache = PriceCache()
    await cache.load_single_date(url, ["A"], MONDAY)
    await database.execute(url, "ALTER TABLE market_data_cache RENAME close TO price")
    with pytest.raises(DatabaseError, match="close") as caught:
        await cache.load_single_date(url, ["B"], MONDAY)
    assert caught.value.sqlstate == "42703"  # the columns were remembered
    with pytest.raises(SchemaError, match="close"):
        await cache.load_single_date(url, ["B"], MONDAY)
    renamed = PriceCache(schema=Schema(columns={"market_data_cache.close": "price"}))
    assert await renamed.load_single_date(url, ["A", "B"], MONDAY) == 1
