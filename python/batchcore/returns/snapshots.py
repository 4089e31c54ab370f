"""Stored snapshots as a table that other libraries take."""

from __future__ import annotations

import datetime as dt
import uuid
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

from batchcore import arrow
from batchcore.arguments import checked_day, checked_values
from batchcore.arrow import ArrowColumn  # noqa: TC001  # callers may look at types
from batchcore.config import Settings  # noqa: TC001  # callers may look at types
from batchcore.db.access import reading, rechecked
from batchcore.errors import ConfigError
from batchcore.frames import Decimals, arrow_column
from batchcore.run.plan import check_found
from batchcore.run.request import requested
from batchcore.schema import HOST, Kind, Use
from batchcore.sources.host import Selection
from batchcore.sources.query import load
from batchcore.sources.snapshots import KEY, SNAPSHOTS, scale_of, select_ids, select_snapshots
from batchcore.sources.stored import readable
from batchcore.units import State

if TYPE_CHECKING:
    from batchcore.db.catalog import Catalog

_KNOWN: Final = tuple(one.name for one in HOST[SNAPSHOTS].columns if one.name not in KEY)

_LEFT_OUT: Final = ("id", "created_at")
"""Columns that are read only if named, as they are not figures."""


@dataclass(frozen=True, eq=False, slots=True)
class Snapshots(arrow.ArrowTable):
    """Stored snapshots, by portfolio and date.

    Attributes:
        columns: Name in docs/schema.md -> values, beginning with `portfolio_id`, (n, 16) uint8,
            and `snapshot_date`, (n,) int32 days since 1970-01-01.
        digits: Name -> precision that a column of decimals declares, where it does.
        moments: Names of columns of moments: microseconds since 1970-01-01 00:00 UTC.
        unreadable: Name -> number of values that are neither NULL nor readable: NaN, or with more
            decimals than the column is read with.
    """

    columns: Mapping[str, Any]
    digits: Mapping[str, int]
    moments: frozenset[str]
    unreadable: Mapping[str, int]

    def __len__(self) -> int:
        """Return the number of snapshots."""
        return len(self.columns["snapshot_date"])

    def _arrow_columns(self) -> Mapping[str, ArrowColumn]:
        found = {}
        for name, column in self.columns.items():
            if name == "snapshot_date":
                found[name] = arrow.dates(column)
            elif name in self.moments:
                found[name] = arrow.moments(column.values, column.state)
            else:
                found[name] = arrow_column(column, self.digits.get(name))
        return found


@rechecked
async def read_snapshots(
    db: object,
    start: dt.date,
    end: dt.date,
    portfolio_ids: Iterable[uuid.UUID | str] | None = None,
    columns: Sequence[str] | None = None,
    *,
    settings: Settings | None = None,
) -> Snapshots:
    """Return stored snapshots as a table that polars, pandas, DuckDB and pyarrow take (Arrow).

    It has all snapshots in the range, complete or not, by portfolio and date. Decimals have the
    precision and scale of their columns.

    Args:
        db: Any kind of database, the caller's connections too. A role that may only SELECT will
            do.
        start: First day, included.
        end: Last day, included.
        portfolio_ids: The portfolios; None is all that are not soft-deleted, an empty list none.
        columns: Names of docs/schema.md, beside `portfolio_id` and `snapshot_date`, which come
            first; None is all columns of the table except `id` and `created_at`.
        settings: Its `schema` counts.

    Raises:
        ConfigError: an argument is wrong, or names a portfolio or a column that does not exist.
        SchemaError: the tables are not those that batchcore can read.
        DatabaseError: the database refused, failed or went away.
    """
    request = await requested(start, end, portfolio_ids, analytics="none", settings=settings)
    days = checked_day(start), checked_day(end)
    wanted = None if columns is None else _checked(columns)
    schema = request.settings.schema
    async with reading(db, schema, Use.RETURNS) as (session, catalog):
        selection = Selection(request.wanted)
        if request.wanted is not None:
            check_found(request.wanted, await load(session, select_ids(catalog, selection)))
        names = _readable(catalog, wanted)
        found = await load(session, select_snapshots(catalog, selection, days, names))
    declared = {name: catalog.column(SNAPSHOTS, name) for name in names}
    return Snapshots(
        columns=found,
        digits={
            name: column.precision + min(scale_of(catalog, name) - column.scale, 0)
            for name, column in declared.items()
            if column.precision is not None and column.scale is not None
        },
        moments=frozenset(name for name, one in declared.items() if one.kind is Kind.TIMESTAMPTZ),
        unreadable={
            name: count
            for name, column in found.items()
            if isinstance(column, Decimals) and (count := int((column.state > State.NULL).sum()))
        },
    )


def _checked(columns: Sequence[str]) -> list[str]:
    """Return requested columns, each once, without the key."""
    names = list(dict.fromkeys(checked_values(columns, "columns")))
    for name in names:
        if name not in (*KEY, *_KNOWN):
            msg = f"unknown column `{name}`, expected some of {', '.join(_KNOWN)}"
            raise ConfigError(msg, "columns")
    return [name for name in names if name not in KEY]


def _readable(catalog: Catalog, wanted: list[str] | None) -> list[str]:
    """Return the columns to read: the requested ones, or all but `_LEFT_OUT`.

    Raises:
        ConfigError: one that is asked for is not there.
    """
    there = readable(catalog, _KNOWN)
    if wanted is None:
        return [name for name in there if name not in _LEFT_OUT]
    for name in wanted:
        if name not in there:
            label = catalog.label(SNAPSHOTS, name)
            raise ConfigError(f"{label}: missing column, or not readable", "columns")
    return wanted
