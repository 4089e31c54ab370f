"""Sector tags: made, adopted, replaced, counted; everything else stays."""

import asyncio
import uuid
from collections.abc import Sequence
from dataclasses import dataclass
from decimal import Decimal
from typing import Any
from unittest import mock

import asyncpg
import pytest
import pytest_asyncio
from sqlalchemy.ext.asyncio import AsyncSession

import batchcore
from batchcore import reference as ref
from batchcore.analytics.sector_exposure import COLORS, SECTORS
from batchcore.errors import ConfigError, DatabaseError, SchemaError
from batchcore.pg.session import Session
from support import database
from support.callers import engine_of
from support.cases import day
from support.database import MOMENT, key
from support.triggers import acts

OWNER = key("user of p")
STARTED = day("2025-01-02")

# Symbol as a position has it, its type and class, and the sector that A2 counts it in.
POSITIONS = (
    ("AAA", "LONG", "PUBLIC", "Technology"),
    (" aaa ", "SHORT", None, "Technology"),
    ("BANK", "LONG", None, "Financials"),  # Financial Services, renamed
    ("FUND", "LONG", None, "ETFs"),  # its profile has a sector too
    ("AAA", "LC", None, "Unclassified"),
    ("AAA", "LONG", " private", "Unclassified"),
    ("NONE", "LONG", None, "Unknown"),  # no profile
    ("BLANK", "LONG", None, "Unknown"),  # a profile without sector
    ("ODD", "LONG", None, "Unknown"),  # a sector that A2 does not know
)
PROFILES = (
    ("AAA", "Technology", False),
    ("BANK", "Financial Services", None),
    ("FUND", "Energy", True),
    ("BLANK", "  ", False),
    ("ODD", "Alchemy", False),
)


def position_id(number: int) -> uuid.UUID:
    return key(f"p/{number}")


async def fill(url: str, positions: Sequence[tuple[Any, ...]] = POSITIONS) -> None:
    held = tuple(
        ref.Position(symbol, kind, Decimal(1), Decimal(1), STARTED, investment_class=group)
        for symbol, kind, group, _ in positions
    )
    owned = {"p": held, "other": held[:1], "empty": ()}
    portfolios = tuple(ref.Portfolio(name, Decimal(1), own) for name, own in owned.items())
    await database.fill(url, database.Host(portfolios))
    await database.add_profiles(url, "symbol sector is_etf", *PROFILES)


async def add_tag(
    url: str,
    name: str,
    *positions: int,
    user: uuid.UUID = OWNER,
    archived: bool = False,
    used: int | None = None,
) -> None:
    """Write a tag of a user, on some positions, with a use count that may be wrong."""
    tag = key(f"{user} {name} {archived}")
    await database.fetch(
        url,
        "INSERT INTO tags_v2 (id, user_id, name, color, display_order, usage_count, is_archived,"
        " created_at, updated_at) VALUES ($1, $2, $3, '#123456', 5, $4, $5, $6, $6)",
        *(tag, user, name, len(positions) if used is None else used, archived, MOMENT),
    )
    for position in positions:
        await database.fetch(
            url,
            "INSERT INTO position_tags (id, position_id, tag_id, assigned_at)"
            " VALUES (gen_random_uuid(), $1, $2, $3)",
            *(position_id(position), tag, MOMENT),
        )


@dataclass(frozen=True)
class Stored:
    """What stands in the two tables."""

    tags: dict[tuple[uuid.UUID, str, bool], dict[str, Any]]
    links: list[dict[str, Any]]

    def of(self, position: int) -> list[str]:
        """Return the names of the tags of a position, sorted."""
        return sorted(link["name"] for link in self.links if link["at"] == position_id(position))

    def used(self, name: str) -> int:
        return self.tags[OWNER, name, False]["usage_count"]


async def stored(url: str) -> Stored:
    tags = await database.fetch(url, "SELECT * FROM tags_v2")
    links = await database.fetch(
        url,
        "SELECT l.*, l.position_id AS at, t.name, t.is_archived FROM position_tags AS l"
        " JOIN tags_v2 AS t ON t.id = l.tag_id ORDER BY l.id",
    )
    return Stored(
        {(row["user_id"], row["name"], row["is_archived"]): dict(row) for row in tags},
        [dict(row) for row in links],
    )


@pytest_asyncio.fixture
async def url(same_host: str) -> str:
    """The URL of a database with the positions above."""
    await fill(same_host)
    return same_host


async def tag_all(db: Any, *cache: Any, **options: Any) -> batchcore.SectorTagResult:
    own = OWNER, key("p"), *cache
    return await batchcore.restore_sector_tags_for_portfolio(db, *own, **options)


async def tag_one(url: str) -> batchcore.SectorTagResult:
    return await batchcore.restore_sector_tag_for_position(url, OWNER, position_id(0))


def test_each_sector_has_a_colour_of_its_own() -> None:
    assert len(set(COLORS.values())) == len(SECTORS)
    for color in COLORS.values():
        assert len(color) == 7
        assert color[0] == "#"
        assert int(color[1:], 16) >= 0
        assert color == color.lower()


async def test_every_position_gets_the_tag_of_its_sector(url: str) -> None:
    result = await tag_all(url)

    found = await stored(url)
    for number, (*_, sector) in enumerate(POSITIONS):
        assert found.of(number) == [sector]
    assert dict(result.tags) == {
        "ETFs": 1,
        "Financials": 1,
        "Technology": 2,
        "Unclassified": 2,
        "Unknown": 3,
    }
    assert (result.created, result.adopted, result.removed, result.unchanged) == (5, 0, 0, 0)
    for (user, name, archived), tag in found.tags.items():
        assert (user, archived) == (OWNER, False)
        assert tag["color"] == COLORS[name]
        assert tag["usage_count"] == result.tags[name]
    assert sorted(tag["display_order"] for tag in found.tags.values()) == [0, 1, 2, 3, 4]
    assert {link["assigned_by"] for link in found.links} == {OWNER}


async def test_twice_changes_nothing(url: str) -> None:
    await add_tag(url, "Technology", 2, used=9)
    await tag_all(url)
    before = await stored(url)

    again = await tag_all(url)
    one = await tag_one(url)

    assert await stored(url) == before
    assert (again.created, again.adopted, again.removed, again.unchanged) == (0, 0, 0, 9)
    assert (dict(one.tags), one.unchanged) == ({"Technology": 1}, 1)


async def test_a_users_own_tag_of_such_a_name_is_adopted_in_its_colour(url: str) -> None:
    await add_tag(url, "Technology", used=41)

    result = await tag_one(url)

    found = await stored(url)
    tag = found.tags[OWNER, "Technology", False]
    assert (result.created, result.adopted) == (0, 1)
    assert (tag["color"], tag["usage_count"], tag["display_order"]) == ("#123456", 1, 5)
    assert tag["created_at"] == MOMENT < tag["updated_at"]
    assert found.of(0) == ["Technology"]
    assert found.of(1) == []


async def test_a_stale_sector_tag_is_replaced_and_all_other_tags_stay(url: str) -> None:
    await add_tag(url, "Energy", 0, 1)
    await add_tag(url, "Utilities", 0)
    await add_tag(url, "energy", 0)  # not the name of a sector
    await add_tag(url, "Basic Materials", 0)  # nor this, as A2 renames it
    await add_tag(url, "Core", 0, used=17)
    await add_tag(url, "Energy", 0, user=key("another user"))

    result = await tag_one(url)

    found = await stored(url)
    assert found.of(0) == ["Basic Materials", "Core", "Energy", "Technology", "energy"]
    theirs = found.tags[key("another user"), "Energy", False]
    assert theirs["id"] in {link["tag_id"] for link in found.links}
    assert found.of(1) == ["Energy"]
    assert result.removed == 2
    assert (found.used("Energy"), found.used("Utilities"), found.used("Technology")) == (
        1,
        0,
        1,
    )
    assert found.used("Core") == 17
    assert found.tags[OWNER, "Core", False]["updated_at"] == MOMENT
    assert theirs["usage_count"] == 1
    assert found.tags[OWNER, "Technology", False]["display_order"] == 6


async def test_an_archived_tag_is_not_put_on_a_position(url: str) -> None:
    await add_tag(url, "Technology", 0, archived=True)

    result = await tag_one(url)

    found = await stored(url)
    assert (result.created, result.removed) == (1, 1)
    assert [(link["name"], link["is_archived"]) for link in found.links] == [("Technology", False)]
    archived = found.tags[OWNER, "Technology", True]
    assert (archived["usage_count"], archived["color"]) == (0, "#123456")


async def test_of_an_archived_and_another_tag_the_other_counts(url: str) -> None:
    await add_tag(url, "Technology", archived=True)
    await add_tag(url, "Technology")
    result = await tag_one(url)
    found = await stored(url)
    assert (result.created, result.adopted) == (0, 1)
    assert found.used("Technology") == 1
    assert len(found.tags) == 2


async def test_uses_are_counted_over_all_portfolios(url: str) -> None:
    await database.fetch(url, "UPDATE portfolios SET user_id = $1", OWNER)
    await batchcore.restore_sector_tag_for_position(url, OWNER, key("other/0"))
    assert (await stored(url)).used("Technology") == 1
    await tag_all(url)
    assert (await stored(url)).used("Technology") == 3


async def test_a_sector_that_has_changed_moves_its_positions(url: str) -> None:
    await tag_all(url)
    await database.fetch(
        url, "UPDATE company_profiles SET sector = 'Basic Materials' WHERE symbol = 'AAA'"
    )
    result = await tag_all(url)
    found = await stored(url)
    assert (result.created, result.removed, result.unchanged) == (1, 2, 7)
    assert found.of(0) == found.of(1) == ["Materials"]
    assert (found.used("Materials"), found.used("Technology")) == (2, 0)


async def test_soft_deleted_positions_are_left_out_and_refused(url: str) -> None:
    await database.fetch(
        url, "UPDATE positions SET deleted_at = now() WHERE id = $1", position_id(0)
    )
    result = await tag_all(url)
    assert result.tags["Technology"] == 1
    assert (await stored(url)).of(0) == []
    with pytest.raises(ConfigError, match=f"unknown position {position_id(0)}") as caught:
        await tag_one(url)
    assert caught.value.option == "position_id"


async def test_what_is_not_the_users_is_refused(url: str) -> None:
    position = batchcore.restore_sector_tag_for_position
    portfolio = batchcore.restore_sector_tags_for_portfolio
    with pytest.raises(ConfigError, match=f"position .* is in no portfolio of user {OWNER}"):
        await position(url, OWNER, key("other/0"))
    with pytest.raises(ConfigError, match=f"portfolio .* does not belong to user {OWNER}"):
        await portfolio(url, OWNER, key("other"))
    with pytest.raises(ConfigError, match="unknown portfolio"):
        await portfolio(url, OWNER, uuid.UUID(int=7))
    with pytest.raises(ConfigError, match="unknown position"):
        await position(url, OWNER, uuid.UUID(int=7))
    for option, ids in {"user_id": ("x", key("p/0")), "position_id": (OWNER, 7)}.items():
        with pytest.raises(ConfigError, match=f"{option} .* is not a UUID") as caught:
            await position(url, *ids)
        assert caught.value.option == option
    await database.fetch(url, "UPDATE portfolios SET deleted_at = now()")
    with pytest.raises(ConfigError, match="unknown portfolio"):
        await portfolio(url, str(OWNER), str(key("p")))
    assert (await stored(url)).links == []


async def test_an_empty_portfolio_makes_no_tags(url: str) -> None:
    user = key("user of empty")
    result = await batchcore.restore_sector_tags_for_portfolio(url, user, key("empty"))
    assert (dict(result.tags), result.created, result.unchanged) == ({}, 0, 0)
    assert (await stored(url)).tags == {}


@dataclass
class Cached:
    """A cache that knows one profile and counts what it is asked."""

    sector: str | None
    beta: Decimal | None = None
    is_etf: bool | None = None
    asked: int = 0

    def get(self, symbol: str) -> "Cached | None":
        self.asked += 1
        return self if symbol == "AAA" else None


async def test_profiles_of_a_cache_count_and_what_it_lacks_is_loaded(url: str) -> None:
    cache = Cached("Utilities")
    await tag_all(url, cache)
    found = await stored(url)
    assert found.of(0) == ["Utilities"]
    assert found.of(2) == ["Financials"]
    assert cache.asked == len({"AAA", "BANK", "FUND", "NONE", "BLANK", "ODD"})


async def statements(url: str, positions: int, cache: Cached | None = None) -> list[str]:
    """Return what is sent for a portfolio of some positions, on a connection known already."""
    await fill(url, [("AAA", "LONG", None, "Technology")] * positions)
    sent: list[str] = []
    fetch_rows = Session.fetch

    async def recorded(session: Session, query: str, *arguments: object) -> list[asyncpg.Record]:
        sent.append(query.split(maxsplit=1)[0])
        return await fetch_rows(session, query, *arguments)

    async with database.connected(url) as connection, connection.transaction():
        await batchcore.restore_sector_tags_for_portfolio(
            connection, key("user of empty"), key("empty")
        )
        # The driver reports none of the statements that are prepared.
        fetch = mock.patch.object(Session, "fetch", recorded)
        with fetch, connection.query_logger(lambda query: sent.append(query.query.split()[0])):
            result = await tag_all(connection, cache)
        assert result.tags == {"Technology": positions}
    return [word for word in sent if word not in {"SAVEPOINT", "SHOW", "SET", "RELEASE"}]


@pytest.mark.parametrize("positions", [1, 500])
@pytest.mark.parametrize("cache", [None, Cached("Technology")])
async def test_statements_do_not_grow_with_the_positions(
    same_host: str, positions: int, cache: Cached | None
) -> None:
    # positions; (profiles, by a COPY that the driver does not report;) tags made, locked, put on
    # and taken off, counted
    sent = await statements(same_host, positions, cache)
    assert sent == ["SELECT", "INSERT", "SELECT", "WITH", "UPDATE"]


async def test_two_at_a_time_count_both(url: str) -> None:
    await database.fetch(url, "UPDATE portfolios SET user_id = $1", OWNER)
    both = (
        batchcore.restore_sector_tags_for_portfolio(url, OWNER, key(portfolio))
        for portfolio in ("p", "other")
    )
    results = await asyncio.gather(*both)
    assert sum(result.created for result in results) == 5
    assert (await stored(url)).used("Technology") == 3


async def test_in_a_callers_transaction_it_is_undone_with_it(url: str) -> None:
    async with engine_of(url) as engine:
        async with AsyncSession(engine) as session:
            result = await tag_all(session)
            assert result.created == 5
            assert (await stored(url)).tags == {}
            await session.rollback()
        assert (await stored(url)).tags == {}
        async with AsyncSession(engine) as session:
            await tag_all(session)
            await session.commit()
        assert len((await stored(url)).links) == len(POSITIONS)


async def test_hosts_with_other_names(host: str) -> None:
    await fill(host)
    async with database.connected(host) as connection:
        await connection.execute(
            'ALTER TABLE tags_v2 RENAME TO "their tags";'
            ' ALTER TABLE "their tags" RENAME name TO "the name";'
            " ALTER TABLE position_tags RENAME tag_id TO label;"
            " ALTER TABLE portfolios RENAME user_id TO owner;"
            " ALTER TABLE company_profiles RENAME sector TO branch"
        )
        schema = batchcore.Schema(
            tables={"tags_v2": "their tags"},
            columns={
                "tags_v2.name": "the name",
                "position_tags.tag_id": "label",
                "portfolios.user_id": "owner",
                "company_profiles.sector": "branch",
            },
        )
        result = await tag_all(host, schema=schema)
        assert result.tags["Financials"] == 1
        assert await connection.fetchval('SELECT sum(usage_count) FROM "their tags"') == 9


async def test_missing_tables_are_named(host: str) -> None:
    await fill(host)
    await database.execute(host, "DROP TABLE position_tags, tags_v2, company_profiles")
    with pytest.raises(SchemaError) as caught:
        await tag_all(host)
    assert caught.value.problems == (
        "public.company_profiles: missing table",
        "public.tags_v2: missing table",
        "public.position_tags: missing table",
    )


@pytest.mark.parametrize(
    ("table", "when", "body", "told"),
    [
        ("tags_v2", "INSERT", "RETURN NULL;", "tags_v2: 5 of 5 rows sent are missing"),
        ("position_tags", "INSERT", "RETURN NULL;", "position_tags: 9 of 9 rows sent are missing"),
        (
            "tags_v2",
            "UPDATE",
            "RETURN OLD;",
            "tags_v2: 5 of 5 rows sent differ in usage_count",
        ),
        (
            "position_tags",
            "INSERT",
            "NEW.position_id := (SELECT min(id::text) FROM positions); RETURN NEW;",
            "position_tags: 8 of 9 rows sent are missing",
        ),
    ],
)
async def test_tags_that_are_not_kept_are_an_error(
    host: str, table: str, when: str, body: str, told: str
) -> None:
    await fill(host)
    await database.execute(host, acts(body, when=f"BEFORE {when}", table=table))
    with pytest.raises(DatabaseError, match=f"{told}.*; trigger `meddling` on {table}"):
        await tag_all(host)
    for name in ("tags_v2", "position_tags"):
        assert await database.fetch(host, f"SELECT FROM {name}") == []
