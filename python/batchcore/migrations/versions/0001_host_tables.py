"""The host's tables, for an empty database.

Where a host has them already, `batchcore migrate` compares them and marks this revision as done.
"""

from __future__ import annotations

from typing import Any

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects.postgresql import ENUM

from batchcore.db.migrate import options

revision = "0001"
down_revision = None
branch_labels = None
depends_on = None

TABLES = (
    "portfolios",
    "positions",
    "market_data_cache",
    "company_profiles",
    "portfolio_snapshots",
    "equity_changes",
    "position_realized_events",
    "position_market_betas",
    "factor_definitions",
    "factor_exposures",
    "position_factor_exposures",
    "benchmarks_sector_weights",
    "tags_v2",
    "position_tags",
    "users",
)
FOREIGN_KEYS = (
    ("positions", "portfolio_id", "portfolios"),
    ("portfolio_snapshots", "portfolio_id", "portfolios"),
    ("position_realized_events", "position_id", "positions"),
    ("position_realized_events", "portfolio_id", "portfolios"),
)


def _enums(namespace: str) -> tuple[ENUM, ENUM]:
    labels = ("LC", "LP", "SC", "SP", "LONG", "SHORT")
    return (
        ENUM(*labels, name="positiontype", schema=namespace, create_type=False),
        ENUM(
            "CONTRIBUTION",
            "WITHDRAWAL",
            name="equity_change_type",
            schema=namespace,
            create_type=False,
        ),
    )


def _id(table: str) -> tuple[sa.Column[Any], sa.PrimaryKeyConstraint]:
    return (
        sa.Column("id", sa.Uuid, nullable=False),
        sa.PrimaryKeyConstraint("id", name=f"pk_{table}"),
    )


def _uuid(name: str) -> sa.Column[Any]:
    return sa.Column(name, sa.Uuid, nullable=False)


def _instant(name: str, *, nullable: bool = False) -> sa.Column[Any]:
    return sa.Column(name, sa.DateTime(timezone=True), nullable=nullable)


def _numeric(name: str, precision: int, scale: int, *, nullable: bool = True) -> sa.Column[Any]:
    return sa.Column(name, sa.Numeric(precision, scale), nullable=nullable)


def _text(name: str, length: int | None = None, *, nullable: bool = True) -> sa.Column[Any]:
    return sa.Column(name, sa.String(length), nullable=nullable)


def upgrade() -> None:
    """Create the two enum types, then the tables with their keys."""
    namespace = options().schema.namespace
    position_type, equity_change_type = _enums(namespace)
    for enum in (position_type, equity_change_type):
        enum.create(op.get_bind(), checkfirst=True)
    op.create_table(
        "portfolios",
        *_id("portfolios"),
        _uuid("user_id"),
        _text("name", 255, nullable=False),
        _text("account_name", 100, nullable=False),
        _text("account_type", 20, nullable=False),
        sa.Column("is_active", sa.Boolean, nullable=False, server_default=sa.text("true")),
        _text("description", 1000),
        _text("currency", 3, nullable=False),
        _numeric("equity_balance", 16, 2),
        _instant("created_at"),
        _instant("updated_at"),
        _instant("deleted_at", nullable=True),
        sa.UniqueConstraint("user_id", "account_name", name="uq_portfolios"),
        schema=namespace,
    )
    op.create_table(
        "positions",
        *_id("positions"),
        _uuid("portfolio_id"),
        _text("symbol", 20, nullable=False),
        sa.Column("position_type", position_type, nullable=False),
        _numeric("quantity", 16, 4, nullable=False),
        _numeric("entry_price", 12, 4, nullable=False),
        sa.Column("entry_date", sa.Date, nullable=False),
        _numeric("exit_price", 12, 4),
        sa.Column("exit_date", sa.Date),
        _text("underlying_symbol", 10),
        _numeric("strike_price", 12, 4),
        sa.Column("expiration_date", sa.Date),
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
        schema=namespace,
    )
    op.create_table(
        "market_data_cache",
        *_id("market_data_cache"),
        _text("symbol", 20, nullable=False),
        sa.Column("date", sa.Date, nullable=False),
        _numeric("open", 12, 4),
        _numeric("high", 12, 4),
        _numeric("low", 12, 4),
        _numeric("close", 12, 4, nullable=False),
        sa.Column("volume", sa.Integer),
        _text("sector", 100),
        _text("industry", 100),
        _text("exchange", 20),
        _text("country", 10),
        _numeric("market_cap", 18, 2),
        _text("data_source", 50, nullable=False),
        _instant("created_at"),
        _instant("updated_at"),
        sa.UniqueConstraint("symbol", "date", name="uq_market_data_cache"),
        schema=namespace,
    )
    op.create_table(
        "company_profiles",
        sa.Column("symbol", sa.String(20), nullable=False),
        sa.PrimaryKeyConstraint("symbol", name="pk_company_profiles"),
        _text("company_name", 200),
        _text("sector", 100),
        _text("industry", 100),
        _text("exchange", 50),
        _text("country", 50),
        _numeric("market_cap", 18, 2),
        _text("description", 1000),
        sa.Column("is_etf", sa.Boolean),
        sa.Column("is_fund", sa.Boolean),
        _numeric("beta", 8, 4),
        _text("data_source", 50, nullable=False),
        _instant("last_updated"),
        _instant("created_at"),
        _instant("updated_at"),
        schema=namespace,
    )
    op.create_table(
        "portfolio_snapshots",
        *_id("portfolio_snapshots"),
        _uuid("portfolio_id"),
        sa.Column("snapshot_date", sa.Date, nullable=False),
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
        sa.Column("num_positions", sa.Integer, nullable=False),
        sa.Column("num_long_positions", sa.Integer, nullable=False),
        sa.Column("num_short_positions", sa.Integer, nullable=False),
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
        sa.Column("beta_calculated_90d_observations", sa.Integer),
        _numeric("effective_num_positions", 10, 2),
        _text("volatility_trend", 20),
        sa.Column("sector_exposure", sa.JSON),
        _numeric("target_price_return_eoy", 10, 4),
        _numeric("target_price_return_next_year", 10, 4),
        _numeric("target_price_downside_return", 10, 4),
        _numeric("target_price_upside_eoy", 16, 2),
        _numeric("target_price_upside_next_year", 16, 2),
        _numeric("target_price_downside", 16, 2),
        sa.Column("target_price_num_positions", sa.Integer),
        sa.Column("target_price_num_covered", sa.Integer),
        _numeric("target_price_coverage", 10, 4),
        _instant("target_price_updated_at", nullable=True),
        sa.Column("is_complete", sa.Boolean, nullable=False, server_default=sa.text("true")),
        _instant("created_at"),
        sa.UniqueConstraint("portfolio_id", "snapshot_date", name="uq_portfolio_snapshots"),
        schema=namespace,
    )
    op.create_table(
        "equity_changes",
        *_id("equity_changes"),
        _uuid("portfolio_id"),
        sa.Column("change_type", equity_change_type, nullable=False),
        _numeric("amount", 16, 2, nullable=False),
        sa.Column("change_date", sa.Date, nullable=False),
        _text("notes", 500),
        _uuid("created_by_user_id"),
        _instant("created_at"),
        _instant("updated_at"),
        _instant("deleted_at", nullable=True),
        schema=namespace,
    )
    op.create_table(
        "position_realized_events",
        *_id("position_realized_events"),
        _uuid("position_id"),
        _uuid("portfolio_id"),
        sa.Column("trade_date", sa.Date, nullable=False),
        _numeric("quantity_closed", 16, 4, nullable=False),
        _numeric("realized_pnl", 16, 2, nullable=False),
        _instant("created_at"),
        schema=namespace,
    )
    op.create_table(
        "position_market_betas",
        *_id("position_market_betas"),
        _uuid("portfolio_id"),
        _uuid("position_id"),
        sa.Column("calc_date", sa.Date, nullable=False),
        _numeric("beta", 12, 6, nullable=False),
        _numeric("alpha", 12, 6),
        _numeric("r_squared", 12, 6),
        _numeric("std_error", 12, 6),
        _numeric("p_value", 12, 6),
        sa.Column("observations", sa.Integer, nullable=False),
        sa.Column("window_days", sa.Integer, nullable=False, server_default=sa.text("90")),
        sa.Column("method", sa.String(32), nullable=False, server_default="OLS_SIMPLE"),
        sa.Column("market_index", sa.String(16), nullable=False, server_default="SPY"),
        _instant("created_at"),
        _instant("updated_at"),
        sa.UniqueConstraint(
            "portfolio_id",
            "position_id",
            "calc_date",
            "method",
            "window_days",
            name="uq_position_market_betas",
        ),
        schema=namespace,
    )
    op.create_table(
        "factor_definitions",
        *_id("factor_definitions"),
        _text("name", 50, nullable=False),
        _text("description", 500),
        _text("factor_type", 20, nullable=False),
        _text("calculation_method", 50),
        _text("etf_proxy", 10),
        sa.Column("display_order", sa.Integer, nullable=False),
        sa.Column("is_active", sa.Boolean, nullable=False),
        _instant("created_at"),
        _instant("updated_at"),
        sa.UniqueConstraint("name", name="uq_factor_definitions"),
        schema=namespace,
    )
    op.create_table(
        "factor_exposures",
        *_id("factor_exposures"),
        _uuid("portfolio_id"),
        _uuid("factor_id"),
        sa.Column("calculation_date", sa.Date, nullable=False),
        _numeric("exposure_value", 12, 6, nullable=False),
        _numeric("exposure_dollar", 16, 2),
        _instant("created_at"),
        _instant("updated_at"),
        sa.UniqueConstraint(
            "portfolio_id", "factor_id", "calculation_date", name="uq_factor_exposures"
        ),
        schema=namespace,
    )
    op.create_table(
        "position_factor_exposures",
        *_id("position_factor_exposures"),
        _uuid("position_id"),
        _uuid("factor_id"),
        sa.Column("calculation_date", sa.Date, nullable=False),
        _numeric("exposure_value", 12, 6, nullable=False),
        _text("quality_flag", 20),
        _instant("created_at"),
        sa.UniqueConstraint(
            "position_id", "factor_id", "calculation_date", name="uq_position_factor_exposures"
        ),
        schema=namespace,
    )
    op.create_table(
        "benchmarks_sector_weights",
        *_id("benchmarks_sector_weights"),
        _text("benchmark_code", 32, nullable=False),
        sa.Column("asof_date", sa.Date, nullable=False),
        _text("sector", 64, nullable=False),
        _numeric("weight", 12, 6, nullable=False),
        _numeric("market_cap", 20, 2),
        sa.Column("num_constituents", sa.Integer),
        _text("data_source", 32, nullable=False),
        _instant("created_at"),
        _instant("updated_at"),
        sa.UniqueConstraint(
            "benchmark_code", "asof_date", "sector", name="uq_benchmarks_sector_weights"
        ),
        schema=namespace,
    )
    op.create_table(
        "tags_v2",
        *_id("tags_v2"),
        _uuid("user_id"),
        _text("name", 50, nullable=False),
        _text("color", 7),
        sa.Column("description", sa.Text),
        sa.Column("display_order", sa.Integer, nullable=False),
        sa.Column("usage_count", sa.Integer, nullable=False),
        sa.Column("is_archived", sa.Boolean, nullable=False),
        _instant("archived_at", nullable=True),
        sa.Column("archived_by", sa.Uuid),
        _instant("created_at"),
        _instant("updated_at"),
        sa.UniqueConstraint("user_id", "name", "is_archived", name="uq_tags_v2"),
        schema=namespace,
    )
    op.create_table(
        "position_tags",
        *_id("position_tags"),
        _uuid("position_id"),
        _uuid("tag_id"),
        _instant("assigned_at"),
        sa.Column("assigned_by", sa.Uuid),
        sa.UniqueConstraint("position_id", "tag_id", name="uq_position_tags"),
        schema=namespace,
    )
    op.create_table(
        "users",
        *_id("users"),
        _text("email", 255, nullable=False),
        _text("hashed_password", 255, nullable=False),
        _text("full_name", 255, nullable=False),
        sa.Column("is_active", sa.Boolean, nullable=False),
        _instant("created_at"),
        _instant("updated_at"),
        sa.UniqueConstraint("email", name="uq_users"),
        schema=namespace,
    )

    for table, column, referred in FOREIGN_KEYS:
        op.create_foreign_key(
            f"fk_{table}_{column}",
            table,
            referred,
            [column],
            ["id"],
            source_schema=namespace,
            referent_schema=namespace,
        )


def downgrade() -> None:
    """Drop the tables and the enum types, unless they are the host's own: those stay."""
    if options().adopted:
        return
    namespace = options().schema.namespace
    for table in reversed(TABLES):
        op.drop_table(table, schema=namespace)
    for enum in _enums(namespace):
        enum.drop(op.get_bind(), checkfirst=True)
