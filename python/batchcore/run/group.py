"""All shards of a run, under one view of the database, with one report."""

from __future__ import annotations

import contextlib
import logging
import time
from collections import Counter
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Final, Generic, TypeVar

from batchcore import policies
from batchcore.errors import ConfigError, DatabaseError, InputError, LeaseHeldError, SchemaError
from batchcore.pg.ledger import Ledger, missed_since
from batchcore.pg.session import SharedView, snapshot, transaction
from batchcore.run.lease import question_of
from batchcore.run.merge import merged, shard_result
from batchcore.run.prepare import inspected
from batchcore.run.request import Request
from batchcore.run.result import BatchResult, keep_with, with_changes
from batchcore.run.together import SharedProgress, each

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from batchcore.pg.database import Database

Work = Callable[[Request], Awaitable[BatchResult]]
"""Does the run of a request wherever it likes, and calls its `progress`."""

End = TypeVar("End")
"""What work returns of a shard."""

log: Final = logging.getLogger("batchcore")


@contextlib.asynccontextmanager
async def hold_view(database: Database, first: Request) -> AsyncIterator[Request]:
    """Hold the moment of now for all shards; yield the request of the first as it begins.

    Its view is None where the server exports no snapshot. Who has it already keeps it when the
    connection is lost. The order of a request is held with it.
    """
    is_over, ledger = False, Ledger(first.settings.schema)
    kind = policies.entry(first.policy).load()
    try:
        async with database.writing("check") as session:
            async with transaction(session):
                catalog = await inspected(session, first, kind)
                since, continues = await missed_since(session), None
                if first.resume:
                    continues = await ledger.unfinished_group(session, question_of(first))
            async with snapshot(session, shared=True):
                exported = session.exported
                if first.order is not None:
                    await ledger.hold_order(session, first.order)
                first = replace(first, continues=continues)
                if exported is not None:
                    latest = await kind.load_latest(session, first, catalog)
                    first = replace(first, view=SharedView(exported, since), latest=latest)
                yield first
                is_over = True
    except DatabaseError as error:
        if not is_over:
            raise
        log.warning("snapshot=lost error=%r", str(error))


async def run_group(database: Database, request: Request, count: int, work: Work) -> BatchResult:
    """Return the report of all shards of a run, which ``work`` does side by side.

    Where one ends early, the others go on, and it can be tried again alone.

    Raises:
        BatchcoreError: the gravest of the errors that ended shards; `BatchResult.of_error` returns
            the report of all of them.
    """
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
    """Return the report of all shards that came to one."""
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


def _gravity(error: Exception) -> int:
    """Return how grave an error is: as its exit code, of 3, 2 and 4, the worst first."""
    if isinstance(error, ConfigError | InputError | SchemaError):
        return 2
    return 0 if isinstance(error, LeaseHeldError) else 1


@dataclass(slots=True)
class Group(Generic[End]):
    """The shards of one run.

    Attributes:
        ends: By number, how each has ended.
        held_s: How long they had a snapshot together.
    """

    database: Database
    request: Request
    count: int
    work: Callable[[Request], Awaitable[End]]
    ends: dict[int, End | BaseException] = field(default_factory=dict)
    held_s: float | None = None

    async def run(self) -> None:
        """Do all of them side by side, under one view.

        Raises:
            BatchcoreError: the gravest of the errors that ended shards.
        """
        await self._run()
        errors = [error for error in self.ends.values() if isinstance(error, Exception)]
        if errors:
            raise max(errors, key=_gravity)

    async def _run(self) -> None:
        progress = SharedProgress(self.request.progress)
        settings = self.request.settings
        first = replace(self.request, settings=replace(settings, shard=(1, self.count)))
        async with hold_view(self.database, first) as held:
            began = time.perf_counter()
            try:
                shards = {
                    number: replace(
                        held,
                        settings=replace(settings, shard=(number, self.count)),
                        progress=progress.of(number),
                    )
                    for number in range(1, self.count + 1)
                }
                await each(shards, self.work, self.ends, "shard")
            finally:
                if held.view is not None:
                    self.held_s = time.perf_counter() - began
