"""Hosts with several closes of a symbol and date, with bytes of no encoding, with wide NUMERICs."""

import contextlib
import json
from collections.abc import AsyncIterator
from dataclasses import replace
from decimal import Decimal
from typing import Any

import asyncpg
import pytest
import pytest_asyncio
from sqlalchemy import event

import batchcore
from batchcore import CompanyProfileCache, PriceCache
from batchcore import reference as ref
from batchcore.calendar import date_of
from batchcore.config import Schema, Settings
from batchcore.errors import DatabaseError, SchemaError
from support import database
from support.callers import engine_of
from support.database import Host
from support.generate import MONDAY
from support.runs import run_days

TUESDAY, WEDNESDAY = MONDAY + 1, MONDAY + 2
SEVERAL = (
    "ALTER TABLE market_data_cache DROP CONSTRAINT uq_market_data_cache",
    "CREATE UNIQUE INDEX by_source ON market_data_cache (symbol, date, data_source)",
)
DECLARED = Schema(price_sources=("vendor_a", "vendor_b"))

Row = tuple[str, int, str, str]
"""Symbol, day, close and source."""


def holding(*symbols: str, name: str = "p0", **columns: Any) -> ref.Portfolio:
    """Return a portfolio of 1 each, bought at 10 on the Monday before."""
    position = replace(ref.Position("", "LONG", Decimal(1), Decimal(10), MONDAY - 7), **columns)
    held = tuple(replace(position, symbol=symbol) for symbol in symbols)
    return ref.Portfolio(name, Decimal(1000), held)


async def add_sources(url: str, rows: tuple[Row, ...]) -> None:
    prices = [(symbol, day, Decimal(close)) for symbol, day, close, _ in rows]
    records = database.price_rows(prices)
    for record, (*_, source) in zip(records, rows, strict=True):
        record["data_source"] = source
    await database.copy(url, "market_data_cache", records)


async def run(
    url: str, schema: Schema | None = None, first: int = MONDAY, last: int = TUESDAY, **options: Any
) -> batchcore.BatchResult:
    settings = Settings(schema=schema or Schema(), min_coverage=0.0)
    options = {"calendar": "daily", "analytics": "none", "settings": settings} | options
    return await run_days(url, first, last, **options)


async def values(url: str) -> dict[int, Decimal]:
    """Return `long_value` by day of the one portfolio."""
    stored = await database.snapshots(url)
    return {day: row["long_value"] for (_, day), row in stored.items()}


def told(result: batchcore.BatchResult) -> list[tuple[str, str | None, str | None, str | None]]:
    issues = result.to_dict()["issues"]
    return [(one["name"], one["symbol"], one["session"], one["detail"]) for one in issues]


async def assert_verified(url: str, schema: Schema | None, rows: int, **options: Any) -> None:
    for fast in (False, True):
        settings = Settings(schema=schema or Schema())
        options = {"calendar": "daily", "settings": settings} | options
        found = await batchcore.verify(url, fast=fast, **options)
        assert (found.rows, found.rows_differing) == (rows, 0)


@pytest_asyncio.fixture
async def several(host: str) -> str:
    """The URL of a host that keeps a close of each source."""
    await database.execute(host, *SEVERAL)
    return host


MONDAYS = date_of(MONDAY).isoformat()
TUESDAYS = date_of(TUESDAY).isoformat()
AMBIGUOUS = ("ambiguous_price", "AAA", TUESDAYS, "1 date; 12 and 13.5 on the first")


VALID = (
    ("AAA", MONDAY, "11", "vendor_a"),
    ("AAA", MONDAY, "11.0000", "vendor_b"),
    ("AAA", TUESDAY, "13.5", "vendor_a"),
    ("AAA", TUESDAY, "12", "vendor_b"),
)
NOT_VALID = (
    ("AAA", MONDAY, "0", "vendor_a"),
    ("AAA", MONDAY, "11", "vendor_b"),
    ("AAA", TUESDAY, "-1", "vendor_a"),
    ("AAA", TUESDAY, "NaN", "vendor_b"),
)


@pytest.mark.parametrize(
    ("rows", "sources", "expected", "issues"),
    [
        (VALID, (), [11, 11], [AMBIGUOUS]),  # the close of Monday counts on
        (VALID, ("vendor_b", "vendor_a"), [11, 12], []),
        (VALID, ("vendor_a", "vendor_b"), [11, Decimal("13.5")], []),
        (VALID, ("vendor_c", "vendor_b"), [11, 12], []),
        (VALID, ("vendor_c",), [10, 10], []),  # no close: the entry price
        # the next source counts where the first has no valid close
        (NOT_VALID, ("vendor_a", "vendor_b"), [11, 11], [("close_refused", "AAA", TUESDAYS, "-1")]),
    ],
    ids=["none", "b, a", "a, b", "c, b", "c", "not valid"],
)
async def test_of_several_sources_the_first_declared_one_counts(
    several: str,
    rows: tuple[Row, ...],
    sources: tuple[str, ...],
    expected: list[Decimal],
    issues: list[tuple[str, ...]],
) -> None:
    schema = Schema(price_sources=sources)
    await database.fill(several, Host((holding("AAA"),)))
    await add_sources(several, rows)

    result = await run(several, schema)

    assert await values(several) == dict(zip((MONDAY, TUESDAY), expected, strict=True))
    assert [one for one in told(result) if one[0] in {"ambiguous_price", "close_refused"}] == issues
    await assert_verified(several, schema, 2)


@pytest.mark.parametrize(
    ("sources", "expected"), [((), 8), (("vendor_a", "vendor_b"), 9), (("vendor_b",), 7)]
)
@pytest.mark.parametrize("number", ["numeric(12,4)", "double precision"])
async def test_the_last_close_before_the_window_is_one_that_counts(
    several: str, sources: tuple[str, ...], expected: int, number: str
) -> None:
    await database.execute(several, f"ALTER TABLE market_data_cache ALTER close TYPE {number}")
    schema = Schema(price_sources=sources, scales={"market_data_cache.close": 4})
    long_ago = holding("AAA", entry_day=MONDAY - 200)
    await database.fill(several, Host((long_ago,)))
    rows = (
        ("AAA", MONDAY - 101, "8", "vendor_a"),
        ("AAA", MONDAY - 101, "8", "vendor_b"),
        ("AAA", MONDAY - 100, "9", "vendor_a"),
        ("AAA", MONDAY - 100, "7", "vendor_b"),
        ("AAA", MONDAY - 99, "0", "vendor_b"),
    )
    await add_sources(several, rows)

    await run(several, schema)

    assert await values(several) == {MONDAY: expected, TUESDAY: expected}
    await assert_verified(several, schema, 2)


async def test_a_date_on_which_every_symbol_is_ambiguous_is_no_session(several: str) -> None:
    await database.fill(several, Host((holding("AAA"),)))
    rows = (
        ("AAA", MONDAY, "11", "vendor_a"),
        ("AAA", TUESDAY, "12", "vendor_a"),
        ("AAA", TUESDAY, "13", "vendor_b"),
        ("AAA", WEDNESDAY, "13", "vendor_b"),
    )
    await add_sources(several, rows)

    result = await run(several, last=WEDNESDAY, calendar="prices")
    declared = await run(
        several, DECLARED, last=WEDNESDAY, calendar="prices", on_existing="replace"
    )

    assert result.sessions.tolist() == [MONDAY, WEDNESDAY]
    assert declared.sessions.tolist() == [MONDAY, TUESDAY, WEDNESDAY]
    assert await values(several) == {MONDAY: 11, TUESDAY: 12, WEDNESDAY: 13}


async def test_a_second_source_that_comes_later_is_a_correction(several: str) -> None:
    await database.fill(several, Host((holding("AAA"),)))
    await add_sources(
        several, (("AAA", MONDAY, "11", "vendor_b"), ("AAA", TUESDAY, "12", "vendor_b"))
    )
    await run(several, DECLARED)
    since = await database.fetchval(several, "SELECT now()")
    await add_sources(several, (("AAA", TUESDAY, "20", "vendor_a"),))
    await database.execute(
        several, "UPDATE market_data_cache SET updated_at = now() WHERE close = 20"
    )

    settings = Settings(schema=DECLARED, min_coverage=0.0)
    result = await batchcore.run_batch(
        several, calendar="daily", analytics="none", changed_since=since, settings=settings
    )

    assert result.rows_written == 1
    assert await values(several) == {MONDAY: 11, TUESDAY: 20}


async def test_legacy_knows_one_close_of_a_symbol_and_date(several: str) -> None:
    await database.fill(several, Host((holding("AAA", position_type="LONG"),)))
    rows = (
        ("AAA", MONDAY - 40, "5", "vendor_a"),
        ("AAA", MONDAY, "11", "vendor_a"),
        ("AAA", MONDAY, "12", "vendor_b"),
    )
    await add_sources(several, rows)

    result = await run(several, last=MONDAY, calendar="XNYS", policy="legacy")
    declared = await run(
        several, DECLARED, MONDAY, MONDAY, calendar="XNYS", policy="legacy", on_existing="replace"
    )

    detail = "1 date; 11 and 12 on the first"
    assert ("ambiguous_price", "AAA", MONDAYS, detail) in told(result)
    assert not [one for one in told(declared) if one[0] == "ambiguous_price"]


async def test_a_cache_has_the_close_that_counts(
    several: str, caplog: pytest.LogCaptureFixture
) -> None:
    rows = (
        ("AAA", MONDAY, "11", "vendor_a"),
        ("AAA", MONDAY, "12", "vendor_b"),
        ("BBB", MONDAY, "3", "vendor_b"),
        ("BBB", MONDAY, "3", "vendor_c"),
    )
    await add_sources(several, rows)
    plain, declared = batchcore.PriceCache(), batchcore.PriceCache(schema=DECLARED)
    for cache in (plain, declared):
        await cache.load_single_date(several, ["AAA", "BBB"], date_of(MONDAY))

    assert plain.get("AAA", date_of(MONDAY)) is None
    assert plain.get("BBB", date_of(MONDAY)) == 3
    assert "ambiguous_price=AAA" in caplog.text
    assert declared.get("AAA", date_of(MONDAY)) == 11
    assert declared.get("BBB", date_of(MONDAY)) == 3


async def test_sources_are_told_apart_by_a_column_of_any_name(several: str) -> None:
    await database.execute(several, 'ALTER TABLE market_data_cache RENAME data_source TO "Feed"')
    with pytest.raises(SchemaError, match=r"market_data_cache\.data_source: missing column"):
        await run(several, DECLARED)
    mapped = Schema(
        columns={"market_data_cache.data_source": "Feed"}, price_sources=("it's", 'a"b')
    )
    await database.fill(several, Host((holding("AAA"),)))
    await database.execute(several, 'ALTER TABLE market_data_cache RENAME "Feed" TO data_source')
    rows = (("AAA", MONDAY, "5", 'a"b'), ("AAA", MONDAY, "6", "it's"), ("AAA", MONDAY, "7", "c"))
    await add_sources(several, rows)
    await database.execute(several, 'ALTER TABLE market_data_cache RENAME data_source TO "Feed"')

    await run(several, mapped, last=MONDAY)

    assert await values(several) == {MONDAY: 6}


async def test_a_unique_key_on_symbol_and_date_is_found(host: str) -> None:
    from batchcore.db.catalog import inspect  # noqa: PLC0415

    async def found() -> bool:
        async with database.connected(host) as connection:
            return (await inspect(connection, Schema())).one_price

    assert await found()
    await database.execute(host, *SEVERAL)
    assert not await found()
    await database.execute(
        host, "CREATE UNIQUE INDEX part ON market_data_cache (symbol, date) WHERE close > 0"
    )
    assert not await found()
    await database.execute(
        host, "CREATE UNIQUE INDEX own ON market_data_cache (date, symbol) INCLUDE (close)"
    )
    assert await found()


# Bytes of no encoding


@pytest_asyncio.fixture
async def unencoded(make_database: Any, server: Any) -> str:
    """The URL of a migrated database that takes any bytes for text."""
    return await database.encoded(make_database, server, "SQL_ASCII")


async def spoil(url: str, column: str, text: bytes, new: bytes) -> None:
    """Put bytes in the place of a text of a column."""
    table, name = column.split(".")
    statement = f"UPDATE {table} SET {name} = convert_from($1, 'SQL_ASCII') WHERE {name} = $2"  # noqa: S608
    await database.fetch(url, statement, new, text.decode())


ACCENT = b"\xc3\xa9"


async def test_a_byte_of_no_encoding_costs_its_row(unencoded: str) -> None:
    portfolio = holding("AAA", "BBB", "DDD", "EEE")
    odd = holding("CCC", investment_class="odd").positions
    portfolio = replace(portfolio, positions=(*portfolio.positions, *odd))
    flow = ref.Flow(MONDAY, Decimal(7), "CONTRIBUTION")
    prices = tuple((symbol, MONDAY, Decimal(12)) for symbol in ("AAA", "BBB", "DDD"))
    other = holding("AAA", name="p1")
    await database.fill(unencoded, Host((replace(portfolio, flows=(flow,)), other), prices))
    for column, text, new in (
        ("positions.symbol", b"BBB", b"BB\xff"),
        ("market_data_cache.symbol", b"BBB", b"BB\xff"),
        ("positions.investment_class", b"odd", b"PRIV\xe9"),
        ("positions.symbol", b"DDD", ACCENT),
        ("market_data_cache.symbol", b"DDD", ACCENT),
        ("portfolios.name", b"p0", b"caf\xe9"),
        ("portfolios.currency", b"USD", b"E\xff"),
    ):
        await spoil(unencoded, column, text, new)

    result = await run(unencoded, last=MONDAY)

    assert result.rows_written == 2
    stored = await database.snapshots(unencoded)
    assert stored[database.key("p0"), MONDAY]["long_value"] == 12 + 12 + 10
    assert {one[:2] + one[3:] for one in told(result) if one[0] == "not_representable"} == {
        ("not_representable", "BB\\xff", "symbol"),
        ("not_representable", "CCC", "investment_class"),
    }
    await assert_verified(unencoded, None, 2)


async def test_a_sector_of_no_encoding_is_none_and_told(unencoded: str) -> None:
    await database.fill(unencoded, Host((holding("AAA"),), (("AAA", MONDAY, Decimal(12)),)))
    await database.add_profiles(unencoded, "symbol sector", ("AAA", "Tech"))
    await spoil(unencoded, "company_profiles.sector", b"Tech", b"Tech\xff")

    result = await run(unencoded, last=MONDAY, calendar="XNYS", analytics="portfolio")

    stored = await database.snapshots(unencoded)
    assert stored[database.key("p0"), MONDAY]["sector_exposure"] == '{"Unknown":0.012000}'
    detail = "company_profiles.sector of AAA: Tech\\xff"
    assert ("not_representable", None, None, detail) in told(result)


async def test_a_position_of_no_encoding_is_tagged_as_one_without_a_profile(
    unencoded: str,
) -> None:
    positions = holding("AAA", "BBB", "CCC")
    await database.fill(unencoded, Host((positions,), ()))
    technology = [(symbol, "Technology") for symbol in ("AAA", "BBB", "CCC")]
    await database.add_profiles(unencoded, "symbol sector", *technology)
    for column, text, new in (
        ("positions.symbol", b"BBB", b"BB\xff"),
        ("positions.symbol", b"CCC", ACCENT),
        ("company_profiles.symbol", b"CCC", ACCENT),
    ):
        await spoil(unencoded, column, text, new)
    user = await database.fetchval(unencoded, "SELECT user_id FROM portfolios")

    result = await batchcore.restore_sector_tags_for_portfolio(unencoded, user, database.key("p0"))

    assert result.tags == {"Technology": 2, "Unknown": 1}


async def test_legacy_fails_a_portfolio_whose_text_it_cannot_read(unencoded: str) -> None:
    prices = (("AAA", MONDAY, Decimal(12)),)
    hosts = (holding("AAA", "BBB"), holding("AAA", name="p1"))
    await database.fill(unencoded, Host(hosts, prices))
    await spoil(unencoded, "positions.symbol", b"BBB", b"BB\xff")

    settings = Settings(max_failed=1)
    result = await run(unencoded, last=MONDAY, calendar="XNYS", policy="legacy", settings=settings)

    assert (result.rows_written, result.failed) == (1, 1)
    assert ("not_representable", "BB\\xff", MONDAYS, "symbol") in told(result)


# NUMERIC with more digits than 64 bits hold


WIDE = {
    "market_data_cache.close": "numeric(38,18)",
    "positions.quantity": "numeric(20,8)",
    "equity_changes.amount": "numeric(38,2)",
}


async def widened(url: str, columns: dict[str, str]) -> None:
    for name, kind in columns.items():
        table, column = name.split(".")
        await database.execute(url, f"ALTER TABLE {table} ALTER {column} TYPE {kind}")


async def test_columns_that_64_bits_cannot_hold_are_refused_by_name(host: str) -> None:
    await widened(host, WIDE)
    with pytest.raises(SchemaError) as caught:
        await run(host)
    fits = "whose digits do not all fit 64 bits, expected its decimals in schema.scales, such as"
    assert sorted(caught.value.problems) == [
        f"public.equity_changes.amount: is numeric(38,2), {fits} `equity_changes.amount = 2`",
        f"public.market_data_cache.close: is numeric(38,18), {fits} `market_data_cache.close = 8`",
        f"public.positions.quantity: is numeric(20,8), {fits} `positions.quantity = 6`",
    ]
    with pytest.raises(SchemaError, match=r"market_data_cache.close = 8"):
        await batchcore.PriceCache().load_single_date(host, ["AAA"], date_of(MONDAY))


SCALES = {"market_data_cache.close": 8, "positions.quantity": 6, "equity_changes.amount": 2}


async def test_a_lower_scale_reads_them_and_names_what_it_cannot(host: str) -> None:
    await widened(host, WIDE)
    prices = (
        ("AAA", MONDAY, Decimal("60000.12345678")),
        ("AAA", TUESDAY, Decimal("60000.123456789")),
        ("BBB", MONDAY, Decimal(1)),
    )
    fine = holding("BBB", quantity=Decimal("1.0000001")).positions
    flows = (
        ref.Flow(MONDAY, Decimal("7.50"), "CONTRIBUTION"),
        ref.Flow(TUESDAY, Decimal(10) ** 20, "CONTRIBUTION"),
    )
    portfolio = holding("AAA")
    portfolio = replace(portfolio, positions=(*portfolio.positions, *fine), flows=flows)
    await database.fill(host, Host((portfolio,), prices))
    schema = Schema(scales=SCALES)

    result = await run(host, schema)

    assert await values(host) == {MONDAY: Decimal("60000.12"), TUESDAY: Decimal("60000.12")}
    assert {one for one in told(result) if one[0] != "stale"} == {
        ("close_refused", "AAA", TUESDAYS, "not_representable"),
        ("not_representable", "BBB", None, "quantity"),
        ("bad_flow", None, None, "amount"),
    }
    await assert_verified(host, schema, 2)


async def test_a_lower_scale_than_one_that_would_fit_counts_too(same_host: str) -> None:
    rows = (("AAA", MONDAY, Decimal("12.25")), ("AAA", TUESDAY, Decimal("12.255")))
    await database.fill(same_host, Host((holding("AAA", entry_day=MONDAY - 300),), rows))
    earlier = (("AAA", MONDAY - 100, Decimal("12.255")), ("AAA", MONDAY - 101, Decimal(3)))
    await database.add_prices(same_host, earlier)
    schema = Schema(scales={"market_data_cache.close": 2})

    await run(same_host, schema, MONDAY - 1, TUESDAY)

    expected = {MONDAY - 1: 3, MONDAY: Decimal("12.25"), TUESDAY: Decimal("12.25")}
    assert await values(same_host) == expected
    await assert_verified(same_host, schema, 3)


async def test_wide_columns_that_are_written_are_read_in_cents(host: str) -> None:
    money = ("equity_balance", "daily_pnl", "cumulative_pnl", "daily_capital_flow", "long_value")
    wide = {f"portfolio_snapshots.{column}": "numeric(38,18)" for column in money}
    await widened(host, {**wide, "portfolios.equity_balance": "numeric(38,18)"})
    prices = (("AAA", MONDAY, Decimal(60_000)), ("AAA", TUESDAY, Decimal(60_001)))
    portfolio = replace(holding("AAA"), opening_equity=Decimal("60000.25"))
    await database.fill(host, Host((portfolio,), prices))

    await run(host, last=MONDAY)
    await run(host)

    assert await values(host) == {MONDAY: 60_000, TUESDAY: 60_001}
    assert await database.equities(host) == {database.key("p0"): Decimal("60001.25")}
    await assert_verified(host, None, 2)


async def test_a_close_not_above_0_of_a_symbol_held_is_told(same_host: str) -> None:
    prices = (
        ("OIL", MONDAY, Decimal(12)),
        ("OIL", TUESDAY, Decimal("-37.63")),
        ("OIL", WEDNESDAY, Decimal(0)),
        ("NOT", TUESDAY, Decimal(-1)),
        ("OUT", TUESDAY, Decimal(0)),
    )
    out = holding("OUT", exit_day=TUESDAY, exit_price=Decimal(10)).positions
    portfolio = holding("OIL")
    await database.fill(
        same_host, Host((replace(portfolio, positions=(*portfolio.positions, *out)),), prices)
    )

    result = await run(same_host, last=WEDNESDAY)

    assert ("close_refused", "OIL", TUESDAYS, "-37.63, the first of 2 sessions") in told(result)
    assert result.issues_by_name()["close_refused"] == 1
    assert await values(same_host) == {MONDAY: 22, TUESDAY: 12, WEDNESDAY: 12}


async def test_a_host_in_latin1_is_read_as_it_is(make_database: Any, server: Any) -> None:
    url = await database.encoded(make_database, server, "LATIN1")
    await database.fill(url, Host((holding("caf\u00e9"),), (("caf\u00e9", MONDAY, Decimal(12)),)))

    assert (await run(url, last=MONDAY)).rows_written == 1
    assert await values(url) == {MONDAY: 12}
    await assert_verified(url, None, 1)

    for lacking in ("\U0001f680", "\u0159", "\u65b0"):
        with pytest.raises(DatabaseError, match=f"asks for a text with '{lacking}': ") as caught:
            await PriceCache().load_single_date(url, ["caf\u00e9", f"x{lacking}"], date_of(MONDAY))
        assert caught.value.sqlstate == "22P05"
    with pytest.raises(DatabaseError, match="`company_profiles` asks for a text with '\u65b0'"):
        await CompanyProfileCache().load(url, ["caf\u00e9", "\u65b0"])


CHOSEN = "SET client_encoding = 'LATIN1'"


@contextlib.asynccontextmanager
async def of_another_encoding(url: str, how: str) -> AsyncIterator[Any]:
    """Connections of a caller that has chosen an encoding of its own."""

    def choose(raw: Any, _: object) -> None:
        cursor = raw.cursor()
        cursor.execute(CHOSEN)
        cursor.close()

    if how == "engine":
        async with engine_of(url) as engine:
            event.listen(engine.sync_engine, "connect", choose)
            yield engine
        return
    options = {
        "init": {"init": lambda raw: raw.execute(CHOSEN)},
        "sent": {"server_settings": {"client_encoding": "WIN1252"}},
    }[how]
    async with asyncpg.create_pool(url, min_size=0, max_size=6, **options) as pool:
        yield pool


@pytest.mark.parametrize("how", ["engine", "init", "sent"])
async def test_texts_are_read_and_written_whatever_encoding_a_caller_has_chosen(
    same_host: str, how: str
) -> None:
    symbol, sector = "caf\u00e9", "Sant\u00e9"
    await database.fill(same_host, Host((holding(symbol),), ((symbol, MONDAY, Decimal(12)),)))
    await database.add_profiles(same_host, "symbol sector", (symbol, sector))

    async with of_another_encoding(same_host, how) as db:
        result = await run(db, last=MONDAY, analytics="portfolio")
        assert (result.rows_written, result.issues_by_name()) == (1, {})
        found = CompanyProfileCache()
        await found.load(db, [symbol])
    assert await values(same_host) == {MONDAY: 12}
    stored = await database.fetchval(same_host, "SELECT sector_exposure FROM portfolio_snapshots")
    assert json.loads(stored) == {sector: 0.012}
    assert found.get_sector(symbol) == sector


async def test_the_encoding_of_a_callers_connection_is_as_it_was(same_host: str) -> None:
    symbol = "caf\u00e9"
    await database.fill(same_host, Host((holding(symbol),), ((symbol, MONDAY, Decimal(12)),)))
    calculator = batchcore.PnLCalculator(calendar="daily", analytics="none")
    async with database.connected(same_host) as raw, raw.transaction():
        await raw.execute(CHOSEN)
        cache = PriceCache()
        await cache.load_single_date(raw, [symbol], date_of(MONDAY))
        assert cache.get(symbol, date_of(MONDAY)) == 12
        await calculator.calculate_all_portfolios_pnl(date_of(MONDAY), raw)
        assert await raw.fetchval("SHOW client_encoding") == "LATIN1"
        assert await raw.fetchval("SELECT symbol FROM positions") == symbol
    assert await values(same_host) == {MONDAY: 12}


async def test_names_of_any_letters_are_entered_in_the_ledger(unencoded: str) -> None:
    await database.fill(unencoded, Host((holding("AAA"),), (("AAA", MONDAY, Decimal(12)),)))
    await database.execute(unencoded, 'ALTER TABLE positions RENAME TO "best\u00e4nde"')
    schema = Schema(tables={"positions": "best\u00e4nde"}, price_sources=("donn\u00e9e", "test"))

    result = await run(unencoded, schema, last=MONDAY)

    assert result.rows_written == 1
    (found,) = await batchcore.runs(unencoded, run_id=result.run_id)
    assert found.asked["tables"] == {"positions": "best\u00e4nde"}
    assert found.asked["price_sources"] == ["donn\u00e9e", "test"]
