"""The dictionary cache in pure Python, which the native run is compared with.

One bulk query brings the closes into ``(symbol, date) -> Decimal``; positions, events and flows
come by one plain SELECT each; a loop over portfolios, sessions and lots looks prices up, going back
a day at a time where one is missing; the rows are written by asyncpg's COPY. Exact decimals, the
rules S3 to S10 of docs/semantics.md, and what takes time outside them done once: a session keeps
what the one before it computed, and nothing is looked up twice for a lot and day.

It leaves out what the native run does beside: issues, statuses and hit rates, the catalog check,
rows that stand already (its rows are a first backfill, or go on after the latest snapshot), and
closes older than the window that it loads.
"""

import uuid
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from decimal import ROUND_HALF_UP, Decimal, localcontext
from time import perf_counter
from typing import Any, NamedTuple

import asyncpg

from batch.wire import connected

Prices = dict[tuple[str, date], Decimal]
Row = Mapping[str, Any]

ZERO = Decimal(0)
CENT = Decimal("0.01")
MILLIONTH = Decimal("0.000001")
MONEY_LIMIT = Decimal(10) ** 14
RETURN_LIMIT = Decimal(100)
DIGITS = 60
ONE_DAY = timedelta(days=1)
NEVER = date.max
OPTIONS = frozenset({"LC", "LP", "SC", "SP"})
SHORTS = frozenset({"SHORT", "SC", "SP"})

COLUMNS = (
    "id",
    "portfolio_id",
    "snapshot_date",
    "total_value",
    "equity_balance",
    "daily_pnl",
    "daily_realized_pnl",
    "daily_capital_flow",
    "daily_return",
    "cumulative_pnl",
    "cumulative_realized_pnl",
    "cumulative_capital_flow",
    "long_value",
    "short_value",
    "gross_exposure",
    "net_exposure",
    "cash_value",
    "num_positions",
    "num_long_positions",
    "num_short_positions",
    "is_complete",
    "created_at",
)

PORTFOLIO = COLUMNS.index("portfolio_id")

SELECTS = 6
"""Of `load`; what is written is one COPY, and an UPDATE for each portfolio."""

PORTFOLIOS = "SELECT id, equity_balance FROM portfolios WHERE deleted_at IS NULL ORDER BY id"
PREVIOUS = """
    SELECT DISTINCT ON (portfolio_id) portfolio_id, snapshot_date, equity_balance,
        cumulative_pnl, cumulative_realized_pnl, cumulative_capital_flow
    FROM portfolio_snapshots
    WHERE is_complete AND equity_balance IS NOT NULL AND snapshot_date < $1
    ORDER BY portfolio_id, snapshot_date DESC
"""
POSITIONS = """
    SELECT id, portfolio_id, symbol, position_type, quantity, entry_price, entry_date,
        exit_price, exit_date, expiration_date, investment_class, market_value
    FROM positions WHERE deleted_at IS NULL
"""
EVENTS = (
    "SELECT position_id, trade_date, quantity_closed, realized_pnl FROM position_realized_events"
)
FLOWS = """
    SELECT portfolio_id, change_type, amount, change_date
    FROM equity_changes WHERE deleted_at IS NULL AND change_date <= $1
"""
CLOSES = """
    SELECT symbol, date, close FROM market_data_cache
    WHERE symbol = ANY($1) AND date BETWEEN $2 AND $3 AND close > 0 AND close < 'Infinity'
"""
SET_EQUITY = "UPDATE portfolios SET equity_balance = $2, updated_at = $3 WHERE id = $1"


@dataclass(frozen=True, slots=True)
class Lot:
    """A signed quantity of one symbol, held from `start` (included) to `end` (excluded), S3.

    `units` is the quantity times the multiplier, `cost` the entry price times the units, `value`
    what a PRIVATE lot is worth on every session, else None; `realized` the amount that an event
    gave, `exit_price` the one that counts.
    """

    symbol: str
    units: Decimal
    entry_price: Decimal
    cost: Decimal
    start: date
    end: date
    realized: Decimal | None
    value: Decimal | None
    exit_price: Decimal | None = None


class Valued(NamedTuple):
    """Sums over the lots of a portfolio, rounded to cents, and how many are held."""

    unrealized: Decimal
    realized: Decimal
    long_value: Decimal
    short_value: Decimal
    held: int
    longs: int


@dataclass(slots=True)
class Standing:
    """What a session goes on from (S5); `day` is None before the baseline."""

    day: date | None
    equity: Decimal
    pnl: Decimal = ZERO
    realized: Decimal = ZERO
    flow: Decimal = ZERO


@dataclass(frozen=True, slots=True)
class Loaded:
    """All that the loop reads."""

    prices: Prices
    oldest: date
    standing: dict[uuid.UUID, Standing]
    lots: dict[uuid.UUID, list[Lot]]
    flows: dict[uuid.UUID, list[tuple[date, Decimal]]]


async def run(url: str, sessions: list[date], lookback_days: int = 10) -> dict[str, float]:
    """Load, compute and persist; return the seconds of each, and what was sent and written."""
    async with connected(url) as connection:
        began = perf_counter()
        loaded = await load(connection, sessions[0], sessions[-1], lookback_days)
        have = perf_counter()
        rows = compute(loaded, sessions)
        computed = perf_counter()
        await save(connection, rows)
        done = perf_counter()
    return {
        "load": have - began,
        "compute": computed - have,
        "persist": done - computed,
        "statements": SELECTS + 1 + len({row[PORTFOLIO] for row in rows}),
        "rows": len(rows),
    }


async def load(
    connection: asyncpg.Connection, start: date, end: date, lookback_days: int
) -> Loaded:
    """Return all that the loop reads, from one snapshot of the database."""
    async with connection.transaction(isolation="repeatable_read", readonly=True):
        portfolios = await connection.fetch(PORTFOLIOS)
        previous = {row["portfolio_id"]: row for row in await connection.fetch(PREVIOUS, start)}
        positions = await connection.fetch(POSITIONS)
        events = await connection.fetch(EVENTS)
        changes = await connection.fetch(FLOWS, end)
        symbols = sorted({row["symbol"] for row in positions})
        first = min((row["snapshot_date"] for row in previous.values()), default=start)
        oldest = min(start, first) - timedelta(days=lookback_days)
        closes = await connection.fetch(CLOSES, symbols, oldest, end)
    prices = {(normalised(symbol), day): close for symbol, day, close in closes}
    flows = defaultdict(list)
    for portfolio, change_type, amount, day in changes:
        flows[portfolio].append((day, amount if change_type == "CONTRIBUTION" else -amount))
    return Loaded(
        prices,
        oldest,
        {portfolio: _standing(previous.get(portfolio), equity) for portfolio, equity in portfolios},
        _lots_by_portfolio(positions, events),
        flows,
    )


def normalised(symbol: str) -> str:
    return symbol.strip(" ").upper()


def _standing(previous: asyncpg.Record | None, equity: Decimal | None) -> Standing:
    if previous is None:
        return Standing(None, equity or ZERO)
    return Standing(
        previous["snapshot_date"],
        previous["equity_balance"],
        previous["cumulative_pnl"] or ZERO,
        previous["cumulative_realized_pnl"] or ZERO,
        previous["cumulative_capital_flow"] or ZERO,
    )


def _lots_by_portfolio(
    positions: list[asyncpg.Record], events: list[asyncpg.Record]
) -> dict[uuid.UUID, list[Lot]]:
    events_of = defaultdict(list)
    for event in events:
        events_of[event["position_id"]].append(event)
    lots = defaultdict(list)
    for position in positions:
        lots[position["portfolio_id"]] += lots_of(position, events_of.get(position["id"], ()))
    return lots


def lots_of(position: Row, events: Iterable[Row]) -> list[Lot]:
    """Return the lots of a position (S3); none of one that the rules leave out."""
    symbol, quantity = normalised(position["symbol"]), position["quantity"]
    entry, start = position["entry_price"], position["entry_date"]
    private = normalised(position["investment_class"] or "") == "PRIVATE"
    if not (quantity.is_finite() and entry.is_finite()) or entry < 0:
        return []
    if not symbol and not private:
        return []
    option = position["position_type"] in OPTIONS
    multiplier = 100 if option else 1
    negative = quantity < 0 or (quantity == 0 and position["position_type"] in SHORTS)

    lots, closed = [], defaultdict(lambda: ZERO)
    for event in events:
        size, day = event["quantity_closed"], event["trade_date"]
        if size > 0 and day >= start:
            closed[day] += size
            units = (-size if negative else size) * multiplier
            cost = entry * units
            value = cost if private else None
            lots.append(Lot(symbol, units, entry, cost, start, day, event["realized_pnl"], value))

    exit_day, expiration = position["exit_date"], position["expiration_date"]
    end = exit_day or (expiration if option else None) or NEVER
    closed_by_events = exit_day is not None and closed.get(exit_day, ZERO) >= abs(quantity)
    if quantity != 0 and not closed_by_events and end >= start:
        units = quantity * multiplier
        cost = entry * units
        value = (position["market_value"] or cost) if private else None
        price = _exit_price(position, option=option, private=private)
        if price is None and private:
            price = entry
        lots.append(Lot(symbol, units, entry, cost, start, end, None, value, price))
    return lots


def _exit_price(position: Row, *, option: bool, private: bool) -> Decimal | None:
    """Return the exit price if it counts: above 0, or 0 for an option (S3)."""
    price = position["exit_price"]
    if position["exit_date"] is None or price is None:
        return None
    return price if price > 0 or (price == 0 and option and not private) else None


def mark(prices: Prices, symbol: str, first: date, day: date, entry_price: Decimal) -> Decimal:
    """Return the latest close on a date of ``[first, day]``, or the entry price (S4)."""
    close = prices.get((symbol, day))
    while close is None:
        day -= ONE_DAY
        if day < first:
            return entry_price
        close = prices.get((symbol, day))
    return close


def compute(loaded: Loaded, sessions: list[date]) -> list[tuple]:
    """Return the rows of all portfolios over the sessions, in the order of `COLUMNS`."""
    rows: list[tuple] = []
    created = datetime.now(UTC)
    with localcontext(prec=DIGITS, rounding=ROUND_HALF_UP):
        for portfolio in loaded.standing:
            rows += _roll_forward(portfolio, loaded, sessions, created)
    return rows


def _valued(lots: list[Lot], previous: date | None, day: date, loaded: Loaded) -> Valued:
    """Return the sums over the lots of a portfolio on a session (S6, S9)."""
    prices, oldest = loaded.prices, loaded.oldest
    unrealized = realized = long_value = short_value = ZERO
    held = longs = 0
    for lot in lots:
        if lot.start <= day < lot.end:
            held += 1
            longs += lot.units > 0
            value = lot.value
            if value is None:
                price = prices.get((lot.symbol, day))
                if price is None:
                    first = max(lot.start, oldest)
                    price = mark(prices, lot.symbol, first, day, lot.entry_price)
                value = price * lot.units
                unrealized += value - lot.cost
            if value > 0:
                long_value += value
            else:
                short_value += value
        elif previous is not None and previous < lot.end <= day:
            amount = lot.realized
            if amount is None:
                price = lot.exit_price
                if price is None:
                    first = max(lot.start, oldest)
                    price = mark(prices, lot.symbol, first, lot.end, lot.entry_price)
                amount = price * lot.units - lot.cost
            realized += amount
    return Valued(
        unrealized.quantize(CENT),
        realized.quantize(CENT),
        long_value.quantize(CENT),
        short_value.quantize(CENT),
        held,
        longs,
    )


def _roll_forward(
    portfolio: uuid.UUID, loaded: Loaded, sessions: list[date], created: datetime
) -> Iterator[tuple]:
    """Give the rows of a portfolio; none from a session on whose values do not fit (S10)."""
    lots = loaded.lots.get(portfolio, [])
    flows = loaded.flows.get(portfolio, [])
    standing = loaded.standing[portfolio]
    previous, equity = standing.day, standing.equity
    pnl_sum, realized_sum, flow_sum = standing.pnl, standing.realized, standing.flow
    before = ZERO if previous is None else _valued(lots, None, previous, loaded).unrealized
    for day in sessions:
        if previous is not None and day <= previous:
            continue
        on_day = _valued(lots, previous, day, loaded)
        pnl = daily_return = ZERO
        after = day - ONE_DAY if previous is None else previous
        flow = sum((amount for on, amount in flows if after < on <= day), ZERO)
        if previous is not None:
            pnl = on_day.unrealized - before + on_day.realized
            if equity > 0:
                daily_return = (pnl / equity).quantize(MILLIONTH)
        equity += pnl + flow
        pnl_sum += pnl
        realized_sum += on_day.realized
        flow_sum += flow
        net = on_day.long_value + on_day.short_value
        money = (equity, equity, pnl, on_day.realized, flow)
        sums = (pnl_sum, realized_sum, flow_sum)
        gross = on_day.long_value - on_day.short_value
        exposures = (on_day.long_value, on_day.short_value, gross, net, equity - net)
        if any(abs(amount) >= MONEY_LIMIT for amount in (*money, *sums, *exposures)):
            return
        yield (
            uuid.uuid4(),
            portfolio,
            day,
            *money,
            None if abs(daily_return) >= RETURN_LIMIT else daily_return,
            *sums,
            *exposures,
            on_day.held,
            on_day.longs,
            on_day.held - on_day.longs,
            True,
            created,
        )
        previous, before = day, on_day.unrealized


async def save(connection: asyncpg.Connection, rows: list[tuple]) -> None:
    """Write the rows and the equities in one transaction."""
    equity = COLUMNS.index("equity_balance")
    latest = {row[PORTFOLIO]: row[equity] for row in rows}
    now = datetime.now(UTC)
    async with connection.transaction():
        await connection.copy_records_to_table("portfolio_snapshots", records=rows, columns=COLUMNS)
        await connection.executemany(
            SET_EQUITY, [(key, *rest, now) for key, *rest in latest.items()]
        )
