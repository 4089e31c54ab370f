"""The check of stored rows finds whatever differs, and nothing else."""

from collections.abc import Iterator, Mapping
from decimal import Decimal
from uuid import UUID

import pytest

from batchcore import run_batch
from batchcore.calendar import date_of
from batchcore.demo import run as demo
from batchcore.demo.check_rows import Checked, check
from batchcore.demo.stored import STORED_COLUMNS
from support import audit, database

pytestmark = pytest.mark.db

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
