"""Hosts whose tables are partitioned, views or in other schemas: migrate, plan and run on them."""

import datetime as dt
from decimal import Decimal
from typing import Any

import asyncpg
import pytest
import pytest_asyncio

import batchcore
from batchcore.calendar import date_of
from batchcore.config import Schema, Settings
from batchcore.db.indexes import IndexPlan
from batchcore.db.migrate import check, downgrade, migrate
from batchcore.db.sqlalchemy_tables import ledger
from batchcore.errors import DatabaseError, SchemaError
from support import database as hosts
from support.database import connected, execute, fetch
from support.runs import run_days

DAYS = (20633, 20634, 20635)  # Monday, 2026-06-29, to Wednesday
PRICES = "idx_market_data_valid_prices"
OWN = ("batchcore_alembic_version", *ledger.tables)
NEVER_HERE = (
    f"DROP TABLE {', '.join(OWN)}",
    "DROP SEQUENCE batchcore_run_tokens",
    (
        "DROP INDEX idx_positions_active_complete, idx_market_data_valid_prices,"
        " idx_positions_symbol_active"
    ),
)
PARTITIONED = (
    "ALTER TABLE market_data_cache RENAME TO plain_prices",
    (
        "CREATE TABLE market_data_cache (LIKE plain_prices INCLUDING DEFAULTS)"
        " PARTITION BY RANGE (date)"
    ),
    (
        "CREATE TABLE prices_old PARTITION OF market_data_cache FOR VALUES FROM (MINVALUE)"
        " TO ('2026-06-30')"
    ),
    (
        "CREATE TABLE prices_2026 PARTITION OF market_data_cache FOR VALUES FROM ('2026-06-30')"
        " TO (MAXVALUE) PARTITION BY LIST (symbol)"
    ),
    "CREATE TABLE prices_2026_aaa PARTITION OF prices_2026 FOR VALUES IN ('AAA')",
    "CREATE TABLE prices_2026_rest PARTITION OF prices_2026 DEFAULT",
    "DROP TABLE plain_prices",
)
INDEXES = """
SELECT c.relname::text, x.relname::text, i.indisvalid,
    (SELECT p.relname::text FROM pg_inherits h JOIN pg_class p ON p.oid = h.inhparent
        WHERE h.inhrelid = x.oid)
FROM pg_index i JOIN pg_class c ON c.oid = i.indrelid JOIN pg_class x ON x.oid = i.indexrelid
WHERE c.relname LIKE '%prices%' OR c.relname = 'market_data_cache' ORDER BY 1, 2"""


async def price_indexes(url: str) -> list[tuple[Any, ...]]:
    return [tuple(row) for row in await fetch(url, INDEXES)]


@pytest_asyncio.fixture
async def empty_host(host: str) -> str:
    """A host's tables as batchcore finds them when it comes."""
    await execute(host, *NEVER_HERE)
    return host


async def filled(url: str) -> None:
    await hosts.fill(url, hosts.plain_host(2, DAYS))


async def run(url: str, schema: Schema | None = None, **options: Any) -> batchcore.BatchResult:
    settings = Settings(schema=schema or Schema(), **options.pop("settings", {}))
    return await run_days(url, DAYS[0], DAYS[-1], settings=settings, **options)


async def assert_ran(url: str, schema: Schema | None = None) -> None:
    planned = await run(url, schema, settings={"dry_run": True})
    assert planned["success"]
    result = await run(url, schema, analytics="full")
    assert result.rows_written == 6
    # ten AAA, which close at 11, 12 and 13
    stored = await hosts.snapshots(url)
    assert {(day, row["equity_balance"]) for (_, day), row in stored.items()} == {
        (day, Decimal(1000 + 10 * n)) for n, day in enumerate(DAYS)
    }


async def test_a_partitioned_price_table_gets_its_index_by_partition(empty_host: str) -> None:
    await execute(empty_host, *PARTITIONED)
    await filled(empty_host)

    told = (await check(empty_host)).notes
    assert f"build public.{PRICES} on public.market_data_cache, by partition: 3" in told
    report = await migrate(empty_host)

    assert report.notes == told
    assert await price_indexes(empty_host) == [
        ("market_data_cache", PRICES, True, None),
        ("prices_2026", f"{PRICES}_prices_2026", True, PRICES),
        ("prices_2026_aaa", f"{PRICES}_prices_2026_aaa", True, f"{PRICES}_prices_2026"),
        ("prices_2026_rest", f"{PRICES}_prices_2026_rest", True, f"{PRICES}_prices_2026"),
        ("prices_old", f"{PRICES}_prices_old", True, PRICES),
    ]
    await assert_ran(empty_host)

    await downgrade(empty_host)
    assert await price_indexes(empty_host) == []


async def test_indexes_of_partitions_that_are_there_are_attached_and_given_back(
    empty_host: str,
) -> None:
    await execute(
        empty_host,
        *PARTITIONED,
        "CREATE INDEX theirs ON prices_old (symbol, date) WHERE close > 0",
        "CREATE INDEX other ON prices_2026_aaa (symbol) WHERE close > 0",
    )

    await migrate(empty_host)
    found = await price_indexes(empty_host)
    assert ("prices_old", "theirs", True, PRICES) in found
    assert len(found) == 6

    await downgrade(empty_host)
    assert await price_indexes(empty_host) == [
        ("prices_2026_aaa", "other", True, None),
        ("prices_old", "theirs", True, None),
    ]


@pytest.mark.parametrize("statements", [1, 2, 3, 4, 5, 6, 7])
async def test_an_interrupted_build_by_partition_goes_on(
    empty_host: str, monkeypatch: pytest.MonkeyPatch, statements: int
) -> None:
    await execute(empty_host, *PARTITIONED)
    build = IndexPlan.build

    def part(self: IndexPlan, **options: Any) -> None:
        build(self, **options)
        at = next(n for n, one in enumerate(self.statements) if PRICES in one)
        self.statements[at + statements :] = ["SELECT 1 / 0"]

    monkeypatch.setattr(IndexPlan, "build", part)
    with pytest.raises(DatabaseError, match="division by zero"):
        await migrate(empty_host)
    monkeypatch.undo()

    await migrate(empty_host)
    found = await price_indexes(empty_host)
    assert len(found) == 5
    assert all(valid for _, _, valid, _ in found)
    await downgrade(empty_host)
    assert await price_indexes(empty_host) == []


async def test_a_build_that_left_a_partition_invalid_begins_it_again(empty_host: str) -> None:
    await execute(empty_host, *PARTITIONED)
    await filled(empty_host)
    async with connected(empty_host) as connection:
        with pytest.raises(asyncpg.UniqueViolationError):
            await connection.execute(
                f"CREATE UNIQUE INDEX CONCURRENTLY {PRICES}_prices_2026_aaa"
                " ON prices_2026_aaa (symbol)"
            )

    await migrate(empty_host)

    assert all(valid for _, _, valid, _ in await price_indexes(empty_host))
    assert len(await price_indexes(empty_host)) == 5


async def test_a_partitioned_index_of_the_host_is_taken_over_whole(empty_host: str) -> None:
    await execute(
        empty_host,
        *PARTITIONED,
        "CREATE INDEX whole ON market_data_cache (symbol, date) WHERE close > 0",
    )
    before = await price_indexes(empty_host)

    report = await migrate(empty_host)
    assert f"take over public.whole as {PRICES}" in report.notes
    await downgrade(empty_host)
    assert await price_indexes(empty_host) == before


@pytest.mark.parametrize(
    ("made", "kind"),
    [
        (("CREATE VIEW market_data_cache AS SELECT * FROM prices",), "a view"),
        (
            ("CREATE MATERIALIZED VIEW market_data_cache AS SELECT * FROM prices",),
            "a materialized view",
        ),
        (
            (
                *hosts.ITSELF,
                "CREATE SCHEMA far",
                "IMPORT FOREIGN SCHEMA public LIMIT TO (prices) FROM SERVER itself INTO far",
                "ALTER FOREIGN TABLE far.prices RENAME TO market_data_cache",
                "ALTER FOREIGN TABLE far.market_data_cache SET SCHEMA public",
            ),
            "a foreign table",
        ),
    ],
    ids=["view", "materialized", "foreign"],
)
async def test_prices_that_are_no_table_have_no_index_and_run(
    empty_host: str, made: tuple[str, ...], kind: str
) -> None:
    await filled(empty_host)
    if kind == "a foreign table":
        await hosts.need_foreign_tables(empty_host)
    await execute(empty_host, "ALTER TABLE market_data_cache RENAME TO prices", *made)

    report = await migrate(empty_host)

    assert f"none on public.market_data_cache, {kind}: {PRICES}" in report.notes
    await assert_ran(empty_host)
    changed = dt.datetime(2019, 1, 1, tzinfo=dt.UTC)
    again = await batchcore.run_batch(empty_host, changed_since=changed)
    assert again.rows_written == 6
    cache = batchcore.PriceCache()
    await cache.load_date_range(empty_host, ["AAA"], date_of(DAYS[0]), date_of(DAYS[-1]))
    assert cache.get("AAA", date_of(DAYS[0])) == Decimal(11)


VIRTUAL = {
    "closes": (
        (
            "ALTER TABLE market_data_cache RENAME close TO raw",
            (
                "ALTER TABLE market_data_cache"
                " ADD close numeric(12,4) GENERATED ALWAYS AS (raw) VIRTUAL NOT NULL"
            ),
        ),
        (f"none on public.market_data_cache, whose close is virtual: {PRICES}",),
    ),
    "deleted": (
        (
            "ALTER TABLE positions RENAME deleted_at TO ended_at",
            (
                "ALTER TABLE positions ADD deleted_at timestamptz"
                " GENERATED ALWAYS AS (NULLIF(ended_at, 'infinity')) VIRTUAL"
            ),
        ),
        (
            "none on public.positions, whose deleted_at is virtual: idx_positions_active_complete",
            "none on public.positions, whose deleted_at is virtual: idx_positions_symbol_active",
        ),
    ),
    "mapped": (
        (
            "ALTER TABLE positions RENAME investment_class TO raw",
            (
                "ALTER TABLE positions"
                " ADD investment_class varchar(20) GENERATED ALWAYS AS (upper(raw)) VIRTUAL"
            ),
        ),
        (
            (
                "none on public.positions, whose investment_class is virtual:"
                " idx_positions_active_complete"
            ),
        ),
    ),
}


@pytest.mark.parametrize(("made", "notes"), VIRTUAL.values(), ids=VIRTUAL)
async def test_columns_that_are_virtual_have_no_index_and_run(
    empty_host: str, made: tuple[str, ...], notes: tuple[str, ...]
) -> None:
    await filled(empty_host)
    async with connected(empty_host) as connection:
        if connection.get_server_version() < (18,):
            pytest.skip("the server has no virtual columns")
    await execute(empty_host, *made)

    report = await migrate(empty_host)

    assert {note for note in report.notes if note.startswith("none on ")} == set(notes)
    await assert_ran(empty_host)
    assert (await check(empty_host)).is_current
    await downgrade(empty_host, "0001")


INHERITED = {
    "the same": ("close", {}, (1000, 1010, 1020)),
    "another": ("close + 1", {"ambiguous_price": 1}, (1000, 1000, 1020)),
}


@pytest.mark.parametrize(("close", "issues", "equities"), INHERITED.values(), ids=INHERITED)
async def test_a_close_of_a_table_and_of_its_child_is_two_rows(
    empty_host: str, close: str, issues: dict[str, int], equities: tuple[int, ...]
) -> None:
    await filled(empty_host)
    await migrate(empty_host)
    await execute(
        empty_host,
        "CREATE TABLE prices_2026 (UNIQUE (symbol, date)) INHERITS (market_data_cache)",
        "INSERT INTO prices_2026 SELECT * FROM market_data_cache"  # noqa: S608  # our own day
        f" WHERE date = '{date_of(DAYS[1])}'",
        f"UPDATE prices_2026 SET close = {close}",  # noqa: S608  # our own expression
    )

    result = await run(empty_host, settings={"min_coverage": 0.0})

    assert (result.failed, result.rows_written) == (0, 6)
    found = result.issues_by_name()
    assert {name: found[name] for name in issues} == issues
    assert ("ambiguous_price" in found) is bool(issues)
    stored = await hosts.snapshots(empty_host)
    assert {(day, row["equity_balance"]) for (_, day), row in stored.items()} == {
        (day, Decimal(equity)) for day, equity in zip(DAYS, equities, strict=True)
    }
    cache = batchcore.PriceCache()
    await cache.load_single_date(empty_host, ["AAA"], date_of(DAYS[1]))
    assert cache.get("AAA", date_of(DAYS[1])) == (None if issues else Decimal(12))


async def test_partitioned_tables_of_another_schema_run(empty_host: str) -> None:
    await filled(empty_host)
    tables = ("portfolios", "positions", "market_data_cache", "portfolio_snapshots")
    await execute(
        empty_host,
        'CREATE SCHEMA "my host"',
        *(f'ALTER TABLE {table} SET SCHEMA "my host"' for table in tables),
        'ALTER TABLE "my host".positions RENAME TO "hold:ings"',
    )
    statements = [
        "ALTER TABLE portfolio_snapshots RENAME TO plain",
        (
            "CREATE TABLE portfolio_snapshots (LIKE plain INCLUDING DEFAULTS,"
            " UNIQUE (portfolio_id, snapshot_date)) PARTITION BY RANGE (snapshot_date)"
        ),
        "CREATE TABLE one PARTITION OF portfolio_snapshots DEFAULT",
        (
            'CREATE TABLE lots (LIKE "hold:ings" INCLUDING DEFAULTS,'
            " PRIMARY KEY (id, portfolio_id)) PARTITION BY HASH (portfolio_id)"
        ),
        "CREATE TABLE lots_0 PARTITION OF lots FOR VALUES WITH (MODULUS 2, REMAINDER 0)",
        "CREATE TABLE lots_1 PARTITION OF lots FOR VALUES WITH (MODULUS 2, REMAINDER 1)",
        'INSERT INTO lots SELECT * FROM "hold:ings"',
        'DROP TABLE "hold:ings" CASCADE',
        'ALTER TABLE lots RENAME TO "hold:ings"',
    ]
    await execute(empty_host, 'SET search_path = "my host"', *statements)
    schema = Schema(namespace="my host", tables={"positions": "hold:ings"})

    report = await migrate(empty_host, schema=schema)
    assert any("on my host.hold:ings, by partition: 2" in note for note in report.notes)
    result = await run(empty_host, schema, analytics="full")
    assert result.rows_written == 6
    again = await run(empty_host, schema, analytics="full", on_existing="replace")
    assert again.rows_written == 6
    await downgrade(empty_host, schema=schema)


ACCOUNTS = """
ALTER TABLE portfolios RENAME TO accounts;
CREATE VIEW portfolios AS SELECT a.* FROM accounts AS a JOIN generate_series(1, 1) AS x ON true"""
INSTEAD = """
CREATE FUNCTION change() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN
    UPDATE accounts SET equity_balance = NEW.equity_balance, updated_at = NEW.updated_at
        WHERE id = NEW.id;
    RETURN NEW; END $$;
CREATE TRIGGER change INSTEAD OF UPDATE ON portfolios FOR EACH ROW EXECUTE FUNCTION change()"""
RULE = """
CREATE RULE change AS ON UPDATE TO portfolios DO INSTEAD UPDATE accounts
    SET equity_balance = NEW.equity_balance, updated_at = NEW.updated_at WHERE id = NEW.id"""


@pytest.mark.parametrize("instead", [INSTEAD, RULE], ids=["trigger", "rule"])
async def test_a_view_that_is_written_in_another_way_is_written(host: str, instead: str) -> None:
    await filled(host)
    await execute(host, ACCOUNTS, instead)

    assert (await run(host)).rows_written == 6

    equities = await fetch(host, "SELECT DISTINCT equity_balance FROM accounts")
    last = await fetch(
        host,
        "SELECT DISTINCT equity_balance FROM portfolio_snapshots WHERE snapshot_date = $1",
        date_of(DAYS[-1]),
    )
    assert equities == last


TWICE = {
    "a child table": [
        "CREATE TABLE european (PRIMARY KEY (id)) INHERITS (portfolios)",
        "INSERT INTO european SELECT * FROM ONLY portfolios ORDER BY id LIMIT 1",
    ],
    "a view": [ACCOUNTS.replace("(1, 1)", "(1, 2)"), INSTEAD],
}


@pytest.mark.parametrize("policy", ["rollforward", "legacy"])
@pytest.mark.parametrize("statements", TWICE.values(), ids=TWICE)
async def test_a_portfolio_that_stands_twice_is_named(
    host: str, statements: list[str], policy: str
) -> None:
    await filled(host)
    await execute(host, *statements)
    (row,) = await fetch(host, "SELECT id FROM portfolios ORDER BY id LIMIT 1")

    for dry_run in (True, False):
        with pytest.raises(SchemaError, match=f"public.portfolios.id: {row[0]} is in several"):
            await run(host, policy=policy, settings={"dry_run": dry_run})


SUMMED = ("positions", "position_realized_events", "equity_changes")
JOINED = "SELECT k.* FROM kept AS k JOIN generate_series(1, {times}) AS x ON true"


async def filled_everywhere(url: str) -> None:
    await hosts.fill(url, hosts.full_host(2, DAYS, event=DAYS[1], flow=DAYS[1]))


async def shown_by(url: str, table: str, view: str) -> None:
    await execute(url, f"ALTER TABLE {table} RENAME TO kept", f"CREATE VIEW {table} AS {view}")


@pytest.mark.parametrize("policy", ["rollforward", "legacy"])
@pytest.mark.parametrize("table", SUMMED)
async def test_a_row_that_a_join_shows_twice_is_named(host: str, table: str, policy: str) -> None:
    await filled_everywhere(host)
    await shown_by(host, table, JOINED.format(times=1))
    assert (await run(host, policy=policy)).rows_written == 6
    await execute(host, f"CREATE OR REPLACE VIEW {table} AS {JOINED.format(times=2)}")
    (row,) = await fetch(host, "SELECT id FROM kept ORDER BY id LIMIT 1")

    for dry_run in (True, False):
        with pytest.raises(SchemaError, match=f"public.{table}.id: {row[0]} is in several"):
            await run(host, policy=policy, on_existing="replace", settings={"dry_run": dry_run})


@pytest.mark.parametrize("table", SUMMED)
async def test_a_row_of_a_table_and_of_its_child_is_named(host: str, table: str) -> None:
    await filled_everywhere(host)
    await execute(
        host,
        f"CREATE TABLE archived () INHERITS ({table})",
        f"INSERT INTO archived SELECT * FROM ONLY {table} ORDER BY id LIMIT 1",  # noqa: S608  # names of this test
    )

    with pytest.raises(SchemaError, match=rf"public.{table}.id: \S+ is in several rows"):
        await run(host)


async def test_only_what_can_show_a_row_twice_is_looked_through(host: str) -> None:
    await filled_everywhere(host)
    plain = (await run(host)).statements_by_phase["check"]
    await shown_by(host, "positions", "SELECT * FROM kept WHERE deleted_at IS NULL")
    view = (await run(host, on_existing="replace")).statements_by_phase["check"]
    await execute(host, f"CREATE OR REPLACE VIEW positions AS {JOINED.format(times=1)}")
    joined = (await run(host, on_existing="replace")).statements_by_phase["check"]

    assert (view, joined) == (plain, plain + 1)
