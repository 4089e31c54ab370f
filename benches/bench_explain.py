"""What made the P&L of a night (X8), beside loading and computing that night: the same P&L."""

from collections.abc import Iterator
from dataclasses import dataclass

import pytest

import batchcore
from batchcore.demo.run import Size
from sample import Sides

ROUNDS = 5
FULL = Size(portfolios=100_000, symbols=3000, sessions=2)
SMALL = Size(portfolios=40, symbols=100, sessions=2)

pytestmark = pytest.mark.db


@dataclass
class Explained(Sides):
    """A database with two sessions, the last of which is run again or explained."""

    title = "explain the last session"
    than = "night"

    async def prepare(self) -> None:
        await super().prepare()
        result = await batchcore.run_batch(self.url, *self.days, analytics="none")
        assert result["success"]

    def run(self, side: str) -> None:
        last = self.sessions[-1]
        if side == "night":
            self.timed(
                side,
                batchcore.run_batch(self.url, last, last, on_existing="replace", analytics="none"),
            )
            took = self.seconds[side][-1]
            took["total"] = took["load"] + took["compute"]
        else:
            found = self.timed(side, batchcore.explain(self.url, None, last, by=side))
            assert found.explained
            assert found.portfolios == self.size.portfolios


@pytest.fixture(scope="module")
def night(given) -> Iterator[Explained]:
    with given(Explained, FULL, SMALL) as made:
        yield made


@pytest.mark.benchmark(group="explain")
def bench_explain(benchmark, night: Explained):
    def alternate() -> None:
        for side in ("night", "sector", "portfolio"):
            night.run(side)

    benchmark.pedantic(night.run, args=("symbol",), setup=alternate, rounds=ROUNDS)
