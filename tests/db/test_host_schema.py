"""A host that differs in every way that docs/schema.md allows: migrated, planned, run."""

import asyncio
import re
import uuid
from collections.abc import AsyncIterator, Iterator
from dataclasses import replace
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest
import pytest_asyncio

import batchcore
from batchcore import reference as ref
from batchcore.calendar import date_of, load
from batchcore.config import Schema, Settings
from batchcore.db.analytic_tables import check_parts
from batchcore.db.catalog import inspect
from batchcore.db.migrate import check, downgrade, migrate
from batchcore.demo import check_rows
from batchcore.demo import run as demo
from batchcore.errors import DatabaseError, SchemaError
from batchcore.pg.sql import quote_identifier, table_name
from batchcore.reference import legacy
from batchcore.schema import OWN, TOKENS
from support import database, foreign, legacy_frames, legacy_host
from support.database import Host, execute, fetch
from support.generate import MONDAY, Generator
from support.generate_legacy import LegacyGenerator
from support.ledger import until
from support.legacy_frames import Run as LegacyRun
from support.outcome import in_doubles, issues_of, outcome, random_host, seeded
from support.runs import run
from support.worked_legacy import beta, position

DOCS = Path(__file__).parents[2] / "docs" / "schema.md"
DAYS = list(range(MONDAY - 60, MONDAY + 60))
FIRST, LAST = MONDAY, MONDAY + 10
XNYS = load("XNYS").sessions(MONDAY - 60, MONDAY + 60).tolist()
LATER = ("0002", "0003", "0004", "0005", "0006")
"""Revisions after that of the tables."""

INDEXES = {
    "idx_positions_active_complete": "Holdings",
    "idx_market_data_valid_prices": "quotes",
    "idx_positions_symbol_active": "Holdings",
}


@pytest.fixture
def schema(tmp_path: Path) -> Schema:
    path = tmp_path / "host.toml"
    path.write_text(foreign.TOML, encoding="utf-8")
    return Schema.from_toml(path)


@pytest_asyncio.fixture
async def url(database: str) -> str:
    """The URL of the host's database, which batchcore has never seen."""
    await execute(database, foreign.SQL)
    return database


async def described(url: str) -> set[tuple[str, ...]]:
    """Return columns, constraints and indexes of every table but the version table."""
    rows = await fetch(
        url,
        "SELECT 'column', c.oid::regclass::text, a.attname::text,"
        " format_type(a.atttypid, a.atttypmod) || ' ' || a.attnotnull::text"
        " FROM pg_class AS c JOIN pg_attribute AS a ON a.attrelid = c.oid AND a.attnum > 0"
        " WHERE c.relkind = 'r' AND c.relnamespace::regnamespace::text IN ('ledger', 'public')"
        " UNION ALL SELECT 'constraint', conrelid::regclass::text, conname::text,"
        " pg_get_constraintdef(oid) FROM pg_constraint"
        " WHERE connamespace::regnamespace::text IN ('ledger', 'public')"
        " UNION ALL SELECT 'index', tablename::text, indexname::text, indexdef FROM pg_indexes"
        " WHERE schemaname IN ('ledger', 'public')",
    )
    return {tuple(row) for row in rows if "batchcore_" not in row[1]}


def stored_column(schema: Schema, name: str) -> str:
    return schema.column("portfolio_snapshots", name)


async def snapshots(url: str, schema: Schema) -> database.Snapshots:
    """Return the snapshots by the names of docs/schema.md."""
    mapped = (key.split(".") for key in schema.columns)
    columns = (column for table, column in mapped if table == "portfolio_snapshots")
    listed = {stored_column(schema, column): column for column in columns}
    found = {}
    for record in await fetch(url, "SELECT * FROM ledger.daily"):
        row = {listed.get(name, name): database.comparable(cell) for name, cell in record.items()}
        found[row["portfolio_id"], (row["snapshot_date"] - database.EPOCH).days] = row
    return found


# Migration


async def test_migrate_marks_0001_and_builds_the_indexes_beside_what_is_there(
    url: str, schema: Schema
) -> None:
    before = await described(url)

    status = await check(url, schema=schema)
    assert (status.adopted, status.problems) == (True, ())
    assert await described(url) == before

    report = await migrate(url, schema=schema)
    assert (report.adopted, report.marked, report.applied) == (True, ("0001",), LATER)
    after = await described(url)
    assert before <= after
    assert any("idx_positions_portfolio_deleted, redundant" in note for note in report.notes)
    assert {(entry[2], entry[1]) for entry in after - before} == set(INDEXES.items())
    own = await fetch(url, "SELECT version_num FROM ledger.alembic_version")
    ours = await fetch(url, "SELECT version_num FROM ledger.batchcore_alembic_version")
    assert [own[0][0], ours[0][0]] == ["f00dfeed0001", "0006"]
    predicate = "SELECT pg_get_expr(indpred, indrelid) FROM pg_index WHERE indexrelid = "
    (valid,) = await fetch(url, predicate + "'ledger.idx_market_data_valid_prices'::regclass")
    assert valid[0] == '("Close" > (0)::double precision)'

    again = await migrate(url, schema=schema)
    assert (again.before, again.marked, again.applied) == ("0006", (), ())
    assert await described(url) == after
    own = "SELECT relname::text FROM pg_class WHERE relname LIKE 'batchcore\\_%' AND relkind <> 'i'"
    assert {row[0] for row in await fetch(url, own)} >= {*OWN, TOKENS}

    await downgrade(url, schema=schema)
    assert await described(url) == before
    assert await fetch(url, own) == []


async def test_a_host_writes_while_its_indexes_are_built(url: str, schema: Schema) -> None:
    prices = tuple(("AAA", day, Decimal(11)) for day in range(MONDAY, MONDAY + 5))
    await foreign.fill(url, Host((), prices))
    async with database.connected(url) as writer, database.connected(url) as old:
        await writer.execute("SET lock_timeout = '5s'")
        transaction = old.transaction(isolation="repeatable_read")
        await transaction.start()
        await old.fetchval("SELECT count(*) FROM ledger.quotes")
        migration = asyncio.create_task(migrate(url, schema=schema))
        waits = (
            "SELECT EXISTS (SELECT FROM pg_stat_activity WHERE datname = current_database()"
            " AND wait_event_type = 'Lock' AND query LIKE 'CREATE INDEX CONCURRENTLY%')"
        )
        await until(writer, waits)
        # the build waits for the old transaction, and nobody for the build
        await writer.execute("INSERT INTO ledger.quotes VALUES ('BBB', '2026-01-05', 3)")
        await writer.execute("UPDATE ledger.quotes SET \"Close\" = 12 WHERE ticker = 'AAA'")
        await writer.execute("DELETE FROM ledger.quotes WHERE day = '2026-01-06'")
        assert not migration.done()
        await transaction.rollback()
        assert (await migration).applied == LATER

    async with database.connected(url) as connection:
        await connection.execute("SET enable_seqscan = off")
        query = "SELECT count(*) FROM ledger.quotes WHERE \"Close\" > 0 AND day > '2026-01-01'"
        assert await connection.fetchval(query) == 5


WRITES = (
    "INSERT INTO ledger.quotes VALUES ('NEW' || $1::int, '2026-01-05', $1::int)",
    "UPDATE ledger.quotes SET \"Close\" = $1::int WHERE ticker = 'A' || $1::int % 5000",
    (
        "INSERT INTO ledger.\"Holdings\" SELECT gen_random_uuid(), id, 'fifo', 'NEW' || $1::int,"
        " 'LONG', 1, 1, '2026-01-05' FROM ledger.accounts LIMIT 1"
    ),
    (
        'UPDATE ledger."Holdings" SET sold_on ='
        " CASE $1::int % 2 WHEN 0 THEN date '2026-01-06' END"
        " WHERE ticker = 'A' || $1::int % 5000"
    ),
)


async def test_a_host_that_never_stops_writing_is_migrated_twice(url: str, schema: Schema) -> None:
    await foreign.fill(url, database.plain_host(2, [MONDAY]))
    await execute(
        url,
        "INSERT INTO ledger.quotes SELECT 'A' || n, '2026-01-05', n FROM"
        " generate_series(0, 9999) AS n",
        "INSERT INTO ledger.\"Holdings\" SELECT gen_random_uuid(), id, 'fifo', 'A' || n,"
        " 'LONG', n, 1, '2026-01-05' FROM ledger.accounts, generate_series(0, 4999) AS n",
    )
    wrote, done = asyncio.Event(), asyncio.Event()

    async def write() -> int:
        async with database.connected(url) as writer:
            await writer.execute("SET lock_timeout = '5s'")
            count = 0
            while not done.is_set():
                async with writer.transaction():
                    for statement in WRITES:
                        await writer.execute(statement, count)
                count += 1
                wrote.set()
            return count

    async with asyncio.TaskGroup() as group:
        writer = group.create_task(write())
        await wrote.wait()
        assert (await migrate(url, schema=schema)).applied == LATER
        wrote.clear()
        await wrote.wait()
        assert (await migrate(url, schema=schema)).applied == ()
        done.set()

    assert (await check(url, schema=schema)).is_current
    invalid = "SELECT FROM pg_index WHERE NOT indisvalid"
    assert await fetch(url, invalid) == []
    async with database.connected(url) as connection:
        for query, rows in (
            ('SELECT count(*) FROM ledger.quotes WHERE "Close" > 0', None),
            ("SELECT count(*) FROM ledger.quotes WHERE ticker LIKE 'NEW%'", writer.result()),
            (
                (
                    'SELECT count(*) FROM ledger."Holdings" WHERE deleted_at IS NULL'
                    " AND ticker IS NOT NULL AND ticker <> ''"
                ),
                10_002 + writer.result(),
            ),
        ):
            await connection.execute("RESET ALL")
            for scan in ("indexscan", "indexonlyscan", "bitmapscan"):
                await connection.execute(f"SET enable_{scan} = off")
            plain = await connection.fetchval(query)
            await connection.execute("RESET ALL")
            await connection.execute("SET enable_seqscan = off")
            assert await connection.fetchval(query) == plain
            assert rows is None or plain == rows


async def test_every_difference_is_named_at_once(url: str, schema: Schema) -> None:
    await execute(
        url,
        'ALTER TABLE ledger."Holdings" DROP COLUMN sold_at, ALTER ticker TYPE bytea USING NULL,'
        " ALTER ticker DROP NOT NULL",
        "ALTER TABLE ledger.daily ADD tenant int NOT NULL, ALTER cash_value TYPE double precision",
        "ALTER TABLE ledger.closures ALTER units TYPE real",
        "DROP TABLE ledger.quotes",
    )
    scales = dict(schema.scales)
    del scales["positions.quantity"]
    less = Schema(schema.namespace, schema.tables, schema.columns, scales)
    problems = {
        "ledger.Holdings.ticker: is bytea, expected text or varchar",
        (
            "ledger.Holdings.units: is double precision, expected its decimals in schema.scales"
            " under `positions.quantity`"
        ),
        "ledger.Holdings.sold_at: missing column",
        "ledger.quotes: missing table",
        (
            "ledger.daily.cash_value: is double precision, expected numeric(16,2): doubles are"
            " read, never written"
        ),
        "ledger.closures.units: is real, expected numeric",
        "ledger.daily.tenant: is NOT NULL without a default, and batchcore does not fill it",
    }
    with pytest.raises(SchemaError) as raised:
        await migrate(url, schema=less)
    assert set(raised.value.problems) == problems
    assert set((await check(url, schema=less)).problems) == problems


async def test_analytics_are_not_written_into_doubles(url: str, schema: Schema) -> None:
    await execute(url, "ALTER TABLE ledger.daily ALTER hhi TYPE double precision")
    async with database.connected(url) as connection:
        found = await inspect(connection, schema)
    told = "is double precision, expected numeric: doubles are read, never written"
    assert check_parts(found, "none").level == "none"
    for level, column in (("portfolio", "daily.hhi"), ("full", "Holdings.Marked Value")):
        for writes in (True, False):  # a plan says what stands in the way of the run
            with pytest.raises(SchemaError) as raised:
                check_parts(found, level, writes=writes)
            assert f"ledger.{column}: {told}" in raised.value.problems


# Run


@pytest.mark.parametrize("seed", range(6))
async def test_run_and_plan_on_the_host_are_those_of_the_reference(
    url: str, schema: Schema, seed: int
) -> None:
    mode = ("replace", "skip")[seed % 2]
    host = random_host(Generator(seeded(f"host {seed}").randint, odd=0, edges=False))
    # finer than the scale: 0.00003 is cut, and half a unit is rounded away from zero
    prices = list(host.prices)
    symbol, day, close = prices[0]
    prices[0] = (symbol, day, Decimal("12.00003") if close else close)
    host = Host(host.portfolios, (*prices, ("ZZ9", MONDAY, Decimal("0.03125"))), host.standing)
    await migrate(url, schema=schema)
    await foreign.fill(url, host)
    before = await snapshots(url, schema)
    expected = outcome(in_doubles(host), DAYS, FIRST, LAST, mode)

    own = Settings(schema=schema, min_coverage=0.0, max_failed="100%", chunk_size=3)
    asked = {"days": [FIRST, LAST], "analytics": "portfolio", "on_existing": mode}
    plan = await run(url, **asked, settings=replace(own, dry_run=True))
    assert await snapshots(url, schema) == before
    result = await run(url, **asked, settings=own)

    assert plan.portfolios.sessions_planned.tolist() == result.portfolios.sessions_planned.tolist()
    assert result.portfolios.sessions_planned.sum() == len(expected.cells) > 0
    assert result.rows_written == len(expected.cells)
    assert result.failed == len(expected.failed) == 0
    assert issues_of(result, host) == expected.issues
    after = await snapshots(url, schema)
    assert set(after) == set(before) | set(expected.cells)
    for at, row in after.items():
        if at not in expected.cells:
            assert row == before[at]
            continue
        assert {name: row[name] for name in expected.cells[at]} == expected.cells[at]
        kept = before[at] if at in expected.in_place else {"mood": "calm", "id": row["id"]}
        assert (row["mood"], row["id"]) == (kept["mood"], kept["id"])
    stored = await fetch(url, "SELECT id, nav FROM ledger.accounts")
    assert {row[0]: row[1] for row in stored} == expected.equity
    decoy = await fetch(url, "SELECT * FROM public.positions")
    assert [tuple(row) for row in decoy] == [(1, "AAA")]


HELD = position(
    quantity="0.3",
    market_value="123.45",
    betas=(beta(3, "1.123456"), beta(40, "0.7"), beta(40, "0.9")),
)


def storable(run: LegacyRun) -> LegacyRun:
    """Return a run without what the types and constraints of the host refuse.

    Each portfolio also has a position that counts in the provider beta.
    """

    def stored(one: ref.Position) -> ref.Position:
        kind, units = one.position_type, one.quantity
        return replace(
            one,
            symbol="AAA" if one.symbol is None else one.symbol,
            quantity=Decimal(1) if units is None or units.is_nan() else units,
            # FUTURE is a type that no rule knows
            position_type=kind if kind in {"LONG", "SHORT", "LC", "LP", "SC", "SP"} else "FUTURE",
            entry_price=Decimal("7.5") if one.entry_price is None else one.entry_price,
            entry_day=MONDAY - 9 if one.entry_day is None else one.entry_day,
            events=tuple(
                ref.Event(on.day or MONDAY, on.quantity, on.realized or Decimal(0))
                for on in one.events
            ),
        )

    def flow(one: ref.Flow) -> ref.Flow:
        kind = one.change_type if one.change_type in {"CONTRIBUTION", "WITHDRAWAL"} else "FEE"
        return ref.Flow(one.day or MONDAY, one.amount or Decimal(0), kind)

    def snapshot(one: legacy.Snapshot) -> legacy.Snapshot:
        amounts = ("equity", "cumulative_pnl", "cumulative_realized_pnl", "cumulative_capital_flow")
        return replace(one, **{name: in_cents(getattr(one, name)) for name in amounts})

    def in_cents(value: Decimal | None) -> Decimal | None:
        return None if value is None else value.quantize(Decimal("0.01"))

    portfolios = tuple(
        replace(
            one,
            equity_balance=in_cents(one.equity_balance),
            positions=tuple(map(stored, (*one.positions, HELD))),
            flows=tuple(map(flow, one.flows)),
            snapshots=tuple(map(snapshot, one.snapshots)),
        )
        for one in run.portfolios
    )
    return replace(run, portfolios=portfolios, cached={})


def as_text(cell: Any) -> str:
    """Return a cell as text: numbers without decimals at the end, keys of `jsonb` in order."""
    if isinstance(cell, Decimal):
        return f"{cell.normalize() + 0:f}"
    return str(sorted(cell.items())) if isinstance(cell, dict) else str(cell)


async def run_legacy(
    url: str, schema: Schema, run: LegacyRun, as_role: str | None = None
) -> list[legacy.Row]:
    """Run some days under `legacy`, compare with the reference and return what it says.

    Args:
        url: The URL of the owner of the host.
        schema: Of the host.
        run: What is in it.
        as_role: The URL that the run connects with, if not the owner's.
    """
    days = [day for day in XNYS if FIRST <= day <= LAST]
    results = legacy_host.by_reference(legacy_frames.in_doubles(run), days, XNYS)
    before = await snapshots(url, schema)
    result = await batchcore.run_batch(
        as_role or url,
        date_of(FIRST),
        date_of(LAST),
        policy="legacy",
        resume=False,  # the host is another one each time
        settings=Settings(schema=schema, max_failed="100%", chunk_size=2, today=date_of(run.today)),
    )
    legacy_host.assert_told(result, results)
    stored = await snapshots(url, schema)
    moods = {at: row.pop("mood") for at, row in stored.items()}
    assert moods == {at: before[at].pop("mood") if at in before else "calm" for at in moods}
    legacy_host.assert_stored(before, stored, results, as_text)
    navs = await fetch(url, "SELECT id, nav FROM ledger.accounts")
    found = {own: database.comparable(nav) for own, nav in navs}
    assert found == legacy_host.equities_of(results)
    return [row for result in results.values() for row in result.rows]


@pytest.mark.usefixtures("roles")
async def test_legacy_on_the_host_is_the_reference_with_the_grants_of_the_docs(
    url: str, schema: Schema
) -> None:
    await migrate(url, schema=schema)
    role = await granted(url, [*grants(RUN), *grants(LEGACY)], schema)
    rows = []
    for seed in range(25):
        generator = LegacyGenerator(seeded(f"legacy host {seed}").randint, odd=0, edges=False)
        run = storable(generator.any_legacy_run())
        # finer than the scale: 0.00003 is a price of 0, and half a unit is rounded up
        fine = [("AAA", MONDAY - 20, Decimal("0.00003")), ("BBB", MONDAY - 20, Decimal("0.03125"))]
        run = replace(run, prices=(*run.prices, *fine), today=FIRST + seed % 4)
        await execute(url, "TRUNCATE ledger.accounts, ledger.quotes, ledger.indices CASCADE")
        await foreign.fill_legacy(url, run)
        rows += await run_legacy(url, schema, run, role)
    assert sum(row.long_value > 0 for row in rows) > 50
    assert sum(row.beta_provider_1y is not None for row in rows) > 20
    assert sum(bool(row.sector_exposure) for row in rows) > 20


async def test_legacy_names_every_difference_at_once(url: str, schema: Schema) -> None:
    await migrate(url, schema=schema)
    await execute(
        url,
        "ALTER TABLE ledger.daily DROP COLUMN delta, ALTER portfolio_vega TYPE real,"
        " ALTER hhi TYPE double precision, ALTER slope TYPE numeric(9,4),"
        " ALTER effective_num_positions TYPE numeric(12,1)",
        'ALTER TABLE ledger."Slopes" ALTER as_of TYPE timestamp',
        "ALTER TABLE ledger.indices DROP COLUMN code CASCADE",
        'ALTER TABLE ledger."Holdings" DROP COLUMN seen_at, ALTER units TYPE real',
    )
    with pytest.raises(SchemaError) as raised:
        await batchcore.run_batch(url, policy="legacy", settings=Settings(schema=schema))
    assert set(raised.value.problems) == {
        "ledger.daily.delta: missing column",
        "ledger.daily.portfolio_vega: is real, expected numeric",
        (
            "ledger.daily.hhi: is double precision, expected numeric(10,4): doubles are read,"
            " never written"
        ),
        "ledger.daily.slope: is numeric(9,4), expected room for numeric(10,4)",
        ("ledger.daily.effective_num_positions: is numeric(12,1), expected room for numeric(10,2)"),
        "ledger.Slopes.as_of: is timestamp without time zone, expected date",
        "ledger.indices.code: missing column",
        "ledger.Holdings.seen_at: missing column",
        "ledger.Holdings.units: is real, expected numeric",
    }


async def test_doubles_that_lost_decimals_are_counted_by_column(url: str, schema: Schema) -> None:
    first = ref.Position("AAA", "LONG", Decimal("0.12345"), Decimal("10.1"), MONDAY - 9)
    other = ref.Position("AAA", "LONG", Decimal("3.3"), Decimal("9.99995"), MONDAY - 9)
    host = Host(
        (ref.Portfolio("p0", Decimal(1000), (first, other)),),
        (("AAA", MONDAY - 1, Decimal("11.1")), ("AAA", MONDAY, Decimal("11.00004"))),
    )
    await migrate(url, schema=schema)
    await foreign.fill(url, host)
    result = await run(url, days=[MONDAY], settings=Settings(schema=schema))
    counts = {
        "market_data_cache.close": 1,
        "positions.entry_price": 1,
        "positions.quantity": 1,
    }
    assert result.to_dict()["rounded"] == dict(result.rounded) == counts
    # 0.1235 and 3.3 of AAA at 11.0000: 1.3585 and 36.3; bought at 10.1 and 10.0000
    ((_, row),) = (await snapshots(url, schema)).items()
    assert (row["long_value"], row["num_positions"]) == (Decimal("37.66"), 2)
    checked = await check_rows.check(
        url, {database.key("p0"): Decimal(1000)}, [MONDAY], settings=Settings(schema=schema)
    )
    assert (checked.rows, checked.differing) == (1, 0)


async def test_caches_read_doubles_too(url: str, schema: Schema) -> None:
    prices = (("AAA", MONDAY, Decimal("11.00006")), ("AAA", MONDAY + 1, Decimal("NaN")))
    await foreign.fill(url, Host((), prices))
    cache = batchcore.PriceCache(schema=schema)
    assert await cache.load_date_range(url, ["AAA"], date_of(MONDAY), date_of(MONDAY + 1)) == 1
    assert cache.get("AAA", date_of(MONDAY)) == Decimal("11.0001")
    assert cache.get("AAA", date_of(MONDAY + 1)) is None
    texts = (f"company_profiles.{name}" for name in ("company_name", "industry", "country"))
    columns = {**dict.fromkeys(texts, "sector"), "company_profiles.market_cap": "beta"}
    own = replace(
        schema,
        columns={**schema.columns, **columns},
        scales={**schema.scales, "company_profiles.market_cap": 2},
    )
    profiles = batchcore.CompanyProfileCache(schema=own)
    await profiles.load(url, ["AAA"])
    assert profiles.get_beta("AAA") == Decimal("1.1000")


# Grants


RUN = "The role that runs needs"
FULL = '`analytics="full"` needs'
LEGACY = '`policy="legacy"` needs'


def grants(of: str) -> list[str]:
    """Return the statements under the paragraph of the docs that begins so."""
    text = DOCS.read_text(encoding="utf-8")
    pattern = rf"^{re.escape(of)}.*\n\n```sql\n((?:GRANT .*\n)+)```"
    (block,) = re.findall(pattern, text, re.MULTILINE)
    return block.splitlines()


async def granted(url: str, statements: list[str], schema: Schema | None = None) -> str:
    """Make a role that has these grants and no other; return the URL that connects as it."""
    schema = schema or Schema()
    role = f"batch_{uuid.uuid4().hex}"
    async with database.connected(url) as connection:
        name = await connection.fetchval("SELECT current_database()")
        quoted = quote_identifier(name)
        await connection.execute(f"CREATE ROLE {role}")
        await connection.execute(f"REVOKE ALL ON DATABASE {quoted} FROM PUBLIC")
        await connection.execute("REVOKE ALL ON SCHEMA public FROM PUBLIC")
        await connection.execute(f"GRANT CONNECT ON DATABASE {quoted} TO {role}")
        for statement in statements:
            await connection.execute(translated(statement, role, quoted, schema))
    return f"{url}{'&' if '?' in url else '?'}options=-c%20role%3D{role}"


def translated(statement: str, role: str, name: str, schema: Schema) -> str:
    """Return a grant of the docs for this role, database and names of tables and columns."""
    statement = statement.replace("TO batch;", f"TO {role}").replace(
        "DATABASE app", f"DATABASE {name}"
    )
    statement = statement.replace("SCHEMA public", f"SCHEMA {quote_identifier(schema.namespace)}")
    found = re.fullmatch(
        r"GRANT (.*?)(?: \(([\w, ]+)\))? ON (SEQUENCE )?([\w, ]+) TO (\w+)", statement
    )
    if found is None or " SCHEMA " in statement or " DATABASE " in statement:
        return statement
    privileges, columns, kind, tables, role = found.groups()
    listed = tables.split(", ")
    if columns is not None:
        names = [schema.column(listed[0], column) for column in columns.split(", ")]
        privileges += f" ({foreign.quoted(names)})"
    names = [table_name(schema, table) for table in listed]
    return f"GRANT {privileges} ON {kind or ''}{', '.join(names)} TO {role}"


async def drop_roles(url: str) -> None:
    async with database.connected(url) as connection:
        for row in await connection.fetch(
            "SELECT rolname::text FROM pg_roles WHERE rolname LIKE 'batch\\_%' AND EXISTS"
            " (SELECT FROM pg_shdepend WHERE refobjid = pg_roles.oid AND dbid ="
            " (SELECT oid FROM pg_database WHERE datname = current_database()))"
        ):
            await connection.execute(f"DROP OWNED BY {row[0]}")
            await connection.execute(f"DROP ROLE {row[0]}")


@pytest_asyncio.fixture
async def roles(url: str) -> AsyncIterator[None]:
    yield
    await drop_roles(url)


SIZE = demo.Size(portfolios=4, symbols=20, sessions=3)
DATA = demo.seeded(SIZE, seed=3)


@pytest_asyncio.fixture
async def listed(host: str) -> AsyncIterator[str]:
    """The URL of a database of the listed names, with a market and portfolios."""
    await DATA.write(host)
    yield host
    await drop_roles(host)


@pytest.fixture(scope="module")
def unwritten_copy(server, template: str) -> Iterator[str]:
    yield from database.shared(server, DATA.write, template)


@pytest_asyncio.fixture
async def unwritten(unwritten_copy: str) -> AsyncIterator[str]:
    """The same database for all tests that write no snapshots."""
    yield unwritten_copy
    await drop_roles(unwritten_copy)
    await execute(unwritten_copy, "TRUNCATE batchcore_runs CASCADE")


async def run_as(url: str, **options: Any) -> batchcore.BatchResult:
    start, end = (date_of(day) for day in (DATA.market.start, DATA.market.end))
    return await batchcore.run_batch(url, start, end, on_existing="replace", **options)


@pytest.mark.parametrize(
    ("more", "options"),
    [
        (None, {"analytics": "portfolio"}),
        (FULL, {"analytics": "full"}),
        (LEGACY, {"policy": "legacy"}),
    ],
    ids=["portfolio", "full", "legacy"],
)
async def test_the_grants_of_the_docs_are_enough(
    listed: str, more: str | None, options: dict[str, str]
) -> None:
    role = await granted(listed, [*grants(RUN), *(grants(more) if more else [])])
    for _ in range(2):  # rows that are new, then rows that stand
        result = await run_as(role, **options)
        assert (result["success"], result.rows_written) == (True, 12)
        assert more == LEGACY or dict(result.analytics_off) == {}
    if more != LEGACY:
        days = DATA.market.days[-3:].tolist()
        assert (await check_rows.check(role, DATA.opening(), days)).differing == 0


async def test_a_plan_needs_only_to_read(unwritten: str) -> None:
    plain = ("GRANT SELECT ON", "GRANT USAGE ON SCHEMA")
    reads = [one for one in grants(RUN) if one.startswith(plain)]
    role = await granted(unwritten, reads)
    result = await run_as(role, settings=Settings(dry_run=True))
    assert result.portfolios.sessions_planned.sum() == 12
    with pytest.raises(SchemaError) as raised:
        await run_as(role)
    told = {problem.partition(": ")[2] for problem in raised.value.problems}
    assert told == {
        *(f"the role may not {what} it" for what in ("SELECT", "INSERT", "UPDATE", "DELETE")),
        "the role may not use it, expected USAGE",
        "the role lacks TEMPORARY on it: GRANT TEMPORARY ON DATABASE ... TO ...",
    }


NEEDED = [
    (paragraph, number)
    for paragraph in (FULL, LEGACY)
    for number in range(len(grants(RUN) + grants(paragraph)))
]


@pytest.mark.parametrize(("paragraph", "number"), NEEDED)
async def test_each_grant_of_the_docs_is_needed(
    unwritten: str, paragraph: str, number: int
) -> None:
    every = grants(RUN) + grants(paragraph)
    role = await granted(unwritten, every[:number] + every[number + 1 :])
    options = {"analytics": "full"} if paragraph == FULL else {"policy": "legacy"}
    with pytest.raises((SchemaError, DatabaseError)):
        await run_as(role, **options)
    assert await fetch(unwritten, "SELECT FROM portfolio_snapshots") == []


@pytest.mark.usefixtures("roles")
async def test_the_grants_are_enough_on_a_host_of_other_names(url: str, schema: Schema) -> None:
    host = database.plain_host(3, [MONDAY, MONDAY + 1])
    await migrate(url, schema=schema)
    await foreign.fill(url, host)
    role = await granted(url, grants(RUN), schema)
    for _ in range(2):
        result = await run(
            role,
            days=[MONDAY, MONDAY + 1],
            analytics="portfolio",
            on_existing="replace",
            settings=Settings(schema=schema),
        )
        assert (result["success"], result.rows_written) == (True, 6)
    stored = await fetch(url, "SELECT DISTINCT nav FROM ledger.accounts")
    assert [row[0] for row in stored] == [1010]
