"""The contest of `batch`, once on little: every side writes the rows of batchcore.

Its figures come from `make bench-batch`, which runs each side in a process of its own.
"""

import asyncio
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from batch.compare import DiffersError, Expected
from batch.contest import Contest
from batch.data import server
from batch.job import JOBS, job_of
from batch.sides import SIDES
from batch.sizes import SIZES
from batch.state import keep_opening, put_back
from batch.wire import connected

pytestmark = pytest.mark.db

SIZE = SIZES["xs"]


@pytest.fixture(scope="module")
def url() -> Iterator[str]:
    with server(SIZE, analytics=True) as started:
        yield started.url


@pytest.mark.parametrize(
    ("name", "analytics"), [*((name, "none") for name in JOBS), ("daily", "full")]
)
@pytest.mark.usefixtures("child_here")
def bench_batch(url: str, tmp_path: Path, name: str, analytics: str):
    sides = [side for side in SIDES.values() if not side.lacks]
    if analytics != "none":
        sides = [side for side in sides if side.analytics]
    if (name, analytics) != ("daily", "none"):
        # as on more of them: a side that is too slow for all has some
        sides = [side if side.portfolios is None else replace(side, portfolios=4) for side in sides]
    some = {side.name: side.portfolios for side in sides if side.portfolios == 4}
    job = job_of(name, SIZE, tmp_path, analytics=analytics)

    found = asyncio.run(Contest(url, job, tuple(sides), rounds=1, seed=1).run())

    assert set(found.told) == {side.name for side in sides}
    for side, (told,) in found.told.items():
        assert told["rows"] == some.get(side, SIZE.portfolios) * len(job.sessions), side
        assert told["total"] > 0, side
        assert told["peak_bytes"] >= told["peak_bytes_before"] > 0, side
    assert len(found.lines()) == 1 + len(sides) + len(some)


@pytest.mark.parametrize(
    ("wrong", "row"),
    [
        (
            (
                "UPDATE portfolio_snapshots SET cash_value = cash_value + 0.01"
                " WHERE snapshot_date = (SELECT max(snapshot_date) FROM portfolio_snapshots)"
            ),
            "10 of portfolio_snapshots",
        ),
        ("UPDATE portfolio_snapshots SET hhi = 0", "1 of portfolio_snapshots"),
        (
            (
                "DELETE FROM portfolio_snapshots"
                " WHERE snapshot_date = (SELECT min(snapshot_date) FROM portfolio_snapshots)"
            ),
            "1 of portfolio_snapshots",
        ),
        (
            (
                "DELETE FROM portfolio_snapshots"
                " WHERE portfolio_id = (SELECT id FROM portfolios ORDER BY id DESC LIMIT 1)"
            ),
            "191 of portfolio_snapshots",
        ),
        ("UPDATE portfolios SET equity_balance = equity_balance + 0.01", "1 of portfolios"),
    ],
)
def test_a_side_that_writes_something_else_fails(
    url: str, tmp_path: Path, child_here, wrong: str, row: str
):
    job = job_of("backfill", SIZE, tmp_path)

    async def compared() -> None:
        async with connected(url) as connection:
            await keep_opening(connection)
            await put_back(connection, job)
            child_here("batchcore", url, job)
            expected = await Expected.kept(connection, job)
            assert await expected.compare(connection, "side") == job.rows
            await connection.execute(wrong)
            with pytest.raises(DiffersError, match=f"side differs from batchcore in row {row}"):
                await expected.compare(connection, "side")

    asyncio.run(compared())
