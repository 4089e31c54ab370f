"""Settings and the names of the host's tables, read once and passed along."""

from __future__ import annotations

import datetime as dt  # the command line reads the annotations
import os
import re
import tomllib
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, fields
from decimal import Decimal
from fractions import Fraction
from functools import cached_property
from pathlib import Path
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, ClassVar, Final, Literal, Self, TypeGuard, cast, get_args

from batchcore.declared import (
    CONFIGURATION,
    FINGERPRINT,
    FrozenDict,
    check_types,
    checked_date,
    option,
)
from batchcore.errors import ConfigError
from batchcore.schema import (
    CURRENCY,
    CURRENCY_TABLES,
    HOST,
    RATE_TABLE,
    RATES,
    SPLIT_TABLE,
    SPLITS,
    Table,
)
from batchcore.units import FACTOR_ETFS, MAX_SCALE

OnExisting = Literal["skip", "replace", "error"]
Analytics = Literal["portfolio", "full", "every", "none"]
BetaWeights = Literal["market_value", "equity"]
CheckAction = Literal["off", "report", "fail"]

PRICE_LOW: Final = "price_low"
CHECKS: Final = ("split_suspected", "price_jump", "price_frozen", "price_ahead", PRICE_LOW)
"""The checks of prices, by the names of their issues (C1)."""

CHECK_ACTIONS: Final[tuple[str, ...]] = get_args(CheckAction)
ON_EXISTING: Final[tuple[str, ...]] = get_args(OnExisting)
ANALYTICS: Final[tuple[str, ...]] = get_args(Analytics)
BETA_WEIGHTS: Final[tuple[str, ...]] = get_args(BetaWeights)
PRICE_BASES: Final = ("as_traded", "adjusted")
QUANTITY_BASES: Final = ("as_entered", "current")

INCEPTION: Final = "inception"
"""The start of a run that values each portfolio from its earliest entry on."""

VALUATION: Final = ("lookback_days", "fx_lookback_days", "fx_pivot")
"""Settings that apply when stored rows are valued again."""

MOST_LOOKBACK_DAYS: Final = 36_525
"""A hundred years."""

RANGES: Final = MappingProxyType(
    {
        "lookback_days": (0, MOST_LOOKBACK_DAYS),
        "fx_lookback_days": (0, MOST_LOOKBACK_DAYS),
        "threads": (1, 1024),
        "connections": (2, 64),
        "chunk_size": (1, 1_000_000),
        "lease_seconds": (1, 86_400),
        "ledger_days": (1, 36_525),
        "frozen_sessions": (2, 250),
    }
)
"""Limits of options that are counts."""

MOST_SHARDS: Final = 10_000

MILLION: Final = 1_000_000
"""Thresholds of checks are compared in millionths, exactly."""

SHARES: Final[Mapping[str, tuple[str, str]]] = MappingProxyType(
    {"max_move": ("0.000001", "1000"), "max_missing": ("0", "1")}
)
"""Limits of thresholds, with six decimals."""

WHOLE: Final = 100
"""The divisor of a share in percent."""

_MAX_FAILED: Final = re.compile(
    r"(?P<number>\d{1,9}|\d{1,3}\.\d{1,6}(?=%))(?P<percent>%?)", re.ASCII
)


class Mapped:
    """The description of a table that no migration creates, with the keys of a TOML file."""

    _key: ClassVar[str]  # name of the mapping in a `Schema`
    _described: ClassVar[Table]
    _rows: ClassVar[str]

    table: str
    columns: Mapping[str, str]

    def _check_names(self) -> None:
        key = self._key
        if not isinstance(self.table, str) or not self.table:
            msg = f"{key}.table is {self.table!r}, expected the name of the table of {self._rows}"
            raise ConfigError(msg, "schema")
        known = [column.name for column in self._described.columns]
        check_types(self, type(self), group=f"{key}.", option="schema")
        _check_names(self.columns, f"{key}.columns")
        for name in self.columns:
            if name not in known:
                msg = f"{key}.columns: unknown column `{name}`, expected one of {', '.join(known)}"
                raise ConfigError(msg, "schema")
        object.__setattr__(self, "columns", FrozenDict(self.columns))

    @classmethod
    def of(cls, given: object) -> Self:
        """Return the description in a mapping, whose keys are the attributes, as in TOML."""
        if isinstance(given, cls):
            return given
        if not isinstance(given, Mapping):
            raise ConfigError(f"`{cls._key}` is {given!r}, expected a table", "schema")
        names = [item.name for item in fields(cast("Any", cls))]
        for key in given:
            if key not in names:
                msg = f"unknown key `{cls._key}.{key}`, expected one of {', '.join(names)}"
                raise ConfigError(msg, "schema")
        return cls(**given)

    def as_dict(self) -> dict[str, Any]:
        """Return the mapping for `of`."""
        return {item.name: getattr(self, item.name) for item in fields(cast("Any", self))} | {
            "columns": dict(self.columns)
        }


@dataclass(frozen=True)
class Splits(Mapped):
    """The host's table of splits, and the bases of its closes and quantities (C3).

    Neither basis has a default, since no data determine them.

    Attributes:
        table: Its name in the database.
        price_basis: `as_traded` if closes stay those of their day, `adjusted` if closes are
            restated for every split of the table.
        quantity_basis: `as_entered` if a split leaves quantity and prices of a position unchanged,
            `current` if the host restates them.
        columns: `symbol`, `ex_date`, `new`, `old`, `created_at`, `updated_at` -> column name in the
            database; a column left out has that name.
    """

    _key: ClassVar = SPLITS
    _described: ClassVar = SPLIT_TABLE
    _rows: ClassVar = "splits"

    table: str = ""
    price_basis: str = ""
    quantity_basis: str = ""
    columns: Mapping[str, str] = field(default_factory=FrozenDict)

    def __post_init__(self) -> None:
        for name, choices in (("price_basis", PRICE_BASES), ("quantity_basis", QUANTITY_BASES)):
            found = getattr(self, name)
            if found not in choices:
                was = f"is {found!r}" if found else "is missing"
                msg = f"splits.{name} {was}, expected `{choices[0]}` or `{choices[1]}`"
                raise ConfigError(msg, "schema")
        self._check_names()


@dataclass(frozen=True)
class Fx(Mapped):
    """The host's table of rates, and the column with the currency of positions (C6).

    Attributes:
        table: Its name in the database.
        currency: ``positions.<column>`` or ``company_profiles.<column>``, with the name in the
            database: the currency of a position's prices.
        columns: `base`, `quote`, `date`, `rate`, `updated_at` -> column name in the database; a
            column left out has that name. Without `updated_at` in the table, `changed_since` sees
            no late rates.
    """

    _key: ClassVar = RATES
    _described: ClassVar = RATE_TABLE
    _rows: ClassVar = "rates"

    table: str = ""
    currency: str = ""
    columns: Mapping[str, str] = field(default_factory=FrozenDict)

    def __post_init__(self) -> None:
        table, _, column = str(self.currency).partition(".")
        if table not in CURRENCY_TABLES or not column:
            expected = " or ".join(f"`{one}.<column>`" for one in CURRENCY_TABLES)
            raise ConfigError(f"fx.currency is {self.currency!r}, expected {expected}", "schema")
        self._check_names()

    @property
    def currency_table(self) -> str:
        """The table with the currency, by its name in docs/schema.md."""
        return self.currency.partition(".")[0]


@dataclass(frozen=True)
class Schema:
    """Names of the host's tables and columns, as far as they differ from docs/schema.md.

    Attributes:
        namespace: The PostgreSQL schema that holds the tables.
        tables: Name of docs/schema.md -> name in the database.
        columns: ``table.column`` of docs/schema.md -> column name in the database.
        scales: ``table.column`` of docs/schema.md -> decimals with which it is read: for a NUMERIC
            without a declared scale, a `double precision`, or a NUMERIC whose digits do not all fit
            64 bits.
        price_sources: Values of ``market_data_cache.data_source``. Of several rows of one symbol
            and date, the first of these with a valid close counts, and no other source (S2).
        factors: Name of a factor in `factor_definitions` -> the ETF whose betas it gets (A8).
            Without any, an ETF belongs to the only active regression factor with that proxy.
        splits: The table of splits (C3), as `Splits` or as a mapping of its attributes. None means
            that the host has none: no figure is adjusted.
        fx: The table of rates (C6), as `Fx` or as a mapping of its attributes. None means that the
            host has none: amounts are in the portfolio's currency.
    """

    namespace: str = "public"
    tables: Mapping[str, str] = field(default_factory=FrozenDict)
    columns: Mapping[str, str] = field(default_factory=FrozenDict)
    scales: Mapping[str, int] = field(default_factory=FrozenDict)
    factors: Mapping[str, str] = field(default_factory=FrozenDict)
    price_sources: tuple[str, ...] = ()
    splits: Splits | None = None
    fx: Fx | None = None

    if TYPE_CHECKING:  # accepts more types than it stores

        def __init__(  # noqa: PLR0917  # as many as there are fields
            self,
            namespace: str = ...,
            tables: Mapping[str, str] = ...,
            columns: Mapping[str, str] = ...,
            scales: Mapping[str, int] = ...,
            factors: Mapping[str, str] = ...,
            price_sources: Sequence[str] = ...,
            splits: Splits | Mapping[str, object] | None = ...,
            fx: Fx | Mapping[str, object] | None = ...,
        ) -> None: ...

    def __post_init__(self) -> None:
        object.__setattr__(self, "price_sources", _sources(self.price_sources))
        if self.splits is not None:
            object.__setattr__(self, "splits", Splits.of(self.splits))
        if self.fx is not None:
            object.__setattr__(self, "fx", Fx.of(self.fx))
        check_types(self, Schema, option="schema")
        _check_names({"namespace": self.namespace})
        for names in ("tables", "columns", "scales", "factors"):
            _check_names(getattr(self, names), names)
            object.__setattr__(self, names, FrozenDict(getattr(self, names)))
        for wrong in self._wrong():
            raise ConfigError(f"schema.{wrong}", "schema")

    @property
    def described(self) -> Mapping[str, Table]:
        """The tables of docs/schema.md, and the mapped ones."""
        tables = {SPLITS: SPLIT_TABLE, RATES: RATE_TABLE}
        return {**HOST, **{name: tables[name] for name in self.mapped}}

    @cached_property
    def mapped(self) -> Mapping[str, Splits | Fx]:
        """The descriptions of mapped tables, by their names."""
        said = {SPLITS: self.splits, RATES: self.fx}
        return {name: own for name, own in said.items() if own is not None}

    def _wrong(self) -> Iterator[str]:
        for name in self.tables:
            if name not in HOST:
                yield f"tables: unknown table `{name}`, expected one of {', '.join(HOST)}"
        for key, tables in (("columns", HOST), ("scales", self.described)):
            for name in getattr(self, key):
                table, _, column = name.partition(".")
                if table not in tables or not column:
                    yield f"{key}: expected `table.column`, was `{name}`"
        for name, scale in self.scales.items():
            if not 0 <= scale <= MAX_SCALE:
                yield f"scales: `{name}` is {scale}, expected 0 to {MAX_SCALE}"
        for name, etf in self.factors.items():
            if etf not in FACTOR_ETFS:
                yield f"factors: `{name}` is {etf}, expected one of {', '.join(FACTOR_ETFS)}"

    @classmethod
    def from_toml(cls, path: str | os.PathLike[str]) -> Self:
        """Return the schema described by a TOML file, whose keys are the attributes.

        Columns and scales are written ``positions.entry_price = ...`` or in a table for each
        table, which is the same in TOML, or with the dotted name in quotes.

        Raises:
            ConfigError: the file cannot be read or is not valid TOML, a key is unknown, or a
                value is of the wrong type; it names file and key.
        """
        document = read_toml(path, "schema")
        try:
            return cls(**_arguments(document))
        except ConfigError as error:
            raise ConfigError(f"{path}: {error}", "schema") from error

    def table(self, table: str) -> str:
        """Return the database's name of ``table``."""
        mapped = self.mapped.get(table)
        return self.tables.get(table, table) if mapped is None else mapped.table

    def column(self, table: str, column: str) -> str:
        """Return the database's name of ``table.column``."""
        mapped = self.mapped.get(table)
        if mapped is not None:
            return mapped.columns.get(column, column)
        if self.fx is not None and (table, column) == (self.fx.currency_table, CURRENCY.name):
            return self.fx.currency.partition(".")[2]
        return self.columns.get(f"{table}.{column}", column)


def _sources(names: Any) -> tuple[str, ...]:  # noqa: ANN401  # judged here
    """Return the sources of closes, in their order."""
    known = isinstance(names, list | tuple) and all(isinstance(name, str) for name in names)
    if not known or len(set(names)) < len(names):
        msg = f"schema.price_sources is {names!r}, expected a list of distinct texts"
        raise ConfigError(msg, "schema")
    return tuple(names)


def read_toml(path: str | os.PathLike[str], option: str) -> dict[str, Any]:
    """Return the contents of the TOML file that an option names."""
    try:
        return tomllib.loads(Path(path).read_text(encoding="utf-8-sig"))
    except OSError as error:
        reason = error.strerror or type(error).__name__
        raise ConfigError(f"{path}: cannot be read: {reason}", option) from error
    except UnicodeDecodeError as error:
        raise ConfigError(f"{path}: is not UTF-8 text", option) from error
    except (tomllib.TOMLDecodeError, RecursionError) as error:
        raise ConfigError(f"{path}: is not valid TOML: {error}", option) from error


def _arguments(document: Mapping[str, Any]) -> dict[str, Any]:
    """Return the arguments of a `Schema`, which checks their names itself."""
    arguments: dict[str, Any] = {}
    for key, value in document.items():
        if key in {"columns", "scales"} and isinstance(value, dict):
            entries = arguments[key] = {}
            for name, one in _flat(value.items()):
                if name in entries:
                    raise ConfigError(f"`{key}.{name}` is given twice", "schema")
                entries[name] = one
        elif key in {item.name for item in fields(Schema)}:
            arguments[key] = value
        else:
            keys = "namespace, tables, columns, scales, factors, price_sources, splits or fx"
            raise ConfigError(f"unknown key `{key}`, expected {keys}", "schema")
    return arguments


def _flat(entries: Iterable[tuple[str, Any]]) -> Iterator[tuple[str, Any]]:
    for name, value in entries:
        if isinstance(value, dict):
            yield from ((f"{name}.{inner}", one) for inner, one in value.items())
        else:
            yield name, value


def _check_names(names: Mapping[str, object], key: str = "") -> None:
    for name, value in names.items():
        if value == "":
            shown = f"{key}.{name}".lstrip(".")
            raise ConfigError(f"`{shown}` is empty, expected a name", "schema")


@dataclass(frozen=True)
class Settings:
    """Options of a run apart from its dates and portfolios; each is also an option of commands.

    Attributes:
        schema: Names of the host's tables and columns.
        lookback_days: Maximum age of a close in calendar days; an older one is stale (S4).
        fx_lookback_days: Maximum age of a rate in calendar days, where `Schema.fx` maps rates (C6).
        fx_pivot: The common currency of pairs without a rate of their own, likewise.
        min_coverage: Minimum share of symbols that must have a close on a session (S12), 0 to 1.
        today: The date used as "now" if no end is given; its session counts as closed. Under
            `legacy`, days from it on are current. None uses the clock of the server.
        threads: Threads of native calls; None takes as many as there are cores.
        connections: Connections to read and write on, two or more, half of them to read. None uses
            four, or as many as a pool has left. The heartbeat needs one more.
        chunk_size: Portfolios loaded, computed and committed together. None chooses about 12 MiB,
            from the number of sessions and the average number of positions.
        dry_run: Whether to stop before anything is computed or written. The report then shows what
            would be done; its issues `stale`, `unpriced` and `lacks_prices` name symbols, sessions
            and portfolios that lack prices.
        max_failed: Number of portfolios that may fail before the run stops: a count, or a share of
            the run's portfolios as text such as ``1%``, never less than one portfolio.
        lease_seconds: Seconds after which a lease without heartbeats expires; a run sends six
            heartbeats in that time.
        ledger_days: Days for which ended runs stay in the ledger.
        checks: Name of a check of prices -> its action (C1, C2): `off`, `report`, or `fail`, which
            fails the portfolios that hold the symbol. A check left out is reported; the policy
            `legacy` checks nothing.
        max_move: Largest change of a close between two sessions that is not a `price_jump`, as a
            share of the older one.
        frozen_sessions: Number of consecutive sessions with the same close that is `price_frozen`.
        max_missing: Largest share of a portfolio's symbols that may lack a fresh close before it is
            `price_low`, 0 to 1.
        shard: ``(k, n)``: only the k-th of n shares of the portfolios, by a fixed hash of their
            ids. Decisions about a run as a whole cover all of the shares, see docs/operations.md.
            None is everything.
    """

    schema: Schema = field(default_factory=Schema)
    lookback_days: int = option(
        10, "Calendar days after which a close is stale.", ledger=FINGERPRINT
    )
    fx_lookback_days: int = option(5, "Maximum age of a rate in calendar days.", ledger=FINGERPRINT)
    fx_pivot: str = option(
        "USD", "Currency through which others are converted.", metavar="CODE", ledger=FINGERPRINT
    )
    min_coverage: float = option(
        0.5, "Minimum share of symbols with a close, 0 to 1.", metavar="X", ledger=FINGERPRINT
    )
    today: dt.date | None = option(
        None, "Date to use as today.", metavar="DATE", ledger=CONFIGURATION
    )
    threads: int | None = option(None, "Native threads; default: all cores.", ledger=CONFIGURATION)
    connections: int | None = option(
        None, "Read/write connections (min 2, default 4), plus a heartbeat.", ledger=CONFIGURATION
    )
    chunk_size: int | None = option(
        None, "Portfolios per transaction; default: by size.", ledger=CONFIGURATION
    )
    dry_run: bool = False
    max_failed: int | str = option(
        "1%", "Number or share of portfolios that may fail.", metavar="N|P%", ledger=CONFIGURATION
    )
    lease_seconds: int = option(
        60, "Seconds until a lease without heartbeats expires.", ledger=CONFIGURATION
    )
    ledger_days: int = option(90, "Days to keep ended runs in the ledger.")
    checks: Mapping[str, CheckAction] = option(
        FrozenDict(),
        "Set a price check to off, report (default) or fail; repeatable.",
        metavar="NAME=ACTION",
        entry="check",
        ledger=FINGERPRINT,
    )
    max_move: float = option(
        0.5, "Largest change of a close that is not a jump.", metavar="X", ledger=FINGERPRINT
    )
    frozen_sessions: int = option(
        10, "Equal closes in a row that count as frozen.", ledger=FINGERPRINT
    )
    max_missing: float = option(
        0.2, "Largest share of symbols without a fresh close.", metavar="X", ledger=FINGERPRINT
    )
    shard: tuple[int, int] | None = option(
        None, "Run only one share of the portfolios, such as 2/4.", metavar="K/N"
    )

    def __post_init__(self) -> None:
        if not isinstance(self.fx_pivot, str) or not self.fx_pivot.strip():
            msg = f"fx_pivot is {self.fx_pivot!r}, expected a currency such as USD"
            raise ConfigError(msg, "fx_pivot")
        if self.shard is not None and not _is_shard(self.shard):
            shown = shard_text(self.shard)
            msg = f"shard is {shown}, expected k/n with 1 <= k <= n <= {MOST_SHARDS}"
            raise ConfigError(msg, "shard")
        self.failures_allowed(0)
        object.__setattr__(self, "checks", _all_checks(self.checks))
        check_types(self, Settings)
        if self.today is not None:
            object.__setattr__(self, "today", checked_date(self.today, "today"))
        if not 0 <= self.min_coverage <= 1:
            msg = f"min_coverage is {self.min_coverage}, expected 0 to 1"
            raise ConfigError(msg, "min_coverage")
        for name, (least, most) in RANGES.items():
            value = getattr(self, name)
            if value is not None and not least <= value <= most:
                raise ConfigError(f"{name} is {value}, expected {least} to {most}", name)
        for share in SHARES:
            self.millionths(share)

    def does_check(self, name: str) -> bool:
        """Return whether a check of prices is on."""
        return self.checks[name] != "off"

    def millionths(self, threshold: str) -> int:
        """Return a threshold of checks in millionths; raise an error for more than six decimals."""
        value, (least, most) = getattr(self, threshold), SHARES[threshold]
        exact = Decimal(str(value))
        units = exact * MILLION
        is_within = exact.is_finite() and Decimal(least) <= exact <= Decimal(most)
        if not is_within or units != int(units):
            msg = f"{threshold} is {value}, expected {least} to {most} with at most 6 decimals"
            raise ConfigError(msg, threshold)
        return int(units)

    def failures_allowed(self, portfolios: int) -> int:
        """Return the number of portfolios that may fail before a run stops.

        Raises:
            ConfigError: `max_failed` is neither a count nor a share.
        """
        found = _MAX_FAILED.fullmatch(str(self.max_failed))
        if found is None or (found["percent"] and Fraction(found["number"]) > WHOLE):
            msg = f"max_failed is {self.max_failed!r}, expected a count such as 5, or 0% to 100%"
            raise ConfigError(msg, "max_failed")
        number = Fraction(found["number"])
        if found["percent"]:
            return max(int(portfolios * number / WHOLE), 1)
        return int(number)


RUN_STATES: Final = (
    *("complete", "incomplete", "missing", "superseded", "interrupted", "stuck", "failed"),
    "running",
)
"""States of runs and shards; a group has the last one among its shards."""


def shard_text(shard: object) -> str:
    """Return a shard in the form of the command line: ``2/4``."""
    return f"{shard[0]}/{shard[1]}" if _is_pair(shard) else repr(shard)


def _is_pair(shard: object) -> TypeGuard[tuple[int, int]]:
    return isinstance(shard, tuple) and [type(part) for part in shard] == [int, int]


def _is_shard(shard: object) -> bool:
    return _is_pair(shard) and 1 <= shard[0] <= shard[1] <= MOST_SHARDS


def _all_checks(given: Any) -> FrozenDict[str, Any]:  # noqa: ANN401  # judged here
    """Return the action of each check of prices, by name."""
    if not isinstance(given, Mapping):
        raise ConfigError(f"checks is {given!r}, expected a mapping of names to actions", "checks")
    for name, action in given.items():
        if name not in CHECKS:
            msg = f"checks: unknown check `{name}`, expected one of {', '.join(CHECKS)}"
            raise ConfigError(msg, "checks")
        if action not in CHECK_ACTIONS:
            msg = f"checks: `{name}` is {action!r}, expected one of {', '.join(CHECK_ACTIONS)}"
            raise ConfigError(msg, "checks")
    return FrozenDict(dict.fromkeys(CHECKS, "report") | dict(given))
