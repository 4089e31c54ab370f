"""Generated markets and portfolios: the same by seed, fit for the tables, valid by the rules."""

from collections import Counter
from dataclasses import replace
from datetime import date

import numpy as np
import pytest

import batchcore
from batchcore import calendar, native
from batchcore.analytics.windows import LOOK
from batchcore.calendar import date_of, day_of
from batchcore.demo.data import real_closes
from batchcore.demo.market import (
    BETA_HISTORY,
    FUNDS,
    demo_portfolios,
    generated_market,
    generated_portfolios,
    real_market,
    split_table,
    with_factors,
    with_splits,
)
from batchcore.errors import ConfigError
from batchcore.frames import SplitRows
from batchcore.units import FACTOR_ETFS
from support import build
from support.command import printed

DIGEST = """
from batchcore.demo.market import generated_market, generated_portfolios
import hashlib
market = generated_market(40, 30, seed=7)
rows = generated_portfolios(20, market, seed=8).inputs.positions
columns = (market.closes, market.known, rows.id, rows.quantity.values, rows.entry_price.values)
print(hashlib.sha256(b"".join(column.tobytes() for column in columns)).hexdigest())
"""


def day(text):
    return day_of(date.fromisoformat(text))


TINY = generated_market(1, 1, seed=0, history=0)


def keys(column):
    return [row.tobytes() for row in column]


@pytest.fixture(scope="module")
def market():
    return generated_market(400, 60, seed=1)


@pytest.fixture(scope="module")
def generated(market):
    return generated_portfolios(2_000, market, seed=2)


@pytest.fixture(scope="module")
def real():
    return real_market()


@pytest.fixture(scope="module")
def demo(real):
    return demo_portfolios(real, count=300, seed=3)


def test_market_has_history_before_its_sessions(market):
    expected = calendar.load("XNYS").sessions(day("2025-01-02"), day("2025-06-30"))[-70:]
    np.testing.assert_array_equal(market.days, expected)
    assert (market.first, market.start) == (10, expected[10])
    assert date_of(market.end).isoformat() == "2025-06-30"
    # A market that ends on a weekend ends on the Friday.
    weekend = generated_market(3, 5, seed=1, end_day=day("2016-07-03"))
    assert date_of(weekend.end).isoformat() == "2016-07-01"


def test_closes_are_positive_ticks_that_walk_and_of_which_some_are_missing(market):
    assert market.closes.shape == market.known.shape == (70, 400)
    assert market.closes.dtype == np.int64
    assert market.closes.min() > 0
    assert market.closes.max() < 10**12  # numeric(12,4)
    # Three uniforms on +-1.5 %: never beyond 4.5 %, deviation 1.5 %.
    stocks = market.closes[:, :360].astype(np.float64)
    moves = stocks[1:] / stocks[:-1] - 1
    assert np.abs(moves).max() <= 0.0451
    assert 0.0147 < moves.std() < 0.0153
    # One in two hundred of 70 * 360: 126 missing are expected, deviation 11.
    assert 80 < (~market.known[:, :360]).sum() < 172
    assert generated_market(50, 20, seed=1, gap=0).known[:, :45].all()


def test_a_tenth_of_the_symbols_are_options_which_expire_on_third_fridays(market):
    assert market.options.column.tolist() == list(range(360, 400))
    assert market.options.underlying.max() < 360
    found = {date_of(expiration) for expiration in market.options.expiration}
    assert all(when.weekday() == 4 and 15 <= when.day <= 21 for when in found)
    longer = generated_market(400, 250, seed=1)
    column, expiration = longer.options.column, longer.options.expiration
    assert (expiration < longer.end).any()
    for row, when in enumerate(longer.days):
        assert not longer.known[row, column[expiration < when]].any()


def test_real_market_holds_the_real_closes(real):
    closes = real_closes()
    np.testing.assert_array_equal(real.closes[:, :27], closes.values)
    np.testing.assert_array_equal(real.days, closes.days)
    assert real.symbols[:27] == closes.symbols
    assert real.known[:, :27].all()
    # The last 120 sessions up to 2016-07-01 begin on 2016-01-12: 126 sessions of 2016, less six.
    assert date_of(real.start).isoformat() == "2016-01-12"
    assert len(real.days) - real.first == 120


@pytest.mark.parametrize(
    ("session", "close", "call", "put"),
    [
        # AAPL closes at 22.8110, so the strike is 23.0000; 38 days to 2016-02-19.
        # v = 0.08 * 22.8110 * sqrt(38 / 365) = 1.824880 * 0.322660 = 0.588816
        # call: v^2 / (v + 0.1890) = 0.346704 / 0.777816 = 0.4457; the put is worth 0.1890 more.
        ("2016-01-12", 22_8110, 4457, 6347),
        # On the day it expires the put is worth 23 - 22.0360, the call a tick.
        ("2016-02-19", 22_0360, 1, 9640),
    ],
)
def test_an_option_costs_what_the_formula_says(real, session, close, call, put):
    row = real.days.tolist().index(day(session))
    closes = dict(zip(real.symbols, real.closes[row].tolist(), strict=True))
    names = ("AAPL", "AAPL160219C00023000", "AAPL160219P00023000")
    assert [closes[name] for name in names] == [close, call, put]


def test_option_of_the_demo_lacks_one_close_in_five(real):
    # Of 378 sessions, all before this expiration, 378 / 5 = 75 or 76 have none.
    far = real.options.column[real.options.expiration > real.end]
    assert set((~real.known[:, far]).sum(axis=0).tolist()) <= {75, 76}


@pytest.fixture(scope="module")
def priced(market):
    return with_factors(market, seed=9)


def test_every_factor_etf_has_a_walk_of_its_own(priced):
    assert tuple(FUNDS) == FACTOR_ETFS
    assert priced.symbols[360:371] == FACTOR_ETFS
    assert priced.known[:, 360:371].all()
    closes = priced.closes[:, 360:371]
    assert closes[0].tolist() == [fund.close * 1_0000 for fund in FUNDS.values()]
    assert len({tuple(column) for column in closes.T.tolist()}) == 11


def test_market_with_factors_has_the_history_of_a_beta_before_what_it_had(priced, market):
    # 126 sessions up to the one before the first, and one more for the return of the earliest.
    assert BETA_HISTORY == LOOK + 1 == priced.first
    assert (priced.start, priced.end) == (market.start, market.end)
    expected = calendar.load("XNYS").sessions(int(priced.days[0]), market.end)
    np.testing.assert_array_equal(priced.days, expected)
    assert len(priced.days) == 127 + 60
    column = [priced.symbols.index(symbol) for symbol in market.symbols]
    np.testing.assert_array_equal(priced.days[117:], market.days)
    np.testing.assert_array_equal(priced.closes[117:, column], market.closes)
    np.testing.assert_array_equal(priced.known[117:, column], market.known)
    for name in ("underlying", "call", "strike", "expiration"):
        own, before = (getattr(one.options, name) for one in (priced, market))
        np.testing.assert_array_equal(own, before, err_msg=name)
    names = [priced.symbols[column] for column in priced.options.column]
    assert names == [market.symbols[column] for column in market.options.column]
    assert not priced.known[:117, priced.options.column].any()
    closes = priced.closes[:118, :360].astype(np.float64)
    moves = closes[1:] / closes[:-1] - 1
    # Backwards by at most 4.5 %: forwards by at most 1 / 0.955 - 1 = 4.71 %.
    assert np.abs(moves).max() <= 0.0472
    assert 0.0147 < moves.std() < 0.0153
    # 117 * 360 closes: 211 missing are expected, deviation 14.
    assert 140 < (~priced.known[:117, :360]).sum() < 282


@pytest.mark.parametrize("symbol", FACTOR_ETFS)
def test_factor_etf_moves_with_the_market_as_its_fund_says(symbol):
    market = with_factors(generated_market(1, 3_000, seed=1), seed=2)
    closes = market.closes.astype(np.float64)
    moves = closes[1:] / closes[:-1] - 1
    spy, own = (moves[:, market.symbols.index(name)] for name in ("SPY", symbol))
    fund = FUNDS[symbol]
    beta = np.cov(spy, own)[0, 1] / spy.var(ddof=1)
    # Its error: the fund's own deviation over SPY's of 1 %, over the square root of 3,126.
    assert abs(beta - fund.beta / 1000) < 4 * fund.own_ppm / 10_000 / 3_126**0.5 + 0.001
    assert 0.009 < spy.std() < 0.011


def test_factor_etf_that_is_there_keeps_its_closes(real):
    priced = with_factors(real, seed=1)
    assert set(priced.symbols) - set(real.symbols) == {"SHY", "HYG", "VTV", "VUG"}
    for symbol in ("SPY", "MTUM"):
        np.testing.assert_array_equal(
            priced.closes[:, priced.symbols.index(symbol)],
            real.closes[:, real.symbols.index(symbol)],
        )
    np.testing.assert_array_equal(priced.days, real.days)  # 258 sessions of history are enough


def test_history_ends_where_the_calendar_begins():
    begin = calendar.load("XNYS").first_day
    market = generated_market(2, 3, seed=1, history=0, end_day=begin + 14)
    priced = with_factors(market, seed=1)
    before = calendar.load("XNYS").sessions(begin, market.start)[:-1]
    assert 0 < len(before) < BETA_HISTORY
    assert priced.first == len(before)
    assert priced.days[0] == before[0]


def test_seed_means_the_same_in_every_process():
    found = {printed(DIGEST) for _ in range(2)}
    assert len(found) == 1
    assert len(found.pop().strip()) == 64


def test_ids_are_unique_uuid7_in_ascending_order(generated):
    for table in generated.tables:
        found = keys(table.columns["id"])
        assert found == sorted(set(found))
        assert (table.columns["id"][:, 6] >> 4 == 7).all()
        assert (table.columns["id"][:, 8] >> 6 == 2).all()


def test_shares_of_kinds_are_those_of_the_mix(generated, market):
    # 30,000 positions; the deviation of a share p is sqrt(p * (1 - p) / 30000), at most 0.0026
    # for p = 0.3: each limit is about five of them.
    rows = generated.inputs.positions
    kinds = rows.position_type.texts()
    classes = Counter(rows.investment_class.texts())
    total = len(rows)
    assert set(Counter(keys(rows.portfolio_id)).values()) == {15}
    assert abs(classes["PRIVATE"] / total - 0.03) < 0.005
    assert abs(classes["OPTIONS"] / total - 0.08) < 0.008
    # A tenth of the 89 % that are stocks.
    assert abs(Counter(kinds)["SHORT"] / total - 0.089) < 0.008
    assert abs(rows.deleted.mean() - 0.02) < 0.004
    # 12 %; an exit needs a day after the entry, which the positions of the last days lack.
    assert 0.11 < (rows.exit_day.state == 0).mean() < 0.128
    before = rows.entry_day.values < market.start
    assert 0.68 < before.mean() < 0.73


def test_sign_follows_type(generated, demo):
    for portfolios in (generated, demo):
        rows = portfolios.inputs.positions
        for kind, quantity in zip(
            rows.position_type.texts(), rows.quantity.values.tolist(), strict=True
        ):
            assert quantity == 0 or (quantity < 0) == (kind in {"SHORT", "SC", "SP"})


def test_options_name_their_contract(demo, real):
    table = demo.positions.columns
    for symbol, kind, base, strike, expiration, entry in zip(
        table["symbol"].texts(),
        table["position_type"].texts(),
        table["underlying_symbol"].texts(),
        build.cells(table["strike_price"]),
        build.cells(table["expiration_date"]),
        build.cells(table["entry_date"]),
        strict=True,
    ):
        if kind in {"LONG", "SHORT"}:
            assert base is strike is expiration is None
        else:
            letter = kind[1]
            stamp = f"{date_of(expiration):%y%m%d}"
            assert symbol == f"{base}{stamp}{letter}{int(strike * 1000):08}"
            assert symbol in real.symbols
            assert entry < expiration


def test_demo_has_every_kind_that_makes_pnl_hard(demo, real):
    rows = demo.inputs.positions
    symbols, classes = rows.symbol.texts(), rows.investment_class.texts()
    exits, exit_prices = build.cells(rows.exit_day), build.cells(rows.exit_price)
    values, expirations = build.cells(rows.market_value), build.cells(rows.expiration_day)
    kinds = Counter(rows.position_type.texts())
    assert min(kinds[kind] for kind in ("LONG", "SHORT", "LC", "LP", "SC", "SP")) > 20
    found = Counter()
    for row, entry in enumerate(rows.entry_day.values.tolist()):
        private = classes[row] == "PRIVATE"
        found["weekend entry"] += entry >= real.start and date_of(entry).weekday() >= 5
        found["entry within"] += entry > real.start
        found["entry before"] += entry < real.start
        found["exit with a price"] += exits[row] is not None and bool(exit_prices[row])
        found["exit without"] += exits[row] is not None and exit_prices[row] is None
        found["worthless exit"] += exit_prices[row] == 0
        found["expiry within"] += expirations[row] is not None and expirations[row] < real.end
        found["private, valued"] += private and bool(values[row])
        found["private, not valued"] += private and not values[row]
        found["private, priced symbol"] += private and symbols[row] in real.symbols
        found["emptied"] += rows.quantity.values[row] == 0
    weekdays = [date_of(when).weekday() for when in demo.inputs.flows.day.values]
    found["weekend flow"] = sum(weekday >= 5 for weekday in weekdays)
    found["session flow"] = sum(weekday < 5 for weekday in weekdays)
    found["deleted flow"] = demo.flows.rows - len(demo.inputs.flows)
    found["partial close"] = len(demo.inputs.events)
    assert {kind: number for kind, number in found.items() if number < 10} == {}


@pytest.mark.parametrize("which", ["generated", "demo"])
def test_a_run_finds_only_the_oddities_intended(which, request):
    if which == "demo":
        market = request.getfixturevalue("real")
        inputs = demo_portfolios(market, count=40, seed=11).inputs
    else:
        market = generated_market(100, 20, seed=11)
        inputs = generated_portfolios(60, market, seed=12).inputs
    sessions = market.days[market.first :]
    rows = batchcore.compute(inputs, sessions)
    assert not rows.failed.any()
    assert set(rows.written.tolist()) == {len(sessions)}
    assert rows.equity_balance.min() > 0
    assert set(rows.issues.name.texts()) == {"exit_unpriced", "expired"}


def test_coverage_of_the_demo_stays_above_the_gate(demo, real):
    market = native.build_market(demo.inputs.prices, real.days[real.first :])
    fresh, recent, _ = market.marks.coverage(demo.inputs.positions.symbol)
    assert (fresh / recent).min() > 0.6  # the default of `min_coverage` is 0.5


def test_many_portfolios_take_little_memory_a_position(market):
    rows = generated_portfolios(200, market, positions=3, seed=4).inputs.positions
    assert len(rows.symbol.table()) <= 400 + 200  # distinct symbols, not one for each row


@pytest.mark.parametrize(
    ("make", "arguments", "option"),
    [
        (generated_market, {"symbols": 0, "sessions": 5, "seed": 1}, "symbols"),
        (generated_market, {"symbols": 5, "sessions": 0, "seed": 1}, "sessions"),
        (generated_market, {"symbols": 5, "sessions": 20_000, "seed": 1}, "sessions"),
        (generated_market, {"symbols": 5, "sessions": 5, "gap": 1.0, "seed": 1}, "gap"),
        (
            generated_market,
            {"symbols": 5, "sessions": 5, "end_day": day("2036-01-02"), "seed": 1},
            "end",
        ),
        (real_market, {"sessions": 0}, "sessions"),
        (real_market, {"sessions": 379}, "sessions"),
        (generated_portfolios, {"count": 0, "market": TINY, "seed": 1}, "portfolios"),
        (
            generated_portfolios,
            {"count": 1, "market": TINY, "positions": 0, "seed": 1},
            "positions",
        ),
        (demo_portfolios, {"market": TINY, "count": 0, "seed": 1}, "portfolios"),
    ],
)
def test_an_impossible_size_is_an_error(make, arguments, option):
    with pytest.raises(ConfigError) as caught:
        make(**arguments)
    assert caught.value.option == option


def test_smallest_market_and_portfolio_work():
    assert TINY.closes.shape == (1, 1)
    assert generated_portfolios(1, TINY, positions=1, seed=0).positions.rows == 1
    without = with_splits(generated_market(20, 1, seed=5), seed=5)
    assert (without.splits, split_table(without).rows) == ((), 0)


def test_a_few_stocks_of_a_market_split_and_its_portfolios_hold_them_as_entered() -> None:
    plain = generated_market(100, 20, seed=5)
    market = with_splits(plain, seed=5)
    assert [(one.new, one.old) for one in market.splits] == [(2, 1), (3, 1), (1, 10)]
    for one in market.splits:
        assert market.first < one.row < len(market.days)
        assert one.column not in plain.options.underlying
        before, after = market.closes[: one.row, one.column], market.closes[one.row :, one.column]
        assert before.tolist() == plain.closes[: one.row, one.column].tolist()
        expected = plain.closes[one.row :, one.column] * one.old // one.new
        assert after.tolist() == expected.tolist()
    table = split_table(market)
    assert table.columns["symbol"].texts() == [market.symbols[one.column] for one in market.splits]
    inputs = generated_portfolios(300, market, seed=5).inputs
    rows = SplitRows(
        symbol=table.columns["symbol"],
        day=table.columns["ex_date"],
        new=table.columns["new"],
        old=table.columns["old"],
        price_basis="as_traded",
        quantity_basis="as_entered",
    )
    days = market.days[market.first :]
    found = [batchcore.compute(replace(inputs, splits=of), days) for of in (rows, None)]
    # No lot jumps at an ex-date: the largest return is that of a market without splits.
    moved = [np.abs(of.daily_return.values).max() / 10**6 for of in found]
    assert moved[0] < 0.2 < moved[1]
