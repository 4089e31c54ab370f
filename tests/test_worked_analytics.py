"""The examples of semantics.md: what A1 to A8 say of them is what is computed."""

import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from batchcore.analytics.concentration import concentration
from batchcore.analytics.factor_exposure import factor_exposures
from batchcore.analytics.factor_regression import FactorBetas, factor_betas
from batchcore.analytics.portfolio_beta import portfolio_beta
from batchcore.analytics.provider_beta import beta_coverage, provider_beta
from batchcore.analytics.sector_exposure import over_and_underweights, sector_exposure, sector_of
from batchcore.analytics.symbol_beta import symbol_betas
from batchcore.analytics.volatility import realized_volatility
from batchcore.config import BETA_WEIGHTS
from batchcore.units import LotKind
from support.lots import lots, without

SEMANTICS = Path(__file__).parent.parent / "docs" / "semantics.md"
SESSIONS = 88

SPY = [1, 1, -1, -1]
AAA = [3, 1, -1, -3]
MTUM = [1, -1, 1, -1]
"""Returns in percent, which go on in the same way."""


def example(rule: str) -> str:
    """Return the example of a rule."""
    text = SEMANTICS.read_text(encoding="utf-8")
    pattern = rf"^\*\*{rule} .*?^(For example.*?)^(?:\*\*[A-Z]\d |##)"
    (found,) = re.findall(pattern, text, re.MULTILINE | re.DOTALL)
    return str(found)


def assert_said(rule: str, *numbers: str) -> None:
    """The page has the numbers that come out."""
    text = example(rule)
    assert [number for number in numbers if number not in text] == []


def example_lots(*values: tuple[str, float], symbols: list[int] | None = None) -> dict[str, Any]:
    """Return the lots of one portfolio by kind and value; each its own symbol, or ``symbols``."""
    number = symbols or range(len(values))
    return lots(
        *((0, at, LotKind[kind], value) for at, (kind, value) in zip(number, values, strict=True))
    )


def returns_of(*percent: list[int]) -> np.ndarray:
    """Return the same few returns of symbols again and again, a column for each."""
    return np.stack([np.resize(one, SESSIONS) / 100 for one in percent], axis=1)


def test_a1() -> None:
    columns = example_lots(("STOCK", 600), ("STOCK", -200), ("STOCK", 400), ("OPTION", 300))
    beta = np.array([1.5, 0.5, 0, 1.2])
    equity = np.array([[1000.0]])
    by_weights = [
        provider_beta(**columns, equity=equity, beta=beta, weights=weights)[0, 0]
        for weights in BETA_WEIGHTS
    ]
    coverage = beta_coverage(**columns, beta=beta, portfolios=1)[0, 0]
    found = [f"{number:.4f}" for number in (*by_weights, coverage)]
    assert found == ["2.0000", "0.8000", "0.6667"]
    assert_said("A1", *found)


def test_a2() -> None:
    given: list[tuple[str, float, str | None, bool]] = [
        ("STOCK", 600, "Technology", False),
        ("STOCK", -200, "Financial Services", False),
        ("STOCK", 400, "Technology", True),
        ("STOCK", 200, None, False),
        ("OPTION", 100, "Technology", False),
        ("PRIVATE", 300, "Energy", False),
    ]
    names = [
        sector_of(sector, is_etf=is_etf, kind=LotKind[kind]) for kind, _, sector, is_etf in given
    ]
    sectors = sorted(set(names))
    shares = sector_exposure(
        **without(example_lots(*(row[:2] for row in given)), "symbol", "kind"),
        sector=np.array([sectors.index(name) for name in names]),
        equity=np.array([[2000.0]]),
        sectors=len(sectors),
    )[0, 0]
    exposure = dict(zip(sectors, shares.tolist(), strict=True))
    assert {name: f"{share:.6f}" for name, share in exposure.items()} == {
        "ETFs": "0.200000",
        "Financials": "0.100000",
        "Technology": "0.300000",
        "Unclassified": "0.200000",
        "Unknown": "0.100000",
    }
    benchmark = {"Technology": 0.32, "Financials": 0.13, "Energy": 0.04}
    over = over_and_underweights(exposure, benchmark)
    assert {name: f"{share:.6f}" for name, share in over.items()} == {
        "ETFs": "0.200000",
        "Energy": "-0.040000",
        "Financials": "-0.030000",
        "Technology": "-0.020000",
        "Unclassified": "0.200000",
        "Unknown": "0.100000",
    }
    for name in ("Technology", "Financials"):
        assert_said("A2", f"{name} {exposure[name]:.6f}", f"{over[name]:.6f}")
    assert_said("A2", f"Energy is {over['Energy']:.6f}")


def test_a3() -> None:
    lot = ("STOCK", 300), ("STOCK", 250), ("STOCK", -200), ("STOCK", -150), ("STOCK", 100)
    columns = example_lots(*lot, symbols=[0, 1, 0, 2, 3])
    found = concentration(**without(columns, "kind"), portfolios=1)
    numbers = [
        f"{found.hhi[0, 0]:.4f}",
        f"{found.effective_num_positions[0, 0]:.2f}",
        f"{found.top_3[0, 0]:.4f}",
        f"{found.top_10[0, 0]:.4f}",
    ]
    assert numbers == ["3450.0000", "2.90", "0.9000", "1.0000"]
    assert_said("A3", *numbers)


def test_a4() -> None:
    returns = np.array([[0.01] * 10 + [0.0] + [-0.01] * 10])
    short, long = (
        realized_volatility(returns, sessions=1, window=window)[0, 0] for window in (21, 63)
    )
    assert f"{short:.4f}" == "0.1587"
    assert np.isnan(long)
    assert_said("A4", f"{short:.4f}")


def test_a5() -> None:
    found = symbol_betas(returns_of(AAA), returns_of(SPY)[:, 0])
    names = ("beta", "alpha", "r_squared", "std_error")
    numbers = {name: f"{abs(getattr(found, name)[0, 0]):.6f}" for name in names}
    assert numbers == {
        "beta": "2.000000",
        "alpha": "0.000000",
        "r_squared": "0.800000",
        "std_error": "0.107833",
    }
    assert f"{found.p_value()[0, 0]:.6f}" == "0.000000"
    assert found.observations[0, 0] == SESSIONS
    assert_said("A5", numbers["std_error"], "64 / 80")


def test_a6() -> None:
    returns = returns_of(AAA, SPY)
    market = returns[:, 1]
    found = portfolio_beta(
        **example_lots(("STOCK", 600), ("STOCK", -200)),
        equity=np.array([[1000.0]]),
        beta=symbol_betas(returns, market).beta,
        returns=returns,
        market=market,
    )
    numbers = [f"{found.beta[0, 0]:.4f}", f"{found.r_squared[0, 0]:.4f}"]
    assert numbers == ["1.0000", "0.7353"]
    assert found.observations[0, 0] == SESSIONS
    assert_said("A6", *numbers)


def betas_of_a7() -> FactorBetas:
    """Return those of AAA and SPY against SPY and MTUM."""
    return factor_betas(returns_of(AAA, SPY), returns_of(SPY, MTUM))


def test_a7() -> None:
    found = betas_of_a7()
    assert [[f"{abs(beta):.6f}" for beta in row] for row in found.beta] == [
        ["1.000000", "0.500000"],
        ["0.500000", "0.000000"],
    ]
    assert list(found.quality_flag()) == ["limited_history"] * 2
    assert_said("A7", "AAA has 1.0 and 0.5, SPY 0.5 and 0.0", "`limited_history`")


def test_a8() -> None:
    columns = example_lots(("STOCK", 600), ("STOCK", -200))
    value = columns.pop("value")[:, 0]
    found = factor_exposures(
        **columns, value=value, equity=np.array([1000.0]), beta=betas_of_a7().beta
    )
    dollars = [f"{dollar:.2f}" for dollar in found.dollar[0]]
    values = [f"{share:.6f}" for share in found.value[0]]
    assert (dollars, values) == (["500.00", "300.00"], ["0.500000", "0.300000"])
    assert_said("A8", *dollars, *values)


@pytest.mark.parametrize("rule", [f"A{number}" for number in range(1, 9)])
def test_every_rule_has_an_example_that_is_tested(rule: str) -> None:
    assert f"test_{rule.lower()}" in globals()
    assert example(rule)
