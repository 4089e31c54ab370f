"""Exit codes of commands (docs/operations.md), and the text of errors."""

from __future__ import annotations

import signal
from typing import Any, Final

import typer

from batchcore.errors import BatchcoreError, ConfigError, InputError, LeaseHeldError, SchemaError
from batchcore.redact import Redactor

DONE: Final = 0
INCOMPLETE: Final = 1
FAILED: Final = 2
USAGE: Final = 3
LEASE_HELD: Final = 4
NOTHING_TO_DO: Final = 99
BROKEN_PIPE: Final = 141

WORST: Final = (NOTHING_TO_DO, DONE, INCOMPLETE, LEASE_HELD, FAILED, USAGE)
"""Exit codes of runs, the worst last: the one that no other attempt can mend."""

UsageError: Final[Any] = typer.BadParameter.__base__
"""The error for a wrong argument; not every version of Typer has a public name for it."""

HIDDEN: Final = ("batchcore_result", "batchcore_many", "__notes__")
"""Attributes of an exception that are not facts: the report of its run, and notes."""

redacted: Final = Redactor()


class Interrupted(BaseException):
    """A signal asked the process to stop."""

    def __init__(self, number: int) -> None:
        super().__init__(number)
        self.signal = signal.Signals(number)


def exit_code(error: BaseException) -> int:
    """Return the exit code of a command that an error ended."""
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


def one_line(error: BaseException) -> str:
    """Return the text of an error, without passwords."""
    match error:
        case Interrupted():
            name = error.signal.name
            text = f"interrupted by {name}; what was committed is kept, run again to continue"
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
        case RuntimeError() if str(error).startswith("can't start new thread"):
            text = "no thread can be started: the machine or container limits threads or memory"
        case Warning():
            text = f"a warning that -W or PYTHONWARNINGS makes an error: {error}"
        case _:
            text = (
                f"a defect of batchcore: {type(error).__name__}: {error}; please report it, "
                "with what --debug shows"
            )
    return redacted(" ".join(text.split()))


def as_document(error: BaseException) -> dict[str, Any]:
    """Return the error for JSON, with the attributes of our own exceptions."""
    attributes = {
        key: redacted(value) if isinstance(value, str) else value
        for key, value in (vars(error) if isinstance(error, BatchcoreError) else {}).items()
        if key not in HIDDEN
    }
    name = "UsageError" if isinstance(error, UsageError) else type(error).__name__
    own = {"type": name, "message": one_line(error), "exit_code": exit_code(error)}
    return {"error": {**own, **attributes}}
