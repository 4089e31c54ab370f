"""The SELECTs that find what a host changed since a moment, from the time stamps of its rows."""

from __future__ import annotations

import datetime as dt
from typing import TYPE_CHECKING, Final

from batchcore.calendar import FIRST_DATE, LAST_DATE
from batchcore.db.check import check
from batchcore.db.queries import Column, Queries, Query, date_literal
from batchcore.db.sql import quote_literal
from batchcore.schema import HOST, Kind, Use

if TYPE_CHECKING:
    from collections.abc import Sequence

    from batchcore.db.catalog import Catalog
    from batchcore.db.queries import Selection

_STAMPS: Final = ("created_at", "updated_at")

EDITED: Final = tuple(
    name for name, table in HOST.items() if "updated_at" in table.names(Use.CHANGES)
)
"""Tables whose rows a host edits."""

SAMPLE: Final = 10_000
"""Rows of a table that a sample should have."""


class StampQueries(Queries):
    """The query for evidence of how a host keeps its time stamps."""

    def stamped(self) -> tuple[str, ...]:
        """Return the tables of `EDITED` that have both time stamps, and are no views."""
        found = []
        for table in set(EDITED) & self.catalog.writable_tables:
            columns = self.catalog.columns[table]
            stamps = [columns.get(self.catalog.schema.column(table, name)) for name in _STAMPS]
            if all(one and one.can_select and one.kind is Kind.TIMESTAMPTZ for one in stamps):
                found.append(table)
        return tuple(sorted(found))

    def evidence(self, tables: Sequence[str]) -> Query:
        """Return of each table whether a trigger keeps `updated_at`, and how old rows look.

        `rows` counts those of a sample that are older than a day, `touched` the ones of them that
        were updated within it.
        """
        sql = " UNION ALL ".join(self._evidence_of(table) for table in tables)
        counts = (Column("rows", Kind.INT8), Column("touched", Kind.INT8))
        return Query(
            "stamps", sql, (Column("table", Kind.TEXT), Column("trigger", Kind.BOOL), *counts)
        )

    def _evidence_of(self, table: str) -> str:
        created, updated = (self._name(table, stamp) for stamp in _STAMPS)
        relation = quote_literal(self._table(table))
        name = quote_literal(self.catalog.schema.column(table, "updated_at"))
        share = min(100.0, 100.0 * SAMPLE / max(self.catalog.estimated_rows.get(table, 0), 1))
        old = f"{created} < now() - interval '1 day'"
        # 19 is BEFORE UPDATE FOR EACH ROW; moddatetime has the column among its arguments
        return (
            f"SELECT {quote_literal(table)}::text, EXISTS (SELECT FROM pg_trigger AS t"  # noqa: S608
            f" JOIN pg_proc AS f ON f.oid = t.tgfoid WHERE t.tgrelid = {relation}::regclass"
            " AND NOT t.tgisinternal AND t.tgenabled IN ('O', 'A') AND t.tgtype & 19 = 19"
            f" AND strpos(f.prosrc || encode(t.tgargs, 'escape'), {name}) > 0),"
            f" count(*) FILTER (WHERE {old}), count(*) FILTER (WHERE {old}"
            f" AND {updated} >= now() - interval '1 day')"
            f" FROM {self._table(table)} TABLESAMPLE SYSTEM ({share:.6f})"
        )


class ChangeQueries(Queries):
    """The queries of what changed since a moment."""

    def __init__(self, catalog: Catalog, since: dt.datetime) -> None:
        """Take the host's tables and a moment with a time zone.

        Raises:
            SchemaError: a table that is there lacks a time stamp.
        """
        super().__init__(catalog)
        check(catalog, Use.CHANGES, writes=False)
        self._since = f"{quote_literal(since.astimezone(dt.UTC).isoformat())}::timestamptz"

    def changed_prices(self) -> Query:
        """Return symbol, as stored, and date of each close that came or changed."""
        symbol, day, _ = self._price_names()
        sql = (
            f"SELECT DISTINCT {symbol}, {day} FROM {self._table('market_data_cache')}"  # noqa: S608
            f" WHERE {self._changed('market_data_cache')} AND {self._dated(day)}"
        )
        return Query("changed_prices", sql, (Column("symbol", Kind.TEXT), Column("day", Kind.DATE)))

    def changed_session(self) -> Query:
        """Return the first date that may have become a session of `prices`, or ceased to be one.

        That is one with a changed close and without a valid one that did not change.
        """
        _, day, _ = self._price_names()
        changed = f"({self._changed('market_data_cache')}) IS TRUE"
        # A row that changed may differ from one that did not, and then neither is a close.
        kept = f"({self._valid_close()}) IS TRUE AND NOT {changed}" if self.one_price else "false"
        sql = (
            f"SELECT min(touched.day) FROM (SELECT {day} AS day"  # noqa: S608
            f" FROM {self._table('market_data_cache')} WHERE {self._dated(day)}"
            f" GROUP BY {day} HAVING bool_or({changed})"
            f" AND NOT bool_or({kept})) AS touched"
        )
        return Query("changed_session", sql, (Column("day", Kind.DATE),))

    def changed_facts(self, selection: Selection) -> Query:
        """Return the portfolios whose positions, events or flows changed, and from which day on.

        A row that was never edited counts from its own date on. What a row was before an edit
        nobody knows, so one that was edited or soft-deleted counts from the first date that there
        is. An event splits its position's lot, so it counts from the position's entry on (S3).
        """
        facts = [self._positions_changed(selection)]
        if self.has_table("position_realized_events"):
            facts.append(self._events_added(selection))
        if self.has_table("equity_changes"):
            facts.append(self._flows_changed(selection))
        first, last = date_literal(FIRST_DATE), date_literal(LAST_DATE)
        sql = (
            f"SELECT c.portfolio, GREATEST(LEAST(min(c.day), {last}), {first})"  # noqa: S608
            f" FROM ({' UNION ALL '.join(facts)}) AS c(portfolio, day)"
            f" WHERE c.portfolio IS NOT NULL GROUP BY c.portfolio"
        )
        return Query(
            "changed_facts", sql, (Column("portfolio_id", Kind.UUID), Column("day", Kind.DATE))
        )

    def _positions_changed(self, selection: Selection) -> str:
        portfolio = self._name("positions", "portfolio_id")
        return (
            f"SELECT {portfolio}, {self._first_day('positions', 'entry_date')}"  # noqa: S608
            f" FROM {self._table('positions')} WHERE {self._changed('positions')}"
            f" AND {self.alive(selection, portfolio)}"
        )

    def _flows_changed(self, selection: Selection) -> str:
        portfolio = self._name("equity_changes", "portfolio_id")
        return (
            f"SELECT {portfolio}, {self._first_day('equity_changes', 'change_date')}"  # noqa: S608
            f" FROM {self._table('equity_changes')} WHERE {self._changed('equity_changes')}"
            f" AND {self.alive(selection, portfolio)}"
        )

    def _events_added(self, selection: Selection) -> str:
        table = "position_realized_events"
        position = {
            c: f"p.{self._name('positions', c)}"
            for c in ("id", "portfolio_id", "entry_date", "deleted_at")
        }
        return (
            f"SELECT {position['portfolio_id']},"  # noqa: S608
            f" COALESCE({position['entry_date']}, {date_literal(FIRST_DATE)})"
            f" FROM {self._table(table)} AS e JOIN {self._table('positions')} AS p"
            f" ON {position['id']} = e.{self._name(table, 'position_id')}"
            f" WHERE e.{self._name(table, 'created_at')} >= {self._since}"
            f" AND {position['deleted_at']} IS NULL"
            f" AND {self.alive(selection, position['portfolio_id'])}"
        )

    def _changed(self, table: str) -> str:
        """Return the condition that a row came, changed or went since the moment."""
        stamps = ["created_at", "updated_at"]
        if table != "market_data_cache":
            stamps.append("deleted_at")
        conditions = [f"{self._name(table, stamp)} >= {self._since}" for stamp in stamps]
        return f"({' OR '.join(conditions)})"

    def _first_day(self, table: str, date: str) -> str:
        created, updated, deleted = (
            self._name(table, stamp) for stamp in ("created_at", "updated_at", "deleted_at")
        )
        first = date_literal(FIRST_DATE)
        return (
            f"CASE WHEN {created} >= {self._since} AND {updated} <= {created}"
            f" AND {deleted} IS NULL"
            f" THEN COALESCE({self._name(table, date)}, {first}) ELSE {first} END"
        )

    @staticmethod
    def _dated(day: str) -> str:
        return f"{day} BETWEEN {date_literal(FIRST_DATE)} AND {date_literal(LAST_DATE)}"
