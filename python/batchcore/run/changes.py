"""Which portfolios late corrections affect, and from which day on (S13)."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from batchcore.calendar import PRICES
from batchcore.frames import Days, day_keys, distinct
from batchcore.sources.changes import (
    ChangedFacts,
    check_stamps,
    select_changed_facts,
    select_changed_prices,
    select_changed_session,
)
from batchcore.sources.host import Boundaries, located, normalised, sorted_ids
from batchcore.sources.positions import load_symbols, select_held
from batchcore.sources.query import load
from batchcore.units import State

if TYPE_CHECKING:
    import datetime as dt

    import numpy.typing as npt

    from batchcore.calendar import Calendar
    from batchcore.db.catalog import Catalog
    from batchcore.db.engine import Session
    from batchcore.run.monitor import Monitor
    from batchcore.sources.changes import ChangedPrices
    from batchcore.sources.host import Selection
    from batchcore.sources.portfolios import Portfolios
    from batchcore.sources.positions import Held


@dataclass(frozen=True, eq=False, slots=True)
class Affected:
    """Portfolios that something changed for, and the first day that it may matter on.

    Attributes:
        id: (n, 16) uint8, ascending.
        day: (n,) int32.
        everyone_from: The day from which on every portfolio is affected, these and all others;
            None if there is none.
    """

    id: npt.NDArray[np.uint8]
    day: npt.NDArray[np.int32]
    everyone_from: int | None

    def boundaries(self) -> Boundaries:
        """Return the days that part the snapshots of these portfolios."""
        return Boundaries(self.id, self.day)

    def rewritten(self, portfolios: Portfolios) -> Days:
        """Return where the chain of each portfolio is rewritten from; NULL where it stands.

        A chain begins where it began: not before its earliest complete snapshot. What matters
        only after the latest one changes no row.

        Args:
            portfolios: With the snapshots around `boundaries`, else around `everyone_from`.
        """
        row = located(portfolios.id, self.id)
        known = row >= 0
        day = np.zeros(len(row), dtype=np.int32)
        day[known] = self.day[row[known]]
        if self.everyone_from is not None:
            day[~known] = self.everyone_from
            known = np.ones_like(known)
        opens = portfolios.before.day.state != State.VALUE
        known &= portfolios.first_day.state == State.VALUE
        day = np.where(opens, portfolios.first_day.values, day)
        return Days(day.astype(np.int32), np.where(known, State.VALUE, State.NULL).astype(np.uint8))


async def find_affected(  # noqa: PLR0917  # what changed, for some portfolios
    session: Session,
    catalog: Catalog,
    since: dt.datetime,
    calendar: Calendar,
    selection: Selection,
    start: int | None,
    monitor: Monitor,
) -> Affected:
    """Return which portfolios are affected by what changed, by at most five statements.

    Args:
        session: The snapshot of the run.
        catalog: The host's tables.
        since: A moment with a time zone.
        calendar: That of the run.
        selection: Of which portfolios.
        start: The first day that may be rewritten; None for any.
        monitor: Of the run.

    Raises:
        SchemaError: a table that is there lacks a time stamp.
    """
    check_stamps(catalog)
    facts = await load(session, select_changed_facts(catalog, since, selection))
    prices = await load(session, select_changed_prices(catalog, since))
    monitor.loaded(changed_facts=len(facts.day), changed_prices=len(prices.day))
    everyone_from, found = None, [facts]
    if len(prices.day):
        if calendar.code == PRICES:
            everyone_from = await load(session, select_changed_session(catalog, since))
        changed = {normalised(name) for name in prices.symbol.table()}
        symbols = await load_symbols(session, catalog, selection)
        spellings = sorted(name for name in symbols.table() if normalised(name) in changed)
        if spellings:
            held = await load(session, select_held(catalog, selection, spellings))
            monitor.loaded(held=len(held.start))
            found.append(await asyncio.to_thread(marked, prices, held))
    return await asyncio.to_thread(earliest, found, everyone_from, start)


def marked(prices: ChangedPrices, held: Held) -> ChangedFacts:
    """Return the portfolios that a changed close may mark a lot of, and the day of that close.

    The mark of a lot is a close between its start and its end, the end included, as it may be
    closed at the mark on it; no close before its start ever is (S4). So of each position the
    first changed close from its start on counts.
    """
    rows: dict[str, int] = {}
    names = prices.symbol.table()
    code = [rows.setdefault(normalised(name), len(rows)) for name in names]
    own = np.array([*code, -1], dtype=np.int64)[prices.symbol.codes]
    keys = distinct(day_keys(own, prices.day))
    code = [rows.get(normalised(name), -1) for name in held.symbol.table()]
    own = np.array([*code, -1], dtype=np.int64)[held.symbol.codes]
    at = np.searchsorted(keys, day_keys(own, held.start))
    found = at < len(keys)
    found[found] = keys[at[found]] >> 32 == own[found]
    day = np.zeros(len(own), dtype=np.int64)
    day[found] = (keys[at[found]] & 0xFFFF_FFFF) - 2**31
    found &= day <= held.end
    return ChangedFacts(held.portfolio_id[found], day[found].astype(np.int32))


def earliest(
    found: list[ChangedFacts], everyone_from: int | None = None, start: int | None = None
) -> Affected:
    """Return each portfolio once, with its earliest day, none before ``start``."""
    every = np.concatenate([each.portfolio_id for each in found])
    order = sorted_ids(every)  # numpy.unique of rows keeps the interpreter's lock
    ids, day = every[order], np.concatenate([each.day for each in found])[order]
    if len(ids):
        begins = np.ones(len(ids), dtype=np.bool_)
        begins[1:] = (ids[1:] != ids[:-1]).any(axis=1)
        starts = np.flatnonzero(begins)
        ids, day = ids[starts], np.minimum.reduceat(day, starts)
    if everyone_from is not None:
        day = np.minimum(day, np.int32(everyone_from))
    if start is not None:
        day = np.maximum(day, np.int32(start))
        everyone_from = None if everyone_from is None else max(everyone_from, start)
    return Affected(np.ascontiguousarray(ids), day, everyone_from)
