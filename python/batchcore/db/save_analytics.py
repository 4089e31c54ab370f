"""Rows of the analytic tables and market values of positions into the host's tables."""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import partial
from typing import TYPE_CHECKING

from batchcore.db.analytic_tables import COLUMNS, KEYS
from batchcore.db.fields import field_of
from batchcore.db.sent import EncodedRows, copy_rows, stage, write_staged
from batchcore.db.sql import column_name, quote_identifier, table_name, within
from batchcore.frames import Moment, Table

if TYPE_CHECKING:
    from collections.abc import Collection, Iterator

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
        stamps = {
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
) -> None:
    """Write what a chunk has beside its snapshots, inside the caller's transaction.

    Where none of its rows stands, they go by COPY straight into the table. Else those that stand
    are updated in place, so that their `id` and `created_at` live on, and the others inserted.

    Args:
        session: In a transaction.
        schema: Names of tables and columns.
        batch: The rows.
        span: First and last portfolio of the chunk, 16 bytes each.
        acting: See `Catalog.acting`.

    Raises:
        DatabaseError: the server refused it, or holds something else than was sent.
    """
    if any(table.rows for table in batch.tables):
        stands = await session.fetch(batch.stands)
        for table, has_rows in zip(batch.tables, stands[0], strict=True):
            if has_rows:
                await _merge(session, schema, table, acting)
            elif table.rows:
                key = KEYS[table.table]
                await copy_rows(session, schema, table, key, condition="true", acting=acting)
    if batch.market_values is not None and batch.market_values.rows:
        await _set_market_values(session, schema, batch.market_values, span, acting)


async def _merge(
    session: Session, schema: Schema, rows: EncodedRows, acting: Collection[tuple[str, str]]
) -> None:
    staged = await stage(session, schema, rows, KEYS[rows.table])
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
