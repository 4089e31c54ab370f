"""What the ledger keeps: runs, chunks with the hash of their bytes, and who failed and why."""

import datetime as dt
import hashlib
import json
import logging
import uuid
from collections.abc import Awaitable, Callable
from dataclasses import replace
from decimal import Decimal
from functools import partial
from typing import Any

import pytest

import batchcore
from batchcore.about import core_version
from batchcore.calendar import date_of
from batchcore.config import Settings
from batchcore.errors import DatabaseError, TooManyFailedError
from batchcore.pg.session import Session
from support import database, ledger, runs
from support.callers import BORROWED, OWN, caller
from support.runs import DAYS, ONE_EACH

HOST = database.plain_host(5, DAYS)
IDS = sorted(database.key(portfolio.id) for portfolio in HOST.portfolios)
MakeDatabase = Callable[..., Awaitable[str]]
START, END = date_of(DAYS[0]), date_of(DAYS[-1])
run = partial(runs.run, settings=ONE_EACH)
HUGE = "UPDATE positions SET quantity = 999999999999, position_type = 'LC' WHERE portfolio_id = $1"
"""A hundred times 11 of each do not fit a column of 14 digits: the portfolio fails (S10)."""


async def told_of(url: str, result: batchcore.BatchResult) -> batchcore.RunStatus:
    (found,) = await batchcore.runs(url, run_id=result.run_id)
    return found


async def let_fail(url: str, *portfolios: object) -> None:
    async with database.connected(url) as connection:
        for portfolio in portfolios:
            await connection.execute(HUGE, portfolio)


async def test_a_run_says_what_was_asked_for_and_what_became_of_it(same_filled: str) -> None:
    result = await run(same_filled, portfolio_ids=IDS[:3], settings=Settings(chunk_size=2))

    (row,) = await ledger.runs(same_filled)
    assert str(row["id"]) == result.run_id
    asked = json.loads(row["asked"])
    told = {name: asked[name] for name in ("policy", "calendar", "start", "end", "on_existing")}
    assert told == {
        "policy": "rollforward",
        "calendar": "daily",
        "start": START.isoformat(),
        "end": END.isoformat(),
        "on_existing": "skip",
    }
    assert row["portfolio_ids"] == IDS[:3]
    assert json.loads(row["configuration"])["chunk_size"] == 2
    assert (row["code_version"], row["state"], row["attempt"]) == (core_version, "complete", 1)
    assert (row["start_date"], row["end_date"]) == (START, END)
    counts = ("portfolios", "failed", "chunks", "rows_written", "error")
    assert [row[name] for name in counts] == [3, 0, 2, 9, None]
    assert row["ended_at"] >= row["started_at"]
    assert 0 < row["seconds"] < (row["ended_at"] - row["started_at"]).total_seconds() + 5
    stamps = {one["created_at"] for one in (await database.snapshots(same_filled)).values()}
    assert stamps == {row["created_at"]}
    xmin, xmax, *_ = row["snapshot_id"].split(":")
    assert int(xmin) <= int(xmax)
    async with database.connected(same_filled) as connection:
        lsn = "SELECT $1::text::pg_lsn <= pg_current_wal_lsn()"
        assert await connection.fetchval(lsn, row["lsn"])
    assert (await told_of(same_filled, result)).symbol_issues == ()


@pytest.mark.parametrize("analytics", ["none", "full"])
@pytest.mark.parametrize("mode", ["skip", "replace"])
async def test_the_hash_of_a_chunk_is_that_of_the_bytes_sent(
    same_filled: str, monkeypatch: pytest.MonkeyPatch, analytics: str, mode: str
) -> None:
    if mode == "replace":
        await run(same_filled, portfolio_ids=IDS[:1])
    sent: list[tuple[str, bytes]] = []
    copy_in = Session.copy_in

    async def noted(self: Session, table: str, columns: list[str], pieces, **options) -> int:
        sent.append((table, b"".join(pieces)))
        return await copy_in(self, table, columns, pieces, **options)

    monkeypatch.setattr(Session, "copy_in", noted)
    result = await run(
        same_filled, on_existing=mode, analytics=analytics, settings=Settings(connections=2)
    )

    (*_, entry) = await ledger.chunks(same_filled)
    digest = hashlib.sha256(
        b"".join(data for table, data in sent if table != "batchcore_run_issues")
    )
    assert entry["sha256"] == digest.hexdigest()
    assert str(entry["run_id"]) == result.run_id
    assert (entry["first_portfolio"], entry["last_portfolio"]) == (IDS[0], IDS[-1])
    assert (entry["first_session"], entry["last_session"]) == (START, END)
    assert (entry["sessions"], entry["rows_written"], entry["chunk"]) == (3, 15, 0)


async def test_a_run_leaves_how_its_portfolios_were_marked_and_how_long_it_took(
    same_filled: str,
) -> None:
    await let_fail(same_filled, IDS[1])
    result = await run(same_filled, settings=replace(ONE_EACH, max_failed="50%"))

    told = await told_of(same_filled, result)

    assert told.portfolios_by_status == {
        **dict.fromkeys(("ok", "lookback", "stale", "unpriced", "skipped", "failed"), 0),
        "ok": 4,
        "failed": 1,
    }
    assert set(told.seconds_by_phase) == set(result.seconds_by_phase)
    assert 0 < told.seconds_by_phase["total"] <= result.seconds_by_phase["total"]
    assert "outcome" not in told.configuration
    (listed,) = await batchcore.runs(same_filled)
    assert listed.to_dict()["portfolios_by_status"]["failed"] == 1


async def test_who_failed_and_why_is_one_row_for_each_portfolio_and_name(same_filled: str) -> None:
    await let_fail(same_filled, IDS[1])
    await database.execute(  # two flows without an amount of their own date are two bad flows
        same_filled,
        "ALTER TABLE equity_changes ALTER amount DROP NOT NULL",
        *(
            "INSERT INTO equity_changes (id, portfolio_id, change_type, change_date,"
            " created_by_user_id, created_at, updated_at) SELECT gen_random_uuid(),"
            f" '{IDS[3]}', 'CONTRIBUTION', '{date_of(day)}', gen_random_uuid(), now(), now()"
            for day in DAYS[:2]
        ),
    )
    try:
        result = await run(same_filled, settings=Settings(chunk_size=2))
    finally:
        await database.execute(
            same_filled,
            "DELETE FROM equity_changes",
            "ALTER TABLE equity_changes ALTER amount SET NOT NULL",
        )

    assert result.issues_by_name() == {"bad_flow": 2, "out_of_range": 1}
    rows = await database.fetch(
        same_filled,
        "SELECT portfolio_id, name, failed, count, session, chunk, detail"
        " FROM batchcore_run_issues ORDER BY name",
    )
    bad, out = rows
    assert tuple(bad)[:6] == (IDS[3], "bad_flow", False, 2, None, 1)
    assert tuple(out)[:6] == (IDS[1], "out_of_range", True, 1, START, 0)
    assert "long_value" in out["detail"]
    (row,) = await ledger.runs(same_filled)
    assert (row["state"], row["failed"]) == ("incomplete", 1)


async def test_portfolios_that_fail_before_a_chunk_are_counted(same_filled: str) -> None:
    saturday = dt.date(2026, 1, 10)
    result = await batchcore.run_batch(same_filled, saturday, saturday, policy="legacy")  # L2
    assert result.failed == 5
    (row,) = await ledger.runs(same_filled)
    assert (row["state"], row["failed"], row["chunks"]) == ("incomplete", 5, 0)
    told = (await told_of(same_filled, result)).issues
    assert sorted((one.portfolio, one.failed, one.chunk) for one in told) == [
        (str(portfolio), True, None) for portfolio in IDS
    ]
    assert {one.name for one in told} == set(result.issues_by_name())


async def test_what_is_noticed_without_a_row_is_entered_by_each_attempt(same_filled: str) -> None:
    deleted, holed = IDS[0], IDS[3]
    gone = f"UPDATE portfolios SET deleted_at = now() WHERE id = '{deleted}'"  # noqa: S608
    await run(same_filled)
    await database.execute(
        same_filled,
        gone,
        f"DELETE FROM portfolio_snapshots WHERE portfolio_id = '{holed}'"  # noqa: S608
        f" AND snapshot_date = '{date_of(DAYS[1])}'",
    )
    expected = [(str(deleted), "soft_deleted"), (str(holed), "gap")]

    for attempt, left in ((1, "complete"), (2, "complete")):
        result = await run(same_filled, portfolio_ids=IDS)
        assert (result.attempt, result.nothing_to_do) == (attempt, True)
        found = await told_of(same_filled, result)
        assert found.state == left
        told = [(one.portfolio, one.name, one.failed) for one in found.issues]
        assert sorted(told) == sorted((*one, False) for one in expected)
        await ledger.kill(same_filled)
        stuck = await told_of(same_filled, result)
        assert (stuck.state, stuck.issues) == ("stuck", found.issues)

    await database.execute(same_filled, "UPDATE portfolios SET deleted_at = NULL")
    result = await run(same_filled, portfolio_ids=IDS)
    assert result.attempt == 3
    told = (await told_of(same_filled, result)).issues
    assert [(one.portfolio, one.name) for one in told] == expected[1:]


@pytest.mark.parametrize("limit", ["2", "40%"])
async def test_more_failures_than_may_stop_the_run_before_the_chunk(
    same_filled: str, limit: str
) -> None:
    await let_fail(same_filled, IDS[0], IDS[2], IDS[3])
    settings = replace(ONE_EACH, max_failed=limit)

    with pytest.raises(
        TooManyFailedError, match="3 of 5 portfolios failed; the limit is 2"
    ) as caught:
        await run(same_filled, settings=settings)

    assert (caught.value.failed, caught.value.allowed) == (3, 2)
    (row,) = await ledger.runs(same_filled)
    assert row["state"] == "failed"
    assert row["error"].startswith("TooManyFailedError: 3 of 5")
    (told,) = await batchcore.runs(same_filled)
    assert told.seconds_by_phase["total"] > 0
    assert sum(told.portfolios_by_status.values()) == 5
    done = {at[0] for at in await database.snapshots(same_filled)}
    assert done <= {IDS[1]}  # the two chunks before may have been at work still
    failed = await database.fetch(same_filled, "SELECT portfolio_id FROM batchcore_run_issues")
    assert {one[0] for one in failed} <= {IDS[0], IDS[2]}
    assert len(failed) == row["failed"]
    await database.execute(
        same_filled, "UPDATE positions SET quantity = 10, position_type = 'LONG'"
    )
    mended = await run(same_filled, settings=settings)
    assert (mended.attempt, mended.failed) == (2, 0)
    assert mended.rows_written == 3 * (5 - len(done))


@pytest.mark.parametrize(("failing", "limit"), [(1, "1%"), (2, "2"), (2, "40%"), (3, "100%")])
async def test_as_many_failures_as_may_are_failures_of_portfolios(
    same_filled: str, failing: int, limit: str
) -> None:
    await let_fail(same_filled, *IDS[:failing])
    result = await run(same_filled, settings=replace(ONE_EACH, max_failed=limit))
    assert (result.failed, result.rows_written) == (failing, 3 * (5 - failing))


async def test_old_runs_are_forgotten_when_a_run_ends(same_filled: str) -> None:
    day = dt.timedelta(days=1)
    kept, old, stuck = [
        (await run(same_filled, portfolio_ids=IDS[:1], resume=False)).run_id for _ in range(3)
    ]
    async with database.connected(same_filled) as connection:
        now = await connection.fetchval("SELECT clock_timestamp()")
        for run_id, age, state in ((kept, 9, "failed"), (old, 11, "complete"), (stuck, 11, "x")):
            await connection.execute(
                "UPDATE batchcore_runs SET ended_at = $2, state = $3 WHERE id = $1",
                run_id,
                None if state == "x" else now - age * day,
                "running" if state == "x" else state,
            )
            await connection.execute(
                "UPDATE batchcore_run_heartbeats SET expires_at = $2 WHERE run_id = $1",
                run_id,
                now - age * day,
            )
    last = await run(
        same_filled, portfolio_ids=IDS[1:2], settings=replace(ONE_EACH, ledger_days=10)
    )

    assert {str(row["id"]) for row in await ledger.runs(same_filled)} == {kept, last.run_id}
    for table in ("run_chunks", "run_heartbeats"):
        found = await database.fetch(same_filled, f"SELECT run_id FROM batchcore_{table}")  # noqa: S608
        assert {str(row["run_id"]) for row in found} <= {kept, last.run_id}


async def test_steps_are_logged_in_order(
    same_filled: str, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.DEBUG, "batchcore"):
        result = await run(same_filled, settings=Settings(connections=2))
    steps = [one.message for one in caplog.records if " step=" in one.message]
    writes = ("begun", "equities", "copied", "ledger", "fenced", "committed")
    assert steps == [
        *(f"run={result.run_id} step={name}" for name in ("lease", "snapshot", "planned")),
        *(f"run={result.run_id} step={name} chunk=0" for name in ("loaded", "computed", *writes)),
        f"run={result.run_id} step=finished",
    ]


# What `batchcore status` reads.


async def test_status_tells_runs_the_latest_first_a_live_and_a_stuck_one(same_filled: str) -> None:
    assert await batchcore.runs(same_filled) == []
    first = await run(same_filled, portfolio_ids=IDS[:1])
    await ledger.kill(same_filled)
    await ledger.expire(same_filled, 60)
    assert [one.state for one in await batchcore.runs(same_filled)] == ["running"]
    await ledger.expire(same_filled)
    second = await run(same_filled, portfolio_ids=IDS[1:])

    found = await batchcore.runs(same_filled)

    assert [one.run_id for one in found] == [second.run_id, first.run_id]
    assert [one.state for one in found] == ["complete", "stuck"]
    assert [one.portfolios_asked for one in found] == [4, 1]
    assert (await batchcore.runs(same_filled, limit=1))[0].run_id == second.run_id
    with pytest.raises(batchcore.ConfigError, match="limit is 0"):
        await batchcore.runs(same_filled, limit=0)


@pytest.mark.parametrize("kind", OWN + BORROWED)
async def test_runs_are_told_on_every_kind_of_db(same_filled: str, kind: str) -> None:
    result = await run(same_filled)
    async with caller(same_filled, kind) as own:
        (found,) = await batchcore.runs(own.db)
        assert (await batchcore.runs(own.db, run_id=uuid.UUID(result.run_id)))[0].chunks == 5
    assert (found.run_id, found.state) == (result.run_id, "complete")
    assert (found.start_date, found.end_date) == (START, END)
    assert found.asked["on_existing"] == "skip"
    assert found.created_at <= found.started_at <= (found.ended_at or found.started_at)
    assert found.created_at.utcoffset() == dt.timedelta(0)
    assert (found.chunks_committed, found.issues) == ((), ())


async def test_status_of_one_run_has_its_chunks_and_issues(same_filled: str) -> None:
    await let_fail(same_filled, IDS[4])
    result = await run(same_filled, settings=Settings(chunk_size=3))

    found = await told_of(same_filled, result)

    document = found.to_dict()
    assert json.loads(json.dumps(document, allow_nan=False)) == document
    assert (found.state, found.failed, found.rows_written) == ("incomplete", 1, 12)
    assert [chunk.rows_written for chunk in found.chunks_committed] == [9, 3]
    (issue,) = found.issues
    assert (issue.portfolio, issue.name, issue.failed) == (*(str(IDS[4]), "out_of_range", True),)
    for unknown, told in (("x", "is not a UUID"), (str(IDS[0]), "there is no run")):
        with pytest.raises(batchcore.ConfigError, match=told):
            await batchcore.runs(same_filled, run_id=unknown)


@pytest.mark.parametrize(
    ("change", "told"),
    [
        ("UPDATE {} SET version_num = '0002'", "at revision 0002, expected 0006: run `batchcore"),
        ("UPDATE {} SET version_num = '9999'", "revision 9999, which this batchcore does not know"),
        ("DROP TABLE {}", "batchcore has not prepared the schema `public`: run `batchcore migr"),
    ],
    ids=["older", "newer", "none"],
)
async def test_a_run_on_another_revision_enters_nothing(host: str, change: str, told: str) -> None:
    await database.execute(host, change.format("batchcore_alembic_version"))
    with pytest.raises(batchcore.SchemaError, match=told):
        await run(host)
    assert await ledger.runs(host) == []


async def test_a_run_that_is_refused_is_entered_as_failed(same_host: str) -> None:
    with pytest.raises(batchcore.ConfigError, match="unknown portfolio"):
        await run(same_host, portfolio_ids=IDS[:1])
    (row,) = await ledger.runs(same_host)
    assert (row["state"], row["chunks"]) == ("failed", 0)
    assert row["error"].startswith("ConfigError: unknown portfolio")


TEXTS = {
    "another script": ("caf\u00e9 \u65e5", "caf\\xe9 \\u65e5"),
    "a zero": ("a\0b \u00e9", "a\\x00b \u00e9"),
    "half a character": ("\ud800", "\\ud800"),
}


@pytest.mark.parametrize(("said", "kept"), TEXTS.values(), ids=TEXTS)
async def test_an_error_whose_text_the_database_cannot_store_gives_the_lease_back(
    make_database: MakeDatabase, server: Any, said: str, kept: str
) -> None:
    url = await database.encoded(make_database, server, "LATIN1")
    await database.fill(url, HOST)

    def progress(phase: str, *_: object) -> None:
        if phase == "persist":
            raise RuntimeError(said)

    with pytest.raises(RuntimeError):
        await run(url, progress=progress)

    (row,) = await ledger.runs(url)
    assert (row["state"], row["error"]) == ("failed", f"RuntimeError: {kept}")
    assert (await run(url)).attempt == 2
    assert [one["state"] for one in await ledger.runs(url)] == ["complete"]


async def test_a_ledger_that_may_not_be_written_stops_the_run_at_once(filled: str) -> None:
    async with database.connected(filled) as connection:
        name = await connection.fetchval("SELECT current_database()")
        await connection.execute(f'ALTER DATABASE "{name}" SET default_transaction_read_only = on')
    with pytest.raises(DatabaseError, match="read-only"):
        await run(filled)
    assert await database.snapshots(filled) == {}
    assert (await database.equities(filled))[IDS[0]] == Decimal(1000)


async def test_what_was_noticed_of_symbols_is_kept_once_for_each_attempt(same_filled: str) -> None:
    """Two spellings of one symbol on every session, and a symbol without any close."""
    async with database.connected(same_filled) as connection:
        await database.add_prices(connection, [("aaa", day, Decimal(5)) for day in DAYS])
        await connection.execute(
            "UPDATE positions SET symbol = 'LOST' WHERE portfolio_id = ANY($1)", IDS[:2]
        )
    result = await run(same_filled, settings=Settings(min_coverage=0.0, chunk_size=1))

    found = (await told_of(same_filled, result)).symbol_issues
    assert [(one.name, one.symbol, one.count, one.attempt) for one in found] == [
        ("duplicate_price", "AAA", 1, 1),
        ("unpriced", "LOST", 1, 1),
    ]
    duplicate, unpriced = found
    assert duplicate.session == START
    assert unpriced.detail == f"6 lot-sessions until {END}"


async def test_a_run_that_failed_keeps_what_it_noticed_of_symbols(same_filled: str) -> None:
    await database.add_prices(same_filled, [("aaa", DAYS[0], Decimal(11))])
    await let_fail(same_filled, *IDS[:2])
    with pytest.raises(TooManyFailedError):
        await run(same_filled, settings=replace(ONE_EACH, max_failed="0"))
    await run(same_filled, settings=replace(ONE_EACH, max_failed=2))

    (row,) = await ledger.runs(same_filled)
    (kept,) = await batchcore.runs(same_filled, run_id=row["id"])
    assert [(one.name, one.symbol, one.attempt) for one in kept.symbol_issues] == [
        ("duplicate_price", "AAA", 1),
        ("duplicate_price", "AAA", 2),
    ]


@pytest.mark.parametrize("options", [{}, {"portfolio_ids": IDS[:2]}, {"shard": (1, 2)}])
async def test_a_run_looks_through_the_ledger_once_however_often_it_has_failed(
    same_filled: str, monkeypatch: pytest.MonkeyPatch, options: dict[str, Any]
) -> None:
    shard, fetch, sent = options.pop("shard", None), Session.fetch, []
    asked = partial(run, settings=replace(ONE_EACH, shard=shard), **options)

    async def noted(session: Session, query: str, *arguments: object) -> Any:
        sent.append(query)
        return await fetch(session, query, *arguments)

    first = await asked(same_filled)
    monkeypatch.setattr(Session, "fetch", noted)
    await asked(same_filled)
    (query,) = (one for one in sent if "AS same" in one)
    columns = "fingerprint, asked, portfolio_ids, configuration, code_version, attempt, failed"
    await database.execute(
        same_filled,
        f"INSERT INTO batchcore_runs (id, token, state, {columns}, created_at, started_at, chunks,"  # noqa: S608
        f" rows_written, seconds) SELECT gen_random_uuid(), nextval('batchcore_run_tokens'),"
        f" 'failed', {columns}, created_at, started_at, 0, 0, 0"
        f" FROM batchcore_runs, generate_series(1, 40) WHERE id = '{first.run_id}'",
        "INSERT INTO batchcore_run_shards SELECT r.id, s.group_id, s.shard, s.shards"  # noqa: S608
        " FROM batchcore_runs AS r, batchcore_run_shards AS s WHERE r.state = 'failed'"
        f" AND s.run_id = '{first.run_id}'",
    )

    plan = await database.fetchval(same_filled, f"EXPLAIN (ANALYZE, FORMAT JSON) {query}")
    loops = [
        int(node["Actual Loops"])
        for node in database.nodes_of(json.loads(plan)[0]["Plan"])
        if node.get("Relation Name") == "batchcore_runs"
    ]
    assert len(loops) >= 2
    assert max(loops) <= 2, plan
