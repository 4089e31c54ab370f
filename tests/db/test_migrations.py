"""Upgrade, downgrade and check: an empty database and a host's own; and EXPLAIN of its indexes."""

import datetime as dt
import io
import json
from collections.abc import Awaitable, Callable, Iterator
from dataclasses import replace
from datetime import date, timedelta
from pathlib import Path

import asyncpg
import pytest
import pytest_asyncio
from alembic import command
from alembic.autogenerate import compare_metadata
from alembic.config import Config
from alembic.migration import MigrationContext
from alembic.util import CommandError
from sqlalchemy import Connection, MetaData, event

import batchcore
from batchcore import alembic_include_object
from batchcore.config import Schema
from batchcore.db import sqlalchemy_tables
from batchcore.db.catalog import inspect
from batchcore.db.check import check_revision
from batchcore.db.migrate import MigrateReport, check, connect, downgrade, migrate
from batchcore.errors import ConfigError, DatabaseError, LeaseHeldError, SchemaError
from support import database
from support.callers import engine_of
from support.database import connected, execute, fetch, fetchval, shared

MADE = Path(__file__).parents[1] / "golden" / "schema.txt"
REVISIONS = ("0001", "0002", "0003", "0004", "0005", "0006")
HEAD = REVISIONS[-1]
THREE = {
    "idx_positions_active_complete",
    "idx_market_data_valid_prices",
    "idx_positions_symbol_active",
}
REPLACED = "idx_positions_portfolio_deleted"
KEPT = f"keep public.{REPLACED}, redundant beside idx_positions_active_complete"
VERSION_TABLE = "batchcore_alembic_version"
EVERY_TABLE = (*sqlalchemy_tables.metadata.tables, *sqlalchemy_tables.ledger.tables)

TWO_DAYS = dt.date(2026, 1, 5), dt.date(2026, 1, 6)

RELATIONS = """
SELECT c.relname::text FROM pg_class AS c
WHERE c.relnamespace = to_regnamespace($1) AND c.relkind IN ('r', 'i')"""
COLUMNS = """
SELECT c.relname::text, a.attname::text, format_type(a.atttypid, a.atttypmod), a.attnotnull,
    pg_get_expr(d.adbin, d.adrelid)
FROM pg_class AS c JOIN pg_attribute AS a ON a.attrelid = c.oid
LEFT JOIN pg_attrdef AS d ON d.adrelid = c.oid AND d.adnum = a.attnum
WHERE c.relnamespace = 'public'::regnamespace AND c.relkind = 'r'
    AND a.attnum > 0 AND NOT a.attisdropped ORDER BY c.relname, a.attnum"""
CONSTRAINTS = """
SELECT conrelid::regclass::text, conname::text, pg_get_constraintdef(oid) FROM pg_constraint
WHERE connamespace = 'public'::regnamespace AND contype <> 'n' ORDER BY 1, 2"""
INDEXES = """
SELECT indexname::text, indexdef FROM pg_indexes WHERE schemaname = 'public' ORDER BY 1"""
ENUMS = """
SELECT t.typname::text, e.enumlabel::text FROM pg_type AS t JOIN pg_enum AS e ON e.enumtypid = t.oid
WHERE t.typnamespace = 'public'::regnamespace ORDER BY t.typname, e.enumsortorder"""


async def described(url: str) -> list[list[tuple[object, ...]]]:
    return [
        [
            tuple(row)
            for row in await fetch(url, query)
            if VERSION_TABLE not in row[0] and VERSION_TABLE not in row[1]
        ]
        for query in (COLUMNS, CONSTRAINTS, INDEXES, ENUMS)
    ]


async def relations(url: str, namespace: str = "public") -> set[str]:
    return {row[0] for row in await fetch(url, RELATIONS, namespace)}


async def indexes(url: str) -> dict[str, str]:
    return dict(await fetch(url, INDEXES))


async def on_connection(url: str, work: Callable[[Connection], object]) -> object:
    async with connect(url) as connection:
        return await connection.run_sync(work)


@pytest.fixture
def migrated(host: str) -> str:
    """The URL of a database that batchcore has made."""
    return host


@pytest.fixture(scope="module")
def hosts_copy(server) -> Iterator[str]:
    yield from shared(server, host_database)


@pytest_asyncio.fixture
async def hosts(make_database: Callable[..., Awaitable[str]], hosts_copy: str) -> str:
    """The URL of a database with a host's own tables."""
    return await make_database(hosts_copy)


async def host_database(url: str) -> None:
    """A host's own tables, without anything of batchcore."""
    await migrate(url)
    await execute(
        url,
        f"DROP TABLE {', '.join((VERSION_TABLE, *sqlalchemy_tables.ledger.tables))}",
        "DROP SEQUENCE batchcore_run_tokens",
        *(f"DROP INDEX {name}" for name in sorted(THREE)),
        f"CREATE INDEX {REPLACED} ON positions (portfolio_id, deleted_at)",
    )


PORTFOLIO = """
INSERT INTO portfolios (id, user_id, name, account_name, account_type, currency,
    created_at, updated_at)
VALUES ('00000000-0000-0000-0000-000000000001', '00000000-0000-0000-0000-000000000002',
    'One', 'One', 'taxable', 'USD', now(), now())"""
TWO_POSITIONS = """
INSERT INTO positions (id, portfolio_id, symbol, position_type, quantity, entry_price, entry_date,
    created_at, updated_at)
SELECT gen_random_uuid(), '00000000-0000-0000-0000-000000000001', 'AAPL', 'LONG', 1, 10,
    '2024-01-02', now(), now() FROM generate_series(1, 2)"""


async def test_an_empty_database_gets_the_tables_that_it_always_got(database: str) -> None:
    done = MigrateReport(before=None, revision=HEAD, adopted=False, marked=(), applied=REVISIONS)
    assert await migrate(database) == done
    assert await relations(database) >= {*EVERY_TABLE, *THREE, VERSION_TABLE}
    assert (await check(database)).is_current

    columns, *others = before = await described(database)
    lines = [
        f"{table}.{column} {kind}{' NOT NULL' * not_null}{f' DEFAULT {default}' * bool(default)}"
        for table, column, kind, not_null, default in columns
    ]
    lines += [" ".join(map(str, row)) for rows in others for row in rows]
    # A revision that has been released never changes; later ones add to the file.
    assert lines == MADE.read_text(encoding="utf-8").splitlines()

    assert await migrate(database) == replace(done, before=HEAD, applied=())
    assert await described(database) == before


@pytest.mark.parametrize("asked", [migrate, check, downgrade])
async def test_what_is_no_database_to_migrate_is_refused(
    database: str, asked: Callable[..., Awaitable[object]]
) -> None:
    told = "expected a database URL or an SQLAlchemy AsyncEngine, was "
    async with (
        engine_of(database) as engine,
        asyncpg.create_pool(database, min_size=0) as pool,
        connected(database) as raw,
        engine.connect() as connection,
    ):
        for given in (None, pool, raw, connection, engine.url, engine.sync_engine):
            name = f"{type(given).__module__}.{type(given).__qualname__}"
            with pytest.raises(ConfigError) as error:
                await asked(given)
            assert str(error.value) == told + name


async def test_downgrade_leaves_nothing_and_upgrade_makes_the_same_again(migrated: str) -> None:
    first = await described(migrated)
    await downgrade(migrated)

    assert await described(migrated) == [[], [], [], []]
    assert await relations(migrated) == set()

    await migrate(migrated)
    assert await described(migrated) == first


@pytest.mark.parametrize("marked", [True, False], ids=["marked", "of an earlier version"])
async def test_downgrade_to_0001_brings_the_replaced_index_back(
    migrated: str, *, marked: bool
) -> None:
    if not marked:
        await execute(migrated, *(f"COMMENT ON INDEX {name} IS NULL" for name in sorted(THREE)))
    await downgrade(migrated, "0001")
    found = await indexes(migrated)

    assert THREE.isdisjoint(found)
    assert found[REPLACED].endswith("USING btree (portfolio_id, deleted_at)")

    await migrate(migrated)
    assert await relations(migrated) >= THREE
    assert REPLACED not in await relations(migrated)


async def test_alembic_check_sees_a_missing_index_and_nothing_else(migrated: str) -> None:
    said = await on_connection(migrated, alembic_check)
    assert "No new upgrade operations detected" in str(said)

    await execute(migrated, "DROP INDEX idx_positions_symbol_active")
    with pytest.raises(CommandError, match="idx_positions_symbol_active"):
        await on_connection(migrated, alembic_check)


def alembic_check(connection: Connection) -> str:
    config = Config(stdout=io.StringIO())
    config.set_main_option("script_location", "batchcore:migrations")
    config.set_main_option("path_separator", "os")
    config.attributes["connection"] = connection
    command.check(config)
    return str(config.stdout.getvalue())  # type: ignore[attr-defined]


async def test_a_failure_on_an_empty_database_leaves_nothing(database: str) -> None:
    # A table makes a row type of its name, so the table `users` cannot be created.
    await execute(database, "CREATE TYPE users AS ENUM ('a')")

    with pytest.raises(DatabaseError, match="users"):
        await migrate(database)
    assert await relations(database) == set()


async def test_a_host_keeps_its_tables_and_gets_the_indexes(hosts: str) -> None:
    await execute(hosts, PORTFOLIO)

    assert await migrate(hosts) == MigrateReport(
        before=None,
        revision=HEAD,
        adopted=True,
        marked=REVISIONS[:1],
        applied=REVISIONS[1:],
        notes=(
            "build public.idx_positions_active_complete on public.positions",
            "build public.idx_market_data_valid_prices on public.market_data_cache",
            "build public.idx_positions_symbol_active on public.positions",
            f"{KEPT}: --drop-redundant drops it",
        ),
    )
    assert await relations(hosts) >= {*THREE, REPLACED}

    assert (await migrate(hosts)).applied == ()

    await downgrade(hosts)
    assert await relations(hosts) >= {"portfolios", "positions", REPLACED}
    assert THREE.isdisjoint(await relations(hosts))
    assert VERSION_TABLE not in await relations(hosts)
    assert await fetchval(hosts, "SELECT count(*) FROM portfolios") == 1


COMMENTS = """
SELECT format('COMMENT ON %s %s IS NULL', CASE c.relkind WHEN 'i' THEN 'INDEX' ELSE 'TABLE' END,
    c.oid::regclass)
FROM pg_class AS c WHERE c.relnamespace = 'public'::regnamespace
    AND obj_description(c.oid, 'pg_class') IS NOT NULL"""


@pytest.mark.parametrize("is_hosts", [True, False], ids=["the host's", "made by batchcore"])
async def test_tables_stay_where_no_comment_says_who_made_them(
    database: str, *, is_hosts: bool
) -> None:
    if is_hosts:
        await host_database(database)
    await migrate(database)
    await execute(database, PORTFOLIO, TWO_POSITIONS)
    # What `pg_dump --no-comments` leaves out.
    await execute(database, *[row[0] for row in await fetch(database, COMMENTS)])
    assert (await check(database)).adopted

    await downgrade(database)

    assert await relations(database) >= {"portfolios", "positions", "market_data_cache", *THREE}
    assert VERSION_TABLE not in await relations(database)
    assert await fetchval(database, "SELECT count(*) FROM positions") == 2
    assert (await migrate(database)).adopted


async def test_a_comment_of_an_earlier_database_is_replaced(migrated: str) -> None:
    await execute(
        migrated,
        f"DROP TABLE {', '.join(sqlalchemy_tables.ledger.tables)}",
        "DROP SEQUENCE batchcore_run_tokens",
        f"TRUNCATE {VERSION_TABLE}",
        PORTFOLIO,
    )

    assert (await migrate(migrated)).adopted
    await downgrade(migrated)

    assert "portfolios" in await relations(migrated)


@pytest.mark.parametrize(
    "lost", [f"DROP TABLE {VERSION_TABLE}", f"TRUNCATE {VERSION_TABLE}"], ids=["table", "row"]
)
async def test_a_ledger_without_a_revision_is_told_the_way_out(migrated: str, lost: str) -> None:
    await execute(migrated, lost)
    before = await described(migrated)

    status = await check(migrated)
    with pytest.raises(SchemaError, match="has no revision, but the ledger is there") as raised:
        await migrate(migrated)

    assert status.problems == raised.value.problems
    assert not status.is_current
    assert await described(migrated) == before
    way_out = str(raised.value).partition("empty: ")[2]
    await execute(migrated, *way_out.split("; "))
    assert (await migrate(migrated)).revision == HEAD
    assert (await check(migrated)).is_current


@pytest.mark.parametrize(
    "lost", ["TABLE batchcore_run_shards", "TABLE batchcore_runs", "SEQUENCE batchcore_run_tokens"]
)
async def test_a_table_that_a_revision_made_and_that_is_gone_is_named(
    migrated: str, lost: str
) -> None:
    await execute(migrated, f"DROP {lost} CASCADE")
    missing = f"public.{lost.split()[1]}: is missing at revision {HEAD}"

    for refused in (migrate(migrated), batchcore.run_batch(migrated, *TWO_DAYS)):
        with pytest.raises(SchemaError, match=missing):
            await refused
    assert missing in (await check(migrated)).problems[0]

    await downgrade(migrated, "0002")
    assert (await migrate(migrated)).revision == HEAD
    assert (await check(migrated)).is_current


async def test_a_host_gets_its_indexes_concurrently(hosts: str) -> None:
    sent: list[str] = []

    def note(_connection, _cursor, statement: str, *_rest: object) -> None:
        sent.append(" ".join(statement.split()))

    async with engine_of(hosts) as engine:
        event.listen(engine.sync_engine, "before_cursor_execute", note)
        await migrate(engine)

    changes = [text for text in sent if text.startswith(("CREATE INDEX", "DROP INDEX"))]
    assert len(changes) == 3
    for text in changes:
        assert text.startswith("CREATE INDEX CONCURRENTLY IF NOT EXISTS ")


async def test_an_index_left_invalid_is_built_again(hosts: str) -> None:
    await execute(hosts, PORTFOLIO, TWO_POSITIONS)
    async with connected(hosts) as connection:
        # What an interrupted build leaves: the duplicate symbol stops this one half-way.
        with pytest.raises(asyncpg.UniqueViolationError):
            await connection.execute(
                "CREATE UNIQUE INDEX CONCURRENTLY idx_positions_symbol_active ON positions (symbol)"
            )
        found = await inspect(connection, Schema())
        assert not found.indexes

        await migrate(hosts)
        found = await inspect(connection, Schema())
    assert found.indexes == set(THREE)
    assert (
        "(deleted_at, symbol, exit_date, expiration_date)"
        in (await indexes(hosts))["idx_positions_symbol_active"]
    )


async def test_a_host_with_other_names_gets_the_indexes_on_them(hosts: str) -> None:
    await execute(
        hosts,
        'CREATE SCHEMA "my host"',
        *(
            f'ALTER TABLE {name} SET SCHEMA "my host"'
            for name in ("portfolios", "positions", "market_data_cache", "portfolio_snapshots")
        ),
        'ALTER TABLE "my host".positions RENAME TO "hold:ings"',
        'ALTER TABLE "my host"."hold:ings" RENAME deleted_at TO "gone ""at"":x"',
        'ALTER TABLE "my host"."hold:ings" RENAME entry_price TO cost_basis_per_share',
    )
    schema = Schema(
        namespace="my host",
        tables={"positions": "hold:ings"},
        columns={
            "positions.deleted_at": 'gone "at":x',
            "positions.entry_price": "cost_basis_per_share",
        },
    )

    report = await migrate(hosts, schema=schema)

    assert report.marked == ("0001",)
    assert await relations(hosts, '"my host"') >= {*THREE, VERSION_TABLE}
    async with connected(hosts) as connection:
        predicate = await connection.fetchval(
            "SELECT pg_get_expr(indpred, indrelid) FROM pg_index"
            " WHERE indexrelid = '\"my host\".idx_positions_active_complete'::regclass"
        )
        assert predicate == '("gone ""at"":x" IS NULL)'
        found = await inspect(connection, schema)
        await check_revision(connection, found)
    await downgrade(hosts, schema=schema)
    assert THREE.isdisjoint(await relations(hosts, '"my host"'))


async def test_a_host_that_differs_is_left_as_it_is(hosts: str) -> None:
    await execute(
        hosts,
        "ALTER TABLE positions DROP COLUMN exit_price",
        "ALTER TABLE market_data_cache ALTER close TYPE double precision",
    )
    before = await described(hosts)

    with pytest.raises(SchemaError) as raised:
        await migrate(hosts)
    status = await check(hosts)

    assert status.adopted
    assert status.steps[0] == "0001: marked as done, the tables are the host's"
    assert status.problems == raised.value.problems
    assert raised.value.problems == (
        "public.positions.exit_price: missing column",
        (
            "public.market_data_cache.close: is double precision, expected its decimals in"
            " schema.scales under `market_data_cache.close`"
        ),
    )
    assert await described(hosts) == before
    assert VERSION_TABLE not in await relations(hosts)


async def test_check_tells_and_changes_nothing(database: str) -> None:
    status = await check(database)

    assert (status.revision, status.head) == (None, HEAD)
    assert status.pending == REVISIONS
    assert not status.adopted
    assert not status.is_current
    assert tuple(step.partition(":")[0] for step in status.steps) == REVISIONS
    assert await relations(database) == set()


async def test_a_database_from_the_future_is_refused(migrated: str) -> None:
    await execute(migrated, "UPDATE batchcore_alembic_version SET version_num = '9999'")

    for asked in (migrate, downgrade):
        with pytest.raises(SchemaError, match="revision 9999, which this batchcore does not know"):
            await asked(migrated)
    assert not (await check(migrated)).is_current


async def test_a_second_migration_at_the_same_moment_is_refused(database: str) -> None:
    async with connected(database) as connection:
        key = int.from_bytes(b"batchmig")
        await connection.fetchval("SELECT pg_advisory_lock($1)", key)

        with pytest.raises(LeaseHeldError, match="another migration"):
            await migrate(database)
        await connection.fetchval("SELECT pg_advisory_unlock($1)", key)

    assert (await migrate(database)).applied == REVISIONS


async def test_a_borrowed_connection_gets_its_settings_back(database: str) -> None:
    own = {"server_settings": {"statement_timeout": "54321"}}
    async with engine_of(database, connect_args=own, pool_size=1) as engine:
        await migrate(engine)
        async with engine.connect() as connection:
            shown = await connection.exec_driver_sql("SHOW statement_timeout")
            held = await connection.exec_driver_sql(
                "SELECT count(*) FROM pg_locks WHERE locktype = 'advisory' AND pid ="
                " pg_backend_pid()"
            )
            assert (shown.scalar_one(), held.scalar_one()) == ("54321ms", 0)


REFUSED = {
    "names that are not there": (
        lambda url: migrate(url, schema=Schema(tables={"positions": "holdings"})),
        *(SchemaError, r"public\.portfolios: missing table \(and 3 more\)"),
    ),
    "a schema that is not there": (
        lambda url: migrate(url, schema=Schema(namespace="books")),
        *(SchemaError, "there is no schema `books`"),
    ),
    "another database": (lambda _: migrate("mysql://localhost/x"), ConfigError, "postgresql://"),
    "no server": (
        lambda _: migrate("postgresql://nobody@/x?host=/nowhere"),
        *(DatabaseError, "there is no such socket"),
    ),
    "an unknown revision": (
        lambda url: downgrade(url, "0000"),
        *(ConfigError, f"expected base or {', '.join(REVISIONS)}"),
    ),
}


@pytest.mark.parametrize(("asked", "error", "told"), REFUSED.values(), ids=REFUSED)
async def test_what_cannot_be_done_is_refused_and_creates_nothing(
    database: str, asked: Callable[[str], Awaitable[object]], error: type[Exception], told: str
) -> None:
    with pytest.raises(error, match=told):
        await asked(database)
    assert await relations(database) == set()


SAME = {
    "idx_positions_active_complete": (
        "positions (portfolio_id, deleted_at, exit_date, investment_class) WHERE deleted_at IS NULL"
    ),
    "idx_market_data_valid_prices": "market_data_cache (symbol, date) WHERE close > 0",
    "idx_positions_symbol_active": (
        "positions (deleted_at, symbol, exit_date, expiration_date)"
        " WHERE symbol IS NOT NULL AND deleted_at IS NULL AND symbol <> ''"
    ),
}


@pytest.mark.parametrize("name", sorted(SAME))
@pytest.mark.parametrize("own", ["theirs", ""])
async def test_an_index_of_the_host_outlives_a_downgrade(hosts: str, name: str, own: str) -> None:
    await execute(hosts, f"CREATE INDEX {own or name} ON {SAME[name]}")
    before = await indexes(hosts)

    told = (await check(hosts)).notes
    report = await migrate(hosts)
    assert f"take over public.{own or name} as {name}" in told
    assert report.notes == told
    after = await indexes(hosts)
    made = {one for one in after.keys() - before.keys() if one.startswith("idx_")}
    assert made == THREE - {name}

    await downgrade(hosts)
    assert await indexes(hosts) == before


@pytest.mark.parametrize(
    "other",
    [
        "positions (portfolio_id, deleted_at, exit_date)",
        "positions (portfolio_id, deleted_at, exit_date, investment_class)",
        "portfolios (name)",
    ],
)
async def test_another_index_of_the_name_stays_beside_ours(hosts: str, other: str) -> None:
    await execute(hosts, f"CREATE INDEX idx_positions_active_complete ON {other}")
    before = await indexes(hosts)

    await migrate(hosts)

    found = await indexes(hosts)
    assert found.items() >= before.items()
    assert "batchcore_idx_positions_active_complete" in found
    await downgrade(hosts)
    assert await indexes(hosts) == before


async def test_a_redundant_index_is_named_and_dropped_on_demand(hosts: str) -> None:
    kept = f"{KEPT}: --drop-redundant drops it"

    assert kept in (await check(hosts)).notes
    assert kept in (await migrate(hosts)).notes
    assert (await migrate(hosts)).notes == (kept,)
    assert REPLACED in await relations(hosts)

    dropped = f"drop public.{REPLACED}, redundant beside idx_positions_active_complete"
    assert (await check(hosts, drop_redundant=True)).notes == (dropped,)
    assert REPLACED in await relations(hosts)
    assert (await migrate(hosts, drop_redundant=True)).notes == (dropped,)
    assert REPLACED not in await relations(hosts)
    assert (await migrate(hosts, drop_redundant=True)).notes == ()


@pytest.mark.parametrize(
    "needed",
    [
        "CREATE UNIQUE INDEX other ON positions (portfolio_id, deleted_at)",
        "CREATE INDEX other ON positions (portfolio_id, deleted_at) INCLUDE (symbol)",
        "CREATE INDEX other ON positions (portfolio_id, deleted_at) WHERE deleted_at IS NOT NULL",
        "CREATE INDEX other ON positions (deleted_at, portfolio_id)",
        "CREATE INDEX other ON positions USING hash (portfolio_id)",
    ],
)
async def test_an_index_that_does_more_is_not_redundant(hosts: str, needed: str) -> None:
    await execute(hosts, f"DROP INDEX {REPLACED}", needed)

    await migrate(hosts, drop_redundant=True)

    assert "other" in await relations(hosts)


async def test_what_an_earlier_version_made_is_not_dropped_from_a_host(
    hosts: str, caplog: pytest.LogCaptureFixture
) -> None:
    await migrate(hosts)
    await execute(hosts, *(f"COMMENT ON INDEX {name} IS NULL" for name in sorted(THREE)))

    kept = {f"keep public.{name} at a downgrade, not known as batchcore's" for name in THREE}
    assert set((await check(hosts)).notes) > kept
    await downgrade(hosts)

    assert await relations(hosts) >= THREE
    for name in THREE:
        assert f"index public.{name} stays" in caplog.text


async def test_autogenerate_beside_a_hosts_models_and_hook_stays_clean(migrated: str) -> None:
    await execute(
        migrated, "CREATE TABLE audit_log (id int)", "CREATE INDEX own ON positions (symbol)"
    )

    # The host's models know their tables, and nothing of batchcore.
    models = MetaData()
    for table in sqlalchemy_tables.metadata.sorted_tables:
        copy = table.to_metadata(models)
        for index in list(copy.indexes):
            copy.indexes.discard(index)

    def dropped(connection: Connection, include: object) -> set[str]:
        context = MigrationContext.configure(connection, opts={"include_object": include})
        found = compare_metadata(context, models)
        return {change[1].name for change in found if change[0].startswith("remove_")}

    def theirs(_item: object, name: str, type_: str, *_rest: object) -> bool:
        return (type_, name) != ("table", "audit_log")

    assert await on_connection(
        migrated, lambda connection: dropped(connection, lambda *_: True)
    ) == {*THREE, VERSION_TABLE, *sqlalchemy_tables.ledger.tables, "audit_log", "own"}
    alone, beside = alembic_include_object(), alembic_include_object(theirs)
    assert await on_connection(migrated, lambda one: dropped(one, alone)) == {"audit_log", "own"}
    assert await on_connection(migrated, lambda one: dropped(one, beside)) == {"own"}


async def test_what_is_in_the_hosts_models_is_for_the_host_to_say(hosts: str) -> None:
    def changes(connection: Connection) -> set[tuple[str, str]]:
        include = alembic_include_object(lambda *_: True)
        context = MigrationContext.configure(connection, opts={"include_object": include})
        return {
            (change[0], change[1].name)
            for change in compare_metadata(context, sqlalchemy_tables.metadata)
            if not isinstance(change, list)
        }

    # these models have the three indexes, and the database has not
    assert {("add_index", name) for name in THREE} <= await on_connection(hosts, changes)


# 400 symbols on 400 days, every tenth close 0; 1,000 portfolios of 20 positions, every fourth
# position deleted, every fifth exited, every seventh PRIVATE. A key that ends in n is portfolio n.
FILL = (
    # VACUUM calls no page all-visible while a commit on it may still be lost, and the planner
    # takes an index-only scan where pages are.
    "SET synchronous_commit = on",
    # ANALYZE reads every row: of a sample, the planner once expected two closes of one symbol on
    # one day, and took the unique index.
    "SET default_statistics_target = 1000",
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
