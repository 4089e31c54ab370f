"""What the benches work on: seeded portfolios of two sizes, in frames and in a database."""

import uuid
from collections.abc import Callable
from contextlib import AbstractContextManager
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal

import asyncpg
import numpy as np

from batchcore.calendar import date_of
from batchcore.db.migrate import migrate
from batchcore.demo import market as markets
from batchcore.demo import universe
from batchcore.frames import (
    Days,
    Decimals,
    Events,
    Flows,
    Inputs,
    Integers,
    Opening,
    Positions,
    Previous,
    Prices,
    Text,
)

POSITIONS = 15
EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


EmptyDatabase = Callable[[], AbstractContextManager[str]]
"""Gives the URL of an empty database for as long as it is needed."""


@dataclass(frozen=True, slots=True)
class Size:
    """How much the benches work on.

    Attributes:
        portfolios: Of whole runs.
        many: Portfolios of the core alone.
        symbols: Of the market.
        sessions: To value; the market has ten more before them.
    """

    portfolios: int
    many: int
    symbols: int
    sessions: int

    def __str__(self) -> str:
        return (
            f"{self.portfolios:,} portfolios of {POSITIONS} positions, {self.symbols:,} symbols,"
            f" {self.sessions:,} sessions"
        )


FULL = Size(portfolios=1000, many=10_000, symbols=3000, sessions=120)
SMALL = Size(portfolios=20, many=40, symbols=100, sessions=10)


@dataclass(frozen=True, eq=False, slots=True)
class Host:
    """A filled database and what it was filled with.

    Attributes:
        url: Of the database.
        size: Of what is in it.
        market: Its closes; one in two hundred is missing.
        held: Its portfolios.
        prices: Rows of the price table.
    """

    url: str
    size: Size
    market: markets.Market
    held: markets.Portfolios
    prices: markets.Table

    @property
    def sessions(self) -> list[date]:
        return [date_of(day) for day in self.market.days[self.market.first :].tolist()]


async def put_back(url: str) -> None:
    """Make the tables of snapshots and portfolios what they were before any run."""
    connection = await asyncpg.connect(url)
    try:
        await connection.execute("TRUNCATE portfolio_snapshots")
        await connection.execute(
            "CREATE TABLE IF NOT EXISTS opening AS SELECT id, equity_balance FROM portfolios"
        )
        await connection.execute(
            "UPDATE portfolios p SET equity_balance = o.equity_balance"
            " FROM opening o WHERE p.id = o.id"
        )
        await connection.execute("VACUUM ANALYZE portfolios")
        await connection.execute("VACUUM ANALYZE portfolio_snapshots")
        await connection.execute("CHECKPOINT")
    finally:
        await connection.close()


async def prepared(url: str, size: Size, *, analytics: bool = False) -> Host:
    """Return the empty database at `url`, migrated and filled."""
    await migrate(url)
    return await filled(url, size, analytics=analytics)


async def filled(url: str, size: Size, *, analytics: bool = False) -> Host:
    """Return the database at `url`, whose tables are empty, with portfolios and prices in it.

    With `analytics`, also what they read: profiles, benchmark weights, factors, their ETFs, and
    closes of half a year before the first session.
    """
    market = markets.generated_market(size.symbols, size.sessions, seed=1)
    held = markets.generated_portfolios(size.portfolios, market, positions=POSITIONS, seed=2)
    priced = markets.with_factors(market, seed=6) if analytics else market
    prices = markets.price_table(priced, seed=3)
    tables = [*held.tables, prices]
    if analytics:
        day = int(market.days[0])
        profiles = universe.generated_profiles(priced, seed=7)
        tables.append(universe.profile_table(profiles, day=day))
        tables.append(universe.factor_table(day=day, seed=8))
        tables.append(universe.benchmark_table(day=day, seed=9))
    connection = await asyncpg.connect(url)
    try:
        for table in tables:
            values = [_values(column, table.rows) for column in table.columns.values()]
            await connection.copy_records_to_table(
                table.name, records=zip(*values, strict=True), columns=list(table.columns)
            )
        await connection.execute("VACUUM ANALYZE")
    finally:
        await connection.close()
    return Host(url, size, market, held, prices)


def _values(column, rows: int) -> list:
    """Return what asyncpg takes for the rows of a column."""
    if isinstance(column, markets.Constant):
        return [column.value] * rows
    if isinstance(column, np.ndarray) and column.dtype == np.bool_:
        return column.tolist()
    if isinstance(column, np.ndarray):
        return [uuid.UUID(bytes=row.tobytes()) for row in column]
    if isinstance(column, Text):
        return column.texts()
    if isinstance(column, markets.Moment):
        values = [EPOCH + timedelta(microseconds=column.unix_us)] * rows
    elif isinstance(column, Days):
        values = [date_of(day) for day in column.values.tolist()]
    elif isinstance(column, Integers):
        values = column.values.tolist()
    else:
        values = [Decimal(units).scaleb(-column.scale) for units in column.values.tolist()]
    if column.state is None:
        return values
    return [
        None if state else value for value, state in zip(values, column.state.tolist(), strict=True)
    ]


@dataclass(frozen=True, eq=False, slots=True)
class Plain:
    """Long stock positions alone, open and priced on every session, so that NumPy can value them.

    Attributes:
        inputs: What the core reads.
        sessions: (s,) int32.
        closes: (s, k) int64 closes of the sessions, scale 4.
        column: (p, 15) int64 column of `closes` that each position holds.
        quantity: (p, 15) int64, scale 4.
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
    """Return `size.many` portfolios that hold 15 stocks each through every session."""
    market = markets.generated_market(size.symbols, size.sessions, seed=4, gap=0.0)
    stocks = size.symbols - len(market.options)
    rng = np.random.Generator(np.random.PCG64(5))
    shape = (size.many, POSITIONS)
    column = rng.integers(0, stocks, shape)
    quantity = rng.integers(1, 1000, shape) * 10**markets.QUANTITY_SCALE
    rows = column.size
    ids = rng.integers(0, 256, (rows, 16), dtype=np.uint8)
    portfolio_id = rng.integers(0, 256, (size.many, 16), dtype=np.uint8)
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
            equity=Decimals(np.full(size.many, 100_000_00, dtype=np.int64), 2),
        ),
    )
    return Plain(
        inputs,
        market.days[market.first :].copy(),
        market.closes[market.first :].copy(),
        column,
        quantity,
    )
