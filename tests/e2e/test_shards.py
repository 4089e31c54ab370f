"""Shards on the command line: one by one, as processes, and all of them in one report."""

import asyncio
import json
import re
from datetime import date
from pathlib import Path

import pytest

from batchcore.cli.options import URL_VARIABLE
from batchcore.cli.processes import run_processes
from batchcore.pages import render
from batchcore.pages.contents import Night
from support.command import Said, batchcore, shown
from support.tables import RANGE, ROWS, SIZE, exceed, query, run

pytestmark = pytest.mark.db

NOBODY = "00000000-0000-4000-8000-000000000001"


def status(url: str, *words: str) -> Said:
    return batchcore("status", "--database-url", url, *words)


def stored(url: str) -> list[object]:
    """Return all snapshots but for ids and time stamps, and all equities."""
    rows = query(
        url,
        "SELECT (to_jsonb(s) - 'id' - 'created_at')::text FROM portfolio_snapshots s"
        " ORDER BY portfolio_id, snapshot_date",
    )
    return [*rows, *query(url, "SELECT id, equity_balance FROM portfolios ORDER BY id")]


def test_processes_do_what_one_does_and_leave_one_report(
    filled: str, copy, filled_template
) -> None:
    other = copy(filled_template)
    assert run(other).code == 0

    said = run(filled, "--processes", "2", "--json")

    assert (said.code, said.err) == (0, "")
    assert stored(filled) == stored(other)
    document, left = said.document(), said.artifact
    assert left is not None
    assert (document["rows_written"], document["consistent"]) == (ROWS, True)
    assert [(one["shard"], one["state"]) for one in document["shards"]] == [
        ("1/2", "complete"),
        ("2/2", "complete"),
    ]
    assert sum(one["rows_written"] for one in document["shards"]) == ROWS
    assert document["snapshot_seconds"] > 0
    assert left["asked"]["processes"] == 2
    assert {name: left[name] for name in document} == document
    pids = query(filled, "SELECT DISTINCT configuration ->> 'pid' FROM batchcore_runs")
    assert len(pids) == 2

    whole = status(filled, "--group", document["group"])
    assert (whole.code, whole.err) == (0, "")
    lines = whole.out.splitlines()
    assert lines[0] == f"group {document['group']}: complete, 2 shards"
    assert lines[1:3] == ["read: one snapshot", f"portfolios: {SIZE.portfolios}, 0 failed"]
    query(filled, "DELETE FROM portfolio_snapshots")
    text = run(filled, "--processes", "2").out.splitlines()
    assert text[0].startswith(f"group {document['group']}: rollforward, ")
    days = date(2025, 6, 16), date(2025, 6, 30)
    at: list[tuple[str, int, int]] = []
    options = {"on_existing": "replace", "progress": lambda *where: at.append(where)}
    again = asyncio.run(run_processes(filled, *days, None, count=2, verbose=0, **options))
    assert (again.rows_written, at[-1]) == (ROWS, ("persist", 2, 2))
    assert {phase for phase, _, _ in at} == {"load", "persist"}


def test_processes_that_fail_say_how_each_shard_ended(filled: str) -> None:
    first = run(filled, "--shard", "1/2", "--json").document()

    said = run(filled, "--processes", "2", "--on-existing", "error", "--json")

    assert said.code == 2
    error = said.document()["error"]
    assert error["type"] == "SnapshotExistsError"
    left = said.artifact
    assert left is not None
    assert (left["outcome"], left["error"]["type"]) == ("failed", "SnapshotExistsError")
    assert left["rows_written"] == ROWS - first["rows_written"]
    warned, *lines = said.err.splitlines()
    assert "WARNING shard=1 error=" in warned
    assert lines == [
        f"batchcore: error: {error['message']}",
        (
            f"batchcore: `batchcore status --group {left['group']}` shows all shards;"
            f" {left['rows_written']} rows written"
        ),
        f"batchcore: shard 1/2: failed, SnapshotExistsError: {error['message']}",
        "batchcore: shard 2/2: complete",
    ]
    # All of them fail in one way, which is said once.
    query(filled, "DELETE FROM market_data_cache WHERE date = '2025-06-30'")
    said = run(filled, "--processes", "2", "--on-existing", "replace")
    assert (said.code, said.out) == (2, "")
    assert said.artifact is not None
    assert said.artifact["outcome"] == "refused"
    assert len([line for line in said.err.splitlines() if "WARNING" in line]) == 1
    assert said.err.splitlines()[-1].startswith("batchcore: shards 1/2, 2/2: failed, ")


def test_shards_one_by_one_are_a_group_that_waits_for_the_others(filled: str) -> None:
    first = run(filled, "--shard", "1/2", "--json")
    assert first.code == 0
    group = first.document()["group"]
    assert first.document()["shard"] == "1/2"

    part = status(filled, "--group", group)
    assert part.code == 2
    assert part.out.splitlines()[0] == f"group {group}: missing, 2 shards"
    assert {"shard 2/2: missing", "read: not all shards have begun"} <= {*part.out.splitlines()}
    assert status(filled, "--group", group, "--json").document()["one_view"] is None
    assert "next correction" not in status(filled).out

    second = run(filled, "--shard", "2/2", "--json").document()
    assert second["group"] == group
    assert first.document()["rows_written"] + second["rows_written"] == ROWS
    whole = status(filled, "--group", second["run_id"], "--json")  # a run of it will do
    document = whole.document()
    assert (whole.code, document["state"], document["missing"]) == (0, "complete", [])
    assert [one["shard"] for one in document["runs"]] == ["1/2", "2/2"]
    assert document["rows_written"] == ROWS
    assert sum(document["portfolios_by_status"].values()) == SIZE.portfolios
    noticed = [one for run in document["runs"] for one in (*run["issues"], *run["symbol_issues"])]
    assert document["issues_by_name"].keys() == {one["name"] for one in noticed}

    listed = status(filled).out.splitlines()
    assert listed[0].split()[:3] == ["run", "shard", "state"]
    sinces = [one["next_changed_since"] for one in document["runs"]]
    assert listed[-1] == f"next correction: --changed-since {min(sinces)}"
    # A group that is cut by the limit is complete all the same.
    cut = status(filled, "--limit", "1")
    assert (len(cut.out.splitlines()), cut.out.splitlines()[-1]) == (3, listed[-1])
    assert len(status(filled, "--limit", "1", "--json").document()["runs"]) == 1
    text = status(filled, "--run", second["run_id"]).out
    assert f"attempt 1, shard 2/2 of group {group}" in text
    terminal = shown("status", "--database-url", filled, "--group", group)
    assert terminal.out.splitlines()[0].endswith("complete, 2 shards\x1b[0m")


def test_a_shard_that_is_repeated_leaves_its_group_complete(
    filled: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = [run(filled, "--shard", f"{number}/2", "--json").document() for number in (1, 2)]
    group = first[0]["group"]
    for words in (("--shard", "2/2"), ("--processes", "2")):
        again = run(filled, *words, "--json")
        assert (again.code, again.document()["group"]) == (99, group)
    whole = status(filled, "--group", group)
    assert whole.code == 0
    lines = whole.out.splitlines()
    assert lines[0] == f"group {group}: complete, 2 shards"
    assert lines[3].startswith(f"rows: {ROWS} written in 2 chunks, ")
    assert len([line for line in lines if line.startswith("shard 2/2: run ")]) == 3
    assert query(filled, "SELECT count(DISTINCT group_id) FROM batchcore_run_shards")[0][0] == 1

    nights: list[Night] = []
    monkeypatch.setattr(render, "night_page", lambda night: nights.append(night) or "")
    common = ("report", "--database-url", filled, "--out", str(tmp_path / "night.html"), "--json")
    for words in (("--group", group), ("--run", first[1]["run_id"]), ()):
        shown = batchcore(*common, *words)
        assert (shown.code, shown.document()["shows"]) == (0, group)
        assert (nights[-1].run.rows_written, nights[-1].run.portfolios) == (ROWS, SIZE.portfolios)


def test_the_exit_code_of_a_group_is_the_worst_of_its_shards(filled: str) -> None:
    exceed(filled)
    codes = {run(filled, "--shard", f"{number}/2").code for number in (1, 2)}
    assert codes == {0, 1}
    ((group,),) = query(filled, "SELECT DISTINCT group_id FROM batchcore_run_shards")
    said = status(filled, "--group", str(group))
    assert said.code == 1
    assert any(line.startswith("failed: ") for line in said.out.splitlines())
    query(filled, "UPDATE batchcore_runs SET state = 'running', ended_at = NULL")
    query(filled, "UPDATE batchcore_run_heartbeats SET expires_at = now() + interval '1 hour'")
    assert status(filled, "--group", str(group)).code == 4
    query(filled, "UPDATE batchcore_run_heartbeats SET expires_at = now() - interval '1 hour'")
    assert status(filled, "--group", str(group)).code == 2  # stuck


def test_a_plan_of_a_shard_counts_its_own_and_one_of_processes_all(filled: str) -> None:
    parts = [
        batchcore("plan", "--database-url", filled, *RANGE, "--shard", f"{number}/2", "--json")
        for number in (1, 2)
    ]
    rows = [one.document()["rows_planned"] for one in parts]
    whole = run(filled, "--processes", "2", "--dry-run", "--json")
    assert sum(rows) == whole.document()["rows_planned"] == ROWS
    assert min(rows) > 0
    assert {one.code for one in (*parts, whole)} == {0}
    assert query(filled, "SELECT count(*) FROM batchcore_runs")[0][0] == 0


@pytest.fixture
def old_schema(copy, filled_template: str) -> str:
    url = copy(filled_template)
    query(url, "UPDATE batchcore_alembic_version SET version_num = '0005'")
    return url


def databases(folder: Path, **urls: str) -> str:
    file = folder / "databases.toml"
    lines = [f"{name} = {json.dumps(url)}" for name, url in urls.items()]
    file.write_text("\n".join(lines))
    return str(file)


def many(file: str, *words: str) -> Said:
    return batchcore("run", "--databases", file, *RANGE, *words)


def test_databases_that_cannot_run_do_not_stop_the_others(
    filled: str, old_schema: str, tmp_path: Path
) -> None:
    nowhere = "postgresql://someone:topsecret@127.0.0.1:1/none"
    file = databases(tmp_path, down=nowhere, good=filled, old=old_schema)
    metrics = tmp_path / "night.prom"

    said = many(file, "--parallel", "2", "--metrics", str(metrics), "--json")

    assert said.code == 3  # the old schema needs a change, the server that is down another attempt
    found = said.document()["databases"]
    assert {name: one["exit_code"] for name, one in found.items()} == {
        "down": 2,
        "good": 0,
        "old": 3,
    }
    assert found["good"]["report"]["rows_written"] == ROWS
    assert [one["error"] and one["error"]["type"] for one in found.values()] == [
        *("DatabaseError", None, "SchemaError"),
    ]
    left = said.artifact
    assert left is not None
    assert (left["outcome"], left["error"]["type"]) == ("failed", "SchemaError")
    assert left["databases"] == found
    assert 'batchcore_rows_written{batch="night",database="good"}' in metrics.read_text()
    everything = json.dumps([said.out, said.err, left])
    assert "topsecret" not in everything

    text = many(file)
    assert text.code == 3
    lines = text.out.splitlines()
    assert lines[0].startswith("database down: exit code 2: connection to server")
    assert lines[1:3] == [
        "database good: exit code 99",
        "nothing to do: no session of the range is left to write",
    ]
    assert lines[3].startswith("database old: exit code 3: the database is at revision 0005")

    # Every problem of the tables is named, and a terminal shows tables.
    query(filled, "ALTER TABLE positions DROP COLUMN quantity, DROP COLUMN entry_price CASCADE")
    spoilt = many(databases(tmp_path, bad=filled, good=old_schema), "--json")
    assert spoilt.code == 3
    problems = spoilt.document()["databases"]["bad"]["error"]["problems"]
    assert len(problems) > 1
    also = [f"batchcore: also: database bad: {problem}" for problem in problems[1:]]
    assert [line for line in spoilt.err.splitlines() if "also:" in line] == also


def test_databases_are_shown_as_tables_on_a_terminal(filled: str, tmp_path: Path) -> None:
    nowhere = "postgresql://127.0.0.1:1/none"
    file = databases(tmp_path, good=filled, down=nowhere)
    wide = shown("run", "--databases", file, *RANGE).out
    assert "database good: exit code 0" in wide
    assert "database down: exit code 2, connection to server" in wide
    assert "phase" in wide
    assert max(map(len, re.sub(r"\x1b\[[0-9;]*m", "", wide).splitlines())) <= 80


def test_the_database_of_the_environment_is_none_of_those_of_a_file(
    filled: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(URL_VARIABLE, "postgresql://someone:topsecret@nowhere.invalid/none")
    said = many(databases(tmp_path, one=filled))
    assert said.code == 0
    assert said.artifact is not None
    assert (said.artifact["asked"]["database"], said.artifact["asked"]["parallel"]) == (None, None)


def test_databases_that_have_nothing_to_do_are_no_failure(filled: str, tmp_path: Path) -> None:
    file = tmp_path / "databases.toml"
    (tmp_path / "names.toml").write_text('namespace = "public"\n')
    file.write_text(f"[one]\nurl = {json.dumps(filled)}\nschema = 'names.toml'\n")
    planned = many(str(file), "--dry-run", "--json").document()["databases"]["one"]["report"]
    assert planned["rows_planned"] == ROWS
    assert many(str(file)).code == 0
    again = many(str(file))
    assert (again.code, again.artifact and again.artifact["outcome"]) == (99, "nothing_to_do")
    assert many(str(file), "--ok-if-nothing").code == 0


@pytest.mark.parametrize(
    ("content", "error"),
    [
        (None, "cannot be read: No such file or directory"),
        ("one = ", "is not valid TOML"),
        ("", "names no database"),
        ("one = 5", "`one` has no url, expected a text such as postgresql://host/name"),
        ("[one]\nschema = 'x.toml'", "`one` has no url"),
        ("[one]\nurl = 'postgresql://x'\nother = 1", "unknown key `one.other`, expected url or"),
        ("[one]\nurl = 'postgresql://x'\nschema = 1", "`one.schema` is not a file name"),
        ("[one]\nurl = 'postgresql://x'\nschema = 'x.toml'", "x.toml: cannot be read"),
    ],
)
def test_a_file_of_databases_that_is_none_is_refused(
    tmp_path: Path, content: str | None, error: str
) -> None:
    file = tmp_path / "databases.toml"
    if content is not None:
        file.write_text(content)
    said = many(str(file))
    assert said.code == 3
    assert error in said.error()


def test_portfolios_are_not_those_of_several_databases(tmp_path: Path) -> None:
    said = many(databases(tmp_path, one="postgresql://x"), "--portfolio", NOBODY)
    assert (said.code, "give --databases or portfolios" in said.error()) == (3, True)
