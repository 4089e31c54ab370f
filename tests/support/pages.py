"""What pages show, made up: of any size, and with names that are code elsewhere."""

import datetime as dt
import random
from collections.abc import Iterable
from dataclasses import fields
from decimal import Decimal

import numpy as np

from batchcore.attribution.explanation import ExplainedRow, Explanation
from batchcore.audit.result import ColumnCounts, VerifyResult
from batchcore.pages.contents import (
    FINDINGS,
    NOT_HELD,
    CoverageDay,
    FailedPortfolio,
    IssueCount,
    MarkMap,
    Night,
    Point,
    PortfolioPage,
    PortfolioReturn,
    PriceFinding,
    RunFacts,
    Share,
    Totals,
)
from batchcore.pages.night import MOST_SESSIONS, RUNS, WORST, spread
from batchcore.returns.result import Performance
from batchcore.units import Mark

HOSTILE = "<script>alert('x')</script>"
"""A symbol, a sector and a name."""

ODD = ("$\\frac{1}{2}$", "A&B", '"quoted"', "\x01bell", "大塚 <b>", "x" * 300, "-->", "{{ 7 * 7 }}")
"""Others that matplotlib, XML or the templates could take for more than a name."""

LAST = dt.date(2025, 6, 30)

NO_PERIOD = dict.fromkeys(one.name for one in fields(Performance))
"""A row of `performance` without any figure."""


def sessions(count: int, last: dt.date = LAST) -> tuple[dt.date, ...]:
    """Return so many days from Monday to Friday, up to one."""
    found: list[dt.date] = []
    while len(found) < count:
        if last.weekday() < 5:
            found.append(last)
        last -= dt.timedelta(days=1)
    return tuple(reversed(found))


def cents(amount: float) -> Decimal:
    return Decimal(round(amount * 100)).scaleb(-2)


def run(number: int = 0, **changes: object) -> RunFacts:
    """Return a run that began so many days before the last session."""
    began = dt.datetime(2025, 6, 30, 21, 5, tzinfo=dt.UTC) - dt.timedelta(days=number)
    share = 1 + (number * 7 % 5) / 10
    facts = {
        "run_id": f"00000000-0000-4000-8000-{number:012d}",
        "state": "complete",
        "policy": "rollforward",
        "began": began,
        "ended": began + dt.timedelta(seconds=9),
        "seconds": 8.25 * share,
        "rows_written": 100_000,
        "portfolios": 100_000,
        "failed": 0,
        "end": began.date(),
        "seconds_by_phase": {
            "load": 5.5 * share,
            "compute": 0.625 * share,
            "analytics": 2.5 * share,
            "persist": 4.75 * share,
            "total": 8.25 * share,
        },
    }
    return RunFacts(**{**facts, **changes})


def explained(by: str, names: Iterable[str], source: random.Random, **more: object) -> Explanation:
    """Return a P&L whose stored sum is a cent off."""
    rows = tuple(
        ExplainedRow(key=name, unrealized_change=change, realized=own, contribution=change + own)
        for name in names
        for change, own in [(cents(source.gauss(0, 90_000)), cents(source.gauss(500, 9_000)))]
    )
    total = sum((row.contribution for row in rows), start=Decimal(0))
    return Explanation(
        policy="rollforward",
        by=by,
        session=LAST,
        daily_pnl=total + Decimal("0.01"),
        computed_pnl=total,
        rows=rows,
        **{"since": None, "previous": sessions(2)[0], **more},
    )


def names_of(what: str, count: int) -> list[str]:
    return [HOSTILE, *ODD, *(f"{what}{number}" for number in range(count))][:count]


def night(portfolios: int = 100_000, symbols: int = 5_000, seed: int = 1) -> Night:
    """Return a night on which everything happened that a page shows."""
    source, numbers = random.Random(seed), np.random.default_rng(seed)  # noqa: S311  # no secret
    returns = np.rint(numbers.normal(400, 9_000, portfolios)).astype(np.int64)
    order = np.argsort(returns).tolist()

    def one(row: int) -> PortfolioReturn:
        value = Decimal(int(returns[row])).scaleb(-6)
        names = {order[0]: HOSTILE, order[1]: "\x01 $1$"}
        name = names.get(row, f"Growth {row:06d}")
        return PortfolioReturn(f"id-{row}", name, value, cents(float(value) * 1e6), cents(1e6))

    days = sessions(MOST_SESSIONS)
    # The worst that a map can be: no two cells beside each other alike.
    marks = numbers.integers(0, 4, (WORST, len(days))).astype(np.uint8)
    marks[:, ::2] = np.where(marks[:, ::2] == Mark.FRESH, Mark.STALE, marks[:, ::2])
    marks[-5:, :20] = NOT_HELD
    named = [HOSTILE, *ODD, *(f"SYM{number}" for number in range(WORST))][:WORST]
    shares = [0.99 - (number % 9 == 4) * 0.12 for number in range(len(days))]
    return Night(
        run=run(state="incomplete", failed=37),
        session=LAST,
        totals=Totals(
            portfolios=portfolios,
            losing=portfolios // 3,
            equity=Decimal("123456789012.34"),
            pnl=Decimal("-1234567.89"),
            flow=Decimal("250000.00"),
            currency="USD",
        ),
        statuses={
            "ok": portfolios - 1_237,
            "lookback": 700,
            "stale": 300,
            "unpriced": 150,
            "skipped": 50,
            "failed": 37,
        },
        coverage=tuple(
            CoverageDay(day, round(4_900 * share), 4_900, share)
            for day, share in zip(days, shares, strict=True)
        ),
        gate=0.9,
        marks=MarkMap(tuple(named), days, marks, symbols, 812),
        issues=(
            IssueCount(
                name="out_of_range",
                count=37,
                portfolios=37,
                failed=37,
                symbols=0,
                example="2025-06-30; long_value = 123456789012345.67",
            ),
            IssueCount(
                name="stale", count=990, portfolios=0, failed=0, symbols=44, example=HOSTILE
            ),
            IssueCount(name="from_a_plugin", count=1, portfolios=1, failed=0, symbols=0),
        ),
        findings=tuple(
            PriceFinding("price_jump", symbol, 1, LAST, "10 to 16.1, +61.0%; held by 3 portfolios")
            for symbol in (HOSTILE, *ODD, *(f"SYM{number}" for number in range(FINDINGS)))
        ),
        failed=tuple(
            FailedPortfolio(
                f"id-{number}", HOSTILE if number == 0 else "", "out_of_range " + "long " * 60
            )
            for number in range(20)
        ),
        by_symbol=explained("symbol", names_of("SYM", symbols), source),
        by_sector=explained("sector", names_of("Sector ", 11), source, unexplained=1),
        returns=spread(
            returns,
            6,
            without=12,
            lowest=tuple(map(one, order[:5])),
            highest=tuple(map(one, order[::-1][:5])),
        ),
        history=tuple(
            run(number, **({"state": "failed", "rows_written": 20_000} if number == 11 else {}))
            for number in reversed(range(RUNS))
        ),
        verifies=True,
        verified=VerifyResult(
            policy="rollforward",
            calendar="XNYS",
            fast=True,
            portfolios=portfolios,
            rows=portfolios,
            rows_stored=portfolios,
            rows_differing=2,
            missing_sessions=0,
            columns=ColumnCounts(
                ("daily_pnl", "equity_balance", "long_value"),
                np.array([portfolios, portfolios, portfolios * 29]),
                np.array([2, 1, 0]),
                (None, None, None),
            ),
            examples=(),
            causes={},
            not_checkable={"opening": 14},
            analytics_off={},
            consistent=True,
            seconds=1.0,
        ),
    )


def portfolio(count: int = 2_520, seed: int = 1) -> PortfolioPage:
    """Return a portfolio with so many sessions, ten years as a rule."""
    source = random.Random(seed)  # noqa: S311  # no secret
    equity, cumulative, realized = Decimal(1_000_000), Decimal(0), Decimal(0)
    index = peak = Decimal(1)
    points = []
    for number, day in enumerate(sessions(count)):
        pnl = cents(float(equity) * source.gauss(0.0004, 0.009)) if number else Decimal(0)
        flow = (
            cents(source.choice((-40_000, 60_000)))
            if number and number % 250 == 130
            else Decimal(0)
        )
        index *= 1 + pnl / equity
        peak = max(peak, index)
        cumulative += pnl
        realized += pnl if number % 5 == 0 else 0
        equity += pnl + flow
        points.append(
            Point(
                session=day,
                equity=equity,
                pnl=pnl,
                flow=flow,
                cumulative=cumulative,
                realized=realized,
                long=cents(float(equity) * 0.9),
                short=cents(float(equity) * -0.2),
                net=cents(float(equity) * 0.7),
                twr=index - 1,
                fall=index / peak - 1,
                top_3=Decimal("0.4123"),
                top_10=Decimal("0.8011"),
            )
        )
    months = {(point.session.year, point.session.month): None for point in points[1:]}
    sector_names = (HOSTILE, "Technology", "Health & Care", "Energy")
    return PortfolioPage(
        portfolio="00000000-0000-4000-8000-000000000001",
        name=f"Income {HOSTILE}",
        currency="USD",
        points=tuple(points),
        missing=(dt.date(2025, 3, 4),),
        drawdown={
            "max_drawdown": Decimal("-0.2314"),
            "peak": points[count // 3].session,
            "trough": points[count // 2].session,
            "recovered": None,
            "current_drawdown": Decimal("-0.0123"),
        },
        months={
            month: None if number == 3 else cents(source.gauss(0, 4)) / 100
            for number, month in enumerate(months)
        },
        years={year: cents(source.gauss(0, 9)) / 100 for year in sorted({y for y, _ in months})},
        periods=(
            NO_PERIOD
            | {
                "period": "YTD",
                "start": dt.date(2024, 12, 31),
                "twr": Decimal("0.0412345"),
                "mwr": 0.0398,
                "benchmark": Decimal("0.0551"),
                "difference": Decimal("-0.0139"),
                "volatility": 0.1423,
                "max_drawdown": Decimal("-0.0711"),
            },
            NO_PERIOD | {"period": "5Y", "reason": f"no row {HOSTILE}"},
        ),
        benchmark="SPY",
        by_symbol=explained("symbol", names_of("SYM", 60), source, previous=points[0].session),
        by_sector=explained("sector", names_of("Sector ", 9), source, previous=points[0].session),
        holdings=tuple(
            Share(name, Decimal("0.3") / number, amount=Decimal(300_000) / number)
            for number, name in enumerate((HOSTILE, *ODD, "SPY"), start=1)
        ),
        sectors=tuple(
            Share(name, Decimal("0.5") / number, benchmark=Decimal("0.1") * number)
            for number, name in enumerate(sector_names, start=1)
        ),
        sectors_on=LAST,
    )
