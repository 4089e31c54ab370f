"""What the caches are filled with: each SELECT, and the frame of what its binary COPY brings."""

from __future__ import annotations

import logging
import uuid
from typing import TYPE_CHECKING, Final

from batchcore.calendar import date_of
from batchcore.db.access import reading
from batchcore.db.load import load
from batchcore.db.load import load_closes as load_one_of_each
from batchcore.db.queries import Column, Queries, Query, date_literal, text_array
from batchcore.frames import Previous, Prices, Profiles
from batchcore.schema import Kind, Use

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from batchcore.calendar import Calendar
    from batchcore.config import Schema
    from batchcore.spans import Window

CUMULATIVE: Final = ("cumulative_pnl", "cumulative_realized_pnl", "cumulative_capital_flow")

log = logging.getLogger("batchcore")


async def load_closes(db: object, schema: Schema | None, windows: Sequence[Window]) -> Prices:
    """Return every finite close in the windows, at least one, by one statement.

    Of a symbol and date whose rows differ there is none (S2), which is logged.

    Raises:
        ConfigError: ``db`` is of a wrong kind.
        SchemaError: the price table is not what it has to be.
        DatabaseError: the database refused, failed or went away.
    """
    async with reading(db, schema, Use.PRICES) as (session, queries):
        own = CacheQueries(queries.catalog)
        prices = await load_one_of_each(session, own, own.closes(windows))
        for one in session.ambiguous:
            log.warning("ambiguous_price=%s from=%s: %s", one.symbol, date_of(one.day), one.detail)
    return prices


async def load_company_profiles(
    db: object, schema: Schema | None, symbols: Sequence[str]
) -> Profiles:
    """Return the profiles of symbols by one statement; errors as above."""
    async with reading(db, schema, Use.PROFILES) as (session, queries):
        query = CacheQueries(queries.catalog).company_profiles(symbols)
        return Profiles(**await load(session, query))


async def load_latest_snapshots(
    db: object, schema: Schema | None, calendar: Calendar, ids: Sequence[bytes], before: int
) -> Previous:
    """Return the latest complete snapshot of portfolios before a day; errors as above."""
    async with reading(db, schema, Use.LATEST) as (session, queries):
        query = CacheQueries(queries.catalog).latest_snapshots(calendar, ids, before)
        columns = await load(session, query)
    return Previous(**columns | {"day": columns["day"].values})


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
        table = "company_profiles"
        texts = {"name": "company_name"} | {c: c for c in ("sector", "industry", "country")}
        numbers = ("beta", "market_cap")
        symbol, is_etf = (self._name(table, column) for column in ("symbol", "is_etf"))
        selected = ", ".join(self._name(table, column) for column in (*texts.values(), *numbers))
        sql = (
            f"SELECT {symbol}::text, {selected}, {is_etf} IS TRUE"  # noqa: S608  # quoted
            f" FROM {self._table(table)} WHERE {symbol} = ANY({text_array(symbols)})"
        )
        columns = (
            *(Column(name, Kind.TEXT) for name in ("symbol", *texts)),
            *(self._decimal(name, table, name) for name in numbers),
            Column("is_etf", Kind.BOOL),
        )
        return Query(table, sql, columns)

    def latest_snapshots(self, calendar: Calendar, ids: Iterable[bytes], before: int) -> Query:
        """Return of each portfolio the latest complete snapshot before a day (S5).

        A LATERAL look-up on the unique index for each.

        Args:
            calendar: Whose sessions count.
            ids: Portfolios, 16 bytes each.
            before: A day.
        """
        table = "portfolio_snapshots"
        amounts = {"equity": "equity_balance"} | {name: name for name in CUMULATIVE}
        portfolio, day = (self._name(table, c) for c in ("portfolio_id", "snapshot_date"))
        selected = ", ".join([day, *(self._name(table, c) for c in amounts.values())])
        listed = ",".join(str(uuid.UUID(bytes=one)) for one in ids)
        sql = (
            f"SELECT w.id, s.* FROM unnest('{{{listed}}}'::uuid[]) AS w(id)"  # noqa: S608
            f" CROSS JOIN LATERAL (SELECT {selected} FROM {self._table(table)}"
            f" WHERE {portfolio} = w.id AND {day} < {date_literal(before)}"
            f" AND {self.complete(calendar)} ORDER BY {day} DESC LIMIT 1) AS s"
        )
        columns = (
            Column("portfolio_id", Kind.UUID),
            Column("day", Kind.DATE),
            *(self._decimal(name, table, c) for name, c in amounts.items()),
        )
        return Query("latest_snapshots", sql, columns)
