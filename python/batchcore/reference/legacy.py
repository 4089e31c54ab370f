"""The executable specification of the policy `legacy`: the figures of a host before it switches.

Written to be obviously right, not fast. The rules (L1 to L34) are those of docs/legacy.md; a
docstring names the rule that it implements. Everything is exact, in 160 digits with `Inexact`
trapped, except where these rules round: *stored* values half away from zero, exposures half even to
cents (L29), quotients to 28 significant digits (L22, L27, L33, L34), and the binary64 results of
L28, L32, L33 and L34, which are used as their shortest decimal texts.

Cases that the rules leave open are decided here:

- Upper case means the letters a to z (`values.upper`), for symbols and for classes alike.
- Sums in binary64 run over positions in the given order.
- Of several betas of a position with the newest `calc_date`, the largest counts.
- A cached value below 0 means no price, as 0 does.
- In L33 the entry price replaces only a NULL `last_price`: 0 is a price. The multiplier is 1 for
  the class `PRIVATE` spelt exactly so.
- A sector whose values sum to 0 is listed, with weight 0.0.
- NULL amounts of events and flows are 0; NULL or infinite dates of them are on no session; a NULL
  `entry_date` is not on or before any. Closes that are not finite or not representable are ignored.
- A NULL entry price where one is needed is no price: L27 leaves the position out of the sums, and
  the five columns of L33 and L34 have no value.
- A portfolio fails on every day, as by L4, if a value of its positions that are not soft-deleted,
  of its events or of its flows is not finite or not representable (a text of another encoding is
  not), or a symbol or quantity is NULL;
  on a day, if that is so with what L6 and L21 take from P or from the portfolio. A beta that is not
  finite gives a result that does not fit.

Each failure is an `Issue` with the day on which the portfolio failed:

=================  =================  ==========================================================
name               symbol             detail
=================  =================  ==========================================================
no_session         None               none (L2)
missing_value      of the position    column: symbol or quantity
non_finite         of the position    column; of a snapshot, event, flow or equity: symbol None
not_representable  of the position    the same
out_of_range       None               ``<column> = <value>`` (L4)
=================  =================  ==========================================================

If there are several faults, the first by name, symbol and column is reported.
"""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass, field, replace
from decimal import ROUND_HALF_EVEN, Context, Decimal, localcontext
from typing import TYPE_CHECKING, Final

from batchcore.reference.contributions import Contribution, Marked
from batchcore.reference.facts import DEFAULT_SCALES, OPTION_TYPES, Figures, Issue, Market
from batchcore.reference.facts import Snapshot as Snapshot  # noqa: PLC0414  # a name of here too
from batchcore.units import CENTS, FLOW_SIGNS, OPTION_MULTIPLIER, RETURN_SCALE, Mark, State
from batchcore.values import (
    EXACT,
    INFINITE_DAY,
    MONEY_LIMIT,
    RETURN_LIMIT,
    ZERO,
    cents_state,
    decimal_state,
    or_zero,
    present,
    representable,
    rounded,
    shown,
    text_state,
    upper,
)

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence

    from batchcore.reference.facts import Event, Flow, Position, Scales

PREVIOUS_CLOSE_DAYS: Final = 10
"""Maximum calendar days between D and the previous close (L12)."""

RENAMED_SECTORS: Final = {
    "Basic Materials": "Materials",
    "Consumer Cyclical": "Consumer Discretionary",
    "Consumer Defensive": "Consumer Staples",
    "Financial Services": "Financials",
}

_NO_NUMBER: Final = {
    State.NON_FINITE: "non_finite",
    State.NOT_REPRESENTABLE: "not_representable",
}
_ROUNDED_BELOW: Final = Decimal(10) ** 40
"""Beyond any column; values below it can be rounded in 160 digits."""

_QUOTIENT: Final = Context(prec=28, rounding=ROUND_HALF_EVEN)


@dataclass(frozen=True, slots=True)
class Profile:
    """A row of company_profiles."""

    beta: Decimal | None = None
    sector: str | None = None
    is_etf: bool | None = None


@dataclass(frozen=True, slots=True)
class Portfolio:
    """A portfolio with all of its rows, soft-deleted positions included.

    The order of rows matters only in sums of binary64 values (L32, L34).
    """

    name: str
    equity_balance: Decimal | None = None
    positions: tuple[Position, ...] = ()
    flows: tuple[Flow, ...] = ()
    snapshots: tuple[Snapshot, ...] = ()
    deleted: bool = False


@dataclass(frozen=True, slots=True)
class Shared:
    """The inputs that all portfolios of a run share.

    Days on or after `today` are current (L32 to L34). `cached` prices replace closes by exact
    symbol and day; 0 means none (L16). `profiles` are by symbol as stored.
    """

    prices: Market
    calendar: Collection[int]
    today: int
    cached: Mapping[tuple[str, int], Decimal] = field(default_factory=dict)
    profiles: Mapping[str, Profile] = field(default_factory=dict)
    has_benchmark: bool = True


@dataclass(frozen=True, slots=True, kw_only=True)
class Row(Figures):
    """The row of a day; `sector_exposure` maps sectors to binary64 weights."""

    portfolio_delta: Decimal | None = None
    portfolio_gamma: Decimal | None = None
    portfolio_theta: Decimal | None = None
    portfolio_vega: Decimal | None = None
    beta_provider_1y: Decimal | None = None
    sector_exposure: Mapping[str, float] | None = None
    hhi: Decimal | None = None
    effective_num_positions: Decimal | None = None
    top_3_concentration: Decimal | None = None
    top_10_concentration: Decimal | None = None
    is_complete: bool = True


@dataclass(frozen=True, slots=True)
class Result:
    """The result of a run for one portfolio, in the order of the requested days.

    `failures` has one issue for each day that failed, `skipped` the days whose complete snapshot
    stays (L3), and `equity_balance` is the column afterwards (L7).
    """

    rows: tuple[Row, ...]
    failures: tuple[Issue, ...]
    errors: tuple[str, ...]
    skipped: tuple[int, ...]
    equity_balance: Decimal | None


class _DayError(Exception):
    """A value by which a portfolio fails on a day (L4): name and detail of the issue."""


def closes(
    prices: Iterable[tuple[str, int | None, Decimal | None]], scales: Scales = DEFAULT_SCALES
) -> Market:
    """Return every finite close, 0 and below included, by symbol as stored (L10, L12, L26)."""
    stored: dict[str, dict[int, Decimal]] = defaultdict(dict)
    for symbol, day, close in prices:
        if day is None or day == INFINITE_DAY:
            continue
        if close is not None and close.is_finite() and representable(close, scales.close):
            stored[symbol][day] = close
    days = {symbol: tuple(sorted(by_day)) for symbol, by_day in stored.items()}
    in_order = {symbol: tuple(stored[symbol][day] for day in days[symbol]) for symbol in days}
    return Market(days, in_order, ())


def chosen(portfolios: Iterable[Portfolio], asked: Collection[str] | None) -> list[Portfolio]:
    """Return the portfolios that a run processes, among the requested names; None is all (L1)."""
    return [one for one in portfolios if not one.deleted and (asked is None or one.name in asked)]


def roll(
    portfolio: Portfolio, shared: Shared, days: Sequence[int], scales: Scales = DEFAULT_SCALES
) -> Result:
    """Return the result of a run over `days`, in their order, for one portfolio (L1 to L34)."""
    if portfolio.deleted:
        return Result((), (), (), (), portfolio.equity_balance)
    stored = {snapshot.day: snapshot for snapshot in portfolio.snapshots}
    equity = portfolio.equity_balance
    rows: list[Row] = []
    failures: list[Issue] = []
    skipped: list[int] = []
    fault = min(_faults(portfolio, scales), default=None)
    for day in days:
        if day not in shared.calendar:
            failures.append(Issue("no_session", None, day))
        elif day in stored and stored[day].is_complete:
            skipped.append(day)
        elif fault is not None:
            failures.append(Issue(fault[0], fault[1] or None, day, fault[2]))
        else:
            earlier = max((one for one in stored if one < day), default=None)
            previous = None if earlier is None else stored[earlier]
            try:
                with localcontext(EXACT):
                    row = _row(replace(portfolio, equity_balance=equity), previous, shared, day)
            except _DayError as error:
                name, detail = error.args
                failures.append(Issue(name, None, day, detail))
                continue
            rows.append(row)
            equity = row.equity_balance
            stored[day] = row.snapshot()
    errors = (f"{portfolio.name}: Failed to create snapshot",) * len(failures)
    return Result(tuple(rows), tuple(failures), errors, tuple(skipped), equity)


def contributions(
    portfolio: Portfolio,
    shared: Shared,
    days: Sequence[int],
    previous: int | None,
    scales: Scales = DEFAULT_SCALES,
) -> tuple[Contribution, ...]:
    """Return the exact contribution of each position to the P&L of the computed days (X7).

    Positions are those active (L24) on the last day, or with earned or realized amounts on any.
    Days are those with a row, ascending; one for a session, more for a range (X4). Without a
    `previous` one (L5) positions earn nothing on the first (L11). Only the events of deleted ones
    are read (L17): an unusable quantity is shown as 0.
    """
    with localcontext(EXACT):
        found = []
        for row, position in enumerate(portfolio.positions):
            realized = sum((or_zero(e.realized) for e in position.events if e.day in days), ZERO)
            earning = days if previous is not None else days[1:]
            earned = [_earned(position, shared, day) for day in earning]
            active, change = _active(position, days[-1]), sum(earned, ZERO)
            if not (active or realized or any(earned)):
                continue
            private = upper(position.investment_class or "") == "PRIVATE"
            symbol, quantity = shown(position.symbol or ""), position.quantity
            if decimal_state(quantity, scales.quantity) != State.VALUE:
                quantity = ZERO
            found.append(
                Contribution(
                    position=row,
                    symbol=symbol,
                    quantity=present(quantity),
                    multiplier=_multiplier(position),
                    entry_price=position.entry_price,
                    before=None if private else _before(symbol, shared, days[0]),
                    after=None if private else _after(symbol, shared, days[-1]),
                    unrealized_change=change,
                    realized=realized,
                    value=_value(position, shared, days[-1]) if active else None,
                )
            )
        return tuple(found)


def _before(symbol: str, shared: Shared, day: int) -> Marked | None:
    """Return the newest close of the ten days before a day, 0 and below included (L12)."""
    found = shared.prices.latest(upper(symbol), day - PREVIOUS_CLOSE_DAYS, day - 1)
    return None if found is None else Marked(found[1], found[0], Mark.LOOKBACK)


def _after(symbol: str, shared: Shared, day: int) -> Marked | None:
    """Return the close of a day (L10)."""
    close = _current_close(symbol, shared, day)
    return None if close is None else Marked(close, day, Mark.FRESH)


def _faults(portfolio: Portfolio, scales: Scales) -> Iterator[tuple[str, str, str]]:
    """Return name, symbol and column of each value that no rule can read."""
    for position in portfolio.positions:
        if not position.deleted:
            yield from _position_faults(position, scales)
    amounts = [("realized_pnl", event.realized) for event in _events(portfolio)]
    amounts += [("amount", flow.amount) for flow in portfolio.flows]
    for column, amount in amounts:
        name = _NO_NUMBER.get(decimal_state(amount, scales.money))
        if name is not None:
            yield name, "", column


def _position_faults(position: Position, scales: Scales) -> Iterator[tuple[str, str, str]]:
    symbol = shown(position.symbol or "")
    if position.symbol is None:
        yield "missing_value", symbol, "symbol"
    for column in ("symbol", "position_type", "investment_class"):
        if text_state(getattr(position, column)) == State.NOT_REPRESENTABLE:
            yield "not_representable", symbol, column
    if position.quantity is None:
        yield "missing_value", symbol, "quantity"
    for column, value, scale in (
        ("quantity", position.quantity, scales.quantity),
        ("entry_price", position.entry_price, scales.price),
        ("last_price", position.last_price, scales.price),
        ("market_value", position.market_value, scales.money),
    ):
        name = _NO_NUMBER.get(decimal_state(value, scale))
        if name is not None:
            yield name, symbol, column
    for column, date in (("entry_date", position.entry_day), ("exit_date", position.exit_day)):
        if date == INFINITE_DAY:
            yield "non_finite", symbol, column


def _row(portfolio: Portfolio, previous: Snapshot | None, shared: Shared, day: int) -> Row:
    """Return the row of day D, from P (L5) or the portfolio's equity at its start (L6 to L34).

    Raises:
        _DayError: The day fails (L4).
    """
    before = _previous_equity(portfolio, previous)
    earned = (_earned(position, shared, day) for position in portfolio.positions)
    unrealized = ZERO if previous is None else sum(earned, ZERO)
    realized = sum((or_zero(e.realized) for e in _events(portfolio) if e.day == day), ZERO)
    flow = sum((_signed(flow) for flow in portfolio.flows if flow.day == day), ZERO)
    pnl = unrealized + realized
    equity = before + pnl + flow

    active = [position for position in portfolio.positions if _active(position, day)]
    values = [_value(position, shared, day) for position in active]
    known = [value for value in values if value is not None]
    long_value = _exposure(max(value, ZERO) for value in known)
    short_value = _exposure(min(value, ZERO) for value in known)
    cash = max(equity - long_value + abs(short_value), ZERO)
    greek = rounded(ZERO, CENTS) if active else None
    row = Row(
        day=day,
        equity_balance=_money("equity_balance", equity),
        daily_pnl=_money("daily_pnl", pnl),
        daily_realized_pnl=_money("daily_realized_pnl", realized),
        daily_capital_flow=_money("daily_capital_flow", flow),
        daily_return=_stored(
            "daily_return",
            _quotient(pnl, before) if before > 0 else ZERO,
            RETURN_SCALE,
            RETURN_LIMIT,
        ),
        cumulative_pnl=_cumulative("cumulative_pnl", previous, pnl),
        cumulative_realized_pnl=_cumulative("cumulative_realized_pnl", previous, realized),
        cumulative_capital_flow=_cumulative("cumulative_capital_flow", previous, flow),
        total_value=_money("total_value", equity if active else ZERO),
        cash_value=_money("cash_value", cash if active else ZERO),
        long_value=_money("long_value", long_value),
        short_value=_money("short_value", short_value),
        gross_exposure=_money("gross_exposure", _exposure(map(abs, known))),
        net_exposure=_money("net_exposure", _exposure(known)),
        num_positions=len(active),
        num_long_positions=sum(present(position.quantity) > 0 for position in active),
        num_short_positions=sum(present(position.quantity) <= 0 for position in active),
        portfolio_delta=greek,
        portfolio_gamma=greek,
        portfolio_theta=greek,
        portfolio_vega=greek,
    )
    if active and day >= shared.today:
        row = replace(row, beta_provider_1y=_provider_beta(portfolio, shared, equity))
        row = _with_weights(row, portfolio, shared, equity)
    return row


def _stored(column: str, value: Decimal, scale: int, limit: Decimal) -> Decimal:
    """Return a value as its column stores it; a value that does not fit fails the day (L4)."""
    if value.is_finite() and abs(value) < _ROUNDED_BELOW:
        value = rounded(value, scale)
        if abs(value) < limit:
            return value
    raise _DayError("out_of_range", f"{column} = {value:f}")


def _money(column: str, value: Decimal) -> Decimal:
    return _stored(column, value, CENTS, MONEY_LIMIT)


def _quotient(numerator: Decimal, denominator: Decimal) -> Decimal:
    """Return a quotient of exact values to 28 significant digits, half even."""
    return _QUOTIENT.divide(numerator, denominator)


def _readable(column: str, value: Decimal | None) -> Decimal | None:
    """Return an amount from which a day continues, in cents; an unreadable one fails the day."""
    name = _NO_NUMBER.get(cents_state(value, CENTS))
    if name is not None:
        raise _DayError(name, column)
    return value


def _previous_equity(portfolio: Portfolio, previous: Snapshot | None) -> Decimal:
    """Return the equity from which the day continues (L6)."""
    if previous is not None:
        equity = _readable("equity_balance", previous.equity)
        if equity:
            return equity
    return or_zero(_readable("equity_balance", portfolio.equity_balance))


def _cumulative(column: str, previous: Snapshot | None, amount: Decimal) -> Decimal:
    """Return the value of P in a column plus the amount of the day (L21)."""
    before = ZERO if previous is None else or_zero(_readable(column, getattr(previous, column)))
    return _money(column, before + amount)


def _events(portfolio: Portfolio) -> list[Event]:
    """Return all events, those of soft-deleted positions included (L17)."""
    return [event for position in portfolio.positions for event in position.events]


def _signed(flow: Flow) -> Decimal:
    """Return contributions as they are and withdrawals below 0 (L18)."""
    return FLOW_SIGNS.get(flow.change_type or "", 0) * or_zero(flow.amount)


def _multiplier(position: Position) -> int:
    """Return the shares per unit of quantity (L14)."""
    return OPTION_MULTIPLIER if position.position_type in OPTION_TYPES else 1


def _entered(position: Position, day: int) -> bool:
    """Return whether a position counts on `day`, exited or not (L8)."""
    return not position.deleted and position.entry_day is not None and position.entry_day <= day


def _active(position: Position, day: int) -> bool:
    """Return whether a position is active on `day` (L24)."""
    return _entered(position, day) and (position.exit_day is None or position.exit_day > day)


def _current_close(symbol: str, shared: Shared, day: int) -> Decimal | None:
    """Return the price of exactly `day` under exactly `symbol`, above 0 (L10, L16)."""
    close = shared.cached.get((symbol, day))
    if close is None:
        found = shared.prices.latest(symbol, day, day)
        close = None if found is None else found[1]
    return close if close is not None and close > 0 else None


def _earned(position: Position, shared: Shared, day: int) -> Decimal:
    """Return the amount that one position earns on `day` by its closes (L8 to L16)."""
    if not _entered(position, day) or upper(position.investment_class or "") == "PRIVATE":
        return ZERO
    symbol = present(position.symbol)
    current, previous = _current_close(symbol, shared, day), _before(symbol, shared, day)
    if current is None or previous is None:
        return ZERO
    return (current - previous.price) * present(position.quantity) * _multiplier(position)


def _price(position: Position, shared: Shared, day: int) -> Decimal | None:
    """Return the price of an active position; None without one (L26, L27)."""
    found = shared.prices.latest(upper(present(position.symbol)), -INFINITE_DAY, day)
    if found is not None and found[1] != 0:
        return found[1]
    if position.investment_class != "PRIVATE":
        return None
    if position.market_value is None or position.market_value <= 0:
        return position.entry_price
    quantity = present(position.quantity)
    return _quotient(position.market_value, quantity) if quantity else ZERO


def _value(position: Position, shared: Shared, day: int) -> Decimal | None:
    """Return the value of an active position, computed in binary64 (L28)."""
    price = _price(position, shared, day)
    if price is None:
        return None
    return _text(float(present(position.quantity)) * float(price) * float(_multiplier(position)))


def _text(value: float) -> Decimal:
    """Return a binary64 value as its shortest decimal text."""
    return Decimal(repr(value))


def _exposure(values: Iterable[Decimal]) -> Decimal:
    """Return the exact sum of values, rounded half even to cents (L29)."""
    total = sum(values, ZERO)
    with localcontext() as context:
        context.clear_traps()
        return total.quantize(Decimal("0.01"), rounding=ROUND_HALF_EVEN)


def _sum(values: Iterable[float]) -> float:
    """Return the sum of binary64 values, one after the other; `sum` compensates from 3.12 on."""
    total = 0.0
    for value in values:
        total += value
    return total


def _beta(position: Position, shared: Shared) -> Decimal | None:
    """Return the beta of a position: its profile's, or else its newest own (L32)."""
    profile = shared.profiles.get(present(position.symbol))
    if profile is not None and profile.beta is not None and profile.beta != 0:
        return profile.beta
    newest = max((beta.day for beta in position.betas), default=None)
    own = [beta.beta for beta in position.betas if beta.day == newest]
    if not all(beta.is_finite() for beta in own):
        return Decimal("NaN")
    return max(own, default=ZERO) or None


def _provider_beta(portfolio: Portfolio, shared: Shared, equity: Decimal) -> Decimal | None:
    """Return the provider beta, None without a position for it (L32)."""
    weighted = []
    for position in portfolio.positions:
        if (
            position.deleted
            or position.exit_day is not None
            or position.position_type not in ("LONG", "SHORT")
            or position.investment_class != "PUBLIC"
            or not position.market_value
        ):
            continue
        beta = _beta(position, shared)
        if beta is not None:
            weighted.append(float(position.market_value) * float(beta))
    if not weighted or equity <= 0:
        return None
    beta = _text(_sum(weighted) / float(equity))
    return _stored("beta_provider_1y", beta, 4, Decimal(10) ** 6)


def _size(position: Position) -> Decimal | None:
    """Return the value of a position for weights, not below 0; None without a price (L33)."""
    if position.market_value is not None:
        return abs(position.market_value)
    price = position.entry_price if position.last_price is None else position.last_price
    if price is None:
        return None
    multiplier = 1 if position.investment_class == "PRIVATE" else _multiplier(position)
    return abs(present(position.quantity) * price * multiplier)


def _sector(position: Position, profiles: Mapping[str, Profile]) -> str | None:
    """Return the sector of a position; None if it is left out (L33)."""
    if position.investment_class in ("PRIVATE", "OPTIONS"):
        return "Unclassified"
    profile = profiles.get(upper(present(position.symbol)))
    if profile is None:
        return None
    if profile.is_etf:
        return "ETFs"
    if profile.sector is None or profile.sector in ("", "Unknown"):
        return None
    return RENAMED_SECTORS.get(profile.sector, profile.sector)


def _with_weights(row: Row, portfolio: Portfolio, shared: Shared, equity: Decimal) -> Row:
    """Return a row with the five columns of sectors and concentration (L33, L34)."""
    positions = [one for one in portfolio.positions if not one.deleted and one.exit_day is None]
    sizes = [size for size in map(_size, positions) if size is not None]
    total = sum(sizes, ZERO)
    if len(sizes) < len(positions) or total == 0 or equity == 0 or not shared.has_benchmark:
        return row

    sectors: dict[str, Decimal] = defaultdict(Decimal)
    symbols: dict[str, Decimal] = defaultdict(Decimal)
    for position, size in zip(positions, sizes, strict=True):
        symbols[present(position.symbol)] += size
        sector = _sector(position, shared.profiles)
        if sector is not None:
            sectors[sector] += size
    exposure = {
        # Adding 0 turns -0.0 into 0.0.
        sector: float(_quotient(sectors[sector], equity)) + 0.0
        for sector in sorted(sectors)
    }
    weights = [float(_quotient(size, total)) for size in symbols.values()]
    hhi = 10000 * _sum(weight * weight for weight in weights)
    largest = sorted(weights, reverse=True)

    def stored(column: str, value: float, scale: int) -> Decimal:
        return _stored(column, _text(value), scale, Decimal(10) ** (10 - scale))

    return replace(
        row,
        sector_exposure=exposure,
        hhi=stored("hhi", hhi, 4),
        effective_num_positions=stored("effective_num_positions", 10000 / hhi, 2),
        top_3_concentration=stored("top_3_concentration", _sum(largest[:3]), 4),
        top_10_concentration=stored("top_10_concentration", _sum(largest[:10]), 4),
    )
