"""All shards of a run, under one view of the database, with one report."""

from __future__ import annotations

import contextlib
import logging
import time
from collections import Counter
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any, Final, Generic, TypeVar

import numpy as np

from batchcore import policies
from batchcore.errors import ConfigError, DatabaseError, InputError, LeaseHeldError, SchemaError
from batchcore.frames import distinct, first_of_each
from batchcore.pg.ledger import Ledger, next_changed_since
from batchcore.pg.session import SharedView, snapshot, transaction, undone
from batchcore.run.issues import IssueList, Shared
from batchcore.run.lease import run_spec
from batchcore.run.prepare import inspected
from batchcore.run.result import (
    BatchResult,
    Coverage,
    PortfolioResults,
    ShardResult,
    cache_stats,
    joined_differences,
    keep_with,
    with_changes,
)
from batchcore.run.tasks import each, shared_progress
from batchcore.sources.host import located, sorted_ids

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Sequence

    from batchcore.frames import Ids
    from batchcore.pg.database import Database
    from batchcore.run.request import Request
    from batchcore.shards import Shard

End = TypeVar("End")
"""The result of the work on a shard."""

STATES: Final = ("complete", "incomplete", "interrupted", "failed")
"""States in which shards end, the worst last."""

ADDED_UP: Final = ("rows_written", "bytes_written", "peak_memory_bytes", "chunks", "retries")
ADDED_UP_BY_NAME: Final = (
    *("statements_by_phase", "rows_by_load", "rows_by_phase", "bytes_by_phase", "rounded"),
)

MARKS: Final = ("fresh", "lookback_hits", "stale", "unpriced")
"""Counts of a report's cache, in the order of `units.Mark`."""

log: Final = logging.getLogger("batchcore")


@contextlib.asynccontextmanager
async def hold_view(database: Database, first: Request) -> AsyncIterator[Request]:
    """Fix "now" for all shards; yield the request of the first as it begins.

    Its view is None where the server exports no snapshot. A shard that has the view keeps it when
    the connection is lost. The order of a request is held with it.
    """
    is_over, ledger = False, Ledger(first.settings.schema)
    kind = policies.entry(first.policy).load()
    try:
        async with database.writing("check") as session:
            async with transaction(session):
                catalog = await inspected(session, first, kind)
                since, continues = await next_changed_since(session), None
                if first.resume:
                    continues = await ledger.unfinished_group(session, run_spec(first))
            async with snapshot(session, shared=True):
                exported = session.exported
                if first.order is not None:
                    await ledger.lock_order(session, first.order)
                first = replace(first, continues=continues)
                if exported is not None:
                    async with undone(session):  # its locks would hold up the host until the end
                        latest = await kind.load_latest(session, first, catalog)
                    first = replace(first, view=SharedView(exported, since), latest=latest)
                yield first
                is_over = True
    except DatabaseError as error:
        if not is_over:
            raise
        log.warning("snapshot=lost error=%r", str(error))


@dataclass(slots=True)
class Group(Generic[End]):
    """The shards of one run, each done by ``work``."""

    database: Database
    request: Request
    count: int
    work: Callable[[Request], Awaitable[End]]
    ends: dict[int, End | BaseException] = field(default_factory=dict)  # by number of the shard
    held_s: float | None = None  # how long they had a snapshot together

    async def run(self) -> None:
        """Do all shards side by side, under one view; raise the gravest of their errors."""
        # If one ends early, the others continue, and it can be tried again alone.
        progress = shared_progress(self.request.progress)
        settings = self.request.settings
        first = replace(self.request, settings=replace(settings, shard=(1, self.count)))
        async with hold_view(self.database, first) as held:
            began = time.perf_counter()
            try:
                shards = {
                    number: replace(
                        held,
                        settings=replace(settings, shard=(number, self.count)),
                        progress=progress(number),
                    )
                    for number in range(1, self.count + 1)
                }
                await each(shards, self.work, self.ends, "shard")
            finally:
                if held.view is not None:
                    self.held_s = time.perf_counter() - began
        errors = [error for error in self.ends.values() if isinstance(error, Exception)]
        if errors:
            raise max(errors, key=_gravity)


def _gravity(error: Exception) -> int:
    """Return the gravity of an error by its exit code: 3, 2 and 4, the worst first."""
    if isinstance(error, ConfigError | InputError | SchemaError):
        return 2
    return 0 if isinstance(error, LeaseHeldError) else 1


async def run_group(
    database: Database,
    request: Request,
    count: int,
    work: Callable[[Request], Awaitable[BatchResult]],
) -> BatchResult:
    """Return the report of all shards of a run, which is kept with an error of any of them."""
    group = Group(database, request, count, work)
    try:
        await group.run()
    except BaseException as error:
        if any(_result(end) is not None for end in group.ends.values()):
            keep_with(error, _report(group))
        raise
    return _report(group)


def _result(end: BatchResult | BaseException) -> BatchResult | None:
    return end if isinstance(end, BatchResult) else BatchResult.of_error(end)


def _report(group: Group[BatchResult]) -> BatchResult:
    shards, results = [], []
    for number, end in sorted(group.ends.items()):
        result = _result(end)
        error = None if isinstance(end, BatchResult) else end
        shards.append(shard_result((number, group.count), result, error))
        results += [] if result is None else [result]
    report = merged(results, shards)
    own = Counter(report.statements_by_phase) + group.database.statements
    return with_changes(
        report,
        statements_by_phase=dict(own),
        consistent=report.consistent and group.held_s is not None,
        snapshot_seconds=group.held_s,
    )


def shard_result(
    shard: Shard, result: BatchResult | None, error: BaseException | None = None
) -> ShardResult:
    """Return the end of a shard, by its report, if any, and its error."""
    # A process that is stopped may not have time to send its report.
    text = None if error is None else f"{type(error).__name__}: {error}"
    if result is None:
        was_stopped = error is not None and not isinstance(error, Exception)
        state = "interrupted" if was_stopped else "failed"
        return ShardResult(shard=shard, state=state, error=text)
    return ShardResult(
        shard=shard,
        run_id=result.run_id,
        state=result.state,
        error=result.error or text,
        attempt=result.attempt,
        portfolios=len(result.portfolios),
        failed=result.failed,
        rows_written=result.rows_written,
        consistent=result.consistent,
        seconds=result.seconds_by_phase["total"],
    )


def merged(results: Sequence[BatchResult], shards: Iterable[ShardResult] = ()) -> BatchResult:
    """Return one report of one or more shards, with counts added up."""
    # Seconds are those of the slowest shard, since they work side by side.
    ends = tuple(shards)
    first = results[0]
    portfolios = PortfolioResults.concat([one.portfolios for one in results])
    order = sorted_ids(portfolios.id)
    portfolios = portfolios.take(order)
    issues = _issues(results, portfolios.id)
    names = [name for one in results for name in one.names]
    found = [
        replace(own, portfolio=located(one.portfolios.id, portfolios.id)[own.portfolio])
        for one in results
        if (own := one.differences) is not None
    ]
    every_end: list[ShardResult | BatchResult] = [*ends, *results]
    worst = max(every_end, key=lambda one: STATES.index(one.state))
    resumed = [one.resumed for one in results if one.resumed is not None]
    behind = [one.sessions_behind for one in results if one.sessions_behind is not None]
    totals = [one.seconds_by_phase for one in results]
    summed: dict[str, Any] = {name: sum(getattr(one, name) for one in results) for name in ADDED_UP}
    for name in ADDED_UP_BY_NAME:
        every: Counter[str] = Counter()
        for one in results:
            every.update(getattr(one, name))
        summed[name] = dict(every)
    # Every shard has the coverage of all portfolios.
    coverage = Coverage.concat([one.coverage for one in results])
    marks = [[one.cache[name] for name in MARKS] for one in results]
    return with_changes(
        first,
        run_id=first.group or first.run_id,
        attempt=max(one.attempt for one in results),
        portfolios=portfolios,
        issues=issues.finish(),
        shared=issues.shared,
        sessions=distinct(np.concatenate([one.sessions for one in results])),
        sessions_left_out=distinct(np.concatenate([one.sessions_left_out for one in results])),
        coverage=coverage.take(first_of_each(coverage.session)[0]),
        cache=cache_stats(np.sum(marks, axis=0, dtype=np.int64)),
        names=tuple(names[row] for row in order.tolist()) if names else (),
        differences=joined_differences(found) if found else None,
        analytics_off={part: why for one in results for part, why in one.analytics_off.items()},
        consistent=all(one.consistent for one in every_end),
        resumed=merged(resumed) if resumed else None,
        seconds_by_phase={name: max(one.get(name, 0.0) for one in totals) for name in totals[0]},
        shard=None,
        state=worst.state,
        error=worst.error,
        started_at=min(one.started_at for one in results),
        ended_at=max(one.ended_at for one in results),
        sessions_behind=max(behind, default=None),
        shards=ends,
        **summed,
    )


def _issues(results: Sequence[BatchResult], ids: Ids) -> IssueList:
    """Return the issues of all shards; those about the same symbol or session once."""
    found = IssueList()
    seen: set[tuple[Any, ...]] = set()
    for one in results:
        shared = one.shared or Shared()
        noticed = one.issues.take(slice(0, len(one.issues) - len(shared.issues())))
        own = noticed.take(noticed.portfolio >= 0)
        found.add(replace(own, portfolio=located(one.portfolios.id, ids)[own.portfolio]))
        others = noticed.take(noticed.portfolio < 0)
        names, symbols, details = (
            column.texts() for column in (others.name, others.symbol, others.detail)
        )
        days = zip(others.day.state.tolist(), others.day.values.tolist(), strict=True)
        said = [*zip(names, symbols, details, days, strict=True)]
        new = np.array([text not in seen for text in said], dtype=np.bool_)
        found.add(others.take(new))
        seen.update(said)
        found.shared.add_misses(shared.misses.items())
        found.shared.held.extend(shared.held)
    return found
