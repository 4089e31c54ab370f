"""S1 on the real closes of the package: the sessions of each calendar, and the rows on them."""

import datetime as dt
from collections.abc import Iterator

import exchange_calendars
import pytest
import pytest_asyncio

import batchcore
from batchcore import demo
from batchcore.calendar import date_of
from batchcore.config import Settings
from batchcore.demo.check_rows import check
from batchcore.demo.data import real_closes
from support import database

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
