"""What a run must leave however it ends: one document, valid, that says what the exit code says."""

import contextlib
import datetime as dt
import json
import os
import tempfile
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any
from unittest import mock

import jsonschema

from batchcore.cli.artifact import COMMANDS, SCHEMA, WRITING, RunRecord
from batchcore.cli.options import ARTIFACT_VARIABLE
from batchcore.errors import ConfigError

VALIDATOR = jsonschema.Draft202012Validator(
    json.loads(SCHEMA.read_text()), format_checker=jsonschema.FormatChecker()
)
ENDS = {
    0: ("done", "nothing_to_do"),
    1: ("incomplete",),
    2: ("failed", "refused"),
    3: ("refused", "failed"),
    4: ("refused", "failed"),
    99: ("nothing_to_do",),
    130: ("interrupted",),
    143: ("interrupted",),
}
"""Exit code -> how the run may have ended."""


def valid(text: str) -> dict[str, Any]:
    """Return the document of an artifact, which must be valid."""
    document: dict[str, Any] = json.loads(text)
    VALIDATOR.validate(document)
    began, ended = (
        dt.datetime.fromisoformat(document[f"{one}_at"]) for one in ("started", "ended")
    )
    assert began <= ended
    return document


def checked(path: Path, code: int) -> dict[str, Any]:
    """Return the document that a command with an exit code has left, alone in its folder."""
    document = valid(path.read_text())
    assert document["exit_code"] == code
    assert document["outcome"] in ENDS[code]
    assert (document["error"] is None) == (code in {0, 1, 99})
    assert document["outcome"] != "refused" or not document["chunks"]
    if document["portfolios"] is not None:
        counts = document["portfolios_by_status"]
        assert sum(counts.values()) == len(document["portfolios"]["id"])
        assert sum(document["issues_by_name"].values()) == len(document["issues"])
        assert document["error"] is None or not document["success"]
    assert [one.name for one in path.parent.iterdir()] == [path.name]
    return document


@contextlib.contextmanager
def expected(
    words: Sequence[str],
) -> Iterator[tuple[Sequence[str], Callable[[int], dict[str, Any] | None]]]:
    """Let a call of the command line leave an artifact, if its command does.

    Give the words for the call, and what returns the document, checked, by its exit code.
    """
    command = next((word for word in words if not word.startswith("-")), "")
    leaves = command in COMMANDS and not {"--help", "--artifact"} & {*words}
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "artifact.json"
        if leaves and (command not in WRITING or "--dry-run" in words):
            words = (*words, "--artifact", str(path))  # the variable is not for plans
        environment = {ARTIFACT_VARIABLE: str(path)} if leaves else {}
        with mock.patch.dict(os.environ, environment):
            yield words, lambda code: checked(path, code) if leaves else None


class Watched:
    """The artifact of a command in another process, with one of an earlier run in its place."""

    def __init__(self) -> None:
        self._folder = tempfile.TemporaryDirectory()
        self.path = Path(self._folder.name) / "artifact.json"
        record = RunRecord(["run", "--artifact", str(self.path)])
        record.leave(3, ConfigError("an earlier run"))
        self._before = self.path.read_text()

    def check(self, code: int, *, was_ready: bool) -> dict[str, Any]:
        """Return it, which must be what a process that ended so leaves.

        Unless it came to say anything, a signal may have come too early.
        """
        if was_ready:
            return checked(self.path, code)
        found = self.path.read_text()  # killed, the file is that of before or of its end, whole
        document = valid(found)
        assert found == self._before or document["outcome"] != "refused"
        return document

    def close(self) -> None:
        self._folder.cleanup()
