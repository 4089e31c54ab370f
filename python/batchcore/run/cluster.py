"""All shards of a run as tasks of a Dask cluster (extra `dask`).

Dask may give a shard to a second worker when the first is lost, or only seems lost. So each worker
first looks into the ledger, where a run has the id of the call that it works for, its order.
"""

from __future__ import annotations

import asyncio
import contextlib
import datetime as dt
import pickle
import uuid
from collections.abc import Callable, Coroutine, Iterable, Sequence
from concurrent.futures import CancelledError as FutureCancelledError
from dataclasses import dataclass, field, fields, replace
from functools import partial
from typing import TYPE_CHECKING, Any, Final, Literal, TypeVar, Unpack, cast

from batchcore import about
from batchcore.config import MOST_SHARDS, Schema, shard_text
from batchcore.errors import (
    BatchcoreError,
    ConfigError,
    InternalError,
    LeaseHeldError,
    ProcessDiedError,
)
from batchcore.late_imports import imported
from batchcore.options import RunKeywords, RunOptions  # noqa: TC001  # callers may look at types
from batchcore.pg.database import Database
from batchcore.pg.ledger import LIVES, Ledger
from batchcore.pg.session import transaction
from batchcore.run.batch import run_up_to_now
from batchcore.run.group import STATES, Group, shard_result
from batchcore.run.lease import ACQUIRE_IDLE_MS, PHASE, WAIT_POLL_S, finish_despite_cancellation
from batchcore.run.request import Request, requested
from batchcore.run.result import KEPT as KEPT_RESULT
from batchcore.run.result import BatchResult, ShardResult, kept
from batchcore.run.status import RunStatus, run_of, shard_of

if TYPE_CHECKING:
    from distributed import Client

    from batchcore.options import Progress
    from batchcore.shards import Shard
else:
    Client = Any  # an extra, imported for type annotations only

Value = TypeVar("Value")

EXTRA: Final = "run_on needs the extra `dask`: pip install 'batchcore[dask]'"

PACKAGE: Final = "batchcore"

VERSIONS_S: Final = 5.0
"""Seconds that a cluster may take to report its versions; a stopped worker reports none."""

TOPIC: Final = "batchcore"
"""Topic of the events by which workers report their progress."""

KEPT: Final = "batchcore_group"
"""The attribute of an exception that holds the report of the shards that it ended."""

KEPT_END: Final = "batchcore_shard"
"""The attribute of an exception that holds the end of its shard."""

_listeners: Final[dict[tuple[str, int], Callable[[str, int, int], object]]] = {}
"""In the process of a client: the progress callbacks by order and shard."""


@dataclass(frozen=True, slots=True, kw_only=True)
class GroupResult:
    """The report of a run on a cluster, in counts; `runs(db, group=...)` has the rest.

    Attributes:
        group: The id that the shards share in the ledger; None if no shard has begun.
        state: The worst of the shards: `complete`, `incomplete`, `interrupted` or `failed`.
        portfolios: Number of portfolios of the shards.
        failed: Number of them that failed.
        rows_written: Number of snapshots written.
        consistent: Whether all shards saw one snapshot of the database.
        snapshot_seconds: How long the snapshot that all of them read was held, and held vacuum
            back; None where each had its own.
        shards: The end of each shard, by number.
    """

    group: str | None
    state: str
    portfolios: int
    failed: int
    rows_written: int
    consistent: bool
    snapshot_seconds: float | None
    shards: tuple[ShardResult, ...]

    @classmethod
    def of_error(cls, error: BaseException) -> GroupResult | None:
        """Return the report until an error ended `run_on`; None if no shard had begun."""
        return cast("GroupResult | None", kept(error, KEPT))

    @property
    def success(self) -> bool:
        """Whether every shard finished, and no portfolio failed."""
        return self.state == "complete"

    def to_dict(self) -> dict[str, Any]:
        """Return the report as a value for JSON."""
        shown = {one.name: getattr(self, one.name) for one in fields(self)}
        shards = [one.to_dict() for one in self.shards]
        return {**shown, "success": self.success, "shards": shards}


@dataclass(frozen=True, slots=True)
class Order:
    """The argument of the task of a shard; ``wants_progress`` is whether to report progress."""

    id: str
    shard: Shard
    version: str  # another version might read the rest differently
    packed: bytes = field(repr=False)  # URL and request; Dask logs an order where a task fails
    wants_progress: bool


@dataclass(frozen=True, slots=True)
class Ended:
    """The result of the task of a shard: counts, its group, and the error that ended it early."""

    shard: ShardResult
    group: str | None = None
    error: Exception | None = None


async def run_on(
    client: Client,
    db: str,
    start_date: dt.date | Literal["inception"] | None = None,
    end_date: dt.date | None = None,
    portfolio_ids: Iterable[uuid.UUID | str] | None = None,
    *,
    shards: int,
    options: RunOptions | None = None,
    **overrides: Unpack[RunKeywords],
) -> GroupResult:
    """Roll portfolios forward as `run_batch` does, in shards that are tasks of a Dask cluster.

    All of them read one snapshot of the database, which this call holds. Each worker opens its own
    connections and computes a shard in `Settings.threads` threads, by default in one. If this call
    is cancelled, or the cluster gives up a shard, it ends the leases of shards that are still
    running: they write nothing more, and the same call continues them.

    Args:
        client: A connected `distributed.Client`, asynchronous or not, on this event loop or one of
            its own.
        db: A database URL, which must name the same database for each worker.
        start_date: As in `run_batch`.
        end_date: Likewise.
        portfolio_ids: Likewise.
        shards: Number of tasks; workers take one after the other.
        options: The options of the run; None is all defaults.
        **overrides: Options that override those: each attribute of `RunOptions` is a keyword.

    Returns:
        The report.

    Raises:
        ConfigError: an argument is wrong, the extra `dask` is missing, or a worker has another
            version of batchcore, or none.
        ProcessDiedError: the workers of a shard died, or the scheduler is gone.
        BatchcoreError: what `run_batch` raises: the gravest of the errors that ended shards;
            `GroupResult.of_error` returns the report.
    """
    await _check_client(client)
    if not isinstance(db, str):
        msg = f"db is of type {type(db).__name__}, expected a URL: each worker connects by itself"
        raise ConfigError(msg, "db")
    if type(shards) is not int or not 1 <= shards <= MOST_SHARDS:
        raise ConfigError(f"shards is {shards!r}, expected 1 to {MOST_SHARDS}", "shards")
    asked = await requested(start_date, end_date, portfolio_ids, options, **overrides)
    for name in ("shard", "dry_run"):
        if getattr(asked.settings, name):
            raise ConfigError(f"{name} does not go with run_on: call run_batch", name)
    threads = asked.settings.threads or 1
    asked = replace(asked, settings=replace(asked.settings, threads=threads))
    schema, call = asked.settings.schema, _Call(client, db)
    await call.check()
    group = Group(Database(db), replace(asked, order=call.id), shards, call.work)
    try:
        await group.run()
    except BaseException as error:
        if group.ends:
            vars(error)[KEPT] = _report(group)
        await finish_despite_cancellation(call.id, partial(_end_leases, db, schema, call.id))
        raise
    return _report(group)


def _report(group: Group[Ended]) -> GroupResult:
    """Return the ends of all shards, by the reports of workers or the errors here."""
    shards: list[ShardResult] = []
    groups: list[str | None] = []
    for number, end in sorted(group.ends.items()):
        report = kept(end, KEPT_END) if isinstance(end, BaseException) else end
        if isinstance(report, Ended):
            shards.append(report.shard)
            groups.append(report.group)
        elif isinstance(end, BaseException):
            shards.append(shard_result((number, group.count), None, end))
    return GroupResult(
        group=next(filter(None, groups), None),
        state=max((one.state for one in shards), key=STATES.index),
        portfolios=sum(one.portfolios for one in shards),
        failed=sum(one.failed for one in shards),
        rows_written=sum(one.rows_written for one in shards),
        consistent=group.held_s is not None and all(one.consistent for one in shards),
        snapshot_seconds=group.held_s,
        shards=tuple(shards),
    )


async def _check_client(client: object) -> None:
    """Raise an error unless the client can be used from here."""
    try:
        distributed = await imported("distributed")
    except ImportError as error:
        raise ConfigError(f"{EXTRA}; {error}", "client") from error
    if not isinstance(client, distributed.Client):
        found = f"{type(client).__module__}.{type(client).__qualname__}"
        raise ConfigError(f"client is a {found}, expected a distributed.Client", "client")
    if client.status != "running":
        msg = f"client is {client.status}, expected one that is connected"
        raise ConfigError(msg, "client")
    if not client.loop.asyncio_loop.is_running():
        raise ConfigError("client belongs to an event loop that has ended", "client")


@dataclass(frozen=True, slots=True)
class _Call:
    """One call of `run_on`; its tasks work for the order `id`."""

    client: Client
    url: str
    id: str = field(default_factory=lambda: str(uuid.uuid4()))

    async def check(self) -> None:
        """Raise an error for workers with another version, or none; ignore missing answers."""

        async def versions() -> Any:  # noqa: ANN401  # a JSON document
            return await self.client.get_versions(packages=[PACKAGE])

        try:
            async with asyncio.timeout(VERSIONS_S):
                found = await self._in_loop(versions())
        except TimeoutError:
            return
        workers = {f"worker {address}": one for address, one in found["workers"].items()}
        for who, installed in (workers | {"scheduler": found["scheduler"]}).items():
            if (version := installed["packages"][PACKAGE]) != about.core_version:
                raise _other_version(who, version)

    async def work(self, request: Request) -> Ended:
        """Return the end of the task of a shard, and call `progress` meanwhile."""
        shard, progress = cast("Shard", request.settings.shard), request.progress
        packed = pickle.dumps((self.url, replace(request, progress=None)))
        order = Order(
            self.id, shard, about.core_version, packed, wants_progress=progress is not None
        )
        loop, broken = asyncio.get_running_loop(), list[BaseException]()
        task = loop.create_task(self._in_loop(self._submit(order)))

        def report_progress(*at: Any) -> None:  # noqa: ANN401  # of `Progress`
            try:
                if progress is not None:
                    progress(*at)
            except BaseException as error:  # noqa: BLE001  # raised below
                broken.append(error)
                task.cancel()

        _listeners[self.id, shard[0]] = partial(loop.call_soon_threadsafe, report_progress)
        try:
            ended = await task
        except asyncio.CancelledError as error:
            raise broken[0] if broken else error from None
        finally:
            del _listeners[self.id, shard[0]]
        if ended.error is not None:
            vars(ended.error)[KEPT_END] = ended
            raise ended.error
        return ended

    async def _in_loop(self, call: Coroutine[Any, Any, Value]) -> Value:
        """Await a call in the event loop of the client, where all its methods can be awaited."""
        loop = self.client.loop.asyncio_loop
        return await asyncio.wrap_future(asyncio.run_coroutine_threadsafe(call, loop))

    async def _submit(self, order: Order) -> Ended:
        from distributed import KilledWorker  # noqa: PLC0415  # an extra

        if order.wants_progress:
            self.client.subscribe_topic(TOPIC, _forward_progress)
        future = self.client.submit(run_shard, order, pure=False)
        name = shard_text(order.shard)
        try:
            return cast("Ended", await future)
        except (KilledWorker, FutureCancelledError, OSError) as error:
            msg = f"the cluster gave up shard {name}: run again to continue ({error})"
            raise ProcessDiedError(msg, order.shard) from error
        except (ImportError, AttributeError, RuntimeError) as error:  # unpickling the task
            why = " ".join(str(error).split())
            msg = f"the cluster cannot load batchcore {order.version} as it is here ({why})"
            raise ConfigError(msg, "client") from error
        finally:
            future.release()


def _other_version(who: str, found: str | None, expected: str | None = None) -> ConfigError:
    has = "no batchcore" if found is None else f"batchcore {found}"
    wanted = expected or about.core_version
    return ConfigError(f"the {who} has {has}, expected {wanted} as it is here", "client")


def _forward_progress(event: tuple[float, Sequence[Any]]) -> None:
    order, number, *at = event[1]
    listener = _listeners.get((order, number))
    if listener is not None:
        listener(*at)


async def _end_leases(url: str, schema: Schema, order: str) -> None:
    """End the leases of the running runs of an order, as if they were interrupted."""
    # Their workers notice at their next write or heartbeat.
    ledger = Ledger(schema)
    async with Database(url).writing(PHASE) as session:
        async with transaction(session, idle_ms=ACQUIRE_IDLE_MS):
            await ledger.lock(session)
            every = await ledger.of_order(session, order)
            runs = [row for row in every if row["state"] in {LIVES, "stuck"}]
            if not runs:
                return
            tokens = [row["token"] for row in runs]
            await ledger.end_transactions(session, tokens)
            await ledger.supersede(session, [row["run_id"] for row in runs], "interrupted")
        await ledger.await_end(session, tokens)


def run_shard(order: Order) -> Ended:
    """Return the end of a shard, in a thread of a worker."""
    from distributed import get_worker  # noqa: PLC0415  # an extra

    worker = get_worker()
    if order.version != about.core_version:  # of a worker that came later
        error = _other_version(f"worker {worker.address}", about.core_version, order.version)
        return _ended_by(order.shard, error)
    url, request = pickle.loads(order.packed)  # noqa: S301  # of the client

    def report_progress(*at: object) -> None:
        with contextlib.suppress(RuntimeError):  # of a worker that is about to end
            worker.log_event(TOPIC, (order.id, order.shard[0], *at))

    try:
        return asyncio.run(
            _shard(order, url, request, report_progress if order.wants_progress else None)
        )
    except (Exception, asyncio.CancelledError) as error:  # noqa: BLE001  # the client raises it
        return _ended_by(order.shard, error)


def _ended_by(shard: Shard, error: BaseException) -> Ended:
    """Return the end of a shard by an error, without parts that are too large or cannot be sent."""
    result = BatchResult.of_error(error)
    ended = shard_result(shard, result, error)
    if not isinstance(error, BatchcoreError):
        error = InternalError(f"{type(error).__name__}: {error}")
    error.__cause__ = error.__context__ = None
    vars(error).pop(KEPT_RESULT, None)
    return Ended(ended, None if result is None else result.group, error)


async def _shard(order: Order, url: str, request: Request, progress: Progress | None) -> Ended:
    """Do a shard, unless another worker has done it, or is doing it, for the same order."""
    clock = asyncio.get_running_loop().time
    ledger, until = Ledger(request.settings.schema), clock() + request.wait
    request = replace(request, progress=progress, wait=0.0)
    while True:
        own = await _own_run(url, ledger, order)
        if own is not None and own.state in {"complete", "incomplete"}:
            return Ended(shard_of(own), own.group)
        if own is not None and own.state == "interrupted":
            raise LeaseHeldError(f"run {own.run_id} was ended by its client", own.run_id)
        if own is None or own.state != LIVES:
            try:
                result = await run_up_to_now(url, request)
                return Ended(shard_result(order.shard, result), result.group)
            except LeaseHeldError as held:
                own = await _own_run(url, ledger, order)
                is_own = own is not None and own.run_id == held.run_id
                if not is_own and (held.run_id is None or clock() >= until):
                    raise
        await asyncio.sleep(WAIT_POLL_S)


async def _own_run(url: str, ledger: Ledger, order: Order) -> RunStatus | None:
    """Return the run of a shard that works or worked for an order, if a worker has begun it."""
    async with Database(url).writing(PHASE) as session:
        runs = await ledger.of_order(session, order.id)
    return next((run_of(row) for row in runs if row["shard"] == order.shard[0]), None)
