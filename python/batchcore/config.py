"""Settings and the names of the host's tables: read once, then passed along."""

from __future__ import annotations

import datetime as dt  # noqa: TC003  # the command line looks at types
import re
import tomllib
from dataclasses import dataclass, field
from fractions import Fraction
from pathlib import Path
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, Final, Literal, Self, TypeGuard, get_args

from batchcore.errors import ConfigError
from batchcore.schema import HOST
from batchcore.units import FACTOR_ETFS, MAX_SCALE

if TYPE_CHECKING:
    import os
    from collections.abc import Iterable, Iterator, Mapping

OnExisting = Literal["skip", "replace", "error"]
Analytics = Literal["portfolio", "full", "every", "none"]
BetaWeights = Literal["market_value", "equity"]

ON_EXISTING: Final[tuple[str, ...]] = get_args(OnExisting)
ANALYTICS: Final[tuple[str, ...]] = get_args(Analytics)
BETA_WEIGHTS: Final[tuple[str, ...]] = get_args(BetaWeights)

INCEPTION: Final = "inception"
"""The start of a run that values each portfolio from its earliest entry on."""

QUESTION: Final = "question"
"""Options that the rows of a run depend on: the ledger compares them."""

CONFIGURATION: Final = "configuration"
"""Options that only say how a run is done: the ledger keeps them."""

MOST_LOOKBACK_DAYS: Final = 36_525
"""A hundred years."""

RANGES: Final = MappingProxyType(
    {
        "threads": (1, 1024),
        "connections": (2, 64),
        "chunk_size": (1, 1_000_000),
        "lease_seconds": (1, 86_400),
        "ledger_days": (1, 36_525),
    }
)
"""What an option that counts may be at least and at most."""

MOST_SHARDS: Final = 10_000

WHOLE: Final = 100
"""What a share in percent is of."""

_MAX_FAILED: Final = re.compile(
    r"(?P<number>\d{1,9}|\d{1,3}\.\d{1,6}(?=%))(?P<percent>%?)", re.ASCII
)


_NAMED: Final = ("tables", "columns", "scales", "factors")
_TYPES: Final = {str: "text", int: "a whole number", dict: "a table"}


@dataclass(frozen=True)
class Schema:
    """Names of the host's tables and columns, where they differ from docs/schema.md.

    Attributes:
        namespace: The PostgreSQL schema that holds the tables.
        tables: Name of docs/schema.md -> name in the database.
        columns: ``table.column`` of docs/schema.md -> column name in the database.
        scales: ``table.column`` of docs/schema.md -> decimals that it is read with: for a NUMERIC
            without a declared scale, for a `double precision`, and for a NUMERIC whose digits do
            not all fit 64 bits.
        price_sources: Values of ``market_data_cache.data_source``. Of several rows of one symbol
            and date, the first of these with a valid close counts, and no other source (S2).
        factors: Name of a factor in `factor_definitions` -> the ETF whose betas it gets (A8).
            Without any, an ETF belongs to the only active factor by regression that has it as
            proxy.
    """

    namespace: str = "public"
    tables: Mapping[str, str] = field(default_factory=lambda: MappingProxyType({}))
    columns: Mapping[str, str] = field(default_factory=lambda: MappingProxyType({}))
    scales: Mapping[str, int] = field(default_factory=lambda: MappingProxyType({}))
    factors: Mapping[str, str] = field(default_factory=lambda: MappingProxyType({}))
    price_sources: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        object.__setattr__(self, "price_sources", _sources(self.price_sources))
        for names in _NAMED:
            object.__setattr__(self, names, MappingProxyType(dict(getattr(self, names))))
        for wrong in self._wrong():
            raise ConfigError(f"schema.{wrong}", "schema")

    def _wrong(self) -> Iterator[str]:
        for name in self.tables:
            if name not in HOST:
                yield f"tables: unknown table `{name}`, expected one of {', '.join(HOST)}"
        for option in ("columns", "scales"):
            for name in getattr(self, option):
                table, _, column = name.partition(".")
                if table not in HOST or not column:
                    yield f"{option}: expected `table.column`, was `{name}`"
        for name, scale in self.scales.items():
            if not 0 <= scale <= MAX_SCALE:
                yield f"scales: `{name}` is {scale}, expected 0 to {MAX_SCALE}"
        for name, etf in self.factors.items():
            if etf not in FACTOR_ETFS:
                yield f"factors: `{name}` is {etf}, expected one of {', '.join(FACTOR_ETFS)}"

    @classmethod
    def from_toml(cls, path: str | os.PathLike[str]) -> Self:
        """Return the schema that a TOML file describes; its keys are the attributes.

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

    def __hash__(self) -> int:
        """Return a hash of all names and scales."""
        mapped = (frozenset(getattr(self, names).items()) for names in _NAMED)
        return hash((self.namespace, self.price_sources, *mapped))

    def __reduce__(self) -> tuple[type[Schema], tuple[object, ...]]:
        """Return how to make it again in another process."""
        mapped = (dict(getattr(self, names)) for names in _NAMED)
        return Schema, (self.namespace, *mapped, self.price_sources)

    def table(self, table: str) -> str:
        """Return the database's name of ``table``."""
        return self.tables.get(table, table)

    def column(self, table: str, column: str) -> str:
        """Return the database's name of ``table.column``."""
        return self.columns.get(f"{table}.{column}", column)


def _sources(names: Any) -> tuple[str, ...]:  # noqa: ANN401  # judged here
    """Return the sources of closes, in their order."""
    known = isinstance(names, list | tuple) and all(isinstance(name, str) for name in names)
    if not known or len(set(names)) < len(names):
        msg = f"schema.price_sources is {names!r}, expected a list of different texts"
        raise ConfigError(msg, "schema")
    return tuple(names)


def read_toml(path: str | os.PathLike[str], option: str) -> dict[str, Any]:
    """Return what a TOML file that an option names has.

    Raises:
        ConfigError: it cannot be read, or is not valid TOML.
    """
    try:
        return tomllib.loads(Path(path).read_text(encoding="utf-8"))
    except OSError as error:
        reason = error.strerror or type(error).__name__
        raise ConfigError(f"{path}: cannot be read: {reason}", option) from error
    except UnicodeDecodeError as error:
        raise ConfigError(f"{path}: is not UTF-8 text", option) from error
    except tomllib.TOMLDecodeError as error:
        raise ConfigError(f"{path}: is not valid TOML: {error}", option) from error


def _arguments(document: Mapping[str, Any]) -> dict[str, Any]:
    """Return the arguments of a `Schema`; their names are judged by itself."""
    arguments: dict[str, Any] = {}
    for key, value in document.items():
        if key == "namespace":
            arguments[key] = _of_type(value, str, key)
        elif key == "price_sources":
            arguments[key] = value
        elif key in _NAMED:
            entries = arguments[key] = {}
            names = _of_type(value, dict, key).items()
            for name, one in _flat(names) if key in ("columns", "scales") else names:
                if name in entries:
                    raise ConfigError(f"`{key}.{name}` is there twice", "schema")
                entries[name] = _of_type(one, int if key == "scales" else str, f"{key}.{name}")
        else:
            keys = "namespace, tables, columns, scales, factors or price_sources"
            raise ConfigError(f"unknown key `{key}`, expected {keys}", "schema")
    return arguments


def _flat(entries: Iterable[tuple[str, Any]]) -> Iterator[tuple[str, Any]]:
    for name, value in entries:
        if isinstance(value, dict):
            yield from ((f"{name}.{inner}", one) for inner, one in value.items())
        else:
            yield name, value


def _of_type(value: object, kind: type, key: str) -> Any:  # noqa: ANN401  # a value of the file
    # to Python, `true` is a whole number
    if not isinstance(value, kind) or isinstance(value, bool):
        raise ConfigError(f"`{key}` is {value!r}, expected {_TYPES[kind]}", "schema")
    if value == "":
        raise ConfigError(f"`{key}` is empty, expected a name", "schema")
    return value


def option(
    *,
    help: str,  # noqa: A002  # as the command line has it
    metavar: str = "N",
    choices: tuple[str, ...] = (),
    has_opposite: bool = False,
    ledger: str | None = None,
) -> Mapping[str, Any]:
    """Return the metadata of a field that is an option of commands too.

    Args:
        help: What the help of commands says.
        metavar: The placeholder of its value there.
        choices: Its values, if these are all.
        has_opposite: Whether a flag has one that turns it off.
        ledger: `QUESTION` or `CONFIGURATION`; None is not kept in the ledger.
    """
    return {
        "help": help,
        "metavar": "|".join(choices) or metavar,
        "choices": choices,
        "has_opposite": has_opposite,
        "ledger": ledger,
    }


@dataclass(frozen=True)
class Settings:
    """Options of a run beside its dates and portfolios; each is an option of commands.

    Attributes:
        schema: Names of the host's tables and columns.
        lookback_days: Maximum age of a close in calendar days; an older one is stale (S4).
        min_coverage: Minimum share of symbols that must have a close on a session (S12), 0 to 1.
        today: The date that "now" means where no end is given; its own session counts as closed.
            Under `legacy`, days from it on are current. None asks the clock of the server.
        threads: Threads of native calls; None takes as many as there are cores.
        connections: Connections to read and write on, two or more, half of them to read. None
            takes four, or what a pool has left. One more is for the heartbeat.
        chunk_size: Portfolios loaded, computed and committed together. None chooses about 12 MiB
            by the number of sessions and the average of positions.
        dry_run: Whether to stop before anything is computed or written. The report then says what
            would be done; its issues `stale`, `unpriced` and `lacks_prices` name symbols, sessions
            and portfolios that lack prices.
        max_failed: How many portfolios may fail before the run stops: a count, or a share of the
            run's portfolios as text such as ``1%``, never less than one portfolio.
        lease_seconds: Seconds after which a lease without heartbeats expires; a run sends six
            heartbeats in that time.
        ledger_days: How many days ended runs stay in the ledger.
        shard: ``(k, n)``: only the k-th of n shares of the portfolios, by a fixed hash of their
            ids. What is decided for all of a run is decided over all of the shares, see
            docs/operations.md. None is everything.
    """

    schema: Schema = field(default_factory=Schema)
    lookback_days: int = field(
        default=10,
        metadata=option(help="Calendar days after which a close is stale.", ledger=QUESTION),
    )
    min_coverage: float = field(
        default=0.5,
        metadata=option(
            help="Minimum share of symbols with a close, 0 to 1.", metavar="X", ledger=QUESTION
        ),
    )
    today: dt.date | None = field(
        default=None,
        metadata=option(help="Date to use as today.", metavar="DATE", ledger=CONFIGURATION),
    )
    threads: int | None = field(
        default=None,
        metadata=option(help="Native threads; default: all cores.", ledger=CONFIGURATION),
    )
    connections: int | None = field(
        default=None,
        metadata=option(
            help="Read/write connections (min 2, default 4), plus a heartbeat.",
            ledger=CONFIGURATION,
        ),
    )
    chunk_size: int | None = field(
        default=None,
        metadata=option(
            help="Portfolios in one transaction; default: by size.", ledger=CONFIGURATION
        ),
    )
    dry_run: bool = False
    max_failed: int | str = field(
        default="1%",
        metadata=option(
            help="Failed portfolios that a run tolerates.", metavar="N|P%", ledger=CONFIGURATION
        ),
    )
    lease_seconds: int = field(
        default=60,
        metadata=option(
            help="Seconds until a lease without heartbeats expires.", ledger=CONFIGURATION
        ),
    )
    ledger_days: int = field(
        default=90, metadata=option(help="Days to keep ended runs in the ledger.")
    )
    shard: tuple[int, int] | None = field(
        default=None,
        metadata=option(help="Only this share of the portfolios, such as 2/4.", metavar="K/N"),
    )

    def __post_init__(self) -> None:
        if not 0 <= self.lookback_days <= MOST_LOOKBACK_DAYS:
            msg = f"lookback_days is {self.lookback_days}, expected 0 to {MOST_LOOKBACK_DAYS}"
            raise ConfigError(msg, "lookback_days")
        if not 0 <= self.min_coverage <= 1:
            msg = f"min_coverage is {self.min_coverage}, expected 0 to 1"
            raise ConfigError(msg, "min_coverage")
        for option, (least, most) in RANGES.items():
            value = getattr(self, option)
            if value is not None and not least <= value <= most:
                msg = f"{option} is {value}, expected {least} to {most}"
                raise ConfigError(msg, option)
        if self.shard is not None and not _is_shard(self.shard):
            shown = shard_text(self.shard)
            msg = f"shard is {shown}, expected k/n with 1 <= k <= n <= {MOST_SHARDS}"
            raise ConfigError(msg, "shard")
        self.failures_allowed(0)

    def failures_allowed(self, portfolios: int) -> int:
        """Return how many of so many portfolios may fail before a run stops.

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


def shard_text(shard: object) -> str:
    """Return a shard as the command line has it: ``2/4``."""
    return f"{shard[0]}/{shard[1]}" if _is_pair(shard) else repr(shard)


def _is_pair(shard: object) -> TypeGuard[tuple[int, int]]:
    return isinstance(shard, tuple) and [type(part) for part in shard] == [int, int]


def _is_shard(shard: object) -> bool:
    return _is_pair(shard) and 1 <= shard[0] <= shard[1] <= MOST_SHARDS
