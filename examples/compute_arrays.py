"""A portfolio of 100 shares over four sessions, computed from NumPy arrays."""

import numpy as np

import batchcore as bc


def decimals(*mantissas: int, scale: int = 4) -> bc.Decimals:
    """Return a column of decimals."""
    return bc.Decimals(np.array(mantissas, dtype=np.int64), scale)


def days(*dates: str) -> bc.Days:
    """Return a column of dates."""
    return bc.Days(np.array(dates, dtype="datetime64[D]").astype(np.int32))


portfolio = np.arange(16, dtype=np.uint8).reshape(1, 16)
sessions = days("2026-01-02", "2026-01-05", "2026-01-06", "2026-01-07")

inputs = bc.Inputs(
    positions=bc.Positions(
        id=portfolio + np.uint8(16),
        portfolio_id=portfolio,
        symbol=bc.Text.of(["AAA"]),
        position_type=bc.Text.of(["LONG"]),
        quantity=decimals(100_0000),
        entry_price=decimals(10_0000),
        entry_day=days("2026-01-02"),
    ),
    events=bc.Events.none(),
    flows=bc.Flows.none(),
    prices=bc.Prices(
        symbol=bc.Text.of(["AAA"] * 4),
        day=sessions,
        close=decimals(10_2000, 11_0000, 10_5000, 10_5000),
    ),
    previous=bc.Previous.none(),
    opening=bc.Opening(portfolio_id=portfolio, equity=decimals(10_000_00, scale=2)),
)
rows = bc.compute(inputs, sessions.values)
for day, pnl, equity in zip(rows.day, rows.daily_pnl, rows.equity_balance, strict=True):
    print(np.datetime64(int(day), "D"), pnl, equity)
