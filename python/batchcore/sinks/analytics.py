"""Rows of the analytic tables and market values of positions into the host's tables."""

from __future__ import annotations

import uuid
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Final

from batchcore.db.analytic_tables import COLUMNS, KEYS, POSITIONS
from batchcore.db.catalog import WRITES
from batchcore.db.fields import field_of
from batchcore.db.sql import (
    Relation,
    Sql,
    column_name,
    compose,
    joined,
    own_table,
    quote_identifier,
    statement,
    table_name,
    within,
)
from batchcore.frames import Kept, Moment, Table
from batchcore.sinks.staging import (
    UPDATE,
    EncodedRows,
    Staged,
    copy_rows,
    stage,
    update_rows,
    write_staged,
)

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
    stands: Sql = field(default_factory=Sql)
    market_values: Table | None = None


@dataclass(frozen=True, eq=False, slots=True)
class TablesBatch:
    """What a chunk writes beside its snapshots, encoded; see `ChunkTables`."""

    tables: tuple[EncodedRows, ...]
    stands: Sql
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
        exist = statement(_MARKED, writes=own_table(schema, WRITES), exist=batch.stands)
        stands = await session.fetch(exist)
        for table, has_rows in zip(batch.tables, stands[0], strict=True):
            if not table.rows:
                continue
            if has_rows:
                for portfolio, rows, day in await _merge(session, schema, table, acting):
                    kept.setdefault(portfolio, []).append((table.table, rows, day))
            else:
                key = KEYS[table.table]
                await copy_rows(session, schema, table, key, acting=acting)
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


# Rows keep the id of the transaction that wrote them last (`xmin`), and so does the mark: by that
# they are known again, whatever triggers make of time stamps. A restored dump has other ids, so
# what is in it counts as written by others.
_MARKED: Final = """
WITH mark AS (INSERT INTO {writes} (id, written_at) VALUES (gen_random_uuid(), clock_timestamp()))
{exist}
"""
_INSERT: Final = """
INSERT INTO {table} ({into})
SELECT {taken} FROM {staged} WHERE NOT EXISTS (SELECT FROM {own} WHERE {found}) ORDER BY staged.id
"""
# Runs before the marks were entered have their chunks in the ledger, by the same transaction.
_WITHOUT_OTHERS: Final = """
WITH gone AS (
    DELETE FROM {staged} USING {own}
    WHERE {found}
        AND own.xmin NOT IN (SELECT xmin FROM {writes} UNION ALL SELECT xmin FROM {chunks})
    RETURNING staged.*)
SELECT {owner}::text, count(*), min(gone.{day}) - '1970-01-01'::date
FROM gone {of_owner} GROUP BY 1
"""


async def _merge(
    session: Session, schema: Schema, rows: EncodedRows, acting: Collection[tuple[str, str]]
) -> list[tuple[str, int, int]]:
    """Write rows of which some may exist; return portfolio, count and first date of those kept."""
    staged = await stage(session, schema, rows, KEYS[rows.table])
    kept = await session.fetch(_without_others(schema, staged))
    staged = replace(staged, count=staged.count - sum(row[1] for row in kept))
    into = joined(", ", [column_name(schema, rows.table, c) for c in rows.columns])
    taken = joined(", ", [f"staged.{quote_identifier(c)}" for c in rows.columns])
    table = table_name(schema, rows.table)
    statements = (
        statement(UPDATE, assignments=staged.assignments(), **staged.parts),
        statement(_INSERT, table=table, into=into, taken=taken, **staged.parts),
    )
    await write_staged(session, schema, staged, statements, acting=acting)
    return [tuple(row) for row in kept]


def _without_others(schema: Schema, staged: Staged) -> str:
    """Return the statement that takes the keys of other writers' rows out of the staged ones."""
    key = KEYS[staged.rows.table]
    owner, of_owner = Sql("gone.portfolio_id"), Sql()
    if "portfolio_id" not in key:
        p = Relation(schema, POSITIONS, "p")
        owner, of_owner = p.portfolio_id, compose("JOIN {p} ON {p.id} = gone.position_id", p=p)
    (day,) = (column for column in key if column.endswith("_date"))
    return statement(
        _WITHOUT_OTHERS,
        writes=own_table(schema, WRITES),
        chunks=own_table(schema, "batchcore_run_chunks"),
        owner=owner,
        of_owner=of_owner,
        day=Sql(day),
        **staged.parts,
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
    condition = joined(" AND ", (live, held))
    staged = await stage(session, schema, rows, ("id",), condition=condition, must_exist=False)
    await update_rows(session, schema, staged, acting, changed=True)
