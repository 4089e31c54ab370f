"""Runs over days that are numbers, as tests count them."""

from typing import Any

import batchcore
from batchcore.calendar import date_of


async def run_days(
    db: Any, first: int, last: int, portfolio_ids: Any = None, **options: Any
) -> batchcore.BatchResult:
    return await batchcore.run_batch(db, date_of(first), date_of(last), portfolio_ids, **options)
