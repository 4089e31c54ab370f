"""The check before a run: what it reads, and every fault that it names."""

import contextlib
import pickle
import uuid
from collections.abc import AsyncIterator, Iterator

import asyncpg
import pytest

from batchcore.config import Schema
from batchcore.db.analytic_tables import check_parts
from batchcore.db.catalog import Catalog, ColumnType, inspect
from batchcore.db.check import check, problems_of
from batchcore.db.migrate import migrate
from batchcore.errors import SchemaError
from batchcore.schema import HOST, INDEXES, VERSION_TABLE, Kind, Use
from support import database
from support.cases import from_toml


@pytest.fixture(scope="module")
def migrated(server) -> Iterator[str]:
    """The URL of a migrated database, which every test leaves as it was."""
    yield from database.shared(server, migrate)


@contextlib.asynccontextmanager
async def changed(url: str, *statements: str) -> AsyncIterator[asyncpg.Connection]:
    """A connection that sees the database after ``statements``, which are undone."""
    connection = await asyncpg.connect(url)
    transaction = connection.transaction()
    try:
        await transaction.start()
        for statement in statements:
            await connection.execute(statement)
        yield connection
    finally:
        await transaction.rollback()
        await connection.close()


async def inspected(url: str, *statements: str, schema: Schema | None = None) -> Catalog:
    async with changed(url, *statements) as connection:
        return await inspect(connection, schema or Schema())


async def test_the_listed_tables_pass(migrated: str) -> None:
    found = await inspected(migrated)

    check(found)
    assert VERSION_TABLE in found.ledger
    assert found.indexes == {index.name for index in INDEXES}


async def test_columns_come_with_type_scale_and_rules(migrated: str) -> None:
    found = await inspected(migrated)

    assert found.column("market_data_cache", "close") == ColumnType(
        name="close",
        kind=Kind.NUMERIC,
        declared="numeric(12,4)",
        precision=12,
        scale=4,
        not_null=True,
    )
    assert found.column("positions", "position_type").kind is Kind.TEXT
    assert found.column("portfolio_snapshots", "is_complete").has_default
    assert not found.column("portfolio_snapshots", "equity_balance").not_null
    assert found.scale("portfolio_snapshots", "daily_return") == 6


@pytest.mark.parametrize(
    ("statement", "declared", "precision", "scale"),
    [
        ("ALTER TABLE positions ALTER quantity TYPE numeric(18)", "numeric(18,0)", 18, 0),
        ("ALTER TABLE positions ALTER quantity TYPE numeric(30, 18)", "numeric(30,18)", 30, 18),
        ("ALTER TABLE positions ALTER quantity TYPE numeric(1000, 4)", "numeric(1000,4)", 1000, 4),
    ],
)
async def test_precision_and_scale_are_read_from_the_modifier(
    migrated: str, statement: str, declared: str, precision: int, scale: int
) -> None:
    found = (await inspected(migrated, statement)).column("positions", "quantity")

    assert (found.declared, found.precision, found.scale) == (declared, precision, scale)


async def test_a_negative_scale_is_read_as_zero(migrated: str) -> None:
    async with changed(migrated) as connection:
        if connection.get_server_version().major < 15:
            pytest.skip("a negative scale came with PostgreSQL 15")
    found = await inspected(migrated, "ALTER TABLE positions ALTER quantity TYPE numeric(5, -2)")

    assert found.column("positions", "quantity").scale == -2
    assert found.scale("positions", "quantity") == 0
    check(found)


@pytest.mark.parametrize(
    "fault", from_toml("catalog.toml")["fault"], ids=lambda fault: fault["sql"]
)
async def test_a_fault_is_named_with_table_and_column(migrated: str, fault: dict[str, str]) -> None:
    found = await inspected(migrated, fault["sql"])

    with pytest.raises(SchemaError) as raised:
        check(found)
    assert raised.value.problems == (fault["told"],)
    hint = (
        "; if it has another name, map that in the Schema" if ": missing " in fault["told"] else ""
    )
    assert str(raised.value) == fault["told"] + hint


async def test_all_faults_are_named_at_once(migrated: str) -> None:
    found = await inspected(
        migrated,
        "DROP TABLE market_data_cache",
        "ALTER TABLE positions DROP COLUMN exit_price, ALTER quantity TYPE double precision",
    )

    with pytest.raises(SchemaError) as raised:
        check(found)
    assert raised.value.problems == (
        (
            "public.positions.quantity: is double precision, expected its decimals in"
            " schema.scales under `positions.quantity`"
        ),
        "public.positions.exit_price: missing column",
        "public.market_data_cache: missing table",
    )
    assert str(raised.value) == raised.value.problems[0] + " (and 2 more)"
    assert pickle.loads(pickle.dumps(raised.value)).problems == raised.value.problems  # noqa: S301


@pytest.mark.parametrize("kind", ["VIEW", "MATERIALIZED VIEW"])
async def test_a_view_in_place_of_the_snapshots_is_named(migrated: str, kind: str) -> None:
    found = await inspected(
        migrated,
        "ALTER TABLE portfolio_snapshots RENAME TO kept",
        f"CREATE {kind} portfolio_snapshots AS TABLE kept",
    )

    problem = "public.portfolio_snapshots: is a view or foreign table, expected a table to write to"
    assert problems_of(found) == (problem,)
    assert problems_of(found, writes=False) == ()


async def test_a_view_of_portfolios_must_be_updatable(migrated: str) -> None:
    renamed = "ALTER TABLE portfolios RENAME TO kept"
    fixed = await inspected(
        migrated, renamed, "CREATE VIEW portfolios AS SELECT DISTINCT * FROM kept"
    )
    plain = await inspected(
        migrated, renamed, "CREATE VIEW portfolios AS SELECT * FROM kept WHERE is_active"
    )

    problem = (
        "public.portfolios: is a view or foreign table, expected a table or an updatable view to"
        " write to"
    )
    assert problems_of(fixed) == (problem,)
    assert problems_of(fixed, writes=False) == ()
    assert problems_of(plain) == ()


async def test_full_needs_positions_that_ids_tell_apart(migrated: str) -> None:
    dropped = "ALTER TABLE positions DROP CONSTRAINT pk_positions CASCADE"
    lost = await inspected(migrated, dropped)
    with_portfolio = await inspected(
        migrated, dropped, "CREATE UNIQUE INDEX ON positions (id, portfolio_id)"
    )

    problem = (
        "public.positions: has no unique key on (id), so rows could be doubled: CREATE UNIQUE"
        ' INDEX CONCURRENTLY ON "public"."positions" ("id")'
    )
    with pytest.raises(SchemaError) as raised:
        check_parts(lost, "full")
    assert raised.value.problems == (problem,)
    check_parts(lost, "portfolio")
    check_parts(lost, "full", writes=False)
    check_parts(with_portfolio, "full")


async def test_an_index_of_the_host_counts_under_any_name(migrated: str) -> None:
    columns = "(deleted_at, symbol, exit_date, expiration_date)"
    dropped = "DROP INDEX idx_positions_symbol_active"
    other = await inspected(
        migrated,
        dropped,
        f"CREATE INDEX theirs ON positions {columns} WHERE deleted_at IS NULL",
        "CREATE INDEX down ON positions (deleted_at, symbol DESC, exit_date, expiration_date)"
        " WHERE symbol <> '' AND symbol IS NOT NULL AND deleted_at IS NULL",
    )
    same = await inspected(
        migrated,
        dropped,
        f"CREATE INDEX own ON positions {columns}"
        " WHERE symbol <> '' AND symbol IS NOT NULL AND deleted_at IS NULL",
    )

    assert "idx_positions_symbol_active" not in other.indexes
    assert "idx_positions_symbol_active" in same.indexes


@pytest.mark.parametrize(
    "statement",
    [
        "DROP TABLE equity_changes, position_realized_events",
        (
            "ALTER TABLE portfolio_snapshots DROP CONSTRAINT uq_portfolio_snapshots;"
            " CREATE UNIQUE INDEX ON portfolio_snapshots (snapshot_date, portfolio_id)"
            " INCLUDE (equity_balance)"
        ),
        "ALTER TABLE market_data_cache DROP CONSTRAINT uq_market_data_cache",
        "ALTER TABLE portfolio_snapshots ADD tenant text NOT NULL DEFAULT 'one'",
        "ALTER TABLE portfolio_snapshots ADD serial int GENERATED ALWAYS AS IDENTITY",
        "ALTER TABLE portfolio_snapshots ADD tenant text",
        "ALTER TABLE portfolio_snapshots ALTER total_value TYPE numeric(20, 4)",
        "ALTER TABLE positions ALTER position_type TYPE varchar(10)",
        "ALTER TABLE positions ALTER symbol TYPE text",
        "ALTER TABLE portfolios ALTER currency TYPE char(3)",
    ],
)
async def test_what_a_host_may_do_differently_passes(migrated: str, statement: str) -> None:
    check(await inspected(migrated, statement))


@pytest.mark.parametrize("table", ["portfolios", "positions", "equity_changes"])
async def test_rows_that_are_not_deleted_have_a_null(migrated: str, table: str) -> None:
    found = await inspected(
        migrated,
        f"ALTER TABLE {table} ALTER deleted_at SET DEFAULT 'infinity'",
        f"ALTER TABLE {table} ALTER deleted_at SET NOT NULL",
    )

    problem = f"public.{table}.deleted_at: is NOT NULL, expected NULL in rows that are not deleted"
    assert problems_of(found) == (problem,)
    assert problems_of(found, writes=False) == (problem,)
    replaced = await inspected(
        migrated,
        f"ALTER TABLE {table} ALTER deleted_at SET DEFAULT 'infinity'",
        f"ALTER TABLE {table} ALTER deleted_at SET NOT NULL",
        f"ALTER TABLE {table} ADD deleted_on timestamptz"
        " GENERATED ALWAYS AS (NULLIF(deleted_at, 'infinity')) STORED",
        schema=Schema(columns={f"{table}.deleted_at": "deleted_on"}),
    )
    check(replaced)


@pytest.mark.parametrize(
    ("columns", "problem"),
    [
        (
            {"portfolio_snapshots.daily_pnl": "cumulative_pnl"},
            "portfolio_snapshots.cumulative_pnl: daily_pnl and cumulative_pnl",
        ),
        ({"portfolios.equity_balance": "updated_at"}, "portfolios.updated_at: equity_balance and"),
    ],
)
async def test_columns_that_are_written_are_not_one(
    migrated: str, columns: dict[str, str], problem: str
) -> None:
    found = await inspected(migrated, schema=Schema(columns=columns))

    assert problem in "\n".join(problems_of(found))
    assert problem not in "\n".join(problems_of(found, writes=False))
    read = await inspected(
        migrated, schema=Schema(columns={"positions.exit_date": "expiration_date"})
    )
    check(read)


async def test_a_domain_counts_as_its_base_type_and_one_of_a_domain_as_the_last(
    migrated: str,
) -> None:
    found = await inspected(
        migrated,
        "CREATE DOMAIN money_amount AS numeric(16, 2) NOT NULL DEFAULT 0",
        "ALTER TABLE portfolio_snapshots ALTER total_value TYPE money_amount, ADD fee money_amount",
        "CREATE DOMAIN ticker AS varchar(20) NOT NULL",
        "CREATE DOMAIN uticker AS ticker CHECK (VALUE = upper(VALUE))",
        "CREATE DOMAIN price AS numeric(14,5)",
        "CREATE DOMAIN own_price AS price",
        "CREATE DOMAIN dear_price AS own_price CHECK (VALUE > 0)",
        "ALTER TABLE market_data_cache ALTER symbol TYPE uticker, ALTER close TYPE dear_price",
        "ALTER TABLE positions ALTER symbol DROP NOT NULL, ALTER symbol TYPE uticker",
    )

    check(found)
    assert found.column("positions", "symbol").not_null
    close = found.column("market_data_cache", "close")
    assert (close.kind, close.precision, close.scale) == (Kind.NUMERIC, 14, 5)
    assert close.declared == "dear_price"
    value = found.column("portfolio_snapshots", "total_value")
    assert (value.kind, value.precision, value.scale) == (Kind.NUMERIC, 16, 2)
    assert value.declared == "money_amount"
    assert value.not_null
    assert value.has_default


INSTEAD = """
CREATE FUNCTION change() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN RETURN NEW; END $$;
CREATE TRIGGER change INSTEAD OF UPDATE ON portfolios FOR EACH ROW EXECUTE FUNCTION change()"""
JOINED = (
    "ALTER TABLE portfolios RENAME TO accounts",
    "CREATE VIEW portfolios AS SELECT a.* FROM accounts AS a JOIN (SELECT 1) AS x ON true",
)


@pytest.mark.parametrize(
    "instead",
    [
        INSTEAD,
        (
            "CREATE RULE change AS ON UPDATE TO portfolios DO INSTEAD UPDATE accounts"
            " SET equity_balance = NEW.equity_balance, updated_at = NEW.updated_at"
            " WHERE id = NEW.id"
        ),
    ],
    ids=["trigger", "rule"],
)
async def test_a_view_that_does_something_instead_of_an_update_can_be_written(
    migrated: str, instead: str
) -> None:
    check(await inspected(migrated, *JOINED, instead))
    computed = (
        "ALTER TABLE portfolios RENAME TO accounts;"
        " CREATE VIEW portfolios AS SELECT id, currency, name, user_id, updated_at, deleted_at,"
        " (equity_balance + 0)::numeric(16,2) AS equity_balance FROM accounts"
    )
    assert (
        "equity_balance: is computed by the server"
        in problems_of(await inspected(migrated, computed))[0]
    )


FOREIGN = (
    "CREATE EXTENSION postgres_fdw",
    "CREATE SERVER other FOREIGN DATA WRAPPER postgres_fdw",
    "ALTER TABLE market_data_cache RENAME TO prices",
)
COLUMNS = """id uuid, symbol varchar(20) NOT NULL, date date NOT NULL, close numeric(12,4) NOT NULL,
    data_source varchar(50), created_at timestamptz, updated_at timestamptz"""


@pytest.mark.parametrize(
    ("statements", "is_foreign"),
    [
        ([f"CREATE FOREIGN TABLE market_data_cache ({COLUMNS}) SERVER other"], True),
        (
            [
                f"CREATE FOREIGN TABLE far ({COLUMNS}) SERVER other",
                "CREATE VIEW near AS SELECT * FROM far",
                "CREATE VIEW market_data_cache AS SELECT * FROM near",
            ],
            True,
        ),
        (
            [
                f"CREATE TABLE market_data_cache ({COLUMNS}) PARTITION BY RANGE (date)",
                "CREATE FOREIGN TABLE old PARTITION OF market_data_cache DEFAULT SERVER other",
            ],
            True,
        ),
        (
            [
                f"CREATE FOREIGN TABLE far ({COLUMNS}) SERVER other",
                "CREATE MATERIALIZED VIEW market_data_cache AS SELECT * FROM far WITH NO DATA",
            ],
            False,
        ),
        (["CREATE VIEW market_data_cache AS SELECT * FROM prices"], False),
    ],
    ids=["itself", "beneath views", "a partition", "materialized", "a view"],
)
async def test_foreign_tables_are_known(
    migrated: str, statements: list[str], *, is_foreign: bool
) -> None:
    await database.need_foreign_tables(migrated)
    found = await inspected(migrated, *FOREIGN, *statements)

    check(found)
    assert found.foreign == ({"market_data_cache"} if is_foreign else frozenset())
    assert found.acting == frozenset()


async def test_absent_optional_tables_are_known(migrated: str) -> None:
    found = await inspected(migrated, "DROP TABLE equity_changes")

    check(found)
    assert [table for table in HOST if not found.has_table(table)] == ["equity_changes"]
    with pytest.raises(SchemaError, match=r"equity_changes\.amount: missing column"):
        found.column("equity_changes", "amount")


async def test_a_type_of_the_host_with_a_known_name_is_not_taken_for_it(migrated: str) -> None:
    found = await inspected(
        migrated,
        'CREATE TYPE public."numeric" AS (a int)',
        'ALTER TABLE positions ALTER market_value TYPE public."numeric" USING NULL',
    )

    assert found.column("positions", "market_value").kind is Kind.OTHER
    assert len(problems_of(found)) == 1


async def test_a_scale_of_the_schema_serves_a_numeric_without_one(migrated: str) -> None:
    statement = "ALTER TABLE market_data_cache ALTER close TYPE numeric"
    schema = Schema(scales={"market_data_cache.close": 6, "positions.quantity": 9})
    found = await inspected(migrated, statement, schema=schema)

    check(found)
    assert found.scale("market_data_cache", "close") == 6
    # A declared scale is a fact of the database: the one of the schema has no say.
    assert found.scale("positions", "quantity") == 4

    without = await inspected(migrated, statement)
    with pytest.raises(SchemaError, match=r"market_data_cache\.close"):
        without.scale("market_data_cache", "close")


async def test_a_scale_of_the_schema_serves_a_double_that_is_read(migrated: str) -> None:
    scales = {"market_data_cache.close": 6, "portfolio_snapshots.daily_pnl": 2}
    found = await inspected(
        migrated,
        "ALTER TABLE market_data_cache ALTER close TYPE double precision",
        "CREATE DOMAIN dollars AS double precision CHECK (VALUE < 1e12)",
        "ALTER TABLE portfolio_snapshots ALTER daily_pnl TYPE dollars",
        schema=Schema(scales=scales),
    )

    assert found.column("market_data_cache", "close").kind is Kind.FLOAT8
    assert found.scale("market_data_cache", "close") == 6
    assert problems_of(found) == (
        (
            "public.portfolio_snapshots.daily_pnl: is double precision, expected numeric(16,2):"
            " doubles are read, never written"
        ),
    )


async def test_names_are_mapped_and_quoted(migrated: str) -> None:
    table, column = 'My "Hold\'ings"', "cost \\ basis'"
    quoted = table.replace('"', '""')
    schema = Schema(
        namespace="o'host",
        tables={"positions": table},
        columns={"positions.entry_price": column},
    )
    statements = [
        'CREATE SCHEMA "o\'host"',
        *(
            f'ALTER TABLE {name} SET SCHEMA "o\'host"'
            for name, table in HOST.items()
            if table.needed(Use.RUN)
        ),
        f'ALTER TABLE "o\'host".positions RENAME TO "{quoted}"',
        f'ALTER TABLE "o\'host"."{quoted}" RENAME entry_price TO "{column}"',
    ]
    found = await inspected(migrated, *statements, schema=schema)

    check(found)
    assert found.column("positions", "entry_price").name == column
    assert VERSION_TABLE not in found.ledger
    assert found.indexes == {index.name for index in INDEXES}


async def test_a_role_with_few_grants_is_told_what_it_may_not_do(migrated: str) -> None:
    role = f"reader_{uuid.uuid4().hex}"
    found = await inspected(
        migrated,
        f"CREATE ROLE {role}",
        f"GRANT SELECT ON portfolios, positions, portfolio_snapshots TO {role}",
        "DROP TABLE equity_changes, position_realized_events",
        f"GRANT INSERT ON portfolio_snapshots TO {role}",
        f"GRANT SELECT (symbol, date) ON market_data_cache TO {role}",
        f"SET LOCAL ROLE {role}",
    )

    assert problems_of(found, writes=False) == (
        "public.market_data_cache.close: the role may not SELECT it",
    )
    problems = problems_of(found)
    assert "public.portfolios.equity_balance: the role may not UPDATE it" in problems
    assert "public.portfolio_snapshots.daily_pnl: the role may not UPDATE it" in problems
    # Keys and creation times of rows that exist are never changed.
    assert "public.portfolio_snapshots.snapshot_date: the role may not UPDATE it" not in problems
    assert not any("INSERT" in one for one in problems if "portfolio_snapshots" in one)
    assert "public.batchcore_run_chunks: the role may not INSERT it" in problems
    assert "public.batchcore_runs: the role may not DELETE it" in problems
    assert "public.batchcore_run_tokens: the role may not use it, expected USAGE" in problems


async def test_the_server_counts_one_statement_for_the_check(migrated: str) -> None:
    async with changed(migrated) as connection:
        preloaded = await connection.fetchval("SHOW shared_preload_libraries")
        if "pg_stat_statements" not in preloaded:
            pytest.skip("the server has no pg_stat_statements")
        await connection.execute("CREATE EXTENSION pg_stat_statements")
        count = (
            "SELECT COALESCE(sum(calls), 0)::int FROM pg_stat_statements"
            " WHERE dbid = (SELECT oid FROM pg_database WHERE datname = current_database())"
            " AND query NOT LIKE '%pg_stat_statements%'"
        )
        before = await connection.fetchval(count)
        await inspect(connection, Schema())
        assert await connection.fetchval(count) == before + 1
