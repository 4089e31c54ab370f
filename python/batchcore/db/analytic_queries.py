"""Each SELECT of the analytics, with the columns that its binary COPY brings."""

from __future__ import annotations

from typing import TYPE_CHECKING

from batchcore.db.analytic_tables import COLUMNS, FACTORS, KEYS, PROFILES, SNAPSHOTS
from batchcore.db.queries import (
    Column,
    Queries,
    Query,
    Selection,
    date_literal,
    dates,
    text_array,
    uuids,
)
from batchcore.schema import Kind

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    import numpy as np
    import numpy.typing as npt

    from batchcore.calendar import Calendar


class AnalyticQueries(Queries):
    """The queries of a run, those of its analytics too."""

    def profiles(self, normalised: Iterable[str]) -> Query:
        """Return the profiles of symbols, each spelling that there is."""
        name = {c: self._name(PROFILES, c) for c in ("symbol", "beta", "sector", "is_etf")}
        sql = (
            f"SELECT {name['symbol']}, {name['beta']}, {name['sector']},"  # noqa: S608  # quoted
            f" {name['is_etf']} IS TRUE FROM {self._table(PROFILES)}"
            f" WHERE upper(btrim({name['symbol']} COLLATE \"C\", ' '))"
            f" = ANY({text_array(normalised)})"
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

    def returns(
        self,
        calendar: Calendar,
        ids: npt.NDArray[np.uint8],
        before: npt.NDArray[np.int32],
        count: int,
    ) -> Query:
        """Return of each portfolio the last daily returns before a day, of complete snapshots.

        A LATERAL look-up on the unique index for each; NULL and what is not finite do not count.

        Args:
            calendar: That of the run (S5).
            ids: (p, 16) uint8.
            before: (p,) int32, the day of each.
            count: Returns of a portfolio, at most.
        """
        portfolio, day, value = (
            self._name(SNAPSHOTS, c) for c in ("portfolio_id", "snapshot_date", "daily_return")
        )
        sql = (
            f"SELECT (w.number - 1)::int4, s.{day}, s.{value}"  # noqa: S608  # quoted
            f" FROM unnest('{{{uuids(ids)}}}'::uuid[], '{{{dates(before)}}}'::date[])"
            " WITH ORDINALITY AS w(id, before, number)"
            f" CROSS JOIN LATERAL (SELECT {day}, {value} FROM {self._table(SNAPSHOTS)}"
            f" WHERE {portfolio} = w.id AND {day} < w.before AND {self._finite(value)}"
            f" AND {self.complete(calendar)} ORDER BY {day} DESC LIMIT {count}) AS s"
        )
        return Query(
            "returns",
            sql,
            (
                Column("portfolio", Kind.INT4),
                Column("day", Kind.DATE),
                self._decimal("daily_return", SNAPSHOTS, "daily_return"),
            ),
        )

    def factors(self, etfs: Iterable[str]) -> Query:
        """Return the active factors whose ETF is one of these, or those of `Schema.factors`."""
        by_name = self.catalog.schema.factors
        name = {c: self._name(FACTORS, c) for c in COLUMNS[FACTORS]}
        etf = f"upper(btrim({name['etf_proxy']}::text COLLATE \"C\", ' '))"
        regressed = f"{name['calculation_method']}::text COLLATE \"C\" ILIKE '%regression%'"
        wanted = f"{etf} = ANY({text_array(etfs)})"
        if by_name:
            etf = regressed = "NULL"
            wanted = f"{name['name']} = ANY({text_array(by_name)})"
        sql = (
            f"SELECT {name['id']}, {name['name']}, {etf}::text, ({regressed}) IS TRUE"  # noqa: S608  # quoted
            f" FROM {self._table(FACTORS)} WHERE {name['is_active']} AND {wanted}"
            f" ORDER BY {name['id']}"
        )
        return Query(
            "factors",
            sql,
            (
                Column("id", Kind.UUID),
                Column("name", Kind.TEXT),
                Column("etf", Kind.TEXT),
                Column("regressed", Kind.BOOL),
            ),
        )

    def stands(
        self, tables: Sequence[str], portfolios: Selection, days: Sequence[int], factors: Selection
    ) -> str:
        """Return the statement that tells of each table whether it has rows of these keys.

        Rows are looked up position by position on the unique indexes, which end in the date.

        Args:
            tables: Of `analytic_tables.KEYS`.
            portfolios: Those of a chunk.
            days: Dates of the rows.
            factors: Ids of the factors.
        """
        listed = ",".join(date_literal(day) for day in days)

        def exists(table: str) -> str:
            owner, key = "positions", "position_id"
            if key not in KEYS[table]:
                owner, key = "portfolios", "portfolio_id"
            own_id = f"o.{self._name(owner, 'id')}"
            of_portfolio = own_id
            if owner == "positions":
                of_portfolio = f"o.{self._name(owner, 'portfolio_id')}"
            of_row = {
                key: f"= {own_id}",
                "portfolio_id": f"= {of_portfolio}",
                "calc_date": f"IN ({listed})",
                "calculation_date": f"IN ({listed})",
            }
            conditions = [portfolios.condition(of_portfolio)]
            for column in KEYS[table]:
                name = f"r.{self._name(table, column)}"
                if column in of_row:
                    conditions.append(f"{name} {of_row[column]}")
                elif column == "factor_id":
                    conditions.append(factors.condition(name))
            return (
                f"EXISTS (SELECT FROM {self._table(owner)} AS o"  # quoted
                f" JOIN {self._table(table)} AS r ON {' AND '.join(conditions)})"
            )

        return "SELECT " + ", ".join(exists(table) for table in tables)
