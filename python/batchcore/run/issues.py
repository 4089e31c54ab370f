"""Issues of a run gathered from its chunks, as columns."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np

from batchcore.calendar import date_of
from batchcore.db.ledger import NOT_REPLACED
from batchcore.frames import Issues
from batchcore.run.completeness import PriceGap
from batchcore.sources.host import located
from batchcore.units import State

if TYPE_CHECKING:
    from collections.abc import Sequence

    import numpy.typing as npt

    from batchcore.frames import Ambiguous, Kept, Misses, Rows
    from batchcore.run.plan import NoticedDays


def not_replaced(kept: Sequence[Kept], ids: npt.NDArray[np.uint8]) -> Issues:
    """Return one issue for each portfolio of ``ids`` whose rows were left to other writers."""
    owner = np.frombuffer(b"".join(one.portfolio for one in kept), np.uint8).reshape(-1, 16)
    return Issues.of(
        NOT_REPLACED,
        located(owner, ids),
        day=[one.day for one in kept],
        detail=[one.detail for one in kept],
    )


class IssueList:
    """Columns that grow chunk by chunk, and the misses of each symbol added up."""

    def __init__(self) -> None:
        """Start without issues."""
        self._parts: list[Issues] = []
        self._misses: dict[tuple[bool, str], tuple[int, int, int]] = {}

    @property
    def parts(self) -> int:
        """How many parts were appended."""
        return len(self._parts)

    def since(self, parts: int) -> tuple[Issues, ...]:
        """Return the parts appended since there were so many."""
        return tuple(self._parts[parts:])

    def add(self, issues: Issues, first_portfolio: int = 0) -> None:
        """Append issues whose portfolios count from ``first_portfolio``."""
        portfolio = issues.portfolio
        if first_portfolio:
            portfolio = np.where(portfolio >= 0, portfolio + first_portfolio, portfolio)
        self._parts.append(replace(issues, portfolio=portfolio.astype(np.int32)))

    def add_rows(self, rows: Rows, first_portfolio: int) -> None:
        """Append what a chunk noticed, and count its misses."""
        self.add(rows.issues, first_portfolio)
        self.add_misses(rows.misses)

    def add_noticed(self, name: str, noticed: NoticedDays, first_portfolio: int, unit: str) -> None:
        """Append one issue for each portfolio noticed: its first day, and how many days."""
        if len(noticed.portfolio) == 0:
            return
        self.add(
            Issues.of(
                name,
                noticed.portfolio,
                day=noticed.first,
                detail=[f"{count} {unit}" for count in noticed.days.tolist()],
            ),
            first_portfolio,
        )

    def add_one(self, name: str, portfolio: int, detail: str) -> None:
        """Append an issue of a portfolio as a whole."""
        self.add(Issues.of(name, [portfolio], detail=detail))

    def add_each(
        self,
        name: str,
        portfolio: npt.NDArray[np.int32],
        day: npt.NDArray[np.int32],
        details: Sequence[str],
    ) -> None:
        """Append one issue for each portfolio given, with its day and detail."""
        self.add(Issues.of(name, portfolio, day=day, detail=details))

    def add_gaps(self, name: str, gaps: Sequence[PriceGap]) -> None:
        """Append issues of a plan."""
        self.add(
            Issues.of(
                name,
                [one.portfolio for one in gaps],
                symbol=[one.symbol for one in gaps],
                day=[one.day for one in gaps],
                detail=[one.detail for one in gaps],
            )
        )

    def add_ambiguous(self, found: Sequence[Ambiguous]) -> None:
        """Append the symbols of closes whose rows of a date differ (S2)."""
        ordered = sorted(found, key=lambda one: (one.symbol, one.day))
        self.add_gaps(
            "ambiguous_price", [PriceGap(-1, one.symbol, one.day, one.detail) for one in ordered]
        )

    def add_misses(self, misses: Misses) -> None:
        """Add misses to those of the same symbol."""
        for row in range(len(misses)):
            known = misses.symbol.state[row] == State.VALUE
            symbol = misses.symbol.value(int(misses.symbol.codes[row])) if known else ""
            key = (bool(misses.unpriced[row]), symbol)
            count, first, last = self._misses.get(key, (0, 2**31, -(2**31)))
            self._misses[key] = (
                count + int(misses.lot_sessions[row]),
                min(first, int(misses.first[row])),
                max(last, int(misses.last[row])),
            )

    def finish(self) -> Issues:
        """Return all issues: of the prices, then of each portfolio in order, then by symbol."""
        keys = sorted(self._misses)
        found = [self._misses[key] for key in keys]
        by_symbol = Issues.of(
            ["unpriced" if unpriced else "stale" for unpriced, _ in keys],
            np.full(len(keys), -1),
            symbol=[symbol for _, symbol in keys],
            day=[first for _, first, _ in found],
            detail=[f"{count} lot-sessions until {date_of(last)}" for count, _, last in found],
        )
        of_portfolios = Issues.concat([Issues.none(), *self._parts])
        # Stages notice things side by side, so the order of parts is that of the day's luck.
        order = np.argsort(of_portfolios.portfolio, kind="stable")
        return Issues.concat([of_portfolios.take(order), by_symbol])
