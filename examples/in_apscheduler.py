"""batchcore as a job of APScheduler, which awaits it in its own event loop."""

import asyncio
import os
from datetime import date

from apscheduler.schedulers.asyncio import AsyncIOScheduler
from sqlalchemy.ext.asyncio import create_async_engine

import batchcore


async def main() -> None:
    """Run the example."""
    engine = create_async_engine(os.environ["DATABASE_URL"])
    done = asyncio.get_running_loop().create_future()

    async def nightly() -> None:
        """Run the batch."""
        result = await batchcore.run_batch(
            engine, date(2025, 6, 26), date(2025, 6, 30), on_existing="replace", wait=600
        )
        done.set_result(result["success"])

    scheduler = AsyncIOScheduler(timezone="America/New_York")
    scheduler.add_job(nightly)  # each night: "cron", hour=18, coalesce=True
    scheduler.start()
    print(await done)
    scheduler.shutdown()
    await engine.dispose()


asyncio.run(main())
