"""Worked cases of lots in other currencies (C6, C7), by the reference and by the core."""

from collections.abc import Callable
from dataclasses import replace
from decimal import Decimal

import pytest

from batchcore import reference as ref
from batchcore.reference import rollforward
from support import build, sides
from support.cases import Case, Run, SplitTable, cases, jan

FILES = ("lots", "rates", "splits")
CASES = cases("rollforward", *(f"currencies/{name}.toml" for name in FILES))
EVERY_CASE = pytest.mark.parametrize("case", CASES, ids=str)


def expected(case: Case) -> sides.Outcome:
    told = [
        ref.Result(one.rows, tuple(sorted(one.issues, key=repr)), one.failed)
        for one in case.expected
    ]
    return told, sorted(case.market_issues, key=repr)


@pytest.mark.parametrize("side", [sides.by_reference, sides.by_core])
@EVERY_CASE
def test_rows_worked_by_hand(case: Case, side: Callable[[Case], sides.Outcome]) -> None:
    assert side(case) == expected(case)


@EVERY_CASE
def test_without_a_table_of_rates_amounts_are_the_portfolios(case: Case) -> None:
    portfolios = [
        replace(one, positions=tuple(replace(p, currency=None) for p in one.positions))
        for one in case.portfolios
    ]
    plain = replace(case, portfolios=tuple(portfolios), rates=())
    mapped = build.results(sides.computed(plain))
    assert mapped == build.results(sides.computed(replace(plain, rates=None)))


POSITION = ref.Position("AAA", "LONG", Decimal(10), Decimal(100), jan(5), currency="EUR")
CLOSED = ref.Event(jan(7), Decimal(10), Decimal(99))
OVER_SPLIT = SplitTable((("AAA", jan(7), Decimal(2), Decimal(1)),), "as_traded", "as_entered")
MARKET = ref.market(
    [("AAA", jan(on), Decimal(close)) for on, close in ((5, 100), (6, 110), (7, 120))]
)
RATES = ref.rates(
    [("EUR", "USD", jan(on), Decimal(rate)) for on, rate in ((5, "1.10"), (6, "1.20"), (7, "1.30"))]
)


PLAIN, SPLIT = "100 110 120", "100 102 51.50"
"""Closes from the 5th on, without a split and with one of 2 for 1 on the 7th."""


@pytest.mark.parametrize(
    ("columns", "closes", "previous", "price", "currency"),
    [
        # held on both: 10 EUR each at 1.20, then 0.10 more for each of 1200
        ({}, PLAIN, 6, "120", "120"),
        # bought on the 5th: 10 * (120 - 100) * 1.10; 10 * 120 * (1.30 - 1.10)
        ({}, PLAIN, 4, "220", "240"),
        # sold on the 7th at 115: 10 * (115 - 110) * 1.20; 10 * 115 * (1.30 - 1.20)
        ({"exit_day": jan(7), "exit_price": Decimal(115)}, PLAIN, 6, "60", "115"),
        # closed by an event for 99: less the 220 of the 6th, 10 * (110 * 1.20 - 100 * 1.10)
        ({"quantity": Decimal(0), "events": (CLOSED,)}, PLAIN, 6, "-121", "0"),
        # in the portfolio's currency all is price: 10 * (120 - 110)
        ({"currency": "USD"}, PLAIN, 6, "100", "0"),
        # PRIVATE, sold at 115: 10 * (115 - 100) * 1.10; 10 * 115 * (1.30 - 1.10)
        (
            {"investment_class": "PRIVATE", "exit_day": jan(7), "exit_price": Decimal(115)},
            *(PLAIN, 6, "165", "230"),
        ),
        # 102 * 10 and 51.50 * 20 EUR: (1030 - 1020) * 1.20, then 1030 * (1.30 - 1.20)
        ({}, SPLIT, 6, "12", "103"),
        # bought on the 5th: (1030 - 100 * 10) * 1.10; 1030 * (1.30 - 1.10)
        ({}, SPLIT, 4, "33", "206"),
        # the close of the 6th counts on the 7th: 0 * 1.20; 1020 * (1.30 - 1.20)
        ({}, "100 102", 6, "0", "102"),
        # sold on the 7th at 52: (52 * 20 - 1020) * 1.20; 1040 * (1.30 - 1.20)
        ({"exit_day": jan(7), "exit_price": Decimal(52)}, SPLIT, 6, "24", "104"),
    ],
)
def test_effects_of_price_and_currency(
    columns: dict[str, object], closes: str, previous: int, price: str, currency: str
) -> None:
    portfolio = ref.Portfolio("p", positions=(replace(POSITION, **columns),), currency="USD")
    prices = tuple(("AAA", jan(5 + at), Decimal(one)) for at, one in enumerate(closes.split()))
    rates = tuple(("EUR", "USD", jan(on), Decimal(f"1.{on - 4}")) for on in (5, 6, 7))
    splits = None if closes == PLAIN else OVER_SPLIT
    run = Run((portfolio,), prices, (jan(7),), rates=rates, fx={"scale": 6}, splits=splits)
    (lot,) = sides.contributions(run, portfolio, jan(previous), jan(7))
    effects = Decimal(price), Decimal(currency)
    assert (lot.price_effect, lot.currency_effect) == effects
    assert lot.amount == sum(effects)
    (told,) = sides.contributions_by_core(run, portfolio, jan(previous), jan(7))
    assert told[8:10] == effects


def test_a_lot_without_a_rate_has_no_amounts() -> None:
    portfolio = ref.Portfolio("p", positions=(replace(POSITION, currency="CHF"),), currency="USD")
    (lot,) = rollforward.contributions(portfolio, MARKET, jan(6), jan(7), rates=RATES)
    amounts = lot.unrealized_change, lot.realized, lot.price_effect, lot.currency_effect, lot.value
    assert amounts == (None,) * 5
    assert lot.after is not None
    assert (lot.after.price, lot.after.rate) == (120, None)


@pytest.mark.parametrize(
    ("rate", "scale", "is_rate"),
    [
        ("1E-12", 13, True),
        ("9.99E-13", 15, False),
        ("999999999999.99", 2, True),
        ("1000000000000", 2, False),
    ],
)
def test_a_rate_is_bounded_so_that_its_inverse_has_digits(
    rate: str, scale: int, *, is_rate: bool
) -> None:
    value = Decimal(rate)
    found = ref.rates([("EUR", "USD", 0, value)], scale=scale)
    usd, eur = ref.Currency("USD"), ref.Currency("EUR")
    assert found.rate(eur, usd, 0) == (value if is_rate else None)
    inverse = found.rate(usd, eur, 0)
    assert inverse is not None and inverse > 0 if is_rate else inverse is None
    run = Run((), (), (0,), rates=(("EUR", "USD", 0, value),), fx={"scale": scale})
    _, issues = sides.by_core(run)
    assert (issues == []) == is_rate
