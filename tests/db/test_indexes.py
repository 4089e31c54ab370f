"""EXPLAIN: each of the three indexes serves the queries that it is for."""

import json
from collections.abc import Iterator
from datetime import date, timedelta

import pytest

from support import database

pytestmark = pytest.mark.db

# 400 symbols on 400 days, every tenth close 0; 1,000 portfolios of 20 positions, every fourth
# position deleted, every fifth exited, every seventh PRIVATE. A key that ends in n is portfolio n.
FILL = (
    # VACUUM calls no page all-visible while a commit on it may still be lost, and the planner
    # takes an index-only scan where pages are.
    "SET synchronous_commit = on",
    """
    INSERT INTO portfolios (id, user_id, name, account_name, account_type, currency, created_at,
        updated_at)
    SELECT lpad(n::text, 32, '0')::uuid, gen_random_uuid(), 'Portfolio ' || n, 'Account ' || n,
        'taxable', 'USD', now(), now()
    FROM generate_series(1, 1000) AS n""",
    """
    INSERT INTO positions (id, portfolio_id, symbol, position_type, quantity, entry_price,
        entry_date, exit_date, investment_class, market_value, notes, created_at, updated_at,
        deleted_at)
    SELECT gen_random_uuid(), lpad((1 + n % 1000)::text, 32, '0')::uuid, 'SYM' || n * 7 % 400,
        'LONG', 100, 25.5, '2020-01-02', CASE WHEN n % 5 = 0 THEN date '2020-06-01' END,
        CASE WHEN n % 7 = 0 THEN 'PRIVATE' ELSE 'PUBLIC' END, 2550, repeat('note ', 20),
        now(), now(), CASE WHEN n % 4 = 0 THEN now() END
    FROM generate_series(1, 20000) AS n""",
    """
    INSERT INTO market_data_cache (id, symbol, date, close, data_source, created_at, updated_at)
    SELECT gen_random_uuid(), 'SYM' || s, date '2020-01-01' + d,
        CASE WHEN (s + d) % 10 = 0 THEN 0 ELSE 25.5 END, 'test', now(), now()
    FROM generate_series(0, 399) AS s, generate_series(0, 399) AS d""",
    "VACUUM (ANALYZE) portfolios",
    "VACUUM (ANALYZE) positions",
    "VACUUM (ANALYZE) market_data_cache",
)
DAY = date(2020, 12, 31)


@pytest.fixture(scope="module")
def filled(server, template: str) -> Iterator[str]:
    yield from database.shared(server, lambda url: database.execute(url, *FILL), template)


async def test_the_queries_of_the_docs_use_the_indexes(filled: str) -> None:
    symbols = [f"SYM{n}" for n in range(0, 400, 20)]

    assert "idx_market_data_valid_prices" in await used(
        filled,
        "SELECT close FROM market_data_cache WHERE symbol = $1 AND date = $2 AND close > 0",
        "SYM17",
        DAY,
    )
    assert "idx_market_data_valid_prices" in await used(
        filled,
        "SELECT symbol, date, close FROM market_data_cache"
        " WHERE symbol = ANY ($1::text[]) AND date BETWEEN $2 AND $3 AND close > 0",
        symbols,
        DAY - timedelta(days=10),
        DAY,
    )
    assert "idx_positions_active_complete" in await used(
        filled,
        "SELECT symbol, quantity FROM positions WHERE portfolio_id = $1 AND deleted_at IS NULL"
        " AND exit_date IS NULL AND investment_class = 'PUBLIC'",
        "00000000-0000-0000-0000-000000000017",
    )
    assert "idx_positions_symbol_active" in await used(
        filled,
        "SELECT DISTINCT symbol FROM positions"
        " WHERE deleted_at IS NULL AND symbol IS NOT NULL AND symbol <> ''"
        " AND (exit_date IS NULL OR exit_date > $1)"
        " AND (expiration_date IS NULL OR expiration_date > $1)",
        DAY,
    )


async def test_a_query_without_the_predicate_uses_none_of_them(filled: str) -> None:
    # Closes of 0 are not in the index, so this shows that `used` can fail.
    plan = await used(
        filled,
        "SELECT close FROM market_data_cache WHERE symbol = $1 AND date = $2",
        "SYM1",
        DAY,
    )

    assert "idx_market_data_valid_prices" not in plan


async def used(url: str, query: str, *arguments: object) -> set[str]:
    told = await database.fetchval(url, f"EXPLAIN (FORMAT JSON) {query}", *arguments)
    plan = json.loads(told)
    return set(_index_names(plan))


def _index_names(node: object) -> Iterator[str]:
    if isinstance(node, dict):
        if "Index Name" in node:
            yield str(node["Index Name"])
        for value in node.values():
            yield from _index_names(value)
    elif isinstance(node, list):
        for value in node:
            yield from _index_names(value)
