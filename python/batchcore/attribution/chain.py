"""The stored rows of one portfolio, with the context of their P&L (X4, X5)."""

from __future__ import annotations

from decimal import Decimal, localcontext
from typing import TYPE_CHECKING, Any, Final

import numpy as np

from batchcore import calendar as calendars
from batchcore.attribution.explanation import ComparedCell, ExplainedFlow, UnbalancedRow
from batchcore.attribution.lots import total, trimmed
from batchcore.audit.compare import PNL_COLUMNS, value_at
from batchcore.audit.compute import ExpectedRows, Links
from batchcore.values import EXACT, decimal_of, r2

if TYPE_CHECKING:
    from batchcore.audit.policy import PolicyAudit
    from batchcore.frames import Flows, Int64
    from batchcore.sources.stored import StoredRows

_CENT: Final = Decimal("0.01")

Cell = Decimal | str | None


class ChainRows:
    """The explained rows of one portfolio, at least one."""

    chains: Links  # each with the row that it goes on from
    has_contributions: bool  # not a baseline alone (X3)

    def __init__(self, policy: PolicyAudit, stored: StoredRows, rows: Int64, flows: Flows) -> None:
        """Take all stored rows, the explained ones among them, and the flows of their days."""
        self._policy, self._stored, self._rows = policy, stored, rows
        self._candidates = policy.previous(stored)
        self._before = np.array([self._row_before(row) for row in rows.tolist()], dtype=np.int64)
        self.chains = Links.stored(stored, rows, self._before)
        self._every = range(len(rows))
        self._flows = [
            (day, amount) for day, amount in _usable(flows) if self._counts(day, self._every)
        ]
        begins = not policy.of_day and bool(self.chains.first[0])
        # A range that begins with a baseline continues from it (X4).
        self._explained = range(1 if begins and len(rows) > 1 else 0, len(rows))
        self.has_contributions = not begins or len(rows) > 1

    def _row_before(self, row: int) -> int:
        """Return the first candidate from which a row adds up, else the first of all.

        If that is a row, the explained one is no first row, whatever the others say.
        """
        amounts = self._summands(row)
        first, *others = (int(rows[row]) for rows in self._candidates)
        before = [first, *(one for one in others if one >= 0 or first < 0)]
        return next((one for one in before if self._adds_up(one, *amounts)), first)

    def _summands(self, row: int) -> tuple[Cell, Cell, Cell]:
        names = ("daily_pnl", "daily_capital_flow", "equity_balance")
        pnl, flow, equity = (self._cell(name, row) for name in names)
        return pnl, flow, equity

    def _counts(self, day: int, rows: range) -> bool:
        """Return whether a flow of a day counts in one of some rows (S7, L18)."""
        chains, of_day = self.chains, self._policy.of_day
        since = np.where(chains.first | of_day, chains.day - 1, chains.previous_day)
        counts = (since < day) & (day <= chains.day)
        return bool(counts[rows.start : rows.stop].any())

    def _cell(self, column: str, row: int) -> Cell:
        return value_at(self._stored.cells[column], row)

    @property
    def half_cents(self) -> int:
        """Number of half cents by which P&L and contributions may differ (X2)."""
        rows = np.array([len(self._rows)])
        later = np.array([int((~self.chains.first).sum())])
        return int(self._policy.half_cents(rows, later)[0])

    @property
    def daily_pnl(self) -> Decimal | None:
        """Sum of the stored `daily_pnl`; None if one is not a number."""
        values = [self._cell("daily_pnl", row) for row in self._rows.tolist()]
        known = [one for one in values if isinstance(one, Decimal)]
        return total(known) if len(known) == len(values) else None

    def around(self, until: int) -> dict[str, Any]:
        """Return the context of the P&L, by the names of `Explanation`.

        Sessions without a complete row are those from the first row up to the day ``until``.
        """
        stored, sessions = self._stored, self._missing_sessions
        before = int(self._rows[0]) if self._explained.start else int(self._before[0])
        first = int(self.chains.day[0]) if before < 0 else int(stored.day[before])
        unbalanced = (self._unbalanced(at) for at in self._every)
        return {
            "session": calendars.date_of(int(self.chains.day[-1])),
            "previous": None if before < 0 else calendars.date_of(first),
            "equity_before": None if before < 0 else self._cell("equity_balance", before),
            "flows": tuple(
                ExplainedFlow(calendars.date_of(day), trimmed(amount))
                for day, amount in self._flows
                if self._counts(day, self._explained)
            ),
            "equity": self._cell("equity_balance", int(self._rows[-1])),
            "missing_sessions": tuple(map(calendars.date_of, sessions(first + 1, until))),
            "unbalanced": tuple(one for one in unbalanced if one is not None),
        }

    def _missing_sessions(self, start: int, end: int) -> list[int]:
        calendar = self._policy.calendar
        low, high = max(start, calendar.first_day), min(end, calendar.last_day)
        there = set(self.chains.day.tolist())
        sessions = calendar.sessions(low, high).tolist() if low <= high else []
        return [day for day in sessions if day not in there]

    def _unbalanced(self, at: int) -> UnbalancedRow | None:
        row, before = int(self._rows[at]), int(self._before[at])
        pnl, flow, equity = self._summands(row)
        own = range(at, at + 1)
        counting = (amount for day, amount in self._flows if self._counts(day, own))
        flows = total(counting) or Decimal(0)
        if flow == r2(flows) and self._adds_up(before, pnl, flow, equity):
            return None
        return UnbalancedRow(
            session=calendars.date_of(int(self._stored.day[row])),
            equity_before=None if before < 0 else self._cell("equity_balance", before),
            daily_pnl=pnl,
            daily_capital_flow=flow,
            flows=trimmed(flows),
            equity=equity,
        )

    def _adds_up(self, before: int, pnl: Cell, flow: Cell, equity: Cell) -> bool:
        """Return whether a row adds up from the row before it (S8, L20)."""
        if not (
            isinstance(pnl, Decimal) and isinstance(flow, Decimal) and isinstance(equity, Decimal)
        ):
            return False
        if before < 0:
            return True  # the opening equity of a first row is not stored
        start = self._cell("equity_balance", before)
        of_day = self._policy.of_day
        if of_day and (start is None or start == 0):
            return True  # it continued from the column of the portfolio (L6)
        if not isinstance(start, Decimal):
            return False
        with localcontext(EXACT):
            # Under `legacy` each column is rounded from its own unrounded amount (L20).
            return abs(equity - start - pnl - flow) <= (_CENT if of_day else 0)

    def cells(self, expected: ExpectedRows) -> tuple[ComparedCell, ...]:
        """Return stored and expected P&L columns of rows that differ.

        A single row has all columns.
        """
        found: list[ComparedCell] = []
        for at, row in enumerate(self._rows.tolist()):
            session, known = calendars.date_of(int(self._stored.day[row])), expected.known[at]
            own = [
                ComparedCell(
                    session,
                    name,
                    self._cell(name, row),
                    value_at(expected.cells[name], at) if known else None,
                )
                for name in PNL_COLUMNS
            ]
            if len(self._rows) == 1 or any(one.differs for one in own):
                found += own
        return tuple(found)


def _usable(flows: Flows) -> list[tuple[int, Decimal]]:
    """Return day and signed amount of the flows that count (S3), by day."""
    signs, amounts, scale = flows.signs().tolist(), flows.amount.values.tolist(), flows.amount.scale
    return sorted(
        (int(flows.day.values[row]), decimal_of(sign * amounts[row], scale))
        for row, sign in enumerate(signs)
        if sign
    )
