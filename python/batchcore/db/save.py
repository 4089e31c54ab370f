"""Result rows into the host's tables: COPY straight in, and in place where a row stands already."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, Final

import numpy as np

from batchcore import _core
from batchcore.db.fields import field_of
from batchcore.db.load import taken
from batchcore.db.save_analytics import encode_tables, write_tables
from batchcore.db.sql import column_name, quote_identifier, table_name, within
from batchcore.errors import DatabaseError
from batchcore.frames import among, day_keys
from batchcore.units import CENTS, State

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    import numpy.typing as npt

    from batchcore.config import Schema
    from batchcore.db.engine import Session
    from batchcore.db.fields import Field
    from batchcore.db.save_analytics import ChunkTables, Kept, TablesBatch
    from batchcore.frames import Decimals, Rows, SnapshotAnalytics

PIECE_BYTES: Final = 1 << 20
"""Bytes handed to the driver at a time."""

_TABLE: Final = "portfolio_snapshots"
_STAGED_ROWS: Final = "batchcore_staged_rows"
_STAGED_EQUITY: Final = "batchcore_staged_equity"

_CENTS: Final = {
    "cash_value": "cash_cents",
    "long_value": "long_cents",
    "short_value": "short_cents",
    "gross_exposure": "gross_cents",
    "net_exposure": "net_cents",
    "equity_balance": "equity_cents",
    "daily_pnl": "daily_pnl_cents",
    "cumulative_pnl": "cumulative_pnl_cents",
    "daily_realized_pnl": "daily_realized_cents",
    "cumulative_realized_pnl": "cumulative_realized_cents",
    "daily_capital_flow": "daily_flow_cents",
    "cumulative_capital_flow": "cumulative_flow_cents",
}
_COUNTS: Final = {
    "num_positions": "num_positions",
    "num_long_positions": "num_long",
    "num_short_positions": "num_short",
}


@dataclass(frozen=True, slots=True)
class Batch:
    """What a chunk writes, encoded: nothing more is computed inside its transaction.

    Attributes:
        new: COPY bytes of the rows that do not stand yet.
        new_rows: How many.
        new_columns: Their columns, by the names of docs/schema.md.
        replaced: COPY bytes of the rows that stand already.
        replaced_rows: How many.
        replaced_columns: Their columns, the key first.
        replaced_types: The types of these.
        equity: COPY bytes of portfolio and equity.
        equity_rows: How many.
        span: First and last portfolio of the chunk, 16 bytes each.
        tables: What is written beside snapshots; None for nothing.
        cleared: Columns that become NULL in rows that stand already.
        sha256: Of all COPY bytes in the order of their sending, as hexadecimal digits.
    """

    new: list[bytes]
    new_rows: int
    new_columns: tuple[str, ...]
    replaced: list[bytes]
    replaced_rows: int
    replaced_columns: tuple[str, ...]
    replaced_types: tuple[str, ...]
    equity: list[bytes]
    equity_rows: int
    span: tuple[bytes, bytes]
    tables: TablesBatch | None = None
    cleared: tuple[str, ...] = ()
    sha256: str = ""

    @property
    def size_bytes(self) -> int:
        """Bytes that go to the server."""
        return sum(len(piece) for piece in self.pieces())

    def pieces(self) -> Iterator[bytes]:
        """Yield all bytes of COPY in the order of their sending."""
        yield from (*self.equity, *self.new, *self.replaced)
        if self.tables is not None:
            yield from self.tables.pieces()


@dataclass(frozen=True, eq=False, slots=True)
class Stamp:
    """What new rows share.

    Attributes:
        unix_us: The run's start, microseconds since 1970-01-01: `created_at`.
        id_unix_ms: Milliseconds of the ids of this chunk, later than those of chunks before, so
            that the index on them grows at its end.
        random: 16 random bytes, where the ids of this chunk start.
    """

    unix_us: int
    id_unix_ms: int
    random: bytes


@dataclass(frozen=True, eq=False, slots=True)
class Equities:
    """What `portfolios.equity_balance` becomes.

    Attributes:
        portfolio_id: (n, 16) uint8.
        cents: (n,) int64.
    """

    portfolio_id: npt.NDArray[np.uint8]
    cents: npt.NDArray[np.int64]


def encode_batch(
    rows: Rows,
    ids: npt.NDArray[np.uint8],
    stands: npt.NDArray[np.bool_],
    equities: Equities,
    stamp: Stamp,
    *,
    analytics: SnapshotAnalytics | None = None,
    jsonb: bool = False,
    tables: ChunkTables | None = None,
    cleared: tuple[str, ...] = (),
    defaulted: tuple[str, ...] = (),
    cancel: _core.CancelFlag | None = None,
) -> Batch:
    """Return the bytes of a chunk.

    Args:
        rows: Sorted by portfolio and day.
        ids: (p, 16) uint8, sorted, the portfolios that `rows.portfolio` counts.
        stands: (n,) bool, whether a row stands already.
        equities: What `portfolios.equity_balance` becomes.
        stamp: What new rows share.
        analytics: Analytic columns of `rows`; None leaves them alone.
        jsonb: Whether `sector_exposure` is `jsonb`.
        tables: What is written beside snapshots.
        cleared: Columns that become NULL in rows that stand already.
        defaulted: Columns that are NULL in new rows, against their default.
        cancel: Raised from another thread, it stops the call.

    Raises:
        CancelledError: `cancel` was raised.
    """
    new, replaced = np.flatnonzero(~stands), np.flatnonzero(stands)
    head: list[Field] = [
        ("id", "uuid7", (stamp.id_unix_ms, stamp.random), None),
        ("created_at", "timestamptz", (stamp.unix_us,), None),
    ]
    columns = {} if analytics is None else analytics.columns

    def analytic(own: npt.NDArray[np.int64]) -> list[Field]:
        return [
            field_of(name, column if len(own) == len(rows) else taken(column, own), jsonb=jsonb)
            for name, column in columns.items()
        ]

    # A NULL has no bytes, so its type does not matter.
    nulls = (np.zeros(len(new), dtype=np.int32),), np.full(len(new), State.NULL, dtype=np.uint8)
    no_values: list[Field] = [(name, "int4", *nulls) for name in defaulted]
    new_fields = [*head, *_fields(rows, ids, new), *analytic(new), *no_values]
    replaced_fields = [*_fields(rows, ids, replaced), *analytic(replaced)]
    equity_fields: list[Field] = [
        ("id", "uuid", (equities.portfolio_id,), None),
        ("equity_balance", "numeric", (equities.cents, CENTS), None),
    ]
    batch = Batch(
        new=encoded(new_fields, len(new), cancel),
        new_rows=len(new),
        new_columns=tuple(field[0] for field in new_fields),
        replaced=encoded(replaced_fields, len(replaced), cancel),
        replaced_rows=len(replaced),
        replaced_columns=tuple(field[0] for field in replaced_fields),
        replaced_types=tuple(field[1] for field in replaced_fields),
        equity=encoded(equity_fields, len(equities.cents), cancel),
        equity_rows=len(equities.cents),
        span=span_of(ids),
        tables=None
        if tables is None
        else encode_tables(
            tables,
            id_unix_ms=stamp.id_unix_ms,
            random=stamp.random,
            unix_us=stamp.unix_us,
            cancel=cancel,
        ),
        cleared=cleared,
    )
    digest = hashlib.sha256()
    for piece in batch.pieces():
        digest.update(piece)
    return replace(batch, sha256=digest.hexdigest())


def encoded(columns: list[Field], rows: int, cancel: _core.CancelFlag | None = None) -> list[bytes]:
    """Return the bytes of a COPY of columns; none without rows.

    Raises:
        CancelledError: `cancel` was raised.
    """
    if not rows:
        return []
    return _core.encode(fields=columns, rows=rows, piece_bytes=PIECE_BYTES, cancel=cancel)


def span_of(ids: npt.NDArray[np.uint8]) -> tuple[bytes, bytes]:
    """Return the first and the last of sorted ids; of none, what everything lies between."""
    return (ids[0].tobytes(), ids[-1].tobytes()) if len(ids) else (bytes(16), b"\xff" * 16)


def _fields(rows: Rows, ids: npt.NDArray[np.uint8], own: npt.NDArray[np.int64]) -> list[Field]:
    every = len(own) == len(rows)

    def take(array: npt.NDArray[Any]) -> npt.NDArray[Any]:
        return array if every else array[own]

    portfolio_id = np.ascontiguousarray(ids[take(rows.portfolio)])
    returns: Decimals = rows.daily_return
    total = rows.equity_cents if rows.legacy is None else rows.legacy.total_value.values
    return [
        ("portfolio_id", "uuid", (portfolio_id,), None),
        ("snapshot_date", "date", (take(rows.day),), None),
        ("total_value", "numeric", (take(total), CENTS), None),
        *(
            (column, "numeric", (take(getattr(rows, name)), CENTS), None)
            for column, name in _CENTS.items()
        ),
        ("daily_return", "numeric", (take(returns.values), returns.scale), take(returns.state)),
        *((column, "int4", (take(getattr(rows, name)),), None) for column, name in _COUNTS.items()),
        ("is_complete", "bool", (True,), None),
    ]


def stands_already(
    rows: Rows,
    ids: npt.NDArray[np.uint8],
    existing_id: npt.NDArray[np.uint8],
    existing_day: npt.NDArray[np.int32],
) -> npt.NDArray[np.bool_]:
    """Return for each row whether a snapshot of its portfolio and day stands already."""
    if len(existing_day) == 0:
        return np.zeros(len(rows), dtype=np.bool_)
    portfolio = _core.locate(keys=existing_id, ids=ids)
    keys = day_keys(rows.portfolio, rows.day)
    return among(keys, day_keys(portfolio, existing_day)[portfolio >= 0])


async def write_batch(
    session: Session,
    schema: Schema,
    batch: Batch,
    stamp: Stamp,
    step: Callable[[str], None] = lambda _: None,
) -> Sequence[Kept]:
    """Write a chunk inside the caller's transaction; return what it left to other writers.

    New rows go by COPY straight into the table. Rows that stand already are updated in place, so
    that their `id`, foreign keys to it and the host's own columns live on. Equities come first:
    whoever has locked portfolios is waited for before their snapshots are locked.

    Args:
        session: In a transaction.
        schema: Names of tables and columns.
        batch: The chunk.
        stamp: What its new rows share.
        step: Told the name of each step when it is done.

    Raises:
        DatabaseError: the server refused it, or a row that stood at the load is gone.
    """
    if batch.equity_rows:
        await _set_equity(session, schema, batch, stamp)
    step("equities")
    if batch.new_rows:
        names = [schema.column(_TABLE, column) for column in batch.new_columns]
        await session.copy_in(schema.table(_TABLE), names, batch.new, namespace=schema.namespace)
    if batch.replaced_rows:
        await _replace(session, schema, batch)
    step("copied")
    if batch.tables is None:
        return ()
    return await write_tables(session, schema, batch.tables, batch.span)


async def _replace(session: Session, schema: Schema, batch: Batch) -> None:
    columns = batch.replaced_columns
    types = zip(columns, batch.replaced_types, strict=True)
    declared = ", ".join(f"{quote_identifier(c)} {type_name}" for c, type_name in types)
    await session.execute(f"CREATE TEMP TABLE {_STAGED_ROWS} ({declared}) ON COMMIT DROP")
    await session.copy_in(_STAGED_ROWS, list(columns), batch.replaced)
    key = ("portfolio_id", "snapshot_date")
    changed = ", ".join(
        [
            f"{column_name(schema, _TABLE, c)} = staged.{quote_identifier(c)}"
            for c in columns
            if c not in key
        ]
        + [f"{column_name(schema, _TABLE, c)} = NULL" for c in batch.cleared]
    )
    same = " AND ".join(
        f"snapshot.{column_name(schema, _TABLE, c)} = staged.{quote_identifier(c)}" for c in key
    )
    own = within(batch.span, f"snapshot.{column_name(schema, _TABLE, 'portfolio_id')}")
    updated = await session.execute(
        f"UPDATE {table_name(schema, _TABLE)} AS snapshot SET {changed}"  # noqa: S608  # quoted
        f" FROM {_STAGED_ROWS} AS staged WHERE {same} AND {own}"
    )
    await session.execute(f"DROP TABLE pg_temp.{_STAGED_ROWS}")
    if updated != batch.replaced_rows:
        msg = (
            f"{batch.replaced_rows} rows of {schema.table(_TABLE)} were to be replaced,"
            f" {updated} are still there"
        )
        raise DatabaseError(msg)


async def _set_equity(session: Session, schema: Schema, batch: Batch, stamp: Stamp) -> None:
    await session.execute(
        f"CREATE TEMP TABLE {_STAGED_EQUITY} (id uuid, equity_balance numeric) ON COMMIT DROP"
    )
    await session.copy_in(_STAGED_EQUITY, ["id", "equity_balance"], batch.equity)
    equity = column_name(schema, "portfolios", "equity_balance")
    updated_at = column_name(schema, "portfolios", "updated_at")
    seconds, microseconds = divmod(stamp.unix_us, 1_000_000)
    moment = f"to_timestamp({seconds}) + interval '{microseconds} us'"
    key = f"portfolio.{column_name(schema, 'portfolios', 'id')}"
    await session.execute(
        f"UPDATE {table_name(schema, 'portfolios')} AS portfolio"  # noqa: S608  # quoted
        f" SET {equity} = staged.equity_balance, {updated_at} = {moment}"
        f" FROM {_STAGED_EQUITY} AS staged"
        f" WHERE {key} = staged.id AND {within(batch.span, key)}"
        f" AND portfolio.{equity} IS DISTINCT FROM staged.equity_balance"
    )
    await session.execute(f"DROP TABLE pg_temp.{_STAGED_EQUITY}")
