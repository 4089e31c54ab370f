"""Whatever is set for a database or a role, all that batchcore does gives the same."""

import asyncio
import datetime as dt
import json
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
import pytest_asyncio

import batchcore
from batchcore.audit.verifier import verify
from batchcore.calendar import date_of
from batchcore.cli.status import next_lines, run_text
from batchcore.config import Settings
from batchcore.db.migrate import check, downgrade, migrate
from batchcore.errors import DatabaseError
from batchcore.pg.database import Database
from batchcore.pg.session import execute_alone, transaction
from batchcore.run import status
from support import database, ledger
from support.generate import MONDAY
from support.outcome import assert_undisturbed
from support.waiting import Heard, holding

DAYS = [MONDAY, MONDAY + 1]
HOST = database.plain_host(3, DAYS)
IDS = sorted(database.key(portfolio.id) for portfolio in HOST.portfolios)
ONE_EACH = Settings(chunk_size=1, connections=2, max_failed="100%")

LIMITS = ("statement_timeout", "lock_timeout", "idle_in_transaction_session_timeout")
"""What may be set on every server that is supported, and would end a run."""

PLAIN = (
    "search_path=public&standard_conforming_strings=on&DateStyle=ISO&idle_session_timeout=0&"
    "default_transaction_isolation=read%20committed&default_transaction_deferrable=off&"
    + "&".join(f"{name}=0" for name in LIMITS)
)
"""What the tests themselves work under."""

SHADOWS = (Path(__file__).parents[1] / "support" / "shadows.sql").read_text()

SETTINGS = {
    "texts": (
        "DateStyle = 'German, DMY'",
        "IntervalStyle = 'sql_standard'",
        "TimeZone = 'Pacific/Kiritimati'",
        "bytea_output = 'escape'",
        "extra_float_digits = -15",
        "standard_conforming_strings = off",
        "backslash_quote = off",
        "quote_all_identifiers = on",
        "array_nulls = off",
        "lc_numeric = '{locale}'",
        "lc_monetary = '{locale}'",
        "lc_time = '{locale}'",
        "client_encoding = 'LATIN1'",
    ),
    "no path": ("DateStyle = 'SQL, MDY'", "TimeZone = 'America/New_York'", "search_path = ''"),
    "shadows": (
        "DateStyle = 'Postgres, DMY'",
        "IntervalStyle = 'iso_8601'",
        "search_path = evil, pg_catalog, pg_temp",
    ),
    "transactions": (
        "DateStyle = 'SQL, DMY'",
        "default_transaction_isolation = 'serializable'",
        "default_transaction_deferrable = on",
        "row_security = off",
        "session_replication_role = 'replica'",
        "jit_above_cost = 0",
        "plan_cache_mode = 'force_generic_plan'",
        "enable_seqscan = off",
        "enable_hashjoin = off",
        "enable_nestloop = off",
        "enable_sort = off",
        *(f"{name} = '5s'" for name in (*LIMITS, "idle_session_timeout")),
    ),
}
LEVELS = {"texts": ("role",), "shadows": ("database", "role")}


async def locale_with_commas(url: str) -> str:
    """Return a locale of the server that writes 1,5; without one that of the database."""
    found = await database.fetchval(
        url,
        "SELECT collcollate FROM pg_collation WHERE collprovider = 'c'"
        " AND collcollate ~ '^(de|fr)_' LIMIT 1",
    )
    return found or await database.fetchval(url, "SHOW lc_monetary")


@pytest_asyncio.fixture
async def under(same_host: str, request: pytest.FixtureRequest) -> AsyncIterator[tuple[str, str]]:
    """The URL of a filled host under settings, and one for the test itself, under none."""
    settings, level = request.param
    name = same_host.partition("?")[0].rpartition("/")[2]
    target = f'DATABASE "{name}"' if level == "database" else f'ROLE postgres IN DATABASE "{name}"'
    await database.fill(same_host, HOST)
    await database.execute(same_host, "DROP SCHEMA IF EXISTS evil CASCADE", SHADOWS)
    locale = await locale_with_commas(same_host)
    await database.execute(
        same_host,
        *(f"ALTER {target} SET {one.format(locale=locale)}" for one in SETTINGS[settings]),
    )
    plain = f"{same_host}{'&' if '?' in same_host else '?'}{PLAIN}"
    yield same_host, plain
    await database.execute(plain, f"ALTER {target} RESET ALL", "DROP SCHEMA evil CASCADE")


async def run(db: object, **options: object) -> batchcore.BatchResult:
    options.setdefault("settings", ONE_EACH)
    if "changed_since" not in options:
        options |= {"start_date": date_of(DAYS[0]), "end_date": date_of(DAYS[-1])}
    return await batchcore.run_batch(db, **options)


everywhere = pytest.mark.parametrize(
    "under",
    [(one, level) for one in SETTINGS for level in LEVELS.get(one, ("database",))],
    ids=" ".join,
    indirect=True,
)


@everywhere
async def test_failures_and_resumes(under: tuple[str, str]) -> None:
    url, plain = under
    for mode, how in (("skip", "failed"), ("replace", "killed")):
        await ledger.spoil(plain, IDS[1], ledger.RAISE)
        await database.execute(plain, "ALTER TABLE portfolio_snapshots ENABLE ALWAYS TRIGGER spoil")
        with pytest.raises(DatabaseError, match="not this one"):
            await run(url, on_existing=mode)
        await ledger.mend(plain)
        if how == "killed":
            await ledger.kill(plain)
        result = await run(url, on_existing=mode)
        assert (result.attempt, result.rows_written) == (2, 4)
        await assert_undisturbed(plain, HOST, DAYS)
        assert [run["state"] for run in await ledger.runs(plain)] == ["complete"]
        await database.execute(
            plain,
            "TRUNCATE portfolio_snapshots, batchcore_runs CASCADE",
            "UPDATE portfolios SET equity_balance = 1000",
        )
    assert (await run(url, settings=Settings(dry_run=True))).nothing_to_do is False


@everywhere
async def test_everything_else(under: tuple[str, str]) -> None:
    url, plain = under
    first = await run(url, analytics="full")
    assert first.rows_written == 6
    again = await run(url, analytics="full", on_existing="replace")
    assert again.rows_written == 6
    await assert_undisturbed(plain, HOST, DAYS)

    shown = await status.runs(url)
    assert [one.end_date for one in shown] == [date_of(DAYS[-1])] * 2
    (found,) = await status.runs(url, run_id=first.run_id)
    one = found.to_dict()
    assert one["chunks_committed"][0]["first_session"] == date_of(DAYS[0]).isoformat()
    assert dt.datetime.fromisoformat(one["created_at"]).tzinfo is not None
    since = dt.datetime.fromisoformat(one["next_changed_since"])
    assert f"--changed-since {one['next_changed_since']}" in next_lines(shown)[-1]
    assert one["next_changed_since"] in run_text(one)
    json.dumps(one)

    assert (await run(url, changed_since=since)).nothing_to_do
    await database.execute(
        plain,
        "UPDATE market_data_cache SET close = 20, updated_at = now()"  # noqa: S608  # our own day
        f" WHERE date = '{date_of(DAYS[1])}'",
    )
    assert (await run(url, changed_since=since)).rows_written == 3
    assert (await verify(url, fast=True)).differing == 0

    prices = batchcore.PriceCache()
    await prices.load_single_date(url, ["AAA"], date_of(DAYS[1]))
    assert prices.get("AAA", date_of(DAYS[1])) == 20
    snapshots = batchcore.SnapshotCache()
    await snapshots.load_latest_snapshots(url, IDS, date_of(DAYS[1] + 1))
    assert snapshots.get_equity(IDS[0]) == 1090
    beta = await batchcore.calculate_portfolio_provider_beta(
        url, IDS[0], calculation_date=date_of(DAYS[1])
    )
    assert beta["total_positions"] == 1
    calculator = batchcore.PnLCalculator(ONE_EACH, on_existing="replace")
    async with database.connected(url) as raw, raw.transaction():
        before = await raw.fetchval("SELECT pg_catalog.current_setting('search_path')")
        result = await calculator.calculate_all_portfolios_pnl(date_of(DAYS[1]), raw)
        assert result.rows_written == 3
        after = await raw.fetchval("SELECT pg_catalog.current_setting('search_path')")
        assert after == before
    owner = await batchcore.restore_sector_tags_for_portfolio(
        url, database.key(f"user of {HOST.portfolios[0].id}"), database.key(HOST.portfolios[0].id)
    )
    assert owner.removed == 0


@everywhere
async def test_a_run_that_waits(under: tuple[str, str], heard: Heard) -> None:
    url, plain = under
    async with asyncio.timeout(60):
        async with holding(plain, "SELECT FROM portfolios FOR UPDATE") as raw:
            pid = await raw.fetchval("SELECT pg_backend_pid()")
            task = asyncio.create_task(run(url))
            await heard.event.wait()
        await task
    assert f' holder={pid} user=postgres application="the host\'s job"' in heard.lines[0]

    await ledger.kill(plain)
    await ledger.expire(plain, 3600)
    with pytest.raises(batchcore.LeaseHeldError, match=r"^gave up after 0\.01 s: "):
        await run(url, portfolio_ids=IDS[:1], wait=0.01)


@everywhere
async def test_migrations(under: tuple[str, str]) -> None:
    url, _ = under
    assert (await check(url)).is_current
    await downgrade(url, "0001")
    try:
        assert (await migrate(url)).applied[:2] == ("0002", "0003")
        assert (await check(url)).is_current
    finally:
        await migrate(url)


async def test_a_transaction_has_settings_of_its_own(same_host: str) -> None:
    limits = dict.fromkeys(LIMITS, "7s") | {"jit": "on"}
    own = dict.fromkeys(LIMITS, "0") | {"jit": "off"}
    url = f"{same_host}{'&' if '?' in same_host else '?'}"
    options = "%20".join(f"-c%20{name}%3D{value}" for name, value in limits.items())
    database_ = Database(f"{url}options={options}")
    async with database_.writing("test") as session:
        for name, value in limits.items():
            assert await session.raw.fetchval(f"SHOW {name}") == value
        async with transaction(session):
            for name, value in own.items():
                assert await session.raw.fetchval(f"SHOW {name}") == value
        for name, value in own.items():
            sql = f"SELECT FROM pg_settings WHERE name = '{name}' AND setting = '{value}'"
            assert await execute_alone(session, sql) == 1
        for name, value in limits.items():
            assert await session.raw.fetchval(f"SHOW {name}") == value
