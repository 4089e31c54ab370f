"""Each SELECT of a verification, beside those that it shares with a run."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from batchcore import reference as ref
from batchcore.calendar import FIRST_DATE, LAST_DATE
from batchcore.db.analytic_queries import AnalyticQueries
from batchcore.db.analytic_tables import COLUMNS, POSITION_BETAS, PROFILES, SNAPSHOTS
from batchcore.db.benchmarks import TABLE as BENCHMARKS
from batchcore.db.catalog import Kind
from batchcore.db.ledger import CHUNKS, RUNS
from batchcore.db.legacy_tables import OTHERS
from batchcore.db.queries import Column, Query, Selection, date_literal, text_array
from batchcore.db.sql import quote_identifier, quote_literal
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
"""Columns of the policy `legacy` alone (L31)."""

EMPTY: Final = tuple(column for column in OTHERS if column not in ANALYTIC)
"""Columns that `legacy` leaves NULL, and `rollforward` to others (L31, S14)."""

TEXTS: Final = (SHARES, *EMPTY)
"""Columns that are read as text: whatever stands in those of `EMPTY` is wrong."""

NEVER: Final = -(2**63)
"""A moment before all others, in microseconds: of a row that does not say when it was written."""

UNKNOWN: Final = 2**63 - 1
"""A moment after all others: of a table that does not say when its rows were changed."""

_STAMPS: Final = ("created_at", "updated_at", "deleted_at")

_SCALES: Final = {
    "daily_return": RETURN_SCALE,
    "beta_calculated_90d_observations": 0,
    **dict.fromkeys(("beta_provider_1y", "hhi", "top_3_concentration", "top_10_concentration"), 4),
    **dict.fromkeys(COUNTS, 0),
}
"""Decimals in docs/schema.md, where they are not those of cents."""


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
        if _SCALES.get(column) == 0:
            return 0
        try:
            return self.catalog.scale(SNAPSHOTS, column)
        except SchemaError:
            return _SCALES.get(column, CENTS)

    def readable(self, columns: Iterable[str]) -> tuple[str, ...]:
        """Return those columns of snapshots that are there and may be read."""
        known, schema = self.catalog.columns[SNAPSHOTS], self.catalog.schema
        found = ((column, known.get(schema.column(SNAPSHOTS, column))) for column in columns)
        return tuple(name for name, column in found if column is not None and column.can_select)

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

    def stored(  # columns of rows in a range, with or without those before
        self,
        calendar: Calendar,
        selection: Selection,
        start: int | None,
        end: int | None,
        columns: Iterable[str],
        *,
        earlier: bool = True,
    ) -> Query:
        """Return the snapshots of a chunk in a range, and those before it that they may go on from.

        Args:
            calendar: Whose sessions count (S5).
            selection: The portfolios.
            start: First day; None begins with the first row.
            end: Last day; None ends with the last row.
            columns: Those that are compared.
            earlier: Whether those before the range come too.
        """
        table = self._table(SNAPSHOTS)
        portfolio, day = (self._name(SNAPSHOTS, c) for c in ("portfolio_id", "snapshot_date"))
        names = tuple(columns)
        # Counts are integers in the table; as numeric they tell a NULL.
        selected = ", ".join(
            [
                *(portfolio, day, f"({self.complete(calendar)}) IS TRUE", self._written("")),
                *(
                    f"{self._name(SNAPSHOTS, c)}::{'text' if c in TEXTS else 'numeric'}"
                    for c in names
                ),
            ]
        )
        sql = (
            f"SELECT {selected} FROM {table} WHERE {selection.condition(portfolio)}"  # noqa: S608
            f" AND {self._stored_within(start, end)}"
        )
        if start is not None and earlier:
            own = f"p.{self._name('portfolios', 'id')}"
            sql += (
                f" UNION ALL SELECT b.* FROM {self._table('portfolios')} AS p"  # noqa: S608
                f" CROSS JOIN LATERAL (SELECT {selected} FROM {table}"
                f" WHERE {portfolio} = {own} AND {day} < {date_literal(start)}"
                f" AND {self._earlier(calendar, own, start, end)}) AS b"
                f" WHERE {selection.condition(own)}"
            )
        return Query(
            "stored",
            sql,
            (
                Column("portfolio_id", Kind.UUID),
                Column("day", Kind.DATE),
                Column("complete", Kind.BOOL),
                Column("written", Kind.INT8),
                *(
                    Column(c, Kind.TEXT) if c in TEXTS else Column(c, Kind.NUMERIC, self.scale(c))
                    for c in names
                ),
            ),
        )

    def rewritten(self) -> Query | None:
        """Return the chunks that runs have computed anew, and when these began.

        Runs that replace write every row of a portfolio from their first session on; those of
        others have the moment in their rows. None where there is no ledger to be read.
        """
        if any("SELECT" not in self.catalog.ledger.get(name, ()) for name in (RUNS, CHUNKS)):
            return None
        namespace = quote_identifier(self.catalog.schema.namespace)
        sql = (
            "SELECT c.first_portfolio, c.last_portfolio, c.first_session, c.last_session,"  # noqa: S608
            f" {microseconds('r.created_at')} FROM {namespace}.{CHUNKS} AS c"
            f" JOIN {namespace}.{RUNS} AS r ON r.id = c.run_id WHERE c.first_session IS NOT NULL"
            " AND r.asked->>'on_existing' = 'replace' AND r.asked->>'changed_since' IS NULL"
            " AND NOT COALESCE((r.asked->>'repairs')::bool, false)"
            " AND r.asked->>'start' IS NOT NULL AND NOT (r.asked->>'missing')::bool"
            " ORDER BY r.created_at"
        )
        return Query(
            "rewritten",
            sql,
            (
                Column("first_portfolio", Kind.UUID),
                Column("last_portfolio", Kind.UUID),
                Column("first", Kind.DATE),
                Column("last", Kind.DATE),
                Column("began", Kind.INT8),
            ),
        )

    def _earlier(self, calendar: Calendar, own: str, start: int, end: int | None) -> str:  # noqa: ARG002
        """Return the rest of the condition for the row before a range that rows go on from."""
        day = self._name(SNAPSHOTS, "snapshot_date")
        return f"{self.complete(calendar)} ORDER BY {day} DESC LIMIT 1"

    def _written(self, prefix: str) -> str:
        """Return the expression for when a snapshot was written; `NEVER` if it does not say."""
        written = f"{prefix}{self._name(SNAPSHOTS, 'created_at')}"
        return f"COALESCE({microseconds(written)}, '{NEVER}'::int8)"

    def _stored_within(self, start: int | None, end: int | None) -> str:
        day = self._name(SNAPSHOTS, "snapshot_date")
        first = FIRST_DATE if start is None else start
        last = LAST_DATE if end is None else end
        return f"{day} BETWEEN {date_literal(first)} AND {date_literal(last)}"

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


class LegacyAuditQueries(AuditQueries):
    """The same where the rules of `legacy` differ."""

    def complete(self, calendar: Calendar) -> str:  # noqa: ARG002  # which days are sessions
        """Return the condition that a snapshot stands (L3); sessions are told by its day."""
        return f"{self._name(SNAPSHOTS, 'is_complete')}"

    def _earlier(self, calendar: Calendar, own: str, start: int, end: int | None) -> str:  # noqa: ARG002
        """Return the rest of the condition for rows before a range that rows may go on from.

        A row goes on from the latest one that stood when it was written (L5): so all rows from the
        latest on that is not younger than any of the range; as a rule that is one row.
        """
        table = self._table(SNAPSHOTS)
        day, portfolio = (self._name(SNAPSHOTS, c) for c in ("snapshot_date", "portfolio_id"))
        mine = f"{portfolio} = {own}"
        return (
            f"isfinite({day}) AND {day} >= COALESCE((SELECT {day} FROM {table}"  # noqa: S608
            f" WHERE {mine} AND {day} < {date_literal(start)} AND isfinite({day})"
            f" AND {self._written('')} <= (SELECT min({self._written('')}) FROM {table}"
            f" WHERE {mine} AND {self._stored_within(start, end)})"
            f" ORDER BY {day} DESC LIMIT 1), {date_literal(FIRST_DATE)})"
        )

    def holdings(self, selection: Selection) -> Query:
        """Return when positions are active (L24) and when they were changed, deleted ones too."""
        names = {
            c: f"p.{self._name('positions', c)}"
            for c in (
                *("portfolio_id", "symbol", "entry_date", "exit_date"),
                *("investment_class", "deleted_at"),
            )
        }
        private = (
            f"({names['investment_class']}::text = 'PRIVATE') IS TRUE"
            f" AND {names['deleted_at']} IS NULL"
        )
        end = f"CASE WHEN isfinite({names['exit_date']}) THEN {names['exit_date']} END"
        sql = (
            f"SELECT {names['portfolio_id']}, {names['symbol']},"  # noqa: S608  # quoted
            f" {_or_never(names['entry_date'])}, {end}, {private},"
            f" {self._changed('positions', 'p')} FROM {self._table('positions')} AS p"
            f" WHERE {names['symbol']} IS NOT NULL AND {selection.condition(names['portfolio_id'])}"
        )
        return Query("holdings", sql, super().holdings(selection).columns)

    def added_events(self, selection: Selection) -> Query:
        """Return when events were added, those of soft-deleted positions too (L17)."""
        table = "position_realized_events"
        portfolio, start, private, deleted = (
            f"p.{self._name('positions', c)}"
            for c in ("portfolio_id", "entry_date", "investment_class", "deleted_at")
        )
        day, position = (f"e.{self._name(table, c)}" for c in ("trade_date", "position_id"))
        # What is left of a soft-deleted position counts nowhere.
        held = f"CASE WHEN {deleted} IS NULL THEN {start} END"
        sql = (
            f"SELECT {portfolio}, {_or_never(held)}, {day},"  # noqa: S608  # quoted
            f" ({private}::text = 'PRIVATE') IS TRUE, {self._changed(table, 'e')}"
            f" FROM {self._table(table)} AS e"
            f" JOIN {self._table('positions')} AS p ON p.{self._name('positions', 'id')}"
            f" = {position} WHERE isfinite({day}) AND {selection.condition(portfolio)}"
        )
        return Query("added_events", sql, super().added_events(selection).columns)

    def changed_betas(self, selection: Selection) -> Query:
        """Return of each portfolio when a beta of a position was last changed (L32)."""
        portfolio, own = (f"p.{self._name('positions', c)}" for c in ("portfolio_id", "id"))
        sql = (
            f"SELECT {portfolio}, max({self._changed(POSITION_BETAS, 'b')})"  # noqa: S608
            f" FROM {self._table('positions')} AS p JOIN {self._table(POSITION_BETAS)} AS b"
            f" ON b.{self._name(POSITION_BETAS, 'position_id')} = {own}"
            f" WHERE {selection.condition(portfolio)} GROUP BY {portfolio}"
        )
        columns = (Column("portfolio_id", Kind.UUID), Column("changed", Kind.INT8))
        return Query("changed_betas", sql, columns)

    def benchmark_since(self, code: str) -> Query:
        """Return since when there is a weight of a benchmark; `UNKNOWN` without one (L34)."""
        sql = (
            f"SELECT COALESCE(min({self._changed(BENCHMARKS, 'w')}), '{UNKNOWN}'::int8)"  # noqa: S608
            f" FROM {self._table(BENCHMARKS)} AS w"
            f" WHERE w.{self._name(BENCHMARKS, 'benchmark_code')} = {quote_literal(code)}"
        )
        return Query("benchmark_since", sql, (Column("since", Kind.INT8),))

    def last_run(self, selection: Selection) -> Query:
        """Return of each portfolio the complete snapshot written last, and of the latest day (L7).

        `elsewhere` is whether `portfolios.equity_balance` is the equity of any of them.
        """
        own, column = (f"p.{self._name('portfolios', c)}" for c in ("id", "equity_balance"))
        table, prefix = self._table(SNAPSHOTS), "s."
        portfolio, day, equity, complete = (
            f"{prefix}{self._name(SNAPSHOTS, c)}"
            for c in ("portfolio_id", "snapshot_date", "equity_balance", "is_complete")
        )
        of_own = f"FROM {table} AS s WHERE {portfolio} = {own} AND {complete} AND isfinite({day})"
        sql = (
            f"SELECT {own}, written.day, written.equity, latest.equity,"  # noqa: S608  # quoted
            f" EXISTS (SELECT {of_own} AND {equity} = {column})"
            f" FROM {self._table('portfolios')} AS p"
            f" CROSS JOIN LATERAL (SELECT {day}, {equity} {of_own}"
            f" ORDER BY {self._written(prefix)} DESC, {day} DESC LIMIT 1) AS written(day, equity)"
            f" CROSS JOIN LATERAL (SELECT {equity} {of_own}"
            f" ORDER BY {day} DESC LIMIT 1) AS latest(equity) WHERE {selection.condition(own)}"
        )
        scale = self.scale("equity_balance")
        return Query(
            "last_run",
            sql,
            (
                Column("portfolio_id", Kind.UUID),
                Column("day", Kind.DATE),
                Column("equity", Kind.NUMERIC, scale),
                Column("latest", Kind.NUMERIC, scale),
                Column("elsewhere", Kind.BOOL),
            ),
        )


def _or_never(date: str) -> str:
    """Return the expression for a date, the last one there is where it is none."""
    return f"CASE WHEN isfinite({date}) THEN {date} ELSE {date_literal(LAST_DATE)} END"
