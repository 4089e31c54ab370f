"""What a verification found: counts by column, examples, text and JSON."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from decimal import Decimal
from typing import TYPE_CHECKING, Any

from batchcore.audit.compare import shares_apart

if TYPE_CHECKING:
    import datetime as dt
    import uuid

    import numpy as np
    import numpy.typing as npt


@dataclass(frozen=True, slots=True)
class Difference:
    """A cell that is not what it should be.

    Attributes:
        portfolio: Its id.
        session: The date of the snapshot; None of `portfolios.equity_balance`.
        column: Its name in docs/schema.md.
        stored: A number, a mapping of sectors, None for NULL, or text for what is no number.
        expected: Likewise.
        cause: A guess, one of those of docs/api.md; empty for `portfolios.equity_balance`.
    """

    portfolio: uuid.UUID
    session: dt.date | None
    column: str
    stored: Any
    expected: Any
    cause: str = ""

    @property
    def difference(self) -> Decimal | None:
        """How far apart the two are; None if one of them is no number."""
        if isinstance(self.stored, Decimal) and isinstance(self.expected, Decimal):
            return abs(self.stored - self.expected)
        return shares_apart(self.stored, self.expected)

    def to_dict(self) -> dict[str, Any]:
        """Return it as what JSON can hold, amounts as text."""
        return {
            "portfolio": str(self.portfolio),
            "session": None if self.session is None else self.session.isoformat(),
            "column": self.column,
            "stored": _plain(self.stored),
            "expected": _plain(self.expected),
            "difference": _plain(self.difference),
            "cause": self.cause or None,
        }


@dataclass(frozen=True, eq=False, slots=True)
class ColumnCounts:
    """One row for each column that was compared.

    Attributes:
        name: Those of docs/schema.md; `portfolios.equity_balance` comes last.
        checked: (c,) int64 cells compared.
        differing: (c,) int64 of these, cells that differ.
        worst: Of each column the cell that is furthest off; None if none differs.
    """

    name: tuple[str, ...]
    checked: npt.NDArray[np.int64]
    differing: npt.NDArray[np.int64]
    worst: tuple[Difference | None, ...]


@dataclass(frozen=True, eq=False, slots=True, kw_only=True)
class VerifyResult:
    """What a verification found.

    Attributes:
        policy: What the figures were taken to mean.
        calendar: Code of the calendar.
        fast: Whether rows were computed natively, not by the reference.
        portfolios: Portfolios with a snapshot that was looked at.
        rows: Snapshots looked at.
        rows_stored: Snapshots of the range; more than `rows` in a sample.
        rows_differing: Snapshots with a cell that differs.
        missing_sessions: Sessions without a complete snapshot, before one that was looked at and
            after the one that it goes on from.
        columns: Cells by column.
        examples: The first cells that differ, by portfolio and session.
        causes: Guess -> snapshots that differ.
        not_checkable: Reason -> cells that the stored data do not determine.
        analytics_off: Part of the analytics -> why it could not be computed.
        consistent: Whether everything was read from one snapshot of the database.
        seconds: How long it took.
    """

    policy: str
    calendar: str
    fast: bool
    portfolios: int
    rows: int
    rows_stored: int
    rows_differing: int
    missing_sessions: int
    columns: ColumnCounts
    examples: tuple[Difference, ...]
    causes: Mapping[str, int]
    not_checkable: Mapping[str, int]
    analytics_off: Mapping[str, str]
    consistent: bool
    seconds: float

    @property
    def checked(self) -> int:
        """How many cells were compared."""
        return int(self.columns.checked.sum())

    @property
    def differing(self) -> int:
        """How many cells differ."""
        return int(self.columns.differing.sum())

    def to_dict(self) -> dict[str, Any]:
        """Return it as what JSON can hold: amounts as text, dates as ISO text."""
        columns = self.columns
        return {
            "policy": self.policy,
            "calendar": self.calendar,
            "fast": self.fast,
            "portfolios": self.portfolios,
            "rows": self.rows,
            "rows_stored": self.rows_stored,
            "rows_differing": self.rows_differing,
            "missing_sessions": self.missing_sessions,
            "cells_checked": self.checked,
            "cells_differing": self.differing,
            "cells_not_checkable": sum(self.not_checkable.values()),
            "columns": {
                name: {
                    "checked": int(columns.checked[row]),
                    "differing": int(columns.differing[row]),
                    "worst": None if worst is None else worst.to_dict(),
                }
                for row, (name, worst) in enumerate(zip(columns.name, columns.worst, strict=True))
            },
            "examples": [example.to_dict() for example in self.examples],
            "causes": dict(self.causes),
            "not_checkable": dict(self.not_checkable),
            "analytics_off": dict(self.analytics_off),
            "consistent": self.consistent,
            "seconds": round(self.seconds, 6),
        }


def _plain(value: Any) -> Any:  # noqa: ANN401  # what a cell may hold
    """Return a cell as what JSON can hold."""
    if isinstance(value, Decimal):
        return f"{value:f}"
    if isinstance(value, Mapping):
        return {name: _plain(share) for name, share in value.items()}
    if isinstance(value, list):
        return [_plain(one) for one in value]
    return value
