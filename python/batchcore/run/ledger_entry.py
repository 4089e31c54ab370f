"""What the ledger keeps of a chunk: pure."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any, Final

import numpy as np

from batchcore.calendar import date_of
from batchcore.frames import Integers, Issues, Text, distinct, first_of_each
from batchcore.pg.ledger import ISSUES, SYMBOL_ISSUES, Entry, encode_issues

if TYPE_CHECKING:
    from collections.abc import Sequence

    import numpy.typing as npt

    from batchcore.frames import Rows
    from batchcore.pg.ledger import IssueRows

FAILED: Final = "failed"
"""The issue of a portfolio that failed without another."""


def entry_of(
    run_id: str,
    number: int,
    ids: npt.NDArray[np.uint8],
    rows: Rows,
    issues: Sequence[tuple[Issues, int]],
    *,
    sha256: str,
) -> Entry:
    """Return what the ledger keeps of the chunk of a number: its portfolios, rows and issues.

    Portfolios of issues count those of the chunk from a number on.
    """
    sessions = distinct(rows.day)
    first, last = (date_of(int(sessions[row])) if len(sessions) else None for row in (0, -1))
    return Entry(
        chunk=number,
        first=ids[0].tobytes(),
        last=ids[-1].tobytes(),
        first_session=first,
        last_session=last,
        sessions=len(sessions),
        rows=len(rows),
        failed=int(np.count_nonzero(rows.failed)),
        issues=issue_rows(run_id, number, ids, rows.failed, issues),
        sha256=sha256,
    )


def issue_rows(
    run_id: str,
    number: int,
    ids: npt.NDArray[np.uint8],
    failed: npt.NDArray[np.bool_],
    issues: Sequence[tuple[Issues, int]],
) -> IssueRows:
    """Return issues of portfolios; the number of a chunk is below zero for those of none.

    Portfolios of issues count those of ``ids``, (p, 16) uint8, from a number on.
    """
    return encode_issues(ISSUES, run_id, number, issue_columns(ids, failed, issues))


def symbol_issue_rows(run_id: str, attempt: int, issues: Issues) -> IssueRows:
    """Return what an attempt of a run noticed of no portfolio: one row for each name and symbol.

    What is of no symbol either, such as `bad_rate`, has the empty one: the column takes no NULL.
    """
    shared = issues.take(np.flatnonzero(issues.portfolio < 0))
    symbols = ["" if symbol is None else symbol for symbol in shared.symbol.texts()]
    shared = replace(shared, symbol=Text.of(symbols))
    columns, _ = _first_of_each(shared, shared.symbol.codes)
    return encode_issues(SYMBOL_ISSUES, run_id, attempt, columns)


def issue_columns(
    ids: npt.NDArray[np.uint8],
    failed: npt.NDArray[np.bool_],
    issues: Sequence[tuple[Issues, int]],
) -> dict[str, Any]:
    """Return one row for each portfolio and name: how many there are, and the first.

    A portfolio that failed has one at least.
    """
    parts = [replace(part, portfolio=part.portfolio - np.int32(start)) for part, start in issues]
    unnamed = failed.copy()
    for part in parts:
        unnamed[part.portfolio[part.portfolio >= 0]] = False
    lone = np.flatnonzero(unnamed).astype(np.int32)
    every = Issues.concat([*parts, Issues.of(FAILED, lone, detail=None)])
    own = every.take(np.flatnonzero(every.portfolio >= 0))
    columns, portfolio = _first_of_each(own, own.portfolio)
    return {
        "portfolio_id": np.ascontiguousarray(ids[portfolio]),
        "failed": failed[portfolio],
        **columns,
    }


def _first_of_each(
    issues: Issues, whose: npt.NDArray[Any]
) -> tuple[dict[str, Any], npt.NDArray[Any]]:
    """Return the columns of the first issue of each name and owner, and the owners."""
    key = whose.astype(np.int64) * len(issues.name.offsets) + issues.name.codes
    row, count = first_of_each(key)
    first = issues.take(row)
    columns = {
        "name": first.name,
        "count": Integers(count.astype(np.int32)),
        "symbol": first.symbol,
        "session": first.day,
        "detail": first.detail,
    }
    return columns, whose[row]
