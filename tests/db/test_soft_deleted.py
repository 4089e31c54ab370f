"""A portfolio that is soft-deleted is skipped, asked for or not (S1)."""

import datetime as dt
from decimal import Decimal

import asyncpg
import pytest

import batchcore
from batchcore import reference as ref
from support import database
from support.cases import day

pytestmark = [pytest.mark.db, pytest.mark.asyncio]

FRIDAY = dt.date(2026, 1, 2)
MONDAY = dt.date(2026, 1, 5)
PRICES = tuple((symbol, day("2026-01-02"), Decimal(10)) for symbol in ("AAA", "BBB"))


def portfolio(name: str, symbol: str) -> ref.Portfolio:
    position = ref.Position(symbol, "LONG", Decimal(1), Decimal(10), day("2026-01-02"))
    return ref.Portfolio(name, Decimal(1000), (position,))


@pytest.fixture
def two() -> database.Host:
    """`gone` is to be soft-deleted, and has a snapshot on a Saturday and one on a session."""
    return database.Host(
        (portfolio("kept", "AAA"), portfolio("gone", "BBB")),
        PRICES,
        {"gone": (database.Standing(day("2026-01-03")), database.Standing(day("2026-01-05")))},
    )


async def delete(url: str) -> None:
    connection = await asyncpg.connect(url)
    await connection.execute("UPDATE portfolios SET deleted_at = now() WHERE name = 'gone'")
    await connection.close()


@pytest.mark.parametrize("on_existing", ["skip", "replace", "error"])
async def test_one_asked_for_is_skipped_and_told(
    host: str, two: database.Host, on_existing: str
) -> None:
    await database.fill(host, two)
    await delete(host)
    asked = [database.key("kept"), database.key("gone")]
    settings = batchcore.Settings(min_coverage=0.0)
    result = await batchcore.run_batch(
        host, FRIDAY, MONDAY, asked, on_existing=on_existing, settings=settings
    )
    told = {
        (issue["name"], issue["portfolio"], issue["session"])
        for issue in result.to_dict()["issues"]
    }
    assert told == {("soft_deleted", str(database.key("gone")), None)}
    assert (result.rows_written, result.failed) == (2, 0)


async def test_its_symbols_do_not_count_in_the_coverage(host: str, two: database.Host) -> None:
    # BBB has no close on Monday; of AAA and BBB half would be covered, of AAA alone all
    await database.fill(host, two)
    await delete(host)
    connection = await asyncpg.connect(host)
    await database.add_prices(connection, [("AAA", day("2026-01-05"), Decimal(10))])
    await connection.close()
    asked = [database.key("kept"), database.key("gone")]
    result = await batchcore.run_batch(host, MONDAY, MONDAY, asked)
    assert result.coverage.recent.tolist() == [1]


async def test_without_ids_it_is_not_there(host: str, two: database.Host) -> None:
    await database.fill(host, two)
    await delete(host)
    result = await batchcore.run_batch(host, FRIDAY, FRIDAY)
    assert (len(result.portfolios), len(result.issues)) == (1, 0)
