"""A host that differs from docs/schema.md in every way that batchcore takes, and its rows.

Its tables stand in a schema of its own under names of its own, with types, enums, constraints,
indexes and columns that the listing does not have. Tables of the listed names stand in `public`,
to be left alone.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from support import database, legacy_host

if TYPE_CHECKING:
    import uuid
    from collections.abc import Sequence

    import asyncpg

    from batchcore import reference as ref
    from batchcore.config import Schema
    from support.database import Host
    from support.legacy_frames import Run

NAMESPACE = "ledger"

TOML = """\
namespace = "ledger"

[tables]
portfolios = "accounts"
positions = "Holdings"
market_data_cache = "quotes"
portfolio_snapshots = "daily"
equity_changes = "cash"
position_realized_events = "closures"
company_profiles = "firms"
position_market_betas = "Slopes"
benchmarks_sector_weights = "indices"

[columns]
portfolios.name = "title"
portfolios.currency = "ccy"
portfolios.equity_balance = "nav"
portfolios.deleted_at = "closed_at"
portfolios.updated_at = "touched_at"
positions.portfolio_id = "account_id"
positions.symbol = "ticker"
positions.position_type = "side"
positions.quantity = "units"
positions.entry_price = "cost_basis_per_share"
positions.entry_date = "opened"
positions.exit_price = "sold_at"
positions.exit_date = "sold_on"
positions.expiration_date = "expires"
positions.investment_class = "class"
positions.market_value = "Marked Value"
positions.last_price = "seen_at"
market_data_cache.symbol = "ticker"
market_data_cache.date = "day"
market_data_cache.close = "Close"
portfolio_snapshots.portfolio_id = "account_id"
portfolio_snapshots.snapshot_date = "as_of"
portfolio_snapshots.total_value = 'Total "Net" Value'
portfolio_snapshots.portfolio_delta = "delta"
portfolio_snapshots.sector_exposure = "Sectors"
portfolio_snapshots.beta_provider_1y = "slope"
portfolio_snapshots.target_price_coverage = "targets"
portfolio_snapshots.created_at = "made_at"
equity_changes.portfolio_id = "account_id"
equity_changes.change_type = "kind"
equity_changes.change_date = "on_day"
position_realized_events.position_id = "holding_id"
position_realized_events.portfolio_id = "account_id"
position_realized_events.trade_date = "traded"
position_realized_events.quantity_closed = "units"
position_realized_events.realized_pnl = "gain"
company_profiles.symbol = "ticker"
company_profiles.is_etf = "is_fund"
position_market_betas.portfolio_id = "account_id"
position_market_betas.position_id = "holding_id"
position_market_betas.calc_date = "as_of"
position_market_betas.beta = "Slope"
benchmarks_sector_weights.benchmark_code = "code"

[scales]
positions.quantity = 4
positions.entry_price = 4
positions.exit_price = 4
positions.market_value = 2
positions.last_price = 4
market_data_cache.close = 4
position_realized_events.quantity_closed = 4
portfolio_snapshots.portfolio_vega = 2
company_profiles.beta = 4
position_market_betas.beta = 6
"""

STATEMENTS = (
    "CREATE SCHEMA ledger",
    "CREATE TYPE ledger.side_kind AS ENUM ('FUTURE', 'SHORT', 'LONG', 'SP', 'SC', 'LP', 'LC')",
    "CREATE TYPE ledger.cash_kind AS ENUM ('FEE', 'WITHDRAWAL', 'CONTRIBUTION')",
    "CREATE DOMAIN ledger.dollars AS numeric(20,4) CHECK (VALUE <> 'Infinity')",
    # its own migrations, and a table that only looks like one of ours
    "CREATE TABLE ledger.alembic_version (version_num varchar(32) PRIMARY KEY)",
    "INSERT INTO ledger.alembic_version VALUES ('f00dfeed0001')",
    "CREATE TABLE public.positions (id int PRIMARY KEY, symbol text)",
    "INSERT INTO public.positions VALUES (1, 'AAA')",
    "CREATE TABLE ledger.tenants (id int PRIMARY KEY, label text NOT NULL)",
    "INSERT INTO ledger.tenants VALUES (1, 'only')",
    """CREATE TABLE ledger.accounts (
        tenant_id int NOT NULL DEFAULT 1 REFERENCES ledger.tenants,
        title text NOT NULL UNIQUE,
        ccy char(3) NOT NULL,
        nav ledger.dollars,
        closed_at timestamptz,
        touched_at timestamptz NOT NULL DEFAULT now(),
        id uuid PRIMARY KEY)""",
    """CREATE TABLE ledger."Holdings" (
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
        deleted_at timestamptz)""",
    'CREATE INDEX idx_positions_portfolio_deleted ON ledger."Holdings" (account_id, deleted_at)',
    'CREATE INDEX holdings_ticker ON ledger."Holdings" (ticker, opened DESC)',
    """CREATE TABLE ledger.quotes (
        ticker varchar(40) NOT NULL,
        day date NOT NULL,
        "Close" double precision,
        settled bool NOT NULL DEFAULT true,
        PRIMARY KEY (ticker, day))""",
    """CREATE TABLE ledger.daily (
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
        CONSTRAINT uq_daily_again UNIQUE (account_id, as_of))""",
    "CREATE INDEX daily_by_day ON ledger.daily (as_of)",
    "CREATE INDEX daily_complete ON ledger.daily (account_id, as_of DESC) WHERE is_complete",
    """CREATE TABLE ledger.remarks (
        daily_id uuid NOT NULL REFERENCES ledger.daily, remark text NOT NULL)""",
    """CREATE TABLE ledger.cash (
        id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
        account_id uuid NOT NULL REFERENCES ledger.accounts,
        kind ledger.cash_kind NOT NULL,
        amount numeric(18,4) NOT NULL,
        on_day date NOT NULL,
        deleted_at timestamptz)""",
    """CREATE TABLE ledger.closures (
        holding_id uuid NOT NULL REFERENCES ledger."Holdings",
        account_id uuid NOT NULL REFERENCES ledger.accounts,
        traded date NOT NULL,
        units double precision NOT NULL,
        gain numeric(16,2) NOT NULL)""",
    """CREATE TABLE ledger.firms (
        ticker varchar(40) PRIMARY KEY,
        sector text,
        is_fund bool,
        beta double precision)""",
    """CREATE TABLE ledger."Slopes" (
        account_id uuid NOT NULL,
        holding_id uuid NOT NULL REFERENCES ledger."Holdings",
        as_of date NOT NULL,
        method text NOT NULL,
        window_days smallint NOT NULL,
        "Slope" double precision NOT NULL,
        PRIMARY KEY (account_id, holding_id, as_of, method, window_days))""",
    """CREATE TABLE ledger.indices (
        code char(8) NOT NULL, sector text NOT NULL, asof_date date NOT NULL,
        PRIMARY KEY (code, sector, asof_date))""",
    "INSERT INTO ledger.firms VALUES ('AAA', 'Energy', false, 1.1), ('BBB', 'Energy', NULL, 0.9)",
)
"""What makes the host; nothing of batchcore is in it."""


async def fill(connection: asyncpg.Connection, host: Host) -> None:
    """Write a host's rows, and a snapshot that somebody has remarked on for each that stands."""
    for portfolio in host.portfolios:
        own = database.key(portfolio.id)
        await _insert(
            connection,
            "accounts",
            {"id": own, "title": portfolio.id, "ccy": "USD", "nav": portfolio.opening_equity},
        )
        for number, position in enumerate(portfolio.positions):
            await _add_holding(connection, own, f"{portfolio.id}/{number}", position)
        for flow in portfolio.flows:
            day = database.date(flow.day)
            values = {"account_id": own, "kind": flow.change_type, "amount": flow.amount}
            await _insert(connection, "cash", {**values, "on_day": day})
        for row in host.standing_of(portfolio.id):
            await _add_snapshot(connection, own, row)
    await connection.copy_records_to_table(
        "quotes",
        schema_name=NAMESPACE,
        columns=["ticker", "day", "Close"],
        records=[(symbol, database.date(day), close) for symbol, day, close in host.prices],
    )


async def fill_legacy(connection: asyncpg.Connection, schema: Schema, run: Run) -> None:
    """Write the rows of a run of the policy `legacy`: of each, the columns that the host has."""
    await connection.execute("TRUNCATE ledger.firms")
    for table, rows in legacy_host.tables_of(run).items():
        listed = await connection.fetch(
            "SELECT column_name::text FROM information_schema.columns WHERE is_identity = 'NO'"
            " AND table_schema = $1 AND table_name = $2",
            NAMESPACE,
            schema.table(table),
        )
        there = {name for (name,) in listed}
        for row in rows:
            named = {schema.column(table, column): cell for column, cell in row.items()}
            kept = {name: cell for name, cell in named.items() if name in there}
            await _insert(connection, schema.table(table), kept)


async def _add_holding(
    connection: asyncpg.Connection, account: uuid.UUID, name: str, position: ref.Position
) -> None:
    await _insert(
        connection,
        "Holdings",
        {
            "id": database.key(name),
            "account_id": account,
            "ticker": position.symbol,
            "side": position.position_type,
            "units": position.quantity,
            "cost_basis_per_share": position.entry_price,
            "opened": database.date(position.entry_day),
            "sold_at": position.exit_price,
            "sold_on": database.date(position.exit_day),
            "expires": database.date(position.expiration_day),
            "class": position.investment_class,
            "Marked Value": position.market_value,
            "deleted_at": database.MOMENT if position.deleted else None,
        },
    )
    for event in position.events:
        values = {"holding_id": database.key(name), "account_id": account}
        values |= {"traded": database.date(event.day), "units": event.quantity}
        await _insert(connection, "closures", {**values, "gain": event.realized})


async def _add_snapshot(
    connection: asyncpg.Connection, account: uuid.UUID, row: database.Standing
) -> None:
    nothing = ("cash_value", "long_value", "short_value", "gross_exposure", "net_exposure")
    counts = ("num_positions", "num_long_positions", "num_short_positions")
    own = database.key(f"{account} on {row.day}")
    amounts = ("daily_pnl", "daily_capital_flow", "cumulative_pnl")
    amounts += ("cumulative_realized_pnl", "cumulative_capital_flow")
    await _insert(
        connection,
        "daily",
        {
            "id": own,
            "account_id": account,
            "as_of": database.date(row.day),
            "mood": "nervous",
            'Total "Net" Value': 0,
            **dict.fromkeys((*nothing, *counts), 0),
            "equity_balance": row.equity,
            **{name: getattr(row, name) for name in amounts},
            "is_complete": row.is_complete,
            "made_at": database.MOMENT,
        },
    )
    await _insert(connection, "remarks", {"daily_id": own, "remark": "seen"})


async def _insert(connection: asyncpg.Connection, table: str, values: dict[str, Any]) -> None:
    await connection.copy_records_to_table(
        table, schema_name=NAMESPACE, columns=list(values), records=[tuple(values.values())]
    )


def quoted(names: Sequence[str]) -> str:
    """Return names as a list of quoted identifiers."""
    return ", ".join('"' + name.replace('"', '""') + '"' for name in names)
