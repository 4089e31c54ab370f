"""S13 with `missing`: holes are told, or each chain is computed anew from its first one on."""

from dataclasses import replace
from decimal import Decimal

import pytest

import batchcore
from batchcore import calendar as calendars
from batchcore.calendar import date_of
from batchcore.config import Schema, Settings
from batchcore.db.catalog import inspect
from batchcore.errors import ConfigError
from batchcore.pg.database import Database
from batchcore.sources.host import Selection
from batchcore.sources.query import load
from batchcore.sources.snapshots import select_holes
from support import database
from support.database import Host, Standing
from support.generate import MONDAY, Generator
from support.outcome import random_host, seeded
from support.runs import run_days

pytestmark = pytest.mark.db

DAYS = tuple(range(MONDAY, MONDAY + 5))
D0, D1, D2, D3, D4 = DAYS


async def run(url: str, start: int | None, end: int | None, mode: str) -> batchcore.BatchResult:
    return await batchcore.run_batch(
        url,
        None if start is None else date_of(start),
        None if end is None else date_of(end),
        on_existing=mode,
        missing=True,
        settings=Settings(min_coverage=0.0, today=date_of(D4), chunk_size=2),
    )


def chains(**standing: tuple[int, ...]) -> Host:
    """Return portfolios of 10 AAA that earn 10 a day, with complete snapshots of 500 each."""
    plain = database.plain_host(len(standing), DAYS)
    named = zip(plain.portfolios, standing, strict=True)
    rows = {
        name: tuple(Standing(day, Decimal(500)) for day in days) for name, days in standing.items()
    }
    portfolios = tuple(replace(portfolio, id=name) for portfolio, name in named)
    return Host(portfolios, plain.prices, rows)


async def test_a_plan_of_what_is_missing_is_what_is_then_written(same_host: str) -> None:
    await database.fill(same_host, chains(one=(D0, D2, D3), two=(D1,)))
    planned = await batchcore.run_batch(
        same_host,
        on_existing="replace",
        missing=True,
        settings=Settings(today=date_of(D4), dry_run=True),
    )
    assert len(await database.snapshots(same_host)) == 4

    done = await run(same_host, None, None, "replace")

    assert done.portfolios.sessions_written.tolist() == (
        planned.portfolios.sessions_planned.tolist()
    )
    assert done.sessions.tolist() == planned.sessions.tolist() == [D1, D2, D3, D4]


async def test_missing_contradicts_error() -> None:
    with pytest.raises(ConfigError, match="expected skip or replace") as caught:
        await batchcore.run_batch("postgresql://", on_existing="error", missing=True)
    assert caught.value.option == "missing"


@pytest.mark.parametrize("seed", range(3))
async def test_filled_holes_leave_no_trace(same_host: str, seed: int) -> None:
    generator = Generator(seeded(f"missing {seed}").randint, odd=0, edges=False)
    made = random_host(generator)
    await database.fill(same_host, Host(made.portfolios, made.prices))
    settings = Settings(min_coverage=0.0, today=date_of(MONDAY + 15))
    await run_days(same_host, MONDAY, MONDAY + 15, settings=settings, analytics="none")
    undisturbed = await database.snapshots(same_host)
    equities = await database.equities(same_host)
    choose = seeded(f"holes {seed}")
    async with database.connected(same_host) as connection:
        for portfolio in made.portfolios:
            # not the first: S5 would open from another row; others anywhere, the latest too
            days = sorted(day for own, day in undisturbed if own == database.key(portfolio.id))
            for day in choose.sample(days[1:], 3):
                await connection.execute(
                    "DELETE FROM portfolio_snapshots WHERE portfolio_id = $1"
                    " AND snapshot_date = $2",
                    database.key(portfolio.id),
                    date_of(day),
                )
    assert len(await database.snapshots(same_host)) == len(undisturbed) - 3 * len(made.portfolios)

    result = await batchcore.run_batch(
        same_host,
        on_existing="replace",
        missing=True,
        settings=settings,
        analytics="none",
    )

    assert result.rows_written > 3 * len(made.portfolios)
    assert database.without_stamps(await database.snapshots(same_host)) == (
        database.without_stamps(undisturbed)
    )
    assert await database.equities(same_host) == equities


def holes_of(
    host: Host, calendar: calendars.Calendar, start: int | None, end: int
) -> set[tuple[bytes, int, int | None, int]]:
    """Return by plain loops what the query of holes must bring."""
    found = set()
    for portfolio in host.portfolios:
        days = sorted(
            row.day
            for row in host.standing_of(portfolio.id)
            if row.counts
            and bool(calendar.is_session([row.day])[0])
            and (start is None or row.day >= start)
        )
        if not days or days[0] > end:
            continue
        sessions = calendar.sessions(days[0], end).tolist()
        missing = [day for day in sessions if day not in days and day < days[-1]]
        own = database.key(portfolio.id).bytes
        found.add((own, days[0], min(missing, default=None), len(missing)))
    return found


@pytest.mark.parametrize("code", ["XNYS", "daily", "prices"])
@pytest.mark.parametrize("seed", range(4))
async def test_the_server_finds_the_holes(same_host: str, code: str, seed: int) -> None:
    generator = Generator(seeded(f"holes {seed}").randint, odd=0, edges=False)
    host = random_host(generator)
    await database.fill(same_host, host)
    priced = [day for _, day, close in host.prices if close.is_finite() and close > 0]
    calendar = calendars.from_price_dates(priced) if code == "prices" else calendars.load(code)
    async with Database(same_host).snapshot("load") as session:
        catalog = await inspect(session.raw, Schema())
        for start in (None, MONDAY - 3, MONDAY + 2, MONDAY + 40):
            for end in (MONDAY + 2, MONDAY + 8, MONDAY + 50):
                if start is not None and start > end:
                    continue
                query = select_holes(catalog, calendar, Selection(), start, end)
                found = await load(session, query)
                columns = (
                    map(bytes, found.portfolio_id),
                    found.earliest.tolist(),
                    [
                        None if state else day
                        for day, state in zip(
                            found.hole.values.tolist(), found.hole.state.tolist(), strict=True
                        )
                    ],
                    found.missing.tolist(),
                )
                assert set(zip(*columns, strict=True)) == holes_of(host, calendar, start, end)
