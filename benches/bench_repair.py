"""A repair of one corrected close against computing every chain anew: the same rows, compared."""

import asyncio
from collections.abc import Iterator
from dataclasses import dataclass

import pytest

import batchcore
from batchcore.calendar import date_of
from bench_corrections import CLOSE, ROUNDS, SMALL, Corrections
from sample import FULL

BACK = CLOSE.replace("close + 1", "close - 1")

pytestmark = pytest.mark.db


@dataclass
class Repairs(Corrections):
    """Both ways to bring the same tables up to date after one close was corrected."""

    title = "repair of one close"

    async def correct(self, statement: str = CLOSE) -> None:
        await self.change(statement, date_of(int(self.data.market.days[-3])))

    async def catch_up(self) -> batchcore.BatchResult:
        return await batchcore.repair(self.url, analytics="none")


@pytest.fixture(scope="module")
def sides(given) -> Iterator[Repairs]:
    with given(Repairs, FULL, SMALL) as made:
        yield made


@pytest.mark.benchmark(group="repair")
def bench_repair(benchmark, sides: Repairs):
    def alternate() -> None:
        sides.run("recomputed")
        sides.check()
        asyncio.run(sides.correct(BACK))
        sides.run("repaired")
        assert 0 < sides.written["repaired"] < sides.written["recomputed"]
        asyncio.run(sides.correct())

    benchmark.pedantic(sides.run, args=("repaired",), setup=alternate, rounds=ROUNDS)
    sides.check()
