"""The schema as SQLAlchemy tables: docs/schema.md in code, which the migrations must agree with.

Only what docs/schema.md lists is in `metadata`, because a host owns these tables: no default that
it does not name, and no index but the three of batchcore. Those of `ledger` are batchcore's own.
"""

from __future__ import annotations

from typing import Any, Final

from sqlalchemy import (
    JSON,
    BigInteger,
    Boolean,
    Column,
    Date,
    DateTime,
    Enum,
    ForeignKey,
    Index,
    Integer,
    MetaData,
    Numeric,
    Sequence,
    String,
    Table,
    Text,
    UniqueConstraint,
    Uuid,
    text,
)
from sqlalchemy.dialects.postgresql import ARRAY, JSONB

_NAMES: Final = {
    "pk": "pk_%(table_name)s",
    "fk": "fk_%(table_name)s_%(column_0_name)s",
    "uq": "uq_%(table_name)s",
}

metadata: Final = MetaData(naming_convention=_NAMES)
"""The host's tables."""

ledger: Final = MetaData(naming_convention=_NAMES)
"""The tables of batchcore itself."""

position_type: Final = Enum(
    "LC", "LP", "SC", "SP", "LONG", "SHORT", name="positiontype", metadata=metadata
)
equity_change_type: Final = Enum(
    "CONTRIBUTION", "WITHDRAWAL", name="equity_change_type", metadata=metadata
)


def _id() -> Column[Any]:
    return Column("id", Uuid, primary_key=True)


def _uuid(name: str, references: str | None = None) -> Column[Any]:
    if references is None:
        return Column(name, Uuid, nullable=False)
    return Column(name, Uuid, ForeignKey(references), nullable=False)


def _instant(name: str, *, nullable: bool = False) -> Column[Any]:
    return Column(name, DateTime(timezone=True), nullable=nullable)


def _numeric(name: str, precision: int, scale: int, *, nullable: bool = True) -> Column[Any]:
    return Column(name, Numeric(precision, scale), nullable=nullable)


def _text(name: str, length: int | None = None, *, nullable: bool = True) -> Column[Any]:
    return Column(name, String(length), nullable=nullable)


portfolios: Final = Table(
    "portfolios",
    metadata,
    _id(),
    _uuid("user_id"),
    _text("name", 255, nullable=False),
    _text("account_name", 100, nullable=False),
    _text("account_type", 20, nullable=False),
    Column("is_active", Boolean, nullable=False, server_default=text("true")),
    _text("description", 1000),
    _text("currency", 3, nullable=False),
    _numeric("equity_balance", 16, 2),
    _instant("created_at"),
    _instant("updated_at"),
    _instant("deleted_at", nullable=True),
    UniqueConstraint("user_id", "account_name"),
)

positions: Final = Table(
    "positions",
    metadata,
    _id(),
    _uuid("portfolio_id", "portfolios.id"),
    _text("symbol", 20, nullable=False),
    Column("position_type", position_type, nullable=False),
    _numeric("quantity", 16, 4, nullable=False),
    _numeric("entry_price", 12, 4, nullable=False),
    Column("entry_date", Date, nullable=False),
    _numeric("exit_price", 12, 4),
    Column("exit_date", Date),
    _text("underlying_symbol", 10),
    _numeric("strike_price", 12, 4),
    Column("expiration_date", Date),
    _text("investment_class", 20),
    _text("investment_subtype", 30),
    _numeric("last_price", 12, 4),
    _numeric("market_value", 16, 2),
    _numeric("unrealized_pnl", 16, 2),
    _numeric("realized_pnl", 16, 2),
    _text("notes"),
    _instant("created_at"),
    _instant("updated_at"),
    _instant("deleted_at", nullable=True),
)

market_data_cache: Final = Table(
    "market_data_cache",
    metadata,
    _id(),
    _text("symbol", 20, nullable=False),
    Column("date", Date, nullable=False),
    _numeric("open", 12, 4),
    _numeric("high", 12, 4),
    _numeric("low", 12, 4),
    _numeric("close", 12, 4, nullable=False),
    Column("volume", Integer),
    _text("sector", 100),
    _text("industry", 100),
    _text("exchange", 20),
    _text("country", 10),
    _numeric("market_cap", 18, 2),
    _text("data_source", 50, nullable=False),
    _instant("created_at"),
    _instant("updated_at"),
    UniqueConstraint("symbol", "date"),
)

company_profiles: Final = Table(
    "company_profiles",
    metadata,
    Column("symbol", String(20), primary_key=True),
    _text("company_name", 200),
    _text("sector", 100),
    _text("industry", 100),
    _text("exchange", 50),
    _text("country", 50),
    _numeric("market_cap", 18, 2),
    _text("description", 1000),
    Column("is_etf", Boolean),
    Column("is_fund", Boolean),
    _numeric("beta", 8, 4),
    _text("data_source", 50, nullable=False),
    _instant("last_updated"),
    _instant("created_at"),
    _instant("updated_at"),
)

portfolio_snapshots: Final = Table(
    "portfolio_snapshots",
    metadata,
    _id(),
    _uuid("portfolio_id", "portfolios.id"),
    Column("snapshot_date", Date, nullable=False),
    _numeric("total_value", 16, 2, nullable=False),
    _numeric("cash_value", 16, 2, nullable=False),
    _numeric("long_value", 16, 2, nullable=False),
    _numeric("short_value", 16, 2, nullable=False),
    _numeric("gross_exposure", 16, 2, nullable=False),
    _numeric("net_exposure", 16, 2, nullable=False),
    _numeric("equity_balance", 16, 2),
    _numeric("daily_pnl", 16, 2),
    _numeric("cumulative_pnl", 16, 2),
    _numeric("daily_realized_pnl", 16, 2),
    _numeric("cumulative_realized_pnl", 16, 2),
    _numeric("daily_capital_flow", 16, 2),
    _numeric("cumulative_capital_flow", 16, 2),
    _numeric("daily_return", 8, 6),
    Column("num_positions", Integer, nullable=False),
    Column("num_long_positions", Integer, nullable=False),
    Column("num_short_positions", Integer, nullable=False),
    _numeric("portfolio_delta", 12, 2),
    _numeric("portfolio_gamma", 12, 2),
    _numeric("portfolio_theta", 12, 2),
    _numeric("portfolio_vega", 12, 2),
    _numeric("beta_provider_1y", 10, 4),
    _numeric("beta_calculated_90d", 10, 4),
    _numeric("beta_calculated_90d_r_squared", 10, 4),
    _numeric("beta_portfolio_regression", 10, 4),
    _numeric("hhi", 10, 4),
    _numeric("top_3_concentration", 10, 4),
    _numeric("top_10_concentration", 10, 4),
    _numeric("realized_volatility_21d", 10, 4),
    _numeric("realized_volatility_63d", 10, 4),
    _numeric("expected_volatility_21d", 10, 4),
    _numeric("volatility_percentile", 10, 4),
    Column("beta_calculated_90d_observations", Integer),
    _numeric("effective_num_positions", 10, 2),
    _text("volatility_trend", 20),
    Column("sector_exposure", JSON),
    _numeric("target_price_return_eoy", 10, 4),
    _numeric("target_price_return_next_year", 10, 4),
    _numeric("target_price_downside_return", 10, 4),
    _numeric("target_price_upside_eoy", 16, 2),
    _numeric("target_price_upside_next_year", 16, 2),
    _numeric("target_price_downside", 16, 2),
    Column("target_price_num_positions", Integer),
    Column("target_price_num_covered", Integer),
    _numeric("target_price_coverage", 10, 4),
    _instant("target_price_updated_at", nullable=True),
    Column("is_complete", Boolean, nullable=False, server_default=text("true")),
    _instant("created_at"),
    UniqueConstraint("portfolio_id", "snapshot_date"),
)

equity_changes: Final = Table(
    "equity_changes",
    metadata,
    _id(),
    _uuid("portfolio_id"),
    Column("change_type", equity_change_type, nullable=False),
    _numeric("amount", 16, 2, nullable=False),
    Column("change_date", Date, nullable=False),
    _text("notes", 500),
    _uuid("created_by_user_id"),
    _instant("created_at"),
    _instant("updated_at"),
    _instant("deleted_at", nullable=True),
)

position_realized_events: Final = Table(
    "position_realized_events",
    metadata,
    _id(),
    _uuid("position_id", "positions.id"),
    _uuid("portfolio_id", "portfolios.id"),
    Column("trade_date", Date, nullable=False),
    _numeric("quantity_closed", 16, 4, nullable=False),
    _numeric("realized_pnl", 16, 2, nullable=False),
    _instant("created_at"),
)

position_market_betas: Final = Table(
    "position_market_betas",
    metadata,
    _id(),
    _uuid("portfolio_id"),
    _uuid("position_id"),
    Column("calc_date", Date, nullable=False),
    _numeric("beta", 12, 6, nullable=False),
    _numeric("alpha", 12, 6),
    _numeric("r_squared", 12, 6),
    _numeric("std_error", 12, 6),
    _numeric("p_value", 12, 6),
    Column("observations", Integer, nullable=False),
    Column("window_days", Integer, nullable=False, server_default=text("90")),
    Column("method", String(32), nullable=False, server_default="OLS_SIMPLE"),
    Column("market_index", String(16), nullable=False, server_default="SPY"),
    _instant("created_at"),
    _instant("updated_at"),
    UniqueConstraint("portfolio_id", "position_id", "calc_date", "method", "window_days"),
)

factor_definitions: Final = Table(
    "factor_definitions",
    metadata,
    _id(),
    _text("name", 50, nullable=False),
    _text("description", 500),
    _text("factor_type", 20, nullable=False),
    _text("calculation_method", 50),
    _text("etf_proxy", 10),
    Column("display_order", Integer, nullable=False),
    Column("is_active", Boolean, nullable=False),
    _instant("created_at"),
    _instant("updated_at"),
    UniqueConstraint("name"),
)

factor_exposures: Final = Table(
    "factor_exposures",
    metadata,
    _id(),
    _uuid("portfolio_id"),
    _uuid("factor_id"),
    Column("calculation_date", Date, nullable=False),
    _numeric("exposure_value", 12, 6, nullable=False),
    _numeric("exposure_dollar", 16, 2),
    _instant("created_at"),
    _instant("updated_at"),
    UniqueConstraint("portfolio_id", "factor_id", "calculation_date"),
)

position_factor_exposures: Final = Table(
    "position_factor_exposures",
    metadata,
    _id(),
    _uuid("position_id"),
    _uuid("factor_id"),
    Column("calculation_date", Date, nullable=False),
    _numeric("exposure_value", 12, 6, nullable=False),
    _text("quality_flag", 20),
    _instant("created_at"),
    UniqueConstraint("position_id", "factor_id", "calculation_date"),
)

benchmarks_sector_weights: Final = Table(
    "benchmarks_sector_weights",
    metadata,
    _id(),
    _text("benchmark_code", 32, nullable=False),
    Column("asof_date", Date, nullable=False),
    _text("sector", 64, nullable=False),
    _numeric("weight", 12, 6, nullable=False),
    _numeric("market_cap", 20, 2),
    Column("num_constituents", Integer),
    _text("data_source", 32, nullable=False),
    _instant("created_at"),
    _instant("updated_at"),
    UniqueConstraint("benchmark_code", "asof_date", "sector"),
)

tags_v2: Final = Table(
    "tags_v2",
    metadata,
    _id(),
    _uuid("user_id"),
    _text("name", 50, nullable=False),
    _text("color", 7),
    Column("description", Text),
    Column("display_order", Integer, nullable=False),
    Column("usage_count", Integer, nullable=False),
    Column("is_archived", Boolean, nullable=False),
    _instant("archived_at", nullable=True),
    Column("archived_by", Uuid),
    _instant("created_at"),
    _instant("updated_at"),
    UniqueConstraint("user_id", "name", "is_archived"),
)

position_tags: Final = Table(
    "position_tags",
    metadata,
    _id(),
    _uuid("position_id"),
    _uuid("tag_id"),
    _instant("assigned_at"),
    Column("assigned_by", Uuid),
    UniqueConstraint("position_id", "tag_id"),
)

users: Final = Table(
    "users",
    metadata,
    _id(),
    _text("email", 255, nullable=False),
    _text("hashed_password", 255, nullable=False),
    _text("full_name", 255, nullable=False),
    Column("is_active", Boolean, nullable=False),
    _instant("created_at"),
    _instant("updated_at"),
    UniqueConstraint("email"),
)

INDEXES: Final = (
    Index(
        "idx_positions_active_complete",
        positions.c.portfolio_id,
        positions.c.deleted_at,
        positions.c.exit_date,
        positions.c.investment_class,
        postgresql_where=text("deleted_at IS NULL"),
    ),
    Index(
        "idx_market_data_valid_prices",
        market_data_cache.c.symbol,
        market_data_cache.c.date,
        postgresql_where=text("close > 0"),
    ),
    Index(
        "idx_positions_symbol_active",
        positions.c.deleted_at,
        positions.c.symbol,
        positions.c.exit_date,
        positions.c.expiration_date,
        postgresql_where=text("deleted_at IS NULL AND symbol IS NOT NULL AND symbol <> ''"),
    ),
)
"""The three indexes that batchcore adds to the host's tables."""

run_tokens: Final = Sequence("batchcore_run_tokens", metadata=ledger)

runs: Final = Table(
    "batchcore_runs",
    ledger,
    _id(),
    Column("fingerprint", Text, nullable=False),
    Column("asked", JSONB, nullable=False),
    Column("portfolio_ids", ARRAY(Uuid)),
    Column("configuration", JSONB, nullable=False),
    Column("code_version", Text, nullable=False),
    Column("state", Text, nullable=False),
    Column("attempt", Integer, nullable=False),
    Column("token", BigInteger, nullable=False),
    _instant("created_at"),
    _instant("started_at"),
    _instant("ended_at", nullable=True),
    Column("start_date", Date),
    Column("end_date", Date),
    Column("snapshot_id", Text),
    Column("lsn", Text),
    Column("portfolios", Integer),
    Column("failed", Integer, nullable=False),
    Column("chunks", Integer, nullable=False),
    Column("rows_written", BigInteger, nullable=False),
    Column("seconds", Numeric(12, 3), nullable=False),
    Column("error", Text),
)


def _run_id() -> Column[Any]:
    return Column(
        "run_id", Uuid, ForeignKey("batchcore_runs.id", ondelete="CASCADE"), primary_key=True
    )


run_chunks: Final = Table(
    "batchcore_run_chunks",
    ledger,
    _run_id(),
    Column("chunk", Integer, primary_key=True),
    Column("attempt", Integer, nullable=False),
    _uuid("first_portfolio"),
    _uuid("last_portfolio"),
    Column("first_session", Date),
    Column("last_session", Date),
    Column("sessions", Integer, nullable=False),
    Column("rows_written", Integer, nullable=False),
    Column("sha256", Text, nullable=False),
    _instant("committed_at"),
)

run_issues: Final = Table(
    "batchcore_run_issues",
    ledger,
    _run_id(),
    Column("chunk", Integer, primary_key=True),
    Column("portfolio_id", Uuid, primary_key=True),
    Column("name", Text, primary_key=True),
    Column("failed", Boolean, nullable=False),
    Column("count", Integer, nullable=False),
    Column("symbol", Text),
    Column("session", Date),
    Column("detail", Text),
)

run_symbol_issues: Final = Table(
    "batchcore_run_symbol_issues",
    ledger,
    _run_id(),
    Column("attempt", Integer, primary_key=True),
    Column("name", Text, primary_key=True),
    Column("symbol", Text, primary_key=True),
    Column("count", Integer, nullable=False),
    Column("session", Date),
    Column("detail", Text),
)

run_heartbeats: Final = Table(
    "batchcore_run_heartbeats",
    ledger,
    _run_id(),
    Column("token", BigInteger, nullable=False),
    _instant("beat_at"),
    _instant("expires_at"),
)

analytic_writes: Final = Table(
    "batchcore_analytic_writes",
    ledger,
    _id(),
    _instant("written_at"),
)
