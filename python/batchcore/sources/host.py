"""The host's tables in statements, and the conditions of rules on their columns."""

from __future__ import annotations

import math
from dataclasses import dataclass
from fractions import Fraction
from typing import TYPE_CHECKING, Final

import numpy as np

from batchcore import _core
from batchcore.calendar import FIRST_DATE, LAST_DATE, Calendar
from batchcore.pg.sql import Composable, Relation, Sql, compose, date_literal, in_shard, joined
from batchcore.schema import ALIASES, Kind
from batchcore.sources.query import Column, Query, Result
from batchcore.units import State
from batchcore.values import INFINITE_DAY, decimal_of

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping

    from batchcore.db.catalog import Catalog
    from batchcore.frames import Decimals, Floats, Ids, Int32, Int64
    from batchcore.shards import Shard


class HostColumn(Sql):
    """A column of the host, with its type.

    Templates take it as ``{p.quantity}``, or with one of `CONDITIONS` as ``{p.quantity:readable}``.
    """

    catalog: Catalog
    table: str
    column: str

    def __format__(self, condition: str) -> str:
        return CONDITIONS[condition](self) if condition else str(self)

    @property
    def kind(self) -> Kind:
        """Its type."""
        return self.catalog.column(self.table, self.column).kind

    @property
    def scale(self) -> int:
        """Its decimals."""
        return self.catalog.scale(self.table, self.column)

    def read(self, name: str = "", *, bare: bool = False) -> Column:
        """Return it as a column of a result, without the blanks that fill a ``char(20)``."""
        name, found = name or self.column, self.catalog.column(self.table, self.column)
        kind = found.kind
        if kind not in {Kind.NUMERIC, Kind.FLOAT8}:
            return Column(name, kind, Sql(f"{self}::text") if found.padded else self, bare=bare)
        fits = kind is Kind.NUMERIC and self.catalog.always_fits(self.table, self.column)
        return Column(name, kind, self, self.scale, f"{self.table}.{self.column}", fits)


class HostTable(Relation):
    """A table of the host with an alias, whose columns have types."""

    def __init__(self, catalog: Catalog, table: str, alias: str) -> None:
        super().__init__(catalog.schema, table, alias)
        self._catalog = catalog

    def __getattr__(self, column: str) -> HostColumn:
        found = HostColumn(super().__getattr__(column))
        found.catalog, found.table, found.column = self._catalog, self._table, column
        return found


def tables(catalog: Catalog, **aliases: str) -> dict[str, HostTable]:
    """Return the tables by their aliases, and by further ones."""
    named = {**ALIASES, **aliases}
    return {alias: HostTable(catalog, table, alias) for alias, table in named.items()}


def part(catalog: Catalog, template: str, /, **holes: object) -> Sql:
    """Return a part of a statement on the tables of the host."""
    return compose(template, **{**tables(catalog), **holes})


def select(
    catalog: Catalog,
    name: str,
    frame: Callable[..., Result],
    columns: str | Iterable[str | Column],
    template: str,
    /,
    **holes: object,
) -> Query[Result]:
    """Return a query by its template, in which ``{columns}`` is the select list.

    Columns of the host are named as in ``s.snapshot_date day, s.daily_return``, where the second
    name is that of the frame; a date with ``!`` has no NULLs and makes an array.
    """
    holes = {**tables(catalog), **holes}
    found: list[Column] = []
    for item in (columns,) if isinstance(columns, str) else columns:
        if isinstance(item, Column):
            found.append(item)
            continue
        for one in item.split(", "):
            column, _, other = one.partition(" ")
            alias, _, own = column.removesuffix("!").partition(".")
            found.append(getattr(holes[alias], own).read(other, bare=column.endswith("!")))
    items = [one.sql if isinstance(one.sql, Sql) else compose(one.sql, **holes) for one in found]
    sql = compose(template, columns=joined(", ", items), **holes)
    return Query(name, sql, tuple(found), frame)


def _finite(value: HostColumn) -> str:
    # NaN sorts above Infinity, of numeric and of double, so the two comparisons leave it out.
    return f"{value} < 'Infinity'::numeric AND {value} > '-Infinity'::numeric"


def _above_zero(value: HostColumn) -> str:
    """Return the condition that a rounded value is above 0; ``> 0`` stays, for an index."""
    return f"{value} > 0" + (
        f" AND {value} >= {smallest(value.scale)}" if value.kind is Kind.FLOAT8 else ""
    )


def _below_zero(value: HostColumn) -> str:
    return f"{value} <= -{smallest(value.scale)}" if value.kind is Kind.FLOAT8 else f"{value} < 0"


def _readable(value: HostColumn) -> str:
    """Return the condition that a value is finite and representable (S3)."""
    if value.kind is Kind.FLOAT8:
        least, most = fitting(value.scale)
        return f"{value} BETWEEN {least} AND {most}"
    if value.catalog.always_fits(value.table, value.column):
        return _finite(value)
    least, most = (f"{decimal_of(end, value.scale):f}" for end in (-(2**63), 2**63 - 1))
    return (
        f"{_finite(value)} AND {value} BETWEEN {least} AND {most}"
        f" AND trunc({value}, {value.scale}) = {value}"
    )


def _rounded(value: HostColumn) -> str:
    return f"round({value}::numeric, {value.scale})" if value.kind is Kind.FLOAT8 else str(value)


CONDITIONS: Final[Mapping[str, Callable[[HostColumn], str]]] = {
    "finite": _finite,
    "above_zero": _above_zero,
    "below_zero": _below_zero,
    "readable": _readable,
    "rounded": _rounded,
    "valid": lambda close: f"{_above_zero(close)} AND {_readable(close)}",  # S2
    "normalised": lambda text: f"upper(btrim({text} COLLATE \"C\", ' '))",  # S2
    "dated": lambda day: f"{day} BETWEEN {date_literal(FIRST_DATE)} AND {date_literal(LAST_DATE)}",
}
"""Conditions on a column that templates may use, with their SQL."""


def smallest(scale: int) -> str:
    """Return the smallest double that is rounded to more than 0 at ``scale`` decimals."""
    return _double(_at_least(Fraction(1, 2 * 10**scale)))


def fitting(scale: int) -> tuple[str, str]:
    """Return the least and the greatest double that fit 64 bits, rounded to ``scale`` decimals."""
    unit = 2 * 10**scale
    least = math.nextafter(_at_least(Fraction(2**64 + 1, unit)), 0)
    most = math.nextafter(_at_least(Fraction(2**64 - 1, unit)), 0)
    return _double(-least), _double(most)


def _at_least(bound: Fraction) -> float:
    """Return the smallest double that is not below ``bound``."""
    nearest = bound.numerator / bound.denominator
    return nearest if Fraction(nearest) >= bound else math.nextafter(nearest, math.inf)


def _double(value: float) -> str:
    return f"'{value!r}'::float8"


def day_number(date: Sql) -> Sql:
    """Return the expression for a date as a day since 1970-01-01, an infinite one as such."""
    return compose(
        "CASE WHEN isfinite({date}) THEN ({date} - DATE '1970-01-01')::bigint"
        " WHEN {date} IS NOT NULL THEN {infinite} END",
        date=date,
        infinite=INFINITE_DAY,
    )


@dataclass(frozen=True, slots=True)
class Selection(Composable):
    """The portfolios of a query: an inclusive range of ids, or a list of them."""

    ids: Ids | None = None  # sorted; None means all that are not soft-deleted
    as_range: bool = False  # whether it means every portfolio from the first to the last
    shard: Shard | None = None  # of all, those of a shard alone, where portfolios are read

    def __format__(self, column: str) -> str:
        return self.condition(Sql(column))

    def condition(self, column: Sql) -> Sql:
        """Return the condition for ``column``, written as ``{selection:{p.portfolio_id}}``."""
        if self.ids is None:
            return Sql("true")
        if len(self.ids) == 0:
            return Sql("false")
        if self.as_range:
            template = "{column} BETWEEN {first:uuid} AND {last:uuid}"
            return compose(template, column=column, first=self.ids[0], last=self.ids[-1])
        return compose("{column} = ANY({ids:uuids})", column=column, ids=self.ids)

    def alive(self, catalog: Catalog) -> Sql:
        """Return the condition for portfolio ``o``; for `all`, that it is not soft-deleted."""
        if self.ids is not None:
            return part(catalog, "{selection:{o.id}}", selection=self)
        if self.shard is None:
            return part(catalog, "{o.deleted_at} IS NULL")
        own = in_shard(part(catalog, "{o.id}"), *self.shard)
        return part(catalog, "{o.deleted_at} IS NULL AND {own}", own=own)

    def owned(self, catalog: Catalog, portfolio: Sql) -> Sql:
        """Return the condition for a row of a portfolio."""
        if self.ids is not None:
            return self.condition(portfolio)
        return part(catalog, _OWNED, portfolio=portfolio)


_OWNED: Final = "{portfolio} IN (SELECT {o.id} FROM {o} WHERE {o.deleted_at} IS NULL)"


@dataclass(frozen=True, eq=False, slots=True)
class Boundaries:
    """Separating days of some portfolios, each once, instead of the day of the run."""

    ids: Ids
    day: Int32


def complete(catalog: Catalog, calendar: Calendar) -> Sql:
    """Return the condition that snapshot ``s`` is complete, on a session of the calendar (S5).

    Sessions travel as a string of bits: 4 KB for 46 years, and one look-up for each row.
    """
    days, on_session = calendar.days, "{s.snapshot_date} BETWEEN {first:date} AND {last:date}"
    first, last, bits = calendar.first_day, calendar.last_day, Sql()
    if days is not None:
        if len(days) == 0:
            return Sql("false")
        first, last, bits = int(days[0]), int(days[-1]), bits_of(days)
        on_bit = "get_bit({bits}, {s.snapshot_date} - {first:date}) = 1"
        on_session = f"CASE WHEN {on_session} THEN {on_bit} ELSE false END"
    template = "{s.is_complete} AND {s.equity_balance:finite} AND " + on_session
    return part(catalog, template, first=first, last=last, bits=bits)


def bits_of(days: Int32) -> Sql:
    """Return ascending days as a string of bits from the first of them on, for `get_bit`."""
    bits = np.zeros(int(days[-1] - days[0]) + 1, dtype=np.bool_)
    bits[days - days[0]] = True
    # get_bit counts from the lowest bit of each byte
    return Sql(f"decode('{np.packbits(bits, bitorder='little').tobytes().hex()}', 'hex')")


def located(keys: Ids, ids: Ids) -> Int32:
    """Return the row of each key in ``ids``, -1 for none; both (n, 16) uint8."""
    return _core.locate(keys=np.ascontiguousarray(keys), ids=np.ascontiguousarray(ids))


def sorted_ids(ids: Ids, *then: Int32) -> Int64:
    """Return the order in which PostgreSQL sorts uuids, that of their bytes, and then by days."""
    high, low = np.ascontiguousarray(ids).view(">u8").reshape(-1, 2).T
    ties = (high[1:] == high[:-1]) & (low[1:] >= low[:-1])
    if not then and (ties | (high[1:] > high[:-1])).all():  # as is mostly the case
        return np.arange(len(ids))
    order: Int64 = np.lexsort((*then, low, high))
    return order


def floats(column: Decimals) -> Floats:
    """Return a column as float64, the nearest ones; NaN where it has no value."""
    values = column.values / 10**column.scale
    return np.where(column.state == State.VALUE, values, np.nan)
