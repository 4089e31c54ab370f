"""The floor: the bytes alone.

The inputs that a batch needs, by COPY to nothing; then the rows that it writes, by COPY from
memory, and the equities, by one statement: nothing is decoded, computed or encoded. One
connection, one read transaction and after it one write transaction: chunks of portfolios, in
transactions of their own or in one, were no faster in a backfill of 1.2 million rows. The equities
go by COPY into a temporary table, which was as fast as arrays in the statement, and as taking them
from the snapshots just written.

`prepare` reads what is written into memory, before the clock: the rows that batchcore wrote, as
binary COPY, sorted by portfolio and date, with their UUIDv7.
"""

import asyncio
from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass
from datetime import timedelta
from statistics import median
from time import perf_counter

import asyncpg

from batch.job import Job, Timing
from batch.outputs import Output, Outputs
from batch.wire import connected
from batchcore import calendar
from batchcore.analytics.windows import LOOK
from batchcore.calendar import day_of
from batchcore.pg.sql import text_array
from batchcore.run.analysis import PAST_RETURNS
from batchcore.units import FACTOR_ETFS

PIECE_BYTES = 1 << 18

UPDATES = {
    "portfolios": (
        "CREATE TEMP TABLE staged_portfolios (id uuid, equity_balance numeric) ON COMMIT DROP",
        (
            "UPDATE portfolios p SET equity_balance = s.equity_balance, updated_at = now()"
            " FROM staged_portfolios s WHERE p.id = s.id"
            " AND p.equity_balance IS DISTINCT FROM s.equity_balance"
        ),
    ),
    "positions": (
        (
            "CREATE TEMP TABLE staged_positions (id uuid, last_price numeric, market_value numeric,"
            " unrealized_pnl numeric) ON COMMIT DROP"
        ),
        (
            "UPDATE positions p SET last_price = s.last_price, market_value = s.market_value,"
            " unrealized_pnl = s.unrealized_pnl FROM staged_positions s WHERE p.id = s.id"
            " AND (p.last_price, p.market_value, p.unrealized_pnl)"
            " IS DISTINCT FROM (s.last_price, s.market_value, s.unrealized_pnl)"
        ),
    ),
}
"""Rows that stand already: a table of what they become, and the statement that makes them so."""


@dataclass(frozen=True, slots=True)
class Read:
    """What some SELECTs brought, and the median of the seconds that they took."""

    rows: int
    size_bytes: int
    seconds: float


LOADED: dict[str, tuple[Output, memoryview]] = {}
SYMBOLS_READ: list[str] = []
"""What `prepare` keeps for `run`: what is written, by table, and whose closes are read."""

PORTFOLIOS = """
    SELECT p.id, p.equity_balance, p.currency, p.deleted_at IS NOT NULL,
        before.snapshot_date, before.equity_balance, before.cumulative_pnl,
        before.cumulative_realized_pnl, before.cumulative_capital_flow,
        first.snapshot_date, first.equity_balance, first.daily_pnl, first.daily_capital_flow,
        last.snapshot_date, last.equity_balance, last.cumulative_pnl,
        last.cumulative_realized_pnl, last.cumulative_capital_flow
    FROM portfolios p
    LEFT JOIN LATERAL (SELECT * FROM portfolio_snapshots WHERE portfolio_id = p.id
        AND snapshot_date < '{start}' AND is_complete AND equity_balance IS NOT NULL
        ORDER BY snapshot_date DESC LIMIT 1) before ON true
    LEFT JOIN LATERAL (SELECT * FROM portfolio_snapshots WHERE portfolio_id = p.id
        AND snapshot_date >= '{start}' AND is_complete AND equity_balance IS NOT NULL
        ORDER BY snapshot_date LIMIT 1) first ON true
    LEFT JOIN LATERAL (SELECT * FROM portfolio_snapshots WHERE first.id IS NOT NULL
        AND portfolio_id = p.id AND snapshot_date >= '{start}' AND is_complete
        AND equity_balance IS NOT NULL ORDER BY snapshot_date DESC LIMIT 1) last ON true
    WHERE p.deleted_at IS NULL
"""
SYMBOLS = """
    WITH RECURSIVE spelling(symbol) AS (
        (SELECT symbol FROM positions WHERE deleted_at IS NULL AND symbol <> ''
            ORDER BY deleted_at, symbol LIMIT 1)
        UNION ALL SELECT (SELECT symbol FROM positions WHERE deleted_at IS NULL AND symbol <> ''
            AND symbol > spelling.symbol ORDER BY deleted_at, symbol LIMIT 1)
        FROM spelling WHERE spelling.symbol IS NOT NULL)
    SELECT symbol FROM spelling WHERE symbol IS NOT NULL
"""
PRICES = """
    SELECT symbol, date, close FROM market_data_cache
    WHERE symbol = ANY({symbols}) AND date BETWEEN '{oldest}' AND '{end}'
"""
EARLIER = """
    SELECT s.symbol, m.date, m.close
    FROM unnest({symbols}::varchar[]) AS s(symbol)
    CROSS JOIN LATERAL (SELECT date, close FROM market_data_cache WHERE symbol = s.symbol
        AND date < '{oldest}' AND close > 0 ORDER BY date DESC LIMIT 1) m
"""
POSITIONS = """
    SELECT id, portfolio_id, symbol, position_type, quantity, entry_price, entry_date, exit_price,
        exit_date, expiration_date, investment_class, market_value
    FROM positions WHERE deleted_at IS NULL
"""
EVENTS = """
    SELECT e.position_id, p.portfolio_id, e.trade_date, e.quantity_closed, e.realized_pnl
    FROM position_realized_events e JOIN positions p ON p.id = e.position_id
    WHERE p.deleted_at IS NULL
"""
FLOWS = """
    SELECT portfolio_id, change_date, amount, change_type FROM equity_changes
    WHERE deleted_at IS NULL AND change_date BETWEEN '{before}' AND '{end}'
"""
EXISTING = """
    SELECT portfolio_id, snapshot_date, is_complete FROM portfolio_snapshots
    WHERE snapshot_date BETWEEN '{start}' AND '{end}'
"""

PROFILES = """
    SELECT symbol, beta, sector, is_etf FROM company_profiles
    WHERE symbol = ANY({symbols})
"""
RETURNS = """
    SELECT s.portfolio_id, s.snapshot_date, s.daily_return FROM portfolios p
    CROSS JOIN LATERAL (SELECT portfolio_id, snapshot_date, daily_return FROM portfolio_snapshots
        WHERE portfolio_id = p.id AND snapshot_date < '{start}' AND is_complete
        AND daily_return IS NOT NULL ORDER BY snapshot_date DESC LIMIT {returns}) s
    WHERE p.deleted_at IS NULL
"""
FACTORS = "SELECT id, etf_proxy FROM factor_definitions WHERE is_active ORDER BY id"


def prepare(job: Job) -> None:
    """Read what is to be written into memory, and the symbols whose closes are to be read."""
    outputs = Outputs.read(job.path)
    SYMBOLS_READ.extend(outputs.symbols)
    for output in outputs.tables:
        LOADED[output.table] = (output, memoryview((job.path / output.file).read_bytes()))


def run(url: str, job: Job) -> Timing:
    return asyncio.run(_run(url, job))


async def _run(url: str, job: Job) -> Timing:
    began = perf_counter()
    async with connected(url) as connection:
        queries = selects(job, SYMBOLS_READ)
        await _load(connection, queries)
        have = perf_counter()
        statements = await _save(connection, LOADED)
        done = perf_counter()
    return Timing(
        load=have - began,
        compute=0.0,
        persist=done - have,
        statements=len(queries) + statements,
        rows=LOADED["portfolio_snapshots"][0].rows,
    )


async def _load(connection: asyncpg.Connection, queries: list[str]) -> tuple[int, int]:
    """Return how many rows and bytes the queries bring."""
    rows = size_bytes = 0

    async def take(piece: bytes) -> None:
        nonlocal size_bytes
        size_bytes += len(piece)

    async with connection.transaction(isolation="repeatable_read", readonly=True):
        for query in queries:
            status = await connection.copy_from_query(query, output=take, format="binary")
            rows += int(status.rpartition(" ")[2])
    return rows, size_bytes


async def reading(
    connection: asyncpg.Connection, sets: dict[str, list[str]], rounds: int
) -> dict[str, Read]:
    """Return what each of some sets of SELECTs brings and takes; they take turns."""
    seconds: dict[str, list[float]] = {name: [] for name in sets}
    read: dict[str, Read] = {}
    for _ in range(rounds):
        for name, queries in sets.items():
            began = perf_counter()
            rows, size_bytes = await _load(connection, queries)
            seconds[name].append(perf_counter() - began)
            read[name] = Read(rows, size_bytes, median(seconds[name]))
    return read


def selects(job: Job, symbols: Sequence[str]) -> list[str]:
    """Return what is read: the columns and rows that a batch needs by contract, in plain queries.

    Of each portfolio its row and the snapshots around the first session; the symbols, their closes
    from the lookback on and the last one before it; positions, events, flows, existing rows.
    """
    before = job.history[-1] if job.history else job.start
    oldest = before - timedelta(days=job.lookback_days)
    analytics = job.analytics != "none"
    if analytics:
        days = calendar.load(calendar.SHIPPED).last_sessions(day_of(job.end), LOOK + 1)
        oldest = min(oldest, calendar.date_of(int(days[0])))
    queries = [PORTFOLIOS, SYMBOLS, PRICES, EARLIER, POSITIONS, EVENTS, FLOWS, EXISTING]
    if analytics:
        queries += [PROFILES, RETURNS]
    if job.analytics == "full":
        queries.append(FACTORS)
    window = {"start": job.start, "end": job.end, "before": before, "oldest": oldest}
    listed = text_array([*symbols, *FACTOR_ETFS] if analytics else symbols)
    return [query.format(**window, symbols=listed, returns=PAST_RETURNS) for query in queries]


async def _save(connection: asyncpg.Connection, outputs: dict[str, tuple[Output, memoryview]]):
    """Write everything in one transaction; return how many statements that took."""
    statements = 0
    async with connection.transaction():
        for table, (output, data) in outputs.items():
            create, update = UPDATES.get(table, ("", ""))
            if create:
                await connection.execute(create)
            await connection.copy_to_table(
                f"staged_{table}" if create else table,
                source=_pieces(data),
                columns=list(output.columns),
                format="binary",
            )
            if update:
                await connection.execute(update)
            statements += 2 if update else 1
    return statements


async def _pieces(data: memoryview) -> AsyncIterator[memoryview]:
    for first in range(0, len(data), PIECE_BYTES):
        yield data[first : first + PIECE_BYTES]
