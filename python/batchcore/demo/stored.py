"""Stored rows as `Decimal`s, for the check of a run and for tables."""

from __future__ import annotations

import contextlib
from collections import defaultdict
from dataclasses import dataclass
from decimal import Decimal
from typing import TYPE_CHECKING, Final

from batchcore.config import Schema
from batchcore.db.catalog import inspect
from batchcore.pg.database import Database
from batchcore.pg.sql import compose, joined
from batchcore.schema import Use, snapshot_figures
from batchcore.sources.host import HostTable, day_number
from batchcore.sources.reference_rows import Reader

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterable, Sequence
    from uuid import UUID

    from batchcore import reference as ref

STORED_COLUMNS: Final = (*snapshot_figures(Use.ROLLFORWARD), "is_complete")
"""Columns of `portfolio_snapshots` named in a rule, beside its key."""


@dataclass(frozen=True, slots=True)
class StoredRow:
    """A row of `portfolio_snapshots`."""

    day: int  # its date, `reference.INFINITE_DAY` for an infinite one
    values: tuple[Decimal | int | bool | None, ...]  # of `STORED_COLUMNS`, in that order


@dataclass(frozen=True, slots=True)
class Valuation:
    """The valuation of a portfolio in a snapshot, or of many; cumulative amounts in dollars."""

    name: str
    positions: int  # lots held
    equity: Decimal
    pnl: Decimal
    realized: Decimal
    flow: Decimal
    gross: Decimal
    beta: Decimal | None = None  # by the providers' betas (A1); None without one
    effective: Decimal | None = None  # symbols of equal weight, as concentrated (A3); likewise
    volatility: Decimal | None = None  # of the last 21 returns, a year (A4); likewise


_VALUATION: Final = (
    *("num_positions", "equity_balance", "cumulative_pnl", "cumulative_realized_pnl"),
    *("cumulative_capital_flow", "gross_exposure"),
    *("beta_provider_1y", "effective_num_positions", "realized_volatility_21d"),
)
"""Columns of a `Valuation`, in the order of its fields."""


class StoredReader(Reader):
    """Reads stored rows too."""

    async def market(self, portfolios: Iterable[ref.Portfolio]) -> ref.Market:
        """Return the valid closes of the symbols of ``portfolios``, of all days."""
        return await self.closes(
            position.symbol or "" for portfolio in portfolios for position in portfolio.positions
        )

    async def snapshots(self, ids: Sequence[UUID]) -> dict[UUID, list[StoredRow]]:
        """Return the snapshots of each portfolio, by day."""
        s = HostTable(self.catalog, "portfolio_snapshots", "s")
        columns = [getattr(s, column) for column in STORED_COLUMNS]
        query = compose(
            "SELECT {s.portfolio_id}, {day}, {columns} FROM {s}"
            " WHERE {s.portfolio_id} = ANY($1) ORDER BY {s.snapshot_date}",
            s=s,
            day=day_number(s.snapshot_date),
            columns=joined(", ", columns),
        )
        stored: dict[UUID, list[StoredRow]] = defaultdict(list)
        for owner, on, *values in await self.session.fetch(query, ids):
            stored[owner].append(StoredRow(on, tuple(values)))
        return stored

    async def equities(self, ids: Sequence[UUID]) -> dict[UUID, Decimal | None]:
        """Return `portfolios.equity_balance` of each portfolio."""
        p = HostTable(self.catalog, "portfolios", "p")
        query = compose("SELECT {p.id}, {p.equity_balance} FROM {p} WHERE {p.id} = ANY($1)", p=p)
        return dict(await self.session.fetch(query, ids))

    async def valuations(self, day: int, limit: int) -> tuple[list[Valuation], Valuation]:
        """Return the first portfolios by id with a snapshot of a session, and the sum of all."""
        p = HostTable(self.catalog, "portfolios", "p")
        s = HostTable(self.catalog, "portfolio_snapshots", "s")
        columns = [getattr(s, column) for column in _VALUATION]
        query = compose(
            "SELECT {p.name}, {columns} FROM {s} JOIN {p} ON {p.id} = {s.portfolio_id}"
            " WHERE {s.snapshot_date} = DATE '1970-01-01' + $1::int ORDER BY {p.id}",
            p=p,
            s=s,
            columns=joined(", ", columns),
        )
        rows = [Valuation(*row) for row in await self.session.fetch(query, day)]
        total = Valuation(
            name=f"{len(rows)}",
            positions=sum(row.positions for row in rows),
            equity=sum((row.equity for row in rows), Decimal(0)),
            pnl=sum((row.pnl for row in rows), Decimal(0)),
            realized=sum((row.realized for row in rows), Decimal(0)),
            flow=sum((row.flow for row in rows), Decimal(0)),
            gross=sum((row.gross for row in rows), Decimal(0)),
        )
        return rows[:limit], total


@contextlib.asynccontextmanager
async def reading(db: object, *, schema: Schema | None = None) -> AsyncIterator[StoredReader]:
    """Yield a reader of one snapshot of the database."""
    async with Database(db).snapshot("read") as session:
        catalog = await inspect(session, schema or Schema())
        yield StoredReader(session, catalog)
