"""Windows of the sessions that count, and sums that only their own values decide."""

import numpy as np

from batchcore.analytics.windows import counts_before, last_rows, to_front, window_sums


def test_the_last_rows_of_more():
    assert last_rows(np.array([1.0, 2.0, 3.0]), 2).tolist() == [2.0, 3.0]


def test_rows_that_are_not_there_are_nan():
    rows = last_rows(np.array([[1.0, 2.0]]), 3)
    assert np.isnan(rows[:2]).all()
    assert rows[2].tolist() == [1.0, 2.0]


def test_valid_values_come_first_in_their_order():
    values = np.array([[1.0, 5.0], [2.0, 6.0], [3.0, 7.0]])
    valid = np.array([[False, True], [True, True], [True, False]])
    assert to_front(values, valid).tolist() == [[2.0, 5.0], [3.0, 6.0], [0.0, 0.0]]
    assert counts_before(valid).tolist() == [[0, 0], [0, 1], [1, 2], [2, 2]]


def test_sums_over_windows_of_any_length():
    values = np.arange(1.0, 21.0)[None, :, None]
    start = np.array([[0], [3], [19], [5], [0]])
    length = np.array([[20], [7], [1], [0], [13]])
    # 1 + .. + 20; 4 + .. + 10; 20; nothing; 1 + .. + 13
    assert window_sums(values, start, length)[0, :, 0].tolist() == [210.0, 49.0, 20.0, 0.0, 91.0]


def test_what_is_outside_a_window_has_no_influence():
    values = np.random.default_rng(3).normal(size=200)
    other = np.concatenate([np.full(37, 1e18), values[60:150], np.full(80, -1e18)])
    sums = [
        window_sums(array[None, :, None], np.array([[start]]), np.array([[90]])).tobytes()
        for array, start in ((values, 60), (other, 37))
    ]
    assert sums[0] == sums[1]
