"""Splits (C3 to C5): which rows count, and what else than rows of runs is made of them."""

from dataclasses import replace
from decimal import Decimal
from fractions import Fraction
from typing import Any

import numpy as np
import pytest

import batchcore
from batchcore import native
from batchcore import reference as ref
from batchcore.config import CHECKS
from batchcore.errors import InputError
from batchcore.frames import Text
from batchcore.reference import checks
from batchcore.reference.splits import half_away
from batchcore.splits import counting, quotients, shares_of_close
from support import build
from support.cases import Case, Run, SplitTable, cases, jan
from support.checked import CheckedRun, by_core, by_reference
from support.sides import frames, native_market

CASES = {case.name: case for case in cases("rollforward", "rollforward/splits.toml")}


AS_TRADED, ADJUSTED = (
    f"2 for 1, closes {basis}, quantities as entered" for basis in ("as traded", "adjusted")
)


def market_of(case: Case, *days: int) -> native.Market:
    return native_market(frames(case), case, list(map(jan, days)))


def marks_of(splits: object) -> None:
    store = native.build_market(build.prices(()), build.session_days([])).prices
    native._core.Marks.from_prices(  # noqa: SLF001  # its own entry point
        store, sessions=build.session_days([]), lookback_days=10, splits=splits
    )


def test_rows_that_count_are_those_of_the_reference() -> None:
    table = CASES["rows that are no splits"].splits
    assert table is not None
    table = replace(table, rows=(*table.rows, (None, jan(7), Decimal(2), Decimal(1))))
    rows, issues = counting(build.split_rows(table))
    found = ref.splits(table.rows, *("as_traded", "as_entered"))
    assert quotients(rows) == sorted(found.quotients["AAA"].items()) == [(jan(7), 2)]
    assert [issue for _, issue in build.issues(issues)] == list(found.issues)


def test_no_rows_are_no_splits() -> None:
    rows, issues = counting(build.split_rows(SplitTable(())))
    assert (len(rows), len(issues), quotients(rows)) == (0, 0, [])


def test_a_price_shown_is_of_the_shares_of_its_session() -> None:
    case = CASES["a mark by lookback over an ex-date"]
    inputs = frames(case)
    values = native.value_positions(
        market_of(case, 7),
        native.Book.of(inputs),
        opening=inputs.opening,
        session=jan(7),
    )
    shown = values.last_price.values.tolist(), values.market_value.tolist()
    # 102 of the 6th is 51 for each of 20 shares: 1020, 20 above the entry
    assert (*shown, values.unrealized_pnl.tolist()) == ([51_0000], [1020_00], [20_00])


@pytest.mark.parametrize(
    ("name", "returned"),
    [
        (AS_TRADED, 51.5 * 2 / 102 - 1),
        (ADJUSTED, 51.5 / 51 - 1),
    ],
)
def test_the_return_over_an_ex_date_is_that_of_the_same_shares(name: str, returned: float) -> None:
    closes = market_of(CASES[name], 5, 6, 7, 8).fresh_closes(
        [" aaa"], build.session_days(map(jan, (6, 7)))
    )
    assert closes[1, 0] / closes[0, 0] - 1 == pytest.approx(returned, rel=1e-12)


def test_shares_that_a_close_stands_for() -> None:
    table = SplitTable(
        (("A", jan(6), Decimal(3), Decimal(2)), ("A", jan(8), Decimal(1), Decimal(4)))
    )
    rows, _ = counting(build.split_rows(table))
    assert [float(shares_of_close(rows, jan(on))) for on in (5, 6, 8)] == [1, 1.5, 0.375]
    adjusted, _ = counting(build.split_rows(replace(table, price_basis="adjusted")))
    assert [shares_of_close(adjusted, jan(on)) for on in (5, 8)] == [1, 1]


def test_legacy_computes_the_same_with_splits_and_without() -> None:
    case = CASES[AS_TRADED]
    inputs = frames(case)
    options: Any = {"policy": "legacy", "today": np.datetime64("2026-01-09").item()}
    days = build.session_days(case.days)
    with_splits = batchcore.compute(inputs, days, **options)
    without = batchcore.compute(replace(inputs, splits=None), days, **options)
    for column in ("equity_balance", "long_value", "daily_pnl"):
        assert getattr(with_splits, column).tolist() == getattr(without, column).tolist()


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"price_basis": "close"}, "`splits.price_basis` is close, expected as_traded or adjusted"),
        ({"quantity_basis": ""}, "`splits.quantity_basis` is , expected as_entered or current"),
        ({"price_basis": 1}, "column `splits.price_basis`: expected a text, was"),
        ({"symbol": Text.of([None])}, "column `splits.symbol`, row 0: a symbol"),
        ({"day": build.days([None])}, "column `splits.day`, row 0: a date"),
        ({"new": build.decimals([Decimal(0)], 0)}, "column `splits.new`, row 0: shares above 0"),
        (
            {"old": build.decimals([Decimal(1)] * 2, 0)},
            "column `splits.old` has 2 rows",
        ),
    ],
)
def test_the_core_refuses_what_is_no_split(change: dict[str, Any], message: str) -> None:
    good = build.split_rows(SplitTable((("A", jan(6), Decimal(2), Decimal(1)),)))
    columns = {name: getattr(good, name) for name in ("symbol", "day", "new", "old")}
    columns |= {"price_basis": good.price_basis, "quantity_basis": good.quantity_basis}
    wrong = type("Wrong", (), {**columns, **change})()
    with pytest.raises(InputError) as error:
        marks_of(wrong)
    assert message in str(error.value)


def test_two_splits_of_one_day_are_refused_by_the_core() -> None:
    row = ("A", jan(6), Decimal(2), Decimal(1))
    with pytest.raises(InputError, match=r"splits.day`, row 1: the same key stands in row 0"):
        marks_of(build.split_rows(SplitTable((row, row))))


def test_a_fraction_is_rounded_half_away_however_large() -> None:
    assert half_away(Fraction(1, 16), 3) == Decimal("0.063")
    assert half_away(Fraction(-(10**70), 8), 0) == Decimal(f"-{10**70 // 8}")
    assert str(half_away(Fraction(-1, 1000), 2)) == "0.00"


@pytest.mark.parametrize(
    ("name", "price_basis", "told"),
    [
        ("a split that no table has", None, ["102 to 51.5, near 2 for 1"]),
        (AS_TRADED, "as_traded", []),
        (ADJUSTED, "adjusted", []),
        # a close that halves is no split of closes that are adjusted
        (AS_TRADED, "adjusted", ["102 to 51.5, near 2 for 1"]),
    ],
)
def test_a_row_explains_closes_that_look_like_its_split(
    name: str, price_basis: str | None, told: list[str]
) -> None:
    case = CASES[name]
    splits = case.splits and replace(case.splits, price_basis=price_basis or "as_traded")
    run = Run(case.portfolios, case.prices, case.days, splits=splits)
    rules = checks.Rules(checks=dict.fromkeys(CHECKS, "report"))
    given = CheckedRun(run, case.days, rules, None)
    found = by_core(given)
    assert found == by_reference(given)
    assert [one.detail for one in found[0] if one.name == "split_suspected"] == told
