"""Runs over days that are numbers, as tests count them."""

from typing import Any

import batchcore
from batchcore.calendar import date_of
from support import database
from support.database import Host
from support.generate import MONDAY, Generator


async def run_days(
    db: Any, first: int, last: int, portfolio_ids: Any = None, **options: Any
) -> batchcore.BatchResult:
    return await batchcore.run_batch(db, date_of(first), date_of(last), portfolio_ids, **options)


async def run_each(db: Any, host: Host, generator: Generator, **options: Any) -> None:
    """Run eleven days of each portfolio of a random host, which do not all begin on one."""
    for portfolio in host.portfolios:
        first = MONDAY + generator.one_of((0, 0, 3))
        own = [database.key(portfolio.id)]
        await run_days(db, first, first + 10, own, analytics="none", **options)
