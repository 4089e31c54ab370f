"""What the database refuses of one portfolio fails that portfolio alone, whole (S10)."""

import contextlib
import hashlib
import math
from collections.abc import Callable
from dataclasses import replace
from decimal import Decimal
from functools import partial

import pytest

import batchcore
from batchcore import calendar as calendars
from batchcore import reference as ref
from batchcore.calendar import date_of
from batchcore.config import Settings
from batchcore.errors import DatabaseError, TooManyFailedError
from batchcore.pg.ledger import Ledger
from batchcore.pg.session import Session
from batchcore.run.writing import Bisection
from support import database, ledger, runs
from support.database import Host
from support.outcome import assert_undisturbed
from support.runs import DAYS, run_days
from support.triggers import acts

HOST = database.full_host(7, DAYS, event=DAYS[1], flow=DAYS[2])
IDS = sorted(database.key(portfolio.id) for portfolio in HOST.portfolios)
BAD = IDS[4]
ANY = Settings(max_failed="100%")
run = partial(runs.run, settings=ANY)


def listed(portfolios: tuple[object, ...]) -> str:
    return ", ".join(f"'{portfolio}'" for portfolio in portfolios)


def trigger(
    *portfolios: object,
    action: str = "RAISE EXCEPTION 'no, not %', NEW.{column} USING DETAIL = 'secret';",
    when: str = "BEFORE INSERT OR UPDATE",
    table: str = "portfolio_snapshots",
    deferred: bool = False,
) -> str:
    column = "id" if table == "portfolios" else "portfolio_id"
    refused = f"IF NEW.{column} IN ({listed(portfolios or (BAD,))})"
    body = f"{refused} THEN {action.format(column=column)} END IF; RETURN NEW;"
    return acts(body, when=when, table=table, name="refusing", deferred=deferred)


def check(*portfolios: object) -> str:
    return (
        "ALTER TABLE portfolio_snapshots ADD CONSTRAINT not_these"
        f" CHECK (portfolio_id NOT IN ({listed(portfolios or (BAD,))})) NOT VALID"
    )


FOREIGN_KEY = f"""
    CREATE TABLE desks (id uuid PRIMARY KEY);
    INSERT INTO desks SELECT id FROM portfolios WHERE id <> '{BAD}';
    ALTER TABLE portfolio_snapshots ADD COLUMN desk uuid
        GENERATED ALWAYS AS (portfolio_id) STORED;
    ALTER TABLE portfolio_snapshots ADD CONSTRAINT at_a_desk FOREIGN KEY (desk)
        REFERENCES desks (id) NOT VALID{{deferred}}"""  # noqa: S608

REFUSALS = {
    "check": (check(), "constraint `not_these`"),
    "trigger": (trigger(), "trigger `refusing` on portfolio_snapshots: no, not"),
    "after": (trigger(when="AFTER INSERT OR UPDATE"), "trigger `refusing` on portfolio_snapshots"),
    "deferred": (
        trigger(when="AFTER INSERT OR UPDATE", deferred=True),
        "trigger `refusing` on portfolio_snapshots",
    ),
    "foreign key": (FOREIGN_KEY.format(deferred=""), "constraint `at_a_desk`"),
    "deferred key": (
        FOREIGN_KEY.format(deferred=" DEFERRABLE INITIALLY DEFERRED"),
        "constraint `at_a_desk`",
    ),
    "zero": (trigger(action="PERFORM 1 / (NEW.num_positions - NEW.num_positions);"), "division by"),
    "class 44": (
        trigger(action="RAISE EXCEPTION 'view' USING ERRCODE = '44000';"),
        "trigger `refusing` on portfolio_snapshots: view",
    ),
    "equity": (
        (
            "ALTER TABLE portfolios ADD CONSTRAINT fixed"
            f" CHECK (id <> '{BAD}' OR equity_balance IN (1000, 1113)) NOT VALID"
        ),
        "constraint `fixed`",
    ),
    "equity trigger": (
        trigger(table="portfolios", when="BEFORE UPDATE"),
        "trigger `refusing` on portfolios: no, not",
    ),
}


async def assert_all_but(url: str, *refused: object, host: Host = HOST) -> None:
    """Assert that the rows and equities of all other portfolios are there, and nothing of these."""
    done = {database.key(one.id) for one in host.portfolios} - {*refused}
    await assert_undisturbed(url, host, DAYS, done)


def issues_of(result: batchcore.BatchResult) -> dict[str, str]:
    return {one[1]: one[-1] for one in runs.told(result, "refused_by_database")}


@pytest.mark.parametrize(("refusal", "detail"), REFUSALS.values(), ids=REFUSALS)
async def test_a_portfolio_that_is_refused_fails_alone_and_is_taken_again(
    filled: str, refusal: str, detail: str
) -> None:
    await database.execute(filled, refusal)

    result = await run(filled)

    await assert_all_but(filled, BAD)
    (told,) = issues_of(result).items()
    assert told[0] == str(BAD)
    assert detail in told[1]
    assert "secret" not in told[1]
    assert "Failing row" not in told[1]
    statuses = dict(zip(IDS, result.to_dict()["portfolios"]["status"], strict=True))
    assert statuses == {own: "failed" if own == BAD else "ok" for own in IDS}
    assert (result.failed, result.rows_written, result.chunks, result.retries) == (1, 18, 1, 0)
    (entered,) = await ledger.runs(filled)
    (chunk,) = await ledger.chunks(filled)
    assert (entered["state"], entered["failed"], entered["rows_written"]) == ("incomplete", 1, 18)
    assert (chunk["rows_written"], chunk["sessions"]) == (18, 3)
    assert (chunk["first_portfolio"], chunk["last_portfolio"]) == (IDS[0], IDS[-1])
    (entry,) = await batchcore.runs(filled, run_id=result.run_id)
    (issue,) = entry.issues
    assert (str(issue.portfolio), issue.failed) == (str(BAD), True)
    assert (issue.name, issue.detail) == ("refused_by_database", told[1])

    await database.execute(
        filled,
        "DROP FUNCTION IF EXISTS refusing CASCADE",
        "ALTER TABLE portfolio_snapshots DROP CONSTRAINT IF EXISTS not_these",
        "ALTER TABLE portfolio_snapshots DROP CONSTRAINT IF EXISTS at_a_desk",
        "ALTER TABLE portfolios DROP CONSTRAINT IF EXISTS fixed",
    )
    again = await run(filled)
    assert (again.attempt, again.failed, again.rows_written) == (2, 0, 3)
    await assert_all_but(filled)


async def test_a_margin_account_below_zero_costs_its_own_rows_only(host: str) -> None:
    poor = replace(HOST.portfolios[2], opening_equity=Decimal(-5000))
    hosted = replace(HOST, portfolios=(*HOST.portfolios[:2], poor, *HOST.portfolios[3:]))
    await database.fill(host, hosted)
    await database.execute(host, "ALTER TABLE portfolio_snapshots ADD CHECK (total_value >= 0)")

    result = await run(host)

    own = database.key(poor.id)
    await assert_all_but(host, own, host=hosted)
    ((portfolio, detail),) = issues_of(result).items()
    assert portfolio == str(own)
    assert detail == (
        "constraint `portfolio_snapshots_total_value_check`: new row for relation"
        ' "portfolio_snapshots" violates check constraint "portfolio_snapshots_total_value_check"'
    )


WITH_ITS_SNAPSHOT = acts(
    "IF NEW.equity_balance IS DISTINCT FROM (SELECT s.equity_balance FROM portfolio_snapshots s"
    " WHERE s.portfolio_id = NEW.id ORDER BY s.snapshot_date DESC LIMIT 1)"
    " THEN RAISE EXCEPTION 'the equity is not that of the latest snapshot'; END IF; RETURN NULL;",
    when="AFTER UPDATE",
    table="portfolios",
    deferred=True,
)


async def test_what_is_deferred_is_checked_after_all_rows_of_each_part(filled: str) -> None:
    await database.execute(filled, WITH_ITS_SNAPSHOT, REFUSALS["check"][0])

    result = await run(filled)

    await assert_all_but(filled, BAD)
    assert [*issues_of(result)] == [str(BAD)]


@pytest.mark.parametrize("refusal", ["check", "deferred", "zero", "equity trigger"])
async def test_a_portfolio_that_is_refused_keeps_the_rows_that_it_had(
    filled: str, refusal: str
) -> None:
    await run(filled)
    before, equities = await database.snapshots(filled), await database.equities(filled)
    await database.execute(filled, "UPDATE positions SET quantity = 20", REFUSALS[refusal][0])

    result = await run(filled, on_existing="replace")

    after, changed = await database.snapshots(filled), await database.equities(filled)
    assert {at[0] for at in after if after[at] != before[at]} == {*IDS} - {BAD}
    assert {own for own in IDS if changed[own] != equities[own]} == {*IDS} - {BAD}
    assert (list(issues_of(result)), result.rows_written) == ([str(BAD)], 18)


@pytest.mark.parametrize("refused", [IDS[:1], IDS[-1:], IDS[2:5], IDS[::2], IDS[1:], IDS], ids=str)
async def test_any_of_them_may_be_refused(same_filled: str, refused: list[object]) -> None:
    await database.execute(same_filled, check(*refused))
    try:
        result = await run(same_filled)
    finally:
        await database.execute(
            same_filled, "ALTER TABLE portfolio_snapshots DROP CONSTRAINT not_these"
        )

    await assert_all_but(same_filled, *refused)
    assert set(issues_of(result)) == {str(own) for own in refused}
    (entered,) = await ledger.runs(same_filled)
    assert (entered["failed"], entered["rows_written"]) == (len(refused), 3 * (7 - len(refused)))


async def test_a_chunk_of_one_portfolio_is_entered_without_rows(filled: str) -> None:
    await database.execute(filled, check())

    result = await run(filled, settings=Settings(chunk_size=1, max_failed="1"))

    await assert_all_but(filled, BAD)
    rows = {
        chunk["first_portfolio"]: chunk["rows_written"] for chunk in await ledger.chunks(filled)
    }
    assert rows == {own: 0 if own == BAD else 3 for own in IDS}
    assert result.failed == 1


async def test_more_refusals_than_may_stop_the_run_with_the_reason(
    filled: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    await database.execute(
        filled,
        "CREATE TABLE batches (id int PRIMARY KEY)",
        "ALTER TABLE portfolio_snapshots ADD COLUMN batch int NOT NULL DEFAULT 7"
        " CONSTRAINT of_a_batch REFERENCES batches",
    )
    attempts = counted(monkeypatch)

    with pytest.raises(
        TooManyFailedError, match="refused the last portfolio: constraint `of_a"
    ) as error:
        await run(filled, settings=Settings(max_failed="2"))

    assert (error.value.failed, error.value.allowed) == (3, 2)
    assert await database.snapshots(filled) == {}
    assert await ledger.chunks(filled) == []
    assert len(attempts) <= 3 * 2 * 3  # three portfolios, of 7 that are halved three times
    await database.execute(filled, "INSERT INTO batches VALUES (7)")
    again = await run(filled)
    assert (again.attempt, again.failed) == (2, 0)
    await assert_all_but(filled)


def counted(monkeypatch: pytest.MonkeyPatch) -> list[object]:
    """Return the attempts of parts, which are appended as they are made."""
    attempts: list[object] = []
    attempt = Bisection.attempt

    async def noted(self: Bisection, batch: object) -> DatabaseError | None:
        attempts.append(batch)
        return await attempt(self, batch)

    monkeypatch.setattr(Bisection, "attempt", noted)
    return attempts


async def test_attempts_grow_with_the_logarithm_of_the_chunk(
    host: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    many = database.plain_host(200, DAYS)
    own = sorted(database.key(portfolio.id) for portfolio in many.portfolios)
    await database.fill(host, many)
    await database.execute(host, check(own[0], own[77], own[199]))
    attempts = counted(monkeypatch)

    result = await run(host)

    assert (result.failed, result.rows_written) == (3, 3 * 197)
    assert len(attempts) <= 3 * 2 * math.ceil(math.log2(200))


async def test_the_hash_of_a_chunk_is_that_of_the_bytes_that_stayed(
    filled: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    await run(filled, portfolio_ids=IDS[:3])
    await database.execute(filled, "UPDATE positions SET quantity = 20", check(IDS[1], IDS[5]))
    sent: list[bytes] = []
    marks: list[int] = []
    copy_in, execute, fenced = Session.copy_in, Session.execute, Ledger.fenced

    async def copied(self: Session, table: str, columns: list[str], pieces, **options) -> int:
        if table != "batchcore_run_issues":
            sent.extend(pieces)
        return await copy_in(self, table, columns, pieces, **options)

    async def executed(self: Session, sql: str) -> int:
        if sql.startswith("SAVEPOINT"):
            marks.append(len(sent))
        elif sql.startswith("ROLLBACK TO"):
            del sent[marks.pop() :]
        return await execute(self, sql)

    def begun(*arguments: object) -> contextlib.AbstractAsyncContextManager[None]:
        sent.clear()
        return fenced(*arguments)

    monkeypatch.setattr(Session, "copy_in", copied)
    monkeypatch.setattr(Session, "execute", executed)
    monkeypatch.setattr(Ledger, "fenced", begun)
    result = await run(filled, on_existing="replace")

    *_, chunk = await ledger.chunks(filled)
    assert chunk["sha256"] == hashlib.sha256(b"".join(sent)).hexdigest()
    assert chunk["rows_written"] == result.rows_written == 15
    assert result.bytes_written == sum(map(len, sent))


@pytest.mark.parametrize("policy", ["rollforward", "legacy"])
async def test_both_policies_go_on_without_a_portfolio_that_is_refused(
    make_database: Callable, template: str, policy: str
) -> None:
    stored = []
    for refusal in (None, check(IDS[0], IDS[4])):
        url = await make_database(template)
        await database.fill(url, HOST)
        if refusal is not None:
            await database.execute(url, refusal)
        result = await run_days(
            url, DAYS[0], DAYS[-1], policy=policy, analytics="none", settings=ANY
        )
        stored.append(database.without_stamps(await database.snapshots(url)))
    whole, left = stored
    assert left == {at: row for at, row in whole.items() if at[0] not in {IDS[0], IDS[4]}}
    assert left
    assert result.failed == 2


async def test_another_unique_key_of_the_host_refuses_at_once(filled: str) -> None:
    await database.execute(
        filled,
        "CREATE UNIQUE INDEX one_of_two ON portfolio_snapshots (snapshot_date,"
        f" (CASE WHEN portfolio_id IN ('{IDS[2]}', '{BAD}') THEN 1 END))",
    )

    result = await run(filled)

    await assert_all_but(filled, BAD)
    assert (result.retries, result.consistent) == (0, True)
    assert "constraint `one_of_two`" in issues_of(result)[str(BAD)]


FORBID = (
    "CREATE FUNCTION forbid() RETURNS event_trigger LANGUAGE plpgsql AS $$"
    " BEGIN RAISE EXCEPTION 'no tables today'; END $$; CREATE EVENT TRIGGER forbidding ON "
)


@pytest.mark.parametrize("tag", ["CREATE TABLE AS", "DROP TABLE"])
async def test_a_temporary_table_that_is_refused_is_no_refusal_of_a_portfolio(
    filled: str, tag: str
) -> None:
    when = f"ddl_command_start WHEN TAG IN ('{tag}') EXECUTE FUNCTION forbid()"
    await database.execute(filled, FORBID + when)
    told = (
        "^an event trigger keeps rows from being updated, as that takes a temporary table,"
        r" which it has to let pass: function `forbid\(\)`: no tables today$"
    )
    with pytest.raises(DatabaseError, match=told):
        await run(filled)


async def test_a_host_that_forbids_to_drop_tables_is_written(filled: str) -> None:
    await database.execute(filled, FORBID + "sql_drop EXECUTE FUNCTION forbid()")

    for mode in ("skip", "replace"):
        assert (await run(filled, on_existing=mode, resume=False)).rows_written == 21


async def test_a_table_that_the_role_may_not_use_is_no_refusal_of_a_portfolio(filled: str) -> None:
    await database.execute(filled, trigger(action="PERFORM * FROM no_such_table;"))

    with pytest.raises(DatabaseError, match="no_such_table") as error:
        await run(filled)

    assert error.value.sqlstate == "42P01"
    assert await database.snapshots(filled) == {}


@pytest.mark.parametrize(("refusal", "chunk_size"), [("check", None), ("after", 2)])
async def test_in_a_transaction_of_the_callers_the_others_are_written(
    filled: str, refusal: str, chunk_size: int | None
) -> None:
    await database.execute(filled, REFUSALS[refusal][0])
    calculator = batchcore.PnLCalculator(
        replace(ANY, chunk_size=chunk_size), calendar="daily", analytics="none"
    )
    async with database.connected(filled) as connection, connection.transaction():
        await connection.execute("UPDATE portfolios SET name = 'seen'")
        results = [
            await calculator.calculate_all_portfolios_pnl(date_of(day), connection) for day in DAYS
        ]
        assert await connection.fetchval("SELECT count(*) FROM batchcore_runs") == 0

    await assert_all_but(filled, BAD)
    for result in results:
        assert list(issues_of(result)) == [str(BAD)]
        assert (result.failed, result.rows_written) == (1, 6)
    names = await database.fetch(filled, "SELECT DISTINCT name FROM portfolios")
    assert [name[0] for name in names] == ["seen"]


async def test_too_many_refusals_leave_the_transaction_of_the_caller_usable(filled: str) -> None:
    await database.execute(filled, check(*IDS))
    calculator = batchcore.PnLCalculator(calendar="daily", analytics="none")
    async with database.connected(filled) as connection, connection.transaction():
        with pytest.raises(TooManyFailedError, match="2 of 7 portfolios failed; the limit is 1"):
            await calculator.calculate_all_portfolios_pnl(date_of(DAYS[0]), connection)
        await connection.execute("UPDATE portfolios SET name = 'usable'")
    assert await database.snapshots(filled) == {}


SESSIONS = calendars.load("XNYS").last_sessions(20635, 100).tolist()
SWINGING = tuple(
    (symbol, day, Decimal(high if row % 2 else low))
    for symbol, low, high in (("SPY", 100, 110), ("AAA", 50, 60))
    for row, day in enumerate(SESSIONS)
)
HELD = ref.Position("AAA", "LONG", Decimal(10), Decimal(10), SESSIONS[0])
FULL = Host(tuple(ref.Portfolio(f"p{n}", Decimal(1000), (HELD,)) for n in range(5)), SWINGING)
FACTOR = """
    INSERT INTO factor_definitions (id, name, factor_type, calculation_method, etf_proxy,
        display_order, is_active, created_at, updated_at)
    VALUES (gen_random_uuid(), 'Market', 'style', 'regression', 'SPY', 1, true, now(), now())"""
TABLES = {
    "positions": "portfolio_id NOT IN ({}) OR market_value IS NULL",
    "position_market_betas": "portfolio_id NOT IN ({})",
    "factor_exposures": "portfolio_id NOT IN ({})",
}


@pytest.mark.parametrize("mode", ["skip", "replace"])
@pytest.mark.parametrize("table", [*TABLES, "position_factor_exposures"])
async def test_analytics_may_refuse_a_portfolio_too(host: str, table: str, mode: str) -> None:
    await database.fill(host, FULL)
    own = sorted(database.key(portfolio.id) for portfolio in FULL.portfolios)
    await database.execute(host, FACTOR)
    end = date_of(SESSIONS[-1])
    if mode == "replace":
        await batchcore.run_batch(host, end, end, portfolio_ids=own[3:], analytics="full")
        await database.execute(host, "UPDATE positions SET market_value = NULL, quantity = 20")
    condition = TABLES.get(table, "").format(f"'{own[4]}'")
    if table not in TABLES:
        positions = await database.fetch(
            host,
            f"SELECT id FROM positions WHERE portfolio_id = '{own[4]}'",  # noqa: S608
        )
        condition = f"position_id <> '{positions[0][0]}'"
    await database.execute(
        host, f"ALTER TABLE {table} ADD CONSTRAINT not_this CHECK ({condition}) NOT VALID"
    )

    result = await batchcore.run_batch(
        host, end, end, on_existing=mode, analytics="full", settings=ANY
    )

    assert list(issues_of(result)) == [str(own[4])]
    assert "constraint `not_this`" in issues_of(result)[str(own[4])]
    assert (result.failed, result.rows_written) == (1, 4)
    moment = "(SELECT max(created_at) FROM batchcore_runs)"
    for name in ("position_market_betas", "factor_exposures"):
        rows = await database.fetch(
            host,
            f"SELECT portfolio_id FROM {name} WHERE updated_at = {moment} ORDER BY 1",  # noqa: S608
        )
        assert [row[0] for row in rows] == own[:4]
    rows = await database.fetch(
        host, "SELECT portfolio_id FROM positions WHERE market_value IS NOT NULL ORDER BY 1"
    )
    assert [row[0] for row in rows] == own[:4]


async def test_a_part_may_have_no_rows_of_a_table(host: str) -> None:
    bare = ref.Portfolio("bare", Decimal(1000))
    held = FULL.portfolios[0]
    await database.fill(host, replace(FULL, portfolios=(bare, held)))
    end, own = date_of(SESSIONS[-1]), database.key(held.id)
    await batchcore.run_batch(host, end, end, analytics="full")
    await database.execute(host, "UPDATE positions SET quantity = 20", check(own))

    result = await batchcore.run_batch(
        host, end, end, on_existing="replace", analytics="full", settings=ANY
    )

    assert list(issues_of(result)) == [str(own)]
    assert (result.failed, result.rows_written) == (1, 1)
