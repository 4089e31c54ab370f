"""DuckDB: marks by an ASOF join, a row for each lot and session, windows over the sums.

Everything is integers: a product that does not fit 64 bits is an error in DuckDB, and a sum of them
has 128; it is cast to 64, which is an error where it does not fit, since a division of 128 bits
takes thirty times as long.

Measured for the loading and writing, of 10,000 portfolios: its own scans of PostgreSQL, by its
extension, took 0.2 s for the positions and 0.16 s for the closes, against 0.18 s and 0.22 s by
COPY at a fixed width, after which lots need not be made of positions; its own INSERT into
PostgreSQL took 9 microseconds of CPU for a row, against 1 of NumPy.
"""

import duckdb
import numpy as np

from batch import inputs, snapshots
from batch.inputs import NO_DAY, NONE, Inputs
from batch.job import Job, Timing

PORTFOLIOS_A_CHUNK = 1000

CONNECTION = duckdb.connect()
# Tables of one transaction look small to the planner, which then joins them in nested loops.
CONNECTION.execute("SET asof_loop_join_threshold = 0")

COMPUTE = f"""
CREATE TEMP TABLE standing AS
SELECT * REPLACE (nullif(previous, {NO_DAY}) AS previous),
    row_number() OVER (ORDER BY place) AS portfolio FROM portfolios;
CREATE TEMP TABLE valued AS
SELECT day FROM sessions UNION SELECT previous FROM standing WHERE previous IS NOT NULL;
CREATE TEMP TABLE symbols AS
SELECT *, row_number() OVER () AS symbol FROM (
    SELECT DISTINCT symbol0, symbol1, symbol2 FROM lots WHERE NOT private
);
CREATE TEMP TABLE closing AS
SELECT symbol, day, close FROM closes JOIN symbols USING (symbol0, symbol1, symbol2);
CREATE TEMP TABLE lot AS
SELECT portfolio, symbol, units, entry, start, "end", private, units * entry AS cost,
    CASE WHEN private THEN coalesce(nullif(value, {NONE}) * 1000000, units * entry) END AS value,
    nullif(exit, {NONE}) AS exit, nullif(lots.realized, {NONE}) AS realized
FROM lots LEFT JOIN symbols USING (symbol0, symbol1, symbol2)
JOIN standing ON id0 = portfolio0 AND id1 = portfolio1;

CREATE TEMP TABLE mark AS
SELECT wanted.symbol, wanted.day, closing.day AS of_day, close
FROM (SELECT symbol, day FROM symbols, valued) AS wanted
ASOF LEFT JOIN closing ON wanted.symbol = closing.symbol AND wanted.day >= closing.day;

CREATE TEMP TABLE held AS
SELECT portfolio, day, count(*) AS num, count_if(units > 0) AS longs,
    sum(CASE WHEN private THEN 0 ELSE value - cost END)::BIGINT AS unrealized,
    sum(greatest(value, 0))::BIGINT AS long, sum(least(value, 0))::BIGINT AS short
FROM (
    SELECT portfolio, day, units, private, cost,
        units * CASE WHEN of_day >= start THEN close ELSE entry END AS value
    FROM lot JOIN mark USING (symbol)
    WHERE NOT private AND start <= day AND day < "end"
    UNION ALL
    SELECT portfolio, day, units, private, cost, value FROM lot, valued
    WHERE private AND start <= day AND day < "end"
)
GROUP BY portfolio, day;

CREATE TEMP TABLE gone AS
SELECT portfolio, sessions.day, sum(coalesce(due.realized * 1000000,
    CASE WHEN private AND exit IS NULL THEN 0 ELSE units
        * coalesce(exit, CASE WHEN closing.day >= start THEN close END, entry) - cost END
))::BIGINT AS realized
FROM (
    SELECT lot.* FROM lot JOIN standing USING (portfolio)
    WHERE "end" > coalesce(previous, $start) AND "end" <= $end
) AS due
ASOF JOIN sessions ON due."end" <= sessions.day
ASOF LEFT JOIN closing ON due.symbol = closing.symbol AND due."end" >= closing.day
GROUP BY ALL;

CREATE TEMP TABLE flowed AS
SELECT portfolio, sessions.day, sum(amount)::BIGINT AS flow
FROM (
    SELECT portfolio, day, amount
    FROM flows JOIN standing ON id0 = portfolio0 AND id1 = portfolio1
    WHERE day > coalesce(previous, $start - 1)
) AS dated
ASOF JOIN sessions ON dated.day <= sessions.day
GROUP BY ALL;

CREATE TEMP MACRO cents(exact) AS sign(exact) * ((abs(exact) + 500000) // 1000000);

CREATE TEMP TABLE chained AS
WITH rounded AS (
    SELECT portfolio, day, previous, coalesce(num, 0) AS num, coalesce(longs, 0) AS longs,
        cents(coalesce(unrealized, 0)) AS unrealized,
        cents(coalesce(long, 0)) AS long, cents(coalesce(short, 0)) AS short,
        cents(coalesce(gone.realized, 0)) AS realized, coalesce(flowed.flow, 0) AS flow
    FROM standing JOIN valued ON day >= $start OR day = previous
    LEFT JOIN held USING (portfolio, day)
    LEFT JOIN gone USING (portfolio, day)
    LEFT JOIN flowed USING (portfolio, day)
), summed AS (
    SELECT *, unrealized - lag(unrealized, 1, unrealized) OVER chain AS change,
        unrealized - first(unrealized) OVER chain AS changed,
        sum(realized) OVER (chain ROWS UNBOUNDED PRECEDING)::BIGINT AS realized_since,
        sum(flow) OVER (chain ROWS UNBOUNDED PRECEDING)::BIGINT AS flow_since
    FROM rounded WINDOW chain AS (PARTITION BY portfolio ORDER BY day)
)
SELECT portfolio, day, change + s.realized AS daily_pnl,
    equity + changed + realized_since + flow_since AS equity_balance,
    equity_balance AS total_value, equity_balance - daily_pnl - s.flow AS equity_before,
    CASE WHEN equity_before <= 0 THEN 0 ELSE sign(daily_pnl)
        * ((abs(daily_pnl) * 2000000 + equity_before) // (2 * equity_before)) END AS daily_return,
    s.realized AS daily_realized_pnl, s.flow AS daily_capital_flow,
    pnl + changed + realized_since AS cumulative_pnl,
    standing.realized + realized_since AS cumulative_realized_pnl,
    standing.flow + flow_since AS cumulative_capital_flow,
    long AS long_value, short AS short_value,
    long - short AS gross_exposure, long + short AS net_exposure,
    equity_balance - long - short AS cash_value,
    num AS num_positions, longs AS num_long_positions, num - longs AS num_short_positions
FROM summed AS s JOIN standing USING (portfolio)
WHERE day IS DISTINCT FROM s.previous;
"""

FIGURES = """
SELECT * EXCLUDE (portfolio, day, equity_before) FROM chained
WHERE portfolio > $first AND portfolio <= $last ORDER BY portfolio, day
"""


def run(url: str, job: Job) -> Timing:
    def figures(read: Inputs) -> snapshots.Figures:
        compute(read)
        return lambda first, last: CONNECTION.execute(
            FIGURES, {"first": first, "last": last}
        ).fetchnumpy()

    return snapshots.run(url, job, figures, PORTFOLIOS_A_CHUNK)


def compute(read: Inputs) -> None:
    """Fill the table `chained` from arrays, which DuckDB reads where they are."""
    portfolios = inputs.columns(read.portfolios)
    portfolios["place"] = np.arange(len(read.portfolios))
    for name, columns in (
        ("portfolios", portfolios),
        ("sessions", {"day": read.sessions}),
        ("lots", inputs.columns(read.lots)),
        ("flows", inputs.columns(read.flows)),
        ("closes", inputs.columns(read.closes)),
    ):
        CONNECTION.register(name, columns)
    bounds = {"start": int(read.sessions[0]), "end": int(read.sessions[-1])}
    for statement in duckdb.extract_statements(COMPUTE):
        wanted = {name: bounds[name] for name in statement.named_parameters}
        CONNECTION.execute(statement, wanted)
