"""The SELECTs that find what a host changed since a moment, from the time stamps of its rows."""

from __future__ import annotations

import datetime as dt
from types import MappingProxyType
from typing import TYPE_CHECKING, Final

from batchcore.calendar import FIRST_DATE, LAST_DATE
from batchcore.db.catalog import OPTIONAL, Kind, check_needs
from batchcore.db.queries import Column, Queries, Query, date_literal
from batchcore.db.sql import quote_literal

if TYPE_CHECKING:
    from batchcore.db.catalog import Catalog, Needs
    from batchcore.db.queries import Selection

_CREATED: Final = {"created_at": Kind.TIMESTAMPTZ}
_STAMPS: Final = {**_CREATED, "updated_at": Kind.TIMESTAMPTZ}

STAMPS: Final[Needs] = MappingProxyType(
    {
        "positions": MappingProxyType(_STAMPS),
        "market_data_cache": MappingProxyType(_STAMPS),
        "equity_changes": MappingProxyType(_STAMPS),
        "position_realized_events": MappingProxyType(_CREATED),
    }
)
"""Columns that tell when a row changed, beside those of every run."""


class ChangeQueries(Queries):
    """The queries of what changed since a moment."""

    def __init__(self, catalog: Catalog, since: dt.datetime) -> None:
        """Take the host's tables and a moment with a time zone.

        Raises:
            SchemaError: a table that is there lacks a time stamp.
        """
        super().__init__(catalog)
        wanted = {
            table: columns
            for table, columns in STAMPS.items()
            if table not in OPTIONAL or catalog.has_table(table)
        }
        check_needs(catalog, wanted)
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
