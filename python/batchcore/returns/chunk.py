"""Performance of some portfolios: their chains, and the result of each period."""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass, replace
from decimal import Decimal
from typing import TYPE_CHECKING, Any, Final

import numpy as np

from batchcore.calendar import Calendar, iso_of
from batchcore.frames import (
    Days,
    Decimals,
    Frame,
    Text,
    WideDecimals,
    day_keys,
    distinct,
    known_states,
    rescaled,
)
from batchcore.native import RATIO_SCALE, CancelFlag, compound
from batchcore.returns import money_weighted as mwr
from batchcore.returns.ratios import DECIMALS, of_decimals
from batchcore.returns.result import Performance
from batchcore.sources.host import located
from batchcore.units import State
from batchcore.values import decimal_of
from batchcore.words import counted

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from batchcore.frames import Bools, Floats, Flows, Ids, Int32, Int64
    from batchcore.returns.periods import Period
    from batchcore.sources.snapshots import ChainRows

DAYS_A_YEAR: Final = 365
SESSIONS_A_YEAR: Final = 252
INFLOWS: Final = ("end", "start")
"""The time of the contributions of a session (W1)."""

NO_TWR: Final = "no time-weighted return"
NO_MWR: Final = "no money-weighted return"

_MOST: Final = 1 << 61
"""Limit of amounts of which two add up within 64 bits."""


@dataclass(frozen=True, eq=False, slots=True)
class Chain:
    """Complete snapshots of the portfolios of a chunk, sorted by portfolio and day.

    All amounts have the scale of `equity`.
    """

    portfolio: Int32  # row of the chunk
    day: Int32
    equity: Decimals  # as stored, as the next
    pnl: Decimals
    begins: Int64  # (p + 1,) the first row of each portfolio, and the number of rows
    skipped: Int64  # sessions without a row between the one before and this one
    added: Int64  # contributions since the row before
    differs: Bools  # whether the flows since the row before are not those stored
    flows: DatedFlows  # that count

    def __len__(self) -> int:
        return len(self.day)


class DatedFlows(Frame):
    """Flows that count, by keys of portfolio and day; contributions are above 0."""

    key: Int64
    day: Int32
    amount: Int64


def chain_of(ids: Ids, rows: ChainRows, flows: Flows, calendar: Calendar) -> Chain:
    """Return the complete snapshots of portfolios (S5), with their flows."""
    place = _places(calendar, rows.day)
    kept = (place >= 0) & (rows.equity.state != State.NULL)
    kept &= rows.equity.state != State.NON_FINITE
    portfolio = located(rows.portfolio_id, ids)
    kept &= portfolio >= 0
    key, day = day_keys(portfolio, rows.day), rows.day
    stored = [rows.equity, rows.pnl, rows.flow]
    if not (kept.all() and (key[1:] > key[:-1]).all()):
        order = np.flatnonzero(kept)
        # rows are partly sorted, by date or by portfolio, which this sort merges
        order = order[np.argsort(key[order], kind="stable")]
        day, portfolio, key, place = day[order], portfolio[order], key[order], place[order]
        stored = [column.take(order) for column in stored]
    stored.append(flows.amount)
    scale = max(column.scale for column in stored)
    equity, pnl, flow, amount = (rescaled(column, scale) for column in stored)
    begins = np.searchsorted(portfolio, np.arange(len(ids) + 1))
    is_first = np.zeros(len(day), dtype=np.bool_)
    is_first[begins[:-1][begins[:-1] < begins[1:]]] = True
    skipped = np.diff(place, prepend=place[:1]) - 1
    skipped[is_first] = 0
    dated = _dated(ids, flows, amount)
    added, net = _since_row_before(key, is_first, dated)
    net = _rounded(net, 10 ** (scale - rows.flow.scale))
    known = (flow.state == State.VALUE) & ~is_first
    return Chain(
        portfolio=portfolio,
        day=day,
        equity=equity,
        pnl=pnl,
        begins=begins,
        skipped=skipped,
        added=added,
        differs=known & (flow.values != net),
        flows=dated,
    )


def _places(calendar: Calendar, days: Int32) -> Int64:
    """Return which session of a calendar each day is, -1 for none."""
    known = calendar.days
    if known is None:
        return days.astype(np.int64)
    if len(known) == 0:
        return np.full(len(days), -1)
    places = np.full(int(known[-1]) - int(known[0]) + 2, -1)
    places[known - known[0]] = np.arange(len(known))
    # days outside fall on the day after the last, which is not a session
    since = days.astype(np.int64) - known[0]
    since[(since < 0) | (since >= len(places))] = len(places) - 1
    found: Int64 = places[since]
    return found


def _dated(ids: Ids, flows: Flows, amount: Decimals) -> DatedFlows:
    """Return the flows that count (S3, S7), sorted."""
    portfolio, sign = located(flows.portfolio_id, ids), flows.signs()
    key = day_keys(portfolio, flows.day.values)
    rows = np.flatnonzero((sign != 0) & (portfolio >= 0) & (amount.state == State.VALUE))
    rows = rows[np.argsort(key[rows], kind="stable")]
    return DatedFlows(key[rows], flows.day.values[rows], sign[rows] * amount.values[rows])


def _since_row_before(key: Int64, is_first: Bools, flows: DatedFlows) -> tuple[Int64, Int64]:
    """Return contributions, and all flows, after the row before each row up to its own date."""
    added, net = np.zeros((2, len(key)), dtype=np.int64)
    row = np.searchsorted(key, flows.key)
    inside = row < len(key)
    row, amount, own = row[inside], flows.amount[inside], flows.key[inside]
    same = (key[row] >> 32 == own >> 32) & ~is_first[row]
    np.add.at(net, row[same], amount[same])
    np.add.at(added, row[same], np.maximum(amount[same], 0))
    return added, net


def _rounded(amounts: Int64, unit: int) -> Int64:
    """Return amounts as multiples of a unit, half away from zero, as a row stores them (S7)."""
    rounded: Int64 = np.sign(amounts) * ((np.abs(amounts) + unit // 2) // unit * unit)
    return rounded


@dataclass(frozen=True, eq=False, slots=True)
class Spans:
    """Periods of portfolios as spans of a chain; equal ones occur once."""

    # (q,) of each portfolio and period
    portfolio: Int64  # row of the chunk
    late: Bools  # whether the period begins with the first row because there is no earlier one
    eve: Int64  # day before its first
    span: Int64  # row of the following, -1 if it contains no session
    # (k,) of each span
    base: Int64  # row where it begins
    last: Int64  # row of its last session


def spans_of(chain: Chain, periods: Sequence[Period]) -> Spans:
    """Return the rows of each portfolio's periods (W5): portfolios down, periods across."""
    portfolios = len(chain.begins) - 1
    begin, end = chain.begins[:-1], chain.begins[1:]
    there = end > begin
    last_day = np.zeros(portfolios, dtype=np.int32)
    last_day[there] = chain.day[end[there] - 1]
    eve = np.array([one.eves(last_day) for one in periods], dtype=np.int64).T
    own = np.arange(portfolios)[:, None]
    key = day_keys(chain.portfolio, chain.day)
    base = np.searchsorted(key, day_keys(own, eve), side="right") - 1
    early = base < begin[:, None]
    late = early & ~np.array([one.is_inception for one in periods])
    base = np.where(early, begin[:, None], base)
    last = np.broadcast_to((end - 1)[:, None], base.shape)
    filled = (last > base) & there[:, None]
    code = base << 32 | last
    known = distinct(code[filled])
    span = np.where(filled, np.searchsorted(known, code), -1)
    return Spans(
        portfolio=np.broadcast_to(own, base.shape).reshape(-1),
        late=(late & there[:, None]).reshape(-1),
        eve=eve.reshape(-1),
        span=span.reshape(-1),
        base=known >> 32,
        last=known & (2**32 - 1),
    )


Reasons = defaultdict[int, list[str]]
"""Span -> what is not available in it, and why."""


def _note(reasons: Reasons, spans: Int64, text: Callable[[int], str]) -> None:
    for span in spans.tolist():
        reasons[span].append(text(span))


def performance_of(
    ids: Ids,
    rows: ChainRows,
    flows: Flows,
    *,
    periods: Sequence[Period],
    inflows: str,
    calendar: Calendar,
    cancel: CancelFlag,
) -> Performance:
    """Return a row for each portfolio and period, without a benchmark."""
    chain = chain_of(ids, rows, flows, calendar)
    spans, reasons = spans_of(chain, periods), Reasons(list)
    basis = basis_of(chain, inflows)
    found = compound(
        chain.pnl.values,
        basis,
        (spans.base + 1).astype(np.uint32),
        spans.last.astype(np.uint32),
        cancel=cancel,
    )
    is_whole = _note_gaps(chain, spans, reasons, calendar)
    _note_missing(chain, reasons, found.missing)
    _note_flows(chain, spans, reasons)
    twr = _where(is_whole, found.total)
    too_large = np.flatnonzero(twr.state == State.NOT_REPRESENTABLE)
    _note(reasons, too_large, lambda _: f"{NO_TWR}: it has more than 38 digits")
    available = twr.state == State.VALUE
    depth = found.depth  # of spans without a fall it is NULL, and its value 0
    no_fall = np.where(found.trough < 0, np.uint8(State.VALUE), depth.state)
    days = chain.day[spans.last].astype(np.int64) - chain.day[spans.base]
    rate = _money_weighted(chain, spans, days, reasons)
    ratios = {
        "max_drawdown": replace(depth, state=no_fall),
        "current_drawdown": found.current,
        "best": found.best,
        "worst": found.worst,
    }
    days_of = {
        "peak": found.peak,
        "trough": found.trough,
        "recovered": found.recovered,
        "best_day": found.best_row,
        "worst_day": found.worst_row,
    }
    sessions = spans.last - spans.base
    returns = np.divide(chain.pnl.values, basis, out=np.zeros(len(chain)), where=basis > 0)
    columns = {
        "start": Days(chain.day[spans.base]),
        "end": Days(chain.day[spans.last]),
        "sessions": sessions.astype(np.int32),
        "twr": twr,
        "twr_annual": _annual(twr, days, reasons),
        "mwr": np.expm1(rate * days / DAYS_A_YEAR),
        "mwr_annual": np.expm1(rate),
        "volatility": np.where(available, volatility(returns, spans.base, spans.last), np.nan),
        "gains": np.where(available, found.gains / sessions, np.nan),
        **{name: _where(available, column) for name, column in ratios.items()},
        **{
            name: Days(
                chain.day[np.maximum(row, 0)] if len(chain) else row.astype(np.int32),
                known_states(available & (row >= 0)),
            )
            for name, row in days_of.items()
        },
    }
    no_benchmark = WideDecimals.nulls(len(spans.span), RATIO_SCALE)
    return Performance(
        portfolio_id=np.ascontiguousarray(ids[spans.portfolio]),
        period=Text.of([one.name for one in periods] * len(ids)),
        **{name: _of_spans(column, spans.span) for name, column in columns.items()},
        benchmark=no_benchmark,
        difference=no_benchmark,
        reason=Text.of(_reason_texts(chain, spans, reasons)),
    )


def basis_of(chain: Chain, inflows: str) -> Int64:
    """Return the amount on which each session's return is based (W1), 0 where it has no return."""
    before = np.zeros(len(chain), dtype=np.int64)
    state = np.full(len(chain), State.NULL, dtype=np.uint8)
    before[1:], state[1:] = chain.equity.values[:-1], chain.equity.state[:-1]
    state[chain.begins[:-1][chain.begins[:-1] < len(chain)]] = State.NULL
    state |= chain.pnl.state
    added = chain.added if inflows == "start" else np.zeros_like(chain.added)
    small = (np.abs(before) < _MOST) & (added < _MOST)
    basis = np.where(small, before, 0) + np.where(small, added, 0)
    return np.where((state == State.VALUE) & (basis > 0), basis, 0)


def _note_gaps(chain: Chain, spans: Spans, reasons: Reasons, calendar: Calendar) -> Bools:
    """Return which spans have a row on each session (W2)."""
    skipped = np.cumsum(chain.skipped)
    missing = skipped[spans.last] - skipped[spans.base] if len(chain) else spans.last
    gaps = np.flatnonzero(chain.skipped)

    def text(span: int) -> str:
        row = gaps[np.searchsorted(gaps, spans.base[span], side="right")]
        first = calendar.next_sessions(chain.day[row - 1 : row] + np.int32(1))
        sessions = counted(int(missing[span]), "session")
        return f"{NO_TWR}: a gap of {sessions}, the first on {iso_of(int(first[0]))}"

    _note(reasons, np.flatnonzero(missing > 0), text)
    is_whole: Bools = missing == 0
    return is_whole


def _note_missing(chain: Chain, reasons: Reasons, missing: Int64) -> None:
    """Set the reason why a session has no return (W1), for spans without another reason."""

    def text(span: int) -> str:
        row = int(missing[span])
        date, before = (iso_of(int(chain.day[at])) for at in (row, row - 1))
        name, state = "daily_pnl", chain.pnl.state[row]
        if state == State.VALUE:
            name, date, state = "equity_balance", before, chain.equity.state[row - 1]
        if state == State.VALUE:
            amount = decimal_of(int(chain.equity.values[row - 1]), chain.equity.scale)
            return f"{NO_TWR}: the equity of {before}, {amount:f}, is not above 0"
        what = "NULL" if state == State.NULL else "not representable"
        return f"{NO_TWR}: {name} of {date} is {what}"

    without = np.array([span not in reasons for span in range(len(missing))], dtype=np.bool_)
    _note(reasons, np.flatnonzero((missing >= 0) & without), text)


def _note_flows(chain: Chain, spans: Spans, reasons: Reasons) -> None:
    """Set the reason where flows differ from those of the stored rows."""
    differing = np.flatnonzero(chain.differs)
    if len(differing) == 0:
        return
    after = np.searchsorted(differing, spans.base, side="right")
    first = differing[np.minimum(after, len(differing) - 1)]
    inside = (after < len(differing)) & (first <= spans.last)

    def text(span: int) -> str:
        day = iso_of(int(chain.day[first[span]]))
        return f"the flows up to {day} are not the daily_capital_flow stored for it"

    _note(reasons, np.flatnonzero(inside), text)


def _money_weighted(chain: Chain, spans: Spans, days: Int64, reasons: Reasons) -> Floats:
    """Return the logarithm of the yearly rate of each span (W3), NaN where there is none."""
    unit, flows = 10.0**chain.equity.scale, chain.flows
    before, after = (chain.equity.values[row] / unit for row in (spans.base, spans.last))
    portfolio = chain.portfolio[spans.base]
    first, last = (
        np.searchsorted(flows.key, day_keys(portfolio, chain.day[row]), side="right")
        for row in (spans.base, spans.last)
    )
    known = chain.equity.state[spans.base] | chain.equity.state[spans.last]
    rate, found = mwr.closed_rates(before, after, days)
    with_flows = np.flatnonzero((last > first) & (known == State.VALUE))
    if len(with_flows):
        counts = last[with_flows] - first[with_flows] + 2
        starts = np.cumsum(counts) - counts
        stops = starts + counts - 1
        place = np.arange(counts.sum()) - np.repeat(starts, counts)
        row = np.repeat(first[with_flows], counts) + place - 1
        row = np.clip(row, 0, len(flows.key) - 1)
        amount = -flows.amount[row] / unit
        since = np.repeat(chain.day[spans.base[with_flows]], counts)
        years = (flows.day[row] - since) / DAYS_A_YEAR
        amount[starts], years[starts] = -before[with_flows], 0.0
        amount[stops], years[stops] = after[with_flows], days[with_flows] / DAYS_A_YEAR
        own = mwr.rates(mwr.CashFlows(amount, years, starts))
        rate[with_flows], found[with_flows] = own
    rate[known != State.VALUE] = np.nan
    wrong = np.flatnonzero(known)
    _note(reasons, wrong, lambda _: f"{NO_MWR}: an equity of its ends is not representable")
    none = np.flatnonzero((known == State.VALUE) & (found != mwr.Found.RATE))
    _note(reasons, none, lambda span: f"{NO_MWR}: {mwr.REASONS[mwr.Found(int(found[span]))]}")
    return rate


def volatility(returns: Floats, base: Int64, last: Int64) -> Floats:
    """Return the standard deviation of the returns after each base up to each last row (W4).

    Estimator: ddof 1, times ``sqrt(252)``; NaN of fewer than two.
    """
    counts = last - base
    first = np.cumsum(counts) - counts
    row = np.arange(counts.sum()) - np.repeat(first - base - 1, counts)
    values = returns[row]
    mean = np.add.reduceat(values, first) / counts
    apart = values - np.repeat(mean, counts)
    variance = np.add.reduceat(apart * apart, first) / np.maximum(counts - 1, 1)
    return np.where(counts > 1, np.sqrt(variance * SESSIONS_A_YEAR), np.nan)


def _annual(twr: WideDecimals, days: Int64, reasons: Reasons) -> WideDecimals:
    """Return a year's return of periods of more than a year (W2)."""
    annual: list[Decimal | None] = [None] * len(days)
    long = np.flatnonzero((days > DAYS_A_YEAR) & (twr.state == State.VALUE))
    for span, total in zip(long.tolist(), twr.take(long).decimals(), strict=True):
        growth = DECIMALS.add(Decimal(1), total or Decimal(0))
        if growth < 0:
            reasons[span].append("no return a year: more than all was lost")
            continue
        power = DECIMALS.divide(Decimal(DAYS_A_YEAR), Decimal(int(days[span])))
        annual[span] = DECIMALS.subtract(DECIMALS.power(growth, power), Decimal(1))
    return of_decimals(annual)


def _where(available: Bools, column: Any) -> Any:  # noqa: ANN401  # the type given
    """Return a column, NULL where nothing is available."""
    return replace(column, state=np.where(available, column.state, np.uint8(State.NULL)))


def _of_spans(column: Any, span: Int64) -> Any:  # noqa: ANN401  # the type given
    """Return the values of spans, NULL or NaN where there is none (a count is 0)."""
    there, row = span >= 0, np.maximum(span, 0)
    if isinstance(column, np.ndarray):
        nothing = np.nan if column.dtype.kind == "f" else 0
        if len(column) == 0:
            return np.full(len(span), nothing, dtype=column.dtype)
        return np.where(there, column[row], nothing).astype(column.dtype)
    if len(column) == 0:
        of_scale = (column.scale,) if isinstance(column, WideDecimals) else ()
        return type(column).nulls(len(span), *of_scale)
    return _where(there, column.take(row))


def _reason_texts(chain: Chain, spans: Spans, reasons: Reasons) -> list[str | None]:
    """Return the reason of each portfolio and period; None where there is none."""
    found: list[str | None] = [None] * len(spans.span)
    has_reason = np.isin(spans.span, [-1, *reasons]) | spans.late
    has_rows = np.diff(chain.begins) > 0
    for row in np.flatnonzero(has_reason).tolist():
        span, texts = int(spans.span[row]), []
        if not has_rows[spans.portfolio[row]]:
            texts.append("no complete snapshot")
        elif span < 0:
            texts.append("no session in the period")
        elif spans.late[row]:
            eve = iso_of(int(spans.eve[row]))
            texts.append(f"from the first snapshot on: there is none on or before {eve}")
        found[row] = "; ".join([*texts, *reasons.get(span, [])])
    return found
