"""Frames to rows through the native core: no database, no files, no clock.

Rows of frames may be in any order. Calls release the GIL; ``threads`` is their number of threads,
None as many as cores, and ``cancel``, raised from another thread, stops them with a
`CancelledError`. A wrong column is an `InputError`, a number of threads below 1 a `ConfigError`.
"""

from __future__ import annotations

import asyncio
import os
from dataclasses import dataclass, field, fields
from typing import TYPE_CHECKING, Any, Final, Self, TypeVar

import numpy as np

from batchcore import _core
from batchcore.calendar import day_of
from batchcore.errors import ConfigError
from batchcore.frames import (
    Betas,
    BookFrames,
    ComputedDays,
    Contributions,
    Decimals,
    Findings,
    FloatObjects,
    Frame,
    HeldFindings,
    Holdings,
    Inputs,
    Issues,
    LegacyColumns,
    Misses,
    Opening,
    PositionValues,
    Previous,
    Prices,
    Profiles,
    RateRows,
    Rows,
    SplitRows,
    Text,
    WideDecimals,
    known_states,
)
from batchcore.schema import SNAPSHOT_SCALES
from batchcore.splits import counting
from batchcore.units import CENTS

if TYPE_CHECKING:
    import datetime as dt
    from collections.abc import Callable, Sequence

    import numpy.typing as npt

    from batchcore.config import Settings
    from batchcore.frames import Floats, Int32, Int64, UInt32

Made = TypeVar("Made")

_core.load_needed()

CancelFlag = _core.CancelFlag
Rates = _core.Rates

RATIO_SCALE: Final = 28
"""Decimals of returns that are compounded."""

MAX_LOOKBACK_DAYS: Final = 2**31 - 1
"""More days than any two dates are apart."""


async def in_thread(work: Callable[[], Made], cancel: CancelFlag) -> Made:
    """Return the result of ``work``, in a thread; a cancelled task raises ``cancel`` and waits."""
    task = asyncio.ensure_future(asyncio.to_thread(work))
    try:
        return await asyncio.shield(task)
    except asyncio.CancelledError:
        cancel.set()
        while not task.done():
            try:
                await asyncio.wait([task])
            except asyncio.CancelledError:  # once more: the thread still has to end
                continue
        if not task.cancelled():
            task.exception()
        raise


@dataclass(frozen=True, slots=True)
class Market:
    """Prices stored and marked on the sessions of a run, shared by all its chunks."""

    sessions: Int32
    prices: _core.PriceStore
    marks: _core.Marks  # under `legacy` for coverage and analytics alone
    splits: SplitRows | None = None  # valid ones; None on a host without a table
    odd_splits: Issues = field(default_factory=Issues.none)

    def issues(self) -> Issues:
        """Return the issues of prices and splits; `legacy` has none."""
        return Issues.concat([Issues.of_parts(self.marks.issues()), self.odd_splits])

    def fresh_closes(self, symbols: Sequence[str], days: Int32) -> Floats:
        """Return the valid close of each symbol on each day (S2), (d, u), NaN without one on it.

        Closes on both sides of an ex-date are of the same shares (C5). Days need not be sessions.
        """
        closes = self.marks.fresh_closes(Text.of(symbols), days)
        closes.setflags(write=False)
        return closes


@dataclass(frozen=True, eq=False, kw_only=True)
class Book(BookFrames):
    """The inputs of some portfolios, apart from the market."""

    betas: Betas | None = None  # read by `legacy` alone (L32)
    rates: Rates | None = None  # without them all amounts are in the portfolio's currency (C6)

    @classmethod
    def of(cls, inputs: Inputs, rates: Rates | None = None) -> Self:
        """Return the book of inputs, with rates that were built of them."""
        frames = {one.name: getattr(inputs, one.name) for one in fields(BookFrames)}
        return cls(**frames, betas=inputs.betas, rates=rates)


@dataclass(frozen=True, slots=True)
class Host:
    """The inputs of `legacy` beside the frames of a chunk, shared by all chunks."""

    today: int  # sessions from it on are current (L32 to L34)
    profiles: Profiles | None
    cached: _core.PriceStore | None  # (L16)
    has_benchmark: bool  # whether there are weights of SP500 (L34)


def build_host(
    today: dt.date,
    *,
    profiles: Profiles | None = None,
    cached: Prices | None = None,
    has_benchmark: bool = False,
) -> Host:
    """Return the profiles and cached prices for `legacy`."""
    return Host(
        today=day_of(today),
        profiles=profiles,
        cached=None if cached is None else _core.PriceStore.from_frame(cached),
        has_benchmark=has_benchmark,
    )


def build_market(
    prices: Prices,
    sessions: Int32,
    *,
    lookback_days: int = 10,
    splits: SplitRows | None = None,
    cancel: CancelFlag | None = None,
) -> Market:
    """Return closes, marked on ascending sessions once for a run, and restated by splits (C3)."""
    _check_lookback("lookback_days", lookback_days)
    store = _core.PriceStore.from_frame(prices, cancel=cancel)
    counted, odd = (None, Issues.none()) if splits is None else counting(splits)
    marks = _core.Marks.from_prices(
        store, sessions=sessions, lookback_days=lookback_days, splits=counted, cancel=cancel
    )
    return Market(sessions, store, marks, counted, odd)


def build_rates(
    rates: RateRows,
    currencies: Text,
    homes: Text,
    sessions: Int32,
    *,
    lookback_days: int = 5,
    pivot: str = "USD",
) -> Rates:
    """Return the rates that convert currencies of lots into ``homes``, the tables of both (C6)."""
    _check_lookback("fx_lookback_days", lookback_days)
    return _core.Rates.from_frame(
        rates,
        currencies=currencies,
        homes=homes,
        sessions=sessions,
        lookback_days=lookback_days,
        pivot=pivot,
    )


def _check_lookback(option: str, days: int) -> None:
    if not 0 <= days <= MAX_LOOKBACK_DAYS:
        raise ConfigError(f"{option} is {days}, expected 0 to {MAX_LOOKBACK_DAYS}", option)


@dataclass(frozen=True, slots=True)
class Checks:
    """The findings of the checks of a market's closes, shared by all chunks."""

    found: _core.Checks
    findings: Findings  # the same as columns


def build_checks(
    market: Market, days: Int32, settings: Settings, *, closed: int | None = None
) -> Checks:
    """Return the findings about the closes of each symbol (C1), made once for a run.

    ``days`` ascend: sessions of the market on which closes are expected, and earlier ones that are
    examined too. ``closed`` is the last session closed by now; with None, later closes are not
    checked.
    """
    found = _core.Checks.of(
        market.marks,
        days=days,
        actions=dict(settings.checks),
        max_move=settings.millionths("max_move"),
        frozen_sessions=settings.frozen_sessions,
        max_missing=settings.millionths("max_missing"),
        closed=closed,
    )
    columns = found.findings()
    columns["last"] = market.sessions[columns.pop("end").astype(np.int64) - 1]
    columns["first"] = market.sessions[columns["first"]]
    return Checks(found, Findings.of_parts(columns))


def roll_forward(
    market: Market,
    book: Book,
    *,
    previous: Previous,
    opening: Opening,
    rules: str = "rollforward",
    threads: int | None = None,
    cancel: CancelFlag | None = None,
    checks: Checks | None = None,
    host: Host | None = None,
) -> Rows:
    """Return the rows of portfolios on the sessions of a market, by the rules of a policy."""
    columns = _core.run(
        rules=rules,
        book=book,
        opening=opening,
        market=market,
        previous=previous,
        threads=_threads(threads),
        cancel=cancel,
        checks=None if checks is None else checks.found,
        host=host,
    )
    legacy, misses = columns.pop("legacy"), columns.pop("misses")
    for name in [name for name in columns if f"{name}_state" in columns]:
        scale, state = SNAPSHOT_SCALES.get(name, CENTS), columns.pop(f"{name}_state")
        columns[name] = Decimals(columns[name], scale, state)
    misses["symbol"] = _coded(misses["symbol"], book.positions.symbol)
    findings = Findings.none() if checks is None else checks.findings
    return Rows(
        **columns
        | {
            "issues": Issues.of_parts(columns["issues"]),
            "misses": Misses(**misses),
            "held": HeldFindings.of(findings, **columns["held"]),
            "legacy": None if host is None else _legacy(legacy),
        }
    )


def held_lots(
    market: Market,
    book: Book,
    *,
    opening: Opening,
    sessions: Int32,
    threads: int | None = None,
    cancel: CancelFlag | None = None,
) -> Holdings:
    """Return the lots held on some sessions of the market, with their values (S3, S4, S9, C6).

    A lot counts for its portfolio from `opening.first_day` to `opening.last_day`. A value is the
    float nearest to the exact one.
    """
    return Holdings(
        **_core.hold(
            book=book,
            opening=opening,
            market=market,
            sessions=sessions,
            threads=_threads(threads),
            cancel=cancel,
        )
    )


def value_positions(
    market: Market,
    book: Book,
    *,
    opening: Opening,
    session: int,
    threads: int | None = None,
    cancel: CancelFlag | None = None,
) -> PositionValues:
    """Return market value and unrealized P&L of public positions held on a session (S3 to S6, C6).

    The remaining part of each position counts, not the lots of its events. Rounded to cents once. A
    portfolio whose days in `opening` lack the session has no values.
    """
    columns = _core.value_positions(
        book=book,
        opening=opening,
        market=market,
        session=session,
        threads=_threads(threads),
        cancel=cancel,
    )
    columns["last_price"] = Decimals(columns["last_price"], market.prices.scale)
    columns["issues"] = Issues.of_parts(columns["issues"])
    return PositionValues(**columns)


class Compounded(Frame, kw_only=True):
    """The compounded returns of sessions in periods; NULL and row -1 where one has no return."""

    total: WideDecimals  # product of 1 + return, less 1; not representable from 10^10 on
    depth: WideDecimals  # trough divided by peak of the largest fall, less 1; NULL without one
    current: WideDecimals  # the end divided by the highest value, less 1
    best: WideDecimals
    worst: WideDecimals
    missing: Int64  # first row without a return
    peak: Int64  # last row before the largest fall
    trough: Int64  # first row of its lowest value
    recovered: Int64  # first later row that is not below the peak
    best_row: Int64  # first row of the highest return
    worst_row: Int64
    gains: Int64  # number of rows with a return above 0


def compound(
    pnl: Int64, basis: Int64, first: UInt32, last: UInt32, *, cancel: CancelFlag | None = None
) -> Compounded:
    """Compound the returns of sessions over periods (W1, W2, W4).

    Each return, each sum of it and 1, and each product is rounded to 28 digits, ties to even, as
    `decimal` does in its default context. The sessions of a portfolio are consecutive, by date;
    each has a P&L and the amount that the return is a part of, not above 0 for no return. ``first``
    and ``last`` are rows of (p,) periods; the first one follows the row in which the period begins.
    """
    found = _core.compound(pnl=pnl, basis=basis, first=first, last=last, cancel=cancel)
    return Compounded.of_parts(found)


def contributions(
    market: Market,
    book: Book,
    *,
    opening: Opening,
    days: ComputedDays | None = None,
    threads: int | None = None,
    cancel: CancelFlag | None = None,
) -> Contributions:
    """Return the contribution of each lot to the P&L of its portfolio (X1, X3, X4, C8).

    The range is from `opening.first_day`, exclusive, to `opening.last_day`; with the lowest int32
    the last day is a baseline. With ``days`` it returns the contributions of positions on these
    under `legacy` (X7), where closes whose changes have more than 38 digits are an `InputError`.
    """
    found = _core.contributions(
        book=book,
        opening=opening,
        market=market,
        threads=_threads(threads),
        days=days,
        cancel=cancel,
    )
    return Contributions.of_parts(found)


def sums_by_key(
    column: WideDecimals, keys: npt.NDArray[np.integer[Any]], groups: int
) -> WideDecimals:
    """Return the exact sum of a column for each key from 0 to ``groups - 1``; NULLs count as 0."""
    values = column.values
    if column.state.any():
        values = np.where(column.state[:, None] == 0, values, np.uint8(0))
    found = _core.sums_by_key(keys.astype(np.uint32), groups, values.reshape(-1))
    return WideDecimals(found, column.scale)


def _threads(asked: int | None) -> int:
    if asked is not None and asked < 1:
        raise ConfigError(f"threads is {asked}, expected 1 or more", "threads")
    return asked or usable_cores()


def usable_cores() -> int:
    """Return the number of cores available to this process."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def _legacy(columns: dict[str, Any]) -> LegacyColumns:
    """Return the columns of `legacy`, with its weights by sector."""
    names, row, sector, weight, state = columns.pop("sector_exposure")
    values = np.zeros((len(state), len(names)))
    present = np.zeros(values.shape, dtype=np.bool_)
    values[row, sector], present[row, sector] = weight, True
    shares = FloatObjects(tuple(names), values, present, state)
    return LegacyColumns.of_parts(columns | {"sector_exposure": shares})


def _coded(codes: UInt32, table: Text) -> Text:
    """Return codes into the table of another column as a column; codes beyond it are NULL."""
    known = codes < len(table.offsets) - 1
    own = np.where(known, codes, 0).astype(np.uint32)
    return Text(own, table.offsets, table.data, known_states(known))
