"""Figures with their titles and tables, and the kinds that both pages have."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from matplotlib import dates as mdates
from matplotlib.ticker import MaxNLocator

from batchcore.pages import texts
from batchcore.pages.drawing import COLOURS, drawn

if TYPE_CHECKING:
    import datetime as dt
    from collections.abc import Callable, Iterable, Sequence
    from decimal import Decimal

    from batchcore.pages.contents import Attribution, GroupContribution
    from batchcore.pages.drawing import Canvas

BAR: Final = 20
"""Pixels of a bar with its gap."""

AXIS: Final = 46
"""Pixels for the axis below bars."""

LABEL: Final = 24
NARROW_LABEL: Final = 12
"""Characters of a name beside a bar."""

OUTERMOST: Final = 15
"""How many gains, and how many losses, are shown one by one."""


@dataclass(frozen=True, slots=True)
class Cell:
    """A cell of a table: its text, and whether it is a gain or a loss."""

    text: str
    tone: str = ""


@dataclass(frozen=True, slots=True)
class Heading:
    """The head of a column.

    Attributes:
        text: Its name.
        kind: `text` or `number`, which is aligned right.
        is_minor: Whether a narrow screen leaves the column out.
    """

    text: str
    kind: str = "number"
    is_minor: bool = False


@dataclass(frozen=True, slots=True)
class Table:
    """A table.

    Attributes:
        headings: Of its columns.
        rows: A cell for each heading.
        is_stacked: Whether a narrow screen shows each row as a block, with the headings in it.
    """

    headings: tuple[Heading, ...]
    rows: tuple[tuple[Cell, ...], ...]
    is_stacked: bool = False


@dataclass(frozen=True, slots=True)
class Chart:
    """A figure with the table of its numbers.

    Attributes:
        name: Unique on a page.
        title: What it shows.
        note: How to read it; may be empty.
        wide: SVG.
        narrow: The same for a narrow screen.
        table: Its numbers.
        legend: Role of a colour -> what it stands for.
    """

    name: str
    title: str
    note: str
    wide: str
    narrow: str
    table: Table
    legend: tuple[tuple[str, str], ...] = ()


def chart(
    name: str,
    title: str,
    note: str,
    paint: Callable[[Canvas], None],
    heights: tuple[int, int],
    *,
    table: Table,
    legend: Iterable[tuple[str, str]] = (),
) -> Chart:
    """Return a figure, drawn at both widths."""
    return Chart(name, title, note, *drawn(name, paint, heights), table, tuple(legend))


def text(value: str) -> Cell:
    """Return a cell with a name in it."""
    return Cell(texts.plain(value))


def signed(amount: Decimal | None) -> Cell:
    """Return a cell with a gain or a loss."""
    return Cell(texts.money(amount, signed=True), texts.tone(amount))


def signed_percent(share: Decimal | float | None) -> Cell:
    """Return a cell with a gain or a loss in percent."""
    return Cell(texts.percent(share, signed=True), texts.tone(share))


def labelled(canvas: Canvas, names: Sequence[str]) -> None:
    """Write names beside bars, the first at the top, and make room for them."""
    most = NARROW_LABEL if canvas.is_narrow else LABEL
    canvas.axes.set_yticks(range(len(names)), [texts.plain(name, most) for name in names])
    canvas.axes.tick_params(axis="y", labelcolor=COLOURS["ink"])
    canvas.axes.set_ylim(len(names) - 0.5, -0.5)


def dated(canvas: Canvas) -> None:
    """Have the x axis write dates, as few as there is room for."""
    canvas.axes.margins(x=0.012)
    locator = mdates.AutoDateLocator(minticks=3, maxticks=5 if canvas.is_narrow else 9)
    canvas.axes.xaxis.set_major_locator(locator)
    canvas.axes.xaxis.set_major_formatter(mdates.ConciseDateFormatter(locator, show_offset=False))


def numbered(canvas: Canvas, axis: str, write: Callable[[float], str], ticks: int = 6) -> None:
    """Have an axis write numbers by a function, with lines across."""
    most = 4 if canvas.is_narrow and axis == "x" else ticks
    getattr(canvas.axes, f"{axis}axis").set_major_locator(MaxNLocator(most))
    canvas.format_axis(axis, write)
    canvas.axes.grid(visible=True, axis=axis)


def step_labels(canvas: Canvas, sessions: Sequence[dt.date]) -> None:
    """Write the dates of some of the sessions that stand side by side."""
    most = 4 if canvas.is_narrow else 10
    step = max(-(-len(sessions) // most), 1)
    at = list(range(len(sessions) - 1, -1, -step))
    canvas.axes.set_xticks(at, [f"{sessions[one].day} {sessions[one]:%b}" for one in at])


def contributions(name: str, what: str, found: Attribution) -> Chart | None:
    """Return which symbols or sectors made a P&L; None if none did.

    Args:
        name: Of the figure.
        what: `symbol` or `sector`.
        found: The P&L.
    """
    gains, losses = found.outermost(OUTERMOST)
    shown = [*gains, *losses]
    if not shown:
        return None
    span = f"of {texts.day(found.end)}"
    if found.start is not None:
        span = f"from {texts.day(found.start)} to {texts.day(found.end)}"

    def paint(canvas: Canvas) -> None:
        values = [float(row.total) for row in shown]
        colours = [COLOURS["gain" if row.total > 0 else "loss"] for row in shown]
        canvas.axes.barh(range(len(shown)), values, color=colours, height=0.72)
        canvas.axes.axvline(0, color=COLOURS["muted"], linewidth=0.8)
        labelled(canvas, [row.key for row in shown])
        numbered(canvas, "x", lambda value: texts.short_money(value, signed=True))
        margin = 0.32 if canvas.is_narrow else 0.1
        canvas.axes.margins(x=margin)
        for at, row in enumerate(shown):
            canvas.axes.annotate(
                texts.short_money(row.total, signed=True),
                (float(row.total), at),
                xytext=(4 if row.total > 0 else -4, 0),
                textcoords="offset points",
                ha="left" if row.total > 0 else "right",
                va="center",
                color=COLOURS["ink"],
            )

    height = BAR * len(shown) + AXIS
    return chart(
        name,
        _contributions_title(what, found, gains, losses),
        f"P&L {span} by {what}, unrealized change and realized together.",
        paint,
        (height, height),
        table=_contributions_table(what, found, shown),
        legend=(("gain", "gain"), ("loss", "loss")),
    )


def _contributions_title(
    what: str,
    found: Attribution,
    gains: Sequence[GroupContribution],
    losses: Sequence[GroupContribution],
) -> str:
    best, worst = gains[:1], losses[-1:]
    parts = [f"{texts.plain(row.key, LABEL)} made {texts.short_money(row.total)}" for row in best]
    parts += [
        f"{texts.plain(row.key, LABEL)} lost {texts.short_money(-row.total)}" for row in worst
    ]
    if len(found.rows) == 1:
        return f"P&L by {what}: {parts[0]}"
    return f"P&L by {what}: {', '.join(parts)}"


def _contributions_table(
    what: str, found: Attribution, shown: Sequence[GroupContribution]
) -> Table:
    rows = [
        (text(row.key), *map(signed, (row.unrealized, row.realized, row.total))) for row in shown
    ]
    others = [row for row in found.rows if row not in shown]
    if others:
        sums = [
            sum((getattr(row, name) for row in others), start=others[0].total * 0)
            for name in ("unrealized", "realized", "total")
        ]
        rows.append((Cell(f"{len(others):,} others"), *map(signed, sums)))
    blank = Cell("")
    left = "rounding" if found.explained else "not explained"
    rows.append((Cell(left), blank, blank, signed(found.rounding)))
    rows.append((Cell("stored P&L"), blank, blank, signed(found.stored)))
    heads = (
        Heading(what, "text"),
        Heading("unrealized change", is_minor=True),
        Heading("realized", is_minor=True),
        Heading("contribution"),
    )
    return Table(heads, tuple(rows))
