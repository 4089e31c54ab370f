"""The loop alone: lots times sessions a second, beside a bare gather and multiply-add in NumPy."""

from dataclasses import replace

import numpy as np
import pytest

from batchcore.demo.run import Size
from batchcore.native import Book, build_market, roll_forward
from sample import Plain, plain

CENTS_A_UNIT = 10**6
"""Closes and quantities have four decimals each, cents two."""

CHUNK_ROWS = 100_000
"""Rows that a run computes at a time."""

ROUNDS = 7


@pytest.fixture(scope="module")
def portfolios(size: Size, timed: bool) -> Plain:  # noqa: FBT001  # a fixture
    return plain(replace(size, portfolios=10_000 if timed else 40))


@pytest.fixture(scope="module")
def long_value(portfolios: Plain) -> np.ndarray:
    return valued_by_numpy(portfolios)


def valued_by_numpy(portfolios: Plain) -> np.ndarray:
    """Return the long value of each portfolio on each session, (p, s) int64 cents."""
    values = np.empty((len(portfolios.column), len(portfolios.sessions)), dtype=np.int64)
    for session, closes in enumerate(portfolios.closes):
        values[:, session] = (closes[portfolios.column] * portfolios.quantity).sum(axis=1)
    return (values + CENTS_A_UNIT // 2) // CENTS_A_UNIT


def tell(figures: list[str], benchmark, name: str, portfolios: Plain) -> None:
    if benchmark.enabled:
        seconds = benchmark.stats.stats.median
        figures.append(
            f"{name}: {portfolios.lot_sessions / seconds / 1e6:,.0f} M lot-sessions/s"
            f" ({portfolios.lot_sessions / 1e6:.0f} M in {seconds:.3f} s)"
        )


@pytest.fixture(scope="module")
def chunk(size: Size, portfolios: Plain) -> Plain:
    return plain(replace(size, portfolios=min(len(portfolios.column), CHUNK_ROWS // size.sessions)))


def rolled_by(portfolios: Plain, threads: int):
    """Return an action that rolls the portfolios forward and returns their rows."""
    inputs = portfolios.inputs
    market = build_market(inputs.prices, portfolios.sessions)
    book, previous = Book.of(inputs), inputs.previous

    def roll():
        return roll_forward(
            market,
            book,
            previous=previous,
            opening=inputs.opening,
            threads=threads,
        )

    return roll


def assert_earned(rows, portfolios: Plain, long_value: np.ndarray) -> None:
    values = rows.long_value.reshape(long_value.shape)
    assert np.array_equal(values, long_value)
    # Nothing is sold and nothing is added: what is earned from session to session is the change.
    pnl = rows.daily_pnl.reshape(long_value.shape)
    assert not pnl[:, 0].any()
    unrealized = rows.unrealized_pnl.values.reshape(long_value.shape)
    assert np.array_equal(pnl[:, 1:], np.diff(unrealized, axis=1))
    assert np.array_equal(rows.marks[:, 0], np.full(len(rows), portfolios.column.shape[1]))


@pytest.mark.benchmark(group="loop")
@pytest.mark.parametrize("threads", [1, 2])
def bench_roll_forward(
    benchmark, portfolios: Plain, long_value: np.ndarray, figures: list[str], threads: int
):
    roll = rolled_by(portfolios, threads)

    rows = benchmark.pedantic(roll, rounds=ROUNDS, warmup_rounds=1)

    assert_earned(rows, portfolios, long_value)
    tell(figures, benchmark, f"roll_forward, {threads} thread{'s'[: threads - 1]}", portfolios)


@pytest.mark.benchmark(group="loop")
@pytest.mark.parametrize("threads", [1, 2])
def bench_roll_forward_in_chunks(benchmark, chunk: Plain, figures: list[str], threads: int):
    """Rolls one chunk after the other, as a run does: its memory is that of the one before."""
    roll = rolled_by(chunk, threads)

    rows = benchmark.pedantic(roll, rounds=ROUNDS, iterations=12, warmup_rounds=1)

    assert_earned(rows, chunk, valued_by_numpy(chunk))
    name = f"roll_forward of a chunk, {threads} thread{'s'[: threads - 1]}"
    tell(figures, benchmark, name, chunk)


@pytest.mark.benchmark(group="loop")
def bench_numpy(benchmark, portfolios: Plain, long_value: np.ndarray, figures: list[str]):
    values = benchmark.pedantic(valued_by_numpy, args=(portfolios,), rounds=ROUNDS, warmup_rounds=1)

    first = portfolios.closes[0][portfolios.column[0]] * portfolios.quantity[0]
    assert values[0, 0] == round(sum(first.tolist()) / CENTS_A_UNIT)
    assert np.array_equal(values, long_value)
    tell(figures, benchmark, "NumPy gather and multiply-add, values only", portfolios)
