"""The result of a verification: counts by column, examples, and both as JSON."""

from __future__ import annotations

import datetime as dt
import json
import uuid
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, fields
from decimal import Decimal
from fractions import Fraction
from typing import TYPE_CHECKING, Any, Final

import numpy as np

from batchcore import arrow
from batchcore.audit.causes import CAUSES
from batchcore.audit.compare import ALL_COLUMNS, PLACE, REASONS, Judgement, shares_apart
from batchcore.words import plain

if TYPE_CHECKING:
    import numpy.typing as npt

    from batchcore.arrow import ArrowColumn
    from batchcore.audit.chunk_check import DifferingCells
    from batchcore.frames import Bools, Bytes

EXAMPLES: Final = 20
"""Number of differing cells that are listed; all are counted."""

EQUITY: Final = "portfolios.equity_balance"

CELL_SCALE: Final = 18
"""Decimals of cells in Arrow, and the most with which a column may be read."""


@dataclass(frozen=True, slots=True)
class Difference:
    """A stored cell that differs from the expected one.

    Attributes:
        portfolio: Its id.
        session: The date of the snapshot; None of `portfolios.equity_balance`.
        column: Its name in docs/schema.md.
        stored: A number, a mapping of sectors, None for NULL, or text for what is no number.
        expected: Likewise.
        cause: One of those of docs/api.md; empty for `portfolios.equity_balance`.
    """

    portfolio: uuid.UUID
    session: dt.date | None
    column: str
    stored: Any
    expected: Any
    cause: str = ""

    @property
    def difference(self) -> Decimal | None:
        """The difference of the two; None if one is not a number."""
        if isinstance(self.stored, Decimal) and isinstance(self.expected, Decimal):
            return abs(self.stored - self.expected)
        return shares_apart(self.stored, self.expected)

    def to_dict(self) -> dict[str, Any]:
        """Return it as what JSON can hold, amounts as text."""
        own = {one.name: plain(getattr(self, one.name)) for one in fields(self)}
        return own | {"difference": plain(self.difference), "cause": self.cause or None}


@dataclass(frozen=True, eq=False, slots=True)
class ColumnCounts(arrow.ArrowTable):
    """One row for each column that was compared.

    Attributes:
        name: Those of docs/schema.md; `portfolios.equity_balance` comes last.
        checked: (c,) int64 cells compared.
        differing: (c,) int64 cells that differ.
        worst: The cell of each column with the largest difference; None if none differs.
    """

    name: tuple[str, ...]
    checked: npt.NDArray[np.int64]
    differing: npt.NDArray[np.int64]
    worst: tuple[Difference | None, ...]

    def _arrow_columns(self) -> Mapping[str, ArrowColumn]:
        return {
            "column": arrow.coded(np.arange(len(self.name)), self.name),
            "checked": arrow.numbers(self.checked),
            "differing": arrow.numbers(self.differing),
        }

    def to_dict(self) -> dict[str, Any]:
        """Return it as what JSON can hold, by name."""
        return {
            name: {
                "checked": int(self.checked[row]),
                "differing": int(self.differing[row]),
                "worst": None if worst is None else worst.to_dict(),
            }
            for row, (name, worst) in enumerate(zip(self.name, self.worst, strict=True))
        }


@dataclass(frozen=True, eq=False, slots=True, kw_only=True)
class VerifyResult(arrow.ArrowTable):
    """The result of a verification.

    Attributes:
        policy: The rules of the figures.
        calendar: Code of the calendar.
        fast: Whether rows were computed natively, not by the reference.
        portfolios: Portfolios with a checked snapshot.
        rows: Snapshots checked.
        rows_stored: Snapshots of the range; more than `rows` in a sample.
        rows_differing: Snapshots with a cell that differs.
        missing_sessions: Sessions without a complete snapshot between a checked one and the one
            from which it continues.
        columns: Cells by column.
        examples: The first cells that differ, by portfolio and session.
        causes: Cause shown by a stored fact -> snapshots that differ.
        not_checkable: Reason -> cells that the stored data do not determine.
        analytics_off: Part of the analytics -> why it could not be computed.
        consistent: Whether everything was read from one snapshot of the database.
        seconds: Duration.
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

    def _arrow_columns(self) -> Mapping[str, ArrowColumn]:
        """Return the cells of `examples`; values that are not numbers are text."""
        cells = self.examples
        return {
            "portfolio_id": arrow.of_values([one.portfolio for one in cells], uuid.UUID),
            "snapshot_date": arrow.of_values([one.session for one in cells], dt.date),
            "column": arrow.of_values([one.column for one in cells], str),
            "stored": _amounts(one.stored for one in cells),
            "expected": _amounts(one.expected for one in cells),
            "difference": _amounts(one.difference for one in cells),
            "stored_text": arrow.texts([_text(one.stored) for one in cells]),
            "expected_text": arrow.texts([_text(one.expected) for one in cells]),
            "cause": arrow.of_values([one.cause or None for one in cells], str),
        }

    @property
    def checked(self) -> int:
        """The number of cells compared."""
        return int(self.columns.checked.sum())

    @property
    def differing(self) -> int:
        """The number of cells that differ."""
        return int(self.columns.differing.sum())

    def to_dict(self) -> dict[str, Any]:
        """Return it as what JSON can hold: amounts as text, dates as ISO text."""
        return {
            **{one.name: plain(getattr(self, one.name)) for one in fields(self)},
            "columns": self.columns.to_dict(),
            "examples": [one.to_dict() for one in self.examples],
            "cells_checked": self.checked,
            "cells_differing": self.differing,
            "cells_not_checkable": sum(self.not_checkable.values()),
            "seconds": round(self.seconds, 6),
        }


def _amounts(values: Iterable[object]) -> ArrowColumn:
    """Return numbers as decimals; others, and numbers too large, are null."""
    cells = [value if _is_amount(value) else None for value in values]
    return arrow.of_values(cells, Decimal, scale=CELL_SCALE)


def _is_amount(value: object) -> bool:
    if not isinstance(value, Decimal) or not value.is_finite():
        return False
    units = Fraction(value) * 10**CELL_SCALE
    return units.denominator == 1 and abs(units) < 10**arrow.MOST_DIGITS


def _text(value: object) -> str | None:
    """Return values other than numbers as text, objects as JSON; None for a number and for NULL."""
    if value is None or _is_amount(value):
        return None
    return json.dumps(plain(value)) if isinstance(value, Mapping) else f"{value}"


class Tally:
    """Counts of all chunks, the first examples, and the worst cell of each column."""

    def __init__(self, columns: Sequence[str]) -> None:
        """Begin empty, with the compared columns, in the order of the report."""
        self.rows = self.rows_differing = self.missing_sessions = 0
        self._names = (*columns, EQUITY)
        self._places = [PLACE[column] for column in columns]
        self._checked = np.zeros(len(self._names), dtype=np.int64)
        self._differing = np.zeros(len(self._names), dtype=np.int64)
        self._worst: list[Difference | None] = [None] * len(self._names)
        self._examples: list[Difference] = []
        self._causes: Counter[str] = Counter()
        self._reasons: Counter[str] = Counter()

    def judge(self, judged: Judgement) -> None:
        """Count the compared cells of some rows, and the reasons of others."""
        self._checked[:-1] += judged.checked().sum(axis=0)[self._places]
        self._reasons.update(judged.counts())

    def differ(self, wrong: Bools, cause: Bytes, found: DifferingCells) -> None:
        """Count (k, c) wrong cells of rows, with (k,) indices into `CAUSES`."""
        self.rows_differing += len(wrong)
        self._differing[:-1] += wrong.sum(axis=0)[self._places]
        self._causes.update(CAUSES[one] for one in cause.tolist())
        for row in range(min(len(wrong), EXAMPLES - len(self._examples))):
            for place in np.flatnonzero(wrong[row]).tolist():
                self._examples.append(found.difference(row, ALL_COLUMNS[place]))
        for number, place in enumerate(self._places):
            own = np.flatnonzero(wrong[:, place])
            if len(own):
                column = ALL_COLUMNS[place]
                self._worsen(number, found.difference(found.furthest(own, column), column))

    def equities(
        self, checked: int, left_out: Mapping[str, int], differences: Sequence[Difference]
    ) -> None:
        """Count the compared `portfolios.equity_balance`, and the reasons of others."""
        self._checked[-1] += checked
        self._differing[-1] += len(differences)
        self._reasons.update(left_out)
        self._examples = [*self._examples, *differences][:EXAMPLES]
        for difference in differences:
            self._worsen(-1, difference)

    def _worsen(self, place: int, found: Difference) -> None:
        worst = self._worst[place]
        if worst is None or _size(found) > _size(worst):
            self._worst[place] = found

    def result(self, **about: Any) -> VerifyResult:  # noqa: ANN401  # what the caller knows
        """Return the result, with the scope of the verification."""
        return VerifyResult(
            rows=self.rows,
            rows_differing=self.rows_differing,
            missing_sessions=self.missing_sessions,
            columns=ColumnCounts(self._names, self._checked, self._differing, tuple(self._worst)),
            examples=tuple(self._examples[:EXAMPLES]),
            causes={name: self._causes[name] for name in CAUSES if self._causes[name]},
            not_checkable={name: self._reasons[name] for name in REASONS if self._reasons[name]},
            **about,
        )


def _size(difference: Difference) -> float:
    apart = difference.difference
    return -1.0 if apart is None or apart.is_nan() else float(apart)
