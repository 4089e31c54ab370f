"""The whole run and its loop, native and as the dictionary cache: the same rows, compared."""

import asyncio
from collections.abc import Iterator
from dataclasses import dataclass
from time import perf_counter

import asyncpg
import pytest

import baseline
import batchcore
from batch.compare import LEFT_OUT, columns_of
from batch.wire import connected
from batchcore.audit import compute
from batchcore.schema import RULE_COLUMNS
from sample import Sides, table, words

PHASES = ("load", "compute", "persist")
ROUNDS = {"native": 5, "baseline": 3}

pytestmark = pytest.mark.db


@dataclass
class Contest(Sides):
    """Both sides on the same tables, which are put back before each run."""

    title = "whole run"
    than = "native"

    expected: bytes | None = None

    def run(self, side: str) -> None:
        if side == "native":
            self.timed(side, batchcore.run_batch(self.url, *self.days, analytics="none"))
        else:
            phases = self.timed(side, baseline.run(self.url, self.sessions))
            self.seconds[side][-1] |= {phase: phases[phase] for phase in PHASES}

    def check(self) -> None:
        """Compare all that the last run wrote with what the first one wrote, cell by cell."""
        written = asyncio.run(self._written())
        if self.expected is None:
            self.expected = written
        if written != self.expected:
            pairs = zip(self.expected.splitlines(), written.splitlines(), strict=False)
            first = next(((a, b) for a, b in pairs if a != b), "one has more rows")
            pytest.fail(f"the sides wrote different rows: {first}")

    async def _written(self) -> bytes:
        async with connected(self.url) as connection:
            columns = ", ".join(await columns_of(connection, "portfolio_snapshots", LEFT_OUT))
            rows = await copied(
                connection,
                f"SELECT {columns} FROM portfolio_snapshots"  # noqa: S608
                " ORDER BY portfolio_id, snapshot_date",
            )
            assert rows.count(b"\n") == self.rows
            equities = "SELECT id, equity_balance FROM portfolios ORDER BY id"
            return rows + await copied(connection, equities)


async def copied(connection: asyncpg.Connection, query: str) -> bytes:
    """Return the rows of a query as text, a line each."""
    pieces = []

    async def take(piece: bytes) -> None:
        pieces.append(bytes(piece))

    await connection.copy_from_query(query, output=take)
    return b"".join(pieces)


@pytest.fixture(scope="module")
def contest(given) -> Iterator[Contest]:
    with given(Contest) as both:
        both.put_back()
        yield both


@pytest.mark.benchmark(group="whole run")
@pytest.mark.parametrize("side", ROUNDS)
def bench_run(benchmark, contest: Contest, side: str):
    other = next(name for name in ROUNDS if name != side)

    def alternate() -> None:
        contest.put_back()
        contest.run(other)
        contest.check()
        contest.put_back()

    benchmark.pedantic(contest.run, args=(side,), setup=alternate, rounds=ROUNDS[side])
    contest.check()


@pytest.fixture(scope="module")
def loaded(contest: Contest) -> baseline.Loaded:
    """What the loop of the baseline reads, of a database without snapshots."""
    contest.put_back()

    async def load() -> baseline.Loaded:
        async with connected(contest.url) as connection:
            return await baseline.load(connection, *contest.days, 10)

    return asyncio.run(load())


@pytest.fixture(scope="module")
def seconds(contest: Contest, figures: list[str], timed: bool):  # noqa: FBT001  # a fixture
    """Seconds in memory, by side."""
    taken = {side: [] for side in ROUNDS}
    yield taken
    if timed and all(taken.values()):
        figures += table(f"in memory: {words(contest.size)}", taken, "native")


@pytest.mark.benchmark(group="in memory, from arrays and from dictionaries")
@pytest.mark.parametrize("side", ROUNDS)
def bench_compute(benchmark, contest: Contest, loaded: baseline.Loaded, seconds, side: str):
    market, inputs = contest.data.market, contest.data.portfolios.inputs
    days = market.days[market.first :].copy()
    sides = {
        "native": lambda: batchcore.compute(inputs, days),
        "baseline": lambda: baseline.compute(loaded, contest.sessions),
    }
    results = {}

    def timed(name: str) -> None:
        began = perf_counter()
        results[name] = sides[name]()
        seconds[name].append({"total": perf_counter() - began})

    other = next(name for name in sides if name != side)
    benchmark.pedantic(timed, args=(side,), setup=lambda: timed(other), rounds=ROUNDS[side])

    rows, expected = results["native"], list(zip(*results["baseline"], strict=True))
    assert len(rows) == contest.rows
    by_name = dict(zip(baseline.COLUMNS, expected, strict=True))
    for name, column in compute.columns_of(rows, RULE_COLUMNS).items():
        assert not column.state.any(), name
        values = [int(value * 10**column.scale) for value in by_name[name]]
        assert column.values.tolist() == values, name
