"""What the server kept is what it was sent, or nothing of the chunk is committed."""

import contextlib
from collections.abc import AsyncIterator
from dataclasses import replace
from decimal import Decimal

import numpy as np
import pytest

import batchcore
from batchcore.calendar import date_of
from batchcore.config import Settings
from batchcore.demo.seed import fill
from batchcore.errors import DatabaseError
from batchcore.frames import Constant, Moment, Table
from batchcore.pg.database import Database
from batchcore.pg.session import Session
from db.test_refused_portfolios import FACTOR, FULL, SESSIONS
from support import database, ledger
from support.outcome import assert_undisturbed
from support.runs import DAYS, run
from support.triggers import acts

HOST = database.plain_host(4, DAYS)
IDS = sorted(database.key(portfolio.id) for portfolio in HOST.portfolios)
ONE = f"NEW.portfolio_id = '{IDS[2]}'"
SNAPSHOTS = "portfolio_snapshots"


SUPPRESSES = f"IF {ONE} THEN RETURN NULL; END IF; RETURN NEW;"
REWRITES = f"IF {ONE} THEN NEW.daily_pnl := 0.01; END IF; RETURN NEW;"
ELSEWHERE = """
    CREATE TABLE elsewhere (LIKE portfolio_snapshots);
""" + acts("INSERT INTO elsewhere VALUES (NEW.*); RETURN NULL;", when="BEFORE INSERT")  # noqa: S608
AFTERWARDS = acts(
    "UPDATE portfolio_snapshots SET num_positions = 9 WHERE id = NEW.id AND num_positions <> 9;"
    " RETURN NULL;",
    when="AFTER INSERT",
)
AT_COMMIT = acts(
    "UPDATE portfolio_snapshots SET num_positions = 9 WHERE id = NEW.id; RETURN NULL;",
    when="AFTER INSERT",
    deferred=True,
)
EQUITY_AT_COMMIT = acts(
    "UPDATE portfolios SET equity_balance = 1 WHERE id = NEW.portfolio_id; RETURN NULL;",
    when="AFTER INSERT",
    deferred=True,
)
PARTITIONED = f"""
    ALTER TABLE {SNAPSHOTS} RENAME TO old;
    CREATE TABLE {SNAPSHOTS} (LIKE old INCLUDING DEFAULTS, UNIQUE (portfolio_id, snapshot_date))
        PARTITION BY LIST (snapshot_date);
    CREATE TABLE first_day PARTITION OF {SNAPSHOTS} FOR VALUES IN ('{date_of(DAYS[0])}');
    CREATE TABLE others PARTITION OF {SNAPSHOTS} DEFAULT;
    DROP TABLE old CASCADE;"""
ALWAYS = acts(SUPPRESSES) + f"ALTER TABLE {SNAPSHOTS} ENABLE {{}} TRIGGER meddling;"

NEW_ROWS = {
    "suppressed": (acts(SUPPRESSES), "3 of 12 rows sent are missing; trigger `meddling`"),
    "rewritten": (acts(REWRITES), "3 of 12 rows sent differ in daily_pnl; trigger `meddling`"),
    "moved": (
        acts(f"IF {ONE} THEN NEW.snapshot_date := NEW.snapshot_date + 40; END IF; RETURN NEW;"),
        "3 of 12 rows sent are missing",
    ),
    "elsewhere": (ELSEWHERE, "12 of 12 rows sent are missing; trigger `meddling`"),
    "afterwards": (AFTERWARDS, "12 of 12 rows sent differ in num_positions"),
    "at commit": (AT_COMMIT, "12 of 12 rows sent differ in num_positions; trigger `meddling`"),
    "deleted": (
        acts(
            f"DELETE FROM {SNAPSHOTS} WHERE {ONE}; RETURN NULL;".replace("NEW.", ""),  # noqa: S608
            when="AFTER INSERT",
            each="STATEMENT",
        ),
        "3 of 12 rows sent are missing",
    ),
    "partition": (
        PARTITIONED + acts("NEW.total_value := 5; RETURN NEW;", table="first_day"),
        "4 of 12 rows sent differ in total_value; trigger `meddling` on first_day",
    ),
    "always": (ALWAYS.format("ALWAYS"), "3 of 12 rows sent are missing"),
    "equities": (
        acts(
            "NEW.equity_balance := OLD.equity_balance; RETURN NEW;",
            table="portfolios",
            when="BEFORE UPDATE",
        ),
        "portfolios: 4 of 4 rows sent differ in equity_balance; trigger `meddling`",
    ),
    "one equity": (
        acts(
            f"RETURN CASE WHEN NEW.id = '{IDS[1]}' THEN NULL ELSE NEW END;",
            table="portfolios",
            when="BEFORE UPDATE",
        ),
        "portfolios: 1 of 4 rows sent differs in equity_balance; trigger `meddling`",
    ),
    "view": (
        "ALTER TABLE portfolios RENAME TO accounts;"  # noqa: S608
        + acts("RETURN NULL;", table="accounts", when="BEFORE UPDATE")
        + "CREATE VIEW portfolios AS SELECT * FROM accounts;",
        "portfolios: 4 of 4 rows sent differ in equity_balance; trigger `meddling` on accounts",
    ),
    "rule": (
        (
            "CREATE TABLE wishes (id uuid, equity numeric);"
            "CREATE RULE wished AS ON UPDATE TO portfolios DO INSTEAD"
            " INSERT INTO wishes VALUES (NEW.id, NEW.equity_balance)"
        ),
        "portfolios: 4 of 4 rows sent differ in equity_balance; rule `wished` on portfolios",
    ),
    "same count": (
        (
            "CREATE TABLE wishes AS SELECT id, equity_balance FROM portfolios;"
            "CREATE RULE wished AS ON UPDATE TO portfolios DO INSTEAD"
            " UPDATE wishes SET equity_balance = NEW.equity_balance WHERE id = NEW.id"
        ),
        "portfolios: 4 of 4 rows sent differ in equity_balance; rule `wished` on portfolios",
    ),
}


@pytest.mark.parametrize(("meddling", "told"), NEW_ROWS.values(), ids=NEW_ROWS)
async def test_what_is_not_kept_of_new_rows_is_an_error_and_nothing_is_committed(
    filled: str, meddling: str, told: str
) -> None:
    await database.execute(filled, meddling)

    with pytest.raises(DatabaseError) as error:
        await run(filled)

    assert told in str(error.value)
    assert "act" in str(error.value)
    assert error.value.sqlstate is None
    assert await database.snapshots(filled) == {}
    assert set((await database.equities(filled)).values()) == {Decimal(1000)}
    assert await ledger.chunks(filled) == []
    (entered,) = await ledger.runs(filled)
    assert (entered["state"], entered["rows_written"]) == ("failed", 0)


REPLACED = {
    "suppressed": (acts(SUPPRESSES), "3 of 12 rows sent differ"),
    "rewritten": (acts(REWRITES), "3 of 12 rows sent differ in daily_pnl"),
    "kept": (acts("RETURN OLD;", when="BEFORE UPDATE"), "12 of 12 rows sent differ"),
    "rule": (
        f"CREATE RULE never AS ON UPDATE TO {SNAPSHOTS} DO INSTEAD NOTHING",
        f"12 of 12 rows sent differ in .*; rule `never` on {SNAPSHOTS} acts on them",
    ),
}


@pytest.mark.parametrize(("meddling", "told"), REPLACED.values(), ids=REPLACED)
async def test_what_is_not_kept_of_rows_replaced_is_an_error(
    filled: str, meddling: str, told: str
) -> None:
    await run(filled)
    await database.execute(filled, "UPDATE positions SET quantity = 20", meddling)
    before, equities = await database.snapshots(filled), await database.equities(filled)

    with pytest.raises(DatabaseError, match=told):
        await run(filled, on_existing="replace")

    assert await database.snapshots(filled) == before
    assert await database.equities(filled) == equities


ROLLED = "UPDATE portfolios SET equity_balance = equity_balance + 5 WHERE id = NEW.{}; RETURN NULL;"
HARMLESS = {
    "equities at commit": EQUITY_AT_COMMIT,
    "rolled": acts(ROLLED.format("portfolio_id"), when="AFTER INSERT OR UPDATE"),
    "stamps": acts("NEW.created_at := 'epoch'; NEW.volatility_trend := 'host'; RETURN NEW;")
    + acts("NEW.updated_at := now(); RETURN NEW;", table="portfolios", name="touched"),
    "audit": "CREATE TABLE audit (portfolio uuid);"  # noqa: S608
    + acts("INSERT INTO audit VALUES (NEW.portfolio_id); RETURN NULL;", when="AFTER INSERT"),
    "off": acts(SUPPRESSES) + f"ALTER TABLE {SNAPSHOTS} DISABLE TRIGGER meddling",
    "replica": ALWAYS.format("REPLICA"),
    "deletes": acts("RETURN NULL;", when="BEFORE DELETE"),
    "inherited": f"CREATE TABLE of_2026 () INHERITS ({SNAPSHOTS});"  # noqa: S608
    + acts("INSERT INTO of_2026 VALUES (NEW.*); RETURN NULL;", when="BEFORE INSERT"),
    "redundant": f"CREATE TRIGGER z_min BEFORE UPDATE ON {SNAPSHOTS} FOR EACH ROW"
    " EXECUTE FUNCTION suppress_redundant_updates_trigger()",
    "also": "CREATE TABLE wishes (id uuid);"
    "CREATE RULE wished AS ON UPDATE TO portfolios DO ALSO INSERT INTO wishes VALUES (NEW.id)",
}


@pytest.mark.parametrize("harmless", HARMLESS.values(), ids=HARMLESS)
async def test_what_a_host_does_beside_is_no_error(filled: str, harmless: str) -> None:
    await database.execute(filled, harmless)

    first = await run(filled)
    await assert_undisturbed(filled, HOST, DAYS)
    again = await run(filled, on_existing="replace")

    assert (first.rows_written, again.rows_written) == (12, 12)
    await assert_undisturbed(filled, HOST, DAYS)


async def test_a_role_of_replication_fires_what_is_enabled_for_it(filled: str) -> None:
    await database.execute(filled, ALWAYS.format("REPLICA"))
    async with database.connected(filled) as connection:
        name = await connection.fetchval("SELECT current_database()")
        await connection.execute(
            f"ALTER DATABASE \"{name}\" SET session_replication_role = 'replica'"
        )
    with pytest.raises(DatabaseError, match="trigger `meddling` on portfolio_snapshots"):
        await run(filled)


async def test_a_trigger_made_after_the_check_is_seen_by_the_count(
    filled: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    writing = Database.writing
    made: list[str] = []

    @contextlib.asynccontextmanager
    async def late(self: Database, phase: str) -> AsyncIterator[Session]:
        if phase == "persist" and not made:
            made.append(phase)
            await database.execute(filled, acts(SUPPRESSES))
        async with writing(self, phase) as session:
            yield session

    monkeypatch.setattr(Database, "writing", late)
    with pytest.raises(DatabaseError, match="3 of 12 rows sent are missing; trigger `meddling`"):
        await run(filled, settings=Settings(connections=2))
    assert await database.snapshots(filled) == {}


@pytest.mark.parametrize("table", ["batchcore_run_chunks", "batchcore_runs"])
async def test_an_entry_that_the_ledger_does_not_keep_is_named(filled: str, table: str) -> None:
    when = "BEFORE INSERT" if table == "batchcore_run_chunks" else "BEFORE UPDATE"
    body = "RETURN NULL;"
    if table == "batchcore_runs":
        body = "RETURN CASE WHEN NEW.chunks > OLD.chunks THEN NULL ELSE NEW END;"
    await database.execute(filled, acts(body, when=when, table=table))

    with pytest.raises(DatabaseError, match=f"trigger `meddling` on {table} acts on it"):
        await run(filled)

    assert await database.snapshots(filled) == {}


@pytest.mark.parametrize(
    ("table", "fault", "written"),
    [
        ("batchcore_run_issues", "UPDATE positions SET exit_date = entry_date - 1", 0),
        # Those of symbols belong to no chunk; they follow the last one.
        ("batchcore_run_symbol_issues", "DELETE FROM market_data_cache", 12),
    ],
)
async def test_an_issue_that_the_ledger_does_not_keep_is_named(
    filled: str, table: str, fault: str, written: int
) -> None:
    await database.execute(filled, fault, acts("RETURN NULL;", when="BEFORE INSERT", table=table))

    with pytest.raises(DatabaseError, match=f"trigger `meddling` on {table} acts on it"):
        await run(filled, settings=Settings(min_coverage=0.0))

    assert len(await database.snapshots(filled)) == written
    (entered,) = await ledger.runs(filled)
    assert (entered["state"], entered["rows_written"]) == ("failed", written)


async def test_in_a_transaction_of_the_callers_the_call_alone_is_undone(filled: str) -> None:
    await database.execute(filled, acts(REWRITES))
    calculator = batchcore.PnLCalculator(calendar="daily", analytics="none")
    async with database.connected(filled) as connection, connection.transaction():
        await connection.execute("UPDATE portfolios SET name = 'usable'")
        with pytest.raises(DatabaseError, match="1 of 4 rows sent differs in daily_pnl"):
            await calculator.calculate_all_portfolios_pnl(date_of(DAYS[0]), connection)
    assert await database.snapshots(filled) == {}
    assert len(await database.fetch(filled, "SELECT FROM portfolios WHERE name = 'usable'")) == 4


async def test_a_fill_that_is_not_kept_is_an_error(host: str) -> None:
    await database.execute(host, acts("RETURN NULL;", when="BEFORE INSERT", table="users"))
    columns = {
        "id": np.zeros((1, 16), dtype=np.uint8),
        **dict.fromkeys(("email", "hashed_password", "full_name"), Constant("x")),
        "is_active": Constant(True),  # noqa: FBT003  # the value
        **dict.fromkeys(("created_at", "updated_at"), Moment(0)),
    }
    with pytest.raises(DatabaseError, match="users: 1 of 1 row sent is missing; trigger"):
        await fill(host, [Table("users", 1, columns)])


THREE = replace(FULL, portfolios=FULL.portfolios[:3])
ANALYTICS = {
    "position_market_betas": "NEW.beta := 0",
    "factor_exposures": "NEW.exposure_dollar := 1",
    "position_factor_exposures": "NEW.quality_flag := 'other'",
    "positions": "NEW.market_value := OLD.market_value",
}


@pytest.mark.parametrize("mode", ["skip", "replace"])
@pytest.mark.parametrize(("table", "change"), ANALYTICS.items(), ids=ANALYTICS)
async def test_what_is_not_kept_of_the_analytics_is_an_error(
    host: str, table: str, change: str, mode: str
) -> None:
    await database.fill(host, THREE)
    await database.execute(host, FACTOR)
    end = date_of(SESSIONS[-1])
    own = sorted(database.key(portfolio.id) for portfolio in THREE.portfolios)
    if mode == "replace":
        await batchcore.run_batch(host, end, end, portfolio_ids=own[:2], analytics="full")
        await database.execute(host, "UPDATE positions SET market_value = NULL")
    await database.execute(host, acts(f"{change}; RETURN NEW;", table=table))
    before = await database.snapshots(host)

    with pytest.raises(DatabaseError) as error:
        await batchcore.run_batch(host, end, end, on_existing=mode, analytics="full")

    column = change.split(maxsplit=1)[0].removeprefix("NEW.")
    assert f"public.{table}: 3 of 3 rows sent differ in {column}; trigger" in str(error.value)
    assert await database.snapshots(host) == before


async def test_an_equity_that_market_values_change_is_what_was_sent(host: str) -> None:
    await database.fill(host, THREE)
    await database.execute(
        host, acts(ROLLED.format("portfolio_id"), table="positions", when="AFTER UPDATE")
    )
    end = date_of(SESSIONS[-1])

    result = await batchcore.run_batch(host, end, end, analytics="full")

    stored = await database.snapshots(host)
    assert (result.rows_written, result.failed) == (3, 0)
    assert await database.equities(host) == {
        own: row["equity_balance"] for (own, _), row in stored.items()
    }


async def test_market_values_that_need_no_update_are_there(host: str) -> None:
    await database.fill(host, THREE)
    end = date_of(SESSIONS[-1])
    stamped = acts("NEW.updated_at := now(); RETURN NEW;", table="positions", when="BEFORE UPDATE")
    await database.execute(host, stamped)
    await batchcore.run_batch(host, end, end, analytics="full")
    again = await batchcore.run_batch(host, end, end, on_existing="replace", analytics="full")
    assert (again.rows_written, again.failed) == (3, 0)  # each already has its market value
