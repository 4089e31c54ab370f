"""The reference against the worked cases, and its roundings by hand."""

import pytest

from batchcore import reference as ref
from support.cases import Case, vectors


def results(case: Case) -> list[ref.Result]:
    prices = ref.market(case.prices, case.scales)
    return [
        ref.roll_forward(portfolio, prices, case.sessions, case.lookback_days, case.scales)
        for portfolio in case.portfolios
    ]


@pytest.mark.parametrize("case", vectors(), ids=lambda case: case.name)
def test_rows_of_a_vector(case: Case) -> None:
    for result, expected in zip(results(case), case.expected, strict=True):
        # Text, so that 0.00, 0 and -0.00 differ.
        assert [str(row) for row in result.rows] == [str(row) for row in expected.rows]
        assert not result.failed
