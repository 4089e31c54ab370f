"""S11 on the database: the same rows to the last digit, whatever the route."""

import pytest

import batchcore
from batchcore.config import Settings
from batchcore.run import grouped
from db.conftest import EMPTY
from support import database
from support.database import Db, Host
from support.generate import MONDAY, Generator
from support.outcome import assert_time_ordered, random_host, seeded
from support.runs import run_days

pytestmark = pytest.mark.db

FIRST, LAST = MONDAY - 3, MONDAY + 14
SEEDS = pytest.mark.parametrize("seed", range(3))


def random(seed: int) -> Host:
    generator = Generator(seeded(f"route {seed}").randint, odd=0, edges=False)
    made = random_host(generator, portfolios=12)
    return Host(made.portfolios, made.prices)


async def run(
    db: Db, first: int, last: int, policy: str = "rollforward", **settings
) -> batchcore.BatchResult:
    return await run_days(
        db,
        first,
        last,
        policy=policy,
        calendar="daily" if policy == "rollforward" else "XNYS",
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


@SEEDS
async def test_one_run_equals_a_run_for_each_day_or_some_ranges(same_host: str, seed: int) -> None:
    host, choose = random(seed), seeded(seed)
    cuts = sorted(choose.sample(range(FIRST + 1, LAST + 1), 3))
    starts, ends = [FIRST, *cuts], [*(cut - 1 for cut in cuts), LAST]
    async with database.pooled(same_host) as db:
        at_once, _ = await left(db, host, [(FIRST, LAST)])
        by_day, _ = await left(db, host, [(day, day) for day in range(FIRST, LAST + 1)])
        split, _ = await left(db, host, list(zip(starts, ends, strict=True)))
    assert len(at_once[0]) == 12 * (LAST - FIRST + 1)
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
@pytest.mark.parametrize("most_bytes", [(1, 1), (1, 3000), (1 << 20, 1)])
async def test_events_and_flows_loaded_in_groups_of_any_size_are_the_same(
    same_host: str,
    monkeypatch: pytest.MonkeyPatch,
    seed: int,
    policy: str,
    most_bytes: tuple[int, int],
) -> None:
    host, days = random(seed), [(FIRST, LAST)]
    expected = await left(same_host, host, days, policy=policy)
    assert expected[0][0]
    of_all_events, of_a_group = most_bytes
    monkeypatch.setattr(grouped, "BYTES_OF_ALL_EVENTS", of_all_events)
    monkeypatch.setattr(grouped, "BYTES_OF_A_GROUP", of_a_group)
    assert await left(same_host, host, days, chunk_size=2, policy=policy) == expected


async def test_replacing_all_rows_gives_the_same(same_host: str) -> None:
    host = random(0)
    (expected, _), _ = await left(same_host, host, [(FIRST, LAST)])
    before = await database.snapshots(same_host)
    for first in (LAST - 3, FIRST):
        await run_days(
            same_host,
            first,
            LAST,
            calendar="daily",
            analytics="none",
            on_existing="replace",
            settings=Settings(min_coverage=0.0),
        )
        assert await database.snapshots(same_host) == before
    assert database.without_stamps(before) == expected


async def test_ids_ascend_by_portfolio_and_date(same_host: str) -> None:
    await database.fill(same_host, random(1))
    await run(same_host, FIRST, LAST)
    stored = await database.snapshots(same_host)

    ids = [row["id"] for row in stored.values()]  # in the order of portfolio and date
    assert ids == sorted(ids)
    assert len(set(ids)) == len(ids) == 12 * (LAST - FIRST + 1)
    assert_time_ordered(stored, set(stored))
