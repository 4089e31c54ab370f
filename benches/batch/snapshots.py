"""Sides that make columns of integers of arrays: NumPy, Polars and DuckDB."""

import asyncio
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from time import perf_counter

import asyncpg
import numpy as np

from baseline import COLUMNS
from batch import inputs, wire
from batch.inputs import Inputs
from batch.job import Job, Timing

STATEMENTS = 7  # four to read, the rows, the equities and their update
ROWS_A_PIECE = 1000
RETURN_LIMIT = 100 * 10**6  # from which on it is NULL (S10)
EQUITIES = """
    UPDATE portfolios p SET equity_balance = e.cents * 0.01, updated_at = now()
    FROM equities e
    WHERE p.id = e.id AND p.equity_balance IS DISTINCT FROM e.cents * 0.01
"""


Figures = Callable[[int, int], dict[str, np.ndarray]]
"""(n,) int64 of each column of the rows of portfolios `first` to `last`; see `Rows.encoded`."""


def run(url: str, job: Job, prepared: Callable[[Inputs], Figures], portfolios: int) -> Timing:
    """Return what a side took that prepares what was read, and rolls so many portfolios at once."""
    return asyncio.run(_run(url, job, prepared, portfolios))


async def _run(
    url: str, job: Job, prepared: Callable[[Inputs], Figures], portfolios: int
) -> Timing:
    async with wire.connected(url) as connection:
        began = perf_counter()
        read = await inputs.read(connection, job)
        have = perf_counter()
        figures = prepared(read)
        spent = perf_counter() - have
        ids, sessions = read.portfolios["id"], len(read.sessions)
        latest = np.empty(len(ids), np.int64)

        def pieces() -> Iterator[np.ndarray]:
            nonlocal spent
            rows = Rows(ids, read.sessions)
            for first in range(0, len(ids), portfolios):
                last = min(first + portfolios, len(ids))
                began = perf_counter()
                columns = figures(first, last)
                latest[first:last] = columns["equity_balance"][sessions - 1 :: sessions]
                spent += perf_counter() - began
                yield from rows.encoded(first, last, columns)

        async with connection.transaction():
            await wire.write(connection, "portfolio_snapshots", COLUMNS, pieces())
            await save_equities(connection, ids, latest)
        done = perf_counter()
    return Timing(have - began, spent, done - have - spent, STATEMENTS, len(ids) * sessions)


@dataclass(frozen=True, eq=False, slots=True)
class Rows:
    """The rows of a run, a session of each portfolio after the other, of days of PostgreSQL."""

    ids: np.ndarray
    sessions: np.ndarray
    created_us: int = field(default_factory=lambda: time.time_ns() // 1000)

    def encoded(
        self, first: int, last: int, figures: dict[str, np.ndarray]
    ) -> Iterator[np.ndarray]:
        """Give the rows of portfolios `first` to `last` as bytes, in the order of `COLUMNS`.

        `figures` has (n,) int64 of each other column, in cents; returns in millionths.
        """
        count = (last - first) * len(self.sessions)
        counter = first * len(self.sessions) + np.arange(count)
        columns: dict[str, wire.Column] = {
            "id": wire.Plain("id", wire.UUID, wire.uuid7(self.created_us // 1000, counter)),
            "portfolio_id": wire.Plain(
                "portfolio_id",
                wire.UUID,
                np.repeat(np.ascontiguousarray(self.ids[first:last]), len(self.sessions)),
            ),
            "snapshot_date": wire.Plain(
                "snapshot_date", wire.DATE, np.tile(self.sessions, last - first)
            ),
            "is_complete": wire.Plain("is_complete", wire.BOOL, np.array(True)),  # noqa: FBT003
            "created_at": wire.Plain(
                "created_at", wire.INT8, np.array(self.created_us - wire.EPOCH_US)
            ),
        }
        for name, values in figures.items():
            if name.startswith("num_"):
                columns[name] = wire.Plain(name, wire.INT4, values)
            elif name == "daily_return":
                null = np.abs(values) >= RETURN_LIMIT
                columns[name] = wire.Numeric.of(name, 6, np.where(null, 0, values), null)
            else:
                columns[name] = wire.Numeric.of(name, 2, values)
        yield from wire.encoded([columns[name] for name in COLUMNS], count, ROWS_A_PIECE)


async def save_equities(connection: asyncpg.Connection, ids: np.ndarray, cents: np.ndarray) -> None:
    """Set the equities of portfolios that have changed."""
    columns = [wire.Plain("id", wire.UUID, ids), wire.Plain("cents", wire.INT8, cents)]
    await connection.execute("CREATE TEMP TABLE equities (id uuid, cents int8) ON COMMIT DROP")
    pieces = wire.encoded(columns, len(ids), len(ids))
    await wire.write(connection, "equities", ("id", "cents"), pieces)
    await connection.execute(EQUITIES)
