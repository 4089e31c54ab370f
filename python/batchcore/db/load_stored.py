"""Snapshots as they are stored, and when what they were made of was changed."""

from __future__ import annotations

import uuid
from bisect import bisect_left, bisect_right
from dataclasses import dataclass, field
from decimal import MAX_EMAX, MAX_PREC, MIN_EMIN, Context
from fractions import Fraction
from typing import TYPE_CHECKING, Any, ClassVar, Final

import numpy as np

from batchcore import reference as ref
from batchcore.db.audit_queries import SHARES, TEXTS, UNKNOWN
from batchcore.db.benchmarks import TABLE as BENCHMARKS
from batchcore.db.load import load, located, normalised
from batchcore.db.read import fetch_plainly
from batchcore.frames import Days, Decimals, Frame, Text, taken
from batchcore.schema import Kind
from batchcore.units import State

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Iterator, Mapping, Sequence
    from decimal import Decimal

    import numpy.typing as npt

    from batchcore.calendar import Calendar
    from batchcore.db.audit_queries import AuditQueries, LegacyAuditQueries
    from batchcore.db.engine import Session
    from batchcore.db.queries import Query, Selection

    Bools = npt.NDArray[np.bool_]
    Bytes = npt.NDArray[np.uint8]
    Int32 = npt.NDArray[np.int32]
    Int64 = npt.NDArray[np.int64]
    Fetch = Callable[[Session, Query], Awaitable[dict[str, Any]]]

OPEN: Final = np.iinfo(np.int32).max
"""The end of a position that has none."""

_PLAIN_DIGITS: Final = 18
"""Integers of as many digits fit 64 bits."""

_WIDE: Final = Context(prec=MAX_PREC, Emax=MAX_EMAX, Emin=MIN_EMIN)
"""In which no value is rounded."""

_KEYS: Final = 4
"""Columns of stored snapshots before those that are compared."""


@dataclass(frozen=True, eq=False)
class StoredRows(Frame):
    """Snapshots of a chunk, sorted by portfolio and day.

    Attributes:
        portfolio: (n,) int32 row of the ids that were asked for.
        day: (n,) int32.
        complete: (n,) bool, S5 or L3, on a session of the calendar.
        session: (n,) bool, whether the day is a session of the calendar.
        written: (n,) int64 microseconds since 1970, `created_at`.
        cells: Column -> values, of those that were asked for.
        texts: The same of those of `audit_queries.TEXTS`.
    """

    portfolio: Int32
    day: Int32
    complete: Bools
    session: Bools
    written: Int64
    cells: Mapping[str, Decimals]
    texts: Mapping[str, Text]

    _is_checked: ClassVar = False

    @property
    def shares(self) -> Text | None:
        """`sector_exposure` as text; None if it was not asked for."""
        return self.texts.get(SHARES)


@dataclass(frozen=True, eq=False, slots=True)
class Counted:
    """How many snapshots each portfolio has in a range.

    Attributes:
        rows: (p,) int64.
        first: (p,) int32, the first day that anything is needed of: that of the latest complete
            snapshot before the range, or of the first row; meaningless without rows.
        last: (p,) int32, the day of the last row.
    """

    rows: Int64
    first: Int32
    last: Int32


@dataclass(frozen=True, eq=False)
class Facts(Frame):
    """What the rows of a chunk are made of, and when it was changed; sorted by portfolio.

    Attributes:
        kind: (n,) int32 of `audit_queries.Fact`.
        portfolio: (n,) int32 row of the ids that were asked for.
        symbol: (n,) int64 row of `symbols`; meaningless but for positions.
        symbols: Normalised (S2), ascending.
        start: (n,) int32 first day of a position, day of a flow.
        end: (n,) int32 first day no longer, trade date of an event; `OPEN` without one.
        private: (n,) bool, whether the position is PRIVATE; False of one that is soft-deleted.
        changed: (n,) int64 microseconds since 1970; `audit_queries.UNKNOWN` if nothing tells.
    """

    kind: Int32
    portfolio: Int32
    symbol: Int64
    symbols: tuple[str, ...]
    start: Int32
    end: Int32
    private: Bools
    changed: Int64

    _shared: ClassVar = frozenset({"symbols"})


@dataclass(frozen=True, eq=False, slots=True)
class ChangedPrices:
    """Closes that were changed, sorted by symbol and day.

    Attributes:
        symbol: (n,) int64 row of the symbols that were asked for.
        day: (n,) int32.
        changed: (n,) int64 microseconds since 1970.
    """

    symbol: Int64
    day: Int32
    changed: Int64


@dataclass(frozen=True, eq=False, slots=True)
class RunChunks:
    """Chunks that runs have committed, the earliest run first.

    Attributes:
        portfolios: First and last id of each, 16 bytes.
        first: (n,) int32 first session.
        last: (n,) int32 last session.
        began: (n,) int64 start of the run, microseconds since 1970.
        replaced: (n,) bool, whether all its rows were written again.
    """

    portfolios: tuple[tuple[bytes, bytes], ...] = ()
    first: Int32 = field(default_factory=lambda: np.zeros(0, dtype=np.int32))
    last: Int32 = field(default_factory=lambda: np.zeros(0, dtype=np.int32))
    began: Int64 = field(default_factory=lambda: np.zeros(0, dtype=np.int64))
    replaced: Bools = field(default_factory=lambda: np.zeros(0, dtype=np.bool_))

    def around(
        self, ids: Bytes, portfolio: Int32, first: Int32, last: Int32
    ) -> Iterator[tuple[int, Bools]]:
        """Give each chunk with which windows of portfolios it has a session of.

        Args:
            ids: (p, 16) uint8, sorted.
            portfolio: (n,) int32 rows of ``ids``.
            first: (n,) int32 first day of each window.
            last: (n,) int32 last day of each window.
        """
        keys = [row.tobytes() for row in ids]
        for chunk, (low, high) in enumerate(self.portfolios):
            inside = portfolio >= bisect_left(keys, low)
            inside &= portfolio < bisect_right(keys, high)
            yield chunk, inside & (last >= self.first[chunk]) & (first <= self.last[chunk])


async def load_plainly(session: Session, query: Query) -> dict[str, Any]:
    """Return what `load` returns, by an ordinary SELECT: nothing goes through the native decoder.

    Raises:
        DatabaseError: the server refused the query.
    """
    rows = await fetch_plainly(session, query)
    return {
        column.name: _column(column.kind, column.scale, [row[column.name] for row in rows])
        for column in query.columns
    }


def _column(kind: Kind, scale: int, values: Sequence[Any]) -> Any:  # noqa: ANN401  # as `load`
    match kind:
        case Kind.NUMERIC | Kind.FLOAT8:
            return as_decimals(values, scale)
        case Kind.DATE:
            return Days(np.array(values, dtype=np.int32))
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
            # Almost all values have few digits, and no fraction of integers is needed for them.
            units = value.scaleb(scale, _WIDE)
            if units.adjusted() < _PLAIN_DIGITS and units == units.to_integral_value():
                mantissa = int(units)
            elif ref.representable(value, scale):
                mantissa = int(Fraction(value) * 10**scale)
            else:
                state = State.NOT_REPRESENTABLE
        mantissas.append(mantissa)
        states.append(state)
    return Decimals(np.array(mantissas, dtype=np.int64), scale, np.array(states, dtype=np.uint8))


async def load_counts(session: Session, query: Query, ids: Bytes) -> Counted:
    """Return how many snapshots portfolios have in a range.

    Args:
        session: To read in.
        query: Of `AuditQueries.counts`.
        ids: (p, 16) uint8.
    """
    columns = await load(session, query)
    row = located(columns["portfolio_id"], ids)
    kept, row = row >= 0, row[row >= 0]
    rows = np.zeros(len(ids), dtype=np.int64)
    first, last = np.zeros((2, len(ids)), dtype=np.int32)
    before: Days = columns["previous"]
    starts = np.where(before.state == State.VALUE, before.values, columns["first"].values)
    rows[row] = columns["rows"][kept]
    first[row], last[row] = starts[kept], columns["last"].values[kept]
    return Counted(rows, first, last)


async def load_stored(
    session: Session, query: Query, calendar: Calendar, ids: Bytes, fetch: Fetch = load
) -> StoredRows:
    """Return the snapshots of a chunk.

    Args:
        session: To read in.
        query: Of `AuditQueries.stored`.
        calendar: Whose sessions count.
        ids: (p, 16) uint8.
        fetch: `load` or `load_plainly`.
    """
    portfolio, columns = _by_portfolio(await fetch(session, query), ids, "day")
    day, names = columns["day"].values, [column.name for column in query.columns[_KEYS:]]
    on_session = calendar.is_session(day)
    return StoredRows(
        portfolio=portfolio,
        day=day,
        complete=columns["complete"] & on_session,
        session=on_session,
        written=columns["written"],
        cells={name: columns[name] for name in names if name not in TEXTS},
        texts={name: columns[name] for name in names if name in TEXTS},
    )


def _by_portfolio(columns: dict[str, Any], ids: Bytes, *then: str) -> tuple[Int32, dict[str, Any]]:
    """Return the rows of some portfolios sorted by these, then by dates: which, and the columns."""
    portfolio = located(columns["portfolio_id"], ids)
    order = np.lexsort((*(columns[name].values for name in then), portfolio))
    order = order[portfolio[order] >= 0]
    return portfolio[order], taken(columns, order)


async def load_run_chunks(session: Session, queries: AuditQueries) -> RunChunks:
    """Return the chunks that runs have committed, as far as a ledger tells."""
    query = queries.run_chunks()
    if query is None:
        return RunChunks()
    columns = await load(session, query)
    spans = zip(columns["first_portfolio"], columns["last_portfolio"], strict=True)
    return RunChunks(
        tuple((first.tobytes(), last.tobytes()) for first, last in spans),
        columns["first"].values,
        columns["last"].values,
        columns["began"],
        columns["replaced"],
    )


async def load_facts(session: Session, query: Query, ids: Bytes) -> Facts:
    """Return what the rows of a chunk are made of, by `AuditQueries.facts`."""
    portfolio, columns = _by_portfolio(await load(session, query), ids)
    code, symbols = _symbols(columns["symbol"])
    end = columns["end"]
    return Facts(
        kind=columns["kind"],
        portfolio=portfolio,
        symbol=code,
        symbols=symbols,
        start=columns["start"].values,
        end=np.where(end.state == State.VALUE, end.values, OPEN).astype(np.int32),
        private=columns["private"],
        changed=columns["changed"],
    )


async def load_changed_prices(
    session: Session, query: Query, symbols: Sequence[str]
) -> ChangedPrices:
    """Return the closes of normalised symbols that `AuditQueries.changed_prices` brings."""
    columns = await load(session, query)
    code, names = _symbols(columns["symbol"])
    place = {name: number for number, name in enumerate(symbols)}
    symbol = np.array([place[name] for name in names], dtype=np.int64)[code]
    day = columns["day"].values
    order = np.lexsort((day, symbol))
    return ChangedPrices(symbol[order], day[order], columns["changed"][order])


def _symbols(spelt: Text) -> tuple[Int64, tuple[str, ...]]:
    """Return the normalised symbols of a column (S2), ascending, and the place of each row's."""
    names = [normalised(name) for name in spelt.table()]
    symbols = sorted(set(names))
    place = {name: number for number, name in enumerate(symbols)}
    # A NULL has whichever place stands first.
    code = np.array([*(place[name] for name in names), 0], dtype=np.int64)
    return code[np.where(spelt.state == State.NULL, len(names), spelt.codes)], tuple(symbols)


@dataclass(frozen=True, eq=False)
class OwnEquities(Frame):
    """What `portfolios.equity_balance` is to be.

    Attributes:
        day: Of the snapshot that it comes from; NULL where there is none.
        equity: Of that snapshot.
        latest: Of the snapshot of the latest day.
        elsewhere: (p,) bool, whether another snapshot has the equity that the column has.
    """

    day: Days
    equity: Decimals
    latest: Decimals
    elsewhere: Bools


async def load_last_run(
    session: Session, queries: LegacyAuditQueries, selection: Selection, ids: Bytes
) -> OwnEquities:
    """Return the equity of the snapshot of each portfolio that was written last (L7)."""
    columns = await load(session, queries.last_run(selection))
    row = located(columns.pop("portfolio_id"), ids)
    # Without a snapshot there is a row of NULLs to take, after all others.
    nothing = OwnEquities(
        Days.nulls(1), Decimals.nulls(1), Decimals.nulls(1), np.zeros(1, np.bool_)
    )
    at = np.full(len(ids), len(row), dtype=np.int64)
    at[row[row >= 0]] = np.flatnonzero(row >= 0)
    return OwnEquities.concat([OwnEquities(**columns), nothing]).take(at)


async def load_benchmark_since(session: Session, queries: LegacyAuditQueries, code: str) -> int:
    """Return since when there is a weight of a benchmark; `UNKNOWN` without one."""
    if not queries.has_table(BENCHMARKS):
        return UNKNOWN
    return int((await load(session, queries.benchmark_since(code)))["since"][0])


def uuid_at(ids: Bytes, row: int) -> uuid.UUID:
    """Return the id in a row of 16 bytes."""
    return uuid.UUID(bytes=ids[row].tobytes())
