"""Lots in other currencies (C6 to C8): the native core against the reference, on any rates."""

from collections import Counter
from dataclasses import replace
from decimal import Decimal
from typing import Any

import numpy as np
import pytest

from batchcore import native
from batchcore import reference as ref
from batchcore.errors import InputError
from batchcore.frames import Text
from support import build
from support.cases import Run
from support.generate import Generator, for_any
from support.sides import by_core, by_reference


def test_generator_reaches_rates_of_every_kind() -> None:
    names: Counter[str] = Counter()
    converted = 0
    for number in range(300):
        run = Generator.seeded(number).foreign_run()
        results, noticed = by_reference(run)
        names.update(issue.name for issue in noticed)
        names.update(issue.name for result in results for issue in result.issues)
        converted += sum(
            bool(result.rows) and any(p.currency for p in portfolio.positions)
            for portfolio, result in zip(run.portfolios, results, strict=True)
        )
    assert min(names["fx_missing"], names["bad_rate"], converted) >= 50, (names, converted)


@for_any(Generator.foreign_run, examples=40)
def test_one_run_over_sessions_gives_the_rows_of_one_run_each(run: Run) -> None:
    portfolios = tuple(
        replace(one, snapshots=tuple(s for s in one.snapshots if s.day < run.days[0]))
        for one in run.portfolios
    )
    whole, _ = by_core(replace(run, portfolios=portfolios))
    for portfolio, expected in zip(portfolios, whole, strict=True):
        rows: list[Any] = []
        for day in run.days:
            written = tuple(map(build.snapshot_of, rows))
            alone = replace(portfolio, snapshots=(*portfolio.snapshots, *written))
            (found,), _ = by_core(replace(run, portfolios=(alone,), days=(day,)))
            if not found.rows:
                break
            rows += found.rows
        assert tuple(rows) == expected.rows


def test_rates_of_other_currencies_than_asked_for_are_refused() -> None:
    portfolio = ref.Portfolio("p", positions=(), currency="USD")
    inputs = build.inputs([portfolio], (), (5,), rates=())
    sessions = build.session_days([5])
    market = native.build_market(inputs.prices, sessions)
    assert inputs.rates is not None
    rates = native.build_rates(inputs.rates, Text.of(["EUR"]), Text.of(["USD"]), sessions)
    position = ref.Position("A", "LONG", Decimal(1), Decimal(1), 5, currency="CHF")
    other = build.inputs([replace(portfolio, positions=(position,))], (), (5,))

    def roll(made: Any) -> None:
        native.roll_forward(
            market,
            native.Book.of(other, made),
            previous=other.previous,
            opening=other.opening,
        )

    for made, expected in (
        (rates, "currencies that the rates were made for"),
        (
            native.build_rates(
                inputs.rates, Text.of(["CHF"]), Text.of(["USD"]), np.array([6], dtype=np.int32)
            ),
            "the sessions of the marks",
        ),
    ):
        with pytest.raises(InputError, match=expected):
            roll(made)
