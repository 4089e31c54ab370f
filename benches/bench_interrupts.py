"""How long after a signal a batch ends: at moments all over its run, in a process of its own.

It is timed in chunks of a size that nobody would choose, too: all portfolios at once, in which
native calls are longest.
"""

import asyncio
import signal
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass, field
from statistics import median
from time import perf_counter, sleep

import pytest

from batch.table import aligned
from batch.wire import connected
from sample import Sides, words

MOMENTS = 12
CODES = {signal.SIGINT: 130, signal.SIGTERM: 143}
WORDS = {
    "by default": (),
    "in one chunk": ("--chunk-size", "1000000", "--analytics", "every"),
}

pytestmark = pytest.mark.db


@dataclass
class Interrupts(Sides):
    """Batches that are stopped, and how long each took to end."""

    ends: dict[str, list[float]] = field(default_factory=dict)
    whole: dict[str, float] = field(default_factory=dict)

    def start(self, how: str) -> subprocess.Popen[bytes]:
        first, last = self.days
        words = ("run", "--database-url", self.url, "--start", str(first), "--end", str(last))
        return subprocess.Popen(  # noqa: S603  # our own words
            [sys.executable, "-m", "batchcore", *words, "--on-existing", "replace", *WORDS[how]],
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )

    def undisturbed(self, how: str) -> None:
        began = perf_counter()
        assert self.start(how).wait() == 0
        self.whole[how] = perf_counter() - began

    def stop(self, how: str, after_s: float, number: signal.Signals) -> None:
        with self.start(how) as batch:
            sleep(after_s)
            sent = perf_counter()
            batch.send_signal(number)
            code = batch.wait()
            # Python itself is still starting, or the batch was done.
            if code in {CODES[number], -number}:
                self.ends.setdefault(how, []).append(perf_counter() - sent)
            else:
                assert code == 0
        asyncio.run(self._assert_alone())

    async def _assert_alone(self) -> None:
        """Assert that nothing of the batch is at work in the server any more."""
        async with connected(self.url) as connection, asyncio.timeout(30):
            while await connection.fetchval(
                "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database()"
                " AND backend_type = 'client backend' AND pid <> pg_backend_pid()"
            ):
                pass

    def lines(self) -> list[str]:
        body = [["", "signals", "median", "most", "undisturbed"]]
        for how, ends in self.ends.items():
            cells = [f"{cell:.2f}" for cell in (median(ends), max(ends), self.whole[how])]
            body.append([how, str(len(ends)), *cells])
        title = f"from a signal to the end of the process, in seconds: {words(self.size)}"
        return [title, *aligned(body)]


@pytest.fixture(scope="module")
def interrupts(given) -> Iterator[Interrupts]:
    with given(Interrupts) as made:
        yield made


@pytest.mark.benchmark(group="interrupts")
@pytest.mark.parametrize("how", WORDS)
def bench_interrupt(benchmark, interrupts: Interrupts, how: str):
    moments, whole, numbers = 1, 1.0, list(CODES)
    if benchmark.enabled:
        interrupts.undisturbed(how)
        moments, whole = MOMENTS, interrupts.whole[how]

    def stop_everywhere() -> None:
        for moment in range(moments):
            share = (moment + 0.5) / moments
            interrupts.stop(how, share * whole, numbers[moment % len(numbers)])

    benchmark.pedantic(stop_everywhere)
    assert max(interrupts.ends.get(how, [0.0])) < 30
