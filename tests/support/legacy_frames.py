"""Frames from what the reference of `legacy` reads, and results of the core as it gives them.

Ids of positions ascend in the order in which portfolios hold them: the core adds up floats in the
order of ids, the reference in that of its positions.
"""

from collections.abc import Sequence
from dataclasses import fields, replace
from decimal import Decimal
from typing import Any

import numpy as np

import batchcore
from batchcore import reference as ref
from batchcore.calendar import date_of
from batchcore.frames import (
    BenchmarkWeights,
    Betas,
    Decimals,
    FloatObjects,
    Inputs,
    Opening,
    Profiles,
    Rows,
    Text,
)
from batchcore.reference import legacy
from batchcore.units import CENTS, State
from support import build
from support.cases import Run

PROFILE_BETA_SCALE = 4


def in_doubles(run: Run) -> Run:
    """Return a run as it is read from tables that hold its inputs as doubles."""
    return replace(
        run,
        portfolios=tuple(build.in_doubles(portfolio, run.scales) for portfolio in run.portfolios),
        prices=build.prices_in_doubles(run.prices, run.scales.close),
        profiles={
            symbol: replace(profile, beta=build.double(profile.beta, PROFILE_BETA_SCALE))
            for symbol, profile in run.profiles.items()
        },
    )


def by_reference(run: Run) -> list[legacy.Result]:
    shared = run.shared(set(run.days))
    return [legacy.roll(one, shared, run.days, run.scales) for one in run.portfolios]


def inputs(run: Run) -> Inputs:
    """Return the frames of a run."""
    frames = build.inputs(
        [_as_read(portfolio) for portfolio in run.portfolios],
        run.prices,
        scales=run.scales,
        column_scales={"snapshot": CENTS} | run.column_scales,
    )
    positions = [one for portfolio in run.portfolios for one in portfolio.positions]
    ids = build.ids(range(len(positions)))
    betas = [(at, beta) for at, one in enumerate(positions) for beta in one.betas]
    stored = [snapshot for one in run.portfolios for snapshot in one.snapshots]
    profiles = list(run.profiles.values())
    no_text = Text.of([None] * len(profiles))
    return replace(
        frames,
        positions=replace(
            frames.positions,
            id=ids,
            last_price=build.decimals(
                (one.last_price for one in positions),
                run.column_scales.get("last_price", run.scales.price),
            ),
        ),
        events=replace(
            frames.events,
            position_id=ids[[at for at, one in enumerate(positions) for _ in one.events]],
        ),
        previous=replace(
            frames.previous, is_complete=np.array([s.is_complete for s in stored], dtype=np.bool_)
        ),
        opening=Opening(portfolio_id=frames.opening.portfolio_id, equity=frames.opening.equity),
        profiles=Profiles(
            symbol=Text.of(list(run.profiles)),
            name=no_text,
            beta=build.decimals((profile.beta for profile in profiles), PROFILE_BETA_SCALE),
            sector=Text.of([profile.sector for profile in profiles]),
            industry=no_text,
            country=no_text,
            market_cap=Decimals.nulls(len(profiles)),
            is_etf=np.array([bool(profile.is_etf) for profile in profiles], dtype=np.bool_),
        ),
        betas=Betas(
            position_id=ids[[at for at, _ in betas]],
            day=build.days(beta.day for _, beta in betas),
            beta=build.decimals((beta.beta for _, beta in betas), build.BETA_SCALE),
        ),
        benchmark=BenchmarkWeights(
            sector=Text.of(["Energy"] * run.has_benchmark),
            weight=build.decimals([Decimal(1)] * run.has_benchmark, 6),
        ),
        cached=build.prices(
            ((symbol, day, price) for (symbol, day), price in run.cached.items()),
            run.column_scales.get("cached", run.scales.close),
        ),
    )


def _as_read(portfolio: legacy.Portfolio) -> ref.Portfolio:
    """Return what frames hold of a portfolio; `legacy` reads no quantity of an event."""
    return ref.Portfolio(
        portfolio.name,
        portfolio.equity_balance,
        tuple(
            replace(one, events=tuple(replace(event, quantity=None) for event in one.events))
            for one in portfolio.positions
        ),
        portfolio.flows,
        tuple(
            ref.Snapshot(
                row.day,
                row.equity,
                row.cumulative_pnl,
                row.cumulative_realized_pnl,
                row.cumulative_capital_flow,
            )
            for row in portfolio.snapshots
        ),
    )


def computed(run: Run, frames: Inputs | None = None, threads: int = 1) -> Rows:
    return batchcore.compute(
        inputs(run) if frames is None else frames,
        build.session_days(run.days),
        policy="legacy",
        today=date_of(run.today),
        threads=threads,
    )


def by_core(run: Run) -> list[legacy.Result]:
    return results(computed(run), run)


def day_by_day(run: Run) -> list[legacy.Result]:
    """Return what runs of one day each give, each going on from what the ones before stored."""
    portfolios = run.portfolios
    parts: list[list[legacy.Result]] = []
    for day in run.days:
        parts.append(by_core(replace(run, portfolios=portfolios, days=(day,))))
        portfolios = tuple(map(after, portfolios, parts[-1]))
    return [
        legacy.Result(
            rows=tuple(row for part in own for row in part.rows),
            failures=tuple(issue for part in own for issue in part.failures),
            errors=tuple(text for part in own for text in part.errors),
            skipped=tuple(day for part in own for day in part.skipped),
            equity_balance=own[-1].equity_balance,
        )
        for own in zip(*parts, strict=True)
    ]


def after(portfolio: legacy.Portfolio, result: legacy.Result) -> legacy.Portfolio:
    """Return a portfolio with what a run has stored."""
    written = {row.day: snapshot_of(row) for row in result.rows}
    kept = [snapshot for snapshot in portfolio.snapshots if snapshot.day not in written]
    return replace(
        portfolio,
        equity_balance=result.equity_balance,
        snapshots=(*kept, *written.values()),
    )


def snapshot_of(row: legacy.Row) -> legacy.Snapshot:
    return legacy.Snapshot(
        row.day,
        row.equity_balance,
        row.cumulative_pnl,
        row.cumulative_realized_pnl,
        row.cumulative_capital_flow,
    )


def results(rows: Rows, run: Run) -> list[legacy.Result]:
    """Return result columns as the reference gives them."""
    written = build.by_portfolio(rows, legacy.Row, row_columns(rows))
    failures: list[list[ref.Issue]] = [[] for _ in run.portfolios]
    for portfolio, issue in build.issues(rows.issues):
        failures[portfolio].append(issue)
    assert [len(own) > 0 for own in failures] == rows.failed.tolist()
    found = []
    for portfolio, own, failed in zip(run.portfolios, written, failures, strict=True):
        failed.sort(key=lambda issue: run.days.index(issue.day or 0))
        gone = {row.day for row in own} | {issue.day for issue in failed}
        found.append(
            legacy.Result(
                rows=tuple(own),
                failures=tuple(failed),
                errors=(f"{portfolio.name}: Failed to create snapshot",) * len(failed),
                skipped=tuple(day for day in run.days if day not in gone),
                equity_balance=own[-1].equity_balance if own else portfolio.equity_balance,
            )
        )
    return found


def row_columns(rows: Rows) -> dict[str, Sequence[Any]]:
    own = rows.legacy
    assert own is not None
    columns: dict[str, Sequence[Any]] = dict(build.row_columns(rows))
    for item in fields(own):
        column = getattr(own, item.name)
        is_decimal = isinstance(column, Decimals)
        columns[item.name] = build.cells(column) if is_decimal else mappings(column)
    return columns


def mappings(column: FloatObjects) -> list[dict[str, float] | None]:
    cells = zip(column.values.tolist(), column.present.tolist(), column.state.tolist(), strict=True)
    return [
        {
            name: value
            for name, value, there in zip(column.names, values, present, strict=True)
            if there
        }
        if state == State.VALUE
        else None
        for values, present, state in cells
    ]
