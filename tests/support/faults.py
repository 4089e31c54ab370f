"""Faults: each disturbs one batch at one moment, and mends what it broke."""

import asyncio
import contextlib
import signal
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass, field
from random import Random

from support.cluster import Cluster
from support.jobs import ROLE, Job
from support.proxy import proxied
from support.worker import At, Worker, started

PATIENCE_S = 120.0

WAL_SEGMENT_BYTES = 1 << 24
BLOATED = (
    "ALTER TABLE portfolio_snapshots SET (fillfactor = 10)",
    "ALTER TABLE portfolio_snapshots DISABLE TRIGGER ALL",
    """
    INSERT INTO portfolio_snapshots (
        id, portfolio_id, snapshot_date, total_value, cash_value, long_value, short_value,
        gross_exposure, net_exposure, num_positions, num_long_positions, num_short_positions,
        created_at
    )
    SELECT gen_random_uuid(), '00000000-0000-0000-0000-000000000001', DATE '1990-01-01' + n,
        0, 0, 0, 0, 0, 0, 0, 0, 0, now()
    FROM generate_series(1, 15000) AS n
    """,
    "ALTER TABLE portfolio_snapshots ENABLE TRIGGER ALL",
    "VACUUM FULL portfolio_snapshots",  # so that no empty page is left at its end
)
"""Makes a table longer than a file of the log may be, with rows of nobody."""

SLIM = "DELETE FROM portfolio_snapshots WHERE portfolio_id = '00000000-0000-0000-0000-000000000001'"

SUCCESS = (0, 99)
STOPPED = (*SUCCESS, 2, 3, 4)
"""Of a batch that a fault came too late for, or that failed, may not write, or was taken over."""


@dataclass(frozen=True)
class Moment:
    """When a fault strikes: as a step is taken for which time, or after a share of all time."""

    step: str | None = None
    count: int = 1
    share: float = 0.0

    def __str__(self) -> str:
        if self.step is None:
            return f"{self.share:.3f}"
        return f"{self.step}{self.count}"


@dataclass(frozen=True)
class Scene:
    """A batch about to be disturbed, and the exit codes of those that were."""

    cluster: Cluster
    job: Job
    database: str
    moment: Moment
    random: Random
    codes: list[int] = field(default_factory=list)

    @property
    def url(self) -> str:
        return self.cluster.url(self.database, ROLE)

    @property
    def tcp_url(self) -> str:
        return self.cluster.tcp_url(self.database, ROLE, ROLE)

    @property
    def was_stopped(self) -> bool:
        """Whether the fault was more than a batch could bear, or came too late for."""
        return any(code not in SUCCESS for code in self.codes)

    @contextlib.asynccontextmanager
    async def at_the_moment(self, url: str | None = None) -> AsyncIterator[Worker]:
        """Give a worker that is where the fault is to strike; at the end wait for its own."""
        at = None if self.moment.step is None else At(self.moment.step, self.moment.count)
        async with asyncio.timeout(PATIENCE_S), started(self.job.on(url or self.url), at) as worker:
            if at is None:
                await self.wait()
            else:
                await worker.reached()
            yield worker
            if at is not None:
                worker.go_on()
            self.codes.append(await worker.ended())
            assert self.codes[-1] in STOPPED, worker.said()

    async def wait(self) -> None:
        await asyncio.sleep(self.moment.share * self.job.seconds)

    async def time_passes(self) -> None:
        """Let leases run out that nobody prolongs."""
        await self.cluster.execute(
            "UPDATE batchcore_run_heartbeats SET expires_at = clock_timestamp() - interval '1 s'",
            database=self.database,
        )

    async def again(self) -> None:
        """Run the batch once more, plainly."""
        await self.time_passes()
        async with asyncio.timeout(PATIENCE_S), started(self.job.on(self.url)) as worker:
            code = await worker.ended()
            assert code in SUCCESS, worker.said()


async def kill(scene: Scene) -> None:
    """SIGKILL to the batch."""
    moment = scene.moment
    at = None
    if moment.step is not None:
        at = At(moment.step, moment.count, signal.SIGKILL)
    async with asyncio.timeout(PATIENCE_S), started(scene.job.on(scene.url), at) as worker:
        if at is None:
            await scene.wait()
            worker.send(signal.SIGKILL)
        scene.codes.append(await worker.ended())
        assert scene.codes[-1] in {-signal.SIGKILL, *SUCCESS}, worker.said()


async def kill_backend(scene: Scene) -> None:
    """SIGKILL to one of its server processes, upon which the server ends all of them."""
    async with scene.at_the_moment():
        if backends := await scene.cluster.backends(scene.database):
            await scene.cluster.kill_backend(scene.random.choice(backends))


async def restart_server(scene: Scene) -> None:
    """An immediate restart of the server."""
    async with scene.at_the_moment():
        await scene.cluster.restart()


async def drop_connections(scene: Scene) -> None:
    """All its connections are reset."""
    async with proxied(scene.tcp_url) as (proxy, url), scene.at_the_moment(url):
        proxy.drop()


async def stall_connections(scene: Scene) -> None:
    """Its connections go silent, another run takes over, and then they go on."""
    async with proxied(scene.tcp_url) as (proxy, url), scene.at_the_moment(url) as worker:
        proxy.stall()
        if scene.moment.step is not None:
            worker.go_on()
        await scene.again()
        proxy.flow()


async def freeze(scene: Scene) -> None:
    """It is stopped, another run takes over, and then it wakes up."""
    async with scene.at_the_moment() as worker:
        worker.send(signal.SIGSTOP)
        await scene.again()
        worker.send(signal.SIGCONT)


async def fill_disk(scene: Scene) -> None:
    """No process of the server can write beyond the first bytes of a file, nor to its log."""
    try:
        async with scene.at_the_moment():
            scene.cluster.limit_files(scene.random.choice([1, 1 << 13, 1 << 16]))
    finally:
        await scene.cluster.revive()


async def fill_tablespace(scene: Scene) -> None:
    """Tables cannot grow any more; the log of the server can."""
    await scene.cluster.execute(*BLOATED, database=scene.database)
    assert await scene.cluster.bytes_of("portfolio_snapshots", scene.database) > WAL_SEGMENT_BYTES
    try:
        async with scene.at_the_moment():
            scene.cluster.limit_files(WAL_SEGMENT_BYTES)
    finally:
        scene.cluster.limit_files()
    await scene.cluster.execute(SLIM, database=scene.database)


async def forbid_writing(scene: Scene) -> None:
    """What it may do with a table is taken from it, and given back."""
    table = scene.random.choice(["portfolio_snapshots", "portfolios", "batchcore_run_chunks"])
    rights = f"INSERT, UPDATE, DELETE ON {table}"
    async with scene.at_the_moment():
        await scene.cluster.execute(f"REVOKE {rights} FROM {ROLE}", database=scene.database)
    await scene.cluster.execute(f"GRANT {rights} TO {ROLE}", database=scene.database)


async def start_twice(scene: Scene) -> None:
    """Two batches at once, on the same portfolios."""
    words = scene.job.on(scene.url)
    async with asyncio.timeout(PATIENCE_S), started(words) as one:
        await scene.wait()
        async with started(words) as other:
            scene.codes.extend([await one.ended(), await other.ended()])
            said = one.said(), other.said()
    assert any(code in SUCCESS for code in scene.codes), said
    assert all(code in {*SUCCESS, 4} for code in scene.codes), said


Fault = Callable[[Scene], Awaitable[None]]

EVERYWHERE: tuple[Fault, ...] = (
    kill,
    kill_backend,
    restart_server,
    drop_connections,
    stall_connections,
    freeze,
    fill_disk,
    fill_tablespace,
    forbid_writing,
)
"""Faults that can strike at any moment."""
