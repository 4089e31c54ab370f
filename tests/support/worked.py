"""Cases worked out by hand for what the vectors lack: `CASES`, `COVERAGE` and `SPANS`.

Unless a case says otherwise: sessions are 5, 6 and 7 January 2026, Monday to Wednesday; AAA closes
at 10, 11 and 12 on them, OPT at 1 and 1.50 on the first two; positions are 1 AAA bought at 10 on
the 5th; the opening equity is 1000.
"""

from __future__ import annotations

from dataclasses import dataclass
from decimal import Decimal
from fractions import Fraction
from typing import TYPE_CHECKING, Any, Literal

from batchcore import reference as ref
from support.cases import Case, Expected, Price, day

if TYPE_CHECKING:
    from collections.abc import Iterable

NAN = Decimal("NaN")
INFINITY = Decimal("Infinity")
NONE = (0, 0, 0, 0)
FRESH = (1, 0, 0, 0)
LOOKBACK = (0, 1, 0, 0)
STALE = (0, 0, 1, 0)
UNPRICED = (0, 0, 0, 1)


def jan(number: int) -> int:
    """Return a day of January 2026; the 5th is a Monday."""
    return day("2026-01-01") + number - 1


def price(symbol: str, on: int, close: str) -> Price:
    return symbol, jan(on), Decimal(close)


PRICES = (
    price("AAA", 5, "10"),
    price("AAA", 6, "11"),
    price("AAA", 7, "12"),
    price("OPT", 5, "1"),
    price("OPT", 6, "1.50"),
)


def position(**columns: Any) -> ref.Position:
    """Return 1 AAA at 10 from the 5th, with other `columns`; dates as days of January."""
    values: dict[str, Any] = {
        "symbol": "AAA",
        "position_type": "LONG",
        "quantity": "1",
        "entry_price": "10",
        "entry_day": 5,
    }
    values |= columns
    for name in ("quantity", "entry_price", "exit_price", "market_value"):
        if isinstance(values.get(name), str):
            values[name] = Decimal(values[name])
    for name in ("entry_day", "exit_day", "expiration_day"):
        number = values.get(name)
        if number is not None and number != ref.INFINITE_DAY:
            values[name] = jan(number)
    return ref.Position(**values)


def event(on: int, quantity: str, realized: str) -> ref.Event:
    return ref.Event(jan(on), Decimal(quantity), Decimal(realized))


def contribution(on: int, amount: str) -> ref.Flow:
    return ref.Flow(jan(on), Decimal(amount), "CONTRIBUTION")


def withdrawal(on: int, amount: str) -> ref.Flow:
    return ref.Flow(jan(on), Decimal(amount), "WITHDRAWAL")


def portfolio(
    *positions: ref.Position,
    opening: str | Decimal | None = "1000",
    flows: tuple[ref.Flow, ...] = (),
    snapshots: tuple[ref.Snapshot, ...] = (),
    name: str = "p",
) -> ref.Portfolio:
    equity = None if opening is None else Decimal(opening)
    return ref.Portfolio(name, equity, positions, flows, snapshots)


def row(
    on: int,
    equity: str,
    pnl: str = "0",
    *,
    realized: str = "0",
    flow: str = "0",
    returned: str | None = "0",
    total: tuple[str, str, str] = ("0", "0", "0"),
    unrealized: str = "0",
    long: str = "0",
    short: str = "0",
    held: tuple[int, int] = (0, 0),
    marks: tuple[int, int, int, int] = NONE,
) -> ref.Row:
    """Return a row; gross, net and cash follow from `equity`, `long` and `short` (S9).

    Args:
        on: Day of January.
        equity: `equity_balance`.
        pnl: `daily_pnl`.
        realized: `daily_realized_pnl`.
        flow: `daily_capital_flow`.
        returned: `daily_return`.
        total: `cumulative_pnl`, `cumulative_realized_pnl`, `cumulative_capital_flow`.
        unrealized: `unrealized_pnl`.
        long: `long_value`.
        short: `short_value`.
        held: Number of long and of short positions.
        marks: By status.
    """
    cent = Decimal("0.00")
    return ref.Row(
        day=jan(on),
        equity_balance=cent + Decimal(equity),
        daily_pnl=cent + Decimal(pnl),
        daily_realized_pnl=cent + Decimal(realized),
        daily_capital_flow=cent + Decimal(flow),
        daily_return=None if returned is None else Decimal("0.000000") + Decimal(returned),
        cumulative_pnl=cent + Decimal(total[0]),
        cumulative_realized_pnl=cent + Decimal(total[1]),
        cumulative_capital_flow=cent + Decimal(total[2]),
        unrealized_pnl=cent + Decimal(unrealized),
        long_value=cent + Decimal(long),
        short_value=cent + Decimal(short),
        gross_exposure=cent + Decimal(long) - Decimal(short),
        net_exposure=cent + Decimal(long) + Decimal(short),
        cash_value=cent + Decimal(equity) - Decimal(long) - Decimal(short),
        num_positions=sum(held),
        num_long_positions=held[0],
        num_short_positions=held[1],
        marks=marks,
    )


def issue(name: str, detail: str, symbol: str | None = "AAA", on: int | None = None) -> ref.Issue:
    return ref.Issue(name, symbol, None if on is None else jan(on), detail)


def idle(equity: str, *days: int) -> tuple[ref.Row, ...]:
    """Return the rows of a portfolio in which nothing happens."""
    return tuple(row(on, equity) for on in days)


def case(
    name: str,
    note: str,
    inputs: ref.Portfolio | tuple[ref.Portfolio, ...],
    expected: Expected | tuple[Expected, ...],
    *,
    prices: tuple[Price, ...] = PRICES,
    sessions: tuple[int, ...] = (5, 6, 7),
    market_issues: tuple[ref.Issue, ...] = (),
    lookback_days: int = 10,
    scales: ref.Scales = ref.DEFAULT_SCALES,
) -> Case:
    return Case(
        name=name,
        note=note,
        prices=prices,
        portfolios=inputs if isinstance(inputs, tuple) else (inputs,),
        sessions=tuple(jan(on) for on in sessions),
        expected=expected if isinstance(expected, tuple) else (expected,),
        market_issues=market_issues,
        lookback_days=lookback_days,
        scales=scales,
    )


# 1 AAA at 10, opening 1000: 10, 11, 12. 1/1000 = 0.001; 1/1001 = 0.000999...
ONE_AAA = (
    row(5, "1000", long="10", held=(1, 0), marks=FRESH),
    row(
        6,
        "1001",
        "1",
        returned="0.001",
        total=("1", "0", "0"),
        unrealized="1",
        long="11",
        held=(1, 0),
        marks=FRESH,
    ),
    row(
        7,
        "1002",
        "1",
        returned="0.000999",
        total=("2", "0", "0"),
        unrealized="2",
        long="12",
        held=(1, 0),
        marks=FRESH,
    ),
)

TOO_MANY = Decimal("1.00001")
TOO_LARGE = Decimal("922337203685477.5808")  # 2^63 units of 0.0001
BAD = (event(6, "0", "1"),)


def left_out(name: str, why: str, detail: str, symbol: str | None = "AAA", **columns: Any) -> Case:
    """Return a case in which a position is left out and 1 AAA beside it goes on."""
    note = "S3: left out, the rest goes on: 1 AAA at 10, 11, 12"
    faulty = position(symbol=symbol, **columns)
    expected = Expected(ONE_AAA, (issue(why, detail, symbol),))
    return case(name, note, portfolio(faulty, position()), expected)


QUARANTINE = [
    left_out("symbol NULL", "missing_value", "symbol", None),
    left_out("symbol NULL, private", "missing_value", "symbol", None, investment_class="PRIVATE"),
    left_out("position type NULL", "missing_value", "position_type", position_type=None),
    left_out("quantity NULL", "missing_value", "quantity", quantity=None),
    left_out("entry date NULL", "missing_value", "entry_date", entry_day=None),
    left_out("unknown type", "unknown_position_type", "position_type", position_type="FUT"),
    left_out("lower-case type", "unknown_position_type", "position_type", position_type="long"),
    left_out("quantity NaN", "non_finite", "quantity", quantity=NAN),
    left_out("entry price infinite", "non_finite", "entry_price", entry_price=INFINITY),
    left_out("entry price NaN", "non_finite", "entry_price", entry_price=NAN),
    left_out("entry date infinite", "non_finite", "entry_date", entry_day=ref.INFINITE_DAY),
    left_out("exit date infinite", "non_finite", "exit_date", exit_day=ref.INFINITE_DAY),
    left_out("exit price NaN", "non_finite", "exit_price", exit_price=NAN, exit_day=6),
    left_out(
        "expiration date infinite",
        "non_finite",
        "expiration_date",
        position_type="LC",
        expiration_day=ref.INFINITE_DAY,
        exit_day=6,
    ),
    left_out(
        "market value of a private holding NaN",
        "non_finite",
        "market_value",
        investment_class="PRIVATE",
        market_value=NAN,
    ),
    left_out("five decimals", "not_representable", "quantity", quantity=TOO_MANY),
    left_out("quantity too large", "not_representable", "quantity", quantity=TOO_LARGE),
    left_out("entry price too fine", "not_representable", "entry_price", entry_price=TOO_MANY),
    left_out(
        "exit price too large",
        "not_representable",
        "exit_price",
        exit_day=6,
        exit_price=TOO_LARGE,
    ),
    left_out(
        "market value in tenths of cents",
        "not_representable",
        "market_value",
        investment_class="PRIVATE",
        market_value="1.001",
    ),
    left_out("entry price NULL", "missing_entry_price", "entry_price", entry_price=None),
    left_out("entry price negative", "missing_entry_price", "entry_price", entry_price="-0.01"),
    left_out("blank symbol", "blank_symbol", "symbol", "  "),
    left_out(
        "unknown type before NaN",
        "unknown_position_type",
        "position_type",
        position_type="",
        quantity=NAN,
    ),
    left_out(
        "NULL before unknown type",
        "missing_value",
        "entry_date",
        position_type="",
        entry_day=None,
    ),
    left_out(
        "NaN before too fine",
        "non_finite",
        "exit_price",
        quantity=TOO_MANY,
        exit_day=6,
        exit_price=NAN,
        events=BAD,
    ),
    left_out(
        "too fine before a missing entry price",
        "not_representable",
        "quantity",
        quantity=TOO_MANY,
        entry_price=None,
    ),
    left_out(
        "missing entry price before blank symbol",
        "missing_entry_price",
        "entry_price",
        "",
        entry_price=None,
    ),
    left_out("exit before entry", "end_before_start", "exit_date", exit_day=4),
    left_out(
        "expiry before entry",
        "end_before_start",
        "expiration_date",
        position_type="SP",
        quantity="-1",
        expiration_day=4,
    ),
    left_out(
        "event before entry",
        "end_before_start",
        "trade_date",
        quantity="0",
        events=(event(4, "1", "5"),),
    ),
]

EVERY_BAD_EVENT = (
    (ref.Event(None, Decimal(1), Decimal(1)), "trade_date"),
    (ref.Event(ref.INFINITE_DAY, Decimal(1), NAN), "trade_date"),
    (ref.Event(jan(6), None, Decimal(1)), "quantity_closed"),
    (ref.Event(jan(6), INFINITY, Decimal(1)), "quantity_closed"),
    (ref.Event(jan(6), TOO_MANY, Decimal(1)), "quantity_closed"),
    (ref.Event(jan(6), Decimal(0), None), "quantity_closed"),
    (ref.Event(jan(6), Decimal(-1), Decimal(1)), "quantity_closed"),
    (ref.Event(jan(6), Decimal(1), None), "realized_pnl"),
    (ref.Event(jan(6), Decimal(1), NAN), "realized_pnl"),
    (ref.Event(jan(6), Decimal(1), Decimal("0.001")), "realized_pnl"),
)

EVERY_BAD_FLOW = (
    (ref.Flow(jan(6), Decimal(5), "DIVIDEND"), "change_type"),
    (ref.Flow(jan(6), NAN, None), "change_type"),
    (ref.Flow(None, None, "CONTRIBUTION"), "amount"),
    (ref.Flow(jan(6), INFINITY, "CONTRIBUTION"), "amount"),
    (ref.Flow(jan(6), Decimal("0.001"), "WITHDRAWAL"), "amount"),
    (ref.Flow(None, Decimal(5), "CONTRIBUTION"), "change_date"),
    (ref.Flow(ref.INFINITE_DAY, Decimal(5), "WITHDRAWAL"), "change_date"),
)

ODDITIES = [
    case(
        "every bad event",
        "S3: only those lots are left out; the position's 1 AAA is held: 10, 11, 12",
        portfolio(position(events=tuple(bad for bad, _ in EVERY_BAD_EVENT))),
        Expected(ONE_AAA, tuple(issue("bad_event", column) for _, column in EVERY_BAD_EVENT)),
    ),
    case(
        "every bad flow",
        "S3, S7: left out; 20 - 3 - 7 = 10 on the 6th counts. 1/1000; 1/1011 = 0.000989...",
        portfolio(
            position(),
            flows=(
                *(bad for bad, _ in EVERY_BAD_FLOW),
                contribution(6, "20"),
                contribution(6, "-3"),
                withdrawal(6, "7"),
            ),
        ),
        Expected(
            (
                ONE_AAA[0],
                row(
                    6,
                    "1011",
                    "1",
                    flow="10",
                    returned="0.001",
                    total=("1", "0", "10"),
                    unrealized="1",
                    long="11",
                    held=(1, 0),
                    marks=FRESH,
                ),
                row(
                    7,
                    "1012",
                    "1",
                    returned="0.000989",
                    total=("2", "0", "10"),
                    unrealized="2",
                    long="12",
                    held=(1, 0),
                    marks=FRESH,
                ),
            ),
            tuple(issue("bad_flow", column, None) for _, column in EVERY_BAD_FLOW),
        ),
    ),
    case(
        "values that no rule reads",
        "S3: NaN and infinite dates there leave nothing out: 1 AAA at 10, 11, 12",
        portfolio(
            position(
                exit_price=NAN,
                expiration_day=ref.INFINITE_DAY,
                market_value=NAN,
                investment_class=" public",
            )
        ),
        Expected(ONE_AAA),
    ),
    case(
        "trailing zeros and exponents",
        "S3: decimals count by value: 1.0000000 at 1E+1 is 1 at 10",
        portfolio(position(quantity="1.0000000", entry_price="1E+1"), opening="1000.000"),
        Expected(ONE_AAA),
    ),
    case(
        "soft-deleted and wrong",
        "S3: a soft-deleted position is not there, and has no issues",
        portfolio(position(), position(quantity=NAN, deleted=True, events=BAD)),
        Expected(ONE_AAA),
    ),
    case(
        "short above 0",
        "S3: sign_mismatch, used as it is: a gain of 1 a day",
        portfolio(position(position_type="SHORT")),
        Expected(ONE_AAA, (issue("sign_mismatch", "quantity"),)),
    ),
    case(
        "long call below 0",
        "S3: no sign_mismatch for options, m = 100: (1.50 - 1) * -1 * 100 = -50, 50/1000 = 0.05;"
        " 7th: mark 1.50 of the 6th",
        portfolio(position(symbol="OPT", position_type="LC", quantity="-1", entry_price="1")),
        Expected(
            (
                row(5, "1000", short="-100", held=(0, 1), marks=FRESH),
                row(
                    6,
                    "950",
                    "-50",
                    returned="-0.05",
                    total=("-50", "0", "0"),
                    unrealized="-50",
                    short="-150",
                    held=(0, 1),
                    marks=FRESH,
                ),
                row(
                    7,
                    "950",
                    total=("-50", "0", "0"),
                    unrealized="-50",
                    short="-150",
                    held=(0, 1),
                    marks=LOOKBACK,
                ),
            )
        ),
    ),
    case(
        "quantity 0 of an option written, closed by an event",
        "S3: no sign_mismatch at 0; SP is short: -2 OPT at 1 on the 5th = -200; +30 on the 6th,"
        " 30/1000 = 0.03",
        portfolio(
            position(
                symbol="OPT",
                position_type="SP",
                quantity="0",
                entry_price="1",
                events=(event(6, "2", "30"),),
            )
        ),
        Expected(
            (
                row(5, "1000", short="-200", held=(0, 1), marks=FRESH),
                row(6, "1030", "30", realized="30", returned="0.03", total=("30", "30", "0")),
                row(7, "1030", total=("30", "30", "0")),
            )
        ),
    ),
    case(
        "bad closes",
        "S2, S3: NaN, infinite, too fine, NULL, too large or dated never: as if not there",
        portfolio(position(symbol="ZZZ")),
        Expected(
            (
                row(5, "1000", long="10", held=(1, 0), marks=FRESH),
                *(
                    row(on, "1000", long="10", held=(1, 0), marks=LOOKBACK)
                    for on in (6, 7, 8, 9, 12)
                ),
            ),
            (
                issue(
                    "close_refused",
                    "not_representable, the first of 2 sessions",
                    "ZZZ",
                    on=8,
                ),
            ),
        ),
        prices=(
            price("ZZZ", 5, "10"),
            price("ZZZ", 6, "NaN"),
            price("ZZZ", 7, "Infinity"),
            price("ZZZ", 8, "10.00001"),
            ("ZZZ", jan(9), None),
            ("ZZZ", jan(12), TOO_LARGE),
            ("ZZZ", ref.INFINITE_DAY, Decimal(11)),
            ("ZZZ", None, Decimal(11)),
        ),
        sessions=(5, 6, 7, 8, 9, 12),
    ),
    case(
        "closes that are not above 0",
        "S2: the mark stays 10, and the two closes on which the first lot is held are told; not of"
        " the lot that ends on the 6th, nor of the PRIVATE one, nor that of the 8th.",
        portfolio(
            position(symbol="OIL", exit_day=8, exit_price="10"),
            position(symbol="oil", exit_day=6, exit_price="10"),
            position(symbol="OIL", investment_class="PRIVATE"),
        ),
        Expected(
            (
                row(5, "1000", long="30", held=(3, 0), marks=(2, 0, 0, 0)),
                row(6, "1000", long="20", held=(2, 0), marks=LOOKBACK),
                row(7, "1000", long="20", held=(2, 0), marks=LOOKBACK),
                row(8, "1000", long="10", held=(1, 0)),
            ),
            (issue("close_refused", "-37.63, the first of 2 sessions", "OIL", on=6),),
        ),
        prices=(
            price("OIL", 5, "10"),
            price("OIL", 6, "-37.63"),
            price("OIL", 7, "0"),
            price("OIL", 8, "-1"),
        ),
        sessions=(5, 6, 7, 8),
    ),
    case(
        "a symbol that never has a close above 0",
        "S2, S4: the entry price counts.",
        portfolio(position(symbol="OIL")),
        Expected(
            (
                row(5, "1000", long="10", held=(1, 0), marks=UNPRICED),
                row(6, "1000", long="10", held=(1, 0), marks=UNPRICED),
            ),
            (issue("close_refused", "-1", "OIL", on=6),),
        ),
        prices=(price("OIL", 6, "-1"), price("OIL", 4, "0")),
        sessions=(5, 6),
    ),
    case(
        "texts of another encoding",
        "S3: a symbol or class that is no UTF-8 leaves its position out, by name; a type is none of"
        " the six.",
        portfolio(
            position(),
            position(symbol="AA\udcff"),
            position(symbol="BB", investment_class="PRIV\udce9"),
            position(symbol="CC", position_type="LONG\udcff"),
        ),
        Expected(
            ONE_AAA,
            (
                issue("not_representable", "symbol", "AA\\xff"),
                issue("not_representable", "investment_class", "BB"),
                issue("unknown_position_type", "position_type", "CC"),
            ),
        ),
    ),
    case(
        "duplicate symbols by case",
        "S2: of ` bbb` 6, `BBB` 4, `bbb` 5 on the 6th the last in byte order, 5; `bbb ` 8 on the"
        " 7th; a 0 on the 5th is no duplicate. 2/1000; 3/1002 = 0.002994...",
        portfolio(position(symbol=" Bbb", entry_price="3")),
        Expected(
            (
                row(5, "1000", long="3", held=(1, 0), marks=FRESH),
                row(
                    6,
                    "1002",
                    "2",
                    returned="0.002",
                    total=("2", "0", "0"),
                    unrealized="2",
                    long="5",
                    held=(1, 0),
                    marks=FRESH,
                ),
                row(
                    7,
                    "1005",
                    "3",
                    returned="0.002994",
                    total=("5", "0", "0"),
                    unrealized="5",
                    long="8",
                    held=(1, 0),
                    marks=FRESH,
                ),
            ),
            (issue("close_refused", "0", " Bbb", on=5),),
        ),
        prices=(
            price("bbb", 5, "0"),
            price("BBB", 5, "3"),
            price(" bbb", 6, "6"),
            price("bbb", 6, "5"),
            price("BBB", 6, "4"),
            price("bbb ", 7, "8"),
            price("BBB", 7, "7"),
        ),
        market_issues=(issue("duplicate_price", "2 dates; bbb counts on the first", "BBB", on=6),),
    ),
    case(
        "only ASCII blanks and letters",
        "S2: a tab is no blank, and É is not é in upper case: unpriced, 2 * 10 = 20",
        portfolio(position(symbol="\tAAA"), position(symbol="é")),
        Expected(
            tuple(row(on, "1000", long="20", held=(2, 0), marks=(0, 0, 0, 2)) for on in (5, 6, 7))
        ),
        prices=(*PRICES, price("É", 5, "3")),
    ),
    case(
        "ten and eleven days old",
        "S4: lookback at 10 days, stale at 11; both are used: (10 - 9) * 1 = 1 since the 5th",
        portfolio(position(symbol="ZZZ", entry_price="9")),
        Expected(
            tuple(
                row(on, "1000", unrealized="1", long="10", held=(1, 0), marks=marks)
                for on, marks in ((5, FRESH), (15, LOOKBACK), (16, STALE))
            )
        ),
        prices=(price("ZZZ", 5, "10"),),
        sessions=(5, 15, 16),
    ),
    case(
        "no lookback",
        "S4: with lookback_days 0 a close of the day before is stale",
        portfolio(position(symbol="ZZZ")),
        Expected(
            (
                row(5, "1000", long="10", held=(1, 0), marks=FRESH),
                row(6, "1000", long="10", held=(1, 0), marks=STALE),
            )
        ),
        prices=(price("ZZZ", 5, "10"),),
        sessions=(5, 6),
        lookback_days=0,
    ),
    case(
        "other scales",
        "S3: at scale 0 a quantity of 0.5 is not representable, 2 is: 2 * (11 - 10) = 2",
        portfolio(position(quantity="0.5"), position(quantity="2")),
        Expected(
            (
                row(5, "1000", long="20", held=(1, 0), marks=FRESH),
                row(
                    6,
                    "1002",
                    "2",
                    returned="0.002",
                    total=("2", "0", "0"),
                    unrealized="2",
                    long="22",
                    held=(1, 0),
                    marks=FRESH,
                ),
            ),
            (issue("not_representable", "quantity"),),
        ),
        sessions=(5, 6),
        scales=ref.Scales(quantity=0),
    ),
]

# 1 AAA at 10 closed on the 6th at the mark 11: 1 of P&L, 1/1000.
CLOSED_AT_11 = (
    ONE_AAA[0],
    row(6, "1001", "1", realized="1", returned="0.001", total=("1", "1", "0")),
    row(7, "1001", total=("1", "1", "0")),
)

CLOSINGS = [
    case(
        "exit at a negative price",
        "S3: exit_unpriced, the mark 11 counts: (11 - 10) * 1",
        portfolio(position(exit_day=6, exit_price="-1")),
        Expected(CLOSED_AT_11, (issue("exit_unpriced", "exit_price", on=6),)),
    ),
    case(
        "exit on a Saturday without a price",
        "S3, S6: the mark on the 10th is 12.50 of the 9th: R = 2.50 * 2 = 5 on Monday,"
        " U(9) = 5, so P&L 0 - 5 + 5 = 0",
        portfolio(position(quantity="2", entry_day=8, exit_day=10)),
        Expected(
            (
                row(9, "1000", unrealized="5", long="25", held=(1, 0), marks=FRESH),
                row(12, "1000", realized="5", total=("0", "5", "0")),
            ),
            (issue("exit_unpriced", "exit_price", on=12),),
        ),
        prices=(price("AAA", 9, "12.50"), price("AAA", 12, "13")),
        sessions=(9, 12),
    ),
    case(
        "closed on the baseline or before",
        "S5, S6: nothing is realized before there is an s, and nothing is reported",
        portfolio(
            position(entry_day=2, exit_day=5),
            position(entry_day=2, exit_day=4),
            position(symbol="OPT", position_type="LC", entry_day=2, expiration_day=5),
            position(quantity="0", entry_day=2, events=(event(5, "1", "7"),)),
        ),
        Expected(idle("1000", 5, 6, 7)),
    ),
    case(
        "bought and sold on one session",
        "S4, S6: start = end, never held, counts in R: (10.40 - 10) * 5 = 2; 2/1000",
        portfolio(position(quantity="5", entry_day=6, exit_day=6, exit_price="10.40")),
        Expected(
            (
                row(5, "1000"),
                row(6, "1002", "2", realized="2", returned="0.002", total=("2", "2", "0")),
                row(7, "1002", total=("2", "2", "0")),
            )
        ),
    ),
    case(
        "closed twice by two events",
        "S3: 10 + 20 >= 30: no lot for what is left. 5th: 30 * 10; 6th: 5 + 10 = 15, 15/1000",
        portfolio(
            position(
                quantity="30",
                exit_day=6,
                exit_price="10.50",
                events=(event(6, "10", "5"), event(6, "20", "10")),
            )
        ),
        Expected(
            (
                row(5, "1000", long="300", held=(2, 0), marks=(2, 0, 0, 0)),
                row(6, "1015", "15", realized="15", returned="0.015", total=("15", "15", "0")),
                row(7, "1015", total=("15", "15", "0")),
            ),
            (issue("closed_twice", "exit_date"),),
        ),
    ),
    case(
        "not quite closed by events",
        "S3: 10 + 19 < 30, that of the 7th does not count: -30 left, (9 - 10) * -30 = 30."
        " 5th: -(10 + 19 + 30 + 1) * 10 = -600. 6th: 5 + 9.50 + 30 = 44.50,"
        " U = (11 - 10) * -1 = -1, P&L 43.50, 43.50/1000. 7th: -(-1) + 0 - 2 = -1,"
        " -1/1043.50 = -0.000958...",
        portfolio(
            position(
                position_type="SHORT",
                quantity="-30",
                exit_day=6,
                exit_price="9",
                events=(event(6, "10", "5"), event(6, "19", "9.50"), event(7, "1", "-2")),
            )
        ),
        Expected(
            (
                row(5, "1000", short="-600", held=(0, 4), marks=(4, 0, 0, 0)),
                row(
                    6,
                    "1043.50",
                    "43.50",
                    realized="44.50",
                    returned="0.0435",
                    total=("43.50", "44.50", "0"),
                    unrealized="-1",
                    short="-11",
                    held=(0, 1),
                    marks=FRESH,
                ),
                row(
                    7,
                    "1042.50",
                    "-1",
                    realized="-2",
                    returned="-0.000958",
                    total=("42.50", "42.50", "0"),
                ),
            )
        ),
    ),
    case(
        "a bad event closes nothing",
        "S3: closed_twice counts events that made a lot: the exit at 11 stands, (11 - 10) * 1",
        portfolio(
            position(exit_day=6, exit_price="11", events=(ref.Event(jan(6), Decimal(1), NAN),))
        ),
        Expected(CLOSED_AT_11, (issue("bad_event", "realized_pnl"),)),
    ),
    case(
        "expired on a Saturday",
        "S3: closed at the mark on the 10th, 2 of the 9th: (2 - 1) * 1 * 100 = 100 = U(9)",
        portfolio(
            position(
                symbol="OPT",
                position_type="LC",
                entry_price="1",
                entry_day=8,
                expiration_day=10,
            )
        ),
        Expected(
            (
                row(9, "1000", unrealized="100", long="200", held=(1, 0), marks=FRESH),
                row(12, "1000", realized="100", total=("0", "100", "0")),
            ),
            (issue("expired", "expiration_date", "OPT", on=12),),
        ),
        prices=(price("OPT", 9, "2"), price("OPT", 12, "3")),
        sessions=(9, 12),
    ),
    case(
        "expired, never priced",
        "S3: closed at the entry price: realizes 0. 5th: 3 * -2 * 100 = -600",
        portfolio(
            position(
                symbol="ZZZ",
                position_type="SP",
                quantity="-2",
                entry_price="3",
                expiration_day=6,
            )
        ),
        Expected(
            (row(5, "1000", short="-600", held=(0, 1), marks=UNPRICED), *idle("1000", 6, 7)),
            (issue("expired", "expiration_date", "ZZZ", on=6),),
        ),
    ),
    case(
        "an event after the expiry",
        "S3: its lot is held to its own date. 5th: 2 * 100; 6th: expired, (1.50 - 1) * 100 = 50,"
        " U = 50, 100/1000; 7th: 80, U = 0, P&L 0 - 50 + 80 = 30, 30/1100 = 0.027272...",
        portfolio(
            position(
                symbol="OPT",
                position_type="LC",
                entry_price="1",
                expiration_day=6,
                events=(event(7, "1", "80"),),
            )
        ),
        Expected(
            (
                row(5, "1000", long="200", held=(2, 0), marks=(2, 0, 0, 0)),
                row(
                    6,
                    "1100",
                    "100",
                    realized="50",
                    returned="0.1",
                    total=("100", "50", "0"),
                    unrealized="50",
                    long="150",
                    held=(1, 0),
                    marks=FRESH,
                ),
                row(
                    7,
                    "1130",
                    "30",
                    realized="80",
                    returned="0.027273",
                    total=("130", "130", "0"),
                ),
            ),
            (issue("expired", "expiration_date", "OPT", on=6),),
        ),
    ),
]

PRIVATE = [
    case(
        "private option closed at 0",
        "S3: on a PRIVATE lot 0 is no price: realizes 0. 5th: 2.50 * 1 * 100 = 250",
        portfolio(
            position(
                symbol="OPT",
                position_type="LC",
                entry_price="2.50",
                exit_day=6,
                exit_price="0",
                investment_class="PRIVATE",
            )
        ),
        Expected(
            (row(5, "1000", long="250", held=(1, 0)), *idle("1000", 6, 7)),
            (issue("exit_unpriced", "exit_price", "OPT", on=6),),
        ),
    ),
    case(
        "private option expired",
        "S3: realizes 0, whatever closes its symbol has",
        portfolio(
            position(
                symbol="OPT",
                position_type="LP",
                entry_price="2.50",
                expiration_day=6,
                investment_class="Private ",
            )
        ),
        Expected(
            (row(5, "1000", long="250", held=(1, 0)), *idle("1000", 6, 7)),
            (issue("expired", "expiration_date", "OPT", on=6),),
        ),
    ),
    case(
        "private holding partly sold",
        "S9: market value for what is left, c * q for the event's lot: 500 + 100; +20, 20/1000",
        portfolio(
            position(
                quantity="3",
                entry_price="100",
                market_value="500",
                investment_class="PRIVATE",
                events=(event(6, "1", "20"),),
            )
        ),
        Expected(
            (
                row(5, "1000", long="600", held=(2, 0)),
                row(
                    6,
                    "1020",
                    "20",
                    realized="20",
                    returned="0.02",
                    total=("20", "20", "0"),
                    long="500",
                    held=(1, 0),
                ),
                row(7, "1020", total=("20", "20", "0"), long="500", held=(1, 0)),
            )
        ),
    ),
    case(
        "private market values of 0 and below",
        "S9: 0 is none: 50 * 2 = 100; -30 is short in value, long in count",
        portfolio(
            position(quantity="2", entry_price="50", market_value="0", investment_class="PRIVATE"),
            position(symbol=" ", market_value="-30", investment_class="PRIVATE"),
        ),
        Expected(tuple(row(on, "1000", long="100", short="-30", held=(2, 0)) for on in (5, 6, 7))),
    ),
]

# s = 2nd: 1 AAA at 9 from the 1st is unpriced there, U = 0; 10 on the 5th: 1; 1/500.
AFTER_THE_2ND = position(entry_price="9", entry_day=1)

STARTS = [
    case(
        "previous snapshot with NULL totals",
        "S5, S7, S8: NULL is 0; the flow dated s is in it, that of the 3rd counts: 500 + 1 + 20;"
        " the latest before the session is s, whatever comes later",
        portfolio(
            AFTER_THE_2ND,
            opening="7",
            flows=(contribution(2, "100"), contribution(3, "20"), withdrawal(6, "5")),
            snapshots=(
                ref.Snapshot(jan(6), Decimal(1)),
                ref.Snapshot(jan(2), Decimal(500)),
                ref.Snapshot(jan(1), Decimal(3), Decimal(3), Decimal(3), Decimal(3)),
            ),
        ),
        Expected(
            (
                row(
                    5,
                    "521",
                    "1",
                    flow="20",
                    returned="0.002",
                    total=("1", "0", "20"),
                    unrealized="1",
                    long="10",
                    held=(1, 0),
                    marks=FRESH,
                ),
            )
        ),
        sessions=(5,),
    ),
    case(
        "previous snapshot with totals",
        "S8: 12.34 + 1, -5.00 + 0, 100 + 0; 501 = 500 + 1",
        portfolio(
            AFTER_THE_2ND,
            snapshots=(
                ref.Snapshot(
                    jan(2), Decimal(500), Decimal("12.34"), Decimal(-5), Decimal(100), NAN, NAN
                ),
            ),
        ),
        Expected(
            (
                row(
                    5,
                    "501",
                    "1",
                    returned="0.002",
                    total=("13.34", "-5", "100"),
                    unrealized="1",
                    long="10",
                    held=(1, 0),
                    marks=FRESH,
                ),
            )
        ),
        sessions=(5,),
    ),
    case(
        "flows around the baseline",
        "S5: 5 before it is in the opening, 30 - 10 on it come on top: 1020",
        portfolio(
            flows=(contribution(4, "5"), contribution(5, "30"), withdrawal(5, "10")),
        ),
        Expected(
            (
                row(5, "1020", flow="20", total=("0", "0", "20")),
                row(6, "1020", total=("0", "0", "20")),
            )
        ),
        sessions=(5, 6),
    ),
    case(
        "first rows replaced",
        "S5: the earliest stored row is that of the 6th: 1000 - 30 - 50, less the 100 of the 5th"
        " = 820; the 7 of the 2nd are in it. 820 + 100 = 920; + 10 + 50 = 980; + 10 = 990."
        " 10/920 = 0.010869...; 10/980 = 0.010204...",
        portfolio(
            position(quantity="10"),
            opening=NAN,
            flows=(contribution(5, "100"), contribution(6, "50"), contribution(2, "7")),
            snapshots=(
                ref.Snapshot(jan(7), Decimal(5000), daily_pnl=Decimal(1)),
                ref.Snapshot(
                    jan(6),
                    Decimal(1000),
                    cumulative_pnl=NAN,
                    daily_pnl=Decimal(30),
                    daily_capital_flow=Decimal(50),
                ),
            ),
        ),
        Expected(
            (
                row(
                    5,
                    "920",
                    flow="100",
                    total=("0", "0", "100"),
                    long="100",
                    held=(1, 0),
                    marks=FRESH,
                ),
                row(
                    6,
                    "980",
                    "10",
                    flow="50",
                    returned="0.010870",
                    total=("10", "0", "150"),
                    unrealized="10",
                    long="110",
                    held=(1, 0),
                    marks=FRESH,
                ),
                row(
                    7,
                    "990",
                    "10",
                    returned="0.010204",
                    total=("20", "0", "150"),
                    unrealized="20",
                    long="120",
                    held=(1, 0),
                    marks=FRESH,
                ),
            )
        ),
    ),
    case(
        "first row replaced, NULLs in it",
        "S5: NULL is 0: opening 700; no flow lies before it; 5 on the day: 705",
        portfolio(flows=(contribution(5, "5"),), snapshots=(ref.Snapshot(jan(5), Decimal(700)),)),
        Expected((row(5, "705", flow="5", total=("0", "0", "5")),)),
        sessions=(5,),
    ),
    case(
        "no sessions",
        "S1: nothing to write, nothing judged",
        portfolio(position(quantity=NAN), opening=NAN),
        Expected(()),
        sessions=(),
    ),
]


def failing(name: str, inputs: ref.Portfolio, *issues: ref.Issue) -> Case:
    """Return a case of a portfolio that fails before its first row."""
    note = "S3, S5: fails; what else is wrong with it is still reported"
    return case(name, note, inputs, Expected((), issues, failed=True))


CENT_TOO_FINE = Decimal("0.001")
MONEY_TOO_LARGE = Decimal("92233720368547758.08")  # 2^63 cents

FAILURES = [
    failing(
        "opening equity NaN",
        portfolio(position(position_type="SHORT"), opening=NAN),
        issue("non_finite", "equity_balance", None, on=5),
        issue("sign_mismatch", "quantity"),
    ),
    failing(
        "opening equity too fine",
        portfolio(opening=CENT_TOO_FINE),
        issue("not_representable", "equity_balance", None, on=5),
    ),
    failing(
        "previous equity too large",
        portfolio(snapshots=(ref.Snapshot(jan(2), MONEY_TOO_LARGE),)),
        issue("not_representable", "equity_balance", None, on=5),
    ),
    failing(
        "previous total NaN",
        portfolio(snapshots=(ref.Snapshot(jan(2), CENT_TOO_FINE, cumulative_realized_pnl=NAN),)),
        issue("non_finite", "cumulative_realized_pnl", None, on=5),
    ),
    failing(
        "previous total too fine",
        portfolio(
            snapshots=(ref.Snapshot(jan(2), Decimal(1), cumulative_capital_flow=CENT_TOO_FINE),)
        ),
        issue("not_representable", "cumulative_capital_flow", None, on=5),
    ),
    failing(
        "P&L of the earliest snapshot NaN",
        portfolio(snapshots=(ref.Snapshot(jan(6), Decimal(1), daily_pnl=NAN),)),
        issue("non_finite", "daily_pnl", None, on=5),
    ),
    failing(
        "flow of the earliest snapshot too fine",
        portfolio(snapshots=(ref.Snapshot(jan(5), Decimal(1), daily_capital_flow=CENT_TOO_FINE),)),
        issue("not_representable", "daily_capital_flow", None, on=5),
    ),
    failing(
        "the largest quantity",
        # 922337203685477.5807 * 10 = 9223372036854775.807, half away to .81
        portfolio(position(quantity="922337203685477.5807")),
        issue("out_of_range", "long_value = 9223372036854775.81", None, on=5),
    ),
    case(
        "long value out of range on the second session",
        "S10: 9.5e12 * 10 = 9.5e13 fits, * 11 = 1.045e14 does not, while P&L 9.5e12 + 1 and"
        " equity do; of the failed session only out_of_range is reported",
        portfolio(position(quantity="9500000000000"), position(exit_day=6)),
        Expected(
            (row(5, "1000", long="95000000000010", held=(2, 0), marks=(2, 0, 0, 0)),),
            (issue("out_of_range", "long_value = 104500000000000.00", None, on=6),),
            failed=True,
        ),
    ),
    case(
        "equity out of range by a cent",
        "S10: 99999999999999.99 fits, + 0.01 does not: cash of a PRIVATE lot bought at 0;"
        " equity(s) = 0: return 0",
        portfolio(
            position(
                quantity="0",
                entry_price="0",
                investment_class="PRIVATE",
                events=(event(6, "1", "99999999999999.99"), event(7, "1", "0.01")),
            ),
            opening=None,
        ),
        Expected(
            (
                row(5, "0", held=(2, 0)),
                row(
                    6,
                    "99999999999999.99",
                    "99999999999999.99",
                    realized="99999999999999.99",
                    total=("99999999999999.99", "99999999999999.99", "0"),
                    held=(1, 0),
                ),
            ),
            (issue("out_of_range", "equity_balance = 100000000000000.00", None, on=7),),
            failed=True,
        ),
    ),
    case(
        "realized P&L out of range is named first",
        "S10: -10^14 realized does not fit, nor do P&L, equity and totals",
        portfolio(
            position(
                quantity="0",
                entry_price="0",
                investment_class="PRIVATE",
                events=(event(6, "1", "-100000000000000"),),
            )
        ),
        Expected(
            (row(5, "1000", held=(1, 0)),),
            (issue("out_of_range", "daily_realized_pnl = -100000000000000.00", None, on=6),),
            failed=True,
        ),
    ),
    case(
        "flow out of range on the baseline",
        "S10: 10^14 paid in does not fit; the flow is named before the equity",
        portfolio(flows=(contribution(5, "100000000000000"),)),
        Expected(
            (),
            (issue("out_of_range", "daily_capital_flow = 100000000000000.00", None, on=5),),
            failed=True,
        ),
    ),
    case(
        "large values on the way",
        "S6: 9e11 * 100000000 = 9e19 and -9e11 * 99999999.9999 = -(9e19 - 9e7): sum 9e7;"
        " 9e7/9e7 = 1",
        portfolio(
            position(
                quantity="900000000000",
                entry_price="0",
                entry_day=6,
                exit_day=6,
                exit_price="100000000",
            ),
            position(
                position_type="SHORT",
                quantity="-900000000000",
                entry_price="0",
                entry_day=6,
                exit_day=6,
                exit_price="99999999.9999",
            ),
            opening="90000000",
        ),
        Expected(
            (
                row(5, "90000000"),
                row(
                    6,
                    "180000000",
                    "90000000",
                    realized="90000000",
                    returned="1",
                    total=("90000000", "90000000", "0"),
                ),
            )
        ),
        sessions=(5, 6),
    ),
    case(
        "several portfolios",
        "S10: two fail, the others go on and do not notice",
        (
            portfolio(position(), name="first"),
            portfolio(position(), name="second", opening=INFINITY),
            portfolio(position(quantity="9500000000000"), name="third"),
            portfolio(position(), name="fourth"),
            portfolio(name="fifth", opening=None),
        ),
        (
            Expected(ONE_AAA),
            Expected((), (issue("non_finite", "equity_balance", None, on=5),), failed=True),
            Expected(
                (row(5, "1000", long="95000000000000", held=(1, 0), marks=FRESH),),
                (issue("out_of_range", "long_value = 104500000000000.00", None, on=6),),
                failed=True,
            ),
            Expected(ONE_AAA),
            Expected(idle("0", 5, 6, 7)),
        ),
    ),
]


def earning(
    name: str, note: str, opening: str, pnl: str, equity: str, *, returned: str | None
) -> Case:
    """Return a case in which a PRIVATE lot bought at 0 earns `pnl` on the 6th."""
    held = position(
        quantity="0",
        entry_price="0",
        investment_class="PRIVATE",
        events=(event(6, "1", pnl),),
    )
    issues: tuple[ref.Issue, ...] = ()
    if returned is None:
        issues = (issue("return_out_of_range", note.rpartition(" ")[2], None, on=6),)
    rows = (
        row(5, opening, held=(1, 0)),
        row(6, equity, pnl, realized=pnl, returned=returned, total=(pnl, pnl, "0")),
    )
    inputs = portfolio(held, opening=opening)
    return case(name, note, inputs, Expected(rows, issues), sessions=(5, 6))


RETURNS = [
    earning(
        "tie up", "S8: 0.01/20000 = 0.0000005", "20000", "0.01", "20000.01", returned="0.000001"
    ),
    earning("tie down", "S8: half away from 0", "20000", "-0.01", "19999.99", returned="-0.000001"),
    earning("below a tie", "S8: 0.01/20000.01", "20000.01", "0.01", "20000.02", returned="0"),
    earning("no negative zero", "S8: -0.01/30000", "30000", "-0.01", "29999.99", returned="0"),
    earning("equity 0", "S8: not above 0: return 0", "0", "5", "5", returned="0"),
    earning("equity below 0", "S8: not above 0: return 0", "-100", "5", "-95", returned="0"),
    earning(
        "return rounded out of range",
        "S10: 1999999.99/20000 = 99.9999995, rounded 100.000000",
        "20000",
        "1999999.99",
        "2019999.99",
        returned=None,
    ),
    earning(
        "return just in range",
        "S10: 1999999.98/20000",
        "20000",
        "1999999.98",
        "2019999.98",
        returned="99.999999",
    ),
    earning(
        "negative return out of range",
        "S10: -1000/10 = -100.000000",
        "10",
        "-1000",
        "-990",
        returned=None,
    ),
]

CASES = [*QUARANTINE, *ODDITIES, *CLOSINGS, *PRIVATE, *STARTS, *FAILURES, *RETURNS]


@dataclass(frozen=True)
class CoverageCase:
    """Inputs of S12 over `PRICES` and the coverage by day of January."""

    name: str
    symbols: tuple[str | None, ...]
    expected: dict[int, Fraction]
    sessions: tuple[int, ...] = (5, 7, 8)
    lookback_days: int = 10
    daily: bool = False


COVERAGE = [
    # 7th: AAA has a close, OPT only before; 8th: both only before.
    CoverageCase(
        "fresh over known", ("AAA", "OPT"), {5: Fraction(1), 7: Fraction(1, 2), 8: Fraction(0)}
    ),
    CoverageCase(
        "never priced symbols do not count",
        ("AAA", "OPT", "ZZZ"),
        {5: Fraction(1), 7: Fraction(1, 2), 8: Fraction(0)},
    ),
    CoverageCase("none of either is 1", ("ZZZ",), {5: Fraction(1), 7: Fraction(1), 8: Fraction(1)}),
    CoverageCase("no symbols is 1", (), {5: Fraction(1), 7: Fraction(1), 8: Fraction(1)}),
    # With one day of lookback OPT is forgotten on the 8th, AAA on the 9th: the feed stays dead.
    CoverageCase(
        "forgotten after the lookback",
        ("AAA", "OPT"),
        {7: Fraction(1, 2), 8: Fraction(0), 9: Fraction(0), 30: Fraction(0)},
        sessions=(7, 8, 9, 30),
        lookback_days=1,
    ),
    CoverageCase(
        "one of two forgotten counts no more",
        ("AAA", "OPT"),
        {7: Fraction(1)},
        sessions=(7,),
        lookback_days=0,
    ),
    CoverageCase(
        "before the first close is 1",
        ("AAA", "OPT"),
        {4: Fraction(1), 5: Fraction(1)},
        sessions=(4, 5),
    ),
    CoverageCase(
        "one never priced and one dead is 0",
        ("OPT", "ZZZ"),
        {7: Fraction(0)},
        sessions=(7,),
        lookback_days=0,
    ),
    CoverageCase(
        "one symbol, spelt three ways",
        ("AAA", " aaa", "Aaa ", None, "OPT", "OPT"),
        {7: Fraction(1, 2)},
        sessions=(7,),
    ),
    CoverageCase(
        "daily: a date without any close is not checked",
        ("AAA", "OPT"),
        {6: Fraction(1), 7: Fraction(1, 2)},
        sessions=(4, 6, 7, 8),
        daily=True,
    ),
]


@dataclass(frozen=True)
class SpanCase:
    """Inputs of S13 and what comes out; days of January, sessions are 2, 5 to 9 and 12."""

    name: str
    rows: tuple[ref.Stored, ...]
    range: tuple[int, int]
    on_existing: Literal["skip", "replace", "error"]
    expected: ref.Span


CALENDAR = tuple(jan(on) for on in (2, 5, 6, 7, 8, 9, 12))


def complete(*days: int) -> tuple[ref.Stored, ...]:
    return tuple(ref.Stored(jan(on)) for on in days)


def incomplete(on: int) -> ref.Stored:
    return ref.Stored(jan(on), is_complete=False)


def days(numbers: Iterable[int]) -> tuple[int, ...]:
    return tuple(jan(on) for on in numbers)


def span(
    *sessions: int,
    previous: int | None = None,
    in_place: tuple[int, ...] = (),
    gaps: tuple[int, ...] = (),
    off_session: tuple[int, ...] = (),
    exists: int | None = None,
) -> ref.Span:
    return ref.Span(
        sessions=days(sessions),
        previous=None if previous is None else jan(previous),
        in_place=days(in_place),
        gaps=days(gaps),
        off_session=days(off_session),
        exists=None if exists is None else jan(exists),
    )


NOT_COMPLETE = (
    *complete(5),
    incomplete(6),
    ref.Stored(jan(7), equity=NAN),
    ref.Stored(jan(8), equity=None),
)

SPANS = [
    SpanCase("nothing there", (), (3, 8), "skip", span(5, 6, 7, 8)),
    SpanCase("skip: goes on", complete(6, 5), (5, 8), "skip", span(7, 8, previous=6)),
    SpanCase("skip: a gap", complete(5, 7), (5, 8), "skip", span(8, previous=7, gaps=(6,))),
    SpanCase(
        "skip: a gap before the first row",
        complete(6),
        (2, 7),
        "skip",
        span(7, previous=6, gaps=(2, 5)),
    ),
    SpanCase("skip: all there", complete(5, 6, 7), (5, 7), "skip", span()),
    SpanCase("skip: latest beyond the end", complete(9), (5, 6), "skip", span(gaps=(5, 6))),
    SpanCase("skip: latest long before", complete(2), (8, 9), "skip", span(8, 9, previous=2)),
    SpanCase(
        "skip: rows not complete",
        NOT_COMPLETE,
        (5, 9),
        "skip",
        span(6, 7, 8, 9, previous=5, in_place=(6, 7, 8)),
    ),
    SpanCase(
        "skip: a row not complete below the latest is a gap",
        (*complete(5, 7), incomplete(6)),
        (5, 8),
        "skip",
        span(8, previous=7, gaps=(6,)),
    ),
    SpanCase(
        "skip: off session",
        complete(9, 10),
        (5, 12),
        "skip",
        span(12, previous=9, gaps=(5, 6, 7, 8), off_session=(10,)),
    ),
    SpanCase(
        "skip: a row off session is nobody's s",
        complete(10),
        (11, 12),
        "skip",
        span(12),
    ),
    SpanCase(
        "replace: to the latest beyond the end",
        complete(5, 6, 8),
        (6, 6),
        "replace",
        span(6, 7, 8, previous=5, in_place=(6, 8)),
    ),
    SpanCase(
        "replace: to the end beyond the latest",
        complete(5, 6),
        (6, 8),
        "replace",
        span(6, 7, 8, previous=5, in_place=(6,)),
    ),
    SpanCase(
        "replace: the first rows",
        complete(5, 6),
        (2, 5),
        "replace",
        span(2, 5, 6, in_place=(5, 6)),
    ),
    SpanCase(
        "replace: rows off session beyond the end",
        (*complete(8, 10, 12), incomplete(11)),
        (7, 7),
        "replace",
        span(7, 8, 9, 12, in_place=(8, 12), off_session=(10, 11)),
    ),
    SpanCase(
        "replace: a row not complete beyond the end stays",
        (*complete(6), incomplete(8)),
        (6, 7),
        "replace",
        span(6, 7, in_place=(6,)),
    ),
    SpanCase("replace: no session in the range", complete(9, 12), (10, 11), "replace", span()),
    SpanCase("error: one is there", complete(7, 6), (5, 8), "error", span(exists=6)),
    SpanCase(
        "error: rows not complete are not there",
        NOT_COMPLETE,
        (6, 8),
        "error",
        span(6, 7, 8, previous=5, in_place=(6, 7, 8)),
    ),
    SpanCase(
        "error: complete ones outside the range",
        complete(5, 9),
        (6, 8),
        "error",
        span(6, 7, 8, previous=5),
    ),
]
