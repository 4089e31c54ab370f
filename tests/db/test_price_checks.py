"""What runs, plans and pages tell of odd closes on a server (C1, C2)."""

import asyncio
from dataclasses import replace
from decimal import Decimal
from typing import Any

import pytest

import batchcore
from batchcore import calendar
from batchcore import reference as ref
from batchcore.calendar import date_of
from batchcore.config import CHECKS, Settings
from batchcore.errors import TooManyFailedError
from batchcore.pages.night import load_night
from batchcore.pages.render import night_page
from batchcore.run.batch import run_on_any
from batchcore.run.request import requested
from support import database
from support.command import batchcore as command
from support.database import Host
from support.generate import MONDAY, Generator
from support.outcome import random_host, seeded
from support.runs import run_days

pytestmark = pytest.mark.db

D0, D1, D2, D3, D4 = range(MONDAY, MONDAY + 5)
BEFORE = calendar.load("XNYS").last_sessions(MONDAY - 1, 9).tolist()

OPTIONS = ("policy", "calendar", "on_existing")
Told = list[tuple[str, str | None, str | None, str, str]]


def position(symbol: str, start: int = D0 - 30) -> ref.Position:
    return ref.Position(symbol, "LONG", Decimal(10), Decimal(10), start)


def closes(symbol: str, by_day: dict[int, str]) -> list[tuple[str, int, Decimal]]:
    return [(symbol, day, Decimal(close)) for day, close in by_day.items()]


PORTFOLIOS = {
    "p0": (position("AAA"),),
    "p1": (position("AAA", D2),),
    "p2": (position("BBB"), position("bbb")),
    "p3": (position("AAA"), position("BBB")),
}
HOST = Host(
    tuple(ref.Portfolio(name, Decimal(1000), held) for name, held in PORTFOLIOS.items()),
    (
        *closes("AAA", dict.fromkeys((*BEFORE[-2:], D0, D1), "100") | {D2: "50", D3: "50.5"}),
        *closes("BBB", {BEFORE[-1]: "7", D0: "7.1", D1: "7.2", D3: "7.3"}),
    ),
)
NAMES = {str(database.key(name)): name for name in PORTFOLIOS}
SPLIT = (
    *("split_suspected", None, "AAA", "2026-01-07"),
    "100 to 50, near 2 for 1; held by 2 portfolios",
)
LOW = [
    ("price_low", "p2", None, "2026-01-07", "1 of 1 symbol"),
    ("price_low", "p3", None, "2026-01-07", "1 of 2 symbols"),
]


def told(result: batchcore.BatchResult) -> Told:
    """Return what the checks have found, by portfolios' names."""
    return sorted(
        (
            (
                issue["name"],
                NAMES.get(issue["portfolio"], issue["portfolio"]),
                issue["symbol"],
                issue["session"],
                issue["detail"],
            )
            for issue in result.to_dict()["issues"]
            if issue["name"] in CHECKS
        ),
        key=str,
    )


async def run(url: str, first: int = D0, last: int = D3, **settings: Any) -> batchcore.BatchResult:
    options = {one: settings.pop(one) for one in OPTIONS if one in settings}
    own = Settings(min_coverage=0.0, connections=2, **settings)
    return await run_days(url, first, last, settings=own, analytics="none", **options)


@pytest.mark.parametrize("chunk_size", [1, 100])
async def test_a_run_and_its_plan_tell_the_findings_and_change_nothing(
    same_host: str, chunk_size: int
) -> None:
    await database.fill(same_host, HOST)
    off = await run(same_host, checks=dict.fromkeys(CHECKS, "off"))
    assert told(off) == []
    stored = database.without_stamps(await database.snapshots(same_host))

    planned = await run(same_host, dry_run=True, on_existing="replace")
    done = await run(same_host, chunk_size=chunk_size, on_existing="replace")

    assert told(done) == [*LOW, SPLIT]
    assert told(planned) == told(done)
    assert (done.failed, done["success"], done.state) == (0, True, "complete")
    assert database.without_stamps(await database.snapshots(same_host)) == stored


async def test_a_check_fails_the_portfolios_that_hold_the_symbol_from_that_session_on(
    same_host: str,
) -> None:
    await database.fill(same_host, HOST)

    done = await run(same_host, checks={"split_suspected": "fail"}, max_failed="50%")

    figures = "100 to 50, near 2 for 1"
    own = [("split_suspected", name, "AAA", "2026-01-07", figures) for name in ("p0", "p3")]
    assert told(done) == sorted([*LOW, *own, SPLIT], key=str)
    written = {name: [] for name in PORTFOLIOS}
    for portfolio, day in await database.snapshots(same_host):
        written[NAMES[str(portfolio)]].append(day)
    both, every = [D0, D1], [D0, D1, D2, D3]
    assert written == {"p0": both, "p1": every, "p2": every, "p3": both}
    assert (done.failed, done["success"], done.state) == (2, False, "incomplete")
    ids = {name: own for own, name in NAMES.items()}
    assert sorted(done["errors"]) == sorted(
        f"{ids[name]}: split_suspected {figures} on 2026-01-07" for name in ("p0", "p3")
    )


@pytest.mark.parametrize("chunk_size", [1, 100])
async def test_failures_of_checks_count_towards_the_limit(same_host: str, chunk_size: int) -> None:
    await database.fill(same_host, HOST)
    told = "2 of 4 portfolios failed; .* the commonest reason is split_suspected: 2$"
    with pytest.raises(TooManyFailedError, match=told):
        await run(
            same_host,
            checks={"split_suspected": "fail"},
            max_failed=1,
            chunk_size=chunk_size,
        )


async def test_of_several_reasons_the_commonest_is_named(same_host: str) -> None:
    await database.fill(same_host, HOST)
    checks = {"split_suspected": "fail", "price_low": "fail"}
    # p0 by the one, p2 by the other, p3 by both on one session, the first by name
    with pytest.raises(TooManyFailedError, match=r"3 of 4 .* reason is price_low: 2$"):
        await run(same_host, checks=checks, max_failed=1)
    assert await database.snapshots(same_host) == {}


def test_the_command_tells_what_fails_and_exits_with_1(same_host: str) -> None:
    asyncio.run(database.fill(same_host, HOST))
    range_ = ("--start", "2026-01-05", "--end", "2026-01-08", "--min-coverage", "0")
    words = ("--database-url", same_host, *range_, "--max-failed", "50%")

    plan = command("plan", *words)
    assert plan.code == 0
    assert "findings of price checks: 3\n" in plan.out
    assert "  split_suspected AAA on 2026-01-07: 100 to 50, near 2 for 1; held by 2" in plan.out

    said = command("run", *words, "--check", "price_low=fail", "--check", "split_suspected=off")
    assert said.code == 1
    assert "price_low 1 of 1 symbol on 2026-01-07" in said.err


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ("price_jump", "checks: `price_jump` has no value, expected NAME=ACTION"),
        ("jump=fail", f"checks: unknown check `jump`, expected one of {', '.join(CHECKS)}"),
        ("price_jump=no", "checks: `price_jump` is 'no', expected one of off, report, fail"),
    ],
)
def test_a_wrong_check_is_told_with_what_is_right(given: str, message: str) -> None:
    said = command("run", "--database-url", "postgresql://nobody@127.0.0.1:1/x", "--check", given)
    assert said.code == 3
    assert message in said.err


async def test_enough_closes_before_a_run_are_loaded_for_its_first_session(same_host: str) -> None:
    frozen = closes("AAA", dict.fromkeys((*BEFORE, D0), "9.50"))
    await database.fill(same_host, Host(HOST.portfolios[:1], tuple(frozen)))
    expected = [("price_frozen", None, "AAA", "2026-01-05", "9.5 on 10 sessions until 2026-01-05")]

    done = await run(same_host, last=D0, lookback_days=0)

    assert [(*one[:4], one[4].partition(";")[0]) for one in told(done)] == expected
    (night,) = await database.fetch(same_host, "SELECT * FROM batchcore_run_symbol_issues")
    assert (night["name"], night["symbol"], night["count"]) == ("price_frozen", "AAA", 1)


async def test_closes_after_the_last_session_closed_are_told_where_a_run_reaches_it(
    same_host: str,
) -> None:
    ahead = (*HOST.prices, *closes("BBB", {D4: "7.4", MONDAY + 40_000: "8"}))
    await database.fill(same_host, replace(HOST, prices=ahead))
    checks = dict.fromkeys(CHECKS, "off") | {"price_ahead": "report"}

    earlier = await run(same_host, last=D1, checks=checks, today=date_of(D3))
    planned = await run(same_host, D2, D3, checks=checks, today=date_of(D3), dry_run=True)
    done = await run(same_host, D2, D3, checks=checks, today=date_of(D3))

    assert told(earlier) == []
    assert told(planned) == told(done)
    assert told(done) == [
        (
            *("price_ahead", None, "BBB", "2026-01-08"),
            "7.4 on 2026-01-09, after 2026-01-08, the first of 2 dates; held by 2 portfolios",
        )
    ]


async def test_under_daily_the_dates_with_closes_are_neighbours(same_host: str) -> None:
    week = [*range(D0, D0 + 5), D0 + 7]
    prices = closes("AAA", dict.fromkeys(week, "100") | {D0 + 7: "50"})
    await database.fill(same_host, Host(HOST.portfolios[:1], tuple(prices)))

    done = await run(same_host, D1, D0 + 7, calendar="daily")

    assert told(done) == [
        (
            *("split_suspected", None, "AAA", "2026-01-12"),
            "100 to 50, near 2 for 1; held by 1 portfolio",
        )
    ]


async def test_repair_and_legacy_check_nothing(same_host: str) -> None:
    await database.fill(same_host, HOST)
    fails = dict.fromkeys(CHECKS, "fail")
    await run(same_host)

    settings = Settings(checks=fails, connections=2, min_coverage=0.0)
    repaired = await batchcore.repair(same_host, settings=settings, analytics="none")

    assert (repaired.failed, told(repaired), repaired.rows_written) == (0, [], 0)
    await database.execute(same_host, "DELETE FROM portfolio_snapshots")
    legacy = await run(same_host, checks=fails, policy="legacy")
    assert not {*CHECKS} & set(legacy.issues_by_name())


async def test_closes_that_are_handed_in_are_checked(same_host: str) -> None:
    await database.fill(same_host, HOST)
    prices = batchcore.PriceCache()
    for day in (BEFORE[-1], D0, D1, D2, D3):
        await prices.load_single_date(same_host, ["AAA", "BBB"], date_of(day))
    request = await requested(
        date_of(D0), date_of(D3), None, analytics="none", settings=Settings(min_coverage=0.0)
    )
    result = await run_on_any(same_host, replace(request, price_source=prices))
    assert told(result) == [*LOW, SPLIT]


async def test_the_page_of_a_night_lists_findings(same_host: str) -> None:
    await database.fill(same_host, HOST)
    await run(same_host)

    night = await load_night(same_host)

    (found,) = night.findings or ()
    assert (found.name, found.symbol, found.count) == ("split_suspected", "AAA", 1)
    assert (found.session, found.detail) == (date_of(D2), SPLIT[-1])
    text = night_page(night)
    assert "Checks of prices" in text
    assert SPLIT[-1] in text

    await run(same_host, D4, D4, checks=dict.fromkeys(CHECKS, "off"))
    unchecked = await load_night(same_host)
    assert unchecked.findings is None
    assert "Checks of prices" not in night_page(unchecked)


@pytest.mark.parametrize("seed", range(4))
async def test_a_plan_tells_what_the_run_then_finds(same_host: str, seed: int) -> None:
    host = random_host(Generator(seeded(f"checks {seed}").randint, odd=0, edges=False))
    await database.fill(same_host, host)
    options = {"frozen_sessions": 2, "max_missing": seed / 10, "lookback_days": seed % 4}

    planned = await run(same_host, MONDAY, MONDAY + 15, dry_run=True, **options)
    done = await run(same_host, MONDAY, MONDAY + 15, **options)

    assert done.failed == 0
    assert len(told(done)) > 0
    assert told(planned) == told(done)
