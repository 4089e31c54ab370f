"""A repair of one corrected close against computing every chain anew: the same rows, compared."""

import asyncio
from collections.abc import Iterator
from statistics import median
from time import perf_counter

import asyncpg
import pytest

import batchcore
from batchcore.calendar import date_of
from batchcore.db.migrate import migrate
from batchcore.demo import seeded
from bench_corrections import CLOSE, FULL, ROUNDS, SINCE, SMALL, Sides
from sample import EmptyDatabase

BACK = CLOSE.replace("close + 1", "close - 1")

pytestmark = pytest.mark.db


class Repairs(Sides):
    """Both ways to bring the same tables up to date after one close was corrected."""

    async def prepare(self) -> None:
        """Write every row, then correct one close."""
        await migrate(self.url)
        await self.data.write(self.url)
        await self.recompute()
        await self.change(CLOSE)

    async def change(self, statement: str) -> None:
        near = date_of(int(self.data.market.days[-3]))
        connection = await asyncpg.connect(self.url)
        try:
            assert await connection.execute(statement, SINCE, near) == "UPDATE 1"
            await connection.execute("VACUUM ANALYZE")
        finally:
            await connection.close()

    async def repair(self) -> batchcore.BatchResult:
        return await batchcore.repair(self.url, analytics="none")

    def run(self, side: str) -> None:
        began = perf_counter()
        result = asyncio.run(self.repair() if side == "repaired" else self.recompute())
        self.seconds.setdefault(side, []).append(perf_counter() - began)
        assert result["success"]
        self.rows[side] = result.rows_written


@pytest.fixture(scope="module")
def sides(
    request: pytest.FixtureRequest, figures: list[str], empty_database: EmptyDatabase
) -> Iterator[Repairs]:
    timed = request.config.getoption("benchmark_enable")
    with empty_database() as url:
        made = Repairs(url, seeded(FULL if timed else SMALL, seed=1))
        asyncio.run(made.prepare())
        yield made
        if timed and len(made.seconds) > 1:
            size, middle = made.data.size, {s: median(t) for s, t in made.seconds.items()}
            figures += [
                f"repair: {size.portfolios:,} portfolios, {size.sessions:,} sessions, one close",
                *(f"{s:12}{made.rows[s]:>10,} rows{t:>10.3f} s" for s, t in middle.items()),
                f"{middle['repaired'] / middle['recomputed']:.1%} of the time (medians)",
                "",
            ]


@pytest.mark.benchmark(group="repair")
def bench_repair(benchmark, sides: Repairs):
    def alternate() -> None:
        # The sides take turns, so that whatever else the machine does falls on both.
        sides.run("recomputed")
        sides.check()
        asyncio.run(sides.change(BACK))
        sides.run("repaired")
        assert 0 < sides.rows["repaired"] < sides.rows["recomputed"]
        asyncio.run(sides.change(CLOSE))

    benchmark.pedantic(sides.run, args=("repaired",), setup=alternate, rounds=ROUNDS)
    sides.check()
