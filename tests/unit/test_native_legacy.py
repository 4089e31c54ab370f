"""The native core of the policy `legacy`: what no worked case can show."""

import datetime as dt
from dataclasses import fields, replace
from decimal import Decimal
from typing import Any

import numpy as np
import pytest

import batchcore
from batchcore.errors import ConfigError, InputError
from batchcore.frames import Decimals, Inputs, Rows
from batchcore.units import State
from support import build, legacy_frames
from support.cases import Run
from support.worked_legacy import (
    beta,
    event,
    jan,
    portfolio,
    position,
    price,
    profile,
    snapshot,
)

CLOSES = (price("AAA", 2, "10"), price("AAA", 5, "11"))
DAYS = tuple(map(jan, (5, 6, 7)))


def run(*positions: Any, **values: Any) -> Run:
    """Return a run of three days, the last of them "today"."""
    inputs: dict[str, Any] = {
        "portfolios": (portfolio(*positions),),
        "prices": CLOSES,
        "days": DAYS,
        "today": DAYS[-1],
        "profiles": {"AAA": profile("1.5", "Energy")},
        "cached": {("AAA", jan(5)): Decimal(11)},
    }
    return Run(**inputs | values)


def computed(inputs: Inputs, **arguments: Any) -> Rows:
    values = {"policy": "legacy", "today": dt.date(2026, 1, 7), "threads": 1}
    return batchcore.compute(inputs, build.session_days(DAYS), **values | arguments)


HELD = position(betas=(beta(5, "1"),), events=(event(5, "1"),))
FRAMES = legacy_frames.inputs(run(HELD))


def test_today_is_needed() -> None:
    with pytest.raises(ConfigError, match="needs `today`") as caught:
        computed(FRAMES, today=None)
    assert caught.value.option == "today"
    with pytest.raises(ConfigError, match="unknown policy `other`"):
        computed(FRAMES, policy="other")


@pytest.mark.parametrize(
    ("frame", "column"),
    [("betas", "beta"), ("betas", "day"), ("profiles", "beta"), ("cached", "close")],
)
def test_a_column_of_its_own_of_a_wrong_dtype_is_named(frame: str, column: str) -> None:
    owner = getattr(FRAMES, frame)
    wrong = replace(getattr(owner, column))
    object.__setattr__(wrong, "values", wrong.values.astype(np.float32))
    with pytest.raises(InputError, match="was float32") as caught:
        computed(replace(FRAMES, **{frame: replace(owner, **{column: wrong})}))
    # The cache is a frame of prices as well.
    name = "prices" if frame == "cached" else frame
    assert caught.value.column == f"{name}.{column}.values"


def test_frames_left_out_are_as_good_as_empty() -> None:
    assert FRAMES.betas is not None
    none = replace(FRAMES, profiles=None, betas=None, benchmark=None, cached=None)
    rows = computed(none)
    assert rows.legacy is not None
    assert rows.legacy.beta_provider_1y.state.tolist() == [State.NULL] * 3
    assert rows.legacy.sector_exposure.state.tolist() == [State.NULL] * 3
    assert rows.equity_balance.tolist() == computed(FRAMES).equity_balance.tolist()


def test_columns_of_each_policy() -> None:
    assert computed(FRAMES, policy="rollforward").legacy is None
    rows = computed(FRAMES)
    assert rows.unrealized_pnl.state.tolist() == [State.NULL] * 3  # as no rule names it
    assert rows.legacy is not None
    columns = {item.name: getattr(rows.legacy, item.name) for item in fields(rows.legacy)}
    greeks = ("portfolio_delta", "portfolio_gamma", "portfolio_theta", "portfolio_vega")
    assert {name: one.scale for name, one in columns.items() if isinstance(one, Decimals)} == {
        **dict.fromkeys(("total_value", *greeks, "effective_num_positions"), 2),
        **dict.fromkeys(("beta_provider_1y", "hhi"), 4),
        **dict.fromkeys(("top_3_concentration", "top_10_concentration"), 4),
    }


def test_prices_are_counted_by_their_age_and_told_where_too_old() -> None:
    # AAA closes on the 5th: one and two days old on the 6th and 7th, and a day is allowed. BBB has
    # no close; PRIVATE positions are not counted; CCC exits on the 6th.
    held = (
        HELD,
        position(symbol="BBB"),
        position(symbol="BBB", investment_class="PRIVATE"),
        position(symbol="CCC", exit_day=6),
    )
    rows = computed(legacy_frames.inputs(run(*held)), lookback_days=1)
    assert rows.marks.tolist() == [[1, 0, 0, 2], [0, 1, 0, 1], [0, 0, 1, 1]]
    misses = rows.misses
    found = zip(
        misses.symbol.texts(),
        misses.unpriced.tolist(),
        misses.lot_sessions.tolist(),
        misses.first.tolist(),
        misses.last.tolist(),
        strict=True,
    )
    assert list(found) == [
        ("AAA", False, 1, DAYS[2], DAYS[2]),
        ("BBB", True, 3, DAYS[0], DAYS[2]),
        ("CCC", True, 1, DAYS[0], DAYS[0]),
    ]


def test_days_without_a_row_have_no_misses() -> None:
    # The 5th stands complete, the 6th fails on a return of 100 and more, the 7th is written.
    kept = (snapshot(2, "1000"), snapshot(5, "0.01"))
    failing = portfolio(position(symbol="BBB", events=(event(6, "1"),)), snapshots=kept)
    rows = computed(legacy_frames.inputs(run(portfolios=(failing,))))
    assert rows.day.tolist() == [DAYS[2]]
    assert rows.failed.tolist() == [True]
    assert rows.misses.first.tolist() == [DAYS[2]]


def test_days_outside_the_span_of_a_portfolio_are_not_run() -> None:
    spans = {
        "first_day": build.session_days([DAYS[1]]),
        "last_day": build.session_days([DAYS[1]]),
    }
    rows = computed(replace(FRAMES, opening=replace(FRAMES.opening, **spans)))
    assert rows.day.tolist() == [DAYS[1]]


def test_two_snapshots_of_a_day_are_refused() -> None:
    twice = (snapshot(2, "1"), snapshot(2, "2", is_complete=False))
    with pytest.raises(InputError, match="the same key"):
        computed(legacy_frames.inputs(run(portfolios=(portfolio(HELD, snapshots=twice),))))
