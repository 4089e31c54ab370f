"""Lots, and returns of the real closes, for the tests of the analytics."""

from typing import Any

import numpy as np

from batchcore.analytics.returns import simple_returns
from batchcore.demo.data import CLOSE_SCALE, real_closes
from batchcore.units import LotKind

STOCK, OPTION, PRIVATE = LotKind


def lots(*rows: tuple[int, int, LotKind, Any]) -> dict[str, Any]:
    """Return the columns of lots given as portfolio, symbol, kind, and a value for each session."""
    portfolio, symbol, kind, value = zip(*rows, strict=True) if rows else ((), (), (), ())
    return {
        "portfolio": np.array(portfolio, dtype=np.int32),
        "symbol": np.array(symbol, dtype=np.uint32),
        "kind": np.array(kind, dtype=np.uint8),
        "value": np.array(value, dtype=np.float64).reshape(len(rows), -1 if rows else 1),
    }


def without(columns: dict[str, Any], *names: str) -> dict[str, Any]:
    """Return the columns but for some."""
    return {name: column for name, column in columns.items() if name not in names}


def real_returns(gaps: float = 0.0) -> tuple[tuple[str, ...], Any]:
    """Return the symbols of the data file and their returns, with a share of closes left out."""
    real = real_closes()
    closes = real.values / 10**CLOSE_SCALE
    closes[np.random.default_rng(17).random(closes.shape) < gaps] = np.nan
    return real.symbols, simple_returns(closes)


def random_lots(portfolios: int, symbols: int, sessions: int) -> dict[str, Any]:
    """Return lots of portfolios of 0 to 12 lots, half of them not held on all sessions."""
    rng = np.random.default_rng(23)
    owner = np.repeat(np.arange(portfolios), rng.integers(0, 13, portfolios))
    count = len(owner)
    value = rng.normal(2_000.0, 5_000.0, (count, sessions))
    first, last = rng.integers(0, sessions, count), rng.integers(sessions // 2, sessions, count)
    session, partly = np.arange(sessions), rng.random(count) < 0.5
    held = (session >= first[:, None]) & (session <= last[:, None])
    value[partly[:, None] & ~held] = 0
    return {
        "portfolio": owner.astype(np.int32),
        "symbol": rng.integers(0, symbols, count).astype(np.uint32),
        "kind": rng.choice(3, count, p=[0.8, 0.1, 0.1]).astype(np.uint8),
        "value": value,
    }
