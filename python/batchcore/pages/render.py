"""Pages as HTML: one file, no script, nothing loaded from elsewhere."""

from __future__ import annotations

import datetime as dt
from dataclasses import dataclass, replace
from decimal import Decimal
from typing import TYPE_CHECKING, Any, Final

from jinja2 import Environment, PackageLoader, StrictUndefined

from batchcore import about
from batchcore.config import shard_text
from batchcore.pages import charts, night_charts, portfolio_charts, texts
from batchcore.pages.advice import advice
from batchcore.pages.charts import Cell, Chart, Column, Table, table
from batchcore.pages.contents import FINDINGS, Night, PortfolioPage
from batchcore.words import counted, differ

if TYPE_CHECKING:
    from collections.abc import Iterable

    from batchcore.attribution.explanation import Explanation
    from batchcore.audit.result import VerifyResult

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
"""The severity of each state of a run."""

MONTHS_LEAD: Final = (
    "Time-weighted (W2), in percent. A dash: a session of the month or year has no return, or no"
    " snapshot."
)
NO_NUMBER: Final = (
    "A stored daily_pnl is NULL or not a finite number, so that there is no P&L to explain:"
    " batchcore verify names the row."
)

FLOWS: Final = "contributions less withdrawals"

LONGEST_NOTE: Final = 300
"""Maximum characters of a note."""


@dataclass(frozen=True, slots=True)
class Tile:
    """A number at the top of a page."""

    label: str
    value: str
    note: str = ""
    tone: str = ""


@dataclass(frozen=True, slots=True)
class Section:
    """A part of a page."""

    name: str  # target of links
    title: str
    charts: tuple[Chart, ...] = ()
    table: Table | None = None  # a table that is always open
    warning: str = ""  # a problem, shown at the top
    lead: str = ""  # a sentence above the table
    notes: tuple[str, ...] = ()  # lines below it
    absent: str = ""  # the reason if there is nothing to show


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
    """Return the id by which `batchcore status` shows the night."""
    return "group" if night.shards else "run"


def _status(night: Night) -> str:
    """Return the command that shows the night in full."""
    return f"batchcore status --{_kind(night)} {night.run.run_id}"


def outcome(night: Night) -> str:
    """Return the end of a run, in one sentence."""
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
        "superseded": f"Another run took over from this one; {done} written before stay.",
    }
    return sentences.get(run.state, f"The run is still running; {done} written so far.")


def _money_tile(
    label: str, amount: Decimal, note: str = "", *, signed: bool = False, has_tone: bool = False
) -> Tile:
    """Return a tile with an amount; the note is the whole amount, and a unit, if not given."""
    return Tile(
        label,
        texts.short_money(amount, signed=signed),
        note or texts.money(amount, signed=signed),
        texts.tone(amount) if has_tone else "",
    )


def _night_tiles(night: Night) -> list[Tile]:
    totals, run = night.totals, night.run
    tiles = []
    if totals is not None:
        unit = "of several currencies" if totals.currency is None else totals.currency
        pnl, equity = texts.money(totals.pnl, signed=True), texts.money(totals.equity)
        tiles = [
            _money_tile("P&L", totals.pnl, f"{pnl} {unit}".strip(), signed=True, has_tone=True),
            _money_tile("Equity", totals.equity, f"{equity} {unit}".strip()),
            Tile("Portfolios", texts.count(totals.portfolios), f"{totals.losing:,} of them lost"),
            _money_tile("Flows", totals.flow, FLOWS, signed=True),
        ]
    took = f"{texts.count(run.rows_written)} in {texts.seconds(run.seconds)}"
    return [
        *tiles,
        Tile("Failed", texts.count(run.failed), "portfolios", "loss" if run.failed else ""),
        Tile("Rows a second", f"{run.rows_a_second:,.0f}", took),
    ]


def _night_sections(night: Night) -> list[Section]:
    day, found = texts.day(night.session), night.returns
    without_rows = "No complete snapshot of the session is stored."
    sections = [_issues(night)]
    if night.failed:
        sections.append(_failed(night))
    if night.shards:
        sections.append(_shards(night))
    if night.findings is not None:
        sections.append(_checks(night))
    sections += [
        _drawn(
            "statuses",
            "Portfolios by status",
            [night_charts.statuses(night.statuses)],
            "The ledger does not say how its portfolios were marked.",
        ),
        _attributed(
            "pnl",
            f"P&L of {day}",
            without_rows if night.totals is None else NO_NUMBER,
            night.by_symbol,
            night.by_sector,
        ),
        Section("returns", "Returns", absent=without_rows)
        if found is None
        else Section(
            "returns",
            f"Returns on {day}",
            (night_charts.returns(found),),
            night_charts.outermost_table(found),
            lead=f"The outermost {counted(len(found.lowest) + len(found.highest), 'portfolio')}:",
        ),
        _drawn(
            "coverage",
            "Prices",
            [night_charts.coverage(night), night_charts.marks(night.marks)],
            "There is no session to look at.",
        ),
        _drawn(
            "speed",
            "How fast it was",
            [night_charts.phases(night), night_charts.rates(night)],
            "Nothing was written in the runs that the ledger has.",
        ),
    ]
    if night.verifies:
        sections.append(_verified(night.verified, day))
    return sections


def _drawn(name: str, title: str, found: Iterable[Chart | None], absent: str) -> Section:
    """Return a section of figures; without any, it gives the reason."""
    shown = tuple(one for one in found if one is not None)
    return Section(name, title, shown, absent="" if shown else absent)


def _issues(night: Night) -> Section:
    warning = ""
    if night.deleted:  # of the portfolios of the run
        warning = (
            f"{counted(night.deleted, 'portfolio')} that the run was asked for cannot be found any"
            f" more: {'it is' if night.deleted == 1 else 'they are'} left out of what follows."
        )
    title = "What needs attention"
    if not night.issues:
        return Section("issues", title, warning=warning, absent="The run noticed nothing.")
    listed = table(
        night.issues,
        Column("issue", lambda one: Cell(one.name, "loss" if one.failed else ""), "text"),
        Column("count", lambda one: texts.count(one.count)),
        Column("portfolios", lambda one: texts.count(one.portfolios or None), is_minor=True),
        Column("symbols", lambda one: texts.count(one.symbols or None), is_minor=True),
        Column("what to do", lambda one: advice(one.name), "text"),
        Column("for example", lambda one: texts.plain(one.example, 120), "text", is_minor=True),
    )
    return Section("issues", title, table=listed, warning=warning)


def _failed(night: Night) -> Section:
    more = night.run.failed - len(night.failed)
    listed = table(
        night.failed,
        Column("portfolio", lambda one: texts.plain(one.name or one.portfolio), "text"),
        Column("why", lambda one: texts.plain(one.reason, 160), "text"),
    )
    lead = f"{more:,} more failed; {_status(night)} names them." if more > 0 else ""
    return Section("failed", "Portfolios that failed", table=listed, lead=lead)


def _shards(night: Night) -> Section:
    listed = table(
        night.shards,
        Column("shard", lambda one: shard_text(one.shard), "text"),
        Column(
            "state", lambda one: Cell(one.state, "" if one.state == "complete" else "loss"), "text"
        ),
        Column("attempts", lambda one: texts.count(one.attempt), is_minor=True),
        Column("portfolios", lambda one: texts.count(one.portfolios), is_minor=True),
        Column("failed", lambda one: Cell(texts.count(one.failed), "loss" if one.failed else "")),
        Column("rows", lambda one: texts.count(one.rows_written)),
        Column("seconds", lambda one: f"{one.seconds:,.1f}", is_minor=True),
        Column("why", lambda one: texts.plain(one.error or "", 160), "text", is_minor=True),
    )
    return Section("shards", "Shards", table=listed)


def _checks(night: Night) -> Section:
    """Return a section of the findings of the checks of prices."""
    title, found = "Checks of prices", night.findings
    if not found:
        return Section("checks", title, absent="The checks of prices found nothing.")
    listed = table(
        found[:FINDINGS],
        Column("symbol", lambda one: texts.plain(one.symbol), "text"),
        Column("check", lambda one: one.name, "text"),
        Column("session", lambda one: one.session.isoformat(), "text"),
        Column("findings", lambda one: texts.count(one.count), is_minor=True),
        Column("the first", lambda one: texts.plain(one.detail, 120), "text"),
    )
    lead = f"The first; {_status(night)} names all." if len(found) > FINDINGS else ""
    return Section("checks", title, table=listed, lead=lead)


def _attributed(
    name: str, title: str, absent: str, by_symbol: Explanation | None, by_sector: Explanation | None
) -> Section:
    """Return a section of contributions to a P&L, by symbol and by sector."""
    found = [one for one in (by_symbol, by_sector) if one is not None]
    shown = [charts.contributions(f"{name}-{one.by}", one) for one in found]
    warnings = []
    if by_symbol is not None:
        absent = "No lot gained or lost anything."
        if by_symbol.currencies:
            mixed = ", ".join(by_symbol.currencies)
            warnings.append(f"Amounts are in each portfolio's currency, and sums mix {mixed}.")
    for one in found:
        if not one.explained:
            missed = texts.money(one.rounding, signed=True)
            warnings.append(
                f"Not explained: the lots as they are now miss the stored P&L by {missed}; data"
                " were changed since."
            )
            break
    return replace(_drawn(name, title, shown, absent), warning=" ".join(warnings))


def _verified(found: VerifyResult | None, day: str) -> Section:
    title = "What verify found"
    if found is None or not found.rows:
        absent = (
            "No complete snapshot of the last session is stored, so there was none to recompute."
        )
        return Section("verified", title, absent=absent)
    checked = (
        f"{counted(found.rows, 'snapshot')} recomputed, {counted(found.checked, 'cell')} compared"
    )
    lead = f"Of {day} alone: {checked}; {differ(found.rows_differing)}."
    columns = zip(found.columns.name, found.columns.differing.tolist(), strict=True)
    rows = [(name, Cell(texts.count(number), "loss")) for name, number in columns if number]
    rows += [
        (f"not checkable: {name}", Cell(texts.count(number)))
        for name, number in found.not_checkable.items()
    ]
    listed = table(
        rows,
        Column("column or reason", lambda row: row[0], "text"),
        Column("cells", lambda row: row[1]),
    )
    return Section("verified", title, table=listed if rows else None, lead=lead)


def _portfolio_tiles(page: PortfolioPage) -> list[Tile]:
    first, last = page.points[0], page.points[-1]
    tiles = [_money_tile("Equity", last.equity)]
    if len(page.points) > 1:
        if last.cumulative is not None and first.cumulative is not None:
            made = last.cumulative - first.cumulative
            tiles.append(_money_tile("P&L", made, signed=True, has_tone=True))
        twr = texts.percent(last.twr, signed=True)
        tiles.append(Tile("Return", twr, "time-weighted", texts.tone(last.twr)))
        flows = sum((point.flow for point in page.points[1:] if point.flow), start=Decimal(0))
        tiles.append(_money_tile("Flows", flows, FLOWS, signed=True))
    if page.drawdown is not None:
        depth, current = page.drawdown["max_drawdown"], page.drawdown["current_drawdown"]
        below = f"{texts.percent(abs(current))} below the peak at the end"
        tiles.append(Tile("Largest fall", texts.percent(abs(depth)), below, texts.tone(depth)))
    pnl = texts.NOTHING if last.pnl is None else texts.short_money(last.pnl, signed=True)
    tiles.append(Tile("Last session", pnl, texts.day(last.session), texts.tone(last.pnl)))
    return tiles


def _portfolio_sections(page: PortfolioPage) -> list[Section]:
    single = "There is only one snapshot."
    return [
        Section("equity", "Equity", (portfolio_charts.equity(page),)),
        _drawn("pnl", "P&L", [portfolio_charts.pnl(page)], single),
        _drawn(
            "drawdown",
            "Drawdown",
            [portfolio_charts.drawdown(page)],
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
        _drawn(
            "exposures",
            "Exposures",
            [portfolio_charts.exposures(page), portfolio_charts.sectors(page)],
            "",
        ),
        _drawn(
            "concentration",
            "Concentration",
            [portfolio_charts.concentration(page)],
            "Nothing public is held.",
        ),
    ]


def _periods(page: PortfolioPage) -> Section:
    notes = tuple(
        texts.plain(f"{one['period']}: {one['reason']}", LONGEST_NOTE)
        for one in page.periods
        if one["reason"]
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


_ENVIRONMENT: Final = Environment(
    loader=PackageLoader("batchcore.pages"),
    autoescape=True,
    undefined=StrictUndefined,
    trim_blocks=True,
    lstrip_blocks=True,
)
