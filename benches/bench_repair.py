"""A repair of one corrected close against computing every chain anew: the same rows, compared."""

import asyncio
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


@pytest.mark.benchmark(group="repair")
def bench_repair(benchmark, given):
    def alternate() -> None:
        sides.run("recomputed")
        sides.check()
        asyncio.run(sides.correct(BACK))
        sides.run("repaired")
        assert 0 < sides.written["repaired"] < sides.written["recomputed"]
        asyncio.run(sides.correct())

    with given(Repairs, FULL, SMALL) as sides:
        benchmark.pedantic(sides.run, args=("repaired",), setup=alternate, rounds=ROUNDS)
        sides.check()
