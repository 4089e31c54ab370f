"""The output of commands on a terminal: tables fitted to its width, urgent items first.

A command gives `Call.answer` its document for ``--json``, its text for a pipe and, for a terminal,
a function that returns parts: lines, `Facts` and `Listing`. Cells may be text, whole numbers,
decimals, None, or what `bad`, `warn`, `good`, `dim` and `gain` make of them.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from decimal import Decimal
from typing import Final, TypeVar

from rich import box
from rich.cells import cell_len
from rich.console import Console, ConsoleOptions, RenderableType, RenderResult
from rich.table import Table
from rich.text import Text

from batchcore.cli.output import LISTED

Row = TypeVar("Row")
Cell = str | int | Decimal | Text | None

LEAST_WIDTH: Final = 40
"""Narrower terminals wrap lines of so many characters."""

GAP: Final = 2
"""Spaces between two columns."""

BLOCKS: Final = "▁▂▃▄▅▆▇█"
TENTHS: Final = "0123456789"
"""Bars of a share, for terminals with Unicode and for ASCII."""


@dataclass(frozen=True, slots=True)
class Column:
    """A column of a `Listing`."""

    title: str
    right: bool = False  # aligned to the right, as numbers are
    least: int | None = None
    """The width to which its texts may be cut; None cuts none, as a part of a number is useless."""
    drop: int = 0
    """Columns with a higher number are left out first on a narrow terminal; 0 is always shown."""


@dataclass(frozen=True, slots=True)
class Listing:
    """A table with a limited number of rows, and columns fitted to the terminal."""

    columns: Sequence[Column]
    rows: Sequence[Sequence[Cell]]  # all, the most important first
    title: str = ""  # with an empty line above
    most: int = LISTED  # number of rows shown
    noun: str = "row"  # noun of a row
    last: Sequence[Cell] | None = None  # a last row, such as a total
    where: str = "--json lists all"  # where to find the others

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        rows = [[cell_text(cell) for cell in row] for row in self.rows[: self.most]]
        last = [] if self.last is None else [[cell_text(cell) for cell in self.last]]
        widths = [
            max(cell_len(one.title), *(cell_len(row[at].plain) for row in (*rows, *last)), 0)
            for at, one in enumerate(self.columns)
        ]
        kept = self._fit(widths, options.max_width)
        table = Table(
            title=Text(self.title, "bold") if self.title else None,
            title_justify="left",
            box=box.SIMPLE_HEAD,
            show_edge=False,
            padding=0,  # whose width differs between versions of Rich
            header_style="bold",
        )
        # the box has one space between columns; the others belong to all columns but the first
        indents = {at: 0 if at == kept[0] else GAP - 1 for at in kept}
        for at in kept:
            one = self.columns[at]
            table.add_column(
                self._indented(Text(one.title), at, indents),
                justify="right" if one.right else "left",
                width=widths[at] + indents[at],
                no_wrap=True,
                overflow="crop" if options.ascii_only else "ellipsis",
            )
        for row in rows:
            table.add_row(*(self._indented(row[at], at, indents) for at in kept))
        table.add_section()
        for row in last:
            table.add_row(*(self._indented(row[at], at, indents) for at in kept))
        # wider than the terminal rather than with digits cut off
        width = sum(widths[at] for at in kept) + GAP * (len(kept) - 1)
        if self.title:
            yield ""
        yield from console.render(table, options.update_width(max(width, options.max_width)))
        if (more := len(self.rows) - self.most) > 0:
            yield dim(f"{more:,} more {self.noun}{'' if more == 1 else 's'}; {self.where}")
        if len(kept) < len(self.columns):
            names = [one.title for at, one in enumerate(self.columns) if at not in kept]
            yield dim(f"no room for {', '.join(names)}; {self.where}")

    def _indented(self, text: Text, at: int, indents: Mapping[int, int]) -> Text:
        """Return the text of a column, with leading space unless it is the first."""
        return text if self.columns[at].right else Text(" " * indents[at]) + text

    def _fit(self, widths: list[int], room: int) -> list[int]:
        """Cut widths until the columns fit; return the remaining columns."""
        kept = list(range(len(widths)))
        while True:
            over = sum(widths[at] for at in kept) + GAP * (len(kept) - 1) - room
            if over <= 0:
                return kept
            spare = {at: self._spare(at, widths[at]) for at in kept}
            droppable = [at for at in kept if self.columns[at].drop]
            if sum(spare.values()) < over and droppable:
                kept.remove(max(droppable, key=lambda at: self.columns[at].drop))
                continue
            for _ in range(min(over, sum(spare.values()))):
                widest = max((at for at in kept if spare[at]), key=lambda at: widths[at])
                widths[widest] -= 1
                spare[widest] -= 1
            return kept

    def _spare(self, at: int, width: int) -> int:
        least = self.columns[at].least
        return 0 if least is None else max(width - max(least, cell_len(self.columns[at].title)), 0)


def listing(
    rows: Iterable[Row],
    *columns: tuple[Column, Callable[[Row], Cell]],
    title: str = "",
    most: int = LISTED,
    noun: str = "row",
    last: Sequence[Cell] | None = None,
) -> Listing:
    """Return a table by its columns, each with what it shows of a row."""
    cells = [[cell(row) for _, cell in columns] for row in rows]
    return Listing([one for one, _ in columns], cells, title, most, noun, last)


@dataclass(frozen=True, slots=True)
class Facts:
    """Names and values, one line each, long ones wrapped; a value of None is left out."""

    pairs: Iterable[tuple[str, Cell]]

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        grid = Table.grid(padding=(0, GAP))
        grid.add_column(style="dim", no_wrap=True)
        grid.add_column(overflow="fold")
        for name, value in self.pairs:
            if value is not None:
                grid.add_row(Text(name), cell_text(value))
        yield grid


@dataclass(frozen=True, slots=True)
class Bars:
    """A bar for each share from 0 to 1, in order: a long list at a glance."""

    shares: Sequence[float]
    least: float  # shares below this are bad

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        marks = TENTHS if options.ascii_only else BLOCKS
        line = Text()
        for share in self.shares:
            mark = marks[min(int(share * len(marks)), len(marks) - 1)]
            line.append(mark, BAD if share < self.least else GOOD if share >= 1 else WARN)
        yield line


BAD: Final = "bold red"
WARN: Final = "yellow"
GOOD: Final = "green"
DIM: Final = "dim"
SIGNS: Final = {"+": "green", "-": "red"}


def bad(value: Cell) -> Text:
    """Return a cell that needs attention now."""
    return cell_text(value, BAD)


def warn(value: Cell) -> Text:
    """Return a cell that should be looked at."""
    return cell_text(value, WARN)


def good(value: Cell) -> Text:
    """Return a cell that is as it should be."""
    return cell_text(value, GOOD)


def dim(value: Cell) -> Text:
    """Return a cell of less importance."""
    return cell_text(value, DIM)


def gain(amount: str) -> Text:
    """Return an amount in the colour of a gain or a loss."""
    return cell_text(amount, SIGNS.get(amount[:1], ""))


def cell_text(value: Cell, style: str = "") -> Text:
    """Return the text of a cell: numbers with separated thousands, nothing for None."""
    match value:
        case Text():
            return value
        case None:
            return Text("")
        case int():
            return Text(f"{value:,}", style)
        case Decimal():
            return Text(f"{value:,f}", style)
    return Text(printable(value), style)


def printable(text: str) -> str:
    """Return a text without terminal control characters."""
    if text.isprintable():
        return text
    return "".join(one if one.isprintable() else repr(one)[1:-1] for one in text)


def show(parts: Iterable[RenderableType]) -> None:
    """Print parts on the terminal."""
    console = Console(file=sys.stdout, highlight=False, markup=False, emoji=False)
    width = max(console.width, LEAST_WIDTH)
    for part in parts:
        console.print(part, width=width, crop=False)
