"""The document that a run leaves without a database, its schema, and how it is written."""

import contextlib
import io
import json
import os
import re
import signal
import subprocess
import sys
from importlib.resources import files
from pathlib import Path
from typing import Any

import jsonschema
import pytest
import typer

from batchcore import errors
from batchcore.cli import artifact, options, run
from batchcore.cli.app import app
from batchcore.cli.artifact import SCHEMA, RunRecord
from batchcore.cli.exits import redacted
from batchcore.run.many import ManyResult
from batchcore.run.result import keep_with
from support.artifact import checked, valid
from support.command import called
from support.reports import replace, report

SECRET = "s3cret"  # noqa: S105  # made up
URL = "postgresql://someone@127.0.0.1:1/none"


@pytest.fixture(autouse=True)
def _no_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in (options.URL_VARIABLE, options.ARTIFACT_VARIABLE, *options.LIBPQ_VARIABLES):
        monkeypatch.delenv(name, raising=False)


@pytest.fixture
def path(tmp_path: Path) -> Path:
    folder = tmp_path / "alone"
    folder.mkdir()
    return folder / "artifact.json"


def schema() -> dict[str, Any]:
    found: dict[str, Any] = json.loads(SCHEMA.read_text())
    return found


def test_the_schema_is_one_and_demands_every_key() -> None:
    found = schema()
    jsonschema.Draft202012Validator.check_schema(found)
    for part in (found, *found["$defs"].values(), found["properties"]["asked"]):
        assert part["required"] == [*part["properties"]]


def test_the_schema_is_the_file_of_the_package_that_the_docs_name() -> None:
    page = (Path(__file__).parents[2] / "docs" / "operations.md").read_text("utf-8")
    (name,) = re.findall(r"JSON Schema.* is `(\S+)` in the package", page)
    found = json.loads(files("batchcore").joinpath(name).read_text("utf-8"))
    assert found == schema()
    assert (found["$id"], len(found["required"])) == ("urn:batchcore:artifact:1", 13)


def test_the_schema_has_the_keys_of_json() -> None:
    parts = schema()["$defs"]
    result = report()
    assert set(parts["report"]["properties"]) == set(result.to_dict())
    plan = set(run.plan_dict(replace(result, dry_run=True), 0.5)) - set(result.to_dict())
    assert set(parts["plan"]["properties"]) == plan


def test_the_schema_has_the_options_of_the_commands() -> None:
    known = {
        one.name
        for one in (*run.OPTIONS, *run.OWN, *options.own(run.run), *options.DATABASE)
        if one.name not in {"artifact", "metrics", "database_url"}
    }
    assert set(schema()["properties"]["asked"]["properties"]) == known | {"database"}


@pytest.mark.parametrize("command", ["run", "plan", "repair"])
@pytest.mark.parametrize("form", ["{} {}", "{}={}"])
def test_words_that_cannot_be_read_leave_one_too(command: str, form: str, path: Path) -> None:
    words = form.format("--artifact", path).split()
    said = called([command, *words, "--nonsense"])
    document = checked(path, 3)
    assert document["error"]["type"] == "UsageError"
    assert document["error"]["message"] == said.error()
    assert (document["command"], document["asked"]) == (command, None)
    assert document["portfolios"] is None


def test_what_was_asked_for_is_told(path: Path) -> None:
    words = ("--start", "2025-06-16", "--wait", "nan", "--changed-since", "2025-06-27T08:00:00Z")
    said = called(["run", "--artifact", str(path), "--portfolio", "x", *words])
    document = checked(path, 3)
    assert document["error"]["message"] == said.error()
    asked = document["asked"]
    assert (asked["start"], asked["end"], asked["portfolio"]) == ("2025-06-16", None, ["x"])
    assert (asked["wait"], asked["changed_since"]) == (None, "2025-06-27T08:00:00+00:00")
    assert (asked["policy"], asked["chunk_size"], asked["database"]) == ("rollforward", None, None)


@pytest.mark.parametrize(
    ("url", "place"),
    [
        (f"postgresql://someone:{SECRET}@db.example:5432/books", "db.example:5432/books"),
        (f"postgresql://someone@db.example/books?password={SECRET}", "db.example/books"),
        (f"postgresql://someone:{SECRET}/more@host/db", "host/db"),
        (f"postgresql://someone:more@{SECRET}:x@host/db", "host/db"),
        ("postgresql://a,b:5433,[::1]:5432/db", "a,b:5433,[::1]:5432/db"),
        ("postgresql://%2Ftmp%2Fserver/db", "%2Ftmp%2Fserver/db"),
        ("postgresql:///db?host=/tmp", "/db"),
        (f"postgresql://someone@host:{SECRET}/db", None),
        (f"postgresql://host:{SECRET}", None),
        (f"postgresql://one:5432,[::1]:{SECRET}/db", None),
        (f"mysql://someone:{SECRET}@host/db", "host/db"),
        (f"someone:{SECRET}@host/db", None),
        (f"host=h password={SECRET}", None),
    ],
)
def test_a_database_is_named_without_passwords(url: str, place: str | None, path: Path) -> None:
    redacted.forget()
    record = RunRecord(["run", "--artifact", str(path)])
    record.ask({"database_url": url, "portfolios_file": f"x?password={SECRET}"})
    record.leave(2, errors.DatabaseError(f"no server at {url}"))
    text = path.read_text()
    assert SECRET not in text
    assert valid(text)["asked"]["database"] == place


def test_the_environment_names_a_path_for_runs_and_not_for_plans(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    folder = tmp_path / "alone"
    folder.mkdir()
    monkeypatch.setenv(options.ARTIFACT_VARIABLE, str(folder / "of the night"))
    for words in (
        ("plan",),
        ("run", "--dry-run"),
        ("repair", "--dry-run"),
        ("verify",),
        ("status",),
        ("version",),
        ("run", "--help"),
        ("--help",),
    ):
        called([*words])
        assert not [*folder.iterdir()], words
    for command in ("run", "repair"):
        called([command])
        assert checked(folder / "of the night", 3)["command"] == command
    called(["run", "--artifact", str(tmp_path / "other"), "--policy", "x"])
    assert checked(folder / "of the night", 3)["command"] == "repair"
    assert valid((tmp_path / "other").read_text())["asked"]["policy"] == "x"


def test_help_leaves_none(path: Path) -> None:
    assert called(["run", "--artifact", str(path), "--help"]).code == 0
    assert not path.exists()


@pytest.mark.parametrize("kind", ["folder", "no folder", "device", "no name", "long", "circle"])
@pytest.mark.parametrize("option", ["artifact", "metrics"])
def test_a_path_that_cannot_be_written_is_a_warning(tmp_path: Path, kind: str, option: str) -> None:
    name = {
        "folder": str(tmp_path),
        "no folder": str(tmp_path / "none" / "file"),
        "device": os.devnull,
        "no name": f"{tmp_path}/a\0b",
        "long": str(tmp_path / ("x" * 300)),
        "circle": str(tmp_path / "circle"),
    }[kind]
    if kind == "circle":
        (tmp_path / "circle").symlink_to("circle")
    record = RunRecord(["run", f"--{option}", name])
    record.report(report(), report().to_dict())
    said = told(record)
    assert said.startswith(f"batchcore: warning: the {option} cannot be written: {name}: ")
    assert len(said.splitlines()) == 1
    assert [one.name for one in tmp_path.iterdir()] == ["circle"] * (kind == "circle")


def told(record: RunRecord) -> str:
    """Return what a record prints when it is left."""
    with contextlib.redirect_stderr(io.StringIO()) as err:
        record.leave(1)
    return err.getvalue()


KILLED = """
import os, signal, sys
from batchcore.cli.artifact import RunRecord
from batchcore.errors import ConfigError
os.fsync = lambda _: os.kill(os.getpid(), signal.SIGKILL)
RunRecord(["run", "--artifact", sys.argv[1]]).leave(3, ConfigError("x"))
"""


def test_killed_while_it_is_written_the_one_before_stays_whole(path: Path) -> None:
    called(["run", "--artifact", str(path)])
    before = path.read_text()
    done = subprocess.run([sys.executable, "-c", KILLED, path], check=False)  # noqa: S603
    assert done.returncode == -signal.SIGKILL
    assert path.read_text() == before
    (left,) = (one for one in path.parent.iterdir() if one != path)
    assert left.name.startswith(".artifact.json.")
    left.unlink()
    called(["run", "--artifact", str(path), "--policy", "x"])
    assert checked(path, 3)["asked"]["policy"] == "x"


STRUCK = """
import os, signal, sys
from batchcore import cli
sync = os.fsync
def struck(number):
    for each in (signal.SIGINT, signal.SIGTERM):
        os.kill(os.getpid(), each)
    sync(number)
os.fsync = struck
sys.exit(cli.main(["run", "--artifact", *sys.argv[1:]]))
"""


@pytest.mark.parametrize("more", [(), ("--policy", "x"), ("--metrics", "m.prom")], ids=str)
def test_a_signal_while_it_is_written_comes_too_late(path: Path, more: tuple[str, ...]) -> None:
    command = [sys.executable, "-c", STRUCK, path, *more]
    done = subprocess.run(command, check=False, cwd=path.parent)  # noqa: S603
    assert done.returncode == 3
    assert valid(path.read_text())["exit_code"] == 3
    assert len(list(path.parent.iterdir())) == 1 + ("--metrics" in more)


REFUSALS = [
    (errors.CoverageError("x", "2026-01-05", 0.25, 0.5), 2),
    (errors.SnapshotExistsError("x"), 2),
    (errors.ConfigError("x"), 3),
    (errors.LeaseHeldError("x"), 4),
]


@pytest.mark.parametrize(("error", "code"), REFUSALS, ids=lambda value: type(value).__name__)
@pytest.mark.parametrize("where", ["shards", "resumed", "databases"])
def test_what_has_written_was_not_refused(
    path: Path, where: str, error: Exception, code: int
) -> None:
    known = "0" * 8 + "-0000-4000-8000-" + "0" * 12
    wrote = replace(report(), run_id=known, chunks=1)
    nothing = replace(wrote, chunks=0, rows_written=0)
    for result, outcome in ((wrote, "failed"), (nothing, "refused")):
        record = RunRecord(["run", "--artifact", str(path)])
        if where == "databases":
            many = ManyResult({"a": result}, {"b": error})
            codes = {"a": 1, "b": code}
            shown = artifact.database_dicts(many, codes, lambda one: one.to_dict())
            record.report_many(many, {"databases": shown})
            record.leave(code)
        else:
            kept = replace(nothing, resumed=result) if where == "resumed" else result
            raised = type(error)(*error.args)
            keep_with(raised, kept)
            record.leave(code, raised)
        assert checked(path, code)["outcome"] == outcome


def test_the_report_until_an_error_is_in_it(path: Path) -> None:
    error = RuntimeError("no")
    result = replace(report(), run_id="0" * 8 + "-0000-4000-8000-" + "0" * 12, state="failed")
    keep_with(error, replace(result, error="RuntimeError: no"))
    raised = errors.DatabaseError("gone")
    raised.__cause__ = error
    RunRecord(["run", "--artifact", str(path)]).leave(2, raised)
    document = checked(path, 2)
    assert document["error"]["message"] == "gone"
    assert document["portfolios_by_status"] == {"failed": 1, "ok": 1, "skipped": 1}
    assert document["issues_by_name"]["expired"] == 2
    assert (document["rows_written"], document["success"]) == (3, False)


def test_a_dry_run_has_no_metrics(tmp_path: Path) -> None:
    metrics = tmp_path / "m.prom"
    said = called(["run", "--dry-run", "--metrics", str(metrics), "--database-url", URL])
    assert (said.code, metrics.exists()) == (3, False)
    assert said.error().startswith("a dry run has no metrics")


def test_commands_that_leave_a_document_are_those_with_the_option() -> None:
    commands = typer.main.get_command(app).commands
    takes = {
        name: {one.name for one in command.params} & {"artifact", "metrics"}
        for name, command in commands.items()
    }
    assert {name for name, own in takes.items() if "artifact" in own} == set(artifact.COMMANDS)
    assert {name for name, own in takes.items() if "metrics" in own} == set(artifact.WRITING)
