"""The steps of one chunk before it is written: computed, analysed, encoded, recorded."""

from __future__ import annotations

from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING

import numpy as np

from batchcore.run.analyse import ChunkInputs
from batchcore.run.analytic_inputs import last_sessions
from batchcore.run.entries import entry_of
from batchcore.run.refusals import issues_of, without
from batchcore.run.threads import in_thread
from batchcore.sinks.snapshots import sha256_of

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from batchcore.db.ledger import Entry
    from batchcore.frames import Issues, Opening, Rows
    from batchcore.policies.policy import ChunkFacts, ChunkLoad, ComputedChunk, Policy, Prices
    from batchcore.run.plan import Chunk
    from batchcore.sinks.snapshots import Batch


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

    async def compute(self, loaded: ChunkLoad, prices: Prices | None) -> ComputedChunk | None:
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
            return await in_thread(partial(self._entered, encode, noticed), self._cancel)

    def _analytic_inputs(
        self, chunk: Chunk, facts: ChunkFacts, opening: Opening, rows: Rows
    ) -> ChunkInputs:
        plan, own = self.policy.plan, chunk.rows
        last, latest = last_sessions(plan)[own], plan.latest_day
        later = (latest.state[own] == 0) & (latest.values[own] > last)
        return ChunkInputs(
            positions=facts.positions,
            events=facts.events,
            opening=opening,
            rows=rows,
            last_session=last,
            is_latest=~later,
            returns=facts.returns,
        )

    def _entered(
        self, encode: Callable[[], ComputedChunk], noticed: Sequence[Issues]
    ) -> ComputedChunk:
        """Return a chunk encoded, with what the ledger keeps of it."""
        computed = encode()
        if self.run_id is None:
            return computed
        first, rows = computed.chunk.rows.start, computed.rows
        recorded = [(part, first) for part in noticed]
        recorded += [(part, 0) for part in (rows.issues, *computed.issues)]
        computed = replace(computed, noticed=tuple(noticed), recorded=tuple(recorded))
        committed = self.policy.request.committed
        number = computed.chunk.number + (0 if committed is None else committed.chunks)
        return replace(computed, entry=self._entry(self.run_id, number, computed))

    def _entry(self, run_id: str, number: int, item: ComputedChunk) -> Entry:
        ids, digest = self.policy.plan.id[item.chunk.rows], sha256_of(item.batches)
        return entry_of(run_id, number, ids, item.rows, item.recorded, sha256=digest)

    async def without(
        self, item: ComputedChunk, refused: Mapping[int, str], written: Sequence[Batch]
    ) -> ComputedChunk:
        """Return a chunk as it was written, without the portfolios that the database refused.

        Args:
            item: The chunk.
            refused: Portfolio of the chunk -> why (S10).
            written: Its parts that were written.
        """
        return await in_thread(partial(self._without, item, refused, written), self._cancel)

    def _without(
        self, item: ComputedChunk, refused: Mapping[int, str], written: Sequence[Batch]
    ) -> ComputedChunk:
        gone = np.zeros(len(item.rows.failed), dtype=np.bool_)
        gone[list(refused)] = True
        issues = issues_of(refused)
        left = replace(
            item,
            batches=tuple(written),
            rows=without(item.rows, gone),
            issues=(*item.issues, issues),
            recorded=(*item.recorded, (issues, 0)),
        )
        if self.run_id is None or item.entry is None:
            return left
        return replace(left, entry=self._entry(self.run_id, item.entry.chunk, left))
