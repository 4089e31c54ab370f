"""The policy `legacy`: its loop beside the pure-Python reference, and whole runs under it."""

import asyncio
import datetime as dt
from collections import defaultdict
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from decimal import Decimal
from time import perf_counter

import asyncpg
import numpy as np
import pytest

import batchcore
from batchcore import reference as ref
from batchcore.calendar import date_of
from batchcore.db.migrate import migrate
from batchcore.demo import Seeded, Size, seeded
from batchcore.demo.market import Market
from batchcore.frames import Days, Decimals, Rows
from batchcore.reference import legacy
from bench_analytics import Runs
from sample import EmptyDatabase
from support import build, legacy_frames

ROUNDS = 5
FEW = 50
"""Portfolios that the reference values: it takes a millisecond for a row."""

BETA_DATES = 10
FULL = {
    "history": Size(portfolios=1000, symbols=3000, sessions=120),
    "current day": Size(portfolios=10_000, symbols=3000, sessions=1),
}
SMALL = {
    "history": Size(portfolios=20, symbols=100, sessions=10),
    "current day": Size(portfolios=40, symbols=100, sessions=1),
}
OTHERS = {"history": "none", "current day": "portfolio"}
"""What analytics a run under `rollforward` is compared with."""


def or_none(column: Decimals) -> list[Decimal | None]:
    return build.or_none(column)


def days(column: Days) -> list[int | None]:
    cells = zip(column.values.tolist(), column.state.tolist(), strict=True)
    return [None if state else day for day, state in cells]


def keys(ids: np.ndarray) -> list[bytes]:
    return [row.tobytes() for row in ids]


def portfolios_of(data: Seeded, count: int) -> tuple[legacy.Portfolio, ...]:
    """Return the first portfolios as the reference reads them."""
    inputs = data.portfolios.inputs
    opening = zip(keys(inputs.opening.portfolio_id), or_none(inputs.opening.equity), strict=True)
    equities = dict(list(opening)[:count])
    events = defaultdict(list)
    columns = (keys(inputs.events.position_id), days(inputs.events.day))
    for own, day, amount in zip(*columns, or_none(inputs.events.realized), strict=True):
        events[own].append(ref.Event(day, None, amount))
    flows = defaultdict(list)
    columns = (
        keys(inputs.flows.portfolio_id),
        days(inputs.flows.day),
        or_none(inputs.flows.amount),
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
        or_none(held.quantity),
        or_none(held.entry_price),
        days(held.entry_day),
        or_none(held.exit_price),
        days(held.exit_day),
        days(held.expiration_day),
        held.investment_class.texts(),
        or_none(held.market_value),
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
def data(request: pytest.FixtureRequest) -> Seeded:
    timed = request.config.getoption("benchmark_enable")
    return seeded((FULL if timed else SMALL)["history"], seed=1)


@pytest.fixture(scope="module")
def expected(data: Seeded, figures: list[str], request: pytest.FixtureRequest) -> tuple:
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
    if request.config.getoption("benchmark_enable"):
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
class Policies(Runs):
    """Runs under `legacy` and under `rollforward`, in turns, each on the same tables.

    Attributes:
        today: From which date on a day is current.
        cells: Digest of all cells after a run under `legacy`.
    """

    today: dt.date = dt.date.max
    cells: tuple[int, int, str] | None = None

    def run(self, level: str) -> None:
        market, is_legacy = self.data.market, level == "legacy"

        async def timed() -> dict[str, float]:
            began = perf_counter()
            result = await batchcore.run_batch(
                self.url,
                date_of(market.start),
                date_of(market.end),
                policy=level,
                analytics="none" if is_legacy else OTHERS[self.level],
                settings=batchcore.Settings(today=self.today),
            )
            assert result["success"]
            assert result.rows_written == self.rows
            return {"analytics": 0.0, **result.seconds_by_phase, "total": perf_counter() - began}

        self.seconds.setdefault(level, []).append(asyncio.run(timed()))
        if is_legacy:
            self.check(asyncio.run(self._cells()))

    def check(self, cells: tuple[int, int, str]) -> None:
        """Assert that as many rows have columns of the current day, and the same cells as ever."""
        rows, weights, _ = cells
        assert rows == self.rows + self.data.size.portfolios
        assert (weights > 0.9 * self.rows) == (self.level == "current day")
        self.cells = self.cells or cells
        assert cells == self.cells

    async def _cells(self) -> tuple[int, int, str]:
        """Return how many rows there are, how many with weights, and a digest of all cells."""
        connection = await asyncpg.connect(self.url)
        try:
            row = await connection.fetchrow(
                "SELECT count(*), count(hhi), md5(string_agg((to_jsonb(s) - 'id' - 'created_at')"
                "::text, '' ORDER BY portfolio_id, snapshot_date)) FROM portfolio_snapshots AS s"
            )
            return tuple(row)
        finally:
            await connection.close()

    def put_back(self) -> None:
        super().put_back()
        asyncio.run(self._write_previous())

    async def _write_previous(self) -> None:
        connection = await asyncpg.connect(self.url)
        try:
            await connection.execute(
                "INSERT INTO portfolio_snapshots (id, portfolio_id, snapshot_date, total_value,"
                " cash_value, long_value, short_value, gross_exposure, net_exposure,"
                " equity_balance, num_positions, num_long_positions, num_short_positions,"
                " created_at) SELECT gen_random_uuid(), id, $1, 0, 0, 0, 0, 0, 0, equity_balance,"
                " 0, 0, 0, now() FROM portfolios",
                date_of(int(self.data.market.days[self.data.market.first - 1])),
            )
            await connection.execute("VACUUM ANALYZE portfolio_snapshots")
        finally:
            await connection.close()

    @property
    def title(self) -> str:
        return f"policies, {self.level}"


@pytest.fixture(scope="module", params=["history", "current day"])
def policies(
    request: pytest.FixtureRequest, figures: list[str], empty_database: EmptyDatabase
) -> Iterator[Policies]:
    timed = request.config.getoption("benchmark_enable")
    made = seeded((FULL if timed else SMALL)[request.param], seed=1)

    async def fill(url: str) -> None:
        await migrate(url)
        await made.write(url)
        connection = await asyncpg.connect(url)
        try:
            await connection.execute(
                "INSERT INTO position_market_betas (id, portfolio_id, position_id, calc_date, beta,"
                " observations, created_at, updated_at) SELECT gen_random_uuid(), portfolio_id, id,"
                " '2025-01-01'::date + number, 1.2, 90, now(), now() FROM positions,"
                " generate_series(1, $1::int) AS number",
                BETA_DATES,
            )
            # half of the symbols have no beta of a profile
            await connection.execute(
                "UPDATE company_profiles SET beta = NULL WHERE hashtext(symbol) % 2 = 0"
            )
            await connection.execute("UPDATE positions SET market_value = 1000.10")
            await connection.execute("VACUUM ANALYZE")
        finally:
            await connection.close()

    with empty_database() as url:
        asyncio.run(fill(url))
        end = date_of(made.market.end)
        today = end if request.param == "current day" else end + dt.timedelta(days=1)
        runs = Policies(request.param, url, made, today=today)
        yield runs
        if timed and runs.seconds:
            figures += runs.figures()


@pytest.mark.benchmark(group="policies")
def bench_policies(benchmark, policies: Policies):
    benchmark.pedantic(
        policies.run,
        args=("legacy",),
        setup=lambda: policies.turn("rollforward"),
        rounds=ROUNDS,
    )
