"""What the pages show, as plain values."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    import datetime as dt
    from collections.abc import Mapping
    from decimal import Decimal

    from batchcore.frames import Bytes
    from batchcore.run.result import ShardResult

NOT_HELD: Final = 255
"""Where a symbol is held by nobody on a session; else a cell is a `units.Mark`."""


@dataclass(frozen=True, slots=True, kw_only=True)
class RunFacts:
    """A run of the ledger, or all shards of a group, as far as pages show it.

    Attributes:
        run_id: Its id; of a group that of the group.
        state: As `batchcore status` shows it.
        policy: Defines the figures.
        began: Start of its first attempt.
        ended: End of its latest attempt.
        seconds: Seconds of work.
        rows_written: Snapshots written.
        portfolios: Number of portfolios; None before it was known.
        failed: Number of portfolios that failed.
        start: First day of its range; None continued after the latest snapshots.
        end: Last day; None before it was known.
        error: What ended it, if it failed.
        attempt: 1, or more for a run that was continued.
        code_version: Of batchcore.
        seconds_by_phase: Of its latest attempt; empty where the ledger does not say.
    """

    run_id: str
    state: str
    policy: str
    began: dt.datetime
    ended: dt.datetime | None
    seconds: float
    rows_written: int
    portfolios: int | None
    failed: int
    start: dt.date | None
    end: dt.date | None
    error: str | None = None
    attempt: int = 1
    code_version: str = ""
    seconds_by_phase: Mapping[str, float] = field(default_factory=dict)

    @property
    def rows_a_second(self) -> float:
        """Snapshots written in a second of work."""
        return self.rows_written / self.seconds if self.seconds > 0 else 0.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Totals:
    """The complete snapshots of one session, added up.

    Attributes:
        portfolios: How many.
        losing: How many of them lost.
        equity: Of all.
        pnl: Of all, on the session.
        realized: Part of `pnl`.
        flow: Contributions less withdrawals since each previous snapshot.
        currency: Of all; empty where there is none, and None where there are several.
    """

    portfolios: int
    losing: int
    equity: Decimal
    pnl: Decimal
    realized: Decimal
    flow: Decimal
    currency: str | None = ""


@dataclass(frozen=True, slots=True)
class CoverageDay:
    """Coverage of a session (S12).

    Attributes:
        session: Its date.
        fresh: Symbols with a close on it.
        recent: Symbols with one on it or in the lookback before.
        share: `fresh` of `recent`, 0 to 1.
    """

    session: dt.date
    fresh: int
    recent: int
    share: float


@dataclass(frozen=True, eq=False, slots=True)
class MarkMap:
    """Marks of symbols on sessions (S4), the worst symbols first.

    Attributes:
        symbols: (u,) those with the most sessions without a recent close.
        sessions: (s,) dates, ascending.
        marks: (u, s) uint8 of `units.Mark`, or `NOT_HELD`.
        held: Public symbols held on any of the sessions, in all.
        lacking: How many of them lack a close on a session on which they are held.
    """

    symbols: tuple[str, ...]
    sessions: tuple[dt.date, ...]
    marks: Bytes
    held: int
    lacking: int


@dataclass(frozen=True, slots=True, kw_only=True)
class IssueCount:
    """The issues of one name in a run.

    Attributes:
        name: See docs/semantics.md, "Issues".
        count: How many.
        portfolios: How many portfolios they are of.
        failed: How many of these failed.
        symbols: How many symbols they are of.
        example: Symbols, session and detail of the first.
    """

    name: str
    count: int
    portfolios: int
    failed: int
    symbols: int
    example: str = ""


FINDINGS: Final = 20
"""How many findings of the checks of prices a page lists."""


@dataclass(frozen=True, slots=True)
class PriceFinding:
    """What a check of prices found of a symbol (C1): how many findings, and the first."""

    name: str
    symbol: str
    count: int
    session: dt.date
    detail: str


@dataclass(frozen=True, slots=True)
class FailedPortfolio:
    """A portfolio that failed, and why."""

    portfolio: str
    name: str
    reason: str


@dataclass(frozen=True, slots=True)
class GroupContribution:
    """What the lots of a symbol or sector added to a P&L (X6).

    Attributes:
        key: Symbol or sector.
        unrealized: Change of the value of lots still held.
        realized: By exits.
        total: Both.
    """

    key: str
    unrealized: Decimal
    realized: Decimal
    total: Decimal


@dataclass(frozen=True, slots=True, kw_only=True)
class Attribution:
    """A stored P&L by symbol or sector (X1 to X8).

    Attributes:
        start: The session that it begins after; None where portfolios begin after different ones.
        end: The last session.
        stored: The P&L of the stored rows.
        rounding: `stored` less all contributions.
        explained: Whether that is no more than rounding (X2).
        rows: In any order.
        currencies: Of the portfolios, where sums mix several.
    """

    start: dt.date | None
    end: dt.date
    stored: Decimal
    rounding: Decimal
    explained: bool
    rows: tuple[GroupContribution, ...]
    currencies: tuple[str, ...] = ()

    def outermost(self, count: int) -> tuple[list[GroupContribution], list[GroupContribution]]:
        """Return the largest gains and the largest losses, each at most ``count``, best first."""
        ordered = sorted(self.rows, key=lambda row: (-row.total, row.key))
        gains = [row for row in ordered if row.total > 0][:count]
        losses = [row for row in ordered if row.total < 0]
        return gains, losses[max(len(losses) - count, 0) :]


@dataclass(frozen=True, slots=True)
class PortfolioReturn:
    """The stored return of a portfolio on a session."""

    portfolio: str
    name: str
    value: Decimal
    pnl: Decimal | None
    equity: Decimal | None


@dataclass(frozen=True, slots=True, kw_only=True)
class ReturnSpread:
    """How the returns of portfolios on one session are spread.

    Attributes:
        edges: (b + 1,) ascending, of bins that include their lower edge.
        counts: (b,) portfolios in each.
        below: Portfolios below the first edge.
        above: Portfolios from the last edge on.
        median: Of all.
        without: Snapshots without a return.
        lowest: The lowest returns, ascending; at least one.
        highest: Others, the highest, descending.
    """

    edges: tuple[Decimal, ...]
    counts: tuple[int, ...]
    below: int
    above: int
    median: Decimal
    without: int
    lowest: tuple[PortfolioReturn, ...]
    highest: tuple[PortfolioReturn, ...]

    @property
    def count(self) -> int:
        """Portfolios with a return."""
        return self.below + sum(self.counts) + self.above


@dataclass(frozen=True, slots=True, kw_only=True)
class Verified:
    """What `verify` found of the rows of the last session.

    Attributes:
        rows: Snapshots looked at.
        rows_differing: Of these, those with a cell that differs.
        cells: Cells compared.
        differing: Column -> cells that differ, where any does.
        not_checkable: Reason -> cells that the stored data do not determine.
    """

    rows: int
    rows_differing: int
    cells: int
    differing: Mapping[str, int]
    not_checkable: Mapping[str, int]


@dataclass(frozen=True, slots=True, kw_only=True)
class Night:
    """What the page of a night shows.

    Attributes:
        run: Which it is of.
        shards: How each of them ended, by number; empty of a run that is none.
        session: The last session; None where there was none.
        totals: Of the rows of that session; None without any.
        statuses: Status -> portfolios; empty where the ledger does not say.
        coverage: Of the sessions shown, ascending.
        gate: The least coverage that the run takes (S12), 0 to 1; None where it looks at none.
        deleted: Portfolios that the run was asked for and that are there no more.
        marks: None where nothing public is held.
        issues: Those of failed portfolios first, then by count.
        findings: Of the checks of prices, the first `FINDINGS` and one more where there are more;
            None where the run made none.
        failed: The first portfolios that failed.
        by_symbol: P&L of the session; None without rows.
        by_sector: Likewise.
        returns: None without any return.
        history: The last runs, the oldest first, this one last.
        verified: None if that was not asked for.
    """

    run: RunFacts
    shards: tuple[ShardResult, ...] = ()
    session: dt.date | None = None
    totals: Totals | None = None
    statuses: Mapping[str, int] = field(default_factory=dict)
    coverage: tuple[CoverageDay, ...] = ()
    gate: float | None = None
    deleted: int = 0
    marks: MarkMap | None = None
    issues: tuple[IssueCount, ...] = ()
    findings: tuple[PriceFinding, ...] | None = None
    failed: tuple[FailedPortfolio, ...] = ()
    by_symbol: Attribution | None = None
    by_sector: Attribution | None = None
    returns: ReturnSpread | None = None
    history: tuple[RunFacts, ...] = ()
    verified: Verified | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Point:
    """A stored snapshot of a portfolio; amounts as stored.

    Attributes:
        session: Its date.
        equity: At its end.
        pnl: On the session; None where it is NULL, as the rest.
        flow: Contributions less withdrawals since the previous snapshot.
        cumulative: P&L since the first snapshot.
        realized: Part of `cumulative`.
        long: Value of long lots.
        short: Value of short lots, not above 0.
        net: `long` and `short` together.
        twr: Return since the first point, flows left out (W2); None where a session since then
            has no return, or no snapshot.
        fall: From the highest value of that by then, not above 0 (W4); None likewise.
        top_3: Share of the three largest positions (A3).
        top_10: Share of the ten largest (A3).
    """

    session: dt.date
    equity: Decimal
    pnl: Decimal | None
    flow: Decimal | None
    cumulative: Decimal | None
    realized: Decimal | None
    long: Decimal
    short: Decimal
    net: Decimal
    twr: Decimal | None = None
    fall: Decimal | None = None
    top_3: Decimal | None = None
    top_10: Decimal | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Drawdown:
    """The largest fall from a peak (W4).

    Attributes:
        depth: Not above 0; 0 without a fall.
        peak: Session of the peak; None without a fall, as the next.
        trough: Session of the trough.
        recovered: The session on which the peak was reached again; None while it lasts.
        current: The fall on the last session, not above 0.
    """

    depth: Decimal
    peak: dt.date | None
    trough: dt.date | None
    recovered: dt.date | None
    current: Decimal


@dataclass(frozen=True, slots=True, kw_only=True)
class PeriodReturn:
    """Performance over a period (W1 to W5); what is not available is None.

    Attributes:
        period: Its name.
        start: Session of the row that it begins after.
        end: Its last session.
        twr: Time-weighted.
        twr_annual: The same a year, of more than 365 days.
        mwr: Money-weighted.
        benchmark: Return of the benchmark.
        difference: `twr` less `benchmark`.
        volatility: A year (A4).
        drawdown: The largest.
        reason: Why something is not available.
    """

    period: str
    start: dt.date | None
    end: dt.date | None
    twr: Decimal | None
    twr_annual: Decimal | None = None
    mwr: float | None = None
    benchmark: Decimal | None = None
    difference: Decimal | None = None
    volatility: float | None = None
    drawdown: Decimal | None = None
    reason: str = ""


@dataclass(frozen=True, slots=True)
class MonthReturn:
    """The return of a calendar month; None where a session of it has no return, or no snapshot."""

    year: int
    month: int
    value: Decimal | None


@dataclass(frozen=True, slots=True)
class YearReturn:
    """The return of a calendar year; None likewise."""

    year: int
    value: Decimal | None


@dataclass(frozen=True, slots=True)
class Share:
    """A part of a whole, 0 to 1 as a rule.

    Attributes:
        key: Symbol or sector.
        value: The share.
        benchmark: That of the benchmark, where it is known.
        amount: In money, where it is known.
    """

    key: str
    value: Decimal
    benchmark: Decimal | None = None
    amount: Decimal | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class PortfolioPage:
    """What the page of a portfolio shows.

    Attributes:
        portfolio: Its id.
        name: Its name.
        currency: As stored.
        points: Its complete snapshots, ascending.
        missing: Sessions between the first and the last point without one.
        drawdown: None for a single point, or where a session has no return.
        no_returns: Why the points have no return in all (W2); empty where they have.
        months: Ascending.
        years: Ascending.
        periods: In their order.
        benchmark: Symbol of the benchmark.
        by_symbol: P&L from the first point to the last, of a single point that of its session; None
            where a stored P&L is NULL or no finite number.
        by_sector: Likewise.
        holdings: Symbols held at the end, as shares of their gross value, the largest first.
        sectors: Sector weights of the last snapshot that has them.
        sectors_on: The session of that.
    """

    portfolio: str
    name: str
    currency: str
    points: tuple[Point, ...]
    missing: tuple[dt.date, ...] = ()
    drawdown: Drawdown | None = None
    no_returns: str = ""
    months: tuple[MonthReturn, ...] = ()
    years: tuple[YearReturn, ...] = ()
    periods: tuple[PeriodReturn, ...] = ()
    benchmark: str = ""
    by_symbol: Attribution | None = None
    by_sector: Attribution | None = None
    holdings: tuple[Share, ...] = ()
    sectors: tuple[Share, ...] = ()
    sectors_on: dt.date | None = None
