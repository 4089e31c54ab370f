"""What a side wrote, against the reference and against what batchcore wrote."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from uuid import UUID

import asyncpg

from batch.job import Job
from batchcore.audit.opening import check
from batchcore.calendar import day_of

LEFT_OUT = ("id", "created_at")
"""Of each side's own (S14)."""

ROWS = "rows.txt"
EQUITIES = "equities.txt"


class DiffersError(Exception):
    """A side wrote something else."""


async def check_with_reference(
    url: str, connection: asyncpg.Connection, job: Job, sample: int, seed: int
) -> str:
    """Check the rows of a sample of portfolios with the reference, from their opening equity on.

    The sessions before the job whose snapshots stand are checked too.

    Args:
        url: Of the database.
        connection: To it.
        job: What was done.
        sample: How many portfolios.
        seed: Which of them.

    Returns:
        What was checked, in a line.

    Raises:
        DiffersError: a row differs.
    """
    found = await connection.fetch(
        "SELECT o.id, o.equity_balance FROM bench.opening o JOIN portfolios p USING (id)"
        " WHERE p.deleted_at IS NULL ORDER BY md5($2::text || id::text) LIMIT $1",
        sample,
        str(seed),
    )
    opening = {UUID(bytes=row["id"].bytes): row["equity_balance"] for row in found}
    days = [day_of(session) for session in (*job.history, *job.sessions)]
    checked = await check(url, opening, days, lookback_days=job.lookback_days)
    if checked.differing or checked.rows != len(opening) * len(days):
        raise DiffersError("batchcore and the reference differ: " + "; ".join(checked.examples))
    return (
        f"{checked.rows:,} rows of {checked.portfolios:,} portfolios of {job.portfolios:,} are"
        " those of the reference"
    )


@dataclass(frozen=True, slots=True)
class Expected:
    """What batchcore wrote, as text, a line for each row; files, so that memory is bounded.

    Attributes:
        folder: Where they lie.
        columns: Of `rows.txt`, the portfolio first.
    """

    folder: Path
    columns: tuple[str, ...]

    @classmethod
    async def kept(cls, connection: asyncpg.Connection, folder: Path) -> "Expected":
        """Keep what stands."""
        names = await connection.fetch(
            "SELECT attname FROM pg_attribute WHERE attrelid = 'portfolio_snapshots'::regclass"
            " AND attnum > 0 AND NOT attisdropped ORDER BY attname <> 'portfolio_id', attnum"
        )
        columns = tuple(row["attname"] for row in names if row["attname"] not in LEFT_OUT)
        expected = cls(folder, columns)
        for file, query in expected.queries(()).items():
            await connection.copy_from_query(query, output=folder / file)
        return expected

    def queries(self, only: Sequence[UUID]) -> dict[str, str]:
        """Return what is compared, of all portfolios or of some, by the file it is kept in."""
        listed = ",".join(str(one) for one in only)
        of = "= ANY('{" + listed + "}'::uuid[])" if only else "IS NOT NULL"
        return {
            ROWS: f"SELECT {', '.join(self.columns)} FROM portfolio_snapshots"
            f" WHERE portfolio_id {of} ORDER BY portfolio_id, snapshot_date",
            EQUITIES: f"SELECT id, equity_balance FROM portfolios WHERE id {of} ORDER BY id",
        }

    async def compare(
        self, connection: asyncpg.Connection, side: str, only: Sequence[UUID] = ()
    ) -> int:
        """Compare what stands now, cell by cell; return how many rows were compared.

        Raises:
            DiffersError: a row differs; it names the first one.
        """
        rows = 0
        for file, query in self.queries(only).items():
            comparison = Comparison(self._lines(file, only))
            await connection.copy_from_query(query, output=comparison.take)
            comparison.finish()
            if comparison.first is not None:
                wanted, found = comparison.first
                columns = ", ".join(self.columns) if file == ROWS else "id, equity_balance"
                raise DiffersError(
                    f"{side} differs from batchcore in row {comparison.rows + 1:,}"
                    f"\n({columns})\nexpected {wanted}\nfound    {found}"
                )
            rows += comparison.rows if file == ROWS else 0
        return rows

    def _lines(self, file: str, only: Sequence[UUID]) -> Iterator[bytes]:
        wanted = {str(one).encode() for one in only}
        with (self.folder / file).open("rb") as lines:
            for line in lines:
                if not wanted or line[:36] in wanted:
                    yield line


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
