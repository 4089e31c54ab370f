"""The files that a run writes however it ends: its document and its metrics.

The document is that of ``--json`` with the end of the run; `data/artifact.schema.json` describes
it.
"""

from __future__ import annotations

import asyncio
import datetime as dt
import json
import math
import os
import re
import sys
from collections import Counter
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from batchcore import about
from batchcore.cli.exits import (
    LEASE_HELD,
    USAGE,
    WORST,
    Interrupted,
    as_document,
    exit_code,
    redacted,
)
from batchcore.cli.metrics import metrics_text
from batchcore.cli.options import ARTIFACT_VARIABLE
from batchcore.cli.output import print_stderr
from batchcore.errors import CoverageError, SnapshotExistsError
from batchcore.files import replace_file

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from batchcore.run.many import ManyResult
    from batchcore.run.result import BatchResult

WRITING: Final = ("run", "repair")
"""Commands that write metrics, and a document if the environment asks for it."""

COMMANDS: Final = (*WRITING, "plan")
"""Commands that write a document."""

SCHEMA_VERSION: Final = 1
SCHEMA: Final = Path(__file__).parent.parent / "data" / "artifact.schema.json"

_SERVER: Final = r"(?:[\w.%-]+|\[[\da-fA-F:.%]+\])(?::\d+)?"
_PLACE: Final = re.compile(rf"(?:{_SERVER}(?:,{_SERVER})*)?(?:/[\w.-]*)?")
"""A port that is not a number may be a misplaced password, and is not shown."""


class RunRecord:
    """The facts of a run, from its command line to its end."""

    def __init__(self, words: Sequence[str]) -> None:
        """Take the arguments of the command line, which may be wrong."""
        command = next((word for word in words if not word.startswith("-")), "")
        self.command = command if command in COMMANDS else ""
        writes = command in WRITING
        self.artifact = _last_of(words, "--artifact") if self.command else None
        if self.artifact is None and writes and "--dry-run" not in words:
            self.artifact = os.environ.get(ARTIFACT_VARIABLE) or None
        self.metrics = _last_of(words, "--metrics") if writes else None
        self.asked: dict[str, Any] | None = None  # options and their values, once they are read
        self._results: Mapping[str | None, BatchResult] = {}  # by database; None for a single one
        self._errors: Mapping[str, BaseException] = {}  # by database
        self._document: Mapping[str, Any] | None = None
        self._began = dt.datetime.now(dt.UTC)

    def ask(self, given: dict[str, Any]) -> None:
        """Take the options of the command by their Python names, and remove those of this class."""
        for name in ("artifact", "metrics"):
            if (path := given.pop(name, None)) is not None:
                setattr(self, name, path)
        url = given.get("database_url")
        redacted.hide(url)
        apart = {"database_url", "check_basis"}  # a check of bases writes no document
        own = {name: value for name, value in given.items() if name not in apart}
        self.asked = {
            "database": None if url is None else _place(url),
            **{name: _plain(value) for name, value in own.items()},
        }

    def report(self, result: BatchResult, document: Mapping[str, Any]) -> None:
        """Take the report of the run, and its document for ``--json``."""
        self._results, self._document = {None: result}, document

    def report_many(self, many: ManyResult, document: Mapping[str, Any]) -> None:
        """Take the reports of several databases, and their document for ``--json``."""
        self._results = {name: many[name] for name in many}
        self._errors, self._document = many.errors, document

    def leave(self, code: int, error: BaseException | None = None) -> None:
        """Write document and metrics; a file that cannot be written is a warning."""
        if error is None and self._document is None:  # as of the help
            return
        if self.artifact is None and self.metrics is None:
            return
        if error is not None and (found := result_of(error)) is not None:
            self.report(found, found.to_dict())
        if error is not None and (stopped := _many_of(error)) is not None:
            codes = dict.fromkeys((*stopped.reports, *stopped.errors), code)
            reports = database_dicts(stopped, codes, lambda one: one.to_dict())
            self.report_many(stopped, {"databases": reports})
        if error is None:
            ends = self._errors.values()
            error = max(ends, key=lambda one: WORST.index(exit_code(one)), default=None)
        now = dt.datetime.now(dt.UTC)
        if self.artifact is not None:
            text = json.dumps(self._whole(code, error, now), indent=2, allow_nan=False)
            _write("artifact", self.artifact, text + "\n")
        if self.metrics is not None:
            text = metrics_text(self.metrics, self._results, code, now)
            _write("metrics", self.metrics, text)

    def _whole(self, code: int, error: BaseException | None, now: dt.datetime) -> dict[str, Any]:
        """Return the document, with each key of its schema."""
        schema = json.loads(SCHEMA.read_bytes())
        parts = (schema, schema["$defs"]["report"], schema["$defs"]["plan"])
        options = schema["properties"]["asked"]["properties"]
        asked, document = self.asked, self._document or {}
        own = {
            "schema_version": SCHEMA_VERSION,
            "version": about.core_version,
            "command": self.command,
            "outcome": self._outcome(code, error),
            "exit_code": code,
            "started_at": _moment(self._began),
            "ended_at": _moment(now),
            "error": None if error is None else as_document(error)["error"] | {"exit_code": code},
            "asked": None if asked is None else dict.fromkeys(options) | asked,
        }
        if (result := self._results.get(None)) is not None:
            statuses = document["portfolios"]["status"]
            own |= {
                "portfolios_by_status": dict(sorted(Counter(statuses).items())),
                "issues_by_name": result.issues_by_name(),
                "sessions_behind": result.sessions_behind,
            }
        keys = dict.fromkeys(key for part in parts for key in part["properties"])
        return keys | own | dict(document)

    def _outcome(self, code: int, error: BaseException | None) -> str:
        results = self._results.values()
        every = [each for one in results for each in (one, one.resumed) if each is not None]
        match error:
            case None:
                if any(one.failed for one in every):
                    return "incomplete"
                return "nothing_to_do" if all(one.nothing_to_do for one in every) else "done"
            case Interrupted():
                return "interrupted"
            case _ if any(one.chunks for one in every):
                return "failed"
            case CoverageError() | SnapshotExistsError():
                return "refused"
        return "refused" if code in {USAGE, LEASE_HELD} else "failed"


def database_dicts(
    many: ManyResult, codes: Mapping[str, int], document: Callable[[BatchResult], Mapping[str, Any]]
) -> dict[str, Any]:
    """Return the report of each database for JSON."""
    return {
        name: {
            "exit_code": code,
            "error": None
            if (error := many.errors.get(name)) is None or isinstance(error, asyncio.CancelledError)
            else as_document(error)["error"],
            "report": dict(document(many[name])) if name in many else None,
        }
        for name, code in codes.items()
    }


def _many_of(error: BaseException) -> ManyResult | None:
    """Return the reports of several databases that an interruption carries, see below."""
    kinds = getattr(sys.modules.get("batchcore.run.many"), "ManyResult", None)
    return None if kinds is None else kinds.of_error(error)


def result_of(error: BaseException) -> BatchResult | None:
    """Return the report that an error carries; there is none before runs are imported.

    It imports nothing, as another thread may hang in the middle of an import.
    """
    reports = getattr(sys.modules.get("batchcore.run.result"), "BatchResult", None)
    return None if reports is None else reports.of_error(error)


def _last_of(words: Sequence[str], option: str) -> str | None:
    """Return the last value of an option, as far as possibly wrong arguments can be read."""
    found = None
    for at, word in enumerate(words):
        name, equals, value = word.partition("=")
        if name == option:
            found = value if equals else next(iter(words[at + 1 : at + 2]), None)
    return found or None


def _place(url: str) -> str | None:
    """Return server and name of a database without user, password and parameters."""
    rest = redacted(url).partition("://")[2]
    place = rest.rpartition("@")[2].partition("?")[0]
    return place if place and _PLACE.fullmatch(place) else None


def _plain(value: Any) -> Any:  # noqa: ANN401  # what an option may be
    match value:
        case dt.date():
            return value.isoformat()
        case list() | tuple():
            return [_plain(one) for one in value]
        case str():
            return redacted(value)
        case float() if not math.isfinite(value):  # not a number in JSON
            return None
    return value


def _moment(when: dt.datetime) -> str:
    return when.isoformat(timespec="milliseconds").replace("+00:00", "Z")


def _write(what: str, name: str, text: str) -> None:
    """Write a text to a file, completely or not at all."""
    try:
        replace_file(Path(name), text.encode())
    except (OSError, ValueError, RuntimeError) as error:  # impossible names, and loops of links
        reason = getattr(error, "strerror", None) or str(error)
        print_stderr(f"warning: the {what} cannot be written: {redacted(name)}: {reason}")
