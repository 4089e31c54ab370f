"""A host that never stops writing: each of its commits is a generation, whole in every table.

As a script, with the URL of a database of `generation(0)`, it writes one after the other until it
is killed.
"""

import asyncio
import sys
from dataclasses import replace
from decimal import Decimal
from typing import Final

import asyncpg

FIRST: Final = 20_458  # 2026-01-05, a Monday
DAYS: Final = tuple(range(FIRST, FIRST + 4))
PORTFOLIOS: Final = 24

TABLE: Final = "CREATE TABLE generation (number int); INSERT INTO generation VALUES (0)"

STATEMENTS: Final = """
    UPDATE generation SET number = {g};
    UPDATE market_data_cache SET close = 10 + (date - DATE '2026-01-05') + {g} / 100.0
        WHERE symbol = 'AAA';
    DELETE FROM market_data_cache WHERE symbol = 'BBB';
    INSERT INTO market_data_cache (id, symbol, date, close, data_source, created_at, updated_at)
        SELECT gen_random_uuid(), 'BBB', DATE '2026-01-05' + n, 20 + n + {g} / 100.0, 'w', now(),
            now()
        FROM generate_series(0, 3 - {g} % 2) AS n;
    UPDATE positions SET quantity = 10 + {g} % 7 WHERE symbol = 'AAA';
    DELETE FROM positions WHERE symbol = 'BBB';
    INSERT INTO positions (id, portfolio_id, symbol, position_type, quantity, entry_price,
            entry_date, created_at, updated_at)
        SELECT gen_random_uuid(), id, 'BBB', 'LONG', 3, 20, DATE '2026-01-06', now(), now()
        FROM portfolios WHERE {g} % 3 > 0;
    DELETE FROM position_realized_events;
    INSERT INTO position_realized_events (id, position_id, portfolio_id, trade_date,
            quantity_closed, realized_pnl, created_at)
        SELECT gen_random_uuid(), id, portfolio_id, DATE '2026-01-07', 1, {g}, now()
        FROM positions WHERE symbol = 'AAA';
    UPDATE equity_changes SET amount = {g} + 1"""
"""From one generation to the next: prices, positions, events and cash."""


def generation(number: int):  # no annotation: as a script it imports nothing of the tests
    """Return what all tables hold then."""
    from batchcore import reference as ref  # noqa: PLC0415  # not as a script
    from support import database  # noqa: PLC0415  # likewise

    plus = Decimal(number) / 100
    held = ref.Position(
        "AAA",
        "LONG",
        Decimal(10 + number % 7),
        Decimal(10),
        FIRST - 1,
        events=(ref.Event(DAYS[2], Decimal(1), Decimal(number)),),
    )
    other = ref.Position("BBB", "LONG", Decimal(3), Decimal(20), DAYS[1])
    flow = ref.Flow(DAYS[3], Decimal(number + 1), "CONTRIBUTION")
    plain = database.plain_host(PORTFOLIOS, DAYS)
    prices = [("AAA", day, 10 + (day - FIRST) + plus) for day in DAYS]
    prices += [("BBB", day, 20 + (day - FIRST) + plus) for day in DAYS[: 4 - number % 2]]
    return database.Host(
        tuple(
            replace(one, positions=(held, other) if number % 3 else (held,), flows=(flow,))
            for one in plain.portfolios
        ),
        tuple(prices),
    )


async def write(url: str) -> None:
    """Write generations at full speed."""
    connection = await asyncpg.connect(url)
    number = 0
    while True:
        number += 1
        async with connection.transaction():
            await connection.execute(STATEMENTS.format(g=number))


if __name__ == "__main__":
    asyncio.run(write(sys.argv[1]))
