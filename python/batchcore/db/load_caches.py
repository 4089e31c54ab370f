"""What the caches are filled with, as frames."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING

import numpy as np

from batchcore.calendar import date_of
from batchcore.db.access import reading
from batchcore.db.cache_queries import CacheQueries
from batchcore.db.catalog import PRICES, PROFILES, SNAPSHOTS
from batchcore.db.load import load
from batchcore.db.load import load_closes as load_one_of_each
from batchcore.frames import Previous, Prices, Profiles

if TYPE_CHECKING:
    from collections.abc import Sequence

    import numpy.typing as npt

    from batchcore.calendar import Calendar
    from batchcore.config import Schema
    from batchcore.db.cache_queries import Window
    from batchcore.frames import Text

log = logging.getLogger("batchcore")


async def load_closes(db: object, schema: Schema | None, windows: Sequence[Window]) -> Prices:
    """Return every finite close in the windows, at least one, by one statement.

    Of a symbol and date whose rows differ there is none (S2), which is logged.

    Raises:
        ConfigError: ``db`` is of a wrong kind.
        SchemaError: the price table is not what it has to be.
        DatabaseError: the database refused, failed or went away.
    """
    async with reading(db, schema, PRICES) as (session, queries):
        own = CacheQueries(queries.catalog)
        prices = await load_one_of_each(session, own, own.closes(windows))
        for one in session.ambiguous:
            log.warning("ambiguous_price=%s from=%s: %s", one.symbol, date_of(one.day), one.detail)
    inside = in_windows(prices, windows)
    return prices if inside.all() else prices.take(inside)


def in_windows(prices: Prices, windows: Sequence[Window]) -> npt.NDArray[np.bool_]:
    """Return of each close whether it is in one of the windows, its symbol spelt exactly so."""
    inside = np.zeros(len(prices), dtype=np.bool_)
    day = prices.day.values
    for window in windows:
        spelt = _spelt(prices.symbol, set(window.symbols))
        inside |= spelt & (day >= window.first) & (day <= window.last)
    return inside


def _spelt(symbol: Text, wanted: set[str]) -> npt.NDArray[np.bool_]:
    known = np.array([text in wanted for text in symbol.table()], dtype=np.bool_)
    spelt: npt.NDArray[np.bool_] = known[symbol.codes]
    return spelt


async def load_company_profiles(
    db: object, schema: Schema | None, symbols: Sequence[str]
) -> Profiles:
    """Return the profiles of symbols, spelt exactly so, by one statement; errors as above."""
    async with reading(db, schema, PROFILES) as (session, queries):
        columns = await load(session, CacheQueries(queries.catalog).company_profiles(symbols))
    profiles = Profiles(**columns)
    spelt = _spelt(profiles.symbol, set(symbols))
    return profiles if spelt.all() else profiles.take(spelt)


async def load_latest_snapshots(
    db: object, schema: Schema | None, calendar: Calendar, ids: Sequence[bytes], before: int
) -> Previous:
    """Return the latest complete snapshot of portfolios before a day; errors as above."""
    async with reading(db, schema, SNAPSHOTS) as (session, queries):
        query = CacheQueries(queries.catalog).latest_snapshots(calendar, ids, before)
        columns = await load(session, query)
    return Previous(**columns | {"day": columns["day"].values})
