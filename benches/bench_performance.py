"""Performance of stored snapshots beside reading the same rows by COPY, sides alternating."""

import datetime as dt
from collections.abc import Iterator
from dataclasses import dataclass

import pytest

import batchcore
from batch.wire import connected
from batchcore import calendar as calendars
from batchcore.db.migrate import migrate
from batchcore.demo.run import Size
from sample import Sides, table

pytestmark = pytest.mark.db

ROUNDS = 5
LAST = dt.date(2025, 12, 31)


FULL = Size(portfolios=10_000, sessions=250)
SMALL = Size(portfolios=20, sessions=20)

# Each portfolio has 100,000 and gains or loses 1 % a day at most; every 21st session something is
# paid in or out. Rows come by date, as nights write them.
FILL = (
    """
    CREATE TEMP TABLE chain AS
    SELECT md5(p::text)::uuid AS portfolio, day, i,
        CASE WHEN i > 1 THEN ((p * 7919 + i * 104729) % 200001 - 100000) / 100.0 ELSE 0 END AS pnl,
        CASE WHEN i % 21 = 0 THEN ((p + i) % 7 - 3) * 1000 ELSE 0 END AS flow
    FROM generate_series(1, {count}) AS p,
        unnest('{{{days}}}'::date[]) WITH ORDINALITY AS d(day, i)
    """,
    """
    INSERT INTO portfolios (id, user_id, name, account_name, account_type, currency,
        equity_balance, created_at, updated_at)
    SELECT DISTINCT portfolio, portfolio, 'p', 'p', 'taxable', 'USD', 0, now(), now() FROM chain
    """,
    """
    INSERT INTO equity_changes (id, portfolio_id, change_type, amount, change_date,
        created_by_user_id, created_at, updated_at)
    SELECT gen_random_uuid(), portfolio,
        (CASE WHEN flow > 0 THEN 'CONTRIBUTION' ELSE 'WITHDRAWAL' END)::equity_change_type,
        abs(flow), day, portfolio, now(), now() FROM chain WHERE flow <> 0
    """,
    """
    INSERT INTO portfolio_snapshots (id, portfolio_id, snapshot_date, total_value, cash_value,
        long_value, short_value, gross_exposure, net_exposure, equity_balance, daily_pnl,
        cumulative_pnl, daily_realized_pnl, cumulative_realized_pnl, daily_capital_flow,
        cumulative_capital_flow, daily_return, num_positions, num_long_positions,
        num_short_positions, is_complete, created_at)
    SELECT gen_random_uuid(), portfolio, day, equity, equity, 0, 0, 0, 0, equity, pnl, 0, 0, 0,
        flow, 0, pnl / equity, 0, 0, 0, true, now()
    FROM (SELECT *, 100000 + sum(pnl + flow) OVER (PARTITION BY portfolio ORDER BY i) AS equity
        FROM chain) AS rows ORDER BY day, portfolio
    """,
    "DROP TABLE chain",
    "VACUUM ANALYZE portfolio_snapshots",
    "ANALYZE equity_changes",
)

COPY = """
SELECT portfolio_id, snapshot_date, equity_balance, daily_pnl, daily_capital_flow
FROM portfolio_snapshots
"""


@dataclass
class Readers(Sides):
    """Both ways through the same rows."""

    title = "performance"
    than = "copy"

    async def prepare(self) -> None:
        await migrate(self.url)
        exchange = calendars.load(calendars.SHIPPED)
        days = exchange.last_sessions(calendars.day_of(LAST), self.size.sessions).tolist()
        listed = ",".join(str(calendars.date_of(day)) for day in days)
        first, *others = FILL
        await self.execute(first.format(count=self.size.portfolios, days=listed), *others)

    async def copy(self) -> int:
        """Read the rows and drop the bytes."""
        received = 0

        async def sink(piece: bytes) -> None:
            nonlocal received
            received += len(piece)

        async with connected(self.url) as connection:
            await connection.copy_from_query(COPY, output=sink, format="binary")
        return received

    def run(self, side: str) -> None:
        if side == "copy":
            assert self.timed(side, self.copy()) > 16 * self.rows
            return

        async def performance() -> batchcore.Performance:
            return await batchcore.performance(self.url)

        found = self.timed(side, performance())
        assert len(found) == 8 * self.size.portfolios
        assert (found.sessions[7::8] == self.size.sessions - 1).all()
        assert (found.twr.state == 0).all()

    def lines(self) -> list[str]:
        size = f"{self.size.portfolios:,} portfolios, {self.size.sessions:,} sessions each"
        return table(f"{self.title}: {size}", self.seconds, self.than)


@pytest.fixture(scope="module")
def sides(given) -> Iterator[Readers]:
    with given(Readers, FULL, SMALL) as made:
        yield made


@pytest.mark.benchmark(group="performance")
def bench_performance(benchmark, sides: Readers):
    benchmark.pedantic(
        sides.run,
        args=("performance",),
        setup=lambda: sides.run("copy"),
        rounds=ROUNDS if benchmark.enabled else 1,
    )
