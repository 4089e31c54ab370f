"""What the analytics of a run look at, and how figures become the decimals of columns."""

import math
from decimal import Decimal

import numpy as np
import pytest

from batchcore.db.analytic_tables import Capacity
from batchcore.errors import InputError
from batchcore.frames import Decimals, Objects, Text
from batchcore.native import build_market
from batchcore.run.analysis import Regressions
from batchcore.run.analytic_rows import Fitting
from support import build

CAPACITIES = {"t": {"x": Capacity(4, 10**6), "cents": Capacity(2, 10**4)}}


def fitted(*figures: float) -> tuple[list[Decimal | None], list[str | None]]:
    fitting = Fitting(CAPACITIES)
    rows = np.arange(len(figures), dtype=np.int32)
    column = fitting.decimals("t", "x", np.array(figures, dtype=np.float64), rows, rows + 100)
    return build.cells(column), fitting.issues().detail.texts()


def test_figures_are_rounded_to_the_decimals_of_their_column() -> None:
    values, issues = fitted(1.00004, 1.00006, -1.00006, -0.00001, math.nan)
    found = ["1.0000", "1.0001", "-1.0001", "0.0000"]
    assert values == [*map(Decimal, found), None]
    assert issues == []


def test_a_half_is_rounded_away_from_zero() -> None:
    # 1/32 and 3/32 are exact in binary: 312.5 and 937.5 units of the fourth decimal
    values, _ = fitted(1 / 32, -1 / 32, 3 / 32)
    assert values == [Decimal("0.0313"), Decimal("-0.0313"), Decimal("0.0938")]


def test_figures_beyond_their_column_are_null_with_an_issue() -> None:
    # numeric(6,4) holds up to 99.9999; 99.99996 would be 100.0000
    values, issues = fitted(99.9999, 99.99996, -100.0, math.inf)
    assert values == [Decimal("99.9999"), None, None, None]
    assert issues == ["x = 99.99996", "x = -100.0", "x = inf"]


def test_issues_tell_whose_a_figure_is_and_of_which_day() -> None:
    fitting = Fitting(CAPACITIES)
    whose = np.array([7, 8], dtype=np.int32), np.array([20_000, 20_001], dtype=np.int32)
    fitting.decimals("t", "x", np.array([1.0, 1e9]), *whose)
    issues = fitting.issues()
    assert issues.name.texts() == ["analytic_out_of_range"]
    assert (issues.portfolio.tolist(), issues.day.values.tolist()) == ([8], [20_001])


@pytest.mark.parametrize(
    ("mantissa", "scale", "fits"),
    [
        (99_99, 2, True),
        (100_00, 2, False),
        (-100_00, 2, False),
        # the server rounds half away from zero: 99.9949 is 99.99, 99.995 is 100.00
        (99_9949, 4, True),
        (99_9950, 4, False),
        (99, 0, True),
        (100, 0, False),
    ],
)
def test_exact_values_fit_if_the_server_can_round_them(
    mantissa: int, scale: int, *, fits: bool
) -> None:
    fitting = Fitting(CAPACITIES)
    values = Decimals(np.array([mantissa], dtype=np.int64), scale)
    portfolio, symbol = np.array([7], dtype=np.int32), Text.of(["AAA"])
    found = fitting.holds("t", "cents", values, portfolio=portfolio, symbol=symbol, day=5)
    assert found.tolist() == [fits]
    issues = fitting.issues()
    assert issues.name.texts() == ["market_value_out_of_range"] * (not fits)
    assert issues.symbol.texts() == ["AAA"] * (not fits)


def test_shares_leave_out_what_is_not_there() -> None:
    fitting = Fitting(CAPACITIES)
    figures = np.array([[0.5, math.nan], [0.25, 1e13], [math.nan, math.nan]])
    rows = np.arange(3, dtype=np.int32)
    known = np.array([True, True, False])
    shares = fitting.shares(("A", "B"), figures, known, rows, rows)
    assert shares.present.tolist() == [[True, False], [True, True], [False, False]]
    assert shares.state.tolist() == [0, 1, 1]  # the second does not fit, the third is not known
    assert fitting.issues().detail.texts() == ["sector_exposure = 10000000000000.0"]


def test_names_of_objects_ascend() -> None:
    none = np.zeros((0, 2), dtype=np.int64)
    with pytest.raises(InputError, match="names of objects do not ascend"):
        Objects(("b", "a"), none, 6, none.astype(np.bool_))


def test_symbols_of_a_run_are_normalised_and_of_others_the_empty_one() -> None:
    market = build_market(build.prices(), build.session_days([]))
    regressions = Regressions(market, [" aaa", "AAA", "Bbb "], build.session_days([]), "portfolio")
    assert regressions.symbols == ("", "AAA", "BBB", "SPY")
    column = Text.of(["bbb", "of a portfolio that is left out", "aaa "])
    assert regressions.columns(column).tolist() == [2, 0, 1]


def test_returns_are_those_up_to_a_session() -> None:
    sessions = [10, 11, 14]
    closes = [("SPY", day, Decimal(100 + day)) for day in sessions]
    market = build_market(build.prices(closes), build.session_days(sessions))
    regressions = Regressions(market, [], build.session_days(sessions), "portfolio")
    # 111 by 110; 114 by 111
    assert regressions.market(11)[1:].tolist() == pytest.approx([1 / 110])
    assert regressions.market(14)[1:].tolist() == pytest.approx([1 / 110, 3 / 111])
    assert regressions.betas(14).observations.max() == 0  # fewer than 60
