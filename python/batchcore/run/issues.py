"""Issues of a run gathered from its chunks, as columns."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING

import numpy as np

from batchcore.calendar import date_of
from batchcore.frames import HeldFindings, Issues
from batchcore.pg.ledger import NOT_REPLACED
from batchcore.sources.host import located
from batchcore.units import State
from batchcore.words import counted

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from batchcore.frames import Ambiguous, Ids, Int64, Misses, NotReplaced, Text

Miss = tuple[bool, str]
"""Whether a mark was the entry price, else a stale close, and its symbol."""


def not_replaced(kept: Sequence[NotReplaced], ids: Ids) -> Issues:
    """Return one issue for each portfolio of ``ids`` whose rows were left to other writers."""
    owner = np.frombuffer(b"".join(one.portfolio for one in kept), np.uint8).reshape(-1, 16)
    return Issues.of(
        NOT_REPLACED,
        located(owner, ids),
        day=[one.day for one in kept],
        detail=[one.detail for one in kept],
    )


def ambiguous_prices(found: Sequence[Ambiguous]) -> Issues:
    """Return the symbols of closes whose rows of a date differ (S2)."""
    ordered = sorted(found, key=lambda one: (one.symbol, one.day))
    return Issues.of(
        "ambiguous_price",
        np.full(len(ordered), -1),
        symbol=[one.symbol for one in ordered],
        day=[one.day for one in ordered],
        detail=[one.detail for one in ordered],
    )


def ambiguous_profiles(symbols: Sequence[str]) -> Issues:
    """Return the symbols whose profiles differ, none of which is used (A2, L33)."""
    return Issues.of("ambiguous_profile", np.full(len(symbols), -1), symbol=symbols)


def added_up(parts: Sequence[HeldFindings]) -> HeldFindings:
    """Return each finding once, by symbol, session and name: first session held, and holders.

    Chunks of one run share their tables of texts, so that mostly numbers are compared.
    """
    held = HeldFindings.concat(parts) if parts else HeldFindings.none()
    if len(held) == 0:
        return held
    symbol, name = _ranks(held.symbol), _ranks(held.name)
    order = np.lexsort((held.session, name, held.first, symbol))
    held, keys = held.take(order), np.stack([symbol, held.first, name])[:, order]
    begins = np.ones(len(held), dtype=np.bool_)
    begins[1:] = (keys[:, 1:] != keys[:, :-1]).any(axis=0)
    starts = np.flatnonzero(begins)
    earliest = np.repeat(held.session[starts], np.diff(starts, append=len(held)))
    held_first = np.where(held.session == earliest, held.portfolios, 0)
    return replace(held.take(starts), portfolios=np.add.reduceat(held_first, starts))


def _ranks(texts: Text) -> Int64:
    """Return the index of each text among the sorted distinct ones."""
    table = texts.table()
    places = np.zeros(len(table), dtype=np.int64)
    places[sorted(range(len(table)), key=table.__getitem__)] = np.arange(len(table))
    return places[texts.codes]


def of_symbols(held: HeldFindings) -> Issues:
    """Return an issue for each finding held: the first such session, and the number of holders."""
    counts = zip(held.detail.texts(), held.portfolios.tolist(), strict=True)
    return Issues.of(
        [str(name) for name in held.name.texts()],
        np.full(len(held), -1),
        symbol=held.symbol.texts(),
        day=held.session,
        detail=[f"{detail}; held by {counted(count, 'portfolio')}" for detail, count in counts],
    )


@dataclass(frozen=True, eq=False, slots=True)
class Shared:
    """Facts that portfolios have in common, from which the last issues of a report are made.

    ``misses`` has lot-sessions, the first session and the last; ``held`` the findings of the checks
    of prices that concern portfolios (C1), chunk by chunk.
    """

    misses: dict[Miss, tuple[int, int, int]] = field(default_factory=dict)
    held: list[HeldFindings] = field(default_factory=list)

    def add_misses(self, misses: Iterable[tuple[Miss, tuple[int, int, int]]]) -> None:
        """Add lot-sessions, with the first and the last session, to those of the same symbol."""
        for key, (count, first, last) in misses:
            known, earliest, latest = self.misses.get(key, (0, first, last))
            self.misses[key] = known + count, min(earliest, first), max(latest, last)

    def issues(self) -> Issues:
        """Return these facts as issues, by symbol."""
        keys = sorted(self.misses)
        found = [self.misses[key] for key in keys]
        by_symbol = Issues.of(
            ["unpriced" if unpriced else "stale" for unpriced, _ in keys],
            np.full(len(keys), -1),
            symbol=[symbol for _, symbol in keys],
            day=[first for _, first, _ in found],
            detail=[
                f"{counted(count, 'lot-session')} until {date_of(last)}" for count, _, last in found
            ],
        )
        self.held[:] = [added_up(self.held)]  # a second call adds nothing twice
        return Issues.concat([by_symbol, of_symbols(self.held[0])])


class IssueList:
    """Issues that grow chunk by chunk, and the facts that portfolios have in common."""

    def __init__(self) -> None:
        self.parts: list[Issues] = []
        self.shared = Shared()

    def add(self, issues: Issues, first_portfolio: int = 0) -> None:
        """Append issues whose portfolios are numbered from ``first_portfolio``."""
        if first_portfolio:
            own = issues.portfolio
            issues = replace(issues, portfolio=np.where(own < 0, own, own + first_portfolio))
        self.parts.append(issues)

    def add_misses(self, misses: Misses) -> None:
        """Add misses to those of the same symbol."""
        symbols = misses.symbol.texts(), (misses.symbol.state == State.VALUE).tolist()
        times = (column.tolist() for column in (misses.lot_sessions, misses.first, misses.last))
        rows = zip(misses.unpriced.tolist(), *symbols, zip(*times, strict=True), strict=True)
        self.shared.add_misses(
            ((unpriced, str(symbol) if known else ""), counts)
            for unpriced, symbol, known, counts in rows
        )

    def finish(self) -> Issues:
        """Return all issues: of prices, then of each portfolio in order, then the shared ones."""
        of_portfolios = Issues.concat([Issues.none(), *self.parts])
        # Stages add issues concurrently, so the order of the parts is not deterministic.
        order = np.argsort(of_portfolios.portfolio, kind="stable")
        return Issues.concat([of_portfolios.take(order), self.shared.issues()])
