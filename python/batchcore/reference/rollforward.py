"""The executable specification of the policy `rollforward`: plain `decimal`, rule by rule.

Written to be obviously right, not fast. Tests, `verify` and the benches compare the native core
with it, digit by digit. The rules (S1 to S14) are those of docs/semantics.md; a docstring names the
rule that it implements. Everything except `r2`, `r6` and quotients of rates is exact: the decimal
context has 160 digits and traps `Inexact`.

`facts` defines values and days. A blank is the space character (0x20) only, and only the letters a
to z have an upper case.

Cases that the rules leave open are decided here:

- A position with several faults has one issue, the first of `missing_value`,
  `unknown_position_type`, `non_finite`, `not_representable`, `missing_entry_price`,
  `blank_symbol`; among columns the first in the order symbol, quantity, entry_price, entry_date,
  exit_price, exit_date, expiration_date, market_value, investment_class, currency.
- A position type that is not UTF-8 is an `unknown_position_type`.
- Only values that a rule reads are checked: exit_price if exit_date is set, expiration_date for LC,
  LP, SC and SP, market_value if PRIVATE; the opening equity if no snapshot takes its place; of a
  snapshot what S5 takes from it.
- An entry_price that is NULL is a `missing_entry_price`, NaN is `non_finite`.
- Event lots that end before they start are `end_before_start`. `closed_twice` counts the events
  that made a lot, no others.
- `exit_unpriced` and `expired` are reported on the session whose P&L counts the lot, if its row
  is written; an expired lot is only `expired`. All other issues of positions, events and flows
  are reported in every run that has a session for the portfolio, failed or not.
- For a PRIVATE lot a price counts only above 0, for options too; without one it is `exit_unpriced`,
  or `expired`.
- A session that fails (S10, C7) has no issue other than `out_of_range` or `fx_missing`. A missing
  rate, the first by pair and date, comes before a value out of range.
- Marks are counted over the public lots held.
- Flows may be stored with more than 2 decimals: their sum over `(s, t]` is rounded, and so is that
  of S5. An equity or a cumulative amount with more than 2 decimals is `not_representable`.

Each issue, when it has a session, and its detail ("column" stands for the name of the column):

=====================  ===========  ==============================================================
name                   session      detail
=====================  ===========  ==============================================================
missing_value          none         column: symbol, position_type, quantity or entry_date
unknown_position_type  none         position_type
non_finite             none         column
not_representable      none         column
missing_entry_price    none         entry_price
blank_symbol           none         symbol
sign_mismatch          none         quantity
closed_twice           none         exit_date
end_before_start       none         column of the end: trade_date, exit_date or expiration_date
bad_event              none         column: the first bad of trade_date, quantity_closed,
                                    realized_pnl
bad_flow               none         column: the first bad of change_type, amount, change_date
exit_unpriced          that of P&L  exit_price
expired                that of P&L  expiration_date
return_out_of_range    its own      the rounded return, 6 decimals
out_of_range           its own      ``<column> = <value>``, 2 decimals
fx_missing             its own      the pair of units, and the date of the rate where it is another:
                                    ``EUR/USD on 2026-01-05``
bad_rate               the first    ``<pair>: <k> dates; <rate> on the first``; from `rates`
non_finite             the first    column of the snapshot or the opening equity; the portfolio
                                    fails, symbol is None
not_representable      the first    the same
close_refused          the first    the close, or ``not_representable``; of several
                                    ``..., the first of <k> sessions``
duplicate_price        see `market` ``<k> dates; <symbol as stored> counts on the first``
ambiguous_price        the first    ``<k> dates; <lowest> and <highest> on the first``; from
                                    `one_close`
gap                    the missing  none; from `span`
off_session            its date     none; from `span`
option_over_split      that of P&L  ``<new> for <old>``, the numbers in lowest terms
bad_split              the ex-date  ``<column> = <value>``, or what rows of one ex-date say; from
                                    `splits`
=====================  ===========  ==============================================================
"""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass, field, replace
from decimal import Decimal, localcontext
from fractions import Fraction
from itertools import pairwise
from typing import TYPE_CHECKING, Final, Literal

from batchcore.reference.contributions import Contribution, Marked
from batchcore.reference.facts import (
    DEFAULT_SCALES,
    OPTION_TYPES,
    Event,
    Figures,
    Flow,
    Issue,
    Market,
    Position,
    Scales,
    Snapshot,
)
from batchcore.reference.one_close import shown_close
from batchcore.reference.splits import NO_SPLITS, ratio
from batchcore.units import FLOW_SIGNS, OPTION_MULTIPLIER, Mark, State
from batchcore.values import (
    EXACT,
    INFINITE_DAY,
    MONEY_LIMIT,
    ONE,
    RETURN_LIMIT,
    ZERO,
    Currency,
    cents_state,
    currency,
    day_state,
    decimal_state,
    iso,
    normalised,
    or_zero,
    present,
    r2,
    r6,
    representable,
    rounded,
    shown,
    text_state,
)

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Sequence

    from batchcore.reference.currencies import Rates
    from batchcore.reference.splits import Splits

POSITION_TYPES: Final = (*OPTION_TYPES, "LONG", "SHORT")
SHORT_TYPES: Final = ("SHORT", "SC", "SP")

MONEY_COLUMNS: Final = (
    "daily_realized_pnl",
    "daily_pnl",
    "daily_capital_flow",
    "equity_balance",
    "cumulative_pnl",
    "cumulative_realized_pnl",
    "cumulative_capital_flow",
    "long_value",
    "short_value",
    "gross_exposure",
    "net_exposure",
    "cash_value",
)
"""The columns in the order in which S10 checks them; the first that does not fit is named."""


@dataclass(frozen=True, slots=True)
class Portfolio:
    """A portfolio with all of its rows, in any order.

    Positions include soft-deleted ones; snapshots are the complete ones, at most one a day.
    """

    id: str
    opening_equity: Decimal | None = None
    positions: tuple[Position, ...] = ()
    flows: tuple[Flow, ...] = ()
    snapshots: tuple[Snapshot, ...] = ()
    currency: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Row(Figures):
    """The row of a session: 2 decimals each, `daily_return` 6 or None.

    `unrealized_pnl`, ``r2(U(t))``, is not a column of the table. `marks` are public lots held by
    status of their mark, in the order of `units.Mark`.
    """

    unrealized_pnl: Decimal
    marks: tuple[int, ...]


@dataclass(frozen=True, slots=True)
class Result:
    """The rows of one portfolio, by session; if it failed (S3, S10), those before the failure."""

    rows: tuple[Row, ...]
    issues: tuple[Issue, ...]
    failed: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class _Lot:
    """A signed quantity of one symbol, held from `start` (included) to `end` (excluded).

    `position` is the row of its position, `splits` are those that restate it, `basis` is that of
    its quantity, and `foreign` its currency if that is not the portfolio's.
    """

    position: int
    stored_symbol: str
    symbol: str
    private: bool
    quantity: Decimal
    multiplier: int
    entry_price: Decimal
    start: int
    basis: int
    splits: Splits
    foreign: Currency | None
    end: int | None = None
    realized: Decimal | None = None
    exit_price: Decimal | None = None
    expires: bool = False
    market_value: Decimal | None = None

    def held(self, day: int) -> bool:
        """Return whether it is held on `day` (S4)."""
        return self.start <= day and (self.end is None or day < self.end)

    def closed(self, after: int, until: int) -> bool:
        """Return whether its end is in ``(after, until]`` (S6)."""
        return self.end is not None and after < self.end <= until

    def quantity_at(self, basis: int) -> Decimal:
        """Return the quantity on a basis (C4)."""
        return self.splits.quantity(self.symbol, self.quantity, self.basis, basis)

    def amount(self, mark: Marked) -> Decimal:
        """Return the value of the lot at a mark, in its own currency (C4)."""
        if mark.day is None:
            return self.dealt_amount(self.entry_price, self.start)
        return mark.price * self.quantity_at(self.splits.of_close(mark.day)) * self.multiplier

    def dealt_amount(self, price: Decimal, day: int) -> Decimal:
        """Return its value at its entry or exit price, in its own currency (C4)."""
        return price * self.quantity_at(self.splits.of_position(day)) * self.multiplier


@dataclass(frozen=True, slots=True)
class _Marks:
    """The marks of lots (S4), and their values in the portfolio's currency (C6).

    `rates` are None if all amounts are in that currency, `home`. `lacking` has pair and day of each
    missing rate that an amount needed: the results are then unusable.
    """

    prices: Market
    lookback_days: int
    rates: Rates | None
    home: Currency | None
    lacking: set[tuple[str, int]] = field(default_factory=set)

    def of(self, lot: _Lot, day: int) -> Marked:
        """Return the mark of a lot on `day`; the entry price where it is PRIVATE (S4)."""
        found = None if lot.private else self.prices.latest(lot.symbol, lot.start, day)
        if found is None:
            return Marked(lot.entry_price, None, Mark.UNPRICED, self._rate(lot, lot.start))
        priced, close = found
        rate = self._rate(lot, day)
        if priced == day:
            return Marked(close, priced, Mark.FRESH, rate)
        recent = day - priced <= self.lookback_days
        return Marked(close, priced, Mark.LOOKBACK if recent else Mark.STALE, rate)

    def _rate(self, lot: _Lot, day: int) -> Decimal | None:
        """Return the rate of the lot's currency in the portfolio's on a day; None without one."""
        if lot.foreign is None or self.rates is None:
            return ONE
        return self.rates.rate(lot.foreign, self.home, day)

    def _worth(self, lot: _Lot, amount: Decimal, day: int) -> Decimal:
        """Return an amount in a lot's currency at the rate of a day (C6); 0 without one."""
        if lot.foreign is None:
            return amount
        rate = self._rate(lot, day)
        if rate is None:
            home = "" if self.home is None else self.home.unit
            self.lacking.add((f"{lot.foreign.unit}/{home}", day))
            return ZERO
        return amount * rate

    def _entry_value(self, lot: _Lot) -> Decimal:
        """Return the entry value of a lot."""
        return self._worth(lot, lot.dealt_amount(lot.entry_price, lot.start), lot.start)

    def earned(self, lot: _Lot, day: int) -> Decimal:
        """Return what a lot held has earned by `day`, 0 without a close: ``V(day)`` (S6)."""
        mark = self.of(lot, day)
        if mark.status == Mark.UNPRICED:
            return ZERO
        return self._worth(lot, lot.amount(mark), day) - self._entry_value(lot)

    def realized(self, lot: _Lot) -> Decimal:
        """Return the amount that a closed lot adds to ``R`` (S6, S3)."""
        if lot.realized is not None:
            return lot.realized
        end = present(lot.end)
        if lot.exit_price is None:
            return self.earned(lot, end)
        return self._worth(lot, lot.dealt_amount(lot.exit_price, end), end) - self._entry_value(lot)

    def value(self, lot: _Lot, day: int) -> Decimal:
        """Return the signed value of a lot held (S9)."""
        if lot.market_value is not None:
            return lot.market_value
        mark = self.of(lot, day)
        return self._worth(lot, lot.amount(mark), lot.start if mark.day is None else day)

    def price_effect(self, lot: _Lot, before: int, day: int) -> Decimal:
        """Return the effect of the price in a lot's contribution (C8).

        It goes from the mark on `before`, or the entry, to the mark on `day`, or the exit, each
        times its own quantity (C4), at the rate at the beginning.
        """
        begins = self.of(lot, before)  # before its start the only mark is the entry price
        if lot.held(day):
            ends_at = lot.amount(self.of(lot, day))
        elif lot.exit_price is not None:
            ends_at = lot.dealt_amount(lot.exit_price, present(lot.end))
        else:
            ends_at = lot.amount(self.of(lot, present(lot.end)))
        change = ends_at - lot.amount(begins)
        return change * present(begins.rate) if change else ZERO


def market(
    prices: Iterable[tuple[str, int | None, Decimal | None]],
    scales: Scales = DEFAULT_SCALES,
    splits: Splits | None = None,
) -> Market:
    """Return the valid closes among `prices`, the refused ones, and the issues `duplicate_price`.

    Prices are symbol as stored, day and close; symbol and day together are unique (S2). One issue
    for each normalised symbol with duplicates: `symbol` is the normalised one, `day` the first date
    with two valid rows. Of such rows the highest symbol in byte order counts. Issues of the splits
    stay with them (C3).
    """
    stored: dict[str, dict[int, dict[str, Decimal]]] = defaultdict(lambda: defaultdict(dict))
    refused: dict[str, dict[int, dict[str, str]]] = defaultdict(lambda: defaultdict(dict))
    for symbol, day, close in prices:
        if day is None or day == INFINITE_DAY:
            continue
        if close is None or not close.is_finite():
            continue
        if close > 0 and representable(close, scales.close):
            stored[normalised(symbol)][day][symbol] = close
        else:
            refused[normalised(symbol)][day][symbol] = shown_close(close, scales.close)
    days: dict[str, tuple[int, ...]] = {}
    closes: dict[str, tuple[Decimal, ...]] = {}
    issues: list[Issue] = []
    for symbol, by_day in sorted(stored.items()):
        winner = {day: max(rows, key=str.encode) for day, rows in by_day.items()}
        days[symbol] = tuple(sorted(by_day))
        closes[symbol] = tuple(by_day[day][winner[day]] for day in days[symbol])
        duplicated = [day for day in days[symbol] if len(by_day[day]) > 1]
        if duplicated:
            first = duplicated[0]
            dates = "date" if len(duplicated) == 1 else "dates"
            detail = f"{len(duplicated)} {dates}; {winner[first]} counts on the first"
            issues.append(Issue("duplicate_price", symbol, first, detail))
    highest = {
        symbol: {day: rows[max(rows, key=str.encode)] for day, rows in by_day.items()}
        for symbol, by_day in refused.items()
    }
    return Market(days, closes, tuple(issues), highest, splits)


def roll_forward(
    portfolio: Portfolio,
    prices: Market,
    sessions: Sequence[int],
    lookback_days: int = 10,
    scales: Scales = DEFAULT_SCALES,
    *,
    fails_from: int | None = None,
    rates: Rates | None = None,
) -> Result:
    """Return the rows of `portfolio` for `sessions`, and its issues (S3 to S10, C6, C7).

    Args:
        portfolio: Portfolio with all of its rows.
        prices: From `market`.
        sessions: Sessions to write, ascending, without a gap in the calendar (S13). Without any,
            nothing is checked and there are no issues.
        lookback_days: Age in calendar days up to which a mark is a hit (S4).
        scales: Scales of the columns read.
        fails_from: The session from which a check of prices fails it (C2).
        rates: None means that all amounts are in the portfolio's currency.
    """
    if not sessions:
        return Result((), (), failed=False)
    with localcontext(EXACT):
        issues: list[Issue] = []
        splits = prices.splits or NO_SPLITS
        lots = _lots(portfolio, scales, issues, splits, converts=rates is not None)
        flows = _flows(portfolio.flows, scales, issues)
        previous = start = _start(portfolio, flows, sessions[0], scales, issues)
        marks = _Marks(prices, lookback_days, rates, currency(portfolio.currency))
        rows: list[Row] = []
        for day in sessions:
            if previous is None or (fails_from is not None and day >= fails_from):
                break
            found: list[Issue] = []
            row = _row(previous, day, lots, flows, marks, issues=found)
            failure = _fx_missing(marks, day) or _out_of_range(row)
            if failure is not None:
                issues.append(failure)
                break
            rows.append(row)
            issues += found
            previous = row.snapshot()
        written = [row.day for row in rows]
        issues += _refused(lots, prices, written)
        if start is not None:
            issues += _options_split(lots, splits, start.day, written)
    in_order = tuple(sorted(issues, key=issue_order))
    return Result(tuple(rows), in_order, failed=len(rows) < len(sessions))


def contributions(
    portfolio: Portfolio,
    prices: Market,
    previous: int | None,
    session: int,
    *,
    lookback_days: int = 10,
    scales: Scales = DEFAULT_SCALES,
    rates: Rates | None = None,
) -> tuple[Contribution, ...]:
    """Return the exact contribution of each lot from `previous` to `session` (X1, X4, C8).

    Lots are those held on `previous` or `session`, or ended in between; by position, in the order
    of S3. `previous` is None for a baseline, whose lots are listed without a contribution (X3). A
    lot that lacks a rate has no amounts. Other arguments are those of `roll_forward`.
    """
    with localcontext(EXACT):
        found, home = [], currency(portfolio.currency)
        splits = prices.splits or NO_SPLITS
        for lot in _lots(portfolio, scales, [], splits, converts=rates is not None):
            holds, held = lot.held(session), previous is not None and lot.held(previous)
            ended = previous is not None and lot.closed(previous, session)
            if not (holds or held or ended):
                continue
            marks = _Marks(prices, lookback_days, rates, home)
            basis = session if lot.end is None else min(session, lot.end)
            change = realized = price_effect = currency_effect = None
            value = marks.value(lot, session) if holds else None
            # of a baseline for its rates alone (C7)
            earned = marks.earned(lot, session) if holds else ZERO
            if previous is not None:
                earned -= marks.earned(lot, previous) if held else ZERO
                realized = marks.realized(lot) if ended else ZERO
            if marks.lacking:
                realized = value = None
            elif previous is not None and realized is not None:
                change = earned
                # the realized amount of an event is in the portfolio's currency, and has no other
                # part
                price_effect = change + realized
                if lot.realized is None or not ended:
                    price_effect = marks.price_effect(lot, previous, session)
                currency_effect = change + realized - price_effect
            before = marks.of(lot, present(previous)) if held and not lot.private else None
            after = marks.of(lot, session) if holds and not lot.private else None
            found.append(
                Contribution(
                    position=lot.position,
                    symbol=lot.stored_symbol,
                    quantity=lot.quantity_at(lot.splits.of_close(basis)),
                    multiplier=lot.multiplier,
                    entry_price=lot.entry_price,
                    before=_on_basis(lot, before, basis, scales),
                    after=_on_basis(lot, after, basis, scales),
                    unrealized_change=change,
                    realized=realized,
                    value=value,
                    price_effect=price_effect,
                    currency_effect=currency_effect,
                )
            )
        return tuple(found)


def _on_basis(lot: _Lot, mark: Marked | None, day: int, scales: Scales) -> Marked | None:
    """Return a mark that is a close, on the basis of `day` (C5)."""
    if mark is None or mark.day is None:
        return mark
    bases = lot.splits.of_close(mark.day), lot.splits.of_close(day)
    return replace(mark, price=lot.splits.price(lot.symbol, mark.price, *bases, scales.close))


def _fx_missing(marks: _Marks, day: int) -> Issue | None:
    """Return the first rate by pair and date without which session `day` fails (C7)."""
    if not marks.lacking:
        return None
    pair, on = min(marks.lacking)
    return Issue("fx_missing", None, day, pair if on == day else f"{pair} on {iso(on)}")


def public_lots(
    portfolio: Portfolio,
    splits: Splits | None,
    scales: Scales = DEFAULT_SCALES,
    *,
    converts: bool = False,
) -> list[_Lot]:
    """Return the lots of a portfolio that are not PRIVATE (S3)."""
    with localcontext(EXACT):
        lots = _lots(portfolio, scales, [], splits or NO_SPLITS, converts=converts)
    return [lot for lot in lots if not lot.private]


def _refused(lots: Iterable[_Lot], prices: Market, sessions: Sequence[int]) -> list[Issue]:
    """Return the invalid closes of public lots on sessions on which they are held (S2)."""
    found: dict[str, dict[int, str]] = defaultdict(dict)
    for lot in lots:
        refused = {} if lot.private else prices.refused.get(lot.symbol, {})
        held = {day: refused[day] for day in sessions if day in refused and lot.held(day)}
        if held:
            found[lot.stored_symbol] |= held
    issues = []
    for symbol, by_day in found.items():
        first = min(by_day)
        more = f", the first of {len(by_day)} sessions" if len(by_day) > 1 else ""
        issues.append(Issue("close_refused", symbol, first, by_day[first] + more))
    return issues


def _options_split(
    lots: Iterable[_Lot], splits: Splits, previous: int, sessions: Sequence[int]
) -> list[Issue]:
    """Return the options held over a split, each on the session that first sees it (C4)."""
    found = set()
    for lot in lots:
        if lot.private or lot.multiplier == 1:
            continue
        for before, session in pairwise([previous, *sessions]):
            symbol = splits.of_option(lot.symbol)
            for day, quotient in splits.between(symbol, before, session):
                if lot.start < day and (lot.end is None or day <= lot.end):
                    found.add((lot.position, lot.stored_symbol, session, day, quotient))
    return [
        Issue("option_over_split", symbol, session, ratio(quotient))
        for _, symbol, session, _, quotient in sorted(found)
    ]


def issue_order(issue: Issue) -> tuple[str, bool, str, int, str]:
    """Return the key that the issues of a portfolio are sorted by."""
    day = -INFINITE_DAY if issue.day is None else issue.day
    return issue.name, issue.symbol is not None, issue.symbol or "", day, issue.detail


def _first(columns: Iterable[tuple[str, State]], wanted: State) -> str | None:
    """Return the first column of a state."""
    return next((name for name, state in columns if state == wanted), None)


def _worst(columns: Sequence[tuple[str, State]]) -> tuple[str, str] | None:
    """Return `non_finite` or `not_representable` and the column, or None."""
    for state in (State.NON_FINITE, State.NOT_REPRESENTABLE):
        column = _first(columns, state)
        if column is not None:
            return state.name.lower(), column
    return None


def _is_private(position: Position) -> bool:
    """Return whether a position is PRIVATE; a NULL class counts as public (S3)."""
    return normalised(position.investment_class or "") == "PRIVATE"


def _is_option(position: Position) -> bool:
    return position.position_type in OPTION_TYPES


def _fits(position: Position, quantity: Decimal, day: int, scales: Scales, own: Splits) -> bool:
    """Return whether splits leave a quantity stored on a day representable on every basis (C4)."""
    symbol, start = normalised(position.symbol or ""), present(position.entry_day)
    if symbol not in own.quotients:
        return True
    return own.fits(symbol, quantity, own.of_position(day), start, scales.quantity)


def _quantity_state(position: Position, scales: Scales, own: Splits) -> State:
    """Return the state of a quantity, on every basis of its splits (C4)."""
    state, day = decimal_state(position.quantity, scales.quantity), position.entry_day
    if state != State.VALUE or day is None or day_state(day) != State.VALUE:
        return state
    fits = _fits(position, present(position.quantity), day, scales, own)
    return State.VALUE if fits else State.NOT_REPRESENTABLE


def _position_fault(
    position: Position, scales: Scales, own: Splits, *, converts: bool
) -> tuple[str, str] | None:
    """Return issue and column by which a whole position is left out, or None (S3)."""
    symbol = ("symbol", text_state(position.symbol))
    kind = ("position_type", text_state(position.position_type))
    quantity = ("quantity", _quantity_state(position, scales, own))
    entry_date = ("entry_date", day_state(position.entry_day))
    missing = _first((symbol, kind, quantity, entry_date), State.NULL)
    if missing is not None:
        return "missing_value", missing
    if position.position_type not in POSITION_TYPES:
        return "unknown_position_type", "position_type"
    entry_price = ("entry_price", decimal_state(position.entry_price, scales.price))
    read = [symbol, quantity, entry_price, entry_date]
    if position.exit_day is not None:
        read.append(("exit_price", decimal_state(position.exit_price, scales.price)))
        read.append(("exit_date", day_state(position.exit_day)))
    if _is_option(position):
        read.append(("expiration_date", day_state(position.expiration_day)))
    if _is_private(position):
        read.append(("market_value", decimal_state(position.market_value, scales.money)))
    read.append(("investment_class", text_state(position.investment_class)))
    if converts:
        read.append(("currency", text_state(position.currency)))
    unreadable = _worst(read)
    if unreadable is not None:
        return unreadable
    if position.entry_price is None or position.entry_price < 0:
        return "missing_entry_price", "entry_price"
    if normalised(position.symbol or "") == "" and not _is_private(position):
        return "blank_symbol", "symbol"
    return None


def _event_fault(event: Event, position: Position, scales: Scales, own: Splits) -> str | None:
    """Return the column that makes a `bad_event`, or None (S3)."""
    if day_state(event.day) != State.VALUE:
        return "trade_date"
    if decimal_state(event.quantity, scales.quantity) != State.VALUE:
        return "quantity_closed"
    quantity, day = present(event.quantity), max(present(event.day), present(position.entry_day))
    if quantity <= 0 or not _fits(position, quantity, day, scales, own):
        return "quantity_closed"
    return None if decimal_state(event.realized, scales.money) == State.VALUE else "realized_pnl"


def _lots(
    portfolio: Portfolio, scales: Scales, issues: list[Issue], splits: Splits, *, converts: bool
) -> list[_Lot]:
    """Return the lots of all positions, and add issues to `issues` (S3).

    If it `converts`, lots in a currency other than the portfolio's are foreign (C6).
    """
    home, lots = currency(portfolio.currency), list[_Lot]()
    for row, position in enumerate(portfolio.positions):
        if position.deleted:
            continue
        is_private, is_option = _is_private(position), _is_option(position)
        own = NO_SPLITS if is_private or is_option else splits  # these are not adjusted (C4)
        fault = _position_fault(position, scales, own, converts=converts)
        if fault is not None:
            name, column = fault
            symbol = None if position.symbol is None else shown(position.symbol)
            issues.append(Issue(name, symbol, None, column))
            continue
        if _has_wrong_sign(position):
            issues.append(Issue("sign_mismatch", position.symbol, None, "quantity"))
        symbol, start = present(position.symbol), present(position.entry_day)
        foreign = currency(position.currency) if converts else home
        lot = _Lot(
            position=row,
            stored_symbol=symbol,
            symbol=normalised(symbol),
            private=is_private,
            quantity=present(position.quantity),
            multiplier=OPTION_MULTIPLIER if is_option else 1,
            entry_price=present(position.entry_price),
            start=start,
            basis=own.of_position(start),
            splits=own,
            foreign=None if foreign == home else foreign,
        )
        closed = _event_lots(position, lot, scales, issues)
        lots += [*closed, *_lots_left(position, lot, closed, scales, issues)]
    return lots


def _has_wrong_sign(position: Position) -> bool:
    """Return whether it is a LONG below 0 or a SHORT above 0 (S3)."""
    quantity = present(position.quantity)
    if position.position_type == "LONG":
        return quantity < 0
    return position.position_type == "SHORT" and quantity > 0


def _sign(position: Position) -> int:
    """Return the sign of the lots: that of the quantity, or of the type where it is 0 (S3)."""
    quantity = present(position.quantity)
    if quantity == 0:
        return -1 if position.position_type in SHORT_TYPES else 1
    return -1 if quantity < 0 else 1


def _event_lots(position: Position, lot: _Lot, scales: Scales, issues: list[Issue]) -> list[_Lot]:
    """Return one lot for each sound event of a position (S3)."""
    lots: list[_Lot] = []
    for event in position.events:
        bad = _event_fault(event, position, scales, lot.splits)
        if bad is not None:
            issues.append(Issue("bad_event", position.symbol, None, bad))
            continue
        day, quantity = present(event.day), _sign(position) * present(event.quantity)
        if day < lot.start:
            issues.append(Issue("end_before_start", position.symbol, None, "trade_date"))
            continue
        basis = lot.splits.of_position(day)
        lots.append(replace(lot, quantity=quantity, basis=basis, end=day, realized=event.realized))
    return lots


def _lots_left(
    position: Position, lot: _Lot, events: Iterable[_Lot], scales: Scales, issues: list[Issue]
) -> list[_Lot]:
    """Return the lot that remains of a position after its events, if any (S3)."""
    if lot.quantity == 0:
        return []
    if lot.private:
        lot = replace(lot, market_value=position.market_value or None)
    if position.exit_day is not None:
        end, column = position.exit_day, "exit_date"
        closed = sum((abs(e.quantity) for e in events if e.end == end), ZERO)
        quantity = lot.quantity_at(lot.splits.of_position(max(end, lot.start)))
        if ZERO < closed >= rounded(abs(quantity), scales.quantity):
            issues.append(Issue("closed_twice", position.symbol, None, column))
            return []
        lot = replace(lot, end=end, exit_price=_counting_exit_price(position))
    elif _is_option(position) and position.expiration_day is not None:
        end, column = position.expiration_day, "expiration_date"
        lot = replace(lot, end=end, expires=True)
    else:
        return [lot]
    if end < lot.start:
        issues.append(Issue("end_before_start", position.symbol, None, column))
        return []
    return [lot]


def _counting_exit_price(position: Position) -> Decimal | None:
    """Return the exit price if it counts: above 0, or 0 for a public option (S3)."""
    price = position.exit_price
    if price is None:
        return None
    if price > 0 or (price == 0 and _is_option(position) and not _is_private(position)):
        return price
    return None


def _flows(flows: Iterable[Flow], scales: Scales, issues: list[Issue]) -> list[tuple[int, Decimal]]:
    """Return day and signed amount of each sound flow (S3, S7)."""
    signed: list[tuple[int, Decimal]] = []
    for flow in flows:
        if flow.change_type not in FLOW_SIGNS:
            issues.append(Issue("bad_flow", None, None, "change_type"))
        elif decimal_state(flow.amount, scales.money) != State.VALUE:
            issues.append(Issue("bad_flow", None, None, "amount"))
        elif day_state(flow.day) != State.VALUE:
            issues.append(Issue("bad_flow", None, None, "change_date"))
        else:
            amount = FLOW_SIGNS[flow.change_type] * present(flow.amount)
            signed.append((present(flow.day), amount))
    return signed


def _flow_between(flows: Iterable[tuple[int, Decimal]], first: int, last: int) -> Decimal:
    """Return the sum of the flows dated in ``[first, last]``, in cents (S7)."""
    return r2(sum((amount for day, amount in flows if first <= day <= last), ZERO))


def _start(
    portfolio: Portfolio,
    flows: Iterable[tuple[int, Decimal]],
    first: int,
    scales: Scales,
    issues: list[Issue],
) -> Snapshot | None:
    """Return the row from which session `first` continues; None if the portfolio fails (S5).

    It is the row of `s`; for a baseline a row of its own day with the opening equity.
    """

    def readable(**columns: Decimal | None) -> bool:
        unreadable = _worst([(n, cents_state(v, scales.money)) for n, v in columns.items()])
        if unreadable is not None:
            name, column = unreadable
            issues.append(Issue(name, None, first, column))
        return unreadable is None

    before = [snapshot for snapshot in portfolio.snapshots if snapshot.day < first]
    if before:
        previous = max(before, key=lambda snapshot: snapshot.day)
        if not readable(
            equity_balance=previous.equity,
            cumulative_pnl=previous.cumulative_pnl,
            cumulative_realized_pnl=previous.cumulative_realized_pnl,
            cumulative_capital_flow=previous.cumulative_capital_flow,
        ):
            return None
        return previous
    if portfolio.snapshots:
        earliest = min(portfolio.snapshots, key=lambda snapshot: snapshot.day)
        if not readable(
            equity_balance=earliest.equity,
            daily_pnl=earliest.daily_pnl,
            daily_capital_flow=earliest.daily_capital_flow,
        ):
            return None
        opening = present(earliest.equity) - or_zero(earliest.daily_pnl)
        opening -= or_zero(earliest.daily_capital_flow)
        return Snapshot(first, opening - _flow_between(flows, first, earliest.day - 1))
    if not readable(equity_balance=portfolio.opening_equity):
        return None
    return Snapshot(first, or_zero(portfolio.opening_equity))


def _unrealized(lots: Iterable[_Lot], day: int, marks: _Marks) -> Decimal:
    """Return ``U(day)``, the amount that the public lots held have earned since entry (S6)."""
    return sum((marks.earned(lot, day) for lot in lots if lot.held(day)), ZERO)


def _closing_issue(lot: _Lot, day: int) -> Issue | None:
    """Return the issues of the end of a lot that counts on session `day` (S3)."""
    if lot.expires:
        return Issue("expired", lot.stored_symbol, day, "expiration_date")
    if lot.realized is None and lot.exit_price is None:
        return Issue("exit_unpriced", lot.stored_symbol, day, "exit_price")
    return None


def _row(
    previous: Snapshot,
    day: int,
    lots: Sequence[_Lot],
    flows: Sequence[tuple[int, Decimal]],
    marks: _Marks,
    *,
    issues: list[Issue],
) -> Row:
    """Return the row of session `day` (S5 to S9), with its return checked by S10."""
    equity, unrealized = present(previous.equity), r2(_unrealized(lots, day, marks))
    if previous.day == day:  # the baseline
        daily_pnl = realized = r2(ZERO)
        flow = _flow_between(flows, day, day)
        daily_return: Decimal | None = r6(ZERO, Decimal(1))
    else:
        closed = [lot for lot in lots if lot.closed(previous.day, day)]
        issues += filter(None, (_closing_issue(lot, day) for lot in closed))
        realized = r2(sum((marks.realized(lot) for lot in closed), ZERO))
        before = r2(_unrealized(lots, previous.day, marks))
        daily_pnl = unrealized - before + realized
        flow = _flow_between(flows, previous.day + 1, day)
        has_base = equity > 0
        daily_return = r6(daily_pnl, equity) if has_base else r6(ZERO, Decimal(1))
        if abs(daily_return) >= RETURN_LIMIT:
            issues.append(Issue("return_out_of_range", None, day, f"{daily_return:f}"))
            daily_return = None
    equity += daily_pnl + flow

    held = [lot for lot in lots if lot.held(day)]
    values = [marks.value(lot, day) for lot in held]
    statuses = [marks.of(lot, day).status for lot in held if not lot.private]
    long_value = r2(sum((value for value in values if value > 0), ZERO))
    short_value = r2(sum((value for value in values if value < 0), ZERO))
    net = long_value + short_value
    return Row(
        day=day,
        equity_balance=r2(equity),
        total_value=r2(equity),
        daily_pnl=r2(daily_pnl),
        daily_realized_pnl=realized,
        daily_capital_flow=r2(flow),
        daily_return=daily_return,
        cumulative_pnl=r2(or_zero(previous.cumulative_pnl) + daily_pnl),
        cumulative_realized_pnl=r2(or_zero(previous.cumulative_realized_pnl) + realized),
        cumulative_capital_flow=r2(or_zero(previous.cumulative_capital_flow) + flow),
        unrealized_pnl=unrealized,
        long_value=long_value,
        short_value=short_value,
        gross_exposure=r2(long_value - short_value),
        net_exposure=r2(net),
        cash_value=r2(equity - net),
        num_positions=len(held),
        num_long_positions=sum(lot.quantity > 0 for lot in held),
        num_short_positions=sum(lot.quantity < 0 for lot in held),
        marks=tuple(statuses.count(one) for one in Mark),
    )


def _out_of_range(row: Row) -> Issue | None:
    """Return the issue of the first column that does not fit, or None (S10)."""
    for column in MONEY_COLUMNS:
        value: Decimal = getattr(row, column)
        if abs(value) >= MONEY_LIMIT:
            return Issue("out_of_range", None, row.day, f"{column} = {value:f}")
    return None


def coverage(
    prices: Market,
    symbols: Iterable[str | None],
    sessions: Iterable[int],
    lookback_days: int = 10,
    *,
    daily: bool = False,
) -> dict[int, Fraction]:
    """Return the coverage of each session, 0 to 1 (S12).

    It is the number of symbols with a valid close on the session, divided by those with one on it
    or in the `lookback_days` days before; without either, 0 if any of them had one earlier, else 1.
    The symbols are those of the run's positions that are not soft-deleted, as stored, PRIVATE ones
    too. Under the calendar `daily` a session without a valid close of any symbol in the price table
    is not checked, and not in the result.
    """
    wanted = {normalised(symbol) for symbol in symbols if symbol is not None}
    priced = {day for days in prices.days.values() for day in days}
    ever = min(priced, default=0)
    result: dict[int, Fraction] = {}
    for day in sessions:
        if daily and day not in priced:
            continue
        on_it, known, earlier = (
            sum(prices.latest(symbol, first, day) is not None for symbol in wanted)
            for first in (day, day - lookback_days, ever)
        )
        result[day] = Fraction(on_it, known) if known else Fraction(not earlier)
    return result


@dataclass(frozen=True, slots=True)
class Span:
    """The effect of a run on the rows of one portfolio."""

    sessions: tuple[int, ...] = ()  # sessions written, ascending
    previous: int | None = None  # `s` of the first; None if that is the baseline, or without any
    in_place: tuple[int, ...] = ()  # those of `sessions` with a row already, which is replaced
    gaps: tuple[int, ...] = ()  # of the range, skipped, without a complete snapshot
    off_session: tuple[int, ...] = ()  # dates of rows that are not sessions
    exists: int | None = None  # under `error` the first of the range with a complete snapshot


def span(
    rows: Collection[Snapshot],
    calendar: Iterable[int],
    start: int,
    end: int,
    on_existing: Literal["skip", "replace", "error"] = "skip",
) -> Span:
    """Return the effect of a run over ``[start, end]`` on the rows of one portfolio (S13, S5).

    Rows off session are reported from `start` to `end` or the last session written, whichever is
    later. `calendar` has the sessions from the first row to `end` or the last row at least.
    """
    days = sorted(set(calendar))
    in_range = [day for day in days if start <= day <= end]
    complete = {
        row.day
        for row in rows
        if row.day in days and row.is_complete and row.equity is not None and row.equity.is_finite()
    }
    latest = max(complete, default=None)
    gaps: list[int] = []
    exists = None
    if on_existing == "skip" and latest is not None:
        sessions = [day for day in in_range if day > latest]
        gaps = [day for day in in_range if day <= latest and day not in complete]
    elif on_existing == "replace" and latest is not None and in_range:
        sessions = [day for day in days if in_range[0] <= day <= max(end, latest)]
    else:
        sessions = in_range
    if on_existing == "error":
        exists = min((day for day in in_range if day in complete), default=None)
        sessions = in_range if exists is None else []
    last, stored = max([end, *sessions]), sorted(row.day for row in rows)
    return Span(
        sessions=tuple(sessions),
        previous=max((day for day in complete if sessions and day < sessions[0]), default=None),
        in_place=tuple(day for day in sessions if day in stored),
        gaps=tuple(gaps),
        off_session=tuple(day for day in stored if start <= day <= last and day not in days),
        exists=exists,
    )
