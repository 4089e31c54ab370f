"""A nightly batch: each night every portfolio is valued, and the night is committed.

DATABASE_URL=postgresql+asyncpg://... python THIS_FILE 2025-06-02 2025-06-06
"""

import asyncio
import os
import sys
from datetime import date

from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncSession, create_async_engine

import batchcore

NIGHTS = text(
    "SELECT DISTINCT date FROM market_data_cache WHERE date BETWEEN :first AND :last ORDER BY date"
)


async def run_night(session: AsyncSession, night: date) -> int:
    """Value all portfolios on one date; return how many snapshots were written."""
    result = await batchcore.PnLCalculator().calculate_all_portfolios_pnl(night, session)
    return result["snapshots_created"]


async def main(first: date, last: date) -> None:
    """Run the nights from the first to the last date."""
    engine = create_async_engine(os.environ["DATABASE_URL"])
    try:
        async with AsyncSession(engine) as session:
            nights = (await session.execute(NIGHTS, {"first": first, "last": last})).scalars().all()
            for night in nights:
                written = await run_night(session, night)
                await session.commit()
                print(f"{night}: {written} snapshots")
    finally:
        await engine.dispose()


if __name__ == "__main__":
    asyncio.run(main(date.fromisoformat(sys.argv[1]), date.fromisoformat(sys.argv[2])))
