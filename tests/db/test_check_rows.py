"""What the demo reads of stored rows: a check that finds whatever differs, and tables of them."""

from collections.abc import Iterator, Mapping
from decimal import Decimal
from uuid import UUID

import pytest

from batchcore import demo, run_batch
from batchcore.calendar import date_of
from batchcore.demo.check_rows import Checked, check
from batchcore.demo.stored import STORED_COLUMNS, Valuation, reading
from support import audit, database

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
