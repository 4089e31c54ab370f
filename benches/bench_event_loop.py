"""How long a call keeps the event loop from its other tasks, the first call of a process included.

A ticker that sleeps 10 ms measures it. What other processes take from it is in there too, so a
ticker alone is told beside, and the most processor time that this one took in a gap, all its
threads together: on a quiet machine no gap is longer than that and the 10 ms.
"""

import json
import subprocess
import sys
from collections import defaultdict
from collections.abc import Iterator
from dataclasses import dataclass, field
from statistics import median

import pytest

from batch.table import aligned
from batchcore.demo.run import Size
from sample import SMALL, Sides, words

CALLS = ("a ticker alone", "first call", "second call", "to_dict")
LOOPS = ("asyncio", "uvloop")
ROUNDS = 5
MANY = Size(portfolios=5000, symbols=3000, sessions=20)

CHILD = """
import asyncio, datetime, json, sys, time
import batchcore

url, start, end, loop = sys.argv[1:]
told = {}

async def tick(gaps):
    while True:
        wall, own = time.perf_counter(), time.process_time()
        await asyncio.sleep(0.01)
        gaps.append((time.perf_counter() - wall, time.process_time() - own))

async def timed(name, work):
    gaps = []
    ticker = asyncio.create_task(tick(gaps))
    await asyncio.sleep(0.05)
    result = await work
    await asyncio.sleep(0.05)
    ticker.cancel()
    told[name] = [max(one) for one in zip(*gaps)]
    return result

async def documented(result):
    return result.to_dict()

async def main():
    days = datetime.date.fromisoformat(start), datetime.date.fromisoformat(end)
    await timed("a ticker alone", asyncio.sleep(1))
    for name in ("first call", "second call"):
        call = batchcore.run_batch(url, *days, on_existing="replace", analytics="portfolio")
        result = await timed(name, call)
    await timed("to_dict", documented(result))
    print(json.dumps(told))

if loop == "uvloop":
    import uvloop
    uvloop.run(main())
else:
    asyncio.run(main())
"""

pytestmark = pytest.mark.db


@dataclass
class Gaps(Sides):
    """Of each call the longest gap, and the most processor time of one, in seconds."""

    longest: dict[tuple[str, str], list[tuple[float, float]]] = field(
        default_factory=lambda: defaultdict(list)
    )

    def run(self, side: str) -> None:
        words = (self.url, *map(str, self.days), side)
        done = subprocess.run(  # noqa: S603  # our own words
            [sys.executable, "-c", CHILD, *words], check=True, capture_output=True, text=True
        )
        for call, gap in json.loads(done.stdout).items():
            self.longest[side, call].append(tuple(gap))

    def lines(self) -> list[str]:
        body = [["", "", "median", "most", "own, median", "most"]]
        for (loop, call), seconds in self.longest.items():
            milliseconds = [[one[at] * 1000 for one in seconds] for at in (0, 1)]
            cells = [f"{of(one):.0f}" for one in milliseconds for of in (median, max)]
            body.append([loop, call, *cells])
        title = f"longest gap of a 10 ms ticker, in milliseconds: {words(self.size)}"
        return [title, *aligned(body)]


@pytest.fixture(scope="module")
def gaps(given) -> Iterator[Gaps]:
    with given(Gaps, MANY, SMALL) as made:
        yield made


@pytest.mark.benchmark(group="event loop")
@pytest.mark.parametrize("loop", LOOPS)
def bench_gaps(benchmark, gaps: Gaps, loop: str):
    benchmark.pedantic(gaps.run, args=(loop,), rounds=ROUNDS if benchmark.enabled else 1)
    assert {call for _, call in gaps.longest} == set(CALLS)
