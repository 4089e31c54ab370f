"""A host that maps rates: the table, the columns with a currency, and rows in them."""

import datetime as dt
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from decimal import Decimal
from typing import Any

from batchcore import reference as ref
from batchcore.config import Fx, Schema, Settings
from support import database
from support.cases import RateRow
from support.database import Db, Host

TABLE = (
    (
        "CREATE TABLE fx_rates (base text, quote text, date date, rate numeric(18,10),"
        " updated_at timestamptz NOT NULL DEFAULT now())"
    ),
    "ALTER TABLE positions ADD currency text",
    "ALTER TABLE company_profiles ADD quoted_in char(3)",
)
OF_POSITIONS = Schema(fx=Fx("fx_rates", "positions.currency"))
OF_PROFILES = Schema(fx=Fx("fx_rates", "company_profiles.quoted_in"))
MOMENT = dt.datetime(2026, 1, 1, tzinfo=dt.UTC)


def settings(schema: Schema = OF_POSITIONS, **options: Any) -> Settings:
    return Settings(schema=schema, **{"min_coverage": 0.0, **options})


async def fill(url: Db, host: Host, rates: Iterable[RateRow]) -> None:
    """Write the rows of a host, with the currencies of its portfolios and positions."""
    await database.fill(url, host)
    async with database.connected(url) as connection:
        for portfolio in host.portfolios:
            await connection.execute(
                "UPDATE portfolios SET currency = $1 WHERE id = $2",
                portfolio.currency,
                database.key(portfolio.id),
            )
            for number, position in enumerate(portfolio.positions):
                await connection.execute(
                    "UPDATE positions SET currency = $1 WHERE id = $2",
                    position.currency,
                    database.key(f"{portfolio.id}/{number}"),
                )
    await add_rates(url, rates)


async def add_rates(url: Db, rates: Iterable[RateRow], at: dt.datetime = MOMENT) -> None:
    rows = [(base, quote, database.date(day), rate, at) for base, quote, day, rate in rates]
    async with database.connected(url) as connection:
        await connection.executemany(
            "INSERT INTO fx_rates VALUES ($1, $2, $3, $4, $5)",
            rows,
        )


def in_currencies(
    portfolio: ref.Portfolio, home: str | None, currencies: Sequence[str | None]
) -> ref.Portfolio:
    """Return a portfolio in a currency, whose positions are in others."""
    positions = zip(portfolio.positions, currencies, strict=True)
    held = tuple(replace(position, currency=own) for position, own in positions)
    return replace(portfolio, currency=home, positions=held)


def every_day(days: Iterable[int], **rates: Mapping[str, Any] | str) -> list[RateRow]:
    """Return a rate for each day of pairs such as ``EURUSD="1.10"``."""
    return [
        (pair[:3], pair[3:], day, Decimal(str(rate)))
        for pair, rate in rates.items()
        for day in days
    ]
