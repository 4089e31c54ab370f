"""Each SELECT of the caches, with the columns that its binary COPY brings."""

from __future__ import annotations

import uuid
from dataclasses import dataclass
from typing import TYPE_CHECKING

from batchcore.db.catalog import Kind
from batchcore.db.queries import Column, Queries, Query, date_literal, text_array

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from batchcore.calendar import Calendar

PROFILES = "company_profiles"
SNAPSHOTS = "portfolio_snapshots"


@dataclass(frozen=True, slots=True)
class Window:
    """Symbols and the days that are wanted of them.

    Attributes:
        symbols: As spelt.
        first: First day.
        last: Last day, included.
    """

    symbols: tuple[str, ...]
    first: int
    last: int


class CacheQueries(Queries):
    """The queries of the caches: symbols are meant exactly as they are spelt.

    A column that compares more loosely (char(n), citext) may bring other spellings too; it is
    compared as what it is, so that its index serves.
    """

    def closes(self, windows: Sequence[Window]) -> Query:
        """Return every finite close in the windows, at least one."""
        symbol, day, close = self._price_names()
        wanted = " OR ".join(
            f"{symbol} = ANY({text_array(window.symbols)})"
            f" AND {day} BETWEEN {date_literal(window.first)} AND {date_literal(window.last)}"
            for window in windows
        )
        sql = (
            f"SELECT {self._price_items(text=True)}"  # noqa: S608  # quoted
            f" FROM {self._table('market_data_cache')}"
            f" WHERE ({wanted}) AND {self._finite(close)}{self._declared()}"
        )
        return Query("closes", sql, self._price_columns())

    def company_profiles(self, symbols: Iterable[str]) -> Query:
        """Return the profiles of symbols."""
        texts = {"name": "company_name"} | {c: c for c in ("sector", "industry", "country")}
        symbol = self._name(PROFILES, "symbol")
        selected = [f"{symbol}::text"]
        selected += [self._name(PROFILES, column) for column in (*texts.values(), "beta")]
        selected.append(self._name(PROFILES, "market_cap"))
        selected.append(f"{self._name(PROFILES, 'is_etf')} IS TRUE")
        sql = (
            f"SELECT {', '.join(selected)} FROM {self._table(PROFILES)}"  # noqa: S608  # quoted
            f" WHERE {symbol} = ANY({text_array(symbols)})"
        )
        return Query(
            "company_profiles",
            sql,
            (
                Column("symbol", Kind.TEXT),
                *(Column(name, Kind.TEXT) for name in texts),
                self._decimal("beta", PROFILES, "beta"),
                self._decimal("market_cap", PROFILES, "market_cap"),
                Column("is_etf", Kind.BOOL),
            ),
        )

    def latest_snapshots(self, calendar: Calendar, ids: Iterable[bytes], before: int) -> Query:
        """Return of each portfolio the latest complete snapshot before a day (S5).

        A LATERAL look-up on the unique index for each.

        Args:
            calendar: Whose sessions count.
            ids: Portfolios, 16 bytes each.
            before: A day.
        """
        amounts = {
            "equity": "equity_balance",
            "cumulative_pnl": "cumulative_pnl",
            "cumulative_realized_pnl": "cumulative_realized_pnl",
            "cumulative_capital_flow": "cumulative_capital_flow",
        }
        portfolio, day = (self._name(SNAPSHOTS, c) for c in ("portfolio_id", "snapshot_date"))
        selected = ", ".join([day, *(self._name(SNAPSHOTS, c) for c in amounts.values())])
        listed = ",".join(str(uuid.UUID(bytes=one)) for one in ids)
        sql = (
            f"SELECT w.id, s.* FROM unnest('{{{listed}}}'::uuid[]) AS w(id)"  # noqa: S608
            f" CROSS JOIN LATERAL (SELECT {selected} FROM {self._table(SNAPSHOTS)}"
            f" WHERE {portfolio} = w.id AND {day} < {date_literal(before)}"
            f" AND {self.complete(calendar)} ORDER BY {day} DESC LIMIT 1) AS s"
        )
        return Query(
            "latest_snapshots",
            sql,
            (
                Column("portfolio_id", Kind.UUID),
                Column("day", Kind.DATE),
                *(self._decimal(name, SNAPSHOTS, c) for name, c in amounts.items()),
            ),
        )
