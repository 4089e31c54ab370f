"""Figures with their titles and tables, and the kinds used on both pages."""

from __future__ import annotations

from dataclasses import dataclass
from decimal import Decimal
from typing import TYPE_CHECKING, Any, Final, Generic, NamedTuple, TypeVar

from matplotlib import dates as mdates
from matplotlib.ticker import FuncFormatter, MaxNLocator

from batchcore.pages import texts
from batchcore.pages.drawing import COLOURS, Canvas, drawn

if TYPE_CHECKING:
    import datetime as dt
    from collections.abc import Callable, Iterable, Sequence

    from markupsafe import Markup

    from batchcore.attribution.explanation import Explanation

Row = TypeVar("Row")

BAR: Final = 20
"""Pixels of a bar with its gap."""

AXIS: Final = 46
"""Pixels for the axis below bars."""

LABEL: Final = 24
NARROW_LABEL: Final = 12
"""Characters of a name beside a bar."""

OUTERMOST: Final = 15
"""Number of gains, and of losses, that are listed."""


@dataclass(frozen=True, slots=True)
class Cell:
    """A cell of a table: its text, and whether it is a gain or a loss."""

    text: str
    tone: str = ""


@dataclass(frozen=True, slots=True)
class Column(Generic[Row]):
    """A column of a table: its head, and its cell for a row."""

    head: str
    cell: Callable[[Row], Cell | str]
    kind: str = "number"  # which is aligned right, or `text`
    is_minor: bool = False  # whether it is left out on a narrow screen


@dataclass(frozen=True, slots=True)
class Table:
    """Columns and the cells of each row, for the template."""

    columns: tuple[Column[Any], ...]
    rows: list[list[Cell]]
    is_stacked: bool  # whether each row is a block with its heads on a narrow screen


def table(rows: Iterable[Row], *columns: Column[Row], is_stacked: bool = False) -> Table:
    """Return the table of some rows."""
    cells = [[one.cell(row) for one in columns] for row in rows]
    made = [[Cell(one) if isinstance(one, str) else one for one in row] for row in cells]
    return Table(columns, made, is_stacked)


@dataclass(frozen=True, slots=True)
class Chart:
    """A figure with the table of its numbers."""

    name: str  # unique on a page
    title: str
    note: str  # explanation; may be empty
    wide: Markup
    narrow: Markup
    table: Table
    legend: tuple[tuple[str, str], ...] = ()  # roles of colours, and their meanings


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
    """Return a figure, drawn at both widths, with ``heights`` in pixels."""
    return Chart(name, title, note, *drawn(name, paint, heights), table, tuple(legend))


def signed(amount: Decimal | None) -> Cell:
    """Return a cell with a gain or a loss."""
    return Cell(texts.money(amount, signed=True), texts.tone(amount))


def signed_percent(share: Decimal | float | None) -> Cell:
    """Return a cell with a gain or a loss in percent."""
    return Cell(texts.percent(share, signed=True), texts.tone(share))


def labelled(canvas: Canvas, names: Sequence[str]) -> None:
    """Label bars with names, the first at the top, and make room for them."""
    most = NARROW_LABEL if canvas.is_narrow else LABEL
    canvas.axes.set_yticks(range(len(names)), [texts.plain(name, most) for name in names])
    canvas.axes.tick_params(axis="y", labelcolor=COLOURS["ink"])
    canvas.axes.set_ylim(len(names) - 0.5, -0.5)


def dated(canvas: Canvas) -> None:
    """Label the x axis with dates, as many as fit."""
    canvas.axes.margins(x=0.012)
    locator = mdates.AutoDateLocator(minticks=3, maxticks=5 if canvas.is_narrow else 9)
    canvas.axes.xaxis.set_major_locator(locator)
    canvas.axes.xaxis.set_major_formatter(mdates.ConciseDateFormatter(locator, show_offset=False))


def numbered(canvas: Canvas, axis: str, write: Callable[[float], str], ticks: int = 6) -> None:
    """Label an axis with numbers by a function, with grid lines."""
    own = canvas.axes.xaxis if axis == "x" else canvas.axes.yaxis
    own.set_major_locator(MaxNLocator(4 if canvas.is_narrow and axis == "x" else ticks))
    own.set_major_formatter(FuncFormatter(lambda value, _: write(float(value))))
    canvas.axes.grid(visible=True, axis=axis)


def beside(
    canvas: Canvas, text: str, end: tuple[float, int], gap: int = 5, role: str = "ink"
) -> None:
    """Label the end of a bar, to the left of it with a ``gap`` below 0."""
    canvas.axes.annotate(
        text,
        end,
        xytext=(gap, 0),
        textcoords="offset points",
        ha="left" if gap > 0 else "right",
        va="center",
        color=COLOURS[role],
    )


def step_labels(canvas: Canvas, sessions: Sequence[dt.date]) -> None:
    """Label some of the consecutive sessions with their dates."""
    most = 4 if canvas.is_narrow else 10
    step = max(-(-len(sessions) // most), 1)
    at = list(range(len(sessions) - 1, -1, -step))
    canvas.axes.set_xticks(at, [f"{sessions[one].day} {sessions[one]:%b}" for one in at])


class Contribution(NamedTuple):
    """The contribution of the lots of a symbol or sector to a P&L (X6)."""

    key: str
    unrealized: Decimal
    realized: Decimal
    total: Decimal


def outermost(
    rows: Iterable[Contribution], count: int
) -> tuple[list[Contribution], list[Contribution]]:
    """Return the largest gains and the largest losses, each at most ``count``, best first."""
    ordered = sorted(rows, key=lambda row: (-row.total, row.key))
    gains = [row for row in ordered if row.total > 0][:count]
    losses = [row for row in ordered if row.total < 0]
    return gains, losses[max(len(losses) - count, 0) :]


def contributions(name: str, found: Explanation) -> Chart | None:
    """Return the figure of contributions by symbol or sector; None without any."""
    none = Decimal(0)
    rows = [
        Contribution(
            row.key or texts.UNNAMED,
            row.unrealized_change or none,
            row.realized or none,
            row.contribution,
        )
        for row in found.rows
        if row.contribution is not None
    ]
    gains, losses = outermost(rows, OUTERMOST)
    shown = [*gains, *losses]
    if not shown:
        return None
    start = found.previous or found.since
    span = f"of {texts.day(found.session)}"
    if start is not None:
        span = f"from {texts.day(start)} to {texts.day(found.session)}"

    def paint(canvas: Canvas) -> None:
        values = [float(row.total) for row in shown]
        colours = [COLOURS["gain" if row.total > 0 else "loss"] for row in shown]
        canvas.axes.barh(range(len(shown)), values, color=colours, height=0.72)
        canvas.axes.axvline(0, color=COLOURS["muted"], linewidth=0.8)
        labelled(canvas, [row.key for row in shown])
        numbered(canvas, "x", lambda value: texts.short_money(value, signed=True))
        canvas.axes.margins(x=0.32 if canvas.is_narrow else 0.1)
        for at, row in enumerate(shown):
            text = texts.short_money(row.total, signed=True)
            beside(canvas, text, (float(row.total), at), 4 if row.total > 0 else -4)

    made = [f"{texts.plain(row.key, LABEL)} made {texts.short_money(row.total)}" for row in gains]
    lost = [f"{texts.plain(row.key, LABEL)} lost {texts.short_money(-row.total)}" for row in losses]
    cells = [(texts.plain(row.key), [*map(signed, row[1:])]) for row in shown]
    if others := [row for row in rows if row not in shown]:
        sums = [sum(column, start=none) for column in list(zip(*others, strict=True))[1:]]
        cells.append((f"{len(others):,} others", [*map(signed, sums)]))
    blank, left = Cell(""), "rounding" if found.explained else "not explained"
    cells.append((left, [blank, blank, signed(found.rounding)]))
    cells.append(("stored P&L", [blank, blank, signed(found.daily_pnl)]))
    numbers = table(
        cells,
        Column(found.by, lambda row: row[0], "text"),
        Column("unrealized change", lambda row: row[1][0], is_minor=True),
        Column("realized", lambda row: row[1][1], is_minor=True),
        Column("contribution", lambda row: row[1][2]),
    )
    title = f"P&L by {found.by}: {', '.join([*made[:1], *lost[-1:]])}"
    note = f"P&L {span} by {found.by}, unrealized change and realized together."
    heights = (BAR * len(shown) + AXIS, BAR * len(shown) + AXIS)
    legend = (("gain", "gain"), ("loss", "loss"))
    return chart(name, title, note, paint, heights, table=numbers, legend=legend)
