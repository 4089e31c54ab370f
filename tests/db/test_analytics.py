"""The analytics of a run, read back from the tables: figures by hand, levels, routes, parts off."""

import datetime as dt
import json
import sys
from collections import Counter, defaultdict
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from decimal import ROUND_HALF_UP, Decimal
from typing import Any

import numpy as np
import pytest

import batchcore
from batchcore import calendar as calendars
from batchcore import reference as ref
from batchcore.calendar import date_of
from batchcore.cli.run import result_text
from batchcore.config import Schema, Settings
from batchcore.db.analytic_tables import SNAPSHOTS
from batchcore.db.sqlalchemy_tables import ledger
from batchcore.demo import run as demo
from batchcore.errors import ConfigError, DatabaseError, SchemaError
from batchcore.pg.session import Session
from batchcore.schema import HOST, Use
from db.conftest import EMPTY
from support import database, regressions
from support.database import Host, Standing, execute, key
from support.roles import role_of
from support.runs import run_days, told
from support.triggers import acts

RENAMED = {
    "Financial Services": "Financials",
    "Consumer Cyclical": "Consumer Discretionary",
    "Consumer Defensive": "Consumer Staples",
    "Basic Materials": "Materials",
}
TODAY = 20635  # 2026-07-01, a Wednesday
SESSIONS = calendars.load("XNYS").last_sessions(TODAY, 130).tolist()
LAST = SESSIONS[-1]
ANALYTIC = tuple(HOST[SNAPSHOTS].names(Use.ANALYTICS))
TABLES = ("position_market_betas", "factor_exposures", "position_factor_exposures")


def closes(symbol: str, low: str, high: str, sessions: list[int] = SESSIONS) -> tuple[Any, ...]:
    """Closes that are low and high in turn, and high on the last session."""
    return tuple(
        (symbol, day, Decimal(high if (len(sessions) - row) % 2 else low))
        for row, day in enumerate(sessions)
    )


PRICES = (
    *closes("SPY", "100", "110"),
    *closes("AAA", "50", "60"),
    ("BBB", LAST, Decimal(20)),
    ("CCC", LAST, Decimal(3)),
)
POSITIONS = (
    ref.Position("aaa ", "LONG", Decimal(10), Decimal(10), LAST - 1),
    ref.Position("BBB", "SHORT", Decimal(-5), Decimal(20), LAST - 1),
    ref.Position("CCC", "LC", Decimal(1), Decimal(2), LAST - 1),
    ref.Position(
        "",
        "LONG",
        Decimal(1),
        Decimal(400),
        LAST - 1,
        investment_class="PRIVATE",
        market_value=Decimal(400),
    ),
)
HAND = Host((ref.Portfolio("hand", Decimal(10_000), POSITIONS),), PRICES)
"""On the last session AAA is worth 600, BBB -100, CCC 300, the PRIVATE one 400; equity 10,000."""

HAND_COLUMNS = {
    # of AAA and BBB: (600 * 1.5 + -100 * 0.5) by 600 - 100
    "beta_provider_1y": Decimal("1.7000"),
    # 600, 100 and 300 + 400 of 10,000
    "sector_exposure": {"ETFs": 0.01, "Financials": 0.06, "Unclassified": 0.07},
    # weights 6/14, 1/14, 3/14, 4/14: 10,000 * 62 / 196; 196 / 62; 13 / 14
    "hhi": Decimal("3163.2653"),
    "effective_num_positions": Decimal("3.16"),
    "top_3_concentration": Decimal("0.9286"),
    "top_10_concentration": Decimal("1.0000"),
    "realized_volatility_21d": None,
    "realized_volatility_63d": None,
    # AAA returns 1/5 and -1/6 where SPY returns 1/10 and -1/11, so its beta is
    # (11/30) / (21/110) = 121/63, a perfect fit; BBB has no returns. 600 * 121/63 / 10,000
    "beta_calculated_90d": Decimal("0.1152"),
    "beta_calculated_90d_r_squared": Decimal("1.0000"),
    "beta_calculated_90d_observations": 90,
}


def stamps(*names: str) -> dict[str, Any]:
    return dict.fromkeys(names, database.MOMENT)


PROFILES = (
    # of two spellings the higher one counts: a blank is lower
    (" AAA", Decimal(9), "Energy", False),
    ("AAA", Decimal("1.5"), "Financial Services", None),
    ("BBB", Decimal("0.5"), None, True),
    ("CCC", Decimal(7), "Energy", False),
)


def factor(
    etf: str, name: str | None = None, *, method: str | None = "OLS Regression", is_active=True
):
    return {
        "id": key(f"factor {name or etf}"),
        "name": name or etf,
        "factor_type": "style",
        "calculation_method": method,
        "etf_proxy": etf,
        "display_order": 1,
        "is_active": is_active,
        **stamps("created_at", "updated_at"),
    }


FACTORS = (factor("SPY"), factor("TLT"), factor("HYG", is_active=False), factor("OTHER"))


async def fill(url: str, host: Host = HAND) -> None:
    await database.fill(url, host)
    await database.add_profiles(url, "symbol beta sector is_etf", *PROFILES)
    await database.copy(url, "factor_definitions", FACTORS)


async def run(
    url: str, analytics: str, first: int = LAST, last: int = LAST, **options: Any
) -> batchcore.BatchResult:
    settings = options.pop("settings", Settings(min_coverage=0.0))
    return await run_days(url, first, last, analytics=analytics, settings=settings, **options)


async def rows_of(url: str, query: str) -> list[dict[str, Any]]:
    return [dict(row) for row in await database.fetch(url, query)]


async def analytics_of(url: str) -> dict[tuple[Any, int], dict[str, Any]]:
    """Return the analytic columns of every snapshot."""
    found = {}
    for at, row in (await database.snapshots(url)).items():
        found[at] = {name: row[name] for name in ANALYTIC}
        if row["sector_exposure"] is not None:
            found[at]["sector_exposure"] = json.loads(row["sector_exposure"])
    return found


@pytest.mark.parametrize("level", ["portfolio", "every", "full"])
async def test_columns_are_those_by_hand(same_host: str, level: str) -> None:
    await fill(same_host)

    result = await run(same_host, level)

    assert await analytics_of(same_host) == {(key("hand"), LAST): HAND_COLUMNS}
    assert (result.analytics, dict(result.analytics_off)) == (level, {})
    assert result.seconds_by_phase["analytics"] > 0
    assert "analytic_out_of_range" not in result.issues_by_name()
    # other levels than full write neither tables nor market values
    assert any((await table_rows(same_host)).values()) == (level == "full")
    valued = await database.fetchval(same_host, "SELECT count(last_price) FROM positions")
    assert valued == (3 if level == "full" else 0)

    await run(same_host, level, beta_weights="equity", on_existing="replace")

    # (600 * 1.5 + -100 * 0.5) by 10,000
    expected = HAND_COLUMNS | {"beta_provider_1y": Decimal("0.0850")}
    assert await analytics_of(same_host) == {(key("hand"), LAST): expected}
    for weights, differing in (("equity", 0), ("market_value", 1)):
        result = await batchcore.verify(same_host, fast=True, beta_weights=weights)
        assert result.differing == differing


async def test_by_equity_short_stocks_have_a_provider_beta_too(same_host: str) -> None:
    position = ref.Position("BBB", "SHORT", Decimal(-100), Decimal(20), LAST - 1)
    await fill(same_host, Host((ref.Portfolio("short", Decimal(10_000), (position,)),), PRICES))
    days = SESSIONS[-2:]
    betas = []
    for weights, day in zip(("market_value", "equity"), days, strict=True):
        orchestrator = batchcore.BatchOrchestrator(
            same_host, Settings(min_coverage=0.0), beta_weights=weights, on_existing="replace"
        )
        await orchestrator.run_batch_sequence(date_of(day), date_of(LAST))
        found = await analytics_of(same_host)
        betas.append(found[key("short"), LAST]["beta_provider_1y"])

    # -2000 is not above 0; -2000 * 0.5 by 10,000
    assert betas == [None, Decimal("-0.1000")]


async def test_unknown_words_are_a_config_error() -> None:
    nowhere = "postgresql://nowhere"
    with pytest.raises(ConfigError, match="unknown analytics `all`, expected one of portfolio"):
        await run(nowhere, "all")
    for work in (
        run(nowhere, "none", beta_weights="nav"),
        batchcore.verify(nowhere, beta_weights="nav"),
    ):
        with pytest.raises(ConfigError, match="unknown beta_weights `nav`"):
            await work


@pytest.mark.parametrize("how", ["run", "plan"])
async def test_without_scipy_full_ends_before_a_run_begins(
    host: str, how: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    await fill(host)
    monkeypatch.setitem(sys.modules, "scipy", None)
    settings = Settings(min_coverage=0.0, dry_run=how == "plan")

    with pytest.raises(ConfigError, match=r"p-values need SciPy: install `batchcore\[analytics\]`"):
        await run(host, "full", settings=settings)
    assert await batchcore.runs(host) == []

    # Nothing else needs it: not the other levels, nor a host without the table of p-values.
    await run(host, "every", settings=settings)
    await execute(host, "DROP TABLE position_market_betas")
    await run(host, "full", on_existing="replace", settings=settings)


async def test_full_writes_betas_factors_and_market_values(same_host: str) -> None:
    await fill(same_host)

    await run(same_host, "full")

    (beta,) = await rows_of(same_host, "SELECT * FROM position_market_betas")
    assert beta["id"].version == 7
    assert beta["created_at"] == beta["updated_at"] > database.MOMENT
    kept = {name: beta[name] for name in beta if name not in {"id", "created_at", "updated_at"}}
    assert kept == {
        "portfolio_id": key("hand"),
        "position_id": key("hand/0"),
        "calc_date": date_of(LAST),
        "beta": Decimal("1.920635"),  # 121/63
        "alpha": Decimal("0.007937"),  # 1/5 - 121/63 * 1/10 = 1/126
        "r_squared": Decimal("1.000000"),
        "std_error": Decimal("0.000000"),
        "p_value": Decimal("0.000000"),
        "observations": 90,
        "window_days": 90,
        "method": "OLS_SIMPLE",
        "market_index": "SPY",
    }
    # Of the ETFs only SPY has returns; a penalty of n halves the beta: 121/126.
    (own,) = await rows_of(same_host, "SELECT * FROM position_factor_exposures")
    assert own["position_id"] == key("hand/0")
    assert own["factor_id"] == key("factor SPY")
    assert own["calculation_date"] == date_of(LAST)
    assert own["exposure_value"] == Decimal("0.960317")
    assert own["quality_flag"] == "full_history"
    # 600 * 121/126, and that by 10,000
    (whole,) = await rows_of(same_host, "SELECT * FROM factor_exposures")
    assert (whole["portfolio_id"], whole["factor_id"]) == (key("hand"), key("factor SPY"))
    assert whole["exposure_value"] == Decimal("0.057619")
    assert whole["exposure_dollar"] == Decimal("576.19")
    values = await rows_of(
        same_host, "SELECT id, last_price, market_value, unrealized_pnl, updated_at FROM positions"
    )
    found = {row.pop("id"): tuple(row.values()) for row in values}
    assert found == {
        key("hand/0"): (Decimal(60), Decimal(600), Decimal(500), database.MOMENT),
        key("hand/1"): (Decimal(20), Decimal(-100), Decimal(0), database.MOMENT),
        key("hand/2"): (Decimal(3), Decimal(300), Decimal(100), database.MOMENT),
        key("hand/3"): (None, Decimal(400), None, database.MOMENT),  # PRIVATE: left alone
    }


async def table_rows(url: str) -> dict[str, list[dict[str, Any]]]:
    return {table: await rows_of(url, f"SELECT * FROM {table}") for table in TABLES}  # noqa: S608


async def test_rows_that_stand_keep_id_and_creation(same_host: str) -> None:
    await fill(same_host)
    await run(same_host, "full")
    before = await table_rows(same_host)
    await execute(
        same_host,
        "UPDATE market_data_cache SET close = close + 1 WHERE symbol = 'AAA' AND close = 50",
        "DELETE FROM position_factor_exposures",
    )
    result = await run(same_host, "full", on_existing="replace")

    assert "not_replaced" not in result.issues_by_name()
    changing = {"updated_at", *("beta", "alpha", "exposure_value", "exposure_dollar")}
    changing |= {"r_squared", "std_error", "p_value"}
    for table in TABLES[:2]:
        (old,), (row,) = before[table], await rows_of(same_host, f"SELECT * FROM {table}")  # noqa: S608
        assert row["updated_at"] > old["updated_at"]
        changed = {name for name in row if row[name] != old[name]}
        assert {"updated_at"} < changed <= changing
    (old,) = before["position_factor_exposures"]
    (row,) = await rows_of(same_host, "SELECT * FROM position_factor_exposures")
    assert [row[name] for name in ("position_id", "factor_id")] == [
        old[name] for name in ("position_id", "factor_id")
    ]


def theirs(table: str, **own: Any) -> dict[str, Any]:
    """A row of the host's, of the key of one of batchcore's."""
    if table == "position_market_betas":
        row = {"portfolio_id": key("hand"), "position_id": key("hand/0"), "beta": Decimal(7)}
        row |= {"calc_date": date_of(LAST), "observations": 60, "window_days": 90}
        row |= {"method": "OLS_SIMPLE", **stamps("created_at", "updated_at")}
    elif table == "factor_exposures":
        row = {"portfolio_id": key("hand"), "factor_id": key("factor SPY")}
        row |= {"calculation_date": date_of(LAST), "exposure_value": Decimal(7)}
        row |= stamps("created_at", "updated_at")
    else:
        row = {"position_id": key("hand/0"), "factor_id": key("factor SPY")}
        row |= {"calculation_date": date_of(LAST), "exposure_value": Decimal(7)}
        row |= {"quality_flag": "full_history", **stamps("created_at")}
    return {"id": key(f"theirs in {table}"), **row, **own}


@pytest.mark.parametrize("table", TABLES)
async def test_a_row_that_the_host_stored_or_changed_stays_and_is_named(
    same_host: str, table: str
) -> None:
    await fill(same_host)
    await database.copy(same_host, table, [theirs(table)])

    result = await run(same_host, "full")

    (kept,) = (await table_rows(same_host))[table]
    assert {name: kept[name] for name in theirs(table)} == theirs(table)
    found = [one[3:] for one in told(result, "not_replaced")]
    assert found == [(date_of(LAST).isoformat(), f"1 of {table}")]
    entered = await rows_of(
        same_host,
        "SELECT portfolio_id, count, session, detail FROM batchcore_run_issues"
        " WHERE name = 'not_replaced'",
    )
    assert [tuple(row.values()) for row in entered] == [
        (key("hand"), 1, date_of(LAST), f"1 of {table}")
    ]
    assert all(len(rows) == 1 for rows in (await table_rows(same_host)).values())

    # a row that a run has written, and the host changed, whatever its time stamps
    other = TABLES[TABLES.index(table) - 1]
    value = "beta" if other == "position_market_betas" else "exposure_value"
    await execute(same_host, f"UPDATE {other} SET {value} = 7")  # noqa: S608
    result = await run(same_host, "full", on_existing="replace")

    (kept,) = (await table_rows(same_host))[other]
    assert kept[value] == 7
    ((*_, detail),) = told(result, "not_replaced")
    assert set(detail.split(", ")) == {f"1 of {table}", f"1 of {other}"}


@pytest.mark.parametrize(
    ("meddling", "told"),
    [
        (
            acts(
                "RETURN CASE WHEN NEW.name = 'not_replaced' THEN NULL ELSE NEW END;",
                when="BEFORE INSERT",
                table="batchcore_run_issues",
            ),
            "trigger `meddling` on batchcore_run_issues acts on it",
        ),
        (
            """CREATE RULE forgotten AS ON INSERT TO batchcore_run_issues
                WHERE NEW.name = 'not_replaced' DO INSTEAD NOTHING""",
            "rule `forgotten` on batchcore_run_issues acts on it",
        ),
    ],
    ids=["trigger", "rule"],
)
async def test_a_kept_row_that_the_ledger_does_not_keep_is_an_error(
    host: str, meddling: str, told: str
) -> None:
    await fill(host)
    await database.copy(host, TABLES[0], [theirs(TABLES[0])])
    await execute(host, meddling)

    with pytest.raises(DatabaseError, match=told):
        await run(host, "full")

    assert await database.snapshots(host) == {}


async def test_a_trigger_on_time_stamps_makes_no_row_that_of_another(host: str) -> None:
    await fill(host)
    touch = "NEW.updated_at := clock_timestamp(); RETURN NEW;"
    await execute(host, *(acts(touch, table=table, name="touched") for table in TABLES[:2]))
    for _ in range(3):
        result = await run(host, "full", on_existing="replace")
        assert "not_replaced" not in result.issues_by_name()


@pytest.mark.parametrize("first", ["callers", "before the marks"])
async def test_rows_of_batchcore_are_known_again(host: str, first: str) -> None:
    await fill(host)
    if first == "callers":  # written in a transaction of the caller's
        calculator = batchcore.PnLCalculator(Settings(min_coverage=0.0), analytics="full")
        async with database.connected(host) as connection, connection.transaction():
            await calculator.calculate_all_portfolios_pnl(date_of(LAST), connection)
    else:  # by a run that left no marks: its chunks tell
        await run(host, "full")
        await execute(host, "TRUNCATE batchcore_analytic_writes")
    result = await run(host, "full", on_existing="replace")

    assert "not_replaced" not in result.issues_by_name()


SEVERAL = (
    factor("SPY", "Market Beta (SPY)", method="Ridge_REGRESSION"),
    factor("SPY", "Provider Beta", method="provider"),
    factor("TLT", "IR Beta", method="ols regression"),
    factor("TLT", "Long Rates", method="ridge regression"),
    factor("HYG", "Credit", method=None),
)


async def test_only_the_one_regression_on_a_proxy_is_written(
    same_host: str, caplog: pytest.LogCaptureFixture
) -> None:
    await database.fill(same_host, HAND)
    await database.copy(same_host, "factor_definitions", SEVERAL)

    result = await run(same_host, "full")

    off = {
        "factor HYG": (
            "`Credit` has it as proxy, but its method is not a regression: name the right one in"
            " schema.factors"
        ),
        "factor TLT": (
            f"{', '.join(in_order('IR Beta', 'Long Rates'))} are regressions on it: name the right"
            " one in schema.factors"
        ),
    }
    assert {name: result.analytics_off[name] for name in off} == off
    assert "analytics_off='factor TLT'" in caplog.text
    for table in TABLES[1:]:
        rows = await rows_of(same_host, f"SELECT factor_id FROM {table}")  # noqa: S608
        assert [row["factor_id"] for row in rows] == [key("factor Market Beta (SPY)")]


def in_order(*names: str) -> list[str]:
    """Names of factors as they are told: by the ids."""
    return [f"`{name}`" for name in sorted(names, key=lambda name: key(f"factor {name}"))]


async def test_factors_are_mapped_by_name(host: str) -> None:
    await database.fill(host, HAND)
    await database.copy(host, "factor_definitions", SEVERAL)
    factors = {"Provider Beta": "SPY", "Credit": "SPY", "No Such": "TLT"}
    settings = Settings(schema=Schema(factors=factors), min_coverage=0.0)
    await execute(host, "ALTER TABLE factor_definitions DROP COLUMN calculation_method")
    result = await run(host, "full", settings=settings)

    assert result.analytics_off["factor No Such"] == "no active factors of this name, expected one"
    rows = await rows_of(host, "SELECT factor_id, exposure_value FROM factor_exposures")
    assert {row["factor_id"] for row in rows} == {
        key("factor Provider Beta"),
        key("factor Credit"),
    }
    assert {row["exposure_value"] for row in rows} == {Decimal("0.057619")}


async def test_many_marks_of_runs_are_hashed_and_not_searched_for_each_row(
    same_host: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    fetch, plans = Session.fetch, list[str]()

    async def explained(session: Session, query: str, *arguments: object) -> Any:
        if "NOT IN" in query:
            await session.execute("SET LOCAL work_mem = '64kB'")
            plans.append(str(await fetch(session, f"EXPLAIN {query}")))
        return await fetch(session, query, *arguments)

    await fill(same_host, HAND)
    await run(same_host, "full")
    many = "SELECT gen_random_uuid(), now() FROM generate_series(1, 20000)"
    await execute(same_host, f"INSERT INTO batchcore_analytic_writes {many}")
    monkeypatch.setattr(Session, "fetch", explained)
    result = await run(same_host, "full", on_existing="replace")
    assert result.state == "complete"
    assert not any(name == "not_replaced" for name, *_ in told(result))
    assert len(plans) == len(TABLES)
    assert all("hashed SubPlan" in plan for plan in plans)


async def test_some_rows_stand_and_the_others_are_inserted(same_host: str) -> None:
    two = ref.Portfolio("two", Decimal(10_000), POSITIONS[:1])
    await fill(same_host, replace(HAND, portfolios=(*HAND.portfolios, two)))
    await run(same_host, "full", portfolio_ids=[key("two")])
    (first,) = await rows_of(same_host, "SELECT * FROM position_market_betas")

    await run(same_host, "full")

    rows = await rows_of(same_host, "SELECT * FROM position_market_betas")
    assert {row["position_id"] for row in rows} == {key("hand/0"), key("two/0")}
    assert first in rows  # of the portfolio that was skipped
    await run(same_host, "full", on_existing="replace")
    assert len(await rows_of(same_host, "SELECT * FROM position_market_betas")) == 2


async def test_replaced_rows_get_every_column_and_none_leaves_them(same_host: str) -> None:
    await fill(
        same_host, replace(HAND, standing={"hand": (Standing(SESSIONS[-2]), Standing(LAST))})
    )
    await execute(same_host, "UPDATE portfolio_snapshots SET hhi = 5, sector_exposure = '{}'")
    await run(same_host, "none", SESSIONS[-2], on_existing="replace")
    found = await analytics_of(same_host)
    assert {row["hhi"] for row in found.values()} == {Decimal("5.0000")}
    assert {str(row["sector_exposure"]) for row in found.values()} == {"{}"}

    await run(same_host, "portfolio", SESSIONS[-2], on_existing="replace")

    found = await analytics_of(same_host)
    assert set(found[key("hand"), SESSIONS[-2]].values()) == {None}
    assert found[key("hand"), LAST]["hhi"] == HAND_COLUMNS["hhi"]


async def test_market_values_are_of_the_latest_snapshot_only(same_host: str) -> None:
    later = replace(HAND, standing={"hand": (Standing(LAST),)})
    await fill(same_host, later)

    await run(same_host, "full", SESSIONS[-2], SESSIONS[-2])  # skipped: a later one stands
    assert await database.fetchval(same_host, "SELECT count(last_price) FROM positions") == 0

    # replace goes on to the later one (S13), which is the latest then
    await run(same_host, "full", SESSIONS[-2], SESSIONS[-2], on_existing="replace")
    async with database.connected(same_host) as connection:
        assert await connection.fetchval("SELECT count(last_price) FROM positions") == 3
        dates = await connection.fetch("SELECT DISTINCT calc_date FROM position_market_betas")
    assert [row["calc_date"] for row in dates] == [date_of(LAST)]


async def test_volatility_is_that_of_the_last_returns_that_are_there(same_host: str) -> None:
    days = SESSIONS[-24:-1]
    # 20 returns of 0.02 and 0 in turn, one NULL, and two before them that do not count
    returns = [Decimal("0.5"), Decimal("0.5"), None, *([Decimal("0.02"), Decimal(0)] * 10)]
    standing = tuple(Standing(day, Decimal(10_000)) for day in days)
    # 10 AAA that were bought on the session before at 50 close at 60: a return of 0.01
    held = ref.Position("AAA", "LONG", Decimal(10), Decimal(50), days[-1])
    await fill(same_host, Host((ref.Portfolio("hand", None, (held,)),), PRICES, {"hand": standing}))
    async with database.connected(same_host) as connection:
        await connection.executemany(
            "UPDATE portfolio_snapshots SET daily_return = $1 WHERE snapshot_date = $2",
            zip(returns, map(date_of, days), strict=True),
        )

    await run(same_host, "portfolio")

    found = (await analytics_of(same_host))[key("hand"), LAST]
    # mean 0.01, and 20 deviations of 0.01: sqrt(20 * 0.0001 / 20 * 252)
    assert found["realized_volatility_21d"] == Decimal("0.1587")
    assert found["realized_volatility_63d"] is None


async def test_one_session_at_a_time_and_two_chunks_are_the_same(same_host: str) -> None:
    first = SESSIONS[-6]
    held = tuple(replace(position, entry_day=first) for position in POSITIONS)
    sold = ref.Position("AAA", "LONG", Decimal(4), Decimal(9), first, Decimal(55), SESSIONS[-3])
    portfolios = tuple(
        ref.Portfolio(name, Decimal(10_000), positions)
        for name, positions in (("one", held), ("two", (sold, *held[:2])), ("three", ()))
    )
    whole = Host(portfolios, PRICES)
    await fill(same_host, whole)
    await run(same_host, "every", first)
    found = await analytics_of(same_host)
    await execute(same_host, EMPTY)
    await fill(same_host, whole)
    for day in SESSIONS[-6:]:
        await run(same_host, "every", day, day, settings=Settings(min_coverage=0.0, chunk_size=1))

    assert await analytics_of(same_host) == found
    assert len(found) == 18
    # AAA went from 50 to 60 and CCC from its 2 to 3: the equity is 10,200
    assert found[key("one"), LAST] == HAND_COLUMNS | {
        "sector_exposure": {"ETFs": 0.009804, "Financials": 0.058824, "Unclassified": 0.068627},
        "beta_calculated_90d": Decimal("0.1130"),
    }
    nothing = found[key("three"), LAST]
    assert nothing.pop("sector_exposure") == {}
    assert set(nothing.values()) == {None}


async def test_the_roll_forward_is_the_same_whatever_the_level(same_host: str) -> None:
    first = SESSIONS[-6]
    # a close that is older than the window of the roll-forward, and one in that of the analytics
    old = (("CCC", SESSIONS[-60], Decimal(8)), ("BBB", SESSIONS[-30], Decimal(31)))
    held = tuple(replace(position, entry_day=SESSIONS[-100]) for position in POSITIONS)
    whole = Host((ref.Portfolio("hand", Decimal(10_000), held),), (*PRICES, *old))
    found = []
    for level in ("none", "portfolio", "every", "full"):
        await execute(same_host, EMPTY)
        await fill(same_host, whole)
        result = await run(same_host, level, first)
        told = dict(result.cache), result.coverage.recent.tolist(), result.issues_by_name()
        stored = database.without_stamps(await database.snapshots(same_host), *ANALYTIC)
        found.append((stored, told))

    assert found[1:] == found[:1] * 3
    assert len(found[0][0]) == 6


async def test_the_price_window_grows_only_for_what_is_asked(same_host: str) -> None:
    position = replace(POSITIONS[0], symbol="AAA")
    await fill(same_host, Host((ref.Portfolio("hand", Decimal(10_000), (position,)),), PRICES))
    loaded = {
        level: (await run(same_host, level, on_existing="replace")).rows_by_load
        for level in ("none", "portfolio", "every", "full")
    }
    # AAA on the session and on the nine before, at which `price_frozen` looks: more than the seven
    # in the ten days of the lookback
    assert [loaded[level]["prices"] for level in loaded] == [10, 254, 254, 254]
    assert "profiles" not in loaded["none"]
    # of 130 sessions: `every` needs 126 returns up to the first of three, the others to the last
    for level, sessions in (("portfolio", 127), ("every", 129)):
        result = await run(same_host, level, SESSIONS[-3], on_existing="replace")
        assert result.rows_by_load["prices"] == 2 * sessions


async def test_statements_of_each_level(same_host: str) -> None:
    await fill(same_host)
    await run(same_host, "none")
    plain, own, full, again = [
        dict((await run(same_host, level, on_existing="replace")).statements_by_phase)
        for level in ("none", "portfolio", "full", "full")
    ]
    # the profiles of the run, and the past returns of the chunk
    assert own == plain | {"load": plain["load"] + 2}
    # the factors; whether rows stand, a COPY into each of three tables, COPY and UPDATE of values
    assert full == own | {"load": own["load"] + 1, "persist": own["persist"] + 1 + 3 + 2}
    # where rows stand, what others stored is taken out, an UPDATE and an INSERT for each table
    assert again == full | {"persist": full["persist"] + 3 * 3}


@pytest.mark.parametrize(
    ("dropped", "parts", "nulls"),
    [
        (
            *("company_profiles", ("provider_beta", "sector_exposure")),
            {"beta_provider_1y", "sector_exposure"},
        ),
        ("position_market_betas", ("position_market_betas",), set()),
        ("factor_definitions", ("factor_exposures",), set()),
        ("position_factor_exposures", ("factor_exposures",), set()),
    ],
)
async def test_an_absent_table_switches_its_part_off(
    host: str,
    caplog: pytest.LogCaptureFixture,
    dropped: str,
    parts: tuple[str, ...],
    nulls: set[str],
) -> None:
    off = dict.fromkeys(parts, f"no table public.{dropped}")
    await fill(host)
    await execute(host, f"DROP TABLE {dropped} CASCADE")
    result = await run(host, "full")

    assert dict(result.analytics_off) == off == result.to_dict()["analytics_off"]
    for part, reason in off.items():
        assert f"analytics_off={part}" in caplog.text
        assert f"analytics off: {part}, {reason}" in result_text(result, result.to_dict())
    found = (await analytics_of(host))[key("hand"), LAST]
    expected = {name: None if name in nulls else value for name, value in HAND_COLUMNS.items()}
    assert found == expected


async def test_a_plan_tells_what_is_off_and_loads_nothing_for_it(host: str) -> None:
    await fill(host)
    plain = await run(host, "none", settings=Settings(min_coverage=0.0, dry_run=True))
    await execute(host, "DROP TABLE factor_exposures")
    planned = await run(host, "full", settings=Settings(min_coverage=0.0, dry_run=True))
    assert dict(planned.analytics_off) == {"factor_exposures": "no table public.factor_exposures"}
    assert planned.statements_by_phase == plain.statements_by_phase
    assert planned.rows_by_load == plain.rows_by_load


async def test_a_missing_column_is_named_unless_nothing_is_analysed(host: str) -> None:
    await fill(host)
    await execute(host, "ALTER TABLE portfolio_snapshots DROP COLUMN hhi")
    needed = "missing column, needed only for `analytics` (not for `none`)"
    with pytest.raises(SchemaError) as raised:
        await run(host, "portfolio")
    assert str(raised.value) == f"public.portfolio_snapshots.hhi: {needed}"
    assert (await run(host, "none")).rows_written == 1
    await execute(host, "ALTER TABLE positions DROP COLUMN unrealized_pnl, DROP COLUMN exit_price")
    with pytest.raises(SchemaError) as raised:
        await run(host, "full")
    assert set(raised.value.problems) == {
        "public.positions.exit_price: missing column",
        f"public.positions.unrealized_pnl: {needed}",
        f"public.portfolio_snapshots.hhi: {needed}",
    }


async def test_sector_exposure_may_be_jsonb(host: str) -> None:
    await fill(host)
    await execute(host, "ALTER TABLE portfolio_snapshots ALTER sector_exposure TYPE jsonb")
    await run(host, "portfolio")
    await run(host, "portfolio", on_existing="replace")
    found = (await analytics_of(host))[key("hand"), LAST]
    assert found["sector_exposure"] == HAND_COLUMNS["sector_exposure"]


async def test_a_figure_that_does_not_fit_is_null_with_an_issue(host: str) -> None:
    await fill(host)
    await execute(
        host,
        "ALTER TABLE portfolio_snapshots ALTER hhi TYPE numeric(7,4)",
        "ALTER TABLE position_market_betas ALTER beta TYPE numeric(6,6)",
        "ALTER TABLE position_market_betas ALTER r_squared TYPE numeric(6,6)",
        "ALTER TABLE positions ALTER unrealized_pnl TYPE numeric(4,2)",
    )
    result = await run(host, "full")

    assert result["success"]
    assert (await analytics_of(host))[key("hand"), LAST] == HAND_COLUMNS | {"hhi": None}
    details = defaultdict(list)
    for issue in result.to_dict()["issues"]:
        details[issue["name"]].append((issue["symbol"], issue["detail"]))
    found = sorted(detail.split(" = ")[0] for _, detail in details["analytic_out_of_range"])
    assert found == ["beta", "hhi", "r_squared"]
    assert sorted(details["market_value_out_of_range"]) == [
        ("CCC", "unrealized_pnl = 100.00"),
        ("aaa ", "unrealized_pnl = 500.00"),
    ]
    assert await rows_of(host, "SELECT 1 FROM position_market_betas") == []
    values = await rows_of(host, "SELECT last_price FROM positions WHERE last_price IS NOT NULL")
    assert [row["last_price"] for row in values] == [Decimal(20)]


async def test_equity_that_is_not_above_zero_gives_no_shares(same_host: str) -> None:
    await fill(
        same_host, replace(HAND, portfolios=(replace(HAND.portfolios[0], opening_equity=None),))
    )

    await run(same_host, "full")

    found = (await analytics_of(same_host))[key("hand"), LAST]
    lost = {"sector_exposure", *(name for name in HAND_COLUMNS if "calculated" in name)}
    expected = {name: None if name in lost else value for name, value in HAND_COLUMNS.items()}
    assert found == expected
    assert await rows_of(same_host, "SELECT 1 FROM factor_exposures") == []
    assert len(await rows_of(same_host, "SELECT 1 FROM position_market_betas")) == 1


async def test_a_role_must_be_allowed_what_its_level_writes(host: str) -> None:
    await fill(host)
    kept = [name for name in ledger.tables if name != "batchcore_analytic_writes"]
    grants = (
        "SELECT ON ALL TABLES IN SCHEMA public",
        "INSERT, UPDATE ON portfolio_snapshots",
        "UPDATE (equity_balance, updated_at) ON portfolios",
        f"INSERT, UPDATE, DELETE ON {', '.join(kept)}",
        "USAGE ON SEQUENCE batchcore_run_tokens",
    )
    async with role_of(host, *grants) as (_, url):
        assert (await run(url, "portfolio")).rows_written == 1
        with pytest.raises(SchemaError) as caught:
            await run(url, "full", on_existing="replace")
    problems = caught.value.problems
    assert "public.positions.last_price: the role may not UPDATE it" in problems
    assert "public.position_market_betas.beta: the role may not INSERT it" in problems
    assert "public.factor_exposures.exposure_value: the role may not UPDATE it" in problems
    assert "public.batchcore_analytic_writes: the role may not INSERT it" in problems
    assert not [problem for problem in problems if "factor_definitions" in problem]


async def lots_of(url: str, day: dt.date) -> list[dict[str, Any]]:
    """Return what is left of positions held on a day, and the parts of them closed later."""
    return await rows_of(
        url,
        f"""
        SELECT p.id, lot.is_left, p.portfolio_id, p.symbol, p.position_type::text AS type,
            p.entry_price, COALESCE(p.investment_class, '') AS class, p.market_value, lot.quantity,
            (SELECT close FROM market_data_cache m WHERE m.symbol = p.symbol AND m.close > 0
                AND m.date BETWEEN p.entry_date AND '{day}' ORDER BY m.date DESC LIMIT 1) AS mark
        FROM positions p CROSS JOIN LATERAL (
            SELECT p.quantity, p.exit_date AS until, p.expiration_date AS expires,
                true AS is_left WHERE p.quantity <> 0
            UNION ALL SELECT e.quantity_closed * CASE WHEN p.quantity < 0 OR p.quantity = 0
                AND p.position_type IN ('SHORT', 'SC', 'SP') THEN -1 ELSE 1 END,
                e.trade_date, NULL, false
            FROM position_realized_events e WHERE e.position_id = p.id) AS lot
        WHERE p.deleted_at IS NULL AND p.entry_date <= '{day}'
            AND COALESCE(lot.until, CASE WHEN p.position_type IN ('LC', 'LP', 'SC', 'SP')
                THEN lot.expires END, 'infinity') > '{day}'
        """,  # noqa: S608
    )


def value_of(lot: dict[str, Any]) -> float:
    if lot["class"] == "PRIVATE" and lot["market_value"]:
        return float(lot["market_value"])
    option = 100 if lot["type"] in {"LC", "LP", "SC", "SP"} else 1
    price = lot["entry_price"] if lot["class"] == "PRIVATE" else lot["mark"] or lot["entry_price"]
    return float(price * lot["quantity"] * option)


@dataclass
class Real:
    """The demo's portfolios on the closes of the package, after a run of 3 sessions.

    Positions `before` the run are rows by id, returns of each symbol begin with the oldest, and
    regressions are of its last 90 on those of SPY.
    """

    url: str
    before: dict[Any, dict[str, Any]] = field(default_factory=dict)
    last: dt.date = dt.date.min
    returns: dict[str, Any] = field(default_factory=dict)
    regressions: dict[str, Any] = field(default_factory=dict)


@pytest.fixture(scope="module")
def real(server: Any, template: str) -> Iterator[Real]:
    found = Real("")

    async def fill(url: str) -> None:
        made = demo.seeded(demo.Size(portfolios=60, symbols=None, sessions=3), seed=5)
        await made.write(url)
        found.before = {row["id"]: row for row in await rows_of(url, "TABLE positions")}
        result = await run(url, "full", made.market.start, made.market.end)
        assert result["success"]
        found.last = date_of(made.market.end)
        closes: dict[str, list[float]] = defaultdict(list)
        query = "SELECT symbol, close::float8 FROM market_data_cache ORDER BY date"
        for row in await rows_of(url, query):
            closes[row["symbol"]].append(row["close"])
        found.returns = {name: np.diff(own) / own[:-1] for name, own in closes.items()}
        market = found.returns["SPY"][-90:]
        found.regressions = {
            name: regressions.line(own[-90:], market) for name, own in found.returns.items()
        }

    for url in database.shared(server, fill, template):
        found.url = url
        yield found


async def test_betas_on_the_real_closes_are_those_of_scipy(real: Real) -> None:
    stored = await rows_of(
        real.url,
        "SELECT b.*, p.symbol, p.portfolio_id AS owner FROM position_market_betas b"
        " JOIN positions p ON p.id = b.position_id",
    )

    assert len({row["symbol"] for row in stored}) > 20
    for row in stored:
        fit = real.regressions[row["symbol"]]
        assert (row["portfolio_id"], row["calc_date"]) == (row["owner"], real.last)
        assert float(row["beta"]) == pytest.approx(fit.slope, abs=6e-7)
        assert float(row["alpha"]) == pytest.approx(fit.intercept, abs=6e-7)
        assert float(row["r_squared"]) == pytest.approx(fit.rvalue**2, abs=6e-7)
        assert float(row["std_error"]) == pytest.approx(fit.stderr, abs=6e-7)
        assert float(row["p_value"]) == pytest.approx(fit.pvalue, abs=6e-7)
        assert row["observations"] == 90


def figures_of(
    held: list[dict[str, Any]],
    equity: float,
    profiles: dict[str, dict[str, Any]],
    regressions: dict[str, Any],
) -> tuple[dict[str, float | None], dict[str, float]]:
    """Return the figures of a portfolio's lots by the rules A1, A3 and A6, and its sectors."""
    sizes: Counter[str] = Counter()
    sectors: Counter[str] = Counter()
    weighted = weighed = calculated = 0.0
    for lot in held:
        value, symbol = value_of(lot), lot["symbol"].strip().upper()
        sizes[symbol] += abs(value)
        name = "Unclassified"
        if lot["type"] in {"LONG", "SHORT"} and lot["class"] != "PRIVATE":
            found = profiles[symbol]
            name = "ETFs" if found["is_etf"] else RENAMED.get(found["sector"], found["sector"])
            calculated += value * regressions[symbol].slope
            if found["beta"]:
                weighted += value * float(found["beta"])
                weighed += value
        sectors[name] += abs(value) / equity
    weights = sorted((size / sum(sizes.values()) for size in sizes.values()), reverse=True)
    hhi = 10_000 * sum(weight**2 for weight in weights)
    return {
        "hhi": hhi,
        "effective_num_positions": 10_000 / hhi,
        "top_3_concentration": sum(weights[:3]),
        "top_10_concentration": sum(weights[:10]),
        "beta_provider_1y": weighted / weighed if weighed > 0 else None,
        "beta_calculated_90d": calculated / equity,
    }, dict(sectors)


async def test_figures_on_the_real_closes_are_those_of_plain_python(real: Real) -> None:
    profiles = {row["symbol"]: row for row in await rows_of(real.url, "TABLE company_profiles")}
    lots = defaultdict(list)
    for lot in await lots_of(real.url, real.last):
        lots[lot["portfolio_id"]].append(lot)
    query = f"SELECT * FROM portfolio_snapshots WHERE snapshot_date = '{real.last}'"  # noqa: S608
    snapshots = await rows_of(real.url, query)

    assert len(snapshots) == 60
    for row in snapshots:
        held = lots[row["portfolio_id"]]
        assert row["num_positions"] == len(held)
        equity = float(row["equity_balance"])
        expected, sectors = figures_of(held, equity, profiles, real.regressions)
        for column, figure in expected.items():
            half_a_unit = 0.006 if column == "effective_num_positions" else 0.00006
            found = None if row[column] is None else float(row[column])
            assert found == pytest.approx(figure, abs=half_a_unit), column
        assert json.loads(row["sector_exposure"]) == pytest.approx(sectors, abs=6e-7)


async def test_functions_of_one_portfolio_say_what_the_run_has_stored(real: Real) -> None:
    query = f"SELECT * FROM portfolio_snapshots WHERE snapshot_date = '{real.last}' LIMIT 20"  # noqa: S608
    for row in await rows_of(real.url, query):
        asked = (real.url, row["portfolio_id"])
        beta = await batchcore.calculate_portfolio_provider_beta(*asked, calculation_date=real.last)
        stored = row["beta_provider_1y"]
        expected = 1.0 if stored is None else float(stored)
        assert beta["portfolio_beta"] == pytest.approx(expected, abs=6e-5)
        exposure = await batchcore.calculate_portfolio_sector_exposure(
            *asked, calculation_date=real.last
        )
        shares, weights = exposure["sector_weights"], exposure["benchmark_weights"]
        assert shares == pytest.approx(json.loads(row["sector_exposure"]), abs=6e-7)
        assert sum(weights.values()) == pytest.approx(1)
        for name, difference in exposure["over_underweights"].items():
            own = shares.get(name, 0) - weights.get(name, 0)
            assert difference == pytest.approx(own, abs=1e-9)


async def test_factor_exposures_on_the_real_closes_are_those_of_scikit_learn(real: Real) -> None:
    host, returns = real.url, real.returns
    factors = await rows_of(host, "TABLE factor_definitions")
    etfs = {row["id"]: row["etf_proxy"] for row in factors if row["etf_proxy"] in returns}
    market = np.column_stack([returns[etf][-90:] for etf in etfs.values()])
    betas = {
        symbol: dict(zip(etfs, regressions.ridge(own[-90:], market, 90.0), strict=True))
        for symbol, own in returns.items()
    }

    stored = await rows_of(
        host,
        "SELECT f.*, p.symbol FROM position_factor_exposures f JOIN positions p"
        " ON p.id = f.position_id",
    )
    dollars: Counter[Any] = Counter()
    for lot in await lots_of(host, real.last):
        if lot["type"] in {"LONG", "SHORT"} and lot["class"] != "PRIVATE":
            for factor_id, beta in betas[lot["symbol"]].items():
                dollars[lot["portfolio_id"], factor_id] += value_of(lot) * beta
    whole = await rows_of(
        host,
        "SELECT f.*, s.equity_balance FROM factor_exposures f JOIN portfolio_snapshots s"
        " ON s.portfolio_id = f.portfolio_id AND s.snapshot_date = f.calculation_date",
    )

    assert len(stored) > 1000
    assert {row["factor_id"] for row in stored} == set(etfs)
    for row in stored:
        expected = betas[row["symbol"]][row["factor_id"]]
        assert float(row["exposure_value"]) == pytest.approx(expected, abs=6e-7)
        assert (row["calculation_date"], row["quality_flag"]) == (real.last, "full_history")
    assert {(row["portfolio_id"], row["factor_id"]) for row in whole} == set(dollars)
    for row in whole:
        dollar = dollars[row["portfolio_id"], row["factor_id"]]
        assert float(row["exposure_dollar"]) == pytest.approx(dollar, abs=0.006)
        share = dollar / float(row["equity_balance"])
        assert float(row["exposure_value"]) == pytest.approx(share, abs=6e-7)


async def test_market_values_on_the_real_closes_are_exact_and_nothing_else_changes(
    real: Real,
) -> None:
    expected = {key: dict(row) for key, row in real.before.items()}
    valued = 0
    for lot in await lots_of(real.url, real.last):
        if lot["is_left"] and lot["class"] != "PRIVATE" and lot["mark"] is not None:
            size = lot["quantity"] * (100 if lot["type"] in {"LC", "LP", "SC", "SP"} else 1)
            value, earned = lot["mark"] * size, (lot["mark"] - lot["entry_price"]) * size
            expected[lot["id"]] |= {
                "last_price": lot["mark"],
                "market_value": value.quantize(Decimal("0.01"), ROUND_HALF_UP),
                "unrealized_pnl": earned.quantize(Decimal("0.01"), ROUND_HALF_UP),
            }
            valued += 1

    assert valued > 200
    assert {row["id"]: row for row in await rows_of(real.url, "TABLE positions")} == expected


async def test_tables_and_columns_may_have_other_names(host: str) -> None:
    await fill(host)
    names = {
        "company_profiles": ("symbol", "beta", "sector", "is_etf"),
        "position_market_betas": ("calc_date", "method", "beta", "created_at"),
        "factor_definitions": ("id", "etf_proxy", "is_active"),
        "factor_exposures": ("factor_id", "exposure_value", "updated_at"),
        "position_factor_exposures": ("position_id", "calculation_date", "quality_flag"),
        "portfolio_snapshots": ("hhi", "sector_exposure", "daily_return"),
        "positions": ("last_price", "unrealized_pnl"),
    }
    schema = Schema(
        tables={table: f"their {table}" for table in names},
        columns={f"{table}.{c}": f"its {c}" for table, own in names.items() for c in own},
    )
    renamed, back = [], []
    for table, own in names.items():
        renamed += [f'ALTER TABLE {table} RENAME {column} TO "its {column}"' for column in own]
        renamed += [f'ALTER TABLE {table} RENAME TO "their {table}"']
        back += [f'ALTER TABLE "their {table}" RENAME TO {table}']
        back += [f'ALTER TABLE {table} RENAME "its {column}" TO {column}' for column in own]
    settings = Settings(schema=schema, min_coverage=0.0)
    await execute(host, *renamed)
    await run(host, "full", settings=settings)
    await run(host, "full", settings=settings, on_existing="replace")
    await execute(host, *back)
    assert await analytics_of(host) == {(key("hand"), LAST): HAND_COLUMNS}
    assert all(len(rows) == 1 for rows in (await table_rows(host)).values())
    assert await database.fetchval(host, "SELECT count(last_price) FROM positions") == 3
