"""DuckDB with its extension for PostgreSQL: scans, an ASOF join, exact decimals, INSERT by COPY.

The tables are attached. DuckDB reads them by binary COPY in parallel, and writes by it; what it
cannot push down, the latest snapshots and the update of equities, is sent to the server as it is.
Values are literals: with the first parameter its module for Python imports pandas and pyarrow.
"""

import os
import time
from pathlib import Path

import duckdb
import duckdb_extension_postgres_scanner as extension

from baseline import COLUMNS
from batch.job import Job, Timing

STATEMENTS = 7  # five to read, the rows, the equities

CONNECTION = duckdb.connect()
(FILE,) = Path(extension.__path__[0]).rglob("*.duckdb_extension")
CONNECTION.load_extension(os.fspath(FILE))
# Tables of one transaction look small to the planner, which then joins them in nested loops.
CONNECTION.execute("SET asof_loop_join_threshold = 0")

LOAD = """
CREATE TEMP TABLE standing AS SELECT * FROM postgres_query('pg', $$
    SELECT p.id AS portfolio_id, s.snapshot_date AS previous,
        coalesce(s.equity_balance, p.equity_balance, 0)::numeric(16,2) AS equity,
        coalesce(s.cumulative_pnl, 0)::numeric(16,2) AS pnl,
        coalesce(s.cumulative_realized_pnl, 0)::numeric(16,2) AS realized,
        coalesce(s.cumulative_capital_flow, 0)::numeric(16,2) AS flow
    FROM portfolios p LEFT JOIN LATERAL (
        SELECT * FROM portfolio_snapshots s
        WHERE s.portfolio_id = p.id AND s.snapshot_date < '{start}'
            AND s.is_complete AND s.equity_balance IS NOT NULL
        ORDER BY s.snapshot_date DESC LIMIT 1
    ) s ON true
    WHERE p.deleted_at IS NULL
$$);
SET VARIABLE since = (SELECT coalesce(min(previous), DATE '{start}') FROM standing);
CREATE TEMP TABLE position AS
SELECT id, portfolio_id, symbol, entry_price, entry_date, exit_price, exit_date, market_value,
    position_type NOT IN ('LONG', 'SHORT') AS is_option, expiration_date,
    investment_class IS NOT DISTINCT FROM 'PRIVATE' AS private, quantity,
    quantity < 0 OR quantity = 0 AND position_type IN ('SHORT', 'SC', 'SP') AS is_short
FROM pg.positions WHERE deleted_at IS NULL AND entry_date <= DATE '{end}';
CREATE TEMP TABLE event AS
SELECT position_id, trade_date, quantity_closed, realized_pnl
FROM pg.position_realized_events WHERE quantity_closed > 0;
CREATE TEMP TABLE flowing AS
SELECT portfolio_id, change_date AS day,
    CASE change_type WHEN 'CONTRIBUTION' THEN amount ELSE -amount END AS amount
FROM pg.equity_changes
WHERE deleted_at IS NULL AND change_date BETWEEN getvariable('since') AND DATE '{end}';
CREATE TEMP TABLE closing AS
SELECT symbol, date AS day, close FROM pg.market_data_cache
WHERE date BETWEEN getvariable('since') - {lookback_days} AND DATE '{end}' AND close > 0;
"""

COMPUTE = """
CREATE TEMP TABLE session AS SELECT unnest({sessions}::DATE[]) AS day;
CREATE TEMP TABLE valued AS
SELECT day FROM session UNION SELECT previous FROM standing WHERE previous IS NOT NULL;

CREATE TEMP TABLE lot AS
WITH closed AS (
    SELECT position_id, trade_date, sum(quantity_closed) AS quantity FROM event GROUP BY ALL
), ending AS (
    SELECT *, CASE WHEN is_option THEN 100 ELSE 1 END AS multiplier,
        coalesce(exit_date, CASE WHEN is_option THEN expiration_date END, DATE 'infinity') AS "end"
    FROM position
), parts AS (
    SELECT portfolio_id, symbol, private, entry_price, entry_date AS start, "end",
        (p.quantity * multiplier)::DECIMAL(18, 4) AS units,
        CASE WHEN private THEN nullif(market_value, 0) END AS held_at,
        CASE WHEN exit_date IS NOT NULL
            AND (exit_price > 0 OR exit_price = 0 AND is_option AND NOT private)
            THEN exit_price END AS exit_price,
        NULL::DECIMAL(16, 2) AS realized_pnl
    FROM ending p LEFT JOIN closed c ON c.position_id = p.id AND c.trade_date = p.exit_date
    WHERE p.quantity <> 0 AND "end" >= entry_date AND "end" > getvariable('since')
        AND (c.quantity >= abs(p.quantity)) IS NOT TRUE
    UNION ALL
    SELECT portfolio_id, symbol, private, entry_price, entry_date, trade_date,
        (CASE WHEN is_short THEN -multiplier ELSE multiplier END * quantity_closed)
            ::DECIMAL(18, 4),
        NULL, NULL, realized_pnl
    FROM event JOIN ending p ON p.id = position_id
    WHERE trade_date >= entry_date AND trade_date > getvariable('since')
)
SELECT *, units * entry_price AS cost, CASE WHEN private THEN coalesce(held_at, cost) END AS value
FROM parts;

CREATE TEMP TABLE mark AS
SELECT wanted.symbol, wanted.day, closing.day AS of_day, close
FROM (SELECT symbol, day FROM (SELECT DISTINCT symbol FROM lot WHERE NOT private), valued) wanted
ASOF LEFT JOIN closing ON wanted.symbol = closing.symbol AND wanted.day >= closing.day;

CREATE TEMP TABLE held AS
SELECT portfolio_id, day, count(*) AS num, count_if(units > 0) AS longs,
    round(sum(CASE WHEN private THEN 0 ELSE value - cost END), 2)::DECIMAL(16, 2) AS unrealized,
    round(sum(greatest(value, 0)), 2)::DECIMAL(16, 2) AS long,
    round(sum(least(value, 0)), 2)::DECIMAL(16, 2) AS short
FROM (
    SELECT portfolio_id, day, units, private, cost,
        units * CASE WHEN of_day >= start THEN close ELSE entry_price END AS value
    FROM lot JOIN mark USING (symbol)
    WHERE NOT private AND start <= day AND day < "end"
    UNION ALL
    SELECT portfolio_id, day, units, private, cost, value FROM lot, valued
    WHERE private AND start <= day AND day < "end"
)
GROUP BY ALL;

CREATE TEMP TABLE gone AS
SELECT portfolio_id, session.day, round(sum(coalesce(realized_pnl,
    CASE WHEN private AND exit_price IS NULL THEN 0 ELSE units
        * coalesce(exit_price, CASE WHEN closing.day >= start THEN close END, entry_price) - cost
    END)), 2)::DECIMAL(16, 2) AS realized
FROM (
    SELECT lot.* FROM lot JOIN standing USING (portfolio_id)
    WHERE "end" > coalesce(previous, DATE '{start}') AND "end" <= DATE '{end}'
) AS due
ASOF JOIN session ON due."end" <= session.day
ASOF LEFT JOIN closing ON due.symbol = closing.symbol AND due."end" >= closing.day
GROUP BY ALL;

CREATE TEMP TABLE flowed AS
SELECT portfolio_id, session.day, sum(amount)::DECIMAL(16, 2) AS flow
FROM (
    SELECT portfolio_id, day, amount FROM flowing JOIN standing USING (portfolio_id)
    WHERE day > coalesce(previous, DATE '{start}' - 1)
) AS dated
ASOF JOIN session ON dated.day <= session.day
GROUP BY ALL;

CREATE TEMP TABLE chained AS
WITH summed AS (
    SELECT portfolio_id, day, previous, s.equity, s.pnl, s.flow AS flow_before,
        s.realized AS realized_before, coalesce(num, 0) AS num, coalesce(longs, 0) AS longs,
        coalesce(unrealized, 0) AS unrealized, coalesce(long, 0) AS long,
        coalesce(short, 0) AS short, coalesce(gone.realized, 0) AS realized,
        coalesce(flowed.flow, 0) AS flow
    FROM standing s JOIN valued ON day >= DATE '{start}' OR day = previous
    LEFT JOIN held USING (portfolio_id, day)
    LEFT JOIN gone USING (portfolio_id, day)
    LEFT JOIN flowed USING (portfolio_id, day)
), daily AS (
    SELECT *, (unrealized - lag(unrealized, 1, unrealized) OVER chain + realized)::DECIMAL(14, 2)
        AS daily_pnl
    FROM summed WINDOW chain AS (PARTITION BY portfolio_id ORDER BY day)
)
SELECT uuidv7() AS id, portfolio_id, day AS snapshot_date,
    (equity + sum(daily_pnl + flow) OVER chain)::DECIMAL(14, 2) AS equity_balance,
    equity_balance AS total_value,
    daily_pnl, realized AS daily_realized_pnl, flow AS daily_capital_flow,
    ((equity_balance - daily_pnl - flow)::DECIMAL(14, 2) * 100::DECIMAL(3, 0))::BIGINT AS before,
    (daily_pnl * 100::DECIMAL(3, 0))::BIGINT AS cents,
    CASE WHEN before <= 0 THEN 0 ELSE sign(cents)
        * ((abs(cents) * 2000000 + before) // (2 * before)) END AS millionths,
    CASE WHEN abs(millionths) < 100000000 THEN millionths::DECIMAL(18, 0) * 0.000001 END
        AS daily_return,
    pnl + sum(daily_pnl) OVER chain AS cumulative_pnl,
    realized_before + sum(realized) OVER chain AS cumulative_realized_pnl,
    flow_before + sum(flow) OVER chain AS cumulative_capital_flow,
    long AS long_value, short AS short_value, long - short AS gross_exposure,
    long + short AS net_exposure, equity_balance - long - short AS cash_value,
    num AS num_positions, longs AS num_long_positions, num - longs AS num_short_positions,
    true AS is_complete, now() AS created_at
FROM daily WHERE day IS DISTINCT FROM previous
WINDOW chain AS (PARTITION BY portfolio_id ORDER BY day);
"""

PERSIST = """
INSERT INTO pg.portfolio_snapshots ({columns})
SELECT {columns} FROM chained ORDER BY portfolio_id, snapshot_date;
CALL postgres_execute('pg', $$
    UPDATE portfolios p SET equity_balance = s.equity_balance, updated_at = now()
    FROM portfolio_snapshots s
    WHERE s.portfolio_id = p.id AND s.snapshot_date = '{end}'
        AND p.equity_balance IS DISTINCT FROM s.equity_balance
$$);
"""


def run(url: str, job: Job) -> Timing:
    began = time.perf_counter()
    CONNECTION.execute(f"ATTACH '{url}' AS pg (TYPE postgres, SCHEMA 'public')")
    execute(LOAD, job)
    loaded = time.perf_counter()
    execute(COMPUTE, job)
    computed = time.perf_counter()
    execute(PERSIST, job)
    done = time.perf_counter()
    (rows,) = CONNECTION.execute("SELECT count(*) FROM chained").fetchone()
    return Timing(loaded - began, computed - loaded, done - computed, STATEMENTS, rows)


def execute(statements: str, job: Job) -> None:
    """Run statements in one transaction."""
    CONNECTION.begin()
    CONNECTION.execute(
        statements.format(
            start=job.start,
            end=job.end,
            lookback_days=job.lookback_days,
            sessions=[str(session) for session in job.sessions],
            columns=", ".join(COLUMNS),
        )
    )
    CONNECTION.commit()
