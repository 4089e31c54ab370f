"""A run on a real server leaves what the reference says, cell by cell, whatever the route (S11)."""

import pytest

import batchcore
from batchcore import calendar as calendars
from batchcore import reference as ref
from batchcore.config import Schema, Settings
from batchcore.errors import SnapshotExistsError
from batchcore.run import chunk_groups
from db.conftest import EMPTY, LOOP, PoolOf
from support import database
from support.database import Db, Host
from support.generate import MONDAY, Generator
from support.outcome import (
    LOOSE,
    Outcome,
    assert_left,
    assert_time_ordered,
    in_doubles,
    issues_of,
    outcome,
    random_host,
    seeded,
)
from support.runs import run_days

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
    db: Db, host: Host, seed: int, schema: Schema, read: Host | None = None
) -> Outcome:
    """Run with everything chosen by ``seed`` and compare; return what was expected.

    The host is written into empty tables; `read` is what a run reads of it, where they do not hold
    it as it is.
    """
    random = seeded(f"run {seed}")
    mode, calendar = MODES[seed % 3], CALENDARS[seed // 3 % 3]
    start = MONDAY + random.randint(-4, 8)
    end = start + random.randint(0, 10)
    lookback_days = random.choice((10, 0, 2))
    await database.fill(db, host)
    before = await database.snapshots(db)
    equities = await database.equities(db)
    host = read or host
    expected = outcome(
        host, sessions(calendar, host), start, end, mode, lookback_days=lookback_days
    )

    async def run() -> batchcore.BatchResult:
        return await run_days(
            db,
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
        assert str(await database.snapshots(db)) == str(before)
        assert str(await database.equities(db)) == str(equities)
        return expected
    result = await run()

    assert result.rows_written == len(expected.cells)
    assert result.failed == len(expected.failed)
    assert issues_of(result, host) == expected.issues
    assert_left(before, await database.snapshots(db), expected, host)
    assert await database.equities(db) == expected.equity
    return expected


@pytest.mark.parametrize("seed", range(27))
@LOOP
async def test_run_leaves_what_the_reference_says(
    same_host: str, pool_of: PoolOf, seed: int
) -> None:
    generator = Generator(seeded(seed).randint, odd=0, edges=False)
    await check_run(await pool_of(same_host), random_host(generator), seed, Schema())


@pytest.mark.parametrize("seed", range(27))
@LOOP
async def test_run_on_odd_rows_leaves_what_the_reference_says(
    same_loose_host: str, pool_of: PoolOf, seed: int
) -> None:
    generator = Generator(seeded(f"odd {seed}").randint, odd=6)
    db = await pool_of(same_loose_host)
    await check_run(db, random_host(generator, odd=True), seed, LOOSE)


@pytest.mark.parametrize("seed", range(27))
@LOOP
async def test_run_on_doubles_leaves_what_the_reference_says(
    same_double_host: str, pool_of: PoolOf, seed: int
) -> None:
    generator = Generator(seeded(f"double {seed}").randint, odd=6)
    host = random_host(generator, odd=True)
    await check_run(await pool_of(same_double_host), host, seed, LOOSE, in_doubles(host))


FIRST, LAST = MONDAY - 3, MONDAY + 14
SEEDS = pytest.mark.parametrize("seed", range(3))


def random(seed: int) -> Host:
    generator = Generator(seeded(f"route {seed}").randint, odd=0, edges=False)
    made = random_host(generator, portfolios=12)
    return Host(made.portfolios, made.prices)


async def run(
    db: Db,
    first: int,
    last: int,
    policy: str = "rollforward",
    calendar: str = "daily",
    **settings,
) -> batchcore.BatchResult:
    return await run_days(
        db,
        first,
        last,
        policy=policy,
        calendar=calendar if policy == "rollforward" else "XNYS",
        analytics="none",
        settings=Settings(min_coverage=0.0, max_failed="100%", **settings),
    )


async def left(db: Db, host: Host, spans: list[tuple[int, int]], **settings):
    """Return what runs over spans leave: snapshots without stamps, equities, and the issues."""
    await database.execute(db, EMPTY)
    await database.fill(db, host)
    results = [await run(db, *span, **settings) for span in spans]
    stored = database.without_stamps(await database.snapshots(db))
    reports = [result.to_dict()["issues"] for result in results]
    return (stored, await database.equities(db)), reports


@pytest.mark.parametrize(("seed", "calendar"), [*enumerate(CALENDARS)])
@LOOP
async def test_one_run_equals_a_run_for_each_day_or_some_ranges(
    same_host: str, pool_of: PoolOf, seed: int, calendar: str
) -> None:
    host, choose, of = random(seed), seeded(seed), {"calendar": calendar}
    cuts = sorted(choose.sample(range(FIRST + 1, LAST + 1), 3))
    starts, ends = [FIRST, *cuts], [*(cut - 1 for cut in cuts), LAST]
    db = await pool_of(same_host)
    at_once, _ = await left(db, host, [(FIRST, LAST)], **of)
    by_day, _ = await left(db, host, [(day, day) for day in range(FIRST, LAST + 1)], **of)
    split, _ = await left(db, host, list(zip(starts, ends, strict=True)), **of)
    assert len(at_once[0]) % 12 == 0 < len(at_once[0])
    assert by_day == split == at_once


@SEEDS
async def test_any_chunks_threads_and_connections_give_the_same(same_host: str, seed: int) -> None:
    host = random(seed)
    expected = await left(same_host, host, [(FIRST, LAST)], threads=1)
    for chunk_size, threads, connections in (
        *((1, 1, 8), (1, 2, None), (3, 1, 3), (3, 2, 2)),
        *((5, 1, None), (5, 2, 2)),
    ):
        options = {"chunk_size": chunk_size, "threads": threads, "connections": connections}
        found = await left(same_host, host, [(FIRST, LAST)], **options)
        assert found == expected  # the issues, in their order, too


@SEEDS
@pytest.mark.parametrize("policy", ["rollforward", "legacy"])
@LOOP
async def test_events_and_flows_loaded_in_groups_of_any_size_are_the_same(
    same_host: str, pool_of: PoolOf, monkeypatch: pytest.MonkeyPatch, seed: int, policy: str
) -> None:
    host, days, db = random(seed), [(FIRST, LAST)], await pool_of(same_host)
    expected = await left(db, host, days, policy=policy)
    assert expected[0][0]
    for of_all_events, of_a_group in ((1, 1), (1, 3000), (1 << 20, 1)):
        monkeypatch.setattr(chunk_groups, "BYTES_OF_ALL_EVENTS", of_all_events)
        monkeypatch.setattr(chunk_groups, "BYTES_OF_A_GROUP", of_a_group)
        assert await left(db, host, days, chunk_size=2, policy=policy) == expected


async def test_ids_ascend_by_portfolio_and_date(same_host: str) -> None:
    await database.fill(same_host, random(1))
    await run(same_host, FIRST, LAST)
    stored = await database.snapshots(same_host)

    ids = [row["id"] for row in stored.values()]  # in the order of portfolio and date
    assert ids == sorted(ids)
    assert len(set(ids)) == len(ids) == 12 * (LAST - FIRST + 1)
    assert_time_ordered(stored, set(stored))
