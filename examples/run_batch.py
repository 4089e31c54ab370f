"""Runs from Python: a range, again with analytics, under `legacy`, and corrections."""

import asyncio
import os
from datetime import UTC, date, datetime

from sqlalchemy.ext.asyncio import create_async_engine

import batchcore


async def main() -> None:
    """Run the example."""
    engine = create_async_engine(os.environ["DATABASE_URL"])  # postgresql+asyncpg://...
    days = date(2025, 6, 26), date(2025, 6, 30)
    result = await batchcore.run_batch(engine, *days)
    print(result["success"], result.to_dict()["sessions"])

    # the same days again after prices were corrected, with analytics of every session
    result = await batchcore.run_batch(engine, *days, on_existing="replace", analytics="every")
    print(result["success"], result.analytics, dict(result.analytics_off))

    # what the host's own batch would store, with the last day as today
    settings = batchcore.Settings(today=days[1])
    result = await batchcore.run_batch(
        engine, *days, policy="legacy", on_existing="replace", settings=settings
    )
    print(result["success"], result.policy)

    # what was corrected since a moment, then whatever differs
    moment = datetime(2025, 6, 30, 18, 0, tzinfo=UTC)
    result = await batchcore.run_batch(engine, changed_since=moment, analytics="every")
    repaired = await batchcore.repair(engine, days[0], analytics="none")
    print(result["success"], repaired["success"])
    await engine.dispose()


asyncio.run(main())
