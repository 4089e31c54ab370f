"""How long a call keeps the event loop from its other tasks, the first call of a process included.

A ticker that sleeps 10 ms measures it. What other processes take from it is in there too, so a
ticker alone is told beside, and the most processor time that this one took in a gap, all its
threads together: on a quiet machine no gap is longer than that and the 10 ms.
"""

import asyncio
import json
import subprocess
import sys
from collections import defaultdict
from dataclasses import dataclass, field
from statistics import median

import pytest

from sample import FULL, EmptyDatabase, Host, Size, prepared

CALLS = ("a ticker alone", "first call", "second call", "to_dict")
LOOPS = ("asyncio", "uvloop")
ROUNDS = 5
MANY = Size(portfolios=5000, many=1, symbols=3000, sessions=20)

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
class Gaps:
    """Of each call the longest gap, and the most processor time of one, in seconds."""

    host: Host
    longest: dict[tuple[str, str], list[tuple[float, float]]] = field(
        default_factory=lambda: defaultdict(list)
    )

    def measure(self, loop: str) -> None:
        first, *_, last = self.host.sessions
        words = (self.host.url, str(first), str(last), loop)
        done = subprocess.run(  # noqa: S603  # our own words
            [sys.executable, "-c", CHILD, *words], check=True, capture_output=True, text=True
        )
        for call, gap in json.loads(done.stdout).items():
            self.longest[loop, call].append(tuple(gap))


@pytest.fixture(scope="module")
def loaded(size: Size, empty_database: EmptyDatabase):
    with empty_database() as url:
        yield asyncio.run(prepared(url, MANY if size == FULL else size, analytics=True))


@pytest.fixture(scope="module")
def gaps(loaded: Host, figures: list[str]):
    found = Gaps(loaded)
    yield found
    if loaded.size != MANY:
        return
    figures.append(f"longest gap of a 10 ms ticker, in milliseconds: {found.host.size}")
    figures.append(f"{'':10}{'':16}{'median':>8}{'most':>8}{'own, median':>13}{'most':>6}")
    for (loop, call), seconds in found.longest.items():
        wall, own = ([one[at] * 1000 for one in seconds] for at in (0, 1))
        figures.append(
            f"{loop:10}{call:16}{median(wall):>8.0f}{max(wall):>8.0f}"
            f"{median(own):>13.0f}{max(own):>6.0f}"
        )


@pytest.mark.benchmark(group="event loop")
@pytest.mark.parametrize("loop", LOOPS)
def bench_gaps(benchmark, gaps: Gaps, loop: str):
    rounds = ROUNDS if gaps.host.size == MANY else 1
    benchmark.pedantic(gaps.measure, args=(loop,), rounds=rounds)
    assert {call for _, call in gaps.longest} == set(CALLS)
