"""The sides, and how to write one.

A side is a module with `run(url, job) -> Timing`. It reads the tables at `url`, writes a row of
`portfolio_snapshots` for each portfolio of the job that is not soft-deleted and each of its
sessions, sets `portfolios.equity_balance` and `updated_at`, and commits; exactly, by the rules S3
to S10 of docs/semantics.md, for the data of `batch.data`: symbols and values there are clean. A
`daily` job goes on from the snapshots that stand already, a `backfill` from the opening equities.

What it needs it imports at its top, since the clock starts after its import. A function
`prepare(job)` is called before the clock, and is for the floor alone.
"""

import os
import sys
from dataclasses import dataclass, field
from importlib import import_module
from importlib.machinery import PathFinder
from pathlib import Path
from types import ModuleType


@dataclass(frozen=True, slots=True)
class Entry:
    """A side.

    A package that it `needs` is in a folder of the environment that `make peers` fills. One too
    slow for all is run on some `portfolios`: the figures of all are extrapolated, for which it
    notes as `first` the seconds until the first of them is done; `rounds` are enough of a job that
    takes minutes.
    """

    name: str
    module: str
    needs: str = ""
    analytics: bool = False
    portfolios: int | None = None
    rounds: dict[str, int] = field(default_factory=dict)

    @property
    def path(self) -> list[str]:
        """Return where its own package is."""
        return [os.fspath(Path(sys.prefix, self.name))] if self.needs else []

    @property
    def is_there(self) -> bool:
        """Return whether what it needs is installed."""
        return not self.needs or PathFinder.find_spec(self.needs, self.path) is not None

    def load(self) -> ModuleType:
        return import_module(self.module)


SIDES = {
    entry.name: entry
    for entry in (
        # the bytes alone, nothing computed
        Entry("floor", "batch.sides.floor", analytics=True),
        # batchcore.run_batch
        Entry("batchcore", "batch.sides.native", analytics=True),
        # a dictionary cache in pure Python
        Entry("plan", "baseline"),
        # ORM queries for each position
        Entry("n+1", "batch.sides.orm", portfolios=50, rounds={"backfill": 1}),
        # one INSERT ... SELECT with LATERAL, on the server
        Entry("sql", "batch.sides.sql"),
        # int64 arrays, a session of all lots at a time
        Entry("numpy", "batch.sides.numpy"),
        # an ASOF JOIN of exact decimals, by its own scans of PostgreSQL
        Entry(
            "duckdb-postgres",
            "batch.sides.duckdb_postgres",
            needs="duckdb_extension_postgres_scanner",
        ),
    )
}
