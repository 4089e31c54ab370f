"""Runs on hosts in which rows stand already, the cases of tests/cases/standing.toml; or none do."""

import json
from dataclasses import replace
from decimal import Decimal
from itertools import product
from typing import Any

import pytest

import batchcore
from batchcore import calendar as calendars
from batchcore import reference as ref
from batchcore.calendar import date_of
from batchcore.config import Schema, Settings
from batchcore.db.catalog import inspect
from batchcore.errors import ConfigError, SnapshotExistsError
from batchcore.pg.database import Database
from batchcore.run.writing import ChunkWriter
from batchcore.sources.host import Selection
from batchcore.sources.query import load
from batchcore.sources.snapshots import select_holes
from support import database
from support.cases import from_toml, jan
from support.database import Host, Standing, key
from support.generate import MONDAY, Generator
from support.outcome import random_host, seeded
from support.runs import run_days

Table = dict[str, Any]
D0, D1, D2, D3, D4 = DAYS = tuple(range(MONDAY, MONDAY + 5))
PLAIN = database.plain_host(1, DAYS)
BOUGHT = PLAIN.portfolios[0].positions[0]
OF_SETTINGS = ("dry_run", "chunk_size")


def variants() -> dict[str, Table]:
    """Return the cases, one for each of their modes, policies and sizes of chunks."""
    found = {}
    for case in from_toml("standing.toml")["case"]:
        ways = {
            "on_existing": case.get("modes", [None]),
            "policy": case.get("policies", [None]),
            "chunk_size": case.get("chunk_sizes", [None]),
        }
        for values in product(*ways.values()):
            own = {name: one for name, one in zip(ways, values, strict=True) if one is not None}
            runs = [own | run for run in case["runs"]]
            found[" ".join([case["name"], *map(str, own.values())])] = case | {"runs": runs}
    return found


def by_day(table: Table, name: str) -> dict[int, Decimal]:
    return {jan(int(on)): Decimal(value) for on, value in table.get(name, {}).items()}


def portfolio(case: Table, name: str) -> ref.Portfolio:
    positions = (BOUGHT,)
    if name in (entries := case.get("entries", {})):
        positions = tuple(
            replace(BOUGHT, entry_day=jan(one["day"]), entry_price=Decimal(one.get("price", 10)))
            for one in entries[name]
        )
    flows = by_day(case.get("flows", {}), name).items()
    paid = tuple(ref.Flow(on, amount, "CONTRIBUTION") for on, amount in flows)
    return ref.Portfolio(name, Decimal(1000), positions, paid)


def standing(case: Table, name: str) -> tuple[Standing, ...]:
    pnl = by_day(case.get("pnl", {}), name)
    return tuple(
        Standing(on, equity, complete, daily_pnl=pnl.get(on))
        for rows, complete in (("rows", True), ("incomplete", False))
        for on, equity in by_day(case.get(rows, {}), name).items()
    )


async def run(url: str, run: Table) -> batchcore.BatchResult:
    dates = {
        f"{name}_date": value if isinstance(value, str) else date_of(jan(value))
        for name in ("start", "end")
        if (value := run.get(name)) is not None
    }
    today = date_of(jan(run["today"])) if "today" in run else None
    own = {name: run[name] for name in OF_SETTINGS if name in run}
    asked = {name: run[name] for name in ("on_existing", "missing", "policy") if name in run}
    calendar = "XNYS" if run.get("policy") == "legacy" else run.get("calendar", "daily")
    ids = [key(name) for name in run["portfolios"]] if "portfolios" in run else None
    return await batchcore.run_batch(
        url,
        **dates,
        portfolio_ids=ids,
        calendar=calendar,
        analytics="none",
        settings=Settings(min_coverage=0.0, today=today, **own),
        **asked,
    )


async def check_run(url: str, asked: Table, names: dict[str, str]) -> None:
    """Run, and compare what it tells with what a case expects of it."""
    if "stopped_by" in asked:
        with pytest.raises(SnapshotExistsError) as caught:
            await run(url, asked)
        portfolio, session = names[caught.value.portfolio], int(caught.value.session[-2:])
        assert f"{portfolio} on {session}" == asked["stopped_by"]
        return
    if "refused" in asked:
        with pytest.raises(ConfigError, match=asked["refused"]):
            await run(url, asked)
        return
    result = await run(url, asked)
    found = result.to_dict()
    if "written" in asked:
        assert result.rows_written == asked["written"]
    if "sessions" in asked:
        assert result.sessions.tolist() == [jan(on) for on in asked["sessions"]]
        assert result.nothing_to_do == (asked["sessions"] == [])
    if "left_out" in asked:
        assert result.sessions_left_out.tolist() == [jan(on) for on in asked["left_out"]]
    if "issues" in asked:
        told = [one for one in found["issues"] if one["name"] in {"gap", "no_history"}]
        assert sorted(
            f"{one['name']} {names[one['portfolio']]} {int(one['session'][-2:])}: {one['detail']}"
            for one in told
        ) == sorted(asked["issues"])
    errors = [names[error[:36]] + error[36:] for error in result.errors()]
    assert errors == asked.get("errors", [])
    assert result["success"] == (errors == [])


@pytest.mark.parametrize("case", variants().values(), ids=variants())
async def test_what_a_run_leaves_where_rows_stand(same_host: str, case: Table) -> None:
    owners = list(case.get("rows", {"p0": {}}))
    names = {str(key(name)): name for name in owners}
    host = Host(
        tuple(portfolio(case, name) for name in owners),
        PLAIN.prices,
        {name: standing(case, name) for name in owners},
    )
    await database.fill(same_host, host)
    before = await database.snapshots(same_host)

    for asked in case["runs"]:
        await check_run(same_host, asked, names)

    stored = await database.snapshots(same_host)
    equities = await database.equities(same_host)
    for name in owners:
        left = {on: row["equity_balance"] for (own, on), row in stored.items() if own == key(name)}
        if name in case.get("left", {}):
            assert left == by_day(case["left"], name)
        if name in case.get("sessions", {}):
            assert sorted(left) == [jan(on) for on in case["sessions"][name]]
        if name in case.get("equity", {}):
            assert equities[key(name)] == Decimal(case["equity"][name])
    # A row in place keeps its id, its stamp and the columns that no rule names; others have none.
    kept_columns = ["id", "created_at"]
    if "policies" not in case:
        kept_columns += database.OWN_COLUMNS
    for at, row in stored.items():
        if at in before:
            assert {name: row[name] for name in kept_columns} == {
                name: before[at][name] for name in kept_columns
            }
        elif "policies" not in case:
            assert {row[name] for name in database.OWN_COLUMNS} == {None}


@pytest.mark.parametrize("seed", range(3))
async def test_replace_from_any_session_on_leaves_no_trace(same_host: str, seed: int) -> None:
    generator = Generator(seeded(f"replace {seed}").randint, odd=0, edges=False)
    made = random_host(generator, portfolios=5)
    await database.fill(same_host, Host(made.portfolios, made.prices))
    settings = Settings(min_coverage=0.0, today=date_of(MONDAY + 10))

    async def replaced(first: int) -> batchcore.BatchResult:
        return await batchcore.run_batch(
            same_host,
            date_of(first),
            on_existing="replace",
            analytics="none",
            settings=settings,
        )

    await replaced(MONDAY)
    undisturbed = await database.snapshots(same_host)
    equities = await database.equities(same_host)
    assert len(undisturbed) == 5 * 9

    # the weekend before the baseline, the baseline, sessions between, the last one
    for later, sessions in ((-2, 9), (0, 9), (3, 6), (5, 4), (10, 1)):
        result = await replaced(MONDAY + later)
        assert result.rows_written == 5 * sessions
        assert await database.snapshots(same_host) == undisturbed
        assert await database.equities(same_host) == equities


async def test_a_plan_of_what_is_missing_is_what_is_then_written(same_host: str) -> None:
    rows = {"p0": (D0, D2, D3), "p1": (D1,)}
    standing = {name: tuple(Standing(day, Decimal(500)) for day in rows[name]) for name in rows}
    await database.fill(same_host, replace(database.plain_host(2, DAYS), standing=standing))
    settings = Settings(min_coverage=0.0, today=date_of(D4), chunk_size=2)
    options = {"on_existing": "replace", "missing": True}
    plan = replace(settings, dry_run=True)
    planned = await batchcore.run_batch(same_host, **options, settings=plan)
    assert len(await database.snapshots(same_host)) == 4

    done = await batchcore.run_batch(same_host, **options, settings=settings)

    assert done.portfolios.sessions_written.tolist() == (
        planned.portfolios.sessions_planned.tolist()
    )
    assert done.sessions.tolist() == planned.sessions.tolist() == [D1, D2, D3, D4]


@pytest.mark.parametrize("seed", range(3))
async def test_filled_holes_leave_no_trace(same_host: str, seed: int) -> None:
    generator = Generator(seeded(f"missing {seed}").randint, odd=0, edges=False)
    made = random_host(generator)
    await database.fill(same_host, Host(made.portfolios, made.prices))
    settings = Settings(min_coverage=0.0, today=date_of(MONDAY + 15))
    await run_days(same_host, MONDAY, MONDAY + 15, settings=settings, analytics="none")
    undisturbed = await database.snapshots(same_host)
    equities = await database.equities(same_host)
    choose = seeded(f"holes {seed}")
    async with database.connected(same_host) as connection:
        for own in sorted({own for own, _ in undisturbed}):
            # not the first: S5 would open from another row; others anywhere, the latest too
            days = sorted(day for owner, day in undisturbed if owner == own)
            await connection.executemany(
                "DELETE FROM portfolio_snapshots WHERE portfolio_id = $1 AND snapshot_date = $2",
                [(own, date_of(day)) for day in choose.sample(days[1:], 3)],
            )
    assert len(await database.snapshots(same_host)) == len(undisturbed) - 3 * len(made.portfolios)

    result = await batchcore.run_batch(
        same_host,
        on_existing="replace",
        missing=True,
        settings=settings,
        analytics="none",
    )

    assert result.rows_written > 3 * len(made.portfolios)
    assert database.without_stamps(await database.snapshots(same_host)) == (
        database.without_stamps(undisturbed)
    )
    assert await database.equities(same_host) == equities


def holes_of(
    host: Host, calendar: calendars.Calendar, start: int | None, end: int
) -> set[tuple[bytes, int, int | None, int]]:
    """Return by plain loops what the query of holes must bring."""
    found = set()
    for portfolio in host.portfolios:
        days = sorted(
            row.day
            for row in host.standing_of(portfolio.id)
            if row.counts
            and bool(calendar.is_session([row.day])[0])
            and (start is None or row.day >= start)
        )
        if not days or days[0] > end:
            continue
        sessions = calendar.sessions(days[0], end).tolist()
        missing = [day for day in sessions if day not in days and day < days[-1]]
        own = database.key(portfolio.id).bytes
        found.add((own, days[0], min(missing, default=None), len(missing)))
    return found


@pytest.mark.parametrize("code", ["XNYS", "daily", "prices"])
@pytest.mark.parametrize("seed", range(4))
async def test_the_server_finds_the_holes(same_host: str, code: str, seed: int) -> None:
    generator = Generator(seeded(f"holes {seed}").randint, odd=0, edges=False)
    host = random_host(generator)
    await database.fill(same_host, host)
    priced = [day for _, day, close in host.prices if close.is_finite() and close > 0]
    calendar = calendars.from_price_dates(priced) if code == "prices" else calendars.load(code)
    async with Database(same_host).snapshot("load") as session:
        catalog = await inspect(session.raw, Schema())
        for start in (None, MONDAY - 3, MONDAY + 2, MONDAY + 40):
            for end in (MONDAY + 2, MONDAY + 8, MONDAY + 50):
                if start is not None and start > end:
                    continue
                query = select_holes(catalog, calendar, Selection(), start, end)
                found = await load(session, query)
                columns = (
                    map(bytes, found.portfolio_id),
                    found.earliest.tolist(),
                    [
                        None if state else day
                        for day, state in zip(
                            found.hole.values.tolist(), found.hole.state.tolist(), strict=True
                        )
                    ],
                    found.missing.tolist(),
                )
                assert set(zip(*columns, strict=True)) == holes_of(host, calendar, start, end)


@pytest.mark.parametrize(("code", "start"), [("XNYS", MONDAY), ("XNYS", None), ("prices", MONDAY)])
async def test_the_server_expects_as_many_sessions_as_there_are(
    same_host: str, code: str, start: int | None
) -> None:
    # If it expected one, it would compare each snapshot with each session. It expects nearly all
    # days, half of which are sessions at least.
    days = list(range(MONDAY, MONDAY + 150, 2))
    calendar = calendars.from_price_dates(days) if code == "prices" else calendars.load(code)
    async with Database(same_host).snapshot("load") as session:
        catalog = await inspect(session.raw, Schema())
        query = select_holes(catalog, calendar, Selection(), start, MONDAY + 150)
        (plan,) = await session.fetch(f"EXPLAIN (FORMAT JSON) {query.sql}")
    sessions = next(
        one
        for one in database.nodes_of(json.loads(plan[0])[0]["Plan"])
        if "sessions" in one.get("Subplan Name", "")
    )
    count = len(calendar.sessions(calendar.first_day if start is None else start, MONDAY + 150))
    assert count <= sessions["Plan Rows"] <= 3 * count


def bought(*days: int) -> Host:
    """Return portfolios of 10 AAA each, bought on these days."""
    plain = database.plain_host(len(days), DAYS)
    portfolios = tuple(
        replace(one, positions=(replace(BOUGHT, entry_day=day),))
        for one, day in zip(plain.portfolios, days, strict=True)
    )
    return replace(plain, portfolios=portfolios)


async def from_inception(url: str, **settings: Any) -> batchcore.BatchResult:
    own = Settings(today=date_of(D4), min_coverage=0.0, **settings)
    return await batchcore.run_batch(url, "inception", analytics="every", settings=own)


async def test_inception_is_the_range_that_begins_with_the_entry(same_host: str) -> None:
    await database.fill(same_host, bought(D1))
    await from_inception(same_host)
    by_inception = database.without_stamps(await database.snapshots(same_host))
    await database.execute(
        same_host, "TRUNCATE portfolio_snapshots; UPDATE portfolios SET equity_balance = 1000"
    )
    await run_days(same_host, D1, D4, analytics="every", settings=Settings(min_coverage=0.0))
    assert by_inception == database.without_stamps(await database.snapshots(same_host))


async def test_an_entry_before_the_calendar_begins_with_the_calendar(same_host: str) -> None:
    await database.fill(same_host, bought(-30_000))  # in 1887
    result = await from_inception(same_host, dry_run=True)
    assert date_of(int(result.sessions[0])).isoformat() == "1990-01-02"


RUN, INCEPTION = batchcore.run_batch, {"start_date": "inception"}


@pytest.mark.parametrize(
    ("work", "options", "told"),
    [
        (RUN, {"missing": True, **INCEPTION}, "does not go with missing"),
        (RUN, {"changed_since": database.MOMENT, **INCEPTION}, "does not go with changed_since"),
        (batchcore.repair, INCEPTION, "does not go with repair"),
        (RUN, {"start_date": "beginning"}, "`inception`"),
    ],
    ids=["missing", "changed_since", "repair", "another word"],
)
async def test_what_inception_does_not_go_with_is_refused(
    work: Any, options: dict[str, Any], told: str
) -> None:
    with pytest.raises(ConfigError, match=told) as caught:
        await work("postgresql://nowhere", **options)
    assert told != "`inception`" or caught.value.option == "start"


async def test_a_run_from_inception_that_was_stopped_is_gone_on_with(
    same_host: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    await database.fill(same_host, bought(D0, D1, D2))
    one_each = {"chunk_size": 1, "connections": 2}
    write = ChunkWriter._commit  # noqa: SLF001  # what commits a chunk
    done = 0

    async def once(self: ChunkWriter, *args: object) -> object:
        nonlocal done
        if done:
            raise RuntimeError
        done += 1
        return await write(self, *args)

    monkeypatch.setattr(ChunkWriter, "_commit", once)
    with pytest.raises(RuntimeError):
        await from_inception(same_host, **one_each)
    monkeypatch.setattr(ChunkWriter, "_commit", write)
    result = await from_inception(same_host, **one_each)

    assert result.attempt == 2
    for name, first in (("p0", D0), ("p1", D1), ("p2", D2)):
        assert [*await database.equity_by_day(same_host, name)] == list(range(first, D4 + 1))
