"""The command line: arguments in, exit code out; the only file that prints.

====================================================  =====================  =========
case                                                  exception              exit code
====================================================  =====================  =========
done                                                                         0
some portfolios failed, a migration is to be done,                           1
or stored cells are not what they should be
the database refused, failed or went away             `DatabaseError`        2
prices of a session have not arrived                  `CoverageError`        2
a snapshot stands where none may                      `SnapshotExistsError`  2
a defect                                              any other              2
an option that is none, or a value that it cannot be                         3
an argument or setting is wrong                       `ConfigError`          3
a column is wrong                                     `InputError`           3
tables that do not fit, or were not migrated          `SchemaError`          3
an extra is not installed                                                    3
more portfolios failed than may                       `TooManyFailedError`   2
another run is at work on some of the portfolios,     `LeaseHeldError`       4
or took over; another migration is at work
nothing to do (0 with ``--ok-if-nothing``)                                   99
interrupted by SIGINT, SIGTERM; what was committed                           130, 143
stays, statements at work are cancelled
the reader of our output went away                                           141
====================================================  =====================  =========

An error is one line on stderr, and one more for each further thing that is wrong with the tables;
with ``--debug`` its traceback comes first. With ``--json`` the
one document on stdout is then ``{"error": {"type", "message", "exit_code", ...}}``, with the
attributes of the exception.
"""

from __future__ import annotations

import asyncio
import contextlib
import dataclasses
import datetime as dt
import functools
import inspect
import json
import logging
import os
import signal
import sys
import threading
import traceback
import uuid
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Final, TypeVar, get_args, get_type_hints

import batchcore
from batchcore import about
from batchcore.config import INCEPTION, Schema, Settings
from batchcore.errors import (
    BatchcoreError,
    ConfigError,
    InputError,
    LeaseHeldError,
    SchemaError,
)
from batchcore.options import RunOptions
from batchcore.redact import Redactor
from batchcore.streams import silence, tell

try:
    import typer
    from rich.console import Console
except ImportError as error:
    print(  # the one line that must do without them
        f"batchcore: error: the command line needs `{error.name}`: "
        "install `batchcore[cli]` (pip install 'batchcore[cli]')",
        file=sys.stderr,
    )
    raise SystemExit(3) from None

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Coroutine, Iterator, Mapping, Sequence
    from types import FrameType

    from batchcore.run.result import BatchResult

    Progress = Callable[[str, int, int], None]

DONE: Final = 0
INCOMPLETE: Final = 1
FAILED: Final = 2
USAGE: Final = 3
LEASE_HELD: Final = 4
NOTHING_TO_DO: Final = 99
BROKEN_PIPE: Final = 141

CHANGING: Final = ("demo", "run", "migrate", "generate")
"""Commands that succeed by what they do, whether their report can be printed or not."""

URL_VARIABLE: Final = "BATCHCORE_DATABASE_URL"
LIBPQ_VARIABLES: Final = ("PGHOST", "PGPORT", "PGDATABASE", "PGUSER", "PGSERVICE")
SIGNALS: Final = (signal.SIGINT, signal.SIGTERM)

LAST_RESORT_S: Final = 1.8
"""How long after a signal the process may take to end in good order."""

SEED: Final = 1

UsageError: Final[Any] = typer.BadParameter.__base__
"""A wrong word of the command line; not every version of Typer has a public name for it."""

_T = TypeVar("_T")
_redacted: Final = Redactor()

app: Final = typer.Typer(
    name="batchcore",
    help="Nightly portfolio valuation on PostgreSQL: exact P&L, natively, in bulk.",
    add_completion=False,
    context_settings={"max_content_width": 100},
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
)


class Interrupted(BaseException):
    """A signal asks to stop.

    Attributes:
        signal: Which.
    """

    def __init__(self, number: int) -> None:
        super().__init__(number)
        self.signal = signal.Signals(number)


@dataclass(frozen=True, slots=True)
class Ask:
    """How a command was asked to answer.

    Attributes:
        command: Its name.
        as_json: Whether stdout gets one JSON document, and nothing else.
        verbose: 0 for warnings, 1 for what goes on, 2 for all.
    """

    command: str
    as_json: bool
    verbose: int

    def answer(self, document: Mapping[str, Any], text: Callable[[], str]) -> None:
        """Print the answer of the command."""
        with self.printing():
            print(json.dumps(document, indent=2) if self.as_json else text())

    @contextlib.contextmanager
    def printing(self) -> Iterator[None]:
        """Print on stdout; where that fails, what a command has done is done all the same.

        Raises:
            OSError: the answer is all that the command is for.
        """
        try:
            yield
            sys.stdout.flush()
        except OSError as error:
            if self.command not in CHANGING:
                raise type(error)(error.errno, error.strerror, "stdout") from error
            silence(sys.stdout)
            _tell(f"warning: the report cannot be printed: {error.strerror}")


def _date(text: str, expected: str = "YYYY-MM-DD") -> dt.date:
    try:
        return dt.date.fromisoformat(text)
    except ValueError:
        raise typer.BadParameter(f"`{text}` is no date, expected {expected}") from None


def _start(text: str) -> dt.date | str:
    return text if text == INCEPTION else _date(text, f"YYYY-MM-DD or `{INCEPTION}`")


def _moment(text: str) -> dt.datetime:
    try:
        return dt.datetime.fromisoformat(text)
    except ValueError:
        raise typer.BadParameter(
            f"`{text}` is no time stamp, expected YYYY-MM-DDTHH:MM:SS with Z or an offset"
        ) from None


PARSERS: Final[Mapping[Any, Callable[[str], Any]]] = {dt.date: _date, dt.datetime: _moment}
"""What reads the texts of options, by type; Typer reads others."""

DatabaseUrl = Annotated[
    str | None,
    typer.Option(
        metavar="URL",
        envvar=URL_VARIABLE,
        help="postgresql://...; default: libpq's PG* variables.",
        show_default=False,
    ),
]
PortfolioIds = Annotated[
    list[str] | None,
    typer.Option(metavar="ID", help="Portfolio to value, repeatable; default: all."),
]
PortfoliosFile = Annotated[
    str | None,
    typer.Option(metavar="FILE", help="File with one portfolio a line; - reads stdin."),
]
OkIfNothing = Annotated[
    bool,
    typer.Option("--ok-if-nothing", help="Exit with 0 instead of 99 if there is nothing to do."),
]
SchemaFile = Annotated[
    str | None,
    typer.Option(
        "--schema",
        metavar="FILE",
        help="TOML file that maps tables, columns and scales.",
        show_default=False,
    ),
]
Json = Annotated[bool, typer.Option("--json", help="Print one JSON document on stdout.")]
Debug = Annotated[bool, typer.Option("--debug", help="Show the traceback of an error.")]
Verbose = Annotated[
    int,
    typer.Option(
        "--verbose", "-v", count=True, help="Log to stderr; -vv logs more.", show_default=False
    ),
]


def command(
    name: str, derived: Mapping[str, inspect.Parameter] | None = None, *, text: str | None = None
) -> Callable[[Callable[..., int]], Callable[..., int]]:
    """Register a function of an `Ask` and options as a command.

    It also gets the options that every command has.

    Args:
        name: Of the command.
        derived: Options that it takes beside its own; they come before that of the schema.
        text: What its help says, if not what the function's docstring does.
    """

    def register(function: Callable[..., int]) -> Callable[..., int]:
        @functools.wraps(function)
        def run(*, as_json: bool, debug: bool, verbose: int, **options: object) -> int:
            del debug  # `main` has looked for it already: parsing may fail too
            with _logging_to_stderr(verbose):
                return function(Ask(name, as_json, verbose), **options)

        own = _parameters(function)
        last = {name: own.pop(name) for name in ("schema", "database_url") if name in own}
        parameters = [*(own | dict(derived or {}) | last).values(), *_COMMON]
        run.__signature__ = inspect.Signature(parameters)  # type: ignore[attr-defined]
        run.__annotations__ = {one.name: one.annotation for one in parameters}
        app.command(name, help=text)(run)
        return function

    return register


def _parameters(function: Callable[..., int]) -> dict[str, inspect.Parameter]:
    """Return the parameters of a function that are options."""
    hints = get_type_hints(function, include_extras=True)
    return {
        name: parameter.replace(annotation=hints[name])
        for name, parameter in inspect.signature(function).parameters.items()
        if name != "ask" and parameter.kind is inspect.Parameter.KEYWORD_ONLY
    }


def _derived(*kinds: type, only: Collection[str] = ()) -> dict[str, inspect.Parameter]:
    """Return the options that the fields of `RunOptions` and `Settings` make."""
    return {
        one.name: _parameter(one, get_type_hints(kind)[one.name])
        for kind in kinds
        for one in dataclasses.fields(kind)
        if "help" in one.metadata and (not only or one.name in only)
    }


def _parameter(one: dataclasses.Field[Any], hint: Any) -> inspect.Parameter:  # noqa: ANN401  # a type
    kinds = set(get_args(hint) or (hint,)) - {type(None)}
    kind: Any = kinds.pop() if len(kinds) == 1 else str  # choices are texts
    words, metadata = one.name.replace("_", "-"), one.metadata
    flags = [f"--{words}/--no-{words}" if metadata["has_opposite"] else f"--{words}"]
    given = typer.Option(
        *flags,
        parser=PARSERS.get(kind),
        metavar=None if kind is bool else metadata["metavar"],
        help=metadata["help"],
    )
    return inspect.Parameter(
        one.name,
        inspect.Parameter.KEYWORD_ONLY,
        default=one.default,
        annotation=Annotated[kind | None if one.default is None else kind, given],
    )


_COMMON: Final = [
    inspect.Parameter(name, inspect.Parameter.KEYWORD_ONLY, default=default, annotation=hint)
    for name, hint, default in (
        ("as_json", Json, False),
        ("debug", Debug, False),
        ("verbose", Verbose, 0),
    )
]
PLAN: Final = "Say what `run` would do with the same options, and what is missing; write nothing."
RUN: Final = _derived(RunOptions, Settings)
REPAIR: Final = {
    name: one
    for name, one in RUN.items()
    if name not in {"on_existing", "missing", "changed_since", "today"}
}
VERIFY: Final = _derived(
    RunOptions, Settings, only=("policy", "calendar", "lookback_days", "beta_weights")
)


@command("demo")
def demo(
    ask: Ask,
    *,
    portfolios: Annotated[
        int | None,
        typer.Option(metavar="N", help="Number of portfolios; default: 300 on real closes."),
    ] = None,
    symbols: Annotated[
        int | None, typer.Option(metavar="N", help="Stocks and options of the generated market.")
    ] = None,
    sessions: Annotated[
        int | None, typer.Option(metavar="N", help="Sessions of the generated market.")
    ] = None,
    seed: Annotated[
        int, typer.Option(metavar="N", min=0, help="Seed of the random numbers.")
    ] = SEED,
) -> int:
    """Value portfolios in an embedded PostgreSQL and check every row.

    The closes are real ones of 27 symbols, over 120 sessions; with one of --portfolios, --symbols
    and --sessions the market is generated, and 50 portfolios are checked.
    """
    from batchcore import demo as demos  # noqa: PLC0415  # brings NumPy and the driver
    from batchcore import report  # noqa: PLC0415  # likewise
    from batchcore.demo import embedded  # noqa: PLC0415  # likewise
    from batchcore.demo.report import checked_text, demo_parts  # noqa: PLC0415  # likewise

    if about.build_profile == "debug":
        _tell("warning: this is a debug build of the core, many times slower than a release build")
    size = demos.Size.of(portfolios, symbols, sessions)
    with embedded.start() as server, _progress() as progress:
        done = _run(demos.run_demo(server.url, size, seed=seed, progress=progress))
    if not ask.as_json:
        console = Console(file=sys.stdout, highlight=False)
        with ask.printing():
            for part in demo_parts(done):
                # wider than the terminal rather than with digits cut off
                width = max(console.width, console.measure(part).minimum)
                console.print(part, soft_wrap=isinstance(part, str), width=width, crop=False)
    ask.answer(done.to_dict(), lambda: checked_text(done))
    for line in (*done.checked.examples, *report.failure_lines(done.result)):
        _tell(line)
    return INCOMPLETE if done.checked.differing or done.result.failed else DONE


@command("plan", RUN, text=PLAN)
@command("run", RUN)
def run(
    ask: Ask,
    *,
    start: Annotated[  # noqa: ANN401  # a date or `inception`: typer takes no union
        Any,
        typer.Option(
            parser=_start,
            metavar="DATE|inception",
            help="First day; default: the day after the latest snapshot.",
        ),
    ] = None,
    end: Annotated[
        dt.date | None,
        typer.Option(
            parser=_date, metavar="DATE", help="Last day; default: the last closed session."
        ),
    ] = None,
    portfolio: PortfolioIds = None,
    portfolios_file: PortfoliosFile = None,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Compute, but write nothing, like `plan`.")
    ] = False,
    ok_if_nothing: OkIfNothing = False,
    schema: SchemaFile = None,
    database_url: DatabaseUrl = None,
    **options: Any,  # noqa: ANN401  # those of `RunOptions` and `Settings`
) -> int:
    """Roll portfolios forward over the sessions of a range and write their snapshots."""
    dry_run = dry_run or ask.command == "plan"
    which = (start, end, portfolio, portfolios_file)
    result = _batch(ask, which, _database_url(database_url), schema, options, dry_run=dry_run)
    from batchcore import report  # noqa: PLC0415  # brings NumPy

    if dry_run:
        planned = report.plan_dict(result, options["min_coverage"])
        ask.answer(planned, lambda: report.plan_text(result, planned))
    else:
        ask.answer(result.to_dict(), lambda: report.result_text(result))
    return _code_of(result, ok_if_nothing=ok_if_nothing)


@command("repair", REPAIR)
def repair(
    ask: Ask,
    *,
    start: Annotated[
        dt.date | None,
        typer.Option(
            parser=_date,
            metavar="DATE",
            help="First day to compare; default: the earliest snapshot.",
        ),
    ] = None,
    end: Annotated[
        dt.date | None,
        typer.Option(
            parser=_date, metavar="DATE", help="Last day to compare; default: the latest snapshot."
        ),
    ] = None,
    portfolio: PortfolioIds = None,
    portfolios_file: PortfoliosFile = None,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Report what differs and write nothing.")
    ] = False,
    ok_if_nothing: OkIfNothing = False,
    schema: SchemaFile = None,
    database_url: DatabaseUrl = None,
    **options: Any,  # noqa: ANN401  # those of `RunOptions` and `Settings`
) -> int:
    """Recompute stored snapshots; replace each portfolio from its first difference on.

    For applications whose time stamps do not show what was corrected; where they do, `run
    --changed-since` is faster.
    """
    which = (start, end, portfolio, portfolios_file)
    result = _batch(ask, which, _database_url(database_url), schema, options, dry_run=dry_run)
    from batchcore import report  # noqa: PLC0415  # brings NumPy

    ask.answer(result.to_dict(), lambda: report.repair_text(result))
    return _code_of(result, ok_if_nothing=ok_if_nothing)


def _batch(
    ask: Ask,
    which: tuple[Any, Any, list[str] | None, str | None],
    url: str,
    schema: str | None,
    options: Mapping[str, Any],
    *,
    dry_run: bool,
) -> BatchResult:
    """Return the result of the run or the repair that a command asks for."""
    start, end, portfolios, file = which
    if file is not None:
        portfolios = _portfolios(portfolios, file)
    own = {name: value for name, value in options.items() if name in _derived(Settings)}
    settings = Settings(schema=_schema(schema), dry_run=dry_run, **own)
    work = batchcore.repair if ask.command == "repair" else batchcore.run_batch
    with _progress() as progress:
        chosen = {name: value for name, value in options.items() if name not in own}
        chosen |= {"settings": settings, "progress": progress}
        return _run(work(url, start, end, portfolios, **chosen))


def _code_of(result: BatchResult, *, ok_if_nothing: bool) -> int:
    """Return the exit code of a run, and tell which portfolios failed."""
    from batchcore import report  # noqa: PLC0415  # brings NumPy

    both = [result] if result.resumed is None else [result.resumed, result]
    for line in (line for one in both for line in report.failure_lines(one)):
        _tell(line)
    if any(one.failed for one in both):
        return INCOMPLETE
    if all(one.nothing_to_do for one in both) and not ok_if_nothing:
        return NOTHING_TO_DO
    return DONE


@command("verify", VERIFY)
def verify(
    ask: Ask,
    *,
    start: Annotated[
        dt.date | None,
        typer.Option(
            parser=_date, metavar="DATE", help="First day; default: the earliest snapshot."
        ),
    ] = None,
    end: Annotated[
        dt.date | None,
        typer.Option(parser=_date, metavar="DATE", help="Last day; default: the latest snapshot."),
    ] = None,
    portfolio: PortfolioIds = None,
    sample: Annotated[
        int | None,
        typer.Option(
            metavar="N", help="Random snapshots to check; default: all.", show_default=False
        ),
    ] = None,
    seed: Annotated[int, typer.Option(metavar="N", min=0, help="Seed of the random sample.")] = 0,
    fast: Annotated[
        bool, typer.Option("--fast", help="Recompute natively instead of in pure Python.")
    ] = False,
    schema: SchemaFile = None,
    database_url: DatabaseUrl = None,
    **options: Any,  # noqa: ANN401  # of `RunOptions` and `Settings`
) -> int:
    """Recompute stored snapshots and tell which cells differ; write nothing."""
    url = _database_url(database_url)
    settings = Settings(schema=_schema(schema), lookback_days=options.pop("lookback_days"))
    from batchcore import report  # noqa: PLC0415  # brings NumPy
    from batchcore.audit import verifier  # noqa: PLC0415  # brings the driver

    with _progress() as progress:
        result = _run(
            verifier.verify(
                url,
                start,
                end,
                portfolio,
                sample=sample,
                seed=seed,
                fast=fast,
                settings=settings,
                progress=progress,
                **options,
            )
        )
    ask.answer(result.to_dict(), lambda: report.verified_text(result))
    if result.rows == 0:
        return NOTHING_TO_DO
    return INCOMPLETE if result.differing else DONE


@command("status")
def status(
    ask: Ask,
    *,
    run: Annotated[
        str | None,
        typer.Option(metavar="ID", help="Show one run, with its chunks and issues."),
    ] = None,
    limit: Annotated[
        int, typer.Option(metavar="N", help="Number of runs to show, latest first.")
    ] = 20,
    schema: SchemaFile = None,
    database_url: DatabaseUrl = None,
) -> int:
    """Show runs and what they have committed; one whose lease has expired is stuck."""
    from batchcore import report  # noqa: PLC0415  # brings NumPy
    from batchcore.run import status as ledger  # noqa: PLC0415  # brings the driver

    url, names = _database_url(database_url), _schema(schema)
    runs = [one.to_dict() for one in _run(ledger.runs(url, run_id=run, limit=limit, schema=names))]
    if run is not None:
        ask.answer(runs[0], lambda: report.run_text(runs[0]))
        return DONE
    ask.answer({"runs": runs}, lambda: report.runs_text(runs))
    return DONE


@command("migrate")
def migrate(
    ask: Ask,
    *,
    check: Annotated[
        bool, typer.Option("--check", help="Change nothing; exit with 1 if a migration is due.")
    ] = False,
    drop_redundant: Annotated[
        bool,
        typer.Option("--drop-redundant", help="Drop indexes that another index makes redundant."),
    ] = False,
    schema: SchemaFile = None,
    database_url: DatabaseUrl = None,
) -> int:
    """Bring a database to the newest schema: an empty one, or a host's own."""
    from batchcore import report  # noqa: PLC0415  # brings NumPy
    from batchcore.db import migrate as migrations  # noqa: PLC0415  # brings SQLAlchemy

    url, names = _database_url(database_url), _schema(schema)
    if check:
        status = _run(migrations.check(url, schema=names, drop_redundant=drop_redundant))
        document = {**dataclasses.asdict(status), "is_current": status.is_current}
        ask.answer(document, lambda: report.status_text(status))
        if status.problems:
            return USAGE
        return DONE if status.is_current else INCOMPLETE
    migrated = _run(migrations.migrate(url, schema=names, drop_redundant=drop_redundant))
    ask.answer(dataclasses.asdict(migrated), lambda: report.migrated_text(migrated))
    return DONE


@command("generate")
def generate(
    ask: Ask,
    *,
    portfolios: Annotated[int, typer.Option(metavar="N", help="Number of portfolios.")] = 1000,
    symbols: Annotated[int, typer.Option(metavar="N", help="Number of stocks and options.")] = 500,
    sessions: Annotated[
        int, typer.Option(metavar="N", help="Number of sessions, up to 2025-06-30.")
    ] = 120,
    seed: Annotated[
        int, typer.Option(metavar="N", min=0, help="Seed of the random numbers.")
    ] = SEED,
    schema: SchemaFile = None,
    database_url: DatabaseUrl = None,
) -> int:
    """Fill an empty, migrated database with a generated market and portfolios."""
    from batchcore import demo as demos  # noqa: PLC0415  # brings NumPy and the driver
    from batchcore.calendar import date_of  # noqa: PLC0415  # likewise

    url, names = _database_url(database_url), _schema(schema)
    data = demos.seeded(demos.Size(portfolios, symbols, sessions), seed=seed)
    with _progress() as progress:
        rows = _run(data.write(url, schema=names, progress=progress))
    start, end = date_of(data.market.start).isoformat(), date_of(data.market.end).isoformat()
    document = {
        "portfolios": portfolios,
        "symbols": symbols,
        "sessions": sessions,
        "start": start,
        "end": end,
        "seed": seed,
        "rows_written": rows,
    }
    ask.answer(
        document,
        lambda: (
            f"{rows:,} rows written: {portfolios:,} portfolios, {symbols:,} symbols, seed {seed}\n"
            f"now: batchcore run --start {start} --end {end}"
        ),
    )
    return DONE


@command("version")
def version(ask: Ask) -> int:
    """Say which version this is, and how its core was built."""
    ask.answer(about.document(), lambda: about.told(as_json=False))
    return DONE


def main(arguments: Sequence[str] | None = None) -> int:
    """Run a command and return its exit code.

    Args:
        arguments: Without the program's name; None takes those of the process. Without any, the
            help is shown.
    """
    words = list(sys.argv[1:] if arguments is None else arguments) or ["--help"]
    _redacted.forget()
    _redacted.hide(os.environ.get("PGPASSWORD"))
    as_json, debug = "--json" in words, "--debug" in words
    try:
        with _signals_raise():
            run_words = typer.main.get_command(app)  # calling `app` would change sys.excepthook
            code = run_words(words, standalone_mode=False, prog_name="batchcore")
            sys.stdout.flush()
    except (BrokenPipeError, SystemExit):
        # Typer makes a SystemExit of a broken pipe, and of nothing else in this mode.
        silence(sys.stdout)
        return BROKEN_PIPE
    except (Exception, Interrupted) as error:  # noqa: BLE001  # the last one to see it
        code = _code(error)
        message = _one_line(error)
        if debug:
            tell(_redacted("".join(traceback.format_exception(error)).rstrip()))
        try:
            if as_json:
                print(json.dumps({"error": _error(error, message, code)}, indent=2))
            sys.stdout.flush()
        except OSError:  # as what went wrong may be that stdout is full
            silence(sys.stdout)
        _tell(f"error: {message}")
        for problem in _further_problems(error):
            _tell(f"also: {_redacted(problem)}")
    return code if isinstance(code, int) else DONE


def _code(error: BaseException) -> int:
    match error:
        case Interrupted():
            return 128 + error.signal
        case LeaseHeldError():
            return LEASE_HELD
        case ConfigError() | InputError() | SchemaError():
            return USAGE
        case _ if isinstance(error, UsageError):
            return USAGE
        case _:
            return FAILED


def _one_line(error: BaseException) -> str:
    match error:
        case Interrupted():
            name = error.signal.name
            text = f"interrupted by {name}; what was committed stays, run again to go on"
        case _ if isinstance(error, UsageError):
            context = getattr(error, "ctx", None)
            path = context.command_path if context is not None else "batchcore"
            text = f"{error.format_message()} (see `{path} --help`)"
        case BatchcoreError():
            text = str(error)
        case OSError():  # a file, a pipe, a limit of the machine
            named = "" if error.filename is None else f"{error.filename}: "
            text = f"{named}{error.strerror or error}"
        case MemoryError():
            text = "out of memory: fewer portfolios at a time (--chunk-size) need less"
        case _:
            text = (
                f"a defect of batchcore: {type(error).__name__}: {error}; please report it, "
                "with what --debug shows"
            )
    return _redacted(" ".join(text.split()))


def _error(error: BaseException, message: str, code: int) -> dict[str, Any]:
    """Return the error as JSON has it, with the attributes of our own exceptions."""
    attributes = {
        key: _redacted(value) if isinstance(value, str) else value
        for key, value in (vars(error) if isinstance(error, BatchcoreError) else {}).items()
    }
    name = "UsageError" if isinstance(error, UsageError) else type(error).__name__
    return {"type": name, "message": message, "exit_code": code, **attributes}


def _further_problems(error: BaseException) -> tuple[str, ...]:
    """Return what is in the way beside what the message of the error names."""
    return error.problems[1:] if isinstance(error, SchemaError) else ()


def _tell(line: str) -> None:
    tell(f"batchcore: {line}")


def _database_url(given: str | None) -> str:
    """Return the URL to connect to, as it was given.

    Raises:
        ConfigError: there is none.
    """
    if given is None:
        if not any(os.environ.get(name) for name in LIBPQ_VARIABLES):
            raise ConfigError(
                f"no database: give --database-url, or set {URL_VARIABLE} or PGHOST", "database_url"
            )
        return "postgresql://"
    _redacted.hide(given)
    return given


def _schema(file: str | None) -> Schema:
    """Return what ``--schema`` names, the schema of docs/schema.md without it.

    Raises:
        ConfigError: the file is none, or describes no schema.
    """
    return Schema() if file is None else Schema.from_toml(file)


def _portfolios(named: Sequence[str] | None, file: str) -> list[str]:
    """Return portfolios named one by one and those of a file, one a line.

    Raises:
        ConfigError: the file cannot be read, or a line of it is no UUID.
    """
    name = "stdin" if file == "-" else file
    try:
        # A signature of UTF-8 is no part of the first id.
        content = sys.stdin.buffer.read() if file == "-" else Path(file).read_bytes()
        lines = content.decode("utf-8-sig").splitlines()
    except OSError as error:
        raise ConfigError(f"{name}: {error.strerror or error}", "portfolios_file") from error
    except UnicodeDecodeError as error:
        raise ConfigError(f"{name}: is no UTF-8 text", "portfolios_file") from error
    found = list(named or ())
    for number, line in enumerate(lines, start=1):
        text = line.partition("#")[0].strip()
        if not text:
            continue
        try:
            found.append(str(uuid.UUID(text)))
        except ValueError:
            msg = f"{name}:{number}: `{text}` is no UUID"
            raise ConfigError(msg, "portfolios_file") from None
    return found


@contextlib.contextmanager
def _signals_raise() -> Iterator[None]:
    """Turn signals into `Interrupted` while no event loop looks after them."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = {number: signal.signal(number, _interrupt) for number in SIGNALS}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def _interrupt(number: int, _frame: FrameType | None) -> None:
    raise Interrupted(number)


def _run(work: Coroutine[Any, Any, _T]) -> _T:
    """Return what ``work`` returns; a signal cancels it."""
    timers: list[threading.Timer] = []

    def caught(number: int) -> None:
        timer = threading.Timer(LAST_RESORT_S, _give_up, [Interrupted(number)])
        timer.daemon = True
        timer.start()
        timers.append(timer)

    try:
        return asyncio.run(_interruptible(work, caught))
    finally:
        for timer in timers:
            timer.cancel()


def _give_up(error: Interrupted) -> None:
    """End a process that cannot do so itself soon, as while a name is looked up in vain.

    What it has not committed is undone, as if it had been killed.
    """
    _tell(f"error: {_one_line(error)}")
    os._exit(128 + error.signal)


async def _interruptible(work: Coroutine[Any, Any, _T], was_caught: Callable[[int], None]) -> _T:
    loop, task = asyncio.get_running_loop(), asyncio.current_task()
    caught: list[int] = []

    def stop(number: int) -> None:
        if not caught:
            was_caught(number)
        caught.append(number)
        if task is not None:
            task.cancel()

    handled = threading.current_thread() is threading.main_thread()
    if handled:
        for number in SIGNALS:
            loop.add_signal_handler(number, stop, number)
    try:
        return await work
    except (asyncio.CancelledError, Exception) as error:
        if caught:  # whatever the cancelled work made of it
            raise Interrupted(caught[0]) from error
        raise
    finally:
        if handled:
            for number in SIGNALS:
                loop.remove_signal_handler(number)
                signal.signal(number, _interrupt)


class _ToStderr(logging.Handler):
    """Writes to whatever stderr is at the moment, so that a progress bar can stand below."""

    def emit(self, record: logging.LogRecord) -> None:
        tell(_redacted(self.format(record)))


@contextlib.contextmanager
def _logging_to_stderr(verbose: int) -> Iterator[None]:
    logger = logging.getLogger("batchcore")
    handler = _ToStderr()
    handler.setFormatter(logging.Formatter("%(asctime)s %(levelname)s %(message)s"))
    level = logger.level
    logger.addHandler(handler)
    logger.setLevel((logging.WARNING, logging.INFO, logging.DEBUG)[min(verbose, 2)])
    try:
        yield
    finally:
        logger.setLevel(level)
        logger.removeHandler(handler)


@contextlib.contextmanager
def _progress() -> Iterator[Progress | None]:
    """Give a bar with rate and time left on a terminal, and nothing elsewhere."""
    if not sys.stderr.isatty():
        yield None
        return
    from rich import progress as bars  # noqa: PLC0415  # only on a terminal
    from rich.console import Console  # noqa: PLC0415  # likewise

    bar = bars.Progress(
        bars.TextColumn("{task.description:<8}"),
        bars.BarColumn(),
        bars.MofNCompleteColumn(),
        bars.TextColumn("{task.fields[rate]}"),
        bars.TimeElapsedColumn(),
        bars.TimeRemainingColumn(),
        console=Console(file=sys.stderr),
        transient=True,
    )
    phases: dict[str, bars.TaskID] = {}

    def show(phase: str, done: int, total: int) -> None:
        if phase not in phases:
            phases[phase] = bar.add_task(phase, rate="")
        task = bar.tasks[phases[phase]]
        rate = f"{task.speed:.1f}/s" if task.speed else ""
        bar.update(phases[phase], completed=done, total=total or None, rate=rate)

    with bar:
        yield show
