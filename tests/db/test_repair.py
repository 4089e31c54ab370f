"""S13 with a repair: what differs from the figures of today is replaced, and nothing else.

Worked by hand on three portfolios: P holds 10 AAA and Q 10 BBB, bought at 10, both of which close
at 11, 12, 13, 14 and 15 on five days; N holds nothing. Each opens with 1000.
"""

import datetime as dt
import uuid
from dataclasses import replace
from decimal import Decimal
from typing import Any

import asyncpg
import pytest

import batchcore
from batchcore import reference as ref
from batchcore.calendar import date_of, day_of
from batchcore.cli.run import plan_dict, plan_text
from batchcore.config import Settings
from batchcore.errors import ConfigError, DatabaseError
from db.conftest import LOOP, PoolOf
from support import database, ledger
from support.database import Host
from support.edits import Editor, add_flow, add_position, assert_as_recomputed, versions
from support.generate import MONDAY, Generator
from support.outcome import random_host, seeded
from support.runs import run_days, run_each
from support.triggers import acts

D0, D1, D2, D3, D4 = DAYS = tuple(range(MONDAY, MONDAY + 5))
P, Q, N = (database.key(name) for name in "pqn")
SETTINGS = Settings(min_coverage=0.0, max_failed="100%", today=date_of(D4))
NIGHTLY = tuple(
    f"UPDATE {table} SET updated_at = now()"  # noqa: S608  # our own names
    for table in ("positions", "market_data_cache", "equity_changes")
)
"""What a host does that writes every row again each night."""


def holding(symbol: str, **more: Any) -> ref.Position:
    return replace(ref.Position(symbol, "LONG", Decimal(10), Decimal(10), D0 - 1), **more)


async def stood(url: str, **options: Any) -> None:
    """Fill the host and run it; P sold one more AAA on D3, for 3, and is paid 70 on D2."""
    sold, paid = ref.Event(D3, Decimal(1), Decimal(3)), ref.Flow(D2, Decimal(70), "CONTRIBUTION")
    portfolios = (
        ref.Portfolio("p", Decimal(1000), (holding("AAA", events=(sold,)),), (paid,)),
        ref.Portfolio("q", Decimal(1000), (holding("BBB"),)),
        ref.Portfolio("n", Decimal(1000)),
    )
    prices = tuple(
        (symbol, day, Decimal(11 + n)) for symbol in ("AAA", "BBB") for n, day in enumerate(DAYS)
    )
    await database.fill(url, Host(portfolios, prices))
    done = await run_days(url, D0, D4, **{"settings": SETTINGS, "analytics": "none", **options})
    assert done.rows_written == 15


async def repaired(
    db: str | asyncpg.Pool, start: int | None = None, end: int | None = None, **options: Any
) -> batchcore.BatchResult:
    days = (None if day is None else date_of(day) for day in (start, end))
    options = {"settings": SETTINGS, "analytics": "none", **options}
    return await batchcore.repair(db, *days, **options)


def found(result: batchcore.BatchResult) -> dict[uuid.UUID, tuple[int | None, int, int]]:
    """Return first session, rows and cells by portfolio."""
    told = result.to_dict()["differences"]
    return {
        uuid.UUID(one["portfolio"]): (
            None
            if one["first_session"] is None
            else day_of(dt.date.fromisoformat(one["first_session"])),
            one["rows"],
            one["cells"],
        )
        for one in told
    }


async def check(url: str, expected: dict[uuid.UUID, int], **options: Any) -> batchcore.BatchResult:
    """Repair, and look at all that it leaves; `expected` are first sessions by portfolio."""
    async with database.pooled(url) as db:
        return await check_on(db, expected, **options)


async def check_on(
    db: asyncpg.Pool, expected: dict[uuid.UUID, int], **options: Any
) -> batchcore.BatchResult:
    before, rows = await versions(db), await database.snapshots(db)
    dry = await repaired(db, **options, settings=replace(SETTINGS, dry_run=True))
    assert await versions(db) == before
    assert (dry.rows_written, dry.chunks) == (0, 0)
    assert not dry.portfolios.sessions_written.any()

    result = await repaired(db, **options)

    first = {own: day for own, (day, _, _) in found(result).items()}
    assert first == expected
    assert found(dry) == found(result)
    assert dry.portfolios.sessions_planned.tolist() == result.portfolios.sessions_written.tolist()
    written = {(own, day) for own, at in expected.items() for day in DAYS if day >= at}
    assert result.rows_written == len(written)
    after, left = await versions(db), await database.snapshots(db)
    assert {at for at in after if after[at] != before.get(at)} == written
    for at in rows.keys() & left.keys():
        assert left[at]["id"] == rows[at]["id"]
        assert left[at]["created_at"] == rows[at]["created_at"]

    analytics = options.get("analytics", "none")
    weights = {name: options[name] for name in ("beta_weights",) if name in options}
    assert (await batchcore.verify(db, fast=True, **weights)).differing == 0
    assert (await repaired(db, **options)).nothing_to_do
    equities = await database.equities(db)
    await run_days(
        db, D0, D4, on_existing="replace", analytics=analytics, settings=SETTINGS, **weights
    )
    again = await database.snapshots(db)
    assert {at: again[at] for at in written} == {at: left[at] for at in written}
    assert database.without_stamps(again) == database.without_stamps(left)
    assert await database.equities(db) == equities
    return result


def on(day: int, portfolio: uuid.UUID, change: str) -> str:
    """Return a change of a snapshot."""
    return f"{change} WHERE snapshot_date = '{date_of(day)}' AND portfolio_id = '{portfolio}'"


def gone(day: int) -> str:
    return f"DELETE FROM portfolio_snapshots WHERE snapshot_date = '{date_of(day)}'"  # noqa: S608


def of_close(change: str, day: int = D2) -> str:
    return f"{change} WHERE symbol = 'AAA' AND date = '{date_of(day)}'"


CORRECTIONS = {
    "close": (of_close("UPDATE market_data_cache SET close = 15"), {P: D2}),
    "last close": (of_close("UPDATE market_data_cache SET close = 16", D4), {P: D4}),
    "deleted close": (of_close("DELETE FROM market_data_cache"), {P: D2}),
    "quantity": ("UPDATE positions SET quantity = 20 WHERE symbol = 'BBB'", {Q: D0}),
    "exit": (
        (
            f"UPDATE positions SET exit_price = 9, exit_date = '{date_of(D3)}'"  # noqa: S608
            " WHERE symbol = 'BBB'"
        ),
        {Q: D3},
    ),
    "removed": ("DELETE FROM positions WHERE symbol = 'BBB'", {Q: D0}),
    "event": ("UPDATE position_realized_events SET realized_pnl = 4", {P: D3}),
    "removed event": ("DELETE FROM position_realized_events", {P: D0}),
    "flow": ("UPDATE equity_changes SET amount = 71", {P: D2}),
    "moved flow": (f"UPDATE equity_changes SET change_date = '{date_of(D4)}'", {P: D2}),  # noqa: S608
    "removed flow": ("DELETE FROM equity_changes", {P: D2}),
    "cell": (on(D1, Q, "UPDATE portfolio_snapshots SET num_positions = 9"), {Q: D1}),
    "gap": (gone(D1), dict.fromkeys((P, Q, N), D1)),
    "incomplete": (on(D3, N, "UPDATE portfolio_snapshots SET is_complete = false"), {N: D3}),
}


@pytest.mark.parametrize("name", CORRECTIONS)
async def test_a_correction_rewrites_what_it_affects(same_host: str, name: str) -> None:
    await stood(same_host)
    statement, expected = CORRECTIONS[name]
    # Every other one on a host that touches its rows each night, the others leave them alone.
    nightly = list(CORRECTIONS).index(name) % 2
    await database.execute(same_host, statement, *(NIGHTLY if nightly else ()))
    await check(same_host, expected)


async def test_figures_and_cells_are_those_by_hand(same_host: str) -> None:
    await stood(same_host)
    assert await database.equity_list(same_host, "p") == [1000, 1011, 1092, 1102, 1112]
    await database.execute(same_host, of_close("UPDATE market_data_cache SET close = 15"))

    result = await check(same_host, {P: D2})

    # it was 13: U(D2) is 55 for 33; from D3 on the closes are what they were
    assert await database.equity_list(same_host, "p") == [1000, 1011, 1114, 1102, 1112]
    # On D2 equity, total, P&L, return, the sum of P&L, long, gross and net differ; on D3 P&L and
    # return, on D4 nothing: its return is a share of the equity of D3, which is right.
    assert found(result) == {P: (D2, 3, 10)}
    assert result.sessions.tolist() == [D2, D3, D4]
    assert result["portfolios_processed"] == 1


async def test_a_late_position_and_a_late_flow(same_host: str) -> None:
    await stood(same_host)
    async with database.connected(same_host) as connection:
        # stamped as if they had been there
        await add_position(connection, Q, holding("AAA", entry_day=D2), database.MOMENT)
        await add_flow(connection, N, ref.Flow(D4, Decimal(5), "WITHDRAWAL"), database.MOMENT)
    await check(same_host, {Q: D2, N: D4})
    assert await database.equity_list(same_host, "q") == [1000, 1010, 1050, 1070, 1090]
    assert await database.equity_list(same_host, "n") == [1000, 1000, 1000, 1000, 995]


async def test_own_equities_alone(same_host: str) -> None:
    await stood(same_host)
    before = await versions(same_host)
    await database.execute(same_host, "UPDATE portfolios SET equity_balance = 1 WHERE name <> 'q'")
    result = await repaired(same_host)
    assert found(result) == {P: (None, 0, 1), N: (None, 0, 1)}
    assert not result.nothing_to_do
    assert await versions(same_host) == before
    assert await database.equities(same_host) == {P: 1112, Q: 1040, N: 1000}
    assert (await repaired(same_host)).nothing_to_do


async def test_a_range_bounds_where_differences_count(same_host: str) -> None:
    await stood(same_host)
    before = await versions(same_host)
    await database.execute(same_host, of_close("UPDATE market_data_cache SET close = 15"))
    assert (await repaired(same_host, D4)).nothing_to_do  # the row before is taken as it is
    assert (await repaired(same_host, end=D1)).nothing_to_do
    assert (await repaired(same_host, portfolio_ids=[Q])).nothing_to_do
    assert await versions(same_host) == before
    # to the latest snapshot, though the range ends before
    assert found(await repaired(same_host, D1, D2)) == {P: (D2, 3, 10)}
    assert (await repaired(same_host)).nothing_to_do


async def test_a_chain_goes_on_from_what_is_stored_before_the_range(same_host: str) -> None:
    await stood(same_host)
    await database.execute(
        same_host, on(D1, Q, "UPDATE portfolio_snapshots SET equity_balance = 2000")
    )
    assert found(await repaired(same_host, D2))[Q][:2] == (D2, 3)
    assert await database.equity_list(same_host, "q") == [1000, 2000, 2010, 2020, 2030]


async def test_rows_that_no_rule_names_stay(same_host: str) -> None:
    await stood(same_host)
    await database.execute(
        same_host,
        "UPDATE portfolio_snapshots SET target_price_return_eoy = 0.07, portfolio_delta = 12.34",
        of_close("UPDATE market_data_cache SET close = 15", D0),
    )
    await check(same_host, {P: D0})
    for row in (await database.snapshots(same_host)).values():
        assert (row["target_price_return_eoy"], row["portfolio_delta"]) == (
            Decimal("0.07"),
            Decimal("12.34"),
        )


@pytest.mark.parametrize("level", ["portfolio", "every"])
async def test_analytics_are_compared_where_the_level_computes_them(
    same_host: str, level: str
) -> None:
    await stood(same_host, analytics=level)
    assert (await repaired(same_host, analytics=level)).nothing_to_do
    assert (await repaired(same_host, analytics="none")).nothing_to_do
    other = D2 if level == "every" else D4
    changed = on(
        other, P, "UPDATE portfolio_snapshots SET hhi = hhi - {}, top_3_concentration = {}"
    )
    await database.execute(same_host, changed.format("0.0001", "top_3_concentration"))
    # one unit in the last place may differ between machines
    assert (await repaired(same_host, analytics=level)).nothing_to_do
    await database.execute(same_host, changed.format("1", "NULL"))
    assert found(await repaired(same_host, analytics=level)) == {P: (other, D4 - other + 1, 2)}
    sectors = "UPDATE portfolio_snapshots SET sector_exposure = '{\"Energy\": 0.5}'"
    await database.execute(same_host, f"{sectors} WHERE snapshot_date = '{date_of(D4)}'")
    result = await check(same_host, dict.fromkeys((P, Q, N), D4), analytics=level)
    assert result.differences.cells.tolist() == [1, 1, 1]


async def test_with_full_tables_of_a_portfolio_that_differs_are_written(same_host: str) -> None:
    await stood(same_host, analytics="full")
    await database.execute(
        same_host,
        "UPDATE positions SET market_value = NULL",
        of_close("UPDATE market_data_cache SET close = 16", D4),
    )
    assert found(await repaired(same_host, analytics="full")).keys() == {P}
    values = await database.fetch(
        same_host, "SELECT symbol, market_value FROM positions ORDER BY symbol"
    )
    assert [tuple(row) for row in values] == [("AAA", 160), ("BBB", None)]


@pytest.mark.parametrize("chunk_size", [1, 2])
@pytest.mark.parametrize("how", ["failed", "killed"])
async def test_a_repair_that_ended_early_is_gone_on_with(
    host: str, how: str, chunk_size: int
) -> None:
    await stood(host)
    await database.execute(host, gone(D3))
    settings = replace(SETTINGS, chunk_size=chunk_size, connections=2, threads=1)
    last = max(P, Q, N)
    await ledger.spoil(host, last, "RAISE EXCEPTION 'not this one' USING ERRCODE = '57014';")
    with pytest.raises(DatabaseError, match="not this one"):
        await repaired(host, settings=settings)
    await ledger.mend(host)
    if how == "killed":
        await ledger.kill(host)
    assert not (await repaired(host, settings=replace(settings, dry_run=True))).nothing_to_do

    result = await repaired(host, settings=settings)

    assert result.attempt == 2
    assert found(result).keys() <= {P, Q, N}
    assert last in found(result)
    *_, run = await ledger.runs(host)
    assert (run["state"], run["attempt"], run["rows_written"]) == ("complete", 2, 6)
    assert await database.equity_list(host, "p") == [1000, 1011, 1092, 1102, 1112]
    assert (await batchcore.verify(host, fast=True)).differing == 0
    assert (await repaired(host, settings=settings)).nothing_to_do


async def test_a_portfolio_that_fails_keeps_the_rows_from_there_on(same_host: str) -> None:
    await stood(same_host)
    before = await database.snapshots(same_host)
    await database.execute(
        same_host,
        of_close("UPDATE market_data_cache SET close = 15", D1),
        of_close("UPDATE market_data_cache SET close = 99999999", D3),
        "UPDATE positions SET quantity = 99999999 WHERE symbol = 'AAA'",
    )
    result = await repaired(same_host)
    assert result.failed == 1
    assert found(result)[P][:2] == (D0, 3)
    after = await database.snapshots(same_host)
    assert {at: after[at] for at in after if at[1] > D2} == {
        at: before[at] for at in before if at[1] > D2
    }


async def test_legacy_has_no_repair() -> None:
    with pytest.raises(ConfigError, match="supports no repair") as caught:
        await repaired("postgresql://nowhere", policy="legacy")
    assert caught.value.option == "policy"


@pytest.mark.parametrize("code", ["XNYS", "daily", "prices"])
@pytest.mark.parametrize("seed", range(2))
@LOOP
async def test_a_repair_equals_a_full_recomputation(
    same_host: str, seed: int, code: str, pool_of: PoolOf
) -> None:
    pool = await pool_of(same_host)
    await check_repairs(pool, seed, code)


async def check_repairs(db: asyncpg.Pool, seed: int, code: str) -> None:
    generator = Generator(seeded(f"repairs {seed}").randint, odd=0, edges=False)
    made = random_host(generator, portfolios=4)
    await database.fill(db, Host(made.portfolios, made.prices))
    settings = replace(SETTINGS, chunk_size=1 + seed, threads=1 + seed, today=date_of(MONDAY + 20))
    await run_each(db, made, generator, calendar=code, settings=settings)
    async with database.connected(db) as connection:
        editor = Editor(connection, generator)
        for _ in range(4):
            await editor.edit(generator.integer(1, 2))
            table = generator.one_of(
                ("market_data_cache", "position_realized_events", "portfolio_snapshots")
            )
            if generator.chance(50) and (row := await editor.some(table)) is not None:
                await connection.execute(f"DELETE FROM {table} WHERE id = $1", row["id"])  # noqa: S608
            rows, before = await database.snapshots(db), await versions(db)

            result = await repaired(db, calendar=code, settings=settings)

            left, after = await database.snapshots(db), await versions(db)
            first_of = found(result)
            for own, day in left:
                first, _, _ = first_of.get(own, (None, 0, 0))
                if first is None or day < first:
                    assert after[own, day] == before[own, day]
                elif day == first:
                    assert left[own, day] != rows.get((own, day))
            await assert_as_recomputed(db, code, settings.schema)


TABLES = ("equity_changes", "market_data_cache", "positions")


async def advice(url: str) -> tuple[str, list[dict[str, Any]]]:
    """Return what a plan says of late corrections, and from what it says so."""
    result = await batchcore.run_batch(url, settings=replace(SETTINGS, dry_run=True))
    plan = plan_dict(result, 0.0)
    (line,) = (
        line for line in plan_text(result, plan).splitlines() if line.startswith("late corrections")
    )
    return line.removeprefix("late corrections: "), plan["time_stamps"]


async def test_a_plan_says_which_way_the_time_stamps_speak_for(host: str) -> None:
    await stood(host)
    line, evidence = await advice(host)
    assert line == (
        "use repair, unless your application sets updated_at: no trigger of equity_changes,"
        " market_data_cache, positions does (updated in the last 24 hours, of a sample:"
        " 0 of 1 equity_changes, 0 of 10 market_data_cache, 0 of 2 positions)"
    )
    assert evidence[0] == {"table": "equity_changes", "trigger": False, "rows": 1, "touched": 0}

    await database.execute(
        host,
        *(
            acts(
                "NEW.updated_at := now(); RETURN NEW;",
                when="BEFORE UPDATE",
                table=table,
                name="keeps",
            )
            for table in TABLES
        ),
        "ALTER TABLE positions DISABLE TRIGGER keeps",
    )
    assert (await advice(host))[0].startswith(
        "use repair, unless your application sets updated_at: no trigger of positions does"
    )
    await database.execute(host, "ALTER TABLE positions ENABLE TRIGGER keeps")
    assert (await advice(host))[0].startswith("use --changed-since: triggers set updated_at;")
    await database.execute(host, "UPDATE market_data_cache SET close = close")
    line, evidence = await advice(host)
    assert line.startswith("use repair: most rows are touched each day")
    assert [(one["rows"], one["touched"]) for one in evidence] == [(1, 0), (10, 10), (2, 0)]


async def test_tables_without_time_stamps_tell_nothing(host: str) -> None:
    await stood(host)
    await database.execute(
        host,
        *(f"ALTER TABLE {table} DROP COLUMN updated_at" for table in TABLES[:2]),
        "ALTER TABLE positions ALTER updated_at TYPE timestamp",
    )
    result = await batchcore.run_batch(host, settings=replace(SETTINGS, dry_run=True))
    assert result.stamps == ()
    assert "late corrections" not in plan_text(result, plan_dict(result, 0.0))
    await database.execute(host, of_close("UPDATE market_data_cache SET close = 15"))
    assert found(await repaired(host)).keys() == {P}
