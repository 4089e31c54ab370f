"""A run in shards that are tasks of a Dask cluster, and its runs in the ledger.

Here the cluster is threads of this process. Yours is a client of a scheduler:
`Client("tcp://scheduler.example:8786", asynchronous=True)`.
"""

import asyncio
import os
from datetime import date

from distributed import Client

import batchcore

URL = os.environ["DATABASE_URL"]


async def main() -> None:
    """Value all portfolios in four shards."""
    days = date(2025, 6, 16), date(2025, 6, 30)
    async with Client(processes=False, dashboard_address=":0", asynchronous=True) as client:
        result = await batchcore.run_on(client, URL, *days, shards=4, analytics="none")
    print(result.state, result.portfolios, sum(one.portfolios for one in result.shards))
    print(len(await batchcore.runs(URL, group=result.group)))


asyncio.run(main())
