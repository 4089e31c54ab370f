"""Runs on two databases at a time, one of which cannot be reached."""

import asyncio
import os
from datetime import date

import batchcore

DATABASES = {
    "europe": os.environ["DATABASE_URL"],
    "asia": "postgresql://nobody@127.0.0.1:1/asia",
}


async def main() -> None:
    """Value the portfolios of both, and show how each run ended."""
    days = date(2025, 6, 16), date(2025, 6, 30)
    many = await batchcore.run_many(DATABASES, *days, analytics="none", parallel=2)
    for name, result in many.items():
        error = many.errors.get(name)
        print(name, len(result.portfolios), type(error).__name__ if error else result.state)


asyncio.run(main())
