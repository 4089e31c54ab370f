"""Splits (C3 to C5): the core against the reference, one basis against another, and no table."""

from __future__ import annotations

from typing import TYPE_CHECKING

from hypothesis import given, settings
from hypothesis import strategies as st

from property.test_contributions import by_core as lots_by_core
from property.test_contributions import by_reference as lots_by_reference
from property.test_contributions import refusing
from property.test_rollforward import PROFILE, by_core, by_reference, runs
from support.generate import Generator, Run

if TYPE_CHECKING:
    pass


@settings(PROFILE, max_examples=250)
@given(runs(Generator.split_run))
def test_core_equals_the_reference_with_splits(run: Run) -> None:
    assert by_core(run) == by_reference(run)


@settings(PROFILE, max_examples=60)
@given(runs(Generator.split_run), st.data())
def test_lots_of_the_core_equal_those_of_the_reference(run: Run, data: st.DataObject) -> None:
    session = data.draw(st.sampled_from(run.sessions))
    previous = data.draw(
        st.none() | st.sampled_from([day for day in run.sessions if day < session] or [None])
    )
    for portfolio in run.portfolios:
        expected = lots_by_reference(portfolio, run.market(), previous, session, run)
        with refusing(expected):
            assert lots_by_core(run, portfolio, previous, session) == expected
