"""S12: a run does not begin before the prices of its sessions have arrived."""

import uuid
from decimal import Decimal
from fractions import Fraction

import pytest

import batchcore
from batchcore import reference as ref
from batchcore.calendar import date_of
from batchcore.config import Settings
from batchcore.errors import CoverageError
from support import database
from support.cases import Price
from support.database import Host
from support.generate import MONDAY, Generator
from support.outcome import random_host, seeded
from support.runs import run_days

TUESDAY, FRIDAY = MONDAY + 1, MONDAY + 4
SATURDAY = MONDAY + 5


def holding(*symbols: str, prices: tuple[Price, ...], name: str = "p0") -> Host:
    positions = tuple(
        ref.Position(symbol, "LONG", Decimal(1), Decimal(1), MONDAY - 30) for symbol in symbols
    )
    return Host((ref.Portfolio(name, Decimal(100), positions),), prices)


def closes(symbol: str, *days: int) -> tuple[Price, ...]:
    return tuple((symbol, day, Decimal(5)) for day in days)


async def run(
    url: str, first: int, last: int, calendar: str = "XNYS", **settings
) -> batchcore.BatchResult:
    return await run_days(url, first, last, calendar=calendar, settings=Settings(**settings))


async def test_a_session_whose_prices_have_not_arrived_stops_the_run(same_host: str) -> None:
    prices = (
        *closes("AAA", MONDAY, TUESDAY),
        *closes("BBB", MONDAY),
        *closes("CCC", MONDAY),
    )
    await database.fill(same_host, holding("AAA", "BBB", "CCC", prices=prices))

    with pytest.raises(CoverageError) as caught:
        await run(same_host, MONDAY, TUESDAY)

    error = caught.value
    assert error.session == date_of(TUESDAY).isoformat()
    assert error.coverage == pytest.approx(1 / 3)
    assert error.min_coverage == 0.5
    assert f"price coverage on {date_of(TUESDAY)} is 33.3%, minimum 50.0%" in str(error)
    assert "1 of 3 symbols has a close; 1 session is below" in str(error)
    assert await database.snapshots(same_host) == {}  # not even Monday's
    assert await database.equities(same_host) == {database.key("p0"): 100}


async def test_coverage_at_the_limit_passes(same_host: str) -> None:
    prices = (*closes("AAA", MONDAY, TUESDAY), *closes("BBB", MONDAY))
    await database.fill(same_host, holding("AAA", "BBB", prices=prices))

    result = await run(same_host, MONDAY, TUESDAY)

    assert result.rows_written == 2
    assert result.coverage.share().tolist() == [1.0, 0.5]


@pytest.mark.parametrize("calendar", ["XNYS", "daily", "prices"])
async def test_a_feed_that_stays_dead_stops_the_run(same_host: str, calendar: str) -> None:
    long_ago = MONDAY - 60
    prices = (*closes("AAA", long_ago), *closes("OTHER", MONDAY))  # a date that `daily` checks
    await database.fill(same_host, holding("AAA", "NEVER", prices=prices))

    with pytest.raises(CoverageError, match="none of 1 symbol has a close on it or in the look"):
        await run(same_host, MONDAY, MONDAY, calendar)
    result = await run(same_host, MONDAY, MONDAY, calendar, min_coverage=0.0)

    assert result.coverage.share().tolist() == [0.0]
    assert result.to_dict()["coverage"] == {date_of(MONDAY).isoformat(): 0.0}


async def test_without_any_price_coverage_is_full_and_marks_are_entry_prices(
    same_host: str,
) -> None:
    await database.fill(same_host, holding("AAA", prices=()))

    result = await run(same_host, MONDAY, MONDAY, min_coverage=1.0)

    assert result.rows_written == 1
    assert result.issues_by_name() == {"price_low": 1, "unpriced": 1}
    assert result.cache["unpriced"] == 1


async def test_the_dates_of_the_price_table_are_the_sessions_of_prices(same_host: str) -> None:
    prices = (
        *closes("AAA", MONDAY, SATURDAY),
        *closes("OTHER", TUESDAY),
        ("AAA", FRIDAY, Decimal(0)),  # no valid close: no session
    )
    await database.fill(same_host, holding("AAA", prices=prices))

    with pytest.raises(CoverageError, match=f"price coverage on {date_of(TUESDAY)} is"):
        await run(same_host, MONDAY, SATURDAY, "prices")
    result = await run(same_host, MONDAY, SATURDAY, "prices", min_coverage=0.0)

    assert result.sessions.tolist() == [MONDAY, TUESDAY, SATURDAY]
    assert result.sessions_left_out.tolist() == [MONDAY + 2, MONDAY + 3, FRIDAY]


@pytest.mark.parametrize("ids", [None, [database.key("p0"), database.key("gone")]])
async def test_symbols_of_others_do_not_count(same_host: str, ids: list[uuid.UUID] | None) -> None:
    prices = (*closes("AAA", MONDAY), *closes("BBB", MONDAY - 3), *closes("CCC", MONDAY - 3))
    await database.fill(same_host, holding("AAA", prices=prices))
    await database.fill(same_host, holding("BBB", "CCC", prices=(), name="gone"))
    await database.execute(
        same_host, "UPDATE portfolios SET deleted_at = now() WHERE name = 'gone'"
    )

    result = await run_days(same_host, MONDAY, MONDAY, ids)

    assert result.coverage.recent.tolist() == [1]
    assert result.rows_written == 1


@pytest.mark.parametrize("calendar", ["daily", "XNYS", "prices"])
@pytest.mark.parametrize("seed", range(3))
async def test_coverage_is_that_of_the_reference(same_host: str, calendar: str, seed: int) -> None:
    generator = Generator(seeded(f"coverage {seed}").randint, odd=0, edges=False)
    made = random_host(generator)
    host = Host(made.portfolios, made.prices)
    await database.fill(same_host, host)

    result = await run(same_host, MONDAY, MONDAY + 15, calendar, min_coverage=0.0, lookback_days=2)

    symbols = [p.symbol for portfolio in host.portfolios for p in portfolio.positions]
    expected = ref.coverage(
        ref.market(host.prices), symbols, result.sessions.tolist(), 2, daily=calendar == "daily"
    )
    coverage = result.coverage
    columns = (coverage.fresh, coverage.recent, coverage.known)
    counts = zip(*(column.tolist() for column in columns), strict=True)
    shares = [Fraction(fresh, recent) if recent else Fraction(not k) for fresh, recent, k in counts]
    assert dict(zip(result.coverage.session.tolist(), shares, strict=True)) == expected
