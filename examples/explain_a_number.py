"""From the P&L of a night to one lot of one portfolio."""

import asyncio
import os
from datetime import date

import batchcore

URL = os.environ["DATABASE_URL"]
TUESDAY = date(2025, 6, 24)


async def main() -> None:
    """Run the example."""
    await batchcore.run_batch(URL, date(2025, 6, 16), date(2025, 6, 30), analytics="none")

    night = await batchcore.explain(URL, session=TUESDAY, by="portfolio")
    worst = min(night.rows, key=lambda row: row.contribution or 0)
    print(f"{night.portfolios} portfolios: {night.daily_pnl}; worst: {worst.contribution:.2f}")

    found = await batchcore.explain(URL, [worst.key], TUESDAY, by="symbol")
    print(f"{found.equity_before}, P&L {found.daily_pnl}, rounding {found.rounding}")
    for row in found.rows[:3]:
        print(f"  {row.key} {row.sector}: {row.contribution:.2f}, {row.share:.0%} of all moves")

    lots = await batchcore.explain(URL, [worst.key], TUESDAY)
    lot = lots.rows[0]
    print(f"{lot.quantity} {lot.symbol} x {lot.multiplier}, bought at {lot.entry_price}")
    print(
        f"{lot.mark_before} of {lot.mark_before_day} to {lot.mark} of {lot.mark_day}, {lot.status}"
    )
    print((lot.mark - lot.mark_before) * lot.quantity * lot.multiplier == lot.contribution)


asyncio.run(main())
