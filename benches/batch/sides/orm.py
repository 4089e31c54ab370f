"""n+1: the batch as it stands in many hosts, on the ORM of SQLAlchemy.

A portfolio and a session at a time: its row, its last snapshot, whether it has one already, its
positions with their partial closes, its flows; then for each position the latest close of the
session, and of the day of the last snapshot. The row is added, the equity set, and the session
committed: about 35 statements.
"""

import asyncio
import uuid
from dataclasses import dataclass
from datetime import UTC, date, datetime
from decimal import ROUND_HALF_UP, Decimal, localcontext
from time import perf_counter

from sqlalchemy import and_, event, select
from sqlalchemy.ext.asyncio import async_sessionmaker, create_async_engine
from sqlalchemy.orm import Session, registry, relationship, selectinload

import baseline
from baseline import Lot
from batch.job import Job, Timing
from batchcore.db.sqlalchemy_tables import metadata

CENT = baseline.CENT
ZERO = baseline.ZERO

models = registry()


class Portfolio:
    pass


class Position:
    pass


class Close:
    pass


class Snapshot:
    pass


class Flow:
    pass


class Event:
    pass


tables = metadata.tables
models.map_imperatively(Portfolio, tables["portfolios"])
models.map_imperatively(Event, tables["position_realized_events"])
models.map_imperatively(Position, tables["positions"], properties={"events": relationship(Event)})
models.map_imperatively(Close, tables["market_data_cache"])
models.map_imperatively(Snapshot, tables["portfolio_snapshots"])
models.map_imperatively(Flow, tables["equity_changes"])


def run(url: str, job: Job) -> Timing:
    return asyncio.run(_run(url, job))


async def _run(url: str, job: Job) -> Timing:
    sent: list[None] = []
    engine = create_async_engine(url.replace("postgresql://", "postgresql+asyncpg://", 1))
    event.listen(engine.sync_engine, "before_cursor_execute", lambda *_: sent.append(None))
    rows, began, first = 0, perf_counter(), 0.0
    try:
        make = async_sessionmaker(engine)
        async with make() as session:
            wanted = select(Portfolio.id).where(Portfolio.deleted_at.is_(None)).order_by("id")
            ids = job.only or (await session.scalars(wanted)).all()
        with localcontext(prec=baseline.DIGITS, rounding=ROUND_HALF_UP):
            for one in ids:
                for day in job.sessions:
                    async with make() as session:
                        rows += await session.run_sync(value, one, day)
                        await session.commit()
                first = first or perf_counter() - began
    finally:
        await engine.dispose()
    return Timing(
        load=None,
        compute=None,
        persist=None,
        statements=len(sent),
        rows=rows,
        notes={"first": first},
    )


@dataclass(slots=True)
class Sums:
    """Over the lots of a portfolio on a day (S6, S9)."""

    unrealized: Decimal = ZERO
    long_value: Decimal = ZERO
    short_value: Decimal = ZERO
    longs: int = 0
    shorts: int = 0


def value(session: Session, portfolio_id: uuid.UUID, day: date) -> int:
    """Write the snapshot of a portfolio on a session; return 0 where it stands already."""
    portfolio = session.get_one(Portfolio, portfolio_id)
    of_portfolio = select(Snapshot).where(
        Snapshot.portfolio_id == portfolio_id, Snapshot.is_complete
    )
    if session.scalar(of_portfolio.where(Snapshot.snapshot_date == day)) is not None:
        return 0
    earlier = of_portfolio.where(Snapshot.snapshot_date < day)
    previous = session.scalar(earlier.order_by(Snapshot.snapshot_date.desc()).limit(1))
    since = None if previous is None else previous.snapshot_date
    positions = session.scalars(
        select(Position)
        .where(Position.portfolio_id == portfolio_id, Position.deleted_at.is_(None))
        .options(selectinload(Position.events))
    ).all()

    on_day, before, realized = Sums(), Sums(), ZERO
    for lot in [lot for position in positions for lot in lots_of(position)]:
        if lot.start <= day < lot.end:
            add(session, on_day, lot, day)
        if since is not None:
            if lot.start <= since < lot.end:
                add(session, before, lot, since)
            if since < lot.end <= day:
                realized += realized_on(session, lot)
    flow = flows(session, portfolio_id, since, day)

    realized = realized.quantize(CENT)
    pnl, daily_return = ZERO, ZERO
    equity = portfolio.equity_balance if previous is None else previous.equity_balance
    if previous is not None:
        pnl = on_day.unrealized.quantize(CENT) - before.unrealized.quantize(CENT) + realized
        if equity > 0:
            daily_return = (pnl / equity).quantize(baseline.MILLIONTH)
    equity += pnl + flow
    long_value, short_value = on_day.long_value.quantize(CENT), on_day.short_value.quantize(CENT)
    session.add(
        Snapshot(
            id=uuid.uuid4(),
            portfolio_id=portfolio_id,
            snapshot_date=day,
            total_value=equity,
            equity_balance=equity,
            daily_pnl=pnl,
            daily_realized_pnl=realized,
            daily_capital_flow=flow,
            daily_return=None if abs(daily_return) >= baseline.RETURN_LIMIT else daily_return,
            cumulative_pnl=pnl + (previous.cumulative_pnl if previous else 0),
            cumulative_realized_pnl=realized
            + (previous.cumulative_realized_pnl if previous else 0),
            cumulative_capital_flow=flow + (previous.cumulative_capital_flow if previous else 0),
            long_value=long_value,
            short_value=short_value,
            gross_exposure=long_value - short_value,
            net_exposure=long_value + short_value,
            cash_value=equity - long_value - short_value,
            num_positions=on_day.longs + on_day.shorts,
            num_long_positions=on_day.longs,
            num_short_positions=on_day.shorts,
            is_complete=True,
            created_at=datetime.now(UTC),
        )
    )
    portfolio.equity_balance = equity
    portfolio.updated_at = datetime.now(UTC)
    return 1


def lots_of(position: Position) -> list[Lot]:
    return baseline.lots_of(vars(position), map(vars, position.events))


def mark(session: Session, lot: Lot, day: date) -> Decimal:
    """Return the latest close from the lot's start to a day, or the entry price (S4)."""
    close = session.scalar(
        select(Close.close)
        .where(
            Close.symbol == lot.symbol,
            Close.date.between(lot.start, day),
            Close.close > 0,
        )
        .order_by(Close.date.desc())
        .limit(1)
    )
    return lot.entry_price if close is None else close


def add(session: Session, sums: Sums, lot: Lot, day: date) -> None:
    worth = lot.value
    if worth is None:
        worth = mark(session, lot, day) * lot.units
        sums.unrealized += worth - lot.cost
    if worth > 0:
        sums.long_value += worth
    else:
        sums.short_value += worth
    if lot.units > 0:
        sums.longs += 1
    else:
        sums.shorts += 1


def realized_on(session: Session, lot: Lot) -> Decimal:
    if lot.realized is not None:
        return lot.realized
    price = mark(session, lot, lot.end) if lot.exit_price is None else lot.exit_price
    return price * lot.units - lot.cost


def flows(session: Session, portfolio_id: uuid.UUID, since: date | None, day: date) -> Decimal:
    """Return contributions less withdrawals after `since`; of a baseline, those of the day."""
    within = Flow.change_date == day
    if since is not None:
        within = and_(Flow.change_date > since, Flow.change_date <= day)
    found = session.scalars(
        select(Flow).where(Flow.portfolio_id == portfolio_id, Flow.deleted_at.is_(None), within)
    )
    return sum(
        (one.amount if one.change_type == "CONTRIBUTION" else -one.amount for one in found), ZERO
    )
