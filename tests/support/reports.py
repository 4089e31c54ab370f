"""The report of a run, made by hand."""

import uuid
from typing import Any

import numpy as np

from batchcore.frames import Issues, Text
from batchcore.run.result import (
    FAILED,
    STATUSES,
    BatchResult,
    Coverage,
    PortfolioResults,
    cache_stats,
)
from support import build

MONDAY = 20458
"""2026-01-05 in days since 1970-01-01."""

IDS = [uuid.UUID(int=number) for number in (1, 2, 3)]


def issues(*rows: tuple[str, int, str | None, int | None, str]) -> Issues:
    return Issues(
        name=Text.of([name for name, *_ in rows]),
        portfolio=np.array([portfolio for _, portfolio, *_ in rows], dtype=np.int32),
        symbol=Text.of([symbol for *_, symbol, _, _ in rows]),
        day=build.days([day for *_, day, _ in rows]),
        detail=Text.of([detail for *_, detail in rows]),
    )


def replace(result: BatchResult, **changes: Any) -> BatchResult:
    return BatchResult(**vars(result) | changes)


def report() -> BatchResult:
    return BatchResult(
        run_id="r",
        policy="rollforward",
        dry_run=False,
        portfolios=PortfolioResults(
            id=build.ids(IDS),
            status=np.array([0, FAILED, STATUSES.index("skipped")], dtype=np.uint8),
            sessions_planned=np.array([2, 2, 0], dtype=np.int32),
            sessions_written=np.array([2, 1, 0], dtype=np.int32),
        ),
        issues=issues(
            ("stale", -1, "AAA", MONDAY, "3 lot-sessions until 2026-01-07"),
            ("expired", 0, "OPT", MONDAY, "expiration_date"),
            ("non_finite", 1, "BAD", None, "quantity"),
            ("out_of_range", 1, None, MONDAY + 1, "daily_pnl = 100000000000000.00"),
            ("expired", 1, 'quote " and é', MONDAY, "expiration_date"),
        ),
        sessions=np.array([MONDAY, MONDAY + 1], dtype=np.int32),
        sessions_left_out=np.array([MONDAY + 5], dtype=np.int32),
        rows_written=3,
        statements_by_phase={"check": 2, "load": 8, "persist": 3},
        seconds_by_phase={"load": 0.25, "total": 1.5},
        rows_by_load={"prices": 7},
        bytes_written=99,
        cache=cache_stats(np.array([6, 3, 2, 1], dtype=np.int64)),
        coverage=Coverage(
            session=np.array([MONDAY, MONDAY + 1], dtype=np.int32),
            fresh=np.array([1, 0], dtype=np.uint32),
            recent=np.array([4, 0], dtype=np.uint32),
            known=np.array([4, 0], dtype=np.uint32),
        ),
        peak_memory_bytes=1,
        consistent=True,
        chunks=1,
    )
