"""Small batches to disturb, and what each must leave in the tables."""

import time
from collections import Counter, defaultdict
from dataclasses import dataclass

import asyncpg
import sqlalchemy as sa

from batchcore.db.migrate import migrate
from batchcore.db.sqlalchemy_tables import metadata
from batchcore.demo import run as demo
from support.cluster import Cluster
from support.tables import RANGE, ROWS, SEED, SIZE, START
from support.worker import started

ROLE = "batch"
"""Runs the batches; what it may do is granted and can be revoked. Its password is its name."""

MIDDLE = "2025-06-23"

CORRECTED = (
    "UPDATE market_data_cache SET close = round(close * 1.01, 4)",
    "UPDATE positions SET quantity = quantity * 2 WHERE position_type = 'LONG'",
)

WRITTEN = {
    "portfolios": "t.id",
    "positions": "t.portfolio_id",
    "portfolio_snapshots": "t.portfolio_id",
    "position_market_betas": "t.portfolio_id",
    "factor_exposures": "t.portfolio_id",
    "position_factor_exposures": "(SELECT portfolio_id FROM positions WHERE id = t.position_id)",
}
"""Tables that a batch may write, and whose each row is."""

KEYED = {"portfolios", "positions"}
"""Tables whose ids are the host's."""

Rows = Counter[tuple[str, str]]
"""Rows as table and text, without ids of batchcore and time stamps (S14)."""

Dump = dict[str, Rows]
"""The rows of each portfolio, by its id."""


@dataclass(frozen=True)
class Job:
    """A batch on a copy of a database that nobody connects to.

    Its rows before it, and those that it leaves if nothing disturbs it; the names of the steps
    that it takes, as often as it takes them, and how long that takes.
    """

    name: str
    template: str
    words: tuple[str, ...]
    before: Dump
    expected: Dump
    steps: tuple[str, ...]
    seconds: float

    def on(self, url: str) -> tuple[str, ...]:
        return ("run", "--database-url", url, *self.words)


async def jobs(cluster: Cluster) -> list[Job]:
    """Return the jobs, with a template for each, and what they do undisturbed."""
    await cluster.execute(
        f"CREATE ROLE {ROLE} LOGIN PASSWORD '{ROLE}'", "CREATE DATABASE filled TEMPLATE template0"
    )
    url = cluster.url("filled")
    await migrate(url)
    await demo.seeded(SIZE, seed=SEED).write(url)
    await cluster.execute(
        f"GRANT SELECT, INSERT, UPDATE, DELETE ON ALL TABLES IN SCHEMA public TO {ROLE}",
        f"GRANT USAGE ON ALL SEQUENCES IN SCHEMA public TO {ROLE}",
        "ANALYZE",
        database="filled",
    )
    for name, words, statements in (
        ("half", ("--start", START, "--end", MIDDLE), ()),
        ("corrected", (*RANGE, "--analytics", "full"), CORRECTED),
    ):
        await cluster.copy("filled", name)
        await _undisturbed(cluster, name, words)
        forget = ("DELETE FROM batchcore_runs", *statements, "ANALYZE")
        await cluster.execute(*forget, database=name)
    small = ("--chunk-size", "3")
    return [
        await _job(cluster, "skip", "filled", (*RANGE, *small)),
        await _job(
            cluster,
            "replace",
            "corrected",
            (*RANGE, *small, "--on-existing", "replace", "--analytics", "full"),
        ),
        await _job(
            cluster,
            "go-on",
            "half",
            (*RANGE, "--chunk-size", "2", "--connections", "2", "--analytics", "every"),
        ),
    ]


async def _job(cluster: Cluster, name: str, template: str, words: tuple[str, ...]) -> Job:
    own = f"undisturbed_{name}"
    await cluster.copy(template, own)
    async with cluster.connected(own) as connection:
        before = await dump(connection)
    began = time.perf_counter()
    log = await _undisturbed(cluster, own, (*words, "-vv"))
    seconds = time.perf_counter() - began
    async with cluster.connected(own) as connection:
        expected = await dump(connection)
    assert snapshots_in(expected) == ROWS
    steps = tuple(line.rpartition(" step=")[2].split()[0] for line in log if " step=" in line)
    return Job(name, template, (*words, "-vv"), before, expected, steps, seconds)


async def _undisturbed(cluster: Cluster, database: str, words: tuple[str, ...]) -> list[str]:
    """Run a batch and return the lines of its log."""
    url = cluster.url(database, ROLE)
    async with started(("run", "--database-url", url, *words)) as worker:
        code = await worker.ended()
        said = worker.said()
    assert said is not None
    assert code == 0, said.err
    return said.err.splitlines()


async def dump(connection: asyncpg.Connection) -> Dump:
    """Return all rows that a batch may have written, of one moment."""
    found: Dump = defaultdict(Counter)
    for owner, table, row in await connection.fetch(" UNION ALL ".join(map(_rows_of, WRITTEN))):
        found[str(owner)][table, row] += 1
    return dict(found)


def _rows_of(table: str) -> str:
    columns = [
        f"t.{column.name}"
        for column in metadata.tables[table].columns
        if not isinstance(column.type, sa.DateTime) and (column.name != "id" or table in KEYED)
    ]
    return (
        f"SELECT {WRITTEN[table]}::text, '{table}', ROW({', '.join(columns)})::text"  # noqa: S608
        f" FROM {table} AS t"
    )


def snapshots_in(found: Dump) -> int:
    return sum(
        count
        for rows in found.values()
        for (table, _), count in rows.items()
        if table == "portfolio_snapshots"
    )


def lost_and_doubled(expected: Dump, found: Dump) -> tuple[Rows, Rows]:
    """Return the rows that are missing, and those that are there and should not be."""
    lost: Rows = Counter()
    doubled: Rows = Counter()
    for owner in {*expected, *found}:
        should, stands = expected.get(owner, Counter()), found.get(owner, Counter())
        lost += should - stands
        doubled += stands - should
    return lost, doubled
