"""Stored snapshots with all their columns, as they are, for other tools."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, Any, Final

import numpy as np

from batchcore.frames import Decimals, Integers, taken
from batchcore.pg.sql import Sql, compose
from batchcore.schema import HOST, Kind
from batchcore.sources.host import HostColumn, select, tables
from batchcore.sources.query import Column
from batchcore.sources.snapshots import SNAPSHOTS
from batchcore.sources.stored import scale_of

if TYPE_CHECKING:
    from collections.abc import Iterable

    from batchcore.db.catalog import Catalog
    from batchcore.sources.host import Selection
    from batchcore.sources.query import Query

KEY: Final = ("portfolio_id", "snapshot_date")

_TEXTS: Final = frozenset({Kind.TEXT, Kind.JSON, Kind.JSONB})
_COUNTS: Final = frozenset({Kind.INT2, Kind.INT4})

_ROWS: Final = """
SELECT {columns} FROM {s}
WHERE {owned} AND {s.snapshot_date} BETWEEN {first:date} AND {last:date}
"""
_MICROSECONDS: Final = """
CASE WHEN isfinite({moment}) THEN (extract(epoch FROM {moment}) * 1000000)::numeric END
"""


def select_snapshots(
    catalog: Catalog, selection: Selection, days: tuple[int, int], columns: Iterable[str]
) -> Query[dict[str, Any]]:
    """Return the snapshots of portfolios from one day to another, by portfolio and date.

    Their columns by name: those of `KEY`, and others; moments are microseconds since 1970.
    """
    s = tables(catalog)["s"]
    own = [(name, getattr(s, name)) for name in (*KEY, *columns)]
    read = [_column(catalog, name, column) for name, column in own]
    owned = selection.owned(catalog, s.portfolio_id)
    holes = {"owned": owned, "first": days[0], "last": days[1]}
    made = partial(_sorted, {name for name, column in own if column.kind in _COUNTS})
    return select(catalog, "snapshots", made, read, _ROWS, **holes)


def _column(catalog: Catalog, name: str, column: HostColumn) -> Column:
    """Return a column of the host as one of the result, which tells a NULL."""
    kind = column.kind
    if kind in _TEXTS:
        return Column(name, Kind.TEXT, Sql(f"{column}::text"))
    if kind in {*_COUNTS, Kind.INT8}:
        return Column(name, Kind.NUMERIC, Sql(f"{column}::numeric"))
    if kind is Kind.TIMESTAMPTZ:
        return Column(name, Kind.NUMERIC, compose(_MICROSECONDS, moment=column))
    if kind is Kind.BOOL:
        return Column(name, Kind.BOOL, Sql(f"({column}) IS TRUE"))
    if kind in {Kind.NUMERIC, Kind.FLOAT8}:
        return Column(name, kind, column, scale_of(catalog, name), f"{SNAPSHOTS}.{name}")
    return column.read(name, bare=name in KEY)


def _sorted(counts: set[str], **columns: Any) -> dict[str, Any]:  # noqa: ANN401  # several types
    for name in counts:
        column: Decimals = columns[name]
        columns[name] = Integers(column.values.astype(np.int32), column.state)
    halves = columns["portfolio_id"].view(">u8").reshape(-1, 2)
    order = np.lexsort((columns["snapshot_date"], halves[:, 1], halves[:, 0]))
    if not (order[1:] > order[:-1]).all():
        columns = taken(columns, order)
    return columns


def declared_digits(catalog: Catalog, name: str) -> int | None:
    """Return the precision that a column of snapshots declares, None without one."""
    found = catalog.column(SNAPSHOTS, name)
    if found.precision is None or found.scale is None:
        return None
    return found.precision + min(scale_of(catalog, name) - found.scale, 0)


def known_columns() -> tuple[str, ...]:
    """Return the columns of a snapshot beside its key, in order."""
    names = (column.name for column in HOST[SNAPSHOTS].columns)
    return tuple(name for name in names if name not in KEY)
