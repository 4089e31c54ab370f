"""Rows of one symbol that no key keeps to one: those that agree count once, others not at all."""

import json
from decimal import Decimal
from typing import Any

import pytest
import pytest_asyncio

import batchcore
from batchcore import CompanyProfileCache
from batchcore.calendar import date_of
from batchcore.config import Settings
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
