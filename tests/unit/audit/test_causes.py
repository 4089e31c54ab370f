"""What runs have committed, and the rows that it concerns."""

from typing import Any

import numpy as np
import pytest

from batchcore.audit.causes import WriteTimes, has_missing_run, last_written
from batchcore.sources.stored import RunChunks
from support import build

IDS = build.ids(range(10, 20))
PORTFOLIO = np.repeat(np.arange(10, dtype=np.int32), 3)
DAY = np.tile(np.array([4, 6, 9], dtype=np.int32), 10)
WRITTEN = WriteTimes(PORTFOLIO, DAY, np.zeros(30, dtype=np.int64))


def chunks(*entries: tuple[int, int, int, int, bool]) -> RunChunks:
    """Return chunks of first and last portfolio and day, the later ones of later runs."""
    first_id, last_id, first, last, replaced = zip(*entries, strict=True)
    columns: dict[str, Any] = {
        "first": np.array(first, dtype=np.int32),
        "last": np.array(last, dtype=np.int32),
        "began": np.arange(1, len(entries) + 1),
        "replaced": np.array(replaced),
    }
    return RunChunks(build.ids(first_id), build.ids(last_id), **columns)


@pytest.mark.parametrize(
    ("entry", "portfolios", "days"),
    [
        ((12, 14, 5, 8, True), {2, 3, 4}, {6}),
        ((1, 10, 1, 99, True), {0}, {4, 6, 9}),  # it begins before the first portfolio
        ((19, 30, 9, 9, True), {9}, {9}),
        ((1, 9, 4, 9, True), set(), set()),  # before all portfolios
        ((20, 30, 4, 9, True), set(), set()),
        ((10, 19, 1, 3, True), set(), set()),  # before all days
        ((10, 19, 10, 12, True), set(), set()),
        ((10, 19, 7, 8, True), set(), set()),  # between the days
    ],
)
def test_a_chunk_comes_with_its_rows(
    entry: tuple[int, int, int, int, bool], portfolios: set[int], days: set[int]
) -> None:
    found = [rows for _, rows in chunks(entry).around(IDS, PORTFOLIO, DAY, DAY)]
    rows = np.concatenate([np.zeros(0, dtype=np.int64), *found])
    inside = np.isin(PORTFOLIO, [*portfolios]) & np.isin(DAY, [*days])
    assert rows.tolist() == np.flatnonzero(inside).tolist()
    at = last_written(chunks(entry), IDS, WRITTEN).at
    assert at.tolist() == inside.astype(int).tolist()


def test_chunks_of_other_portfolios_and_days_are_passed_over() -> None:
    # A ledger has tens of thousands, of which a part of a verification needs few.
    many = [(portfolio, portfolio, day, day, False) for portfolio in range(30) for day in range(30)]
    found = list(chunks(*many).around(IDS, PORTFOLIO, DAY, np.minimum(DAY + 1, 9).astype(np.int32)))
    assert len(found) == len(IDS) * 6
    assert all(len(rows) <= 3 for _, rows in found)


def test_only_runs_that_replace_write_rows_again_and_the_latest_counts() -> None:
    own = chunks((10, 19, 4, 6, True), (10, 19, 4, 9, False), (11, 11, 6, 6, True))
    at = last_written(own, IDS, WRITTEN).at.reshape(10, 3)
    assert at[0].tolist() == [1, 1, 0]
    assert at[1].tolist() == [1, 3, 0]


def test_a_run_is_missing_only_before_a_row_with_a_hole() -> None:
    holes = np.zeros(30, dtype=np.int64)
    assert not has_missing_run(chunks((10, 19, 1, 99, False)), IDS, WRITTEN, DAY - 3, holes).any()
    holes[[2, 4, 5]] = 1
    run = chunks((11, 11, 7, 8, False))
    assert np.flatnonzero(has_missing_run(run, IDS, WRITTEN, DAY - 3, holes)).tolist() == [5]
