"""The chunks of a run, several side by side, and their totals."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np

from batchcore.frames import distinct
from batchcore.run.chunk import ChunkSteps
from batchcore.run.issues import not_replaced
from batchcore.run.prepare import load_prices
from batchcore.run.result import (
    FAILED,
    SKIPPED,
    Differences,
    PortfolioResults,
    cache_stats,
    joined_differences,
)
from batchcore.run.tasks import task_group
from batchcore.run.writing import ChunkWriter

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from batchcore.frames import Bools, Bytes, Int32, Rows
    from batchcore.pg.ledger import Lease, Planned
    from batchcore.pg.session_pool import SessionPool
    from batchcore.policies.policy import ComputedChunk, Policy, RunPrices
    from batchcore.run.plan import Chunk


class ChunkPipeline:
    """Loads, computes and writes the chunks of a plan."""

    def __init__(
        self,
        policy: Policy,
        own: tuple[Lease, Planned] | None,
        tick: Callable[[], None],
        prices: asyncio.Task[RunPrices | None] | None = None,
    ) -> None:
        """Take a policy with its plan, and the task that loads its prices, if it has begun already.

        ``own`` is None on a caller's connection or for a plan.
        """
        count = len(policy.plan.id)
        self.at = ("load", 0, len(policy.chunks))  # what `progress` is called with
        self.computes = not policy.request.only_plans and bool(policy.plan.works.any())
        self.status = np.full(count, SKIPPED, dtype=np.uint8)  # rows of `STATUSES`, so far
        if policy.refused is not None:
            self.status[policy.refused] = FAILED
        self.written = np.zeros(count, dtype=np.int32)  # sessions of each portfolio
        self.policy = policy
        self.steps = ChunkSteps(policy, None if own is None else own[0].run_id)
        self._computing = asyncio.Lock()  # native calls take all cores by themselves
        self.writer = ChunkWriter(self.steps, self._computing, own)
        self._tick = tick
        self._prices = prices
        self._dry = policy.settings.dry_run
        self._rows_written = 0
        self._bytes_written = 0
        self._marks = np.zeros(4, dtype=np.int64)
        self._differences: list[Differences] = []
        self._days_repaired: list[Int32] = [np.zeros(0, dtype=np.int32)]

    async def report_plan(self, readers: SessionPool) -> None:
        """Report the findings of a plan that is not computed."""
        await (self._prices or load_prices(readers, self.policy))
        async with readers.lend("load") as reader:
            self.steps.unwritten += await self.policy.report_all_existing(reader)

    async def run(self, readers: SessionPool, writers: SessionPool, lanes: int) -> None:
        """Load, compute and write the chunks, as many side by side as there are lanes."""
        # This bounds the memory. Prices are loaded while the first chunks load.
        chunks, prices = iter(self.policy.chunks), self._prices
        try:
            async with task_group() as tasks:
                if prices is None:
                    prices = tasks.create_task(load_prices(readers, self.policy))
                working = [
                    tasks.create_task(self._lane(chunks, prices, readers, writers))
                    for _ in range(lanes)
                ]
            for lane in working:
                lane.result()  # to a group, one that something in it cancelled is done
        finally:
            if prices is not None:  # which would otherwise fail by the cancel flag
                prices.cancel()

    async def _lane(
        self,
        chunks: Iterator[Chunk],
        prices: asyncio.Task[RunPrices | None],
        readers: SessionPool,
        writers: SessionPool,
    ) -> None:
        """Load, compute and write chunks, one after the other, always the next one."""
        step = self.policy.monitor.step
        for chunk in chunks:
            async with readers.lend("load") as reader:
                loaded = await self.policy.load_chunk(reader, chunk)
            step("loaded", chunk.number)
            priced = await prices
            async with self._computing:
                item = await self.steps.compute(loaded, priced)
            step("computed", chunk.number)
            del loaded
            if item is not None:
                async with writers.lend("persist") as writer:
                    written = item if self._dry else await self.writer.write(item, writer)
                if written is None:
                    self.steps.unwritten += [part for part, _ in item.noticed]
                else:
                    self._count(written)
                del written  # frees its bytes before the next chunk is loaded
            del item
            self.at = ("persist", self.at[1] + 1, len(self.policy.chunks))
            self._tick()

    def _count(self, item: ComputedChunk) -> None:
        rows, first, issues = item.rows, item.chunk.rows.start, self.policy.issues
        counts = self.policy.monitor.rows
        counts["compute"] += len(rows)
        if not self._dry:
            tables = sum(table.rows for batch in item.batches for table in batch.tables)
            counts["analytics"] += tables
            counts["persist"] += len(rows) + tables
            self._rows_written += len(rows)
            self._bytes_written += sum(batch.size_bytes for batch in item.batches)
        if item.differences is not None:
            found = item.differences
            self._differences.append(replace(found, portfolio=found.portfolio + np.int32(first)))
            self._days_repaired.append(distinct(rows.day))
        self._marks += rows.marks.sum(axis=0, dtype=np.int64)
        self.written[item.chunk.rows] = rows.written
        self.status[item.chunk.rows] = _statuses(rows, item.chunk.works & (not self._dry))
        for part in (rows.issues, *item.issues):
            issues.add(part, first)
        issues.add_misses(rows.misses)
        issues.shared.held.append(rows.held)
        if item.kept:
            issues.add(not_replaced(item.kept, self.policy.plan.id))

    def report(self) -> dict[str, Any]:
        """Return the attributes of `BatchResult` that the plan and its chunks determine."""
        policy, plan, days = self.policy, self.policy.plan, self.policy.days
        left_out = np.zeros(0, dtype=np.int32)
        if days.start is not None:
            left_out = policy.calendar.left_out(days.start, days.end)
        planned, sessions, found = plan.sessions_planned, plan.sessions[plan.sessions_run], None
        written = np.zeros_like(self.written) if self._dry else self.written
        if policy.request.repairs:
            planned, found = self.written, joined_differences(self._differences)
            sessions = distinct(np.concatenate(self._days_repaired))
        return {
            "portfolios": PortfolioResults(plan.id, self.status, planned, written),
            "sessions": sessions,
            "sessions_left_out": left_out,
            "rows_written": self._rows_written,
            "bytes_written": self._bytes_written,
            "cache": cache_stats(self._marks),
            "coverage": policy.coverage,
            "chunks": self.writer.written,
            "retries": self.writer.retries,
            "analytics_off": policy.analytics_off,
            "names": policy.names,
            "differences": found,
            "stamps": policy.stamps,
        }


def _statuses(rows: Rows, works: Bools) -> Bytes:
    """Return the worst mark of each portfolio's rows, or that it was skipped or failed."""
    status = np.zeros(len(works), dtype=np.uint8)
    for mark in range(1, 4):
        status[rows.portfolio[rows.marks[:, mark] > 0]] = mark
    status[~works] = SKIPPED
    status[rows.failed] = FAILED
    return status
