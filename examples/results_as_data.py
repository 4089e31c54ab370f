"""Stored snapshots in polars, pandas, DuckDB and pyarrow, and as a Parquet file."""

import asyncio
import os
import tempfile
from datetime import date

import duckdb
import pandas as pd
import polars as pl
import pyarrow as pa
from pyarrow import parquet

import batchcore


async def stored() -> batchcore.Snapshots:
    """Return some columns of what a run has stored."""
    url, days = os.environ["DATABASE_URL"], (date(2025, 6, 2), date(2025, 6, 30))
    await batchcore.run_batch(url, *days, analytics="none")
    return await batchcore.read_snapshots(url, *days, columns=["equity_balance", "daily_pnl"])


rows = asyncio.run(stored())
in_polars = pl.DataFrame(rows)
in_pandas = pd.DataFrame.from_arrow(rows)
((in_duckdb,),) = duckdb.sql("SELECT sum(daily_pnl) FROM rows").fetchall()
in_arrow = pa.table(rows)
print(in_polars["daily_pnl"].sum() == in_pandas["daily_pnl"].sum() == in_duckdb)
print(in_arrow.schema.field("daily_pnl").type)

with tempfile.NamedTemporaryFile(suffix=".parquet") as file:
    parquet.write_table(in_arrow, file.name)
    print(parquet.read_table(file.name).column("daily_pnl") == in_arrow["daily_pnl"])
