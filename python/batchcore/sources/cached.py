"""What the caches are filled with."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING

import numpy as np

from batchcore.calendar import date_of
from batchcore.db.access import reading, rechecked
from batchcore.schema import Use
from batchcore.sources.prices import load_windows
from batchcore.sources.profiles import select_company_profiles
from batchcore.sources.query import load
from batchcore.sources.snapshots import select_latest_snapshots

if TYPE_CHECKING:
    from collections.abc import Sequence

    from batchcore.calendar import Calendar
    from batchcore.config import Schema
    from batchcore.frames import Previous, Prices, Profiles
    from batchcore.spans import Window

log = logging.getLogger("batchcore")


@rechecked
async def load_closes(db: object, schema: Schema | None, windows: Sequence[Window]) -> Prices:
    """Return every finite close in the windows, at least one, by one statement.

    Of a symbol and date whose rows differ there is none (S2), which is logged.
    """
    async with reading(db, schema, Use.PRICES) as (session, catalog):
        prices = await load_windows(session, catalog, windows)
        for one in session.ambiguous:
            log.warning("ambiguous_price=%s from=%s: %s", one.symbol, date_of(one.day), one.detail)
    return prices


@rechecked
async def load_company_profiles(
    db: object, schema: Schema | None, symbols: Sequence[str]
) -> Profiles:
    """Return the profiles of symbols by one statement."""
    async with reading(db, schema, Use.PROFILES) as (session, catalog):
        return await load(session, select_company_profiles(catalog, symbols))


@rechecked
async def load_latest_snapshots(
    db: object, schema: Schema | None, calendar: Calendar, ids: Sequence[bytes], before: int
) -> Previous:
    """Return the latest complete snapshot of portfolios before a day."""
    wanted = np.frombuffer(b"".join(ids), dtype=np.uint8).reshape(-1, 16)
    async with reading(db, schema, Use.LATEST) as (session, catalog):
        return await load(session, select_latest_snapshots(catalog, calendar, wanted, before))
