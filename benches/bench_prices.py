"""What checks of prices (C1), splits (C3) and currencies (C6) cost a daily run."""

import random
from dataclasses import dataclass

import pytest

import batchcore
from batchcore.config import CHECKS, Fx, Schema, Settings, Splits
from sample import Nights, nights

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
class Priced(Nights):
    title = "prices"
    than = PLAIN

    async def prepare(self) -> None:
        await self.execute(*HOST)
        await super().prepare()

    def run(self, side: str) -> None:
        self.put_back()
        days = self.job.start, self.job.end
        run = batchcore.run_batch(self.url, *days, analytics="none", settings=SIDES[side])
        self.check(self.timed(side, run))


@pytest.mark.benchmark(group="prices")
def bench_prices(benchmark, timed: bool, figures: list[str]):  # noqa: FBT001  # a fixture
    dice = random.Random(1)  # noqa: S311  # an order
    with nights(Priced, "l" if timed else "xs") as night:

        def alternate() -> None:
            for side in dice.sample([*SIDES], len(SIDES)):
                night.run(side)

        benchmark.pedantic(alternate, rounds=ROUNDS)
        if timed:
            figures += night.lines()
