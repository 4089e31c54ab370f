"""What a side wrote, against the reference and against what batchcore wrote."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
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
"""What rows are sorted by."""


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
    """What batchcore wrote, a line of text for each row; files, so that memory is bounded.

    `columns` has what is compared of each table, an id first.
    """

    folder: Path
    columns: dict[str, tuple[str, ...]]

    @classmethod
    async def kept(cls, connection: asyncpg.Connection, job: Job) -> "Expected":
        """Keep what stands after a job."""
        tables = [SNAPSHOTS, *(state.WRITTEN_BY_FULL if job.analytics == "full" else ())]
        columns = {table: await columns_of(connection, table, LEFT_OUT) for table in tables}
        columns |= EQUITIES | (MARKET_VALUES if job.analytics == "full" else {})
        expected = cls(job.path, columns)
        for table in columns:
            query = expected.query(table)
            await connection.copy_from_query(query, output=expected.file(table))
        return expected

    def file(self, table: str) -> Path:
        return self.folder / f"{table}.txt"

    def query(self, table: str, only: Sequence[UUID] = ()) -> str:
        """Return what is compared of a table, of all portfolios or of some."""
        columns = self.columns[table]
        keys = [name for name in KEYS if name in columns]
        query = f"SELECT {', '.join(columns)} FROM {table}"
        if only:
            listed = ",".join(str(one) for one in only)
            query += f" WHERE {columns[0]} = ANY('{{{listed}}}'::uuid[])"
        return f"{query} ORDER BY {', '.join(keys)}"

    async def compare(
        self, connection: asyncpg.Connection, side: str, only: Sequence[UUID] = ()
    ) -> int:
        """Compare what stands now, cell by cell; return how many rows were compared.

        `DiffersError` names the first row that differs.
        """
        rows = 0
        for table, columns in self.columns.items():
            comparison = Comparison(self._lines(table, only))
            await connection.copy_from_query(self.query(table, only), output=comparison.take)
            comparison.finish()
            if comparison.first is not None:
                wanted, found = comparison.first
                raise DiffersError(
                    f"{side} differs from batchcore in row {comparison.rows + 1:,} of {table}"
                    f"\n({', '.join(columns)})\nexpected {wanted}\nfound    {found}"
                )
            rows += comparison.rows if table == SNAPSHOTS else 0
        return rows

    def _lines(self, table: str, only: Sequence[UUID]) -> Iterator[bytes]:
        wanted = {str(one).encode() for one in only}
        with self.file(table).open("rb") as lines:
            for line in lines:
                if not wanted or line[:36] in wanted:
                    yield line


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


class Comparison:
    """Text of a COPY, as it arrives, against lines that are expected."""

    def __init__(self, expected: Iterator[bytes]) -> None:
        self._expected = expected
        self._rest = b""
        self.rows = 0
        self.first: tuple[str, str] | None = None

    async def take(self, piece: bytes) -> None:
        *lines, self._rest = (self._rest + bytes(piece)).split(b"\n")
        for line in lines:
            if self.first is None:
                self._compare(line + b"\n")

    def _compare(self, line: bytes) -> None:
        wanted = next(self._expected, b"no row\n")
        if line == wanted:
            self.rows += 1
        else:
            self.first = (wanted.decode().rstrip("\n"), line.decode().rstrip("\n"))

    def finish(self) -> None:
        """Tell that all has arrived."""
        more = next(self._expected, None)
        if self.first is None and more is not None:
            self.first = (more.decode().rstrip("\n"), "no row")
