"""The page of a portfolio, from one snapshot of its stored rows."""

from __future__ import annotations

import asyncio
import datetime as dt
from decimal import Decimal, localcontext
from functools import partial
from typing import TYPE_CHECKING, Any, Final

import numpy as np

from batchcore import calendar as calendars
from batchcore.analytics.sector_exposure import RENAMED
from batchcore.arguments import checked_id
from batchcore.attribution.explainer import explain
from batchcore.config import Settings
from batchcore.db.catalog import Catalog, inspect
from batchcore.db.check import check
from batchcore.errors import ConfigError
from batchcore.frames import Flows
from batchcore.pages import texts
from batchcore.pages.contents import Point, PortfolioPage, Share
from batchcore.pages.growth import Growth
from batchcore.pg.database import Database
from batchcore.returns.benchmark import Benchmark
from batchcore.returns.chunk import NO_TWR, chain_of
from batchcore.returns.performance import performance
from batchcore.sources.host import Selection
from batchcore.sources.prices import load_calendar
from batchcore.sources.profiles import SP500, WEIGHTS, select_benchmark
from batchcore.sources.query import load
from batchcore.sources.snapshots import load_chain, load_portfolio, select_chain_rows
from batchcore.units import MARKET
from batchcore.values import parsed_json

if TYPE_CHECKING:
    import uuid
    from collections.abc import Iterable, Mapping, Sequence

    from batchcore.calendar import Calendar
    from batchcore.frames import Int32
    from batchcore.pg.session import Session

PERIODS: Final = ("MTD", "QTD", "YTD", "1Y", "3Y", "5Y", "ITD")
"""Periods of performance, beside the range of the page."""

LARGEST: Final = 15
"""Number of symbols held that are listed."""

DIGITS: Final = 28
"""Of shares."""

AMOUNTS: Final = (
    *("equity", "pnl", "flow", "cumulative", "realized"),
    *("long", "short", "net", "top_3", "top_10"),
)
"""Columns of a point that are shown as stored."""


async def load_portfolio_page(
    db: object,
    portfolio: uuid.UUID | str,
    *,
    since: dt.date | None = None,
    policy: str = "rollforward",
    calendar: str = "XNYS",
    benchmark: str | None = None,
    settings: Settings | None = None,
) -> PortfolioPage:
    """Return the contents of the page of a portfolio, from a session, or the first after it.

    The policy determines the figures, the calendar the sessions (S1); of the settings, `schema`,
    `lookback_days`, `fx_lookback_days` and `fx_pivot` apply. It is compared with `SPY` by default,
    if that has closes.
    """
    own, settings = checked_id(portfolio, "portfolio"), settings or Settings()
    if benchmark is not None:
        Benchmark.of(benchmark, settings)
    async with Database(db, borrow=True).reading("report") as session:
        catalog = await inspect(session, settings.schema)
        check(catalog, writes=False)
        about = await load_portfolio(session, catalog, own)
        if about is None:
            raise ConfigError(f"there is no portfolio {own}", "portfolio")
        days = await load_calendar(session, catalog, calendar)
        chain = [finite(row) for row in await load_chain(session, catalog, days, own)]
        begin = calendars.FIRST_DATE if since is None else calendars.day_of(since)
        rows = [row for row in chain if row["day"] >= begin]
        if not rows:
            after = "" if since is None else f" since {since.isoformat()}"
            raise ConfigError(f"portfolio {own} has no complete snapshot{after}", "since")
        growth = await _growth(session, catalog, days, own, rows[0]["day"])
        points = points_of(rows, await asyncio.to_thread(growth.by_session))
        first, last = points[0].session, points[-1].session
        options: dict[str, Any] = {"calendar": calendar, "settings": settings}
        begins = first if len(points) > 1 else None
        by_symbol, by_sector = [
            await explain(session.raw, [own], last, since=begins, by=by, policy=policy, **options)
            for by in ("symbol", "sector")
        ]
        shown: Mapping[str, Any] = {}
        periods: tuple[Mapping[str, Any], ...] = ()
        compared = benchmark or MARKET if len(points) > 1 else ""
        if compared:
            measured = partial(_performance, session, own, (first, last), **options)
            try:
                shown, periods = await measured(benchmark=compared)
            except ConfigError as error:
                if error.option != "benchmark" or benchmark is not None:
                    raise
                # It was not requested, and the host may not have its closes.
                compared = ""
                shown, periods = await measured(benchmark=None)
        on, sectors = sectors_of(chain, last)
        weights = await _weights(session, catalog, on)
        return PortfolioPage(
            portfolio=str(own),
            name=about["name"] or "",
            currency=about["currency"] or "",
            points=points,
            missing=missing_sessions(days, points),
            drawdown=drawdown_of(shown),
            no_returns=no_returns_of(shown),
            months=dict(growth.by(lambda date: (date.year, date.month))),
            years=dict(growth.by(lambda date: date.year)),
            periods=periods,
            benchmark=compared,
            by_symbol=None if by_symbol.daily_pnl is None else by_symbol,
            by_sector=None if by_sector.daily_pnl is None else by_sector,
            holdings=largest(
                (row.key or texts.UNNAMED, row.value) for row in by_symbol.rows if row.value
            ),
            sectors=beside(sectors, weights),
            sectors_on=on,
        )


async def _weights(session: Session, catalog: Catalog, on: dt.date | None) -> Mapping[str, float]:
    """Return the sector weights of the benchmark on a day, named as sectors are (A2)."""
    if on is None or not catalog.has_table(WEIGHTS):
        return {}
    found = await load(session, select_benchmark(catalog, SP500, calendars.day_of(on)))
    return {RENAMED.get(name, name): weight for name, weight in found.weights.items()}


async def _performance(
    session: Session,
    portfolio: uuid.UUID,
    span: tuple[dt.date, dt.date],
    *,
    benchmark: str | None,
    **options: Any,  # noqa: ANN401  # those of `performance`
) -> tuple[Mapping[str, Any], tuple[Mapping[str, Any], ...]]:
    """Return performance over the range of the page, and by period up to its end (W1 to W5)."""
    first, last = span
    eve = first + dt.timedelta(days=1)
    options |= {"benchmark": benchmark, "end": last}
    shown = await performance(session.raw, [portfolio], start=eve, **options)
    found = await performance(session.raw, [portfolio], periods=PERIODS, **options)
    return shown.rows()[0], tuple(found.rows())


async def _growth(
    session: Session, catalog: Catalog, calendar: Calendar, portfolio: uuid.UUID, first: int
) -> Growth:
    """Return the growth after a stored session."""
    ids = np.frombuffer(portfolio.bytes, dtype=np.uint8).reshape(1, 16)
    days = (calendars.FIRST_DATE, calendars.LAST_DATE)
    query = select_chain_rows(catalog, calendar, Selection(ids), days, earlier=False)
    chain = chain_of(ids, await load(session, query), Flows.none(), calendar)
    return Growth.since(chain, first)


def finite(row: Mapping[str, Any]) -> dict[str, Any]:
    """Return a stored row in which NaN and Infinity are None."""
    return {
        name: None if isinstance(value, Decimal) and not value.is_finite() else value
        for name, value in row.items()
    }


def points_of(
    rows: Sequence[Mapping[str, Any]], returns: Mapping[int, tuple[Decimal | None, Decimal | None]]
) -> tuple[Point, ...]:
    """Return stored rows as points, with the returns and falls by day."""
    none = Decimal(0)
    points = []
    for number, row in enumerate(rows):
        twr, fall = returns[int(row["day"])] if number else (none, none)
        points.append(
            Point(
                session=calendars.date_of(int(row["day"])),
                twr=twr,
                fall=fall,
                **{name: row[name] for name in AMOUNTS},
            )
        )
    return tuple(points)


def missing_sessions(calendar: Calendar, points: Sequence[Point]) -> tuple[dt.date, ...]:
    """Return the sessions between the first and the last point without one."""
    days = np.array([calendars.day_of(point.session) for point in points], dtype=np.int32)
    sessions: Int32 = calendar.sessions(int(days[0]), int(days[-1]))
    lacking = sessions[~np.isin(sessions, days)]
    return tuple(calendars.date_of(day) for day in lacking.tolist())


def drawdown_of(row: Mapping[str, Any]) -> Mapping[str, Any] | None:
    """Return a row of `performance` (W4); None if it has no largest fall."""
    return None if row.get("max_drawdown") is None else row


def no_returns_of(row: Mapping[str, Any]) -> str:
    """Return why a row of `performance` has no return; empty if it has one."""
    reasons = (row.get("reason") or "").split("; ")
    return next((one for one in reasons if one.startswith(NO_TWR)), "")


def sectors_of(
    chain: Sequence[Mapping[str, Any]], last: dt.date
) -> tuple[dt.date | None, dict[str, Decimal]]:
    """Return day and sector weights of the last row up to a day with any."""
    for row in reversed(chain):
        day = calendars.date_of(int(row["day"]))
        if day <= last and row["sectors"]:
            found = parsed_json(row["sectors"])
            if isinstance(found, dict) and found:
                return day, {name: one for name, one in found.items() if _is_share(one)}
    return None, {}


def _is_share(value: object) -> bool:
    """Return whether a value of JSON is a number that a page has room for."""
    return isinstance(value, Decimal) and value.adjusted() < DIGITS


def beside(shares: Mapping[str, Decimal], weights: Mapping[str, float]) -> tuple[Share, ...]:
    """Return the shares of sectors, the largest first, beside those of a benchmark."""
    if not shares:
        return ()
    none = Decimal(0)
    names = sorted({*shares, *weights}, key=lambda name: (-shares.get(name, none), name))
    return tuple(
        Share(
            name,
            shares.get(name, none),
            benchmark=Decimal(repr(weights.get(name, 0.0))) if weights else None,
        )
        for name in names
    )


def largest(values: Iterable[tuple[str, Decimal]]) -> tuple[Share, ...]:
    """Return symbols as shares of the total gross value, the largest first, the rest together."""
    ordered = sorted(values, key=lambda one: (-abs(one[1]), one[0]))
    gross = sum((abs(value) for _, value in ordered), start=Decimal(0))
    if not gross:
        return ()
    with localcontext(prec=DIGITS):
        found = [Share(name, value / gross, amount=value) for name, value in ordered[:LARGEST]]
        rest = sum((abs(value) for _, value in ordered[LARGEST:]), start=Decimal(0))
        if rest:
            found.append(
                Share(f"{len(ordered) - LARGEST:,} others, gross", rest / gross, amount=rest)
            )
    return tuple(found)
