"""A night of late corrections against computing every chain anew: the same rows, compared."""

import asyncio
from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime
from statistics import median
from time import perf_counter

import asyncpg
import pytest

import batchcore
from batchcore.calendar import date_of
from batchcore.db.migrate import migrate
from batchcore.demo import Seeded, Size, seeded
from bench_run import copied
from sample import EmptyDatabase

ROUNDS = 5
FULL = Size(portfolios=1000, symbols=3000, sessions=120)
SMALL = Size(portfolios=40, symbols=100, sessions=10)

SINCE = datetime(2099, 1, 1, tzinfo=UTC)
"""After every row of the sample."""

CLOSE = (
    "UPDATE market_data_cache SET close = close + 1, updated_at = $1 WHERE (symbol, date) ="
    " (SELECT symbol, m.date FROM market_data_cache m JOIN positions p USING (symbol)"
    " WHERE close > 0 AND exit_date IS NULL AND m.date = $2 ORDER BY symbol LIMIT 1)"
)
"""One close of a session near the end."""

POSITIONS = (
    "UPDATE positions SET quantity = quantity * 2, updated_at = $1 WHERE id IN"
    " (SELECT DISTINCT ON (portfolio_id) id FROM positions WHERE portfolio_id IN"
    " (SELECT id FROM portfolios ORDER BY id LIMIT $2) ORDER BY portfolio_id, id)"
)
"""A position of each of some portfolios."""


pytestmark = pytest.mark.db


@dataclass
class Sides:
    """Both ways to bring the same tables up to date.

    Attributes:
        url: Of the database.
        data: What it was filled with.
        seconds: By side, of each run.
        rows: By side, how many each run wrote.
        expected: All snapshots and equities.
    """

    url: str
    data: Seeded
    seconds: dict[str, list[float]] = field(default_factory=dict)
    rows: dict[str, int] = field(default_factory=dict)
    expected: bytes = b""

    async def prepare(self) -> None:
        """Write every row, then correct what they were made of."""
        await migrate(self.url)
        await self.data.write(self.url)
        await self.recompute()
        market = self.data.market
        connection = await asyncpg.connect(self.url)
        try:
            near = date_of(int(market.days[-3]))
            few = max(self.data.size.portfolios // 100, 1)
            for statement, argument in ((CLOSE, near), (POSITIONS, few)):
                assert await connection.execute(statement, SINCE, argument) != "UPDATE 0"
        finally:
            await connection.close()

    async def recompute(self) -> batchcore.BatchResult:
        market = self.data.market
        start, end = date_of(market.start), date_of(market.end)
        return await batchcore.run_batch(
            self.url, start, end, on_existing="replace", analytics="none"
        )

    async def correct(self) -> batchcore.BatchResult:
        return await batchcore.run_batch(self.url, changed_since=SINCE, analytics="none")

    def run(self, side: str) -> None:
        began = perf_counter()
        result = asyncio.run(self.correct() if side == "corrected" else self.recompute())
        self.seconds.setdefault(side, []).append(perf_counter() - began)
        assert result["success"]
        self.rows[side] = result.rows_written

    def check(self) -> None:
        """Compare all that is stored with what was stored before, cell by cell."""
        found = asyncio.run(self._stored())
        self.expected = self.expected or found
        assert found == self.expected

    async def _stored(self) -> bytes:
        connection = await asyncpg.connect(self.url)
        try:
            await connection.execute("VACUUM ANALYZE")
            rows = await copied(
                connection,
                "SELECT * FROM portfolio_snapshots ORDER BY portfolio_id, snapshot_date",
            )
            equities = "SELECT id, equity_balance FROM portfolios ORDER BY id"
            return rows + await copied(connection, equities)
        finally:
            await connection.close()

    def figures(self) -> list[str]:
        """Return the medians of both sides and their ratio."""
        size = self.data.size
        title = f"{size.portfolios:,} portfolios, {size.symbols:,} symbols"
        lines = [
            f"late corrections: {title}, {size.sessions:,} sessions",
            f"{'':12}{'runs':>5}{'rows':>10}{'total':>10}",
        ]
        middle = {side: median(seconds) for side, seconds in self.seconds.items()}
        for side, seconds in self.seconds.items():
            lines.append(f"{side:12}{len(seconds):>5}{self.rows[side]:>10,}{middle[side]:>10.3f}")
        rows = self.rows["corrected"] / self.rows["recomputed"]
        ratio = middle["corrected"] / middle["recomputed"]
        return [*lines, f"{rows:.1%} of the rows for {ratio:.1%} of the time (medians)", ""]


@pytest.fixture(scope="module")
def sides(
    request: pytest.FixtureRequest, figures: list[str], empty_database: EmptyDatabase
) -> Iterator[Sides]:
    timed = request.config.getoption("benchmark_enable")
    with empty_database() as url:
        made = Sides(url, seeded(FULL if timed else SMALL, seed=1))
        asyncio.run(made.prepare())
        yield made
        if timed and len(made.seconds) > 1:
            figures += made.figures()


@pytest.mark.benchmark(group="late corrections")
def bench_corrections(benchmark, sides: Sides):
    sides.run("corrected")
    sides.check()

    def alternate() -> None:
        # The sides take turns, so that whatever else the machine does falls on both.
        sides.run("recomputed")
        sides.check()

    benchmark.pedantic(sides.run, args=("corrected",), setup=alternate, rounds=ROUNDS)
    sides.check()
    assert 0 < sides.rows["corrected"] < sides.rows["recomputed"]
