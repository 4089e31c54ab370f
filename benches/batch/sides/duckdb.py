"""DuckDB: its own scans of PostgreSQL, an ASOF join, and its own binary COPY back.

Everything is integers: a product that does not fit 64 bits is an error in DuckDB, and a sum of them
has 128.
"""

import asyncio
import time
from collections.abc import Iterator
from pathlib import Path

import asyncpg
import duckdb
import duckdb_extension_postgres_scanner
import numpy as np

from batch import snapshots, wire
from batch.job import Job, Timing

EXTENSION = next(
    Path(duckdb_extension_postgres_scanner.__file__).parent.rglob("*.duckdb_extension")
)
CONNECTION = duckdb.connect()
CONNECTION.execute(f"LOAD '{EXTENSION}'")  # as an import, which the clock leaves out
# Tables of this transaction look small to the planner, which then joins them in nested loops.
CONNECTION.execute("SET asof_loop_join_threshold = 0")

PORTFOLIOS_A_CHUNK = 1000
RETURN_LIMIT = 100 * 10**6

LOAD = """
SET VARIABLE sessions = {sessions};
CREATE TEMP TABLE session AS SELECT unnest(getvariable('sessions')) AS day;
CREATE TEMP TABLE standing AS
SELECT row_number() OVER (ORDER BY id) AS portfolio, * FROM postgres_query('pg', $$
    SELECT p.id, s.snapshot_date AS previous,
        (coalesce(s.equity_balance, p.equity_balance, 0) * 100)::int8 AS equity,
        (coalesce(s.cumulative_pnl, 0) * 100)::int8 AS pnl,
        (coalesce(s.cumulative_realized_pnl, 0) * 100)::int8 AS realized,
        (coalesce(s.cumulative_capital_flow, 0) * 100)::int8 AS flow
    FROM portfolios p LEFT JOIN LATERAL (
        SELECT * FROM portfolio_snapshots s
        WHERE s.portfolio_id = p.id AND s.snapshot_date < '{start}'
            AND s.is_complete AND s.equity_balance IS NOT NULL
        ORDER BY s.snapshot_date DESC LIMIT 1
    ) s ON true
    WHERE p.deleted_at IS NULL
$$);
SET VARIABLE since = (SELECT least(min(previous), DATE '{start}') FROM standing);
CREATE TEMP TABLE valued AS
SELECT day FROM session UNION SELECT previous FROM standing WHERE previous IS NOT NULL;
CREATE TEMP TABLE position AS
SELECT id, portfolio_id, symbol, position_type, quantity, entry_price, entry_date, exit_price,
    exit_date, expiration_date, investment_class, market_value
FROM pg.positions WHERE deleted_at IS NULL;
CREATE TEMP TABLE event AS
SELECT position_id, trade_date, quantity_closed, realized_pnl
FROM pg.position_realized_events WHERE quantity_closed > 0;
CREATE TEMP TABLE change AS
SELECT portfolio_id, change_date, change_type, amount FROM pg.equity_changes
WHERE deleted_at IS NULL AND change_date >= getvariable('since') AND change_date <= DATE '{end}';
CREATE TEMP TABLE closing AS
SELECT symbol, date, (close * 10000)::BIGINT AS close FROM pg.market_data_cache
WHERE date >= getvariable('since') - {lookback_days} AND date <= DATE '{end}' AND close > 0;
"""

COMPUTE = """
CREATE TEMP TABLE lot AS
WITH closed AS (
    SELECT position_id, trade_date, sum(quantity_closed) AS closed FROM event GROUP BY ALL
), typed AS (
    SELECT p.* EXCLUDE (entry_price), portfolio, (entry_price * 10000)::BIGINT AS entry,
        position_type NOT IN ('LONG', 'SHORT') AS option,
        CASE WHEN option THEN 1000000 ELSE 10000 END AS unit,
        investment_class IS NOT DISTINCT FROM 'PRIVATE' AS private,
        CASE WHEN quantity < 0 OR quantity = 0 AND position_type IN ('SHORT', 'SC', 'SP')
            THEN -1 ELSE 1 END AS sign
    FROM position p JOIN standing ON standing.id = portfolio_id
), lot AS (
    SELECT portfolio, symbol, (quantity * unit)::BIGINT AS units, entry, entry_date AS start,
        coalesce(exit_date, CASE WHEN option THEN expiration_date END, DATE 'infinity') AS "end",
        private, (nullif(market_value, 0) * 100)::BIGINT AS value,
        CASE WHEN exit_date IS NOT NULL AND (exit_price > 0
            OR exit_price = 0 AND option AND NOT private)
            THEN (exit_price * 10000)::BIGINT END AS exit,
        NULL::BIGINT AS realized
    FROM typed LEFT JOIN closed
        ON closed.position_id = typed.id AND closed.trade_date = typed.exit_date
    WHERE quantity <> 0 AND (closed.closed >= abs(quantity)) IS NOT TRUE
    UNION ALL
    SELECT portfolio, symbol, (quantity_closed * unit)::BIGINT * sign, entry, entry_date,
        trade_date, private, NULL, NULL, (realized_pnl * 100)::BIGINT
    FROM event JOIN typed ON typed.id = position_id
)
SELECT * REPLACE (CASE WHEN private THEN coalesce(value * 1000000, units * entry) END AS value),
    units * entry AS cost
FROM lot WHERE start <= "end" AND "end" > getvariable('since') AND start <= DATE '{end}';

CREATE TEMP TABLE mark AS
SELECT wanted.symbol, wanted.day, c.date, c.close
FROM (SELECT symbol, day FROM (SELECT DISTINCT symbol FROM lot WHERE NOT private), valued) wanted
ASOF LEFT JOIN closing c ON wanted.symbol = c.symbol AND wanted.day >= c.date;

CREATE TEMP TABLE held AS
SELECT portfolio, day, count(*) AS num, count_if(units > 0) AS longs,
    sum(CASE WHEN private THEN 0 ELSE value - cost END)::BIGINT AS unrealized,
    sum(greatest(value, 0))::BIGINT AS long, sum(least(value, 0))::BIGINT AS short
FROM (
    SELECT portfolio, day, units, private, cost,
        units * CASE WHEN date >= start THEN close ELSE entry END AS value
    FROM lot JOIN mark USING (symbol)
    WHERE NOT private AND start <= day AND day < "end"
    UNION ALL
    SELECT portfolio, day, units, private, cost, value FROM lot, valued
    WHERE private AND start <= day AND day < "end"
)
GROUP BY portfolio, day;

CREATE TEMP TABLE realized AS
SELECT portfolio, on_session.day, sum(coalesce(due.realized * 1000000, CASE WHEN private AND exit IS NULL
    THEN 0 ELSE coalesce(exit, CASE WHEN c.date >= start THEN c.close END, entry) * units - cost END
))::BIGINT AS realized
FROM (
    SELECT lot.* FROM lot JOIN standing USING (portfolio)
    WHERE "end" > coalesce(previous, DATE '{start}') AND "end" <= DATE '{end}'
) due
ASOF JOIN session on_session ON due."end" <= on_session.day
ASOF LEFT JOIN closing c ON due.symbol = c.symbol AND due."end" >= c.date
GROUP BY ALL;

CREATE TEMP TABLE flow AS
SELECT portfolio, on_session.day, sum(cents) AS flow
FROM (
    SELECT portfolio, change_date,
        (CASE change_type WHEN 'CONTRIBUTION' THEN amount ELSE -amount END * 100)::BIGINT AS cents
    FROM change JOIN standing ON standing.id = portfolio_id
    WHERE change_date > coalesce(previous, DATE '{start}' - 1)
) dated
ASOF JOIN session on_session ON dated.change_date <= on_session.day
GROUP BY ALL;

CREATE TEMP MACRO cents(exact) AS sign(exact) * ((abs(exact) + 500000) // 1000000);

CREATE TEMP TABLE chained AS
WITH rounded AS (
    SELECT portfolio, day, previous,
        coalesce(num, 0) AS num, coalesce(longs, 0) AS longs,
        cents(coalesce(unrealized, 0)) AS unrealized,
        cents(coalesce(long, 0)) AS long, cents(coalesce(short, 0)) AS short,
        cents(coalesce(realized.realized, 0)) AS realized, coalesce(flow.flow, 0)::BIGINT AS flow
    FROM standing JOIN valued ON day >= coalesce(previous, DATE '{start}')
    LEFT JOIN held USING (portfolio, day)
    LEFT JOIN realized USING (portfolio, day)
    LEFT JOIN flow USING (portfolio, day)
), summed AS (
    SELECT *, unrealized - lag(unrealized, 1, unrealized) OVER chain AS change,
        unrealized - first(unrealized) OVER chain AS changed,
        sum(realized) OVER (chain ROWS UNBOUNDED PRECEDING)::BIGINT AS realized_so_far,
        sum(flow) OVER (chain ROWS UNBOUNDED PRECEDING)::BIGINT AS flow_so_far
    FROM rounded WINDOW chain AS (PARTITION BY portfolio ORDER BY day)
)
SELECT portfolio, day, change + s.realized AS daily_pnl,
    equity + changed + realized_so_far + flow_so_far AS equity_balance, num AS num_positions, longs AS num_long_positions,
    num - longs AS num_short_positions, long AS long_value, short AS short_value,
    long - short AS gross_exposure, long + short AS net_exposure,
    equity_balance - long - short AS cash_value,
    s.realized AS daily_realized_pnl, s.flow AS daily_capital_flow,
    equity_balance AS total_value, equity_balance - daily_pnl - s.flow AS equity_before,
    CASE WHEN equity_before <= 0 THEN 0 ELSE sign(daily_pnl)
        * ((abs(daily_pnl) * 2000000 + equity_before) // (2 * equity_before)) END AS daily_return,
    pnl + changed + realized_so_far AS cumulative_pnl,
    standing.realized + realized_so_far AS cumulative_realized_pnl,
    standing.flow + flow_so_far AS cumulative_capital_flow
FROM summed s JOIN standing USING (portfolio)
WHERE day IS DISTINCT FROM s.previous;
"""

FIGURES = """
SELECT * EXCLUDE (portfolio, day, equity_before) FROM chained
WHERE portfolio > {first} AND portfolio <= {last} ORDER BY portfolio, day
"""


def run(url: str, job: Job) -> Timing:
    return asyncio.run(_run(url, job))


async def _run(url: str, job: Job) -> Timing:
    dates = ", ".join(f"DATE '{day}'" for day in job.sessions)
    names = {
        "sessions": f"[{dates}]",
        "start": job.start,
        "end": job.end,
        "lookback_days": job.lookback_days,
    }
    with CONNECTION:
        began = time.perf_counter()
        CONNECTION.execute(f"ATTACH '{url}' AS pg (TYPE postgres, READ_ONLY)")
        CONNECTION.execute("BEGIN")
        CONNECTION.execute(LOAD.format(**names))
        CONNECTION.execute("COMMIT")
        loaded = time.perf_counter()
        CONNECTION.execute(COMPUTE.format(**names))
        computed = time.perf_counter()
        ids = portfolio_ids()
        await save(url, ids, job)
        done = time.perf_counter()
    rows = len(ids) * len(job.sessions)
    return Timing(loaded - began, computed - loaded, done - computed, None, rows)


def portfolio_ids() -> np.ndarray:
    """Return the ids of the portfolios, in order."""
    hexadecimal = "unhex(replace(id::VARCHAR, '-', ''))"
    found = CONNECTION.execute(f"SELECT {hexadecimal} AS id FROM standing ORDER BY portfolio")
    return np.frombuffer(b"".join(found.fetchnumpy()["id"]), wire.UUID)


async def save(url: str, ids: np.ndarray, job: Job) -> None:
    """Write the rows and the equities in one transaction."""
    sessions = (np.array(job.sessions, "datetime64[D]") - wire.EPOCH).astype(np.int32)
    latest = np.empty(len(ids), np.int64)

    def pieces() -> Iterator[np.ndarray]:
        rows = snapshots.Rows(ids, sessions)
        for first in range(0, len(ids), PORTFOLIOS_A_CHUNK):
            last = min(first + PORTFOLIOS_A_CHUNK, len(ids))
            figures = CONNECTION.execute(FIGURES.format(first=first, last=last)).fetchnumpy()
            if np.abs(figures["daily_return"]).max() >= RETURN_LIMIT:
                raise OverflowError("a return of 100 or more, which is NULL and has another width")
            latest[first:last] = figures["equity_balance"][len(sessions) - 1 :: len(sessions)]
            yield from rows.encoded(first, last, figures)

    connection = await asyncpg.connect(url)
    try:
        async with connection.transaction():
            await wire.write(connection, "portfolio_snapshots", snapshots.COLUMNS, pieces())
            await snapshots.save_equities(connection, ids, latest)
    finally:
        await connection.close()
