-- Makes a host that differs from docs/schema.md; nothing of batchcore is in it.
CREATE SCHEMA ledger;
CREATE TYPE ledger.side_kind AS ENUM ('FUTURE', 'SHORT', 'LONG', 'SP', 'SC', 'LP', 'LC');
CREATE TYPE ledger.cash_kind AS ENUM ('FEE', 'WITHDRAWAL', 'CONTRIBUTION');
CREATE DOMAIN ledger.dollars AS numeric(20,4) CHECK (VALUE <> 'Infinity');
-- Its own migrations, and a table that only looks like one of ours.
CREATE TABLE ledger.alembic_version (version_num varchar(32) PRIMARY KEY);
INSERT INTO ledger.alembic_version VALUES ('f00dfeed0001');
CREATE TABLE public.positions (id int PRIMARY KEY, symbol text);
INSERT INTO public.positions VALUES (1, 'AAA');
CREATE TABLE ledger.tenants (id int PRIMARY KEY, label text NOT NULL);
INSERT INTO ledger.tenants VALUES (1, 'only');
CREATE TABLE ledger.accounts (
    tenant_id int NOT NULL DEFAULT 1 REFERENCES ledger.tenants,
    title text NOT NULL UNIQUE,
    ccy char(3) NOT NULL,
    nav ledger.dollars,
    closed_at timestamptz,
    touched_at timestamptz NOT NULL DEFAULT now(),
    id uuid PRIMARY KEY);
CREATE TABLE ledger."Holdings" (
    id uuid PRIMARY KEY,
    account_id uuid NOT NULL REFERENCES ledger.accounts ON DELETE CASCADE,
    lot_method text NOT NULL DEFAULT 'fifo',
    ticker varchar(40) NOT NULL,
    side ledger.side_kind NOT NULL,
    units double precision NOT NULL CHECK (units <> 'NaN'),
    cost_basis_per_share double precision NOT NULL,
    opened date NOT NULL,
    sold_at double precision,
    sold_on date,
    expires date,
    class text,
    "Marked Value" double precision,
    seen_at double precision,
    deleted_at timestamptz);
CREATE INDEX idx_positions_portfolio_deleted ON ledger."Holdings" (account_id, deleted_at);
CREATE INDEX holdings_ticker ON ledger."Holdings" (ticker, opened DESC);
CREATE TABLE ledger.quotes (
    ticker varchar(40) NOT NULL,
    day date NOT NULL,
    "Close" double precision,
    settled bool NOT NULL DEFAULT true,
    PRIMARY KEY (ticker, day));
CREATE TABLE ledger.daily (
    id uuid PRIMARY KEY,
    account_id uuid NOT NULL REFERENCES ledger.accounts ON DELETE CASCADE,
    as_of date NOT NULL,
    mood text NOT NULL DEFAULT 'calm',
    "Total ""Net"" Value" numeric(18,2) NOT NULL,
    cash_value numeric(18,4) NOT NULL,
    long_value numeric(16,2) NOT NULL,
    short_value numeric(16,2) NOT NULL,
    gross_exposure numeric(16,2) NOT NULL,
    net_exposure numeric(16,2) NOT NULL,
    equity_balance ledger.dollars,
    daily_pnl numeric(16,2),
    cumulative_pnl numeric(16,2),
    daily_realized_pnl numeric(16,2),
    cumulative_realized_pnl numeric(16,2),
    daily_capital_flow numeric(16,2),
    cumulative_capital_flow numeric(16,2),
    daily_return numeric(12,8),
    num_positions int NOT NULL,
    num_long_positions int NOT NULL,
    num_short_positions int NOT NULL,
    delta numeric(14,4),
    portfolio_gamma numeric(12,2),
    portfolio_theta numeric(12,2),
    portfolio_vega numeric,
    slope numeric(10,4),
    "Sectors" jsonb,
    hhi numeric(10,4),
    effective_num_positions numeric(10,2),
    top_3_concentration numeric(10,4),
    top_10_concentration numeric(10,4),
    realized_volatility_21d numeric(10,4),
    realized_volatility_63d numeric(10,4),
    beta_calculated_90d numeric(10,4),
    beta_calculated_90d_r_squared numeric(10,4),
    beta_calculated_90d_observations int,
    targets numeric(10,4) DEFAULT 0.5,
    is_complete bool NOT NULL DEFAULT true,
    made_at timestamptz NOT NULL,
    CONSTRAINT daily_account_day UNIQUE (account_id, as_of),
    CONSTRAINT uq_daily_again UNIQUE (account_id, as_of));
CREATE INDEX daily_by_day ON ledger.daily (as_of);
CREATE INDEX daily_complete ON ledger.daily (account_id, as_of DESC) WHERE is_complete;
CREATE TABLE ledger.remarks (
    daily_id uuid NOT NULL REFERENCES ledger.daily, remark text NOT NULL);
CREATE TABLE ledger.cash (
    id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    account_id uuid NOT NULL REFERENCES ledger.accounts,
    kind ledger.cash_kind NOT NULL,
    amount numeric(18,4) NOT NULL,
    on_day date NOT NULL,
    deleted_at timestamptz);
CREATE TABLE ledger.closures (
    holding_id uuid NOT NULL REFERENCES ledger."Holdings",
    account_id uuid NOT NULL REFERENCES ledger.accounts,
    traded date NOT NULL,
    units double precision NOT NULL,
    gain numeric(16,2) NOT NULL);
CREATE TABLE ledger.firms (
    ticker varchar(40) PRIMARY KEY,
    sector text,
    is_fund bool,
    beta double precision);
CREATE TABLE ledger."Slopes" (
    account_id uuid NOT NULL,
    holding_id uuid NOT NULL REFERENCES ledger."Holdings",
    as_of date NOT NULL,
    method text NOT NULL,
    window_days smallint NOT NULL,
    "Slope" double precision NOT NULL,
    PRIMARY KEY (account_id, holding_id, as_of, method, window_days));
CREATE TABLE ledger.indices (
    code char(8) NOT NULL, sector text NOT NULL, asof_date date NOT NULL,
    PRIMARY KEY (code, sector, asof_date));
INSERT INTO ledger.firms VALUES ('AAA', 'Energy', false, 1.1), ('BBB', 'Energy', NULL, 0.9);
