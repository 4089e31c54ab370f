"""Rows of the analytic tables and market values of positions into the host's tables."""

from __future__ import annotations

import uuid
from dataclasses import dataclass, replace
from functools import partial
from typing import TYPE_CHECKING, Any

from batchcore.db.analytic_tables import COLUMNS, KEYS, POSITIONS
from batchcore.db.fields import field_of
from batchcore.db.sent import EncodedRows, Staged, copy_rows, stage, write_staged
from batchcore.db.sql import column_name, quote_identifier, table_name, within
from batchcore.frames import Moment, Table
from batchcore.schema import WRITES

if TYPE_CHECKING:
    from collections.abc import Collection, Iterator, Sequence

    import numpy as np
    import numpy.typing as npt

    from batchcore import _core
    from batchcore.config import Schema
    from batchcore.db.engine import Session
    from batchcore.db.fields import Field


@dataclass(frozen=True, eq=False, slots=True)
class ChunkTables:
    """What a chunk writes beside its snapshots.

    Attributes:
        rows: Rows of tables of `analytic_tables.KEYS`, without ids and time stamps.
        stands: The statement that tells for each of them, in their order, whether it has rows of
            these keys.
        market_values: Of positions, by their ids.
    """

    rows: tuple[Table, ...] = ()
    stands: str = ""
    market_values: Table | None = None


@dataclass(frozen=True, slots=True)
class Kept:
    """Rows of a portfolio that another writer stored, so that they were left as they are.

    Attributes:
        portfolio: 16 bytes.
        rows: How many.
        day: Their first date, days since 1970-01-01.
        detail: How many of each table.
    """

    portfolio: bytes
    rows: int
    day: int
    detail: str


@dataclass(frozen=True, eq=False, slots=True)
class TablesBatch:
    """What a chunk writes beside its snapshots, encoded; see `ChunkTables`."""

    tables: tuple[EncodedRows, ...]
    stands: str
    market_values: EncodedRows | None

    def parts(self) -> Iterator[EncodedRows]:
        """Yield the rows of each table in the order of their sending."""
        yield from self.tables
        if self.market_values is not None:
            yield self.market_values

    @property
    def rows(self) -> int:
        """Rows that they hold."""
        return sum(part.rows for part in self.parts())

    def cut(self, kept: npt.NDArray[np.bool_]) -> TablesBatch:
        """Return the rows of some portfolios, see `EncodedRows.cut`."""
        values = self.market_values
        return replace(
            self,
            tables=tuple(table.cut(kept) for table in self.tables),
            market_values=None if values is None else values.cut(kept),
        )


def encode_tables(
    tables: ChunkTables,
    *,
    id_unix_ms: int,
    random: bytes,
    unix_us: int,
    cancel: _core.CancelFlag | None = None,
) -> TablesBatch:
    """Return the bytes of what a chunk writes beside its snapshots.

    Args:
        tables: Rows without ids and time stamps.
        id_unix_ms: Milliseconds of the ids of new rows.
        random: 16 random bytes, where the ids of each table start.
        unix_us: The run's start, microseconds since 1970-01-01: the time stamps.
        cancel: Raised from another thread, it stops the call.

    Raises:
        CancelledError: `cancel` was raised.
    """
    made: Field = ("id", "uuid7", (id_unix_ms, random), None)
    batches = []
    for table in tables.rows:
        stamps: dict[str, Any] = {
            name: Moment(unix_us)
            for name in ("created_at", "updated_at")
            if name in COLUMNS[table.name]
        }
        stamped = replace(table, columns={**table.columns, **stamps})
        batches.append(_encoded(stamped, [made], cancel))
    values = tables.market_values
    return TablesBatch(
        tables=tuple(batches),
        stands=tables.stands,
        market_values=_encoded(values, [], cancel) if values is not None and values.rows else None,
    )


def _encoded(table: Table, first: list[Field], cancel: _core.CancelFlag | None) -> EncodedRows:
    fields = [*first, *(field_of(name, column) for name, column in table.columns.items())]
    return EncodedRows.of(table.name, fields, table.portfolio, cancel)


async def write_tables(
    session: Session,
    schema: Schema,
    batch: TablesBatch,
    span: tuple[bytes, bytes],
    acting: Collection[tuple[str, str]],
) -> Sequence[Kept]:
    """Write what a chunk has beside its snapshots, inside the caller's transaction.

    Where none of its rows stands, they go by COPY straight into the table. Else those that stand
    are updated in place, so that their `id` and `created_at` live on, and the others inserted;
    rows that another writer stored last stay, and are returned by portfolio.

    Args:
        session: In a transaction.
        schema: Names of tables and columns.
        batch: The rows.
        span: First and last portfolio of the chunk, 16 bytes each.
        acting: See `Catalog.acting`.

    Raises:
        DatabaseError: the server refused it, or holds something else than was sent.
    """
    kept: dict[str, list[tuple[str, int, int]]] = {}
    if any(table.rows for table in batch.tables):
        stands = await session.fetch(_marked(schema, batch.stands))
        for table, has_rows in zip(batch.tables, stands[0], strict=True):
            if not table.rows:
                continue
            if has_rows:
                for portfolio, rows, day in await _merge(session, schema, table, acting):
                    kept.setdefault(portfolio, []).append((table.table, rows, day))
            else:
                key = KEYS[table.table]
                await copy_rows(session, schema, table, key, condition="true", acting=acting)
    if batch.market_values is not None and batch.market_values.rows:
        await _set_market_values(session, schema, batch.market_values, span, acting)
    return [
        Kept(
            uuid.UUID(portfolio).bytes,
            sum(rows for _, rows, _ in found),
            min(day for *_, day in found),
            ", ".join(f"{rows} of {table}" for table, rows, _ in found),
        )
        for portfolio, found in sorted(kept.items())
    ]


def _marked(schema: Schema, stands: str) -> str:
    """Return the statement ``stands``, which enters too that its transaction writes rows.

    Rows keep the id of the transaction that wrote them last (`xmin`), and so does the mark: by
    that they are known again, whatever triggers make of time stamps. A restored dump has other
    ids, so what is in it counts as written by others.
    """
    return (
        f"WITH mark AS (INSERT INTO {_own_table(schema, WRITES)} (id, written_at)"  # noqa: S608
        f" VALUES (gen_random_uuid(), clock_timestamp())) {stands}"
    )


def _own_table(schema: Schema, name: str) -> str:
    return f"{quote_identifier(schema.namespace)}.{quote_identifier(name)}"


async def _merge(
    session: Session, schema: Schema, rows: EncodedRows, acting: Collection[tuple[str, str]]
) -> list[tuple[str, int, int]]:
    """Write rows of which some may stand; return portfolio, count and first date of those kept."""
    staged = await stage(session, schema, rows, KEYS[rows.table])
    kept = await session.fetch(_without_others(schema, staged))
    staged = replace(staged, count=staged.count - sum(row[1] for row in kept))
    table = table_name(schema, rows.table)
    into = ", ".join(column_name(schema, rows.table, c) for c in rows.columns)
    taken = ", ".join(f"staged.{quote_identifier(c)}" for c in rows.columns)

    async def write() -> int:
        updated = await session.execute(
            f"UPDATE {table} AS own SET {staged.assignments()}"  # noqa: S608  # quoted
            f" FROM {staged.name} AS staged WHERE {staged.found}"
        )
        return updated + await session.execute(
            f"INSERT INTO {table} ({into})"  # noqa: S608  # quoted
            f" SELECT {taken} FROM {staged.name} AS staged WHERE NOT EXISTS"
            f" (SELECT FROM {table} AS own WHERE {staged.found}) ORDER BY staged.id"
        )

    await write_staged(session, schema, staged, write, acting=acting)
    return [tuple(row) for row in kept]


def _without_others(schema: Schema, staged: Staged) -> str:
    """Return the statement that takes the keys of other writers' rows out of the staged ones.

    Runs before the marks were entered have their chunks in the ledger, by the same transaction.
    """
    table = staged.rows.table
    owner, of_owner = "gone.portfolio_id", ""
    if "portfolio_id" not in KEYS[table]:
        owner = f"p.{column_name(schema, POSITIONS, 'portfolio_id')}"
        own_id = f"p.{column_name(schema, POSITIONS, 'id')}"
        of_owner = f" JOIN {table_name(schema, POSITIONS)} AS p ON {own_id} = gone.position_id"
    (day,) = (column for column in KEYS[table] if column.endswith("_date"))
    ours = " UNION ALL ".join(
        f"SELECT xmin FROM {_own_table(schema, name)}"  # noqa: S608  # quoted
        for name in (WRITES, "batchcore_run_chunks")
    )
    return (
        f"WITH gone AS (DELETE FROM {staged.name} AS staged"  # noqa: S608
        f" USING {table_name(schema, table)} AS own WHERE {staged.found}"
        f" AND own.xmin NOT IN ({ours}) RETURNING staged.*)"
        f" SELECT {owner}::text, count(*), min(gone.{day}) - '1970-01-01'::date"
        f" FROM gone{of_owner} GROUP BY 1"
    )


async def _set_market_values(
    session: Session,
    schema: Schema,
    rows: EncodedRows,
    span: tuple[bytes, bytes],
    acting: Collection[tuple[str, str]],
) -> None:
    # What is loaded is not soft-deleted; the index on portfolios has no other.
    live = f"own.{column_name(schema, rows.table, 'deleted_at')} IS NULL"
    held = within(span, f"own.{column_name(schema, rows.table, 'portfolio_id')}")
    staged = await stage(
        session, schema, rows, ("id",), condition=f"{live} AND {held}", must_exist=False
    )
    update = (
        f"UPDATE {table_name(schema, rows.table)} AS own SET {staged.assignments()}"  # noqa: S608
        f" FROM {staged.name} AS staged WHERE {staged.found} AND {staged.differs()}"
    )
    write = partial(session.execute, update)
    await write_staged(session, schema, staged, write, acting=acting, every=False)
