"""Texts in columns of `char(n)`, whose blanks at the ends do not count: figures are the same."""

from collections.abc import Iterator
from decimal import Decimal
from typing import Any

import pytest

import batchcore
from batchcore import CompanyProfileCache, PriceCache
from batchcore.calendar import date_of
from batchcore.config import Schema, Settings
from support import database
from support.generate import MONDAY

DAYS = [MONDAY, MONDAY + 1, MONDAY + 2]
START, END = date_of(DAYS[0]), date_of(DAYS[-1])
ONE, TWO = (database.full_host(n, DAYS, event=DAYS[1], flow=DAYS[2]) for n in (1, 2))

PADDED = {
    "position_type": "ALTER TABLE positions ALTER position_type TYPE char(5)",
    "change_type": "ALTER TABLE equity_changes ALTER change_type TYPE char(20)",
    "symbol": "ALTER TABLE positions ALTER symbol TYPE char(20)",
    "investment_class": "ALTER TABLE positions ALTER investment_class TYPE char(20)",
    "closes": "ALTER TABLE market_data_cache ALTER symbol TYPE char(20)",
    "currency": "ALTER TABLE portfolios ALTER currency TYPE char(9)",
    "domain": "CREATE DOMAIN side AS char(9); ALTER TABLE positions ALTER position_type TYPE side",
    "domain of a domain": (
        "CREATE DOMAIN side AS char(9); CREATE DOMAIN own_side AS side;"
        " ALTER TABLE positions ALTER position_type TYPE own_side"
    ),
}


async def equities(url: str, **options: Any) -> list[tuple[Any, ...]]:
    """Return the rows that a run leaves."""
    result = await batchcore.run_batch(url, START, END, **options)
    assert result["success"]
    assert result.issues_by_name() == {}
    rows = await database.fetch(
        url,
        "SELECT portfolio_id, snapshot_date, equity_balance, daily_pnl, daily_capital_flow"
        " FROM portfolio_snapshots ORDER BY 1, 2",
    )
    return [tuple(row) for row in rows]


OPTIONS = {"rollforward": {"calendar": "daily"}, "legacy": {"policy": "legacy"}}


@pytest.fixture(scope="module", params=OPTIONS)
def plain(request: pytest.FixtureRequest, server: Any, template: str) -> Iterator[tuple[Any, Any]]:
    """A policy's options, and the rows that it leaves in columns without blanks."""
    found: list[tuple[Any, ...]] = []

    async def fill(url: str) -> None:
        await database.fill(url, TWO)
        found.extend(await equities(url, **OPTIONS[request.param]))

    for _ in database.shared(server, fill, template):
        yield OPTIONS[request.param], found


@pytest.mark.parametrize("changes", PADDED.values(), ids=PADDED)
async def test_figures_are_those_of_columns_without_blanks(
    host: str, plain: tuple[dict[str, str], list[tuple[Any, ...]]], changes: str
) -> None:
    options, expected = plain
    await database.fill(host, TWO)
    await database.execute(host, changes)

    found = await equities(host, **options)

    assert found == expected
    assert any(flow == 70 for *_, flow in found)


async def test_an_option_has_its_multiplier_under_legacy(make_database: Any, template: str) -> None:
    found = []
    for changes in ("SELECT 1", "ALTER TABLE positions ALTER position_type TYPE char(5)"):
        url = await make_database(template)
        await database.fill(url, ONE)
        await database.execute(url, "UPDATE positions SET position_type = 'LC'", changes)
        found.append(await equities(url, policy="legacy"))
    assert found[0] == found[1]
    assert any(abs(pnl) >= 100 for *_, pnl, _ in found[0])


async def test_caches_give_texts_without_blanks(host: str) -> None:
    await database.fill(host, ONE)
    await database.execute(
        host,
        "ALTER TABLE company_profiles ALTER sector TYPE char(50), ALTER country TYPE char(9),"
        " ALTER symbol TYPE char(20), ALTER company_name TYPE char(90)",
        "ALTER TABLE market_data_cache ALTER data_source TYPE char(20)",
    )
    row = ("AAA", "Triple A", "Energy", "US")
    await database.add_profiles(host, "symbol company_name sector country", row)
    profiles, prices = CompanyProfileCache(), PriceCache(schema=Schema(price_sources=("test",)))

    await profiles.load(host, ["AAA"])
    await prices.load_single_date(host, ["AAA"], END)

    found = profiles.get("AAA")
    assert (found.sector, found.country, found.name) == ("Energy", "US", "Triple A")
    assert prices.get("AAA", END) == Decimal(13)


async def test_sources_are_read_without_blanks(host: str) -> None:
    await database.fill(host, ONE)
    await database.execute(host, "ALTER TABLE market_data_cache ALTER data_source TYPE char(20)")
    schema = Schema(price_sources=("test", "other"))
    rows = await equities(host, calendar="daily", settings=Settings(schema=schema))
    assert rows[-1][2] == Decimal("1092.00")
