"""What was found so far: counts, the worst cells, the first examples."""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING, Any, Final

import numpy as np

from batchcore.audit.causes import CAUSES
from batchcore.audit.compare import ALL_COLUMNS, REASONS, place_of
from batchcore.audit.result import ColumnCounts, Difference

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    import numpy.typing as npt

    from batchcore.audit.compare import Judged

    Bools = npt.NDArray[np.bool_]

EXAMPLES: Final = 20
"""How many cells that differ are told one by one; all are counted."""

EQUITY: Final = "portfolios.equity_balance"


class Tally:
    """Counts of all chunks.

    Attributes:
        rows: Snapshots looked at.
        rows_differing: Of these, those with a cell that differs.
        missing_sessions: Sessions without a complete snapshot.
    """

    def __init__(self, columns: Sequence[str]) -> None:
        """Begin with nothing.

        Args:
            columns: Those that are compared, in the order of the report.
        """
        self.rows = 0
        self.rows_differing = 0
        self.missing_sessions = 0
        self._names = (*columns, EQUITY)
        self._places = [place_of(column) for column in columns]
        self._checked = np.zeros(len(self._names), dtype=np.int64)
        self._differing = np.zeros(len(self._names), dtype=np.int64)
        self._worst: list[Difference | None] = [None] * len(self._names)
        self._examples: list[Difference] = []
        self._causes: Counter[str] = Counter()
        self._reasons: Counter[str] = Counter()

    def judge(self, judged: Judged) -> None:
        """Count which cells of some rows were compared, and why others were not."""
        self._checked[:-1] += judged.checked().sum(axis=0)[self._places]
        self._reasons.update(judged.counts())

    def differ(
        self,
        wrong: Bools,
        cause: npt.NDArray[np.uint8],
        apart: npt.NDArray[np.float64],
        tell: Callable[[int, str, str], Difference],
    ) -> None:
        """Count rows with cells that differ.

        Args:
            wrong: (k, c) bool.
            cause: (k,) row of `CAUSES`.
            apart: (k, c) how far cells are apart, NaN where one is no number.
            tell: Makes the difference of a row, a column and a cause.
        """
        self.rows_differing += len(wrong)
        self._differing[:-1] += wrong.sum(axis=0)[self._places]
        counted = np.bincount(cause, minlength=len(CAUSES)).tolist()
        self._causes.update(dict(zip(CAUSES, counted, strict=True)))
        for row in range(len(wrong)):
            if len(self._examples) >= EXAMPLES:
                break
            for place in np.flatnonzero(wrong[row]).tolist():
                self._add(tell(row, ALL_COLUMNS[place], CAUSES[cause[row]]))
        for number, place in enumerate(self._places):
            own = np.flatnonzero(wrong[:, place])
            if len(own):
                furthest = own[int(np.argmax(np.nan_to_num(apart[own, place], nan=-1.0)))]
                told = tell(int(furthest), ALL_COLUMNS[place], CAUSES[cause[furthest]])
                self._worse(number, told)

    def equity(
        self, *, checked: int, left_out: Mapping[str, int], differences: list[Difference]
    ) -> None:
        """Count what `portfolios.equity_balance` is compared with (S8, L7).

        Args:
            checked: How many were compared.
            left_out: Reason -> how many could not be.
            differences: What was found.
        """
        self._checked[-1] += checked
        self._differing[-1] += len(differences)
        self._reasons.update(left_out)
        for difference in differences:
            self._add(difference)
            self._worse(-1, difference)

    def _add(self, difference: Difference) -> None:
        if len(self._examples) < EXAMPLES:
            self._examples.append(difference)

    def _worse(self, place: int, found: Difference) -> None:
        worst = self._worst[place]
        if worst is None or _size(found) > _size(worst):
            self._worst[place] = found

    def columns(self) -> ColumnCounts:
        """Return the counts by column."""
        return ColumnCounts(self._names, self._checked, self._differing, tuple(self._worst))

    def rest(self) -> dict[str, Any]:
        """Return examples, causes and reasons, as `VerifyResult` has them."""
        return {
            "examples": tuple(self._examples),
            "causes": {name: self._causes[name] for name in CAUSES if self._causes[name]},
            "not_checkable": {name: self._reasons[name] for name in REASONS if self._reasons[name]},
        }


def _size(difference: Difference) -> float:
    apart = difference.difference
    return -1.0 if apart is None or apart.is_nan() else float(apart)
