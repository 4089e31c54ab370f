"""Rows of the analytic tables and market values of positions into the host's tables."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Final

from batchcore import _core
from batchcore.db.analytic_tables import COLUMNS, KEYS
from batchcore.db.fields import field_of
from batchcore.db.sql import column_name, quote_identifier, table_name, within
from batchcore.frames import Moment, Table

if TYPE_CHECKING:
    from collections.abc import Iterator

    from batchcore.config import Schema
    from batchcore.db.engine import Session
    from batchcore.db.fields import Field

PIECE_BYTES: Final = 1 << 20
"""Bytes handed to the driver at a time."""

_POSITIONS: Final = "positions"


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
class TableBatch:
    """Rows of one table, encoded.

    Attributes:
        table: By the names of docs/schema.md.
        columns: Likewise.
        rows: How many.
        pieces: Bytes of a COPY.
    """

    table: str
    columns: tuple[str, ...]
    rows: int
    pieces: list[bytes]


@dataclass(frozen=True, eq=False, slots=True)
class TablesBatch:
    """What a chunk writes beside its snapshots, encoded; see `ChunkTables`."""

    tables: tuple[TableBatch, ...]
    stands: str
    market_values: TableBatch | None

    def pieces(self) -> Iterator[bytes]:
        """Yield all bytes of COPY in the order of their sending."""
        for batch in (*self.tables, self.market_values) if self.market_values else self.tables:
            yield from batch.pieces

    @property
    def rows(self) -> int:
        """Rows that they hold."""
        values = 0 if self.market_values is None else self.market_values.rows
        return sum(batch.rows for batch in self.tables) + values


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


def _encoded(table: Table, first: list[Field], cancel: _core.CancelFlag | None) -> TableBatch:
    fields = [*first, *(field_of(name, column) for name, column in table.columns.items())]
    pieces = _core.encode(fields=fields, rows=table.rows, piece_bytes=PIECE_BYTES, cancel=cancel)
    return TableBatch(table.name, tuple(field[0] for field in fields), table.rows, pieces)


async def write_tables(
    session: Session, schema: Schema, batch: TablesBatch, span: tuple[bytes, bytes]
) -> None:
    """Write what a chunk has beside its snapshots, inside the caller's transaction.

    Where none of its rows stands, they go by COPY straight into the table. Else those that stand
    are updated in place, so that their `id` and `created_at` live on, and the others inserted.

    Args:
        session: In a transaction.
        schema: Names of tables and columns.
        batch: The rows.
        span: First and last portfolio of the chunk, 16 bytes each.

    Raises:
        DatabaseError: the server refused it.
    """
    if batch.tables:
        stands = await session.fetch(batch.stands)
        for table, has_rows in zip(batch.tables, stands[0], strict=True):
            if has_rows:
                await _merge(session, schema, table)
            else:
                names = [schema.column(table.table, column) for column in table.columns]
                name, namespace = schema.table(table.table), schema.namespace
                await session.copy_in(name, names, table.pieces, namespace=namespace)
    if batch.market_values is not None:
        await _set_market_values(session, schema, batch.market_values, span)


async def _stage(session: Session, schema: Schema, batch: TableBatch) -> str:
    """Return the quoted name of a temporary table with the rows, of the types of the host's."""
    staged = f"batchcore_staged_{batch.table}"
    columns = ", ".join(
        f"{column_name(schema, batch.table, c)} AS {quote_identifier(c)}" for c in batch.columns
    )
    await session.execute(
        f"CREATE TEMP TABLE {staged} ON COMMIT DROP AS"  # noqa: S608  # quoted
        f" SELECT {columns} FROM {table_name(schema, batch.table)} WITH NO DATA"
    )
    await session.copy_in(staged, list(batch.columns), batch.pieces, namespace="pg_temp")
    return f"pg_temp.{staged}"


async def _merge(session: Session, schema: Schema, batch: TableBatch) -> None:
    staged = await _stage(session, schema, batch)
    table, keys = batch.table, KEYS[batch.table]
    same = " AND ".join(_pairs(schema, table, keys))
    kept = {*keys, "id", "created_at"}
    values = [c for c in batch.columns if c not in kept]
    changed = ", ".join(
        f"{column_name(schema, table, c)} = staged.{quote_identifier(c)}" for c in values
    )
    await session.execute(
        f"UPDATE {table_name(schema, table)} AS own SET {changed}"  # noqa: S608  # quoted
        f" FROM {staged} AS staged WHERE {same}"
    )
    into = ", ".join(column_name(schema, table, c) for c in batch.columns)
    taken = ", ".join(f"staged.{quote_identifier(c)}" for c in batch.columns)
    await session.execute(
        f"INSERT INTO {table_name(schema, table)} ({into})"  # noqa: S608  # quoted
        f" SELECT {taken} FROM {staged} AS staged WHERE NOT EXISTS"
        f" (SELECT FROM {table_name(schema, table)} AS own WHERE {same}) ORDER BY staged.id"
    )
    await session.execute(f"DROP TABLE {staged}")


async def _set_market_values(
    session: Session, schema: Schema, batch: TableBatch, span: tuple[bytes, bytes]
) -> None:
    staged = await _stage(session, schema, batch)
    values = [c for c in batch.columns if c != "id"]
    changed = ", ".join(
        f"{column_name(schema, _POSITIONS, c)} = staged.{quote_identifier(c)}" for c in values
    )
    own = ", ".join(f"own.{column_name(schema, _POSITIONS, c)}" for c in values)
    others = ", ".join(f"staged.{quote_identifier(c)}" for c in values)
    same = " AND ".join(_pairs(schema, _POSITIONS, ("id",)))
    # What is loaded is not soft-deleted; the index on portfolios has no other.
    live = f"own.{column_name(schema, _POSITIONS, 'deleted_at')} IS NULL"
    held = within(span, f"own.{column_name(schema, _POSITIONS, 'portfolio_id')}")
    await session.execute(
        f"UPDATE {table_name(schema, _POSITIONS)} AS own SET {changed}"  # noqa: S608  # quoted
        f" FROM {staged} AS staged WHERE {same} AND {live} AND {held}"
        f" AND ({own}) IS DISTINCT FROM ({others})"
    )
    await session.execute(f"DROP TABLE {staged}")


def _pairs(schema: Schema, table: str, columns: tuple[str, ...]) -> Iterator[str]:
    for column in columns:
        yield f"own.{column_name(schema, table, column)} = staged.{quote_identifier(column)}"
