"""Words that a command refuses: one line that names the fault, exit code 3, and nothing done."""

import shlex
import uuid
from collections.abc import Iterator
from pathlib import Path

import pytest

from batchcore.cli.options import URL_VARIABLE
from support.command import batchcore
from support.tables import END, RANGE, START, digests

pytestmark = pytest.mark.db

NOBODY = uuid.UUID(int=7)
ONE = f"--portfolio {NOBODY}"
REFUSED = [
    ("run plan", f"--start {END} --end {START}", f"start {END} is after end {START}"),
    ("run plan", "--start 2099-01-02 --end 2099-01-09", "2099-01-02 is beyond calendar `XNYS`"),
    ("run plan", "--end 2099-01-09", "end 2099-01-09 is beyond calendar `XNYS`"),
    ("run plan", "--schema ''", "Invalid value for '--schema': it is empty, expected a path"),
    ("run plan", "--portfolios-file ''", "'--portfolios-file': it is empty, expected a path"),
    ("run plan", "--artifact ''", "'--artifact': it is empty, expected a path"),
    ("run", "--metrics ''", "'--metrics': it is empty, expected a path"),
    ("run", "--databases ''", "'--databases': it is empty, expected a path"),
    ("run plan", "--start 16.6.2025", "'--start': `16.6.2025` is not a date, expected YYYY-MM-DD"),
    ("run plan", "--calendar XNYZ", "`XNYZ`"),
    ("run plan", ONE, f"unknown portfolio {NOBODY}"),
    ("run plan", "--portfolio mine", "portfolio_ids 'mine' is not a UUID"),
    ("run plan", "--policy other", "`other`, expected one of rollforward, legacy"),
    ("run plan", "--policy legacy --calendar daily", "expected XNYS"),
    ("run plan", "--on-existing x", "`x`, expected one of skip, replace, error"),
    ("run plan", "--lookback-days -1", "lookback_days is -1, expected 0"),
    ("run plan", "--min-coverage 1.5", "min_coverage is 1.5, expected 0 to 1"),
    ("run plan", "--chunk-size 0", "chunk_size is 0, expected 1 "),
    ("run plan", "--threads 0", "threads is 0, expected 1 "),
    ("run plan", "--threads two", "Invalid value for '--threads': "),  # its text is typer's
    ("run plan", "--changed-since 2025-06-27T08:00:00", "2025-06-27T08:00:00 needs a time zone"),
    ("run plan", "--changed-since today", "`today` is not a time stamp, expected YYYY-MM-DDTHH:MM"),
    ("run", "--wait -1", "wait is -1.0, expected seconds, 0 or more"),
    ("run", "--shard 3/2", "shard is 3/2, expected k/n with 1 <= k <= n <= 10000"),
    ("run", "--shard 0/2", "shard is 0/2, expected k/n with 1 <= k <= n <= 10000"),
    ("run", "--shard 2", "`2` is not K/N, such as 2/4"),
    ("run", "--shard a/b", "`a/b` is not K/N, such as 2/4"),
    ("run", "--processes 0", "Invalid value for '--processes'"),
    ("run", "--processes 10001", "Invalid value for '--processes'"),
    ("run", "--processes 2 --shard 1/2", "a shard is one process: give --shard or --processes"),
    (
        "run",
        "--processes 2 --databases x",
        "--databases uses one process: give --databas",
    ),
    ("run", "--databases x --database-url postgresql://x/y", "give --databases or --database-url"),
    ("run", "--parallel 4", "--parallel applies to several databases: give --databases too"),
    ("status", "--run x", "run 'x' is not a UUID"),
    ("status", f"--run {NOBODY}", f"there is no run {NOBODY} in the ledger"),
    ("status", f"--group {NOBODY}", f"there is no group {NOBODY} in the ledger"),
    ("status", f"--group {NOBODY} --run {NOBODY}", "a run or a group can be shown: give one of"),
    ("status", "--limit 0", "limit is 0, expected 1 or more"),
    ("verify", "--sample 0", "sample is 0, expected 1 or more"),
    ("verify", "--policy other", "unknown policy `other`"),
    ("verify", "--calendar NOWHERE", "unknown calendar `NOWHERE`"),
    ("verify", "--policy legacy --calendar daily", "expected XNYS"),
    ("verify", "--portfolio x", "portfolio_ids 'x' is not a UUID"),
    ("verify", "--start 2025-06-20 --end 2025-06-19", "is after end"),
    ("repair", "--policy legacy", "the policy `legacy` supports no repair"),
    ("repair", "--on-existing skip", "No such option: --on-existing"),
    ("explain", "--session 2025-06-21", "any portfolio on 2025-06-21: the latest is of 2025-06-2"),
    ("explain", "--session 2020-01-02", "of any portfolio is stored on 2020-01-02 or before it"),
    ("explain", "--session yesterday", "`yesterday` is not a date"),
    ("explain", "--since 2025-06-24 --session 2025-06-24", "is not before session"),
    ("explain", "--by lot", "by is `lot`, expected one of symbol"),
    ("explain", "--portfolio x", "portfolio_ids 'x' is not a UUID"),
    ("explain", "--csv --json", "--csv and --json are both given"),
    ("explain", "--top 0", "Invalid value for '--top'"),
    ("performance", "--period 2W", "unknown period `2W`, expected one of 1D, MTD"),
    ("performance", "--inflows noon", "unknown inflows `noon`, expected one of end, start"),
    ("performance", "--start 2025-06-20 --period 1D", "give either start or periods"),
    ("performance", "--benchmark NONE", "`NONE` has no close up to 2025-06-30"),
    ("performance", "--portfolio x", "portfolio_ids 'x' is not a UUID"),
    ("report", "--since 2025-06-18", "--since applies to the page of a portfolio"),
    ("report", "--benchmark SPY", "--benchmark applies to the page of a portfolio"),
    ("report", "--policy rollforward", "--policy applies to the page of a portfolio"),
    ("report", "--calendar XNYS", "--calendar applies to the page of a portfolio"),
    ("report", "--lookback-days 10", "--lookback-days applies to the page of a portfolio"),
    ("report", "--fx-lookback-days 9", "--fx-lookback-days applies to the page of a portfolio"),
    ("report", "--fx-pivot EUR", "--fx-pivot applies to the page of a portfolio"),
    ("report", f"{ONE} --verify", "--verify applies to the page of a night"),
    ("report", f"{ONE} --run x", "--run applies to the page of a night"),
    ("report", f"{ONE} --group x", "--group applies to the page of a night"),
    ("report", f"--group {NOBODY}", f"there is no group {NOBODY} in the ledger"),
    ("report", f"--run {NOBODY}", f"there is no run {NOBODY} in the ledger"),
    ("report", f"--group {NOBODY} --run {NOBODY}", "a run or a group can be shown: give one of"),
    ("report", f"{ONE} --benchmark ''", "benchmark is '', expected a symbol"),
    ("report", f"{ONE} --lookback-days -1", "lookback_days is -1"),
    ("report", f"{ONE} --fx-lookback-days -1", "fx_lookback_days is -1"),
    ("report", f"{ONE} --fx-pivot ''", "fx_pivot is ''"),
    ("report", ONE, f"there is no portfolio {NOBODY}"),
    ("report", "--portfolio x", "portfolio 'x' is not a UUID"),
]
EVERY = [(one, *row) for commands, *row in REFUSED for one in commands.split()]
USUAL = {"run": RANGE, "plan": RANGE, "report": ("--out", "page.html")}


@pytest.fixture(scope="module")
def untouched(stored: str) -> Iterator[str]:
    """The URL of a database with the rows of all sessions, none of which may be changed."""
    before = digests(stored)
    yield stored
    assert digests(stored) == before


@pytest.mark.parametrize("case", EVERY, ids=lambda case: " ".join(case[:2]))
def test_wrong_words_are_refused_in_one_line(
    untouched: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, case: tuple[str, str, str]
) -> None:
    command, words, message = case
    monkeypatch.setenv(URL_VARIABLE, untouched)
    monkeypatch.chdir(tmp_path)
    said = batchcore(command, *USUAL.get(command, ()), *shlex.split(words))
    assert said.code == 3
    assert message in said.error()
    assert said.out == "" or said.document()["error"]["exit_code"] == 3
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    ("command", "told"),
    [
        ("run", "; in an empty database, `batchcore migrate` creates them"),
        ("status", "run `batchcore migrate`"),
        ("verify", "missing table (and 3 more); if it has another name, map that in the Schema"),
        (
            "performance",
            "missing table (and 1 more); if it has another name, map that in the Schema",
        ),
    ],
)
def test_a_database_that_was_not_migrated_is_refused(empty: str, command: str, told: str) -> None:
    said = batchcore(command, "--database-url", empty)
    assert (said.code, said.out) == (3, "")
    assert told in said.error()
