"""The steps of one chunk before it is written: computed, analysed, encoded, recorded."""

from __future__ import annotations

import datetime as dt
import os
import time
from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING, Final

import numpy as np

from batchcore.native import in_thread
from batchcore.run.analysis import ChunkInputs, last_sessions
from batchcore.run.bisection import issues_of, without
from batchcore.run.ledger_entry import entry_of
from batchcore.sinks.snapshots import Stamp, sha256_of

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from batchcore.frames import Issues, Opening, Rows
    from batchcore.policies.policy import ChunkFacts, ChunkLoad, ComputedChunk, Policy, RunPrices
    from batchcore.run.plan import Chunk
    from batchcore.run.request import Request

_EPOCH: Final = dt.datetime(1970, 1, 1, tzinfo=dt.UTC)


class StampClock:
    """Gives the stamp of each chunk; ids of a later one sort after those of one before."""

    def __init__(self, request: Request) -> None:
        self._moment_us = (request.now - _EPOCH) // dt.timedelta(microseconds=1)
        began = request.began or request.now
        self._began_ms = (began - _EPOCH) // dt.timedelta(milliseconds=1)
        self._made = time.monotonic()

    def stamp(self) -> Stamp:
        """Return what the new rows of a chunk share."""
        elapsed_ms = int((time.monotonic() - self._made) * 1000)
        return Stamp(self._moment_us, self._began_ms + elapsed_ms, os.urandom(16))


class ChunkSteps:
    """Computes the chunks of a run, as its policy says.

    Attributes:
        run_id: Of the run in the ledger; None where nothing is entered there.
        unwritten: What was noticed of chunks that write nothing.
    """

    def __init__(self, policy: Policy, run_id: str | None = None) -> None:
        self.policy = policy
        self.run_id = run_id
        self.unwritten: list[Issues] = []
        self._cancel = policy.cancel
        self._monitor = policy.monitor

    async def compute(self, loaded: ChunkLoad, prices: RunPrices | None) -> ComputedChunk | None:
        """Return what a chunk writes; None if there is nothing."""
        policy = self.policy
        noticed = policy.notice(loaded.chunk, loaded.existing)
        if loaded.facts is None or prices is None:
            self.unwritten += noticed
            return None
        opening = policy.plan.opening.take(loaded.chunk.rows)
        with self._monitor.phase("compute"):
            compute = partial(policy.compute, loaded.facts, opening, prices)
            rows = await in_thread(compute, self._cancel)
        analysed = None
        if prices.analysis is not None:
            with self._monitor.phase("analytics"):
                inputs = self._analytic_inputs(loaded.chunk, loaded.facts, opening, rows)
                analyse = partial(prices.analysis.analyse, inputs, self._cancel)
                analysed = await in_thread(analyse, self._cancel)
            every = prices.analysis.parts.level == "every"
            self._monitor.rows["analytics"] += len(rows) if every else int((rows.written > 0).sum())
        with self._monitor.phase("compute"):
            encode = partial(policy.encode, loaded, opening, rows, analysed, prices.analysis)
            return await in_thread(partial(self._encoded, encode, noticed), self._cancel)

    def _analytic_inputs(
        self, chunk: Chunk, facts: ChunkFacts, opening: Opening, rows: Rows
    ) -> ChunkInputs:
        last = last_sessions(self.policy.plan)[chunk.rows]
        latest = self.policy.plan.latest_day.take(chunk.rows)
        return ChunkInputs(
            book=facts.book,
            opening=opening,
            rows=rows,
            last_session=last,
            is_latest=(latest.state != 0) | (latest.values <= last),
            returns=facts.returns,
        )

    def _encoded(
        self, encode: Callable[[], ComputedChunk], noticed: Sequence[Issues]
    ) -> ComputedChunk:
        computed = encode()
        if self.run_id is None:
            return computed
        committed = self.policy.request.committed
        number = computed.chunk.number + (0 if committed is None else committed.chunks)
        first = computed.chunk.rows.start
        return self._recorded(replace(computed, noticed=[(one, first) for one in noticed]), number)

    def _recorded(self, item: ComputedChunk, number: int | None) -> ComputedChunk:
        """Return a chunk with what the ledger keeps of it, under the number that it has there."""
        if self.run_id is None or number is None:
            return item
        issues = [*item.noticed, *((part, 0) for part in (item.rows.issues, *item.issues))]
        ids, digest = self.policy.plan.id[item.chunk.rows], sha256_of(item.batches)
        entry = entry_of(self.run_id, number, ids, item.rows, issues, sha256=digest)
        return replace(item, entry=entry)

    async def without(self, item: ComputedChunk, refused: Mapping[int, str]) -> ComputedChunk:
        """Return a chunk without the portfolios that the database refused (S10).

        ``refused`` says why, by portfolio of the chunk.
        """
        return await in_thread(partial(self._without, item, refused), self._cancel)

    def _without(self, item: ComputedChunk, refused: Mapping[int, str]) -> ComputedChunk:
        gone = np.zeros(len(item.rows.failed), dtype=np.bool_)
        gone[list(refused)] = True
        left = replace(
            item,
            rows=without(item.rows, gone),
            issues=(*item.issues, issues_of(refused)),
        )
        return self._recorded(left, None if item.entry is None else item.entry.chunk)
