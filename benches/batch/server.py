"""What a DBA can do: the same batch on hosts and servers made otherwise, beside the plain ones.

    python -m batch.server --json server.json
    python -m batch.server --job daily --only 'plain,monthly partitions' --size m

with `benches/` on the path. All variants are databases of one cluster, which is started with the
settings of each before its runs; they take turns in a shuffled order. What each of them wrote has
the digest of what the plain host got, and that is checked with the reference. Apart from that,
three ways to load the rows of a backfill by COPY: into the plain table, into partitions through
their parent, and into bare ones that are attached.
"""

import argparse
import asyncio
import random
import sys
import time
from collections.abc import Iterable, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, field, replace
from pathlib import Path
from statistics import median
from typing import Any

import asyncpg

from batch import command, state
from batch.command import Found, RefusedError, empty_folder, exit_code, machine, shuffled
from batch.compare import (
    EQUITIES,
    LEFT_OUT,
    SNAPSHOTS,
    DiffersError,
    check_with_reference,
    columns_of,
)
from batch.contest import CHECKED, ROUNDS, child
from batch.data import SETTINGS, fill
from batch.job import JOBS, Job, job_of
from batch.outputs import Output, keep_outputs
from batch.sizes import SIZES, Size
from batch.table import MIB, aligned, tell
from batch.variants import KEEP_COLUMNS, PARENT, Month, Variant, months, variants
from batch.wire import connected
from batchcore.demo import embedded

PATIENCE_S = 3.0
"""How long the statistics of a process that has ended may take to be there."""

DIGEST = """
    SELECT count(*), sum(hashtextextended(t::text, 0))::text FROM (
        SELECT {columns} FROM {table}) t
"""
STRAIGHT, PARENTS, ATTACHED = "straight in", "through the parent", "bare, then attached"

LOADS = "loads"

Settings = dict[str, str]


@dataclass(frozen=True, slots=True)
class Took:
    """What a run on a variant took, as its process told and the server counted.

    `hot` is the share of the updates of portfolios that touched no index; None without updates.
    """

    told: dict[str, Any]
    wal_bytes: int
    checkpoints: int
    hot: float | None


@dataclass(frozen=True, slots=True)
class Counters:
    """What the server has counted so far."""

    wal: int
    checkpoints: int
    updated: int
    hot: int

    @classmethod
    async def read(cls, connection: asyncpg.Connection) -> "Counters":
        timed, requested, view = (
            ("num_timed", "num_requested", "pg_stat_checkpointer")
            if connection.get_server_version().major >= 17
            else ("checkpoints_timed", "checkpoints_req", "pg_stat_bgwriter")
        )
        wal = "SELECT pg_wal_lsn_diff(pg_current_wal_insert_lsn(), '0/0')::int8"
        begun = f"SELECT {timed} + {requested} FROM {view}"
        row = await connection.fetchrow(
            "SELECT n_tup_upd, n_tup_hot_upd FROM pg_stat_user_tables WHERE relname = 'portfolios'"
        )
        assert row is not None
        return cls(await connection.fetchval(wal), await connection.fetchval(begun), *row)


@dataclass
class Findings:
    """What the runs took, by job and variant, and the loads by way."""

    variants: dict[str, Variant] = field(default_factory=dict)
    runs: dict[str, dict[str, list[Took]]] = field(default_factory=dict)
    loads: dict[str, list[float]] = field(default_factory=dict)
    rows: int = 0

    def add(self, job: str, variant: Variant, took: Took) -> None:
        self.variants[variant.name] = variant
        self.runs.setdefault(job, {}).setdefault(variant.name, []).append(took)

    def medians(self, job: str) -> dict[str, dict[str, float | None]]:
        found = {}
        for name, runs in self.runs.get(job, {}).items():
            hot = [run.hot for run in runs if run.hot is not None]
            found[name] = {
                **{
                    phase: median(run.told[phase] for run in runs)
                    for phase in ("total", "load", "persist")
                },
                "wal_bytes": median(run.wal_bytes for run in runs),
                "checkpoints": median(run.checkpoints for run in runs),
                "hot": median(hot) if hot else None,
            }
        return found

    def lines(self) -> list[str]:
        told: list[str] = []
        for job in self.runs:
            head = [job, "total", "x plain", "load", "persist", "WAL MiB", "checkpoints", "HOT"]
            body = [[*head, "what it costs"]]
            medians = self.medians(job)
            for name, one in medians.items():
                plain = medians.get(self.variants[name].plain)
                ratio = "" if plain is None else f"{one['total'] / plain['total']:.2f}"
                hot = "" if one["hot"] is None else f"{one['hot']:.0%}"
                cells = [f"{one[phase]:.3f}" for phase in ("total", "load", "persist")]
                cells.insert(1, ratio)
                cells += [f"{one['wal_bytes'] / MIB:.1f}", f"{one['checkpoints']:.0f}", hot]
                body.append([name, *cells, self.variants[name].cost])
            told += ["", *_with_words(body)]
        if self.loads:
            plain = median(self.loads[STRAIGHT])
            body = [[f"{self.rows:,} rows by COPY", "seconds", "x straight in"]]
            for way, seconds in self.loads.items():
                body.append([way, f"{median(seconds):.3f}", f"{median(seconds) / plain:.2f}"])
            told += ["", *aligned(body)]
        return told

    def figures(self) -> dict[str, Any]:
        return {
            "medians": {job: self.medians(job) for job in self.runs},
            "loads": self.loads,
            "settings": {name: one.settings for name, one in self.variants.items()},
            "sql": {name: one.sql for name, one in self.variants.items()},
        }


def _with_words(table: Sequence[Sequence[str]]) -> list[str]:
    """Return rows as lines, the last column to the left."""
    figures = aligned([row[:-1] for row in table])
    return [f"{line}  {row[-1]}".rstrip() for line, row in zip(figures, table, strict=True)]


@dataclass(frozen=True, slots=True)
class Trial:
    """Hosts of one size in a cluster, and what is done with them.

    `folder` is an empty one, that the account of the server may enter. `only` names variants, and
    `LOADS`; empty is all of them. No `rounds` are those of `ROUNDS`.
    """

    folder: Path
    size: Size
    jobs: Sequence[str]
    only: Sequence[str]
    rounds: int | None
    seed: int

    async def run(self) -> Findings:
        """Return what was found; a variant that got other rows than the plain host is refused."""
        jobs = {name: self._job(name) for name in JOBS}
        every = jobs["backfill"].sessions
        chosen = self._chosen(variants(every, compression=await self._prepared(jobs)))
        await self._make(chosen, months(every))
        found = Findings()
        dice = random.Random(self.seed)
        for name in self.jobs:
            expected = await self._expected(jobs[name])
            turn = [variant for variant in chosen if name in variant.jobs]
            rounds = (self.rounds or ROUNDS[name]) if turn else 0
            # The table has the order of the list, the runs have that of the dice.
            found.runs[name] = {variant.name: [] for variant in turn}
            for _, variant in shuffled(turn, rounds, dice, f"{name}, "):
                took = await self._one(variant, jobs[name], expected)
                found.add(name, variant, took)
                tell(f"  {variant.name:24} {took.told['total']:8.3f} s")
        if self._with_loads:
            await self._loads(jobs["backfill"], found, dice)
        return found

    def _chosen(self, known: list[Variant]) -> list[Variant]:
        """Return those that were asked for, and the plain ones that they are compared with."""
        if unknown := set(self.only) - {one.name for one in known} - {LOADS}:
            names = ", ".join(one.name for one in known)
            raise RefusedError(f"no variant {', '.join(sorted(unknown))}; there are {names}")
        if not self.only:
            return known
        plain = {one.plain for one in known if one.name in self.only}
        return [one for one in known if one.name in self.only or one.name in plain]

    @property
    def _with_loads(self) -> bool:
        return not self.only or LOADS in self.only

    def _job(self, name: str) -> Job:
        folder = self.folder / name
        folder.mkdir()
        return job_of(name, self.size, folder)

    def _started(self, settings: Settings) -> AbstractContextManager[embedded.EmbeddedServer]:
        return embedded.start(self.folder / "cluster", settings=settings)

    async def _prepared(self, jobs: dict[str, Job]) -> str:
        """Make the plain host, with what a daily run goes on from.

        Returns the best compression of the write-ahead log that the server has.
        """
        tell(f"plain host: {self.size}")
        with self._started(SETTINGS) as server:
            async with connected(server.url) as connection:
                await connection.execute("CREATE DATABASE plain")
                methods = await connection.fetchval(
                    "SELECT enumvals FROM pg_settings WHERE name = 'wal_compression'"
                )
            url = server.database_url("plain")
            await fill(url, self.size, analytics=False)
            daily = jobs["daily"]
            before = replace(daily, sessions=daily.history, history=())
            async with connected(url) as connection:
                await connection.execute(KEEP_COLUMNS)
                await state.keep_opening(connection)
                await state.put_back(connection, before)
            child("batchcore", url, before)
            async with connected(url) as connection:
                await state.keep_history(connection, len(daily.history))
                await connection.execute("TRUNCATE portfolio_snapshots")
        return "lz4" if "lz4" in (methods or ()) else "on"

    async def _make(self, chosen: Iterable[Variant], loaded: list[Month]) -> None:
        """Make a database of each variant from the plain host, and those of the loads."""
        wanted = {variant.database: variant.sql for variant in chosen if variant.sql}
        if self._with_loads:
            wanted[_database(PARENTS)] = (*PARENT, *(month.empty() for month in loaded))
            wanted[_database(ATTACHED)] = PARENT
        with self._started(SETTINGS) as server:
            for database, sql in wanted.items():
                async with connected(server.url) as connection:
                    await connection.execute(f"CREATE DATABASE {database} TEMPLATE plain")
                async with connected(server.database_url(database)) as connection:
                    for statement in sql:
                        await connection.execute(statement)

    async def _expected(self, job: Job) -> tuple[Any, ...]:
        """Return the digests of what the plain host gets, which the reference agrees with."""
        with self._started(SETTINGS) as server:
            url = server.database_url("plain")
            async with connected(url) as connection:
                await state.put_back(connection, job)
            child("batchcore", url, job)
            async with connected(url) as connection:
                sample = min(CHECKED[job.name], self.size.portfolios)
                tell(await check_with_reference(url, connection, job, sample, self.seed))
                await keep_outputs(connection, job)
                return await _digests(connection)

    async def _one(self, variant: Variant, job: Job, expected: tuple[Any, ...]) -> Took:
        with self._started(variant.settings) as server:
            url = server.database_url(variant.database)
            async with connected(url) as connection:
                await state.put_back(connection, job)
                for statement in variant.before:
                    await connection.execute(statement)
                if variant.before:
                    await connection.execute("CHECKPOINT")
            async with connected(url) as connection:
                before = await Counters.read(connection)
            told = child("batchcore", url, job)
            async with connected(url) as connection:
                after = await _settled(connection, before)
                digests = await _digests(connection)
        if digests != expected:
            raise DiffersError(f"{variant.name} got {digests} in a {job.name}, expected {expected}")
        updated, hot = after.updated - before.updated, after.hot - before.hot
        return Took(
            told,
            after.wal - before.wal,
            after.checkpoints - before.checkpoints,
            hot / updated if updated else None,
        )

    async def _loads(self, job: Job, found: Findings, dice: random.Random) -> None:
        """Time the three ways to load the rows of a backfill."""
        ways = {STRAIGHT: "plain", PARENTS: _database(PARENTS), ATTACHED: _database(ATTACHED)}
        rounds = self.rounds or ROUNDS["backfill"]
        found.loads = {way: [] for way in ways}
        with self._started(SETTINGS) as server:
            rows = await _kept_rows(server.database_url("plain"), job)
            found.rows = sum(part.rows for part in rows.parts.values())
            expected = None
            for number in range(1, rounds + 1):
                tell(f"loads, round {number} of {rounds}")
                for way in (STRAIGHT, *dice.sample([PARENTS, ATTACHED], 2)):
                    async with connected(server.database_url(ways[way])) as connection:
                        seconds = await _load(connection, way, rows)
                        digest = await _digest(connection, SNAPSHOTS)
                    expected = expected or digest
                    if digest != expected:
                        raise DiffersError(f"{way}: {digest} stand, expected {expected}")
                    found.loads[way].append(seconds)
                    tell(f"  {way:24} {seconds:8.3f} s")


@dataclass(frozen=True, slots=True)
class Kept:
    """Rows of a backfill in files, all of them and by month."""

    folder: Path
    whole: Output
    parts: dict[Month, Output]


async def _kept_rows(url: str, job: Job) -> Kept:
    """Keep what batchcore wrote for a job by month, each in the order of (portfolio, date)."""
    async with connected(url) as connection:
        await state.put_back(connection, job)
    child("batchcore", url, job)
    async with connected(url) as connection:
        tables = (await keep_outputs(connection, job)).tables
        whole = next(output for output in tables if output.table == SNAPSHOTS)
        parts = {}
        for month in months(job.sessions):
            part = replace(whole, file=f"{month.partition}.copy")
            status = await connection.copy_from_query(
                f"SELECT {', '.join(whole.columns)} FROM {SNAPSHOTS} WHERE snapshot_date >="
                f" '{month.first}' AND snapshot_date < '{month.end}'"
                " ORDER BY portfolio_id, snapshot_date",
                output=job.path / part.file,
                format="binary",
            )
            parts[month] = replace(part, rows=int(status.rpartition(" ")[2]))
    return Kept(job.path, whole, parts)


async def _load(connection: asyncpg.Connection, way: str, rows: Kept) -> float:
    """Return the seconds that the rows take into empty tables."""
    if way == ATTACHED:
        for month in rows.parts:
            await connection.execute(f"DROP TABLE IF EXISTS {month.partition}")
    else:
        await connection.execute(f"TRUNCATE {SNAPSHOTS}")
    await connection.execute("CHECKPOINT")
    began = time.perf_counter()
    if way != ATTACHED:
        await _copied(connection, SNAPSHOTS, rows.folder, rows.whole)
        return time.perf_counter() - began
    for month, part in rows.parts.items():
        async with connection.transaction():
            await connection.execute(month.bare())
            await _copied(connection, month.partition, rows.folder, part)
            for statement in month.attached():
                await connection.execute(statement)
    return time.perf_counter() - began


async def _copied(connection: asyncpg.Connection, table: str, folder: Path, output: Output) -> None:
    with (folder / output.file).open("rb") as source:
        await connection.copy_to_table(
            table, source=source, columns=list(output.columns), format="binary"
        )


async def _digests(connection: asyncpg.Connection) -> tuple[Any, ...]:
    return await _digest(connection, SNAPSHOTS), await _digest(connection, "portfolios")


async def _digest(connection: asyncpg.Connection, table: str) -> tuple[int, str]:
    """Return how many rows there are, and a sum over what batchcore writes into them."""
    own = EQUITIES.get(table) or await columns_of(connection, "bench.columns", LEFT_OUT)
    row = await connection.fetchrow(DIGEST.format(columns=", ".join(own), table=table))
    return tuple(row)


async def _settled(connection: asyncpg.Connection, before: Counters) -> Counters:
    """Return the counters once those of the process that has ended are there."""
    deadline = time.monotonic() + PATIENCE_S
    while True:
        after = await Counters.read(connection)
        if after.updated > before.updated or time.monotonic() > deadline:
            return after
        await asyncio.sleep(0.02)


def _database(way: str) -> str:
    return "loads_" + "".join(letter for letter in way if letter.isalpha())


def parser() -> argparse.ArgumentParser:
    made = command.parser("batch.server", __doc__)
    made.add_argument("--size", choices=SIZES, default="s")
    made.add_argument("--job", choices=JOBS, action="append", help="all of them if not given")
    made.add_argument("--only", default="", help="variants with commas between, and `loads`")
    return made


def run(given: argparse.Namespace) -> Found:
    size, jobs = SIZES[given.size], given.job or JOBS
    only = [name for name in given.only.split(",") if name]
    with empty_folder() as folder:
        folder.chmod(0o711)  # as root, another account runs the server in it
        found = asyncio.run(Trial(folder, size, jobs, only, given.rounds, given.seed).run())
        with embedded.start(folder / "cluster") as server:
            on = machine(server.url)
    rounds = ", ".join(f"{given.rounds or ROUNDS[job]} runs of {job}" for job in jobs)
    return [f"{size}; {rounds}; medians, seconds", on], found.lines(), found.figures()


if __name__ == "__main__":
    sys.exit(exit_code(parser(), run))
