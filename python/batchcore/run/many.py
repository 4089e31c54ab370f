"""Runs on several databases side by side: each by itself, with one report."""

from __future__ import annotations

import asyncio
import datetime as dt
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Final, Literal, Unpack, cast

from batchcore.config import Schema
from batchcore.declared import FrozenDict
from batchcore.errors import ConfigError
from batchcore.options import RunKeywords, RunOptions  # noqa: TC001  # callers may look at types
from batchcore.run.batch import run_up_to_now
from batchcore.run.request import requested
from batchcore.run.result import BatchResult, kept
from batchcore.run.tasks import each, shared_progress

if TYPE_CHECKING:
    from batchcore.options import Progress

KEPT: Final = "batchcore_many"
"""The attribute of a cancellation that holds the reports of the runs that it ended."""


@dataclass(frozen=True, eq=False, repr=False)
class ManyResult(Mapping[str, BatchResult]):
    """The report of runs on several databases: a mapping of names to the reports that there are.

    Attributes:
        reports: Name -> report, in the order given; of a run that ended early too, if it had begun.
        errors: Name -> the error that ended the run on that database early, or its cancellation.
    """

    reports: Mapping[str, BatchResult]
    errors: Mapping[str, BaseException]

    @classmethod
    def of_error(cls, error: BaseException) -> ManyResult | None:
        """Return the report up to the cancellation of all runs; None of any other error."""
        return cast("ManyResult | None", kept(error, KEPT))

    @property
    def success(self) -> bool:
        """Whether every run finished, and no portfolio failed."""
        return not self.errors and all(one["success"] for one in self.reports.values())

    def __getitem__(self, name: str) -> BatchResult:
        """Return the report of a database."""
        return self.reports[name]

    def __iter__(self) -> Iterator[str]:
        """Return the names of databases with a report."""
        return iter(self.reports)

    def __len__(self) -> int:
        """Return the number of databases with a report."""
        return len(self.reports)

    def __repr__(self) -> str:
        """Return a short text."""
        return f"ManyResult(reports={[*self.reports]}, errors={dict(self.errors)})"


async def run_many(
    databases: Mapping[str, object],
    start_date: dt.date | Literal["inception"] | None = None,
    end_date: dt.date | None = None,
    *,
    parallel: int = 4,
    schemas: Mapping[str, Schema] | None = None,
    options: RunOptions | None = None,
    **overrides: Unpack[RunKeywords],
) -> ManyResult:
    """Roll the portfolios of several databases forward: `run_batch` on each, side by side.

    Each run has a snapshot, a lease and a ledger of its own database: no moment is shared between
    servers. If one ends early, the others continue.

    Args:
        databases: Name -> what `run_batch` takes as ``db``.
        start_date: As in `run_batch`.
        end_date: Likewise.
        parallel: Number of databases worked on at a time.
        schemas: Name -> names of tables and columns, where they are not those of the settings.
        options: The options of every run; None is all defaults.
        **overrides: Options that override those: each attribute of `RunOptions` is a keyword.

    Returns:
        The reports, and the errors that ended runs early.

    Raises:
        ConfigError: an argument is wrong, whatever the database.
    """
    if not isinstance(databases, Mapping):
        msg = f"databases is of type {type(databases).__name__}, expected a mapping of names"
        raise ConfigError(msg, "databases")
    if isinstance(parallel, bool) or not isinstance(parallel, int) or parallel < 1:
        raise ConfigError(f"parallel is {parallel!r}, expected 1 or more", "parallel")
    if "portfolio_ids" in overrides:
        msg = "portfolio ids belong to one database: call run_batch with portfolio_ids"
        raise ConfigError(msg, "portfolio_ids")
    if schemas is not None and not isinstance(schemas, Mapping):
        msg = f"schemas is of type {type(schemas).__name__}, expected a mapping of names"
        raise ConfigError(msg, "schemas")
    for name, schema in (schemas or {}).items():
        if name not in databases:
            raise ConfigError(
                f"schemas names `{name}`, which is not one of the databases", "schemas"
            )
        if not isinstance(schema, Schema):
            msg = f"the schema of `{name}` is of type {type(schema).__name__}, expected Schema"
            raise ConfigError(f"{msg}: Schema.from_toml reads a file", "schemas")
    asked = await requested(start_date, end_date, None, options, **overrides)
    places = asyncio.Semaphore(parallel)
    progress = shared_progress(asked.progress)
    ends: dict[str, BatchResult | BaseException] = {}

    async def work(given: tuple[object, Schema, Progress | None]) -> BatchResult:
        db, schema, own = given
        settings = replace(asked.settings, schema=schema)
        async with places:
            return await run_up_to_now(db, replace(asked, settings=settings, progress=own))

    given = {
        name: (db, (schemas or {}).get(name, asked.settings.schema), progress(name))
        for name, db in databases.items()
    }
    try:
        await each(given, work, ends, "database")
    except asyncio.CancelledError as error:
        vars(error)[KEPT] = _result(ends, databases)
        raise
    return _result(ends, databases)


def _result(
    ends: Mapping[str, BatchResult | BaseException], databases: Iterable[str]
) -> ManyResult:
    errors: dict[str, BaseException] = {}
    reports: dict[str, BatchResult] = {}
    for name in databases:
        end = ends.get(name, asyncio.CancelledError())  # one that waited for its turn
        result = end if isinstance(end, BatchResult) else BatchResult.of_error(end)
        if not isinstance(end, BatchResult):
            errors[name] = end
        if result is not None:
            reports[name] = result
    return ManyResult(FrozenDict(reports), FrozenDict(errors))
