"""Snapshots as they are stored, and when what they were made of was changed."""

from __future__ import annotations

import uuid
from bisect import bisect_left, bisect_right
from dataclasses import dataclass, field
from decimal import MAX_EMAX, MAX_PREC, MIN_EMIN, Context
from fractions import Fraction
from typing import TYPE_CHECKING, Any, Final, Self

import numpy as np

from batchcore import reference as ref
from batchcore.calendar import day_of
from batchcore.db.analytic_tables import POSITION_BETAS
from batchcore.db.audit_queries import NEVER, SHARES, TEXTS, UNKNOWN
from batchcore.db.benchmarks import TABLE as BENCHMARKS
from batchcore.db.catalog import Kind
from batchcore.db.load import load, located, normalised
from batchcore.frames import Days, Decimals, Text, taken
from batchcore.units import State

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Mapping, Sequence
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


@dataclass(frozen=True, eq=False, slots=True)
class StoredRows:
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

    def __len__(self) -> int:
        """Return the number of rows."""
        return len(self.day)

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


@dataclass(frozen=True, eq=False, slots=True)
class Held:
    """Positions of a chunk, soft-deleted ones too, sorted by portfolio.

    Attributes:
        portfolio: (n,) int32 row of the ids that were asked for.
        symbol: (n,) int64 row of `symbols`.
        symbols: Normalised (S2), ascending.
        start: (n,) int32 first day.
        end: (n,) int32 first day no longer; `OPEN` without one.
        private: (n,) bool, PRIVATE and not soft-deleted.
        changed: (n,) int64 microseconds since 1970; `audit_queries.UNKNOWN` if nothing tells.
    """

    portfolio: Int32
    symbol: Int64
    symbols: tuple[str, ...]
    start: Int32
    end: Int32
    private: Bools
    changed: Int64

    def __len__(self) -> int:
        """Return the number of positions."""
        return len(self.start)


@dataclass(frozen=True, eq=False, slots=True)
class FlowChanges:
    """When flows of portfolios were changed, sorted by portfolio.

    Attributes:
        portfolio: (n,) int32 row of the ids that were asked for.
        day: (n,) int32.
        changed: (n,) int64 microseconds since 1970.
    """

    portfolio: Int32
    day: Int32
    changed: Int64


@dataclass(frozen=True, eq=False, slots=True)
class AddedEvents:
    """When events of positions were added, sorted by portfolio.

    Attributes:
        portfolio: (n,) int32 row of the ids that were asked for.
        start: (n,) int32 first day of the position.
        day: (n,) int32 its trade date.
        private: (n,) bool, whether the position is PRIVATE.
        added: (n,) int64 microseconds since 1970.
    """

    portfolio: Int32
    start: Int32
    day: Int32
    private: Bools
    added: Int64

    @classmethod
    def none(cls) -> Self:
        """Return no events."""
        no_days = np.zeros(0, dtype=np.int32)
        nothing = np.zeros(0, dtype=np.int64)
        return cls(no_days, no_days, no_days, np.zeros(0, dtype=np.bool_), nothing)


@dataclass(frozen=True, eq=False, slots=True)
class ChangedPrices:
    """Closes that were changed, sorted by symbol and day.

    Attributes:
        symbol: (n,) normalised (S2).
        day: (n,) int32.
        changed: (n,) int64 microseconds since 1970.
    """

    symbol: tuple[str, ...]
    day: Int32
    changed: Int64


async def load_plainly(session: Session, query: Query) -> dict[str, Any]:
    """Return what `load` returns, by an ordinary SELECT: nothing goes through the native decoder.

    Raises:
        DatabaseError: the server refused the query.
    """
    rows = await session.fetch(query.sql)
    columns = (
        zip(*(tuple(row) for row in rows), strict=True) if rows else ([],) * len(query.columns)
    )
    return {
        column.name: _plain(column.kind, column.scale, values)
        for column, values in zip(query.columns, columns, strict=True)
    }


def _plain(kind: Kind, scale: int, values: Sequence[Any]) -> Any:  # noqa: ANN401  # as `load`
    match kind:
        case Kind.NUMERIC | Kind.FLOAT8:
            return as_decimals([_rounded(value, scale) for value in values], scale)
        case Kind.DATE:
            state = [State.NULL if value is None else State.VALUE for value in values]
            days = [0 if value is None else day_of(value) for value in values]
            return Days(np.array(days, dtype=np.int32), np.array(state, dtype=np.uint8))
        case Kind.TEXT:
            return Text.of(values)
        case Kind.UUID:
            data = b"".join(value.bytes for value in values)
            return np.frombuffer(data, dtype=np.uint8).reshape(-1, 16)
        case Kind.BOOL:
            return np.array(values, dtype=np.uint8)
        case _:
            return np.array(values, dtype=np.int64)


def _rounded(value: Decimal | float | None, scale: int) -> Decimal | None:
    return ref.from_double(value, scale) if isinstance(value, float) else value


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
    columns = await fetch(session, query)
    portfolio, day = located(columns["portfolio_id"], ids), columns["day"].values
    order = np.lexsort((day, portfolio))
    order = order[portfolio[order] >= 0]
    names = [column.name for column in query.columns[_KEYS:]]
    on_session = calendar.is_session(day[order])
    return StoredRows(
        portfolio=portfolio[order],
        day=day[order],
        complete=columns["complete"][order].astype(np.bool_) & on_session,
        session=on_session,
        written=columns["written"][order],
        cells={name: taken(columns[name], order) for name in names if name not in TEXTS},
        texts={name: taken(columns[name], order) for name in names if name in TEXTS},
    )


@dataclass(frozen=True, eq=False, slots=True)
class Rewritten:
    """Chunks that were computed anew, the earliest run first.

    Attributes:
        first_portfolio: 16 bytes of each.
        last_portfolio: Likewise.
        first: (n,) int32 first session.
        last: (n,) int32 last session.
        began: (n,) int64 start of the run, microseconds since 1970.
    """

    first_portfolio: tuple[bytes, ...] = ()
    last_portfolio: tuple[bytes, ...] = ()
    first: Int32 = field(default_factory=lambda: np.zeros(0, dtype=np.int32))
    last: Int32 = field(default_factory=lambda: np.zeros(0, dtype=np.int32))
    began: Int64 = field(default_factory=lambda: np.zeros(0, dtype=np.int64))

    def written(self, ids: Bytes, portfolio: Int32, day: Int32, created: Int64) -> Int64:
        """Return when rows were last written: created, or computed anew since.

        Args:
            ids: (p, 16) uint8, sorted.
            portfolio: (n,) int32 rows of ``ids``.
            day: (n,) int32.
            created: (n,) int64 microseconds since 1970.
        """
        written = created.copy()
        keys = [row.tobytes() for row in ids]
        for row, (low, high) in enumerate(
            zip(self.first_portfolio, self.last_portfolio, strict=True)
        ):
            inside = (portfolio >= bisect_left(keys, low)) & (portfolio < bisect_right(keys, high))
            inside &= (day >= self.first[row]) & (day <= self.last[row])
            written[inside] = np.maximum(written[inside], self.began[row])
        return written


async def load_rewritten(session: Session, query: Query | None) -> Rewritten:
    """Return the chunks that runs have computed anew, as the ledger knows them."""
    if query is None:
        return Rewritten()
    columns = await load(session, query)
    return Rewritten(
        first_portfolio=tuple(row.tobytes() for row in columns["first_portfolio"]),
        last_portfolio=tuple(row.tobytes() for row in columns["last_portfolio"]),
        first=columns["first"].values,
        last=columns["last"].values,
        began=columns["began"],
    )


async def load_holdings(
    session: Session, queries: AuditQueries, selection: Selection, ids: Bytes
) -> Held:
    """Return the positions of a chunk, and when they were changed."""
    columns = await load(session, queries.holdings(selection))
    portfolio = located(columns["portfolio_id"], ids)
    order = np.argsort(portfolio, kind="stable")
    order = order[portfolio[order] >= 0]
    spelt, end = columns["symbol"], columns["end"]
    names = [normalised(name) for name in spelt.table()]
    symbols = sorted(set(names))
    row = {name: number for number, name in enumerate(symbols)}
    code = np.array([row[name] for name in names], dtype=np.int64)
    return Held(
        portfolio=portfolio[order],
        symbol=code[spelt.codes[order]] if len(order) else np.zeros(0, dtype=np.int64),
        symbols=tuple(symbols),
        start=columns["start"].values[order],
        end=np.where(end.state == State.VALUE, end.values, OPEN)[order].astype(np.int32),
        private=columns["private"][order].astype(np.bool_),
        changed=columns["changed"][order],
    )


async def load_changed_flows(session: Session, query: Query, ids: Bytes) -> FlowChanges:
    """Return when the flows of a chunk were changed."""
    columns = await load(session, query)
    portfolio = located(columns["portfolio_id"], ids)
    order = np.argsort(portfolio, kind="stable")
    order = order[portfolio[order] >= 0]
    return FlowChanges(portfolio[order], columns["day"].values[order], columns["changed"][order])


async def load_added_events(
    session: Session, queries: AuditQueries, selection: Selection, ids: Bytes
) -> AddedEvents:
    """Return when the events of a chunk were added; none where the host has no such table."""
    if not queries.has_table("position_realized_events"):
        return AddedEvents.none()
    columns = await load(session, queries.added_events(selection))
    portfolio = located(columns["portfolio_id"], ids)
    order = np.argsort(portfolio, kind="stable")
    order = order[portfolio[order] >= 0]
    return AddedEvents(
        portfolio[order],
        columns["start"].values[order],
        columns["day"].values[order],
        columns["private"][order].astype(np.bool_),
        columns["changed"][order],
    )


async def load_changed_prices(session: Session, query: Query) -> ChangedPrices:
    """Return the closes that were changed, by normalised symbol."""
    columns = await load(session, query)
    names = [normalised(name) for name in columns["symbol"].table()]
    codes, day = columns["symbol"].codes.tolist(), columns["day"].values
    symbol = [names[code] for code in codes]
    order = sorted(range(len(symbol)), key=lambda row: (symbol[row], day[row]))
    return ChangedPrices(tuple(symbol[row] for row in order), day[order], columns["changed"][order])


async def load_changed_profiles(
    session: Session, queries: AuditQueries, symbols: Sequence[str]
) -> dict[str, int]:
    """Return when the profile of each symbol that has one was last changed."""
    columns = await load(session, queries.changed_profiles(symbols))
    changed: dict[str, int] = {}
    for name, moment in zip(columns["symbol"].texts(), columns["changed"].tolist(), strict=True):
        symbol = normalised(name or "")
        changed[symbol] = max(changed.get(symbol, moment), moment)
    return changed


@dataclass(frozen=True, eq=False, slots=True)
class OwnEquities:
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
    row = located(columns["portfolio_id"], ids)
    kept, row = np.flatnonzero(row >= 0), row[row >= 0]
    # Without a snapshot there is a row of NULLs to take, after all others.
    at = np.full(len(ids), len(kept), dtype=np.int64)
    at[row] = np.arange(len(kept))
    day: Days = columns["day"]
    days = Days(np.append(day.values[kept], 0), np.append(day.state[kept], State.NULL))

    def padded(column: Decimals) -> Decimals:
        values = np.append(column.values[kept], 0)
        return Decimals(values, column.scale, np.append(column.state[kept], State.NULL))

    return OwnEquities(
        day=taken(days, at),
        equity=taken(padded(columns["equity"]), at),
        latest=taken(padded(columns["latest"]), at),
        elsewhere=np.append(columns["elsewhere"][kept].astype(np.bool_), False)[at],
    )


async def load_changed_betas(
    session: Session, queries: LegacyAuditQueries, selection: Selection, ids: Bytes
) -> Int64:
    """Return (p,) when a beta of a position of each portfolio was last changed."""
    changed = np.full(len(ids), NEVER, dtype=np.int64)
    if queries.has_table(POSITION_BETAS):
        columns = await load(session, queries.changed_betas(selection))
        row = located(columns["portfolio_id"], ids)
        changed[row[row >= 0]] = columns["changed"][row >= 0]
    return changed


async def load_benchmark_since(session: Session, queries: LegacyAuditQueries, code: str) -> int:
    """Return since when there is a weight of a benchmark; `UNKNOWN` without one."""
    if not queries.has_table(BENCHMARKS):
        return UNKNOWN
    return int((await load(session, queries.benchmark_since(code)))["since"][0])


def uuid_at(ids: Bytes, row: int) -> uuid.UUID:
    """Return the id in a row of 16 bytes."""
    return uuid.UUID(bytes=ids[row].tobytes())
