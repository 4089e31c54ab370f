"""Sums by group run in row order; blocks hold every group once."""

import numpy as np
import pytest

from batchcore.analytics.grouped_sums import blocks_of_groups, grouped_sum, rows_or_zero


def test_a_group_without_rows_sums_to_nothing():
    sums = grouped_sum(np.array([0, 2, 2]), np.array([[1.0, 2.0], [3.0, 4.0], [5.0, 6.0]]), 4)
    assert sums.tolist() == [[1.0, 2.0], [0.0, 0.0], [8.0, 10.0], [0.0, 0.0]]


def test_no_rows_sum_to_nothing():
    sums = grouped_sum(np.array([], dtype=np.int32), np.zeros((0, 2)), 1)
    assert sums.tolist() == [[0.0, 0.0]]


def test_rows_of_zero_change_no_digit():
    values = np.random.default_rng(5).normal(size=(40, 1))
    padded = np.zeros((120, 1))
    padded[1::3] = values
    one, other = (
        grouped_sum(np.zeros(len(rows), dtype=np.int32), rows, 1) for rows in (values, padded)
    )
    assert one.tobytes() == other.tobytes()


@pytest.mark.parametrize("limit", [1, 50, 1_000_000])
def test_blocks_hold_every_row_once(limit):
    counts = np.array([3, 0, 1, 40, 2, 2, 0, 9, 1, 17])
    group = np.repeat(np.arange(len(counts)), counts)
    members, found = [], []
    for block, rows in blocks_of_groups(group, len(counts), 2, limit):
        members += block.tolist()
        for one, of_one in zip(block, rows, strict=True):
            there = of_one[of_one < len(group)]
            assert set(group[there]) == {one}
            found += there.tolist()
        assert len(block) == 1 or 2 * rows.size <= limit
    assert sorted(members) == [0, 2, 3, 4, 5, 7, 8, 9]
    assert sorted(found) == list(range(len(group)))


def test_a_row_past_the_last_is_zeros():
    values = np.array([[1.0, 2.0], [3.0, 4.0]])
    assert rows_or_zero(values, np.array([[1, 2], [0, 1]])).tolist() == [
        [[3.0, 4.0], [0.0, 0.0]],
        [[1.0, 2.0], [3.0, 4.0]],
    ]
