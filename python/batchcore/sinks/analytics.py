"""Rows of the analytic tables and market values of positions into the host's tables."""

from __future__ import annotations

import uuid
from dataclasses import replace
from typing import TYPE_CHECKING, Any, Final

from batchcore.db.analytic_tables import KEYS, POSITIONS
from batchcore.frames import Moment, NotReplaced, Table
from batchcore.pg.fields import field_of
from batchcore.pg.sql import (
    Relation,
    Sql,
    column_name,
    compose,
    joined,
    quote_identifier,
    table_name,
)
from batchcore.schema import HOST, WRITES, Use
from batchcore.sinks.staging import UPDATE, EncodedRows, Staged, Writer

if TYPE_CHECKING:
    from collections.abc import Sequence

    from batchcore import _core
    from batchcore.config import Schema
    from batchcore.sinks.snapshots import Stamp


def encode_table(table: Table, stamp: Stamp, cancel: _core.CancelFlag | None) -> EncodedRows:
    """Return the bytes of rows of one of `KEYS`, or of market values."""
    stamps: dict[str, Any] = {
        name: Moment(stamp.unix_us)
        for name in HOST[table.name].names(Use.BETAS | Use.FACTORS)
        if name in {"created_at", "updated_at"}
    }
    columns = {**table.columns, **stamps}
    fields = [field_of(name, column) for name, column in columns.items()]
    if table.name in KEYS:
        fields.insert(0, field_of("id", stamp.ids(len(table.portfolio))))
    return EncodedRows.of(table.name, fields, table.portfolio, cancel)


# Rows keep the id of the transaction that wrote them last (`xmin`), and so does the mark, which
# identifies them whatever triggers do to time stamps. A restored dump has other ids, so its rows
# count as written by others.
_MARKED: Final = """
WITH mark AS (INSERT INTO {writes} (id, written_at) VALUES (gen_random_uuid(), clock_timestamp()))
{filled}
"""
_INSERT: Final = """
INSERT INTO {table} ({into})
SELECT {taken} FROM {staged} WHERE NOT EXISTS (SELECT FROM {own} WHERE {found}) ORDER BY staged.id
"""
# Runs of versions without marks have their chunks in the ledger, written by the same transaction.
# Of DISTINCT values the server expects 200 and hashes them; it would compare each row with each of
# hundreds of thousands.
_WITHOUT_OTHERS: Final = """
WITH gone AS (
    DELETE FROM {staged} USING {own}
    WHERE {found}
        AND own.xmin NOT IN (SELECT DISTINCT xmin FROM (
            SELECT xmin FROM {writes} UNION ALL SELECT xmin FROM {chunks}) AS wrote)
    RETURNING staged.*)
SELECT {owner}::text, count(*), min(gone.{day}) - '1970-01-01'::date
FROM gone {of_owner} GROUP BY 1
"""


async def write_tables(
    writer: Writer, tables: Sequence[EncodedRows], filled: Sql
) -> Sequence[NotReplaced]:
    """Write the rows of a chunk beside its snapshots, inside the caller's transaction.

    If none of the rows exists, they go by COPY straight into the table. Otherwise existing ones are
    updated in place, so that they keep their `id` and `created_at`, and the others inserted; rows
    last stored by another writer stay, and are returned by portfolio.
    """
    kept: dict[str, list[tuple[str, int, int]]] = {}
    keyed = [rows for rows in tables if rows.table in KEYS]
    if any(rows.rows for rows in keyed):
        writes = table_name(writer.schema, WRITES)
        (has_rows,) = await writer.session.fetch(compose(_MARKED, writes=writes, filled=filled))
        for rows, merges in zip(keyed, has_rows, strict=True):
            if rows.rows and merges:
                for portfolio, count, day in await _merge(writer, rows):
                    kept.setdefault(portfolio, []).append((rows.table, count, day))
            elif rows.rows:
                await writer.copy(rows, KEYS[rows.table])
    for rows in tables:
        if rows.table == POSITIONS and rows.rows:
            await _set_market_values(writer, rows)
    return [
        NotReplaced(
            uuid.UUID(portfolio).bytes,
            sum(count for _, count, _ in found),
            min(day for *_, day in found),
            ", ".join(f"{count} of {table}" for table, count, _ in found),
        )
        for portfolio, found in sorted(kept.items())
    ]


async def _merge(writer: Writer, rows: EncodedRows) -> list[tuple[str, int, int]]:
    """Write rows, some of which may exist; return portfolio, count and first date of rows kept."""
    schema = writer.schema
    staged = await writer.stage(rows, KEYS[rows.table])
    kept = await writer.session.fetch(_without_others(schema, staged))
    staged = replace(staged, count=staged.count - sum(row[1] for row in kept))
    into = joined(", ", [column_name(schema, rows.table, c) for c in rows.columns])
    taken = joined(", ", [f"staged.{quote_identifier(c)}" for c in rows.columns])
    table = table_name(schema, rows.table)
    statements = (
        compose(UPDATE, assignments=staged.assignments(), **staged.parts),
        compose(_INSERT, table=table, into=into, taken=taken, **staged.parts),
    )
    await writer.write(staged, statements)
    return [tuple(row) for row in kept]


def _without_others(schema: Schema, staged: Staged) -> str:
    """Return the statement that takes the keys of other writers' rows out of the staged ones."""
    key = KEYS[staged.table]
    owner, of_owner = Sql("gone.portfolio_id"), Sql()
    if "portfolio_id" not in key:
        p = Relation(schema, POSITIONS, "p")
        owner, of_owner = p.portfolio_id, compose("JOIN {p} ON {p.id} = gone.position_id", p=p)
    (day,) = (column for column in key if column.endswith("_date"))
    return compose(
        _WITHOUT_OTHERS,
        writes=table_name(schema, WRITES),
        chunks=table_name(schema, "batchcore_run_chunks"),
        owner=owner,
        of_owner=of_owner,
        day=Sql(day),
        **staged.parts,
    )


async def _set_market_values(writer: Writer, rows: EncodedRows) -> None:
    # Loaded positions are not soft-deleted, and the index on portfolios has no others.
    live = f"own.{column_name(writer.schema, POSITIONS, 'deleted_at')} IS NULL"
    condition = joined(" AND ", (live, writer.within(POSITIONS, "portfolio_id")))
    staged = await writer.stage(rows, ("id",), condition=condition, must_exist=False)
    await writer.update(staged, changed=True)
