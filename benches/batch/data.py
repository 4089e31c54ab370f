"""The database: seeded portfolios and prices, written chunk by chunk in bounded memory."""

import asyncio
import json
from collections.abc import AsyncIterator, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path

import asyncpg
import numpy as np

from batch.sizes import SEED, Size
from batch.wire import connected
from batchcore import _core
from batchcore.db.migrate import migrate
from batchcore.demo import embedded, market, universe
from batchcore.frames import Table
from batchcore.pg.fields import field_of

PORTFOLIOS_A_CHUNK = 10_000
MS_A_CHUNK = 1000
"""Ids of a chunk begin so much later than those of the chunk before, which needs 50 ms of them."""

VERSION = 1
"""Of what a size does not tell; raised when the data become others."""

SETTINGS = {
    "autovacuum": "off",
    "fsync": "off",
    "full_page_writes": "off",
    "synchronous_commit": "off",
    "max_wal_size": "16GB",
}
"""Of the server: no vacuum and no checkpoint comes in the middle of a run by chance."""


@contextmanager
def server(
    size: Size,
    *,
    analytics: bool = False,
    folder: Path | None = None,
    settings: Mapping[str, str] | None = None,
) -> Iterator[embedded.EmbeddedServer]:
    """Give a server whose database holds a size, one that is kept where there is a `folder`.

    With `analytics`, it has what they read: profiles, factors, closes of half a year.
    """
    kept = None
    if folder is not None:
        kept = folder / (f"{size.name}-analytics" if analytics else size.name)
    with embedded.start(kept, settings={**SETTINGS, **(settings or {})}) as started:
        asyncio.run(fill(started.url, size, analytics=analytics))
        yield started


async def fill(url: str, size: Size, *, analytics: bool) -> None:
    """Make a database hold a size, unless it does; refuse one that holds another."""
    wanted = {**asdict(size), "version": VERSION, "seed": SEED, "analytics": analytics}
    del wanted["name"]
    async with connected(url) as connection:
        found = await _found(connection)
    if found == wanted:
        await migrate(url)  # a folder may be older than the newest revision
        return
    if found is not None:
        raise SystemExit(f"the data folder holds {found}, expected {wanted}: remove it")
    async with connected(url) as connection:
        # What a filling that was killed has left.
        await connection.execute("DROP SCHEMA IF EXISTS bench CASCADE; DROP SCHEMA public CASCADE")
        await connection.execute("CREATE SCHEMA public")
    await migrate(url)
    async with connected(url) as connection:
        # Foreign keys would be checked row by row; the rows are ours.
        await connection.execute("SET session_replication_role = replica")
        for table in tables(size, analytics=analytics):
            await copy_in(connection, table)
        await connection.execute("VACUUM (ANALYZE)")
        await connection.execute("CREATE SCHEMA bench")
        await connection.execute("CREATE TABLE bench.fingerprint (holds text)")
        # The last statement: without it, the folder is not taken for a filled one.
        await connection.execute("INSERT INTO bench.fingerprint VALUES ($1)", json.dumps(wanted))


async def _found(connection: asyncpg.Connection) -> dict[str, int | bool] | None:
    if await connection.fetchval("SELECT to_regclass('bench.fingerprint') IS NULL"):
        return None
    return json.loads(await connection.fetchval("SELECT holds FROM bench.fingerprint"))


def tables(size: Size, *, analytics: bool) -> Iterator[Table]:
    """Give the tables of a size, a chunk of portfolios after the other."""
    traded = market.generated_market(size.symbols, size.sessions, seed=SEED)
    priced = market.with_factors(traded, seed=SEED) if analytics else traded
    day = int(traded.days[0])
    yield market.price_table(priced, seed=SEED)
    if analytics:
        profiles = universe.generated_profiles(priced, seed=SEED)
        yield universe.profile_table(profiles, day=day)
        yield universe.factor_table(day=day, seed=SEED)
        yield universe.benchmark_table(day=day, seed=SEED)
    for chunk, first in enumerate(range(0, size.portfolios, PORTFOLIOS_A_CHUNK)):
        count = min(PORTFOLIOS_A_CHUNK, size.portfolios - first)
        seed = SEED + chunk
        made = market.generated_portfolios(count, traded, positions=size.positions, seed=seed)
        for table in made.tables:
            yield _later(table, chunk * MS_A_CHUNK)


def _later(table: Table, ms: int) -> Table:
    """Return a table whose ids are so many milliseconds later, so that they go on in order."""
    columns = {
        name: _later_ids(column, ms)
        if isinstance(column, np.ndarray) and column.dtype == np.uint8
        else column
        for name, column in table.columns.items()
    }
    return Table(table.name, table.rows, columns)


def _later_ids(ids: np.ndarray, ms: int) -> np.ndarray:
    later = ids.copy()
    head = np.ascontiguousarray(later[:, :8]).view(">u8").ravel()
    later[:, :8] = (
        (head + (np.uint64(ms) << np.uint64(16))).astype(">u8").view(np.uint8).reshape(-1, 8)
    )
    return later


async def copy_in(connection: asyncpg.Connection, table: Table) -> None:
    """Write the rows of a table by binary COPY."""
    fields = [field_of(name, column) for name, column in table.columns.items()]

    async def pieces() -> AsyncIterator[bytes]:
        for piece in _core.encode(fields=fields, rows=table.rows, piece_bytes=1 << 20):
            yield piece

    await connection.copy_to_table(
        table.name, source=pieces(), columns=list(table.columns), format="binary"
    )
