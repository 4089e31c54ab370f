"""The program: its commands, their arguments, and their exit codes."""

from __future__ import annotations

import contextlib
import errno
import functools
import importlib
import inspect
import json
import os
import sys
import traceback
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

import typer

from batchcore.cli import options
from batchcore.cli.artifact import RunRecord, result_of
from batchcore.cli.exits import (
    BROKEN_PIPE,
    DONE,
    Interrupted,
    as_document,
    exit_code,
    one_line,
    redacted,
)
from batchcore.cli.output import LISTED, first_of, logging_to_stderr, print_stderr
from batchcore.cli.signals import ending_in_time, signals_raise, signals_restored
from batchcore.config import Schema, shard_text
from batchcore.errors import ConfigError, SchemaError
from batchcore.streams import silence, write_stderr
from batchcore.words import counted

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence

    from rich.console import RenderableType

CHANGING: Final = ("demo", "run", "repair", "migrate", "generate", "report")
"""Commands that succeed by their work, whether or not their report can be printed."""

app: Final = typer.Typer(
    name="batchcore",
    help="Nightly portfolio valuation on PostgreSQL: exact P&L, natively, in bulk.",
    add_completion=False,
    context_settings={"max_content_width": 100},
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
)


CONTEXT: Final = inspect.Parameter(
    "context", inspect.Parameter.KEYWORD_ONLY, annotation=typer.Context
)
"""The context object by which Typer passes on what `main` has parsed."""


@dataclass(frozen=True, slots=True)
class Call:
    """A call of a command: the arguments that all commands share."""

    command: str
    as_json: bool  # whether stdout gets one JSON document, and nothing else
    url: str  # URL of the database; "" for commands without one
    schema: Schema
    record: RunRecord  # files that a run writes
    verbose: int = 0  # verbosity of the log

    @property
    def on_terminal(self) -> bool:
        """Whether the answer is shown as tables."""
        return not self.as_json and sys.stdout.isatty()

    def answer(
        self,
        document: Mapping[str, Any],
        text: Callable[[], str],
        parts: Callable[[], Iterable[RenderableType]] | None = None,
    ) -> None:
        """Print the document with ``--json``, the text in a pipe, and on a terminal the parts.

        See `batchcore.cli.tables` for these; where there are none, it is the text.
        """
        with self.printing():
            if parts is not None and self.on_terminal:
                importlib.import_module("batchcore.cli.tables").show(parts())
            else:
                print(json.dumps(document, indent=2) if self.as_json else text())

    @contextlib.contextmanager
    def printing(self) -> Iterator[None]:
        """Print on stdout; if that fails, the work of a command counts all the same."""
        try:
            yield
            sys.stdout.flush()
        except OSError as error:
            if self.command not in CHANGING:
                raise type(error)(error.errno, error.strerror, "stdout") from error
            silence(sys.stdout)
            print_stderr(f"warning: the report cannot be printed: {error.strerror}")


def command(
    name: str,
    derived: Sequence[inspect.Parameter] = (),
    *,
    has_database: bool = True,
    text: str | None = None,
) -> Callable[[Callable[..., int]], Callable[..., int]]:
    """Register a function of a `Call` and options as a command.

    Its help is ``text``, or else the docstring of the function.
    """

    def register(function: Callable[..., int]) -> Callable[..., int]:
        @functools.wraps(function)
        def run(
            *,
            context: typer.Context,
            as_json: bool,
            debug: bool,
            verbose: int,
            **given: Any,  # noqa: ANN401
        ) -> int:
            del debug  # `main` has looked for it already, as parsing may fail too
            record: RunRecord = context.obj
            if given.get("databases") is not None:
                _leave_url(context, given)
            record.ask(given)
            with logging_to_stderr(verbose):
                url, schema = "", Schema()
                if has_database:
                    url = given.pop("database_url")
                    if given.get("databases") is None:
                        url = options.database_url(url)
                    if (file := given.pop("schema")) is not None:
                        schema = Schema.from_toml(file)
                return function(Call(name, as_json, url, schema, record, verbose), **given)

        database = options.DATABASE if has_database else []
        own = [*options.own(function), *derived, *database, *options.COMMON]
        parameters = [CONTEXT, *own]
        run.__signature__ = inspect.Signature(parameters)  # type: ignore[attr-defined]
        run.__annotations__ = {one.name: one.annotation for one in parameters}
        app.command(name, help=text)(run)
        return function

    return register


def _leave_url(context: typer.Context, given: dict[str, Any]) -> None:
    """Ignore the URL of the environment if a file names the databases."""
    source = context.get_parameter_source("database_url")
    if source is not None and source.name == "COMMANDLINE":
        msg = "a file names the databases: give --databases or --database-url"
        raise ConfigError(msg, "databases")
    redacted.hide(given["database_url"])
    given["database_url"] = None


def views() -> Any:  # noqa: ANN401  # a module, whose names are not known
    """Return `batchcore.cli.views`, imported only if stdout is a terminal."""
    return importlib.import_module("batchcore.cli.views")


@signals_restored()
def main(arguments: Sequence[str] | None = None) -> int:
    """Run a command by its arguments, or those of the process, and return its exit code."""
    words = list(sys.argv[1:] if arguments is None else arguments) or ["--help"]
    redacted.forget()
    redacted.hide(os.environ.get("PGPASSWORD"))
    as_json, debug = "--json" in words, "--debug" in words
    record = RunRecord(words)
    try:
        with signals_raise():
            run_words = typer.main.get_command(app)  # calling `app` would change sys.excepthook
            code = run_words(words, standalone_mode=False, prog_name="batchcore", obj=record)
            sys.stdout.flush()
    except (BrokenPipeError, SystemExit):
        # In this mode, Typer raises SystemExit only for a broken pipe.
        silence(sys.stdout)
        record.leave(BROKEN_PIPE, OSError(errno.EPIPE, os.strerror(errno.EPIPE), "stdout"))
        return BROKEN_PIPE
    except (Exception, Interrupted) as error:  # noqa: BLE001  # the last one to see it
        code = exit_code(error)
        record.leave(code, error)
        with ending_in_time(error):
            _say(error, as_json=as_json, debug=debug)
        return code
    code = code if isinstance(code, int) else DONE
    record.leave(code)
    return code


def _say(error: BaseException, *, as_json: bool, debug: bool) -> None:
    """Print what ended a command."""
    if debug:
        write_stderr(redacted("".join(traceback.format_exception(error)).rstrip()))
    try:
        if as_json:
            print(json.dumps(as_document(error), indent=2))
        sys.stdout.flush()
    except OSError:  # as the error may be that stdout is full
        silence(sys.stdout)
    for line in (f"error: {one_line(error)}", *further_lines(error)):
        print_stderr(redacted(line))


def further_lines(error: BaseException) -> list[str]:
    """Return the lines after that of an error: its other problems, and the ends of shards."""
    problems = error.problems[1:] if isinstance(error, SchemaError) else ()
    lines = [f"also: {problem}" for problem in problems]
    report = result_of(error)
    if report is None or not report.shards:
        return lines
    if report.group is not None:
        rows = counted(report.rows_written, "row")
        lines.append(f"`batchcore status --group {report.group}` shows all shards; {rows} written")
    ends: dict[str, list[str]] = {}
    for one in report.shards:
        text = f"{one.state}, {one.error}" if one.state == "failed" else one.state
        ends.setdefault(text, []).append(shard_text(one.shard))
    for text, own in ends.items():
        lines.append(f"shard{'s' if own[1:] else ''} {first_of(own, LISTED)}: {text}")
    return lines
