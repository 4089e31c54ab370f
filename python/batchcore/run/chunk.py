"""The steps of one chunk before it is written: computed, analysed, encoded, recorded."""

from __future__ import annotations

import datetime as dt
import os
import time
from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING, Any, Final

import numpy as np

from batchcore.calendar import date_of
from batchcore.frames import Integers, Issues, Text, distinct, first_of_each, taken
from batchcore.native import in_thread
from batchcore.pg.ledger import ISSUES, SYMBOL_ISSUES, ChunkEntry, IssueRows, encode_issues
from batchcore.run.analysis import ChunkInputs
from batchcore.run.result import EPOCH
from batchcore.sinks.snapshots import Stamp, sha256_of

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from batchcore.frames import Bools, Ids
    from batchcore.policies.policy import ChunkLoad, ComputedChunk, Policy, RunPrices
    from batchcore.run.request import Request

FAILED: Final = "failed"
"""The issue of a portfolio that failed without any other issue."""

REFUSED: Final = "refused_by_database"
"""The issue of a portfolio that the database refuses (S10)."""


def stamp_clock(request: Request) -> Callable[[], Stamp]:
    """Return the function that stamps the new rows of a chunk, with ascending ids."""
    moment_us = (request.now - EPOCH) // dt.timedelta(microseconds=1)
    began_ms = ((request.began or request.now) - EPOCH) // dt.timedelta(milliseconds=1)
    made = time.monotonic()

    def stamp() -> Stamp:
        elapsed_ms = int((time.monotonic() - made) * 1000)
        return Stamp(moment_us, began_ms + elapsed_ms, os.urandom(16))

    return stamp


class ChunkSteps:
    """Computes the chunks of a run by its policy."""

    def __init__(self, policy: Policy, run_id: str | None = None) -> None:
        """Take a policy, and the id of its run if the ledger records its chunks."""
        self.policy = policy
        self.run_id = run_id
        self.unwritten: list[Issues] = [*policy.issues.parts]  # of the plan rather than of a chunk
        self._cancel = policy.cancel
        self._monitor = policy.monitor

    async def compute(self, loaded: ChunkLoad, prices: RunPrices | None) -> ComputedChunk | None:
        """Return the rows that a chunk writes; None if there are none."""
        policy, plan, facts = self.policy, self.policy.plan, loaded.facts
        noticed = policy.report_existing(loaded.chunk, loaded.existing)
        if facts is None or prices is None:
            self.unwritten += noticed
            return None
        opening = plan.opening.take(loaded.chunk.rows)
        with self._monitor.phase("compute"):
            compute = partial(policy.compute, facts, opening, prices)
            rows = await in_thread(compute, self._cancel)
        analysed = None
        if prices.analysis is not None:
            last = plan.last_session[loaded.chunk.rows]
            latest = plan.latest_day.take(loaded.chunk.rows)
            inputs = ChunkInputs(
                book=facts.book,
                opening=opening,
                rows=rows,
                last_session=last,
                is_latest=(latest.state != 0) | (latest.values <= last),
                returns=facts.returns,
            )
            with self._monitor.phase("analytics"):
                analyse = partial(prices.analysis.analyse, inputs, self._cancel)
                analysed = await in_thread(analyse, self._cancel)
            every = prices.analysis.parts.level == "every"
            self._monitor.rows["analytics"] += len(rows) if every else int((rows.written > 0).sum())
        first = loaded.chunk.rows.start

        def encode() -> ComputedChunk:
            computed = policy.encode(loaded, opening, rows, analysed, prices.analysis)
            return self._recorded(replace(computed, noticed=[(one, first) for one in noticed]))

        with self._monitor.phase("compute"):
            return await in_thread(encode, self._cancel)

    def _recorded(self, item: ComputedChunk) -> ComputedChunk:
        """Return a chunk with its entry of the ledger, numbered after those of earlier attempts."""
        if self.run_id is None:
            return item
        number, committed = item.chunk.number, self.policy.request.committed
        number += 0 if committed is None else committed.chunks
        rows, ids = item.rows, self.policy.plan.id[item.chunk.rows]
        sessions = distinct(rows.day)
        issues = [*item.noticed, *((part, 0) for part in (rows.issues, *item.issues))]
        columns = issue_columns(ids, rows.failed, issues)
        entry = ChunkEntry(
            chunk=number,
            first=ids[0].tobytes(),
            last=ids[-1].tobytes(),
            first_session=date_of(int(sessions[0])) if len(sessions) else None,
            last_session=date_of(int(sessions[-1])) if len(sessions) else None,
            sessions=len(sessions),
            rows=len(rows),
            failed=int(np.count_nonzero(rows.failed)),
            issues=encode_issues(ISSUES, self.run_id, number, columns),
            sha256=sha256_of(item.batches),
        )
        return replace(item, entry=entry)

    def unwritten_issues(self, run_id: str, attempt: int) -> IssueRows:
        """Return, for the ledger, the issues of portfolios outside the chunks written."""
        ids, refused = self.policy.plan.id, self.policy.refused
        if refused is None:
            refused = np.zeros(len(ids), dtype=np.bool_)
        columns = issue_columns(ids, refused, [(part, 0) for part in self.unwritten])
        return encode_issues(ISSUES, run_id, -attempt, columns)

    async def without(self, item: ComputedChunk, refused: Mapping[int, str]) -> ComputedChunk:
        """Return a chunk without the portfolios that the database refused, and the issues (S10)."""
        return await in_thread(partial(self._without, item, refused), self._cancel)

    def _without(self, item: ComputedChunk, refused: Mapping[int, str]) -> ComputedChunk:
        rows, portfolios = item.rows, sorted(refused)
        gone = np.zeros(len(rows.failed), dtype=np.bool_)
        gone[portfolios] = True
        kept = replace(
            rows.take(np.flatnonzero(~gone[rows.portfolio])),
            written=np.where(gone, 0, rows.written).astype(np.int32),
            failed=rows.failed | gone,
        )
        reasons = Issues.of(REFUSED, portfolios, detail=[refused[one] for one in portfolios])
        left = replace(item, rows=kept, issues=(*item.issues, reasons))
        return self._recorded(left)


def symbol_issue_rows(run_id: str, attempt: int, issues: Issues) -> IssueRows:
    """Return the issues that concern no portfolio: one row for each name and symbol."""
    # Issues without a symbol, such as `bad_rate`, have the empty one: the column takes no NULL.
    shared = issues.take(np.flatnonzero(issues.portfolio < 0))
    symbols = ["" if symbol is None else symbol for symbol in shared.symbol.texts()]
    shared = replace(shared, symbol=Text.of(symbols))
    columns, _ = _first_of_each(shared, shared.symbol.codes)
    return encode_issues(SYMBOL_ISSUES, run_id, attempt, columns)


def issue_columns(ids: Ids, failed: Bools, issues: Sequence[tuple[Issues, int]]) -> dict[str, Any]:
    """Return a row for each portfolio and name of issues; a failed portfolio has at least one.

    Each part comes with the number that the first of ``ids`` has among its portfolios.
    """
    parts = [replace(part, portfolio=part.portfolio - np.int32(start)) for part, start in issues]
    unnamed = failed.copy()
    for part in parts:
        unnamed[part.portfolio[part.portfolio >= 0]] = False
    lone = np.flatnonzero(unnamed).astype(np.int32)
    every = Issues.concat([*parts, Issues.of(FAILED, lone, detail=None)])
    own = every.take(np.flatnonzero(every.portfolio >= 0))
    columns, portfolio = _first_of_each(own, own.portfolio)
    return {"portfolio_id": taken(ids, portfolio), "failed": failed[portfolio], **columns}


def _first_of_each(issues: Issues, whose: Any) -> tuple[dict[str, Any], Any]:  # noqa: ANN401  # rows
    """Return the columns of the first issue of each name and owner, and the owners."""
    key = whose.astype(np.int64) * len(issues.name.offsets) + issues.name.codes
    row, count = first_of_each(key)
    first = issues.take(row)
    columns = {
        "name": first.name,
        "count": Integers(count.astype(np.int32)),
        "symbol": first.symbol,
        "session": first.day,
        "detail": first.detail,
    }
    return columns, whose[row]
