"""Prices, profiles and snapshots from memory, one statement for each load."""

import asyncio
import os
from datetime import date
from decimal import Decimal

import batchcore


async def main() -> None:
    """Run the example."""
    url = os.environ["DATABASE_URL"]
    friday, sunday, monday = date(2025, 6, 27), date(2025, 6, 29), date(2025, 6, 30)
    symbols = ["AAAA", "AAAB", "AAAC"]
    prices = batchcore.PriceCache(lookback_days=10)
    await prices.load_date_range(url, symbols, date(2025, 6, 2), monday)
    print(prices.get("AAAA", sunday), prices.get_with_lookback("AAAA", sunday)[1])
    print(prices.get_batch(symbols, friday)["AAAA"] == prices.get("AAAA", friday))
    await prices.load_date_range(url, symbols, date(2025, 6, 9), friday)  # sends nothing
    prices.set("NEW", monday, Decimal("10.50"))
    prices.set("AAAA", monday, 0)  # known to have none
    print(prices.get_batch(["NEW", "AAAA"], monday), prices.missing(["GONE", "AAAA"], [monday]))
    closes = prices.get_array(["GONE", "NEW"], monday)
    print(closes.values, closes.state, closes.scale, prices.stats()["lookback_hits"])

    profiles = batchcore.CompanyProfileCache()
    await profiles.load(url, symbols)
    print(profiles.get_sector("AAAA") is None, profiles.get("no such symbol"))
    snapshots = batchcore.SnapshotCache()
    portfolio = "00000000-0000-0000-0000-000000000001"
    await snapshots.load_latest_snapshots(url, [portfolio], monday)
    print(snapshots.get_latest(portfolio), snapshots.get_equity(portfolio))


asyncio.run(main())
