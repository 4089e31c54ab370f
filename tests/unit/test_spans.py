"""Ranges of days, by hand and against sets of days."""

import itertools

import pytest

from batchcore.spans import Spans, gaps, widened
from support.outcome import seeded


@pytest.mark.parametrize(
    ("first", "last", "expected"),
    [
        (1, 2, ((1, 2), (10, 20), (30, 40))),
        (1, 9, ((1, 20), (30, 40))),  # next to one
        (21, 29, ((10, 40),)),  # fills what is between two
        (21, 28, ((10, 28), (30, 40))),
        (12, 18, ((10, 20), (30, 40))),  # inside
        (15, 35, ((10, 40),)),
        (5, 50, ((5, 50),)),  # around all
        (42, 42, ((10, 20), (30, 40), (42, 42))),
    ],
)
def test_spans_that_meet_become_one(first: int, last: int, expected: Spans) -> None:
    assert widened(((10, 20), (30, 40)), first, last) == expected


@pytest.mark.parametrize(
    ("first", "last", "expected"),
    [
        (10, 20, []),
        (12, 18, []),
        (9, 21, [(9, 9), (21, 21)]),
        (15, 35, [(21, 29)]),
        (1, 50, [(1, 9), (21, 29), (41, 50)]),
        (21, 29, [(21, 29)]),
        (41, 42, [(41, 42)]),
    ],
)
def test_gaps_are_what_spans_leave_out(
    first: int, last: int, expected: list[tuple[int, int]]
) -> None:
    assert gaps(((10, 20), (30, 40)), first, last) == expected


def test_spans_are_the_days_put_in() -> None:
    random = seeded("spans")
    for _ in range(200):
        spans: Spans = ()
        days: set[int] = set()
        for _ in range(random.randint(0, 8)):
            first = random.randint(0, 40)
            last = first + random.randint(0, 6)
            spans = widened(spans, first, last)
            days |= set(range(first, last + 1))
        assert {day for a, b in spans for day in range(a, b + 1)} == days
        assert all(b + 1 < c for (_, b), (c, _) in itertools.pairwise(spans))
        left = {day for a, b in gaps(spans, 5, 35) for day in range(a, b + 1)}
        assert left == set(range(5, 36)) - days
