"""Beta, sectors and sector tags of one portfolio, in a caller's transaction."""

import asyncio
import os
from datetime import date

from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncSession, create_async_engine

import batchcore

ONE = "SELECT id, user_id FROM portfolios WHERE deleted_at IS NULL ORDER BY id LIMIT 1"
POSITION = "SELECT id FROM positions WHERE portfolio_id = :id AND deleted_at IS NULL LIMIT 1"


async def main() -> None:
    """Run the example."""
    engine = create_async_engine(os.environ["DATABASE_URL"])  # postgresql+asyncpg://...
    async with AsyncSession(engine) as session:
        portfolio_id, user_id = (await session.execute(text(ONE))).one()
        beta = await batchcore.calculate_portfolio_provider_beta(
            session, portfolio_id, calculation_date=date(2025, 6, 30)
        )
        print(sorted(beta))
        sectors = await batchcore.calculate_portfolio_sector_exposure(
            session, portfolio_id, calculation_date=date(2025, 6, 30)
        )
        print(sorted(sectors))
        tags = await batchcore.restore_sector_tags_for_portfolio(session, user_id, portfolio_id)
        again = await batchcore.restore_sector_tags_for_portfolio(session, user_id, portfolio_id)
        print(again.created, again.removed, again.unchanged == sum(tags.tags.values()))
        position_id = await session.scalar(text(POSITION), {"id": portfolio_id})
        one = await batchcore.restore_sector_tag_for_position(session, user_id, position_id)
        print(one.created, one.removed, one.unchanged)
        await session.commit()
    await engine.dispose()


asyncio.run(main())
