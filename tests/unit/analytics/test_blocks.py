"""Blocks of groups, by which sums of many rows stay small, hold every group once."""

import numpy as np
import pytest

from batchcore.analytics.grouped_sums import blocks_of_groups


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
