"""What the page of a portfolio shows of its stored rows, worked by hand."""

import datetime as dt
from decimal import Decimal

from batchcore import calendar
from batchcore.calendar import day_of
from batchcore.pages import portfolio
from batchcore.pages.contents import Share

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


def test_the_index_grows_by_the_pnl_of_the_equity_before() -> None:
    points = portfolio.points_of(CHAIN, None, PLAIN)
    indices = [Decimal(text) for text in ("1", "1.1", "1.21", "0.968", "1.089", "1.3068")]
    assert [point.index for point in points] == indices
    assert points[0].short == 0


def test_since_begins_with_the_first_session_from_then_on() -> None:
    points = portfolio.points_of(CHAIN, dt.date(2025, 1, 20), PLAIN)
    assert [point.session.isoformat() for point in points][:2] == ["2025-01-31", "2025-02-03"]
    assert [point.index for point in points][:2] == [1, Decimal("0.8")]
    assert portfolio.points_of(CHAIN, dt.date(2026, 1, 1), PLAIN) == ()


def test_after_a_row_without_a_return_there_is_no_index() -> None:
    chain = [*CHAIN[:2], row(dt.date(2025, 1, 31), "0.00", "-110.00"), *CHAIN[3:]]
    points = portfolio.points_of(chain, None, PLAIN)
    assert [point.index for point in points] == [1, Decimal("1.1"), 0, None, None, None]
    nothing = [CHAIN[0], row(dt.date(2025, 1, 3), "110.00", None)]
    assert portfolio.points_of(nothing, None, PLAIN)[1].index is None


def test_months_begin_with_the_last_row_of_the_month_before() -> None:
    months = portfolio.months_of(portfolio.points_of(CHAIN, None, PLAIN))
    # 1.21 - 1, 1.089 / 1.21 - 1, 1.3068 / 1.089 - 1.
    assert [(one.month, one.value) for one in months] == [
        (1, Decimal("0.21")),
        (2, Decimal("-0.1")),
        (3, Decimal("0.2")),
    ]


def test_a_first_month_of_its_last_session_alone_has_no_return() -> None:
    months = portfolio.months_of(portfolio.points_of(CHAIN[2:], None, PLAIN))
    assert [one.month for one in months] == [2, 3]


def test_sessions_without_a_snapshot() -> None:
    exchange = calendar.load("XNYS")
    chain = [CHAIN[0], row(dt.date(2025, 1, 8), "100.00", "1.00")]
    points = portfolio.points_of(chain, None, exchange)
    missing = portfolio.missing_sessions(exchange, points)
    assert [day.isoformat() for day in missing] == ["2025-01-03", "2025-01-06", "2025-01-07"]
    assert [point.index for point in points] == [1, None]


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
