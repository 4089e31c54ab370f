"""Stored rows by ordinary SELECTs, as `Decimal`s, for the reference and for tables.

They bypass the native decoder, so that a check does not trust what it checks.
"""

from __future__ import annotations

import asyncio
from collections import defaultdict
from decimal import Decimal
from functools import partial
from typing import TYPE_CHECKING, Any, Final

import numpy as np

from batchcore import reference as ref
from batchcore.arrow import EXACT
from batchcore.calendar import FIRST_DATE, LAST_DATE
from batchcore.frames import Days, Decimals, Text
from batchcore.pg.sql import Sql
from batchcore.schema import RATES, Kind
from batchcore.sources.events_flows import EVENTS, FLOWS, select_events, select_flows
from batchcore.sources.host import Selection, day_number, select
from batchcore.sources.positions import select_all_positions, select_positions
from batchcore.sources.prices import PRICES, select_splits
from batchcore.sources.query import Column, Query, Result, as_bytes
from batchcore.sources.rates import select_homes, select_profile_currencies, select_rates
from batchcore.sources.snapshots import SNAPSHOTS
from batchcore.units import State

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping, Sequence
    from uuid import UUID

    from batchcore.db.catalog import Catalog
    from batchcore.pg.session import Session

_UNREADABLE: Final = Decimal("1E-30")
"""Marks a value that is not representable at the scale of its column."""

_SCALES: Final = {
    "quantity": (("positions", "quantity"), (EVENTS, "quantity_closed")),
    "price": (("positions", "entry_price"), ("positions", "exit_price")),
    "close": ((PRICES, "close"),),
    "money": (
        (SNAPSHOTS, "equity_balance"),
        ("positions", "market_value"),
        (EVENTS, "realized_pnl"),
        (FLOWS, "amount"),
    ),
}
"""Columns of one kind."""


async def load_plainly(session: Session, query: Query[Result]) -> Result:
    """As `load`, by an ordinary SELECT and without the native decoder."""
    if not query.sql:
        return query.frame()
    rows = list(await fetch_plainly(session, query))
    cells = {
        column.name: _converted(column, [row[number] for row in rows])
        for number, column in enumerate(query.columns)
    }
    return query.frame(**cells)


async def fetch_plainly(session: Session, query: Query[Any]) -> Iterator[tuple[Any, ...]]:
    """Return the rows of a query by an ordinary SELECT.

    Dates are days since 1970-01-01, `reference.INFINITE_DAY` for an infinite one; doubles are
    rounded as the column says; bytes of a text that are no UTF-8 are lone surrogates.
    """
    if not query.sql:
        return iter(())

    def item(name: str, column: Column) -> str:
        if column.kind is Kind.DATE:
            return day_number(Sql(name))
        return name if session.has_encoding else as_bytes(name, column)

    scales = [column.scale for column in query.columns]
    rows = await session.fetch(query.converted(item))
    return (tuple(map(_plain, row, scales)) for row in rows)


def _plain(value: Any, scale: int) -> Any:  # noqa: ANN401  # a cell of any type
    if isinstance(value, float):
        return ref.from_double(value, scale)
    return value.decode("utf-8", "surrogateescape") if isinstance(value, bytes) else value


def _converted(column: Column, values: Sequence[Any]) -> Any:  # noqa: ANN401  # as `_decoded`
    match column.kind:
        case Kind.NUMERIC | Kind.FLOAT8:
            return as_decimals(values, column.scale)
        case Kind.DATE:
            days = np.array(values, dtype=np.int32)
            return days if column.bare else Days(days)
        case Kind.TEXT:
            return Text.of(values)
        case Kind.UUID:
            data = b"".join(value.bytes for value in values)
            return np.frombuffer(data, dtype=np.uint8).reshape(-1, 16)
        case Kind.BOOL:
            return np.array(values, dtype=np.bool_)
        case _:
            return np.array(values, dtype=np.int64)


def as_decimals(values: Sequence[Decimal | None], scale: int) -> Decimals:
    """Return decimals as a column of a scale."""
    mantissas, states = [], []
    for value in values:
        state, mantissa = State.VALUE, 0
        if value is None:
            state = State.NULL
        elif not value.is_finite():
            state = State.NON_FINITE
        else:
            units = value.scaleb(scale, EXACT)
            if units == units.to_integral_value() and -(2**63) <= units < 2**63:
                mantissa = int(units)
            else:
                state = State.NOT_REPRESENTABLE
        mantissas.append(mantissa)
        states.append(state)
    return Decimals(np.array(mantissas, dtype=np.int64), scale, np.array(states, dtype=np.uint8))


class Reader:
    """Reads of one snapshot of the database, by a session inside a transaction."""

    def __init__(self, session: Session, catalog: Catalog) -> None:
        self.session = session
        self.catalog = catalog

    @property
    def scales(self) -> ref.Scales:
        """Return the decimals of the columns that rules read, the largest of each kind."""
        has, scale = self.catalog.has_table, self.catalog.scale
        found = {
            kind: max(scale(table, column) for table, column in columns if has(table))
            for kind, columns in _SCALES.items()
        }
        return ref.Scales(**found)

    async def portfolios(
        self, opening: Mapping[UUID, Decimal | None], ids: Sequence[UUID]
    ) -> list[ref.Portfolio]:
        """Return portfolios with positions, events, flows and opening equities, and no snapshot."""
        selection = selected(ids)
        held = await self.positions(selection)
        paid = await self.flows(selection)
        currencies = await self._homes(selection)
        portfolios = []
        for one in ids:
            own, flows, currency = held[one].values(), tuple(paid[one]), currencies.get(one)
            made = ref.Portfolio(str(one), opening[one], tuple(own), flows, currency=currency)
            portfolios.append(made)
        return portfolios

    async def positions(
        self, selection: Selection, *, deleted: bool = False
    ) -> dict[UUID, dict[UUID, ref.Position]]:
        """Return the positions of portfolios by id, with `last_price` if `deleted`."""
        closed: dict[UUID, list[ref.Event]] = defaultdict(list)
        for row in await self.read(select_events(self.catalog, selection, deleted=deleted)):
            event = ref.Event(row["day"], row["quantity"], row["realized"])
            closed[row["position_id"]].append(event)
        query = (select_all_positions if deleted else select_positions)(self.catalog, selection)
        currencies = {} if deleted else await self._currencies()
        found: dict[UUID, dict[UUID, ref.Position]] = defaultdict(dict)
        for row in await self.read(query):
            own, portfolio = row.pop("id"), row.pop("portfolio_id")
            if currencies:
                row["currency"] = currencies.get(ref.normalised(row["symbol"] or ""))
            found[portfolio][own] = ref.Position(**row, events=tuple(closed[own]))
        return found

    async def _homes(self, selection: Selection) -> dict[UUID, str | None]:
        if self.catalog.schema.fx is None:
            return {}
        rows = await self.read(select_homes(self.catalog, selection))
        return {row["id"]: row["currency"] for row in rows}

    async def _currencies(self) -> dict[str, str | None]:
        mapped = self.catalog.schema.fx
        if mapped is None or mapped.currency_table == "positions":
            return {}
        rows = await self._rows(select_profile_currencies(self.catalog))
        in_order = sorted(rows, key=lambda row: (row[0], row[1] or ""))
        return {ref.normalised(symbol): own for symbol, own in in_order}

    async def rates(self, last: int, lookback_days: int, pivot: str) -> ref.Rates | None:
        """Return all rates up to a day (C6); None on a host that maps none."""
        if self.catalog.schema.fx is None:
            return None
        rows = list(await self._rows(select_rates(self.catalog, None, last)))
        scale = self.catalog.scale(RATES, "rate")
        made = partial(ref.rates, lookback_days=lookback_days, pivot=pivot, scale=scale)
        return await asyncio.to_thread(made, rows)

    async def flows(self, selection: Selection) -> dict[UUID, list[ref.Flow]]:
        """Return the flows of portfolios, of any date."""
        found: dict[UUID, list[ref.Flow]] = defaultdict(list)
        query = select_flows(self.catalog, selection, FIRST_DATE, LAST_DATE)
        for row in await self.read(query):
            found[row.pop("portfolio_id")].append(ref.Flow(**row))
        return found

    async def closes(self, symbols: Iterable[str]) -> ref.Market:
        """Return the valid closes of symbols, in any spelling and of all days, and their splits."""
        wanted = {ref.normalised(symbol) for symbol in symbols}
        template = "SELECT DISTINCT {columns} FROM {m}"
        known = await self._rows(select(self.catalog, "spellings", dict, "m.symbol", template))
        names = [symbol for (symbol,) in known]
        spelt = [name for name in names if ref.normalised(name) in wanted]
        splits = await self._splits(wanted)
        return await asyncio.to_thread(
            ref.market, await self.spelt_closes(spelt), self.scales, splits
        )

    async def _splits(self, symbols: Iterable[str]) -> ref.Splits | None:
        mapped = self.catalog.schema.splits
        if mapped is None:
            return None
        query = select_splits(self.catalog, mapped, symbols)
        scale = max(column.scale for column in query.columns)
        bases = mapped.price_basis, mapped.quantity_basis
        return ref.splits(await self._rows(query), *bases, scale=scale)

    async def spelt_closes(
        self, symbols: Sequence[str]
    ) -> Iterable[tuple[str, int | None, Decimal | None]]:
        """Return symbol, day and close of symbols exactly as spelt, one of each (S2)."""
        sources = self.catalog.schema.price_sources
        source = "{m.data_source}::text" if sources else "NULL::text"
        read = ("m.symbol, m.date, m.close", Column("source", Kind.TEXT, source))
        template = "SELECT {columns} FROM {m} WHERE {m.symbol} = ANY({symbols:texts})"
        query = select(self.catalog, "closes", dict[str, Any], read, template, symbols=symbols)
        rows = await self._rows(query)
        if self.catalog.one_price and not sources:
            return ((symbol, day, close) for symbol, day, close, _ in rows)
        scale = self.scales.close
        kept, _ = await asyncio.to_thread(ref.one_close, rows, sources, scale=scale)
        return kept

    async def _rows(self, query: Query[Any]) -> Iterator[tuple[Any, ...]]:
        """Return the rows of a query; values beyond a column's scale become `UNREPRESENTABLE`."""
        checked = [
            (number, column.scale)
            for number, column in enumerate(query.columns)
            if column.kind in {Kind.NUMERIC, Kind.FLOAT8} and not column.always_fits
        ]
        rows = await fetch_plainly(self.session, query)
        return (_readable(row, checked) for row in rows) if checked else rows

    async def read(self, query: Query[Any]) -> list[dict[str, Any]]:
        """Return the rows by the names of the columns."""
        names = [column.name for column in query.columns]
        return [dict(zip(names, row, strict=True)) for row in await self._rows(query)]


def _readable(row: tuple[Any, ...], checked: list[tuple[int, int]]) -> tuple[Any, ...]:
    cells = list(row)
    for number, scale in checked:
        value = cells[number]
        if value is not None and value.is_finite() and not ref.representable(value, scale):
            cells[number] = _UNREADABLE
    return tuple(cells)


def selected(ids: Sequence[UUID]) -> Selection:
    """Return these portfolios."""
    return Selection(bytes_of(sorted(ids)))


def bytes_of(ids: Iterable[UUID]) -> np.ndarray[Any, np.dtype[np.uint8]]:
    """Return ids as rows of 16 bytes."""
    return np.frombuffer(b"".join(one.bytes for one in ids), dtype=np.uint8).reshape(-1, 16)
