"""The figures of the page of a portfolio."""

from __future__ import annotations

import calendar
import math
from typing import TYPE_CHECKING, Any, Final

from batchcore.pages import texts
from batchcore.pages.charts import (
    AXIS,
    BAR,
    LABEL,
    Cell,
    Chart,
    Column,
    Table,
    beside,
    chart,
    dated,
    labelled,
    numbered,
    signed,
    signed_percent,
    table,
)
from batchcore.pages.drawing import COLOURS, Canvas
from batchcore.words import counted

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence
    from decimal import Decimal

    from batchcore.pages.contents import Point, PortfolioPage, Share

NAMED: Final = 5
"""Number of missing sessions that are named."""

LISTED: Final = 130
"""Maximum sessions of a table that has each of them; otherwise it has the last of each month."""

HEIGHTS: Final = (280, 230)


def equity(page: PortfolioPage) -> Chart:
    """Return the figure of equity over time, with flows marked."""
    points = page.points
    flows = [point for point in points if point.flow]

    def paint(canvas: Canvas) -> None:
        axes = canvas.axes
        _line(canvas, points, lambda point: point.equity, "accent")
        for point in flows:
            is_in = point.flow is not None and point.flow > 0
            axes.plot(
                point.session,
                float(point.equity),
                marker="^" if is_in else "v",
                markersize=9,
                color=COLOURS["gain" if is_in else "loss"],
                markeredgecolor=COLOURS["card"],
            )
        dated(canvas)
        numbered(canvas, "y", texts.short_money)

    first, last = points[0], points[-1]
    title = (
        f"Equity was {texts.short_money(last.equity)} {page.currency} on {texts.day(last.session)}"
    )
    note = f"At the end of each session, from {texts.day(first.session)}."
    if flows:
        note = (
            f"{note} Triangles are the sessions of {counted(len(flows), 'flow')}: up for"
            " contributions, down for withdrawals."
        )
    if page.missing:
        named = ", ".join(map(texts.day, page.missing[:NAMED]))
        others = len(page.missing) - NAMED
        more = f" and {others:,} more" if others > 0 else ""
        note = f"{note} Without a snapshot: {named}{more}."
    numbers = table(
        reversed(_listed(points, keep=lambda point: bool(point.flow))),
        Column("session", lambda point: point.session.isoformat(), "text"),
        Column("equity", lambda point: texts.money(point.equity)),
        Column("P&L", lambda point: signed(point.pnl)),
        Column("flow", lambda point: signed(point.flow), is_minor=True),
    )
    return chart("equity", title, note, paint, HEIGHTS, table=numbers)


def pnl(page: PortfolioPage) -> Chart | None:
    """Return the figure of P&L since the first point, realized and unrealized."""
    first = page.points[0]
    days, totals, parts = [], [], []
    for point in page.points:
        if (
            point.cumulative is not None
            and point.realized is not None
            and first.cumulative is not None
            and first.realized is not None
        ):
            days.append(point.session)
            totals.append(point.cumulative - first.cumulative)
            parts.append(point.realized - first.realized)
    if len(days) < 2:  # noqa: PLR2004  # one point has no line
        return None
    rest = [total - part for total, part in zip(totals, parts, strict=True)]

    def paint(canvas: Canvas) -> None:
        axes = canvas.axes
        axes.axhline(0, color=COLOURS["muted"], linewidth=0.8)
        for role, width, values in (
            ("second", 1.4, parts),
            ("lookback", 1.4, rest),
            ("ink", 1.8, totals),
        ):
            axes.plot(days, [float(one) for one in values], color=COLOURS[role], linewidth=width)
        dated(canvas)
        numbered(canvas, "y", lambda value: texts.short_money(value, signed=True))

    made = "made" if totals[-1] >= 0 else "lost"
    title = (
        f"It {made} {texts.short_money(abs(totals[-1]))} {page.currency}, realized"
        f" {texts.short_money(parts[-1], signed=True)}"
    )
    listed = {point.session for point in _listed(page.points)}
    numbers = table(
        [at for at, day in reversed(list(enumerate(days))) if day in listed],
        Column("session", lambda at: days[at].isoformat(), "text"),
        Column("unrealized", lambda at: signed(rest[at]), is_minor=True),
        Column("realized", lambda at: signed(parts[at])),
        Column("P&L", lambda at: signed(totals[at])),
    )
    note = f"Cumulative P&L since {texts.day(days[0])}; unrealized is P&L less realized."
    legend = (("ink", "P&L"), ("second", "realized"), ("lookback", "unrealized"))
    return chart("pnl", title, note, paint, HEIGHTS, table=numbers, legend=legend)


def drawdown(page: PortfolioPage) -> Chart | None:
    """Return the figure of how far total returns were below their peak; None if one is missing."""
    found = page.drawdown
    known = [(point.session, point.fall) for point in page.points if point.fall is not None]
    if found is None or len(known) < 2:  # noqa: PLR2004  # one point has no line
        return None
    days, values = [day for day, _ in known], [float(fall) for _, fall in known]
    depth, trough = found["max_drawdown"], found["trough"]

    def paint(canvas: Canvas) -> None:
        axes = canvas.axes
        axes.fill_between(days, values, 0, color=COLOURS["loss"], alpha=0.18, linewidth=0)
        axes.plot(days, values, color=COLOURS["loss"], linewidth=1.4)
        axes.axhline(0, color=COLOURS["muted"], linewidth=0.8)
        if trough is not None:
            axes.plot(trough, float(depth), marker="o", markersize=6, color=COLOURS["loss"])
        dated(canvas)
        least = min(values)
        decimals = 0 if least < -0.04 else 1 if least < -0.004 else 2  # noqa: PLR2004  # ticks apart
        numbered(canvas, "y", lambda value: texts.percent(min(value, 0.0), decimals=decimals))
        axes.set_ylim(top=max(-least * 0.05, 1e-6))

    rows: list[tuple[str, Cell | str]]
    if trough is None:
        title = "It was at its peak on every session"
        rows = [("largest fall", texts.percent(0.0))]
    else:
        span = f"from {texts.day(found['peak'])} to {texts.day(trough)}"
        title = f"The largest fall was {texts.percent(abs(depth))}, {span}"
        back = "not yet" if found["recovered"] is None else found["recovered"].isoformat()
        rows = [
            ("largest fall", signed_percent(depth)),
            ("peak", found["peak"].isoformat()),
            ("trough", trough.isoformat()),
            ("recovered", back),
            ("below the peak on the last session", signed_percent(found["current_drawdown"])),
        ]
    note = "Below the highest value so far of the index of returns, flows left out (W4)."
    numbers = table(rows, Column("", lambda row: row[0], "text"), Column("", lambda row: row[1]))
    return chart("drawdown", title, note, paint, (220, 190), table=numbers)


def months(page: PortfolioPage) -> Table | None:
    """Return the table of monthly returns, a row for each year with its total; None without any."""
    if not page.months:
        return None

    def of_month(month: int) -> Column[int]:
        def cell(year: int) -> Cell:
            if (year, month) not in page.months:
                return Cell("")
            value = page.months[year, month]
            text = texts.percent(value, signed=True, decimals=1)
            return Cell(text.removesuffix("\N{NO-BREAK SPACE}%"), texts.tone(value))

        return Column(calendar.month_abbr[month], cell)

    return table(
        sorted({year for year, _ in page.months}, reverse=True),
        Column("year", lambda year: f"{year}", "text"),
        *map(of_month, range(1, 13)),
        Column("in all", lambda year: signed_percent(page.years.get(year))),
        is_stacked=True,
    )


def periods(page: PortfolioPage) -> Table | None:
    """Return the table of performance by period; None without any."""
    if not page.periods:
        return None

    def returned(head: str, name: str) -> Column[Mapping[str, Any]]:
        return Column(head, lambda row: signed_percent(row[name]))

    compared = []
    if page.benchmark:
        compared = [
            returned(texts.plain(page.benchmark, LABEL), "benchmark"),
            returned("difference", "difference"),
        ]
    return table(
        page.periods,
        Column("period", lambda row: row["period"], "text"),
        Column("from", lambda row: texts.day(row["start"])),
        returned("time-weighted", "twr"),
        returned("a year", "twr_annual"),
        returned("money-weighted", "mwr"),
        *compared,
        Column("volatility", lambda row: texts.percent(row["volatility"])),
        Column("largest fall", lambda row: texts.percent(row["max_drawdown"])),
        is_stacked=True,
    )


def exposures(page: PortfolioPage) -> Chart:
    """Return the figure of long, short and net exposure over time."""
    points = page.points

    def paint(canvas: Canvas) -> None:
        canvas.axes.axhline(0, color=COLOURS["muted"], linewidth=0.8)
        _line(canvas, points, lambda point: point.long, "gain")
        _line(canvas, points, lambda point: point.short, "loss")
        _line(canvas, points, lambda point: point.net, "ink", width=1.8)
        dated(canvas)
        numbered(canvas, "y", texts.short_money)

    last = points[-1]
    title = "Net exposure is not a finite number"
    if last.net is not None:
        title = f"Net exposure was {texts.short_money(last.net)} {page.currency}"
        if last.equity > 0:
            title += f", {texts.percent(last.net / last.equity, decimals=0)} of the equity"
    numbers = table(
        reversed(_listed(points)),
        Column("session", lambda point: point.session.isoformat(), "text"),
        Column("long", lambda point: texts.money(point.long)),
        Column("short", lambda point: texts.money(point.short)),
        Column("net", lambda point: texts.money(point.net)),
    )
    legend = (("gain", "long"), ("loss", "short"), ("ink", "net"))
    note = "Market value of long and short lots at the end of each session, and both together."
    return chart("exposures", title, note, paint, HEIGHTS, table=numbers, legend=legend)


def concentration(page: PortfolioPage) -> Chart | None:
    """Return the figure of the largest symbols by gross value; None if nothing is held."""
    if not page.holdings:
        return None
    first, last = page.holdings[0], page.points[-1]
    share = texts.percent(first.value, decimals=1)
    title = f"{texts.plain(first.key, LABEL)} is {share} of what is held"
    note = f"Market value of symbols on {texts.day(last.session)}, of the gross value of all."
    if last.top_3 is not None and last.top_10 is not None:
        note = (
            f"{note} The three largest positions are {texts.percent(last.top_3, decimals=1)},"
            f" the ten largest {texts.percent(last.top_10, decimals=1)} (A3)."
        )
    return _shares("concentration", title, note, "symbol", page.holdings)


def sectors(page: PortfolioPage) -> Chart | None:
    """Return the figure of sector weights, with the benchmark's; None if none are stored."""
    if not page.sectors:
        return None
    first = page.sectors[0]
    share = texts.percent(first.value, decimals=1)
    title = f"{texts.plain(first.key, LABEL)} is the largest sector, {share} of the equity"
    note = f"Absolute values by the equity (A2), as stored with {texts.day(page.sectors_on)}."
    return _shares("sectors", title, note, "sector", page.sectors)


def _shares(name: str, title: str, note: str, what: str, shares: Sequence[Share]) -> Chart:
    def paint(canvas: Canvas) -> None:
        axes = canvas.axes
        values = [float(one.value) for one in shares]
        colours = [COLOURS["accent" if value >= 0 else "loss"] for value in values]
        axes.barh(range(len(shares)), values, height=0.72, color=colours)
        for at, one in enumerate(shares):
            end = max(values[at], 0.0)
            if one.benchmark is not None:
                line = float(one.benchmark)
                axes.plot([line] * 2, [at - 0.36, at + 0.36], color=COLOURS["ink"], linewidth=2)
                end = max(end, line)
            beside(canvas, texts.percent(one.value, decimals=1), (end, at))
        labelled(canvas, [one.key for one in shares])
        axes.margins(x=0.24 if canvas.is_narrow else 0.1)
        numbered(canvas, "x", lambda value: texts.percent(value, decimals=0))

    columns: list[Column[Share]] = [
        Column(what, lambda one: texts.plain(one.key), "text"),
        Column("share", lambda one: texts.percent(one.value)),
    ]
    legend = []
    if any(one.benchmark is not None for one in shares):
        columns.append(Column("benchmark", lambda one: texts.percent(one.benchmark)))
        legend = [("accent", "portfolio"), ("ink", "benchmark, the upright line")]
    if any(one.amount is not None for one in shares):
        columns.append(Column("value", lambda one: texts.money(one.amount), is_minor=True))
    heights = (BAR * len(shares) + AXIS, BAR * len(shares) + AXIS)
    numbers = table(shares, *columns)
    return chart(name, title, note, paint, heights, table=numbers, legend=legend)


def _line(
    canvas: Canvas,
    points: Sequence[Point],
    value: Callable[[Point], Decimal | None],
    role: str,
    width: float = 1.6,
) -> None:
    days = [point.session for point in points]
    marker = "o" if len(days) == 1 else ""
    values = [math.nan if (own := value(point)) is None else float(own) for point in points]
    canvas.axes.plot(days, values, color=COLOURS[role], linewidth=width, marker=marker)


def _listed(
    points: Sequence[Point], keep: Callable[[Point], bool] = lambda _: False
) -> list[Point]:
    """Return all points if few, else the last of each month, the first, and those to keep."""
    if len(points) <= LISTED:
        return list(points)
    return [
        point
        for at, point in enumerate(points)
        if at in (0, len(points) - 1)
        or keep(point)
        or (point.session.year, point.session.month)
        != (points[at + 1].session.year, points[at + 1].session.month)
    ]
