"""S11: the same rows to the last digit, whatever the route to them."""

import itertools
from collections.abc import Iterator, Sequence
from dataclasses import fields, is_dataclass, replace
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from batchcore import native
from batchcore import reference as ref
from batchcore.errors import CancelledError
from batchcore.frames import Inputs
from property.test_holdings import MANY, values_and_holdings
from support import build
from support.cases import Run
from support.generate import Generator
from support.sides import by_reference, computed, frames


def on_sessions(run: Run) -> Run:
    """Return the run without snapshots between two of its sessions: they would be off session."""
    first, last = run.days[0], run.days[-1]

    def kept(portfolio: ref.Portfolio) -> ref.Portfolio:
        snapshots = [
            snapshot
            for snapshot in portfolio.snapshots
            if snapshot.day in run.days or not first < snapshot.day < last
        ]
        return replace(portfolio, snapshots=tuple(snapshots))

    return replace(run, portfolios=tuple(map(kept, run.portfolios)))


RUNS = [on_sessions(Generator.seeded(seed).run()) for seed in range(150)]
SHARED = ("positions", "events", "flows", "prices", "previous")


def plain(frame: Any) -> dict[str, Any]:
    """Return all arrays of a result as lists, texts as texts."""
    columns: dict[str, Any] = {}
    for item in fields(frame):
        column = getattr(frame, item.name)
        if hasattr(column, "texts"):
            columns[item.name] = column.texts()
        elif is_dataclass(column):
            columns[item.name] = plain(column)
        else:
            columns[item.name] = column.tolist() if isinstance(column, np.ndarray) else column
    return columns


def everything(inputs: Inputs, *, threads: int = 1) -> list[Any]:
    """Return rows, holdings and values of `MANY`."""
    rows = plain(computed(MANY, inputs, threads=threads))
    return [rows, *values_and_holdings(inputs, MANY, threads=threads)]


def noticed(results: Sequence[ref.Result]) -> list[set[ref.Issue]]:
    return [set(result.issues) for result in results]


def fed(portfolio: ref.Portfolio, rows: Sequence[ref.Row]) -> ref.Portfolio:
    """Return a portfolio with the snapshots that `rows` are stored as."""
    stored = {snapshot.day: snapshot for snapshot in portfolio.snapshots}
    stored |= {row.day: build.snapshot_of(row) for row in rows}
    return replace(portfolio, snapshots=tuple(stored.values()))


def span_by_span(run: Run, spans: Sequence[Sequence[int]]) -> list[ref.Result]:
    """Return the results of one run after another, each on what those before have stored."""
    portfolios = list(run.portfolios)
    results = [ref.Result((), (), failed=False) for _ in portfolios]
    for sessions in spans:
        going = [number for number, result in enumerate(results) if not result.failed]
        part = replace(
            run,
            portfolios=tuple(portfolios[number] for number in going),
            days=tuple(sessions),
        )
        for number, found in zip(going, build.results(computed(part)), strict=True):
            before = results[number]
            results[number] = ref.Result(
                before.rows + found.rows, before.issues + found.issues, found.failed
            )
            portfolios[number] = fed(portfolios[number], found.rows)
    return results


def assert_same(one: Sequence[ref.Result], other: Sequence[ref.Result]) -> None:
    assert [result.rows for result in one] == [result.rows for result in other]
    assert [result.failed for result in one] == [result.failed for result in other]
    assert noticed(one) == noticed(other)


@pytest.mark.parametrize("seed", range(len(RUNS)))
def test_day_by_day_and_any_split_into_spans_give_the_rows_of_one_run(seed: int) -> None:
    run, integer = RUNS[seed], Generator.seeded(seed).integer
    at_once = build.results(computed(run))
    assert_same(span_by_span(run, [[session] for session in run.days]), at_once)
    cuts = [min(integer(1, 7), len(run.days)) for _ in range(integer(1, 4))]
    assert_same(span_by_span(run, list(cut(run.days, cuts))), at_once)


def cut(values: Sequence[Any], cuts: Sequence[int]) -> Iterator[Sequence[Any]]:
    ends = [0, *sorted(cuts), len(values)]
    return (values[a:b] for a, b in itertools.pairwise(ends) if a < b)


@settings(max_examples=25)
@given(st.lists(st.integers(0, len(MANY.portfolios)), max_size=5))
def test_any_split_into_chunks_gives_the_rows_of_one_run(cuts: list[int]) -> None:
    together = frames(MANY)
    results: list[ref.Result] = []
    for chunk in cut(range(len(MANY.portfolios)), cuts):
        own = replace(together, opening=build.take(together.opening, chunk))
        results += build.results(computed(MANY, own))
    assert results == build.results(computed(MANY, together))


@settings(max_examples=25)
@given(st.randoms(use_true_random=True))
def test_order_of_rows_plays_no_part(random: Any) -> None:
    together = frames(MANY)

    def shuffled(name: str) -> Any:
        frame = getattr(together, name)
        order = list(range(len(frame)))
        random.shuffle(order)
        return build.take(frame, order)

    mixed = replace(together, **{name: shuffled(name) for name in SHARED})
    assert everything(mixed) == everything(together)


@settings(max_examples=10)
@given(st.permutations(range(len(MANY.portfolios))))
def test_portfolios_come_in_the_order_of_opening(order: list[int]) -> None:
    together = frames(MANY)
    results = build.results(computed(MANY, together))
    mixed = replace(together, opening=build.take(together.opening, order))
    assert build.results(computed(MANY, mixed)) == [results[number] for number in order]


@pytest.mark.parametrize("threads", [2, 3, 64])
def test_number_of_threads_plays_no_part(threads: int) -> None:
    together = frames(MANY)
    expected = everything(together)
    assert len(expected[2]) > 500
    for _ in range(10):
        assert everything(together, threads=threads) == expected


def test_many_portfolios_equal_the_reference() -> None:
    assert build.results(computed(MANY, threads=2)) == by_reference(MANY)[0]


@pytest.mark.parametrize("threads", [1, 2])
def test_a_raised_flag_stops_the_call(threads: int) -> None:
    together = frames(MANY)
    flag = native.CancelFlag()
    flag.set()
    with pytest.raises(CancelledError, match="cancelled"):
        native.roll_forward(
            native.build_market(together.prices, build.session_days(MANY.days)),
            native.Book.of(together),
            previous=together.previous,
            opening=together.opening,
            threads=threads,
            cancel=flag,
        )
