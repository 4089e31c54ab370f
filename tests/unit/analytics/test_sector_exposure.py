"""A2 by hand."""

import numpy as np
import pytest

from batchcore.analytics.sector_exposure import (
    SECTORS,
    over_and_underweights,
    sector_exposure,
    sector_of,
)
from support.lots import OPTION, PRIVATE, STOCK, lots, without

NAN = np.nan


@pytest.mark.parametrize(
    ("sector", "is_etf", "kind", "name"),
    [
        ("Technology", False, STOCK, "Technology"),
        ("Financial Services", False, STOCK, "Financials"),
        ("Consumer Cyclical", False, STOCK, "Consumer Discretionary"),
        ("Consumer Defensive", False, STOCK, "Consumer Staples"),
        ("Basic Materials", False, STOCK, "Materials"),
        (" Basic Materials ", None, STOCK, "Materials"),
        ("Technology", True, STOCK, "ETFs"),
        (None, True, STOCK, "ETFs"),
        (None, None, STOCK, "Unknown"),
        ("  ", False, STOCK, "Unknown"),
        ("Conglomerates", False, STOCK, "Conglomerates"),
        ("Technology", False, OPTION, "Unclassified"),
        (None, True, OPTION, "Unclassified"),
        ("Technology", True, PRIVATE, "Unclassified"),
    ],
)
def test_the_sector_of_a_lot(sector, is_etf, kind, name):
    assert sector_of(sector, is_etf=is_etf, kind=kind) == name


def test_the_names_of_sectors_are_sorted_and_final():
    assert list(SECTORS) == sorted(set(SECTORS))
    named = {sector_of(name, is_etf=False, kind=STOCK) for name in SECTORS}
    assert named == set(SECTORS)


def exposure(rows, sectors, equity):
    columns = without(lots(*rows), "symbol", "kind")
    equity = np.array(equity, dtype=np.float64)
    return sector_exposure(**columns, sector=np.array(sectors), equity=equity, sectors=3)


def test_long_and_short_add_up():
    rows = [(0, 0, STOCK, 600), (0, 0, STOCK, -200), (0, 0, STOCK, -100)]
    # (600 + 100) / 2000 and 200 / 2000; nothing in the third
    result = exposure(rows, [0, 1, 0], [[2000.0]])
    np.testing.assert_allclose(result, [[[0.35, 0.1, NAN]]], rtol=1e-15)


def test_a_share_may_be_more_than_the_whole():
    assert exposure([(0, 0, STOCK, -300)], [2], [[100.0]])[0, 0, 2] == 3.0


@pytest.mark.parametrize("equity", [0.0, -5.0, NAN])
def test_an_equity_not_above_0_is_none(equity):
    assert np.isnan(exposure([(0, 0, STOCK, 100)], [0], [[equity]])).all()


def test_each_portfolio_and_session_has_its_own():
    rows = [(0, 0, STOCK, (100, 0)), (2, 0, STOCK, (0, 30)), (2, 0, STOCK, (10, 10))]
    result = exposure(rows, [0, 1, 2], [[100.0, 100.0], [100.0, 100.0], [20.0, 40.0]])
    np.testing.assert_array_equal(
        result,
        [
            [[1.0, NAN, NAN], [NAN, NAN, NAN]],
            [[NAN, NAN, NAN], [NAN, NAN, NAN]],
            [[NAN, NAN, 0.5], [NAN, 0.75, 0.25]],
        ],
    )


def test_over_and_underweights_by_hand():
    exposures = {"Technology": 0.5, "ETFs": 0.25}
    benchmark = {"Technology": 0.25, "Financial Services": 0.125, "Financials": 0.0625}
    # 0.5 - 0.25; nothing held of what weighs 0.125 + 0.0625
    assert list(over_and_underweights(exposures, benchmark).items()) == [
        ("ETFs", 0.25),
        ("Financials", -0.1875),
        ("Technology", 0.25),
    ]
