"""The options of commands: shared ones, and those derived from `RunOptions` and `Settings`."""

from __future__ import annotations

import dataclasses
import datetime as dt
import inspect
import os
import sys
import uuid
from collections.abc import Callable, Collection, Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any, Final, get_args, get_type_hints

import typer

from batchcore.cli.exits import redacted
from batchcore.config import INCEPTION, MOST_SHARDS, VALUATION, Schema, Settings
from batchcore.errors import ConfigError
from batchcore.options import RunOptions

URL_VARIABLE: Final = "BATCHCORE_DATABASE_URL"
ARTIFACT_VARIABLE: Final = "BATCHCORE_ARTIFACT"
LIBPQ_VARIABLES: Final = ("PGHOST", "PGPORT", "PGDATABASE", "PGUSER", "PGSERVICE")


def option(metavar: str | None, text: str, *flags: str, **more: Any) -> Any:  # noqa: ANN401  # Typer's
    """Return an option with a value."""
    if metavar in {"FILE", "PATH"}:
        more["callback"] = _named
    return typer.Option(*flags, metavar=metavar, help=text, **more)


def _named(path: Any) -> Any:  # noqa: ANN401  # whatever type the option has
    if path == "":
        raise typer.BadParameter("it is empty, expected a path")
    return path


def flag(name: str, text: str) -> Any:  # noqa: ANN401  # Typer's
    """Return an option without a value."""
    return typer.Option(name, help=text)


def date(text: str, expected: str = "YYYY-MM-DD") -> dt.date:
    """Return a date from its text."""
    try:
        return dt.date.fromisoformat(text)
    except ValueError:
        raise typer.BadParameter(f"`{text}` is not a date, expected {expected}") from None


def start(text: str) -> dt.date | str:
    """Return the first day of a run from its text."""
    return text if text == INCEPTION else date(text, f"YYYY-MM-DD or `{INCEPTION}`")


def _moment(text: str) -> dt.datetime:
    try:
        return dt.datetime.fromisoformat(text)
    except ValueError:
        raise typer.BadParameter(
            f"`{text}` is not a time stamp, expected YYYY-MM-DDTHH:MM:SS with Z or an offset"
        ) from None


def _shard(text: str) -> tuple[int, int]:
    number, slash, count = text.partition("/")
    if not (slash and number.isdecimal() and count.isdecimal() and text.isascii()):
        raise typer.BadParameter(f"`{text}` is not K/N, such as 2/4")
    return int(number), int(count)


def date_option(text: str) -> Any:  # noqa: ANN401  # Typer's
    """Return an option whose value is a date."""
    return option("DATE", text, parser=date)


PARSERS: Final[Mapping[Any, Callable[[str], Any]]] = {
    dt.date: date,
    dt.datetime: _moment,
    tuple[int, int]: _shard,
}
"""Parsers of option values, by type; Typer parses other types."""

Date = dt.date | None
Seed = Annotated[int, option("N", "Seed of the random numbers.", min=0)]
PortfolioIds = Annotated[
    list[str] | None, option("ID", "Portfolio to include, repeatable; default: all.")
]
PortfoliosFile = Annotated[
    str | None, option("FILE", "File with one portfolio a line; - reads stdin.")
]
OkIfNothing = Annotated[
    bool, flag("--ok-if-nothing", "Exit with 0 instead of 99 if there is nothing to do.")
]


def parameter(
    name: str,
    kind: Any,  # noqa: ANN401  # a type
    given: Any,  # noqa: ANN401  # Typer's
    *,
    default: object = None,
) -> inspect.Parameter:
    """Return a keyword of a command."""
    annotation: Any = Annotated[kind | None if default is None else kind, given]
    keyword = inspect.Parameter.KEYWORD_ONLY
    return inspect.Parameter(name, keyword, default=default, annotation=annotation)


def valuation(schema: Schema, options: dict[str, Any]) -> Settings:
    """Return the settings that value stored rows, removing them from the options of a command."""
    return Settings(schema=schema, **{name: options.pop(name) for name in VALUATION})


def text(name: str, metavar: str, help_text: str, **more: Any) -> inspect.Parameter:  # noqa: ANN401  # Typer's
    """Return a keyword of a command whose value is a text, by default None."""
    return parameter(name, str, option(metavar, help_text, show_default=False, **more))


DATABASE: Final = [
    text("schema", "FILE", "TOML file that maps tables, columns and scales."),
    text(
        "database_url",
        "URL",
        f"postgresql://...; default: ${URL_VARIABLE}, then PG*.",
        envvar=URL_VARIABLE,
        show_envvar=False,
    ),
]
_VERBOSE: Final = option(
    None, "Log to stderr; -vv logs more.", "--verbose", "-v", count=True, show_default=False
)
COMMON: Final = [
    parameter("as_json", bool, flag("--json", "Print one JSON document on stdout."), default=False),
    parameter("debug", bool, flag("--debug", "Show the traceback of an error."), default=False),
    parameter("verbose", int, _VERBOSE, default=0),
]


_ARTIFACT: Final = "Write the report, even if the run fails"
PLAN_ARTIFACT: Final = text("artifact", "PATH", f"{_ARTIFACT}.")
ARTIFACT: Final = text("artifact", "PATH", f"{_ARTIFACT}; or ${ARTIFACT_VARIABLE}.")
METRICS: Final = text(
    "metrics", "PATH", "Write metrics to this file for Prometheus's node exporter."
)
PROCESSES: Final = parameter(
    "processes",
    int,
    option("N", "Processes that share the portfolios.", min=1, max=MOST_SHARDS),
    default=1,
)
DATABASES: Final = [
    text("databases", "FILE", "Run on each database that a TOML file names."),
    parameter(
        "parallel",
        int,
        option("N", "Number of databases at a time; default: 4.", min=1, show_default=False),
    ),
]


def own(function: Callable[..., int]) -> list[inspect.Parameter]:
    """Return the parameters of a function that are options."""
    hints = get_type_hints(function, include_extras=True)
    return [
        one.replace(annotation=hints[one.name])
        for one in inspect.signature(function).parameters.values()
        if one.kind is inspect.Parameter.KEYWORD_ONLY
    ]


def derived(*, only: Collection[str] = (), but: Collection[str] = ()) -> list[inspect.Parameter]:
    """Return the options made from the fields of `RunOptions` and `Settings`."""
    return [
        _of_field(one, get_type_hints(kind)[one.name])
        for kind in (RunOptions, Settings)
        for one in dataclasses.fields(kind)
        if "help" in one.metadata and (not only or one.name in only) and one.name not in but
    ]


def _of_field(one: dataclasses.Field[Any], hint: Any) -> inspect.Parameter:  # noqa: ANN401  # a type
    if entry := one.metadata["entry"]:
        given = option(one.metadata["metavar"], one.metadata["help"], f"--{entry}")
        return parameter(one.name, list[str], given)
    kinds = set(get_args(hint) or (hint,)) - {type(None)}
    kind: Any = kinds.pop() if len(kinds) == 1 else str  # choices are texts
    words, metadata = one.name.replace("_", "-"), one.metadata
    name = f"--{words}/--no-{words}" if metadata["has_opposite"] else f"--{words}"
    metavar = None if kind is bool else metadata["metavar"]
    given = typer.Option(name, parser=PARSERS.get(kind), metavar=metavar, help=metadata["help"])
    if get_args(kind):  # for a tuple Typer would take as many arguments as it has parts
        kind = Any
    return parameter(one.name, kind, given, default=one.default)


def entries(given: Sequence[str] | None, name: str) -> dict[str, str]:
    """Return the entries of a mapping from an option given once for each."""
    found = {}
    for text in given or ():
        key, equals, value = text.partition("=")
        if not equals:
            raise ConfigError(f"{name}: `{text}` has no value, expected NAME=ACTION", name)
        found[key.strip()] = value.strip()
    return found


def database_url(given: str | None) -> str:
    """Return the URL to connect to, as given; one for the `PG*` variables alone names nothing."""
    if given is None:
        if not any(os.environ.get(name) for name in LIBPQ_VARIABLES):
            raise ConfigError(
                f"no database: give --database-url, or set {URL_VARIABLE} or PGHOST", "database_url"
            )
        return "postgresql://"
    redacted.hide(given)
    return given


def portfolios(named: Sequence[str] | None, file: str) -> list[str]:
    """Return portfolios named one by one and those of a file, one a line."""
    name = "stdin" if file == "-" else file
    try:
        # A byte order mark is not part of the first id.
        content = sys.stdin.buffer.read() if file == "-" else Path(file).read_bytes()
        lines = content.decode("utf-8-sig").splitlines()
    except OSError as error:
        raise ConfigError(f"{name}: {error.strerror or error}", "portfolios_file") from error
    except UnicodeDecodeError as error:
        raise ConfigError(f"{name}: is not UTF-8 text", "portfolios_file") from error
    found = list(named or ())
    for number, line in enumerate(lines, start=1):
        text = line.partition("#")[0].strip()
        if not text:
            continue
        try:
            found.append(str(uuid.UUID(text)))
        except ValueError:
            msg = f"{name}:{number}: `{text}` is not a UUID"
            raise ConfigError(msg, "portfolios_file") from None
    return found
