"""Beta and sectors of one portfolio by hand; test_analytics.py has those on real closes."""

import datetime as dt
from dataclasses import dataclass
from decimal import Decimal
from typing import Any

import pytest
import pytest_asyncio
from sqlalchemy.ext.asyncio import AsyncSession

import batchcore
from batchcore import calendar as calendars
from batchcore import reference as ref
from batchcore.errors import ConfigError, DatabaseError, SchemaError
from batchcore.pg.session import Session
from support import database
from support.callers import engine_of
from support.cases import day
from support.database import MOMENT, Standing, key

ON = dt.date(2025, 6, 30)
EARLIER = day("2025-01-02")


def position(symbol: str, kind: str, quantity: int, **columns: Any) -> ref.Position:
    columns = {"entry_price": Decimal(50), "entry_day": EARLIER, **columns}
    return ref.Position(symbol, kind, Decimal(quantity), **columns)


SOLD_LATER = ref.Event(day("2025-07-10"), Decimal(20), Decimal(0))

# What each is worth on 2025-06-30, m = 100 for the option.
POSITIONS = (
    # 80 left and 20 of the event, close of the day before: (80 + 20) * 20 = 2000
    position("AAA", "LONG", 80, events=(SOLD_LATER,)),
    position("bbb ", "SHORT", -50),  # -50 * 10 = -500
    position("CCC", "LONG", 10),  # without a close: 10 * 50, the entry price, = 500
    position("AAA250919C", "LC", 1),  # 1 * 3 * 100 = 300
    position("AAA", "LONG", 1, investment_class="PRIVATE", market_value=Decimal(1000)),
    position("NONE", "LONG", 5),  # 5 * 100 = 500
    position("GONE", "LONG", 1, exit_day=day("2025-06-30"), exit_price=Decimal(1)),
    position("FUND", "LONG", 8),  # 8 * 25 = 200
)
PRICES = (
    ("AAA", day("2025-06-27"), Decimal(20)),
    ("BBB", day("2025-06-30"), Decimal(10)),
    ("BBB", day("2025-07-01"), Decimal(99)),
    ("AAA250919C", day("2025-06-30"), Decimal(3)),
    ("NONE", day("2025-06-30"), Decimal(100)),
    ("GONE", day("2025-06-30"), Decimal(100)),
    ("FUND", day("2025-06-30"), Decimal(25)),
)
PROFILES = (
    ("AAA", Decimal("1.5"), "Technology", False),
    ("BBB", Decimal("0.8"), "Financial Services", False),
    ("CCC", Decimal(0), "Energy", None),  # a beta of 0 is none
    ("AAA250919C", Decimal(9), "Technology", False),
    ("GONE", Decimal(9), "Technology", False),
    ("FUND", Decimal(1), "Technology", True),
)
STANDING = (
    Standing(day("2025-06-26"), Decimal(1)),
    Standing(day("2025-06-27"), Decimal(10_000)),
    Standing(day("2025-06-30"), Decimal(2), is_complete=False),
    Standing(day("2025-07-01"), Decimal(3)),
)
WEIGHTS = (
    ("SP500", "2024-12-31", "Technology", "0.9"),
    ("SP500", "2025-03-31", "Technology", "0.3"),
    ("SP500", "2025-03-31", "Financial Services", "0.1"),
    ("SP500", "2025-03-31", "Utilities", "0.05"),
    ("SP500", "2025-07-01", "Technology", "0.8"),
    ("OTHER", "2025-06-30", "Technology", "1"),
)

# sum(v * beta) = 2000 * 1.5 - 500 * 0.8 + 200 * 1
WEIGHTED = 2800
SECTORS = {
    "ETFs": 200 / 10_000,
    "Energy": 500 / 10_000,
    "Financials": 500 / 10_000,
    "Technology": 2000 / 10_000,
    "Unclassified": (300 + 1000) / 10_000,
    "Unknown": 500 / 10_000,
}


PORTFOLIOS = (
    ref.Portfolio("p", Decimal(7), POSITIONS),
    ref.Portfolio("new", Decimal(4000), (position("AAA", "LONG", 100),)),
    ref.Portfolio("broke", Decimal(-1), (position("AAA", "LONG", 100),)),
    ref.Portfolio("short", Decimal(4000), (position("AAA", "SHORT", -100),)),
    ref.Portfolio("empty", Decimal(4000), ()),
)


@pytest_asyncio.fixture
async def small(same_host: str) -> str:
    await database.fill(same_host, database.Host(PORTFOLIOS, PRICES, {"p": STANDING}))
    await database.add_profiles(same_host, "symbol beta sector is_etf", *PROFILES)
    async with database.connected(same_host) as connection:
        await connection.executemany(
            "INSERT INTO benchmarks_sector_weights (id, benchmark_code, asof_date, sector, weight,"
            " data_source, created_at, updated_at) VALUES (gen_random_uuid(), $1,"
            " $2::text::date, $3, $4::text::numeric, 'test', now(), now())",
            WEIGHTS,
        )
    return same_host


async def beta(db: Any, portfolio: str = "p", **arguments: Any) -> dict[str, Any]:
    return await batchcore.calculate_portfolio_provider_beta(
        db, key(portfolio), **{"calculation_date": ON, **arguments}
    )


async def sectors(db: Any, portfolio: str = "p", **arguments: Any) -> dict[str, Any]:
    return await batchcore.calculate_portfolio_sector_exposure(
        db, key(portfolio), **{"calculation_date": ON, **arguments}
    )


async def test_beta_by_market_value(small: str) -> None:
    assert await beta(small) == {
        "portfolio_beta": pytest.approx(WEIGHTED / (2000 - 500 + 200), rel=1e-12),
        "positions_with_beta": 3,
        "total_positions": 5,
        "coverage": pytest.approx((2000 + 500 + 200) / (2000 + 500 + 500 + 500 + 200), rel=1e-12),
        "calculation_date": ON,
    }


async def test_beta_by_equity(small: str) -> None:
    found = await beta(small, weights="equity")
    assert found["portfolio_beta"] == pytest.approx(WEIGHTED / 10_000, rel=1e-12)


async def test_equity_is_that_of_the_latest_complete_snapshot(small: str) -> None:
    found = await beta(small, weights="equity", calculation_date=dt.date(2025, 7, 1))
    # BBB closes at 99 then: 2000 * 1.5 - 50 * 99 * 0.8 + 200
    assert found["portfolio_beta"] == pytest.approx((3000 - 3960 + 200) / 3, rel=1e-12)
    # without a snapshot it is the portfolio's own: 100 * 20 * 1.5 / 4000
    found = await beta(small, "new", weights="equity")
    assert found["portfolio_beta"] == pytest.approx(0.75, rel=1e-12)


@pytest.mark.parametrize(
    ("portfolio", "weights", "with_beta"),
    [
        ("empty", "market_value", 0),
        ("short", "market_value", 1),  # the sum of values is not above 0
        ("broke", "equity", 1),
    ],
)
async def test_without_a_beta_it_is_1_of_no_coverage(
    small: str, portfolio: str, weights: str, with_beta: int
) -> None:
    assert await beta(small, portfolio, weights=weights) == {
        "portfolio_beta": 1.0,
        "positions_with_beta": with_beta,
        "total_positions": with_beta,
        "coverage": 0.0,
        "calculation_date": ON,
    }


async def test_sectors_and_what_they_weigh_in_the_benchmark(small: str) -> None:
    found = await sectors(small)
    assert list(found["sector_weights"]) == sorted(SECTORS)
    assert found == {
        "sector_weights": pytest.approx(SECTORS, rel=1e-12),
        "benchmark": "SP500",
        "benchmark_date": dt.date(2025, 3, 31),
        "benchmark_weights": {"Financials": 0.1, "Technology": 0.3, "Utilities": 0.05},
        "over_underweights": pytest.approx(
            {
                **SECTORS,
                "Financials": 0.05 - 0.1,
                "Technology": 0.2 - 0.3,
                "Utilities": -0.05,
            },
            rel=1e-12,
        ),
        "calculation_date": ON,
    }


async def test_another_benchmark_and_one_without_weights(small: str) -> None:
    other = await sectors(small, benchmark="OTHER")
    assert other["benchmark_weights"] == {"Technology": 1.0}
    assert other["over_underweights"]["Technology"] == pytest.approx(-0.8, rel=1e-12)
    none = await sectors(small, benchmark="O'DD")
    assert none["sector_weights"] == pytest.approx(SECTORS, rel=1e-12)
    assert (none["benchmark_date"], none["benchmark_weights"]) == (None, {})
    assert none["over_underweights"] is None


async def test_sectors_without_equity_and_without_positions(small: str) -> None:
    broke = await sectors(small, "broke")
    assert (broke["sector_weights"], broke["over_underweights"]) == (None, None)
    assert broke["benchmark_weights"]["Technology"] == 0.3
    empty = await sectors(small, "empty")
    assert empty["sector_weights"] == {}
    assert empty["over_underweights"] == {
        "Financials": -0.1,
        "Technology": -0.3,
        "Utilities": -0.05,
    }


@dataclass
class Profile:
    beta: Decimal | None
    sector: str | None
    is_etf: bool | None


class Cached:
    """A cache that knows AAA and CCC."""

    def get(self, symbol: str) -> Profile | None:
        return {
            "AAA": Profile(Decimal(2), "Basic Materials", None),
            "CCC": Profile(None, None, is_etf=True),
        }.get(symbol)


async def test_profiles_of_a_cache_count_and_what_it_lacks_is_loaded(small: str) -> None:
    found = await beta(small, profile_cache=Cached())
    assert found["portfolio_beta"] == pytest.approx((4000 - 400 + 200) / 1700, rel=1e-12)
    weights = (await sectors(small, profile_cache=Cached()))["sector_weights"]
    assert weights["Materials"] == pytest.approx(0.2, rel=1e-12)
    assert weights["ETFs"] == pytest.approx((200 + 500) / 10_000, rel=1e-12)
    assert weights["Financials"] == pytest.approx(0.05, rel=1e-12)


async def test_without_a_date_it_is_the_last_session_closed(
    small: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(calendars.Calendar, "last_closed", lambda *_: day("2025-06-30"))
    assert await beta(small, calculation_date=None) == await beta(small)
    assert await sectors(small, calculation_date=None) == await sectors(small)


async def test_a_callers_session_sees_what_it_has_changed(small: str) -> None:
    async with engine_of(small) as engine, AsyncSession(engine) as session:
        raw = (await (await session.connection()).get_raw_connection()).driver_connection
        await batchcore.calculate_portfolio_provider_beta(session, key("new"), calculation_date=ON)
        await raw.execute("UPDATE company_profiles SET beta = 3, sector = 'Energy'")
        assert (await beta(session, "new"))["portfolio_beta"] == pytest.approx(3, rel=1e-12)
        assert (await sectors(session, "new"))["sector_weights"] == {"Energy": 0.5}
    assert (await beta(small, "new"))["portfolio_beta"] == pytest.approx(1.5, rel=1e-12)


async def test_each_costs_a_statement_for_each_table(
    small: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    sent: list[str] = []
    copy_out = Session.copy_out

    async def counted(session: Session, query: str, take: Any) -> None:
        sent.append("COPY")  # which the driver does not report
        await copy_out(session, query, take)

    monkeypatch.setattr(Session, "copy_out", counted)
    async with database.connected(small) as connection:
        await sectors(connection, "new")  # the check of the catalog
        sent.clear()
        with connection.query_logger(lambda query: sent.append(query.query.split()[0])):
            await sectors(connection)
    # portfolio, positions, events, closes, profiles, benchmark
    assert [word for word in sent if word not in {"BEGIN", "SHOW", "SET", "COMMIT"}] == ["COPY"] * 6


async def test_what_is_asked_wrongly_is_told(small: str) -> None:
    for call in (beta, sectors):
        with pytest.raises(ConfigError, match=f"unknown portfolio {key('nobody')}"):
            await call(small, "nobody")
        with pytest.raises(ConfigError, match=r"calculation_date is .*, expected"):
            await call(small, calculation_date=MOMENT)
    with pytest.raises(ConfigError, match="unknown weights `value`") as caught:
        await beta(small, weights="value")
    assert caught.value.option == "weights"
    with pytest.raises(ConfigError, match="portfolio_id 'x' is not a UUID"):
        await batchcore.calculate_portfolio_provider_beta(small, "x")
    await database.execute(small, "UPDATE portfolios SET deleted_at = now()")
    with pytest.raises(ConfigError, match="soft-deleted portfolio"):
        await beta(small)


async def test_optional_tables_may_be_absent_and_profiles_may_not(host: str) -> None:
    async with database.connected(host) as connection:
        held = (position("AAA", "LONG", 100),)
        await database.add_portfolios(connection, (ref.Portfolio("p", Decimal(4000), held),))
        await connection.execute(
            "DROP TABLE benchmarks_sector_weights, position_realized_events, equity_changes"
        )
        # without a close: 100 * 50 / 4000
        found = await sectors(connection)
        assert (found["sector_weights"], found["benchmark_date"]) == ({"Unknown": 1.25}, None)
        await connection.execute("DROP TABLE company_profiles")
        with pytest.raises(DatabaseError, match=r"\"public\.company_profiles\" does not exist"):
            await beta(connection)
        with pytest.raises(SchemaError, match=r"public\.company_profiles: missing table"):
            await beta(connection)
