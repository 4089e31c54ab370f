"""DuckDB: its own scans of PostgreSQL, an ASOF join, and its own binary COPY back.

Everything is integers: a product that does not fit 64 bits is an error in DuckDB, and a sum of them
has 128.
"""

import time
from pathlib import Path

import duckdb
import duckdb_extension_postgres_scanner

from baseline import COLUMNS
from batch.job import Job, Timing

EXTENSION = next(
    Path(duckdb_extension_postgres_scanner.__file__).parent.rglob("*.duckdb_extension")
)
CONNECTION = duckdb.connect()
CONNECTION.execute(f"LOAD '{EXTENSION}'")  # as an import, which the clock leaves out

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
    sum(CASE WHEN private THEN 0 ELSE value - cost END) AS unrealized,
    sum(greatest(value, 0)) AS long, sum(least(value, 0)) AS short
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
)) AS realized
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

CREATE TEMP MACRO money(amount) AS (amount * 0.01::DECIMAL(2, 2))::DECIMAL(16, 2);
CREATE TEMP MACRO cents(exact) AS (sign(exact) * ((abs(exact) + 500000) // 1000000))::BIGINT;

CREATE TEMP TABLE chained AS
WITH rounded AS (
    SELECT portfolio, day, previous, equity, pnl, standing.realized AS realized_before,
        standing.flow AS flow_before,
        coalesce(num, 0) AS num, coalesce(longs, 0) AS longs,
        cents(coalesce(unrealized, 0)) AS unrealized,
        cents(coalesce(long, 0)) AS long, cents(coalesce(short, 0)) AS short,
        cents(coalesce(realized.realized, 0)) AS realized, coalesce(flow.flow, 0)::BIGINT AS flow
    FROM standing JOIN valued ON day >= coalesce(previous, DATE '{start}')
    LEFT JOIN held USING (portfolio, day)
    LEFT JOIN realized USING (portfolio, day)
    LEFT JOIN flow USING (portfolio, day)
), daily AS (
    SELECT *, coalesce(unrealized - lag(unrealized) OVER chain + realized, 0) AS daily_pnl
    FROM rounded WINDOW chain AS (PARTITION BY portfolio ORDER BY day)
)
SELECT portfolio, day, num, longs, long, short, realized, flow, daily_pnl,
    (equity + sum(daily_pnl + flow) OVER chain)::BIGINT AS equity_balance,
    (pnl + sum(daily_pnl) OVER chain)::BIGINT AS cumulative_pnl,
    (realized_before + sum(realized) OVER chain)::BIGINT AS cumulative_realized,
    (flow_before + sum(flow) OVER chain)::BIGINT AS cumulative_flow
FROM daily WHERE day IS DISTINCT FROM previous
WINDOW chain AS (PARTITION BY portfolio ORDER BY day);
"""

PERSIST = """
BEGIN;
INSERT INTO pg.portfolio_snapshots ({columns})
SELECT uuidv7(), id, day, money(equity_balance), money(equity_balance), money(daily_pnl),
    money(c.realized), money(c.flow),
    CASE WHEN abs(millionths) < 100000000
        THEN (millionths * 0.000001::DECIMAL(6, 6))::DECIMAL(8, 6) END,
    money(cumulative_pnl), money(cumulative_realized), money(cumulative_flow),
    money(long), money(short), money(long - short), money(long + short),
    money(equity_balance - long - short), num, longs, num - longs, true, now()
FROM (
    SELECT *, equity_balance - daily_pnl - flow AS before,
        CASE WHEN before > 0 THEN (sign(daily_pnl) * ((abs(daily_pnl)::HUGEINT * 2000000 + before)
            // (2 * before)))::BIGINT ELSE 0 END AS millionths
    FROM chained
) c JOIN standing USING (portfolio)
ORDER BY portfolio, day;
CALL postgres_execute('pg', $$
    UPDATE portfolios p SET equity_balance = s.equity_balance, updated_at = now()
    FROM portfolio_snapshots s
    WHERE s.portfolio_id = p.id AND s.snapshot_date = '{end}'
        AND p.equity_balance IS DISTINCT FROM s.equity_balance
$$);
COMMIT;
"""


def run(url: str, job: Job) -> Timing:
    dates = ", ".join(f"DATE '{day}'" for day in job.sessions)
    names = {
        "sessions": f"[{dates}]",
        "start": job.start,
        "end": job.end,
        "lookback_days": job.lookback_days,
        "columns": ", ".join(COLUMNS),
    }
    began = time.perf_counter()
    with CONNECTION as connection:
        connection.execute(f"ATTACH '{url}' AS pg (TYPE postgres)")
        connection.execute("BEGIN")
        connection.execute(LOAD.format(**names))
        connection.execute("COMMIT")
        loaded = time.perf_counter()
        connection.execute(COMPUTE.format(**names))
        computed = time.perf_counter()
        connection.execute(PERSIST.format(**names))
        done = time.perf_counter()
        rows = connection.execute("SELECT count(*) FROM chained").fetchone()[0]
    return Timing(loaded - began, computed - loaded, done - computed, None, rows)
