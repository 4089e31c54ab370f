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

Rows = list[dict[str, str]]


def section(rule: str) -> str:
    _, text = re.split(rf"^### {rule} ", SEMANTICS.read_text(encoding="utf-8"), flags=re.MULTILINE)
    return re.split(r"^##", text, flags=re.MULTILINE)[0]


def tables(rule: str) -> list[Rows]:
    """Return the tables after `For example` of a rule."""
    example = section(rule).partition("\nFor example")[2]
    assert example, rule
    found = []
    for block in re.findall(r"(?:^\|.*\n)+", example, re.MULTILINE):
        head, _, *rows = [
            [cell.strip() for cell in line.strip("|").split("|")] for line in block.splitlines()
        ]
        found.append([dict(zip(head, row, strict=True)) for row in rows])
    return found


def written(number: float, places: int) -> str:
    return "" if np.isnan(number) else f"{number:.{places}f}"


def example_lots(rows: Rows, symbols: list[str] | None = None) -> dict[str, Any]:
    """Return the lots of one portfolio; each its own symbol, or one of ``symbols``."""
    kinds = [LotKind[row.get("lot", "stock").upper()] for row in rows]
    number = [symbols.index(row["symbol"]) for row in rows] if symbols else range(len(rows))
    values = [float(row["v"]) for row in rows]
    return lots(*((0, *lot) for lot in zip(number, kinds, values, strict=True)))


def returns_of(rows: Rows, symbol: str) -> np.ndarray:
    """Return the same few returns of a symbol again and again."""
    return np.resize([float(row[symbol]) / 100 for row in rows], SESSIONS)


def test_a1() -> None:
    given, (expected,) = tables("A1")
    columns = example_lots(given)
    beta = np.array([float(row["beta"]) for row in given])
    equity = np.array([[1000.0]])
    found = {
        weights: provider_beta(**columns, equity=equity, beta=beta, weights=weights)[0, 0]
        for weights in BETA_WEIGHTS
    }
    found["coverage"] = beta_coverage(**columns, beta=beta, portfolios=1)[0, 0]
    assert {name: written(number, 4) for name, number in found.items()} == expected


def test_a2() -> None:
    given, expected = tables("A2")
    names = []
    for row in given:
        sector, _, flag = row["profile"].partition(", ")
        named = None if sector == "none" else sector
        kind = LotKind[row["lot"].upper()]
        names.append(sector_of(named, is_etf=flag == "ETF", kind=kind))
    sectors = sorted(set(names))
    shares = sector_exposure(
        **without(example_lots(given), "symbol", "kind"),
        sector=np.array([sectors.index(name) for name in names]),
        equity=np.array([[2000.0]]),
        sectors=len(sectors),
    )[0, 0]
    exposure = dict(zip(sectors, shares.tolist(), strict=True))
    benchmark = {
        name: float(weight)
        for weight, name in re.findall(
            r"(0\.\d+) ([A-Z]\w+)", section("A2").split("benchmark of")[1]
        )
    }
    assert len(benchmark) == 3
    assert [
        {
            "sector": sector,
            "exposure": written(exposure.get(sector, np.nan), 6),
            "over or under": written(difference, 6),
        }
        for sector, difference in over_and_underweights(exposure, benchmark).items()
    ] == expected


def test_a3() -> None:
    given, (expected,) = tables("A3")
    symbols = sorted({row["symbol"] for row in given})
    found = concentration(**without(example_lots(given, symbols), "kind"), portfolios=1)
    assert {
        "hhi": written(found.hhi[0, 0], 4),
        "effective_num_positions": written(found.effective_num_positions[0, 0], 2),
        "top_3_concentration": written(found.top_3[0, 0], 4),
        "top_10_concentration": written(found.top_10[0, 0], 4),
    } == expected


def test_a4() -> None:
    ((expected,),) = tables("A4")
    returns = np.array([[0.01] * 10 + [0.0] + [-0.01] * 10])
    assert {
        f"realized_volatility_{window}d": written(
            realized_volatility(returns, sessions=1, window=window)[0, 0], 4
        )
        for window in (21, 63)
    } == expected


def test_a5() -> None:
    given, (expected,) = tables("A5")
    found = symbol_betas(returns_of(given, "AAA")[:, None], returns_of(given, "SPY"))
    numbers = {name: getattr(found, name) for name in ("beta", "alpha", "r_squared", "std_error")}
    numbers["p_value"] = found.p_value()
    assert {name: written(abs(number[0, 0]), 6) for name, number in numbers.items()} | {
        "observations": str(found.observations[0, 0])
    } == expected


def test_a6() -> None:
    cycle, _ = tables("A5")
    given, (expected,) = tables("A6")
    returns = np.stack([returns_of(cycle, symbol) for symbol in ("AAA", "SPY")], axis=1)
    market = returns[:, 1]
    found = portfolio_beta(
        **example_lots(given, ["AAA", "SPY"]),
        equity=np.array([[1000.0]]),
        beta=symbol_betas(returns, market).beta,
        returns=returns,
        market=market,
    )
    assert {
        "beta_calculated_90d": written(found.beta[0, 0], 4),
        "beta_calculated_90d_r_squared": written(found.r_squared[0, 0], 4),
        "beta_calculated_90d_observations": str(found.observations[0, 0]),
    } == expected


def betas_of_a7() -> FactorBetas:
    """Return those of AAA and SPY against SPY and MTUM."""
    given, _ = tables("A7")
    aaa, spy, mtum = (returns_of(given, symbol) for symbol in ("AAA", "SPY", "MTUM"))
    return factor_betas(np.stack([aaa, spy], axis=1), np.stack([spy, mtum], axis=1))


def test_a7() -> None:
    found = betas_of_a7()
    assert [
        {
            "symbol": symbol,
            "SPY": written(beta[0], 6),
            "MTUM": written(abs(beta[1]), 6),
            "quality_flag": flag,
        }
        for symbol, beta, flag in zip(("AAA", "SPY"), found.beta, found.quality_flag(), strict=True)
    ] == tables("A7")[1]


def test_a8() -> None:
    given, expected = tables("A8")
    columns = example_lots(given, ["AAA", "SPY"])
    value = columns.pop("value")[:, 0]
    found = factor_exposures(
        **columns, value=value, equity=np.array([1000.0]), beta=betas_of_a7().beta
    )
    assert [
        {
            "factor": factor,
            "exposure_value": written(share, 6),
            "exposure_dollar": written(dollar, 2),
        }
        for factor, share, dollar in zip(
            ("SPY", "MTUM"), found.value[0], found.dollar[0], strict=True
        )
    ] == expected


@pytest.mark.parametrize("rule", [f"A{number}" for number in range(1, 9)])
def test_every_rule_has_an_example_that_is_tested(rule: str) -> None:
    assert f"test_{rule.lower()}" in globals()
    assert tables(rule)
