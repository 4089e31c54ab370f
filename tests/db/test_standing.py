"""Runs on hosts in which rows stand already: the cases of tests/cases/standing.toml."""

from dataclasses import replace
from decimal import Decimal
from itertools import product
from typing import Any

import pytest

import batchcore
from batchcore import reference as ref
from batchcore.calendar import date_of
from batchcore.config import Settings
from batchcore.errors import ConfigError, SnapshotExistsError
from support import database
from support.cases import from_toml, jan
from support.database import Host, Standing, key
from support.generate import MONDAY, Generator
from support.outcome import random_host, seeded

pytestmark = pytest.mark.db

Table = dict[str, Any]
PLAIN = database.plain_host(1, [jan(on) for on in range(5, 10)])
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
