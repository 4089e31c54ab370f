"""The checks of closes in plain fractions, rule by rule: slow and obviously right.

The rules (C1, C2) are those of docs/semantics.md. Cases that they leave open are decided here:

- Of several findings that fail a portfolio on one session, the first by name, then by symbol,
  is reported for it.
- Where a session fails for another reason (S10), no finding of that session is reported.
- A portfolio has one `price_low`, of its first such session.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from fractions import Fraction
from itertools import pairwise
from typing import TYPE_CHECKING, Final

from batchcore.config import PRICE_LOW
from batchcore.reference.facts import DEFAULT_SCALES, Issue, Market, Scales
from batchcore.reference.one_close import shown_close
from batchcore.reference.rollforward import Result, issue_order, public_lots, roll_forward
from batchcore.reference.splits import NO_SPLITS
from batchcore.values import iso, present

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from decimal import Decimal

    from batchcore.reference.currencies import Rates
    from batchcore.reference.rollforward import Portfolio, _Lot
    from batchcore.reference.splits import Splits

UNUSABLE: Final = ("non_finite", "not_representable")
NEAR: Final = Fraction(2, 100)
WHOLE: Final = (2, 3, 4, 5, 6, 7, 8, 10, 15, 20, 25, 30, 40, 50, 100)
RATIOS: Final = (
    *(pair for n in WHOLE for pair in ((n, 1), (1, n))),
    *((3, 2), (5, 4), (2, 3), (4, 5)),
)
"""Quotients of the splits with which closes are compared: new and old shares."""


@dataclass(frozen=True, slots=True)
class Rules:
    """The action of each check, and the thresholds."""

    checks: Mapping[str, str] = field(default_factory=dict)
    max_move: Fraction = Fraction(1, 2)
    frozen_sessions: int = 10
    max_missing: Fraction = Fraction(1, 5)

    def action(self, name: str) -> str:
        """Return the action for the findings of a check."""
        return self.checks.get(name, "report")


@dataclass(frozen=True, slots=True)
class Finding:
    """A finding about the closes of a symbol, from its `first` session of a run to its `last`.

    `since` is the day on which a lot must also be held, if any.
    """

    name: str
    symbol: str
    first: int
    last: int
    since: int | None
    detail: str


@dataclass(frozen=True, slots=True)
class Checked:
    """A result, and the findings with the first session on which it holds their symbols."""

    result: Result
    met: tuple[tuple[Finding, int], ...]


def findings(
    prices: Market,
    days: Sequence[int],
    sessions: Sequence[int],
    rules: Rules,
    *,
    closed: int | None = None,
    scales: Scales = DEFAULT_SCALES,
) -> tuple[Finding, ...]:
    """Return the findings about the closes, sorted by symbol, session and name.

    ``days`` are the sessions on which closes are expected, of the run (``sessions``) and before it;
    ``closed`` is the last session closed by now, if the run reaches it.
    """
    search = _Search(days, sessions, rules, closed, prices.splits or NO_SPLITS, scales)
    found = []
    for symbol, dated in prices.days.items():
        closes = dict(zip(dated, prices.closes[symbol], strict=True))
        own = [one(symbol, closes) for one in (search.changes, search.frozen, search.ahead)]
        found += [one for part in own for one in part if rules.action(one.name) != "off"]
    return tuple(sorted(found, key=lambda one: (one.symbol.encode(), one.first, one.name)))


@dataclass(frozen=True, slots=True)
class _Search:
    """The arguments of `findings`, by which the closes of each symbol are checked."""

    days: Sequence[int]
    sessions: Sequence[int]
    rules: Rules
    closed: int | None
    splits: Splits
    scales: Scales

    def shown(self, close: Decimal) -> str:
        return shown_close(close, self.scales.close)

    def changes(self, symbol: str, closes: Mapping[int, Decimal]) -> list[Finding]:
        """Return the findings about closes of neighbouring sessions."""
        found = []
        for before, day in pairwise(self.days):
            if day < self.sessions[0] or before not in closes or day not in closes:
                continue
            figures = f"{self.shown(closes[before])} to {self.shown(closes[day])}"
            older = Fraction(closes[before]) / self.splits.between_closes(symbol, before, day)
            quotient, change = older / Fraction(closes[day]), Fraction(closes[day]) / older - 1
            splits = [pair for pair in RATIOS if _is_near(quotient, Fraction(*pair))]
            if splits and self.rules.action("split_suspected") != "off":
                new, old = splits[0]
                detail = f"{figures}, near {new} for {old}"
                found.append(Finding("split_suspected", symbol, day, day, before, detail))
            elif abs(change) > self.rules.max_move:
                detail = f"{figures}, {_percent(change)}"
                found.append(Finding("price_jump", symbol, day, day, None, detail))
        return found

    def frozen(self, symbol: str, closes: Mapping[int, Decimal]) -> list[Finding]:
        """Return the rows of sessions with the same close that reach into the run."""
        rows: list[list[int]] = []
        for at, day in enumerate(self.days):
            if day not in closes:
                continue
            if at and closes.get(self.days[at - 1]) == closes[day]:
                rows[-1].append(day)
            else:
                rows.append([day])
        found = []
        for row in rows:
            enough = row[self.rules.frozen_sessions - 1 :]
            ends = [day for day in enough if day >= self.sessions[0]]
            if ends:
                close = self.shown(closes[row[0]])
                detail = f"{close} on {len(row)} sessions until {iso(ends[-1])}"
                found.append(Finding("price_frozen", symbol, ends[0], ends[-1], None, detail))
        return found

    def ahead(self, symbol: str, closes: Mapping[int, Decimal]) -> list[Finding]:
        """Return the closes dated after the last closed session."""
        if self.closed is None:
            return []
        dated = sorted(day for day in closes if day > self.closed)
        if not dated:
            return []
        day, last = dated[0], self.sessions[-1]
        session = min([one for one in self.sessions if one >= day], default=last)
        more = f", the first of {len(dated)} dates" if len(dated) > 1 else ""
        detail = f"{self.shown(closes[day])} on {iso(day)}, after {iso(self.closed)}{more}"
        return [Finding("price_ahead", symbol, session, last, None, detail)]


def _is_near(quotient: Fraction, ratio: Fraction) -> bool:
    return abs(quotient - ratio) <= NEAR * ratio


def _percent(change: Fraction) -> str:
    tenths = int(abs(change) * 1000 + Fraction(1, 2))
    sign = "-" if change < 0 and tenths else "+"
    return f"{sign}{tenths // 10}.{tenths % 10}%"


def roll_forward_checked(
    portfolio: Portfolio,
    prices: Market,
    sessions: Sequence[int],
    found: Sequence[Finding],
    rules: Rules,
    *,
    expected: Sequence[int] | None = None,
    lookback_days: int = 10,
    scales: Scales = DEFAULT_SCALES,
    rates: Rates | None = None,
) -> Checked:
    """Return the rows of a portfolio, and its findings among those of the run.

    `expected` are the sessions on which closes are expected; None is all. Other arguments are those
    of `roll_forward`.
    """
    lots = public_lots(portfolio, prices.splits, scales, converts=rates is not None)
    met = _met(lots, sessions, found)
    low = [] if rules.action(PRICE_LOW) == "off" else _low(lots, prices, sessions, rules)
    low = [one for one in low if expected is None or one.day in expected]
    fails = [
        Issue(finding.name, finding.symbol, day, finding.detail)
        for finding, day in met
        if rules.action(finding.name) == "fail"
    ]
    fails += [one for one in low if rules.action(PRICE_LOW) == "fail"]
    cause = min(fails, key=lambda one: (present(one.day), issue_order(one)), default=None)
    last = None if cause is None else cause.day
    result = roll_forward(
        portfolio, prices, sessions, lookback_days, scales, fails_from=last, rates=rates
    )
    written = [row.day for row in result.rows]
    reached = written
    if last is not None and written == [day for day in sessions if day < last]:
        reached = [*written, last]
    if any(one.name in UNUSABLE and one.symbol is None and one.day for one in result.issues):
        reached = []  # its start fails it (S5)
    issues = [*result.issues]
    seen = [one for one in low if one.day in reached]
    if seen:
        more = f", the first of {len(seen)} sessions" if len(seen) > 1 else ""
        issues.append(replace(seen[0], detail=seen[0].detail + more))
    if cause is not None and last in reached and cause.name != PRICE_LOW:
        issues.append(cause)
    return Checked(
        replace(result, issues=tuple(sorted(issues, key=issue_order))),
        tuple((finding, day) for finding, day in met if day in reached),
    )


def _met(
    held_lots: Sequence[_Lot], sessions: Sequence[int], found: Sequence[Finding]
) -> list[tuple[Finding, int]]:
    """Return the findings whose symbols are held, with the first such session."""
    met = []
    for finding in found:
        lots = [
            lot
            for lot in held_lots
            if lot.symbol == finding.symbol
            and (finding.since is None or lot.start <= finding.since)
        ]
        among = [day for day in sessions if finding.first <= day <= finding.last]
        held = [day for day in among if any(lot.held(day) for lot in lots)]
        if held:
            met.append((finding, held[0]))
    return met


def _low(
    lots: Sequence[_Lot], prices: Market, sessions: Sequence[int], rules: Rules
) -> list[Issue]:
    """Return the sessions on which too many symbols of lots have no fresh close."""
    low = []
    for day in sessions:
        symbols = {lot.symbol for lot in lots if lot.held(day)}
        missing = sum(prices.latest(symbol, day, day) is None for symbol in symbols)
        if symbols and Fraction(missing, len(symbols)) > rules.max_missing:
            noun = "symbol" if len(symbols) == 1 else "symbols"
            low.append(Issue(PRICE_LOW, None, day, f"{missing} of {len(symbols)} {noun}"))
    return low
