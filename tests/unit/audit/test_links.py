"""The row that each stored row goes on from, against plain Python."""

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from batchcore.audit.links import previous_rows, rows_before, rows_that_stood
from batchcore.sources.stored import StoredRows

ROWS = st.lists(st.tuples(st.integers(0, 2), st.integers(0, 4), st.booleans()), max_size=14)


def stored(rows: list[tuple[int, int, bool]]) -> StoredRows:
    """Return rows of portfolio, time of writing and completeness, one a day."""
    rows = sorted(rows, key=lambda row: row[0])
    return StoredRows(
        portfolio=np.array([row[0] for row in rows], dtype=np.int32),
        day=np.arange(len(rows), dtype=np.int32),
        complete=np.array([row[2] for row in rows], dtype=np.bool_),
        session=np.ones(len(rows), dtype=np.bool_),
        written=np.array([row[1] for row in rows], dtype=np.int64),
        cells={},
        texts={},
    )


def before(row: int, found: StoredRows) -> list[int]:
    """Return the rows before one, of the same portfolio."""
    return [one for one in range(row) if found.portfolio[one] == found.portfolio[row]]


@given(ROWS)
def test_rollforward_goes_on_from_the_latest_complete_row(
    rows: list[tuple[int, int, bool]],
) -> None:
    found = stored(rows)
    assert previous_rows(found).tolist() == [
        max((one for one in before(row, found) if found.complete[one]), default=-1)
        for row in range(len(found))
    ]


@given(ROWS)
def test_legacy_goes_on_from_the_latest_row_that_is_not_younger(
    rows: list[tuple[int, int, bool]],
) -> None:
    found = stored(rows)
    assert rows_that_stood(found).tolist() == [
        max(
            (one for one in before(row, found) if found.written[one] <= found.written[row]),
            default=-1,
        )
        for row in range(len(found))
    ]


@given(ROWS)
def test_the_row_before_is_that_of_the_same_portfolio(rows: list[tuple[int, int, bool]]) -> None:
    found = stored(rows)
    assert rows_before(found).tolist() == [
        max(before(row, found), default=-1) for row in range(len(found))
    ]
