"""`batchcore report` on a real server, from the command line to the file."""

import os
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
    ("name", "message"),
    [
        ("none/page.html", "none: there is no such folder"),
        ("file/page.html", "file: is not a folder"),
        ("folder", "folder: is a folder, expected the file to write"),
        ("pipe", "pipe: is not a regular file, expected the file to write"),
    ],
)
def test_a_place_without_room_is_named_first(tmp_path: Path, name: str, message: str) -> None:
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
