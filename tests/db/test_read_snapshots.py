"""Stored snapshots read as a table: exactly what a plain SELECT brings."""

import datetime as dt
import uuid
from decimal import Decimal

import pytest

import batchcore
from batchcore import Schema, Settings
from batchcore.errors import ConfigError
from support import database
from support.cases import day
from support.database import Host, Standing

pyarrow = pytest.importorskip("pyarrow")

FIRST, LAST = dt.date(2026, 1, 1), dt.date(2026, 1, 31)


async def filled(url: str) -> None:
    from batchcore import reference as ref  # noqa: PLC0415  # beside what it is for

    rows = {
        "a": (
            Standing(day("2026-01-06"), Decimal("99999999999999.99"), daily_pnl=Decimal("-0.01")),
            Standing(day("2026-01-05"), None, is_complete=False),
            Standing(day("2026-02-02"), Decimal(1)),
        ),
        "b": (Standing(day("2026-01-05"), Decimal(2)),),
    }
    portfolios = tuple(ref.Portfolio(name, Decimal(0), ()) for name in rows)
    await database.fill(url, Host(portfolios, (), rows))


async def test_snapshots_are_those_that_are_stored(same_host: str) -> None:
    await filled(same_host)
    found = await batchcore.read_snapshots(same_host, FIRST, LAST)
    assert len(found) == 3
    assert not found.unreadable
    stored = await database.fetch(
        same_host,
        "SELECT * FROM portfolio_snapshots WHERE snapshot_date < '2026-02-01'"
        " ORDER BY portfolio_id, snapshot_date",
    )
    for _ in range(2):
        table = pyarrow.table(found)
        assert table.column_names[:2] == ["portfolio_id", "snapshot_date"]
        assert set(table.column_names) == set(dict(stored[0])) - {"id", "created_at"}
        for row, expected in zip(table.to_pylist(), stored, strict=True):
            owner = row.pop("portfolio_id")
            assert (
                uuid.UUID(bytes=owner)
                if isinstance(owner, bytes)
                else owner == (expected["portfolio_id"])
            )
            assert row == {name: expected[name] for name in row}
    types = {field.name: str(field.type) for field in table.schema}
    assert types["equity_balance"] == "decimal128(16, 2)"
    assert types["daily_return"] == "decimal128(8, 6)"
    assert types["num_positions"] == "int32"
    assert types["is_complete"] == "bool"
    assert types["target_price_updated_at"] == "timestamp[us, tz=UTC]"
    assert types["volatility_trend"].startswith("dictionary<values=string, indices=int32")


async def test_some_columns_of_some_portfolios(same_host: str) -> None:
    await filled(same_host)
    one = [database.key("a")]
    names = ["daily_pnl", "snapshot_date", "id", "created_at"]
    found = await batchcore.read_snapshots(same_host, LAST, dt.date(2026, 3, 1), one, names)
    (row,) = pyarrow.table(found).to_pylist()
    assert list(row) == ["portfolio_id", "snapshot_date", "daily_pnl", "id", "created_at"]
    assert (row["daily_pnl"], row["created_at"]) == (None, database.MOMENT)
    nothing = await batchcore.read_snapshots(same_host, FIRST, LAST, [])
    assert len(nothing) == pyarrow.table(nothing).num_rows == 0


async def test_soft_deleted_portfolios_are_read_if_they_are_asked_for(same_host: str) -> None:
    await filled(same_host)
    await database.execute(same_host, "UPDATE portfolios SET deleted_at = now() WHERE name = 'a'")
    assert len(await batchcore.read_snapshots(same_host, FIRST, LAST)) == 1
    assert len(await batchcore.read_snapshots(same_host, FIRST, LAST, [database.key("a")])) == 2


async def test_what_cannot_be_read_is_null_and_counted(host: str) -> None:
    await filled(host)
    await database.execute(
        host,
        "ALTER TABLE portfolio_snapshots ALTER hhi TYPE numeric",
        "UPDATE portfolio_snapshots SET hhi = 0.12345, daily_pnl = 'NaN'"
        " WHERE snapshot_date = '2026-01-06'",
        "ALTER TABLE portfolio_snapshots DROP volatility_trend",
    )
    found = await batchcore.read_snapshots(host, FIRST, LAST)
    assert found.unreadable == {"hhi": 1, "daily_pnl": 1}
    assert "volatility_trend" not in found.columns
    assert str(pyarrow.table(found).schema.field("hhi").type) == "decimal128(19, 4)"
    with pytest.raises(ConfigError, match="volatility_trend: missing column"):
        await batchcore.read_snapshots(host, FIRST, LAST, columns=["volatility_trend"])


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ((LAST, FIRST), "start 2026-01-31 is after end 2026-01-01"),
        ((None, LAST), "date is of type NoneType, expected datetime.date"),
        ((FIRST, LAST, ["0" * 32]), "unknown portfolio"),
        ((FIRST, LAST, None, ["equity"]), "unknown column `equity`, expected some of id,"),
        ((FIRST, LAST, None, "daily_pnl"), "columns is of type str, expected an iterable"),
    ],
)
async def test_a_wrong_argument_is_named(same_host: str, arguments: tuple, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        await batchcore.read_snapshots(same_host, *arguments)


async def test_a_host_with_other_names(host: str) -> None:
    await filled(host)
    await database.execute(host, "ALTER TABLE portfolio_snapshots RENAME equity_balance TO worth")
    schema = Schema(columns={"portfolio_snapshots.equity_balance": "worth"})
    settings = Settings(schema=schema)
    found = await batchcore.read_snapshots(
        host, FIRST, LAST, columns=["equity_balance"], settings=settings
    )
    amounts = pyarrow.table(found).column("equity_balance").to_pylist()
    assert sorted(amounts, key=str) == [Decimal("2.00"), Decimal("99999999999999.99"), None]
