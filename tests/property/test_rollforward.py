"""The native core against the reference: equal to the last digit on any input."""

from collections import Counter
from collections.abc import Callable
from decimal import Decimal

import pytest
from hypothesis import given, seed, settings

from batchcore import reference as ref
from batchcore.units import Mark
from support import build
from support.cases import Run
from support.generate import PROFILE, Generator, drawn, for_any
from support.sides import by_core, by_reference, computed

PORTFOLIO_ISSUES = {
    "bad_event",
    "bad_flow",
    "blank_symbol",
    "close_refused",
    "closed_twice",
    "end_before_start",
    "exit_unpriced",
    "expired",
    "missing_entry_price",
    "missing_value",
    "non_finite",
    "not_representable",
    "out_of_range",
    "return_out_of_range",
    "sign_mismatch",
    "unknown_position_type",
}


RUNS = {
    "any": (Generator.run, 500),
    "finer columns": (Generator.finer_run, 200),
    "splits": (Generator.split_run, 250),
    "currencies": (Generator.foreign_run, 150),
    "currencies and splits": (Generator.foreign_split_run, 150),
}


@pytest.mark.parametrize(("make", "examples"), RUNS.values(), ids=RUNS)
def test_core_equals_the_reference(make: Callable[..., Run], examples: int) -> None:
    for_any(make, examples=examples)(assert_equal)()


def assert_equal(run: Run) -> None:
    assert by_core(run) == by_reference(run)


def test_an_issue_without_symbol_comes_before_that_of_an_empty_one() -> None:
    too_fine = Decimal("1E-25")
    snapshot = ref.Snapshot(20458, too_fine, Decimal(0), Decimal(0), None)
    position = ref.Position("", "LONG", Decimal(1), too_fine, 20458)
    portfolio = ref.Portfolio("p0", Decimal(1), (position,), snapshots=(snapshot,))
    run = Run((portfolio,), (), (20459,))
    assert by_core(run) == by_reference(run)
    (result,), _ = by_core(run)
    assert [(issue.name, issue.symbol) for issue in result.issues] == [
        ("not_representable", None),
        ("not_representable", ""),
    ]


def sample(count: int) -> list[Run]:
    return [Generator.seeded(number).run() for number in range(count)]


def test_generator_reaches_every_issue() -> None:
    names: Counter[str] = Counter()
    for run in sample(300):
        results, market_issues = by_reference(run)
        names.update(issue.name for result in results for issue in result.issues)
        names.update(issue.name for issue in market_issues)
    assert set(names) == PORTFOLIO_ISSUES | {"duplicate_price"}
    assert min(names.values()) >= 5, names


def test_generator_reaches_every_mark_and_failures_on_the_way() -> None:
    results = [result for run in sample(300) for result in by_reference(run)[0]]
    rows = [row for result in results for row in result.rows]
    for status in Mark:
        assert sum(row.marks[status] for row in rows) >= 100
    assert sum(result.failed and len(result.rows) > 0 for result in results) >= 5
    assert sum(result.failed and len(result.rows) == 0 for result in results) >= 5
    assert sum(row.unrealized_pnl is None for row in rows) >= 5


def entry_mantissas(portfolio: ref.Portfolio, scales: ref.Scales) -> int:
    """Return what the entry values of sound positions add up to, as integers."""
    total = 0
    for position in portfolio.positions:
        quantity, no_quantity = build.mantissa(position.quantity, scales.quantity)
        price, no_price = build.mantissa(position.entry_price, scales.price)
        if not no_quantity and not no_price and position.position_type in ref.POSITION_TYPES:
            total += abs(quantity) * price
    return total


def test_generator_needs_sums_of_64_and_128_and_256_bits() -> None:
    needs = {"64": (0, 2**50), "128": (2**63, 2**112), "256": (2**123, 2**200)}
    rows: Counter[str] = Counter()
    for run in sample(600):
        for portfolio, result in zip(run.portfolios, by_reference(run)[0], strict=True):
            entered = entry_mantissas(portfolio, run.scales)
            for bits, (least, beyond) in needs.items():
                rows[bits] += len(result.rows) * (least <= entered < beyond)
    assert min(rows[bits] for bits in needs) >= 50, rows


def misses_by_reference(run: Run) -> dict[tuple[str, bool], tuple[int, int, int]]:
    """Return lots times sessions, first and last session by symbol and whether it was unpriced.

    A position is marked alone as in its portfolio; only the sessions that were written count.
    """
    market = ref.market(run.prices, run.scales)
    found: dict[tuple[str, bool], tuple[int, int, int]] = {}
    for portfolio in run.portfolios:
        whole = ref.roll_forward(portfolio, market, run.days, run.lookback_days, run.scales)
        written = len(whole.rows)
        for position in portfolio.positions:
            alone = ref.Portfolio("alone", positions=(position,))
            sessions = run.days[:written]
            result = ref.roll_forward(alone, market, sessions, run.lookback_days, run.scales)
            assert len(result.rows) == written
            for row in result.rows:
                for status in (Mark.STALE, Mark.UNPRICED):
                    key = (position.symbol or "", status == Mark.UNPRICED)
                    held, first, last = found.get(key, (0, row.day, row.day))
                    if row.marks[status]:
                        days = min(first, row.day), max(last, row.day)
                        found[key] = (held + row.marks[status], *days)
    return found


@for_any(Generator.failing_run, examples=200)
def test_misses_are_those_of_the_sessions_written(run: Run) -> None:
    misses = computed(run).misses
    columns = (misses.lot_sessions, misses.first, misses.last)
    keys = zip(misses.symbol.texts(), misses.unpriced.tolist(), strict=True)
    figures = zip(*(column.tolist() for column in columns), strict=True)
    assert dict(zip(keys, figures, strict=True)) == misses_by_reference(run)


@pytest.mark.slow
@pytest.mark.parametrize("part", range(10))  # hypothesis keeps a tree of all examples in memory
def test_core_equals_the_reference_50_000_times(part: int) -> None:
    many = drawn(Generator.run)
    seed(part)(settings(PROFILE, max_examples=5000)(given(many)(assert_equal)))()
