"""Rows of the analytic tables and market values of positions into the host's tables."""

from __future__ import annotations

import uuid
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Final

from batchcore import _core
from batchcore.db.analytic_tables import COLUMNS, KEYS
from batchcore.db.catalog import WRITES
from batchcore.db.fields import field_of
from batchcore.db.sql import column_name, quote_identifier, table_name, within
from batchcore.frames import Moment, Table

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

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

    Raises:
        DatabaseError: the server refused it.
    """
    kept: dict[str, list[tuple[str, int, int]]] = {}
    if batch.tables:
        stands = await session.fetch(_marked(schema, batch.stands))
        for table, has_rows in zip(batch.tables, stands[0], strict=True):
            if has_rows:
                for portfolio, rows, day in await _merge(session, schema, table):
                    kept.setdefault(portfolio, []).append((table.table, rows, day))
            else:
                names = [schema.column(table.table, column) for column in table.columns]
                name, namespace = schema.table(table.table), schema.namespace
                await session.copy_in(name, names, table.pieces, namespace=namespace)
    if batch.market_values is not None:
        await _set_market_values(session, schema, batch.market_values, span)
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


async def _merge(session: Session, schema: Schema, batch: TableBatch) -> list[tuple[str, int, int]]:
    """Write rows of which some may stand; return portfolio, count and first date of those kept."""
    staged = await _stage(session, schema, batch)
    table, keys = batch.table, KEYS[batch.table]
    same = " AND ".join(_pairs(schema, table, keys))
    kept_rows = await session.fetch(_without_others(schema, table, staged, same))
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
    return [tuple(row) for row in kept_rows]


def _without_others(schema: Schema, table: str, staged: str, same: str) -> str:
    """Return the statement that takes the keys of other writers' rows out of the staged ones.

    Runs before the marks were entered have their chunks in the ledger, by the same transaction.
    """
    owner, of_owner = "gone.portfolio_id", ""
    if "portfolio_id" not in KEYS[table]:
        owner = f"p.{column_name(schema, _POSITIONS, 'portfolio_id')}"
        own_id = f"p.{column_name(schema, _POSITIONS, 'id')}"
        of_owner = f" JOIN {table_name(schema, _POSITIONS)} AS p ON {own_id} = gone.position_id"
    (day,) = (column for column in KEYS[table] if column.endswith("_date"))
    ours = " UNION ALL ".join(
        f"SELECT xmin FROM {_own_table(schema, name)}"  # noqa: S608  # quoted
        for name in (WRITES, "batchcore_run_chunks")
    )
    return (
        f"WITH gone AS (DELETE FROM {staged} AS staged USING {table_name(schema, table)} AS own"  # noqa: S608
        f" WHERE {same} AND own.xmin NOT IN ({ours}) RETURNING staged.*)"
        f" SELECT {owner}::text, count(*), min(gone.{day}) - '1970-01-01'::date"
        f" FROM gone{of_owner} GROUP BY 1"
    )


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
