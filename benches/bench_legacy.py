"""The policy `legacy`: its loop beside the pure-Python reference, and whole runs under it."""

import asyncio
import datetime as dt
from collections import defaultdict
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from decimal import Decimal
from time import perf_counter

import numpy as np
import pytest

import batchcore
from batchcore import reference as ref
from batchcore.calendar import date_of
from batchcore.demo.market import Market
from batchcore.demo.run import Seeded, Size, seeded
from batchcore.frames import Rows
from batchcore.reference import legacy
from sample import FULL, SMALL, Sides
from support import build, legacy_frames

ROUNDS = 5
FEW = 50
"""Portfolios that the reference values: it takes a millisecond for a row."""

SIZES = {
    "history": (FULL, SMALL),
    "current day": (
        Size(portfolios=10_000, symbols=3000, sessions=1),
        Size(portfolios=40, symbols=100, sessions=1),
    ),
}
OTHERS = {"history": "none", "current day": "portfolio"}
"""What analytics a run under `rollforward` is compared with."""

# Betas of ten dates for each position; half of the symbols have no beta of a profile.
PREPARED = (
    """
    INSERT INTO position_market_betas (id, portfolio_id, position_id, calc_date, beta,
        observations, created_at, updated_at)
    SELECT gen_random_uuid(), portfolio_id, id, '2025-01-01'::date + number, 1.2, 90, now(), now()
    FROM positions, generate_series(1, 10) AS number
    """,
    "UPDATE company_profiles SET beta = NULL WHERE hashtext(symbol) % 2 = 0",
    "UPDATE positions SET market_value = 1000.10",
    "VACUUM ANALYZE",
)
PREVIOUS = """
    INSERT INTO portfolio_snapshots (id, portfolio_id, snapshot_date, total_value, cash_value,
        long_value, short_value, gross_exposure, net_exposure, equity_balance, num_positions,
        num_long_positions, num_short_positions, created_at)
    SELECT gen_random_uuid(), id, '{before}', 0, 0, 0, 0, 0, 0, equity_balance, 0, 0, 0, now()
    FROM portfolios
"""
CELLS = """
    SELECT count(*), count(hhi), md5(string_agg((to_jsonb(s) - 'id' - 'created_at')::text, ''
        ORDER BY portfolio_id, snapshot_date)) FROM portfolio_snapshots AS s
"""
"""How many rows there are, how many with weights, and a digest of all cells."""


def keys(ids: np.ndarray) -> list[bytes]:
    return [row.tobytes() for row in ids]


def portfolios_of(data: Seeded, count: int) -> tuple[legacy.Portfolio, ...]:
    """Return the first portfolios as the reference reads them."""
    inputs = data.portfolios.inputs
    opening = zip(
        keys(inputs.opening.portfolio_id), build.cells(inputs.opening.equity), strict=True
    )
    equities = dict(list(opening)[:count])
    events = defaultdict(list)
    columns = (keys(inputs.events.position_id), build.cells(inputs.events.day))
    for own, day, amount in zip(*columns, build.cells(inputs.events.realized), strict=True):
        events[own].append(ref.Event(day, None, amount))
    flows = defaultdict(list)
    columns = (
        keys(inputs.flows.portfolio_id),
        build.cells(inputs.flows.day),
        build.cells(inputs.flows.amount),
    )
    for owner, day, amount, kind in zip(*columns, inputs.flows.change_type.texts(), strict=True):
        flows[owner].append(ref.Flow(day, amount, kind))
    held = inputs.positions
    positions = defaultdict(list)
    for own, owner, deleted, *cells in zip(
        keys(held.id),
        keys(held.portfolio_id),
        held.deleted.tolist(),
        held.symbol.texts(),
        held.position_type.texts(),
        build.cells(held.quantity),
        build.cells(held.entry_price),
        build.cells(held.entry_day),
        build.cells(held.exit_price),
        build.cells(held.exit_day),
        build.cells(held.expiration_day),
        held.investment_class.texts(),
        build.cells(held.market_value),
        strict=True,
    ):
        if owner in equities:
            positions[owner].append((own, ref.Position(*cells, deleted, tuple(events[own]))))
    return tuple(
        legacy.Portfolio(
            owner.hex(),
            equity,
            tuple(position for _, position in sorted(positions[owner], key=lambda one: one[0])),
            tuple(flows[owner]),
        )
        for owner, equity in equities.items()
    )


def closes_of(market: Market, symbols: Iterable[str]) -> Iterator[tuple[str, int, Decimal]]:
    """Yield the closes of some symbols that the price table has."""
    column = {symbol: number for number, symbol in enumerate(market.symbols)}
    for symbol in sorted({*symbols} & column.keys()):
        at = column[symbol]
        for row in np.flatnonzero(market.known[:, at]).tolist():
            yield symbol, int(market.days[row]), Decimal(int(market.closes[row, at])).scaleb(-4)


@pytest.fixture(scope="module")
def data(size: Size) -> Seeded:
    return seeded(size, seed=1)


@pytest.fixture(scope="module")
def expected(data: Seeded, figures: list[str], timed: bool) -> tuple:  # noqa: FBT001  # a fixture
    """What the reference says of the first portfolios, from filled dictionaries."""
    portfolios = portfolios_of(data, FEW)
    symbols = {one.symbol for portfolio in portfolios for one in portfolio.positions if one.symbol}
    sessions = data.market.days[data.market.first :].tolist()
    shared = legacy.Shared(
        prices=legacy.closes(closes_of(data.market, symbols)),
        calendar=frozenset(sessions),
        today=sessions[-1],
        has_benchmark=False,
    )
    began = perf_counter()
    results = tuple(legacy.roll(portfolio, shared, sessions) for portfolio in portfolios)
    seconds = perf_counter() - began
    if timed:
        rows = sum(len(result.rows) for result in results)
        figures.append(f"legacy by the reference: {rows:,} rows in {seconds:.3f} s")
    return portfolios, results


@pytest.mark.benchmark(group="legacy, in memory")
@pytest.mark.parametrize("threads", [1, 2])
def bench_legacy(benchmark, data: Seeded, expected: tuple, figures: list[str], threads: int):
    sessions = data.market.days[data.market.first :].copy()
    today = date_of(int(sessions[-1]))

    def compute() -> Rows:
        return batchcore.compute(
            data.portfolios.inputs, sessions, policy="legacy", today=today, threads=threads
        )

    rows = benchmark.pedantic(compute, rounds=ROUNDS, warmup_rounds=1)

    assert len(rows) == data.size.portfolios * data.size.sessions
    portfolios, results = expected
    first = int(rows.written[: len(portfolios)].sum())
    assert found(rows, first, portfolios, sessions) == [result.rows for result in results]
    if benchmark.enabled:
        seconds = benchmark.stats.stats.median
        figures.append(f"legacy natively, threads {threads}: {len(rows):,} rows in {seconds:.3f} s")


def found(
    rows: Rows, first: int, portfolios: tuple[legacy.Portfolio, ...], sessions: np.ndarray
) -> list[tuple[legacy.Row, ...]]:
    """Return the first rows as the reference gives them, by portfolio."""
    columns = legacy_frames.row_columns(rows)
    by_portfolio: list[list[legacy.Row]] = [[] for _ in portfolios]
    assert len(sessions) * len(portfolios) == first
    for at in range(first):
        row = legacy.Row(**{name: column[at] for name, column in columns.items()})
        by_portfolio[int(rows.portfolio[at])].append(row)
    return [tuple(own) for own in by_portfolio]


@dataclass
class Policies(Sides):
    """Runs under `legacy` and under `rollforward`, each on the same tables.

    Dates from `today` on are current; `cells` digests those after a run under `legacy`.
    """

    title = "policies"
    than = "rollforward"

    analytics: str = field(kw_only=True)
    cells: tuple[int, int, str] | None = None

    @property
    def is_current(self) -> bool:
        return self.size.sessions == 1

    @property
    def today(self) -> dt.date:
        end = self.sessions[-1]
        return end if self.is_current else end + dt.timedelta(days=1)

    async def prepare(self) -> None:
        await super().prepare()
        await self.execute(*PREPARED)

    def run(self, side: str) -> None:
        result = self.timed(
            side,
            batchcore.run_batch(
                self.url,
                *self.days,
                policy=side,
                analytics="none" if side == "legacy" else self.analytics,
                settings=batchcore.Settings(today=self.today),
            ),
        )
        assert result.rows_written == self.rows
        if side == "legacy":
            self.check(tuple(self.row(CELLS)))

    def check(self, cells: tuple[int, int, str]) -> None:
        """Assert that as many rows have columns of the current day, and the same cells as ever."""
        rows, weights, _ = cells
        assert rows == self.rows + self.size.portfolios
        assert (weights > 0.9 * self.rows) == self.is_current
        self.cells = self.cells or cells
        assert cells == self.cells

    def put_back(self) -> None:
        super().put_back()
        market = self.data.market
        before = date_of(int(market.days[market.first - 1]))
        asyncio.run(
            self.execute(PREVIOUS.format(before=before), "VACUUM ANALYZE portfolio_snapshots")
        )


@pytest.fixture(scope="module", params=SIZES)
def policies(request: pytest.FixtureRequest, given) -> Iterator[Policies]:
    with given(Policies, *SIZES[request.param], analytics=OTHERS[request.param]) as made:
        yield made


@pytest.mark.benchmark(group="policies")
def bench_policies(benchmark, policies: Policies):
    benchmark.pedantic(
        policies.run,
        args=("legacy",),
        setup=lambda: policies.turn("rollforward"),
        rounds=ROUNDS,
    )
