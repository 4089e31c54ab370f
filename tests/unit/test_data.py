"""The real closes of the package: which they are, that none is missing, and some by hand."""

import gzip
from datetime import date
from pathlib import Path

import numpy as np
import pytest

import batchcore.demo.data
from batchcore import calendar
from batchcore.analytics.sector_exposure import SECTORS, sector_of
from batchcore.calendar import date_of, day_of
from batchcore.demo.data import benchmark_weights, real_closes, real_profiles
from batchcore.units import LotKind


@pytest.fixture(scope="module")
def closes():
    return real_closes()


def test_every_symbol_has_a_close_on_each_session_of_new_york(closes):
    stocks = "AAPL AMD BAC BBY CVX GE HD JNJ JPM KO LLY MRK MSFT PEP PFE PG RRC UNH WMT XOM"
    etfs = "SPY TLT IEF LQD MTUM QUAL USMV"
    assert closes.symbols == tuple(sorted([*stocks.split(), *etfs.split()]))
    start, end = day_of(date(2015, 1, 2)), day_of(date(2016, 7, 1))
    expected = calendar.load("XNYS").sessions(start, end)
    np.testing.assert_array_equal(closes.days, expected)
    # 252 sessions in 2015 and 126 in 2016 up to July 1.
    assert (closes.values.shape, closes.values.dtype) == ((378, 27), np.int64)
    assert (closes.values > 0).all()


@pytest.mark.parametrize(
    ("symbol", "when", "expected"),
    [
        # Rows of the sources: 24.532, 2.67, 130.293, 60.941, 54.21, 34.496 (3 decimals) ...
        ("AAPL", "2015-01-02", 24_5320),
        ("AMD", "2015-01-02", 2_6700),
        ("GE", "2015-01-02", 130_2930),
        ("MTUM", "2015-01-02", 60_9410),
        ("QUAL", "2015-01-02", 54_2100),
        ("USMV", "2015-01-02", 34_4960),
        ("AAPL", "2015-08-24", 23_4320),
        ("XOM", "2015-08-24", 47_9510),
        ("XOM", "2016-07-01", 67_2100),
        ("AAPL", "2016-07-01", 22_1350),
        # ... and 205.42999267578125, 209.9199981689453, 140.57000732421875 (32-bit floats).
        ("SPY", "2015-01-02", 205_4300),
        ("SPY", "2016-07-01", 209_9200),
        ("TLT", "2016-07-01", 140_5700),
    ],
)
def test_close_is_that_of_the_source(closes, symbol, when, expected):
    row = closes.days.tolist().index(day_of(date.fromisoformat(when)))
    assert closes.values[row, closes.symbols.index(symbol)] == expected


def test_file_has_four_decimals_everywhere_and_a_fixed_time_stamp():
    packed = (Path(batchcore.demo.data.__file__).parent / "closes.csv.gz").read_bytes()
    assert packed[4:8] == bytes(4)  # MTIME of RFC 1952
    header, *lines = gzip.decompress(packed).decode("ascii").splitlines()
    fields = [line.split(",") for line in lines]
    assert {len(row) for row in fields} == {len(header.split(","))}
    assert {len(close.partition(".")[2]) for row in fields for close in row[1:]} == {4}


def test_largest_moves_are_real_ones(closes):
    # A wrong split or a shifted column would show as a jump: the largest move of a day in the
    # source is AMD on 2016-04-22, +52.3 % (2.62 to 3.99) after its licence deal.
    before, after = closes.values[:-1], closes.values[1:]
    moves = np.abs(after - before) / before
    row, column = np.unravel_index(moves.argmax(), moves.shape)
    assert closes.symbols[column] == "AMD"
    assert date_of(closes.days[row + 1]).isoformat() == "2016-04-22"
    assert (before[row, column], after[row, column]) == (2_6200, 3_9900)


@pytest.fixture(scope="module")
def profiles():
    return real_profiles()


def test_funds_have_no_sector_and_companies_all(profiles):
    funds = {profile.symbol for profile in profiles if profile.is_etf}
    assert funds == {"SPY", "TLT", "IEF", "LQD", "MTUM", "QUAL", "USMV"}
    for profile in profiles:
        classes = (profile.sector, profile.industry)
        assert (classes == (None, None)) if profile.is_etf else all(classes), profile.symbol
        assert profile.name
        assert profile.country == "United States"


@pytest.mark.parametrize(
    ("symbol", "name", "sector", "industry"),
    [
        # A comma in a name is quoted in the file.
        ("AMD", "Advanced Micro Devices, Inc.", "Technology", "Semiconductors"),
        ("JPM", "JPMorgan Chase & Co.", "Financial Services", "Banks - Diversified"),
        ("WMT", "Walmart Inc.", "Consumer Defensive", "Discount Stores"),
        ("SPY", "SPDR S&P 500 ETF Trust", None, None),
    ],
)
def test_profile_is_that_of_the_file(profiles, symbol, name, sector, industry):
    (found,) = (profile for profile in profiles if profile.symbol == symbol)
    assert (found.name, found.sector, found.industry) == (name, sector, industry)


def test_sectors_of_profiles_and_of_the_benchmark_have_the_names_of_a2(profiles):
    of_profiles = {
        sector_of(profile.sector, is_etf=profile.is_etf, kind=LotKind.STOCK) for profile in profiles
    }
    of_benchmark = {row.sector for row in benchmark_weights()}
    assert of_benchmark <= set(SECTORS)
    assert of_profiles - of_benchmark == {"ETFs"}


def test_a_sector_has_one_weight_a_date_and_they_sum_to_one():
    rows = benchmark_weights()
    keys = [(row.benchmark, row.asof_day, row.sector) for row in rows]
    assert keys == sorted(set(keys))
    dates = {}
    for row in rows:
        dates.setdefault((row.benchmark, date_of(row.asof_day).isoformat()), []).append(row.weight)
    # GICS had ten sectors in 2015; Real Estate left the Financials in 2016.
    assert {on: (len(own), sum(own)) for on, own in dates.items()} == {
        ("SP500", "2015-12-31"): (10, 1),
        ("SP500", "2020-06-30"): (11, 1),
    }
