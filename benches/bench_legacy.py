"""Runs under the policy `legacy`, beside those under `rollforward`."""

import asyncio
import datetime as dt
from dataclasses import dataclass, field

import pytest

import batchcore
from batchcore.calendar import date_of
from batchcore.demo.run import Size
from sample import FULL, SMALL, Sides

ROUNDS = 5

pytestmark = pytest.mark.db

SIZES = {
    "history": (FULL, SMALL),
    "current day": (
        Size(portfolios=10_000, symbols=3000, sessions=1),
        Size(portfolios=40, symbols=100, sessions=1),
    ),
}
OTHERS = {"history": "none", "current day": "portfolio"}
"""What analytics a run under `rollforward` is compared with."""

# Betas of ten dates for each position; half of the symbols have no beta of a profile.
PREPARED = (
    """
    INSERT INTO position_market_betas (id, portfolio_id, position_id, calc_date, beta,
        observations, created_at, updated_at)
    SELECT gen_random_uuid(), portfolio_id, id, '2025-01-01'::date + number, 1.2, 90, now(), now()
    FROM positions, generate_series(1, 10) AS number
    """,
    "UPDATE company_profiles SET beta = NULL WHERE hashtext(symbol) % 2 = 0",
    "UPDATE positions SET market_value = 1000.10",
    "VACUUM ANALYZE",
)
PREVIOUS = """
    INSERT INTO portfolio_snapshots (id, portfolio_id, snapshot_date, total_value, cash_value,
        long_value, short_value, gross_exposure, net_exposure, equity_balance, num_positions,
        num_long_positions, num_short_positions, created_at)
    SELECT gen_random_uuid(), id, '{before}', 0, 0, 0, 0, 0, 0, equity_balance, 0, 0, 0, now()
    FROM portfolios
"""
CELLS = """
    SELECT count(*), count(hhi), md5(string_agg((to_jsonb(s) - 'id' - 'created_at')::text, ''
        ORDER BY portfolio_id, snapshot_date)) FROM portfolio_snapshots AS s
"""
"""How many rows there are, how many with weights, and a digest of all cells."""


@dataclass
class Policies(Sides):
    """Runs under `legacy` and under `rollforward`, each on the same tables.

    Dates from `today` on are current; `cells` digests those after a run under `legacy`.
    """

    title = "policies"
    than = "rollforward"

    analytics: str = field(kw_only=True)
    cells: tuple[int, int, str] | None = None

    @property
    def is_current(self) -> bool:
        return self.size.sessions == 1

    @property
    def today(self) -> dt.date:
        end = self.sessions[-1]
        return end if self.is_current else end + dt.timedelta(days=1)

    async def prepare(self) -> None:
        await super().prepare()
        await self.execute(*PREPARED)

    def run(self, side: str) -> None:
        result = self.timed(
            side,
            batchcore.run_batch(
                self.url,
                *self.days,
                policy=side,
                analytics="none" if side == "legacy" else self.analytics,
                settings=batchcore.Settings(today=self.today),
            ),
        )
        assert result.rows_written == self.rows
        if side == "legacy":
            self.check(tuple(self.row(CELLS)))

    def check(self, cells: tuple[int, int, str]) -> None:
        """Assert that as many rows have columns of the current day, and the same cells as ever."""
        rows, weights, _ = cells
        assert rows == self.rows + self.size.portfolios
        assert (weights > 0.9 * self.rows) == self.is_current
        self.cells = self.cells or cells
        assert cells == self.cells

    def put_back(self) -> None:
        super().put_back()
        market = self.data.market
        before = date_of(int(market.days[market.first - 1]))
        asyncio.run(
            self.execute(PREVIOUS.format(before=before), "VACUUM ANALYZE portfolio_snapshots")
        )


@pytest.mark.benchmark(group="policies")
@pytest.mark.parametrize("dates", SIZES)
def bench_policies(benchmark, given, dates: str):
    with given(Policies, *SIZES[dates], analytics=OTHERS[dates]) as sides:
        benchmark.pedantic(
            sides.run, args=("legacy",), setup=lambda: sides.turn("rollforward"), rounds=ROUNDS
        )
