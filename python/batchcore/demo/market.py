"""Seeded markets and portfolios: the rows of an empty database, as columns.

Everything here is a pure function of its arguments: integers drawn from PCG64 and IEEE arithmetic
that is rounded alike everywhere (+, -, *, / and square root), so that a seed means the same rows
on every machine.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from datetime import date
from enum import IntEnum
from itertools import islice, product
from string import ascii_uppercase
from types import MappingProxyType
from typing import TYPE_CHECKING, Final, NamedTuple

import numpy as np

from batchcore import calendar
from batchcore.calendar import date_of, day_of
from batchcore.demo.data import CLOSE_SCALE, real_closes
from batchcore.errors import ConfigError
from batchcore.frames import (
    Constant,
    Days,
    Decimals,
    Events,
    Flows,
    Inputs,
    Moment,
    Opening,
    Positions,
    Previous,
    Prices,
    Table,
    Text,
)
from batchcore.schema import SPLITS
from batchcore.units import CENTS, FACTOR_ETFS, OPTION_MULTIPLIER, State

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    import numpy.typing as npt

    from batchcore.frames import Bools, Bytes, Int32, Int64

QUOTIENTS: Final = ((2, 1), (3, 1), (1, 10))
"""New and old shares of the splits of a market."""

HISTORY: Final = 10
"""Sessions before the first one to value, for the lookback."""

BETA_HISTORY: Final = 127
"""Sessions of the betas of the session before the first one (A5), and one more for the earliest of
their returns."""

GAP: Final = 0.005
"""Share of the closes of a generated market that the price table lacks."""

LAST_SESSION: Final = day_of(date(2025, 6, 30))
"""The default end of a generated market."""

QUANTITY_SCALE: Final = 4
SYMBOLS_AN_OPTION: Final = 10  # one symbol in ten of a generated market is an option
DAILY_MOVE_PPM: Final = 15_000
MARKET_MOVE_PPM: Final = 10_000
DOLLAR: Final = 10**CLOSE_SCALE
SHARE: Final = 10**QUANTITY_SCALE
HALF_DOLLAR: Final = DOLLAR // 2
HIGHEST_CLOSE: Final = 10_000_000 * DOLLAR
HIGHEST_STRIKE: Final = 99_999 * DOLLAR  # eight digits in the symbol
TO_CENTS: Final = 10 ** (CLOSE_SCALE + QUANTITY_SCALE - CENTS)
LARGEST_QUANTITY: Final = 1_000_000_000 * SHARE
LEAST_OPENING_CENTS: Final = 10_000_00
MICROSECONDS_A_DAY: Final = 86_400_000_000
PER_MILLE: Final = 1000
PER_MILLION: Final = 1_000_000
TWO_WEEKS: Final = 14
HALF_A_YEAR: Final = 180
WEEK: Final = 7

POSITION_TYPES: Final = ("LONG", "SHORT", "LC", "LP", "SC", "SP")
CLASSES: Final = ("PUBLIC", "OPTIONS", "PRIVATE")
CHANGES: Final = ("CONTRIBUTION", "WITHDRAWAL")
PRIVATE_SYMBOLS: Final = tuple(f"PVT{number:04}" for number in range(200))
WITHOUT_OPTIONS: Final = frozenset({"TLT", "IEF", "LQD", "MTUM", "QUAL", "USMV"})
STRATEGIES: Final = ("Core", "Growth", "Income", "Value", "Macro", "Long Short", "Balanced")


class Stream(IntEnum):
    """Random streams of a seed beside those of a market and its portfolios."""

    FUNDS = 1
    PROFILES = 2
    FACTORS = 3
    BENCHMARK = 4
    TAGS = 5
    SPLITS = 6

    def of(self, seed: int) -> np.random.Generator:
        """Return the generator of this stream."""
        return np.random.Generator(np.random.PCG64([seed, self]))


@dataclass(frozen=True, eq=False, slots=True)
class Options:
    """The options of a market, a row each."""

    column: Int32  # of `Market.closes`, which is this option
    underlying: Int32  # column that it is an option on
    call: Bools  # a call, else a put
    strike: Int64  # scale `CLOSE_SCALE`
    expiration: Int32  # day up to which it has closes

    def __len__(self) -> int:
        """Return the number of options."""
        return len(self.column)


class Split(NamedTuple):
    """A split of a stock: ``old`` shares become ``new`` on the ex-date."""

    column: int  # of `Market.closes`
    row: int  # of `Market.days`, its ex-date
    new: int
    old: int


@dataclass(frozen=True, eq=False, slots=True)
class Market:
    """Closes of stocks and, in the columns after them, of options; closes are as traded."""

    symbols: tuple[str, ...]  # (s,) distinct, at most 20 characters
    days: Int32  # (d,) sorted: sessions of XNYS
    closes: Int64  # (d, s) scale `CLOSE_SCALE`, > 0; where not known, what it would have been
    known: Bools  # (d, s) the price table has this close
    first: int  # row of the first session to value; earlier ones are for the lookback
    options: Options
    splits: tuple[Split, ...] = ()  # of stocks without options

    def __post_init__(self) -> None:
        for array in (self.days, self.closes, self.known):
            array.setflags(write=False)

    @property
    def start(self) -> int:
        """Return the first session to value."""
        return int(self.days[self.first])

    @property
    def end(self) -> int:
        """Return the last session to value."""
        return int(self.days[-1])


@dataclass(frozen=True, eq=False, slots=True)
class Portfolios:
    """Portfolios with all of their rows, table by table."""

    portfolios: Table
    positions: Table
    events: Table
    flows: Table
    inputs: Inputs  # for `compute`: without soft-deleted flows, with the market's closes

    @property
    def tables(self) -> tuple[Table, ...]:
        """Return the tables in the order of foreign keys."""
        return self.portfolios, self.positions, self.events, self.flows


class _Fund(NamedTuple):
    """How a factor ETF of a generated market moves."""

    beta: int  # its share of the market's move, in thousandths
    own_ppm: int  # deviation of its own move on a day, in millionths
    close: int  # its first close, dollars


FUNDS: Final[Mapping[str, _Fund]] = MappingProxyType(
    {
        "SPY": _Fund(1000, 0, 580),
        "TLT": _Fund(-200, 7000, 90),
        "IEF": _Fund(-100, 3500, 95),
        "SHY": _Fund(-10, 800, 82),
        "HYG": _Fund(350, 2000, 79),
        "LQD": _Fund(50, 3500, 108),
        "VTV": _Fund(850, 3000, 170),
        "VUG": _Fund(1150, 3500, 410),
        "MTUM": _Fund(1050, 5000, 210),
        "QUAL": _Fund(980, 1500, 180),
        "USMV": _Fund(700, 2500, 92),
    }
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Mix:
    """The number of positions in a thousand of each kind."""

    private: int  # PRIVATE holdings
    option: int
    short: int  # of the stocks
    before: int  # entered before the first session to value
    exited: int  # with an exit date
    partial: int  # with one or two partial closes
    deleted: int  # soft-deleted


GENERATED: Final = Mix(
    private=30, option=80, short=100, before=700, exited=120, partial=60, deleted=20
)
DEMO: Final = Mix(
    private=60, option=150, short=120, before=450, exited=200, partial=120, deleted=20
)


def generated_market(
    symbols: int,
    sessions: int,
    *,
    seed: int,
    end_day: int | None = None,
    gap: float = GAP,
    history: int = HISTORY,
) -> Market:
    """Return a market of random walks in ticks of 0.0001.

    A tenth of the symbols are options on others.

    Args:
        symbols: Number of symbols, at least 1.
        sessions: Number of sessions to value, at least 1.
        seed: Seed of the random numbers.
        end_day: The last session is the last one up to this day; None is 2025-06-30.
        gap: Share of closes that the price table lacks.
        history: Sessions before those to value.

    Raises:
        ConfigError: a number is out of range, or there are more sessions than XNYS has.
    """
    _refuse_below_one(symbols=symbols, sessions=sessions)
    if not 0 <= gap < 1:
        raise ConfigError(f"gap is {gap}, expected at least 0 and below 1", "gap")
    exchange = calendar.load(calendar.SHIPPED)
    last = LAST_SESSION if end_day is None else end_day
    days = exchange.sessions(exchange.first_day, last)
    if history < 0 or sessions + history > len(days):
        raise ConfigError(
            f"{sessions} sessions and {history} before them, but up to {date_of(last)} "
            f"{exchange.code} has {len(days)}",
            "sessions",
        )
    days = days[len(days) - sessions - history :]
    rng = np.random.Generator(np.random.PCG64(seed))
    derived = symbols // SYMBOLS_AN_OPTION
    stocks = symbols - derived
    closes = _walks(rng, len(days), stocks)
    expirations = _expirations(int(days[history]), int(days[-1]))
    underlying = rng.permutation(stocks)[:derived].astype(np.int32)
    near = closes[history, underlying] * rng.integers(800, 1201, derived) // PER_MILLE
    options = Options(
        column=np.arange(stocks, symbols, dtype=np.int32),
        underlying=underlying,
        call=rng.integers(0, 2, derived) == 0,
        strike=_strikes(near),
        expiration=rng.choice(expirations, derived),
    )
    known = rng.random((len(days), symbols)) >= gap
    return _with_options(_stock_symbols(stocks), closes, known, options, days=days, first=history)


def real_market(sessions: int = 120) -> Market:
    """Return the real closes, and made-up closes of options on its stocks and SPY.

    Each has a call and a put, near the money on the first session to value, of two expirations:
    one within the sessions if there are enough of them, and one half a year after them. One
    close of an option in five is missing, since few options trade every day.
    """
    real = real_closes()
    if not 1 <= sessions <= len(real.days):
        raise ConfigError(f"sessions is {sessions}, expected 1 to {len(real.days)}", "sessions")
    first = len(real.days) - sessions
    expirations = _expirations(int(real.days[first]), int(real.days[-1]))
    within = int(np.searchsorted(expirations, real.days[-1]))
    inside = expirations[: max(within, 1)]
    base = np.array(
        [column for column, name in enumerate(real.symbols) if name not in WITHOUT_OPTIONS]
    )
    underlying = np.repeat(base, 4).astype(np.int32)
    near = inside[np.arange(len(base)) % len(inside)]
    far = np.full(len(base), expirations[-1], dtype=np.int32)
    options = Options(
        column=np.arange(len(underlying), dtype=np.int32) + np.int32(len(real.symbols)),
        underlying=underlying,
        call=np.tile([True, False, True, False], len(base)),
        strike=_strikes(real.values[first, underlying]),
        expiration=np.stack([near, near, far, far], axis=1).ravel(),
    )
    known = np.ones((len(real.days), len(real.symbols) + len(options)), dtype=np.bool_)
    known[:, options.column] = (np.arange(len(real.days))[:, None] + options.column) % 5 != 0
    return _with_options(real.symbols, real.values, known, options, days=real.days, first=first)


def with_splits(market: Market, *, seed: int) -> Market:
    """Return a market in which a few stocks without options split, one for each of `QUOTIENTS`.

    Closes from the ex-date on, which is one of the sessions after the first to value, are those of
    the new shares. Without a second session, or such stocks, fewer split.
    """
    rng = Stream.SPLITS.of(seed)
    stocks = np.arange(len(market.symbols) - len(market.options))
    plain = rng.permutation(stocks[~np.isin(stocks, market.options.underlying)])
    closes, splits = market.closes.copy(), []
    if market.first + 1 < len(market.days):
        for column, (new, old) in zip(plain.tolist(), QUOTIENTS, strict=False):
            row = int(rng.integers(market.first + 1, len(market.days)))
            closes[row:, column] = np.clip(closes[row:, column] * old // new, 1, HIGHEST_CLOSE)
            splits.append(Split(column, row, new, old))
    return replace(market, closes=closes, splits=tuple(splits))


def split_table(market: Market) -> Table:
    """Return the rows of the table of splits, see `Schema.splits`."""
    shares = np.array([(one.new, one.old) for one in market.splits], dtype=np.int64).reshape(-1, 2)
    rows = np.array([one.row for one in market.splits], dtype=np.int64)
    return Table(
        SPLITS,
        len(market.splits),
        {
            "symbol": Text.of([market.symbols[one.column] for one in market.splits]),
            "ex_date": Days(market.days[rows]),
            "new": Decimals(np.ascontiguousarray(shares[:, 0]), 0),
            "old": Decimals(np.ascontiguousarray(shares[:, 1]), 0),
            **stamps(int(market.days[0])),
        },
    )


def with_factors(market: Market, *, seed: int, history: int = BETA_HISTORY) -> Market:
    """Return a market with the factor ETFs, and with the history that betas need.

    The closes of ``market`` stay, so that portfolios made for it have the same values. SPY moves
    like a stock; each other ETF moves by its share of SPY's move and a move of its own. An ETF that
    the market has already keeps its closes. Stocks are extended backwards from their first close,
    for ``history`` sessions before the first one to value, as far as XNYS has them; options have no
    earlier closes.
    """
    rng = Stream.FUNDS.of(seed)
    exchange = calendar.load(calendar.SHIPPED)
    before = exchange.sessions(exchange.first_day, market.start)[:-1]
    earlier = before[max(len(before) - history, 0) : max(len(before) - market.first, 0)]
    lacking = [symbol for symbol in FACTOR_ETFS if symbol not in market.symbols]
    options, stocks = market.options, len(market.symbols) - len(market.options)

    days = np.concatenate([earlier, market.days])
    walked = _walks_back(rng, market.closes[0, :stocks], len(earlier))
    closes = np.concatenate([walked, market.closes[:, :stocks]])
    known = np.ones((len(days), stocks + len(lacking) + len(options)), dtype=np.bool_)
    known[: len(earlier), :stocks] = rng.random((len(earlier), stocks)) >= GAP
    known[len(earlier) :, :stocks] = market.known[:, :stocks]
    column = (options.column + len(lacking)).astype(np.int32)
    known[: len(earlier), column] = False
    known[len(earlier) :, column] = market.known[:, options.column]
    closes = np.concatenate([closes, _fund_walks(rng, lacking, len(days))], axis=1)
    names, first = (*market.symbols[:stocks], *lacking), market.first + len(earlier)
    options = replace(options, column=column)
    return _with_options(names, closes, known, options, days=days, first=first)


def price_table(market: Market, *, seed: int) -> Table:
    """Return the known closes as rows of `market_data_cache`, by day, as in a host's table."""
    rng, day = np.random.Generator(np.random.PCG64(seed)), int(market.days[0])
    prices = _prices(market)
    return Table(
        "market_data_cache",
        len(prices),
        {
            "id": uuids(rng, len(prices), day),
            "symbol": prices.symbol,
            "date": prices.day,
            "close": prices.close,
            "data_source": Constant("batchcore"),
            **stamps(day),
        },
    )


def generated_portfolios(
    count: int, market: Market, *, positions: int = 15, seed: int
) -> Portfolios:
    """Return portfolios of the same number of positions, most of them long and open.

    Args:
        count: Number of portfolios, at least 1.
        market: Market of their positions.
        positions: Positions of each, at least 1.
        seed: Seed of the random numbers.

    Raises:
        ConfigError: a number below 1.
    """
    _refuse_below_one(portfolios=count, positions=positions)
    rng = np.random.Generator(np.random.PCG64(seed))
    return _portfolios(rng, market, np.full(count, positions, dtype=np.int64), GENERATED)


def demo_portfolios(market: Market, *, count: int = 300, seed: int) -> Portfolios:
    """Return portfolios of 4 to 24 positions, with more of the cases that make P&L hard."""
    _refuse_below_one(portfolios=count)
    rng = np.random.Generator(np.random.PCG64(seed))
    return _portfolios(rng, market, rng.integers(4, 25, count), DEMO)


def _refuse_below_one(**numbers: int) -> None:
    for option, number in numbers.items():
        if number < 1:
            raise ConfigError(f"{option} is {number}, expected at least 1", option)


def _walks(rng: np.random.Generator, days: int, stocks: int) -> Int64:
    """Return (days, stocks) closes; a day's move has a deviation of `DAILY_MOVE_PPM`."""
    magnitude = np.array([1, 10, 100], dtype=np.int64)[rng.integers(0, 3, stocks)]
    first = rng.integers(5 * DOLLAR, 10 * DOLLAR, stocks) * magnitude
    moves = (_moves(rng, DAILY_MOVE_PPM, (stocks,)) for _ in range(1, days))
    return _walked(first, moves, days)


def _walked(first: Int64, moves: Iterable[Int64], days: int) -> Int64:
    """Return (days, s) closes that begin with ``first``, by the moves of each day to the next."""
    closes = np.empty((days, len(first)), dtype=np.int64)
    closes[0] = first
    for row, move in enumerate(moves, start=1):
        before = closes[row - 1]
        closes[row] = np.clip(before + before * move // PER_MILLION, 1, HIGHEST_CLOSE)
    return closes


def _moves(rng: np.random.Generator, deviation_ppm: int, shape: tuple[int, ...]) -> Int64:
    """Return moves of a day in millionths: three uniforms on [-a, a] have the variance a^2."""
    moves: Int64 = rng.integers(-deviation_ppm, deviation_ppm + 1, (3, *shape)).sum(axis=0)
    return moves


def _walks_back(rng: np.random.Generator, first: Int64, days: int) -> Int64:
    """Return (days, stocks) closes of the days that lead to ``first``."""
    closes = np.empty((days, len(first)), dtype=np.int64)
    later = first
    for row in reversed(range(days)):
        walked = later - later * _moves(rng, DAILY_MOVE_PPM, first.shape) // PER_MILLION
        closes[row] = np.clip(walked, 1, HIGHEST_CLOSE)
        later = closes[row]
    return closes


def _fund_walks(rng: np.random.Generator, symbols: Sequence[str], days: int) -> Int64:
    """Return (days, symbols) closes of factor ETFs that follow one market."""
    market = _moves(rng, MARKET_MOVE_PPM, (days,))
    funds = [FUNDS[symbol] for symbol in symbols]
    moves = np.empty((days, len(funds)), dtype=np.int64)
    for column, fund in enumerate(funds):
        own = _moves(rng, fund.own_ppm, (days,))
        moves[:, column] = fund.beta * market // PER_MILLE + own
    first = np.array([fund.close * DOLLAR for fund in funds], dtype=np.int64)
    return _walked(first, moves[:-1], days)


def _stock_symbols(count: int) -> tuple[str, ...]:
    """Return AAAA, AAAB and so on; five letters if four are too few."""
    width = 4 if count <= len(ascii_uppercase) ** 4 else 5
    return tuple(map("".join, islice(product(ascii_uppercase, repeat=width), count)))


def _expirations(start: int, end: int) -> Int32:
    """Return third Fridays from two weeks after ``start`` to half a year after ``end``."""
    first, last = start + TWO_WEEKS, end + HALF_A_YEAR
    months = np.arange(_month(start), _month(last) + 1).astype("datetime64[D]")
    fridays = np.busday_offset(months, 2, roll="forward", weekmask="Fri").astype(np.int32)
    return fridays[(fridays >= first) & (fridays <= last)]


def _month(day: int) -> np.datetime64:
    month: np.datetime64 = np.datetime64(day, "D").astype("datetime64[M]")
    return month


def _strikes(near: Int64) -> Int64:
    """Return ``near`` in steps of half a dollar."""
    steps = (near + HALF_DOLLAR // 2) // HALF_DOLLAR
    strikes: Int64 = np.clip(steps * HALF_DOLLAR, HALF_DOLLAR, HIGHEST_STRIKE)
    return strikes


def _with_options(
    stocks: tuple[str, ...],
    closes: Int64,
    known: Bools,
    options: Options,
    *,
    days: Int32,
    first: int,
) -> Market:
    """Return the market of ``closes`` and, after them, those of ``options``."""
    names = [
        f"{stocks[base]}{date_of(expiration):%y%m%d}{'C' if call else 'P'}{strike // 10:08}"
        for base, expiration, call, strike in zip(
            options.underlying.tolist(),
            options.expiration.tolist(),
            options.call.tolist(),
            options.strike.tolist(),
            strict=True,
        )
    ]
    premiums = _premiums(closes[:, options.underlying], days, options)
    known[:, options.column] &= days[:, None] <= options.expiration
    both = np.concatenate([closes, premiums], axis=1)
    return Market((*stocks, *names), days, both, known, first, options)


def _premiums(underlying: Int64, days: Int32, options: Options) -> Int64:
    """Return made-up closes of options, at least a tick.

    The value of exercise, plus ``v^2 / (v + distance from the strike)``, where ``v`` is 8 % of the
    underlying times the square root of the years left.
    """
    above = underlying - options.strike
    worth = np.where(options.call, above, -above)
    years = np.maximum(options.expiration - days[:, None], 0) / 365
    value = 0.08 * underlying * np.sqrt(years)
    distance = np.abs(above) + value
    extra = np.divide(value * value, distance, out=np.zeros_like(value), where=distance > 0)
    premiums: Int64 = np.maximum(np.maximum(worth, 0) + np.rint(extra).astype(np.int64), 1)
    return premiums


def _prices(market: Market) -> Prices:
    rows, columns = np.nonzero(market.known)
    return Prices(
        symbol=_text(market.symbols, columns),
        day=Days(market.days[rows]),
        close=Decimals(market.closes[rows, columns], CLOSE_SCALE),
    )


def uuids(rng: np.random.Generator, rows: int, day: int) -> Bytes:
    """Return (rows, 16) UUIDv7 in ascending order, the first of them of ``day``, 00:00 UTC."""
    counter = np.arange(rows, dtype=np.uint64)
    unix_ms = np.uint64(day * (MICROSECONDS_A_DAY // 1000)) + (counter >> np.uint64(12))
    high = (unix_ms << np.uint64(16)) | np.uint64(0x7000) | (counter & np.uint64(0xFFF))
    ids = np.empty((rows, 16), dtype=np.uint8)
    ids[:, :8] = high.astype(">u8").view(np.uint8).reshape(rows, 8)
    ids[:, 8:] = rng.integers(0, 256, (rows, 8), dtype=np.uint8)
    ids[:, 8] = (ids[:, 8] & 0x3F) | 0x80
    return ids


def stamps(day: int) -> dict[str, Moment]:
    """Return the time stamps of rows that were made when a day began, in UTC."""
    began = Moment(day * MICROSECONDS_A_DAY)
    return {"created_at": began, "updated_at": began}


def _text(values: Sequence[str], codes: npt.NDArray[np.integer], null: Bools | None = None) -> Text:
    """Return the column of ``values[codes]``; ``values`` are distinct."""
    table, filled = Text.of(values), _filled(codes, null).astype(np.uint32)
    return Text(filled, table.offsets, table.data, _state(null))


def _state(null: Bools | None) -> Bytes:
    return None if null is None else null * np.uint8(State.NULL)  # type: ignore[return-value]


def _filled(values: npt.NDArray[np.integer], null: Bools | None) -> npt.NDArray[np.integer]:
    return values if null is None else np.where(null, 0, values)


def _days(values: npt.NDArray[np.integer], null: Bools | None = None) -> Days:
    return Days(_filled(values, null).astype(np.int32), _state(null))


def _decimals(values: Int64, scale: int, null: Bools | None = None) -> Decimals:
    return Decimals(_filled(values, null).astype(np.int64), scale, _state(null))


def _cents(exact: Int64) -> Int64:
    """Return dollars times `SHARE` times `DOLLAR` as cents, half away from zero."""
    cents: Int64 = np.sign(exact) * ((np.abs(exact) + TO_CENTS // 2) // TO_CENTS)
    return cents


class Dice:
    """Draws for ``rows`` rows at a time."""

    def __init__(self, rng: np.random.Generator, rows: int) -> None:
        self.rng = rng
        self.rows = rows

    def whole(self, low: int | Int64, high: int | Int64) -> Int64:
        """Return integers from ``low`` to ``high``, both included; the limits may differ by row."""
        return self.rng.integers(low, high, self.rows, endpoint=True)

    def chance(self, per_mille: int) -> Bools:
        """Return a random choice of rows, given their number in a thousand."""
        return self.rng.integers(0, PER_MILLE, self.rows) < per_mille

    def near(self, price: Int64, ppm: int) -> Int64:
        """Return prices up to ``ppm`` millionths off, at least a tick."""
        factor = PER_MILLION + self.whole(-ppm, ppm)
        prices: Int64 = np.clip(price * factor // PER_MILLION, 1, HIGHEST_CLOSE)
        return prices


def _close_on(market: Market, column: Int64, day: Int64) -> Int64:
    """Return the closes of the last session up to ``day``, or of the first one."""
    row = np.searchsorted(market.days, day, side="right") - 1
    return market.closes[np.maximum(row, 0), column]


class _Drawn:
    """Positions of ``mix`` while they are made, one for each row of ``portfolio_id``.

    Columns are (n,) arrays; prices are in ticks, quantities in 1 / `SHARE`.
    """

    def __init__(
        self, rng: np.random.Generator, market: Market, portfolio_id: Bytes, mix: Mix
    ) -> None:
        dice = Dice(rng, len(portfolio_id))
        options, start, end = market.options, market.start, market.end
        stocks = len(market.symbols) - len(options)
        kind = dice.whole(0, PER_MILLE - 1)
        self.private = private = kind < mix.private
        self.option = option = ~private & (kind < mix.private + mix.option) & (len(options) > 0)
        self.contract = dice.whole(0, max(len(options) - 1, 0))
        self.column = np.where(option, stocks + self.contract, dice.whole(0, stocks - 1))
        self.short = ~private & np.where(option, dice.chance(350), dice.chance(mix.short))
        self.multiplier = np.where(option, OPTION_MULTIPLIER, 1)

        self.expiration = np.full(dice.rows, end + 1, dtype=np.int64)
        self.expiration[option] = options.expiration[self.contract[option]]
        is_before = dice.chance(mix.before)
        entry = np.where(is_before, start - dice.whole(1, 400), dice.whole(start, end))
        recent = np.minimum(np.maximum(entry, start - 60), self.expiration - WEEK)
        self.entry = np.where(option, recent, entry)

        own_price = dice.whole(1 * DOLLAR, 500 * DOLLAR)
        entry_price = dice.near(_close_on(market, self.column, self.entry), 30_000)
        self.entry_price = np.where(private, own_price, entry_price)
        dollars = dice.whole(20, 199) * np.where(dice.chance(500), 100, 1000)
        shares = np.maximum(dollars * DOLLAR // self.entry_price, 1) * SHARE
        shares += np.where(dice.chance(150), dice.whole(0, SHARE - 1), 0)
        contracts = dice.whole(1, 20) * SHARE
        quantity = np.where(option, contracts, np.minimum(shares, LARGEST_QUANTITY))
        self.quantity = np.where(self.short, -quantity, quantity)

        low = np.maximum(self.entry + 1, start - 20)
        high = np.minimum(end, self.expiration)
        self.exited = dice.chance(mix.exited) & (low <= high)
        self.exit = dice.whole(np.minimum(low, high), high)
        exit_price = dice.near(_close_on(market, self.column, self.exit), 10_000)
        self.exit_price = np.where(private, dice.near(self.entry_price, 400_000), exit_price)
        self.exit_price[option & dice.chance(200)] = 0
        self.id = uuids(rng, dice.rows, int(market.days[0]))
        self.portfolio_id = portfolio_id
        self.deleted = dice.chance(mix.deleted)
        self.unpriced = dice.chance(150)


def _portfolios(rng: np.random.Generator, market: Market, sizes: Int64, mix: Mix) -> Portfolios:
    """Return a portfolio for each of ``sizes``, its number of positions."""
    count, day = len(sizes), int(market.days[0])
    ids = uuids(rng, count, day)
    drawn = _Drawn(rng, market, np.repeat(ids, sizes, axis=0), mix)
    users = uuids(rng, count // 3 + 1, day)[np.arange(count) // 3]
    opening = _opening(rng, drawn, sizes)

    events, emptied = _events(rng, market, drawn, mix)
    positions = _positions(rng, market, drawn, emptied)
    owner, changes, undone = _flows(rng, market, ids, opening.values)
    kept = ~undone
    flows = Flows(
        portfolio_id=changes.portfolio_id[kept],
        day=Days(changes.day.values[kept]),
        amount=Decimals(changes.amount.values[kept], CENTS),
        change_type=_text(CHANGES, changes.change_type.codes[kept]),
    )
    return Portfolios(
        portfolios=_portfolio_table(ids, users, opening, day),
        positions=_position_table(market, drawn, positions),
        events=Table(
            "position_realized_events",
            len(events),
            {
                "id": uuids(rng, len(events), day),
                "position_id": events.position_id,
                "portfolio_id": events.portfolio_id,
                "trade_date": events.day,
                "quantity_closed": events.quantity,
                "realized_pnl": events.realized,
                "created_at": stamps(day)["created_at"],
            },
        ),
        flows=Table(
            "equity_changes",
            len(changes),
            {
                "id": uuids(rng, len(changes), day),
                "portfolio_id": changes.portfolio_id,
                "change_type": changes.change_type,
                "amount": changes.amount,
                "change_date": changes.day,
                "created_by_user_id": users[owner],
                **stamps(day),
                "deleted_at": _deleted_at(market, undone),
            },
        ),
        inputs=Inputs(
            positions=positions,
            events=events,
            flows=flows,
            prices=_prices(market),
            previous=Previous.none(),
            opening=Opening(portfolio_id=ids, equity=opening),
        ),
    )


def _opening(rng: np.random.Generator, drawn: _Drawn, sizes: Int64) -> Decimals:
    """Return opening equities: 0.6 to 2.5 times the cost of the positions."""
    cost = np.abs(drawn.quantity) * drawn.entry_price * drawn.multiplier // TO_CENTS
    cost[drawn.deleted] = 0
    invested = np.add.reduceat(cost, np.cumsum(sizes) - sizes)
    opening = invested * rng.integers(600, 2501, len(sizes)) // PER_MILLE
    return Decimals(np.maximum(opening, LEAST_OPENING_CENTS), CENTS)


def _events(
    rng: np.random.Generator, market: Market, drawn: _Drawn, mix: Mix
) -> tuple[Events, Bools]:
    """Return partial closes, and the positions that they closed completely.

    They are after the entry and before the exit or expiry, so that no position is closed twice.
    """
    dice = Dice(rng, len(drawn.id))
    last = np.minimum(np.where(drawn.exited, drawn.exit - 1, market.end), drawn.expiration - 1)
    each = np.where(dice.chance(mix.partial), 1 + dice.chance(300), 0)
    each[last <= drawn.entry] = 0
    of = np.repeat(np.arange(dice.rows), each)
    emptied = (each > 0) & ~drawn.exited & dice.chance(200)

    dice = Dice(rng, len(of))
    low = np.maximum(drawn.entry[of] + 1, market.start - 20)
    day = dice.whole(np.minimum(low, last[of]), last[of])
    held = np.abs(drawn.quantity[of])
    closed = np.maximum(held // SHARE * dice.whole(1, 6) // 10, 1) * SHARE
    price = dice.near(_close_on(market, drawn.column[of], day), 10_000)
    price = np.where(drawn.private[of], dice.near(drawn.entry_price[of], 400_000), price)
    entered = closed
    for split in market.splits:  # the closed quantity is in the shares of its day
        ex_date = int(market.days[split.row])
        over = (drawn.column[of] == split.column) & ~drawn.private[of]
        over &= (drawn.entry[of] < ex_date) & (ex_date <= day)
        closed = np.where(over, np.maximum(closed * split.new // split.old, 1), closed)
    gain = (price * closed - drawn.entry_price[of] * entered) * drawn.multiplier[of]
    events = Events(
        position_id=drawn.id[of],
        portfolio_id=drawn.portfolio_id[of],
        day=_days(day),
        quantity=_decimals(closed, QUANTITY_SCALE),
        realized=_decimals(_cents(np.where(drawn.short[of], -gain, gain)), CENTS),
    )
    return events, emptied


def _positions(
    rng: np.random.Generator, market: Market, drawn: _Drawn, emptied: Bools
) -> Positions:
    dice = Dice(rng, len(drawn.id))
    private, option = drawn.private, drawn.option
    # A fifth of them have a symbol with prices, which must not matter.
    unlisted = private & dice.chance(800)
    made_up = len(market.symbols) + dice.whole(0, len(PRIVATE_SYMBOLS) - 1)
    symbol = np.where(unlisted, made_up, drawn.column)
    right = np.ones(dice.rows, dtype=np.bool_)
    right[option] = market.options.call[drawn.contract[option]]
    of_option = 2 + 2 * drawn.short + ~right
    value = drawn.quantity * drawn.entry_price // TO_CENTS * dice.whole(700, 1800) // PER_MILLE
    value[dice.chance(50)] = 0
    return Positions(
        id=drawn.id,
        portfolio_id=drawn.portfolio_id,
        symbol=_text((*market.symbols, *PRIVATE_SYMBOLS), symbol),
        position_type=_text(POSITION_TYPES, np.where(option, of_option, drawn.short)),
        quantity=_decimals(np.where(emptied, 0, drawn.quantity), QUANTITY_SCALE),
        entry_price=_decimals(drawn.entry_price, CLOSE_SCALE),
        entry_day=_days(drawn.entry),
        exit_price=_decimals(drawn.exit_price, CLOSE_SCALE, ~drawn.exited | drawn.unpriced),
        exit_day=_days(drawn.exit, ~drawn.exited),
        expiration_day=_days(drawn.expiration, ~option),
        investment_class=_text(CLASSES, np.where(private, 2, option)),
        market_value=_decimals(value, CENTS, ~private | dice.chance(200)),
        deleted=drawn.deleted,
    )


def _flows(
    rng: np.random.Generator, market: Market, ids: Bytes, opening: Int64
) -> tuple[Int64, Flows, Bools]:
    """Return the portfolio of each flow, the flows, and which of them are soft-deleted.

    Up to three a portfolio, each up to 3 % of its opening equity; some on days without a session.
    """
    owner = np.repeat(np.arange(len(ids)), rng.integers(0, 4, len(ids)))
    dice = Dice(rng, len(owner))
    flows = Flows(
        portfolio_id=ids[owner],
        day=_days(dice.whole(market.start - 20, market.end)),
        amount=_decimals(opening[owner] * dice.whole(1, 30) // PER_MILLE, CENTS),
        change_type=_text(CHANGES, dice.chance(350).astype(np.uint32)),
    )
    return owner, flows, dice.chance(40)


def _deleted_at(market: Market, deleted: Bools) -> Moment:
    return Moment(market.end * MICROSECONDS_A_DAY, _state(~deleted))


def _portfolio_table(ids: Bytes, users: Bytes, opening: Decimals, day: int) -> Table:
    count = len(ids)
    names = [f"{STRATEGIES[row % len(STRATEGIES)]} {row + 1:06}" for row in range(count)]
    name = _text(names, np.arange(count))
    return Table(
        "portfolios",
        count,
        {
            "id": ids,
            "user_id": users,
            "name": name,
            "account_name": name,
            "account_type": Constant("taxable"),
            "is_active": Constant(value=True),
            "currency": Constant("USD"),
            "equity_balance": opening,
            **stamps(day),
        },
    )


def _position_table(market: Market, drawn: _Drawn, positions: Positions) -> Table:
    options, no_option = market.options, ~drawn.option
    stocks = market.symbols[: len(market.symbols) - len(options)]
    underlying = np.zeros(len(positions), dtype=np.int64)
    underlying[drawn.option] = options.underlying[drawn.contract[drawn.option]]
    strike = np.zeros(len(positions), dtype=np.int64)
    strike[drawn.option] = options.strike[drawn.contract[drawn.option]]
    return Table(
        "positions",
        len(positions),
        {
            "id": positions.id,
            "portfolio_id": positions.portfolio_id,
            "symbol": positions.symbol,
            "position_type": positions.position_type,
            "quantity": positions.quantity,
            "entry_price": positions.entry_price,
            "entry_date": positions.entry_day,
            "exit_price": positions.exit_price,
            "exit_date": positions.exit_day,
            "underlying_symbol": _text(stocks, underlying, no_option),
            "strike_price": _decimals(strike, CLOSE_SCALE, no_option),
            "expiration_date": positions.expiration_day,
            "investment_class": positions.investment_class,
            "market_value": positions.market_value,
            **stamps(int(market.days[0])),
            "deleted_at": _deleted_at(market, drawn.deleted),
        },
    )
