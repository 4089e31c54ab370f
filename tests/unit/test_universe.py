"""What surrounds a seeded market: it fits the schema, has the oddities named, and counts right."""

from collections import Counter, defaultdict
from datetime import date

import numpy as np
import pytest

from batchcore.analytics.sector_exposure import SECTORS as NAMES
from batchcore.analytics.sector_exposure import sector_of
from batchcore.calendar import day_of
from batchcore.demo.market import demo_portfolios, generated_market, real_market, with_factors
from batchcore.demo.universe import (
    FACTORS,
    SECTORS,
    benchmark_table,
    factor_table,
    generated_profiles,
    tag_tables,
    user_table,
)
from batchcore.units import FACTOR_ETFS, LotKind

DAY = day_of(date(2016, 1, 12))


def keys(column):
    return [row.tobytes() for row in column]


@pytest.fixture(scope="module")
def market():
    return with_factors(generated_market(10_000, 1, seed=1, history=0), seed=1, history=0)


@pytest.fixture(scope="module")
def profiles(market):
    return generated_profiles(market, seed=2)


@pytest.fixture(scope="module")
def portfolios():
    return demo_portfolios(real_market(), count=100, seed=3)


def test_profiles_are_of_stocks_and_funds_each_once(market, profiles):
    symbols = [profile.symbol for profile in profiles]
    assert symbols == sorted(set(symbols))
    options = {market.symbols[column] for column in market.options.column}
    assert set(symbols) <= set(market.symbols) - options
    assert set(FACTOR_ETFS) <= set(symbols)


def test_shares_of_odd_profiles_are_those_told_and_betas_scatter_about_one(profiles):
    # 9,000 stocks and 11 funds. The deviation of a share p is sqrt(p * (1 - p) / 9000), at most
    # 0.0021 for p = 0.04: each limit is about five of them.
    stocks = [profile for profile in profiles if profile.symbol not in FACTOR_ETFS]
    count = len(stocks)
    assert abs(count / 9_000 - 0.97) < 0.009
    for odd, share, most in (
        (sum(one.is_etf for one in stocks), 0.03, 0.009),
        (sum(one.beta is None for one in stocks), 0.04, 0.0105),
        # Two in a hundred of those that have one; a hundredth of those that are no ETF.
        (sum(one.beta == 0 for one in stocks), 0.0192, 0.0075),
        (sum(one.sector is None and not one.is_etf for one in stocks), 0.0097, 0.0052),
    ):
        assert abs(odd / count - share) < most
    betas = [float(one.beta) for one in stocks if one.beta]
    # Three uniforms on +-0.45: a deviation of 0.45, of the mean 0.45 / sqrt(8,550) = 0.0049.
    assert abs(np.mean(betas) - 1) < 0.025
    assert abs(np.std(betas) - 0.45) < 0.02
    assert {-one.beta.as_tuple().exponent for one in profiles if one.beta} <= {3, 4}


def test_sectors_have_about_the_shares_of_the_index(profiles):
    found = Counter(profile.sector for profile in profiles if profile.sector)
    assert sum(share for _, share, _ in SECTORS) == 1_000
    for sector, share, industries in SECTORS:
        # A deviation of at most sqrt(0.155 * 0.845 / 8,380) = 0.004.
        assert abs(found[sector] / found.total() - share / 1_000) < 0.02, sector
        of_sector = {one.industry for one in profiles if one.sector == sector}
        assert of_sector == set(industries)
        assert sector_of(sector, is_etf=False, kind=LotKind.STOCK) in NAMES
    assert found.keys() == {sector for sector, _, _ in SECTORS}


def test_factors_are_those_of_the_eleven_etfs_in_order():
    assert tuple(factor.etf for factor in FACTORS) == FACTOR_ETFS
    table = factor_table(day=DAY, seed=1)
    columns = table.columns
    assert columns["etf_proxy"].texts() == list(FACTOR_ETFS)
    assert columns["name"].texts()[:2] == ["Market", "Long Treasury"]
    assert columns["display_order"].values.tolist() == list(range(1, 12))
    assert len(set(columns["name"].texts())) == len(set(keys(columns["id"]))) == 11


def test_benchmark_has_a_row_for_each_weight_of_the_file():
    columns = benchmark_table(day=DAY, seed=1).columns
    assert set(columns["benchmark_code"].texts()) == {"SP500"}
    first = day_of(date(2015, 12, 31))
    rows = zip(
        columns["asof_date"].values.tolist(),
        columns["sector"].texts(),
        columns["weight"].values.tolist(),
        strict=True,
    )
    assert (first, "Technology", 210_000) in set(rows)  # 0.21, scale 6
    assert columns["weight"].scale == 6
    assert columns["weight"].values.sum() == 2_000_000


def test_users_are_those_of_the_portfolios(portfolios):
    table = user_table(portfolios, day=DAY)
    owners = set(keys(portfolios.portfolios.columns["user_id"]))
    # Three portfolios each.
    assert table.rows == len(owners) == 34
    assert set(keys(table.columns["id"])) == owners
    assert len(set(table.columns["email"].texts())) == 34


def test_positions_have_tags_some_of_them_with_the_name_of_a_sector(portfolios):
    tags = tag_tables(portfolios, day=DAY, seed=4)
    tagged = keys(tags[1].columns["position_id"])
    assert len(set(tagged)) == len(tagged)
    # 15 % of about 1,400: a deviation of 0.0095.
    assert abs(len(tagged) / len(portfolios.inputs.positions) - 0.15) < 0.048
    own = tags[0].columns
    names = defaultdict(list)
    for user, name in zip(keys(own["user_id"]), own["name"].texts(), strict=True):
        names[user].append(name)
    assert all(of_user[:3] == ["Core", "Watch", "Tax lot"] for of_user in names.values())
    # Users 0, 3, .. 33 of 34.
    assert Counter(len(of_user) for of_user in names.values()) == {4: 12, 3: 22}
    assert {name for of_user in names.values() for name in of_user[3:]} <= set(NAMES)
    assert len(set(zip(own["name"].texts(), own["color"].texts(), strict=True))) == 4


def test_no_two_tables_of_a_seed_share_an_id(portfolios):
    tables = (
        *portfolios.tables,
        *tag_tables(portfolios, day=int(real_market().days[0]), seed=3),
        factor_table(day=DAY, seed=3),
        benchmark_table(day=DAY, seed=3),
    )
    ids = [key for table in tables for key in keys(table.columns["id"])]
    assert len(set(ids)) == len(ids)
