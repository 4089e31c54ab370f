"""What changed closes and facts affect, against plain loops."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from batchcore.frames import Text
from batchcore.run.changes import earliest, marked
from batchcore.sources.changes import ChangedFacts, ChangedPrices
from batchcore.sources.positions import Held
from support import build

if TYPE_CHECKING:
    from batchcore.run.plan import Rewrites

OPEN = np.iinfo(np.int32).max
SPELLINGS = ("AAA", " aaa", "bbb", "BBB ", "C C")
NAMES = ("p0", "p1", "p2")

days = st.integers(-3, 8)
closes = st.lists(st.tuples(st.sampled_from(SPELLINGS), days), max_size=6)
lots = st.lists(
    st.tuples(
        st.sampled_from(NAMES), st.sampled_from(SPELLINGS), days, st.one_of(days, st.just(OPEN))
    ),
    max_size=6,
)


def int32(values: list[int]) -> np.ndarray:
    return np.array(values, dtype=np.int32)


def facts(rows: list[tuple[str, int]]) -> ChangedFacts:
    return ChangedFacts(build.uuids(name for name, _ in rows), int32([day for _, day in rows]))


def by_name(found: Rewrites) -> dict[str, int]:
    names = {build.uuids([name])[0].tobytes(): name for name in NAMES}
    rows = zip(found.id, found.day.values.tolist(), strict=True)
    return {names[row.tobytes()]: day for row, day in rows}


@given(closes, lots)
def test_a_close_affects_the_lots_that_it_may_mark(
    changed: list[tuple[str, int]], held: list[tuple[str, str, int, int]]
) -> None:
    expected: dict[str, int] = {}
    for name, symbol, start, end in held:
        for other, day in changed:
            same = symbol.strip().upper() == other.strip().upper()
            if same and start <= day <= end:
                expected[name] = min(expected.get(name, day), day)

    found = marked(
        ChangedPrices(Text.of([symbol for symbol, _ in changed]), int32([d for _, d in changed])),
        Held(
            build.uuids(name for name, *_ in held),
            Text.of([symbol for _, symbol, *_ in held]),
            int32([start for *_, start, _ in held]),
            int32([end for *_, end in held]),
        ),
    )

    assert by_name(earliest([found])) == expected


@given(
    st.lists(st.tuples(st.sampled_from(NAMES), days), max_size=6),
    st.one_of(st.none(), days),
    st.one_of(st.none(), days),
)
def test_each_portfolio_counts_once_from_its_earliest_day_on(
    rows: list[tuple[str, int]], everyone: int | None, start: int | None
) -> None:
    expected: dict[str, int] = {}
    for name, day in rows:
        first = min(expected.get(name, day), day, *([] if everyone is None else [everyone]))
        expected[name] = first if start is None else max(first, start)

    found = earliest([facts(rows[:3]), facts(rows[3:])], everyone, start)

    assert by_name(found) == expected
    assert (found.others is None) == (everyone is None)
    if everyone is not None:
        assert found.others == (everyone if start is None else max(everyone, start))
