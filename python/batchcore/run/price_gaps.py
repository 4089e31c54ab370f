"""Missing prices of a plan, and the holders of odd ones, before anything is computed."""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

import numpy as np

from batchcore.calendar import date_of
from batchcore.config import MILLION, PRICE_LOW
from batchcore.frames import HeldFindings, Issues, day_keys, distinct
from batchcore.run.plan import NEVER, Plan
from batchcore.run.prices import rows_of, valid_rows
from batchcore.run.result import NO_CLOSE
from batchcore.sources.host import located
from batchcore.units import State
from batchcore.values import normalised
from batchcore.words import counted

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from batchcore.frames import Bools, Findings, Ids, Int32, Int64, Prices, Text
    from batchcore.sources.positions import Held

LISTED: Final = 5
"""Number of symbols that the detail of an issue names."""

CELLS: Final = 1 << 20
"""Positions times sessions that are examined at a time."""


@dataclass(frozen=True, eq=False, slots=True)
class LatestCloses:
    """The latest valid close of symbols on each session, if there is any."""

    symbols: dict[str, int]  # normalised, to rows
    spelt: list[str]  # as stored on positions
    sessions: Int32
    day: Int32  # (u, s), of that on or before the session; `NEVER` without
    priced: Bools


def latest_closes(symbols: Text, prices: Prices, sessions: Int32) -> LatestCloses:
    """Return the latest closes of symbols that lack a close of some session itself."""
    spelt: dict[str, str] = {}
    for symbol in sorted(symbols.table()):
        spelt.setdefault(normalised(symbol), symbol)
    spelt.pop("", None)
    row_of = {name: row for row, name in enumerate(spelt)}
    valid = prices.take(valid_rows(prices))
    own = rows_of(valid.symbol, row_of)
    keys = distinct(day_keys(own, valid.day.values)[own >= 0])
    rows = np.arange(len(spelt), dtype=np.int64)
    # the first key after (symbol, session); the one before it is the latest close, if of the symbol
    at = np.searchsorted(keys, day_keys(rows[:, None], sessions[None, :]), side="right") - 1
    found = keys[np.maximum(at, 0)] if len(keys) else np.zeros(at.shape, dtype=np.int64)
    known = (at >= 0) & (found >> 32 == rows[:, None])
    day = np.where(known, (found & 0xFFFF_FFFF) - 2**31, NEVER).astype(np.int32)
    lacks = (day != sessions[None, :]).any(axis=1)
    priced = np.bincount(own[own >= 0], minlength=len(rows)) > 0
    kept = [name for name, lack in zip(spelt, lacks.tolist(), strict=True) if lack]
    return LatestCloses(
        {name: row for row, name in enumerate(kept)},
        [spelt[name] for name in kept],
        sessions,
        day[lacks],
        priced[lacks],
    )


def missing_prices(
    plan: Plan, held: Held, latest: LatestCloses, lookback_days: int
) -> Iterator[Issues]:
    """Yield holdings of a plan that lack a recent close (S4), by symbol, session, portfolio."""
    shape = (len(latest.symbols), len(latest.sessions))
    stale, unpriced = np.zeros(shape, dtype=np.bool_), np.zeros(shape, dtype=np.bool_)
    first: dict[tuple[int, int], int] = {}
    for owner, symbol, is_stale, is_unpriced in _looked_up(plan, held, latest, lookback_days):
        edges = np.flatnonzero(np.diff(symbol, prepend=-1))
        stale[symbol[edges]] |= np.logical_or.reduceat(is_stale, edges)
        unpriced[symbol[edges]] |= np.logical_or.reduceat(is_unpriced, edges)
        lacks = is_stale | is_unpriced
        some = np.flatnonzero(lacks.any(axis=1))
        columns = np.argmax(lacks[some], axis=1).tolist()
        pairs = zip(owner[some].tolist(), symbol[some].tolist(), strict=True)
        for pair, column in zip(pairs, columns, strict=True):
            first[pair] = min(first.get(pair, column), column)
    yield _by_symbol("stale", stale, latest)
    yield _by_symbol("unpriced", unpriced, latest)
    lacks = stale | unpriced
    lacking = np.flatnonzero(lacks.any(axis=0))
    details = [_listed(np.flatnonzero(lacks[:, column]).tolist(), latest) for column in lacking]
    days = latest.sessions[lacking]
    yield Issues.of("lacks_prices", np.full(len(lacking), -1), day=days, detail=details)
    by_portfolio: dict[int, tuple[int, list[int]]] = {}
    for (portfolio, row), column in sorted(first.items()):
        earliest, rows = by_portfolio.get(portfolio, (column, []))
        by_portfolio[portfolio] = (min(earliest, column), [*rows, row])
    found = by_portfolio.values()
    yield Issues.of(
        "lacks_prices",
        [*by_portfolio],
        day=latest.sessions[[column for column, _ in found]],
        detail=[_listed(rows, latest) for _, rows in found],
    )


def _looked_up(
    plan: Plan, held: Held, latest: LatestCloses, lookback_days: int
) -> Iterator[tuple[Any, ...]]:
    """Yield portfolio, symbol, and the stale or unpriced sessions, by symbol, in blocks."""
    sessions = latest.sessions
    symbol = rows_of(held.symbol, latest.symbols)
    portfolio, low, high = _held_in(plan, held, sessions)
    kept = np.flatnonzero((portfolio >= 0) & (symbol >= 0) & (low < high))
    kept = kept[np.argsort(symbol[kept], kind="stable")]
    columns = np.arange(len(sessions))
    step = max(CELLS // max(len(sessions), 1), 1)
    for at in range(0, len(kept), step):
        block = kept[at : at + step]
        inside = (columns >= low[block][:, None]) & (columns < high[block][:, None])
        day = latest.day[symbol[block]]
        unpriced = inside & (day < held.start[block][:, None])
        stale = inside & ~unpriced & (day < sessions.astype(np.int64) - lookback_days)
        yield portfolio[block], symbol[block], stale, unpriced


def _by_symbol(name: str, lacks: Bools, latest: LatestCloses) -> Issues:
    """Return one issue for each symbol for which some lot would lack a recent enough mark."""
    rows = np.flatnonzero(lacks.any(axis=1))
    first, details = [], []
    for row in rows:
        days = latest.sessions[lacks[row]]
        detail = f"{counted(len(days), 'session')} until {date_of(int(days[-1]))}"
        first.append(int(days[0]))
        details.append(detail if latest.priced[row] else f"{detail}, {NO_CLOSE}")
    return Issues.of(
        name,
        np.full(len(rows), -1),
        symbol=[latest.spelt[row] for row in rows],
        day=first,
        detail=details,
    )


def _listed(rows: Sequence[int], latest: LatestCloses) -> str:
    names = ", ".join(latest.spelt[row] for row in rows[:LISTED])
    more = f" and {len(rows) - LISTED} more" if len(rows) > LISTED else ""
    return f"{counted(len(rows), 'symbol')}: {names}{more}"


def planned_holders(plan: Plan, held: Held, findings: Findings) -> HeldFindings:
    """Return the findings that concern positions held on sessions that a plan writes."""
    rows_by_symbol: dict[str, list[int]] = defaultdict(list)
    names = [normalised(name) for name in held.symbol.table()]
    for row, code in enumerate(held.symbol.codes.tolist()):
        rows_by_symbol[names[code]].append(row)
    sessions = plan.sessions
    portfolio, low, high = _held_in(plan, held, sessions)
    found: list[tuple[int, int, int]] = []
    for number, symbol in enumerate(findings.symbol.texts()):
        rows = np.array(rows_by_symbol.get(str(symbol), ()), dtype=np.int64)
        rows = rows[portfolio[rows] >= 0]
        if findings.since.state[number] == State.VALUE:
            rows = rows[held.start[rows] <= findings.since.values[number]]
        first = np.maximum(low[rows], np.searchsorted(sessions, findings.first[number]))
        stop = np.searchsorted(sessions, findings.last[number], side="right")
        holds = first < np.minimum(high[rows], stop)
        if holds.any():
            session, owner = sessions[first[holds]], portfolio[rows[holds]]
            owners = distinct(owner[session == session.min()])
            found.append((number, int(session.min()), len(owners)))
    columns = np.array(found, dtype=np.int64).reshape(-1, 3)
    finding, session = columns[:, 0].astype(np.int32), columns[:, 1].astype(np.int32)
    return HeldFindings.of(findings, finding, session, np.ascontiguousarray(columns[:, 2]))


def holders_without_close(plan: Plan, held: Held, latest: LatestCloses) -> Ids:
    """Return the portfolios that hold a symbol without a close on a session that they write."""
    portfolio = located(held.portfolio_id, plan.id)
    lacks = (rows_of(held.symbol, latest.symbols) >= 0) & (portfolio >= 0)
    return np.ascontiguousarray(plan.id[distinct(portfolio[lacks])])


def low_prices(
    plan: Plan, held: Held, latest: LatestCloses, expected: Bools, max_missing: int
) -> Issues:
    """Return the portfolios of a plan with too few fresh closes on sessions where they are due.

    ``held`` has all public positions of those that may lack some, ``latest`` the symbols that do;
    ``max_missing`` is in millionths.
    """
    sessions, lacks = latest.sessions, (latest.day != latest.sessions[None, :]) & expected
    names = dict.fromkeys(normalised(name) for name in held.symbol.table())
    symbol = rows_of(held.symbol, {name: number for number, name in enumerate(names)})
    row = rows_of(held.symbol, latest.symbols)
    portfolio, low, high = _held_in(plan, held, sessions)
    kept = np.flatnonzero((portfolio >= 0) & (low < high))
    kept = kept[np.lexsort((symbol[kept], portfolio[kept]))]
    columns = np.arange(len(sessions))
    owners, details, days = [], [], []
    for own in np.split(kept, np.flatnonzero(np.diff(portfolio[kept])) + 1):
        if len(own) == 0:
            continue
        edges = np.flatnonzero(np.diff(symbol[own], prepend=-1))
        inside = (columns >= low[own][:, None]) & (columns < high[own][:, None])
        holds = np.logical_or.reduceat(inside, edges)
        at = row[own][edges]
        without = (holds[at >= 0] & lacks[at[at >= 0]]).sum(axis=0)
        total = holds.sum(axis=0)
        found = np.flatnonzero(without * MILLION > total * max_missing)
        if len(found):
            first = found[0]
            more = f", the first of {len(found)} sessions" if len(found) > 1 else ""
            owners.append(int(portfolio[own[0]]))
            days.append(int(sessions[first]))
            symbols = counted(int(total[first]), "symbol")
            details.append(f"{int(without[first])} of {symbols}{more}")
    return Issues.of(PRICE_LOW, owners, day=np.array(days, dtype=np.int32), detail=details)


def _held_in(plan: Plan, held: Held, sessions: Int32) -> tuple[Int32, Int64, Int64]:
    """Return the portfolio of each position, -1 for none, and indices of first session and end."""
    portfolio = located(held.portfolio_id, plan.id)
    low = np.searchsorted(sessions, np.maximum(held.start, plan.first_day[portfolio]))
    end = np.minimum(held.end.astype(np.int64) - 1, plan.last_day[portfolio])
    return portfolio, low, np.searchsorted(sessions, end, side="right")
