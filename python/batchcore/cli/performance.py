"""The command `performance`."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any, Final

import batchcore
from batchcore.cli import options as given
from batchcore.cli.app import Call, command
from batchcore.cli.exits import DONE, NOTHING_TO_DO
from batchcore.cli.options import Date, PortfolioIds, option
from batchcore.cli.output import LISTED, aligned, showing_progress
from batchcore.cli.signals import finish
from batchcore.config import Settings
from batchcore.words import counted

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator

    from rich.console import RenderableType

    from batchcore.returns.result import Performance

    Row = dict[str, Any]

PERCENT: Final = 100


@command("performance", given.derived(only=("calendar", "lookback_days")))
def performance(
    call: Call,
    *,
    portfolio: PortfolioIds = None,
    period: Annotated[
        list[str] | None,
        option("NAME", "1D, MTD, QTD, YTD, 1Y, 3Y, 5Y or ITD, repeatable; default: all."),
    ] = None,
    start: Annotated[Date, given.date_option("First day of a range instead of periods.")] = None,
    end: Annotated[Date, given.date_option("Last day; default: each latest snapshot.")] = None,
    inflows: Annotated[
        str, option("end|start", "Whether inflows count at the end or start of a session.")
    ] = "end",
    benchmark: Annotated[
        str | None, option("SYMBOL", "Symbol to compare with.", show_default=False)
    ] = None,
    **options: Any,  # noqa: ANN401  # of `RunOptions`
) -> int:
    """Show returns, drawdowns and volatility of stored snapshots."""
    lookback_days = options.pop("lookback_days")
    options["settings"] = Settings(schema=call.schema, lookback_days=lookback_days)
    with showing_progress() as progress:
        work = batchcore.performance(
            call.url,
            portfolio,
            periods=period or None,
            start=start,
            end=end,
            inflows=inflows,
            benchmark=benchmark,
            progress=progress,
            **options,
        )
        result = finish(work)
    call.answer(
        result.to_dict(),
        lambda: performance_text(result, benchmark),
        lambda: performance_parts(result, benchmark),
    )
    return DONE if result.sessions.any() else NOTHING_TO_DO


def performance_text(result: Performance, benchmark: str | None) -> str:
    """Return a performance as a table, and below it what is not available and why."""
    if len(result) == 0:
        return "no portfolio"
    shown = list(result.rows()[:LISTED])
    named = _columns(shown, benchmark)
    table = [[name for name, _ in named]]
    table += [[_word(cell(row)) for _, cell in named] for row in shown]
    lines = aligned(table)
    if len(shown) < len(result):
        lines.append(f"{counted(len(result) - len(shown), 'more row')}, which --json lists")
    return "\n".join([*lines, *(f"{of}: {reason}" for of, reason in _reasons(shown))])


def performance_parts(result: Performance, benchmark: str | None) -> Iterable[RenderableType]:
    """Return the same for a terminal."""
    from batchcore.cli import tables  # noqa: PLC0415  # only on a terminal

    if len(result) == 0:
        yield tables.warn("no portfolio")
        return
    rows = result.rows()
    for of, reason in _reasons(rows[:LISTED]):
        yield tables.warn(f"{of}: {reason}")
    named, title = _columns(rows, benchmark), ""
    if len({row["portfolio_id"] for row in rows}) == 1:
        named, title = named[1:], f"Portfolio {rows[0]['portfolio_id']}"
    columns = [
        tables.Column(name, right=name not in TEXTS, drop=DROPPED.get(name, 0)) for name, _ in named
    ]

    def shown(value: object) -> tables.Cell:
        return tables.gain(_word(value)) if isinstance(value, Gain) else _word(value)

    cells = [[shown(cell(row)) for _, cell in named] for row in rows]
    yield tables.Listing(columns, cells, title=title)


class Share(float):
    """A share of 1, shown in per cent."""


class Gain(Share):
    """One that is a gain or a loss, shown with its sign."""


TEXTS: Final = ("portfolio", "period", "from", "to", "peak", "trough", "recovered")
DROPPED: Final = {
    "recovered": 9,
    "trough": 8,
    "peak": 7,
    "a year": 6,
    "IRR a year": 6,
    "volatility": 5,
    "IRR": 4,
    "from": 3,
    "to": 2,
    "drawdown": 1,
}
"""Columns that are left out first where the terminal is narrow, by rank."""

_FIGURES: Final = {
    "return": ("twr", Gain),
    "a year": ("twr_annual", Gain),
    "IRR": ("mwr", Gain),
    "IRR a year": ("mwr_annual", Gain),
    "volatility": ("volatility", Share),
    "drawdown": ("max_drawdown", Gain),
}


def _columns(rows: list[Row], benchmark: str | None) -> list[tuple[str, Callable[[Row], object]]]:
    """Return heads and cells of a table; what no row has is left out."""

    def of(name: str, kind: Callable[[Any], object] = str) -> Callable[[Row], object]:
        return lambda row: None if row[name] is None else kind(row[name])

    found = [
        ("portfolio", of("portfolio_id")),
        ("period", of("period")),
        ("from", of("start")),
        ("to", of("end")),
        ("sessions", of("sessions", int)),
        *((head, of(name, kind)) for head, (name, kind) in _FIGURES.items()),
        *((name, of(name)) for name in ("peak", "trough", "recovered")),
    ]
    if benchmark is not None:
        found += [(benchmark, of("benchmark", Gain)), ("difference", of("difference", Gain))]
    always = ("portfolio", "period", "sessions", "return", benchmark)
    return [
        (head, cell)
        for head, cell in found
        if head in always or any(cell(row) is not None for row in rows)
    ]


def _reasons(rows: list[Row]) -> Iterator[tuple[str, str]]:
    """Give what is not available; of several portfolios with the portfolio."""
    several = len({row["portfolio_id"] for row in rows}) > 1
    for row in rows:
        if row["reason"] is not None:
            owner = f"{row['portfolio_id']} " if several else ""
            yield f"{owner}{row['period']}", row["reason"]


def _word(value: object) -> str:
    match value:
        case None:
            return "-"
        case Share():
            text = f"{value * PERCENT:.2f} %"
            if not isinstance(value, Gain) or not any(digit in text for digit in "123456789"):
                return text.removeprefix("-")
            return text if value < 0 else f"+{text}"
        case int():
            return f"{value:,}"
    return f"{value}"
