"""Frames from what the reference of `legacy` reads, and results of the core as it gives them.

Ids of positions ascend in the order in which portfolios hold them: the core adds up floats in the
order of ids, the reference in that of its positions.
"""

from __future__ import annotations

from dataclasses import dataclass, field, fields, replace
from decimal import Decimal
from typing import TYPE_CHECKING, Any

import numpy as np

from batchcore import native
from batchcore import reference as ref
from batchcore.calendar import date_of
from batchcore.frames import (
    BenchmarkWeights,
    Betas,
    Decimals,
    Events,
    Flows,
    Inputs,
    Opening,
    Positions,
    Previous,
    Profiles,
    Text,
)
from batchcore.reference import legacy
from batchcore.reference.values import present
from batchcore.units import CENTS, RETURN_SCALE, State
from support import build

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    import numpy.typing as npt

    from batchcore.frames import FloatObjects, Rows
    from support.cases import Case, Price

BETA_SCALE = 6
PROFILE_BETA_SCALE = 4


@dataclass(frozen=True)
class Run:
    """What both sides compute.

    Attributes:
        portfolios: With different names.
        prices: Symbol as stored, day, close.
        days: In order, ascending.
        today: Days since 1970-01-01.
        cached: By symbol and day.
        profiles: By symbol.
        has_benchmark: Whether there is a row of SP500.
        scales: Of the columns, for the reference.
        column_scales: Larger ones of single columns, for the core.
    """

    portfolios: tuple[legacy.Portfolio, ...]
    prices: tuple[Price, ...]
    days: tuple[int, ...]
    today: int
    cached: Mapping[tuple[str, int], Decimal] = field(default_factory=dict)
    profiles: Mapping[str, legacy.Profile] = field(default_factory=dict)
    has_benchmark: bool = True
    scales: ref.Scales = ref.DEFAULT_SCALES
    column_scales: Mapping[str, int] = field(default_factory=dict)


def run_of(case: Case) -> Run:
    """Return a worked case of the policy as a run."""
    shared = [item.name for item in fields(Run) if item.name != "column_scales"]
    return Run(**{name: getattr(case, name) for name in shared})


def in_doubles(run: Run) -> Run:
    """Return a run as it is read from tables that hold its inputs as doubles."""
    scales = run.scales

    def read(value: Decimal | None, scale: int) -> Decimal | None:
        return None if value is None else ref.from_double(float(value), scale)

    def position(one: ref.Position) -> ref.Position:
        return replace(
            one,
            quantity=read(one.quantity, scales.quantity),
            entry_price=read(one.entry_price, scales.price),
            last_price=read(one.last_price, scales.price),
            market_value=read(one.market_value, scales.money),
            events=tuple(replace(e, realized=read(e.realized, scales.money)) for e in one.events),
            betas=tuple(replace(b, beta=present(read(b.beta, BETA_SCALE))) for b in one.betas),
        )

    return replace(
        run,
        portfolios=tuple(
            replace(
                portfolio,
                positions=tuple(map(position, portfolio.positions)),
                flows=tuple(
                    replace(flow, amount=read(flow.amount, scales.money))
                    for flow in portfolio.flows
                ),
            )
            for portfolio in run.portfolios
        ),
        prices=tuple((symbol, day, read(close, scales.close)) for symbol, day, close in run.prices),
        profiles={
            symbol: replace(profile, beta=read(profile.beta, PROFILE_BETA_SCALE))
            for symbol, profile in run.profiles.items()
        },
    )


def by_reference(run: Run) -> list[legacy.Result]:
    shared = legacy.Shared(
        prices=legacy.closes(run.prices, run.scales),
        calendar=set(run.days),
        today=run.today,
        cached=run.cached,
        profiles=run.profiles,
        has_benchmark=run.has_benchmark,
    )
    return [legacy.roll(one, shared, run.days, run.scales) for one in run.portfolios]


def numbered(count: int) -> npt.NDArray[np.uint8]:
    """Return keys of 16 bytes that ascend."""
    keys = b"".join(number.to_bytes(16, "big") for number in range(count))
    return np.frombuffer(keys, dtype=np.uint8).reshape(-1, 16)


def inputs(run: Run) -> Inputs:
    """Return the frames of a run."""

    def scaled(name: str, default: int, values: Iterable[Decimal | None]) -> Decimals:
        return build.decimals(values, run.column_scales.get(name, default))

    scales = run.scales
    held = [(portfolio.name, one) for portfolio in run.portfolios for one in portfolio.positions]
    positions = [one for _, one in held]
    ids = numbered(len(held))
    events = [(at, owner, event) for at, (owner, one) in enumerate(held) for event in one.events]
    betas = [(at, beta) for at, one in enumerate(positions) for beta in one.betas]
    flows = [(portfolio.name, flow) for portfolio in run.portfolios for flow in portfolio.flows]
    stored = [(one.name, snapshot) for one in run.portfolios for snapshot in one.snapshots]
    symbols = list(run.profiles)
    profiles = [run.profiles[symbol] for symbol in symbols]
    no_text = Text.of([None] * len(symbols))
    return Inputs(
        positions=Positions(
            id=ids,
            portfolio_id=build.uuids(owner for owner, _ in held),
            symbol=Text.of([one.symbol for one in positions]),
            position_type=Text.of([one.position_type for one in positions]),
            quantity=scaled("quantity", scales.quantity, (one.quantity for one in positions)),
            entry_price=scaled("entry_price", scales.price, (p.entry_price for p in positions)),
            entry_day=build.days(one.entry_day for one in positions),
            exit_day=build.days(one.exit_day for one in positions),
            investment_class=Text.of([one.investment_class for one in positions]),
            market_value=scaled("market_value", scales.money, (p.market_value for p in positions)),
            deleted=np.array([one.deleted for one in positions], dtype=np.bool_),
            last_price=scaled("last_price", scales.price, (one.last_price for one in positions)),
        ),
        events=Events(
            position_id=ids[[at for at, _, _ in events]],
            portfolio_id=build.uuids(owner for _, owner, _ in events),
            day=build.days(event.day for _, _, event in events),
            quantity=build.decimals((None for _ in events), scales.quantity),
            realized=scaled("realized_pnl", scales.money, (e.realized for _, _, e in events)),
        ),
        flows=Flows(
            portfolio_id=build.uuids(owner for owner, _ in flows),
            day=build.days(flow.day for _, flow in flows),
            amount=scaled("amount", scales.money, (flow.amount for _, flow in flows)),
            change_type=Text.of([flow.change_type for _, flow in flows]),
        ),
        prices=build.prices(run.prices, run.column_scales.get("close", scales.close)),
        previous=Previous(
            portfolio_id=build.uuids(owner for owner, _ in stored),
            day=build.session_days(snapshot.day for _, snapshot in stored),
            equity=scaled("snapshot", CENTS, (s.equity for _, s in stored)),
            cumulative_pnl=scaled("snapshot", CENTS, (s.cumulative_pnl for _, s in stored)),
            cumulative_realized_pnl=scaled(
                "snapshot", CENTS, (s.cumulative_realized_pnl for _, s in stored)
            ),
            cumulative_capital_flow=scaled(
                "snapshot", CENTS, (s.cumulative_capital_flow for _, s in stored)
            ),
            is_complete=np.array([s.is_complete for _, s in stored], dtype=np.bool_),
        ),
        opening=Opening(
            portfolio_id=build.uuids(portfolio.name for portfolio in run.portfolios),
            equity=scaled("snapshot", CENTS, (one.equity_balance for one in run.portfolios)),
        ),
        profiles=Profiles(
            symbol=Text.of(symbols),
            name=no_text,
            beta=build.decimals((profile.beta for profile in profiles), PROFILE_BETA_SCALE),
            sector=Text.of([profile.sector for profile in profiles]),
            industry=no_text,
            country=no_text,
            market_cap=Decimals.nulls(len(symbols)),
            is_etf=np.array([bool(profile.is_etf) for profile in profiles], dtype=np.bool_),
        ),
        betas=Betas(
            position_id=ids[[at for at, _ in betas]],
            day=build.days(beta.day for _, beta in betas),
            beta=build.decimals((beta.beta for _, beta in betas), BETA_SCALE),
        ),
        benchmark=BenchmarkWeights(
            sector=Text.of(["Energy"] * run.has_benchmark),
            weight=build.decimals([Decimal(1)] * run.has_benchmark, 6),
        ),
        cached=build.prices(
            ((symbol, day, price) for (symbol, day), price in run.cached.items()),
            run.column_scales.get("cached", scales.close),
        ),
    )


def computed(run: Run, frames: Inputs | None = None, threads: int = 1) -> Rows:
    return native.compute(
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
        one = replaced(run, portfolios, (day,))
        parts.append(by_core(one))
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


def replaced(run: Run, portfolios: tuple[legacy.Portfolio, ...], days: tuple[int, ...]) -> Run:
    return replace(run, portfolios=portfolios, days=days)


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
    columns = row_columns(rows)
    written: list[list[legacy.Row]] = [[] for _ in run.portfolios]
    for at, portfolio in enumerate(rows.portfolio.tolist()):
        cells = {name: column[at] for name, column in columns.items()}
        written[portfolio].append(legacy.Row(**cells))
    failures: list[list[ref.Issue]] = [[] for _ in run.portfolios]
    for portfolio, issue in build.issues(rows.issues):
        failures[portfolio].append(issue)
    assert [len(own) for own in written] == rows.written.tolist()
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
    columns: dict[str, Sequence[Any]] = {
        name: or_none(Decimals(cents, CENTS))
        for name, cents in (
            ("equity_balance", rows.equity_balance),
            ("daily_pnl", rows.daily_pnl),
            ("daily_realized_pnl", rows.daily_realized_pnl),
            ("daily_capital_flow", rows.daily_capital_flow),
            ("cumulative_pnl", rows.cumulative_pnl),
            ("cumulative_realized_pnl", rows.cumulative_realized_pnl),
            ("cumulative_capital_flow", rows.cumulative_capital_flow),
            ("long_value", rows.long_value),
            ("short_value", rows.short_value),
            ("gross_exposure", rows.gross_exposure),
            ("net_exposure", rows.net_exposure),
            ("cash_value", rows.cash_value),
        )
    }
    assert rows.daily_return.scale == RETURN_SCALE
    columns["day"] = rows.day.tolist()
    columns["daily_return"] = or_none(rows.daily_return)
    columns["num_positions"] = rows.num_positions.tolist()
    columns["num_long_positions"] = rows.num_long_positions.tolist()
    columns["num_short_positions"] = rows.num_short_positions.tolist()
    for item in fields(own):
        column = getattr(own, item.name)
        columns[item.name] = or_none(column) if isinstance(column, Decimals) else mappings(column)
    return columns


def or_none(column: Decimals) -> list[Decimal | None]:
    cells = zip(column.values.tolist(), column.state.tolist(), strict=True)
    return [None if state else Decimal(value).scaleb(-column.scale) for value, state in cells]


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
