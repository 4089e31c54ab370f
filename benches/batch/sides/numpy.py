"""NumPy: a column of all lots for each session, on integers of 64 bits.

Prices become a matrix of marks, sessions down and symbols across; a session then is a gather, a
multiplication and a sum by portfolio over the lots of some portfolios, few enough for the cache.
What stays the same over sessions (costs, PRIVATE values, counts) is added where a lot begins and
taken off where it ends, and summed up over the sessions. Before that, a bound on every sum is
compared with 64 bits: beyond them it refuses to go on.

How it reads and writes is said in `batch.inputs` and `batch.wire`.
"""

from dataclasses import dataclass

import numpy as np

from batch import inputs, snapshots
from batch.inputs import LOT, NEVER, NO_DAY, NONE, Inputs
from batch.job import Job, Timing

CENT = 10**6  # of a price times a quantity, which have four decimals each
MILLION = 10**6  # a return has six decimals
SUM_LIMIT = 2.0**62
PNL_LIMIT = 2**62 // MILLION
PORTFOLIOS_A_CHUNK = 1000


@dataclass(frozen=True, eq=False, slots=True)
class Marks:
    """The latest close of each symbol on each day of the grid, and the day that it is of (S4).

    Attributes:
        grid: (g,) int32: the sessions, the days before them that portfolios go on from, and the
            days on which lots end at the mark.
        close: (g, s + 1) int64; the last column is of symbols without a close.
        day: (g, s + 1) int32, `NO_DAY` where there is none.
    """

    grid: np.ndarray
    close: np.ndarray
    day: np.ndarray


@dataclass(frozen=True, eq=False, slots=True)
class Lots:
    """Lots by portfolio, a column each; see `LOT`.

    Attributes:
        first: (p + 1,) where the lots of each portfolio begin.
        portfolio: (n,) row of the portfolio.
        symbol: (n,) column of `Marks`.
    """

    first: np.ndarray
    portfolio: np.ndarray
    symbol: np.ndarray
    units: np.ndarray
    entry: np.ndarray
    start: np.ndarray
    end: np.ndarray
    private: np.ndarray
    value: np.ndarray
    exit: np.ndarray
    realized: np.ndarray


@dataclass(frozen=True, eq=False, slots=True)
class Loaded:
    """All that the loop reads; `flows` are (s, p) int64 cents, `portfolios` by id."""

    portfolios: np.ndarray
    sessions: np.ndarray
    marks: Marks
    lots: Lots
    flows: np.ndarray


def run(url: str, job: Job) -> Timing:
    def figures(read: Inputs) -> snapshots.Figures:
        loaded = prepared(read)

        def by_row(first: int, last: int) -> dict[str, np.ndarray]:
            rolled = roll_forward(loaded, first, last)
            return {name: values.T.ravel() for name, values in rolled.items()}

        return by_row

    return snapshots.run(url, job, figures, PORTFOLIOS_A_CHUNK)


def prepared(read: Inputs) -> Loaded:
    """Return what the loop reads."""
    portfolios, sessions, closes = read.portfolios, read.sessions, read.closes
    symbols, of_close = _distinct(inputs.words(closes["symbol"]))
    lots = _by_portfolio(inputs.words(portfolios["id"]), symbols, read.lots)
    previous = portfolios["previous"].astype(np.int32)
    at_mark = (lots.realized == NONE) & (lots.exit == NONE) & ~lots.private
    ends = np.unique(lots.end[at_mark])
    ends = ends[(ends > read.since) & (ends <= sessions[-1])]
    grid = np.unique(np.concatenate([sessions, previous[previous != NO_DAY], ends]))
    marks = _marks(grid, len(symbols), of_close, closes)
    _check_widths(len(portfolios), lots, marks)
    flows = _flows(portfolios, previous, sessions, read.flows)
    return Loaded(portfolios, sessions, marks, lots, flows)


def _hashes(words: np.ndarray) -> np.ndarray:
    mixed = words[:, 0].copy()
    for word in words.T[1:]:
        mixed ^= mixed >> np.uint64(29)
        mixed *= np.uint64(0x9E37_79B9_7F4A_7C15)
        mixed ^= word
    return mixed


def _distinct(words: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return the distinct rows of words, and which of them each row is."""
    _, first, of_row = np.unique(_hashes(words), return_index=True, return_inverse=True)
    distinct = words[first]
    if (distinct[of_row] != words).any():
        raise ValueError("two texts of one hash")
    return distinct, of_row


def _places(known: np.ndarray, words: np.ndarray) -> np.ndarray:
    """Return which of the distinct `known` rows each row is, their number where it is none."""
    hashes = _hashes(known)
    order = np.argsort(hashes)
    if (np.diff(hashes[order]) == 0).any():
        raise ValueError("two texts of one hash")
    places = np.searchsorted(hashes, _hashes(words), sorter=order)
    places = order[np.minimum(places, len(known) - 1)]
    return np.where((known[places] == words).all(axis=1), places, len(known))


def _by_portfolio(ids: np.ndarray, symbols: np.ndarray, lots: np.ndarray) -> Lots:
    portfolio = _places(ids, inputs.words(lots["portfolio"]))
    order = np.argsort(portfolio, kind="stable")
    order = order[: np.searchsorted(portfolio, len(ids), sorter=order)]  # not of deleted ones
    portfolio = portfolio[order]
    columns = {
        name: lots[name].astype(lots.dtype[name].newbyteorder("="))[order]
        for name in LOT
        if name not in {"portfolio", "symbol"}
    }
    return Lots(
        first=np.searchsorted(portfolio, np.arange(len(ids) + 1)),
        portfolio=portfolio,
        symbol=_places(symbols, inputs.words(lots["symbol"]))[order],
        **columns,
    )


def _marks(grid: np.ndarray, symbols: int, of_close: np.ndarray, closes: np.ndarray) -> Marks:
    day, close = closes["day"].astype(np.int32), closes["close"].astype(np.int64)
    if (np.diff(day) < 0).any():
        order = np.argsort(day, kind="stable")
        of_close, day, close = of_close[order], day[order], close[order]
    # of several closes between two days of the grid, the last is assigned last
    row = np.searchsorted(grid, day)
    marks = Marks(
        grid,
        np.zeros((len(grid), symbols + 1), np.int64),
        np.full((len(grid), symbols + 1), NO_DAY),
    )
    marks.close[row, of_close] = close
    marks.day[row, of_close] = day
    for row in range(1, len(grid)):
        missing = marks.day[row] == NO_DAY
        np.copyto(marks.close[row], marks.close[row - 1], where=missing)
        np.copyto(marks.day[row], marks.day[row - 1], where=missing)
    return marks


def _check_widths(portfolios: int, lots: Lots, marks: Marks) -> None:
    """Refuse portfolios whose sums might not fit 64 bits."""
    price = np.maximum(np.maximum(lots.entry, lots.exit), marks.close.max(axis=0)[lots.symbol])
    most = price.astype(np.float64) * np.abs(lots.units)
    for amount in (lots.value, lots.realized):
        most += np.where(amount == NONE, 0.0, np.abs(amount.astype(np.float64))) * CENT
    if np.bincount(lots.portfolio, most, portfolios).max(initial=0) >= SUM_LIMIT:
        raise OverflowError("a portfolio whose sums need more than 64 bits")


def _flows(
    portfolios: np.ndarray, previous: np.ndarray, sessions: np.ndarray, flows: np.ndarray
) -> np.ndarray:
    """Return (s, p) cents that came in: those dated after the session before (S5, S7)."""
    portfolio = _places(inputs.words(portfolios["id"]), inputs.words(flows["portfolio"]))
    day = flows["day"].astype(np.int32)
    after = np.where(previous == NO_DAY, sessions[0] - 1, previous)
    counts = day > np.append(after, NEVER)[portfolio]
    sums = np.zeros((len(sessions), len(portfolios)), np.int64)
    row = np.searchsorted(sessions, day[counts])
    np.add.at(sums, (row, portfolio[counts]), flows["amount"].astype(np.int64)[counts])
    return sums


def _cents(exact: np.ndarray) -> np.ndarray:
    """Return values of eight decimals rounded to cents, half away from zero."""
    # unsigned division by a constant is several times as fast as signed
    cents = ((np.abs(exact).view(np.uint64) + np.uint64(CENT // 2)) // np.uint64(CENT)).view(
        np.int64
    )
    return np.negative(cents, out=cents, where=exact < 0)


def _returns(pnl: np.ndarray, equity: np.ndarray) -> np.ndarray:
    """Return pnl / equity in millionths, half away from zero; 0 where equity is not above 0."""
    if np.abs(pnl).max(initial=0) >= PNL_LIMIT or equity.max(initial=0) >= SUM_LIMIT:
        raise OverflowError("a return that needs more than 64 bits")
    above = equity > 0
    divisor = np.where(above, equity, 1)
    whole, rest = np.divmod(np.abs(pnl) * above * MILLION, divisor)
    whole += 2 * rest >= divisor
    return np.negative(whole, out=whole, where=pnl < 0)


def roll_forward(loaded: Loaded, first: int, last: int) -> dict[str, np.ndarray]:
    """Return the figures of portfolios `first` to `last` as (s, p) int64, in cents (S6 to S9)."""
    marks, sessions, count = loaded.marks, loaded.sessions, last - first
    lots = _slice(loaded.lots, first, last)
    portfolios = loaded.portfolios[first:last]
    previous = portfolios["previous"].astype(np.int32)
    begun = previous != NO_DAY

    cost = lots.entry * lots.units
    value = np.where(lots.value == NONE, cost, lots.value * CENT)
    public, positive = ~lots.private, lots.units > 0
    constant = _while_held(
        marks.grid,
        lots,
        count,
        {
            "cost": cost * public,
            "long": np.maximum(value, 0) * lots.private,
            "short": np.minimum(value, 0) * lots.private,
            "held": np.ones_like(cost),
            "longs": positive.astype(np.int64),
        },
    )
    long_sum, short_sum = constant["long"], constant["short"]
    unrealized = -constant["cost"]
    # PRIVATE lots count here as nothing
    units = lots.units * public
    begins = np.searchsorted(lots.portfolio, np.arange(count))
    filled = np.flatnonzero(np.diff(begins, append=len(units)))
    begins = begins[filled]
    if len(begins):
        for row, day in enumerate(marks.grid):
            amount = lots.entry.copy()
            priced = marks.day[row].take(lots.symbol) >= lots.start
            np.copyto(amount, marks.close[row].take(lots.symbol), where=priced)
            amount *= units
            amount *= (lots.start <= day) & (day < lots.end)
            total = np.add.reduceat(amount, begins)
            above = np.add.reduceat(np.maximum(amount, 0, out=amount), begins)
            unrealized[row, filled] += total
            long_sum[row, filled] += above
            short_sum[row, filled] += total - above

    rows = np.searchsorted(marks.grid, sessions)
    unrealized = _cents(unrealized)
    row = np.searchsorted(marks.grid, np.where(begun, previous, sessions[0]))
    before = np.take_along_axis(unrealized, row[None], axis=0)
    realized = _cents(_realized(marks, sessions, lots, previous))
    flow = loaded.flows[:, first:last]
    pnl = np.diff(unrealized[rows], axis=0, prepend=before) + realized
    opening = portfolios["equity"].astype(np.int64)
    equity = opening + np.cumsum(pnl + flow, axis=0)
    daily_return = _returns(pnl, np.concatenate([opening[None], equity[:-1]]))
    long_value, short_value = _cents(long_sum[rows]), _cents(short_sum[rows])
    net = long_value + short_value
    held, longs = constant["held"][rows], constant["longs"][rows]
    return {
        "total_value": equity,
        "equity_balance": equity,
        "daily_pnl": pnl,
        "daily_realized_pnl": realized,
        "daily_capital_flow": flow,
        "daily_return": daily_return,
        "cumulative_pnl": portfolios["pnl"] + np.cumsum(pnl, axis=0),
        "cumulative_realized_pnl": portfolios["realized"] + np.cumsum(realized, axis=0),
        "cumulative_capital_flow": portfolios["flow"] + np.cumsum(flow, axis=0),
        "long_value": long_value,
        "short_value": short_value,
        "gross_exposure": long_value - short_value,
        "net_exposure": net,
        "cash_value": equity - net,
        "num_positions": held,
        "num_long_positions": longs,
        "num_short_positions": held - longs,
    }


def _slice(lots: Lots, first: int, last: int) -> Lots:
    """Return the lots of some portfolios, which count from 0."""
    which = slice(lots.first[first], lots.first[last])
    columns = {name: getattr(lots, name)[which] for name in LOT if name != "portfolio"}
    bounds = lots.first[first : last + 1] - lots.first[first]
    return Lots(first=bounds, portfolio=lots.portfolio[which] - first, **columns)


def _while_held(
    grid: np.ndarray, lots: Lots, count: int, columns: dict[str, np.ndarray]
) -> dict[str, np.ndarray]:
    """Return (g, p) sums by portfolio of what is the same on every day that a lot is held."""
    begin = np.searchsorted(grid, lots.start) * count + lots.portfolio
    end = np.searchsorted(grid, lots.end) * count + lots.portfolio
    sums = {}
    for name, values in columns.items():
        steps = np.zeros((len(grid) + 1) * count, np.int64)
        np.add.at(steps, begin, values)
        np.subtract.at(steps, end, values)
        sums[name] = steps.reshape(-1, count)[:-1].cumsum(axis=0)
    return sums


def _realized(marks: Marks, sessions: np.ndarray, lots: Lots, previous: np.ndarray) -> np.ndarray:
    """Return (s, p) sums of what was realized since the session before (S6)."""
    after = np.where(previous == NO_DAY, sessions[0], previous)[lots.portfolio]
    due = np.flatnonzero((lots.end > after) & (lots.end <= sessions[-1]))
    realized, price = lots.realized[due], lots.exit[due]
    symbol, end = lots.symbol[due], lots.end[due]
    row = np.minimum(np.searchsorted(marks.grid, end), len(marks.grid) - 1)
    priced = (marks.day[row, symbol] >= lots.start[due]) & ~lots.private[due]
    mark = np.where(priced, marks.close[row, symbol], lots.entry[due])
    price = np.where(price == NONE, mark, price)
    gain = (price - lots.entry[due]) * lots.units[due]
    sums = np.zeros((len(sessions), len(previous)), np.int64)
    np.add.at(
        sums,
        (np.searchsorted(sessions, end), lots.portfolio[due]),
        np.where(realized == NONE, gain, realized * CENT),
    )
    return sums
