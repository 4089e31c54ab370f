-- Every statement that reaches the server, with default names, and the calls that send it.
-- Values that differ from run to run are in angle brackets. tests/db/test_golden_statements.py
-- compares; `PYTHONPATH=tests .venv/bin/python -m support.statements` writes this file.

-- CompanyProfileCache.load(...)
COPY (
SELECT DISTINCT c."symbol"::text, c."sector", c."industry", c."country", c."company_name", c."beta", c."market_cap", c."is_etf" IS TRUE FROM "public"."company_profiles" AS c WHERE c."symbol" = ANY('<texts>')
) TO STDOUT (FORMAT binary);

-- PnLCalculator().calculate_all_portfolios_pnl(...)
SELECT count(*) FROM (
    SELECT o."id" FROM "public"."portfolios" AS o WHERE o."deleted_at" IS NULL ORDER BY o."id" FOR NO KEY UPDATE) AS locked;

-- PriceCache.load_date_range(...)
COPY (
SELECT m."symbol"::text, m."date", m."close" FROM "public"."market_data_cache" AS m WHERE (m."symbol" = ANY('<texts>') AND m."date" BETWEEN '<day>'::date AND '<day>'::date) AND m."close" < 'Infinity'::numeric AND m."close" > '-Infinity'::numeric 
) TO STDOUT (FORMAT binary);

-- SnapshotCache.load_latest_snapshots(...)
COPY (
SELECT latest.* FROM unnest('<ids>'::uuid[]) AS w(id) CROSS JOIN LATERAL (
    SELECT s."portfolio_id", s."snapshot_date", s."equity_balance", s."cumulative_pnl", s."cumulative_realized_pnl", s."cumulative_capital_flow" FROM "public"."portfolio_snapshots" AS s
    WHERE s."portfolio_id" = w.id AND s."snapshot_date" < '<day>'::date AND s."is_complete" AND s."equity_balance" < 'Infinity'::numeric AND s."equity_balance" > '-Infinity'::numeric AND s."snapshot_date" BETWEEN '<day>'::date AND '<day>'::date ORDER BY s."snapshot_date" DESC LIMIT 1) AS latest
) TO STDOUT (FORMAT binary);

-- calculate_portfolio_provider_beta(...)
-- calculate_portfolio_sector_exposure(...)
COPY (
SELECT o."id", o."equity_balance", o."currency", o."deleted_at" IS NOT NULL, before."snapshot_date", before."equity_balance", before."cumulative_pnl", before."cumulative_realized_pnl", before."cumulative_capital_flow", first."snapshot_date", first."equity_balance", first."daily_pnl", first."daily_capital_flow", last."snapshot_date", last."equity_balance", last."cumulative_pnl", last."cumulative_realized_pnl", last."cumulative_capital_flow" FROM "public"."portfolios" AS o 
LEFT JOIN LATERAL (
    SELECT s."snapshot_date", s."equity_balance", s."cumulative_pnl",
        s."cumulative_realized_pnl", s."cumulative_capital_flow"
    FROM "public"."portfolio_snapshots" AS s WHERE s."portfolio_id" = o."id" AND s."snapshot_date" < '<day>'::date AND s."is_complete" AND s."equity_balance" < 'Infinity'::numeric AND s."equity_balance" > '-Infinity'::numeric AND CASE WHEN s."snapshot_date" BETWEEN '<day>'::date AND '<day>'::date THEN get_bit(<bits>, s."snapshot_date" - '<day>'::date) = 1 ELSE false END
    ORDER BY s."snapshot_date" DESC LIMIT 1) AS before ON true
LEFT JOIN LATERAL (
    SELECT s."snapshot_date", s."equity_balance", s."daily_pnl", s."daily_capital_flow"
    FROM "public"."portfolio_snapshots" AS s WHERE s."portfolio_id" = o."id" AND s."snapshot_date" >= '<day>'::date AND s."is_complete" AND s."equity_balance" < 'Infinity'::numeric AND s."equity_balance" > '-Infinity'::numeric AND CASE WHEN s."snapshot_date" BETWEEN '<day>'::date AND '<day>'::date THEN get_bit(<bits>, s."snapshot_date" - '<day>'::date) = 1 ELSE false END
    ORDER BY s."snapshot_date" ASC LIMIT 1) AS first ON true
LEFT JOIN LATERAL (
    SELECT s."snapshot_date", s."equity_balance", s."cumulative_pnl",
        s."cumulative_realized_pnl", s."cumulative_capital_flow"
    FROM "public"."portfolio_snapshots" AS s WHERE first."snapshot_date" IS NOT NULL AND s."portfolio_id" = o."id"
        AND s."snapshot_date" >= '<day>'::date AND s."is_complete" AND s."equity_balance" < 'Infinity'::numeric AND s."equity_balance" > '-Infinity'::numeric AND CASE WHEN s."snapshot_date" BETWEEN '<day>'::date AND '<day>'::date THEN get_bit(<bits>, s."snapshot_date" - '<day>'::date) = 1 ELSE false END
    ORDER BY s."snapshot_date" DESC LIMIT 1) AS last ON true
WHERE o."id" = ANY('<ids>'::uuid[])
) TO STDOUT (FORMAT binary);

-- calculate_portfolio_sector_exposure(...)
-- the page of a portfolio
COPY (
SELECT DISTINCT w."asof_date", w."sector", w."weight" FROM "public"."benchmarks_sector_weights" AS w
WHERE w."benchmark_code" = 'SP500' AND isfinite(w."asof_date") AND w."asof_date" <= '<day>'::date AND w."weight" < 'Infinity'::numeric AND w."weight" > '-Infinity'::numeric
    AND w."asof_date" = (SELECT max(w."asof_date") FROM "public"."benchmarks_sector_weights" AS w WHERE w."benchmark_code" = 'SP500' AND isfinite(w."asof_date") AND w."asof_date" <= '<day>'::date)
ORDER BY w."sector"
) TO STDOUT (FORMAT binary);

-- check_basis(db, symbol)
SELECT c0, CASE WHEN isfinite(c1) THEN (c1 - DATE '1970-01-01')::bigint WHEN c1 IS NOT NULL THEN <number> END, c2 FROM (SELECT p."id", p."entry_date", p."entry_price" FROM "public"."positions" AS p
WHERE upper(btrim(p."symbol" COLLATE "C", ' ')) = 'AAAA' AND p."deleted_at" IS NULL
    AND p."position_type"::text IN ('LONG', 'SHORT')
    AND upper(btrim(p."investment_class"::text COLLATE "C", ' ')) IS DISTINCT FROM 'PRIVATE'
    AND p."entry_date" BETWEEN '<day>'::date AND '<day>'::date AND p."entry_date" < '<day>'::date AND p."entry_price" < 'Infinity'::numeric AND p."entry_price" > '-Infinity'::numeric
ORDER BY p."entry_date", p."id" LIMIT 1000) AS q(c0, c1, c2);

-- check_basis(db, symbol)
-- calculate_portfolio_provider_beta(...)
-- calculate_portfolio_sector_exposure(...)
-- performance(...)
-- the page of a portfolio
COPY (
WITH RECURSIVE spelling(symbol) AS (
    (SELECT min(m."symbol") FROM "public"."market_data_cache" AS m)
    UNION ALL
    SELECT (SELECT min(m."symbol") FROM "public"."market_data_cache" AS m WHERE m."symbol" > spelling.symbol)
    FROM spelling WHERE spelling.symbol IS NOT NULL), wanted(symbol, settled) AS (
    SELECT one.symbol, one.normalised = ANY('{}')
    FROM (SELECT symbol, upper(btrim(symbol COLLATE "C", ' ')) AS normalised FROM spelling) AS one
    WHERE one.normalised = ANY('<texts>'))
SELECT wanted.symbol, earlier.day, earlier.close
FROM wanted CROSS JOIN LATERAL (
    (SELECT m."date", m."close" FROM "public"."market_data_cache" AS m
        WHERE m."symbol" = wanted.symbol AND m."date" < '<day>'::date AND m."close" > 0 AND m."close" < 'Infinity'::numeric AND m."close" > '-Infinity'::numeric 
        ORDER BY m."date" DESC LIMIT 1)
    UNION ALL
    SELECT * FROM (
        SELECT m."date", m."close" FROM "public"."market_data_cache" AS m
        WHERE m."symbol" = wanted.symbol AND m."date" < '<day>'::date AND m."close" < 'Infinity'::numeric AND m."close" > '-Infinity'::numeric 
        ORDER BY m."date" DESC LIMIT 1) AS newest
    WHERE NOT (newest."close" > 0)) AS earlier(day, close)
WHERE NOT wanted.settled
UNION ALL
SELECT m."symbol", m."date", m."close" FROM "public"."market_data_cache" AS m
WHERE m."symbol" = ANY(ARRAY(
        SELECT wanted.symbol FROM wanted
        WHERE (wanted.symbol = ANY('{}')) IS NOT TRUE))
    AND m."date" BETWEEN '<day>'::date AND '<day>'::date AND m."close" < 'Infinity'::numeric AND m."close" > '-Infinity'::numeric 
) TO STDOUT (FORMAT binary);

-- explain(db)
COPY (
SELECT latest."snapshot_date", o."currency", count(*)::int8 FROM "public"."portfolios" AS o LEFT JOIN LATERAL (
    SELECT s."snapshot_date" FROM "public"."portfolio_snapshots" AS s WHERE s."portfolio_id" = o."id" AND s."snapshot_date" BETWEEN '<day>'::date AND '<day>'::date AND s."is_complete" AND s."equity_balance" < 'Infinity'::numeric AND s."equity_balance" > '-Infinity'::numeric AND CASE WHEN s."snapshot_date" BETWEEN '<day>'::date AND '<day>'::date THEN get_bit(<bits>, s."snapshot_date" - '<day>'::date) = 1 ELSE false END
    ORDER BY s."snapshot_date" DESC LIMIT 1) AS latest ON true
WHERE o."deleted_at" IS NULL GROUP BY latest."snapshot_date", o."currency"
) TO STDOUT (FORMAT binary);

-- explain(db)
COPY (
SELECT o."id", COALESCE(before.day, first.day), last.day FROM "public"."portfolios" AS o
LEFT JOIN LATERAL (
    SELECT s."snapshot_date" FROM "public"."portfolio_snapshots" AS s
    WHERE s."portfolio_id" = o."id" AND s."snapshot_date" BETWEEN '<day>'::date AND '<day>'::date AND s."is_complete" AND s."equity_balance" < 'Infinity'::numeric AND s."equity_balance" > '-Infinity'::numeric AND CASE WHEN s."snapshot_date" BETWEEN '<day>'::date AND '<day>'::date THEN get_bit(<bits>, s."snapshot_date" - '<day>'::date) = 1 ELSE false END
    ORDER BY s."snapshot_date" DESC LIMIT 1) AS last(day) ON true
LEFT JOIN LATERAL (
    SELECT s."snapshot_date" FROM "public"."portfolio_snapshots" AS s
    WHERE last.day IS NOT NULL AND s."portfolio_id" = o."id"
        AND s."snapshot_date" < '<day>'::date AND s."is_complete" AND s."equity_balance" < 'Infinity'::numeric AND s."equity_balance" > '-Infinity'::numeric AND CASE WHEN s."snapshot_date" BETWEEN '<day>'::date AND '<day>'::date THEN get_bit(<bits>, s."snapshot_date" - '<day>'::date) = 1 ELSE false END
    ORDER BY s."snapshot_date" DESC LIMIT 1) AS before(day) ON true
LEFT JOIN LATERAL (
    SELECT s."snapshot_date" FROM "public"."portfolio_snapshots" AS s
    WHERE last.day IS NOT NULL AND before.day IS NULL
        AND s."portfolio_id" = o."id" AND s."snapshot_date" BETWEEN '<day>'::date AND '<day>'::date AND s."is_complete" AND s."equity_balance" < 'Infinity'::numeric AND s."equity_balance" > '-Infinity'::numeric AND CASE WHEN s."snapshot_date" BETWEEN '<day>'::date AND '<day>'::date THEN get_bit(<bits>, s."snapshot_date" - '<day>'::date) = 1 ELSE false END
    ORDER BY s."snapshot_date" LIMIT 1) AS first(day) ON true
WHERE o."deleted_at" IS NULL
) TO STDOUT (FORMAT binary);

-- explain(db)
COPY (
SELECT s."portfolio_id", s."snapshot_date", (s."is_complete" AND s."equity_balance" < 'Infinity'::numeric AND s."equity_balance" > '-Infinity'::numeric AND CASE WHEN s."snapshot_date" BETWEEN '<day>'::date AND '<day>'::date THEN get_bit(<bits>, s."snapshot_date" - '<day>'::date) = 1 ELSE false END) IS TRUE, COALESCE(CASE WHEN isfinite(s."created_at")
        THEN LEAST(extract(epoch FROM s."created_at") * 1000000, '<number>'::numeric)::int8
    WHEN s."created_at" = 'infinity' THEN '<number>'::int8 END, '-<number>'::int8), s."daily_pnl"::numeric FROM "public"."portfolio_snapshots" AS s WHERE s."portfolio_id" BETWEEN '<id>'::uuid AND '<id>'::uuid AND s."snapshot_date" BETWEEN '<day>'::date AND '<day>'::date
UNION ALL
SELECT earlier.* FROM "public"."portfolios" AS o CROSS JOIN LATERAL (
    SELECT s."portfolio_id", s."snapshot_date", (s."is_complete" AND s."equity_balance" < 'Infinity'::numeric AND s."equity_balance" > '-Infinity'::numeric AND CASE WHEN s."snapshot_date" BETWEEN '<day>'::date AND '<day>'::date THEN get_bit(<bits>, s."snapshot_date" - '<day>'::date) = 1 ELSE false END) IS TRUE, COALESCE(CASE WHEN isfinite(s."created_at")
        THEN LEAST(extract(epoch FROM s."created_at") * 1000000, '<number>'::numeric)::int8
    WHEN s."created_at" = 'infinity' THEN '<number>'::int8 END, '-<number>'::int8), s."daily_pnl"::numeric FROM "public"."portfolio_snapshots" AS s
    WHERE s."portfolio_id" = o."id" AND s."snapshot_date" < '<day>'::date AND s."is_complete" AND s."equity_balance" < 'Infinity'::numeric AND s."equity_balance" > '-Infinity'::numeric AND CASE WHEN s."snapshot_date" BETWEEN '<day>'::date AND '<day>'::date THEN get_bit(<bits>, s."snapshot_date" - '<day>'::date) = 1 ELSE false END ORDER BY s."snapshot_date" DESC LIMIT 1) AS earlier
WHERE o."id" BETWEEN '<id>'::uuid AND '<id>'::uuid
) TO STDOUT (FORMAT binary);

-- explain(db)
-- explain(db, session=..., policy='legacy')
-- the page of a night
COPY (
SELECT o."id", o."currency" FROM "public"."portfolios" AS o WHERE true
) TO STDOUT (FORMAT binary);

-- explain(db, [portfolio], session, since=...)
-- the page of a portfolio
COPY (
SELECT o."id", COALESCE(before.day, first.day), last.day FROM "public"."portfolios" AS o
LEFT JOIN LATERAL (
    SELECT s."snapshot_date" FROM "public"."portfolio_snapshots" AS s
    WHERE s."portfolio_id" = o."id" AND s."snapshot_date" BETWEEN '<day>'::date AND '<day>'::date AND s."is_complete" AND s."equity_balance" < 'Infinity'::numeric AND s."equity_balance" > '-Infinity'::numeric AND CASE WHEN s."snapshot_date" BETWEEN '<day>'::date AND '<day>'::date THEN get_bit(<bits>, s."snapshot_date" - '<day>'::date) = 1 ELSE false END
    ORDER BY s."snapshot_date" DESC LIMIT 1) AS last(day) ON true
LEFT JOIN LATERAL (
    SELECT s."snapshot_date" FROM "public"."portfolio_snapshots" AS s
    WHERE last.day IS NOT NULL AND s."portfolio_id" = o."id"
        AND s."snapshot_date" < '<day>'::date AND s."is_complete" AND s."equity_balance" < 'Infinity'::numeric AND s."equity_balance" > '-Infinity'::numeric AND CASE WHEN s."snapshot_date" BETWEEN '<day>'::date AND '<day>'::date THEN get_bit(<bits>, s."snapshot_date" - '<day>'::date) = 1 ELSE false END
    ORDER BY s."snapshot_date" DESC LIMIT 1) AS before(day) ON true
LEFT JOIN LATERAL (
    SELECT s."snapshot_date" FROM "public"."portfolio_snapshots" AS s
    WHERE last.day IS NOT NULL AND before.day IS NULL
        AND s."portfolio_id" = o."id" AND s."snapshot_date" BETWEEN '<day>'::date AND '<day>'::date AND s."is_complete" AND s."equity_balance" < 'Infinity'::numeric AND s."equity_balance" > '-Infinity'::numeric AND CASE WHEN s."snapshot_date" BETWEEN '<day>'::date AND '<day>'::date THEN get_bit(<bits>, s."snapshot_date" - '<day>'::date) = 1 ELSE false END
    ORDER BY s."snapshot_date" LIMIT 1) AS first(day) ON true
WHERE o."id" = ANY('<ids>'::uuid[])
) TO STDOUT (FORMAT binary);

-- explain(db, [portfolio], session, since=...)
-- the page of a portfolio
COPY (
SELECT s."portfolio_id", s."snapshot_date", (s."is_complete" AND s."equity_balance" < 'Infinity'::numeric AND s."equity_balance" > '-Infinity'::numeric AND CASE WHEN s."snapshot_date" BETWEEN '<day>'::date AND '<day>'::date THEN get_bit(<bits>, s."snapshot_date" - '<day>'::date) = 1 ELSE false END) IS TRUE, COALESCE(CASE WHEN isfinite(s."created_at")
        THEN LEAST(extract(epoch FROM s."created_at") * 1000000, '<number>'::numeric)::int8
    WHEN s."created_at" = 'infinity' THEN '<number>'::int8 END, '-<number>'::int8), s."total_value"::numeric, s."cash_value"::numeric, s."long_value"::numeric, s."short_value"::numeric, s."gross_exposure"::numeric, s."net_exposure"::numeric, s."equity_balance"::numeric, s."daily_pnl"::numeric, s."cumulative_pnl"::numeric, s."daily_realized_pnl"::numeric, s."cumulative_realized_pnl"::numeric, s."daily_capital_flow"::numeric, s."cumulative_capital_flow"::numeric, s."daily_return"::numeric, s."num_positions"::numeric, s."num_long_positions"::numeric, s."num_short_positions"::numeric FROM "public"."portfolio_snapshots" AS s WHERE s."portfolio_id" = ANY('<ids>'::uuid[]) AND s."snapshot_date" BETWEEN '<day>'::date AND '<day>'::date
UNION ALL
SELECT earlier.* FROM "public"."portfolios" AS o CROSS JOIN LATERAL (
    SELECT s."portfolio_id", s."snapshot_date", (s."is_complete" AND s."equity_balance" < 'Infinity'::numeric AND s."equity_balance" > '-Infinity'::numeric AND CASE WHEN s."snapshot_date" BETWEEN '<day>'::date AND '<day>'::date THEN get_bit(<bits>, s."snapshot_date" - '<day>'::date) = 1 ELSE false END) IS TRUE, COALESCE(CASE WHEN isfinite(s."created_at")
        THEN LEAST(extract(epoch FROM s."created_at") * 1000000, '<number>'::numeric)::int8
    WHEN s."created_at" = 'infinity' THEN '<number>'::int8 END, '-<number>'::int8), s."total_value"::numeric, s."cash_value"::numeric, s."long_value"::numeric, s."short_value"::numeric, s."gross_exposure"::numeric, s."net_exposure"::numeric, s."equity_balance"::numeric, s."daily_pnl"::numeric, s."cumulative_pnl"::numeric, s."daily_realized_pnl"::numeric, s."cumulative_realized_pnl"::numeric, s."daily_capital_flow"::numeric, s."cumulative_capital_flow"::numeric, s."daily_return"::numeric, s."num_positions"::numeric, s."num_long_positions"::numeric, s."num_short_positions"::numeric FROM "public"."portfolio_snapshots" AS s
    WHERE s."portfolio_id" = o."id" AND s."snapshot_date" < '<day>'::date AND s."is_complete" AND s."equity_balance" < 'Infinity'::numeric AND s."equity_balance" > '-Infinity'::numeric AND CASE WHEN s."snapshot_date" BETWEEN '<day>'::date AND '<day>'::date THEN get_bit(<bits>, s."snapshot_date" - '<day>'::date) = 1 ELSE false END ORDER BY s."snapshot_date" DESC LIMIT 1) AS earlier
WHERE o."id" = ANY('<ids>'::uuid[])
) TO STDOUT (FORMAT binary);

-- explain(db, session=..., policy='legacy')
-- the page of a night
COPY (
SELECT o."id", COALESCE(before.day, first.day), last.day FROM "public"."portfolios" AS o
LEFT JOIN LATERAL (
    SELECT s."snapshot_date" FROM "public"."portfolio_snapshots" AS s
    WHERE s."portfolio_id" = o."id" AND s."snapshot_date" BETWEEN '<day>'::date AND '<day>'::date AND s."is_complete"
    ORDER BY s."snapshot_date" DESC LIMIT 1) AS last(day) ON true
LEFT JOIN LATERAL (
    SELECT s."snapshot_date" FROM "public"."portfolio_snapshots" AS s
    WHERE last.day IS NOT NULL AND s."portfolio_id" = o."id"
        AND s."snapshot_date" < '<day>'::date AND s."is_complete"
    ORDER BY s."snapshot_date" DESC LIMIT 1) AS before(day) ON true
LEFT JOIN LATERAL (
    SELECT s."snapshot_date" FROM "public"."portfolio_snapshots" AS s
    WHERE last.day IS NOT NULL AND before.day IS NULL
        AND s."portfolio_id" = o."id" AND s."snapshot_date" BETWEEN '<day>'::date AND '<day>'::date AND s."is_complete"
    ORDER BY s."snapshot_date" LIMIT 1) AS first(day) ON true
WHERE o."deleted_at" IS NULL
) TO STDOUT (FORMAT binary);

-- explain(db, session=..., policy='legacy')
-- the page of a night
COPY (
SELECT s."portfolio_id", s."snapshot_date", (s."is_complete") IS TRUE, COALESCE(CASE WHEN isfinite(s."created_at")
        THEN LEAST(extract(epoch FROM s."created_at") * 1000000, '<number>'::numeric)::int8
    WHEN s."created_at" = 'infinity' THEN '<number>'::int8 END, '-<number>'::int8), s."daily_pnl"::numeric, s."daily_realized_pnl"::numeric FROM "public"."portfolio_snapshots" AS s WHERE s."portfolio_id" BETWEEN '<id>'::uuid AND '<id>'::uuid AND s."snapshot_date" BETWEEN '<day>'::date AND '<day>'::date
UNION ALL
SELECT earlier.* FROM "public"."portfolios" AS o CROSS JOIN LATERAL (
    SELECT s."portfolio_id", s."snapshot_date", (s."is_complete") IS TRUE, COALESCE(CASE WHEN isfinite(s."created_at")
        THEN LEAST(extract(epoch FROM s."created_at") * 1000000, '<number>'::numeric)::int8
    WHEN s."created_at" = 'infinity' THEN '<number>'::int8 END, '-<number>'::int8), s."daily_pnl"::numeric, s."daily_realized_pnl"::numeric FROM "public"."portfolio_snapshots" AS s
    WHERE s."portfolio_id" = o."id" AND s."snapshot_date" < '<day>'::date AND isfinite(s."snapshot_date") AND s."snapshot_date" >= COALESCE((
        SELECT s."snapshot_date" FROM "public"."portfolio_snapshots" AS s
        WHERE s."portfolio_id" = o."id" AND s."snapshot_date" < '<day>'::date
            AND isfinite(s."snapshot_date")
            AND COALESCE(CASE WHEN isfinite(s."created_at")
        THEN LEAST(extract(epoch FROM s."created_at") * 1000000, '<number>'::numeric)::int8
    WHEN s."created_at" = 'infinity' THEN '<number>'::int8 END, '-<number>'::int8) <= (
                SELECT min(COALESCE(CASE WHEN isfinite(s."created_at")
        THEN LEAST(extract(epoch FROM s."created_at") * 1000000, '<number>'::numeric)::int8
    WHEN s."created_at" = 'infinity' THEN '<number>'::int8 END, '-<number>'::int8)) FROM "public"."portfolio_snapshots" AS s WHERE s."portfolio_id" = o."id" AND s."snapshot_date" BETWEEN '<day>'::date AND '<day>'::date)
        ORDER BY s."snapshot_date" DESC LIMIT 1), '<day>'::date)) AS earlier
WHERE o."id" BETWEEN '<id>'::uuid AND '<id>'::uuid
) TO STDOUT (FORMAT binary);

-- performance(...)
COPY (
SELECT s."portfolio_id", s."snapshot_date", s."equity_balance", s."daily_pnl", s."daily_capital_flow" FROM "public"."portfolio_snapshots" AS s
WHERE s."portfolio_id" BETWEEN '<id>'::uuid AND '<id>'::uuid AND s."snapshot_date" BETWEEN '<day>'::date AND '<day>'::date
AND s."is_complete"
) TO STDOUT (FORMAT binary);

-- performance(...)
-- performance(periods='YTD', calendar='prices')
COPY (
SELECT o."id" FROM "public"."portfolios" AS o WHERE o."deleted_at" IS NULL
) TO STDOUT (FORMAT binary);

-- performance(periods='YTD', calendar='prices')
COPY (
SELECT latest.* FROM unnest('<ids>'::uuid[]) AS w(id) CROSS JOIN LATERAL (
    SELECT s."snapshot_date" FROM "public"."portfolio_snapshots" AS s
    WHERE s."portfolio_id" = w.id AND s."snapshot_date" < '10000-01-01'::date AND s."is_complete" AND s."equity_balance" < 'Infinity'::numeric AND s."equity_balance" > '-Infinity'::numeric AND CASE WHEN s."snapshot_date" BETWEEN '<day>'::date AND '<day>'::date THEN get_bit(<bits>, s."snapshot_date" - '<day>'::date) = 1 ELSE false END ORDER BY s."snapshot_date" DESC LIMIT 1) AS latest
) TO STDOUT (FORMAT binary);

-- performance(periods='YTD', calendar='prices')
COPY (
SELECT s."portfolio_id", s."snapshot_date", s."equity_balance", s."daily_pnl", s."daily_capital_flow" FROM "public"."portfolio_snapshots" AS s
WHERE s."portfolio_id" BETWEEN '<id>'::uuid AND '<id>'::uuid AND s."snapshot_date" BETWEEN '<day>'::date AND '<day>'::date
AND s."is_complete"
UNION ALL
SELECT earlier.* FROM "public"."portfolios" AS o CROSS JOIN LATERAL (
    SELECT s."portfolio_id", s."snapshot_date", s."equity_balance", s."daily_pnl", s."daily_capital_flow" FROM "public"."portfolio_snapshots" AS s
    WHERE s."portfolio_id" = o."id" AND s."snapshot_date" < '<day>'::date AND s."is_complete" AND s."equity_balance" < 'Infinity'::numeric AND s."equity_balance" > '-Infinity'::numeric AND CASE WHEN s."snapshot_date" BETWEEN '<day>'::date AND '<day>'::date THEN get_bit(<bits>, s."snapshot_date" - '<day>'::date) = 1 ELSE false END ORDER BY s."snapshot_date" DESC LIMIT 1) AS earlier
WHERE o."id" BETWEEN '<id>'::uuid AND '<id>'::uuid
) TO STDOUT (FORMAT binary);

-- read_snapshots(...)
COPY (
SELECT s."portfolio_id", s."snapshot_date", s."total_value", s."cash_value", s."long_value", s."short_value", s."gross_exposure", s."net_exposure", s."equity_balance", s."daily_pnl", s."cumulative_pnl", s."daily_realized_pnl", s."cumulative_realized_pnl", s."daily_capital_flow", s."cumulative_capital_flow", s."daily_return", s."num_positions"::numeric, s."num_long_positions"::numeric, s."num_short_positions"::numeric, s."portfolio_delta", s."portfolio_gamma", s."portfolio_theta", s."portfolio_vega", s."beta_provider_1y", s."beta_calculated_90d", s."beta_calculated_90d_r_squared", s."beta_portfolio_regression", s."hhi", s."top_3_concentration", s."top_10_concentration", s."realized_volatility_21d", s."realized_volatility_63d", s."expected_volatility_21d", s."volatility_percentile", s."beta_calculated_90d_observations"::numeric, s."effective_num_positions", s."volatility_trend"::text, s."sector_exposure"::text, s."target_price_return_eoy", s."target_price_return_next_year", s."target_price_downside_return", s."target_price_upside_eoy", s."target_price_upside_next_year", s."target_price_downside", s."target_price_num_positions"::numeric, s."target_price_num_covered"::numeric, s."target_price_coverage", CASE WHEN isfinite(s."target_price_updated_at") THEN (extract(epoch FROM s."target_price_updated_at") * 1000000)::numeric END, (s."is_complete") IS TRUE FROM "public"."portfolio_snapshots" AS s
WHERE s."portfolio_id" = ANY('<ids>'::uuid[]) AND s."snapshot_date" BETWEEN '<day>'::date AND '<day>'::date
) TO STDOUT (FORMAT binary);

-- read_snapshots(...)
-- the page of a portfolio
COPY (
SELECT o."id" FROM "public"."portfolios" AS o WHERE o."id" = ANY('<ids>'::uuid[])
) TO STDOUT (FORMAT binary);

-- repair()
COPY (
SELECT s."portfolio_id", s."snapshot_date", (s."is_complete" AND s."equity_balance" < 'Infinity'::numeric AND s."equity_balance" > '-Infinity'::numeric AND CASE WHEN s."snapshot_date" BETWEEN '<day>'::date AND '<day>'::date THEN get_bit(<bits>, s."snapshot_date" - '<day>'::date) = 1 ELSE false END) IS TRUE, COALESCE(CASE WHEN isfinite(s."created_at")
        THEN LEAST(extract(epoch FROM s."created_at") * 1000000, '<number>'::numeric)::int8
    WHEN s."created_at" = 'infinity' THEN '<number>'::int8 END, '-<number>'::int8), s."total_value"::numeric, s."cash_value"::numeric, s."long_value"::numeric, s."short_value"::numeric, s."gross_exposure"::numeric, s."net_exposure"::numeric, s."equity_balance"::numeric, s."daily_pnl"::numeric, s."cumulative_pnl"::numeric, s."daily_realized_pnl"::numeric, s."cumulative_realized_pnl"::numeric, s."daily_capital_flow"::numeric, s."cumulative_capital_flow"::numeric, s."daily_return"::numeric, s."num_positions"::numeric, s."num_long_positions"::numeric, s."num_short_positions"::numeric, s."beta_provider_1y"::numeric, s."beta_calculated_90d"::numeric, s."beta_calculated_90d_r_squared"::numeric, s."hhi"::numeric, s."top_3_concentration"::numeric, s."top_10_concentration"::numeric, s."realized_volatility_21d"::numeric, s."realized_volatility_63d"::numeric, s."beta_calculated_90d_observations"::numeric, s."effective_num_positions"::numeric, s."sector_exposure"::text FROM "public"."portfolio_snapshots" AS s WHERE s."portfolio_id" BETWEEN '<id>'::uuid AND '<id>'::uuid AND s."snapshot_date" BETWEEN '<day>'::date AND '<day>'::date
) TO STDOUT (FORMAT binary);

-- restore_sector_tags_for_portfolio(...)
INSERT INTO "public"."tags_v2" ("id", "user_id", "name", "color", "display_order", "usage_count",
    "is_archived", "created_at", "updated_at")
SELECT gen_random_uuid(), $1::text::uuid, w.name, w.color,
    o.last + row_number() OVER (ORDER BY w.number), 0, false, now(), now()
FROM unnest($2::text[], $3::text[]) WITH ORDINALITY AS w(name, color, number)
CROSS JOIN (
    SELECT COALESCE(max(x."display_order"), -1) AS last FROM "public"."tags_v2" AS x
    WHERE x."user_id" = $1::text::uuid) AS o
WHERE NOT EXISTS (
    SELECT FROM "public"."tags_v2" AS x
    WHERE x."user_id" = $1::text::uuid AND x."name" = w.name AND NOT x."is_archived")
ON CONFLICT DO NOTHING RETURNING "name"::text AS name;

-- restore_sector_tags_for_portfolio(...)
SELECT o."user_id" = $2::text::uuid AS owned, p."id"::text AS id, convert_to(p."symbol"::text, 'UTF8') AS "symbol", convert_to(p."position_type"::text, 'UTF8') AS "position_type", convert_to(p."investment_class"::text, 'UTF8') AS "investment_class"
FROM "public"."portfolios" AS o LEFT JOIN "public"."positions" AS p ON p."portfolio_id" = o."id" AND p."deleted_at" IS NULL
WHERE o."id" = $1::text::uuid AND o."deleted_at" IS NULL;

-- restore_sector_tags_for_portfolio(...)
SELECT x."id"::text AS id, x."name"::text AS name, x."is_archived" AS archived FROM "public"."tags_v2" AS x
WHERE x."user_id" = $1::text::uuid AND x."name" = ANY($2::text[])
ORDER BY x."id" DESC FOR UPDATE;

-- restore_sector_tags_for_portfolio(...)
UPDATE "public"."tags_v2" AS x SET "usage_count" = c.used, "updated_at" = now()
FROM (
    SELECT k.id::uuid AS id, count(l."tag_id") AS used
    FROM unnest($1::text[]) AS k(id) LEFT JOIN "public"."position_tags" AS l ON l."tag_id" = k.id::uuid GROUP BY k.id) AS c
WHERE x."id" = c.id AND x."usage_count" IS DISTINCT FROM c.used;

-- restore_sector_tags_for_portfolio(...)
WITH wanted AS (
    SELECT w.position::uuid AS position, w.tag::uuid AS tag
    FROM unnest($1::text[], $2::text[]) AS w(position, tag)),
gone AS (
    DELETE FROM "public"."position_tags" AS l USING wanted AS w
    WHERE l."position_id" = w.position AND l."tag_id" <> w.tag
        AND l."tag_id" = ANY($3::text[]::uuid[])
    RETURNING l."tag_id" AS tag),
lacking AS (
    SELECT w.position, w.tag FROM wanted AS w WHERE NOT EXISTS (
        SELECT FROM "public"."position_tags" AS l WHERE l."position_id" = w.position AND l."tag_id" = w.tag)),
come AS (
    INSERT INTO "public"."position_tags" ("id", "position_id", "tag_id", "assigned_at", "assigned_by")
    SELECT gen_random_uuid(), position, tag, now(), $4::text::uuid FROM lacking
    ON CONFLICT DO NOTHING RETURNING "tag_id" AS tag)
SELECT true AS put, tag::text AS tag, count(*) AS times FROM come GROUP BY tag
UNION ALL SELECT false, tag::text, count(*) FROM gone GROUP BY tag
UNION ALL SELECT NULL, NULL, count(*) FROM lacking;

-- run_batch('inception', on_existing='replace')
COPY (
SELECT p."portfolio_id", min(p."entry_date") FROM "public"."positions" AS p
WHERE p."deleted_at" IS NULL AND true AND p."entry_date" BETWEEN '<day>'::date AND '<day>'::date
GROUP BY p."portfolio_id"
) TO STDOUT (FORMAT binary);

-- run_batch('inception', on_existing='replace')
-- run_batch(schema with fx, currency of positions, changed_since=...)
-- run_batch(schema with fx, currency of company_profiles, changed_since=...)
-- the page of a portfolio
COPY (
WITH RECURSIVE spelling(symbol) AS (
    (SELECT min(m."symbol") FROM "public"."market_data_cache" AS m)
    UNION ALL
    SELECT (SELECT min(m."symbol") FROM "public"."market_data_cache" AS m WHERE m."symbol" > spelling.symbol)
    FROM spelling WHERE spelling.symbol IS NOT NULL), wanted(symbol, settled) AS (
    SELECT one.symbol, one.normalised = ANY('{}')
    FROM (SELECT symbol, upper(btrim(symbol COLLATE "C", ' ')) AS normalised FROM spelling) AS one
    WHERE one.normalised = ANY('<texts>'))
SELECT wanted.symbol, earlier.day, earlier.close
FROM wanted CROSS JOIN LATERAL (
    (SELECT m."date", m."close" FROM "public"."market_data_cache" AS m
        WHERE m."symbol" = wanted.symbol AND m."date" < '<day>'::date AND m."close" > 0 AND m."close" < 'Infinity'::numeric AND m."close" > '-Infinity'::numeric 
        ORDER BY m."date" DESC LIMIT 1)
    UNION ALL
    SELECT * FROM (
        SELECT m."date", m."close" FROM "public"."market_data_cache" AS m
        WHERE m."symbol" = wanted.symbol AND m."date" < '<day>'::date AND m."close" < 'Infinity'::numeric AND m."close" > '-Infinity'::numeric 
        ORDER BY m."date" DESC LIMIT 1) AS newest
    WHERE NOT (newest."close" > 0)) AS earlier(day, close)
WHERE NOT wanted.settled
UNION ALL
SELECT m."symbol", m."date", m."close" FROM "public"."market_data_cache" AS m
WHERE m."symbol" = ANY(ARRAY(
        SELECT wanted.symbol FROM wanted
        WHERE (wanted.symbol = ANY('<texts>')) IS NOT TRUE))
    AND m."date" BETWEEN '<day>'::date AND '<day>'::date AND m."close" < 'Infinity'::numeric AND m."close" > '-Infinity'::numeric 
) TO STDOUT (FORMAT binary);

-- run_batch('inception', on_existing='replace')
-- run_batch(schema with price_sources)
-- run_batch(schema with fx, currency of positions, changed_since=...)
-- run_batch(schema with fx, currency of company_profiles, changed_since=...)
COPY "public"."batchcore_run_symbol_issues" (
    "run_id", "attempt", "name", "symbol", "count", "session", "detail"
) FROM STDIN (FORMAT binary);

-- run_batch(analytics='every', on_existing='replace')
-- run_batch(schema with fx, currency of positions, changed_since=...)
-- run_batch(schema with fx, currency of company_profiles, changed_since=...)
-- repair()
COPY "pg_temp"."batchcore_staged_portfolio_snapshots" (
    "portfolio_id", "snapshot_date", "total_value", "cash_value", "long_value", "short_value", "gross_exposure", "net_exposure", "equity_balance", "daily_pnl", "cumulative_pnl", "daily_realized_pnl", "cumulative_realized_pnl", "daily_capital_flow", "cumulative_capital_flow", "daily_return", "num_positions", "num_long_positions", "num_short_positions", "is_complete", "beta_provider_1y", "beta_calculated_90d", "beta_calculated_90d_r_squared", "hhi", "top_3_concentration", "top_10_concentration", "realized_volatility_21d", "realized_volatility_63d", "effective_num_positions", "beta_calculated_90d_observations", "sector_exposure"
) FROM STDIN (FORMAT binary);

-- run_batch(analytics='every', on_existing='replace')
-- run_batch(schema with fx, currency of positions, changed_since=...)
-- run_batch(schema with fx, currency of company_profiles, changed_since=...)
-- repair()
DROP TABLE IF EXISTS pg_temp.batchcore_staged_portfolio_snapshots;
CREATE TEMP TABLE batchcore_staged_portfolio_snapshots ON COMMIT DROP AS SELECT "portfolio_id" AS "portfolio_id", "snapshot_date" AS "snapshot_date", "total_value" AS "total_value", "cash_value" AS "cash_value", "long_value" AS "long_value", "short_value" AS "short_value", "gross_exposure" AS "gross_exposure", "net_exposure" AS "net_exposure", "equity_balance" AS "equity_balance", "daily_pnl" AS "daily_pnl", "cumulative_pnl" AS "cumulative_pnl", "daily_realized_pnl" AS "daily_realized_pnl", "cumulative_realized_pnl" AS "cumulative_realized_pnl", "daily_capital_flow" AS "daily_capital_flow", "cumulative_capital_flow" AS "cumulative_capital_flow", "daily_return" AS "daily_return", "num_positions" AS "num_positions", "num_long_positions" AS "num_long_positions", "num_short_positions" AS "num_short_positions", "is_complete" AS "is_complete", "beta_provider_1y" AS "beta_provider_1y", "beta_calculated_90d" AS "beta_calculated_90d", "beta_calculated_90d_r_squared" AS "beta_calculated_90d_r_squared", "hhi" AS "hhi", "top_3_concentration" AS "top_3_concentration", "top_10_concentration" AS "top_10_concentration", "realized_volatility_21d" AS "realized_volatility_21d", "realized_volatility_63d" AS "realized_volatility_63d", "effective_num_positions" AS "effective_num_positions", "beta_calculated_90d_observations" AS "beta_calculated_90d_observations", "sector_exposure" AS "sector_exposure" FROM "public"."portfolio_snapshots" WITH NO DATA;

-- run_batch(analytics='every', on_existing='replace')
-- run_batch(schema with fx, currency of positions, changed_since=...)
-- run_batch(schema with fx, currency of company_profiles, changed_since=...)
-- repair()
UPDATE "public"."portfolio_snapshots" AS own SET "total_value" = staged."total_value", "cash_value" = staged."cash_value", "long_value" = staged."long_value", "short_value" = staged."short_value", "gross_exposure" = staged."gross_exposure", "net_exposure" = staged."net_exposure", "equity_balance" = staged."equity_balance", "daily_pnl" = staged."daily_pnl", "cumulative_pnl" = staged."cumulative_pnl", "daily_realized_pnl" = staged."daily_realized_pnl", "cumulative_realized_pnl" = staged."cumulative_realized_pnl", "daily_capital_flow" = staged."daily_capital_flow", "cumulative_capital_flow" = staged."cumulative_capital_flow", "daily_return" = staged."daily_return", "num_positions" = staged."num_positions", "num_long_positions" = staged."num_long_positions", "num_short_positions" = staged."num_short_positions", "is_complete" = staged."is_complete", "beta_provider_1y" = staged."beta_provider_1y", "beta_calculated_90d" = staged."beta_calculated_90d", "beta_calculated_90d_r_squared" = staged."beta_calculated_90d_r_squared", "hhi" = staged."hhi", "top_3_concentration" = staged."top_3_concentration", "top_10_concentration" = staged."top_10_concentration", "realized_volatility_21d" = staged."realized_volatility_21d", "realized_volatility_63d" = staged."realized_volatility_63d", "effective_num_positions" = staged."effective_num_positions", "beta_calculated_90d_observations" = staged."beta_calculated_90d_observations", "sector_exposure" = staged."sector_exposure" FROM pg_temp.batchcore_staged_portfolio_snapshots AS staged WHERE own."portfolio_id" = staged."portfolio_id" AND own."snapshot_date" = staged."snapshot_date" AND own."portfolio_id" BETWEEN '<id>'::uuid AND '<id>'::uuid;

-- run_batch(analytics='full')
COPY "pg_temp"."batchcore_staged_positions" (
    "id", "last_price", "market_value", "unrealized_pnl"
) FROM STDIN (FORMAT binary);

-- run_batch(analytics='full')
COPY "public"."factor_exposures" (
    "id", "portfolio_id", "factor_id", "calculation_date", "exposure_value", "exposure_dollar", "created_at", "updated_at"
) FROM STDIN (FORMAT binary);

-- run_batch(analytics='full')
COPY "public"."position_factor_exposures" (
    "id", "position_id", "factor_id", "calculation_date", "exposure_value", "quality_flag", "created_at"
) FROM STDIN (FORMAT binary);

-- run_batch(analytics='full')
COPY "public"."position_market_betas" (
    "id", "portfolio_id", "position_id", "calc_date", "beta", "alpha", "r_squared", "std_error", "p_value", "observations", "window_days", "method", "market_index", "created_at", "updated_at"
) FROM STDIN (FORMAT binary);

-- run_batch(analytics='full')
COPY (
SELECT d."id", d."name", upper(btrim(d."etf_proxy"::text COLLATE "C", ' '))::text, (d."calculation_method"::text COLLATE "C" ILIKE '%regression%') IS TRUE FROM "public"."factor_definitions" AS d WHERE d."is_active" AND upper(btrim(d."etf_proxy"::text COLLATE "C", ' ')) = ANY('<texts>') ORDER BY d."id"
) TO STDOUT (FORMAT binary);

-- run_batch(analytics='full')
DROP TABLE IF EXISTS pg_temp.batchcore_staged_positions;
CREATE TEMP TABLE batchcore_staged_positions ON COMMIT DROP AS SELECT "id" AS "id", "last_price" AS "last_price", "market_value" AS "market_value", "unrealized_pnl" AS "unrealized_pnl" FROM "public"."positions" WITH NO DATA;

-- run_batch(analytics='full')
UPDATE "public"."positions" AS own SET "last_price" = staged."last_price", "market_value" = staged."market_value", "unrealized_pnl" = staged."unrealized_pnl" FROM pg_temp.batchcore_staged_positions AS staged WHERE own."id" = staged."id" AND own."deleted_at" IS NULL AND own."portfolio_id" BETWEEN '<id>'::uuid AND '<id>'::uuid AND (own."last_price", own."market_value", own."unrealized_pnl") IS DISTINCT FROM (staged."last_price", staged."market_value", staged."unrealized_pnl");

-- run_batch(analytics='full')
WITH mark AS (INSERT INTO "public"."batchcore_analytic_writes" (id, written_at) VALUES (gen_random_uuid(), clock_timestamp()))
SELECT EXISTS (SELECT FROM "public"."positions" AS o JOIN "public"."position_market_betas" AS r ON o."portfolio_id" BETWEEN '<id>'::uuid AND '<id>'::uuid AND r."portfolio_id" = o."portfolio_id" AND r."position_id" = o."id" AND r."calc_date" IN ('<day>'::date)), EXISTS (SELECT FROM "public"."positions" AS o JOIN "public"."position_factor_exposures" AS r ON o."portfolio_id" BETWEEN '<id>'::uuid AND '<id>'::uuid AND r."position_id" = o."id" AND r."factor_id" = ANY('<ids>'::uuid[]) AND r."calculation_date" IN ('<day>'::date)), EXISTS (SELECT FROM "public"."portfolios" AS o JOIN "public"."factor_exposures" AS r ON o."id" BETWEEN '<id>'::uuid AND '<id>'::uuid AND r."portfolio_id" = o."id" AND r."factor_id" = ANY('<ids>'::uuid[]) AND r."calculation_date" IN ('<day>'::date));

-- run_batch(analytics='none')
-- run_batch(analytics='portfolio')
-- run_batch(analytics='full')
-- run_batch(analytics='every', on_existing='replace')
-- run_batch(missing=True, on_existing='replace')
-- run_batch('inception', on_existing='replace')
-- run_batch(schema with price_sources)
-- run_batch(schema with splits)
-- run_batch(schema with fx, currency of company_profiles)
-- verify(fast=False)
-- verify(fast=True)
-- explain(db)
-- repair()
COPY (
SELECT p."id", p."portfolio_id", p."symbol", p."position_type", p."quantity", p."entry_price", p."entry_date", p."exit_date", p."investment_class", p."market_value", p."exit_price", p."expiration_date" FROM "public"."positions" AS p WHERE p."deleted_at" IS NULL AND p."portfolio_id" BETWEEN '<id>'::uuid AND '<id>'::uuid
) TO STDOUT (FORMAT binary);

-- run_batch(analytics='none')
-- run_batch(analytics='portfolio')
-- run_batch(analytics='full')
-- run_batch(analytics='every', on_existing='replace')
-- run_batch(missing=True, on_existing='replace')
-- run_batch('inception', on_existing='replace')
-- run_batch(schema with price_sources)
-- run_batch(schema with splits)
-- run_batch(schema with fx, currency of positions)
-- run_batch(schema with fx, currency of company_profiles)
-- explain(db)
-- repair()
-- run_batch(policy='legacy', on_existing='replace')
-- explain(db, session=..., policy='legacy')
-- the page of a night
COPY (
SELECT e."position_id", e."trade_date", e."quantity_closed", e."realized_pnl" FROM "public"."position_realized_events" AS e WHERE e."position_id" IS NOT NULL
) TO STDOUT (FORMAT binary);

-- run_batch(analytics='none')
-- run_batch(analytics='portfolio')
-- run_batch(analytics='full')
-- run_batch(analytics='every', on_existing='replace')
-- run_batch(missing=True, on_existing='replace')
-- run_batch('inception', on_existing='replace')
-- run_batch(schema with price_sources)
-- run_batch(schema with splits)
-- run_batch(schema with fx, currency of positions)
-- run_batch(schema with fx, currency of company_profiles)
-- verify(fast=False)
-- verify(fast=True)
-- verify(schema with fx, fast=False)
-- verify(schema with fx, fast=True)
-- repair()
-- run_batch(policy='legacy', on_existing='replace')
-- verify(policy='legacy', fast=True)
-- performance(...)
-- performance(periods='YTD', calendar='prices')
COPY (
SELECT f."portfolio_id", f."amount", f."change_type", f."change_date" FROM "public"."equity_changes" AS f
WHERE f."deleted_at" IS NULL AND f."portfolio_id" BETWEEN '<id>'::uuid AND '<id>'::uuid
    AND (f."change_date" BETWEEN '<day>'::date AND '<day>'::date
        OR f."change_date" IS NULL OR NOT isfinite(f."change_date")
        OR f."amount" IS NULL OR NOT (f."amount" < 'Infinity'::numeric AND f."amount" > '-Infinity'::numeric)
        OR f."change_type" IS NULL
        OR f."change_type"::text NOT IN ('CONTRIBUTION', 'WITHDRAWAL'))
) TO STDOUT (FORMAT binary);

-- run_batch(analytics='none')
-- run_batch(analytics='portfolio')
-- run_batch(analytics='full')
-- run_batch(analytics='every', on_existing='replace')
-- run_batch(missing=True, on_existing='replace')
-- run_batch('inception', on_existing='replace')
-- run_batch(settings=Settings(dry_run=True))
-- run_batch(settings=Settings(shard=(1, 2)))
-- run_batch(schema with splits)
-- run_batch(schema with fx, currency of positions)
-- run_batch(schema with fx, currency of positions, changed_since=...)
-- run_batch(schema with fx, currency of positions, settings=Settings(dry_run=True))
-- run_batch(schema with fx, currency of company_profiles)
-- run_batch(schema with fx, currency of company_profiles, changed_since=...)
-- run_batch(schema with fx, currency of company_profiles, settings=Settings(dry_run=True))
-- verify(fast=False)
-- verify(fast=True)
-- explain(db)
-- explain(db, [portfolio], session, since=...)
-- verify(schema with fx, fast=False)
-- verify(schema with fx, fast=True)
-- repair()
-- run_batch(policy='legacy', on_existing='replace')
-- verify(policy='legacy', fast=True)
-- explain(db, session=..., policy='legacy')
-- the page of a night
-- the page of a portfolio
COPY (
SELECT m."symbol", m."date", m."close" FROM "public"."market_data_cache" AS m
WHERE m."symbol" = ANY('<texts>')
    AND m."date" BETWEEN '<day>'::date AND '<day>'::date AND m."close" < 'Infinity'::numeric AND m."close" > '-Infinity'::numeric 
) TO STDOUT (FORMAT binary);

-- run_batch(analytics='none')
-- run_batch(analytics='portfolio')
-- run_batch(analytics='full')
-- run_batch(analytics='every', on_existing='replace')
-- run_batch(missing=True, on_existing='replace')
-- run_batch('inception', on_existing='replace')
-- run_batch(settings=Settings(shard=(1, 2)))
-- run_batch(schema with price_sources)
-- run_batch(schema with splits)
-- run_batch(schema with fx, currency of positions)
-- run_batch(schema with fx, currency of positions, changed_since=...)
-- run_batch(schema with fx, currency of company_profiles)
-- run_batch(schema with fx, currency of company_profiles, changed_since=...)
-- repair()
-- run_batch(policy='legacy', on_existing='replace')
COPY "pg_temp"."batchcore_staged_portfolios" (
    "id", "equity_balance"
) FROM STDIN (FORMAT binary);

-- run_batch(analytics='none')
-- run_batch(analytics='portfolio')
-- run_batch(analytics='full')
-- run_batch(analytics='every', on_existing='replace')
-- run_batch(missing=True, on_existing='replace')
-- run_batch('inception', on_existing='replace')
-- run_batch(settings=Settings(shard=(1, 2)))
-- run_batch(schema with price_sources)
-- run_batch(schema with splits)
-- run_batch(schema with fx, currency of positions)
-- run_batch(schema with fx, currency of positions, changed_since=...)
-- run_batch(schema with fx, currency of company_profiles)
-- run_batch(schema with fx, currency of company_profiles, changed_since=...)
-- repair()
-- run_batch(policy='legacy', on_existing='replace')
DROP TABLE IF EXISTS pg_temp.batchcore_staged_portfolios;
CREATE TEMP TABLE batchcore_staged_portfolios ON COMMIT DROP AS SELECT "id" AS "id", "equity_balance" AS "equity_balance" FROM "public"."portfolios" WITH NO DATA;

-- run_batch(analytics='none')
-- run_batch(analytics='portfolio')
-- run_batch(analytics='full')
-- run_batch(analytics='every', on_existing='replace')
-- run_batch(missing=True, on_existing='replace')
-- run_batch('inception', on_existing='replace')
-- run_batch(settings=Settings(shard=(1, 2)))
-- run_batch(schema with price_sources)
-- run_batch(schema with splits)
-- run_batch(schema with fx, currency of positions)
-- run_batch(schema with fx, currency of positions, changed_since=...)
-- run_batch(schema with fx, currency of company_profiles)
-- run_batch(schema with fx, currency of company_profiles, changed_since=...)
-- repair()
-- run_batch(policy='legacy', on_existing='replace')
UPDATE "public"."portfolios" AS own SET "equity_balance" = staged."equity_balance", "updated_at" = <moment> FROM pg_temp.batchcore_staged_portfolios AS staged WHERE own."id" = staged."id" AND own."id" BETWEEN '<id>'::uuid AND '<id>'::uuid AND (own."equity_balance") IS DISTINCT FROM (staged."equity_balance");

-- run_batch(analytics='none')
-- run_batch(analytics='portfolio')
-- run_batch(analytics='full')
-- run_batch(analytics='every', on_existing='replace')
-- run_batch(missing=True, on_existing='replace')
-- run_batch(settings=Settings(dry_run=True))
-- run_batch(settings=Settings(shard=(1, 2)))
-- run_batch(schema with splits)
-- run_batch(schema with fx, currency of positions)
-- run_batch(schema with fx, currency of positions, settings=Settings(dry_run=True))
-- run_batch(schema with fx, currency of company_profiles)
-- run_batch(schema with fx, currency of company_profiles, settings=Settings(dry_run=True))
-- verify(fast=False)
-- verify(fast=True)
-- explain(db)
-- explain(db, [portfolio], session, since=...)
-- verify(schema with fx, fast=False)
-- verify(schema with fx, fast=True)
-- repair()
-- the page of a night
COPY (
WITH RECURSIVE spelling(symbol) AS (
    (SELECT min(m."symbol") FROM "public"."market_data_cache" AS m)
    UNION ALL
    SELECT (SELECT min(m."symbol") FROM "public"."market_data_cache" AS m WHERE m."symbol" > spelling.symbol)
    FROM spelling WHERE spelling.symbol IS NOT NULL), wanted(symbol, settled) AS (
    SELECT one.symbol, one.normalised = ANY('<texts>')
    FROM (SELECT symbol, upper(btrim(symbol COLLATE "C", ' ')) AS normalised FROM spelling) AS one
    WHERE one.normalised = ANY('<texts>'))
SELECT wanted.symbol, earlier.day, earlier.close
FROM wanted CROSS JOIN LATERAL (
    (SELECT m."date", m."close" FROM "public"."market_data_cache" AS m
        WHERE m."symbol" = wanted.symbol AND m."date" < '<day>'::date AND m."close" > 0 AND m."close" < 'Infinity'::numeric AND m."close" > '-Infinity'::numeric 
        ORDER BY m."date" DESC LIMIT 1)
    UNION ALL
    SELECT * FROM (
        SELECT m."date", m."close" FROM "public"."market_data_cache" AS m
        WHERE m."symbol" = wanted.symbol AND m."date" < '<day>'::date AND m."close" < 'Infinity'::numeric AND m."close" > '-Infinity'::numeric 
        ORDER BY m."date" DESC LIMIT 1) AS newest
    WHERE NOT (newest."close" > 0)) AS earlier(day, close)
WHERE NOT wanted.settled
UNION ALL
SELECT m."symbol", m."date", m."close" FROM "public"."market_data_cache" AS m
WHERE m."symbol" = ANY(ARRAY(
        SELECT wanted.symbol FROM wanted
        WHERE (wanted.symbol = ANY('<texts>')) IS NOT TRUE))
    AND m."date" BETWEEN '<day>'::date AND '<day>'::date AND m."close" < 'Infinity'::numeric AND m."close" > '-Infinity'::numeric 
) TO STDOUT (FORMAT binary);

-- run_batch(analytics='none')
-- run_batch(analytics='portfolio')
-- run_batch(analytics='full')
-- run_batch(analytics='every', on_existing='replace')
-- run_batch(missing=True, on_existing='skip')
-- run_batch(missing=True, on_existing='replace')
-- run_batch('inception', on_existing='replace')
-- run_batch(settings=Settings(dry_run=True))
-- run_batch(schema with price_sources)
-- run_batch(schema with splits)
-- run_batch(schema with fx, currency of positions)
-- run_batch(schema with fx, currency of positions, settings=Settings(dry_run=True))
-- run_batch(schema with fx, currency of company_profiles)
-- run_batch(schema with fx, currency of company_profiles, settings=Settings(dry_run=True))
-- PnLCalculator().calculate_all_portfolios_pnl(...)
COPY (
SELECT s."portfolio_id", s."snapshot_date", (s."is_complete" AND s."equity_balance" < 'Infinity'::numeric AND s."equity_balance" > '-Infinity'::numeric AND CASE WHEN s."snapshot_date" BETWEEN '<day>'::date AND '<day>'::date THEN get_bit(<bits>, s."snapshot_date" - '<day>'::date) = 1 ELSE false END) IS TRUE FROM "public"."portfolio_snapshots" AS s
WHERE s."portfolio_id" BETWEEN '<id>'::uuid AND '<id>'::uuid AND s."snapshot_date" BETWEEN '<day>'::date AND '<day>'::date
) TO STDOUT (FORMAT binary);

-- run_batch(analytics='none')
-- run_batch(analytics='portfolio')
-- run_batch(analytics='full')
-- run_batch(analytics='every', on_existing='replace')
-- run_batch(missing=True, on_existing='skip')
-- run_batch(missing=True, on_existing='replace')
-- run_batch('inception', on_existing='replace')
-- run_batch(settings=Settings(dry_run=True))
-- run_batch(settings=Settings(shard=(1, 2)))
-- run_batch(schema with price_sources)
-- run_batch(schema with splits)
-- run_batch(schema with fx, currency of positions)
-- run_batch(schema with fx, currency of positions, settings=Settings(dry_run=True))
-- run_batch(schema with fx, currency of company_profiles)
-- run_batch(schema with fx, currency of company_profiles, settings=Settings(dry_run=True))
-- explain(db)
-- repair()
-- run_batch(policy='legacy', on_existing='skip')
-- run_batch(policy='legacy', on_existing='replace')
-- explain(db, session=..., policy='legacy')
-- the page of a night
COPY (
SELECT DISTINCT p."symbol" FROM "public"."positions" AS p
WHERE p."deleted_at" IS NULL AND p."symbol" IS NOT NULL AND p."symbol" <> '' AND p."portfolio_id" IN (SELECT o."id" FROM "public"."portfolios" AS o WHERE o."deleted_at" IS NULL)
) TO STDOUT (FORMAT binary);

-- run_batch(analytics='none')
-- run_batch(analytics='portfolio')
-- run_batch(analytics='full')
-- run_batch(analytics='every', on_existing='replace')
-- run_batch(missing=True, on_existing='skip')
-- run_batch(missing=True, on_existing='replace')
-- run_batch(changed_since=..., calendar='XNYS')
-- run_batch(changed_since=..., calendar='prices')
-- run_batch(changed_since=..., calendar='daily')
-- run_batch('inception', on_existing='replace')
-- run_batch(settings=Settings(dry_run=True))
-- run_batch(settings=Settings(shard=(1, 2)))
-- run_batch(schema with price_sources)
-- run_batch(schema with splits)
-- run_batch(schema with splits, changed_since=...)
-- run_batch(schema with fx, currency of positions)
-- run_batch(schema with fx, currency of positions, changed_since=...)
-- run_batch(schema with fx, currency of positions, settings=Settings(dry_run=True))
-- run_batch(schema with fx, currency of company_profiles)
-- run_batch(schema with fx, currency of company_profiles, changed_since=...)
-- run_batch(schema with fx, currency of company_profiles, settings=Settings(dry_run=True))
-- PnLCalculator().calculate_all_portfolios_pnl(...)
-- repair()
-- run_batch(policy='legacy', on_existing='skip')
-- run_batch(policy='legacy', on_existing='replace')
-- runs(...)
-- the page of a night
SELECT version_num::text FROM "public"."batchcore_alembic_version";

-- run_batch(analytics='none')
-- run_batch(analytics='portfolio')
-- run_batch(analytics='full')
-- run_batch(analytics='every', on_existing='replace')
-- run_batch(missing=True, on_existing='skip')
-- run_batch(missing=True, on_existing='replace')
-- run_batch(changed_since=..., calendar='XNYS')
-- run_batch(changed_since=..., calendar='prices')
-- run_batch(changed_since=..., calendar='daily')
-- run_batch('inception', on_existing='replace')
-- run_batch(settings=Settings(shard=(1, 2)))
-- run_batch(schema with price_sources)
-- run_batch(schema with splits)
-- run_batch(schema with splits, changed_since=...)
-- run_batch(schema with fx, currency of positions)
-- run_batch(schema with fx, currency of positions, changed_since=...)
-- run_batch(schema with fx, currency of company_profiles)
-- run_batch(schema with fx, currency of company_profiles, changed_since=...)
-- repair()
-- run_batch(policy='legacy', on_existing='skip')
-- run_batch(policy='legacy', on_existing='replace')
LOCK TABLE "public"."batchcore_runs" IN SHARE UPDATE EXCLUSIVE MODE;

-- run_batch(analytics='none')
-- run_batch(analytics='portfolio')
-- run_batch(analytics='full')
-- run_batch(analytics='every', on_existing='replace')
-- run_batch(missing=True, on_existing='skip')
-- run_batch(missing=True, on_existing='replace')
-- run_batch(changed_since=..., calendar='XNYS')
-- run_batch(changed_since=..., calendar='prices')
-- run_batch(changed_since=..., calendar='daily')
-- run_batch('inception', on_existing='replace')
-- run_batch(settings=Settings(shard=(1, 2)))
-- run_batch(schema with price_sources)
-- run_batch(schema with splits)
-- run_batch(schema with splits, changed_since=...)
-- run_batch(schema with fx, currency of positions)
-- run_batch(schema with fx, currency of positions, changed_since=...)
-- run_batch(schema with fx, currency of company_profiles)
-- run_batch(schema with fx, currency of company_profiles, changed_since=...)
-- repair()
-- run_batch(policy='legacy', on_existing='skip')
-- run_batch(policy='legacy', on_existing='replace')
SELECT pg_export_snapshot(), pg_current_snapshot()::text, CASE WHEN NOT pg_is_in_recovery() THEN pg_current_wal_lsn()::text END, pg_backend_pid(), (SELECT string_agg(DISTINCT l.relation::regclass::text, ', ') FROM pg_locks AS l
LEFT JOIN pg_class AS c ON c.oid = l.relation LEFT JOIN pg_namespace AS n ON n.oid = c.relnamespace
WHERE l.pid = pg_backend_pid() AND l.locktype = 'relation' AND (c.oid IS NULL
    OR NULLIF(c.relfilenode, 0) <> pg_relation_filenode(c.oid) AND c.relkind IN ('r', 'm')
    OR (pg_identify_object('pg_class'::regclass, c.oid, 0)).identity
        <> format('%I.%I', n.nspname, c.relname) AND c.relkind IN ('r', 'm', 'p'))
    AND NOT EXISTS (SELECT FROM <each table> LIMIT 0));

-- run_batch(analytics='none')
-- run_batch(analytics='portfolio')
-- run_batch(analytics='full')
-- run_batch(analytics='every', on_existing='replace')
-- run_batch(missing=True, on_existing='skip')
-- run_batch(settings=Settings(dry_run=True))
-- run_batch(schema with price_sources)
-- run_batch(schema with splits)
-- run_batch(schema with fx, currency of positions)
-- run_batch(schema with fx, currency of positions, settings=Settings(dry_run=True))
-- run_batch(schema with fx, currency of company_profiles)
-- run_batch(schema with fx, currency of company_profiles, settings=Settings(dry_run=True))
-- PnLCalculator().calculate_all_portfolios_pnl(...)
-- verify(fast=False)
-- verify(fast=True)
-- verify(schema with fx, fast=False)
-- verify(schema with fx, fast=True)
-- repair()
COPY (
SELECT o."id", o."equity_balance", o."currency", o."deleted_at" IS NOT NULL, before."snapshot_date", before."equity_balance", before."cumulative_pnl", before."cumulative_realized_pnl", before."cumulative_capital_flow", first."snapshot_date", first."equity_balance", first."daily_pnl", first."daily_capital_flow", last."snapshot_date", last."equity_balance", last."cumulative_pnl", last."cumulative_realized_pnl", last."cumulative_capital_flow" FROM "public"."portfolios" AS o 
LEFT JOIN LATERAL (
    SELECT s."snapshot_date", s."equity_balance", s."cumulative_pnl",
        s."cumulative_realized_pnl", s."cumulative_capital_flow"
    FROM "public"."portfolio_snapshots" AS s WHERE s."portfolio_id" = o."id" AND s."snapshot_date" < '<day>'::date AND s."is_complete" AND s."equity_balance" < 'Infinity'::numeric AND s."equity_balance" > '-Infinity'::numeric AND CASE WHEN s."snapshot_date" BETWEEN '<day>'::date AND '<day>'::date THEN get_bit(<bits>, s."snapshot_date" - '<day>'::date) = 1 ELSE false END
    ORDER BY s."snapshot_date" DESC LIMIT 1) AS before ON true
LEFT JOIN LATERAL (
    SELECT s."snapshot_date", s."equity_balance", s."daily_pnl", s."daily_capital_flow"
    FROM "public"."portfolio_snapshots" AS s WHERE s."portfolio_id" = o."id" AND s."snapshot_date" >= '<day>'::date AND s."is_complete" AND s."equity_balance" < 'Infinity'::numeric AND s."equity_balance" > '-Infinity'::numeric AND CASE WHEN s."snapshot_date" BETWEEN '<day>'::date AND '<day>'::date THEN get_bit(<bits>, s."snapshot_date" - '<day>'::date) = 1 ELSE false END
    ORDER BY s."snapshot_date" ASC LIMIT 1) AS first ON true
LEFT JOIN LATERAL (
    SELECT s."snapshot_date", s."equity_balance", s."cumulative_pnl",
        s."cumulative_realized_pnl", s."cumulative_capital_flow"
    FROM "public"."portfolio_snapshots" AS s WHERE first."snapshot_date" IS NOT NULL AND s."portfolio_id" = o."id"
        AND s."snapshot_date" >= '<day>'::date AND s."is_complete" AND s."equity_balance" < 'Infinity'::numeric AND s."equity_balance" > '-Infinity'::numeric AND CASE WHEN s."snapshot_date" BETWEEN '<day>'::date AND '<day>'::date THEN get_bit(<bits>, s."snapshot_date" - '<day>'::date) = 1 ELSE false END
    ORDER BY s."snapshot_date" DESC LIMIT 1) AS last ON true
WHERE o."deleted_at" IS NULL
) TO STDOUT (FORMAT binary);

-- run_batch(analytics='none')
-- run_batch(analytics='portfolio')
-- run_batch(analytics='full')
-- run_batch(analytics='every', on_existing='replace')
-- run_batch(settings=Settings(shard=(1, 2)))
-- run_batch(schema with price_sources)
-- run_batch(schema with splits)
-- run_batch(schema with fx, currency of positions)
-- run_batch(schema with fx, currency of company_profiles)
-- run_batch(policy='legacy', on_existing='replace')
WITH entry AS (INSERT INTO "public"."batchcore_run_chunks" (run_id, chunk, attempt, first_portfolio, last_portfolio,
    first_session, last_session, sessions, rows_written, sha256, committed_at)
    VALUES (<values>)
    RETURNING run_id)
UPDATE "public"."batchcore_runs" SET chunks = chunks + <value>, rows_written = rows_written + <value>,
    failed = failed + <value>, snapshot_id = <value>, lsn = <value>,
    start_date = '<day>'::date, end_date = '<day>'::date,
    portfolios = <value>
FROM entry WHERE id = '<id>' AND token = <value> AND state = 'running';

-- run_batch(analytics='none')
-- run_batch(missing=True, on_existing='replace')
-- run_batch('inception', on_existing='replace')
COPY "public"."portfolio_snapshots" (
    "id", "created_at", "portfolio_id", "snapshot_date", "total_value", "cash_value", "long_value", "short_value", "gross_exposure", "net_exposure", "equity_balance", "daily_pnl", "cumulative_pnl", "daily_realized_pnl", "cumulative_realized_pnl", "daily_capital_flow", "cumulative_capital_flow", "daily_return", "num_positions", "num_long_positions", "num_short_positions", "is_complete"
) FROM STDIN (FORMAT binary);

-- run_batch(analytics='portfolio')
-- run_batch(analytics='full')
-- run_batch(analytics='every', on_existing='replace')
COPY "public"."portfolio_snapshots" (
    "id", "created_at", "portfolio_id", "snapshot_date", "total_value", "cash_value", "long_value", "short_value", "gross_exposure", "net_exposure", "equity_balance", "daily_pnl", "cumulative_pnl", "daily_realized_pnl", "cumulative_realized_pnl", "daily_capital_flow", "cumulative_capital_flow", "daily_return", "num_positions", "num_long_positions", "num_short_positions", "is_complete", "beta_provider_1y", "beta_calculated_90d", "beta_calculated_90d_r_squared", "hhi", "top_3_concentration", "top_10_concentration", "realized_volatility_21d", "realized_volatility_63d", "effective_num_positions", "beta_calculated_90d_observations", "sector_exposure"
) FROM STDIN (FORMAT binary);

-- run_batch(analytics='portfolio')
-- run_batch(analytics='full')
-- run_batch(analytics='every', on_existing='replace')
-- run_batch(schema with fx, currency of positions, changed_since=...)
-- run_batch(schema with fx, currency of company_profiles, changed_since=...)
-- verify(fast=False)
-- verify(fast=True)
-- explain(db, [portfolio], session, since=...)
-- verify(schema with fx, fast=False)
-- verify(schema with fx, fast=True)
-- repair()
-- calculate_portfolio_provider_beta(...)
-- calculate_portfolio_sector_exposure(...)
-- restore_sector_tags_for_portfolio(...)
-- the page of a night
-- the page of a portfolio
COPY (
SELECT DISTINCT c."symbol"::text, c."beta", c."sector", c."is_etf" IS TRUE FROM "public"."company_profiles" AS c WHERE upper(btrim(c."symbol" COLLATE "C", ' ')) = ANY('<texts>')
) TO STDOUT (FORMAT binary);

-- run_batch(analytics='portfolio')
-- run_batch(analytics='full')
-- run_batch(analytics='every', on_existing='replace')
-- run_batch(schema with fx, currency of positions, changed_since=...)
-- run_batch(schema with fx, currency of company_profiles, changed_since=...)
-- verify(fast=False)
-- verify(fast=True)
-- verify(schema with fx, fast=False)
-- verify(schema with fx, fast=True)
-- repair()
COPY (
SELECT (w.number - 1)::int4, last."snapshot_date", last."daily_return"
FROM unnest('<ids>'::uuid[], '<days>'::date[]) WITH ORDINALITY AS w(id, before, number)
CROSS JOIN LATERAL (
    SELECT s."snapshot_date", s."daily_return" FROM "public"."portfolio_snapshots" AS s
    WHERE s."portfolio_id" = w.id AND s."snapshot_date" < w.before AND s."daily_return" < 'Infinity'::numeric AND s."daily_return" > '-Infinity'::numeric
        AND s."is_complete" AND s."equity_balance" < 'Infinity'::numeric AND s."equity_balance" > '-Infinity'::numeric AND CASE WHEN s."snapshot_date" BETWEEN '<day>'::date AND '<day>'::date THEN get_bit(<bits>, s."snapshot_date" - '<day>'::date) = 1 ELSE false END
    ORDER BY s."snapshot_date" DESC LIMIT 62) AS last
) TO STDOUT (FORMAT binary);

-- run_batch(changed_since=..., calendar='XNYS')
-- run_batch(changed_since=..., calendar='prices')
-- run_batch(changed_since=..., calendar='daily')
-- run_batch(schema with splits, changed_since=...)
-- run_batch(schema with fx, currency of positions, changed_since=...)
-- run_batch(schema with fx, currency of company_profiles, changed_since=...)
COPY (
SELECT DISTINCT m."symbol", m."date" FROM "public"."market_data_cache" AS m WHERE (m."created_at" >= '2026-01-01T00:00:00+00:00'::timestamptz OR m."updated_at" >= '2026-01-01T00:00:00+00:00'::timestamptz) AND m."date" BETWEEN '<day>'::date AND '<day>'::date
) TO STDOUT (FORMAT binary);

-- run_batch(changed_since=..., calendar='XNYS')
-- run_batch(changed_since=..., calendar='prices')
-- run_batch(changed_since=..., calendar='daily')
-- run_batch(schema with splits, changed_since=...)
-- run_batch(schema with fx, currency of positions, changed_since=...)
-- run_batch(schema with fx, currency of company_profiles, changed_since=...)
COPY (
SELECT c.portfolio, GREATEST(LEAST(min(c.day), '<day>'::date), '<day>'::date)
FROM (SELECT p."portfolio_id", CASE
    WHEN p."created_at" >= '2026-01-01T00:00:00+00:00'::timestamptz AND p."updated_at" <= p."created_at" AND p."deleted_at" IS NULL
    THEN COALESCE(p."entry_date", '<day>'::date) ELSE '<day>'::date END
FROM "public"."positions" AS p
WHERE (p."created_at" >= '2026-01-01T00:00:00+00:00'::timestamptz OR p."updated_at" >= '2026-01-01T00:00:00+00:00'::timestamptz
    OR p."deleted_at" >= '2026-01-01T00:00:00+00:00'::timestamptz) AND p."portfolio_id" IN (SELECT o."id" FROM "public"."portfolios" AS o WHERE o."deleted_at" IS NULL) UNION ALL SELECT p."portfolio_id", COALESCE(p."entry_date", '<day>'::date)
FROM "public"."position_realized_events" AS e JOIN "public"."positions" AS p ON p."id" = e."position_id"
WHERE e."created_at" >= '2026-01-01T00:00:00+00:00'::timestamptz AND p."deleted_at" IS NULL AND p."portfolio_id" IN (SELECT o."id" FROM "public"."portfolios" AS o WHERE o."deleted_at" IS NULL) UNION ALL SELECT f."portfolio_id", CASE
    WHEN f."created_at" >= '2026-01-01T00:00:00+00:00'::timestamptz AND f."updated_at" <= f."created_at" AND f."deleted_at" IS NULL
    THEN COALESCE(f."change_date", '<day>'::date) ELSE '<day>'::date END
FROM "public"."equity_changes" AS f
WHERE (f."created_at" >= '2026-01-01T00:00:00+00:00'::timestamptz OR f."updated_at" >= '2026-01-01T00:00:00+00:00'::timestamptz
    OR f."deleted_at" >= '2026-01-01T00:00:00+00:00'::timestamptz) AND f."portfolio_id" IN (SELECT o."id" FROM "public"."portfolios" AS o WHERE o."deleted_at" IS NULL)) AS c(portfolio, day) WHERE c.portfolio IS NOT NULL GROUP BY c.portfolio
) TO STDOUT (FORMAT binary);

-- run_batch(changed_since=..., calendar='XNYS')
-- run_batch(changed_since=..., calendar='prices')
-- run_batch(schema with splits, changed_since=...)
COPY (
SELECT o."id", o."equity_balance", o."currency", o."deleted_at" IS NOT NULL, before."snapshot_date", before."equity_balance", before."cumulative_pnl", before."cumulative_realized_pnl", before."cumulative_capital_flow", first."snapshot_date", first."equity_balance", first."daily_pnl", first."daily_capital_flow", last."snapshot_date", last."equity_balance", last."cumulative_pnl", last."cumulative_realized_pnl", last."cumulative_capital_flow" FROM "public"."portfolios" AS o 
LEFT JOIN LATERAL (
    SELECT s."snapshot_date", s."equity_balance", s."cumulative_pnl",
        s."cumulative_realized_pnl", s."cumulative_capital_flow"
    FROM "public"."portfolio_snapshots" AS s WHERE s."portfolio_id" = o."id" AND s."snapshot_date" < '<day>'::date AND s."is_complete" AND s."equity_balance" < 'Infinity'::numeric AND s."equity_balance" > '-Infinity'::numeric AND CASE WHEN s."snapshot_date" BETWEEN '<day>'::date AND '<day>'::date THEN get_bit(<bits>, s."snapshot_date" - '<day>'::date) = 1 ELSE false END
    ORDER BY s."snapshot_date" DESC LIMIT 1) AS before ON true
LEFT JOIN LATERAL (
    SELECT s."snapshot_date", s."equity_balance", s."daily_pnl", s."daily_capital_flow"
    FROM "public"."portfolio_snapshots" AS s WHERE s."portfolio_id" = o."id" AND s."snapshot_date" >= '<day>'::date AND s."is_complete" AND s."equity_balance" < 'Infinity'::numeric AND s."equity_balance" > '-Infinity'::numeric AND CASE WHEN s."snapshot_date" BETWEEN '<day>'::date AND '<day>'::date THEN get_bit(<bits>, s."snapshot_date" - '<day>'::date) = 1 ELSE false END
    ORDER BY s."snapshot_date" ASC LIMIT 1) AS first ON true
LEFT JOIN LATERAL (
    SELECT s."snapshot_date", s."equity_balance", s."cumulative_pnl",
        s."cumulative_realized_pnl", s."cumulative_capital_flow"
    FROM "public"."portfolio_snapshots" AS s WHERE first."snapshot_date" IS NOT NULL AND s."portfolio_id" = o."id"
        AND s."snapshot_date" >= '<day>'::date AND s."is_complete" AND s."equity_balance" < 'Infinity'::numeric AND s."equity_balance" > '-Infinity'::numeric AND CASE WHEN s."snapshot_date" BETWEEN '<day>'::date AND '<day>'::date THEN get_bit(<bits>, s."snapshot_date" - '<day>'::date) = 1 ELSE false END
    ORDER BY s."snapshot_date" DESC LIMIT 1) AS last ON true
WHERE false
) TO STDOUT (FORMAT binary);

-- run_batch(changed_since=..., calendar='daily')
COPY (
SELECT o."id", o."equity_balance", o."currency", o."deleted_at" IS NOT NULL, before."snapshot_date", before."equity_balance", before."cumulative_pnl", before."cumulative_realized_pnl", before."cumulative_capital_flow", first."snapshot_date", first."equity_balance", first."daily_pnl", first."daily_capital_flow", last."snapshot_date", last."equity_balance", last."cumulative_pnl", last."cumulative_realized_pnl", last."cumulative_capital_flow" FROM "public"."portfolios" AS o 
LEFT JOIN LATERAL (
    SELECT s."snapshot_date", s."equity_balance", s."cumulative_pnl",
        s."cumulative_realized_pnl", s."cumulative_capital_flow"
    FROM "public"."portfolio_snapshots" AS s WHERE s."portfolio_id" = o."id" AND s."snapshot_date" < '<day>'::date AND s."is_complete" AND s."equity_balance" < 'Infinity'::numeric AND s."equity_balance" > '-Infinity'::numeric AND s."snapshot_date" BETWEEN '<day>'::date AND '<day>'::date
    ORDER BY s."snapshot_date" DESC LIMIT 1) AS before ON true
LEFT JOIN LATERAL (
    SELECT s."snapshot_date", s."equity_balance", s."daily_pnl", s."daily_capital_flow"
    FROM "public"."portfolio_snapshots" AS s WHERE s."portfolio_id" = o."id" AND s."snapshot_date" >= '<day>'::date AND s."is_complete" AND s."equity_balance" < 'Infinity'::numeric AND s."equity_balance" > '-Infinity'::numeric AND s."snapshot_date" BETWEEN '<day>'::date AND '<day>'::date
    ORDER BY s."snapshot_date" ASC LIMIT 1) AS first ON true
LEFT JOIN LATERAL (
    SELECT s."snapshot_date", s."equity_balance", s."cumulative_pnl",
        s."cumulative_realized_pnl", s."cumulative_capital_flow"
    FROM "public"."portfolio_snapshots" AS s WHERE first."snapshot_date" IS NOT NULL AND s."portfolio_id" = o."id"
        AND s."snapshot_date" >= '<day>'::date AND s."is_complete" AND s."equity_balance" < 'Infinity'::numeric AND s."equity_balance" > '-Infinity'::numeric AND s."snapshot_date" BETWEEN '<day>'::date AND '<day>'::date
    ORDER BY s."snapshot_date" DESC LIMIT 1) AS last ON true
WHERE false
) TO STDOUT (FORMAT binary);

-- run_batch(changed_since=..., calendar='prices')
-- performance(periods='YTD', calendar='prices')
COPY (
SELECT DISTINCT m."date" FROM "public"."market_data_cache" AS m WHERE m."close" > 0 AND m."close" < 'Infinity'::numeric AND m."close" > '-Infinity'::numeric  AND m."date" BETWEEN '<day>'::date AND '<day>'::date
) TO STDOUT (FORMAT binary);

-- run_batch(missing=True, on_existing='replace')
-- run_batch('inception', on_existing='replace')
COPY (
SELECT o."id", o."equity_balance", o."currency", o."deleted_at" IS NOT NULL, before."snapshot_date", before."equity_balance", before."cumulative_pnl", before."cumulative_realized_pnl", before."cumulative_capital_flow", first."snapshot_date", first."equity_balance", first."daily_pnl", first."daily_capital_flow", last."snapshot_date", last."equity_balance", last."cumulative_pnl", last."cumulative_realized_pnl", last."cumulative_capital_flow" FROM "public"."portfolios" AS o LEFT JOIN unnest('<ids>'::uuid[], '<days>'::date[]) AS own(id, day) ON own.id = o."id"
LEFT JOIN LATERAL (
    SELECT s."snapshot_date", s."equity_balance", s."cumulative_pnl",
        s."cumulative_realized_pnl", s."cumulative_capital_flow"
    FROM "public"."portfolio_snapshots" AS s WHERE s."portfolio_id" = o."id" AND s."snapshot_date" < COALESCE(own.day, '<day>'::date) AND s."is_complete" AND s."equity_balance" < 'Infinity'::numeric AND s."equity_balance" > '-Infinity'::numeric AND CASE WHEN s."snapshot_date" BETWEEN '<day>'::date AND '<day>'::date THEN get_bit(<bits>, s."snapshot_date" - '<day>'::date) = 1 ELSE false END
    ORDER BY s."snapshot_date" DESC LIMIT 1) AS before ON true
LEFT JOIN LATERAL (
    SELECT s."snapshot_date", s."equity_balance", s."daily_pnl", s."daily_capital_flow"
    FROM "public"."portfolio_snapshots" AS s WHERE s."portfolio_id" = o."id" AND s."snapshot_date" >= COALESCE(own.day, '<day>'::date) AND s."is_complete" AND s."equity_balance" < 'Infinity'::numeric AND s."equity_balance" > '-Infinity'::numeric AND CASE WHEN s."snapshot_date" BETWEEN '<day>'::date AND '<day>'::date THEN get_bit(<bits>, s."snapshot_date" - '<day>'::date) = 1 ELSE false END
    ORDER BY s."snapshot_date" ASC LIMIT 1) AS first ON true
LEFT JOIN LATERAL (
    SELECT s."snapshot_date", s."equity_balance", s."cumulative_pnl",
        s."cumulative_realized_pnl", s."cumulative_capital_flow"
    FROM "public"."portfolio_snapshots" AS s WHERE first."snapshot_date" IS NOT NULL AND s."portfolio_id" = o."id"
        AND s."snapshot_date" >= COALESCE(own.day, '<day>'::date) AND s."is_complete" AND s."equity_balance" < 'Infinity'::numeric AND s."equity_balance" > '-Infinity'::numeric AND CASE WHEN s."snapshot_date" BETWEEN '<day>'::date AND '<day>'::date THEN get_bit(<bits>, s."snapshot_date" - '<day>'::date) = 1 ELSE false END
    ORDER BY s."snapshot_date" DESC LIMIT 1) AS last ON true
WHERE o."deleted_at" IS NULL
) TO STDOUT (FORMAT binary);

-- run_batch(missing=True, on_existing='replace')
-- run_batch('inception', on_existing='replace')
-- run_batch(schema with fx, currency of positions, changed_since=...)
-- run_batch(schema with fx, currency of company_profiles, changed_since=...)
-- repair()
WITH entry AS (INSERT INTO "public"."batchcore_run_chunks" (run_id, chunk, attempt, first_portfolio, last_portfolio,
    first_session, last_session, sessions, rows_written, sha256, committed_at)
    VALUES (<values>)
    RETURNING run_id)
UPDATE "public"."batchcore_runs" SET chunks = chunks + <value>, rows_written = rows_written + <value>,
    failed = failed + <value>, snapshot_id = <value>, lsn = <value>,
    start_date = NULL, end_date = '<day>'::date,
    portfolios = <value>
FROM entry WHERE id = '<id>' AND token = <value> AND state = 'running';

-- run_batch(missing=True, on_existing='replace')
-- run_batch('inception', on_existing='replace')
-- run_batch(settings=Settings(shard=(1, 2)))
-- run_batch(schema with price_sources)
-- run_batch(schema with splits)
-- run_batch(schema with fx, currency of positions)
-- run_batch(schema with fx, currency of company_profiles)
COPY "pg_temp"."batchcore_staged_portfolio_snapshots" (
    "portfolio_id", "snapshot_date", "total_value", "cash_value", "long_value", "short_value", "gross_exposure", "net_exposure", "equity_balance", "daily_pnl", "cumulative_pnl", "daily_realized_pnl", "cumulative_realized_pnl", "daily_capital_flow", "cumulative_capital_flow", "daily_return", "num_positions", "num_long_positions", "num_short_positions", "is_complete"
) FROM STDIN (FORMAT binary);

-- run_batch(missing=True, on_existing='replace')
-- run_batch('inception', on_existing='replace')
-- run_batch(settings=Settings(shard=(1, 2)))
-- run_batch(schema with price_sources)
-- run_batch(schema with splits)
-- run_batch(schema with fx, currency of positions)
-- run_batch(schema with fx, currency of company_profiles)
DROP TABLE IF EXISTS pg_temp.batchcore_staged_portfolio_snapshots;
CREATE TEMP TABLE batchcore_staged_portfolio_snapshots ON COMMIT DROP AS SELECT "portfolio_id" AS "portfolio_id", "snapshot_date" AS "snapshot_date", "total_value" AS "total_value", "cash_value" AS "cash_value", "long_value" AS "long_value", "short_value" AS "short_value", "gross_exposure" AS "gross_exposure", "net_exposure" AS "net_exposure", "equity_balance" AS "equity_balance", "daily_pnl" AS "daily_pnl", "cumulative_pnl" AS "cumulative_pnl", "daily_realized_pnl" AS "daily_realized_pnl", "cumulative_realized_pnl" AS "cumulative_realized_pnl", "daily_capital_flow" AS "daily_capital_flow", "cumulative_capital_flow" AS "cumulative_capital_flow", "daily_return" AS "daily_return", "num_positions" AS "num_positions", "num_long_positions" AS "num_long_positions", "num_short_positions" AS "num_short_positions", "is_complete" AS "is_complete" FROM "public"."portfolio_snapshots" WITH NO DATA;

-- run_batch(missing=True, on_existing='replace')
-- run_batch('inception', on_existing='replace')
-- run_batch(settings=Settings(shard=(1, 2)))
-- run_batch(schema with price_sources)
-- run_batch(schema with splits)
-- run_batch(schema with fx, currency of positions)
-- run_batch(schema with fx, currency of company_profiles)
UPDATE "public"."portfolio_snapshots" AS own SET "total_value" = staged."total_value", "cash_value" = staged."cash_value", "long_value" = staged."long_value", "short_value" = staged."short_value", "gross_exposure" = staged."gross_exposure", "net_exposure" = staged."net_exposure", "equity_balance" = staged."equity_balance", "daily_pnl" = staged."daily_pnl", "cumulative_pnl" = staged."cumulative_pnl", "daily_realized_pnl" = staged."daily_realized_pnl", "cumulative_realized_pnl" = staged."cumulative_realized_pnl", "daily_capital_flow" = staged."daily_capital_flow", "cumulative_capital_flow" = staged."cumulative_capital_flow", "daily_return" = staged."daily_return", "num_positions" = staged."num_positions", "num_long_positions" = staged."num_long_positions", "num_short_positions" = staged."num_short_positions", "is_complete" = staged."is_complete" FROM pg_temp.batchcore_staged_portfolio_snapshots AS staged WHERE own."portfolio_id" = staged."portfolio_id" AND own."snapshot_date" = staged."snapshot_date" AND own."portfolio_id" BETWEEN '<id>'::uuid AND '<id>'::uuid;

-- run_batch(missing=True, on_existing='skip')
-- run_batch('inception', on_existing='replace')
-- run_batch(schema with price_sources)
-- run_batch(schema with fx, currency of positions, changed_since=...)
-- run_batch(schema with fx, currency of company_profiles, changed_since=...)
COPY "public"."batchcore_run_issues" (
    "run_id", "chunk", "portfolio_id", "name", "failed", "count", "symbol", "session", "detail"
) FROM STDIN (FORMAT binary);

-- run_batch(missing=True, on_existing='skip')
-- run_batch(missing=True, on_existing='replace')
COPY (
WITH c(portfolio, day, following) AS (
    SELECT s."portfolio_id", s."snapshot_date",
        lead(s."snapshot_date") OVER (PARTITION BY s."portfolio_id" ORDER BY s."snapshot_date")
    FROM "public"."portfolio_snapshots" AS s WHERE true  AND s."is_complete" AND s."equity_balance" < 'Infinity'::numeric AND s."equity_balance" > '-Infinity'::numeric AND CASE WHEN s."snapshot_date" BETWEEN '<day>'::date AND '<day>'::date THEN get_bit(<bits>, s."snapshot_date" - '<day>'::date) = 1 ELSE false END),
sessions(day, place) AS (SELECT '<day>'::date + i, row_number() OVER (ORDER BY i) - 1
FROM generate_series(0, 12963) AS i WHERE get_bit(<bits>, i) <> 0)
SELECT c.portfolio, min(c.day),
    min(beyond.day) FILTER (WHERE c.following IS NOT NULL AND COALESCE(next.place, (SELECT count(*) FROM sessions)) - own.place - 1 > 0),
    COALESCE(sum(COALESCE(next.place, (SELECT count(*) FROM sessions)) - own.place - 1) FILTER (WHERE c.following IS NOT NULL AND COALESCE(next.place, (SELECT count(*) FROM sessions)) - own.place - 1 > 0), 0)::int8
FROM c JOIN sessions AS own ON own.day = c.day
LEFT JOIN sessions AS next ON next.day = c.following
LEFT JOIN sessions AS beyond ON beyond.place = own.place + 1
GROUP BY c.portfolio
) TO STDOUT (FORMAT binary);

-- run_batch(policy='legacy', on_existing='replace')
COPY "pg_temp"."batchcore_staged_portfolio_snapshots" (
    "portfolio_id", "snapshot_date", "total_value", "cash_value", "long_value", "short_value", "gross_exposure", "net_exposure", "equity_balance", "daily_pnl", "cumulative_pnl", "daily_realized_pnl", "cumulative_realized_pnl", "daily_capital_flow", "cumulative_capital_flow", "daily_return", "num_positions", "num_long_positions", "num_short_positions", "is_complete", "portfolio_delta", "portfolio_gamma", "portfolio_theta", "portfolio_vega", "beta_provider_1y", "hhi", "top_3_concentration", "top_10_concentration", "effective_num_positions", "sector_exposure"
) FROM STDIN (FORMAT binary);

-- run_batch(policy='legacy', on_existing='replace')
COPY (
SELECT EXISTS (SELECT FROM "public"."benchmarks_sector_weights" AS w WHERE w."benchmark_code" = 'SP500')
) TO STDOUT (FORMAT binary);

-- run_batch(policy='legacy', on_existing='replace')
COPY (
SELECT s."portfolio_id", s."snapshot_date", s."equity_balance", s."cumulative_pnl", s."cumulative_realized_pnl", s."cumulative_capital_flow", s."is_complete" IS TRUE FROM "public"."portfolio_snapshots" AS s
WHERE s."portfolio_id" BETWEEN '<id>'::uuid AND '<id>'::uuid AND s."snapshot_date" BETWEEN '<day>'::date AND '<day>'::date

UNION ALL
SELECT earlier.* FROM "public"."portfolios" AS o CROSS JOIN LATERAL (
    SELECT s."portfolio_id", s."snapshot_date", s."equity_balance", s."cumulative_pnl", s."cumulative_realized_pnl", s."cumulative_capital_flow", s."is_complete" IS TRUE FROM "public"."portfolio_snapshots" AS s
    WHERE s."portfolio_id" = o."id" AND s."snapshot_date" < '<day>'::date AND isfinite(s."snapshot_date") ORDER BY s."snapshot_date" DESC LIMIT 1) AS earlier
WHERE o."id" BETWEEN '<id>'::uuid AND '<id>'::uuid
) TO STDOUT (FORMAT binary);

-- run_batch(policy='legacy', on_existing='replace')
DROP TABLE IF EXISTS pg_temp.batchcore_staged_portfolio_snapshots;
CREATE TEMP TABLE batchcore_staged_portfolio_snapshots ON COMMIT DROP AS SELECT "portfolio_id" AS "portfolio_id", "snapshot_date" AS "snapshot_date", "total_value" AS "total_value", "cash_value" AS "cash_value", "long_value" AS "long_value", "short_value" AS "short_value", "gross_exposure" AS "gross_exposure", "net_exposure" AS "net_exposure", "equity_balance" AS "equity_balance", "daily_pnl" AS "daily_pnl", "cumulative_pnl" AS "cumulative_pnl", "daily_realized_pnl" AS "daily_realized_pnl", "cumulative_realized_pnl" AS "cumulative_realized_pnl", "daily_capital_flow" AS "daily_capital_flow", "cumulative_capital_flow" AS "cumulative_capital_flow", "daily_return" AS "daily_return", "num_positions" AS "num_positions", "num_long_positions" AS "num_long_positions", "num_short_positions" AS "num_short_positions", "is_complete" AS "is_complete", "portfolio_delta" AS "portfolio_delta", "portfolio_gamma" AS "portfolio_gamma", "portfolio_theta" AS "portfolio_theta", "portfolio_vega" AS "portfolio_vega", "beta_provider_1y" AS "beta_provider_1y", "hhi" AS "hhi", "top_3_concentration" AS "top_3_concentration", "top_10_concentration" AS "top_10_concentration", "effective_num_positions" AS "effective_num_positions", "sector_exposure" AS "sector_exposure" FROM "public"."portfolio_snapshots" WITH NO DATA;

-- run_batch(policy='legacy', on_existing='replace')
UPDATE "public"."portfolio_snapshots" AS own SET "total_value" = staged."total_value", "cash_value" = staged."cash_value", "long_value" = staged."long_value", "short_value" = staged."short_value", "gross_exposure" = staged."gross_exposure", "net_exposure" = staged."net_exposure", "equity_balance" = staged."equity_balance", "daily_pnl" = staged."daily_pnl", "cumulative_pnl" = staged."cumulative_pnl", "daily_realized_pnl" = staged."daily_realized_pnl", "cumulative_realized_pnl" = staged."cumulative_realized_pnl", "daily_capital_flow" = staged."daily_capital_flow", "cumulative_capital_flow" = staged."cumulative_capital_flow", "daily_return" = staged."daily_return", "num_positions" = staged."num_positions", "num_long_positions" = staged."num_long_positions", "num_short_positions" = staged."num_short_positions", "is_complete" = staged."is_complete", "portfolio_delta" = staged."portfolio_delta", "portfolio_gamma" = staged."portfolio_gamma", "portfolio_theta" = staged."portfolio_theta", "portfolio_vega" = staged."portfolio_vega", "beta_provider_1y" = staged."beta_provider_1y", "hhi" = staged."hhi", "top_3_concentration" = staged."top_3_concentration", "top_10_concentration" = staged."top_10_concentration", "effective_num_positions" = staged."effective_num_positions", "sector_exposure" = staged."sector_exposure", "beta_calculated_90d" = NULL, "beta_calculated_90d_r_squared" = NULL, "beta_portfolio_regression" = NULL, "realized_volatility_21d" = NULL, "realized_volatility_63d" = NULL, "expected_volatility_21d" = NULL, "volatility_percentile" = NULL, "beta_calculated_90d_observations" = NULL, "volatility_trend" = NULL, "target_price_return_eoy" = NULL, "target_price_return_next_year" = NULL, "target_price_downside_return" = NULL, "target_price_upside_eoy" = NULL, "target_price_upside_next_year" = NULL, "target_price_downside" = NULL, "target_price_num_positions" = NULL, "target_price_num_covered" = NULL, "target_price_coverage" = NULL, "target_price_updated_at" = NULL FROM pg_temp.batchcore_staged_portfolio_snapshots AS staged WHERE own."portfolio_id" = staged."portfolio_id" AND own."snapshot_date" = staged."snapshot_date" AND own."portfolio_id" BETWEEN '<id>'::uuid AND '<id>'::uuid;

-- run_batch(policy='legacy', on_existing='replace')
-- verify(policy='legacy', fast=True)
COPY (
SELECT p."id", newest."beta", newest."calc_date" FROM "public"."positions" AS p
CROSS JOIN LATERAL (
    SELECT b."calc_date", b."beta" FROM "public"."position_market_betas" AS b
    WHERE b."portfolio_id" = p."portfolio_id" AND b."position_id" = p."id"
        AND b."calc_date" IS NOT NULL
    ORDER BY b."calc_date" DESC FETCH FIRST 1 ROW WITH TIES) AS newest
WHERE p."deleted_at" IS NULL AND p."exit_date" IS NULL
    AND p."position_type"::text IN ('LONG', 'SHORT')
    AND p."investment_class"::text = 'PUBLIC' AND p."market_value" <> 0
    AND p."portfolio_id" BETWEEN '<id>'::uuid AND '<id>'::uuid AND NOT EXISTS (
    SELECT FROM "public"."company_profiles" AS c WHERE c."symbol"::text = p."symbol"::text COLLATE "C"
        AND (c."beta" > 0 OR c."beta" < 0))
) TO STDOUT (FORMAT binary);

-- run_batch(policy='legacy', on_existing='replace')
-- verify(policy='legacy', fast=True)
-- explain(db, session=..., policy='legacy')
-- the page of a night
COPY (
SELECT DISTINCT c."symbol"::text, c."beta", c."sector", c."is_etf" IS TRUE FROM "public"."company_profiles" AS c WHERE c."symbol" = ANY('<texts>')
) TO STDOUT (FORMAT binary);

-- run_batch(policy='legacy', on_existing='replace')
-- verify(policy='legacy', fast=True)
-- explain(db, session=..., policy='legacy')
-- the page of a night
COPY (
SELECT p."id", p."portfolio_id", p."symbol", p."position_type", p."quantity", p."entry_price", p."entry_date", p."exit_date", p."investment_class", p."market_value", p."last_price", p."deleted_at" IS NOT NULL FROM "public"."positions" AS p WHERE p."portfolio_id" BETWEEN '<id>'::uuid AND '<id>'::uuid
) TO STDOUT (FORMAT binary);

-- run_batch(policy='legacy', on_existing='replace')
-- verify(policy='legacy', fast=True)
-- explain(db, session=..., policy='legacy')
-- the page of a night
COPY (
SELECT wanted.symbol, earlier.day, earlier.close
FROM unnest('<texts>'::text[]) AS wanted(symbol)
CROSS JOIN LATERAL (
    SELECT m."date", m."close" FROM "public"."market_data_cache" AS m
    WHERE m."symbol" = wanted.symbol AND m."date" < '<day>'::date AND isfinite(m."date")
        AND m."close" < 'Infinity'::numeric AND m."close" > '-Infinity'::numeric 
    ORDER BY m."date" DESC LIMIT 1) AS earlier(day, close)
) TO STDOUT (FORMAT binary);

-- run_batch(policy='legacy', on_existing='skip')
-- run_batch(policy='legacy', on_existing='replace')
COPY (
SELECT o."id", o."name", o."equity_balance", o."currency", o."deleted_at" IS NOT NULL, (SELECT s."snapshot_date" FROM "public"."portfolio_snapshots" AS s WHERE s."portfolio_id" = o."id" AND s."is_complete"
    AND isfinite(s."snapshot_date") ORDER BY s."snapshot_date" DESC LIMIT 1), rows.first, COALESCE(rows.count, 0)::int8 FROM "public"."portfolios" AS o
LEFT JOIN (
    SELECT s."portfolio_id", min(s."snapshot_date"), count(*) FROM "public"."portfolio_snapshots" AS s
    WHERE s."is_complete" AND s."snapshot_date" = ANY('<days>'::date[])
        AND true
    GROUP BY s."portfolio_id") AS rows(id, first, count) ON rows.id = o."id"
WHERE o."deleted_at" IS NULL
) TO STDOUT (FORMAT binary);

-- run_batch(schema with fx, currency of company_profiles)
-- run_batch(schema with fx, currency of company_profiles, changed_since=...)
-- run_batch(schema with fx, currency of company_profiles, settings=Settings(dry_run=True))
COPY (
SELECT c."symbol"::text, c."quoted_in"::text FROM "public"."company_profiles" AS c WHERE c."symbol" IS NOT NULL
) TO STDOUT (FORMAT binary);

-- run_batch(schema with fx, currency of company_profiles, changed_since=...)
COPY (
SELECT p."portfolio_id", o."currency"::text, p."symbol"::text, p."entry_date", GREATEST(CASE WHEN p."quantity" > 0 OR p."quantity" < 0
    THEN COALESCE(p."exit_date", CASE WHEN p."position_type"::text IN ('LC', 'LP', 'SC', 'SP') THEN p."expiration_date" END, 'infinity') END, events.last)
FROM "public"."positions" AS p JOIN "public"."portfolios" AS o ON o."id" = p."portfolio_id"
LEFT JOIN (SELECT e."position_id", max(e."trade_date") FROM "public"."position_realized_events" AS e
WHERE isfinite(e."trade_date") AND e."quantity_closed" > 0 AND e."quantity_closed" < 'Infinity'::numeric AND e."quantity_closed" > '-Infinity'::numeric
GROUP BY e."position_id") AS events(id, last) ON events.id = p."id"
WHERE p."deleted_at" IS NULL AND p."entry_date" BETWEEN '<day>'::date AND '<day>'::date AND p."symbol" IS NOT NULL AND p."portfolio_id" IN (SELECT o."id" FROM "public"."portfolios" AS o WHERE o."deleted_at" IS NULL)
) TO STDOUT (FORMAT binary);

-- run_batch(schema with fx, currency of company_profiles, settings=Settings(dry_run=True))
COPY (
SELECT DISTINCT o."currency"::text, p."symbol"::text, p."entry_date"
FROM "public"."positions" AS p JOIN "public"."portfolios" AS o ON o."id" = p."portfolio_id"
WHERE p."deleted_at" IS NULL AND p."entry_date" BETWEEN '<day>'::date AND '<day>'::date AND p."symbol" IS NOT NULL AND o."deleted_at" IS NULL
) TO STDOUT (FORMAT binary);

-- run_batch(schema with fx, currency of positions)
-- run_batch(schema with fx, currency of positions, changed_since=...)
-- run_batch(schema with fx, currency of positions, settings=Settings(dry_run=True))
-- run_batch(schema with fx, currency of company_profiles)
-- run_batch(schema with fx, currency of company_profiles, changed_since=...)
-- run_batch(schema with fx, currency of company_profiles, settings=Settings(dry_run=True))
-- verify(schema with fx, fast=False)
-- verify(schema with fx, fast=True)
COPY (
SELECT v."base"::text, v."quote"::text, v."date", v."rate" FROM "public"."fx_rates" AS v WHERE v."date" <= '<day>'::date AND upper(btrim(v."base"::text COLLATE "C", ' ')) = ANY('<texts>'::text[])
    AND upper(btrim(v."quote"::text COLLATE "C", ' ')) = ANY('<texts>'::text[])
) TO STDOUT (FORMAT binary);

-- run_batch(schema with fx, currency of positions)
-- verify(schema with fx, fast=False)
-- verify(schema with fx, fast=True)
COPY (
SELECT p."id", p."portfolio_id", p."symbol", p."position_type", p."quantity", p."entry_price", p."entry_date", p."exit_date", p."investment_class", p."market_value", p."exit_price", p."expiration_date", p."currency"::text FROM "public"."positions" AS p WHERE p."deleted_at" IS NULL AND p."portfolio_id" BETWEEN '<id>'::uuid AND '<id>'::uuid
) TO STDOUT (FORMAT binary);

-- run_batch(schema with fx, currency of positions, changed_since=...)
COPY (
SELECT p."id", p."portfolio_id", p."symbol", p."position_type", p."quantity", p."entry_price", p."entry_date", p."exit_date", p."investment_class", p."market_value", p."exit_price", p."expiration_date", p."currency"::text FROM "public"."positions" AS p WHERE p."deleted_at" IS NULL AND p."portfolio_id" = ANY('<ids>'::uuid[])
) TO STDOUT (FORMAT binary);

-- run_batch(schema with fx, currency of positions, changed_since=...)
COPY (
SELECT p."portfolio_id", o."currency"::text, p."currency"::text, p."entry_date", GREATEST(CASE WHEN p."quantity" > 0 OR p."quantity" < 0
    THEN COALESCE(p."exit_date", CASE WHEN p."position_type"::text IN ('LC', 'LP', 'SC', 'SP') THEN p."expiration_date" END, 'infinity') END, events.last)
FROM "public"."positions" AS p JOIN "public"."portfolios" AS o ON o."id" = p."portfolio_id"
LEFT JOIN (SELECT e."position_id", max(e."trade_date") FROM "public"."position_realized_events" AS e
WHERE isfinite(e."trade_date") AND e."quantity_closed" > 0 AND e."quantity_closed" < 'Infinity'::numeric AND e."quantity_closed" > '-Infinity'::numeric
GROUP BY e."position_id") AS events(id, last) ON events.id = p."id"
WHERE p."deleted_at" IS NULL AND p."entry_date" BETWEEN '<day>'::date AND '<day>'::date AND p."currency" IS NOT NULL AND p."portfolio_id" IN (SELECT o."id" FROM "public"."portfolios" AS o WHERE o."deleted_at" IS NULL)
) TO STDOUT (FORMAT binary);

-- run_batch(schema with fx, currency of positions, changed_since=...)
-- run_batch(schema with fx, currency of company_profiles, changed_since=...)
COPY (
SELECT DISTINCT v."base"::text, v."quote"::text, v."date" FROM "public"."fx_rates" AS v
WHERE v."updated_at" >= '2026-01-01T00:00:00+00:00'::timestamptz AND v."date" BETWEEN '<day>'::date AND '<day>'::date
    AND v."base" IS NOT NULL AND v."quote" IS NOT NULL
) TO STDOUT (FORMAT binary);

-- run_batch(schema with fx, currency of positions, changed_since=...)
-- run_batch(schema with fx, currency of company_profiles, changed_since=...)
COPY (
SELECT o."id", o."equity_balance", o."currency", o."deleted_at" IS NOT NULL, before."snapshot_date", before."equity_balance", before."cumulative_pnl", before."cumulative_realized_pnl", before."cumulative_capital_flow", first."snapshot_date", first."equity_balance", first."daily_pnl", first."daily_capital_flow", last."snapshot_date", last."equity_balance", last."cumulative_pnl", last."cumulative_realized_pnl", last."cumulative_capital_flow" FROM "public"."portfolios" AS o LEFT JOIN unnest('<ids>'::uuid[], '<days>'::date[]) AS own(id, day) ON own.id = o."id"
LEFT JOIN LATERAL (
    SELECT s."snapshot_date", s."equity_balance", s."cumulative_pnl",
        s."cumulative_realized_pnl", s."cumulative_capital_flow"
    FROM "public"."portfolio_snapshots" AS s WHERE s."portfolio_id" = o."id" AND s."snapshot_date" < COALESCE(own.day, '<day>'::date) AND s."is_complete" AND s."equity_balance" < 'Infinity'::numeric AND s."equity_balance" > '-Infinity'::numeric AND CASE WHEN s."snapshot_date" BETWEEN '<day>'::date AND '<day>'::date THEN get_bit(<bits>, s."snapshot_date" - '<day>'::date) = 1 ELSE false END
    ORDER BY s."snapshot_date" DESC LIMIT 1) AS before ON true
LEFT JOIN LATERAL (
    SELECT s."snapshot_date", s."equity_balance", s."daily_pnl", s."daily_capital_flow"
    FROM "public"."portfolio_snapshots" AS s WHERE s."portfolio_id" = o."id" AND s."snapshot_date" >= COALESCE(own.day, '<day>'::date) AND s."is_complete" AND s."equity_balance" < 'Infinity'::numeric AND s."equity_balance" > '-Infinity'::numeric AND CASE WHEN s."snapshot_date" BETWEEN '<day>'::date AND '<day>'::date THEN get_bit(<bits>, s."snapshot_date" - '<day>'::date) = 1 ELSE false END
    ORDER BY s."snapshot_date" ASC LIMIT 1) AS first ON true
LEFT JOIN LATERAL (
    SELECT s."snapshot_date", s."equity_balance", s."cumulative_pnl",
        s."cumulative_realized_pnl", s."cumulative_capital_flow"
    FROM "public"."portfolio_snapshots" AS s WHERE first."snapshot_date" IS NOT NULL AND s."portfolio_id" = o."id"
        AND s."snapshot_date" >= COALESCE(own.day, '<day>'::date) AND s."is_complete" AND s."equity_balance" < 'Infinity'::numeric AND s."equity_balance" > '-Infinity'::numeric AND CASE WHEN s."snapshot_date" BETWEEN '<day>'::date AND '<day>'::date THEN get_bit(<bits>, s."snapshot_date" - '<day>'::date) = 1 ELSE false END
    ORDER BY s."snapshot_date" DESC LIMIT 1) AS last ON true
WHERE o."id" = ANY('<ids>'::uuid[])
) TO STDOUT (FORMAT binary);

-- run_batch(schema with fx, currency of positions, changed_since=...)
-- run_batch(schema with fx, currency of company_profiles, changed_since=...)
-- explain(db, [portfolio], session, since=...)
-- the page of a portfolio
COPY (
SELECT DISTINCT p."symbol" FROM "public"."positions" AS p
WHERE p."deleted_at" IS NULL AND p."symbol" IS NOT NULL AND p."symbol" <> '' AND p."portfolio_id" = ANY('<ids>'::uuid[])
) TO STDOUT (FORMAT binary);

-- run_batch(schema with fx, currency of positions, settings=Settings(dry_run=True))
COPY (
SELECT DISTINCT o."currency"::text, p."currency"::text, p."entry_date"
FROM "public"."positions" AS p JOIN "public"."portfolios" AS o ON o."id" = p."portfolio_id"
WHERE p."deleted_at" IS NULL AND p."entry_date" BETWEEN '<day>'::date AND '<day>'::date AND p."currency" IS NOT NULL AND o."deleted_at" IS NULL
) TO STDOUT (FORMAT binary);

-- run_batch(schema with price_sources)
COPY (
SELECT m."symbol", m."date", m."close", array_position('<texts>'::text[], m."data_source"::text) FROM "public"."market_data_cache" AS m
WHERE m."symbol" = ANY('<texts>')
    AND m."date" BETWEEN '<day>'::date AND '<day>'::date AND m."close" < 'Infinity'::numeric AND m."close" > '-Infinity'::numeric AND m."data_source"::text = ANY('<texts>'::text[])
) TO STDOUT (FORMAT binary);

-- run_batch(schema with price_sources)
COPY (
WITH RECURSIVE spelling(symbol) AS (
    (SELECT min(m."symbol") FROM "public"."market_data_cache" AS m)
    UNION ALL
    SELECT (SELECT min(m."symbol") FROM "public"."market_data_cache" AS m WHERE m."symbol" > spelling.symbol)
    FROM spelling WHERE spelling.symbol IS NOT NULL), wanted(symbol, settled) AS (
    SELECT one.symbol, one.normalised = ANY('{}')
    FROM (SELECT symbol, upper(btrim(symbol COLLATE "C", ' ')) AS normalised FROM spelling) AS one
    WHERE one.normalised = ANY('<texts>'))
SELECT wanted.symbol, earlier.day, earlier.close, 0
FROM wanted CROSS JOIN LATERAL (
    (SELECT m."date", m."close" FROM "public"."market_data_cache" AS m
        WHERE m."symbol" = wanted.symbol AND m."date" < '<day>'::date AND m."close" > 0 AND m."close" < 'Infinity'::numeric AND m."close" > '-Infinity'::numeric AND m."data_source"::text = ANY('<texts>'::text[])
        ORDER BY m."date" DESC LIMIT 1)
    UNION ALL
    SELECT * FROM (
        SELECT m."date", m."close" FROM "public"."market_data_cache" AS m
        WHERE m."symbol" = wanted.symbol AND m."date" < '<day>'::date AND m."close" < 'Infinity'::numeric AND m."close" > '-Infinity'::numeric AND m."data_source"::text = ANY('<texts>'::text[])
        ORDER BY m."date" DESC LIMIT 1) AS newest
    WHERE NOT (newest."close" > 0)) AS earlier(day, close)
WHERE NOT wanted.settled
UNION ALL
SELECT m."symbol", m."date", m."close", array_position('<texts>'::text[], m."data_source"::text) FROM "public"."market_data_cache" AS m
WHERE m."symbol" = ANY(ARRAY(
        SELECT wanted.symbol FROM wanted
        WHERE (wanted.symbol = ANY('<texts>')) IS NOT TRUE))
    AND m."date" BETWEEN '<day>'::date AND '<day>'::date AND m."close" < 'Infinity'::numeric AND m."close" > '-Infinity'::numeric AND m."data_source"::text = ANY('<texts>'::text[])
) TO STDOUT (FORMAT binary);

-- run_batch(schema with splits)
-- check_basis(db, symbol)
COPY (
SELECT r."symbol"::text, r."ex_date", r."new"::numeric, r."old"::numeric FROM "public"."stock_splits" AS r WHERE upper(btrim(r."symbol" COLLATE "C", ' ')) = ANY('<texts>')
) TO STDOUT (FORMAT binary);

-- run_batch(schema with splits, changed_since=...)
COPY (
SELECT DISTINCT r."symbol"::text, CASE WHEN r."created_at" >= '2026-01-01T00:00:00+00:00'::timestamptz AND r."updated_at" <= r."created_at" THEN r."ex_date" ELSE '<day>'::date END
FROM "public"."stock_splits" AS r WHERE (r."created_at" >= '2026-01-01T00:00:00+00:00'::timestamptz OR r."updated_at" >= '2026-01-01T00:00:00+00:00'::timestamptz) AND r."symbol" IS NOT NULL
    AND ((r."created_at" >= '2026-01-01T00:00:00+00:00'::timestamptz AND r."updated_at" <= r."created_at") IS NOT TRUE OR r."ex_date" BETWEEN '<day>'::date AND '<day>'::date)
) TO STDOUT (FORMAT binary);

-- run_batch(settings=Settings(dry_run=True))
-- run_batch(schema with fx, currency of positions, settings=Settings(dry_run=True))
-- run_batch(schema with fx, currency of company_profiles, settings=Settings(dry_run=True))
COPY (
SELECT 'equity_changes'::text, EXISTS (
        SELECT FROM pg_trigger AS g JOIN pg_proc AS f ON f.oid = g.tgfoid
        WHERE g.tgrelid = '"public"."equity_changes"'::regclass AND NOT g.tgisinternal
            AND g.tgenabled IN ('O', 'A') AND g.tgtype & 19 = 19
            AND strpos(f.prosrc || encode(g.tgargs, 'escape'), 'updated_at') > 0),
    count(*) FILTER (WHERE t."created_at" < now() - interval '1 day'),
    count(*) FILTER (WHERE t."created_at" < now() - interval '1 day'
        AND t."updated_at" >= now() - interval '1 day')
FROM "public"."equity_changes" AS t TABLESAMPLE SYSTEM (100.000000) UNION ALL SELECT 'market_data_cache'::text, EXISTS (
        SELECT FROM pg_trigger AS g JOIN pg_proc AS f ON f.oid = g.tgfoid
        WHERE g.tgrelid = '"public"."market_data_cache"'::regclass AND NOT g.tgisinternal
            AND g.tgenabled IN ('O', 'A') AND g.tgtype & 19 = 19
            AND strpos(f.prosrc || encode(g.tgargs, 'escape'), 'updated_at') > 0),
    count(*) FILTER (WHERE t."created_at" < now() - interval '1 day'),
    count(*) FILTER (WHERE t."created_at" < now() - interval '1 day'
        AND t."updated_at" >= now() - interval '1 day')
FROM "public"."market_data_cache" AS t TABLESAMPLE SYSTEM (100.000000) UNION ALL SELECT 'positions'::text, EXISTS (
        SELECT FROM pg_trigger AS g JOIN pg_proc AS f ON f.oid = g.tgfoid
        WHERE g.tgrelid = '"public"."positions"'::regclass AND NOT g.tgisinternal
            AND g.tgenabled IN ('O', 'A') AND g.tgtype & 19 = 19
            AND strpos(f.prosrc || encode(g.tgargs, 'escape'), 'updated_at') > 0),
    count(*) FILTER (WHERE t."created_at" < now() - interval '1 day'),
    count(*) FILTER (WHERE t."created_at" < now() - interval '1 day'
        AND t."updated_at" >= now() - interval '1 day')
FROM "public"."positions" AS t TABLESAMPLE SYSTEM (100.000000)
) TO STDOUT (FORMAT binary);

-- run_batch(settings=Settings(dry_run=True))
-- run_batch(schema with fx, currency of positions, settings=Settings(dry_run=True))
-- run_batch(schema with fx, currency of company_profiles, settings=Settings(dry_run=True))
COPY (
SELECT p."portfolio_id", p."symbol", p."entry_date", GREATEST(CASE WHEN p."quantity" > 0 OR p."quantity" < 0
    THEN COALESCE(p."exit_date", CASE WHEN p."position_type"::text IN ('LC', 'LP', 'SC', 'SP') THEN p."expiration_date" END, 'infinity') END, events.last), events.last FROM "public"."positions" AS p
LEFT JOIN (SELECT e."position_id", max(e."trade_date") FROM "public"."position_realized_events" AS e
WHERE isfinite(e."trade_date") AND e."quantity_closed" > 0 AND e."quantity_closed" < 'Infinity'::numeric AND e."quantity_closed" > '-Infinity'::numeric
GROUP BY e."position_id") AS events(id, last) ON events.id = p."id"
WHERE p."deleted_at" IS NULL AND true
    AND p."symbol" = ANY('<texts>')
    AND p."position_type"::text IN ('LC', 'LP', 'SC', 'SP', 'LONG', 'SHORT')
    AND p."quantity" < 'Infinity'::numeric AND p."quantity" > '-Infinity'::numeric AND p."entry_price" < 'Infinity'::numeric AND p."entry_price" > '-Infinity'::numeric AND NOT (p."entry_price" < 0)
    AND isfinite(p."entry_date") AND isfinite(p."exit_date") IS NOT FALSE
    AND isfinite(CASE WHEN p."position_type"::text IN ('LC', 'LP', 'SC', 'SP') THEN p."expiration_date" END) IS NOT FALSE
    AND (p."exit_date" IS NULL OR (p."exit_price" < 'Infinity'::numeric AND p."exit_price" > '-Infinity'::numeric) IS NOT FALSE)
    AND upper(btrim(p."investment_class"::text COLLATE "C", ' ')) IS DISTINCT FROM 'PRIVATE'
) TO STDOUT (FORMAT binary);

-- run_batch(settings=Settings(dry_run=True))
-- run_batch(schema with fx, currency of positions, settings=Settings(dry_run=True))
-- run_batch(schema with fx, currency of company_profiles, settings=Settings(dry_run=True))
-- PnLCalculator().calculate_all_portfolios_pnl(...)
SELECT pg_catalog.clock_timestamp();

-- run_batch(settings=Settings(dry_run=True))
-- run_batch(schema with fx, currency of positions, settings=Settings(dry_run=True))
-- run_batch(schema with fx, currency of company_profiles, settings=Settings(dry_run=True))
-- explain(db)
-- explain(db, session=..., policy='legacy')
SELECT pg_export_snapshot();

-- run_batch(settings=Settings(shard=(1, 2)))
COPY (
SELECT latest."snapshot_date", o."currency", count(*)::int8 FROM "public"."portfolios" AS o LEFT JOIN LATERAL (
    SELECT s."snapshot_date" FROM "public"."portfolio_snapshots" AS s WHERE s."portfolio_id" = o."id" AND s."is_complete" AND s."equity_balance" < 'Infinity'::numeric AND s."equity_balance" > '-Infinity'::numeric AND CASE WHEN s."snapshot_date" BETWEEN '<day>'::date AND '<day>'::date THEN get_bit(<bits>, s."snapshot_date" - '<day>'::date) = 1 ELSE false END
    ORDER BY s."snapshot_date" DESC LIMIT 1) AS latest ON true
WHERE o."deleted_at" IS NULL GROUP BY latest."snapshot_date", o."currency"
) TO STDOUT (FORMAT binary);

-- run_batch(settings=Settings(shard=(1, 2)))
COPY (
SELECT o."id", o."equity_balance", o."currency", o."deleted_at" IS NOT NULL, before."snapshot_date", before."equity_balance", before."cumulative_pnl", before."cumulative_realized_pnl", before."cumulative_capital_flow", first."snapshot_date", first."equity_balance", first."daily_pnl", first."daily_capital_flow", last."snapshot_date", last."equity_balance", last."cumulative_pnl", last."cumulative_realized_pnl", last."cumulative_capital_flow" FROM "public"."portfolios" AS o 
LEFT JOIN LATERAL (
    SELECT s."snapshot_date", s."equity_balance", s."cumulative_pnl",
        s."cumulative_realized_pnl", s."cumulative_capital_flow"
    FROM "public"."portfolio_snapshots" AS s WHERE s."portfolio_id" = o."id" AND s."snapshot_date" < '<day>'::date AND s."is_complete" AND s."equity_balance" < 'Infinity'::numeric AND s."equity_balance" > '-Infinity'::numeric AND CASE WHEN s."snapshot_date" BETWEEN '<day>'::date AND '<day>'::date THEN get_bit(<bits>, s."snapshot_date" - '<day>'::date) = 1 ELSE false END
    ORDER BY s."snapshot_date" DESC LIMIT 1) AS before ON true
LEFT JOIN LATERAL (
    SELECT s."snapshot_date", s."equity_balance", s."daily_pnl", s."daily_capital_flow"
    FROM "public"."portfolio_snapshots" AS s WHERE s."portfolio_id" = o."id" AND s."snapshot_date" >= '<day>'::date AND s."is_complete" AND s."equity_balance" < 'Infinity'::numeric AND s."equity_balance" > '-Infinity'::numeric AND CASE WHEN s."snapshot_date" BETWEEN '<day>'::date AND '<day>'::date THEN get_bit(<bits>, s."snapshot_date" - '<day>'::date) = 1 ELSE false END
    ORDER BY s."snapshot_date" ASC LIMIT 1) AS first ON true
LEFT JOIN LATERAL (
    SELECT s."snapshot_date", s."equity_balance", s."cumulative_pnl",
        s."cumulative_realized_pnl", s."cumulative_capital_flow"
    FROM "public"."portfolio_snapshots" AS s WHERE first."snapshot_date" IS NOT NULL AND s."portfolio_id" = o."id"
        AND s."snapshot_date" >= '<day>'::date AND s."is_complete" AND s."equity_balance" < 'Infinity'::numeric AND s."equity_balance" > '-Infinity'::numeric AND CASE WHEN s."snapshot_date" BETWEEN '<day>'::date AND '<day>'::date THEN get_bit(<bits>, s."snapshot_date" - '<day>'::date) = 1 ELSE false END
    ORDER BY s."snapshot_date" DESC LIMIT 1) AS last ON true
WHERE o."deleted_at" IS NULL AND ('x' || encode(substr(sha256(uuid_send(o."id")), 1, 4), 'hex'))::bit(32)::int8 % 2 = 1 - 1
) TO STDOUT (FORMAT binary);

-- run_batch(settings=Settings(shard=(1, 2)))
COPY (
SELECT o."id", o."equity_balance", o."currency", o."deleted_at" IS NOT NULL, before."snapshot_date", before."equity_balance", before."cumulative_pnl", before."cumulative_realized_pnl", before."cumulative_capital_flow", first."snapshot_date", first."equity_balance", first."daily_pnl", first."daily_capital_flow", last."snapshot_date", last."equity_balance", last."cumulative_pnl", last."cumulative_realized_pnl", last."cumulative_capital_flow" FROM "public"."portfolios" AS o 
LEFT JOIN LATERAL (
    SELECT s."snapshot_date", s."equity_balance", s."cumulative_pnl",
        s."cumulative_realized_pnl", s."cumulative_capital_flow"
    FROM "public"."portfolio_snapshots" AS s WHERE s."portfolio_id" = o."id" AND s."snapshot_date" < '<day>'::date AND s."is_complete" AND s."equity_balance" < 'Infinity'::numeric AND s."equity_balance" > '-Infinity'::numeric AND CASE WHEN s."snapshot_date" BETWEEN '<day>'::date AND '<day>'::date THEN get_bit(<bits>, s."snapshot_date" - '<day>'::date) = 1 ELSE false END
    ORDER BY s."snapshot_date" DESC LIMIT 1) AS before ON true
LEFT JOIN LATERAL (
    SELECT s."snapshot_date", s."equity_balance", s."daily_pnl", s."daily_capital_flow"
    FROM "public"."portfolio_snapshots" AS s WHERE s."portfolio_id" = o."id" AND s."snapshot_date" >= '<day>'::date AND s."is_complete" AND s."equity_balance" < 'Infinity'::numeric AND s."equity_balance" > '-Infinity'::numeric AND CASE WHEN s."snapshot_date" BETWEEN '<day>'::date AND '<day>'::date THEN get_bit(<bits>, s."snapshot_date" - '<day>'::date) = 1 ELSE false END
    ORDER BY s."snapshot_date" ASC LIMIT 1) AS first ON true
LEFT JOIN LATERAL (
    SELECT s."snapshot_date", s."equity_balance", s."cumulative_pnl",
        s."cumulative_realized_pnl", s."cumulative_capital_flow"
    FROM "public"."portfolio_snapshots" AS s WHERE first."snapshot_date" IS NOT NULL AND s."portfolio_id" = o."id"
        AND s."snapshot_date" >= '<day>'::date AND s."is_complete" AND s."equity_balance" < 'Infinity'::numeric AND s."equity_balance" > '-Infinity'::numeric AND CASE WHEN s."snapshot_date" BETWEEN '<day>'::date AND '<day>'::date THEN get_bit(<bits>, s."snapshot_date" - '<day>'::date) = 1 ELSE false END
    ORDER BY s."snapshot_date" DESC LIMIT 1) AS last ON true
WHERE o."deleted_at" IS NULL AND ('x' || encode(substr(sha256(uuid_send(o."id")), 1, 4), 'hex'))::bit(32)::int8 % 2 = 2 - 1
) TO STDOUT (FORMAT binary);

-- run_batch(settings=Settings(shard=(1, 2)))
SELECT COALESCE(sum(latest.failed), 0)::int8
FROM (SELECT DISTINCT ON (s.shard) r.failed FROM "public"."batchcore_run_shards" AS s JOIN "public"."batchcore_runs" AS r ON r.id = s.run_id
    WHERE s.group_id = '<id>'::uuid
        AND s.shard <> (SELECT o.shard FROM "public"."batchcore_run_shards" AS o WHERE o.run_id = '<id>')
    ORDER BY s.shard, r.token DESC) AS latest;

-- run_batch(settings=Settings(shard=(1, 2)))
SELECT s.group_id::text, r.created_at, own.has_shard, own.end_date, now()
FROM "public"."batchcore_runs" AS r JOIN "public"."batchcore_run_shards" AS s ON s.run_id = r.id
CROSS JOIN LATERAL (SELECT bool_or(os.shard = 1) AS has_shard, max(o.end_date) AS end_date
    FROM "public"."batchcore_run_shards" AS os JOIN "public"."batchcore_runs" AS o ON o.id = os.run_id WHERE os.group_id = s.group_id) AS own
WHERE r.fingerprint = '<digest>' AND s.shards = 2
    AND (r.asked ->> 'end' IS NOT NULL
        OR (r.configuration ->> 'today')::date IS NOT DISTINCT FROM NULL)
ORDER BY r.created_at DESC, r.token DESC LIMIT 1;

-- run_batch(settings=Settings(shard=(1, 2)))
SELECT s.group_id::text, r.created_at, own.has_shard, own.end_date, now()
FROM "public"."batchcore_runs" AS r JOIN "public"."batchcore_run_shards" AS s ON s.run_id = r.id
CROSS JOIN LATERAL (SELECT bool_or(os.shard = 2) AS has_shard, max(o.end_date) AS end_date
    FROM "public"."batchcore_run_shards" AS os JOIN "public"."batchcore_runs" AS o ON o.id = os.run_id WHERE os.group_id = s.group_id) AS own
WHERE r.fingerprint = '<digest>' AND s.shards = 2
    AND (r.asked ->> 'end' IS NOT NULL
        OR (r.configuration ->> 'today')::date IS NOT DISTINCT FROM NULL)
ORDER BY r.created_at DESC, r.token DESC LIMIT 1;

-- run_batch(settings=Settings(shard=(1, 2)))
-- run_batch(schema with fx, currency of company_profiles, changed_since=...)
-- explain(db, [portfolio], session, since=...)
-- calculate_portfolio_provider_beta(...)
-- calculate_portfolio_sector_exposure(...)
-- the page of a portfolio
COPY (
SELECT p."id", p."portfolio_id", p."symbol", p."position_type", p."quantity", p."entry_price", p."entry_date", p."exit_date", p."investment_class", p."market_value", p."exit_price", p."expiration_date" FROM "public"."positions" AS p WHERE p."deleted_at" IS NULL AND p."portfolio_id" = ANY('<ids>'::uuid[])
) TO STDOUT (FORMAT binary);

-- run_batch(settings=Settings(shard=(1, 2)))
-- run_batch(schema with fx, currency of positions, changed_since=...)
-- run_batch(schema with fx, currency of company_profiles, changed_since=...)
COPY (
SELECT s."portfolio_id", s."snapshot_date", (s."is_complete" AND s."equity_balance" < 'Infinity'::numeric AND s."equity_balance" > '-Infinity'::numeric AND CASE WHEN s."snapshot_date" BETWEEN '<day>'::date AND '<day>'::date THEN get_bit(<bits>, s."snapshot_date" - '<day>'::date) = 1 ELSE false END) IS TRUE FROM "public"."portfolio_snapshots" AS s
WHERE s."portfolio_id" = ANY('<ids>'::uuid[]) AND s."snapshot_date" BETWEEN '<day>'::date AND '<day>'::date
) TO STDOUT (FORMAT binary);

-- run_batch(settings=Settings(shard=(1, 2)))
-- run_batch(schema with fx, currency of positions, changed_since=...)
-- run_batch(schema with fx, currency of company_profiles, changed_since=...)
-- explain(db, [portfolio], session, since=...)
-- calculate_portfolio_provider_beta(...)
-- calculate_portfolio_sector_exposure(...)
-- the page of a portfolio
COPY (
SELECT e."position_id", p."portfolio_id", e."trade_date", e."quantity_closed", e."realized_pnl" FROM "public"."position_realized_events" AS e JOIN "public"."positions" AS p ON p."id" = e."position_id"
WHERE p."portfolio_id" = ANY('<ids>'::uuid[]) AND p."deleted_at" IS NULL
) TO STDOUT (FORMAT binary);

-- run_batch(settings=Settings(shard=(1, 2)))
-- run_batch(schema with fx, currency of positions, changed_since=...)
-- run_batch(schema with fx, currency of company_profiles, changed_since=...)
-- explain(db, [portfolio], session, since=...)
-- the page of a portfolio
COPY (
SELECT f."portfolio_id", f."amount", f."change_type", f."change_date" FROM "public"."equity_changes" AS f
WHERE f."deleted_at" IS NULL AND f."portfolio_id" = ANY('<ids>'::uuid[])
    AND (f."change_date" BETWEEN '<day>'::date AND '<day>'::date
        OR f."change_date" IS NULL OR NOT isfinite(f."change_date")
        OR f."amount" IS NULL OR NOT (f."amount" < 'Infinity'::numeric AND f."amount" > '-Infinity'::numeric)
        OR f."change_type" IS NULL
        OR f."change_type"::text NOT IN ('CONTRIBUTION', 'WITHDRAWAL'))
) TO STDOUT (FORMAT binary);

-- runs(...)
SELECT chunk, attempt, first_portfolio::text AS first_portfolio,
    last_portfolio::text AS last_portfolio, first_session, last_session, sessions, rows_written,
    sha256, committed_at
FROM "public"."batchcore_run_chunks" WHERE run_id = '<id>' ORDER BY chunk;

-- runs(...)
SELECT name, NULLIF(symbol, '') AS symbol, count, session, detail, attempt FROM "public"."batchcore_run_symbol_issues"
WHERE run_id = '<id>' ORDER BY name, symbol COLLATE "C", attempt;

-- runs(...)
SELECT portfolio_id::text AS portfolio, name, failed, count, symbol, session, detail,
    CASE WHEN chunk >= 0 THEN chunk END AS chunk
FROM "public"."batchcore_run_issues" AS i WHERE i.run_id = ANY ('<texts>') AND (i.chunk >= 0 OR i.chunk = (
    SELECT CASE WHEN r.state IN ('complete', 'incomplete') THEN -r.attempt
        ELSE (SELECT min(o.chunk) FROM "public"."batchcore_run_issues" AS o WHERE o.run_id = i.run_id) END
    FROM "public"."batchcore_runs" AS r WHERE r.id = i.run_id))
ORDER BY portfolio_id, name, chunk;

-- the page of a night
COPY (
SELECT h.symbol, min(h.start), max(h.last)
FROM (SELECT p."symbol", p."entry_date", GREATEST(CASE WHEN p."quantity" > 0 OR p."quantity" < 0
    THEN COALESCE(p."exit_date", CASE WHEN p."position_type"::text IN ('LC', 'LP', 'SC', 'SP') THEN p."expiration_date" END, 'infinity') END, events.last) FROM "public"."positions" AS p
LEFT JOIN (SELECT e."position_id", max(e."trade_date") FROM "public"."position_realized_events" AS e
WHERE isfinite(e."trade_date") AND e."quantity_closed" > 0 AND e."quantity_closed" < 'Infinity'::numeric AND e."quantity_closed" > '-Infinity'::numeric
GROUP BY e."position_id") AS events(id, last) ON events.id = p."id"
WHERE p."deleted_at" IS NULL AND p."portfolio_id" IN (SELECT o."id" FROM "public"."portfolios" AS o WHERE o."deleted_at" IS NULL)
    AND p."symbol" = ANY('<texts>')
    AND p."position_type"::text IN ('LC', 'LP', 'SC', 'SP', 'LONG', 'SHORT')
    AND p."quantity" < 'Infinity'::numeric AND p."quantity" > '-Infinity'::numeric AND p."entry_price" < 'Infinity'::numeric AND p."entry_price" > '-Infinity'::numeric AND NOT (p."entry_price" < 0)
    AND isfinite(p."entry_date") AND isfinite(p."exit_date") IS NOT FALSE
    AND isfinite(CASE WHEN p."position_type"::text IN ('LC', 'LP', 'SC', 'SP') THEN p."expiration_date" END) IS NOT FALSE
    AND (p."exit_date" IS NULL OR (p."exit_price" < 'Infinity'::numeric AND p."exit_price" > '-Infinity'::numeric) IS NOT FALSE)
    AND upper(btrim(p."investment_class"::text COLLATE "C", ' ')) IS DISTINCT FROM 'PRIVATE') AS h(symbol, start, last) WHERE h.last > h.start GROUP BY h.symbol
) TO STDOUT (FORMAT binary);

-- the page of a night
COPY (
SELECT s."portfolio_id", s."daily_return"
FROM "public"."portfolios" AS o JOIN "public"."portfolio_snapshots" AS s ON s."portfolio_id" = o."id" AND s."snapshot_date" = '<day>'::date
WHERE o."deleted_at" IS NULL AND s."is_complete" AND s."equity_balance" < 'Infinity'::numeric AND s."equity_balance" > '-Infinity'::numeric AND CASE WHEN s."snapshot_date" BETWEEN '<day>'::date AND '<day>'::date THEN get_bit(<bits>, s."snapshot_date" - '<day>'::date) = 1 ELSE false END
) TO STDOUT (FORMAT binary);

-- the page of a night
SELECT COALESCE(s.group_id, r.id)::text,
    COALESCE(bool_or('<id>'::uuid IN (r.id, s.group_id)), false)
FROM "public"."batchcore_runs" AS r LEFT JOIN "public"."batchcore_run_shards" AS s ON s.run_id = r.id
GROUP BY COALESCE(s.group_id, r.id) ORDER BY max(r.created_at) DESC, max(r.token) DESC;

-- the page of a night
SELECT count(*) AS portfolios, count(*) FILTER (WHERE s."daily_pnl" < 0) AS losing,
    COALESCE(sum(s."equity_balance"), 0) AS equity, COALESCE(sum(s."daily_pnl"), 0) AS pnl,
    COALESCE(sum(s."daily_capital_flow"), 0) AS flow,
    CASE WHEN min(o."currency") IS NOT DISTINCT FROM max(o."currency")
        THEN COALESCE(min(o."currency")::text, '') END AS currency
FROM "public"."portfolios" AS o JOIN "public"."portfolio_snapshots" AS s ON s."portfolio_id" = o."id" AND s."snapshot_date" = '<day>'::date
WHERE o."deleted_at" IS NULL AND s."is_complete" AND s."equity_balance" < 'Infinity'::numeric AND s."equity_balance" > '-Infinity'::numeric AND CASE WHEN s."snapshot_date" BETWEEN '<day>'::date AND '<day>'::date THEN get_bit(<bits>, s."snapshot_date" - '<day>'::date) = 1 ELSE false END;

-- the page of a night
SELECT min(first_session), max(last_session) FROM "public"."batchcore_run_chunks" WHERE run_id = ANY ('<texts>');

-- the page of a night
SELECT name, sum(count)::int8 AS count, count(DISTINCT portfolio_id) AS portfolios,
    count(DISTINCT portfolio_id) FILTER (WHERE failed) AS failed, count(DISTINCT symbol) AS symbols,
    (array_agg(DISTINCT symbol) FILTER (WHERE symbol IS NOT NULL))[1:3] AS named,
    min(session) AS session, min(detail) AS detail
FROM "public"."batchcore_run_issues" AS i WHERE i.run_id = ANY ('<texts>') AND (i.chunk >= 0 OR i.chunk = (
    SELECT CASE WHEN r.state IN ('complete', 'incomplete') THEN -r.attempt
        ELSE (SELECT min(o.chunk) FROM "public"."batchcore_run_issues" AS o WHERE o.run_id = i.run_id) END
    FROM "public"."batchcore_runs" AS r WHERE r.id = i.run_id))
GROUP BY name
UNION ALL
SELECT name, sum(count)::int8, 0, 0, count(*) FILTER (WHERE symbol <> ''),
    (array_remove(array_agg(symbol ORDER BY count DESC, symbol COLLATE "C"), ''))[1:3],
    min(session), min(detail)
FROM (SELECT DISTINCT ON (i.name, i.symbol) i.name, i.symbol, i.count, i.session, i.detail
    FROM "public"."batchcore_run_symbol_issues" AS i WHERE i.run_id = ANY ('<texts>') AND i.attempt = (
        SELECT max(o.attempt) FROM "public"."batchcore_run_symbol_issues" AS o WHERE o.run_id = i.run_id)
    ORDER BY i.name, i.symbol, i.count DESC, i.session) AS of_symbols
GROUP BY name
ORDER BY failed DESC, count DESC, name;

-- the page of a night
SELECT o."id" AS id, o."name"::text AS name, s."daily_pnl" AS pnl, s."equity_balance" AS equity
FROM "public"."portfolios" AS o LEFT JOIN "public"."portfolio_snapshots" AS s ON s."portfolio_id" = o."id" AND s."snapshot_date" = '<day>'::date
WHERE o."id" = ANY($1);

-- the page of a night
SELECT portfolio_id::text AS portfolio, name, detail, session
FROM (SELECT *, row_number() OVER (PARTITION BY portfolio_id
        ORDER BY name = ANY ('<texts>') DESC, session, name) AS place FROM "public"."batchcore_run_issues" AS i WHERE i.run_id = ANY ('<texts>') AND (i.chunk >= 0 OR i.chunk = (
    SELECT CASE WHEN r.state IN ('complete', 'incomplete') THEN -r.attempt
        ELSE (SELECT min(o.chunk) FROM "public"."batchcore_run_issues" AS o WHERE o.run_id = i.run_id) END
    FROM "public"."batchcore_runs" AS r WHERE r.id = i.run_id))
    AND failed) AS found
WHERE place = 1 ORDER BY portfolio_id LIMIT 20;

-- the page of a night
SELECT portfolio_ids FROM "public"."batchcore_runs" WHERE id = ANY ('<texts>');

-- the page of a portfolio
COPY (
SELECT latest.* FROM unnest('<ids>'::uuid[]) AS w(id) CROSS JOIN LATERAL (
    SELECT s."snapshot_date" FROM "public"."portfolio_snapshots" AS s
    WHERE s."portfolio_id" = w.id AND s."snapshot_date" < '<day>'::date AND s."is_complete" AND s."equity_balance" < 'Infinity'::numeric AND s."equity_balance" > '-Infinity'::numeric AND CASE WHEN s."snapshot_date" BETWEEN '<day>'::date AND '<day>'::date THEN get_bit(<bits>, s."snapshot_date" - '<day>'::date) = 1 ELSE false END ORDER BY s."snapshot_date" DESC LIMIT 1) AS latest
) TO STDOUT (FORMAT binary);

-- the page of a portfolio
COPY (
SELECT s."portfolio_id", s."snapshot_date", s."equity_balance", s."daily_pnl", s."daily_capital_flow" FROM "public"."portfolio_snapshots" AS s
WHERE s."portfolio_id" = ANY('<ids>'::uuid[]) AND s."snapshot_date" BETWEEN '<day>'::date AND '<day>'::date
AND s."is_complete"
) TO STDOUT (FORMAT binary);

-- the page of a portfolio
COPY (
SELECT s."portfolio_id", s."snapshot_date", s."equity_balance", s."daily_pnl", s."daily_capital_flow" FROM "public"."portfolio_snapshots" AS s
WHERE s."portfolio_id" = ANY('<ids>'::uuid[]) AND s."snapshot_date" BETWEEN '<day>'::date AND '<day>'::date
AND s."is_complete"
UNION ALL
SELECT earlier.* FROM "public"."portfolios" AS o CROSS JOIN LATERAL (
    SELECT s."portfolio_id", s."snapshot_date", s."equity_balance", s."daily_pnl", s."daily_capital_flow" FROM "public"."portfolio_snapshots" AS s
    WHERE s."portfolio_id" = o."id" AND s."snapshot_date" < '<day>'::date AND s."is_complete" AND s."equity_balance" < 'Infinity'::numeric AND s."equity_balance" > '-Infinity'::numeric AND CASE WHEN s."snapshot_date" BETWEEN '<day>'::date AND '<day>'::date THEN get_bit(<bits>, s."snapshot_date" - '<day>'::date) = 1 ELSE false END ORDER BY s."snapshot_date" DESC LIMIT 1) AS earlier
WHERE o."id" = ANY('<ids>'::uuid[])
) TO STDOUT (FORMAT binary);

-- the page of a portfolio
SELECT CASE WHEN isfinite(s."snapshot_date") THEN (s."snapshot_date" - DATE '1970-01-01')::bigint WHEN s."snapshot_date" IS NOT NULL THEN <number> END AS day, s."equity_balance" AS equity, s."daily_pnl" AS pnl,
    s."daily_capital_flow" AS flow, s."cumulative_pnl" AS cumulative,
    s."cumulative_realized_pnl" AS realized, s."long_value" AS long, s."short_value" AS short,
    s."net_exposure" AS net, s."top_3_concentration" AS top_3, s."top_10_concentration" AS top_10, s."sector_exposure"::text AS sectors
FROM "public"."portfolio_snapshots" AS s WHERE s."portfolio_id" = $1 AND s."is_complete" AND s."equity_balance" < 'Infinity'::numeric AND s."equity_balance" > '-Infinity'::numeric AND CASE WHEN s."snapshot_date" BETWEEN '<day>'::date AND '<day>'::date THEN get_bit(<bits>, s."snapshot_date" - '<day>'::date) = 1 ELSE false END ORDER BY s."snapshot_date";

-- the page of a portfolio
SELECT o."name"::text AS name, o."currency"::text AS currency FROM "public"."portfolios" AS o WHERE o."id" = $1;

-- verify(fast=False)
SELECT c0, c1, c2, c3, c4, c5, CASE WHEN isfinite(c6) THEN (c6 - DATE '1970-01-01')::bigint WHEN c6 IS NOT NULL THEN <number> END, CASE WHEN isfinite(c7) THEN (c7 - DATE '1970-01-01')::bigint WHEN c7 IS NOT NULL THEN <number> END, c8, c9, c10, CASE WHEN isfinite(c11) THEN (c11 - DATE '1970-01-01')::bigint WHEN c11 IS NOT NULL THEN <number> END FROM (SELECT p."id", p."portfolio_id", p."symbol", p."position_type", p."quantity", p."entry_price", p."entry_date", p."exit_date", p."investment_class", p."market_value", p."exit_price", p."expiration_date" FROM "public"."positions" AS p WHERE p."deleted_at" IS NULL AND p."portfolio_id" = ANY('<ids>'::uuid[])) AS q(c0, c1, c2, c3, c4, c5, c6, c7, c8, c9, c10, c11);

-- verify(fast=False)
-- verify(fast=True)
-- verify(schema with fx, fast=False)
-- verify(schema with fx, fast=True)
COPY (
SELECT 0::int4, p."portfolio_id", p."symbol"::text, CASE WHEN isfinite(p."entry_date") AND isfinite(COALESCE(COALESCE(p."exit_date", CASE WHEN p."position_type"::text IN ('LC', 'LP', 'SC', 'SP') THEN p."expiration_date" END), '2000-01-01')) THEN p."entry_date" ELSE '<day>'::date END, COALESCE(p."exit_date", CASE WHEN p."position_type"::text IN ('LC', 'LP', 'SC', 'SP') THEN p."expiration_date" END),
            (upper(btrim(p."investment_class"::text COLLATE "C", ' ')) = 'PRIVATE') IS TRUE AND p."deleted_at" IS NULL, (p."updated_at" > p."created_at") IS TRUE, COALESCE(CASE WHEN isfinite(GREATEST(p."created_at", p."updated_at", p."deleted_at"))
        THEN LEAST(extract(epoch FROM GREATEST(p."created_at", p."updated_at", p."deleted_at")) * 1000000, '<number>'::numeric)::int8
    WHEN GREATEST(p."created_at", p."updated_at", p."deleted_at") = 'infinity' THEN '<number>'::int8 END, '-<number>'::int8)
        FROM "public"."positions" AS p WHERE p."portfolio_id" BETWEEN '<id>'::uuid AND '<id>'::uuid AND p."symbol" IS NOT NULL UNION ALL SELECT 1::int4, p."portfolio_id", COALESCE(p."symbol"::text, ''), CASE WHEN p."deleted_at" IS NULL THEN CASE WHEN isfinite(p."entry_date") AND isfinite(COALESCE(COALESCE(p."exit_date", CASE WHEN p."position_type"::text IN ('LC', 'LP', 'SC', 'SP') THEN p."expiration_date" END), '2000-01-01')) THEN p."entry_date" ELSE '<day>'::date END ELSE '<day>'::date END,
            e."trade_date", (upper(btrim(p."investment_class"::text COLLATE "C", ' ')) = 'PRIVATE') IS TRUE, false, COALESCE(CASE WHEN isfinite(GREATEST(e."created_at"))
        THEN LEAST(extract(epoch FROM GREATEST(e."created_at")) * 1000000, '<number>'::numeric)::int8
    WHEN GREATEST(e."created_at") = 'infinity' THEN '<number>'::int8 END, '-<number>'::int8)
        FROM "public"."position_realized_events" AS e JOIN "public"."positions" AS p ON p."id" = e."position_id"
        WHERE p."portfolio_id" BETWEEN '<id>'::uuid AND '<id>'::uuid AND isfinite(e."trade_date") AND p."deleted_at" IS NULL UNION ALL SELECT 2::int4, f."portfolio_id", NULL, f."change_date", f."change_date", false,
            (f."updated_at" > f."created_at") IS TRUE, COALESCE(CASE WHEN isfinite(GREATEST(f."created_at", f."updated_at", f."deleted_at"))
        THEN LEAST(extract(epoch FROM GREATEST(f."created_at", f."updated_at", f."deleted_at")) * 1000000, '<number>'::numeric)::int8
    WHEN GREATEST(f."created_at", f."updated_at", f."deleted_at") = 'infinity' THEN '<number>'::int8 END, '-<number>'::int8)
        FROM "public"."equity_changes" AS f WHERE isfinite(f."change_date") AND f."portfolio_id" BETWEEN '<id>'::uuid AND '<id>'::uuid UNION ALL SELECT 3::int4, p."portfolio_id", NULL, CASE WHEN isfinite(p."entry_date") AND isfinite(COALESCE(COALESCE(p."exit_date", CASE WHEN p."position_type"::text IN ('LC', 'LP', 'SC', 'SP') THEN p."expiration_date" END), '2000-01-01')) THEN p."entry_date" ELSE '<day>'::date END, COALESCE(p."exit_date", CASE WHEN p."position_type"::text IN ('LC', 'LP', 'SC', 'SP') THEN p."expiration_date" END), false, false,
            COALESCE(CASE WHEN isfinite(GREATEST(c."created_at", c."updated_at", c."last_updated"))
        THEN LEAST(extract(epoch FROM GREATEST(c."created_at", c."updated_at", c."last_updated")) * 1000000, '<number>'::numeric)::int8
    WHEN GREATEST(c."created_at", c."updated_at", c."last_updated") = 'infinity' THEN '<number>'::int8 END, '-<number>'::int8)
        FROM "public"."positions" AS p JOIN "public"."company_profiles" AS c ON upper(btrim(c."symbol" COLLATE "C", ' ')) = upper(btrim(p."symbol" COLLATE "C", ' '))
        WHERE p."portfolio_id" BETWEEN '<id>'::uuid AND '<id>'::uuid
) TO STDOUT (FORMAT binary);

-- verify(fast=False)
-- verify(fast=True)
-- verify(schema with fx, fast=False)
-- verify(schema with fx, fast=True)
COPY (
SELECT c.portfolio, c.rows, c.first, c.last, b.day
FROM (
    SELECT s."portfolio_id" AS portfolio, count(*) AS rows,
        min(s."snapshot_date") AS first, max(s."snapshot_date") AS last
    FROM "public"."portfolio_snapshots" AS s WHERE true AND s."snapshot_date" BETWEEN '<day>'::date AND '<day>'::date GROUP BY s."portfolio_id") AS c
LEFT JOIN LATERAL (
    SELECT s."snapshot_date" AS day FROM "public"."portfolio_snapshots" AS s
    WHERE s."portfolio_id" = c.portfolio AND s."snapshot_date" < c.first AND s."is_complete" AND s."equity_balance" < 'Infinity'::numeric AND s."equity_balance" > '-Infinity'::numeric AND CASE WHEN s."snapshot_date" BETWEEN '<day>'::date AND '<day>'::date THEN get_bit(<bits>, s."snapshot_date" - '<day>'::date) = 1 ELSE false END
    ORDER BY s."snapshot_date" DESC LIMIT 1) AS b ON true
) TO STDOUT (FORMAT binary);

-- verify(fast=False)
-- verify(fast=True)
-- verify(schema with fx, fast=False)
-- verify(schema with fx, fast=True)
COPY (
SELECT c.symbol, c.day, c.changed, (SELECT min(m."date") FROM "public"."market_data_cache" AS m
    WHERE m."symbol" = c.symbol AND m."date" > c.day AND m."date" BETWEEN '<day>'::date AND '<day>'::date AND m."close" > 0 AND m."close" < 'Infinity'::numeric AND m."close" > '-Infinity'::numeric)
FROM (SELECT c.* FROM (
    SELECT t."symbol" AS symbol, t."date" AS day, COALESCE(CASE WHEN isfinite(GREATEST(t."created_at", t."updated_at"))
        THEN LEAST(extract(epoch FROM GREATEST(t."created_at", t."updated_at")) * 1000000, '<number>'::numeric)::int8
    WHEN GREATEST(t."created_at", t."updated_at") = 'infinity' THEN '<number>'::int8 END, '-<number>'::int8) AS changed FROM "public"."market_data_cache" AS t
    WHERE upper(btrim(t."symbol" COLLATE "C", ' ')) = ANY('<texts>') AND t."date" BETWEEN '<day>'::date AND '<day>'::date) AS c
WHERE c.changed > '<number>'::int8 AND c.changed < '<number>'::int8) AS c
) TO STDOUT (FORMAT binary);

-- verify(fast=False)
-- verify(fast=True)
-- verify(schema with fx, fast=False)
-- verify(schema with fx, fast=True)
COPY (
SELECT e."position_id", p."portfolio_id", e."trade_date", e."quantity_closed", e."realized_pnl" FROM "public"."position_realized_events" AS e JOIN "public"."positions" AS p ON p."id" = e."position_id"
WHERE p."portfolio_id" BETWEEN '<id>'::uuid AND '<id>'::uuid AND p."deleted_at" IS NULL
) TO STDOUT (FORMAT binary);

-- verify(fast=False)
-- verify(fast=True)
-- verify(schema with fx, fast=False)
-- verify(schema with fx, fast=True)
-- verify(policy='legacy', fast=False)
-- verify(policy='legacy', fast=True)
COPY (
SELECT DISTINCT p."symbol" FROM "public"."positions" AS p
WHERE p."deleted_at" IS NULL AND p."symbol" IS NOT NULL AND p."symbol" <> '' AND p."portfolio_id" BETWEEN '<id>'::uuid AND '<id>'::uuid
) TO STDOUT (FORMAT binary);

-- verify(fast=False)
-- verify(fast=True)
-- verify(schema with fx, fast=False)
-- verify(schema with fx, fast=True)
-- verify(policy='legacy', fast=False)
-- verify(policy='legacy', fast=True)
COPY (
SELECT c.first_portfolio, c.last_portfolio, c.first_session, c.last_session, COALESCE(CASE WHEN isfinite(r.created_at)
        THEN LEAST(extract(epoch FROM r.created_at) * 1000000, '<number>'::numeric)::int8
    WHEN r.created_at = 'infinity' THEN '<number>'::int8 END, '-<number>'::int8),
    (r.asked->>'on_existing' = 'replace' AND r.asked->>'changed_since' IS NULL
        AND r.asked->>'start' IS NOT NULL
        AND NOT COALESCE((r.asked->>'repairs')::bool, false)
        AND NOT (r.asked->>'missing')::bool) IS TRUE
FROM "public"."batchcore_run_chunks" AS c JOIN "public"."batchcore_runs" AS r ON r.id = c.run_id
WHERE c.first_session IS NOT NULL ORDER BY r.created_at
) TO STDOUT (FORMAT binary);

-- verify(fast=False)
-- verify(schema with fx, fast=False)
SELECT c0 FROM (SELECT DISTINCT m."symbol" FROM "public"."market_data_cache" AS m) AS q(c0);

-- verify(fast=False)
-- verify(schema with fx, fast=False)
SELECT c0, CASE WHEN isfinite(c1) THEN (c1 - DATE '1970-01-01')::bigint WHEN c1 IS NOT NULL THEN <number> END, c2, c3, c4, c5, c6, c7, c8, c9, c10, c11, c12, c13, c14, c15, c16, c17, c18, c19, c20, c21, c22, c23, c24, c25, c26, c27, c28, c29, c30, c31 FROM (SELECT s."portfolio_id", s."snapshot_date", (s."is_complete" AND s."equity_balance" < 'Infinity'::numeric AND s."equity_balance" > '-Infinity'::numeric AND CASE WHEN s."snapshot_date" BETWEEN '<day>'::date AND '<day>'::date THEN get_bit(<bits>, s."snapshot_date" - '<day>'::date) = 1 ELSE false END) IS TRUE, COALESCE(CASE WHEN isfinite(s."created_at")
        THEN LEAST(extract(epoch FROM s."created_at") * 1000000, '<number>'::numeric)::int8
    WHEN s."created_at" = 'infinity' THEN '<number>'::int8 END, '-<number>'::int8), s."total_value"::numeric, s."cash_value"::numeric, s."long_value"::numeric, s."short_value"::numeric, s."gross_exposure"::numeric, s."net_exposure"::numeric, s."equity_balance"::numeric, s."daily_pnl"::numeric, s."cumulative_pnl"::numeric, s."daily_realized_pnl"::numeric, s."cumulative_realized_pnl"::numeric, s."daily_capital_flow"::numeric, s."cumulative_capital_flow"::numeric, s."daily_return"::numeric, s."num_positions"::numeric, s."num_long_positions"::numeric, s."num_short_positions"::numeric, s."beta_provider_1y"::numeric, s."beta_calculated_90d"::numeric, s."beta_calculated_90d_r_squared"::numeric, s."hhi"::numeric, s."top_3_concentration"::numeric, s."top_10_concentration"::numeric, s."realized_volatility_21d"::numeric, s."realized_volatility_63d"::numeric, s."beta_calculated_90d_observations"::numeric, s."effective_num_positions"::numeric, s."sector_exposure"::text FROM "public"."portfolio_snapshots" AS s WHERE s."portfolio_id" BETWEEN '<id>'::uuid AND '<id>'::uuid AND s."snapshot_date" BETWEEN '<day>'::date AND '<day>'::date
UNION ALL
SELECT earlier.* FROM "public"."portfolios" AS o CROSS JOIN LATERAL (
    SELECT s."portfolio_id", s."snapshot_date", (s."is_complete" AND s."equity_balance" < 'Infinity'::numeric AND s."equity_balance" > '-Infinity'::numeric AND CASE WHEN s."snapshot_date" BETWEEN '<day>'::date AND '<day>'::date THEN get_bit(<bits>, s."snapshot_date" - '<day>'::date) = 1 ELSE false END) IS TRUE, COALESCE(CASE WHEN isfinite(s."created_at")
        THEN LEAST(extract(epoch FROM s."created_at") * 1000000, '<number>'::numeric)::int8
    WHEN s."created_at" = 'infinity' THEN '<number>'::int8 END, '-<number>'::int8), s."total_value"::numeric, s."cash_value"::numeric, s."long_value"::numeric, s."short_value"::numeric, s."gross_exposure"::numeric, s."net_exposure"::numeric, s."equity_balance"::numeric, s."daily_pnl"::numeric, s."cumulative_pnl"::numeric, s."daily_realized_pnl"::numeric, s."cumulative_realized_pnl"::numeric, s."daily_capital_flow"::numeric, s."cumulative_capital_flow"::numeric, s."daily_return"::numeric, s."num_positions"::numeric, s."num_long_positions"::numeric, s."num_short_positions"::numeric, s."beta_provider_1y"::numeric, s."beta_calculated_90d"::numeric, s."beta_calculated_90d_r_squared"::numeric, s."hhi"::numeric, s."top_3_concentration"::numeric, s."top_10_concentration"::numeric, s."realized_volatility_21d"::numeric, s."realized_volatility_63d"::numeric, s."beta_calculated_90d_observations"::numeric, s."effective_num_positions"::numeric, s."sector_exposure"::text FROM "public"."portfolio_snapshots" AS s
    WHERE s."portfolio_id" = o."id" AND s."snapshot_date" < '<day>'::date AND s."is_complete" AND s."equity_balance" < 'Infinity'::numeric AND s."equity_balance" > '-Infinity'::numeric AND CASE WHEN s."snapshot_date" BETWEEN '<day>'::date AND '<day>'::date THEN get_bit(<bits>, s."snapshot_date" - '<day>'::date) = 1 ELSE false END ORDER BY s."snapshot_date" DESC LIMIT 1) AS earlier
WHERE o."id" BETWEEN '<id>'::uuid AND '<id>'::uuid) AS q(c0, c1, c2, c3, c4, c5, c6, c7, c8, c9, c10, c11, c12, c13, c14, c15, c16, c17, c18, c19, c20, c21, c22, c23, c24, c25, c26, c27, c28, c29, c30, c31);

-- verify(fast=False)
-- verify(schema with fx, fast=False)
SELECT c0, c1, CASE WHEN isfinite(c2) THEN (c2 - DATE '1970-01-01')::bigint WHEN c2 IS NOT NULL THEN <number> END, c3, c4 FROM (SELECT e."position_id", p."portfolio_id", e."trade_date", e."quantity_closed", e."realized_pnl" FROM "public"."position_realized_events" AS e JOIN "public"."positions" AS p ON p."id" = e."position_id"
WHERE p."portfolio_id" = ANY('<ids>'::uuid[]) AND p."deleted_at" IS NULL) AS q(c0, c1, c2, c3, c4);

-- verify(fast=False)
-- verify(schema with fx, fast=False)
-- verify(policy='legacy', fast=False)
SELECT c0, CASE WHEN isfinite(c1) THEN (c1 - DATE '1970-01-01')::bigint WHEN c1 IS NOT NULL THEN <number> END, c2, c3 FROM (SELECT m."symbol", m."date", m."close", NULL::text FROM "public"."market_data_cache" AS m WHERE m."symbol" = ANY('<texts>')) AS q(c0, c1, c2, c3);

-- verify(fast=False)
-- verify(schema with fx, fast=False)
-- verify(policy='legacy', fast=False)
SELECT c0, c1, c2, CASE WHEN isfinite(c3) THEN (c3 - DATE '1970-01-01')::bigint WHEN c3 IS NOT NULL THEN <number> END FROM (SELECT f."portfolio_id", f."amount", f."change_type", f."change_date" FROM "public"."equity_changes" AS f
WHERE f."deleted_at" IS NULL AND f."portfolio_id" = ANY('<ids>'::uuid[])
    AND (f."change_date" BETWEEN '<day>'::date AND '<day>'::date
        OR f."change_date" IS NULL OR NOT isfinite(f."change_date")
        OR f."amount" IS NULL OR NOT (f."amount" < 'Infinity'::numeric AND f."amount" > '-Infinity'::numeric)
        OR f."change_type" IS NULL
        OR f."change_type"::text NOT IN ('CONTRIBUTION', 'WITHDRAWAL'))) AS q(c0, c1, c2, c3);

-- verify(fast=True)
-- verify(schema with fx, fast=True)
COPY (
SELECT s."portfolio_id", s."snapshot_date", (s."is_complete" AND s."equity_balance" < 'Infinity'::numeric AND s."equity_balance" > '-Infinity'::numeric AND CASE WHEN s."snapshot_date" BETWEEN '<day>'::date AND '<day>'::date THEN get_bit(<bits>, s."snapshot_date" - '<day>'::date) = 1 ELSE false END) IS TRUE, COALESCE(CASE WHEN isfinite(s."created_at")
        THEN LEAST(extract(epoch FROM s."created_at") * 1000000, '<number>'::numeric)::int8
    WHEN s."created_at" = 'infinity' THEN '<number>'::int8 END, '-<number>'::int8), s."total_value"::numeric, s."cash_value"::numeric, s."long_value"::numeric, s."short_value"::numeric, s."gross_exposure"::numeric, s."net_exposure"::numeric, s."equity_balance"::numeric, s."daily_pnl"::numeric, s."cumulative_pnl"::numeric, s."daily_realized_pnl"::numeric, s."cumulative_realized_pnl"::numeric, s."daily_capital_flow"::numeric, s."cumulative_capital_flow"::numeric, s."daily_return"::numeric, s."num_positions"::numeric, s."num_long_positions"::numeric, s."num_short_positions"::numeric, s."beta_provider_1y"::numeric, s."beta_calculated_90d"::numeric, s."beta_calculated_90d_r_squared"::numeric, s."hhi"::numeric, s."top_3_concentration"::numeric, s."top_10_concentration"::numeric, s."realized_volatility_21d"::numeric, s."realized_volatility_63d"::numeric, s."beta_calculated_90d_observations"::numeric, s."effective_num_positions"::numeric, s."sector_exposure"::text FROM "public"."portfolio_snapshots" AS s WHERE s."portfolio_id" BETWEEN '<id>'::uuid AND '<id>'::uuid AND s."snapshot_date" BETWEEN '<day>'::date AND '<day>'::date
UNION ALL
SELECT earlier.* FROM "public"."portfolios" AS o CROSS JOIN LATERAL (
    SELECT s."portfolio_id", s."snapshot_date", (s."is_complete" AND s."equity_balance" < 'Infinity'::numeric AND s."equity_balance" > '-Infinity'::numeric AND CASE WHEN s."snapshot_date" BETWEEN '<day>'::date AND '<day>'::date THEN get_bit(<bits>, s."snapshot_date" - '<day>'::date) = 1 ELSE false END) IS TRUE, COALESCE(CASE WHEN isfinite(s."created_at")
        THEN LEAST(extract(epoch FROM s."created_at") * 1000000, '<number>'::numeric)::int8
    WHEN s."created_at" = 'infinity' THEN '<number>'::int8 END, '-<number>'::int8), s."total_value"::numeric, s."cash_value"::numeric, s."long_value"::numeric, s."short_value"::numeric, s."gross_exposure"::numeric, s."net_exposure"::numeric, s."equity_balance"::numeric, s."daily_pnl"::numeric, s."cumulative_pnl"::numeric, s."daily_realized_pnl"::numeric, s."cumulative_realized_pnl"::numeric, s."daily_capital_flow"::numeric, s."cumulative_capital_flow"::numeric, s."daily_return"::numeric, s."num_positions"::numeric, s."num_long_positions"::numeric, s."num_short_positions"::numeric, s."beta_provider_1y"::numeric, s."beta_calculated_90d"::numeric, s."beta_calculated_90d_r_squared"::numeric, s."hhi"::numeric, s."top_3_concentration"::numeric, s."top_10_concentration"::numeric, s."realized_volatility_21d"::numeric, s."realized_volatility_63d"::numeric, s."beta_calculated_90d_observations"::numeric, s."effective_num_positions"::numeric, s."sector_exposure"::text FROM "public"."portfolio_snapshots" AS s
    WHERE s."portfolio_id" = o."id" AND s."snapshot_date" < '<day>'::date AND s."is_complete" AND s."equity_balance" < 'Infinity'::numeric AND s."equity_balance" > '-Infinity'::numeric AND CASE WHEN s."snapshot_date" BETWEEN '<day>'::date AND '<day>'::date THEN get_bit(<bits>, s."snapshot_date" - '<day>'::date) = 1 ELSE false END ORDER BY s."snapshot_date" DESC LIMIT 1) AS earlier
WHERE o."id" BETWEEN '<id>'::uuid AND '<id>'::uuid
) TO STDOUT (FORMAT binary);

-- verify(policy='legacy', fast=False)
SELECT c0, CASE WHEN isfinite(c1) THEN (c1 - DATE '1970-01-01')::bigint WHEN c1 IS NOT NULL THEN <number> END, c2, c3, c4, c5, c6, c7, c8, c9, c10, c11, c12, c13, c14, c15, c16, c17, c18, c19, c20, c21, c22, c23, c24, c25, c26, c27, c28, c29, c30, c31, c32, c33, c34, c35, c36, c37, c38, c39, c40, c41, c42, c43, c44, c45, c46, c47, c48, c49 FROM (SELECT s."portfolio_id", s."snapshot_date", (s."is_complete") IS TRUE, COALESCE(CASE WHEN isfinite(s."created_at")
        THEN LEAST(extract(epoch FROM s."created_at") * 1000000, '<number>'::numeric)::int8
    WHEN s."created_at" = 'infinity' THEN '<number>'::int8 END, '-<number>'::int8), s."total_value"::numeric, s."cash_value"::numeric, s."long_value"::numeric, s."short_value"::numeric, s."gross_exposure"::numeric, s."net_exposure"::numeric, s."equity_balance"::numeric, s."daily_pnl"::numeric, s."cumulative_pnl"::numeric, s."daily_realized_pnl"::numeric, s."cumulative_realized_pnl"::numeric, s."daily_capital_flow"::numeric, s."cumulative_capital_flow"::numeric, s."daily_return"::numeric, s."num_positions"::numeric, s."num_long_positions"::numeric, s."num_short_positions"::numeric, s."beta_provider_1y"::numeric, s."beta_calculated_90d"::numeric, s."beta_calculated_90d_r_squared"::numeric, s."hhi"::numeric, s."top_3_concentration"::numeric, s."top_10_concentration"::numeric, s."realized_volatility_21d"::numeric, s."realized_volatility_63d"::numeric, s."beta_calculated_90d_observations"::numeric, s."effective_num_positions"::numeric, s."sector_exposure"::text, s."portfolio_delta"::numeric, s."portfolio_gamma"::numeric, s."portfolio_theta"::numeric, s."portfolio_vega"::numeric, s."beta_portfolio_regression"::text, s."expected_volatility_21d"::text, s."volatility_percentile"::text, s."volatility_trend"::text, s."target_price_return_eoy"::text, s."target_price_return_next_year"::text, s."target_price_downside_return"::text, s."target_price_upside_eoy"::text, s."target_price_upside_next_year"::text, s."target_price_downside"::text, s."target_price_num_positions"::text, s."target_price_num_covered"::text, s."target_price_coverage"::text, s."target_price_updated_at"::text FROM "public"."portfolio_snapshots" AS s WHERE s."portfolio_id" BETWEEN '<id>'::uuid AND '<id>'::uuid AND s."snapshot_date" BETWEEN '<day>'::date AND '<day>'::date
UNION ALL
SELECT earlier.* FROM "public"."portfolios" AS o CROSS JOIN LATERAL (
    SELECT s."portfolio_id", s."snapshot_date", (s."is_complete") IS TRUE, COALESCE(CASE WHEN isfinite(s."created_at")
        THEN LEAST(extract(epoch FROM s."created_at") * 1000000, '<number>'::numeric)::int8
    WHEN s."created_at" = 'infinity' THEN '<number>'::int8 END, '-<number>'::int8), s."total_value"::numeric, s."cash_value"::numeric, s."long_value"::numeric, s."short_value"::numeric, s."gross_exposure"::numeric, s."net_exposure"::numeric, s."equity_balance"::numeric, s."daily_pnl"::numeric, s."cumulative_pnl"::numeric, s."daily_realized_pnl"::numeric, s."cumulative_realized_pnl"::numeric, s."daily_capital_flow"::numeric, s."cumulative_capital_flow"::numeric, s."daily_return"::numeric, s."num_positions"::numeric, s."num_long_positions"::numeric, s."num_short_positions"::numeric, s."beta_provider_1y"::numeric, s."beta_calculated_90d"::numeric, s."beta_calculated_90d_r_squared"::numeric, s."hhi"::numeric, s."top_3_concentration"::numeric, s."top_10_concentration"::numeric, s."realized_volatility_21d"::numeric, s."realized_volatility_63d"::numeric, s."beta_calculated_90d_observations"::numeric, s."effective_num_positions"::numeric, s."sector_exposure"::text, s."portfolio_delta"::numeric, s."portfolio_gamma"::numeric, s."portfolio_theta"::numeric, s."portfolio_vega"::numeric, s."beta_portfolio_regression"::text, s."expected_volatility_21d"::text, s."volatility_percentile"::text, s."volatility_trend"::text, s."target_price_return_eoy"::text, s."target_price_return_next_year"::text, s."target_price_downside_return"::text, s."target_price_upside_eoy"::text, s."target_price_upside_next_year"::text, s."target_price_downside"::text, s."target_price_num_positions"::text, s."target_price_num_covered"::text, s."target_price_coverage"::text, s."target_price_updated_at"::text FROM "public"."portfolio_snapshots" AS s
    WHERE s."portfolio_id" = o."id" AND s."snapshot_date" < '<day>'::date AND isfinite(s."snapshot_date") AND s."snapshot_date" >= COALESCE((
        SELECT s."snapshot_date" FROM "public"."portfolio_snapshots" AS s
        WHERE s."portfolio_id" = o."id" AND s."snapshot_date" < '<day>'::date
            AND isfinite(s."snapshot_date")
            AND COALESCE(CASE WHEN isfinite(s."created_at")
        THEN LEAST(extract(epoch FROM s."created_at") * 1000000, '<number>'::numeric)::int8
    WHEN s."created_at" = 'infinity' THEN '<number>'::int8 END, '-<number>'::int8) <= (
                SELECT min(COALESCE(CASE WHEN isfinite(s."created_at")
        THEN LEAST(extract(epoch FROM s."created_at") * 1000000, '<number>'::numeric)::int8
    WHEN s."created_at" = 'infinity' THEN '<number>'::int8 END, '-<number>'::int8)) FROM "public"."portfolio_snapshots" AS s WHERE s."portfolio_id" = o."id" AND s."snapshot_date" BETWEEN '<day>'::date AND '<day>'::date)
        ORDER BY s."snapshot_date" DESC LIMIT 1), '<day>'::date)) AS earlier
WHERE o."id" BETWEEN '<id>'::uuid AND '<id>'::uuid) AS q(c0, c1, c2, c3, c4, c5, c6, c7, c8, c9, c10, c11, c12, c13, c14, c15, c16, c17, c18, c19, c20, c21, c22, c23, c24, c25, c26, c27, c28, c29, c30, c31, c32, c33, c34, c35, c36, c37, c38, c39, c40, c41, c42, c43, c44, c45, c46, c47, c48, c49);

-- verify(policy='legacy', fast=False)
SELECT c0, c1, CASE WHEN isfinite(c2) THEN (c2 - DATE '1970-01-01')::bigint WHEN c2 IS NOT NULL THEN <number> END FROM (SELECT b."position_id", b."beta", b."calc_date" FROM "public"."position_market_betas" AS b WHERE b."position_id" = ANY('<ids>'::uuid[])) AS q(c0, c1, c2);

-- verify(policy='legacy', fast=False)
SELECT c0, c1, CASE WHEN isfinite(c2) THEN (c2 - DATE '1970-01-01')::bigint WHEN c2 IS NOT NULL THEN <number> END, c3, c4 FROM (SELECT e."position_id", p."portfolio_id", e."trade_date", e."quantity_closed", e."realized_pnl" FROM "public"."position_realized_events" AS e JOIN "public"."positions" AS p ON p."id" = e."position_id"
WHERE p."portfolio_id" = ANY('<ids>'::uuid[]) ) AS q(c0, c1, c2, c3, c4);

-- verify(policy='legacy', fast=False)
SELECT c0, c1, c2, c3 FROM (SELECT DISTINCT c."symbol"::text, c."beta", c."sector", c."is_etf" IS TRUE FROM "public"."company_profiles" AS c WHERE c."symbol" = ANY('<texts>')) AS q(c0, c1, c2, c3);

-- verify(policy='legacy', fast=False)
SELECT c0, c1, c2, c3, c4, c5, CASE WHEN isfinite(c6) THEN (c6 - DATE '1970-01-01')::bigint WHEN c6 IS NOT NULL THEN <number> END, CASE WHEN isfinite(c7) THEN (c7 - DATE '1970-01-01')::bigint WHEN c7 IS NOT NULL THEN <number> END, c8, c9, c10, c11 FROM (SELECT p."id", p."portfolio_id", p."symbol", p."position_type", p."quantity", p."entry_price", p."entry_date", p."exit_date", p."investment_class", p."market_value", p."last_price", p."deleted_at" IS NOT NULL FROM "public"."positions" AS p WHERE p."portfolio_id" = ANY('<ids>'::uuid[])) AS q(c0, c1, c2, c3, c4, c5, c6, c7, c8, c9, c10, c11);

-- verify(policy='legacy', fast=False)
-- verify(policy='legacy', fast=True)
COPY (
SELECT 0::int4, p."portfolio_id", p."symbol"::text, CASE WHEN isfinite(p."entry_date") THEN p."entry_date" ELSE '<day>'::date END, CASE WHEN isfinite(p."exit_date") THEN p."exit_date" END,
            (p."investment_class"::text = 'PRIVATE') IS TRUE AND p."deleted_at" IS NULL, (p."updated_at" > p."created_at") IS TRUE, COALESCE(CASE WHEN isfinite(GREATEST(p."created_at", p."updated_at", p."deleted_at"))
        THEN LEAST(extract(epoch FROM GREATEST(p."created_at", p."updated_at", p."deleted_at")) * 1000000, '<number>'::numeric)::int8
    WHEN GREATEST(p."created_at", p."updated_at", p."deleted_at") = 'infinity' THEN '<number>'::int8 END, '-<number>'::int8)
        FROM "public"."positions" AS p WHERE p."portfolio_id" BETWEEN '<id>'::uuid AND '<id>'::uuid AND p."symbol" IS NOT NULL UNION ALL SELECT 1::int4, p."portfolio_id", COALESCE(p."symbol"::text, ''), CASE WHEN p."deleted_at" IS NULL THEN CASE WHEN isfinite(p."entry_date") THEN p."entry_date" ELSE '<day>'::date END ELSE '<day>'::date END,
            e."trade_date", (p."investment_class"::text = 'PRIVATE') IS TRUE, false, COALESCE(CASE WHEN isfinite(GREATEST(e."created_at"))
        THEN LEAST(extract(epoch FROM GREATEST(e."created_at")) * 1000000, '<number>'::numeric)::int8
    WHEN GREATEST(e."created_at") = 'infinity' THEN '<number>'::int8 END, '-<number>'::int8)
        FROM "public"."position_realized_events" AS e JOIN "public"."positions" AS p ON p."id" = e."position_id"
        WHERE p."portfolio_id" BETWEEN '<id>'::uuid AND '<id>'::uuid AND isfinite(e."trade_date") AND true UNION ALL SELECT 2::int4, f."portfolio_id", NULL, f."change_date", f."change_date", false,
            (f."updated_at" > f."created_at") IS TRUE, COALESCE(CASE WHEN isfinite(GREATEST(f."created_at", f."updated_at", f."deleted_at"))
        THEN LEAST(extract(epoch FROM GREATEST(f."created_at", f."updated_at", f."deleted_at")) * 1000000, '<number>'::numeric)::int8
    WHEN GREATEST(f."created_at", f."updated_at", f."deleted_at") = 'infinity' THEN '<number>'::int8 END, '-<number>'::int8)
        FROM "public"."equity_changes" AS f WHERE isfinite(f."change_date") AND f."portfolio_id" BETWEEN '<id>'::uuid AND '<id>'::uuid UNION ALL SELECT 3::int4, p."portfolio_id", NULL, CASE WHEN isfinite(p."entry_date") THEN p."entry_date" ELSE '<day>'::date END, CASE WHEN isfinite(p."exit_date") THEN p."exit_date" END, false, false,
            COALESCE(CASE WHEN isfinite(GREATEST(c."created_at", c."updated_at", c."last_updated"))
        THEN LEAST(extract(epoch FROM GREATEST(c."created_at", c."updated_at", c."last_updated")) * 1000000, '<number>'::numeric)::int8
    WHEN GREATEST(c."created_at", c."updated_at", c."last_updated") = 'infinity' THEN '<number>'::int8 END, '-<number>'::int8)
        FROM "public"."positions" AS p JOIN "public"."company_profiles" AS c ON upper(btrim(c."symbol" COLLATE "C", ' ')) = upper(btrim(p."symbol" COLLATE "C", ' '))
        WHERE p."portfolio_id" BETWEEN '<id>'::uuid AND '<id>'::uuid UNION ALL SELECT 4::int4, p."portfolio_id", NULL, NULL, NULL, false, false,
            max(COALESCE(CASE WHEN isfinite(GREATEST(b."created_at", b."updated_at"))
        THEN LEAST(extract(epoch FROM GREATEST(b."created_at", b."updated_at")) * 1000000, '<number>'::numeric)::int8
    WHEN GREATEST(b."created_at", b."updated_at") = 'infinity' THEN '<number>'::int8 END, '-<number>'::int8))
        FROM "public"."positions" AS p JOIN "public"."position_market_betas" AS b ON b."position_id" = p."id" WHERE p."portfolio_id" BETWEEN '<id>'::uuid AND '<id>'::uuid
        GROUP BY p."portfolio_id"
) TO STDOUT (FORMAT binary);

-- verify(policy='legacy', fast=False)
-- verify(policy='legacy', fast=True)
COPY (
SELECT c.portfolio, c.rows, c.first, c.last, b.day
FROM (
    SELECT s."portfolio_id" AS portfolio, count(*) AS rows,
        min(s."snapshot_date") AS first, max(s."snapshot_date") AS last
    FROM "public"."portfolio_snapshots" AS s WHERE true AND s."snapshot_date" BETWEEN '<day>'::date AND '<day>'::date GROUP BY s."portfolio_id") AS c
LEFT JOIN LATERAL (
    SELECT s."snapshot_date" AS day FROM "public"."portfolio_snapshots" AS s
    WHERE s."portfolio_id" = c.portfolio AND s."snapshot_date" < c.first AND s."is_complete"
    ORDER BY s."snapshot_date" DESC LIMIT 1) AS b ON true
) TO STDOUT (FORMAT binary);

-- verify(policy='legacy', fast=False)
-- verify(policy='legacy', fast=True)
COPY (
SELECT o."id", o."equity_balance", o."currency", o."deleted_at" IS NOT NULL, before."snapshot_date", before."equity_balance", before."cumulative_pnl", before."cumulative_realized_pnl", before."cumulative_capital_flow", first."snapshot_date", first."equity_balance", first."daily_pnl", first."daily_capital_flow", last."snapshot_date", last."equity_balance", last."cumulative_pnl", last."cumulative_realized_pnl", last."cumulative_capital_flow" FROM "public"."portfolios" AS o 
LEFT JOIN LATERAL (
    SELECT s."snapshot_date", s."equity_balance", s."cumulative_pnl",
        s."cumulative_realized_pnl", s."cumulative_capital_flow"
    FROM "public"."portfolio_snapshots" AS s WHERE s."portfolio_id" = o."id" AND s."snapshot_date" < '<day>'::date AND s."is_complete"
    ORDER BY s."snapshot_date" DESC LIMIT 1) AS before ON true
LEFT JOIN LATERAL (
    SELECT s."snapshot_date", s."equity_balance", s."daily_pnl", s."daily_capital_flow"
    FROM "public"."portfolio_snapshots" AS s WHERE s."portfolio_id" = o."id" AND s."snapshot_date" >= '<day>'::date AND s."is_complete"
    ORDER BY s."snapshot_date" ASC LIMIT 1) AS first ON true
LEFT JOIN LATERAL (
    SELECT s."snapshot_date", s."equity_balance", s."cumulative_pnl",
        s."cumulative_realized_pnl", s."cumulative_capital_flow"
    FROM "public"."portfolio_snapshots" AS s WHERE first."snapshot_date" IS NOT NULL AND s."portfolio_id" = o."id"
        AND s."snapshot_date" >= '<day>'::date AND s."is_complete"
    ORDER BY s."snapshot_date" DESC LIMIT 1) AS last ON true
WHERE o."deleted_at" IS NULL
) TO STDOUT (FORMAT binary);

-- verify(policy='legacy', fast=False)
-- verify(policy='legacy', fast=True)
COPY (
SELECT o."id", written.day, written.equity, latest.equity,
    EXISTS (SELECT FROM "public"."portfolio_snapshots" AS s WHERE s."portfolio_id" = o."id" AND s."is_complete" AND isfinite(s."snapshot_date") AND s."equity_balance" = o."equity_balance")
FROM "public"."portfolios" AS o
CROSS JOIN LATERAL (
    SELECT s."snapshot_date", s."equity_balance" FROM "public"."portfolio_snapshots" AS s WHERE s."portfolio_id" = o."id" AND s."is_complete" AND isfinite(s."snapshot_date")
    ORDER BY COALESCE(CASE WHEN isfinite(s."created_at")
        THEN LEAST(extract(epoch FROM s."created_at") * 1000000, '<number>'::numeric)::int8
    WHEN s."created_at" = 'infinity' THEN '<number>'::int8 END, '-<number>'::int8) DESC, s."snapshot_date" DESC LIMIT 1) AS written(day, equity)
CROSS JOIN LATERAL (
    SELECT s."equity_balance" FROM "public"."portfolio_snapshots" AS s WHERE s."portfolio_id" = o."id" AND s."is_complete" AND isfinite(s."snapshot_date")
    ORDER BY s."snapshot_date" DESC LIMIT 1) AS latest(equity)
WHERE o."id" BETWEEN '<id>'::uuid AND '<id>'::uuid
) TO STDOUT (FORMAT binary);

-- verify(policy='legacy', fast=False)
-- verify(policy='legacy', fast=True)
-- explain(db, session=..., policy='legacy')
-- the page of a night
COPY (
SELECT COALESCE(min(COALESCE(CASE WHEN isfinite(GREATEST(w."created_at", w."updated_at"))
        THEN LEAST(extract(epoch FROM GREATEST(w."created_at", w."updated_at")) * 1000000, '<number>'::numeric)::int8
    WHEN GREATEST(w."created_at", w."updated_at") = 'infinity' THEN '<number>'::int8 END, '-<number>'::int8)), '<number>'::int8) FROM "public"."benchmarks_sector_weights" AS w WHERE w."benchmark_code" = 'SP500'
) TO STDOUT (FORMAT binary);

-- verify(policy='legacy', fast=True)
COPY (
SELECT e."position_id", p."portfolio_id", e."trade_date", e."quantity_closed", e."realized_pnl" FROM "public"."position_realized_events" AS e JOIN "public"."positions" AS p ON p."id" = e."position_id"
WHERE p."portfolio_id" BETWEEN '<id>'::uuid AND '<id>'::uuid 
) TO STDOUT (FORMAT binary);

-- verify(policy='legacy', fast=True)
COPY (
SELECT s."portfolio_id", s."snapshot_date", (s."is_complete") IS TRUE, COALESCE(CASE WHEN isfinite(s."created_at")
        THEN LEAST(extract(epoch FROM s."created_at") * 1000000, '<number>'::numeric)::int8
    WHEN s."created_at" = 'infinity' THEN '<number>'::int8 END, '-<number>'::int8), s."total_value"::numeric, s."cash_value"::numeric, s."long_value"::numeric, s."short_value"::numeric, s."gross_exposure"::numeric, s."net_exposure"::numeric, s."equity_balance"::numeric, s."daily_pnl"::numeric, s."cumulative_pnl"::numeric, s."daily_realized_pnl"::numeric, s."cumulative_realized_pnl"::numeric, s."daily_capital_flow"::numeric, s."cumulative_capital_flow"::numeric, s."daily_return"::numeric, s."num_positions"::numeric, s."num_long_positions"::numeric, s."num_short_positions"::numeric, s."beta_provider_1y"::numeric, s."beta_calculated_90d"::numeric, s."beta_calculated_90d_r_squared"::numeric, s."hhi"::numeric, s."top_3_concentration"::numeric, s."top_10_concentration"::numeric, s."realized_volatility_21d"::numeric, s."realized_volatility_63d"::numeric, s."beta_calculated_90d_observations"::numeric, s."effective_num_positions"::numeric, s."sector_exposure"::text, s."portfolio_delta"::numeric, s."portfolio_gamma"::numeric, s."portfolio_theta"::numeric, s."portfolio_vega"::numeric, s."beta_portfolio_regression"::text, s."expected_volatility_21d"::text, s."volatility_percentile"::text, s."volatility_trend"::text, s."target_price_return_eoy"::text, s."target_price_return_next_year"::text, s."target_price_downside_return"::text, s."target_price_upside_eoy"::text, s."target_price_upside_next_year"::text, s."target_price_downside"::text, s."target_price_num_positions"::text, s."target_price_num_covered"::text, s."target_price_coverage"::text, s."target_price_updated_at"::text FROM "public"."portfolio_snapshots" AS s WHERE s."portfolio_id" BETWEEN '<id>'::uuid AND '<id>'::uuid AND s."snapshot_date" BETWEEN '<day>'::date AND '<day>'::date
UNION ALL
SELECT earlier.* FROM "public"."portfolios" AS o CROSS JOIN LATERAL (
    SELECT s."portfolio_id", s."snapshot_date", (s."is_complete") IS TRUE, COALESCE(CASE WHEN isfinite(s."created_at")
        THEN LEAST(extract(epoch FROM s."created_at") * 1000000, '<number>'::numeric)::int8
    WHEN s."created_at" = 'infinity' THEN '<number>'::int8 END, '-<number>'::int8), s."total_value"::numeric, s."cash_value"::numeric, s."long_value"::numeric, s."short_value"::numeric, s."gross_exposure"::numeric, s."net_exposure"::numeric, s."equity_balance"::numeric, s."daily_pnl"::numeric, s."cumulative_pnl"::numeric, s."daily_realized_pnl"::numeric, s."cumulative_realized_pnl"::numeric, s."daily_capital_flow"::numeric, s."cumulative_capital_flow"::numeric, s."daily_return"::numeric, s."num_positions"::numeric, s."num_long_positions"::numeric, s."num_short_positions"::numeric, s."beta_provider_1y"::numeric, s."beta_calculated_90d"::numeric, s."beta_calculated_90d_r_squared"::numeric, s."hhi"::numeric, s."top_3_concentration"::numeric, s."top_10_concentration"::numeric, s."realized_volatility_21d"::numeric, s."realized_volatility_63d"::numeric, s."beta_calculated_90d_observations"::numeric, s."effective_num_positions"::numeric, s."sector_exposure"::text, s."portfolio_delta"::numeric, s."portfolio_gamma"::numeric, s."portfolio_theta"::numeric, s."portfolio_vega"::numeric, s."beta_portfolio_regression"::text, s."expected_volatility_21d"::text, s."volatility_percentile"::text, s."volatility_trend"::text, s."target_price_return_eoy"::text, s."target_price_return_next_year"::text, s."target_price_downside_return"::text, s."target_price_upside_eoy"::text, s."target_price_upside_next_year"::text, s."target_price_downside"::text, s."target_price_num_positions"::text, s."target_price_num_covered"::text, s."target_price_coverage"::text, s."target_price_updated_at"::text FROM "public"."portfolio_snapshots" AS s
    WHERE s."portfolio_id" = o."id" AND s."snapshot_date" < '<day>'::date AND isfinite(s."snapshot_date") AND s."snapshot_date" >= COALESCE((
        SELECT s."snapshot_date" FROM "public"."portfolio_snapshots" AS s
        WHERE s."portfolio_id" = o."id" AND s."snapshot_date" < '<day>'::date
            AND isfinite(s."snapshot_date")
            AND COALESCE(CASE WHEN isfinite(s."created_at")
        THEN LEAST(extract(epoch FROM s."created_at") * 1000000, '<number>'::numeric)::int8
    WHEN s."created_at" = 'infinity' THEN '<number>'::int8 END, '-<number>'::int8) <= (
                SELECT min(COALESCE(CASE WHEN isfinite(s."created_at")
        THEN LEAST(extract(epoch FROM s."created_at") * 1000000, '<number>'::numeric)::int8
    WHEN s."created_at" = 'infinity' THEN '<number>'::int8 END, '-<number>'::int8)) FROM "public"."portfolio_snapshots" AS s WHERE s."portfolio_id" = o."id" AND s."snapshot_date" BETWEEN '<day>'::date AND '<day>'::date)
        ORDER BY s."snapshot_date" DESC LIMIT 1), '<day>'::date)) AS earlier
WHERE o."id" BETWEEN '<id>'::uuid AND '<id>'::uuid
) TO STDOUT (FORMAT binary);

-- verify(schema with fx, fast=False)
SELECT c0, c1 FROM (SELECT o."id", o."currency" FROM "public"."portfolios" AS o WHERE o."id" = ANY('<ids>'::uuid[])) AS q(c0, c1);

-- verify(schema with fx, fast=False)
SELECT c0, c1, CASE WHEN isfinite(c2) THEN (c2 - DATE '1970-01-01')::bigint WHEN c2 IS NOT NULL THEN <number> END, c3 FROM (SELECT v."base"::text, v."quote"::text, v."date", v."rate" FROM "public"."fx_rates" AS v WHERE v."date" <= '<day>'::date AND true) AS q(c0, c1, c2, c3);

-- verify(schema with fx, fast=False)
SELECT c0, c1, c2, c3, c4, c5, CASE WHEN isfinite(c6) THEN (c6 - DATE '1970-01-01')::bigint WHEN c6 IS NOT NULL THEN <number> END, CASE WHEN isfinite(c7) THEN (c7 - DATE '1970-01-01')::bigint WHEN c7 IS NOT NULL THEN <number> END, c8, c9, c10, CASE WHEN isfinite(c11) THEN (c11 - DATE '1970-01-01')::bigint WHEN c11 IS NOT NULL THEN <number> END, c12 FROM (SELECT p."id", p."portfolio_id", p."symbol", p."position_type", p."quantity", p."entry_price", p."entry_date", p."exit_date", p."investment_class", p."market_value", p."exit_price", p."expiration_date", p."currency"::text FROM "public"."positions" AS p WHERE p."deleted_at" IS NULL AND p."portfolio_id" = ANY('<ids>'::uuid[])) AS q(c0, c1, c2, c3, c4, c5, c6, c7, c8, c9, c10, c11, c12);

-- verify(schema with fx, fast=False)
-- verify(schema with fx, fast=True)
COPY (
SELECT c.* FROM (
    SELECT t."base"::text AS base, t."quote"::text AS quote, t."date" AS day, COALESCE(CASE WHEN isfinite(GREATEST(t."updated_at"))
        THEN LEAST(extract(epoch FROM GREATEST(t."updated_at")) * 1000000, '<number>'::numeric)::int8
    WHEN GREATEST(t."updated_at") = 'infinity' THEN '<number>'::int8 END, '-<number>'::int8) AS changed FROM "public"."fx_rates" AS t
    WHERE t."base" IS NOT NULL AND t."quote" IS NOT NULL AND t."date" BETWEEN '<day>'::date AND '<day>'::date) AS c
WHERE c.changed > '<number>'::int8 AND c.changed < '<number>'::int8
) TO STDOUT (FORMAT binary);

-- verify(schema with fx, fast=False)
-- verify(schema with fx, fast=True)
COPY (
SELECT o."id", o."currency" FROM "public"."portfolios" AS o WHERE o."id" BETWEEN '<id>'::uuid AND '<id>'::uuid
) TO STDOUT (FORMAT binary);
