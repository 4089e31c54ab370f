"""batchcore in threads: each run has an event loop and connections of its own."""

import asyncio
import os
from concurrent.futures import ThreadPoolExecutor
from datetime import date

import batchcore

URL = os.environ["DATABASE_URL"]
DAYS = date(2025, 6, 26), date(2025, 6, 30)


def nightly() -> bool:
    """Run the batch in an event loop of its own."""
    result = asyncio.run(batchcore.run_batch(URL, *DAYS, on_existing="replace", wait=60))
    return result["success"]


with ThreadPoolExecutor(2) as threads:
    print([done.result() for done in [threads.submit(nightly) for _ in range(2)]])
