"""What the demo writes, the columns given or nothing; and what it reads: checks, tables of rows."""

import datetime as dt
import uuid
from collections.abc import Iterator, Mapping
from decimal import Decimal
from uuid import UUID

import numpy as np
import pytest

from batchcore import run_batch
from batchcore.calendar import date_of
from batchcore.config import Schema
from batchcore.demo import run as demo
from batchcore.demo.check_rows import Checked, check
from batchcore.demo.seed import fill
from batchcore.demo.stored import STORED_COLUMNS, Valuation, reading
from batchcore.errors import ConfigError, DatabaseError, SchemaError
from batchcore.frames import Constant, Days, Decimals, Integers, Moment, Table, Text
from batchcore.units import State
from support import audit, database
from support.database import fetch
from support.tables import FILLED

ID = uuid.UUID(int=7)
NULL = np.array([State.NULL], dtype=np.uint8)
MOMENT = Moment(1_700_000_000_000_000)  # 2023-11-14 22:13:20 UTC


def portfolio(**columns: object) -> Table:
    key = np.frombuffer(ID.bytes, dtype=np.uint8).reshape(1, 16)
    plain = {
        "id": key,
        "user_id": key,
        "name": Text.of(["Größe"]),
        "account_name": Constant("main"),
        "account_type": Constant("taxable"),
        "is_active": Constant(value=False),
        "description": Text.of([None]),
        "currency": Constant("USD"),
        "equity_balance": Decimals(np.array([-12_345], dtype=np.int64), 2),
        "created_at": MOMENT,
        "updated_at": MOMENT,
        "deleted_at": Moment(0, NULL),
    }
    return Table("portfolios", 1, {**plain, **columns})


def close(cents: int) -> Table:
    return Table(
        "market_data_cache",
        1,
        {
            "id": np.frombuffer(ID.bytes, dtype=np.uint8).reshape(1, 16),
            "symbol": Text.of(["AAA"]),
            "date": Days(np.array([20_000], dtype=np.int32)),  # 2024-10-04
            "close": Decimals(np.array([cents], dtype=np.int64), 2),
            "data_source": Constant("test"),
            "created_at": MOMENT,
            "updated_at": MOMENT,
        },
    )


async def test_every_kind_of_column_arrives(same_host: str) -> None:
    assert await fill(same_host, [portfolio(), close(12_34)]) == 2
    (row,) = await fetch(same_host, "SELECT * FROM portfolios")
    assert dict(row) == {
        "id": ID,
        "user_id": ID,
        "name": "Größe",
        "account_name": "main",
        "account_type": "taxable",
        "is_active": False,
        "description": None,
        "currency": "USD",
        "equity_balance": Decimal("-123.45"),
        "created_at": dt.datetime(2023, 11, 14, 22, 13, 20, tzinfo=dt.UTC),
        "updated_at": dt.datetime(2023, 11, 14, 22, 13, 20, tzinfo=dt.UTC),
        "deleted_at": None,
    }
    (priced,) = await fetch(same_host, "SELECT symbol, date, close FROM market_data_cache")
    assert tuple(priced) == ("AAA", dt.date(2024, 10, 4), Decimal("12.34"))


async def test_integers_truth_values_and_rows_without_id_arrive(same_host: str) -> None:
    key = np.frombuffer(ID.bytes, dtype=np.uint8).reshape(1, 16)
    stamps = {"created_at": MOMENT, "updated_at": MOMENT}
    profiles = Table(
        "company_profiles",
        2,
        {
            "symbol": Text.of(["SPY", "KO"]),
            "sector": Text.of([None, "Consumer Defensive"]),
            "is_etf": np.array([True, False]),
            "beta": Decimals(np.array([10_000, -1], dtype=np.int64), 4),
            "data_source": Constant("test"),
            "last_updated": MOMENT,
            **stamps,
        },
    )
    tag = Table(
        "tags_v2",
        1,
        {
            "id": key,
            "user_id": key,
            "name": Constant("own"),
            "display_order": Integers(np.array([-3], dtype=np.int32)),
            "usage_count": Integers(np.array([2**31 - 1], dtype=np.int32)),
            "is_archived": Constant(value=False),
            **stamps,
        },
    )
    weight = Table(
        "benchmarks_sector_weights",
        1,
        {
            "id": key,
            "benchmark_code": Constant("SP500"),
            "asof_date": Days(np.array([20_000], dtype=np.int32)),
            "sector": Constant("Energy"),
            "weight": Decimals(np.array([70_000], dtype=np.int64), 6),
            "num_constituents": Integers(np.array([0], dtype=np.int32), NULL),
            "data_source": Constant("test"),
            **stamps,
        },
    )
    assert await fill(same_host, [profiles, tag, weight]) == 4
    query = "SELECT symbol, sector, is_etf, beta FROM company_profiles ORDER BY symbol"
    assert [tuple(row) for row in await fetch(same_host, query)] == [
        ("KO", "Consumer Defensive", False, Decimal("-0.0001")),
        ("SPY", None, True, Decimal("1.0000")),
    ]
    (stored,) = await fetch(same_host, "SELECT display_order, usage_count FROM tags_v2")
    assert tuple(stored) == (-3, 2**31 - 1)
    query = "SELECT asof_date, weight, num_constituents FROM benchmarks_sector_weights"
    (stored,) = await fetch(same_host, query)
    assert tuple(stored) == (dt.date(2024, 10, 4), Decimal("0.070000"), None)


GENERATED = demo.Size(portfolios=20, symbols=30, sessions=3)


@pytest.mark.parametrize("size", [GENERATED, demo.Size(portfolios=4)], ids=["generated", "real"])
async def test_every_seeded_table_is_written_whole(same_host: str, size: demo.Size) -> None:
    data = demo.seeded(size, seed=1)
    written = await data.write(same_host)
    counts = {
        table.name: (await fetch(same_host, f"SELECT count(*) FROM {table.name}"))[0][0]  # noqa: S608
        for table in data.tables
    }
    assert counts == {table.name: table.rows for table in data.tables}
    assert tuple(counts) == FILLED
    assert min(counts.values()) > 0
    assert written == sum(counts.values())
    stored = await fetch(same_host, "SELECT id, equity_balance FROM portfolios")
    assert data.opening() == {row["id"]: row["equity_balance"] for row in stored}
    # what belongs together finds itself
    (found,) = await fetch(
        same_host,
        "SELECT (SELECT count(*) FROM portfolios LEFT JOIN users u ON u.id = user_id"
        " WHERE u.id IS NULL) AS strangers,"
        " (SELECT count(*) FROM factor_definitions LEFT JOIN market_data_cache ON"
        " symbol = etf_proxy WHERE symbol IS NULL) AS unpriced,"
        " (SELECT count(*) FROM factor_definitions LEFT JOIN company_profiles p ON"
        " p.symbol = etf_proxy AND is_etf WHERE p.symbol IS NULL) AS unknown,"
        " (SELECT count(*) FROM tags_v2 t WHERE usage_count <>"
        " (SELECT count(*) FROM position_tags WHERE tag_id = t.id)) AS miscounted,"
        " (SELECT count(*) FROM position_tags g JOIN tags_v2 t ON t.id = tag_id"
        " JOIN positions p ON p.id = position_id JOIN portfolios f ON f.id = portfolio_id"
        " WHERE t.user_id <> f.user_id OR assigned_by <> f.user_id) AS of_others",
    )
    # not all proxies of factors have real closes
    lacking = {name for name, count in found.items() if count}
    assert lacking <= (set() if size is GENERATED else {"unpriced", "unknown"})


async def test_a_table_that_a_run_can_do_without_is_left_out_where_it_is_absent(host: str) -> None:
    await fetch(host, "DROP TABLE company_profiles")
    data = demo.seeded(GENERATED, seed=1)
    written = await data.write(host)
    assert written == sum(t.rows for t in data.tables if t.name != "company_profiles")


async def test_a_table_with_rows_is_refused_and_nothing_written(same_host: str) -> None:
    await fill(same_host, [close(100)])
    with pytest.raises(ConfigError, match="table `market_data_cache` has rows already"):
        await fill(same_host, [portfolio(), close(200)])
    assert await fetch(same_host, "SELECT FROM portfolios") == []


async def test_a_row_that_the_server_refuses_undoes_all(same_host: str) -> None:
    too_long = portfolio(currency=Constant("dollars"))
    with pytest.raises(DatabaseError, match="too long"):
        await fill(same_host, [close(100), too_long])
    assert await fetch(same_host, "SELECT FROM market_data_cache") == []


async def test_a_database_that_was_not_migrated_is_refused(database: str) -> None:
    with pytest.raises(SchemaError, match="run `batchcore migrate`"):
        await fill(database, [portfolio()])


async def test_doubles_are_not_filled(host: str) -> None:
    await database.execute(host, "ALTER TABLE market_data_cache ALTER close TYPE float8")
    schema = Schema(scales={"market_data_cache.close": 4})
    with pytest.raises(SchemaError, match="close: is double precision, expected numeric: doubles"):
        await fill(host, [portfolio(), close(100)], schema=schema)
    assert await fetch(host, "SELECT FROM portfolios") == []


SIZE = demo.Size(portfolios=6, symbols=30, sessions=4)
DATA = demo.seeded(SIZE, seed=11)
OPENING: Mapping[UUID, Decimal | None] = DATA.opening()
SESSIONS = DATA.market.days[DATA.market.first :].tolist()
FIRST = min(OPENING)
LAST = date_of(SESSIONS[-1])
ROW = audit.snapshot(SESSIONS[-1], FIRST)


@pytest.fixture(scope="module")
def done(server, template: str) -> Iterator[str]:
    """The URL of a database whose run is done."""

    async def fill(url: str) -> None:
        await DATA.write(url)
        await run_batch(url, date_of(SESSIONS[0]), LAST)

    yield from database.shared(server, fill, template)


async def test_rows_of_a_run_do_not_differ(done: str) -> None:
    assert await check(done, OPENING, SESSIONS) == Checked(24, 0, 6, 6, ())


async def test_a_sample_is_drawn_by_its_seed(done: str) -> None:
    assert await check(done, OPENING, SESSIONS, sample=2, seed=5) == Checked(8, 0, 2, 6, ())


@pytest.mark.parametrize("column", STORED_COLUMNS)
async def test_a_changed_cell_is_found(done: str, column: str) -> None:
    new = "NOT is_complete" if column == "is_complete" else f"{column} + 1"
    if column == "daily_return":
        new = "daily_return + 0.000001"
    async with audit.changed(done, column, new, ROW):
        found = await check(done, OPENING, SESSIONS)
    assert (found.rows, found.differing) == (24, 1)
    (line,) = found.examples
    assert line.startswith(f"portfolio {FIRST} on {LAST}: {column} is ")


async def test_a_row_too_many_and_a_missing_one_are_found(done: str) -> None:
    elsewhere = ROW.replace(str(LAST), "2030-01-01")
    update = "UPDATE portfolio_snapshots SET snapshot_date ="
    await database.execute(done, f"{update} '2030-01-01' WHERE {ROW}")
    found = await check(done, OPENING, SESSIONS)
    await database.execute(done, f"{update} '{LAST}' WHERE {elsewhere}")
    assert (found.rows, found.differing) == (25, 2)
    assert found.examples == (
        f"portfolio {FIRST} on {LAST}: missing",
        f"portfolio {FIRST} on 2030-01-01: stored, but not expected",
    )


async def test_a_wrong_equity_of_a_portfolio_is_found(make_database, done: str) -> None:
    url = await make_database(done)
    await database.execute(url, f"UPDATE portfolios SET equity_balance = 1.25 WHERE id = '{FIRST}'")  # noqa: S608
    found = await check(url, OPENING, SESSIONS)
    assert (found.rows, found.differing) == (24, 1)
    (line,) = found.examples
    assert line.startswith(f"portfolio {FIRST}: portfolios.equity_balance is 1.25, expected ")


async def test_another_opening_equity_makes_every_row_of_the_portfolio_differ(done: str) -> None:
    opening = {**OPENING, FIRST: Decimal(1)}
    found = await check(done, opening, SESSIONS)
    assert found.differing == len(SESSIONS) + 1  # its rows, and the portfolio's own equity


SNAPSHOTS = """
INSERT INTO portfolio_snapshots (
    id, portfolio_id, snapshot_date, total_value, cash_value, long_value, short_value,
    gross_exposure, net_exposure, equity_balance, cumulative_pnl, cumulative_realized_pnl,
    cumulative_capital_flow, num_positions, num_long_positions, num_short_positions,
    beta_provider_1y, effective_num_positions, realized_volatility_21d, created_at)
SELECT id, id, DATE '2025-06-30', 0, 0, 0, 0, 30 * place, 0, 1000 * place, place, 2, 3,
    4, 0, 0, CASE place WHEN 1 THEN 1.0449 END, CASE place WHEN 1 THEN 7.25 END,
    CASE place WHEN 1 THEN 0.1234 END, now()
FROM (SELECT id, row_number() OVER (ORDER BY id) AS place FROM portfolios) AS numbered
"""


async def test_a_portfolio_has_its_analytics_and_the_sum_of_many_has_none(
    make_database, template: str
) -> None:
    url = await make_database(template)
    data = demo.seeded(demo.Size(portfolios=2, symbols=10, sessions=2), seed=1)
    await data.write(url)
    await database.execute(url, SNAPSHOTS)
    async with reading(url) as reader:
        shown, total = await reader.valuations(data.market.end, 5)

    def dollars(amount: int) -> Decimal:
        return Decimal(amount).quantize(Decimal("0.01"))

    first, second = shown
    assert first == Valuation(
        *("Core 000001", 4, dollars(1000), dollars(1), dollars(2), dollars(3), dollars(30)),
        beta=Decimal("1.0449"),
        effective=Decimal("7.25"),
        volatility=Decimal("0.1234"),
    )
    assert (second.beta, second.effective, second.volatility) == (None, None, None)
    assert total == Valuation(
        "2", 8, dollars(3000), dollars(3), dollars(4), dollars(6), dollars(90)
    )
