"""What checks of prices (C1), splits (C3) and currencies (C6) cost a daily run."""

import asyncio
import random
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from statistics import median
from time import perf_counter

import pytest

import batchcore
from batch import state
from batch.contest import keep_history
from batch.data import server
from batch.job import Job, job_of
from batch.sizes import SIZES
from batch.wire import connected
from batchcore.config import CHECKS, Fx, Schema, Settings, Splits

ROUNDS = 9
PLAIN = "plain"
UNCHECKED = dict.fromkeys(CHECKS, "off")
SPLITS = Splits(table="splits", price_basis="as_traded", quantity_basis="as_entered")

SIDES = {
    PLAIN: Settings(checks=UNCHECKED),
    "checks": Settings(),
    "splits": Settings(checks=UNCHECKED, schema=Schema(splits=SPLITS)),
    "no lot foreign": Settings(
        checks=UNCHECKED, schema=Schema(fx=Fx("fx_rates", "positions.own_currency"))
    ),
    "a third foreign": Settings(
        checks=UNCHECKED, schema=Schema(fx=Fx("fx_rates", "positions.foreign_currency"))
    ),
}
"""Each with one thing more than the first."""

HOST = (
    "CREATE TABLE splits (symbol text, ex_date date, new int, old int)",
    """
    INSERT INTO splits
    SELECT symbol, date '2025-01-02' + (number % 170)::int, 2, 1 FROM (
        SELECT symbol, row_number() OVER (ORDER BY symbol) AS number
        FROM (SELECT DISTINCT symbol FROM positions) s) n
    WHERE number % 20 = 0
    """,
    """
    CREATE TABLE fx_rates AS
    SELECT base, 'USD' AS quote, day::date AS date,
        (rate + extract(doy FROM day) / 10000)::numeric(18, 6) AS rate
    FROM (VALUES ('EUR', 1.1), ('GBP', 1.25)) r (base, rate),
        generate_series(date '2023-01-01', date '2026-01-01', interval '1 day') day
    """,
    "ALTER TABLE positions ADD own_currency text, ADD foreign_currency text",
    """
    UPDATE positions SET foreign_currency = CASE abs(hashtext(symbol) % 6)
        WHEN 0 THEN 'EUR' WHEN 1 THEN 'GBP' END
    """,
    "VACUUM (FULL, ANALYZE) positions",
)
"""A split for a symbol in twenty, rates of two currencies, a third of all lots in these."""

pytestmark = pytest.mark.db


@dataclass
class Night:
    """A database, the last session of which is valued again and again.

    Attributes:
        url: Of the database.
        job: The daily run.
        seconds: By side, of each run.
    """

    url: str
    job: Job
    seconds: dict[str, list[float]] = field(default_factory=dict)

    async def prepare(self) -> None:
        async with connected(self.url) as connection:
            for statement in HOST:
                await connection.execute(statement)
        await keep_history(self.url, self.job)

    async def put_back(self) -> None:
        async with connected(self.url) as connection:
            await state.put_back(connection, self.job)

    def run(self, side: str) -> None:
        asyncio.run(self.put_back())
        days = self.job.start, self.job.end
        began = perf_counter()
        result = asyncio.run(
            batchcore.run_batch(self.url, *days, analytics="none", settings=SIDES[side])
        )
        self.seconds.setdefault(side, []).append(perf_counter() - began)
        assert result["success"]
        assert result.rows_written == self.job.rows


@pytest.fixture(scope="module")
def night(request: pytest.FixtureRequest, figures: list[str]) -> Iterator[Night]:
    timed = request.config.getoption("benchmark_enable")
    size = SIZES["l" if timed else "xs"]
    with (
        tempfile.TemporaryDirectory(prefix="batchcore-bench-") as folder,
        server(size, analytics=False, folder=None, settings={}) as started,
    ):
        job = job_of("daily", size, history=1, analytics="none", folder=Path(folder))
        made = Night(started.url, job)
        asyncio.run(made.prepare())
        yield made
        if timed and len(made.seconds) > 1:
            middle = {side: median(seconds) for side, seconds in made.seconds.items()}
            figures += [
                f"prices: {size}, one session",
                *(
                    f"{side:16}{middle[side]:>8.3f} s{middle[side] / middle[PLAIN]:>8.3f} times"
                    for side in SIDES
                ),
                "",
            ]


@pytest.mark.benchmark(group="prices")
def bench_prices(benchmark, night: Night):
    dice = random.Random(1)  # noqa: S311  # an order

    def alternate() -> None:
        # The sides take turns in any order, so that whatever else the machine does falls on each.
        for side in dice.sample([*SIDES], len(SIDES)):
            night.run(side)

    benchmark.pedantic(alternate, rounds=ROUNDS)
