"""How an orchestrator values a portfolio without batchcore: a query for each position's price."""

from __future__ import annotations

from decimal import ROUND_HALF_UP, Decimal
from typing import TYPE_CHECKING, Any

from sqlalchemy import text

if TYPE_CHECKING:
    import uuid
    from datetime import date

    from sqlalchemy.ext.asyncio import AsyncSession

CENT = Decimal("0.01")
LAST_CLOSE = text(
    "SELECT close FROM market_data_cache WHERE symbol = :symbol AND close > 0"
    " AND date BETWEEN :first AND :last ORDER BY date DESC LIMIT 1"
)
PREVIOUS = text(
    "SELECT snapshot_date, equity_balance, cumulative_pnl, cumulative_realized_pnl,"
    " cumulative_capital_flow FROM portfolio_snapshots WHERE portfolio_id = :portfolio_id"
    " AND snapshot_date < :night AND is_complete ORDER BY snapshot_date DESC LIMIT 1"
)
POSITIONS = text(
    "SELECT symbol, position_type::text AS kind, quantity, entry_price, entry_date, exit_price,"
    " exit_date FROM positions WHERE portfolio_id = :portfolio_id AND deleted_at IS NULL"
    " AND entry_date <= :night"
)
FLOWS = text(
    "SELECT coalesce(sum(CASE change_type::text WHEN 'CONTRIBUTION' THEN amount ELSE -amount END),"
    " 0) FROM equity_changes WHERE portfolio_id = :portfolio_id AND deleted_at IS NULL"
    " AND change_date > :after AND change_date <= :night"
)
OPENING = text("SELECT equity_balance FROM portfolios WHERE id = :portfolio_id")
SAVE = text(
    "INSERT INTO portfolio_snapshots (id, portfolio_id, snapshot_date, total_value, cash_value,"
    " long_value, short_value, gross_exposure, net_exposure, equity_balance, daily_pnl,"
    " daily_realized_pnl, daily_capital_flow, daily_return, cumulative_pnl,"
    " cumulative_realized_pnl, cumulative_capital_flow, num_positions, num_long_positions,"
    " num_short_positions, is_complete, created_at) VALUES (gen_random_uuid(), :portfolio_id,"
    " :night, :equity, :cash, :long, :short, :gross, :net, :equity, :pnl, :realized, :flow,"
    " :return, :total_pnl, :total_realized, :total_flow, :positions, :longs, :shorts, true, now())"
)
SAVE_EQUITY = text("UPDATE portfolios SET equity_balance = :equity WHERE id = :portfolio_id")


async def value_portfolio(session: AsyncSession, portfolio_id: uuid.UUID, night: date) -> None:
    """Write the snapshot of one portfolio on one date."""
    of = {"portfolio_id": portfolio_id, "night": night}
    previous = (await session.execute(PREVIOUS, of)).one_or_none()
    since = night if previous is None else previous.snapshot_date
    pnl = realized = Decimal(0)
    values: list[Decimal] = []
    for position in (await session.execute(POSITIONS, of)).all():
        units = position.quantity * (100 if position.kind in {"LC", "LP", "SC", "SP"} else 1)
        before = await mark(session, position, since)
        if position.exit_date is not None and position.exit_date <= night:
            if position.exit_date > since:
                pnl += (position.exit_price - before) * units
                realized += (position.exit_price - position.entry_price) * units
            continue
        close = await mark(session, position, night)
        pnl += (close - before) * units
        values.append(close * units)
    await save(session, of, previous, (pnl, realized), values)


async def mark(session: AsyncSession, position: Any, day: date) -> Decimal:  # noqa: ANN401  # a row
    """Return the latest close since the entry; the entry price without one."""
    window = {"symbol": position.symbol, "first": position.entry_date, "last": day}
    close = (await session.execute(LAST_CLOSE, window)).scalar_one_or_none()
    return position.entry_price if close is None else close


async def save(
    session: AsyncSession,
    of: dict[str, Any],
    previous: Any,  # noqa: ANN401  # a row, or None
    gains: tuple[Decimal, Decimal],
    values: list[Decimal],
) -> None:
    """Write a snapshot and the portfolio's equity."""
    pnl, realized = (gain.quantize(CENT, ROUND_HALF_UP) for gain in gains)
    if previous is None:
        flow = Decimal(0)
        equity = (await session.execute(OPENING, of)).scalar_one()
        earlier = (Decimal(0), Decimal(0), Decimal(0))
        rate = Decimal(0)
    else:
        flow = (await session.execute(FLOWS, {**of, "after": previous.snapshot_date})).scalar_one()
        equity = previous.equity_balance + pnl + flow
        earlier = tuple(amount or Decimal(0) for amount in previous[2:])
        rate = pnl / previous.equity_balance if previous.equity_balance > 0 else Decimal(0)
    longs, shorts = ([v for v in values if v * sign > 0] for sign in (1, -1))
    long = sum(longs, Decimal(0)).quantize(CENT, ROUND_HALF_UP)
    short = sum(shorts, Decimal(0)).quantize(CENT, ROUND_HALF_UP)
    row = {
        **of,
        "equity": equity,
        "pnl": pnl,
        "realized": realized,
        "flow": flow,
        "return": rate.quantize(Decimal("0.000001"), ROUND_HALF_UP),
        "total_pnl": earlier[0] + pnl,
        "total_realized": earlier[1] + realized,
        "total_flow": earlier[2] + flow,
        "long": long,
        "short": short,
        "gross": long - short,
        "net": long + short,
        "cash": equity - long - short,
        "positions": len(values),
        "longs": len(longs),
        "shorts": len(shorts),
    }
    await session.execute(SAVE, row)
    await session.execute(SAVE_EQUITY, row)
