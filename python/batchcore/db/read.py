"""What is stored, by ordinary SELECTs and as Decimals: for the check and for tables to look at.

Nothing here goes through the native decoder, so that a check does not trust what it checks.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections import defaultdict
from dataclasses import dataclass, replace
from decimal import Decimal
from functools import partial
from typing import TYPE_CHECKING, Final

from batchcore import reference as ref
from batchcore.config import Schema
from batchcore.db.analytic_tables import POSITION_BETAS, PROFILES
from batchcore.db.catalog import Kind, inspect
from batchcore.db.engine import Database
from batchcore.db.sql import column_name, table_name
from batchcore.reference import legacy
from batchcore.reference.values import upper

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterable, Mapping, Sequence
    from uuid import UUID

    import asyncpg

    from batchcore.db.catalog import Catalog
    from batchcore.db.engine import Session

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

_EPOCH: Final = "DATE '1970-01-01'"

_UNREADABLE: Final = Decimal("1E-30")
"""Stands for what is not representable at the scale of its column: it is at no scale."""


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


class Reader:
    """Reads of one snapshot of the database."""

    def __init__(self, session: Session, catalog: Catalog) -> None:
        """Take a session inside a transaction, and what its tables are."""
        self._session = session
        self._catalog = catalog
        self._schema = catalog.schema

    @property
    def scales(self) -> ref.Scales:
        """Return the decimals of the columns that rules read."""

        def largest(*columns: str) -> int:
            named = [name.split(".") for name in columns]
            return max(
                self._catalog.scale(table, column)
                for table, column in named
                if self._catalog.has_table(table)
            )

        return ref.Scales(
            quantity=largest("positions.quantity", "position_realized_events.quantity_closed"),
            price=largest("positions.entry_price", "positions.exit_price"),
            close=largest("market_data_cache.close"),
            money=largest(
                "portfolio_snapshots.equity_balance",
                "positions.market_value",
                "position_realized_events.realized_pnl",
                "equity_changes.amount",
            ),
        )

    async def portfolios(
        self, opening: Mapping[UUID, Decimal | None], ids: Sequence[UUID]
    ) -> list[ref.Portfolio]:
        """Return portfolios with positions, events and flows, and no snapshot.

        Args:
            opening: Opening equity of each of ``ids``.
            ids: Which, in the order of the result.
        """
        positions = await self._positions(ids)
        flows = await self._flows(ids)
        return [
            ref.Portfolio(
                str(one),
                opening[one],
                tuple(position for _, position in positions[one]),
                tuple(flows[one]),
            )
            for one in ids
        ]

    async def legacy_portfolios(self, ids: Sequence[UUID]) -> list[legacy.Portfolio]:
        """Return portfolios as the policy `legacy` reads them, with no snapshot and no equity.

        Positions, soft-deleted ones too, are in the order of the bytes of their ids.

        Args:
            ids: Which, in the order of the result.
        """
        positions = await self._positions(ids, deleted=True)
        flows = await self._flows(ids)
        betas = await self._betas([own for held in positions.values() for own, _ in held])
        return [
            legacy.Portfolio(
                str(one),
                None,
                tuple(
                    replace(position, betas=tuple(betas[own]))
                    for own, position in sorted(positions[one], key=lambda held: held[0].bytes)
                ),
                tuple(flows[one]),
            )
            for one in ids
        ]

    async def _positions(
        self, ids: Sequence[UUID], *, deleted: bool = False
    ) -> dict[UUID, list[tuple[UUID, ref.Position]]]:
        """Return the positions of portfolios with their ids, and with `last_price` if `deleted`."""
        events = await self._events(ids)
        value = partial(self._decimal, "positions")
        columns = ["id", "portfolio_id", "symbol", "position_type", "quantity", "entry_price"]
        columns += ["exit_price", "investment_class", "market_value", "deleted_at"]
        columns += ["last_price"] if deleted else []
        positions: dict[UUID, list[tuple[UUID, ref.Position]]] = defaultdict(list)
        for row in await self._rows(
            "positions",
            columns,
            ("entry_date", "exit_date", "expiration_date"),
            ids,
            deleted=deleted,
        ):
            position = ref.Position(
                symbol=_text(row["symbol"]),
                position_type=_text(row["position_type"]),
                quantity=value(row, "quantity"),
                entry_price=value(row, "entry_price"),
                entry_day=row["entry_date"],
                exit_price=value(row, "exit_price"),
                exit_day=row["exit_date"],
                expiration_day=row["expiration_date"],
                investment_class=_text(row["investment_class"]),
                market_value=value(row, "market_value"),
                deleted=row["deleted_at"] is not None,
                events=tuple(events[row["id"]]),
                last_price=value(row, "last_price") if deleted else None,
            )
            positions[row["portfolio_id"]].append((row["id"], position))
        return positions

    async def _flows(self, ids: Sequence[UUID]) -> dict[UUID, list[ref.Flow]]:
        flows: dict[UUID, list[ref.Flow]] = defaultdict(list)
        if not self._catalog.has_table("equity_changes"):
            return flows
        for row in await self._rows(
            "equity_changes", ("portfolio_id", "amount", "change_type"), ("change_date",), ids
        ):
            amount = self._decimal("equity_changes", row, "amount")
            flow = ref.Flow(row["change_date"], amount, _text(row["change_type"]))
            flows[row["portfolio_id"]].append(flow)
        return flows

    async def _betas(self, positions: Sequence[UUID]) -> dict[UUID, list[ref.Beta]]:
        table = POSITION_BETAS
        betas: dict[UUID, list[ref.Beta]] = defaultdict(list)
        if not self._catalog.has_table(table):
            return betas
        position, day = self._name(table, "position_id"), self._name(table, "calc_date")
        query = (
            f"SELECT {position} AS position_id, {_day(day)} AS day,"  # noqa: S608  # quoted
            f" {self._name(table, 'beta')} AS beta"
            f" FROM {self._table(table)} WHERE {position} = ANY($1)"
        )
        for row in await self._fetch(query, positions):
            beta = self._decimal(table, row, "beta")
            if row["day"] is not None and beta is not None:
                betas[row["position_id"]].append(ref.Beta(row["day"], beta))
        return betas

    async def legacy_closes(self, symbols: Iterable[str]) -> ref.Market:
        """Return every finite close of symbols as spelt and in upper case (L10, L12, L26)."""
        found = await self._closes(sorted(_spelt(symbols)))
        return await asyncio.to_thread(legacy.closes, found, self.scales)

    async def legacy_profiles(self, symbols: Iterable[str]) -> dict[str, legacy.Profile]:
        """Return the profiles of symbols as spelt and in upper case (L32, L33), by symbol."""
        if not self._catalog.has_table(PROFILES):
            return {}
        names = {c: self._name(PROFILES, c) for c in ("symbol", "beta", "sector", "is_etf")}
        selected = ", ".join(self._item(PROFILES, column) for column in names)
        rows = await self._fetch(
            f"SELECT {selected} FROM {self._table(PROFILES)}"  # noqa: S608  # quoted
            f" WHERE {names['symbol']} = ANY($1)",
            sorted(_spelt(symbols)),
        )
        return {
            str(_text(row["symbol"])): legacy.Profile(
                self._decimal(PROFILES, row, "beta"), _text(row["sector"]), row["is_etf"]
            )
            for row in rows
        }

    async def _events(self, ids: Sequence[UUID]) -> dict[UUID, list[ref.Event]]:
        table = "position_realized_events"
        events: dict[UUID, list[ref.Event]] = defaultdict(list)
        if not self._catalog.has_table(table):
            return events
        position, portfolio = (self._name("positions", one) for one in ("id", "portfolio_id"))
        query = (
            f"SELECT {self._name(table, 'position_id')} AS position_id,"  # noqa: S608  # quoted
            f" {_day(self._name(table, 'trade_date'))} AS trade_date,"
            f" {self._name(table, 'quantity_closed')} AS quantity_closed,"
            f" {self._name(table, 'realized_pnl')} AS realized_pnl"
            f" FROM {self._table(table)} WHERE {self._name(table, 'position_id')} IN"
            f" (SELECT {position} FROM {self._table('positions')} WHERE {portfolio} = ANY($1))"
        )
        for row in await self._fetch(query, ids):
            quantity, realized = (
                self._decimal(table, row, column) for column in ("quantity_closed", "realized_pnl")
            )
            event = ref.Event(row["trade_date"], quantity, realized)
            events[row["position_id"]].append(event)
        return events

    async def market(self, portfolios: Iterable[ref.Portfolio]) -> ref.Market:
        """Return the valid closes of the symbols of ``portfolios``, of all days."""
        return await self.closes(
            position.symbol or "" for portfolio in portfolios for position in portfolio.positions
        )

    async def closes(self, symbols: Iterable[str]) -> ref.Market:
        """Return the valid closes of symbols, however they are spelt, of all days."""
        wanted = {ref.normalized(symbol) for symbol in symbols}
        table = "market_data_cache"
        known = await self._fetch(
            f"SELECT DISTINCT {self._item(table, 'symbol')}"  # noqa: S608  # quoted
            f" FROM {self._table(table)}"
        )
        names = [str(_text(row["symbol"])) for row in known]
        spelt = [name for name in names if ref.normalized(name) in wanted]
        return await asyncio.to_thread(ref.market, await self._closes(spelt), self.scales)

    async def _closes(
        self, symbols: Sequence[str]
    ) -> Iterable[tuple[str, int | None, Decimal | None]]:
        """Return symbol, day and close of symbols exactly as spelt, one of each (S2)."""
        table, sources = "market_data_cache", self._schema.price_sources
        symbol = self._name(table, "symbol")
        source = f"{self._name(table, 'data_source')}::text" if sources else "NULL::text"
        closes = await self._fetch(
            f"SELECT {symbol} AS symbol, {_day(self._name(table, 'date'))} AS day,"  # noqa: S608
            f" {self._name(table, 'close')} AS close, {source} AS source"  # quoted
            f" FROM {self._table(table)} WHERE {symbol} = ANY($1)",
            symbols,
        )
        rows = (
            (row["symbol"], row["day"], self._decimal(table, row, "close"), row["source"])
            for row in closes
        )
        if self._catalog.one_price and not sources:
            return ((symbol, day, close) for symbol, day, close, _ in rows)
        scale = self.scales.close
        kept, _ = await asyncio.to_thread(ref.one_close, rows, sources, scale=scale)
        return kept

    async def snapshots(self, ids: Sequence[UUID]) -> dict[UUID, list[StoredRow]]:
        """Return the snapshots of each portfolio, by day."""
        stored: dict[UUID, list[StoredRow]] = defaultdict(list)
        table = "portfolio_snapshots"
        for row in await self._rows(
            table, ("portfolio_id", *STORED_COLUMNS), ("snapshot_date",), ids
        ):
            values = tuple(row[name] for name in STORED_COLUMNS)
            stored[row["portfolio_id"]].append(StoredRow(row["snapshot_date"], values))
        for rows in stored.values():
            rows.sort(key=lambda row: row.day)
        return stored

    async def equities(self, ids: Sequence[UUID]) -> dict[UUID, Decimal | None]:
        """Return `portfolios.equity_balance` of each portfolio."""
        query = (
            f"SELECT {self._name('portfolios', 'id')} AS id,"  # noqa: S608  # quoted
            f" {self._name('portfolios', 'equity_balance')} AS equity"
            f" FROM {self._table('portfolios')} WHERE {self._name('portfolios', 'id')} = ANY($1)"
        )
        return {row["id"]: row["equity"] for row in await self._fetch(query, ids)}

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
            f"s.{self._name(table, c)} AS {n}" for n, c in {**columns, **analytics}.items()
        )
        summed = ", ".join(
            f"COALESCE(sum(s.{self._name(table, c)}), 0) AS {n}" for n, c in columns.items()
        )
        source = (
            f"FROM {self._table(table)} AS s JOIN {self._table('portfolios')} AS p"
            f" ON p.{self._name('portfolios', 'id')} = s.{self._name(table, 'portfolio_id')}"
            f" WHERE s.{self._name(table, 'snapshot_date')} = {_EPOCH} + $1::int"
        )
        name, key = (f"p.{self._name('portfolios', column)}" for column in ("name", "id"))
        rows = await self._fetch(
            f"SELECT {name} AS name, {of_row} {source} ORDER BY {key} LIMIT $2",
            day,
            limit,
        )
        totals = await self._fetch(
            f"SELECT count(*)::text AS name, {summed} {source}",  # quoted
            day,
        )
        return [Valuation(**row) for row in rows], Valuation(**totals[0])

    async def _rows(
        self,
        table: str,
        columns: Sequence[str],
        days: Sequence[str],
        ids: Sequence[UUID],
        *,
        deleted: bool = False,
    ) -> list[asyncpg.Record]:
        """Return rows of portfolios, soft-deleted ones if asked for, dates as days."""
        selected = [self._item(table, column) for column in columns]
        selected += [f"{_day(self._name(table, column))} AS {column}" for column in days]
        query = (
            f"SELECT {', '.join(selected)} FROM {self._table(table)}"  # noqa: S608  # quoted
            f" WHERE {self._name(table, 'portfolio_id')} = ANY($1)"
        )
        if table != "portfolio_snapshots" and not deleted:
            query += f" AND {self._name(table, 'deleted_at')} IS NULL"
        return await self._fetch(query, ids)

    async def _fetch(self, query: str, *arguments: object) -> list[asyncpg.Record]:
        return await self._session.fetch(query, *arguments)

    def _item(self, table: str, column: str) -> str:
        """Return what is selected of a column; a text that may be no UTF-8 comes as its bytes."""
        name = self._name(table, column)
        if self._session.has_encoding or self._catalog.column(table, column).kind is not Kind.TEXT:
            return f"{name} AS {column}"
        return f"convert_to({name}::text, 'SQL_ASCII') AS {column}"

    def _decimal(self, table: str, row: asyncpg.Record, column: str) -> Decimal | None:
        """Return a cell that a rule reads; a double is rounded as it says."""
        value: Decimal | float | None = row[column]
        scale = self._catalog.scale(table, column)
        if isinstance(value, float):
            return ref.from_double(value, scale)
        if value is None or not value.is_finite() or self._catalog.always_fits(table, column):
            return value
        return value if ref.representable(value, scale) else _UNREADABLE

    def _table(self, table: str) -> str:
        return table_name(self._schema, table)

    def _name(self, table: str, column: str) -> str:
        return column_name(self._schema, table, column)


def _text(value: str | bytes | None) -> str | None:
    """Return a text as the reference takes it: bytes that are no UTF-8 as lone surrogates."""
    return value.decode("utf-8", "surrogateescape") if isinstance(value, bytes) else value


def _spelt(symbols: Iterable[str]) -> set[str]:
    """Return symbols as spelt and in upper case."""
    spelt = set(symbols)
    return spelt | set(map(upper, spelt))


def _day(column: str) -> str:
    return (
        f"CASE WHEN isfinite({column}) THEN ({column} - {_EPOCH})::bigint"
        f" WHEN {column} IS NOT NULL THEN {ref.INFINITE_DAY} END"
    )


@contextlib.asynccontextmanager
async def reading(db: object, *, schema: Schema | None = None) -> AsyncIterator[Reader]:
    """Give a reader of the database as it is at this moment.

    Raises:
        DatabaseError: the database refused or went away.
    """
    async with Database(db).snapshot("read") as session:
        catalog = await inspect(session, schema or Schema())
        yield Reader(session, catalog)
