"""The command line called in this process, and its help as a file has it.

Run as a script, this rewrites the files of `tests/e2e/help`.
"""

import contextlib
import io
import json
import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from unittest import mock

from batchcore import cli

HELP = Path(__file__).parent.parent / "e2e" / "help"
COMMANDS = (
    "demo",
    "run",
    "plan",
    "repair",
    "verify",
    "explain",
    "performance",
    "status",
    "report",
    "migrate",
    "generate",
    "version",
)
WIDTH = "100"


@dataclass(frozen=True)
class Said:
    """What a call printed, and its exit code."""

    code: int
    out: str
    err: str

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


def batchcore(*words: str) -> Said:
    """Call the command line."""
    out, err = io.StringIO(), io.StringIO()
    with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
        code = cli.main(words)
    return Said(code, out.getvalue(), err.getvalue())


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
