"""What the page of a night shows of frames."""

import datetime as dt
from decimal import Decimal

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from batchcore.calendar import day_of
from batchcore.frames import Prices, Text
from batchcore.pages import night
from batchcore.pages.charts import Contribution, outermost
from batchcore.pages.contents import NOT_HELD, PortfolioReturn
from batchcore.run.price_gaps import latest_closes
from batchcore.sources.positions import HeldSymbols
from batchcore.units import Mark
from support import build

MONDAY = day_of(dt.date(2025, 6, 2))
NEVER_CLOSED = np.iinfo(np.int32).max


def one(value: str) -> PortfolioReturn:
    return PortfolioReturn("id", "name", Decimal(value), None, None)


def closes_of(*closes: tuple[str, int]) -> Prices:
    return build.prices((symbol, day, Decimal(1)) for symbol, day in closes)


def spread_of(*mantissas: int, scale: int = 6):
    ends = (one("0"),)
    values = np.array(mantissas, dtype=np.int64)
    return night.spread(values, scale, without=0, lowest=ends, highest=ends)


def test_bins_are_a_nice_width_and_hold_all_but_the_outer_hundredths() -> None:
    # -1 % to +1 % by 0.01 %: 201 returns, so two fall out at each end.
    found = spread_of(*range(-10_000, 10_001, 100))
    assert found.edges[0] == Decimal("-0.0100")
    assert found.edges[1] - found.edges[0] == Decimal("0.0005")
    assert found.median == 0
    assert found.count == 201
    # A bin holds its lower edge: five returns each.
    assert found.counts[1] == 5


def test_a_single_return_stands_between_bins_without_any() -> None:
    found = spread_of(1234)
    assert found.counts == (0, 1, 0)
    assert found.edges[1] <= Decimal("0.001234") < found.edges[2]


def test_returns_of_few_decimals() -> None:
    found = spread_of(-1, 0, 2, scale=2)
    assert (found.edges[0], found.edges[1]) == (Decimal("-0.01"), Decimal("0.00"))
    assert found.counts == (1, 1, 0, 1)


@given(st.lists(st.integers(-99_999_999, 99_999_999), min_size=1, max_size=300))
def test_each_return_is_counted_once(mantissas: list[int]) -> None:
    found = spread_of(*mantissas)
    assert found.count == len(mantissas)
    assert all(low < high for low, high in zip(found.edges, found.edges[1:], strict=False))
    widths = {high - low for low, high in zip(found.edges, found.edges[1:], strict=False)}
    assert len(widths) == 1
    values = [Decimal(value).scaleb(-6) for value in mantissas]
    assert found.below == sum(value < found.edges[0] for value in values)
    assert found.above == sum(value >= found.edges[-1] for value in values)
    for low, high, count in zip(found.edges, found.edges[1:], found.counts, strict=False):
        assert count == sum(low <= value < high for value in values)
    ordered = sorted(values)
    assert found.median == (ordered[(len(values) - 1) // 2] + ordered[len(values) // 2]) / 2


def test_marks_of_symbols_while_they_are_held_the_worst_first() -> None:
    sessions = np.arange(MONDAY, MONDAY + 5, dtype=np.int32)
    good = [("GOOD", day) for day in sessions.tolist()]
    closes = closes_of(*good, ("OLD", MONDAY - 3), ("GAP", MONDAY), ("GAP", MONDAY + 3))
    symbols = Text.of(["GOOD", "OLD", "GAP", "NONE", "SOLD"])
    latest = latest_closes(symbols, closes, sessions)
    held = HeldSymbols(
        Text.of(["OLD", "GAP", "NONE", "SOLD", "good", " Good"]),
        np.array([MONDAY - 9, MONDAY - 9, MONDAY + 1, *[MONDAY - 9] * 3], dtype=np.int32),
        np.array([NEVER_CLOSED, MONDAY + 4, NEVER_CLOSED, *[MONDAY] * 2, MONDAY + 1], np.int32),
    )

    found = night.mark_map(latest, held, 5)

    assert found is not None
    assert found.symbols == ("NONE", "OLD", "GAP")
    f, b, s, u, x = Mark.FRESH, Mark.LOOKBACK, Mark.STALE, Mark.UNPRICED, NOT_HELD
    assert found.marks.tolist() == [[x, u, u, u, u], [b, b, b, s, s], [f, b, b, f, x]]
    # SOLD lacks a close on all of them, but is held on none; GOOD lacks none.
    assert (found.held, found.lacking) == (4, 3)
    assert found.sessions[0] == dt.date(2025, 6, 2)


def test_no_map_where_no_symbol_lacks_a_close() -> None:
    sessions = np.array([MONDAY], dtype=np.int32)
    latest = latest_closes(Text.of(["A"]), closes_of(("A", MONDAY)), sessions)
    assert night.mark_map(latest, HeldSymbols.none(), 5) is None


def test_coverage_of_sessions() -> None:
    sessions = np.array([MONDAY, MONDAY + 1], dtype=np.int32)
    closes = closes_of(("A", MONDAY), ("B", MONDAY), ("A", MONDAY + 1))
    found = night.coverage_days(closes, Text.of(["A", "B"]), sessions, 5)
    assert [(day.fresh, day.recent, day.share) for day in found] == [(2, 2, 1.0), (1, 2, 0.5)]


@pytest.mark.parametrize(
    ("count", "gains", "losses"), [(1, ["b"], ["a"]), (5, ["b", "c"], ["d", "a"])]
)
def test_the_outermost_contributions(count: int, gains: list[str], losses: list[str]) -> None:
    totals = {"a": -9, "b": 7, "c": 2, "d": -1, "e": 0}
    none = Decimal(0)
    rows = [Contribution(key, Decimal(own), none, Decimal(own)) for key, own in totals.items()]
    best, worst = outermost(rows, count)
    assert ([row.key for row in best], [row.key for row in worst]) == (gains, losses)
