"""What the analytics add to a run: `every` over many sessions, `portfolio` on one."""

from collections.abc import Iterator
from dataclasses import dataclass

import pytest

import batchcore
from batchcore.demo.run import Size
from sample import FULL, SMALL, Sides

ROUNDS = 5
SIZES = {
    "every": (FULL, SMALL),
    "portfolio": (
        Size(portfolios=10_000, symbols=3000, sessions=1),
        Size(portfolios=40, symbols=100, sessions=1),
    ),
}

pytestmark = pytest.mark.db


@dataclass
class Levels(Sides):
    """Runs with and without analytics, each on the same tables."""

    title = "analytics"
    than = "none"

    def run(self, side: str) -> None:
        result = self.timed(side, batchcore.run_batch(self.url, *self.days, analytics=side))
        assert result.rows_written == self.rows
        expected = {"none": 0, "portfolio": self.size.portfolios, "every": self.rows}
        row = self.row("SELECT count(sector_exposure) FROM portfolio_snapshots")
        assert tuple(row) == (expected[side],)


@pytest.fixture(scope="module", params=SIZES)
def levels(request: pytest.FixtureRequest, given) -> Iterator[tuple[str, Levels]]:
    with given(Levels, *SIZES[request.param]) as made:
        yield request.param, made


@pytest.mark.benchmark(group="analytics")
def bench_analytics(benchmark, levels: tuple[str, Levels]):
    level, sides = levels
    benchmark.pedantic(sides.run, args=(level,), setup=lambda: sides.turn("none"), rounds=ROUNDS)
