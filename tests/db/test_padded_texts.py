"""Texts in columns of `char(n)`, whose blanks at the ends do not count: figures are the same."""

import datetime as dt
from decimal import Decimal
from typing import Any

import pytest

import batchcore
from batchcore import CompanyProfileCache, PriceCache
from batchcore.calendar import date_of
from batchcore.config import Schema, Settings
from support import database
from support.generate import MONDAY

pytestmark = pytest.mark.db

DAYS = [MONDAY, MONDAY + 1, MONDAY + 2]
START, END = date_of(DAYS[0]), date_of(DAYS[-1])
NOW = dt.datetime(2020, 1, 1, tzinfo=dt.UTC)

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


@pytest.mark.parametrize("policy", ["rollforward", "legacy"])
@pytest.mark.parametrize("changes", PADDED.values(), ids=PADDED)
async def test_figures_are_those_of_columns_without_blanks(
    make_database: Any, template: str, policy: str, changes: str
) -> None:
    urls = [await make_database(template) for _ in range(2)]
    options = {"calendar": "daily"} if policy == "rollforward" else {}
    for url in urls:
        made = database.full_host(2, DAYS, event=DAYS[1], flow=DAYS[2])
        await database.fill(url, made)
    await database.execute(urls[1], changes)

    expected, found = [await equities(url, policy=policy, **options) for url in urls]

    assert found == expected
    assert any(flow == 70 for *_, flow in found)


async def test_an_option_has_its_multiplier_under_legacy(make_database: Any, template: str) -> None:
    found = []
    for changes in ("SELECT 1", "ALTER TABLE positions ALTER position_type TYPE char(5)"):
        url = await make_database(template)
        await database.fill(url, database.full_host(1, DAYS, event=DAYS[1], flow=DAYS[2]))
        await database.execute(url, "UPDATE positions SET position_type = 'LC'", changes)
        found.append(await equities(url, policy="legacy"))
    assert found[0] == found[1]
    assert any(abs(pnl) >= 100 for *_, pnl, _ in found[0])


async def test_caches_give_texts_without_blanks(make_database: Any, template: str) -> None:
    url = await make_database(template)
    await database.fill(url, database.full_host(1, DAYS, event=DAYS[1], flow=DAYS[2]))
    await database.execute(
        url,
        "ALTER TABLE company_profiles ALTER sector TYPE char(50), ALTER country TYPE char(9),"
        " ALTER symbol TYPE char(20), ALTER company_name TYPE char(90)",
        "ALTER TABLE market_data_cache ALTER data_source TYPE char(20)",
    )
    row = ("AAA", "Triple A", "Energy", "US")
    await database.add_profiles(url, "symbol company_name sector country", row)
    profiles, prices = CompanyProfileCache(), PriceCache(schema=Schema(price_sources=("test",)))

    await profiles.load(url, ["AAA"])
    await prices.load_single_date(url, ["AAA"], END)

    found = profiles.get("AAA")
    assert found is not None
    assert (found.sector, found.country, found.name) == ("Energy", "US", "Triple A")
    assert prices.get("AAA", END) == Decimal(13)


async def test_sources_are_read_without_blanks(make_database: Any, template: str) -> None:
    url = await make_database(template)
    await database.fill(url, database.full_host(1, DAYS, event=DAYS[1], flow=DAYS[2]))
    await database.execute(url, "ALTER TABLE market_data_cache ALTER data_source TYPE char(20)")
    schema = Schema(price_sources=("test", "other"))
    rows = await equities(url, calendar="daily", settings=Settings(schema=schema))
    assert rows[-1][2] == Decimal("1092.00")
