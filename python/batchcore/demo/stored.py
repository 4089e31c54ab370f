"""What is stored, as `Decimal`s: for the check of a run, and for tables to look at."""

from __future__ import annotations

import contextlib
from collections import defaultdict
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from batchcore import reference as ref
from batchcore.config import Schema
from batchcore.db.catalog import inspect
from batchcore.db.engine import Database
from batchcore.db.read import Reader, day_number

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterable, Sequence
    from decimal import Decimal
    from uuid import UUID

STORED_COLUMNS: Final = (
    "total_value",
    *ref.MONEY_COLUMNS,
    "daily_return",
    "num_positions",
    "num_long_positions",
    "num_short_positions",
    "is_complete",
)
"""Columns of `portfolio_snapshots` that a rule names, beside its key."""


@dataclass(frozen=True, slots=True)
class StoredRow:
    """A row of `portfolio_snapshots`.

    Attributes:
        day: Its date, `reference.INFINITE_DAY` for an infinite one.
        values: Of `STORED_COLUMNS`, in that order.
    """

    day: int
    values: tuple[Decimal | int | bool | None, ...]


@dataclass(frozen=True, slots=True)
class Valuation:
    """A portfolio as its latest snapshot up to a day has it, or the sum of many.

    Attributes:
        name: Of the portfolio.
        positions: Lots held.
        equity: Dollars.
        pnl: Cumulative, dollars.
        realized: Cumulative, dollars.
        flow: Cumulative, dollars.
        gross: Gross exposure, dollars.
        beta: Against SPY by the providers' betas (A1); None where there is none, as of many.
        effective: Symbols of equal weight that would be as concentrated (A3); likewise.
        volatility: Of the last 21 returns, a year (A4); likewise.
    """

    name: str
    positions: int
    equity: Decimal
    pnl: Decimal
    realized: Decimal
    flow: Decimal
    gross: Decimal
    beta: Decimal | None = None
    effective: Decimal | None = None
    volatility: Decimal | None = None


class StoredReader(Reader):
    """Reads what is stored too."""

    async def market(self, portfolios: Iterable[ref.Portfolio]) -> ref.Market:
        """Return the valid closes of the symbols of ``portfolios``, of all days."""
        return await self.closes(
            position.symbol or "" for portfolio in portfolios for position in portfolio.positions
        )

    async def snapshots(self, ids: Sequence[UUID]) -> dict[UUID, list[StoredRow]]:
        """Return the snapshots of each portfolio, by day."""
        table = "portfolio_snapshots"
        portfolio, day = (self.name(table, one) for one in ("portfolio_id", "snapshot_date"))
        columns = ", ".join(self.name(table, column) for column in STORED_COLUMNS)
        query = (
            f"SELECT {portfolio}, {day_number(day)}, {columns} FROM {self.table(table)}"  # noqa: S608
            f" WHERE {portfolio} = ANY($1) ORDER BY {day}"
        )
        stored: dict[UUID, list[StoredRow]] = defaultdict(list)
        for owner, on, *values in await self.session.fetch(query, ids):
            stored[owner].append(StoredRow(on, tuple(values)))
        return stored

    async def equities(self, ids: Sequence[UUID]) -> dict[UUID, Decimal | None]:
        """Return `portfolios.equity_balance` of each portfolio."""
        query = (
            f"SELECT {self.name('portfolios', 'id')} AS id,"  # noqa: S608  # quoted
            f" {self.name('portfolios', 'equity_balance')} AS equity"
            f" FROM {self.table('portfolios')} WHERE {self.name('portfolios', 'id')} = ANY($1)"
        )
        return {row["id"]: row["equity"] for row in await self.session.fetch(query, ids)}

    async def valuations(self, day: int, limit: int) -> tuple[list[Valuation], Valuation]:
        """Return the first portfolios by id as of a session, and the sum of all of them.

        Args:
            day: The session; portfolios without a snapshot of it are left out.
            limit: How many.
        """
        table = "portfolio_snapshots"
        columns = {
            "positions": "num_positions",
            "equity": "equity_balance",
            "pnl": "cumulative_pnl",
            "realized": "cumulative_realized_pnl",
            "flow": "cumulative_capital_flow",
            "gross": "gross_exposure",
        }
        analytics = {
            "beta": "beta_provider_1y",
            "effective": "effective_num_positions",
            "volatility": "realized_volatility_21d",
        }
        of_row = ", ".join(
            f"s.{self.name(table, c)} AS {n}" for n, c in {**columns, **analytics}.items()
        )
        summed = ", ".join(
            f"COALESCE(sum(s.{self.name(table, c)}), 0) AS {n}" for n, c in columns.items()
        )
        source = (
            f"FROM {self.table(table)} AS s JOIN {self.table('portfolios')} AS p"
            f" ON p.{self.name('portfolios', 'id')} = s.{self.name(table, 'portfolio_id')}"
            f" WHERE s.{self.name(table, 'snapshot_date')} = DATE '1970-01-01' + $1::int"
        )
        name, key = (f"p.{self.name('portfolios', column)}" for column in ("name", "id"))
        rows = await self.session.fetch(
            f"SELECT {name} AS name, {of_row} {source} ORDER BY {key} LIMIT $2",
            day,
            limit,
        )
        totals = await self.session.fetch(
            f"SELECT count(*)::text AS name, {summed} {source}",  # quoted
            day,
        )
        return [Valuation(**row) for row in rows], Valuation(**totals[0])


@contextlib.asynccontextmanager
async def reading(db: object, *, schema: Schema | None = None) -> AsyncIterator[StoredReader]:
    """Give a reader of the database as it is at this moment.

    Raises:
        DatabaseError: the database refused or went away.
    """
    async with Database(db).snapshot("read") as session:
        catalog = await inspect(session, schema or Schema())
        yield StoredReader(session, catalog)
