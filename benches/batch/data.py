"""The database: seeded portfolios and prices, written chunk by chunk in bounded memory."""

import asyncio
import json
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from pathlib import Path

import asyncpg
import numpy as np

from batch.sizes import SEED, Size
from batchcore import _core
from batchcore.db.migrate import migrate
from batchcore.demo import embedded, market, universe
from batchcore.frames import Table
from batchcore.pg.fields import field_of

PORTFOLIOS_A_CHUNK = 10_000
MS_A_CHUNK = 1000
"""Ids of a chunk begin so much later than those of the chunk before, which needs 50 ms of them."""

VERSION = 1
"""Of what a fingerprint does not tell; raised when the data become others."""

SETTINGS = {
    "autovacuum": "off",
    "fsync": "off",
    "full_page_writes": "off",
    "synchronous_commit": "off",
    "max_wal_size": "16GB",
}
"""Of the server: no vacuum and no checkpoint comes in the middle of a run by chance."""


def fingerprint(size: Size, *, analytics: bool) -> dict[str, int | bool]:
    """Return what a database holds, as it stands in itself."""
    return {
        "version": VERSION,
        "seed": SEED,
        "portfolios": size.portfolios,
        "positions": size.positions,
        "symbols": size.symbols,
        "sessions": size.sessions,
        "analytics": analytics,
    }


@contextmanager
def server(
    size: Size, *, analytics: bool, folder: Path | None, settings: dict[str, str]
) -> Iterator[embedded.EmbeddedServer]:
    """Give a server whose database holds a size.

    Args:
        size: How much.
        analytics: Whether with what analytics read: profiles, factors, closes of half a year.
        folder: Where databases are kept, each in a folder of its own; None makes one that goes.
        settings: Of the server, beside `SETTINGS`.
    """
    kept = None
    if folder is not None:
        kept = folder / (f"{size.name}-analytics" if analytics else size.name)
    with embedded.start(kept, settings={**SETTINGS, **settings}) as started:
        asyncio.run(fill(started.url, size, analytics=analytics))
        yield started


@asynccontextmanager
async def connected(url: str) -> AsyncIterator[asyncpg.Connection]:
    connection = await asyncpg.connect(url, statement_cache_size=0)
    try:
        yield connection
    finally:
        await connection.close()


async def server_version(url: str) -> str:
    async with connected(url) as connection:
        return await connection.fetchval("SHOW server_version")


async def fill(url: str, size: Size, *, analytics: bool) -> None:
    """Make a database hold a size, unless it does.

    Raises:
        SystemExit: it holds another one.
    """
    wanted = fingerprint(size, analytics=analytics)
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
