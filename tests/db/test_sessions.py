"""The sessions of each calendar (S1), on real closes too, and the prices that they need (S12)."""

import datetime as dt
import uuid
from collections.abc import Iterator
from decimal import Decimal
from fractions import Fraction

import exchange_calendars
import pytest
import pytest_asyncio

import batchcore
from batchcore import reference as ref
from batchcore.calendar import date_of
from batchcore.config import Settings
from batchcore.demo import run as demo
from batchcore.demo.check_rows import check
from batchcore.demo.data import real_closes
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


async def test_without_prices_coverage_is_full_and_marks_are_entry_prices(same_host: str) -> None:
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


CODES = ("XNYS", "daily", "prices", "XTKS")
SIZE = demo.Size(portfolios=8, sessions=25)
EVERY = [dt.date(2016, 5, 26) + dt.timedelta(days=number) for number in range(37)]
START, END = EVERY[0], EVERY[-1]
HOLIDAY = dt.date(2016, 7, 4)
"""Independence Day, a Monday: Tokyo trades, New York does not."""


DATA = demo.seeded(SIZE, seed=3)


@pytest.fixture(scope="module")
def written(server, template: str) -> Iterator[str]:
    """The URL of a database with the demo's portfolios."""
    yield from database.shared(server, DATA.write, template)


@pytest_asyncio.fixture
async def filled(written: str) -> str:
    """The same, without what a test before has run or added."""
    equities = ", ".join(f"('{own}'::uuid, {equity})" for own, equity in DATA.opening().items())
    await database.execute(
        written,
        "TRUNCATE portfolio_snapshots, batchcore_runs CASCADE",
        "DELETE FROM market_data_cache WHERE data_source = ''",
        "UPDATE portfolios SET equity_balance = equity"  # noqa: S608  # our own numbers
        f" FROM (VALUES {equities}) AS opening (own, equity) WHERE id = own",
    )
    return written


def sessions_of(code: str) -> list[dt.date]:
    """Return the sessions from START to END by another way than the code under test."""
    if code == "daily":
        return EVERY
    if code == "prices":
        return [date_of(day) for day in real_closes().days.tolist() if START <= date_of(day) <= END]
    calendar = exchange_calendars.get_calendar(code)
    return [day.date() for day in calendar.sessions_in_range(str(START), str(END))]


async def ran(db: object, code: str, *dates: dt.date, **options: object) -> batchcore.BatchResult:
    # in Tokyo there are sessions without a close of New York
    settings = Settings(min_coverage=0.0 if code == "XTKS" else 0.5, today=HOLIDAY)
    return await batchcore.run_batch(
        db, *dates, calendar=code, analytics="none", settings=settings, **options
    )


@pytest.mark.parametrize("code", CODES)
async def test_each_session_has_the_rows_of_the_reference(filled: str, code: str) -> None:
    result = await ran(filled, code, START, END)

    sessions = sessions_of(code)
    assert [date_of(day) for day in result.sessions.tolist()] == sessions
    left_out = [date_of(day) for day in result.sessions_left_out.tolist()]
    assert sorted(sessions + left_out) == EVERY
    assert result.rows_written == len(sessions) * SIZE.portfolios
    checked = await check(filled, DATA.opening(), result.sessions.tolist())
    assert (checked.rows, checked.differing) == (result.rows_written, 0), checked.examples


@pytest.mark.parametrize(
    ("code", "last"),
    [("XNYS", END), ("prices", END), ("daily", HOLIDAY), ("XTKS", HOLIDAY)],
)
async def test_today_stands_for_the_last_session_on_or_before_it(
    filled: str, code: str, last: dt.date
) -> None:
    baseline = await ran(filled, code)
    assert [date_of(day) for day in baseline.sessions.tolist()] == [last]
    assert (await ran(filled, code)).nothing_to_do


@pytest.mark.parametrize("code", ["daily", "prices"])
@pytest.mark.parametrize(("first", "last"), [(0, 1), (-1, 0)], ids=["first", "last"])
async def test_the_ends_of_all_dates_are_dates(
    filled: str, code: str, first: int, last: int
) -> None:
    limit = dt.date.min if last else dt.date.max
    days = [limit + dt.timedelta(days=number) for number in (first, last)]
    if code == "prices":
        for day in days:
            await database.fetch(
                filled,
                "INSERT INTO market_data_cache (id, symbol, date, close, data_source, created_at,"
                " updated_at) VALUES (gen_random_uuid(), 'SPY', $1::text::date, 1, '', now(),"
                " now())",
                day.isoformat(),
            )
    settings = Settings(min_coverage=0.0, today=dt.date.max)
    for mode in ("skip", "replace"):
        result = await batchcore.run_batch(
            filled, *days, calendar=code, on_existing=mode, settings=settings
        )
        assert result["success"]
        assert [date_of(day) for day in result.sessions] == days
    again = await batchcore.run_batch(
        filled, end_date=dt.date.max, calendar="prices", settings=settings
    )
    assert again["success"]
