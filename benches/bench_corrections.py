"""A night of late corrections against computing every chain anew: the same rows, compared."""

import asyncio
from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime

import pytest

import batchcore
from batch.wire import connected
from batchcore.calendar import date_of
from batchcore.demo.run import Size
from bench_run import copied
from sample import FULL, Sides

ROUNDS = 5
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
class Corrections(Sides):
    """Both ways to bring the same tables up to date, and how many rows each of them writes."""

    title = "late corrections"
    than = "recomputed"

    written: dict[str, int] = field(default_factory=dict)
    expected: bytes = b""

    async def prepare(self) -> None:
        """Write every row, then correct what they were made of."""
        await super().prepare()
        await self.recompute()
        await self.correct()

    async def correct(self) -> None:
        await self.change(CLOSE, date_of(int(self.data.market.days[-3])))
        await self.change(POSITIONS, max(self.size.portfolios // 100, 1))

    async def change(self, statement: str, argument: object) -> None:
        async with connected(self.url) as connection:
            assert await connection.execute(statement, SINCE, argument) != "UPDATE 0"
            await connection.execute("VACUUM ANALYZE")

    async def recompute(self) -> batchcore.BatchResult:
        return await batchcore.run_batch(
            self.url, *self.days, on_existing="replace", analytics="none"
        )

    async def catch_up(self) -> batchcore.BatchResult:
        return await batchcore.run_batch(self.url, changed_since=SINCE, analytics="none")

    def run(self, side: str) -> None:
        work = self.recompute() if side == self.than else self.catch_up()
        self.written[side] = self.timed(side, work).rows_written

    def check(self) -> None:
        """Compare all that is stored with what was stored before, cell by cell."""
        found = asyncio.run(self._stored())
        self.expected = self.expected or found
        assert found == self.expected

    async def _stored(self) -> bytes:
        async with connected(self.url) as connection:
            await connection.execute("VACUUM ANALYZE")
            snapshots = "SELECT * FROM portfolio_snapshots ORDER BY portfolio_id, snapshot_date"
            equities = "SELECT id, equity_balance FROM portfolios ORDER BY id"
            return await copied(connection, snapshots) + await copied(connection, equities)

    def lines(self) -> list[str]:
        rows = ", ".join(f"{side} {rows:,} rows" for side, rows in self.written.items())
        return [*super().lines()[:-1], rows, ""]


@pytest.fixture(scope="module")
def sides(given) -> Iterator[Corrections]:
    with given(Corrections, FULL, SMALL) as made:
        yield made


@pytest.mark.benchmark(group="late corrections")
def bench_corrections(benchmark, sides: Corrections):
    sides.run("corrected")
    sides.check()

    def alternate() -> None:
        sides.run("recomputed")
        sides.check()

    benchmark.pedantic(sides.run, args=("corrected",), setup=alternate, rounds=ROUNDS)
    sides.check()
    assert 0 < sides.written["corrected"] < sides.written["recomputed"]
