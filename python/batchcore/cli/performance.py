"""The command `performance`."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any, Final, NamedTuple

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
    """Return a performance as a table, followed by what is not available and why."""
    if len(result) == 0:
        return "no portfolio"
    shown = list(result.rows()[:LISTED])
    columns = _columns(shown, benchmark)
    table = [[one.head for one in columns]]
    table += [[_word(one.cell(row)) for one in columns] for row in shown]
    lines = aligned(table)
    if len(shown) < len(result):
        lines.append(f"{counted(len(result) - len(shown), 'more row')}, which --json lists")
    return "\n".join([*lines, *(f"{of}: {reason}" for of, reason in _reasons(shown))])


def performance_parts(result: Performance, benchmark: str | None) -> Iterable[RenderableType]:
    """Return a performance for a terminal."""
    from batchcore.cli import tables  # noqa: PLC0415  # only on a terminal

    if len(result) == 0:
        yield tables.warn("no portfolio")
        return
    rows = result.rows()
    for of, reason in _reasons(rows[:LISTED]):
        yield tables.warn(f"{of}: {reason}")
    columns, title = _columns(rows, benchmark), ""
    if len({row["portfolio_id"] for row in rows}) == 1:
        columns, title = columns[1:], f"Portfolio {rows[0]['portfolio_id']}"

    def shown(value: object) -> tables.Cell:
        return tables.gain(_word(value)) if isinstance(value, Gain) else _word(value)

    cells = [[shown(one.cell(row)) for one in columns] for row in rows]
    heads = [tables.Column(one.head, right=one.kind is not str, drop=one.drop) for one in columns]
    yield tables.Listing(heads, cells, title=title)


class Share(float):
    """A share of 1, shown in per cent."""


class Gain(Share):
    """A share that is a gain or a loss, shown with its sign."""


class Shown(NamedTuple):
    """A column of a table."""

    head: str
    name: str  # of the column of `Performance`
    kind: Callable[[Any], object] = str
    drop: int = 0  # the higher, the sooner a narrow terminal leaves it out; 0 stays

    def cell(self, row: Row) -> object:
        """Return its cell for a row."""
        value = row[self.name]
        return None if value is None else self.kind(value)


SHOWN: Final = (
    Shown("portfolio", "portfolio_id"),
    Shown("period", "period"),
    Shown("from", "start", drop=3),
    Shown("to", "end", drop=2),
    Shown("sessions", "sessions", int),
    Shown("return", "twr", Gain),
    Shown("a year", "twr_annual", Gain, drop=6),
    Shown("IRR", "mwr", Gain, drop=4),
    Shown("IRR a year", "mwr_annual", Gain, drop=6),
    Shown("volatility", "volatility", Share, drop=5),
    Shown("drawdown", "max_drawdown", Gain, drop=1),
    Shown("peak", "peak", drop=7),
    Shown("trough", "trough", drop=8),
    Shown("recovered", "recovered", drop=9),
)


def _columns(rows: list[Row], benchmark: str | None) -> list[Shown]:
    """Return the columns of a table; what no row has is left out."""
    found = list(SHOWN)
    if benchmark is not None:
        found += [Shown(benchmark, "benchmark", Gain), Shown("difference", "difference", Gain)]
    always = ("portfolio", "period", "sessions", "return", benchmark)
    return [
        one for one in found if one.head in always or any(one.cell(row) is not None for row in rows)
    ]


def _reasons(rows: list[Row]) -> Iterator[tuple[str, str]]:
    """Yield what is not available; for several portfolios with the portfolio."""
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
