"""What batchcore wrote, kept in files: the rows to compare with, and the bytes of the floor."""

import json
from dataclasses import dataclass
from pathlib import Path

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
    """Rows of a table, as the bytes of a binary COPY.

    For `portfolios` and `positions`, they are what rows are updated with.
    """

    table: str
    columns: list[str]
    data: memoryview


async def keep_outputs(connection: asyncpg.Connection, job: Job) -> None:
    """Write what stands after a job to the files of its folder, and the symbols that it read."""
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
    for table, names, rest in asked:
        await connection.copy_from_query(
            f"SELECT {', '.join(names)} FROM {table} {rest}",
            output=job.folder / f"{table}.copy",
            format="binary",
        )
    symbols = await connection.fetch("SELECT DISTINCT symbol FROM positions ORDER BY symbol")
    kept = {
        "columns": {table: names for table, names, _ in asked},
        "symbols": [row["symbol"] for row in symbols],
    }
    (job.folder / FILE).write_text(json.dumps(kept), encoding="utf-8")


def read_outputs(folder: Path) -> tuple[list[Output], list[str]]:
    """Return all that a job writes, and the symbols whose closes it reads."""
    kept = json.loads((folder / FILE).read_text(encoding="utf-8"))
    outputs = [
        Output(table, columns, memoryview((folder / f"{table}.copy").read_bytes()))
        for table, columns in kept["columns"].items()
    ]
    return outputs, kept["symbols"]
