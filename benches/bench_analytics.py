"""What the analytics add to a run: `every` over many sessions, `portfolio` on one."""

import asyncio
from collections.abc import Iterator
from dataclasses import dataclass, field
from statistics import median
from time import perf_counter

import asyncpg
import pytest

import batchcore
from batchcore.calendar import date_of
from batchcore.db.migrate import migrate
from batchcore.demo import Seeded, Size, seeded
from sample import EmptyDatabase, put_back

PHASES = ("load", "compute", "analytics", "persist", "total")
ROUNDS = 5
FULL = {
    "every": Size(portfolios=1000, symbols=3000, sessions=120),
    "portfolio": Size(portfolios=10_000, symbols=3000, sessions=1),
}
SMALL = {
    "every": Size(portfolios=20, symbols=100, sessions=10),
    "portfolio": Size(portfolios=40, symbols=100, sessions=1),
}

pytestmark = pytest.mark.db


@dataclass
class Runs:
    """Runs with a level of analytics and without any, in turns, each on the same tables.

    Attributes:
        level: Of the analytics.
        url: Of the database.
        data: What it was filled with.
        seconds: By level, of each run by phase.
    """

    level: str
    url: str
    data: Seeded
    seconds: dict[str, list[dict[str, float]]] = field(default_factory=dict)

    @property
    def rows(self) -> int:
        return self.data.size.portfolios * self.data.size.sessions

    def run(self, level: str) -> None:
        """Run, and check that as many rows were analysed as the level says."""
        market = self.data.market

        async def timed() -> dict[str, float]:
            began = perf_counter()
            result = await batchcore.run_batch(
                self.url, date_of(market.start), date_of(market.end), analytics=level
            )
            assert result["success"]
            assert result.rows_written == self.rows
            return {**result.seconds_by_phase, "total": perf_counter() - began}

        self.seconds.setdefault(level, []).append(asyncio.run(timed()))
        expected = {"none": 0, "portfolio": self.data.size.portfolios, "every": self.rows}
        assert asyncio.run(self._analysed()) == expected[level]

    async def _analysed(self) -> int:
        connection = await asyncpg.connect(self.url)
        try:
            return await connection.fetchval(
                "SELECT count(sector_exposure) FROM portfolio_snapshots"
            )
        finally:
            await connection.close()

    def put_back(self) -> None:
        """Make the tables what they were before any run."""
        asyncio.run(put_back(self.url))

    def turn(self, other: str) -> None:
        """Run the other side before each timed run: whatever the machine does falls on both."""
        self.put_back()
        self.run(other)
        self.put_back()

    @property
    def title(self) -> str:
        return f"analytics `{self.level}`"

    def figures(self) -> list[str]:
        """Return the medians of each phase of both sides."""
        size = self.data.size
        title = f"{size.portfolios:,} portfolios, {size.symbols:,} symbols"
        lines = [
            f"{self.title}: {title}, {size.sessions:,} sessions",
            f"{'':14}{'runs':>5}" + "".join(f"{phase:>10}" for phase in PHASES),
        ]
        for level, runs in self.seconds.items():
            cells = "".join(f"{self.middle(level, phase):>10.3f}" for phase in PHASES)
            lines.append(f"{level:14}{len(runs):>5}{cells}")
        return [*lines, ""]

    def middle(self, level: str, phase: str) -> float:
        return median(run[phase] for run in self.seconds[level])


@pytest.fixture(scope="module", params=["every", "portfolio"])
def runs(
    request: pytest.FixtureRequest, figures: list[str], empty_database: EmptyDatabase
) -> Iterator[Runs]:
    timed = request.config.getoption("benchmark_enable")
    data = seeded((FULL if timed else SMALL)[request.param], seed=1)

    async def fill(url: str) -> None:
        await migrate(url)
        await data.write(url)

    with empty_database() as url:
        asyncio.run(fill(url))
        made = Runs(request.param, url, data)
        yield made
        if timed and made.seconds:
            figures += made.figures()


@pytest.mark.benchmark(group="analytics")
def bench_analytics(benchmark, runs: Runs):
    benchmark.pedantic(runs.run, args=(runs.level,), setup=lambda: runs.turn("none"), rounds=ROUNDS)
