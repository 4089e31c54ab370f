"""Cases of the policy `legacy` worked out by hand, rule by rule: `CASES`, `CHOSEN`.

Unless a case says otherwise: 5 January 2026, a Monday, is run, long before "today". P is the
complete snapshot of Friday the 2nd with an equity of 1000 and cumulative amounts of 0; the column
of the portfolio says 777. The portfolio holds 10 AAA bought at 10 on the 2nd; AAA closes at 10 on
the 2nd, 11 on the 5th, 12 on the 6th and 7th. `ONE_DAY` is what comes out then.

The calendar has the sessions of XNYS from 22 December 2025 to 16 January 2026; day 0 of January is
31 December, day -5 is 26 December.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from decimal import Decimal
from typing import TYPE_CHECKING, Any

from batchcore import reference as ref
from batchcore.reference import legacy
from support.cases import Price, day

if TYPE_CHECKING:
    from collections.abc import Mapping

NAN = Decimal("NaN")
FAR = 60
"""A day of January long after all sessions."""


def jan(number: int) -> int:
    """Return a day of January 2026; the 5th is a Monday."""
    return day("2026-01-01") + number - 1


# 25 December and 1 January are holidays.
CALENDAR = frozenset(
    jan(on) for on in (-9, -8, -7, -5, -2, -1, 0, 2, 5, 6, 7, 8, 9, 12, 13, 14, 15, 16)
)


def price(symbol: str, on: int, close: str) -> Price:
    return symbol, jan(on), Decimal(close)


PRICES = (
    price("AAA", 2, "10"),
    price("AAA", 5, "11"),
    price("AAA", 6, "12"),
    price("AAA", 7, "12"),
)


def position(**columns: Any) -> ref.Position:
    """Return 10 AAA at 10 from the 2nd, with other `columns`; dates as days of January."""
    values: dict[str, Any] = {
        "symbol": "AAA",
        "position_type": "LONG",
        "quantity": "10",
        "entry_price": "10",
        "entry_day": 2,
        "investment_class": "PUBLIC",
    }
    values |= columns
    for name in ("quantity", "entry_price", "market_value", "last_price"):
        if isinstance(values.get(name), str):
            values[name] = Decimal(values[name])
    for name in ("entry_day", "exit_day", "expiration_day"):
        number = values.get(name)
        if number is not None and number != ref.INFINITE_DAY:
            values[name] = jan(number)
    return ref.Position(**values)


def event(on: int, realized: str) -> ref.Event:
    return ref.Event(jan(on), Decimal(1), Decimal(realized))


def contribution(on: int, amount: str) -> ref.Flow:
    return ref.Flow(jan(on), Decimal(amount), "CONTRIBUTION")


def withdrawal(on: int, amount: str) -> ref.Flow:
    return ref.Flow(jan(on), Decimal(amount), "WITHDRAWAL")


def beta(on: int, value: str) -> ref.Beta:
    return ref.Beta(jan(on), Decimal(value))


def profile(
    value: str | None = None, sector: str | None = None, *, is_etf: bool | None = False
) -> legacy.Profile:
    return legacy.Profile(None if value is None else Decimal(value), sector, is_etf)


def snapshot(
    on: int,
    equity: str | None,
    total: tuple[str | None, str | None, str | None] = ("0", "0", "0"),
    *,
    is_complete: bool = True,
) -> legacy.Snapshot:
    """Return a stored row; `total` are cumulative P&L, realized P&L and capital flow."""
    amounts = [None if amount is None else Decimal(amount) for amount in (equity, *total)]
    return legacy.Snapshot(jan(on), *amounts, is_complete=is_complete)


P = snapshot(2, "1000")


def portfolio(
    *positions: ref.Position,
    balance: str | None = "777",
    flows: tuple[ref.Flow, ...] = (),
    snapshots: tuple[legacy.Snapshot, ...] = (P,),
    deleted: bool = False,
) -> legacy.Portfolio:
    equity = None if balance is None else Decimal(balance)
    return legacy.Portfolio("p", equity, positions, flows, snapshots, deleted)


def row(
    on: int,
    equity: str,
    pnl: str = "0",
    *,
    realized: str = "0",
    flow: str = "0",
    returned: str = "0",
    total: tuple[str, str, str] = ("0", "0", "0"),
    cash: str | None = None,
    long: str = "0",
    short: str = "0",
    gross: str | None = None,
    net: str | None = None,
    held: tuple[int, int] = (0, 0),
    **analytic: Any,
) -> legacy.Row:
    """Return a row; `total_value` and greeks follow from `held` (L25, L31).

    Args:
        on: Day of January.
        equity: `equity_balance`.
        pnl: `daily_pnl`.
        realized: `daily_realized_pnl`.
        flow: `daily_capital_flow`.
        returned: `daily_return`.
        total: `cumulative_pnl`, `cumulative_realized_pnl`, `cumulative_capital_flow`.
        cash: `cash_value`; None if it is `equity - long - short`, or 0 without positions.
        long: `long_value`.
        short: `short_value`, not above 0.
        gross: `gross_exposure`; None if it is `long - short`.
        net: `net_exposure`; None if it is `long + short`.
        held: Numbers of long and of short positions.
        analytic: Columns of L32 to L34, as text.
    """
    cent = Decimal("0.00")
    active = sum(held) > 0
    if cash is None:
        cash = str(Decimal(equity) - Decimal(long) - Decimal(short)) if active else "0"
    greek = cent if active else None
    return legacy.Row(
        day=jan(on),
        equity_balance=cent + Decimal(equity),
        daily_pnl=cent + Decimal(pnl),
        daily_realized_pnl=cent + Decimal(realized),
        daily_capital_flow=cent + Decimal(flow),
        daily_return=Decimal("0.000000") + Decimal(returned),
        cumulative_pnl=cent + Decimal(total[0]),
        cumulative_realized_pnl=cent + Decimal(total[1]),
        cumulative_capital_flow=cent + Decimal(total[2]),
        total_value=cent + Decimal(equity) if active else cent,
        cash_value=cent + Decimal(cash),
        long_value=cent + Decimal(long),
        short_value=cent + Decimal(short),
        gross_exposure=cent + Decimal(gross or Decimal(long) - Decimal(short)),
        net_exposure=cent + Decimal(net or Decimal(long) + Decimal(short)),
        num_positions=sum(held),
        num_long_positions=held[0],
        num_short_positions=held[1],
        portfolio_delta=greek,
        portfolio_gamma=greek,
        portfolio_theta=greek,
        portfolio_vega=greek,
        **{
            name: Decimal(value) if isinstance(value, str) else value
            for name, value in analytic.items()
        },
    )


@dataclass(frozen=True)
class Case:
    """Inputs of one run of one portfolio and what must come out.

    Attributes:
        rule: The rule that it is about.
        name: Of the case.
        note: The arithmetic by hand.
        portfolio: With all rows that belong to it.
        rows: Those written.
        days: Days of January that are run, in order.
        failures: `Issue`s by day.
        skipped: Days of January.
        balance: `portfolios.equity_balance` afterwards; None if it is that of the last row.
        prices: Symbol as stored, day, close.
        today: Day of January.
        cached: By symbol and day of January.
        profiles: By symbol.
        has_benchmark: Whether there is a row of SP500.
        scales: Of the columns read.
    """

    rule: str
    name: str
    note: str
    portfolio: legacy.Portfolio
    rows: tuple[legacy.Row, ...] = ()
    days: tuple[int, ...] = (5,)
    failures: tuple[ref.Issue, ...] = ()
    skipped: tuple[int, ...] = ()
    balance: str | None = None
    prices: tuple[Price, ...] = PRICES
    today: int = FAR
    cached: Mapping[tuple[str, int], str] = field(default_factory=dict)
    profiles: Mapping[str, legacy.Profile] = field(default_factory=dict)
    has_benchmark: bool = True
    scales: ref.Scales = ref.DEFAULT_SCALES


def failure(on: int, name: str, detail: str = "", symbol: str | None = None) -> ref.Issue:
    return ref.Issue(name, symbol, jan(on), detail)


# 10 x (11 - 10) = 10; 10 / 1000 = 0.01; long 10 x 11 = 110; cash 1010 - 110 = 900.
ONE_DAY = row(5, "1010", "10", returned="0.01", total=("10", "0", "0"), long="110", held=(1, 0))
# The next day 10 x (12 - 11) = 10; 10 / 1010 = 0.00990099...; long 120.
NEXT_DAY = row(
    6, "1020", "10", returned="0.009901", total=("20", "0", "0"), long="120", held=(1, 0)
)
# A day on which nothing is earned, by 10 AAA at 11.
STILL = row(5, "1000", long="110", held=(1, 0))


def quiet(rule: str, name: str, note: str, **inputs: Any) -> Case:
    """Return a case in which the 10 AAA are there but earn nothing on the 5th."""
    inputs.setdefault("portfolio", portfolio(position()))
    return Case(rule, name, note, rows=(STILL,), **inputs)


DAYS = [
    Case(
        "L1",
        "a soft-deleted portfolio",
        "never processed, even when listed",
        portfolio(position(), deleted=True),
        days=(3, 5),
        balance="777",
    ),
    Case(
        "L2",
        "a Saturday",
        "the 3rd is no session: it fails, and the 5th goes on from the 2nd",
        portfolio(position()),
        (ONE_DAY,),
        days=(3, 5),
        failures=(failure(3, "no_session"),),
    ),
    Case(
        "L2",
        "a complete snapshot on a Saturday",
        "it fails all the same; the row stands, and is P of the 5th: 1005 + 10, 10/1005",
        portfolio(position(), snapshots=(P, snapshot(3, "1005"))),
        (
            row(
                5,
                "1015",
                "10",
                returned="0.009950",
                total=("10", "0", "0"),
                long="110",
                held=(1, 0),
            ),
        ),
        days=(3, 5),
        failures=(failure(3, "no_session"),),
    ),
    Case(
        "L3",
        "a complete snapshot",
        "stands, and the column of the portfolio is left alone",
        portfolio(position(), snapshots=(P, snapshot(5, "5000"))),
        skipped=(5,),
        balance="777",
    ),
    Case(
        "L3",
        "a complete snapshot without an equity",
        "stands too",
        portfolio(position(), snapshots=(P, snapshot(5, None))),
        skipped=(5,),
        balance="777",
    ),
    Case(
        "L3",
        "an incomplete snapshot",
        "is replaced, and plays no part in the row",
        portfolio(position(), snapshots=(P, snapshot(5, "5000", is_complete=False))),
        (ONE_DAY,),
    ),
    Case(
        "L3",
        "a complete snapshot in the middle",
        "the 5th stands and is P of the 6th: 5000 + 10 x (12 - 11), 10/5000; cumulative 7 + 10",
        portfolio(position(), snapshots=(P, snapshot(5, "5000", ("7", "0", "0")))),
        (
            row(
                6,
                "5010",
                "10",
                returned="0.002",
                total=("17", "0", "0"),
                long="120",
                held=(1, 0),
            ),
        ),
        days=(5, 6),
        skipped=(5,),
    ),
    Case(
        "L4",
        "a return of 100",
        "10 / 0.10 = 100 does not fit numeric(8,6): nothing is written",
        portfolio(position(), snapshots=(snapshot(2, "0.10"),)),
        failures=(failure(5, "out_of_range", "daily_return = 100.000000"),),
        balance="777",
    ),
    Case(
        "L4",
        "a return that is 100 when rounded",
        "999,999.999 x (1.0001 - 1.0000) = 99.9999999, by 1.00; stored 100.000000",
        portfolio(position(symbol="BBB", quantity="999999.9990"), snapshots=(snapshot(2, "1.00"),)),
        prices=(price("BBB", 2, "1.0000"), price("BBB", 5, "1.0001")),
        failures=(failure(5, "out_of_range", "daily_return = 100.000000"),),
        balance="777",
    ),
    Case(
        "L4",
        "a return just below 100",
        "999,999.994 x 0.0001 = 99.9999994, by 1.00; stored 99.999999, and 100.00 as P&L. Equity "
        "100.9999994; long 999,999.994 x 1.0001 = 1,000,099.9939994; cash below 0 is 0",
        portfolio(position(symbol="BBB", quantity="999999.9940"), snapshots=(snapshot(2, "1.00"),)),
        (
            row(
                5,
                "101",
                "100",
                returned="99.999999",
                total=("100", "0", "0"),
                cash="0",
                long="1000099.99",
                held=(1, 0),
            ),
        ),
        prices=(price("BBB", 2, "1.0000"), price("BBB", 5, "1.0001")),
    ),
    Case(
        "L4",
        "a return of -100",
        "-10 / 0.10 = -100 does not fit either",
        portfolio(position(quantity="-10"), snapshots=(snapshot(2, "0.10"),)),
        failures=(failure(5, "out_of_range", "daily_return = -100.000000"),),
        balance="777",
    ),
    Case(
        "L4",
        "a failed day between two others",
        "the 5th fails: 10 / 0.10. Its incomplete row stands and is P of the 6th: 500 + 10, 10/500",
        portfolio(
            position(),
            snapshots=(snapshot(2, "0.10"), snapshot(5, "500", is_complete=False)),
        ),
        (
            row(
                6,
                "510",
                "10",
                returned="0.02",
                total=("10", "0", "0"),
                long="120",
                held=(1, 0),
            ),
        ),
        days=(5, 6),
        failures=(failure(5, "out_of_range", "daily_return = 100.000000"),),
    ),
    Case(
        "L4",
        "an equity that does not fit",
        "99,999,999,999,995 + 10 is above numeric(16,2); the return of 10^-13 is 0",
        portfolio(position(), snapshots=(snapshot(2, "99999999999995"),)),
        failures=(failure(5, "out_of_range", "equity_balance = 100000000000005.00"),),
        balance="777",
    ),
    Case(
        "L4",
        "an exposure that does not fit",
        "10^12 x 1000 = 10^15 long; nothing is earned at an unchanged close",
        portfolio(position(symbol="BBB", quantity="999999999999")),
        prices=(price("BBB", 2, "1000"), price("BBB", 5, "1000")),
        failures=(failure(5, "out_of_range", "long_value = 999999999999000.00"),),
        balance="777",
    ),
    Case(
        "L5",
        "an incomplete snapshot before",
        "P is the incomplete row of the 5th (*): 500 + 10 x (12 - 11), 10/500",
        portfolio(position(), snapshots=(P, snapshot(5, "500", is_complete=False))),
        (
            row(
                6,
                "510",
                "10",
                returned="0.02",
                total=("10", "0", "0"),
                long="120",
                held=(1, 0),
            ),
        ),
        days=(6,),
    ),
    Case(
        "L5",
        "an old snapshot, on a Sunday",
        "P is of 28 December, however old, on a session or not; later rows are not looked at",
        portfolio(position(), snapshots=(snapshot(-3, "1000"), snapshot(6, "9"))),
        (ONE_DAY,),
    ),
    Case(
        "L6",
        "the equity of P is NULL",
        "the column of the portfolio counts: 777 + 10, 10/777 = 0.01287001...; cumulative from P",
        portfolio(position(), snapshots=(snapshot(2, None, ("5", "0", "0")),)),
        (
            row(
                5,
                "787",
                "10",
                returned="0.01287",
                total=("15", "0", "0"),
                long="110",
                held=(1, 0),
            ),
        ),
    ),
    Case(
        "L6",
        "the equity of P is 0",
        "the column of the portfolio counts: 777 + 10",
        portfolio(position(), snapshots=(snapshot(2, "0.00"),)),
        (
            row(
                5,
                "787",
                "10",
                returned="0.01287",
                total=("10", "0", "0"),
                long="110",
                held=(1, 0),
            ),
        ),
    ),
    Case(
        "L6",
        "no equity anywhere",
        "0 + 10; no return on 0; cash 10 - 110 is below 0",
        portfolio(position(), balance=None, snapshots=(snapshot(2, None),)),
        (row(5, "10", "10", total=("10", "0", "0"), cash="0", long="110", held=(1, 0)),),
    ),
    Case(
        "L6",
        "the column of the portfolio after an equity of 0",
        "the 5th loses all: 1000 - 1000 = 0, -1000/1000 = -1. On the 6th P has 0, and so has the "
        "column, overwritten on the 5th (L7): 0 + 10, no return",
        portfolio(position()),
        (
            row(
                5,
                "0",
                "-1000",
                returned="-1",
                total=("-1000", "0", "0"),
                cash="0",
                long="10",
                held=(1, 0),
            ),
            row(6, "10", "10", total=("-990", "0", "0"), cash="0", long="20", held=(1, 0)),
        ),
        days=(5, 6),
        prices=(price("AAA", 2, "101"), price("AAA", 5, "1"), price("AAA", 6, "2")),
    ),
    Case(
        "L7",
        "two days",
        "the second goes on from the first, and the column is that of the last",
        portfolio(position()),
        (ONE_DAY, NEXT_DAY),
        days=(5, 6),
        balance="1020",
    ),
    Case(
        "L7",
        "a day run out of order",
        "the 6th goes on from the 2nd: 1000 + 10, 10/1000. The 5th, run later, does not repair it; "
        "the column becomes that of the 5th",
        portfolio(position()),
        (
            row(
                6,
                "1010",
                "10",
                returned="0.01",
                total=("10", "0", "0"),
                long="120",
                held=(1, 0),
            ),
            ONE_DAY,
        ),
        days=(6, 5),
        balance="1010",
    ),
]

# The same without an active position: earned 10, but no exposures, no greeks, no total value.
EARNED_ONLY = row(5, "1010", "10", returned="0.01", total=("10", "0", "0"))

EARNED = [
    Case(
        "L8",
        "a soft-deleted position",
        "earns nothing and is not active",
        portfolio(position(), position(deleted=True)),
        (ONE_DAY,),
    ),
    Case(
        "L8",
        "a position entered later",
        "earns nothing before its entry",
        portfolio(position(), position(entry_day=6)),
        (ONE_DAY,),
    ),
    Case(
        "L8",
        "an exited position",
        "goes on earning (*), whatever its exit price; nothing is active",
        portfolio(position(exit_day=2)),
        (EARNED_ONLY,),
    ),
    Case(
        "L9",
        "a private position",
        "in any letter case earns 0 although AAA has closes; L26 values it at them",
        portfolio(position(investment_class="PRIVATE")),
        (STILL,),
    ),
    Case(
        "L9",
        "a private position in small letters",
        "earns 0 too",
        portfolio(position(investment_class="Private")),
        (STILL,),
    ),
    Case(
        "L9",
        "a class with a blank",
        "is not PRIVATE: no blank is cut off",
        portfolio(position(investment_class="PRIVATE ")),
        (ONE_DAY,),
    ),
    Case(
        "L9",
        "no class",
        "is ordinary",
        portfolio(position(investment_class=None)),
        (ONE_DAY,),
    ),
    quiet(
        "L10",
        "no close on the day",
        "earns 0; valued at the newest close, that of the 4th, a Sunday",
        prices=(price("AAA", 2, "10"), price("AAA", 4, "11"), price("AAA", 6, "12")),
    ),
    Case(
        "L10",
        "a close of 0 on the day",
        "earns 0; L26 finds 0 too, so there is no price",
        portfolio(position()),
        (row(5, "1000", held=(1, 0)),),
        prices=(price("AAA", 2, "10"), price("AAA", 5, "0")),
    ),
    Case(
        "L10",
        "a negative close on the day",
        "earns 0, but is the price of L26: 10 x -1 = -10 short, though counted as long",
        portfolio(position()),
        (row(5, "1000", short="-10", held=(1, 0)),),
        prices=(price("AAA", 2, "10"), price("AAA", 5, "-1")),
    ),
    quiet(
        "L10",
        "a close under small letters",
        "`aaa` is not `AAA`: no close of the day; valued at the 11 of the 4th",
        prices=(price("AAA", 2, "10"), price("AAA", 4, "11"), price("aaa", 5, "12")),
    ),
    Case(
        "L11",
        "no snapshot before",
        "earns 0; what is realized and paid in counts: 777 + 3 + 5; 3/777 = 0.0038610...",
        portfolio(position(events=(event(5, "3"),)), flows=(contribution(5, "5"),), snapshots=()),
        (
            row(
                5,
                "785",
                "3",
                realized="3",
                flow="5",
                returned="0.003861",
                total=("3", "3", "5"),
                long="110",
                held=(1, 0),
            ),
        ),
    ),
    Case(
        "L12",
        "a previous close of 0",
        "counts (*): 10 x (11 - 0) = 110; 110/1000",
        portfolio(position()),
        (
            row(
                5,
                "1110",
                "110",
                returned="0.11",
                total=("110", "0", "0"),
                long="110",
                held=(1, 0),
            ),
        ),
        prices=(price("AAA", 0, "10"), price("AAA", 2, "0"), price("AAA", 5, "11")),
    ),
    Case(
        "L12",
        "a negative previous close",
        "counts (*): 10 x (11 - -1) = 120",
        portfolio(position()),
        (
            row(
                5,
                "1120",
                "120",
                returned="0.12",
                total=("120", "0", "0"),
                long="110",
                held=(1, 0),
            ),
        ),
        prices=(price("AAA", 2, "-1"), price("AAA", 5, "11")),
    ),
    Case(
        "L12",
        "a previous close ten days before",
        "26 December is 10 days before the 5th: counts",
        portfolio(position()),
        (ONE_DAY,),
        prices=(price("AAA", -5, "10"), price("AAA", 5, "11")),
    ),
    quiet(
        "L12",
        "a previous close eleven days before",
        "25 December is too old: earns 0",
        prices=(price("AAA", -6, "10"), price("AAA", 5, "11")),
    ),
    quiet("L12", "no previous close", "earns 0", prices=(price("AAA", 5, "11"),)),
    Case(
        "L12",
        "a position in small letters with closes under both",
        "current close of `aaa` itself: 11; previous of `AAA`: 10; valued at the newest of `AAA`, "
        "the 20 of the 5th: 200 (*)",
        portfolio(position(symbol="aaa")),
        (
            row(
                5,
                "1010",
                "10",
                returned="0.01",
                total=("10", "0", "0"),
                long="200",
                held=(1, 0),
            ),
        ),
        prices=(
            price("AAA", 2, "10"),
            price("AAA", 5, "20"),
            price("aaa", 2, "5"),
            price("aaa", 5, "11"),
        ),
    ),
    Case(
        "L12",
        "a position in small letters with closes under small letters only",
        "`AAA` has no previous close and no price: earns 0, counted without a value (*)",
        portfolio(position(symbol="aaa")),
        (row(5, "1000", held=(1, 0)),),
        prices=(price("aaa", 2, "10"), price("aaa", 5, "11")),
    ),
    quiet(
        "L12",
        "a position in small letters with closes under capitals only",
        "no current close: earns 0 (*), but is valued at the 11",
        portfolio=portfolio(position(symbol="aaa")),
    ),
    Case(
        "L13",
        "a day not run",
        "from the 2nd to the 6th only 12 - 11 is earned, not 12 - 10 (*)",
        portfolio(position()),
        (
            row(
                6,
                "1010",
                "10",
                returned="0.01",
                total=("10", "0", "0"),
                long="120",
                held=(1, 0),
            ),
        ),
        days=(6,),
    ),
    Case(
        "L13",
        "the entry day",
        "bought on the 5th at 11, it earns 11 - 10 of the time before (*)",
        portfolio(position(entry_day=5, entry_price="11")),
        (ONE_DAY,),
    ),
    Case(
        "L14",
        "an option sold",
        "SC, -1 x 100 x (11 - 10) = -100; -100/1000; short -1 x 11 x 100 = -1100; cash 900 + 1100",
        portfolio(position(position_type="SC", quantity="-1", investment_class="OPTIONS")),
        (
            row(
                5,
                "900",
                "-100",
                returned="-0.1",
                total=("-100", "0", "0"),
                short="-1100",
                held=(0, 1),
            ),
        ),
    ),
    Case(
        "L14",
        "a short with a quantity above 0",
        "the sign is that of the quantity: it earns 10 and is long",
        portfolio(position(position_type="SHORT")),
        (ONE_DAY,),
    ),
    Case(
        "L15",
        "fractions of cents add up before they are rounded",
        "0.5 x 0.01 = 0.005 twice is 0.01; each rounded would be 0.02. Long: 2 x 0.5 x 1.01 = "
        "1.01. Return 0.01/1000 = 0.00001",
        portfolio(position(symbol="HLF", quantity="0.5"), position(symbol="HLF", quantity="0.5")),
        (
            row(
                5,
                "1000.01",
                "0.01",
                returned="0.00001",
                total=("0.01", "0", "0"),
                long="1.01",
                held=(2, 0),
            ),
        ),
        prices=(price("HLF", 2, "1.00"), price("HLF", 5, "1.01")),
    ),
    Case(
        "L16",
        "a cached price",
        "takes the place of the 11: 10 x (12 - 10) = 20; not of the price of L26: 110",
        portfolio(position()),
        (
            row(
                5,
                "1020",
                "20",
                returned="0.02",
                total=("20", "0", "0"),
                long="110",
                held=(1, 0),
            ),
        ),
        cached={("AAA", 5): "12"},
    ),
    quiet("L16", "a cached 0", "no price, without falling back to 11", cached={("AAA", 5): "0"}),
    Case(
        "L16",
        "cached prices of other keys",
        "neither the previous close nor another spelling is looked up: falls back to 11",
        portfolio(position()),
        (ONE_DAY,),
        cached={("AAA", 2): "1", ("aaa", 5): "12", ("AAA", 6): "12"},
    ),
    Case(
        "L16",
        "a cached price where the database has none",
        "counts: 10 x (11 - 10); valued at the 10 of the 2nd: 100",
        portfolio(position()),
        (
            row(
                5,
                "1010",
                "10",
                returned="0.01",
                total=("10", "0", "0"),
                long="100",
                held=(1, 0),
            ),
        ),
        prices=(price("AAA", 2, "10"),),
        cached={("AAA", 5): "11"},
    ),
]

ROLLED = [
    Case(
        "L17",
        "events",
        "those of the 5th count, of the soft-deleted position too: 3 - 1 = 2; 10 + 2 = 12",
        portfolio(
            position(events=(event(5, "3"), event(6, "50"))),
            position(deleted=True, events=(event(5, "-1"), event(2, "70"))),
        ),
        (
            row(
                5,
                "1012",
                "12",
                realized="2",
                returned="0.012",
                total=("12", "2", "0"),
                long="110",
                held=(1, 0),
            ),
        ),
    ),
    Case(
        "L18",
        "flows",
        "7.50 - 2 on the 5th; those of Saturday the 3rd and of the 6th are not picked up (*)",
        portfolio(
            position(),
            flows=(
                contribution(5, "7.50"),
                withdrawal(5, "2"),
                contribution(3, "100"),
                contribution(6, "200"),
            ),
        ),
        (
            row(
                5,
                "1015.50",
                "10",
                flow="5.50",
                returned="0.01",
                total=("10", "0", "5.50"),
                long="110",
                held=(1, 0),
            ),
        ),
    ),
    Case(
        "L18",
        "a Saturday's event",
        "is never picked up (*)",
        portfolio(position(events=(event(3, "3"),))),
        (ONE_DAY, NEXT_DAY),
        days=(5, 6),
    ),
    Case(
        "L19",
        "a sale of what was marked before",
        "10 on the 5th; sold at 12 on the 6th: 20 realized and 10 x (12 - 11) earned, 40 in all "
        "for a gain of 20 (*). 30/1010 = 0.02970297...; not active on the 6th",
        portfolio(position(exit_day=6, events=(event(6, "20"),))),
        (
            ONE_DAY,
            row(6, "1040", "30", realized="20", returned="0.029703", total=("40", "20", "0")),
        ),
        days=(5, 6),
    ),
    Case(
        "L20",
        "half a cent lost",
        "0.5 x (0.99 - 1.00) = -0.005: equity 99,999.995 is stored as 100,000.00 and the P&L as "
        "-0.01. Return -0.005/100,000 = -0.00000005. Long 0.495, half even 0.50; cash 99,999.995 "
        "- 0.50 = 99,999.495, stored 99,999.50. The next day starts from 100,000.00: 0.005 earned, "
        "100,000.005, stored 100,000.01; cumulative -0.01 + 0.005 = -0.005, stored -0.01; long "
        "0.50",
        portfolio(position(symbol="HLF", quantity="0.5"), snapshots=(snapshot(2, "100000"),)),
        (
            row(
                5,
                "100000",
                "-0.01",
                total=("-0.01", "0", "0"),
                cash="99999.50",
                long="0.50",
                held=(1, 0),
            ),
            row(
                6,
                "100000.01",
                "0.01",
                total=("-0.01", "0", "0"),
                cash="99999.51",
                long="0.50",
                held=(1, 0),
            ),
        ),
        days=(5, 6),
        prices=(price("HLF", 2, "1.00"), price("HLF", 5, "0.99"), price("HLF", 6, "1.00")),
    ),
    Case(
        "L21",
        "cumulative amounts",
        "P's stored value and today's unrounded one: 10.00 - 0.005 = 9.995, stored 10.00; NULL is "
        "0. P&L -0.005; equity 999.995, stored 1000.00; cash 999.995 - 0.50 = 999.495, stored "
        "999.50; return -0.000005",
        portfolio(
            position(symbol="HLF", quantity="0.5"),
            snapshots=(snapshot(2, "1000", ("10", None, "4")),),
        ),
        (
            row(
                5,
                "1000",
                "-0.01",
                returned="-0.000005",
                total=("10", "0", "4"),
                cash="999.50",
                long="0.50",
                held=(1, 0),
            ),
        ),
        prices=(price("HLF", 2, "1.00"), price("HLF", 5, "0.99")),
    ),
    Case(
        "L22",
        "a return that is a tie",
        "of the unrounded P&L: 0.0005/1000 = 0.0000005, stored 0.000001, though the P&L of 0.0005 "
        "is stored as 0.00. Long 0.1 x 1.005 = 0.1005: 0.10; cash 1000.0005 - 0.10 = 999.9005",
        portfolio(position(symbol="BBB", quantity="0.1")),
        (row(5, "1000", returned="0.000001", cash="999.90", long="0.10", held=(1, 0)),),
        prices=(price("BBB", 2, "1.0000"), price("BBB", 5, "1.0050")),
    ),
    Case(
        "L22",
        "a previous equity below 0",
        "-1000 + 10; no return",
        portfolio(position(), snapshots=(snapshot(2, "-1000"),)),
        (row(5, "-990", "10", total=("10", "0", "0"), cash="0", long="110", held=(1, 0)),),
    ),
    Case(
        "L22",
        "a return in thirds",
        "-20 x (11 - 10) / 3000 = -0.00666666...",
        portfolio(position(quantity="-20"), snapshots=(snapshot(2, "3000"),)),
        (
            row(
                5,
                "2980",
                "-20",
                returned="-0.006667",
                total=("-20", "0", "0"),
                short="-220",
                held=(0, 1),
            ),
        ),
    ),
    Case(
        "L23",
        "total value and the column of the portfolio",
        "both are the equity",
        portfolio(position()),
        (ONE_DAY,),
        balance="1010",
    ),
]

EXPOSED = [
    Case(
        "L24",
        "an exit on the day",
        "is not active, an exit after it is: earned 2 x 10, 20/1000; long 110 of one",
        portfolio(position(exit_day=5), position(exit_day=6)),
        (
            row(
                5,
                "1020",
                "20",
                returned="0.02",
                total=("20", "0", "0"),
                long="110",
                held=(1, 0),
            ),
        ),
    ),
    Case(
        "L24",
        "an expired option",
        "stays: 0.1 x 100 x (11 - 10) = 10; long 0.1 x 11 x 100 = 110",
        portfolio(position(position_type="LC", quantity="0.1", expiration_day=2)),
        (ONE_DAY,),
    ),
    Case(
        "L25",
        "no active positions",
        "total value and cash are 0, the greeks NULL, while equity rolls on: 1000 + 10 + 2 + 5; "
        "12/1000",
        portfolio(position(exit_day=5, events=(event(5, "2"),)), flows=(contribution(5, "5"),)),
        (
            row(
                5,
                "1017",
                "12",
                realized="2",
                flow="5",
                returned="0.012",
                total=("12", "2", "5"),
            ),
        ),
    ),
    Case(
        "L25",
        "no active positions today",
        "NULL too, although a position with a later entry would count in L32 to L34 (*)",
        portfolio(position(exit_day=5), position(entry_day=6, market_value="100", symbol="BBB")),
        (EARNED_ONLY,),
        today=5,
        profiles={"BBB": profile("1.2", "Energy")},
    ),
    Case(
        "L25",
        "no positions at all",
        "the equity stays",
        portfolio(),
        (row(5, "1000"),),
    ),
    Case(
        "L26",
        "a close of years ago",
        "has no age limit: 10 x 7 = 70",
        portfolio(position()),
        (row(5, "1000", long="70", held=(1, 0)),),
        prices=(price("AAA", -3000, "7"), price("AAA", 6, "12")),
    ),
    Case(
        "L26",
        "the newest close is 0",
        "no price: the 10 before it is not looked for; counted without a value",
        portfolio(position(), position(symbol="BBB")),
        (row(5, "1000", long="50", held=(2, 0)),),
        prices=(price("AAA", 2, "10"), price("AAA", 3, "0"), price("BBB", 2, "5")),
    ),
    Case(
        "L26",
        "the newest close is negative",
        "is used as it is: -10 x -2 = 20 long, of a position counted as short",
        portfolio(position(quantity="-10")),
        (row(5, "1000", long="20", held=(0, 1)),),
        prices=(price("AAA", 3, "-2"),),
    ),
    Case(
        "L27",
        "private, from its market value",
        "1000 / 30,000 = 0.0333... in 28 digits, not 0.0333: 30,000 x it = 1000, not 999",
        portfolio(
            position(
                symbol="PRV", investment_class="PRIVATE", quantity="30000", market_value="1000"
            )
        ),
        (row(5, "1000", long="1000", held=(1, 0)),),
    ),
    Case(
        "L27",
        "private, short, from its market value",
        "1000 / -30,000 is negative, and the value positive again: long, counted as short",
        portfolio(
            position(
                symbol="PRV", investment_class="PRIVATE", quantity="-30000", market_value="1000"
            )
        ),
        (row(5, "1000", long="1000", held=(0, 1)),),
    ),
    Case(
        "L27",
        "private, of an option type",
        "200 / 2 = 100, times 2 x 100 = 20,000 (*); cash 0",
        portfolio(
            position(
                symbol="PRV",
                investment_class="PRIVATE",
                position_type="LC",
                quantity="2",
                market_value="200",
            )
        ),
        (row(5, "1000", cash="0", long="20000", held=(1, 0)),),
    ),
    Case(
        "L27",
        "private, without a market value above 0",
        "entry prices: 10 x 10 + 10 x 20 + 10 x 30",
        portfolio(
            position(symbol="PRV", investment_class="PRIVATE"),
            position(symbol="PRV", investment_class="PRIVATE", market_value="0", entry_price="20"),
            position(symbol="PRV", investment_class="PRIVATE", market_value="-5", entry_price="30"),
        ),
        (row(5, "1000", long="600", held=(3, 0)),),
    ),
    Case(
        "L27",
        "private, with a quantity of 0",
        "price 0, value 0; counted as short (L31)",
        portfolio(
            position(symbol="PRV", investment_class="PRIVATE", quantity="0", market_value="5")
        ),
        (row(5, "1000", held=(0, 1)),),
    ),
    Case(
        "L27",
        "private in small letters, without a close",
        "not exactly PRIVATE: left out of the sums but counted",
        portfolio(
            position(symbol="PRV", investment_class="private", market_value="500"), position()
        ),
        (
            row(
                5,
                "1010",
                "10",
                returned="0.01",
                total=("10", "0", "0"),
                long="110",
                held=(2, 0),
            ),
        ),
    ),
    Case(
        "L28",
        "binary64, above the tie",
        "0.1 x 0.45 is 0.045000000000000005 in binary64: 0.05. Exactly it is 0.045: 0.04 half even",
        portfolio(position(symbol="BBB", quantity="0.1")),
        (row(5, "1000", long="0.05", held=(1, 0)),),
        prices=(price("BBB", 2, "0.45"),),
    ),
    Case(
        "L28",
        "binary64, below the tie",
        "0.1 x 0.35 is 0.034999999999999996 in binary64: 0.03. Exactly it is 0.035: 0.04",
        portfolio(position(symbol="BBB", quantity="0.1")),
        (row(5, "1000", long="0.03", held=(1, 0)),),
        prices=(price("BBB", 2, "0.35"),),
    ),
    Case(
        "L28",
        "the multiplier comes last",
        "(1.5 x 0.0013) x 100 is 0.19499999999999998: 0.19. 1.5 x (0.0013 x 100) is 0.195: 0.20",
        portfolio(position(symbol="BBB", position_type="LC", quantity="1.5")),
        (row(5, "1000", long="0.19", held=(1, 0)),),
        prices=(price("BBB", 2, "0.0013"),),
    ),
    Case(
        "L29",
        "ties go to even",
        "long 0.125: 0.12; short -0.375: -0.38; gross 0.5; net -0.25. Cash 1000 - 0.12 + 0.38",
        portfolio(position(symbol="BBB", quantity="0.5"), position(symbol="BBB", quantity="-1.5")),
        (
            row(
                5,
                "1000",
                cash="1000.26",
                long="0.12",
                short="-0.38",
                gross="0.50",
                net="-0.25",
                held=(1, 1),
            ),
        ),
        prices=(price("BBB", 2, "0.25"),),
    ),
    Case(
        "L29",
        "each sum is rounded for itself",
        "long 0.125: 0.12; short -0.0625: -0.06; gross 0.1875: 0.19, not 0.18; net 0.0625: 0.06",
        portfolio(position(symbol="BBB", quantity="0.5"), position(symbol="BBB", quantity="-0.25")),
        (
            row(
                5,
                "1000",
                cash="999.94",
                long="0.12",
                short="-0.06",
                gross="0.19",
                net="0.06",
                held=(1, 1),
            ),
        ),
        prices=(price("BBB", 2, "0.25"),),
    ),
    Case(
        "L29",
        "a sum wider than 128 bits",
        # 10^13 in units of 10^-28 needs 137 bits.
        "with 8 decimals of quantity: 10,000 x 1,000,000,000 = 10^13; 0.5 x 0.25 = 0.125; "
        "0.00000001 x 0.0005 is 5.0000000000000005e-12 and -0.00000005 x 0.0001 is -5e-12 in "
        "binary64. Net 10^13 + 0.125 + 5e-28 is above the tie: .13. Long 10^13 + 0.125 + 5e-12 and "
        "gross: .13; short -5e-12 is 0.00. Cash 1000 - 10^13 is below 0",
        portfolio(
            position(symbol="BIG", quantity="10000"),
            position(symbol="BBB", quantity="0.5"),
            position(symbol="LOW", quantity="0.00000001"),
            position(symbol="TNY", quantity="-0.00000005"),
        ),
        (
            row(
                5,
                "1000",
                cash="0",
                long="10000000000000.13",
                gross="10000000000000.13",
                net="10000000000000.13",
                held=(3, 1),
            ),
        ),
        prices=(
            price("BIG", 2, "1000000000"),
            price("BBB", 2, "0.25"),
            price("LOW", 2, "0.0005"),
            price("TNY", 2, "0.0001"),
        ),
        scales=ref.Scales(quantity=8),
    ),
    Case(
        "L29",
        "sums that cancel",
        "without the tails of the case above: net 10^13 + 0.125 + 5e-12 - 5e-12 is a tie: .12",
        portfolio(
            position(symbol="BIG", quantity="10000"),
            position(symbol="BBB", quantity="0.5"),
            position(symbol="TNY", quantity="0.00000005"),
            position(symbol="TNY", quantity="-0.00000005"),
        ),
        (
            row(
                5,
                "1000",
                cash="0",
                long="10000000000000.13",
                gross="10000000000000.13",
                net="10000000000000.12",
                held=(3, 1),
            ),
        ),
        prices=(
            price("BIG", 2, "1000000000"),
            price("BBB", 2, "0.25"),
            price("TNY", 2, "0.0001"),
        ),
        scales=ref.Scales(quantity=8),
    ),
    Case(
        "L30",
        "cash from the unrounded equity",
        "0.01 + 0.5 x (1.00 - 1.03) = -0.005, stored -0.01. Cash -0.005 - 0.50 + 10 = 9.495, "
        "stored 9.50; from the stored equity it would be 9.49. Return -0.015/0.01 = -1.5; P&L "
        "-0.015, stored -0.02",
        portfolio(
            position(symbol="HLF", quantity="0.5"),
            position(symbol="BBB", quantity="-1", position_type="SHORT"),
            snapshots=(snapshot(2, "0.01"),),
        ),
        (
            row(
                5,
                "-0.01",
                "-0.02",
                returned="-1.5",
                total=("-0.02", "0", "0"),
                cash="9.50",
                long="0.50",
                short="-10",
                held=(1, 1),
            ),
        ),
        prices=(
            price("HLF", 2, "1.03"),
            price("HLF", 5, "1.00"),
            price("BBB", 2, "10"),
            price("BBB", 5, "10"),
        ),
    ),
    Case(
        "L30",
        "cash that would be below 0",
        "50 + 10 - 110 = -50: 0",
        portfolio(position(), snapshots=(snapshot(2, "50"),)),
        (
            row(
                5,
                "60",
                "10",
                returned="0.2",
                total=("10", "0", "0"),
                cash="0",
                long="110",
                held=(1, 0),
            ),
        ),
    ),
    Case(
        "L31",
        "a quantity of 0",
        "is counted as short",
        portfolio(position(), position(quantity="0")),
        (
            row(
                5,
                "1010",
                "10",
                returned="0.01",
                total=("10", "0", "0"),
                long="110",
                held=(1, 1),
            ),
        ),
    ),
    Case(
        "L31",
        "yesterday",
        "no betas, sectors or concentration on days before today",
        portfolio(position(market_value="110")),
        (ONE_DAY,),
        today=6,
        profiles={"AAA": profile("1.2", "Energy")},
    ),
]

ALONE: dict[str, Any] = {
    "hhi": "10000.0000",
    "effective_num_positions": "1.00",
    "top_3_concentration": "1.0000",
    "top_10_concentration": "1.0000",
}
"""What L34 gives for a single symbol with value."""


def today(rule: str, name: str, note: str, *positions: ref.Position, **inputs: Any) -> Case:
    """Return a case of the 5th as today: an equity of 1000 before, positions that earn nothing.

    They are all LONG and have a price of 1 on the 2nd only. `analytic` are the columns of L32 to
    L34, `held` the numbers of positions, `long` the sum of their quantities.
    """
    analytic = inputs.pop("analytic")
    held = inputs.pop("held", (len(positions), 0))
    long = inputs.pop("long")
    equity = inputs.pop("equity", "1000")
    before = snapshot(2, equity)
    cash = None if Decimal(equity) > Decimal(long) else "0"
    symbols = sorted({(one.symbol or "").upper() for one in positions})
    expected = row(5, equity, cash=cash, long=long, held=held, **analytic)
    return Case(
        rule,
        name,
        note,
        portfolio(*positions, snapshots=(before,)),
        (expected,),
        prices=tuple(price(symbol, 2, "1") for symbol in symbols),
        today=inputs.pop("today", 5),
        **inputs,
    )


def held(symbol: str, market_value: str | None, **columns: Any) -> ref.Position:
    """Return 1 unit of `symbol` with a stored market value."""
    columns = {"quantity": "1", "market_value": market_value} | columns
    return position(symbol=symbol, **columns)


BETAS = [
    today(
        "L32",
        "betas of profiles",
        "(300 x 1.5 + 200 x 0.5) / 1000 = 0.55; a short of -100 with beta 2 takes 0.2 away: 0.35",
        held("AAA", "300"),
        held("BBB", "200"),
        held("CCC", "-100", position_type="SHORT"),
        long="3",
        profiles={"AAA": profile("1.5"), "BBB": profile("0.5"), "CCC": profile("2")},
        has_benchmark=False,
        analytic={"beta_provider_1y": "0.3500"},
    ),
    today(
        "L32",
        "today is yesterday already",
        "days after today are current too",
        held("AAA", "300"),
        long="1",
        today=2,
        profiles={"AAA": profile("1.5")},
        has_benchmark=False,
        analytic={"beta_provider_1y": "0.4500"},
    ),
    today(
        "L32",
        "positions that do not count",
        "options, other classes (small letters and NULL among them), exited, soft-deleted and "
        "valueless ones are left out; one with a later entry counts: 100 x 1 / 1000",
        held("AAA", "300", position_type="LC", quantity="0.01"),
        held("AAA", "300", investment_class="public"),
        held("AAA", "300", investment_class=None),
        held("AAA", "300", exit_day=9),
        held("AAA", "300", deleted=True),
        held("AAA", None),
        held("AAA", "0"),
        held("AAA", "100", entry_day=9),
        long="6",
        held=(6, 0),
        profiles={"AAA": profile("1")},
        has_benchmark=False,
        analytic={"beta_provider_1y": "0.1000"},
    ),
    today(
        "L32",
        "a profile under another spelling",
        "`aaa` is not `AAA`: its own newest beta counts, even one dated after the day (*): "
        "500 x 0.8 / 1000",
        held("aaa", "500", betas=(beta(2, "3"), beta(40, "0.8"))),
        long="1",
        profiles={"AAA": profile("1.5")},
        has_benchmark=False,
        analytic={"beta_provider_1y": "0.4000"},
    ),
    today(
        "L32",
        "a profile with a beta of 0 or without one",
        "falls back to the position's own: (100 x 2 + 100 x 3) / 1000",
        held("AAA", "100", betas=(beta(2, "2"),)),
        held("BBB", "100", betas=(beta(2, "3"),)),
        long="2",
        profiles={"AAA": profile("0"), "BBB": profile(None)},
        has_benchmark=False,
        analytic={"beta_provider_1y": "0.5000"},
    ),
    today(
        "L32",
        "the newest beta is 0",
        "then there is none, whatever older ones say",
        held("AAA", "100", betas=(beta(-5, "2"), beta(2, "0"))),
        long="1",
        has_benchmark=False,
        analytic={},
    ),
    today(
        "L32",
        "an equity below 0",
        "no beta; but weights (L33), below 0: 100 / -500",
        held("AAA", "100"),
        equity="-500",
        long="1",
        profiles={"AAA": profile("1", "Energy")},
        analytic={"sector_exposure": {"Energy": -0.2}, **ALONE},
    ),
    today(
        "L32",
        "a beta that is a tie",
        "0.25 x 0.2 / 1000 is 5e-05 in binary64, its text a tie: 0.0001",
        held("AAA", "0.25"),
        long="1",
        profiles={"AAA": profile("0.2")},
        has_benchmark=False,
        analytic={"beta_provider_1y": "0.0001"},
    ),
    Case(
        "L32",
        "a beta that does not fit",
        "10,000 x 1 / 0.01 = 10^6 does not fit numeric(10,4) (L4)",
        portfolio(held("AAA", "10000"), snapshots=(snapshot(2, "0.01"),)),
        failures=(failure(5, "out_of_range", "beta_provider_1y = 1000000.0000"),),
        balance="777",
        prices=(price("AAA", 2, "1"),),
        today=5,
        profiles={"AAA": profile("1")},
    ),
    Case(
        "L32",
        "a beta that would not fit yesterday",
        "is not computed before today; cash 0.01 - 1 is below 0",
        portfolio(held("AAA", "10000"), snapshots=(snapshot(2, "0.01"),)),
        (row(5, "0.01", cash="0", long="1", held=(1, 0)),),
        prices=(price("AAA", 2, "1"),),
        today=6,
        profiles={"AAA": profile("1")},
    ),
    Case(
        "L32",
        "the unrounded equity",
        "0.01 - 0.005 = 0.005, stored 0.01: beta 0.01 x 1 / 0.005 = 2, not 1. 0.5 x (0.99 - 1.00) "
        "= -0.005, stored -0.01; return -0.5; long 0.495: 0.50; Energy 0.01/0.005 = 2",
        portfolio(held("HLF", "0.01", quantity="0.5"), snapshots=(snapshot(2, "0.01"),)),
        (
            row(
                5,
                "0.01",
                "-0.01",
                returned="-0.5",
                total=("-0.01", "0", "0"),
                cash="0",
                long="0.50",
                held=(1, 0),
                beta_provider_1y="2.0000",
                sector_exposure={"Energy": 2.0},
                **ALONE,
            ),
        ),
        prices=(price("HLF", 2, "1.00"), price("HLF", 5, "0.99")),
        today=5,
        profiles={"HLF": profile("1", "Energy")},
    ),
]

SECTORS = [
    today(
        "L33",
        "sectors",
        "Financial Services is renamed; ETFs, options and private ones have their own; a profile "
        "is that of upper(symbol). 100/1000 for each; Energy 200/1000. Seven of 100 in six "
        "symbols: weights 2/7 once, 1/7 five times; hhi 10000 x (4 + 5)/49 = 1836.7347; "
        "effective 49/9 = 5.44; top 3 (2 + 1 + 1)/7 = 0.5714; top 10 all",
        held("AAA", "100", investment_class=None),
        held("aaa", "-100", investment_class="private"),
        held("FIN", "100", investment_class=None),
        held("ETF", "100", investment_class=None),
        held("OPT", "100", investment_class="OPTIONS"),
        held("PRV", "100", investment_class="PRIVATE"),
        held("PRV", "100", investment_class="PRIVATE"),
        long="7",
        profiles={
            "AAA": profile(None, "Energy"),
            "FIN": profile(None, "Financial Services"),
            "ETF": profile(None, "Energy", is_etf=True),
            "OPT": profile(None, "Energy"),
        },
        analytic={
            "sector_exposure": {
                "ETFs": 0.1,
                "Energy": 0.2,
                "Financials": 0.1,
                "Unclassified": 0.3,
            },
            "hhi": "1836.7347",
            "effective_num_positions": "5.44",
            "top_3_concentration": "0.5714",
            "top_10_concentration": "1.0000",
        },
    ),
    today(
        "L33",
        "the other names",
        "three sectors are renamed, others are not; 100/1000 each. Weights 1/4: hhi 2500, "
        "effective 4, top 3 0.75",
        held("AAA", "100"),
        held("BBB", "100"),
        held("CCC", "100"),
        held("DDD", "100"),
        long="4",
        profiles={
            "AAA": profile(None, "Consumer Cyclical"),
            "BBB": profile(None, "Consumer Defensive"),
            "CCC": profile(None, "Basic Materials"),
            "DDD": profile(None, "Healthcare", is_etf=None),
        },
        analytic={
            "sector_exposure": {
                "Consumer Discretionary": 0.1,
                "Consumer Staples": 0.1,
                "Healthcare": 0.1,
                "Materials": 0.1,
            },
            "hhi": "2500.0000",
            "effective_num_positions": "4.00",
            "top_3_concentration": "0.7500",
            "top_10_concentration": "1.0000",
        },
    ),
    today(
        "L33",
        "values without a market value",
        "last price, else entry price, times the multiplier; 1 for PRIVATE: |-2 x 5| = 10, "
        "0.1 x 3 x 100 = 30, 2 x 30 = 60 (private LC). Sum 100: weights 0.1, 0.3, 0.6; "
        "hhi 10000 x 0.46 = 4600; effective 2.1739. Sectors 10/1000, (30 + 60)/1000. "
        "Long 0.1 x 1 x 100 + 2 x 1 x 100 = 210, short -2",
        held("AAA", None, quantity="-2", last_price="5", entry_price="7"),
        held(
            "BBB",
            None,
            quantity="0.1",
            position_type="LC",
            investment_class="OPTIONS",
            entry_price="3",
        ),
        held(
            "PRV",
            None,
            quantity="2",
            position_type="LC",
            investment_class="PRIVATE",
            entry_price="30",
        ),
        long="210",
        held=(2, 1),
        profiles={"AAA": profile(None, "Energy")},
        analytic={
            "short": "-2",
            "sector_exposure": {"Energy": 0.01, "Unclassified": 0.09},
            "hhi": "4600.0000",
            "effective_num_positions": "2.17",
            "top_3_concentration": "1.0000",
            "top_10_concentration": "1.0000",
        },
    ),
    today(
        "L33",
        "market values of 0",
        "0 is a value: Energy, ETFs and Unclassified are there with weight 0; "
        "Materials 100/1000. One symbol has all: hhi 10000",
        held("AAA", "0", last_price="50"),
        held("ETF", "0"),
        held("PRV", "0", investment_class="PRIVATE"),
        held("BBB", "100"),
        long="4",
        profiles={
            "AAA": profile(None, "Energy"),
            "BBB": profile(None, "Materials"),
            "ETF": profile(None, "", is_etf=True),
        },
        analytic={
            "sector_exposure": {"ETFs": 0.0, "Energy": 0.0, "Materials": 0.1, "Unclassified": 0.0},
            **ALONE,
        },
    ),
    today(
        "L33",
        "no sector",
        "no profile, a NULL, empty or unknown sector: left out of the weights, counted in L34. "
        "100/1000 in Energy; weights 1/5: hhi 2000",
        held("AAA", "100"),
        held("BBB", "100"),
        held("CCC", "100"),
        held("DDD", "100"),
        held("EEE", "100"),
        long="5",
        profiles={
            "AAA": profile(None, "Energy"),
            "BBB": profile(None, None),
            "CCC": profile(None, ""),
            "DDD": profile(None, "Unknown"),
        },
        analytic={
            "sector_exposure": {"Energy": 0.1},
            "hhi": "2000.0000",
            "effective_num_positions": "5.00",
            "top_3_concentration": "0.6000",
            "top_10_concentration": "1.0000",
        },
    ),
    today(
        "L33",
        "28 digits, then binary64",
        "100 / 300 = 0.3333333333333333333333333333, in binary64 0.3333333333333333",
        held("AAA", "100"),
        equity="300",
        long="1",
        profiles={"AAA": profile(None, "Energy")},
        analytic={"sector_exposure": {"Energy": 0.3333333333333333}, **ALONE},
    ),
    today(
        "L33",
        "exited positions",
        "an exit date takes a position out, even a later one (L24 holds it active): none is left",
        held("AAA", "100", exit_day=9),
        long="1",
        profiles={"AAA": profile("1", "Energy")},
        analytic={},
    ),
    today(
        "L34",
        "all left out of the sectors",
        "stores {}",
        held("AAA", "100"),
        long="1",
        analytic={"sector_exposure": {}, **ALONE},
    ),
    today(
        "L34",
        "grouped by exact symbol",
        "AAA and aaa are two: weights 0.75 and 0.25; hhi 10000 x 0.625 = 6250; effective 1.6. "
        "Sectors (300 + 100)/1000 together",
        held("AAA", "300"),
        held("aaa", "100"),
        long="2",
        profiles={"AAA": profile(None, "Energy")},
        analytic={
            "sector_exposure": {"Energy": 0.4},
            "hhi": "6250.0000",
            "effective_num_positions": "1.60",
            "top_3_concentration": "1.0000",
            "top_10_concentration": "1.0000",
        },
    ),
    today(
        "L34",
        "twelve symbols",
        "values 10 x 100 and 2 x 50 of 1100: 1/11 and 1/22. hhi 10000 x (10/121 + 2/484) = "
        "10000 x 42/484 = 867.7686; effective 484/42 = 11.52; top 3 3/11 = 0.2727; top 10 "
        "10/11 = 0.9091. Energy 1100/1000",
        *(held(f"S{number:02}", "100") for number in range(10)),
        held("T00", "50"),
        held("T01", "50"),
        long="12",
        profiles={
            symbol: profile(None, "Energy")
            for symbol in (*(f"S{number:02}" for number in range(10)), "T00", "T01")
        },
        analytic={
            "sector_exposure": {"Energy": 1.1},
            "hhi": "867.7686",
            "effective_num_positions": "11.52",
            "top_3_concentration": "0.2727",
            "top_10_concentration": "0.9091",
        },
    ),
    today(
        "L34",
        "many symbols",
        "3000 of the same value, without profiles: hhi 10000/3000 = 3.3333..., stored 3.3333; "
        "effective 10000 / 3.3333... = 3000.00, where 10000 / 3.3333 would be 3000.03; top 3 and "
        "10 are 3/3000 and 10/3000",
        *(held(f"S{number:04}", "1") for number in range(3000)),
        long="3000",
        analytic={
            "sector_exposure": {},
            "hhi": "3.3333",
            "effective_num_positions": "3000.00",
            "top_3_concentration": "0.0010",
            "top_10_concentration": "0.0033",
        },
    ),
    today(
        "L34",
        "no benchmark",
        "no row of SP500: none of the five; the beta is there all the same: 100 x 1 / 1000",
        held("AAA", "100"),
        long="1",
        profiles={"AAA": profile("1", "Energy")},
        has_benchmark=False,
        analytic={"beta_provider_1y": "0.1000"},
    ),
    today(
        "L34",
        "all values 0",
        "none of the five",
        held("AAA", "0"),
        long="1",
        profiles={"AAA": profile("1", "Energy")},
        analytic={},
    ),
    Case(
        "L34",
        "an equity of 0",
        "none of the five, and no beta; P has 10, withdrawn",
        portfolio(held("AAA", "100"), flows=(withdrawal(5, "10"),), snapshots=(snapshot(2, "10"),)),
        (row(5, "0", flow="-10", total=("0", "0", "-10"), cash="0", long="1", held=(1, 0)),),
        prices=(price("AAA", 2, "1"),),
        today=5,
        profiles={"AAA": profile("1", "Energy")},
    ),
]

TOO_FINE = Decimal("1.00001")


def unreadable(
    name: str,
    why: str,
    detail: str,
    faulty: legacy.Portfolio,
    *,
    symbol: str | None = None,
    balance: str = "777",
) -> Case:
    """Return a case in which a value fails a portfolio (L4)."""
    return Case(
        "L4",
        f"unreadable: {name}",
        "nothing is written",
        faulty,
        days=(5, 6),
        failures=(failure(5, why, detail, symbol), failure(6, why, detail, symbol)),
        balance=balance,
    )


def of_position(name: str, why: str, detail: str, **columns: Any) -> Case:
    faulty = position(**columns)
    return unreadable(name, why, detail, portfolio(position(), faulty), symbol=faulty.symbol)


UNREADABLE = [
    of_position("symbol NULL", "missing_value", "symbol", symbol=None),
    of_position("quantity NULL", "missing_value", "quantity", quantity=None),
    of_position("quantity NaN", "non_finite", "quantity", quantity=NAN),
    of_position("quantity too fine", "not_representable", "quantity", quantity=TOO_FINE),
    of_position("entry price NaN", "non_finite", "entry_price", entry_price=NAN),
    of_position("last price NaN", "non_finite", "last_price", last_price=NAN),
    of_position("market value NaN", "non_finite", "market_value", market_value=NAN),
    of_position("infinite entry", "non_finite", "entry_date", entry_day=ref.INFINITE_DAY),
    of_position("infinite exit", "non_finite", "exit_date", exit_day=ref.INFINITE_DAY),
    unreadable(
        "an event of NaN",
        "non_finite",
        "realized_pnl",
        portfolio(position(deleted=True, events=(ref.Event(jan(9), Decimal(1), NAN),))),
    ),
    unreadable(
        "a flow of NaN",
        "non_finite",
        "amount",
        portfolio(flows=(ref.Flow(jan(9), NAN, "WITHDRAWAL"),)),
    ),
    unreadable(
        "the equity of P",
        "non_finite",
        "equity_balance",
        portfolio(snapshots=(snapshot(2, "NaN"),)),
    ),
    unreadable(
        "the equity of the portfolio, in tenths of cents",
        "not_representable",
        "equity_balance",
        portfolio(balance="777.001", snapshots=()),
        balance="777.001",
    ),
]
READ = [
    Case(
        "L4",
        "values that no rule reads",
        "a soft-deleted position, an entry date of NULL, the equity of a portfolio whose P has one",
        portfolio(
            position(),
            position(deleted=True, quantity=NAN),
            position(entry_day=None),
            balance="NaN",
        ),
        (ONE_DAY,),
    ),
    Case(
        "L17",
        "amounts and dates of NULL",
        "are 0, and on no session",
        portfolio(
            position(
                events=(
                    ref.Event(jan(5), Decimal(1), None),
                    ref.Event(None, Decimal(1), Decimal(3)),
                    ref.Event(ref.INFINITE_DAY, Decimal(1), Decimal(3)),
                )
            ),
            flows=(
                ref.Flow(jan(5), None, "CONTRIBUTION"),
                ref.Flow(None, Decimal(3), "CONTRIBUTION"),
                ref.Flow(jan(5), Decimal(3), None),
            ),
        ),
        (ONE_DAY,),
    ),
    Case(
        "L26",
        "closes that are no numbers",
        "are as if not there, and so are those with too many decimals",
        portfolio(position()),
        (ONE_DAY,),
        prices=(
            price("AAA", 1, "10"),
            ("AAA", jan(2), None),
            ("AAA", jan(3), NAN),
            ("AAA", jan(4), TOO_FINE),
            price("AAA", 5, "11"),
            ("AAA", None, Decimal(3)),
        ),
    ),
    Case(
        "L27",
        "private, without any price",
        "an entry price of NULL: left out of the sums but counted",
        portfolio(position(symbol="PRV", investment_class="PRIVATE", entry_price=None)),
        (row(5, "1000", held=(1, 0)),),
    ),
    today(
        "L32",
        "two newest betas",
        "the largest counts: 100 x 2 / 1000",
        held("AAA", "100", betas=(beta(2, "2"), beta(2, "1"))),
        long="1",
        has_benchmark=False,
        analytic={"beta_provider_1y": "0.2000"},
    ),
    Case(
        "L32",
        "a beta of NaN",
        "gives a result that does not fit",
        portfolio(held("AAA", "100", betas=(ref.Beta(jan(2), NAN),))),
        prices=(price("AAA", 2, "1"),),
        today=5,
        failures=(failure(5, "out_of_range", "beta_provider_1y = NaN"),),
        balance="777",
    ),
    today(
        "L33",
        "no price for a weight",
        "neither market value, last price nor entry price: the five cannot be had",
        held("AAA", None, entry_price=None),
        held("BBB", "100"),
        long="2",
        profiles={"BBB": profile(None, "Energy")},
        analytic={},
    ),
]

CASES = [*DAYS, *EARNED, *ROLLED, *EXPOSED, *BETAS, *SECTORS, *UNREADABLE, *READ]

DELETED = legacy.Portfolio("deleted", deleted=True)
FIRST = legacy.Portfolio("first")
SECOND = legacy.Portfolio("second")

CHOSEN = [
    (None, [FIRST, SECOND]),
    (("second", "deleted"), [SECOND]),
    ((), []),
]
"""Which of `DELETED`, `FIRST` and `SECOND` are processed for the names asked for (L1)."""
