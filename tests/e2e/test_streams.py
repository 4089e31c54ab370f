"""Streams that are closed or full, and machines that lack what most have: never a defect."""

import io
import os
import subprocess
import sys
import tempfile
from pathlib import Path

import pytest

from batchcore.cli.options import ARTIFACT_VARIABLE
from batchcore.streams import silence
from support.artifact import valid
from support.tables import RANGE, ROWS, query

pytestmark = pytest.mark.db

RUN = " ".join(("run", *RANGE))
PROGRAM = f'"{sys.executable}" -m batchcore'


def shell(line: str, url: str, **environment: str) -> subprocess.CompletedProcess[str]:
    """Run a line; what it leaves of a run must be valid, whatever its streams are."""
    with tempfile.TemporaryDirectory() as folder:
        left = Path(folder) / "artifact.json"
        known = {
            **os.environ,
            "BATCHCORE_DATABASE_URL": url,
            ARTIFACT_VARIABLE: str(left),
            **environment,
        }
        done = subprocess.run(  # noqa: S603  # our own lines
            ["/bin/sh", "-c", line],
            env={name: value for name, value in known.items() if value},
            capture_output=True,
            text=True,
            timeout=120,
            check=False,
        )
        assert left.exists() == (f"batchcore {RUN}" in line)
        if left.exists():
            document = valid(left.read_text())
            assert "|" in line or document["exit_code"] == done.returncode
    return done


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="no full device on this system")
def test_a_run_whose_report_cannot_be_printed_is_a_success(filled: str) -> None:
    done = shell(f"{PROGRAM} {RUN} -v >/dev/full", filled)
    assert done.returncode == 0
    warning = "batchcore: warning: the report cannot be printed: No space left on device"
    assert done.stderr.splitlines()[-1] == warning
    assert query(filled, "SELECT count(*) FROM portfolio_snapshots")[0]["count"] == ROWS

    nothing_left = shell(f"{PROGRAM} {RUN} -vv --json 2>/dev/full", filled)
    assert nothing_left.returncode == 99
    told = shell(f"{PROGRAM} status >/dev/full", filled)
    assert (told.returncode, told.stderr) == (
        2,
        "batchcore: error: stdout: No space left on device\n",
    )
    assert shell(f"{PROGRAM} status --run x 2>/dev/full", filled).returncode == 3
    assert shell(f"{PROGRAM} --help >/dev/full", filled).returncode == 2
    assert shell(f"{PROGRAM} version >/dev/full", filled).returncode == 2


@pytest.mark.parametrize("closed", [">&-", "2>&- <&-", ">&- 2>&- <&-"])
def test_streams_may_be_closed(filled: str, closed: str) -> None:
    done = shell(f"{PROGRAM} {RUN} -vv {closed}", filled)
    assert done.returncode == 0, done.stderr
    assert "Traceback" not in done.stderr
    assert query(filled, "SELECT state FROM batchcore_runs")[0]["state"] == "complete"


def test_a_run_whose_reader_went_away_is_a_success(filled: str) -> None:
    # sh has no PIPESTATUS
    told = f"({{ {PROGRAM} {{}}; echo code $? >&2; }} | true)"
    assert "code 0" in shell(told.replace("{}", f"{RUN} --json").replace("{{", "{"), filled).stderr
    assert "code 141" in shell(told.replace("{}", "status --json"), filled).stderr


@pytest.mark.parametrize(
    "environment",
    [
        {"HOME": "", "TERM": "no such terminal", "COLUMNS": "1"},
        {"PYTHONIOENCODING": "ascii", "LC_ALL": "C", "COLUMNS": "-1", "HOME": "/nonexistent"},
    ],
    ids=str,
)
def test_odd_environments(filled: str, environment: dict[str, str]) -> None:
    query(filled, "UPDATE portfolios SET name = 'größe 株', equity_balance = 'NaN'")
    done = shell(f"{PROGRAM} {RUN}", filled, **environment)
    assert done.returncode == 2, done.stderr
    assert "defect" not in done.stderr
    told = shell(f"{PROGRAM} {RUN} --max-failed 100%", filled, **environment)
    assert told.returncode == 1
    assert "defect" not in told.stderr


def test_the_working_folder_may_be_gone(filled: str, tmp_path: Path) -> None:
    gone = tmp_path / "gone"
    gone.mkdir()
    done = shell(f'cd "{gone}" && rmdir "{gone}" && {PROGRAM} {RUN}', filled)
    assert (done.returncode, done.stderr) == (0, "")


def test_a_stream_without_a_file_is_left_alone() -> None:
    silence(io.StringIO())
    with Path(os.devnull).open("w") as stream:
        stream.close()
        silence(stream)
