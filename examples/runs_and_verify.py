"""A run, its entry in the ledger, and a sample of its rows verified by the reference."""

import asyncio
import os
from datetime import date

import batchcore


async def main() -> None:
    """Run the example."""
    url = os.environ["DATABASE_URL"]
    result = await batchcore.run_batch(url, date(2025, 6, 26), date(2025, 6, 30))
    (run,) = await batchcore.runs(url, limit=1)
    print(run.run_id == result.run_id, run.state, run.end_date, run.error)
    (run,) = await batchcore.runs(url, run_id=run.run_id)
    print(sum(chunk.rows_written for chunk in run.chunks_committed) == result.rows_written)

    found = await batchcore.verify(url, sample=10, seed=1)
    print(found.rows, "snapshots,", found.differing, "cells differ", found.causes)


asyncio.run(main())
