"""Which sessions, symbols and portfolios lack prices, told before anything is computed: pure."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

import numpy as np

from batchcore.calendar import date_of
from batchcore.frames import day_keys
from batchcore.run.prices import valid_rows
from batchcore.run.result import NO_CLOSE
from batchcore.sources.host import located, normalised

if TYPE_CHECKING:
    from collections.abc import Sequence

    import numpy.typing as npt

    from batchcore.frames import Prices, Text
    from batchcore.run.plan import Plan
    from batchcore.sources.positions import Held

LISTED: Final = 5
"""Symbols that the detail of an issue names; it counts all."""

CELLS: Final = 1 << 20
"""Positions times sessions that are looked at at a time."""

NEVER: Final = np.iinfo(np.int32).min


@dataclass(frozen=True, slots=True)
class PriceGap:
    """An issue of a plan.

    Attributes:
        portfolio: Row of the plan, -1 for none.
        symbol: As stored on positions, or None.
        day: Session.
        detail: What it says.
    """

    portfolio: int
    symbol: str | None
    day: int
    detail: str


@dataclass(frozen=True, eq=False, slots=True)
class Latest:
    """The latest valid close of symbols on each session.

    Attributes:
        symbols: Normalised symbol -> row.
        spelt: Of each row the symbol as stored on positions.
        sessions: (s,) int32.
        day: (u, s) int32, day of the latest valid close on or before the session; `NEVER` without.
        priced: (u,) bool, whether there is a valid close at all.
    """

    symbols: dict[str, int]
    spelt: list[str]
    sessions: npt.NDArray[np.int32]
    day: npt.NDArray[np.int32]
    priced: npt.NDArray[np.bool_]


def latest_closes(symbols: Text, prices: Prices, sessions: npt.NDArray[np.int32]) -> Latest:
    """Return the latest closes of symbols that lack a close of some session itself.

    Args:
        symbols: Of the run's positions, as stored.
        prices: All that the run can see.
        sessions: Those that are written.
    """
    spelt: dict[str, str] = {}
    for symbol in sorted(symbols.table()):
        spelt.setdefault(normalised(symbol), symbol)
    spelt.pop("", None)
    row_of = {name: row for row, name in enumerate(spelt)}
    names = prices.symbol.table()
    moved = np.array([row_of.get(normalised(name), -1) for name in names], dtype=np.int64)
    valid = valid_rows(prices)
    own = moved[prices.symbol.codes[valid]] if names else np.zeros(0, dtype=np.int64)
    keys = np.unique(day_keys(own, prices.day.values[valid])[own >= 0])
    rows = np.arange(len(spelt), dtype=np.int64)
    # the first key beyond (symbol, session); the one before it is the latest close, if its own
    at = np.searchsorted(keys, day_keys(rows[:, None], sessions[None, :]), side="right") - 1
    found = keys[np.maximum(at, 0)] if len(keys) else np.zeros(at.shape, dtype=np.int64)
    known = (at >= 0) & (found >> 32 == rows[:, None])
    day = np.where(known, (found & 0xFFFF_FFFF) - 2**31, NEVER).astype(np.int32)
    lacks = (day != sessions[None, :]).any(axis=1)
    priced = np.isin(rows, np.unique(own))
    kept = [name for name, lack in zip(spelt, lacks.tolist(), strict=True) if lack]
    return Latest(
        {name: row for row, name in enumerate(kept)},
        [spelt[name] for name in kept],
        sessions,
        day[lacks],
        priced[lacks],
    )


def spellings(symbols: Text, latest: Latest) -> list[str]:
    """Return all spellings of the symbols of ``latest``."""
    return sorted(name for name in symbols.table() if normalised(name) in latest.symbols)


class Completeness:
    """What of a plan lacks a close that is new enough (S4)."""

    def __init__(self, plan: Plan, held: Held, latest: Latest, lookback_days: int) -> None:
        """Look at every position that is held on a session which its portfolio writes."""
        self._latest = latest
        shape = (len(latest.symbols), len(latest.sessions))
        self._stale = np.zeros(shape, dtype=np.bool_)
        self._unpriced = np.zeros(shape, dtype=np.bool_)
        self._first: dict[tuple[int, int], int] = {}
        self._find(plan, held, lookback_days)

    def _find(self, plan: Plan, held: Held, lookback_days: int) -> None:
        latest, sessions = self._latest, self._latest.sessions
        rows = [latest.symbols.get(normalised(name), -1) for name in held.symbol.table()]
        symbol = np.array([*rows, -1], dtype=np.int64)[held.symbol.codes]
        portfolio = located(held.portfolio_id, plan.id)
        low = np.searchsorted(sessions, np.maximum(held.start, plan.first_day[portfolio]))
        end = np.minimum(held.end.astype(np.int64) - 1, plan.last_day[portfolio])
        high = np.searchsorted(sessions, end, side="right")
        kept = np.flatnonzero((portfolio >= 0) & (symbol >= 0) & (low < high))
        kept = kept[np.argsort(symbol[kept], kind="stable")]
        oldest = sessions.astype(np.int64) - lookback_days
        columns = np.arange(len(sessions))
        step = max(CELLS // max(len(sessions), 1), 1)
        for at in range(0, len(kept), step):
            block = kept[at : at + step]
            own, start = symbol[block], held.start[block]
            inside = columns >= low[block][:, None]
            inside &= columns < high[block][:, None]
            day = latest.day[own]
            unpriced = inside & (day < start[:, None])
            stale = inside & ~unpriced & (day < oldest)
            edges = np.flatnonzero(np.diff(own, prepend=-1))
            self._unpriced[own[edges]] |= np.logical_or.reduceat(unpriced, edges)
            self._stale[own[edges]] |= np.logical_or.reduceat(stale, edges)
            self._note(portfolio[block], own, unpriced | stale)

    def _note(
        self,
        portfolio: npt.NDArray[np.int32],
        symbol: npt.NDArray[np.int64],
        lacks: npt.NDArray[np.bool_],
    ) -> None:
        some = np.flatnonzero(lacks.any(axis=1))
        columns = np.argmax(lacks[some], axis=1).tolist()
        pairs = zip(portfolio[some].tolist(), symbol[some].tolist(), strict=True)
        for pair, column in zip(pairs, columns, strict=True):
            self._first[pair] = min(self._first.get(pair, column), column)

    def symbols(self, *, unpriced: bool) -> list[PriceGap]:
        """Return one issue for each symbol that some lot would have no new enough mark of."""
        lacks = self._unpriced if unpriced else self._stale
        found = []
        for row in np.flatnonzero(lacks.any(axis=1)).tolist():
            days = self._latest.sessions[lacks[row]]
            detail = f"{len(days)} sessions until {date_of(int(days[-1]))}"
            if not self._latest.priced[row]:
                detail = f"{detail}, {NO_CLOSE}"
            found.append(PriceGap(-1, self._latest.spelt[row], int(days[0]), detail))
        return found

    def sessions(self) -> list[PriceGap]:
        """Return one issue for each session on which symbols lack a mark."""
        lacks = self._unpriced | self._stale
        return [
            PriceGap(
                -1,
                None,
                int(self._latest.sessions[column]),
                self._listed(np.flatnonzero(lacks[:, column]).tolist()),
            )
            for column in np.flatnonzero(lacks.any(axis=0)).tolist()
        ]

    def portfolios(self) -> list[PriceGap]:
        """Return one issue for each portfolio that holds such symbols."""
        found: dict[int, tuple[int, list[int]]] = {}
        for (portfolio, symbol), column in sorted(self._first.items()):
            first, symbols = found.get(portfolio, (column, []))
            found[portfolio] = (min(first, column), [*symbols, symbol])
        return [
            PriceGap(portfolio, None, int(self._latest.sessions[first]), self._listed(symbols))
            for portfolio, (first, symbols) in found.items()
        ]

    def _listed(self, rows: Sequence[int]) -> str:
        names = ", ".join(self._latest.spelt[row] for row in rows[:LISTED])
        more = f" and {len(rows) - LISTED} more" if len(rows) > LISTED else ""
        return f"{len(rows)} symbols: {names}{more}"
