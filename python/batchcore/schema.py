"""The tables, each column once: its name, its type, and what reads or writes it.

The check before a run, the first migration, the columns of each COPY and the tables of
docs/schema.md derive from this. It imports nothing but the standard library.
"""

from __future__ import annotations

import enum
import functools
import operator
import re
from collections.abc import Iterator, Mapping
from types import MappingProxyType
from typing import Any, Final, NamedTuple

REVISION: Final = "0006"
"""The newest revision of the migrations, known here without Alembic."""

VERSION_TABLE: Final = "batchcore_alembic_version"
"""Where Alembic keeps batchcore's revision, beside the host's own version table."""

TOKENS: Final = "batchcore_run_tokens"
"""The sequence of the tokens of runs."""

WRITES: Final = "batchcore_analytic_writes"
"""The table with a row for each transaction that wrote the tables of level `full`."""


class Use(enum.Flag):
    """The uses of a column."""

    PRICES = enum.auto()  # closes
    LATEST = enum.auto()  # the latest snapshots
    LOTS = enum.auto()  # positions, their partial closes, and the portfolios that hold them
    ROWS = enum.auto()  # further reads of each run, and the columns that it writes under any policy
    SOURCES = enum.auto()  # closes of several sources, see `Schema.price_sources`
    CHANGES = enum.auto()  # `changed_since`
    ANALYTICS = enum.auto()  # analytic columns of snapshots
    SECTORS = enum.auto()  # betas and sectors of profiles: A1, A2, and sector tags
    BETAS = enum.auto()  # betas of positions: A5
    FACTORS = enum.auto()  # factor exposures: A7 and A8
    PROXIES = enum.auto()  # ETFs of factors, where `Schema.factors` does not map them
    VALUES = enum.auto()  # market values of positions
    LEGACY = enum.auto()  # figures of the policy `legacy`, and their inputs
    GREEKS = enum.auto()  # columns that `legacy` sets to 0
    CLEARED = enum.auto()  # columns that `legacy` sets to NULL, where the host has them (L31)
    PROFILES = enum.auto()  # the cache of company profiles
    BENCHMARKS = enum.auto()  # weights of the sectors in a benchmark
    TAGS = enum.auto()  # sector tags of positions
    RETURNS = enum.auto()  # performance over stored rows
    SPLITS = enum.auto()  # splits, where `Schema.splits` maps them
    RATES = enum.auto()  # rates between currencies, where `Schema.fx` maps them

    HOLDINGS = PRICES | LATEST | LOTS  # beta and sectors of one portfolio
    RUN = HOLDINGS | ROWS  # each run, under any policy and analytics
    VALUATION = SPLITS | RATES  # further data that value lots, if the `Schema` maps them
    ROLLFORWARD = RUN | VALUATION  # runs of that policy, with any analytics


NOTHING: Final = Use(0)


class Kind(enum.StrEnum):
    """A type in binary COPY; `OTHER` is one that batchcore cannot read."""

    UUID = "uuid"
    DATE = "date"
    NUMERIC = "numeric"
    FLOAT8 = "float8"
    TEXT = "text"
    BOOL = "bool"
    INT2 = "int2"
    INT4 = "int4"
    INT8 = "int8"
    TIMESTAMPTZ = "timestamptz"
    JSON = "json"
    JSONB = "jsonb"
    OTHER = "other"


WHOLE: Final = frozenset({Kind.INT2, Kind.INT4, Kind.INT8})
"""Types of whole numbers."""

ENUMS: Final[Mapping[str, tuple[str, ...]]] = MappingProxyType(
    {
        "positiontype": ("LC", "LP", "SC", "SP", "LONG", "SHORT"),
        "equity_change_type": ("CONTRIBUTION", "WITHDRAWAL"),
    }
)
"""Enum types of revision 0001. A host may have others, or texts."""

_KINDS: Final = {"varchar": Kind.TEXT, "int": Kind.INT4, "bigint": Kind.INT8} | dict.fromkeys(
    ENUMS, Kind.TEXT
)


class Column(NamedTuple):
    """A column; the names and types of a host may differ, see `Schema.columns`."""

    name: str
    type: str  # where `migrate` makes it, with ``!`` for NOT NULL
    reads: Use = NOTHING  # or writes into new rows only
    writes: Use = NOTHING  # also in existing rows
    default: str = ""  # as SQL
    references: str = ""  # the table that it references

    @property
    def uses(self) -> Use:
        """The uses that need it."""
        return self.reads | self.writes

    @property
    def not_null(self) -> bool:
        """Whether `migrate` creates it NOT NULL."""
        return self.type.endswith("!")

    @property
    def declared(self) -> str:
        """Its type in the syntax of PostgreSQL."""
        return self.type.rstrip("!")

    @property
    def type_name(self) -> str:
        """Its type without sizes."""
        return self.declared.partition("(")[0]

    @property
    def sizes(self) -> tuple[int, ...]:
        """Length of a varchar; precision and scale of a NUMERIC."""
        return tuple(int(size) for size in re.findall(r"\d+", self.type))

    @property
    def kind(self) -> Kind:
        """Its type in binary COPY."""
        return _KINDS.get(self.type_name) or Kind(self.type_name)


class Table(NamedTuple):
    """A table of the host, whose name there may differ, or of batchcore itself."""

    name: str
    columns: tuple[Column, ...]
    alias: str = ""  # in templates
    key: tuple[str, ...] = ("id",)
    unique: tuple[str, ...] = ()  # further columns
    found_by: tuple[str, ...] = ()  # the key that the catalog is checked for
    inserts: Use = NOTHING
    optional: Use = NOTHING  # uses that work without the table
    revision: str = "0001"  # which creates it
    grants: tuple[str, ...] = ()  # privileges of a run on a table of batchcore's own

    def needed(self, uses: Use) -> tuple[Column, ...]:
        """Return the columns that some uses need."""
        return tuple(column for column in self.columns if column.uses & uses)

    def is_required(self, uses: Use) -> bool:
        """Return whether some uses need the table."""
        return any(column.uses & uses & ~self.optional for column in self.columns)

    def names(self, uses: Use) -> tuple[str, ...]:
        """Return the names of the columns that some uses need."""
        return tuple(column.name for column in self.needed(uses))

    def column(self, name: str) -> Column:
        """Return a column by its name, or raise a `KeyError`."""
        return {one.name: one for one in self.columns}[name]


class Index(NamedTuple):
    """An index that `migrate` builds on a table of the host."""

    name: str
    table: str
    columns: tuple[str, ...]
    where: str = ""  # with columns in braces; empty for all rows

    @property
    def where_columns(self) -> list[str]:
        """The columns of its condition."""
        return re.findall(r"\{(\w+)\}", self.where)

    @property
    def all_columns(self) -> set[str]:
        """The columns of its key and of its condition."""
        return {*self.columns, *self.where_columns}


def _tables(listed: str) -> dict[str, Table]:
    """Return tables by name.

    Each has a line with its name, then indented lines: ``columns | uses that read them | uses that
    write them``, with columns separated by commas, each as ``name type = default -> table``; and
    ``attribute: words; ...``.
    """
    made = {}
    for block in re.split(r"\n(?=\w)", listed.strip()):
        name, *lines = block.splitlines()
        columns = tuple(column for line in lines if ": " not in line for column in _columns(line))
        options = (one for line in lines if ": " in line for one in line.strip().split("; "))
        made[name] = Table(name, columns, **dict(map(_option, options)))
    return made


def _columns(line: str) -> Iterator[Column]:
    group, reads, writes = (*line.split("|"), "", "")[:3]
    for one in group.strip().split(", "):
        text, _, references = one.partition(" -> ")
        text, _, default = text.partition(" = ")
        name, declared = text.split()
        yield Column(name, declared, _uses(reads), _uses(writes), default, references)


def _option(text: str) -> tuple[str, Any]:
    name, _, words = text.partition(": ")
    if name in {"inserts", "optional"}:
        return name, _uses(words)
    return name, words if name in {"alias", "revision"} else tuple(words.split())


def _uses(names: str) -> Use:
    return functools.reduce(operator.or_, (Use[name.upper()] for name in names.split()), NOTHING)


HOST: Final[Mapping[str, Table]] = MappingProxyType(
    _tables("""
portfolios
    id uuid! | lots tags returns
    user_id uuid! | tags
    name varchar(255)! | rows
    account_name varchar(100)!, account_type varchar(20)!, is_active bool! = true
    description varchar(1000)
    currency varchar(3)! | lots
    equity_balance numeric(16,2) | lots | rows
    created_at timestamptz!
    updated_at timestamptz! | | rows
    deleted_at timestamptz | lots tags returns
    unique: user_id account_name; found_by: id; alias: o
positions
    id uuid!, portfolio_id uuid! -> portfolios, symbol varchar(20)! | lots tags
    position_type positiontype! | lots tags
    quantity numeric(16,4)!, entry_price numeric(12,4)!, entry_date date! | lots
    exit_price numeric(12,4), exit_date date | lots
    underlying_symbol varchar(10), strike_price numeric(12,4)
    expiration_date date | lots
    investment_class varchar(20) | lots tags
    investment_subtype varchar(30)
    last_price numeric(12,4) | legacy | values
    market_value numeric(16,2) | lots | values
    unrealized_pnl numeric(16,2) | | values
    realized_pnl numeric(16,2), notes varchar
    created_at timestamptz!, updated_at timestamptz! | changes
    deleted_at timestamptz | lots tags
    found_by: id; alias: p
market_data_cache
    id uuid!
    symbol varchar(20)!, date date! | prices
    open numeric(12,4), high numeric(12,4), low numeric(12,4)
    close numeric(12,4)! | prices
    volume int, sector varchar(100), industry varchar(100), exchange varchar(20)
    country varchar(10), market_cap numeric(18,2)
    data_source varchar(50)! | sources
    created_at timestamptz!, updated_at timestamptz! | changes
    unique: symbol date; found_by: symbol date; alias: m
company_profiles
    symbol varchar(20)! | sectors legacy profiles
    company_name varchar(200) | profiles
    sector varchar(100) | sectors legacy profiles
    industry varchar(100) | profiles
    exchange varchar(50)
    country varchar(50), market_cap numeric(18,2) | profiles
    description varchar(1000)
    is_etf bool | sectors legacy profiles
    is_fund bool
    beta numeric(8,4) | sectors legacy profiles
    data_source varchar(50)!, last_updated timestamptz!, created_at timestamptz!
    updated_at timestamptz!
    key: symbol; optional: legacy; alias: c
portfolio_snapshots
    id uuid! | rows
    portfolio_id uuid! -> portfolios, snapshot_date date! | latest returns
    total_value numeric(16,2)!, cash_value numeric(16,2)!, long_value numeric(16,2)! | | rows
    short_value numeric(16,2)!, gross_exposure numeric(16,2)! | | rows
    net_exposure numeric(16,2)! | | rows
    equity_balance numeric(16,2) | latest returns | rows
    daily_pnl numeric(16,2) | lots returns | rows
    cumulative_pnl numeric(16,2) | latest | rows
    daily_realized_pnl numeric(16,2) | | rows
    cumulative_realized_pnl numeric(16,2) | latest | rows
    daily_capital_flow numeric(16,2) | lots returns | rows
    cumulative_capital_flow numeric(16,2) | latest | rows
    daily_return numeric(8,6), num_positions int!, num_long_positions int! | | rows
    num_short_positions int! | | rows
    portfolio_delta numeric(12,2), portfolio_gamma numeric(12,2) | | greeks
    portfolio_theta numeric(12,2), portfolio_vega numeric(12,2) | | greeks
    beta_provider_1y numeric(10,4) | | analytics legacy
    beta_calculated_90d numeric(10,4) | | analytics cleared
    beta_calculated_90d_r_squared numeric(10,4) | | analytics cleared
    beta_portfolio_regression numeric(10,4) | | cleared
    hhi numeric(10,4), top_3_concentration numeric(10,4) | | analytics legacy
    top_10_concentration numeric(10,4) | | analytics legacy
    realized_volatility_21d numeric(10,4) | | analytics cleared
    realized_volatility_63d numeric(10,4) | | analytics cleared
    expected_volatility_21d numeric(10,4), volatility_percentile numeric(10,4) | | cleared
    beta_calculated_90d_observations int | | analytics cleared
    effective_num_positions numeric(10,2) | | analytics legacy
    volatility_trend varchar(20) | | cleared
    sector_exposure json | | analytics legacy
    target_price_return_eoy numeric(10,4), target_price_return_next_year numeric(10,4) | | cleared
    target_price_downside_return numeric(10,4), target_price_upside_eoy numeric(16,2) | | cleared
    target_price_upside_next_year numeric(16,2), target_price_downside numeric(16,2) | | cleared
    target_price_num_positions int, target_price_num_covered int | | cleared
    target_price_coverage numeric(10,4), target_price_updated_at timestamptz | | cleared
    is_complete bool! = true | latest returns | rows
    created_at timestamptz! | rows
    unique: portfolio_id snapshot_date; found_by: portfolio_id snapshot_date
    inserts: rows; alias: s
equity_changes
    id uuid!
    portfolio_id uuid!, change_type equity_change_type!, amount numeric(16,2)! | rows returns
    change_date date! | rows returns
    notes varchar(500), created_by_user_id uuid!
    created_at timestamptz!, updated_at timestamptz! | changes
    deleted_at timestamptz | rows returns
    optional: rows changes returns; alias: f
position_realized_events
    id uuid!
    position_id uuid! -> positions, portfolio_id uuid! -> portfolios, trade_date date! | lots
    quantity_closed numeric(16,4)!, realized_pnl numeric(16,2)! | lots
    created_at timestamptz! | changes
    optional: lots changes; alias: e
position_market_betas
    id uuid! | betas
    portfolio_id uuid!, position_id uuid!, calc_date date! | betas legacy
    beta numeric(12,6)! | legacy | betas
    alpha numeric(12,6), r_squared numeric(12,6), std_error numeric(12,6) | | betas
    p_value numeric(12,6), observations int! | | betas
    window_days int! = 90, method varchar(32)! = 'OLS_SIMPLE' | betas
    market_index varchar(16)! = 'SPY' | | betas
    created_at timestamptz! | betas
    updated_at timestamptz! | | betas
    unique: portfolio_id position_id calc_date method window_days; inserts: betas
    optional: legacy; alias: b
factor_definitions
    id uuid!, name varchar(50)! | factors
    description varchar(500), factor_type varchar(20)!
    calculation_method varchar(50), etf_proxy varchar(10) | proxies
    display_order int!
    is_active bool! | factors
    created_at timestamptz!, updated_at timestamptz!
    unique: name; alias: d
factor_exposures
    id uuid!, portfolio_id uuid!, factor_id uuid!, calculation_date date! | factors
    exposure_value numeric(12,6)!, exposure_dollar numeric(16,2) | | factors
    created_at timestamptz! | factors
    updated_at timestamptz! | | factors
    unique: portfolio_id factor_id calculation_date; inserts: factors
position_factor_exposures
    id uuid!, position_id uuid!, factor_id uuid!, calculation_date date! | factors
    exposure_value numeric(12,6)!, quality_flag varchar(20) | | factors
    created_at timestamptz! | factors
    unique: position_id factor_id calculation_date; inserts: factors
benchmarks_sector_weights
    id uuid!
    benchmark_code varchar(32)! | legacy benchmarks
    asof_date date!, sector varchar(64)!, weight numeric(12,6)! | benchmarks
    market_cap numeric(20,2), num_constituents int, data_source varchar(32)!
    created_at timestamptz!, updated_at timestamptz!
    unique: benchmark_code asof_date sector; optional: legacy; alias: w
tags_v2
    id uuid!, user_id uuid!, name varchar(50)!, color varchar(7) | tags
    description text
    display_order int!, usage_count int!, is_archived bool! | tags
    archived_at timestamptz, archived_by uuid
    created_at timestamptz!, updated_at timestamptz! | tags
    unique: user_id name is_archived; inserts: tags
position_tags
    id uuid!, position_id uuid!, tag_id uuid!, assigned_at timestamptz!, assigned_by uuid | tags
    unique: position_id tag_id; inserts: tags
users
    id uuid!, email varchar(255)!, hashed_password varchar(255)!, full_name varchar(255)!
    is_active bool!, created_at timestamptz!, updated_at timestamptz!
    unique: email
""")
)
"""The host's tables by name, in the order of foreign keys."""

SPLITS: Final = "splits"
"""The name in templates and scales of the table that `Schema.splits` maps."""

SPLIT_TABLE: Final = _tables("""
splits
    symbol varchar(20)!, ex_date date! | splits
    new numeric(18,8)!, old numeric(18,8)! | splits
    created_at timestamptz!, updated_at timestamptz! | changes
    key: symbol ex_date; alias: r
""")[SPLITS]
"""The table of splits, which a host maps and no migration creates."""

RATES: Final = "fx"
"""The name in templates and scales of the table that `Schema.fx` maps."""

RATE_TABLE: Final = _tables("""
fx
    base varchar(3)!, quote varchar(3)!, date date!, rate numeric(18,8)! | rates
    updated_at timestamptz | changes
    key: base quote date; alias: v
""")[RATES]
"""The table of rates, which a host maps and no migration creates."""

ALIASES: Final = {
    table.alias: table.name for table in (*HOST.values(), SPLIT_TABLE, RATE_TABLE) if table.alias
}
"""Tables by their aliases in templates."""

CURRENCY: Final = Column("currency", "varchar(3)", Use.RATES)
"""The column with the currency of a position or of a profile, which `Schema.fx` names."""

CURRENCY_TABLES: Final = ("positions", "company_profiles")
"""The tables that may have that column."""

_SNAPSHOT: Final = HOST["portfolio_snapshots"]

SNAPSHOT_SCALES: Final = MappingProxyType(
    {
        column.name: column.sizes[1] if column.kind is Kind.NUMERIC else 0
        for column in _SNAPSHOT.columns
        if column.kind in {Kind.NUMERIC, Kind.INT4}
    }
)
"""Decimals of the numbers of a snapshot, as the rules give them."""


def snapshot_figures(uses: Use) -> tuple[str, ...]:
    """Return the numbers of a snapshot that some uses write."""
    written = (column.name for column in _SNAPSHOT.columns if column.writes & uses)
    return tuple(name for name in written if name in SNAPSHOT_SCALES)


RULE_COLUMNS: Final = snapshot_figures(Use.RUN)
"""Columns of a snapshot named in S5 to S9, which every policy writes."""

COUNT_COLUMNS: Final = tuple(name for name in RULE_COLUMNS if SNAPSHOT_SCALES[name] == 0)
"""Columns that count positions."""

OWN: Final[Mapping[str, Table]] = MappingProxyType(
    _tables("""
batchcore_runs
    id uuid!, fingerprint text!, asked jsonb!, portfolio_ids uuid[], configuration jsonb!
    code_version text!, state text!, attempt int!, token bigint!, created_at timestamptz!
    started_at timestamptz!, ended_at timestamptz, start_date date, end_date date
    snapshot_id text, lsn text, portfolios int, failed int!, chunks int!, rows_written bigint!
    seconds numeric(12,3)!, error text
    inserts: rows; revision: 0003; grants: SELECT INSERT UPDATE DELETE
batchcore_run_chunks
    run_id uuid! -> batchcore_runs, chunk int!, attempt int!, first_portfolio uuid!
    last_portfolio uuid!, first_session date, last_session date, sessions int!, rows_written int!
    sha256 text!, committed_at timestamptz!
    key: run_id chunk; inserts: rows; revision: 0003; grants: SELECT INSERT
batchcore_run_issues
    run_id uuid! -> batchcore_runs, chunk int!, portfolio_id uuid!, name text!, failed bool!
    count int!, symbol text, session date, detail text
    key: run_id chunk portfolio_id name; inserts: rows; revision: 0003; grants: SELECT INSERT
batchcore_run_symbol_issues
    run_id uuid! -> batchcore_runs, attempt int!, name text!, symbol text!, count int!
    session date, detail text
    key: run_id attempt name symbol; inserts: rows; revision: 0005; grants: SELECT INSERT
batchcore_run_shards
    run_id uuid! -> batchcore_runs, group_id uuid!, shard int!, shards int!
    key: run_id; inserts: rows; revision: 0006; grants: SELECT INSERT
batchcore_run_heartbeats
    run_id uuid! -> batchcore_runs, token bigint!, beat_at timestamptz!, expires_at timestamptz!
    key: run_id; inserts: rows; revision: 0003; grants: SELECT INSERT UPDATE
batchcore_analytic_writes
    id uuid!, written_at timestamptz!
    inserts: betas factors; revision: 0004; grants: SELECT INSERT
""")
)
"""The tables of batchcore itself by name."""

INDEXES: Final = (
    Index(
        "idx_positions_active_complete",
        "positions",
        ("portfolio_id", "deleted_at", "exit_date", "investment_class"),
        "{deleted_at} IS NULL",
    ),
    Index("idx_market_data_valid_prices", "market_data_cache", ("symbol", "date"), "{close} > 0"),
    Index(
        "idx_positions_symbol_active",
        "positions",
        ("deleted_at", "symbol", "exit_date", "expiration_date"),
        "{deleted_at} IS NULL AND {symbol} IS NOT NULL AND {symbol} <> ''",
    ),
)
"""The indexes of revision 0002."""

REPLACED_INDEX: Final = Index(
    "idx_positions_portfolio_deleted", "positions", ("portfolio_id", "deleted_at")
)
"""The index that the first of `INDEXES` makes redundant."""
