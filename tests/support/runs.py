"""Runs over days that are numbers, as tests count them."""

from collections.abc import Sequence
from typing import Any

import batchcore
from batchcore.calendar import date_of
from batchcore.config import Settings
from support import database
from support.database import Host
from support.generate import MONDAY, Generator

DAYS = [MONDAY, MONDAY + 1, MONDAY + 2]
"""The days of `run`."""

ONE_EACH = Settings(chunk_size=1, connections=2)
"""One connection writes, chunk after chunk."""


async def run_days(
    db: Any, first: int, last: int, portfolio_ids: Any = None, **options: Any
) -> batchcore.BatchResult:
    return await batchcore.run_batch(db, date_of(first), date_of(last), portfolio_ids, **options)


async def run(
    db: Any, *, days: Sequence[int] = DAYS, portfolio_ids: Any = None, **options: Any
) -> batchcore.BatchResult:
    """Run days of the calendar `daily`, without analytics unless they are asked for."""
    options = {"calendar": "daily", "analytics": "none", **options}
    return await run_days(db, days[0], days[-1], portfolio_ids, **options)


def told(result: batchcore.BatchResult, *names: str) -> list[tuple[Any, ...]]:
    """Return name, portfolio, symbol, session and detail of issues, of all or those of names."""
    columns = ("name", "portfolio", "symbol", "session", "detail")
    issues = result.to_dict()["issues"]
    return [tuple(map(one.get, columns)) for one in issues if not names or one["name"] in names]


async def run_each(db: Any, host: Host, generator: Generator, **options: Any) -> None:
    """Run eleven days of each portfolio of a random host, which do not all begin on one."""
    for portfolio in host.portfolios:
        first = MONDAY + generator.one_of((0, 0, 3))
        own = [database.key(portfolio.id)]
        await run_days(db, first, first + 10, own, analytics="none", **options)
