"""The figures of the page of a portfolio."""

from __future__ import annotations

import calendar
from collections import defaultdict
from typing import TYPE_CHECKING, Final

from batchcore.pages import texts
from batchcore.pages.charts import (
    AXIS,
    BAR,
    LABEL,
    Cell,
    Chart,
    Heading,
    Table,
    chart,
    dated,
    labelled,
    numbered,
    signed,
    signed_percent,
    text,
)
from batchcore.pages.drawing import COLOURS
from batchcore.words import counted

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from decimal import Decimal

    from batchcore.pages.contents import PeriodReturn, Point, PortfolioPage, Share
    from batchcore.pages.drawing import Canvas

NAMED: Final = 5
"""How many missing sessions are named."""

LISTED: Final = 130
"""Sessions up to which a table has each; of more it has the last of each month."""

HEIGHTS: Final = (280, 230)


def equity(page: PortfolioPage) -> Chart:
    """Return the equity over time, with flows marked."""
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
    listed = _listed(points, keep=lambda point: bool(point.flow))
    rows = tuple(
        (
            Cell(point.session.isoformat()),
            Cell(texts.money(point.equity)),
            signed(point.pnl),
            signed(point.flow),
        )
        for point in reversed(listed)
    )
    heads = (
        Heading("session", "text"),
        Heading("equity"),
        Heading("P&L"),
        Heading("flow", is_minor=True),
    )
    return chart("equity", title, note, paint, HEIGHTS, table=Table(heads, rows))


def pnl(page: PortfolioPage) -> Chart | None:
    """Return the P&L since the first point, split into realized and unrealized."""
    first = page.points[0]
    found = [
        (point, point.cumulative - first.cumulative, point.realized - first.realized)
        for point in page.points
        if None not in (point.cumulative, point.realized, first.cumulative, first.realized)
        and point.cumulative is not None
        and point.realized is not None
        and first.cumulative is not None
        and first.realized is not None
    ]
    if len(found) < 2:  # noqa: PLR2004  # one point has no line
        return None
    days = [point.session for point, _, _ in found]

    def paint(canvas: Canvas) -> None:
        axes = canvas.axes
        axes.axhline(0, color=COLOURS["muted"], linewidth=0.8)
        for role, style, width, values in (
            ("second", "-", 1.4, [realized for _, _, realized in found]),
            ("lookback", "-", 1.4, [total - realized for _, total, realized in found]),
            ("ink", "-", 1.8, [total for _, total, _ in found]),
        ):
            axes.plot(
                days,
                [float(value) for value in values],
                style,
                color=COLOURS[role],
                linewidth=width,
            )
        dated(canvas)
        numbered(canvas, "y", lambda value: texts.short_money(value, signed=True))

    _, total, realized = found[-1]
    made = "made" if total >= 0 else "lost"
    title = (
        f"It {made} {texts.short_money(abs(total))} {page.currency}, realized"
        f" {texts.short_money(realized, signed=True)}"
    )
    listed = {point.session for point in _listed(page.points)}
    rows = tuple(
        (Cell(point.session.isoformat()), *map(signed, (own - part, part, own)))
        for point, own, part in reversed(found)
        if point.session in listed
    )
    heads = (
        Heading("session", "text"),
        Heading("unrealized", is_minor=True),
        Heading("realized"),
        Heading("P&L"),
    )
    note = f"Cumulative P&L since {texts.day(days[0])}; unrealized is P&L less realized."
    legend = (("ink", "P&L"), ("second", "realized"), ("lookback", "unrealized"))
    return chart("pnl", title, note, paint, HEIGHTS, table=Table(heads, rows), legend=legend)


def drawdown(page: PortfolioPage) -> Chart | None:
    """Return how far the returns in all were below their peak; None where one is missing."""
    found = page.drawdown
    known = [(point.session, point.fall) for point in page.points if point.fall is not None]
    if found is None or len(known) < 2:  # noqa: PLR2004  # one point has no line
        return None
    days, falls = [day for day, _ in known], [fall for _, fall in known]

    def paint(canvas: Canvas) -> None:
        axes = canvas.axes
        values = [float(fall) for fall in falls]
        axes.fill_between(days, values, 0, color=COLOURS["loss"], alpha=0.18, linewidth=0)
        axes.plot(days, values, color=COLOURS["loss"], linewidth=1.4)
        axes.axhline(0, color=COLOURS["muted"], linewidth=0.8)
        if found.trough is not None:
            axes.plot(
                found.trough, float(found.depth), marker="o", markersize=6, color=COLOURS["loss"]
            )
        dated(canvas)
        least = min(values)
        decimals = 0 if least < -0.04 else 1 if least < -0.004 else 2  # noqa: PLR2004  # ticks apart
        numbered(
            canvas,
            "y",
            lambda value: texts.percent(min(value, 0.0), decimals=decimals),
        )
        axes.set_ylim(top=max(-least * 0.05, 1e-6))

    if found.peak is None or found.trough is None:
        title = "It was at its peak on every session"
        rows: tuple[tuple[Cell, ...], ...] = ((Cell("largest fall"), Cell(texts.percent(0.0))),)
    else:
        span = f"from {texts.day(found.peak)} to {texts.day(found.trough)}"
        title = f"The largest fall was {texts.percent(abs(found.depth))}, {span}"
        back = "not yet" if found.recovered is None else found.recovered.isoformat()
        rows = (
            (Cell("largest fall"), signed_percent(found.depth)),
            (Cell("peak"), Cell(found.peak.isoformat())),
            (Cell("trough"), Cell(found.trough.isoformat())),
            (Cell("recovered"), Cell(back)),
            (Cell("below the peak on the last session"), signed_percent(found.current)),
        )
    note = "Below the highest value so far of the index of returns, flows left out (W4)."
    table = Table((Heading("", "text"), Heading("")), rows)
    return chart("drawdown", title, note, paint, (220, 190), table=table)


def months(page: PortfolioPage) -> Table | None:
    """Return the table of monthly returns, a row a year with its own; None without any."""
    if not page.months:
        return None
    by_year: dict[int, dict[int, Decimal | None]] = defaultdict(dict)
    for month in page.months:
        by_year[month.year][month.month] = month.value
    in_all = {one.year: one.value for one in page.years}
    rows = []
    for year, values in sorted(by_year.items(), reverse=True):
        cells = [Cell(str(year))]
        for number in range(1, 13):
            value = values.get(number)
            cells.append(
                Cell(
                    texts.percent(value, signed=True, decimals=1).replace("\N{NO-BREAK SPACE}%", "")
                    if number in values
                    else "",
                    texts.tone(value),
                )
            )
        cells.append(signed_percent(in_all.get(year)))
        rows.append(tuple(cells))
    heads = (
        Heading("year", "text"),
        *(Heading(calendar.month_abbr[number]) for number in range(1, 13)),
        Heading("in all"),
    )
    return Table(heads, tuple(rows), is_stacked=True)


def periods(page: PortfolioPage) -> Table | None:
    """Return the table of performance by period; None without any."""
    if not page.periods:
        return None
    heads = [
        Heading("period", "text"),
        Heading("from"),
        Heading("time-weighted"),
        Heading("a year"),
        Heading("money-weighted"),
    ]
    if page.benchmark:
        heads += [Heading(texts.plain(page.benchmark, LABEL)), Heading("difference")]
    heads += [Heading("volatility"), Heading("largest fall")]
    rows = tuple(_period(one, has_benchmark=bool(page.benchmark)) for one in page.periods)
    return Table(tuple(heads), rows, is_stacked=True)


def _period(one: PeriodReturn, *, has_benchmark: bool) -> tuple[Cell, ...]:
    beside = (
        (signed_percent(one.benchmark), signed_percent(one.difference)) if has_benchmark else ()
    )
    return (
        Cell(one.period),
        Cell(texts.day(one.start)),
        signed_percent(one.twr),
        signed_percent(one.twr_annual),
        signed_percent(one.mwr),
        *beside,
        Cell(texts.percent(one.volatility)),
        Cell(texts.percent(one.drawdown)),
    )


def exposures(page: PortfolioPage) -> Chart:
    """Return long, short and net exposure over time."""
    points = page.points

    def paint(canvas: Canvas) -> None:
        canvas.axes.axhline(0, color=COLOURS["muted"], linewidth=0.8)
        _line(canvas, points, lambda point: point.long, "gain")
        _line(canvas, points, lambda point: point.short, "loss")
        _line(canvas, points, lambda point: point.net, "ink", width=1.8)
        dated(canvas)
        numbered(canvas, "y", texts.short_money)

    last = points[-1]
    share = (
        f", {texts.percent(last.net / last.equity, decimals=0)} of the equity"
        if last.equity > 0
        else ""
    )
    title = f"Net exposure was {texts.short_money(last.net)} {page.currency}{share}"
    rows = tuple(
        (
            Cell(point.session.isoformat()),
            *(Cell(texts.money(value)) for value in (point.long, point.short, point.net)),
        )
        for point in reversed(_listed(points))
    )
    heads = (Heading("session", "text"), Heading("long"), Heading("short"), Heading("net"))
    legend = (("gain", "long"), ("loss", "short"), ("ink", "net"))
    note = "Market value of long and short lots at the end of each session, and both together."
    return chart("exposures", title, note, paint, HEIGHTS, table=Table(heads, rows), legend=legend)


def concentration(page: PortfolioPage) -> Chart | None:
    """Return the largest symbols by gross value; None where nothing is held."""
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
    """Return the weights of sectors, beside the benchmark's; None where none are stored."""
    if not page.sectors:
        return None
    first = page.sectors[0]
    share = texts.percent(first.value, decimals=1)
    title = f"{texts.plain(first.key, LABEL)} is the largest sector, {share} of the equity"
    note = f"Absolute values by the equity (A2), as stored with {texts.day(page.sectors_on)}."
    return _shares("sectors", title, note, "sector", page.sectors)


def _shares(name: str, title: str, note: str, what: str, shares: Sequence[Share]) -> Chart:
    has_benchmark = any(one.benchmark is not None for one in shares)
    has_amounts = any(one.amount is not None for one in shares)

    def paint(canvas: Canvas) -> None:
        axes = canvas.axes
        values = [float(one.value) for one in shares]
        colours = [COLOURS["accent" if value >= 0 else "loss"] for value in values]
        axes.barh(range(len(shares)), values, height=0.72, color=colours)
        for at, one in enumerate(shares):
            beside = 0.0 if one.benchmark is None else float(one.benchmark)
            if one.benchmark is not None:
                axes.plot([beside] * 2, [at - 0.36, at + 0.36], color=COLOURS["ink"], linewidth=2)
            axes.annotate(
                texts.percent(one.value, decimals=1),
                (max(values[at], beside, 0.0), at),
                xytext=(5, 0),
                textcoords="offset points",
                va="center",
                color=COLOURS["ink"],
            )
        labelled(canvas, [one.key for one in shares])
        axes.margins(x=0.24 if canvas.is_narrow else 0.1)
        numbered(canvas, "x", lambda value: texts.percent(value, decimals=0))

    heads = [Heading(what, "text"), Heading("share")]
    heads += [Heading("benchmark")] * has_benchmark + [
        Heading("value", is_minor=True)
    ] * has_amounts
    rows = tuple(
        (
            text(one.key),
            Cell(texts.percent(one.value)),
            *[Cell(texts.percent(one.benchmark))] * has_benchmark,
            *[Cell(texts.money(one.amount))] * has_amounts,
        )
        for one in shares
    )
    legend = (
        (("accent", "portfolio"), ("ink", "benchmark, the upright line")) if has_benchmark else ()
    )
    height = BAR * len(shares) + AXIS
    return chart(
        name, title, note, paint, (height, height), table=Table(tuple(heads), rows), legend=legend
    )


def _line(
    canvas: Canvas,
    points: Sequence[Point],
    value: Callable[[Point], Decimal],
    role: str,
    width: float = 1.6,
) -> None:
    days = [point.session for point in points]
    marker = "o" if len(days) == 1 else ""
    values = [float(value(point)) for point in points]
    canvas.axes.plot(days, values, color=COLOURS[role], linewidth=width, marker=marker)


def _listed(
    points: Sequence[Point], keep: Callable[[Point], bool] = lambda _: False
) -> list[Point]:
    """Return all of a few points; of many the last of each month, the first, and those to keep."""
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
