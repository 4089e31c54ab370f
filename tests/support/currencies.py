"""Runs over lots in several currencies: by the core, and by the reference."""

from collections.abc import Iterable
from dataclasses import replace
from decimal import Decimal
from typing import Any

import numpy as np

from batchcore import native
from batchcore import reference as ref
from batchcore.frames import Rows
from batchcore.reference.contributions import Contribution
from batchcore.units import Mark
from support import build
from support.cases import Case
from support.generate import Run

Outcome = tuple[list[ref.Result], list[ref.Issue]]


def sessions_of(run: Run | Case) -> tuple[int, ...]:
    return run.sessions if isinstance(run, Run) else run.days


def rates_of(run: Run | Case) -> ref.Rates:
    """Return the usable rates; bad ones are those that a run over its sessions reports."""
    sessions, fx = sessions_of(run), {"lookback_days": 5, **run.fx}
    reported = sessions[0] - fx["lookback_days"], sessions[-1]
    return ref.rates(run.rates or (), **fx, reported=reported)


def by_reference(run: Run | Case) -> Outcome:
    market, rates = run.market(), rates_of(run)
    results = [
        ref.roll_forward(one, market, sessions_of(run), run.lookback_days, run.scales, rates=rates)
        for one in run.portfolios
    ]
    noticed = [*market.issues, *rates.issues]
    if market.splits is not None:
        noticed += market.splits.issues
    return [build.in_64_bits(one) for one in results], sorted(noticed, key=repr)


def frames_of(run: Run | Case) -> Any:
    return build.inputs(
        run.portfolios,
        run.prices,
        sessions_of(run),
        run.scales,
        rates=run.rates,
        rate_scale=run.fx.get("scale", 0),
        splits=run.splits,
    )


def computed(run: Run | Case) -> Rows:
    return native.compute(
        frames_of(run),
        build.session_days(sessions_of(run)),
        lookback_days=run.lookback_days,
        threads=1,
        fx_lookback_days=run.fx.get("lookback_days", 5),
        fx_pivot=run.fx.get("pivot", "USD"),
    )


def by_core(run: Run | Case) -> Outcome:
    rows = computed(run)
    return build.results(rows), sorted(build.market_issues(rows), key=repr)


def core_rates(inputs: Any, run: Run | Case, sessions: Any) -> Any:
    """Return the native rates of a run's frames."""
    return native.build_rates(
        inputs.rates,
        inputs.positions.currency,
        inputs.opening.currency,
        sessions,
        lookback_days=run.fx.get("lookback_days", 5),
        pivot=run.fx.get("pivot", "USD"),
    )


def contributions_by_core(
    run: Run | Case, portfolio: ref.Portfolio, previous: int | None, session: int
) -> list[tuple[Any, ...]]:
    inputs = frames_of(replace(run, portfolios=(portfolio,)))
    sessions = build.session_days([session])
    rates = core_rates(inputs, run, sessions)
    first = np.iinfo(np.int32).min if previous is None else previous
    found = native.contributions(
        native.build_market(
            inputs.prices, sessions, lookback_days=run.lookback_days, splits=inputs.splits
        ),
        native.Book.of(inputs, rates),
        opening=replace(
            inputs.opening,
            first_day=np.array([first], dtype=np.int32),
            last_day=sessions,
        ),
        threads=1,
    )
    columns = [
        found.position.tolist(),
        *(
            column.decimals()
            for column in (
                *(found.quantity, found.unrealized_change, found.realized),
                *(found.price_effect, found.currency_effect, found.value),
                *(found.mark_before, found.mark, found.rate_before, found.rate),
            )
        ),
        [
            None if s else Mark(v)
            for v, s in zip(found.status.values, found.status.state, strict=True)
        ],
    ]
    return sorted(zip(*columns, strict=True), key=_order)


def told(found: Iterable[Contribution], *, is_baseline: bool) -> list[tuple[Any, ...]]:
    """Return what `contributions_by_core` does; it has 0 for what a baseline has not."""

    def amount(value: Decimal | None, one: Contribution) -> Decimal | None:
        lacks = one.value is None and is_baseline
        return Decimal(0) if is_baseline and value is None and not lacks else value

    rows = [
        (
            one.position,
            one.quantity,
            *(
                amount(value, one)
                for value in (
                    *(one.unrealized_change, one.realized),
                    *(one.price_effect, one.currency_effect),
                )
            ),
            one.value,
            *(None if mark is None else mark.price for mark in (one.before, one.after)),
            *(None if mark is None else mark.rate for mark in (one.before, one.after)),
            None if one.after is None else one.after.status,
        )
        for one in found
    ]
    return sorted(rows, key=_order)


def _order(lot: tuple[Any, ...]) -> tuple[Any, ...]:
    return tuple((value is not None, value or 0) for value in lot)
