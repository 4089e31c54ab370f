"""Holdings and values of positions against what is computed another way, on any input."""

import math
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import replace
from decimal import Decimal, localcontext
from typing import Any

import numpy as np
import pytest

from batchcore import native
from batchcore import reference as ref
from batchcore.frames import Holdings, Inputs, PositionValues
from batchcore.units import CENTS
from support import build
from support.cases import Run
from support.generate import Generator, for_any
from support.sides import computed, frames, native_market


def held(
    inputs: Inputs, run: Run, *, sessions: Sequence[int] | None = None, threads: int = 1
) -> Holdings:
    return native.held_lots(
        native_market(inputs, run),
        native.Book.of(inputs),
        opening=inputs.opening,
        sessions=build.session_days(run.days if sessions is None else sessions),
        threads=threads,
    )


def valued(inputs: Inputs, run: Run, *, threads: int = 1) -> PositionValues:
    return native.value_positions(
        native_market(inputs, run),
        native.Book.of(inputs),
        opening=inputs.opening,
        session=run.days[-1],
        threads=threads,
    )


def in_cents(value: float, units: int) -> bool:
    """Return whether `units` is a sum of floats rounded to cents, but for their last bits."""
    return abs(value - units / 100) <= 0.005 + 1e-15 * abs(value) + 1e-9


def assert_sums_of_values_are_exposures(run: Run) -> None:
    inputs = frames(run)
    rows = computed(run, inputs)
    holdings = held(inputs, run)
    columns = {day: column for column, day in enumerate(run.days)}
    for row, (own, day) in enumerate(zip(rows.portfolio, rows.day.tolist(), strict=True)):
        lots = holdings.portfolio == own
        values = holdings.value[lots, columns[day]]
        present = holdings.held[lots, columns[day]]
        assert in_cents(math.fsum(values[values > 0]), int(rows.long_value[row]))
        assert in_cents(math.fsum(values[values < 0]), int(rows.short_value[row]))
        assert rows.num_positions[row] == present.sum()
        assert not values[~present].any()
    assert holdings.held.any(axis=1).all()


SUMS = {"of any run": (Generator.run, 300)}
SUMS |= {
    "with finer columns": (Generator.finer_run, 100),
    "with splits": (Generator.split_run, 100),
}


@pytest.mark.parametrize(("make", "examples"), SUMS.values(), ids=SUMS)
def test_sums_of_values_are_the_exposures(make: Callable[..., Run], examples: int) -> None:
    for_any(make, examples=examples)(assert_sums_of_values_are_exposures)()


def marked(position: ref.Position, run: Run, prices: ref.Market) -> Decimal | None:
    """Return the mark of what is left of a position on the last session, None without one.

    The reference tells whether it is held and priced, of a quantity so small that its value fits;
    where even that does not, the lot is worth its entry price.
    """
    quantity = position.quantity
    if not quantity or not quantity.is_finite():
        return None
    if not ref.representable(quantity, run.scales.quantity):
        return None
    day = run.days[-1]
    unit = Decimal(1).scaleb(-run.scales.quantity).copy_sign(quantity)
    left = replace(position, quantity=unit, events=())
    results = [
        ref.roll_forward(
            ref.Portfolio("alone", positions=(one,)), prices, [day], run.lookback_days, run.scales
        )
        for one in (left, position)
    ]
    if any(noticed.name == "closed_twice" for noticed in results[1].issues):
        return None
    if not any(sum(row.marks[:3]) for row in results[0].rows):
        return None
    assert position.symbol is not None
    assert position.entry_day is not None
    latest = prices.latest(ref.normalised(position.symbol), position.entry_day, day)
    assert latest is not None
    return latest[1]


def worth(position: ref.Position, price: Decimal) -> Decimal:
    """Return ``r2(price * q * m)``."""
    multiplier = 100 if position.position_type in ref.OPTION_TYPES else 1
    with localcontext(prec=100):
        assert position.quantity is not None
        return ref.r2(price * position.quantity * multiplier)


@for_any(Generator.run, examples=300)
def test_values_of_positions_are_those_of_the_reference(run: Run) -> None:
    assert_values_are_those_of_the_reference(run)


def assert_values_are_those_of_the_reference(run: Run) -> int:
    """Return how many values do not fit."""
    prices = ref.market(run.prices, run.scales)
    found = valued(frames(run), run)
    rows = {row: number for number, row in enumerate(found.position.tolist())}
    assert len(rows) == len(found)
    columns = (found.last_price.values, found.market_value, found.unrealized_pnl)
    issues = []
    positions = [
        (n, position) for n, one in enumerate(run.portfolios) for position in one.positions
    ]
    for at, (number, position) in enumerate(positions):
        mark = marked(position, run, prices)
        if mark is None:
            assert at not in rows
            continue
        assert position.entry_price is not None
        with localcontext(prec=100):
            value, earned = worth(position, mark), worth(position, mark - position.entry_price)
        misfits = [
            f"{name} = {amount:f}"
            for name, amount in (("market_value", value), ("unrealized_pnl", earned))
            if abs(amount) >= ref.MONEY_LIMIT
        ]
        if misfits:
            assert at not in rows
            name, day = "market_value_out_of_range", run.days[-1]
            issues.append((number, ref.Issue(name, position.symbol, day, misfits[0])))
            continue
        units = (mark.scaleb(run.scales.close), value.scaleb(CENTS), earned.scaleb(CENTS))
        assert tuple(int(column[rows[at]]) for column in columns) == units
    assert Counter(build.issues(found.issues)) == Counter(issues)
    return len(issues)


def test_generator_reaches_values_that_do_not_fit() -> None:
    sample = [Generator.seeded(number).run() for number in range(300)]
    assert sum(map(assert_values_are_those_of_the_reference, sample)) >= 10


MANY = replace(
    Generator.seeded(11).any_run(),
    portfolios=tuple(Generator.seeded(f"p{n}").portfolio(f"p{n}") for n in range(300)),
)
"""A run of many portfolios."""


def values_and_holdings(inputs: Inputs, run: Run, *, threads: int = 1) -> list[Any]:
    """Return what must not depend on the order of rows: ids and symbols in place of numbers."""
    holdings, values = held(inputs, run, threads=threads), valued(inputs, run, threads=threads)
    arrays = (
        *(holdings.portfolio, holdings.kind, holdings.value, holdings.held),
        *(values.last_price.values, values.market_value, values.unrealized_pnl),
    )
    return [
        inputs.positions.id[holdings.position].tobytes(),
        np.array(inputs.positions.symbol.table())[holdings.symbol].tolist(),
        inputs.positions.id[values.position].tobytes(),
        build.issues(values.issues),
        *(array.tobytes() for array in arrays),
    ]


def test_some_sessions_alone_have_the_values_of_all() -> None:
    inputs = frames(MANY)
    whole = held(inputs, MANY)
    for column, day in enumerate(MANY.days):
        one = held(inputs, MANY, sessions=(day,))
        lots = whole.held[:, column]
        assert one.held.all()
        assert one.position.tolist() == whole.position[lots].tolist()
        assert one.value[:, 0].tobytes() == whole.value[lots, column].tobytes()
