"""One date in a caller's transaction, then a range of sessions on an engine."""

import asyncio
import os
from datetime import date

from sqlalchemy.ext.asyncio import AsyncSession, create_async_engine

import batchcore


async def main() -> None:
    """Run the example."""
    engine = create_async_engine(os.environ["DATABASE_URL"])  # postgresql+asyncpg://...
    calculator = batchcore.PnLCalculator(on_existing="replace")
    async with AsyncSession(engine) as session:
        result = await calculator.calculate_all_portfolios_pnl(date(2025, 6, 27), session)
        await session.rollback()  # nothing was committed, so nothing is left
    print(result["success"], result.consistent)

    orchestrator = batchcore.BatchOrchestrator(engine, on_existing="replace")
    result = await orchestrator.run_batch_sequence(date(2025, 6, 27), date(2025, 6, 30))
    print(result["success"], result.consistent)
    await engine.dispose()


asyncio.run(main())
