"""Result rows into the host's tables: by COPY, or in place where a row exists already."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any, Final

import numpy as np

from batchcore import _core
from batchcore.frames import Constant, Days, Moment, among, day_keys, distinct, taken
from batchcore.pg.fields import field_of
from batchcore.pg.sql import Sql, column_name, compose
from batchcore.schema import RULE_COLUMNS
from batchcore.sinks.analytics import encode_table, write_tables
from batchcore.sinks.staging import EncodedRows, Writer

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Iterable, Mapping, Sequence

    from batchcore.config import Schema
    from batchcore.frames import Bools, Ids, Int32, Int64, NotReplaced, Rows, Table
    from batchcore.pg.fields import Field
    from batchcore.pg.session import Session

_TABLE: Final = "portfolio_snapshots"
_KEY: Final = ("portfolio_id", "snapshot_date")


@dataclass(frozen=True, eq=False, slots=True)
class Batch:
    """The encoded rows of a chunk: nothing more is computed inside its transaction."""

    new: EncodedRows  # snapshots that do not exist yet
    replaced: EncodedRows  # those that do; their columns begin with the key
    equity: EncodedRows  # portfolio and equity
    span: tuple[bytes, bytes]  # first and last portfolio of the chunk, 16 bytes each
    tables: tuple[EncodedRows, ...] = ()  # others: of `KEYS`, then market values
    filled: Sql = field(default_factory=Sql)  # the SELECT of which of them have such rows
    cleared: tuple[str, ...] = ()  # columns that become NULL in rows that exist already

    @property
    def size_bytes(self) -> int:
        """Number of bytes sent to the server."""
        return sum(len(piece) for part in self.parts() for piece in part.pieces)

    @property
    def snapshots(self) -> int:
        """Number of rows of `portfolio_snapshots`."""
        return self.new.rows + self.replaced.rows

    def parts(self) -> tuple[EncodedRows, ...]:
        """Return the rows of each table in the order in which they are sent."""
        return (self.equity, self.new, self.replaced, *self.tables)

    def portfolios(self) -> Int32:
        """Return the portfolios of the chunk with rows, ascending."""
        return distinct(np.concatenate([part.portfolio for part in self.parts()]))

    def cut(self, kept: Bools) -> Batch:
        """Return the rows of some portfolios, byte for byte; ``kept`` is (p,)."""
        return replace(
            self,
            new=self.new.cut(kept),
            replaced=self.replaced.cut(kept),
            equity=self.equity.cut(kept),
            tables=tuple(table.cut(kept) for table in self.tables),
        )


def sha256_of(batches: Iterable[Batch]) -> str:
    """Return the SHA-256 of all COPY bytes in the order sent, in hexadecimal."""
    digest = hashlib.sha256()
    for batch in batches:
        for part in batch.parts():
            for piece in part.pieces:
                digest.update(piece)
    return digest.hexdigest()


@dataclass(frozen=True, eq=False, slots=True)
class Stamp:
    """The values that new rows share."""

    unix_us: int  # the run's start, microseconds since 1970-01-01: `created_at`
    id_unix_ms: int  # of the ids of this chunk, later than of all before: the index grows there
    random: bytes  # 16 bytes, where the ids of this chunk start

    def ids(self, rows: int) -> Ids:
        """Return ascending ids, UUIDs of version 7 (RFC 9562, 5.7 and 6.2, method 1)."""
        first = int.from_bytes(self.random)
        words = np.empty((rows, 2), dtype=">u8")
        words[:, 0] = self.id_unix_ms << 16 | 7 << 12 | first >> 64 & 0xFFF
        # the counter has room for 2^61 rows
        words[:, 1] = np.arange(rows, dtype=np.uint64) + np.uint64(2 << 62 | first & 2**61 - 1)
        return words.view(np.uint8)


@dataclass(frozen=True, eq=False, slots=True)
class Equities:
    """The new `portfolios.equity_balance`."""

    portfolio_id: Ids
    cents: Int64


def encode_batch(
    rows: Rows,
    ids: Ids,
    exist: Bools,
    equities: Equities,
    stamp: Stamp,
    *,
    figures: Sequence[str] = RULE_COLUMNS,
    analytics: Mapping[str, Any] | None = None,
    jsonb: bool = False,
    tables: Iterable[Table] = (),
    filled: Sql = Sql(),  # noqa: B008  # it is a text
    cleared: tuple[str, ...] = (),
    defaulted: tuple[str, ...] = (),
    cancel: _core.CancelFlag | None = None,
) -> Batch:
    """Return the bytes of a chunk: of rows that are new, and of those that ``exist`` already.

    Rows are sorted by portfolio, of sorted ``ids``, and day; ``figures`` are their columns that are
    written. Without ``analytics`` these columns are left alone; ``jsonb`` is the type of
    `sector_exposure`. ``tables`` are written in addition, and ``filled`` is the SELECT of which of
    them have such rows. ``cleared`` columns become NULL in rows that exist, ``defaulted`` ones are
    NULL in new rows, against their default. If ``cancel`` is raised from another thread, it stops
    the call with a `CancelledError`.
    """
    new, replaced = np.flatnonzero(~exist), np.flatnonzero(exist)
    head: list[Field] = [
        field_of("id", stamp.ids(len(new))),
        field_of("created_at", Moment(stamp.unix_us)),
    ]
    # A NULL has no bytes, so its type does not matter.
    nulls = Days.nulls(len(new))
    no_values = [field_of(name, nulls) for name in defaulted]
    columns: dict[str, Any] = {
        "portfolio_id": taken(ids, rows.portfolio),
        "snapshot_date": Days(rows.day),
        **{name: getattr(rows, name) for name in figures},
        "is_complete": Constant(value=True),
        **(analytics or {}),
    }

    def of_rows(own: Int64) -> list[Field]:
        some = columns if len(own) == len(rows) else taken(columns, own)
        return [field_of(name, column, jsonb=jsonb) for name, column in some.items()]

    new_fields = [*head, *of_rows(new), *no_values]
    equity_fields = [
        field_of("id", equities.portfolio_id),
        field_of("equity_balance", equities.cents),
    ]
    owner = _core.locate(keys=equities.portfolio_id, ids=ids)
    return Batch(
        new=EncodedRows.of(_TABLE, new_fields, rows.portfolio[new], cancel),
        replaced=EncodedRows.of(_TABLE, of_rows(replaced), rows.portfolio[replaced], cancel),
        equity=EncodedRows.of("portfolios", equity_fields, owner, cancel),
        # of no portfolio, what everything lies between
        span=(ids[0].tobytes(), ids[-1].tobytes()) if len(ids) else (bytes(16), b"\xff" * 16),
        tables=tuple(encode_table(table, stamp, cancel) for table in tables),
        filled=filled,
        cleared=cleared,
    )


def already_exist(rows: Rows, ids: Ids, existing_id: Ids, existing_day: Int32) -> Bools:
    """Return whether a snapshot of the portfolio and day of each row exists already."""
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
    *,
    acting: Collection[tuple[str, str]] = (),
    checks_deferred: bool = False,
) -> Sequence[NotReplaced]:
    """Write a chunk inside the caller's transaction; return the rows left to other writers.

    New rows go by COPY straight into the table. Existing rows are updated in place, so that they
    keep their `id`, foreign keys to it and the host's own columns. Equities come first, so that
    locks of others on portfolios are awaited before snapshots are locked. Row counts are checked;
    if the server stored fewer, or triggers or rules act on the tables, the rows are read back and
    compared at the end. With ``checks_deferred``, deferred constraints and triggers are fired
    before that. ``step`` is called with the name of each finished step.

    Raises:
        DatabaseError: the server refused it, stored something other than was sent, or a row that
            existed at the load is gone.
    """
    tables = {part.table for part in batch.parts() if part.rows}
    acting = [one for one in acting if one[0] in tables]
    writer = Writer(session, schema, batch.span, acting, checks_deferred)
    if batch.equity.rows:
        await _set_equity(writer, batch.equity, stamp)
    step("equities")
    own = writer.within(_TABLE, "portfolio_id")
    if batch.new.rows:
        await writer.copy(batch.new, _KEY, condition=own)
    if batch.replaced.rows:
        cleared = batch.cleared
        staged = await writer.stage(batch.replaced, _KEY, condition=own, cleared=cleared)
        await writer.update(staged)
    step("copied")
    kept = await write_tables(writer, batch.tables, batch.filled)
    await writer.compare()
    return kept


async def _set_equity(writer: Writer, rows: EncodedRows, stamp: Stamp) -> None:
    staged = await writer.stage(rows, ("id",), condition=writer.within("portfolios", "id"))
    seconds, microseconds = divmod(stamp.unix_us, 1_000_000)
    updated_at = compose(
        "{column} = to_timestamp({seconds}) + interval '{microseconds} us'",
        column=column_name(writer.schema, "portfolios", "updated_at"),
        seconds=seconds,
        microseconds=microseconds,
    )
    await writer.update(staged, changed=True, and_set=updated_at)
