"""Queries to frames: binary COPY, decoded while it streams."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, fields
from functools import lru_cache
from typing import TYPE_CHECKING, Any, Final

import numpy as np

from batchcore import _core
from batchcore.db.queries import Boundaries
from batchcore.db.sources import one_close
from batchcore.errors import DecodeError
from batchcore.frames import Days, Decimals, Events, Flows, Frame, Positions, Prices, Text
from batchcore.schema import Kind
from batchcore.units import State

if TYPE_CHECKING:
    from collections.abc import Sequence

    import numpy.typing as npt

    from batchcore.calendar import Calendar
    from batchcore.db.engine import Session
    from batchcore.db.queries import Queries, Query, Selection
    from batchcore.frames import Bools, Ids, Int32, Int64


MOST_SPELLINGS: Final = 50_000
"""How many symbols of closes are looked at in the process; more are for the server."""


@dataclass(frozen=True, eq=False)
class SnapshotColumns(Frame):
    """One snapshot for each portfolio, or none: then its day is NULL.

    Attributes:
        day: Its date.
        equity_balance: Dollars; as the next three.
        cumulative_pnl: Dollars.
        cumulative_realized_pnl: Dollars.
        cumulative_capital_flow: Dollars.
    """

    day: Days
    equity_balance: Decimals
    cumulative_pnl: Decimals
    cumulative_realized_pnl: Decimals
    cumulative_capital_flow: Decimals


@dataclass(frozen=True, eq=False)
class Portfolios(Frame):
    """The portfolios of a run and the complete snapshots around its first day, sorted by id.

    Attributes:
        id: (n, 16) uint8, ascending.
        equity_balance: Dollars.
        currency: As stored.
        deleted: (n,) bool; True only for portfolios that were asked for by id.
        before: The latest snapshot before the boundary.
        first_day: Date of the earliest snapshot from the boundary on.
        first_equity_balance: Dollars, of that snapshot; as the next two.
        first_daily_pnl: Dollars.
        first_daily_capital_flow: Dollars.
        last: The latest snapshot from the boundary on.
    """

    id: Ids
    equity_balance: Decimals
    currency: Text
    deleted: Bools
    before: SnapshotColumns
    first_day: Days
    first_equity_balance: Decimals
    first_daily_pnl: Decimals
    first_daily_capital_flow: Decimals
    last: SnapshotColumns


@dataclass(frozen=True, eq=False)
class Existing(Frame):
    """Snapshots that stand already.

    Attributes:
        portfolio_id: (n, 16) uint8.
        day: (n,) int32.
        complete: (n,) bool, S5.
    """

    portfolio_id: Ids
    day: Int32
    complete: Bools


async def load(session: Session, query: Query) -> dict[str, Any]:
    """Return the columns of a query by name: `Decimals`, `Days`, `Text`, or an array.

    Doubles that lose decimals are counted in the session.

    Raises:
        DatabaseError: the server refused the query.
        DecodeError: its bytes are not what the query announces; it names query, column and row.
    """
    specs = [(column.name, column.kind.value, column.scale) for column in query.columns]
    decoder = _core.Decoder(specs)
    try:
        sql = query.sql if session.has_encoding else query.in_bytes
        await session.copy_out(sql, decoder.push)
        parts = decoder.finish()
    except DecodeError as error:
        message = f"query `{query.name}`: {error}"
        raise DecodeError(message, query.name, error.column, error.row) from error
    columns = {}
    for column in query.columns:
        part = parts[column.name]
        if column.kind == Kind.FLOAT8:
            *part, lost = part
            session.rounded[column.source] += lost
        columns[column.name] = _column(column.kind, part)
    return columns


def _column(kind: Kind, parts: Any) -> Any:  # noqa: ANN401  # one of four column types
    if kind in {Kind.NUMERIC, Kind.FLOAT8}:
        column = Decimals(*parts)
        # Zeros that nobody touches take no memory.
        is_null = bool((column.state == State.NULL).all())
        return Decimals.nulls(len(column), column.scale) if is_null else column
    if kind == Kind.DATE:
        return Days(*parts)
    if kind == Kind.TEXT:
        return Text(*parts)
    values, _state = parts
    if kind == Kind.BOOL:
        return values.astype(np.bool_)
    return values.reshape(-1, 16) if kind == Kind.UUID else values


async def load_portfolios(  # noqa: PLR0917  # around a day of a calendar, or days of their own
    session: Session,
    queries: Queries,
    calendar: Calendar,
    boundary: int,
    selection: Selection,
    own: Boundaries | None = None,
) -> Portfolios:
    """Return the portfolios of a run, sorted by id."""
    columns = await load(session, queries.portfolios(calendar, boundary, selection, own))
    around: dict[str, Any] = {
        prefix: SnapshotColumns(
            **{item.name: columns.pop(f"{prefix}_{item.name}") for item in fields(SnapshotColumns)}
        )
        for prefix in ("before", "last")
    }
    portfolios = Portfolios(**columns, **around)
    order = sorted_ids(portfolios.id)
    # Mostly they come in order, and need no copy.
    return portfolios if (order[1:] > order[:-1]).all() else portfolios.take(order)


async def lock_portfolios(session: Session, queries: Queries, selection: Selection) -> None:
    """Lock the rows of portfolios until the transaction ends; wait for whoever has locked them.

    What is read after that includes what the others have committed, at READ COMMITTED.
    """
    await session.fetchval(queries.lock_of_portfolios(selection))


@dataclass(frozen=True, eq=False)
class Holes(Frame):
    """Sessions without a complete snapshot, of portfolios that have one in the range.

    Attributes:
        portfolio_id: (n, 16) uint8.
        earliest: (n,) int32, the day of the earliest complete snapshot of the range.
        hole: The first session after it without one, though a later one has one.
        missing: (n,) int64, how many such sessions there are.
    """

    portfolio_id: Ids
    earliest: Int32
    hole: Days
    missing: Int64


async def load_holes(  # noqa: PLR0917  # the range of a calendar, for some portfolios
    session: Session,
    queries: Queries,
    calendar: Calendar,
    selection: Selection,
    start: int | None,
    end: int,
) -> Holes:
    """Return where the chains of portfolios have holes; those before ``start`` do not count."""
    columns = await load(session, queries.holes(calendar, selection, start, end))
    earliest: Days = columns["earliest"]
    return Holes(columns["portfolio_id"], earliest.values, columns["hole"], columns["missing"])


def sorted_ids(ids: npt.NDArray[np.uint8]) -> npt.NDArray[np.int64]:
    """Return the order in which PostgreSQL sorts uuids, that of their bytes."""
    halves = np.ascontiguousarray(ids).view(">u8").reshape(-1, 2)
    order: npt.NDArray[np.int64] = np.lexsort((halves[:, 1], halves[:, 0]))
    return order


async def load_symbols(session: Session, queries: Queries, selection: Selection) -> Text:
    """Return the distinct symbols of the positions of a run, as spelt.

    Where there are few of many positions, an index is stepped through instead of reading them all;
    where there turn out to be more, they are read after all, by a second statement.
    """
    most = queries.steps(selection)
    if most:
        stepped: Text = (await load(session, queries.stepped_symbols(most)))["symbol"]
        if len(stepped) < most:
            return stepped
    symbols: Text = (await load(session, queries.symbols(selection)))["symbol"]
    return symbols


async def load_prices(
    session: Session, queries: Queries, spellings: Sequence[str], first: int, last: int
) -> Prices:
    """Return every finite close in a window of symbols as they are spelt here."""
    return await load_closes(session, queries, queries.prices(spellings, first, last))


async def load_closes(session: Session, queries: Queries, query: Query) -> Prices:
    """Return what a query of closes brings, one of each symbol and date (S2).

    Where rows differ the session notes it.
    """
    columns = await load(session, query)
    rank = columns.pop("rank", None)
    prices = Prices(**columns)
    if queries.one_price:
        return prices
    prices, found = await asyncio.to_thread(one_close, prices, rank)
    session.ambiguous += found
    return prices


async def load_fallback(  # noqa: PLR0917  # what is missing in a window
    session: Session,
    queries: Queries,
    wanted: Sequence[str],
    brought: Sequence[str],
    first: int,
    last: int,
    since: int | None = None,
    settled: Sequence[str] = (),
) -> Prices:
    """Return what `load_prices` of a window leaves out, by one statement.

    Args:
        session: In the transaction that the prices were read in.
        queries: On the tables of the host.
        wanted: Symbols, normalised.
        brought: Spellings whose closes in the window are there already.
        first: First day of the window.
        last: Last day of the window.
        since: From which day on they are there, if not in the whole window.
        settled: Of ``wanted``, those that no close before the window is wanted of.

    Returns:
        Of each spelling that is not settled the last valid close before the window, and the last
        finite one where it is newer; and the closes in the window of spellings not brought.
    """
    query = queries.fallback(wanted, brought, first, last, since, settled)
    return await load_closes(session, queries, query)


async def load_spellings(session: Session, queries: Queries) -> Text | None:
    """Return the distinct symbols that closes are stored under.

    None where they are too many, or one of them, which nobody need hold, is no text.
    """
    try:
        symbols: Text = (await load(session, queries.spellings(MOST_SPELLINGS + 1)))["symbol"]
    except DecodeError:
        return None
    return symbols if len(symbols) <= MOST_SPELLINGS else None


async def load_left_out(
    session: Session,
    queries: Queries,
    earlier: Sequence[str],
    others: Sequence[str],
    brought: Sequence[str],
    *window: int,
) -> Prices:
    """Return what `load_fallback` does, where the spellings are known; see `Queries.left_out`."""
    first, last = window
    query = queries.left_out(earlier, others, brought, first, last)
    return await load_closes(session, queries, query)


async def load_earliest_entries(
    session: Session, queries: Queries, selection: Selection
) -> Boundaries:
    """Return the earliest entry date of each portfolio that has one."""
    columns = await load(session, queries.earliest_entries(selection))
    portfolio_id, day = columns["portfolio_id"], columns["day"]
    return Boundaries(portfolio_id, day.values)


@dataclass(frozen=True, eq=False)
class Held(Frame):
    """When public positions are held.

    Attributes:
        portfolio_id: (n, 16) uint8.
        symbol: As stored.
        start: (n,) int32 first day.
        end: (n,) int32 first day no longer; the largest int32 where a lot stays open.
    """

    portfolio_id: Ids
    symbol: Text
    start: Int32
    end: Int32


async def load_held(
    session: Session, queries: Queries, selection: Selection, spellings: Sequence[str]
) -> Held:
    """Return when the public positions in symbols as they are spelt here are held."""
    columns = await load(session, queries.held(selection, spellings))
    start: Days = columns["start"]
    end: Days = columns["end"]
    closed = np.where(end.state == State.VALUE, end.values, np.iinfo(np.int32).max)
    return Held(
        columns["portfolio_id"],
        columns["symbol"],
        start.values,
        np.where(end.state == State.NULL, start.values, closed).astype(np.int32),
    )


@lru_cache(maxsize=1 << 16)
def normalised(symbol: str) -> str:
    """Return a symbol without blanks at its ends and with ASCII letters in upper case (S2)."""
    return symbol.strip(" ").encode().upper().decode()


async def load_price_dates(session: Session, queries: Queries) -> npt.NDArray[np.int32]:
    """Return the dates with a valid close of any symbol, in any order."""
    columns = await load(session, queries.price_dates())
    days: Days = columns["day"]
    return days.values


async def load_positions(session: Session, queries: Queries, selection: Selection) -> Positions:
    """Return the positions of a chunk that are not soft-deleted."""
    return positions_of(await load(session, queries.positions(selection)))


def positions_of(columns: dict[str, Any]) -> Positions:
    """Return the positions of columns by their names in the table; a date is a day here."""
    return Positions(**{name.replace("_date", "_day"): column for name, column in columns.items()})


async def load_events(
    session: Session, queries: Queries, selection: Selection, *, deleted: bool = False
) -> Events:
    """Return the events of the positions of a chunk; none where the host has no such table.

    With ``deleted`` those of soft-deleted positions come too.
    """
    if not queries.has_table("position_realized_events"):
        return Events.none()
    return Events(**await load(session, queries.events(selection, deleted=deleted)))


@dataclass(frozen=True, eq=False)
class LooseEvents(Frame):
    """Events without the portfolios of their positions; otherwise as in `Events`."""

    position_id: Ids
    day: Days
    quantity: Decimals
    realized: Decimals


async def load_all_events(session: Session, queries: Queries) -> LooseEvents:
    """Return every event, whatever its position; none where the host has no such table."""
    if not queries.has_table("position_realized_events"):
        return loose(Events.none())
    return LooseEvents(**await load(session, queries.all_events()))


def loose(events: Events) -> LooseEvents:
    """Return events without the portfolios of their positions."""
    return LooseEvents(**{f.name: getattr(events, f.name) for f in fields(LooseEvents)})


async def load_flows(
    session: Session, queries: Queries, selection: Selection, first: int, last: int
) -> Flows:
    """Return the flows of a chunk dated in a window; none where the host has no such table."""
    if not queries.has_table("equity_changes"):
        return Flows.none()
    return Flows(**await load(session, queries.flows(selection, first, last)))


async def load_existing(  # noqa: PLR0917  # the window of a calendar, for a chunk
    session: Session,
    queries: Queries,
    calendar: Calendar,
    selection: Selection,
    first: int,
    last: int,
) -> Existing:
    """Return which snapshots of a chunk stand in a window."""
    columns = await load(session, queries.existing(calendar, selection, first, last))
    days: Days = columns["day"]
    return Existing(columns["portfolio_id"], days.values, columns["complete"])


def located(keys: npt.NDArray[np.uint8], ids: npt.NDArray[np.uint8]) -> npt.NDArray[np.int32]:
    """Return the row of each key in ``ids``, -1 for none; both (n, 16) uint8."""
    return _core.locate(keys=np.ascontiguousarray(keys), ids=np.ascontiguousarray(ids))
