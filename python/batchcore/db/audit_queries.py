"""Each SELECT of a verification, beside those that it shares with a run."""

from __future__ import annotations

from enum import IntEnum
from typing import TYPE_CHECKING, Final

from batchcore import reference as ref
from batchcore.calendar import FIRST_DATE, LAST_DATE
from batchcore.db.analytic_queries import AnalyticQueries
from batchcore.db.analytic_tables import COLUMNS, POSITION_BETAS, PROFILES, SNAPSHOTS
from batchcore.db.benchmarks import TABLE as BENCHMARKS
from batchcore.db.ledger import CHUNKS, RUNS
from batchcore.db.legacy_tables import OTHERS
from batchcore.db.queries import Column, Query, Selection, date_literal, text_array
from batchcore.db.sql import quote_identifier, quote_literal
from batchcore.errors import SchemaError
from batchcore.schema import Kind
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

EVENTS: Final = "position_realized_events"
FLOWS: Final = "equity_changes"

_STAMPS: Final = ("created_at", "updated_at", "deleted_at")

_SCALES: Final = {
    "daily_return": RETURN_SCALE,
    "beta_calculated_90d_observations": 0,
    **dict.fromkeys(("beta_provider_1y", "hhi", "top_3_concentration", "top_10_concentration"), 4),
    **dict.fromkeys(COUNTS, 0),
}
"""Decimals of the columns that are not in cents, in docs/schema.md and in the rules."""


class Fact(IntEnum):
    """What a row of `AuditQueries.facts` is about."""

    POSITION = 0
    EVENT = 1
    FLOW = 2
    PROFILE = 3
    BETA = 4


def decimals_of(column: str) -> int:
    """Return the decimals to which the rules round a column of snapshots."""
    return _SCALES.get(column, CENTS)


def microseconds(moment: str) -> str:
    """Return the expression for a timestamp as microseconds since 1970, infinite ones too."""
    return (
        f"CASE WHEN isfinite({moment}) THEN (extract(epoch FROM {moment}) * 1000000)::int8"
        f" WHEN {moment} = 'infinity' THEN '{UNKNOWN}'::int8 END"
    )


def _day_or_last(date: str, condition: str) -> str:
    """Return the expression for a date, the last one there is where a condition fails."""
    return f"CASE WHEN {condition} THEN {date} ELSE {date_literal(LAST_DATE)} END"


class AuditQueries(AnalyticQueries):
    """The queries of a verification."""

    def scale(self, column: str) -> int:
        """Return the decimals that a column of snapshots is read with.

        A column that declares none and that no rule reads has those of docs/schema.md; what has
        more is then not representable, and equal to nothing.
        """
        if decimals_of(column) == 0:
            return 0
        try:
            return self.catalog.scale(SNAPSHOTS, column)
        except SchemaError:
            return decimals_of(column)

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

    def run_chunks(self) -> Query | None:
        """Return the chunks that runs have committed, by the start of the run.

        `replaced` marks those whose rows were all written again: runs that replace write every row
        of a portfolio from their first session on, those of other runs have the moment in their
        rows. None where there is no ledger that may be read.
        """
        if any("SELECT" not in self.catalog.ledger.get(name, ()) for name in (RUNS, CHUNKS)):
            return None
        namespace = quote_identifier(self.catalog.schema.namespace)
        sql = (
            "SELECT c.first_portfolio, c.last_portfolio, c.first_session, c.last_session,"  # noqa: S608
            f" {microseconds('r.created_at')}, (r.asked->>'on_existing' = 'replace'"
            " AND r.asked->>'changed_since' IS NULL AND r.asked->>'start' IS NOT NULL"
            " AND NOT COALESCE((r.asked->>'repairs')::bool, false)"
            " AND NOT (r.asked->>'missing')::bool) IS TRUE"
            f" FROM {namespace}.{CHUNKS} AS c JOIN {namespace}.{RUNS} AS r ON r.id = c.run_id"
            " WHERE c.first_session IS NOT NULL ORDER BY r.created_at"
        )
        return Query(
            "run_chunks",
            sql,
            (
                Column("first_portfolio", Kind.UUID),
                Column("last_portfolio", Kind.UUID),
                Column("first", Kind.DATE),
                Column("last", Kind.DATE),
                Column("began", Kind.INT8),
                Column("replaced", Kind.BOOL),
            ),
        )

    def facts(self, selection: Selection, *, profiles: bool, betas: bool) -> Query:
        """Return when the facts behind a chunk's rows were last changed, soft-deleted ones too.

        One row for each position, event and flow, for each position that has a profile if
        `profiles`, and, if `betas`, for each portfolio whose positions have betas. `start` and
        `end` say when a position is held; those of an event are the start of its position and its
        trade date, those of a flow its date.
        """
        names = ("id", "portfolio_id", "symbol", "investment_class", "deleted_at")
        p = {c: f"p.{self._name('positions', c)}" for c in names}
        start, end = self._lifetime()
        held = f"{self._table('positions')} AS p"
        wanted = f"WHERE {selection.condition(p['portfolio_id'])}"
        private = self._is_private(p["investment_class"])
        alive = f"{p['deleted_at']} IS NULL"

        def fact(kind: Fact, *items: str) -> str:
            return f"SELECT {kind:d}::int4, {', '.join(items)}"

        owner = p["portfolio_id"]
        own = f"{private} AND {alive}"
        changed = self._changed("positions", "p")
        parts = [
            fact(Fact.POSITION, owner, f"{p['symbol']}::text", start, end, own, changed)
            + f" FROM {held} {wanted} AND {p['symbol']} IS NOT NULL"
        ]
        if self.has_table(EVENTS):
            day = f"e.{self._name(EVENTS, 'trade_date')}"
            begun, changed = _day_or_last(start, alive), self._changed(EVENTS, "e")
            parts.append(
                fact(Fact.EVENT, owner, "NULL", begun, day, private, changed)
                + f" FROM {self._table(EVENTS)} AS e JOIN {held}"
                f" ON {p['id']} = e.{self._name(EVENTS, 'position_id')}"
                f" {wanted} AND isfinite({day}) AND {self._counts_event(alive)}"
            )
        if self.has_table(FLOWS):
            payer, day = (f"f.{self._name(FLOWS, c)}" for c in ("portfolio_id", "change_date"))
            parts.append(
                fact(Fact.FLOW, payer, "NULL", day, day, "false", self._changed(FLOWS, "f"))
                + f" FROM {self._table(FLOWS)} AS f"
                f" WHERE isfinite({day}) AND {selection.condition(payer)}"
            )
        if profiles:
            changed = self._changed(PROFILES, "c", "last_updated")
            symbols = f"c.{self._name(PROFILES, 'symbol')}", p["symbol"]
            theirs, ours = (f"upper(btrim({one} COLLATE \"C\", ' '))" for one in symbols)
            parts.append(
                fact(Fact.PROFILE, owner, "NULL", start, end, "false", changed)
                + f" FROM {held} JOIN {self._table(PROFILES)} AS c ON {theirs} = {ours} {wanted}"
            )
        if betas:
            changed = f"max({self._changed(POSITION_BETAS, 'b')})"
            parts.append(
                fact(Fact.BETA, owner, "NULL", "NULL", "NULL", "false", changed)
                + f" FROM {held} JOIN {self._table(POSITION_BETAS)} AS b"
                f" ON b.{self._name(POSITION_BETAS, 'position_id')} = {p['id']}"
                f" {wanted} GROUP BY {owner}"
            )
        return Query(
            "facts",
            " UNION ALL ".join(parts),
            (
                Column("kind", Kind.INT4),
                Column("portfolio_id", Kind.UUID),
                Column("symbol", Kind.TEXT),
                Column("start", Kind.DATE),
                Column("end", Kind.DATE),
                Column("private", Kind.BOOL),
                Column("changed", Kind.INT8),
            ),
        )

    def _lifetime(self) -> tuple[str, str]:
        """Return the expressions for the first day of a position, and the first day no longer."""
        entry, leaves, kind, expires = (
            f"p.{self._name('positions', c)}"
            for c in ("entry_date", "exit_date", "position_type", "expiration_date")
        )
        option = f"{kind}::text IN ('LC', 'LP', 'SC', 'SP')"
        end = f"COALESCE({leaves}, CASE WHEN {option} THEN {expires} END)"
        dated = f"isfinite({entry}) AND isfinite(COALESCE({end}, '2000-01-01'))"
        return _day_or_last(entry, dated), end

    def _is_private(self, investment_class: str) -> str:
        """Return the condition that a class is PRIVATE (S3)."""
        trimmed = f"btrim({investment_class}::text COLLATE \"C\", ' ')"
        return f"(upper({trimmed}) = 'PRIVATE') IS TRUE"

    def _counts_event(self, alive: str) -> str:
        """Return the condition that an event of a position that is alive, or is not, counts."""
        return alive

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

    def _lifetime(self) -> tuple[str, str]:
        entry, leaves = (f"p.{self._name('positions', c)}" for c in ("entry_date", "exit_date"))
        return (
            _day_or_last(entry, f"isfinite({entry})"),
            f"CASE WHEN isfinite({leaves}) THEN {leaves} END",
        )

    def _is_private(self, investment_class: str) -> str:
        return f"({investment_class}::text = 'PRIVATE') IS TRUE"

    def _counts_event(self, alive: str) -> str:  # noqa: ARG002  # those of others count too (L17)
        return "true"

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
