"""Performance of stored snapshots beside reading the same rows by COPY, sides alternating."""

import asyncio
import datetime as dt
from collections.abc import Iterator
from dataclasses import dataclass
from statistics import median
from time import perf_counter

import asyncpg
import pytest

import batchcore
from batchcore import calendar as calendars
from batchcore.db.migrate import migrate
from sample import EmptyDatabase

pytestmark = pytest.mark.db

ROUNDS = 5
LAST = dt.date(2025, 12, 31)


@dataclass(frozen=True)
class Size:
    """How much is stored."""

    portfolios: int
    sessions: int

    @property
    def days(self) -> list[dt.date]:
        last = calendars.day_of(LAST)
        days = calendars.load("XNYS").last_sessions(last, self.sessions)
        return [calendars.date_of(day) for day in days.tolist()]


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
    FROM generate_series(1, $1::int) AS p,
        unnest($2::date[]) WITH ORDINALITY AS d(day, i)
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


class Sides:
    """Both ways through the same rows."""

    def __init__(self, url: str, size: Size) -> None:
        self.url, self.size = url, size
        self.seconds: dict[str, list[float]] = {}

    async def prepare(self) -> None:
        await migrate(self.url)
        connection = await asyncpg.connect(self.url)
        try:
            first, *others = FILL
            await connection.execute(
                first.replace("$1", str(self.size.portfolios)).replace(
                    "$2", "'{" + ",".join(map(str, self.size.days)) + "}'"
                )
            )
            for statement in others:
                await connection.execute(statement)
        finally:
            await connection.close()

    async def copy(self) -> int:
        """Read the rows and drop the bytes."""
        received = 0

        async def sink(piece: bytes) -> None:
            nonlocal received
            received += len(piece)

        connection = await asyncpg.connect(self.url)
        try:
            await connection.copy_from_query(COPY, output=sink, format="binary")
        finally:
            await connection.close()
        return received

    async def performance(self) -> batchcore.Performance:
        return await batchcore.performance(self.url)

    def run(self, side: str) -> None:
        began = perf_counter()
        found = asyncio.run(getattr(self, side)())
        self.seconds.setdefault(side, []).append(perf_counter() - began)
        if side == "copy":
            assert found > 16 * self.size.portfolios * self.size.sessions
            return
        assert len(found) == 8 * self.size.portfolios
        assert (found.sessions[7::8] == self.size.sessions - 1).all()
        assert (found.twr.state == 0).all()


@pytest.fixture(scope="module")
def sides(
    request: pytest.FixtureRequest, figures: list[str], empty_database: EmptyDatabase
) -> Iterator[Sides]:
    timed = request.config.getoption("benchmark_enable")
    with empty_database() as url:
        made = Sides(url, FULL if timed else SMALL)
        asyncio.run(made.prepare())
        yield made
        if timed and len(made.seconds) > 1:
            size, middle = made.size, {side: median(own) for side, own in made.seconds.items()}
            figures += [
                f"performance: {size.portfolios:,} portfolios, {size.sessions:,} sessions each",
                *(f"{side:12}{seconds:>10.3f} s" for side, seconds in middle.items()),
                f"{middle['performance'] / middle['copy']:.2f} times as long (medians)",
                "",
            ]


@pytest.mark.benchmark(group="performance")
def bench_performance(benchmark, sides: Sides):
    # The sides take turns, so that whatever else the machine does falls on both.
    benchmark.pedantic(
        sides.run,
        args=("performance",),
        setup=lambda: sides.run("copy"),
        rounds=ROUNDS if benchmark.enabled else 1,
    )
