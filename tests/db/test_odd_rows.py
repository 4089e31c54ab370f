"""What a host's tables may hold, and which portfolios are asked for."""

import uuid
from dataclasses import replace
from decimal import Decimal

import pytest

import batchcore
from batchcore import reference as ref
from batchcore.config import Settings
from batchcore.errors import ConfigError
from support import database, runs
from support.database import Host, Standing
from support.generate import MONDAY
from support.outcome import assert_left, outcome
from support.runs import DAYS

NAN = Decimal("NaN")
P0, P1 = database.key("p0"), database.key("p1")


def holding(*symbols: str, name: str = "p0", **columns) -> ref.Portfolio:
    """Return a portfolio of 1 each, bought at 1 before Monday."""
    position = ref.Position("", "LONG", Decimal(1), Decimal(1), MONDAY - 40)
    position = replace(position, **columns)
    return ref.Portfolio(
        name, Decimal(100), tuple(replace(position, symbol=symbol) for symbol in symbols)
    )


async def run(url: str, *, ids=None, on_existing="skip", **settings) -> batchcore.BatchResult:
    own = Settings(min_coverage=0.0, **settings)
    return await runs.run(url, portfolio_ids=ids, on_existing=on_existing, settings=own)


async def assert_as_reference(url: str, host: Host, **settings) -> batchcore.BatchResult:
    result = await run(url, **settings)
    expected = outcome(host, DAYS, DAYS[0], DAYS[-1])
    assert result.rows_written == len(expected.cells)
    assert_left({}, await database.snapshots(url), expected, host)
    assert await database.equities(url) == expected.equity
    return result


@pytest.mark.parametrize(
    ("change", "expected"),
    [
        # What else is of no use is in tests/cases/rollforward/left_out.toml.
        ("entry_date = '-infinity'", ("non_finite", "entry_date")),
        ("exit_date = '-infinity'", ("non_finite", "exit_date")),
        ("symbol = ''", ("blank_symbol", "symbol")),
        ("exit_date = '4713-01-01 BC'", ("end_before_start", "exit_date")),
    ],
)
async def test_a_position_of_no_use_is_left_out_and_named(
    same_host: str, change: str, expected: tuple[str, str]
) -> None:
    prices = tuple(("AAA", day, Decimal(2)) for day in DAYS)
    await database.fill(same_host, Host((holding("AAA", "bad"),), prices))
    statement = f"UPDATE positions SET {change} WHERE symbol = 'bad'"  # noqa: S608  # ours
    await database.execute(same_host, statement)

    result = await run(same_host)

    name, column = expected
    issues = result.to_dict()["issues"]
    assert (name, column) in {(issue["name"], issue["detail"]) for issue in issues}
    assert result.to_dict()["portfolios"]["status"] == ["ok"]
    rows = (await database.snapshots(same_host)).values()
    assert [row["num_positions"] for row in rows] == [1, 1, 1]
    assert [row["long_value"] for row in rows] == [2, 2, 2]


async def test_dates_at_the_ends_of_what_postgresql_stores_are_dates(same_host: str) -> None:
    prices = tuple(("AAA", day, Decimal(2)) for day in DAYS)
    await database.fill(same_host, Host((holding("AAA", "BBB", "CCC", "DDD"),), prices))
    await database.execute(
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


async def test_events_belong_to_the_portfolio_of_their_position(same_host: str) -> None:
    event = ref.Event(DAYS[1], Decimal(1), Decimal(50))
    host = Host((holding("AAA", events=(event,)), holding("AAA", name="p1")))
    await database.fill(same_host, host)
    await database.execute(
        same_host,
        "UPDATE position_realized_events SET portfolio_id ="
        " (SELECT id FROM portfolios WHERE name = 'p1')",
    )

    for chunk_size in (None, 1):
        await database.execute(same_host, "TRUNCATE portfolio_snapshots")
        await run(same_host, chunk_size=chunk_size)
        stored = await database.snapshots(same_host)
        assert stored[P0, DAYS[1]]["daily_realized_pnl"] == 50
        assert stored[P1, DAYS[1]]["daily_realized_pnl"] == 0


async def test_flows_of_no_use_are_named_however_old(same_host: str) -> None:
    flows = (
        ref.Flow(ref.INFINITE_DAY, Decimal(1), "CONTRIBUTION"),
        ref.Flow(MONDAY - 900, NAN, "CONTRIBUTION"),
        ref.Flow(DAYS[1], Decimal(9), "WITHDRAWAL"),
    )
    host = Host((replace(holding("AAA"), flows=flows),))
    await database.fill(same_host, host)
    await database.execute(
        same_host,
        "UPDATE equity_changes SET change_date = '-infinity' WHERE change_date = 'infinity'",
    )

    result = await assert_as_reference(same_host, host)

    assert result.issues_by_name() == {"bad_flow": 2, "unpriced": 1}


async def test_other_labels_of_a_hosts_enums_are_left_out(host: str) -> None:
    await database.execute(
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


async def test_snapshots_beyond_every_calendar_are_nobodys(same_host: str) -> None:
    host = Host(
        (holding("AAA"),),
        (("AAA", MONDAY, Decimal(1)),),
        {"p0": (Standing(MONDAY + 40, Decimal(4)), Standing(MONDAY + 50, Decimal(5)))},
    )
    await database.fill(same_host, host)
    await database.execute(
        same_host,
        "UPDATE portfolio_snapshots SET snapshot_date = '5874897-12-31' WHERE equity_balance = 4",
        "UPDATE portfolio_snapshots SET snapshot_date = 'infinity' WHERE equity_balance = 5",
    )

    result = await run(same_host)

    assert result.rows_written == 3
    assert await database.equities(same_host) == {P0: 100}


@pytest.mark.parametrize("on_existing", ["skip", "replace", "error"])
async def test_a_soft_deleted_portfolio_asked_for_by_id_is_skipped(
    same_host: str, on_existing: str
) -> None:
    standing = (Standing(MONDAY - 2, Decimal(1)), Standing(MONDAY + 1, Decimal(1)))
    host = Host((holding("AAA"), holding("BBB", name="p1")), (), {"p0": standing})
    await database.fill(same_host, host)
    await database.execute(same_host, "UPDATE portfolios SET deleted_at = now() WHERE name = 'p0'")

    everyone = await run(same_host)
    assert (len(everyone.portfolios), everyone.issues_by_name()) == (1, {"unpriced": 1})
    await database.execute(same_host, "DELETE FROM portfolio_snapshots WHERE equity_balance <> 1")
    result = await run(same_host, ids=[P0, P1], on_existing=on_existing)

    status = dict(zip(*(result.to_dict()["portfolios"][k] for k in ("id", "status")), strict=True))
    assert status == {str(P0): "skipped", str(P1): "unpriced"}
    assert result.issues_by_name() == {"soft_deleted": 1, "unpriced": 1}
    (told,) = [one for one in result.to_dict()["issues"] if one["name"] == "soft_deleted"]
    assert (told["portfolio"], told["session"]) == (str(P0), None)
    assert set(await database.snapshots(same_host)) == {
        *((P0, row.day) for row in standing),
        *((P1, day) for day in DAYS),
    }
    assert result["success"]


async def test_portfolios_may_be_asked_for_twice_and_as_text(same_host: str) -> None:
    await database.fill(same_host, database.plain_host(3, DAYS))
    result = await run(same_host, ids=[P1, str(P1), str(P0).upper(), P1])
    assert {portfolio for portfolio, _ in await database.snapshots(same_host)} == {P0, P1}
    assert result.rows_written == 6
    assert len(result.portfolios) == 2


async def test_no_portfolio_is_nothing_to_do(same_host: str) -> None:
    result = await run(same_host)  # of none that there are
    assert (result.rows_written, result.nothing_to_do, result["success"]) == (0, True, True)
    await database.fill(same_host, database.plain_host(3, DAYS))
    result = await run(same_host, ids=[])
    assert (result.rows_written, len(result.portfolios), result.nothing_to_do) == (0, 0, True)
    await database.execute(same_host, "UPDATE portfolios SET deleted_at = now()")
    result = await run(same_host, ids=[P0])
    assert (result.nothing_to_do, result.issues_by_name()) == (True, {"soft_deleted": 1})
    assert await database.snapshots(same_host) == {}


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
    await database.execute(host, "DROP TABLE equity_changes, position_realized_events")
    plain = Host((holding("AAA"),))

    result = await assert_as_reference(host, plain)

    assert result.statements_by_phase["load"] == 7  # no events, no flows; the dates of `daily`


@pytest.mark.parametrize("kind", ["char(20)", "citext"])
async def test_closes_are_found_in_columns_of_other_texts(host: str, kind: str) -> None:
    prices = (
        ("AAA", MONDAY, Decimal(2)),
        ("aaa", MONDAY + 1, Decimal(4)),
        ("bbb", MONDAY - 30, Decimal(3)),
    )
    made = Host((holding("AAA", "BBB"),), prices)
    await database.fill(host, made)
    await database.execute(
        host,
        "CREATE EXTENSION citext",
        f"ALTER TABLE market_data_cache ALTER symbol TYPE {kind}",
        f"ALTER TABLE positions ALTER symbol TYPE {kind}",
    )

    result = await assert_as_reference(host, made)

    assert result.cache["unpriced"] == 0
