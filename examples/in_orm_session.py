"""batchcore in a session of the ORM: objects are stale until they are refreshed."""

import asyncio
import os
import uuid
from datetime import date
from decimal import Decimal

from sqlalchemy import select
from sqlalchemy.ext.asyncio import AsyncSession, create_async_engine
from sqlalchemy.orm import DeclarativeBase, Mapped, mapped_column

import batchcore


class Base(DeclarativeBase):
    """Models of the host."""


class Portfolio(Base):
    """A portfolio of the host."""

    __tablename__ = "portfolios"
    id: Mapped[uuid.UUID] = mapped_column(primary_key=True)
    equity_balance: Mapped[Decimal]


async def main() -> None:
    """Run the example."""
    engine = create_async_engine(os.environ["DATABASE_URL"])
    async with AsyncSession(engine) as session:
        calculator = batchcore.PnLCalculator(db=session)
        portfolio = (await session.scalars(select(Portfolio).order_by(Portfolio.id))).first()
        stale = portfolio.equity_balance
        for day in (27, 30):
            await calculator.calculate_portfolio_pnl(portfolio.id, date(2025, 6, day))
        print(portfolio.equity_balance == stale)
        await session.refresh(portfolio)
        print(portfolio.equity_balance == stale)
        await session.commit()
    await engine.dispose()


asyncio.run(main())
