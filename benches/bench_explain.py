"""What made the P&L of a night (X8), beside loading and computing that night: the same P&L."""

import asyncio
from collections.abc import Iterator
from dataclasses import dataclass, field
from statistics import median
from time import perf_counter

import pytest

import batchcore
from batchcore.calendar import date_of
from batchcore.db.migrate import migrate
from batchcore.demo import Seeded, Size, seeded
from sample import EmptyDatabase

ROUNDS = 5
FULL = Size(portfolios=100_000, symbols=3000, sessions=2)
SMALL = Size(portfolios=40, symbols=100, sessions=2)

pytestmark = pytest.mark.db


@dataclass
class Night:
    """A database with two sessions, the last of which is run again or explained.

    Attributes:
        url: Of the database.
        data: What it was filled with.
        seconds: By side, of each run.
    """

    url: str
    data: Seeded
    seconds: dict[str, list[float]] = field(default_factory=dict)

    async def prepare(self) -> None:
        await migrate(self.url)
        await self.data.write(self.url)
        market = self.data.market
        days = date_of(market.start), date_of(market.end)
        result = await batchcore.run_batch(self.url, *days, analytics="none")
        assert result["success"]

    def run(self, side: str) -> None:
        last = date_of(self.data.market.end)
        if side == "night":
            again = batchcore.run_batch(
                self.url, last, last, on_existing="replace", analytics="none"
            )
            result = asyncio.run(again)
            phases = result.seconds_by_phase
            seconds = phases["load"] + phases["compute"]
            assert result["success"]
        else:
            began = perf_counter()
            found = asyncio.run(batchcore.explain(self.url, None, last, by=side))
            seconds = perf_counter() - began
            assert found.explained
            assert found.portfolios == self.data.size.portfolios
        self.seconds.setdefault(side, []).append(seconds)


@pytest.fixture(scope="module")
def night(
    request: pytest.FixtureRequest, figures: list[str], empty_database: EmptyDatabase
) -> Iterator[Night]:
    timed = request.config.getoption("benchmark_enable")
    with empty_database() as url:
        made = Night(url, seeded(FULL if timed else SMALL, seed=1))
        asyncio.run(made.prepare())
        yield made
        if timed and len(made.seconds) > 1:
            middle = {side: median(seconds) for side, seconds in made.seconds.items()}
            figures += [
                f"explain: {made.data.size.portfolios:,} portfolios, one session",
                *(f"{side:12}{seconds:>10.3f} s" for side, seconds in middle.items()),
                f"{middle['symbol'] / middle['night']:.2f} times load and compute (medians)",
                "",
            ]


@pytest.mark.benchmark(group="explain")
def bench_explain(benchmark, night: Night):
    def alternate() -> None:
        # The sides take turns, so that whatever else the machine does falls on each.
        for side in ("night", "sector", "portfolio"):
            night.run(side)

    benchmark.pedantic(night.run, args=("symbol",), setup=alternate, rounds=ROUNDS)
