"""What batchcore wrote, kept in files: the rows to compare with, and the bytes of the floor."""

import json
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Self

import asyncpg

from baseline import COLUMNS
from batch.compare import EQUITIES, MARKET_VALUES, columns_of
from batch.job import Job
from batch.state import WRITTEN_BY_FULL

ANALYTIC_COLUMNS = (
    "beta_provider_1y",
    "sector_exposure",
    "hhi",
    "effective_num_positions",
    "top_3_concentration",
    "top_10_concentration",
    "realized_volatility_21d",
    "realized_volatility_63d",
    "beta_calculated_90d",
    "beta_calculated_90d_r_squared",
    "beta_calculated_90d_observations",
)
FILE = "outputs.json"


@dataclass(frozen=True, slots=True)
class Output:
    """Rows of a table in a file of the job's folder, as the bytes of a binary COPY.

    For `portfolios` and `positions`, they are what rows are updated with.
    """

    table: str
    columns: tuple[str, ...]
    rows: int
    file: str


@dataclass(frozen=True, slots=True)
class Outputs:
    """All that a job writes, and the symbols whose closes it reads."""

    tables: tuple[Output, ...]
    symbols: tuple[str, ...]

    @classmethod
    def read(cls, folder: Path) -> Self:
        found = json.loads((folder / FILE).read_text(encoding="utf-8"))
        tables = [Output(**{**one, "columns": tuple(one["columns"])}) for one in found["tables"]]
        return cls(tuple(tables), tuple(found["symbols"]))

    def write(self, folder: Path) -> None:
        (folder / FILE).write_text(json.dumps(asdict(self)), encoding="utf-8")


async def keep_outputs(connection: asyncpg.Connection, job: Job) -> Outputs:
    """Write what stands after a job to the files of its folder, as the bytes of binary COPY."""
    columns = COLUMNS if job.analytics == "none" else (*COLUMNS, *ANALYTIC_COLUMNS)
    window = f"snapshot_date BETWEEN '{job.start}' AND '{job.end}'"
    asked: list[tuple[str, tuple[str, ...], str]] = [
        ("portfolio_snapshots", columns, f"WHERE {window} ORDER BY portfolio_id, snapshot_date"),
        ("portfolios", EQUITIES["portfolios"], "WHERE deleted_at IS NULL ORDER BY id"),
    ]
    if job.analytics == "full":
        asked += [
            (table, await columns_of(connection, table), "ORDER BY id") for table in WRITTEN_BY_FULL
        ]
        values = MARKET_VALUES["positions"]
        asked.append(("positions", values, "WHERE last_price IS NOT NULL ORDER BY portfolio_id"))
    tables = []
    for table, names, rest in asked:
        file = f"{table}.copy"
        status = await connection.copy_from_query(
            f"SELECT {', '.join(names)} FROM {table} {rest}",
            output=job.path / file,
            format="binary",
        )
        tables.append(Output(table, names, int(status.rpartition(" ")[2]), file))
    symbols = await connection.fetch("SELECT DISTINCT symbol FROM positions ORDER BY symbol")
    outputs = Outputs(tuple(tables), tuple(row["symbol"] for row in symbols))
    outputs.write(job.path)
    return outputs
