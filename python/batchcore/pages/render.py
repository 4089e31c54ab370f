"""Pages as HTML: one file, no script, nothing that is loaded from elsewhere."""

from __future__ import annotations

import datetime as dt
from dataclasses import dataclass
from decimal import Decimal
from typing import TYPE_CHECKING, Any, Final

from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup

from batchcore import about
from batchcore.config import shard_text
from batchcore.pages import charts, night_charts, portfolio_charts, texts
from batchcore.pages.advice import advice
from batchcore.pages.charts import Cell, Chart, Heading, Table
from batchcore.pages.contents import FINDINGS
from batchcore.words import counted, differ

if TYPE_CHECKING:
    from collections.abc import Sequence

    from batchcore.pages.contents import (
        Attribution,
        IssueCount,
        Night,
        PortfolioPage,
        Verified,
    )
    from batchcore.run.result import ShardResult

OUTCOMES: Final = {
    "complete": "good",
    "incomplete": "warning",
    "failed": "bad",
    "interrupted": "bad",
    "stuck": "bad",
    "missing": "bad",
    "superseded": "warning",
    "running": "plain",
}
"""How serious each state of a run is."""

MONTHS_LEAD: Final = (
    "Time-weighted (W2), in percent. A dash: a session of the month or year has no return, or no"
    " snapshot."
)
NO_NUMBER: Final = (
    "A stored daily_pnl is NULL or no finite number, so that there is no P&L to explain:"
    " batchcore verify names the row."
)

LONGEST_NOTE: Final = 300
"""Characters of a note at most."""


@dataclass(frozen=True, slots=True)
class Tile:
    """A number at the top of a page."""

    label: str
    value: str
    note: str = ""
    tone: str = ""


@dataclass(frozen=True, slots=True)
class Section:
    """A part of a page.

    Attributes:
        name: Where links lead to.
        title: Its heading.
        charts: Its figures.
        table: A table that is always open, or None.
        warning: What is wrong with it, at its top.
        lead: A sentence above the table.
        notes: Lines below it.
        absent: Why there is nothing to show; empty where there is.
    """

    name: str
    title: str
    charts: tuple[Chart, ...] = ()
    table: Table | None = None
    warning: str = ""
    lead: str = ""
    notes: tuple[str, ...] = ()
    absent: str = ""


def night_page(night: Night) -> str:
    """Return the page of a night."""
    run = night.run
    day = night.session or run.end or run.began.date()
    return _page(
        title=f"Night of {texts.weekday(day)}",
        kind="night",
        outcome=outcome(night),
        tone=OUTCOMES.get(run.state, "plain"),
        error=run.error or "",
        tiles=_night_tiles(night),
        sections=_night_sections(night),
        foot=(
            f"{_kind(night).capitalize()} {run.run_id}, policy {run.policy}, attempt {run.attempt};"
            f" began {texts.moment(run.began)}, ended {texts.moment(run.ended)}."
        ),
    )


def portfolio_page(page: PortfolioPage) -> str:
    """Return the page of a portfolio."""
    first, last = page.points[0], page.points[-1]
    span = texts.day(last.session)
    if len(page.points) > 1:
        span = f"{texts.day(first.session)} to {span}"
    return _page(
        title=texts.plain(page.name or page.portfolio),
        kind="portfolio",
        outcome=(
            f"{span}, {counted(len(page.points), 'session')}, amounts in"
            f" {texts.plain(page.currency)}."
        ),
        tone="plain",
        error="",
        tiles=_portfolio_tiles(page),
        sections=_portfolio_sections(page),
        foot=f"Portfolio {page.portfolio}.",
    )


def _kind(night: Night) -> str:
    """Return what `batchcore status` shows the night by."""
    return "group" if night.shards else "run"


def _status(night: Night) -> str:
    """Return the command that shows the night in full."""
    return f"batchcore status --{_kind(night)} {night.run.run_id}"


def outcome(night: Night) -> str:
    """Return how a run ended, in one sentence."""
    run, took = night.run, texts.seconds(night.run.seconds)
    of = "" if run.portfolios is None else f" of {counted(run.portfolios, 'portfolio')}"
    done = f"{counted(run.rows_written, 'snapshot')}{of}"
    if run.state == "complete" and not run.rows_written:
        return f"There was nothing to write{of}; it took {took}."
    missing = ", ".join(shard_text(one.shard) for one in night.shards if one.state == "missing")
    sentences = {
        "complete": f"All well: {done} written in {took}.",
        "incomplete": f"{counted(run.failed, 'portfolio')} failed; {done} written in {took}.",
        "failed": f"The run failed after {took}; {done} written before stay.",
        "interrupted": f"The run was interrupted after {took}; {done} written before stay.",
        "missing": f"Shards have not begun: {missing}; {done} written so far.",
        "stuck": f"The run is stuck: its lease has expired; {done} written so far.",
        "superseded": f"Another run has taken the place of this one; {done} written before stay.",
    }
    return sentences.get(run.state, f"The run is at work; {done} written so far.")


def _night_tiles(night: Night) -> list[Tile]:
    totals, run = night.totals, night.run
    tiles = []
    if totals is not None:
        unit = "of several currencies" if totals.currency is None else totals.currency
        tiles += [
            Tile(
                "P&L",
                texts.short_money(totals.pnl, signed=True),
                f"{texts.money(totals.pnl, signed=True)} {unit}".strip(),
                texts.tone(totals.pnl),
            ),
            Tile(
                "Equity",
                texts.short_money(totals.equity),
                f"{texts.money(totals.equity)} {unit}".strip(),
            ),
            Tile(
                "Portfolios",
                texts.count(totals.portfolios),
                f"{totals.losing:,} of them lost",
            ),
            Tile(
                "Flows",
                texts.short_money(totals.flow, signed=True),
                "contributions less withdrawals",
            ),
        ]
    failed = Tile("Failed", texts.count(run.failed), "portfolios", "loss" if run.failed else "")
    speed = Tile(
        "Rows a second",
        f"{run.rows_a_second:,.0f}",
        f"{texts.count(run.rows_written)} in {texts.seconds(run.seconds)}",
    )
    return [*tiles, failed, speed]


def _night_sections(night: Night) -> list[Section]:
    day = texts.day(night.session)
    without_rows = "No complete snapshot of the session is stored."
    sections = [
        Section(
            "issues",
            "What needs attention",
            table=_issue_table(night.issues),
            warning=_deleted(night.deleted),
            absent="" if night.issues else "The run noticed nothing.",
        ),
    ]
    if night.failed:
        more = night.run.failed - len(night.failed)
        lead = f"{more:,} more failed; {_status(night)} names them." if more > 0 else ""
        sections.append(
            Section("failed", "Portfolios that failed", table=_failed_table(night), lead=lead)
        )
    if night.shards:
        sections.append(Section("shards", "Shards", table=_shard_table(night.shards)))
    if night.findings is not None:
        sections.append(_checks(night))
    sections += [
        _section(
            "statuses",
            "Portfolios by status",
            night_charts.statuses(night.statuses),
            "The ledger does not say how its portfolios were marked.",
        ),
        _attributed(
            "pnl",
            f"P&L of {day}",
            without_rows if night.totals is None else NO_NUMBER,
            night.by_symbol,
            night.by_sector,
        ),
        _returns(night, without_rows),
        _section(
            "coverage",
            "Prices",
            night_charts.coverage(night),
            "There is no session to look at.",
            *_marks(night),
        ),
        _section(
            "speed",
            "How fast it was",
            night_charts.phases(night),
            "Nothing was written in the runs that the ledger has.",
            *_kept(night_charts.rates(night)),
        ),
    ]
    if night.verified is not None:
        sections.append(_verified(night.verified, day))
    return sections


def _checks(night: Night) -> Section:
    """Return a section of what the checks of prices found."""
    title, found = "Checks of prices", night.findings
    if not found:
        return Section("checks", title, absent="The closes of the symbols held are not odd.")
    lead = ""
    if len(found) > FINDINGS:
        lead = f"The first; {_status(night)} names all."
    heads = (
        Heading("symbol", "text"),
        Heading("check", "text"),
        Heading("session", "text"),
        Heading("findings", is_minor=True),
        Heading("the first", "text"),
    )
    rows = (
        (
            Cell(texts.plain(one.symbol)),
            Cell(one.name),
            Cell(one.session.isoformat()),
            Cell(texts.count(one.count)),
            Cell(texts.plain(one.detail, 120)),
        )
        for one in found[:FINDINGS]
    )
    return Section("checks", title, table=Table(heads, tuple(rows)), lead=lead)


def _deleted(count: int) -> str:
    """Return that portfolios of the run are there no more; empty where all are."""
    if not count:
        return ""
    left = "it is" if count == 1 else "they are"
    return (
        f"{counted(count, 'portfolio')} that the run was asked for cannot be found any more:"
        f" {left} left out of what follows."
    )


def _kept(*found: Chart | None) -> list[Chart]:
    return [one for one in found if one is not None]


def _section(name: str, title: str, first: Chart | None, absent: str, *others: Chart) -> Section:
    shown = (*_kept(first), *others)
    return Section(name, title, shown, absent="" if shown else absent)


def _attributed(
    name: str, title: str, absent: str, by_symbol: Attribution | None, by_sector: Attribution | None
) -> Section:
    """Return a section of what made a P&L, by symbol and by sector."""
    named = (("symbol", by_symbol), ("sector", by_sector))
    shown = _kept(
        *(charts.contributions(f"{name}-{what}", what, found) for what, found in named if found)
    )
    if by_symbol is not None:
        absent = "No lot made or lost anything."
    warning = " ".join(filter(None, (_mixed(by_symbol), _not_explained(by_symbol, by_sector))))
    return Section(name, title, tuple(shown), warning=warning, absent="" if shown else absent)


def _mixed(found: Attribution | None) -> str:
    """Return that sums are of several currencies; empty where they are not."""
    if found is None or not found.currencies:
        return ""
    return f"Amounts are in each portfolio's currency, and sums mix {', '.join(found.currencies)}."


def _not_explained(*found: Attribution | None) -> str:
    """Return that the lots do not add up to a stored P&L; empty where they do."""
    for one in found:
        if one is not None and not one.explained:
            return (
                f"Not explained: the lots as they are now miss the stored P&L by"
                f" {texts.money(one.rounding, signed=True)}; data were changed since."
            )
    return ""


def _marks(night: Night) -> list[Chart]:
    return _kept(night_charts.marks(night.marks))


def _returns(night: Night, absent: str) -> Section:
    found = night.returns
    if found is None:
        return Section("returns", "Returns", absent=absent)
    shown = _kept(night_charts.returns(found))
    title = f"Returns on {texts.day(night.session)}"
    lead = f"The outermost {counted(len(found.lowest) + len(found.highest), 'portfolio')}:"
    return Section("returns", title, tuple(shown), night_charts.outermost_table(found), lead=lead)


def _issue_table(issues: Sequence[IssueCount]) -> Table | None:
    if not issues:
        return None
    heads = (
        Heading("issue", "text"),
        Heading("count"),
        Heading("portfolios", is_minor=True),
        Heading("symbols", is_minor=True),
        Heading("what to do", "text"),
        Heading("for example", "text", is_minor=True),
    )
    rows = tuple(
        (
            Cell(one.name, "loss" if one.failed else ""),
            Cell(texts.count(one.count)),
            Cell(f"{one.portfolios:,}" if one.portfolios else texts.NOTHING),
            Cell(f"{one.symbols:,}" if one.symbols else texts.NOTHING),
            Cell(advice(one.name)),
            Cell(texts.plain(one.example, 120)),
        )
        for one in issues
    )
    return Table(heads, rows)


def _shard_table(shards: Sequence[ShardResult]) -> Table:
    heads = (
        Heading("shard", "text"),
        Heading("state", "text"),
        Heading("attempts", is_minor=True),
        Heading("portfolios", is_minor=True),
        Heading("failed"),
        Heading("rows"),
        Heading("seconds", is_minor=True),
        Heading("why", "text", is_minor=True),
    )
    rows = (
        (
            Cell(shard_text(one.shard)),
            Cell(one.state, "" if one.state == "complete" else "loss"),
            Cell(texts.count(one.attempt)),
            Cell(texts.count(one.portfolios)),
            Cell(texts.count(one.failed), "loss" if one.failed else ""),
            Cell(texts.count(one.rows_written)),
            Cell(f"{one.seconds:,.1f}"),
            Cell(texts.plain(one.error or "", 160)),
        )
        for one in shards
    )
    return Table(heads, tuple(rows))


def _failed_table(night: Night) -> Table:
    heads = (Heading("portfolio", "text"), Heading("why", "text"))
    rows = (
        (Cell(texts.plain(one.name or one.portfolio)), Cell(texts.plain(one.reason, 160)))
        for one in night.failed
    )
    return Table(heads, tuple(rows))


def _verified(found: Verified, day: str) -> Section:
    if not found.rows:
        absent = (
            "No complete snapshot of the last session is stored, so there was none to recompute."
        )
        return Section("verified", "What verify found", absent=absent)
    checked = (
        f"{counted(found.rows, 'snapshot')} recomputed, {counted(found.cells, 'cell')} compared"
    )
    lead = f"Of {day} alone: {checked}; {differ(found.rows_differing)}."
    rows = [
        (Cell(name), Cell(texts.count(number), "loss")) for name, number in found.differing.items()
    ]
    rows += [
        (Cell(f"not checkable: {name}"), Cell(texts.count(number)))
        for name, number in found.not_checkable.items()
    ]
    heads = (Heading("column or reason", "text"), Heading("cells"))
    return Section(
        "verified",
        "What verify found",
        lead=lead,
        table=Table(heads, tuple(rows)) if rows else None,
    )


def _portfolio_tiles(page: PortfolioPage) -> list[Tile]:
    first, last = page.points[0], page.points[-1]
    tiles = [Tile("Equity", texts.short_money(last.equity), texts.money(last.equity))]
    if len(page.points) > 1 and last.cumulative is not None and first.cumulative is not None:
        made = last.cumulative - first.cumulative
        tiles.append(
            Tile(
                "P&L",
                texts.short_money(made, signed=True),
                texts.money(made, signed=True),
                texts.tone(made),
            )
        )
    if len(page.points) > 1:
        tiles.append(
            Tile(
                "Return",
                texts.percent(last.twr, signed=True),
                "time-weighted",
                texts.tone(last.twr),
            )
        )
        flows = sum((point.flow for point in page.points[1:] if point.flow), start=Decimal(0))
        tiles.append(
            Tile("Flows", texts.short_money(flows, signed=True), "contributions less withdrawals")
        )
    fall = page.drawdown
    if fall is not None:
        tiles.append(
            Tile(
                "Largest fall",
                texts.percent(abs(fall.depth)),
                f"{texts.percent(abs(fall.current))} below the peak at the end",
                texts.tone(fall.depth),
            )
        )
    tiles.append(
        Tile(
            "Last session",
            texts.percent(None) if last.pnl is None else texts.short_money(last.pnl, signed=True),
            texts.day(last.session),
            texts.tone(last.pnl),
        )
    )
    return tiles


def _portfolio_sections(page: PortfolioPage) -> list[Section]:
    single = "There is one snapshot alone."
    return [
        Section("equity", "Equity", (portfolio_charts.equity(page),)),
        _section("pnl", "P&L", portfolio_charts.pnl(page), single),
        _section(
            "drawdown",
            "Drawdown",
            portfolio_charts.drawdown(page),
            single
            if len(page.points) == 1
            else texts.plain(f"Not available: {page.no_returns}.", LONGEST_NOTE),
        ),
        Section(
            "months",
            "Monthly returns",
            table=portfolio_charts.months(page),
            lead=MONTHS_LEAD if page.months else "",
            absent="" if page.months else single,
        ),
        _periods(page),
        _attributed("contribution", "What made the P&L", NO_NUMBER, page.by_symbol, page.by_sector),
        Section(
            "exposures",
            "Exposures",
            (portfolio_charts.exposures(page), *_kept(portfolio_charts.sectors(page))),
        ),
        _section(
            "concentration",
            "Concentration",
            portfolio_charts.concentration(page),
            "Nothing public is held.",
        ),
    ]


def _periods(page: PortfolioPage) -> Section:
    notes = tuple(
        texts.plain(f"{one.period}: {one.reason}", LONGEST_NOTE)
        for one in page.periods
        if one.reason
    )
    return Section(
        "periods",
        "Performance",
        table=portfolio_charts.periods(page),
        notes=notes,
        absent="" if page.periods else "No period has a return.",
    )


def _page(**shown: Any) -> str:  # noqa: ANN401  # what the template takes
    return _ENVIRONMENT.get_template("page.html").render(
        **shown, version=about.core_version, now=texts.moment(dt.datetime.now(dt.UTC))
    )


def _drawing(svg: str) -> Markup:
    """Return a drawing as it is: matplotlib has escaped its texts."""
    return Markup(svg)  # noqa: S704  # as above


_ENVIRONMENT: Final = Environment(
    loader=PackageLoader("batchcore.pages"),
    autoescape=True,
    undefined=StrictUndefined,
    trim_blocks=True,
    lstrip_blocks=True,
)
_ENVIRONMENT.filters["drawing"] = _drawing
