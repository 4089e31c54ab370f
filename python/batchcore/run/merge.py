"""One report of several shards: pure."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace
from typing import TYPE_CHECKING, Any, Final

import numpy as np

from batchcore.frames import distinct, first_of_each
from batchcore.run.issues import IssueList, Shared
from batchcore.run.result import (
    BatchResult,
    Coverage,
    PortfolioResults,
    ShardResult,
    cache_stats,
    joined_differences,
    with_changes,
)
from batchcore.sources.host import located, sorted_ids

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from batchcore.frames import Ids
    from batchcore.shards import Shard

STATES: Final = ("complete", "incomplete", "interrupted", "failed")
"""How shards end, the worst last."""

ADDED_UP: Final = ("rows_written", "bytes_written", "peak_memory_bytes", "chunks", "retries")
ADDED_UP_BY_NAME: Final = (
    *("statements_by_phase", "rows_by_load", "rows_by_phase", "bytes_by_phase", "rounded"),
)


def shard_result(
    shard: Shard, result: BatchResult | None, error: BaseException | None = None
) -> ShardResult:
    """Return how a shard ended, by its report, if it came to one, and by its error.

    What is stopped may have no time left to tell its report.
    """
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
    """Return one report of several shards, of at least one.

    Counts are added up. Seconds are those of the slowest shard, as they work side by side.
    """
    ends = tuple(shards)
    first = results[0]
    every = PortfolioResults.concat([one.portfolios for one in results])
    order = sorted_ids(every.id)
    portfolios = every.take(order)
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
    summed: dict[str, Any] = {
        name: sum(getattr(one, name) for one in results) for name in ADDED_UP
    } | {name: _summed(getattr(one, name) for one in results) for name in ADDED_UP_BY_NAME}
    return with_changes(
        first,
        run_id=first.group or first.run_id,
        attempt=max(one.attempt for one in results),
        portfolios=portfolios,
        issues=issues.finish(),
        shared=issues.shared(),
        sessions=distinct(np.concatenate([one.sessions for one in results])),
        sessions_left_out=distinct(np.concatenate([one.sessions_left_out for one in results])),
        coverage=_coverage(results),
        cache=_cache(results),
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
    """Return the issues of all shards; what several say of the same symbol or session once."""
    found = IssueList()
    seen: set[tuple[Any, ...]] = set()
    for one in results:
        shared = one.shared or Shared()
        noticed = one.issues.take(slice(0, len(one.issues) - shared.issues()))
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
        found.add_shared(shared)
    return found


def _coverage(results: Sequence[BatchResult]) -> Coverage:
    """Return the coverage of each session once: every shard has that of all portfolios."""
    every = Coverage.concat([one.coverage for one in results])
    return every.take(first_of_each(every.session)[0])


def _cache(results: Sequence[BatchResult]) -> dict[str, Any]:
    names = ("fresh", "lookback_hits", "stale", "unpriced")  # in the order of `units.Mark`
    marks = [sum(one.cache[name] for one in results) for name in names]
    return cache_stats(np.array(marks, dtype=np.int64))


def _summed(counts: Iterable[Any]) -> dict[str, int]:
    every: Counter[str] = Counter()
    for one in counts:
        every.update(one)
    return dict(every)
