"""A database is filled with exactly the columns given, or not at all."""

import datetime as dt
import uuid
from decimal import Decimal

import asyncpg
import numpy as np
import pytest

from batchcore import demo
from batchcore.db.seed import fill
from batchcore.errors import ConfigError, DatabaseError, SchemaError
from batchcore.frames import Constant, Days, Decimals, Moment, Table, Text
from batchcore.units import State

pytestmark = [pytest.mark.db, pytest.mark.asyncio]

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


@pytest.fixture
def migrated(make_database, template: str):
    """A coroutine that gives the URL of a migrated database."""
    return lambda: make_database(template)


async def rows(url: str, query: str) -> list[asyncpg.Record]:
    connection = await asyncpg.connect(url)
    try:
        return await connection.fetch(query)
    finally:
        await connection.close()


async def test_every_kind_of_column_arrives(migrated) -> None:
    url = await migrated()
    assert await fill(url, [portfolio(), close(12_34)]) == 2
    (row,) = await rows(url, "SELECT * FROM portfolios")
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
    (priced,) = await rows(url, "SELECT symbol, date, close FROM market_data_cache")
    assert tuple(priced) == ("AAA", dt.date(2024, 10, 4), Decimal("12.34"))


async def test_opening_equities_are_those_written(migrated) -> None:
    url = await migrated()
    data = demo.seeded(demo.Size(portfolios=3, symbols=10, sessions=2), seed=1)
    await data.write(url)
    stored = await rows(url, "SELECT id, equity_balance FROM portfolios")
    assert data.opening() == {row["id"]: row["equity_balance"] for row in stored}


async def test_a_table_with_rows_is_refused_and_nothing_written(migrated) -> None:
    url = await migrated()
    await fill(url, [close(100)])
    with pytest.raises(ConfigError, match="table `market_data_cache` has rows already"):
        await fill(url, [portfolio(), close(200)])
    assert await rows(url, "SELECT FROM portfolios") == []


async def test_a_row_that_the_server_refuses_undoes_all(migrated) -> None:
    url = await migrated()
    too_long = portfolio(currency=Constant("dollars"))
    with pytest.raises(DatabaseError, match="too long"):
        await fill(url, [close(100), too_long])
    assert await rows(url, "SELECT FROM market_data_cache") == []


async def test_a_database_that_was_not_migrated_is_refused(database: str) -> None:
    with pytest.raises(SchemaError, match="run `batchcore migrate`"):
        await fill(database, [portfolio()])
