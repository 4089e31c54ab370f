"""What a host's tables may hold, and which portfolios are asked for."""

import uuid
from dataclasses import replace
from decimal import Decimal

import pytest

import batchcore
from batchcore import reference as ref
from batchcore.calendar import date_of
from batchcore.config import Schema, Settings
from batchcore.errors import ConfigError
from support import database
from support.database import Host, Standing
from support.generate import MONDAY
from support.outcome import assert_left, outcome

pytestmark = [pytest.mark.db, pytest.mark.asyncio]

DAYS = [MONDAY, MONDAY + 1, MONDAY + 2]
NAN = Decimal("NaN")
P0, P1, P2 = (database.key(f"p{n}") for n in range(3))


def holding(*symbols: str, name: str = "p0", **columns) -> ref.Portfolio:
    """Return a portfolio of 1 each, bought at 1 before Monday."""
    position = ref.Position("", "LONG", Decimal(1), Decimal(1), MONDAY - 40)
    position = replace(position, **columns)
    return ref.Portfolio(
        name, Decimal(100), tuple(replace(position, symbol=symbol) for symbol in symbols)
    )


async def execute(url: str, *statements: str) -> None:
    async with database.connected(url) as connection:
        for statement in statements:
            await connection.execute(statement)


async def run(url: str, *, ids=None, **settings) -> batchcore.BatchResult:
    return await batchcore.run_batch(
        url,
        date_of(DAYS[0]),
        date_of(DAYS[-1]),
        ids,
        calendar="daily",
        analytics="none",
        settings=Settings(min_coverage=0.0, **settings),
    )


async def assert_as_reference(url: str, host: Host, **settings) -> batchcore.BatchResult:
    result = await run(url, **settings)
    expected = outcome(host, DAYS, DAYS[0], DAYS[-1])
    assert result.rows_written == len(expected.cells)
    assert_left({}, await database.snapshots(url), expected, host)
    assert await database.equities(url) == expected.equity
    return result


def named(result: batchcore.BatchResult) -> set[tuple[str, str | None, str | None]]:
    return {
        (issue["name"], issue["symbol"], issue["detail"]) for issue in result.to_dict()["issues"]
    }


@pytest.mark.parametrize(
    ("change", "issue"),
    [
        ("quantity = 'NaN'", ("non_finite", "quantity")),
        ("entry_price = 'NaN'", ("non_finite", "entry_price")),
        ("entry_price = -1", ("missing_entry_price", "entry_price")),
        ("entry_date = 'infinity'", ("non_finite", "entry_date")),
        ("entry_date = '-infinity'", ("non_finite", "entry_date")),
        ("exit_date = '-infinity'", ("non_finite", "exit_date")),
        ("exit_date = '2026-01-06', exit_price = 'NaN'", ("non_finite", "exit_price")),
        ("position_type = 'LC', expiration_date = 'infinity'", ("non_finite", "expiration_date")),
        ("investment_class = ' private', market_value = 'NaN'", ("non_finite", "market_value")),
        ("symbol = '   '", ("blank_symbol", "symbol")),
        ("symbol = ''", ("blank_symbol", "symbol")),
        ("exit_date = '4713-01-01 BC'", ("end_before_start", "exit_date")),
    ],
)
async def test_a_position_of_no_use_is_left_out_and_named(
    same_host: str, change: str, issue: tuple[str, str]
) -> None:
    prices = tuple(("AAA", day, Decimal(2)) for day in DAYS)
    await database.fill(same_host, Host((holding("AAA", "bad"),), prices))
    statement = f"UPDATE positions SET {change} WHERE symbol = 'bad'"  # noqa: S608  # ours
    await execute(same_host, statement)

    result = await run(same_host)

    name, column = issue
    assert (name, column) in {(found, detail) for found, _, detail in named(result)}
    assert result.to_dict()["portfolios"]["status"] == ["ok"]
    rows = (await database.snapshots(same_host)).values()
    assert [row["num_positions"] for row in rows] == [1, 1, 1]
    assert [row["long_value"] for row in rows] == [2, 2, 2]


async def test_dates_at_the_ends_of_what_postgresql_stores_are_dates(same_host: str) -> None:
    prices = tuple(("AAA", day, Decimal(2)) for day in DAYS)
    await database.fill(same_host, Host((holding("AAA", "BBB", "CCC", "DDD"),), prices))
    await execute(
        same_host,
        "UPDATE positions SET exit_date = '5874897-12-31', exit_price = 3 WHERE symbol = 'AAA'",
        "UPDATE positions SET entry_date = '4713-01-01 BC' WHERE symbol = 'BBB'",
        "UPDATE positions SET entry_date = '5874897-12-31' WHERE symbol = 'CCC'",
        "UPDATE positions SET position_type = 'LP', expiration_date = '5874897-12-31'"
        " WHERE symbol = 'DDD'",
        "INSERT INTO market_data_cache (id, symbol, date, close, data_source, created_at,"
        " updated_at) SELECT gen_random_uuid(), 'BBB', day::date, close, 'test', now(), now()"
        " FROM (VALUES ('4713-01-01 BC', 7), ('5874897-12-31', 9), ('infinity', 11),"
        " ('-infinity', 13)) AS odd (day, close)",
    )

    result = await run(same_host)

    # AAA at 2; BBB at 7, a close 6,738 years old; CCC is not held yet; DDD at its entry, 100 * 1.
    rows = (await database.snapshots(same_host)).values()
    assert [row["num_positions"] for row in rows] == [3, 3, 3]
    assert [row["long_value"] for row in rows] == [109, 109, 109]
    assert result.cache["stale"] == 3
    assert result.cache["unpriced"] == 3


async def test_closes_that_are_not_valid_are_as_if_not_there(same_host: str) -> None:
    symbols = ("NAN", "ZERO", "LESS")
    prices = tuple(
        (symbol, day, Decimal(value))
        for symbol, value in zip(symbols, ("NaN", "0", "-5"), strict=True)
        for day in DAYS
    )
    before = tuple((symbol, MONDAY - 1, Decimal(3)) for symbol in symbols)
    await database.fill(same_host, Host((holding(*symbols),), (*prices, *before)))

    result = await run(same_host)

    rows = (await database.snapshots(same_host)).values()
    assert [row["long_value"] for row in rows] == [9, 9, 9]
    assert result.cache["lookback_hits"] == 9


HOSTILE = (
    "O'Neil",
    'say "hi"',
    "back\\slash",
    "{a,b}",
    "NULL",
    "null",
    "a, b",
    "C C",
    "é",
    "日本",
    "%s $1 :x ?",
    "--",
    "'; DROP TABLE x;--",
    "\ttab",
    "line\nend",
    "\\",
    '"',
    ",",
)


async def test_symbols_of_any_characters_find_their_closes(same_host: str) -> None:
    prices = tuple(
        (symbol, MONDAY - 30 if number % 2 else MONDAY, Decimal(10 + number))
        for number, symbol in enumerate(HOSTILE)
        if symbol != "null"
    )
    host = Host((holding(*HOSTILE),), prices)
    await database.fill(same_host, host)

    result = await assert_as_reference(same_host, host)

    assert result.cache["unpriced"] == 0


async def test_symbols_meet_without_blanks_and_case_on_both_sides(same_host: str) -> None:
    prices = (
        ("  aaa", MONDAY, Decimal(5)),
        ("Aaa ", MONDAY + 1, Decimal(6)),
        ("AAA", MONDAY + 1, Decimal(7)),
        ("c c", MONDAY - 30, Decimal(8)),
        ("cc", MONDAY, Decimal(99)),
        ("é", MONDAY, Decimal(9)),  # only ASCII letters have an upper case
    )
    host = Host((holding("AAA ", "aAa", " C C", "É"),), prices)
    await database.fill(same_host, host)

    result = await assert_as_reference(same_host, host)

    # On Tuesday two rows are AAA, and the highest spelling in byte order counts: "Aaa ", 6.
    assert ("duplicate_price", "AAA", "1 dates; Aaa  counts on the first") in named(result)
    stored = await database.snapshots(same_host)
    assert [row["long_value"] for row in stored.values()] == [19, 21, 21]


async def test_the_last_close_before_the_window_counts_however_old(same_host: str) -> None:
    prices = (
        ("AAA", MONDAY - 35, Decimal(3)),  # in the lot's time, long before the lookback
        ("aaa", MONDAY - 36, Decimal(4)),
        ("AAA", MONDAY - 33, Decimal(0)),  # newer, but no valid close
        ("BBB", MONDAY - 41, Decimal(3)),  # before the lot: it never saw it
    )
    host = Host((holding("AAA", "BBB"),), prices)
    await database.fill(same_host, host)

    result = await assert_as_reference(same_host, host)

    stored = await database.snapshots(same_host)
    assert [row["long_value"] for row in stored.values()] == [4, 4, 4]
    assert (result.cache["stale"], result.cache["unpriced"]) == (3, 3)
    assert result.to_dict()["portfolios"]["status"] == ["unpriced"]


async def test_soft_deleted_positions_and_their_events_are_not_there(same_host: str) -> None:
    event = ref.Event(DAYS[1], Decimal(1), Decimal(50))
    kept = holding("AAA", events=(event,))
    gone = replace(kept.positions[0], deleted=True)
    host = Host((replace(kept, positions=(*kept.positions, gone)),))
    await database.fill(same_host, host)

    await assert_as_reference(same_host, host)

    stored = await database.snapshots(same_host)
    assert [row["daily_realized_pnl"] for row in stored.values()] == [0, 50, 0]


async def test_events_belong_to_the_portfolio_of_their_position(same_host: str) -> None:
    event = ref.Event(DAYS[1], Decimal(1), Decimal(50))
    host = Host((holding("AAA", events=(event,)), holding("AAA", name="p1")))
    await database.fill(same_host, host)
    await execute(
        same_host,
        "UPDATE position_realized_events SET portfolio_id ="
        " (SELECT id FROM portfolios WHERE name = 'p1')",
    )

    for chunk_size in (None, 1):
        await execute(same_host, "TRUNCATE portfolio_snapshots")
        await run(same_host, chunk_size=chunk_size)
        stored = await database.snapshots(same_host)
        assert stored[P0, DAYS[1]]["daily_realized_pnl"] == 50
        assert stored[P1, DAYS[1]]["daily_realized_pnl"] == 0


async def test_events_and_flows_of_no_use_are_named(same_host: str) -> None:
    events = (
        ref.Event(ref.INFINITE_DAY, Decimal(1), Decimal(5)),
        ref.Event(DAYS[1], NAN, Decimal(5)),
        ref.Event(DAYS[1], Decimal(0), Decimal(5)),
        ref.Event(DAYS[1], Decimal(1), NAN),
    )
    flows = (
        ref.Flow(ref.INFINITE_DAY, Decimal(1), "CONTRIBUTION"),
        ref.Flow(DAYS[1], NAN, "CONTRIBUTION"),
        ref.Flow(MONDAY - 900, NAN, "CONTRIBUTION"),
        ref.Flow(DAYS[1], Decimal(9), "WITHDRAWAL"),
    )
    host = Host((replace(holding("AAA", events=events), flows=flows),))
    await database.fill(same_host, host)
    await execute(
        same_host,
        "UPDATE equity_changes SET change_date = '-infinity' WHERE change_date = 'infinity'",
    )

    result = await assert_as_reference(same_host, host)

    assert result.issues_by_name() == {"bad_event": 4, "bad_flow": 3, "unpriced": 1}


async def test_other_labels_of_a_hosts_enums_are_left_out(host: str) -> None:
    await execute(
        host,
        "ALTER TYPE positiontype ADD VALUE 'FUT'",
        "ALTER TYPE equity_change_type ADD VALUE 'DIVIDEND'",
    )
    flow = ref.Flow(DAYS[1], Decimal(9), "DIVIDEND")
    portfolio = replace(holding("AAA", "BBB"), flows=(flow,))
    odd = replace(portfolio.positions[0], position_type="FUT")
    made = Host((replace(portfolio, positions=(odd, portfolio.positions[1])),))
    await database.fill(host, made)

    result = await assert_as_reference(host, made)

    assert result.issues_by_name() == {"bad_flow": 1, "unknown_position_type": 1, "unpriced": 1}


async def test_a_portfolio_whose_equity_is_no_number_fails_alone(same_host: str) -> None:
    host = Host(
        (replace(holding("AAA"), opening_equity=NAN), holding("AAA", name="p1")),
        (("AAA", MONDAY, Decimal(1)),),
    )
    await database.fill(same_host, host)

    result = await run(same_host)

    assert {portfolio for portfolio, _ in await database.snapshots(same_host)} == {P1}
    assert (result.failed, result["success"], result["portfolios_processed"]) == (1, False, 1)
    assert result.errors() == [f"{P0}: non_finite equity_balance on {date_of(MONDAY)}"]


async def test_snapshots_beyond_every_calendar_are_nobodys(same_host: str) -> None:
    host = Host(
        (holding("AAA"),),
        (("AAA", MONDAY, Decimal(1)),),
        {"p0": (Standing(MONDAY + 40, Decimal(4)), Standing(MONDAY + 50, Decimal(5)))},
    )
    await database.fill(same_host, host)
    await execute(
        same_host,
        "UPDATE portfolio_snapshots SET snapshot_date = '5874897-12-31' WHERE equity_balance = 4",
        "UPDATE portfolio_snapshots SET snapshot_date = 'infinity' WHERE equity_balance = 5",
    )

    result = await run(same_host)

    assert result.rows_written == 3
    assert await database.equities(same_host) == {P0: 100}


async def test_a_soft_deleted_portfolio_asked_for_by_id_is_skipped(same_host: str) -> None:
    host = Host(
        (holding("AAA"), holding("AAA", name="p1")),
        (),
        {"p0": (Standing(MONDAY + 1, Decimal(1)),)},
    )
    await database.fill(same_host, host)
    await execute(same_host, "UPDATE portfolios SET deleted_at = now() WHERE name = 'p0'")

    everyone = await run(same_host)
    assert len(everyone.portfolios) == 1
    await execute(same_host, "DELETE FROM portfolio_snapshots WHERE equity_balance <> 1")
    result = await run(same_host, ids=[P0, P1])

    status = dict(zip(*(result.to_dict()["portfolios"][k] for k in ("id", "status")), strict=True))
    assert status == {str(P0): "skipped", str(P1): "unpriced"}
    assert result.issues_by_name() == {"soft_deleted": 1, "unpriced": 1}
    assert set(await database.snapshots(same_host)) == {
        (P0, MONDAY + 1),
        *((P1, day) for day in DAYS),
    }
    assert result["success"]


async def test_only_soft_deleted_portfolios_is_nothing_to_do(same_host: str) -> None:
    await database.fill(same_host, Host((holding("AAA"),)))
    await execute(same_host, "UPDATE portfolios SET deleted_at = now()")
    result = await run(same_host, ids=[P0])
    assert result.nothing_to_do
    assert result.issues_by_name() == {"soft_deleted": 1}


async def test_portfolios_may_be_asked_for_twice_and_as_text(same_host: str) -> None:
    await database.fill(same_host, database.plain_host(3, DAYS))
    result = await run(same_host, ids=[P1, str(P1), str(P0).upper(), P1])
    assert {portfolio for portfolio, _ in await database.snapshots(same_host)} == {P0, P1}
    assert result.rows_written == 6
    assert len(result.portfolios) == 2


async def test_no_ids_is_no_portfolio(same_host: str) -> None:
    await database.fill(same_host, database.plain_host(3, DAYS))
    result = await run(same_host, ids=[])
    assert (result.rows_written, len(result.portfolios), result.nothing_to_do) == (0, 0, True)
    assert await database.snapshots(same_host) == {}


async def test_a_host_without_portfolios_is_nothing_to_do(same_host: str) -> None:
    result = await run(same_host)
    assert (result.rows_written, result.nothing_to_do, result["success"]) == (0, True, True)


async def test_an_unknown_portfolio_is_refused_before_anything_is_written(same_host: str) -> None:
    await database.fill(same_host, database.plain_host(1, DAYS))
    nobody = uuid.UUID(int=7)
    with pytest.raises(ConfigError, match=f"unknown portfolio {nobody} \\(and 1 more\\)"):
        await run(same_host, ids=[P0, nobody, uuid.UUID(int=8)])
    assert await database.snapshots(same_host) == {}


async def test_optional_tables_may_be_absent(host: str) -> None:
    flow = ref.Flow(DAYS[1], Decimal(9), "CONTRIBUTION")
    event = ref.Event(DAYS[1], Decimal(1), Decimal(5))
    made = Host((replace(holding("AAA", events=(event,)), flows=(flow,)),))
    await database.fill(host, made)
    await execute(host, "DROP TABLE equity_changes, position_realized_events")
    plain = Host((holding("AAA"),))

    result = await assert_as_reference(host, plain)

    assert result.statements_by_phase["load"] == 7  # no events, no flows; the dates of `daily`


MAPPED = Schema(
    namespace="Host's",
    tables={"portfolio_snapshots": 'snap"shots', "market_data_cache": "prices"},
    columns={
        "positions.entry_price": "cost_basis_per_share",
        "positions.portfolio_id": "owner",
        "portfolio_snapshots.snapshot_date": "as of",
        "portfolio_snapshots.equity_balance": "Equity",
        "portfolio_snapshots.id": "key",
        "market_data_cache.symbol": "select",
        "portfolios.id": "portfolio key",
        "portfolios.updated_at": "touched",
        "equity_changes.amount": "$1",
        "position_realized_events.trade_date": "when",
    },
)


async def test_names_of_tables_and_columns_are_the_hosts(host: str) -> None:
    flow = ref.Flow(DAYS[1], Decimal(9), "CONTRIBUTION")
    event = ref.Event(DAYS[1], Decimal(1), Decimal(5))
    made = Host(
        (replace(holding("AAA", events=(event,)), flows=(flow,)), holding("BBB", name="p1")),
        (("AAA", MONDAY, Decimal(2)), ("BBB", MONDAY - 30, Decimal(3))),
        {"p1": (Standing(DAYS[0], Decimal(50)), Standing(DAYS[1], Decimal(60), is_complete=False))},
    )
    await database.fill(host, made)
    before = await database.snapshots(host)
    rename = [
        *(
            f'ALTER TABLE {table} RENAME {column} TO "{name}"'
            for (table, column), name in (
                (key.split("."), name) for key, name in MAPPED.columns.items()
            )
        ),
        'ALTER TABLE portfolio_snapshots RENAME TO "snap""shots"',
        "ALTER TABLE market_data_cache RENAME TO prices",
        'ALTER SCHEMA public RENAME TO "Host\'s"',
    ]
    await execute(host, *rename)

    result = await run(host, schema=MAPPED)

    back = [
        'ALTER SCHEMA "Host\'s" RENAME TO public',
        'ALTER TABLE "snap""shots" RENAME TO portfolio_snapshots',
        "ALTER TABLE prices RENAME TO market_data_cache",
        *(
            f'ALTER TABLE {table} RENAME "{name}" TO {column}'
            for (table, column), name in (
                (key.split("."), name) for key, name in MAPPED.columns.items()
            )
        ),
    ]
    await execute(host, *back)
    expected = outcome(made, DAYS, DAYS[0], DAYS[-1])
    assert result.rows_written == len(expected.cells) == 5
    assert_left(before, await database.snapshots(host), expected, made)
    assert await database.equities(host) == expected.equity


@pytest.mark.parametrize("kind", ["char(20)", "citext"])
async def test_closes_are_found_in_columns_of_other_texts(host: str, kind: str) -> None:
    prices = (
        ("AAA", MONDAY, Decimal(2)),
        ("aaa", MONDAY + 1, Decimal(4)),
        ("bbb", MONDAY - 30, Decimal(3)),
    )
    made = Host((holding("AAA", "BBB"),), prices)
    await database.fill(host, made)
    await execute(
        host,
        "CREATE EXTENSION citext",
        f"ALTER TABLE market_data_cache ALTER symbol TYPE {kind}",
        f"ALTER TABLE positions ALTER symbol TYPE {kind}",
    )

    result = await assert_as_reference(host, made)

    assert result.cache["unpriced"] == 0
