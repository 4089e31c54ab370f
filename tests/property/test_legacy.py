"""The policy `legacy`: the native core against the reference, equal to the last digit."""

from collections.abc import Callable, Iterable
from dataclasses import replace
from decimal import Decimal
from typing import Any

import numpy as np
import pytest
from hypothesis import given, seed, settings

from batchcore import reference as ref
from batchcore.frames import Inputs
from batchcore.reference import legacy
from support import legacy_frames
from support.cases import Run
from support.generate import MONDAY, PROFILE, drawn, for_any
from support.generate_legacy import LegacyGenerator

TOO_LONG_TO_TELL = Decimal(10) ** 40


def told(issue: ref.Issue) -> ref.Issue:
    """Return an issue without the digits of a value that only the reference writes out."""
    column, _, value = issue.detail.partition(" = ")
    if value and Decimal(value).is_finite() and abs(Decimal(value)) >= TOO_LONG_TO_TELL:
        return replace(issue, detail=column)
    return issue


def compared(results: Iterable[legacy.Result]) -> list[Any]:
    """Return results as text, since 0.00, 0 and -0.00 are equal as decimals."""
    return [
        (
            [str(row) for row in result.rows],
            [told(issue) for issue in result.failures],
            result.errors,
            result.skipped,
            str(result.equity_balance),
        )
        for result in results
    ]


def assert_equal(run: Run) -> None:
    assert compared(legacy_frames.by_core(run)) == compared(legacy_frames.by_reference(run))


@pytest.mark.parametrize(
    ("make", "examples"),
    [(LegacyGenerator.legacy_run, 400), (LegacyGenerator.finer_legacy_run, 200)],
    ids=["any", "finer columns"],
)
def test_core_equals_the_reference(make: Callable[..., Run], examples: int) -> None:
    for_any(make, LegacyGenerator, examples=examples)(assert_equal)()


@for_any(LegacyGenerator.legacy_run, LegacyGenerator, examples=200)
def test_one_day_at_a_time_gives_the_rows_of_one_run(run: Run) -> None:
    assert compared(legacy_frames.day_by_day(run)) == compared(legacy_frames.by_core(run))


def sample(count: int) -> list[Run]:
    return [LegacyGenerator.seeded(number).legacy_run() for number in range(count)]


def mixed(inputs: Inputs, order: np.random.Generator) -> Inputs:
    """Return the rows of each frame in another order."""
    names = ("positions", "events", "flows", "prices", "previous", "profiles", "betas", "cached")
    frames = {name: getattr(inputs, name) for name in names}
    return replace(
        inputs, **{name: one.take(order.permutation(len(one))) for name, one in frames.items()}
    )


def test_neither_order_of_rows_nor_threads_show() -> None:
    # More than 64 portfolios, so that threads share them.
    made = LegacyGenerator.seeded("many").legacy_run()
    generator = LegacyGenerator.seeded("portfolios")
    portfolios = tuple(generator.own_portfolio(f"p{n}", huge=n % 20 == 0) for n in range(300))
    days = tuple(MONDAY + number for number in range(5))
    run = replace(made, portfolios=portfolios, days=days, today=days[-1])
    expected = compared(legacy_frames.by_core(run))
    assert sum(len(rows) for rows, *_ in expected) >= 300
    order = np.random.default_rng(1)
    for threads in (1, 2, 3):
        frames = mixed(legacy_frames.inputs(run), order)
        rows = legacy_frames.computed(run, frames, threads)
        assert compared(legacy_frames.results(rows, run)) == expected


def test_generator_reaches_what_the_rules_tell_apart() -> None:
    results = [result for run in sample(400) for result in legacy_frames.by_reference(run)]
    rows = [row for result in results for row in result.rows]
    failures = [issue for result in results for issue in result.failures]
    for name in ("missing_value", "non_finite", "not_representable", "out_of_range"):
        assert sum(issue.name == name for issue in failures) >= 3, name
    for column in ("daily_return", "equity_balance", "beta_provider_1y", "long_value"):
        assert sum(issue.detail.startswith(f"{column} = ") for issue in failures) >= 3, column
    assert sum(len(result.skipped) > 0 for result in results) >= 50
    assert sum(row.total_value != row.equity_balance for row in rows) >= 20
    assert sum(row.beta_provider_1y is not None for row in rows) >= 50
    assert sum(bool(row.sector_exposure) for row in rows) >= 50
    assert sum(row.sector_exposure == {} for row in rows) >= 5
    assert sum(len(result.rows) > 0 and len(result.failures) > 0 for result in results) >= 20


@pytest.mark.slow
@pytest.mark.parametrize("part", range(10))  # hypothesis keeps a tree of all examples in memory
def test_core_equals_the_reference_50_000_times(part: int) -> None:
    many = drawn(LegacyGenerator.legacy_run, LegacyGenerator)
    seed(part)(settings(PROFILE, max_examples=5000)(given(many)(assert_equal)))()
