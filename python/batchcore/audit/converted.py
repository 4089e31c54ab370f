"""The rows that other rates may have converted when they were written, for `verify`."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from batchcore.audit.causes import WriteTimes, any_by_left, latest_change, pairs
from batchcore.run.changes import legs, unit
from batchcore.sources.host import Selection, located
from batchcore.sources.query import load
from batchcore.sources.rates import ForeignHeld, load_names, select_foreign_held
from batchcore.sources.stored import ChangedCloses, RateChanges, select_rate_changes

if TYPE_CHECKING:
    from collections.abc import Mapping

    from batchcore.config import Settings
    from batchcore.db.catalog import Catalog
    from batchcore.frames import Bools, Bytes, Int32, Int64
    from batchcore.pg.session import Session


async def converted_since(  # noqa: PLR0917  # where to look, and for whom
    session: Session,
    catalog: Catalog,
    selection: Selection,
    ids: Bytes,
    written: WriteTimes,
    since: Int32,
    settings: Settings,
) -> Bools:
    """Return (k,) whether a rate used in a row was added or changed since it was written (C6).

    Rates of marks, entries and exits count. ``since`` is the day of the row from which each
    continues. The host must map rates.
    """
    query = select_rate_changes(catalog, int(written.at.min()), int(written.day.max()))
    rates = await load(session, query)
    if len(rates.day) == 0:
        return np.zeros(len(written.at), dtype=np.bool_)
    held = await load(session, select_foreign_held(catalog, selection))
    names = await load_names(session, catalog, held.own)
    portfolio = located(held.portfolio_id, ids)
    order = np.argsort(portfolio, kind="stable")
    pair = pairs(written.portfolio, portfolio[order])
    row, position = pair.left, order[pair.right]
    day, lookback = written.day[row], settings.fx_lookback_days
    conversion = held.home.codes.astype(np.int64) * len(held.own.table()) + held.own.codes
    changed = _by_conversion(rates, held, names, unit(settings.fx_pivot))
    start = held.start[position]
    windows = ((since[row] - lookback, day), (start - lookback, start))
    latest = np.maximum(
        *(latest_change(changed, conversion[position], first, last) for first, last in windows)
    )
    counts = (start <= day) & (held.end[position] >= since[row]) & (latest > written.at[row])
    return any_by_left(pair, counts, len(written.at))


def _by_conversion(
    rates: RateChanges, held: ForeignHeld, names: Mapping[str, str], pivot: str
) -> ChangedCloses:
    """Return the changed rates that apply to each home and own currency, in their order."""
    base, quote = ([unit(text) for text in one.table()] for one in (rates.base, rates.quote))
    homes = [unit(text) for text in held.home.table()]
    owns = [unit(names[text]) for text in held.own.table()]
    conversion: list[Int64] = [np.zeros(0, np.int64)]
    rows: list[Int64] = [np.zeros(0, np.int64)]
    for at, (home, own) in enumerate((home, own) for home in homes for own in owns):
        if home == own:
            continue
        counting = legs(own, home, pivot)
        counts = np.array(
            [[frozenset((one, other)) in counting for other in quote] for one in base]
        )
        found = np.flatnonzero(counts[rates.base.codes, rates.quote.codes])
        conversion.append(np.full(len(found), at))
        rows.append(found[np.argsort(rates.day[found], kind="stable")])
    row = np.concatenate(rows)
    day = rates.day[row]
    return ChangedCloses(np.concatenate(conversion), day, day + 1, rates.changed[row])
