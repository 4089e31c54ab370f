"""What is stored, by ordinary SELECTs and as Decimals: for the check and for tables to look at.

Nothing here goes through the native decoder, so that a check does not trust what it checks.
"""

from __future__ import annotations

import asyncio
from collections import defaultdict
from dataclasses import replace
from decimal import Decimal
from typing import TYPE_CHECKING, Any, Final

import numpy as np

from batchcore import reference as ref
from batchcore.calendar import FIRST_DATE, LAST_DATE
from batchcore.db.analytic_tables import POSITION_BETAS, PROFILES
from batchcore.db.legacy_queries import LegacyQueries
from batchcore.db.queries import Column, Query, Selection
from batchcore.db.sql import column_name, table_name
from batchcore.reference import legacy
from batchcore.reference.values import upper
from batchcore.schema import Kind

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence
    from uuid import UUID

    import asyncpg

    from batchcore.db.catalog import Catalog
    from batchcore.db.engine import Session

_DAYS: Final = {
    "entry_date": "entry_day",
    "exit_date": "exit_day",
    "expiration_date": "expiration_day",
}
"""Column of a position -> attribute of `reference.Position`."""

_EPOCH: Final = "DATE '1970-01-01'"

_UNREADABLE: Final = Decimal("1E-30")
"""Stands for what is not representable at the scale of its column: it is at no scale."""


class Reader:
    """Reads of one snapshot of the database.

    Attributes:
        session: Inside a transaction.
    """

    def __init__(self, session: Session, catalog: Catalog) -> None:
        """Take a session inside a transaction, and what its tables are."""
        self.session = session
        self._catalog = catalog
        self._schema = catalog.schema
        self._queries = LegacyQueries(catalog)

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
        selection = _selected(ids)
        positions = await self._positions(selection)
        flows = await self._flows(selection)
        return [
            ref.Portfolio(str(one), opening[one], tuple(positions[one].values()), tuple(flows[one]))
            for one in ids
        ]

    async def legacy_portfolios(self, ids: Sequence[UUID]) -> list[legacy.Portfolio]:
        """Return portfolios as the policy `legacy` reads them, with no snapshot and no equity.

        Positions, soft-deleted ones too, are in the order of the bytes of their ids.

        Args:
            ids: Which, in the order of the result.
        """
        selection = _selected(ids)
        positions = await self._positions(selection, deleted=True)
        flows = await self._flows(selection)
        betas = await self._betas([own for held in positions.values() for own in held])
        return [
            legacy.Portfolio(
                str(one),
                None,
                tuple(
                    replace(positions[one][own], betas=tuple(betas[own]))
                    for own in sorted(positions[one], key=lambda own: own.bytes)
                ),
                tuple(flows[one]),
            )
            for one in ids
        ]

    async def _positions(
        self, selection: Selection, *, deleted: bool = False
    ) -> dict[UUID, dict[UUID, ref.Position]]:
        """Return the positions of portfolios by id, with `last_price` if `deleted`."""
        queries = self._queries
        events: dict[UUID, list[ref.Event]] = defaultdict(list)
        if queries.has_table("position_realized_events"):
            for row in await self._read(queries.events(selection, deleted=deleted)):
                event = ref.Event(row["day"], row["quantity"], row["realized"])
                events[row["position_id"]].append(event)
        query = queries.all_positions(selection) if deleted else queries.positions(selection)
        positions: dict[UUID, dict[UUID, ref.Position]] = defaultdict(dict)
        for row in await self._read(query):
            own, portfolio = row.pop("id"), row.pop("portfolio_id")
            columns = {_DAYS.get(name, name): value for name, value in row.items()}
            positions[portfolio][own] = ref.Position(**columns, events=tuple(events[own]))
        return positions

    async def _flows(self, selection: Selection) -> dict[UUID, list[ref.Flow]]:
        flows: dict[UUID, list[ref.Flow]] = defaultdict(list)
        if self._catalog.has_table("equity_changes"):
            query = self._queries.flows(selection, FIRST_DATE, LAST_DATE)
            for row in await self._read(query):
                flow = ref.Flow(row["day"], row["amount"], row["change_type"])
                flows[row["portfolio_id"]].append(flow)
        return flows

    async def _betas(self, positions: Sequence[UUID]) -> dict[UUID, list[ref.Beta]]:
        table = POSITION_BETAS
        betas: dict[UUID, list[ref.Beta]] = defaultdict(list)
        if not self._catalog.has_table(table):
            return betas
        position, day = self.name(table, "position_id"), self.name(table, "calc_date")
        query = (
            f"SELECT {position} AS position_id, {day_number(day)} AS day,"  # noqa: S608  # quoted
            f" {self.name(table, 'beta')} AS beta"
            f" FROM {self.table(table)} WHERE {position} = ANY($1)"
        )
        for row in await self.session.fetch(query, positions):
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
        rows = await self._read(self._queries.spelt_profiles(sorted(_spelt(symbols))))
        return {
            row["symbol"]: legacy.Profile(row["beta"], row["sector"], row["is_etf"]) for row in rows
        }

    async def closes(self, symbols: Iterable[str]) -> ref.Market:
        """Return the valid closes of symbols, however they are spelt, of all days."""
        wanted = {ref.normalized(symbol) for symbol in symbols}
        table = "market_data_cache"
        symbol = self.name(table, "symbol")
        query = f"SELECT DISTINCT {symbol} FROM {self.table(table)}"  # noqa: S608  # quoted
        known = await self._read(Query("spellings", query, (Column("symbol", Kind.TEXT),)))
        names = [row["symbol"] for row in known]
        spelt = [name for name in names if ref.normalized(name) in wanted]
        return await asyncio.to_thread(ref.market, await self._closes(spelt), self.scales)

    async def _closes(
        self, symbols: Sequence[str]
    ) -> Iterable[tuple[str, int | None, Decimal | None]]:
        """Return symbol, day and close of symbols exactly as spelt, one of each (S2)."""
        table, sources = "market_data_cache", self._schema.price_sources
        symbol = self.name(table, "symbol")
        source = f"{self.name(table, 'data_source')}::text" if sources else "NULL::text"
        closes = await self.session.fetch(
            f"SELECT {symbol} AS symbol, {day_number(self.name(table, 'date'))} AS day,"  # noqa: S608
            f" {self.name(table, 'close')} AS close, {source} AS source"  # quoted
            f" FROM {self.table(table)} WHERE {symbol} = ANY($1)",
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

    async def _read(self, query: Query) -> list[dict[str, Any]]:
        """Return the rows of a query; what a column's scale does not hold is at no scale."""
        rows = await fetch_plainly(self.session, query)
        for column in query.columns:
            if column.kind in {Kind.NUMERIC, Kind.FLOAT8}:
                for row in rows:
                    row[column.name] = _readable(row[column.name], column.scale)
        return rows

    def _decimal(self, table: str, row: asyncpg.Record, column: str) -> Decimal | None:
        """Return a cell that a rule reads; a double is rounded as it says."""
        value: Decimal | float | None = row[column]
        scale = self._catalog.scale(table, column)
        if isinstance(value, float):
            return ref.from_double(value, scale)
        return value if self._catalog.always_fits(table, column) else _readable(value, scale)

    def table(self, table: str) -> str:
        """Return the host's name of a table."""
        return table_name(self._schema, table)

    def name(self, table: str, column: str) -> str:
        """Return the host's name of a column."""
        return column_name(self._schema, table, column)


async def fetch_plainly(session: Session, query: Query) -> list[dict[str, Any]]:
    """Return the rows of a query by an ordinary SELECT, by the names of its columns.

    Dates are days since 1970-01-01, `reference.INFINITE_DAY` for an infinite one; doubles are
    rounded as the column says; bytes of a text that are no UTF-8 are lone surrogates.

    Raises:
        DatabaseError: the server refused the query.
    """
    places = [(f"c{number}", column) for number, column in enumerate(query.columns)]
    items = []
    for place, column in places:
        if column.kind is Kind.DATE:
            items.append(day_number(place))
        elif column.kind is Kind.TEXT and not session.has_encoding:
            items.append(f"convert_to({place}::text, 'SQL_ASCII')")
        else:
            items.append(place)
    names = ", ".join(place for place, _ in places)
    sql = f"SELECT {', '.join(items)} FROM ({query.sql}) AS q({names})"  # noqa: S608  # our own
    return [
        {
            column.name: _plain(value, column.scale)
            for column, value in zip(query.columns, row, strict=True)
        }
        for row in await session.fetch(sql)
    ]


def _plain(value: Any, scale: int) -> Any:  # noqa: ANN401  # a cell of any type
    if isinstance(value, float):
        return ref.from_double(value, scale)
    return value.decode("utf-8", "surrogateescape") if isinstance(value, bytes) else value


def _readable(value: Decimal | None, scale: int) -> Decimal | None:
    if value is None or not value.is_finite() or ref.representable(value, scale):
        return value
    return _UNREADABLE


def _selected(ids: Sequence[UUID]) -> Selection:
    data = b"".join(one.bytes for one in sorted(ids))
    return Selection(np.frombuffer(data, dtype=np.uint8).reshape(-1, 16))


def _spelt(symbols: Iterable[str]) -> set[str]:
    """Return symbols as spelt and in upper case."""
    spelt = set(symbols)
    return spelt | set(map(upper, spelt))


def day_number(column: str) -> str:
    """Return the expression for a date as a day since 1970-01-01, an infinite one as such."""
    return (
        f"CASE WHEN isfinite({column}) THEN ({column} - {_EPOCH})::bigint"
        f" WHEN {column} IS NOT NULL THEN {ref.INFINITE_DAY} END"
    )
