"""The figures of the page of a night."""

from __future__ import annotations

import statistics
from typing import TYPE_CHECKING, Final

import numpy as np
from matplotlib.patches import PathPatch
from matplotlib.path import Path

from batchcore.pages import texts
from batchcore.pages.charts import (
    AXIS,
    Cell,
    Chart,
    Column,
    Table,
    beside,
    chart,
    labelled,
    numbered,
    signed,
    signed_percent,
    step_labels,
    table,
)
from batchcore.pages.drawing import COLOURS, Canvas
from batchcore.units import Mark
from batchcore.words import counted

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from batchcore.frames import Bools
    from batchcore.pages.contents import MarkMap, Night, ReturnSpread

STATUS_ROLES: Final = {
    "ok": ("fresh", "all marks fresh"),
    "lookback": ("lookback", "a mark within the lookback"),
    "stale": ("stale", "a mark older than the lookback"),
    "unpriced": ("unpriced", "a mark that is the entry price"),
    "skipped": ("skipped", "nothing to write"),
    "failed": ("failed", "nothing, or not all, written"),
}
"""Role and meaning of each status of a portfolio."""

MARK_ROLES: Final = {
    Mark.FRESH: ("fresh", "close of the day"),
    Mark.LOOKBACK: ("lookback", "close within the lookback"),
    Mark.STALE: ("stale", "older close"),
    Mark.UNPRICED: ("unpriced", "no close"),
}
"""Role and meaning of each mark."""

PHASES: Final = ("load", "compute", "analytics", "persist", "total")

CROSSED: Final = ("failed", "interrupted", "stuck")
"""States of runs that are marked by a cross."""


def statuses(found: Mapping[str, int]) -> Chart | None:
    """Return the figure of portfolios by status; None if not in the ledger."""
    shown = {name: found.get(name, 0) for name in STATUS_ROLES}
    in_all = sum(shown.values())
    if not in_all:
        return None

    def paint(canvas: Canvas) -> None:
        colours = [COLOURS[role] for role, _ in STATUS_ROLES.values()]
        canvas.axes.barh(range(len(shown)), list(shown.values()), color=colours, height=0.72)
        labelled(canvas, list(shown))
        canvas.axes.set_xlim(0, max(shown.values()) * (1.3 if canvas.is_narrow else 1.14))
        numbered(canvas, "x", lambda value: f"{value:,.0f}" if value == int(value) else "")
        canvas.axes.set_xlabel("portfolios")
        for at, number in enumerate(shown.values()):
            beside(canvas, texts.count(number), (number, at), role="ink" if number else "muted")

    good = shown["ok"] + shown["lookback"]
    title = f"{good:,} of {counted(in_all, 'portfolio')} valued at recent closes"
    if shown["failed"]:
        title = f"{counted(shown['failed'], 'portfolio')} failed; {title}"
    note = "The worst mark of the sessions that a portfolio wrote, or why it wrote none."
    height = 6 * 24 + AXIS + 14
    numbers = table(
        STATUS_ROLES,
        Column("status", texts.plain, "text"),
        Column("worst of its sessions", lambda name: STATUS_ROLES[name][1], "text", is_minor=True),
        Column("portfolios", lambda name: texts.count(shown[name])),
        Column("share", lambda name: texts.percent(shown[name] / in_all)),
    )
    return chart("statuses", title, note, paint, (height, height), table=numbers)


def coverage(night: Night) -> Chart | None:
    """Return the figure of coverage with the gate, if any; None without any session."""
    days, gate = night.coverage, night.gate
    if not days:
        return None
    low = [day for day in days if gate is not None and day.share < gate]

    def paint(canvas: Canvas) -> None:
        axes = canvas.axes
        colours = [COLOURS["unpriced" if day in low else "accent"] for day in days]
        shares = [day.share for day in days]
        if len(days) > 1:
            axes.plot(range(len(days)), shares, color=COLOURS["accent"], linewidth=1)
        axes.scatter(range(len(days)), shares, color=colours, s=18, zorder=3)
        least = min(shares if gate is None else [*shares, gate])
        axes.set_ylim(max(least - (1 - least) * 0.25 - 0.01, -0.03), 1.0 + (1.02 - least) * 0.06)
        axes.set_xlim(-0.7, len(days) - 0.3)
        if gate is not None:
            _draw_gate(canvas, gate)
        decimals = 0 if 1 - least > 0.04 else 1  # noqa: PLR2004  # ticks a percent apart
        numbered(
            canvas,
            "y",
            lambda value: (
                texts.percent(min(value, 1.0), decimals=decimals) if value <= 1 + 1e-9 else ""
            ),
        )
        step_labels(canvas, [day.session for day in days])

    first, last = texts.day(days[0].session), texts.day(days[-1].session)
    span = last if len(days) == 1 else f"{first} to {last}"
    all_of = "the session" if len(days) == 1 else f"all {len(days):,} sessions"
    if low:
        title = f"Coverage was below the gate on {counted(len(low), 'session')} of {len(days):,}"
    elif gate is not None:
        title = f"Coverage was at or above the gate on {all_of}"
    else:
        least = texts.percent(min(day.share for day in days))
        title = f"Coverage was at least {least} on {all_of}; the policy has no gate"
    note = (
        f"Share of the symbols held with a close in the lookback that have one on the session,"
        f" {span}, by the closes as they are now."
    )
    numbers = table(
        reversed(days),
        Column("session", lambda day: day.session.isoformat(), "text"),
        Column("with a close", lambda day: texts.count(day.fresh)),
        Column("with a recent one", lambda day: texts.count(day.recent), is_minor=True),
        Column(
            "coverage", lambda day: Cell(texts.percent(day.share), "loss" if day in low else "")
        ),
    )
    return chart("coverage", title, note, paint, (240, 210), table=numbers)


def _draw_gate(canvas: Canvas, gate: float) -> None:
    axes = canvas.axes
    axes.axhline(gate, color=COLOURS["unpriced"], linewidth=1.2, linestyle=(0, (5, 3)))
    axes.annotate(
        f"gate {texts.percent(gate, decimals=1)}",
        (1, gate),
        xycoords=("axes fraction", "data"),
        xytext=(-2, 4),
        textcoords="offset points",
        ha="right",
        color=COLOURS["unpriced"],
        bbox={"facecolor": COLOURS["card"], "edgecolor": "none", "pad": 1},
    )


def marks(found: MarkMap | None) -> Chart | None:
    """Return the heat map of the worst symbols; None if no symbol lacks a close."""
    if found is None or not found.symbols:
        return None
    rows, columns = found.marks.shape

    def paint(canvas: Canvas) -> None:
        axes = canvas.axes
        for mark, (role, _) in MARK_ROLES.items():
            cells = _rectangles(found.marks == mark)
            axes.add_patch(PathPatch(cells, facecolor=COLOURS[role], linewidth=0))
        labelled(canvas, found.symbols)
        axes.tick_params(axis="y", labelsize=8.5 if canvas.is_narrow else 9.5)
        axes.set_xlim(-0.5, columns - 0.5)
        step_labels(canvas, found.sessions)
        axes.spines["bottom"].set_visible(False)

    def marked(row: int, mark: Mark) -> str:
        return texts.count(int((found.marks[row] == mark).sum()))

    def last_bad(row: int) -> str:
        bad = [Mark.STALE, Mark.UNPRICED, Mark.LOOKBACK]
        (at,) = np.nonzero(np.isin(found.marks[row], bad))
        return found.sessions[int(at[-1])].isoformat() if len(at) else texts.NOTHING

    numbers = table(
        range(rows),
        Column("symbol", lambda row: texts.plain(found.symbols[row]), "text"),
        Column("fresh", lambda row: marked(row, Mark.FRESH), is_minor=True),
        Column("lookback", lambda row: marked(row, Mark.LOOKBACK)),
        Column("stale", lambda row: marked(row, Mark.STALE)),
        Column("unpriced", lambda row: marked(row, Mark.UNPRICED)),
        Column("last without", last_bad, is_minor=True),
    )
    title = (
        f"{counted(found.lacking, 'symbol')} of {found.held:,} held lacked a close on some session"
    )
    more = f"; the {rows:,} worst of them" if found.lacking > rows else ""
    first, last = texts.day(found.sessions[0]), texts.day(found.sessions[-1])
    note = f"Marks of symbols by session, {first} to {last}{more}. Blank: not held."
    heights = (15 * rows + 40, 15 * rows + 40)
    legend = MARK_ROLES.values()
    return chart("marks", title, note, paint, heights, table=numbers, legend=legend)


def _rectangles(cells: Bools) -> Path:
    """Return one path around each run of True cells along the rows.

    An element for each of thousands of cells would make the page several times as large.
    """
    edged = np.zeros((cells.shape[0], cells.shape[1] + 2), dtype=np.int8)
    edged[:, 1:-1] = cells
    change = np.diff(edged, axis=1)
    row, start = np.nonzero(change == 1)
    _, end = np.nonzero(change == -1)
    left, right, top, bottom = start - 0.46, end - 0.54, row - 0.43, row + 0.43
    corners = [(left, top), (right, top), (right, bottom), (left, bottom), (left, top)]
    vertices = np.stack([np.stack(corner, axis=-1) for corner in corners], axis=1).reshape(-1, 2)
    codes = [Path.MOVETO, Path.LINETO, Path.LINETO, Path.LINETO, Path.CLOSEPOLY]
    return Path(vertices, np.tile(codes, len(row)).astype(Path.code_type))


def returns(found: ReturnSpread) -> Chart:
    """Return the figure of the distribution of returns."""
    edges = [float(edge) for edge in found.edges]
    width = edges[1] - edges[0]
    # Returns beyond the bins have a bar of their own at each end.
    heights = [found.below, *found.counts, found.above]
    left = [edges[0] - 1.4 * width, *edges[:-1], edges[-1] + 0.4 * width]

    def paint(canvas: Canvas) -> None:
        axes = canvas.axes
        colours = [COLOURS["gain" if at + width / 2 > 0 else "loss"] for at in left]
        axes.bar(left, heights, width=width * 0.92, align="edge", color=colours)
        axes.axvline(float(found.median), color=COLOURS["ink"], linewidth=1, linestyle=(0, (4, 3)))
        beyond_half = float(found.median) > (edges[0] + edges[-1]) / 2
        axes.annotate(
            f"median {texts.percent(found.median, signed=True)}",
            (float(found.median), 1),
            xycoords=("data", "axes fraction"),
            xytext=(-5 if beyond_half else 5, -4),
            textcoords="offset points",
            ha="right" if beyond_half else "left",
            va="top",
        )
        axes.set_ylim(0, max(heights) * 1.12)
        decimals = 1 if width >= 0.001 else 2  # noqa: PLR2004  # ticks are several bars apart
        numbered(canvas, "x", lambda value: texts.percent(value, signed=True, decimals=decimals), 9)
        axes.grid(visible=False, axis="x")
        numbered(canvas, "y", lambda value: f"{value:,.0f}", 5)
        axes.set_ylabel("portfolios")

    bounds = [texts.percent(edge, signed=True) for edge in found.edges]
    rows = [
        (f"{low} to {high}", number)
        for low, high, number in zip(bounds, bounds[1:], found.counts, strict=False)
    ]
    if found.below:
        rows.insert(0, (f"below {bounds[0]}", found.below))
    if found.above:
        rows.append((f"{bounds[-1]} and above", found.above))
    highest = (found.highest or found.lowest[::-1])[0]
    title = (
        f"Returns of {counted(found.count, 'portfolio')}: from"
        f" {texts.percent(found.lowest[0].value, signed=True)} to"
        f" {texts.percent(highest.value, signed=True)}"
    )
    beyond = found.below + found.above
    note = "Daily return of the last session, stored to six decimals."
    if beyond:
        note = f"{note} The outer bars hold the {counted(beyond, 'portfolio')} beyond."
    if found.without:
        note = f"{note} {counted(found.without, 'snapshot')} without a return."
    numbers = table(
        rows,
        Column("return", lambda row: row[0], "text"),
        Column("portfolios", lambda row: texts.count(row[1])),
    )
    legend = (("gain", "gain"), ("loss", "loss"))
    return chart("returns", title, note, paint, (260, 230), table=numbers, legend=legend)


def outermost_table(found: ReturnSpread) -> Table:
    """Return the table of the most extreme portfolios."""
    return table(
        [*found.lowest, *reversed(found.highest)],
        Column("portfolio", lambda one: texts.plain(one.name or one.portfolio), "text"),
        Column("return", lambda one: signed_percent(one.value)),
        Column("P&L", lambda one: signed(one.pnl)),
        Column("equity", lambda one: texts.money(one.equity), is_minor=True),
    )


def phases(night: Night) -> Chart | None:
    """Return the figure of seconds by phase, with earlier runs; None if not in the ledger."""
    run, others = night.run, [one for one in night.history[:-1] if one.seconds_by_phase]
    if not run.seconds_by_phase:
        return None
    names = [name for name in PHASES if name in run.seconds_by_phase]

    def paint(canvas: Canvas) -> None:
        axes = canvas.axes
        for at, name in enumerate(names):
            values = [one.seconds_by_phase.get(name, 0.0) for one in others]
            axes.scatter(
                values, [at] * len(values), color=COLOURS["muted"], alpha=0.45, s=26, linewidths=0
            )
            axes.barh(
                at,
                run.seconds_by_phase[name],
                height=0.5,
                color=COLOURS["accent"],
                alpha=0.9,
                zorder=1,
            )
        labelled(canvas, names)
        axes.set_xlim(left=0)
        numbered(canvas, "x", lambda value: f"{value:g}")
        axes.set_xlabel("seconds")

    def before(name: str, pick: Callable[[list[float]], float]) -> str:
        values = [one.seconds_by_phase[name] for one in others if name in one.seconds_by_phase]
        return texts.seconds(pick(values)) if values else texts.NOTHING

    numbers = table(
        names,
        Column("phase", texts.plain, "text"),
        Column("this run", lambda name: texts.seconds(run.seconds_by_phase[name])),
        Column("median before", lambda name: before(name, statistics.median)),
        Column("longest before", lambda name: before(name, max), is_minor=True),
    )
    total = texts.seconds(run.seconds_by_phase.get("total", run.seconds))
    title = f"The run took {total}"
    legend = [("accent", "this run")]
    if others:
        title = f"{title} beside {counted(len(others), 'earlier run')}"
        legend.append(("muted", "each earlier run"))
    note = "Phases overlap, so that they are longer together than the total."
    height = 30 * len(names) + AXIS + 14
    return chart("phases", title, note, paint, (height, height), table=numbers, legend=legend)


def rates(night: Night) -> Chart | None:
    """Return the figure of rows a second of the last runs; None if none of them wrote any."""
    runs = night.history
    if not any(one.rows_written for one in runs):
        return None

    def paint(canvas: Canvas) -> None:
        colours = [COLOURS["accent" if one is runs[-1] else "skipped"] for one in runs]
        canvas.axes.bar(
            range(len(runs)), [one.rows_a_second for one in runs], color=colours, width=0.78
        )
        for at, one in enumerate(runs):
            if one.state in CROSSED:
                canvas.axes.plot(
                    at, one.rows_a_second, marker="x", color=COLOURS["unpriced"], markersize=6
                )
        canvas.axes.set_xlim(-0.7, max(len(runs), 8) - 0.3)
        step_labels(canvas, [one.began.date() for one in runs])
        numbered(canvas, "y", texts.short_money, 5)
        canvas.axes.set_ylabel("rows a second")

    numbers = table(
        reversed(runs),
        Column("began", lambda one: texts.moment(one.began), "text"),
        Column("state", lambda one: one.state, "text"),
        Column("rows", lambda one: texts.count(one.rows_written), is_minor=True),
        Column("seconds", lambda one: texts.seconds(one.seconds), is_minor=True),
        Column("rows a second", lambda one: f"{one.rows_a_second:,.0f}"),
    )
    title = f"{night.run.rows_a_second:,.0f} rows a second"
    legend = [("accent", "this run")]
    if len(runs) > 1:
        title = f"{title}, the last of {counted(len(runs), 'run')}"
        legend.append(("skipped", "earlier runs"))
    note = "Snapshots written by seconds of work."
    if any(one.state in CROSSED for one in runs):
        note = f"{note} A cross is a run that did not end well."
    return chart("rates", title, note, paint, (220, 200), table=numbers, legend=legend)
