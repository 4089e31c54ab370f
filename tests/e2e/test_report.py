"""`batchcore report` on a real server, from the command line to the file."""

import os
import uuid
from pathlib import Path
from typing import Any

import pytest

from support.command import Said, batchcore
from support.tables import ROWS, SIZE, query, run

pytestmark = pytest.mark.db

RENAMED = """
UPDATE positions SET symbol = '<script>alert(1)' WHERE symbol = (SELECT min(symbol) FROM positions);
UPDATE portfolios SET name = '<script>alert(2)'
"""


def report(url: str, *words: object) -> Said:
    return batchcore("report", "--database-url", url, *map(str, words))


@pytest.fixture
def valued(filled: str) -> str:
    """The URL of a database with a run, whose names are code."""
    query(filled, RENAMED)
    assert run(filled).code == 0
    return filled


def test_the_page_of_the_latest_night(valued: str, tmp_path: Path) -> None:
    out = tmp_path / "night.html"
    said = report(valued, "--out", out, "--verify", "--json")
    assert (said.code, said.err) == (0, "")
    document = said.document()
    (run,) = query(valued, "SELECT id::text FROM batchcore_runs")
    size = out.stat().st_size
    assert document == {"path": str(out), "page": "night", "shows": run[0], "size_bytes": size}
    page = out.read_text(encoding="utf-8")
    assert "Monday, 30 June 2025" in page
    assert f"{ROWS} snapshots of {SIZE.portfolios} portfolios" in page
    assert "What verify found" in page
    assert "<script" not in page
    assert "&lt;script&gt;alert(1)" in page
    # As any file that the process makes, not that of a temporary one.
    (tmp_path / "other").touch()
    assert out.stat().st_mode == (tmp_path / "other").stat().st_mode
    (tmp_path / "other").unlink()
    assert list(tmp_path.iterdir()) == [out]


def test_the_page_of_a_portfolio(valued: str, tmp_path: Path) -> None:
    ((portfolio,),) = query(valued, "SELECT min(portfolio_id::text) FROM portfolio_snapshots")
    out = tmp_path / "page.html"
    said = report(valued, "--out", out, "--portfolio", portfolio, "--since", "2025-06-18")
    assert (said.code, said.err) == (0, "")
    assert said.out.startswith(f"portfolio {portfolio}: {out}, ")
    page = out.read_text(encoding="utf-8")
    assert "18\N{NO-BREAK SPACE}Jun\N{NO-BREAK SPACE}2025 to 30\N{NO-BREAK SPACE}Jun" in page
    assert "<script" not in page


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (("--since", "2025-06-18"), "--since is of a portfolio: give --portfolio too"),
        (("--benchmark", "SPY"), "--benchmark is of a portfolio: give --portfolio too"),
        (("--policy", "rollforward"), "--policy is of a portfolio: give --portfolio too"),
        (("--calendar", "XNYS"), "--calendar is of a portfolio: give --portfolio too"),
        (("--lookback-days", 10), "--lookback-days is of a portfolio: give --portfolio too"),
        (("--portfolio", uuid.UUID(int=7), "--verify"), "--verify is of a night"),
        (("--portfolio", uuid.UUID(int=7), "--run", "x"), "--run is of a night"),
        (("--portfolio", uuid.UUID(int=7), "--group", "x"), "--group is of a night"),
        (("--group", uuid.UUID(int=7)), f"there is no group {uuid.UUID(int=7)} in the ledger"),
        (("--run", uuid.UUID(int=7)), f"there is no run {uuid.UUID(int=7)} in the ledger"),
        (
            ("--group", uuid.UUID(int=7), "--run", uuid.UUID(int=7)),
            "a run or a group can be shown: give one of them",
        ),
        (
            ("--portfolio", uuid.UUID(int=7), "--benchmark", ""),
            "benchmark is '', expected a symbol",
        ),
        (("--portfolio", uuid.UUID(int=7), "--lookback-days", -1), "lookback_days is -1"),
        (("--portfolio", uuid.UUID(int=7)), f"there is no portfolio {uuid.UUID(int=7)}"),
        (("--portfolio", "x"), "portfolio 'x' is not a UUID"),
        ((), "no run is in the ledger"),
    ],
)
def test_what_cannot_be_shown_is_named(
    migrated: str, tmp_path: Path, words: tuple[object, ...], message: str
) -> None:
    out = tmp_path / "page.html"
    said = report(migrated, "--out", out, *words)
    assert (said.code, said.out) == (3, "")
    assert said.error().startswith(message)
    assert not out.exists()


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("none/page.html", "none: there is no such folder"),
        ("file/page.html", "file: is not a folder"),
        ("folder", "folder: is a folder, expected the file to write"),
        ("pipe", "pipe: is not a regular file, expected the file to write"),
    ],
)
def test_a_place_without_room_for_a_file_is_named_first(
    tmp_path: Path, name: str, message: str
) -> None:
    (tmp_path / "file").touch()
    (tmp_path / "folder").mkdir()
    os.mkfifo(tmp_path / "pipe")
    # There is no server: nothing is asked before.
    said = report("postgresql://127.0.0.1:1/none", "--out", tmp_path / name)
    assert (said.code, said.error()) == (3, f"{tmp_path}/{message}")
    assert sorted(one.name for one in tmp_path.iterdir()) == ["file", "folder", "pipe"]


def test_without_the_extra_it_is_named(
    migrated: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def imported(_: str) -> Any:
        raise ModuleNotFoundError("No module named 'matplotlib'", name="matplotlib")

    monkeypatch.setattr("batchcore.pages.write.imported", imported)
    said = report(migrated, "--out", tmp_path / "page.html")
    assert said.code == 3
    assert said.error() == (
        "a page needs `matplotlib` of the extra `report`: pip install 'batchcore[report]'"
    )
