"""Every command on a real server: what it prints, its exit code, and what it leaves behind."""

import asyncio
import io
import json
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from batchcore.db import sqlalchemy_tables
from batchcore.db.migrate import downgrade
from support import database, foreign
from support.command import batchcore
from support.generate import MONDAY
from support.tables import END, FILLED, RANGE, ROWS, SIZE, START, digests, exceed, query, run

pytestmark = pytest.mark.db


def ids(url: str) -> list[str]:
    return [str(row["id"]) for row in query(url, "SELECT id FROM portfolios ORDER BY id")]


def snapshots(url: str) -> int:
    return query(url, "SELECT count(*) FROM portfolio_snapshots")[0][0]


# What works.


def test_migrate_prepares_an_empty_database_and_then_has_nothing_to_do(empty: str) -> None:
    url = ("--database-url", empty)
    before = batchcore("migrate", "--check", *url)
    assert (before.code, before.err) == (1, "")
    assert "to do: 0001" in before.out
    assert not query(empty, "SELECT FROM pg_tables WHERE schemaname = 'public'")

    first = batchcore("migrate", *url)
    assert first.code == 0
    assert first.out.splitlines() == [
        "0001: done",
        "0002: done",
        "0003: done",
        "0004: done",
        "0005: done",
        "0006: done",
        "the database is at revision 0006, the newest",
    ]
    assert batchcore("migrate", *url).out == "the database is at revision 0006, the newest\n"
    after = batchcore("migrate", "--check", "--json", *url)
    assert (after.code, after.document()["is_current"]) == (0, True)


def test_migrate_names_a_redundant_index_of_a_host_and_drops_it_when_asked(empty: str) -> None:
    url = ("--database-url", empty)
    batchcore("migrate", *url)
    query(
        empty,
        f"DROP TABLE {', '.join(('batchcore_alembic_version', *sqlalchemy_tables.ledger.tables))}",
    )
    query(empty, "DROP SEQUENCE batchcore_run_tokens")
    query(empty, "CREATE INDEX theirs ON positions (portfolio_id, deleted_at)")
    redundant = "public.theirs, redundant beside idx_positions_active_complete"

    kept = f"index: keep {redundant}: --drop-redundant drops it"
    assert kept in batchcore("migrate", "--check", *url).out.splitlines()
    assert kept in batchcore("migrate", *url).out.splitlines()
    said = batchcore("migrate", "--drop-redundant", *url)
    assert f"index: drop {redundant}" in said.out.splitlines()
    assert not query(empty, "SELECT FROM pg_indexes WHERE indexname = 'theirs'")


def test_generate_run_and_run_again(migrated: str) -> None:
    url = ("--database-url", migrated)
    size = ("--portfolios", "5", "--symbols", "20", "--sessions", "10")
    generated = batchcore("generate", *url, *size, "--json")
    assert (generated.code, generated.err) == (0, "")
    document = generated.document()
    assert (document["portfolios"], document["start"], document["end"]) == (5, START, END)
    counts = {
        table: query(migrated, f"SELECT count(*) FROM {table}")[0][0]  # noqa: S608
        for table in FILLED
    }
    assert counts["portfolios"] == 5
    assert document["rows_written"] == sum(counts.values())

    first = run(migrated)
    assert (first.code, first.err) == (0, "")
    assert "portfolios: 5 complete, 0 skipped, 0 failed" in first.out
    assert "rows: 50 written in 1 chunk" in first.out
    assert first.artifact["portfolios_by_status"] == {"ok": 5}
    written = digests(migrated)

    again = run(migrated)
    assert (again.code, again.err) == (99, "")
    assert again.out == "nothing to do: no session of the range is left to write\n"
    assert run(migrated, "--ok-if-nothing").code == 0
    assert digests(migrated) == written


def test_run_under_the_policy_legacy(filled: str) -> None:
    said = run(filled, "--policy", "legacy", "--today", END, "--json")
    assert said.code == 0
    assert said.document()["policy"] == "legacy"
    assert snapshots(filled) == ROWS
    weights = query(
        filled, "SELECT DISTINCT snapshot_date::text FROM portfolio_snapshots WHERE hhi > 0"
    )
    assert [row[0] for row in weights] == [END]
    assert run(filled, "--policy", "legacy").code == 99


def test_plan_under_the_policy_legacy_says_nothing_of_prices(filled: str) -> None:
    query(filled, "DELETE FROM market_data_cache")
    common = ("--database-url", filled, "--policy", "legacy", "--today", END)
    said = batchcore("plan", *common)
    assert said.code == 0
    assert "prices: not looked at under the policy legacy" in said.out.splitlines()
    plan = batchcore("plan", *common, "--json").document()
    assert plan["rows_planned"] == SIZE.portfolios
    assert not {"min_coverage", "symbols_without_close", "sessions_lacking_prices"} & plan.keys()
    assert snapshots(filled) == 0


def test_portfolios_of_a_file_or_of_stdin_are_those_that_run(
    filled: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    one, two, three, four = ids(filled)[:4]
    file = tmp_path / "some"
    file.write_text("# nobody today")
    assert run(filled, "--portfolios-file", str(file)).code == 99
    file.write_text(f"\ufeff# the first\n\n  {one.upper()}  # with a word\n{one}\n{{{two}}}")
    said = run(filled, "--portfolios-file", str(file), "--portfolio", three, "--json")
    assert said.document()["portfolios"]["id"] == [one, two, three]
    typed = io.TextIOWrapper(io.BytesIO(f"# one\r\n{four}\r\n".encode()))
    monkeypatch.setattr(sys, "stdin", typed)
    said = run(filled, "--portfolios-file", "-", "--json")
    assert said.document()["portfolios"]["id"] == [four]
    assert snapshots(filled) == 4 * SIZE.sessions


@pytest.mark.parametrize(
    ("content", "told"),
    [
        (b"# ids\n\n00000000-0000-4000-8000-000000000001\ntwelve", ":4: `twelve` is not a UUID"),
        (None, ": No such file or directory"),
        (b"\xff\xfe", ": is not UTF-8 text"),
    ],
)
def test_a_fault_of_the_file_of_portfolios_names_file_and_line(
    stored: str, tmp_path: Path, content: bytes | None, told: str
) -> None:
    file = tmp_path / "some"
    if content is not None:
        file.write_bytes(content)
    said = run(stored, "--portfolios-file", str(file))
    assert (said.code, said.error()) == (3, f"{file}{told}")


def test_a_correction_rewrites_what_it_affects(filled: str) -> None:
    assert run(filled, "--analytics", "none").code == 0
    since = ("--changed-since", "2099-01-01T00:00:00Z", "--analytics", "none")
    url = ("--database-url", filled)
    idle = batchcore("run", *url, *since)
    assert (idle.code, idle.out) == (99, "nothing to do: there is no portfolio to run\n")
    own, day = query(
        filled,
        "SELECT portfolio_id::text, max(snapshot_date)::text FROM portfolio_snapshots"
        " GROUP BY 1 ORDER BY 1 LIMIT 1",
    )[0]
    query(
        filled,
        "INSERT INTO equity_changes (id, portfolio_id, change_type, amount, change_date,"
        " created_by_user_id, created_at, updated_at) SELECT gen_random_uuid(), id,"
        " 'CONTRIBUTION', 100, '2025-06-27', user_id, '2099-01-01Z', '2099-01-01Z'"
        " FROM portfolios ORDER BY id LIMIT 1",
    )
    equity = "SELECT equity_balance FROM portfolios ORDER BY id"
    before = [row[0] for row in query(filled, equity)]

    planned = batchcore("plan", *url, *since, "--json").document()
    assert planned["sessions"] == ["2025-06-27", day]
    assert [row[0] for row in query(filled, equity)] == before
    done = batchcore("run", *url, *since, "--json").document()

    assert (done["rows_written"], done["portfolios"]["id"]) == (2, [own])
    assert [row[0] for row in query(filled, equity)] == [before[0] + 100, *before[1:]]


def test_plan_says_what_run_does_and_writes_nothing(filled: str) -> None:
    gone = query(filled, "SELECT symbol FROM positions ORDER BY id LIMIT 1")[0][0]
    query(filled, f"DELETE FROM market_data_cache WHERE symbol = '{gone}'")  # noqa: S608
    before = digests(filled)
    said = batchcore("plan", "--database-url", filled, *RANGE, "--json")
    assert (said.code, said.err) == (0, "")
    planned = said.document()
    assert planned["dry_run"] is True
    assert planned["rows_planned"] == ROWS
    assert gone in planned["symbols_without_close"]
    assert gone in planned["symbols_lacking_prices"]
    assert planned["sessions_lacking_prices"] == planned["sessions"]
    holders = query(filled, f"SELECT DISTINCT portfolio_id FROM positions WHERE symbol = '{gone}'")  # noqa: S608
    assert set(planned["portfolios_lacking_prices"]) <= set(planned["portfolios"]["id"])
    assert {str(row[0]) for row in holders} & set(planned["portfolios_lacking_prices"])
    assert planned["sessions_below_min_coverage"] == []
    # Between the 16th and the 30th: two week-ends and the 19th.
    assert planned["sessions_left_out"] == [
        f"2025-06-{day}" for day in ("19", "21", "22", "28", "29")
    ]
    assert digests(filled) == before

    done = run(filled, "--json").document()
    assert done["sessions"] == planned["sessions"]
    assert done["portfolios"]["sessions_written"] == planned["portfolios"]["sessions_planned"]
    assert batchcore("plan", "--database-url", filled, *RANGE).code == 99
    assert said.artifact.items() >= planned.items()


def test_plan_marks_sessions_below_the_gate(filled: str) -> None:
    query(filled, "DELETE FROM market_data_cache WHERE date = '2025-06-25'")
    said = batchcore("plan", "--database-url", filled, *RANGE)
    assert (said.code, said.err) == (0, "")
    (low,) = [line for line in said.out.splitlines() if line.endswith("below")]
    assert low.split()[0] == "2025-06-25"
    assert "the run would stop: 1 session is below 50.0%" in said.out
    (partly,) = [line for line in said.out.splitlines() if "below full coverage" in line]
    assert "2025-06-25" in partly
    dry = run(filled, "--dry-run")
    assert dry.out == said.out


@pytest.mark.parametrize("libpq", [False, True], ids=["own", "libpq"])
def test_the_database_may_come_from_the_environment(
    filled: str, monkeypatch: pytest.MonkeyPatch, *, libpq: bool
) -> None:
    variables = {"BATCHCORE_DATABASE_URL": filled}
    if libpq:
        (settings,) = query(
            filled,
            'SELECT current_database() AS "PGDATABASE", current_user AS "PGUSER",'
            " btrim(split_part(current_setting('unix_socket_directories'), ',', 1), '\"')"
            """ AS "PGHOST", current_setting('port') AS "PGPORT\"""",
        )
        variables = dict(settings)
        if not variables["PGHOST"]:
            pytest.skip("the server has no socket")
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    assert batchcore("plan", *RANGE).code == 0


# What does not: one line, the exit code, and nothing lost.


def test_no_server_is_a_failed_run() -> None:
    said = run("postgresql://someone:secret@127.0.0.1:1/nowhere")
    assert (said.code, said.out) == (2, "")
    assert 'connection to server at "127.0.0.1", port 1 failed' in said.error()
    assert "nothing is listening at that address" in said.error()
    assert "secret" not in said.err


def test_a_database_of_an_older_revision_is_refused(filled: str) -> None:
    asyncio.run(downgrade(filled, "0001"))
    before = digests(filled)
    said = run(filled)
    assert (said.code, said.out) == (3, "")
    assert said.error() == (
        "the database is at revision 0001, expected 0006: run `batchcore migrate`"
    )
    assert digests(filled) == before
    assert batchcore("migrate", "--database-url", filled).code == 0
    assert run(filled).code == 0


def test_no_session_in_the_range_is_nothing_to_do(filled: str) -> None:
    week_end = ("--start", "2025-06-21", "--end", "2025-06-22")
    said = batchcore("run", "--database-url", filled, *week_end)
    assert (said.code, said.err) == (99, "")
    assert said.out.startswith("nothing to do: ")
    assert snapshots(filled) == 0


def test_coverage_below_the_gate_stops_the_run(filled: str) -> None:
    query(filled, "DELETE FROM market_data_cache WHERE date = '2025-06-25'")
    before = digests(filled)
    said = run(filled)
    assert (said.code, said.out) == (2, "")
    assert re.match(
        r"price coverage on 2025-06-25 is 0\.0%, .*: 0 of \d+ symbols have", said.error()
    )
    as_json = run(filled, "--json")
    error = as_json.document()["error"]
    assert (error["type"], error["exit_code"]) == ("CoverageError", 2)
    assert (error["session"], error["coverage"], error["min_coverage"]) == ("2025-06-25", 0.0, 0.5)
    assert as_json.error() == error["message"] == said.error()
    left = as_json.artifact
    assert left["error"] == error
    assert left["coverage"]["2025-06-25"] == 0.0
    assert (left["outcome"], left["sessions"][0], left["rows_written"]) == ("refused", START, 0)
    assert left["portfolios_by_status"] == {"skipped": SIZE.portfolios}
    assert digests(filled) == before
    assert run(filled, "--min-coverage", "0").code == 0


def test_a_snapshot_in_the_range_stops_a_run_that_must_not_find_one(filled: str) -> None:
    one = ids(filled)[4]
    assert run(filled, "--portfolio", one).code == 0
    before = digests(filled)
    said = run(filled, "--on-existing", "error")
    assert (said.code, said.out) == (2, "")
    assert f"portfolio {one} has a complete snapshot of {START}" in said.error()
    assert digests(filled) == before


def test_a_value_that_does_not_fit_fails_its_portfolio_alone(filled: str) -> None:
    exceed(filled)
    one, *others = ids(filled)
    said = run(filled)
    assert said.code == 1
    assert "portfolios: 11 complete, 0 skipped, 1 failed" in said.out
    (line,) = said.err.splitlines()
    assert line.startswith(f"batchcore: failed: {one}: out_of_range ")
    assert line.endswith(f" on {START}")
    stored = query(
        filled, "SELECT portfolio_id::text, count(*) FROM portfolio_snapshots GROUP BY 1"
    )
    assert {row[0]: row[1] for row in stored} == dict.fromkeys(others, SIZE.sessions)


def test_a_database_with_rows_is_not_filled(filled: str) -> None:
    assert run(filled).code == 0
    constraint = "fk_portfolio_snapshots_portfolio_id"
    query(filled, f"ALTER TABLE portfolio_snapshots DROP CONSTRAINT {constraint}")
    query(filled, f"TRUNCATE {', '.join(FILLED)}")
    before = digests(filled)
    said = batchcore("generate", "--database-url", filled, "--portfolios", "2")
    assert (said.code, said.out) == (3, "")
    assert "table `portfolio_snapshots` has rows already" in said.error()
    assert digests(filled) == before


def test_the_module_runs_as_a_program(filled: str) -> None:
    process = subprocess.run(  # noqa: S603  # our own words
        [sys.executable, "-m", "batchcore", "run", *RANGE, "--json"],
        env={**os.environ, "BATCHCORE_DATABASE_URL": filled},
        capture_output=True,
        text=True,
        check=False,
    )
    assert (process.returncode, process.stderr) == (0, "")
    assert json.loads(process.stdout)["rows_written"] == ROWS


# A host's own names.


@pytest.fixture
def ledger(empty: str) -> str:
    """The URL of a host that differs from docs/schema.md, without anything of batchcore."""

    async def make() -> None:
        async with database.connected(empty) as connection:
            await connection.execute(foreign.SQL)
            await foreign.fill(connection, database.plain_host(2, [MONDAY, MONDAY + 1]))

    asyncio.run(make())
    return empty


def test_a_file_names_the_tables_of_a_host(ledger: str, tmp_path: Path) -> None:
    file = tmp_path / "host.toml"
    file.write_text(foreign.TOML, encoding="utf-8")
    common = ("--database-url", ledger, "--schema", str(file))
    days = ("--start", "2026-01-05", "--end", "2026-01-06")

    check = batchcore("migrate", "--check", *common)
    assert (check.code, check.err) == (1, "")
    assert "to do: 0001: marked as done, the tables are the host's" in check.out
    assert batchcore("migrate", *common).code == 0
    plan = batchcore("plan", *common, *days, "--json")
    assert (plan.code, plan.document()["rows_planned"]) == (0, 4)
    done = batchcore("run", *common, *days, "--json")
    assert (done.code, done.document()["rows_written"]) == (0, 4)
    assert [row[0] for row in query(ledger, "SELECT nav FROM ledger.accounts")] == [1010, 1010]
    for way in ((), ("--fast",)):
        checked = batchcore("verify", *common, "--calendar", "daily", *way, "--json").document()
        assert (checked["rows"], checked["cells_differing"]) == (4, 0)
        assert checked["cells_checked"] > 0
    filled = batchcore("generate", *common, "--portfolios", "1")
    assert filled.code == 3
    assert "accounts.user_id: missing column (and " in filled.err
    assert "also: ledger.quotes.Close: is double precision, expected numeric: d" in filled.err


def test_generate_fills_the_schema_of_the_file(empty: str, tmp_path: Path) -> None:
    query(empty, "CREATE SCHEMA books")
    file = tmp_path / "host.toml"
    file.write_text('namespace = "books"', encoding="utf-8")
    common = ("--database-url", empty, "--schema", str(file))
    assert batchcore("migrate", *common).code == 0
    size = ("--portfolios", "2", "--symbols", "10", "--sessions", "3")
    assert batchcore("generate", *common, *size).code == 0
    assert query(empty, "SELECT count(*) FROM books.portfolios")[0][0] == 2
    assert batchcore("run", *common, "--end", END, "--json").document()["rows_written"] == 2


def test_everything_in_the_way_is_told_at_once(ledger: str, tmp_path: Path) -> None:
    file = tmp_path / "host.toml"
    lines = [line for line in foreign.TOML.splitlines() if "= 4" not in line]
    file.write_text("\n".join(lines), encoding="utf-8")
    common = ("--database-url", ledger, "--schema", str(file))
    for command in ("migrate", "run", "plan", "verify"):
        said = batchcore(command, *common)
        assert (said.code, said.out) == (3, "")
        first, *others = said.err.splitlines()
        assert first.startswith("batchcore: error: ledger.Holdings.units: is double precision,")
        assert all(line.startswith("batchcore: also: ledger.") for line in others)
        problems = batchcore(command, *common, "--json").document()["error"]["problems"]
        told = [line.removeprefix("batchcore: also: ") for line in others]
        assert first.endswith(f" (and {len(told)} more)")
        assert problems[1:] == told
        assert len(problems) >= 5


@pytest.mark.parametrize("command", ["run", "plan", "verify", "migrate", "generate"])
def test_a_file_that_is_no_schema_is_named(command: str, tmp_path: Path) -> None:
    file = tmp_path / "host.toml"
    common = ("--database-url", "postgresql://nobody@localhost/none", "--schema", str(file))
    said = batchcore(command, *common)
    assert (said.code, said.out) == (3, "")
    assert said.error() == f"{file}: cannot be read: No such file or directory"
    file.write_text("[names]", encoding="utf-8")
    keys = "namespace, tables, columns, scales, factors, price_sources, splits or fx"
    expected = f"unknown key `names`, expected {keys}"
    assert batchcore(command, *common).error() == f"{file}: {expected}"
