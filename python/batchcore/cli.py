"""The command line: arguments in, exit code out; the only file that prints.

====================================================  =====================  =========
case                                                  exception              exit code
====================================================  =====================  =========
done                                                                         0
some portfolios failed, a migration is to be done,                           1
or rows of the demo differ from the reference
the database refused, failed or went away             `DatabaseError`        2
prices of a session have not arrived                  `CoverageError`        2
a snapshot stands where none may                      `SnapshotExistsError`  2
a defect                                              any other              2
an option that is none, or a value that it cannot be                         3
an argument or setting is wrong                       `ConfigError`          3
a column is wrong                                     `InputError`           3
tables that do not fit, or were not migrated          `SchemaError`          3
an extra is not installed                                                    3
another migration is at work                          `LeaseHeldError`       4
nothing to do (0 with ``--ok-if-nothing``)                                   99
interrupted by SIGINT, SIGTERM; what was committed                           130, 143
stays, statements at work are cancelled
the reader of our output went away                                           141
====================================================  =====================  =========

An error is one line on stderr; with ``--debug`` its traceback comes first. With ``--json`` the
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
import re
import signal
import sys
import threading
import traceback
from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated, Any, Final, TypeVar, get_type_hints
from urllib.parse import urlsplit

from batchcore.config import ON_EXISTING, POLICIES, Settings
from batchcore.errors import (
    BatchcoreError,
    ConfigError,
    DatabaseError,
    InputError,
    LeaseHeldError,
    SchemaError,
)

try:
    import rich
    import typer
except ImportError as error:
    print(  # the one line that must do without them
        f"batchcore: error: the command line needs `{error.name}`: "
        "install `batchcore[cli]` (pip install 'batchcore[cli]')",
        file=sys.stderr,
    )
    raise SystemExit(3) from None

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine, Iterator, Mapping, Sequence
    from types import FrameType

    from batchcore.db.migrate import MigrateStatus
    from batchcore.db.read import Valuation
    from batchcore.demo import Demo, Size
    from batchcore.run.result import BatchResult

    Progress = Callable[[str, int, int], None]

DONE: Final = 0
INCOMPLETE: Final = 1
FAILED: Final = 2
USAGE: Final = 3
LEASE_HELD: Final = 4
NOTHING_TO_DO: Final = 99
BROKEN_PIPE: Final = 141

URL_VARIABLE: Final = "BATCHCORE_DATABASE_URL"
LIBPQ_VARIABLES: Final = ("PGHOST", "PGPORT", "PGDATABASE", "PGUSER", "PGSERVICE")
SIGNALS: Final = (signal.SIGINT, signal.SIGTERM)

LISTED: Final = 20
"""How many of a kind are told one by one; JSON has them all."""

SEED: Final = 1

_T = TypeVar("_T")
_WITH_PASSWORD: Final = re.compile(r"(\w+://[^\s:/@]*):[^\s@]*@")

app: Final = typer.Typer(
    name="batchcore",
    help="Nightly portfolio valuation on PostgreSQL: exact P&L, natively, in bulk.",
    add_completion=False,
    context_settings={"max_content_width": 100},
    no_args_is_help=True,
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
        print(json.dumps(document, indent=2) if self.as_json else text())


def _date(text: str) -> dt.date:
    try:
        return dt.date.fromisoformat(text)
    except ValueError:
        raise typer.BadParameter(f"`{text}` is no date, expected YYYY-MM-DD") from None


DatabaseUrl = Annotated[
    str | None,
    typer.Option(
        metavar="URL",
        envvar=URL_VARIABLE,
        help="postgresql://...; without it the PG* variables of libpq count.",
        show_default=False,
    ),
]
Json = Annotated[bool, typer.Option("--json", help="Print one JSON document on stdout.")]
Debug = Annotated[bool, typer.Option("--debug", help="Show the traceback of an error.")]
Verbose = Annotated[
    int, typer.Option("--verbose", "-v", count=True, help="Log to stderr; -vv logs more.")
]


def command(
    name: str, options_of: Callable[..., int] | None = None
) -> Callable[[Callable[..., int]], Callable[..., int]]:
    """Register a function of an `Ask` and options as a command.

    It also gets the options that every command has.

    Args:
        name: Of the command.
        options_of: The function whose parameters are the options, if it is another one.
    """

    def register(function: Callable[..., int]) -> Callable[..., int]:
        @functools.wraps(function)
        def run(*, as_json: bool, debug: bool, verbose: int, **options: object) -> int:
            del debug  # `main` has looked for it already: parsing may fail too
            with _logging_to_stderr(verbose):
                return function(Ask(name, as_json, verbose), **options)

        source = options_of or function
        hints = get_type_hints(source, include_extras=True)
        own = [
            parameter.replace(annotation=hints[parameter.name])
            for parameter in inspect.signature(source).parameters.values()
            if parameter.name != "ask"
        ]
        common = {"as_json": (Json, False), "debug": (Debug, False), "verbose": (Verbose, 0)}
        added = [
            inspect.Parameter(key, inspect.Parameter.KEYWORD_ONLY, default=default, annotation=hint)
            for key, (hint, default) in common.items()
        ]
        run.__signature__ = inspect.Signature([*own, *added])  # type: ignore[attr-defined]
        run.__annotations__ = {parameter.name: parameter.annotation for parameter in [*own, *added]}
        app.command(name)(run)
        return function

    return register


@command("demo")
def demo(
    ask: Ask,
    *,
    portfolios: Annotated[
        int | None, typer.Option(metavar="N", help="Of a generated market; 300 of real closes.")
    ] = None,
    symbols: Annotated[
        int | None, typer.Option(metavar="N", help="Stocks and options of a generated market.")
    ] = None,
    sessions: Annotated[
        int | None, typer.Option(metavar="N", help="Sessions of a generated market.")
    ] = None,
    seed: Annotated[int, typer.Option(metavar="N", help="Of all random numbers.")] = SEED,
) -> int:
    """Value portfolios in an embedded PostgreSQL and check every row.

    The closes are real ones of 27 symbols, over 120 sessions; with one of --portfolios, --symbols
    and --sessions the market is generated, and 50 portfolios are checked.
    """
    from batchcore import demo as demos  # noqa: PLC0415  # brings NumPy and the driver
    from batchcore.db import embedded  # noqa: PLC0415  # likewise
    from batchcore.native import build_profile  # noqa: PLC0415  # likewise

    if build_profile == "debug":
        _tell("warning: this is a debug build of the core, many times slower than a release build")
    generated = any(number is not None for number in (portfolios, symbols, sessions))
    size = _size(demos, portfolios, symbols, sessions) if generated else demos.Size()
    with embedded.start() as server, _progress() as progress:
        done = _run(demos.run_demo(server.url, size, seed=seed, progress=progress))
    checked = done.checked
    if ask.as_json:
        print(json.dumps(done.to_dict(), indent=2))
    else:
        _print_demo(done)
    for line in checked.examples:
        _tell(line)
    _tell_failures(done.result)
    return INCOMPLETE if checked.differing or done.result.failed else DONE


def _size(demos: Any, portfolios: int | None, symbols: int | None, sessions: int | None) -> Size:  # noqa: ANN401  # the module, imported late
    size: Size = demos.Size(
        portfolios=demos.PORTFOLIOS if portfolios is None else portfolios,
        symbols=demos.SYMBOLS if symbols is None else symbols,
        sessions=demos.SESSIONS if sessions is None else sessions,
    )
    return size


def _batch(
    ask: Ask,
    *,
    start: Annotated[
        dt.date | None,
        typer.Option(
            parser=_date,
            metavar="DATE",
            help="First day; without it each portfolio goes on after its latest snapshot.",
        ),
    ] = None,
    end: Annotated[
        dt.date | None,
        typer.Option(
            parser=_date, metavar="DATE", help="Last day; without it the last session closed."
        ),
    ] = None,
    portfolio: Annotated[
        list[str] | None,
        typer.Option(metavar="ID", help="A portfolio; repeatable. Without it all."),
    ] = None,
    policy: Annotated[
        str, typer.Option(metavar="NAME", help=f"What the figures mean: {', '.join(POLICIES)}.")
    ] = POLICIES[0],
    calendar: Annotated[
        str,
        typer.Option(metavar="CODE", help="XNYS, daily, prices, or a code of exchange_calendars."),
    ] = "XNYS",
    lookback_days: Annotated[
        int, typer.Option(metavar="N", help="Calendar days that a close may be old.")
    ] = Settings.lookback_days,
    on_existing: Annotated[
        str,
        typer.Option(metavar="|".join(ON_EXISTING), help="What becomes of existing snapshots."),
    ] = ON_EXISTING[0],
    min_coverage: Annotated[
        float,
        typer.Option(metavar="X", help="Share of symbols that a session needs closes of, 0 to 1."),
    ] = Settings.min_coverage,
    today: Annotated[
        dt.date | None,
        typer.Option(parser=_date, metavar="DATE", help="The date that stands for now."),
    ] = None,
    chunk_size: Annotated[
        int | None,
        typer.Option(metavar="N", help="Portfolios committed together.", show_default=False),
    ] = None,
    threads: Annotated[
        int | None,
        typer.Option(metavar="N", help="Of native work; all cores.", show_default=False),
    ] = None,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Compute and write nothing, as `plan`.")
    ] = False,
    ok_if_nothing: Annotated[
        bool, typer.Option("--ok-if-nothing", help="Exit with 0, not 99, if nothing is to do.")
    ] = False,
    database_url: DatabaseUrl = None,
) -> int:
    url = _database_url(database_url)
    settings = Settings(
        lookback_days=lookback_days,
        min_coverage=min_coverage,
        today=today,
        threads=threads,
        chunk_size=chunk_size,
        dry_run=dry_run or ask.command == "plan",
    )
    from batchcore.run.orchestrator import run_batch  # noqa: PLC0415  # brings the driver

    with _progress() as progress:
        result = _run(
            run_batch(
                url,
                start,
                end,
                portfolio,
                policy=policy,
                calendar=calendar,
                on_existing=on_existing,
                settings=settings,
                progress=progress,
            )
        )
    if settings.dry_run:
        plan = _plan(result, min_coverage)
        ask.answer({**result.to_dict(), **plan}, lambda: _plan_text(result, plan))
    else:
        ask.answer(result.to_dict(), lambda: _result_text(result))
    _tell_failures(result)
    if result.nothing_to_do:
        return DONE if ok_if_nothing else NOTHING_TO_DO
    return INCOMPLETE if result.failed else DONE


@command("run", options_of=_batch)
def run(ask: Ask, **options: Any) -> int:  # noqa: ANN401  # those of `_batch`
    """Roll portfolios forward over the sessions of a range and write their snapshots."""
    return _batch(ask, **options)


@command("plan", options_of=_batch)
def plan(ask: Ask, **options: Any) -> int:  # noqa: ANN401  # those of `_batch`
    """Say what `run` would do with the same options, and what is missing; write nothing."""
    return _batch(ask, **options)


@command("migrate")
def migrate(
    ask: Ask,
    *,
    check: Annotated[
        bool, typer.Option("--check", help="Only tell: exit with 0 if nothing is to do, else 1.")
    ] = False,
    database_url: DatabaseUrl = None,
) -> int:
    """Bring a database to the newest schema: an empty one, or a host's own."""
    from batchcore.db import migrate as migrations  # noqa: PLC0415  # brings SQLAlchemy

    url = _database_url(database_url)
    if check:
        status = _run(migrations.check(url))
        document = {**dataclasses.asdict(status), "is_current": status.is_current}
        ask.answer(document, lambda: _status_text(status))
        if status.problems:
            return USAGE
        return DONE if status.is_current else INCOMPLETE
    report = _run(migrations.migrate(url))
    lines = [f"{revision}: marked as done, the tables are the host's" for revision in report.marked]
    lines += [f"{revision}: done" for revision in report.applied]
    lines.append(f"the database is at revision {report.revision}, the newest")
    ask.answer(dataclasses.asdict(report), lambda: "\n".join(lines))
    return DONE


@command("generate")
def generate(
    ask: Ask,
    *,
    portfolios: Annotated[int, typer.Option(metavar="N", help="How many.")] = 1000,
    symbols: Annotated[int, typer.Option(metavar="N", help="Stocks and options.")] = 500,
    sessions: Annotated[
        int, typer.Option(metavar="N", help="The last ones up to 2025-06-30.")
    ] = 120,
    seed: Annotated[int, typer.Option(metavar="N", help="Of all random numbers.")] = SEED,
    database_url: DatabaseUrl = None,
) -> int:
    """Fill an empty, migrated database with a generated market and portfolios."""
    from batchcore import demo as demos  # noqa: PLC0415  # brings NumPy and the driver
    from batchcore.calendar import date_of  # noqa: PLC0415  # likewise

    url = _database_url(database_url)
    data = demos.seeded(demos.Size(portfolios, symbols, sessions), seed=seed)
    with _progress() as progress:
        rows = _run(data.write(url, progress=progress))
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
    from batchcore.native import build_profile, core_version  # noqa: PLC0415  # brings NumPy

    document = {
        "version": core_version,
        "build_profile": build_profile,
        "python": ".".join(map(str, sys.version_info[:3])),
    }
    ask.answer(document, lambda: f"batchcore {core_version} ({build_profile} build)")
    return DONE


def main(arguments: Sequence[str] | None = None) -> int:
    """Run a command and return its exit code.

    Args:
        arguments: Without the program's name; None takes those of the process.
    """
    words = list(sys.argv[1:] if arguments is None else arguments)
    as_json, debug = "--json" in words, "--debug" in words
    try:
        with _signals_raise():
            code = app(words, standalone_mode=False, prog_name="batchcore")
            sys.stdout.flush()
    except BrokenPipeError:
        # Python flushes stdout once more at its end, and would complain then.
        with contextlib.suppress(OSError, ValueError):
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return BROKEN_PIPE
    except (Exception, Interrupted, KeyboardInterrupt) as error:  # noqa: BLE001  # the last one to see it
        code = _code(error)
        message = _one_line(error)
        if debug:
            trace = "".join(traceback.format_exception(error))
            print(_redacted(trace), end="", file=sys.stderr)
        if as_json:
            print(json.dumps({"error": _error(error, message, code)}, indent=2))
        _tell(f"error: {message}")
    return code if isinstance(code, int) else DONE


def _code(error: BaseException) -> int:
    match error:
        case Interrupted():
            return 128 + error.signal
        case KeyboardInterrupt():
            return 128 + signal.SIGINT
        case LeaseHeldError():
            return LEASE_HELD
        case ConfigError() | InputError() | SchemaError() | typer.TyperException():
            return USAGE
        case _:
            return FAILED


def _one_line(error: BaseException) -> str:
    match error:
        case Interrupted() | KeyboardInterrupt():
            number = error.signal if isinstance(error, Interrupted) else signal.SIGINT
            text = f"interrupted by {number.name}; what was committed stays, run again to go on"
        case typer.TyperException():
            text = error.format_message()
            if context := getattr(error, "ctx", None):
                text += f" (see `{context.command_path} --help`)"
        case DatabaseError() if error.sqlstate is None and isinstance(error.__cause__, OSError):
            text = f"the database cannot be reached: {error}; does it run, and is its URL right?"
        case BatchcoreError():
            text = str(error)
        case _:
            text = (
                f"a defect of batchcore: {type(error).__name__}: {error}; please report it, "
                "with what --debug shows"
            )
    return _redacted(" ".join(text.split()))


def _error(error: BaseException, message: str, code: int) -> dict[str, Any]:
    """Return the error as JSON has it, with the attributes of our own exceptions."""
    attributes = vars(error) if isinstance(error, BatchcoreError) else {}
    name = "UsageError" if isinstance(error, typer.TyperException) else type(error).__name__
    return {"type": name, "message": message, "exit_code": code, **attributes}


def _redacted(text: str) -> str:
    return _WITH_PASSWORD.sub(r"\1:***@", text)


def _tell(line: str) -> None:
    print(f"batchcore: {line}", file=sys.stderr)


def _database_url(given: str | None) -> str:
    """Return the URL to connect to, without having looked at more than its form.

    Raises:
        ConfigError: there is none, or it cannot be one.
    """
    if given is None:
        if not any(os.environ.get(name) for name in LIBPQ_VARIABLES):
            raise ConfigError(
                f"no database: give --database-url, or set {URL_VARIABLE} or PGHOST", "database_url"
            )
        return "postgresql://"
    try:
        _ = urlsplit(given).port
    except ValueError:
        # Said without the text: with a `/` in the password, a part of it is taken for the port.
        raise ConfigError(
            "the database URL has no valid port: special characters of a password are to be "
            "written as %XX",
            "database_url",
        ) from None
    return given


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
    return asyncio.run(_interruptible(work))


async def _interruptible(work: Coroutine[Any, Any, _T]) -> _T:
    loop, task = asyncio.get_running_loop(), asyncio.current_task()
    caught: list[int] = []

    def stop(number: int) -> None:
        caught.append(number)
        if task is not None:
            task.cancel()

    handled = threading.current_thread() is threading.main_thread()
    if handled:
        for number in SIGNALS:
            loop.add_signal_handler(number, stop, number)
    try:
        return await work
    except asyncio.CancelledError:
        if caught:
            raise Interrupted(caught[0]) from None
        raise
    finally:
        if handled:
            for number in SIGNALS:
                loop.remove_signal_handler(number)
                signal.signal(number, _interrupt)


class _ToStderr(logging.Handler):
    """Writes to whatever stderr is at the moment, so that a progress bar can stand below."""

    def emit(self, record: logging.LogRecord) -> None:
        print(_redacted(self.format(record)), file=sys.stderr)


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


def _tell_failures(result: BatchResult) -> None:
    errors = result.errors()
    for line in errors[:LISTED]:
        _tell(f"failed: {line}")
    if len(errors) > LISTED:
        _tell(f"failed: {len(errors) - LISTED} more, which --json lists")


def _result_text(result: BatchResult) -> str:
    if result.nothing_to_do:
        return _nothing_text(result)
    cache, failed = result.cache, result.failed
    written = result["portfolios_processed"]
    skipped = len(result.portfolios) - written - failed
    rate = "none" if cache["hit_rate"] is None else f"{cache['hit_rate']:.2%}"
    lines = [
        f"run {result.run_id}: {result.policy}, {_sessions_text(result)}",
        f"portfolios: {written:,} complete, {skipped:,} skipped, {failed:,} failed",
        f"rows: {result.rows_written:,} written in {result.chunks:,} chunks",
        f"marks: {rate} hits; {_marks_text(cache)}",
        f"statements: {_counts_text(result.statements_by_phase)}",
        f"seconds: {_seconds_text(result.seconds_by_phase)}",
    ]
    return "\n".join([*lines, *_issue_lines(result)])


def _nothing_text(result: BatchResult) -> str:
    if len(result.portfolios) == 0:
        why = "there is no portfolio"
    else:
        why = "no session of the range is left to write"
    return "\n".join([f"nothing to do: {why}", *_issue_lines(result)])


def _sessions_text(result: BatchResult) -> str:
    from batchcore.calendar import date_of  # noqa: PLC0415  # imported by the run

    first, last = (date_of(int(result.sessions[row])) for row in (0, -1))
    return f"{len(result.sessions):,} sessions from {first} to {last}"


def _marks_text(cache: Mapping[str, Any]) -> str:
    names = {"fresh": "fresh", "lookback_hits": "by lookback", "stale": "stale"}
    parts = [f"{cache[key]:,} {name}" for key, name in {**names, "unpriced": "unpriced"}.items()]
    return ", ".join(parts)


def _counts_text(counts: Mapping[str, int]) -> str:
    parts = ", ".join(f"{phase} {count:,}" for phase, count in counts.items())
    return f"{parts}; {sum(counts.values()):,} in all"


def _seconds_text(seconds: Mapping[str, float]) -> str:
    parts = [f"{phase} {spent:.2f}" for phase, spent in seconds.items() if phase != "total"]
    return f"{', '.join(parts)}; {seconds['total']:.2f} in all"


def _issue_lines(result: BatchResult) -> list[str]:
    counts = result.issues_by_name()
    named = ", ".join(f"{count:,} {name}" for name, count in counts.items())
    return [f"issues: {named}"] if counts else []


def _plan(result: BatchResult, min_coverage: float) -> dict[str, Any]:
    """Return what a plan says beside the report of its dry run."""
    document = result.to_dict()
    return {
        "rows_planned": sum(document["portfolios"]["sessions_planned"]),
        "min_coverage": min_coverage,
        "sessions_below_min_coverage": [
            session for session, share in document["coverage"].items() if share < min_coverage
        ],
        "symbols_without_close": [
            issue["symbol"] for issue in document["issues"] if issue["name"] == "unpriced"
        ],
    }


def _plan_text(result: BatchResult, plan: Mapping[str, Any]) -> str:
    left_out = result.to_dict()["sessions_left_out"]
    lines = []
    if result.nothing_to_do:
        lines.append(_nothing_text(result))
    else:
        planned = int((result.portfolios.sessions_planned > 0).sum())
        lines += [
            f"would run {_sessions_text(result)}",
            f"portfolios: {planned:,} of {len(result.portfolios):,} have something to write",
            f"rows: {plan['rows_planned']:,} to write",
        ]
    lines.append(f"dates left out, no session: {_listed(left_out)}")
    if not result.nothing_to_do:
        lines += [
            f"symbols without any close: {_listed(plan['symbols_without_close'])}",
            *_coverage_lines(result, plan["min_coverage"]),
            *_issue_lines(result),
        ]
    return "\n".join(lines)


def _coverage_lines(result: BatchResult, min_coverage: float) -> list[str]:
    from batchcore.calendar import date_of  # noqa: PLC0415  # imported by the run

    coverage, share = result.coverage, result.coverage.share()
    lines = [f"symbols with a close, by session (at least {min_coverage:.1%}):"]
    below = 0
    for row, session in enumerate(coverage.session.tolist()):
        mark = ""
        if share[row] < min_coverage:
            below += 1
            mark = "  below"
        lines.append(
            f"  {date_of(session)}  {int(coverage.fresh[row]):>6,} of "
            f"{int(coverage.recent[row]):>6,}  {float(share[row]):>6.1%}{mark}"
        )
    if below:
        lines.append(f"the run would stop: {below:,} sessions are below {min_coverage:.1%}")
    return lines


def _listed(names: Sequence[str]) -> str:
    if not names:
        return "none"
    more = f" and {len(names) - LISTED:,} more" if len(names) > LISTED else ""
    return f"{len(names):,} ({', '.join(names[:LISTED])}{more})"


def _status_text(status: MigrateStatus) -> str:
    at = "batchcore never migrated it" if status.revision is None else status.revision
    lines = [f"revision: {at}; newest: {status.head}"]
    lines += [f"to do: {step}" for step in status.steps]
    lines += [f"in the way: {problem}" for problem in status.problems]
    if status.is_current:
        lines.append("nothing to do")
    return "\n".join(lines)


def _print_demo(done: Demo) -> None:
    """Print tables with rich, and below them the line that says whether the rows are right."""
    console = rich.get_console().__class__(file=sys.stdout, highlight=False)
    kind = "real closes" if done.size.symbols is None else "a generated market"
    console.print(
        f"{done.size.portfolios:,} portfolios with {done.positions:,} positions on {kind}: "
        f"{done.symbols:,} symbols, {done.closes:,} closes, {_sessions_text(done.result)}"
    )
    console.print(_portfolio_table(done))
    console.print(_phase_table(done))
    cache = done.result.cache
    marks = cache["hits"] + cache["misses"]
    console.print(
        f"marks: {marks:,}, {cache['hit_rate'] or 0:.2%} of them hits; {_marks_text(cache)}",
        soft_wrap=True,
    )
    for line in _issue_lines(done.result):
        console.print(line, soft_wrap=True)
    took = ", ".join(f"{name} {seconds:.2f}" for name, seconds in done.seconds.items())
    console.print(f"seconds: {took}", soft_wrap=True)
    checked = done.checked
    of = ""
    if checked.portfolios < checked.portfolios_in_all:
        of = (
            f" ({checked.portfolios:,} of {checked.portfolios_in_all:,} portfolios, "
            f"drawn by seed {done.seed})"
        )
    print(
        f"{checked.rows:,} rows checked against the reference, {checked.differing:,} differ{of}",
        flush=True,
    )


def _portfolio_table(done: Demo) -> Any:  # noqa: ANN401  # rich is an extra
    from rich.table import Table  # noqa: PLC0415  # only the demo draws tables

    table = Table(title="Portfolios after the last session, dollars")
    table.add_column("portfolio")
    for name in ("lots", "equity", "P&L", "realized", "flows", "gross exposure"):
        table.add_column(name, justify="right")

    def add(name: str, row: Valuation) -> None:
        amounts = (row.equity, row.pnl, row.realized, row.flow, row.gross)
        table.add_row(name, f"{row.positions:,}", *(f"{amount:,.2f}" for amount in amounts))

    for row in done.shown:
        add(row.name, row)
    table.add_section()
    add(f"all {int(done.total.name):,}", done.total)
    return table


def _phase_table(done: Demo) -> Any:  # noqa: ANN401  # rich is an extra
    from rich.table import Table  # noqa: PLC0415  # only the demo draws tables

    result = done.result
    table = Table(title=f"The run: {result.rows_written:,} rows written")
    table.add_column("phase")
    table.add_column("statements", justify="right")
    table.add_column("seconds", justify="right")
    for phase in {**result.statements_by_phase, **result.seconds_by_phase}:
        if phase != "total":
            spent = result.seconds_by_phase.get(phase)
            table.add_row(
                phase,
                f"{result.statements_by_phase.get(phase, 0):,}",
                "" if spent is None else f"{spent:.3f}",
            )
    table.add_section()
    table.add_row(
        "in all",
        f"{sum(result.statements_by_phase.values()):,}",
        f"{result.seconds_by_phase['total']:.3f}",
    )
    return table
