"""The stored rows of one portfolio, and what lies around their P&L (X4, X5)."""

from __future__ import annotations

from decimal import Decimal, localcontext
from typing import TYPE_CHECKING, Final

import numpy as np

from batchcore import calendar as calendars
from batchcore.attribution.explanation import ComparedCell, ExplainedFlow, UnbalancedRow
from batchcore.attribution.lots import trimmed
from batchcore.audit.compare import PNL_COLUMNS, value_at
from batchcore.audit.compute import Links
from batchcore.values import EXACT, decimal_of, r2

if TYPE_CHECKING:
    import datetime as dt

    from batchcore.audit.compute import ExpectedRows
    from batchcore.audit.policy import PolicyAudit
    from batchcore.frames import Flows, Int64
    from batchcore.sources.stored import StoredRows

_CENT: Final = Decimal("0.01")

Cell = Decimal | str | None


class ChainRows:
    """The rows of one portfolio that are explained, at least one.

    Attributes:
        chains: Each with the row that it goes on from.
        last_day: Of the last row.
    """

    def __init__(self, policy: PolicyAudit, stored: StoredRows, rows: Int64, flows: Flows) -> None:
        """Take all stored rows, which of them are explained, and flows of their days."""
        self._policy, self._stored, self._rows = policy, stored, rows
        self._candidates = policy.previous(stored)
        self._before = self._candidates[0][rows]
        self.chains = Links.stored(stored, rows, self._before)
        self.last_day = int(self.chains.day[-1])
        self._every = range(len(rows))
        self._flows = [
            (day, amount) for day, amount in _usable(flows) if self._counts(day, self._every)
        ]
        begins = not policy.of_day and bool(self.chains.first[0])
        # A range that begins with a baseline goes on from it (X4).
        self._explained = range(1 if begins and len(rows) > 1 else 0, len(rows))
        self.has_contributions = not begins or len(rows) > 1

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
        """By how many half cents P&L and contributions may differ (X2)."""
        rows = np.array([len(self._rows)])
        later = np.array([int((~self.chains.first).sum())])
        return int(self._policy.half_cents(rows, later)[0])

    @property
    def daily_pnl(self) -> Decimal | None:
        """Sum of the stored `daily_pnl`; None if one is no number."""
        with localcontext(EXACT):
            found = Decimal(0)
            for row in self._rows.tolist():
                pnl = self._cell("daily_pnl", row)
                if not isinstance(pnl, Decimal):
                    return None
                found += pnl
            return found

    def _previous_row(self) -> int:
        """Return the row that the range goes on from, -1 for none."""
        return int(self._rows[0]) if self._explained.start else int(self._before[0])

    @property
    def previous(self) -> dt.date | None:
        """Date of the row that the range goes on from."""
        row = self._previous_row()
        return None if row < 0 else calendars.date_of(int(self._stored.day[row]))

    @property
    def equity_before(self) -> Cell:
        """Equity of that row."""
        row = self._previous_row()
        return None if row < 0 else self._cell("equity_balance", row)

    @property
    def equity(self) -> Cell:
        """Equity of the last row."""
        return self._cell("equity_balance", int(self._rows[-1]))

    @property
    def flows(self) -> tuple[ExplainedFlow, ...]:
        """Flows that count in the rows, by date."""
        return tuple(
            ExplainedFlow(calendars.date_of(day), trimmed(amount))
            for day, amount in self._flows
            if self._counts(day, self._explained)
        )

    def missing_sessions(self, until: int) -> tuple[dt.date, ...]:
        """Return the sessions between the first row and a day that have no complete row."""
        row, calendar = self._previous_row(), self._policy.calendar
        first = int(self.chains.day[0]) if row < 0 else int(self._stored.day[row])
        low, high = max(first + 1, calendar.first_day), min(until, calendar.last_day)
        if low > high:
            return ()
        there = set(self.chains.day.tolist())
        sessions = calendar.sessions(low, high).tolist()
        return tuple(calendars.date_of(day) for day in sessions if day not in there)

    @property
    def unbalanced(self) -> tuple[UnbalancedRow, ...]:
        """Rows that do not add up (X5)."""
        found = (self._unbalanced(at) for at in self._every)
        return tuple(one for one in found if one is not None)

    def _unbalanced(self, at: int) -> UnbalancedRow | None:
        row = int(self._rows[at])
        pnl, flow, equity = (
            self._cell(name, row) for name in ("daily_pnl", "daily_capital_flow", "equity_balance")
        )
        with localcontext(EXACT):
            own = range(at, at + 1)
            flows = sum(
                (amount for day, amount in self._flows if self._counts(day, own)), Decimal(0)
            )
        before = [int(rows[row]) for rows in self._candidates]
        if flow == r2(flows) and any(self._adds_up(one, pnl, flow, equity) for one in before):
            return None
        return UnbalancedRow(
            session=calendars.date_of(int(self._stored.day[row])),
            equity_before=None if before[0] < 0 else self._cell("equity_balance", before[0]),
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
            return True  # what a first row opened with is not stored
        start = self._cell("equity_balance", before)
        of_day = self._policy.of_day
        if of_day and (start is None or start == 0):
            return True  # it went on from the column of the portfolio (L6)
        if not isinstance(start, Decimal):
            return False
        with localcontext(EXACT):
            # Under `legacy` each column is rounded from its own unrounded amount (L20).
            return abs(equity - start - pnl - flow) <= (_CENT if of_day else 0)

    def cells(self, expected: ExpectedRows) -> tuple[ComparedCell, ...]:
        """Return the P&L columns of rows beside what they should be, of rows that differ.

        Of a single row all columns come.
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
