"""The contents of pages, as plain values."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    import datetime as dt
    from collections.abc import Mapping
    from decimal import Decimal

    from batchcore.attribution.explanation import Explanation
    from batchcore.audit.result import VerifyResult
    from batchcore.frames import Bytes
    from batchcore.run.result import ShardResult

NOT_HELD: Final = 255
"""A cell of a symbol that no portfolio holds on a session; others are a `units.Mark`."""


@dataclass(frozen=True, slots=True, kw_only=True)
class RunFacts:
    """A run of the ledger, or all shards of a group, with the facts that pages show."""

    run_id: str  # the group's for a group
    state: str  # as in `batchcore status`
    policy: str
    began: dt.datetime  # its first attempt
    ended: dt.datetime | None  # its latest attempt
    seconds: float  # of work
    rows_written: int
    portfolios: int | None  # None before it was known
    failed: int  # portfolios
    end: dt.date | None  # None before it was known
    error: str | None = None
    attempt: int = 1
    seconds_by_phase: Mapping[str, float] = field(default_factory=dict)
    """Of its latest attempt; empty if not in the ledger."""

    @property
    def rows_a_second(self) -> float:
        """Snapshots written per second of work."""
        return self.rows_written / self.seconds if self.seconds > 0 else 0.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Totals:
    """The complete snapshots of one session, added up."""

    portfolios: int
    losing: int  # number of them with a loss
    equity: Decimal
    pnl: Decimal
    flow: Decimal  # contributions less withdrawals since each previous snapshot
    currency: str | None = ""  # empty where there is none, None where there are several


@dataclass(frozen=True, slots=True)
class CoverageDay:
    """Coverage of a session (S12)."""

    session: dt.date
    fresh: int  # symbols with a close on it
    recent: int  # symbols with one on it or in the lookback before
    share: float  # `fresh` of `recent`, 0 to 1


@dataclass(frozen=True, eq=False, slots=True)
class MarkMap:
    """Marks of symbols on sessions (S4), the worst symbols first."""

    symbols: tuple[str, ...]  # (u,) those with the most sessions without a recent close
    sessions: tuple[dt.date, ...]  # (s,) ascending
    marks: Bytes  # (u, s) of `units.Mark`, or `NOT_HELD`
    held: int  # number of public symbols held on any of the sessions
    lacking: int  # number of them that lack a close on a session on which they are held


@dataclass(frozen=True, slots=True, kw_only=True)
class IssueCount:
    """The issues of one name in a run."""

    name: str  # see docs/semantics.md, "Issues"
    count: int
    portfolios: int  # number affected
    failed: int  # number of these that failed
    symbols: int  # number affected
    example: str = ""  # symbols, session and detail of the first


FINDINGS: Final = 20
"""Number of findings of the checks of prices that a page lists."""


@dataclass(frozen=True, slots=True)
class PriceFinding:
    """The findings of a check of prices about a symbol (C1): their number, and the first."""

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
class PortfolioReturn:
    """The stored return of a portfolio on a session."""

    portfolio: str
    name: str
    value: Decimal
    pnl: Decimal | None
    equity: Decimal | None


@dataclass(frozen=True, slots=True, kw_only=True)
class ReturnSpread:
    """The distribution of the returns of portfolios on one session."""

    edges: tuple[Decimal, ...]  # (b + 1,) ascending, of bins that include their lower edge
    counts: tuple[int, ...]  # (b,) portfolios in each
    below: int  # portfolios below the first edge
    above: int  # portfolios at or above the last edge
    median: Decimal
    without: int  # snapshots without a return
    lowest: tuple[PortfolioReturn, ...]  # ascending; at least one
    highest: tuple[PortfolioReturn, ...]  # others, descending

    @property
    def count(self) -> int:
        """Portfolios with a return."""
        return self.below + sum(self.counts) + self.above


@dataclass(frozen=True, slots=True, kw_only=True)
class Night:
    """The contents of the page of a night."""

    run: RunFacts
    shards: tuple[ShardResult, ...] = ()  # by number; empty if the run is not a shard
    session: dt.date | None = None  # the last one; None where there was none
    totals: Totals | None = None  # policy of its rows; None without any, like the P&L by group
    statuses: Mapping[str, int] = field(default_factory=dict)
    """Portfolios by status; empty if not in the ledger."""
    coverage: tuple[CoverageDay, ...] = ()  # ascending
    gate: float | None = None  # minimum coverage (S12), 0 to 1; None if the run does not check it
    deleted: int = 0  # requested portfolios that no longer exist
    marks: MarkMap | None = None  # None if nothing public is held
    issues: tuple[IssueCount, ...] = ()  # those of failed portfolios first, then by count
    findings: tuple[PriceFinding, ...] | None = None
    """The first `FINDINGS`, and one more if there are more; None if nothing was checked."""
    failed: tuple[FailedPortfolio, ...] = ()  # the first
    by_symbol: Explanation | None = None
    by_sector: Explanation | None = None
    returns: ReturnSpread | None = None  # None without any return
    history: tuple[RunFacts, ...] = ()  # the last runs, the oldest first, this one last
    verifies: bool = False  # whether the rows of the last session were to be recomputed
    verified: VerifyResult | None = None  # None too where there are none


@dataclass(frozen=True, slots=True, kw_only=True)
class Point:
    """A stored snapshot of a portfolio; amounts as stored, None where they are no numbers."""

    session: dt.date
    equity: Decimal
    pnl: Decimal | None
    flow: Decimal | None  # contributions less withdrawals since the previous snapshot
    cumulative: Decimal | None  # P&L since the first snapshot
    realized: Decimal | None  # part of `cumulative`
    long: Decimal | None
    short: Decimal | None  # not above 0
    net: Decimal | None
    twr: Decimal | None = None
    """Return since the first point, without flows (W2); None if a session since then has no return,
    or no snapshot."""
    fall: Decimal | None = None
    """Fall from its highest value so far, not above 0 (W4); None likewise."""
    top_3: Decimal | None = None  # share of the three largest positions (A3)
    top_10: Decimal | None = None


@dataclass(frozen=True, slots=True)
class Share:
    """A part of a whole, 0 to 1 as a rule."""

    key: str  # symbol or sector
    value: Decimal
    benchmark: Decimal | None = None  # that of the benchmark, if known
    amount: Decimal | None = None  # in money, if known


@dataclass(frozen=True, slots=True, kw_only=True)
class PortfolioPage:
    """The contents of the page of a portfolio."""

    portfolio: str
    name: str
    currency: str
    points: tuple[Point, ...]  # its complete snapshots, ascending
    missing: tuple[dt.date, ...] = ()  # sessions between the first and the last without one
    drawdown: Mapping[str, Any] | None = None
    """The row of `performance` from the first point to the last, for its falls (W4); None for a
    single point, or where a session has no return."""
    no_returns: str = ""  # why the points have no total return (W2); empty if they have one
    months: Mapping[tuple[int, int], Decimal | None] = field(default_factory=dict)
    """Returns by year and month, ascending; None where a session has none, or no snapshot."""
    years: Mapping[int, Decimal | None] = field(default_factory=dict)
    periods: tuple[Mapping[str, Any], ...] = ()  # rows of `performance` (W1 to W5)
    benchmark: str = ""  # its symbol
    by_symbol: Explanation | None = None
    """P&L from the first point to the last, or of the session of a single point; None if a stored
    P&L is NULL or not finite."""
    by_sector: Explanation | None = None
    holdings: tuple[Share, ...] = ()
    """Symbols held at the end, as shares of their gross value, the largest first."""
    sectors: tuple[Share, ...] = ()  # of the last snapshot that has weights
    sectors_on: dt.date | None = None  # the session of that
