"""The whole run and its loop, native and as the dictionary cache: the same rows, compared."""

import asyncio
from dataclasses import dataclass, field
from statistics import median
from time import perf_counter

import asyncpg
import pytest

import baseline
import batchcore
from batchcore.schema import COUNT_COLUMNS, MONEY_COLUMNS
from batchcore.units import CENTS, RETURN_SCALE
from sample import Host, put_back

PHASES = ("load", "compute", "persist")
ROUNDS = {"native": 5, "baseline": 3}

pytestmark = pytest.mark.db


@dataclass
class Contest:
    """Both sides on the same tables, which are put back before each run."""

    host: Host
    seconds: dict[str, list[dict[str, float]]] = field(
        default_factory=lambda: {side: [] for side in ROUNDS}
    )
    expected: bytes | None = None

    def run(self, side: str) -> None:
        began = perf_counter()
        phases = asyncio.run(self._native() if side == "native" else self._baseline())
        self.seconds[side].append({**phases, "total": perf_counter() - began})

    async def _native(self) -> dict[str, float]:
        sessions = self.host.sessions
        result = await batchcore.run_batch(
            self.host.url, sessions[0], sessions[-1], analytics="none"
        )
        assert result["success"]
        return {phase: result.seconds_by_phase[phase] for phase in PHASES}

    async def _baseline(self) -> dict[str, float]:
        return await baseline.run(self.host.url, self.host.sessions)

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
        connection = await asyncpg.connect(self.host.url)
        try:
            names = await connection.fetch(
                "SELECT attname FROM pg_attribute WHERE attrelid = 'portfolio_snapshots'::regclass"
                " AND attnum > 0 AND NOT attisdropped AND attname NOT IN ('id', 'created_at')"
            )
            columns = ", ".join(name for (name,) in names)
            rows = await copied(
                connection,
                f"SELECT {columns} FROM portfolio_snapshots"  # noqa: S608
                " ORDER BY portfolio_id, snapshot_date",
            )
            equities = "SELECT id, equity_balance FROM portfolios ORDER BY id"
            size = self.host.size
            assert rows.count(b"\n") == size.portfolios * size.sessions
            return rows + await copied(connection, equities)
        finally:
            await connection.close()

    def put_back(self) -> None:
        """Make the tables what they were before any run."""
        asyncio.run(put_back(self.host.url))


async def copied(connection: asyncpg.Connection, query: str) -> bytes:
    """Return the rows of a query as text, a line each."""
    pieces = []

    async def take(piece: bytes) -> None:
        pieces.append(bytes(piece))

    await connection.copy_from_query(query, output=take)
    return b"".join(pieces)


@pytest.fixture(scope="module")
def contest(host: Host, figures: list[str], request: pytest.FixtureRequest):
    both = Contest(host)
    both.put_back()
    yield both
    if request.config.getoption("benchmark_enable") and all(both.seconds.values()):
        figures += table(f"whole run: {host.size}", both.seconds, (*PHASES, "total"))


def table(
    title: str, seconds: dict[str, list[dict[str, float]]], columns: tuple[str, ...]
) -> list[str]:
    """Return the medians of both sides in seconds and how many times faster the native one is."""
    middle = {
        side: {column: median(one[column] for one in runs) for column in columns}
        for side, runs in seconds.items()
    }
    lines = [title, f"{'':10}{'runs':>5}" + "".join(f"{name:>10}" for name in columns)]
    lines[-1] += f"{'least':>10}{'most':>10}"
    for side, medians in middle.items():
        totals = [one["total"] for one in seconds[side]]
        cells = [*medians.values(), min(totals), max(totals)]
        lines.append(f"{side:10}{len(totals):>5}" + "".join(f"{cell:>10.3f}" for cell in cells))
    ratio = middle["baseline"]["total"] / middle["native"]["total"]
    return [*lines, f"the native side is {ratio:.1f} times as fast (medians)", ""]


@pytest.mark.benchmark(group="whole run")
@pytest.mark.parametrize("side", ROUNDS)
def bench_run(benchmark, contest: Contest, side: str):
    other = next(name for name in ROUNDS if name != side)

    def alternate() -> None:
        # The sides take turns, so that whatever else the machine does falls on both.
        contest.put_back()
        contest.run(other)
        contest.check()
        contest.put_back()

    benchmark.pedantic(contest.run, args=(side,), setup=alternate, rounds=ROUNDS[side])
    contest.check()


@pytest.fixture(scope="module")
def loaded(host: Host, contest: Contest) -> baseline.Loaded:
    """What the loop of the baseline reads, of a database without snapshots."""
    contest.put_back()

    async def load() -> baseline.Loaded:
        connection = await asyncpg.connect(host.url)
        try:
            return await baseline.load(connection, host.sessions[0], host.sessions[-1], 10)
        finally:
            await connection.close()

    return asyncio.run(load())


@pytest.fixture(scope="module")
def seconds(host: Host, figures: list[str], request: pytest.FixtureRequest):
    """Seconds in memory, by side."""
    taken = {side: [] for side in ROUNDS}
    yield taken
    if request.config.getoption("benchmark_enable") and all(taken.values()):
        figures += table(f"in memory: {host.size}", taken, ("total",))


@pytest.mark.benchmark(group="in memory, from arrays and from dictionaries")
@pytest.mark.parametrize("side", ROUNDS)
def bench_compute(benchmark, host: Host, loaded: baseline.Loaded, seconds, side: str):
    days = host.market.days[host.market.first :].copy()
    sides = {
        "native": lambda: batchcore.compute(host.held.inputs, days),
        "baseline": lambda: baseline.compute(loaded, host.sessions),
    }
    results = {}

    def timed(name: str) -> None:
        began = perf_counter()
        results[name] = sides[name]()
        seconds[name].append({"total": perf_counter() - began})

    other = next(name for name in sides if name != side)
    benchmark.pedantic(timed, args=(side,), setup=lambda: timed(other), rounds=ROUNDS[side])

    rows, expected = results["native"], list(zip(*results["baseline"], strict=True))
    assert len(rows) == host.size.portfolios * host.size.sessions
    by_name = dict(zip(baseline.COLUMNS, expected, strict=True))
    for column in MONEY_COLUMNS:
        cents = [int(amount.scaleb(CENTS)) for amount in by_name[column]]
        assert getattr(rows, column).tolist() == cents, column
    for column in COUNT_COLUMNS:
        assert getattr(rows, column).tolist() == list(by_name[column]), column
    assert not rows.daily_return.state.any()
    returns = [int(value.scaleb(RETURN_SCALE)) for value in by_name["daily_return"]]
    assert rows.daily_return.values.tolist() == returns
