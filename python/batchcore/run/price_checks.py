"""Findings of the checks of prices (C1) as issues, and of a plan whom they concern: pure."""

from __future__ import annotations

from collections import defaultdict
from typing import TYPE_CHECKING

import numpy as np

from batchcore.config import MILLION, PRICE_LOW
from batchcore.frames import HeldFindings, Issues, distinct
from batchcore.sources.host import located, normalised
from batchcore.units import State
from batchcore.words import counted

if TYPE_CHECKING:
    from collections.abc import Sequence

    from batchcore.frames import Bools, Findings, Ids
    from batchcore.run.plan import Plan
    from batchcore.run.price_gaps import LatestCloses
    from batchcore.sources.positions import Held


def of_symbols(parts: Sequence[HeldFindings]) -> Issues:
    """Return one issue for each finding that concerns a portfolio of some chunks.

    It has the first session on which any holds the symbol, and how many do on it.
    """
    found: dict[tuple[str, int, str], tuple[int, int, str]] = {}
    for held in parts:
        rows = zip(
            held.symbol.texts(),
            held.first.tolist(),
            held.name.texts(),
            held.session.tolist(),
            held.portfolios.tolist(),
            held.detail.texts(),
            strict=True,
        )
        for symbol, first, name, session, portfolios, detail in rows:
            key = str(symbol), first, str(name)
            other, count, _ = found.get(key, (session, 0, ""))
            if session < other:
                count = 0
            if session <= other:
                found[key] = session, count + portfolios, str(detail)
    keys = sorted(found)
    held_by = [found[key] for key in keys]
    return Issues.of(
        [name for *_, name in keys],
        np.full(len(keys), -1),
        symbol=[symbol for symbol, *_ in keys],
        day=np.array([session for session, *_ in held_by], dtype=np.int32),
        detail=[f"{detail}; held by {counted(n, 'portfolio')}" for _, n, detail in held_by],
    )


def planned_holders(plan: Plan, held: Held, findings: Findings) -> HeldFindings:
    """Return the findings that concern positions held on sessions that a plan writes."""
    rows_of: dict[str, list[int]] = defaultdict(list)
    names = [normalised(name) for name in held.symbol.table()]
    for row, code in enumerate(held.symbol.codes.tolist()):
        rows_of[names[code]].append(row)
    portfolio = located(held.portfolio_id, plan.id)
    first_day = np.maximum(held.start, plan.first_day[portfolio])
    last_day = np.minimum(held.end.astype(np.int64) - 1, plan.last_day[portfolio])
    found: list[tuple[int, int, int]] = []
    for number, symbol in enumerate(findings.symbol.texts()):
        rows = np.array(rows_of.get(str(symbol), ()), dtype=np.int64)
        rows = rows[portfolio[rows] >= 0]
        if findings.since.state[number] == State.VALUE:
            rows = rows[held.start[rows] <= findings.since.values[number]]
        low = np.searchsorted(plan.sessions, np.maximum(first_day[rows], findings.first[number]))
        end = np.minimum(last_day[rows], findings.last[number])
        holds = low < np.searchsorted(plan.sessions, end, side="right")
        if holds.any():
            session, owner = plan.sessions[low[holds]], portfolio[rows[holds]]
            owners = distinct(owner[session == session.min()])
            found.append((number, int(session.min()), len(owners)))
    columns = np.array(found, dtype=np.int64).reshape(-1, 3)
    finding, session = columns[:, 0].astype(np.int32), columns[:, 1].astype(np.int32)
    return HeldFindings.of(findings, finding, session, np.ascontiguousarray(columns[:, 2]))


def lacking(plan: Plan, held: Held, latest: LatestCloses) -> Ids:
    """Return the portfolios that hold a symbol without a close on a session that they write."""
    rows = [latest.symbols.get(normalised(name), -1) for name in held.symbol.table()]
    symbol = np.array([*rows, -1], dtype=np.int64)[held.symbol.codes]
    portfolio = located(held.portfolio_id, plan.id)
    return np.ascontiguousarray(plan.id[distinct(portfolio[(symbol >= 0) & (portfolio >= 0)])])


def low_prices(
    plan: Plan, held: Held, latest: LatestCloses, expected: Bools, max_missing: int
) -> Issues:
    """Return the portfolios of a plan with too few fresh closes.

    Args:
        plan: What each portfolio writes.
        held: All public positions of the portfolios that may lack some.
        latest: Of the symbols that lack a close of some session; others have all.
        expected: (s,) bool, whether closes are expected of each session of ``latest``.
        max_missing: The largest share that may lack one, in millionths.
    """
    sessions, lacks = latest.sessions, (latest.day != latest.sessions[None, :]) & expected
    numbers: dict[str, int] = {}
    names = [normalised(name) for name in held.symbol.table()]
    number = np.array([numbers.setdefault(name, len(numbers)) for name in names], dtype=np.int64)
    lacking_row = np.array([latest.symbols.get(name, -1) for name in names], dtype=np.int64)
    symbol, row = number[held.symbol.codes], lacking_row[held.symbol.codes]
    portfolio = located(held.portfolio_id, plan.id)
    low = np.searchsorted(sessions, np.maximum(held.start, plan.first_day[portfolio]))
    end = np.minimum(held.end.astype(np.int64) - 1, plan.last_day[portfolio])
    high = np.searchsorted(sessions, end, side="right")
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
