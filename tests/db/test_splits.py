"""Splits (C3 to C5) on a real server: a host that maps a table of them."""

import asyncio
import datetime as dt
import json
import re
from collections.abc import Iterator, Mapping
from dataclasses import replace
from decimal import Decimal
from itertools import product
from pathlib import Path
from typing import Any, NamedTuple

import pytest
from hypothesis import HealthCheck, given
from hypothesis import settings as profile
from hypothesis import strategies as st

import batchcore
from batchcore import reference as ref
from batchcore.calendar import date_of
from batchcore.config import PRICE_BASES, QUANTITY_BASES, Schema, Settings, Splits
from batchcore.demo import run as demo
from batchcore.demo.check_rows import check
from batchcore.demo.seed import create_mapped
from batchcore.errors import ConfigError, SchemaError
from db.conftest import EMPTY, Emptied, copied, loose
from db.test_worked_cases import assert_worked, host_of, is_of_a_run
from support import database
from support.audit import both
from support.cases import Case, Price, SplitTable, cases, jan
from support.command import called
from support.database import Db, Host
from support.edits import SINCE, assert_as_recomputed, touched, versions
from support.generate import QUOTIENTS, SPELLINGS, Generator
from support.outcome import LOOSE, issues_of, random_host, seeded
from support.runs import run_days

COLUMNS = {"symbol": "Ticker", "new": "numerator", "old": "denominator"}
TABLE = """
CREATE TABLE stock_splits (
    "Ticker" text, ex_date date, numerator {number}, denominator {number},
    created_at timestamptz DEFAULT now(), updated_at timestamptz DEFAULT now())
"""
SCALES = {"splits.new": 8, "splits.old": 8}
BASES = ("as_traded", "as_entered")
ALL_BASES = [*product(PRICE_BASES, QUANTITY_BASES)]
WORKED = [case for case in cases("rollforward", "rollforward/splits.toml") if is_of_a_run(case)]


def schema_of(table: SplitTable, scales: Mapping[str, int] = LOOSE.scales) -> Schema:
    splits = Splits("stock_splits", table.price_basis, table.quantity_basis, COLUMNS)
    return Schema(scales={**scales, **SCALES}, splits=splits)


@pytest.fixture(scope="module")
def split_copy(server, template: str) -> Iterator[str]:
    """The URL of a loose database with a table of splits, which the tests here share."""
    create = TABLE.format(number="numeric")
    yield from copied(server, template, *loose("numeric"), create)


@pytest.fixture
def split_host(split_copy: str, emptied: Emptied) -> str:
    """The same without rows."""
    return emptied(split_copy)


async def fill(url: Db, host: Host, splits: SplitTable | None = None) -> None:
    await database.fill(url, host)
    await database.execute(url, "DELETE FROM stock_splits")
    if splits is not None:
        await add_splits(url, splits, database.MOMENT)


async def add_splits(url: Db, splits: SplitTable, at: dt.datetime | None = None) -> None:
    """Write splits, at a moment or now."""
    async with database.connected(url) as connection:
        at = at or await connection.fetchval("SELECT now()")
        await connection.executemany(
            "INSERT INTO stock_splits VALUES ($1, $2, $3, $4, $5, $5)",
            [(symbol, database.date(day), new, old, at) for symbol, day, new, old in splits.rows],
        )


def settings_of(table: SplitTable, **options: Any) -> Settings:
    return Settings(schema=schema_of(table), min_coverage=0.0, max_failed="100%", **options)


@pytest.mark.parametrize("case", WORKED, ids=str)
async def test_run_stores_the_rows_of_a_worked_case(split_host: str, case: Case) -> None:
    host = host_of([case])
    await fill(split_host, host, case.splits)
    settings = settings_of(case.splits)
    result = await run_days(split_host, case.days[0], case.days[-1], settings=settings)
    stored = await database.snapshots(split_host)
    (portfolio,), (expected,) = host.portfolios, case.expected
    assert_worked(portfolio.id, expected, stored, issues_of(result, host))
    noticed = zip(result.issues.name.texts(), result.issues.detail.texts(), strict=True)
    odd = [detail for name, detail in noticed if name == "bad_split"]
    assert odd == [issue.detail for issue in case.market_issues]
    checked = await both(batchcore.verify, split_host, settings=settings)
    assert (checked.rows, checked.differing) == (len(expected.rows), 0), checked.examples


DAYS = D0, D1, D2, D3 = tuple(map(jan, (5, 6, 7, 8)))
TRADED = (
    ("AAA", D0, Decimal(100)),
    ("AAA", D1, Decimal(102)),
    ("AAA", D2, Decimal("51.50")),
    ("AAA", D3, Decimal(52)),
)
TEN = ref.Position("AAA", "LONG", Decimal(10), Decimal(100), D0)
SPLIT = SplitTable((("AAA", D2, Decimal(2), Decimal(1)),), *BASES)
HELD = Host(
    (
        ref.Portfolio("p0", Decimal(10_000), (TEN,)),
        # sold on the day before the split, and bought on its ex-date
        ref.Portfolio("p1", Decimal(10_000), (replace(TEN, exit_day=D1, exit_price=Decimal(102)),)),
        ref.Portfolio("p2", Decimal(10_000), (replace(TEN, symbol="BBB"),)),
    ),
    (*TRADED, ("BBB", D0, Decimal(100))),
)
P0 = database.key("p0")


async def ran(url: str, splits: SplitTable | None = None) -> Settings:
    """Fill `HELD`, run it and return the settings."""
    await fill(url, HELD, splits)
    settings = settings_of(SPLIT, today=date_of(D3))
    await run_days(url, D0, D3, settings=settings)
    return settings


@pytest.mark.parametrize("ex_date", ["infinity", "-infinity", None])
async def test_split_whose_only_row_has_no_date_is_an_issue_without_one(
    split_host: str, ex_date: str | None
) -> None:
    await fill(split_host, HELD)
    insert = "INSERT INTO stock_splits VALUES ('AAA', $1::text::date, 2, 1)"
    await database.fetch(split_host, insert, ex_date)
    result = await run_days(split_host, D0, D3, settings=settings_of(SPLIT))
    (found,) = (one for one in result.to_dict()["issues"] if one["name"] == "bad_split")
    assert (found["symbol"], found["session"]) == ("AAA", None)
    assert found["detail"] == f"ex_date = {'NULL' if ex_date is None else 'not finite'}"
    (run,) = await batchcore.runs(split_host, run_id=result.run_id)
    assert [one.session for one in run.symbol_issues if one.name == "bad_split"] == [None]
    assert (await batchcore.verify(split_host, settings=settings_of(SPLIT))).differing == 0


RESTATED = tuple((symbol, day, close if day >= D2 else close / 2) for symbol, day, close in TRADED)
UNSPLIT = tuple(
    ("AAA", day, Decimal(close)) for day, close in zip(DAYS, (100, 102, 103, 104), strict=True)
)
TWENTY = ref.Position("AAA", "LONG", Decimal(20), Decimal(50), D0)


def closed(day: int, quantity: int, realized: int) -> tuple[ref.Event, ...]:
    return (ref.Event(day, Decimal(quantity), Decimal(realized)),)


class Late(NamedTuple):
    """A split of 2 for 1 whose row comes late, the equities before and after, the days written."""

    before: list[int]
    after: list[int]
    rewritten: tuple[int, ...] = DAYS
    position: ref.Position = TEN
    closes: tuple[Price, ...] = TRADED
    bases: tuple[str, str] = BASES
    ex_date: int = D2


SOLD = replace(TEN, exit_day=D1, exit_price=Decimal(102))
ENDED = [10_000, 10_020, 10_020, 10_020]
RIGHT = [10_000, 10_020, 10_030, 10_040]
LATE = {
    "as traded": Late([10_000, 10_020, 9_515, 9_520], RIGHT, (D2, D3)),
    "sold before the ex-date": Late(ENDED, ENDED, (), SOLD),
    # 8 of the new shares are 4 of the old ones, beside the 6 that are left: 10 from the start
    "an event after the ex-date": Late(
        [10_000, 10_028, 9_321, 9_728],
        RIGHT,
        position=replace(TEN, quantity=Decimal(6), events=closed(D3, 8, 16)),
    ),
    # 4 of the old shares, before there are new ones: 6 are 12 from the ex-date on
    "an event before the ex-date": Late(
        [10_000, 10_020, 9_717, 9_720],
        [10_000, 10_020, 10_026, 10_032],
        (D2, D3),
        replace(TEN, quantity=Decimal(6), events=closed(D1, 4, 8)),
    ),
    # closed twice without the row, with it half was left: 15 old shares, of 20 + 10 new ones
    "an event on the exit": Late(
        [10_000, 10_020, 9_515, 10_005],
        [10_000, 10_030, 10_045, 10_045],
        position=replace(TEN, exit_day=D3, exit_price=Decimal(52), events=closed(D3, 10, 5)),
    ),
    "adjusted closes": Late(
        [10_000, 10_010, 10_015, 10_020], RIGHT, closes=RESTATED, bases=("adjusted", "as_entered")
    ),
    # half the close of the day made a loss of 500
    "adjusted closes, sold before the ex-date": Late(
        [10_000, 10_520, 10_520, 10_520],
        ENDED,
        position=SOLD,
        closes=RESTATED,
        bases=("adjusted", "as_entered"),
    ),
    "current quantities": Late(
        [10_000, 10_040, 9_030, 9_040], RIGHT, position=TWENTY, bases=("as_traded", "current")
    ),
    "current quantities, before the ex-date": Late(
        [10_000, 10_040, 10_060, 10_080],
        RIGHT,
        position=TWENTY,
        closes=UNSPLIT,
        bases=("as_traded", "current"),
        ex_date=D3 + 30,
    ),
    "adjusted closes, current quantities": Late(
        RIGHT, RIGHT, (), TWENTY, RESTATED, ("adjusted", "current")
    ),
}


@pytest.mark.parametrize("late", LATE.values(), ids=LATE)
async def test_a_late_split_corrects_each_day_that_it_changes(split_host: str, late: Late) -> None:
    holder = ref.Portfolio("p0", Decimal(10_000), (late.position,))
    on_it = ref.Portfolio("p1", Decimal(10_000), (replace(TEN, entry_day=late.ex_date),))
    prices = (*late.closes, ("BBB", D0, Decimal(100)))
    await fill(split_host, Host((holder, on_it, HELD.portfolios[2]), prices))
    table = SplitTable((("AAA", late.ex_date, Decimal(2), Decimal(1)),), *late.bases)
    settings = settings_of(table, today=date_of(D3))
    await run_days(split_host, D0, D3, settings=settings)
    assert await database.equity_list(split_host) == late.before
    await add_splits(split_host, table)
    found = await batchcore.verify(split_host, settings=settings)
    assert found.causes == ({"split_changed": found.rows_differing} if late.rewritten else {})

    async with database.connected(split_host) as connection:
        was = await versions(connection)
        planned = replace(settings, dry_run=True)
        plan = await batchcore.run_batch(split_host, changed_since=SINCE, settings=planned)
        assert (tuple(plan.sessions), plan.rows_written) == (late.rewritten, 0)
        result = await batchcore.run_batch(split_host, changed_since=SINCE, settings=settings)
        assert tuple(result.sessions) == late.rewritten
        assert await touched(connection, was) == {(P0, day) for day in late.rewritten}
    assert await database.equity_list(split_host) == late.after
    assert (await batchcore.verify(split_host, settings=settings)).differing == 0


MOVED = "UPDATE stock_splits SET ex_date = $1, updated_at = now()"


@pytest.mark.parametrize(
    ("first", "to"), [(D2, D3), (D3, D1), (D2, D3 + 30), (D3 + 30, D2), (D2, None)]
)
async def test_a_split_that_was_edited_counts_from_the_entry_on(
    split_host: str, first: int, to: int | None
) -> None:
    entered = ref.Portfolio("p1", Decimal(10_000), (replace(TEN, entry_day=D1),))
    await fill(
        split_host,
        Host((HELD.portfolios[0], entered, HELD.portfolios[2]), HELD.prices),
        SplitTable((("AAA", first, Decimal(2), Decimal(1)),)),
    )
    settings = settings_of(SPLIT, today=date_of(D3))
    await run_days(split_host, D0, D3, settings=settings)
    async with database.connected(split_host) as connection:
        await connection.execute(MOVED, None if to is None else date_of(to))
        found = await batchcore.verify(split_host, settings=settings)
        assert found.causes == {"split_changed": found.rows_differing}
        was = await versions(connection)
        await batchcore.run_batch(split_host, changed_since=SINCE, settings=settings)
        # nobody knows which ex-date it had
        p1 = database.key("p1")
        expected = {(P0, day) for day in DAYS} | {(p1, day) for day in (D1, D2, D3)}
        assert await touched(connection, was) == expected
    assert (await batchcore.verify(split_host, settings=settings)).differing == 0


# The last would make quantities not representable, which no time stamp shows on earlier days.
PLAIN_QUOTIENTS = QUOTIENTS[:-1]


async def add_some(url: Db, generator: Generator, at: dt.datetime | None = None) -> None:
    """Write some splits, at a moment or now."""
    rows = []
    for _ in range(generator.integer(1, 3)):
        new, old = generator.one_of(PLAIN_QUOTIENTS)
        row = (generator.one_of(SPELLINGS), generator.day(-4, 20), Decimal(new), Decimal(old))
        rows.append(row)
    await add_splits(url, SplitTable(tuple(rows)), at)


async def edit_one(url: Db, generator: Generator) -> None:
    """Give the first split another ex-date, or other shares."""
    column, value = generator.one_of(
        (
            ("ex_date", f"date '{date_of(generator.day(-4, 20))}'"),
            ("numerator", str(generator.integer(2, 5))),
        )
    )
    await database.execute(
        url,
        f"UPDATE stock_splits SET {column} = {value}, updated_at = now() WHERE ctid ="  # noqa: S608
        " (SELECT ctid FROM stock_splits ORDER BY ex_date, numerator, denominator LIMIT 1)",
    )


def closed_in_part(generator: Generator, portfolio: ref.Portfolio) -> tuple[ref.Position, ...]:
    """Return the positions of a portfolio, half of them with one more event."""
    return tuple(
        replace(one, events=(*one.events, generator.event())) if generator.chance(50) else one
        for one in portfolio.positions
    )


@pytest.mark.parametrize("bases", ALL_BASES, ids="/".join)
@profile(max_examples=5, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(seed=st.integers(0, 10**6))
def test_a_correction_after_late_splits_equals_a_full_recomputation(
    split_host: str, bases: tuple[str, str], seed: int
) -> None:
    generator = Generator(seeded(f"late splits {seed}").randint, odd=0, edges=False)
    made = random_host(generator, portfolios=4)
    portfolios = [replace(one, positions=closed_in_part(generator, one)) for one in made.portfolios]
    own = settings_of(SplitTable((), *bases), today=date_of(D0 + 20))
    first = D0 + generator.one_of((0, 0, 3))

    async def check() -> None:
        async with database.pooled(split_host) as db:
            await database.execute(db, EMPTY)
            await fill(db, Host(tuple(portfolios), made.prices))
            await add_some(db, generator, database.MOMENT)
            await run_days(db, first, first + 10, settings=own, analytics="none")
            for change in (add_some, edit_one):
                since = await database.fetchval(db, "SELECT now()")
                await change(db, generator)
                verified = await batchcore.verify(db, fast=True, settings=own)
                assert verified.causes.keys() <= {"split_changed"}, verified.examples
                await batchcore.run_batch(db, changed_since=since, settings=own, analytics="none")
                await assert_as_recomputed(db, "XNYS", own.schema)

    asyncio.run(check())


async def test_repair_replaces_what_a_late_split_makes_differ(split_host: str) -> None:
    settings = await ran(split_host)
    await add_splits(split_host, SPLIT)
    repaired = await batchcore.repair(split_host, settings=settings)
    assert (repaired.rows_written, repaired.sessions.tolist()) == (2, [D2, D3])
    assert await database.equity_list(split_host) == [10_000, 10_020, 10_030, 10_040]


async def test_an_explanation_is_in_the_shares_of_its_session(split_host: str) -> None:
    settings = await ran(split_host, SPLIT)
    explained = await batchcore.explain(split_host, [P0], date_of(D2), settings=settings)
    (row,) = explained.rows
    assert explained.explained
    # (51.50 - 102 / 2) * 20 = 10, of an entry at 100 for each of the 10
    told = (row.quantity, row.entry_price, row.mark_before, row.mark, row.contribution, row.value)
    assert told == tuple(map(Decimal, ("20", "100", "51", "51.50", "10", "1030")))
    (before,) = (await batchcore.explain(split_host, [P0], date_of(D1), settings=settings)).rows
    told = (before.quantity, before.mark_before, before.mark, before.contribution)
    assert told == tuple(map(Decimal, ("10", "100", "102", "20")))


async def test_legacy_reads_no_splits(split_host: str) -> None:
    rows = []
    for schema in (schema_of(SPLIT), Schema(scales=LOOSE.scales)):
        await database.execute(split_host, EMPTY)
        await fill(split_host, HELD, SPLIT)
        await run_days(
            split_host,
            D0,
            D3,
            policy="legacy",
            on_existing="replace",
            settings=Settings(schema=schema, today=date_of(D3 + 1), min_coverage=0.0),
        )
        stored = await database.snapshots(split_host)
        rows.append({at: (row["equity_balance"], row["long_value"]) for at, row in stored.items()})
    assert rows[0] == rows[1]


@pytest.mark.parametrize(
    ("change", "problem"),
    [
        ("ALTER TABLE stock_splits RENAME TO elsewhere", "public.stock_splits: missing table"),
        (
            "ALTER TABLE stock_splits RENAME numerator TO ratio",
            "public.stock_splits.numerator: missing column",
        ),
        (
            "ALTER TABLE stock_splits ALTER numerator TYPE text",
            "public.stock_splits.numerator: is text, expected numeric",
        ),
        (
            "ALTER TABLE stock_splits ALTER ex_date TYPE timestamptz",
            "public.stock_splits.ex_date: is timestamp with time zone, expected date",
        ),
    ],
)
async def test_what_is_wrong_with_the_table_is_named_before_anything_is_written(
    host: str, change: str, problem: str
) -> None:
    await database.execute(host, TABLE.format(number="numeric"), change)
    await database.fill(host, HELD)
    settings = Settings(schema=schema_of(SPLIT, {}), min_coverage=0.0)
    with pytest.raises(SchemaError) as error:
        await run_days(host, D0, D3, settings=settings)
    assert error.value.problems == (problem,)
    assert await database.snapshots(host) == {}
    # a policy that does not read the table does not need it
    await run_days(host, D0, D3, policy="legacy", settings=replace(settings, today=date_of(D3)))


@pytest.mark.parametrize("number", ["integer", "bigint", "numeric(10,4)", "double precision"])
async def test_shares_of_any_numeric_type_are_read(host: str, number: str) -> None:
    await database.execute(host, TABLE.format(number=number))
    await fill(host, HELD, SPLIT)
    settings = Settings(schema=schema_of(SPLIT, {}), min_coverage=0.0)
    await run_days(host, D0, D3, settings=settings)
    assert await database.equity_list(host) == [10_000, 10_020, 10_030, 10_040]
    assert (await batchcore.verify(host, settings=settings)).differing == 0


async def test_analytics_of_a_host_with_splits_are_those_of_restated_data(
    make_database: Any, template: str
) -> None:
    """Betas (A5, A6), market values and a host's functions, beside data restated by hand."""
    found = []
    for traded in (True, False):
        url = await make_database(template)
        await database.execute(url, TABLE.format(number="integer"))
        days = batchcore.calendar.load("XNYS").last_sessions(D3, 80).tolist()
        middle = days[50]
        prices, restated = [], Decimal(1)
        for number, day in enumerate(days):
            close = Decimal(200 + (number * 37) % 23)
            old = Decimal(2) if traded and day < middle else restated
            prices += [("SPY", day, Decimal(400 + (number * 29) % 17)), ("AAA", day, close * old)]
        old = Decimal(2) if traded else restated
        position = ref.Position("AAA", "LONG", Decimal(20) / old, Decimal(150) * old, days[0])
        host = Host((ref.Portfolio("p0", Decimal(10_000), (position,)),), tuple(prices))
        table = SplitTable((("AAA", middle, Decimal(2), Decimal(1)),) if traded else (), *BASES)
        await fill(url, host, table)
        settings = Settings(schema=schema_of(table, {}), min_coverage=0.0)
        await run_days(url, days[-2], days[-1], analytics="full", settings=settings)
        rows = await database.fetch(
            url,
            "SELECT beta_calculated_90d, beta_calculated_90d_r_squared, long_value, hhi"
            " FROM portfolio_snapshots ORDER BY snapshot_date",
        )
        values = await database.fetch(
            url, "SELECT last_price, market_value, unrealized_pnl FROM positions"
        )
        betas = await database.fetch(url, "SELECT beta, observations FROM position_market_betas")
        found.append([[tuple(row) for row in of] for of in (rows, values, betas)])
        beta = await batchcore.calculate_portfolio_provider_beta(
            url, P0, calculation_date=date_of(days[10]), schema=settings.schema
        )
        assert beta["total_positions"] == 1
    assert found[0] == found[1]
    assert found[0][2][0][1] == 79


BASES_OF_CLOSES = {"as_traded": TRADED, "adjusted": RESTATED}
QUANTITIES = {"as_entered": TEN, "current": TWENTY}


@pytest.mark.parametrize("quantity_basis", QUANTITIES)
@pytest.mark.parametrize("price_basis", BASES_OF_CLOSES)
async def test_the_bases_of_a_host_are_found_out_by_a_known_split(
    split_host: str, price_basis: str, quantity_basis: str
) -> None:
    holder = ref.Portfolio("p0", positions=(QUANTITIES[quantity_basis],))
    await fill(split_host, Host((holder,), BASES_OF_CLOSES[price_basis]), SPLIT)
    found = await batchcore.check_basis(split_host, " aaa", schema=schema_of(SPLIT))
    assert (found.price_basis, found.quantity_basis) == (price_basis, quantity_basis)
    assert found.agrees == ((price_basis, quantity_basis) == BASES)
    (split,) = found.splits
    assert (split.split, split.before_date, split.after_date) == (
        "2 for 1",
        date_of(D1),
        date_of(D2),
    )
    # 51.50 / 102 or 51.50 / 51
    assert split.quotient == pytest.approx(
        0.5049 if price_basis == "as_traded" else 1.0098, abs=1e-4
    )
    (entry,) = found.entries
    assert (entry.close_date, found.counts()[quantity_basis]) == (date_of(D0), 1)
    document = json.loads(json.dumps(found.to_dict()))
    assert document["splits"][0]["ex_date"] == date_of(D2).isoformat()
    assert document["positions"] == found.counts()


@pytest.mark.parametrize(
    ("symbol", "rows", "message"),
    [
        ("BBB", SPLIT.rows, "`BBB` has no split in public.stock_splits"),
        ("BBB", (("BBB", D0 + 99, Decimal(2), Decimal(1)),), "`BBB` has no close both in the 10"),
        ("AAA", (("AAA", D2, Decimal(0), Decimal(1)),), "`AAA` has no split"),
        (" ", SPLIT.rows, "check_basis is ' ', expected a symbol"),
    ],
)
async def test_a_symbol_that_tells_nothing_is_refused(
    split_host: str, symbol: str, rows: Any, message: str
) -> None:
    await fill(split_host, HELD, SplitTable(rows))
    with pytest.raises(ConfigError, match=re.escape(message)):
        await batchcore.check_basis(split_host, symbol, schema=schema_of(SPLIT))


async def test_bases_need_a_table(split_host: str) -> None:
    with pytest.raises(ConfigError, match="no table of splits: map one in `splits` of the schema"):
        await batchcore.check_basis(split_host, "AAA", schema=Schema(scales=LOOSE.scales))


def test_plan_tells_the_bases(split_host: str, tmp_path: Path) -> None:
    asyncio.run(fill(split_host, HELD, SPLIT))
    path = tmp_path / "schema.toml"
    scales = "\n".join(f"{name} = {scale}" for name, scale in {**LOOSE.scales, **SCALES}.items())
    path.write_text(f"""
[splits]
table = "stock_splits"
columns = {{ symbol = "Ticker", new = "numerator", old = "denominator" }}
price_basis = "adjusted"
quantity_basis = "as_entered"
[scales]
{scales}
""")
    asked = ("plan", "--database-url", split_host, "--schema", str(path), "--check-basis", "AAA")
    said = called(asked)
    assert (said.code, said.err) == (0, "")
    around = "2 for 1 on 2026-01-07: 102 on 2026-01-06, 51.5 on 2026-01-07: 0.5049"
    assert said.out.splitlines()[:3] == [
        "closes of AAA look as_traded",
        f"  {around} (as_traded 0.5, adjusted 1)",
        "quantities of AAA look as_entered: 2 as_entered, 0 current",
    ]
    assert said.out.endswith(
        "the schema declares adjusted, as_entered: not what the data look like\n"
    )
    assert called((*asked, "--json")).document()["price_basis"] == "as_traded"
    refused = called((*asked[:-1], "ZZZ"))
    assert (
        refused.error() == "`ZZZ` has no split in public.stock_splits, expected a symbol with one"
    )
    refused = called((*asked, "--artifact", str(tmp_path / "plan.json")))
    assert refused.error() == ("--check-basis writes no artifact: give --json instead")


async def test_a_generated_market_splits_where_a_table_is_mapped(host: str) -> None:
    schema = Schema(splits=Splits("stock_splits", *BASES))
    await create_mapped(host, schema)
    data = demo.seeded(demo.Size(portfolios=20, symbols=30, sessions=6), seed=1, splits=True)
    await data.write(host, schema=schema)
    assert await database.fetchval(host, "SELECT count(*) FROM stock_splits") == 3
    settings, days = Settings(schema=schema), data.market.days[data.market.first :]
    result = await run_days(host, days[0].item(), days[-1].item(), settings=settings)
    assert result.rows_written == 120
    checked = await check(host, data.opening(), days.tolist(), settings=settings)
    assert (checked.rows, checked.differing) == (120, 0)
    # what a row explains is no finding (C1)
    assert "split_suspected" not in result.issues_by_name()


async def test_generate_splits_and_quotes_in_other_currencies_where_both_are_mapped(
    host: str, tmp_path: Path
) -> None:
    path = tmp_path / "schema.toml"
    path.write_text(
        "splits = { table = 'stock_splits', price_basis = 'as_traded',"
        " quantity_basis = 'as_entered' }\n"
        "fx = { table = 'fx_rates', currency = 'positions.currency' }"
    )
    settings = Settings(schema=Schema.from_toml(path))
    await create_mapped(host, settings.schema)
    size = ("--portfolios", "20", "--symbols", "40", "--sessions", "6", "--seed", "4")
    said = await asyncio.to_thread(
        called, ("generate", "--database-url", host, "--schema", str(path), *size)
    )
    assert (said.code, said.err) == (0, "")
    over_split = (
        "SELECT count(*) FROM positions p JOIN stock_splits r USING (symbol)"
        " WHERE p.currency IS NOT NULL AND p.entry_date < r.ex_date"
    )
    assert await database.fetchval(host, over_split) > 0
    data = demo.seeded(demo.Size(20, 40, 6), seed=4, splits=True)
    days = data.market.days[data.market.first :].tolist()
    result = await run_days(host, days[0], days[-1], settings=settings)
    assert (result.rows_written, result.failed) == (120, 0)
    checked = await check(host, data.opening(), days, settings=settings)
    assert (checked.rows, checked.differing) == (120, 0)


def test_generate_refuses_other_bases_than_it_makes(split_host: str, tmp_path: Path) -> None:
    path = tmp_path / "schema.toml"
    path.write_text(
        "splits = { table = 'stock_splits', price_basis = 'adjusted', quantity_basis = 'current' }"
    )
    said = called(("generate", "--database-url", split_host, "--schema", str(path)))
    assert said.error() == (
        "the schema has splits adjusted and current, expected as_traded and as_entered: that is"
        " what is generated"
    )


async def test_the_return_of_a_benchmark_is_of_the_same_shares(split_host: str) -> None:
    settings = await ran(split_host, SPLIT)
    found = await batchcore.performance(
        split_host, [P0], periods=["ITD"], benchmark="aaa", settings=settings
    )
    (row,) = found.rows()
    # 52 * 2 / 100 - 1, and 40 of 10000
    assert (float(row["benchmark"]), float(row["twr"])) == pytest.approx((0.04, 0.004), abs=1e-4)
