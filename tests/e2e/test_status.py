"""`batchcore status`, `--resume` and exit codes of runs that end early, on a real server."""

import json

import pytest

from support.command import Said, batchcore
from support.tables import END, SIZE, START, exceed, query, run

pytestmark = pytest.mark.db

EXPIRED = "UPDATE batchcore_run_heartbeats SET expires_at = now() - interval '1 second'"
ALIVE = "UPDATE batchcore_run_heartbeats SET expires_at = now() + interval '1 hour'"
KILLED = "UPDATE batchcore_runs SET state = 'running', ended_at = NULL"


def status(url: str, *words: str) -> Said:
    said = batchcore("status", "--database-url", url, *words)
    assert (said.code, said.err) == (0, "")
    return said


def test_an_empty_ledger_is_told(migrated: str) -> None:
    assert status(migrated).out == "the ledger has no runs\n"
    assert status(migrated, "--json").document() == {"runs": []}


def test_runs_and_one_of_them(filled: str) -> None:
    said = run(filled, "--chunk-size", "3", "--json")
    assert said.code == 0
    run_id = said.document()["run_id"]

    lines = status(filled).out.splitlines()
    assert len(lines) == 3
    assert lines[0].split() == [
        *("run", "state", "policy", "range", "attempt", "portfolios", "failed", "chunks"),
        *("rows", "began"),
    ]
    rows = SIZE.portfolios * SIZE.sessions
    chunks = -(-SIZE.portfolios // 3)
    assert lines[1].split()[:-1] == [
        *(run_id, "complete", "rollforward", START, "to", END),
        *("1", f"{SIZE.portfolios}", "0", f"{chunks}", f"{rows}"),
    ]
    (told,) = status(filled, "--json").document()["runs"]
    assert lines[2] == f"next correction: --changed-since {told['next_changed_since']}"

    text = status(filled, "--run", run_id).out
    assert text.startswith(f"run {run_id}: complete, attempt 1\nasked for: rollforward, {START}")
    assert sum(line.startswith("chunk ") for line in text.splitlines()) == chunks
    document = status(filled, "--run", run_id, "--json").document()
    assert document["asked"]["on_existing"] == "skip"
    assert [len(chunk["sha256"]) for chunk in document["chunks_committed"]] == [64] * chunks


def test_a_killed_run_is_stuck_until_the_same_call_finishes_it(filled: str) -> None:
    assert run(filled).code == 0
    query(filled, KILLED)
    query(filled, EXPIRED)
    assert status(filled, "--json").document()["runs"][0]["state"] == "stuck"
    query(filled, "TRUNCATE batchcore_run_chunks, batchcore_run_issues")
    query(filled, "DELETE FROM portfolio_snapshots")

    again = run(filled, "--json")

    assert (again.code, again.document()["attempt"]) == (0, 2)
    (one,) = status(filled, "--json").document()["runs"]
    assert (one["state"], one["attempt"]) == ("complete", 2)


def test_a_second_run_ends_with_4_and_names_the_first(filled: str) -> None:
    first = json.loads(run(filled, "--json").out)["run_id"]
    query(filled, KILLED)
    query(filled, ALIVE)
    query(filled, "DELETE FROM portfolio_snapshots")

    said = run(filled, "--on-existing", "replace")

    assert (said.code, said.out) == (4, "")
    assert f"run {first} is already processing some of these portfolios" in said.error()
    assert query(filled, "SELECT count(*) FROM portfolio_snapshots")[0][0] == 0
    error = run(filled, "--json").document()["error"]
    assert (error["type"], error["exit_code"], error["run_id"]) == ("LeaseHeldError", 4, first)


def test_a_run_that_waits_says_for_whom_and_then_ends_with_4(filled: str) -> None:
    assert run(filled).code == 0
    query(filled, KILLED)
    query(filled, ALIVE)
    (one,) = status(filled, "--json").document()["runs"]
    said = run(filled, "--wait", "0.2")
    assert said.code == 4
    assert f"waiting_for_run={one['run_id']} seconds=0.2" in said.err
    assert f"gave up after 0.2 s: run {one['run_id']} is already processing" in said.err


def test_no_resume_begins_a_run_of_its_own(filled: str) -> None:
    assert run(filled).code == 0
    query(filled, "UPDATE batchcore_runs SET state = 'failed'")
    assert run(filled, "--ok-if-nothing").code == 0
    query(filled, "UPDATE batchcore_runs SET state = 'failed'")
    assert run(filled, "--no-resume", "--ok-if-nothing").code == 0
    runs = status(filled, "--json").document()["runs"]
    assert [(one["state"], one["attempt"]) for one in runs] == [("complete", 1), ("failed", 2)]


def test_too_many_failures_end_with_2_and_the_ledger_says_why(filled: str) -> None:
    exceed(filled, 2)
    said = run(filled, "--max-failed", "1", "--json")
    error = said.document()["error"]
    assert (said.code, error["type"], error["failed"]) == (2, "TooManyFailedError", 2)
    (one,) = status(filled, "--json").document()["runs"]
    assert one["state"] == "failed"
    assert one["error"].startswith("TooManyFailedError: 2 of")

    allowed = run(filled, "--max-failed", "100%")
    assert allowed.code == 1
    text = status(filled, "--run", one["run_id"]).out
    assert text.startswith(f"run {one['run_id']}: incomplete, attempt 2\n")
    failed = [line for line in text.splitlines() if line.startswith("failed: ")]
    assert len(failed) == 2
    assert all("out_of_range" in line for line in failed)


def test_later_sessions_are_reported_beside_what_was_finished(filled: str) -> None:
    url = ("run", "--database-url", filled, "--start", START)
    assert batchcore(*url, "--today", "2025-06-26").code == 0
    query(filled, "UPDATE batchcore_runs SET state = 'interrupted'")

    said = batchcore(*url, "--today", END, "--json")

    document = said.document()
    assert (said.code, document["resumed"]["attempt"], document["attempt"]) == (0, 2, 1)
    assert document["sessions"] == ["2025-06-27", "2025-06-30"]
    query(filled, "UPDATE batchcore_runs SET state = 'failed'")
    assert batchcore(*url, "--today", END).code == 99
