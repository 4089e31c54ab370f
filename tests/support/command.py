"""The command line called in this process, and its help as a file has it.

Run as a script, this rewrites the files of `tests/e2e/help`.
"""

import contextlib
import io
import json
import os
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any
from unittest import mock

from batchcore import cli
from batchcore.cli.app import app
from support import artifact

HELP = Path(__file__).parent.parent / "e2e" / "help"
COMMANDS = tuple(str(one.name) for one in app.registered_commands)
WIDTH = "100"


@dataclass(frozen=True)
class Said:
    """What a call printed, its exit code, and the document that it left of a run."""

    code: int
    out: str
    err: str
    artifact: dict[str, Any] | None = field(default=None, compare=False)

    def document(self) -> Any:
        """Return stdout, which must be one JSON document and nothing else."""
        return json.loads(self.out)

    def error(self) -> str:
        """Return the line of an error; each further problem has a line of its own."""
        line, *others = self.err.splitlines()
        assert all(other.startswith("batchcore: also: ") for other in others), self.err
        start = "batchcore: error: "
        assert line.startswith(start), line
        return line.removeprefix(start)


class Terminal(io.StringIO):
    """A stream that says that it is a terminal."""

    def isatty(self) -> bool:
        return True


def called(words: Sequence[str], stream: type[io.StringIO] = io.StringIO) -> Said:
    """Call the command line with words and nothing else."""
    out, err = stream(), io.StringIO()
    with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
        code = cli.main(words)
    return Said(code, out.getvalue(), err.getvalue())


def batchcore(*words: str) -> Said:
    """Call the command line; however a run ends, it must leave a valid artifact."""
    with artifact.expected(words) as (given, document):
        said = called(given)
        return replace(said, artifact=document(said.code))


def shown(*words: str, width: int = 80, **environment: str) -> Said:
    """Call the command line with a terminal as its stdout."""
    size = {"COLUMNS": str(width), "LINES": "24", "TERM": "xterm-256color", **environment}
    with mock.patch.dict(os.environ, size):
        return called(words, Terminal)


def printed(code: str) -> str:
    """Return what code of Python prints in a process of its own, without an error or a warning."""
    done = subprocess.run(  # noqa: S603  # this interpreter
        [sys.executable, "-W", "error", "-c", code], capture_output=True, text=True, check=False
    )
    assert (done.returncode, done.stderr) == (0, "")
    return done.stdout


def help_file(command: str | None) -> Path:
    return HELP / f"{command or 'batchcore'}.txt"


def help_text(command: str | None) -> str:
    """Return the help of a command, or of them all, on a terminal of `WIDTH` columns."""
    with mock.patch.dict(os.environ, {"COLUMNS": WIDTH}):
        said = batchcore(*([command] if command else []), "--help")
    assert (said.code, said.err) == (0, "")
    return said.out


if __name__ == "__main__":
    for one in (None, *COMMANDS):
        help_file(one).write_text(help_text(one))
