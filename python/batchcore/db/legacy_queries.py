"""Each SELECT of the policy `legacy` that `rollforward` does not have, with its columns."""

from __future__ import annotations

from typing import TYPE_CHECKING

from batchcore.db.analytic_queries import AnalyticQueries
from batchcore.db.analytic_tables import POSITION_BETAS, PROFILES, SNAPSHOTS
from batchcore.db.benchmarks import TABLE as BENCHMARKS
from batchcore.db.queries import Column, Query, Selection, date_literal, iso_date, text_array
from batchcore.db.sql import quote_literal
from batchcore.schema import Kind

if TYPE_CHECKING:
    from collections.abc import Iterable

    import numpy as np
    import numpy.typing as npt

_AMOUNTS = (
    "equity_balance",
    "cumulative_pnl",
    "cumulative_realized_pnl",
    "cumulative_capital_flow",
)


class LegacyQueries(AnalyticQueries):
    """The queries of a run under `legacy`."""

    def legacy_portfolios(self, selection: Selection, sessions: npt.NDArray[np.int32]) -> Query:
        """Return each portfolio with its latest complete row, and those that stand (L3).

        Of those asked for by id, soft-deleted ones come too, marked.

        Args:
            selection: Which portfolios.
            sessions: Those on which complete rows are counted.
        """
        p = {
            c: f"p.{self._name('portfolios', c)}"
            for c in ("id", "name", "equity_balance", "currency", "deleted_at")
        }
        portfolio, day, complete = (
            self._name(SNAPSHOTS, c) for c in ("portfolio_id", "snapshot_date", "is_complete")
        )
        rows = self._table(SNAPSHOTS)
        days = ",".join(iso_date(one) for one in sessions.tolist())
        wanted = f"{p['deleted_at']} IS NULL"
        if selection.ids is not None:
            wanted = selection.condition(p["id"])
        sql = (
            f"SELECT {p['id']}, {p['name']}, {p['equity_balance']}, {p['currency']},"  # noqa: S608
            f" {p['deleted_at']} IS NOT NULL,"
            f" (SELECT {day} FROM {rows} WHERE {portfolio} = {p['id']} AND {complete}"
            f" AND isfinite({day}) ORDER BY {day} DESC LIMIT 1),"
            f" stands.first, COALESCE(stands.count, 0)::int8"
            f" FROM {self._table('portfolios')} AS p"
            f" LEFT JOIN (SELECT {portfolio}, min({day}), count(*) FROM {rows}"
            f" WHERE {complete} AND {day} = ANY('{{{days}}}'::date[])"
            f" AND {selection.condition(portfolio)} GROUP BY {portfolio})"
            f" AS stands(id, first, count) ON stands.id = {p['id']}"
            f" WHERE {wanted}"
        )
        return Query(
            "portfolios",
            sql,
            (
                Column("id", Kind.UUID),
                Column("name", Kind.TEXT),
                self._decimal("equity_balance", "portfolios", "equity_balance"),
                Column("currency", Kind.TEXT),
                Column("deleted", Kind.BOOL),
                Column("latest", Kind.DATE),
                Column("first_stands", Kind.DATE),
                Column("stands", Kind.INT8),
            ),
        )

    def stored(self, selection: Selection, first: int, last: int) -> Query:
        """Return the rows of a window and the latest before it, complete or not (L3, L5)."""
        portfolio, day, complete = (
            self._name(SNAPSHOTS, c) for c in ("portfolio_id", "snapshot_date", "is_complete")
        )
        amounts = ", ".join(self._name(SNAPSHOTS, c) for c in _AMOUNTS)
        read = f"SELECT {portfolio}, {day}, {complete} IS TRUE, {amounts}"
        rows, own = self._table(SNAPSHOTS), f"p.{self._name('portfolios', 'id')}"
        sql = (
            f"{read} FROM {rows} WHERE {selection.condition(portfolio)}"  # noqa: S608  # quoted
            f" AND {day} BETWEEN {date_literal(first)} AND {date_literal(last)}"
            f" UNION ALL SELECT earlier.* FROM {self._table('portfolios')} AS p"
            f" CROSS JOIN LATERAL ({read} FROM {rows} WHERE {portfolio} = {own}"
            f" AND {day} < {date_literal(first)} AND isfinite({day})"
            f" ORDER BY {day} DESC LIMIT 1) AS earlier WHERE {selection.condition(own)}"
        )
        return Query(
            "stored",
            sql,
            (
                Column("portfolio_id", Kind.UUID),
                Column("day", Kind.DATE),
                Column("complete", Kind.BOOL),
                *(self._decimal(c, SNAPSHOTS, c) for c in _AMOUNTS),
            ),
        )

    def all_positions(self, selection: Selection) -> Query:
        """Return the positions of a chunk, soft-deleted ones too."""
        read = (
            Column("id", Kind.UUID),
            Column("portfolio_id", Kind.UUID),
            Column("symbol", Kind.TEXT),
            Column("position_type", Kind.TEXT),
            self._decimal("quantity", "positions", "quantity"),
            self._decimal("entry_price", "positions", "entry_price"),
            Column("entry_date", Kind.DATE),
            Column("exit_date", Kind.DATE),
            Column("investment_class", Kind.TEXT),
            self._decimal("market_value", "positions", "market_value"),
            self._decimal("last_price", "positions", "last_price"),
        )
        names = ", ".join(self._name("positions", column.name) for column in read)
        sql = (
            f"SELECT {names}, {self._name('positions', 'deleted_at')} IS NOT NULL"  # noqa: S608
            f" FROM {self._table('positions')}"
            f" WHERE {selection.condition(self._name('positions', 'portfolio_id'))}"
        )
        return Query("positions", sql, (*read, Column("deleted", Kind.BOOL)))

    def last_closes(self, symbols: Iterable[str], before: int) -> Query:
        """Return of each symbol, exactly as spelt, the last close before a day (L26)."""
        symbol, day, close = self._price_names()
        ranked = ", 0" if self._schema.price_sources else ""
        sql = (
            f"SELECT wanted.symbol, earlier.day, earlier.close{ranked}"  # noqa: S608  # quoted
            f" FROM unnest({text_array(symbols)}::text[]) AS wanted(symbol)"
            f" CROSS JOIN LATERAL (SELECT {day}, {close}"
            f" FROM {self._table('market_data_cache')} AS p"
            f" WHERE {symbol} = wanted.symbol AND {day} < {date_literal(before)}"
            f" AND isfinite({day}) AND {self._readable('market_data_cache', 'close')}"
            f"{self._counts()} ORDER BY {day} DESC{self._then()} LIMIT 1) AS earlier(day, close)"
        )
        return Query("last_closes", sql, self._price_columns())

    def spelt_profiles(self, symbols: Iterable[str]) -> Query:
        """Return the profiles of symbols, exactly as spelt (L32, L33)."""
        name = {c: self._name(PROFILES, c) for c in ("symbol", "beta", "sector", "is_etf")}
        sql = (
            f"SELECT {name['symbol']}, {name['beta']}, {name['sector']},"  # noqa: S608  # quoted
            f" {name['is_etf']} IS TRUE FROM {self._table(PROFILES)}"
            f" WHERE {name['symbol']} = ANY({text_array(symbols)})"
        )
        return Query(
            "profiles",
            sql,
            (
                Column("symbol", Kind.TEXT),
                self._decimal("beta", PROFILES, "beta"),
                Column("sector", Kind.TEXT),
                Column("is_etf", Kind.BOOL),
            ),
        )

    def newest_betas(self, selection: Selection) -> Query:
        """Return the betas of the newest date of each position of a chunk that needs them (L32).

        Those are the positions that count in the provider beta and have none of their profile. A
        look-up for each on the unique index, which begins with the portfolio: 20 to 40 times as
        fast as ranking millions of rows by position.
        """
        portfolio, position, day, beta = (
            self._name(POSITION_BETAS, c)
            for c in ("portfolio_id", "position_id", "calc_date", "beta")
        )
        p = {
            c: f"p.{self._name('positions', c)}"
            for c in (
                "id",
                "portfolio_id",
                "symbol",
                "position_type",
                "investment_class",
                "market_value",
                "exit_date",
                "deleted_at",
            )
        }
        sql = (
            f"SELECT {p['id']}, newest.day, newest.beta"  # noqa: S608  # quoted
            f" FROM {self._table('positions')} AS p CROSS JOIN LATERAL ("
            f"SELECT {day}, {beta} FROM {self._table(POSITION_BETAS)}"
            f" WHERE {portfolio} = {p['portfolio_id']} AND {position} = {p['id']}"
            f" AND {day} IS NOT NULL ORDER BY {day} DESC FETCH FIRST 1 ROW WITH TIES"
            f") AS newest(day, beta)"
            f" WHERE {p['deleted_at']} IS NULL AND {p['exit_date']} IS NULL"
            f" AND {p['position_type']}::text IN ('LONG', 'SHORT')"
            f" AND {p['investment_class']}::text = 'PUBLIC' AND {p['market_value']} <> 0"
            f" AND {selection.condition(p['portfolio_id'])}"
        )
        if self.has_table(PROFILES):
            symbol, own = (f"f.{self._name(PROFILES, c)}" for c in ("symbol", "beta"))
            above, below = (
                condition(PROFILES, "beta", own)
                for condition in (self._above_zero, self._below_zero)
            )
            sql += (
                f" AND NOT EXISTS (SELECT FROM {self._table(PROFILES)} AS f"
                f' WHERE {symbol}::text = {p["symbol"]}::text COLLATE "C"'
                f" AND ({above} OR {below}))"
            )
        return Query(
            "betas",
            sql,
            (
                Column("position_id", Kind.UUID),
                Column("day", Kind.DATE),
                self._decimal("beta", POSITION_BETAS, "beta"),
            ),
        )

    def has_benchmark(self, code: str) -> Query:
        """Return whether there is any weight of a benchmark (L34)."""
        sql = (
            f"SELECT EXISTS (SELECT FROM {self._table(BENCHMARKS)}"  # noqa: S608  # quoted
            f" WHERE {self._name(BENCHMARKS, 'benchmark_code')} = {quote_literal(code)})"
        )
        return Query("benchmark", sql, (Column("there", Kind.BOOL),))
