"""What a side wrote, against the reference and against what batchcore wrote."""

from collections.abc import Sequence
from dataclasses import dataclass
from uuid import UUID

import asyncpg

from batch import state
from batch.job import Job
from batchcore.calendar import day_of
from batchcore.config import Settings
from batchcore.demo.check_rows import check

LEFT_OUT = ("id", "created_at", "updated_at")
"""Of each side's own (S14)."""

SNAPSHOTS = "portfolio_snapshots"
EQUITIES = {"portfolios": ("id", "equity_balance")}
MARKET_VALUES = {"positions": ("id", "last_price", "market_value", "unrealized_pnl")}

KEYS = (
    "portfolio_id",
    "position_id",
    "factor_id",
    "snapshot_date",
    "calc_date",
    "calculation_date",
    "id",
)
"""What rows are found by, and sorted."""


class DiffersError(Exception):
    """A side wrote something else."""


async def check_with_reference(
    url: str, connection: asyncpg.Connection, job: Job, sample: int, seed: int
) -> str:
    """Check the rows of so many portfolios with the reference, from their opening equity on.

    The sessions before the job whose snapshots stand are checked too. Returns what was checked, in
    a line; raises `DiffersError` where a row differs.
    """
    found = await connection.fetch(
        "SELECT o.id, o.equity_balance FROM bench.opening o JOIN portfolios p USING (id)"
        " WHERE p.deleted_at IS NULL ORDER BY md5($2::text || id::text) LIMIT $1",
        sample,
        str(seed),
    )
    opening = {UUID(bytes=row["id"].bytes): row["equity_balance"] for row in found}
    days = [day_of(session) for session in (*job.history, *job.sessions)]
    checked = await check(url, opening, days, settings=Settings(lookback_days=job.lookback_days))
    if checked.differing or checked.rows != len(opening) * len(days):
        raise DiffersError("batchcore and the reference differ: " + "; ".join(checked.examples))
    return (
        f"{checked.rows:,} rows of {checked.portfolios:,} portfolios of {job.portfolios:,} are"
        " those of the reference"
    )


async def check_count(connection: asyncpg.Connection, job: Job) -> None:
    """Raise `DiffersError` unless as many rows stand as are to after a job."""
    rows = await connection.fetchval("SELECT count(*) FROM portfolio_snapshots")
    if rows != job.rows_after:
        raise DiffersError(f"{rows:,} rows stand, expected {job.rows_after:,}")


@dataclass(frozen=True, slots=True)
class Expected:
    """What batchcore wrote: the columns that are compared of each table; `bench` has the rows."""

    columns: dict[str, tuple[str, ...]]

    @classmethod
    async def kept(cls, connection: asyncpg.Connection, job: Job) -> "Expected":
        """Keep what stands after a job."""
        tables = [SNAPSHOTS, *(state.WRITTEN_BY_FULL if job.analytics == "full" else ())]
        columns = {table: await columns_of(connection, table, LEFT_OUT) for table in tables}
        columns |= EQUITIES | (MARKET_VALUES if job.analytics == "full" else {})
        for table, names in columns.items():
            await connection.execute(f"DROP TABLE IF EXISTS bench.expected_{table}")
            await connection.execute(
                f"CREATE TABLE bench.expected_{table} AS SELECT {', '.join(names)} FROM {table}"
            )
            await connection.execute(f"ANALYZE bench.expected_{table}")
        return cls(columns)

    async def compare(
        self, connection: asyncpg.Connection, side: str, only: Sequence[UUID] = ()
    ) -> int:
        """Compare what stands now, cell by cell, of all portfolios or of some.

        Returns how many snapshots they have; `DiffersError` names the first row that differs.
        """
        for table, columns in self.columns.items():
            names, keys = ", ".join(columns), ", ".join(name for name in KEYS if name in columns)
            some = f"WHERE {columns[0]} = ANY($1)" if only else ""
            row = await connection.fetchrow(
                f"SELECT e::text, f::text FROM (SELECT * FROM bench.expected_{table} {some}) AS e"
                f" FULL JOIN (SELECT {names} FROM {table} {some}) AS f USING ({keys})"
                f" WHERE e::text IS DISTINCT FROM f::text ORDER BY {keys} LIMIT 1",
                *([only] if only else []),
            )
            if row is not None:
                raise DiffersError(
                    f"{side} differs from batchcore in a row of {table}"
                    f"\n({names})\nexpected {row[0] or 'no row'}\nfound    {row[1] or 'no row'}"
                )
        counted = f"SELECT count(*) FROM {SNAPSHOTS}"
        if only:
            return await connection.fetchval(f"{counted} WHERE portfolio_id = ANY($1)", only)
        return await connection.fetchval(counted)


async def columns_of(
    connection: asyncpg.Connection, table: str, left_out: Sequence[str] = ()
) -> tuple[str, ...]:
    """Return the columns of a table but some, the portfolio or else an id first."""
    found = await connection.fetch(
        "SELECT attname FROM pg_attribute WHERE attrelid = $1::regclass AND attnum > 0"
        " AND NOT attisdropped ORDER BY attname <> 'portfolio_id', attnum",
        table,
    )
    return tuple(row["attname"] for row in found if row["attname"] not in left_out)
