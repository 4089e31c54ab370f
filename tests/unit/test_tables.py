"""Tables of a terminal: fitted to its width, numbers whole, long lists cut with a count."""

import re
import sys
from typing import Any

import pytest
from rich.console import Console, RenderableType

from batchcore.cli.tables import Bars, Column, Facts, Listing, bad, dim, gain, printable, show
from support.command import Terminal

RUN = "0197bd7c-35f1-7d25-a2b1-f4a5ab25f2e9"
COLUMNS = (
    Column("run"),
    Column("name", least=8),
    Column("rows", right=True, drop=2),
    Column("P&L", right=True),
    Column("note", drop=1),
)
ROWS: list[tuple[Any, ...]] = [
    (RUN, "a long name of a portfolio", 1_234_567, gain("-12.50"), "late"),
    (RUN, "short", None, gain("+99,999,999,999,999.99"), None),
    (RUN, "none", 0, gain("0.00"), "x"),
]


def lines(part: RenderableType, width: int = 100, encoding: str = "utf-8") -> list[str]:
    """Return the lines that a terminal without colours shows of a part."""

    class Encoded(Terminal):
        @property
        def encoding(self) -> str:  # type: ignore[override]
            return encoding

    file = Encoded()
    console = Console(file=file, width=width, no_color=True, color_system=None, markup=False)
    console.print(part, crop=False)
    return [line.rstrip() for line in file.getvalue().splitlines()]


def test_numbers_are_aligned_to_the_right() -> None:
    assert lines(Listing(COLUMNS, ROWS, title="Runs"), 120) == [
        "",
        "Runs",
        f"run{'':35}name{'':29}rows{'':21}P&L  note",
        "─" * 105,
        f"{RUN}  a long name of a portfolio  1,234,567                  -12.50  late",
        f"{RUN}  short                                  +99,999,999,999,999.99",
        f"{RUN}  none                                0                    0.00  x",
    ]


def test_what_does_not_fit_is_cut_or_left_out_but_no_number() -> None:
    narrow = lines(Listing(COLUMNS, ROWS), 85)
    assert max(map(len, narrow)) <= 85
    assert narrow[0].split() == ["run", "name", "P&L", "note"]
    assert "  a long name of a…  " in narrow[2]
    assert narrow[-1] == "no room for rows; --json lists all"
    narrower = lines(Listing(COLUMNS, ROWS), 50)
    assert narrower[0].split() == ["run", "name", "P&L"]
    assert all(RUN in line for line in narrower[2:5])  # wider than the terminal, but whole
    assert narrower[3].endswith("+99,999,999,999,999.99")


def test_a_long_list_is_cut_with_a_count() -> None:
    column = [Column("n", right=True)]
    (*_, last) = lines(Listing(column, [[n] for n in range(1_025)], most=20, noun="session"))
    assert last == "1,005 more sessions; --json lists all"
    (*_, last) = lines(Listing(column, [[n] for n in range(21)], most=20, where="see --csv"))
    assert last == "1 more row; see --csv"
    assert len(lines(Listing(column, [[n] for n in range(20)], most=20))) == 22


def test_a_total_stands_apart() -> None:
    assert lines(Listing([Column("a"), Column("b", right=True)], [("x", 1)], last=("all", 1))) == [
        "a    b",
        "──────",
        "x    1",
        "",
        "all  1",
    ]


def test_a_table_without_rows_has_its_head() -> None:
    assert lines(Listing([Column("a"), Column("b")], [])) == ["a  b", "────"]


def test_facts_are_below_each_other_and_wrapped() -> None:
    assert lines(Facts([("run", RUN), ("none", None), ("rows", 1_000)]), 30) == [
        f"run   {RUN[:24]}",
        f"      {RUN[24:]}",
        "rows  1,000",
    ]


@pytest.mark.parametrize(("encoding", "marks"), [("utf-8", "▁▅█"), ("ascii", "059")])
def test_shares_are_bars(encoding: str, marks: str) -> None:
    assert lines(Bars([0.0, 0.5, 1.0], 0.5), encoding=encoding) == [marks]


def test_ascii_terminals_get_ascii() -> None:
    found = lines(Listing(COLUMNS, ROWS, title="Runs"), 90, "ascii")
    assert all(line.isascii() for line in found)


def test_a_terminal_takes_no_commands_from_data() -> None:
    assert printable("größe 株") == "größe 株"
    assert printable("a\x1b[31mb\nc") == r"a\x1b[31mb\nc"
    assert lines(Listing([Column("symbol")], [("[red]A\x1b",)]))[-1] == r"[red]A\x1b"


def coloured(monkeypatch: pytest.MonkeyPatch, **environment: str) -> str:
    monkeypatch.setenv("TERM", "xterm-256color")
    monkeypatch.delenv("NO_COLOR", raising=False)
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setattr(sys, "stdout", terminal := Terminal())
    show([bad("failed"), gain("-1"), gain("+1"), dim("rest")])
    return terminal.getvalue()


def test_colours_tell_and_can_be_turned_off(monkeypatch: pytest.MonkeyPatch) -> None:
    with_colours = coloured(monkeypatch)
    assert "\x1b[1;31mfailed" in with_colours
    assert "\x1b[31m-1" in with_colours
    assert "\x1b[32m+1" in with_colours
    without = coloured(monkeypatch, NO_COLOR="1")
    assert not re.search(r"\x1b\[[\d;]*3[0-7]", without)
    assert "failed" in without
