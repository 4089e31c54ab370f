"""What the page of a portfolio shows of its stored rows, worked by hand."""

import datetime as dt
from collections.abc import Mapping, Sequence
from dataclasses import replace
from decimal import Decimal
from typing import Any

import numpy as np
import pytest

from batchcore import calendar
from batchcore.calendar import day_of
from batchcore.frames import Flows
from batchcore.pages import portfolio, portfolio_charts, texts
from batchcore.pages.contents import Point, Share
from batchcore.pages.growth import Growth
from batchcore.returns.chunk import chain_of
from batchcore.sources.snapshots import ChainRows
from support import build, pages

JAN_2 = dt.date(2025, 1, 2)


def row(day: dt.date, equity: str, pnl: str | None, **more: object) -> dict[str, object]:
    own = {
        "day": day_of(day),
        "equity": Decimal(equity),
        "pnl": None if pnl is None else Decimal(pnl),
        "flow": Decimal(0),
        "cumulative": Decimal(0),
        "realized": Decimal(0),
        "long": Decimal(equity),
        "short": None,
        "net": Decimal(equity),
        "top_3": None,
        "top_10": None,
        "sectors": None,
    }
    return {**own, **more}


CHAIN = [
    row(dt.date(2025, 1, 2), "100.00", "0.00"),
    row(dt.date(2025, 1, 3), "110.00", "10.00"),
    # 50 come in, which are no return: 11 by 110.
    row(dt.date(2025, 1, 31), "171.00", "11.00", flow=Decimal(50)),
    row(dt.date(2025, 2, 3), "136.80", "-34.20"),
    row(dt.date(2025, 2, 4), "153.90", "17.10"),
    row(dt.date(2025, 3, 3), "184.68", "30.78"),
]
"""Returns of 10, 10, -20, 12.5 and 20 %: an index of 1.1, 1.21, 0.968, 1.089, 1.3068."""

PLAIN = calendar.from_price_dates([row["day"] for row in CHAIN])
"""A calendar whose sessions are the days of the chain."""


def growth_of(chain: Sequence[Mapping[str, Any]], sessions: calendar.Calendar = PLAIN) -> Growth:
    """Return the growth from the first row on."""
    ids = np.zeros((1, 16), dtype=np.uint8)
    rows = ChainRows(
        np.repeat(ids, len(chain), axis=0),
        np.array([row["day"] for row in chain], dtype=np.int32),
        *(build.decimals([row[name] for row in chain], 2) for name in ("equity", "pnl", "flow")),
    )
    return Growth.since(chain_of(ids, rows, Flows.none(), sessions), rows.day[0])


def points_of(
    chain: Sequence[Mapping[str, Any]], sessions: calendar.Calendar = PLAIN
) -> tuple[Point, ...]:
    return portfolio.points_of(chain, growth_of(chain, sessions).by_session())


def numbers(*values: str | None) -> list[Decimal | None]:
    return [None if value is None else Decimal(value) for value in values]


def of_months(growth: Growth) -> list[tuple[str, Decimal | None]]:
    return growth.by(lambda date: f"{date:%Y-%m}")


def test_returns_are_the_pnl_of_the_equity_before_compounded() -> None:
    points = points_of(CHAIN)
    assert [point.twr for point in points] == numbers(
        "0", "0.1", "0.21", "-0.032", "0.089", "0.3068"
    )
    # 0.968 and 1.089 by the peak of 1.21.
    assert [point.fall for point in points] == numbers("0", "0", "0", "-0.2", "-0.1", "0")
    assert points[0].short is None


def test_since_a_session_returns_begin_anew() -> None:
    chain = growth_of(CHAIN).chain
    found = Growth.since(chain, day_of(dt.date(2025, 1, 20))).by_session()
    assert list(found) == [row["day"] for row in CHAIN[3:]]
    assert [twr for twr, _ in found.values()] == numbers("-0.2", "-0.1", "0.08")
    assert Growth.since(chain, day_of(dt.date(2025, 3, 3))).by_session() == {}


def test_months_and_years_begin_with_the_last_row_before_them() -> None:
    last_year = row(dt.date(2024, 12, 31), "80.00", "0.00")
    first = row(dt.date(2025, 1, 2), "100.00", "20.00")
    days = [last_year["day"], *(row["day"] for row in CHAIN)]
    growth = growth_of([last_year, first, *CHAIN[1:]], calendar.from_price_dates(days))
    # 1.25 * 1.21 - 1, 1.089 / 1.21 - 1, 1.3068 / 1.089 - 1.
    assert of_months(growth) == [
        ("2025-01", Decimal("0.5125")),
        ("2025-02", Decimal("-0.1")),
        ("2025-03", Decimal("0.2")),
    ]
    # The year before ends where the chain begins. 1.25 * 1.3068 - 1.
    assert growth.by(lambda date: date.year) == [(2025, Decimal("0.6335"))]


def test_a_first_month_of_its_last_session_alone_has_no_return() -> None:
    assert [month for month, _ in of_months(growth_of(CHAIN[2:]))] == ["2025-02", "2025-03"]


def test_a_missing_session_takes_the_return_of_its_own_month_and_year_alone() -> None:
    before = row(dt.date(2024, 12, 31), "100.00", "0.00")
    days = [before["day"], *(row["day"] for row in CHAIN)]
    without = [before, CHAIN[0], *CHAIN[2:], row(dt.date(2026, 1, 2), "277.02", "92.34")]
    growth = growth_of(without, calendar.from_price_dates([*days, without[-1]["day"]]))
    assert of_months(growth) == [
        ("2025-01", None),
        ("2025-02", Decimal("-0.1")),
        ("2025-03", Decimal("0.2")),
        ("2026-01", Decimal("0.5")),
    ]
    assert growth.by(lambda date: date.year) == [(2025, None), (2026, Decimal("0.5"))]
    # From the beginning on nothing is known after the gap.
    assert [twr for twr, _ in growth.by_session().values()] == [0, *[None] * 5]


@pytest.mark.parametrize(
    ("equity", "pnl", "january"), [("0.00", "-110.00", Decimal(-1)), ("1.00", None, None)]
)
def test_a_session_without_a_return_takes_that_of_its_month_alone(
    equity: str, pnl: str | None, january: Decimal | None
) -> None:
    # On an equity of 0 February has no return, and January has none without its P&L.
    chain = [*CHAIN[:2], row(dt.date(2025, 1, 31), equity, pnl), *CHAIN[3:]]
    months = dict(of_months(growth_of(chain)))
    assert months["2025-01"] == january
    assert (months["2025-02"] is None) == (equity == "0.00")
    assert months["2025-03"] == Decimal("0.2")


def test_what_is_no_finite_number_is_none() -> None:
    odd = {"flow": Decimal("NaN"), "cumulative": Decimal("-Infinity"), "sectors": "{}"}
    found = portfolio.finite(row(JAN_2, "1.00", "NaN", **odd))
    assert (found["flow"], found["cumulative"], found["pnl"]) == (None, None, None)
    assert (found["equity"], found["sectors"], found["day"]) == (1, "{}", day_of(JAN_2))


def test_exposures_that_are_no_numbers_are_not_0() -> None:
    odd = row(JAN_2, "1.00", "0.00", long=None, short=Decimal("-2.00"), net=Decimal("NaN"))
    (point,) = points_of([portfolio.finite(odd)])
    assert (point.long, point.short, point.net) == (None, -2, None)
    chart = portfolio_charts.exposures(replace(pages.portfolio(2), points=(point,)))
    assert chart.title == "Net exposure is not a finite number"
    assert [cell.text for cell in chart.table.rows[0]] == [
        *("2025-01-02", texts.NOTHING, f"{texts.MINUS}2.00", texts.NOTHING)
    ]


@pytest.mark.parametrize(
    "weight", ["1e400", "-1E+29", "1e999999", "1e9999999999999999999", "-1e-99999999999999999999"]
)
def test_a_stored_sector_weight_without_any_sense_is_left_out(weight: str) -> None:
    sectors = f'{{"Energy": 0.25, "Utilities": {weight}}}'
    _, found = portfolio.sectors_of([row(JAN_2, "1.00", "0.00", sectors=sectors)], JAN_2)
    assert found == {"Energy": Decimal("0.25")}


NO_FALL = {
    "max_drawdown": Decimal(0),
    "peak": None,
    "trough": None,
    "recovered": None,
    "current_drawdown": Decimal(0),
    "reason": None,
}
GAP = "no time-weighted return: a gap of 1 session, the first on 2025-01-03"


def test_no_fall_is_told_from_no_return() -> None:
    fall = portfolio.drawdown_of(NO_FALL)
    assert fall is not None
    assert (fall["max_drawdown"], fall["peak"]) == (0, None)
    assert portfolio.no_returns_of(NO_FALL) == ""
    unknown = {**NO_FALL, "max_drawdown": None, "reason": f"{GAP}; no money-weighted return: x"}
    assert portfolio.drawdown_of(unknown) is None
    assert portfolio.no_returns_of(unknown) == GAP
    assert (portfolio.drawdown_of({}), portfolio.no_returns_of({})) == (None, "")


def test_sessions_without_a_snapshot() -> None:
    exchange = calendar.load("XNYS")
    chain = [CHAIN[0], row(dt.date(2025, 1, 8), "100.00", "1.00")]
    points = points_of(chain, exchange)
    missing = portfolio.missing_sessions(exchange, points)
    assert [day.isoformat() for day in missing] == ["2025-01-03", "2025-01-06", "2025-01-07"]
    assert [point.twr for point in points] == [0, None]


def test_sectors_of_the_last_row_that_has_them() -> None:
    chain = [
        row(JAN_2, "1.00", "0.00", sectors='{"Energy": 0.25, "Unknown": 1}'),
        row(dt.date(2025, 1, 3), "1.00", "0.00"),
        row(dt.date(2025, 1, 6), "1.00", "0.00", sectors='{"Energy": 0.5}'),
    ]
    day, found = portfolio.sectors_of(chain, dt.date(2025, 1, 3))
    assert (day, found) == (JAN_2, {"Energy": Decimal("0.25"), "Unknown": Decimal(1)})
    assert portfolio.sectors_of(chain[1:2], dt.date(2025, 1, 3)) == (None, {})


def test_sectors_beside_those_of_the_benchmark() -> None:
    shares = {"Energy": Decimal("0.25"), "Unknown": Decimal("0.5")}
    found = portfolio.beside(shares, {"Energy": 0.04, "Utilities": 0.02})
    assert found == (
        Share("Unknown", Decimal("0.5"), benchmark=Decimal("0.0")),
        Share("Energy", Decimal("0.25"), benchmark=Decimal("0.04")),
        Share("Utilities", Decimal(0), benchmark=Decimal("0.02")),
    )
    assert portfolio.beside({}, {"Energy": 0.04}) == ()
    assert portfolio.beside(shares, {})[0].benchmark is None


def test_the_largest_symbols_by_gross_value() -> None:
    values = [
        ("A", Decimal(30)),
        ("B", Decimal(-60)),
        *((f"C{n:02d}", Decimal(1)) for n in range(15)),
    ]
    found = portfolio.largest(values)
    assert (found[0].key, found[0].amount) == ("B", Decimal(-60))
    assert found[1].value.quantize(Decimal("0.0001")) == Decimal("0.2857")  # 30 of 105
    assert found[-1].key == "2 others, gross"
    assert abs(sum(abs(one.value) for one in found) - 1) < Decimal("1e-26")
    assert portfolio.largest([]) == ()
