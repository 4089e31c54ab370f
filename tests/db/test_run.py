"""A run on a real server leaves what the reference says, cell by cell."""

import pytest

import batchcore
from batchcore import calendar as calendars
from batchcore import reference as ref
from batchcore.config import Schema, Settings
from batchcore.errors import SnapshotExistsError
from support import database
from support.database import Host
from support.generate import MONDAY, Generator
from support.outcome import (
    LOOSE,
    Outcome,
    assert_left,
    in_doubles,
    issues_of,
    outcome,
    random_host,
    seeded,
)
from support.runs import run_days

pytestmark = pytest.mark.db

MODES = ("skip", "replace", "error")
CALENDARS = ("daily", "XNYS", "prices")


def sessions(calendar: str, host: Host) -> list[int]:
    """Return the sessions around the random ranges, without asking what is tested for `prices`."""
    if calendar == "prices":
        return [day for days in ref.market(host.prices).days.values() for day in days]
    if calendar == "daily":
        return list(range(MONDAY - 60, MONDAY + 60))
    return calendars.load(calendar).sessions(MONDAY - 60, MONDAY + 60).tolist()


async def check_run(
    url: str, host: Host, seed: int, schema: Schema, read: Host | None = None
) -> Outcome:
    """Run with everything chosen by ``seed`` and compare; return what was expected.

    Args:
        url: Of tables without rows.
        host: What they are filled with.
        seed: Chooses the run.
        schema: Of the tables.
        read: What a run reads of it, where the tables do not hold it as it is.
    """
    random = seeded(f"run {seed}")
    mode, calendar = MODES[seed % 3], CALENDARS[seed // 3 % 3]
    start = MONDAY + random.randint(-4, 8)
    end = start + random.randint(0, 10)
    lookback_days = random.choice((10, 0, 2))
    await database.fill(url, host)
    before = await database.snapshots(url)
    equities = await database.equities(url)
    host = read or host
    expected = outcome(
        host, sessions(calendar, host), start, end, mode, lookback_days=lookback_days
    )

    async def run() -> batchcore.BatchResult:
        return await run_days(
            url,
            start,
            end,
            calendar=calendar,
            on_existing=mode,
            analytics="none",
            settings=Settings(
                schema=schema,
                lookback_days=lookback_days,
                min_coverage=0.0,
                max_failed="100%",
                chunk_size=random.choice((None, 1, 3)),
                threads=random.choice((1, 2)),
            ),
        )

    if expected.exists is not None:
        with pytest.raises(SnapshotExistsError) as caught:
            await run()
        name, day = expected.exists
        assert caught.value.portfolio == str(database.key(name))
        assert caught.value.session == calendars.date_of(day).isoformat()
        assert str(await database.snapshots(url)) == str(before)
        assert str(await database.equities(url)) == str(equities)
        return expected
    result = await run()

    assert result.rows_written == len(expected.cells)
    assert result.failed == len(expected.failed)
    assert issues_of(result, host) == expected.issues
    assert_left(before, await database.snapshots(url), expected, host)
    assert await database.equities(url) == expected.equity
    return expected


@pytest.mark.parametrize("seed", range(27))
async def test_run_leaves_what_the_reference_says(same_host: str, seed: int) -> None:
    generator = Generator(seeded(seed).randint, odd=0, edges=False)
    await check_run(same_host, random_host(generator), seed, Schema())


@pytest.mark.parametrize("seed", range(27))
async def test_run_on_odd_rows_leaves_what_the_reference_says(
    same_loose_host: str, seed: int
) -> None:
    generator = Generator(seeded(f"odd {seed}").randint, odd=6)
    await check_run(same_loose_host, random_host(generator, odd=True), seed, LOOSE)


@pytest.mark.parametrize("seed", range(27))
async def test_run_on_doubles_leaves_what_the_reference_says(
    same_double_host: str, seed: int
) -> None:
    generator = Generator(seeded(f"double {seed}").randint, odd=6)
    host = random_host(generator, odd=True)
    await check_run(same_double_host, host, seed, LOOSE, in_doubles(host))
