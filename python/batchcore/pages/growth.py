"""Returns of one portfolio up to each of its sessions, and by calendar month and year."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, TypeVar

import numpy as np

from batchcore.calendar import date_of
from batchcore.native import compound
from batchcore.returns.chunk import Chain, basis_of
from batchcore.units import State

if TYPE_CHECKING:
    import datetime as dt
    from collections.abc import Callable, Sequence
    from decimal import Decimal

    from batchcore.frames import WideDecimals

Part = TypeVar("Part")


@dataclass(frozen=True, slots=True)
class Growth:
    """The returns of the sessions after a first snapshot (W1, W2, W4), flows at their end."""

    chain: Chain  # of one portfolio
    first: int  # first row of the chain

    @classmethod
    def since(cls, chain: Chain, day: int) -> Growth:
        """Return the growth after the first snapshot on or after a day, which must exist."""
        return cls(chain, int(np.searchsorted(chain.day, day)))

    def by_session(self) -> dict[int, tuple[Decimal | None, Decimal | None]]:
        """Return by day the return since the first snapshot, and the fall from the peak so far.

        Both are None from the first session without a return or snapshot.
        """
        last = range(self.first + 1, len(self.chain))
        found = self._compounded([self.first] * len(last), last)
        days = self.chain.day[self.first + 1 :].tolist()
        return dict(zip(days, zip(*found, strict=True), strict=True))

    def by(self, part: Callable[[dt.date], Part]) -> list[tuple[Part, Decimal | None]]:
        """Return the return of each part of the calendar, from the last snapshot before it.

        The first part begins with the first snapshot.
        """
        ends = {
            part(date_of(int(self.chain.day[row]))): row
            for row in range(self.first + 1, len(self.chain))
        }
        last = list(ends.values())
        total, _ = self._compounded([self.first, *last][: len(last)], last)
        return list(zip(ends, total, strict=True))

    def _compounded(
        self, base: Sequence[int], last: Sequence[int]
    ) -> tuple[list[Decimal | None], list[Decimal | None]]:
        """Return the returns of spans of the chain, and the distance of each end from its peak."""
        begin, end = np.array(base, dtype=np.int64), np.array(last, dtype=np.int64)
        found = compound(
            self.chain.pnl.values,
            basis_of(self.chain, "end"),
            (begin + 1).astype(np.uint32),
            end.astype(np.uint32),
        )
        skipped = np.cumsum(self.chain.skipped)
        has_gap = skipped[end] != skipped[begin]

        def known(column: WideDecimals) -> list[Decimal | None]:
            state = np.where(has_gap, State.NULL, column.state).astype(np.uint8)
            return replace(column, state=state).decimals()

        return known(found.total), known(found.current)
