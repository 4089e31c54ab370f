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

    It `needs` packages, of the extra `bench` unless `own` names a folder of the environment with
    its own, found before those of all sides; `make peers` fills it. One too slow for all is run on
    some `portfolios`: the figures of all are extrapolated, for which it notes as `first` the
    seconds until the first of them is done; `rounds` are enough of a job that takes minutes.
    """

    name: str
    module: str
    needs: tuple[str, ...] = ()
    own: str | None = None
    analytics: bool = False
    portfolios: int | None = None
    rounds: dict[str, int] = field(default_factory=dict)

    @property
    def path(self) -> list[str]:
        """Return where its own packages are."""
        return [] if self.own is None else [os.fspath(Path(sys.prefix, self.own))]

    @property
    def lacks(self) -> tuple[str, ...]:
        """Return the packages that are not installed."""
        path = [*self.path, *sys.path]
        return tuple(name for name in self.needs if PathFinder.find_spec(name, path) is None)

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
        Entry("plan", "batch.sides.plan"),
        # ORM queries for each position
        Entry("n+1", "batch.sides.orm", portfolios=50, rounds={"backfill": 1}),
        # one INSERT ... SELECT with LATERAL, on the server
        Entry("sql", "batch.sides.sql"),
        # int64 arrays, a session of all lots at a time
        Entry("numpy", "batch.sides.numpy"),
        # an as-of join, and a query for each session
        Entry("polars", "batch.sides.polars", needs=("polars",)),
        # an ASOF JOIN, and a row for each lot and session
        Entry("duckdb", "batch.sides.duckdb", needs=("duckdb",)),
        # the same, with decimals and by its own scans of PostgreSQL
        Entry(
            "duckdb-postgres",
            "batch.sides.duckdb_postgres",
            needs=("duckdb_extension_postgres_scanner",),
            own="duckdb-postgres",
        ),
    )
}
