"""Lots in other currencies (C6 to C8): the native core against the reference, on any rates."""

from collections import Counter
from dataclasses import replace
from decimal import Decimal, localcontext
from itertools import pairwise
from typing import Any

import numpy as np
import pytest
from hypothesis import strategies as st

from batchcore import native
from batchcore import reference as ref
from batchcore.errors import InputError
from batchcore.frames import Text
from batchcore.reference import rollforward
from batchcore.reference.values import EXACT
from support import build, currencies
from support.generate import Generator, Run, for_any


@for_any(Generator.foreign_run, examples=150)
def test_core_equals_the_reference(run: Run) -> None:
    assert currencies.by_core(run) == currencies.by_reference(run)


@for_any(Generator.foreign_split_run, examples=150)
def test_core_equals_the_reference_over_splits(run: Run) -> None:
    assert currencies.by_core(run) == currencies.by_reference(run)


def test_generator_reaches_rates_of_every_kind() -> None:
    names: Counter[str] = Counter()
    converted = 0
    for number in range(300):
        run = Generator.seeded(number).foreign_run()
        results, noticed = currencies.by_reference(run)
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
        replace(one, snapshots=tuple(s for s in one.snapshots if s.day < run.sessions[0]))
        for one in run.portfolios
    )
    whole, _ = currencies.by_core(replace(run, portfolios=portfolios))
    for portfolio, expected in zip(portfolios, whole, strict=True):
        rows: list[Any] = []
        for day in run.sessions:
            written = tuple(map(build.snapshot_of, rows))
            alone = replace(portfolio, snapshots=(*portfolio.snapshots, *written))
            (found,), _ = currencies.by_core(replace(run, portfolios=(alone,), sessions=(day,)))
            if not found.rows:
                break
            rows += found.rows
        assert tuple(rows) == expected.rows


@for_any(Generator.foreign_split_run, Generator, st.data(), examples=60)
def test_effects_of_price_and_currency_add_up(run: Run, data: st.DataObject) -> None:
    rates, market = currencies.rates_of(run), run.market()
    session = data.draw(st.sampled_from(run.sessions))
    earlier = [day for day in run.sessions if day < session]
    previous = data.draw(st.sampled_from([None, *earlier]))
    for portfolio in run.portfolios:
        found = rollforward.contributions(
            portfolio,
            market,
            previous,
            session,
            lookback_days=run.lookback_days,
            scales=run.scales,
            rates=rates,
        )
        for one in found:
            if one.price_effect is not None and one.currency_effect is not None:
                with localcontext(EXACT):
                    assert one.price_effect + one.currency_effect == one.amount
        told = currencies.contributions_by_core(run, portfolio, previous, session)
        assert told == currencies.told(found, is_baseline=previous is None)


@for_any(Generator.foreign_split_run, examples=60)
def test_lots_add_up_to_rows(run: Run) -> None:
    rates, market = currencies.rates_of(run), run.market()
    results, _ = currencies.by_reference(run)
    for portfolio, result in zip(run.portfolios, results, strict=True):
        for before, row in pairwise(result.rows):
            found = rollforward.contributions(
                portfolio,
                market,
                before.day,
                row.day,
                lookback_days=run.lookback_days,
                scales=run.scales,
                rates=rates,
            )
            with localcontext(EXACT):
                total = sum((one.amount for one in found), Decimal(0))
                assert abs(row.daily_pnl - total) <= Decimal("0.015")


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
            previous=native.store_snapshots(other.previous),
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
