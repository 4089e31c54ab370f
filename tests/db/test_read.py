"""Portfolios as tables show them, read from snapshots that this test writes itself."""

from decimal import Decimal

import pytest

from batchcore.demo import run as demo
from batchcore.demo.stored import Valuation, reading
from support.database import connected

pytestmark = pytest.mark.db

SNAPSHOTS = """
INSERT INTO portfolio_snapshots (
    id, portfolio_id, snapshot_date, total_value, cash_value, long_value, short_value,
    gross_exposure, net_exposure, equity_balance, cumulative_pnl, cumulative_realized_pnl,
    cumulative_capital_flow, num_positions, num_long_positions, num_short_positions,
    beta_provider_1y, effective_num_positions, realized_volatility_21d, created_at)
SELECT id, id, DATE '2025-06-30', 0, 0, 0, 0, 30 * place, 0, 1000 * place, place, 2, 3,
    4, 0, 0, CASE place WHEN 1 THEN 1.0449 END, CASE place WHEN 1 THEN 7.25 END,
    CASE place WHEN 1 THEN 0.1234 END, now()
FROM (SELECT id, row_number() OVER (ORDER BY id) AS place FROM portfolios) AS numbered
"""


async def test_a_portfolio_has_its_analytics_and_the_sum_of_many_has_none(
    make_database, template: str
) -> None:
    url = await make_database(template)
    data = demo.seeded(demo.Size(portfolios=2, symbols=10, sessions=2), seed=1)
    await data.write(url)
    async with connected(url) as connection:
        await connection.execute(SNAPSHOTS)
    async with reading(url) as reader:
        shown, total = await reader.valuations(data.market.end, 5)

    def dollars(amount: int) -> Decimal:
        return Decimal(amount).quantize(Decimal("0.01"))

    first, second = shown
    assert first == Valuation(
        *("Core 000001", 4, dollars(1000), dollars(1), dollars(2), dollars(3), dollars(30)),
        beta=Decimal("1.0449"),
        effective=Decimal("7.25"),
        volatility=Decimal("0.1234"),
    )
    assert (second.beta, second.effective, second.volatility) == (None, None, None)
    assert total == Valuation(
        "2", 8, dollars(3000), dollars(3), dollars(4), dollars(6), dollars(90)
    )
