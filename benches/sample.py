"""What the benches share: sizes, a seeded database, sides that take turns, and lots for NumPy."""

import asyncio
from collections import defaultdict
from collections.abc import Callable, Coroutine, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass, field
from datetime import date
from functools import cached_property
from pathlib import Path
from statistics import median
from tempfile import TemporaryDirectory
from time import perf_counter
from typing import Any, ClassVar, TypeVar

import asyncpg
import numpy as np

import batchcore
from batch import state
from batch.contest import keep_history
from batch.data import server
from batch.job import Job, job_of
from batch.sizes import POSITIONS, SIZES
from batch.sizes import Size as BatchSize
from batch.table import aligned
from batch.wire import connected
from batchcore.calendar import date_of
from batchcore.db.migrate import migrate
from batchcore.demo import market as markets
from batchcore.demo.run import Seeded, Size, seeded
from batchcore.frames import (
    Days,
    Decimals,
    Events,
    Flows,
    Inputs,
    Opening,
    Positions,
    Previous,
    Prices,
    Text,
)

T = TypeVar("T")

FULL = Size(portfolios=1000, symbols=3000, sessions=120)
SMALL = Size(portfolios=20, symbols=100, sessions=10)

EmptyDatabase = Callable[[], AbstractContextManager[str]]
"""Gives the URL of an empty database for as long as it is needed."""

PHASES = ("load", "compute", "analytics", "persist", "total")


@dataclass
class Sides:
    """A filled database, and the seconds of what is done on it: by side, of each run by phase.

    Sides take turns, so that whatever else the machine does falls on all of them.
    """

    url: str
    size: Size | BatchSize
    seconds: dict[str, list[dict[str, float]]] = field(default_factory=lambda: defaultdict(list))

    title: ClassVar[str]
    than: ClassVar[str]
    """The side that the others are compared with."""

    @cached_property
    def data(self) -> Seeded:
        return seeded(self.size, seed=1)

    @property
    def sessions(self) -> list[date]:
        market = self.data.market
        return [date_of(day) for day in market.days[market.first :].tolist()]

    @property
    def days(self) -> tuple[date, date]:
        return self.sessions[0], self.sessions[-1]

    @property
    def rows(self) -> int:
        return self.size.portfolios * self.size.sessions

    async def prepare(self) -> None:
        await migrate(self.url)
        await self.data.write(self.url)
        await self.execute("VACUUM ANALYZE")

    async def execute(self, *statements: str) -> None:
        async with connected(self.url) as connection:
            for statement in statements:
                await connection.execute(statement)

    def row(self, query: str) -> asyncpg.Record:
        """Return the row that a query gives."""

        async def fetched() -> asyncpg.Record:
            async with connected(self.url) as connection:
                return await connection.fetchrow(query)

        return asyncio.run(fetched())

    def put_back(self) -> None:
        """Make the tables of snapshots and portfolios what they were before any run."""
        asyncio.run(
            self.execute(
                "TRUNCATE portfolio_snapshots",
                "CREATE TABLE IF NOT EXISTS opening AS SELECT id, equity_balance FROM portfolios",
                "UPDATE portfolios p SET equity_balance = o.equity_balance"
                " FROM opening o WHERE p.id = o.id",
                "VACUUM ANALYZE portfolios",
                "VACUUM ANALYZE portfolio_snapshots",
                "CHECKPOINT",
            )
        )

    def run(self, side: str) -> None:
        """Do what a side does, and check it."""
        raise NotImplementedError

    def turn(self, other: str) -> None:
        """Run another side on tables that are put back before and after."""
        self.put_back()
        self.run(other)
        self.put_back()

    def timed(self, side: str, work: Coroutine[Any, Any, T]) -> T:
        began = perf_counter()
        found = asyncio.run(work)
        took = {"total": perf_counter() - began}
        if isinstance(found, batchcore.BatchResult):
            assert found["success"]
            took |= found.seconds_by_phase
        self.seconds[side].append(took)
        return found

    def lines(self) -> list[str]:
        return table(f"{self.title}: {words(self.size)}", self.seconds, self.than)


def words(size: Size | BatchSize) -> str:
    return (
        f"{size.portfolios:,} portfolios of {POSITIONS} positions, {size.symbols:,} symbols,"
        f" {size.sessions:,} sessions"
    )


def table(title: str, seconds: Mapping[str, Sequence[Mapping[str, float]]], than: str) -> list[str]:
    """Return the median seconds of each side, and how many times as long as one it takes."""
    every = [run for runs in seconds.values() for run in runs]
    phases = [phase for phase in PHASES if any(phase in run for run in every)]
    middle = {
        side: [median(run.get(phase, 0.0) for run in runs) for phase in phases]
        for side, runs in seconds.items()
    }
    body = [["", "runs", *phases, "least", "most", f"x {than}"]]
    for side, runs in seconds.items():
        totals = [run["total"] for run in runs]
        cells = [f"{cell:.3f}" for cell in (*middle[side], min(totals), max(totals))]
        ratio = middle[side][-1] / middle[than][-1] if than in middle else 1.0
        body.append([side, str(len(runs)), *cells, f"{ratio:.2f}"])
    return [title, *aligned(body), ""]


@dataclass
class Nights(Sides):
    """The last session of a size of `batch`, valued again and again on top of the one before."""

    job: Job = field(kw_only=True)

    async def prepare(self) -> None:
        await keep_history(self.url, self.job)

    def put_back(self) -> None:
        async def put_back() -> None:
            async with connected(self.url) as connection:
                await state.put_back(connection, self.job)

        asyncio.run(put_back())

    def check(self, result: batchcore.BatchResult) -> None:
        assert result.rows_written == self.job.rows


N = TypeVar("N", bound=Nights)


@contextmanager
def nights(kind: type[N], name: str) -> Iterator[N]:
    """Give the nights on a database of the size of a name."""
    size = SIZES[name]
    with TemporaryDirectory(prefix="batchcore-bench-") as folder, server(size) as started:
        made = kind(started.url, size, job=job_of("daily", size, Path(folder)))
        asyncio.run(made.prepare())
        yield made


@dataclass(frozen=True, eq=False, slots=True)
class Plain:
    """Long stock positions alone, open and priced on every session, so that NumPy can value them.

    (s, k) int64 `closes` and (p, 15) `quantity` have scale 4; `column` is the one of `closes` that
    each position holds.
    """

    inputs: Inputs
    sessions: np.ndarray
    closes: np.ndarray
    column: np.ndarray
    quantity: np.ndarray

    @property
    def lot_sessions(self) -> int:
        return self.column.size * len(self.sessions)


def plain(size: Size) -> Plain:
    """Return portfolios that hold 15 stocks each through every session."""
    market = markets.generated_market(size.symbols, size.sessions, seed=4, gap=0.0)
    stocks = size.symbols - len(market.options)
    rng = np.random.Generator(np.random.PCG64(5))
    shape = (size.portfolios, POSITIONS)
    column = rng.integers(0, stocks, shape)
    quantity = rng.integers(1, 1000, shape) * 10**markets.QUANTITY_SCALE
    rows = column.size
    ids = rng.integers(0, 256, (rows, 16), dtype=np.uint8)
    portfolio_id = rng.integers(0, 256, (size.portfolios, 16), dtype=np.uint8)
    table = Text.of(market.symbols)
    days, symbols = np.nonzero(market.known)
    entry = market.closes[0, column.ravel()]
    inputs = Inputs(
        positions=Positions(
            id=ids,
            portfolio_id=np.repeat(portfolio_id, POSITIONS, axis=0),
            symbol=Text(column.ravel().astype(np.uint32), table.offsets, table.data),
            position_type=Text.constant("LONG", rows),
            quantity=Decimals(quantity.ravel(), markets.QUANTITY_SCALE),
            entry_price=Decimals(entry, 4),
            entry_day=Days(np.full(rows, market.days[0], dtype=np.int32)),
        ),
        events=Events.none(),
        flows=Flows.none(),
        prices=Prices(
            symbol=Text(symbols.astype(np.uint32), table.offsets, table.data),
            day=Days(market.days[days]),
            close=Decimals(market.closes[days, symbols], 4),
        ),
        previous=Previous.none(),
        opening=Opening(
            portfolio_id=portfolio_id,
            equity=Decimals(np.full(size.portfolios, 100_000_00, dtype=np.int64), 2),
        ),
    )
    return Plain(
        inputs,
        market.days[market.first :].copy(),
        market.closes[market.first :].copy(),
        column,
        quantity,
    )
