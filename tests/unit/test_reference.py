"""How the reference rounds; tests/unit/test_worked_cases.py holds it to the worked cases."""

from collections.abc import Callable
from decimal import Decimal

import pytest

from batchcore import reference as ref


@pytest.mark.parametrize(
    ("rounded", "value", "read"),
    [
        (ref.r2, ("0.005",), "0.01"),
        (ref.r2, ("-0.005",), "-0.01"),
        (ref.r2, ("0.0049999",), "0.00"),
        (ref.r2, ("-0.004",), "0.00"),
        (ref.r2, ("2.675",), "2.68"),
        (ref.r2, ("1E+2",), "100.00"),
        (ref.r6, ("1", "3"), "0.333333"),
        (ref.r6, ("2", "3"), "0.666667"),
        (ref.r6, ("-1", "2000000"), "-0.000001"),
    ],
)
def test_decimals_are_rounded_half_away_from_zero(
    rounded: Callable[..., Decimal], value: tuple[str, ...], read: str
) -> None:
    assert str(rounded(*map(Decimal, value))) == read


@pytest.mark.parametrize(
    ("value", "scale", "read"),
    [
        (187.42, 4, "187.4200"),
        (0.1, 18, "0.100000000000000006"),  # 0.1000000000000000055511151231257827...
        (0.03125, 4, "0.0313"),  # 2^-5: a tie, away from zero
        (-0.03125, 4, "-0.0313"),
        (2.675, 2, "2.67"),  # 2.67499999999999982236431605997495353221893310546875
        (0.00005, 4, "0.0001"),  # 0.0000500000000000000023960868011929647991564706899225711...
        (-0.0, 4, "0.0000"),
        (1e-300, 4, "0.0000"),
        (2.0**53 - 0.5, 1, "9007199254740992"),  # no double lies between
        (1e30, 4, "1000000000000000019884624838656"),
        (float("-inf"), 4, "-Infinity"),
        (float("nan"), 4, "NaN"),
    ],
)
def test_a_double_is_its_exact_value_rounded_half_away_from_zero(
    value: float, scale: int, read: str
) -> None:
    assert str(ref.from_double(value, scale)) == read
