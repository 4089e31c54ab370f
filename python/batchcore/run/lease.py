"""The lease of a run: how it is taken, renewed by a heartbeat and given back; locks of others."""

from __future__ import annotations

import asyncio
import contextlib
import datetime as dt
import hashlib
import json
import logging
import os
import platform
from dataclasses import replace
from typing import TYPE_CHECKING, Any, Final

from batchcore import about
from batchcore.calendar import PRICES, day_of
from batchcore.config import INCEPTION, Settings
from batchcore.declared import CONFIGURATION, FINGERPRINT
from batchcore.errors import DatabaseError, LeaseHeldError
from batchcore.options import recorded
from batchcore.pg.ledger import LIVES, Lease, Ledger, RunSpec, ShardGroup, taken_over
from batchcore.pg.session import Session, transaction
from batchcore.run.prepare import calendar_of, last_closed

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable, Iterator

    from batchcore.db.catalog import Catalog
    from batchcore.pg.database import Database
    from batchcore.run.request import Request

PHASE: Final = "ledger"
"""The phase of statements that only touch the ledger."""

BEATS: Final = 6
"""Heartbeats in the time of a lease."""

ACQUIRE_IDLE_MS: Final = 10_000
"""Idle-in-transaction limit while taking a lease, during which no other run can start."""

WAIT_POLL_S: Final = 0.5
"""Seconds between two checks whether the awaited run is still alive."""

END_S: Final = 0.7
"""Seconds for which a stopped run tries to record its end."""

LATE_S: Final = 5.0
"""Seconds that a step may take before the server is asked whether it waits for a lock."""

_LATER: Final = frozenset(
    {"checks", "max_move", "frozen_sessions", "max_missing", "fx_lookback_days", "fx_pivot"}
)
"""Options added after the first ledgers: their defaults do not change a fingerprint."""

log: Final = logging.getLogger("batchcore")


def run_spec(request: Request) -> RunSpec:
    """Return the request of a run, in the form that the ledger keeps."""
    settings, schema, calendar = request.settings, request.settings.schema, request.known_calendar
    start = None if request.start is None else request.start.isoformat()
    asked: dict[str, Any] = {
        **recorded(request, FINGERPRINT),
        **recorded(settings, FINGERPRINT),
        "calendar": PRICES if calendar is None else calendar.code,
        "start": INCEPTION if request.inception else start,
        "end": None if request.end is None else request.end.isoformat(),
        "repairs": request.repairs,
        "prices_given": request.price_source is not None,
        "snapshots_given": request.snapshot_source is not None,
    }
    for names in ("tables", "columns", "scales", "factors"):
        asked[names] = dict(getattr(schema, names))
    if schema.price_sources:
        asked["price_sources"] = list(schema.price_sources)
    asked |= {name: table.as_dict() for name, table in schema.mapped.items()}
    before = recorded(Settings(), FINGERPRINT)
    later = {name for name in _LATER if asked[name] == before[name]}
    compared = {name: value for name, value in asked.items() if name not in later}
    digest = hashlib.sha256(json.dumps(compared, sort_keys=True).encode())
    if request.wanted is not None:
        digest.update(b"portfolios")
        digest.update(request.wanted.tobytes())
    process: dict[str, Any] = {"host": platform.node(), "pid": os.getpid()}
    if request.order is not None:
        process["order"] = request.order
    return RunSpec(
        fingerprint=digest.hexdigest(),
        document=_as_jsonb(asked),
        portfolio_ids=request.own,
        configuration=_as_jsonb(recorded(settings, CONFIGURATION) | process),
        process=_as_jsonb(process),
        code_version=about.core_version,
        lease_ms=settings.lease_seconds * 1000,
        today=settings.today if request.end is None else None,
        shard=settings.shard,
        changed_since=None if request.view is None else request.view.changed_since,
        continues=request.continues,
    )


def _as_jsonb(document: dict[str, Any]) -> str:
    """Return a document without escapes, as jsonb refuses those that it cannot convert."""
    return json.dumps(document, sort_keys=True, ensure_ascii=False)


def with_original_dates(request: Request, lease: Lease) -> Request:
    """Return a request with the dates of its run's first attempt."""
    request = replace(request, moment=lease.moment, began=lease.began)
    if lease.attempt == 1:
        return request
    today = json.loads(lease.configuration)["today"]
    return replace(
        request,
        # A repair without an end goes to the latest snapshots, not to the last closed session.
        end=request.end or (None if request.repairs else lease.end),
        settings=replace(
            request.settings, today=None if today is None else dt.date.fromisoformat(today)
        ),
    )


class LockWatch:
    """Reports the locks that a late run waits for, and their holders; others ask nothing."""

    def __init__(self) -> None:
        self._late: set[int] = set()
        self._holding: set[int] = set()
        self._reported: set[tuple[int, int]] = set()
        self._wakes = asyncio.Event()

    @contextlib.contextmanager
    def around(self, session: Session, *, holds: bool = False) -> Iterator[None]:
        """Watch over a step on a session, which may be one that ``holds`` locks until the end."""
        pid = 0 if session.is_gone else session.raw.get_server_pid()
        if holds:  # a pooler hides whose process it is, until the server was asked
            self._holding.add(session.pid or pid)
        timer = asyncio.get_running_loop().call_later(LATE_S, self._is_late, pid)
        try:
            yield
        finally:
            timer.cancel()
            self._late.discard(pid)
            self._reported = {pair for pair in self._reported if pair[0] != pid}

    def _is_late(self, pid: int) -> None:
        self._late.add(pid)
        self._wakes.set()

    async def sleep(self, seconds: float) -> float:
        """Sleep until there is something to `report`, or for a time; return the seconds left."""
        loop = asyncio.get_running_loop()
        until = loop.time() + seconds
        self._wakes.clear()
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(min(seconds, LATE_S) if self._late else seconds):
                await self._wakes.wait()
        return max(until - loop.time(), 0.0)

    @contextlib.asynccontextmanager
    async def before_lease(
        self, session: Session, database: Database, ledger: Ledger, run_id: str
    ) -> AsyncIterator[None]:
        """Watch over a step before there is a heartbeat; once it is late, on a new connection."""
        task = asyncio.create_task(self._watch(database, ledger, run_id))
        try:
            with self.around(session):
                yield
        finally:
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)

    async def _watch(self, database: Database, ledger: Ledger, run_id: str) -> None:
        await self._wakes.wait()
        async with database.writing("ledger") as session:
            while True:
                await self.report(session, ledger, run_id)
                await self.sleep(LATE_S)

    async def report(
        self, session: Session, ledger: Ledger, run_id: str, token: int | None = None
    ) -> DatabaseError | None:
        """Log the processes that hold up a late step, each once.

        Return the error of a run that waits for itself: others wait for what it has read, and it
        waits behind them. The server does not see that, for the run reads and writes on several
        connections.
        """
        late = sorted(self._late)  # a step may end before the server is asked
        if not late:
            return None
        async with transaction(session):
            blocked = await ledger.blocked(session, late, self._holding, token)
        for found in blocked:
            if (found.pid, found.holder) in self._reported:
                continue
            self._reported.add((found.pid, found.holder))
            log.warning(
                "run=%s waiting_for_lock=true pid=%d holder=%d user=%s application=%r state=%r"
                " transaction_s=%.0f",
                run_id,
                found.pid,
                found.holder,
                found.user,
                found.application,
                found.state,
                found.age_s or 0.0,
            )
        for found in blocked:
            if found.is_circular:
                msg = (
                    f"deadlock: process {found.holder} (user {found.user}, application"
                    f" {found.application!r}) waits for a lock on what this run reads, and the run"
                    " waits behind it, so the run has given way: run again to continue"
                )
                return DatabaseError(msg, "40P01")  # deadlock_detected
        return None


class LeaseHolder:
    """Takes the lease of a run, renews it and gives it back."""

    def __init__(self, request: Request, run_id: str) -> None:
        """Take a request, and the id of the run if it continues no earlier one."""
        self.spec = run_spec(request)
        self.ledger = Ledger(request.settings.schema)
        self._run_id = run_id
        self._request = request
        self._wait_until: float | None = None
        self._given_up: list[int] = []

    async def acquire(self, session: Session, catalog: Catalog) -> Lease:
        """Return the lease of the run, in a transaction that is committed before `end_replaced`."""
        found = await self.ledger.related_runs(session, self.spec)
        order = self._request.order
        if order is not None and not await self.ledger.is_order_locked(session, order):
            msg = (
                "the call of run_on that this shard was begun for has ended, or has lost its"
                " connection to the database: run again to continue"
            )
            raise LeaseHeldError(msg)
        for other in found:
            if other.state == LIVES and other.alive:
                until = f"{other.until.astimezone(dt.UTC):%Y-%m-%dT%H:%M:%SZ}"
                msg = (
                    f"run {other.run_id} is already processing some of these portfolios (its lease"
                    f" expires at {until}): wait for it to end (--wait), or see `batchcore status`"
                )
                raise LeaseHeldError(msg, other.run_id)
        same = [run for run in found if run.same and self._request.resume][:1]
        gone = [run for run in found if run.state == LIVES and run not in same]
        self._given_up = [run.token for run in (*same, *gone)]
        if self._given_up:
            # One that waits for its client would keep its row of the ledger locked.
            await self.ledger.end_transactions(session, self._given_up)
        if gone:
            await self.ledger.supersede(session, [run.run_id for run in gone])
        for run in gone:
            log.warning("run=%s state=superseded", run.run_id)
        if same:
            return await self.ledger.take_over(session, same[0].run_id, self.spec)
        group = await self._group(session, catalog)
        return await self.ledger.begin(session, self.spec, self._run_id, group)

    async def _group(self, session: Session, catalog: Catalog) -> ShardGroup | None:
        """Return the group of a shard; None if it begins one."""
        # A shard that the latest group lacks belongs to it, however late it is. A shard that the
        # group has already belongs to another night once a session has closed that the group does
        # not reach.
        group, request = await self.ledger.latest_group(session, self.spec), self._request
        if group is None or not group.has_shard or group.end is None or request.end is not None:
            return group
        calendar = await calendar_of(session, request, catalog)
        closed = last_closed(replace(request, moment=group.now), calendar)
        return None if closed > day_of(group.end) else group

    async def wait_for(self, session: Session, held: LeaseHeldError) -> None:
        """Wait, outside a transaction, until the run that blocks this one has ended."""
        wait = self._request.wait
        if not wait:
            raise held
        clock = asyncio.get_running_loop().time
        if self._wait_until is None:
            self._wait_until = clock() + wait
        log.warning("run=%s waiting_for_run=%s seconds=%g", self._run_id, held.run_id, wait)
        while True:
            async with transaction(session):
                if not await self.ledger.is_alive(session, held.run_id):
                    return
            left = self._wait_until - clock()
            if left <= 0:
                msg = f"gave up after {wait:g} s: {held}"
                raise LeaseHeldError(msg, held.run_id) from held
            await asyncio.sleep(min(WAIT_POLL_S, left))

    async def end_replaced(self, session: Session) -> None:
        """End open transactions of replaced runs, once the lease is committed."""
        if self._given_up:
            async with transaction(session):
                await self.ledger.await_end(session, self._given_up)

    async def beat(self, database: Database, lease: Lease, waits: LockWatch) -> None:
        """Renew the lease until the task is cancelled, on a connection of its own."""
        # The connection is opened for the first beat, or to ask which lock the run waits for, so a
        # short run opens none. If it fails, or the server has closed it while it was idle, another
        # is opened: the token protects the data, not the heartbeat.
        pause, held = lease.lease_ms / 1000 / BEATS, True
        deadlock: DatabaseError | None = None
        ahead = await waits.sleep(pause)
        while held:
            try:
                async with database.writing(PHASE) as session:
                    while held and not session.is_gone:  # the server may close one that is idle
                        deadlock = await waits.report(
                            session, self.ledger, lease.run_id, lease.token
                        )
                        if deadlock is not None:
                            break
                        if not ahead:
                            held = await self.ledger.beat(session, lease)
                        if held:
                            ahead = await waits.sleep(ahead or pause)
            except DatabaseError as error:
                log.warning("run=%s heartbeat=failed error=%r", lease.run_id, str(error))
                await asyncio.sleep(pause)
                ahead = 0.0
            if deadlock is not None:
                raise deadlock
        raise taken_over(lease)


async def finish_despite_cancellation(run_id: str, work: Callable[[], Awaitable[None]]) -> None:
    """Record the end of a run within `END_S`, even if this task is cancelled meanwhile."""

    async def attempt() -> None:
        try:
            async with asyncio.timeout(END_S):
                await work()
        # The cause of the stop matters more, and asyncpg raises all kinds of errors for a
        # connection that was cut off meanwhile.
        except Exception as error:  # noqa: BLE001
            log.warning("run=%s ledger=unfinished error=%r", run_id, str(error))

    task = asyncio.create_task(attempt())
    cancelled: asyncio.CancelledError | None = None
    while not task.done():
        try:
            await asyncio.wait([task])
        except asyncio.CancelledError as error:
            cancelled = error
    if cancelled is not None:
        raise cancelled
