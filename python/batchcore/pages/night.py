"""The page of a night, from one snapshot of the ledger and the tables of the host."""

from __future__ import annotations

import asyncio
import uuid
from collections import Counter
from dataclasses import dataclass
from decimal import Decimal
from typing import TYPE_CHECKING, Any, Final

import numpy as np

from batchcore import calendar as calendars
from batchcore import policies
from batchcore.arguments import checked_id
from batchcore.attribution.explainer import explain
from batchcore.audit.verifier import verify
from batchcore.config import CHECKS, PRICE_LOW, RUN_STATES, VALUATION, Schema, Settings, shard_text
from batchcore.db.catalog import Catalog, inspect
from batchcore.db.check import check, check_revision
from batchcore.errors import ConfigError
from batchcore.native import build_market
from batchcore.pages.contents import (
    FINDINGS,
    NOT_HELD,
    CoverageDay,
    FailedPortfolio,
    IssueCount,
    MarkMap,
    Night,
    PortfolioReturn,
    PriceFinding,
    ReturnSpread,
    RunFacts,
    Totals,
)
from batchcore.pg.database import Database
from batchcore.pg.ledger import Ledger
from batchcore.run.monitor import Monitor
from batchcore.run.plan import NEVER
from batchcore.run.price_gaps import LatestCloses, latest_closes
from batchcore.run.prices import PriceWindow, load_closes
from batchcore.run.result import Coverage
from batchcore.run.status import RunStatus, latest_of_each, run_of, shards_of
from batchcore.sources.host import Selection
from batchcore.sources.positions import HeldSymbols, load_symbols, select_held_symbols
from batchcore.sources.prices import load_calendar, select_price_dates
from batchcore.sources.query import load
from batchcore.sources.snapshots import load_named, load_totals, select_ids, select_session_returns
from batchcore.sources.stored import StoredSource, latest_day, uuid_at
from batchcore.units import Mark, State
from batchcore.values import normalised

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from batchcore.calendar import Calendar
    from batchcore.frames import Int32, Int64, Prices, Text
    from batchcore.pg.session import Session
    from batchcore.sources.snapshots import SessionReturns

RUNS: Final = 30
"""Number of runs that are compared."""

LEAST_SESSIONS: Final = 20
MOST_SESSIONS: Final = 60
"""Sessions of coverage and marks: those of the run, with earlier ones if it has few."""

WORST: Final = 50
"""Number of symbols in the map of marks."""

LISTED: Final = 20
"""Number of failed portfolios that are named."""

NAMED: Final = 3
"""Number of symbols that an issue names."""

EACH_SIDE: Final = 5
"""Number of returns that are listed, of the lowest and of the highest."""

BINS: Final = 40
"""Approximate number of bars of the distribution of returns."""


async def load_night(
    db: object,
    *,
    run_id: uuid.UUID | str | None = None,
    group: uuid.UUID | str | None = None,
    verifies: bool = False,
    schema: Schema | None = None,
) -> Night:
    """Return the contents of the page of a run or a group, by default of the latest run.

    For a shard, all of its group is shown. With ``verifies`` the rows of the last session are
    recomputed natively.
    """
    if run_id is not None and group is not None:
        raise ConfigError("a run or a group can be shown: give one of them", "group")
    kind, given = ("run", run_id) if group is None else ("group", group)
    own = None if given is None else str(checked_id(given, kind))
    schema = schema or Schema()
    async with Database(db, borrow=True).reading("report") as session:
        catalog = await inspect(session, schema)
        await check_revision(session, catalog)
        check(catalog, writes=False)
        nights = await Ledger(schema).nights(session, limit=RUNS, own=own)
        if not nights or (kind == "group" and nights[0][0]["group_id"] is None):
            msg = f"there is no {kind} {own} in the ledger" if own else "the ledger has no runs"
            raise ConfigError(msg, kind)
        history = [[*map(run_of, rows)] for rows in nights]
        return await _Loader(session, catalog, history, verifies=verifies).load()


@dataclass
class _Loader:
    """Loads the parts of one page."""

    session: Session
    catalog: Catalog
    history: Sequence[Sequence[RunStatus]]
    verifies: bool

    def __post_init__(self) -> None:
        self.runs, self.latest = self.history[0], latest_of_each(self.history[0])
        self.run = self.latest[-1]
        self.asked = self.run.asked
        self.latest_ids = [run.run_id for run in self.latest]
        self.ledger = Ledger(self.catalog.schema)
        own = {name: self.asked[name] for name in VALUATION if name in self.asked}
        self.rules: dict[str, Any] = {
            "policy": self.asked["policy"],
            "calendar": self.asked["calendar"],
            "settings": Settings(schema=self.catalog.schema, **own),
        }

    async def load(self) -> Night:
        selection, deleted = await self._selection()
        calendar = await load_calendar(self.session, self.catalog, self.asked["calendar"])
        sessions = await self._sessions(calendar, selection)
        last = int(sessions[-1]) if len(sessions) else None
        shown: dict[str, Any] = {}
        if last is not None:
            shown |= {
                "session": calendars.date_of(last),
                **await self._of_session(calendar, selection, last),
                **await self._prices(selection, sessions),
            }
        statuses = Counter[str]()
        for run in self.latest:
            statuses.update(run.portfolios_by_status)
        checks_prices = policies.entry(self.asked["policy"]).checks_prices
        return Night(
            run=facts(self.runs),
            shards=() if self.run.shard is None else shards_of(self.runs),
            statuses=statuses,
            gate=self.asked["min_coverage"] if checks_prices else None,
            deleted=deleted,
            issues=await self._issues(),
            findings=await self._findings() if checks_prices else None,
            failed=await self._failed(),
            history=tuple(map(facts, reversed(self.history))),
            verifies=self.verifies,
            **shown,
        )

    async def _selection(self) -> tuple[Selection, int]:
        """Return the existing portfolios of the run, and how many no longer exist."""
        asked = await self.ledger.requested_portfolios(self.session, self.latest_ids)
        if asked is None:
            return Selection(), 0
        found = await load(self.session, select_ids(self.catalog, Selection(asked)))
        return Selection(found), len(asked) - len(found)

    async def _sessions(self, calendar: Calendar, selection: Selection) -> Int32:
        """Return the sessions of the run, with earlier ones if they are few; none without any."""
        first, last = await self.ledger.sessions(self.session, [run.run_id for run in self.runs])
        end = last or max(filter(None, (run.end_date for run in self.latest)), default=None)
        if end is None:
            latest, audit = None, policies.entry(self.asked["policy"]).audit
            if audit is not None:
                source = StoredSource(self.catalog, calendar, audit().stored_rules)
                latest = await latest_day(self.session, source, selection)
            if latest is None:
                return np.zeros(0, dtype=np.int32)
            end = calendars.date_of(latest)
        day = min(max(calendars.day_of(end), calendar.first_day), calendar.last_day)
        count = LEAST_SESSIONS
        if first is not None:
            count = max(count, len(calendar.sessions(calendars.day_of(first), day)))
        return calendar.last_sessions(day, min(count, MOST_SESSIONS))

    async def _of_session(
        self, calendar: Calendar, selection: Selection, day: int
    ) -> dict[str, Any]:
        """Return the contents made from the rows of the last session."""
        session, catalog = self.session, self.catalog
        totals = Totals(**await load_totals(session, catalog, calendar, selection, day))
        if not totals.portfolios:
            return {}
        found: dict[str, Any] = {"totals": totals}
        returns = await load(session, select_session_returns(catalog, calendar, selection, day))
        known = returns.take(returns.daily_return.state == State.VALUE)
        if len(known):
            found["returns"] = await self._spread(known, day, len(returns) - len(known))
        date, own = calendars.date_of(day), selection.ids
        ids = None if own is None else [uuid_at(own, row) for row in range(len(own))]
        for by in ("symbol", "sector"):
            explained = await explain(session.raw, ids, date, by=by, **self.rules)
            found[f"by_{by}"] = None if explained.daily_pnl is None else explained
        if self.verifies:
            weights = self.asked["beta_weights"]
            found["verified"] = await verify(
                session.raw, date, date, ids, beta_weights=weights, fast=True, **self.rules
            )
        return found

    async def _spread(self, known: SessionReturns, day: int, without: int) -> ReturnSpread:
        ids, mantissas = known.portfolio_id, known.daily_return.values
        scale = known.daily_return.scale
        order = np.argsort(mantissas, kind="stable")
        low, high = order[:EACH_SIDE], order[::-1][:EACH_SIDE]
        if len(order) < 2 * EACH_SIDE:
            low, high = order[: (len(order) + 1) // 2], order[::-1][: len(order) // 2]
        rows = [*low.tolist(), *high.tolist()]
        own = {row: uuid_at(ids, row) for row in rows}
        named = await load_named(self.session, self.catalog, list(own.values()), day)

        def one(row: int) -> PortfolioReturn:
            about = named[own[row]]
            value = Decimal(int(mantissas[row])).scaleb(-scale)
            return PortfolioReturn(
                str(own[row]), about["name"] or "", value, about["pnl"], about["equity"]
            )

        return spread(
            mantissas,
            scale,
            without=without,
            lowest=tuple(map(one, low.tolist())),
            highest=tuple(map(one, high.tolist())),
        )

    async def _prices(self, selection: Selection, sessions: Int32) -> dict[str, Any]:
        """Return coverage and marks of the symbols held, by the current closes."""
        session, catalog, lookback = self.session, self.catalog, int(self.asked["lookback_days"])
        symbols = await load_symbols(session, catalog, selection)
        if not len(symbols):
            return {}
        first, last = int(sessions[0]), int(sessions[-1])
        window = PriceWindow(first=first - lookback, needed=first, last=last)
        closes = await load_closes(
            session, catalog, symbols.table(), window, source=None, monitor=Monitor(self.run.run_id)
        )
        latest = await asyncio.to_thread(latest_closes, symbols, closes, sessions)
        spelt = sorted(symbols.table())
        held = await load(session, select_held_symbols(catalog, selection, spelt))
        days = await asyncio.to_thread(coverage_days, closes, symbols, sessions, lookback)
        if self.asked["calendar"] == calendars.DAILY:  # (S12): days without any close
            priced = await load(session, select_price_dates(catalog))
            dates = set(map(calendars.date_of, priced.tolist()))
            days = tuple(day for day in days if day.session in dates)
        return {"coverage": days, "marks": mark_map(latest, held, lookback)}

    async def _issues(self) -> tuple[IssueCount, ...]:
        rows = await self.ledger.issue_counts(self.session, self.latest_ids, most=NAMED)
        names = ("name", "count", "portfolios", "failed", "symbols")
        return tuple(
            IssueCount(**{name: row[name] for name in names}, example=_example(row)) for row in rows
        )

    async def _findings(self) -> tuple[PriceFinding, ...] | None:
        """Return the findings of the checks of prices; None for a run without checks."""
        checks = self.asked.get("checks") or {}
        if set(checks.values()) <= {"off"}:
            return None
        rows = await self.ledger.symbol_issues(
            self.session, self.latest_ids, names=CHECKS, most=FINDINGS + 1
        )
        return tuple(PriceFinding(**row) for row in rows)

    async def _failed(self) -> tuple[FailedPortfolio, ...]:
        causes = [name for name in policies.FAILURES if name != PRICE_LOW]
        causes += ["refused_by_database", "missing_value", "no_session"]
        rows = await self.ledger.failed_portfolios(
            self.session, self.latest_ids, causes=causes, most=LISTED
        )
        ids = [uuid.UUID(row["portfolio"]) for row in rows]
        named = await load_named(self.session, self.catalog, ids, 0) if ids else {}
        return tuple(
            FailedPortfolio(row["portfolio"], named.get(own, {}).get("name") or "", _reason(row))
            for own, row in zip(ids, rows, strict=True)
        )


def facts(runs: Sequence[RunStatus]) -> RunFacts:
    """Return a run, or all shards of a group by their runs, in the form of pages.

    Seconds are those of the slowest shard.
    """
    latest, shards = latest_of_each(runs), shards_of(runs)
    last = latest[-1]
    worst = max(shards, key=lambda one: RUN_STATES.index(one.state))
    ended = [run.ended_at for run in latest]
    known = [run.portfolios for run in latest if run.portfolios is not None]
    error = worst.error
    if last.shard is not None and error is not None:
        error = f"shard {shard_text(worst.shard)}: {error}"
    phases = {name: None for run in latest for name in run.seconds_by_phase}
    return RunFacts(
        run_id=last.group or last.run_id,
        state=worst.state,
        policy=last.asked["policy"],
        began=min(run.created_at for run in runs),
        ended=None if None in ended else max(filter(None, ended)),
        seconds=max(one.seconds for one in shards),
        rows_written=sum(one.rows_written for one in shards),
        portfolios=sum(known) if known else None,
        failed=sum(one.failed for one in shards),
        end=max(filter(None, (run.end_date for run in latest)), default=None),
        error=error,
        attempt=max(one.attempt for one in shards),
        seconds_by_phase={
            name: max(run.seconds_by_phase.get(name, 0.0) for run in latest) for name in phases
        },
    )


def spread(
    mantissas: Int64,
    scale: int,
    *,
    without: int,
    lowest: tuple[PortfolioReturn, ...],
    highest: tuple[PortfolioReturn, ...],
) -> ReturnSpread:
    """Return the exact distribution of returns.

    Bins are 1, 2 or 5 times a power of ten wide, so that the middle 98 % of the returns take about
    `BINS` of them; returns beyond are counted together. There is at least one return.
    """
    ordered = np.sort(mantissas)
    count = len(ordered)
    cut = count // 100
    low, high = int(ordered[cut]), int(ordered[count - 1 - cut])
    width = _nice((high - low) // BINS, scale)
    first = low // width
    bins = high // width - first + 1
    if bins < 2:  # noqa: PLR2004  # one bar says nothing of where it stands
        first, bins = first - 1, 3
    edges = [(first + number) * width for number in range(bins + 1)]
    places = np.searchsorted(ordered, edges, side="left")
    middle = (int(ordered[(count - 1) // 2]) + int(ordered[count // 2])) / Decimal(2)
    return ReturnSpread(
        edges=tuple(Decimal(edge).scaleb(-scale) for edge in edges),
        counts=tuple(np.diff(places).tolist()),
        below=int(places[0]),
        above=int(count - places[-1]),
        median=middle.scaleb(-scale),
        without=without,
        lowest=lowest,
        highest=highest,
    )


def _nice(width: int, scale: int) -> int:
    """Return the next 1, 2 or 5 times a power of ten from a width, at least 0.01 %."""
    least = max(width, int(10 ** max(scale - 4, 0)))
    digit = int(10 ** (len(str(least)) - 1))
    return next(step * digit for step in (1, 2, 5, 10) if step * digit >= least)


def coverage_days(
    closes: Prices, symbols: Text, sessions: Int32, lookback_days: int
) -> tuple[CoverageDay, ...]:
    """Return the coverage of sessions (S12)."""
    market = build_market(closes, sessions, lookback_days=lookback_days)
    found = Coverage(sessions, *market.marks.coverage(symbols))
    rows = zip(
        sessions.tolist(),
        found.fresh.tolist(),
        found.recent.tolist(),
        found.share().tolist(),
        strict=True,
    )
    return tuple(CoverageDay(calendars.date_of(day), *counts) for day, *counts in rows)


def mark_map(latest: LatestCloses, held: HeldSymbols, lookback_days: int) -> MarkMap | None:
    """Return the marks of the symbols that lack closes on most sessions while held.

    None if none is. A symbol counts as held from its first entry to its last end; ``latest`` has
    those that lack a close on some session, ``held`` all.
    """
    names = [normalised(name) for name in held.symbol.table()]
    row_of = {name: row for row, name in enumerate(sorted({*names, *latest.symbols}))}
    row = np.array([*(row_of[name] for name in names), -1], dtype=np.int64)[held.symbol.codes]
    count, sessions = len(row_of), latest.sessions.astype(np.int64)
    start = np.full(count, np.iinfo(np.int64).max)
    end = np.full(count, np.iinfo(np.int64).min)
    known = row >= 0
    np.minimum.at(start, row[known], held.start[known])
    np.maximum.at(end, row[known], held.end[known])
    inside = (sessions >= start[:, None]) & (sessions < end[:, None])
    in_all = int(inside.any(axis=1).sum())
    shown = np.array([row_of[name] for name in latest.symbols], dtype=np.int64)
    start, inside = start[shown], inside[shown]
    day = latest.day.astype(np.int64)
    marks = np.full(day.shape, Mark.STALE, dtype=np.uint8)
    marks[day >= sessions - lookback_days] = Mark.LOOKBACK
    marks[day == sessions] = Mark.FRESH
    marks[(day == NEVER) | (day < start[:, None])] = Mark.UNPRICED
    marks[~inside] = NOT_HELD
    counts = {mark: (marks == mark).sum(axis=1) for mark in Mark}
    bad = counts[Mark.STALE] + counts[Mark.UNPRICED]
    lacking = bad + counts[Mark.LOOKBACK] > 0
    if not lacking.any():
        return None
    order = np.lexsort((counts[Mark.LOOKBACK], counts[Mark.UNPRICED], bad))[::-1]
    worst = order[lacking[order]][:WORST]
    return MarkMap(
        symbols=tuple(latest.spelt[at] for at in worst.tolist()),
        sessions=tuple(calendars.date_of(one) for one in latest.sessions.tolist()),
        marks=marks[worst],
        held=in_all,
        lacking=int(lacking.sum()),
    )


def _example(row: Mapping[str, Any]) -> str:
    named = row["named"] or ()
    symbols = ", ".join(named)
    if (more := row["symbols"] - len(named)) > 0:
        symbols += f" and {more:,} more"
    day = row["session"].isoformat() if row["session"] else ""
    return "; ".join(filter(None, (symbols, day, row["detail"])))


def _reason(row: Mapping[str, Any]) -> str:
    on = f" on {row['session'].isoformat()}" if row["session"] else ""
    return f"{row['name']} {row['detail'] or ''}".rstrip() + on
