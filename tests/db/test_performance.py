"""Performance over rows that the tests store, worked by hand; and over those of a run."""

import datetime as dt
from collections.abc import Sequence
from decimal import Context, Decimal, localcontext
from itertools import groupby

import numpy as np
import pytest

import batchcore
from batchcore import reference as ref
from batchcore.calendar import date_of
from batchcore.config import Settings
from batchcore.demo import run as demo
from batchcore.errors import ConfigError, SchemaError
from support import database
from support.cases import day
from support.database import Host, Standing
from support.returns import DECIMALS, Expected, compounded
from support.roles import role_of

WORKED = (
    ("2026-01-02", "1000.00", "0.00"),
    ("2026-01-05", "1050.00", "50.00"),
    ("2026-01-06", "940.00", "-210.00", "100.00"),
    ("2026-01-07", "1175.00", "235.00"),
)
"""The chain of docs/semantics.md: session, equity, P&L, flow."""

PAID_IN = (ref.Flow(day("2026-01-06"), Decimal(100), "CONTRIBUTION"),)


def standing(rows: Sequence[tuple[str | None, ...]]) -> tuple[Standing, ...]:
    def amount(text: str | None) -> Decimal | None:
        return None if text is None else Decimal(text)

    return tuple(
        Standing(
            day(str(session)),
            amount(equity),
            daily_pnl=amount(pnl),
            daily_capital_flow=amount(flow[0]) if flow else Decimal(0),
        )
        for session, equity, pnl, *flow in rows
    )


async def stored(
    url: str,
    rows: Sequence[tuple[str | None, ...]] = WORKED,
    flows: Sequence[ref.Flow] = PAID_IN,
    prices: Sequence[tuple[str, str, str]] = (),
) -> None:
    portfolio = ref.Portfolio("p0", Decimal(0), (), tuple(flows))
    closes = tuple((symbol, day(when), Decimal(close)) for symbol, when, close in prices)
    await database.fill(url, Host((portfolio,), closes, {"p0": standing(rows)}))


async def row_of(url: str, **arguments: object) -> dict:
    (row,) = (await batchcore.performance(url, **arguments)).rows()
    return row


def date(text: str) -> dt.date:
    return dt.date.fromisoformat(text)


async def test_the_chain_of_the_documents(same_host: str) -> None:
    await stored(same_host)
    row = await row_of(same_host, periods="ITD")
    assert (row["portfolio_id"], row["period"]) == (database.key("p0"), "ITD")
    assert (row["start"], row["end"], row["sessions"]) == (
        date("2026-01-02"),
        date("2026-01-07"),
        3,
    )
    assert row["twr"] == Decimal("0.05")
    assert row["max_drawdown"] == Decimal("-0.2")
    assert row["peak"] == date("2026-01-05")
    assert row["trough"] == date("2026-01-06")
    assert row["recovered"] == date("2026-01-07")
    assert row["current_drawdown"] == 0
    assert (row["best"], row["best_day"]) == (Decimal("0.25"), date("2026-01-07"))
    assert (row["worst"], row["worst_day"]) == (Decimal("-0.2"), date("2026-01-06"))
    assert row["gains"] == pytest.approx(2 / 3)
    # mean 1/30; in units of 1/60 the squares are 1 + 196 + 169 = 366, by 2
    assert row["volatility"] == pytest.approx((183 / 3600 * 252) ** 0.5)
    growth = (1 + row["mwr_annual"]) ** (1 / 365)
    assert 1000 * growth**5 + 100 * growth == pytest.approx(1175)
    assert row["mwr"] == pytest.approx(growth**5 - 1)
    assert row["twr_annual"] is None  # of five days
    assert (row["benchmark"], row["difference"], row["reason"]) == (None, None, None)


async def test_contributions_at_the_start_of_a_session(same_host: str) -> None:
    await stored(same_host)
    row = await row_of(same_host, periods="ITD", inflows="start")
    loss = DECIMALS.divide(Decimal(-210), Decimal(1150))
    expected = Decimal("1.05") * (1 + loss) * Decimal("1.25") - 1
    assert row["twr"] == pytest.approx(expected, abs=Decimal(10) ** -27)
    assert str(row["twr"]).startswith("0.07282608695652173913043478")
    # a withdrawal is no contribution
    await database.execute(same_host, "UPDATE equity_changes SET change_type = 'WITHDRAWAL'")
    assert (await row_of(same_host, periods="ITD", inflows="start"))["twr"] == Decimal("0.05")


async def test_each_period_begins_with_the_row_before_it(same_host: str) -> None:
    rows = [
        ("2024-12-31", "100", "0"),
        ("2025-01-02", "110", "10"),  # + 10 %
        ("2025-01-03", "121", "11"),  # + 10 %
    ]
    await stored(same_host, rows, ())
    found = (await batchcore.performance(same_host)).rows()
    shown = {row["period"]: (row["start"], row["sessions"], row["twr"]) for row in found}
    whole = (date("2024-12-31"), 2, Decimal("0.21"))
    assert shown == {
        "1D": (date("2025-01-02"), 1, Decimal("0.1")),
        **dict.fromkeys(("MTD", "QTD", "YTD", "1Y", "3Y", "5Y", "ITD"), whole),
    }
    reasons = {row["period"]: row["reason"] for row in found}
    early = "from the first snapshot on: there is none on or before 20"
    assert {name for name, text in reasons.items() if text and early in text} == {"1Y", "3Y", "5Y"}


async def test_a_range_and_an_end(same_host: str) -> None:
    await stored(same_host)
    row = await row_of(same_host, start=date("2026-01-06"), end=date("2026-01-06"))
    assert (row["period"], row["start"]) == ("2026-01-06/2026-01-06", date("2026-01-05"))
    assert row["twr"] == Decimal("-0.2")
    # the last day of the year before: begins with the snapshot of 5 January again
    row = await row_of(same_host, periods="1D", end=date("2026-01-06"))
    assert (row["twr"], row["end"]) == (Decimal("-0.2"), date("2026-01-06"))
    row = await row_of(same_host, start=date("2026-01-08"))
    assert (row["twr"], row["start"], row["sessions"]) == (None, None, 0)
    assert row["reason"] == "no session in the period"


async def test_a_year_and_more_is_annualised(same_host: str) -> None:
    rows = [("2024-01-02", "100", "0"), ("2026-01-02", "121", "21")]
    await stored(same_host, rows, ())
    row = await row_of(same_host, periods="ITD", calendar="daily")
    assert row["twr"] is None  # a gap of two years
    closes = [("AAA", session, "1") for session, *_ in rows]
    await database.fill(same_host, Host((), tuple((s, day(d), Decimal(c)) for s, d, c in closes)))
    row = await row_of(same_host, periods="ITD", calendar="prices")
    assert row["twr"] == Decimal("0.21")
    # 731 days
    power = DECIMALS.divide(Decimal(365), Decimal(731))
    expected = DECIMALS.subtract(DECIMALS.power(Decimal("1.21"), power), Decimal(1))
    assert row["twr_annual"] == expected
    assert row["mwr_annual"] == pytest.approx(float(expected))
    assert row["mwr"] == pytest.approx(0.21)


NO_TWR = "no time-weighted return: "
NO_MWR = "no money-weighted return: "


@pytest.mark.parametrize(
    ("rows", "reason", "has_mwr"),
    [
        pytest.param(
            [WORKED[0], WORKED[1], ("2026-01-07", "1060", "10")],
            NO_TWR + "a gap of 1 session, the first on 2026-01-06",
            True,
            id="a gap",
        ),
        pytest.param(
            [WORKED[0], ("2026-01-05", "0.00", "-1000"), ("2026-01-06", "50", "50")],
            NO_TWR + "the equity of 2026-01-05, 0.00, is not above 0",
            True,
            id="nothing left",
        ),
        pytest.param(
            [("2026-01-02", "-5", "0"), ("2026-01-05", "10", "15")],
            NO_TWR
            + "the equity of 2026-01-02, -5.00, is not above 0; "
            + NO_MWR
            + "its amounts have no change of sign",
            False,
            id="below 0",
        ),
        pytest.param(
            [WORKED[0], ("2026-01-05", "1010", None)],
            NO_TWR + "daily_pnl of 2026-01-05 is NULL",
            True,
            id="no P&L",
        ),
        pytest.param(
            [WORKED[0], ("2026-01-05", "1000000", "999000")],
            NO_MWR + "no rate in (-1, 1000) makes its amounts 0",
            False,
            id="beyond 1000",
        ),
        pytest.param(WORKED[:1], "no session in the period", False, id="a baseline"),
        pytest.param([], "no complete snapshot", False, id="nothing"),
    ],
)
async def test_what_is_not_available_has_its_reason(
    same_host: str, rows: list, reason: str, *, has_mwr: bool
) -> None:
    await stored(same_host, rows, ())
    row = await row_of(same_host, periods="ITD")
    assert row["reason"] == reason
    assert (row["mwr"] is not None) == has_mwr
    if reason.startswith(NO_TWR):
        figures = ("twr", "volatility", "max_drawdown", "peak", "current_drawdown", "best", "gains")
        assert [row[name] for name in figures] == [None] * len(figures)


async def test_incomplete_rows_and_rows_off_session_are_no_part_of_a_chain(same_host: str) -> None:
    await stored(same_host)
    await database.execute(
        same_host,
        "UPDATE portfolio_snapshots SET is_complete = false WHERE snapshot_date = '2026-01-06'",
        "UPDATE portfolio_snapshots SET snapshot_date = '2026-01-04', equity_balance = 7"
        " WHERE snapshot_date = '2026-01-05'",
    )
    row = await row_of(same_host, periods="ITD")
    assert (row["sessions"], row["start"]) == (1, date("2026-01-02"))
    assert row["reason"].startswith(NO_TWR + "a gap of 2 sessions, the first on 2026-01-05")


async def test_flows_that_the_rows_do_not_have_are_told(same_host: str) -> None:
    late = (*PAID_IN, ref.Flow(day("2026-01-03"), Decimal(5), "WITHDRAWAL"))
    await stored(same_host, flows=late)
    row = await row_of(same_host, periods="ITD")
    assert row["reason"] == (
        "the flows up to 2026-01-05 are not the daily_capital_flow stored for it"
    )
    assert row["twr"] == Decimal("0.05")
    assert row["mwr"] is not None
    # none is in the period
    assert "flows" not in (await row_of(same_host, periods="1D"))["reason"]


async def test_several_rates_are_none(same_host: str) -> None:
    rows = [("2023-12-29", "-100", "0"), ("2025-12-29", "132", "0")]
    flow = ref.Flow(day("2024-12-29"), Decimal(230), "CONTRIBUTION")
    await stored(same_host, rows, [flow])
    row = await row_of(same_host, periods="ITD")
    assert row["mwr"] is None
    assert NO_MWR + "more than one rate in (-1, 1000)" in row["reason"]


CLOSES = [("SPY", "2025-12-24", "50"), ("spy ", "2026-01-05", "52"), ("SPY", "2026-01-07", "55")]


async def test_a_benchmark_on_the_same_dates(same_host: str) -> None:
    await stored(same_host, prices=CLOSES)
    row = await row_of(same_host, periods="ITD", benchmark=" spy")
    # the close of 24 December is 9 days old on 2 January
    assert row["benchmark"] == Decimal("0.1")
    assert row["difference"] == Decimal("-0.05")
    row = await row_of(same_host, periods="1D", benchmark="SPY")
    ratio = DECIMALS.subtract(DECIMALS.divide(Decimal(55), Decimal(52)), Decimal(1))
    assert row["benchmark"] == ratio
    assert row["difference"] == DECIMALS.subtract(Decimal("0.25"), ratio)
    settings = Settings(lookback_days=8)
    row = await row_of(same_host, periods="ITD", benchmark="SPY", settings=settings)
    assert row["benchmark"] is None
    assert row["reason"] == ("no benchmark: SPY has no close on 2026-01-02 or in the 8 days before")


async def test_a_benchmark_without_any_close_is_refused(same_host: str) -> None:
    await stored(same_host, prices=CLOSES)
    with pytest.raises(ConfigError, match="`SPX` has no close up to 2026-01-07"):
        await batchcore.performance(same_host, benchmark="spx")


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"inflows": "middle"}, "unknown inflows `middle`, expected one of end, start"),
        ({"periods": ["2W"]}, "unknown period `2W`"),
        ({"periods": 5}, "periods is of type int, expected an iterable"),
        ({"benchmark": " "}, "benchmark is ' ', expected a symbol"),
        ({"calendar": "XXXX"}, "unknown calendar `XXXX`"),
        ({"portfolio_ids": ["0" * 32]}, "unknown portfolio 00000000-0000"),
        ({"portfolio_ids": ["x"]}, "is not a UUID"),
        ({"settings": Settings(schema=batchcore.Schema(tables={"portfolios": "x"}))}, "missing"),
    ],
)
async def test_a_wrong_argument_is_named(same_host: str, arguments: dict, message: str) -> None:
    with pytest.raises((ConfigError, SchemaError), match=message):
        await batchcore.performance(same_host, **arguments)


async def test_no_portfolio_has_no_rows(same_host: str) -> None:
    found = await batchcore.performance(same_host, [])
    assert (len(found), found.rows(), found.to_dict()) == (0, [], {"rows": []})
    assert (found.twr.scale, found.benchmark.scale) == (28, 28)


async def test_a_host_without_flows_and_a_role_that_reads_three_tables(host: str) -> None:
    await stored(host, flows=())
    await database.execute(host, "DROP TABLE equity_changes")
    async with role_of(host, "SELECT ON portfolios, portfolio_snapshots") as (_, url):
        assert (await row_of(url, periods="ITD"))["twr"] == Decimal("0.05")


KEYS = (
    "portfolio period start end sessions twr twr_annual mwr mwr_annual volatility max_drawdown peak"
    " trough recovered benchmark reason"
)


async def test_json_has_its_keys(same_host: str) -> None:
    await stored(same_host)
    (row,) = (await batchcore.performance(same_host, periods="ITD")).to_dict()["rows"]
    assert list(row) == KEYS.split()
    assert row["portfolio"] == str(database.key("p0"))
    assert (row["start"], row["twr"], row["max_drawdown"]) == ("2026-01-02", "0.05", "-0.2")
    assert isinstance(row["volatility"], float)
    assert row["twr_annual"] is None


SIZE = demo.Size(portfolios=30, symbols=40, sessions=25)


async def run_of(url: str) -> None:
    """Write the rows of a generated market, which has flows of all kinds."""
    data = demo.seeded(SIZE, seed=7)
    await data.write(url)
    days = data.market.days[data.market.first :]
    await batchcore.run_batch(url, date_of(int(days[0])), date_of(int(days[-1])), analytics="none")


@pytest.fixture(scope="module")
def valued(server, template: str):
    yield from database.shared(server, run_of, template)


async def test_the_rows_of_a_run_by_a_second_implementation(valued: str) -> None:
    found = await batchcore.performance(valued, periods=["MTD", "ITD"])
    by_key = {(row["portfolio_id"], row["period"]): row for row in found.rows()}
    rows = await database.fetch(
        valued,
        "SELECT portfolio_id, snapshot_date, equity_balance, daily_pnl FROM portfolio_snapshots"
        " ORDER BY portfolio_id, snapshot_date",
    )
    chains = {
        owner: [tuple(row)[1:] for row in own] for owner, own in groupby(rows, lambda row: row[0])
    }
    assert len(chains) > 20
    for owner, chain in chains.items():
        month = [row for row in chain if row[0] >= date("2025-06-01")]
        for period, own in (("ITD", chain), ("MTD", chain[-len(month) - 1 :])):
            expected = compounded(
                [int(100 * pnl) for _, _, pnl in own[1:]],
                [int(100 * equity) for _, equity, _ in own[:-1]],
            )
            assert isinstance(expected, Expected)
            row = by_key[owner, period]
            assert row["twr"] == expected.total
            assert row["max_drawdown"] == (expected.depth or 0)
            returns = [float(one) for one in expected.returns]
            deviation = np.std(returns, ddof=1) * np.sqrt(252)
            assert row["volatility"] == pytest.approx(deviation)
            assert row["start"] == own[0][0]
    assert any(row["mwr"] is not None for row in by_key.values())


def nearly(found: batchcore.Performance) -> list[dict]:
    """Return rows whose floats are equal up to what is left of the search for a rate."""
    return [
        {
            name: pytest.approx(cell, rel=1e-9) if isinstance(cell, float) else cell
            for name, cell in row.items()
        }
        for row in found.rows()
    ]


async def test_chunks_and_selections_make_no_difference(valued: str) -> None:
    whole = await batchcore.performance(valued, benchmark="SPY", inflows="start")
    done: list[tuple[str, int, int]] = []
    small = await batchcore.performance(
        valued,
        benchmark="SPY",
        inflows="start",
        settings=Settings(chunk_size=7),
        progress=lambda *told: done.append(told),
    )
    assert nearly(small) == nearly(whole)
    total = done[-1][2]
    assert done[-1] == ("performance", total, total)
    assert len(done) == -(-total // 7)
    some = [row["portfolio_id"] for row in whole.rows()[::8]][3:6]
    picked = await batchcore.performance(valued, some[::-1], benchmark="SPY", inflows="start")
    assert nearly(picked) == [row for row in nearly(whole) if row["portfolio_id"] in some]


async def found_in(url: str, context: Context) -> list[dict]:
    """Return what each call finds of stored rows under a decimal context of the caller."""
    with localcontext(context):
        one = (await batchcore.performance(url)).rows()[0]
        return [
            *[
                (await batchcore.verify(url, fast=fast)).to_dict() | {"seconds": None}
                for fast in (False, True)
            ],
            *[
                (await batchcore.explain(url, ids, one["end"], since=one["start"])).to_dict()
                for ids in ([one["portfolio_id"]], None)
            ],
            *nearly(await batchcore.performance(url, benchmark="SPY")),
        ]


@pytest.mark.parametrize(
    "context", [Context(prec=3), Context(Emax=12, Emin=-12)], ids=["digits", "exponents"]
)
async def test_the_decimal_context_of_the_caller_plays_no_part(
    valued: str, context: Context
) -> None:
    found = await found_in(valued, context)
    assert found == await found_in(valued, Context(prec=28))
    assert [one["rows_differing"] for one in found[:2]] == [0, 0]


async def test_a_soft_deleted_portfolio_has_a_performance_if_asked_for(same_host: str) -> None:
    await stored(same_host)
    await database.execute(same_host, "UPDATE portfolios SET deleted_at = now()")
    assert len(await batchcore.performance(same_host)) == 0
    assert (await row_of(same_host, portfolio_ids=[database.key("p0")], periods="ITD"))["twr"] == (
        Decimal("0.05")
    )
