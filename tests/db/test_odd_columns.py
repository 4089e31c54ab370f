"""Rows of one symbol that no key keeps to one, and texts in columns of `char(n)`.

Rows that agree count once, others not at all; blanks at the ends of texts do not count.
"""

import json
from collections.abc import Iterator
from decimal import Decimal
from typing import Any

import pytest
import pytest_asyncio

import batchcore
from batchcore import CompanyProfileCache, PriceCache
from batchcore.calendar import date_of
from batchcore.config import Schema, Settings
from support import database
from support.generate import MONDAY

DAYS = [MONDAY, MONDAY + 1, MONDAY + 2]
START, END = date_of(DAYS[0]), date_of(DAYS[-1])
P0 = database.key("p0")

PROFILE = """INSERT INTO company_profiles (symbol, sector, beta, is_etf, data_source, last_updated,
    created_at, updated_at)
    VALUES ('{symbol}', '{sector}', {beta}, false, 'x', now(), now(), now())"""
WEIGHT = """INSERT INTO benchmarks_sector_weights (id, benchmark_code, asof_date, sector, weight,
    data_source, created_at, updated_at) VALUES (gen_random_uuid(), 'SP500', '2025-01-01',
    '{sector}', {weight}, '{source}', now(), now())"""
MOVED = "UPDATE company_profiles SET updated_at = now() WHERE beta = 1.25"
"""The row is then stored behind the others."""

FIGURES = (
    "SELECT beta_provider_1y, sector_exposure FROM portfolio_snapshots"
    " WHERE beta_provider_1y IS NOT NULL OR sector_exposure IS NOT NULL"
)


def profile(sector: str = "Technology", beta: str = "1.25", symbol: str = "AAA") -> str:
    return PROFILE.format(symbol=symbol, sector=sector, beta=beta)


@pytest_asyncio.fixture
async def unkeyed(host: str) -> str:
    """A host whose profiles and weights have no key."""
    await database.fill(host, database.full_host(1, DAYS, event=DAYS[1], flow=DAYS[2]))
    await database.execute(
        host,
        "UPDATE positions SET investment_class = 'PUBLIC'",
        "ALTER TABLE company_profiles DROP CONSTRAINT pk_company_profiles",
        """DO $$ DECLARE key text; BEGIN
            FOR key IN SELECT conname FROM pg_constraint
                WHERE conrelid = 'benchmarks_sector_weights'::regclass AND contype = 'u'
            LOOP EXECUTE format('ALTER TABLE benchmarks_sector_weights DROP CONSTRAINT %I', key);
            END LOOP; END $$""",
        profile(),
    )
    return host


async def figures(url: str, **options: Any) -> tuple[list[tuple[Any, Any]], batchcore.BatchResult]:
    result = await batchcore.run_batch(
        url, START, END, calendar="daily", on_existing="replace", **options
    )
    rows = await database.fetch(url, FIGURES)
    return [(row[0], json.loads(row[1])) for row in rows], result


ALIKE = {
    "one": [],
    "the same twice": [profile()],
    "as precise otherwise": [profile(beta="1.250")],
}
DIFFERENT = {
    "a sector": [profile(sector="Energy")],
    "a beta": [profile(beta="0.5")],
    "three": [profile(), profile(beta="0.5")],
}


@pytest.mark.parametrize("more", ALIKE.values(), ids=ALIKE)
async def test_profiles_that_agree_count_once(unkeyed: str, more: list[str]) -> None:
    await database.execute(unkeyed, *more)

    found, result = await figures(unkeyed)

    assert {tuple(sectors) for _, sectors in found} == {("Technology",)}
    assert {beta for beta, _ in found if beta} != set()
    assert result.issues_by_name() == {}
    cache = CompanyProfileCache()
    assert await cache.load(unkeyed, ["AAA"]) == 1
    assert (cache.get_beta("AAA"), cache.get_sector("AAA")) == (Decimal("1.25"), "Technology")


@pytest.mark.parametrize("more", DIFFERENT.values(), ids=DIFFERENT)
async def test_profiles_that_differ_count_as_none_and_are_an_issue(
    unkeyed: str, more: list[str]
) -> None:
    await database.execute(unkeyed, *more)

    first, result = await figures(unkeyed)
    await database.execute(unkeyed, MOVED)
    second, _ = await figures(unkeyed)

    assert first == second
    assert {tuple(sectors) for _, sectors in first} == {("Unknown",)}
    issues = result.to_dict()["issues"]
    assert [(one["name"], one["symbol"]) for one in issues] == [("ambiguous_profile", "AAA")]
    cache = CompanyProfileCache()
    assert await cache.load(unkeyed, ["AAA"]) == 0
    assert cache.get("AAA") is None


async def test_another_symbol_keeps_its_profile(unkeyed: str) -> None:
    await database.execute(unkeyed, profile(symbol="BBB"), profile(symbol="BBB", beta="2"))
    cache = CompanyProfileCache()

    assert await cache.load(unkeyed, ["AAA", "BBB"]) == 1
    assert cache.get_sector("AAA") == "Technology"


async def test_legacy_has_the_same_rule(unkeyed: str) -> None:
    await database.execute(
        unkeyed, profile(sector="Energy"), WEIGHT.format(sector="Energy", weight="0.5", source="x")
    )
    settings = Settings(today=END)

    result = await batchcore.run_batch(unkeyed, START, END, policy="legacy", settings=settings)

    assert result.issues_by_name() == {"ambiguous_profile": 1}
    for fast in (True, False):
        verified = await batchcore.verify(unkeyed, policy="legacy", fast=fast, settings=settings)
        assert (verified.rows, verified.rows_differing) == (3, 0)


@pytest.mark.parametrize(
    ("second", "expected"),
    [("0.3", {"Energy": 0.1, "Technology": 0.3}), ("0.7", {"Energy": 0.1})],
    ids=["agree", "differ"],
)
async def test_weights_of_a_sector_that_differ_are_none(
    unkeyed: str, second: str, expected: dict[str, float]
) -> None:
    await figures(unkeyed)
    await database.execute(
        unkeyed,
        WEIGHT.format(sector="Technology", weight="0.3", source="x"),
        WEIGHT.format(sector="Technology", weight=second, source="y"),
        WEIGHT.format(sector="Energy", weight="0.1", source="x"),
    )

    found = await batchcore.calculate_portfolio_sector_exposure(unkeyed, P0, calculation_date=END)

    assert found["benchmark_weights"] == expected


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
