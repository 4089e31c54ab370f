"""A run by the reference, and by the core."""

from collections.abc import Iterable, Sequence
from dataclasses import replace
from decimal import Decimal
from typing import Any

import numpy as np

import batchcore
from batchcore import native
from batchcore import reference as ref
from batchcore.frames import Contributions, Inputs, Rows
from batchcore.reference import rollforward
from batchcore.reference.contributions import Contribution
from batchcore.values import rounded
from support import build
from support.cases import Run

Outcome = tuple[list[ref.Result], list[ref.Issue]]
"""Results of portfolios, and issues of the market; the order of those of rates is nobody's."""

Lots = list[tuple[Any, ...]]
"""What each lot added, by position."""


def rates_of(run: Run) -> ref.Rates | None:
    """Return the usable rates; bad ones are those that a run over its sessions reports."""
    if run.rates is None:
        return None
    fx = {"lookback_days": 5, **run.fx}
    return ref.rates(run.rates, **fx, reported=(run.days[0] - fx["lookback_days"], run.days[-1]))


def by_reference(run: Run) -> Outcome:
    market, rates = run.market(), rates_of(run)
    results = [
        ref.roll_forward(one, market, run.days, run.lookback_days, run.scales, rates=rates)
        for one in run.portfolios
    ]
    noticed = [*market.issues, *(() if market.splits is None else market.splits.issues)]
    if rates is not None:
        noticed = sorted([*noticed, *rates.issues], key=repr)
    return [build.in_64_bits(one) for one in results], noticed


def frames(run: Run) -> Inputs:
    return build.inputs(
        run.portfolios,
        run.prices,
        run.days,
        run.scales,
        column_scales=run.column_scales,
        rates=run.rates,
        rate_scale=run.fx.get("scale", 0),
        splits=run.splits,
    )


def native_market(inputs: Inputs, run: Run, sessions: Sequence[int] | None = None) -> native.Market:
    return native.build_market(
        inputs.prices,
        build.session_days(run.days if sessions is None else sessions),
        lookback_days=run.lookback_days,
        splits=inputs.splits,
    )


def native_rates(inputs: Inputs, run: Run, sessions: Sequence[int]) -> Any:
    if inputs.rates is None:
        return None
    return native.build_rates(
        inputs.rates,
        inputs.positions.currency,
        inputs.opening.currency,
        build.session_days(sessions),
        lookback_days=run.fx.get("lookback_days", 5),
        pivot=run.fx.get("pivot", "USD"),
    )


def computed(run: Run, inputs: Inputs | None = None, *, threads: int = 1) -> Rows:
    return batchcore.compute(
        frames(run) if inputs is None else inputs,
        build.session_days(run.days),
        lookback_days=run.lookback_days,
        threads=threads,
        fx_lookback_days=run.fx.get("lookback_days", 5),
        fx_pivot=run.fx.get("pivot", "USD"),
    )


def by_core(run: Run) -> Outcome:
    rows = computed(run)
    noticed = build.market_issues(rows)
    return build.results(rows), noticed if run.rates is None else sorted(noticed, key=repr)


def contributions(
    run: Run, portfolio: ref.Portfolio, previous: int | None, session: int
) -> Sequence[Contribution]:
    """Return what the reference says that each lot added."""
    return rollforward.contributions(
        portfolio,
        run.market(),
        previous,
        session,
        lookback_days=run.lookback_days,
        scales=run.scales,
        rates=rates_of(run),
    )


def contributions_by_core(
    run: Run, portfolio: ref.Portfolio, previous: int | None, session: int
) -> Lots:
    inputs = frames(replace(run, portfolios=(portfolio,)))
    first = np.iinfo(np.int32).min if previous is None else previous
    found = native.contributions(
        native_market(inputs, run, [session]),
        native.Book.of(inputs, native_rates(inputs, run, [session])),
        opening=replace(
            inputs.opening,
            first_day=np.array([first], dtype=np.int32),
            last_day=np.array([session], dtype=np.int32),
        ),
        threads=1,
    )
    return told(found, effects=run.rates is not None)


def told(found: Contributions, *, effects: bool = False) -> Lots:
    """Return what the core says that each lot added, as `lots_of` does."""
    columns = [found.quantity, found.unrealized_change, found.realized, found.value]
    columns += [found.mark_before, found.mark]
    if effects:
        columns += [found.price_effect, found.currency_effect, found.rate_before, found.rate]
    rows = zip(
        found.position.tolist(),
        found.multiplier.tolist(),
        *(column.decimals() for column in columns),
        *map(build.cells, (found.day_before, found.day, found.status_before, found.status)),
        strict=True,
    )
    return sorted(rows, key=_order)


def lots_of(
    found: Iterable[Contribution],
    first: int = 0,
    *,
    effects: bool = False,
    is_baseline: bool = True,
) -> Lots:
    """Return lots of the reference with their numbers; those of a portfolio begin with `first`.

    The core has 0 for amounts that a baseline has not; a lot without a rate has none.
    """
    rows = []
    for one in found:
        zero = not effects or (is_baseline and one.value is not None)
        amounts = [one.unrealized_change, one.realized]
        amounts += [one.price_effect, one.currency_effect] if effects else []
        own = [Decimal(0) if amount is None and zero else amount for amount in amounts]
        marks, value = (one.before, one.after), one.value
        if value is not None and not effects:
            value = rounded(value, 24)  # as `legacy` has them
        rows.append(
            (
                first + one.position,
                one.multiplier,
                one.quantity,
                *own[:2],
                value,
                *(None if mark is None else mark.price for mark in marks),
                *own[2:],
                *(None if mark is None else mark.rate for mark in marks if effects),
                *(None if mark is None else mark.day for mark in marks),
                *(None if mark is None else mark.status for mark in marks),
            )
        )
    return sorted(rows, key=_order)


def _order(lot: tuple[Any, ...]) -> tuple[Any, ...]:
    """Return what tells lots of one position apart, whatever their zeros."""
    return tuple((value is not None, value or 0) for value in lot)
