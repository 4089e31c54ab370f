"""What commands show on a terminal: it fits, and what needs attention comes first."""

import re
from collections.abc import Iterator

import pytest

from batchcore.demo import run as demo
from support import database
from support.command import Said, batchcore, shown
from support.tables import RANGE, SIZE, exceed, query, run

pytestmark = pytest.mark.db

CODES = re.compile(r"\x1b\[[\d;]*m")
RED = "\x1b[1;31m"


def seen(url: str, command: str, *words: str, **options: object) -> tuple[Said, list[str]]:
    """Return what a command shows, and its lines without colours."""
    said = shown(command, "--database-url", url, *words, **options)  # type: ignore[arg-type]
    return said, [line.rstrip() for line in CODES.sub("", said.out).splitlines()]


def test_a_run_and_the_ledger(filled: str) -> None:
    said, lines = seen(filled, "run", *RANGE, "--chunk-size", "3")
    assert (said.code, said.err) == (0, "")
    assert lines[0] == f"{SIZE.portfolios} portfolios complete"
    assert any(re.fullmatch(r"rows +120 written in 4 chunks", line) for line in lines)
    assert max(map(len, lines)) <= 80
    run_id = query(filled, "SELECT id::text FROM batchcore_runs")[0][0]

    said, lines = seen(filled, "status")
    assert [line for line in lines if line.startswith(run_id)]
    assert max(map(len, lines)) <= 80
    assert lines[-2].startswith("no room for")
    _, wide = seen(filled, "status", width=200)
    assert wide[0].split() == [
        *("run", "state", "policy", "range", "attempt", "portfolios", "failed", "chunks", "rows"),
        "began",
    ]
    said, lines = seen(filled, "status", "--run", run_id)
    assert lines[0] == "complete, attempt 1"
    assert max(map(len, lines)) <= 80
    assert sum(bool(re.match(r" +\d  ", line)) for line in lines) == 4

    said, lines = seen(filled, "run", *RANGE)
    assert (said.code, lines[0]) == (99, "nothing to do: no session of the range is left to write")


def test_failures_come_first_and_red(filled: str) -> None:
    exceed(filled)
    said, lines = seen(filled, "run", *RANGE)
    assert said.code == 1
    assert said.out.startswith(f"{RED}1 portfolio failed")
    assert lines[1:3] == ["", "Failed"]
    assert "out_of_range" in said.out
    assert said.err.startswith("batchcore: failed: ")  # as stderr is no terminal
    said, lines = seen(filled, "status")
    assert said.out.startswith(f"{RED}to look at: 1 incomplete")
    said, lines = seen(filled, "status", NO_COLOR="1")
    assert RED not in said.out
    assert lines[0] == "to look at: 1 incomplete"


def test_what_verify_and_repair_find(filled: str) -> None:
    own = ("--analytics", "none")
    assert run(filled, *own).code == 0
    said, lines = seen(filled, "verify", "--fast")
    assert (said.code, lines[0]) == (0, "all of 2,040 cells are as they should be")
    query(
        filled,
        "UPDATE portfolio_snapshots SET long_value = long_value + 1234.5, gross_exposure = 'NaN'"
        " WHERE snapshot_date = '2025-06-18'",
    )
    said, lines = seen(filled, "verify", "--fast")
    assert said.code == 1
    assert said.out.startswith(f"{RED}24 cells of 2,040 differ in 12 of 120 snapshots")
    (row,) = [line for line in lines if line.startswith("long_value ")]
    assert row.split() == ["long_value", "12", "120", "1,234.50"]
    assert any("10 more cells" in line for line in lines)

    said, lines = seen(filled, "repair", *own, "--dry-run")
    assert (said.code, lines[0]) == (0, "would repair 12 of 12 portfolios")
    said, lines = seen(filled, "repair", *own)
    assert (said.code, lines[0]) == (0, "repaired 12 of 12 portfolios")
    assert max(map(len, lines)) <= 80
    said, lines = seen(filled, "repair", *own)
    assert (said.code, lines[0]) == (99, "nothing to repair: 120 snapshots compared, 0 differ")


@pytest.fixture(scope="module")
def long_plan(server, template: str) -> Iterator[str]:
    """The URL of a database of 60 sessions with prices missing, to plan on."""

    async def fill(url: str) -> None:
        await demo.seeded(demo.Size(12, 30, 60), seed=7).write(url)
        await database.execute(
            url,
            "DELETE FROM market_data_cache WHERE extract(day FROM date) IN (3, 10, 17, 24, 25)"
            " OR (extract(day FROM date) < 20 AND symbol < 'AAAF')",
        )

    yield from database.shared(server, fill, template)


@pytest.mark.parametrize("words", [(), ("--min-coverage", "0.9")])
def test_a_plan_of_60_sessions_fits_a_screen(long_plan: str, words: tuple[str, ...]) -> None:
    said, lines = seen(long_plan, "plan", "--start", "2025-04-03", "--end", "2025-06-30", *words)
    assert (said.code, said.err) == (0, "")
    assert len(lines) <= 23  # and the prompt
    assert max(map(len, lines)) <= 80
    assert said.out.startswith(f"{RED}the run would stop: ")
    assert any(line.startswith("would run 60 sessions") for line in lines)
    assert any("more sessions; --json lists all" in line for line in lines)


def test_a_plan_without_anything_missing_says_so(filled: str) -> None:
    said, lines = seen(filled, "plan", *RANGE)
    assert (said.code, lines[0]) == (0, "all prices are there")
    assert set(lines[lines.index("symbols with a close, by session (at least 50.0%)") + 1]) <= {
        *"▁▂▃▄▅▆▇█"
    }


@pytest.mark.parametrize("command", ["run", "plan", "status", "verify", "migrate --check"])
def test_json_and_pipes_are_what_they_are_without_a_terminal(filled: str, command: str) -> None:
    first, *words = command.split()
    words += RANGE if command in {"run", "plan"} else ()
    said, _ = seen(filled, first, *words, "--json", "-v")
    assert isinstance(said.document(), dict)
    log = said.err.splitlines()
    assert all(re.match(r"\d{4}-\d\d-\d\d .* [A-Z]+ ", line) for line in log)
    assert "\x1b" not in batchcore(first, "--database-url", filled, *words).out
