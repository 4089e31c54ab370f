"""The output of the command `demo`, as texts and tables of Rich."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from batchcore.words import counted, differ

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from rich.console import RenderableType
    from rich.table import Table

    from batchcore.demo.run import Demo
    from batchcore.demo.stored import Valuation


def demo_parts(
    done: Demo, run: Mapping[str, Any], sessions: str, marks: str, issues: Sequence[str]
) -> list[RenderableType]:
    """Return the texts and tables of a demo, except the line on its rows."""
    kind = "real closes" if done.size.symbols is None else "a generated market"
    cache, made = run["cache"], counted(done.size.portfolios, "portfolio")
    in_all = cache["hits"] + cache["misses"]
    took = ", ".join(f"{name} {seconds:.2f}" for name, seconds in done.seconds.items())
    return [
        f"{made} with {counted(done.positions, 'position')} on {kind}",
        f"{counted(done.symbols, 'symbol')}, {done.closes:,} closes of them and of factor ETFs",
        sessions,
        _portfolio_table(done),
        *_analytics_tables(done),
        _phase_table(run),
        f"marks: {in_all:,}, {cache['hit_rate'] or 0:.2%} of them hits; {marks}",
        *issues,
        f"seconds: {took}",
    ]


def checked_text(done: Demo) -> str:
    """Return the line that compares the rows of a demo with the reference."""
    checked = done.checked
    rows = counted(checked.rows, "row")
    text = f"{rows} checked against the reference, {differ(checked.differing)}"
    if checked.portfolios == checked.portfolios_in_all:
        return text
    of = counted(checked.portfolios_in_all, "portfolio")
    return f"{text} ({checked.portfolios:,} of {of}, drawn by seed {done.seed})"


def _portfolio_table(done: Demo) -> Table:
    def cells(row: Valuation) -> list[str]:
        amounts = (row.equity, row.pnl, row.realized, row.flow)
        return [f"{row.positions:,}", *(f"{amount:,.2f}" for amount in amounts)]

    shown = [cells(row) for row in done.shown]
    total = cells(done.total)
    table = _table("After the last session, dollars")
    table.add_column("portfolio", no_wrap=True, min_width=8)
    for at, name in enumerate(("lots", "equity", "P&L", "realized", "flows")):
        # a narrow terminal cuts names, never digits
        width = max(len(row[at]) for row in (*shown, total))
        table.add_column(name, justify="right", no_wrap=True, min_width=max(width, len(name)))
    for row, values in zip(done.shown, shown, strict=True):
        table.add_row(row.name, *values)
    table.add_section()
    table.add_row(f"all {int(done.total.name):,}", *total)
    return table


def _analytics_tables(done: Demo) -> list[Table]:
    """Return the table of analytics; none if none were written."""
    shown = [(row.name, (row.beta, row.effective, row.volatility)) for row in done.shown]
    if all(value is None for _, values in shown for value in values):
        return []
    table = _table("After the last session, how they behave")
    table.add_column("portfolio", no_wrap=True, min_width=8)
    for name in ("beta", "positions that count", "volatility"):
        table.add_column(name, justify="right", no_wrap=True)
    for name, (beta, effective, volatility) in shown:
        table.add_row(
            name,
            "" if beta is None else f"{beta:.2f}",
            "" if effective is None else f"{effective:.1f}",
            "" if volatility is None else f"{volatility:.1%}",
        )
    return [table]


def _phase_table(run: Mapping[str, Any]) -> Table:
    statements, seconds = run["statements_by_phase"], run["seconds_by_phase"]
    table = _table(f"The run: {counted(run['rows_written'], 'row')} written")
    table.add_column("phase")
    for name in ("statements", "seconds"):
        table.add_column(name, justify="right")
    for phase in dict.fromkeys([*statements, *seconds]):
        count, spent = statements.get(phase), seconds.get(phase)
        if phase != "total" and (count or spent):
            table.add_row(
                phase,
                "" if count is None else f"{count:,}",
                "" if spent is None else f"{spent:.3f}",
            )
    table.add_section()
    table.add_row("in all", f"{run['statements']:,}", f"{seconds['total']:.3f}")
    return table


def _table(title: str) -> Table:
    from rich import box  # noqa: PLC0415  # only the demo needs it
    from rich.table import Table  # noqa: PLC0415  # likewise

    return Table(title=title, title_justify="left", box=box.SIMPLE, pad_edge=False, padding=(0, 1))
