"""n+1: the batch as it stands in many hosts, on the ORM of SQLAlchemy.

A portfolio and a session at a time: its row, its last snapshot, whether it has one already, its
positions with their partial closes, its flows; then for each position the latest close of the
session, and of the day of the last snapshot. The row is added, the equity set, and the session
committed: about 35 statements.
"""

import asyncio
import uuid
from datetime import UTC, date, datetime
from decimal import ROUND_HALF_UP, Decimal, localcontext
from time import perf_counter

from sqlalchemy import and_, event, select
from sqlalchemy.ext.asyncio import async_sessionmaker, create_async_engine
from sqlalchemy.orm import DeclarativeBase, Session, relationship, selectinload

import baseline
from baseline import Lot, Valued
from batch.job import Job, Timing
from batchcore.db.sqlalchemy_tables import metadata

ZERO = baseline.ZERO


class Base(DeclarativeBase):
    metadata = metadata


class Portfolio(Base):
    __table__ = metadata.tables["portfolios"]


class Event(Base):
    __table__ = metadata.tables["position_realized_events"]


class Position(Base):
    __table__ = metadata.tables["positions"]
    events = relationship(Event)


class Close(Base):
    __table__ = metadata.tables["market_data_cache"]


class Snapshot(Base):
    __table__ = metadata.tables["portfolio_snapshots"]


class Flow(Base):
    __table__ = metadata.tables["equity_changes"]


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
    return Timing(None, None, None, len(sent), rows, notes={"first": first})


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

    lots = [lot for position in positions for lot in lots_of(position)]
    standing = baseline.standing_of(previous and vars(previous), portfolio.equity_balance)
    before = ZERO if since is None else valued(session, lots, None, since).unrealized
    on_day, flow = valued(session, lots, since, day), flows(session, portfolio_id, since, day)
    now = datetime.now(UTC)
    row = baseline.row_of(standing, before, on_day, flow, (uuid.uuid4(), portfolio_id, day, now))
    session.add(Snapshot(**dict(zip(baseline.COLUMNS, row, strict=True))))
    portfolio.equity_balance = standing.equity
    portfolio.updated_at = now
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


def valued(session: Session, lots: list[Lot], since: date | None, day: date) -> Valued:
    """Return the sums over the lots of a portfolio on a session (S6, S9)."""
    unrealized = realized = long_value = short_value = ZERO
    held = longs = 0
    for lot in lots:
        if lot.start <= day < lot.end:
            held += 1
            longs += lot.units > 0
            worth = lot.value
            if worth is None:
                worth = mark(session, lot, day) * lot.units
                unrealized += worth - lot.cost
            long_value += max(worth, ZERO)
            short_value += min(worth, ZERO)
        elif since is not None and since < lot.end <= day:
            realized += realized_on(session, lot)
    sums = (unrealized, realized, long_value, short_value)
    return Valued(*(amount.quantize(baseline.CENT) for amount in sums), held, longs)


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
