"""What NumPy and Polars write: snapshots from columns of integers, and equities."""

import time
from collections.abc import Iterator
from dataclasses import dataclass, field

import asyncpg
import numpy as np

from baseline import COLUMNS
from batch import wire

__all__ = ["COLUMNS", "Rows", "save_equities"]

ROWS_A_PIECE = 1000
RETURN_LIMIT = 100 * 10**6  # from which on it is NULL (S10)
EQUITIES = """
    UPDATE portfolios p SET equity_balance = e.cents * 0.01, updated_at = now()
    FROM equities e
    WHERE p.id = e.id AND p.equity_balance IS DISTINCT FROM e.cents * 0.01
"""


@dataclass(frozen=True, eq=False, slots=True)
class Rows:
    """The rows of a run, a session of each portfolio after the other.

    Attributes:
        ids: (p,) of the portfolios, in order.
        sessions: (s,) int32 days of PostgreSQL.
        created_us: Microseconds since 1970.
    """

    ids: np.ndarray
    sessions: np.ndarray
    created_us: int = field(default_factory=lambda: time.time_ns() // 1000)

    def encoded(
        self, first: int, last: int, figures: dict[str, np.ndarray]
    ) -> Iterator[np.ndarray]:
        """Give the rows of portfolios `first` to `last` as bytes, in the order of `COLUMNS`.

        Args:
            first: Row of the first portfolio.
            last: Row after the last.
            figures: (n,) int64 of each other column, in cents; returns in millionths.
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
