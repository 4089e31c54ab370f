"""Each SELECT of a verification, beside those that it shares with a run."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from batchcore import reference as ref
from batchcore.calendar import FIRST_DATE, LAST_DATE
from batchcore.db.analytic_queries import AnalyticQueries
from batchcore.db.analytic_tables import COLUMNS, PROFILES, SNAPSHOTS
from batchcore.db.catalog import Kind
from batchcore.db.queries import Column, Query, Selection, date_literal, text_array
from batchcore.errors import SchemaError
from batchcore.units import CENTS, RETURN_SCALE

if TYPE_CHECKING:
    from collections.abc import Iterable

    from batchcore.calendar import Calendar

AMOUNTS: Final = ("total_value", *ref.MONEY_COLUMNS)
COUNTS: Final = ("num_positions", "num_long_positions", "num_short_positions")
RULED: Final = (*AMOUNTS, "daily_return", *COUNTS)
"""Columns of a snapshot that S5 to S9 name, beside its key and `is_complete`."""

SHARES: Final = "sector_exposure"
ANALYTIC: Final = tuple(COLUMNS[SNAPSHOTS])
"""Columns of a snapshot that A1 to A6 name."""

GREEKS: Final = ("portfolio_delta", "portfolio_gamma", "portfolio_theta", "portfolio_vega")
"""Columns that no rule of `rollforward` names, and other batches fill."""

NEVER: Final = -(2**63)
"""A moment before all others, in microseconds: of a row that does not say when it was written."""

UNKNOWN: Final = 2**63 - 1
"""A moment after all others: of a table that does not say when its rows were changed."""

_STAMPS: Final = ("created_at", "updated_at", "deleted_at")


def microseconds(moment: str) -> str:
    """Return the expression for a timestamp as microseconds since 1970, infinite ones too."""
    return (
        f"CASE WHEN isfinite({moment}) THEN (extract(epoch FROM {moment}) * 1000000)::int8"
        f" WHEN {moment} = 'infinity' THEN '{UNKNOWN}'::int8 END"
    )


def _is_private(investment_class: str) -> str:
    """Return the condition that a class is PRIVATE (S3)."""
    trimmed = f"btrim({investment_class}::text COLLATE \"C\", ' ')"
    return f"(upper({trimmed}) = 'PRIVATE') IS TRUE"


class AuditQueries(AnalyticQueries):
    """The queries of a verification."""

    def scale(self, column: str) -> int:
        """Return the decimals that a column of snapshots is read with.

        A column that declares none and that no rule reads has those of docs/schema.md; what has
        more is then not representable, and equal to nothing.
        """
        try:
            return self.catalog.scale(SNAPSHOTS, column)
        except SchemaError:
            return RETURN_SCALE if column == "daily_return" else CENTS

    def counts(
        self, calendar: Calendar, selection: Selection, start: int | None, end: int | None
    ) -> Query:
        """Return of each portfolio how many rows are stored in a range, and around which days.

        `previous` is the day of the latest complete snapshot before the first of them.
        """
        portfolio, day = (self._name(SNAPSHOTS, c) for c in ("portfolio_id", "snapshot_date"))
        table = self._table(SNAPSHOTS)
        sql = (
            f"SELECT c.portfolio, c.rows, c.first, c.last, b.day FROM"  # noqa: S608  # quoted
            f" (SELECT {portfolio} AS portfolio, count(*) AS rows, min({day}) AS first,"
            f" max({day}) AS last FROM {table} WHERE {selection.condition(portfolio)}"
            f" AND {self._stored_within(start, end)} GROUP BY {portfolio}) AS c"
            f" LEFT JOIN LATERAL (SELECT {day} AS day FROM {table} WHERE {portfolio} = c.portfolio"
            f" AND {day} < c.first AND {self.complete(calendar)}"
            f" ORDER BY {day} DESC LIMIT 1) AS b ON true"
        )
        return Query(
            "counts",
            sql,
            (
                Column("portfolio_id", Kind.UUID),
                Column("rows", Kind.INT8),
                Column("first", Kind.DATE),
                Column("last", Kind.DATE),
                Column("previous", Kind.DATE),
            ),
        )

    def stored(
        self,
        calendar: Calendar,
        selection: Selection,
        start: int | None,
        end: int | None,
        *,
        analytics: bool,
    ) -> Query:
        """Return the snapshots of a chunk in a range, and of each the latest complete one before.

        Args:
            calendar: Whose sessions count (S5).
            selection: The portfolios.
            start: First day; None begins with the first row.
            end: Last day; None ends with the last row.
            analytics: Whether the columns of A1 to A6 come too.
        """
        table = self._table(SNAPSHOTS)
        portfolio, day, written = (
            self._name(SNAPSHOTS, c) for c in ("portfolio_id", "snapshot_date", "created_at")
        )
        numbers = [*RULED, *((c for c in ANALYTIC if c != SHARES) if analytics else ())]
        # Counts are integers in the table; as numeric they tell a NULL.
        cells = [f"{self._name(SNAPSHOTS, c)}::numeric" for c in numbers]
        if analytics:
            cells.append(f"{self._name(SNAPSHOTS, SHARES)}::text")
        selected = ", ".join(
            [
                *(portfolio, day, f"({self.complete(calendar)}) IS TRUE"),
                f"COALESCE({microseconds(written)}, '{NEVER}'::int8)",
                self._has_greeks(),
                *cells,
            ]
        )
        sql = (
            f"SELECT {selected} FROM {table} WHERE {selection.condition(portfolio)}"  # noqa: S608
            f" AND {self._stored_within(start, end)}"
        )
        if start is not None:
            own = self._name("portfolios", "id")
            sql += (
                f" UNION ALL SELECT b.* FROM {self._table('portfolios')} AS p"  # noqa: S608
                f" CROSS JOIN LATERAL (SELECT {selected} FROM {table}"
                f" WHERE {portfolio} = p.{own} AND {day} < {date_literal(start)}"
                f" AND {self.complete(calendar)} ORDER BY {day} DESC LIMIT 1) AS b"
                f" WHERE {selection.condition(f'p.{own}')}"
            )
        scales = {**dict.fromkeys(COUNTS, 0), "beta_calculated_90d_observations": 0}
        return Query(
            "stored",
            sql,
            (
                Column("portfolio_id", Kind.UUID),
                Column("day", Kind.DATE),
                Column("complete", Kind.BOOL),
                Column("written", Kind.INT8),
                Column("greeks", Kind.BOOL),
                *(Column(c, Kind.NUMERIC, scales.get(c, self.scale(c))) for c in numbers),
                *((Column(SHARES, Kind.TEXT),) if analytics else ()),
            ),
        )

    def _stored_within(self, start: int | None, end: int | None) -> str:
        day = self._name(SNAPSHOTS, "snapshot_date")
        first = FIRST_DATE if start is None else start
        last = LAST_DATE if end is None else end
        return f"{day} BETWEEN {date_literal(first)} AND {date_literal(last)}"

    def _has_greeks(self) -> str:
        known = self.catalog.columns[SNAPSHOTS]
        names = [self.catalog.schema.column(SNAPSHOTS, c) for c in GREEKS]
        there = [c for c, name in zip(GREEKS, names, strict=True) if name in known]
        conditions = [f"{self._name(SNAPSHOTS, c)} IS NOT NULL" for c in there]
        return f"({' OR '.join(conditions)})" if conditions else "false"

    def _changed(self, table: str, alias: str, *more: str) -> str:
        """Return the expression for when a row was last changed; `UNKNOWN` where nothing tells."""
        names = (*_STAMPS, *more)
        columns = self.catalog.columns[table]
        stamps = []
        for name in names:
            found = columns.get(self.catalog.schema.column(table, name))
            if found is not None and found.kind is Kind.TIMESTAMPTZ and found.can_select:
                stamps.append(f"{alias}.{self._name(table, name)}")
        if not stamps:
            return f"'{UNKNOWN}'::int8"
        latest = microseconds(f"GREATEST({', '.join(stamps)})")
        return f"COALESCE({latest}, '{NEVER}'::int8)"

    def holdings(self, selection: Selection) -> Query:
        """Return when positions are held and when they were last changed, soft-deleted ones too."""
        names = {
            c: f"p.{self._name('positions', c)}"
            for c in (
                *("portfolio_id", "symbol", "position_type", "entry_date", "exit_date"),
                *("expiration_date", "investment_class", "deleted_at"),
            )
        }
        end = (
            f"COALESCE({names['exit_date']}, CASE WHEN {names['position_type']}::text"
            f" IN ('LC', 'LP', 'SC', 'SP') THEN {names['expiration_date']} END)"
        )
        alive = f"{names['deleted_at']} IS NULL"
        private = f"{_is_private(names['investment_class'])} AND {alive}"
        sql = (
            f"SELECT {names['portfolio_id']}, {names['symbol']}, {names['entry_date']}, {end},"  # noqa: S608
            f" {private}, {self._changed('positions', 'p')}"
            f" FROM {self._table('positions')} AS p WHERE {names['symbol']} IS NOT NULL"
            f" AND isfinite({names['entry_date']}) AND isfinite(COALESCE({end}, '2000-01-01'))"
            f" AND {selection.condition(names['portfolio_id'])}"
        )
        return Query(
            "holdings",
            sql,
            (
                Column("portfolio_id", Kind.UUID),
                Column("symbol", Kind.TEXT),
                Column("start", Kind.DATE),
                Column("end", Kind.DATE),
                Column("private", Kind.BOOL),
                Column("changed", Kind.INT8),
            ),
        )

    def changed_prices(self, normalised: Iterable[str], since: int, first: int, last: int) -> Query:
        """Return the closes of symbols in a window that were changed since a moment."""
        symbol, day, _ = self._price_names()
        changed = self._changed("market_data_cache", "m")
        sql = (
            f"SELECT c.symbol, c.day, c.changed FROM (SELECT m.{symbol} AS symbol,"  # noqa: S608
            f" m.{day} AS day, {changed} AS changed"
            f" FROM {self._table('market_data_cache')} AS m"
            f" WHERE upper(btrim(m.{symbol} COLLATE \"C\", ' ')) = ANY({text_array(normalised)})"
            f" AND m.{day} BETWEEN {date_literal(first)} AND {date_literal(last)}) AS c"
            f" WHERE c.changed > '{since}'::int8 AND c.changed < '{UNKNOWN}'::int8"
        )
        columns = (Column("symbol", Kind.TEXT), Column("day", Kind.DATE))
        return Query("changed_prices", sql, (*columns, Column("changed", Kind.INT8)))

    def changed_flows(self, selection: Selection) -> Query:
        """Return when the flows of a chunk were last changed, soft-deleted ones too."""
        table = "equity_changes"
        portfolio, day = (f"f.{self._name(table, c)}" for c in ("portfolio_id", "change_date"))
        sql = (
            f"SELECT {portfolio}, {day}, {self._changed(table, 'f')}"  # noqa: S608  # quoted
            f" FROM {self._table(table)} AS f"
            f" WHERE isfinite({day}) AND {selection.condition(portfolio)}"
        )
        columns = (Column("portfolio_id", Kind.UUID), Column("day", Kind.DATE))
        return Query("changed_flows", sql, (*columns, Column("changed", Kind.INT8)))

    def added_events(self, selection: Selection) -> Query:
        """Return when the events of a chunk were added, and since when their lots are held."""
        table = "position_realized_events"
        portfolio, start, private = (
            f"p.{self._name('positions', c)}"
            for c in ("portfolio_id", "entry_date", "investment_class")
        )
        day, position = (f"e.{self._name(table, c)}" for c in ("trade_date", "position_id"))
        sql = (
            f"SELECT {portfolio}, {start}, {day}, {_is_private(private)},"  # noqa: S608  # quoted
            f" {self._changed(table, 'e')} FROM {self._table(table)} AS e"
            f" JOIN {self._table('positions')} AS p ON p.{self._name('positions', 'id')}"
            f" = {position} WHERE p.{self._name('positions', 'deleted_at')} IS NULL"
            f" AND isfinite({day}) AND isfinite({start}) AND {selection.condition(portfolio)}"
        )
        return Query(
            "added_events",
            sql,
            (
                Column("portfolio_id", Kind.UUID),
                Column("start", Kind.DATE),
                Column("day", Kind.DATE),
                Column("private", Kind.BOOL),
                Column("changed", Kind.INT8),
            ),
        )

    def changed_profiles(self, normalised: Iterable[str]) -> Query:
        """Return when the profiles of symbols were last changed."""
        symbol = f"c.{self._name(PROFILES, 'symbol')}"
        sql = (
            f"SELECT {symbol}, {self._changed(PROFILES, 'c', 'last_updated')}"  # noqa: S608
            f" FROM {self._table(PROFILES)} AS c"
            f" WHERE upper(btrim({symbol} COLLATE \"C\", ' ')) = ANY({text_array(normalised)})"
        )
        columns = (Column("symbol", Kind.TEXT), Column("changed", Kind.INT8))
        return Query("changed_profiles", sql, columns)
